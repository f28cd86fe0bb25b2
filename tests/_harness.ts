/**
 * Registers tests, each of them inside a count of the process's open descriptors.
 *
 * A runtime's own leak checks cannot see a descriptor that came through FFI, so every test compares what is open before
 * and after it.
 *
 * @module
 */
import {
  accessSync,
  appendFileSync,
  constants,
  existsSync,
  fstatSync,
  readdirSync,
  readlinkSync,
} from "node:fs";
import { networkInterfaces } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";

/** How a test is registered. */
export interface TestOptions {
  /** Why the test cannot run here; `null` or nothing lets it run. */
  skip?: string | null;
  /** Whether timers may outlive it: a library's are not ours to stop. */
  leavesTimers?: boolean;
}

/** How long and how a count is taken. */
export interface BalanceOptions {
  /**
   * Milliseconds that a runtime is given to finish closing what it closes in the background.
   *
   * @default {2000}
   */
  grace?: number;
}

type TestFunction = () => void | Promise<void>;
type Registrar = (
  name: string,
  fn: TestFunction,
  ignore: boolean,
  leavesTimers?: boolean,
) => void;

export type Runtime = "deno" | "bun" | "node";

export const RUNTIME: Runtime = "Deno" in globalThis
  ? "deno"
  : "Bun" in globalThis
  ? "bun"
  : "node";
// Faked time in a test must not reach the harness around it.
const { setTimeout } = globalThis;
const register = registrar();
/** The reasons that name an ability of the machine, as opposed to a property of its system. */
const missing = new Set<string>();

/**
 * Registers a test.
 *
 * It fails when descriptors are open after it that were not before, or the other way round. A skipped test says so in a
 * line that starts with `SKIP`; under `CI=true` it fails when all that it needs is an ability that a machine can be given.
 */
export function test(
  name: string,
  fn: TestFunction,
  options: TestOptions = {},
): void {
  const skip = options.skip ?? null;
  if (skip === null) {
    register(name, () => balanced(fn), false, options.leavesTimers);
  } else if (missing.has(skip) && process.env.CI === "true") {
    register(name, () => {
      throw new Error(`Cannot skip under CI=true, which has it all: ${skip}`);
    }, false);
  } else {
    announce(`SKIP ${name}: ${skip}`);
    register(name, fn, true);
  }
}

/**
 * Runs `fn` and throws when it leaves other descriptors open than it found.
 *
 * Sockets have to balance at once. Anything else gets a second look: a runtime opens some descriptors the first time that
 * they are needed and keeps them, so `fn` runs once more, and what it leaves behind every time is a leak. (Deno 2.9 for one
 * keeps the epoll and event descriptors of the last worker that was terminated until the next one starts. A worker that
 * is terminated before it has any leaves none, so one run may close what the other left open.)
 */
export async function balanced(
  fn: TestFunction,
  { grace = 2000 }: BalanceOptions = {},
): Promise<void> {
  const first = await run(fn, grace);
  if (first.length === 0) return;
  if (first.some(({ link }) => link.startsWith("socket:"))) throw leak(first);
  const second = (await run(fn, grace)).filter(({ link, count }) =>
    !first.some((one) => one.link === link && one.count * count < 0)
  );
  if (second.length > 0) throw leak(second);
}

/** Joins the reasons that are there, for tests that need several things: `needs(isRoot(), hasCommand("nft"))`. */
export function needs(...reasons: (string | null)[]): string | null {
  const present = reasons.filter((reason) => reason !== null);
  if (present.length === 0) return null;
  const joined = present.join(", ");
  // One property of the system among them is enough for a skip that no machine can mend.
  if (present.every((reason) => missing.has(reason))) missing.add(joined);
  return joined;
}

/** `null` for the superuser, else a reason to skip. */
export function isRoot(): string | null {
  return process.geteuid?.() === 0 ? null : lacks("needs root");
}

/** `null` where `PATH` leads to the command, else a reason to skip. */
export function hasCommand(command: string): string | null {
  const found = (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return found ? null : lacks(`needs the command ${command}`);
}

/** `null` where a file is there, else a reason to skip: it belongs to `what`. */
export function hasFile(path: string, what: string): string | null {
  return existsSync(path) ? null : lacks(`needs ${what}`);
}

/** `null` where a package of npm was found, else a reason to skip. */
export function hasPackage(name: string, found: object | null): string | null {
  return found === null ? lacks(`needs ${name} of npm`) : null;
}

/** `null` where the loopback interface speaks IPv6, else a reason to skip. */
export function canIpv6(): string | null {
  const found = Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === "::1")
  );
  return found ? null : lacks("needs IPv6");
}

