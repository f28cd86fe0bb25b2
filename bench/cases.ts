/**
 * Every case of the benches, once; `run.ts` runs them.
 *
 * @module
 */
import type { Declaration, Libc } from "../ffi/contract.ts";
import { doorFor, libc, openFunctions, useLibc } from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import { performance } from "../ffi/timers.ts";
import {
  type Address,
  connect,
  connectSync,
  type ConnectTarget,
  Errno,
  inet,
  inet6,
  Socket,
  unix,
} from "../mod.ts";
import { prepare } from "../src/connect/call.ts";
import { planTarget } from "../src/connect/target.ts";
import { errnoError } from "../src/errors/errors.ts";
import type { Floor, World } from "./peers.ts";
import type { Run } from "./rounds.ts";
import {
  type Case,
  concurrentRun,
  present,
  type Side,
  type Tcp,
  tcpTargets,
  unixTargets,
  type Work,
  wrongPort,
} from "./sides.ts";
import { coldCase } from "./cold.ts";
import { startSides } from "./start.ts";

/** One thing that takes nanoseconds. */
export interface FloorCase {
  readonly name: string;
  /** Whether a kernel that agrees to everything stands in for the system's, so that what is left is our own share. */
  readonly isOurShare?: true;
  /** @param library The path of floor.c as a shared library. */
  setup(library: string): () => unknown;
}

/** What a call costs before it does anything, and what surrounds it. */
export const FLOOR: readonly FloorCase[] = [
  { name: "call()", setup: (library) => nothing(library).none },
  {
    name: "call(int)",
    setup(library) {
      const { int } = nothing(library);
      return () => int(1);
    },
  },
  {
    name: "call(int, int, int)",
    setup(library) {
      const { ints } = nothing(library);
      return () => ints(1, 2, 3);
    },
  },
  {
    name: "call(buffer of 16 B)",
    setup(library) {
      const { buffer } = nothing(library);
      const bytes = new Uint8Array(new ArrayBuffer(16));
      return () => buffer(bytes);
    },
  },
  {
    name: "call(int, buffer of 16 B, uint)",
    setup(library) {
      const { connect } = nothing(library);
      const bytes = new Uint8Array(new ArrayBuffer(16));
      return () => connect(1, bytes, 16);
    },
  },
  {
    name: "call(int, buffer of 110 B, uint)",
    setup(library) {
      const { connect } = nothing(library);
      const bytes = new Uint8Array(new ArrayBuffer(110));
      return () => connect(1, bytes, 110);
    },
  },
  {
    name: "close(-1), errno not read",
    setup(library) {
      const { close } = nothing(library);
      return () => close(-1);
    },
  },
  {
    name: "close(-1), errno read",
    setup() {
      const c = libc();
      return () => c.close(-1);
    },
  },
  {
    name: "the net permission, fully granted",
    setup() {
      const { permissions } = libc();
      return () => permissions.net();
    },
  },
  { name: "the clock", setup: () => () => performance.now() },
  {
    name: "a target's plan, found again",
    setup() {
      const c = libc();
      return () => planTarget(c, SOMEWHERE);
    },
  },
  {
    name: "a call's options, read, with clock and plan",
    setup: () => () => prepare(SOMEWHERE, undefined),
  },
  {
    name: "inet() encodes",
    setup: () => () => inet("127.0.0.1", 8080),
  },
  {
    name: "inet6() encodes",
    setup: () => () => inet6("2001:db8::1", 8080),
  },
  {
    name: "unix() encodes",
    setup: () => () => unix("/run/example.sock"),
  },
  {
    name: "an ErrnoError, made",
    setup: () => () =>
      errnoError("ECONNREFUSED", {
        syscall: "connect",
        address: "127.0.0.1:80",
      }),
  },
  {
    name: "tryConnect, no kernel",
    isOurShare: true,
    setup() {
      const address = inet("127.0.0.1", 80);
      return () => {
        const socket = Socket.open();
        socket.tryConnect(address);
        socket.close();
      };
    },
  },
  {
    name: "connectSync, no kernel",
    isOurShare: true,
    setup: () => () => connectSync(SOMEWHERE).close(),
  },
  {
    name: "connectSync with a timeout, no kernel",
    isOurShare: true,
    setup: () => () => connectSync({ ...SOMEWHERE, timeout: 1000 }).close(),
  },
  {
    name: "connect, no kernel",
    isOurShare: true,
    setup: () => async () => (await connect(SOMEWHERE)).close(),
  },
];

