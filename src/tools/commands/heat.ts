/**
 * Durations as characters: a row of shades, and a line that goes up and down.
 *
 * @module
 */

/** From nothing to much. */
const SHADES = [" ", "\u2591", "\u2592", "\u2593", "\u2588"] as const;

/** From little to much. */
const BARS =
  "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588" satisfies string;

/** The columns of a heat row: the least and the greatest time, in ms. */
const SMALLEST_COLUMN = 0.01;
const LARGEST_COLUMN = 10_000;

/** How many columns there are for each power of ten. */
const PER_DECADE = 8;

/** How many columns a row has. */
export const HEAT_WIDTH: number = Math.round(
  Math.log10(LARGEST_COLUMN / SMALLEST_COLUMN) * PER_DECADE,
);

/** The axis of a row, as wide as the row itself. */
export function heatAxis(): string {
  const labels = ["10us", "100us", "1ms", "10ms", "100ms", "1s"];
  return labels.map((label) => `|${label}`.padEnd(PER_DECADE)).join("");
}

/** A row of shades for some durations, each column a tenth of a power of ten or so. */
export function heatRow(times: readonly number[]): string {
  const counts = new Array<number>(HEAT_WIDTH).fill(0);
  for (const time of times) {
    const place = Math.floor(Math.log10(time / SMALLEST_COLUMN) * PER_DECADE);
    counts[Math.min(Math.max(place, 0), HEAT_WIDTH - 1)]!++;
  }
  const most = Math.max(...counts);
  return counts.map((count) => {
    if (count === 0) return SHADES[0];
    const shade = Math.ceil(count / most * (SHADES.length - 1));
    return SHADES[shade]!;
  }).join("");
}

/** A line of bars for the latest durations, `null` for what was lost. */
export function sparkline(times: readonly (number | null)[]): string {
  const known = times.filter((time) => time !== null);
  const least = Math.min(...known);
  const range = Math.max(...known) - least;
  return times.map((time) => {
    if (time === null) return "x";
    const share = range === 0 ? 0 : (time - least) / range;
    return BARS[Math.round(share * (BARS.length - 1))]!;
  }).join("");
}
