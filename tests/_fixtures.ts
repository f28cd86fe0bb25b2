/**
 * Peers, places and processes that tests need.
 *
 * Whatever a fixture opens, it closes at the end of its block. Peers are plain sockets of the C library, so that they work
 * while a call under test blocks the thread: only the children wait for an event loop.
 *
 * @module
 */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Door, Libc, Signature } from "../ffi/contract.ts";
import {
  currentAbi,
  doorFor,
  libc,
  openFunctions,
  useLibc,
} from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import type * as package_ from "../mod.ts";
import type * as tools_ from "../src/tools.ts";
import {
  type Address,
  bytesOf,
  decodeAddress,
  inet,
  type Inet6Address,
  type InetAddress,
  unix,
} from "../src/address/address.ts";
import { ErrnoError, isErrno } from "../src/errors/errors.ts";
import { Socket } from "../src/socket/socket.ts";
import { runtime } from "./_emulation.ts";
import { canIpv6, hasCommand, isRoot, needs, onLinux } from "./_harness.ts";

/** Milliseconds after which a peer or a child that does nothing counts as stuck. */
export const PATIENCE = 120_000;

const abi = currentAbi();

// Opened here, since what a test opens it has to close.

/** The system's C library, also while a fake is in force. */
const real: Libc = libc();
const extra: ExtraFunctions = openExtra(doorFor());
const time = newMemory(16);
const timeParts = new BigInt64Array(time.buffer);

/** The address that most tests need: IPv4 loopback, a port of the system's choice. */
const LOOPBACK: InetAddress = inet("127.0.0.1", 0);

/** The descriptors of a fixture and the address that they stand for. */
export interface Bound<A extends Address> extends Disposable {
  readonly fd: number;
  readonly address: A;
}

/** A socket that takes connections. */
export interface Listener<A extends Address> extends Bound<A> {
  /** Takes the next connection, for which it waits. */
  accept(): Socket;
  /** Takes the next connection and ends it by an RST. */
  reset(): void;
}

type SocketKind = "stream" | "dgram" | "seqpacket";

/** What a peer is made of. */
export interface PeerOptions<A extends Address> {
  /** Where; a port 0 leaves the choice to the system. */
  at?: A;
  /** @default {"stream"} */
  type?: SocketKind;
  /** @default {0} */
  protocol?: number;
}

/**
 * A socket that is bound and does not listen.
 *
 * A stream socket of this kind refuses each connect. Unlike a port that was bound and closed again, this one cannot become
 * somebody else's.
 */
export function bound<A extends Address = InetAddress>(
  {
    at = LOOPBACK as Address as A,
    type = "stream",
    protocol = 0,
  }: PeerOptions<A> = {},
): Bound<A> {
  const fd = real.socket(familyOf(at), typeOf(type), protocol);
  succeed("socket", fd);
  try {
    const bytes = bytesOf(at);
    succeed("bind", real.bind(fd, bytes, bytes.length));
    return {
      fd,
      address: nameOf(fd) as A,
      [Symbol.dispose]() {
        real.close(fd);
      },
    };
  } catch (error) {
    real.close(fd);
    throw error;
  }
}

/** A socket that listens; the kernel completes connections by itself, up to `backlog` and one more. */
export function listen<A extends Address = InetAddress>(
  { backlog = 128, ...options }: PeerOptions<A> & { backlog?: number } = {},
): Listener<A> {
  const peer = bound(options);
  succeed("listen", extra.listen(peer.fd, backlog));
  function accept(): Socket {
    waitFor(peer.fd);
    const fd = extra.accept(peer.fd, null, null);
    succeed("accept", fd);
    return Socket.fromFd(fd);
  }
  return {
    ...peer,
    accept,
    reset() {
      using socket = accept();
      socket.setOption("linger", 0);
    },
  };
}

/**
 * A listener whose backlog is full, so that no connect gets a reply: Linux drops the SYN, and a blocking connect of the
 * Unix-domain family waits. Each `accept()` makes room for one.
 */
export function blackHole<A extends Address = InetAddress>(
  options: PeerOptions<A> = {},
): Listener<A> {
  const listener = listen({ ...options, backlog: 0 });
  const filler = Socket.open({
    family: listener.address.family as "inet",
    type: options.type ?? "stream",
  });
  filler.connectSync(listener.address);
  // The client may be done before its last ACK has reached the backlog.
  waitFor(listener.fd);
  return {
    ...listener,
    [Symbol.dispose]() {
      filler.close();
      listener[Symbol.dispose]();
    },
  };
}

