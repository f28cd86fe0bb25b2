/**
 * The command line: `ping`, `scan`, `wait`, `trace`, `explain`,
 * `report`.
 *
 * ```sh
 * deno run --allow-ffi --allow-net jsr:@einprogress/connect/cli ping localhost:8080
 * ```
 *
 * `--help` lists the commands, and `ping --help` says what one of them does,
 * its options and its exit codes.
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
import { realpathSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { endBySignal } from "../ffi/signals.ts";
import { setTimeout } from "../ffi/timers.ts";
import { nearest } from "./errors/arguments.ts";
import { FileError } from "./tools/commands/files.ts";
import {
  type CliIo,
  type Command,
  EXIT,
  HelpRequest,
  interruptedCode,
  Interruption,
  UsageError,
} from "./tools/commands/frame.ts";
import { processIo } from "./tools/commands/process.ts";

export { type CliIo, Interruption } from "./tools/commands/frame.ts";

const PACKAGE_VERSION = "0.1.0";

/**
 * How many turns of the event loop a process that was interrupted may still take
 * to end, and how long each is, in ms. As one stretch of time it would be over
 * for a process that had no processor meanwhile, and is about to end by itself.
 */
const LAST_TURNS = 10;
const LAST_TURN = 20;

/**
 * All commands by their names, in the order of the help. Each is loaded when it
 * is wanted, for a program that runs one needs nothing of the others.
 */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  ping: async () => (await import("./tools/commands/ping.ts")).pingCommand,
  scan: async () => (await import("./tools/commands/scan.ts")).scanCommand,
  wait: async () => (await import("./tools/commands/wait.ts")).waitCommand,
  trace: async () => (await import("./tools/commands/trace.ts")).traceCommand,
  explain: async () =>
    (await import("./tools/commands/explain.ts")).explainCommand,
  report: async () =>
    (await import("./tools/commands/report.ts")).reportCommand,
};

/**
 * Runs a command line.
 *
 * Returns when the command is done or `io.signal` has ended it. Whatever goes
 * wrong is written to `io.err`, and the exit code says so: nothing is thrown.
 *
 * @param args The arguments, the name of the command first.
 * @param io What it writes to, and what ends it.
 * @returns The exit code: 0 for yes, 1 for no, 2 for wrong usage or if nothing
 * could be sent, 3 for an incomplete result, 130 if it was interrupted, 143
 * by SIGTERM;
 * `--help` of each command has the rest.
 *
 * @example What an errno means
 * ```ts
 * import { main } from "@einprogress/connect/cli";
 * import { assertEquals, assertStringIncludes } from "@std/assert";
 *
 * let text = "";
 * const io = { out: (more: string) => text += more, err: () => {} };
 * assertEquals(await main(["explain", "ECONNREFUSED"], io), 0);
 * assertStringIncludes(text, "The peer is there and nobody listens");
 * ```
 */
export async function main(
  args: readonly string[],
  io: CliIo,
): Promise<number> {
  const [name, ...rest] = args;
  if (name === "--help" || name === "-h") {
    io.out(await overview());
    return EXIT.yes;
  }
  if (name === "--version") {
    io.out(`${PACKAGE_VERSION}\n`);
    return EXIT.yes;
  }
  const names = Object.keys(COMMANDS);
  const load = name !== undefined && Object.hasOwn(COMMANDS, name)
    ? COMMANDS[name]
    : undefined;
  if (load === undefined) {
    const guess = name === undefined ? null : nearest(name, names);
    const what = name === undefined ? "without a command" : `"${name}"`;
    const hint = guess === null
      ? `the commands are ${names.join(", ")}`
      : `did you mean ${guess}?`;
    io.err(`Cannot run ${what}: ${hint}\nTry --help.\n`);
    return EXIT.usage;
  }
  const command = await load();
  try {
    return await command.run(rest, io);
  } catch (error) {
    if (error instanceof HelpRequest) {
      io.out(command.help);
      return EXIT.yes;
    }
    const { signal } = io;
    if (signal?.aborted && error === signal.reason) return interruptedCode(io);
    io.err(`${name}: ${error instanceof Error ? error.message : error}\n`);
    if (error instanceof UsageError) io.err(`Try ${name} --help.\n`);
    const isPartial = error instanceof FileError && error.isPartial;
    return isPartial ? EXIT.incomplete : EXIT.usage;
  }
}

async function overview(): Promise<string> {
  const rows = await Promise.all(
    Object.entries(COMMANDS).map(async ([name, load]) =>
      `  ${name.padEnd(8)} ${(await load()).purpose}\n`
    ),
  );
  return `\
Connects, and says what happens.

Usage: COMMAND [ARGUMENTS]

COMMANDS
${rows.join("")}
COMMAND --help says what a command does, its options and its exit codes.
--version writes the version.
`;
}

/** Ends the process if something still keeps it alive after some turns. */
function endWithin(turns: number, end: () => void): void {
  setTimeout(
    () => turns > 1 ? endWithin(turns - 1, end) : end(),
    LAST_TURN,
  ).unref();
}

/**
 * Whether this is the program. Node says so from 24.2 on; an older one, on which
 * no more than a message comes, must not end as if all were well.
 */
function isProgram(): boolean {
  if (import.meta.main !== undefined) return import.meta.main;
  const [, path] = process.argv;
  try {
    return pathToFileURL(realpathSync(path!)).href === import.meta.url;
  } catch {
    return false;
  }
}

if (isProgram()) {
  const io = processIo();
  try {
    const code = await main(process.argv.slice(2), io);
    // A help may wait for its reader, too.
    await io.drained?.(io.signal);
    const { aborted, reason } = io.signal ?? {};
    process.exitCode = reason instanceof FileError ? EXIT.incomplete : code;
    // A file that has no end keeps its reader, whatever the signal said.
    if (aborted) {
      const end = reason instanceof Interruption
        ? () => endBySignal(reason.signal)
        : () => process.exit();
      endWithin(LAST_TURNS, end);
    }
  } finally {
    io[Symbol.dispose]();
  }
}
