/**
 * The command `report`: a page of what a ping or a scan has written.
 *
 * @module
 */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { show } from "../../errors/arguments.ts";
import { Histogram } from "../histogram.ts";
import { LineError, ReportData } from "../report.ts";
import {
  type Chart,
  failureChart,
  gridChart,
  heatCharts,
  percentileChart,
  svgOf,
} from "../report_charts.ts";
import { isOpenLoop, pageOf } from "../report_page.ts";
import { FileError } from "./files.ts";
import {
  type CliIo,
  type Command,
  EXIT,
  interruptedCode,
  openOutput,
  parseArguments,
  parseWord,
  UsageError,
} from "./frame.ts";
import { counted } from "./tally.ts";

const REPORT_OPTIONS = {
  format: { type: "string" },
  title: { type: "string" },
  output: { type: "string", short: "o" },
  help: { type: "boolean", short: "h" },
} as const;

const FORMATS = ["html", "svg", "hgrm"] as const;

const REPORT_HELP = `\
Makes a report of what ping or scan has written with --json.

Usage: report FILE [OPTIONS]

FILE
  A file of JSON lines, - for the standard input. Lines of other commands are
  left out, and so are lines that were cut, as by a full disk or a SIGKILL:
  standard error names those.

OPTIONS
      --format WHAT      html, svg or hgrm [by the ending of -o, else html]
      --title TEXT       the title of the page [the name of the file]
  -o, --output FILE      write there; it may be a FIFO
  -h, --help             this text

WHAT IS SHOWN
  html  One page that needs nothing else: it opens from disk, on a phone, in
        light and in dark. Of a ping, for each target: time by latency as a heat
        map, by the wall clock and by the kernel, the percentiles, and the
        failures by errno. Of a scan: hosts by ports, and who rejected what.
  svg   The pictures alone, in one file.
  hgrm  The percentiles of the latencies of all targets, for HdrHistogram's
        plotters.

EXAMPLES
  ping db.example:5432 -c 1000 --json -o db.jsonl
  report db.jsonl -o db.html
  scan 10.0.0.0/24 -p common --json | report - -o scan.html

EXIT CODE
  0   the report is written
  2   wrong usage, or a file that cannot be read, is empty or of another kind
  3   the report is incomplete: the disk is full
  130 interrupted (SIGINT), 143 by SIGTERM: nothing is written
  (--json, --csv and -q have no meaning here.)

PERMISSIONS, on Deno
  --allow-read for FILE, --allow-write for -o
`;

/** The command `report`. */
export const reportCommand: Command = {
  purpose: "a page of what ping or scan has written with --json",
  help: REPORT_HELP,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, REPORT_OPTIONS);
    const [path, ...more] = positionals;
    if (path === undefined) {
      throw new UsageError("Cannot report nothing: give a file, or -");
    }
    if (more.length > 0) {
      throw new UsageError(`Cannot report "${more[0]}" as well: give one file`);
    }
    const format = formatOf(values.format, values.output);
    const data = new ReportData();
    try {
      for await (const line of linesFrom(path, io)) data.add(line);
    } catch (error) {
      if (error instanceof LineError) throw new UsageError(error.message);
      throw error;
    }
    if (io.signal?.aborted) return interruptedCode(io);
    if (data.isEmpty) {
      const file = path === "-" ? "the standard input" : show(path);
      throw new UsageError(
        `Cannot report ${file}: it has no whole line that ping or scan writes ` +
          "with --json",
      );
    }
    if (data.cut.length > 0) io.err(`report: ${withoutLines(data.cut)}\n`);
    const name = path === "-" ? "Report" : path.replace(/^.*\//, "");
    const output = await openOutput(
      { json: false, csv: false, quiet: false, ...values },
      io,
      [],
      path === "-" ? [] : [path],
    );
    try {
      output.write(textFor(format, data, values.title ?? name));
      return EXIT.yes;
    } finally {
      await output.close();
    }
  },
};

/** How many of the lines that were cut are named. */
const MOST_CUT_NAMED = 10;

function withoutLines(cut: readonly number[]): string {
  const names = cut.slice(0, MOST_CUT_NAMED).join(", ");
  return cut.length === 1
    ? `Left out line ${names}, which was cut`
    : `Left out ${counted(cut.length)} lines, which were cut: ${names}` +
      (cut.length > MOST_CUT_NAMED ? ", and more" : "");
}

function formatOf(
  format: string | undefined,
  output: string | undefined,
): (typeof FORMATS)[number] {
  if (format !== undefined) return parseWord("--format", format, FORMATS);
  const ending = /\.(\w+)$/.exec(output ?? "")?.[1];
  return FORMATS.find((format) => format === ending) ?? FORMATS[0];
}

async function* linesFrom(path: string, io: CliIo): AsyncGenerator<string> {
  if (path === "-") {
    if (io.lines === undefined) {
      throw new UsageError("Cannot read -: there is no standard input");
    }
    return yield* io.lines();
  }
  const input = createReadStream(path);
  const lines = createInterface({ input });
  const stop = () => {
    lines.close();
    input.destroy();
  };
  io.signal?.addEventListener("abort", stop);
  // What fails before the first line is read would end the process.
  const failed = new Promise<never>((_, reject) => input.on("error", reject));
  failed.catch(() => {});
  const next = lines[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await Promise.race([next.next(), failed])
        .catch((error) => {
          throw new FileError("read", show(path), error);
        });
      if (done) break;
      yield value;
    }
  } finally {
    io.signal?.removeEventListener("abort", stop);
  }
}

function textFor(
  format: (typeof FORMATS)[number],
  data: ReportData,
  title: string,
): string {
  if (format === "html") return pageOf(data, title);
  if (format === "svg") {
    const charts = chartsOf(data);
    if (charts.length > 0) return svgOf(charts);
    throw new UsageError("Cannot draw a scan without a line for a port");
  }
  const all = new Histogram();
  for (const { latency } of data.pings.values()) all.merge(latency);
  if (all.count === 0) {
    throw new UsageError("Cannot write percentiles: nothing was answered");
  }
  return all.toHgrm();
}

function chartsOf({ pings, scan }: ReportData): Chart[] {
  const charts = [...pings.values()].flatMap((series) => [
    ...heatCharts(series),
    percentileChart(series, isOpenLoop(series)),
    failureChart(`Failures of ${series.name}`, series.failures),
  ]);
  charts.push(gridChart(scan));
  return charts.filter((chart) => chart !== null);
}
