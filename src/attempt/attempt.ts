/**
 * The engine: an attempt to connect, as one small record over a descriptor.
 *
 * What connects one address or a million stands on this. An attempt has no
 * promise, error or text of its own; its outcome is an errno, and the caller that
 * needs more makes it. A record can be used again for another address.
 *
 * The order of calls: {@linkcode Attempt.open}, {@linkcode Attempt.begin}; if
 * that returns {@linkcode PENDING}, {@linkcode Attempt.wait} or
 * {@linkcode Attempt.block}; in the end the descriptor is taken, or closed by
 * {@linkcode Attempt.close} or {@linkcode Attempt.reset}.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import {
  clearTimeout,
  performance,
  setTimeout,
  type Timer,
} from "../../ffi/timers.ts";
import { type Address, bytesOf } from "../address/address.ts";
import type { Caller } from "../errors/caller.ts";
import { ErrnoError, type Icmp } from "../errors/errors.ts";
import {
  ABORTED,
  cancelWaits,
  CLOSED,
  timeoutTo,
  type Waiter,
  watch,
} from "../reactor/reactor.ts";
import { closeByReset, openDescriptor } from "./descriptor.ts";
import { keepSenders, readErrorQueue } from "./icmp.ts";
import {
  bindLocal,
  isSelfConnected,
  type LocalEnd,
  LOWEST_EPHEMERAL_PORT,
} from "./local_port.ts";
import {
  DEADLINE,
  familyOf,
  glance,
  glanceAtError,
  type Outcome,
  PENDING,
  pollFd,
  readOutcome,
  takeErrno,
} from "./outcome.ts";

export { DEADLINE, PENDING } from "./outcome.ts";

/**
 * The state of an attempt at a Unix-domain listener whose backlog is full: the
 * kernel has begun nothing, and has no event to wait for.
 */
const FULL = -3;

/** The state of an attempt whose wait was ended by what a call has thrown. */
export const THROWN = -4;

/** The outcome of an attempt whose deadline passed before it could begin. */
export const LATE = -5;

/** What that was. */
const thrown = new WeakMap<Attempt, unknown>();

/** What has ended the wait of an attempt that is {@linkcode THROWN}. */
export function thrownAt(attempt: Attempt): unknown {
  return thrown.get(attempt);
}

/** How long a full Unix-domain backlog is left alone before the next try, in ms. */
const BACKLOG_PAUSE = 5;

/**
 * Where attempts take time, a look at once is two calls in vain: only one
 * attempt in so many is looked at then, in case that has changed. The others
 * wait for the reactor's first look, in the next turn.
 */
const LOOK_EVERY = 64;

/** The timers of those that wait for room in a backlog, who are few. */
const knocks = new WeakMap<Attempt, Timer>();

/** What has happened on a socket before an attempt. */
export const Phase = {
  /** Nothing that matters. */
  FRESH: 0,
  /** An attempt for the same address may be under way. */
  BEGUN: 1,
  /** An attempt has failed. */
  FAILED: 2,
  /** An attempt has succeeded. */
  CONNECTED: 3,
  /**
   * An attempt was refused at once, and this one is expected to be. Then the
   * system disconnects it for the next one, if it can, and no local end is left.
   */
  REFUSED: 4,
} as const;

/** What has happened on a socket before an attempt. */
export type Phase = (typeof Phase)[keyof typeof Phase];

/** How attempts are made; one record serves any number of them. */
export interface Recipe {
  /** The protocol for socket(2), 0 for the family's own. */
  readonly protocol: number;
  /** Whether the descriptor does not block. */
  readonly isNonblocking: boolean;
  /**
   * Sets the options of a new descriptor. What it throws comes out of
   * {@linkcode Attempt.open}.
   */
  readonly prepare: ((fd: number, family: number) => void) | null;
  /** Where to connect from, `null` to leave that to the system. */
  readonly local: LocalEnd | null;
  /** Whether an attempt outlasts soft errors, or fails by the first. */
  readonly waitsSoft: boolean;
  /**
   * Whether a socket over IPv6 keeps who sends an ICMP error for as long as the
   * attempt takes. Over IPv4 Linux keeps that anyway; where `prepare` asks for
   * it, it is for good.
   */
  readonly keepsSenders: boolean;
}

/** Attempts without anything special, that do not block. */
export const PLAIN: Recipe = {
  protocol: 0,
  isNonblocking: true,
  prepare: null,
  local: null,
  waitsSoft: false,
  keepsSenders: true,
};

