/**
 * What options make of a connection: a TTL, a mark, an interface, MPTCP.
 *
 *     deno run --allow-ffi --allow-net options.ts 127.0.0.1 80
 */
import process from "node:process";
import { connect, ErrnoError, NotSupportedError } from "@einprogress/connect";

const [hostname = "127.0.0.1", port = "80"] = process.argv.slice(2);
const target = { hostname, port: Number(port), timeout: 2000 };
const trials = {
  plain: {},
  ttl: { socketOptions: { ttl: 1 } },
  mark: { socketOptions: { mark: 7 } }, // needs CAP_NET_ADMIN
  interface: { interface: "lo" },
  mptcp: { protocol: "mptcp" },
} as const;
for (const [name, options] of Object.entries(trials)) {
  try {
    using socket = await connect({ ...target, ...options });
    const { state, rtt } = socket.tcpInfo();
    const isMptcp = socket.getOption("multipath");
    console.log(`${name}: ${state}, rtt ${rtt} ms, mptcp ${isMptcp}`);
  } catch (error) {
    const isKnown = error instanceof ErrnoError ||
      error instanceof NotSupportedError;
    if (!isKnown) throw error;
    console.log(`${name}: ${error.message}`);
  }
}
