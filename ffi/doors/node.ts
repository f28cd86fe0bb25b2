import type * as net from "node:net";
import type {
  CType,
  Door,
  Libc,
  Permissions,
  Poll,
  Watch,
} from "../contract.ts";
import { isScratch, LONGEST_ADDRESS, newScratch } from "../memory.ts";
import { bare } from "../records.ts";

/** What is used of `node:ffi`: https://nodejs.org/api/ffi.html */
interface NodeFfi {
  dlopen(
    name: string,
    definitions?: Record<string, NodeSignature>,
  ): { lib: NodeLibrary; functions: Record<string, NodeFunction> };
  toArrayBuffer(address: bigint, length: number, copy: boolean): ArrayBuffer;
  getRawPointer(memory: Uint8Array): bigint;
}

interface NodeLibrary {
  getFunction(symbol: string, signature: NodeSignature): NodeFunction;
}

interface NodeSignature {
  arguments: string[];
  return: string;
}

// deno-lint-ignore no-explicit-any -- each function has parameters of its own
type NodeFunction = (...parameters: any[]) => unknown;

/** What is used of `process`. */
interface NodeProcess {
  readonly version: string;
  readonly allowedNodeEnvironmentFlags?: ReadonlySet<string>;
  getBuiltinModule(name: "node:ffi"): NodeFfi | undefined;
  getBuiltinModule(name: "node:net"): typeof net;
  /** There under `--permission` and `--permission-audit` alone. */
  readonly permission?: { has(scope: string): boolean };
}

/** What C hands back, as Node calls it. */
const RESULTS: Readonly<Partial<Record<CType, string>>> = {
  int: "int32",
  uint: "uint32",
  size: "uint64",
  pointer: "pointer",
  address: "uint64",
  void: "void",
};

/** From load, for a program may put its own in its place. */
const { asUintN } = BigInt;

/** An `int` or an `unsigned int` as the whole of a register. */
function wordOf(number: number): bigint {
  return asUintN(64, BigInt(number | 0));
}

/** What is one already. */
function sameWord(word: bigint): bigint {
  return word;
}

/** Where scratch memory lies. */
const places = new WeakMap<Uint8Array, bigint>();

/** Other memory that a call is about to use, which must not be collected before. */
const held: Uint8Array[] = [];

/** Where memory lies. */
function locate(memory: Uint8Array | null): bigint {
  return memory === null ? 0n : places.get(memory) ?? locateAnew(memory);
}

function locateAnew(memory: Uint8Array): bigint {
  const place = getRawPointer!(memory);
  if (isScratch(memory)) places.set(memory, place);
  else held.push(memory);
  return place;
}

let getRawPointer: NodeFfi["getRawPointer"] | null = null;

const addressCopy = newScratch(LONGEST_ADDRESS);

/** Where a copy of an address lies, which takes less time to make than it takes to find the address itself. */
function locateCopy(address: Uint8Array | null): bigint {
  if (address === null || address.length > LONGEST_ADDRESS) {
    return locate(address);
  }
  const { length } = address;
  for (let i = 0; i < length; i++) addressCopy[i] = address[i]!;
  return locate(addressCopy);
}

// deno-lint-ignore no-explicit-any -- each takes what JavaScript has for one type
type ToWord = (argument: any) => bigint;

/** The errno of this thread, as C has it; nothing until it is found. */
let errno = new Int32Array(1);

/**
 * What it was right after the last call. When V8 leaves a function, it may hand
 * it over to the threads that compile, and what it does then to wait for a lock
 * sets errno.
 */
const errnoAfter = new Int32Array(new ArrayBuffer(4));

/**
 * Makes a function that hands its arguments to a C function as words, by how
 * many there are.
 *
 * Two or more `pointer`s are what Node hands on as they are, so that V8 calls
 * the C function directly, in 5 ns (Node 26.10). All else it wraps in functions
 * that check each argument, and that are so long that V8 compiles only one or
 * two of them into a caller, in 30 to 200 ns each; the others go by libffi, in 400.
 * A word too many does no harm: C does not look at the register in which it is.
 *
 * Each spells out the copying of errno: a helper would be one more function to
 * enter and to leave.
 */
const CALLS:
  readonly ((call: NodeFunction, ...to: ToWord[]) => NodeFunction)[] = [
    (call) => () => {
      const result = call();
      errnoAfter[0] = errno[0]!;
      return result;
    },
    (call, toA) => (a) => {
      const result = call(toA!(a), 0n);
      errnoAfter[0] = errno[0]!;
      if (held.length > 0) release();
      return result;
    },
    (call, toA, toB) => (a, b) => {
      const result = call(toA!(a), toB!(b));
      errnoAfter[0] = errno[0]!;
      if (held.length > 0) release();
      return result;
    },
    (call, toA, toB, toC) => (a, b, c) => {
      const result = call(toA!(a), toB!(b), toC!(c));
      errnoAfter[0] = errno[0]!;
      if (held.length > 0) release();
      return result;
    },
    (call, toA, toB, toC, toD) => (a, b, c, d) => {
      const result = call(toA!(a), toB!(b), toC!(c), toD!(d));
      errnoAfter[0] = errno[0]!;
      if (held.length > 0) release();
      return result;
    },
    (call, toA, toB, toC, toD, toE) => (a, b, c, d, e) => {
      const result = call(toA!(a), toB!(b), toC!(c), toD!(d), toE!(e));
      errnoAfter[0] = errno[0]!;
      if (held.length > 0) release();
      return result;
    },
    (call, toA, toB, toC, toD, toE, toF) => (a, b, c, d, e, f) => {
      const result = call(toA!(a), toB!(b), toC!(c), toD!(d), toE!(e), toF!(f));
      errnoAfter[0] = errno[0]!;
      if (held.length > 0) release();
      return result;
    },
  ];

