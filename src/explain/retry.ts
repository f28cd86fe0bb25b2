/**
 * Whether a failure is worth another try.
 *
 * @module
 */
import type { EaiCode, ErrnoCode } from "../../ffi/abi.ts";
import { LookupError } from "../errors/errors.ts";
import { CATALOG, type RetryAdvice } from "./catalog.ts";

/** What no page of connect has, for it ends connections that stand: a new one may last longer. */
const BROKEN_CONNECTIONS: Readonly<Partial<Record<ErrnoCode, RetryAdvice>>> = {
  ECONNABORTED: "later",
  ENETRESET: "later",
  EPIPE: "later",
};

/** The failed lookups that a later one may mend. */
const LOOKUPS: ReadonlySet<unknown> = new Set<EaiCode>([
  "EAI_AGAIN",
  "EAI_MEMORY",
]);

/**
 * Returns whether the same call may succeed later, without a change of the
 * program, its arguments or the machine's configuration.
 *
 * That is so for every errno whose {@linkcode Explanation.retry} is not
 * `"never"`: a peer that refuses or does not reply may start, a route may come,
 * ports and descriptors become free. It is not so where a rule forbids the
 * connection, an argument does not fit, or the caller has cancelled the call.
 * Where several addresses were tried, one that is worth another try is enough.
 * A failed lookup is worth another try if the name server did not reply.
 *
 * The errors of a runtime's own modules are judged by their `code`, which has
 * the same names. What has no such code is not worth another try.
 *
 * @param error Anything that was caught.
 * @returns Whether to try again, after a pause.
 *
 * @example Up to five tries, as long as another one can help
 * ```ts
 * import { connect, isRetryable, type Socket } from "@einprogress/connect";
 * import { assertRejects } from "@std/assert";
 *
 * async function connectPatiently(port: number): Promise<Socket> {
 *   for (let tries = 1;; tries++) {
 *     try {
 *       return await connect({ port, timeout: 500 });
 *     } catch (error) {
 *       if (tries === 5 || !isRetryable(error)) throw error;
 *       await new Promise((done) => setTimeout(done, 2 ** tries));
 *     }
 *   }
 * }
 *
 * await assertRejects(() => connectPatiently(9));
 * ```
 */
export function isRetryable(error: unknown): boolean {
  try {
    return canPass(error, new Set());
  } catch {
    // A proxy, or a getter, that says nothing of itself.
    return false;
  }
}

/** @param seen What was looked at before: errors may hold each other. */
function canPass(error: unknown, seen: Set<unknown>): boolean {
  if (!(error instanceof Error) || seen.has(error)) return false;
  seen.add(error);
  const { code, errors } = error as { code?: unknown; errors?: unknown };
  if (LOOKUPS.has(code)) return true;
  if (error instanceof LookupError) return canPass(error.cause, seen);
  if (Array.isArray(errors) && errors.length > 0) {
    return errors.some((each) => canPass(each, seen));
  }
  const advice = typeof code === "string" ? adviceFor(code) : undefined;
  return advice !== undefined && advice !== "never";
}

function adviceFor(code: string): RetryAdvice | undefined {
  if (Object.hasOwn(CATALOG, code)) return CATALOG[code as ErrnoCode]!.retry;
  return Object.hasOwn(BROKEN_CONNECTIONS, code)
    ? BROKEN_CONNECTIONS[code as ErrnoCode]
    : undefined;
}