/** Two sockets that are closed together. */
export interface Pair extends Disposable {
  readonly near: Socket;
  readonly far: Socket;
}

/** Makes two sockets a pair. */
export function pairOf(near: Socket, far: Socket): Pair {
  return {
    near,
    far,
    [Symbol.dispose]() {
      near.close();
      far.close();
    },
  };
}

/** Two ends of a TCP connection. */
export function pair(): Pair {
  using listener = listen();
  const near = Socket.open();
  near.connectSync(listener.address);
  return pairOf(near, listener.accept());
}

/**
 * Two ends of a connection whose near one has no more room to send. In the Unix domain it stays so until somebody reads; in TCP
 * the other kernel makes room whenever it takes something over.
 */
export function fullPair(): Pair {
  const full = pairOf(...Socket.pair());
  const data = new Uint8Array(1 << 20);
  try {
    for (;;) full.near.sendSync(data, { flags: abi.MSG_DONTWAIT });
  } catch (error) {
    if (!isErrno(error, "EAGAIN")) throw error;
  }
  return full;
}

/** A port that was free a moment ago. */
export function freePort(): number {
  using peer = bound();
  return peer.address.port;
}

/** `null` where a full backlog drops SYNs, else a reason to skip. */
export function canBlackHole(): string | null {
  return abi.os === "linux"
    ? null
    : `${abi.os} may reply when a backlog is full`;
}

/** Two connected sockets in the Unix domain. */
export function socketPair(type: number): [one: number, other: number] {
  const fds = newMemory(8);
  const flags = type | (abi.SOCK_CLOEXEC ?? 0);
  succeed("socketpair", extra.socketpair(abi.AF_UNIX, flags, 0, fds));
  const view = new DataView(fds.buffer);
  return [
    view.getInt32(0, abi.littleEndian),
    view.getInt32(4, abi.littleEndian),
  ];
}

/** A new folder for sockets, gone with all that is in it at the end of the block. */
export function tempFolder(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), "einprogress-"));
  return {
    path,
    [Symbol.dispose]() {
      rmSync(path, { recursive: true });
    },
  };
}

/** Listeners that nobody but their owner reaches: one by its own rights, one by its folder's. */
export function lockedSockets(): Disposable & { paths: readonly string[] } {
  using made = new DisposableStack();
  const { path } = made.use(tempFolder());
  chmodSync(path, 0o755);
  const closed = join(path, "closed");
  mkdirSync(closed, { mode: 0o700 });
  const paths = [join(path, "locked"), join(closed, "s")];
  for (const path of paths) made.use(listen({ at: unix(path) }));
  return Object.assign(made.move(), { paths });
}

/** A call of the C library: its name, and what it was given. */
export interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** The C library under observation. */
export interface Watched extends Disposable {
  /** Every call, in order. */
  readonly calls: readonly Call[];
  /** The names of the calls, those that only asked for descriptor flags left out. */
  readonly names: readonly string[];
  /** How often a function was called. */
  count(name: keyof Libc): number;
}

/** A C library that resolves names by getaddrinfo(3) alone, and has no hosts file. */
export const PLAIN_RESOLVER: Partial<Libc> = {
  getaddrinfo_a: () => -abi.errnos.ENOSYS,
  open: () => -abi.errnos.ENOENT,
};

/** Puts functions in the place of the system's until disposed. */
export function useLibcWith(fakes: Partial<Libc>): Disposable {
  return useLibc({ ...real, ...fakes });
}

/**
 * Watches every call of the C library until disposed, and puts those of `fakes` in the place of the system's. Where they resolve
 * names, nothing else does.
 */
export function watchLibc(fakes: Partial<Libc> = {}): Watched {
  const calls: Call[] = [];
  const watched: Record<string, unknown> = {};
  const resolves = "getaddrinfo" in fakes || "getaddrinfoAsync" in fakes;
  const others = resolves ? { ...real, ...PLAIN_RESOLVER } : real;
  for (const [name, value] of Object.entries({ ...others, ...fakes })) {
    watched[name] = typeof value !== "function"
      ? value
      : (...args: unknown[]): unknown => {
        calls.push({ name, args });
        return (value as (...args: unknown[]) => unknown)(...args);
      };
  }
  const use = useLibc(watched as unknown as Libc);
  return {
    calls,
    get names() {
      return calls.map(({ name }) => name);
    },
    count(name) {
      return calls.filter((call) => call.name === name).length;
    },
    [Symbol.dispose]() {
      use[Symbol.dispose]();
    },
  };
}

