/**
 * Waits until targets are open, or closed.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import {
  clearInterval,
  clearTimeout,
  LONGEST_TIMER,
  performance,
  setInterval,
  setTimeout,
  type Timer,
} from "../../ffi/timers.ts";
import type { Address } from "../address/address.ts";
import {
  Attempt,
  DEADLINE,
  PENDING,
  Phase,
  type Recipe,
  THROWN,
  thrownAt,
} from "../attempt/attempt.ts";
import {
  errorFor,
  Failure,
  failureOf,
  selfConnected,
} from "../attempt/failure.ts";
import {
  checkFunction,
  checkInteger,
  checkMilliseconds,
  checkSignal,
  heedAbort,
  ignoreAbort,
  readOptions,
  show,
} from "../errors/arguments.ts";
import { callerOf, pointAt, setHidden } from "../errors/caller.ts";
import { type ErrnoError, errnoError, LookupError } from "../errors/errors.ts";
import { CLOSED } from "../reactor/reactor.ts";
import type { Destination } from "./destination.ts";
import { FREE_DESCRIPTORS, Room } from "./limits.ts";
import {
  type AddressSearch,
  checkWay,
  findAddresses,
  listOf,
  type Way,
  wayTo,
} from "./way.ts";

/** What is waited for, and how. */
export interface WaitForOptions {
  /**
   * What each target has to be. It is `"open"` when a connect to one of its
   * addresses succeeds, `"closed"` when every address refuses: nothing listens
   * there, or there is no such Unix socket. A host that does not reply is
   * neither.
   *
   * @default {"open"}
   */
  readonly until?: "open" | "closed" | undefined;
  /**
   * Whether all targets have to be ready, or one of them is enough.
   *
   * @default {"all"}
   */
  readonly mode?: "all" | "any" | undefined;
  /**
   * Milliseconds until {@linkcode waitFor} gives up, `Infinity` for never.
   *
   * @default {30_000}
   */
  readonly timeout?: number | undefined;
  /**
   * Milliseconds from the end of the first try to the next one. Each further
   * pause is half as long again, up to `maxInterval`.
   *
   * @default {10}
   */
  readonly interval?: number | undefined;
  /**
   * The longest pause between two tries, in milliseconds.
   *
   * @default {50, or `interval` if that is longer}
   */
  readonly maxInterval?: number | undefined;
  /**
   * Milliseconds that one try may take.
   *
   * @default {1000}
   */
  readonly attemptTimeout?: number | undefined;
  /**
   * How many tries in a row have to find a target open, or closed.
   *
   * @default {1}
   */
  readonly stable?: number | undefined;
  /**
   * What to do when a name does not resolve: wait for it, too, or end the wait
   * by the error. While no name server replies, the addresses that were found
   * last are tried.
   *
   * @default {"wait"}
   */
  readonly names?: "wait" | "fail" | undefined;
  /** Ends the wait: it rejects with the reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each target as soon as it is ready. */
  readonly onReady?: ((result: WaitResult) => void) | undefined;
}

/** A target that is ready. */
export interface WaitResult {
  /** Its place among the targets, from 0. */
  readonly index: number;
  /** The target, as it was given. */
  readonly target: Destination;
  /** The address that was open, or the last one that was closed, as text. */
  readonly address: string;
  /** How many tries there were. */
  readonly attempts: number;
  /** Milliseconds since the wait began. */
  readonly elapsed: number;
}

/** A target that is not ready. */
export interface PendingTarget {
  /** The target, as it was given. */
  readonly target: Destination;
  /** How many tries there were. */
  readonly attempts: number;
  /**
   * Why the last try failed, or the one before where the end of the wait has cut
   * the last short; `null` if it connected, or none has ended.
   */
  readonly last: ErrnoError | LookupError | null;
}

/**
 * A wait took longer than its `timeout`.
 *
 * @example Which services have not come up, and why
 * ```ts
 * import { WaitError, waitFor } from "@einprogress/connect/tools";
 * import { assert, assertEquals, assertRejects } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * listener.close();
 * const error = await assertRejects(
 *   () => waitFor([{ port }], { timeout: 200 }),
 *   WaitError,
 * );
 * const [pending] = error.pending;
 * assertEquals(pending?.last?.code, "ECONNREFUSED");
 * assert(pending!.attempts > 0);
 * ```
 */
