/**
 * What connects take of memory. Each figure comes from processes of its own, for what has gone before in one would show.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { HERE, type World, writeModule } from "./peers.ts";
import type { MemoryResult } from "./report.ts";
import { spread } from "./rounds.ts";
import { present, type Side } from "./sides.ts";

/** How what is measured here can be asked for. */
export const MEMORY = {
  group: "memory",
  name: "memory",
  peer: "late",
} as const;

/** How many connects are pending at a time. */
const PENDING = 10_000;
/** How many calls are counted, and in how many parts: a collection spoils the part in which it comes. */
const CALLS = 1_000_000;
const PARTS = 100;

const MODULE = JSON.stringify(new URL("../mod.ts", import.meta.url).href);

/** What a module prints when it begins with what is counted. */
const BEGIN = "calls begin";

/**
 * Measures all sides.
 *
 * @param world Where only loopback replies, and nobody listens there.
 */
export function* measureMemory(world: World): Generator<MemoryResult> {
  for (const [side, command] of pendingCommands(world)) {
    const name = `${PENDING} pending connects`;
    yield measure(name, side, command, { count: PENDING, processes: 5 });
  }
  const name = `${CALLS} calls of tryConnect, refused`;
  for (const [side, text] of Object.entries(CALL_MODULES)) {
    const command = writeModule(world.floor, side, text, { gc: true });
    yield measure(name, side as MemoryResult["side"], command);
  }
}

function measure(
  name: string,
  side: MemoryResult["side"],
  command: readonly string[],
  { count = 1, processes = 1 } = {},
): MemoryResult {
  const samples = Array.from(
    { length: processes },
    () => run(command).map((bytes) => bytes / count),
  );
  const heap = spread(samples.map(([heap]) => heap!));
  if (samples[0]!.length === 1) return { name, side, heap };
  const resident = spread(samples.map(([, resident]) => resident!));
  return { name, side, heap, resident };
}

/** Runs a module, and returns the numbers that it prints, or the one that its runtime logs of calls. */
function run([program, ...args]: readonly string[]): number[] {
  const { collections } = HERE;
  const { status, stdout, stderr } = spawnSync(program!, args, {
    encoding: "utf8",
    env: { ...process.env, ...collections?.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (status !== 0) throw new Error(`A process has failed: ${stderr}`);
  const [, log] = stderr.split(BEGIN);
  if (log !== undefined && collections !== undefined) {
    const cycles = [...log.matchAll(collections.bytes)]
      .map(([, bytes]) => Number(bytes));
    return [cycles.reduce((sum, bytes) => sum + bytes, 0) / CALLS];
  }
  return stdout.trim().split(" ").map(Number);
}

/** A process for each side, which leaves connects pending and prints what that took. */
function* pendingCommands(
  { floor, hosts, port }: World,
): Generator<[Side, string[]]> {
  const targets = hosts.map((hostname) => ({ hostname, port }));
  function write(name: string, begin: string): string[] {
    const text = pendingModule(begin, JSON.stringify(targets));
    return writeModule(floor, name, text, { gc: true });
  }
  yield [
    "ours",
    write("pending-ours", `(await import(${MODULE})).connect`),
  ];
  for (const [name, { pending }] of present(floor)) {
    if (pending !== undefined) {
      yield [name, write(`pending-${name.replace(":", "-")}`, pending)];
    }
  }
  const args = ["pending", hosts.join(","), `${port}`, `${PENDING}`];
  yield ["C", [floor.program, ...args]];
}

/** The kernel says when all of them have been sent off: a runtime may take its time. */
function pendingModule(begin: string, targets: string): string {
  return `
    import { readFileSync } from "node:fs";
    import process from "node:process";
    const targets = ${targets};
    const begin = ${begin};
    function sockets() {
      const text = readFileSync("/proc/net/sockstat", "utf8");
      return Number(/^TCP: inuse (\\d+)/m.exec(text)[1]);
    }
    const pending = [];
    const before = sockets();
    gc();
    const { heapUsed, rss } = process.memoryUsage();
    for (let i = 0; i < ${PENDING}; i++) {
      pending.push(begin(targets[i % targets.length]));
    }
    do {
      await new Promise((done) => setTimeout(done, 20));
    } while (sockets() - before < pending.length);
    gc();
    const after = process.memoryUsage();
    console.log(after.heapUsed - heapUsed, after.rss - rss);
    process.exit(0);
  `;
}

/**
 * Prints the bytes for each call: the median of many parts, each without what a collection has taken away. The bytes that
 * a runtime logs of its collections are those of all parts together, and lack what the last collection was too early for.
 */
function callsModule(setup: string, call: string): string {
  return `
    import process from "node:process";
    ${setup}
    function part() {
      const before = process.memoryUsage().heapUsed;
      for (let i = 0; i < ${CALLS / PARTS}; i++) ${call};
      return process.memoryUsage().heapUsed - before;
    }
    for (let i = 0; i < 3; i++) part();
    gc();
    console.error("${BEGIN}");
    const parts = Array.from({ length: ${PARTS} }, part);
    console.log(parts.sort((a, b) => a - b)[${PARTS / 2}] / ${CALLS / PARTS});
    process.exit(0);
  `;
}

const CALL_MODULES: Readonly<Partial<Record<MemoryResult["side"], string>>> = {
  ours: callsModule(
    `import { inet, Socket } from ${MODULE};
    const socket = Socket.open();
    const address = inet("127.0.0.1", 1);`,
    `if (socket.tryConnect(address) === 0) throw new Error("no refusal")`,
  ),
  // Shows that an allocation would be seen.
  control: callsModule(
    "const kept = [null];",
    "kept[0] = { number: i }",
  ),
};
