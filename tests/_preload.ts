/**
 * Opens the C library before any test: it stays open for as long as the
 * process lives, and leak checks would blame whichever test came first. So
 * would they for the worker that waits on Bun and Node.
 *
 * @module
 */
import { doorFor, libc, newMemory } from "../ffi/libc.ts";

/** What Bun has in the place of `--expose-gc`. */
const { Bun } = globalThis as unknown as { Bun?: { gc(force: boolean): void } };
if (Bun !== undefined) {
  Object.assign(globalThis, {
    gc({ type = "major" } = {}): void {
      Bun.gc(type === "major");
    },
  });
}

/** Milliseconds in which a worker starts. */
const START = 200;

const { pollAsync } = libc();
if (doorFor().openPoll !== undefined) await pollAsync(newMemory(8), 0, START);