/** Makes an empty message one that recvmsg(2) has taken from a socket's queue of errors, as the kernel marks it. */
export function fromErrorQueue(message: Uint8Array): void {
  const { errorQueue, littleEndian } = abi;
  if (errorQueue === null) return;
  const { msghdr, MSG_ERRQUEUE } = errorQueue;
  new DataView(message.buffer, message.byteOffset)
    .setInt32(msghdr.flags, MSG_ERRQUEUE, littleEndian);
}

/** What a system does that has no IPv6, and one whose IPv6 is switched off. */
export const WITHOUT_IPV6: readonly Partial<Libc>[] = [
  {
    socket: (domain, type, protocol) =>
      domain === abi.AF_INET6
        ? -abi.errnos.EAFNOSUPPORT!
        : real.socket(domain, type, protocol),
  },
  {
    bind: (fd, address, length) =>
      length === abi.sockaddrIn6.size
        ? -abi.errnos.EADDRNOTAVAIL!
        : real.bind(fd, address, length),
  },
];

/** Ways to connect that leave the choice of the local port to the system. */
export const UNBOUND: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { timeout: PATIENCE },
  { localAddress: "127.0.0.1" },
  { localPort: 0 },
  { onSocket: (socket: Socket) => socket.bind(LOOPBACK) },
  { hostname: "localhost", family: "inet" },
  ...canIpv6() === null ? [{ hostname: "::1" }] : [],
];

/** The parts of a C library whose first connection meets itself and holds the only port from then on. */
export function holdsOnlyPort(): Partial<Libc> {
  let target: Uint8Array | null = null;
  const name = (_: number, room: Uint8Array): number => {
    if (target === null) return -abi.errnos.ENOTCONN!;
    room.set(target);
    return target.length;
  };
  return {
    connect(_, address, length) {
      if (address[0] === abi.AF_UNSPEC) return 0;
      if (target !== null) return -abi.errnos.EADDRNOTAVAIL!;
      target = address.slice(0, length);
      return 0;
    },
    bind: (fd, address, length) =>
      target === null
        ? real.bind(fd, address, length)
        : -abi.errnos.EADDRINUSE!,
    getsockname: name,
    getpeername: name,
  };
}

/** The parts of a C library that resolve every name to these addresses. */
export function fakeResolver(
  addresses: readonly (InetAddress | Inet6Address)[],
): Pick<Libc, "getaddrinfo" | "memcpyFrom" | "freeaddrinfo"> {
  const { addrinfo, littleEndian } = abi;
  // Nobody but the fakes ever follows these pointers.
  const memory = new Map<bigint, Uint8Array>();
  for (const [index, address] of addresses.entries()) {
    const entry = newMemory(addrinfo.size);
    const view = new DataView(entry.buffer);
    const bytes = bytesOf(address);
    const at = entryAt(index);
    const next = index + 1 < addresses.length ? entryAt(index + 1) : 0n;
    view.setInt32(addrinfo.family, familyOf(address), littleEndian);
    if (addrinfo.addrlenSize === 8) {
      view.setBigUint64(addrinfo.addrlen, BigInt(bytes.length), littleEndian);
    } else {
      view.setUint32(addrinfo.addrlen, bytes.length, littleEndian);
    }
    view.setBigUint64(addrinfo.addr, at + 1n, littleEndian);
    view.setBigUint64(addrinfo.next, next, littleEndian);
    memory.set(at, entry);
    memory.set(at + 1n, bytes);
  }
  return {
    getaddrinfo(_node, _hints, result) {
      new DataView(result.buffer, result.byteOffset)
        .setBigUint64(0, entryAt(0), littleEndian);
      return [0, 0];
    },
    memcpyFrom(target, source, length) {
      target.set(memory.get(source)!.subarray(0, length));
    },
    freeaddrinfo() {},
  };
}

function entryAt(index: number): bigint {
  return BigInt(2 * index + 2);
}

/**
 * Sends SIGALRM to this process again and again, to a handler that lets it interrupt system calls.
 *
 * For a child's own use: the handler stays. It is the C library's `abs`, which takes an int, as handlers do, and does nothing.
 */
