/**
 * How tests run the commands: in this process, or in one of their own.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type CliIo, main } from "../src/cli.ts";
import { runtime } from "./_emulation.ts";
import { on } from "./_harness.ts";

/** What a command has written, and its exit code; `null` if a signal has ended it. */
export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process. */
export async function runCli(
  args: readonly string[],
  io: Partial<CliIo> = {},
): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await main(args, {
    out: (text) => out += text,
    err: (text) => err += text,
    ...io,
  });
  return { code, out, err };
}

/** How a command runs as a program. */
export interface ChildOptions {
  /** The permissions that Deno gives it, all of them unless it says otherwise. */
  readonly permissions?: readonly string[];
  /** Is called with everything written to standard output so far. */
  readonly onOutput?: (pid: number, out: string) => void;
}

/** The command that runs a command line as a program. */
export function cliCommand(
  args: readonly string[],
  permissions: readonly string[] = ["-A"],
): [command: string, ...args: string[]] {
  const flags = on("deno") === null
    ? ["run", "--quiet", "--no-prompt", ...permissions]
    : on("node") === null
    ? ["--no-warnings"]
    : [];
  const program = fileURLToPath(new URL("../src/cli.ts", import.meta.url));
  return [runtime, ...flags, program, ...args];
}

/** Runs a command line as a program. */
export function runChild(
  args: readonly string[],
  { permissions, onOutput }: ChildOptions = {},
): Promise<Ran> {
  const [command, ...rest] = cliCommand(args, permissions);
  return new Promise((resolve, reject) => {
    const child = spawn(command, rest, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1" },
    });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      out += text;
      onOutput?.(child.pid!, out);
    });
    child.stderr.setEncoding("utf8").on("data", (text) => err += text);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err }));
  });
}
