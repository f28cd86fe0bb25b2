/**
 * Runs the bench on Deno, and on Bun and Node as npm has them.
 *
 *     deno task bench:all [--runtime=NAME…] [--picture] [ARGUMENTS of run.ts]
 *
 * With `--json`, the reports of all runtimes are one list. With `--picture`, they become the picture and the tables of
 * `README.md`: see `publish.ts`.
 *
 * @module
 */
// deno-lint-ignore-file no-console
import { publish } from "./publish.ts";
import type { Report } from "./report.ts";
import { type Runtime, RUNTIMES } from "../tests/run.ts";

const PROGRAM = "bench/run.ts";
const OPTION = "--runtime=";
const NAMES: readonly string[] = ["deno", ...Object.keys(RUNTIMES)];
/** Where `mitata` comes from for those that know no import map. */
const MITATA = "mitata@1.0.34";
/** Another way for Node to call C. */
const KOFFI = "koffi@3.3.4";

async function main(args: string[]): Promise<number> {
  const asked = args.filter((arg) => arg.startsWith(OPTION))
    .map((arg) => arg.slice(OPTION.length));
  const isDrawn = args.includes("--picture");
  const isJson = args.includes("--json");
  const rest = args.filter((arg) =>
    !arg.startsWith(OPTION) && arg !== "--picture"
  );
  if (isDrawn && !isJson) rest.push("--json");
  const unknown = asked.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) {
    console.error(`Cannot run on "${unknown}": there are ${NAMES.join(", ")}`);
    return 2;
  }
  const folder = await Deno.makeTempDir();
  const reports: Report[] = [];
  let worst = 0;
  try {
    for (const name of asked.length > 0 ? asked : NAMES) {
      const start = name === "deno"
        ? { command: Deno.execPath(), flags: ["run", "--allow-all"], env: {} }
        : find(name as Runtime, folder);
      if (start === null) {
        console.error(`skipped ${name}: npx does not bring it here`);
        continue;
      }
      const { code, output } = await run(start, rest);
      if (output !== "") reports.push(JSON.parse(output));
      worst = Math.max(worst, code);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  if (isJson) console.log(JSON.stringify(reports, null, 2));
  if (isDrawn) await publish(reports);
  return worst;
}

/** How a runtime is started, so that it finds packages by name. */
interface Start {
  readonly command: string;
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** How each runtime finds the packages. */
const STARTS: Readonly<
  Record<Runtime, (packages: string, folder: string) => Omit<Start, "command">>
> = {
  bun(packages, folder) {
    const config = `${folder}/tsconfig.json`;
    const paths = { mitata: [`${packages}/mitata`] };
    const compilerOptions = { baseUrl: "/", paths };
    Deno.writeTextFileSync(config, JSON.stringify({ compilerOptions }));
    return { flags: [`--tsconfig-override=${config}`], env: {} };
  },
  node: (packages) => ({
    flags: ["--no-warnings", "--import=./tests/_resolve.ts"],
    env: { EINPROGRESS_PACKAGES: packages },
  }),
};

/** Has npx bring a runtime and mitata, `null` where it cannot. */
function find(name: Runtime, folder: string): Start | null {
  const wanted = [RUNTIMES[name], MITATA, KOFFI].map((one) =>
    `--package=${one}`
  );
  try {
    const { success, stdout } = new Deno.Command("npx", {
      // The first of PATH is the folder that npx made.
      args: ["-y", ...wanted, "-c", 'echo "${PATH%%:*}"'],
      stdin: "null",
      stderr: "null",
    }).outputSync();
    const bin = new TextDecoder().decode(stdout).trim();
    if (!success) return null;
    const packages = bin.slice(0, -"/.bin".length);
    return { command: `${bin}/${name}`, ...STARTS[name](packages, folder) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Runs the bench, and takes what it prints where that is JSON. */
async function run(
  { command, flags, env }: Start,
  args: readonly string[],
): Promise<{ code: number; output: string }> {
  const isJson = args.includes("--json");
  const child = new Deno.Command(command, {
    args: [...flags, PROGRAM, ...args],
    env,
    stdout: isJson ? "piped" : "inherit",
  }).spawn();
  const output = isJson ? await new Response(child.stdout).text() : "";
  const { code } = await child.status;
  return { code, output };
}

Deno.exit(await main(Deno.args));
