/**
 * Waits until somebody listens, or nobody does any more.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import {
  clearTimeout,
  LONGEST_TIMER,
  performance,
  setTimeout,
} from "../../ffi/timers.ts";
import type { Address } from "../address/address.ts";
import {
  Attempt,
  DEADLINE,
  PENDING,
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
import { callerOf, pointAt } from "../errors/caller.ts";
import { type ErrnoError, errnoError, LookupError } from "../errors/errors.ts";
import { CLOSED } from "../reactor/reactor.ts";
import type { Destination } from "./destination.ts";
import {
  checkWay,
  findAddresses,
  type Found,
  listOf,
  type Way,
  wayTo,
} from "./way.ts";

/** What is waited for, and how. */
export interface WaitForOptions {
  /**
   * What each target has to be. It is `"open"` when a connect to one of its
   * addresses succeeds, `"closed"` when every address refuses: nobody listens
   * there, or there is no such Unix socket. A host that does not answer is
   * neither.
   *
   * @default {"open"}
   */
  readonly until?: "open" | "closed" | undefined;
  /**
   * Whether all targets have to be so, or one of them is enough.
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
   * How many tries in a row have to find a target so.
   *
   * @default {1}
   */
  readonly stable?: number | undefined;
  /**
   * What a name that does not resolve is: one more thing to wait for, or the
   * end.
   *
   * @default {"wait"}
   */
  readonly names?: "wait" | "fail" | undefined;
  /** Ends the wait: it rejects with the reason. */
  readonly signal?: AbortSignal | undefined;
  /** Takes each target as soon as it is what it has to be. */
  readonly onReady?: ((result: WaitResult) => void) | undefined;
}

/** A target that is what was waited for. */
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

