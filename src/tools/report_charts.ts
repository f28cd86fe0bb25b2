/**
 * The pictures of a report, as SVG.
 *
 * Colours are classes: the page that holds a picture supplies
 * {@linkcode CHART_STYLE} once.
 *
 * @module
 */
import type { Histogram } from "./histogram.ts";
import type { PingSeries, PortFinding, ScanGrid } from "./report.ts";
import type { ProbeState } from "./verdict.ts";

/** A picture, and how much room it takes, in its own units. */
export interface Chart {
  readonly title: string;
  readonly width: number;
  readonly height: number;
  /** What stands between the tags of an SVG of that size. */
  readonly body: string;
  /** Whether it keeps its size where there is less room, and is scrolled. */
  readonly isFixed?: boolean;
}

const CHART_WIDTH = 720;
const LEFT = 84;
const RIGHT = 16;
const TOP = 10;
const BOTTOM = 34;
const INNER = CHART_WIDTH - LEFT - RIGHT;

/** The shades of a heat map, from few to many. */
const STEPS = 6;

/** The most columns of a heat map, and the most rows for a power of ten. */
const MOST_COLUMNS = 120;
const ROWS_PER_DECADE = 8;
const ROW_HEIGHT = 7;

/** How many hosts and how many ports a grid shows. */
const MOST_HOSTS = 200;
const MOST_PORTS = 96;

/** How many bars a chart of failures has. */
const MOST_BARS = 20;

/** How far apart the names in a grid are, at least. */
const NAME_HEIGHT = 14;

/** The colours of all charts, in light and in dark. */
export const CHART_STYLE = `
.chart{--surface:#fcfcfb;--ink:#0b0b0b;--soft:#52514e;--line:#e1e0d9;
--h1:#cde2fb;--h2:#9ec5f4;--h3:#6da7ec;--h4:#3987e5;--h5:#1c5cab;--h6:#0d366b;
--wall:#2a78d6;--kernel:#0f8a5f;--latency:#b26b00;--failed:#d03b3b;
--open:#2a78d6;--closed:#c3c2b7;--filtered:#d58a00;--unsent:#898781}
@media(prefers-color-scheme:dark){.chart{--surface:#1a1a19;--ink:#fff;--soft:#c3c2b7;
--line:#383835;--h1:#0d366b;--h2:#184f95;--h3:#2a78d6;--h4:#5598e7;--h5:#9ec5f4;
--h6:#e4f0fd;--wall:#5598e7;--kernel:#2fbf8a;--latency:#e0a030;--failed:#e66767;
--open:#5598e7;--closed:#52514e;--filtered:#e0a030;--unsent:#898781}}
.chart{overflow:visible}
.chart text{font:12px system-ui,sans-serif;fill:var(--soft)}
.chart .name{fill:var(--ink);font-weight:600}
.chart .grid{stroke:var(--line);stroke-width:1}
.chart .back{fill:var(--surface)}
${
  Array.from({ length: STEPS }, (_, i) =>
    `.chart .h${i + 1}{fill:var(--h${i + 1})}`)
    .join("\n")
}
.chart .failed{fill:var(--failed)}
.chart .bar{fill:var(--failed)}
.chart .curve{fill:none;stroke-width:2;stroke-linejoin:round}
.chart .wall{stroke:var(--wall)}
.chart .kernel{stroke:var(--kernel);stroke-dasharray:7 4}
.chart .latency{stroke:var(--latency)}
.chart .open{fill:var(--open)}
.chart .closed{fill:var(--closed)}
.chart .filtered{fill:none;stroke:var(--filtered);stroke-width:2}
.chart .unsent{fill:none;stroke:var(--unsent);stroke-width:1}
@media(max-width:600px){.chart text{font-size:19px}.chart .minor{display:none}}
@media(max-width:440px){.chart text{font-size:23px}}
.chart.fixed{width:auto;min-width:0;max-width:none}
.chart.fixed text{font-size:12px}
`;