/** The same, but they outlast soft errors. */
export const PATIENT: Recipe = { ...PLAIN, waitsSoft: true };

/** Says that an attempt is to be repeated with another socket. */
export const AGAIN: unique symbol = Symbol();

/** How often an address is tried again after the kernel connected a socket to itself. */
export const SELF_CONNECT_RETRIES = 3;

/** How soon the attempts at one target, or of one run, have ended lately. */
export interface Pace {
  /** Whether the last one that was looked at at once was over by then. */
  isQuick: boolean;
  /** Whether it had failed. */
  hasFailed: boolean;
  /** How many were not looked at. */
  passed: number;
}

/** A pace about which nothing is known. */
export function newPace(): Pace {
  return { isQuick: true, hasFailed: false, passed: 0 };
}

/** What most attempts never have: a record that is made for those that do. */
class Details {
  syscall = "connect";
  soft = 0;
  icmp: Icmp | null = null;
  signal: AbortSignal | undefined = undefined;
  caller: Caller | null = null;
  next: Waiter | null = null;
  tries = 0;
  /** What a subclass keeps here for its few. */
  own: unknown = null;
}

/** How {@linkcode Attempt.end} keeps `Infinity`. */
const NEVER = -1;

/**
 * One attempt to connect. It waits as one of the reactor's waiters. There may be
 * tens of thousands, so that it has no more fields than all of them need. V8
 * gives an object a field for each class that has `#methods`; here are none.
 */
export abstract class Attempt implements Waiter, Outcome {
  readonly libc: Libc;
  readonly recipe: Recipe;
  /** Where to. */
  address: Address;
  /** The descriptor, -1 while there is none. */
  fd: number;
  /**
   * 0 for connected, an errno, {@linkcode PENDING}, {@linkcode DEADLINE},
   * {@linkcode LATE}, {@linkcode THROWN}, or the reactor's `CLOSED` or `ABORTED`.
   */
  errno: number;
  /** When it began, on the clock of `performance.now()`. */
  since: number;
  /** Whole milliseconds, for V8 keeps any other number outside of the record. */
  #end: number;
  #details: Details | null = null;
  /** The reactor's own. */
  place: number;

  constructor(
    libc: Libc,
    recipe: Recipe,
    address: Address,
    since: number,
    end: number,
    signal: AbortSignal | undefined,
  ) {
    this.libc = libc;
    this.recipe = recipe;
    this.address = address;
    this.fd = -1;
    this.errno = PENDING;
    this.since = since;
    this.#end = wholeEnd(since, end);
    if (signal !== undefined) this.signal = signal;
    this.place = -1;
  }

  /** Called once when {@linkcode Attempt.wait} is over. Must not throw. */
  abstract ended(): void;

  /**
   * When to give up, on the clock of `performance.now()`, at a whole
   * millisecond; `Infinity` for never.
   */
  get end(): number {
    return this.#end === NEVER ? Infinity : this.#end;
  }

  set end(end: number) {
    this.#end = wholeEnd(this.since, end);
  }

  /** The reactor's own. */
  get next(): Waiter | null {
    return this.#details?.next ?? null;
  }

