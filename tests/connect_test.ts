import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  abstractUnix,
  type Address,
  connect,
  type ConnectOptions,
  connectSync,
  Errno,
  type ErrnoCode,
  errnoName,
  inet,
  inet6,
  type InetAddress,
  LookupError,
  Socket,
  unix,
  unspecified,
} from "../mod.ts";
import {
  AGES,
  assertErrno,
  assertTalks,
  isSelfConnection,
  outcome,
  pause,
  refusal,
  SHORT,
} from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canFilter,
  canIsolate,
  canTrace,
  fakeResolver,
  freePort,
  holdsOnlyPort,
  inChild,
  listen,
  tempFolder,
  traced,
  UNBOUND,
  watchLibc,
  WITHOUT_IPV6,
} from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import {
  canIpv6,
  hasCommand,
  isRoot,
  needs,
  onLinux,
  test,
} from "./_harness.ts";
import {
  FILES_ONLY,
  FIREWALL,
  NAME_SERVER,
  ofFamilies,
  REJECTED,
  ROUTES,
} from "./_networks.ts";
import {
  ENDED,
  failed,
  maskOf,
  type Script,
  scriptedSocket,
  SCRIPTS,
  SOFT,
  SPURIOUS,
  UNEXPLAINED,
  type Wake,
  WRITABLE,
} from "./_wakeups.ts";

const abi = currentAbi();
/** The system's C library, for fakes that pass some calls on. */
const system = libc();

// Connected.

for (const timeout of [undefined, AGES]) {
  const limit = timeout === undefined ? "without a timeout" : "with a timeout";

  test(`connectSync() reaches an IPv4 listener ${limit}`, () => {
    using listener = listen();
    const { address } = listener;
    using socket = connectSync({
      hostname: "127.0.0.1",
      port: address.port,
      timeout,
    });
    using accepted = listener.accept();
    assert(socket.remoteAddress!.equals(address));
    assert(accepted.remoteAddress!.equals(socket.localAddress));
    assertEquals(socket.nonblocking, false);
    assertTalks(socket, accepted);
  });

  test(`connectSync() reaches an IPv6 listener ${limit}`, () => {
    using listener = listen({ at: inet6("::1", 0) });
    const { address } = listener;
    for (const hostname of ["::1", "[::1]", "0:0::0001"]) {
      using socket = connectSync({ hostname, port: address.port, timeout });
      using accepted = listener.accept();
      assert(socket.remoteAddress!.equals(address));
      assertTalks(socket, accepted);
    }
  }, { skip: canIpv6() });

  test(`connectSync() reaches a Unix-domain listener ${limit}`, () => {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    using listener = listen({ at: unix(path) });
    using socket = connectSync({ transport: "unix", path, timeout });
    using accepted = listener.accept();
    assert(socket.remoteAddress!.equals(unix(path)));
    assertEquals(socket.nonblocking, false);
    assertTalks(socket, accepted);
  });
}

test("connectSync() takes 127.0.0.1 where no hostname is given", () => {
  using listener = listen();
  using socket = connectSync({ port: listener.address.port });
  assert(socket.remoteAddress!.equals(listener.address));
});

test("connectSync() reaches an abstract name", () => {
  const name = `einprogress ${crypto.randomUUID()}`;
  using listener = listen({ at: abstractUnix(name) });
  using socket = connectSync({ transport: "unix", path: `\0${name}` });
  using accepted = listener.accept();
  assertTalks(socket, accepted);
}, { skip: abi.abstractUnix ? null : "the system has no abstract names" });

test("connectSync() takes defaults, over which the options win", () => {
  using listener = listen();
  const seen: string[] = [];
  const defaults = {
    timeout: AGES,
    socketOptions: { ttl: 42 },
    onSocket: () => void seen.push("default"),
  };
  using socket = connectSync({
    port: listener.address.port,
    onSocket: () => void seen.push("own"),
  }, defaults);
  assertEquals(socket.getOption("ttl"), 42);
  assertEquals(seen, ["own"]);
});

test("connectSync() shows the socket, with its options set, before it connects", () => {
  using listener = listen();
  let seen: Socket | undefined;
  using socket = connectSync({
    port: listener.address.port,
    socketOptions: { ttl: 7, noDelay: true },
    onSocket(socket) {
      assertEquals(socket.getOption("ttl"), 7);
      assertEquals(socket.remoteAddress, null);
      seen = socket;
    },
  });
  assert(seen === socket);
  assertEquals(socket.getOption("noDelay"), true);
});

test("connectSync() sets close-on-exec", () => {
  using listener = listen();
  using socket = connectSync({ port: listener.address.port });
  const flags = system.fcntl(socket.fd, abi.F_GETFD, 0);
  assertEquals(flags & abi.FD_CLOEXEC, abi.FD_CLOEXEC);
});

// Refused.

test("connectSync() throws ECONNREFUSED when nothing listens", () => {
  using peer = bound();
  const { port } = peer.address;
  for (const timeout of [undefined, AGES]) {
    const error = refusal(() => connectSync({ port, timeout }));
    assertErrno(error, "ECONNREFUSED");
    assertEquals(error.syscall, "connect");
    assertEquals(error.address, `127.0.0.1:${port}`);
    assertEquals(
      error.message,
      `Cannot connect to 127.0.0.1:${port}: connection refused (ECONNREFUSED)`,
    );
    assertGreaterOrEqual(error.elapsed!, 0);
    assertLess(error.elapsed!, AGES);
    assertEquals(error.timeoutKind, undefined);
    assertEquals(error.errors, []);
  }
});

test("connectSync() throws ECONNREFUSED over IPv6 when nothing listens", () => {
  using peer = bound({ at: inet6("::1", 0) });
  const { port } = peer.address;
  const error = refusal(() => connectSync({ hostname: "::1", port }));
  assertErrno(error, "ECONNREFUSED");
  assertEquals(error.address, `[::1]:${port}`);
}, { skip: canIpv6() });

test("connectSync() hands out a socket whose peer resets it at once", () => {
  using listener = listen();
  using socket = connectSync({ port: listener.address.port });
  listener.reset();
  assertErrno(
    refusal(() => socket.recvSync(new Uint8Array(1))),
    "ECONNRESET",
  );
});

// Timed out.

test("connectSync() throws ETIMEDOUT when its deadline passes", () => {
  using hole = blackHole();
  const start = performance.now();
  const error = refusal(() =>
    connectSync({ port: hole.address.port, timeout: SHORT })
  );
  assertErrno(error, "ETIMEDOUT");
  assertEquals(error.timeoutKind, "deadline");
  assertGreaterOrEqual(error.elapsed!, SHORT);
  assertGreaterOrEqual(performance.now() - start, SHORT);
  assertStringIncludes(error.message, `no answer within ${SHORT} ms`);
}, { skip: canBlackHole() });

test("connectSync() throws ETIMEDOUT when the kernel gives up", () => {
  using hole = blackHole();
  for (const timeout of [undefined, AGES]) {
    const error = refusal(() =>
      connectSync({
        port: hole.address.port,
        timeout,
        onSocket: (socket) => socket.setOption("userTimeout", SHORT),
      })
    );
    assertErrno(error, "ETIMEDOUT");
    assertEquals(error.timeoutKind, "kernel");
    assertStringIncludes(error.message, "connection timed out");
  }
}, { skip: needs(canBlackHole(), onLinux) });

test(
  "connectSync() with a timeout of 0 gives up unless the reply is there already",
  () => {
    using hole = blackHole();
    const error = refusal(() =>
      connectSync({ port: hole.address.port, timeout: 0 })
    );
    assertErrno(error, "ETIMEDOUT");
    assertEquals(error.timeoutKind, "deadline");
  },
  { skip: canBlackHole() },
);

