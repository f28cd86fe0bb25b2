import { assert, assertEquals, assertLess } from "@std/assert";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc, useLibc } from "../ffi/libc.ts";
import { connect, ErrnoError, type InetAddress, Socket } from "../mod.ts";
import { pause } from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  inChild,
  tempFolder,
  threadTime,
} from "./_fixtures.ts";
import { needs, test } from "./_harness.ts";

const abi = currentAbi();
const onLinux = abi.os === "linux"
  ? null
  : "the whole of 127.0.0.0/8 is this machine on Linux alone";

/** How many connects there are in all; `EINPROGRESS_LOAD` sets another number. */
const CONNECTS = Number(process.env.EINPROGRESS_LOAD ?? 40_000);
/** How many a peer serves, which a child of its own does for each round. */
const ROUND = 20_000;
/** How many are under way at a time. */
const CONCURRENCY = 800;
/**
 * How many refused connects in a row take as long as the event loop may be kept from its other work: about 5 ms, where
 * nothing else runs. A machine that is slow for the one is slow for the other.
 */
const YARDSTICK = 400;
/** A turn of less, in ms, has done nothing. */
const IDLE = 0.1;
/** Which turns a failure lists, from the shortest to the longest. */
const SHARES: readonly number[] = [0.5, 0.9, 0.99, 1];

/** Milliseconds that nothing takes, unless something is wrong. */
const AGES = 30_000;

/** How connects end, and how many end so. */
type Tally = Record<string, number>;

/** Where connects go. */
interface Peers {
  /** Takes connections and resets them. */
  readonly port: number;
  readonly hole: InetAddress;
  readonly refuser: InetAddress;
}

