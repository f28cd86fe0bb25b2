/**
 * A socket: the one owner of one descriptor.
 *
 * @module
 */
import type { Socket as NodeSocket } from "node:net";
import type { Abi } from "../../ffi/abi.ts";
import type { Libc, Sender } from "../../ffi/contract.ts";
import { doorFor, libc } from "../../ffi/libc.ts";
import { newMemory } from "../../ffi/memory.ts";
import {
  type Address,
  bytesOf,
  decodeAddress,
  isAddress,
  unspecified,
} from "../address/address.ts";
import {
  checkBytes,
  checkInteger,
  checkMilliseconds,
  checkSignal,
  isObject,
  readOptions,
  show,
  sizeOf,
} from "../errors/arguments.ts";
import { performance, setTimeout } from "../../ffi/timers.ts";
import {
  closeOnExec,
  flagsOf,
  openDescriptor,
  setNonblocking,
} from "../attempt/descriptor.ts";
import { canceled, errorFor } from "../attempt/failure.ts";
import { familyOf, pollFd } from "../attempt/outcome.ts";
import { type Caller, keepCaller, releaseCaller } from "../errors/caller.ts";
import {
  type ErrnoError,
  errnoError,
  errnoErrorFor,
  NotSupportedError,
} from "../errors/errors.ts";
import { checkSoftErrors, Connecting, type Errand } from "./connecting.ts";
import {
  getOption,
  type ReadableSocketOptionName,
  type ReadableSocketOptions,
  setOption,
  type SocketOptionName,
  type SocketOptions,
} from "./options.ts";
import { demand, permit } from "./permission.ts";
import {
  getRawOption,
  getRawOptionBytes,
  setRawOption,
} from "./raw_options.ts";
import { readableOf, writableOf } from "./streams.ts";
import { readTcpInfo, type TcpInfo } from "./tcp_info.ts";
import {
  ABORTED,
  cancelWaits,
  CLOSED,
  countTry,
  forget,
  pauseAfter,
  timeoutTo,
  waitFor,
} from "../reactor/reactor.ts";
import { yieldIfDue } from "../reactor/turns.ts";
import { Witness } from "./leaks.ts";

/** The address families that have a name here. */
export type SocketFamily = "inet" | "inet6" | "unix" | "vsock";

/** The socket types that have a name here. */
export type SocketType = "stream" | "dgram" | "seqpacket" | "raw";

/** The protocols that have a name here. */
export type SocketProtocol = "icmp" | "mptcp" | "sctp" | "tcp" | "udp";

/** What {@linkcode Socket.open} opens. */
export interface SocketOpenOptions {
  /**
   * The address family: a name, or the system's own number for another one.
   *
   * @default {"inet"}
   */
  readonly family?: SocketFamily | number;
  /**
   * The socket type: a name, or the system's own number.
   *
   * @default {"stream"}
   */
  readonly type?: SocketType | number;
  /**
   * The protocol: a name, or the system's own number. 0 is the family's usual
   * one for the type.
   *
   * @default {0}
   */
  readonly protocol?: SocketProtocol | number;
  /**
   * Whether calls return at once instead of waiting.
   *
   * @default {false}
   */
  readonly nonblocking?: boolean;
}

/** How long one attempt to connect may take, and what ends it. */
export interface AttemptOptions {
  /**
   * Milliseconds until the attempt is given up, 0 or more. Without it, the
   * system's own patience counts: on Linux, about two minutes for TCP.
   *
   * @default {Infinity}
   */
  readonly timeout?: number | undefined;
  /**
   * What to do about a soft error: a router, or a firewall, has sent an ICMP
   * error, and the kernel goes on trying nevertheless. Linux does so where the
   * error comes while connect(2) still holds the socket, as from a firewall on
   * this machine or in front of a container.
   *
   * `"fail"` ends the attempt at once, as other programs do. `"wait"` goes on;
   * if nothing else comes until the deadline, the soft error is what is
   * reported.
   *
   * @default {"fail"}
   */
  readonly softErrors?: "fail" | "wait" | undefined;
}

/** How long a call that waits may take, and what calls it off. */
export interface WaitOptions {
  /**
   * Milliseconds until the wait is given up, 0 or more.
   *
   * @default {Infinity}
   */
  readonly timeout?: number | undefined;
  /** Calls the wait off; the promise then rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** How data is sent. */
export interface SendOptions {
  /** The receiver, where the socket has no peer or another one is meant. */
  readonly to?: Address;
  /**
   * The system's own `MSG_...` flags, or-ed together.
   *
   * @default {0}
   */
  readonly flags?: number;
}

/** How data is received. */
export interface ReceiveOptions {
  /**
   * The system's own `MSG_...` flags, or-ed together.
   *
   * @default {0}
   */
  readonly flags?: number;
}

/** An address as `Deno.Conn` tells it. */
export type SocketAddr =
  | {
    /** What the socket speaks. */
    readonly transport: "tcp" | "udp";
    /** The address in text form. */
    readonly hostname: string;
    /** The port. */
    readonly port: number;
  }
  | {
    /** `"unixpacket"` stands for datagrams, and for seqpacket. */
    readonly transport: "unix" | "unixpacket";
    /** The path, `""` without one; an abstract name begins with a NUL. */
    readonly path: string;
  }
  | {
    /** Tells it from a port of a host. */
    readonly transport: "vsock";
    /** The context identifier. */
    readonly cid: number;
    /** The port. */
    readonly port: number;
  };

/** What is used of a socket of Bun's: https://bun.sh/docs/api/tcp */
export interface BunSocket {
  /** Sends as much as there is room for, and answers how much that was. */
  write(data: string | Uint8Array): number;
  /** Ends the connection, after these last bytes. */
  end(data?: string | Uint8Array): unknown;
}

/** What Bun calls when something happens on its socket. */
export interface BunSocketHandlers {
  /** The socket is Bun's now. */
  open?(socket: BunSocket): unknown;
  /** Something has come. */
  data?(socket: BunSocket, data: Uint8Array): unknown;
  /** There is room for more to send. */
  drain?(socket: BunSocket): unknown;
  /** The peer sends no more. */
  end?(socket: BunSocket): unknown;
  /** The connection is over. */
  close?(socket: BunSocket, error?: Error): unknown;
  /** A handler has thrown, or the connection has failed. */
  error?(socket: BunSocket, error: Error): unknown;
}

/** The events of poll(2), by their C names. */
export type PollEvent =
  | "POLLIN"
  | "POLLOUT"
  | "POLLERR"
  | "POLLHUP"
  | "POLLNVAL";

/** What {@linkcode Socket.poll} and {@linkcode Socket.ready} can wait for. */
export type WaitEvents =
  | "POLLIN"
  | "POLLOUT"
  | readonly ("POLLIN" | "POLLOUT")[];

const POLL_EVENTS: readonly PollEvent[] = [
  "POLLIN",
  "POLLOUT",
  "POLLERR",
  "POLLHUP",
  "POLLNVAL",
];

const FAMILIES: Readonly<Record<SocketFamily, keyof Abi>> = {
  inet: "AF_INET",
  inet6: "AF_INET6",
  unix: "AF_UNIX",
  vsock: "AF_VSOCK",
};

const TYPES: Readonly<Record<SocketType, keyof Abi>> = {
  stream: "SOCK_STREAM",
  dgram: "SOCK_DGRAM",
  seqpacket: "SOCK_SEQPACKET",
  raw: "SOCK_RAW",
};

const PROTOCOLS: Readonly<Record<SocketProtocol, keyof Abi>> = {
  icmp: "IPPROTO_ICMP",
  mptcp: "IPPROTO_MPTCP",
  sctp: "IPPROTO_SCTP",
  tcp: "IPPROTO_TCP",
  udp: "IPPROTO_UDP",
};

const DIRECTIONS: Readonly<Record<"read" | "write" | "both", keyof Abi>> = {
  read: "SHUT_RD",
  write: "SHUT_WR",
  both: "SHUT_RDWR",
};

/** The largest int of C. */
const INT_MAX = 0x7fff_ffff;

/**
 * How long to sleep between two looks where the process is not to be kept
 * alive, in ms.
 */
const LOOK_PAUSE = 10;

/** The most that one call is given; its answer has to fit an int. */
const LARGEST_TRANSFER = 0x7fff_f000;

// Scratch memory for addresses that the kernel writes: no call's use of it
// outlives the call. AIX has the longest, a path of 1023 bytes behind two.
const sockaddr = newMemory(1025);
const sender: Sender = { address: sockaddr, length: 0 };

/** What C is shown where there is no memory: Node refuses what was detached. */
const NOTHING = newMemory(1);

/** The options of {@linkcode Socket.connectSync}. */
const SYNC_KEYS = ["timeout", "softErrors"] as const;

/** The options of {@linkcode Socket.connect}. */
const ASYNC_KEYS = [...SYNC_KEYS, "signal"] as const;

/** Proves that it is this module that calls the constructor. */
const SEAL = Symbol();

/** What is known of a descriptor when a socket takes it. */
export const Past = {
  /** Nothing. */
  ADOPTED: 0,
  /** Calls on it wait. */
  BLOCKING: 1,
  /** Calls on it do not wait. */
  NONBLOCKING: 2,
  /** Nor do these, and the reactor may know it. */
  WAITED: 3,
} as const;

/** What is known of a descriptor when a socket takes it. */
export type Past = (typeof Past)[keyof typeof Past];

/**
 * A socket of the C library: one descriptor and its methods.
 *
 * The descriptor has close-on-exec set and belongs to this object until
 * {@linkcode Socket.close} or {@linkcode Socket.detach}. After either, every
 * method fails with EBADF and none reaches the kernel, which may have given
 * the number to somebody else by then.
 *
 * A socket that is garbage-collected with its descriptor still open is reported
 * once, as a warning of the process with the code `"EINPROGRESS_UNCLOSED"`
 * (`process.on("warning", ...)`), and the descriptor stays open.
 *
 * A connected one fits where a `Deno.Conn` is taken.
 *
 * @example What connect(2) answers, without an exception
 * ```ts
 * import { inet, Socket } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * using socket = Socket.open({ family: "inet", type: "stream" });
 * assertEquals(socket.tryConnect(inet("127.0.0.1", listener.addr.port)), 0);
 * ```
 */
export class Socket implements Disposable {
  readonly #libc: Libc;
  /** -1 once the descriptor is given up. */
  #fd: number;
  readonly #family: number;
  readonly #type: number;
  readonly #witness: Witness;
  /** Whether the descriptor's past is unknown. */
  readonly #adopted: boolean;
  readonly #connecting: Connecting;
  /** Whether the reactor may know the descriptor. */
  #hasWaited = false;
  /** Whether the descriptor is known not to block; if not, it is asked. */
  #isNonblocking = false;
  /** Whether waits keep the process alive. */
  #isRef = true;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  #writable: WritableStream<Uint8Array> | null = null;

