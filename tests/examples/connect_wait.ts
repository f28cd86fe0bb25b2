/**
 * OpenBSD's example of connect(2): a signal ends the call and not the attempt,
 * which is waited for then. `connectSync()` does all of this by itself.
 *
 *     deno run --allow-ffi --allow-net connect_wait.ts 127.0.0.1 80
 */
import process from "node:process";
import { type Address, errnoName, inet, Socket } from "@einprogress/connect";

export function connectThroughSignals(address: Address): Socket {
  const socket = Socket.open();
  const code = errnoName(socket.tryConnect(address));
  if (code === "EINTR") socket.poll("POLLOUT");
  const error = socket.takeError();
  if (error === null && socket.remoteAddress !== null) return socket;
  socket.close();
  throw error ?? new Error(`Cannot connect to ${address}: ${code}`);
}

if (import.meta.main) {
  const [host = "127.0.0.1", port = "80"] = process.argv.slice(2);
  using socket = connectThroughSignals(inet(host, Number(port)));
  console.log(`${socket.localAddress} is connected to ${socket.remoteAddress}`);
}
