/**
 * The signals of this system.
 *
 * @module
 */
import { constants } from "node:os";

/** The number of a signal; some have another one on each system. */
export function signalNumber(name: NodeJS.Signals): number {
  return constants.signals[name];
}
