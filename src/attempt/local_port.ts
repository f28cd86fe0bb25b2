/**
 * The local end of a connection: what it is bound to, and whether it is the
 * peer as well.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { addressRoom, int, intView } from "../../ffi/memory.ts";
import {
  type Address,
  bytesOf,
  inet,
  inet6,
  type Inet6Address,
  type InetAddress,
} from "../address/address.ts";
import { openDescriptor } from "./descriptor.ts";

/**
 * The lowest port that a system hands out by itself. Linux refuses a lower
 * bound below the unprivileged ports, and no other system goes lower either.
 */
export const LOWEST_EPHEMERAL_PORT = 1024;

/** Where attempts connect from. */
export interface LocalEnd {
  /** The address, `null` for any; its port does not matter. */
  readonly address: InetAddress | Inet6Address | null;
  /** The port, 0 to leave the choice to the system. */
  readonly port: number;
  /** The ports to choose from, instead of one. */
  readonly range: PortRange | null;
}

/** Ports to choose from, both ends included. */
export interface PortRange {
  readonly low: number;
  readonly high: number;
  /** Whether the kernel itself keeps to them; `null` while that is not known. */
  isKernels: boolean | null;
}

/** What is learned about a bind(2) that fails. */
export interface BindOutcome {
  /** Which C function failed. */
  syscall: string;
}

/**
 * Binds a socket that is about to connect.
 *
 * An address without a port is bound with IP_BIND_ADDRESS_NO_PORT where the
 * system has that: the kernel chooses the port when it knows the peer, and one
 * port can serve connections to different peers.
 *
 * @param to Where it is about to connect to.
 * @param outcome Takes the name of the call that failed.
 * @returns 0 or `-errno`.
 */
export function bindLocal(
  libc: Libc,
  fd: number,
  to: Address,
  local: LocalEnd,
  outcome: BindOutcome,
): number {
  const { address, port, range } = local;
  if (range !== null) return bindWithin(libc, fd, to, address, range, outcome);
  if (port === 0) {
    // Without an address either, connect(2) does the rest.
    if (address === null) return 0;
    setNoPort(libc, fd);
  }
  return bindTo(libc, fd, localAddress(to, address, port), outcome);
}

/** What a socket that connects to an address would be bound to. */
export function localAddress(
  { family }: Address,
  address: InetAddress | Inet6Address | null,
  port: number,
): InetAddress | Inet6Address {
  if (address === null) {
    return family === "inet6" ? inet6("::", port) : inet("0.0.0.0", port);
  }
  if (address.port === port) return address;
  return address.family === "inet6"
    ? inet6(address.hostname, port, { scopeId: address.scopeId })
    : inet(address.hostname, port);
}

/**
 * Whether a connection's two ends are the same: there is no listener at the address,
 * and the kernel gave this end the very port that was asked for, so that the two
 * ends met.
 *
 * @param address Where the socket was connected to.
 */
export function isSelfConnected(
  libc: Libc,
  fd: number,
  address: Uint8Array,
): boolean {
  const { port } = libc.abi.sockaddrIn;
  const length = libc.getsockname(fd, addressRoom);
  if (length < 0) return false;
  // The ports nearly always differ, which saves a call.
  if (addressRoom[port] !== address[port]) return false;
  if (addressRoom[port + 1] !== address[port + 1]) return false;
  const local = addressRoom.slice(0, length);
  const size = libc.getpeername(fd, addressRoom);
  if (size !== length) return false;
  return local.every((byte, i) => byte === addressRoom[i]);
}

/** Leaves the choice of the port to connect(2), where the system can do that. */
function setNoPort(libc: Libc, fd: number): void {
  const { IP_BIND_ADDRESS_NO_PORT, IPPROTO_IP, littleEndian } = libc.abi;
  if (IP_BIND_ADDRESS_NO_PORT === null) return;
  intView.setInt32(0, 1, littleEndian);
  // An older kernel that refuses chooses the port in bind(2).
  libc.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, int, 4);
}

