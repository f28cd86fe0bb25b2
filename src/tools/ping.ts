/**
 * Connects again and again, and measures how long each time takes.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import {
  clearTimeout,
  LONGEST_TIMER,
  onOwnClock,
  performance,
  setImmediate,
  setTimeout,
} from "../../ffi/timers.ts";
import type { Address } from "../address/address.ts";
import type { IpAddress } from "../address/lookup.ts";
import {
  Attempt,
  DEADLINE,
  PENDING,
  type Recipe,
  THROWN,
  thrownAt,
} from "../attempt/attempt.ts";
import {
  errorFor,
  type Failure,
  failureOf,
  selfConnected,
} from "../attempt/failure.ts";
import { LEAST_ATTEMPT_DELAY, Schedule } from "../connect/schedule.ts";
import {
  checkInteger,
  checkMilliseconds,
  checkSignal,
  heedAbort,
  ignoreAbort,
  readOptions,
  show,
} from "../errors/arguments.ts";
import {
  type ErrnoError,
  errnoName,
  type Icmp,
  type LookupError,
} from "../errors/errors.ts";
import { localOf } from "../socket/ends.ts";
import type { Destination } from "./destination.ts";
import { roomForSockets } from "./limits.ts";
import {
  CLOSED_PORT,
  type ProbeReason,
  type ProbeState,
  readHandshake,
  SILENT,
  UNNAMED,
  type Verdict,
  verdictOf,
} from "./verdict.ts";
import { warmUp } from "./warm_up.ts";
import {
  type AddressSearch,
  checkWay,
  findAddresses,
  listOf,
  type Way,
  wayTo,
} from "./way.ts";

/** How targets are pinged. */
export interface PingOptions {
  /**
   * How many probes of each target; 0 goes on until `signal` ends it.
   *
   * @default {10}
   */
  readonly count?: number | undefined;
  /**
   * Milliseconds from the start of one probe of a target to the start of the
   * next. If a probe takes longer, the next one starts when it ends. Ignored if
   * there is a `rate`.
   *
   * @default {100}
   */
  readonly interval?: number | undefined;
  /**
   * Probes of each target in a second, begun on time whether or not those
   * before have ended (open loop). The `latency` of each counts from the moment
   * at which it was due, so that a stall shows in all the probes that it held
   * up, and not in one alone. Probes that are due while the process is
   * suspended for a second or more are due when it goes on. Shortly before a
   * probe is due, a processor is kept busy.
   *
   * @default {undefined} None: each waits for the one before.
   */
  readonly rate?: number | undefined;
  /**
   * Milliseconds that one probe may take. A lost SYN is repeated after one
   * second; the default has room for that.
   *
   * @default {3000}
   */
  readonly timeout?: number | undefined;
  /**
   * After how many probes a name is resolved again; 0 for never.
   *
   * @default {0}
   */
  readonly resolveEvery?: number | undefined;
  /**
   * What a refusal by the target counts as: a failure, or an answer like any
   * other, since it shows that the host is there and how far away.
   *
   * @default {"failure"}
   */
  readonly refused?: "failure" | "answer" | undefined;
  /**
   * Ends the ping, also in the middle of a probe: the iteration throws the
   * reason.
   */
  readonly signal?: AbortSignal | undefined;
}

