/**
 * The C library as the rest of the package sees it.
 *
 * {@linkcode SIGNATURES} states every C call once, a door (`ffi/doors/`) turns
 * it into functions of the runtime it runs on, and {@linkcode bindLibc} puts
 * the return convention on top: `>= 0` or `-errno`. Nobody above this file
 * reads `errno`.
 *
 * @module
 */
import { type Abi, abiFor, hostPlatform } from "./abi.ts";
import { bunDoor } from "./doors/bun.ts";
import { denoDoor } from "./doors/deno.ts";
import { nodeDoor } from "./doors/node.ts";
import { type OpenPoll, Poller } from "./doors/poller.ts";
import { lazily } from "./lazy.ts";

/**
 * C parameters and results by what they mean to JavaScript.
 *
 * `buffer` is memory of ours or `null`, `pointer` an address as the runtime
 * hands it out, `address` one that C wrote into our memory (a bigint).
 */
export type CType =
  | "int"
  | "uint"
  | "size"
  | "nfds"
  | "buffer"
  | "pointer"
  | "address"
  | "void";

/** How one C function is declared. */
export interface Signature {
  /** The C function, where the entry has another name. */
  readonly of?: string;
  readonly parameters: readonly CType[];
  readonly result: CType;
  /** How many parameters come before the variadic ones. */
  readonly fixed?: number;
  /** Runs on another thread, so that its `errno` is out of reach. */
  readonly offThread?: true;
  /** The field of the table that is `null` where there is no such function. */
  readonly needs?: keyof Abi;
}

/**
 * Every C function that the package calls.
 *
 * `ssize_t` results are declared `int`: no length passed here reaches 2 GiB,
 * and a 64-bit result would arrive as a bigint.
 */
export const SIGNATURES = {
  addressOf: {
    of: "memcpy",
    parameters: ["buffer", "buffer", "size"],
    result: "address",
  },
  bind: { parameters: ["int", "buffer", "uint"], result: "int" },
  close: { parameters: ["int"], result: "int" },
  connect: { parameters: ["int", "buffer", "uint"], result: "int" },
  epoll_create1: { parameters: ["int"], result: "int", needs: "epoll" },
  epoll_ctl: {
    parameters: ["int", "int", "int", "buffer"],
    result: "int",
    needs: "epoll",
  },
  epoll_wait: {
    parameters: ["int", "buffer", "int", "int"],
    result: "int",
    needs: "epoll",
  },
  errnoLocation: { parameters: [], result: "pointer" },
  fcntl: { parameters: ["int", "int", "int"], result: "int", fixed: 2 },
  freeaddrinfo: { parameters: ["address"], result: "void" },
  getaddrinfo: {
    parameters: ["buffer", "buffer", "buffer", "buffer"],
    result: "int",
  },
  getpeername: { parameters: ["int", "buffer", "buffer"], result: "int" },
  getsockname: { parameters: ["int", "buffer", "buffer"], result: "int" },
  getsockopt: {
    parameters: ["int", "int", "int", "buffer", "buffer"],
    result: "int",
  },
  getaddrinfoOffThread: {
    of: "getaddrinfo",
    parameters: ["buffer", "buffer", "buffer", "buffer"],
    result: "int",
    offThread: true,
  },
  if_nametoindex: { parameters: ["buffer"], result: "int" },
  memcpyErrno: {
    of: "memcpy",
    parameters: ["buffer", "pointer", "size"],
    result: "void",
  },
  memcpyFrom: {
    of: "memcpy",
    parameters: ["buffer", "address", "size"],
    result: "void",
  },
  poll: { parameters: ["buffer", "nfds", "int"], result: "int" },
  pollOffThread: {
    of: "poll",
    parameters: ["buffer", "nfds", "int"],
    result: "int",
    offThread: true,
  },
  recvfrom: {
    parameters: ["int", "buffer", "size", "int", "buffer", "buffer"],
    result: "int",
  },
  recvmsg: { parameters: ["int", "buffer", "int"], result: "int" },
  sched_yield: { parameters: [], result: "int" },
  sendto: {
    parameters: ["int", "buffer", "size", "int", "buffer", "uint"],
    result: "int",
  },
  setsockopt: {
    parameters: ["int", "int", "int", "buffer", "uint"],
    result: "int",
  },
  shutdown: { parameters: ["int", "int"], result: "int" },
  socket: { parameters: ["int", "int", "int"], result: "int" },
  socketpair: { parameters: ["int", "int", "int", "buffer"], result: "int" },
} as const satisfies Record<string, Signature>;

