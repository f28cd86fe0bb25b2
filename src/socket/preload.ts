/**
 * Opening what is otherwise opened bit by bit.
 *
 * @module
 */
import type { CFunctions } from "../../ffi/contract.ts";
import { declarationsFor, libc } from "../../ffi/libc.ts";

/**
 * Opens every C function that this package calls, now.
 *
 * Without it each is opened when it is first needed, which keeps the first
 * connect of a program short. Call it once, early,
 *
 * - at the top of a test file for `Deno.test`, whose `sanitizeResources` takes
 *   a function that is opened within a test for a leak ("A dynamic library was
 *   loaded during the test, but not unloaded");
 * - before a program on Deno gives up its permission for FFI, after which
 *   nothing more can be opened. (On Node, what is open cannot be used then
 *   either.)
 *
 * @throws {Error} The runtime's own error if it does not let the C library be opened.
 *
 * @example At the top of a test file
 * ```ts
 * import { connectSync, preload } from "@einprogress/connect";
 *
 * preload();
 *
 * Deno.test("the server listens", () => {
 *   using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 *   connectSync({ port: listener.addr.port }).close();
 * });
 * ```
 */
export function preload(): void {
  const c = libc();
  const entries = declarationsFor(c.abi).map(({ entry }) => entry);
  c.prepare(...entries as (keyof CFunctions)[]);
}
