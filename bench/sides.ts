/**
 * Who does the work of a bench beside this package, and how.
 *
 * @module
 */
import { createRequire } from "node:module";
import net from "node:net";
import { resolve } from "node:path";
import process from "node:process";
import { doorFor, libc } from "../ffi/libc.ts";
import { inet, unix } from "../mod.ts";
import {
  type ClientName,
  type Floor,
  parseSample,
  time,
  tryRun,
  type World,
} from "./peers.ts";
import type { Run } from "./rounds.ts";

/** What the connects of a round are, in the words of the clients' lines. */
export type Kind =
  | "blocking"
  | "nonblocking"
  | "refused"
  | "thrown"
  | "unix"
  | "flight"
  | "scan";

/** What a round is made of. */
export interface Work {
  readonly kind: Kind;
  /** How many connects are under way at a time, where a side can have several. */
  readonly concurrency: number;
}

/** Who is compared with. */
export type Rival =
  | ClientName
  | "Deno.connect"
  | "Bun.connect"
  | "node:net"
  | "koffi"
  | "nmap";

/**
 * Who does the work; `raw` is the calls alone, through the door, `bundled` a program of ours in one file, `compiled` the
 * same with what the engine makes of it, and `empty` a program that does nothing.
 */
export type Side = "ours" | "raw" | "bundled" | "compiled" | "empty" | Rival;

/** Connects, made and closed, by several sides. */
export interface Case {
  readonly group: string;
  readonly name: string;
  /**
   * Who is connected to: a listener on loopback, the same where nobody else
   * listens, or what replies after `delay`.
   */
  readonly peer: "loopback" | "alone" | "late";
  /** Microseconds until a late peer replies. */
  readonly delay?: number;
  /** How many connects make a round; few enough for the peer's queues. */
  readonly count: number;
  readonly rounds?: number;
  /** The side that all others are compared with. */
  readonly baseline: Side;
  /** Whether the kernel has measured a round trip of each connect. */
  readonly hasHandshake: boolean;
  /** What each side that is there sets up, and then runs. */
  sides(world: World): Map<Side, Run> | Promise<Map<Side, Run>>;
}

/** How a rival takes part. */
export interface RivalFacts {
  /** Why it cannot, `null` if it can. */
  missing(floor: Floor): string | null;
  /** Sets its work up, `null` where it has no such kind of work. */
  run(world: World, work: Work): Run | null;
  /** An async function, by its text, that makes a connection and closes it. Absent where a rival is no module. */
  once?: string;
  /** A function, by its text, that begins to connect to a target. */
  pending?: string;
}

/** A TCP port, as all runtimes take it. */
export interface Tcp {
  readonly hostname: string;
  readonly port: number;
}

/** A Unix socket, as this package and Deno take it. */
export interface Unix {
  readonly transport: "unix";
  readonly path: string;
}

/**
 * Makes a connection and closes it.
 *
 * @param not A port from which the connection may not come: one that a connect
 * was given itself has reached itself.
 * @returns Whether it came about, `false` for a refusal.
 */
type Dial = (target: Tcp | Unix, not?: number) => Promise<boolean>;

/** All rivals. Each makes and closes connections in the way that its users do. */
export const RIVALS: Readonly<Record<Rival, RivalFacts>> = {
  C: client("C"),
  Python: client("Python"),
  Go: client("Go"),
  "Deno.connect": {
    ...dialing(dialDeno, "Deno"),
    once: "async (target) => (await Deno.connect(target)).close()",
    pending: "(target) => Deno.connect(target)",
  },
  "Bun.connect": {
    ...dialing(dialBun, "Bun"),
    once: `async (target) =>
      (await Bun.connect({ ...target, socket: { data() {} } })).close()`,
    pending: "(target) => Bun.connect({ ...target, socket: { data() {} } })",
  },
  "node:net": {
    ...dialing(dialNode),
    once: `({ hostname, port }) => new Promise((done, fail) => {
      const net = process.getBuiltinModule("node:net");
      const socket = net.createConnection(port, hostname);
      socket.on("connect", () => socket.destroy());
      socket.on("close", done).on("error", fail);
    })`,
    pending: `({ hostname, port }) =>
      process.getBuiltinModule("node:net").createConnection(port, hostname)`,
  },
  koffi: {
    missing: () => KOFFI === null ? "koffi cannot be found" : null,
    run: (world, { kind }) => koffiRun(world, kind),
  },
  nmap: {
    missing: () => tryRun("nmap", ["--version"]),
    run: (world, { kind }) => kind === "scan" ? nmapRun(world) : null,
  },
};

