/**
 * The command line: `ping` measures how long a connect takes.
 *
 * ```sh
 * deno run --allow-ffi --allow-net jsr:@einprogress/connect/cli ping localhost:8080
 * ```
 *
 * Without a target it pings a listener that it starts itself. `ping --help`
 * tells the options, what is measured, and the exit codes.
 *
 * @example From a program
 * ```ts
 * import { main } from "@einprogress/connect/cli";
 * import { assertEquals, assertStringIncludes } from "@std/assert";
 *
 * let text = "";
 * const code = await main(["ping", "--count=3", "--interval=0"], {
 *   out: (more) => text += more,
 *   err: (more) => text += more,
 * });
 * assertEquals(code, 0);
 * assertStringIncludes(text, "3 probes, 3 connected, 0 failed");
 * ```
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import type { ConnectTarget, ErrnoError, TcpTarget } from "../mod.ts";
import type { Distribution } from "./tools/histogram.ts";
import {
  listenLoopback,
  LONGEST_TIME,
  type LoopbackListener,
  ping,
  type PingOptions,
  PingStats,
  type PingSummary,
  type Probe,
} from "./tools/ping.ts";

/** What the command line writes to, and what ends it. */
export interface CliIo {
  /** Takes results, in whole lines. */
  readonly out: (text: string) => void;
  /** Takes complaints, in whole lines. */
  readonly err: (text: string) => void;
  /** Ends the command as SIGINT does: with a summary of what was done. */
  readonly signal?: AbortSignal | undefined;
}

const VERSION = "0.1.0";

const HELP = `\
Measures how long a connect takes, again and again.

Usage: ping [TARGET] [OPTIONS]

TARGET
  HOST:PORT            a name or an IPv4 address; of a name's addresses the
                       one that the system prefers, resolved once
  [IPV6]:PORT          an IPv6 address, with its zone: [fe80::1%eth0]:22
  unix:PATH            a socket in the file system
  unix:@NAME           an abstract one (Linux)
  Without a target, a listener on the loopback interface that it starts itself.

OPTIONS
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

EXIT CODE
  0   at least one probe connected
  1   no probe connected
  2   nothing could be probed: wrong usage, a name that does not resolve, a
      permission that is missing, a source that this machine does not have
  130 interrupted (SIGINT), after the summary

PERMISSIONS, on Deno
  --allow-ffi --allow-net, and --allow-read --allow-write for unix:PATH
`;

const OPTIONS = {
  count: { type: "string", short: "c" },
  interval: { type: "string", short: "i" },
  timeout: { type: "string", short: "t" },
  source: { type: "string" },
  interface: { type: "string" },
  ipv4: { type: "boolean", short: "4" },
  ipv6: { type: "boolean", short: "6" },
  quiet: { type: "boolean", short: "q" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean" },
} as const;

/** The command line is not understood. */
class UsageError extends Error {}

/** What the arguments come to. */
interface Command {
  /** Written in the summary; `null` stands for a listener of our own. */
  readonly target: string | null;
  readonly options: ConnectTarget & PingOptions;
  readonly quiet: boolean;
  readonly json: boolean;
}

/**
 * Runs a command line.
 *
 * @param args The arguments, the name of the command first.
 * @param io What it writes to, and what ends it.
 * @returns The exit code: 0 if a probe connected, 1 if none did, 2 if nothing
 * could be probed, 130 if it was interrupted.
 */
export async function main(
  args: readonly string[],
  io: CliIo,
): Promise<number> {
  try {
    const command = parse(args);
    if (typeof command === "string") {
      io.out(command);
      return 0;
    }
    return await run(command, io);
  } catch (error) {
    io.err(`ping: ${error instanceof Error ? error.message : error}\n`);
    if (error instanceof UsageError) io.err("Try ping --help.\n");
    return 2;
  }
}

/** Understands the arguments; text is an answer by itself. */
function parse(args: readonly string[]): Command | string {
  const { values, positionals } = split(args);
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  const [name, target, ...rest] = positionals;
  if (name !== "ping") {
    throw new UsageError(
      name === undefined
        ? "Cannot run without a command: there is one, ping"
        : `Cannot run "${name}": the only command is ping`,
    );
  }
  if (rest.length > 0) {
    throw new UsageError(`Cannot ping "${rest[0]}" as well: give one target`);
  }
  if (values.ipv4 && values.ipv6) {
    throw new UsageError("Cannot use -4 and -6 together");
  }
  const { source, quiet = false, json = false } = values;
  const family = values.ipv4 ? "inet" : values.ipv6 ? "inet6" : undefined;
  const place = target === undefined
    ? { port: 0 } // Known when the listener is there.
    : parseTarget(target);
  if (place.transport === "unix") {
    for (const name of ["source", "interface", "ipv4", "ipv6"] as const) {
      if (values[name] !== undefined) {
        const option = name.startsWith("ipv") ? `-${name.at(-1)}` : `--${name}`;
        throw new UsageError(`Cannot use ${option} with a Unix socket`);
      }
    }
  }
  const options: ConnectTarget & PingOptions = {
    ...place,
    ...place.transport === "unix"
      ? {}
      : { family, localAddress: source, interface: values.interface },
    count: parseNumber("--count", values.count, Number.MAX_SAFE_INTEGER),
    interval: parseNumber("--interval", values.interval, LONGEST_TIME),
    timeout: parseNumber("--timeout", values.timeout, LONGEST_TIME),
  };
  return { target: target ?? null, options, quiet, json };
}

/** Splits arguments into options and the rest. */
// The type of what parseArgs makes of OPTIONS has no name of its own.
// deno-lint-ignore explicit-function-return-type
function split(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: OPTIONS,
      allowPositionals: true,
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // What follows the first sentence explains how to pass such a positional.
    throw new UsageError(error.message.split(/\. |\n/)[0]!);
  }
}

