/**
 * Every errno that a system's page of connect documents, on its way to the caller.
 *
 * Most are provoked: the kernel returns them because of routes, firewalls, full queues, forged packets and the like. For
 * those that this kernel does not return here, strace replaces its result. What other systems return comes
 * from a C library of plain functions with that system's table.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Abi, ErrnoCode, Os } from "../ffi/abi.ts";
import { abiFor } from "../ffi/systems.ts";
import type { Libc } from "../ffi/contract.ts";
import {
  connect,
  connectSync,
  Errno,
  ErrnoError,
  errnoName,
  inet,
  isErrno,
  Socket,
  unix,
} from "../mod.ts";
import { CATALOG } from "../src/explain/catalog.ts";
import { outcome } from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canFilter,
  canIsolate,
  canTrace,
  type ChildApi,
  inChild,
  lockedSockets,
  tempFolder,
  traced,
  watchLibc,
} from "./_fixtures.ts";
import { hasCommand, isRoot, needs, onLinux, test } from "./_harness.ts";
import {
  FIREWALL,
  FIREWALL6,
  REJECTED,
  REJECTED6,
  ROUTES,
} from "./_networks.ts";

const CODES = Object.keys(CATALOG) as ErrnoCode[];
const LIBC = import.meta.resolve("../ffi/libc.ts");

/** The ways from connect(2) to a caller. */
const WAYS = [
  "connectSync",
  "connect",
  "Socket#connectSync",
  "Socket#connect",
  "tryConnect",
] as const;
type Way = (typeof WAYS)[number];

/** One failure that can be had. */
type Row = {
  code: ErrnoCode;
  /** What brings it about. */
  by: string;
  /** @default {"127.0.0.1"} */
  hostname?: string;
  /** Who is at the port: one who listens, one whose queue is full, or nobody. */
  peer?: "listener" | "hole" | "nobody";
  /** Instead of a host and a port. */
  path?: string;
  /** What is done with the socket before connect(2). */
  before?: string;
  /** What connect(2) is given instead of the address. */
  instead?: "null" | "short" | "strange";
  type?: "dgram";
  /** @default {all of them} */
  ways?: Way[];
};

/** What came of a row by one way: the code, or what was wrong. */
type Ending = [row: number, way: string, code: string];

/** Answers each SYN for 127.TYPE.CODE.x by that ICMP message, and for 127.99.x.x by SYN and RST. */
function forge(
  { inet, Socket }: ChildApi,
  stop: Int32Array,
  ready: () => void,
): void {
  using ears = Socket.open({ type: "raw", protocol: "tcp" });
  using mouth = Socket.open({ type: "raw", protocol: "icmp" });
  const buffer = new Uint8Array(2048);
  const sum = (bytes: Uint8Array): number => {
    let total = 0;
    for (let i = 0; i < bytes.length; i += 2) {
      total += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
    }
    while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
    return ~total & 0xffff;
  };
  ready();
  while (Atomics.load(stop, 0) === 0) {
    if (ears.poll("POLLIN", 50).length === 0) continue;
    const packet = buffer.slice(0, ears.recvSync(buffer));
    const segment = packet.subarray((packet[0]! & 15) * 4);
    const [, type, code] = packet.subarray(16, 20);
    if ((segment[13]! & 0x12) !== 0x02 || type === 0) continue;
    // A message that comes while connect(2) still holds the socket counts less.
    Atomics.wait(stop, 0, 0, 5);
    const to = inet(packet.subarray(12, 16).join("."), 0);
    if (type !== 99) {
      const message = new Uint8Array(8 + 28);
      message.set([type!, code!]);
      message.set(packet.subarray(0, 20), 8);
      message.set(segment.subarray(0, 8), 28);
      new DataView(message.buffer).setUint16(2, sum(message));
      mouth.sendSync(message, { to });
      continue;
    }
    using other = Socket.open({ type: "raw", protocol: "tcp" });
    other.bind(inet(packet.subarray(16, 20).join("."), 0));
    for (const [flags, sequence] of [[0x02, 1000], [0x04, 1001]] as const) {
      // The addresses, the protocol and the length are summed up as well.
      const forged = new Uint8Array(12 + 20);
      const view = new DataView(forged.buffer);
      forged.set(packet.subarray(16, 20), 0);
      forged.set(packet.subarray(12, 16), 4);
      view.setUint16(8, 6);
      view.setUint16(10, 20);
      forged.set(segment.subarray(2, 4), 12);
      forged.set(segment.subarray(0, 2), 14);
      view.setUint32(16, sequence);
      forged.set([0x50, flags, 0xff, 0xff], 24);
      view.setUint16(28, sum(forged));
      other.sendSync(forged.subarray(12), { to });
    }
  }
}