interface JsTypes {
  int: number;
  uint: number;
  size: number | bigint;
  nfds: number | bigint;
  buffer: Uint8Array | null;
  pointer: unknown;
  address: bigint;
  void: void;
}

type JsParameters<P extends readonly CType[]> = {
  -readonly [I in keyof P]: JsTypes[P[I]];
};

type CFunction<S extends Signature> = (
  ...parameters: JsParameters<S["parameters"]>
) => S extends { offThread: true } ? Promise<JsTypes[S["result"]]>
  : JsTypes[S["result"]];

type AllFunctions = {
  readonly [N in keyof typeof SIGNATURES]: CFunction<(typeof SIGNATURES)[N]>;
};

type OffThread = "getaddrinfoOffThread" | "pollOffThread";

/**
 * The C functions as a door delivers them: raw, `-1` and all. Those that run on
 * another thread are there where the runtime can call C so.
 */
export type CFunctions =
  & Omit<AllFunctions, OffThread>
  & Partial<Pick<AllFunctions, OffThread>>;

/**
 * What the runtime lets a program reach.
 *
 * Native calls go past the runtime's own checks, so each public way to the
 * network asks here first. A `demand...` method returns if the runtime's own
 * `connect` would be let through, and throws the runtime's own error if not.
 */
export interface Permissions {
  /** Whether every network address is allowed, with no exception. */
  net(): boolean;
  /** Whether every file may be read and written, with no exception. */
  files(): boolean;
  /** A host, by name or by address, before a name is resolved. */
  demandHost(hostname: string, port: number): void;
  /** An address that an allowed name resolved to: only a denial counts. */
  demandResolved(address: string, port: number): void;
  /** A socket in the file system. */
  demandPath(path: string): void;
  /** A virtual machine's or the host's port. */
  demandVsock(cid: number, port: number): void;
  /**
   * A socket outside the file system. No rule can name one, so that a grant of
   * everything covers it whatever else is denied.
   */
  demandAbstract(): void;
  /**
   * Anything else that no rule can name, so that a full grant alone covers it:
   * of the net, and of all files where it may lead to one.
   */
  demandAll(files: boolean): void;
}

/** A C function as one system exports and declares it. */
export interface Declaration {
  /** Its name in {@linkcode CFunctions}. */
  readonly entry: string;
  /** The name that the library exports. */
  readonly symbol: string;
  readonly parameters: readonly CType[];
  readonly result: CType;
  readonly offThread: boolean;
}

/** What a runtime has to supply. */
export interface Door {
  /**
   * Those of the names that the runtime lets this program open; may ask the
   * user. Throws the runtime's own error if there is none.
   */
  openable(names: readonly string[]): readonly string[];
  /** Opens one function of a library, or throws what the runtime throws. */
  open(
    library: string,
    declaration: Declaration,
    nfdsSize: Abi["nfdsSize"],
  ): (...parameters: never[]) => unknown;
  readonly permissions: Permissions;
  /**
   * The form in which the runtime takes a `size_t` fastest; a number where
   * there is none better.
   */
  size?(length: number): number | bigint;
  /**
   * Lays a buffer over memory that C owns, without a copy, where nothing that
   * the runtime does on the way out of a call lets the reading of errno be a
   * call itself.
   */
  view?(address: unknown, length: number): ArrayBuffer;
  /** What the runtime is called. */
  readonly runtime: string;
  /**
   * Makes a connected descriptor a socket of `node:net`, which owns it from then
   * on. Absent where the runtime's own cannot be made of a descriptor.
   */
  nodeSocket?(fd: number): unknown;
  /**
   * Makes a connected descriptor a socket of Bun's, which owns it from then on.
   * Absent in other runtimes.
   */
  bunSocket?(fd: number, handlers: object): Promise<unknown>;
  /** For a runtime that calls no C off the thread: poll(2) in a worker. */
  readonly openPoll?: OpenPoll;
}

