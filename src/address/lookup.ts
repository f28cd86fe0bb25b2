/**
 * Host names to addresses, by the resolver that every program on the system
 * uses.
 *
 * @module
 */
import type * as NodeDns from "node:dns";
import type { EaiCode } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import {
  decodeAddress,
  type Inet6Address,
  type InetAddress,
  parseIp,
} from "./address.ts";
import { builtin } from "../../ffi/builtin.ts";
import {
  type ErrnoError,
  errnoError,
  errnoErrorFor,
  LookupError,
} from "../errors/errors.ts";

/** What a host name stands for. */
export type IpAddress = InetAddress | Inet6Address;

/** Which family's addresses are asked for. */
export type LookupFamily = "inet" | "inet6";

/** A host name, and what its addresses are wanted for. */
export interface LookupQuery {
  readonly hostname: string;
  /** The port that the addresses get. */
  readonly port: number;
  /** `undefined` for both, in the order that the system prefers (RFC 6724). */
  readonly family: LookupFamily | undefined;
}

/**
 * Resolves a name with getaddrinfo(3). Blocks the thread.
 *
 * @returns At least one address.
 * @throws {LookupError} If the name does not resolve.
 */
export function lookupSync(
  libc: Libc,
  query: LookupQuery,
  _end: number = Infinity,
): IpAddress[] {
  const { node, hints, list } = argumentsFor(libc, query);
  const [eai, errno] = libc.getaddrinfo(node, hints, list);
  return takeList(libc, query, list, eai, errno);
}

/**
 * Resolves a name without holding the thread.
 *
 * Where the runtime can call the C library off the thread it does, so that the
 * answers are those of {@linkcode lookupSync}; elsewhere `node:dns` does the
 * same in its own thread pool. (On Deno that module refuses a name that is only
 * allowed together with a port.)
 *
 * @returns At least one address.
 * @throws {LookupError} If the name does not resolve.
 */
export async function lookup(
  libc: Libc,
  query: LookupQuery,
): Promise<IpAddress[]> {
  if (libc.getaddrinfoAsync === undefined) return await lookupNode(libc, query);
  const memory = argumentsFor(libc, query);
  const { node, hints, list } = memory;
  inUse.add(memory);
  try {
    const eai = await libc.getaddrinfoAsync(node, hints, list);
    return takeList(libc, query, list, eai, 0);
  } finally {
    inUse.delete(memory);
  }
}

/** Takes what a name resolves to, as it comes. */
export interface LookupListener {
  /**
   * Takes the addresses that came, in the order in which to try them: once or
   * twice, and never none.
   */
  found(addresses: readonly IpAddress[]): void;
  /**
   * No more will come. Takes the error if nothing at all was found, else
   * `null`.
   */
  ended(error: LookupError | ErrnoError | null): void;
}

/**
 * Resolves a name without holding the thread, and reports as results come, in
 * a later turn. After the end of the lookup nothing is reported any more.
 *
 * @param end When to give up, on the clock of `performance.now()`.
 * @returns A function that abandons the lookup.
 */
export function startLookup(
  libc: Libc,
  query: LookupQuery,
  end: number,
  listener: LookupListener,
): () => void {
  const start = performance.now();
  let isOver = false;
  const timer = end - start > LONGEST_TIMER ? undefined : setTimeout(() => {
    isOver = true;
    listener.ended(deadlinePassed(query, start));
  }, Math.max(end - start, 0));
  function stop(): boolean {
    clearTimeout(timer);
    const wasOver = isOver;
    isOver = true;
    return wasOver;
  }
  lookup(libc, query).then((addresses) => {
    if (stop()) return;
    listener.found(addresses);
    listener.ended(null);
  }, (error) => {
    if (!stop()) listener.ended(error);
  });
  return () => void stop();
}

function deadlinePassed(
  { hostname, port }: LookupQuery,
  start: number,
): ErrnoError {
  const elapsed = performance.now() - start;
  return errnoError("ETIMEDOUT", {
    syscall: "getaddrinfo",
    address: `${hostname}:${port}`,
    elapsed,
    timeoutKind: "deadline",
    detail: "the name did not resolve in time",
  });
}

/** The longest time that a timer can be given, in ms. */
const LONGEST_TIMER = 0x7fff_ffff;

/** What other threads work on, kept from the garbage collector. */
const inUse = new Set<unknown>();

function argumentsFor(
  { abi }: Libc,
  { hostname, family }: LookupQuery,
): Record<"node" | "hints" | "list", Uint8Array<ArrayBuffer>> {
  const { addrinfo, littleEndian } = abi;
  const hints = newMemory(addrinfo.size);
  const view = new DataView(hints.buffer);
  const wanted = family === undefined
    ? abi.AF_UNSPEC
    : family === "inet"
    ? abi.AF_INET
    : abi.AF_INET6;
  view.setInt32(addrinfo.family, wanted, littleEndian);
  // Without a type each address would come once for every one there is.
  view.setInt32(addrinfo.socktype, abi.SOCK_STREAM, littleEndian);
  const text = new TextEncoder().encode(`${hostname}\0`);
  const node = newMemory(text.length);
  node.set(text);
  return { node, hints, list: newMemory(8) };
}

function takeList(
  libc: Libc,
  { hostname, port }: LookupQuery,
  list: Uint8Array<ArrayBuffer>,
  eai: number,
  errno: number,
): IpAddress[] {
  if (eai !== 0) throw lookupError(libc, hostname, eai, errno);
  const { littleEndian } = libc.abi;
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
      // The port stands at the same place in both families.
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
  // Off the thread the errno behind EAI_SYSTEM is out of reach.
  const cause = code === "EAI_SYSTEM" && errno !== 0
    ? errnoErrorFor(errno, { syscall: "getaddrinfo", subject: hostname })
    : undefined;
  return new LookupError(hostname, code, eai, cause);
}

function lookupNode(
  { abi }: Libc,
  { hostname, port, family }: LookupQuery,
): Promise<IpAddress[]> {
  const dns = builtin<typeof NodeDns>("node:dns");
  const wanted = family === undefined ? 0 : family === "inet" ? 4 : 6;
  return new Promise((resolve, reject) => {
    dns.lookup(
      hostname,
      { all: true, family: wanted, order: "verbatim" },
      (error, addresses) => {
        if (error !== null) {
          const code = NODE_CODES[error.code ?? ""] ?? error.code;
          const known = code !== undefined && code in abi.eais;
          reject(
            new LookupError(
              hostname,
              known ? code as EaiCode : "UNKNOWN",
              known ? abi.eais[code as EaiCode]! : error.errno ?? 0,
              error,
            ),
          );
        } else {
          resolve(addresses.map(({ address }) => parseIp(address, port)!));
        }
      },
    );
  });
}

/** What `node:dns` calls the two failures that it does not call by their names. */
const NODE_CODES: Readonly<Record<string, EaiCode>> = {
  ENOTFOUND: "EAI_NONAME",
  ENODATA: "EAI_NODATA",
};
