/**
 * Checks that many targets can be connected to, and prints a line of JSON for
 * each.
 *
 *     deno run --allow-ffi --allow-net --allow-read health_check.ts 10.0.0.1:80 10.0.0.2:443
 */
import process from "node:process";
import { probe } from "@einprogress/connect/tools";

const targets = process.argv.slice(2).map((text) => {
  const at = text.lastIndexOf(":");
  return { hostname: text.slice(0, at), port: Number(text.slice(at + 1)) };
});
let healthy = 0;
for await (const result of probe(targets, { timeout: 2000 })) {
  const { hostname, port } = result.target;
  const { state, reason, code, wall, rtt } = result;
  if (state === "open") healthy++;
  const target = `${hostname}:${port}`;
  console.log(JSON.stringify({ target, state, reason, code, wall, rtt }));
}
process.exitCode = healthy === targets.length ? 0 : 1;