export class WaitError extends Error {
  /** The name of the class. */
  declare readonly name: "WaitError";
  /** Each target that was still waited for, in the order given. */
  readonly pending: readonly PendingTarget[];

  /** Each target that was still waited for, and how long. */
  constructor(
    pending: readonly PendingTarget[],
    message: string,
  ) {
    super(message);
    this.pending = pending;
  }

  static {
    setHidden(this.prototype, "name", "WaitError");
  }
}

/** How much longer each pause is than the one before. */
const GROWTH = 1.5;

/** How long the addresses of a name are used before it is resolved again, in ms. */
const FRESHNESS = 1000;

/** The shortest pause after a name did not resolve: others use the name server, too. */
const LOOKUP_PAUSE = 250;
/** How many targets a message names. */
const MOST_NAMED = 3;

const WAIT_KEYS = [
  "until",
  "mode",
  "timeout",
  "interval",
  "maxInterval",
  "attemptTimeout",
  "stable",
  "names",
  "signal",
  "onReady",
] as const;

interface WaitPlan {
  readonly until: "open" | "closed";
  readonly mode: "all" | "any";
  readonly timeout: number;
  readonly interval: number;
  readonly maxInterval: number;
  readonly attemptTimeout: number;
  readonly stable: number;
  readonly names: "wait" | "fail";
  readonly signal: AbortSignal | undefined;
  readonly onReady: ((result: WaitResult) => void) | undefined;
}

/**
 * Waits until targets are open, or closed.
 *
 * Connects to each of them again and again, to the addresses of a name all at
 * once, and resolves when the targets are ready; each connection is closed by a
 * reset at once. A failed try is not an error: another one follows. Targets are
 * hosts and ports, Unix sockets and vsock ports; where there are more of them
 * than this process may open sockets, they take turns, and 64 descriptors stay
 * free.
 *
 * On Deno the program needs the permissions that `connect` needs for each
 * target.
 *
 * C: `getaddrinfo(3)`, `socket(2)`, `connect(2)`, `poll(2)` or `epoll(7)`,
 * `getsockopt(2)` with `SO_ERROR`.
 *
 * @param targets What to wait for: one target, or any number of them.
 * @param options Until when, and how.
 * @returns Those that are ready, in the order given: all of them, or with
 * `mode: "any"` one at least.
 * @throws {WaitError} If `timeout` passes; `pending` has each target's tries
 * and last error.
 * @throws {LookupError} If a name does not resolve and `names` is `"fail"`.
 * @throws {TypeError} If an argument is of the wrong kind.
 * @throws {RangeError} If an argument is out of range.
 * @throws {SyntaxError} If the text of a target does not parse.
 * @throws {DOMException} The reason of `options.signal`, once it is aborted: an
 * `AbortError`, unless `abort()` was given another reason.
 *
 * @example Until a server listens
 * ```ts
 * import { waitFor } from "@einprogress/connect/tools";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * const [ready] = await waitFor([{ hostname: "127.0.0.1", port }], {
 *   timeout: 5000,
 * });
 * assertEquals(ready?.address, `127.0.0.1:${port}`);
 * ```
 */
export async function waitFor(
  targets: Destination | Iterable<Destination>,
  options: WaitForOptions = {},
): Promise<WaitResult[]> {
  const caller = callerOf(waitFor);
  try {
    return await beginWait(targets, options).ready;
  } catch (error) {
    throw error instanceof WaitError || error instanceof LookupError
      ? pointAt<Error>(error, caller)
      : error;
  }
}

/** A wait that is under way. */
export interface Waiting {
  /** What {@linkcode waitFor} returns. */
  readonly ready: Promise<WaitResult[]>;
  /** Each target that is not ready so far, in the order given. */
  pending(): PendingTarget[];
}

/**
 * Begins to wait, for a caller that wants to see meanwhile what is pending.
 *
 * @throws As {@linkcode waitFor} does, for arguments and an aborted signal.
 */
export function beginWait(
  targets: Destination | Iterable<Destination>,
  options: WaitForOptions,
): Waiting {
  const plan = waitPlanOf(options);
  const list = listOf(targets);
  plan.signal?.throwIfAborted();
  const c = libc();
  const start = performance.now();
  const end = start + plan.timeout;
  const ways = list.map((target) => wayTo(c, target));
  const room = new Room(c);
  const watches = list.map((target, index) =>
    new TargetWait(c, plan, room, target, index, ways[index]!, start, end)
  );
  return {
    ready: runAll(watches, room, plan, end).then((isLate) => {
      if (isLate) throw lateness(watches, plan);
      return watches.flatMap(({ result }) => result ?? []);
    }),
    pending: () => pendingOf(watches),
  };
}

