/**
 * A kernel in memory: what each C function does, as one system has it.
 *
 * @module
 */
import type { Abi, ErrnoCode } from "../../ffi/abi.ts";
import type { Declaration } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { ERRNO } from "./door.ts";
import { type OptionFacts, optionsOf } from "./options.ts";
import {
  boundKey,
  type DescriptorFacts,
  DETAILS,
  Epoll,
  type Fate,
  FIRST_PORT,
  hostBytes,
  type Interruptible,
  isTcp,
  keyOf,
  type Manners,
  type Name,
  type NameFacts,
  O_RDWR,
  OWN,
  type Parked,
  type Place,
  read,
  RETRANSMITS,
  ROOM,
  RTT,
  RTT_VARIANCE,
  type SimulatedListener,
  type SimulatedPeer,
  Sock,
  toHex,
  waiting,
  type Watch,
} from "./terms.ts";

/** The C functions that are system calls. */
export const KERNEL_CALLS = [
  "bind",
  "close",
  "connect",
  "epoll_create1",
  "epoll_ctl",
  "epoll_wait",
  "eventfd",
  "fcntl",
  "getpeername",
  "getrlimit",
  "getsockname",
  "getsockopt",
  "pipe",
  "poll",
  "read",
  "recvfrom",
  "recvmsg",
  "sendto",
  "setsockopt",
  "shutdown",
  "socket",
  "write",
] as const;

export class Kernel {
  readonly abi: Abi;
  readonly manners: Manners;
  readonly calls: string[] = [];
  readonly complaints: string[] = [];
  readonly names = new Map<string, NameFacts>();
  limit = 1024;
  tcpInfoSize = 1024;
  nextPort = FIRST_PORT;
  readonly #fds = new Map<number, Sock | Epoll>();
  /** The highest descriptor that there was. */
  #highest = 2;
  readonly #closeOnExec = new Set<number>();
  /** Who has which address: the streams and the datagrams each have their own. */
  readonly #bound = new Map<string, Sock>();
  /** The files of Unix-domain sockets, which outlive them. */
  readonly #files = new Map<string, Sock>();
  readonly #fates = new Map<string, Fate>();
  /** How many system calls there are up to the one that fails. */
  #left = 0;
  #failure = 0;
  readonly #interrupts = new Map<Interruptible, number>();
  /** What is going to happen, the earliest first. */
  readonly #events: { at: number; run: () => void }[] = [];
  readonly #parked = new Set<Parked>();
  /** What C has allocated, by address. */
  readonly #memory = new Map<bigint, Uint8Array>();
  #nextAddress = 0x7f00_0000_1000n;
  readonly #options: ReadonlyMap<string, OptionFacts>;

  constructor(abi: Abi, manners: Manners) {
    this.abi = abi;
    this.manners = manners;
    this.#options = optionsOf(abi);
  }

  get descriptors(): readonly number[] {
    return [...this.#fds.keys()];
  }

  listen(
    at: Place,
    { backlog = 128 }: { backlog?: number } = {},
  ): SimulatedListener {
    const name = this.#nameOf(at);
    const socket = new Sock(name.domain, this.abi.SOCK_STREAM, 0);
    const result = this.#bind(socket, name);
    if (result < 0) throw new Error(`Cannot listen at ${at.host}: ${result}`);
    socket.phase = "listening";
    socket.backlog = backlog;
    return {
      accept: () => {
        this.#catchUp();
        const end = socket.queue.shift();
        return end === undefined ? null : this.#peer(end);
      },
      close: () => {
        this.#shutDown(socket);
        this.#changed();
      },
    };
  }

  plan(at: Place, fate: Fate): void {
    this.#fates.set(keyOf(this.#nameOf(at)), fate);
  }

  failAt(number: number, code: ErrnoCode): void {
    this.#left = number;
    this.#failure = this.no(code);
  }

  get isToFail(): boolean {
    return this.#left > 0;
  }

  interrupt(call: Interruptible, times: number): void {
    this.#interrupts.set(call, times);
  }

  facts(fd: number): DescriptorFacts {
    const open = this.#fds.get(fd);
    return {
      closeOnExec: this.#closeOnExec.has(fd),
      nonblocking: open instanceof Sock && open.nonblocking,
    };
  }

  /** Objects to what no caller may do. It is thrown too, so that the fault shows where it is. */
  complain(text: string): never {
    this.complaints.push(text);
    throw new Error(`The simulated ${this.abi.os} objects: ${text}`);
  }

  /** Whether the arguments are what the declaration says. */
  check(
    { entry, parameters }: Declaration,
    args: unknown[],
    nfdsSize: number,
  ): void {
    if (args.length !== parameters.length) {
      this.complain(`${entry} got ${args.length} arguments`);
    }
    for (const [i, type] of parameters.entries()) {
      const arg = args[i];
      const isRight = type === "buffer"
        ? arg === null || arg instanceof Uint8Array
        : type === "pointer"
        ? arg === ERRNO
        : type === "address"
        ? typeof arg === "bigint"
        : type === "size" || type === "nfds" && nfdsSize === 8
        ? typeof arg === "bigint" && arg >= 0n
        : type === "int"
        ? typeof arg === "number" && (arg | 0) === arg
        : typeof arg === "number" && arg >>> 0 === arg;
      if (!isRight) this.complain(`argument ${i} of ${entry} is ${arg}`);
    }
  }

  /** One system call: its result, or `-errno`. */
  enter(name: typeof KERNEL_CALLS[number], args: unknown[]): number {
    this.#catchUp();
    if (name !== "close" && this.#left > 0 && --this.#left === 0) {
      return this.#failure;
    }
    const call = this[name] as (...args: unknown[]) => number;
    const result = call.apply(this, args);
    this.#changed();
    return result;
  }

  /** An errno by name, as system calls return it. */
  no(code: ErrnoCode): number {
    const number = this.abi.errnos[code];
    if (number === undefined) throw new Error(`${this.abi.os} has no ${code}`);
    return -number;
  }

  socket(domain: number, type: number, protocol: number): number {
    const socket = this.#newSock(domain, type, protocol);
    return typeof socket === "number" ? socket : this.#install(socket, type);
  }

  /** Two datagram sockets serve for its ends, each of which is used in one direction. */
  pipe(fds: Uint8Array): number {
    const { AF_UNIX, SOCK_DGRAM } = this.abi;
    const heard = this.#newSock(AF_UNIX, SOCK_DGRAM, 0) as Sock;
    const said = this.#newSock(AF_UNIX, SOCK_DGRAM, 0) as Sock;
    heard.other = said;
    said.other = heard;
    heard.phase = said.phase = "connected";
    const first = this.#install(heard, 0);
    if (first < 0) return first;
    const second = this.#install(said, 0);
    if (second < 0) {
      this.close(first);
      return second;
    }
    this.#poke(fds, 0, 4, first);
    this.#poke(fds, 4, 4, second);
    return 0;
  }

  read(fd: number, buffer: Uint8Array, size: number): number {
    return this.recvfrom(fd, buffer, size, 0, null, null);
  }

  write(fd: number, data: Uint8Array, size: number): number {
    return this.sendto(fd, data, size, 0, null, 0);
  }

  /** Nobody reads it: that it can be written to is all that matters. */
  eventfd(value: number, flags: number): number {
    if (value !== 0) this.complain("an eventfd begins with a value");
    const { AF_UNIX, SOCK_DGRAM, epoll } = this.abi;
    const fd = this.#install(this.#newSock(AF_UNIX, SOCK_DGRAM, 0) as Sock, 0);
    if (fd >= 0 && flags === epoll!.EFD_CLOEXEC) this.#closeOnExec.add(fd);
    return fd;
  }

  #newSock(domain: number, type: number, protocol: number): Sock | number {
    const { abi } = this;
    const flags = (abi.SOCK_NONBLOCK ?? 0) | (abi.SOCK_CLOEXEC ?? 0);
    const kind = type & ~flags;
    const isInet = domain === abi.AF_INET || domain === abi.AF_INET6;
    const isStream = kind === abi.SOCK_STREAM;
    if (!isInet && domain !== abi.AF_UNIX && domain !== abi.AF_VSOCK) {
      return this.no("EAFNOSUPPORT");
    }
    if (isInet && kind === abi.SOCK_RAW) return this.no("EPERM");
    const isKnown = isStream || kind === abi.SOCK_DGRAM ||
      !isInet && kind === abi.SOCK_SEQPACKET;
    // So are flags that this system does not know: they make another type.
    if (!isKnown) return this.no("EPROTOTYPE");
    const own = !isInet ? 0 : isStream ? abi.IPPROTO_TCP : abi.IPPROTO_UDP;
    const isMptcp = isInet && isStream && protocol === abi.IPPROTO_MPTCP;
    if (protocol !== 0 && protocol !== own && !isMptcp) {
      return this.no("EPROTONOSUPPORT");
    }
    return new Sock(domain, kind, protocol === 0 ? own : protocol);
  }