const SOMEWHERE: Tcp = { hostname: "127.0.0.1", port: 80 };

/** Puts functions that do nothing in the place of those that a successful connect calls. */
export function useNoKernel(): Disposable {
  const nothing = (): number => 0;
  return useLibc({
    ...libc(),
    socket: () => 1_000_000,
    connect: nothing,
    getsockname: nothing,
    getpeername: nothing,
    fcntl: nothing,
    close: nothing,
  });
}

/** The functions of floor.c that do nothing, and one that fails in the kernel. */
interface Nothing {
  none(): number;
  int(a: number): number;
  ints(a: number, b: number, c: number): number;
  buffer(a: Uint8Array): number;
  connect(a: number, b: Uint8Array, c: number): number;
  close(fd: number): number;
}

/** Calls them by the package's own door, so that they cost what its calls do. */
function nothing(library: string): Nothing {
  const parameters: Record<keyof Nothing, Declaration["parameters"]> = {
    none: [],
    int: ["int"],
    ints: ["int", "int", "int"],
    buffer: ["buffer"],
    connect: ["int", "buffer", "uint"],
    close: ["int"],
  };
  const declarations = Object.entries(parameters).map((
    [entry, parameters],
  ): Declaration => ({
    entry,
    symbol: entry === "close" ? entry : `floor_${entry}`,
    parameters,
    result: "int",
    offThread: false,
  }));
  return openFunctions(libc().abi, doorFor(), library, declarations);
}

/** What a case of connects is made of. */
interface ConnectCase
  extends Omit<Case, "baseline" | "hasHandshake" | "sides"> {
  readonly ours: (world: World) => Run;
  readonly raw?: (world: World) => Run;
  /** The same work, in words that all others know. */
  readonly kind: Work["kind"];
  /** @default {1} */
  readonly concurrency?: number;
}

function connects(
  { ours, raw, kind, concurrency = 1, ...rest }: ConnectCase,
): Case {
  return {
    ...rest,
    baseline: "C",
    hasHandshake: ["blocking", "nonblocking", "flight"].includes(kind),
    sides(world) {
      const sides = new Map<Side, Run>([["ours", ours(world)]]);
      if (raw !== undefined) sides.set("raw", raw(world));
      for (const [name, rival] of present(world.floor)) {
        const run = rival.run(world, { kind, concurrency });
        if (run !== null) sides.set(name, run);
      }
      return sides;
    },
  };
}

