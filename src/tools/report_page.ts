/**
 * A report as one page of HTML that needs nothing else.
 *
 * @module
 */
import type { Histogram } from "./histogram.ts";
import type { PingSeries, ReportData, ScanGrid } from "./report.ts";
import {
  type Chart,
  CHART_STYLE,
  escapeMarkup,
  failureChart,
  figureOf,
  gridChart,
  heatCharts,
  mark,
  natural,
  percentileChart,
  shortTime,
} from "./report_charts.ts";
import type { ProbeState } from "./verdict.ts";

const PAGE_STYLE = `
:root{color-scheme:light dark;--page:#f9f9f7;--card:#fcfcfb;--text:#0b0b0b;
--text2:#52514e;--edge:#e1e0d9}
@media(prefers-color-scheme:dark){:root{--page:#0d0d0d;--card:#1a1a19;--text:#fff;
--text2:#c3c2b7;--edge:#383835}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,sans-serif}
main{max-width:860px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:24px;margin:0 0 4px}
h2{font-size:18px;margin:32px 0 8px;overflow-wrap:anywhere}
h3{font-size:14px;font-weight:600;margin:16px 0 4px;overflow-wrap:anywhere}
p{margin:0 0 8px;color:var(--text2)}
section{background:var(--card);border:1px solid var(--edge);border-radius:8px;
padding:16px;margin-top:16px}
section h2{margin-top:0}
.tiles{display:grid;gap:8px;grid-template-columns:repeat(auto-fit,minmax(110px,1fr))}
.tile{border:1px solid var(--edge);border-radius:6px;padding:8px 10px}
.tile b{display:block;font-size:20px;font-weight:600}
.tile span{color:var(--text2);font-size:13px}
.chart{display:block;width:100%;height:auto}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--edge)}
th:first-child,td:first-child{text-align:left}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;color:var(--text2);font-size:13px}
.legend svg{display:inline-block;width:14px;height:14px;vertical-align:-2px;margin-right:4px}
`;

