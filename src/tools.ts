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
export {
  type Grid,
  grid,
  type GridOptions,
  type GridTarget,
  type Hosts,
  type HostsInput,
  parseHosts,
  parsePorts,
  type Position,
} from "./tools/targets.ts";