test("connectSync() takes more milliseconds than poll(2) can", () => {
  using listener = listen();
  const { port } = listener.address;
  for (const timeout of [2 ** 31, 2 ** 53, Number.MAX_VALUE, Infinity]) {
    connectSync({ port, timeout }).close();
  }
});

test(
  "connectSync() gives up on a Unix-domain listener with a full backlog",
  () => {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    using _hole = blackHole({ at: unix(path) });
    const error = refusal(() =>
      connectSync({ transport: "unix", path, timeout: SHORT })
    );
    assertErrno(error, "ETIMEDOUT");
    assertEquals(error.timeoutKind, "deadline");
    assertGreaterOrEqual(error.elapsed!, SHORT);
  },
  { skip: onLinux },
);

test("Socket#connectSync() leaves the socket blocking after a deadline", () => {
  using hole = blackHole();
  using socket = Socket.open();
  const error = refusal(() =>
    socket.connectSync(hole.address, { timeout: SHORT })
  );
  assertEquals(error.timeoutKind, "deadline");
  assertEquals(socket.nonblocking, false);
  assertEquals(socket.closed, false);
}, { skip: canBlackHole() });

test("Socket#connectSync() leaves a non-blocking socket non-blocking", () => {
  using listener = listen();
  using socket = Socket.open({ nonblocking: true });
  socket.connectSync(listener.address, { timeout: AGES });
  assertEquals(socket.nonblocking, true);
  using other = Socket.open({ nonblocking: true });
  other.connectSync(listener.address);
  assertEquals(other.nonblocking, true);
});

test("Socket#connectSync() goes on after a deadline when called again", () => {
  using hole = blackHole();
  using socket = Socket.open();
  const { address } = hole;
  for (let i = 0; i < 3; i++) {
    const error = refusal(() => socket.connectSync(address, { timeout: 5 }));
    assertEquals(error.timeoutKind, "deadline");
  }
  hole.accept().close();
  socket.connectSync(address, { timeout: AGES });
  assert(socket.remoteAddress!.equals(address));
  assertEquals(socket.nonblocking, false);
}, { skip: canBlackHole() });

// Unreachable.

/** What a connect fails with where a route of each kind leads, or none. */
const ROUTED = ofFamilies<readonly [string, ErrnoCode]>([
  ["10.1.0.1", "EHOSTUNREACH"],
  ["10.2.0.1", "EINVAL"],
  ["10.3.0.1", "EACCES"],
  ["10.4.0.1", "ENETUNREACH"],
  ["10.5.0.1", "ENETUNREACH"],
  ["255.255.255.255", "ENETUNREACH"],
  ["224.0.0.1", "ENETUNREACH"],
  ["2001:db8::1", "ENETUNREACH"],
]);

test("connectSync() throws what the routing table says", async () => {
  const hosts = ROUTED.map(([host]) => host);
  const results = await inChild(
    { namespace: ROUTES },
    ({ connectSync, isErrno, ErrnoError, Errno }, hosts) =>
      [undefined, 60_000].map((timeout) =>
        hosts.map((hostname) => {
          try {
            connectSync({ hostname, port: 80, timeout }).close();
            return [hostname, "connected"];
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
            const code = error.code as "EACCES";
            return error instanceof Errno[code] && isErrno(error, code)
              ? [hostname, code]
              : [hostname, "a class that does not fit"];
          }
        })
      ),
    hosts,
  );
  assertEquals<unknown>(results, [ROUTED, ROUTED]);
}, { skip: needs(canIsolate(), onLinux) });

const cannotFilter = needs(canFilter(), onLinux);

for (const readErrorQueue of [false, true]) {
  const queue = readErrorQueue ? "with" : "without";

  test(
    `Socket#connectSync() throws what a firewall says, ${queue} a queue of errors`,
    async () => {
      const results = await inChild(
        { namespace: FIREWALL },
        ({ Socket, ErrnoError, inet }, hosts, readErrorQueue) => {
          // All at once, for the kernel takes a second for each.
          const attempts = hosts.map((host) => {
            const socket = Socket.open({ nonblocking: true });
            socket.setOption("readErrorQueue", readErrorQueue);
            const address = inet(host, 80);
            socket.tryConnect(address);
            return { host, socket, address };
          });
          return attempts.map(({ host, socket, address }) => {
            using _ = socket;
            try {
              socket.connectSync(address, { timeout: 30_000 });
              return [host, "connected"];
            } catch (error) {
              if (!(error instanceof ErrnoError)) throw error;
              return [host, error.code];
            }
          });
        },
        REJECTED.map(([host]) => host),
        readErrorQueue,
      );
      assertEquals<unknown>(results, REJECTED);
    },
    { skip: cannotFilter },
  );

  test(
    `connectSync() outlives an ICMP error that passes, ${queue} a queue of errors`,
    async () => {
      const result = await inChild(
        { namespace: FIREWALL },
        ({ connectSync, inet, listen }, readErrorQueue) => {
          using listener = listen({ at: inet("127.0.2.1", 0) });
          const { hostname, port } = listener.address;
          using socket = connectSync({
            hostname,
            port,
            timeout: 30_000,
            softErrors: "wait",
            socketOptions: { readErrorQueue },
          });
          return socket.remoteAddress!.equals(listener.address);
        },
        readErrorQueue,
      );
      assert(result);
    },
    { skip: cannotFilter },
  );
}

// Arguments.

/** An argument that cannot be, and what the message has to name. */
type BadArgument = readonly [
  options: unknown,
  errorClass: ErrorConstructor,
  argument: string,
  value: string,
];

const circular: Record<string, unknown> = {};
circular.itself = circular;

