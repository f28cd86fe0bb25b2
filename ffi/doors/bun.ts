import type * as net from "node:net";
import type {
  ConnectingSocket,
  CType,
  Declaration,
  Door,
  Libc,
  Poll,
  Watch,
} from "../contract.ts";
import { alterNext } from "../emitting.ts";
import { bare } from "../records.ts";

/** What is used of `bun:ffi`: https://bun.sh/docs/runtime/ffi */
interface BunFfi {
  dlopen(
    name: string,
    symbols: Record<string, { args: string[]; returns: string }>,
  ): { symbols: Record<string, BunFunction> };
  toArrayBuffer(
    address: number,
    offset: number,
    length: number,
  ): ArrayBuffer;
}

interface BunFunction {
  (...parameters: unknown[]): unknown;
  /** The same without the checks of a wrapper, where there is one. */
  native?: BunFunction;
}

/** What its sockets do beside what Node's do. */
interface Adopting {
  connect(this: net.Socket, target: { fd: number }): void;
}

const TYPES: Readonly<Record<Exclude<CType, "nfds">, string>> = {
  int: "i32",
  uint: "u32",
  size: "usize",
  buffer: "ptr",
  pointer: "ptr",
  address: "u64",
  void: "void",
};

/** `bun:ffi`. Bun has no permissions, and calls no C off the thread. */
export const bunDoor: Door = bare<Door>({
  obstacle() {
    return bunFfi() === undefined ? "this Bun has no bun:ffi" : null;
  },

  openable(names) {
    return names;
  },

  open(library, declarations, nfdsSize): BunFunction[] {
    const { dlopen } = bunFfi()!;
    return declarations.map((declaration) => {
      const { symbol } = declaration;
      const { symbols } = dlopen(library, {
        [symbol]: define(declaration, nfdsSize),
      });
      const opened = symbols[symbol]!;
      return opened.native ?? opened;
    });
  },

  errnoAt(location): ArrayBuffer {
    return bunFfi()!.toArrayBuffer(location as number, 0, 4);
  },

  watch: (libc, fd) => new SocketWatch(libc, fd),

  openPoll,

  runtime: "Bun",

  // What comes of the first is ready for the second.
  turns: 2,

  // `new net.Socket({ fd })` never reads (Bun 1.4).
  nodeSocket(fd): net.Socket {
    const { process } = globalThis as unknown as {
      process: { getBuiltinModule(name: string): typeof net };
    };
    const options = { fd } as unknown as net.NetConnectOpts;
    return process.getBuiltinModule("node:net").connect(options);
  },

  bunSocket(fd, socket): Promise<unknown> {
    return connectBun({ fd, socket });
  },

  connectingSocket(
    { onread, ...options }: { onread?: ReadInto },
  ): ConnectingSocket {
    const { process } = globalThis as unknown as {
      process: { getBuiltinModule(name: string): typeof net };
    };
    const { Socket } = process.getBuiltinModule("node:net");
    const socket = new Socket(options) as net.Socket & { connecting: boolean };
    socket.connecting = true;
    // A socket that is given its descriptor reads into no buffer (Bun 1.4).
    if (onread !== undefined) readInto(socket, onread);
    resetLater(socket);
    return {
      socket,
      adopt(fd): number {
        // Its listeners get the socket, which some take for an error (Bun 1.4).
        alterNext(socket, "connect", true);
        (Socket.prototype as unknown as Adopting).connect.call(socket, { fd });
        return 0;
      },
    };
  },

  permissions: {
    net: () => true,
    files: () => true,
    demandHost() {},
    demandResolved() {},
    demandPath: (path) => path,
    demandVsock() {},
    demandAbstract() {},
    demandAll() {},
  },
});

/** What Node has a socket read into, in the place of chunks. */
interface ReadInto {
  readonly buffer: Uint8Array | (() => Uint8Array);
  /** Takes what has been read; `false` alone pauses. */
  callback(length: number, buffer: Uint8Array): boolean;
}

/**
 * Has `resetAndDestroy()` wait for the connection, as sockets do that connect by
 * themselves. Without a handle it fails (Bun 1.4).
 */
function resetLater(socket: net.Socket): void {
  const { resetAndDestroy } = socket;
  function value(): net.Socket {
    if (!socket.connecting) return resetAndDestroy.call(socket);
    return socket.once("connect", () => resetAndDestroy.call(socket));
  }
  Object.defineProperty(
    socket,
    "resetAndDestroy",
    bare({ value, configurable: true, writable: true }),
  );
}

function readInto(
  socket: net.Socket,
  { buffer: given, callback }: ReadInto,
): void {
  socket.on("data", (chunk) => {
    for (let rest: Uint8Array = chunk; rest.length > 0;) {
      const buffer = typeof given === "function" ? given() : given;
      const part = rest.subarray(0, buffer.length);
      rest = rest.subarray(part.length);
      buffer.set(part);
      if (callback(part.length, buffer) !== false) continue;
      socket.pause();
      if (rest.length > 0) socket.unshift(rest);
      return;
    }
  });
}

/**
 * Lets Bun read from a duplicate of the descriptor as it does from a socket. An
 * epoll descriptor is none: that the reading fails says that something is
 * ready, and closes the duplicate.
 *
 * A wake takes 8 us, where a worker takes 60 and more. All of this is
 * undocumented (Bun 1.4), so the reactor looks by itself now and then.
 */
class SocketWatch implements Watch {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #handlers: object;
  #socket: { terminate(): void } | null = null;
  #isClosed = false;
  #resolve: ((result: number) => void) | null = null;

  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
    this.#handlers = {
      open: (socket: { terminate(): void }) => {
        if (this.#isClosed) socket.terminate();
        else this.#socket = socket;
      },
      data() {},
      error() {},
      close: () => {
        this.#socket = null;
        this.#end(1);
      },
    };
  }

  wait(): Promise<number> {
    const { abi } = this.#libc;
    const duplicate = this.#libc.fcntl(this.#fd, abi.F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0) return Promise.resolve(-1);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      connectBun({ fd: duplicate, socket: this.#handlers })
        .catch(() => this.#end(-1));
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.terminate();
    this.#end(-1);
  }

  #end(result: number): void {
    const resolve = this.#resolve;
    this.#resolve = null;
    resolve?.(result);
  }
}

function connectBun(options: object): Promise<unknown> {
  const { Bun } = globalThis as unknown as {
    Bun: { connect(options: object): Promise<unknown> };
  };
  return Bun.connect(options);
}

/** What a thread runs, by its text: nothing of this file is in its sight. */
function openPoll(library: string, symbol: string, wide: boolean): Poll {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): BunFfi };
  };
  const { symbols } = process.getBuiltinModule("bun:ffi").dlopen(library, {
    [symbol]: { args: ["ptr", wide ? "usize" : "u32", "i32"], returns: "i32" },
  });
  return symbols[symbol] as unknown as Poll;
}

function bunFfi(): BunFfi | undefined {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule?(name: string): BunFfi | undefined };
  };
  return process.getBuiltinModule?.("bun:ffi");
}

function define(
  { parameters, result }: Declaration,
  nfdsSize: 4 | 8,
): { args: string[]; returns: string } {
  function native(type: CType): string {
    if (type === "nfds") return nfdsSize === 8 ? "usize" : "u32";
    return TYPES[type];
  }
  return { args: parameters.map(native), returns: native(result) };
}