/** Goes every way of every row. */
async function everyWay(
  api: ChildApi,
  rows: Row[],
  libcUrl: string,
  forge: string,
): Promise<Ending[]> {
  const { connect, connectSync, Errno, ErrnoError, errnoName, isErrno } = api;
  const { blackHole, bound, inet, listen, Socket, unix, watchLibc } = api;
  const system = (await import(libcUrl)).libc();
  const { execFileSync } = await import("node:child_process");
  const { readdirSync, readlinkSync, writeFileSync } = await import("node:fs");
  const F_DUPFD = 0;
  /** Any descriptor that is no socket, and every runtime polls. */
  const file = readdirSync("/proc/self/fd").map(Number).find(isEpoll);
  function isEpoll(fd: number): boolean {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("eventpoll");
    } catch {
      return false;
    }
  }
  // A black hole for the whole of 127.0.0.0/8: whatever replies is forged.
  using hole = blackHole({ at: inet("0.0.0.0", 0) });
  using listener = listen();
  using nobody = bound();
  const peers = { hole, listener, nobody };
  const kept: Disposable[] = [];

  const stop = new Int32Array(new SharedArrayBuffer(4));
  if (rows.some(({ hostname }) => /^127\.[1-9]/.test(hostname ?? ""))) {
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const script = `
      const { parentPort, workerData } = process.getBuiltinModule(
        "node:worker_threads",
      );
      import(${JSON.stringify(libcUrl.replace("ffi/libc.ts", "mod.ts"))})
        .then((api) => {
          (${forge})(api, workerData, () => parentPort.postMessage("ready"));
        });`;
    const forger = new Worker(script, { eval: true, workerData: stop });
    await new Promise((resolve, reject) => {
      forger.once("message", resolve).once("error", reject);
    });
  }

  let devices = 0;
  const BEFORE: Record<string, (socket: Socket) => void> = {
    connected: (socket) => socket.tryConnect(listener.address),
    pending: (socket) => {
      socket.nonblocking = true;
      socket.tryConnect(inet("127.0.0.9", hole.address.port));
    },
    nonblocking: (socket) => socket.nonblocking = true,
    closed: (socket) => system.close(socket.fd),
    file: (socket) => {
      system.close(socket.fd);
      system.fcntl(file, F_DUPFD, socket.fd);
    },
    gone: (socket) => {
      const name = `gone${devices++}`;
      execFileSync("ip", ["link", "add", name, "type", "veth"]);
      socket.setOption("interface", name);
      execFileSync("ip", ["link", "del", name]);
    },
    impatient: (socket) => socket.setOption("userTimeout", 1),
    signed: (socket) => {
      socket.setOption("userTimeout", 1);
      socket.setOption("md5", { address: listener.address, key: "secret" });
    },
    exhausted: () => {
      const file = "/proc/sys/net/ipv4/ip_local_port_range";
      writeFileSync(file, "40000 40001");
      const { port } = listener.address;
      for (let i = 0; i < 10; i++) {
        try {
          kept.push(connectSync({ port }));
        } catch (error) {
          if (isErrno(error, "EADDRNOTAVAIL")) return;
          throw error;
        }
      }
    },
  };
  const INSTEAD = {
    null: (_address: Uint8Array) => null,
    short: (address: Uint8Array) => address.subarray(0, 3),
    strange: (address: Uint8Array) => {
      const bytes = new Uint8Array(new ArrayBuffer(address.length));
      bytes.set(address);
      bytes[0] = 99; // the family
      return bytes;
    },
  };

  const endings: Ending[] = [];
  for (const [index, row] of rows.entries()) {
    const { hostname = "127.0.0.1", peer = "hole", path, before } = row;
    const { port } = peers[peer].address;
    const target = path === undefined
      ? { hostname, port }
      : { transport: "unix", path } as const;
    const address = path === undefined ? inet(hostname, port) : unix(path);
    const onSocket = BEFORE[before ?? ""] ?? (() => {});
    const open = (): Socket => {
      const { family } = address;
      const socket = Socket.open({ family, type: row.type ?? "stream" });
      onSocket(socket);
      kept.push(socket);
      return socket;
    };
    const taken = before === "taken"
      ? { localAddress: "127.0.0.1", localPort: nobody.address.port }
      : {};
    const ways: Record<Way, () => unknown> = {
      connectSync: () => connectSync({ ...target, ...taken, onSocket }),
      connect: () => connect({ ...target, ...taken, onSocket }),
      "Socket#connectSync": () => open().connectSync(address),
      "Socket#connect": () => open().connect(address),
      tryConnect: () => {
        const code = errnoName(open().tryConnect(address)) as ErrnoCode;
        throw new Errno[code]({ syscall: "connect" });
      },
    };
    const { instead } = row;
    for (const way of row.ways ?? Object.keys(ways) as Way[]) {
      using _libc = instead === undefined ? null : watchLibc({
        connect(fd, address) {
          const given = INSTEAD[instead](address);
          return system.connect(fd, given, given?.length ?? 16);
        },
      });
      try {
        await ways[way]();
        endings.push([index, way, "connected"]);
      } catch (error) {
        const fits = error instanceof ErrnoError && error.code !== "UNKNOWN" &&
          error instanceof Errno[error.code] && isErrno(error, error.code) &&
          error.errno > 0 && !error.message.includes("\n");
        const code = fits ? `${error.code}` : `${error}`;
        const kernel = fits && error.code === "ETIMEDOUT" &&
          error.timeoutKind !== "kernel";
        endings.push([index, way, kernel ? "a deadline" : code]);
      }
    }
  }
  Atomics.store(stop, 0, 1);
  Atomics.notify(stop, 0);
  for (const one of kept) {
    try {
      one[Symbol.dispose]();
    } catch {
      // Its descriptor was taken away from it.
    }
  }
  return endings;
}