function setRange(libc: Libc, fd: number, low: number, high: number): number {
  const { IP_LOCAL_PORT_RANGE, IPPROTO_IP, littleEndian, errnos } = libc.abi;
  if (IP_LOCAL_PORT_RANGE === null) return -errnos.ENOPROTOOPT;
  intView.setUint32(0, high << 16 | low, littleEndian);
  return libc.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, int, 4);
}

function bindTo(
  libc: Libc,
  fd: number,
  address: Address,
  outcome: BindOutcome,
): number {
  const bytes = bytesOf(address);
  const result = libc.bind(fd, bytes, bytes.length);
  if (result < 0) outcome.syscall = "bind";
  return result;
}

/** Sees to it that a socket connects from a port of a range. */
function bindWithin(
  libc: Libc,
  fd: number,
  to: Address,
  address: InetAddress | Inet6Address | null,
  range: PortRange,
  outcome: BindOutcome,
): number {
  const { EACCES, EADDRINUSE } = libc.abi.errnos;
  const { low, high } = range;
  outcome.syscall = "bind";
  // A privileged port is refused whether or not the choice falls on it.
  if (low < LOWEST_EPHEMERAL_PORT && !mayBind(libc, to, low)) return -EACCES;
  range.isKernels ??= isKernels(libc, to, range);
  if (range.isKernels) {
    const result = setRange(libc, fd, low, high);
    if (result < 0) {
      outcome.syscall = "setsockopt";
      return result;
    }
    if (address === null) return 0;
    // Or else bind would choose already, a port for this connection alone.
    setNoPort(libc, fd);
    return bindTo(libc, fd, localAddress(to, address, 0), outcome);
  }
  const count = high - low + 1;
  const first = Math.floor(Math.random() * count);
  for (let i = 0; i < count; i++) {
    const port = low + (first + i) % count;
    // From its own target port, a socket could connect only to itself.
    if ("port" in to && port === to.port && count > 1) continue;
    const from = localAddress(to, address, port);
    const result = bindTo(libc, fd, from, outcome);
    if (result !== -EADDRINUSE) return result;
  }
  return -EADDRINUSE;
}

/**
 * Whether the kernel itself keeps to a range of ports. It cuts off what lies
 * outside of its own range, and ignores a range that lies outside as a whole.
 */
function isKernels(libc: Libc, to: Address, { low, high }: PortRange): boolean {
  const { IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE } = libc.abi;
  if (IP_LOCAL_PORT_RANGE === null || IP_BIND_ADDRESS_NO_PORT === null) {
    return false;
  }
  return hands(libc, to, low) && (high === low || hands(libc, to, high));
}

/** Whether the kernel gives out a port when it is the only one of a range. */
function hands(libc: Libc, to: Address, port: number): boolean {
  const fd = openProbe(libc, to);
  if (fd < 0) return false;
  const result = setRange(libc, fd, port, port);
  const from = bytesOf(localAddress(to, null, 0));
  const outcome = result < 0 ? result : libc.bind(fd, from, from.length);
  // It is in use; connections may still share it.
  let does = outcome === -libc.abi.errnos.EADDRINUSE;
  if (outcome >= 0 && libc.getsockname(fd, addressRoom) >= 0) {
    const { port: at } = libc.abi.sockaddrIn;
    does = (addressRoom[at]! << 8 | addressRoom[at + 1]!) === port;
  }
  libc.close(fd);
  return does;
}

/** Whether the system lets this program use a port, taken or not. */
function mayBind(libc: Libc, to: Address, port: number): boolean {
  const fd = openProbe(libc, to);
  if (fd < 0) return true;
  const from = bytesOf(localAddress(to, null, port));
  const result = libc.bind(fd, from, from.length);
  libc.close(fd);
  return result !== -libc.abi.errnos.EACCES;
}

function openProbe(libc: Libc, { family }: Address): number {
  const { abi } = libc;
  const domain = family === "inet6" ? abi.AF_INET6 : abi.AF_INET;
  return openDescriptor(libc, domain, abi.SOCK_STREAM, 0, true);
}
