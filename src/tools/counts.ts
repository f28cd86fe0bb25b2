/**
 * Counting by a key.
 *
 * @module
 */

/** Counts one more of a key, or several, or less; what there is none of has no key. */
export function increase<K>(counts: Map<K, number>, key: K, by = 1): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