/** Fails for each way on which a row's errno got lost. */
function check(rows: readonly Row[], endings: readonly Ending[]): void {
  const wrong = endings
    .filter(([index, , code]) => code !== rows[index]!.code)
    .map(([index, way, code]) =>
      `${rows[index]!.code} by ${rows[index]!.by}: ${way} says ${code}`
    );
  assertEquals(wrong, []);
  const ways = rows.reduce((sum, { ways = WAYS }) => sum + ways.length, 0);
  assertEquals(endings.length, ways);
}

// Provoked -----------------------------------------------------------------------

/** By type and code. What is not here says EHOSTUNREACH or nothing. */
const ICMP: readonly (readonly [string, ErrnoCode])[] = [
  ["3.0", "ENETUNREACH"],
  ["3.1", "EHOSTUNREACH"],
  ["3.2", "ENOPROTOOPT"],
  ["3.3", "ECONNREFUSED"],
  ["3.5", "EOPNOTSUPP"],
  ["3.6", "ENETUNREACH"],
  ["3.7", "EHOSTDOWN"],
  ["3.8", "ENONET"],
  ["3.9", "ENETUNREACH"],
  ["3.10", "EHOSTUNREACH"],
  ["3.11", "ENETUNREACH"],
  ["3.12", "EHOSTUNREACH"],
  ["3.13", "EHOSTUNREACH"],
  ["3.14", "EHOSTUNREACH"],
  ["3.15", "EHOSTUNREACH"],
  ["11.0", "EHOSTUNREACH"],
  ["12.0", "EPROTO"],
];

