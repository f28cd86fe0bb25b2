/**
 * From a name or an address to a connected socket.
 *
 * @module
 */
import { type Libc, libc } from "../ffi/libc.ts";
import {
  abstractUnix,
  type Address,
  inet,
  inet6,
  type Inet6Address,
  type InetAddress,
  parseIp,
  unix,
  vsock,
} from "./address.ts";
import { type ErrnoError, errnoError, errnoErrorFor } from "./errors.ts";
import { type LookupFamily, lookupSync } from "./lookup.ts";
import type { SocketOptionName, SocketOptions } from "./options.ts";
import { demand } from "./permission.ts";
import {
  type AttemptOptions,
  bindSocket,
  checkTimeout,
  connectError,
  connectSocket,
  Socket,
  type SocketFamily,
} from "./socket.ts";

/** A TCP port of a host. */
export interface TcpTarget {
  /** May be left out. */
  readonly transport?: "tcp";
  /**
   * A host name, or an IPv4 or IPv6 address in text form. A link-local address
   * takes its zone along: `fe80::1%eth0`.
   *
   * @default {"127.0.0.1"}
   */
  readonly hostname?: string;
  /** The port, 0 to 65535. */
  readonly port: number;
  /**
   * Which addresses of a host name are used.
   *
   * @default {undefined} Both, in the order that the system prefers.
   */
  readonly family?: LookupFamily | undefined;
  /** The address to connect from, in text form. */
  readonly localAddress?: string | undefined;
  /** The port to connect from. */
  readonly localPort?: number | undefined;
  /**
   * The network interface that the connection is bound to, by name.
   * `SO_BINDTODEVICE` on Linux, `IP_BOUND_IF` on Darwin and illumos.
   */
  readonly interface?: string | undefined;
}

/** A Unix-domain stream socket. */
export interface UnixTarget {
  readonly transport: "unix";
  /** The path; one that begins with a NUL is a name outside the file system. */
  readonly path: string;
}

/** A port of a virtual machine, or of its host. */
export interface VsockTarget {
  readonly transport: "vsock";
  /** The context identifier; 2 is the host. */
  readonly cid: number;
  /** The port, 32 bits. */
  readonly port: number;
}

/** What can be connected to. */
export type ConnectTarget = TcpTarget | UnixTarget | VsockTarget;

/** How a connection is made. */
export interface DialOptions extends AttemptOptions {
  /**
   * Ends the attempt before it begins; a call that blocks cannot be reached by
   * a signal once it waits.
   */
  readonly signal?: AbortSignal | undefined;
  /** Options that are set before connect(2), by name, in the order given. */
  readonly socketOptions?: Partial<SocketOptions> | undefined;
  /**
   * Called with each socket before connect(2), for whatever else it needs. An
   * exception ends the attempt.
   */
  readonly onSocket?: ((socket: Socket) => void) | undefined;
}

/** Everything that {@linkcode connectSync} takes. */
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
  defaults: DialOptions = {},
): Socket {
  const dial = { ...defaults, ...options };
  dial.signal?.throwIfAborted();
  const timeout = checkTimeout(dial.timeout);
  const start = performance.now();
  const c = libc();
  const { name, addresses, local, localPort } = plan(c, dial);
  const errors: ErrnoError[] = [];
  for (const [index, address] of addresses.entries()) {
    const left = addresses.length - index;
    const rest = Math.max(0, timeout - (performance.now() - start));
    const share = left === 1
      ? rest
      : Math.min(rest, Math.max(rest / left, FAIR_SHARE));
    const from = local ?? anyOf(address, localPort);
    const result = attempt(address, from, share, dial);
    if (result instanceof Socket) return result;
    errors.push(result);
    if (rest === 0) break;
  }
  throw errors.length === 1 ? errors[0]! : combine(name, errors, start);
}

/** What the options come to. */
interface Plan {
  /** The target as the caller named it. */
  readonly name: string;
  readonly addresses: readonly Address[];
  /** The address to connect from, if it is not left to the system. */
  readonly local: InetAddress | Inet6Address | null;
  /** The port to connect from, likewise. */
  readonly localPort: number | undefined;
}

/** Checks everything, asks for permission, and only then asks the resolver. */
function plan(c: Libc, options: ConnectOptions): Plan {
  if (isUnix(options)) {
    const { path } = options;
    return planOne(
      c,
      typeof path === "string" && path.startsWith("\0")
        ? abstractUnix(path.slice(1))
        : unix(path),
    );
  }
  if (isVsock(options)) return planOne(c, vsock(options.cid, options.port));
  if (options.transport === undefined || options.transport === "tcp") {
    return planTcp(c, options);
  }
  throw new TypeError(
    `Cannot use transport ${JSON.stringify(options.transport)}: ` +
      'the transports are "tcp", "unix" and "vsock"',
  );
}

function isUnix(options: ConnectTarget): options is UnixTarget {
  return options.transport === "unix";
}

function isVsock(options: ConnectTarget): options is VsockTarget {
  return options.transport === "vsock";
}

function planOne(c: Libc, address: Address): Plan {
  demand(c, address);
  const name = address.toString();
  return { name, addresses: [address], local: null, localPort: undefined };
}