const BAD_ARGUMENTS: readonly BadArgument[] = [
  [undefined, TypeError, "port", "undefined"],
  [{}, TypeError, "port", "undefined"],
  [{ port: null }, TypeError, "port", "null"],
  [{ port: "80" }, TypeError, "port", '"80"'],
  [{ port: 80n }, TypeError, "port", "80"],
  [{ port: -1 }, RangeError, "port", "-1"],
  [{ port: 65_536 }, RangeError, "port", "65536"],
  [{ port: 1.5 }, RangeError, "port", "1.5"],
  [{ port: NaN }, RangeError, "port", "NaN"],
  [{ hostname: "localhost", port: -1 }, RangeError, "port", "-1"],

  [{ hostname: null, port: 80 }, TypeError, "hostname", "null"],
  [{ hostname: 127, port: 80 }, TypeError, "hostname", "127"],
  [{ hostname: 1n, port: 80 }, TypeError, "hostname", "1"],
  [{ hostname: circular, port: 80 }, TypeError, "hostname", "object"],
  [{ hostname: "", port: 80 }, SyntaxError, "hostname", '""'],
  [{ hostname: "a\0b", port: 80 }, SyntaxError, "hostname", "a\\u0000b"],
  ...[
    "0x7f.0.0.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "2130706433",
    "127.0.0.1.",
    "127.0.0.256",
    "1.2.3.4.5",
    "1..2.3",
    "::g",
    ":::",
    "1:2:3:4:5:6:7",
    "::1%",
    "[::1",
    "[[::1]]",
  ].map((hostname): BadArgument => [
    { hostname, port: 80 },
    SyntaxError,
    "host",
    hostname.replace(/^\[(.*)\]$/, "$1"),
  ]),

  [{ port: 80, timeout: NaN }, RangeError, "timeout", "NaN"],
  [{ port: 80, timeout: -1 }, RangeError, "timeout", "-1"],
  [{ port: 80, timeout: -Infinity }, RangeError, "timeout", "-Infinity"],
  [{ port: 80, timeout: "5" }, TypeError, "timeout", '"5"'],
  [{ port: 80, timeout: null }, TypeError, "timeout", "null"],
  [{ port: 80, timeout: 5n }, TypeError, "timeout", "5"],

  [{ port: 80, transport: "udp" }, TypeError, "transport", '"udp"'],
  [{ port: 80, transport: null }, TypeError, "transport", "null"],
  [{ port: 80, transport: 5n }, TypeError, "transport", "5"],

  [{ port: 80, family: "inet4" }, TypeError, "family", '"inet4"'],
  [{ port: 80, family: 4n }, TypeError, "family", "4"],
  [{ port: 80, family: "inet6" }, TypeError, "family", "127.0.0.1"],
  [
    { hostname: "::1", port: 80, family: "inet" },
    TypeError,
    "family",
    "::1",
  ],

  [{ port: 80, localAddress: 5 }, TypeError, "localAddress", "5"],
  [{ port: 80, localAddress: 5n }, TypeError, "localAddress", "5"],
  [{ port: 80, localAddress: "" }, SyntaxError, "localAddress", '""'],
  [
    { port: 80, localAddress: "localhost" },
    SyntaxError,
    "localAddress",
    "localhost",
  ],
  [
    { port: 80, localAddress: "127.0.0.1.2" },
    SyntaxError,
    "localAddress",
    "127.0.0.1.2",
  ],
  [{ port: 80, localAddress: "::1" }, TypeError, "localAddress", "127.0.0.1"],
  [
    { hostname: "localhost", port: 80, localAddress: "::1", family: "inet" },
    TypeError,
    "localAddress",
    "::1",
  ],
  [{ port: 80, localPort: -1 }, RangeError, "localPort", "-1"],
  [{ port: 80, localPort: 65_536 }, RangeError, "localPort", "65536"],
  [{ port: 80, localPort: "80" }, TypeError, "localPort", '"80"'],
  [
    { port: 80, localAddress: "127.0.0.1", localPort: 1.5 },
    RangeError,
    "localPort",
    "1.5",
  ],

  [{ port: 80, interface: 5 }, TypeError, "interface", "5"],
  [
    { port: 80, interface: "a-name-of-20-letters" },
    RangeError,
    "interface",
    "a-name-of-20-letters",
  ],
  [{ port: 80, interface: "a\0b" }, RangeError, "interface", "a\\u0000b"],

  [{ port: 80, socketOptions: { ttl: 256 } }, RangeError, "ttl", "256"],
  [{ port: 80, socketOptions: { ttl: "1" } }, TypeError, "ttl", "1"],
  [{ port: 80, socketOptions: { tll: 1 } }, TypeError, "option", "tll"],
  [{ port: 80, onSocket: 5 }, TypeError, "onSocket", ""],

  [{ transport: "unix" }, TypeError, "path", "undefined"],
  [{ transport: "unix", path: 5 }, TypeError, "path", "5"],
  [{ transport: "unix", path: "" }, TypeError, "path", '""'],
  [{ transport: "unix", path: "a\0b" }, TypeError, "path", "a\\u0000b"],
  [
    { transport: "unix", path: "/tmp/\ud800" },
    TypeError,
    "path",
    "\\ud800",
  ],
];

test("connectSync() checks every argument before it calls anything", () => {
  const objections: string[] = [];
  for (const [options, errorClass, argument, value] of BAD_ARGUMENTS) {
    using watched = watchLibc();
    const error = outcome(() => connectSync(options as ConnectOptions));
    if (error instanceof Socket) error.close();
    const fits = error instanceof errorClass &&
      error.message.includes(argument) && error.message.includes(value);
    if (!fits || watched.names.length > 0) {
      objections.push(`${argument} ${value}: ${error}, ${watched.names}`);
    }
  }
  assertEquals(objections, []);
});

test(
  "connectSync() throws ENAMETOOLONG for a path before it calls anything",
  () => {
    for (
      const path of [
        "x".repeat(200),
        "\u00e9".repeat(60),
        `\0${"x".repeat(120)}`,
      ]
    ) {
      using watched = watchLibc();
      const error = refusal(() => connectSync({ transport: "unix", path }));
      assertErrno(error, "ENAMETOOLONG");
      assertEquals(error.syscall, "connect");
      assertEquals(watched.names, []);
    }
  },
  { skip: abi.abstractUnix ? null : "the system has no abstract names" },
);

test("connectSync() throws the reason of an aborted signal, and calls nothing", () => {
  using watched = watchLibc();
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  const error = outcome(() => connectSync({ port: 80, signal }));
  assert(error === reason);
  assertEquals(watched.names, []);
});

test("Socket#connectSync() checks its arguments before it calls anything", () => {
  using socket = Socket.open();
  const address = inet("127.0.0.1", 80);
  const rows: readonly [unknown, unknown, ErrorConstructor, string][] = [
    [undefined, {}, TypeError, "address undefined"],
    [null, {}, TypeError, "address null"],
    ["127.0.0.1:80", {}, TypeError, 'address "127.0.0.1:80"'],
    [5n, {}, TypeError, "address 5"],
    [{ family: "inet", hostname: "127.0.0.1", port: 80 }, {}, TypeError, "add"],
    [address.toBytes(), {}, TypeError, "address"],
    [Object.create(address), {}, TypeError, "address"],
    [address, { timeout: NaN }, RangeError, "timeout NaN"],
    [address, { timeout: -1 }, RangeError, "timeout -1"],
    [address, { timeout: "1" }, TypeError, 'timeout "1"'],
    [address, { timeout: 1n }, TypeError, "timeout 1"],
  ];
  using watched = watchLibc();
  for (const [target, options, errorClass, message] of rows) {
    assertThrows(
      () => socket.connectSync(target as Address, options as object),
      errorClass,
      message,
    );
    assertEquals(watched.names, []);
  }
});

// Paths.

test("connectSync() throws what the file system says of a path", () => {
  using folder = tempFolder();
  const at = (name: string) => join(folder.path, name);
  using _datagrams = bound({ at: unix(at("datagrams")), type: "dgram" });
  using _packets = listen({ at: unix(at("packets")), type: "seqpacket" });
  using _bound = bound({ at: unix(at("bound")) });
  listen({ at: unix(at("closed")) })[Symbol.dispose]();
  writeFileSync(at("file"), "");
  mkdirSync(at("folder"));
  symlinkSync(at("loop"), at("loop"));
  symlinkSync(at("gone"), at("dangling"));
  const rows: readonly (readonly [string, ErrnoCode])[] = [
    ["none", "ENOENT"],
    ["none/s", "ENOENT"],
    ["dangling", "ENOENT"],
    ["file/s", "ENOTDIR"],
    ["loop", "ELOOP"],
    ["loop/s", "ELOOP"],
    ["bound", "ECONNREFUSED"],
    ["closed", "ECONNREFUSED"],
    ["file", "ECONNREFUSED"],
    ["folder", "ECONNREFUSED"],
    ["datagrams", "EPROTOTYPE"],
    ["packets", "EPROTOTYPE"],
  ];
  for (const [name, code] of rows) {
    for (const timeout of [undefined, AGES]) {
      const path = at(name);
      const error = refusal(() =>
        connectSync({ transport: "unix", path, timeout })
      );
      assertErrno(error, code);
      assertEquals(error.address, `unix:${path}`);
      assertEquals(error.syscall, "connect");
    }
  }
}, { skip: onLinux });

test(
  "connectSync() throws ECONNREFUSED for an abstract name that no socket has",
  () => {
    const path = `\0einprogress ${crypto.randomUUID()}`;
    const error = refusal(() => connectSync({ transport: "unix", path }));
    assertErrno(error, "ECONNREFUSED");
    assertEquals(error.address, `unix:@${path.slice(1)}`);
  },
  { skip: onLinux },
);

