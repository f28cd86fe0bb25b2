/**
 * The fragment on AIX's page of connect: a client of a Unix-domain server, whose
 * address is as long as its path.
 *
 *     deno run --allow-all unix_client.ts /run/server.sock
 */
import process from "node:process";
import { Socket, unix } from "@einprogress/connect";

export function connectToServer(path: string): Socket {
  const server = unix(path);
  const socket = Socket.open({ family: "unix" });
  try {
    socket.connectSync(server);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

if (import.meta.main) {
  using socket = connectToServer(process.argv[2]!);
  console.log(`connected to ${socket.remoteAddress}`);
}
