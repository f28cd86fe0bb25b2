/**
 * Runs files of tests, each in a process of its own and a few at a time, and says how they went.
 *
 * Most of a test's time is waiting, so that a few files beside each other keep the processors busy. A process of its own gives each
 * file its own descriptors, its own network namespace where there may be one, and a name for whatever ends it.
 *
 * @module
 */

/** How a run of tests went. */
export interface Outcome {
  code: number;
  /** One line, in words. */
  summary: string;
  /** Each test that failed, and the first lines of how. */
  failures: string[];
}

/** One file of tests, and how it runs. */
export interface Job {
  /** What the lines about it call it. */
  name: string;
  command: readonly string[];
  env: Readonly<Record<string, string>>;
  /** Where the command writes what it found, in the format of JUnit. */
  report: string;
}

/** How a command ended, and the end of what it printed. */
export interface Ended {
  code: number;
  output: string;
}

/** What a report says. */
interface Findings {
  passed: number;
  skipped: number;
  failures: string[];
}

/** Milliseconds that one file may take. */
const FILE_TIMEOUT = 600_000;
/** Lines of a failure that are worth repeating. */
const FAILURE_LINES = 30;
/** How many letters of what a command prints are kept, to find the errors in that no test caught. */
const MOST_OUTPUT = 1_000_000;
/** Milliseconds in which the rest of what a command has printed arrives once it has ended. */
const GRACE = 2000;
/** Where Bun and Deno print an error that belongs to no test: a report in the format of JUnit has no place for it. */
const STRAY_ERROR = /^# Unhandled error between tests$|\(uncaught error\)$/;
/** Colours and the like, which a terminal is sent. */
// deno-lint-ignore no-control-regex
const ESCAPES = /\x1b\[[0-9;]*[A-Za-z]/g;
/** What a command in a network of its own begins with. */
const FURNISH = 'ip link set lo up && exec "$@"';

/** What {@linkcode isolation} has found. */
let isolated: readonly string[] | null = null;

/** Runs jobs, no more than a few at a time, in the order in which they were given. */
export class Pool {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** Runs one runtime's jobs, and prints a line for each that has ended; or what it prints, as it comes. */
  async run(
    runtime: string,
    jobs: readonly Job[],
    isShown = false,
  ): Promise<Outcome> {
    let ended = 0;
    const all = await Promise.all(jobs.map(async (job) => {
      await this.#enter();
      const start = performance.now();
      const { code, output } = await watch(job.command, job.env, !isShown);
      this.#leave();
      const found = await judge(job.name, { code, output }, job.report);
      const seconds = (performance.now() - start) / 1000;
      ended++;
      if (!isShown) {
        print(
          `${runtime} ${ended}/${jobs.length} ${job.name}: ` +
            `${count(found)} in ${seconds.toFixed(1)} s`,
        );
      }
      return { code, ...found };
    }));
    const total = {
      passed: all.reduce((sum, { passed }) => sum + passed, 0),
      skipped: all.reduce((sum, { skipped }) => sum + skipped, 0),
      failures: all.flatMap(({ failures }) => failures),
    };
    return conclude(
      runtime,
      all.find(({ code }) => code !== 0)?.code ?? 0,
      total,
    );
  }

  #enter(): Promise<void> | undefined {
    if (this.#free-- > 0) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    this.#free++;
    this.#waiting.shift()?.();
  }
}

/** How a single command went that ran many files. */
export async function judgeAll(
  runtime: string,
  ended: Ended,
  report: string,
): Promise<Outcome> {
  return conclude(runtime, ended.code, await judge("", ended, report));
}

function conclude(runtime: string, code: number, found: Findings): Outcome {
  const failures = found.failures.map((one) => `${runtime}: ${one}`);
  const end = code !== 0 || failures.length === 0 ? code : 1;
  return {
    code: end,
    summary: `${runtime}: ${count(found)}: ` +
      (end === 0 ? "ok" : `ended with code ${end}`),
    failures,
  };
}

function count({ passed, skipped, failures }: Findings): string {
  return `${passed} passed, ${skipped} skipped, ${failures.length} failed`;
}

/**
 * The start of a command that gives it a network of its own, where other programs' ports and firewalls cannot fail a test;
 * nothing where this user may not make one.
 */
export function isolation(): readonly string[] {
  const start = ["unshare", "--net", "sh", "-c", FURNISH, "sh"];
  return isolated ??= succeeds([...start, "true"]) ? start : [];
}

/** Whether a command is there, and ends well. */
export function succeeds([command, ...args]: readonly string[]): boolean {
  try {
    const options = { args, stdout: "null", stderr: "null" };
    return new Deno.Command(command!, options as Deno.CommandOptions)
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Runs a command, shows what it prints unless that is not wanted, and returns the end of it. */
export async function watch(
  [program, ...args]: readonly string[],
  env: Readonly<Record<string, string>> = {},
  isQuiet = false,
): Promise<Ended> {
  const child = new Deno.Command(program!, {
    args,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let output = "";
  async function pass(
    from: ReadableStream<Uint8Array>,
    to: typeof Deno.stdout | typeof Deno.stderr,
  ): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of from) {
      output += decoder.decode(chunk, { stream: true });
      output = output.slice(-MOST_OUTPUT);
      for (let done = isQuiet ? chunk.length : 0; done < chunk.length;) {
        done += await to.write(chunk.subarray(done));
      }
    }
  }
  const passed = Promise.all([
    pass(child.stdout, Deno.stdout),
    pass(child.stderr, Deno.stderr),
  ]);
  const limit = setTimeout(() => {
    output += `\nIt was ended after ${FILE_TIMEOUT / 1000} s.\n`;
    child.kill("SIGKILL");
  }, FILE_TIMEOUT);
  const { code } = await child.status;
  clearTimeout(limit);
  // A process that a test has left behind may hold the pipes open.
  let timer;
  const grace = new Promise((resolve) => timer = setTimeout(resolve, GRACE));
  await Promise.race([passed, grace]);
  clearTimeout(timer);
  return { code, output };
}

/** What a report in the format of JUnit and the output beside it say, as far as there is one. */
async function judge(
  file: string,
  { code, output }: Ended,
  report: string,
): Promise<Findings> {
  let text = "";
  try {
    text = await Deno.readTextFile(report);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // The three write attributes in orders of their own, and one of them an unescaped ">" inside.
  const cases = text.split("<testcase ").slice(1);
  const failed = cases.filter((one) => one.includes("<failure"));
  const skipped = cases.filter((one) => one.includes("<skipped")).length;
  const failures = failed.map(describeFailure);
  const isWhole = text.trimEnd().endsWith("</testsuites>");
  if (code !== 0 || !isWhole) {
    const needsReason = failures.length === 0;
    failures.push(...strayErrors(file, { code, output }, needsReason));
  }
  const passed = cases.length - failed.length - skipped;
  return { passed, skipped, failures };
}

/** What a command has printed of errors that are no test's own, or its last lines if nothing else says why it failed. */
function strayErrors(
  file: string,
  { code, output }: Ended,
  needsReason: boolean,
): string[] {
  const lines = output.replace(ESCAPES, "").split("\n");
  const found = lines.flatMap((line, index) =>
    STRAY_ERROR.test(line) ? [lines.slice(index, index + FAILURE_LINES)] : []
  );
  if (found.length === 0 && needsReason) {
    const last = lines.filter((line) => line.trim() !== "");
    found.push([
      `ended with code ${code}, and no test says why; its last lines`,
      ...last.slice(-FAILURE_LINES),
    ]);
  }
  return found.map((excerpt) => `${file} ${excerpt.join("\n  ")}`.trim());
}

/** The name in one `testcase` of a report, and what failed in it. */
function describeFailure(testcase: string): string {
  const name = /name="([^"]*)"/.exec(testcase)?.[1] ?? "";
  const how = /<failure(?:\s+\w+="[^"]*")*>([^]*?)<\/failure>/.exec(testcase)
    ?.[1] ?? "";
  const lines = unescape(how).trim().split("\n");
  return [unescape(name), ...lines.slice(0, FAILURE_LINES)].join("\n  ");
}

function unescape(text: string): string {
  const named = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(
    /&(?:(lt|gt|quot|apos|amp)|#(\d+));/g,
    (_, name: keyof typeof named, code: string) =>
      name === undefined ? String.fromCodePoint(Number(code)) : named[name],
  );
}

export function print(text: string): void {
  // deno-lint-ignore no-console
  console.log(text);
}