/** Text that stands in HTML or SVG as it is. */
export function escapeMarkup(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

/** Milliseconds in the unit in which they are short. */
export function shortTime(milliseconds: number): string {
  if (milliseconds === 0) return "0";
  const [value, unit] = milliseconds < 1
    ? [milliseconds * 1000, "us"]
    : milliseconds < 1000
    ? [milliseconds, "ms"]
    : [milliseconds / 1000, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** One SVG for itself, with its colours in it. */
export function svgOf(charts: readonly Chart[]): string {
  let at = 0;
  const parts = charts.map(({ title, height, body }) => {
    const part = `<text class="name" x="${LEFT}" y="${at + 20}">${
      escapeMarkup(title)
    }</text><g transform="translate(0 ${at + 30})">${body}</g>`;
    at += height + 40;
    return part;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 ${CHART_WIDTH} ${at}" width="${CHART_WIDTH}" height="${at}"><style>${CHART_STYLE}</style><rect class="back" width="${CHART_WIDTH}" height="${at}"/>${
    parts.join("")
  }</svg>\n`;
}

/** One picture as an element of HTML. */
export function figureOf(
  { title, width, height, body, isFixed }: Chart,
): string {
  const size = isFixed
    ? `class="chart fixed" width="${f(width)}" height="${f(height)}"`
    : 'class="chart"';
  return `<svg ${size} viewBox="0 0 ${f(width)} ${
    f(height)
  }" role="img" aria-label="${escapeMarkup(title)}">${body}</svg>`;
}

/** The heat maps of one target: wall and kernel on the same axes. */
export function heatCharts(series: PingSeries): Chart[] {
  const known = [...series.walls, ...series.rtts].filter((time) => time > 0);
  if (known.length === 0) return [heatChart(series, "wall", [0, 1])];
  const range = [
    Math.floor(Math.log10(least(known)) * 2) / 2,
    Math.ceil(Math.log10(most(known)) * 2) / 2,
  ] as [number, number];
  if (range[1] - range[0] < 1) range[1] = range[0] + 1;
  const charts = [heatChart(series, "wall", range)];
  if (series.rtt.count > 0) charts.push(heatChart(series, "kernel", range));
  return charts;
}

function heatChart(
  series: PingSeries,
  kind: "wall" | "kernel",
  [low, high]: readonly [number, number],
): Chart {
  const values = kind === "wall" ? series.walls : series.rtts;
  const { times } = series;
  const [start, end] = [least(times), most(times)];
  const columns = Math.max(Math.min(MOST_COLUMNS, times.length), 1);
  const rows = Math.round((high - low) * ROWS_PER_DECADE);
  const cells = new Map<number, number>();
  const failed = new Array<number>(columns).fill(0);
  for (const [i, time] of times.entries()) {
    const share = end === start ? 0 : (time - start) / (end - start);
    const column = Math.min(Math.floor(share * columns), columns - 1);
    const value = values[i]!;
    if (Number.isNaN(value)) {
      if (Number.isNaN(series.walls[i]!)) failed[column]!++;
      continue;
    }
    const place = Math.floor((Math.log10(value) - low) * ROWS_PER_DECADE);
    const row = Math.min(Math.max(place, 0), rows - 1);
    const cell = column * rows + row;
    cells.set(cell, (cells.get(cell) ?? 0) + 1);
  }
  const height = rows * ROW_HEIGHT;
  const width = INNER / columns;
  const parts = [logAxis(low, high, height)];
  const greatest = most([...cells.values()]);
  for (const [cell, count] of cells) {
    const [column, row] = [Math.floor(cell / rows), cell % rows];
    const shade = Math.ceil(
      Math.log2(1 + count) / Math.log2(1 + greatest) * STEPS,
    );
    const from = 10 ** (low + row / ROWS_PER_DECADE);
    const to = 10 ** (low + (row + 1) / ROWS_PER_DECADE);
    const title = `${count} of ${shortTime(from)} to ${shortTime(to)}`;
    parts.push(
      rect(
        `h${shade}`,
        LEFT + column * width,
        TOP + height - (row + 1) * ROW_HEIGHT,
        width,
        ROW_HEIGHT,
        title,
      ),
    );
  }
  // Below the map, the probes that have failed.
  for (const [column, count] of failed.entries()) {
    if (count === 0) continue;
    const x = LEFT + column * width;
    const title = `${count} failed`;
    parts.push(
      rect("failed", x, TOP + height + 3, Math.max(width, 2), 6, title),
    );
  }
  if (failed.some((count) => count > 0)) {
    parts.push(
      `<text class="name" x="${LEFT - 8}" y="${
        TOP + height + 26
      }" text-anchor="end" style="fill:var(--failed)">failed</text>`,
    );
  }
  parts.push(timeAxis(end - start, TOP + height + 12));
  return {
    title: `${kind === "wall" ? "Wall clock" : "Kernel"} of ${series.name}`,
    width: CHART_WIDTH,
    height: TOP + height + BOTTOM,
    body: parts.join(""),
  };
}

/** The percentiles of one target, further apart the closer they are to 100 %. */
export function percentileChart(
  { name, wall, rtt, latency }: PingSeries,
  isOpenLoop: boolean,
): Chart | null {
  if (wall.count === 0) return null;
  const height = 220;
  const curves: [string, string, Histogram][] = [["wall", "wall", wall]];
  if (rtt.count > 0) curves.push(["kernel", "kernel", rtt]);
  if (isOpenLoop) curves.push(["latency", "latency", latency]);
  const all = curves.map(([, , histogram]) => histogram);
  const lowest = least(all.map(({ min }) => min)) || 0.001;
  const low = Math.floor(Math.log10(lowest) * 2) / 2;
  const high = Math.max(
    Math.ceil(Math.log10(most(all.map(({ max }) => max))) * 2) / 2,
    low + 0.5,
  );
  // One more nine for each power of ten of probes.
  const nines = Math.max(Math.log10(wall.count), 1);
  const parts = [logAxis(low, high, height)];
  for (const share of [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]) {
    const x = LEFT + Math.min(-Math.log10(1 - share) / nines, 1) * INNER;
    if (-Math.log10(1 - share) > nines + 1e-9) break;
    const label = `${Number((share * 100).toFixed(3))} %`;
    const anchor = share === 0 ? "start" : "middle";
    parts.push(
      `<line class="grid" x1="${f(x)}" x2="${f(x)}" y1="${TOP}" y2="${
        TOP + height
      }"/><text x="${f(x)}" y="${TOP + height + 24}" text-anchor="${anchor}"${
        share === 0.5 || share === 0.999 ? ' class="minor"' : ""
      }>${label}</text>`,
    );
  }
  const ends: number[] = [];
  for (const [label, kind, histogram] of curves) {
    const points: string[] = [];
    let y = 0;
    for (let i = 0; i <= 120; i++) {
      const share = i === 120 ? 1 : 1 - 10 ** (-i / 120 * nines);
      const value = Math.max(histogram.quantile(share), 10 ** low);
      y = TOP + height -
        (Math.log10(value) - low) / (high - low) * height;
      points.push(`${f(LEFT + i / 120 * INNER)} ${f(y)}`);
    }
    // Names at the ends, apart from one another.
    let place = Math.max(y - 8, TOP + 12);
    while (ends.some((other) => Math.abs(other - place) < 22)) place += 22;
    ends.push(place);
    parts.push(
      `<path class="curve ${kind}" d="M${
        points.join("L")
      }"/><text class="name" x="${CHART_WIDTH - RIGHT - 4}" y="${
        f(place)
      }" text-anchor="end" style="fill:var(--${kind})">${label}</text>`,
    );
  }
  return {
    title: `Percentiles of ${name}`,
    width: CHART_WIDTH,
    height: TOP + height + BOTTOM,
    body: parts.join(""),
  };
}

/** How often each of several things was: the most frequent ones. */
export function failureChart(
  title: string,
  failures: ReadonlyMap<string, number>,
): Chart | null {
  if (failures.size === 0) return null;
  const all = [...failures].sort(([, a], [, b]) => b - a);
  const rows = all.slice(0, MOST_BARS);
  const greatest = rows[0]![1];
  const left = 200;
  const parts = rows.map(([code, count], i) => {
    const y = TOP + i * 28;
    const width = (CHART_WIDTH - left - 90) * count / greatest;
    return `<text x="${left - 8}" y="${y + 15}" text-anchor="end">${
      escapeMarkup(code)
    }</text><rect class="bar" x="${left}" y="${y + 2}" width="${
      f(Math.max(width, 2))
    }" height="18" rx="2"/><text class="name" x="${
      f(left + Math.max(width, 2) + 8)
    }" y="${y + 15}">${count}</text>`;
  });
  const part = rows.length < all.length
    ? `, ${rows.length} of ${all.length}`
    : "";
  return {
    title: `${title}${part}`,
    width: CHART_WIDTH,
    height: TOP + rows.length * 28 + 8,
    body: parts.join(""),
  };
}

/** Hosts by ports; those with the most open ones where there are too many. */
export function gridChart({ hosts }: ScanGrid): Chart | null {
  if (hosts.size === 0) return null;
  const isOpen = ({ state }: PortFinding) => state === "open";
  const weight = (ports: Map<number, PortFinding>) =>
    [...ports.values()].filter(isOpen).length;
  const rows = [...hosts].sort((a, b) =>
    weight(b[1]) - weight(a[1]) || natural(a[0], b[0])
  ).slice(0, MOST_HOSTS).sort((a, b) => natural(a[0], b[0]));
  const open = new Map<number, number>();
  for (const ports of hosts.values()) {
    for (const [port, finding] of ports) {
      open.set(port, (open.get(port) ?? 0) + Number(isOpen(finding)));
    }
  }
  const columns = [...open].sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, MOST_PORTS).map(([port]) => port).sort((a, b) => a - b);
  const longest = most(rows.map(([host]) => shortened(host).length));
  const left = Math.min(longest * 8 + 16, 200);
  const top = 76;
  const cell = Math.min(
    Math.max((CHART_WIDTH - left - 8) / columns.length, 5),
    22,
  );
  const width = Math.max(left + cell * columns.length + 8, CHART_WIDTH);
  const parts: string[] = [];
  for (const [i, port] of columns.entries()) {
    const x = left + (i + 0.5) * cell;
    // Where cells are narrow, some ports have no room for their number.
    if (i % Math.ceil(NAME_HEIGHT / cell) !== 0) continue;
    parts.push(
      `<text transform="translate(${f(x + 4)} ${
        top - 6
      }) rotate(-60)">${port}</text>`,
    );
  }
  for (const [i, [host, ports]] of rows.entries()) {
    const y = top + i * cell;
    if (i % Math.ceil(NAME_HEIGHT / cell) === 0) {
      parts.push(
        `<text x="${left - 8}" y="${f(y + cell / 2 + 4)}" text-anchor="end">${
          escapeMarkup(shortened(host))
        }</text>`,
      );
    }
    for (const [j, port] of columns.entries()) {
      const { state } = ports.get(port) ?? {};
      if (state === undefined) continue;
      const title = `${host}:${port} ${state}`;
      parts.push(mark(state, left + j * cell, y, cell, title));
    }
  }
  return {
    title: hosts.size > rows.length || open.size > columns.length
      ? `${rows.length} of ${hosts.size} hosts, ${columns.length} of ${open.size} ports`
      : "Hosts and ports",
    width,
    height: top + rows.length * cell + 8,
    body: parts.join(""),
    isFixed: true,
  };
}

/** A state by its colour and by its shape. */
export function mark(
  state: ProbeState,
  x: number,
  y: number,
  size: number,
  title: string,
): string {
  const gap = size > 8 ? 2 : 1;
  const [inset, side] = state === "closed"
    ? [size * 0.35, size * 0.3]
    : state === "open"
    ? [gap / 2, size - gap]
    : [gap, size - 2 * gap];
  return rect(state, x + inset, y + inset, side, side, title);
}

function rect(
  kind: string,
  x: number,
  y: number,
  width: number,
  height: number,
  title: string,
): string {
  return `<rect class="${kind}" x="${f(x)}" y="${f(y)}" width="${
    f(width)
  }" height="${f(height)}"><title>${escapeMarkup(title)}</title></rect>`;
}

/** Lines and labels for each power of ten, and thinner ones in between. */
function logAxis(low: number, high: number, height: number): string {
  const parts: string[] = [];
  for (let step = Math.ceil(low); step <= high + 1e-9; step++) {
    const y = f(TOP + height - (step - low) / (high - low) * height);
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${
        CHART_WIDTH - RIGHT
      }" y1="${y}" y2="${y}"/><text x="${LEFT - 8}" y="${
        f(Number(y) + 4)
      }" text-anchor="end">${shortTime(10 ** step)}</text>`,
    );
  }
  return parts.join("");
}

function timeAxis(duration: number, y: number): string {
  return [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    const kind = share === 0.25 || share === 0.75 ? ' class="minor"' : "";
    return `<text x="${f(LEFT + share * INNER)}" y="${
      y + 14
    }" text-anchor="${anchor}"${kind}>${shortTime(duration * share)}</text>`;
  }).join("");
}

/** A number as short as it may be. */
function f(value: number): string {
  return `${Number(value.toFixed(2))}`;
}

function least(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function most(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

function shortened(host: string): string {
  return host.length > 24 ? `${host.slice(0, 22)}\u2026` : host;
}

/** The order of hosts: numbers in them by their size. */
export function natural(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