  #install(open: Sock | Epoll, flags: number): number {
    if (this.#fds.size >= this.limit) return this.no("EMFILE");
    let fd = 3;
    while (this.#fds.has(fd)) fd++;
    this.#fds.set(fd, open);
    this.#highest = Math.max(this.#highest, fd);
    const { SOCK_NONBLOCK, SOCK_CLOEXEC } = this.abi;
    if (SOCK_CLOEXEC !== null && (flags & SOCK_CLOEXEC) !== 0) {
      this.#closeOnExec.add(fd);
    }
    if (open instanceof Sock && SOCK_NONBLOCK !== null) {
      open.nonblocking = (flags & SOCK_NONBLOCK) !== 0;
    }
    return fd;
  }

  close(fd: number): number {
    const open = this.#fds.get(fd);
    if (open === undefined) return this.no("EBADF");
    this.#fds.delete(fd);
    this.#closeOnExec.delete(fd);
    for (const other of this.#fds.values()) {
      if (other instanceof Epoll) other.watches.delete(fd);
    }
    if (open instanceof Sock) this.#shutDown(open);
    return 0;
  }

  fcntl(fd: number, command: number, argument: number): number {
    const { abi } = this;
    const open = this.#fds.get(fd);
    if (open === undefined) return this.no("EBADF");
    switch (command) {
      case abi.F_GETFD:
        return this.#closeOnExec.has(fd) ? abi.FD_CLOEXEC : 0;
      case abi.F_SETFD:
        if ((argument & abi.FD_CLOEXEC) === 0) this.#closeOnExec.delete(fd);
        else this.#closeOnExec.add(fd);
        return 0;
      case abi.F_GETFL:
        return O_RDWR |
          (open instanceof Sock && open.nonblocking ? abi.O_NONBLOCK : 0);
      case abi.F_SETFL:
        if (!(open instanceof Sock)) return this.no("EINVAL");
        // The access mode is ignored.
        if ((argument & ~abi.O_NONBLOCK & ~O_RDWR) !== 0) {
          this.complain(`F_SETFL sets ${argument}`);
        }
        open.nonblocking = (argument & abi.O_NONBLOCK) !== 0;
        return 0;
      default:
        return this.complain(`fcntl has no command ${command}`);
    }
  }

  bind(fd: number, address: Uint8Array, length: number): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const name = this.#decode(address, length);
    if (typeof name === "number") return name;
    if (name.domain !== socket.domain) return this.no("EAFNOSUPPORT");
    return this.#bind(socket, name);
  }

  #bind(socket: Sock, name: Name): number {
    if (socket.local !== null) return this.no("EINVAL");
    if (name.domain === this.abi.AF_UNIX) {
      if (this.#files.has(name.host)) return this.no("EADDRINUSE");
      this.#files.set(name.host, socket);
      socket.local = name;
      return 0;
    }
    if (!this.#isOwn(name)) return this.no("EADDRNOTAVAIL");
    const isLater = this.#int(socket, "IP_BIND_ADDRESS_NO_PORT") !== 0;
    const port = name.port === 0 && !isLater
      ? this.#freePort(socket, name)
      : name.port;
    const whole = { ...name, port };
    if (this.#bound.has(boundKey(socket, whole))) return this.no("EADDRINUSE");
    socket.local = whole;
    if (port !== 0) this.#bound.set(boundKey(socket, whole), socket);
    return 0;
  }

  connect(fd: number, address: Uint8Array, length: number): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const name = this.#decode(address, length);
    if (typeof name === "number") return name;
    const { abi } = this;
    if (name.domain === abi.AF_UNSPEC) return this.#dissolve(socket);
    if (name.domain !== socket.domain) return this.no("EAFNOSUPPORT");
    if (socket.type === abi.SOCK_DGRAM) {
      const fate = this.#fates.get(keyOf(name));
      if (fate?.atOnce) return -this.#number(fate.errno!);
      const missing = name.domain === abi.AF_UNIX
        ? this.#missing(socket, name)
        : 0;
      if (missing !== 0) return missing;
      this.#autobind(socket, name);
      socket.peer = name;
      socket.phase = "connected";
      return 0;
    }
    switch (socket.phase) {
      case "listening":
        return this.no(abi.os === "linux" ? "EISCONN" : "EOPNOTSUPP");
      case "connecting":
        return this.no("EALREADY");
      case "connected":
        if (!this.manners.lateZero || !socket.isUntold) {
          return this.no("EISCONN");
        }
        socket.isUntold = false;
        return 0;
      case "failed":
        if (this.manners.afterFailure !== null) {
          return this.no(this.manners.afterFailure);
        }
        socket.phase = "fresh";
        return this.#takeError(socket) || this.no("ECONNABORTED");
      case "fresh":
        return this.#begin(socket, name);
    }
  }

  /** Ends a datagram socket's association, and on Linux a connection as well. */
  #dissolve(socket: Sock): number {
    const { manners } = this;
    if (socket.type !== this.abi.SOCK_DGRAM) {
      if (manners.endsStream !== null) {
        // These systems look at the state before they look at the address.
        const isPending = socket.phase === "connecting";
        return this.no(
          isPending && manners.endsStream === "EISCONN"
            ? "EALREADY"
            : manners.endsStream,
        );
      }
      if (socket.other !== null) {
        socket.inbox.push({ bytes: new Uint8Array(1), from: null });
        this.#shutDown(socket);
        socket.inbox = [];
        socket.other = null;
        socket.isClosed = socket.ended = socket.shut = false;
      }
    } else if (manners.errorFirst && socket.error !== 0) {
      return this.#takeError(socket);
    }
    const hadPeer = socket.peer !== null;
    socket.peer = null;
    socket.phase = "fresh";
    socket.isUntold = false;
    if (manners.errorFirst && !hadPeer) return this.no("EINVAL");
    const { abi } = this;
    const family = socket.domain === abi.AF_INET
      ? "inet"
      : socket.domain === abi.AF_INET6
      ? "inet6"
      : "unix";
    const code = manners.dissolved[family];
    return code === null ? 0 : this.no(code);
  }

