/**
 * From a name or an address to a connected socket.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { type Address, bytesOf, inet, inet6 } from "../address/address.ts";
import { isSelfConnected, PENDING, turnBefore } from "../attempt/attempt.ts";
import { checkFunction, checkMilliseconds } from "../errors/arguments.ts";
import {
  ErrnoError,
  errnoError,
  errnoErrorFor,
  isErrno,
} from "../errors/errors.ts";
import {
  type IpAddress,
  lookup,
  type LookupQuery,
  lookupSync,
} from "../address/lookup.ts";
import {
  checkOption,
  isSupported,
  type SocketOptionName,
  type SocketOptions,
} from "../socket/options.ts";
import { type Contender, interleave, race } from "./race.ts";
import { ABORTED } from "../reactor/reactor.ts";
import {
  type AttemptOptions,
  awaitSocket,
  beginSocket,
  bindSocket,
  connectError,
  connectSocketSync,
  openStream,
  portOf,
  Socket,
} from "../socket/socket.ts";
import { type ConnectTarget, planTarget, type TcpTarget } from "./target.ts";

/** How a connection is made. */
export interface DialOptions extends AttemptOptions {
  /**
   * Calls it off: {@linkcode connect} rejects with `signal.reason`. A call that
   * blocks cannot be reached once it waits, so {@linkcode connectSync} looks at
   * it only before it begins.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds until {@linkcode connect} starts on the next address of a host
   * name while the one before has not answered; 10 or more. Does not matter to
   * {@linkcode connectSync}, which tries one after the other.
   *
   * @default {250}
   */
  readonly attemptDelay?: number | undefined;
  /** Options that are set before connect(2), by name, in the order given. */
  readonly socketOptions?: Partial<SocketOptions> | undefined;
  /**
   * Called with each socket before connect(2), for whatever else it needs. An
   * exception ends the attempt.
   */
  readonly onSocket?: ((socket: Socket) => void) | undefined;
}

/** Everything that {@linkcode connect} and {@linkcode connectSync} take. */
export type ConnectOptions = ConnectTarget & DialOptions;

/**
 * The least time that one of several addresses gets before the next one's
 * turn, in ms, as long as there is so much: a share of a short timeout would
 * not outlast one lost SYN.
 */
const FAIR_SHARE = 2000;

/** How often an address is tried again after the kernel joined us to ourselves. */
const SELF_CONNECT_RETRIES = 3;

/**
 * The lowest port that a system hands out by itself. Linux refuses a lower
 * bound below the unprivileged ports, and no other system goes lower either.
 */
const LOWEST_EPHEMERAL_PORT = 1024;

/** RFC 8305, section 8: the recommended delay, and the least that may be. */
const ATTEMPT_DELAY = 250;
const LEAST_ATTEMPT_DELAY = 10;

/** The longest time a timer can be told, in ms; one for more fires at once. */
const LONGEST_TIMER = 0x7fff_ffff;

/** Which errno tells most, where several addresses failed in several ways. */
const TELLING = [
  "ECONNREFUSED",
  "ECONNRESET",
  "EACCES",
  "EPERM",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
] as const;

/**
 * Connects to a name or an address, and returns when the connection stands.
 *
 * Blocks the calling thread. A host name is resolved by the C library, and its
 * addresses are tried one after the other; each but the last gets an even share
 * of the time that is left, or two seconds if that is more. The socket is a
 * blocking one, has close-on-exec set, and on failure no descriptor is left
 * behind.
 *
 * On Deno the program needs the `ffi` permission, and besides whatever
 * `Deno.connect` would need: `net` for the host and port, `read` and `write`
 * for a path.
 *
 * @param options Where to, and how.
 * @param defaults The same for many targets; `options` wins over it.
 * @returns The connected socket. The caller owns it and closes it.
 * @throws {ErrnoError} The class of the errno: {@linkcode Errno}`.ECONNREFUSED`
 * and so on. Where several addresses failed, `errors` has each one's own and
 * the class is that of the most telling.
 * @throws {LookupError} If the name does not resolve.
 * @throws {TypeError} If an argument is of the wrong kind; {@linkcode RangeError}
 * if it is out of range; {@linkcode SyntaxError} if its text does not parse.
 *
 * @example Reaching a local listener
 * ```ts
 * import { connectSync } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * using socket = connectSync({ hostname: "127.0.0.1", port, timeout: 1000 });
 * assertEquals(`${socket.remoteAddress}`, `127.0.0.1:${port}`);
 * ```
 *
 * C: `getaddrinfo(3)`, `socket(2)`, `connect(2)`; if it has to wait, `poll(2)`,
 * `getsockopt(2)` with `SO_ERROR`.
 */
