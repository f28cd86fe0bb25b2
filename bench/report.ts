/**
 * What a bench finds, as its JSON has it.
 *
 * @module
 */
import type { Percentiles, Spread } from "./rounds.ts";
import type { Side } from "./sides.ts";

/** What was measured, on what. */
export interface Report {
  /** The system, the CPU, the versions and the commit. */
  readonly machine: Readonly<Record<string, string>>;
  readonly floor: readonly FloorResult[];
  readonly cases: readonly CaseResult[];
  readonly memory: readonly MemoryResult[];
  /** What could not be measured, and why. */
  readonly skipped: readonly string[];
}

/** What one thing takes. */
export interface FloorResult {
  readonly name: string;
  readonly ns: Spread;
}

/** What connects take, by side. */
export interface CaseResult {
  readonly group: string;
  readonly name: string;
  /** How many connects a round has. */
  readonly connects: number;
  readonly rounds: number;
  readonly baseline: Side;
  readonly sides: Readonly<Partial<Record<Side, SideResult>>>;
  /**
   * What the kernel says that the handshake took, in µs: the median of some fresh connections of C and of ours, made
   * after the rounds.
   */
  readonly handshake?: Readonly<Record<"C" | "ours", number>>;
}

/** What one side's connects take. */
export interface SideResult {
  /** Microseconds for each connect. */
  readonly wall: Spread;
  readonly cpu: Spread;
  /** The ratio to the baseline within each round, of what was asked for. */
  readonly ratio: Spread;
  /** The same ratio of ours to this side. */
  readonly ours: Spread;
  /**
   * Where the peer takes its time: the microseconds of each connect beyond the
   * baseline's in the same round, and those of the processor.
   */
  readonly late?: Readonly<Record<"over" | "cpu", Percentiles>>;
}

/** Bytes for each connect or call. */
export interface MemoryResult {
  readonly name: string;
  readonly side: Side | "control";
  /** What the runtime counts of its own objects. */
  readonly heap: Spread;
  /** What the system counts of the process; absent where that says nothing. */
  readonly resident?: Spread;
}

/** The runtime's own connect among the sides of a case, by its name. */
export function ownConnect(
  { sides }: CaseResult,
): [name: Side, result: SideResult] | undefined {
  for (const name of ["Deno.connect", "Bun.connect", "node:net"] as const) {
    const result = sides[name];
    if (result !== undefined) return [name, result];
  }
  return undefined;
}
