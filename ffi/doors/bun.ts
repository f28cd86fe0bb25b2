import type * as net from "node:net";
import type {
  ConnectingSocket,
  CType,
  Declaration,
  Door,
} from "../contract.ts";

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

type Poll = ReturnType<NonNullable<Door["openPoll"]>>;

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
export const bunDoor: Door = {
  obstacle() {
    return bunFfi() === undefined ? "this Bun has no bun:ffi" : null;
  },

  openable(names) {
    return names;
  },

  open(library, declaration, nfdsSize): BunFunction {
    const { symbol } = declaration;
    const { symbols } = bunFfi()!.dlopen(library, {
      [symbol]: define(declaration, nfdsSize),
    });
    const opened = symbols[symbol]!;
    return opened.native ?? opened;
  },

  view(address, length): ArrayBuffer {
    return bunFfi()!.toArrayBuffer(address as number, 0, length);
  },

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
    const { Bun } = globalThis as unknown as {
      Bun: { connect(options: object): Promise<unknown> };
    };
    return Bun.connect({ fd, socket });
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
    return {
      socket,
      adopt(fd): number {
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
};

/** What Node has a socket read into, in the place of chunks. */
interface ReadInto {
  readonly buffer: Uint8Array | (() => Uint8Array);
  /** Takes what has been read; `false` pauses. */
  callback(length: number, buffer: Uint8Array): boolean;
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
      if (callback(part.length, buffer)) continue;
      socket.pause();
      if (rest.length > 0) socket.unshift(rest);
      return;
    }
  });
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
