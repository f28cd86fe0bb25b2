#!/bin/sh
# A program installs the package that JSR gives to Node and Bun, passes a strict TypeScript, and runs on both.
#
#     package.sh NODE BUN     the two runtimes
set -eu
node=$1
bun=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export npm_config_fund=false npm_config_audit=false npm_config_loglevel=error
sh "$here/pack.sh" "$work"

mkdir "$work/program"
cd "$work/program"
echo '{ "type": "module" }' >package.json
npm install "$work/package.tgz" @types/node@24
cat >program.ts <<'END'
import { createServer, type AddressInfo } from "node:net";
import { connect, connectSync, Errno, isErrno, type Socket } from "@einprogress/connect";
import { explain } from "@einprogress/connect/errno";
import { createConnection } from "@einprogress/connect/node";
import { grid, parsePorts, probe } from "@einprogress/connect/tools";

const server = createServer((socket) => socket.on("error", () => {}).end("hi"));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const { port } = server.address() as AddressInfo;
const socket: Socket = await connect({ hostname: "127.0.0.1", port, timeout: 5000 });
const bytes: number = await socket.recv(new Uint8Array(8), { timeout: 5000 });
socket.close();
connectSync({ port }).close();
const states: string[] = [];
for await (const { state } of probe(grid("127.0.0.1", parsePorts(`${port}`)))) states.push(state);
const text = await new Promise<string>((resolve, reject) => {
  createConnection({ host: "127.0.0.1", port }, { localAddress: "127.0.0.9" })
    .on("error", reject).on("data", (data: Uint8Array) => resolve(String(data)));
});
await new Promise((resolve) => server.close(resolve));
let code = "";
try {
  connectSync({ port });
} catch (error) {
  if (isErrno(error, "ECONNREFUSED") && error instanceof Errno.ECONNREFUSED) code = error.code;
}
console.log([bytes, states.join(), text, code, explain("ECONNREFUSED").code].join(" "));
END
cat >tsconfig.json <<END
{
  "compilerOptions": {
    "strict": true,
    "exactOptionalPropertyTypes": true,
    "noUncheckedIndexedAccess": true,
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "target": "es2022",
    "lib": ["esnext", "dom"],
    "types": ["node"]
  },
  "include": ["program.ts"]
}
END
"$work/tools/node_modules/.bin/tsc" --project tsconfig.json
for run in "$node --no-warnings" "$bun"; do
  printed=$($run program.js)
  echo "$run: $printed"
  [ "$printed" = "2 open hi ECONNREFUSED ECONNREFUSED" ]
  # The command line, as README.md has it.
  $run node_modules/@einprogress/connect/src/cli.js ping --count 1 --quiet
done

# A Node that has no FFI says so, also one that does not say what the program is.
npm install --prefix "$work/old" node@22.12.0
old="$work/old/node_modules/.bin/node"
if $old node_modules/@einprogress/connect/src/cli.js ping --count 1 2>old.txt; then exit 1; fi
grep 'comes with Node 26.9' old.txt
