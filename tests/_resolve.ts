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

/** Packages are found as a file beside their folder would find them. */
const NEIGHBOR =
  pathToFileURL(`${process.env.EINPROGRESS_PACKAGES}/../_.js`).href;

/** What the map knows of a name, `null` where it knows nothing. */
function find(specifier: string): string | null {
  const name = Object.keys(imports).find((name) =>
    name === specifier || name.endsWith("/") && specifier.startsWith(name)
  );
  return name === undefined ? null : imports[name]!;
}

interface NodeModule {
  registerHooks(hooks: {
    resolve(
      specifier: string,
      context: object,
      next: (specifier: string, context: object) => unknown,
    ): unknown;
  }): void;
}

const { registerHooks } = process.getBuiltinModule(
  "node:module",
) as unknown as NodeModule;

registerHooks({
  resolve(specifier, context, next) {
    const target = find(specifier);
    if (target === null) return next(specifier, context);
    return target.startsWith(".")
      ? next(new URL(target, MAP).href, context)
      : next(specifier, { ...context, parentURL: NEIGHBOR });
  },
});