/** Writes the page. */
export function pageOf(data: ReportData, title: string): string {
  const parts = [...data.pings.values()].map(pingSection);
  const { hosts, summaries } = data.scan;
  if (hosts.size > 0 || summaries > 0) parts.push(scanSection(data.scan));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">
<title>${escapeMarkup(title)}</title>
<style>${PAGE_STYLE}${CHART_STYLE}</style>
</head>
<body>
<main>
<h1>${escapeMarkup(title)}</h1>
${parts.join("\n")}
</main>
</body>
</html>
`;
}

/** Whether probes were due at times of their own, so that latency is more than wall. */
export function isOpenLoop({ wall, latency }: PingSeries): boolean {
  return latency.count > 0 && latency.mean > wall.mean * 1.000001;
}

function pingSection(series: PingSeries): string {
  const { name, addresses, times, wall, rtt, latency, failures } = series;
  const probes = times.length;
  const failed = probes - wall.count;
  const begin = new Date(times.reduce((a, b) => Math.min(a, b)));
  const tiles: [string, string][] = [
    [`${probes}`, probes === 1 ? "probe" : "probes"],
    [percentText(wall.count / probes), "answered"],
  ];
  if (wall.count > 0) {
    tiles.push(
      [shortTime(wall.quantile(0.5)), "wall, p50"],
      [shortTime(wall.quantile(0.99)), "wall, p99"],
    );
  }
  if (rtt.count > 0) tiles.push([shortTime(rtt.quantile(0.5)), "kernel, p50"]);
  if (series.syns > 0) {
    tiles.push([percentText(series.repeats / series.syns), "SYNs repeated"]);
  }
  const isOpen = isOpenLoop(series);
  const rows: [string, Histogram][] = [["wall", wall], ["kernel", rtt]];
  if (isOpen) rows.push(["latency", latency]);
  const where = addresses.filter((address) => address !== name);
  const shown = where.length === 0 ? "" : ` at ${where.join(", then ")}`;
  return `<section>
<h2>${escapeMarkup(name)}</h2>
<p>${escapeMarkup(`From ${begin.toISOString()}${shown}.`)}${
    failed === 0 ? "" : ` ${failed} failed.`
  }</p>
${tilesOf(tiles)}
${heatCharts(series).map(heading).join("\n")}
${heading(percentileChart(series, isOpen))}
${heading(failureChart("Failures", failures))}
${rows.some(([, { count }]) => count > 0) ? figuresTable(rows) : ""}
</section>`;
}

function figuresTable(rows: readonly (readonly [string, Histogram])[]): string {
  return `<h3>Figures, in ms</h3>
<div class="wide"><table>
<tr><th></th><th>min</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>mean</th></tr>
${
    rows.filter(([, { count }]) => count > 0).map(([label, histogram]) => {
      const { min, p50, p90, p99, p999, max, mean } = histogram.distribution();
      const cells = [min, p50, p90, p99, p999, max, mean]
        .map((value) => `<td>${value.toFixed(3)}</td>`);
      return `<tr><td>${label}</td>${cells.join("")}</tr>`;
    }).join("\n")
  }
</table></div>`;
}

const MEANINGS: Readonly<Record<ProbeState, string>> = {
  open: "something listens",
  closed: "nothing does",
  filtered: "a firewall or silence hides it",
  unsent: "nothing could be sent",
};

function scanSection(grid: ScanGrid): string {
  const { hosts, states, routers, failures } = grid;
  const order: readonly ProbeState[] = ["open", "closed", "filtered", "unsent"];
  const tiles = [
    ...hosts.size === 0
      ? []
      : [[`${hosts.size}`, hosts.size === 1 ? "host" : "hosts"]],
    ...order.filter((state) => states.has(state))
      .map((state) => [`${states.get(state)}`, state]),
  ] as [string, string][];
  const legend = order.filter((state) => states.has(state)).map((state) =>
    `<span><svg class="chart" viewBox="0 0 14 14" aria-hidden="true">${
      mark(state, 0, 0, 14, state)
    }</svg>${state}: ${MEANINGS[state]}</span>`
  );
  const chart = gridChart(grid);
  const open = [...hosts].flatMap(([host, ports]) =>
    [...ports].filter(([, { state }]) => state === "open")
      .map(([port]) => `${host}:${port}`)
  ).sort(natural);
  return `<section>
<h2>Scan</h2>
${tilesOf(tiles)}
${
    chart === null
      ? "<h3>Hosts and ports</h3><p>The scan has written its summary alone.</p>"
      : `<h3>${escapeMarkup(chart.title)}</h3>
<div class="legend">${legend.join("")}</div>
<div class="wide">${figureOf(chart)}</div>`
  }
${heading(failureChart("Not open, by errno", failures))}
${heading(failureChart("Rejected by", routers))}
<h3>Open</h3>
<p>${escapeMarkup(listText(open, states.get("open") ?? 0))}</p>
</section>`;
}

/** How many open ports are listed by name. */
const MOST_LISTED = 500;

function listText(open: readonly string[], count: number): string {
  if (count === 0) return "None.";
  if (open.length === 0) return `${count}, which no line names.`;
  const shown = open.slice(0, MOST_LISTED);
  const more = count - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function heading(chart: Chart | null): string {
  return chart === null
    ? ""
    : `<h3>${escapeMarkup(chart.title)}</h3>\n${figureOf(chart)}`;
}

function tilesOf(tiles: readonly [value: string, label: string][]): string {
  return `<div class="tiles">${
    tiles.map(([value, label]) =>
      `<div class="tile"><b>${escapeMarkup(value)}</b><span>${
        escapeMarkup(label)
      }</span></div>`
    ).join("")
  }</div>`;
}

function percentText(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`;
}
