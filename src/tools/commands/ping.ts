/**
 * The command `ping`: how long a connect takes, again and again.
 *
 * @module
 */
import type { ConnectTarget, TcpTarget } from "../../connect/target.ts";
import type { ErrnoError } from "../../errors/errors.ts";
import type { Distribution } from "../histogram.ts";
import {
  listenLoopback,
  type LoopbackListener,
  ping,
  type PingOptions,
  PingStats,
  type PingSummary,
  type Probe,
} from "../ping.ts";
import {
  type CliIo,
  type Command,
  CONNECT_OPTIONS,
  connectFlags,
  destinationOf,
  EXIT,
  interruptedCode,
  parseArguments,
  parseCount,
  parseTime,
  restricted,
  UsageError,
} from "./frame.ts";

const PING_HELP = `\
Measures how long a connect takes, again and again.

Usage: ping [TARGET] [PING_OPTIONS]

TARGET
  HOST:PORT            a name or an IPv4 address; of a name's addresses the
                       one that the system prefers, resolved once
  [IPV6]:PORT          an IPv6 address, with its zone: [fe80::1%eth0]:22
  unix:PATH            a socket in the file system
  unix:@NAME           an abstract one (Linux)
  Without a target, a listener on the loopback interface that it starts itself.

PING_OPTIONS
  -c, --count N        how many probes; 0 goes on until interrupted [10]
  -i, --interval MS    from the start of one to the start of the next [100]
  -t, --timeout MS     how long one probe may take [1000]
      --source ADDR    the IP address to connect from
      --interface IF   the network interface to connect through
  -4, -6               IPv4 or IPv6 only
  -q, --quiet          no line for each probe, only the summary
      --json           a JSON object on each line, the summary last
  -h, --help           this text
      --version        the version

WHAT IS MEASURED, in milliseconds
  wall     From the call of connect(2) until its outcome is known. Resolving the
           name, opening the socket, setting its options, binding and closing it
           are not in it; neither is what only a first connect in a process
           costs, as loading the C library. Waking up is: a machine that rested
           between the probes is slower than one under load (--interval 0).
  kernel   The round trip of the handshake as the kernel saw it (TCP_INFO); none
           for Unix sockets and where the system does not tell. wall less kernel
           is what the system call, the wake-up and the runtime cost.
  A probe in which a SYN was lost and repeated has retransmits=N in its line.
  The summary covers the probes that connected. A quantile is the value at the
  nearest rank: of ten values, p90 is the ninth and p99 the tenth.

EXAMPLES
  ping localhost:8080 -c 0
  ping [::1]:22 --timeout 1.5s --json

EXIT CODE
  0   at least one probe connected
  1   no probe connected
  2   nothing could be probed: wrong usage, a name that does not resolve, a
      permission that is missing, a source that this machine does not have
  130 interrupted (SIGINT), after the summary

PERMISSIONS, on Deno
  --allow-ffi --allow-net, and --allow-read --allow-write for unix:PATH
`;

const PING_OPTIONS = {
  ...CONNECT_OPTIONS,
  count: { type: "string", short: "c" },
  interval: { type: "string", short: "i" },
} as const;

/** The command `ping`. */
export const pingCommand: Command = {
  purpose: "how long a connect takes, again and again",
  help: PING_HELP,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, PING_OPTIONS);
    const [target, ...more] = positionals;
    if (more.length > 0) {
      throw new UsageError(`Cannot ping "${more[0]}" as well: give one target`);
    }
    const { quiet, json } = values;
    if (json && values.csv) {
      throw new UsageError("Cannot use --json and --csv together");
    }
    const place = target === undefined
      ? { port: 0 } // Known when the listener is there.
      : destinationOf(target);
    const options = {
      ...restricted(place, connectFlags(values)),
      count: parseCount("--count", values.count, undefined),
      interval: parseTime("--interval", values.interval, undefined),
    };
    return await run({ target: target ?? null, options, quiet, json }, io);
  },
};

/** What the arguments come to. */
interface PingPlan {
  /** Written in the summary; `null` stands for a listener of our own. */
  readonly target: string | null;
  readonly options: ConnectTarget & PingOptions;
  readonly quiet: boolean;
  readonly json: boolean;
}

async function run(plan: PingPlan, io: CliIo): Promise<number> {
  if (plan.target !== null) return await probeAll(plan, null, io);
  const { family } = plan.options as TcpTarget;
  const listener = await listenLoopback(family);
  try {
    const { hostname, port } = listener;
    const options = {
      ...plan.options,
      hostname,
      port,
    } as PingPlan["options"];
    return await probeAll({ ...plan, options }, listener, io);
  } finally {
    await listener.close();
  }
}