test("connectSync() throws EACCES for another user's socket", async () => {
  using folder = tempFolder();
  const locked = join(folder.path, "s");
  const closed = join(folder.path, "folder");
  mkdirSync(closed, { mode: 0o700 });
  using _socket = listen({ at: unix(locked) });
  using _hidden = listen({ at: unix(join(closed, "s")) });
  const codes = await inChild(
    {},
    ({ becomeNobody, connectSync, isErrno }, paths) => {
      becomeNobody();
      return paths.map((path) => {
        try {
          connectSync({ transport: "unix", path }).close();
          return "connected";
        } catch (error) {
          return isErrno(error, "EACCES") ? error.code : `${error}`;
        }
      });
    },
    [locked, join(closed, "s")],
  );
  assertEquals(codes, ["EACCES", "EACCES"]);
}, { skip: isRoot() });

// The near end.

test("connectSync() connects from localAddress and localPort", () => {
  using listener = listen();
  const { port } = listener.address;
  using free = bound();
  const localPort = free.address.port;
  free[Symbol.dispose]();
  const rows: readonly (readonly [
    Partial<ConnectOptions>,
    string | null,
    number | null,
  ])[] = [
    [{ localAddress: "127.0.0.1" }, "127.0.0.1", null],
    [{ localPort }, "127.0.0.1", localPort],
    [{ localAddress: "127.0.0.1", localPort }, "127.0.0.1", localPort],
    [{ localPort: 0 }, null, null],
  ];
  for (const [options, hostname, expectedPort] of rows) {
    for (const timeout of [undefined, AGES]) {
      using socket = connectSync({
        port,
        timeout,
        socketOptions: { reuseAddress: true, linger: 0 },
        ...options,
      } as ConnectOptions);
      const local = socket.localAddress as InetAddress;
      if (hostname !== null) assertEquals(local.hostname, hostname);
      if (expectedPort !== null) assertEquals(local.port, expectedPort);
      using accepted = listener.accept();
      assert(accepted.remoteAddress!.equals(local));
    }
  }
});

test("connectSync() connects from any address of the loopback network", () => {
  using listener = listen();
  const { port } = listener.address;
  using socket = connectSync({ port, localAddress: "127.0.0.9" });
  assertEquals((socket.localAddress as InetAddress).hostname, "127.0.0.9");
}, { skip: onLinux });

test("connectSync() throws EADDRNOTAVAIL for a foreign localAddress", () => {
  using listener = listen();
  const { port } = listener.address;
  const error = refusal(() => connectSync({ port, localAddress: "192.0.2.1" }));
  assertErrno(error, "EADDRNOTAVAIL");
  assertEquals(error.syscall, "bind");
  assertEquals(error.address, "192.0.2.1:0");
});

test("connectSync() throws EADDRINUSE for a localPort that is taken", () => {
  using listener = listen();
  using taken = listen();
  const error = refusal(() =>
    connectSync({
      port: listener.address.port,
      localAddress: "127.0.0.1",
      localPort: taken.address.port,
    })
  );
  assertErrno(error, "EADDRINUSE");
  assertEquals(error.syscall, "bind");
  assertEquals(error.address, `127.0.0.1:${taken.address.port}`);
});

test("connectSync() throws EADDRNOTAVAIL when all four parts are taken", () => {
  using listener = listen();
  const { port } = listener.address;
  using first = connectSync({ port, socketOptions: { reuseAddress: true } });
  const { port: localPort } = first.localAddress as InetAddress;
  const error = refusal(() =>
    connectSync({
      port,
      localAddress: "127.0.0.1",
      localPort,
      socketOptions: { reuseAddress: true },
    })
  );
  assert(error.code === "EADDRNOTAVAIL" || error.code === "EADDRINUSE");
}, { skip: onLinux });

test("connectSync() says from where an attempt failed", () => {
  using peer = bound();
  const error = refusal(() =>
    connectSync({ port: peer.address.port, localAddress: "127.0.0.1" })
  );
  assertErrno(error, "ECONNREFUSED");
  assertStringIncludes(`${error.localAddress}`, "127.0.0.1:");
});

test("connectSync() connects through an interface", () => {
  using listener = listen();
  const { port } = listener.address;
  using socket = connectSync({ port, interface: "lo" });
  assertEquals(socket.getOption("interface"), "lo");
  const error = refusal(() => connectSync({ port, interface: "none-such0" }));
  assertErrno(error, "ENODEV");
  assertEquals(error.syscall, "setsockopt");
}, { skip: needs(onLinux, unemulated("does not read SO_BINDTODEVICE")) });

// Names.

test("connectSync() resolves localhost", () => {
  using listener = listen();
  const { port } = listener.address;
  for (const family of [undefined, "inet"] as const) {
    using socket = connectSync({ hostname: "localhost", port, family });
    assert(socket.remoteAddress!.equals(listener.address));
  }
});

test("connectSync() throws LookupError for what does not resolve", async () => {
  const names = ["none.test", "a..b", " ", "127.0.0.1 ", "x".repeat(64)];
  const errors = await inChild(
    { namespace: NAME_SERVER },
    ({ connectSync, LookupError }, names) =>
      names.map((hostname) => {
        try {
          connectSync({ hostname, port: 80 }).close();
          return { code: "connected", message: "" };
        } catch (error) {
          if (!(error instanceof LookupError)) throw error;
          const { code, message, syscall } = error;
          return { code, message, hostname: error.hostname, syscall };
        }
      }),
    names,
  );
  assertEquals<unknown>(
    errors,
    names.map((hostname) => ({
      code: "EAI_NONAME",
      message:
        `Cannot resolve "${hostname}": name does not resolve (EAI_NONAME)`,
      hostname,
      syscall: "getaddrinfo",
    })),
  );
}, { skip: needs(canIsolate(), hasCommand("python3"), onLinux) });

test("connectSync() tries the addresses of a name in turn", async () => {
  const [second, all] = await inChild(
    { namespace: FILES_ONLY },
    ({ bound, connectSync, ErrnoError, inet, listen }) => {
      using listener = listen({ at: inet("127.0.0.3", 0) });
      const { port } = listener.address;
      const hostname = "two.test";
      using socket = connectSync({ hostname, port });
      using refuser = bound({ at: inet("0.0.0.0", 0) });
      try {
        connectSync({ hostname, port: refuser.address.port }).close();
        return [`${socket.remoteAddress}`, null];
      } catch (error) {
        if (!(error instanceof ErrnoError)) throw error;
        const { errors } = error;
        const [first, last] = errors.map(({ address }) => address);
        const hosts = [first, last].map((text) => text!.split(":")[0]!);
        return [
          `${socket.remoteAddress}`.split(":")[0]!,
          { code: error.code, hosts, address: error.address!.split(":")[0]! },
        ];
      }
    },
  );
  assertEquals(second, "127.0.0.3");
  assertEquals<unknown>(all, {
    code: "ECONNREFUSED",
    hosts: ["127.0.0.2", "127.0.0.3"],
    address: "two.test",
  });
}, { skip: needs(canIsolate(), onLinux) });

/** What connect(2) ends in for each address of a name, and the code of the whole. */
interface Several {
  readonly results: readonly (ErrnoCode | "connected")[];
  readonly code: ErrnoCode | "connected";
}

const SEVERAL: readonly Several[] = [
  { results: ["ECONNREFUSED", "connected"], code: "connected" },
  { results: ["ENETUNREACH", "EHOSTUNREACH", "connected"], code: "connected" },
  { results: ["ENETUNREACH", "ECONNREFUSED"], code: "ECONNREFUSED" },
  { results: ["ECONNREFUSED", "ENETUNREACH"], code: "ECONNREFUSED" },
  { results: ["ENETUNREACH", "EACCES", "ETIMEDOUT"], code: "EACCES" },
  { results: ["ENETUNREACH", "EHOSTUNREACH"], code: "EHOSTUNREACH" },
  { results: ["EADDRNOTAVAIL", "ENETUNREACH"], code: "ENETUNREACH" },
  { results: ["EIO", "ENODEV"], code: "ENODEV" },
];