const NETWORK_ROWS: readonly Row[] = [
  { code: "ECONNREFUSED", by: "an RST", peer: "nobody" },
  { code: "EHOSTUNREACH", by: "an unreachable route", hostname: "10.1.0.1" },
  { code: "EINVAL", by: "a blackhole route", hostname: "10.2.0.1" },
  { code: "EACCES", by: "a prohibit route", hostname: "10.3.0.1" },
  { code: "ENETUNREACH", by: "a throw route", hostname: "10.4.0.1" },
  { code: "ENETUNREACH", by: "no route", hostname: "10.5.0.1" },
  ...ICMP.map(([message, code]): Row => ({
    code,
    by: `ICMP ${message}`,
    hostname: `127.${message}.1`,
  })),
  { code: "ECONNRESET", by: "SYN and RST", hostname: "127.99.0.1" },
  {
    code: "EACCES",
    by: "broadcast",
    hostname: "127.255.255.255",
    type: "dgram",
    ways: ["Socket#connectSync", "Socket#connect", "tryConnect"],
  },
  { code: "EISCONN", by: "a connected socket", before: "connected" },
  { code: "EALREADY", by: "a pending socket", before: "pending" },
  { code: "EBADF", by: "a closed descriptor", before: "closed" },
  { code: "ENOTSOCK", by: "the descriptor of a file", before: "file" },
  { code: "EFAULT", by: "a null pointer", instead: "null" },
  { code: "EINVAL", by: "a short address", instead: "short" },
  { code: "EAFNOSUPPORT", by: "a strange family", instead: "strange" },
  { code: "ENODEV", by: "an interface that is gone", before: "gone" },
  {
    code: "EADDRINUSE",
    by: "a local port that is taken",
    before: "taken",
    ways: ["connectSync", "connect"],
  },
  // The last, since it leaves no ports for others.
  {
    code: "EADDRNOTAVAIL",
    by: "exhausted ports",
    peer: "listener",
    before: "exhausted",
  },
];

/** Each takes its second. */
const PATIENCE_ROWS: readonly Row[] = [
  { code: "ETIMEDOUT", by: "a full backlog", before: "impatient" },
  {
    code: "ETIMEDOUT",
    by: "an MD5 key that the listener lacks",
    peer: "listener",
    before: "signed",
    ways: ["connectSync", "connect"],
  },
];

/** What the kernel returns reaches the caller, by each way to connect. */
test(
  "connect(2) fails in a network as its routes and messages have it",
  async () => {
    await Promise.all([NETWORK_ROWS, PATIENCE_ROWS].map(async (rows) => {
      const place = { namespace: ROUTES };
      check(
        rows,
        await inChild(place, everyWay, [...rows], LIBC, `${forge}`),
      );
    }));
  },
  { skip: needs(canIsolate(), onLinux) },
);

test(
  "connect(2) fails as a firewall's reject has it, for each type",
  async () => {
    const rejected = [...REJECTED, ...REJECTED6];
    const hosts = rejected.map(([host]) => host);
    const [sync, async] = await inChild(
      { namespace: FIREWALL + FIREWALL6 },
      async ({ connect, inet, inet6, Socket, verdict }, hosts) => {
        const pending = Promise.all(
          hosts.map((hostname) =>
            connect({ hostname, port: 80 }).then(() => "connected", verdict)
          ),
        );
        // All at once, for the kernel takes a second for each.
        const sockets = hosts.map((host) => {
          const is6 = host.includes(":");
          const address = is6 ? inet6(host, 80) : inet(host, 80);
          const { family } = address;
          const socket = Socket.open({ family, nonblocking: true });
          socket.tryConnect(address);
          return { socket, address };
        });
        const sync = sockets.map(({ socket, address }) => {
          using _ = socket;
          try {
            socket.connectSync(address, { timeout: 30_000 });
            return "connected";
          } catch (error) {
            return verdict(error);
          }
        });
        return [sync, await pending];
      },
      hosts,
    );
    const codes = rejected.map(([, code]) => code);
    assertEquals<unknown>({ sync, async }, { sync: codes, async: codes });
  },
  { skip: needs(canFilter(), onLinux) },
);

