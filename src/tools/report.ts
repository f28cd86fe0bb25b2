/**
 * The JSON lines of a ping or a scan, gathered for a report.
 *
 * @module
 */
import { isObject } from "../errors/arguments.ts";
import { increase } from "./counts.ts";
import { Histogram } from "./histogram.ts";
import { PROBE_STATES, type ProbeState } from "./verdict.ts";

/** The probes of one target. Times are in milliseconds, those of day since 1970. */
export interface PingSeries {
  readonly name: string;
  /** Each address that was met, in order. */
  readonly addresses: string[];
  /** When each probe began. */
  readonly times: number[];
  /** The wall clock of each, `NaN` where it was not answered. */
  readonly walls: number[];
  /** The kernel's round trip of each, `NaN` where there is none. */
  readonly rtts: number[];
  readonly wall: Histogram;
  readonly rtt: Histogram;
  readonly latency: Histogram;
  /** How many failed, by the name of the errno. */
  readonly failures: Map<string, number>;
  /** How many SYNs were sent, and how many of them were repeats. */
  syns: number;
  repeats: number;
}

/** What a scan has found of a port: one record for all of which that is the same. */
export interface PortFinding {
  readonly state: ProbeState;
  /** The name of the errno, `null` for an open port. */
  readonly code: string | null;
  /** Who has rejected, `null` if nobody has. */
  readonly router: string | null;
}

/** The ports of a scan. */
export interface ScanGrid {
  /** The last finding of each port of each host: a scan that goes on may repeat some. */
  readonly hosts: Map<string, Map<number, PortFinding>>;
  readonly states: Map<ProbeState, number>;
  /** How many ports each router rejected. */
  readonly routers: Map<string, number>;
  /** How many were not open, by the name of the errno. */
  readonly failures: Map<string, number>;
  /** How many scans have written their summary. */
  summaries: number;
}

/** How every line begins. */
const LINE_START = '{"v":1,';

/** Lines of the wrong shape. */
export class LineError extends SyntaxError {
  /** The name of the class. */
  override readonly name = "LineError";
}

/** Gathers lines, in memory that grows with the probes of a ping alone. */
export class ReportData {
  readonly pings: Map<string, PingSeries> = new Map();
  readonly scan: ScanGrid = {
    hosts: new Map(),
    states: new Map(),
    routers: new Map(),
    failures: new Map(),
    summaries: 0,
  };
  /**
   * The numbers of lines that were cut, as by a full disk or a SIGKILL. Where
   * another run has gone on behind one, the rest of the line counts.
   */
  readonly cut: number[] = [];
  #lines = 0;
  readonly #findings: Map<string, PortFinding> = new Map();
  /** How many lines of ports since the last summary have each state or router. */
  readonly #shown: Map<string, number> = new Map();

  /** Whether no line has anything to report. */
  get isEmpty(): boolean {
    const { hosts, summaries } = this.scan;
    return this.pings.size === 0 && hosts.size === 0 && summaries === 0;
  }