/** The rivals that can take part here. */
export function present(
  floor: Floor,
): [Rival, RivalFacts][] {
  return Object.entries(RIVALS)
    .filter(([, rival]) => rival.missing(floor) === null) as [
      Rival,
      RivalFacts,
    ][];
}

function client(name: ClientName): RivalFacts {
  return {
    missing: ({ clients }) => {
      const start = clients[name];
      return typeof start === "string" ? start : null;
    },
    run: ({ clients }, { kind, concurrency }) => async (count) => {
      const answer = await clients.get(name)!
        .ask(`round ${kind} ${count} ${concurrency}`);
      return parseSample(answer);
    },
  };
}

/** What is used of koffi, another way for Node to call C: https://koffi.dev */
interface Koffi {
  load(library: null): {
    func(prototype: string): (...parameters: unknown[]) => number;
  };
  errno(): number;
}

/** `null` where it is not. Deno and Bun have ways of their own. */
const KOFFI = doorFor().runtime === "Node" ? findKoffi() : null;

/** Finds it among the packages that `runtimes.ts` has had fetched. */
function findKoffi(): Koffi | null {
  const { EINPROGRESS_PACKAGES = "node_modules" } = process.env;
  try {
    return createRequire(`${resolve(EINPROGRESS_PACKAGES)}/_.js`)("koffi");
  } catch {
    return null;
  }
}

/** The calls alone by koffi, for what C does with blocking calls. */
function koffiRun(world: World, kind: Kind): Run | null {
  const { abi } = libc();
  const isUnix = kind === "unix";
  if (!isUnix && kind !== "blocking" && kind !== "refused") return null;
  const koffi = KOFFI!;
  // What Node itself is linked to.
  const library = koffi.load(null);
  const socket = library.func("int socket(int, int, int)");
  const connect = library.func("int connect(int, const uint8_t *, uint32_t)");
  const close = library.func("int close(int)");
  const port = kind === "refused" ? world.refused : world.port;
  const addresses = isUnix
    ? world.paths.map((path) => unix(path).toBytes())
    : world.hosts.map((host) => inet(host, port).toBytes());
  const domain = isUnix ? abi.AF_UNIX : abi.AF_INET;
  const type = abi.SOCK_STREAM | (abi.SOCK_CLOEXEC ?? 0);
  return (count) => {
    for (let i = 0; i < count; i++) {
      const fd = socket(domain, type, 0);
      const address = addresses[i % addresses.length]!;
      const hasFailed = connect(fd, address, address.length) < 0;
      // As a program would read it; now and then it is another call's.
      if (hasFailed) koffi.errno();
      close(fd);
      if (hasFailed !== (kind === "refused")) {
        throw new Error(`Cannot go on: ${hasFailed ? "a" : "no"} failure`);
      }
    }
  };
}

