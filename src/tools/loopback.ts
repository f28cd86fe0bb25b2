/**
 * A listener of this process, for a ping without a target.
 *
 * @module
 */
import { createServer } from "node:net";
import { setImmediate } from "node:timers/promises";
import { libc } from "../../ffi/libc.ts";
import type { LookupFamily } from "../address/lookup.ts";

/** A listener of this process for it to ping. */
export interface LoopbackListener {
  /** The address it listens at. */
  readonly hostname: string;
  /** The port that the system chose. */
  readonly port: number;
  /** Returns when it has accepted and closed as many connections. */
  settled(connections: number): Promise<void>;
  /** Stops listening. */
  close(): Promise<void>;
}

/** How many turns of the event loop it waits for a connection. */
const MOST_TURNS = 10_000;

/**
 * Starts a listener on the loopback interface that accepts connections and
 * closes them.
 *
 * It runs on the thread of the probes and does its work between them: the
 * kernel completes a handshake by itself.
 *
 * @throws The runtime's own error if it cannot listen.
 */
export async function listenLoopback(
  family: LookupFamily = "inet",
): Promise<LoopbackListener> {
  const hostname = family === "inet6" ? "::1" : "127.0.0.1";
  // Deno's own check throws where no caller can catch it.
  libc().permissions.demandHost(hostname, 0);
  let accepted = 0;
  const server = createServer((connection) => {
    accepted++;
    connection.on("error", ignore);
    connection.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: hostname, port: 0 }, resolve);
  });
  server.on("error", ignore);
  const { port } = server.address() as { port: number };
  return {
    hostname,
    port,
    async settled(connections) {
      for (let turns = 0; accepted < connections; turns++) {
        if (turns === MOST_TURNS) return;
        await setImmediate();
      }
    },
    close() {
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function ignore(): void {}
