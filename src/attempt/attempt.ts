/**
 * The state machine of connect(2), over descriptors.
 *
 * Answers are errnos, 0 for done; what they mean to a caller is decided above.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import type { Icmp } from "../errors/errors.ts";
import { takeIcmp } from "./icmp.ts";
import {
  ABORTED,
  CLOSED,
  takeTurn,
  timeoutTo,
  type Waiter,
  watch,
} from "../reactor/reactor.ts";

/** The answer that the caller's own time ran out; no errno is negative. */
export const DEADLINE = -1;

/** The answer that the attempt is still under way. */
export const PENDING = -2;

/** How long a full Unix-domain backlog is left alone before the next try, in ms. */
const BACKLOG_PAUSE = 5;

/** Nothing that matters has happened on the socket before. */
export const FRESH = 0;

/** An attempt for this very address may be under way. */
export const BEGUN = 1;

/** An attempt has failed. */
export const FAILED = 2;

/** An attempt has succeeded. */
export const CONNECTED = 3;

/** What has gone before on a socket. */
export type Before =
  | typeof FRESH
  | typeof BEGUN
  | typeof FAILED
  | typeof CONNECTED;

/** What a wait has to remember of one attempt. */
export interface Attempt {
  /** An error that TCP was told of while it went on trying, or 0. */
  soft: number;
  /** Who told it, if that is known. */
  icmp: Icmp | null;
}

// Scratch memory: no call's use of it outlives the call.
const pollfd = newMemory(16);
const pollfdView = new DataView(pollfd.buffer);
const int = newMemory(4);
const intView = new DataView(int.buffer);
const bytes = newMemory(512);

/** The one attempt that is worked on right now, in this call. */
export const here: Attempt = { soft: 0, icmp: null };

/** Calls connect(2), and reads its answer in the light of what went before. */
function callConnect(
  libc: Libc,
  fd: number,
  address: Uint8Array,
  before: Before,
): number {
  const { errnos } = libc.abi;
  // Subtracted from 0, since negating 0 makes -0.
  const errno = 0 - libc.connect(fd, address, address.length);
  if (before === BEGUN) {
    if (errno === errnos.EISCONN) return 0;
    if (errno === errnos.EALREADY) return errnos.EINPROGRESS!;
    // Where the attempt has failed meanwhile, Linux and illumos answer why; BSD
    // answers EINVAL or ECONNREFUSED whatever it was, and SO_ERROR has it.
    if (errno !== 0 && !goesOn(libc, errno)) {
      return takeErrno(libc, fd) || errno;
    }
  }
  // Once SO_ERROR has handed out why an attempt failed, Linux answers the next
  // call with ECONNABORTED, without trying; and after an attempt that did not
  // block and succeeded, with a late 0 instead of EISCONN.
  return before === FAILED && errno === errnos.ECONNABORTED ||
      before === CONNECTED && errno === 0
    ? 0 - libc.connect(fd, address, address.length)
    : errno;
}

/** Whether the kernel goes on with an attempt after an answer of connect(2). */
export function goesOn(libc: Libc, errno: number): boolean {
  const { errnos } = libc.abi;
  return errno === errnos.EINPROGRESS || errno === errnos.EINTR;
}

/**
 * Connects, and waits for as long as it takes or as `timeout` allows.
 *
 * @param libc The C library.
 * @param fd A socket; with a timeout, a non-blocking one.
 * @param address The socket address.
 * @param timeout Milliseconds, `Infinity` for no limit of ours.
 * @returns 0, an errno, or {@linkcode DEADLINE}.
 */
export function connectFd(
  libc: Libc,
  fd: number,
  address: Uint8Array,
  timeout: number,
  before: Before = FRESH,
): number {
  const errno = callConnect(libc, fd, address, before);
  if (errno === 0) return 0;
  here.icmp = null;
  const { abi } = libc;
  const { errnos } = abi;
  // Where Unix-domain sockets are made of what networks are made of, as on
  // illumos, such an attempt may take its time like any other.
  if (
    errno !== errnos.EINPROGRESS && familyOf(abi, address) === abi.AF_UNIX
  ) {
    return errno === errnos.EAGAIN || errno === errnos.EINTR
      ? connectUnix(libc, fd, address, errno, timeout)
      : errno;
  }
  // The attempt lives in the kernel now, also when a signal cut the call
  // short. A second connect would be told EALREADY, and on some systems would
  // disturb it: wait instead, and ask for the outcome.
  if (!goesOn(libc, errno)) return errno;
  return peerOf(libc, fd) >= 0 ? 0 : waitConnected(libc, fd, timeout);
}

/**
 * Connects a non-blocking socket as far as that goes without waiting.
 *
 * @returns 0, an errno, or {@linkcode PENDING}; then a
 * {@linkcode PendingConnect} has to follow before anything else.
 */
