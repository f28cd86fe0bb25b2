/**
 * What a caller wants to reach, as it is written.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
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
} from "../address/address.ts";
import { checkInteger, checkText, show } from "../errors/arguments.ts";
import type { LookupFamily, LookupQuery } from "../address/lookup.ts";
import { checkOption } from "../socket/options.ts";
import { demand } from "../socket/permission.ts";

const MAX_PORT = 0xffff;

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
   * The lowest and the highest port to connect from, instead of a `localPort`.
   *
   * Where the system can be told so and hands out ports of that range by
   * itself, it chooses one when it connects, and one port can serve connections
   * to different peers (`IP_LOCAL_PORT_RANGE`, Linux 6.3). Everywhere else the
   * ports are tried one after the other, from a random one on; if all are
   * taken, the error is that of the last: `EADDRINUSE`.
   */
  readonly localPortRange?: readonly [low: number, high: number] | undefined;
  /**
   * The network interface that the connection is bound to, by name.
   * `SO_BINDTODEVICE` on Linux, `IP_BOUND_IF` on Darwin and illumos.
   */
  readonly interface?: string | undefined;
}

/** A Unix-domain stream socket. */
export interface UnixTarget {
  /** Tells it from a port of a host. */
  readonly transport: "unix";
  /** The path; one that begins with a NUL is a name outside the file system. */
  readonly path: string;
}

/** A port of a virtual machine, or of its host. */
export interface VsockTarget {
  /** Tells it from a port of a host. */
  readonly transport: "vsock";
  /** The context identifier; 2 is the host. */
  readonly cid: number;
  /** The port, 32 bits. */
  readonly port: number;
}

/** What can be connected to. */
export type ConnectTarget = TcpTarget | UnixTarget | VsockTarget;

/** What the options come to. */
interface Plan {
  /** Its addresses, or the question that a resolver has to answer for them. */
  readonly addresses: readonly Address[] | LookupQuery;
  /** Where to connect from, `null` to leave that to the system. */
  local(to: Address): Address | null;
}

/**
 * Checks what a caller wrote, and asks for permission. Calls nothing else yet.
 *
 * @throws {TypeError} If an argument is of the wrong kind; {@linkcode RangeError}
 * if it is out of range; {@linkcode SyntaxError} if its text does not parse.
 */
export function planTarget(c: Libc, options: ConnectTarget): Plan {
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
    `Cannot use transport ${show(options.transport)}: ` +
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
  return { addresses: [demand(c, address)], local: nowhere };
}

function nowhere(): null {
  return null;
}

function planTcp(c: Libc, options: TcpTarget): Plan {
  const { port, localPort, hostname: host = "127.0.0.1" } = options;
  checkInteger("port", port, MAX_PORT);
  const hostname = checkHostname(host);
  if (options.interface !== undefined) {
    checkOption(c.abi, "interface", options.interface);
  }
  if (localPort !== undefined) checkInteger("localPort", localPort, MAX_PORT);
  checkPortRange(options);
  const from = localOf(options);
  const family = familyOf(options, from);
  const address = parseIp(hostname, port);
  if (address !== null && family !== undefined && family !== address.family) {
    throw new TypeError(
      `Cannot connect to ${address}: ` +
        `${options.family ? "family" : "localAddress"} asks for ${family}`,
    );
  }
  const local = from !== null
    ? () => from
    : localPort !== undefined
    ? anyOf(localPort)
    : nowhere;
  if (address !== null) {
    return { addresses: [demand(c, address)], local };
  }
  c.permissions.demandHost(hostname, port);
  return { addresses: { hostname, port, family }, local };
}

function checkPortRange({ localPort, localPortRange: range }: TcpTarget): void {
  if (range === undefined) return;
  if (!Array.isArray(range) || range.length !== 2) {
    throw new TypeError(
      `Cannot use localPortRange ${show(range)}: it is not a pair of ports`,
    );
  }
  if (localPort !== undefined) {
    throw new TypeError(
      `Cannot use localPortRange ${show(range)}: localPort is given, too`,
    );
  }
  const low = checkInteger("localPortRange[0]", range[0], MAX_PORT);
  const high = checkInteger("localPortRange[1]", range[1], MAX_PORT);
  if (low === 0 || low > high) {
    throw new RangeError(
      `Cannot use localPortRange ${show(range)}: ` +
        (low === 0 ? "ports begin at 1" : "the lower port comes first"),
    );
  }
}

/** No particular address of a family, on a particular port. */
function anyOf(localPort: number): Plan["local"] {
  const any = inet("0.0.0.0", localPort);
  const any6 = inet6("::", localPort);
  return ({ family }) => family === "inet6" ? any6 : any;
}

/** The host without the brackets that an IPv6 address has in a URL. */
function checkHostname(hostname: unknown): string {
  checkText("hostname", hostname);
  if (hostname === "" || hostname.includes("\0")) {
    throw new SyntaxError(
      `Cannot parse hostname ${show(hostname)}: ` +
        (hostname === "" ? "it is empty" : "it holds a NUL"),
    );
  }
  return hostname.startsWith("[") && hostname.endsWith("]") &&
      hostname.includes(":")
    ? hostname.slice(1, -1)
    : hostname;
}

function localOf(
  { localAddress, localPort = 0 }: TcpTarget,
): InetAddress | Inet6Address | null {
  if (localAddress === undefined) return null;
  checkText("localAddress", localAddress);
  let cause: unknown;
  try {
    const address = parseIp(localAddress, localPort);
    if (address !== null) return address;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    cause = error;
  }
  throw new SyntaxError(
    `Cannot parse localAddress ${show(localAddress)}: it is no IP address`,
    { cause },
  );
}

function familyOf(
  { family }: TcpTarget,
  local: InetAddress | Inet6Address | null,
): LookupFamily | undefined {
  if (family === undefined) return local?.family;
  if (family !== "inet" && family !== "inet6") {
    throw new TypeError(
      `Cannot use family ${show(family)}: the families are "inet" and "inet6"`,
    );
  }
  if (local !== null && local.family !== family) {
    throw new TypeError(
      `Cannot use localAddress "${local.hostname}": family asks for ${family}`,
    );
  }
  return family;
}