  private constructor(
    seal: symbol,
    libc: Libc,
    fd: number,
    family: number,
    type: number,
    past: Past,
    connecting: Connecting,
  ) {
    if (seal !== SEAL) {
      throw new TypeError(
        "Cannot construct a Socket: call connect(), Socket.open() or " +
          "Socket.fromFd()",
      );
    }
    this.#libc = libc;
    this.#fd = fd;
    this.#family = family;
    this.#type = type;
    this.#adopted = past === Past.ADOPTED;
    this.#isNonblocking = past !== Past.ADOPTED && past !== Past.BLOCKING;
    this.#hasWaited = past === Past.WAITED;
    this.#connecting = connecting;
    this.#witness = Witness.of(fd);
  }

  /**
   * Opens a socket.
   *
   * @param options What kind of socket.
   * @returns The socket. The caller owns it and closes it.
   * @throws {ErrnoError} If the system refuses: `EMFILE`, `EACCES` and
   * `EPERM` for raw sockets, `EPROTONOSUPPORT`, `EAFNOSUPPORT`, ...
   * @throws {NotSupportedError} If the system has no such family or protocol.
   * @throws The runtime's own error, for raw sockets and families without a
   * name here, unless the program may reach every address.
   *
   * @example A non-blocking one
   * ```ts
   * import { Socket } from "@einprogress/connect";
   * import { assert } from "@std/assert";
   *
   * using socket = Socket.open({ family: "inet6", nonblocking: true });
   * assert(socket.nonblocking);
   * ```
   *
   * C: `socket(2)` with `SOCK_CLOEXEC`, and `fcntl(2)` where it takes no flags.
   */
  static open(options: SocketOpenOptions = {}): Socket {
    const {
      family = "inet",
      type = "stream",
      protocol = 0,
      nonblocking = false,
    } = options;
    const c = libc();
    const { abi } = c;
    const domain = numberFor(abi, "family", FAMILIES, family);
    const kind = numberFor(abi, "type", TYPES, type);
    const number = numberFor(abi, "protocol", PROTOCOLS, protocol);
    // What leaves such a socket need not go to the address that is named for
    // it, or to any: no rule about addresses covers it.
    if (!isOrdinary(abi, domain, kind)) c.permissions.demandAll(false);
    const fd = openDescriptor(c, domain, kind, number, nonblocking);
    if (fd < 0) throw errnoErrorFor(-fd, { syscall: "socket" });
    const past = nonblocking ? Past.NONBLOCKING : Past.BLOCKING;
    return new Socket(SEAL, c, fd, domain, kind, past, new Connecting());
  }

  /**
   * Takes over a descriptor that came from elsewhere.
   *
   * It belongs to the returned socket from then on, which sets close-on-exec
   * and closes it in the end; its former owner has to forget it. On failure
   * the descriptor is left as it was.
   *
   * @param fd The descriptor of a socket.
   * @returns The socket. The caller owns it and closes it.
   * @throws {ErrnoError} `EBADF` if it is no open descriptor, `ENOTSOCK` if it
   * is not a socket.
   *
   * @example There and back
   * ```ts
   * import { Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const fd = Socket.open().detach();
   * using socket = Socket.fromFd(fd);
   * assertEquals(socket.fd, fd);
   * ```
   *
   * C: `getsockopt(2)` with `SO_TYPE`, `getsockname(2)`, `fcntl(2)`.
   */
  static fromFd(fd: number): Socket {
    checkInteger("fd", fd, INT_MAX);
    const c = libc();
    const type = getRawOption(c, fd, c.abi.SOL_SOCKET, c.abi.SO_TYPE);
    const result = c.getsockname(fd, sockaddr);
    if (result < 0) {
      throw errnoErrorFor(-result, {
        syscall: "getsockname",
        subject: `descriptor ${fd}`,
      });
    }
    const family = familyOf(c.abi, sockaddr);
    closeOnExec(c, fd);
    const connecting = new Connecting();
    return new Socket(SEAL, c, fd, family, type, Past.ADOPTED, connecting);
  }

  /** The descriptor, -1 once this object has given it up. */
  get fd(): number {
    return this.#fd;
  }

  /** Whether this object has given its descriptor up. */
  get closed(): boolean {
    return this.#fd < 0;
  }