test(
  "a firewall's drop on the way out is EPERM to a datagram and silence to TCP",
  async () => {
    const codes = await inChild(
      { namespace: FIREWALL },
      ({ connectSync, Errno, ErrnoError, inet, Socket }) => {
        const verdict = (call: () => unknown): string => {
          try {
            call();
            return "nothing";
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
            return error instanceof Errno.ETIMEDOUT
              ? `${error.timeoutKind}`
              : error.code;
          }
        };
        const hostname = "127.0.4.1";
        using socket = Socket.open({ type: "dgram" });
        return [
          verdict(() => socket.connectSync(inet(hostname, 80))),
          verdict(() => socket.sendSync(new Uint8Array(1))),
          verdict(() => connectSync({ hostname, port: 80, timeout: 50 })),
        ];
      },
    );
    assertEquals(codes, ["nothing", "EPERM", "deadline"]);
  },
  { skip: needs(canFilter(), onLinux) },
);

const FILE_ROWS: readonly Row[] = [
  { code: "ENOENT", by: "a path that is not", path: "none" },
  { code: "ENOTDIR", by: "a file as a folder", path: "file/s" },
  { code: "ELOOP", by: "a link to itself", path: "loop" },
  { code: "ENAMETOOLONG", by: "a link to a long name", path: "long" },
  { code: "ECONNREFUSED", by: "a socket without a listener", path: "bound" },
  { code: "EPROTOTYPE", by: "a socket for datagrams", path: "datagrams" },
  {
    code: "EAGAIN",
    by: "a full backlog",
    path: "full",
    before: "nonblocking",
  },
];

test("connect(2) fails as the file system has it", async () => {
  using folder = tempFolder();
  const at = (name: string) => join(folder.path, name);
  using _datagrams = bound({ at: unix(at("datagrams")), type: "dgram" });
  using _bound = bound({ at: unix(at("bound")) });
  using _full = blackHole({ at: unix(at("full")) });
  writeFileSync(at("file"), "");
  symlinkSync(at("loop"), at("loop"));
  symlinkSync("n".repeat(256), at("long"));
  const rows = FILE_ROWS.map((row) => ({ ...row, path: at(row.path!) }));
  check(rows, await inChild({}, everyWay, rows, LIBC, `${forge}`));
}, { skip: onLinux ?? canBlackHole() });

test("connect(2) fails with EACCES where another user may not go", async () => {
  using locked = lockedSockets();
  const codes = await inChild(
    {},
    async ({ becomeNobody, connect, connectSync, verdict, ...api }, paths) => {
      becomeNobody();
      const { errnoName, Socket, unix } = api;
      const codes: string[] = [];
      for (const path of paths) {
        using socket = Socket.open({ family: "unix" });
        codes.push(errnoName(socket.tryConnect(unix(path))));
        const target = { transport: "unix", path } as const;
        await connect(target).catch((error) => codes.push(verdict(error)));
        try {
          connectSync(target);
        } catch (error) {
          codes.push(verdict(error));
        }
      }
      return codes;
    },
    locked.paths,
  );
  assertEquals(codes, new Array(6).fill("EACCES"));
}, { skip: isRoot() });

test(
  "connect(2) has no socket to begin with where EMFILE says so",
  async () => {
    const codes = await inChild(
      { command: ["prlimit", "--nofile=100:100"] },
      async ({ connect, connectSync, Socket, verdict }) => {
        const codes: string[] = [];
        const sockets: Disposable[] = [];
        try {
          for (let i = 0; i < 100; i++) sockets.push(Socket.open());
        } catch (error) {
          codes.push(verdict(error));
        }
        await connect({ port: 9 }).catch((error) => codes.push(verdict(error)));
        try {
          connectSync({ port: 9 });
        } catch (error) {
          codes.push(verdict(error));
        }
        for (const socket of sockets) socket[Symbol.dispose]();
        return codes;
      },
    );
    assertEquals(codes, ["EMFILE", "EMFILE", "EMFILE"]);
  },
  { skip: needs(hasCommand("prlimit"), onLinux) },
);

