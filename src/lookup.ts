/**
 * Host names to addresses, by the C library's own resolver.
 *
 * @module
 */
import type { EaiCode } from "../ffi/abi.ts";
import { type Libc, newMemory } from "../ffi/libc.ts";
import {
  decodeAddress,
  type Inet6Address,
  type InetAddress,
} from "./address.ts";
import { errnoErrorFor, LookupError } from "./errors.ts";

/** What a host name stands for. */
type IpAddress = InetAddress | Inet6Address;

/** Which family's addresses are asked for. */
export type LookupFamily = "inet" | "inet6";

/**
 * Resolves a name as every other program on the system does: the hosts file,
 * the name service switch, the search list, and in the order that the system
 * prefers (RFC 6724).
 *
 * @param port The port that the addresses get.
 * @returns At least one address.
 * @throws {LookupError} If the name does not resolve.
 */
export function lookupSync(
  libc: Libc,
  hostname: string,
  port: number,
  family: LookupFamily | undefined,
): IpAddress[] {
  const { abi } = libc;
  const { addrinfo, littleEndian } = abi;
  const hints = newMemory(addrinfo.size);
  const hintsView = new DataView(hints.buffer);
  const wanted = family === undefined
    ? abi.AF_UNSPEC
    : family === "inet"
    ? abi.AF_INET
    : abi.AF_INET6;
  hintsView.setInt32(addrinfo.family, wanted, littleEndian);
  // Without a type each address would come once for each.
  hintsView.setInt32(addrinfo.socktype, abi.SOCK_STREAM, littleEndian);
  const list = newMemory(8);
  const node = new TextEncoder().encode(`${hostname}\0`);
  const [eai, errno] = libc.getaddrinfo(node, hints, list);
  if (eai !== 0) throw lookupError(libc, hostname, eai, errno);

  const head = new DataView(list.buffer).getBigUint64(0, littleEndian);
  try {
    return readList(libc, head, port);
  } finally {
    libc.freeaddrinfo(head);
  }
}

function readList(libc: Libc, head: bigint, port: number): IpAddress[] {
  const { addrinfo, littleEndian, sockaddrIn, sockaddrIn6 } = libc.abi;
  const entry = newMemory(addrinfo.size);
  const view = new DataView(entry.buffer);
  const sockaddr = newMemory(Math.max(sockaddrIn.size, sockaddrIn6.size));
  const addresses: IpAddress[] = [];
  for (let at = head; at !== 0n;) {
    libc.memcpyFrom(entry, at, addrinfo.size);
    const length = addrinfo.addrlenSize === 8
      ? Number(view.getBigUint64(addrinfo.addrlen, littleEndian))
      : view.getUint32(addrinfo.addrlen, littleEndian);
    if (length <= sockaddr.length) {
      const source = view.getBigUint64(addrinfo.addr, littleEndian);
      libc.memcpyFrom(sockaddr, source, length);
      new DataView(sockaddr.buffer).setUint16(sockaddrIn.port, port);
      const address = decodeAddress(sockaddr, length);
      if (address.family === "inet" || address.family === "inet6") {
        addresses.push(address);
      }
    }
    at = view.getBigUint64(addrinfo.next, littleEndian);
  }
  return addresses;
}

function lookupError(
  { abi }: Libc,
  hostname: string,
  eai: number,
  errno: number,
): LookupError {
  const known = Object.entries(abi.eais).find(([, number]) => number === eai);
  const code = known === undefined ? "UNKNOWN" : known[0] as EaiCode;
  const cause = code === "EAI_SYSTEM"
    ? errnoErrorFor(errno, { syscall: "getaddrinfo", address: hostname })
    : undefined;
  return new LookupError(hostname, code, eai, cause);
}
