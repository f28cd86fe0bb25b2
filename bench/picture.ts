/**
 * Draws what a bench has found: how each side compares with C, case by case, a panel for each runtime.
 *
 * `publish.ts` puts it beside this file, as `picture.svg`.
 *
 * @module
 */
import {
  type CaseResult,
  type MemoryResult,
  ownConnect,
  type Report,
} from "./report.ts";
import type { Side } from "./sides.ts";

/** How a side is marked. */
interface Mark {
  /** What it is called in the legend. */
  readonly label: string;
  /** Its colors on a light and on a dark ground, which differ by shape as well, for readers who see no hues. */
  readonly colors: readonly [light: string, dark: string];
  /** A path around 0, 0. */
  readonly shape: string;
  /** Whether only the outline is drawn. */
  readonly isHollow?: true;
}

const CIRCLE = "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z";
const SQUARE = "M-3.5,-3.5H3.5V3.5H-3.5Z";

/** From the uppermost in a row to the lowest. What all others are divided by needs no mark. */
const MARKS: Readonly<Partial<Record<Side, Mark>>> = {
  ours: {
    label: "this package",
    colors: ["#c2410c", "#fb923c"],
    shape: CIRCLE,
  },
  raw: {
    label: "its calls alone",
    colors: ["#c2410c", "#fb923c"],
    shape: CIRCLE,
    isHollow: true,
  },
  "Deno.connect": {
    label: "Deno.connect, Bun.connect",
    colors: ["#1d4ed8", "#60a5fa"],
    shape: SQUARE,
  },
  "Bun.connect": {
    label: "",
    colors: ["#1d4ed8", "#60a5fa"],
    shape: SQUARE,
  },
  "node:net": {
    label: "node:net",
    colors: ["#1d4ed8", "#60a5fa"],
    shape: SQUARE,
    isHollow: true,
  },
  koffi: {
    label: "koffi",
    colors: ["#a16207", "#facc15"],
    shape: SQUARE,
    isHollow: true,
  },
  Go: {
    label: "Go",
    colors: ["#0f766e", "#2dd4bf"],
    shape: "M0,-5L5,0L0,5L-5,0Z",
  },
  Python: {
    label: "Python",
    colors: ["#7e22ce", "#c084fc"],
    shape: "M0,-5L5,4H-5Z",
  },
  nmap: {
    label: "nmap",
    colors: ["#475569", "#cbd5e1"],
    shape: "M-4,-4L4,4M-4,4L4,-4",
    isHollow: true,
  },
};

const SIDES = Object.keys(MARKS) as Side[];

// All lengths are pixels at the size that the picture has by itself.
const MARGIN = 22;
const LABELS = 186;
/** Of a panel, what the marks take, and the times of CPUs beside them. */
const MARKED = 266;
const COSTS = 84;
const PANEL = MARKED + COSTS;
/** Of a panel's width, what the times of the baseline take. */
const TIMES = 58;
const ROW = 30;
const HEAD = 108;
const LINE = 16;

/** The ends of the scale. */
const LEAST = 0.8;
const MOST = 4;
const TICKS = [0.8, 1, 1.5, 2, 3, 4];

