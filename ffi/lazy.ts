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
    Object.defineProperty(object, key, {
      get() {
        const value = make(key);
        Object.defineProperty(object, key, { value, enumerable: true });
        return value;
      },
      enumerable: true,
      configurable: true,
    });
  }
  return object;
}