test("connectSync() makes one error of all addresses' failures", () => {
  using listener = listen();
  const { port } = listener.address;
  for (const { results, code } of SEVERAL) {
    const addresses = results.map((result, index) =>
      inet(result === "connected" ? "127.0.0.1" : `127.9.0.${index}`, port)
    );
    let attempts = 0;
    using watched = watchLibc({
      ...fakeResolver(addresses),
      connect(fd, bytes, length) {
        const result = results[attempts++]!;
        return result === "connected"
          ? system.connect(fd, bytes, length)
          : -abi.errnos[result]!;
      },
    });
    const options = { hostname: "several.test", port };
    if (code === "connected") {
      connectSync(options).close();
    } else {
      const error = refusal(() => connectSync(options));
      assertErrno(error, code);
      assertEquals(error.errors.map(({ code }) => `${code}`), [...results]);
      assertEquals(
        error.errors.map(({ address }) => address),
        addresses.map(String),
      );
      assertEquals(error.address, `several.test:${port}`);
      for (const each of error.errors) {
        assertStringIncludes(error.message, `${each.address} ${each.code}`);
      }
      assertStringIncludes(error.message, `all ${results.length} addresses`);
    }
    assertEquals(attempts, results.length);
    assertEquals(watched.count("socket"), attempts);
    assertEquals(watched.count("close"), attempts);
    assertEquals(watched.count("freeaddrinfo"), 1);
  }
});

test("connectSync() goes on where one address has no socket", () => {
  using listener = listen();
  const { port } = listener.address;
  const addresses = [inet6("::1", port), listener.address];
  for (const kind of WITHOUT_IPV6) {
    using _watched = watchLibc({ ...fakeResolver(addresses), ...kind });
    using socket = connectSync({
      hostname: "both.test",
      port,
      localPort: 0,
    });
    assert(socket.remoteAddress!.equals(listener.address));
  }
}, { skip: canIpv6() });

test("connectSync() throws an only address's error as it is", () => {
  using peer = bound();
  const { port } = peer.address;
  using _watched = watchLibc(fakeResolver([peer.address]));
  const error = refusal(() => connectSync({ hostname: "one.test", port }));
  assertErrno(error, "ECONNREFUSED");
  assertEquals(error.errors, []);
});

test(
  "connectSync() takes the first of a race that replies, and closes the others",
  () => {
    using first = blackHole({ at: inet("127.0.0.2", 0) });
    const { port } = first.address;
    using second = blackHole({ at: inet("127.0.0.3", port) });
    const addresses = [first.address, second.address];
    const objections: string[] = [];
    for (const winner of [first, second]) {
      const sockets: Socket[] = [];
      // The SYN that found no room is repeated after a second.
      using socket = connectSync({
        hostname: "two.test",
        addresses,
        port,
        attemptDelay: 10,
        onSocket(socket) {
          if (sockets.push(socket) === 2) winner.accept().close();
        },
      });
      assert(socket.remoteAddress!.equals(winner.address));
      const open = sockets.filter(({ closed }) => !closed);
      if (open.length !== 1 || open[0] !== socket) {
        objections.push(`${open.length} open after ${winner.address}`);
      }
    }
    assertEquals(objections, []);
  },
  { skip: canBlackHole() },
);

test("connectSync() spends one timeout on all addresses of a name", () => {
  using hole = blackHole();
  const { port } = hole.address;
  using _watched = watchLibc(fakeResolver([hole.address, hole.address]));
  const error = refusal(() =>
    connectSync({ hostname: "slow.test", port, timeout: 10 * SHORT })
  );
  assertErrno(error, "ETIMEDOUT");
  assertEquals(error.timeoutKind, "deadline");
  assertGreaterOrEqual(error.elapsed!, 10 * SHORT);
  assertLess(error.elapsed!, AGES / 2);
}, { skip: canBlackHole() });

test("connectSync() hands LookupError its cause", () => {
  const { EIO } = abi.errnos;
  const eai = abi.eais.EAI_SYSTEM!;
  using _watched = watchLibc({ getaddrinfo: () => [eai, EIO!] });
  const error = outcome(() => connectSync({ hostname: "a.test", port: 80 }));
  assertInstanceOf(error, LookupError);
  assertEquals(error.code, "EAI_SYSTEM");
  assertInstanceOf(error.cause, Errno.EIO);
});

// Signals.

test("connectSync() waits when a signal interrupts connect(2)", async () => {
  using hole = blackHole();
  const child = traced(
    ["--trace=connect"],
    ({ connectSync, stormOfSignals }, port) => {
      using _storm = stormOfSignals(2);
      using socket = connectSync({ port });
      return [`${socket.remoteAddress}`, socket.nonblocking];
    },
    hole.address.port,
  );
  const [{ result, calls }] = await Promise.all([child, letInLater(hole)]);
  assertEquals(result, [`${hole.address}`, false]);
  assertEquals(calls.length, 1, calls.join("\n"));
}, { skip: needs(canBlackHole(), canTrace()) });

test(
  "connectSync() waits in a storm of signals for its deadline, and no longer",
  async () => {
    using hole = blackHole();
    const { result, calls } = await traced(
      ["--trace=connect"],
      ({ connectSync, ErrnoError, stormOfSignals }, port) => {
        using _storm = stormOfSignals(2);
        try {
          connectSync({ port, timeout: 60 }).close();
          return "connected";
        } catch (error) {
          if (!(error instanceof ErrnoError)) throw error;
          return [error.code, error.timeoutKind!, error.elapsed! >= 60];
        }
      },
      hole.address.port,
    );
    assertEquals<unknown>(result, ["ETIMEDOUT", "deadline", true]);
    assertEquals(calls.length, 1, calls.join("\n"));
  },
  { skip: needs(canBlackHole(), canTrace()) },
);

test(
  "connectSync() reports the true error after a storm of signals",
  async () => {
    using hole = blackHole();
    const { result, calls } = await traced(
      ["--trace=connect"],
      ({ connectSync, ErrnoError, stormOfSignals }, port) => {
        using _storm = stormOfSignals(2);
        try {
          const socketOptions = { userTimeout: 100 };
          connectSync({ port, socketOptions }).close();
          return "connected";
        } catch (error) {
          if (!(error instanceof ErrnoError)) throw error;
          return [error.code, error.timeoutKind!];
        }
      },
      hole.address.port,
    );
    assertEquals<unknown>(result, ["ETIMEDOUT", "kernel"]);
    assertEquals(calls.length, 1, calls.join("\n"));
  },
  { skip: needs(canBlackHole(), canTrace(), onLinux) },
);

test(
  "connectSync() waits for room in a Unix-domain backlog through signals",
  async () => {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    using hole = blackHole({ at: unix(path) });
    const child = inChild(
      {},
      ({ connectSync, stormOfSignals }, path) => {
        using _storm = stormOfSignals(2);
        using socket = connectSync({ transport: "unix", path });
        return `${socket.remoteAddress}`;
      },
      path,
    );
    const [address] = await Promise.all([child, letInLater(hole)]);
    assertEquals(address, `unix:${path}`);
  },
  { skip: onLinux },
);

test(
  "connectSync() throws whatever the kernel returns",
  async () => {
    const codes = ["ENETDOWN", "EADDRNOTAVAIL", "ENOBUFS", "EFAULT", "EPERM"];
    for (const code of codes as ErrnoCode[]) {
      const { result } = await traced(
        ["--trace=connect", `--inject=connect:error=${code}`],
        ({ connectSync, ErrnoError }) => {
          try {
            connectSync({ port: 1 }).close();
            return "connected";
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
            return error.code;
          }
        },
      );
      assertEquals<unknown>(result, code);
    }
  },
  { skip: needs(canTrace(), onLinux) },
);

