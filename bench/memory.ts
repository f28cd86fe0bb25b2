/**
 * What connects take of memory. Each figure comes from processes of its own, for what has gone before in one would show.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { present, type Side } from "./cases.ts";
import { type World, writeModule } from "./peers.ts";
import type { MemoryResult } from "./report.ts";
import { spread } from "./rounds.ts";

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

/**
 * Measures all sides.
 *
 * @param world Where nothing answers but loopback, and nobody listens there.
 * @returns The results, and sentences that say why there is none.
 */
export function* measureMemory(
  world: World,
): Generator<MemoryResult | string> {
  for (const [side, command] of pendingCommands(world)) {
    const name = `${PENDING} pending connects`;
    yield measure(name, side, command, { count: PENDING, processes: 5 });
  }
  const { floor } = world;
  const kept = writeModule(floor, "kept", CONTROL_MODULE, { gc: true });
  const name = `${CALLS} calls of tryConnect, refused`;
  const control = measure(name, "control", kept);
  if (control.heap.median < 1) {
    yield "this runtime does not count objects as it makes them";
    return;
  }
  const calls = writeModule(floor, "calls", CALLS_MODULE, { gc: true });
  yield measure(name, "ours", calls);
  yield control;
}

function measure(
  name: string,
  side: MemoryResult["side"],
  [program, ...args]: readonly string[],
  { count = 1, processes = 1 } = {},
): MemoryResult {
  const samples = Array.from(
    { length: processes },
    () =>
      execFileSync(program!, args, {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "inherit"],
      }).trim().split(" ").map((bytes) => Number(bytes) / count),
  );
  const heap = spread(samples.map(([heap]) => heap!));
  if (samples[0]!.length === 1) return { name, side, heap };
  const resident = spread(samples.map(([, resident]) => resident!));
  return { name, side, heap, resident };
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

/** Prints the bytes for each call: the median of many parts. */
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
    const parts = Array.from({ length: ${PARTS} }, part);
    console.log(parts.sort((a, b) => a - b)[${PARTS / 2}] / ${CALLS / PARTS});
  `;
}

const CALLS_MODULE = callsModule(
  `import { inet, Socket } from ${MODULE};
    const socket = Socket.open();
    const address = inet("127.0.0.1", 1);`,
  `if (socket.tryConnect(address) === 0) throw new Error("no refusal")`,
);

/** Would go unseen where the runtime does not count as it goes. */
const CONTROL_MODULE = callsModule(
  "const kept = [null];",
  "kept[0] = { number: i }",
);
