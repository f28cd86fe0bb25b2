/**
 * Runs the test suite, or the type checker, with `@std` from wherever it can be had.
 *
 * `deno.json` takes `@std` from JSR, as every user of Deno expects. Where JSR is out of reach, an import map puts what npm
 * has of it in its place, and the tests are the same.
 *
 *     run.ts test [FLAGS] [FILES]     all tests and the examples in the docs, or FILES
 *     run.ts check [FLAGS] [FILES]    the types of everything, or of FILES
 *
 * @module
 */

const IMPORT_MAP = "tests/npm/import_map.json";
/** Milliseconds after which JSR counts as out of reach. */
const PROBE_TIMEOUT = 20_000;

const COMMANDS: Readonly<Record<string, { flags: string[]; files: string[] }>> =
  {
    test: {
      // Tests start commands and other runtimes and read what /proc says of them, so narrower permissions would not hold.
      flags: [
        "-A",
        "--doc",
        "--preload=tests/_preload.ts",
        "--v8-flags=--expose-gc",
      ],
      files: ["tests", "mod.ts", "src", "README.md"],
    },
    check: { flags: [], files: ["mod.ts", "src", "ffi", "tests", "bench"] },
  };

Deno.exit(await main(Deno.args));

async function main([name = "test", ...args]: string[]): Promise<number> {
  const command = COMMANDS[name];
  if (command === undefined) {
    print(`Cannot run "${name}": it is none of ${Object.keys(COMMANDS)}`);
    return 2;
  }
  const map = await jsrReachable() ? [] : [`--import-map=${IMPORT_MAP}`];
  if (map.length > 0) {
    print("JSR is out of reach: @std comes from npm for this run.");
  }
  const files = args.some(isFile) ? [] : command.files;
  const skips = await Deno.makeTempFile();
  try {
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: [name, ...command.flags, ...map, ...args, ...files],
      env: { EINPROGRESS_SKIPS: skips },
    }).spawn().status;
    const lines = (await Deno.readTextFile(skips)).trim();
    if (lines !== "") print(`Skipped, and why:\n${lines}`);
    return code;
  } finally {
    await Deno.remove(skips);
  }
}

/** Whether what the tests import of `@std` resolves, by way of the cache or of the network. */
async function jsrReachable(): Promise<boolean> {
  const map: { imports: Record<string, string> } = JSON.parse(
    await Deno.readTextFile(IMPORT_MAP),
  );
  const imports = Object.keys(map.imports)
    .filter((name) => name.startsWith("@std/"))
    .map((name) => `import ${JSON.stringify(name)};`);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", imports.join("\n")],
    stdout: "null",
    stderr: "null",
    signal: AbortSignal.timeout(PROBE_TIMEOUT),
  }).output();
  return success;
}

/** Whether an argument names a file to test, as opposed to a flag or its value. */
function isFile(arg: string): boolean {
  if (arg.startsWith("-")) return false;
  try {
    Deno.statSync(arg);
    return true;
  } catch {
    return false;
  }
}

function print(text: string): void {
  // deno-lint-ignore no-console
  console.log(text);
}
