import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import { build } from "hdr-histogram-js";
import { Histogram } from "../src/tools/histogram.ts";
import { test } from "./_harness.ts";

const HOUR = 3_600_000;
const SHARES = [0, 0.001, 0.07, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1];

/** The same durations in this package's histogram, and in the one that all others are measured by. */
function both(
  durations: readonly number[],
): readonly [ours: Histogram, oracle: ReturnType<typeof build>] {
  const ours = new Histogram();
  const oracle = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3.6e12,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 64,
  });
  for (const duration of durations) {
    ours.record(duration);
    oracle.recordValue(Math.round(duration * 1e6));
  }
  return [ours, oracle];
}

/** Numbers from 0 to 1, the same in each run (mulberry32). */
function* random(seed: number): Generator<number, never> {
  for (;;) {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    yield ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  }
}

/** Durations of every size from nanoseconds to an hour. */
function manyDurations(count: number, seed: number): number[] {
  const numbers = random(seed);
  return Array.from(
    { length: count },
    () => 10 ** (numbers.next().value * 12 - 6) * 3.6,
  );
}

test("Histogram has the quantiles that HdrHistogram has", () => {
  for (const seed of [1, 2, 3]) {
    const [ours, oracle] = both(manyDurations(5000, seed));
    for (const share of SHARES.slice(1)) {
      const expected = oracle.getValueAtPercentile(share * 100) / 1e6;
      assertEquals(ours.quantile(share), Math.min(expected, ours.max));
    }
    assertEquals(ours.count, oracle.totalCount);
    // The oracle takes the middle of each bucket for all that is in it.
    assertAlmostEquals(ours.mean / (oracle.mean / 1e6), 1, 1e-3);
    assertAlmostEquals(ours.stddev / (oracle.stdDeviation / 1e6), 1, 1e-3);
  }
});

test("Histogram keeps three digits from a microsecond to an hour", () => {
  for (let value = 0.001; value <= HOUR; value *= 1.37) {
    const histogram = new Histogram();
    histogram.record(value);
    histogram.record(HOUR);
    const found = histogram.quantile(0.5);
    assert(Math.abs(found - value) <= value / 1000, `${value}: ${found}`);
  }
});

test("Histogram writes the percentiles that HdrHistogram writes", () => {
  for (const count of [1, 2, 10, 1000]) {
    const [ours, oracle] = both(manyDurations(count, count));
    const rows = (text: string) =>
      text.trimEnd().split("\n").filter((line) => !line.startsWith("#"))
        .map((line) => line.trim().split(/ +/));
    const expected = rows(oracle.outputPercentileDistribution(5, 1e6));
    const found = rows(ours.toHgrm());
    assertEquals(found.length, expected.length);
    for (const [i, [value, ...rest]] of found.entries()) {
      assertEquals(rest, expected[i]!.slice(1));
      if (i < 2) continue;
      // Ours says no more than there was; theirs is the end of its bucket.
      const most = Math.min(Number(expected[i]![0]), ours.max);
      assertAlmostEquals(Number(value), most, most / 1000 + 0.0006);
    }
    assertEquals(
      ours.toHgrm().match(/^#\[.*\]$/gm)?.map((line) =>
        line.replace(/= +[\d.]+/g, "=")
      ),
      [
        "#[Mean    =, StdDeviation   =]",
        "#[Max     =, Total count    =]",
        "#[Buckets =, SubBuckets     =]",
      ],
    );
  }
});

test("Histogram corrects for what was not measured, as HdrHistogram does", () => {
  const ours = new Histogram();
  const oracle = build({
    highestTrackableValue: 3.6e12,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 64,
  });
  for (const [duration, interval] of [[100, 10], [7, 10], [95, 10], [3, 0]]) {
    ours.recordCorrected(duration!, interval!);
    const [value, step] = [duration! * 1e6, interval! * 1e6];
    if (step === 0) oracle.recordValue(value);
    else oracle.recordValueWithExpectedInterval(value, step);
  }
  assertEquals(ours.count, oracle.totalCount);
  for (const share of SHARES.slice(1)) {
    const expected = oracle.getValueAtPercentile(share * 100) / 1e6;
    assertEquals(ours.quantile(share), Math.min(expected, 100));
  }
});

test("Histogram merges to what one for all would be", () => {
  const [first, second] = [manyDurations(700, 8), manyDurations(3, 9)];
  const [all] = both([...first, ...second]);
  for (const [into, from] of [[first, second], [second, first]]) {
    const [one] = both(into!);
    one.merge(both(from!)[0]);
    const { mean, stddev, ...rest } = one.toJSON();
    const { mean: mean2, stddev: stddev2, ...rest2 } = all.toJSON();
    assertEquals(rest, rest2);
    assertAlmostEquals(mean / mean2, 1, 1e-9);
    assertAlmostEquals(stddev / stddev2, 1, 1e-9);
    one.merge(new Histogram());
    assertEquals(one.count, 703);
  }
  const twice = both([1, 2])[0];
  twice.merge(twice);
  assertEquals([twice.count, twice.mean], [4, 1.5]);
});

test("Histogram counts what is above an hour as an hour", () => {
  const histogram = new Histogram();
  for (const value of [HOUR, HOUR + 1, Number.MAX_VALUE, Infinity]) {
    histogram.record(value);
  }
  assertEquals([histogram.min, histogram.max], [HOUR, HOUR]);
  assertEquals([histogram.mean, histogram.stddev], [HOUR, 0]);
  assertEquals(histogram.quantile(0.5), HOUR);
  histogram.recordCorrected(Infinity, HOUR / 2);
  assertEquals([histogram.count, histogram.min], [6, HOUR / 2]);
});

test("an empty Histogram has no quantile", () => {
  const histogram = new Histogram();
  assertEquals(histogram.count, 0);
  for (const share of SHARES) assertEquals(histogram.quantile(share), NaN);
  const { min, max, mean, stddev } = histogram;
  assertEquals([min, max, mean, stddev], [NaN, NaN, NaN, NaN]);
  assertEquals(histogram.toJSON().buckets, []);
  assertEquals(histogram.toHgrm().split("\n").length, 6);
});

test("Histogram as JSON has every bucket", () => {
  const [histogram] = both([1, 1, 0.0005, 250]);
  const data = JSON.parse(JSON.stringify(histogram));
  assertEquals(data.count, 4);
  assertEquals([data.min, data.max, data.p50], [0.0005, 250, 1.000447]);
  assertEquals(
    data.buckets,
    [[0.0005, 1], [1.000447, 2], [250.085375, 1]],
  );
});

test("Histogram refuses what is no duration and no share", () => {
  const histogram = new Histogram();
  for (const value of [NaN, -1, -1e-9]) {
    assertThrows(() => histogram.record(value), RangeError, `${value}`);
    assertThrows(() => histogram.recordCorrected(value, 1), RangeError);
    assertThrows(() => histogram.recordCorrected(1, value), RangeError);
    assertThrows(() => histogram.quantile(value), RangeError, `${value}`);
  }
  assertThrows(() => histogram.quantile(1.01), RangeError, "1.01");
  for (const value of ["1", null, undefined, 1n, {}] as unknown[]) {
    assertThrows(() => histogram.record(value as number), TypeError);
    assertThrows(() => histogram.quantile(value as number), TypeError);
    assertThrows(() => histogram.merge(value as Histogram), TypeError);
  }
  assertEquals(histogram.count, 0);
});
