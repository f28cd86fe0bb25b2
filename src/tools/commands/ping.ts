/**
 * The command `ping`: how long a connect takes, again and again.
 *
 * @module
 */
import { clearInterval, setInterval } from "node:timers";
import type { ConnectTarget } from "../../connect/target.ts";
import { destinationText } from "../destination.ts";
import { type Distribution, Histogram } from "../histogram.ts";
import { listenLoopback, type LoopbackListener } from "../loopback.ts";
import { type Ping, ping, type Pinging, type PingOptions } from "../ping.ts";
import { PingStats, type PingSummary } from "../ping_stats.ts";
import { createFile, type FileSink } from "./files.ts";
import {
  alignedRows,
  type CliIo,
  type Command,
  CONNECT_OPTIONS,
  connectFlags,
  destinationOf,
  EXIT,
  interruptedCode,
  openOutput,
  type Output,
  parseArguments,
  parseCount,
  parseRate,
  parseTime,
  parseWord,
  restricted,
  UsageError,
} from "./frame.ts";
import { Heat } from "./heat.ts";

const PING_OPTIONS = {
  ...CONNECT_OPTIONS,
  count: { type: "string", short: "c" },
  interval: { type: "string", short: "i" },
  rate: { type: "string", short: "r" },
  deadline: { type: "string", short: "w" },
  refused: { type: "string" },
  "re-resolve": { type: "string" },
  timestamps: { type: "boolean", short: "D" },
  hdr: { type: "string" },
  warn: { type: "string" },
  crit: { type: "string" },
  live: { type: "boolean" },
} as const;

const PING_COLUMNS = [
  "target",
  "seq",
  "time",
  "address",
  "localAddress",
  "state",
  "reason",
  "answered",
  "code",
  "icmp",
  "retransmits",
  "wall",
  "rtt",
  "latency",
];

const PING_HELP = `\
Measures how long a connect takes, again and again.

Usage: ping [TARGET...] [OPTIONS]

TARGET
  HOST:PORT              a name or an IPv4 address; the addresses of a name are
                         tried as connect tries them, the first that connects
                         is kept
  [IPV6]:PORT            an IPv6 address, with its zone: [fe80::1%eth0]:22
  unix:PATH, unix:@NAME  a Unix socket, an abstract one (Linux)
  vsock:CID:PORT         a port of a virtual machine, or of its host
  Without a target, a listener on the loopback interface that it starts itself.

OPTIONS
  -c, --count N          how many probes of each target; 0 goes on until
                         interrupted [10; with -w, 0]
  -i, --interval TIME    from the start of one to the start of the next [100ms]
  -r, --rate N           N probes a second, begun on time whether or not those
                         before have ended; their latency counts from when they
                         were due
  -w, --deadline TIME    end after so long; with --rate, after the first probe
  -t, --timeout TIME     how long one probe may take [3s]
      --refused WHAT     a refusal is a failure, or an answer [failure]
      --re-resolve N     resolve names again after N probes
      --source ADDR      the IP address to connect from
      --interface IF     the network interface to connect through
  -4, -6                 IPv4 or IPv6 only
  -D, --timestamps       begin each line with the time: seconds since 1970
  -q, --quiet            no line for each probe, only the summary
      --live             a line for each target, and each second a row of shades
                         by latency
      --hdr FILE         write the latencies as percentiles (.hgrm)
      --warn TIME, --crit TIME
                         exit 1 or 2 if the mean latency is above, as monitors
                         expect; --crit also if nothing was answered
      --json, --csv      a line for each probe, for machines
  -o, --output FILE      write there; it may be a FIFO
  -h, --help             this text
  TIME is 200us, 100ms, 1.5s, 5m or 1h; without a unit, milliseconds.

WHAT IS MEASURED, in milliseconds
  wall     From the call of connect(2) until its outcome is known. Resolving the
           name, opening the socket, setting its options, binding and closing it
           are not in it; neither is what only a first connect in a process
           costs, as loading the C library. Waking up is: a machine that rested
           between the probes is slower than one under load (--interval 0).
  kernel   The round trip of the handshake as the kernel saw it (TCP_INFO); none
           for Unix sockets, after a repeated SYN, and where the system does not
           report it. wall less kernel is what the system call, the wake-up and
           the runtime cost.
  latency  With --rate: from when the probe was due until its outcome is known.
  jitter   How much kernel, or else wall, differs from one probe to the next, on
           average.
  loss     Of all SYNs that were sent, how many were repeats.
  outage   The longest time without an answer.
  The summary covers the probes that were answered. A quantile is the value at
  the nearest rank: of ten values, p90 is the ninth and p99 the tenth.

KEYS AND SIGNALS
  Enter and SIGQUIT write the summary so far. SIGINT and SIGTERM end the ping
  with its summary; a probe under way then is one without an answer so far.

EXAMPLES
  ping localhost:8080 -c 0
  ping a.test:443 b.test:443 -i 1s -D
  ping [::1]:22 --rate 1000 -w 10s --hdr ssh.hgrm
  ping db.example:5432 -q -c 5 --warn 20ms --crit 100ms

EXIT CODE
  0   at least one probe was answered
  1   no probe was answered; the mean is above --warn
  2   nothing could be sent: wrong usage, a name that does not resolve, a
      permission that is missing, a source that this machine does not have; or
      the mean is above --crit
  3   a file is incomplete: the disk is full
  130 interrupted (SIGINT), 143 by SIGTERM, after the summary

PERMISSIONS, on Deno
  --allow-ffi --allow-net, and --allow-read --allow-write for unix:PATH; alone
  --allow-write for -o and --hdr
`;

