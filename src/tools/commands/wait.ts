/**
 * The command `wait`: until targets are open, and then on with a command.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { signalNumber } from "../../../ffi/signals.ts";
import { LookupError } from "../../errors/errors.ts";
import { explain } from "../../explain/explain.ts";
import { destinationText } from "../destination.ts";
import {
  beginWait,
  type PendingTarget,
  WaitError,
  type WaitResult,
} from "../wait.ts";
import { reasonText } from "./files.ts";
import {
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
  parseTime,
  parseWord,
  restricted,
  UsageError,
} from "./frame.ts";

const WAIT_OPTIONS = {
  ...CONNECT_OPTIONS,
  until: { type: "string" },
  any: { type: "boolean" },
  interval: { type: "string", short: "i" },
  "attempt-timeout": { type: "string" },
  stable: { type: "string" },
  names: { type: "string" },
} as const;

const WAIT_COLUMNS = [
  "target",
  "ready",
  "state",
  "address",
  "attempts",
  "elapsed",
  "code",
  "message",
  "finding",
];

/** How long is waited unless the command line says otherwise, in ms. */
const WAIT_PATIENCE = 30_000;

const WAIT_HELP = `\
Waits until targets are open, and then runs a command, if there is one.

Usage: wait TARGET... [WAIT_OPTIONS] [-- CMD ARGS...]

TARGET
  HOST:PORT, [IPV6]:PORT, unix:PATH, unix:@NAME, vsock:CID:PORT

WAIT_OPTIONS
  -t, --timeout TIME     give up after so long; 0 never does [30s]
      --until STATE      open, or closed: every address refuses, or there is no
                         such Unix socket [open]
      --any              one of the targets is enough
  -i, --interval TIME    the pause after the first try; each further one is half
                         as long again, up to 50ms or to TIME [10ms]
      --attempt-timeout TIME
                         how long one try may take [1s]
      --stable N         so many tries in a row have to agree [1]
      --names WHAT       wait, or fail, where a name does not resolve [wait]
  -4, -6                 IPv4 or IPv6 only
      --source ADDR      the IP address to connect from
      --interface IF     the network interface to connect through
      --json, --csv      a line for each target, for machines
  -o, --output FILE      write there; it may be a FIFO
  -q, --quiet            write nothing, not even why it took too long
  -h, --help             this text
  TIME is 200us, 100ms, 1.5s, 5m or 1h; without a unit, milliseconds.

EXAMPLES
  wait db:5432 unix:/run/app.sock -t 1m -- ./server --port 80
  wait localhost:8080 --until closed && ./start
  wait a.test:80 b.test:80 --any -q

KEYS AND SIGNALS
  While CMD runs, signals go on to it. Before that, Enter and SIGQUIT write what
  is not ready, and SIGINT and SIGTERM write that and end the wait.

EXIT CODE
  0   the targets are ready, and there is no CMD
  N   that of CMD; 128 and the number of the signal that ended it
  2   wrong usage, or a name that does not resolve with --names fail
  3   a file is incomplete: the disk is full
  124 it took too long: each target that is not ready is named, with its tries,
      its last error and what was found about it
  126 CMD cannot be run; 127 there is no such command
  130 interrupted (SIGINT), 143 by SIGTERM

PERMISSIONS, on Deno
  --allow-ffi --allow-net; --allow-read --allow-write for unix:PATH;
  --allow-run --allow-env for CMD; --allow-write for -o.
`;

