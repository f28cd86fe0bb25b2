/**
 * Lets Node find what tests import by name, where the import map of `tests/npm/` says.
 *
 * Preloaded by `tests/run.ts`, which also says where the packages of npm are: `EINPROGRESS_PACKAGES` is a `node_modules`.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";

const MAP = new URL("./npm/import_map.json", import.meta.url);

const { imports }: { imports: Record<string, string> } = JSON.parse(
  readFileSync(MAP, "utf8"),
);

/** Where a name leads, `null` where the map does not know. */
function find(specifier: string): URL | null {
  const name = Object.keys(imports).find((name) =>
    name === specifier || name.endsWith("/") && specifier.startsWith(name)
  );
  if (name === undefined) return null;
  const target = imports[name]!;
  if (target.startsWith(".")) return new URL(target, MAP);
  const packages = pathToFileURL(`${process.env.EINPROGRESS_PACKAGES}/`);
  return new URL(specifier, packages);
}

interface NodeModule {
  registerHooks(hooks: {
    resolve(
      specifier: string,
      context: unknown,
      next: (specifier: string, context: unknown) => unknown,
    ): unknown;
  }): void;
}

const { registerHooks } = process.getBuiltinModule(
  "node:module",
) as unknown as NodeModule;

registerHooks({
  resolve(specifier, context, next) {
    return next(find(specifier)?.href ?? specifier, context);
  },
});
