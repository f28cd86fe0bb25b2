/**
 * What FreeBSD's page of connect says of datagrams: the peer is whom they go to
 * and the only one they come from; another one can take its place, and a null
 * address leaves none.
 *
 *     deno run --allow-ffi --allow-net dissolve.ts 127.0.0.1 9
 */
import process from "node:process";
import { type Address, inet, Socket } from "@einprogress/connect";

export function* peersInTurn(...peers: Address[]): Generator<string> {
  using socket = Socket.open({ type: "dgram" });
  for (const peer of peers) {
    socket.connectSync(peer);
    yield `${socket.remoteAddress}`;
  }
  socket.disconnect();
  yield `${socket.remoteAddress}`;
}

if (import.meta.main) {
  const [host = "127.0.0.1", port = "9"] = process.argv.slice(2);
  for (const peer of peersInTurn(inet(host, Number(port)))) console.log(peer);
}
