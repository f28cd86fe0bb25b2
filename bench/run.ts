/**
 * Runs the cases of `cases.ts` and prints what they cost.
 *
 *     deno task bench [--json] [--cpu] [--rounds=N] [FILTER…]
 *
 * A case runs if its group or its name holds one of the filters. With `--cpu`, what is compared is the time that the CPUs
 * spent on a side's process, in place of the time that passed.
 *
 * @module
 */
// deno-lint-ignore-file no-console
import { execFileSync } from "node:child_process";
import { arch, cpus, loadavg, release, type } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { do_not_optimize, measure } from "mitata";
import {
  BASELINE,
  type Case,
  CASES,
  FLOOR,
  MISSING,
  type Side,
} from "./cases.ts";
import {
  compileFloor,
  type Floor,
  inNamespace,
  openLate,
  openLoopback,
  type World,
} from "./peers.ts";
import { ratio, runRounds, type Spread, spread } from "./rounds.ts";

/** What was measured, on what. */
interface Report {
  readonly machine: Readonly<Record<string, string>>;
  readonly floor: FloorResult[];
  readonly cases: CaseResult[];
  /** What could not be measured, and why. */
  readonly skipped: string[];
}

interface FloorResult {
  readonly name: string;
  readonly ns: Spread;
}

interface CaseResult {
  readonly group: string;
  readonly name: string;
  readonly connects: number;
  readonly rounds: number;
  readonly sides: Partial<Record<Side, SideResult>>;
  /** Ratios within rounds, `ours/C`, of what was asked for. */
  readonly ratios: Record<string, Spread>;
}

interface SideResult {
  /** Microseconds for each connect. */
  readonly wall: Spread;
  readonly cpu: Spread;
}

const ROUNDS = 31;
/** The argument by which this program knows that it is alone with a late peer. */
const LATE = "--late";
const FLAGS = /^--(?:json|cpu|late|rounds=[1-9][0-9]*)$/;

const args = process.argv.slice(2);
const flags = args.filter((arg) => arg.startsWith("-"));
const filters = args.filter((arg) => !arg.startsWith("-"));
const json = flags.includes("--json");
const metric = flags.includes("--cpu") ? "cpu" : "wall";
const asked = flags.find((flag) => flag.startsWith("--rounds="))?.slice(9);
const report: Report = {
  machine: describeMachine(),
  floor: [],
  cases: [],
  skipped: [],
};

async function main(): Promise<void> {
  const wrong = flags.find((flag) => !FLAGS.test(flag));
  const some = CASES.some(({ group, name }) => matches(group, name)) ||
    FLOOR.some(({ name }) => matches("floor", name));
  if (wrong !== undefined || !some) {
    console.error(
      wrong === undefined
        ? `Cannot find a case of ${filters.join(" or ")}`
        : `Cannot use ${wrong}: there are --json, --cpu and --rounds=N`,
    );
    process.exitCode = 2;
    return;
  }
  const alone = flags.includes(LATE);
  if (!alone) {
    const lines = Object.entries(report.machine).map((pair) => pair.join(": "));
    say(lines.join("\n"));
  }
  const floor = compileFloor();
  if (typeof floor === "string") {
    skip("everything: the loops and the peers are in C", floor);
    process.exitCode = 1;
  } else {
    using _ = floor;
    if (alone) {
      await runCases(floor, "late", openLate, (result) => {
        console.log(JSON.stringify(result));
      });
      return;
    }
    for (const side of Object.keys(MISSING) as Side[]) {
      const reason = MISSING[side]();
      if (reason !== null) skip(side, reason);
    }
    await runFloor(floor);
    await runCases(floor, "loopback", openLoopback, keep);
    await runLate(floor);
  }
  if (json) console.log(JSON.stringify(report, null, 2));
}

function choose(peer: Case["peer"]): Case[] {
  return CASES.filter((one) =>
    one.peer === peer && matches(one.group, one.name)
  );
}

function matches(group: string, name: string): boolean {
  return filters.length === 0 ||
    filters.some((one) => group.includes(one) || name.includes(one));
}

async function runFloor({ library }: Floor): Promise<void> {
  const chosen = FLOOR.filter(({ name }) => matches("floor", name));
  if (chosen.length > 0) say(`\n${row("floor", ["ns", "[quartiles]"])}`);
  for (const { name, setup } of chosen) {
    const run = setup(library);
    const stats = await measure(() => do_not_optimize(run()));
    const { min, p25: q1, p50: median, p75: q3 } = stats;
    const ns = { min, q1, median, q3 };
    report.floor.push({ name, ns });
    say(row(name, [median.toFixed(1), quartiles(ns, 1)]));
  }
}

