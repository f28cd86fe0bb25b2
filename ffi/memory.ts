/**
 * Memory that C functions are handed.
 *
 * @module
 */

/**
 * Memory that C may see.
 *
 * V8 keeps the bytes of a small typed array on its moving heap until somebody
 * asks for its buffer; an array that begins as a buffer never moves.
 */
export function newMemory(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(size));
}
