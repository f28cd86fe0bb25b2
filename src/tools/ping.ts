/**
 * Connects again and again, and tells how long each time took.
 *
 * @module
 */
import { createServer } from "node:net";
import { setImmediate, setTimeout } from "node:timers/promises";
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { newMemory } from "../../ffi/memory.ts";
import { type Address, decodeAddress } from "../address/address.ts";
import { checkMilliseconds } from "../errors/arguments.ts";
import { Attempt, PENDING, type Recipe } from "../attempt/attempt.ts";
import { errorFor, failureOf, selfConnected } from "../attempt/failure.ts";
import { recipeOf, type WrittenSetup } from "../connect/recipe.ts";
import { ErrnoError, NotSupportedError } from "../errors/errors.ts";
import { type LookupFamily, runLookup } from "../address/lookup.ts";
import { readTcpInfo, type TcpInfo } from "../socket/tcp_info.ts";
import type { Distribution } from "./histogram.ts";
import {
  type ConnectTarget,
  permitted,
  planTarget,
} from "../connect/target.ts";

/** How a target is pinged. */
export interface PingOptions {
  /**
   * How many probes; 0 goes on until `signal` ends it.
   *
   * @default {10}
   */
  readonly count?: number | undefined;
  /**
   * Milliseconds from the start of one probe to the start of the next, or to
   * the end of a probe that takes longer.
   *
   * @default {100}
   */
  readonly interval?: number | undefined;
  /**
   * Milliseconds that one probe may take.
   *
   * @default {1000}
   */
  readonly timeout?: number | undefined;
  /** Ends it, also in the middle of a probe. */
  readonly signal?: AbortSignal | undefined;
}

/** What one attempt to connect came to. */
export interface Probe {
  /** Counts from 1. */
  readonly seq: number;
  /** When it began. */
  readonly time: Date;
  /** Where it went, as text. */
  readonly address: string;
  /** Where it came from, as text; `null` where nothing is known of that. */
  readonly localAddress: string | null;
  /**
   * Milliseconds from the call of connect(2) until its outcome was known, by
   * the wall clock; `null` if it was never called.
   */
  readonly wall: number | null;
  /**
   * The round trip of the handshake as the kernel measured it, in
   * milliseconds; `null` if it has no sample, or does not tell.
   */
  readonly rtt: number | null;
  /** How many SYNs were repeated; `null` where the kernel does not tell. */
  readonly retransmits: number | null;
  /** Why it failed, `null` if it connected. */
  readonly error: ErrnoError | null;
}

/** What many probes came to. */
export interface PingSummary {
  /** How many there were. */
  readonly probes: number;
  /** How many of them connected. */
  readonly connected: number;
  /** How many did not. */
  readonly failed: number;
  /** How many failed with each errno, by its name. */
  readonly failures: Readonly<Record<string, number>>;
  /** How many had a SYN repeated, connected or not. */
  readonly retransmitted: number;
  /** The wall clock of those that connected, `null` if there are none. */
  readonly wall: Distribution | null;
  /** The kernel's round trip of those that have one, `null` if there are none. */
  readonly rtt: Distribution | null;
}

/** A listener of this process for it to ping. */
export interface LoopbackListener {
  /** The address it listens at. */
  readonly hostname: string;
  /** The port that the system chose. */
  readonly port: number;
  /** Returns when it has taken up, and let go of, as many connections. */
  settled(connections: number): Promise<void>;
  /** Stops listening. */
  close(): Promise<void>;
}

/** The longest time that timers take, in milliseconds. */
export const LONGEST_TIME = 0x7fff_ffff;

/**
 * How long a probe may keep the thread to itself, in ms. To wait in poll(2) is
 * to wake up soonest, so it is left only where a probe takes long anyway, for
 * the one or two milliseconds in which a signal of the user gets through.
 */
const PATIENCE = 200;

/** How often the way of a probe is gone before the first one counts. */
const WARM_UP_ROUNDS = 100;

/** Turns of the event loop after which a connection is not waited for. */
const MOST_TURNS = 10_000;

/** Where probes go, and how. */
interface Route {
  readonly address: Address;
  readonly recipe: Recipe;
}

/** One attempt, for which the thread waits. */
class Shot extends Attempt {
  ended(): void {}
}

