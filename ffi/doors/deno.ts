import type * as net from "node:net";
import {
  type CType,
  type Declaration,
  type Door,
  type Libc,
  type Permissions,
  type StartedThread,
  type ThreadStart,
  UNABLE,
} from "../contract.ts";
import { newMemory } from "../memory.ts";
import { bare } from "../records.ts";
import { setImmediate } from "../timers.ts";

type DenoFunction = (...parameters: unknown[]) => unknown;

const NATIVE_TYPES: Readonly<
  Record<Exclude<CType, "nfds">, Deno.NativeResultType>
> = {
  int: "i32",
  uint: "u32",
  size: "usize",
  buffer: "buffer",
  pointer: "pointer",
  address: "u64",
  void: "void",
};

/**
 * How many turns of the event loop it takes until everything has had one.
 * Timers and immediates have one in each. But as long as there is work, tokio
 * looks at sockets, signals and children in one turn of 61.
 */
const TURNS = 64;

/** Calls back after so many of them. */
function afterTurns(turns: number, callback: () => void): void {
  if (turns === 0) callback();
  else setImmediate(() => afterTurns(turns - 1, callback));
}

/**
 * Lets a socket wait with its end until tokio has looked at it once, if it was
 * given something to write. Before that look, tokio does not know of the room
 * to send on a descriptor that it has not connected itself.
 */
function sendFirst(socket: net.Socket): void {
  const { _destroy } = socket;
  function value(...args: Parameters<typeof _destroy>): void {
    const turns = socket.writableLength === 0 ? 0 : TURNS;
    afterTurns(turns, () => _destroy.apply(socket, args));
  }
  const property = bare({ value, configurable: true, writable: true });
  Object.defineProperty(socket, "_destroy", property);
}

/** `Deno.dlopen`, and Deno's own permissions. */
export const denoDoor: Door = bare<Door>({
  obstacle() {
    return typeof Deno.dlopen === "function"
      ? null
      : "this Deno has no Deno.dlopen, as on Deno Deploy";
  },

  openable(names) {
    const all = { name: "ffi" } as const;
    if (isGranted(all)) return names;
    const granted = names.filter((path) =>
      path.startsWith("/") && isGranted({ name: "ffi", path })
    );
    if (granted.length > 0) return granted;
    // The user is asked for all of FFI, not for one library: a bare name that
    // is granted at the prompt is afterwards sought in the working directory
    // (denoland/deno#29246).
    if (request(all).state === "granted") return names;
    // Opening it all the same brings forth the error that Deno itself words.
    Deno.dlopen(names[0]!, {});
    return names;
  },

  open(library, declarations, nfdsSize): DenoFunction[] {
    const definitions: Deno.ForeignLibraryInterface = Object.fromEntries(
      declarations.map((declaration) => [
        declaration.entry,
        bare(define(declaration, nfdsSize)),
      ]),
    );
    const { symbols } = Deno.dlopen(library, definitions);
    return declarations.map(({ entry }) => symbols[entry] as DenoFunction);
  },

  // A number takes 100 ns longer, off the path that the optimizer compiles
  // (Deno 2.9).
  size: BigInt,

  runtime: "Deno",

  turns: TURNS,

  hasNews(libc): boolean {
    loops ??= new Loops(libc);
    return loops.hasNews();
  },

  nodeSocket(fd): net.Socket {
    const { process } = globalThis as unknown as {
      process: { getBuiltinModule(name: string): typeof net };
    };
    const { Socket } = process.getBuiltinModule("node:net");
    const socket = new Socket({ fd, readable: true, writable: true });
    sendFirst(socket);
    return socket;
  },

  sendsFirst: (socket) => sendFirst(socket as net.Socket),

  get permissions(): Permissions {
    return denoPermissions();
  },

  // One of node:worker_threads takes 40 ms more of the processor.
  startThread(
    { module, name, data, message, ended }: ThreadStart,
  ): StartedThread {
    // Deno would ask the user in the middle of a run.
    const { protocol, pathname } = new URL("../../", module);
    const path = decodeURIComponent(pathname);
    if (protocol === "file:" && !isGranted({ name: "read", path })) {
      throw notCapable("read", path);
    }
    const text = `
      const port = {
        post(message, moved = []) {
          postMessage(message, moved);
        },
        listen(take) {
          onmessage = ({ data }) => take(data);
        },
      };
      onmessage = ({ data }) =>
        import(${JSON.stringify(module)}).then(
          (module) => module[${JSON.stringify(name)}](port, data),
          () => postMessage(${JSON.stringify(UNABLE)}),
        );
    `;
    const url = `data:text/javascript,${encodeURIComponent(text)}`;
    const worker = new Worker(url, bare<WorkerOptions>({ type: "module" }));
    worker.onmessage = ({ data }) => message(data);
    worker.onerror = (event) => {
      event.preventDefault();
      ended(event.error ?? new Error(event.message));
    };
    worker.postMessage(data);
    return {
      post: (message) => worker.postMessage(message),
      terminate: () => worker.terminate(),
    };
  },
});

