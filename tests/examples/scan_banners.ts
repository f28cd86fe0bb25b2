/**
 * Which ports of a host are open, and what each says first.
 *
 *     deno run --allow-ffi --allow-net --allow-read scan_banners.ts 127.0.0.1 all
 */
import process from "node:process";
import type { Socket } from "@einprogress/connect";
import { grid, parsePorts, probe } from "@einprogress/connect/tools";

const [host = "127.0.0.1", ports = "all"] = process.argv.slice(2);
const banners: Promise<string>[] = [];

async function banner(socket: Socket, port: number): Promise<string> {
  using _ = socket;
  try {
    const buffer = new Uint8Array(256);
    const size = await socket.recv(buffer, { timeout: 500 });
    return `${port} ${new TextDecoder().decode(buffer.subarray(0, size))}`;
  } catch {
    return `${port} says nothing`;
  }
}

const run = probe(grid(host, parsePorts(ports)), {
  states: ["open"],
  onOpen: (socket, { target }) => banners.push(banner(socket, target.port)),
});
for await (const _ of run);
for (const line of await Promise.all(banners)) console.log(line.trim());
console.log(`${run.progress.done} ports, ${banners.length} open`);
