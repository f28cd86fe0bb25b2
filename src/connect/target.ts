/**
 * What a caller wants to reach, as it is written.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  abstractUnix,
  type Address,
  isAddress,
  parseIp,
  unix,
  vsock,
} from "../address/address.ts";
import { checkFamily, checkHostname } from "../address/hostname.ts";
import type {
  IpAddress,
  LookupFamily,
  LookupQuery,
} from "../address/lookup.ts";
import { newPace, type Pace } from "../attempt/attempt.ts";
import type { LocalEnd, PortRange } from "../attempt/local_port.ts";
import {
  checkFunction,
  checkInteger,
  checkText,
  MAX_PORT,
  notA,
  show,
} from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { demand } from "../socket/permission.ts";

/** A TCP port of a host. */
export interface TcpTarget {
  /** May be left out. */
  readonly transport?: "tcp" | undefined;
  /**
   * A host name, or an IPv4 or IPv6 address in text form. A link-local address
   * takes its zone along: `fe80::1%eth0`.
   *
   * @default {"127.0.0.1"}
   */
  readonly hostname?: string | undefined;
  /** The port, 0 to 65535. */
  readonly port: number;
  /**
   * Which addresses of a host name are used.
   *
   * @default {undefined} Both, in the order that the system prefers.
   */
  readonly family?: LookupFamily | undefined;
  /**
   * The protocol to use: `"mptcp"` is Multipath TCP, which falls back to TCP
   * where the peer does not speak it; {@linkcode Socket.getOption} of
   * `"multipath"` says which it is. Linux.
   *
   * @default {"tcp"}
   */
  readonly protocol?: "tcp" | "mptcp" | undefined;
  /**
   * Resolves the host name in place of the system's resolver. The program needs
   * the permission to connect to the host and to each address that it returns.
   *
   * On Node, as with `net.connect`, a promise of this function does not keep the
   * process alive, and neither does an `AbortSignal.timeout()`. A `timeout` does.
   *
   * @default {undefined} The system's resolver.
   */
  readonly lookup?: HostLookup | undefined;
  /**
   * The addresses of the host, which is not resolved then. The program needs
   * the permission to connect to the host and to each address.
   */
  readonly addresses?: readonly (string | Address)[] | undefined;
  /**
   * The address to connect from, in text form. Without a port, Linux chooses
   * one when it knows the peer, so that one port can serve connections to
   * different peers (`IP_BIND_ADDRESS_NO_PORT`).
   *
   * @default {undefined} The system's choice.
   */
  readonly localAddress?: string | undefined;
  /**
   * The port to connect from.
   *
   * @default {undefined} The system's choice.
   */
  readonly localPort?: number | undefined;
  /**
   * The lowest and the highest port to connect from, instead of a `localPort`.
   *
   * Where the whole range lies within the one that the kernel uses itself, it
   * chooses a port when it connects, and one port can serve connections to
   * different peers (`IP_LOCAL_PORT_RANGE`, Linux 6.3). Otherwise the ports are
   * tried one after the other, from a random one on; if all are taken, the
   * error is `EADDRINUSE`. A range that begins with a port that the program may
   * not use is `EACCES`, wherever the choice would have fallen.
   *
   * @default {undefined} The system's choice.
   */
  readonly localPortRange?: readonly [low: number, high: number] | undefined;
  /**
   * The network interface that the connection is bound to, by name.
   * `SO_BINDTODEVICE` on Linux, `IP_BOUND_IF` on Darwin and illumos.
   *
   * @default {undefined} The one that the route leads to.
   */
  readonly interface?: string | undefined;
}

/** A Unix-domain stream socket. */
export interface UnixTarget {
  /** Distinguishes it from a port of a host. */
  readonly transport: "unix";
  /** The path; one that begins with a NUL is a name outside the file system. */
  readonly path: string;
}

/** A port of a virtual machine, or of its host. */
export interface VsockTarget {
  /** Distinguishes it from a port of a host. */
  readonly transport: "vsock";
  /** The context identifier; 2 is the host. */
  readonly cid: number;
  /** The port, 32 bits. */
  readonly port: number;
}

/** What can be connected to. */
export type ConnectTarget = TcpTarget | UnixTarget | VsockTarget;

/** Resolves a host name; see {@linkcode TcpTarget.lookup}. */
export type HostLookup = (
  hostname: string,
  options: HostLookupOptions,
) =>
  | readonly (string | Address)[]
  | Promise<readonly (string | Address)[]>;

/** What a {@linkcode HostLookup} is called with. */
export interface HostLookupOptions {
  /** Which addresses are of use, `undefined` for all. */
  readonly family: LookupFamily | undefined;
  /** Aborted when the addresses are of no use any more. */
  readonly signal: AbortSignal;
}