/** The command `wait`. */
export const waitCommand: Command = {
  purpose: "until targets are open, and then on with a command",
  help: WAIT_HELP,
  async run(args, io) {
    const { values, positionals, rest } = parseArguments(args, WAIT_OPTIONS);
    if (positionals.length === 0) {
      throw new UsageError("Cannot wait for nothing: give a target");
    }
    if (rest !== null && !rest[0]) {
      throw new UsageError("Cannot run nothing: give a command after --");
    }
    const { timeout, ...flags } = connectFlags(values);
    const targets = positionals.map((text) =>
      restricted(destinationOf(text), { ...flags, timeout: undefined })
    );
    const until = parseWord("--until", values.until, ["open", "closed"]);
    const options = {
      until,
      mode: values.any ? "any" as const : "all" as const,
      timeout: timeout === 0 ? Infinity : timeout ?? WAIT_PATIENCE,
      interval: parseTime("--interval", values.interval, undefined),
      attemptTimeout: parseTime(
        "--attempt-timeout",
        values["attempt-timeout"],
        undefined,
      ),
      stable: parseCount("--stable", values.stable, undefined, 1),
      names: parseWord("--names", values.names, ["wait", "fail"]),
      signal: io.signal,
    };
    const { quiet } = values;
    const start = performance.now();
    const output = await openOutput(values, io, WAIT_COLUMNS);
    try {
      // It may have come while the command was being loaded.
      if (io.signal?.aborted) return interruptedCode(io);
      const onReady = (result: WaitResult) => {
        if (!quiet) writeReady(output, until, result);
      };
      const waiting = beginWait(targets, { ...options, onReady });
      const report = () =>
        pendingText(waiting.pending(), until, performance.now() - start);
      const requests = io.onRequest?.(() => io.err(report()));
      try {
        await waiting.ready;
      } catch (error) {
        if (io.signal?.aborted) {
          const pending = waiting.pending();
          // The results may have lost their reader once all were there.
          if (!quiet && pending.length > 0) {
            io.err(report());
            writePending(output, pending, performance.now() - start);
          }
          return interruptedCode(io);
        }
        if (!(error instanceof WaitError)) throw error;
        if (!quiet) {
          const { pending } = error;
          if (output.format !== "text") {
            writePending(output, pending, performance.now() - start);
          } else io.err(pendingText(pending, until, options.timeout));
        }
        return EXIT.late;
      } finally {
        requests?.[Symbol.dispose]();
      }
    } finally {
      await output.close();
    }
    const [command, ...rest_] = rest ?? [];
    return command === undefined ? EXIT.yes : await follow(command, rest_, io);
  },
};

function writeReady(
  output: Output,
  until: string,
  { target, address, attempts, elapsed }: WaitResult,
): void {
  const text = destinationText(target);
  output.result(
    "wait",
    {
      target: text,
      ready: true,
      state: until,
      address,
      attempts,
      elapsed,
      code: null,
      message: null,
      finding: null,
    },
    () => {
      const name = text === address ? text : `${text} (${address})`;
      const state = output.paint("green", until);
      return `${name} is ${state} after ${timeText(elapsed)}, ${
        triesText(attempts)
      }\n`;
    },
  );
}

/** Writes a line for each target that is not ready, where lines are for machines. */
function writePending(
  output: Output,
  pending: readonly PendingTarget[],
  elapsed: number,
): void {
  for (const one of pending) {
    const { target, attempts, last } = one;
    output.result("wait", {
      target: destinationText(target),
      ready: false,
      state: null,
      address: null,
      attempts,
      elapsed,
      code: last?.code ?? null,
      message: last?.message ?? null,
      finding: findingOf(one),
    }, () => null);
  }
}

/** Each target that is not ready, and why. */
function pendingText(
  pending: readonly PendingTarget[],
  until: string,
  time: number,
): string {
  let text = `wait: not ${until} within ${timeText(time)}:\n`;
  for (const one of pending) {
    const { target, attempts, last } = one;
    const none = until === "open" ? "has not ended" : "connected";
    const why = last === null ? none : last.message;
    text += `  ${destinationText(target)}: ${triesText(attempts)}, ` +
      `the last: ${why}\n`;
    const finding = findingOf(one);
    if (finding !== null) text += `    ${finding}\n`;
  }
  return text;
}

/** What was found about the last failure, or else what it means. */
function findingOf({ last }: PendingTarget): string | null {
  if (last === null || last instanceof LookupError) return null;
  const { evidence, meaning } = explain(last);
  return evidence[0] ?? meaning;
}

function triesText(attempts: number): string {
  return attempts === 1 ? "1 try" : `${attempts} tries`;
}

function timeText(milliseconds: number): string {
  return milliseconds < 1000
    ? `${Math.round(milliseconds)} ms`
    : `${Number((milliseconds / 1000).toFixed(1))} s`;
}

/** Runs a command in this one's place, as far as that goes; returns its exit code. */
async function follow(
  command: string,
  args: readonly string[],
  io: CliIo,
): Promise<number> {
  let pid: number | undefined;
  // From before the start, or one that comes at once would be lost. The child's
  // own kill() would take the signal for its end on Deno.
  const listening = io.onSignal?.((name) => {
    if (pid !== undefined) process.kill(pid, name);
  });
  try {
    const child = spawn(command, args, { stdio: "inherit" });
    pid = child.pid;
    return await new Promise((resolve) => {
      child.on("error", (error) => resolve(cannotRun(command, error, io)));
      child.on("exit", (code, signal) => {
        resolve(code ?? 128 + (signal === null ? 0 : signalNumber(signal)));
      });
    });
  } catch (error) {
    return cannotRun(command, error, io);
  } finally {
    listening?.[Symbol.dispose]();
  }
}

function cannotRun(command: string, error: unknown, io: CliIo): number {
  const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
  const why = isMissing ? "there is no such command" : reasonText(error);
  io.err(`wait: Cannot run "${command}": ${why}\n`);
  return isMissing ? EXIT.notFound : EXIT.cannotRun;
}