export function connectSync(
  options: ConnectOptions,
  defaults?: DialOptions,
): Socket {
  const dial = merge(options, defaults);
  dial.signal?.throwIfAborted();
  const timeout = checkMilliseconds("timeout", dial.timeout, Infinity);
  const start = performance.now();
  const c = libc();
  checkSetup(c, dial);
  const { addresses, local } = planTarget(c, dial);
  const candidates = isQuery(addresses)
    ? permitted(c, lookupSync(c, addresses, start + timeout))
    : addresses;
  // One address is not charged for the time it took to come by it.
  let share = timeout;
  const errors: ErrnoError[] = [];
  for (let left = candidates.length; left > 0; left--) {
    const address = candidates[candidates.length - left]!;
    if (candidates.length > 1 && timeout !== Infinity) {
      const rest = timeout - (performance.now() - start);
      if (rest <= 0 && errors.length > 0) break;
      share = Math.max(0, Math.min(rest, Math.max(rest / left, FAIR_SHARE)));
    }
    const result = attemptSync(address, local(address), share, dial, start);
    if (result instanceof Socket) return result;
    errors.push(result);
  }
  throw combine(addresses, errors, start);
}

/**
 * Connects to a name or an address, and resolves when the connection stands.
 *
 * Never blocks the thread: any number of attempts wait together. The addresses
 * of a host name are tried as RFC 8305 has it: the families take turns, the
 * next attempt starts after `attemptDelay` or as soon as one has failed, the
 * first to succeed wins and the others are closed. The socket is non-blocking,
 * has close-on-exec set, and whatever fails, is aborted or comes too late
 * leaves no descriptor behind.
 *
 * On Deno it needs the permissions that {@linkcode connectSync} needs.
 *
 * @param options Where to, and how.
 * @param defaults The same for many targets; `options` wins over it.
 * @returns The connected socket. The caller owns it and closes it.
 * @throws {ErrnoError} The class of the errno: {@linkcode Errno}`.ECONNREFUSED`
 * and so on; `ETIMEDOUT` with `timeoutKind` `"deadline"` if `timeout` passed.
 * Where several addresses failed, `errors` has each one's own and the class is
 * that of the most telling. An aborted `signal` rejects with its reason.
 * @throws {LookupError} If the name does not resolve.
 * @throws {TypeError} If an argument is of the wrong kind; {@linkcode RangeError}
 * if it is out of range; {@linkcode SyntaxError} if its text does not parse.
 *
 * @example Many at once
 * ```ts
 * import { connect } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * const sockets = await Promise.all(
 *   Array.from({ length: 100 }, () => connect({ port, timeout: 1000 })),
 * );
 * assertEquals(sockets.length, 100);
 * for (const socket of sockets) socket.close();
 * ```
 *
 * C: `getaddrinfo(3)`, `socket(2)`, `connect(2)`, `poll(2)` or `epoll(7)`,
 * `getsockopt(2)` with `SO_ERROR`, `getpeername(2)`.
 */
export function connect(
  options: ConnectOptions,
  defaults?: DialOptions,
): Promise<Socket> {
  try {
    const dial = merge(options, defaults);
    dial.signal?.throwIfAborted();
    const timeout = checkMilliseconds("timeout", dial.timeout, Infinity);
    const delay = checkMilliseconds(
      "attemptDelay",
      dial.attemptDelay,
      ATTEMPT_DELAY,
      LEAST_ATTEMPT_DELAY,
    );
    const start = performance.now();
    const c = libc();
    checkSetup(c, dial);
    const { addresses, local } = planTarget(c, dial);
    if (isQuery(addresses)) {
      return connectName(c, addresses, local, start, timeout, delay, dial);
    }
    const address = addresses[0]!;
    const from = local(address);
    const turn = turnBefore(c);
    if (turn === null) return connectOne(address, from, start, timeout, dial);
    return turn.then(() => {
      dial.signal?.throwIfAborted();
      return connectOne(address, from, start, timeout, dial);
    });
  } catch (error) {
    return Promise.reject(error);
  }
}

