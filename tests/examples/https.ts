/**
 * HTTP, and HTTP over TLS, by a connection that was made in a special way: from
 * an address of our choice, with a deadline for the connect alone.
 *
 *     deno run --allow-ffi --allow-net --allow-read https.ts https://127.0.0.1:8443/ 127.0.0.9 ca.pem
 */
import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import process from "node:process";
import { agent } from "@einprogress/connect/node";

const [url = "http://127.0.0.1/", localAddress = "127.0.0.9", ca] = process.argv
  .slice(2);
const options = {
  agent: agent({ localAddress, timeout: 2000 }),
  ...ca === undefined ? {} : { ca: readFileSync(ca) },
};
const { get } = url.startsWith("https:") ? https : http;
get(url, options, (response) => {
  let size = 0;
  response.on("data", (chunk) => size += chunk.length);
  response.on("end", () => {
    console.log(`${response.statusCode}, ${size} bytes`);
  });
}).on("error", (error) => {
  console.log(error.message);
  process.exitCode = 1;
});
