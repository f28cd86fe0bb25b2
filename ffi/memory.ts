/**
 * Memory that C functions are handed.
 *
 * @module
 */

/**
 * Memory that C may see.
 *
 * V8 keeps the bytes of a small typed array on its moving heap until its
 * buffer is read; an array that begins as a buffer never moves.
 */
export function newMemory(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(size));
}

/** All that {@linkcode newScratch} has made. */
const scratches = new WeakSet<Uint8Array>();

/**
 * Memory for one system call at a time, which is used again and again and never
 * handed to anyone else: where it lies, it stays.
 */
export function newScratch(size: number): Uint8Array<ArrayBuffer> {
  const memory = newMemory(size);
  scratches.add(memory);
  return memory;
}

/** Whether {@linkcode newScratch} has made it. */
export function isScratch(memory: Uint8Array): boolean {
  return scratches.has(memory);
}

/** Makes bytes of text, as C has it. */
export const ENCODER = new TextEncoder();

/** Room for a C `int`, for one system call at a time: no call outlives its use. */
export const int = newScratch(4);
/** The same memory, to read and to write the number. */
export const intView = new DataView(int.buffer);

/** How many bytes the longest address has; it is AIX's, of a Unix path. */
export const LONGEST_ADDRESS = 1025;
/** Room for an address, for one system call at a time: no call outlives its use. */
export const addressRoom = newScratch(LONGEST_ADDRESS);
