/**
 * The command `scan`: which of many ports are open.
 *
 * @module
 */
import { checkInteger, isObject, show } from "../../errors/arguments.ts";
import { destinationText } from "../destination.ts";
import {
  probe,
  type ProbeOptions,
  type ProbeProgress,
  type ProbeResult,
  type ProbeTarget,
  type Probing,
} from "../probe.ts";
import {
  type Grid,
  grid,
  type Hosts,
  parseExcluded,
  parseHosts,
  parsePorts,
  type Position,
} from "../targets.ts";
import {
  FileError,
  readWholeFile,
  type ReplaceableFile,
  replaceableFile,
} from "./files.ts";
import {
  type CliIo,
  type Command,
  CONNECT_OPTIONS,
  connectFlags,
  EXIT,
  interruptedCode,
  openOutput,
  type OptionValues,
  type Output,
  parseArguments,
  parseCount,
  parseRate,
  UsageError,
} from "./frame.ts";
import { counted, ScanTally, shareOf } from "./tally.ts";

const SCAN_HELP = `\
Finds out which of many ports are open, without any privilege.

Usage: scan HOSTS... [-p PORTS] [SCAN_OPTIONS]

HOSTS
  10.0.0.0/24, 10.0.0.1-50, 2001:db8::/120, an address, or a name; several are
  separated by commas or blanks
  @FILE                a file of such lists, one on a line; # begins a comment
  -                    the same from the standard input, as the lines come

SCAN_OPTIONS
  -p, --ports PORTS    22,80,8000-8100; all; common: about a hundred [common]
      --exclude HOSTS  hosts to leave out, any number of them; no name is
                       resolved for that
      --exclude-ports PORTS
                       ports to leave out
  -t, --timeout TIME   for all attempts at one port together, and before them
                       for a name to resolve [1.5s, for a name 15s]
      --retries N      more attempts while no reply comes [2]
      --concurrency N  how many ports at the same time [4096, or as many as
                       there are descriptors to spare]
      --host-concurrency N
                       how many of one address [256]
      --rate N         how many attempts in a second, at most; 0.5 is one in two
      --threads N      how many share the work [as many as there are
                       processors, up to 4; 1 for less than 2,000 ports]
      --seed N         the order: another permutation for each number [0]
      --in-order       host after host, port after port
      --shard I/N      the I-th of N shares of the run: all N of them, with the
                       same arguments, make the whole
      --save FILE      writes to a file how far it has come, for --resume
      --resume FILE    goes on from there, with the hosts, ports and order that
                       stand in it, and keeps on saving to it; the exit code
                       counts open ports that were found before, too
      --open           only open ports, in JSON and CSV too
      --reason         with each port what its state was concluded from
      --max-open N     ends when so many are open, and exits by 0: no more was
                       asked for; the summary says how many ports were probed
      --source ADDR    the IP address to connect from
      --interface IF   the network interface to connect through
  -4, -6               IPv4 or IPv6 only
  -o, --output FILE    writes there; it may be a FIFO
  -q, --quiet          only the summary
      --json           a JSON object on each line, the summary last
      --csv            a line of CSV for each port
      --live           progress also where standard error is no terminal
  -h, --help           this text
  TIME is 200us, 100ms, 1.5s, 5m or 1h; without a unit, milliseconds.

STATES
  open       a SYN/ACK came
  closed     a reset came
  filtered   nothing came, or an ICMP error, whose sender is shown
  unsent     nothing could be sent: no route, no name, no permission
  As text, only open ports have a line each; the summary counts the others.
  Routers limit their ICMP errors, so that some of the ports that one rejects
  look silent; the summary names the routers where that may be.

  Enter or SIGQUIT shows the summary so far. ^C ends with the summary.

EXAMPLES
  scan 192.168.1.0/24 -p 22,80,443
  scan db.example -p all --reason
  scan @hosts.txt -p common --json --save scan.state -o ports.jsonl
  scan --resume scan.state --json -o more.jsonl
  scan 10.0.0.0/16 -p 443 --rate 1000 --shard 1/3

EXIT CODE
  0   a port is open, whatever became of the others
  1   none is
  2   wrong usage, or nothing could be sent
  3   incomplete: none is open, and some could not be probed; or the disk is
      full
  130 interrupted (SIGINT), 143 by SIGTERM, after the summary

PERMISSIONS, on Deno
  --allow-ffi --allow-net; --allow-read for @FILE, --save, --resume and
  --threads, --allow-write for --save, --resume and -o. Hosts that --allow-net
  leaves out are unsent.
`;