/** A target that is not what was waited for. */
export interface PendingTarget {
  /** The target, as it was given. */
  readonly target: Destination;
  /** How many tries there were. */
  readonly attempts: number;
  /** Why the last try failed; `null` if it connected, or none has ended. */
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
 *   () => waitFor([{ port }], { timeout: 50 }),
 *   WaitError,
 * );
 * const [pending] = error.pending;
 * assertEquals(pending?.last?.code, "ECONNREFUSED");
 * assert(pending!.attempts > 1);
 * ```
 */
export class WaitError extends Error {
  /** The name of the class. */
  override readonly name = "WaitError";
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
}

/** How much longer each pause is than the one before. */
const GROWTH = 1.5;

/** How long what a name resolves to is used before it is resolved again, in ms. */
const FRESHNESS = 1000;

/** The shortest pause after a name did not resolve: others are asked, too. */
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
 * Connects to each of them again and again, the addresses of a name all at
 * once, and resolves when they are what they have to be; each connection is
 * closed by a reset at once. A failed try is no error: it is why there is
 * another one. Targets are hosts and ports, Unix sockets and vsock ports.
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
 * Begins to wait, for who wants to know how it stands meanwhile.
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
  const watches = list.map((target, index) =>
    new TargetWait(c, plan, target, index, wayTo(c, target), start, end)
  );
  return {
    ready: runAll(watches, plan, end).then((isLate) => {
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
  { mode, timeout, signal }: WaitPlan,
  end: number,
): Promise<boolean> {
  function stop(): void {
    for (const watch of watches) watch.stop();
  }
  let isLate = false;
  const timer = timeout > LONGEST_TIMER ? null : setTimeout(() => {
    isLate = true;
    stop();
  }, Math.max(end - performance.now(), 0));
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
    // All of them have ended before anything is reported.
    const ends = await Promise.allSettled(runs);
    for (const one of ends) if (one.status === "rejected") throw one.reason;
    signal?.throwIfAborted();
    const ready = watches.filter(({ result }) => result !== null).length;
    const needed = mode === "any" ? 1 : watches.length;
    return isLate && ready < Math.min(needed, watches.length);
  } finally {
    if (timer !== null) clearTimeout(timer);
    ignoreAbort(signal, stop);
  }
}

/** One target that is waited for. */
class TargetWait implements PendingTarget {
  readonly target: Destination;
  readonly text: string;
  attempts = 0;
  result: WaitResult | null = null;
  /** What the last try left behind; an error is made of it when asked for. */
  #last: Knock | LookupError | ErrnoError | null = null;
  readonly #c: Libc;
  readonly #plan: WaitPlan;
  readonly #index: number;
  readonly #way: Way;
  readonly #start: number;
  readonly #end: number;
  #isStopped = false;
  /** What is under way. */
  #knocks: readonly Knock[] = [];
  /** Ends the pause or the lookup that is under way. */
  #wake: (() => void) | null = null;

  constructor(
    c: Libc,
    plan: WaitPlan,
    target: Destination,
    index: number,
    way: Way,
    start: number,
    end: number,
  ) {
    this.#c = c;
    this.#plan = plan;
    this.target = target;
    this.#index = index;
    this.#way = way;
    this.text = way.text;
    this.#start = start;
    this.#end = end;
  }

  get last(): ErrnoError | LookupError | null {
    const last = this.#last;
    return last instanceof Knock ? last.failure() : last;
  }

  /** Ends {@linkcode TargetWait.run}, ready or not. */
  stop(): void {
    this.#isStopped = true;
    for (const knock of this.#knocks) knock.cancel();
    this.#wake?.();
  }

  /** Tries until it is ready or stopped. */
  async run(): Promise<void> {
    const { interval, maxInterval, stable, names } = this.#plan;
    let pause = interval;
    let streak = 0;
    let addresses: readonly Address[] = [];
    let resolved = -Infinity;
    while (!this.#isStopped) {
      const now = performance.now();
      let least = 0;
      this.attempts++;
      if (now - resolved >= FRESHNESS || addresses.length === 0) {
        const found = await this.#resolve();
        if (found === null) return;
        if (found instanceof Error) {
          if (names === "fail") throw found;
          addresses = [];
          this.#last = found;
          least = LOOKUP_PAUSE;
        } else {
          addresses = found;
          resolved = this.#way.addresses === null ? now : Infinity;
        }
      }
      const address = addresses.length > 0 ? await this.#try(addresses) : null;
      streak = address === null ? 0 : streak + 1;
      if (address !== null && streak >= stable) return this.#finish(address);
      await this.#sleep(Math.max(pause, least));
      pause = Math.min(pause * GROWTH, maxInterval);
    }
  }

  /** The addresses, or why there are none; `null` if it was stopped. */
  #resolve(): Promise<Found | null> {
    const { found, abandon } = findAddresses(this.#c, this.#way, this.#end);
    this.#wake = () => {
      if (isOver(this.#end)) this.#last ??= unresolved(this.text);
      abandon();
    };
    return found;
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isStopped) return resolve();
      const timer = setTimeout(resolve, Math.min(milliseconds, LONGEST_TIMER));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Knocks at each address at once; returns one that makes it ready. */
  async #try(addresses: readonly Address[]): Promise<Address | null> {
    const { attemptTimeout, until } = this.#plan;
    checkWay(this.#c, this.#way);
    const now = performance.now();
    const end = Math.min(now + attemptTimeout, this.#end);
    const knocks = this.#knocks = addresses.map((address) =>
      new Knock(this.#c, this.#way.recipe, address, now, end, undefined)
    );
    const pending: Promise<void>[] = [];
    for (const knock of knocks) {
      if (!knock.start()) pending.push(this.#follow(knock));
      else if (knock.isOpen) break;
    }
    if (knocks.some(({ isOpen }) => isOpen)) {
      for (const knock of knocks) knock.cancel();
    }
    if (pending.length > 0) await Promise.all(pending);
    for (const knock of knocks) {
      if (knock.errno === THROWN) throw thrownAt(knock);
    }
    const open = knocks.find(({ isOpen }) => isOpen);
    // Silence is less than what somebody said.
    const failed = knocks.find((knock) => knock.errno > 0) ??
      knocks.find(({ isLate }) => isLate);
    if (open !== undefined) this.#last = null;
    else if (failed !== undefined) this.#last = failed;
    if (until === "open") return open?.address ?? null;
    return knocks.every(({ isRefusal }) => isRefusal)
      ? knocks.at(-1)!.address
      : null;
  }

  /** Waits for one of several; the first that is open ends the others. */
  async #follow(knock: Knock): Promise<void> {
    await knock.finish();
    if (!knock.isOpen) return;
    for (const other of this.#knocks) other.cancel();
  }

  #finish(address: Address): void {
    this.result = {
      index: this.#index,
      target: this.target,
      address: address.toString(),
      attempts: this.attempts,
      elapsed: performance.now() - this.#start,
    };
    this.#plan.onReady?.(this.result);
  }
}

/** One try of one address. */
class Knock extends Attempt {
  /** Whether it was to itself that it connected. */
  #isSelf = false;
  #isOver = false;
  #elapsed = 0;
  #settle: (() => void) | null = null;

  /** Begins; returns whether it is over by then. */
  start(): boolean {
    if (this.open() === 0 && this.begin() === PENDING) return false;
    this.#leave();
    return true;
  }

  /** Resolves when it is over, and nothing of it is left open. */
  finish(): Promise<void> {
    return new Promise((resolve) => {
      this.#settle = resolve;
      this.wait();
    });
  }

  override ended(): void {
    // The timer of the whole wait may fire a little before this one ends.
    if (this.errno === CLOSED && isOver(this.end)) this.errno = DEADLINE;
    this.#leave();
    this.#settle?.();
  }

  /** Gives it up, if it is still under way. */
  override cancel(): void {
    if (!this.#isOver) super.cancel();
  }

  #leave(): void {
    this.#isOver = true;
    this.#elapsed = performance.now() - this.since;
    if (this.errno !== 0) return this.close();
    this.#isSelf = this.isSelfConnected();
    this.reset();
  }

  get isOpen(): boolean {
    return this.errno === 0 && !this.#isSelf;
  }

  /** Whether nobody has answered in time. */
  get isLate(): boolean {
    return this.errno === DEADLINE;
  }

  /** Whether nobody listens. */
  get isRefusal(): boolean {
    const { ECONNREFUSED, ECONNRESET, ENOENT } = this.libc.abi.errnos;
    const { family } = this.address;
    return this.#isSelf || this.errno === ECONNREFUSED ||
      family === "unix" && this.errno === ENOENT ||
      family === "vsock" && this.errno === ECONNRESET;
  }

  failure(): ErrnoError {
    const { errno, context } = this.#isSelf
      ? selfConnected(this, this.since)
      : failureOf(this, this.since, this.end - this.since);
    const elapsed = this.#elapsed;
    return errorFor(new Failure(errno, { ...context, elapsed }));
  }
}

/** Whether a moment is no further away than timers are inexact. */
function isOver(end: number): boolean {
  return performance.now() >= end - 2;
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