  set next(next: Waiter | null) {
    if (next !== null || this.#details !== null) this.known().next = next;
  }

  /** The reactor's own. */
  get tries(): number {
    return this.#details?.tries ?? 0;
  }

  set tries(tries: number) {
    if (tries !== 0 || this.#details !== null) this.known().tries = tries;
  }

  /** What a subclass keeps for its few. */
  protected get own(): unknown {
    return this.#details?.own ?? null;
  }

  protected set own(own: unknown) {
    this.known().own = own;
  }

  get syscall(): string {
    return this.#details?.syscall ?? "connect";
  }

  set syscall(name: string) {
    if (name !== this.syscall) this.known().syscall = name;
  }

  get soft(): number {
    return this.#details?.soft ?? 0;
  }

  set soft(errno: number) {
    this.known().soft = errno;
  }

  get icmp(): Icmp | null {
    return this.#details?.icmp ?? null;
  }

  set icmp(icmp: Icmp | null) {
    this.known().icmp = icmp;
  }

  /** Calls the attempt off. */
  get signal(): AbortSignal | undefined {
    return this.#details?.signal;
  }

  set signal(signal: AbortSignal | undefined) {
    this.known().signal = signal;
  }

  /** Whose line an error is to point at, if that was kept. */
  get caller(): Caller | null {
    return this.#details?.caller ?? null;
  }

  set caller(caller: Caller | null) {
    this.known().caller = caller;
  }

  /** The events of poll(2) that end an attempt. */
  get events(): number {
    return this.libc.abi.POLLOUT;
  }

  /** {@linkcode Attempt.cancel} ends it, and nothing less. */
  get isRecallable(): boolean {
    return false;
  }

  /** Whether a soft error is the outcome. */
  get isSoft(): boolean {
    return this.soft !== 0 && this.soft === this.errno;
  }

  /** Whether the kernel may still be at it. */
  get isUnderWay(): boolean {
    // A wait that failed has not ended what it waited for.
    return this.errno < 0 || this.isSoft ||
      this.errno > 0 && this.syscall !== "connect";
  }

  /** Makes the record ready for another address; it may hold no descriptor. */
  reuse(address: Address, since: number, end: number): void {
    this.address = address;
    this.fd = -1;
    this.errno = PENDING;
    this.since = since;
    this.#end = wholeEnd(since, end);
    const details = this.#details;
    if (details === null) return;
    details.tries = 0;
    details.syscall = "connect";
    details.soft = 0;
    details.icmp = null;
  }

  /**
   * Opens a descriptor, sets its options and binds it.
   *
   * @returns 0, or the errno, with {@linkcode Attempt.syscall} saying of what;
   * then no descriptor is left.
   * @throws What `recipe.prepare` throws.
   */
  open(): number {
    const { libc, recipe, address } = this;
    const { abi } = libc;
    const domain = familyOf(abi, bytesOf(address));
    const { protocol, isNonblocking, prepare, local } = recipe;
    const fd = openDescriptor(
      libc,
      domain,
      abi.SOCK_STREAM,
      protocol,
      isNonblocking,
    );
    if (fd < 0) {
      this.syscall = "socket";
      return this.errno = -fd;
    }
    this.fd = fd;
    this.keepSenders(true);
    if (prepare !== null) {
      try {
        prepare(fd, domain);
      } catch (error) {
        this.close();
        throw error;
      }
    }
    if (local !== null) {
      const result = bindLocal(libc, fd, address, local, this);
      if (result < 0) {
        this.close();
        return this.errno = -result;
      }
    }
    this.syscall = "connect";
    return 0;
  }

  /**
   * Has the socket keep who sends an ICMP error, if the recipe wants that, or keep
   * it no longer: it would end a connection that outlasts such errors otherwise.
   */
  keepSenders(keeps: boolean): void {
    const { recipe, address } = this;
    if (recipe.keepsSenders && address.family === "inet6") {
      keepSenders(this.libc, this.fd, keeps);
    }
  }

  /**
   * Calls connect(2), and looks at what became of it as far as that goes
   * without waiting.
   *
   * @param phase What has happened on the descriptor before.
   * @param pace Whether a look at once has paid lately; `null` looks always.
   * @returns 0, an errno, or {@linkcode PENDING}.
   */
  begin(phase: Phase = Phase.FRESH, pace: Pace | null = null): number {
    const errno = beginConnect(this, phase, pace);
    this.errno = errno;
    return errno === FULL ? PENDING : errno;
  }

  /**
   * Whether {@linkcode Attempt.repeat} may follow what {@linkcode Attempt.begin}
   * has returned. Who sends an ICMP error is in a queue that repeating leaves
   * alone.
   */
  get isRepeatable(): boolean {
    const { outlivesRefusal, errnos } = this.libc.abi;
    const { family } = this.address;
    return outlivesRefusal && this.recipe === PLAIN &&
      this.errno === errnos.ECONNREFUSED && !this.isUnderWay &&
      this.icmp === null && (family === "inet" || family === "inet6");
  }

  /**
   * Tries once more on the descriptor of an attempt that was refused at once, in
   * two calls where a new descriptor takes six.
   *
   * @returns Whether it was refused once more, which leaves the record as it is.
   * Otherwise the descriptor is closed, unless an attempt has begun on it, which
   * {@linkcode Attempt.begin} joins by {@linkcode Phase.BEGUN}.
   */
  repeat(): boolean {
    const { libc, fd, address } = this;
    const errno = connectTwice(libc, fd, bytesOf(address));
    if (errno === this.errno) return true;
    if (errno !== 0 && errno !== libc.abi.errnos.EINPROGRESS) this.close();
    return false;
  }

  /**
   * Waits without holding the thread; in the end {@linkcode Attempt.ended} is
   * called, maybe before this returns.
   */
  wait(): void {
    if (this.errno === FULL) {
      knocks.set(this, setTimeout(() => this.knock(), BACKLOG_PAUSE));
      return;
    }
    try {
      watch(this.libc, this);
    } catch (error) {
      this.fail(error);
    }
  }

  /**
   * Waits in poll(2), which holds the thread, up to a moment.
   *
   * @param until When to return, {@linkcode Attempt.end} at the latest.
   * @returns 0, an errno, {@linkcode DEADLINE}, or {@linkcode PENDING} if the
   * end of the attempt is still to come.
   */
  block(until: number = this.end): number {
    const { libc } = this;
    const { EINTR } = libc.abi.errnos;
    for (;;) {
      if (this.errno === FULL) {
        const left = timeoutTo(Math.min(until, this.end));
        if (left > 0) rest(libc, Math.min(left, BACKLOG_PAUSE));
        else if (performance.now() < this.end) return PENDING;
        else return this.look(0);
        const errno = this.begin(Phase.BEGUN);
        if (errno !== PENDING) return errno;
        continue;
      }
      const { events, fd } = this;
      const revents = pollFd(libc, fd, events, timeoutTo(until));
      if (revents !== -EINTR && revents !== 0) {
        const errno = this.look(revents);
        if (errno !== PENDING) return errno;
      }
      const now = performance.now();
      if (now >= this.end) return this.look(0);
      if (now >= until) return PENDING;
    }
  }

  /**
   * Takes what poll(2) reports.
   *
   * @param revents The events, 0 if the attempt's time is over, or `-errno`.
   * @returns 0, an errno, {@linkcode DEADLINE} or {@linkcode PENDING}.
   */
  look(revents: number): number {
    if (revents === 0) {
      return this.errno = this.soft !== 0 ? this.soft : DEADLINE;
    }
    if (revents < 0) {
      this.syscall = "poll";
      return this.errno = -revents;
    }
    const { libc, fd, recipe } = this;
    const errno = readOutcome(libc, fd, revents, recipe.waitsSoft, this);
    this.errno = errno;
    return errno;
  }

  /** Takes what the reactor reports: events, 0 for the end, or a code of its own. */
  notify(result: number): void {
    if (result === CLOSED || result === ABORTED) return this.conclude(result);
    if (this.look(result) === PENDING) this.wait();
    else this.ended();
  }

  /** Takes what keeps the wait from going on. */
  fail(error: unknown): void {
    if (error instanceof ErrnoError) {
      this.syscall = error.syscall;
      return this.conclude(error.errno);
    }
    thrown.set(this, error);
    this.conclude(THROWN);
  }

  /** Ends a wait by `CLOSED`; the descriptor stays open. */
  cancel(): void {
    if (this.errno === FULL) {
      const timer = knocks.get(this);
      if (timer !== undefined) clearTimeout(timer);
      this.conclude(CLOSED);
    } else if (this.fd >= 0) cancelWaits(this.libc, this.fd);
  }

  /**
   * Whether the two ends of the connection are the same, and the caller did not
   * ask for that.
   *
   * @param ownPort The port that the socket was bound to by number, if any.
   */
  isSelfConnected(ownPort: number = this.recipe.local?.port ?? 0): boolean {
    const { address } = this;
    if (address.family !== "inet" && address.family !== "inet6") return false;
    const { port } = address;
    if (port < LOWEST_EPHEMERAL_PORT || port === ownPort) return false;
    return isSelfConnected(this.libc, this.fd, bytesOf(address));
  }

  /** Closes the descriptor, if there is one. No wait may be under way. */
  close(): void {
    if (this.fd < 0) return;
    this.libc.close(this.fd);
    this.fd = -1;
  }

  /** Closes it by a reset, so that no end keeps the port in TIME_WAIT. */
  reset(): void {
    if (this.fd < 0) return;
    closeByReset(this.libc, this.fd);
    this.fd = -1;
  }

  /** Hands the descriptor over to the caller. */
  take(): number {
    const { fd } = this;
    this.fd = -1;
    return fd;
  }

  /** Tries once more whether there is room in a Unix-domain backlog. */
  private knock(): void {
    if (this.signal?.aborted === true) return this.conclude(ABORTED);
    if (performance.now() >= this.end) return this.notify(0);
    if (this.begin(Phase.BEGUN) === PENDING) this.wait();
    else this.ended();
  }

  private known(): Details {
    return this.#details ??= new Details();
  }

  private conclude(errno: number): void {
    this.errno = errno;
    this.ended();
  }
}

/** The whole millisecond at which a time is over; without any time, at once. */
function wholeEnd(since: number, end: number): number {
  if (end === Infinity) return NEVER;
  return end <= since ? Math.floor(end) : Math.ceil(end);
}

/** Whether the kernel goes on with an attempt after such a result of connect(2). */
export function isUnderWay(libc: Libc, errno: number): boolean {
  const { errnos } = libc.abi;
  return errno === errnos.EINPROGRESS || errno === errnos.EINTR;
}

/** Calls connect(2), and reads its result in the light of what went before. */
function callConnect(
  libc: Libc,
  fd: number,
  address: Uint8Array,
  phase: Phase,
): number {
  const { errnos } = libc.abi;
  // Subtracted from 0, since negating 0 makes -0.
  const errno = 0 - libc.connect(fd, address, address.length);
  if (phase === Phase.BEGUN) {
    if (errno === errnos.EISCONN) return 0;
    if (errno === errnos.EALREADY) return errnos.EINPROGRESS;
    // Where the attempt has failed meanwhile, Linux and illumos return why; BSD
    // returns EINVAL or ECONNREFUSED whatever it was, and SO_ERROR has it.
    if (errno !== 0 && !isUnderWay(libc, errno)) {
      const reason = takeErrno(libc, fd);
      return reason > 0 ? reason : errno;
    }
  }
  // Once SO_ERROR has handed out why an attempt failed, Linux fails the next
  // call with ECONNABORTED, without trying; and after an attempt that did not
  // block and succeeded, with a late 0 instead of EISCONN.
  return phase === Phase.FAILED && errno === errnos.ECONNABORTED ||
      phase === Phase.CONNECTED && errno === 0
    ? 0 - libc.connect(fd, address, address.length)
    : errno;
}

/**
 * Begins an attempt on a socket that was refused, and asks by a second connect(2)
 * what became of it: on loopback the outcome is there by then. SO_ERROR would
 * have it, too, but leave the socket unfit for the next attempt.
 *
 * @returns 0, an errno, or EINPROGRESS if the attempt is under way.
 */
function connectTwice(
  libc: Libc,
  fd: number,
  address: Uint8Array,
): number {
  const { EALREADY, EINPROGRESS, EISCONN } = libc.abi.errnos;
  const first = callConnect(libc, fd, address, Phase.FAILED);
  if (first !== EINPROGRESS) return first;
  const errno = 0 - libc.connect(fd, address, address.length);
  if (errno === EISCONN) return 0;
  return errno === EALREADY ? EINPROGRESS : errno;
}

function beginConnect(
  attempt: Attempt,
  phase: Phase,
  pace: Pace | null,
): number {
  const { libc, fd, address, recipe } = attempt;
  const { abi } = libc;
  const { EAGAIN, EINPROGRESS, EINTR } = abi.errnos;
  const bytes = bytesOf(address);
  let errno = phase === Phase.REFUSED
    ? connectTwice(libc, fd, bytes)
    : callConnect(libc, fd, bytes, phase);
  if (errno === 0) return 0;
  if (errno !== EINPROGRESS && familyOf(abi, bytes) === abi.AF_UNIX) {
    // Most systems have begun nothing when a signal cuts the call short; on
    // those that have, the next call joins it.
    while (errno === EINTR) errno = callConnect(libc, fd, bytes, Phase.BEGUN);
    // Without a deadline it is the caller's own socket that will not wait.
    if (errno === EAGAIN && attempt.end !== Infinity) return FULL;
    if (errno !== EINPROGRESS) return errno;
  }
  // The attempt lives in the kernel now, also when a signal cut the call
  // short. A second connect would return EALREADY, and on some systems would
  // disturb it: look at it instead.
  if (!isUnderWay(libc, errno)) {
    readErrorQueue(libc, fd, attempt);
    return errno;
  }
  const { waitsSoft } = recipe;
  const isInet6 = address.family === "inet6";
  if (pace === null) {
    return glance(libc, fd, isInet6, waitsSoft, false, attempt);
  }
  if (!pace.isQuick && ++pace.passed % LOOK_EVERY !== 0) {
    return isInet6 && abi.errorQueue !== null
      ? glanceAtError(libc, fd, isInet6, waitsSoft, attempt)
      : PENDING;
  }
  const { hasFailed } = pace;
  const outcome = glance(libc, fd, isInet6, waitsSoft, hasFailed, attempt);
  pace.isQuick = outcome !== PENDING;
  pace.hasFailed = outcome > 0;
  return outcome;
}

/** No descriptors. */
const nothing = newMemory(8);

/** Sleeps in poll(2). */
function rest(libc: Libc, timeout: number): void {
  libc.poll(nothing, 0, timeout);
}