const SCAN_OPTIONS = {
  ...CONNECT_OPTIONS,
  ports: { type: "string", short: "p" },
  exclude: { type: "string", multiple: true },
  "exclude-ports": { type: "string" },
  concurrency: { type: "string" },
  "host-concurrency": { type: "string" },
  retries: { type: "string" },
  rate: { type: "string" },
  threads: { type: "string" },
  seed: { type: "string" },
  "in-order": { type: "boolean" },
  shard: { type: "string" },
  save: { type: "string" },
  resume: { type: "string" },
  open: { type: "boolean" },
  reason: { type: "boolean" },
  "max-open": { type: "string" },
  live: { type: "boolean" },
} as const;

type ScanValues = OptionValues<typeof SCAN_OPTIONS>;

/** The fields of a port in JSON and CSV. */
const PORT_COLUMNS = [
  "index",
  "target",
  "address",
  "localAddress",
  "state",
  "reason",
  "code",
  "icmp",
  "soft",
  "attempts",
  "retransmits",
  "wall",
  "rtt",
] as const satisfies (keyof ProbeResult)[];

/** How often progress is drawn on a terminal, and written elsewhere, in ms. */
const DRAW_EVERY = 200;
const LINE_EVERY = 1000;

/** How often a run saves how far it has come, in ms. */
const SAVE_EVERY = 2000;

/** The command `scan`. */
export const scanCommand: Command = {
  purpose: "which of many ports are open",
  help: SCAN_HELP,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, SCAN_OPTIONS);
    const plan = await planOf(values, positionals, io);
    try {
      const options = probeOptions(values, plan, io);
      const max = parseCount("--max-open", values["max-open"], Infinity, 1);
      const output = await openOutput(
        values,
        io,
        PORT_COLUMNS,
        listFiles(values, positionals),
      );
      try {
        const run = probe<ProbeTarget>(plan.targets, options);
        return await new Scan(values, plan, run, output, io).run(max);
      } finally {
        await output.close();
      }
    } finally {
      plan.file?.[Symbol.dispose]();
    }
  },
};

/** What is saved of a run: its arguments, and how far it has come. */
interface Saved {
  readonly v: 1;
  readonly type: "scan-position";
  readonly hosts: readonly string[];
  readonly ports: string;
  readonly exclude: readonly string[];
  readonly excludePorts: string | null;
  readonly seed: number | null;
  readonly shard: readonly [number, number];
  readonly next: number;
  readonly pending: readonly number[];
  /** How many open ports it has found. */
  readonly open: number;
}

/** A run, as the arguments describe it. */
interface ScanPlan {
  readonly targets: Iterable<ProbeTarget> | AsyncIterable<ProbeTarget>;
  /** How many targets there are, `null` where that is not known. */
  readonly size: number | null;
  /** The arguments to save, `null` where a run cannot be resumed. */
  readonly asked: Omit<Saved, "next" | "pending" | "open"> | null;
  /** How many open ports it has found before it was resumed. */
  readonly open: number;
  /** The file to save to. */
  readonly file: ReplaceableFile | null;
}