function pendingOf(watches: readonly TargetWait[]): PendingTarget[] {
  return watches.filter(({ result }) => result === null)
    .map(({ target, attempts, last }) =>
      Object.freeze({ target, attempts, last })
    );
}

/** Runs every watch; returns whether time has run out before they were ready. */
async function runAll(
  watches: readonly TargetWait[],
  room: Room,
  { mode, timeout, signal }: WaitPlan,
  end: number,
): Promise<boolean> {
  function stop(): void {
    room.clear();
    for (const watch of watches) watch.stop();
  }
  const timer = timeout > LONGEST_TIMER
    ? null
    : setTimeout(stop, Math.max(end - performance.now(), 0));
  try {
    heedAbort(signal, stop);
    const runs = watches.map(async (watch) => {
      try {
        await watch.run();
      } catch (error) {
        stop();
        throw error;
      }
      if (mode === "any" && watch.result !== null) stop();
    });
    // All of them end before anything is reported.
    const ends = await Promise.allSettled(runs);
    for (const one of ends) if (one.status === "rejected") throw one.reason;
    signal?.throwIfAborted();
    const ready = watches.filter(({ result }) => result !== null).length;
    const needed = mode === "any" ? 1 : watches.length;
    return ready < Math.min(needed, watches.length);
  } finally {
    if (timer !== null) clearTimeout(timer);
    ignoreAbort(signal, stop);
  }
}

/**
 * One target that is waited for.
 *
 * After a pause the processor's caches are cold, so that each line, object and
 * call of a try costs more than elsewhere: a try that is over at once makes no
 * promise and no record, and one that is refused keeps its sockets for the next.
 */
class TargetWait implements PendingTarget {
  readonly target: Destination;
  readonly text: string;
  attempts = 0;
  result: WaitResult | null = null;
  /** Why the last try failed; an error is made of it when asked for. */
  #last: Knock | Failure | LookupError | ErrnoError | null = null;
  readonly #c: Libc;
  readonly #plan: WaitPlan;
  readonly #room: Room;
  readonly #index: number;
  readonly #way: Way;
  readonly #start: number;
  readonly #end: number;
  #isStopped = false;
  /** The current addresses, and when they were found. */
  #addresses: readonly Address[];
  #resolved: number;
  /** The current try at each address. */
  readonly #knocks: Knock[] = [];
  /** For how many sockets it has room. */
  #places = 0;
  /** Whether the current try waits for room. */
  #isQueued = false;
  /** Whether the current try ends with the wait, before it has had its time. */
  #isCut = false;
  /** How many parts of the current try are not over. */
  #left = 0;
  #pause: number;
  /** How many tries in a row have found it ready. */
  #streak = 0;
  /** Begins the next try, `null` while one is under way. */
  #timer: Timer | null = null;
  /** Begins the tries while pauses are the longest and tries are over at once. */
  #ticker: Timer | null = null;
  /** The lookup that is under way; tries of known addresses go on meanwhile. */
  #search: AddressSearch | null = null;
  /** Whether the current try waits for it. */
  #isSearching = false;
  #settle!: () => void;
  #break!: (reason: unknown) => void;

  constructor(
    c: Libc,
    plan: WaitPlan,
    room: Room,
    target: Destination,
    index: number,
    way: Way,
    start: number,
    end: number,
  ) {
    this.#c = c;
    this.#plan = plan;
    this.#room = room;
    this.target = target;
    this.#index = index;
    this.#way = way;
    this.text = way.text;
    this.#start = start;
    this.#end = end;
    this.#addresses = way.addresses ?? [];
    this.#resolved = way.addresses === null ? -Infinity : Infinity;
    this.#pause = plan.interval;
  }

  get last(): ErrnoError | LookupError | null {
    const last = this.#last;
    if (last instanceof Knock) return errorFor(last.failure());
    return last instanceof Failure ? errorFor(last) : last;
  }

