/**
 * What all commands have in common: what they write to, how their arguments
 * are read, and their exit codes.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { LONGEST_TIMER } from "../../../ffi/timers.ts";
import { nearest } from "../../errors/arguments.ts";
import type { ConnectTarget } from "../../connect/target.ts";
import type { LookupFamily } from "../../address/lookup.ts";
import { parseDestination } from "../destination.ts";
import { createFile, FileError, type FileSink } from "./files.ts";

/** What a command writes to, and what ends it. */
export interface CliIo {
  /** Takes results, in whole lines. */
  readonly out: (text: string) => void;
  /**
   * Waits until the reader of the results has taken all; `null` if it has.
   *
   * @param signal Ends the wait.
   */
  readonly drained?:
    | ((signal: AbortSignal | undefined) => Promise<void> | null)
    | undefined;
  /** Takes messages and progress, in whole lines. */
  readonly err: (text: string) => void;
  /**
   * Ends the command with a summary of what was done. The exit code is that of
   * the reason if it is an {@linkcode Interruption}, and else 130.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Registers a listener that is called each time the user wants the summary so
   * far. Disposing of the result removes it.
   */
  readonly onRequest?: ((listener: () => void) => Disposable) | undefined;
  /**
   * Registers a listener that is called each time the process goes on after it
   * was suspended.
   */
  readonly onResume?: ((listener: () => void) => Disposable) | undefined;
  /**
   * Registers a listener that gets the name of each signal of the process,
   * which does not end the command then.
   */
  readonly onSignal?:
    | ((listener: (name: string) => void) => Disposable)
    | undefined;
  /** The lines of the standard input. */
  readonly lines?: (() => AsyncIterable<string>) | undefined;
  /**
   * Whether `out` is a terminal, where lines may be drawn over.
   *
   * @default {false}
   */
  readonly isTerminal?: boolean | undefined;
  /**
   * Whether `err` is a terminal, where progress may be shown.
   *
   * @default {false}
   */
  readonly showsProgress?: boolean | undefined;
  /**
   * Whether `out` takes colours.
   *
   * @default {false}
   */
  readonly hasColor?: boolean | undefined;
  /**
   * Whether `out` shows no other characters than those of ASCII.
   *
   * @default {false}
   */
  readonly isAscii?: boolean | undefined;
  /**
   * How many columns the terminal has.
   *
   * @default {80}
   */
  readonly width?: number | undefined;
}

/** One of the commands. */
export interface Command {
  /** What it does, in a few words. */
  readonly purpose: string;
  /** What `--help` writes. */
  readonly help: string;
  /**
   * Runs it.
   *
   * @param args The arguments that follow its name.
   * @returns The exit code.
   * @throws {UsageError} If the arguments are not understood.
   */
  run(args: readonly string[], io: CliIo): Promise<number>;
}

/** The exit codes of the process. */
export const EXIT = {
  /** Yes: open, connected, reached. */
  yes: 0,
  /** No. */
  no: 1,
  /** The arguments are not understood, or nothing could be sent. */
  usage: 2,
  /** It could not be finished. */
  incomplete: 3,
  /** Waiting took too long. */
  late: 124,
  /** The command to run cannot be run. */
  cannotRun: 126,
  /** There is no such command to run. */
  notFound: 127,
  /** Ended by SIGINT. */
  interrupted: 130,
} as const;

/** The arguments are not understood. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}

/** The arguments ask for the help of the command. */
export class HelpRequest extends Error {
  /** The name of the class. */
  override readonly name = "HelpRequest";
}

/** Why a command ends before it is done: a signal of the system. */
export class Interruption extends Error {
  /** The name of the class. */
  override readonly name = "Interruption";
  /** The name of the signal. */
  readonly signal: string;
  /** The exit code: 128 plus the number of the signal. */
  readonly exitCode: number;

  /** A signal by its name and its number. */
  constructor(signal: string, number: number) {
    super(`Interrupted by ${signal}`);
    this.signal = signal;
    this.exitCode = 128 + number;
  }
}

/** The exit code of a command that its signal has ended. */
export function interruptedCode({ signal }: CliIo): number {
  const reason: unknown = signal?.reason;
  if (reason instanceof FileError) return EXIT.incomplete;
  return reason instanceof Interruption ? reason.exitCode : EXIT.interrupted;
}

