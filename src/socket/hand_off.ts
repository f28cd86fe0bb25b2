/**
 * Connections in the hands of the runtime's own sockets.
 *
 * @module
 */
import type { Socket as NodeSocket } from "node:net";
import type { Abi } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { doorFor } from "../../ffi/libc.ts";
import { isObject, show, unknownOption } from "../errors/arguments.ts";
import { NotSupportedError } from "../errors/errors.ts";
import { nameFor, SOCKET_TYPES } from "./names.ts";

/** A socket of Bun's: https://bun.sh/docs/api/tcp */
export interface BunSocket {
  /** What the program keeps with the socket. */
  data: unknown;
  /** 1 while it is open, 0 and less once it is not. */
  readonly readyState: number;
  /** The peer's address in text form. */
  readonly remoteAddress: string;
  /** The peer's port. */
  readonly remotePort: number;
  /** The address on this side in text form. */
  readonly localAddress: string;
  /** The port on this side. */
  readonly localPort: number;
  /** How many bytes have been sent so far. */
  readonly bytesWritten: number;
  /** Sends as much as there is room for, and returns how much that was. */
  write(
    data: string | Uint8Array,
    byteOffset?: number,
    byteLength?: number,
  ): number;
  /** Ends the connection, after these last bytes. */
  end(
    data?: string | Uint8Array,
    byteOffset?: number,
    byteLength?: number,
  ): number;
  /** Sends what Bun has gathered. */
  flush(): void;
  /** Ends sending; `true` keeps what comes in coming. */
  shutdown(halfClose?: boolean): void;
  /** Closes at once, and loses what is under way. */
  terminate(): void;
  /** Closes at once. */
  close(): void;
  /** Leaves what comes in where it is. */
  pause(): void;
  /** Goes on after {@linkcode BunSocket.pause}. */
  resume(): void;
  /** Lets the socket keep the process alive. */
  ref(): void;
  /** Keeps the socket from keeping the process alive. */
  unref(): void;
  /** Calls {@linkcode BunSocketHandlers.timeout} after so many quiet seconds. */
  timeout(seconds: number): void;
  /** Puts other handlers in the place of these. */
  reload(options: { readonly socket: BunSocketHandlers }): void;
  /** Whether small segments are sent at once. */
  setNoDelay(noDelay?: boolean): boolean;
  /** Whether, and after how many ms, a silent peer is asked for a sign of life. */
  setKeepAlive(enable?: boolean, initialDelay?: number): boolean;
  /**
   * Speaks TLS from here on.
   *
   * @param options Bun's own: `tls`, with what `Bun.connect` takes there, and
   * the handlers for the plain text.
   * @returns The socket below, and the one that speaks TLS.
   */
  upgradeTLS(options: {
    readonly data?: unknown;
    readonly tls: boolean | object;
    readonly socket: BunSocketHandlers;
  }): [raw: BunSocket, tls: BunSocket];
}

/** What Bun calls when something happens on its socket. */
export interface BunSocketHandlers {
  /** The socket is Bun's now. */
  open?(socket: BunSocket): unknown;
  /** Something has come. */
  data?(socket: BunSocket, data: Uint8Array): unknown;
  /** There is room for more to send. */
  drain?(socket: BunSocket): unknown;
  /** The TLS handshake is over. */
  handshake?(socket: BunSocket, success: boolean, error: Error | null): unknown;
  /** The peer sends no more. */
  end?(socket: BunSocket): unknown;
  /** The connection is over. */
  close?(socket: BunSocket, error?: Error): unknown;
  /** A handler has thrown, or the connection has failed. */
  error?(socket: BunSocket, error: Error): unknown;
  /** The connection could not be used from the beginning. */
  connectError?(socket: BunSocket, error: Error): unknown;
  /** Nothing has happened for as long as {@linkcode BunSocket.timeout} says. */
  timeout?(socket: BunSocket): unknown;
}

const HANDLERS: readonly (keyof BunSocketHandlers)[] = [
  "open",
  "data",
  "drain",
  "handshake",
  "end",
  "close",
  "error",
  "connectError",
  "timeout",
];

/** Something that can be called, whatever it takes. */
type Handler = (...args: never[]) => unknown;

/**
 * Reads handlers once, so that Bun has no reason left to refuse them: it does so
 * before the descriptor is its own, which would stay open.
 *
 * @throws {TypeError} If one is unknown or no function, or if none is there for
 * what comes or what may be sent.
 */
export function checkHandlers(
  handlers: BunSocketHandlers,
): Readonly<Record<string, Handler>> {
  if (!isObject(handlers)) {
    throw new TypeError(
      `Cannot use handlers ${show(handlers)}: it is not an object`,
    );
  }
  // Of a class of the caller's, too: these are looked for by name.
  const found: Record<string, Handler> = Object.create(null);
  for (const name of HANDLERS) {
    const handler: unknown = handlers[name];
    if (handler === undefined) continue;
    if (typeof handler !== "function") {
      throw new TypeError(
        `Cannot use handlers.${name} ${show(handler)}: it is not a function`,
      );
    }
    found[name] = handler as Handler;
  }
  for (const name of Object.keys(handlers)) {
    if (HANDLERS.includes(name as keyof BunSocketHandlers)) continue;
    const value = (handlers as Record<string, unknown>)[name];
    throw unknownOption("handlers", name, value, HANDLERS);
  }
  if (found.data === undefined && found.drain === undefined) {
    throw new TypeError(
      "Cannot use handlers (an object): one of data and drain has to be there",
    );
  }
  return found;
}

/** Makes sure that a socket is one of streams, which is what a method takes. */
export function checkStreamType(abi: Abi, type: number, method: string): void {
  if (type === abi.SOCK_STREAM) return;
  throw new TypeError(
    `Cannot use ${method} on a socket of type ${
      show(nameFor(abi, SOCKET_TYPES, type))
    }: it takes streams`,
  );
}

/** What the runtime makes of a descriptor for `node:net`. */
export function nodeSocketOf(): (fd: number) => NodeSocket {
  const door = doorFor();
  if (door.nodeSocket === undefined) {
    throw new NotSupportedError("toNodeSocket()", door.runtime);
  }
  return (fd) => door.nodeSocket!(fd) as NodeSocket;
}

/** What Bun makes of a descriptor, which is closed if it refuses. */
export function bunSocketOf(): (
  libc: Libc,
  fd: number,
  handlers: object,
) => Promise<BunSocket> {
  const door = doorFor();
  if (door.bunSocket === undefined) {
    throw new NotSupportedError("toBunSocket()", door.runtime);
  }
  return async (libc, fd, handlers) => {
    try {
      return await door.bunSocket!(fd, handlers) as BunSocket;
    } catch (error) {
      // Bun refuses before the descriptor is its own.
      libc.close(fd);
      throw error;
    }
  };
}
