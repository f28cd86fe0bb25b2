/**
 * The command `explain`: what an errno means, or why a target cannot be
 * reached.
 *
 * @module
 */
import { currentAbi } from "../../../ffi/libc.ts";
import { nearest } from "../../errors/arguments.ts";
import { connect } from "../../connect/connect.ts";
import { ErrnoError, LookupError } from "../../errors/errors.ts";
import {
  ERRNOS,
  explain,
  type Explanation,
  type Os,
} from "../../explain/explain.ts";
import type { EaiCode, ErrnoCode } from "../../errors/errors.ts";
import { LOOKUP_PHRASES, NODE_CODES } from "../../errors/phrases.ts";
import { destinationText } from "../destination.ts";
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
  restricted,
  UsageError,
} from "./frame.ts";

const EXPLAIN_OPTIONS = { ...CONNECT_OPTIONS, os: { type: "string" } } as const;

const EXPLAIN_COLUMNS = [
  "target",
  "code",
  "errno",
  "os",
  "meaning",
  "retry",
  "remedy",
  "state",
];

/** How long a connect may take that is to be explained, in ms. */
const EXPLAIN_PATIENCE = 5000;

const EXPLAIN_HELP = `\
Says what an errno means and what to do about it, or tries to connect to a
target and explains why that fails, with what it finds on this machine.

Usage: explain CODE | TARGET [EXPLAIN_OPTIONS]

CODE, TARGET
  ECONNREFUSED           an errno by its name
  EAI_NONAME             a failure of a lookup by its name; ENOTFOUND, as Node
                         calls it
  111                    an errno by its number, as this system counts
  HOST:PORT, [IPV6]:PORT, unix:PATH, unix:@NAME, vsock:CID:PORT

EXPLAIN_OPTIONS
      --os NAME          the system whose word counts: aix, darwin, freebsd,
                         illumos, linux, netbsd, openbsd [this one]
  -4, -6                 IPv4 or IPv6 only
      --source ADDR      the IP address to connect from
      --interface IF     the network interface to connect through
  -t, --timeout TIME     how long the connect may take [5s]
      --json, --csv      the same for machines
  -o, --output FILE      write there; it may be a FIFO
  -q, --quiet            write nothing: the exit code says it
  -h, --help             this text
  TIME is 200us, 100ms, 1.5s, 5m or 1h; without a unit, milliseconds.

EXAMPLES
  explain ECONNREFUSED
  explain EADDRNOTAVAIL --os freebsd
  explain db.example:5432 --timeout 2s

EXIT CODE
  0   a code was explained, or the target is open
  1   the target cannot be reached
  2   wrong usage, or nothing could be sent
  3   a file is incomplete: the disk is full
  130 interrupted (SIGINT), 143 by SIGTERM

PERMISSIONS, on Deno
  --allow-ffi --allow-net for a target, --allow-read --allow-write for
  unix:PATH; --allow-all for what is found in /proc; none for CODE.
  --allow-write for -o.
`;