function connectOne(
  address: Address,
  local: Address | null,
  start: number,
  timeout: number,
  options: DialOptions,
): Promise<Socket> {
  const end = new Attempt(address, local, start, timeout, options, null).run();
  // Without an owner, who loses rejects.
  return end instanceof Promise ? end as Promise<Socket> : Promise.resolve(end);
}

async function connectName(
  c: Libc,
  query: LookupQuery,
  local: (to: Address) => Address | null,
  start: number,
  timeout: number,
  attemptDelay: number,
  options: DialOptions,
): Promise<Socket> {
  const { signal } = options;
  const found = await lookup(c, query, start + timeout, signal);
  await turnBefore(c);
  signal?.throwIfAborted();
  const result = await race(
    interleave(permitted(c, found)),
    Math.min(attemptDelay, LONGEST_TIMER),
    globalThis,
    (address) => contend(address, local(address), start, timeout, options),
    (socket) => socket.close(),
  );
  if ("won" in result) return result.won;
  throw combine(query, result.lost, start);
}

/** One address, with as many sockets as it takes. */
function attemptSync(
  address: Address,
  local: Address | null,
  timeout: number,
  options: DialOptions,
  start: number,
): Socket | ErrnoError {
  for (let retries = 0;; retries++) {
    const socket = openFor(address, local, timeout !== Infinity, options);
    if (!(socket instanceof Socket)) return socket;
    try {
      options.onSocket?.(socket);
      const errno = connectSocketSync(socket, address, timeout);
      if (errno !== 0) return lose(socket, errno, address, start, timeout);
      if (timeout !== Infinity) socket.nonblocking = false;
      const accident = selfConnection(socket, address, start);
      if (accident === null) return socket;
      if (retries === SELF_CONNECT_RETRIES) return accident;
    } catch (error) {
      socket.close();
      throw error;
    }
  }
}

/** The same without blocking. One object holds all that it needs to wait. */
class Attempt {
  readonly #address: Address;
  readonly #local: Address | null;
  readonly #start: number;
  readonly #timeout: number;
  readonly #options: DialOptions;
  readonly #owner: { socket: Socket | null } | null;
  #socket: Socket | null = null;
  #retries = 0;
  #resolve: ((end: Socket | Promise<Socket | ErrnoError>) => void) | null =
    null;
  #reject: ((reason: unknown) => void) | null = null;

  /**
   * @param owner Whoever may close the socket, and is told of a loss as a
   * result; `null` for nobody, and a loss rejects.
   */
  constructor(
    address: Address,
    local: Address | null,
    start: number,
    timeout: number,
    options: DialOptions,
    owner: { socket: Socket | null } | null,
  ) {
    this.#address = address;
    this.#local = local;
    this.#start = start;
    this.#timeout = timeout;
    this.#options = options;
    this.#owner = owner;
  }

  /** Opens a socket and connects it. What is done at once takes no promise. */
  run(): Socket | Promise<Socket | ErrnoError> {
    for (;;) {
      const socket = openFor(this.#address, this.#local, true, this.#options);
      if (!(socket instanceof Socket)) return this.#lose(socket);
      this.#socket = socket;
      if (this.#owner !== null) this.#owner.socket = socket;
      try {
        this.#options.onSocket?.(socket);
        const errno = beginSocket(socket, this.#address);
        if (errno === PENDING) return this.#wait();
        const end = this.#judge(errno);
        if (end !== null) return end;
      } catch (error) {
        socket.close();
        throw error;
      }
    }
  }

  #wait(): Promise<Socket | ErrnoError> {
    // A name took its time before, and so may other attempts have.
    const since = this.#owner === null ? this.#start : performance.now();
    const end = this.#start + this.#timeout;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      try {
        awaitSocket(this.#socket!, since, end, this.#options.signal, this);
      } catch (error) {
        // There is no descriptor left to wait with.
        this.#socket!.close();
        reject(error);
      }
    });
  }

