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
  openSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout } from "../../../ffi/timers.ts";
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
    super(`Cannot ${action} ${file}: ${reasonText(reason)}`);
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
export interface FileSink extends Disposable {
  /**
   * Writes more text.
   *
   * @throws {FileError} If that fails: what is written is incomplete.
   */
  write(text: string): void;
}

/** How often to look whether a FIFO has a reader, in ms. */
const READER_PAUSE = 20;

/**
 * Creates a file, or empties it; waits until a FIFO has a reader.
 *
 * @param signal Ends the wait.
 * @throws {FileError} If it cannot be written.
 * @throws The reason of `signal`, once it is aborted.
 */
export async function createFile(
  path: string,
  signal: AbortSignal | undefined,
): Promise<FileSink> {
  let fd: number | null;
  while ((fd = toWrite(path, () => tryOpen(path))) === null) {
    await new Promise<void>((resolve) => setTimeout(resolve, READER_PAUSE));
    signal?.throwIfAborted();
  }
  return sinkOf(path, fd);
}

/**
 * Opens a file to write from its beginning; returns `null` for a FIFO that has
 * no reader: to wait for one in open(2) would hold the thread that signals need.
 */
function tryOpen(path: string): number | null {
  const { O_CREAT, O_NONBLOCK, O_TRUNC, O_WRONLY } = constants;
  let fd: number;
  try {
    fd = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
    let isFifo: boolean;
    try {
      isFifo = statSync(path).isFIFO();
    } catch {
      // On Deno, to write to a file is not the permission to look at it.
      return openSync(path, "w");
    }
    if (isFifo) return null;
    throw error;
  }
  if (fstatSync(fd).isFile()) return fd;
  // What is written waits for a slow reader.
  try {
    return openSync(path, "w");
  } finally {
    closeSync(fd);
  }
}

function sinkOf(path: string, fd: number): FileSink {
  return {
    write(text) {
      const bytes = new TextEncoder().encode(text);
      try {
        for (let done = 0; done < bytes.length;) {
          done += writeSync(fd, bytes, done);
        }
      } catch (error) {
        throw new FileError("write", show(path), error, true);
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
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
