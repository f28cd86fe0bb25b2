/**
 * A socket of `node:net` that this package connects.
 *
 * @module
 */
import type * as net from "node:net";
import { builtin } from "./builtin.ts";
import type { ConnectingSocket } from "./contract.ts";
import { alterNext } from "./emitting.ts";
import { doorFor } from "./libc.ts";

/** What is used of the handle that a socket of Node's has: `tcp_wrap.cc`. */
interface Handle {
  /** Makes a descriptor its own. Returns 0, or the errno negated. */
  open(fd: number): number;
  /** Begins connect(2). Returns 0, and reports to the request how it ended. */
  connect(request: ConnectRequest): number;
  setNoDelay: unknown;
  setKeepAlive: unknown;
  getsockname: unknown;
  getpeername: unknown;
}

interface ConnectRequest {
  oncomplete(
    status: number,
    handle: Handle,
    request: ConnectRequest,
    readable: boolean,
    writable: boolean,
  ): void;
}

/** Finds no name. */
function nameless(): number {
  return -1;
}

/** Where a socket is made to connect to: an address, so that it calls no resolver. */
const PLACEHOLDER = { host: "127.0.0.1", port: 1 };

/**
 * Makes such a socket. `options` are those of its constructor, `isTcp` says what
 * the descriptor will be.
 *
 * Its `connect` is called, so that it does by itself all that a connecting socket
 * does: what is written waits, what is set is kept. Only its handle is not
 * given the address; it opens the descriptor that comes instead.
 */
export function connectingSocket(
  options: object,
  isTcp: boolean,
): ConnectingSocket {
  const door = doorFor();
  if (door.connectingSocket !== undefined) {
    return door.connectingSocket(options);
  }
  const { Socket } = builtin<typeof net>("node:net");
  const socket = new Socket(options) as net.Socket & { _handle: Handle };
  door.sendsFirst?.(socket);
  // Deno takes keepAlive and noDelay here, Node has taken them before.
  socket.connect(
    {
      __proto__: null,
      ...options,
      ...PLACEHOLDER,
    } as object as net.NetConnectOpts,
  );
  // Node reports an attempt to connect to that placeholder.
  const endSilence = alterNext(socket, "connectionAttempt", false);
  const handle = socket._handle;
  const { process } = globalThis as unknown as {
    process: { nextTick(callback: () => void): void };
  };
  const asked = new Promise<ConnectRequest>((resolve) => {
    // An address is connected to in the next tick.
    handle.connect = (request) => {
      endSilence();
      resolve(request);
      return 0;
    };
  });
  if (!isTcp) {
    // Handles of what is not TCP lack them; to open one with either set fails.
    handle.setNoDelay = undefined;
    handle.setKeepAlive = undefined;
    // And a socket of theirs has no addresses.
    handle.getsockname = handle.getpeername = nameless;
  }
  return {
    socket,
    adopt(fd): number {
      const status = handle.open(fd);
      if (status === 0) {
        asked.then((request) => {
          // What listeners throw is not for a promise to catch.
          process.nextTick(() =>
            request.oncomplete(0, handle, request, true, true)
          );
        });
      }
      return status;
    },
  };
}