export function stormOfSignals(interval: number): Disposable {
  const { dlsym, signal, siginterrupt, setitimer } = extra;
  const SIGALRM = 14;
  const ITIMER_REAL = 0;
  const self = doorFor().size?.(0) ?? 0;
  const handler = dlsym(self, new TextEncoder().encode("abs\0"));
  signal(SIGALRM, handler);
  succeed("siginterrupt", siginterrupt(SIGALRM, 1));
  function every(milliseconds: number): void {
    const times = new BigInt64Array(new ArrayBuffer(32));
    times[1] = times[3] = BigInt(milliseconds * 1000);
    const bytes = new Uint8Array(times.buffer);
    succeed("setitimer", setitimer(ITIMER_REAL, bytes, null));
  }
  every(interval);
  return {
    [Symbol.dispose]() {
      every(0);
    },
  };
}

/** Gives up the superuser's rights, for good: for a child's own use. */
export function becomeNobody(): void {
  const NOBODY = 65_534;
  process.setgid!(NOBODY);
  process.setuid!(NOBODY);
}

/** What a child reports of an error: its code, or the whole error if it is not this package's. */
export function verdict(error: unknown): string {
  return error instanceof ErrnoError ? error.code : `${error}`;
}

/** The package and these fixtures, as a child sees them. */
export type ChildApi =
  & typeof package_
  & typeof tools_
  & typeof import("./_fixtures.ts")
  & { readonly cli: typeof import("../src/cli.ts").main };

/** What goes through JSON unharmed. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/**
 * A function that runs in another process. Its text is sent there, so it sees its parameters and what is global, and nothing of
 * the file that it stands in.
 */
export type ChildBody<A extends readonly Json[], R> = (
  api: ChildApi,
  ...args: A
) => R | Promise<R>;

/** Where a child runs. */
export interface Surroundings {
  /** A command and its arguments that the child's own follow. */
  command?: readonly string[];
  /**
   * Shell commands that furnish a network and mount namespace of the child's own. Loopback is up in it, nothing leads out of it,
   * and it is gone when the child is.
   */
  namespace?: string;
}

/**
 * Makes the runtime open at once what it would open by itself later on. Deno does so for signals half a second after its start,
 * and dies if there is no descriptor for it (2.9).
 */
export function listenToSignals(): void {
  function ignore(): void {}
  process.on("SIGUSR2", ignore).off("SIGUSR2", ignore);
}

/** Runs a function in another process, and returns its result. */
export async function inChild<A extends readonly Json[], R>(
  { command = [], namespace }: Surroundings,
  body: ChildBody<A, R>,
  ...args: A
): Promise<R> {
  const isolate = namespace === undefined
    ? []
    : [...ISOLATED_SHELL, `${FURNISH}${namespace}\nexec "$@"`, "sh"];
  const script = `
    const api = {
      ...await import(${JSON.stringify(import.meta.resolve("../mod.ts"))}),
      ...await import(${
    JSON.stringify(import.meta.resolve("../src/tools.ts"))
  }),
      ...await import(${JSON.stringify(import.meta.url)}),
      cli: (await import(${
    JSON.stringify(import.meta.resolve("../src/cli.ts"))
  })).main,
    };
    const body = ${body};
    const result = await body(api, ...${JSON.stringify(args)});
    // Not through the runtime's streams: Node asks the kernel what kind of
    // socket they are, and a trace may tamper with what it returns.
    const { writeSync } = await import("node:fs");
    writeSync(1, "\\n" + JSON.stringify({ result }) + "\\n");
  `;
  const start = "Deno" in globalThis || "Bun" in globalThis ? interpreter() : [
    "sh",
    "-c",
    'exec "$0" "$@" --eval "$(cat)"',
    ...interpreter().slice(0, -1),
  ];
  const output = await run([...isolate, ...command, ...start], script);
  const line = output.trimEnd().split("\n").at(-1)!;
  return (JSON.parse(line) as { result: R }).result;
}

const ISOLATED_SHELL = ["unshare", "--net", "--mount", "sh", "-ec"];
const FURNISH = "ip link set lo up\n";

/** `null` where {@linkcode Surroundings.namespace} works, else a reason to skip. */
export function canIsolate(): string | null {
  return needs(isRoot(), hasCommand("unshare"), hasCommand("ip")) ??
    works([...ISOLATED_SHELL, FURNISH], "needs namespaces of its own");
}

