/**
 * The results of the probes of one target.
 *
 * @module
 */
import { increase } from "./counts.ts";
import { type Distribution, Histogram } from "./histogram.ts";
import type { Ping } from "./ping.ts";

/** The results of many probes of one target. Times are in milliseconds. */
export interface PingSummary {
  /** How many there were. */
  readonly probes: number;
  /** How many connected. */
  readonly connected: number;
  /** How many were answered, as {@linkcode Ping.answered} has it. */
  readonly answered: number;
  /** How many were not answered. */
  readonly failed: number;
  /** How many failed, by the name of the errno, most frequent first. */
  readonly failures: Readonly<Record<string, number>>;
  /** How many each sender of an ICMP error rejected, by its address. */
  readonly routers: Readonly<Record<string, number>>;
  /** How many probes had a SYN repeated. */
  readonly retransmitted: number;
  /** How many SYNs were sent, as far as the system counts them. */
  readonly syns: number;
  /** How many of those were repeats, 0 to 1; `null` if none was counted. */
  readonly loss: number | null;
  /**
   * The longest time without an answer: from the start of the first probe that
   * had none to the start of the next that had one, or to the end.
   */
  readonly outage: number;
  /** The wall clock of the answered ones, `null` if there are none. */
  readonly wall: Distribution | null;
  /** The kernel's round trip of those that have one, `null` if there are none. */
  readonly rtt: Distribution | null;
  /** The time since the answered ones were due, `null` if there are none. */
  readonly latency: Distribution | null;
  /**
   * How much the time differs from one probe to the next, on average: by the
   * kernel's round trip where there is one, else by the wall clock. `null`
   * before there are two.
   */
  readonly jitter: number | null;
}

/** Collects the probes of one target, in constant memory. */
export class PingStats {
  #probes = 0;
  #connected = 0;
  #answered = 0;
  #retransmitted = 0;
  #syns = 0;
  #repeats = 0;
  readonly #failures: Map<string, number> = new Map();
  readonly #routers: Map<string, number> = new Map();
  readonly #wall: Histogram = new Histogram();
  readonly #rtt: Histogram = new Histogram();
  readonly #latency: Histogram = new Histogram();
  /** What the last answered probe took. */
  #time: number | null = null;
  #changes = 0;
  #change = 0;
  /** When the outage began that is under way, `null` if none is. */
  #down: number | null = null;
  /** When the last probe began. */
  #latest = 0;
  /** The longest time from probe to probe in the latest outage. */
  #gap = 0;
  /** How long the latest outage was, and the longest of those before. */
  #last = 0;
  #longest = 0;

  /** How many probes connected. */
  get connected(): number {
    return this.#connected;
  }

  /** How long it took since each answered probe was due. */
  get latency(): Histogram {
    return this.#latency;
  }

  /** Counts one more probe. */
  add(ping: Ping): void {
    const { start, wall, rtt, latency, retransmits, icmp, code, state } = ping;
    this.#probes++;
    if (retransmits !== null && state !== "unsent") {
      if (retransmits > 0) this.#retransmitted++;
      this.#syns += 1 + retransmits;
      this.#repeats += retransmits;
    }
    if (icmp !== null) increase(this.#routers, icmp.from);
    if (this.#down !== null) {
      this.#gap = Math.max(this.#gap, start - this.#latest);
      this.#last = start - this.#down;
    }
    this.#latest = start;
    if (!ping.answered) {
      if (code !== null) increase(this.#failures, code);
      if (this.#down === null) this.#begin(start);
      return;
    }
    if (this.#down === null) this.#gap = 0;
    this.#down = null;
    this.#answered++;
    if (state === "open") this.#connected++;
    if (wall !== null) this.#wall.record(wall);
    if (rtt !== null) this.#rtt.record(rtt);
    if (latency !== null) this.#latency.record(latency);
    const time = rtt ?? wall;
    if (time === null) return;
    if (this.#time !== null) {
      this.#changes++;
      this.#change += Math.abs(time - this.#time);
    }
    this.#time = time;
  }

  /**
   * Takes the time for which the process was suspended out of the latest
   * outage. Call it upon SIGCONT: the longest time between two probes of the
   * outage counts as that time.
   */
  resume(): void {
    const now = performance.now();
    // The next probe may have begun before the signal was there.
    const away = Math.max(
      this.#gap,
      this.#down === null ? 0 : now - this.#latest,
    );
    this.#last = Math.max(this.#last - away, 0);
    if (this.#down !== null) this.#down += away;
    this.#gap = 0;
  }

  #begin(start: number): void {
    this.#longest = Math.max(this.#longest, this.#last);
    this.#down = start;
    this.#last = 0;
    this.#gap = 0;
  }

  /** The results so far. */
  summary(): PingSummary {
    return {
      probes: this.#probes,
      connected: this.#connected,
      answered: this.#answered,
      failed: this.#probes - this.#answered,
      failures: ranked(this.#failures),
      routers: ranked(this.#routers),
      retransmitted: this.#retransmitted,
      syns: this.#syns,
      loss: this.#syns === 0 ? null : this.#repeats / this.#syns,
      outage: this.#down === null
        ? Math.max(this.#longest, this.#last)
        : Math.max(this.#longest, performance.now() - this.#down),
      wall: spread(this.#wall),
      rtt: spread(this.#rtt),
      latency: spread(this.#latency),
      jitter: this.#changes === 0 ? null : this.#change / this.#changes,
    };
  }
}

function ranked(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

function spread(histogram: Histogram): Distribution | null {
  return histogram.count === 0 ? null : histogram.distribution();
}