  /**
   * Whether calls on the descriptor return at once instead of waiting.
   *
   * C: `fcntl(2)` with `F_GETFL` and `F_SETFL`.
   */
  get nonblocking(): boolean {
    this.#use("fcntl");
    return (flagsOf(this.#libc, this.#fd) & this.#libc.abi.O_NONBLOCK) !== 0;
  }

  set nonblocking(on: boolean) {
    this.#use("fcntl");
    setNonblocking(this.#libc, this.#fd, on);
    this.#isNonblocking = on;
  }

  /**
   * Calls connect(2) once and hands over its answer.
   *
   * Never throws and allocates nothing. EINPROGRESS is an answer like any
   * other; {@linkcode Socket.connectSync} with the same address then waits for
   * the outcome. Where the runtime's `net` permission does not reach, the
   * answer is EACCES, as from a sandbox of the system's own; on a closed socket
   * it is EBADF, and for a value that is no address EFAULT.
   *
   * @param address Where to.
   * @returns 0, or the errno: this system's number, positive.
   *
   * @example Reading the answer
   * ```ts
   * import { errnoName, inet, Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * const { port } = listener.addr;
   * listener.close();
   * using socket = Socket.open();
   * const errno = socket.tryConnect(inet("127.0.0.1", port));
   * assertEquals(errnoName(errno), "ECONNREFUSED");
   * ```
   *
   * C: `connect(2)`.
   */
  tryConnect(address: Address): number {
    const libc = this.#libc;
    if (this.#fd < 0) return libc.abi.errnos.EBADF!;
    if (!isAddress(address)) return libc.abi.errnos.EFAULT!;
    if (this.#connecting.attempt !== null) return libc.abi.errnos.EALREADY!;
    const target = permit(libc, address);
    if (typeof target === "number") return target;
    const bytes = bytesOf(target);
    // Subtracted from 0, since negating 0 makes -0.
    const errno = 0 - libc.connect(this.#fd, bytes, bytes.length);
    this.#connecting.note(libc, target, errno);
    return errno;
  }

  /**
   * Connects, and returns when the connection stands.
   *
   * Blocks the calling thread. A signal is no failure: the attempt goes on in
   * the kernel, so its outcome is waited for, and connect is never called a
   * second time. On a non-blocking socket it waits all the same, and leaves the
   * socket non-blocking. After a failure the socket stays open, and belongs to
   * the caller: Linux lets it try again, BSD and illumos want a new one. After
   * a deadline the attempt may still be under way in the kernel, until the
   * socket is closed.
   *
   * A datagram socket only notes its peer, and may do so again and again.
   *
   * @param address Where to.
   * @param options Limits for this attempt.
   * @throws {ErrnoError} The class of the errno: {@linkcode Errno}`.ECONNREFUSED`,
   * `ENETUNREACH`, ...; `ETIMEDOUT` with `timeoutKind` `"deadline"` if
   * `options.timeout` passed, `"kernel"` if the system gave up.
   *
   * @example With a deadline
   * ```ts
   * import { inet, Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * const address = inet("127.0.0.1", listener.addr.port);
   * using socket = Socket.open();
   * socket.connectSync(address, { timeout: 1000 });
   * assertEquals(socket.remoteAddress?.equals(address), true);
   * ```
   *
   * C: `connect(2)`; if it has to wait, `poll(2)`, `getsockopt(2)` with
   * `SO_ERROR`, `getpeername(2)`; with a timeout, `fcntl(2)` before and after.
   */
  connectSync(address: Address, options: AttemptOptions = {}): void {
    const errand = this.#errand(address, options, SYNC_KEYS);
    const failure = this.#connecting.connectSync(
      this.#libc,
      this.#fd,
      this.#type === this.#libc.abi.SOCK_STREAM,
      !this.#isNonblocking,
      errand,
    );
    if (failure !== null) {
      throw errorFor(failure, Socket.prototype.connectSync);
    }
  }

  /**
   * Dissolves a datagram socket's association: it has no peer then, hears
   * everybody, and may be given another one. Needs no permission.
   *
   * The systems answer this in different ways. BSD and macOS refuse the null
   * address after they have done what it asks for, by EAFNOSUPPORT, EINVAL,
   * ENOENT or EADDRNOTAVAIL; for a datagram socket that is no failure here, as
   * long as the peer is gone. On Linux a TCP socket may do it, too: a connection
   * ends by a reset, a pending attempt is given up, and the socket can connect
   * anew; other systems refuse.
   *
   * Linux also gives back whatever of the local address was its own choice: a
   * port that was bound to by number stays, one that was left to the system
   * does not.
   *
   * @throws {ErrnoError} If the system refuses and the peer is still there, or
   * the family has no such thing: `EISCONN`, `EINVAL`, ...
   *
   * @example Hearing one peer, then everybody
   * ```ts
   * import { inet, Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using socket = Socket.open({ type: "dgram" });
   * socket.connectSync(inet("127.0.0.1", 9));
   * assertEquals(`${socket.remoteAddress}`, "127.0.0.1:9");
   * socket.disconnect();
   * assertEquals(socket.remoteAddress, null);
   * ```
   *
   * C: `connect(2)` with `AF_UNSPEC`.
   */
  disconnect(): void {
    this.#use("connect");
    const nobody = unspecified();
    // Whoever waits for the attempt would take its end for an answer.
    const answer = this.#connecting.attempt === null
      ? this.#dissolve(bytesOf(nobody))
      : -this.#libc.abi.errnos.EALREADY!;
    this.#check("connect", answer, nobody);
    this.#connecting.forget();
  }

  /**
   * Connects, and resolves when the connection stands.
   *
   * Never blocks the thread: the socket becomes non-blocking, and stays so. Any
   * number of attempts wait together on one thread. After a failure the socket
   * stays open, and belongs to the caller; after a deadline or an abort the
   * attempt may still be under way in the kernel, until the socket is closed.
   * To close it while the attempt is pending rejects with ECANCELED.
   *
   * A Unix-domain listener whose backlog is full has no event to wait for, and
   * is an EAGAIN error at once.
   *
   * @param address Where to.
   * @param options Limits for this attempt.
   * @throws {ErrnoError} The class of the errno, as for
   * {@linkcode Socket.connectSync}; `EALREADY` while an attempt is pending,
   * `EISCONN` on a connected stream.
   *
   * @example With a deadline
   * ```ts
   * import { inet, Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * const address = inet("127.0.0.1", listener.addr.port);
   * using socket = Socket.open({ nonblocking: true });
   * await socket.connect(address, { timeout: 1000 });
   * assertEquals(socket.remoteAddress?.equals(address), true);
   * ```
   *
   * C: `connect(2)`; then `epoll(7)` or `poll(2)`, `getsockopt(2)` with
   * `SO_ERROR`, `getpeername(2)`.
   */
  async connect(
    address: Address,
    options: AttemptOptions & WaitOptions = {},
  ): Promise<void> {
    const errand = this.#errand(address, options, ASYNC_KEYS);
    const { signal } = errand;
    const turn = yieldIfDue(this.#libc);
    const ours = Socket.prototype.connect;
    let caller: Caller | null = null;
    if (turn !== null) {
      caller = keepCaller(ours);
      await turn;
      const isGone = this.#fd < 0;
      if (isGone || signal?.aborted) releaseCaller(caller);
      if (isGone) {
        const context = { address: address.toString() };
        throw canceled("connect", context, caller ?? ours);
      }
      signal?.throwIfAborted();
    }
    if (!this.#isNonblocking) this.nonblocking = true;
    this.#hasWaited = true;
    caller ??= keepCaller(ours);
    const connecting = this.#connecting.connect(
      this.#libc,
      this.#fd,
      this.#type === this.#libc.abi.SOCK_STREAM,
      errand,
    );
    try {
      const failure = await connecting;
      if (failure !== null) throw errorFor(failure, caller ?? ours);
    } finally {
      releaseCaller(caller);
    }
  }

  /**
   * Resolves when something is to be read or may be written.
   *
   * Readiness is a hint: errors and hang-ups are told without being asked for,
   * and wake-ups for nothing happen. To close the socket meanwhile rejects with
   * ECANCELED.
   *
   * @param events What to wait for: `"POLLIN"`, `"POLLOUT"`, or both.
   * @param options Limits for this wait.
   * @returns The events that came; empty if none did in time.
   *
   * @example Until the peer has something to say
   * ```ts
   * import { connect } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * using socket = await connect({ port: listener.addr.port });
   * assertEquals(await socket.ready("POLLIN", { timeout: 10 }), []);
   * using peer = await listener.accept();
   * await peer.write(new Uint8Array(1));
   * assertEquals(await socket.ready("POLLIN"), ["POLLIN"]);
   * ```
   *
   * C: `epoll(7)` or `poll(2)`.
   */
  async ready(
    events: WaitEvents,
    options: WaitOptions = {},
  ): Promise<PollEvent[]> {
    const mask = this.#mask(events);
    const end = performance.now() + checkTimeout(options.timeout);
    const signal = checkSignal("signal", options.signal);
    this.#use("poll");
    signal?.throwIfAborted();
    const answer = await this.#wait(mask, end, signal);
    if (answer === ABORTED) throw signal!.reason;
    if (answer === CLOSED) throw canceled("poll");
    return this.#names(answer);
  }

  /**
   * Gives the socket its own address.
   *
   * @param address The address; port 0 leaves the choice to the system.
   * @throws {ErrnoError} `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` for a
   * privileged port, ...
   *
   * @example A fixed source address
   * ```ts
   * import { inet, Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using socket = Socket.open();
   * socket.bind(inet("127.0.0.2", 0));
   * assertEquals(`${socket.localAddress}`.split(":")[0], "127.0.0.2");
   * ```
   *
   * C: `bind(2)`.
   */
  bind(address: Address): void {
    demandAddress(address);
    this.#use("bind", address);
    this.#bind(demand(this.#libc, address));
  }

  /**
   * The address on this side. Before connect and bind it is all zeros, or an
   * unnamed Unix address.
   *
   * C: `getsockname(2)`.
   */
  get localAddress(): Address {
    this.#use("getsockname");
    const result = this.#libc.getsockname(this.#fd, sockaddr);
    this.#check("getsockname", result);
    return decodeAddress(sockaddr, result);
  }

  /**
   * The address on the other side, `null` if there is none.
   *
   * C: `getpeername(2)`; `ENOTCONN` is the answer that is `null` here, and
   * `EINVAL`, which macOS has for a socket that failed or was shut down.
   */
  get remoteAddress(): Address | null {
    this.#use("getpeername");
    const result = this.#libc.getpeername(this.#fd, sockaddr);
    const { ENOTCONN, EINVAL } = this.#libc.abi.errnos;
    if (result === -ENOTCONN! || result === -EINVAL!) return null;
    this.#check("getpeername", result);
    return decodeAddress(sockaddr, result);
  }

  /**
   * The address on this side, as `Deno.Conn` tells it.
   *
   * @throws {NotSupportedError} If that has no form for addresses of this
   * family.
   *
   * C: `getsockname(2)`.
   */
  get localAddr(): SocketAddr {
    return this.#addrOf("localAddr", this.localAddress);
  }

  /**
   * The address on the other side, as `Deno.Conn` tells it.
   *
   * @throws {ErrnoError} `ENOTCONN` if there is none.
   * @throws {NotSupportedError} If that has no form for addresses of this
   * family.
   *
   * @example In Deno's words
   * ```ts
   * import { connectSync } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * const { port } = listener.addr;
   * using socket = connectSync({ port });
   * const { transport, hostname } = listener.addr;
   * assertEquals(socket.remoteAddr, { transport, hostname, port });
   * ```
   *
   * C: `getpeername(2)`.
   */
  get remoteAddr(): SocketAddr {
    const address = this.remoteAddress;
    if (address === null) {
      throw errnoError("ENOTCONN", { syscall: "getpeername" });
    }
    return this.#addrOf("remoteAddr", address);
  }

  /**
   * Takes the error that is pending on the socket, which clears it.
   *
   * @returns The error, `null` if there is none.
   *
   * C: `getsockopt(2)` with `SO_ERROR`.
   */
  takeError(): ErrnoError | null {
    this.#use("getsockopt");
    return this.#connecting.takeError(this.#libc, this.#fd);
  }

  /**
   * Waits until something is to be read or may be written.
   *
   * Blocks the calling thread. Readiness is a hint: errors and hang-ups are
   * told without being asked for, and wake-ups for nothing happen. A signal
   * does not end the wait.
   *
   * @param events What to wait for: `"POLLIN"`, `"POLLOUT"`, or both.
   * @param timeout Milliseconds, 0 to look without waiting.
   * @returns The events that came; empty if none did in time.
   *
   * @example Waiting for the outcome of an attempt
   * ```ts
   * import { inet, Socket } from "@einprogress/connect";
   * import { assert } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * using socket = Socket.open({ nonblocking: true });
   * socket.tryConnect(inet("127.0.0.1", listener.addr.port));
   * assert(socket.poll("POLLOUT", 1000).includes("POLLOUT"));
   * assert(socket.takeError() === null);
   * ```
   *
   * C: `poll(2)`.
   */
  poll(events: WaitEvents, timeout: number = Infinity): PollEvent[] {
    const mask = this.#mask(events);
    const end = performance.now() + checkTimeout(timeout);
    this.#use("poll");
    const { abi } = this.#libc;
    for (;;) {
      const result = pollFd(this.#libc, this.#fd, mask, timeoutTo(end));
      if (result === 0 && performance.now() < end) continue;
      if (result === -abi.errnos.EINTR!) continue;
      return this.#names(this.#check("poll", result));
    }
  }

  /**
   * Sets an option by name, or any option by the system's own numbers.
   *
   * @param name The option.
   * @param value Its value, in the units that {@linkcode SocketOptions} tells.
   * @throws {RangeError} If the value is out of range; {@linkcode TypeError} if
   * it is of the wrong kind.
   * @throws {NotSupportedError} If this system has no such option.
   * @throws {ErrnoError} If the system refuses it.
   *
   * @example By name and by number
   * ```ts
   * import { Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using socket = Socket.open();
   * socket.setOption("ttl", 42);
   * assertEquals(socket.getOption("ttl"), 42);
   * if (Deno.build.os === "linux") {
   *   const IPPROTO_IP = 0;
   *   const IP_TTL = 2;
   *   assertEquals(socket.getOption(IPPROTO_IP, IP_TTL), 42);
   * }
   * ```
   *
   * C: `setsockopt(2)`.
   */
  setOption<N extends SocketOptionName>(
    name: N,
    value: SocketOptions[N],
  ): void;
  /**
   * Sets any option by the system's own numbers.
   *
   * Options of the network layer can send packets by themselves, or send others
   * by a way of their own: those without a name here want the permission for
   * every address.
   *
   * @param level The level: `SOL_SOCKET`, `IPPROTO_TCP`, ...
   * @param name The option's number at that level.
   * @param value An int, or the bytes of whatever the option takes.
   * @throws The runtime's own error, if the option reaches farther than the
   * program may.
   */
  setOption(level: number, name: number, value: number | Uint8Array): void;
  setOption(
    nameOrLevel: SocketOptionName | number,
    valueOrName: unknown,
    value?: number | Uint8Array,
  ): void {
    this.#use("setsockopt");
    if (typeof nameOrLevel === "number") {
      setRawOption(
        this.#libc,
        this.#fd,
        nameOrLevel,
        valueOrName as number,
        value!,
      );
    } else {
      setOption(
        this.#libc,
        this.#fd,
        this.#family,
        nameOrLevel,
        valueOrName as SocketOptions[SocketOptionName],
      );
    }
  }

  /**
   * Reads an option by name, or any int-valued option by the system's numbers.
   *
   * @param name The option.
   * @returns Its value, in the units that {@linkcode ReadableSocketOptions}
   * tells.
   * @throws {NotSupportedError} If this system has no such option.
   * @throws {ErrnoError} If the system refuses to tell.
   *
   * C: `getsockopt(2)`.
   */
  getOption<N extends ReadableSocketOptionName>(
    name: N,
  ): ReadableSocketOptions[N];
  /**
   * Reads any int-valued option by the system's own numbers.
   *
   * @param level The level: `SOL_SOCKET`, `IPPROTO_TCP`, ...
   * @param name The option's number at that level.
   */
  getOption(level: number, name: number): number;
  /**
   * Reads any option as bytes, by the system's own numbers.
   *
   * At levels other than those of sockets, IP, TCP and MPTCP, reading wants the
   * permission for every address, for there it may do more than read.
   *
   * @param level The level: `SOL_SOCKET`, `IPPROTO_TCP`, ...
   * @param name The option's number at that level.
   * @param size How many bytes there is room for, 0 to 65536.
   * @returns The bytes that the system wrote, which may be fewer.
   *
   * @example Where a connection went before a redirect, on Linux
   * ```ts
   * import { ErrnoError, rawAddress, type Socket } from "@einprogress/connect";
   *
   * function originalDestination(socket: Socket) {
   *   const IPPROTO_IP = 0;
   *   const SO_ORIGINAL_DST = 80;
   *   try {
   *     return rawAddress(socket.getOption(IPPROTO_IP, SO_ORIGINAL_DST, 16));
   *   } catch (error) {
   *     if (error instanceof ErrnoError) return null; // ENOENT: as it was
   *     throw error;
   *   }
   * }
   * ```
   *
   * C: `getsockopt(2)`.
   */
  getOption(level: number, name: number, size: number): Uint8Array<ArrayBuffer>;
  getOption(
    nameOrLevel: ReadableSocketOptionName | number,
    name?: number,
    size?: number,
  ): unknown {
    this.#use("getsockopt");
    if (typeof nameOrLevel !== "number") {
      return getOption(this.#libc, this.#fd, this.#family, nameOrLevel);
    }
    return size === undefined
      ? getRawOption(this.#libc, this.#fd, nameOrLevel, name!)
      : getRawOptionBytes(this.#libc, this.#fd, nameOrLevel, name!, size);
  }

  /**
   * What the kernel knows of a TCP connection, also while it is pending.
   *
   * @returns The state, and the round trip as the kernel measured it, without
   * any cost of the runtime.
   * @throws {NotSupportedError} If this system does not tell.
   * @throws {ErrnoError} If it is no TCP socket.
   *
   * C: `getsockopt(2)` with `TCP_INFO`.
   */
  tcpInfo(): TcpInfo {
    this.#use("getsockopt");
    return readTcpInfo(this.#libc, this.#fd);
  }

  /**
   * Sends bytes, as many as the system takes in one call.
   *
   * On a blocking socket it waits for room. A peer that is gone is an EPIPE
   * error, never a signal.
   *
   * @param data What to send; one datagram on a socket of that kind.
   * @param options The receiver, and flags.
   * @returns How many bytes were taken.
   * @throws {ErrnoError} If the system refuses, `EAGAIN` if a non-blocking
   * socket has no room.
   *
   * @example A datagram
   * ```ts
   * import { inet, Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using receiver = Socket.open({ type: "dgram" });
   * receiver.bind(inet("127.0.0.1", 0));
   * using sender = Socket.open({ type: "dgram" });
   * sender.connectSync(receiver.localAddress);
   * assertEquals(sender.sendSync(new Uint8Array([1, 2, 3])), 3);
   * assertEquals(receiver.recvSync(new Uint8Array(16)), 3);
   * ```
   *
   * C: `send(2)`, `sendto(2)`, with `MSG_NOSIGNAL`.
   */
  sendSync(data: Uint8Array, options: SendOptions = {}): number {
    const { to = null, flags = 0 } = options;
    const target = this.#demandSend(data, to, flags);
    for (;;) {
      const result = this.#send(data, target, flags);
      if (result === -this.#libc.abi.errnos.EINTR!) continue;
      return this.#check("sendto", result, to);
    }
  }

  /**
   * Sends bytes, as many as the system takes in one call, and waits for room
   * without holding the thread, whether the socket is non-blocking or not.
   *
   * A peer that is gone is an EPIPE error, never a signal. To close the socket
   * meanwhile rejects with ECANCELED. The data must stay as they are until then.
   *
   * @param data What to send; one datagram on a socket of that kind.
   * @param options The receiver, flags, and limits for the wait.
   * @returns How many bytes were taken, which may be fewer than there are on a
   * stream; {@linkcode Socket.writable} sends all.
   * @throws {ErrnoError} If the system refuses; `ETIMEDOUT` with `timeoutKind`
   * `"deadline"` if there was no room within `options.timeout`.
   * @throws {TypeError} If the memory is taken away while the call waits.
   *
   * @example There and back
   * ```ts
   * import { connect } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * using socket = await connect({ port: listener.addr.port });
   * using peer = await listener.accept();
   * assertEquals(await socket.send(new Uint8Array([1, 2, 3])), 3);
   * await peer.write(new Uint8Array([4, 5]));
   * assertEquals(await socket.recv(new Uint8Array(16), { timeout: 1000 }), 2);
   * ```
   *
   * C: `send(2)`, `sendto(2)`, with `MSG_NOSIGNAL` and `MSG_DONTWAIT`; then
   * `epoll(7)` or `poll(2)`.
   */
  async send(
    data: Uint8Array,
    options: SendOptions & WaitOptions = {},
  ): Promise<number> {
    const { to = null, flags = 0 } = options;
    const timeout = checkTimeout(options.timeout);
    const signal = checkSignal("signal", options.signal);
    const target = this.#demandSend(data, to, flags);
    const { POLLOUT, MSG_DONTWAIT } = this.#libc.abi;
    const size = sizeOf(data);
    return await this.#transfer("sendto", to, POLLOUT, timeout, signal, () => {
      checkWhole("data", data, size);
      return this.#send(data, target, flags | MSG_DONTWAIT);
    });
  }

  /**
   * Receives bytes, as many as there are, or one datagram.
   *
   * On a blocking socket it waits for some. A datagram that is longer than the
   * buffer is cut, and its rest is lost.
   *
   * @param buffer Where to put them.
   * @param options Flags.
   * @returns How many there were; on a stream, 0 means that the peer sends no
   * more.
   * @throws {ErrnoError} If the system refuses, `EAGAIN` if a non-blocking
   * socket has nothing.
   *
   * C: `recv(2)`.
   */
  recvSync(buffer: Uint8Array, options: ReceiveOptions = {}): number {
    return this.#receive(buffer, options, null);
  }

  /**
   * Receives as {@linkcode Socket.recvSync} does, and tells from whom.
   *
   * @param buffer Where to put the bytes.
   * @param options Flags.
   * @returns How many there were, and the sender's address; that of a sender
   * without a name, and of a stream's, is unspecified.
   *
   * C: `recvfrom(2)`.
   */
  recvFromSync(
    buffer: Uint8Array,
    options: ReceiveOptions = {},
  ): [size: number, from: Address] {
    const size = this.#receive(buffer, options, sender);
    return [size, senderAddress()];
  }

  /**
   * Receives bytes, as many as there are, or one datagram, and waits for some
   * without holding the thread, whether the socket is non-blocking or not.
   *
   * To close the socket meanwhile rejects with ECANCELED. Two that wait at once
   * get what comes in no particular order.
   *
   * @param buffer Where to put them.
   * @param options Flags, and limits for the wait.
   * @returns How many there were; on a stream, 0 means that the peer sends no
   * more.
   * @throws {ErrnoError} If the system refuses; `ETIMEDOUT` with `timeoutKind`
   * `"deadline"` if nothing came within `options.timeout`.
   * @throws {TypeError} If the memory is taken away while the call waits.
   *
   * C: `recv(2)` with `MSG_DONTWAIT`; then `epoll(7)` or `poll(2)`.
   */
  async recv(
    buffer: Uint8Array,
    options: ReceiveOptions & WaitOptions = {},
  ): Promise<number> {
    return await this.#receiveAsync(buffer, options, null);
  }

  /**
   * Receives as {@linkcode Socket.recv} does, and tells from whom.
   *
   * @param buffer Where to put the bytes.
   * @param options Flags, and limits for the wait.
   * @returns How many there were, and the sender's address; that of a sender
   * without a name, and of a stream's, is unspecified.
   *
   * C: `recvfrom(2)` with `MSG_DONTWAIT`; then `epoll(7)` or `poll(2)`.
   */
  async recvFrom(
    buffer: Uint8Array,
    options: ReceiveOptions & WaitOptions = {},
  ): Promise<[size: number, from: Address]> {
    const from: Address[] = [];
    const size = await this.#receiveAsync(buffer, options, from);
    return [size, from[0]!];
  }

  /**
   * Reads as `Deno.Conn` does.
   *
   * @param buffer Where to put the bytes.
   * @returns How many there were, `null` if the peer of a stream sends no more;
   * 0 for a buffer without room.
   * @throws {ErrnoError} If the system refuses.
   *
   * C: `recv(2)`, `epoll(7)` or `poll(2)`.
   */
  async read(buffer: Uint8Array): Promise<number | null> {
    checkBytes("buffer", buffer);
    this.#use("recvfrom");
    if (sizeOf(buffer) === 0) return 0;
    const size = await this.recv(buffer);
    // A datagram may be empty, and is no end.
    return size === 0 && this.getOption("type") !== "dgram" ? null : size;
  }

  /**
   * Writes as `Deno.Conn` does: as many bytes as the system takes in one call.
   *
   * @param data The bytes.
   * @returns How many were taken, which may be fewer than there are.
   * @throws {ErrnoError} If the system refuses.
   *
   * C: `send(2)`, `epoll(7)` or `poll(2)`.
   */
  async write(data: Uint8Array): Promise<number> {
    return await this.send(data);
  }

  /**
   * What comes in, as a stream of bytes; the same one each time.
   *
   * It ends when the peer sends no more, and waits only while somebody reads.
   * Neither its end nor its cancelling closes the socket: that is for whoever
   * owns it.
   *
   * @example All that the peer sends
   * ```ts
   * import { connect } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * using socket = await connect({ port: listener.addr.port });
   * {
   *   using peer = await listener.accept();
   *   await peer.write(new TextEncoder().encode("hello"));
   * }
   * assertEquals(await new Response(socket.readable).text(), "hello");
   * ```
   *
   * C: `recv(2)`, `epoll(7)` or `poll(2)`.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#use("recvfrom");
    return this.#readable ??= readableOf({
      receive: (buffer, signal) => this.recv(buffer, { signal }),
    });
  }

  /**
   * What goes out, as a stream; the same one each time.
   *
   * Each chunk is sent whole. To close the stream tells the peer that no more
   * will come, as {@linkcode Socket.closeWrite} does; to abort it tells the peer
   * nothing. Neither closes the socket.
   *
   * C: `send(2)`, `epoll(7)` or `poll(2)`, `shutdown(2)`.
   */
  get writable(): WritableStream<Uint8Array> {
    this.#use("sendto");
    return this.#writable ??= writableOf({
      send: (data, signal) => this.send(data, { signal }),
      closeWrite: () => this.shutdown("write"),
    });
  }

  /**
   * Tells the peer that no more will come; what it sends still arrives.
   *
   * @throws {ErrnoError} `ENOTCONN` if there is no connection.
   *
   * C: `shutdown(2)` with `SHUT_WR`.
   */
  // deno-lint-ignore require-await
  async closeWrite(): Promise<void> {
    this.shutdown("write");
  }

  /**
   * Lets waits keep the process alive, as they do from the beginning.
   *
   * An idle socket keeps nothing alive: there is no more to it than a number.
   */
  ref(): void {
    this.#isRef = true;
  }

  /**
   * Keeps waits for data from keeping the process alive.
   *
   * No wait that is shared with other sockets can do that, so those of this one
   * are replaced by a look once in ten milliseconds, by which they get slower.
   * An attempt to connect keeps the process alive nevertheless.
   */
  unref(): void {
    this.#isRef = false;
    if (this.#fd < 0 || !this.#hasWaited || this.#connecting.attempt !== null) {
      return;
    }
    cancelWaits(this.#libc, this.#fd);
  }

  /**
   * Ends one direction of the connection, or both.
   *
   * @param how `"write"` tells the peer that no more will come.
   * @throws {ErrnoError} `ENOTCONN` if there is no connection.
   *
   * C: `shutdown(2)`.
   */
  shutdown(how: "read" | "write" | "both"): void {
    this.#use("shutdown");
    const { abi } = this.#libc;
    const direction = numberFor(abi, "how", DIRECTIONS, how);
    this.#check("shutdown", this.#libc.shutdown(this.#fd, direction));
  }

  /**
   * Gives the descriptor away, open, exactly once.
   *
   * From then on it is the caller's to close, and this object is as closed.
   *
   * @returns The descriptor.
   * @throws {ErrnoError} `EBADF` if it was given up before.
   */
  detach(): number {
    this.#use("detach");
    const fd = this.#fd;
    this.#fd = -1;
    this.#witness.release(fd);
    this.#connecting.giveUp();
    if (this.#hasWaited) forget(this.#libc, fd);
    return fd;
  }

  /**
   * Makes the connection a socket of `node:net`, for everything that takes one:
   * `node:http`, `node:tls`, ...
   *
   * The descriptor belongs to that one from then on, and this object is as
   * closed. On failure it stays here.
   *
   * @returns The other socket. The caller owns it and ends it.
   * @throws {NotSupportedError} If the runtime cannot make one of a descriptor.
   * @throws {TypeError} If it is no stream.
   * @throws {ErrnoError} `ENOTCONN` if it is not connected; `EBADF` if it was
   * given up before.
   *
   * @example A request over a connection with a deadline
   * ```ts
   * import { connect } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   * import { get } from "node:http";
   *
   * await using server = Deno.serve(
   *   { hostname: "127.0.0.1", port: 0, onListen() {} },
   *   () => new Response("hello"),
   * );
   * const socket = await connect({ port: server.addr.port, timeout: 1000 });
   * const status = await new Promise((resolve, reject) => {
   *   get({ createConnection: () => socket.toNodeSocket() }, (response) => {
   *     response.resume().on("end", () => resolve(response.statusCode));
   *   }).on("error", reject);
   * });
   * assertEquals(status, 200);
   * ```
   */
  toNodeSocket(): NodeSocket {
    this.#use("detach");
    const door = doorFor();
    if (door.nodeSocket === undefined) {
      throw new NotSupportedError("toNodeSocket()", door.runtime);
    }
    this.#checkStream("toNodeSocket()");
    if (this.#hasWaited) forget(this.#libc, this.#fd);
    const socket = door.nodeSocket(this.#fd) as NodeSocket;
    this.detach();
    return socket;
  }

  /**
   * Makes the connection a socket of Bun's own.
   *
   * The descriptor belongs to that one from then on, and this object is as
   * closed, also if Bun then refuses it.
   *
   * @param handlers What Bun calls when something happens.
   * @returns The other socket. The caller owns it and ends it.
   * @throws {NotSupportedError} If the runtime cannot: Deno and Node, which have
   * {@linkcode Socket.toNodeSocket}.
   * @throws {TypeError} If it is no stream, or `handlers` no object.
   * @throws {ErrnoError} `ENOTCONN` if it is not connected; `EBADF` if it was
   * given up before.
   */
  async toBunSocket(handlers: BunSocketHandlers): Promise<BunSocket> {
    if (!isObject(handlers)) {
      throw new TypeError(
        `Cannot use handlers ${show(handlers)}: it is not an object`,
      );
    }
    this.#use("detach");
    const door = doorFor();
    if (door.bunSocket === undefined) {
      throw new NotSupportedError("toBunSocket()", door.runtime);
    }
    this.#checkStream("toBunSocket()");
    return await door.bunSocket(this.detach(), handlers) as BunSocket;
  }

  /**
   * Closes the descriptor. Closing a second time does nothing.
   *
   * @throws {ErrnoError} `EBADF` if somebody else has closed the descriptor,
   * which means that somewhere a number is used that is not theirs.
   *
   * C: `close(2)`, once: after EINTR, too, the descriptor is gone.
   */
  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    // Before anybody is told, for whoever is told may close the socket again.
    this.#fd = -1;
    this.#witness.release(fd);
    this.#connecting.giveUp();
    if (this.#hasWaited) cancelWaits(this.#libc, fd);
    const result = this.#libc.close(fd);
    if (result === -this.#libc.abi.errnos.EBADF!) {
      throw errnoErrorFor(-result, {
        syscall: "close",
        subject: `descriptor ${fd}`,
      });
    }
  }

  /** Closes the descriptor, as {@linkcode Socket.close} does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #bind(address: Address): void {
    const bytes = bytesOf(address);
    const result = this.#libc.bind(this.#fd, bytes, bytes.length);
    this.#check("bind", result, address);
    this.#connecting.isBound = true;
    if (address.family === "inet" || address.family === "inet6") {
      this.#connecting.port = address.port;
    }
  }

  /** Connects to nobody, and answers 0 if a datagram socket has no peer then, whatever the system said. */
  #dissolve(nobody: Uint8Array): number {
    const answer = this.#libc.connect(this.#fd, nobody, nobody.length);
    if (answer === 0 || this.getOption("type") !== "dgram") return answer;
    if (this.remoteAddress === null) return 0;
    // illumos hands out an error that is pending first, and has done nothing.
    const again = this.#libc.connect(this.#fd, nobody, nobody.length);
    return this.remoteAddress === null ? 0 : again;
  }

  /** Checks what an attempt is to do, and asks for permission. */
  #errand(
    address: Address,
    options: unknown,
    keys: readonly (keyof AttemptOptions | keyof WaitOptions)[],
  ): Errand {
    const written = readOptions("options", options, keys);
    const timeout = checkTimeout(written.timeout);
    const signal = checkSignal("signal", written.signal);
    const waitsSoft = checkSoftErrors(written.softErrors);
    demandAddress(address);
    this.#use("connect", address);
    signal?.throwIfAborted();
    const target = demand(this.#libc, address);
    const start = performance.now();
    return { target, start, timeout, signal, waitsSoft };
  }

  /** Whether the runtime's streams can take it over, as far as that shows. */
  #checkStream(method: string): void {
    const type = this.getOption("type");
    if (type !== "stream") {
      throw new TypeError(
        `Cannot use ${method} on a socket of type ${
          show(type)
        }: it takes streams`,
      );
    }
    if (this.remoteAddress === null) {
      throw errnoError("ENOTCONN", { syscall: "getpeername" });
    }
  }

  #addrOf(name: string, address: Address): SocketAddr {
    const isStream = this.getOption("type") === "stream";
    switch (address.family) {
      case "inet":
      case "inet6": {
        const { hostname, port } = address;
        const zone = address.family === "inet6" && address.scopeId !== 0 &&
            !hostname.includes("%")
          ? `%${address.scopeId}`
          : "";
        const transport = isStream ? "tcp" : "udp";
        return { transport, hostname: hostname + zone, port };
      }
      case "unix": {
        const { path, abstract } = address;
        const transport = isStream ? "unix" : "unixpacket";
        return { transport, path: abstract ? `\0${path}` : path };
      }
      case "vsock": {
        const { cid, port } = address;
        return { transport: "vsock", cid, port };
      }
      default:
        throw new NotSupportedError(`${name} of ${address}`, doorFor().runtime);
    }
  }

  /** Checks what is to be sent, asks for permission, and returns where to. */
  #demandSend(
    data: Uint8Array,
    to: Address | null,
    flags: number,
  ): Address | null {
    checkBytes("data", data);
    checkInteger("flags", flags, INT_MAX);
    if (to !== null) demandAddress(to);
    this.#use("sendto", to);
    if (to !== null) return demand(this.#libc, to);
    if (this.#adopted && !this.#libc.permissions.net()) {
      const peer = this.remoteAddress;
      if (peer !== null) demand(this.#libc, peer);
      else this.#libc.permissions.demandAll(false);
    }
    return null;
  }

  /** Calls sendto(2) once. */
  #send(data: Uint8Array, to: Address | null, flags: number): number {
    const { abi } = this.#libc;
    const bytes = to === null ? null : bytesOf(to);
    const size = sizeOf(data);
    return this.#libc.sendto(
      this.#fd,
      size === 0 ? NOTHING : data,
      Math.min(size, LARGEST_TRANSFER),
      flags | (abi.MSG_NOSIGNAL ?? 0),
      bytes,
      bytes === null ? 0 : bytes.length,
    );
  }

  /** Receives without holding the thread; `from` takes the sender. */
  async #receiveAsync(
    buffer: Uint8Array,
    options: ReceiveOptions & WaitOptions,
    from: Address[] | null,
  ): Promise<number> {
    const { flags = 0 } = options;
    const timeout = checkTimeout(options.timeout);
    const signal = checkSignal("signal", options.signal);
    checkBytes("buffer", buffer);
    checkInteger("flags", flags, INT_MAX);
    const { abi } = this.#libc;
    const room = sizeOf(buffer);
    return await this.#transfer(
      "recvfrom",
      null,
      abi.POLLIN,
      timeout,
      signal,
      () => {
        checkWhole("buffer", buffer, room);
        const result = this.#libc.recvfrom(
          this.#fd,
          room === 0 ? NOTHING : buffer,
          Math.min(room, LARGEST_TRANSFER),
          flags | abi.MSG_DONTWAIT,
          from === null ? null : sender,
        );
        if (result >= 0 && from !== null) from[0] = senderAddress();
        return result;
      },
    );
  }

  /** Makes a call again and again until it need not wait. */
  async #transfer(
    syscall: "recvfrom" | "sendto",
    address: Address | null,
    events: number,
    timeout: number,
    signal: AbortSignal | undefined,
    call: () => number,
  ): Promise<number> {
    const start = performance.now();
    const end = start + timeout;
    const libc = this.#libc;
    const { errnos, POLLERR } = libc.abi;
    const context = { syscall, address: address?.toString() };
    this.#use(syscall, address);
    signal?.throwIfAborted();
    await yieldIfDue(libc);
    let tries = 0;
    for (;;) {
      // Whoever had a turn meanwhile may have done either.
      if (this.#fd < 0) throw canceled(syscall, context);
      signal?.throwIfAborted();
      const result = call();
      if (result === -errnos.EINTR!) continue;
      if (result !== -errnos.EAGAIN!) {
        return this.#check(syscall, result, address);
      }
      const since = performance.now();
      const answer = await this.#wait(events, end, signal, tries);
      if (answer === ABORTED) throw signal!.reason;
      if (answer === CLOSED) throw canceled(syscall, context);
      if (answer === 0 && performance.now() >= end) {
        throw errnoError("ETIMEDOUT", {
          ...context,
          elapsed: performance.now() - start,
          timeoutKind: "deadline",
          detail: `${
            syscall === "sendto" ? "no room" : "nothing came"
          } within ${Math.round(timeout)} ms`,
        });
      }
      // The kernel's queue of ICMP errors makes POLLERR come back for ever.
      if ((answer & POLLERR) !== 0 && this.#fd >= 0) {
        this.#connecting.takeIcmp(libc, this.#fd);
      }
      tries = countTry(tries, since);
    }
  }

  /**
   * Waits for events.
   *
   * @param tries How many waits in a row have ended by events that led to
   * nothing.
   * @returns Those that came, 0 at the end, `CLOSED` or `ABORTED`.
   */
  #wait(
    events: number,
    end: number,
    signal: AbortSignal | undefined,
    tries = 0,
  ): Promise<number> {
    if (!this.#isRef) return this.#lookAgain(events, end, signal, tries);
    this.#hasWaited = true;
    return waitFor(this.#libc, this.#fd, events, end, signal, tries)
      .then((answer) =>
        // It may have been unref() that called it off.
        answer === CLOSED && this.#fd >= 0
          ? this.#wait(events, end, signal, tries)
          : answer
      );
  }

  /** The same, without keeping the process alive. */
  async #lookAgain(
    events: number,
    end: number,
    signal: AbortSignal | undefined,
    tries: number,
  ): Promise<number> {
    const { EINTR } = this.#libc.abi.errnos;
    let pause = pauseAfter(tries);
    for (;;) {
      if (this.#fd < 0) return CLOSED;
      if (signal?.aborted) return ABORTED;
      if (this.#isRef) return await this.#wait(events, end, signal, tries);
      const answer = pause > 0 ? 0 : pollFd(this.#libc, this.#fd, events, 0);
      if (answer > 0) return answer;
      if (answer < 0 && answer !== -EINTR!) this.#check("poll", answer);
      const left = end - performance.now();
      if (left <= 0) return 0;
      const rest = Math.min(pause || LOOK_PAUSE, Math.ceil(left));
      pause = 0;
      await new Promise<void>((resolve) => {
        setTimeout(resolve, rest).unref();
      });
    }
  }

  #mask(events: WaitEvents): number {
    let mask = 0;
    for (const event of typeof events === "string" ? [events] : events) {
      if (event !== "POLLIN" && event !== "POLLOUT") {
        throw new TypeError(
          `Cannot wait for ${
            show(event)
          }: the events are "POLLIN" and "POLLOUT"`,
        );
      }
      mask |= this.#libc.abi[event];
    }
    return mask;
  }

  #names(mask: number): PollEvent[] {
    const { abi } = this.#libc;
    return POLL_EVENTS.filter((event) => (mask & abi[event]) !== 0);
  }

  #receive(
    buffer: Uint8Array,
    { flags = 0 }: ReceiveOptions,
    from: Sender | null,
  ): number {
    checkBytes("buffer", buffer);
    checkInteger("flags", flags, INT_MAX);
    this.#use("recvfrom");
    const size = Math.min(sizeOf(buffer), LARGEST_TRANSFER);
    for (;;) {
      const result = this.#libc.recvfrom(
        this.#fd,
        size === 0 ? NOTHING : buffer,
        size,
        flags,
        from,
      );
      if (result === -this.#libc.abi.errnos.EINTR!) continue;
      return this.#check("recvfrom", result);
    }
  }

  /** Refuses to work on a descriptor that is no longer ours. */
  #use(syscall: string, address: Address | null = null): void {
    if (this.#fd >= 0) return;
    throw errnoError("EBADF", {
      syscall,
      address: address?.toString(),
      detail: "the socket is closed",
    });
  }

  #check(
    syscall: string,
    result: number,
    address: Address | null = null,
  ): number {
    if (result >= 0) return result;
    throw errnoErrorFor(-result, { syscall, address: address?.toString() });
  }
}

/**
 * Makes a socket of a descriptor that was opened here and belongs to nobody
 * else.
 *
 * @param connecting What is known of its attempts to connect.
 */
export function socketOf(
  libc: Libc,
  fd: number,
  family: number,
  type: number,
  past: Past,
  connecting: Connecting,
): Socket {
  return new (Socket as unknown as SocketConstructor)(
    SEAL,
    libc,
    fd,
    family,
    type,
    past,
    connecting,
  );
}

/** The constructor of {@linkcode Socket}, which is closed to everybody else. */
type SocketConstructor = new (
  seal: symbol,
  libc: Libc,
  fd: number,
  family: number,
  type: number,
  past: Past,
  connecting: Connecting,
) => Socket;

function checkTimeout(timeout: unknown): number {
  return checkMilliseconds("timeout", timeout, Infinity);
}

function demandAddress(address: unknown): asserts address is Address {
  if (isAddress(address)) return;
  throw new TypeError(
    `Cannot use address ${show(address)}: it must come from inet(), inet6(), ` +
      "unix() or another of the address functions",
  );
}

/** Makes sure that memory is as large as it was when a call began to wait. */
function checkWhole(name: string, bytes: Uint8Array, length: number): void {
  const left = sizeOf(bytes);
  if (left >= length) return;
  throw new TypeError(
    `Cannot use ${name} of ${length} bytes: its memory was taken away ` +
      `meanwhile, ${left} are left`,
  );
}

/** Whether a socket can reach nobody but the peer that it is given. */
function isOrdinary(abi: Abi, domain: number, type: number): boolean {
  const { AF_INET, AF_INET6, AF_UNIX, AF_VSOCK } = abi;
  const { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET } = abi;
  return (domain === AF_INET || domain === AF_INET6 || domain === AF_UNIX ||
    domain === AF_VSOCK) &&
    (type === SOCK_STREAM || type === SOCK_DGRAM || type === SOCK_SEQPACKET);
}

/** The system's number for a name, or the number that was given. */
function numberFor<N extends string>(
  abi: Abi,
  argument: string,
  names: Readonly<Record<N, keyof Abi>>,
  value: N | number,
): number {
  if (typeof value === "number") return checkInteger(argument, value, INT_MAX);
  if (!Object.hasOwn(names, value)) {
    throw new TypeError(
      `Cannot use ${argument} ${show(value)}: the names are ` +
        Object.keys(names).join(", "),
    );
  }
  const number = abi[names[value]];
  if (typeof number !== "number") {
    throw new NotSupportedError(`${argument} "${value}"`, abi.os);
  }
  return number;
}

/** Who sent what was received last: nobody with a name is unspecified. */
function senderAddress(): Address {
  return sender.length === 0
    ? unspecified()
    : decodeAddress(sockaddr, sender.length);
}