/** Draws reports, in their order from left to right. */
export function draw(reports: readonly Report[]): string {
  const shown = reports.filter(({ cases }) => cases.length > 0);
  if (shown.length === 0) throw new Error("Cannot draw: no case was measured");
  const names = shown.flatMap(({ cases }) => cases)
    .filter(({ baseline }) => baseline === "C")
    .map(({ name }) => name);
  const rows = [...new Set(names)];
  const bottom = HEAD + rows.length * ROW;
  const notes = [
    ...startNotes(shown),
    ...memoryNotes(shown),
    "",
    ...footer(shown),
  ];
  const width = 2 * MARGIN + LABELS + shown.length * PANEL;
  const height = bottom + 2 * LINE + notes.length * LINE + MARGIN;
  const parts = [
    legend(),
    ...rows.flatMap((name, i) => [band(i, width), label(i, name)]),
    ...shown.flatMap((report, i) =>
      panel(report, rows, MARGIN + LABELS + i * PANEL, bottom)
    ),
    ...notes.map((note, i) =>
      text(MARGIN, bottom + (2 + i) * LINE, note, "faint")
    ),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>What a connect costs, divided by what it costs in C</title>
<style>${style()}</style>
<rect class="ground" width="${width}" height="${height}" rx="8"/>
${parts.join("\n")}
</svg>
`;
}

/** Every other row stands on a ground of its own. */
function band(row: number, width: number): string {
  const y = HEAD + row * ROW;
  return row % 2 === 0
    ? `<rect class="band" y="${y}" width="${width}" height="${ROW}"/>`
    : "";
}

function label(row: number, name: string): string {
  return text(MARGIN, middleOf(row) + 4, name);
}

function middleOf(row: number): number {
  return HEAD + row * ROW + ROW / 2;
}

/** Where a ratio lies within a panel: twice as much is as far from 1 as half as much. */
function at(ratio: number): number {
  const share = Math.log(ratio / LEAST) / Math.log(MOST / LEAST);
  return TIMES + (MARKED - TIMES - MARGIN) * Math.min(Math.max(share, 0), 1);
}

function panel(
  { machine, cases }: Report,
  rows: readonly string[],
  left: number,
  bottom: number,
): string[] {
  const ends = left + PANEL - MARGIN;
  const parts = [
    text(left + TIMES, HEAD - 26, machine.runtime!, "strong"),
    text(ends, HEAD - 20, "CPU µs:", "faint end"),
    text(ends, HEAD - 8, "this, own", "faint end"),
  ];
  for (const tick of TICKS) {
    const x = left + at(tick);
    const style = tick === 1 ? "one" : "grid";
    parts.push(
      `<path class="${style}" d="M${round(x)},${HEAD - 4}V${bottom}"/>`,
      text(x, HEAD - 8, `${tick}`, "faint middle"),
    );
  }
  for (const [i, name] of rows.entries()) {
    const one = cases.find((other) => other.name === name);
    if (one === undefined) continue;
    const time = formatTime(one.sides[one.baseline]!.wall.median);
    const costs = [one.sides.ours, ownConnect(one)?.[1]]
      .map((side) => side === undefined ? "-" : formatCost(side.cpu.median));
    parts.push(
      text(left + TIMES - 8, middleOf(i) + 4, time, "faint end"),
      text(ends, middleOf(i) + 4, costs.join(", "), "faint end"),
    );
    parts.push(
      handshake(one, left, middleOf(i)),
      ...marks(one, left, middleOf(i)),
    );
  }
  return parts;
}

/**
 * How much of the time the kernel has seen pass, where that is a part worth showing: not on loopback, and not of many at
 * once.
 */
function handshake(
  { handshake, sides }: CaseResult,
  left: number,
  middle: number,
): string {
  const ratio = (handshake?.C ?? 0) / (sides.C?.wall.median ?? 1);
  if (ratio < LEAST || ratio > MOST) return "";
  const y = middle - ROW / 2;
  return `<path class="kernel" d="M${round(left + at(ratio))},${y}v${ROW}"/>`;
}

/** One mark for each side, each a little lower than the one before. */
function marks(
  { sides }: CaseResult,
  left: number,
  middle: number,
): string[] {
  const shown = SIDES.filter((side) => sides[side] !== undefined);
  const step = (ROW - 8) / Math.max(shown.length, 4);
  return shown.map((side, i) => {
    const { q1, median, q3 } = sides[side]!.ratio;
    const y = round(middle + (i - (shown.length - 1) / 2) * step);
    const line = `M${round(left + at(q1))},${y}H${round(left + at(q3))}`;
    // What is past the end of the scale stands at its end, with its number.
    const number = median > MOST
      ? text(left + at(MOST) + 6, y + 3, median.toFixed(1), "small")
      : "";
    return `<path class="${classOf(side)} whisker" d="${line}"/>` +
      mark(side, left + at(median), y) + number;
  }).reverse(); // Ours is drawn last, above all others.
}

function mark(side: Side, x: number, y: number): string {
  const { shape, isHollow } = MARKS[side]!;
  const look = isHollow ? "hollow" : "full";
  return `<path class="${classOf(side)} ${look}" transform="translate(${
    round(x)
  } ${y})" d="${shape}"/>`;
}

function classOf(side: Side): string {
  return `s${SIDES.indexOf(side)}`;
}

