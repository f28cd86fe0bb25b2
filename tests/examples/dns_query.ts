/**
 * Asks a name server for an address, over a connected UDP socket: a server that
 * is not there is ECONNREFUSED at once, and nobody else can answer.
 *
 *     deno run --allow-ffi --allow-net dns_query.ts 127.0.0.53 localhost 53
 */
import process from "node:process";
import { inet, Socket } from "@einprogress/connect";

const [server = "127.0.0.53", name = "localhost", port = "53"] = process.argv
  .slice(2);
const labels = name.split(".").flatMap((label) => {
  const bytes = new TextEncoder().encode(label);
  return [bytes.length, ...bytes];
});
const id = [0x12, 0x34];
const query = [...id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1];

using socket = Socket.open({ type: "dgram" });
await socket.connect(inet(server, Number(port)));
await socket.send(new Uint8Array(query));
const answer = new Uint8Array(512);
const size = await socket.recv(answer, { timeout: 2000 });
const code = answer[3]! & 15;
const count = answer[6]! * 256 + answer[7]!;
console.log(`${size} bytes, code ${code}, ${count} answers`);
// The last record of a plain answer ends in the address.
if (count > 0) console.log([...answer.subarray(size - 4, size)].join("."));
