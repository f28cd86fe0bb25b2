/**
 * Objects that hold what they are given, and nothing else.
 *
 * @module
 */

/**
 * Takes its prototype from a record, so that only its own properties are found,
 * and nothing that somebody has put into the prototype of all objects.
 */
export function bare<T extends object>(record: T): T {
  return Object.setPrototypeOf(record, null);
}

/**
 * Makes an object whose properties come into being when they are first read,
 * and are plain data from then on: what a program never asks for costs its
 * start nothing.
 *
 * @param keys The names of the properties, in their order.
 * @param make Makes the property of one name.
 */
export function lazily<K extends string, V>(
  keys: readonly K[],
  make: (key: K) => V,
): Readonly<Record<K, V>> {
  const object = {} as Record<K, V>;
  for (const key of keys) {
    const lazy = {
      get() {
        const value = make(key);
        Object.defineProperty(object, key, bare({ value, enumerable: true }));
        return value;
      },
      enumerable: true,
      configurable: true,
    };
    Object.defineProperty(object, key, bare(lazy));
  }
  return object;
}