  /** Takes the end of the wait. */
  tell(errno: number): void {
    try {
      if (errno === ABORTED) throw this.#options.signal!.reason;
      this.#resolve!(this.#judge(errno) ?? this.run());
    } catch (error) {
      this.#socket!.close();
      this.#reject!(error);
    }
  }

  /** What an answer comes to, `null` for another try. */
  #judge(errno: number): Socket | Promise<ErrnoError> | null {
    const socket = this.#socket!;
    const error = errno === 0
      ? selfConnection(socket, this.#address, this.#start)
      : lose(socket, errno, this.#address, this.#start, this.#timeout);
    if (error === null) return socket;
    return errno === 0 && this.#retries++ < SELF_CONNECT_RETRIES
      ? null
      : this.#lose(error);
  }

  #lose(error: ErrnoError): Promise<ErrnoError> {
    return this.#owner === null
      ? Promise.reject(error)
      : Promise.resolve(error);
  }
}

/** An attempt that may lose to another one. */
function contend(
  address: Address,
  local: Address | null,
  start: number,
  timeout: number,
  options: DialOptions,
): Contender<Socket, ErrnoError> {
  const owner = { socket: null as Socket | null };
  const end = new Attempt(address, local, start, timeout, options, owner).run();
  return {
    outcome: Promise.resolve(end)
      .then((end) => end instanceof Socket ? { won: end } : { lost: end }),
    abandon: () => owner.socket?.close(),
  };
}

/**
 * A socket with everything that has to be set before connect(2), or what stood
 * in the way: another address may do, as where one family is switched off.
 */
export function openFor(
  address: Address,
  local: Address | null,
  nonblocking: boolean,
  options: DialOptions & Pick<TcpTarget, "interface" | "localPortRange">,
): Socket | ErrnoError {
  let socket: Socket | null = null;
  try {
    socket = openStream(address, nonblocking);
    if (options.interface !== undefined) {
      socket.setOption("interface", options.interface);
    }
    if (options.socketOptions !== undefined) {
      setOptions(socket, options.socketOptions);
    }
    if (options.localPortRange !== undefined) {
      bindWithin(socket, address, local, options.localPortRange);
    } else if (local !== null) {
      bindSocket(socket, local);
    }
    return socket;
  } catch (error) {
    socket?.close();
    if (error instanceof ErrnoError) return error;
    throw error;
  }
}

/** Sees to it that a socket connects from a port of a range. */
function bindWithin(
  socket: Socket,
  address: Address,
  local: Address | null,
  range: readonly [low: number, high: number],
): void {
  if (!("hostname" in address)) return;
  if (canChooseFrom(address, range)) {
    socket.setOption("localPortRange", range);
    if (local === null) return;
    // Or else bind would choose already, a port for this connection alone.
    socket.setOption("bindAddressNoPort", true);
    return bindSocket(socket, local);
  }
  const [low, high] = range;
  const count = high - low + 1;
  const first = Math.floor(Math.random() * count);
  let error: unknown = errnoError("EADDRINUSE", {
    syscall: "bind",
    subject: `a port from ${low} to ${high}`,
  });
  for (let i = 0; i < count; i++) {
    const port = low + (first + i) % count;
    // From there, the socket could meet nobody but itself.
    if (port === address.port && count > 1) continue;
    try {
      return bindSocket(socket, withPort(local, address, port));
    } catch (caught) {
      if (!isErrno(caught, "EADDRINUSE")) throw caught;
      error = caught;
    }
  }
  throw error;
}

/**
 * Whether the kernel keeps to a range of ports. One that lies outside its own
 * range it takes and ignores, which shows in the port that it gives out then.
 */
function canChooseFrom(
  address: Address,
  range: readonly [low: number, high: number],
): boolean {
  const { abi } = libc();
  if (!isSupported(abi, "localPortRange")) return false;
  if (!isSupported(abi, "bindAddressNoPort")) return false;
  using probe = openStream(address, true);
  try {
    probe.setOption("localPortRange", range);
    bindSocket(probe, withPort(null, address, 0));
  } catch (error) {
    // All of them are bound to; connections may still share some.
    if (isErrno(error, "EADDRINUSE")) return true;
    if (isErrno(error, "ENOPROTOOPT")) return false;
    throw error;
  }
  const { localAddress } = probe;
  return "port" in localAddress && localAddress.port >= range[0] &&
    localAddress.port <= range[1];
}