/** The arguments, understood. */
interface PingCall {
  readonly targets: readonly ConnectTarget[];
  readonly options: PingOptions;
  /** When to end, in ms, `null` for never. */
  readonly deadline: number | null;
  readonly quiet: boolean;
  readonly live: boolean;
  readonly timestamps: boolean;
  /** Takes the percentiles in the end. */
  readonly hdr: FileSink | null;
  readonly warn: number;
  readonly crit: number;
  readonly listener: LoopbackListener | null;
}

/** The command `ping`. */
export const pingCommand: Command = {
  purpose: "how long a connect takes, again and again",
  help: PING_HELP,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, PING_OPTIONS);
    const flags = connectFlags(values);
    const { timeout } = flags;
    const places = positionals.map((text) =>
      restricted(destinationOf(text), { ...flags, timeout: undefined })
    );
    const deadline = parseTime("--deadline", values.deadline, null);
    const rate = parseRate("--rate", values.rate, undefined);
    const interval = parseTime("--interval", values.interval, undefined);
    if (rate !== undefined && interval !== undefined) {
      throw new UsageError("Cannot use --rate and --interval together");
    }
    const count = parseCount(
      "--count",
      values.count,
      countWithin(deadline, rate),
    );
    const options: PingOptions = {
      count,
      ...interval === undefined ? {} : { interval },
      ...rate === undefined ? {} : { rate },
      ...timeout === undefined ? {} : { timeout },
      refused: parseWord("--refused", values.refused, ["failure", "answer"]),
      resolveEvery: parseCount("--re-resolve", values["re-resolve"], 0),
    };
    const call = {
      options,
      deadline,
      quiet: values.quiet,
      live: values.live,
      timestamps: values.timestamps,
      warn: parseTime("--warn", values.warn, Infinity),
      crit: parseTime("--crit", values.crit, Infinity),
    };
    if (values.live && (values.json || values.csv || values.quiet)) {
      throw new UsageError("Cannot use --live with --json, --csv or --quiet");
    }
    const output = await openOutput(values, io, PING_COLUMNS);
    let hdr: FileSink | null = null;
    try {
      if (values.hdr !== undefined) {
        const { file } = output;
        hdr = await createFile(
          values.hdr,
          io.signal,
          file === null ? [] : [file],
        );
      }
      if (places.length > 0) {
        const run = new PingReport(
          { ...call, hdr, targets: places, listener: null },
          output,
          io,
        );
        return await run.go();
      }
      const listener = await listenLoopback(flags.family);
      try {
        const { hostname, port } = listener;
        const target = restricted({ hostname, port }, {
          ...flags,
          timeout: undefined,
        });
        const run = new PingReport(
          { ...call, hdr, targets: [target], listener },
          output,
          io,
        );
        return await run.go();
      } finally {
        await listener.close();
      }
    } finally {
      try {
        await hdr?.close();
      } finally {
        await output.close();
      }
    }
  },
};

/** One target, and the results of its probes. */
interface Pinged {
  readonly name: string;
  readonly stats: PingStats;
  address: string | null;
  isSent: boolean;
  /** The latencies of the latest second, and how many probes had none. */
  second: number[];
  failed: number;
  /** The latest latencies, `null` for what has failed. */
  readonly recent: (number | null)[];
}

/** How many of the latest probes a sparkline shows. */
const RECENT = 24;

/** Where there is room for fewer, none are shown. */
const LEAST_RECENT = 4;

/** How wide the time is at the beginning of a heat row. */
const CLOCK_WIDTH = 9;