/**
 * The C library, a method for each C function.
 *
 * An answer is `>= 0` or `-errno`. Buffers are the caller's and are used only
 * until the call returns, but for `pollAsync`, which uses them until its
 * promise settles.
 */
export interface Libc {
  readonly abi: Abi;
  readonly permissions: Permissions;

  /** Where memory of ours lies, for a structure that has to say so. */
  addressOf(memory: Uint8Array): bigint;
  bind(fd: number, address: Uint8Array, length: number): number;
  close(fd: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  /** The three of epoll exist where the table has `epoll`. */
  epoll_create1(flags: number): number;
  epoll_ctl(epfd: number, op: number, fd: number, event: Uint8Array): number;
  epoll_wait(
    epfd: number,
    events: Uint8Array,
    count: number,
    timeout: number,
  ): number;
  fcntl(fd: number, command: number, argument: number): number;
  freeaddrinfo(list: bigint): void;
  /** Answers `[0, 0]`, or a code of `<netdb.h>` and the errno behind it. */
  getaddrinfo(
    node: Uint8Array,
    hints: Uint8Array,
    result: Uint8Array,
  ): readonly [eai: number, errno: number];
  /**
   * Resolves as `getaddrinfo` does, off this thread, where the runtime can do
   * that; answers a code of `<netdb.h>` alone.
   */
  getaddrinfoAsync?(
    node: Uint8Array,
    hints: Uint8Array,
    result: Uint8Array,
  ): Promise<number>;
  getpeername(fd: number, address: Uint8Array, length: Uint8Array): number;
  getsockname(fd: number, address: Uint8Array, length: Uint8Array): number;
  getsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: Uint8Array,
  ): number;
  /** Answers the index, which is never 0. */
  if_nametoindex(name: Uint8Array): number;
  /** Copies memory that C owns; the address has to come from C. */
  memcpyFrom(target: Uint8Array, source: bigint, length: number): void;
  poll(fds: Uint8Array, count: number, timeout: number): number;
  /**
   * Waits as poll does, off this thread. A negative answer says no more than:
   * look again.
   */
  pollAsync(fds: Uint8Array, count: number, timeout: number): Promise<number>;
  recvfrom(
    fd: number,
    buffer: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array | null,
    length: Uint8Array | null,
  ): number;
  recvmsg(fd: number, message: Uint8Array, flags: number): number;
  sched_yield(): number;
  sendto(
    fd: number,
    data: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array | null,
    length: number,
  ): number;
  setsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ): number;
  shutdown(fd: number, how: number): number;
  socket(domain: number, type: number, protocol: number): number;
  socketpair(
    domain: number,
    type: number,
    protocol: number,
    fds: Uint8Array,
  ): number;
}

/**
 * Puts the return convention on top of raw C functions.
 *
 * `errno` belongs to the thread, and whatever runs between a call and the
 * reading of it may overwrite it: garbage collection alone does so a few times
 * in a million. The copying of it is therefore the very next thing in the body
 * of each method, and each method spells it out, for a helper would be one
 * more thing in between.
 */
