/**
 * Runs the cases of `cases.ts` on the runtime that it is started on, and prints what they cost.
 *
 *     deno task bench [--json] [--cpu] [--rounds=N] [FILTER…]
 *
 * A case runs if its group or its name holds one of the filters. With `--cpu`, what is compared is the time that the CPUs
 * spent on a side's process, in place of the time that passed. `runtimes.ts` runs it on Bun and Node as well.
 *
 * @module
 */
// deno-lint-ignore-file no-console
import { execFileSync } from "node:child_process";
import { arch, cpus, loadavg, release, type } from "node:os";
import process from "node:process";
import { doorFor } from "../ffi/libc.ts";
import { connectSync } from "../mod.ts";
import { CASES, FLOOR, useNoKernel } from "./cases.ts";
import { measureMemory, MEMORY } from "./memory.ts";
import {
  canIsolate,
  compileFloor,
  type Floor,
  openLate,
  openLoopback,
  runAgain,
  sourcePath,
  type World,
} from "./peers.ts";
import type {
  CaseResult,
  FloorResult,
  MemoryResult,
  Report,
  SideResult,
} from "./report.ts";
import {
  percentiles,
  ratio,
  runRounds,
  type Sample,
  type Spread,
  spread,
} from "./rounds.ts";
import {
  type Case,
  type Rival,
  RIVALS,
  type Side,
  tcpTargets,
} from "./sides.ts";

const ROUNDS = 31;
/** By itself, mitata lets one sample decide whether the clock is read around each call, which takes longer than most of them. */
const BATCHES = {
  batch_samples: 1000,
  batch_threshold: Infinity,
  warmup_threshold: Infinity,
};
/**
 * How many connects each side makes before rounds that wait, and the delay of
 * the peer for them, in microseconds. Rounds that wait are few connects, which
 * the compilers of the runtimes would spend more time on than they take.
 */
const COMPILING_CONNECTS = 2000;
const COMPILING_DELAY = 100;
/** How many fresh connections the kernel is asked about. */
const HANDSHAKES = 10;
/** A delay without an end: the peer never replies. */
const SILENCE = -1;
/** The argument by which this program knows that it is to run one case and to send what comes of it. */
const ONLY = "--only=";
const FLAGS = /^--(?:json|cpu|rounds=[1-9][0-9]*)$/;
const CLOSED_LOOPS =
  "Times are closed loops: each connect begins when the one before it has " +
  "ended.\nThey say what a connect costs, and not how long it would wait at a " +
  "fixed rate.";

const THINGS = FLOOR.map((one) => ({ group: "floor", ...one }));

/** What the process of a case gets. */
interface Order {
  readonly name: string;
  readonly floor: Floor;
}

/** What the process of a case sends to the one that has started it. */
type Message =
  | { readonly case: CaseResult }
  | { readonly memory: MemoryResult };

const args = process.argv.slice(2);
const flags = args.filter((arg) => arg.startsWith("-"));
const filters = args.filter((arg) => !arg.startsWith("-"));
const json = flags.includes("--json");
const metric = flags.includes("--cpu") ? "cpu" : "wall";
const asked = flags.find((flag) => flag.startsWith("--rounds="))?.slice(9);
const found = {
  floor: [] as FloorResult[],
  cases: [] as CaseResult[],
  memory: [] as MemoryResult[],
  skipped: [] as string[],
};

async function main(): Promise<void> {
  const order = args.find((arg) => arg.startsWith(ONLY))?.slice(ONLY.length);
  if (order !== undefined) {
    await obey(JSON.parse(order));
    return;
  }
  const wrong = flags.find((flag) => !FLAGS.test(flag));
  const some = [...CASES, ...THINGS, MEMORY].some(isAsked);
  if (wrong !== undefined || !some) {
    console.error(
      wrong === undefined
        ? `Cannot find a case of ${filters.join(" or ")}`
        : `Cannot use ${wrong}: there are --json, --cpu and --rounds=N`,
    );
    process.exitCode = 2;
    return;
  }
  const floor = compileFloor();
  if (typeof floor === "string") {
    skip("everything: the loops and the peers are in C", floor);
    process.exitCode = 1;
    return;
  }
  using _ = floor;
  const machine = describeMachine();
  say(Object.entries(machine).map((pair) => pair.join(": ")).join("\n"));
  for (const side of Object.keys(RIVALS) as Rival[]) {
    const reason = RIVALS[side].missing(floor);
    if (reason !== null) skip(side, reason);
  }
  await runFloor(floor);
  const isolation = canIsolate(floor);
  for (const one of [...CASES, MEMORY].filter(isAsked)) {
    if (one.peer !== "loopback" && isolation !== null) {
      skip(one.name, isolation);
    } else await delegate(one, floor);
  }
  if (found.cases.length > 0) say(`\n${CLOSED_LOOPS}`);
  const report: Report = { machine, ...found };
  if (json) console.log(JSON.stringify(report, null, 2));
}