/** Where there are more: Darwin's fcntl(2), for 64-bit ARM. */
function callAny(call: NodeFunction, ...to: ToWord[]): NodeFunction {
  return (...a) => {
    const result = call(...a.map((one, i) => to[i]!(one)));
    errnoAfter[0] = errno[0]!;
    if (held.length > 0) release();
    return result;
  };
}

/** How the arguments of a C function become words. */
function wordsFor(parameters: readonly CType[], nfdsSize: 4 | 8): ToWord[] {
  // bind(2) and connect(2), which only read what is in their memory.
  const isAddress = parameters.join() === "int,buffer,uint";
  return parameters.map((type) => {
    if (type === "buffer") return isAddress ? locateCopy : locate;
    const isWord = type !== "int" && type !== "uint" &&
      (type !== "nfds" || nfdsSize === 8);
    return isWord ? sameWord : wordOf;
  });
}

/** Lets go of the memory that a call has used. */
function release(): void {
  while (held.length > 0) held.pop();
}

/** A library is closed when it is collected, and its functions with it. */
const opened: NodeLibrary[] = [];

/** `node:ffi`, and the permissions of Node's `--permission`. */
export const nodeDoor: Door = bare<Door>({
  obstacle() {
    if (nodeFfi() !== undefined) return null;
    const { version, allowedNodeEnvironmentFlags: flags } = nodeProcess();
    return flags?.has("--experimental-ffi") === true
      ? `Node ${version} has no node:ffi unless it is started with --experimental-ffi`
      : `Node ${version} has no node:ffi, which comes with Node 26.9`;
  },

  openable(names) {
    const { permission } = nodeProcess();
    if (permission?.has("ffi") !== false) return names;
    // Opening it all the same throws the error that Node itself words, unless
    // Node only keeps a record of what it would refuse.
    try {
      nodeFfi()!.dlopen(names[0]!);
    } catch (error) {
      if ((error as { code?: unknown }).code === DENIED) throw error;
    }
    return names;
  },

  open(library, declarations, nfdsSize): NodeFunction[] {
    const ffi = nodeFfi()!;
    ({ getRawPointer } = ffi);
    return declarations.map(({ symbol, parameters, result }) => {
      // One has a single signature for a symbol.
      const { lib } = ffi.dlopen(library);
      opened.push(lib);
      const to = wordsFor(parameters, nfdsSize);
      const call = lib.getFunction(symbol, {
        // One at the least is not passed on as it is: see `CALLS`.
        arguments: new Array(to.length === 1 ? 2 : to.length).fill("pointer"),
        return: RESULTS[result]!,
      });
      return (CALLS[to.length] ?? callAny)(call, ...to);
    });
  },

  size: BigInt,

  errnoAt(location): ArrayBuffer {
    const ffi = nodeFfi()!;
    errno = new Int32Array(
      ffi.toArrayBuffer(location as bigint, 4, false),
    );
    return errnoAfter.buffer;
  },

  watch(libc, fd): Watch | null {
    try {
      return new PipeWatch(libc, fd);
    } catch {
      return null;
    }
  },

  openPoll,

  runtime: "Node",

  // What comes of the first is ready for the second.
  turns: 2,

  nodeSocket(fd): net.Socket {
    const { Socket } = nodeProcess().getBuiltinModule("node:net");
    return new Socket({ fd, readable: true, writable: true });
  },

  permissions: nodePermissions(),
});

/** What is used of the handles that stand behind the sockets of `node:net`. */
interface PipeHandle {
  onread: () => void;
  open(fd: number): number;
  readStart(): number;
  readStop(): number;
  close(): void;
}

type PipeClass = new (type: number) => PipeHandle;

/** How many handles watch one descriptor by turns. */
const HANDLES = 3;

/**
 * Lets libuv read from the descriptor as it does from a pipe. An epoll
 * descriptor cannot be read: that the reading fails says that something is
 * ready.
 *
 * A wake takes 5 us more than a call that blocks, where a worker takes 130. All
 * of this is undocumented (Node 26.10), so the reactor looks by itself now and
 * then.
 */