/** The cases, group by group. */
export const CASES: readonly Case[] = [
  connects({
    group: "sync",
    name: "tryConnect",
    peer: "loopback",
    count: 1000,
    kind: "blocking",
    ours: (world) => tryRun(inets(world), 0),
    raw: (world) => rawRun(inets(world), 0),
  }),
  connects({
    group: "sync",
    name: "connectSync",
    peer: "loopback",
    count: 1000,
    kind: "blocking",
    ours: (world) => connectSyncRun(tcpTargets(world)),
  }),
  connects({
    group: "sync",
    name: "connectSync with a timeout",
    peer: "loopback",
    count: 1000,
    kind: "nonblocking",
    ours: (world) => connectSyncRun(tcpTargets(world), { timeout: 1000 }),
  }),
  connects({
    group: "async",
    name: "connect",
    peer: "loopback",
    count: 1000,
    kind: "nonblocking",
    ours: (world) => concurrentRun(1, ourConnect(tcpTargets(world))),
  }),
  connects({
    group: "refused",
    name: "tryConnect, refused",
    peer: "loopback",
    count: 1000,
    kind: "refused",
    ours: (world) => tryRun(inets(world, world.refused), refusal()),
    raw: (world) => rawRun(inets(world, world.refused), refusal()),
  }),
  connects({
    group: "refused",
    name: "connectSync, refused",
    peer: "loopback",
    count: 1000,
    kind: "thrown",
    ours: connectSyncRefusedRun,
  }),
  connects({
    group: "unix",
    name: "tryConnect, unix",
    peer: "loopback",
    count: 1000,
    kind: "unix",
    ours: (world) => tryRun(unixes(world), 0),
    raw: (world) => rawRun(unixes(world), 0),
  }),
  connects({
    group: "unix",
    name: "connectSync, unix",
    peer: "loopback",
    count: 1000,
    kind: "unix",
    ours: (world) => connectSyncRun(unixTargets(world)),
  }),
  connects({
    group: "scan",
    name: "tryConnect, all ports",
    peer: "alone",
    count: 65_535,
    rounds: 7,
    kind: "scan",
    // Those that can have several under way are as fast as they can be.
    concurrency: 100,
    ours: scanRun,
    raw: rawScanRun,
  }),
  ...[[1000, 20, 31], [10_000, 10, 15]].map(([delay, count, rounds]): Case =>
    connects({
      group: "late",
      name: `connectSync, after ${delay! / 1000} ms`,
      peer: "late",
      delay: delay!,
      count: count!,
      rounds: rounds!,
      kind: "blocking",
      ours: (world) => connectSyncRun(tcpTargets(world)),
    })
  ),
  ...[[1000, 20, 31], [10_000, 10, 15]].map(([delay, count, rounds]): Case =>
    connects({
      group: "late",
      name: `connect, after ${delay! / 1000} ms`,
      peer: "late",
      delay: delay!,
      count: count!,
      rounds: rounds!,
      kind: "nonblocking",
      ours: (world) => concurrentRun(1, ourConnect(tcpTargets(world))),
    })
  ),
  ...[
    [100, 1, 600],
    [100, 10, 300],
    [1, 50, 2],
    [100, 50, 300],
    [1000, 50, 3000],
    [10_000, 50, 10_000],
  ].map(([concurrency, delay, count]): Case =>
    connects({
      group: "in flight",
      name: `${concurrency} in flight, ${delay} ms`,
      peer: "late",
      delay: delay! * 1000,
      count: count!,
      rounds: 15,
      kind: "flight",
      concurrency: concurrency!,
      ours: (world) =>
        concurrentRun(concurrency!, ourConnect(tcpTargets(world))),
    })
  ),
  ...(["connectSync", "connect"] as const).flatMap((call) =>
    [20, 200].map((count) =>
      coldCase({
        name: `${call}, the first ${count}`,
        peer: "loopback",
        count,
        rounds: 15,
        call,
        order: "in turn",
      }, ({ floor }) => rivalCalls(floor))
    )
  ),
  coldCase({
    name: "the first 10000 in flight, 50 ms",
    peer: "late",
    delay: 50_000,
    count: 10_000,
    rounds: 7,
    call: "connect",
    order: "at once",
  }, ({ floor }) => rivalCalls(floor)),
  {
    group: "start",
    name: "a process that connects once",
    peer: "loopback",
    count: 1,
    rounds: 15,
    baseline: "empty",
    hasHandshake: false,
    sides: (world) => startSides(world, rivalScripts(world.floor)),
  },
];

/** How others connect once, as the text of a function. */
function rivalCalls(floor: Floor): Map<Side, string> {
  const calls = new Map<Side, string>();
  for (const [name, { once }] of present(floor)) {
    if (once !== undefined) calls.set(name, once);
  }
  return calls;
}

/** What others do in a whole process. */
function rivalScripts(floor: Floor): Map<Side, (target: string) => string> {
  return new Map([...rivalCalls(floor)].map(([name, once]) => [
    name,
    (target) => `await (${once})(${target});`,
  ]));
}

function inets({ hosts, port }: World, other: number = port): Address[] {
  return hosts.map((host) => inet(host, other));
}

