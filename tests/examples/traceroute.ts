/**
 * The routers on the way to a port, without any privilege.
 *
 *     deno run --allow-ffi --allow-net traceroute.ts 127.0.0.1 80
 */
import process from "node:process";
import { trace } from "@einprogress/connect/tools";

const [hostname = "127.0.0.1", port = "80"] = process.argv.slice(2);
const target = { hostname, port: Number(port) };
for await (const hop of trace(target, { queries: 1 })) {
  const time = hop.wall === null ? "" : `${hop.wall.toFixed(3)} ms`;
  console.log(`${hop.ttl} ${hop.from ?? "*"} ${hop.kind} ${time}`.trimEnd());
}