test(
  "tryConnect() alone returns EINTR and EINPROGRESS, the others wait",
  async () => {
    const codes = await inChild({}, ({ blackHole, Socket, ...api }) => {
      const { errnoName, stormOfSignals } = api;
      using hole = blackHole();
      using blocking = Socket.open();
      using nonblocking = Socket.open({ nonblocking: true });
      using _storm = stormOfSignals(2);
      return [
        errnoName(blocking.tryConnect(hole.address)),
        errnoName(nonblocking.tryConnect(hole.address)),
      ];
    });
    assertEquals(codes, ["EINTR", "EINPROGRESS"]);
  },
  { skip: onLinux ?? canBlackHole() },
);

// In the place of the kernel's result --------------------------------------------

/** What begins an attempt and is thrown to nobody. */
const GOES_ON: readonly ErrnoCode[] = ["EINPROGRESS", "EINTR"];

/** What was provoked, and by what. */
const PROVOKED: ReadonlyMap<ErrnoCode, readonly { by: string }[]> = Map.groupBy(
  [
    ...NETWORK_ROWS,
    ...FILE_ROWS,
    ...PATIENCE_ROWS,
    { code: "EACCES", by: "another user's path" } as const,
    { code: "EMFILE", by: "a limit of descriptors" } as const,
    { code: "EINTR", by: "a storm of signals" } as const,
    { code: "EINPROGRESS", by: "a non-blocking socket" } as const,
  ],
  ({ code }) => code,
);

/** One name for each number that the tables of Linux have. */
const INJECTED: readonly ErrnoCode[] = CODES.filter((code) =>
  !GOES_ON.includes(code) && linuxName(code) === code
);

function linuxName(code: ErrnoCode): ErrnoCode | undefined {
  const { errnos } = abiFor("linux", "x64");
  const names = Object.keys(errnos) as ErrnoCode[];
  return names.find((name) => errnos[name] === errnos[code]);
}

/** The number as the bytes of an int. */
function poke(code: ErrnoCode): string {
  const { errnos } = abiFor("linux", "x64");
  return errnos[code]!.toString(16).padStart(2, "0").padEnd(8, "0");
}

test("whatever connect(2) or SO_ERROR returns reaches the caller", async () => {
  const waiting = [...INJECTED];
  const wrong: string[] = [];
  async function work(): Promise<void> {
    for (let code = waiting.shift(); code; code = waiting.shift()) {
      const { result } = await traced(
        [
          "--seccomp-bpf",
          "--trace=connect,getsockopt,getpeername",
          `--inject=connect:error=${code}:when=1..5`,
          `--inject=getsockopt:poke_exit=@arg4=${poke(code)}`,
          "--inject=getpeername:error=ENOTCONN",
        ],
        async ({ connect, connectSync, Errno, ErrnoError, ...api }) => {
          const { errnoName, inet, isErrno, listen, Socket } = api;
          using listener = listen();
          const { address } = listener;
          const { port } = address;
          const codes: string[] = [];
          async function note(call: () => unknown): Promise<void> {
            try {
              await call();
              codes.push("connected");
            } catch (error) {
              const fits = error instanceof ErrnoError &&
                error.code !== "UNKNOWN" && isErrno(error, error.code) &&
                error instanceof Errno[error.code] &&
                errnoName(error.errno) === error.code;
              codes.push(fits ? `${error.code}` : `${error}`);
            }
          }
          using socket = Socket.open();
          codes.push(errnoName(socket.tryConnect(inet("127.0.0.1", port))));
          await note(() => connectSync({ port }));
          await note(() => connect({ port }));
          await note(() => socket.connectSync(address));
          await note(() => socket.connect(address));
          // From here on connect(2) itself goes well, and SO_ERROR says no.
          await note(() => connectSync({ port, timeout: 30_000 }));
          await note(() => connect({ port }));
          return codes;
        },
      );
      if (result.length === 7 && result.every((one) => one === code)) continue;
      wrong.push(`${code}: ${result}`);
    }
  }
  await Promise.all([work(), work(), work()]);
  assertEquals(wrong, []);
}, { skip: needs(canTrace(), onLinux) });