  /**
   * Takes one line. Types that are not for a report are left out.
   *
   * @throws {LineError} If it is no line of a command.
   */
  add(text: string): void {
    this.#lines++;
    if (text.trim() === "") return;
    let line = parsed(text);
    if (line === undefined) {
      const isOurs = text.startsWith(LINE_START.slice(0, text.length));
      if (!isOurs) throw this.#bad("it is no JSON");
      this.cut.push(this.#lines);
      const next = text.lastIndexOf(LINE_START);
      if (next > 0) line = parsed(text.slice(next));
      if (line === undefined) return;
    }
    if (typeof line !== "object" || line === null || Array.isArray(line)) {
      throw this.#bad("it is no object");
    }
    const fields = line as Record<string, unknown>;
    if (fields.v !== 1) throw this.#bad('it has no "v": 1');
    if (fields.type === "ping") this.#addPing(fields);
    else if (fields.type === "port") this.#addPort(fields);
    else if (fields.type === "scan") this.#addSummary(fields);
  }

  #addPing(fields: Record<string, unknown>): void {
    const name = this.#text(fields, "target");
    const time = Date.parse(this.#text(fields, "time"));
    if (Number.isNaN(time)) throw this.#bad("its time is none");
    let series = this.pings.get(name);
    if (series === undefined) this.pings.set(name, series = newSeries(name));
    const { address, state, code, retransmits } = fields;
    if (typeof address === "string" && series.addresses.at(-1) !== address) {
      series.addresses.push(address);
    }
    const isAnswer = fields.answered === true;
    const wall = isAnswer ? this.#time(fields, "wall") : NaN;
    const rtt = isAnswer ? this.#time(fields, "rtt") : NaN;
    const latency = isAnswer ? this.#time(fields, "latency") : NaN;
    series.times.push(time);
    series.walls.push(wall);
    series.rtts.push(rtt);
    if (!Number.isNaN(wall)) series.wall.record(wall);
    if (!Number.isNaN(rtt)) series.rtt.record(rtt);
    if (!Number.isNaN(latency)) series.latency.record(latency);
    if (typeof code === "string" && !isAnswer) {
      increase(series.failures, code);
    }
    if (typeof retransmits === "number" && state !== "unsent") {
      series.syns += 1 + retransmits;
      series.repeats += retransmits;
    }
  }

  #addPort(fields: Record<string, unknown>): void {
    const target = this.#text(fields, "target");
    const [, host, port] = /^(.*):([0-9]+)$/.exec(target) ?? [];
    if (host === undefined) throw this.#bad("its target is none");
    const { state, code, icmp } = fields;
    if (
      typeof state !== "string" || !PROBE_STATES.includes(state as ProbeState)
    ) {
      throw this.#bad("its state is none");
    }
    const { hosts } = this.scan;
    let ports = hosts.get(host);
    if (ports === undefined) hosts.set(host, ports = new Map());
    const before = ports.get(Number(port));
    if (before !== undefined) this.#count(before, -1);
    const finding = this.#shared({
      state: state as ProbeState,
      code: typeof code === "string" && state !== "open" ? code : null,
      router: typeof icmp === "object" && icmp !== null && "from" in icmp
        ? String(icmp.from)
        : null,
    });
    ports.set(Number(port), finding);
    this.#count(finding, 1);
    increase(this.#shown, state);
    if (finding.router !== null) increase(this.#shown, finding.router);
  }

  #shared(finding: PortFinding): PortFinding {
    const key = Object.values(finding).join(" ");
    const known = this.#findings.get(key);
    if (known === undefined) this.#findings.set(key, finding);
    return known ?? finding;
  }

  #count({ state, code, router }: PortFinding, by: 1 | -1): void {
    const { states, routers, failures } = this.scan;
    increase(states, state, by);
    if (code !== null) increase(failures, code, by);
    if (router !== null) increase(routers, router, by);
  }

  /** Counts what has no line of its own: --open and -q leave lines out. */
  #addSummary(fields: Record<string, unknown>): void {
    const { states, routers } = this.scan;
    for (const state of PROBE_STATES) {
      this.#addUnshown(states, state, fields[state]);
    }
    if (!Array.isArray(fields.routers)) throw this.#bad("it has no routers");
    for (const router of fields.routers) {
      if (!isObject(router)) throw this.#bad("one of its routers is none");
      const { from, rejected } = router as Record<string, unknown>;
      this.#addUnshown(routers, String(from), rejected);
    }
    this.#shown.clear();
    this.scan.summaries++;
  }

  #addUnshown<K extends string>(
    counts: Map<K, number>,
    key: K,
    all: unknown,
  ): void {
    if (!Number.isSafeInteger(all)) {
      throw this.#bad(`it has no count of ${key}`);
    }
    const rest = (all as number) - (this.#shown.get(key) ?? 0);
    if (rest > 0) increase(counts, key, rest);
  }

  #text(fields: Record<string, unknown>, name: string): string {
    const value = fields[name];
    if (typeof value === "string" && value !== "") return value;
    throw this.#bad(`it has no ${name}`);
  }

  #time(fields: Record<string, unknown>, name: string): number {
    const value = fields[name];
    if (value === null || value === undefined) return NaN;
    if (typeof value === "number" && value >= 0) return value;
    throw this.#bad(`its ${name} is no time`);
  }

  #bad(why: string): LineError {
    return new LineError(`Cannot report line ${this.#lines}: ${why}`);
  }
}

/** The value of a text, `undefined` if it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function newSeries(name: string): PingSeries {
  return {
    name,
    addresses: [],
    times: [],
    walls: [],
    rtts: [],
    wall: new Histogram(),
    rtt: new Histogram(),
    latency: new Histogram(),
    failures: new Map(),
    syns: 0,
    repeats: 0,
  };
}
