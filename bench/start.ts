/**
 * Whole processes that connect once, with the package as its users get it.
 *
 * JSR serves the TypeScript to Deno, module by module, with a list of what each imports. Deno keeps that in its cache, and the
 * JavaScript that it makes of it. Node and Bun get a package in npm's form from JSR, in which each module is JavaScript. Here a
 * registry on loopback stands in for JSR, and `tests/pack.sh` makes the package. Another side is the same script in one file,
 * from the runtime's own bundler, or from esbuild on Node; and one more has beside that file what the engine has compiled of
 * it, which Deno always keeps.
 *
 * @module
 */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, posix } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { doorFor } from "../ffi/libc.ts";
import {
  command,
  type Floor,
  sourcePath,
  time,
  tryRun,
  type World,
} from "./peers.ts";
import type { Run } from "./rounds.ts";
import type { Side } from "./sides.ts";

const ROOT = sourcePath("..");
const ESBUILD = "esbuild@0.25.5";

/** How a runtime gets the package, and what bundles a script on it. */
interface Users {
  /**
   * Puts the package where scripts of `folder` find it.
   *
   * @returns What they import.
   */
  install(folder: string): Promise<string>;
  /** How a script and what it imports become one file. */
  readonly bundles: Readonly<Partial<Record<Side, Bundler>>>;
}

/** What makes one file of a script. */
interface Bundler {
  /** The command that writes `folder`/`name`. */
  make(script: string, folder: string, name: string): readonly string[];
  /** What the processes that run the file find in their environment. */
  env?(folder: string): Readonly<Record<string, string>>;
}

const DENO_BUNDLE: Bundler = {
  make: (script, folder, name) => [
    process.execPath,
    "bundle",
    "--quiet",
    script,
    "-o",
    join(folder, name),
  ],
};

const BUN_BUILD: Bundler = {
  make: (script, folder, name) => [
    process.execPath,
    "build",
    "--target=bun",
    script,
    `--outdir=${folder}`,
    `--entry-naming=${name}`,
  ],
};

const NPX_ESBUILD: Bundler = {
  make: (script, folder, name) => [
    "npx",
    "-y",
    ESBUILD,
    "--bundle",
    "--platform=node",
    "--format=esm",
    "--log-level=warning",
    script,
    `--outfile=${join(folder, name)}`,
  ],
};

const USERS: Readonly<Record<string, Users>> = {
  Deno: { install: fillCache, bundles: { bundled: DENO_BUNDLE } },
  Bun: {
    install: installPackage,
    bundles: {
      bundled: BUN_BUILD,
      compiled: {
        make: (...args) => [...BUN_BUILD.make(...args), "--bytecode"],
      },
    },
  },
  Node: {
    install: installPackage,
    bundles: {
      bundled: NPX_ESBUILD,
      compiled: {
        ...NPX_ESBUILD,
        env: (folder) => ({ NODE_COMPILE_CACHE: join(folder, "compiled") }),
      },
    },
  },
};

/**
 * A process for each connect, from its start to its end.
 *
 * @param rivals What others' scripts do, by side.
 */
export async function startSides(
  { floor, hosts, port }: World,
  rivals: ReadonlyMap<Side, (target: string) => string>,
): Promise<Map<Side, Run>> {
  const { install, bundles } = USERS[doorFor().runtime]!;
  const target = JSON.stringify({ hostname: hosts[0], port });
  const specifier = await install(floor.folder);
  const sides = new Map<Side, Run>();
  function add(side: Side, text: string): string {
    const script = join(floor.folder, `start-${sides.size}.mjs`);
    writeFileSync(script, text);
    sides.set(side, processes(floor, script));
    return script;
  }
  add("empty", "");
  const script = add(
    "ours",
    `import { connectSync } from "${specifier}";\n` +
      `connectSync(${target}).close();\n`,
  );
  for (const [side, { make, env }] of Object.entries(bundles)) {
    const name = `${side}.mjs`;
    const [program, ...args] = make(script, floor.folder, name);
    const failure = tryRun(program!, args);
    if (failure === null) {
      const file = join(floor.folder, name);
      sides.set(side as Side, processes(floor, file, env?.(floor.folder)));
      // deno-lint-ignore no-console -- it is what is shown in place of a side
    } else console.error(`skipped the ${side} script: ${failure}`);
  }
  for (const [side, text] of rivals) add(side, text(target));
  return sides;
}