function unixes({ paths }: World): Address[] {
  return paths.map((path) => unix(path));
}

/** This system's number for a refusal. */
function refusal(): number {
  return libc().abi.errnos.ECONNREFUSED!;
}

/** The calls alone, through the door. */
function rawRun(addresses: readonly Address[], wanted: number): Run {
  const c: Libc = libc();
  const { abi } = c;
  const bytes = addresses.map((address) => address.toBytes());
  const domain = addresses[0]!.family === "unix" ? abi.AF_UNIX : abi.AF_INET;
  const type = abi.SOCK_STREAM | (abi.SOCK_CLOEXEC ?? 0);
  return (count) => {
    for (let i = 0; i < count; i++) {
      const fd = c.socket(domain, type, 0);
      const address = bytes[i % bytes.length]!;
      const result = c.connect(fd, address, address.length);
      c.close(fd);
      if (result !== 0 - wanted) throw unexpected(-result);
    }
  };
}

function tryRun(addresses: readonly Address[], wanted: number): Run {
  const family = addresses[0]!.family === "unix" ? "unix" : "inet";
  return (count) => {
    for (let i = 0; i < count; i++) {
      const socket = Socket.open({ family });
      const errno = socket.tryConnect(addresses[i % addresses.length]!);
      socket.close();
      if (errno !== wanted) throw unexpected(errno);
    }
  };
}

function connectSyncRun(
  targets: readonly ConnectTarget[],
  options: { timeout?: number } = {},
): Run {
  return (count) => {
    for (let i = 0; i < count; i++) {
      connectSync(targets[i % targets.length]!, options).close();
    }
  };
}

function connectSyncRefusedRun(world: World): Run {
  const targets = tcpTargets(world, world.refused);
  return (count) => {
    for (let i = 0; i < count; i++) {
      try {
        connectSync(targets[i % targets.length]!).close();
      } catch (error) {
        if (error instanceof Errno.ECONNREFUSED) continue;
        throw error;
      }
      throw unexpected(0);
    }
  };
}

/** Asks every port, one after the other; what has reached itself does not count. */
function scanRun({ hosts, port: open }: World): Run {
  const host = hosts[0]!;
  return (count) => {
    for (let port = 1; port <= count; port++) {
      const socket = Socket.open();
      const errno = socket.tryConnect(inet(host, port));
      const found = errno === 0 && !isPort(socket.localAddress, port);
      socket.close();
      if (errno !== 0 && errno !== refusal()) throw unexpected(errno);
      if (found !== (port === open)) throw wrongPort(port, found);
    }
  };
}

function isPort(address: Address, port: number): boolean {
  return address.family === "inet" && address.port === port;
}

function rawScanRun({ hosts, port: open }: World): Run {
  const c: Libc = libc();
  const { AF_INET, SOCK_STREAM, SOCK_CLOEXEC, sockaddrIn } = c.abi;
  const address = inet(hosts[0]!, 0).toBytes();
  const view = new DataView(address.buffer, address.byteOffset);
  const own = newMemory(address.length);
  const ownView = new DataView(own.buffer);
  return (count) => {
    for (let port = 1; port <= count; port++) {
      const fd = c.socket(AF_INET, SOCK_STREAM | (SOCK_CLOEXEC ?? 0), 0);
      view.setUint16(sockaddrIn.port, port);
      const result = c.connect(fd, address, address.length);
      if (result === 0) c.getsockname(fd, own);
      c.close(fd);
      if (result !== 0 && result !== -refusal()) throw unexpected(-result);
      const local = ownView.getUint16(sockaddrIn.port);
      const found = result === 0 && local !== port;
      if (found !== (port === open)) throw wrongPort(port, found);
    }
  };
}

/** The i-th connect of a run, from its beginning to its close. */
function ourConnect(
  targets: readonly ConnectTarget[],
): (i: number) => Promise<void> {
  return async (i) => {
    (await connect(targets[i % targets.length]!)).close();
  };
}

function unexpected(errno: number): Error {
  return new Error(`Cannot go on: connect returned errno ${errno}`);
}