/** Numbers that look random, and are the same in every run. */
function randomizer(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

/** One connect of any kind: a third is aborted, a third has little time, a third has neither. */
async function connectOnce(
  number: number,
  random: (below: number) => number,
  { port, hole, refuser }: Peers,
): Promise<string> {
  const host = `127.${random(256)}.${random(256)}.${1 + random(254)}`;
  const open = { hostname: host, port };
  const shut = { hostname: hole.hostname, port: hole.port };
  const kind = number % 3;
  if (kind === 0) {
    const { hostname, port } = refuser;
    const target = random(4) === 0 ? { hostname, port } : open;
    return await settle(`plain ${target === open}`, connect(target));
  }
  const target = random(3) > 0 ? shut : open;
  const name = target === open;
  if (kind === 1) {
    const timeout = random(21);
    return await settle(`timed ${name}`, connect({ ...target, timeout }));
  }
  const controller = new AbortController();
  const { signal } = controller;
  const delay = random(21) - 1;
  if (delay < 0) controller.abort("abort");
  const timer = setTimeout(() => controller.abort("abort"), delay + 1);
  const result = await settle(
    `aborted ${name}`,
    connect({ ...target, signal }),
  );
  clearTimeout(timer);
  return result;
}

/** How a connect ended, in words. */
async function settle(
  name: string,
  work: ReturnType<typeof connect>,
): Promise<string> {
  try {
    (await work).close();
    return `${name}: connected`;
  } catch (error) {
    if (error === "abort") return `${name}: abort`;
    if (error instanceof ErrnoError) {
      return `${name}: ${error.timeoutKind ?? error.code}`;
    }
    return `${name}: ${error}`;
  }
}

/** Makes many connects, so many at a time. */
async function load(
  count: number,
  seed: number,
  peers: Peers,
  tally: Tally,
): Promise<void> {
  const random = randomizer(seed);
  let next = 0;
  async function work(): Promise<void> {
    while (next < count) {
      const result = await connectOnce(next++, random, peers);
      tally[result] = (tally[result] ?? 0) + 1;
    }
  }
  const workers: Promise<void>[] = [];
  for (let i = 0; i < CONCURRENCY; i++) {
    workers.push(work());
    // To begin with all of them at once would be the test's own doing.
    if (i % 16 === 0) await pause(0);
  }
  await Promise.all(workers);
}

/** Lends the peers of a round, one of which is another process. */
async function withPeers(
  body: (peers: Peers) => Promise<void>,
): Promise<void> {
  using folder = tempFolder();
  using hole = blackHole();
  using refuser = bound();
  const file = join(folder.path, "port");
  const stop = join(folder.path, "stop");
  const child = inChild(
    {},
    async ({ inet, listen }, file, stop) => {
      const { existsSync, writeFileSync } = await import("node:fs");
      using listener = listen({ at: inet("0.0.0.0", 0), backlog: 4096 });
      writeFileSync(file, `${listener.address.port}`);
      let count = 0;
      for (; count % 64 > 0 || !existsSync(stop); count++) listener.reset();
      return count;
    },
    file,
    stop,
  );
  const end = performance.now() + AGES;
  let text = "";
  while (text === "") {
    assertLess(performance.now(), end, "no peer");
    await pause(10);
    if (existsSync(file)) text = readFileSync(file, "utf8");
  }
  const port = Number(text);
  try {
    await body({ port, hole: hole.address, refuser: refuser.address });
  } finally {
    writeFileSync(stop, "");
    // It looks for the file now and then, between two connections.
    for (let i = 0; i < 64; i++) {
      await connect({ port }).then((socket) => socket.close(), () => {});
    }
    await child;
  }
}

/** Reports how long the turns of the event loop have kept this thread, in ms. */
interface Stopwatch {
  stop(): Promise<number[]>;
}

/**
 * Measures every turn by the processor time of this thread.
 *
 * By the clock on the wall a turn is as long as the rest of the machine lets it be; what the thread itself has computed
 * meanwhile is its own doing: the reactor's, the collector's, and that of the test.
 */
function startStopwatch(): Stopwatch {
  const turns: number[] = [];
  let last = threadTime();
  let running = true;
  const done = new Promise<void>((resolve) => {
    function tick(): void {
      const time = threadTime();
      turns.push(time - last);
      last = time;
      if (running) setImmediate(tick);
      else resolve();
    }
    setImmediate(tick);
  });
  return {
    async stop() {
      running = false;
      await done;
      return turns.sort((one, other) => one - other);
    },
  };
}

function at(sorted: readonly number[], share: number): number {
  return sorted[
    Math.min(sorted.length - 1, Math.floor(sorted.length * share))
  ]!;
}

/** Milliseconds of processor time that so many refused connects in a row take. */
function measureYardstick({ refuser }: Peers): number {
  const start = threadTime();
  for (let i = 0; i < YARDSTICK; i++) {
    using socket = Socket.open();
    socket.tryConnect(refuser);
  }
  return threadTime() - start;
}

/** How each kind of connect may end. */
const OUTCOMES: Readonly<Record<string, readonly string[]>> = {
  // The peer's reset may come before the first look at the connection.
  "plain true": ["connected", "ECONNRESET"],
  "plain false": ["ECONNREFUSED"],
  // A deadline or an abort may come before any reply, or after it.
  "timed true": ["connected", "ECONNRESET", "deadline"],
  "timed false": ["deadline"],
  "aborted true": ["connected", "ECONNRESET", "abort"],
  "aborted false": ["abort"],
};

const PARTS: readonly (readonly [string, number, Partial<Libc>])[] = [
  ["epoll", 1, {}],
  // poll(2) looks at all of them every time, which is another test's matter.
  ["poll", 0.1, { abi: { ...abi, epoll: null } }],
];

for (const [name, share, fakes] of PARTS) {
  test(
    `connect() leaves nothing behind after ${
      CONNECTS * share
    } connects on ${name}`,
    async () => {
      using _use = useLibc({ ...libc(), ...fakes });
      const tally: Tally = {};
      const turns: number[] = [];
      const yardsticks: number[] = [];
      for (let left = CONNECTS * share, seed = 1; left > 0; left -= ROUND) {
        const count = Math.min(left, ROUND);
        await withPeers(async (peers) => {
          const own = openCount();
          for (let i = 0; i < 10; i++) yardsticks.push(measureYardstick(peers));
          const stopwatch = startStopwatch();
          await load(count, seed++, peers, tally);
          turns.push(...await stopwatch.stop());
          // Nobody waits: what the reactor had opened is closed a turn later.
          const end = performance.now() + AGES;
          while (openCount() > own) {
            assertLess(performance.now(), end, "descriptors are left");
            await pause(1);
          }
        });
      }
      const results = Object.entries(tally);
      for (const [result] of results) {
        const [kind, how] = result.split(": ");
        assert(OUTCOMES[kind!]!.includes(how!), result);
      }
      assertEquals(
        results.reduce((sum, [, count]) => sum + count, 0),
        CONNECTS * share,
      );
      turns.sort((one, other) => one - other);
      const busy = turns.filter((time) => time > IDLE);
      yardsticks.sort((one, other) => one - other);
      const yardstick = at(yardsticks, 0.5);
      const shown = SHARES.map((share) => `${at(busy, share).toFixed(1)} ms`)
        .concat(`by ${yardstick.toFixed(1)} ms`);
      // The test's own work and the collector's are in these figures, so that
      // most turns can be held to the bound, and the rest only to its multiple.
      assertLess(at(busy, 0.5), yardstick, `blocked for ${shown}`);
      assertLess(at(busy, 0.9), 3 * yardstick, `blocked for ${shown}`);
    },
    { skip: needs(canBlackHole(), onLinux) },
  );
}

/** How many descriptors this process has. */
function openCount(): number {
  return readdirSync("/proc/self/fd").length;
}

declare function setImmediate(callback: () => void): unknown;
