/**
 * Many targets at once, and how long they take: failures are results here.
 *
 * @module
 */
export {
  type Distribution,
  Histogram,
  type HistogramData,
} from "./tools/histogram.ts";