/** Reasons that may pass: a route appears when a cable is plugged in. */
const PASSING: ReadonlySet<string> = new Set([
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ENETDOWN",
  "EHOSTDOWN",
]);

/** How many probes a ping has that is not given a number, 0 for no end. */
function countWithin(deadline: number | null, rate: number | undefined) {
  if (deadline === null) return 10;
  return rate === undefined ? 0 : Math.ceil(rate * deadline / 1000);
}

/** A ping from its beginning to its exit code. */
class PingReport {
  readonly #call: PingCall;
  readonly #output: Output;
  readonly #io: CliIo;
  readonly #pinged: readonly Pinged[];
  /** How many lines of the live view may be drawn over. */
  #drawn = 0;

  constructor(call: PingCall, output: Output, io: CliIo) {
    this.#call = call;
    this.#output = output;
    this.#io = io;
    this.#pinged = call.targets.map((target) => ({
      name: destinationText(target),
      stats: new PingStats(),
      address: null,
      isSent: false,
      second: [],
      failed: 0,
      recent: [],
    }));
  }

  async go(): Promise<number> {
    const { targets, options, deadline, live, hdr } = this.#call;
    const { signal, onRequest, onResume, err } = this.#io;
    const stop = new AbortController();
    const probes = ping(targets, { ...options, signal: stop.signal });
    if (live) {
      this.#output.write(`${" ".repeat(CLOCK_WIDTH)}${this.#heat().axis()}\n`);
    }
    const interrupt = () => stop.abort();
    signal?.addEventListener("abort", interrupt);
    if (signal?.aborted) interrupt();
    let isLate = false;
    const end = () => {
      isLate = true;
      stop.abort();
    };
    let timer = deadline === null ? null : setTimeout(end, deadline);
    // What comes before the first probe takes no time away from an open loop.
    const begun = (start: number) => {
      if (timer === null || options.rate === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(end, start + deadline! - performance.now());
    };
    let broken: { readonly reason: unknown } | null = null;
    const ticker = !live ? null : setInterval(() => {
      try {
        this.#tick();
      } catch (reason) {
        broken ??= { reason };
        stop.abort();
      }
    }, 1000);
    const listening = [
      onRequest?.(() => err(this.#summaries([]))),
      onResume?.(() => {
        for (const { stats } of this.#pinged) stats.resume();
      }),
    ];
    let failure: Error | null;
    try {
      failure = await this.#read(probes, stop.signal, begun);
    } finally {
      signal?.removeEventListener("abort", interrupt);
      if (timer !== null) clearTimeout(timer);
      if (ticker !== null) clearInterval(ticker);
      for (const one of listening) one?.[Symbol.dispose]();
    }
    if (broken !== null) throw (broken as { reason: unknown }).reason;
    if (failure !== null) {
      err(`ping: ${failure.message}\n`);
      return EXIT.usage;
    }
    if (live) this.#tick();
    this.#finish(probes.inFlight);
    if (hdr !== null) this.#writeHistogram(hdr);
    if (signal?.aborted && !isLate) return interruptedCode(this.#io);
    return this.#judge();
  }

  /** Reads the results; returns why nothing can be sent, if so. */
  async #read(
    probes: Pinging,
    signal: AbortSignal,
    begun: (start: number) => void,
  ): Promise<Error | null> {
    const { listener } = this.#call;
    let isFirst = true;
    try {
      for await (const probe of probes) {
        if (isFirst) begun(probe.start);
        isFirst = false;
        this.#add(probe);
        await this.#output.drained(signal);
        await listener?.settled(this.#pinged[0]!.stats.connected);
        const isIdle = probes.inFlight.every((count) => count === 0);
        const failure = isIdle ? this.#hopeless(probe) : null;
        if (failure !== null) return failure;
      }
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
    }
    return null;
  }

  #add(probe: Ping): void {
    const one = this.#pinged[probe.index]!;
    const { quiet, live } = this.#call;
    one.stats.add(probe);
    if (probe.state !== "unsent") one.isSent = true;
    const before = one.address;
    if (probe.address !== null) one.address = probe.address;
    const value = probe.answered ? probe.latency : null;
    if (value === null) one.failed++;
    else one.second.push(value);
    one.recent.push(value);
    if (one.recent.length > RECENT) one.recent.shift();
    if (quiet || live) return;
    this.#output.result(
      "ping",
      fieldsOf(one.name, probe),
      () => {
        const prefix = this.#prefix(probe);
        const moved = before === null || probe.address === null ||
            before === probe.address
          ? ""
          : `${prefix}${one.name} is at ${probe.address} now, not at ${before}\n`;
        return `${moved}${prefix}${this.#line(one, probe)}\n`;
      },
    );
  }

  #prefix({ time }: Ping): string {
    if (!this.#call.timestamps) return "";
    return `[${(time.getTime() / 1000).toFixed(3)}] `;
  }

  #line(one: Pinged, probe: Ping): string {
    const { seq, address, wall, rtt, latency, retransmits, error, icmp } =
      probe;
    const output = this.#output;
    const words = [`seq=${seq}`];
    if (this.#pinged.length > 1) words.unshift(one.name);
    if (address !== null) words.push(address);
    if (error === null) {
      words.push(output.paint("green", "connected"));
    } else {
      const color = probe.answered ? "yellow" : "red";
      words.push(output.paint(color, error.code), reasonOf(error.message));
    }
    if (wall !== null) {
      if (error === null) words.push(`wall=${milliseconds(wall)} ms`);
      else if (probe.reason !== "no-answer") {
        words.push(`after ${milliseconds(wall)} ms`);
      }
    }
    if (rtt !== null) words.push(`kernel=${milliseconds(rtt)} ms`);
    if (this.#call.options.rate !== undefined && latency !== null) {
      words.push(`latency=${milliseconds(latency)} ms`);
    }
    if (icmp !== null) {
      words.push(`by ${icmp.from} (ICMP ${icmp.type}/${icmp.code})`);
    }
    if (retransmits !== null && retransmits > 0) {
      words.push(`retransmits=${retransmits}`);
    }
    return words.join(" ");
  }

  /** Why nothing can be sent to any target; `null` while something may be. */
  #hopeless(probe: Ping): Error | null {
    if (this.#pinged.some(({ isSent }) => isSent)) return null;
    if (this.#pinged.some(({ stats }) => stats.summary().probes === 0)) {
      return null;
    }
    return probe.code !== null && PASSING.has(probe.code) ? null : probe.error;
  }

  #heat(): Heat {
    const { width = 80, isAscii = false } = this.#io;
    return new Heat(width - CLOCK_WIDTH, isAscii);
  }

  /** Draws the results of the last second. */
  #tick(): void {
    const output = this.#output;
    const heat = this.#heat();
    let text = this.#drawn > 0 ? `\x1b[${this.#drawn}A\x1b[J` : "";
    const clock = new Date().toTimeString().slice(0, CLOCK_WIDTH - 1);
    for (const one of this.#pinged) {
      const { name, second, failed } = one;
      const label = this.#pinged.length > 1 ? ` ${name}` : "";
      const gone = failed === 0 ? "" : output.paint("red", ` ${failed} failed`);
      text += `${clock} ${
        output.paint("cyan", heat.row(second))
      }${label}${gone}\n`;
      one.second = [];
      one.failed = 0;
    }
    this.#drawn = 0;
    if (output.isTerminal) {
      const { width = 80 } = this.#io;
      const names = this.#pinged.map(({ name }) => name.length);
      for (const { name, stats, recent } of this.#pinged) {
        const { latency, loss, failed } = stats.summary();
        const figures = latency === null
          ? ""
          : `p50 ${milliseconds(latency.p50)} p99 ${
            milliseconds(latency.p99)
          } max ${milliseconds(latency.max)} ms, `;
        const lost = loss === null ? "" : `loss ${percent(loss)}, `;
        const label = name.padEnd(Math.max(...names));
        const rest = `${figures}${lost}${failed} failed`;
        const room = width - label.length - rest.length - 2;
        const bars = room < LEAST_RECENT
          ? ""
          : `${heat.line(recent.slice(-room))} `;
        const shown = label.length + 1 + bars.length + rest.length;
        text += `${output.paint("bold", label)} ${bars}${rest}\n`;
        // A line that is too long for the terminal takes several rows.
        this.#drawn += Math.ceil(shown / width);
      }
    }
    output.write(text);
  }

  #finish(inFlight: readonly number[]): void {
    const output = this.#output;
    if (output.format === "json") {
      for (const [i, { name, address, stats }] of this.#pinged.entries()) {
        const { rtt, wall, latency, ...counts } = stats.summary();
        const fields = { ...counts, wall, rtt, latency };
        output.result("summary", {
          command: "ping",
          target: name,
          address,
          unanswered: inFlight[i] ?? 0,
          ...fields,
        }, noLine);
      }
    } else if (output.format === "text") {
      const { quiet } = this.#call;
      output.write(`${quiet ? "" : "\n"}${this.#summaries(inFlight)}`);
    }
  }

  #summaries(inFlight: readonly number[]): string {
    const isOpenLoop = this.#call.options.rate !== undefined;
    return this.#pinged.map((one, i) => {
      const summary = one.stats.summary();
      const title = this.#call.listener !== null
        ? `${one.address ?? one.name}, a listener of its own`
        : one.address === null || one.address === one.name
        ? one.name
        : `${one.name} (${one.address})`;
      return summaryText(title, summary, inFlight[i] ?? 0, isOpenLoop);
    }).join("\n");
  }

  #writeHistogram(file: FileSink): void {
    const all = new Histogram();
    for (const { stats } of this.#pinged) all.merge(stats.latency);
    file.write(all.toHgrm());
  }

  /** The exit code: by --warn and --crit, or whether a probe was answered. */
  #judge(): number {
    const { warn, crit } = this.#call;
    const probes = this.#pinged.some(({ stats }) => stats.summary().probes > 0);
    if (probes && !this.#pinged.some(({ isSent }) => isSent)) {
      return EXIT.usage;
    }
    const means = this.#pinged.map(({ stats }) => {
      const { latency } = stats.summary();
      return latency === null ? Infinity : latency.mean;
    });
    const answered = means.filter((mean) => mean !== Infinity).length;
    const worst = Math.max(...means);
    if (worst > crit) return EXIT.usage;
    if (worst > warn) return EXIT.no;
    return answered > 0 ? EXIT.yes : EXIT.no;
  }
}