/** Runs a script in a new process for each connect. */
function processes(
  floor: Floor,
  script: string,
  env?: Readonly<Record<string, string>>,
): Run {
  return (count) => {
    let [wall, cpu] = [0, 0];
    for (let done = 0; done < count; done++) {
      const sample = time(floor, command(script), env);
      wall += sample.wall;
      cpu += sample.cpu;
    }
    return Promise.resolve({ wall, cpu });
  };
}

function manifest(): {
  name: string;
  version: string;
  exports: Readonly<Record<string, string>>;
} {
  return JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
}

/** Has npm install what `tests/pack.sh` makes. */
function installPackage(folder: string): Promise<string> {
  const pack = join(folder, "pack");
  execFileSync("sh", [
    "-c",
    'mkdir "$2" && sh "$1" "$2"',
    "sh",
    join(ROOT, "tests/pack.sh"),
    pack,
  ], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  writeFileSync(join(folder, "package.json"), "{}");
  execFileSync("npm", ["install", "--silent", join(pack, "package.tgz")], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return Promise.resolve(manifest().name);
}

/** Has Deno fetch the package from the registry into a cache of its own, which every later process uses. */
async function fillCache(folder: string): Promise<string> {
  const { name, version } = manifest();
  const files = registryFiles();
  const registry = createServer(({ url = "" }, response) => {
    const file = files.get(url);
    const type = url.endsWith(".ts") ? "text/typescript" : "application/json";
    response.writeHead(file === undefined ? 404 : 200, {
      "content-type": type,
    }).end(file);
  });
  await new Promise<void>((listening) =>
    registry.listen(0, "127.0.0.1", listening)
  );
  const { port } = registry.address() as AddressInfo;
  process.env.JSR_URL = `http://127.0.0.1:${port}/`;
  process.env.DENO_DIR = join(folder, "deno");
  const specifier = `jsr:${name}@${version}`;
  try {
    await promisify(execFile)(process.execPath, [
      "cache",
      "--quiet",
      "--allow-import",
      specifier,
    ]);
  } finally {
    registry.close();
  }
  return specifier;
}

/** What JSR serves of the package, by path. */
function registryFiles(): Map<string, string> {
  const { name, version, exports } = manifest();
  const files = new Map<string, string>();
  const sizes: Record<string, object> = {};
  const moduleGraph2: Record<string, object> = {};
  for (const path of modules()) {
    const text = readFileSync(join(ROOT, path), "utf8");
    const checksum = createHash("sha256").update(text).digest("hex");
    files.set(`/${name}/${version}${path}`, text);
    sizes[path] = { size: text.length, checksum: `sha256-${checksum}` };
    moduleGraph2[path] = { dependencies: importsOf(text) };
  }
  const json = { manifest: sizes, moduleGraph2, exports };
  files.set(`/${name}/${version}_meta.json`, JSON.stringify(json));
  const versions = { [version]: {} };
  files.set(`/${name}/meta.json`, JSON.stringify({ versions }));
  return files;
}

/** The paths of all modules of the package, from its root. */
function modules(): string[] {
  const nested = ["src", "ffi"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .map((path) => posix.join("/", folder, path))
  );
  return ["/mod.ts", ...nested.filter((path) => path.endsWith(".ts"))];
}

const IMPORT = /^(import|export)( type)?\s(?:[^;"]*?\sfrom\s+)?("\.[^"]+")/gm;

/** What a module imports, as JSR notes it. */
function importsOf(text: string): object[] {
  function position(index: number): [line: number, character: number] {
    const before = text.slice(0, index).split("\n");
    return [before.length - 1, before.at(-1)!.length];
  }
  return [...text.matchAll(IMPORT)].map((match) => {
    const [all, kind, type, specifier] = match;
    const end = match.index + all.length;
    return {
      type: "static",
      kind: type === undefined ? kind : `${kind}Type`,
      specifier: specifier!.slice(1, -1),
      specifierRange: [position(end - specifier!.length), position(end)],
    };
  });
}
