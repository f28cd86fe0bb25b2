/**
 * Descriptors of sockets: opening them, their flags, and closing them by a
 * reset.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { int, intView, newMemory, newScratch } from "../../ffi/memory.ts";
import { errnoErrorFor } from "../errors/errors.ts";
/** `struct linger`, which is the same everywhere: a switch, and seconds. */
const linger = newScratch(8);
const lingerView = new DataView(linger.buffer);

/**
 * Opens a descriptor with close-on-exec set.
 *
 * @param nonblocking Whether calls on it return at once instead of waiting.
 * @returns The descriptor, or `-errno` of socket(2).
 * @throws {ErrnoError} If the flags cannot be set where socket(2) takes none;
 * the descriptor is closed by then.
 */
export function openDescriptor(
  libc: Libc,
  domain: number,
  type: number,
  protocol: number,
  nonblocking: boolean,
): number {
  const { SOCK_CLOEXEC, SOCK_NONBLOCK, SO_NOSIGPIPE } = libc.abi;
  const flags = (SOCK_CLOEXEC ?? 0) | (nonblocking ? SOCK_NONBLOCK ?? 0 : 0);
  const fd = libc.socket(domain, type | flags, protocol);
  if (fd < 0) return fd;
  if (
    SOCK_CLOEXEC !== null && SOCK_NONBLOCK !== null && SO_NOSIGPIPE === null
  ) return fd;
  try {
    if (SOCK_CLOEXEC === null) closeOnExec(libc, fd);
    if (SOCK_NONBLOCK === null && nonblocking) setNonblocking(libc, fd, true);
    if (SO_NOSIGPIPE !== null) {
      const { littleEndian, SOL_SOCKET } = libc.abi;
      intView.setInt32(0, 1, littleEndian);
      const result = libc.setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, int, 4);
      if (result < 0) {
        throw errnoErrorFor(-result, {
          syscall: "setsockopt",
          subject: "SO_NOSIGPIPE",
        });
      }
    }
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * Opens two Unix sockets that are connected to each other, with close-on-exec
 * set.
 *
 * @throws {ErrnoError} If the system refuses; nothing is left open then.
 */
export function openPair(
  libc: Libc,
  type: number,
  nonblocking: boolean,
): [one: number, other: number] {
  const { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, littleEndian } = libc.abi;
  const flags = (SOCK_CLOEXEC ?? 0) | (nonblocking ? SOCK_NONBLOCK ?? 0 : 0);
  const fds = newMemory(8);
  const result = libc.socketpair(AF_UNIX, type | flags, 0, fds);
  if (result < 0) throw errnoErrorFor(-result, { syscall: "socketpair" });
  const view = new DataView(fds.buffer);
  const one = view.getInt32(0, littleEndian);
  const other = view.getInt32(4, littleEndian);
  try {
    for (const fd of [one, other]) {
      if (SOCK_CLOEXEC === null) closeOnExec(libc, fd);
      if (SOCK_NONBLOCK === null && nonblocking) setNonblocking(libc, fd, true);
    }
    return [one, other];
  } catch (error) {
    libc.close(one);
    libc.close(other);
    throw error;
  }
}

/**
 * Reads the flags of a descriptor.
 *
 * @throws {ErrnoError} If the system refuses.
 */
export function flagsOf(libc: Libc, fd: number): number {
  return checkFcntl(libc.fcntl(fd, libc.abi.F_GETFL, 0));
}

/**
 * Sets the flags of a descriptor.
 *
 * @throws {ErrnoError} If the system refuses.
 */
export function setFlags(libc: Libc, fd: number, flags: number): void {
  checkFcntl(libc.fcntl(fd, libc.abi.F_SETFL, flags));
}

/**
 * Sets whether calls on a descriptor return at once instead of waiting.
 *
 * @throws {ErrnoError} If the system refuses.
 */
export function setNonblocking(libc: Libc, fd: number, on: boolean): void {
  const { O_NONBLOCK } = libc.abi;
  const flags = flagsOf(libc, fd);
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted !== flags) setFlags(libc, fd, wanted);
}

/**
 * Lets no program inherit a descriptor that this one starts.
 *
 * @throws {ErrnoError} If the system refuses.
 */
export function closeOnExec(libc: Libc, fd: number): void {
  const { F_GETFD, F_SETFD, FD_CLOEXEC } = libc.abi;
  const flags = checkFcntl(libc.fcntl(fd, F_GETFD, 0));
  checkFcntl(libc.fcntl(fd, F_SETFD, flags | FD_CLOEXEC));
}

/**
 * Closes a connection by a reset, so that neither end keeps a port in
 * TIME_WAIT. What has not been sent is thrown away.
 */
export function closeByReset(libc: Libc, fd: number): void {
  const { abi } = libc;
  lingerView.setInt32(0, 1, abi.littleEndian);
  libc.setsockopt(fd, abi.SOL_SOCKET, abi.SO_LINGER, linger, 8);
  libc.close(fd);
}

function checkFcntl(result: number): number {
  if (result >= 0) return result;
  throw errnoErrorFor(-result, { syscall: "fcntl" });
}