async function planOf(
  values: ScanValues,
  positionals: readonly string[],
  io: CliIo,
): Promise<ScanPlan> {
  const { save, resume } = values;
  const { signal } = io;
  if (resume !== undefined) {
    return resumed(values, positionals, resume, signal);
  }
  if (positionals.length === 0) {
    throw new UsageError("Cannot scan nothing: give HOSTS");
  }
  if (values.seed !== undefined && values["in-order"]) {
    throw new UsageError("Cannot use --seed and --in-order together");
  }
  if (positionals.includes("-")) return streamed(values, positionals, io);
  const asked: ScanPlan["asked"] = {
    v: 1,
    type: "scan-position",
    hosts: await readHostTexts(positionals, signal),
    ports: values.ports ?? "common",
    exclude: await readHostTexts(values.exclude, signal),
    excludePorts: values["exclude-ports"] ?? null,
    seed: values["in-order"] ? null : parseCount("--seed", values.seed, 0),
    shard: parseShard(values.shard),
  };
  const targets = gridOf(asked, 0);
  // A share of what is little may be empty.
  if (targets.size === 0 && values.shard === undefined) throw nothingLeft();
  const file = fileFor(values, save, listFiles(values, positionals));
  return { targets, size: targets.size, asked, open: 0, file };
}

function nothingLeft(): UsageError {
  return new UsageError(
    "Cannot scan nothing: the lists leave no port of any host",
  );
}

/** The file to save to, which has to be another one than those for hosts and results. */
function fileFor(
  { output }: ScanValues,
  path: string | undefined,
  lists: readonly string[],
): ReplaceableFile | null {
  if (path === undefined) return null;
  const others = [
    ...output === undefined ? [] : [[output, "the results"]],
    ...lists.map((list) => [list, "hosts"]),
  ] as [path: string, what: string][];
  let other = others.find(([other]) => other === path);
  if (other === undefined) {
    const file = replaceableFile(path);
    other = others.find(([other]) => file.isAt(other));
    if (other === undefined) return file;
    file[Symbol.dispose]();
  }
  throw new UsageError(
    `Cannot use ${show(path)} for ${other[1]} and to save how far the run ` +
      "has come",
  );
}

function gridOf(
  { hosts, ports, exclude, excludePorts, seed, shard }: NonNullable<
    ScanPlan["asked"]
  >,
  from: number | Position,
): Grid {
  return understood(() =>
    grid(hosts, portsBut(ports, excludePorts), { exclude, seed, shard, from })
  );
}

/** The rest of a run that was saved to a file. */
async function resumed(
  values: ScanValues,
  positionals: readonly string[],
  file: string,
  signal: AbortSignal | undefined,
): Promise<ScanPlan> {
  const [other] = [
    positionals.length > 0 ? ["HOSTS"] : [],
    (["ports", "exclude-ports", "seed", "shard", "save"] as const)
      .filter((name) => values[name] !== undefined)
      .map((name) => `--${name}`),
    values.exclude.length > 0 ? ["--exclude"] : [],
    values["in-order"] ? ["--in-order"] : [],
  ].flat();
  if (other !== undefined) {
    throw new UsageError(
      `Cannot use ${other} with --resume: the file says what is scanned`,
    );
  }
  const saved = parseSaved(file, await readWholeFile(file, signal));
  const { next, pending, open, ...asked } = saved;
  let targets: Grid;
  try {
    checkInteger("open", open, Number.MAX_SAFE_INTEGER);
    targets = gridOf(asked, { next, pending });
  } catch (error) {
    throw notSaved(file, (error as Error).message);
  }
  return {
    targets,
    size: targets.size,
    asked,
    open,
    file: fileFor(values, file, []),
  };
}

function parseSaved(file: string, text: string): Saved {
  let saved: unknown;
  try {
    saved = JSON.parse(text);
  } catch {
    saved = null;
  }
  const { v, type } = (isObject(saved) ? saved : {}) as Partial<Saved>;
  if (v === 1 && type === "scan-position") return saved as Saved;
  throw notSaved(file, "it is of another kind");
}

function notSaved(file: string, why: string): UsageError {
  return new UsageError(
    `Cannot resume from ${show(file)}: no --save wrote it: ${why}`,
  );
}

