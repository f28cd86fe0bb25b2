/**
 * What a terminal's user has asked of every program.
 *
 * @module
 */
import process from "node:process";

/** The part of Deno that knows of permissions. */
interface DenoGlobal {
  readonly noColor?: boolean;
  readonly permissions?: {
    querySync(query: { name: "env"; variable: string }): { state: string };
  };
}

const { Deno } = globalThis as { Deno?: DenoGlobal };

/** A variable of the environment, empty where Deno would ask for a permission. */
function variable(name: string): string {
  const query = { name: "env", variable: name } as const;
  const state = Deno?.permissions?.querySync(query).state ?? "granted";
  return state === "granted" ? process.env[name] ?? "" : "";
}

/** Whether the terminal can only write on: no colour, no going back. */
export function isDumbTerminal(): boolean {
  return variable("TERM") === "dumb";
}

/**
 * Whether the locale is one without UTF-8. One that is not set says nothing:
 * most terminals show UTF-8 all the same.
 */
export function isAsciiLocale(): boolean {
  const locale = variable("LC_ALL") || variable("LC_CTYPE") || variable("LANG");
  return locale !== "" && !/utf-?8/i.test(locale);
}

/**
 * Whether the user wants no colour: the variable `NO_COLOR` is set and not
 * empty. Deno has read it by itself, and would ask for a permission.
 */
export function refusesColor(): boolean {
  return Deno?.noColor ?? (process.env.NO_COLOR ?? "") !== "";
}