/** Makes room in a backlog once the child has had time to run into it. */
async function letInLater(hole: { accept(): Socket }): Promise<void> {
  await pause(500);
  hole.accept().close();
}

// One socket, several calls.

test("Socket#connectSync() throws EISCONN on a connected socket", () => {
  using listener = listen();
  using other = listen();
  using socket = Socket.open();
  socket.connectSync(listener.address);
  const again = inet("127.0.0.1", listener.address.port);
  for (const address of [listener.address, again, other.address]) {
    for (const timeout of [undefined, AGES]) {
      const error = refusal(() => socket.connectSync(address, { timeout }));
      assertErrno(error, "EISCONN");
      assertEquals(error.address, `${address}`);
    }
  }
  assertEquals(errnoName(socket.tryConnect(listener.address)), "EISCONN");
  assertEquals(socket.nonblocking, false);
});

test("Socket#tryConnect() returns EALREADY on a pending socket", () => {
  using hole = blackHole();
  using socket = Socket.open({ nonblocking: true });
  assertEquals(errnoName(socket.tryConnect(hole.address)), "EINPROGRESS");
  assertEquals(errnoName(socket.tryConnect(hole.address)), "EALREADY");
}, { skip: canBlackHole() });

test(
  "Socket#connectSync() throws EALREADY when another address is pending",
  () => {
    using hole = blackHole();
    using listener = listen();
    using socket = Socket.open({ nonblocking: true });
    socket.tryConnect(hole.address);
    const error = refusal(() => socket.connectSync(listener.address));
    assertErrno(error, "EALREADY");
    assertEquals(error.address, `${listener.address}`);
  },
  { skip: canBlackHole() },
);

test(
  "Socket#connectSync() still waits for the first address after another's EALREADY",
  () => {
    using hole = blackHole();
    using listener = listen();
    using socket = Socket.open({ nonblocking: true });
    socket.tryConnect(hole.address);
    refusal(() => socket.connectSync(listener.address));
    const error = refusal(() =>
      socket.connectSync(hole.address, { timeout: SHORT })
    );
    assertErrno(error, "ETIMEDOUT");
    assertErrno(
      refusal(() => socket.connectSync(listener.address)),
      "EALREADY",
    );
  },
  { skip: canBlackHole() },
);

test("Socket#connectSync() waits for what tryConnect() began", () => {
  using hole = blackHole();
  using socket = Socket.open({ nonblocking: true });
  assertEquals(errnoName(socket.tryConnect(hole.address)), "EINPROGRESS");
  hole.accept().close();
  socket.connectSync(hole.address, { timeout: AGES });
  assert(socket.remoteAddress!.equals(hole.address));
  assertEquals(socket.takeError(), null);
}, { skip: canBlackHole() });

test(
  "Socket#connectSync() reports how the attempt of tryConnect() ended",
  () => {
    using peer = bound();
    using socket = Socket.open({ nonblocking: true });
    assertEquals(errnoName(socket.tryConnect(peer.address)), "EINPROGRESS");
    assertErrno(
      refusal(() => socket.connectSync(peer.address)),
      "ECONNREFUSED",
    );
  },
  { skip: onLinux },
);

test("Socket#connectSync() tries again after a failure", () => {
  using peer = bound();
  using listener = listen();
  for (const nonblocking of [false, true]) {
    using socket = Socket.open({ nonblocking });
    for (let i = 0; i < 3; i++) {
      assertErrno(
        refusal(() => socket.connectSync(peer.address)),
        "ECONNREFUSED",
      );
    }
    socket.connectSync(listener.address);
    assert(socket.remoteAddress!.equals(listener.address));
  }
}, { skip: onLinux });

test("Socket#connectSync() lets a datagram socket change its peer", () => {
  using one = bound({ type: "dgram" });
  using other = bound({ type: "dgram" });
  using socket = Socket.open({ type: "dgram" });
  for (const { address } of [one, other, one, one]) {
    socket.connectSync(address);
    assert(socket.remoteAddress!.equals(address));
  }
  assertEquals(socket.tryConnect(unspecified()), 0);
  assertEquals(socket.remoteAddress, null);
});

test("Socket#connectSync() throws for an address that does not fit", () => {
  using folder = tempFolder();
  using datagrams = bound({
    at: unix(join(folder.path, "datagrams")),
    type: "dgram",
  });
  using stream = listen({ at: unix(join(folder.path, "stream")) });
  using tcp = listen();
  const { port } = tcp.address;
  const rows: readonly (readonly [
    Parameters<typeof Socket.open>[0],
    Address,
    ErrnoCode,
  ])[] = [
    [{ family: "inet" }, inet6("::1", port), "EAFNOSUPPORT"],
    [{ family: "inet" }, stream.address, "EAFNOSUPPORT"],
    [{ family: "unix" }, tcp.address, "EINVAL"],
    [{ family: "unix" }, datagrams.address, "EPROTOTYPE"],
    [{ family: "unix", type: "dgram" }, stream.address, "EPROTOTYPE"],
    [{ type: "dgram" }, inet("127.255.255.255", 9), "EACCES"],
  ];
  for (const [options, address, code] of rows) {
    using socket = Socket.open(options);
    const error = refusal(() => socket.connectSync(address));
    assertErrno(error, code);
  }
}, { skip: onLinux });

test("Socket#connectSync() throws EISCONN on a listening socket", () => {
  using listener = listen();
  using other = listen();
  using socket = Socket.fromFd(listener.fd);
  const error = refusal(() => socket.connectSync(other.address));
  assertErrno(error, "EISCONN");
  socket.detach();
}, { skip: onLinux });

// Both ends the same.

test("Socket#connectSync() meets itself where the caller bound it so", () => {
  using socket = Socket.open();
  socket.bind(inet("127.0.0.1", 0));
  socket.connectSync(socket.localAddress);
  assert(socket.remoteAddress!.equals(socket.localAddress));
  assertTalks(socket, socket);
}, { skip: onLinux });

test("connectSync() meets itself where the caller asked for that port", () => {
  const port = freePort();
  using socket = connectSync({
    port,
    localAddress: "127.0.0.1",
    localPort: port,
    socketOptions: { linger: 0 },
  });
  assert(socket.remoteAddress!.equals(socket.localAddress));
}, { skip: onLinux });

test("connectSync() hands out no socket that met itself", () => {
  const objections: string[] = [];
  for (const options of UNBOUND) {
    const port = freePort();
    using watched = watchLibc();
    const result = outcome(() =>
      connectSync(
        {
          port,
          socketOptions: { localPortRange: [port, port] },
          ...options,
        } as ConnectOptions,
      )
    );
    if (result instanceof Socket) {
      // So that the port is not kept for a minute.
      result.setOption("linger", 0);
      result.close();
    }
    // A name is sought in the hosts file.
    const all = watched.count("socket") + watched.count("open");
    assertEquals(all, watched.count("close"));
    if (!isSelfConnection(result)) {
      objections.push(`${Object.keys(options)}: ${result}`);
    }
  }
  assertEquals(objections, []);
}, { skip: needs(onLinux, unemulated("does not know IP_LOCAL_PORT_RANGE")) });

test("connectSync() says that a socket has met itself, not that the port is held", () => {
  const objections: string[] = [];
  for (const options of UNBOUND) {
    using watched = watchLibc(holdsOnlyPort());
    const result = outcome(() =>
      connectSync({ port: 50_000, ...options } as ConnectOptions)
    );
    // A name is sought in the hosts file.
    const all = watched.count("socket") + watched.count("open");
    assertEquals(all, watched.count("close"));
    if (!isSelfConnection(result)) {
      objections.push(`${Object.keys(options)}: ${result}`);
    }
  }
  assertEquals(objections, []);
});

