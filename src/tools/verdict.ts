/**
 * What an attempt shows of a port.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { type Address, bytesOf } from "../address/address.ts";
import { openDescriptor } from "../attempt/descriptor.ts";
import type { Icmp } from "../errors/errors.ts";
import { localOf } from "../socket/ends.ts";

/**
 * What is known of a port: something listens there, nothing does, a filter on
 * the way or silence hides it, or nothing could be sent to it.
 */
export type ProbeState = "open" | "closed" | "filtered" | "unsent";

/** All of them. */
export const PROBE_STATES: readonly ProbeState[] = [
  "open",
  "closed",
  "filtered",
  "unsent",
];

/**
 * What a state was concluded from: a segment of the peer, an ICMP error,
 * silence, an errno of this system, or a name that did not resolve.
 */
export type ProbeReason =
  | "syn-ack"
  | "reset"
  | "icmp"
  | "no-answer"
  | "errno"
  | "name";

/** A state and its reason. */
export type Verdict = readonly [ProbeState, ProbeReason];

export const OPEN: Verdict = ["open", "syn-ack"];
export const CLOSED_PORT: Verdict = ["closed", "reset"];
export const REJECTED: Verdict = ["filtered", "icmp"];
export const SILENT: Verdict = ["filtered", "no-answer"];
export const UNSENT: Verdict = ["unsent", "errno"];
export const UNNAMED: Verdict = ["unsent", "name"];

/** All of them; each is one object, so that `===` compares verdicts. */
export const VERDICTS: readonly Verdict[] = [
  OPEN,
  CLOSED_PORT,
  REJECTED,
  SILENT,
  UNSENT,
  UNNAMED,
];

/** A failed attempt, as far as a verdict takes it into account. */
export interface FailedAttempt {
  readonly libc: Libc;
  readonly fd: number;
  readonly address: Address;
  readonly errno: number;
  readonly syscall: string;
  readonly icmp: Icmp | null;
}

/**
 * Concludes from the errno of an attempt.
 *
 * @param isSent Whether something was sent.
 */
export function verdictOf(failure: FailedAttempt, isSent: boolean): Verdict {
  const { libc, errno, syscall, icmp } = failure;
  if (errno === 0) return OPEN;
  if (syscall !== "connect") return UNSENT;
  if (icmp !== null) return isFromHere(failure, icmp) ? UNSENT : REJECTED;
  const { errnos } = libc.abi;
  switch (errno) {
    case errnos.ECONNREFUSED:
      return CLOSED_PORT;
    case errnos.ECONNRESET:
      // By a reset, a vsock port refuses. That of a TCP port is an ECONNREFUSED,
      // unless a SYN/ACK came before it.
      return failure.address.family === "vsock" ? CLOSED_PORT : OPEN;
    case errnos.EPIPE:
      // A FIN came before the reset.
      return OPEN;
    case errnos.ETIMEDOUT:
      return isSent ? SILENT : UNSENT;
    case errnos.EHOSTUNREACH:
    case errnos.ENETUNREACH:
    case errnos.EHOSTDOWN:
    case errnos.ENOPROTOOPT:
    case errnos.EACCES:
      // By ICMP, on systems that do not keep its sender.
      return isSent ? REJECTED : UNSENT;
    default:
      return UNSENT;
  }
}

/**
 * Whether the filter that sent an ICMP error is this machine's own, so that
 * nothing has left it. This machine also sends "host unreachable" where a
 * neighbour does not reply, and that is no filter.
 */
function isFromHere({ libc, fd, address }: FailedAttempt, icmp: Icmp): boolean {
  // The sender of an IPv4 error has dots, in a mapped address, too.
  const [type, code] = icmp.from.includes(".") ? [3, 1] : [1, 3];
  if (icmp.type === type && icmp.code === code) return false;
  if ("hostname" in address && address.hostname === icmp.from) return false;
  const local = localOf(libc, fd);
  return typeof local === "object" && "hostname" in local &&
    local.hostname === icmp.from;
}

/** What TCP has recorded of a handshake. */
export interface Handshake {
  /** The round trip in ms, `null` where there is no sample. */
  rtt: number | null;
  /** How many SYNs were repeated, `null` where the system does not count. */
  retransmits: number | null;
}

const info = newMemory(256);
const infoView = new DataView(info.buffer);

/** Reads what TCP has recorded of a handshake, without allocating. */
export function readHandshake(libc: Libc, fd: number, into: Handshake): void {
  const { tcpInfo, IPPROTO_TCP, littleEndian } = libc.abi;
  into.rtt = null;
  into.retransmits = null;
  if (tcpInfo === null) return;
  const { option, rtt, rttUnit, totalRetrans } = tcpInfo;
  const length = libc.getsockopt(fd, IPPROTO_TCP, option, info);
  if (totalRetrans !== null && length >= totalRetrans + 4) {
    into.retransmits = infoView.getUint32(totalRetrans, littleEndian);
  }
  // After a repeated SYN, TCP still measures from the first one.
  if (length < rtt + 4 || into.retransmits !== 0) return;
  const units = infoView.getUint32(rtt, littleEndian);
  into.rtt = units === 0 ? null : units * rttUnit / 1000;
}

/**
 * Whether an errno means that this system has run out of something that is
 * given back in time, so that it means nothing for the target.
 */
export function isExhaustion(
  libc: Libc,
  errno: number,
  syscall: string,
  address: Address,
): boolean {
  const { errnos } = libc.abi;
  switch (errno) {
    case errnos.EMFILE:
    case errnos.ENFILE:
    case errnos.ENOBUFS:
    case errnos.ENOMEM:
      return true;
    case errnos.ENOSPC:
      return syscall === "epoll_ctl";
    case errnos.EADDRINUSE:
      return syscall === "bind" || syscall === "connect";
    case errnos.EAGAIN:
      return syscall === "connect" && "hostname" in address;
    case errnos.EADDRNOTAVAIL:
      return syscall === "connect" && hasSource(libc, address);
    default:
      return false;
  }
}

/**
 * Whether this machine has an address from which another one can be reached:
 * connect(2) of a datagram socket chooses one, and sends nothing.
 */
function hasSource(libc: Libc, address: Address): boolean {
  const { AF_INET, AF_INET6, SOCK_DGRAM } = libc.abi;
  const domain = address.family === "inet6" ? AF_INET6 : AF_INET;
  const fd = openDescriptor(libc, domain, SOCK_DGRAM, 0, true);
  // There is no descriptor left, which is a shortage in itself.
  if (fd < 0) return true;
  const bytes = bytesOf(address);
  const result = libc.connect(fd, bytes, bytes.length);
  libc.close(fd);
  return result >= 0;
}