/**
 * Connects to a target again and again, and closes each connection at once.
 *
 * A name is resolved once, and the first of its addresses is the one that is
 * pinged. What a first connect in a process costs beyond the others is paid
 * before the first probe: the library is open and the code compiled by then,
 * and nothing has been sent. Each probe has a socket of its own, which is open,
 * has its options and is bound before the clock starts.
 *
 * A probe blocks the thread while it waits, for at most a fifth of a second at
 * a time. A failure is a result and ends nothing.
 *
 * @param options Where to, and how.
 * @returns The probes, each as soon as it is over.
 * @throws {ErrnoError} If no socket can be had for the target, before the first
 * probe; later it is a failure of that probe.
 * @throws {LookupError} If the name does not resolve.
 * @throws {TypeError} If an argument is of the wrong kind; {@linkcode RangeError}
 * if it is out of range; {@linkcode SyntaxError} if its text does not parse.
 * @throws The reason of `options.signal`, once it is aborted.
 *
 * C: `socket(2)`, `connect(2)`, `poll(2)`, `getsockopt(2)` with `SO_ERROR` and
 * `TCP_INFO`.
 */
export async function* ping(
  options: ConnectTarget & PingOptions,
): AsyncGenerator<Probe, void, void> {
  const { signal } = options;
  const count = checkCount(options.count ?? 10);
  const interval = checkMilliseconds("interval", options.interval, 100);
  const timeout = checkMilliseconds("timeout", options.timeout, 1000);
  signal?.throwIfAborted();
  const c = libc();
  const route = routeTo(c, options);
  warmUp(c, route);
  for (let seq = 1; count === 0 || seq <= count; seq++) {
    const start = performance.now();
    yield await probe(c, route, seq, timeout, signal);
    if (seq === count) return;
    await pause(interval - (performance.now() - start), signal);
  }
}

/** Finds the address to ping, and asks for permission. */
function routeTo(c: Libc, target: ConnectTarget): Route {
  const plan = planTarget(c, target);
  const address = plan.address ??
    permitted(c, runLookup(c, plan.host!, Infinity), true)[0]!;
  return { address, recipe: recipeOf(c, target as WrittenSetup, plan.local) };
}

/**
 * Goes the way of a probe without sending anything: an invalid descriptor is
 * refused before all else, and a socket that was never connected has its
 * outcome ready. That also shows whether such a socket can be had at all.
 */
function warmUp(c: Libc, { address, recipe }: Route): void {
  const shot = new Shot(c, recipe, address, 0, 0, undefined);
  if (shot.open() !== 0) {
    throw errorFor(failureOf(shot, performance.now(), 0));
  }
  const fd = shot.take();
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    shot.reuse(address, 0, 0);
    shot.begin();
    shot.fd = fd;
    shot.block();
  }
  shot.close();
}

async function probe(
  c: Libc,
  { address, recipe }: Route,
  seq: number,
  timeout: number,
  signal: AbortSignal | undefined,
): Promise<Probe> {
  const begun = { seq, time: new Date(), address: address.toString() };
  const shot = new Shot(c, recipe, address, 0, Infinity, undefined);
  try {
    if (shot.open() !== 0) {
      throw errorFor(failureOf(shot, performance.now(), timeout));
    }
  } catch (error) {
    if (!(error instanceof ErrnoError)) throw error;
    const nothing = { localAddress: null, wall: null, rtt: null };
    return { ...begun, ...nothing, retransmits: null, error };
  }
  try {
    const start = performance.now();
    shot.since = start;
    shot.end = start + timeout;
    let errno = shot.begin();
    while (errno === PENDING) {
      errno = shot.block(Math.min(shot.end, performance.now() + PATIENCE));
      if (errno !== PENDING) break;
      // A timer, since an immediate does not make Deno look at signals.
      await setTimeout(0);
      signal?.throwIfAborted();
    }
    const wall = performance.now() - start;
    const info = infoOf(c, shot);
    const error = errno !== 0
      ? errorFor(failureOf(shot, start, timeout))
      : shot.isSelfConnected()
      ? errorFor(selfConnected(shot, start))
      : null;
    return {
      ...begun,
      localAddress: error === null
        ? nameOf(c, shot.fd)
        : error.localAddress ?? null,
      wall,
      // After a repeated SYN there may be no sample, which reads as 0.
      rtt: error === null ? info?.rtt || null : null,
      retransmits: info?.totalRetransmits ?? null,
      error,
    };
  } finally {
    shot.close();
  }
}

