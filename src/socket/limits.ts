/**
 * What ends a wait on a socket.
 *
 * @module
 */

/** When and by what a wait ends. */
export interface Limits {
  readonly timeout: number;
  /** Of how long that is what is left, where one wait follows another. */
  readonly whole: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** Whether it has ended without a signal; `Transfers.recall` then. */
  readonly isOver: boolean;
}

/** No end, and nothing that calls it off. */
export const NO_LIMITS: Limits = {
  timeout: Infinity,
  whole: undefined,
  signal: undefined,
  isOver: false,
};