export function beginConnect(
  libc: Libc,
  fd: number,
  address: Uint8Array,
  before: Before,
): number {
  const { abi } = libc;
  here.soft = 0;
  here.icmp = null;
  let errno = callConnect(libc, fd, address, before);
  // In the Unix domain most systems have begun nothing when a signal cuts the
  // call short; on those that have, the next call joins it.
  while (errno === abi.errnos.EINTR && familyOf(abi, address) === abi.AF_UNIX) {
    errno = callConnect(libc, fd, address, BEGUN);
  }
  if (errno === 0 || !goesOn(libc, errno)) return errno;
  if (!isQuick && ++passed % LOOK_EVERY !== 0) return PENDING;
  if (peerOf(libc, fd) >= 0) {
    isQuick = true;
    return 0;
  }
  const revents = pollFd(libc, fd, abi.POLLOUT, 0);
  const outcome = revents > 0 ? settle(libc, fd, revents, here) : PENDING;
  isQuick = outcome !== PENDING;
  return outcome;
}

/**
 * Where attempts take time, a look at once is two calls for nothing: only one
 * attempt in so many is looked at then, in case that has changed. The others
 * wait for the reactor's first look, in the next turn.
 */
const LOOK_EVERY = 64;

/** Whether the last attempt that was looked at once was over by then. */
let isQuick = true;
let passed = 0;

/**
 * A turn for everybody else, where one is due before the next attempt.
 *
 * Attempts that take time bring the event loop its turns by themselves.
 *
 * @returns What to wait for, `null` for nothing.
 */
export function turnBefore(libc: Libc): Promise<unknown> | null {
  return isQuick ? takeTurn(libc) : null;
}

/** Who waits for the end of an attempt. */
export interface Listener {
  /**
   * Takes 0, an errno, {@linkcode DEADLINE}, {@linkcode CLOSED} or
   * {@linkcode ABORTED}, once.
   */
  tell(errno: number): void;
}

/**
 * A pending attempt, waited for without holding the thread. One object holds
 * all that it needs, for there may be thousands.
 */
export class PendingConnect<Owner> implements Attempt, Waiter {
  soft: number;
  icmp: Icmp | null;
  readonly fd: number;
  readonly events: number;
  readonly end: number;
  readonly signal: AbortSignal | undefined;
  since: number;
  place = -1;
  next: Waiter | null = null;
  readonly #libc: Libc;
  readonly #owner: Owner;
  readonly #note: (owner: Owner, errno: number) => void;
  readonly #listener: Listener;

  /**
   * @param end When to give up, on the clock of `performance.now()`.
   * @param note Is told of the end first, together with `owner`; it is the
   * same function for all.
   * @param listener Is told after that. Neither may throw.
   */
  constructor(
    libc: Libc,
    fd: number,
    since: number,
    end: number,
    signal: AbortSignal | undefined,
    owner: Owner,
    note: (owner: Owner, errno: number) => void,
    listener: Listener,
  ) {
    // What the look at once has come across is this attempt's.
    this.soft = here.soft;
    this.icmp = here.icmp;
    this.fd = fd;
    this.events = libc.abi.POLLOUT;
    this.since = since;
    this.end = end;
    this.signal = signal;
    this.#libc = libc;
    this.#owner = owner;
    this.#note = note;
    this.#listener = listener;
  }