/** `null` where these commands furnish a namespace, else a reason to skip: a kernel may lack what they ask for. */
export function canFurnish(namespace: string, what: string): string | null {
  return canIsolate() ??
    works([...ISOLATED_SHELL, FURNISH + namespace], `needs ${what}`);
}

/** `null` where a namespace can have a firewall, else a reason to skip. */
export function canFilter(): string | null {
  return needs(canIsolate(), hasCommand("nft")) ??
    canFurnish("nft add table inet t", "a kernel with nftables");
}

/** `null` where a namespace can have links of its own, else a reason to skip. */
export function canLink(): string | null {
  return canFurnish(
    "ip link add v0 type veth peer name v1",
    "a kernel with veth",
  );
}

/** `null` where the C library has threads of its own for names, which can be called off; musl has none. */
export function canCallOffNames(): string | null {
  const { gaicb } = abi;
  return gaicb !== null &&
      real.getaddrinfo_a(gaicb.GAI_NOWAIT, new Uint8Array(8), 0, null) === 0
    ? null
    : "is for a C library with getaddrinfo_a(3)";
}

/** `null` where {@linkcode traced} works, else a reason to skip. */
export function canTrace(): string | null {
  return hasCommand("strace") ??
    works(["strace", "-qq", "-o", "/dev/null", "true"], "needs ptrace(2)");
}

/** A system call by its number on x64 and on arm64, and what its first argument has to be, if that counts. */
export interface Refused {
  readonly x64: number;
  readonly arm64: number;
  readonly first?: number;
}

/**
 * What to put before a command so that the kernel fails some of its system calls, as a sandbox has it: a filter of seccomp(2).
 * The machine's own processor counts, where the runtime's is emulated. The
 * names of the numbers are in <linux/filter.h>, <linux/seccomp.h> and <linux/prctl.h>.
 */
export function refusing(
  { x64, arm64, first }: Refused,
  errno: number,
): string[] {
  return [
    "python3",
    "-c",
    `
import ctypes, os, platform, struct, sys
LD, JEQ, RET = 0x20, 0x15, 0x06
number = ${arm64} if platform.machine() == "aarch64" else ${x64}
first = ${first ?? "None"}
skip = 0 if first is None else 2
code = [(LD, 0, 0, 0), (JEQ, 0, 1 + skip, number)]
if first is not None: code += [(LD, 0, 0, 16), (JEQ, 0, 1, first)]
code += [(RET, 0, 0, 0x50000 | ${errno}), (RET, 0, 0, 0x7fff0000)]
text = b"".join(struct.pack("HBBI", *one) for one in code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
program = Program(len(code), text)
libc = ctypes.CDLL(None)
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) != 0: sys.exit(1)
if libc.prctl(SECCOMP, FILTER, ctypes.byref(program)) != 0: sys.exit(1)
os.execvp(sys.argv[1], sys.argv[1:])
`,
  ];
}

/** `null` where {@linkcode refusing} works, else a reason to skip. */
export function canRefuse(): string | null {
  const harmless = { x64: 0xffff, arm64: 0xffff };
  return needs(onLinux, hasCommand("python3")) ??
    works([...refusing(harmless, 1), "true"], "needs seccomp(2)");
}

/** A container may have a command and forbid what it does. */
function works([command, ...args]: string[], reason: string): string | null {
  // Bun closes the ends of its pipes some time later, within another test.
  const { status } = spawnSync(command!, args, { stdio: "ignore" });
  return status === 0 ? null : reason;
}

/** The processor time that this thread has taken so far, in ms; Linux numbers its clocks so in <time.h>. */
export function threadTime(): number {
  const CLOCK_THREAD_CPUTIME_ID = 3;
  succeed("clock_gettime", extra.clock_gettime(CLOCK_THREAD_CPUTIME_ID, time));
  return Number(timeParts[0]!) * 1e3 + Number(timeParts[1]!) / 1e6;
}

/** What a child did, besides what it returned. */
export interface Trace<R> {
  readonly result: R;
  /** The system calls that were traced, a line of strace for each. */
  readonly calls: readonly string[];
}

