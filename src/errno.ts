/**
 * The errnos of connect(2): their numbers on every system, their classes, and
 * what they mean.
 *
 * Everything here works without the `ffi` permission, and opens no library.
 *
 * @example Telling people what to do
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
export {
  CATALOG,
  type CatalogEntry,
  type RetryAdvice,
  type SocketReuse,
} from "./explain/catalog.ts";
export {
  type EaiCode,
  Errno,
  type ErrnoAlias,
  type ErrnoClass,
  type ErrnoCode,
  type ErrnoContext,
  ErrnoError,
  type ErrnoErrorOf,
  type ErrnoFacts,
  errnoName,
  type Icmp,
  isErrno,
  LookupError,
} from "./errors/errors.ts";
export {
  ERRNOS,
  type ErrnoTable,
  explain,
  type ExplainOptions,
  type Explanation,
  type Failed,
  type LookupFacts,
  type Os,
} from "./explain/explain.ts";
export { isRetryable } from "./explain/retry.ts";
