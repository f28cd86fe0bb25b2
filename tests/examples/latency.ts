/**
 * Percentiles of the time that a connect takes, at a fixed rate: a slow one
 * does not hold back the next.
 *
 *     deno run --allow-ffi --allow-net latency.ts 127.0.0.1 80 1000 200
 */
import process from "node:process";
import { Histogram, ping } from "@einprogress/connect/tools";

const [hostname = "127.0.0.1", port = "80", count = "1000", rate = "200"] =
  process.argv.slice(2);
const wall = new Histogram();
const kernel = new Histogram();
const target = { hostname, port: Number(port) };
const options = { count: Number(count), rate: Number(rate) };
for await (const one of ping([target], options)) {
  if (!one.answered || one.wall === null) continue;
  wall.record(one.wall);
  if (one.rtt !== null) kernel.record(one.rtt);
}
for (const [name, histogram] of Object.entries({ wall, kernel })) {
  const row = [0.5, 0.9, 0.99, 0.999].map((q) =>
    `p${q * 100}=${histogram.quantile(q).toFixed(3)}`
  );
  console.log(`${name} ms ${row.join(" ")}`);
}
