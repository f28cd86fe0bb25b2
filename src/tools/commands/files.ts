/**
 * The files that a command line names.
 *
 * @module
 */
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  openSync,
  realpathSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { libcIfOpen } from "../../../ffi/libc.ts";
import { setTimeout } from "../../../ffi/timers.ts";
import { pollFd } from "../../attempt/outcome.ts";
import { show } from "../../errors/arguments.ts";
import { phraseOf } from "../../errors/phrases.ts";

/** A file cannot be read or written. */
export class FileError extends Error {
  /** The name of the class. */
  override readonly name = "FileError";
  /** Whether some of it is written, or may be. */
  readonly isPartial: boolean;

  /** What was to be done with which file, and why it fails. */
  constructor(
    action: "read" | "write",
    file: string,
    reason: unknown,
    isPartial = false,
  ) {
    super(`Cannot ${action} ${file}: ${reasonText(reason)}`, { cause: reason });
    this.isPartial = isPartial;
  }
}

/** Why a call of a module of Node's fails; each runtime has words of its own. */
export function reasonText(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const phrase = code === undefined ? undefined : phraseOf(code);
  return phrase === undefined ? message : `${phrase} (${code})`;
}

/**
 * Writes a file, or prepares that.
 *
 * @throws {FileError} If it fails.
 */
function toWrite<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new FileError("write", show(path), error);
  }
}

/**
 * Reads a file. Not by this thread, which signals need: a FIFO may have no
 * writer.
 *
 * @throws {FileError} If that fails.
 * @throws The reason of `signal`, once it is aborted.
 */
export function readWholeFile(
  path: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => reject(signal!.reason);
    signal?.addEventListener("abort", stop);
    readFile(path, "utf8")
      .finally(() => signal?.removeEventListener("abort", stop))
      .then(
        resolve,
        (error) => reject(new FileError("read", show(path), error)),
      );
  });
}

/** A file that is written from its beginning to its end. */
export interface FileSink {
  /**
   * Writes more text, at once or as soon as the reader of a FIFO has room.
   *
   * @throws {FileError} If that fails: what is written is incomplete.
   */
  write(text: string): void;
  /**
   * Waits until all is written; `null` if it is.
   *
   * @param signal Ends the wait.
   * @throws {FileError} If that fails.
   */
  drained(signal: AbortSignal | undefined): Promise<void> | null;
  /** What the system says of it. */
  stat(): Stats;
  /**
   * Closes it once all is written, or the signal that came with it is aborted.
   *
   * @throws {FileError} If something could not be written.
   * @throws The reason of that signal if it has left something unwritten.
   */
  close(): Promise<void>;
}

/** How often to look whether a FIFO has a reader, or its reader has made room, in ms. */
const READER_PAUSE = 20;

/**
 * How much a pipe takes as a whole or not at all, on every system: of more, a
 * part may be written of which not every runtime says how much. A pipe that has
 * any room has room for so much.
 */
const ATOMIC = 512;

/**
 * Creates a file, or empties it; waits until a FIFO has a reader.
 *
 * @param signal Ends the wait for a reader.
 * @param apart What else the command reads, by path, or writes: it would be
 * lost if it were the same regular file.
 * @throws {FileError} If it cannot be written, or is one of those.
 * @throws The reason of `signal`, once it is aborted.
 */
export async function createFile(
  path: string,
  signal: AbortSignal | undefined,
  apart: readonly (string | FileSink)[],
): Promise<FileSink> {
  let opened: Opened | null;
  while ((opened = toWrite(path, () => tryOpen(path, apart))) === null) {
    await pause(READER_PAUSE);
    signal?.throwIfAborted();
  }
  return new DescriptorSink(show(path), opened, signal);
}

/** The descriptor of the standard output. */
const STDOUT = 1;

/**
 * Writes to the standard output as to a FIFO; `null` if it is neither a pipe nor
 * a socket.
 *
 * @param signal Ends the wait in `close`.
 */
export function pipedOutput(signal: AbortSignal): FileSink | null {
  let stat: Stats;
  try {
    stat = fstatSync(STDOUT);
  } catch {
    // There is none.
    return null;
  }
  if (!stat.isFIFO() && !stat.isSocket()) return null;
  const opened = { fd: STDOUT, isPipe: true };
  return new DescriptorSink("the results", opened, signal);
}

/** A file that is open, and whether its reader may leave it without room. */
interface Opened {
  readonly fd: number;
  readonly isPipe: boolean;
}

/**
 * Whether a write would not wait: others may share the standard output, whose
 * mode has to stay as it is. What connects nothing has no C library open to
 * ask, and writes little.
 */
function hasRoom(fd: number): boolean {
  const c = libcIfOpen();
  return c === null || pollFd(c, fd, c.abi.POLLOUT, 0) !== 0;
}

/**
 * Opens a file to write from its beginning; returns `null` for a FIFO that has
 * no reader: to wait for one in open(2) would hold the thread that signals need,
 * and so would a write(2) that waits until its reader has made room.
 */
