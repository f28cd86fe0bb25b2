/**
 * Durations as characters: a row of shades, and a line that goes up and down.
 *
 * @module
 */

/** The characters of a drawing, each from little to much. */
interface Palette {
  readonly shades: string;
  readonly bars: string;
}

const BLOCKS: Palette = {
  shades: " \u2591\u2592\u2593\u2588",
  bars: "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588",
};

const ASCII: Palette = { shades: " .:+#", bars: "_.-=+*%#" };

/** The columns of a heat row: the least and the greatest time, in ms. */
const SMALLEST_COLUMN = 0.01;
const DECADES = 6;

/** The most and the fewest columns for a power of ten. */
const WIDEST_DECADE = 8;
const NARROWEST_DECADE = 3;

/** The times at which the powers of ten begin. */
const LABELS = ["10us", "100us", "1ms", "10ms", "100ms", "1s"] as const;

/** Draws durations in a number of columns, in ASCII if it has to. */
export class Heat {
  readonly #palette: Palette;
  /** How many columns there are for each power of ten. */
  readonly #perDecade: number;

  /** For rows of so many columns at most, if there is room for a few. */
  constructor(width: number, isAscii: boolean) {
    this.#palette = isAscii ? ASCII : BLOCKS;
    this.#perDecade = Math.max(
      Math.min(Math.floor(width / DECADES), WIDEST_DECADE),
      NARROWEST_DECADE,
    );
  }

  /** The axis of a row, as wide as the row itself. */
  axis(): string {
    // Narrow ones have a label for every other power of ten.
    const step = this.#perDecade < 7 ? 2 : 1;
    return LABELS.filter((_, i) => i % step === 0)
      .map((label) => `|${label}`.padEnd(this.#perDecade * step)).join("");
  }

  /** A row of shades, each column a part of a power of ten. */
  row(times: readonly number[]): string {
    const { shades } = this.#palette;
    const perDecade = this.#perDecade;
    const counts = new Array<number>(DECADES * perDecade).fill(0);
    for (const time of times) {
      const place = Math.floor(Math.log10(time / SMALLEST_COLUMN) * perDecade);
      counts[Math.min(Math.max(place, 0), counts.length - 1)]!++;
    }
    const most = Math.max(...counts);
    return counts.map((count) => {
      const share = count === 0 ? 0 : count / most;
      return shades[Math.ceil(share * (shades.length - 1))]!;
    }).join("");
  }

  /** A line of bars for the latest durations, `null` for what has failed. */
  line(times: readonly (number | null)[]): string {
    const { bars } = this.#palette;
    const known = times.filter((time) => time !== null);
    const least = Math.min(...known);
    const range = Math.max(...known) - least;
    return times.map((time) => {
      if (time === null) return "x";
      const share = range === 0 ? 0 : (time - least) / range;
      return bars[Math.round(share * (bars.length - 1))]!;
    }).join("");
  }
}
