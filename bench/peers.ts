/**
 * The other processes of a bench: the loops in other languages, and the peers that are connected to.
 *
 * @module
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { doorFor } from "../ffi/libc.ts";
import type { Sample } from "./rounds.ts";

/** The command that runs a module on this runtime. */
export interface RuntimeFacts {
  readonly run: readonly string[];
  /** The flag that puts `gc` among the globals. */
  readonly gc: string;
  /** Where the heap is not counted as it grows: what has each collection logged, and with it the bytes that led to it. */
  readonly collections?: {
    readonly env: Readonly<Record<string, string>>;
    readonly bytes: RegExp;
  };
}

const RUNTIMES: Readonly<Record<string, RuntimeFacts>> = {
  Deno: {
    run: ["run", "--allow-all", "--quiet"],
    gc: "--v8-flags=--expose-gc",
  },
  Bun: {
    run: ["run"],
    gc: "--expose-gc",
    collections: {
      env: { BUN_JSC_logGC: "1" },
      bytes: /bytes allocated this cycle: (\d+)/g,
    },
  },
  Node: { run: ["--no-warnings"], gc: "--expose-gc" },
};

/** What this runtime is like. */
export const HERE: RuntimeFacts = RUNTIMES[doorFor().runtime]!;

/** The command that runs a module on this runtime. */
export function command(file: string, { gc = false } = {}): string[] {
  return [process.execPath, ...HERE.run, ...gc ? [HERE.gc] : [], file];
}

/** A process that replies to each line with a line. */
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

  /** Sends a line, and waits for the reply. */
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

/** A process that does the same work in another language. */
export type ClientName = "C" | "Python" | "Go";

/** What the bench has built for itself. */
export interface Floor {
  /** What is compiled of floor.c. */
  readonly program: string;
  /** The same as a shared library. */
  readonly library: string;
  /** A folder of its own, removed in the end. */
  readonly folder: string;
  /** The commands that start the clients, or why there is none. */
  readonly clients: Readonly<Record<ClientName, readonly string[] | string>>;
}

/**
 * Compiles floor.c, and what else has to be.
 *
 * @returns What came of it, or the reason why there is no such thing.
 */
export function compileFloor(): (Floor & Disposable) | string {
  const folder = mkdtempSync(join(tmpdir(), "einprogress-"));
  const program = join(folder, "floor");
  const library = join(folder, "floor.so");
  const go = join(folder, "client-go");
  const source = sourcePath("floor.c");
  const failure = tryRun("cc", ["-O2", "-o", program, source]) ??
    tryRun("cc", ["-O2", "-shared", "-fPIC", "-o", library, source]);
  if (failure !== null) {
    rmSync(folder, { recursive: true });
    return failure;
  }
  return {
    program,
    library,
    folder,
    clients: {
      C: [program, "client"],
      Python: tryRun("python3", ["--version"]) ??
        ["python3", sourcePath("client.py")],
      Go: tryRun("go", ["build", "-o", go, sourcePath("client.go")]) ?? [go],
    },
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true });
    },
  };
}

/** A file beside this one. */
export function sourcePath(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** Runs a command, and returns why that did not go well; `null` if it did. */
export function tryRun(
  command: string,
  args: readonly string[],
): string | null {
  try {
    execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    return code === "ENOENT"
      ? `there is no ${command}`
      : `${command} has failed: ${error}`;
  }
}

/**
 * Runs a command and takes its time.
 *
 * @param env What it finds in its environment besides.
 * @returns What it has printed, and the sample.
 */
export function time(
  { program }: Floor,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Sample & { readonly output: string } {
  const lines = execFileSync(program, ["time", ...command], {
    encoding: "utf8",
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  }).trimEnd().split("\n");
  const sample = parseSample(lines.pop()!);
  return { ...sample, output: lines.join("\n") };
}

/** The two numbers in a client's reply. */
export function parseSample(line: string): Sample {
  const [wall, cpu] = line.split(" ").map(Number);
  return { wall: wall!, cpu: cpu! };
}

/**
 * Writes a module into the folder of the bench.
 *
 * @param options Whether it sees `gc`.
 * @returns The command that runs it.
 */
export function writeModule(
  { folder }: Floor,
  name: string,
  text: string,
  options: { gc?: boolean } = {},
): string[] {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, text);
  return command(file, options);
}

/** Where the connects of a bench go, and who else makes them. */
export interface World extends Disposable {
  /** The addresses that reply, used in turn, so that no queue overflows. */
  readonly hosts: readonly string[];
  readonly port: number;
  /** A port of the same addresses where nobody listens. */
  readonly refused: number;
  /** The paths of Unix sockets. */
  readonly paths: readonly string[];
  /** The same work in other languages. */
  readonly clients: ReadonlyMap<ClientName, Child>;
  readonly floor: Floor;
  /** The peer; `drain` clears away what a round has left with it. */
  readonly peer: Child;
}

/** A peer on loopback, in a process of its own. */
export async function openLoopback(floor: Floor): Promise<World> {
  const folder = mkdtempSync(join(floor.folder, "unix-"));
  const peer = new Child(floor.program, ["listen", folder]);
  const [hosts = "", port = "", refused = ""] = (await peer.greeting)
    .split(" ");
  return openWorld(floor, peer, hosts.split(","), port, refused, folder);
}

/**
 * A peer behind a TUN device, which replies to each SYN after a delay. Works where
 * {@linkcode runAgain} lets a program be alone, and nowhere else.
 */
export async function openLate(floor: Floor): Promise<World> {
  const peer = new Child(floor.program, ["late", "late"]);
  await peer.greeting;
  const hosts = Array.from({ length: 16 }, (_, i) => `10.0.1.${i + 1}`);
  return openWorld(floor, peer, hosts, "80", "0", floor.folder);
}

async function openWorld(
  floor: Floor,
  peer: Child,
  hosts: string[],
  port: string,
  refused: string,
  folder: string,
): Promise<World> {
  const clients = new Map<ClientName, Child>();
  for (const name of Object.keys(floor.clients) as ClientName[]) {
    const start = floor.clients[name];
    if (typeof start === "string") continue;
    const [command, ...args] = start;
    const where = [hosts.join(","), port, refused, folder];
    const client = new Child(command!, [...args, ...where]);
    await client.greeting;
    clients.set(name, client);
  }
  return {
    hosts,
    port: Number(port),
    refused: Number(refused),
    paths: Array.from({ length: 16 }, (_, i) => join(folder, `${i}`)),
    clients,
    floor,
    peer,
    [Symbol.dispose]() {
      for (const client of clients.values()) client[Symbol.dispose]();
      peer[Symbol.dispose]();
    },
  };
}

/** `null` where a network of its own can be had, and a device in it, else a reason to skip. */
export function canIsolate({ program }: Floor): string | null {
  try {
    execFileSync(program, ["namespace", program, "late", "probe"], {
      input: "",
      stdio: ["pipe", "ignore", "ignore"],
    });
    return null;
  } catch {
    return "needs Linux, /dev/net/tun and a network namespace";
  }
}

/**
 * Runs this very program once more.
 *
 * @param isAlone Whether there is to be no network but loopback, where nobody else is.
 * @param args Its arguments.
 * @returns The lines that it prints.
 */
export function runAgain(
  { program }: Floor,
  isAlone: boolean,
  args: readonly string[],
): AsyncIterable<string> {
  const again = [...command(process.argv[1]!), ...args];
  const [first, ...rest] = isAlone ? [program, "namespace", ...again] : again;
  const { stdout } = spawn(first!, rest, {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return createInterface({ input: stdout });
}
