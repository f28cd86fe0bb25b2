/**
 * How long things took, in constant memory.
 *
 * @module
 */
import { notA } from "../errors/arguments.ts";

/** How some durations spread, in milliseconds. */
export interface Distribution {
  /** The least. */
  readonly min: number;
  /** The median, by nearest rank as the other quantiles are. */
  readonly p50: number;
  /** Nine of ten were at most this. */
  readonly p90: number;
  /** 99 of a hundred were at most this. */
  readonly p99: number;
  /** 999 of a thousand were at most this. */
  readonly p999: number;
  /** The greatest. */
  readonly max: number;
  /** The arithmetic mean. */
  readonly mean: number;
  /** The standard deviation of the whole, not of a sample. */
  readonly stddev: number;
}

/** A {@linkcode Histogram} as plain data, times in milliseconds. */
export interface HistogramData extends Distribution {
  /** How many durations were recorded. */
  readonly count: number;
  /** Each bucket that holds any: the greatest duration in it, and how many. */
  readonly buckets: readonly (readonly [upTo: number, count: number])[];
}

/** Counts are of nanoseconds, so that a microsecond has three digits, too. */
const NANOSECONDS = 1e6;

/** An hour, in nanoseconds. */
const LONGEST_DURATION = 3.6e12;

/** Buckets for each power of two: enough for three significant digits. */
const HALF = 1024;
const HALF_BITS = 10;

/** How many buckets up to a power of two there are at first: up to 1 ms. */
const FEW = 11 * HALF;

/** Where a duration in nanoseconds is counted. Its exponent is read from its bits. */
const float = new Float64Array(1);
const words = new Uint32Array(float.buffer);
float[0] = 1;
/** Which half of a number holds its exponent: that differs between processors. */
const HIGH = words[1] === 0 ? 0 : 1;

function indexOf(nanoseconds: number): number {
  if (nanoseconds < 2 * HALF) return nanoseconds;
  float[0] = nanoseconds;
  const shift = (words[HIGH]! >>> 20) - 1023 - HALF_BITS;
  return shift * HALF + Math.floor(nanoseconds / 2 ** shift);
}

/** The greatest duration, in nanoseconds, that is counted at a place. */
function highestOf(index: number): number {
  if (index < 2 * HALF) return index;
  const shift = Math.floor(index / HALF) - 1;
  return (index - shift * HALF + 1) * 2 ** shift - 1;
}

/**
 * Counts durations in buckets whose width grows with the duration, as
 * HdrHistogram does: constant memory however many there are, three significant
 * digits from a microsecond to an hour, and nanoseconds below that.
 *
 * Durations are in milliseconds. The least, the greatest and the mean are
 * exact; a quantile is at most a thousandth above the true one.
 *
 * @example The spread of a few durations
 * ```ts
 * import { Histogram } from "@einprogress/connect/tools";
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 *
 * const histogram = new Histogram();
 * for (let i = 1; i <= 1000; i++) histogram.record(i / 10);
 * assertEquals([histogram.count, histogram.max], [1000, 100]);
 * assertAlmostEquals(histogram.quantile(0.99), 99, 0.1);
 * ```
 */
export class Histogram {
  #counts: Float64Array = new Float64Array(FEW);
  #count = 0;
  #min = Infinity;
  #max = -Infinity;
  #mean = 0;
  /** The sum of the squared distances from the mean (Welford). */
  #squares = 0;

  /** How many durations were recorded. */
  get count(): number {
    return this.#count;
  }

  /** The least duration, `NaN` if there is none. */
  get min(): number {
    return this.#count === 0 ? NaN : this.#min;
  }

  /** The greatest duration, `NaN` if there is none. */
  get max(): number {
    return this.#count === 0 ? NaN : this.#max;
  }

  /** The arithmetic mean, `NaN` if there is no duration. */
  get mean(): number {
    return this.#count === 0 ? NaN : this.#mean;
  }