/** Runs a function in another process under strace with these arguments: `"--trace=connect"`, `"--inject=connect:error=ENETDOWN"`. */
export async function traced<A extends readonly Json[], R>(
  strace: readonly string[],
  body: ChildBody<A, R>,
  ...args: A
): Promise<Trace<R>> {
  using folder = tempFolder();
  const file = join(folder.path, "trace");
  const command = ["strace", "-f", "-qq", "-o", file, ...strace];
  const result = await inChild({ command }, body, ...args);
  const calls = readFileSync(file, "utf8").split("\n")
    .map((line) => line.replace(/^\d+ +/, ""))
    .filter((line) => /^\w+\(/.test(line));
  return { result, calls };
}

/** The command that runs a module from its standard input. */
export function interpreter(): string[] {
  if ("Deno" in globalThis) {
    // A cache that other processes write to meanwhile has crashed Deno 2.9.6.
    const flags = ["-A", "--no-config", "--no-code-cache", "--quiet"];
    return [runtime, "run", ...flags, "--v8-flags=--expose-gc", "-"];
  }
  if ("Bun" in globalThis) return [runtime, "--expose-gc", "run", "-"];
  const flags = ["--expose-gc", "--no-warnings", "--input-type=module"];
  return [runtime, ...flags, "-"];
}

function run([command, ...args]: string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command!, args, {
      stdio: ["pipe", "pipe", "pipe"],
      timeout: PATIENCE,
      killSignal: "SIGKILL",
    });
    const output = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text) => {
        output[stream] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(output.stdout);
      else {
        const end = `${signal ?? `code ${code}`}: ${output.stderr}`;
        reject(new Error(`The child ended by ${end}`));
      }
    });
    child.stdin.end(input);
  });
}

/** C functions that the package has no use for. */
interface ExtraFunctions {
  accept(fd: number, address: null, length: null): number;
  clock_gettime(id: number, time: Uint8Array): number;
  dlsym(handle: number | bigint, name: Uint8Array): bigint;
  listen(fd: number, backlog: number): number;
  setitimer(which: number, value: Uint8Array, old: null): number;
  siginterrupt(signal: number, flag: number): number;
  signal(signal: number, handler: bigint): bigint;
  socketpair(
    domain: number,
    type: number,
    protocol: number,
    fds: Uint8Array,
  ): number;
}

function openExtra(door: Door): ExtraFunctions {
  const signatures: Record<keyof ExtraFunctions, Signature> = {
    accept: { parameters: ["int", "buffer", "buffer"], result: "int" },
    clock_gettime: { parameters: ["int", "buffer"], result: "int" },
    dlsym: { parameters: ["size", "buffer"], result: "address" },
    listen: { parameters: ["int", "int"], result: "int" },
    setitimer: { parameters: ["int", "buffer", "buffer"], result: "int" },
    siginterrupt: { parameters: ["int", "int"], result: "int" },
    signal: { parameters: ["int", "address"], result: "address" },
    socketpair: {
      parameters: ["int", "int", "int", "buffer"],
      result: "int",
    },
  };
  const declarations = Object.entries(signatures)
    .map(([entry, { parameters, result }]) => ({
      entry,
      symbol: entry,
      parameters,
      result,
      offThread: false,
    }));
  for (const name of door.openable(abi.libraries)) {
    try {
      return openFunctions(abi, door, name, declarations);
    } catch {
      // The next name may be the one.
    }
  }
  throw new Error("Cannot open the C library for fixtures");
}

function waitFor(fd: number): void {
  const pollfd = newMemory(abi.pollfd.size);
  const view = new DataView(pollfd.buffer);
  view.setInt32(abi.pollfd.fd, fd, abi.littleEndian);
  view.setInt16(abi.pollfd.events, abi.POLLIN, abi.littleEndian);
  const result = real.poll(pollfd, 1, PATIENCE);
  if (result !== 1) throw new Error(`No connection came: ${result}`);
}

function nameOf(fd: number): Address {
  const bytes = newMemory(128);
  const length = real.getsockname(fd, bytes);
  succeed("getsockname", length);
  return decodeAddress(bytes, length);
}

function familyOf({ family }: Address): number {
  switch (family) {
    case "inet":
      return abi.AF_INET;
    case "inet6":
      return abi.AF_INET6;
    case "unix":
      return abi.AF_UNIX;
    default:
      throw new Error(`No fixture is for the family ${family}`);
  }
}

function typeOf(type: SocketKind): number {
  const number = {
    stream: abi.SOCK_STREAM,
    dgram: abi.SOCK_DGRAM,
    seqpacket: abi.SOCK_SEQPACKET,
  }[type];
  return number | (abi.SOCK_CLOEXEC ?? 0);
}

function succeed(call: string, result: number): void {
  if (result < 0) throw new Error(`${call} of a fixture failed: ${result}`);
}