test("connectSync() meets itself where onSocket asked for that port", () => {
  const port = freePort();
  using socket = connectSync({
    port,
    socketOptions: { linger: 0 },
    onSocket: (socket) => socket.bind(inet("127.0.0.1", port)),
  });
  assert(socket.remoteAddress!.equals(socket.localAddress));
}, { skip: onLinux });

test("connectSync() finds no listener among two ephemeral ports", async () => {
  const results = await inChild(
    { namespace: "sysctl -qw net.ipv4.ip_local_port_range='40000 40001'" },
    ({ connectSync, isErrno }) => {
      const results = new Set<string>();
      for (let i = 0; i < 50; i++) {
        for (const port of [40_000, 40_001]) {
          try {
            connectSync({ port }).close();
            results.add("connected");
          } catch (error) {
            results.add(
              isErrno(error, "ECONNREFUSED") ? error.code : `${error}`,
            );
          }
        }
      }
      return [...results];
    },
  );
  assertEquals(results, ["ECONNREFUSED"]);
}, { skip: needs(canIsolate(), hasCommand("sysctl"), onLinux) });

// The state machine, on a kernel that follows a script.

/** A wake-up, or what poll(2) itself returns: 0 for none in time, or an errno's name. */
type PollResult = Wake | 0 | ErrnoCode;

/** An attempt that is waited for by a poll(2) that blocks. */
interface PollScript extends Script<PollResult> {
  readonly abi?: Partial<Libc["abi"]>;
}

const DRAINED: Wake = { revents: ["POLLERR"], peer: "ENOTCONN" };

const POLL_SCRIPTS: readonly PollScript[] = [
  ...SCRIPTS,
  {
    title: "writable with an error and no POLLERR",
    wakes: [{ revents: ["POLLOUT"], error: "ETIMEDOUT", peer: "ENOTCONN" }],
    ends: "ETIMEDOUT",
  },
  {
    title: "a hang-up after the handshake",
    wakes: [{ revents: ["POLLOUT", "POLLHUP"] }],
    ends: "connected",
  },
  {
    title: "woken without news",
    wakes: [SPURIOUS, SPURIOUS, WRITABLE],
    ends: "connected",
  },
  {
    title: "woken without news, then refused",
    wakes: [SPURIOUS, failed("ECONNREFUSED")],
    ends: "ECONNREFUSED",
  },
  {
    title: "signals while it waits",
    wakes: ["EINTR", "EINTR", WRITABLE],
    ends: "connected",
  },
  {
    title: "poll that returns early",
    wakes: [0, 0, WRITABLE],
    ends: "connected",
  },
  { title: "poll that fails", wakes: ["ENOMEM"], ends: "ENOMEM" },
  {
    title: "a soft error, POLLERR again, then the handshake",
    wakes: [SOFT, DRAINED, DRAINED, WRITABLE],
    ends: "connected",
  },
  {
    title: "two soft errors, of which the last one counts",
    wakes: [
      SOFT,
      { revents: ["POLLERR"], error: "ENETUNREACH", queued: 1 },
      failed("ETIMEDOUT"),
    ],
    ends: "ENETUNREACH",
  },
  {
    title: "a soft error, then the end without a reason",
    wakes: [SOFT, UNEXPLAINED],
    ends: "EHOSTUNREACH",
  },
  {
    title: "a reset between the handshake and the look, as BSD reports it",
    wakes: [{ revents: ["POLLOUT"], peer: "EINVAL" }],
    ends: "EINVAL",
  },
  {
    title: "a descriptor that is gone",
    wakes: [{ revents: ["POLLNVAL"], unreadable: "EBADF" }],
    ends: "EBADF",
  },
  {
    title: "an error that cannot be read",
    wakes: [{ revents: ENDED, unreadable: "ENOBUFS" }],
    ends: "ENOBUFS",
  },
  {
    title: "no queue of errors, and an error is an end",
    wakes: [{ revents: ["POLLERR"], error: "EHOSTUNREACH" }],
    ends: "EHOSTUNREACH",
    abi: { errorQueue: null },
  },
  {
    title: "no queue of errors, and POLLERR without an error",
    wakes: [DRAINED, WRITABLE],
    ends: "connected",
    abi: { errorQueue: null },
  },
];

/** A C library whose connect is under way, and ends as a script says. */
function follow(
  { wakes, abi: changes }: PollScript,
  first: ErrnoCode,
): Partial<Libc> {
  const { littleEndian, pollfd, errnos } = abi;
  const scripted = scriptedSocket();
  let next = 0;
  return {
    ...scripted.fakes,
    abi: { ...abi, ...changes },
    connect: () => -errnos[first]!,
    poll(fds) {
      const wake = wakes[next++];
      assert(wake !== undefined, "poll was called more often than scripted");
      assertEquals(scripted.queued, 0, "the queue of errors was not drained");
      if (wake === 0) return 0;
      if (typeof wake === "string") return -errnos[wake]!;
      scripted.wake(wake);
      new DataView(fds.buffer, fds.byteOffset)
        .setInt16(pollfd.revents, maskOf(wake.revents), littleEndian);
      return 1;
    },
  };
}

for (const script of POLL_SCRIPTS) {
  test(`Socket#connectSync() ends right: ${script.title}`, () => {
    for (
      const [first, timeout] of [
        ["EINPROGRESS", AGES],
        ["EINPROGRESS", undefined],
        ["EINTR", undefined],
        ["EINTR", AGES],
      ] as const
    ) {
      using watched = watchLibc(follow(script, first));
      using socket = Socket.open();
      const result = outcome(() =>
        socket.connectSync(inet("127.0.0.1", 80), {
          timeout,
          softErrors: "wait",
        })
      );
      if (script.ends === "connected") assertEquals(result, undefined);
      else assertErrno(result, script.ends);
      assertEquals(watched.count("connect"), 1);
      assertEquals(watched.count("poll"), script.wakes.length);
      assertEquals(socket.nonblocking, false);
    }
  });
}

test("Socket#connectSync() asks poll(2) for the time that is left", () => {
  const waits: number[] = [];
  using _watched = watchLibc({
    connect: () => -abi.errnos.EINPROGRESS!,
    poll(_fds, _count, timeout) {
      waits.push(timeout);
      const until = performance.now() + 20;
      while (performance.now() < until);
      return -abi.errnos.EINTR!;
    },
  });
  using socket = Socket.open();
  const error = refusal(() =>
    socket.connectSync(inet("127.0.0.1", 80), { timeout: 300 })
  );
  assertEquals(error.timeoutKind, "deadline");
  assertGreaterOrEqual(error.elapsed!, 300);
  // The end is a whole millisecond of the clock.
  assert(waits.length > 1 && waits[0]! <= 301);
  for (const [index, wait] of waits.entries()) {
    assert(wait >= 0 && wait <= (waits[index - 1] ?? 301), `${waits}`);
  }
});

/** What connect(2) of the Unix-domain family returns, call by call. */
const UNIX_SCRIPTS: readonly {
  readonly results: readonly (ErrnoCode | 0)[];
  readonly timeout?: number;
  readonly ends: ErrnoCode | "connected";
}[] = [
  { results: [0], ends: "connected" },
  { results: ["ENOENT"], timeout: AGES, ends: "ENOENT" },
  { results: ["EAGAIN", "EAGAIN", 0], timeout: AGES, ends: "connected" },
  {
    results: ["EAGAIN", "ECONNREFUSED"],
    timeout: AGES,
    ends: "ECONNREFUSED",
  },
  { results: ["EAGAIN"], ends: "EAGAIN" },
  { results: ["EAGAIN"], timeout: 0, ends: "ETIMEDOUT" },
  { results: ["EINTR", "EINTR", 0], ends: "connected" },
  { results: ["EINTR", "EISCONN"], ends: "connected" },
  { results: ["EINTR", "ECONNREFUSED"], ends: "ECONNREFUSED" },
  {
    results: ["EINTR", "EAGAIN", "EINTR", 0],
    timeout: AGES,
    ends: "connected",
  },
  { results: ["EISCONN"], ends: "EISCONN" },
];

