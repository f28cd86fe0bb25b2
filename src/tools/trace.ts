/**
 * Which routers lie on the way to a port.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { newMemory } from "../../ffi/memory.ts";
import { performance } from "../../ffi/timers.ts";
import { type Address, decodeAddress } from "../address/address.ts";
import { Attempt, DEADLINE, PENDING, type Recipe } from "../attempt/attempt.ts";
import { errorFor, failureOf } from "../attempt/failure.ts";
import { type Caller, callerOf } from "../errors/caller.ts";
import {
  checkInteger,
  checkMilliseconds,
  checkSignal,
  heedAbort,
  ignoreAbort,
  readOptions,
} from "../errors/arguments.ts";
import {
  errnoErrorFor,
  type Icmp,
  NotSupportedError,
  pointed,
} from "../errors/errors.ts";
import { ABORTED } from "../reactor/reactor.ts";
import { readTcpInfo } from "../socket/tcp_info.ts";
import { type Destination, NAME_TIMEOUT } from "./destination.ts";
import { roomForSockets } from "./limits.ts";
import { CLOSED_PORT, verdictOf } from "./verdict.ts";
import { warmUp } from "./warm_up.ts";
import { findAddresses, type Way, wayTo } from "./way.ts";

/** How far a trace goes, and how. */
export interface TraceOptions {
  /**
   * The greatest number of hops, 1 to 255.
   *
   * @default {30}
   */
  readonly maxHops?: number | undefined;
  /**
   * How many attempts are made for each hop, 1 to 1000. Each comes from a port
   * of its own, so that routers that share the load show all of themselves.
   *
   * @default {3}
   */
  readonly queries?: number | undefined;
  /**
   * Milliseconds that one attempt waits for a reply, and before all of them for
   * a name to resolve.
   *
   * @default {undefined} 1000 for an attempt, 15000 for a name: the system's
   * resolver takes 5000 to turn to a second name server.
   */
  readonly timeout?: number | undefined;
  /**
   * How many attempts are under way at a time, 1 to 10,000.
   *
   * @default {16}
   */
  readonly inFlight?: number | undefined;
  /** Ends the trace: the iteration throws the reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What one attempt of a trace has found. */
export interface Hop {
  /** After how many hops the packet was to expire, from 1. */
  readonly ttl: number;
  /** Which of the attempts with this ttl it was, from 1. */
  readonly query: number;
  /**
   * What replied: a router in between (`"hop"`), the target by a SYN/ACK
   * (`"open"`) or by a reset (`"closed"`), a firewall that does not let it through
   * (`"filtered"`), or nothing (`"silent"`).
   */
  readonly kind: "hop" | "open" | "closed" | "filtered" | "silent";
  /** The address that replied, `null` for none. */
  readonly from: string | null;
  /** The ICMP error that came, `null` if none did. */
  readonly icmp: Icmp | null;
  /** Milliseconds until the reply, `null` if there was none. */
  readonly wall: number | null;
  /**
   * The round trip as the kernel measured it, in milliseconds; it does so for a
   * handshake alone, and not after a repeated SYN.
   */
  readonly rtt: number | null;
  /** The port that it came from, which distinguishes flows. */
  readonly localPort: number;
}

interface TracePlan {
  readonly maxHops: number;
  readonly queries: number;
  readonly timeout: number;
  /** How long a name may take to resolve, in ms. */
  readonly nameTimeout: number;
  readonly inFlight: number;
  readonly signal: AbortSignal | undefined;
}

const TRACE_KEYS = [
  "maxHops",
  "queries",
  "timeout",
  "inFlight",
  "signal",
] as const;

/** The ICMP errors that say a packet has expired on its way. */
const EXPIRED = { inet: { type: 11, code: 0 }, inet6: { type: 3, code: 0 } };

/**
 * Finds out which routers lie on the way to a port, by connects whose packets
 * expire on the way: each router reports that by ICMP. Needs no privilege.
 *
 * The attempts for all hops are under way at the same time, nearest first, so
 * that a trace takes about as long as one round trip, or as `timeout` if a
 * router does not reply. Nothing further is sent once the target, or a
 * firewall, has replied. Connections are closed by a reset at once.
 *
 * On Deno the program needs the permissions that `connect` needs for the
 * target.
 *
 * C: `connect(2)` with `IP_TTL` or `IPV6_UNICAST_HOPS`, `recvmsg(2)` with
 * `MSG_ERRQUEUE`.
 *
 * @param target A host and port, or an IP address with a port; of a name, the
 * first of its addresses to which something can be sent.
 * @param options How far, and how.
 * @returns The hops by `ttl` and `query`, each as soon as those before it are
 * known. Up to the target each `ttl` has all its queries; the last `ttl` is
 * that of the target, of the firewall, or `maxHops`.
 * @throws {NotSupportedError} If the system does not report the sender of an ICMP
 * error: only Linux does.
 * @throws {ErrnoError} If nothing can be sent: no way, a local firewall.
 * `ETIMEDOUT` of `getaddrinfo`, with `timeoutKind` `"deadline"`, if the name
 * does not resolve in time.
 * @throws {LookupError} If the name does not resolve.
 * @throws {TypeError} If an argument is of the wrong kind.
 * @throws {RangeError} If an argument is out of range.
 * @throws {SyntaxError} If the text of the target does not parse.
 * @throws {DOMException} The reason of `options.signal`, once it is aborted: an
 * `AbortError`, unless `abort()` was given another reason.
 *
 * @example The way to a port of this machine
 * ```ts
 * import { trace } from "@einprogress/connect/tools";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * for await (const hop of trace({ port }, { queries: 1 })) {
 *   assertEquals([hop.ttl, hop.kind, hop.from], [1, "open", "127.0.0.1"]);
 * }
 * ```
 */
export function trace(
  target: Destination,
  options: TraceOptions = {},
): AsyncGenerator<Hop, void, void> {
  const plan = tracePlanOf(options);
  const c = libc();
  if (c.abi.errorQueue === null) {
    throw new NotSupportedError("trace()", c.abi.os);
  }
  const way = wayTo(c, target);
  const address = way.addresses?.[0];
  if (address !== undefined) checkHops(address);
  return hopsOf(c, plan, way, callerOf(trace));
}

async function* hopsOf(
  c: Libc,
  plan: TracePlan,
  way: Way,
  caller: Caller,
): AsyncGenerator<Hop, void, void> {
  const { nameTimeout, signal } = plan;
  signal?.throwIfAborted();
  const start = performance.now();
  const end = start + nameTimeout;
  const { found: finding, abandon } = findAddresses(c, way, end, start);
  heedAbort(signal, abandon);
  const found = await finding.finally(() => ignoreAbort(signal, abandon));
  signal?.throwIfAborted();
  if (found instanceof Error) throw pointed(found, caller);
  for (const [i, address] of found!.entries()) {
    checkHops(address);
    await warmUp(c, way.recipe, address);
    signal?.throwIfAborted();
    const run = new TraceRun(c, plan, way, address);
    try {
      for (let count = 0;; count++) {
        const hop = await run.next();
        if (hop === null) return;
        if (!(hop instanceof Error)) yield hop;
        // Where nothing can be sent, another address of the name may do.
        else if (count === 0 && i + 1 < found!.length) break;
        else throw pointed(hop, caller);
      }
    } finally {
      run.close();
    }
  }
}

function checkHops(address: Address): Address {
  if (address.family === "inet" || address.family === "inet6") return address;
  throw new TypeError(
    `Cannot trace the way to ${address}: it has no hops`,
  );
}

/** All attempts of one trace. */
class TraceRun {
  readonly #c: Libc;
  readonly #plan: TracePlan;
  readonly #address: Address;
  readonly #recipes: Recipe[];
  readonly #mostInFlight: number;
  /** By their order; a hop takes the place of an attempt when it has ended. */
  readonly #probes: (Expiring | Hop)[] = [];
  #inFlight = 0;
  #read = 0;
  /** The least ttl at which the target, or a firewall, has replied. */
  #last: number;
  #failure: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(c: Libc, plan: TracePlan, { recipe }: Way, address: Address) {
    this.#c = c;
    this.#plan = plan;
    this.#address = address;
    this.#last = plan.maxHops;
    this.#mostInFlight = Math.min(plan.inFlight, roomForSockets(c));
    this.#recipes = Array.from({ length: plan.maxHops }, (_, i) => ({
      ...recipe,
      prepare: (fd: number, family: number) => {
        recipe.prepare?.(fd, family);
        expireAfter(c, fd, family, i + 1);
      },
    }));
  }

  /** The next hop in order, `null` after the last one, or what went wrong. */
  async next(): Promise<Hop | Error | null> {
    for (;;) {
      if (this.#failure !== null) return this.#failure;
      this.#launch();
      const { queries, signal } = this.#plan;
      if (this.#read >= this.#last * queries) return null;
      const probe = this.#probes[this.#read];
      if (probe !== undefined && !(probe instanceof Expiring)) {
        this.#read++;
        return probe;
      }
      if (this.#failure !== null) return this.#failure;
      await new Promise<void>((resolve) => this.#wake = resolve);
      signal?.throwIfAborted();
    }
  }

  /** Gives up whatever is under way. */
  close(): void {
    for (const probe of this.#probes) {
      if (probe instanceof Expiring) probe.abandon();
    }
  }

  /** Takes the end of an attempt. */
  ended(probe: Expiring, hop: Hop | Error): void {
    this.#inFlight--;
    if (hop instanceof Error) this.#failure ??= hop;
    else {
      this.#probes[probe.index] = hop;
      if (hop.kind !== "hop" && hop.kind !== "silent") this.#reach(hop.ttl);
    }
    if (this.#failure === null) this.#launch();
    this.#wake?.();
  }

  /** Nothing behind this one matters any more. */
  #reach(ttl: number): void {
    if (ttl >= this.#last) return;
    this.#last = ttl;
    const { queries } = this.#plan;
    for (const probe of this.#probes.slice(ttl * queries)) {
      if (!(probe instanceof Expiring) || !probe.abandon()) continue;
      this.#inFlight--;
    }
  }

  /** Begins as many attempts as there may be. */
  #launch(): void {
    const { queries, timeout, signal } = this.#plan;
    while (
      this.#inFlight < this.#mostInFlight && this.#failure === null &&
      this.#probes.length < this.#last * queries
    ) {
      const index = this.#probes.length;
      const ttl = Math.floor(index / queries) + 1;
      const query = index % queries + 1;
      const recipe = this.#recipes[ttl - 1]!;
      const probe = new Expiring(this, this.#c, recipe, this.#address, {
        index,
        ttl,
        query,
        timeout,
        signal,
      });
      this.#probes.push(probe);
      this.#inFlight++;
      probe.start();
    }
  }
}

/** One attempt whose packets expire on the way. */
class Expiring extends Attempt {
  readonly index: number;
  readonly #run: TraceRun;
  readonly #ttl: number;
  readonly #query: number;
  readonly #timeout: number;
  #port = 0;
  #isOver = false;

  constructor(
    run: TraceRun,
    c: Libc,
    recipe: Recipe,
    address: Address,
    { index, ttl, query, timeout, signal }: {
      readonly index: number;
      readonly ttl: number;
      readonly query: number;
      readonly timeout: number;
      readonly signal: AbortSignal | undefined;
    },
  ) {
    const now = performance.now();
    super(c, recipe, address, now, now + timeout, signal);
    this.index = index;
    this.#run = run;
    this.#ttl = ttl;
    this.#query = query;
    this.#timeout = timeout;
  }

  start(): void {
    let errno: number;
    try {
      errno = this.open();
    } catch (error) {
      // Setting an option failed, and the descriptor is closed by then.
      return this.#finish(error as Error);
    }
    if (errno === 0) {
      this.since = performance.now();
      errno = this.begin();
      this.#port = localPort(this.libc, this.fd);
    }
    if (errno === PENDING) this.wait();
    else this.ended();
  }

  override ended(): void {
    if (this.#isOver) return;
    const wall = performance.now() - this.since;
    if (this.errno === ABORTED) return this.#finish(null);
    let hop: Hop | Error;
    try {
      hop = this.#judge(wall);
    } catch (error) {
      // Of a call that asks for details, or of the runtime in a turn of the wait.
      hop = error as Error;
    }
    this.#finish(hop);
  }

  /** Gives it up; returns whether it was under way. */
  abandon(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.cancel();
    this.reset();
    return true;
  }

  #judge(wall: number): Hop | Error {
    const { errno, icmp, address } = this;
    const target = "hostname" in address ? address.hostname : "";
    // A socket that is connected to itself has met no other.
    const isSelf = errno === 0 && this.isSelfConnected();
    const [state] = isSelf ? CLOSED_PORT : verdictOf(this, true);
    if (state === "open") {
      return this.#hop("open", target, wall, this.#rtt());
    }
    if (state === "closed") return this.#hop("closed", target, wall, null);
    if (errno === DEADLINE) return this.#hop("silent", null, null, null);
    if (icmp !== null) {
      const { type, code } = EXPIRED[address.family as "inet" | "inet6"];
      const isExpired = icmp.type === type && icmp.code === code;
      return this.#hop(isExpired ? "hop" : "filtered", icmp.from, wall, null);
    }
    return errorFor(failureOf(this, this.since, this.#timeout));
  }

  #hop(
    kind: Hop["kind"],
    from: string | null,
    wall: number | null,
    rtt: number | null,
  ): Hop {
    return {
      ttl: this.#ttl,
      query: this.#query,
      kind,
      from,
      icmp: this.icmp,
      wall,
      rtt,
      localPort: this.#port,
    };
  }

  /** After a repeated SYN the kernel's figure is no round trip. */
  #rtt(): number | null {
    const { rtt, totalRetransmits } = readTcpInfo(this.libc, this.fd);
    return totalRetransmits === 0 ? rtt || null : null;
  }

  #finish(hop: Hop | Error | null): void {
    this.#isOver = true;
    this.reset();
    // The reader of the hops sees that the signal is aborted.
    this.#run.ended(this, hop ?? this.#hop("silent", null, null, null));
  }
}

const hopLimit = newMemory(4);
const hopLimitView = new DataView(hopLimit.buffer);
const ownEnd = newMemory(128);

/** Lets the packets of a socket expire after so many hops. */
function expireAfter(c: Libc, fd: number, family: number, hops: number): void {
  const { abi } = c;
  const isInet6 = family === abi.AF_INET6;
  const level = isInet6 ? abi.IPPROTO_IPV6 : abi.IPPROTO_IP;
  const option = isInet6 ? abi.IPV6_UNICAST_HOPS : abi.IP_TTL;
  hopLimitView.setInt32(0, hops, abi.littleEndian);
  const result = c.setsockopt(fd, level, option, hopLimit, 4);
  if (result >= 0) return;
  throw errnoErrorFor(-result, { syscall: "setsockopt", subject: "ttl" });
}

function localPort(c: Libc, fd: number): number {
  const length = fd < 0 ? -1 : c.getsockname(fd, ownEnd);
  if (length < 0) return 0;
  const address = decodeAddress(ownEnd, length);
  return "port" in address ? address.port : 0;
}

function tracePlanOf(written: TraceOptions): TracePlan {
  const options = readOptions("options", written, TRACE_KEYS);
  const timeout = checkMilliseconds("timeout", options.timeout, 1000);
  const count = (name: string, value: unknown, most: number) => {
    const number = checkInteger(name, value, most);
    if (number > 0) return number;
    throw new RangeError(`Cannot use ${name} 0: it must be 1 or more`);
  };
  return {
    maxHops: count("maxHops", options.maxHops ?? 30, 255),
    queries: count("queries", options.queries ?? 3, 1000),
    inFlight: count("inFlight", options.inFlight ?? 16, 10_000),
    timeout,
    nameTimeout: options.timeout === undefined ? NAME_TIMEOUT : timeout,
    signal: checkSignal("signal", options.signal),
  };
}
