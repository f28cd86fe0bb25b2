/**
 * illumos's example of connect(3SOCKET): an address of IPv6, or one of IPv4 as a
 * mapped one, and an attempt that does not block. `connect()` does all of this.
 *
 *     deno run --allow-ffi --allow-net connect_async.ts 127.0.0.1 80
 */
import process from "node:process";
import { errnoName, inet6, Socket } from "@einprogress/connect";

export async function connectMapped(
  host: string,
  port: number,
): Promise<Socket> {
  const address = inet6(host.includes(":") ? host : `::ffff:${host}`, port);
  const socket = Socket.open({ family: "inet6", nonblocking: true });
  const code = errnoName(socket.tryConnect(address));
  if (code === "EINPROGRESS" || code === "EINTR") await socket.ready("POLLOUT");
  const error = socket.takeError();
  if (error === null && socket.remoteAddress !== null) return socket;
  socket.close();
  throw error ?? new Error(`Cannot connect to ${address}: ${code}`);
}

if (import.meta.main) {
  const [host = "127.0.0.1", port = "80"] = process.argv.slice(2);
  using socket = await connectMapped(host, Number(port));
  console.log(`${socket.localAddress} is connected to ${socket.remoteAddress}`);
}
