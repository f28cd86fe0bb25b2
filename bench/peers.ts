/**
 * The other processes of a bench: the loops in C, and the peers that are connected to.
 *
 * @module
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** A process that answers each line with a line. */
export class Child {
  /** What it says before it is asked. */
  readonly greeting: Promise<string>;
  readonly #process;
  readonly #waiting: PromiseWithResolvers<string>[] = [];

  constructor(command: string, args: readonly string[]) {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#process = child;
    this.greeting = this.#next();
    createInterface({ input: child.stdout }).on("line", (line: string) => {
      this.#waiting.shift()?.resolve(line);
    });
    const name = `${command} ${args[0]}`;
    child.on("error", (cause: Error) => {
      this.#fail(new Error(`Cannot start ${name}`, { cause }));
    });
    child.on("exit", (code: number) => {
      this.#fail(
        new Error(`Cannot go on: ${name} has ended with code ${code}`),
      );
    });
  }

  /** Asks, and waits for the answer. */
  ask(line: string): Promise<string> {
    const answer = this.#next();
    this.#process.stdin.write(`${line}\n`);
    return answer;
  }

  /** Ends the process, which ends by itself when there is nobody left to ask. */
  [Symbol.dispose](): void {
    this.#process.stdin.end();
  }

  #next(): Promise<string> {
    const waiting = Promise.withResolvers<string>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  #fail(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

/** What is compiled of floor.c. */
export interface Floor extends Disposable {
  readonly program: string;
  /** The same as a shared library. */
  readonly library: string;
  /** A folder of its own, removed in the end. */
  readonly folder: string;
}

/**
 * Compiles floor.c.
 *
 * @returns What came of it, or the reason why there is no such thing.
 */
export function compileFloor(): Floor | string {
  const source = fileURLToPath(new URL("floor.c", import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), "einprogress-"));
  const program = join(folder, "floor");
  const library = join(folder, "floor.so");
  try {
    execFileSync("cc", ["-O2", "-o", program, source]);
    execFileSync("cc", ["-O2", "-shared", "-fPIC", "-o", library, source]);
  } catch (error) {
    rmSync(folder, { recursive: true });
    const { code } = error as { code?: unknown };
    return code === "ENOENT" ? "there is no cc" : `cc: ${error}`;
  }
  return {
    program,
    library,
    folder,
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true });
    },
  };
}

/** Where the connects of a bench go, and who else makes them. */
export interface World extends Disposable {
  /** The addresses that answer, in turns, so that no queue overflows. */
  readonly hosts: readonly string[];
  readonly port: number;
  /** A port of the same addresses where nobody listens. */
  readonly refused: number;
  /** The paths of Unix sockets. */
  readonly paths: readonly string[];
  /** The same work in C. */
  readonly c: Child;
  /** The peer; `drain` clears away what a round has left with it. */
  readonly peer: Child;
}

/** A peer on loopback, in a process of its own. */
export async function openLoopback(floor: Floor): Promise<World> {
  const folder = join(floor.folder, "unix");
  mkdirSync(folder);
  const peer = new Child(floor.program, ["listen", folder]);
  const [hosts = "", port = "", refused = ""] = (await peer.greeting)
    .split(" ");
  return openWorld(floor, peer, hosts.split(","), port, refused, folder);
}

/**
 * A peer behind a TUN device, which answers each SYN after a delay. Works in
 * what {@linkcode inNamespace} runs, and nowhere else.
 */
export async function openLate(floor: Floor): Promise<World> {
  const peer = new Child(floor.program, ["late", "late"]);
  await peer.greeting;
  const hosts = Array.from({ length: 16 }, (_, i) => `10.0.1.${i + 1}`);
  return openWorld(floor, peer, hosts, "80", "0", floor.folder);
}

async function openWorld(
  { program }: Floor,
  peer: Child,
  hosts: string[],
  port: string,
  refused: string,
  folder: string,
): Promise<World> {
  const c = new Child(program, [
    "client",
    hosts.join(","),
    port,
    refused,
    folder,
  ]);
  await c.greeting;
  return {
    hosts,
    port: Number(port),
    refused: Number(refused),
    paths: Array.from({ length: 16 }, (_, i) => join(folder, `${i}`)),
    c,
    peer,
    [Symbol.dispose]() {
      c[Symbol.dispose]();
      peer[Symbol.dispose]();
    },
  };
}

/**
 * Runs this very program once more, where there is no network but loopback.
 *
 * @param args Its arguments.
 * @returns The lines that it prints, or `null` if there can be no such place.
 */
export function inNamespace(
  { program }: Floor,
  args: readonly string[],
): AsyncIterable<string> | null {
  try {
    execFileSync(program, ["namespace", program, "late", "probe"], {
      input: "",
      stdio: ["pipe", "ignore", "ignore"],
    });
  } catch {
    return null;
  }
  // Deno does not tell the flags that it was started with.
  const runtime = "Deno" in globalThis
    ? ["run", "--allow-all"]
    : process.execArgv;
  const { stdout } = spawn(program, [
    "namespace",
    process.execPath,
    ...runtime,
    process.argv[1]!,
    ...args,
  ], { stdio: ["ignore", "pipe", "inherit"] });
  return createInterface({ input: stdout });
}
