/**
 * What a terminal's user has asked of every program.
 *
 * @module
 */
import process from "node:process";

/**
 * Whether the user wants no colour: the variable `NO_COLOR` is set and not
 * empty. Deno has read it by itself, and would ask for a permission.
 */
export function refusesColor(): boolean {
  const { Deno } = globalThis as { Deno?: { noColor?: boolean } };
  return Deno?.noColor ?? (process.env.NO_COLOR ?? "") !== "";
}
