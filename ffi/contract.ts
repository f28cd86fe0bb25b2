/**
 * The terms between the floor and the rest of the package: every C call once, what a runtime supplies, and the C library
 * as the code above sees it. Types, and the table that they follow from.
 *
 * @module
 */
import type { Abi } from "./abi.ts";

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
  /**
   * Another library, which has it where the C library does not. Not every
   * system of that table has either.
   */
  readonly elsewhere?: string;
}

/** Where glibc before 2.34 has getaddrinfo_a(3). */
const LIBANL = "libanl.so.1";

/**
 * Every C function that the package calls.
 *
 * `ssize_t` results are declared `int`: no length passed here reaches 2 GiB,
 * and a 64-bit result would arrive as a bigint.
 */
export const SIGNATURES = {
  accept: { parameters: ["int", "buffer", "buffer"], result: "int" },
  accept4: {
    parameters: ["int", "buffer", "buffer", "int"],
    result: "int",
    needs: "SOCK_CLOEXEC",
  },
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
  eventfd: { parameters: ["uint", "int"], result: "int", needs: "epoll" },
  errnoLocation: { parameters: [], result: "pointer" },
  fcntl: { parameters: ["int", "int", "int"], result: "int", fixed: 2 },
  free: { parameters: ["address"], result: "void" },
  freeaddrinfo: { parameters: ["address"], result: "void" },
  gai_cancel: {
    parameters: ["address"],
    result: "int",
    needs: "gaicb",
    elsewhere: LIBANL,
  },
  gai_error: {
    parameters: ["address"],
    result: "int",
    needs: "gaicb",
    elsewhere: LIBANL,
  },
  getaddrinfo_a: {
    parameters: ["int", "buffer", "int", "buffer"],
    result: "int",
    needs: "gaicb",
    elsewhere: LIBANL,
  },
  getaddrinfo: {
    parameters: ["buffer", "buffer", "buffer", "buffer"],
    result: "int",
  },
  getpeername: { parameters: ["int", "buffer", "buffer"], result: "int" },
  getrlimit: { parameters: ["int", "buffer"], result: "int" },
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
  listen: { parameters: ["int", "int"], result: "int" },
  malloc: { parameters: ["size"], result: "address" },
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
  memcpyTo: {
    of: "memcpy",
    parameters: ["address", "buffer", "size"],
    result: "void",
  },
  open: { parameters: ["buffer", "int"], result: "int" },
  pipe: { parameters: ["buffer"], result: "int" },
  poll: { parameters: ["buffer", "nfds", "int"], result: "int" },
  pollOffThread: {
    of: "poll",
    parameters: ["buffer", "nfds", "int"],
    result: "int",
    offThread: true,
  },
  read: { parameters: ["int", "buffer", "size"], result: "int" },
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
  write: { parameters: ["int", "buffer", "size"], result: "int" },
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

type Absent =
  | "getaddrinfoOffThread"
  | "pollOffThread"
  | "gai_cancel"
  | "gai_error"
  | "getaddrinfo_a";

/**
 * The C functions as a door delivers them: raw, `-1` and all. Those that run on
 * another thread are there where the runtime can call C so, and some where the
 * library has them.
 */
export type CFunctions =
  & Omit<AllFunctions, Absent>
  & { [N in Absent]?: AllFunctions[N] | undefined };

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
  /**
   * Whether every file may be reached, with no exception; or, of a path,
   * whether that one may, just as it is written and with no rule to ask.
   *
   * @param path As {@linkcode Permissions.demandPath} takes it.
   */
  files(path?: string): boolean;
  /** A host, by name or by address, before a name is resolved. */
  demandHost(hostname: string, port: number): void;
  /** An address that an allowed name resolved to: only a denial counts. */
  demandResolved(address: string, port: number): void;
  /**
   * A socket in the file system. Returns the path that the runtime's own
   * `connect` would use: the one that the rules were asked about.
   *
   * @param path Each byte that is not UTF-8 is a lone surrogate in it.
   */
  demandPath(path: string): string;
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

/** poll(2) as a thread of its own calls it. */
export type Poll = (fds: Uint8Array, count: number, timeout: number) => number;

/**
 * Opens poll(2) in the way of one runtime; `wide` says that `nfds_t` has 64
 * bits.
 *
 * A thread runs its text, so it sees its parameters and what is global, and
 * nothing of the file that it stands in.
 */
export type OpenPoll = (library: string, symbol: string, wide: boolean) => Poll;

/** A socket of `node:net` that connects for as long as it has no descriptor. */
export interface ConnectingSocket {
  /** A `net.Socket`. */
  readonly socket: unknown;
  /**
   * Gives it a connected descriptor, which it owns from then on, and lets it
   * report so in a later turn. Returns 0, or the errno negated where the
   * runtime does not take it.
   */
  adopt(fd: number): number;
}

/** A descriptor that the runtime's own event loop watches. */
export interface Watch {
  /**
   * Resolves when the descriptor is readable, or just so; to a negative number
   * if the loop does not watch it. One wait at a time, which keeps the process
   * alive.
   */
  wait(): Promise<number>;
  /** Ends the wait that may be under way, and gives everything up. */
  close(): void;
}

/** What a runtime has to supply. */
export interface Door {
  /**
   * Why the runtime cannot call C at all, as the rest of a sentence; `null`
   * where it can.
   */
  obstacle?(): string | null;
  /**
   * Those of the names that the runtime lets this program open; may ask the
   * user. Throws the runtime's own error if there is none.
   */
  openable(names: readonly string[]): readonly string[];
  /**
   * Opens functions of a library, and returns them in the order of their
   * declarations. Throws what the runtime throws if one cannot be opened.
   */
  open(
    library: string,
    declarations: readonly Declaration[],
    nfdsSize: Abi["nfdsSize"],
  ): readonly ((...parameters: never[]) => unknown)[];
  readonly permissions: Permissions;
  /** As {@linkcode Libc.turns}, 1 where it is absent. */
  readonly turns?: number;
  /** As {@linkcode Libc.hasNews}. */
  hasNews?(libc: Libc): boolean;
  /**
   * The form in which the runtime takes a `size_t` fastest; a number where
   * there is none better.
   */
  size?(length: number): number | bigint;
  /**
   * Where the errno of the last call can be read without a call, where the
   * runtime has that: memory that C owns, or a copy that the door keeps.
   *
   * @param location Where C has it.
   */
  errnoAt?(location: unknown): ArrayBuffer;
  /** What the runtime is called. */
  readonly runtime: string;
  /**
   * Makes a connected descriptor a socket of `node:net`, which owns it from then
   * on. Absent where the runtime's own cannot be made of a descriptor.
   */
  nodeSocket?(fd: number): unknown;
  /**
   * Makes a socket of `node:net` whose descriptor comes later. `options` are
   * those of its constructor. Absent where it is done as in Node.
   */
  connectingSocket?(options: object): ConnectingSocket;
  /**
   * Has a socket of `node:net` send what it was given before it is destroyed, as
   * one does that the runtime connects by itself. Absent where those whose
   * descriptor comes from elsewhere do so, too.
   */
  sendsFirst?(socket: unknown): void;
  /**
   * Makes a connected descriptor a socket of Bun's, which owns it from then on.
   * Absent in other runtimes.
   */
  bunSocket?(fd: number, handlers: object): Promise<unknown>;
  /**
   * Lets the runtime's own event loop watch a descriptor that can be polled;
   * `null` if that cannot be done here. Absent where it never can.
   */
  watch?(libc: Libc, fd: number): Watch | null;
  /** For a runtime that calls no C off the thread: poll(2) in a worker. */
  readonly openPoll?: OpenPoll;
  /**
   * Starts a thread, in a quicker way than `node:worker_threads` does. Absent
   * where there is none.
   */
  startThread?(start: ThreadStart): StartedThread;
}

/** What a thread is started with, and what is reported of it. */
export interface ThreadStart {
  /** Where a module is that the thread loads. */
  readonly module: string;
  /** Its function that is called, with a {@linkcode ThreadPort} and the data. */
  readonly name: string;
  /** Plain data. */
  readonly data: unknown;
  /** Takes a message of the thread, {@linkcode UNABLE} if it has no module. */
  message(message: unknown): void;
  /** The thread has ended, maybe by an error. */
  ended(error: Error | null): void;
}

/** What a thread sends that could not load its module. */
export const UNABLE = "unable";

/** A thread, as the one that has started it sees it. */
export interface StartedThread {
  post(message: unknown): void;
  terminate(): Promise<unknown> | void;
}

/** A thread's way to the one that has started it. */
export interface ThreadPort {
  /** Sends a message; the memory that is moved is gone on this side. */
  post(message: unknown, moved?: ArrayBuffer[]): void;
  /** Takes all messages from now on. */
  listen(take: (message: unknown) => void): void;
}

/**
 * What a method reports in place of an errno where a C function failed and its
 * errno read as 0: no system has a number this large, and a failure without a
 * reason is still a failure.
 */
export const LOST_ERRNO = 0x7fff_ffff;

/** Room for the address of the socket that sent something. */
export interface Sender {
  readonly address: Uint8Array;
  /** How many bytes of it the last call wrote. */
  length: number;
}

/**
 * The C library, a method for each C function.
 *
 * A result is `>= 0` or `-errno`; a -1 without an errno is -{@linkcode LOST_ERRNO}.
 * Buffers are the caller's and are used only
 * until the call returns, but for `pollAsync`, which uses them until its
 * promise settles.
 */
export interface Libc {
  readonly abi: Abi;
  readonly permissions: Permissions;
  /**
   * How many turns of the runtime's event loop it takes until every kind of
   * work has had one.
   */
  readonly turns: number;
  /**
   * Whether something has come for the runtime's event loop that the next turn
   * may not serve, so that it takes all {@linkcode Libc.turns}. Absent where
   * that cannot be seen.
   */
  hasNews?(): boolean;

  /**
   * Opens those C functions now, all together: what keeps one from being
   * opened, such as a permission that was revoked, is thrown here.
   */
  prepare(...functions: (keyof CFunctions)[]): void;

  accept(fd: number): number;
  /** Exists where socket(2) takes flags, too. */
  accept4(fd: number, flags: number): number;
  /** Where memory of ours lies, for a structure that has to say so. */
  addressOf(memory: Uint8Array): bigint;
  bind(fd: number, address: Uint8Array, length: number): number;
  close(fd: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  /** The three of epoll and `eventfd` exist where the table has `epoll`. */
  epoll_create1(flags: number): number;
  epoll_ctl(epfd: number, op: number, fd: number, event: Uint8Array): number;
  epoll_wait(
    epfd: number,
    events: Uint8Array,
    count: number,
    timeout: number,
  ): number;
  eventfd(value: number, flags: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  /** Frees what `malloc` returned. */
  free(memory: bigint): void;
  freeaddrinfo(list: bigint): void;
  /**
   * The two that go with `getaddrinfo_a` return a code of `<netdb.h>`; call
   * them only where that function was there.
   */
  gai_cancel(request: bigint): number;
  gai_error(request: bigint): number;
  /** Returns `[0, 0]`, or a code of `<netdb.h>` and the errno behind it. */
  getaddrinfo(
    node: Uint8Array,
    hints: Uint8Array,
    result: Uint8Array,
  ): readonly [eai: number, errno: number];
  /**
   * Resolves as `getaddrinfo` does, off this thread, where the runtime can do
   * that; reports a code of `<netdb.h>` alone.
   */
  getaddrinfoAsync?(
    node: Uint8Array,
    hints: Uint8Array,
    result: Uint8Array,
  ): Promise<number>;
  /**
   * Resolves on threads of the C library. The requests are memory of
   * `malloc`, in use until `gai_cancel` says that all is done. Returns
   * `-ENOSYS` where the library has no such function.
   */
  getaddrinfo_a(
    mode: number,
    list: Uint8Array,
    count: number,
    event: Uint8Array | null,
  ): number;
  /** Writes the peer's address and returns its length, as far as there is room. */
  getpeername(fd: number, address: Uint8Array): number;
  /** Writes the limit in force and the highest one that can be set. */
  getrlimit(resource: number, limits: Uint8Array): number;
  /** Writes the socket's own address and returns its length, likewise. */
  getsockname(fd: number, address: Uint8Array): number;
  /** Writes the option's value and returns how many bytes that took. */
  getsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
  ): number;
  /** Returns the index, which is never 0. */
  if_nametoindex(name: Uint8Array): number;
  /** Memory that outlives this runtime's thread; 0 if there is none. */
  malloc(size: number): bigint;
  listen(fd: number, backlog: number): number;
  /** Copies memory that C owns; the address has to come from C. */
  memcpyFrom(target: Uint8Array, source: bigint, length: number): void;
  /** Copies to memory of `malloc`. */
  memcpyTo(target: bigint, source: Uint8Array, length: number): void;
  open(path: Uint8Array, flags: number): number;
  /** Writes two descriptors, the one to read from first. */
  pipe(fds: Uint8Array): number;
  poll(fds: Uint8Array, count: number, timeout: number): number;
  /**
   * Waits as poll does, off this thread. A negative result says no more than:
   * look again.
   */
  pollAsync(fds: Uint8Array, count: number, timeout: number): Promise<number>;
  read(fd: number, buffer: Uint8Array, size: number): number;
  recvfrom(
    fd: number,
    buffer: Uint8Array,
    size: number,
    flags: number,
    from: Sender | null,
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
  /** As {@linkcode Door.watch}. */
  watchReadable?(fd: number): Watch | null;
  write(fd: number, data: Uint8Array, size: number): number;
}