/** The options that say where to, as a caller wrote them, each read once. */
export interface WrittenTarget {
  readonly transport?: unknown;
  readonly hostname?: unknown;
  readonly port?: unknown;
  readonly path?: unknown;
  readonly cid?: unknown;
  readonly family?: unknown;
  readonly protocol?: unknown;
  readonly lookup?: unknown;
  readonly addresses?: unknown;
  readonly localAddress?: unknown;
  readonly localPort?: unknown;
  readonly localPortRange?: unknown;
}

/** The names of the options that say where to. */
export const TARGET_KEYS = [
  "transport",
  "hostname",
  "port",
  "path",
  "cid",
  "family",
  "protocol",
  "lookup",
  "addresses",
  "localAddress",
  "localPort",
  "localPortRange",
  "interface",
] as const;

/** Where a connection goes. */
export interface Plan {
  /** The one address, `null` where there is a host instead. */
  readonly address: Address | null;
  /** The host whose addresses have to be found. */
  readonly host: LookupQuery | null;
  /** What finds them, `null` for the system's resolver. */
  readonly source: HostLookup | readonly IpAddress[] | null;
  /** Where from, `null` to leave that to the system. */
  readonly local: LocalEnd | null;
  /** How soon the attempts there have ended lately. */
  readonly pace: Pace;
}

/** How many plans are remembered. */
const MOST_PLANS = 64;

/** Plans by host and port. An address never changes, and neither do they. */
class PlanCache {
  readonly #libc: Libc;
  readonly #plans: Map<string, Map<number, Plan>> = new Map();
  #count = 0;

