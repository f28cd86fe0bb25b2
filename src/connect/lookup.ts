/**
 * Host names to addresses, for programs that connect by other means or not at all.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { performance } from "../../ffi/timers.ts";
import { parseIp } from "../address/address.ts";
import { checkFamily, checkHostname } from "../address/hostname.ts";
import {
  type IpAddress,
  type LookupFamily,
  type LookupQuery,
  runLookup,
  startLookup,
} from "../address/lookup.ts";
import {
  checkInteger,
  checkMilliseconds,
  checkSignal,
  heedAbort,
  ignoreAbort,
  MAX_PORT,
  readOptions,
  show,
} from "../errors/arguments.ts";
import { keepCaller, own, rejectAt, releaseCaller } from "../errors/caller.ts";
import { pointed } from "../errors/errors.ts";
import { demand } from "../socket/permission.ts";
import { permitted } from "./target.ts";

/** The options of {@linkcode lookup} and {@linkcode lookupSync}. */
export interface LookupOptions {
  /**
   * Which addresses to look for.
   *
   * @default {undefined} Both, in the order that the system prefers.
   */
  readonly family?: LookupFamily | undefined;
  /**
   * The port that the addresses get, 0 to 65535. Where the program may reach
   * only some ports of a host, it has to be one of them.
   *
   * @default {0}
   */
  readonly port?: number | undefined;
  /**
   * Milliseconds until the lookup is given up, 0 or more.
   *
   * @default {Infinity}
   */
  readonly timeout?: number | undefined;
  /**
   * Cancels the lookup: {@linkcode lookup} rejects with `signal.reason`. A
   * blocking call cannot be interrupted, so {@linkcode lookupSync} checks the
   * signal only before it begins.
   */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Resolves a host name as {@linkcode connect} does, with the resolver that
 * every program on the system uses: the hosts file, DNS, and whatever else
 * `nsswitch.conf(5)` lists.
 *
 * Never blocks the thread for longer than it takes to read the hosts file.
 * Calls for the same name that overlap share one lookup. If a name server does
 * not reply for one family, the result has the addresses of the other alone, 50
 * ms after they are known (RFC 8305, section 3).
 *
 * Only a few names are looked up at a time, for the resolver occupies a thread
 * with each. A name for which no server replies occupies one for as long as the
 * resolver tries, ten seconds by default. So half of the threads are for names
 * that a server replies about: one that waits for a thread longer than 50 ms is
 * asked about by a datagram to the name servers of `resolv.conf(5)`, whose reply
 * says no more than that. Names in the hosts file do not wait.
 *
 * A name with letters beyond ASCII is looked up in its form `xn--...`. An
 * address in text form resolves to itself.
 *
 * With glibc 2.34 or later the C library runs the lookup in threads of its own,
 * so that neither `timeout` nor the end of the process waits for a name server.
 * Elsewhere it runs in the runtime's own pool of threads; then the process may
 * stay alive until the resolver gives up, although the promise has settled.
 *
 * On Deno the program needs the `ffi` permission, and `net` for the host and
 * port as for {@linkcode connect}.
 *
 * C: `getaddrinfo_a(3)`, or `getaddrinfo(3)`.
 *
 * @param hostname The name of a host, or an IPv4 or IPv6 address.
 * @param options What to look for, and for how long.
 * @returns At least one address, in the order in which to try them.
 * @throws {LookupError} If the name does not resolve.
 * @throws {ErrnoError} `ETIMEDOUT` with `timeoutKind` `"deadline"` if `timeout`
 * passed; `EMFILE` or `ENFILE` if the resolver found no free descriptor.
 * @throws {TypeError} If an argument is of the wrong kind, or an option is not
 * known.
 * @throws {RangeError} If a number is out of range.
 * @throws {SyntaxError} If the name is empty, holds a NUL, or has no form in
 * ASCII.
 * @throws {DOMException} The reason of `signal`, once it is aborted: an
 * `AbortError`, unless `abort()` was given another reason.
 * @throws {Error} The runtime's own error, if the program may not look it up.
 *
 * @example The addresses of this machine
 * ```ts
 * import { lookup } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const [address] = await lookup("localhost", { family: "inet", port: 80 });
 * assertEquals(`${address}`, "127.0.0.1:80");
 * ```
 */
export function lookup(
  hostname: string,
  options?: LookupOptions,
): Promise<IpAddress[]> {
  try {
    const { query, timeout, signal } = readRequest(hostname, options);
    signal?.throwIfAborted();
    const start = performance.now();
    const end = start + timeout;
    const c = libc();
    const literal = permitLookup(c, query);
    if (literal !== null) return Promise.resolve([literal]);
    return new Promise((resolve, reject) => {
      // What a proxy of a signal throws leaves nothing behind.
      heedAbort(signal, abort);
      const caller = keepCaller(lookup);
      function settle(): void {
        leave();
        releaseCaller(caller);
        ignoreAbort(signal, abort);
      }
      function abort(): void {
        settle();
        // The signal is the caller's, and so may be what reads its reason.
        rejectAt(resolve, null, () => signal!.reason);
      }
      const leave = startLookup(c, query, end, {
        found(addresses) {
          settle();
          try {
            resolve([...permitted(c, addresses, true)]);
          } catch (error) {
            reject(error);
          }
        },
        ended(error) {
          settle();
          rejectAt(resolve, caller, (at) => pointed(error!, at));
        },
      }, start);
    });
  } catch (error) {
    return Promise.reject(pointed(error, lookup));
  }
}

/**
 * Resolves a host name as {@linkcode lookup} does, and blocks the calling
 * thread meanwhile.
 *
 * Where the C library has no `getaddrinfo_a(3)` (musl, glibc before 2.34, other
 * systems than Linux), `timeout` cannot interrupt the resolver: it is noticed
 * when the resolver returns.
 *
 * C: `getaddrinfo_a(3)`, or `getaddrinfo(3)`.
 *
 * @param hostname The name of a host, or an IPv4 or IPv6 address.
 * @param options What to look for, and for how long.
 * @returns At least one address, in the order in which to try them.
 * @throws {LookupError} If the name does not resolve.
 * @throws {ErrnoError} `ETIMEDOUT` with `timeoutKind` `"deadline"` if `timeout`
 * passed; `EMFILE` or `ENFILE` if the resolver found no free descriptor.
 * @throws {TypeError} If an argument is of the wrong kind, or an option is not
 * known.
 * @throws {RangeError} If a number is out of range.
 * @throws {SyntaxError} If the name is empty, holds a NUL, or has no form in
 * ASCII.
 * @throws {DOMException} The reason of `signal`, if it is aborted before the
 * call: an `AbortError`, unless `abort()` was given another reason.
 * @throws {Error} The runtime's own error, if the program may not look it up.
 *
 * @example With an end in time
 * ```ts
 * import { lookupSync } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const [address] = lookupSync("::1", { port: 80, timeout: 500 });
 * assertEquals(`${address}`, "[::1]:80");
 * ```
 */
export function lookupSync(
  hostname: string,
  options?: LookupOptions,
): IpAddress[] {
  try {
    const { query, timeout, signal } = readRequest(hostname, options);
    signal?.throwIfAborted();
    const start = performance.now();
    const end = start + timeout;
    const c = libc();
    const literal = permitLookup(c, query);
    if (literal !== null) return [literal];
    const found = runLookup(c, query, end, start);
    return [...permitted(c, found, true)];
  } catch (error) {
    throw pointed(error, lookupSync);
  }
}

/** What a caller asks for, read once. */
interface LookupRequest {
  readonly query: LookupQuery;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
}

function readRequest(hostname: unknown, options: unknown): LookupRequest {
  const name = checkHostname(hostname);
  const { family, port = 0, timeout, signal } = readOptions(
    "options",
    options,
    LOOKUP_KEYS,
  );
  return {
    query: {
      hostname: name,
      port: checkInteger("port", port, MAX_PORT),
      family: checkFamily(family),
    },
    timeout: checkMilliseconds("timeout", timeout, Infinity),
    signal: checkSignal("signal", signal),
  };
}

const LOOKUP_KEYS = ["family", "port", "timeout", "signal"] as const;

/**
 * Asks for permission.
 *
 * @returns The address that the text is, `null` for a name.
 */
function permitLookup(
  c: Libc,
  { hostname, port, family }: LookupQuery,
): IpAddress | null {
  const address = parseIp(hostname, port);
  if (address === null) {
    c.permissions.demandHost(hostname, port);
    return null;
  }
  if (family !== undefined && family !== address.family) {
    throw own(
      new TypeError(
        `Cannot look up ${show(hostname)}: family asks for ${family}`,
      ),
    );
  }
  demand(c, address);
  return address;
}
