/**
 * Connections that come in.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { performance } from "../../ffi/timers.ts";
import {
  closeOnExec,
  flagsOf,
  setFlags,
  setNonblocking,
} from "../attempt/descriptor.ts";
import { pollFd } from "../attempt/outcome.ts";
import { canceled } from "../attempt/failure.ts";
import {
  type ErrnoError,
  errnoError,
  errnoErrorFor,
} from "../errors/errors.ts";
import { ABORTED, timeoutTo } from "../reactor/reactor.ts";
import { yieldIfDue } from "../reactor/turns.ts";
import { localText } from "./ends.ts";
import type { Limits } from "./limits.ts";
import { ITS_TURN } from "./line.ts";
import type { Transfers } from "./transfer.ts";

/**
 * Takes the next connection of a descriptor that listens, and waits for one.
 *
 * @returns Its descriptor, with close-on-exec set, which blocks.
 * @throws {ErrnoError} If the system refuses, or no connection comes in time.
 */
export function acceptBlocking(
  libc: Libc,
  fd: number,
  timeout: number,
): number {
  const start = performance.now();
  const end = start + timeout;
  const flags = flagsOf(libc, fd);
  // A connection that was there may be gone again when it is asked for.
  const unblocked = flags | libc.abi.O_NONBLOCK;
  if (unblocked !== flags) setFlags(libc, fd, unblocked);
  try {
    for (;;) {
      const taken = acceptOnce(libc, fd);
      if (taken !== null) return taken;
      const isOver = performance.now() >= end;
      if (isOver) throw nobodyCame(libc, fd, start, timeout);
      pollFd(libc, fd, libc.abi.POLLIN, timeoutTo(end));
    }
  } finally {
    if (unblocked !== flags) setFlags(libc, fd, flags);
  }
}

/**
 * The same without holding the thread.
 *
 * @param isGone Whether the descriptor was given up meanwhile.
 */
export async function acceptLater(
  libc: Libc,
  fd: number,
  io: Transfers,
  limits: Limits,
  isGone: () => boolean,
): Promise<number> {
  const { timeout } = limits;
  const start = performance.now();
  const end = start + timeout;
  const line = io.receiving;
  const isFirst = line.isFree;
  if (isFirst) line.take();
  else {
    const came = await line.wait(end, limits);
    if (came === ABORTED) throw limits.signal!.reason;
    if (came !== ITS_TURN) throw nobodyCame(libc, fd, start, timeout);
  }
  try {
    // Where connections come in without end, a loop that takes them would leave
    // nothing else a turn.
    const turn = yieldIfDue(libc);
    if (turn !== null) await turn;
    for (let isAsked = isFirst;; isAsked = true) {
      limits.signal?.throwIfAborted();
      if (isGone()) throw canceled("accept");
      // Without descriptors, accept(2) fails also where there is no connection.
      const mayTake = isAsked || pollFd(libc, fd, libc.abi.POLLIN, 0) !== 0;
      const taken = mayTake ? acceptOnce(libc, fd) : null;
      if (taken !== null) return taken;
      const isLate = performance.now() >= end;
      if (isLate) throw nobodyCame(libc, fd, start, timeout);
      const came = await io.wait(libc.abi.POLLIN, end, limits);
      if (came === ABORTED) throw limits.signal!.reason;
    }
  } finally {
    line.pass();
  }
}

/** Takes a connection if one is there, `null` if none is. */
function acceptOnce(libc: Libc, fd: number): number | null {
  const { SOCK_CLOEXEC, errnos } = libc.abi;
  for (;;) {
    const taken = SOCK_CLOEXEC === null
      ? libc.accept(fd)
      : libc.accept4(fd, SOCK_CLOEXEC);
    if (taken >= 0) {
      if (SOCK_CLOEXEC === null) closeOnExec(libc, taken);
      makeBlocking(libc, taken);
      return taken;
    }
    switch (-taken) {
      case errnos.EAGAIN:
        return null;
      case errnos.EINTR:
      // One that is gone again makes way for the next.
      case errnos.ECONNABORTED:
        break;
      default:
        throw errnoErrorFor(-taken, {
          syscall: "accept",
          localAddress: localText(libc, fd),
        });
    }
  }
}

/** Makes a connection block that was taken: BSD hands the listener's mode down. */
function makeBlocking(libc: Libc, fd: number): void {
  try {
    setNonblocking(libc, fd, false);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function nobodyCame(
  libc: Libc,
  fd: number,
  start: number,
  timeout: number,
): ErrnoError {
  return errnoError("ETIMEDOUT", {
    syscall: "accept",
    localAddress: localText(libc, fd),
    elapsed: performance.now() - start,
    timeoutKind: "deadline",
    detail: `nobody connected within ${Math.round(timeout)} ms`,
  });
}