async function runCases(
  floor: Floor,
  peer: Case["peer"],
  open: (floor: Floor) => Promise<World>,
  done: (result: CaseResult) => void,
): Promise<void> {
  const chosen = choose(peer);
  if (chosen.length === 0) return;
  using world = await open(floor);
  for (const one of chosen) {
    if (one.delay !== undefined) await world.peer.ask(`delay ${one.delay}`);
    done(await runCase(one, world));
  }
}

async function runCase(one: Case, world: World): Promise<CaseResult> {
  const { group, name, count: connects } = one;
  const sides = new Map(
    (Object.keys(one.sides) as Side[])
      .filter((side) => MISSING[side]() === null)
      .map((side) => [side, one.sides[side]!(world)]),
  );
  const rounds = Number(asked ?? one.rounds ?? ROUNDS);
  const samples = await runRounds(
    sides,
    connects,
    rounds,
    () => world.peer.ask("drain"),
  );
  const result: CaseResult = {
    group,
    name,
    connects,
    rounds,
    sides: {},
    ratios: {},
  };
  function compare(above: Side, below: Side): void {
    const [a, b] = [samples.get(above), samples.get(below)];
    if (above === below || a === undefined || b === undefined) return;
    result.ratios[`${above}/${below}`] = ratio(a, b, metric);
  }
  for (const [side, own] of samples) {
    result.sides[side] = {
      wall: spread(own.map(({ wall }) => wall / connects / 1e3)),
      cpu: spread(own.map(({ cpu }) => cpu / connects / 1e3)),
    };
    compare(side, BASELINE);
    if (side !== BASELINE) compare("ours", side);
  }
  return result;
}

/** Has those cases run that need a network of their own, by a process that has one. */
async function runLate(floor: Floor): Promise<void> {
  const chosen = choose("late");
  if (chosen.length === 0) return;
  const lines = inNamespace(floor, [LATE, ...args]);
  if (lines === null) {
    skip(
      "the cases with a late peer",
      "they need Linux, /dev/net/tun and a network namespace",
    );
    return;
  }
  let left = chosen.length;
  for await (const line of lines) {
    keep(JSON.parse(line));
    left--;
  }
  if (left === 0) return;
  skip(`${left} of the cases with a late peer`, "their process has failed");
  process.exitCode = 1;
}

/** Notes a result, and shows it in the table. */
function keep(result: CaseResult): void {
  if (report.cases.length === 0) {
    say("\n" + row(`${metric} per connect and close`, COLUMNS.map(([a]) => a)));
  }
  report.cases.push(result);
  say(row(result.name, COLUMNS.map(([, cell]) => cell(result))));
}

function describeMachine(): Record<string, string> {
  const [cpu] = cpus();
  return {
    system: `${type()} ${release()} ${arch()}`,
    cpu: `${cpus().length} x ${cpu?.model ?? "unknown"}`,
    load: `${loadavg()[0]!.toFixed(2)} before the first round`,
    runtime: "Deno" in globalThis
      ? `Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`
      : `Node ${process.version}`,
    compiler: firstLine("cc", ["--version"]),
    commit: firstLine("git", [
      "-c",
      "safe.directory=*",
      "-C",
      fileURLToPath(new URL(".", import.meta.url)),
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
    return output.split("\n")[0]!;
  } catch {
    return "unknown";
  }
}

/** The columns of the table, and what they show. */
const COLUMNS: readonly [head: string, cell: (one: CaseResult) => string][] = [
  ["ours µs", (one) => microseconds(one, "ours")],
  ["raw µs", (one) => microseconds(one, "raw")],
  ["C µs", (one) => microseconds(one, "C")],
  ["Deno µs", (one) => microseconds(one, "Deno.connect")],
  ["ours/C", (one) => median(one, "ours/C")],
  ["[quartiles]", (one) => quartiles(one.ratios["ours/C"], 3)],
  ["raw/C", (one) => median(one, "raw/C")],
  ["ours/Deno", (one) => median(one, "ours/Deno.connect")],
  ["Deno/C", (one) => median(one, "Deno.connect/C")],
];

function microseconds({ sides }: CaseResult, side: Side): string {
  return sides[side]?.[metric].median.toFixed(2) ?? "-";
}

function median({ ratios }: CaseResult, name: string): string {
  return ratios[name]?.median.toFixed(3) ?? "-";
}

function quartiles(values: Spread | undefined, digits: number): string {
  if (values === undefined) return "-";
  return `[${values.q1.toFixed(digits)} ${values.q3.toFixed(digits)}]`;
}

function row(name: string, cells: readonly string[]): string {
  return name.padEnd(34) +
    cells.map((cell) => cell.padStart(cell.startsWith("[") ? 18 : 10)).join("");
}

function skip(what: string, why: string): void {
  const line = `skipped ${what}: ${why}`;
  report.skipped.push(line);
  say(line);
}

/** Prints where a person reads it: not in the midst of JSON. */
function say(line: string): void {
  if (json) console.error(line);
  else console.log(line);
}

await main();