/** The result of one probe. Times are in milliseconds. */
export interface Ping {
  /** The place of its target among the targets, from 0. */
  readonly index: number;
  /** The target, as it was given. */
  readonly target: Destination;
  /** Counts the probes of this target, from 1. */
  readonly seq: number;
  /** When it began. */
  readonly time: Date;
  /** The same on the clock of `performance.now()`, which nothing sets back. */
  readonly start: number;
  /** Where it went, as text; `null` if the name did not resolve. */
  readonly address: string | null;
  /** Where it came from, as text; `null` where nothing is known of that. */
  readonly localAddress: string | null;
  /** What the target is by this probe. */
  readonly state: ProbeState;
  /** What that follows from. */
  readonly reason: ProbeReason;
  /**
   * Whether the probe was answered: it connected, or it was refused and
   * {@linkcode PingOptions.refused} is `"answer"`.
   */
  readonly answered: boolean;
  /** The name of the errno that it failed with, `null` if it connected. */
  readonly code: string | null;
  /** The ICMP error that ended it, `null` if none did. */
  readonly icmp: Icmp | null;
  /** Whether TCP would have gone on after that error. */
  readonly soft: boolean;
  /** How many SYNs were repeated; `null` where the kernel does not report it. */
  readonly retransmits: number | null;
  /**
   * From the call of connect(2) until its outcome was known, by the wall clock;
   * `null` if it was never called.
   */
  readonly wall: number | null;
  /**
   * The round trip of the handshake as the kernel measured it; `null` if it has
   * no sample, or a SYN was repeated.
   */
  readonly rtt: number | null;
  /**
   * From the moment at which it was due until its outcome was known; without a
   * `rate` it is due when it begins.
   */
  readonly latency: number | null;
  /** Why it failed, made when it is asked for; `null` if it connected. */
  readonly error: ErrnoError | LookupError | null;
}

/** How long to wait for an address of a name before trying the next one too, in ms. */
const ADDRESS_DELAY = 250;
/**
 * Timers are late by up to 2 ms, so that an open loop spends the last part of
 * the time to a probe looking at the clock, once a turn.
 */
const NEAR = 2;

/** How much of a delay is made up for at once, in ms. */
const MOST_CAUGHT_UP = 1;

/** How much faster than the rate late probes begin. */
const CATCH_UP = 1 / 0.6;

/**
 * A turn of the event loop that is late by more than this, in ms, means that
 * the process was suspended: what was due meanwhile is due after that.
 */
const ABSENCE = 1000;

/** How long probes may follow on probes without a turn of the event loop, in ms. */
const LONGEST_BURST = 1;

/** How many results of an open loop wait for their reader. */
const MOST_UNREAD = 65_536;

const PING_KEYS = [
  "count",
  "interval",
  "rate",
  "timeout",
  "resolveEvery",
  "refused",
  "signal",
] as const;

interface PingPlan {
  readonly count: number;
  readonly interval: number;
  /** Milliseconds from one probe to the next, `null` without a rate. */
  readonly gap: number | null;
  readonly timeout: number;
  readonly resolveEvery: number;
  readonly countsRefusals: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Connects to targets again and again, and closes each connection by a reset
 * at once.
 *
 * Each target has a loop of its own. The addresses of a name are tried as
 * `connect` tries them; the first that connects is kept for the probes that
 * follow, and named in each of them. The extra cost of a first connect in a
 * process is paid before the first probe: the library is open and the code
 * compiled by then, and nothing has been sent. Each probe has a socket of its
 * own, which is open, has its options and is bound before the clock starts. A
 * failure is a result, and the ping goes on.
 *
 * No probe begins before the first result is asked for, and without a `rate`
 * none before all results are read.
 *
 * On Deno the program needs the permissions that `connect` needs for each
 * target.
 *
 * C: `socket(2)`, `connect(2)`, `poll(2)` or `epoll(7)`, `getsockopt(2)` with
 * `SO_ERROR` and `TCP_INFO`.
 *
 * @param targets What to ping: one target, or any number of them.
 * @param options How often, and how.
 * @returns The probes, each as soon as it is over.
 * @throws {TypeError} If an argument is of the wrong kind.
 * @throws {RangeError} If an argument is out of range.
 * @throws {SyntaxError} If the text of a target does not parse.
 *
 * @example How far a server is
 * ```ts
 * import { ping } from "@einprogress/connect/tools";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * const walls: number[] = [];
 * for await (const probe of ping({ port }, { count: 3, interval: 10 })) {
 *   assertEquals([probe.state, probe.address], ["open", `127.0.0.1:${port}`]);
 *   walls.push(probe.wall!);
 * }
 * assert(walls.length === 3 && Math.min(...walls) > 0);
 * ```
 */
export function ping(
  targets: Destination | Iterable<Destination>,
  options: PingOptions = {},
): Pinging {
  const plan = pingPlanOf(options);
  const list = listOf(targets);
  const c = libc();
  const ways = list.map((target) => wayTo(c, target));
  return new PingRun(c, plan, list, ways);
}

/** Probes under way: {@linkcode ping} returns it. */
export interface Pinging extends AsyncIterableIterator<Ping, void, void> {
  /** How many probes of each target have begun and not ended. */
  readonly inFlight: readonly number[];
  /** Gives up the probes under way. */
  return(): Promise<IteratorResult<Ping, void>>;
}

class PingRun implements Pinging {
  readonly #loops: readonly PingLoop[];
  readonly #plan: PingPlan;
  readonly #results: Ping[] = [];
  /** How many probes there may be under way. */
  #mostInFlight = 1;
  #isBegun = false;
  #isOver = false;
  #running = 0;
  /** What a loop has thrown, which is not a failure of a probe. */
  #broken: { readonly reason: unknown } | null = null;
  #wakeReader: (() => void) | null = null;
  #calls: Promise<unknown> = Promise.resolve();
  #wakeLoops: (() => void)[] = [];

