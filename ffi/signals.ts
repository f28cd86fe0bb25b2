/**
 * The signals of this system.
 *
 * @module
 */
import { constants } from "node:os";
import process from "node:process";

/** The number of a signal; some have another one on each system. */
export function signalNumber(name: NodeJS.Signals): number {
  return constants.signals[name];
}

/**
 * Ends this process by a signal that nobody listens to, or else by its exit
 * code: the exit of Node waits for system calls that other threads are in, and
 * a signal on Deno takes a permission.
 */
export function endBySignal(name: string): never {
  if (!("Deno" in globalThis)) process.kill(process.pid, name);
  process.exit();
}
