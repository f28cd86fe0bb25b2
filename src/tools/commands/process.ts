/**
 * The process as a command sees it: its streams and its signals.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { signalNumber } from "../../../ffi/signals.ts";
import {
  isAsciiLocale,
  isDumbTerminal,
  refusesColor,
} from "../../../ffi/terminal.ts";
import { FileError, pipedOutput } from "./files.ts";
import { type CliIo, EXIT, Interruption } from "./frame.ts";

/** The signals that end a command. */
const ENDING = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/** The signals that go on to a command's own command. */
const PASSED = [...ENDING, "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;

/**
 * The streams and signals of this process.
 *
 * The first SIGINT, SIGTERM or SIGHUP ends the command with its summary, a
 * second one the process.
 */
export function processIo(): CliIo & Disposable {
  const { stdin, stdout, stderr } = process;
  const isDumb = isDumbTerminal();
  const interrupt = new AbortController();
  function end(signal: NodeJS.Signals): void {
    interrupt.abort(new Interruption(signal, signalNumber(signal)));
  }
  const handlers = new Map(
    ENDING.map((signal) => [signal, () => end(signal)]),
  );
  function listen(): void {
    for (const [name, handler] of handlers) process.once(name, handler);
  }
  function ignore(): void {
    for (const [name, handler] of handlers) process.off(name, handler);
  }
  listen();
  // What fails is thrown on one runtime, and emitted later on another.
  function failed(error: unknown): void {
    if (error instanceof FileError) error = error.cause;
    const { code } = error as NodeJS.ErrnoException;
    if (interrupt.signal.aborted) return;
    // The reader of the results has ended, as head(1) does.
    if (code === "EPIPE") end("SIGPIPE");
    else {
      const failure = new FileError("write", "the results", error, true);
      stderr.write(`${failure.message}\n`);
      interrupt.abort(failure);
      // The command may be over by now.
      process.exitCode = EXIT.incomplete;
    }
  }
  stdout.on("error", failed);
  // Where messages have no reader, that cannot be reported either.
  stderr.on("error", () => {});
  const pipe = pipedOutput(interrupt.signal);
  return {
    out(text) {
      try {
        if (pipe === null) stdout.write(text);
        else pipe.write(text);
      } catch (error) {
        failed(error);
      }
    },
    drained: (signal) => pipe?.drained(signal)?.catch(failed) ?? null,
    err: (text) => stderr.write(text),
    signal: interrupt.signal,
    isTerminal: stdout.isTTY === true && !isDumb,
    showsProgress: stderr.isTTY === true && !isDumb,
    hasColor: stdout.isTTY === true && !isDumb && !refusesColor(),
    isAscii: isAsciiLocale(),
    get width() {
      return stdout.columns || stderr.columns || 80;
    },
    onRequest(listener) {
      const isTyped = stdin.isTTY === true;
      process.on("SIGQUIT", listener);
      if (isTyped) stdin.on("data", listener).unref?.();
      return {
        [Symbol.dispose]() {
          process.off("SIGQUIT", listener);
          if (isTyped) stdin.off("data", listener).pause();
        },
      };
    },
    onResume(listener) {
      process.on("SIGCONT", listener);
      return {
        [Symbol.dispose]: () => process.off("SIGCONT", listener),
      };
    },
    onSignal(listener) {
      const forwarders = PASSED.map((name) =>
        [name, () => {
          // A terminal sends these to all of its foreground by itself.
          const isTyped = name === "SIGINT" || name === "SIGQUIT";
          if (!(isTyped && stdin.isTTY)) listener(name);
        }] as const
      );
      // At no moment is there none, which would be the end of the process.
      for (const [name, forward] of forwarders) process.on(name, forward);
      ignore();
      return {
        [Symbol.dispose]() {
          listen();
          for (const [name, forward] of forwarders) process.off(name, forward);
        },
      };
    },
    lines() {
      const lines = createInterface({ input: stdin });
      // An open reader of the input keeps the process alive.
      interrupt.signal.addEventListener("abort", () => lines.close());
      return lines;
    },
    [Symbol.dispose]: ignore,
  };
}