  readonly #c: Libc;

  constructor(
    c: Libc,
    plan: PingPlan,
    targets: readonly Destination[],
    ways: readonly Way[],
  ) {
    this.#c = c;
    this.#plan = plan;
    this.#loops = targets.map((target, index) =>
      new PingLoop(c, plan, this, target, index, targets.length, ways[index]!)
    );
  }

  get inFlight(): readonly number[] {
    return this.#loops.map(({ inFlight }) => inFlight);
  }

  /** Whether one more probe would take a descriptor that the runtime may need. */
  get isFull(): boolean {
    let sum = 0;
    for (const { inFlight } of this.#loops) sum += inFlight;
    return sum >= this.#mostInFlight;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Calls that overlap return one after the other. */
  next(): Promise<IteratorResult<Ping, void>> {
    const result = this.#calls.then(() => this.#next());
    this.#calls = result.catch(() => {});
    return result;
  }

  async #next(): Promise<IteratorResult<Ping, void>> {
    const { signal } = this.#plan;
    if (!this.#isBegun) {
      this.#isBegun = true;
      if (signal?.aborted) {
        this.#stop();
        throw signal.reason;
      }
      this.#begin();
    }
    while (!this.#isOver) {
      const value = this.#results.shift();
      if (value !== undefined) return { done: false, value };
      for (const wake of this.#wakeLoops.splice(0)) wake();
      if (this.#broken !== null) {
        const { reason } = this.#broken;
        this.#stop();
        throw reason;
      }
      if (signal?.aborted) {
        this.#stop();
        throw signal.reason;
      }
      if (this.#running === 0) this.#stop();
      else await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
    return { done: true, value: undefined };
  }

  return(): Promise<IteratorResult<Ping, void>> {
    this.#isBegun = true;
    this.#stop();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Takes a result. */
  push(result: Ping): void {
    this.#results.push(result);
    this.#wakeReader?.();
  }

  /** Ends the run by something other than a failure of a probe. */
  fail(reason: unknown): void {
    this.#broken ??= { reason };
    this.#wakeReader?.();
  }

  /** Resolves when there is room for more results, `null` if there is now. */
  room(): Promise<void> | null {
    const most = this.#plan.gap === null ? 0 : MOST_UNREAD;
    if (this.#results.length <= most) return null;
    return new Promise((resolve) => this.#wakeLoops.push(resolve));
  }

  #begin(): void {
    this.#mostInFlight = roomForSockets(this.#c);
    heedAbort(this.#plan.signal, this.#onAbort);
    for (const loop of this.#loops) {
      this.#running++;
      loop.run().catch((reason) => this.fail(reason)).finally(() => {
        this.#running--;
        this.#wakeReader?.();
      });
    }
  }

  readonly #onAbort = (): void => {
    for (const loop of this.#loops) loop.stop();
    this.#wakeReader?.();
  };

  #stop(): void {
    this.#isOver = true;
    ignoreAbort(this.#plan.signal, this.#onAbort);
    for (const loop of this.#loops) loop.stop();
    for (const wake of this.#wakeLoops.splice(0)) wake();
    this.#wakeReader?.();
  }
}

/** The probes of one target. */
class PingLoop {
  readonly #c: Libc;
  readonly #plan: PingPlan;
  readonly #run: PingRun;
  readonly #target: Destination;
  readonly #index: number;
  /** How far this target's probes are behind those of the first one, as a part of a gap. */
  readonly #phase: number;
  readonly #way: Way;
  #addresses: readonly Address[] | null;
  /** The address that works, `null` while none is known to. */
  #kept: Address | null = null;
  readonly #echoes: Set<Echo> = new Set();
  #isStopped = false;
  /** The lookups that are under way. */
  readonly #searches: Set<AddressSearch> = new Set();
  /** Ends the pause that is under way. */
  #wake: (() => void) | null = null;
  /** Why the name did not resolve before the first probe. */
  #early: LookupError | ErrnoError | null = null;
  inFlight = 0;

  constructor(
    c: Libc,
    plan: PingPlan,
    run: PingRun,
    target: Destination,
    index: number,
    targets: number,
    way: Way,
  ) {
    this.#c = c;
    this.#plan = plan;
    this.#run = run;
    this.#target = target;
    this.#index = index;
    this.#phase = index / targets;
    this.#way = way;
    this.#addresses = way.addresses;
    if (way.addresses?.length === 1) this.#kept = way.addresses[0]!;
  }

  async run(): Promise<void> {
    const { gap } = this.#plan;
    this.#early = await this.#resolve();
    if (this.#addresses !== null) {
      await warmUp(this.#c, this.#way.recipe, this.#addresses[0]!);
    }
    if (gap === null) await this.#follow();
    else await this.#keepPace(gap);
  }

  /** Begins no more probes, and gives up those under way. */
  stop(): void {
    this.#isStopped = true;
    for (const echo of this.#echoes) echo.abandon();
    for (const search of this.#searches) search.abandon();
    this.#wake?.();
  }

  /** Each probe waits for the one before. */
  async #follow(): Promise<void> {
    const { count, interval } = this.#plan;
    for (let seq = 1; !this.#isStopped; seq++) {
      while (this.#run.isFull && !this.#isStopped) await this.#pause(1);
      if (this.#isStopped) return;
      const start = performance.now();
      await this.#probe(seq, null);
      if (seq === count) return;
      await this.#run.room();
      await this.#pause(interval - (performance.now() - start));
    }
  }

  /** Begins probes on time, whether or not those before have ended. */
  async #keepPace(gap: number): Promise<void> {
    const { count } = this.#plan;
    const step = gap / CATCH_UP;
    let start = performance.now() + gap * this.#phase;
    const probes = new Set<Promise<void>>();
    let turn = performance.now();
    // When the next probe may begin, at the speed of one a step.
    let paced = -Infinity;
    for (let seq = 1; !this.#isStopped; seq++) {
      let due = start + (seq - 1) * gap;
      for (;;) {
        const now = performance.now();
        // Where there are no descriptors left, a probe is late.
        const soonest = this.#run.isFull ? now + NEAR + 1 : paced;
        const left = Math.max(due, soonest) - now;
        if (this.#isStopped) break;
        if (left <= 0 && now - turn < LONGEST_BURST) break;
        const pause = left > NEAR ? left - NEAR : 0;
        await (pause > 0 ? this.#pause(pause) : nextTurn());
        turn = performance.now();
        const late = turn - now - pause;
        if (late > ABSENCE) {
          start += late;
          due += late;
        }
      }
      if (this.#isStopped) break;
      paced = Math.max(paced, performance.now() - MOST_CAUGHT_UP) + step;
      const probe = this.#probe(seq, due)
        .catch((reason) => this.#run.fail(reason))
        .finally(() => probes.delete(probe));
      probes.add(probe);
      if (seq === count) break;
      await this.#run.room();
    }
    await Promise.all(probes);
  }

  async #probe(seq: number, due: number | null): Promise<void> {
    const beginning = { time: new Date(), start: performance.now(), due };
    this.inFlight++;
    try {
      const { resolveEvery } = this.#plan;
      if (this.#addresses === null) {
        const failure = this.#early ?? await this.#resolve();
        this.#early = null;
        if (this.#isStopped) return;
        if (failure !== null) return this.#yield(seq, beginning, failure);
      } else if (
        resolveEvery > 0 && seq > 1 && (seq - 1) % resolveEvery === 0 &&
        this.#searches.size === 0
      ) {
        // Probes that begin meanwhile go to the address that is known.
        this.#resolve().catch(() => {});
      }
      const kept = this.#kept;
      const addresses = checkWay(
        this.#c,
        this.#way,
        kept !== null ? [kept] : this.#addresses!,
      );
      const echo = kept !== null
        ? await this.#connect(addresses[0]!)
        : await this.#race(addresses);
      if (this.#isStopped && echo.isAbandoned) return;
      if (echo.verdict[0] === "open") this.#kept = echo.address;
      this.#yield(seq, beginning, echo);
    } finally {
      // A probe that was given up counts as unanswered.
      if (!this.#isStopped) this.inFlight--;
    }
  }

  /** Finds the addresses; returns why there are none. */
  async #resolve(): Promise<LookupError | ErrnoError | null> {
    if (this.#way.addresses !== null) return null;
    const start = performance.now();
    const end = start + this.#plan.timeout;
    const search = findAddresses(this.#c, this.#way, end, start);
    this.#searches.add(search);
    if (this.#isStopped) search.abandon();
    const found = await search.found
      .finally(() => this.#searches.delete(search));
    if (found === null) return null;
    if (found instanceof Error) return found;
    this.#addresses = found;
    const kept = this.#kept;
    if (kept !== null && !found.some((address) => address.equals(kept))) {
      this.#kept = null;
    }
    return null;
  }

  /** Tries one address. */
  async #connect(address: Address): Promise<Echo> {
    const echo = this.#begin(address);
    await echo.over;
    this.#echoes.delete(echo);
    return echo;
  }

  #begin(address: Address): Echo {
    const { timeout } = this.#plan;
    const echo = new Echo(this.#c, this.#way.recipe, address, timeout);
    this.#echoes.add(echo);
    echo.start();
    return echo;
  }

  /** Tries addresses as `connect` does; returns the attempt that shows most. */
  async #race(addresses: readonly Address[]): Promise<Echo> {
    const end = performance.now() + this.#plan.timeout;
    const schedule = new Schedule(ADDRESS_DELAY, end);
    schedule.add(addresses as readonly IpAddress[]);
    const running = new Map<Echo, Promise<Echo>>();
    const ended: Echo[] = [];
    while (!this.#isStopped) {
      const address = schedule.take();
      if (address !== null) {
        const echo = this.#begin(address);
        running.set(echo, echo.over.then(() => echo));
        continue;
      }
      if (running.size === 0) break;
      const delay = Math.max(schedule.next - performance.now(), 0);
      const first = await firstToEnd([...running.values()], delay);
      if (first === null) continue;
      running.delete(first);
      this.#echoes.delete(first);
      ended.push(first);
      if (first.verdict[0] === "open") break;
      schedule.hurry();
    }
    for (const echo of running.keys()) {
      echo.abandon();
      this.#echoes.delete(echo);
    }
    const order: readonly ProbeState[] = ["open", "closed", "filtered"];
    for (const state of order) {
      const found = ended.find(({ verdict }) => verdict[0] === state);
      if (found !== undefined) return found;
    }
    return ended[0] ?? [...running.keys()][0]!;
  }

  #yield(
    seq: number,
    beginning: Beginning,
    end: Echo | LookupError | ErrnoError,
  ): void {
    const { countsRefusals } = this.#plan;
    this.#run.push(
      new PingResult(
        this.#index,
        this.#target,
        seq,
        beginning,
        end,
        countsRefusals,
      ),
    );
  }

  /** Lets the event loop turn, once at least. */
  #pause(milliseconds: number): Promise<void> {
    if (milliseconds <= 0) return nextTurn();
    return new Promise((resolve) => {
      if (this.#isStopped) return resolve();
      const timer = setTimeout(resolve, Math.min(milliseconds, LONGEST_TIMER));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** One attempt at one address. */
class Echo extends Attempt {
  readonly over: Promise<void>;
  readonly #timeout: number;
  #settle!: () => void;
  #break!: (reason: unknown) => void;
  #isOver = false;
  isAbandoned = false;
  /** Whether connect(2) was called, and has left it pending. */
  isCalled = false;
  #isPending = false;
  wall = 0;
  /** When it was over, on the clock of `performance.now()`. */
  endedAt = 0;
  rtt: number | null = null;
  retransmits: number | null = null;
  local: string | null = null;
  verdict: Verdict = UNNAMED;
  failure: Failure | null = null;

  constructor(c: Libc, recipe: Recipe, address: Address, timeout: number) {
    super(c, recipe, address, 0, Infinity, undefined);
    this.#timeout = timeout;
    this.over = new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#break = reject;
    });
  }

  /** Whether there is no such Unix socket, so that nothing listens there. */
  get #isMissing(): boolean {
    return this.address.family === "unix" && this.syscall === "connect" &&
      this.errno === this.libc.abi.errnos.ENOENT;
  }

  /** Opens a socket, and connects it while the clock runs. */
  start(): void {
    if (this.open() !== 0) return this.#finish();
    this.isCalled = true;
    const now = performance.now();
    this.since = now;
    this.end = now + this.#timeout;
    this.#isPending = this.begin() === PENDING;
    if (this.#isPending) this.wait();
    else this.ended();
  }

  override ended(): void {
    if (this.#isOver) return;
    this.#finish();
  }

  /** Gives it up, if it is still under way. */
  abandon(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.isAbandoned = true;
    this.cancel();
    this.reset();
    this.#settle();
  }

  #finish(): void {
    const now = performance.now();
    this.#isOver = true;
    if (this.errno === THROWN) {
      this.reset();
      return this.#break(thrownAt(this));
    }
    this.endedAt = now;
    this.wall = now - this.since;
    const { libc, fd, address } = this;
    if (fd >= 0 && "hostname" in address) readHandshake(libc, fd, this);
    const isSelf = this.errno === 0 && this.isSelfConnected();
    if (this.errno !== 0 || isSelf) {
      this.rtt = null;
      this.failure = isSelf
        ? selfConnected(this, this.since)
        : failureOf(this, this.since, this.#timeout);
    }
    this.verdict = isSelf
      ? CLOSED_PORT
      : this.errno === DEADLINE
      ? SILENT
      : this.#isMissing
      ? ["closed", "errno"]
      : verdictOf(this, this.#isPending || this.soft !== 0);
    const end = fd < 0 ? fd : localOf(libc, fd);
    // A Unix socket has no name here, and a refused one no port any more.
    if (typeof end === "object" && !("path" in end && end.path === "")) {
      this.local = "port" in end && end.port === 0 ? null : end.toString();
    }
    this.reset();
    this.#settle();
  }
}

/** When a probe began, by two clocks, and when it was due in an open loop. */
interface Beginning {
  readonly time: Date;
  readonly start: number;
  readonly due: number | null;
}

/** One probe, as the caller sees it. */
class PingResult implements Ping {
  readonly index: number;
  readonly target: Destination;
  readonly seq: number;
  readonly time: Date;
  readonly start: number;
  readonly address: string | null;
  readonly localAddress: string | null;
  readonly state: ProbeState;
  readonly reason: ProbeReason;
  readonly answered: boolean;
  readonly code: string | null;
  readonly icmp: Icmp | null;
  readonly soft: boolean;
  readonly retransmits: number | null;
  readonly wall: number | null;
  readonly rtt: number | null;
  readonly latency: number | null;
  readonly #failure: Failure | LookupError | ErrnoError | null;

  constructor(
    index: number,
    target: Destination,
    seq: number,
    { time, start, due }: Beginning,
    end: Echo | LookupError | ErrnoError,
    countsRefusals: boolean,
  ) {
    this.index = index;
    this.target = target;
    this.seq = seq;
    this.time = time;
    this.start = onOwnClock(start);
    const echo = end instanceof Echo ? end : null;
    [this.state, this.reason] = echo?.verdict ?? UNNAMED;
    this.#failure = echo === null ? end as LookupError : echo.failure;
    this.answered = this.#failure === null ||
      countsRefusals && this.state === "closed";
    this.address = echo?.address.toString() ?? null;
    this.localAddress = echo?.local ?? null;
    this.icmp = echo?.icmp ?? null;
    this.soft = echo?.isSoft ?? false;
    this.retransmits = echo?.retransmits ?? null;
    this.rtt = echo?.rtt ?? null;
    this.wall = echo?.isCalled ? echo.wall : null;
    this.latency = !echo?.isCalled
      ? null
      : due === null
      ? echo.wall
      : echo.endedAt - due;
    const failure = this.#failure;
    this.code = failure === null
      ? null
      : failure instanceof Error
      ? failure.code
      : errnoName(failure.errno);
  }

  get error(): ErrnoError | LookupError | null {
    const failure = this.#failure;
    if (failure === null || failure instanceof Error) return failure;
    return errorFor(failure);
  }
}

/** The first of several to end, `null` if none has after a while. */
function firstToEnd<T>(
  promises: readonly Promise<T>[],
  delay: number,
): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const timer = delay === Infinity
      ? null
      : setTimeout(() => resolve(null), Math.max(delay, LEAST_ATTEMPT_DELAY));
    for (const promise of promises) {
      promise.then((value) => {
        if (timer !== null) clearTimeout(timer);
        resolve(value);
      }, reject);
    }
  });
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pingPlanOf(written: PingOptions): PingPlan {
  const options = readOptions("options", written, PING_KEYS);
  const most = Number.MAX_SAFE_INTEGER;
  const { rate } = options;
  if (rate !== undefined && !(typeof rate === "number" && rate > 0)) {
    throw new RangeError(
      `Cannot use rate ${rate}: it must be more than 0 probes a second`,
    );
  }
  const refused = options.refused ?? "failure";
  if (refused !== "failure" && refused !== "answer") {
    throw new TypeError(
      `Cannot use refused ${show(refused)}: it must be "failure" or "answer"`,
    );
  }
  return {
    count: checkInteger("count", options.count ?? 10, most),
    interval: checkMilliseconds("interval", options.interval, 100),
    gap: rate === undefined ? null : 1000 / rate,
    timeout: checkMilliseconds("timeout", options.timeout, 3000),
    resolveEvery: checkInteger("resolveEvery", options.resolveEvery ?? 0, most),
    countsRefusals: refused === "answer",
    signal: checkSignal("signal", options.signal),
  };
}