test("Socket#connectSync() connects again in the Unix-domain family", () => {
  for (const { results, timeout, ends } of UNIX_SCRIPTS) {
    let calls = 0;
    using _watched = watchLibc({
      connect() {
        const result = results[calls++];
        assert(result !== undefined, "connect was called once too often");
        return result === 0 ? 0 : -abi.errnos[result]!;
      },
    });
    using socket = Socket.open({ family: "unix" });
    const result = outcome(() =>
      socket.connectSync(unix("/none"), { timeout })
    );
    if (ends === "connected") assertEquals(result, undefined);
    else assertErrno(result, ends);
    assertEquals(calls, results.length);
    assertEquals(socket.nonblocking, false);
  }
});

test("connectSync() keeps the number of an errno that is in no table", () => {
  using _watched = watchLibc({ connect: () => -1234 });
  const error = refusal(() => connectSync({ port: 80 }));
  assertEquals([error.code, error.errno], ["UNKNOWN", 1234]);
  assertStringIncludes(error.message, "1234");
});

// No descriptor is lost. The harness counts those of every test here.

test("connectSync() closes the socket when onSocket throws", () => {
  using listener = listen();
  const reason = new Error("no");
  const opened: Socket[] = [];
  const error = outcome(() =>
    connectSync({
      port: listener.address.port,
      onSocket(socket) {
        opened.push(socket);
        throw reason;
      },
    })
  );
  assert(error === reason);
  assertEquals(opened.map(({ closed }) => closed), [true]);
});

test("connectSync() fails clearly when onSocket closes the socket", () => {
  using listener = listen();
  using watched = watchLibc();
  const error = refusal(() =>
    connectSync({
      port: listener.address.port,
      onSocket: (socket) => socket.close(),
    })
  );
  assertErrno(error, "EBADF");
  assert(!watched.names.includes("connect"));
});

/** Calls that fail on the way, and the options of connectSync() that make them. */
const FAILING: readonly (readonly [
  keyof Libc,
  ErrnoCode,
  Record<string, unknown>,
])[] = [
  ["socket", "EMFILE", {}],
  ["socket", "ENFILE", {}],
  ["setsockopt", "EPERM", { socketOptions: { ttl: 3 } }],
  ["setsockopt", "ENODEV", { interface: "lo" }],
  ["bind", "EACCES", { localPort: 1 }],
  ["connect", "EINVAL", {}],
  ["connect", "EINVAL", { timeout: AGES }],
];

test("connectSync() closes the socket whichever call fails", () => {
  using listener = listen();
  const { port } = listener.address;
  for (const [call, code, options] of FAILING) {
    using watched = watchLibc({ [call]: () => -abi.errnos[code]! });
    const error = refusal(() =>
      connectSync({ port, ...options } as ConnectOptions)
    );
    assertErrno(error, code);
    assertEquals(error.syscall, call);
    const opened = call === "socket" ? 0 : 1;
    assertEquals(watched.count("close"), opened, call);
  }
});

test("connectSync() closes the socket when reading its addresses fails", () => {
  using listener = listen();
  const { port } = listener.address;
  for (const call of ["getsockname", "getpeername", "fcntl"] as const) {
    using watched = watchLibc({ [call]: () => -abi.errnos.ENOBUFS! });
    const result = outcome(() => connectSync({ port, timeout: AGES }));
    if (result instanceof Socket) result.close();
    assertEquals(watched.count("close"), 1);
  }
});

test("connectSync() reports the attempt's error though no local address can be read", () => {
  using peer = bound();
  using _watched = watchLibc({ getsockname: () => -abi.errnos.ENOBUFS! });
  const error = refusal(() => connectSync({ port: peer.address.port }));
  assertErrno(error, "ECONNREFUSED");
});

test(
  "connectSync() throws EMFILE when the process has no descriptor left",
  async () => {
    const [code, syscall, after] = await inChild(
      { command: ["prlimit", "--nofile=80"] },
      ({ connectSync, ErrnoError, listen, Socket }) => {
        using listener = listen();
        const { port } = listener.address;
        const sockets: { close(): void }[] = [];
        let first: unknown;
        try {
          for (;;) sockets.push(Socket.open());
        } catch {
          try {
            connectSync({ port });
          } catch (error) {
            first = error;
          }
        }
        for (const socket of sockets) socket.close();
        connectSync({ port }).close();
        if (!(first instanceof ErrnoError)) throw first;
        return [first.code, first.syscall, "connected"];
      },
    );
    assertEquals([code, syscall, after], ["EMFILE", "socket", "connected"]);
  },
  { skip: hasCommand("prlimit") },
);

test("connectSync() leaves no descriptor after many failures and successes", () => {
  using listener = listen();
  using peer = bound();
  const fds = new Set<number>();
  for (let i = 0; i < 200; i++) {
    refusal(() => connectSync({ port: peer.address.port }));
    using socket = connectSync({ port: listener.address.port });
    listener.reset();
    fds.add(socket.fd);
  }
  assertLess(fds.size, 10);
});

test("connectSync() finds a name of the hosts file without any time, as connect() does", async () => {
  using listener = listen();
  const { port } = listener.address;
  const target = { hostname: "localhost", family: "inet", port } as const;
  connectSync({ ...target, timeout: 0 }).close();
  (await connect({ ...target, timeout: 0 })).close();
});

test("what a transport has no use for is refused, and left out of the defaults", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "s");
  using listener = listen({ at: unix(path) });
  const unixTarget = { transport: "unix", path };
  const vsockTarget = { transport: "vsock", cid: 1, port: 1 };
  const rows: readonly (readonly [target: object, key: string])[] = [
    [{ port: 1, path }, "path"],
    [{ path }, "path"],
    [{ transport: "tcp", port: 1, cid: 2 }, "cid"],
    [{ ...unixTarget, port: 1 }, "port"],
    [{ ...unixTarget, hostname: "127.0.0.1" }, "hostname"],
    [{ ...unixTarget, localAddress: "127.0.0.1" }, "localAddress"],
    [{ ...unixTarget, family: "inet" }, "family"],
    [{ ...unixTarget, protocol: "mptcp" }, "protocol"],
    [{ ...unixTarget, interface: "lo" }, "interface"],
    [{ ...unixTarget, lookup: () => [] }, "lookup"],
    [{ ...vsockTarget, path }, "path"],
    [{ ...vsockTarget, localPort: 1 }, "localPort"],
  ];
  for (const [target, key] of rows) {
    using watched = watchLibc();
    const options = target as ConnectOptions;
    for (
      const error of [
        outcome(() => connectSync(options)),
        await outcome(connect(options)),
      ]
    ) {
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, `Cannot use options with ${key}: `);
    }
    assertEquals(watched.names, []);
  }
  // Defaults are for targets of every kind.
  const defaults: object = { localAddress: "127.0.0.1", protocol: "mptcp" };
  connectSync(unixTarget as ConnectOptions, defaults).close();
  (await connect(unixTarget as ConnectOptions, defaults)).close();
  for (const accepted of [listener.accept(), listener.accept()]) {
    accepted.close();
  }
});

test("connectSync() sends nothing once onSocket has aborted its signal", () => {
  const reason = new Error("enough");
  for (const addresses of [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]]) {
    const controller = new AbortController();
    using watched = watchLibc();
    const error = outcome(() =>
      connectSync({
        hostname: "some.test",
        addresses,
        port: 9,
        signal: controller.signal,
        onSocket: () => controller.abort(reason),
      })
    );
    assertStrictEquals(error, reason);
    assertEquals(watched.count("connect"), 0);
    assertEquals(watched.count("socket"), 1);
    assertEquals(watched.count("close"), 1);
  }
});