/** `null` where the tests run on one of these runtimes, else a reason to skip. */
export function on(...names: Runtime[]): string | null {
  return names.includes(RUNTIME) ? null : `is for ${names.join(" and ")}`;
}

/** `null` on Linux, else a reason to skip what other systems do in their own way. */
export const onLinux: string | null = process.platform === "linux"
  ? null
  : "is about Linux";

function lacks(reason: string): string {
  missing.add(reason);
  return reason;
}

/** The one place that knows which runtime registers the tests. */
function registrar(): Registrar {
  if (RUNTIME === "deno") {
    return (name, fn, ignore, leavesTimers = false) => {
      // Only if it has to be: what deno.json says holds otherwise.
      const lenient = leavesTimers
        ? { sanitizeOps: false, sanitizeResources: false }
        : {};
      Deno.test({ name, fn, ignore, ...lenient });
    };
  }
  // Bun has a node:test of its own, for what runs under `bun test`.
  const { test } = process.getBuiltinModule("node:test");
  return (name, fn, ignore) => {
    test(name, { skip: ignore }, () => fn());
  };
}

/** Prints a line, and keeps it for the program that started the tests, which prints all skips at the end. */
function announce(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
  const file = process.env.EINPROGRESS_SKIPS;
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}

/** A descriptor by what it leads to, and how many more of it there are after a test than before. */
interface Difference {
  link: string;
  count: number;
}

/** Runs `fn` and returns how the open descriptors differ from before, once they agree or the grace is over. */
async function run(fn: TestFunction, grace: number): Promise<Difference[]> {
  const before = openDescriptors();
  await fn();
  for (let waited = 0, pause = 1;; pause *= 2) {
    const differences = compare(before, openDescriptors());
    if (differences.length === 0 || waited >= grace) return differences;
    pause = Math.min(pause, 100, grace - waited);
    await new Promise((resolve) => setTimeout(resolve, pause));
    waited += pause;
  }
}

/**
 * The sockets that are open before the first test. They are the runtime's own, which may close them whenever it likes: Deno for
 * one keeps the connection by which it has fetched packages for a minute or two.
 */
const inherited: ReadonlySet<string> = new Set(
  [...openDescriptors().keys()].filter((link) => link.startsWith("socket:")),
);

/**
 * How many descriptors are open, by what they lead to.
 *
 * A number alone would not do, for it may be closed and given away again in between. Linux names each socket and pipe by
 * its inode; other kinds have one name for all.
 */
function openDescriptors(): Map<string, number> {
  const linux = existsSync("/proc/self/fd");
  const folder = linux ? "/proc/self/fd" : "/dev/fd";
  const descriptors = new Map<string, number>();
  for (const fd of readdirSync(folder)) {
    let link: string;
    try {
      link = linux ? readlinkSync(`${folder}/${fd}`) : describe(Number(fd));
    } catch {
      // Reading the folder takes a descriptor too, which is listed and gone by now.
      continue;
    }
    descriptors.set(link, (descriptors.get(link) ?? 0) + 1);
  }
  return descriptors;
}

/** What a descriptor leads to, in the words of Linux, on systems without links. */
function describe(fd: number): string {
  const stat = fstatSync(fd);
  const kind = stat.isSocket()
    ? "socket"
    : stat.isFIFO()
    ? "pipe"
    : stat.isFile()
    ? "file"
    : "other";
  return `${kind}:[${stat.dev},${stat.ino}]`;
}

function compare(
  before: Map<string, number>,
  after: Map<string, number>,
): Difference[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .map((link) => ({
      link,
      count: (after.get(link) ?? 0) - (before.get(link) ?? 0),
    }))
    .filter(({ link, count }) =>
      count > 0 || count < 0 && !inherited.has(link)
    );
}

function leak(differences: Difference[]): Error {
  const list = differences.map(({ link, count }) =>
    `${Math.abs(count)} ${link} ${
      count > 0 ? "left open" : "closed that were open before"
    }`
  );
  return new Error(`Descriptors do not balance: ${list.join(", ")}`);
}
