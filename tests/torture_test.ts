/**
 * Every C call of every operation fails in turn, with several errnos, as curl's torture tests have it: nothing is lost, and each
 * error names the call that failed.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { readlinkSync } from "node:fs";
import { createServer, get } from "node:http";
import type * as net from "node:net";
import { join } from "node:path";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  capabilities,
  connect,
  connectSync,
  ErrnoError,
  explain,
  inet,
  type InetAddress,
  lookup,
  LookupError,
  lookupSync,
  Socket,
  tcpInfo,
  unix,
} from "../mod.ts";
import { agent, createConnection, undiciConnector } from "../src/node.ts";
import { ping, probe, trace, WaitError, waitFor } from "../src/tools.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  listen,
  tempFolder,
  useLibcWith,
} from "./_fixtures.ts";
import { needs, onLinux, RUNTIME, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();

/**
 * What the stack of an error has: this file, whose calls fail, or the module that calls an agent. Who reads or writes a stream
 * calls no function of ours.
 */
const CALLERS = /torture_test\.ts|\b_?http|streams\.ts/;

/** What any call may fail with, whatever it does. */
const CODES = ["ENOMEM", "EIO", "EPERM"] as const;

/** Calls that have no way to fail, or whose failure nobody could do anything about. */
const SPARED: ReadonlySet<string> = new Set<keyof Libc>([
  "addressOf",
  "free",
  "freeaddrinfo",
  "gai_cancel",
  "gai_error",
  "memcpyFrom",
  "memcpyTo",
  "prepare",
  "sched_yield",
]);

/** The C function behind a method. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  accept4: "accept",
  pollAsync: "poll",
};

/** What is done to a library: the call of that number fails, and what is open is counted. */
class Torture {
  /** The number of the call to fail, counted from 1; 0 for none. */
  at = 0;
  errno = 0;
  calls = 0;
  /** The C function that has failed. */
  failed: string | null = null;
  /** The sockets that the package has opened and not closed: what each descriptor leads to. */
  readonly #open = new Map<number, string>();

  /** The library, with what may fail failing. */
  fakes(): Partial<Libc> {
    const fakes: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(system)) {
      // The runtime's own loop is no function of C, and has no errno.
      if (typeof value !== "function" || name === "watchReadable") continue;
      const call = value as (...args: unknown[]) => unknown;
      fakes[name] = (...args: unknown[]): unknown =>
        this.#call(name, call, args);
    }
    return fakes as Partial<Libc>;
  }

  /** Makes the call of that number fail, from now on counted anew. */
  begin(at: number, errno: number): void {
    this.at = at;
    this.errno = errno;
    this.calls = 0;
    this.failed = null;
  }

  /** Lets nothing fail any more; returns how many sockets are lost, which it closes. */
  async end(): Promise<number> {
    this.at = 0;
    // A runtime closes what it was given in a turn of its own.
    for (let turn = 0; turn < TURNS && this.#lost().length > 0; turn++) {
      await pause(turn);
    }
    const lost = this.#lost();
    for (const fd of lost) system.close(fd);
    this.#open.clear();
    return lost.length;
  }

  /** What is still open, and is no other socket that has got the same number. */
  #lost(): number[] {
    return [...this.#open.keys()].filter((fd) =>
      linkOf(fd) === this.#open.get(fd)
    );
  }

  #opened(fd: number): void {
    this.#open.set(fd, linkOf(fd)!);
  }

  #call(
    name: string,
    call: (...args: unknown[]) => unknown,
    args: unknown[],
  ): unknown {
    if (name === "close") this.#open.delete(args[0] as number);
    // What warms up calls with a descriptor that fails anyway.
    const fails = args[0] === -1 || SPARED.has(name);
    if (!fails && ++this.calls === this.at) {
      this.failed = FUNCTIONS[name] ?? name;
      // On Linux a descriptor is closed also where close(2) reports an error.
      if (name === "close") call(...args);
      if (name === "malloc") return 0n;
      return name === "getaddrinfo"
        ? [abi.eais.EAI_SYSTEM!, this.errno]
        : name === "pollAsync" || name === "getaddrinfoAsync"
        ? Promise.resolve(-this.errno)
        : -this.errno;
    }
    const result = call(...args);
    // What the reactor opens stays open for the next who waits.
    const isOpened = name === "socket" || name === "accept4";
    if (isOpened && result as number >= 0) this.#opened(result as number);
    if (name === "socketpair" && result as number >= 0) {
      const { buffer } = args[3] as Uint8Array<ArrayBuffer>;
      for (const fd of new Int32Array(buffer, 0, 2)) this.#opened(fd);
    }
    return result;
  }
}

