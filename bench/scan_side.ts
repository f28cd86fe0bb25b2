/**
 * The package's side of `scan.ts`: one run of `probe()`, on the runtime that it is started on.
 *
 *     scan_side.ts HOST HOSTS FIRST LAST CONCURRENCY TIMEOUT [OPTIONS]
 *
 * @module
 */
// deno-lint-ignore-file no-console
import process from "node:process";
import { grid, probe } from "../src/tools.ts";

const [host, count, first, last, concurrency, timeout, more] = process.argv
  .slice(2);
const [a, b, c, d] = host!.split(".").map(Number) as [
  number,
  number,
  number,
  number,
];
const end = d + Number(count) - 1;
const hosts = `${host}-${a}.${b}.${c + (end >> 8)}.${end & 255}`;
const targets = grid(hosts, `${first}-${last}`);
const used = process.cpuUsage();
const start = performance.now();
const run = probe(targets, {
  concurrency: Number(concurrency),
  hostConcurrency: Number(concurrency),
  timeout: Number(timeout),
  ...JSON.parse(more ?? "{}"),
});
const counts = { open: 0, closed: 0, filtered: 0, unsent: 0 };
let wrong = 0;
let attributed = 0;
const opens: number[] = [];
for await (const { state, target, icmp } of run) {
  counts[state]++;
  if (icmp !== null) attributed++;
  if (state === "open") opens.push(target.port);
  // What the field has at its ports, by the rules of scan.ts.
  const kind = target.port - 1000;
  const third = Number(target.hostname.split(".")[2]);
  const right = kind === 1 || kind === 2 && third < 2
    ? "open"
    : kind >= 3 && kind <= 6
    ? "closed"
    : "filtered";
  if (state !== right) wrong++;
}
const seconds = (performance.now() - start) / 1000;
const { user, system } = process.cpuUsage(used);
const { retries } = run.progress;
console.log(JSON.stringify({
  ...counts,
  seconds,
  cpu: (user + system) / (Number(count) * (Number(last) - Number(first) + 1)),
  rss: process.resourceUsage().maxRSS / 1e3,
  retries,
  wrong,
  attributed,
  opens: opens.slice(0, 5),
}));
