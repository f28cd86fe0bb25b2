/**
 * A socket: the one owner of one descriptor.
 *
 * @module
 */
import type { Socket as NodeSocket } from "node:net";
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { performance } from "../../ffi/timers.ts";
import {
  type Address,
  bytesOf,
  isAddress,
  unspecified,
} from "../address/address.ts";
import {
  closeOnExec,
  flagsOf,
  openDescriptor,
  openPair,
  setNonblocking,
} from "../attempt/descriptor.ts";
import { canceled, errorFor } from "../attempt/failure.ts";
import { takeErrno } from "../attempt/outcome.ts";
import {
  checkBoolean,
  checkBytes,
  checkInteger,
  copyOf,
  INT_MAX,
} from "../errors/arguments.ts";
import type { PublicFunction } from "../errors/caller.ts";
import {
  type ErrnoError,
  errnoError,
  errnoErrorFor,
} from "../errors/errors.ts";
import { cancelWaits, forget } from "../reactor/reactor.ts";
import { acceptBlocking, acceptLater } from "./accepting.ts";
import {
  type AttemptOptions,
  checkAddress,
  checkTimeout,
  encoded,
  limitsOf,
  readFor,
  readKind,
  readTransfer,
  type ReceiveOptions,
  type ReceiveUntilOptions,
  type SendOptions,
  type SocketOpenOptions,
  type SocketPairOptions,
  type WaitOptions,
} from "./calls.ts";
import {
  checkSoftErrors,
  Connecting,
  type Errand,
  errandTo,
  type Parts,
  Past,
} from "./connecting.ts";
import { type DenoAddr, denoAddrOf } from "./deno_addr.ts";
import {
  localAddressOf,
  ownFamilyOf,
  peerAddressOf,
  peerText,
  printAs,
  socketFacts,
} from "./ends.ts";
import { receiveExactly, receiveUntil, sendAll } from "./exchange.ts";
import {
  type BunSocket,
  type BunSocketHandlers,
  bunSocketOf,
  checkHandlers,
  checkStreamType,
  nodeSocketOf,
} from "./hand_off.ts";
import { LeakReporter } from "./leaks.ts";
import { NO_LIMITS } from "./limits.ts";
import {
  DIRECTIONS,
  eventsOf,
  isOrdinary,
  maskOf,
  numberFor,
  type PollEvent,
  type WaitEvents,
} from "./names.ts";
import {
  checkOption,
  getOption,
  type ReadableSocketOptionName,
  type ReadableSocketOptions,
  setChecked,
  type SocketOptionName,
  type SocketOptions,
} from "./options.ts";
import { demand, demandPeer, demandSenders, permit } from "./permission.ts";
import {
  getRawOption,
  getRawOptionBytes,
  setRawOption,
} from "./raw_options.ts";
import { type Ends, readableOf, writableOf } from "./streams.ts";
import { readTcpInfo, type TcpInfo } from "./tcp_info.ts";
import { nextChunk, pointingAt, pollUntil, Transfers } from "./transfer.ts";

/** Proves that it is this module that calls the constructor. */
const SOCKET_SEAL = Symbol();

/**
 * A socket of the C library: one descriptor and its methods.
 *
 * The descriptor has close-on-exec set and belongs to this object until
 * {@linkcode Socket.close} or {@linkcode Socket.detach}. After either, every
 * method fails with EBADF and none reaches the kernel, which may have given the
 * number to another file by then. A wrong argument is a `TypeError` or a
 * `RangeError`, before any system call; an address that the runtime's
 * permissions deny is the runtime's own error.
 *
 * A socket that is garbage-collected with its descriptor still open is reported
 * once, as a warning of the process with the code `"EINPROGRESS_UNCLOSED"`
 * (`process.on("warning", ...)`), and the descriptor stays open.
 *
 * A connected one fits where a `Deno.Conn` is taken.
 *
 * @example What connect(2) returns, without an exception
 * ```ts
 * import { inet, Socket } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * using socket = Socket.open({ family: "inet", type: "stream" });
 * assertEquals(socket.tryConnect(inet("127.0.0.1", listener.addr.port)), 0);
 * ```
 */
export class Socket implements Disposable, AsyncDisposable {
  readonly #libc: Libc;
  /** -1 once the descriptor is given up. */
  #fd: number;
  readonly #family: number;
  readonly #type: number;
  readonly #reporter: LeakReporter;
  /** Its place with the reporter. */
  readonly #place: number;
  /** Whether the descriptor's past is unknown. */
  readonly #adopted: boolean;
  readonly #connecting: Connecting;
  /** Whether the reactor may know the descriptor. */
  #hasWaited = false;
  /** Whether the descriptor is known not to block; if not, it is asked. */
  #isNonblocking = false;
  /** Whether waits keep the process alive. */
  #isRef = true;
  /** What goes through the descriptor, once something has. */
  #transfers: Transfers | null = null;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  #writable: WritableStream<Uint8Array> | null = null;
  /** How many of those two have ended. */
  #streamsEnded = 0;

