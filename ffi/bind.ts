/**
 * The one place that knows what -1 and `errno` mean.
 *
 * @module
 */
import type { Abi } from "./abi.ts";
import {
  type CFunctions,
  type Door,
  type Libc,
  LOST_ERRNO,
  type Permissions,
} from "./contract.ts";
import { newMemory, newScratch } from "./memory.ts";

/**
 * Puts the return convention on top of raw C functions.
 *
 * `errno` belongs to the thread, and whatever runs between a call and the
 * reading of it may overwrite it: garbage collection alone does so a few times
 * in a million. The copying of it is therefore the very next thing in the body
 * of each method, and each method spells it out, for a helper would be one
 * more thing in between.
 */
export function bindLibc(
  c: CFunctions,
  abi: Abi,
  permissions: Permissions,
  size: (length: number) => number | bigint = sameNumber,
  errnoAt?: Door["errnoAt"],
  turns = 1,
): Libc {
  const { close, connect, memcpyErrno, socket } = c;
  const fcntl = abi.variadicOnStack ? callFcntlPadded : callFcntl;
  const location = c.errnoLocation();
  const bytes = newMemory(4);
  // The socklen_t that C reads and writes: no call's use of it outlives the call.
  const roomBytes = newScratch(4);
  const room = new DataView(roomBytes.buffer);
  const { littleEndian } = abi;
  const width = size(4);
  const nothing = size(0);
  const isCopied = errnoAt === undefined;
  const errno = new Int32Array(isCopied ? bytes.buffer : errnoAt(location));
  const nfds = abi.nfdsSize === 8 ? size : sameNumber;

  const libc: Libc = {
    abi,
    permissions,
    turns,
    prepare(...functions) {
      // The reading of a property opens the function that it stands for.
      for (const name of functions) void c[name];
    },
    accept(fd) {
      const result = c.accept(fd, null, null);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    accept4(fd, flags) {
      const result = c.accept4(fd, null, null, flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    addressOf(memory) {
      // Copies nothing, and returns the address of the target.
      return c.addressOf(memory, memory, nothing);
    },
    bind(fd, address, length) {
      const result = c.bind(fd, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    close(fd) {
      const result = close(fd);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    connect(fd, address, length) {
      const result = connect(fd, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    epoll_create1(flags) {
      const result = c.epoll_create1(flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    epoll_ctl(epfd, op, fd, event) {
      const result = c.epoll_ctl(epfd, op, fd, event);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    epoll_wait(epfd, events, count, timeout) {
      const result = c.epoll_wait(epfd, events, count, timeout);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    eventfd(value, flags) {
      const result = c.eventfd(value, flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    fcntl(fd, command, argument) {
      const result = fcntl(c, fd, command, argument);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    free(memory) {
      c.free(memory);
    },
    freeaddrinfo(list) {
      c.freeaddrinfo(list);
    },
    gai_cancel(request) {
      return c.gai_cancel!(request);
    },
    gai_error(request) {
      return c.gai_error!(request);
    },
    getaddrinfo(node, hints, result) {
      const eai = c.getaddrinfo(node, null, hints, result);
      if (eai === 0) return [0, 0];
      if (isCopied) memcpyErrno(bytes, location, width);
      return [eai, errno[0]!];
    },
    ...!("getaddrinfoOffThread" in c) ? {} : {
      getaddrinfoAsync(node, hints, result): Promise<number> {
        return c.getaddrinfoOffThread!(node, null, hints, result);
      },
    } satisfies Pick<Libc, "getaddrinfoAsync">,
    getaddrinfo_a(mode, list, count, event) {
      if (c.getaddrinfo_a === undefined) return -abi.errnos.ENOSYS;
      const result = c.getaddrinfo_a(mode, list, count, event);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    getpeername(fd, address) {
      room.setUint32(0, address.length, littleEndian);
      const result = c.getpeername(fd, address, roomBytes);
      if (result >= 0) {
        return Math.min(room.getUint32(0, littleEndian), address.length);
      }
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    getrlimit(resource, limits) {
      const result = c.getrlimit(resource, limits);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    getsockname(fd, address) {
      room.setUint32(0, address.length, littleEndian);
      const result = c.getsockname(fd, address, roomBytes);
      if (result >= 0) {
        return Math.min(room.getUint32(0, littleEndian), address.length);
      }
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    getsockopt(fd, level, name, value) {
      room.setUint32(0, value.length, littleEndian);
      const result = c.getsockopt(fd, level, name, value, roomBytes);
      // Some systems report the length that it would have taken.
      if (result >= 0) {
        return Math.min(room.getUint32(0, littleEndian), value.length);
      }
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    if_nametoindex(name) {
      const result = c.if_nametoindex(name);
      if (result > 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    listen(fd, backlog) {
      const result = c.listen(fd, backlog);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    malloc(length) {
      return c.malloc(size(length));
    },
    memcpyFrom(target, source, length) {
      c.memcpyFrom(target, source, size(length));
    },
    memcpyTo(target, source, length) {
      c.memcpyTo(target, source, size(length));
    },
    open(path, flags) {
      const result = c.open(path, flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    pipe(fds) {
      const result = c.pipe(fds);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    poll(fds, count, timeout) {
      const result = c.poll(fds, nfds(count), timeout);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    pollAsync(fds, count, timeout) {
      return c.pollOffThread!(fds, nfds(count), timeout);
    },
    read(fd, buffer, count) {
      const result = c.read(fd, buffer, size(count));
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    recvfrom(fd, buffer, count, flags, from) {
      const wide = size(count);
      if (from === null) {
        const result = c.recvfrom(fd, buffer, wide, flags, null, null);
        if (result >= 0) return result;
        if (isCopied) memcpyErrno(bytes, location, width);
        return -errno[0]! || -LOST_ERRNO;
      }
      const { address } = from;
      room.setUint32(0, address.length, littleEndian);
      const result = c.recvfrom(fd, buffer, wide, flags, address, roomBytes);
      if (result >= 0) {
        from.length = Math.min(room.getUint32(0, littleEndian), address.length);
        return result;
      }
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    recvmsg(fd, message, flags) {
      const result = c.recvmsg(fd, message, flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    sched_yield() {
      const result = c.sched_yield();
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    sendto(fd, data, count, flags, address, length) {
      const wide = size(count);
      const result = c.sendto(fd, data, wide, flags, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    setsockopt(fd, level, name, value, length) {
      const result = c.setsockopt(fd, level, name, value, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    shutdown(fd, how) {
      const result = c.shutdown(fd, how);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    socket(domain, type, protocol) {
      const result = socket(domain, type, protocol);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    socketpair(domain, type, protocol, fds) {
      const result = c.socketpair(domain, type, protocol, fds);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
    write(fd, data, count) {
      const wide = size(count);
      const result = c.write(fd, data, wide);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]! || -LOST_ERRNO;
    },
  };
  if (libc.close(-1) !== -abi.errnos.EBADF) {
    throw new Error(
      "Cannot read errno: close(-1) did not return EBADF through " +
        `${abi.errnoLocation} on ${abi.os} ${abi.arch}`,
    );
  }
  return libc;
}

function sameNumber(length: number): number {
  return length;
}

/** fcntl(2), whose third argument is a variadic one. */
function callFcntl(
  { fcntl }: CFunctions,
  fd: number,
  command: number,
  argument: number,
): number {
  return fcntl(fd, command, argument);
}

/**
 * Moves the third argument past the registers: a fixed declaration puts the
 * ninth where a variadic callee looks for its first.
 */
function callFcntlPadded(
  c: CFunctions,
  fd: number,
  command: number,
  argument: number,
): number {
  const { fcntl } = c as unknown as {
    fcntl(...parameters: number[]): number;
  };
  return fcntl(fd, command, 0, 0, 0, 0, 0, 0, argument);
}