  /** The standard deviation of the whole, `NaN` if there is no duration. */
  get stddev(): number {
    return this.#count === 0 ? NaN : Math.sqrt(this.#squares / this.#count);
  }

  /**
   * Counts one duration.
   *
   * @param milliseconds How long it was; more than an hour counts as an hour.
   * @throws {RangeError} If it is negative or `NaN`.
   * @throws {TypeError} If it is not a number.
   */
  record(milliseconds: number): void {
    this.#add(checkDuration("duration", milliseconds), 1);
  }

  /**
   * Counts one duration, and those that it kept from being measured.
   *
   * A program that measures every `interval` and waits for each outcome measures too
   * seldom while things are slow (coordinated omission). This counts, besides
   * the duration, what the measurements left out would have seen: the duration
   * less one interval, less two, and so on, down to one interval.
   *
   * @param milliseconds How long it was.
   * @param interval How often it was to be measured, in milliseconds; 0
   * corrects nothing.
   * @throws {RangeError} If one of them is negative or `NaN`.
   * @throws {TypeError} If one of them is not a number.
   */
  recordCorrected(milliseconds: number, interval: number): void {
    const duration = checkDuration("duration", milliseconds);
    const step = checkDuration("interval", interval);
    this.#add(duration, 1);
    if (step === 0) return;
    for (let left = duration - step; left >= step; left -= step) {
      this.#add(left, 1);
    }
  }

