/**
 * The lines that commands write with `--json`, held against their schema.
 *
 * @module
 */
import ajv from "ajv";
import { readFileSync } from "node:fs";

// On Deno and Node the default of a CommonJS module is what it exports, on Bun what it calls its default.
const { Ajv } = ajv as unknown as { Ajv: typeof import("ajv").Ajv };

const schema = JSON.parse(readFileSync(
  new URL("../src/tools/commands/lines.schema.json", import.meta.url),
  "utf8",
));
const validator = new Ajv({ allErrors: true, allowUnionTypes: true });
const validate: (line: unknown) => boolean = validator
  .compile(schema);

/** A line as an object. */
export type Line = Record<string, unknown> & { readonly type: string };

/** Parses the output of a command, and throws unless each line fits the schema. */
export function linesOf(output: string): Line[] {
  if (output !== "" && !output.endsWith("\n")) {
    throw new Error(`The last line has no end: ${output}`);
  }
  return output.split("\n").slice(0, -1).map((text) => {
    const line = JSON.parse(text) as Line;
    if (!validate(line)) {
      // The errors of the type's own definition say more than that no definition fits.
      const own = Object.hasOwn(schema.definitions, line.type)
        ? validator.getSchema(`${schema.$id}#/definitions/${line.type}`)
        : undefined;
      own?.(line);
      const errors = validator.errorsText(own?.errors ?? validator.errors);
      throw new Error(`${text}\ndoes not fit the schema: ${errors}`);
    }
    return line;
  });
}