/** Hosts from the standard input, in the order in which they come. */
async function streamed(
  values: ScanValues,
  positionals: readonly string[],
  io: CliIo,
): Promise<ScanPlan> {
  const [other] = (["seed", "shard", "save"] as const)
    .filter((name) => values[name] !== undefined);
  if (other !== undefined) {
    throw new UsageError(
      `Cannot use --${other} with hosts from the standard input`,
    );
  }
  const { lines, signal } = io;
  if (lines === undefined) {
    throw new UsageError("Cannot read hosts: there is no standard input");
  }
  const ports = understood(() =>
    portsBut(values.ports ?? "common", values["exclude-ports"] ?? null)
  );
  const out = await readHostTexts(values.exclude, signal);
  // One list, which is put in order once and not for each line.
  const exclude = out.length === 0
    ? undefined
    : understood(() => parseExcluded(out.join(",")));
  const others = positionals.filter((text) => text !== "-");
  const texts = await readHostTexts(others, signal);
  const first = understood(() => texts.map(parseHosts));
  async function* targets(): AsyncGenerator<ProbeTarget, void, void> {
    for (const hosts of first) yield* targetsOf(hosts, ports, exclude);
    for await (const line of lines!()) {
      for (const text of hostTexts(line)) {
        yield* targetsOf(parseHosts(text), ports, exclude);
      }
    }
  }
  return { targets: targets(), size: null, asked: null, open: 0, file: null };
}

function* targetsOf(
  hosts: Hosts,
  ports: readonly number[],
  exclude: Hosts | undefined,
): Generator<ProbeTarget, void, void> {
  for (const target of grid(hosts, ports, { exclude, seed: null })) {
    const { hostname, port } = target;
    yield { hostname, port };
  }
}

/** The files of lists of hosts that a command line names. */
function listFiles(
  { exclude }: ScanValues,
  positionals: readonly string[],
): string[] {
  return [...positionals, ...exclude]
    .filter((arg) => arg.startsWith("@")).map((arg) => arg.slice(1));
}

/** The lists of hosts that arguments stand for. */
async function readHostTexts(
  args: readonly string[],
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const lists: string[][] = [];
  for (const arg of args) {
    if (!arg.startsWith("@")) lists.push([arg]);
    else {
      const text = await readWholeFile(arg.slice(1), signal);
      lists.push(text.split("\n").flatMap(hostTexts));
    }
  }
  return lists.flat();
}

/** The lists of hosts in a line. */
function hostTexts(line: string): string[] {
  return line.replace(/#.*/, "").split(/\s+/).filter((text) => text !== "");
}

function portsBut(ports: string, exclude: string | null): number[] {
  const all = parsePorts(ports);
  if (exclude === null) return all;
  const out = new Set(parsePorts(exclude));
  return all.filter((port) => !out.has(port));
}

/** Reads an argument, whose faults are reported as wrong usage. */
function understood<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) {
      throw new UsageError(error.message);
    }
    throw error;
  }
}

function parseShard(text: string | undefined): readonly [number, number] {
  if (text === undefined) return [1, 1];
  const [, share, shares] = /^([0-9]+)\/([0-9]+)$/.exec(text) ?? [];
  const shard = [Number(share), Number(shares)] as const;
  if (shard[0] >= 1 && shard[0] <= shard[1]) return shard;
  throw new UsageError(
    `Cannot use --shard "${text}": it must be I/N, as 1/3 for the first of three`,
  );
}

/** From how many ports on a run has more than one thread, and how many it has at most. */
const WORTH_THREADS = 2000;
const MOST_THREADS = 4;

function threadsFor({ size }: ScanPlan): number {
  if (size !== null && size < WORTH_THREADS) return 1;
  return Math.min(navigator.hardwareConcurrency, MOST_THREADS);
}