function noLine(): null {
  return null;
}

function fieldsOf(name: string, probe: Ping): Record<string, unknown> {
  const { index: _, start: __, error, time, ...fields } = probe as Ping & {
    index: number;
  };
  return {
    ...fields,
    target: name,
    time: time.toISOString(),
    message: error?.message ?? null,
  };
}

/** What a message says behind the address, without the sender and the code. */
function reasonOf(message: string): string {
  return message.replace(/^Cannot [a-z ]+? \S+: /, "")
    .replace(/(?: according to \S+)? \((?:E[A-Z0-9_]+|UNKNOWN)\)$/, "");
}

function summaryText(
  title: string,
  summary: PingSummary,
  unanswered: number,
  isOpenLoop: boolean,
): string {
  const { probes, connected, failed, failures, routers, answered } = summary;
  const all = probes + unanswered;
  const each = Object.entries(failures).map(([code, n]) => `${n} ${code}`);
  const counts = [
    `${all} ${all === 1 ? "probe" : "probes"}`,
    `${connected} connected`,
    ...answered > connected ? [`${answered - connected} refused`] : [],
    `${failed} failed`,
  ];
  const why = each.length > 0 ? `: ${each.join(", ")}` : "";
  const open = unanswered > 0 ? `, ${unanswered} without an answer so far` : "";
  const lines = [`--- ${title} ---`, `${counts.join(", ")}${why}${open}`];
  for (const [router, n] of Object.entries(routers)) {
    lines.push(`${n} rejected by ${router}`);
  }
  const { retransmitted, syns, loss, outage, jitter } = summary;
  if (retransmitted > 0) {
    const SYNs = syns === 1 ? "SYN" : "SYNs";
    lines.push(
      `${retransmitted} with retransmitted SYNs: loss ${
        percent(loss!)
      } of ${syns} ${SYNs}`,
    );
  }
  if (failed > 0) lines.push(`longest outage ${milliseconds(outage)} ms`);
  lines.push(...distributionRows(summary, isOpenLoop));
  if (jitter !== null) lines.push(`jitter ${milliseconds(jitter)} ms`);
  return `${lines.join("\n")}\n`;
}

const FIGURES = [
  "min",
  "p50",
  "p90",
  "p99",
  "p999",
  "max",
  "mean",
  "stddev",
] as const;

function distributionRows(
  { wall, rtt, latency }: PingSummary,
  isOpenLoop: boolean,
): string[] {
  if (wall === null) return [];
  const head = FIGURES.map((name) => name === "p999" ? "p99.9" : name);
  const rows = [["ms", ...head], figuresOf("wall", wall)];
  if (rtt !== null) rows.push(figuresOf("kernel", rtt));
  if (isOpenLoop && latency !== null) rows.push(figuresOf("latency", latency));
  return alignedRows(rows);
}

function figuresOf(name: string, values: Distribution): string[] {
  return [name, ...FIGURES.map((figure) => milliseconds(values[figure]))];
}

/** To the microsecond. */
function milliseconds(value: number): string {
  return value.toFixed(3);
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`;
}