/** The command `explain`. */
export const explainCommand: Command = {
  purpose: "what an errno means, or why a target cannot be reached",
  help: EXPLAIN_HELP,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, EXPLAIN_OPTIONS);
    const [what, ...more] = positionals;
    if (what === undefined) {
      throw new UsageError("Cannot explain nothing: give a CODE or a TARGET");
    }
    if (more.length > 0) {
      throw new UsageError(`Cannot explain "${more[0]}" as well: give one`);
    }
    const os = systemOf(values.os);
    const code = parseCode(what, os);
    const connection = code === null
      ? restricted(destinationOf(what), connectFlags(values))
      : null;
    const output = await openOutput(values, io, EXPLAIN_COLUMNS);
    try {
      if (connection === null) {
        const explanation = explain(code!, os === undefined ? {} : { os });
        if (!values.quiet) write(output, null, explanation);
        return EXIT.yes;
      }
      const target = destinationText(connection);
      const start = performance.now();
      try {
        const socket = await connect(
          { timeout: EXPLAIN_PATIENCE, ...connection },
          { signal: io.signal },
        );
        const wall = performance.now() - start;
        const address = `${socket.remoteAddress}`;
        socket.close();
        if (!values.quiet) {
          const name = address === target ? target : `${target} (${address})`;
          output.result(
            "explanation",
            {
              ...NO_FAILURE,
              target,
              state: "open",
              address,
              wall,
              os: os ?? currentAbi().os,
            },
            () => `${name} is open: connected within ${wall.toFixed(3)} ms\n`,
          );
        }
        return EXIT.yes;
      } catch (error) {
        if (io.signal?.aborted) return interruptedCode(io);
        const isName = error instanceof LookupError;
        if (!isName && !(error instanceof ErrnoError)) throw error;
        if (!values.quiet) {
          const explanation = explain(error, os === undefined ? {} : { os });
          write(output, { target, message: error.message }, explanation);
        }
        // Of the other calls, nothing has reached the network.
        const isSent = !isName && error.syscall === "connect";
        return isSent ? EXIT.no : EXIT.usage;
      }
    } finally {
      await output.close();
    }
  },
};

/** The fields of a line: each has all of them. */
const NO_TARGET = {
  target: null,
  state: null,
  address: null,
  wall: null,
  message: null,
} as const;
const NO_FAILURE = {
  ...NO_TARGET,
  code: null,
  errno: null,
  aliases: [],
  meaning: null,
  says: null,
  unlisted: null,
  everywhere: {},
  continues: null,
  reusable: null,
  retry: null,
  remedy: null,
  note: null,
  evidence: [],
} as const satisfies Record<keyof Omit<Explanation, "os">, unknown> & object;

function write(
  output: Output,
  failure: { target: string; message: string } | null,
  explanation: Explanation,
): void {
  output.result(
    "explanation",
    { ...NO_TARGET, ...failure, ...explanation },
    () => {
      const head = failure === null ? "" : `${failure.message}\n`;
      return `${head}${output.paint("bold", explanation.code)}${
        `${explanation}`.slice(explanation.code.length)
      }\n`;
    },
  );
}

function systemOf(text: string | undefined): Os | undefined {
  if (text === undefined || Object.hasOwn(ERRNOS, text)) return text as Os;
  const names = Object.keys(ERRNOS);
  const guess = nearest(text, names);
  throw new UsageError(
    `Cannot explain for --os "${text}": ` +
      (guess === null
        ? `the systems are ${names.join(", ")}`
        : `did you mean ${guess}?`),
  );
}

/**
 * An errno by its name or its number, or a failure of a lookup by its name;
 * `null` for what is a target.
 */
function parseCode(
  text: string,
  os: Os | undefined,
): ErrnoCode | EaiCode | null {
  if (text.includes(":")) return null;
  const tables = os === undefined ? Object.values(ERRNOS) : [ERRNOS[os]];
  if (/^[0-9]+$/.test(text)) {
    const { errno: _, os: here } = explain("EPERM", os ? { os } : {});
    const table = ERRNOS[here];
    const found = Object.entries(table)
      .find(([, number]) => number === Number(text));
    if (found !== undefined) return found[0] as ErrnoCode;
    throw new UsageError(`Cannot explain ${text}: ${here} has no such errno`);
  }
  const code = text.toUpperCase();
  const names = new Set(
    [...tables, LOOKUP_PHRASES, NODE_CODES].flatMap((table) =>
      Object.keys(table)
    ),
  );
  // What is an errno, too, stands for that.
  const isErrno = tables.some((table) => Object.hasOwn(table, code));
  if (!isErrno && Object.hasOwn(NODE_CODES, code)) return NODE_CODES[code]!;
  if (names.has(code)) return code as ErrnoCode | EaiCode;
  const guess = nearest(code, [...names]);
  throw new UsageError(
    `Cannot explain "${text}": it is no errno` +
      (guess === null ? "" : `; did you mean ${guess}?`) +
      (guess === null ? ", and a target is HOST:PORT" : ""),
  );
}