function isAsked({ group, name }: { group: string; name: string }): boolean {
  return filters.length === 0 ||
    filters.some((one) => group.includes(one) || name.includes(one));
}

async function runFloor({ library }: Floor): Promise<void> {
  const chosen = THINGS.filter(isAsked);
  if (chosen.length === 0) return;
  let mitata;
  try {
    mitata = await import("mitata");
  } catch (error) {
    skip("the floor", `mitata cannot be found: ${error}`);
    return;
  }
  const { do_not_optimize, measure } = mitata;
  say(`\n${row("floor", ["ns", "[quartiles]"])}`);
  for (const { name, isOurShare, setup } of chosen) {
    using _ = isOurShare ? useNoKernel() : null;
    const run = setup(library);
    const stats = await measure(() => {
      const result = run();
      do_not_optimize(result);
      // A promise is waited for.
      return result;
    }, BATCHES);
    const { min, p25: q1, p50: median, p75: q3 } = stats;
    const ns = { min, q1, median, q3 };
    found.floor.push({ name, ns });
    say(row(`  ${name}`, [median.toFixed(1), quartiles(ns, 1)]));
  }
}

/** Has a process of its own run a case: none inherits what a compiler has made of the ones before. */
async function delegate(
  { name, peer }: Pick<Case, "name" | "peer">,
  floor: Floor,
): Promise<void> {
  const order: Order = { name, floor };
  const lines = runAgain(floor, peer !== "loopback", [
    ...flags,
    `${ONLY}${JSON.stringify(order)}`,
  ]);
  let count = 0;
  for await (const line of lines) {
    keep(JSON.parse(line));
    count++;
  }
  if (count > 0) return;
  skip(name, "its process has failed");
  process.exitCode = 1;
}

/** Does what {@linkcode delegate} wants. */
async function obey({ name, floor }: Order): Promise<void> {
  function send(message: Message): void {
    console.log(JSON.stringify(message));
  }
  const one = CASES.find((one) => one.name === name);
  const { peer, delay } = one ?? { ...MEMORY, delay: SILENCE };
  using world = await (peer === "late" ? openLate : openLoopback)(floor);
  if (delay !== undefined) await world.peer.ask(`delay ${delay}`);
  if (one !== undefined) {
    send({ case: await runCase(one, world) });
  } else {
    for (const memory of measureMemory(world)) send({ memory });
  }
}

function keep(message: Message): void {
  if ("case" in message) keepCase(message.case);
  else keepMemory(message.memory);
}

async function runCase(one: Case, world: World): Promise<CaseResult> {
  const { group, name, count: connects, baseline, hasHandshake } = one;
  const rounds = Number(asked ?? one.rounds ?? ROUNDS);
  const runs = await one.sides(world);
  if (one.delay !== undefined) {
    await world.peer.ask(`delay ${COMPILING_DELAY}`);
    const part = Math.max(connects, COMPILING_CONNECTS / 10);
    for (const run of runs.values()) {
      for (let done = 0; done < COMPILING_CONNECTS; done += part) {
        await run(part);
        await world.peer.ask("drain");
      }
    }
    await world.peer.ask(`delay ${one.delay}`);
  }
  const samples = await runRounds(
    runs,
    connects,
    rounds,
    () => world.peer.ask("drain"),
  );
  const sides: Partial<Record<Side, SideResult>> = {};
  const base = samples.get(baseline)!;
  function micros(own: readonly Sample[], metric: keyof Sample): number[] {
    return own.map((sample) => sample[metric] / connects / 1e3);
  }
  for (const [side, own] of samples) {
    const wall = micros(own, "wall");
    const cpu = micros(own, "cpu");
    const fastest = micros(base, "wall");
    const over = percentiles(wall.map((time, i) => time - fastest[i]!));
    sides[side] = {
      wall: spread(wall),
      cpu: spread(cpu),
      ratio: ratio(own, base, metric),
      ours: ratio(samples.get("ours")!, own, metric),
      ...one.peer === "late" ? { late: { over, cpu: percentiles(cpu) } } : {},
    };
  }
  const result = { group, name, connects, rounds, baseline, sides };
  const handshake = hasHandshake ? await askKernel(world) : null;
  return handshake === null ? result : { ...result, handshake };
}

