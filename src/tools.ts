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
export { type Destination } from "./tools/destination.ts";
export {
  type PendingTarget,
  WaitError,
  waitFor,
  type WaitForOptions,
  type WaitResult,
} from "./tools/wait.ts";
export { type Hop, trace, type TraceOptions } from "./tools/trace.ts";
export {
  probe,
  type Probeable,
  type ProbeOptions,
  type ProbeProgress,
  type ProbeReason,
  type ProbeResult,
  type ProbeState,
  type ProbeTarget,
  type Probing,
} from "./tools/probe.ts";
export {
  type Ping,
  ping,
  type Pinging,
  type PingOptions,
} from "./tools/ping.ts";
export { PingStats, type PingSummary } from "./tools/ping_stats.ts";