function legend(): string {
  const parts = [
    text(
      MARGIN,
      MARGIN + 10,
      "What a connect and close cost, ÷ the same in C (1)",
      "strong",
    ),
  ];
  let x = MARGIN;
  for (const side of SIDES) {
    const { label } = MARKS[side]!;
    if (label === "") continue;
    parts.push(
      mark(side, x + 5, MARGIN + 26),
      text(x + 15, MARGIN + 30, label),
    );
    x += 32 + label.length * 6.6;
  }
  const y = MARGIN + 26;
  parts.push(
    `<path class="kernel" d="M${x + 5},${y - 7}v14"/>`,
    text(x + 15, y + 4, "the handshake alone, by the kernel"),
  );
  return parts.join("\n");
}

/** What has another baseline than C, in words. */
function startNotes(reports: readonly Report[]): string[] {
  return reports.flatMap(({ machine, cases }) =>
    cases.filter(({ baseline }) => baseline !== "C").map(({ name, sides }) => {
      const times = Object.entries(sides).map(([side, { wall }]) =>
        `${side} ${formatTime(wall.median)}`
      );
      return `${name}, on ${machine.runtime}: ${times.join(", ")}`;
    })
  );
}

/** What pending connects take, in words: C's take next to nothing, so that a ratio would say nothing. */
function memoryNotes(reports: readonly Report[]): string[] {
  return reports.flatMap(({ machine, memory }) => {
    const pending = memory.filter(({ resident }) => resident !== undefined);
    if (pending.length === 0) return [];
    const sides = pending.map(({ side, resident }: MemoryResult) =>
      `${side} ${(resident!.median / 1000).toFixed(2)} kB`
    );
    return [
      `${pending[0]!.name} on ${machine.runtime}, memory for each: ` +
      sides.join(", "),
    ];
  });
}

function footer(reports: readonly Report[]): string[] {
  const { system, cpu, compiler, Python, Go, nmap, commit } =
    reports[0]!.machine;
  const rounds = reports.flatMap(({ cases }) => cases)
    .map(({ rounds }) => rounds);
  const some = [...new Set([Math.min(...rounds), Math.max(...rounds)])];
  const engines = reports.map(({ machine }) =>
    `${machine.runtime} (${machine.engine})`
  );
  return [
    `A mark is the median of the ratios within ${some.join(" to ")} rounds, ` +
    "its line goes from quartile to quartile. The time before a row is C's; behind it stands the time of all CPUs",
    "that a connect took, of this package and of the runtime's own connect.",
    "Where several connects are under way, Go's take all CPUs, and all others' one.",
    `${system}, ${cpu}. Commit ${commit}.`,
    engines.join(", "),
    [compiler, Python, Go, nmap].filter((one) => one !== "unknown").join(", "),
  ];
}

function formatTime(microseconds: number): string {
  return microseconds < 1000
    ? `${microseconds.toPrecision(3)} µs`
    : `${(microseconds / 1000).toPrecision(3)} ms`;
}

function formatCost(microseconds: number): string {
  return microseconds < 99.95
    ? microseconds.toFixed(1)
    : microseconds.toFixed(0);
}

function text(x: number, y: number, words: string, style = ""): string {
  const escaped = words.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return `<text class="${style}" x="${round(x)}" y="${y}">${escaped}</text>`;
}

function round(pixels: number): number {
  return Math.round(pixels * 10) / 10;
}

/** Colors for a light ground, and others where the reader's is dark. */
function style(): string {
  function colors(which: 0 | 1): string {
    const [ground, band, ink, faint, grid] = which === 0
      ? ["#ffffff", "#f6f8fa", "#1f2328", "#59636e", "#d1d9e0"]
      : ["#0d1117", "#151b23", "#e6edf3", "#9198a1", "#30363d"];
    const sides = SIDES.map((side) =>
      `.${classOf(side)}{color:${MARKS[side]!.colors[which]}}`
    );
    return `.ground{fill:${ground}}.band{fill:${band}}text{fill:${ink}}.faint{fill:${faint}}` +
      `.grid{stroke:${grid}}.one,.kernel{stroke:${faint}}.hollow{fill:${ground}}` +
      sides.join("");
  }
  return "text{font:12px system-ui,sans-serif}.faint{font-size:11px}.small{font-size:9px}" +
    ".strong{font-weight:600;font-size:13px}.middle{text-anchor:middle}" +
    ".end{text-anchor:end}.grid,.one{stroke-width:1}" +
    ".full{fill:currentColor}.hollow{stroke:currentColor;stroke-width:1.5}" +
    ".whisker{stroke:currentColor;stroke-width:1.5}.kernel{stroke-width:2}" +
    `${colors(0)}@media(prefers-color-scheme:dark){${colors(1)}}`;
}
