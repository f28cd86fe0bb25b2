/**
 * Every case of the benches, once; `run.ts` runs them.
 *
 * @module
 */
import {
  type Declaration,
  doorFor,
  type Libc,
  libc,
  openFunctions,
} from "../ffi/libc.ts";
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
import { errnoError } from "../src/errors.ts";
import type { World } from "./peers.ts";
import type { Run } from "./rounds.ts";

/** Who does the work. */
export type Side = "ours" | "raw" | "C" | "Deno.connect";

/** What all other sides are compared with. */
export const BASELINE: Side = "C";

/** Why a side cannot take part here, `null` if it can. */
export const MISSING: Readonly<Record<Side, () => string | null>> = {
  ours: () => null,
  raw: () => null,
  C: () => null,
  "Deno.connect": () => "Deno" in globalThis ? null : "this is not Deno",
};

/** Connects, made and closed, by several sides. */
export interface Case {
  readonly group: string;
  readonly name: string;
  /** Who is connected to: a listener on loopback, or what answers after `delay`. */
  readonly peer: "loopback" | "late";
  /** Microseconds until a late peer answers. */
  readonly delay?: number;
  /** How many connects make a round; few enough for the peer's queues. */
  readonly count: number;
  readonly rounds?: number;
  /** What each side sets up, and then runs. */
  readonly sides: Readonly<Partial<Record<Side, (world: World) => Run>>>;
}

/** One thing that takes nanoseconds. */
export interface FloorCase {
  readonly name: string;
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
];

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

/** The cases, group by group. */
export const CASES: readonly Case[] = [
  {
    group: "sync",
    name: "tryConnect",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => tryRun(inets(world), 0),
      raw: (world) => rawRun(inets(world), 0),
      C: (world) => cRun(world, "blocking"),
      "Deno.connect": (world) => denoRun(tcpTargets(world)),
    },
  },
  {
    group: "sync",
    name: "connectSync",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => connectSyncRun(tcpTargets(world)),
      raw: (world) => rawRun(inets(world), 0),
      C: (world) => cRun(world, "blocking"),
      "Deno.connect": (world) => denoRun(tcpTargets(world)),
    },
  },
  {
    group: "sync",
    name: "connectSync with a timeout",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => connectSyncRun(tcpTargets(world), { timeout: 1000 }),
      C: (world) => cRun(world, "nonblocking"),
      "Deno.connect": (world) => denoRun(tcpTargets(world)),
    },
  },
  {
    group: "async",
    name: "connect",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => concurrentRun(1, ourConnect(tcpTargets(world))),
      C: (world) => cRun(world, "nonblocking"),
      "Deno.connect": (world) => denoRun(tcpTargets(world)),
    },
  },
  {
    group: "refused",
    name: "tryConnect, refused",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => tryRun(inets(world, world.refused), refusal()),
      raw: (world) => rawRun(inets(world, world.refused), refusal()),
      C: (world) => cRun(world, "refused"),
      "Deno.connect": (world) => denoRefusedRun(world),
    },
  },
  {
    group: "refused",
    name: "connectSync, refused",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => connectSyncRefusedRun(world),
      C: (world) => cRun(world, "refused"),
      "Deno.connect": (world) => denoRefusedRun(world),
    },
  },
  {
    group: "unix",
    name: "tryConnect, unix",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => tryRun(unixes(world), 0),
      raw: (world) => rawRun(unixes(world), 0),
      C: (world) => cRun(world, "unix"),
      "Deno.connect": (world) => denoRun(unixTargets(world)),
    },
  },
  {
    group: "unix",
    name: "connectSync, unix",
    peer: "loopback",
    count: 1000,
    sides: {
      ours: (world) => connectSyncRun(unixTargets(world)),
      C: (world) => cRun(world, "unix"),
      "Deno.connect": (world) => denoRun(unixTargets(world)),
    },
  },
  {
    group: "late",
    name: "connectSync, after 1 ms",
    peer: "late",
    delay: 1000,
    count: 20,
    sides: {
      ours: (world) => connectSyncRun(tcpTargets(world)),
      C: (world) => cRun(world, "blocking"),
      "Deno.connect": (world) => denoRun(tcpTargets(world)),
    },
  },
  {
    group: "late",
    name: "connect, after 1 ms",
    peer: "late",
    delay: 1000,
    count: 20,
    sides: {
      ours: (world) => concurrentRun(1, ourConnect(tcpTargets(world))),
      C: (world) => cRun(world, "nonblocking"),
      "Deno.connect": (world) => denoRun(tcpTargets(world)),
    },
  },
  ...[[1, 2], [100, 300], [1000, 3000], [10_000, 10_000]].map((
    [concurrency, count],
  ): Case => ({
    group: "in flight",
    name: `${concurrency} in flight, 50 ms`,
    peer: "late",
    delay: 50_000,
    count: count!,
    rounds: 15,
    sides: {
      ours: (world) =>
        concurrentRun(concurrency!, ourConnect(tcpTargets(world))),
      C: (world) => cRun(world, "flight", concurrency),
      "Deno.connect": (world) =>
        concurrentRun(concurrency!, denoConnect(tcpTargets(world))),
    },
  })),
];

function inets({ hosts, port }: World, other: number = port): Address[] {
  return hosts.map((host) => inet(host, other));
}

function unixes({ paths }: World): Address[] {
  return paths.map((path) => unix(path));
}

interface Tcp {
  readonly hostname: string;
  readonly port: number;
}

interface Unix {
  readonly transport: "unix";
  readonly path: string;
}

function tcpTargets({ hosts, port }: World, other: number = port): Tcp[] {
  return hosts.map((hostname) => ({ hostname, port: other }));
}

function unixTargets({ paths }: World): Unix[] {
  return paths.map((path) => ({ transport: "unix", path }));
}

/** This system's number for a refusal. */
function refusal(): number {
  return libc().abi.errnos.ECONNREFUSED!;
}

/** The loop of floor.c that has this name. */
function cRun({ c }: World, kind: string, concurrency: number = 1): Run {
  return async (count) => {
    const answer = await c.ask(`round ${kind} ${count} ${concurrency}`);
    const [wall, cpu] = answer.split(" ").map(Number);
    return { wall: wall!, cpu: cpu! };
  };
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

/** The i-th connect of a run, from its beginning to its close. */
type Connect = (i: number) => Promise<void>;

function ourConnect(targets: readonly ConnectTarget[]): Connect {
  return async (i) => {
    (await connect(targets[i % targets.length]!)).close();
  };
}

function denoConnect(targets: readonly (Tcp | Unix)[]): Connect {
  return async (i) => {
    const target = targets[i % targets.length]!;
    const connection = "path" in target
      ? await Deno.connect(target)
      : await Deno.connect(target);
    connection.close();
  };
}

function denoRun(targets: readonly (Tcp | Unix)[]): Run {
  return concurrentRun(1, denoConnect(targets));
}

function denoRefusedRun(world: World): Run {
  const connect = denoConnect(tcpTargets(world, world.refused));
  return concurrentRun(1, async (i) => {
    try {
      await connect(i);
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return;
      throw error;
    }
    throw unexpected(0);
  });
}

/** Connects again and again, so many at a time. */
function concurrentRun(concurrency: number, connect: Connect): Run {
  return async (count) => {
    let next = 0;
    async function work(): Promise<void> {
      while (next < count) await connect(next++);
    }
    await Promise.all(Array.from({ length: concurrency }, work));
  };
}

function unexpected(errno: number): Error {
  return new Error(`Cannot go on: connect answered errno ${errno}`);
}