class PipeWatch implements Watch {
  readonly #libc: Libc;
  /**
   * Three that take turns, each with a duplicate of its own: a handle that is
   * started again within its callback is stopped when that returns, and libuv
   * reports the one before it once more along with it.
   */
  readonly #handles: PipeHandle[] = [];
  readonly #fds: number[] = [];
  #turn = 0;
  #resolve: ((result: number) => void) | null = null;

  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    const Pipe = pipeClass(libc);
    for (let i = 0; i < HANDLES; i++) {
      const duplicate = libc.fcntl(fd, libc.abi.F_DUPFD_CLOEXEC, 0);
      if (duplicate < 0) break;
      const handle = new Pipe(0);
      if (handle.open(duplicate) !== 0) {
        libc.close(duplicate);
        break;
      }
      handle.onread = () => {
        // Else it could not be opened again.
        handle.readStop();
        this.#end(1);
      };
      this.#handles.push(handle);
      this.#fds.push(duplicate);
    }
    if (this.#handles.length === HANDLES) return;
    this.close();
    throw new Error("Cannot watch a descriptor as a pipe");
  }

  wait(): Promise<number> {
    this.#turn = (this.#turn + 1) % HANDLES;
    const handle = this.#handles[this.#turn]!;
    // The last failure has taken its readability away.
    const isWatched = handle.open(this.#fds[this.#turn]!) === 0 &&
      handle.readStart() === 0;
    if (!isWatched) return Promise.resolve(-1);
    return new Promise((resolve) => this.#resolve = resolve);
  }

  close(): void {
    for (const handle of this.#handles) handle.close();
    this.#handles.length = 0;
    this.#end(-1);
  }

  #end(result: number): void {
    const resolve = this.#resolve;
    this.#resolve = null;
    resolve?.(result);
  }
}

let pipe: PipeClass | null = null;

/** The class of the handles, which only a socket gives away. */
function pipeClass(libc: Libc): PipeClass {
  if (pipe !== null) return pipe;
  const fds = new Int32Array(new ArrayBuffer(8));
  if (libc.pipe(new Uint8Array(fds.buffer)) < 0) {
    throw new Error("Cannot open a pipe");
  }
  const { Socket } = nodeProcess().getBuiltinModule("node:net");
  let isTaken = false;
  try {
    const socket = new Socket({ fd: fds[0]! });
    isTaken = true;
    const { _handle } = socket as unknown as { _handle: object };
    pipe = _handle.constructor as PipeClass;
    socket.destroy();
    return pipe;
  } finally {
    if (!isTaken) libc.close(fds[0]!);
    libc.close(fds[1]!);
  }
}

/** What a thread runs, by its text: nothing of this file is in its sight. */
function openPoll(library: string, symbol: string, wide: boolean): Poll {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): NodeFfi };
  };
  const { lib } = process.getBuiltinModule("node:ffi").dlopen(library);
  const poll = lib.getFunction(symbol, {
    arguments: ["buffer", wide ? "uint64" : "uint32", "int32"],
    return: "int32",
  });
  return function (fds, count, timeout) {
    return poll(fds, wide ? BigInt(count) : count, timeout) as number;
  };
}

function nodeProcess(): NodeProcess {
  return (globalThis as unknown as { process: NodeProcess }).process;
}

/** Older releases have neither the module nor the function that loads it. */
function nodeFfi(): NodeFfi | undefined {
  return nodeProcess().getBuiltinModule?.("node:ffi");
}

/** What Node calls the error for what its permissions forbid. */
const DENIED = "ERR_ACCESS_DENIED";

/** A path that is too long for any socket, so that nothing is connected to. */
const OVERLONG_PATH = `/${"einprogress".repeat(100)}`;

/** Whether Node forbids nothing and only keeps a record, once that is known. */
let isAudited: boolean | null = null;

function hasNet(): boolean {
  const { permission } = nodeProcess();
  return permission === undefined || permission.has("net") ||
    (isAudited ??= asksForRecord());
}

/**
 * Whether `--permission-audit` is in force.
 *
 * It may come from the command line, from `NODE_OPTIONS` or from the parent of
 * a worker, and a program can change what it sees of those. What Node does with
 * an attempt that cannot succeed shows it.
 */
function asksForRecord(): boolean {
  const { Socket } = nodeProcess().getBuiltinModule("node:net");
  const socket = new Socket();
  socket.on("error", () => {});
  socket.connect(OVERLONG_PATH);
  const { errored } = socket as { errored?: { code?: unknown } | null };
  socket.destroy();
  return errored?.code !== DENIED;
}

/**
 * Node grants all of the net or nothing of it, sockets in the file system among
 * the rest: no rule for files touches those.
 */
function nodePermissions(): Permissions {
  function demand(resource: string): void {
    if (!hasNet()) throw accessDenied(resource);
  }
  return {
    net: hasNet,
    files: () => true,
    demandHost: demand,
    demandResolved: demand,
    demandPath(path) {
      demand(path);
      return path;
    },
    demandVsock: (cid, port) => demand(`vsock:${cid}:${port}`),
    demandAbstract: () => demand("abstract Unix sockets"),
    demandAll: () => demand("every address"),
  };
}

/** What `net.connect` reports, in Node's words. */
function accessDenied(resource: string): Error {
  const error = new Error(
    "Access to this API has been restricted. Use --allow-net to manage " +
      "permissions.",
  );
  const facts = { code: DENIED, permission: "Net", resource };
  return Object.assign(error, facts);
}