// Other systems ------------------------------------------------------------------

const TABLES: readonly Abi[] = [
  abiFor("aix", "ppc64"),
  abiFor("darwin", "arm64"),
  abiFor("freebsd", "x64"),
  abiFor("illumos", "x64"),
  abiFor("linux", "x64"),
  abiFor("openbsd", "x64"),
];

/** What a system's page names or its kernel returns. */
function documented(os: Os): ErrnoCode[] {
  return CODES.filter((code) => {
    const { systems, unlisted } = CATALOG[code]!;
    return systems[os] !== undefined || unlisted?.[os] !== undefined;
  });
}

/** A C library of that system in which nothing succeeds but to open and to close. */
function failing(abi: Abi, errno: number): Partial<Libc> {
  const nothing = () => -abi.errnos.EBADF!;
  return {
    abi,
    socket: () => 1000,
    close: () => 0,
    fcntl: () => 0,
    setsockopt: () => 0,
    connect: () => -errno,
    getsockname: nothing,
    getpeername: nothing,
    getsockopt: nothing,
    poll: nothing,
    recvfrom: nothing,
  };
}

for (const abi of TABLES) {
  test(`what ${abi.os} documents reaches the caller as its class`, async () => {
    for (const code of documented(abi.os)) {
      const errno = abi.errnos[code];
      assert(errno !== undefined, `${abi.os} has no number for ${code}`);
      using _ = watchLibc(failing(abi, errno));
      const address = inet("127.0.0.1", 9);
      const open = () => Socket.open({ nonblocking: true });
      const name = errnoName(errno);
      assert(name === code || abi.errnos[name as ErrnoCode] === errno, code);
      using tried = open();
      assertEquals(tried.tryConnect(address), errno, code);
      if (CATALOG[code]!.continues && code !== "EALREADY") continue;
      using blocking = open();
      using waiting = open();
      const calls: (() => unknown)[] = [
        () => connectSync({ port: 9 }),
        () => connect({ port: 9 }),
        () => blocking.connectSync(address),
        () => waiting.connect(address),
      ];
      for (const call of calls) {
        const error = await outcome(Promise.try(call));
        assert(error instanceof ErrnoError, `${abi.os} ${code}: ${error}`);
        assertEquals(error.code, name, abi.os);
        assertEquals(error.errno, errno, `${abi.os} ${code}`);
        assert(error instanceof Errno[name as ErrnoCode]);
        assert(isErrno(error, code), `${abi.os} ${code}`);
      }
    }
  });
}

// The table ----------------------------------------------------------------------

type Proof = "provoked" | "injected" | "table";

function proofOf(code: ErrnoCode): Proof {
  if (PROVOKED.has(code)) return "provoked";
  return INJECTED.includes(code) ? "injected" : "table";
}

/** How each errno was proven, as the Markdown that stands in the reference. */
function proofs(): string {
  const rows = CODES.toSorted().map((code) => {
    const systems = Object.keys(CATALOG[code]!.systems).sort().join(", ");
    const by = PROVOKED.get(code)?.map(({ by }) => by).join(", ") ?? "";
    return `| ${code} | ${systems || "no page"} | ${proofOf(code)} | ${by} |`;
  });
  const head = "| errno | documented by | proven | by |\n" +
    "| --- | --- | --- | --- |\n";
  return head + rows.join("\n");
}

test("every documented errno has a proof", () => {
  for (const code of CODES) {
    if (proofOf(code) !== "table") continue;
    assert(TABLES.some(({ os }) => documented(os).includes(code)), code);
  }
  // deno-lint-ignore no-console
  if (process.env.EINPROGRESS_PROOFS !== undefined) console.log(proofs());
});
