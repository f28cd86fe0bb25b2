/**
 * Counting by a key.
 *
 * @module
 */

/** Counts one more of a key. */
export function increase<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