function probeOptions(
  values: ScanValues,
  plan: ScanPlan,
  io: CliIo,
): ProbeOptions<ProbeTarget> {
  return {
    ...connectFlags(values),
    retries: parseCount("--retries", values.retries, undefined),
    concurrency: parseCount("--concurrency", values.concurrency, undefined, 1),
    hostConcurrency: parseCount(
      "--host-concurrency",
      values["host-concurrency"],
      undefined,
      1,
    ),
    rate: parseRate("--rate", values.rate, undefined),
    threads: parseCount("--threads", values.threads, threadsFor(plan), 1, 64),
    signal: io.signal,
  };
}

/** One run of the command. */
class Scan {
  readonly #values: ScanValues;
  readonly #plan: ScanPlan;
  readonly #run: Probing<ProbeTarget>;
  readonly #output: Output;
  readonly #io: CliIo;
  readonly #tally = new ScanTally();
  readonly #start = performance.now();
  /** How many threads were to share the work, `null` once nothing more is to be said of that. */
  #threads: number | null = null;
  #saved = -Infinity;
  #drawn = -Infinity;
  #isDrawn = false;

  constructor(
    values: ScanValues,
    plan: ScanPlan,
    run: Probing<ProbeTarget>,
    output: Output,
    io: CliIo,
  ) {
    this.#values = values;
    this.#plan = plan;
    this.#run = run;
    this.#output = output;
    this.#io = io;
    // Nobody misses a thread that was not asked for.
    if (values.threads !== undefined && !values.quiet) {
      this.#threads = run.progress.threads;
    }
  }