  /** Tries until it is ready or stopped; nothing is left open then. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#break = reject;
      this.#begin();
    });
  }

  /** Ends {@linkcode TargetWait.run}, ready or not. */
  stop(): void {
    this.#isStopped = true;
    for (const knock of this.#knocks) knock.stop();
    if (this.#isSearching && isOver(this.#end)) {
      this.#last ??= unresolved(this.text);
    }
    this.#search?.abandon();
    if (this.#isQueued) {
      if (isOver(this.#end)) this.#last ??= crowdedOut(this.text);
    } else if (this.#timer === null && this.#ticker === null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#finish();
  }

  /** Begins one more try. */
  readonly #begin = (): void => {
    this.#timer = null;
    // This timer may come before the one that is to end the wait.
    const isLate = this.attempts > 0 && performance.now() >= this.#end;
    if (this.#isStopped || isLate) return this.#finish();
    try {
      this.attempts++;
      const now = performance.now();
      if (now - this.#resolved < FRESHNESS) this.#try(now);
      else this.#resolve().catch(this.#break);
    } catch (error) {
      this.#break(error);
    }
  };

  /**
   * Tries the addresses of the name once they are found, or those that were
   * found last if that takes longer than a try: a name server may be down while
   * the service comes up.
   */
  async #resolve(): Promise<void> {
    this.#search ??= findAddresses(this.#c, this.#way, this.#end);
    const { found } = this.#search;
    const isKnown = this.#addresses.length > 0;
    this.#isSearching = true;
    const addresses = isKnown
      ? await inTime(found, this.#plan.attemptTimeout)
      : await found;
    this.#isSearching = false;
    if (addresses === null) return this.#finish();
    if (addresses === NOT_YET) {
      // No other try waits for it.
      this.#resolved = Infinity;
      const renew = () => void (this.#resolved = -Infinity);
      found.then(renew, renew);
      return this.#try(performance.now());
    }
    this.#search = null;
    const isFound = !(addresses instanceof Error);
    if (isFound) this.#addresses = addresses;
    if (isFound || isKnown && this.#mayPass(addresses)) {
      this.#resolved = performance.now();
      return this.#try(this.#resolved);
    }
    // By the end of the wait, it is the wait that has no time left.
    const isLate = addresses.code === "ETIMEDOUT";
    if (this.#plan.names === "fail" && !isLate) throw addresses;
    this.#addresses = [];
    // What ends with the wait says less than what there was before.
    this.#last = isOver(this.#end) ? this.#last ?? addresses : addresses;
    this.#streak = 0;
    this.#rest(LOOKUP_PAUSE);
  }

  /** Whether a lookup says nothing against the addresses that are known. */
  #mayPass({ code }: LookupError | ErrnoError): boolean {
    return code === "EAI_AGAIN" && this.#plan.names === "wait";
  }

  /** Knocks at each address at once. */
  #try(now: number): void {
    const addresses = checkWay(this.#c, this.#way, this.#addresses);
    const more = addresses.length - this.#places;
    if (more > 0) {
      this.#isQueued = !this.#room.take(more, this.#enter);
      if (this.#isQueued) return;
      this.#places += more;
    }
    const end = Math.min(now + this.#plan.attemptTimeout, this.#end);
    this.#isCut = end === this.#end;
    const { recipe } = this.#way;
    const knocks = this.#knocks;
    while (knocks.length > addresses.length) knocks.pop()!.stop();
    // One for this loop, so that the try is not over before the loop is.
    this.#left = 1;
    for (let i = 0; i < addresses.length; i++) {
      const address = addresses[i]!;
      let knock = knocks.at(i);
      if (knock === undefined) {
        knock = new Knock(this, this.#c, recipe, address, now, end);
        knocks.push(knock);
      }
      this.#left++;
      knock.start(address, now, end);
      if (knock.isOpen) break;
    }
    this.over();
  }

  /** Goes on with a try that had to wait for room. */
  readonly #enter = (): void => {
    if (this.#isStopped || isOver(this.#end)) return;
    this.#isQueued = false;
    try {
      this.#try(performance.now());
    } catch (error) {
      this.#break(error);
    }
  };

  /** Keeps why the last try failed before its record is used again. */
  forget(knock: Knock): void {
    if (this.#last === knock) this.#last = knock.failure();
  }

  /** Takes the end of one part of the current try. */
  over(knock?: Knock): void {
    if (knock?.isOpen) { for (const other of this.#knocks) other.stop(); }
    if (--this.#left > 0) return;
    try {
      this.#judge();
    } catch (error) {
      this.#break(error);
    }
    this.#makeRoom();
  }

  /** Gives back the room of what is closed. */
  #makeRoom(): void {
    const room = this.#room;
    let held = 0;
    for (const knock of this.#knocks) {
      if (room.isWanted) knock.stop();
      if (knock.fd >= 0) held++;
    }
    const closed = this.#places - held;
    if (closed === 0) return;
    this.#places = held;
    room.give(closed);
  }

  /** Takes the end of the whole try. */
  #judge(): void {
    const { until, stable } = this.#plan;
    const knocks = this.#knocks;
    let open: Knock | undefined;
    let failed: Knock | undefined;
    let late: Knock | undefined;
    for (const knock of knocks) {
      if (knock.errno === THROWN) throw thrownAt(knock);
      if (knock.isOpen) open ??= knock;
      else if (knock.isLate) late ??= knock;
      else if (knock.isFailure) failed ??= knock;
    }
    // An error from the network shows more than silence, and so does what there
    // was before a silence that is cut short.
    if (!this.#isCut || this.#last === null) failed ??= late;
    if (open !== undefined) this.#last = null;
    else if (failed !== undefined) this.#last = failed;
    const ready = until === "open"
      ? open
      : knocks.every((knock) => knock.isRefusal)
      ? knocks.at(-1)
      : undefined;
    this.#streak = ready === undefined ? 0 : this.#streak + 1;
    if (ready === undefined || this.#streak < stable) return this.#rest(0);
    this.result = {
      index: this.#index,
      target: this.target,
      address: ready.address.toString(),
      attempts: this.attempts,
      elapsed: performance.now() - this.#start,
    };
    this.#plan.onReady?.(this.result);
    this.#finish();
  }

  /** Begins the next try after a pause. */
  #rest(least: number): void {
    if (this.#isStopped) return this.#finish();
    if (this.#ticker !== null) return;
    const { maxInterval } = this.#plan;
    const pause = Math.min(Math.max(this.#pause, least), LONGEST_TIMER);
    if (pause === maxInterval) this.#ticker = setInterval(this.#tick, pause);
    else this.#timer = setTimeout(this.#begin, pause);
    this.#pause = Math.min(this.#pause * GROWTH, maxInterval);
  }

  readonly #tick = (): void => {
    this.#begin();
    // Pauses count from the end of a try.
    const isDone = this.#left === 0 && !this.#isSearching;
    if (!isDone || this.#isQueued) this.#stopTicker();
  };

  #finish(): void {
    this.#stopTicker();
    this.#search?.abandon();
    for (const knock of this.#knocks) knock.stop();
    this.#makeRoom();
    this.#settle();
  }

  #stopTicker(): void {
    if (this.#ticker !== null) clearInterval(this.#ticker);
    this.#ticker = null;
  }
}

/** What there is of a lookup that takes too long. */
const NOT_YET = Symbol();

/** Waits for a lookup, but no longer than that many milliseconds. */
function inTime<T>(
  found: Promise<T>,
  limit: number,
): Promise<T | typeof NOT_YET> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => resolve(NOT_YET),
      Math.min(limit, LONGEST_TIMER),
    );
    found.then(resolve, reject).then(() => clearTimeout(timer));
  });
}

/** One try of one address. */
class Knock extends Attempt {
  readonly #watch: TargetWait;
  /** Whether the socket connected to itself. */
  #isSelf = false;
  #elapsed = 0;

  constructor(
    watch: TargetWait,
    c: Libc,
    recipe: Recipe,
    address: Address,
    since: number,
    end: number,
  ) {
    super(c, recipe, address, since, end, undefined);
    this.#watch = watch;
  }

  /** Begins; in the end nothing of it is left open but the socket of a refusal. */
  start(address: Address, since: number, end: number): void {
    if (address !== this.address) this.close();
    if (this.fd >= 0 && this.repeat()) return this.#watch.over(this);
    this.#watch.forget(this);
    const fd = this.take();
    this.reuse(address, since, end);
    this.#isSelf = false;
    this.fd = fd;
    const isBegun = fd >= 0;
    const result = isBegun || this.open() === 0
      ? this.begin(isBegun ? Phase.BEGUN : Phase.FRESH)
      : this.errno;
    if (result === PENDING) this.wait();
    else this.#leave(this.isRepeatable);
  }

  /** Ends it, and leaves nothing open. */
  stop(): void {
    if (this.errno < 0) this.cancel();
    else this.close();
  }

  override ended(): void {
    // The timer of the whole wait may fire a little before this one ends.
    if (this.errno === CLOSED && isOver(this.end)) this.errno = DEADLINE;
    this.#leave(false);
  }

  #leave(isHeld: boolean): void {
    this.#elapsed = performance.now() - this.since;
    if (this.errno === 0) {
      this.#isSelf = this.isSelfConnected();
      this.reset();
    } else if (!isHeld) {
      this.close();
    }
    this.#watch.over(this);
  }

  get isOpen(): boolean {
    return this.errno === 0 && !this.#isSelf;
  }

  /** Whether it shows why it has not connected. */
  get isFailure(): boolean {
    return this.errno > 0 || this.#isSelf;
  }

  /** Whether nothing came back in time. */
  get isLate(): boolean {
    return this.errno === DEADLINE;
  }

  /** Whether nothing listens. */
  get isRefusal(): boolean {
    const { ECONNREFUSED, ECONNRESET, ENOENT } = this.libc.abi.errnos;
    const { family } = this.address;
    return this.#isSelf || this.errno === ECONNREFUSED ||
      family === "unix" && this.errno === ENOENT ||
      family === "vsock" && this.errno === ECONNRESET;
  }

  failure(): Failure {
    const { errno, context } = this.#isSelf
      ? selfConnected(this, this.since)
      : failureOf(this, this.since, this.end - this.since);
    const elapsed = this.#elapsed;
    return new Failure(errno, { ...context, elapsed });
  }
}

/** Whether a moment has come, as exactly as timers are. */
function isOver(end: number): boolean {
  return performance.now() >= end - 2;
}

function crowdedOut(text: string): ErrnoError {
  return errnoError("EMFILE", {
    syscall: "socket",
    address: text,
    detail: `${FREE_DESCRIPTORS} descriptors stay free`,
  });
}

function unresolved(text: string): ErrnoError {
  return errnoError("ETIMEDOUT", {
    syscall: "getaddrinfo",
    address: text,
    timeoutKind: "deadline",
    detail: "the name did not resolve in time",
  });
}

function lateness(watches: readonly TargetWait[], plan: WaitPlan): WaitError {
  const waiting = watches.filter(({ result }) => result === null);
  const pending = pendingOf(watches);
  const each = pending.slice(0, MOST_NAMED).map(({ attempts, last }, i) => {
    const tries = attempts === 1 ? "1 try" : `${attempts} tries`;
    const why = last === null ? "connected" : last.code;
    return `${waiting[i]!.text} (${tries}, last: ${why})`;
  });
  const more = pending.length - each.length;
  if (more > 0) each.push(`${more} more`);
  return new WaitError(
    Object.freeze(pending),
    `Cannot wait any longer than ${plan.timeout} ms: ` +
      `not ${plan.until}: ${each.join(", ")}`,
  );
}

function waitPlanOf(written: WaitForOptions): WaitPlan {
  const options = readOptions("options", written, WAIT_KEYS);
  const interval = checkMilliseconds("interval", options.interval, 10);
  const { onReady } = options;
  if (onReady !== undefined) checkFunction("onReady", onReady);
  const most = Number.MAX_SAFE_INTEGER;
  const stable = checkInteger("stable", options.stable ?? 1, most);
  if (stable === 0) {
    throw new RangeError("Cannot use stable 0: it must be 1 or more");
  }
  return {
    until: checkWord("until", options.until, ["open", "closed"]),
    mode: checkWord("mode", options.mode, ["all", "any"]),
    names: checkWord("names", options.names, ["wait", "fail"]),
    timeout: checkMilliseconds("timeout", options.timeout, 30_000),
    interval,
    maxInterval: checkMilliseconds(
      "maxInterval",
      options.maxInterval,
      Math.max(50, interval),
      interval,
    ),
    attemptTimeout: checkMilliseconds(
      "attemptTimeout",
      options.attemptTimeout,
      1000,
    ),
    stable,
    signal: checkSignal("signal", options.signal),
    onReady: onReady as WaitPlan["onReady"],
  };
}

/** One of a few words, the first where nothing is given. */
function checkWord<W extends string>(
  name: string,
  value: unknown,
  words: readonly [W, ...W[]],
): W {
  if (value === undefined) return words[0];
  const found = words.find((word) => word === value);
  if (found !== undefined) return found;
  const known = words.map((word) => `"${word}"`).join(" or ");
  throw new TypeError(
    `Cannot use ${name} ${show(value)}: it must be ${known}`,
  );
}
