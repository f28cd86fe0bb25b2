/**
 * Every C call of every operation fails in turn, with several errnos, as curl's torture tests have it: nothing is lost, and each
 * error names the call that failed.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  connect,
  connectSync,
  ErrnoError,
  inet,
  type InetAddress,
  LookupError,
  Socket,
  unix,
} from "../mod.ts";
import { probe, WaitError, waitFor } from "../src/tools.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  listen,
  tempFolder,
  useLibcWith,
} from "./_fixtures.ts";
import { needs, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();

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
  /** The sockets that the package has opened and not closed. */
  readonly open = new Set<number>();

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

  #call(
    name: string,
    call: (...args: unknown[]) => unknown,
    args: unknown[],
  ): unknown {
    if (name === "close") this.open.delete(args[0] as number);
    if (!SPARED.has(name) && ++this.calls === this.at) {
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
    if (isOpened && result as number >= 0) this.open.add(result as number);
    if (name === "socketpair" && result as number >= 0) {
      const { buffer } = args[3] as Uint8Array<ArrayBuffer>;
      for (const fd of new Int32Array(buffer, 0, 2)) this.open.add(fd);
    }
    return result;
  }
}

/** Where operations go. */
interface Peers {
  readonly open: number;
  readonly refused: number;
  readonly silent: number;
  readonly path: string;
}

type Operation = (peers: Peers) => unknown;

/** How many calls of an operation fail in turn: the others are looks at what is waited for. */
const MOST = 40;

/** The longest that an operation waits, in ms. */
const TIMEOUT = 60;

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
};

/** What reports failures as results: of those, only that nothing is lost. */
const TOOLS: Readonly<Record<string, Operation>> = {
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
  try {
    await operation(peers);
    return null;
  } catch (error) {
    if (error instanceof ErrnoError || error instanceof LookupError) {
      return error;
    }
    throw error;
  }
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
      const peers: Peers = {
        open: listener.address.port,
        refused: refuser.address.port,
        silent: hole.address.port,
        path: local.address.path,
      };
      const torture = new Torture();
      const objections: string[] = [];
      let usual: string | undefined;
      {
        using _libc = useLibcWith(torture.fakes());
        usual = (await run(operation, peers))?.code;
        const count = torture.calls;
        for (let at = 1; at <= Math.min(count, MOST) + 2; at++) {
          for (const code of CODES) {
            torture.at = at;
            torture.errno = abi.errnos[code]!;
            torture.calls = 0;
            torture.failed = null;
            const error = await run(operation, peers);
            torture.at = 0;
            const { failed } = torture;
            if (failed === null) continue;
            const objection = objectionTo(error, code, failed, usual);
            if (objection !== null && !Object.hasOwn(TOOLS, name)) {
              objections.push(`call ${at}, ${failed} ${code}: ${objection}`);
            }
            if (torture.open.size > 0) {
              objections.push(`call ${at}, ${failed} ${code}: leaks`);
              for (const fd of torture.open) system.close(fd);
              torture.open.clear();
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
  failed: string,
  usual: string | undefined,
): string | null {
  // Some calls only ask, and others do what they would have done.
  if (error === null || error.code === usual) return null;
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
