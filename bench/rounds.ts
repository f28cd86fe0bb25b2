/**
 * Paired rounds: every side does the same work again and again, in turns, and is compared within each round, for what
 * disturbs a machine disturbs all sides of a round alike.
 *
 * A round is a closed loop: each connect begins when the one before it has ended, or when there is room for one more in
 * flight. A stall therefore delays the connects behind it and is seen once, where people who arrive at a fixed rate would
 * each have met what was left of it. That omission would flatter percentiles of latency, so none are given: a round counts as
 * a whole, stalls and all, divided by its connects, and quartiles are those of rounds. What is reported is the cost of a connect.
 * How long the network's own part of it was is asked of the kernel, not of a clock: see `handshake` in `report.ts`.
 *
 * @module
 */
import process from "node:process";

/** What some work took, in ns. */
export interface Sample {
  readonly wall: number;
  /** The time of all CPUs that its process spent. */
  readonly cpu: number;
}

/**
 * Does the work `count` times, and throws unless it went as it should. Returns a sample where it measures by
 * itself.
 */
export type Run = (count: number) => void | Promise<Sample | void>;

/** How some values are spread. */
export interface Spread {
  readonly min: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
}

/** What half of some values, and nine tenths of them, do not exceed. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
}

/** For how long each side warms up, in ms. */
const WARM_UP = 300;

/** How much of a round comes before it, untimed, to bring back what the other sides took from the caches. */
const LEAD = 0.05;

/**
 * Runs all sides, round by round.
 *
 * @param sides What to run, by name.
 * @param count How often the work is done in a round.
 * @param rounds How many rounds there are.
 * @param settle Is waited for after each run.
 * @returns The samples of each side, one for each round.
 */
export async function runRounds<N extends string>(
  sides: ReadonlyMap<N, Run>,
  count: number,
  rounds: number,
  settle: () => Promise<unknown>,
): Promise<Map<N, Sample[]>> {
  const order = [...sides];
  for (const [, run] of order) {
    const end = performance.now() + WARM_UP;
    do {
      await run(count);
      await settle();
    } while (performance.now() < end);
  }
  const samples = new Map(order.map(([name]) => [name, [] as Sample[]]));
  for (let round = 0; round < rounds; round++) {
    // Another one begins each time, so that none always follows the same one.
    order.push(order.shift()!);
    for (const [name, run] of order) {
      await run(Math.ceil(count * LEAD));
      samples.get(name)!.push(await sample(run, count));
      await settle();
    }
  }
  return samples;
}

async function sample(run: Run, count: number): Promise<Sample> {
  const before = process.cpuUsage();
  const start = performance.now();
  const result = run(count);
  const own = result instanceof Promise ? await result : undefined;
  if (own !== undefined) return own;
  const wall = (performance.now() - start) * 1e6;
  const { user, system } = process.cpuUsage(before);
  return { wall, cpu: (user + system) * 1e3 };
}

/** The spread of some values; quartiles by the nearest rank. */
export function spread(values: readonly number[]): Spread {
  const at = ranks(values);
  return { min: at(0), q1: at(0.25), median: at(0.5), q3: at(0.75) };
}

/** The percentiles of some values, by the nearest rank. */
export function percentiles(values: readonly number[]): Percentiles {
  const at = ranks(values);
  return { p50: at(0.5), p90: at(0.9) };
}

function ranks(values: readonly number[]): (share: number) => number {
  const sorted = values.toSorted((a, b) => a - b);
  return (share) => sorted[Math.round((sorted.length - 1) * share)]!;
}

/** The spread of the ratios of two sides, each taken within its round. */
export function ratio(
  above: readonly Sample[],
  below: readonly Sample[],
  metric: keyof Sample,
): Spread {
  return spread(above.map((one, round) => one[metric] / below[round]![metric]));
}