  static #latest: PlanCache | null = null;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** The plans of a library: an address is laid out as its system has it. */
  static of(libc: Libc): PlanCache {
    const latest = PlanCache.#latest;
    if (latest !== null && latest.#libc === libc) return latest;
    return PlanCache.#latest = new PlanCache(libc);
  }

  find(hostname: string, port: number): Plan | undefined {
    return this.#plans.get(hostname)?.get(port);
  }

  add(hostname: string, port: number, plan: Plan): void {
    if (this.#count === MOST_PLANS) {
      this.#plans.clear();
      this.#count = 0;
    }
    this.#count++;
    const ports = this.#plans.get(hostname);
    if (ports !== undefined) ports.set(port, plan);
    else this.#plans.set(hostname, new Map([[port, plan]]));
  }
}

/**
 * Checks where a caller wants to connect to, and asks for permission. Calls
 * nothing else yet.
 *
 * @throws {TypeError} If an argument is of the wrong kind.
 * @throws {RangeError} If it is out of range.
 * @throws {SyntaxError} If its text does not parse.
 */
export function planTarget(c: Libc, options: WrittenTarget): Plan {
  const { transport, port } = options;
  if (transport === undefined || transport === "tcp") {
    const { hostname = "127.0.0.1" } = options;
    if (!isPlain(options)) return planTcp(c, options, hostname);
    const cache = PlanCache.of(c);
    const known = typeof hostname === "string" && typeof port === "number"
      ? cache.find(hostname, port)
      : undefined;
    if (known !== undefined) {
      if (known.address !== null) demand(c, known.address);
      else c.permissions.demandHost(known.host!.hostname, known.host!.port);
      return known;
    }
    const plan = planTcp(c, options, hostname);
    // The number of a zone may change.
    if (!(hostname as string).includes("%")) {
      cache.add(hostname as string, port as number, plan);
    }
    return plan;
  }
  if (transport === "unix") {
    const { path } = options;
    return planOne(
      c,
      typeof path === "string" && path.startsWith("\0")
        ? abstractUnix(path.slice(1))
        : unix(path as string),
    );
  }
  if (transport === "vsock") {
    return planOne(c, vsock(options.cid as number, port as number));
  }
  throw own(
    new TypeError(
      `Cannot use transport ${show(transport)}: ` +
        'the transports are "tcp", "unix" and "vsock"',
    ),
  );
}

/** Whether nothing but the host and the port decides where to. */
function isPlain(options: WrittenTarget): boolean {
  return options.family === undefined &&
    options.protocol === undefined &&
    options.lookup === undefined &&
    options.addresses === undefined &&
    options.localAddress === undefined &&
    options.localPort === undefined &&
    options.localPortRange === undefined;
}

function planOne(c: Libc, address: Address): Plan {
  return {
    address: demand(c, address),
    host: null,
    source: null,
    local: null,
    pace: newPace(),
  };
}

function planTcp(c: Libc, options: WrittenTarget, host: unknown): Plan {
  const port = checkInteger("port", options.port, MAX_PORT);
  const hostname = checkHostname(host);
  const local = readLocalEnd(options);
  const family = agreedFamily(options.family, local?.address ?? null);
  const source = addressSource(options, port, family);
  const address = parseIp(hostname, port);
  const pace = newPace();
  if (address === null || source !== null) {
    c.permissions.demandHost(hostname, port);
    const host = { hostname, port, family };
    return { address: null, host, source, local, pace };
  }
  if (family !== undefined && family !== address.family) {
    throw own(
      new TypeError(
        `Cannot connect to ${address}: ` +
          `${options.family ? "family" : "localAddress"} asks for ${family}`,
      ),
    );
  }
  return { address: demand(c, address), host: null, source, local, pace };
}

/** What finds the addresses of a host in place of the system's resolver. */
function addressSource(
  { lookup, addresses }: WrittenTarget,
  port: number,
  family: LookupFamily | undefined,
): Plan["source"] {
  if (lookup !== undefined) {
    checkFunction("lookup", lookup);
    if (addresses !== undefined) {
      throw own(new TypeError("Cannot use lookup: addresses are given, too"));
    }
    return lookup as HostLookup;
  }
  if (addresses === undefined) return null;
  return readAddresses("addresses", addresses, port, family);
}

/**
 * Reads the addresses of a host as a caller's code supplies them.
 *
 * @param family Which are wanted; those of the other one are left out.
 * @throws {TypeError} If it is no array of addresses, or a wanted one is not in
 * it.
 * @throws {SyntaxError} If the text of one does not parse.
 */
export function readAddresses(
  name: string,
  value: unknown,
  port: number,
  family: LookupFamily | undefined,
): IpAddress[] {
  if (!Array.isArray(value)) throw notA("array of addresses", name, value);
  const found: IpAddress[] = [];
  const { length } = value;
  for (let i = 0; i < length; i++) {
    const address = readAddress(`${name}[${i}]`, value[i], port);
    if (family === undefined || address.family === family) found.push(address);
  }
  if (found.length > 0) return found;
  throw own(
    new TypeError(
      `Cannot use ${name}: ${
        length === 0 ? "there are none" : `none is ${family}`
      }`,
    ),
  );
}

function readAddress(name: string, value: unknown, port: number): IpAddress {
  let text = value;
  if (isAddress(value)) {
    if (value.family !== "inet" && value.family !== "inet6") {
      throw own(
        new TypeError(`Cannot use ${name} ${value}: it is no IP address`),
      );
    }
    text = value.family === "inet6" && value.scopeId !== 0
      ? `${value.hostname}%${value.scopeId}`
      : value.hostname;
  }
  return parseOwn(name, text, port);
}

/**
 * Makes sure that a name resolved, and that each address may be reached.
 *
 * @param isTrusted Whether the system's resolver found them. What a program
 * supplies itself needs the permission of the address, too.
 */
export function permitted(
  c: Libc,
  addresses: readonly IpAddress[],
  isTrusted: boolean,
): readonly IpAddress[] {
  for (const address of addresses) {
    if (isTrusted) {
      c.permissions.demandResolved(address.hostname, address.port);
    } else demand(c, address);
  }
  return addresses;
}

/** Where to connect from, `null` to leave that to the system. */
function readLocalEnd(
  { localAddress, localPort, localPortRange }: WrittenTarget,
): LocalEnd | null {
  if (
    localAddress === undefined && localPort === undefined &&
    localPortRange === undefined
  ) return null;
  const port = localPort === undefined
    ? 0
    : checkInteger("localPort", localPort, MAX_PORT);
  const range = localPortRange === undefined
    ? null
    : checkPortRange(localPortRange, localPort !== undefined);
  const address = localAddress === undefined
    ? null
    : parseOwn("localAddress", localAddress, port);
  return { address, port, range };
}

function checkPortRange(value: unknown, hasPort: boolean): PortRange {
  if (!Array.isArray(value) || value.length !== 2) {
    throw own(
      new TypeError(
        `Cannot use localPortRange ${show(value)}: it is not a pair of ports`,
      ),
    );
  }
  const [first, last] = value;
  if (hasPort) {
    throw own(
      new TypeError(
        `Cannot use localPortRange ${show(value)}: localPort is given, too`,
      ),
    );
  }
  const low = checkInteger("localPortRange[0]", first, MAX_PORT);
  const high = checkInteger("localPortRange[1]", last, MAX_PORT);
  if (low === 0 || low > high) {
    throw own(
      new RangeError(
        `Cannot use localPortRange ${show(value)}: ` +
          (low === 0 ? "ports begin at 1" : "the lower port comes first"),
      ),
    );
  }
  return { low, high, isKernels: null };
}

/** An IP address from text that can be nothing else. */
function parseOwn(name: string, text: unknown, port: number): IpAddress {
  checkText(name, text);
  let cause: unknown;
  try {
    const address = parseIp(text, port);
    if (address !== null) return address;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    cause = error;
  }
  throw own(
    new SyntaxError(
      `Cannot parse ${name} ${show(text)}: it is no IP address`,
      cause === undefined ? undefined : { cause },
    ),
  );
}

/** The family that the caller and the address to connect from ask for, `undefined` if neither does. */
export function agreedFamily(
  given: unknown,
  local: IpAddress | null,
): LookupFamily | undefined {
  const family = checkFamily(given);
  if (family === undefined) return local?.family;
  if (local !== null && local.family !== family) {
    throw own(
      new TypeError(
        `Cannot use localAddress "${local.hostname}": family asks for ${family}`,
      ),
    );
  }
  return family;
}
