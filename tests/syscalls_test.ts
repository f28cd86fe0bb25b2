import { assertEquals } from "@std/assert";
import { canTrace, type ChildApi, traced } from "./_fixtures.ts";
import { canIpv6, test } from "./_harness.ts";

// A clock reads differently on every machine. How often the kernel is called is the same on all of them, and most of
// what a connect costs.

/**
 * How often each operation is done. What else a runtime calls in the meantime, on any of its threads, is too little to be
 * one call for each of so many.
 */
const MANY = 200;

/** What is traced: whatever is done to sockets, and all that could wait for them or wake who waits. */
const TRACED =
  "--trace=%network,close,dup,dup3,fcntl,ioctl,poll,ppoll,select," +
  "pselect6,/epoll_.*,eventfd2,read,write,readv,writev,nanosleep," +
  "clock_nanosleep,sched_yield";

/** Locks of files; sockets have none, but Deno's cache has. */
const IS_LOCK = /^fcntl\(\d+, F_(?:OFD_)?(?:SET|GET)LK/;

type Operation =
  | "tryConnect()"
  | "tryConnect(), refused"
  | "Socket#connectSync()"
  | "Socket#connectSync() that waits"
  | "connectSync()"
  | "connectSync() that waits"
  | "connectSync(), refused"
  | "connectSync() with a timeout"
  | "connectSync() over IPv6"
  | "connectSync() to a Unix socket"
  | "connect()"
  | "connect() over IPv6"
  | "connect(), refused"
  | "connect() to a Unix socket";

/**
 * The system calls of each operation, from socket(2) to close(2).
 *
 * getsockname(2) shows whether a connection is one to itself; getpeername(2) asks whether a handshake is done already,
 * which is left out where the attempt before it has failed; recvmsg(2) asks who refused, which is kept over IPv6 where
 * setsockopt(2) asks for it. A call that is to hear of soft errors, or that has a timeout, connects on a socket that does not
 * block, and fcntl(2) makes it a blocking one in the end.
 */
const CALLS: Readonly<Record<Operation, string>> = {
  "tryConnect()": "socket connect close",
  "tryConnect(), refused": "socket connect close",
  "Socket#connectSync()":
    "socket fcntl fcntl connect getpeername fcntl getsockname close",
  "Socket#connectSync() that waits": "socket connect getsockname close",
  "connectSync()": "socket connect getpeername fcntl getsockname close",
  "connectSync(), refused": "socket connect getsockopt recvmsg close",
  "connectSync() with a timeout":
    "socket connect getpeername fcntl getsockname close",
  "connectSync() that waits": "socket connect getsockname close",
  "connectSync() over IPv6":
    "socket setsockopt connect getpeername setsockopt fcntl getsockname close",
  "connectSync() to a Unix socket": "socket connect close",
  "connect()": "socket connect getpeername getsockname close",
  "connect() over IPv6":
    "socket setsockopt connect getpeername getsockname setsockopt close",
  "connect(), refused": "socket connect getsockopt recvmsg close",
  "connect() to a Unix socket": "socket connect close",
};

/** Those that can be done here. */
const NAMES = (Object.keys(CALLS) as Operation[])
  .filter((name) => !name.endsWith("IPv6") || canIpv6() === null);

test("operations make these system calls and no others", async () => {
  const { result, calls } = await traced([TRACED], operate, MANY, NAMES);
  // Each operation comes after a bind(2) of its own.
  const parts: string[][] = [[]];
  for (const line of calls) {
    if (line.startsWith("bind(")) parts.push([]);
    if (!IS_LOCK.test(line)) parts.at(-1)!.push(line);
  }
  const wanted = NAMES.map((name) => [name, CALLS[name].split(" ").sort()]);
  const found = result
    .map((name, i) => [name, callsForEach(parts.at(i - result.length)!)]);
  assertEquals(Object.fromEntries(found), Object.fromEntries(wanted));
}, { skip: canTrace() });

/** The system calls that come once for each operation, or more often, by name. */
function callsForEach(lines: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of lines) {
    const name = line.slice(0, line.indexOf("("));
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .flatMap(([name, count]) => Array(Math.round(count / MANY)).fill(name))
    .sort();
}

/** For a child: does everything so often, and returns in which order. */
async function operate(
  api: ChildApi,
  count: number,
  names: readonly Operation[],
): Promise<readonly Operation[]> {
  // How often everybody else is given a turn depends on the time that passes:
  // none does.
  Object.defineProperty(performance, "now", { value: () => 0 });
  const { bound, connect, connectSync, Errno, inet6 } = api;
  const { listen, Socket, tempFolder, unix } = api;
  using listener = listen({ backlog: 10 * count });
  using refuser = bound();
  using folder = tempFolder();
  const path = `${folder.path}/socket`;
  using _ = listen({ at: unix(path), backlog: 10 * count });
  using six = names.some((name) => name.endsWith("IPv6"))
    ? listen({ at: inet6("::1", 0), backlog: 10 * count })
    : null;
  const open6 = { hostname: "::1", port: six?.address.port ?? 0 };
  const open = { hostname: "127.0.0.1", port: listener.address.port };
  const closed = { hostname: "127.0.0.1", port: refuser.address.port };

  function refuse(error: unknown): void {
    if (!(error instanceof Errno.ECONNREFUSED)) throw error;
  }
  const operations: Record<Operation, () => void | Promise<void>> = {
    "tryConnect()": () => {
      using socket = Socket.open();
      if (socket.tryConnect(listener.address) !== 0) throw new Error();
    },
    "tryConnect(), refused": () => {
      using socket = Socket.open();
      if (socket.tryConnect(refuser.address) === 0) throw new Error();
    },
    "Socket#connectSync()": () => {
      using socket = Socket.open();
      socket.connectSync(listener.address);
    },
    "Socket#connectSync() that waits": () => {
      using socket = Socket.open();
      socket.connectSync(listener.address, { softErrors: "wait" });
    },
    "connectSync()": () => connectSync(open).close(),
    "connectSync(), refused": () => {
      try {
        connectSync(closed).close();
      } catch (error) {
        return refuse(error);
      }
      throw new Error();
    },
    "connectSync() with a timeout": () =>
      connectSync({ ...open, timeout: 1000 }).close(),
    "connectSync() that waits": () =>
      connectSync({ ...open, softErrors: "wait" }).close(),
    "connectSync() over IPv6": () => connectSync(open6).close(),
    "connectSync() to a Unix socket": () =>
      connectSync({ transport: "unix", path }).close(),
    "connect()": async () => (await connect(open)).close(),
    "connect() over IPv6": async () => (await connect(open6)).close(),
    "connect(), refused": () =>
      connect(closed).then(() => Promise.reject(new Error()), refuse),
    "connect() to a Unix socket": async () =>
      (await connect({ transport: "unix", path })).close(),
  };
  for (const name of names) {
    bound()[Symbol.dispose]();
    for (let i = 0; i < count; i++) await operations[name]();
  }
  return names;
}
