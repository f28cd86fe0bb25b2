/**
 * Counting by a key.
 *
 * @module
 */

/** Counts one more of a key, or several. */
export function increase<K>(counts: Map<K, number>, key: K, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
