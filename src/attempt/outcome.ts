/**
 * What became of an attempt: what the kernel says of a socket, and the error
 * that it is to a caller.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { addressRoom, int, intView, newScratch } from "../../ffi/memory.ts";
import { type QueuedError, readErrorQueue } from "./icmp.ts";

/** The outcome of an attempt whose deadline has passed; no errno is negative. */
export const DEADLINE = -1;

/** The state of an attempt that is still under way. */
export const PENDING = -2;

/** What is known of an attempt besides its errno. */
export interface Outcome extends QueuedError {
  /** Which C function failed. */
  syscall: string;
  /** The errno of the last soft error that came, 0 for none. */
  soft: number;
}

// Scratch memory: no call's use of it outlives the call.
const pollfd = newScratch(16);
const pollfdView = new DataView(pollfd.buffer);

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
 * Takes the pending error of a socket, which clears it.
 *
 * @returns The errno, 0 for none, or `-errno` if it cannot be read.
 */
export function takeErrno(libc: Libc, fd: number): number {
  const { littleEndian, SOL_SOCKET, SO_ERROR, errnos } = libc.abi;
  intView.setInt32(0, 0, littleEndian);
  const result = libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, int);
  if (result < 0) return result;
  // What was not written says nothing.
  return result < 4 ? -errnos.EINVAL : intView.getInt32(0, littleEndian);
}

/**
 * Reads the address of the peer, which exists once the connection stands.
 *
 * On loopback Linux returns EINPROGRESS although the handshake is done by the
 * time the call returns: this says so in one call, where poll and SO_ERROR take
 * two. A connection that has failed has no peer.
 *
 * @returns Its length, or `-errno`.
 */
export function readPeer(libc: Libc, fd: number): number {
  return libc.getpeername(fd, addressRoom);
}

/**
 * Reads what became of an attempt after poll(2) has reported something.
 *
 * On Linux an ICMP error may be soft: it came while connect(2) still held the
 * socket, SO_ERROR reports it once, TCP goes on trying, and POLLERR by itself
 * comes back until the queue of errors is empty. An attempt that has ended
 * reports POLLOUT or POLLHUP.
 *
 * @param waitsSoft Whether the attempt outlasts soft errors.
 * @param outcome Takes what else is found out.
 * @returns 0, an errno, or {@linkcode PENDING}.
 */
export function readOutcome(
  libc: Libc,
  fd: number,
  revents: number,
  waitsSoft: boolean,
  outcome: Outcome,
): number {
  const { errnos, POLLOUT, POLLERR, POLLHUP, POLLNVAL, errorQueue } = libc.abi;
  // A socket that is writable and nothing else has no error on Linux; where
  // poll(2) says less, an attempt that failed has no peer, and SO_ERROR says why.
  const isQuiet = (revents & (POLLERR | POLLHUP | POLLNVAL)) === 0;
  const early = isQuiet ? readPeer(libc, fd) : -1;
  if (early >= 0) return 0;
  const errno = takeErrno(libc, fd);
  if (errno < 0) {
    outcome.syscall = "getsockopt";
    return -errno;
  }
  const isEnd = (revents & (POLLOUT | POLLHUP | POLLNVAL)) !== 0;
  if (!isEnd && errorQueue !== null) {
    // The queue is filled before SO_ERROR is, by another processor maybe.
    const queued = readErrorQueue(libc, fd, outcome);
    if (errno !== 0 || queued !== 0) outcome.soft = errno || queued;
    return waitsSoft || outcome.soft === 0 ? PENDING : outcome.soft;
  }
  if (errno !== 0) {
    readErrorQueue(libc, fd, outcome);
    // The kernel, too, reports what it heard last in place of its timeout; the
    // reading of SO_ERROR has made it forget that.
    return errno === errnos.ETIMEDOUT && outcome.soft !== 0
      ? outcome.soft
      : errno;
  }
  const late = isQuiet ? early : readPeer(libc, fd);
  if (late >= 0) return 0;
  // Woken without news, unless the hang-up says that there is nothing left to
  // wait for, and its reason was read before.
  if (late === -errnos.ENOTCONN && (revents & POLLHUP) === 0) return PENDING;
  if (outcome.soft !== 0) return outcome.soft;
  outcome.syscall = late === -errnos.ENOTCONN ? "connect" : "getpeername";
  return -late;
}

/**
 * Looks at an attempt that connect(2) has just begun, in two calls as long as
 * nothing has happened.
 *
 * @param isInet6 Whether it goes over IPv6.
 * @param expectsError Whether to look for an error first: the order that finds
 * what there is takes one call less.
 * @returns 0, an errno, or {@linkcode PENDING}.
 */
export function glance(
  libc: Libc,
  fd: number,
  isInet6: boolean,
  waitsSoft: boolean,
  expectsError: boolean,
  outcome: Outcome,
): number {
  if (!expectsError && readPeer(libc, fd) >= 0) return 0;
  const errno = glanceAtError(libc, fd, isInet6, waitsSoft, outcome);
  return expectsError && errno === PENDING && readPeer(libc, fd) >= 0
    ? 0
    : errno;
}

/**
 * The part of {@linkcode glance} that finds errors, and them alone.
 *
 * SO_ERROR shows a soft error over IPv6, too, where the kernel fills no queue
 * and poll(2) reports nothing.
 */
export function glanceAtError(
  libc: Libc,
  fd: number,
  isInet6: boolean,
  waitsSoft: boolean,
  outcome: Outcome,
): number {
  const errno = takeErrno(libc, fd);
  if (errno === 0) return PENDING;
  if (errno < 0) {
    outcome.syscall = "getsockopt";
    return -errno;
  }
  const { errorQueue, POLLOUT, POLLHUP, POLLNVAL } = libc.abi;
  if (errorQueue === null) return errno;
  readErrorQueue(libc, fd, outcome);
  // Over IPv4 nothing but an ICMP error is soft, and that is in the queue; but
  // before Linux 5.8 it is not.
  if (outcome.icmp === null && !isInet6 && !waitsSoft) return errno;
  const revents = pollFd(libc, fd, POLLOUT, 0);
  if (revents < 0 || (revents & (POLLOUT | POLLHUP | POLLNVAL)) !== 0) {
    return errno;
  }
  outcome.soft = errno;
  return waitsSoft ? PENDING : errno;
}

/** The family of a socket address; every system's numbers fit one byte. */
export function familyOf(abi: Abi, address: Uint8Array): number {
  const { family, familySize } = abi.sockaddr;
  const low = abi.littleEndian ? family : family + familySize - 1;
  return address[low] ?? abi.AF_UNSPEC;
}