/** One option of a command, as `parseArgs` of `node:util` takes it. */
export interface OptionSpec {
  /** Whether a value follows. */
  readonly type: "string" | "boolean";
  /** A letter for it. */
  readonly short?: string;
  /** Whether it may be given more than once. */
  readonly multiple?: boolean;
}

/** The values of the options of a command: text, or whether it is given. */
export type OptionValues<S extends Readonly<Record<string, OptionSpec>>> = {
  readonly [N in keyof S]: S[N] extends { type: "boolean" } ? boolean
    : S[N] extends { multiple: true } ? readonly string[]
    : string | undefined;
};

/** Arguments, understood. */
export interface Arguments<S extends Readonly<Record<string, OptionSpec>>> {
  readonly values: OptionValues<S>;
  readonly positionals: readonly string[];
  /** What follows `--`, `null` where there is none. */
  readonly rest: readonly string[] | null;
}

/** The options that every command has. */
export const COMMON_OPTIONS = {
  json: { type: "boolean" },
  csv: { type: "boolean" },
  output: { type: "string", short: "o" },
  quiet: { type: "boolean", short: "q" },
  help: { type: "boolean", short: "h" },
} as const satisfies Record<string, OptionSpec>;

/** The options of every command that connects. */
export const CONNECT_OPTIONS = {
  ...COMMON_OPTIONS,
  ipv4: { type: "boolean", short: "4" },
  ipv6: { type: "boolean", short: "6" },
  source: { type: "string" },
  interface: { type: "string" },
  timeout: { type: "string", short: "t" },
} as const satisfies Record<string, OptionSpec>;

/**
 * Splits arguments into options and the rest.
 *
 * @throws {UsageError} If one is not understood; it names the nearest that is.
 * @throws {HelpRequest} If one asks for help, alone or with others (`-qh`),
 * whatever is wrong with the others.
 */
export function parseArguments<
  const S extends Readonly<Record<string, OptionSpec>>,
>(args: readonly string[], specs: S): Arguments<S> {
  const { tokens } = parseArgs({
    args: [...args],
    options: specs,
    allowPositionals: true,
    // Its own messages differ from runtime to runtime.
    strict: false,
    tokens: true,
  });
  if (tokens.some(asksForHelp)) throw new HelpRequest();
  const values: Record<string, unknown> = Object.create(null);
  for (const [name, { type, multiple }] of Object.entries(specs)) {
    values[name] = type === "boolean" ? false : multiple ? [] : undefined;
  }
  const positionals: string[] = [];
  let rest: string[] | null = null;
  for (const token of tokens) {
    if (token.kind === "option-terminator") rest = [];
    else if (token.kind === "positional") {
      (rest ?? positionals).push(token.value);
    } else {
      const { name, rawName, value, inlineValue } = token;
      const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
      if (spec === undefined) throw unknownFlag(rawName, specs);
      if (spec.type === "boolean") {
        if (inlineValue) {
          throw new UsageError(`Cannot use ${rawName}=${value}: no value fits`);
        }
        values[name] = true;
      } else {
        // What looks like an option is one: its own value was forgotten.
        if (value === undefined || !inlineValue && /^-./.test(value)) {
          throw new UsageError(`Cannot use ${rawName}: its value is missing`);
        }
        if (spec.multiple) (values[name] as string[]).push(value);
        else values[name] = value;
      }
    }
  }
  return { values: values as OptionValues<S>, positionals, rest };
}

/** Whether a part of the arguments is `--help` or `-h`, even as a value that was forgotten. */
function asksForHelp(token: {
  readonly kind: string;
  readonly name?: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}): boolean {
  const { kind, name, value, inlineValue } = token;
  if (kind !== "option" || inlineValue) return false;
  return name === "help" || value === "--help" || value === "-h";
}

function unknownFlag(
  rawName: string,
  specs: Readonly<Record<string, OptionSpec>>,
): UsageError {
  const guess = rawName.startsWith("--")
    ? nearest(rawName.slice(2), Object.keys(specs))
    : null;
  const hint = guess === null ? "" : `; did you mean --${guess}?`;
  return new UsageError(
    `Cannot use ${rawName}: there is no such option${hint}`,
  );
}