async function probeAll(
  { target, options, quiet, json }: PingPlan,
  listener: LoopbackListener | null,
  io: CliIo,
): Promise<number> {
  const { out, signal } = io;
  const stats = new PingStats();
  let address: string | null = null;
  try {
    for await (const probe of ping({ ...options, signal })) {
      stats.add(probe);
      address = probe.address;
      if (!quiet) out(`${json ? probeJson(probe) : probeText(probe)}\n`);
      await listener?.settled(stats.connected);
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
  const summary = stats.summary();
  out(
    json
      ? `${summaryJson(target, address, summary)}\n`
      : `${quiet ? "" : "\n"}${summaryText(target, address, summary)}`,
  );
  if (signal?.aborted) return interruptedCode(io);
  return summary.connected > 0 ? EXIT.yes : EXIT.no;
}

function probeText(probe: Probe): string {
  const { seq, address, wall, rtt, retransmits, error } = probe;
  const words = [`seq=${seq}`, address];
  if (error === null) {
    words.push("connected");
    if (wall !== null) words.push(`wall=${milliseconds(wall)} ms`);
    if (rtt !== null) words.push(`kernel=${milliseconds(rtt)} ms`);
  } else {
    words.push(error.code, phraseOf(error));
    if (wall !== null && error.timeoutKind !== "deadline") {
      words.push(`after ${milliseconds(wall)} ms`);
    }
  }
  if (retransmits !== null && retransmits > 0) {
    words.push(`retransmits=${retransmits}`);
  }
  return words.join(" ");
}

/** What a message says between the address and the code. */
function phraseOf({ message, address, code }: ErrnoError): string {
  const head = address === undefined ? ": " : `${address}: `;
  return message
    .slice(message.indexOf(head) + head.length)
    .replace(` (${code})`, "");
}

function probeJson(probe: Probe): string {
  const { seq, time, address, localAddress, wall, rtt, retransmits, error } =
    probe;
  return JSON.stringify({
    type: "probe",
    seq,
    time: time.toISOString(),
    address,
    localAddress,
    connected: error === null,
    wall: roundedTime(wall),
    kernel: roundedTime(rtt),
    retransmits,
    code: error?.code ?? null,
    message: error?.message ?? null,
  });
}

function summaryText(
  target: string | null,
  address: string | null,
  summary: PingSummary,
): string {
  const { probes, connected, failed, failures, retransmitted } = summary;
  const each = Object.entries(failures).map(([code, n]) => `${n} ${code}`);
  const lines = [
    `--- ${titleOf(target, address)} ---`,
    `${probes} ${probes === 1 ? "probe" : "probes"}, ${connected} connected, ` +
    `${failed} failed${failed > 0 ? `: ${each.join(", ")}` : ""}`,
  ];
  if (retransmitted > 0) {
    lines.push(`${retransmitted} with retransmitted SYNs`);
  }
  return `${[...lines, ...table(summary)].join("\n")}\n`;
}

function titleOf(target: string | null, address: string | null): string {
  if (target === null) return `${address ?? "loopback"}, a listener of its own`;
  return address === null || address === target
    ? target
    : `${target} (${address})`;
}

const PING_COLUMNS = [
  "min",
  "p50",
  "p90",
  "p99",
  "max",
  "mean",
  "stddev",
] as const;

function table({ wall, rtt }: PingSummary): string[] {
  if (wall === null) return [];
  const rows = [["ms", ...PING_COLUMNS], row("wall", wall)];
  if (rtt !== null) rows.push(row("kernel", rtt));
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]!.length))
  );
  return rows.map(([name, ...cells]) =>
    [
      name!.padEnd(widths[0]!),
      ...cells.map((cell, index) => cell.padStart(widths[index + 1]!)),
    ].join("  ")
  );
}

function row(name: string, values: Distribution): string[] {
  return [name, ...PING_COLUMNS.map((column) => milliseconds(values[column]))];
}

function summaryJson(
  target: string | null,
  address: string | null,
  { wall, rtt, ...counts }: PingSummary,
): string {
  return JSON.stringify({
    type: "summary",
    target: target ?? address,
    address,
    ...counts,
    wall: roundedAll(wall),
    kernel: roundedAll(rtt),
  });
}

/** To the microsecond. */
function milliseconds(value: number): string {
  return value.toFixed(3);
}

/** To the nanosecond: what follows is noise of the arithmetic. */
function roundedTime(value: number | null): number | null {
  return value === null ? null : Number(value.toFixed(6));
}

function roundedAll(
  values: Distribution | null,
): Record<string, number | null> | null {
  return values === null ? null : Object.fromEntries(
    PING_COLUMNS.map((column) => [column, roundedTime(values[column])]),
  );
}