function planTcp(c: Libc, options: TcpTarget): Plan {
  const { port, localPort } = options;
  const hostname = checkHostname(options.hostname ?? "127.0.0.1");
  if (localPort !== undefined) inet("0.0.0.0", localPort);
  const local = localOf(options);
  const family = familyOf(options, local);
  const address = parseIp(hostname, port);
  if (address !== null) {
    if (family !== undefined && family !== address.family) {
      throw new TypeError(
        `Cannot connect to ${address}: ` +
          `${options.family ? "family" : "localAddress"} asks for ${family}`,
      );
    }
    return { ...planOne(c, address), local, localPort };
  }
  // Making an address of it checks the port before a resolver is troubled.
  const { port: checked } = inet("0.0.0.0", port);
  c.permissions.demandHost(hostname, checked);
  const addresses = lookupSync(c, hostname, checked, family);
  for (const { hostname } of addresses) {
    c.permissions.demandResolved(hostname, checked);
  }
  return { name: `${hostname}:${checked}`, addresses, local, localPort };
}

/** The host without the brackets that an IPv6 address has in a URL. */
function checkHostname(hostname: unknown): string {
  if (typeof hostname !== "string") {
    throw new TypeError(
      `Cannot use hostname ${JSON.stringify(hostname)}: it must be a string`,
    );
  }
  if (hostname === "" || hostname.includes("\0")) {
    throw new SyntaxError(
      `Cannot parse hostname ${JSON.stringify(hostname)}: ` +
        (hostname === "" ? "value is empty" : "it contains a NUL"),
    );
  }
  return hostname.startsWith("[") && hostname.endsWith("]")
    ? hostname.slice(1, -1)
    : hostname;
}

function localOf(
  { localAddress, localPort = 0 }: TcpTarget,
): InetAddress | Inet6Address | null {
  if (localAddress === undefined) return null;
  if (typeof localAddress !== "string") {
    throw new TypeError(
      `Cannot use localAddress ${
        JSON.stringify(localAddress)
      }: it must be a string`,
    );
  }
  const address = parseIp(localAddress, localPort);
  if (address !== null) return address;
  throw new SyntaxError(
    `Cannot parse localAddress "${localAddress}": it is no IP address`,
  );
}

function familyOf(
  { family }: TcpTarget,
  local: InetAddress | Inet6Address | null,
): LookupFamily | undefined {
  if (family === undefined) return local?.family;
  if (family !== "inet" && family !== "inet6") {
    throw new TypeError(
      `Cannot use family ${
        JSON.stringify(family)
      }: the families are "inet" and "inet6"`,
    );
  }
  if (local !== null && local.family !== family) {
    throw new TypeError(
      `Cannot use localAddress "${local.hostname}": family asks for ${family}`,
    );
  }
  return family;
}

/** No particular address, on a particular port. */
function anyOf(
  { family }: Address,
  localPort: number | undefined,
): Address | null {
  if (localPort === undefined) return null;
  return family === "inet6"
    ? inet6("::", localPort)
    : inet("0.0.0.0", localPort);
}

/** One address, with as many sockets as it takes. */
function attempt(
  address: Address,
  local: Address | null,
  timeout: number,
  options: ConnectOptions,
): Socket | ErrnoError {
  const start = performance.now();
  for (let retries = 0;; retries++) {
    const socket = openFor(address, timeout, local, options);
    try {
      const errno = connectSocket(socket, address, timeout);
      if (errno !== 0) {
        const text = address.toString();
        const error = connectError(socket, errno, text, start, timeout);
        socket.close();
        return error;
      }
      if (timeout !== Infinity) socket.nonblocking = false;
      if (local !== null || !isSelf(socket, address)) return socket;
      // Nobody listens there: the kernel happened to give our end the very
      // port that we asked for, and the two ends met.
      socket.setOption("linger", 0);
      socket.close();
    } catch (error) {
      socket.close();
      throw error;
    }
    if (retries === SELF_CONNECT_RETRIES) {
      return errnoError("ECONNREFUSED", {
        syscall: "connect",
        address: address.toString(),
        elapsed: performance.now() - start,
        detail: "nothing listens there, the socket connected to itself",
      });
    }
  }
}

function openFor(
  address: Address,
  timeout: number,
  local: Address | null,
  options: ConnectOptions,
): Socket {
  const { family } = address;
  const socket = Socket.open({
    family: family as SocketFamily,
    nonblocking: timeout !== Infinity,
  });
  try {
    if ("interface" in options && options.interface !== undefined) {
      socket.setOption("interface", options.interface);
    }
    if (options.socketOptions !== undefined) {
      setOptions(socket, options.socketOptions);
    }
    options.onSocket?.(socket);
    if (local !== null) bindSocket(socket, local);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

function setOptions(socket: Socket, options: Partial<SocketOptions>): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) socket.setOption(name as SocketOptionName, value);
  }
}

/** Whether both ends of a new connection are the same. */
function isSelf(socket: Socket, address: Address): boolean {
  if (address.family !== "inet" && address.family !== "inet6") return false;
  if (address.port < LOWEST_EPHEMERAL_PORT) return false;
  const local = socket.localAddress;
  return "port" in local && local.port === address.port &&
    socket.remoteAddress?.equals(local) === true;
}

/** One error for several attempts. */
function combine(
  name: string,
  errors: readonly ErrnoError[],
  start: number,
): ErrnoError {
  const code = TELLING.find((code) => errors.some((e) => e.code === code));
  const telling = errors.find((e) => e.code === code) ?? errors.at(-1)!;
  const each = errors.map((e) => `${e.address} ${e.code}`).join(", ");
  return errnoErrorFor(telling.errno, {
    syscall: telling.syscall,
    address: name,
    elapsed: performance.now() - start,
    timeoutKind: telling.timeoutKind,
    detail: `all ${errors.length} addresses failed, ${each}`,
    errors,
  });
}