export function bindLibc(
  c: CFunctions,
  abi: Abi,
  permissions: Permissions,
  size: (length: number) => number | bigint = sameNumber,
  view?: Door["view"],
): Libc {
  const { close, connect, memcpyErrno, socket } = c;
  const fcntl = abi.variadicOnStack ? callFcntlPadded : callFcntl;
  const location = c.errnoLocation();
  const bytes = newMemory(4);
  const width = size(4);
  const nothing = size(0);
  const isCopied = view === undefined;
  const errno = new Int32Array(isCopied ? bytes.buffer : view(location, 4));
  const nfds = abi.nfdsSize === 8 ? size : sameNumber;

  const libc: Libc = {
    abi,
    permissions,
    addressOf(memory) {
      // Copies nothing, and answers where to.
      return c.addressOf(memory, memory, nothing);
    },
    bind(fd, address, length) {
      const result = c.bind(fd, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    close(fd) {
      const result = close(fd);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    connect(fd, address, length) {
      const result = connect(fd, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    epoll_create1(flags) {
      const result = c.epoll_create1(flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    epoll_ctl(epfd, op, fd, event) {
      const result = c.epoll_ctl(epfd, op, fd, event);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    epoll_wait(epfd, events, count, timeout) {
      const result = c.epoll_wait(epfd, events, count, timeout);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    fcntl(fd, command, argument) {
      const result = fcntl(c, fd, command, argument);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    freeaddrinfo(list) {
      c.freeaddrinfo(list);
    },
    getaddrinfo(node, hints, result) {
      const eai = c.getaddrinfo(node, null, hints, result);
      if (eai === 0) return [0, 0];
      if (isCopied) memcpyErrno(bytes, location, width);
      return [eai, errno[0]!];
    },
    ...!("getaddrinfoOffThread" in c) ? {} : {
      getaddrinfoAsync(node, hints, result): Promise<number> {
        return c.getaddrinfoOffThread!(node, null, hints, result);
      },
    } satisfies Pick<Libc, "getaddrinfoAsync">,
    getpeername(fd, address, length) {
      const result = c.getpeername(fd, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    getsockname(fd, address, length) {
      const result = c.getsockname(fd, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    getsockopt(fd, level, name, value, length) {
      const result = c.getsockopt(fd, level, name, value, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    if_nametoindex(name) {
      const result = c.if_nametoindex(name);
      if (result > 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    memcpyFrom(target, source, length) {
      c.memcpyFrom(target, source, size(length));
    },
    poll(fds, count, timeout) {
      const result = c.poll(fds, nfds(count), timeout);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    pollAsync(fds, count, timeout) {
      return c.pollOffThread!(fds, nfds(count), timeout);
    },
    recvfrom(fd, buffer, room, flags, address, length) {
      const wide = size(room);
      const result = c.recvfrom(fd, buffer, wide, flags, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    recvmsg(fd, message, flags) {
      const result = c.recvmsg(fd, message, flags);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    sched_yield() {
      const result = c.sched_yield();
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    sendto(fd, data, count, flags, address, length) {
      const wide = size(count);
      const result = c.sendto(fd, data, wide, flags, address, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    setsockopt(fd, level, name, value, length) {
      const result = c.setsockopt(fd, level, name, value, length);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    shutdown(fd, how) {
      const result = c.shutdown(fd, how);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    socket(domain, type, protocol) {
      const result = socket(domain, type, protocol);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
    socketpair(domain, type, protocol, fds) {
      const result = c.socketpair(domain, type, protocol, fds);
      if (result >= 0) return result;
      if (isCopied) memcpyErrno(bytes, location, width);
      return -errno[0]!;
    },
  };
  if (libc.close(-1) !== -abi.errnos.EBADF!) {
    throw new Error(
      "Cannot read errno: close(-1) did not answer EBADF through " +
        `${abi.errnoLocation} on ${abi.os} ${abi.arch}`,
    );
  }
  return libc;
}

function sameNumber(length: number): number {
  return length;
}

/** How many integer arguments the 64-bit ARM calling convention keeps in registers. */
const REGISTERS = 8;

/** fcntl(2), whose third argument is a variadic one. */
function callFcntl(
  { fcntl }: CFunctions,
  fd: number,
  command: number,
  argument: number,
): number {
  return fcntl(fd, command, argument);
}

/**
 * Moves the third argument past the registers: a fixed declaration puts the
 * ninth where a variadic callee looks for its first.
 */
function callFcntlPadded(
  c: CFunctions,
  fd: number,
  command: number,
  argument: number,
): number {
  const { fcntl } = c as unknown as {
    fcntl(...parameters: number[]): number;
  };
  return fcntl(fd, command, 0, 0, 0, 0, 0, 0, argument);
}

/** The whole table of {@linkcode SIGNATURES} as one system declares it. */
export function declarationsFor(abi: Abi): readonly Declaration[] {
  return entriesOf(abi).map((entry) => declarationFor(abi, entry));
}

type Entry = keyof typeof SIGNATURES;

/** The entries of the table that a system has. */
function entriesOf(abi: Abi): Entry[] {
  return (Object.keys(SIGNATURES) as Entry[]).filter((entry) => {
    const { needs }: Signature = SIGNATURES[entry];
    return needs === undefined || abi[needs] !== null;
  });
}

function declarationFor(abi: Abi, entry: Entry): Declaration {
  const signature: Signature = SIGNATURES[entry];
  const { of = entry, parameters, result, fixed, offThread } = signature;
  return {
    entry,
    symbol: entry === "errnoLocation"
      ? abi.errnoLocation
      : abi.symbols[of] ?? of,
    parameters: fixed === undefined || !abi.variadicOnStack ? parameters : [
      ...parameters.slice(0, fixed),
      ...new Array<CType>(REGISTERS - fixed).fill("int"),
      ...parameters.slice(fixed),
    ],
    result,
    offThread: offThread ?? false,
  };
}

/**
 * Memory that C may see.
 *
 * V8 keeps the bytes of a small typed array on its moving heap until somebody
 * asks for its buffer; an array that begins as a buffer never moves.
 */
export function newMemory(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(size));
}

let current: Libc | null = null;
let host: Abi | null = null;

/**
 * The C library of this system, opened at the first call.
 *
 * @throws If the runtime does not permit it, its own error, untouched.
 * @throws {Error} If no table describes this system, or no library of the
 * table can be opened; the message names every one that was tried.
 */
export function libc(): Libc {
  return current ??= openLibc(currentAbi(), doorFor());
}

/** The table in force. Opens nothing and asks for no permission. */
export function currentAbi(): Abi {
  if (current !== null) return current.abi;
  if (host === null) {
    const { platform, arch } = hostPlatform();
    host = abiFor(platform, arch);
  }
  return host;
}

/** Puts another C library in place of the system's, until disposed. For tests. */
export function useLibc(replacement: Libc): Disposable {
  const before = current;
  current = replacement;
  return {
    [Symbol.dispose]() {
      current = before;
    },
  };
}

/**
 * Opens the first of a system's libraries that a door will open.
 *
 * @throws The runtime's own error if it permits none of them.
 * @throws {AggregateError} If none can be used; the message names every one
 * that was tried, and `errors` says what was wrong with each.
 */
export function openLibc(abi: Abi, door: Door): Libc {
  const names = door.openable(abi.libraries);
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      return bindLibc(
        openAll(abi, door, name),
        abi,
        door.permissions,
        door.size,
        door.view,
      );
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(
    failures,
    `Cannot open the C library of ${abi.os} ${abi.arch}: tried ` +
      names.join(", "),
  );
}

/**
 * Every function of the table; poll(2) off this thread in the runtime's own
 * way, or in a worker.
 *
 * Each is opened when somebody first asks for it: that takes Deno 150 us, so
 * that all of them took longer than all else that a first connect does. A
 * permission that is revoked in the meantime is missed then.
 */
function openAll(abi: Abi, door: Door, library: string): CFunctions {
  const { openPoll } = door;
  const { nfdsSize } = abi;
  const isOwn = (entry: Entry) =>
    openPoll === undefined || !("offThread" in SIGNATURES[entry]);
  const c = lazily(
    entriesOf(abi).filter(isOwn),
    (entry) => door.open(library, declarationFor(abi, entry), nfdsSize),
  ) as unknown as CFunctions;
  if (openPoll === undefined) return c;
  const poller = new Poller({
    openPoll,
    library,
    symbol: abi.symbols["poll"] ?? "poll",
    nfdsSize,
    poll: (fds, count, timeout) => c.poll(fds, count, timeout),
  });
  return Object.assign(c, {
    pollOffThread: (fds: Uint8Array, count: number | bigint, timeout: number) =>
      poller.poll(fds, count, timeout),
  });
}

/** Functions of any library, by the names of their declarations. For tests and benches. */
export function openFunctions<F>(
  { nfdsSize }: Abi,
  door: Door,
  library: string,
  declarations: readonly Declaration[],
): F {
  return Object.fromEntries(declarations.map((declaration) => [
    declaration.entry,
    door.open(library, declaration, nfdsSize),
  ])) as F;
}

/** The door of the runtime this runs on. Deno and Bun also look like Node. */
export function doorFor(): Door {
  if ("Deno" in globalThis) return denoDoor;
  if ("Bun" in globalThis) return bunDoor;
  if ("process" in globalThis) return nodeDoor;
  throw new Error(
    "Cannot call the C library: this runtime is none of Deno, Bun and Node",
  );
}