function nmapRun({ floor, hosts, port }: World): Run {
  const flags = "-sT -Pn -n --max-retries 0 -T5 -oG -".split(" ");
  return (count) => {
    const { output, ...sample } = time(floor, [
      "nmap",
      ...flags,
      `-p1-${count}`,
      hosts[0]!,
    ]);
    const found = [...output.matchAll(/(\d+)\/open\//g)].map(([, a]) => a);
    const wanted = port <= count ? `${port}` : "";
    if (found.join() !== wanted) {
      throw new Error(`nmap found ${found} where ${wanted} is open`);
    }
    return Promise.resolve(sample);
  };
}

/**
 * The results of a runtime's own way to connect.
 *
 * @param home The one runtime that has it; all have it where none is named.
 */
function dialing(dial: Dial, home?: "Deno" | "Bun"): RivalFacts {
  const { runtime } = doorFor();
  return {
    missing: () =>
      home === undefined || home === runtime ? null : `this is ${runtime}`,
    run(world, { kind, concurrency }) {
      switch (kind) {
        case "refused":
        case "thrown":
          return expecting(dial, tcpTargets(world, world.refused), false);
        case "unix":
          return expecting(dial, unixTargets(world), true);
        case "scan":
          return scanning(dial, world, concurrency);
        default:
          return expecting(dial, tcpTargets(world), true, concurrency);
      }
    },
  };
}

function expecting(
  dial: Dial,
  targets: readonly (Tcp | Unix)[],
  wanted: boolean,
  concurrency: number = 1,
): Run {
  return concurrentRun(concurrency, async (i) => {
    const found = await dial(targets[i % targets.length]!);
    if (found !== wanted) {
      throw new Error(`Cannot go on: ${found ? "no" : "a"} refusal`);
    }
  });
}

function scanning(
  dial: Dial,
  { hosts, port: open }: World,
  concurrency: number,
): Run {
  const hostname = hosts[0]!;
  return concurrentRun(concurrency, async (i) => {
    const port = i + 1;
    const found = await dial({ hostname, port }, port);
    if (found !== (port === open)) throw wrongPort(port, found);
  });
}

/** A scan that has not found what is there. */
export function wrongPort(port: number, found: boolean): Error {
  return new Error(`Port ${port} was found ${found ? "open" : "closed"}`);
}

/** Does something again and again, so often at a time. */
export function concurrentRun(
  concurrency: number,
  once: (i: number) => Promise<void>,
): Run {
  return async (count) => {
    let next = 0;
    async function work(): Promise<void> {
      while (next < count) await once(next++);
    }
    await Promise.all(Array.from({ length: concurrency }, work));
  };
}

/** Where TCP connects go, in turns. */
export function tcpTargets(
  { hosts, port }: World,
  other: number = port,
): Tcp[] {
  return hosts.map((hostname) => ({ hostname, port: other }));
}

/** Where connects of the Unix domain go, in turns. */
export function unixTargets({ paths }: World): Unix[] {
  return paths.map((path) => ({ transport: "unix", path }));
}

async function dialDeno(target: Tcp | Unix, not?: number): Promise<boolean> {
  try {
    const connection = "path" in target
      ? await Deno.connect(target)
      : await Deno.connect(target);
    const { localAddr } = connection;
    connection.close();
    return not === undefined || (localAddr as Deno.NetAddr).port !== not;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}

/** What is used of Bun: https://bun.sh/docs/api/tcp */
interface BunGlobal {
  connect(options: object): Promise<{ localPort: number; close(): void }>;
}

const HANDLERS = { data(): void {} };

async function dialBun(target: Tcp | Unix, not?: number): Promise<boolean> {
  const { Bun } = globalThis as unknown as { Bun: BunGlobal };
  try {
    const socket = await Bun.connect(
      "path" in target
        ? { unix: target.path, socket: HANDLERS }
        : { ...target, socket: HANDLERS },
    );
    const found = not === undefined || socket.localPort !== not;
    socket.close();
    return found;
  } catch (error) {
    if ((error as { code?: unknown }).code === "ECONNREFUSED") return false;
    throw error;
  }
}

/** The connection is over when its socket says so, which Node does in a later turn. */
function dialNode(target: Tcp | Unix, not?: number): Promise<boolean> {
  const socket = net.createConnection(
    "path" in target ? target : { host: target.hostname, port: target.port },
  );
  return new Promise((resolve, reject) => {
    let found = false;
    socket.on("connect", () => {
      found = not === undefined || socket.localPort !== not;
      socket.destroy();
    });
    socket.on("close", () => resolve(found));
    socket.on("error", (error: Error & { code?: string }) => {
      if (error.code !== "ECONNREFUSED") reject(error);
    });
  });
}
