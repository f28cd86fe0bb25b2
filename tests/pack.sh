#!/bin/sh
# Makes the package that JSR gives to Node and Bun through npm: each module as JavaScript, with its comments, and its types.
# JSR leaves the syntax as it is otherwise, and so does this.
#
#     pack.sh FOLDER     leaves FOLDER/package.tgz, and TypeScript in FOLDER/tools
#
# Needs npm, and TypeScript from there.
set -eu
folder=$1
root=$(cd "$(dirname "$0")/.." && pwd)
export npm_config_fund=false npm_config_audit=false npm_config_loglevel=error
npm install --prefix "$folder/tools" typescript@7.0.2 @types/node@24

mkdir "$folder/package"
cat >"$folder/tsconfig.json" <<JSON
{
  "compilerOptions": {
    "outDir": "$folder/package",
    "rootDir": "$root",
    "declaration": true,
    "rewriteRelativeImportExtensions": true,
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "esnext",
    "lib": ["esnext", "dom", "dom.iterable", "dom.asynciterable"],
    "typeRoots": ["$folder/tools/node_modules/@types"],
    "types": ["node"],
    "skipLibCheck": true
  },
  "include": ["$root/mod.ts", "$root/src", "$root/ffi"],
  "exclude": ["$root/ffi/doors/deno.ts"]
}
JSON
# The door of Deno uses types that only Deno has; its JavaScript is written all the same.
if ! "$folder/tools/node_modules/.bin/tsc" --project "$folder/tsconfig.json" >"$folder/tsc.log"; then
  if grep -v 'ffi/doors/deno.ts' "$folder/tsc.log" | grep 'error TS'; then exit 1; fi
fi
cp "$root/LICENSE" "$root/README.md" "$folder/package"
node --eval '
  const { readFileSync, writeFileSync } = require("node:fs");
  const [root, target] = process.argv.slice(1);
  const { name, version, license, exports } = JSON.parse(readFileSync(`${root}/deno.json`));
  const entries = Object.entries(exports).map(([key, path]) => {
    const file = path.replace(/\.ts$/, "");
    return [key, { types: `${file}.d.ts`, default: `${file}.js` }];
  });
  const manifest = { name, version, license, type: "module", exports: Object.fromEntries(entries) };
  writeFileSync(`${target}/package.json`, JSON.stringify(manifest, null, 2));
' "$root" "$folder/package"
cd "$folder"
mv "$(npm pack ./package --silent)" package.tgz