function tryOpen(
  path: string,
  apart: readonly (string | FileSink)[],
): Opened | null {
  const { O_CREAT, O_NONBLOCK, O_WRONLY } = constants;
  let fd: number;
  try {
    fd = openSync(path, O_WRONLY | O_CREAT | O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
    let isFifo: boolean;
    try {
      isFifo = statSync(path).isFIFO();
    } catch {
      // On Deno, to write to a file is not the permission to look at it.
      return { fd: openSync(path, "w"), isPipe: false };
    }
    if (isFifo) return null;
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isFIFO()) return { fd, isPipe: true };
    if (stat.isFile()) {
      for (const other of apart) checkApart(stat, other);
      ftruncateSync(fd);
      return { fd, isPipe: false };
    }
    // What is written waits for a slow device.
    const waiting = openSync(path, "w");
    closeSync(fd);
    return { fd: waiting, isPipe: false };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @throws If a file is the same as another one. */
function checkApart(
  { dev, ino }: Stats,
  other: string | FileSink,
): void {
  let stat: Stats;
  try {
    stat = typeof other === "string" ? statSync(other) : other.stat();
  } catch {
    // It is gone by now.
    return;
  }
  if (stat.dev !== dev || stat.ino !== ino) return;
  const use = typeof other === "string"
    ? "this command reads it"
    : "something else is written to it";
  throw new Error(use);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

class DescriptorSink implements FileSink {
  readonly #name: string;
  readonly #fd: number;
  readonly #isPipe: boolean;
  readonly #signal: AbortSignal | undefined;
  /** What is not written so far. */
  #rest: Uint8Array[] = [];

  constructor(
    name: string,
    { fd, isPipe }: Opened,
    signal: AbortSignal | undefined,
  ) {
    this.#name = name;
    this.#fd = fd;
    this.#isPipe = isPipe;
    this.#signal = signal;
  }

  write(text: string): void {
    this.#rest.push(new TextEncoder().encode(text));
    this.#push();
  }

  drained(signal: AbortSignal | undefined): Promise<void> | null {
    return this.#rest.length === 0 ? null : this.#drain(signal);
  }

  stat(): Stats {
    return fstatSync(this.#fd);
  }

  async close(): Promise<void> {
    try {
      await this.drained(this.#signal);
      if (this.#rest.length > 0) this.#signal?.throwIfAborted();
    } finally {
      closeSync(this.#fd);
    }
  }

  async #drain(signal: AbortSignal | undefined): Promise<void> {
    for (let time = 1; this.#rest.length > 0 && !signal?.aborted;) {
      await pause(time);
      time = this.#push() ? 1 : Math.min(2 * time, READER_PAUSE);
    }
  }

  /** Writes as much as there is room for; returns whether that is any. */
  #push(): boolean {
    let isAny = false;
    try {
      for (let bytes; (bytes = this.#rest[0]) !== undefined;) {
        if (this.#isPipe && !hasRoom(this.#fd)) return isAny;
        const part = this.#isPipe ? bytes.subarray(0, ATOMIC) : bytes;
        const done = part.length === 0 ? 0 : writeSync(this.#fd, part);
        isAny = true;
        if (done < bytes.length) this.#rest[0] = bytes.subarray(done);
        else this.#rest.shift();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return isAny;
      // What follows would be behind a gap.
      this.#rest = [];
      throw new FileError("write", this.#name, error, true);
    }
    return isAny;
  }
}

const NOT_REGULAR = "it is no regular file";

/** The bits of a mode that say who may do what with a file. */
const PERMISSIONS = 0o777;

/** A file that is replaced as a whole. Disposing of it removes one that is new and empty. */
export interface ReplaceableFile extends Disposable {
  /**
   * Replaces what is in it: who reads it finds the old text or the new one. Its
   * permissions stay.
   *
   * @throws {FileError} If that fails: it is as it was, and no other is left.
   */
  replace(text: string): void;
  /** Whether a path leads to it. */
  isAt(path: string): boolean;
}

/**
 * A file to replace as a whole, which is created if there is none.
 *
 * A symbolic link stays one. What is no regular file is refused: a device or a
 * FIFO of that name would be gone.
 *
 * @throws {FileError} If it cannot be replaced.
 */
export function replaceableFile(path: string): ReplaceableFile {
  const { file, isNew, mode } = toWrite(path, () => {
    const isNew = !existsSync(path);
    const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;
    if (!isNew && !statSync(path).isFile()) throw new Error(NOT_REGULAR);
    // A FIFO would wait for its reader.
    const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new Error(NOT_REGULAR);
      const mode = stat.mode & PERMISSIONS;
      return { file: realpathSync(path), isNew, mode };
    } finally {
      closeSync(fd);
    }
  });
  return {
    replace(text) {
      const fresh = `${file}.new`;
      const fd = toWrite(fresh, () => openSync(fresh, "w", mode));
      toWrite(file, () => {
        try {
          try {
            // The umask takes some away, and an old file has its own.
            const isOther = (fstatSync(fd).mode & PERMISSIONS) !== mode;
            if (isOther) fchmodSync(fd, mode);
            writeFileSync(fd, text);
          } finally {
            closeSync(fd);
          }
          renameSync(fresh, file);
        } catch (error) {
          unlinkSync(fresh);
          throw error;
        }
      });
    },
    isAt(path) {
      try {
        return realpathSync(path) === file;
      } catch {
        // It is still to be created.
        return false;
      }
    },
    [Symbol.dispose]() {
      if (!isNew) return;
      try {
        if (statSync(file).size === 0) unlinkSync(file);
      } catch {
        // Somebody else has removed it.
      }
    },
  };
}