  /** Runs until the end, or until so many ports are open. */
  async run(mostOpen: number): Promise<number> {
    const { signal } = this.#io;
    // A file that cannot be written is reported before anything is sent.
    this.#save();
    const { quiet, resume } = this.#values;
    if (resume !== undefined && this.#plan.size === 0 && !quiet) {
      this.#io.err("scan: Nothing is left to probe\n");
    }
    const _request = this.#io.onRequest?.(() => this.#summarize(false));
    try {
      const timer = setInterval(() => this.#tick(), DRAW_EVERY);
      let failure: unknown = null;
      try {
        for await (const result of this.#run) {
          this.#tally.add(result);
          this.#write(result);
          const draining = this.#output.drained(signal);
          if (draining !== null) await draining;
          if (this.#tally.states.open >= mostOpen) break;
        }
      } catch (error) {
        if (!signal?.aborted) {
          if (this.#tally.total === 0) throw error;
          failure = error;
        }
      } finally {
        clearInterval(timer);
        this.#erase();
      }
      failure ??= this.#trySave();
      this.#countThreads();
      this.#summarize(true);
      if (signal?.aborted) return interruptedCode(this.#io);
      const { states, total } = this.#tally;
      if (failure !== null) {
        const why = failure instanceof Error ? failure.message : failure;
        this.#io.err(`scan: ${why}\n`);
        return EXIT.incomplete;
      }
      if (this.#open > 0) return EXIT.yes;
      if (total === 0 && this.#plan.asked === null) throw nothingLeft();
      if (states.unsent === 0) return EXIT.no;
      return states.unsent === total ? EXIT.usage : EXIT.incomplete;
    } finally {
      _request?.[Symbol.dispose]();
    }
  }

  /** How many ports are open, also of those that were probed before. */
  get #open(): number {
    return this.#plan.open + this.#tally.states.open;
  }

  #write(result: ProbeResult<ProbeTarget>): void {
    const { quiet, open, reason } = this.#values;
    const output = this.#output;
    const isOpen = result.state === "open";
    if (quiet || !isOpen && (open || output.format === "text")) return;
    const target = destinationText(result.target);
    if (output.isTerminal) this.#erase();
    output.result("port", { ...result, target }, () => {
      const { address, code, wall, rtt, attempts, retransmits } = result;
      const name = address === null || address === target
        ? target
        : `${target} (${address})`;
      const words = [name, output.paint("green", result.state)];
      if (reason) words.push(result.reason);
      // A reset came at once.
      if (code !== null) words.push(code);
      const time = rtt ?? wall;
      if (time !== null) words.push(`${time.toFixed(3)} ms`);
      if (attempts > 1) words.push(`attempts=${attempts}`);
      if (retransmits !== null && retransmits > 0) {
        words.push(`retransmits=${retransmits}`);
      }
      return `${words.join(" ")}\n`;
    });
  }

  #tick(): void {
    const now = performance.now();
    // What fails now may work the next time, or at the end.
    if (now - this.#saved >= SAVE_EVERY) this.#trySave();
    this.#countThreads();
    const { showsProgress, err, width = 80 } = this.#io;
    if (this.#values.quiet) return;
    const words = progressWords(this.#run.progress, now - this.#start);
    if (showsProgress) {
      this.#isDrawn = true;
      err(`\r\x1b[K${fitting(words, width - 1)}`);
    } else if (this.#values.live && now - this.#drawn >= LINE_EVERY) {
      this.#drawn = now;
      err(`${words.join(", ")}\n`);
    }
  }

  /** Says once that there are fewer threads than were asked for. */
  #countThreads(): void {
    const { threads } = this.#run.progress;
    if (this.#threads === null || threads >= this.#threads) return;
    this.#erase();
    this.#io.err(
      `scan: Runs on ${threads} of ${this.#threads} threads: the others could ` +
        "not be started; on Deno, that takes --allow-read\n",
    );
    this.#threads = null;
  }

  #erase(): void {
    if (!this.#isDrawn) return;
    this.#isDrawn = false;
    this.#io.err("\r\x1b[K");
  }

  /** Saves how far the run has come; returns why that fails, `null` if not. */
  #trySave(): FileError | null {
    try {
      this.#save();
      return null;
    } catch (error) {
      if (error instanceof FileError) return error;
      throw error;
    }
  }

  /** Writes how far the run has come; the file is replaced as a whole. */
  #save(): void {
    const { asked, file } = this.#plan;
    if (file === null || asked === null) return;
    this.#saved = performance.now();
    const { position } = this.#run;
    const saved: Saved = { ...asked, ...position, open: this.#open };
    file.replace(`${JSON.stringify(saved)}\n`);
  }

  #summarize(isEnd: boolean): void {
    const { format } = this.#output;
    const elapsed = performance.now() - this.#start;
    const { progress } = this.#run;
    const text = () => this.#tally.text(progress, elapsed, this.#values.reason);
    if (!isEnd) {
      this.#erase();
      this.#io.err(text());
    } else if (format === "csv") {
      if (!this.#values.quiet) this.#io.err(text());
    } else {
      const fields = this.#tally.fields(progress, elapsed);
      this.#output.result("scan", fields, text);
    }
  }
}

/** How far a run has come, what matters most first. */
function progressWords(progress: ProbeProgress, elapsed: number): string[] {
  const { done, total, inFlight, retries, rate, perState } = progress;
  const left = total !== null && done > 0 && done < total
    ? [`${durationText(elapsed / done * (total - done) / 1000)} left`]
    : [];
  return [
    total === null ? counted(done, "port") : shareOf(done, total),
    `${counted(perState.open)} open`,
    ...left,
    `${counted(Math.round(rate))} attempts/s`,
    `${counted(inFlight)} in flight`,
    `${counted(retries)} repeated`,
  ];
}

/** As many of the first words as a line has room for. */
function fitting([first, ...words]: readonly string[], room: number): string {
  let line = first!.slice(0, room);
  for (const word of words) {
    if (line.length + 2 + word.length > room) break;
    line += `, ${word}`;
  }
  return line;
}

const LONG_UNITS = [["days", 86_400], ["h", 3600], ["min", 60]] as const;

function durationText(seconds: number): string {
  const [unit, size] = LONG_UNITS.find(([, size]) => seconds >= 2 * size) ??
    ["s", 1];
  const count = seconds / size;
  return `${
    count < 10 ? count.toFixed(1) : counted(Math.round(count))
  } ${unit}`;
}
