/**
 * Puts what a bench has found where it is read: into the picture and the tables of `README.md` beside this file.
 *
 *     deno task picture [REPORT…]
 *
 * A report is what the bench prints with `--json`. All of them are kept in `figures.json`, which the picture and the tables can
 * be made of once more, and which a test holds them against.
 *
 * @module
 */
import { sourcePath } from "./peers.ts";
import { draw } from "./picture.ts";
import { type CaseResult, ownConnect, type Report } from "./report.ts";
import type { Spread } from "./rounds.ts";

export const FIGURES: string = sourcePath("figures.json");
export const PICTURE: string = sourcePath("picture.svg");
export const PAGE: string = sourcePath("README.md");

/** What the tables stand between. */
const START = "<!-- made by publish.ts -->";
const END = "<!-- the end of what publish.ts has made -->";
/** Digits that are worth keeping. */
const DIGITS = 4;

/** Keeps reports, and makes the picture and the tables of them. */
export async function publish(reports: readonly Report[]): Promise<void> {
  const json = JSON.stringify(
    reports,
    (_, value) =>
      typeof value === "number" ? Number(value.toPrecision(DIGITS)) : value,
  );
  const kept: readonly Report[] = JSON.parse(json);
  await Deno.writeTextFile(FIGURES, `${json}\n`);
  await Deno.writeTextFile(PICTURE, draw(kept));
  const page = await Deno.readTextFile(PAGE);
  await Deno.writeTextFile(PAGE, withTables(page, kept));
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", PAGE] })
    .spawn().status;
}

/** The page with other tables. */
export function withTables(page: string, reports: readonly Report[]): string {
  const [start, end] = [page.indexOf(START), page.indexOf(END)];
  if (start === -1 || end < start) {
    throw new Error(`Cannot find the place of the tables: ${START}`);
  }
  return `${page.slice(0, start)}${START}\n\n${tables(reports)}\n\n${
    page.slice(end)
  }`;
}

/** What was measured on what, the ratios of times, and the times of CPUs. */
function tables(reports: readonly Report[]): string {
  const shown = reports.filter(({ cases }) => cases.length > 0);
  const names = new Set(
    shown.flatMap(({ cases }) => cases)
      .filter(({ baseline }) => baseline === "C")
      .map(({ name }) => name),
  );
  const { system, cpu, commit } = shown[0]!.machine;
  const ratios = [...names].map((name) => {
    const rows = shown.map(({ cases }) => find(cases, name));
    const cells = rows.flatMap((row) =>
      row === undefined ? ["", ""] : [
        formatRatio(row.sides.ours?.ratio),
        ownConnect(row)?.[1].ratio.median.toFixed(3) ?? "",
      ]
    );
    return [name, formatTime(baselineOf(rows)?.wall.median), ...cells];
  });
  const costs = [...names].map((name) => {
    const rows = shown.map(({ cases }) => find(cases, name));
    const cells = rows.flatMap((row) =>
      [row?.sides.ours, row && ownConnect(row)?.[1]]
        .map((side) => formatTime(side?.cpu.median))
    );
    return [name, formatTime(baselineOf(rows)?.cpu.median), ...cells];
  });
  return [
    `${system}, ${cpu}, commit ${commit}. Times as a multiple of C's, the median of the ratios within the rounds with its ` +
    "quartiles, and beside it that of the runtime's own connect:",
    table(["connect and close", "C µs", ...heads(shown)], ratios),
    "The time of all CPUs that one connect took, in µs:",
    table(["connect and close", "C", ...heads(shown)], costs),
  ].join("\n\n");
}

function find(
  cases: readonly CaseResult[],
  name: string,
): CaseResult | undefined {
  return cases.find((one) => one.name === name);
}

/** What C took, in the first report that has it. */
function baselineOf(rows: readonly (CaseResult | undefined)[]) {
  return rows.find((row) => row !== undefined)?.sides.C;
}

function heads(reports: readonly Report[]): string[] {
  return reports.flatMap(({ machine, cases }) => {
    const own = cases.map(ownConnect).find((one) => one !== undefined);
    return [machine.runtime!, own === undefined ? "" : `\`${own[0]}\``];
  });
}

function formatRatio(ratio: Spread | undefined): string {
  if (ratio === undefined) return "";
  const [q1, median, q3] = [ratio.q1, ratio.median, ratio.q3]
    .map((value) => value.toFixed(3));
  return `${median} [${q1} ${q3}]`;
}

function formatTime(microseconds: number | undefined): string {
  if (microseconds === undefined) return "";
  return microseconds < 99.95
    ? microseconds.toFixed(1)
    : Math.round(microseconds).toLocaleString("en-US");
}

/** A table of Markdown, numbers to the right. */
function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = head.map((_, column) => column === 0 ? "---" : "---:");
  return [head, line, ...rows].map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}

if (import.meta.main) {
  const files = Deno.args.length > 0 ? Deno.args : [FIGURES];
  await publish(
    files.flatMap((file): Report[] =>
      [JSON.parse(Deno.readTextFileSync(file))].flat()
    ),
  );
}