function infoOf(c: Libc, { fd, address: { family } }: Shot): TcpInfo | null {
  if (family !== "inet" && family !== "inet6") return null;
  try {
    return readTcpInfo(c, fd);
  } catch (error) {
    if (error instanceof NotSupportedError || error instanceof ErrnoError) {
      return null;
    }
    throw error;
  }
}

/** A local address as text, `null` for the one of a Unix socket without a name. */
function nameOf(c: Libc, fd: number): string | null {
  const bytes = newMemory(1025);
  const length = c.getsockname(fd, bytes);
  if (length < 0) return null;
  const address = decodeAddress(bytes, length);
  return address.family === "unix" && address.path === ""
    ? null
    : address.toString();
}

/** Lets the event loop turn, once at least. */
async function pause(
  duration: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (duration <= 0) {
    await setImmediate();
  } else {
    try {
      const time = Math.min(duration, LONGEST_TIME);
      await setTimeout(time, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  }
  signal?.throwIfAborted();
}

function checkCount(count: number): number {
  if (Number.isSafeInteger(count) && count >= 0) return count;
  throw new RangeError(
    `Cannot use count ${count}: it must be an integer, 0 or more`,
  );
}

/** Collects probes. */
export class PingStats {
  #probes = 0;
  #connected = 0;
  #retransmitted = 0;
  readonly #failures: Map<string, number> = new Map();
  readonly #wall: number[] = [];
  readonly #rtt: number[] = [];

  /** How many probes connected. */
  get connected(): number {
    return this.#connected;
  }

  /** Counts one more probe. */
  add({ error, wall, rtt, retransmits }: Probe): void {
    this.#probes++;
    if (retransmits !== null && retransmits > 0) this.#retransmitted++;
    if (error !== null) {
      const { code } = error;
      this.#failures.set(code, (this.#failures.get(code) ?? 0) + 1);
      return;
    }
    this.#connected++;
    if (wall !== null) this.#wall.push(wall);
    if (rtt !== null) this.#rtt.push(rtt);
  }

  /** What they come to so far. */
  summary(): PingSummary {
    return {
      probes: this.#probes,
      connected: this.#connected,
      failed: this.#probes - this.#connected,
      failures: Object.fromEntries(
        [...this.#failures].sort(([, a], [, b]) => b - a),
      ),
      retransmitted: this.#retransmitted,
      wall: distribution(this.#wall),
      rtt: distribution(this.#rtt),
    };
  }
}

/** How values spread, `null` if there are none. */
export function distribution(values: readonly number[]): Distribution | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    min: sorted[0]!,
    p50: quantile(sorted, 0.5),
    p90: quantile(sorted, 0.9),
    p99: quantile(sorted, 0.99),
    p999: quantile(sorted, 0.999),
    max: sorted.at(-1)!,
    mean,
    stddev: Math.sqrt(squares / sorted.length),
  };
}

/**
 * A quantile by nearest rank: the least of the values that at least the share
 * `q` of them does not exceed. It is always one of the values, and of few
 * values a high quantile is the greatest.
 *
 * @param sorted The values in ascending order, one at least.
 * @param q The share, 0 to 1; 0 is the least value.
 */
export function quantile(sorted: readonly number[], q: number): number {
  // The product of, say, 0.07 and 100 is a little above 7.
  const rank = Math.ceil(Number((q * sorted.length).toPrecision(12)));
  return sorted[Math.max(rank, 1) - 1]!;
}

/**
 * Starts a listener on the loopback interface that accepts connections and
 * closes them.
 *
 * On one thread with those who connect to it, it does its work between their
 * probes: the kernel completes a handshake by itself.
 *
 * @throws The runtime's own error if it cannot listen.
 */
export async function listenLoopback(
  family: LookupFamily = "inet",
): Promise<LoopbackListener> {
  const hostname = family === "inet6" ? "::1" : "127.0.0.1";
  // Deno's own check throws where nobody can catch it.
  libc().permissions.demandHost(hostname, 0);
  let accepted = 0;
  const server = createServer((connection) => {
    accepted++;
    connection.on("error", ignore);
    connection.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: hostname, port: 0 }, resolve);
  });
  server.on("error", ignore);
  const { port } = server.address() as { port: number };
  return {
    hostname,
    port,
    async settled(connections) {
      for (let turns = 0; accepted < connections; turns++) {
        if (turns === MOST_TURNS) return;
        await setImmediate();
      }
    },
    close() {
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function ignore(): void {}
