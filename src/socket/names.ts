/**
 * What has a name here, and the system's number for it.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import { checkInteger, INT_MAX, show } from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { NotSupportedError } from "../errors/errors.ts";

/** The address families that have a name here. */
export type SocketFamily = "inet" | "inet6" | "unix" | "vsock";

/** The socket types that have a name here. */
export type SocketType = "stream" | "dgram" | "seqpacket" | "raw";

/** The protocols that have a name here. */
export type SocketProtocol = "icmp" | "mptcp" | "sctp" | "tcp" | "udp";

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

/** Names, and the constants behind them. */
type Names<N extends string> = Readonly<Record<N, keyof Abi>>;

/** The families by name. */
export const SOCKET_FAMILIES: Names<SocketFamily> = {
  inet: "AF_INET",
  inet6: "AF_INET6",
  unix: "AF_UNIX",
  vsock: "AF_VSOCK",
};

/** The types by name. */
export const SOCKET_TYPES: Names<SocketType> = {
  stream: "SOCK_STREAM",
  dgram: "SOCK_DGRAM",
  seqpacket: "SOCK_SEQPACKET",
  raw: "SOCK_RAW",
};

/** The protocols by name. */
export const PROTOCOLS: Names<SocketProtocol> = {
  icmp: "IPPROTO_ICMP",
  mptcp: "IPPROTO_MPTCP",
  sctp: "IPPROTO_SCTP",
  tcp: "IPPROTO_TCP",
  udp: "IPPROTO_UDP",
};

/** The directions of shutdown(2) by name. */
export const DIRECTIONS: Names<"read" | "write" | "both"> = {
  read: "SHUT_RD",
  write: "SHUT_WR",
  both: "SHUT_RDWR",
};

/** The system's number for a name, or the number that was given. */
export function numberFor<N extends string>(
  abi: Abi,
  argument: string,
  names: Names<N>,
  value: unknown,
): number {
  if (typeof value === "number") return checkInteger(argument, value, INT_MAX);
  if (typeof value !== "string" || !Object.hasOwn(names, value)) {
    throw own(
      new TypeError(
        `Cannot use ${argument} ${show(value)}: the names are ` +
          Object.keys(names).join(", "),
      ),
    );
  }
  const number = abi[names[value as N]];
  if (typeof number !== "number") {
    throw new NotSupportedError(`${argument} "${value}"`, abi.os);
  }
  return number;
}

/** The name of a number, or the number where it has none here. */
export function nameFor<N extends string>(
  abi: Abi,
  names: Names<N>,
  number: number,
): N | number {
  for (const name of Object.keys(names) as N[]) {
    if (abi[names[name]] === number) return name;
  }
  return number;
}

/** The bits of events to wait for. */
export function maskOf(abi: Abi, events: unknown): number {
  if (typeof events === "string") return bitOf(abi, events);
  // No iterable of a caller's, which might never end.
  if (!Array.isArray(events) || events.length > 2) throw noEvent(events);
  let mask = 0;
  for (let i = 0; i < 2 && i < events.length; i++) {
    mask |= bitOf(abi, events[i]);
  }
  return mask;
}

/** The events that bits stand for. */
export function eventsOf(abi: Abi, mask: number): PollEvent[] {
  return POLL_EVENTS.filter((event) => (mask & abi[event]) !== 0);
}

/** Whether a socket can reach only the peer that it is given. */
export function isOrdinary(
  abi: Abi,
  { domain, type }: { readonly domain: number; readonly type: number },
): boolean {
  const { AF_INET, AF_INET6, AF_UNIX, AF_VSOCK } = abi;
  const { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET } = abi;
  return (domain === AF_INET || domain === AF_INET6 || domain === AF_UNIX ||
    domain === AF_VSOCK) &&
    (type === SOCK_STREAM || type === SOCK_DGRAM || type === SOCK_SEQPACKET);
}

function bitOf(abi: Abi, event: unknown): number {
  if (event === "POLLIN" || event === "POLLOUT") return abi[event];
  throw noEvent(event);
}

function noEvent(value: unknown): TypeError {
  return new TypeError(
    `Cannot wait for ${show(value)}: the events are "POLLIN" and "POLLOUT"`,
  );
}
