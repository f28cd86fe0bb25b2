/**
 * Many targets at once, and how long they take: failures are results here.
 *
 * @example Wait for a server, and measure how far it is
 * ```ts
 * import { Histogram, ping, waitFor } from "@einprogress/connect/tools";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * await waitFor({ port }, { timeout: 5000 });
 * const times = new Histogram();
 * for await (const { wall } of ping({ port }, { count: 5, interval: 1 })) {
 *   if (wall !== null) times.record(wall);
 * }
 * assertEquals(times.count, 5);
 * ```
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
