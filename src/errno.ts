/**
 * The errnos of connect(2): their numbers on every system, their classes, and
 * what they mean.
 *
 * Everything here works without the `ffi` permission, and opens no library.
 *
 * @example What an errno means, and what to do
 * ```ts
 * import { Errno, ERRNOS, explain } from "@einprogress/connect/errno";
 * import { assertEquals } from "@std/assert";
 *
 * const explanation = explain("EADDRNOTAVAIL", { os: "freebsd" });
 * assertEquals(explanation.errno, 49);
 * assertEquals(explanation.retry, "later");
 * assertEquals(`${explanation}`.startsWith("EADDRNOTAVAIL (49 on freebsd)"), true);
 *
 * // The errors of the runtime's own modules have the same codes.
 * const error = Object.assign(new Error(), { code: "ECONNREFUSED" });
 * assertEquals(error.code in Errno, true);
 * assertEquals(ERRNOS.linux.ECONNREFUSED, 111);
 * ```
 *
 * @module
 */

// What the main entry point has as well carries its first line here, for JSR counts and shows each entry point for itself.
export {
  CATALOG,
  type CatalogEntry,
  /** What a further try can bring. */
  type RetryAdvice,
  /** Whether the same descriptor may be given to connect(2) once more. */
  type SocketReuse,
} from "./explain/catalog.ts";
export {
  /** The names that `<netdb.h>` gives to the failures of getaddrinfo. */
  type EaiCode,
  /** One exception class per errno, named by it. */
  Errno,
  /** The names by which one system's number may be called. */
  type ErrnoAlias,
  /** The class of one errno, for `instanceof`. */
  type ErrnoClass,
  /** Every name that `<errno.h>` gives a number on at least one of the known systems. */
  type ErrnoCode,
  /** What is known of a failed call besides its errno. */
  type ErrnoContext,
  /** A system call failed. */
  ErrnoError,
  /** An {@linkcode ErrnoError} of one errno. */
  type ErrnoErrorOf,
  /** What an {@linkcode ErrnoError} holds, as plain data. */
  type ErrnoFacts,
  /** The name of an errno number on this system. */
  errnoName,
  /** An ICMP error, as a router, a firewall or the host itself sent it. */
  type Icmp,
  /** Returns whether an error is an {@linkcode ErrnoError} of one errno. */
  isErrno,
  /** A host name could not be resolved. */
  LookupError,
} from "./errors/errors.ts";
export {
  ERRNOS,
  type ErrnoTable,
  /** Explains a failure: what it means, what each system's manual says of it, and what to do. */
  explain,
  /** For which system an errno is explained. */
  type ExplainOptions,
  /** What an errno of connect(2) means on one system, as plain data. */
  type Explanation,
  /** A result that carries the error of its failure: a `ProbeResult`, for example. */
  type Failed,
  /** What a {@linkcode LookupError} holds, as plain data. */
  type LookupFacts,
  /** The systems this package knows by name. */
  type Os,
} from "./explain/explain.ts";
export {
  /** Returns whether the same call may succeed later, without a change of the program or of the machine. */
  isRetryable,
} from "./explain/retry.ts";