/** What a descriptor leads to, `null` if it is closed. */
function linkOf(fd: number): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return null;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Where operations go. */
interface Peers {
  readonly open: number;
  readonly refused: number;
  readonly silent: number;
  readonly path: string;
  /** Where something replies to HTTP. */
  readonly server: number;
}

type Operation = (peers: Peers) => unknown;

/** How many calls of an operation fail in turn: the others are looks at what is waited for. */
const MOST = 160;

/** How many of them fail with each errno in turn; the others, whose kind has been seen, with one. */
const ALL_CODES = 32;

/** Fewer, of what starts a thread each time. */
const FEWER: Readonly<Record<string, number>> = {
  "probe() on two threads": 4,
};

/** The longest that an operation waits, in ms. */
const TIMEOUT = 60;

/** The longest that it takes on a busy machine, in ms. */
const STUCK = 20_000;

/** How often it is looked whether a socket is closed, each time a ms later than before. */
const TURNS = 64;

const EXTRAS = {
  localAddress: "127.0.0.1",
  interface: "lo",
  socketOptions: { noDelay: true, keepAlive: { initialDelay: 1000 } },
} as const;

async function talk(socket: Socket): Promise<void> {
  try {
    await socket.ready("POLLOUT", { timeout: TIMEOUT });
    await socket.send(new Uint8Array(1), { timeout: TIMEOUT });
    await socket.recv(new Uint8Array(1), { timeout: 5 });
  } finally {
    socket.close();
  }
}