const UNITS: Readonly<Record<string, number>> = {
  us: 1e-3,
  ms: 1,
  "": 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * A time in milliseconds: `200us`, `100ms`, `100`, `1.5s`, `5m`, `1h`.
 *
 * @param option What it is for, as it is written.
 * @throws {UsageError} If it is none, or one that no timer takes.
 */
export function parseTime(option: string, text: string): number;
/** The same, `fallback` where nothing is given. */
export function parseTime<F>(
  option: string,
  text: string | undefined,
  fallback: F,
): number | F;
export function parseTime<F>(
  option: string,
  text: string | undefined,
  fallback?: F,
): number | F {
  if (text === undefined) return fallback as F;
  const [, digits, unit] = /^([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|)$/.exec(text) ??
    [];
  const time = Number(digits) * (UNITS[unit ?? ""] ?? NaN);
  if (time <= LONGEST_TIMER) return time;
  throw new UsageError(
    `Cannot use ${option} "${text}": it must be a time from 0 to 596 hours, ` +
      "as 200ms, 1.5s or 5m; milliseconds without a unit",
  );
}

/**
 * A count: digits and nothing else.
 *
 * @throws {UsageError} If it is none, or out of range.
 */
export function parseCount<F>(
  option: string,
  text: string | undefined,
  fallback: F,
  least = 0,
  most: number = Number.MAX_SAFE_INTEGER,
): number | F {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (/^[0-9]+$/.test(text) && value >= least && value <= most) return value;
  throw new UsageError(
    `Cannot use ${option} "${text}": it must be an integer, ${least} to ${most}`,
  );
}

/**
 * How many in a second.
 *
 * @throws {UsageError} If it is no number above 0.
 */
export function parseRate<F>(
  option: string,
  text: string | undefined,
  fallback: F,
): number | F {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (
    /^[0-9]+(?:\.[0-9]+)?$/.test(text) && value > 0 && value <= HIGHEST_RATE
  ) {
    return value;
  }
  throw new UsageError(
    `Cannot use ${option} "${text}": it must be a number a second, up to ${HIGHEST_RATE}`,
  );
}

const HIGHEST_RATE = 1_000_000;

/**
 * One of a few words, the first where nothing is given.
 *
 * @throws {UsageError} If it is another one.
 */
export function parseWord<const W extends string>(
  option: string,
  text: string | undefined,
  words: readonly [W, ...W[]],
): W {
  if (text === undefined) return words[0];
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw new UsageError(
    `Cannot use ${option} "${text}": it must be ${words.join(" or ")}`,
  );
}

/** How every command that connects does so. */
export interface ConnectFlags {
  readonly family: LookupFamily | undefined;
  readonly localAddress: string | undefined;
  readonly interface: string | undefined;
  readonly timeout: number | undefined;
}

/**
 * Reads the common options of connecting.
 *
 * @throws {UsageError} If they contradict each other.
 */
export function connectFlags(
  values: OptionValues<typeof CONNECT_OPTIONS>,
): ConnectFlags {
  if (values.ipv4 && values.ipv6) {
    throw new UsageError("Cannot use -4 and -6 together");
  }
  return {
    family: values.ipv4 ? "inet" : values.ipv6 ? "inet6" : undefined,
    localAddress: values.source,
    interface: values.interface,
    timeout: parseTime("--timeout", values.timeout, undefined),
  };
}

/**
 * A destination as it is written on a command line.
 *
 * @throws {UsageError} If it is none.
 */
export function destinationOf(text: string): ConnectTarget {
  try {
    return parseDestination(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(error.message);
  }
}

/**
 * A destination with what the options say of the way to it.
 *
 * @throws {UsageError} If an option does not fit it.
 */
export function restricted(
  destination: ConnectTarget,
  { family, localAddress, interface: device, timeout }: ConnectFlags,
): ConnectTarget & { readonly timeout?: number } {
  const patience = timeout === undefined ? {} : { timeout };
  if (destination.transport === "unix" || destination.transport === "vsock") {
    const [name] = [
      localAddress === undefined ? [] : ["--source"],
      device === undefined ? [] : ["--interface"],
      family === undefined ? [] : [family === "inet" ? "-4" : "-6"],
    ].flat();
    if (name === undefined) return { ...destination, ...patience };
    const kind = destination.transport === "unix" ? "Unix" : "vsock";
    throw new UsageError(`Cannot use ${name} with a ${kind} socket`);
  }
  return {
    ...destination,
    family,
    localAddress,
    interface: device,
    ...patience,
  };
}

/** Where a command's results go. */
export interface Output {
  /** The file that it is, `null` for the standard output. */
  readonly file: FileSink | null;
  readonly format: "text" | "json" | "csv";
  /** Writes text as it is, in whole lines. */
  write(text: string): void;
  /**
   * Writes one result: an object with a version on a line of its own, or a
   * line of CSV, or what `text` returns; nothing if that is `null`.
   */
  result(
    type: string,
    fields: Readonly<Record<string, unknown>>,
    text: () => string | null,
  ): void;
  /** Whether `write` reaches a terminal. */
  readonly isTerminal: boolean;
  /** Text in a colour, where there are colours. */
  paint(color: Color, text: string): string;
  /**
   * Waits until its reader has taken all; `null` if it has.
   *
   * @param signal Ends the wait.
   * @throws {FileError} If it cannot be written.
   */
  drained(signal: AbortSignal | undefined): Promise<void> | null;
  /**
   * Closes it once its reader has taken all, or the command is interrupted.
   *
   * @throws {FileError} If something could not be written.
   */
  close(): Promise<void>;
}

/** The version of the JSON lines. */
const LINE_VERSION = 1;

/** Colours and weights by the numbers that terminals have for them. */
const COLORS = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  cyan: 36,
} as const;

/** A colour that {@linkcode Output.paint} knows. */
export type Color = keyof typeof COLORS;

/**
 * Opens what a command writes its results to.
 *
 * @param columns The fields that stand in a line of CSV, in order.
 * @param read The files that the command reads.
 * @throws {UsageError} If --json and --csv are both given.
 * @throws {FileError} If the file cannot be written, or is one of those.
 * @throws The reason of `io.signal`, once it is aborted.
 */
export async function openOutput(
  values: OptionValues<typeof COMMON_OPTIONS>,
  io: CliIo,
  columns: readonly string[],
  read: readonly string[] = [],
): Promise<Output> {
  const { json, csv, output } = values;
  if (json && csv) throw new UsageError("Cannot use --json and --csv together");
  const file = output === undefined
    ? null
    : await createFile(output, io.signal, read);
  const write = (text: string) =>
    file === null ? io.out(text) : file.write(text);
  const hasColor = file === null && io.hasColor === true && !json && !csv;
  try {
    if (csv) write(`${columns.join(",")}\n`);
  } catch (error) {
    await file?.close();
    throw error;
  }
  return {
    file,
    format: json ? "json" : csv ? "csv" : "text",
    write,
    result(type, fields, text) {
      if (json) {
        write(
          `${JSON.stringify({ v: LINE_VERSION, type, ...fields }, rounded)}\n`,
        );
      } else if (csv) {
        write(`${columns.map((name) => cellOf(fields[name])).join(",")}\n`);
      } else {
        const line = text();
        if (line !== null) write(line);
      }
    },
    isTerminal: file === null && io.isTerminal === true,
    paint: (color, text) =>
      hasColor ? `\x1b[${COLORS[color]}m${text}\x1b[0m` : text,
    drained: (signal) =>
      file === null ? io.drained?.(signal) ?? null : file.drained(signal),
    async close() {
      await (file === null ? io.drained?.(io.signal) : file.close());
    },
  };
}

/** Numbers to six digits after the point: what follows is noise of the arithmetic. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value)
    ? Number(value.toFixed(6))
    : value;
}

/** One field of CSV (RFC 4180); what is no plain value is written as JSON. */
function cellOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "object"
    ? JSON.stringify(value, rounded)
    : String(rounded("", value));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as text with their columns aligned: the first to the left, the others to the right. */
export function alignedRows(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]!.length))
  );
  return rows.map(([name, ...cells]) =>
    [
      name!.padEnd(widths[0]!),
      ...cells.map((cell, index) => cell.padStart(widths[index + 1]!)),
    ].join("  ").trimEnd()
  );
}