  #beginUnix(socket: Sock, name: Name): number {
    const { manners } = this;
    const isSlow = manners.unixTakesTime;
    if (!isSlow && this.#isInterrupted("connect")) return this.no("EINTR");
    const listener = this.#files.get(name.host);
    const missing = this.#missing(socket, name);
    if (missing !== 0) return missing;
    if (listener!.queue.length > listener!.backlog) {
      if (socket.nonblocking) return this.no(manners.fullUnix);
      this.complain("nobody makes room in the backlog, ever");
    }
    if (!isSlow) {
      this.#join(socket, name, listener!);
      return 0;
    }
    socket.phase = "connecting";
    this.#at(1, () => {
      if (!socket.isClosed) this.#join(socket, name, listener!);
    });
    if (this.#isInterrupted("connect")) return this.no("EINTR");
    if (socket.nonblocking) return this.no("EINPROGRESS");
    this.#block(() => socket.phase !== "connecting" || undefined, Infinity);
    return 0;
  }

  #begin(socket: Sock, name: Name): number {
    const { abi, manners } = this;
    const fate = this.#fates.get(keyOf(name));
    if (fate?.atOnce) return -this.#number(fate.errno!);
    if (name.domain === abi.AF_UNIX) return this.#beginUnix(socket, name);
    this.#autobind(socket, name);
    socket.peer = name;
    socket.phase = "connecting";
    const listener = this.#bound.get(boundKey(socket, name));
    const isSelf = listener === socket && fate === undefined;
    const isThere = listener?.phase === "listening";
    const errno = fate?.errno ??
      (fate || isThere || isSelf ? 0 : "ECONNREFUSED");
    const delay = fate?.delay ?? 0;
    if (delay !== Infinity) {
      this.#at(delay, () => {
        if (socket.isClosed || socket.phase !== "connecting") return;
        if (errno !== 0) {
          socket.phase = "failed";
          socket.error = this.#number(errno);
          socket.ended = socket.shut = true;
          if (fate?.icmp !== undefined) socket.icmps.push(fate.icmp);
        } else if (isSelf) {
          socket.other = socket;
          socket.phase = "connected";
        } else {
          this.#join(socket, name, isThere ? listener! : null);
          socket.isUntold = true;
        }
      });
    }
    // The handshake is over before the call returns where nothing delays it.
    const isOver = delay === 0 && socket.nonblocking;
    if (isOver) this.#catchUp();
    if (this.#isInterrupted("connect")) return this.no("EINTR");
    if (isOver && manners.refusesAtOnce && socket.error !== 0) {
      return this.#takeError(socket);
    }
    if (socket.nonblocking) return this.no("EINPROGRESS");
    this.#block(() => socket.phase !== "connecting" || undefined, Infinity);
    socket.isUntold = false;
    const result = this.#takeError(socket);
    if (result !== 0 && manners.afterFailure === null) socket.phase = "fresh";
    return result;
  }

  /** Why a path leads to nobody, 0 if it leads to somebody. */
  #missing(socket: Sock, name: Name): number {
    const other = this.#files.get(name.host);
    if (other === undefined) return this.no("ENOENT");
    if (other.type !== socket.type) return this.no("EPROTOTYPE");
    const isThere = !other.isClosed &&
      (other.phase === "listening" || other.type === this.abi.SOCK_DGRAM);
    return isThere ? 0 : this.no("ECONNREFUSED");
  }

  #join(socket: Sock, name: Name, listener: Sock | null): void {
    const end = new Sock(socket.domain, socket.type, socket.protocol);
    end.local = name;
    end.peer = socket.local;
    end.phase = socket.phase = "connected";
    end.other = socket;
    socket.other = end;
    socket.peer = name;
    socket.ended = socket.shut = false;
    listener?.queue.push(end);
  }

  #peer(end: Sock): SimulatedPeer {
    const { other } = end;
    return {
      take: () => {
        const parts = end.inbox.splice(0).map(({ bytes }) => bytes);
        this.#changed();
        return Uint8Array.from(parts.flatMap((part) => [...part]));
      },
      get ended() {
        return end.ended;
      },
      give: (data) => {
        if (!other!.isClosed) {
          other!.inbox.push({ bytes: data.slice(), from: null });
        }
        this.#changed();
      },
      close: () => {
        this.#shutDown(end);
        this.#changed();
      },
      reset: () => {
        end.inbox.push({ bytes: new Uint8Array(1), from: null });
        this.#shutDown(end);
        this.#changed();
      },
    };
  }

  /** What is left to do when nobody holds a socket any more. */
  #shutDown(socket: Sock): void {
    socket.isClosed = true;
    for (const end of socket.queue.splice(0)) this.#shutDown(end);
    const { local, other } = socket;
    if (local !== null && this.#bound.get(boundKey(socket, local)) === socket) {
      this.#bound.delete(boundKey(socket, local));
    }
    if (other === null || other === socket || other.isClosed) return;
    other.ended = other.isBroken = true;
    const { littleEndian } = this.abi;
    const linger = socket.options.get(
      `${this.abi.SOL_SOCKET}/${this.abi.SO_LINGER}`,
    );
    const isAbrupt = linger !== undefined &&
      read(linger, 0, 4, littleEndian) !== 0 &&
      read(linger, 4, 4, littleEndian) === 0;
    if (
      socket.domain !== this.abi.AF_UNIX &&
      (isAbrupt || socket.inbox.length > 0)
    ) {
      other.error = -this.no("ECONNRESET");
      other.phase = "failed";
      other.shut = true;
    }
  }

  shutdown(fd: number, how: number): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const { SHUT_RD, SHUT_WR, SHUT_RDWR } = this.abi;
    if (![SHUT_RD, SHUT_WR, SHUT_RDWR].includes(how)) return this.no("EINVAL");
    if (socket.phase !== "connected") return this.no("ENOTCONN");
    if (how !== SHUT_WR) socket.ended = true;
    if (how !== SHUT_RD) {
      socket.shut = true;
      if (socket.other !== null) socket.other.ended = true;
    }
    return 0;
  }

  getsockname(fd: number, address: Uint8Array, length: Uint8Array): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    this.#answerName(socket.local, socket.domain, address, length);
    return 0;
  }

  getpeername(fd: number, address: Uint8Array, length: Uint8Array): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    if (socket.ended && socket.shut) return this.no(this.manners.noPeer);
    if (socket.phase !== "connected") return this.no("ENOTCONN");
    this.#answerName(socket.peer, socket.domain, address, length);
    return 0;
  }

  sendto(
    fd: number,
    data: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array | null,
    length: number,
  ): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const { abi } = this;
    if ((flags & ~(abi.MSG_DONTWAIT | (abi.MSG_NOSIGNAL ?? 0))) !== 0) {
      return this.no("EOPNOTSUPP");
    }
    if (this.#isInterrupted("sendto")) return this.no("EINTR");
    if (socket.error !== 0) return this.#takeError(socket);
    if (size > data.length) {
      this.complain("sendto reads past the end of its data");
    }
    const bytes = data.slice(0, size);
    const isPaired = socket.other !== null;
    if (socket.type === abi.SOCK_DGRAM && !isPaired) {
      return this.#sendDatagram(socket, bytes, address, length);
    }
    if (socket.shut || socket.isBroken) {
      const isQuiet = abi.MSG_NOSIGNAL !== null &&
        (flags & abi.MSG_NOSIGNAL) !== 0;
      if (!isQuiet && this.#int(socket, "SO_NOSIGPIPE") === 0) {
        this.complain("SIGPIPE ends the process");
      }
      return this.no("EPIPE");
    }
    const { other } = socket;
    if (socket.phase !== "connected" || other === null) {
      return this.no("ENOTCONN");
    }
    const mustNotWait = socket.nonblocking || (flags & abi.MSG_DONTWAIT) !== 0;
    const room = this.#block(
      () => ROOM - waiting(other) || undefined,
      mustNotWait ? 0 : Infinity,
    );
    if (room === undefined) return this.no("EAGAIN");
    const part = bytes.subarray(0, room);
    other.inbox.push({ bytes: part, from: null });
    return part.length;
  }

  #sendDatagram(
    socket: Sock,
    bytes: Uint8Array,
    address: Uint8Array | null,
    length: number,
  ): number {
    const to = address === null ? socket.peer : this.#decode(address, length);
    if (typeof to === "number") return to;
    if (to === null) return this.no("EDESTADDRREQ");
    if (
      address !== null && socket.peer !== null && !this.manners.sendsToOthers
    ) {
      return this.no("EISCONN");
    }
    if (to.domain !== socket.domain) return this.no("EAFNOSUPPORT");
    if (to.domain === this.abi.AF_UNIX) {
      const missing = this.#missing(socket, to);
      if (missing !== 0) return missing;
      this.#files.get(to.host)!.inbox.push({ bytes, from: socket.local });
      return bytes.length;
    }
    this.#autobind(socket, to);
    const receiver = this.#bound.get(boundKey(socket, to));
    if (receiver === undefined) {
      // Nobody is there to say so but ICMP, which only a connected socket hears of.
      if (address === null) socket.error = -this.no("ECONNREFUSED");
    } else if (
      receiver.peer === null || keyOf(receiver.peer) === keyOf(socket.local!)
    ) {
      receiver.inbox.push({ bytes, from: socket.local });
    }
    return bytes.length;
  }

  recvfrom(
    fd: number,
    buffer: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array | null,
    length: Uint8Array | null,
  ): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const { abi } = this;
    if ((flags & ~abi.MSG_DONTWAIT) !== 0) return this.no("EOPNOTSUPP");
    if (this.#isInterrupted("recvfrom")) return this.no("EINTR");
    if (size > buffer.length) {
      this.complain("recvfrom writes past the end of its buffer");
    }
    const isStream = socket.type === abi.SOCK_STREAM;
    if (isStream && socket.phase !== "connected" && socket.phase !== "failed") {
      return this.no("ENOTCONN");
    }
    const mustNotWait = socket.nonblocking || (flags & abi.MSG_DONTWAIT) !== 0;
    this.#block(
      () =>
        socket.inbox.length > 0 || socket.error !== 0 || socket.ended ||
        undefined,
      mustNotWait ? 0 : Infinity,
    );
    if (socket.error !== 0) return this.#takeError(socket);
    const packet = socket.inbox[0];
    if (packet === undefined) return socket.ended ? 0 : this.no("EAGAIN");
    const part = packet.bytes.subarray(0, size);
    buffer.set(part);
    packet.bytes = packet.bytes.subarray(part.length);
    if (!isStream || packet.bytes.length === 0) socket.inbox.shift();
    if (address !== null && length !== null) {
      // A stream reports no sender.
      if (isStream) this.#poke(length, 0, 4, 0);
      else this.#answerName(packet.from, socket.domain, address, length);
    }
    return part.length;
  }

  /** Reads the queue of ICMP errors; the package asks for nothing else by this call. */
  recvmsg(fd: number, message: Uint8Array, flags: number): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const { errorQueue, MSG_DONTWAIT } = this.abi;
    if (
      errorQueue === null || flags !== (errorQueue.MSG_ERRQUEUE | MSG_DONTWAIT)
    ) {
      return this.complain(`recvmsg with flags ${flags}`);
    }
    const { msghdr, cmsghdr, sockExtendedErr: error } = errorQueue;
    const vectors = Number(this.#at64(message, msghdr.iovlen));
    const vector = this.#memory.get(this.#at64(message, msghdr.iov));
    const vectorRoom = vectors * msghdr.vectorSize;
    if (vectors > 0 && (vector === undefined || vector.length < vectorRoom)) {
      this.complain("recvmsg has no vector where it looks for one");
    }
    const icmp = socket.icmps.shift();
    if (icmp === undefined) return this.no("EAGAIN");
    const control = this.#at64(message, msghdr.control);
    const room = Number(this.#at64(message, msghdr.controllen));
    const memory = this.#memory.get(control);
    const isInet = socket.domain === this.abi.AF_INET;
    const from = this.#encode(
      this.#nameOf({ family: isInet ? "inet" : "inet6", host: icmp.from }),
    );
    const size = cmsghdr.data + error.size + from.length;
    if (memory === undefined || room > memory.length || size > room) {
      return this.complain("recvmsg has nowhere to put the control message");
    }
    memory.fill(0, 0, size);
    const { SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 } = errorQueue;
    const { IPPROTO_IP, IPPROTO_IPV6, IP_RECVERR, IPV6_RECVERR } = this.abi;
    this.#poke(memory, cmsghdr.len, 8, size);
    this.#poke(memory, cmsghdr.level, 4, isInet ? IPPROTO_IP : IPPROTO_IPV6);
    this.#poke(memory, cmsghdr.type, 4, (isInet ? IP_RECVERR : IPV6_RECVERR)!);
    memory[cmsghdr.data + error.origin] = isInet
      ? SO_EE_ORIGIN_ICMP
      : SO_EE_ORIGIN_ICMP6;
    memory[cmsghdr.data + error.type] = icmp.type;
    memory[cmsghdr.data + error.code] = icmp.code;
    memory.set(from, cmsghdr.data + error.size);
    this.#poke(message, msghdr.controllen, 8, size);
    this.#poke(message, msghdr.flags, 4, errorQueue.MSG_ERRQUEUE);
    return 0;
  }

  getsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: Uint8Array,
  ): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const { abi } = this;
    const { mptcp, tcpInfo } = abi;
    if (mptcp !== null && level === mptcp.SOL_MPTCP) {
      const isOne = socket.protocol === abi.IPPROTO_MPTCP;
      if (!isOne || name !== mptcp.MPTCP_INFO) return this.no("EOPNOTSUPP");
      if (this.#peek(length, 0, 4) > value.length) {
        this.complain("getsockopt writes past the end of its value");
      }
      return 0;
    }
    let bytes: Uint8Array;
    if (
      isTcp(abi, socket) && level === abi.IPPROTO_TCP &&
      name === tcpInfo?.option
    ) {
      bytes = this.#tcpInfo(socket, tcpInfo);
    } else {
      const option = this.#options.get(`${level}/${name}`);
      if (option === undefined || !option.fits(socket)) {
        return this.no("ENOPROTOOPT");
      }
      if (option.isSecret) return this.no("ENOPROTOOPT");
      bytes = this.#optionOf(socket, option);
    }
    const room = this.#peek(length, 0, 4);
    if (room > value.length) {
      this.complain("getsockopt writes past the end of its value");
    }
    value.set(bytes.subarray(0, room));
    this.#poke(length, 0, 4, Math.min(room, bytes.length));
    return 0;
  }

  #optionOf(
    socket: Sock,
    { constant, level, size, initial }: OptionFacts,
  ): Uint8Array {
    const { abi } = this;
    const number = abi[constant] as number;
    const bytes = newMemory(size);
    switch (constant) {
      case "SO_ERROR":
        this.#poke(bytes, 0, 4, -this.#takeError(socket));
        return bytes;
      case "SO_TYPE":
        this.#poke(bytes, 0, 4, socket.type);
        return bytes;
      case "SO_PROTOCOL":
        this.#poke(bytes, 0, 4, socket.protocol);
        return bytes;
      case "SO_DOMAIN":
        this.#poke(bytes, 0, 4, socket.domain);
        return bytes;
      case "SO_ACCEPTCONN":
        this.#poke(bytes, 0, 4, socket.phase === "listening" ? 1 : 0);
        return bytes;
    }
    const set = socket.options.get(`${level}/${number}`);
    if (set !== undefined) return set;
    if (size === 4) this.#poke(bytes, 0, 4, initial);
    return bytes;
  }

  setsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ): number {
    const socket = this.#sock(fd);
    if (typeof socket === "number") return socket;
    const option = this.#options.get(`${level}/${name}`);
    if (option === undefined || !option.fits(socket) || option.isFixed) {
      return this.no("ENOPROTOOPT");
    }
    if (length > value.length) {
      this.complain("setsockopt reads past the end of its value");
    }
    const { abi, manners } = this;
    const { constant, size, isSwitch } = option;
    // Names are as long as they are; all else has one size.
    if (option.isText ? length > size : length !== size) {
      return this.no("EINVAL");
    }
    const bytes = newMemory(size);
    bytes.set(value.subarray(0, length));
    if (constant === "TCP_MD5SIG") {
      // A key for an address that is none of this system's would sign nothing.
      const { addr, keyLength, keySize } = abi.tcpMd5sig!;
      const isInet = socket.domain === abi.AF_INET;
      const room = isInet ? abi.sockaddrIn.size : abi.sockaddrIn6.size;
      const name = this.#decode(bytes.subarray(addr), room);
      if (typeof name === "number") return name;
      if (this.#peek(bytes, keyLength, 2) > keySize) return this.no("EINVAL");
    } else if (isSwitch) {
      const isOn = this.#peek(bytes, 0, 4);
      if (isOn > 1) this.complain(`a switch is set to ${isOn}`);
      const bit = manners.ownBits && level === abi.SOL_SOCKET ? name : 1;
      this.#poke(bytes, 0, 4, isOn * bit);
    } else if (constant === "SO_LINGER") {
      const isOn = this.#peek(bytes, 0, 4);
      if (isOn > 1) this.complain(`the switch of SO_LINGER is set to ${isOn}`);
    } else if (
      manners.doublesBuffers &&
      (constant === "SO_RCVBUF" || constant === "SO_SNDBUF")
    ) {
      this.#poke(bytes, 0, 4, 2 * this.#peek(bytes, 0, 4));
    }
    socket.options.set(`${level}/${name}`, bytes);
    return 0;
  }

  #tcpInfo(socket: Sock, at: NonNullable<Abi["tcpInfo"]>): Uint8Array {
    const bytes = newMemory(Math.min(at.size, this.tcpInfoSize)).fill(0xee);
    const state = socket.phase === "connected"
      ? "ESTABLISHED"
      : socket.phase === "connecting"
      ? "SYN_SENT"
      : "CLOSE";
    const millisecond = 1000 / at.rttUnit;
    bytes[at.state] = at.states.indexOf(state);
    this.#poke(bytes, at.rtt, 4, RTT * millisecond);
    this.#poke(bytes, at.rttvar, 4, RTT_VARIANCE * millisecond);
    if (at.retransmits !== null) bytes[at.retransmits] = RETRANSMITS;
    if (at.totalRetrans !== null) {
      this.#poke(bytes, at.totalRetrans, 4, RETRANSMITS);
    }
    if (at.details !== null) {
      bytes[at.details.options] = 0b111;
      this.#poke(bytes, at.details.sndMss, 4, DETAILS.mss);
      this.#poke(bytes, at.details.sndCwnd, 4, DETAILS.congestionWindow);
      this.#poke(bytes, at.details.minRtt, 4, DETAILS.minRtt * 1000);
      this.#poke(bytes, at.details.bytesAcked, 4, 100);
    }
    return bytes;
  }

  /** The value of an option, 0 where this system does not have it. */
  #int(socket: Sock, constant: keyof Abi): number {
    const option = [...this.#options.values()].find((one) =>
      one.constant === constant
    );
    if (option === undefined) return 0;
    return this.#peek(this.#optionOf(socket, option), 0, 4);
  }

  getrlimit(resource: number, limits: Uint8Array): number {
    const { RLIMIT_NOFILE, littleEndian } = this.abi;
    if (resource !== RLIMIT_NOFILE) return this.no("EINVAL");
    const view = new DataView(limits.buffer, limits.byteOffset);
    // The limit in force, and the one that it may be raised to.
    view.setBigUint64(0, BigInt(this.limit), littleEndian);
    view.setBigUint64(8, BigInt(this.limit), littleEndian);
    return 0;
  }

  poll(fds: Uint8Array, count: number, timeout: number): number {
    if (count * this.abi.pollfd.size > fds.length) {
      this.complain("poll reads past the end of its set");
    }
    if (this.#isInterrupted("poll")) return this.no("EINTR");
    const end = timeout < 0 ? Infinity : performance.now() + timeout;
    return this.#block(
      () => this.#scan(fds, count) || undefined,
      timeout === 0 ? 0 : end,
    ) ?? 0;
  }

  /** poll(2) on another thread. */
  pollLater(fds: Uint8Array, count: number, timeout: number): Promise<number> {
    const end = timeout < 0 ? Infinity : performance.now() + timeout;
    return new Promise((resolve) => {
      // Why it failed stays with that thread.
      if (this.#isInterrupted("poll")) {
        setTimeout(() => resolve(-1), 0);
        return;
      }
      const parked: Parked = { fds, count, end, resolve, timer: undefined };
      this.#parked.add(parked);
      // Another thread never has a result within the same turn.
      parked.timer = setTimeout(() => this.#changed(), 0);
    });
  }

  /** Shows the other threads what has changed, and when to look again. */
  #changed(): void {
    this.#catchUp();
    for (const parked of this.#parked) {
      clearTimeout(parked.timer);
      const now = performance.now();
      const found = this.#scan(parked.fds, parked.count);
      if (found > 0 || now >= parked.end) {
        this.#parked.delete(parked);
        setTimeout(() => parked.resolve(found), 0);
        continue;
      }
      const next = Math.min(parked.end, this.#events[0]?.at ?? Infinity);
      if (next === Infinity) continue;
      parked.timer = setTimeout(() => this.#changed(), Math.ceil(next - now));
    }
  }

  #scan(fds: Uint8Array, count: number): number {
    const { size, fd: fdAt, events, revents } = this.abi.pollfd;
    const { POLLERR, POLLHUP, POLLNVAL } = this.abi;
    let found = 0;
    for (let at = 0; at < count * size; at += size) {
      const wanted = this.#peek(fds, at + events, 2);
      const fd = this.#peek(fds, at + fdAt, 4) | 0;
      // Without events, it asks just whether there is such a descriptor.
      if (wanted !== 0 && fd > this.#highest) {
        this.complain(`nobody ever opened ${fd}`);
      }
      const state = this.#state(fd);
      const news = state & (wanted | POLLERR | POLLHUP | POLLNVAL);
      this.#poke(fds, at + revents, 2, news);
      if (news !== 0) found++;
    }
    return found;
  }

  /** All that poll(2) could report of a descriptor. */
  #state(fd: number): number {
    const { abi, manners } = this;
    const open = this.#fds.get(fd);
    if (open === undefined) return fd < 0 ? 0 : abi.POLLNVAL;
    if (open instanceof Epoll) {
      return this.#readyOf(open).length > 0 ? abi.POLLIN : 0;
    }
    const isStream = open.type !== abi.SOCK_DGRAM;
    if (isStream && open.phase === "fresh") {
      return this.#mask(manners.freshEvents);
    }
    if (isStream && open.phase === "failed") {
      return this.#mask(manners.failedEvents);
    }
    if (open.phase === "connecting") return 0;
    let state = open.icmps.length > 0 || open.error !== 0 ? abi.POLLERR : 0;
    if (open.inbox.length > 0 || open.queue.length > 0 || open.ended) {
      state |= abi.POLLIN;
    }
    if (open.other === null || waiting(open.other) < ROOM || open.shut) {
      if (open.phase !== "listening") state |= abi.POLLOUT;
    }
    if (open.ended && open.shut) state |= abi.POLLHUP;
    return state;
  }

  #mask(
    events: readonly ("POLLIN" | "POLLOUT" | "POLLERR" | "POLLHUP")[],
  ): number {
    return events.reduce((mask, event) => mask | this.abi[event], 0);
  }

  epoll_create1(flags: number): number {
    const fd = this.#install(new Epoll(), 0);
    if (fd >= 0 && flags === this.abi.epoll!.EPOLL_CLOEXEC) {
      this.#closeOnExec.add(fd);
    }
    return fd;
  }

  epoll_ctl(epfd: number, op: number, fd: number, event: Uint8Array): number {
    const epoll = this.#fds.get(epfd);
    if (epoll === undefined || !this.#fds.has(fd)) return this.no("EBADF");
    if (!(epoll instanceof Epoll) || epfd === fd) return this.no("EINVAL");
    const { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, event: at } = this.abi
      .epoll!;
    const isThere = epoll.watches.has(fd);
    if (op === EPOLL_CTL_ADD && isThere) return this.no("EEXIST");
    if (op !== EPOLL_CTL_ADD && !isThere) return this.no("ENOENT");
    if (op === EPOLL_CTL_DEL) {
      epoll.watches.delete(fd);
      return 0;
    }
    if (op !== EPOLL_CTL_ADD && op !== EPOLL_CTL_MOD) return this.no("EINVAL");
    epoll.watches.set(fd, {
      events: this.#peek(event, at.events, 4),
      data: event.slice(at.data, at.data + 8),
    });
    return 0;
  }

  epoll_wait(
    epfd: number,
    events: Uint8Array,
    count: number,
    timeout: number,
  ): number {
    const epoll = this.#fds.get(epfd);
    if (!(epoll instanceof Epoll)) return this.no("EBADF");
    const { event: at, EPOLLONESHOT } = this.abi.epoll!;
    if (timeout !== 0) this.complain("epoll_wait holds the thread");
    const ready = this.#readyOf(epoll).slice(0, count);
    for (const [i, [watch, news]] of ready.entries()) {
      this.#poke(events, i * at.size + at.events, 4, news);
      events.set(watch.data, i * at.size + at.data);
      if ((watch.events & EPOLLONESHOT) !== 0) watch.events = EPOLLONESHOT;
    }
    return ready.length;
  }

  #readyOf({ watches }: Epoll): [Watch, number][] {
    const { POLLERR, POLLHUP } = this.abi;
    const { EPOLLONESHOT } = this.abi.epoll!;
    const ready: [Watch, number][] = [];
    for (const [fd, watch] of watches) {
      // A descriptor that was reported once is not reported again, whatever happens.
      const isSpent = watch.events === EPOLLONESHOT;
      const news = this.#state(fd) & (watch.events | POLLERR | POLLHUP);
      if (!isSpent && news !== 0) ready.push([watch, news]);
    }
    return ready;
  }

  getaddrinfo(
    node: Uint8Array,
    hints: Uint8Array,
    result: Uint8Array,
  ): [eai: number, errno: number] {
    const { abi } = this;
    const { addrinfo: at } = abi;
    if (hints.length < at.size) {
      this.complain("the hints of getaddrinfo are cut short");
    }
    const wanted = this.#peek(hints, at.family, 4);
    const socktype = this.#peek(hints, at.socktype, 4);
    if (socktype !== abi.SOCK_STREAM) {
      this.complain(`getaddrinfo is asked for type ${socktype}`);
    }
    const facts = this.names.get(this.text(node)) ?? { eai: "EAI_NONAME" };
    if ("eai" in facts) {
      const { eai, errno } = facts;
      return [
        typeof eai === "number" ? eai : abi.eais[eai]!,
        errno === undefined ? 0 : -this.no(errno),
      ];
    }
    const names = facts.map((host) =>
      this.#nameOf({ family: host.includes(":") ? "inet6" : "inet", host })
    ).filter(({ domain }) => wanted === abi.AF_UNSPEC || wanted === domain);
    if (names.length === 0) return [abi.eais["EAI_NONAME"]!, 0];
    let next = 0n;
    for (const name of names.toReversed()) {
      const sockaddr = this.#encode(name);
      const entry = newMemory(at.size).fill(0xee);
      this.#poke(entry, at.flags, 4, 0);
      this.#poke(entry, at.family, 4, name.domain);
      this.#poke(entry, at.socktype, 4, socktype);
      this.#poke(entry, at.protocol, 4, abi.IPPROTO_TCP);
      this.#poke(entry, at.addrlen, at.addrlenSize, sockaddr.length);
      this.#poke64(entry, at.addr, this.#allocate(sockaddr));
      this.#poke64(entry, at.next, next);
      next = this.#allocate(entry);
    }
    this.#poke64(result, 0, next);
    return [0, 0];
  }

  free(list: bigint): void {
    const { addr, next } = this.abi.addrinfo;
    for (let at = list; at !== 0n;) {
      const entry = this.#memory.get(at);
      if (entry === undefined) {
        return this.complain("freeaddrinfo frees what is not there");
      }
      this.#memory.delete(at);
      this.#memory.delete(this.#at64(entry, addr));
      at = this.#at64(entry, next);
    }
  }

  /** Copies, and returns where to, as an address that C knows. */
  memcpy(target: Uint8Array, source: unknown, size: number): bigint {
    if (source === ERRNO) {
      // In the order of the processor that this runs on, which is the table's only by chance.
      target.set(
        new Uint8Array(Int32Array.of(ERRNO.errno).buffer).subarray(0, size),
      );
    } else if (typeof source === "bigint") {
      const bytes = this.#memory.get(source);
      if (bytes === undefined || size > bytes.length) {
        this.complain("memcpy reads what is not there");
      }
      target.set(bytes.subarray(0, size));
    } else if (size === 0) {
      return this.#allocate(target);
    } else {
      target.set((source as Uint8Array).subarray(0, size));
    }
    return 0n;
  }

  get lists(): number {
    const { size } = this.abi.addrinfo;
    return [...this.#memory.values()].filter(({ length }) => length === size)
      .length;
  }

  /** A C string. */
  text(bytes: Uint8Array): string {
    const end = bytes.indexOf(0);
    if (end < 0) this.complain("a C string has no end");
    return new TextDecoder().decode(bytes.slice(0, end));
  }

  #sock(fd: number): Sock | number {
    const open = this.#fds.get(fd);
    if (open === undefined) return this.no("EBADF");
    return open instanceof Sock ? open : this.no("ENOTSOCK");
  }

  #takeError(socket: Sock): number {
    const { error } = socket;
    socket.error = 0;
    // Subtracted from 0, since negating 0 makes -0.
    return 0 - error;
  }

  #number(errno: ErrnoCode | number): number {
    return typeof errno === "number" ? errno : -this.no(errno);
  }

  #isInterrupted(call: Interruptible): boolean {
    const left = this.#interrupts.get(call) ?? 0;
    this.#interrupts.set(call, left - 1);
    return left > 0;
  }

  #at(delay: number, run: () => void): void {
    this.#events.push({ at: performance.now() + delay, run });
    this.#events.sort((one, other) => one.at - other.at);
  }

  #catchUp(): void {
    while (
      this.#events.length > 0 && this.#events[0]!.at <= performance.now()
    ) {
      this.#events.shift()!.run();
    }
  }

  /** Holds the thread until there is a result, or there will be none. */
  #block<T>(look: () => T | undefined, end: number): T | undefined {
    for (;;) {
      this.#catchUp();
      const found = look();
      const now = performance.now();
      if (found !== undefined || end <= now) return found;
      const next = Math.min(end, this.#events[0]?.at ?? Infinity);
      if (next === Infinity) this.complain("the call would never return");
      Atomics.wait(
        new Int32Array(new SharedArrayBuffer(4)),
        0,
        0,
        Math.max(next - now, 0.1),
      );
    }
  }

  #isOwn({ host, domain }: Name): boolean {
    const { AF_INET, AF_INET6 } = this.abi;
    if (domain === AF_INET) {
      return host.startsWith("7f") || /^0*$/.test(host) ||
        host === toHex(hostBytes(OWN.inet));
    }
    if (domain !== AF_INET6) return true;
    return /^0*1?$/.test(host) || host === toHex(hostBytes(OWN.inet6)) ||
      host === toHex(hostBytes(OWN.link));
  }

  /** Gives a socket an address of this machine from which the other one is reached. */
  #autobind(socket: Sock, to: Name): void {
    const { abi } = this;
    if (to.domain !== abi.AF_INET && to.domain !== abi.AF_INET6) return;
    const { local } = socket;
    const isAny = local === null || /^0*$/.test(local.host);
    const isInet = to.domain === abi.AF_INET;
    const isLoopback = isInet
      ? to.host.startsWith("7f")
      : /^0*1$/.test(to.host);
    const isLink = !isInet && to.host.startsWith("fe80");
    const host = isInet
      ? isLoopback ? "127.0.0.1" : OWN.inet
      : isLoopback
      ? "::1"
      : isLink
      ? OWN.link
      : OWN.inet6;
    if (local !== null && this.#bound.get(boundKey(socket, local)) === socket) {
      this.#bound.delete(boundKey(socket, local));
    }
    const name: Name = {
      domain: to.domain,
      host: isAny ? toHex(hostBytes(host)) : local.host,
      port: local?.port ?? 0,
      scopeId: isLink ? to.scopeId : 0,
      flowInfo: 0,
    };
    const port = name.port !== 0 ? name.port : this.#freePort(socket, name);
    socket.local = { ...name, port };
    this.#bound.set(boundKey(socket, socket.local), socket);
  }

  #freePort(socket: Sock, name: Name): number {
    const range = this.#int(socket, "IP_LOCAL_PORT_RANGE") >>> 0;
    let port = range === 0 ? this.nextPort : range & 0xffff;
    while (this.#bound.has(boundKey(socket, { ...name, port }))) port++;
    if (range === 0) this.nextPort = port + 1;
    return port;
  }

  #nameOf({ family, host, port = 0, scopeId = 0 }: Place): Name {
    const { abi } = this;
    const domain = {
      inet: abi.AF_INET,
      inet6: abi.AF_INET6,
      unix: abi.AF_UNIX,
      vsock: abi.AF_VSOCK ?? -1,
    }[family];
    const bytes = family === "inet" || family === "inet6"
      ? hostBytes(host)
      : new TextEncoder().encode(host);
    const text = family === "vsock" ? host : toHex(bytes);
    return { domain, host: text, port, scopeId, flowInfo: 0 };
  }

  /** Reads a socket address, strictly: only what every kernel understands. */
  #decode(bytes: Uint8Array, length: number): Name | number {
    const { abi } = this;
    if (length > bytes.length) {
      this.complain("an address is shorter than its length");
    }
    const { len, family, familySize } = abi.sockaddr;
    if (length < family + familySize) return this.no("EINVAL");
    const domain = this.#peek(bytes, family, familySize);
    if (len !== null && bytes[len] !== Math.min(length, 255)) {
      this.complain(
        `the length byte of an address of ${length} bytes is ${bytes[len]}`,
      );
    }
    const none = { domain, port: 0, scopeId: 0, flowInfo: 0 };
    switch (domain) {
      case abi.AF_INET: {
        const { size, port, addr } = abi.sockaddrIn;
        if (length !== size) return this.no("EINVAL");
        if (bytes.subarray(addr + 4, size).some(Boolean)) {
          this.complain("the end of a sockaddr_in is not zero");
        }
        const host = toHex(bytes.subarray(addr, addr + 4));
        return { ...none, host, port: bytes[port]! * 256 + bytes[port + 1]! };
      }
      case abi.AF_INET6: {
        const { size, port, flowInfo, addr, scopeId } = abi.sockaddrIn6;
        if (length !== size) return this.no("EINVAL");
        return {
          domain,
          host: toHex(bytes.subarray(addr, addr + 16)),
          port: bytes[port]! * 256 + bytes[port + 1]!,
          scopeId: this.#peek(bytes, scopeId, 4),
          // In network order on every system.
          flowInfo: read(bytes, flowInfo, 4, false),
        };
      }
      case abi.AF_UNIX: {
        const { path, pathSize } = abi.sockaddrUn;
        if (length <= path || length > path + pathSize) {
          return this.no("EINVAL");
        }
        const name = bytes.subarray(path, length);
        if (name[0] === 0) {
          return abi.abstractUnix
            ? { ...none, host: toHex(name) }
            : this.no("ENOENT");
        }
        const nul = name.indexOf(0);
        return { ...none, host: toHex(nul < 0 ? name : name.subarray(0, nul)) };
      }
      case abi.AF_VSOCK: {
        const at = abi.sockaddrVm!;
        if (length !== at.size) return this.no("EINVAL");
        const host = `${this.#peek(bytes, at.cid, 4)}`;
        return { ...none, host, port: this.#peek(bytes, at.port, 4) };
      }
      case abi.AF_UNSPEC:
        return { ...none, host: "" };
      default:
        return this.no("EAFNOSUPPORT");
    }
  }

  /** Writes a socket address as this kernel does. */
  #encode(name: Name): Uint8Array {
    const { abi, manners } = this;
    const host = Uint8Array.from(
      name.host.match(/../g) ?? [],
      (pair) => parseInt(pair, 16),
    );
    const { sockaddrIn, sockaddrIn6, sockaddrUn, sockaddrVm } = abi;
    const isUnix = name.domain === abi.AF_UNIX;
    // An abstract name has no end but its length.
    const nul = host[0] === 0 || !manners.endsPaths ? 0 : 1;
    const end = sockaddrUn.path + host.length + nul;
    const size = isUnix
      ? host.length === 0
        ? manners.unnamed
        : Math.min(end, sockaddrUn.path + sockaddrUn.pathSize)
      : name.domain === abi.AF_INET
      ? sockaddrIn.size
      : name.domain === abi.AF_INET6
      ? sockaddrIn6.size
      : sockaddrVm!.size;
    const bytes = newMemory(size);
    const { len, family, familySize } = abi.sockaddr;
    if (len !== null) bytes[len] = Math.min(size, 255);
    this.#poke(bytes, family, familySize, name.domain);
    if (isUnix) {
      bytes.set(host, sockaddrUn.path);
    } else if (name.domain === abi.AF_INET) {
      bytes[sockaddrIn.port] = name.port >> 8;
      bytes[sockaddrIn.port + 1] = name.port & 255;
      bytes.set(host, sockaddrIn.addr);
    } else if (name.domain === abi.AF_INET6) {
      bytes[sockaddrIn6.port] = name.port >> 8;
      bytes[sockaddrIn6.port + 1] = name.port & 255;
      bytes.set(host, sockaddrIn6.addr);
      const flow = manners.keepsFlowInfo ? name.flowInfo : 0;
      for (let i = 0; i < 4; i++) {
        bytes[sockaddrIn6.flowInfo + i] = flow >>> 24 - 8 * i;
      }
      this.#poke(bytes, sockaddrIn6.scopeId, 4, name.scopeId);
    } else {
      this.#poke(bytes, sockaddrVm!.cid, 4, Number(name.host));
      this.#poke(bytes, sockaddrVm!.port, 4, name.port);
    }
    return bytes;
  }

  /** Hands an address out as far as there is room, and says how long it is. */
  #answerName(
    name: Name | null,
    domain: number,
    address: Uint8Array,
    length: Uint8Array,
  ): void {
    const { abi } = this;
    const isUnix = domain === abi.AF_UNIX;
    const isInet = domain === abi.AF_INET;
    const none = isUnix ? "" : "00".repeat(isInet ? 4 : 16);
    const bytes = this.#encode(
      name ?? { domain, host: none, port: 0, scopeId: 0, flowInfo: 0 },
    );
    const room = this.#peek(length, 0, 4);
    if (room > address.length) {
      this.complain("an address is written past its end");
    }
    // What was there before stays, so no caller can rely on zeros.
    address.fill(0xee, 0, room);
    address.set(bytes.subarray(0, room));
    this.#poke(length, 0, 4, bytes.length);
  }

  #allocate(bytes: Uint8Array): bigint {
    const address = this.#nextAddress;
    this.#nextAddress += 0x1000n;
    this.#memory.set(address, bytes);
    return address;
  }

  #peek(bytes: Uint8Array, at: number, size: number): number {
    return read(bytes, at, size, this.abi.littleEndian);
  }

  #poke(bytes: Uint8Array, at: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      const place = this.abi.littleEndian ? i : size - 1 - i;
      bytes[at + place] = i < 4 ? value >>> 8 * i : 0;
    }
  }

  #at64(bytes: Uint8Array, at: number): bigint {
    const { littleEndian } = this.abi;
    const low = this.#peek(bytes, littleEndian ? at : at + 4, 4);
    const high = this.#peek(bytes, littleEndian ? at + 4 : at, 4);
    return BigInt(high) << 32n | BigInt(low);
  }

  #poke64(bytes: Uint8Array, at: number, value: bigint): void {
    const { littleEndian } = this.abi;
    this.#poke(
      bytes,
      littleEndian ? at : at + 4,
      4,
      Number(value & 0xffff_ffffn),
    );
    this.#poke(bytes, littleEndian ? at + 4 : at, 4, Number(value >> 32n));
  }
}