/** Waits for a socket of the runtime's to connect, and ends it. */
async function endWhenConnected(socket: net.Socket): Promise<void> {
  const closed = new Promise((resolve) => socket.once("close", resolve));
  try {
    await new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", resolve);
    });
  } finally {
    socket.destroy();
    await closed;
  }
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  "connectSync()": ({ open }) => connectSync({ port: open }).close(),
  "connectSync() with everything": ({ open }) =>
    connectSync({ port: open, timeout: TIMEOUT, ...EXTRAS }).close(),
  "connectSync(), refused": ({ refused }) => connectSync({ port: refused }),
  "connectSync(), too late": ({ silent }) =>
    connectSync({ port: silent, timeout: 5 }),
  "connectSync() to several": ({ refused, open }) =>
    connectSync({
      hostname: "two.test",
      addresses: ["127.0.0.2", "127.0.0.1"],
      port: open,
      // Where it ends before the second address is tried, only the first can say why.
      timeout: 10_000,
      onSocket: () => void refused,
    }).close(),
  "connectSync() from a range": ({ open }) =>
    connectSync({ port: open, localPortRange: [20_000, 20_100] }).close(),
  "connectSync() by name": ({ open }) =>
    connectSync({ hostname: "localhost", family: "inet", port: open }).close(),
  "connectSync() to a Unix socket": ({ path }) =>
    connectSync({ transport: "unix", path, timeout: TIMEOUT }).close(),
  "connect()": async ({ open }) => (await connect({ port: open })).close(),
  "connect() with everything": async ({ open }) =>
    (await connect({ port: open, timeout: TIMEOUT, ...EXTRAS })).close(),
  "connect(), refused": ({ refused }) => connect({ port: refused }),
  "connect(), too late": ({ silent }) => connect({ port: silent, timeout: 5 }),
  "connect() to several": async ({ open }) =>
    (await connect({
      hostname: "two.test",
      addresses: ["127.0.0.2", "127.0.0.1"],
      port: open,
      timeout: 10_000,
    })).close(),
  "connect() by name": async ({ open }) =>
    (await connect({
      hostname: "localhost",
      family: "inet",
      port: open,
      timeout: 10_000,
    })).close(),
  "connect() to a Unix socket": async ({ path }) =>
    (await connect({ transport: "unix", path, timeout: TIMEOUT })).close(),
  "Socket#connectSync()": ({ open }) => {
    using socket = Socket.open({ nonblocking: false });
    socket.connectSync(inet("127.0.0.1", open), { timeout: TIMEOUT });
  },
  "Socket#connect()": async ({ open }) => {
    using socket = Socket.open({ nonblocking: true });
    await socket.connect(inet("127.0.0.1", open), { timeout: TIMEOUT });
  },
  "Socket#connect(), too late": async ({ silent }) => {
    using socket = Socket.open();
    await socket.connect(inet("127.0.0.1", silent), { timeout: 5 });
  },
  "Socket#takeError() and another try": ({ refused }) => {
    using socket = Socket.open({ nonblocking: true });
    const address = inet("127.0.0.1", refused);
    socket.tryConnect(address);
    socket.poll("POLLOUT", TIMEOUT);
    socket.takeError();
    socket.connectSync(address);
  },
  "bind(), options and names": () => {
    using socket = Socket.open();
    socket.bind(inet("127.0.0.1", 0));
    socket.setOption("ttl", 5);
    socket.getOption("ttl");
    void socket.localAddress;
    void socket.remoteAddress;
    socket.disconnect();
  },
  "send() and recv()": async ({ open }) => {
    await talk(await connect({ port: open }));
  },
  "listen(), acceptSync() and accept()": async () => {
    using listener = Socket.open({ nonblocking: true });
    listener.bind(inet("127.0.0.1", 0));
    listener.listen(8);
    const { port } = listener.localAddress as InetAddress;
    using _one = connectSync({ port, timeout: TIMEOUT });
    listener.acceptSync({ timeout: TIMEOUT }).close();
    using _other = connectSync({ port, timeout: TIMEOUT });
    (await listener.accept({ timeout: TIMEOUT })).close();
  },
  "Socket.pair(), sendAll() and recvUntil()": async () => {
    const [one, other] = Socket.pair({ nonblocking: true });
    using _one = one;
    using _other = other;
    await one.sendAll("a line\n", { timeout: TIMEOUT });
    await other.recvUntil("\n", { timeout: TIMEOUT });
  },
  "sendSync() and recvSync()": () => {
    using one = Socket.open({ type: "dgram" });
    one.bind(inet("127.0.0.1", 0));
    one.sendSync(new Uint8Array(3), { to: one.localAddress });
    one.poll("POLLIN", TIMEOUT);
    one.recvFromSync(new Uint8Array(3));
    one.shutdown("both");
  },
  "recvFrom() and a message that is cut off": async () => {
    using one = Socket.open({ type: "dgram", nonblocking: true });
    one.bind(inet("127.0.0.1", 0));
    const { localAddress } = one;
    await one.send(new Uint8Array(3), { to: localAddress, timeout: TIMEOUT });
    await one.recvFrom(new Uint8Array(2), { timeout: TIMEOUT });
  },
  "write(), read(), recvExactly() and closeWrite()": async () => {
    const [one, other] = Socket.pair({ nonblocking: true });
    using _one = one;
    using _other = other;
    await one.write(new Uint8Array(3));
    await other.read(new Uint8Array(1));
    await other.recvExactly(2, { timeout: TIMEOUT });
    await one.closeWrite();
    await other.read(new Uint8Array(1));
  },
  "readable and writable": async () => {
    const [one, other] = Socket.pair({ nonblocking: true });
    using _one = one;
    using _other = other;
    const writer = one.writable.getWriter();
    writer.closed.catch(() => {});
    const reader = other.readable.getReader();
    reader.closed.catch(() => {});
    const read = reader.read();
    // Whatever fails, the other stream has to see an end.
    read.catch(() => one.close());
    await writer.write(new Uint8Array(3)).catch((error) => {
      one.close();
      throw error;
    }).finally(() => read.catch(() => {}));
    await writer.close();
    await reader.cancel();
  },
  "unref() while something waits": async () => {
    const [one, other] = Socket.pair({ nonblocking: true });
    using _one = one;
    using _other = other;
    const came = other.recv(new Uint8Array(1), { timeout: TIMEOUT });
    // It fails as well if what comes next fails.
    came.catch(() => {});
    other.unref();
    one.sendSync(new Uint8Array(1));
    await came;
  },
  "tcpInfo() and raw options": ({ open }) => {
    using socket = connectSync({ port: open, timeout: TIMEOUT });
    socket.tcpInfo();
    tcpInfo(socket.fd);
    socket.setOption(abi.SOL_SOCKET, abi.SO_LINGER, new Uint8Array(8));
    socket.getOption(abi.SOL_SOCKET, abi.SO_LINGER, 8);
    void socket.nonblocking;
    socket.nonblocking = !socket.nonblocking;
  },
  "detach() and fromFd()": async ({ open }) => {
    using socket = await connect({ port: open, timeout: TIMEOUT });
    await socket.ready("POLLOUT", { timeout: TIMEOUT });
    const fd = socket.detach();
    try {
      Socket.fromFd(fd).detach();
    } finally {
      libc().close(fd);
    }
  },
  "lookup()": async () => {
    await lookup("localhost", { timeout: 10_000 });
  },
  "lookupSync()": () => void lookupSync("localhost", { family: "inet" }),
  "toNodeSocket()": async ({ open }) => {
    using socket = await connect({ port: open, timeout: TIMEOUT });
    const theirs = socket.toNodeSocket();
    const closed = new Promise((resolve) => theirs.once("close", resolve));
    theirs.destroy();
    await closed;
  },
  ...RUNTIME === "bun"
    ? {
      "toBunSocket()": async ({ open }: Peers) => {
        using socket = await connect({ port: open, timeout: TIMEOUT });
        const theirs = await socket.toBunSocket({ data() {} });
        theirs.terminate();
      },
    }
    : {},
  "createConnection()": ({ open }) =>
    endWhenConnected(
      createConnection({ host: "127.0.0.1", port: open }, EXTRAS),
    ),
  "createConnection(), refused": ({ refused }) =>
    endWhenConnected(createConnection({ host: "127.0.0.1", port: refused })),
  "createConnection() by name": ({ open }) =>
    endWhenConnected(
      createConnection({ host: "localhost", family: 4, port: open }, {
        timeout: 10_000,
      }),
    ),
  "createConnection() to a Unix socket": ({ path }) =>
    endWhenConnected(createConnection({ path })),
  "agent()": async ({ server }) => {
    const special = agent({ timeout: 10_000 });
    try {
      await new Promise((resolve, reject) => {
        get({ port: server, host: "127.0.0.1", agent: special }, (response) => {
          response.resume().once("end", resolve);
        }).once("error", reject);
      });
    } finally {
      special.destroy();
    }
  },
  "undiciConnector()": async ({ open }) => {
    const target = {
      hostname: "127.0.0.1",
      protocol: "http:",
      port: `${open}`,
    };
    const socket = await new Promise<net.Socket>((resolve, reject) => {
      undiciConnector()(target, (error, socket) => {
        if (error !== null) reject(error);
        else resolve(socket);
      });
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.destroy();
    await closed;
  },
};

/** What reports failures as results: of those, only that nothing is lost. */
const TOOLS: Readonly<Record<string, Operation>> = {
  "capabilities()": () => void capabilities(),
  "explain()": async ({ refused }) => {
    try {
      await connect({ port: refused });
    } catch (error) {
      if (error instanceof ErrnoError) explain(error).toString();
      else throw error;
    }
  },
  "trace()": async ({ open }) => {
    for await (const _ of trace({ port: open }, { queries: 1, timeout: 20 }));
  },
  "trace(), refused": async ({ refused }) => {
    const target = { port: refused };
    for await (const _ of trace(target, { queries: 2, timeout: 20 }));
  },
  "ping()": async ({ open, refused }) => {
    const options = { count: 2, interval: 1, timeout: 20 };
    const targets = [{ port: open }, { port: refused }];
    for await (const _ of ping(targets, options));
  },
  "ping(), too late": async ({ silent }) => {
    const options = { count: 2, interval: 1, timeout: 5 };
    for await (const _ of ping({ port: silent }, options));
  },
  "probe() on two threads": async ({ refused }) => {
    let isBusy = false;
    const end = performance.now() + STUCK / 2;
    function* targets(): Generator<InetAddress> {
      do yield inet("127.0.0.1", refused); while (
        !isBusy && performance.now() < end
      );
    }
    const options = { timeout: 20, threads: 2, concurrency: 2 };
    const probing = probe(targets(), options);
    // A thread that is ended while it loads ends late on Deno.
    for await (const _ of probing) isBusy = probing.progress.concurrency > 1;
  },
  "probe() with onOpen": async ({ open }) => {
    const targets = [{ hostname: "127.0.0.1", port: open }];
    const onOpen = (socket: Socket) => socket.close();
    for await (const _ of probe(targets, { timeout: 20, onOpen }));
  },
  "probe() of a name": async ({ open }) => {
    const targets = [{ hostname: "localhost", port: open }];
    for await (const _ of probe(targets, { timeout: 20, allAddresses: true }));
  },
  "probe()": async ({ open, refused, silent }) => {
    const ports = [open, refused, silent];
    const targets = ports.map((port) => ({ hostname: "127.0.0.1", port }));
    for await (const _ of probe(targets, { timeout: 20 }));
  },
  "waitFor()": async ({ open, refused }) => {
    for (const port of [open, refused]) {
      try {
        await waitFor([{ port }], { timeout: 20, interval: 5 });
      } catch (error) {
        if (!(error instanceof WaitError)) throw error;
      }
    }
  },
};

/** What an operation ends by where no call has failed. */
async function run(
  operation: Operation,
  peers: Peers,
): Promise<ErrnoError | LookupError | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stuck = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("It never ends")), STUCK);
  });
  try {
    await Promise.race([operation(peers), stuck]);
    return null;
  } catch (error) {
    if (error instanceof ErrnoError || error instanceof LookupError) {
      return error;
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** A server of the runtime's that replies to HTTP. */
async function serve(): Promise<AsyncDisposable & { port: number }> {
  const server = createServer((_, response) => void response.end("hello"));
  await new Promise<void>((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve())
  );
  return {
    port: (server.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

for (const [name, operation] of Object.entries({ ...OPERATIONS, ...TOOLS })) {
  test(
    `${name}: whichever call fails, nothing is lost, and its error says so`,
    async () => {
      using folder = tempFolder();
      const path = join(folder.path, "s");
      using listener = listen({ backlog: 4096 });
      using local = listen({ at: unix(path), backlog: 4096 });
      using refuser = bound();
      using hole = blackHole();
      await using server = await serve();
      const peers: Peers = {
        open: listener.address.port,
        refused: refuser.address.port,
        silent: hole.address.port,
        path: local.address.path,
        server: server.port,
      };
      const torture = new Torture();
      const objections: string[] = [];
      let usual: string | undefined;
      {
        using _libc = useLibcWith(torture.fakes());
        usual = (await run(operation, peers))?.code;
        const count = torture.calls;
        for (let at = 1; at <= Math.min(count, FEWER[name] ?? MOST) + 2; at++) {
          for (const code of at <= ALL_CODES ? CODES : [CODES[at % 3]!]) {
            torture.begin(at, abi.errnos[code]!);
            const error = await run(operation, peers);
            const { failed } = torture;
            const lost = await torture.end();
            if (failed === null) continue;
            const expected = Object.hasOwn(TOOLS, name) ? null : failed;
            const objection = objectionTo(error, code, expected, usual);
            if (objection !== null) {
              objections.push(`call ${at}, ${failed} ${code}: ${objection}`);
            }
            if (lost > 0) {
              objections.push(`call ${at}, ${failed} ${code}: leaks`);
            }
          }
        }
      }
      assertEquals(objections, []);
    },
    { skip: needs(canBlackHole(), onLinux) },
  );
}

/** What is wrong about how an operation ended, one of whose calls has failed. */
function objectionTo(
  error: ErrnoError | LookupError | null,
  code: string,
  failed: string | null,
  usual: string | undefined,
): string | null {
  // Some calls only ask, and others do what they would have done.
  if (error === null) return null;
  const { stack = "" } = error;
  if (!CALLERS.test(stack)) return stack;
  if (error.code === usual || failed === null) return null;
  if (error instanceof LookupError) {
    return failed === "getaddrinfo" ? null : `${error}`;
  }
  if (error.code === "ETIMEDOUT" && error.timeoutKind === "deadline") {
    return null;
  }
  const each = [error, ...error.errors];
  return each.some((one) => one.code === code && one.syscall === failed)
    ? null
    : `${error} of ${error.syscall}`;
}