  /**
   * The duration that a share of all durations does not exceed, by nearest
   * rank: of ten durations, `quantile(0.9)` is the ninth.
   *
   * @param share The share, 0 to 1; 0 is the least duration, 1 the greatest.
   * @returns Milliseconds, `NaN` if no duration was recorded.
   * @throws {RangeError} If the share is not from 0 to 1.
   * @throws {TypeError} If the share is not a number.
   */
  quantile(share: number): number {
    if (typeof share !== "number") throw notA("number", "quantile", share);
    if (!(share >= 0 && share <= 1)) {
      throw new RangeError(`Cannot use quantile ${share}: it must be 0 to 1`);
    }
    if (this.#count === 0) return NaN;
    if (share === 0) return this.#min;
    // The product of, say, 0.07 and 100 is a little above 7.
    const rank = Math.ceil(Number((share * this.#count).toPrecision(12)));
    let seen = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      seen += this.#counts[i]!;
      if (seen >= rank && seen > 0) return this.#within(i);
    }
    return this.#max;
  }

  /**
   * Adds everything that another histogram has counted.
   *
   * @throws {TypeError} If it is not a `Histogram`.
   */
  merge(other: Histogram): void {
    if (!(typeof other === "object" && other !== null && #counts in other)) {
      throw notA("Histogram", "histogram", other);
    }
    const count = this.#count + other.#count;
    if (other.#count === 0) return;
    this.#grow(other.#counts.length);
    for (let i = 0; i < other.#counts.length; i++) {
      this.#counts[i]! += other.#counts[i]!;
    }
    const apart = other.#mean - this.#mean;
    this.#squares += other.#squares +
      apart ** 2 * this.#count * other.#count / count;
    this.#mean += apart * other.#count / count;
    this.#count = count;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
  }

  /**
   * The percentiles as text, in the format `.hgrm` that HdrHistogram's plotters
   * read: a line for each, more of them the closer they are to 100 %.
   *
   * @returns Lines, values in milliseconds.
   */
  toHgrm(): string {
    const row = (...cells: [string, string, string, string]) =>
      cells.map((cell, i) => cell.padStart([12, 14, 10, 14][i]!)).join(" ");
    const lines = [
      row("Value", "Percentile", "TotalCount", "1/(1-Percentile)"),
      "",
    ];
    for (const { value, share, count } of this.#steps()) {
      const tail = share === 1 ? "" : (1 / (1 - share)).toFixed(2);
      const cells = [value.toFixed(3), share.toFixed(12), `${count}`] as const;
      lines.push(row(...cells, tail).trimEnd());
    }
    const fixed = (value: number) => value.toFixed(3).padStart(12);
    const whole = (value: number) => `${value}`.padStart(12);
    const { stddev } = this;
    const [mean, spread, most] = this.#count === 0
      ? [0, 0, 0]
      : [this.#mean, stddev, this.#max];
    lines.push(
      `#[Mean    = ${fixed(mean)}, StdDeviation   = ${fixed(spread)}]`,
      `#[Max     = ${fixed(most)}, Total count    = ${whole(this.#count)}]`,
      `#[Buckets = ${whole(BUCKETS)}, SubBuckets     = ${whole(2 * HALF)}]`,
    );
    return `${lines.join("\n")}\n`;
  }

  /** Everything as plain data, which `JSON.stringify` takes. */
  toJSON(): HistogramData {
    const buckets: [number, number][] = [];
    for (let i = 0; i < this.#counts.length; i++) {
      const count = this.#counts[i]!;
      if (count > 0) buckets.push([highestOf(i) / NANOSECONDS, count]);
    }
    return { count: this.#count, ...this.distribution(), buckets };
  }

  /** How the durations spread; each figure is `NaN` if there are none. */
  distribution(): Distribution {
    const { min, max, mean, stddev } = this;
    return {
      min,
      p50: this.quantile(0.5),
      p90: this.quantile(0.9),
      p99: this.quantile(0.99),
      p999: this.quantile(0.999),
      max,
      mean,
      stddev,
    };
  }

  #add(nanoseconds: number, times: number): void {
    const index = indexOf(nanoseconds);
    if (index >= this.#counts.length) this.#grow(index + 1);
    this.#counts[index]! += times;
    const value = nanoseconds / NANOSECONDS;
    this.#count += times;
    const apart = value - this.#mean;
    this.#mean += apart / this.#count;
    this.#squares += apart * (value - this.#mean);
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  #grow(length: number): void {
    if (length <= this.#counts.length) return;
    const grown = new Float64Array(Math.ceil(length / HALF) * HALF);
    grown.set(this.#counts);
    this.#counts = grown;
  }

  /** A bucket's greatest duration in ms, but no more than the greatest recorded. */
  #within(index: number): number {
    return Math.min(highestOf(index) / NANOSECONDS, this.#max);
  }

  /**
   * The percentiles that a plotter wants: five for each halving of what is left
   * to 100 %, and the last.
   */
  *#steps(): Generator<{ value: number; share: number; count: number }> {
    let seen = 0;
    // Of a hundred and not of one, since rounding differs: the plotters' own
    // percentiles are these.
    let percent = 0;
    for (let i = 0; seen < this.#count; i++) {
      seen += this.#counts[i]!;
      while (this.#counts[i]! > 0 && percent <= 100 * seen / this.#count) {
        yield { value: this.#within(i), share: percent / 100, count: seen };
        if (seen === this.#count) break;
        const halvings = Math.floor(Math.log2(100 / (100 - percent)));
        percent += 100 / (5 * 2 ** (halvings + 1));
      }
    }
    if (seen > 0) yield { value: this.#max, share: 1, count: seen };
  }
}

/** What the format calls buckets: the powers of two up to an hour. */
const BUCKETS = Math.floor(Math.log2(LONGEST_DURATION)) - HALF_BITS + 1;

/** A duration in whole nanoseconds, an hour at most. */
function checkDuration(name: string, milliseconds: unknown): number {
  if (typeof milliseconds !== "number") {
    throw notA("number", name, milliseconds);
  }
  if (!(milliseconds >= 0)) {
    throw new RangeError(
      `Cannot use ${name} ${milliseconds}: it must be 0 or more milliseconds`,
    );
  }
  return Math.min(Math.round(milliseconds * NANOSECONDS), LONGEST_DURATION);
}