/**
 * Below which number the epoll descriptors of the runtime are: the main thread's is
 * opened before the program runs, a worker's when it starts.
 */
const MOST_LOOP_FD = 64;

/** What {@linkcode denoDoor} has found of the runtime, `null` before it is asked. */
let loops: Loops | null = null;

/**
 * The epoll descriptors of the process, by which the runtime waits for sockets,
 * signals and children.
 */
class Loops {
  readonly #libc: Libc;
  readonly #pollfds: Uint8Array;
  readonly #count: number;

  constructor(libc: Libc) {
    const { abi } = libc;
    const { littleEndian, pollfd: at, POLLIN } = abi;
    const fds = epollFds(libc);
    this.#libc = libc;
    this.#count = fds.length;
    this.#pollfds = newMemory(at.size * Math.max(fds.length, 1));
    const view = new DataView(this.#pollfds.buffer);
    fds.forEach((fd, i) => {
      view.setInt32(i * at.size + at.fd, fd, littleEndian);
      view.setInt16(i * at.size + at.events, POLLIN, littleEndian);
    });
  }

  hasNews(): boolean {
    return this.#count === 0 ||
      this.#libc.poll(this.#pollfds, this.#count, 0) !== 0;
  }
}

/** All epoll descriptors of this process; none where there is no epoll(7). */
function epollFds(libc: Libc): number[] {
  const { epoll, errnos } = libc.abi;
  const found: number[] = [];
  if (epoll === null) return found;
  try {
    libc.prepare("close", "epoll_ctl", "eventfd", "poll");
  } catch {
    // The permission was revoked.
    return found;
  }
  const unused = newMemory(epoll.event.size);
  const other = libc.eventfd(0, epoll.EFD_CLOEXEC);
  if (other < 0) return found;
  for (let fd = 0; fd < MOST_LOOP_FD; fd++) {
    // Only an epoll descriptor can say that it does not hold another one, and
    // stays as it is.
    const result = libc.epoll_ctl(fd, epoll.EPOLL_CTL_DEL, other, unused);
    if (result === -errnos.ENOENT!) found.push(fd);
  }
  libc.close(other);
  return found;
}

function define(
  { symbol, parameters, result, offThread }: Declaration,
  nfdsSize: 4 | 8,
): Deno.ForeignFunction {
  function native(type: CType): Deno.NativeResultType {
    if (type === "nfds") return nfdsSize === 8 ? "usize" : "u32";
    return NATIVE_TYPES[type];
  }
  return {
    name: symbol,
    parameters: parameters.map(native) as Deno.NativeType[],
    result: native(result),
    nonblocking: offThread,
  };
}

function query(descriptor: Deno.PermissionDescriptor): Deno.PermissionStatus {
  return Deno.permissions.querySync(bare(descriptor));
}

function request(descriptor: Deno.PermissionDescriptor): Deno.PermissionStatus {
  return Deno.permissions.requestSync(bare(descriptor));
}

function isGranted(descriptor: Deno.PermissionDescriptor): boolean {
  return isWhole(query(descriptor));
}

/** Whether a grant has no exception: `partial` says that something is denied. */
function isWhole(status: Deno.PermissionStatus): boolean {
  return status.state === "granted" && !status.partial;
}

type PermissionName = Deno.PermissionDescriptor["name"];

/** Everything that Deno can grant. */
const EVERYTHING: readonly PermissionName[] = [
  "net",
  "read",
  "write",
  "env",
  "sys",
  "run",
  "ffi",
  "import",
];

/** Where paths lead to other things than files; no rule can say where. */
const MAGIC = /^\/(?:dev|proc|sys)(?:\/|$)/;

/** A path that leads where it says: absolute, and normal already. */
const NORMAL = /^(?:\/(?!\.{0,2}(?:\/|$))[^/]*)+$/;

function denoPermissions(): Permissions {
  // A kept status object follows a later revoke, and reading it takes
  // nanoseconds, where a query takes a microsecond.
  const [net, read, write, ...rest] = EVERYTHING.map((name) =>
    query({ name } as Deno.PermissionDescriptor)
  ) as [Deno.PermissionStatus, Deno.PermissionStatus, Deno.PermissionStatus];
  function hasNet(): boolean {
    return isWhole(net);
  }
  function hasFiles(): boolean {
    return isWhole(read) && isWhole(write);
  }
  function hasEverything(): boolean {
    return hasNet() && hasFiles() && rest.every(isWhole);
  }
  return {
    net: hasNet,
    files(path) {
      // Most paths need none of what `rest` holds, which takes 300 ns to read.
      return path !== undefined && hasFiles() && NORMAL.test(path) &&
          !MAGIC.test(path) && path.isWellFormed() ||
        hasEverything();
    },
    demandHost(hostname, port) {
      const host = hostOf(hostname, port);
      demandPermission({ name: "net", host }, host);
    },
    demandResolved(address, port) {
      const host = hostOf(address, port);
      const { state } = query({ name: "net", host });
      if (state === "denied") throw notCapable("net", host);
    },
    demandPath(name) {
      // Rules are for text, and what the kernel would be given is none.
      if (!name.isWellFormed()) {
        if (hasEverything()) return name;
        throw notCapable("all", name);
      }
      const path = absolutePath(name);
      if (!isWhole(read)) demandPermission({ name: "read", path }, name);
      if (!isWhole(write)) demandPermission({ name: "write", path }, name);
      if (MAGIC.test(path) && !hasEverything()) throw notCapable("all", path);
      const host = `unix:${path}`;
      if (!hasNet()) demandPermission({ name: "net", host }, host);
      return path;
    },
    demandVsock(cid, port) {
      const host = `vsock:${cid}:${port}`;
      demandPermission({ name: "net", host }, host);
    },
    demandAbstract() {
      demandPermission({ name: "net" }, "abstract Unix sockets");
    },
    demandAll(files) {
      demandWhole("net", "every address");
      if (!files) return;
      demandWhole("read", "every file");
      demandWhole("write", "every file");
      if (!hasEverything()) throw notCapable("all", "every file");
    },
  };
}

/**
 * A path as Deno's own operations use it: from the root, each `..` taking back
 * the name before it, whether or not that is a symbolic link.
 */
function absolutePath(path: string): string {
  if (NORMAL.test(path)) return path;
  const names: string[] = [];
  const from = path.startsWith("/") ? "" : Deno.cwd();
  for (const name of `${from}/${path}`.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return `/${names.join("/")}`;
}

/**
 * A rule for an IPv6 address has brackets, with or without a port. A host that
 * is called `unix` or `vsock` is written in capitals: in small letters, those
 * words begin rules of another kind.
 */
function hostOf(hostname: string, port: number): string {
  if (hostname === "unix" || hostname === "vsock") {
    return `${hostname.toUpperCase()}:${port}`;
  }
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** Asks as Deno's own operations do: at the prompt where there is one. */
function demandPermission(
  descriptor: Deno.PermissionDescriptor,
  what: string,
): void {
  let { state } = query(descriptor);
  if (state === "prompt") ({ state } = request(descriptor));
  if (state !== "granted") throw notCapable(descriptor.name, what);
}

function demandWhole(name: "net" | "read" | "write", what: string): void {
  const status = request({ name });
  if (!isWhole(status)) throw notCapable(name, what);
}

function notCapable(name: PermissionName | "all", what: string): Error {
  return new Deno.errors.NotCapable(
    `Requires ${name} access to "${what}", run again with the --allow-${name} flag`,
  );
}