  static {
    printAs(
      this.prototype,
      "Socket",
      // The prototype is printed, too, and whatever inherits from it.
      (socket) =>
        #fd in socket
          ? socketFacts(socket.#libc, socket.#fd, socket.#family, socket.#type)
          : {},
    );
  }

  private constructor(
    seal: symbol,
    // By themselves: a list of them would be taken apart by its iterator.
    libc: Libc,
    fd: number,
    family: number,
    type: number,
    past: Past,
    connecting: Connecting,
  ) {
    if (seal !== SOCKET_SEAL) {
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
    this.#reporter = LeakReporter.withRoom();
    this.#place = this.#reporter.add(fd);
  }

  /**
   * Opens a socket.
   *
   * C: `socket(2)` with `SOCK_CLOEXEC`, and `fcntl(2)` where it takes no flags.
   *
   * @param options What kind of socket.
   * @returns The socket. The caller owns it and closes it.
   * @throws {ErrnoError} If the system refuses: `EMFILE`, `EACCES` and
   * `EPERM` for raw sockets, `EPROTONOSUPPORT`, `EAFNOSUPPORT`, ...
   * @throws {NotSupportedError} If the system has no such family or protocol.
   * @throws {Error} The runtime's own error, for raw sockets and families
   * without a name here, if the program may not reach every address.
   *
   * @example A non-blocking one
   * ```ts
   * import { Socket } from "@einprogress/connect";
   * import { assert } from "@std/assert";
   *
   * using socket = Socket.open({ type: "dgram", nonblocking: true });
   * assert(socket.nonblocking);
   * ```
   */
  static open(options?: SocketOpenOptions): Socket {
    const c = libc();
    const kind = readKind(c.abi, options);
    // What leaves such a socket need not go to the address that is named for
    // it, or to any: no rule about addresses covers it.
    if (!isOrdinary(c.abi, kind)) c.permissions.demandAll(false);
    const { domain, type, protocol, nonblocking } = kind;
    const fd = openDescriptor(c, domain, type, protocol, nonblocking);
    if (fd < 0) throw errnoErrorFor(-fd, { syscall: "socket" }, Socket.open);
    const past = nonblocking ? Past.NONBLOCKING : Past.BLOCKING;
    return socketOf(c, fd, domain, type, past, new Connecting());
  }

  /**
   * Opens two Unix sockets that are connected to each other.
   *
   * C: `socketpair(2)` with `SOCK_CLOEXEC`, and `fcntl(2)` where it takes no
   * flags.
   *
   * @param options What kind of sockets.
   * @returns Both. The caller owns them and closes them.
   * @throws {ErrnoError} If the system refuses: `EMFILE`, ...
   *
   * @example What goes in at one end
   * ```ts
   * import { Socket } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const [one, other] = Socket.pair();
   * using _ = one, __ = other;
   * one.sendSync("hello");
   * assertEquals(other.recvSync(new Uint8Array(16)), 5);
   * ```
   */
  static pair(options?: SocketPairOptions): [one: Socket, other: Socket] {
    const c = libc();
    const { domain, type, nonblocking } = readKind(c.abi, options, "pair");
    const past = nonblocking ? Past.NONBLOCKING : Past.BLOCKING;
    return openPair(c, type, nonblocking).map((fd) =>
      socketOf(c, fd, domain, type, past, Connecting.done())
    ) as [Socket, Socket];
  }

  /**
   * Takes over a descriptor that came from elsewhere.
   *
   * It belongs to the returned socket from then on, which sets close-on-exec
   * and closes it in the end; its former owner has to forget it. On failure
   * the descriptor is left as it was.
   *
   * To borrow one, {@linkcode Socket.detach} it again before its owner goes on.
   * This is how the options of this package reach a socket that Node has bound
   * and not connected: `const socket = Socket.fromFd(bound.fd())` of a
   * `net.BoundSocket`, `socket.setOption("ttl", 7)`, `socket.detach()`, and
   * then `new net.Socket({ handle: bound }).connect(...)`.
   *
   * C: `getsockopt(2)` with `SO_TYPE`, `getsockname(2)`, `fcntl(2)`.
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
   */
  static fromFd(fd: number): Socket {
    checkInteger("fd", fd, INT_MAX);
    const c = libc();
    const type = getRawOption(c, fd, c.abi.SOL_SOCKET, c.abi.SO_TYPE);
    const family = ownFamilyOf(c, fd);
    closeOnExec(c, fd);
    return socketOf(c, fd, family, type, Past.ADOPTED, new Connecting());
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
    checkBoolean("nonblocking", on);
    this.#use("fcntl");
    setNonblocking(this.#libc, this.#fd, on);
    this.#isNonblocking = on;
  }

  /**
   * Calls connect(2) once and returns its errno.
   *
   * Never throws and allocates nothing. EINPROGRESS is a result like any other;
   * {@linkcode Socket.connectSync} with the same address then waits for the
   * outcome. For an address that the runtime's permissions deny, the result is
   * EACCES; on a closed socket it is EBADF, and for a value that is no address
   * EFAULT.
   *
   * C: `connect(2)`.
   *
   * @param address Where to.
   * @returns 0, or the errno: this system's number, positive.
   *
   * @example Reading the result
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
   */
  tryConnect(address: Address): number {
    const libc = this.#libc;
    if (this.#fd < 0) return libc.abi.errnos.EBADF;
    if (!isAddress(address)) return libc.abi.errnos.EFAULT;
    if (this.#connecting.attempt !== null) return libc.abi.errnos.EALREADY;
    const target = permit(libc, address);
    if (typeof target === "number") return target;
    const bytes = bytesOf(target);
    // Subtracted from 0, since negating 0 makes -0.
    const errno = 0 - libc.connect(this.#fd, bytes, bytes.length);
    this.#connecting.note(libc, target, errno);
    return errno;
  }

  /**
   * Connects, and returns when the connection is established.
   *
   * Blocks the calling thread. A signal that interrupts connect(2) is no
   * failure: the attempt goes on in the kernel, and the call waits for its
   * outcome. Only for a Unix-domain socket, where nothing has begun then, is
   * connect(2) called again. On a non-blocking socket it waits all the same,
   * and leaves the socket non-blocking. After a failure the socket stays open,
   * and belongs to the caller: Linux lets it try again, BSD and illumos want a
   * new one. After a deadline the attempt may still be under way in the kernel,
   * until the socket is closed.
   *
   * A datagram socket only notes its peer, and may be connected any number of
   * times.
   *
   * C: `connect(2)`; if it has to wait, `poll(2)`, `getsockopt(2)` with
   * `SO_ERROR`, `getpeername(2)`; `fcntl(2)` before and after, with a timeout, or
   * to hear of soft errors.
   *
   * @param address Where to.
   * @param options Limits for this attempt, and what ends it.
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
   */
  connectSync(address: Address, options: AttemptOptions = {}): void {
    const errand = this.#errand(address, readFor("connectSync", options));
    const failure = this.#connecting.connectSync(
      this.#libc,
      this.#fd,
      this.#isStream,
      // Datagrams have nothing to wait for.
      !this.#isNonblocking && !this.#isDatagram,
      errand,
    );
    if (failure !== null) {
      throw errorFor(failure, Socket.prototype.connectSync);
    }
  }

  /**
   * Dissolves a datagram socket's association: it has no peer then, receives
   * from every sender, and may be given another peer. Needs no permission.
   *
   * The systems do this in different ways. BSD and macOS dissolve the
   * association and then report an error all the same: EAFNOSUPPORT, EINVAL,
   * ENOENT or EADDRNOTAVAIL. For a datagram socket that is no failure here, as
   * long as the peer is gone. On Linux a TCP socket may do it, too: a
   * connection ends by a reset, a pending attempt is given up, and the socket
   * can connect anew; other systems refuse.
   *
   * Linux also gives back whatever of the local address was its own choice: a
   * port that was bound to by number stays, one that was left to the system
   * does not.
   *
   * C: `connect(2)` with `AF_UNSPEC`.
   *
   * @throws {ErrnoError} If the system refuses and the peer is still there, or
   * the family has no such thing: `EISCONN`, `EINVAL`, ...
   *
   * @example Receiving from one peer, then from all
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
   */
  disconnect(): void {
    this.#use("connect");
    const nobody = unspecified();
    const result = this.#connecting.disconnect(
      this.#libc,
      this.#fd,
      bytesOf(nobody),
      this.#isDatagram,
    );
    this.#check("connect", result, nobody);
  }

  /**
   * Connects, and resolves when the connection is established.
   *
   * Never blocks the thread: the socket becomes non-blocking, and stays so. Any
   * number of attempts wait together on one thread. After a failure the socket
   * stays open, and belongs to the caller; after a deadline or an abort the
   * attempt may still be under way in the kernel, until the socket is closed.
   * If it is closed while the attempt is pending, the promise rejects with
   * ECANCELED.
   *
   * A Unix-domain listener whose backlog is full has no event to wait for: with
   * a timeout, connect(2) is called again every few milliseconds, and without one
   * it is an EAGAIN error at once. A stream socket never connects to itself by
   * chance: such a connection is dissolved, and is `ECONNREFUSED` in the end.
   *
   * C: `connect(2)`; then `epoll(7)` or `poll(2)`, `getsockopt(2)` with
   * `SO_ERROR`, `getpeername(2)`.
   *
   * @param address Where to.
   * @param options Limits for this attempt, and what ends it.
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
   */
  async connect(
    address: Address,
    options: AttemptOptions & WaitOptions = {},
  ): Promise<void> {
    const errand = this.#errand(address, readFor("connect", options));
    if (!this.#isNonblocking) this.nonblocking = true;
    this.#hasWaited = true;
    await this.#connecting.connectWhenDue(
      this.#libc,
      this.#fd,
      this.#isStream,
      errand,
      Socket.prototype.connect,
    );
  }

  /**
   * Resolves when something is to be read or may be written.
   *
   * Readiness is a hint: errors and hang-ups are reported without being asked
   * for, and spurious wake-ups happen. If the socket is closed meanwhile, the
   * promise rejects with ECANCELED.
   *
   * C: `epoll(7)` or `poll(2)`.
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
   */
  async ready(
    events: WaitEvents,
    options?: WaitOptions,
  ): Promise<PollEvent[]> {
    const { abi } = this.#libc;
    const limits = limitsOf(readFor("ready", options));
    const mask = maskOf(abi, events);
    this.#use("poll");
    return eventsOf(
      abi,
      await this.#io.untilReady(mask, limits, Socket.prototype.ready),
    );
  }

  /**
   * Gives the socket its own address.
   *
   * C: `bind(2)`.
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
   */
  bind(address: Address): void {
    checkAddress(address);
    this.#use("bind", address);
    const target = demand(this.#libc, address);
    const result = this.#connecting.bind(this.#libc, this.#fd, target);
    this.#check("bind", result, address, Socket.prototype.bind);
  }

  /**
   * The address on this side. Before connect and bind it is all zeros, or an
   * unnamed Unix address.
   *
   * C: `getsockname(2)`.
   */
  get localAddress(): Address {
    this.#use("getsockname");
    return localAddressOf(this.#libc, this.#fd);
  }

  /**
   * The address on the other side, `null` if there is none.
   *
   * C: `getpeername(2)`; `ENOTCONN` is `null` here, and
   * `EINVAL`, which macOS has for a socket that failed or was shut down.
   */
  get remoteAddress(): Address | null {
    this.#use("getpeername");
    return peerAddressOf(this.#libc, this.#fd);
  }

  /**
   * The address on this side in Deno's words, as a plain object: what
   * {@linkcode Socket.localAddress} is to C, this is to code that takes a
   * `Deno.Conn`.
   *
   * C: `getsockname(2)`.
   *
   * @throws {NotSupportedError} If `Deno.Conn` has no form for addresses of
   * this family.
   */
  get localAddr(): DenoAddr {
    return denoAddrOf("localAddr", this.localAddress, this.#isStream);
  }

  /**
   * The address on the other side in Deno's words, as a plain object: what
   * {@linkcode Socket.remoteAddress} is to C, this is to code that takes a
   * `Deno.Conn`.
   *
   * C: `getpeername(2)`.
   *
   * @throws {ErrnoError} `ENOTCONN` if there is none.
   * @throws {NotSupportedError} If `Deno.Conn` has no form for addresses of
   * this family.
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
   */
  get remoteAddr(): DenoAddr {
    const address = this.remoteAddress;
    if (address === null) {
      throw errnoError("ENOTCONN", { syscall: "getpeername" });
    }
    return denoAddrOf("remoteAddr", address, this.#isStream);
  }

  /**
   * Takes the error that is pending on the socket, which clears it.
   *
   * C: `getsockopt(2)` with `SO_ERROR`.
   *
   * @returns The error, `null` if there is none.
   */
  takeError(): ErrnoError | null {
    this.#use("getsockopt");
    return this.#connecting.takeError(this.#libc, this.#fd);
  }

  /**
   * Waits until something is to be read or may be written.
   *
   * Blocks the calling thread. Readiness is a hint: errors and hang-ups are
   * reported without being asked for, and spurious wake-ups happen. A signal
   * does not end the wait.
   *
   * C: `poll(2)`.
   *
   * @param events What to wait for: `"POLLIN"`, `"POLLOUT"`, or both.
   * @param timeout Milliseconds; 0 to look without waiting, `Infinity` by
   * default.
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
   */
  poll(events: WaitEvents, timeout: number = Infinity): PollEvent[] {
    const { abi } = this.#libc;
    const mask = maskOf(abi, events);
    const end = performance.now() + checkTimeout(timeout);
    this.#use("poll");
    const result = pollUntil(this.#libc, this.#fd, mask, end);
    this.#check("poll", result, null, Socket.prototype.poll);
    return eventsOf(abi, result);
  }

  /**
   * Sets an option by name, or any option by the system's own numbers.
   *
   * C: `setsockopt(2)`.
   *
   * @param name The option.
   * @param value Its value, in the units that {@linkcode SocketOptions} names.
   * @throws {RangeError} If the value is out of range.
   * @throws {TypeError} If it is of the wrong kind.
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
   */
  setOption<N extends SocketOptionName>(
    name: N,
    value: SocketOptions[N],
  ): void;
  /**
   * Sets any option by the system's own numbers.
   *
   * Options of the network layer can send packets by themselves, or redirect
   * others: on Deno, those without a name here need the permission for every
   * address.
   *
   * @param level The level: `SOL_SOCKET`, `IPPROTO_TCP`, ...
   * @param name The option's number at that level.
   * @param value An int, or the bytes of whatever the option takes.
   * @throws {Error} The runtime's own error, if the option reaches farther than the
   * program may.
   */
  setOption(level: number, name: number, value: number | Uint8Array): void;
  setOption(
    nameOrLevel: SocketOptionName | number,
    valueOrName: unknown,
    value?: number | Uint8Array,
  ): void {
    this.#use("setsockopt");
    const libc = this.#libc;
    if (typeof nameOrLevel === "number") {
      setRawOption(libc, this.#fd, nameOrLevel, valueOrName as number, value!);
    } else {
      const checked = checkOption(libc.abi, nameOrLevel, valueOrName as never);
      // To read a value may have run code that has closed the socket.
      this.#use("setsockopt");
      setChecked(libc, this.#fd, this.#family, nameOrLevel, checked);
    }
  }

  /**
   * Reads an option by name, or any int-valued option by the system's numbers.
   *
   * C: `getsockopt(2)`.
   *
   * @param name The option.
   * @returns Its value, in the units that {@linkcode ReadableSocketOptions}
   * names.
   * @throws {NotSupportedError} If this system has no such option.
   * @throws {ErrnoError} If the system refuses.
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
   * At levels other than those of sockets, IP, TCP and MPTCP, reading needs the
   * permission for every address on Deno, since there it may do more than read.
   *
   * C: `getsockopt(2)`.
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
   * C: `getsockopt(2)` with `TCP_INFO`.
   *
   * @returns The state, and the round trip as the kernel measured it, without
   * any cost of the runtime.
   * @throws {NotSupportedError} If this system does not report it.
   * @throws {ErrnoError} If it is no TCP socket.
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
   * C: `send(2)`, `sendto(2)`, with `MSG_NOSIGNAL`.
   *
   * @param data What to send; one datagram on a socket of that kind. Text goes
   * in UTF-8.
   * @param options The receiver, and flags.
   * @returns How many bytes were taken.
   * @throws {ErrnoError} If the system refuses, `EAGAIN` if a non-blocking
   * socket has no room.
   * @throws {TypeError} If `data` is detached.
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
   * assertEquals(sender.sendSync("abc"), 3);
   * assertEquals(receiver.recvSync(new Uint8Array(16)), 3);
   * ```
   */
  sendSync(data: Uint8Array | string, options?: SendOptions): number {
    const { to, flags } = readTransfer("sendSync", options);
    const bytes = encoded(data);
    const size = checkBytes("data", bytes);
    const target = this.#demandSend(to);
    const place = target === null ? null : bytesOf(target);
    const result = this.#io.sendOnce(bytes, size, flags, place);
    return this.#io.checked("sendto", result, target);
  }

  /**
   * Sends bytes, as many as the system takes in one call, and waits for room
   * without holding the thread, whether the socket is non-blocking or not.
   *
   * A peer that is gone is an EPIPE error, never a signal. If the socket is
   * closed meanwhile, the promise rejects with ECANCELED. Do not change the
   * data before the promise settles. Calls that send take turns in the order in
   * which they were made, for each `to` alone where that is a Unix socket, which
   * has room of its own; {@linkcode Socket.sendSync} does not wait for its turn.
   *
   * C: `send(2)`, `sendto(2)`, with `MSG_NOSIGNAL` and `MSG_DONTWAIT`; then
   * `epoll(7)` or `poll(2)`.
   *
   * @param data What to send; one datagram on a socket of that kind. Text goes
   * in UTF-8.
   * @param options The receiver, flags, and limits for the wait.
   * @returns How many bytes were taken, which may be fewer than there are on a
   * stream; {@linkcode Socket.sendAll} and {@linkcode Socket.writable} send all.
   * @throws {ErrnoError} If the system refuses; `ETIMEDOUT` with `timeoutKind`
   * `"deadline"` if there was no room within `options.timeout`.
   * @throws {TypeError} If the buffer is detached, also while the call waits.
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
   */
  async send(
    data: Uint8Array | string,
    options?: SendOptions & WaitOptions,
  ): Promise<number> {
    const { to, flags, limits } = readTransfer("send", options);
    const bytes = encoded(data);
    checkBytes("data", bytes);
    const target = this.#demandSend(to);
    return await this.#io.sendOut(
      bytes,
      flags,
      target,
      limits,
      Socket.prototype.send,
    );
  }

  /**
   * Sends all of it, in as many calls as that takes; what other calls send that
   * wait comes before or after it.
   *
   * `timeout` is for the whole. After a failure, `bytesSent` of the error is
   * how many bytes the system had taken; the peer may have received fewer.
   *
   * C: `send(2)` with `MSG_NOSIGNAL` and `MSG_DONTWAIT`; then `epoll(7)` or
   * `poll(2)`.
   *
   * @param data What to send. Text goes in UTF-8.
   * @param options Flags, and limits for the wait.
   * @throws {ErrnoError} As {@linkcode Socket.send}.
   * @throws {TypeError} If the buffer is detached, also while the call waits; it
   * has `bytesSent`, too.
   *
   * @example A request and its reply, within a second each
   * ```ts
   * import { connect } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
   * using socket = await connect({ port: listener.addr.port });
   * using peer = await listener.accept();
   * await socket.sendAll("PING\r\n", { timeout: 1000 });
   * await peer.read(new Uint8Array(16));
   * await peer.write(new TextEncoder().encode("+PONG\r\n$"));
   * const line = await socket.recvUntil("\r\n", { timeout: 1000 });
   * assertEquals(new TextDecoder().decode(line), "+PONG\r\n");
   * assertEquals((await socket.recvExactly(1))[0], 0x24);
   * ```
   */
  async sendAll(
    data: Uint8Array | string,
    options?: ReceiveOptions & WaitOptions,
  ): Promise<void> {
    const { flags, limits } = readTransfer("recv", options);
    const bytes = encoded(data);
    checkBytes("data", bytes);
    this.#demandSend(null);
    const ours = Socket.prototype.sendAll;
    await sendAll(this.#io, bytes, flags, limits, ours);
  }

  /**
   * Receives bytes, as many as there are, or one datagram.
   *
   * On a blocking socket it waits for some. A datagram that is longer than the
   * buffer is cut, and its rest is lost.
   *
   * C: `recv(2)`.
   *
   * @param buffer Where to put them.
   * @param options Flags.
   * @returns How many there were; on a stream, 0 means that the peer sends no
   * more.
   * @throws {ErrnoError} If the system refuses, `EAGAIN` if a non-blocking
   * socket has nothing.
   * @throws {Error} The runtime's own error, for datagrams from everybody: on a
   * socket that has no peer and is not bound, if the program may not listen.
   * @throws {TypeError} If `buffer` is detached.
   */
  recvSync(buffer: Uint8Array, options?: ReceiveOptions): number {
    return this.#receive(buffer, options, null);
  }

  /**
   * Receives as {@linkcode Socket.recvSync} does, and returns the sender, too.
   *
   * C: `recvfrom(2)`.
   *
   * @param buffer Where to put the bytes.
   * @param options Flags.
   * @returns How many there were, and the sender's address; that of a sender
   * without a name, and of a stream's, is unspecified.
   * @throws {Error} The runtime's own error, for datagrams from everybody: on a
   * socket that has no peer and is not bound, if the program may not listen.
   */
  recvFromSync(
    buffer: Uint8Array,
    options?: ReceiveOptions,
  ): [size: number, from: Address] {
    const from: Address[] = [];
    const size = this.#receive(buffer, options, from);
    return [size, from[0]!];
  }

  /**
   * Receives bytes, as many as there are, or one datagram, and waits for some
   * without holding the thread, whether the socket is non-blocking or not. A
   * datagram that is longer than the buffer is cut, and its rest is lost; with
   * `MSG_TRUNC` among the flags, Linux returns how long it was.
   *
   * If the socket is closed meanwhile, the promise rejects with ECANCELED.
   * Calls that receive take turns in the order in which they were made, and one
   * that takes several parts has its turn until it has all of them. Those with
   * `MSG_OOB` or `MSG_ERRQUEUE` take what no other call is after, and
   * {@linkcode Socket.recvSync} does not wait for its turn.
   *
   * C: `recv(2)` with `MSG_DONTWAIT`; then `epoll(7)` or `poll(2)`.
   *
   * @param buffer Where to put them.
   * @param options Flags, and limits for the wait.
   * @returns How many there were; on a stream, 0 means that the peer sends no
   * more.
   * @throws {ErrnoError} If the system refuses; `ETIMEDOUT` with `timeoutKind`
   * `"deadline"` if nothing came within `options.timeout`.
   * @throws {Error} The runtime's own error, for datagrams from everybody: on a
   * socket that has no peer and is not bound, if the program may not listen.
   * @throws {TypeError} If the buffer is detached, also while the call waits.
   */
  async recv(
    buffer: Uint8Array,
    options?: ReceiveOptions & WaitOptions,
  ): Promise<number> {
    const { flags, limits } = readTransfer("recv", options);
    checkBytes("buffer", buffer);
    this.#use("recvfrom");
    return await this.#io.receive(
      buffer,
      flags,
      null,
      limits,
      Socket.prototype.recv,
    );
  }

  /**
   * Receives as {@linkcode Socket.recv} does, and returns the sender, too.
   *
   * C: `recvfrom(2)` with `MSG_DONTWAIT`; then `epoll(7)` or `poll(2)`.
   *
   * @param buffer Where to put the bytes.
   * @param options Flags, and limits for the wait.
   * @returns How many there were, and the sender's address; that of a sender
   * without a name, and of a stream's, is unspecified.
   * @throws {Error} The runtime's own error, for datagrams from everybody: on a
   * socket that has no peer and is not bound, if the program may not listen.
   */
  async recvFrom(
    buffer: Uint8Array,
    options?: ReceiveOptions & WaitOptions,
  ): Promise<[size: number, from: Address]> {
    const { flags, limits } = readTransfer("recv", options);
    checkBytes("buffer", buffer);
    this.#use("recvfrom");
    const from: Address[] = [];
    const size = await this.#io.receive(
      buffer,
      flags,
      from,
      limits,
      Socket.prototype.recvFrom,
    );
    return [size, from[0]!];
  }

  /**
   * Receives exactly `size` bytes of a stream.
   *
   * `timeout` is for the whole. On failure the bytes received so far are lost,
   * except that {@linkcode UnexpectedEndError} holds them.
   *
   * C: `recv(2)` with `MSG_DONTWAIT`; then `epoll(7)` or `poll(2)`.
   *
   * @param size How many, 0 to 2147483647.
   * @param options Flags, and limits for the wait.
   * @returns The bytes.
   * @throws {UnexpectedEndError} If the peer ends the connection before.
   * @throws {TypeError} If it is no stream: of a datagram that is longer, the
   * rest would be lost.
   * @throws {RangeError} If `flags` have `MSG_PEEK`: the same bytes would come
   * again.
   * @throws {ErrnoError} As {@linkcode Socket.recv}.
   */
  async recvExactly(
    size: number,
    options?: ReceiveOptions & WaitOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { flags, limits } = readTransfer("recv", options);
    checkInteger("size", size, INT_MAX);
    this.#use("recvfrom");
    checkStreamType(this.#libc.abi, this.#type, "recvExactly()");
    const ours = Socket.prototype.recvExactly;
    return await receiveExactly(this.#io, size, flags, limits, ours);
  }

  /**
   * Receives the bytes of a stream up to a delimiter, and with it. What comes
   * after it is left for the next call.
   *
   * `timeout` is for the whole. On failure the bytes received so far are lost,
   * except that {@linkcode UnexpectedEndError} holds them.
   *
   * C: `recv(2)` with `MSG_DONTWAIT`, once with `MSG_PEEK` and once without;
   * then `epoll(7)` or `poll(2)`.
   *
   * @param delimiter What to look for: text, or at least one byte.
   * @param options How much to receive at most, flags, and limits for the wait.
   * @returns All of it, the delimiter at its end.
   * @throws {UnexpectedEndError} If the peer ends the connection before.
   * @throws {TypeError} If it is no stream: what comes after the delimiter in a
   * datagram would be lost.
   * @throws {RangeError} If `flags` have `MSG_PEEK`, or `delimiter` is empty.
   * @throws {ErrnoError} `EMSGSIZE` if there is no delimiter within the limit;
   * the rest as {@linkcode Socket.recv}.
   */
  async recvUntil(
    delimiter: Uint8Array | string,
    options?: ReceiveUntilOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { flags, limits, limit } = readTransfer("recvUntil", options);
    const bytes = copyOf("delimiter", encoded(delimiter));
    if (bytes.length === 0) {
      throw new RangeError("Cannot use delimiter of 0 bytes: it is everywhere");
    }
    this.#use("recvfrom");
    checkStreamType(this.#libc.abi, this.#type, "recvUntil()");
    return await pointingAt(
      Socket.prototype.recvUntil,
      () => receiveUntil(this.#io, bytes, limit, flags, limits),
    );
  }

  /**
   * Reads as `Deno.Conn` does.
   *
   * C: `recv(2)`, `epoll(7)` or `poll(2)`.
   *
   * @param buffer Where to put the bytes.
   * @returns How many there were, `null` if the peer of a stream sends no more;
   * 0 for a buffer without room.
   * @throws {ErrnoError} If the system refuses.
   */
  async read(buffer: Uint8Array): Promise<number | null> {
    const room = checkBytes("buffer", buffer);
    this.#use("recvfrom");
    if (room === 0) return 0;
    const size = await this.#io.receive(
      buffer,
      0,
      null,
      NO_LIMITS,
      Socket.prototype.read,
    );
    // A datagram may be empty, and is no end.
    return size === 0 && !this.#isDatagram ? null : size;
  }

  /**
   * Writes as `Deno.Conn` does: as many bytes as the system takes in one call.
   *
   * C: `send(2)`, `epoll(7)` or `poll(2)`.
   *
   * @param data The bytes.
   * @returns How many were taken, which may be fewer than there are.
   * @throws {ErrnoError} If the system refuses.
   */
  async write(data: Uint8Array): Promise<number> {
    checkBytes("data", data);
    const target = this.#demandSend(null);
    return await this.#io.sendOut(
      data,
      0,
      target,
      NO_LIMITS,
      Socket.prototype.write,
    );
  }

  /**
   * What comes in, as a stream of bytes; the same one each time.
   *
   * It ends when the peer sends no more, and waits for data only while it is
   * being read. Of datagrams each is a chunk, as long as there is room for it in
   * the memory that the reader brings, 256 KiB without; an empty one is left out,
   * and there is no end. When this stream and {@linkcode Socket.writable} have both
   * ended, been canceled, aborted or failed, the socket closes, as `Deno.Conn`
   * does; the end of one alone leaves it open.
   *
   * C: `recv(2)`, `epoll(7)` or `poll(2)`.
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
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#use("recvfrom");
    return this.#readable ??= readableOf(this.#ends(), !this.#isStream);
  }

  /**
   * What goes out, as a stream; the same one each time.
   *
   * Each chunk is sent whole. To close the stream lets the peer know that no
   * more will come, as {@linkcode Socket.closeWrite} does; aborting it sends
   * the peer nothing. {@linkcode Socket.readable} says when the socket closes.
   *
   * C: `send(2)`, `epoll(7)` or `poll(2)`, `shutdown(2)`.
   */
  get writable(): WritableStream<Uint8Array> {
    this.#use("sendto");
    return this.#writable ??= writableOf(this.#ends());
  }

  /**
   * Lets the peer know that no more will come; what it sends still arrives.
   * Where the peer has reset the connection by then, nothing is left to do.
   *
   * C: `shutdown(2)` with `SHUT_WR`.
   *
   * @throws {ErrnoError} `ENOTCONN` if there never was a connection.
   */
  // deno-lint-ignore require-await
  async closeWrite(): Promise<void> {
    this.#closeWrite();
  }

  /**
   * Lets waits keep the process alive, as they do from the beginning.
   *
   * An idle socket never keeps the process alive.
   */
  ref(): void {
    this.#isRef = true;
    if (this.#transfers !== null) this.#transfers.isRef = true;
  }

  /**
   * Keeps waits for data from keeping the process alive.
   *
   * Waits that are shared with other sockets cannot do that, so this one is
   * looked at every 10 ms instead, and data may be noticed that much later. An
   * attempt to connect keeps the process alive nevertheless.
   */
  unref(): void {
    this.#isRef = false;
    if (this.#transfers !== null) this.#transfers.isRef = false;
  }

  /**
   * Lets others connect to the socket, which has to be bound.
   *
   * For what the runtime serves, its own servers are the better choice: this is
   * for seqpacket, vsock, Multipath TCP, and tests.
   *
   * C: `listen(2)`.
   *
   * @param backlog How many may wait to be accepted, 0 to 2147483647; 128 by
   * default. The system has a limit of its own.
   * @throws {ErrnoError} `EADDRINUSE`, `EOPNOTSUPP` for datagrams, `EINVAL` for
   * a socket that is connected, ...
   * @throws {Error} The runtime's own error, if the program may not listen on
   * the address on this side.
   *
   * @example Packets within this machine, which no runtime serves
   * ```ts
   * import { Socket, unix } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const at = unix(`${await Deno.makeTempDir()}/packets.sock`);
   * using listener = Socket.open({ family: "unix", type: "seqpacket" });
   * listener.bind(at);
   * listener.listen();
   * using socket = Socket.open({ family: "unix", type: "seqpacket" });
   * const [accepted] = await Promise.all([
   *   listener.accept({ timeout: 1000 }),
   *   socket.connect(at),
   * ]);
   * using peer = accepted;
   * socket.sendSync("one packet");
   * assertEquals(peer.recvSync(new Uint8Array(64)), 10);
   * ```
   */
  listen(backlog: number = 128): void {
    checkInteger("backlog", backlog, INT_MAX);
    this.#use("listen");
    // Of the kernel: anybody may give this object another property of that name.
    const local = demand(this.#libc, localAddressOf(this.#libc, this.#fd));
    const result = this.#libc.listen(this.#fd, backlog);
    this.#check("listen", result, local);
  }

  /**
   * Takes the next connection of a socket that listens, and waits for one.
   *
   * Blocks the calling thread, on a non-blocking socket too.
   *
   * C: `accept4(2)`, or `accept(2)` and `fcntl(2)`; `poll(2)`.
   *
   * @param options How long to wait.
   * @returns The connection, as a blocking socket. The caller owns it and closes
   * it.
   * @throws {ErrnoError} `EINVAL` if it does not listen; `EMFILE`, ...;
   * `ETIMEDOUT` with `timeoutKind` `"deadline"` if no connection came in time.
   */
  acceptSync(options?: Pick<WaitOptions, "timeout">): Socket {
    const timeout = checkTimeout(readFor("acceptSync", options).timeout);
    this.#use("accept");
    return this.#accepted(acceptBlocking(this.#libc, this.#fd, timeout));
  }

  /**
   * Takes the next connection of a socket that listens, and waits for one
   * without holding the thread. The socket becomes non-blocking, and stays so.
   *
   * If the socket is closed meanwhile, the promise rejects with ECANCELED.
   * Calls that accept take turns in the order in which they were made.
   *
   * C: `accept4(2)`, or `accept(2)` and `fcntl(2)`; `epoll(7)` or `poll(2)`.
   *
   * @param options Limits for the wait.
   * @returns The connection, as a blocking socket. The caller owns it and closes
   * it.
   * @throws {ErrnoError} As {@linkcode Socket.acceptSync}.
   */
  async accept(options?: WaitOptions): Promise<Socket> {
    const limits = limitsOf(readFor("accept", options));
    this.#use("accept");
    limits.signal?.throwIfAborted();
    if (!this.#isNonblocking) this.nonblocking = true;
    const fd = await pointingAt(
      Socket.prototype.accept,
      () =>
        acceptLater(this.#libc, this.#fd, this.#io, limits, () => this.#fd < 0),
    );
    return this.#accepted(fd);
  }

  /**
   * Ends one direction of the connection, or both.
   *
   * C: `shutdown(2)`.
   *
   * @param how The direction; `"write"` lets the peer know that no more will come.
   * @throws {ErrnoError} `ENOTCONN` if there is no connection.
   */
  shutdown(how: "read" | "write" | "both"): void {
    this.#use("shutdown");
    const direction = numberFor(this.#libc.abi, "how", DIRECTIONS, how);
    const result = this.#libc.shutdown(this.#fd, direction);
    this.#check("shutdown", result, null, Socket.prototype.shutdown);
  }

  /**
   * Gives the descriptor away, open, exactly once.
   *
   * From then on the caller has to close it, and this object counts as closed.
   *
   * @returns The descriptor.
   * @throws {ErrnoError} `EBADF` if it was given up before.
   */
  detach(): number {
    this.#use("detach");
    const fd = this.#giveUp();
    if (this.#mayBeKnown()) forget(this.#libc, fd);
    return fd;
  }

  /**
   * Makes the connection a socket of `node:net`, for everything that takes one:
   * `node:http`, `node:tls`, `node:http2`, ...
   *
   * The descriptor belongs to the new socket from then on, and this object
   * counts as closed. On failure this object keeps the descriptor, unless the
   * connection is over. Where the peer has reset the connection by then, the
   * new socket reports it by its `"error"` event, as usual.
   *
   * TLS goes on top of it: `tls.connect({ socket: socket.toNodeSocket() })`.
   * `Deno.startTls` takes only connections of Deno's own.
   *
   * @returns The other socket. The caller owns it and ends it.
   * @throws {NotSupportedError} If the runtime cannot make one of a descriptor.
   * @throws {TypeError} If it is no stream.
   * @throws {ErrnoError} `ENOTCONN` if it never was connected; the connection's
   * own error, such as `ECONNRESET`, if it is over on a socket that came from
   * elsewhere, which is closed then; `EBADF` if it was given up before.
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
    const adopt = nodeSocketOf();
    this.#checkStream("toNodeSocket()", Socket.prototype.toNodeSocket);
    const socket = adopt(this.#fd);
    this.detach();
    return socket;
  }

  /**
   * Makes the connection a socket of Bun's own.
   *
   * The descriptor belongs to the new socket from then on, and this object
   * counts as closed. If Bun refuses the descriptor, it is closed.
   *
   * @param handlers What Bun calls when something happens; `data` or `drain` has
   * to be there.
   * @returns The other socket. The caller owns it and ends it.
   * @throws {NotSupportedError} If the runtime cannot: Deno and Node, which have
   * {@linkcode Socket.toNodeSocket}.
   * @throws {TypeError} If it is no stream, or if Bun could not use `handlers`.
   * @throws {ErrnoError} `ENOTCONN` if it is not connected; `EBADF` if it was
   * given up before.
   */
  async toBunSocket(handlers: BunSocketHandlers): Promise<BunSocket> {
    const checked = checkHandlers(handlers);
    this.#use("detach");
    const adopt = bunSocketOf();
    this.#checkStream("toBunSocket()", Socket.prototype.toBunSocket);
    return await adopt(this.#libc, this.detach(), checked);
  }

  /**
   * Closes the descriptor. Closing a second time does nothing.
   *
   * C: `close(2)`, once: after EINTR, too, the descriptor is gone.
   *
   * @throws {ErrnoError} `EBADF` if other code has closed the descriptor, which
   * means that some code uses a number that it does not own.
   */
  close(): void {
    if (this.#fd < 0) return;
    // Before the waits end, for what runs then may close the socket again.
    const fd = this.#giveUp();
    if (this.#mayBeKnown()) cancelWaits(this.#libc, fd);
    const result = this.#libc.close(fd);
    if (result === -this.#libc.abi.errnos.EBADF) {
      throw errnoErrorFor(-result, {
        syscall: "close",
        subject: `descriptor ${fd}`,
      }, Socket.prototype.close);
    }
  }

  /** Closes the descriptor, as {@linkcode Socket.close} does. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Closes the descriptor, as {@linkcode Socket.close} does, at once. */
  // deno-lint-ignore require-await
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #errand(
    address: Address,
    written: { timeout?: unknown; signal?: unknown; softErrors?: unknown },
  ): Errand {
    const softErrors = checkSoftErrors(written.softErrors);
    const limits = limitsOf(written);
    checkAddress(address);
    this.#use("connect", address);
    limits.signal?.throwIfAborted();
    const target = demand(this.#libc, address);
    return errandTo(target, limits, softErrors);
  }

  /** What goes through the descriptor. */
  get #io(): Transfers {
    if (this.#transfers === null) {
      this.#transfers = new Transfers(this.#libc, this.#fd, {
        peer: () =>
          this.#connecting.target?.toString() ?? peerText(this.#libc, this.#fd),
        admit: () => this.#demandReceive(),
        drain: () => {
          if (this.#fd >= 0) this.#connecting.takeIcmp(this.#libc, this.#fd);
        },
      });
      if (!this.#isRef) this.#transfers.isRef = false;
    }
    return this.#transfers;
  }

  get #isStream(): boolean {
    return this.#type === this.#libc.abi.SOCK_STREAM;
  }

  get #isDatagram(): boolean {
    return this.#type === this.#libc.abi.SOCK_DGRAM;
  }

  /** Takes the descriptor out of this object. */
  #giveUp(): number {
    const fd = this.#fd;
    this.#fd = -1;
    this.#transfers?.end();
    this.#connecting.giveUp();
    this.#reporter.release(this.#place);
    return fd;
  }

  /** Whether the reactor may know the descriptor. */
  #mayBeKnown(): boolean {
    return this.#hasWaited || this.#transfers?.hasWaited === true;
  }

  /** Makes sure that the runtime's streams can take it over. */
  #checkStream(method: string, ours: PublicFunction): void {
    const { isConnected } = this.#connecting;
    checkStreamType(this.#libc.abi, this.#type, method);
    this.#demandSend(null);
    if (isConnected || peerAddressOf(this.#libc, this.#fd) !== null) return;
    const errno = this.#adopted ? takeErrno(this.#libc, this.#fd) : 0;
    if (errno <= 0) {
      throw errnoError("ENOTCONN", { syscall: "getpeername" }, ours);
    }
    // Once the error is taken, nothing else shows that it was connected.
    this.close();
    throw errnoErrorFor(errno, { syscall: "getpeername" }, ours);
  }

  /** Asks for permission to send, and returns where to. */
  #demandSend(to: Address | null): Address | null {
    this.#use("sendto", to);
    if (to !== null) return demand(this.#libc, to);
    if (this.#adopted && !this.#libc.permissions.net()) {
      const peer = peerAddressOf(this.#libc, this.#fd);
      // A stream without a peer sends nothing to anybody.
      if (peer !== null || !this.#isStream) demandPeer(this.#libc, peer);
    }
    return null;
  }

  /** Asks for permission to receive from everybody, where there is no peer. */
  #demandReceive(): void {
    const { isConnected, isBound } = this.#connecting;
    const isOpenToAll = !this.#isStream && !isConnected && !isBound;
    if (isOpenToAll) demandSenders(this.#libc, this.#fd);
  }

  #receive(
    buffer: Uint8Array,
    options: ReceiveOptions | undefined,
    from: Address[] | null,
  ): number {
    const { flags } = readTransfer("recvSync", options);
    const size = checkBytes("buffer", buffer);
    this.#use("recvfrom");
    const result = this.#io.receiveOnce(buffer, size, flags, from);
    return this.#io.checked("recvfrom", result, null);
  }

  /** What this socket does for its streams. */
  #ends(): Ends {
    return {
      receive: (buffer, limits) => {
        if (this.#fd < 0) throw canceled("recvfrom");
        return nextChunk(this.#io, buffer, limits, this.#isDatagram);
      },
      recall: () => this.#transfers?.recall(),
      send: (data, limits) => {
        if (this.#fd < 0) throw canceled("sendto");
        this.#demandSend(null);
        return sendAll(this.#io, data, 0, limits, null);
      },
      closeWrite: () => {
        if (this.#fd >= 0) this.#closeWrite();
      },
      ended: () => {
        if (++this.#streamsEnded === 2) this.close();
      },
    };
  }

  #closeWrite(): void {
    this.#use("shutdown");
    const { SHUT_WR, errnos } = this.#libc.abi;
    const result = this.#libc.shutdown(this.#fd, SHUT_WR);
    // Of a socket that came from elsewhere it is not known.
    const isOver = result === -errnos.ENOTCONN &&
      (this.#connecting.isConnected || this.#adopted);
    if (!isOver) this.#check("shutdown", result);
  }

  /** Makes a socket of a connection that was taken. */
  #accepted(fd: number): Socket {
    const { BLOCKING } = Past;
    const done = Connecting.done();
    return socketOf(this.#libc, fd, this.#family, this.#type, BLOCKING, done);
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
    at?: PublicFunction,
  ): number {
    if (result >= 0) return result;
    const context = { syscall, address: address?.toString() };
    throw errnoErrorFor(-result, context, at);
  }
}

/**
 * Makes a socket of a descriptor that was opened here and has no other owner.
 */
export function socketOf(...parts: Parts): Socket {
  type Closed = new (seal: symbol, ...parts: Parts) => Socket;
  return new (Socket as unknown as Closed)(SOCKET_SEAL, ...parts);
}