  /** Begins to wait, or goes on with it. */
  wait(): void {
    watch(this.#libc, this);
  }

  tell(answer: number): void {
    if (answer > 0) {
      const errno = settle(this.#libc, this.fd, answer, this);
      if (errno === PENDING) this.wait();
      else this.#conclude(errno);
    } else if (answer === 0) {
      this.#conclude(DEADLINE);
    } else {
      const isOff = answer === CLOSED || answer === ABORTED;
      this.#conclude(isOff ? answer : -answer);
    }
  }

  #conclude(errno: number): void {
    this.#note(this.#owner, errno);
    this.#listener.tell(errno);
  }
}

/**
 * Waits for a pending attempt and tells how it ended.
 *
 * @returns 0, an errno, or {@linkcode DEADLINE}.
 */
export function waitConnected(
  libc: Libc,
  fd: number,
  timeout: number,
): number {
  const end = performance.now() + timeout;
  const { EINTR } = libc.abi.errnos;
  here.soft = 0;
  for (;;) {
    const revents = pollFd(libc, fd, libc.abi.POLLOUT, timeoutTo(end));
    if (revents > 0) {
      const errno = settle(libc, fd, revents, here);
      if (errno !== PENDING) return errno;
    } else if (revents < 0 && revents !== -EINTR!) {
      return -revents;
    }
    if (performance.now() >= end) return DEADLINE;
  }
}

/**
 * Tells what became of an attempt that poll(2) has something to say of.
 *
 * An ICMP error may be soft: SO_ERROR gives it once, TCP goes on trying, and
 * Linux answers POLLERR again and again until the queue of errors is drained.
 * POLLERR by itself is such a one; an end comes with POLLOUT or POLLHUP.
 *
 * @returns 0, an errno, or {@linkcode PENDING}.
 */
export function settle(
  libc: Libc,
  fd: number,
  revents: number,
  attempt: Attempt,
): number {
  const { errnos, POLLOUT, POLLERR, POLLHUP, POLLNVAL, errorQueue } = libc.abi;
  // A socket that is writable and nothing else has no error on Linux; where
  // poll(2) says less, an attempt that failed has no peer, and SO_ERROR tells.
  const isQuiet = (revents & (POLLERR | POLLHUP | POLLNVAL)) === 0;
  const early = isQuiet ? peerOf(libc, fd) : null;
  if (early !== null && early >= 0) return 0;
  const errno = takeErrno(libc, fd);
  const isEnd = (revents & (POLLOUT | POLLHUP | POLLNVAL)) !== 0;
  if (!isEnd && errorQueue !== null) {
    if (errno !== 0) attempt.soft = errno;
    attempt.icmp = takeIcmp(libc, fd) ?? attempt.icmp;
    return PENDING;
  }
  if (errno !== 0) {
    // The kernel, too, reports what it was told last in place of its timeout;
    // the reading of SO_ERROR has made it forget that.
    return errno === errnos.ETIMEDOUT && attempt.soft !== 0
      ? attempt.soft
      : errno;
  }
  const peer = early ?? peerOf(libc, fd);
  if (peer >= 0) return 0;
  // Woken for nothing, unless the hang-up says that there is nothing left to
  // wait for, and its reason was handed out before.
  if (peer === -errnos.ENOTCONN! && (revents & POLLHUP) === 0) return PENDING;
  return attempt.soft !== 0 ? attempt.soft : -peer;
}

/**
 * Takes the pending error of a socket, which clears it.
 *
 * @returns The errno, 0 for none.
 */
export function takeErrno(libc: Libc, fd: number): number {
  const { abi } = libc;
  const result = libc.getsockopt(fd, abi.SOL_SOCKET, abi.SO_ERROR, int);
  return result < 0 ? -result : intView.getInt32(0, abi.littleEndian);
}

/**
 * Waits for events on one descriptor.
 *
 * @param timeout Whole milliseconds, -1 for no limit.
 * @returns The events that came, 0 if none did in time, or `-errno`.
 */
export function pollFd(
  libc: Libc,
  fd: number,
  events: number,
  timeout: number,
): number {
  const { littleEndian, pollfd: at } = libc.abi;
  pollfdView.setInt32(at.fd, fd, littleEndian);
  pollfdView.setInt16(at.events, events, littleEndian);
  pollfdView.setInt16(at.revents, 0, littleEndian);
  const result = libc.poll(pollfd, 1, timeout);
  return result > 0 ? pollfdView.getUint16(at.revents, littleEndian) : result;
}

/**
 * Goes on where a Unix-domain connect has most likely begun nothing yet.
 *
 * A full backlog leaves nothing to poll for, and on most systems neither does a
 * signal that came while the call waited for room in it, so the call is made
 * again; where an attempt is under way, that tells.
 */
function connectUnix(
  libc: Libc,
  fd: number,
  address: Uint8Array,
  errno: number,
  timeout: number,
): number {
  const { EAGAIN, EALREADY, EINPROGRESS, EINTR, EISCONN } = libc.abi.errnos;
  const end = performance.now() + timeout;
  for (;;) {
    if (errno === EAGAIN) {
      // Without a deadline it is the caller's own socket that will not wait.
      if (timeout === Infinity) return errno;
      const left = timeoutTo(end);
      if (left === 0) return DEADLINE;
      libc.poll(pollfd, 0, Math.min(left, BACKLOG_PAUSE));
    } else if (errno === EINPROGRESS || errno === EALREADY) {
      return waitConnected(libc, fd, end - performance.now());
    } else if (errno !== EINTR) {
      return errno === EISCONN ? 0 : errno;
    }
    errno = -libc.connect(fd, address, address.length);
  }
}

/**
 * Whether a connection's two ends are the same.
 *
 * @param address Where the socket was connected to.
 */
export function isSelfConnected(
  libc: Libc,
  fd: number,
  address: Uint8Array,
): boolean {
  const { port } = libc.abi.sockaddrIn;
  const size = libc.getsockname(fd, bytes);
  if (size < 0) return false;
  // The ports differ all but always, and a call is saved.
  if (bytes[port] !== address[port]) return false;
  if (bytes[port + 1] !== address[port + 1]) return false;
  const local = bytes.slice(0, size);
  if (peerOf(libc, fd) < 0) return false;
  return local.every((byte, i) => byte === bytes[i]);
}

/** The family of a socket address; every system's numbers fit one byte. */
export function familyOf(abi: Abi, address: Uint8Array): number {
  const { family, familySize } = abi.sockaddr;
  const low = abi.littleEndian ? family : family + familySize - 1;
  return address[low] ?? abi.AF_UNSPEC;
}

/**
 * Asks for the peer's address, which there is once the connection stands.
 *
 * On loopback Linux answers EINPROGRESS although the handshake is done by the
 * time the call returns: asked at once, this says so in one call, where poll
 * and SO_ERROR take two. A connection that has failed has no peer.
 */
function peerOf(libc: Libc, fd: number): number {
  return libc.getpeername(fd, bytes);
}