/** An address on this side, any of the family if none is named. */
function withPort(
  local: Address | null,
  { family }: Address,
  port: number,
): Address {
  if (local?.family === "inet6") {
    return inet6(local.hostname, port, { scopeId: local.scopeId });
  }
  if (local?.family === "inet") return inet(local.hostname, port);
  return family === "inet6" ? inet6("::", port) : inet("0.0.0.0", port);
}

/** One set of options; nothing is copied where there are no defaults. */
function merge(
  options: ConnectOptions | undefined,
  defaults: DialOptions | undefined,
): ConnectOptions {
  return defaults === undefined && options !== undefined
    ? options
    : { ...defaults, ...options! };
}

/** Makes sure of what is set before connect(2), as far as that can be told. */
function checkSetup({ abi }: Libc, options: DialOptions): void {
  const { socketOptions, onSocket } = options;
  if (onSocket !== undefined) checkFunction("onSocket", onSocket);
  if (socketOptions === undefined) return;
  for (const [name, value] of Object.entries(socketOptions)) {
    if (value !== undefined) checkOption(abi, name as SocketOptionName, value);
  }
}

function setOptions(socket: Socket, options: Partial<SocketOptions>): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) socket.setOption(name as SocketOptionName, value);
  }
}

/** Closes a socket that did not make it, and tells why. */
function lose(
  socket: Socket,
  errno: number,
  address: Address,
  start: number,
  timeout: number,
): ErrnoError {
  const text = address.toString();
  const error = connectError(socket, errno, text, start, timeout);
  socket.close();
  return error;
}

/**
 * The error for a connection to itself: nobody listens at the address, and the
 * kernel happened to give our end the very port that we asked for, so that the
 * two ends met. Who binds a socket to that port wants just this, and gets it.
 *
 * Such a socket is closed by a reset, for whoever wants to listen on the port
 * would have to wait for the end of a TIME_WAIT.
 *
 * @returns `null` if the peer is somebody else.
 */
export function selfConnection(
  socket: Socket,
  address: Address,
  start: number,
): ErrnoError | null {
  if (!("hostname" in address)) return null;
  const { port } = address;
  if (port < LOWEST_EPHEMERAL_PORT || portOf(socket) === port) return null;
  if (!isSelfConnected(libc(), socket.fd, bytesOf(address))) return null;
  const text = address.toString();
  socket.setOption("linger", 0);
  socket.close();
  return errnoError("ECONNREFUSED", {
    syscall: "connect",
    address: text,
    localAddress: text,
    elapsed: performance.now() - start,
    detail: "nothing listens there, the socket connected to itself",
  });
}

/** A host as its caller named it. */
function nameOf({ hostname, port }: LookupQuery): string {
  return `${hostname}:${port}`;
}

function isQuery(
  addresses: readonly Address[] | LookupQuery,
): addresses is LookupQuery {
  return "hostname" in addresses;
}

/** Refuses a name if one of its addresses is denied, as the runtime does. */
export function permitted(c: Libc, addresses: IpAddress[]): IpAddress[] {
  for (const { hostname, port } of addresses) {
    c.permissions.demandResolved(hostname, port);
  }
  return addresses;
}

/** One error for several attempts. */
function combine(
  addresses: readonly Address[] | LookupQuery,
  errors: readonly ErrnoError[],
  start: number,
): ErrnoError {
  if (errors.length === 1 || !isQuery(addresses)) return errors[0]!;
  const code = TELLING.find((code) => errors.some((e) => e.code === code));
  const telling = errors.find((e) => e.code === code) ?? errors.at(-1)!;
  const each = errors.map((e) => `${e.address} ${e.code}`).join(", ");
  return errnoErrorFor(telling.errno, {
    syscall: telling.syscall,
    address: nameOf(addresses),
    elapsed: performance.now() - start,
    timeoutKind: telling.timeoutKind,
    detail: `all ${errors.length} addresses failed, ${each}`,
    errors,
  });
}
