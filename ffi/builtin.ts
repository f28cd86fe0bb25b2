/**
 * Modules that every runtime brings along.
 *
 * @module
 */

/**
 * Such a module, loaded when it is first needed.
 *
 * An import would load it at once, which costs Deno more than all the rest of
 * this package does.
 */
export function builtin<M>(name: `node:${string}`): M {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): M };
  };
  return process.getBuiltinModule(name);
}