/** What the kernel says of fresh connections, made as C makes them and as we do; `null` where it says nothing. */
async function askKernel(
  world: World,
): Promise<Record<"C" | "ours", number> | null> {
  const answer = await world.clients.get("C")!.ask(`rtt ${HANDSHAKES}`);
  if (answer === "0") return null;
  await world.peer.ask("drain");
  const targets = tcpTargets(world);
  const own = Array.from({ length: HANDSHAKES }, (_, i) => {
    using socket = connectSync(targets[i % targets.length]!);
    return Math.round((socket.tcpInfo().rtt ?? NaN) * 1e3);
  });
  await world.peer.ask("drain");
  return { C: Number(answer), ours: spread(own).median };
}

/** Notes a result, and shows it in a table of its own. */
function keepCase(result: CaseResult): void {
  found.cases.push(result);
  const { name, baseline, sides, handshake } = result;
  const ratio = `÷ ${baseline}`;
  const isLate = sides[baseline]?.late !== undefined;
  say(`\n${
    row(name, [
      "µs",
      "CPU µs",
      ratio,
      "[quartiles]",
      "ours ÷",
      ...isLate ? ["over, p50", "p90", "CPU, p90"] : [],
    ])
  }`);
  for (
    const [side, { wall, cpu, ratio, ours, late }] of Object.entries(sides)
  ) {
    say(row(`  ${side}`, [
      wall.median.toFixed(2),
      cpu.median.toFixed(2),
      ratio.median.toFixed(3),
      quartiles(ratio, 3),
      ours.median.toFixed(3),
      ...late === undefined
        ? []
        : [late.over.p50, late.over.p90, late.cpu.p90].map((us) =>
          us.toFixed(0)
        ),
    ]));
  }
  if (handshake === undefined) return;
  const { C, ours } = handshake;
  say(`  handshake, by the kernel: ${C} µs from C, ${ours} µs from ours`);
}

/** Notes a result, and shows it in the table of those with the same name. */
function keepMemory(result: MemoryResult): void {
  const { name, side, heap, resident } = result;
  if (found.memory.every((other) => other.name !== name)) {
    say(`\n${row(`${name}, bytes`, ["heap", "[quartiles]", "resident"])}`);
  }
  found.memory.push(result);
  say(row(`  ${side}`, [
    heap.median.toFixed(1),
    quartiles(heap, 1),
    resident?.median.toFixed(0) ?? "-",
  ]));
}

function describeMachine(): Record<string, string> {
  const [cpu] = cpus();
  const { runtime } = doorFor();
  const { v8, webkit, ...versions } = process.versions;
  return {
    // What a builder of kernels appends to the version says nothing to others.
    system: `${type()} ${release().split(".", 2).join(".")} ${arch()}`,
    cpu: `${cpus().length} x ${cpu?.model ?? "unknown"}`,
    load: `${loadavg()[0]!.toFixed(2)} before the first round`,
    runtime: `${runtime} ${versions[runtime.toLowerCase()]}`,
    engine: webkit === undefined ? `V8 ${v8}` : `WebKit ${webkit.slice(0, 12)}`,
    compiler: firstLine("cc", ["--version"]),
    Python: firstLine("python3", ["--version"]),
    Go: firstLine("go", ["version"]),
    nmap: firstLine("nmap", ["--version"]),
    commit: firstLine("git", [
      "-c",
      "safe.directory=*",
      "-C",
      sourcePath("."),
      "describe",
      "--always",
      "--dirty",
    ]),
  };
}

function firstLine(command: string, args: string[]): string {
  try {
    const output = execFileSync(command, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    // Some say where they are from, too.
    return output.split("\n")[0]!.replace(/ \( ?https?:[^)]*\)/, "");
  } catch {
    return "unknown";
  }
}

function quartiles(values: Spread, digits: number): string {
  return `[${values.q1.toFixed(digits)} ${values.q3.toFixed(digits)}]`;
}

function row(name: string, cells: readonly string[]): string {
  return name.padEnd(40) +
    cells.map((cell) => cell.padStart(cell.startsWith("[") ? 18 : 10)).join("");
}

function skip(what: string, why: string): void {
  const line = `skipped ${what}: ${why}`;
  found.skipped.push(line);
  say(line);
}

/** Prints where a person reads it: not in the midst of JSON. */
function say(line: string): void {
  if (json) console.error(line);
  else console.log(line);
}

await main();