function parseTarget(text: string): ConnectTarget {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "" || path === "@") {
      throw new UsageError(`Cannot ping "${text}": the path is missing`);
    }
    return {
      transport: "unix",
      path: path.startsWith("@") ? `\0${path.slice(1)}` : path,
    };
  }
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, Math.max(colon, 0));
  const port = text.slice(colon + 1);
  if (colon < 0 || port === "" || host === "") {
    throw new UsageError(`Cannot ping "${text}": a target is HOST:PORT`);
  }
  const bare = /^\[(.*)\]$/.exec(host)?.[1];
  if (bare === undefined && host.includes(":")) {
    throw new UsageError(
      `Cannot ping "${text}": an IPv6 address is written in brackets, [::1]:80`,
    );
  }
  if (bare !== undefined && !bare.includes(":")) {
    throw new UsageError(
      `Cannot ping "${text}": only an IPv6 address is written in brackets`,
    );
  }
  return { hostname: bare ?? host, port: parsePort(text, port) };
}

function parsePort(target: string, text: string): number {
  const port = Number(text);
  if (/^[0-9]+$/.test(text) && port <= 65535) return port;
  throw new UsageError(
    `Cannot ping "${target}": a port is a number from 0 to 65535`,
  );
}

function parseNumber(
  option: string,
  text: string | undefined,
  most: number,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  const [shape, kind] = option === "--count"
    ? [/^[0-9]+$/, "an integer"]
    : [/^[0-9]+(\.[0-9]+)?$/, "a number of milliseconds"];
  if (shape.test(text) && value <= most) return value;
  throw new UsageError(
    `Cannot use ${option} "${text}": it must be ${kind}, 0 to ${most}`,
  );
}

async function run(command: Command, io: CliIo): Promise<number> {
  if (command.target !== null) return await probeAll(command, null, io);
  const { family } = command.options as TcpTarget;
  const listener = await listenLoopback(family);
  try {
    const { hostname, port } = listener;
    const options = {
      ...command.options,
      hostname,
      port,
    } as typeof command.options;
    return await probeAll({ ...command, options }, listener, io);
  } finally {
    await listener.close();
  }
}

async function probeAll(
  { target, options, quiet, json }: Command,
  listener: LoopbackListener | null,
  { out, signal }: CliIo,
): Promise<number> {
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
  if (signal?.aborted) return 130;
  return summary.connected > 0 ? 0 : 1;
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
    wall: rounded(wall),
    kernel: rounded(rtt),
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

const COLUMNS = ["min", "p50", "p90", "p99", "max", "mean", "stddev"] as const;

function table({ wall, rtt }: PingSummary): string[] {
  if (wall === null) return [];
  const rows = [["ms", ...COLUMNS], row("wall", wall)];
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
  return [name, ...COLUMNS.map((column) => milliseconds(values[column]))];
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
function rounded(value: number | null): number | null {
  return value === null ? null : Number(value.toFixed(6));
}

function roundedAll(
  values: Distribution | null,
): Record<string, number | null> | null {
  return values === null ? null : Object.fromEntries(
    COLUMNS.map((column) => [column, rounded(values[column])]),
  );
}

if (import.meta.main) {
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  // Whoever read the results has gone, as head(1) does.
  process.stdout.on("error", () => interrupt.abort());
  process.exitCode = await main(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    signal: interrupt.signal,
  });
}
