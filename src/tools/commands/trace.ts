/**
 * The command `trace`: the routers on the way to a port.
 *
 * @module
 */
import { destinationText } from "../destination.ts";
import { type Hop, trace } from "../trace.ts";
import {
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
  restricted,
  UsageError,
} from "./frame.ts";

const TRACE_OPTIONS = {
  ...CONNECT_OPTIONS,
  queries: { type: "string" },
  "max-hops": { type: "string", short: "m" },
  "in-flight": { type: "string", short: "N" },
} as const;

const TRACE_COLUMNS = [
  "ttl",
  "query",
  "kind",
  "from",
  "icmp",
  "wall",
  "rtt",
  "localPort",
];

const TRACE_HELP = `\
Finds the routers on the way to a port, by connects that expire on the way.
Needs no privilege. Linux.

Usage: trace TARGET [OPTIONS]

TARGET
  HOST:PORT, [IPV6]:PORT; of a name, the first of its addresses to which
  something can be sent

OPTIONS
  -m, --max-hops N       go no further [30]
      --queries N        attempts for each hop [3]
  -N, --in-flight N      attempts under way at a time [16]
  -t, --timeout TIME     how long one attempt waits for a reply, and before all
                         of them a name may take to resolve [1s, for a name 15s]
  -4, -6                 IPv4 or IPv6 only
      --source ADDR      the IP address to connect from
      --interface IF     the network interface to connect through
      --json, --csv      a line for each attempt, for machines
  -o, --output FILE      write there; it may be a FIFO
  -q, --quiet            only the last line
  -h, --help             this text
  TIME is 200us, 100ms, 1.5s, 5m or 1h; without a unit, milliseconds.

OUTPUT
  A line for each hop: the address that replied, and after how long, in ms; *
  where none did. Several routers at one hop share the load: each is shown with
  the local ports of the attempts that met it. A reply that says more than that
  the packet has expired has the type and code of its ICMP error.
  The last line says what became of the target: open, closed, filtered and by
  whom, or silent.

EXAMPLES
  trace db.example:5432
  trace [2001:db8::1]:443 --queries 1 -m 10 --json

KEYS AND SIGNALS
  SIGINT and SIGTERM end the trace with what is known; Enter and SIGQUIT write
  that the target is not reached so far.

EXIT CODE
  0   the target was reached: it is open or closed
  1   it was not: filtered or silent
  2   wrong usage, or nothing could be sent
  3   a file is incomplete: the disk is full
  130 interrupted (SIGINT), 143 by SIGTERM, after what is known so far

PERMISSIONS, on Deno
  --allow-ffi --allow-net; --allow-write for -o
`;

/** The command `trace`. */
export const traceCommand: Command = {
  purpose: "the routers on the way to a port",
  help: TRACE_HELP,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, TRACE_OPTIONS);
    const [text, ...more] = positionals;
    if (text === undefined) {
      throw new UsageError("Cannot trace nothing: give a target");
    }
    if (more.length > 0) {
      throw new UsageError(
        `Cannot trace "${more[0]}" as well: give one target`,
      );
    }
    const { timeout, ...flags } = connectFlags(values);
    const target = restricted(destinationOf(text), {
      ...flags,
      timeout: undefined,
    });
    const options = {
      maxHops: parseCount("--max-hops", values["max-hops"], 30, 1, 255),
      queries: parseCount("--queries", values.queries, 3, 1, 1000),
      inFlight: parseCount("--in-flight", values["in-flight"], 16, 1, 10_000),
      timeout,
      signal: io.signal,
    };
    const output = await openOutput(values, io, TRACE_COLUMNS);
    try {
      const hops: Hop[] = [];
      let row: Hop[] = [];
      const name = destinationText(target);
      const notYet = `${name} is not reached so far\n`;
      const listening = io.onRequest?.(() => io.err(notYet));
      try {
        for await (const hop of trace(target, options)) {
          hops.push(hop);
          if (output.format !== "text") {
            output.result("hop", { ...hop }, noText);
          }
          await output.drained(io.signal);
          row.push(hop);
          if (hop.query < options.queries) continue;
          if (output.format === "text" && !values.quiet) {
            output.write(rowText(output, row));
          }
          row = [];
        }
      } catch (error) {
        if (!io.signal?.aborted) throw error;
        if (output.format === "text") {
          if (row.length > 0 && !values.quiet) {
            output.write(rowText(output, row));
          }
          output.write(notYet);
        }
        return interruptedCode(io);
      } finally {
        listening?.[Symbol.dispose]();
      }
      const end = endOf(hops);
      if (output.format !== "csv") {
        output.result(
          "trace",
          { target: name, ...end },
          () => `${name} is ${endText(output, end)}\n`,
        );
      }
      const isReached = end.state === "open" || end.state === "closed";
      return isReached ? EXIT.yes : EXIT.no;
    } finally {
      await output.close();
    }
  },
};

function noText(): null {
  return null;
}

/** What the target is by the trace. */
interface TraceEnd {
  readonly state: "open" | "closed" | "filtered" | "silent";
  readonly hops: number;
  readonly from: string | null;
  readonly icmp: Hop["icmp"];
}

function endOf(hops: readonly Hop[]): TraceEnd {
  const end = hops.find(({ kind }) => kind !== "hop" && kind !== "silent");
  if (end !== undefined) {
    const { kind, from, icmp } = end;
    // A firewall may have replied before, when packets expired there.
    const { ttl } = hops.find((hop) => hop.from === from)!;
    return { state: kind as "open", hops: ttl, from, icmp };
  }
  const last = hops.findLast(({ kind }) => kind === "hop");
  return {
    state: "silent",
    hops: last?.ttl ?? 0,
    from: last?.from ?? null,
    icmp: null,
  };
}

function endText(
  output: Output,
  { state, hops, from, icmp }: TraceEnd,
): string {
  const away = hops === 1 ? "1 hop away" : `${hops} hops away`;
  switch (state) {
    case "open":
      return `${output.paint("green", state)}, ${away}`;
    case "closed":
      return `${output.paint("yellow", state)}, ${away}`;
    case "filtered": {
      const error = `ICMP ${icmp!.type}/${icmp!.code}`;
      return `${output.paint("red", state)} by ${from} (${error}), ${away}`;
    }
    default:
      return `${output.paint("red", state)}: ${
        from === null
          ? "no reply came"
          : `${from} was the last to reply, ${away}`
      }`;
  }
}

/** One hop: each router that replied, with its times. */
function rowText(output: Output, hops: readonly Hop[]): string {
  const routers = new Map<string | null, Hop[]>();
  for (const hop of hops) {
    const group = routers.get(hop.from);
    if (group === undefined) routers.set(hop.from, [hop]);
    else group.push(hop);
  }
  const flows = [...routers.keys()].filter((from) => from !== null).length;
  const lines = [...routers].map(([from, group], i) => {
    const label = i === 0 ? `${hops[0]!.ttl}`.padStart(2) : "  ";
    if (from === null) return `${label}  ${group.map(() => "*").join(" ")}`;
    const words = [label, "", from, ""];
    for (const { wall } of group) words.push(`${wall!.toFixed(3)} ms`, "");
    const { kind, icmp } = group[0]!;
    if (icmp !== null && kind === "filtered") {
      words.push(output.paint("red", `!${icmp.type}/${icmp.code}`), "");
    }
    if (flows > 1) {
      const ports = group.map(({ localPort }) => localPort).join(", ");
      words.push(output.paint("dim", `(from ${ports})`));
    }
    return words.join(" ").trimEnd();
  });
  return `${lines.join("\n")}\n`;
}
