import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  connect,
  type ConnectOptions,
  connectSync,
  type EaiCode,
  type ErrnoCode,
  inet,
  inet6,
  type Inet6Address,
  type InetAddress,
  LookupError,
  Socket,
  unix,
} from "../mod.ts";
import {
  AGES,
  assertErrno,
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
  fakeResolver,
  freePort,
  holdsOnlyPort,
  inChild,
  listen,
  type Listener,
  PLAIN_RESOLVER,
  tempFolder,
  UNBOUND,
  type Watched,
  watchLibc,
  WITHOUT_IPV6,
} from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import { canIpv6, hasCommand, needs, onLinux, test } from "./_harness.ts";
import { FILES_ONLY, NAME_SERVER } from "./_networks.ts";

const abi = currentAbi();
/** The system's C library, for fakes that pass some calls on. */
const system = libc();

type IpAddress = InetAddress | Inet6Address;

/** The parts of a C library that resolve every name to these addresses, off the thread and after a while. */
function resolver(
  addresses: readonly IpAddress[],
  delay: number = 0,
): Partial<Libc> {
  const { getaddrinfo, ...others } = fakeResolver(addresses);
  return {
    ...others,
    async getaddrinfoAsync(node, hints, list) {
      await pause(delay);
      return getaddrinfo(node, hints, list)[0];
    },
  };
}

/** A host that never replies, by several addresses. */
function blackHoles(count: number): Listener<InetAddress> & {
  addresses: InetAddress[];
} {
  const hole = blackHole({ at: inet("0.0.0.0", 0) });
  const { port } = hole.address;
  const addresses = Array.from(
    { length: count },
    (_, i) => inet(`127.0.0.${i + 1}`, port),
  );
  return { ...hole, address: addresses[0]!, addresses };
}

/** How many sockets were opened for connections: the reactor opens others. */
function opened({ calls }: Watched): number {
  const families = [abi.AF_INET, abi.AF_INET6];
  return calls.filter(({ name, args }) =>
    name === "socket" && families.includes(args[0] as number)
  ).length;
}

// One address.

test("connect() reaches listeners of every family", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "s");
  using one = listen();
  using two = listen({ at: unix(path) });
  for (const timeout of [undefined, AGES]) {
    using socket = await connect({ port: one.address.port, timeout });
    using accepted = one.accept();
    assert(socket.remoteAddress!.equals(one.address));
    assert(accepted.remoteAddress!.equals(socket.localAddress));
    assertEquals(socket.nonblocking, true);
    const flags = system.fcntl(socket.fd, abi.F_GETFD, 0);
    assertEquals(flags & abi.FD_CLOEXEC, abi.FD_CLOEXEC);
    using other = await connect({ transport: "unix", path, timeout });
    assert(other.remoteAddress!.equals(two.address));
  }
});

test("connect() reaches an IPv6 listener, in brackets or without", async () => {
  using listener = listen({ at: inet6("::1", 0) });
  for (const hostname of ["::1", "[::1]"]) {
    using socket = await connect({ hostname, port: listener.address.port });
    assert(socket.remoteAddress!.equals(listener.address));
  }
}, { skip: canIpv6() });

test("connect() takes defaults, over which the options win, and shows the socket", async () => {
  using listener = listen();
  const seen: unknown[] = [];
  using socket = await connect({
    port: listener.address.port,
    onSocket(socket) {
      assertEquals(socket.remoteAddress, null);
      assertEquals(socket.getOption("ttl"), 42);
      seen.push(socket);
    },
  }, {
    timeout: AGES,
    socketOptions: { ttl: 42 },
    onSocket: () => void seen.push("default"),
  });
  assertEquals(seen.length, 1);
  assertStrictEquals(seen[0], socket);
});

test("connect() connects from localAddress and localPort", async () => {
  using listener = listen();
  const { port } = listener.address;
  using one = await connect({ port, localAddress: "127.0.0.5" });
  assertMatch(`${one.localAddress}`, /^127\.0\.0\.5:/);
  const localPort = freePort();
  using two = await connect({
    port,
    localPort,
    socketOptions: { linger: 0 },
  });
  assertEquals(`${two.localAddress}`, `127.0.0.1:${localPort}`);
}, { skip: onLinux });

test("connect() throws what connectSync() throws", async () => {
  using peer = bound();
  const { port } = peer.address;
  const error = await refusal(connect({ port }));
  assertErrno(error, "ECONNREFUSED");
  assertEquals(
    error.message,
    `Cannot connect to 127.0.0.1:${port}: connection refused (ECONNREFUSED)`,
  );
  assertEquals(error.address, `127.0.0.1:${port}`);
  assertEquals(error.syscall, "connect");
  assertEquals(error.errors, []);
  assertGreaterOrEqual(error.elapsed!, 0);
});

test(
  "connect() reports whether the caller's or the kernel's time was over",
  async () => {
    using hole = blackHole();
    const { port } = hole.address;
    const ours = await refusal(connect({ port, timeout: SHORT }));
    assertErrno(ours, "ETIMEDOUT");
    assertEquals(ours.timeoutKind, "deadline");
    assertGreaterOrEqual(ours.elapsed!, SHORT);
    const kernels = await refusal(connect({
      port,
      timeout: AGES,
      onSocket: (socket) => socket.setOption("userTimeout", SHORT),
    }));
    assertErrno(kernels, "ETIMEDOUT");
    assertEquals(kernels.timeoutKind, "kernel");
  },
  { skip: needs(canBlackHole(), onLinux) },
);

// Called off.

test("connect() opens no socket when its signal is aborted before", async () => {
  using listener = listen();
  using watched = watchLibc(resolver([listener.address]));
  for (const hostname of ["127.0.0.1", "one.test"]) {
    for (const reason of [new Error("own"), "text", 0, null]) {
      const signal = AbortSignal.abort(reason);
      const { port } = listener.address;
      const result = await connect({ hostname, port, signal })
        .then(() => "connected", (error) => ({ error }));
      assertEquals(result, { error: reason });
    }
  }
  assertEquals(watched.calls, []);
});

test(
  "connect() rejects with the signal's reason, and closes its sockets",
  async () => {
    using hole = blackHoles(3);
    const { address, addresses } = hole;
    using watched = watchLibc(resolver(addresses));
    for (const hostname of ["127.0.0.1", "three.test"]) {
      for (const reason of [new Error("own"), "text", 0, null]) {
        const before = opened(watched);
        const controller = new AbortController();
        const pending = connect({
          hostname,
          port: address.port,
          attemptDelay: 10,
          signal: controller.signal,
        }).then(() => "connected", (error) => ({ error }));
        const expected = hostname === "three.test" ? 3 : 1;
        while (opened(watched) < before + expected) await pause(1);
        controller.abort(reason);
        assertEquals(await pending, { error: reason });
      }
    }
  },
  { skip: canBlackHole() },
);

test("connect() begins no attempt once its signal is aborted", async () => {
  using hole = blackHoles(2);
  const { address, addresses } = hole;
  using watched = watchLibc(resolver(addresses));
  const controller = new AbortController();
  const pending = outcome(connect({
    hostname: "two.test",
    port: address.port,
    attemptDelay: 30,
    signal: controller.signal,
  }));
  while (opened(watched) < 1) await pause(1);
  controller.abort("enough");
  assertEquals(await pending, "enough");
  await pause(60);
  // On a busy machine the second attempt may begin before the abort.
  assert(opened(watched) <= 2);
}, { skip: canBlackHole() });

// Names.

test("connect() resolves localhost", async () => {
  using listener = listen();
  using socket = await connect({
    hostname: "localhost",
    port: listener.address.port,
    family: "inet",
  });
  assert(socket.remoteAddress!.equals(listener.address));
});

test("connect() tries the next address at once when one fails", async () => {
  using listener = listen();
  const { port } = listener.address;
  const addresses = [2, 3, 4].map((i) => inet(`127.0.0.${i}`, port));
  using watched = watchLibc(resolver([...addresses, listener.address]));
  using socket = await connect({
    hostname: "four.test",
    port,
    attemptDelay: AGES,
  });
  assert(socket.remoteAddress!.equals(listener.address));
  assertEquals(opened(watched), 4);
}, { skip: onLinux });

test(
  "connect() tries the next address after attemptDelay when one hangs",
  async () => {
    using hole = blackHole({ at: inet("127.0.0.2", 0) });
    const { port } = hole.address;
    using listener = listen({ at: inet("127.0.0.1", port) });
    using watched = watchLibc(resolver([hole.address, listener.address]));
    const started: number[] = [];
    const begun = performance.now();
    using socket = await connect({
      hostname: "two.test",
      port,
      attemptDelay: SHORT,
      onSocket: () => void started.push(performance.now()),
    });
    assert(socket.remoteAddress!.equals(listener.address));
    assertEquals(started.length, 2);
    // Timers count whole milliseconds.
    assertGreaterOrEqual(started[1]! - begun, SHORT - 2);
    assertEquals(opened(watched), 2);
  },
  { skip: needs(canBlackHole(), onLinux) },
);

test(
  "connect() takes the first of a race that replies, whichever began",
  async () => {
    using first = blackHole({ at: inet("127.0.0.2", 0) });
    const { port } = first.address;
    using second = blackHole({ at: inet("127.0.0.3", port) });
    using _watched = watchLibc(resolver([first.address, second.address]));
    for (const winner of [second, first]) {
      const sockets: Socket[] = [];
      const pending = connect({
        hostname: "two.test",
        port,
        attemptDelay: 10,
        onSocket: (socket) => void sockets.push(socket),
      });
      while (sockets.length < 2) await pause(1);
      winner.accept().close();
      using socket = await pending;
      assert(socket.remoteAddress!.equals(winner.address));
      assertEquals(sockets.filter(({ closed }) => !closed), [socket]);
    }
  },
  { skip: needs(canBlackHole(), onLinux) },
);

test(
  "connect() and connectSync() close every socket, whichever call throws",
  async () => {
    using first = blackHole({ at: inet("127.0.0.2", 0) });
    const { port } = first.address;
    using second = blackHole({ at: inet("127.0.0.3", port) });
    const both = [first.address, second.address];
    const real = libc();
    const calls = [
      "connect",
      "getsockname",
      "getsockopt",
      "poll",
    ] as const;
    const objections: string[] = [];
    const cases = calls.flatMap((call) =>
      [connect, connectSync].flatMap((way) =>
        [both, [first.address]].flatMap((addresses) =>
          [1, 2, 3].map((nth) => ({ call, way, addresses, nth }))
        )
      )
    );
    for (const { call, way, addresses, nth } of cases) {
      const open = new Set<number>();
      let count = 0;
      using _watched = watchLibc({
        socket(domain, type, protocol) {
          const fd = real.socket(domain, type, protocol);
          if (domain === abi.AF_INET) open.add(fd);
          return fd;
        },
        close(fd) {
          open.delete(fd);
          return real.close(fd);
        },
        [call](...args: unknown[]) {
          if (++count === nth) throw new Error("as a runtime may");
          return (real[call] as (...args: unknown[]) => number)(...args);
        },
      });
      const options = { hostname: "two.test", addresses, port };
      await outcome(
        (async () =>
          (await way({ ...options, timeout: 20, attemptDelay: 10 })).close())(),
      );
      if (open.size > 0) {
        objections.push(`${way.name}, ${addresses.length}, ${call} ${nth}`);
      }
    }
    assertEquals(objections, []);
  },
  { skip: canBlackHole() },
);

test("connect() lets the families take turns", async () => {
  using peer = bound();
  const { port } = peer.address;
  const v4 = [1, 2, 3].map((i) => inet(`127.0.0.${i}`, port));
  const v6 = inet6("::1", port);
  const rows: readonly (readonly [IpAddress[], IpAddress[]])[] = [
    [[v4[0]!, v4[1]!, v4[2]!, v6], [v4[0]!, v6, v4[1]!, v4[2]!]],
    [[v6, v4[0]!, v4[1]!], [v6, v4[0]!, v4[1]!]],
  ];
  for (const [found, tried] of rows) {
    using _watched = watchLibc(resolver(found));
    const error = await refusal(connect({ hostname: "many.test", port }));
    assertEquals(
      error.errors.map(({ address }) => address),
      tried.map((address) => `${address}`),
    );
  }
}, { skip: needs(canIpv6(), onLinux) });

test("connect() makes one error of all addresses' failures", async () => {
  using hole = blackHole({ at: inet("127.0.0.3", 0) });
  const { port } = hole.address;
  using other = blackHole({ at: inet("127.0.0.4", port) });
  const refused = [inet("127.0.0.1", port), inet("127.0.0.2", port)];
  const rows: readonly (readonly [IpAddress[], ErrnoCode, ErrnoCode[]])[] = [
    [refused, "ECONNREFUSED", ["ECONNREFUSED", "ECONNREFUSED"]],
    [
      [hole.address, ...refused],
      "ECONNREFUSED",
      ["ETIMEDOUT", "ECONNREFUSED", "ECONNREFUSED"],
    ],
    [[hole.address, other.address], "ETIMEDOUT", ["ETIMEDOUT", "ETIMEDOUT"]],
  ];
  for (const [addresses, code, codes] of rows) {
    using _watched = watchLibc(resolver(addresses));
    const error = await refusal(connect({
      hostname: "many.test",
      port,
      // Every address is to be tried in time, however slow the machine is.
      timeout: 2000,
      attemptDelay: 10,
    }));
    assertErrno(error, code);
    assertEquals(error.address, `many.test:${port}`);
    assertEquals(error.errors.map(({ code }) => code), codes);
    for (const [i, each] of error.errors.entries()) {
      assertErrno(each, codes[i]!);
      assertEquals(each.address, `${addresses[i]}`);
      assertStringIncludes(error.message, `${addresses[i]} ${codes[i]}`);
      if (each.code === "ETIMEDOUT") assertEquals(each.timeoutKind, "deadline");
    }
    assertStringIncludes(
      error.message,
      `Cannot connect to many.test:${port}: all ${codes.length} addresses failed`,
    );
    if (code === "ETIMEDOUT") assertEquals(error.timeoutKind, "deadline");
    assertLess(error.elapsed!, AGES / 2);
  }
}, { skip: needs(canBlackHole(), onLinux) });

test("connect() throws an only address's error as it is", async () => {
  using peer = bound();
  const { port } = peer.address;
  using _watched = watchLibc(resolver([peer.address]));
  const error = await refusal(connect({ hostname: "one.test", port }));
  assertErrno(error, "ECONNREFUSED");
  assertEquals(error.errors, []);
  assertEquals(error.address, `127.0.0.1:${port}`);
});

test(
  "connect() spends one timeout on the name and all its addresses",
  async () => {
    using hole = blackHoles(2);
    const { address, addresses } = hole;
    using _watched = watchLibc(resolver(addresses, 50));
    const start = performance.now();
    const error = await refusal(connect({
      hostname: "slow.test",
      port: address.port,
      // Long enough for an emulated processor to come to the second address.
      timeout: 5000,
      attemptDelay: AGES,
    }));
    assertErrno(error, "ETIMEDOUT");
    assertEquals(error.errors.length, 2);
    assertGreaterOrEqual(performance.now() - start, 4999);
    assertLess(performance.now() - start, AGES / 2);
  },
  { skip: canBlackHole() },
);

test("connect() goes on where one address has no socket", async () => {
  using listener = listen();
  const { port } = listener.address;
  const addresses = [inet6("::1", port), listener.address];
  for (const kind of WITHOUT_IPV6) {
    using _watched = watchLibc({ ...resolver(addresses), ...kind });
    using socket = await connect({
      hostname: "both.test",
      port,
      localPort: 0,
      attemptDelay: AGES,
    });
    assert(socket.remoteAddress!.equals(listener.address));
  }
}, { skip: canIpv6() });

test(
  "connect() rejects with what onSocket throws, and closes every socket",
  async () => {
    using hole = blackHoles(3);
    const { address, addresses } = hole;
    using _watched = watchLibc(resolver(addresses));
    for (const hostname of ["127.0.0.1", "three.test"]) {
      for (const at of hostname === "three.test" ? [1, 2, 3] : [1]) {
        let count = 0;
        const reason = new Error("no");
        const result = await outcome(connect({
          hostname,
          port: address.port,
          attemptDelay: 10,
          onSocket() {
            if (++count === at) throw reason;
          },
        }));
        assertStrictEquals(result, reason);
        assertEquals(count, at);
      }
    }
  },
  { skip: canBlackHole() },
);

test(
  "connect() ends where the caller's code calls it off, and leaves no socket",
  async () => {
    using hole = blackHoles(2);
    using listener = listen({ at: inet("0.0.0.0", 0) });
    const addresses = ["127.0.0.1", "127.0.0.2"];
    const ports = [hole.address.port, listener.address.port];
    const hosts = [
      { hostname: "127.0.0.1" },
      { hostname: "two.test", addresses },
      { hostname: "two.test", lookup: () => addresses },
    ];
    for (const port of ports) {
      for (const host of hosts) {
        const controller = new AbortController();
        const { signal } = controller;
        const abort = () => controller.abort("enough");
        const target = { ...host, port, signal };
        using watched = watchLibc();
        const result = outcome(connect({ ...target, onSocket: abort }));
        assertEquals(await result, "enough");
        assertEquals(watched.count("connect"), 0);
      }
    }
  },
  { skip: canBlackHole() },
);

test("connect() fails with whatever the caller's lookup throws", async () => {
  for (const reason of [new Error("no"), "no", undefined, null, 0, false]) {
    const lookups = [
      () => Promise.reject(reason),
      () => {
        throw reason;
      },
    ];
    for (const lookup of lookups) {
      const target = { hostname: "one.test", port: 9, lookup };
      let timer;
      const end = await Promise.race([
        connect(target).catch((error) => [error]),
        new Promise((resolve) => timer = setTimeout(resolve, AGES / 10)),
      ]);
      clearTimeout(timer);
      assertEquals(end, [reason]);
    }
  }
});

test("connect() hears of an abort while it reads what it is given", async () => {
  using listener = listen();
  const { port } = listener.address;
  for (const addresses of [undefined, ["127.0.0.1", "127.0.0.2"]]) {
    const controller = new AbortController();
    const { signal } = controller;
    using watched = watchLibc();
    const socketOptions = {
      get noDelay(): boolean {
        controller.abort("enough");
        return true;
      },
    };
    const target = { port, addresses, signal, socketOptions };
    assertEquals(await outcome(connect(target)), "enough");
    assertEquals(watched.names, []);
  }
});

/** Takes more than the time of a short timeout. */
function busy(): void {
  const end = performance.now() + 2 * SHORT;
  while (performance.now() < end);
}

test("connect() sends nothing after a turn that has taken all the time", async () => {
  const most = 1000;
  const targets: [
    target: (address: InetAddress) => ConnectOptions,
    message: RegExp,
  ][] = [
    [
      ({ port }) => ({ port }),
      /^Cannot connect to 127\.0\.0\.1:\d+: it could not begin within /,
    ],
    [
      (address) => ({
        hostname: "pinned.test",
        port: address.port,
        addresses: [address],
      }),
      /^Cannot connect to 127\.0\.0\.1:\d+: it could not begin within /,
    ],
    [
      (address) => ({
        hostname: "name.test",
        port: address.port,
        lookup: () => [address],
      }),
      /^Cannot resolve name\.test:\d+: name not resolved within /,
    ],
  ];
  for (const [target, message] of targets) {
    using watched = watchLibc();
    // Loops over connects give others a turn sooner or later.
    const deadline = performance.now() + AGES;
    for (;;) {
      assertLess(performance.now(), deadline, "no turn was due");
      // Nobody accepts: without room for all, one of them would wait.
      using listener = listen({ backlog: most });
      const { address } = listener;
      const { port } = address;
      const ends: Promise<Socket>[] = [];
      const sent = () => watched.count("connect");
      let before = sent();
      do {
        before = sent();
        ends.push(connect({ port, timeout: AGES }));
      } while (sent() > before && ends.length < most);
      const late = connect(target(address), { timeout: SHORT });
      const isDeferred = sent() === before;
      busy();
      const error = await outcome(late);
      for (const end of ends) (await end).close();
      if (!isDeferred) {
        if (error instanceof Socket) error.close();
        continue;
      }
      assertErrno(error, "ETIMEDOUT");
      assertEquals(error.timeoutKind, "deadline");
      assertMatch(error.message, message);
      // That of the call before, which had time.
      assertEquals(sent(), before + 1);
      break;
    }
  }
});

test("nothing is sent once the caller's own code has taken all the time", async () => {
  using listener = listen();
  const { port } = listener.address;
  const slow: readonly Partial<ConnectOptions>[] = [
    { onSocket: busy },
    { hostname: "one.test", addresses: ["127.0.0.1"], onSocket: busy },
    {
      hostname: "one.test",
      lookup() {
        busy();
        return ["127.0.0.1"];
      },
    },
  ];
  for (const options of slow) {
    const target = { port, timeout: SHORT, ...options } as ConnectOptions;
    using watched = watchLibc();
    for (
      const error of [
        await refusal(connect(target)),
        refusal(() => connectSync(target)),
      ]
    ) {
      assertErrno(error, "ETIMEDOUT");
      assertEquals(error.timeoutKind, "deadline");
    }
    assertEquals(watched.count("connect"), 0);
    // Without any time, there is one attempt all the same.
    (await connect({ ...target, timeout: 0 })).close();
  }
});

test("connectSync() refuses a late promise, and leaves no rejection of it", async () => {
  function lookup(): Promise<never> {
    busy();
    return Promise.reject(new Error("nobody handles it"));
  }
  const target = { hostname: "one.test", port: 9, timeout: SHORT, lookup };
  assertThrows(
    () => connectSync(target),
    TypeError,
    "it returned a promise",
  );
  // A rejection that nobody handles ends the tests.
  await pause(0);
});

test("connect() keeps what its options were when it was called", async () => {
  using hole = blackHole();
  using listener = listen({ at: inet("127.0.0.2", hole.address.port) });
  const keepAlive = { initialDelay: 3000 };
  let reads = 0;
  const socketOptions = {
    get keepAlive() {
      reads++;
      return keepAlive;
    },
  };
  const work = connect({
    hostname: "two.test",
    port: listener.address.port,
    addresses: ["127.0.0.1", "127.0.0.2"],
    attemptDelay: 20,
    socketOptions,
  });
  keepAlive.initialDelay = -1;
  using socket = await work;
  assertEquals(reads, 1);
  const { initialDelay } = socket.getOption("keepAlive") as {
    initialDelay: number;
  };
  assertEquals(initialDelay, 3000);
}, { skip: needs(canBlackHole(), onLinux) });

test(
  "connect() closes its socket when there is no descriptor to wait with",
  async () => {
    using hole = blackHoles(2);
    const { address, addresses } = hole;
    const full = () => -abi.errnos.EMFILE!;
    using _watched = watchLibc({
      ...resolver(addresses),
      epoll_create1: full,
      pipe: full,
    });
    for (const hostname of ["127.0.0.1", "two.test"]) {
      const { port } = address;
      for (let i = 0; i < 3; i++) {
        const pending = connect({ hostname, port, attemptDelay: 10 });
        assertErrno(await refusal(pending), "EMFILE");
      }
    }
  },
  { skip: canBlackHole() },
);

test(
  "connect() opens no socket when it is called off while it waits for its turn",
  async () => {
    using peer = bound();
    const { port } = peer.address;
    using watched = watchLibc();
    const controller = new AbortController();
    const { signal } = controller;
    const first = Array.from(
      { length: 2000 },
      () => outcome(connect({ port, signal })),
    );
    const begun = opened(watched);
    // So many do not fit into one turn.
    assertLess(begun, first.length);
    controller.abort("enough");
    const results = await Promise.all(first);
    assertEquals(opened(watched), begun);
    const refused = results.filter((result) => result !== "enough");
    // Those that had begun may have been pending still.
    assert(refused.length <= begun);
    for (const result of refused) assertErrno(result, "ECONNREFUSED");
  },
  { skip: onLinux },
);

test("connect() asks for the family that it needs", async () => {
  using listener = listen();
  const { port } = listener.address;
  const families: number[] = [];
  const fakes = resolver([listener.address]);
  using _watched = watchLibc({
    ...fakes,
    getaddrinfoAsync(node, hints, list) {
      families.push(
        new DataView(hints.buffer).getInt32(
          abi.addrinfo.family,
          abi.littleEndian,
        ),
      );
      const text = new TextDecoder().decode(node);
      assertEquals(text, "one.test\0");
      return fakes.getaddrinfoAsync!(node, hints, list);
    },
  });
  const rows: readonly (readonly [Partial<ConnectOptions>, number])[] = [
    [{}, abi.AF_UNSPEC],
    [{ family: "inet" }, abi.AF_INET],
    [{ family: "inet6" }, abi.AF_INET6],
    [{ localAddress: "127.0.0.1" }, abi.AF_INET],
    [{ localPort: 0 }, abi.AF_UNSPEC],
  ];
  for (const [options] of rows) {
    const own = { hostname: "one.test", port, ...options } as ConnectOptions;
    (await connect(own)).close();
  }
  assertEquals(families, rows.map(([, family]) => family));
});

test("connect() checks its arguments, and calls nothing", async () => {
  using watched = watchLibc();
  const rows: readonly (readonly [unknown, ErrorConstructor])[] = [
    [{ port: 65_536 }, RangeError],
    [{ port: -1 }, RangeError],
    [{ port: 1, hostname: "" }, SyntaxError],
    [{ port: 1, hostname: "a\0b" }, SyntaxError],
    [{ port: 1, hostname: 7 }, TypeError],
    [{ port: 1, timeout: -1 }, RangeError],
    [{ port: 1, timeout: NaN }, RangeError],
    [{ port: 1, timeout: "1" }, TypeError],
    [{ port: 1, attemptDelay: 9 }, RangeError],
    [{ port: 1, attemptDelay: -1 }, RangeError],
    [{ port: 1, attemptDelay: NaN }, RangeError],
    [{ port: 1, family: "ipv4" }, TypeError],
    [{ port: 1, family: "inet6" }, TypeError],
    [{ port: 1, localAddress: "::1" }, TypeError],
    [{ port: 1, localAddress: "localhost" }, SyntaxError],
    [{ port: 1, localAddress: 1 }, TypeError],
    [{ port: 1, localPort: 70_000 }, RangeError],
    [{ port: 1, localPort: -1 }, RangeError],
    [{ transport: "udp", port: 1 }, TypeError],
  ];
  for (const [options, errorClass] of rows) {
    const result = await outcome(connect(options as ConnectOptions));
    assertInstanceOf(result, errorClass, JSON.stringify(options));
  }
  assertEquals(watched.calls, []);
});

test("connect() rejects for a delay that is too short or no number", async () => {
  using listener = listen();
  const { port } = listener.address;
  for (const attemptDelay of [10, 10.5, 250, 2 ** 31, Infinity, undefined]) {
    (await connect({ port, attemptDelay })).close();
  }
  for (const attemptDelay of [9.9, 0, -Infinity, "250", null] as number[]) {
    const error = await outcome(connect({ port, attemptDelay }));
    assert(
      error instanceof RangeError || error instanceof TypeError,
      `${attemptDelay}: ${error}`,
    );
    assertStringIncludes((error as Error).message, "attemptDelay");
  }
});

test("connect() waits for ever where attemptDelay says so", async () => {
  using hole = blackHole({ at: inet("127.0.0.2", 0) });
  const { port } = hole.address;
  using listener = listen({ at: inet("127.0.0.1", port) });
  for (const attemptDelay of [2 ** 31, 2 ** 40, Infinity]) {
    using watched = watchLibc(resolver([hole.address, listener.address]));
    const controller = new AbortController();
    const pending = outcome(connect({
      hostname: "two.test",
      port,
      attemptDelay,
      signal: controller.signal,
    }));
    while (opened(watched) === 0) await pause(1);
    await pause(50);
    controller.abort();
    await pending;
    assertEquals(opened(watched), 1, `with ${attemptDelay}`);
  }
}, { skip: needs(canBlackHole(), onLinux) });

// The resolver.

test("connect() can be called off while the name is looked up", async () => {
  using listener = listen();
  let reply: () => void = () => {};
  const fakes = resolver([listener.address]);
  using watched = watchLibc({
    ...fakes,
    getaddrinfoAsync(node, hints, list) {
      return new Promise((resolve) => {
        reply = () => resolve(fakes.getaddrinfoAsync!(node, hints, list));
      });
    },
  });
  for (const reason of [new Error("own"), "text", null]) {
    const controller = new AbortController();
    const pending = connect({
      hostname: "slow.test",
      port: listener.address.port,
      signal: controller.signal,
    }).then(() => "connected", (error) => ({ error }));
    await pause(5);
    controller.abort(reason);
    assertEquals(await pending, { error: reason });
    reply();
    await pause(5);
  }
  // What came too late is given back, and nothing came of it.
  assertEquals(watched.count("freeaddrinfo"), 3);
  assertEquals(opened(watched), 0);
});

test("connect() opens no socket when it is called off just as the name is found", async () => {
  using listener = listen();
  for (let hops = 0; hops < 12; hops++) {
    let reply: (code: number) => void = () => {};
    const fakes = fakeResolver([listener.address]);
    using watched = watchLibc({
      ...fakes,
      getaddrinfoAsync(node, hints, list) {
        fakes.getaddrinfo(node, hints, list);
        return new Promise((resolve) => reply = resolve);
      },
    });
    const controller = new AbortController();
    const pending = connect({
      hostname: "one.test",
      port: listener.address.port,
      signal: controller.signal,
    }).then((socket) => {
      socket.close();
      return "connected";
    }, (error) => error);
    await pause(1);
    reply(0);
    for (let i = 0; i < hops; i++) await null;
    const begun = opened(watched);
    controller.abort("enough");
    const result = await pending;
    if (begun === 0) {
      assertEquals([result, opened(watched)], ["enough", 0]);
    } else {
      // It was under way by then, and may have been done.
      assert(result === "connected" || result === "enough", `${result}`);
    }
  }
});

test("connect() throws ETIMEDOUT when the resolver takes too long", async () => {
  using listener = listen();
  const { port } = listener.address;
  // One family is one question, whatever it takes.
  const slow = { hostname: "slow.test", port, family: "inet" } as const;
  using watched = watchLibc(resolver([listener.address], 150));
  const error = await refusal(
    connect({ ...slow, timeout: SHORT }),
  );
  assertErrno(error, "ETIMEDOUT");
  assertEquals(error.timeoutKind, "deadline");
  assertEquals(error.syscall, "getaddrinfo");
  assertEquals(error.address, `slow.test:${port}`);
  // What was left of the time when the lookup began.
  const [, left] = /not resolved within (\d+) ms/.exec(error.message) ?? [];
  assert(Number(left) <= SHORT, error.message);
  while (!watched.names.includes("freeaddrinfo")) await pause(5);
  assertEquals(opened(watched), 0);
  // And a timeout beyond what timers can hold is none.
  for (const timeout of [2 ** 31, Infinity]) {
    (await connect({ ...slow, timeout })).close();
  }
});

test("connect() throws LookupError for what does not resolve", async () => {
  for (const [code, number] of Object.entries(abi.eais)) {
    using watched = watchLibc({
      getaddrinfoAsync: () => Promise.resolve(number!),
    });
    const error = await outcome(connect({ hostname: "none.test", port: 1 }));
    assertInstanceOf(error, LookupError);
    assertEquals(error.code, code as EaiCode);
    assertEquals(error.errno, number);
    assertEquals(error.hostname, "none.test");
    assertEquals(error.syscall, "getaddrinfo");
    assertEquals(opened(watched), 0);
  }
  using _watched = watchLibc({
    getaddrinfoAsync: () => Promise.resolve(-12_345),
  });
  const error = await outcome(connect({ hostname: "none.test", port: 1 }));
  assertInstanceOf(error, LookupError);
  assertEquals([error.code, error.errno], ["UNKNOWN", -12_345]);
});

test(
  "connect() keeps the memory that another thread resolves with",
  async () => {
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const replies: ((code: number) => void)[] = [];
    const fake: Libc = {
      ...system,
      ...PLAIN_RESOLVER,
      getaddrinfoAsync(...memory) {
        for (const one of memory) registry.register(one, null);
        return new Promise((resolve) => replies.push(resolve));
      },
    };
    using _watched = watchLibc();
    const { startLookup } = await import("../src/address/lookup.ts");
    const query = { hostname: "none.test", port: 1, family: undefined };
    const pending = new Promise((ended) =>
      startLookup(fake, query, Infinity, { found() {}, ended })
    );
    for (let i = 0; i < 10; i++) {
      await pause(2);
      gc();
    }
    assertEquals(collected, 0);
    for (const reply of replies) reply(abi.eais.EAI_NONAME!);
    assertInstanceOf(await pending, LookupError);
  },
  {
    skip: needs(
      typeof gc === "function" ? null : "needs --expose-gc",
      unemulated("takes too long for it"),
    ),
  },
);

for (const way of ["getaddrinfo", "node:dns"] as const) {
  test(`connect() resolves names by ${way}`, async () => {
    const result = await inChild(
      // glibc asks no name server then; musl does, whatever files say.
      { namespace: NAME_SERVER + FILES_ONLY },
      async (
        { bound, connect, ErrnoError, inet, listen, LookupError, watchLibc },
        byNode,
      ) => {
        using _watched = watchLibc(
          byNode ? { getaddrinfoAsync: undefined } as object : {},
        );
        using listener = listen({ at: inet("127.0.0.3", 0) });
        const { port } = listener.address;
        using refuser = bound({ at: inet("0.0.0.0", 0) });
        const results: unknown[] = [];
        async function attempt(
          hostname: string,
          port: number,
          family?: "inet" | "inet6",
        ): Promise<void> {
          try {
            using socket = await connect({ hostname, port, family });
            const { remoteAddress } = socket;
            results.push(`${remoteAddress}`.replace(/:\d+$/, ""));
          } catch (error) {
            if (error instanceof LookupError) {
              results.push(`${error.code} ${error.hostname}`);
            } else if (error instanceof ErrnoError) {
              const hosts = error.errors.map(({ address }) =>
                address!.replace(/:\d+$/, "")
              );
              results.push([error.code, ...hosts]);
            } else throw error;
          }
        }
        await attempt("two.test", port);
        await attempt("two.test", refuser.address.port);
        await attempt("six.test", refuser.address.port, "inet");
        await attempt("one.test", port, "inet6");
        await attempt("none.test", port);
        await attempt("x".repeat(64), port);
        return results as string[];
      },
      way === "node:dns",
    );
    assertEquals<unknown>(result.slice(0, 3), [
      "127.0.0.3",
      ["ECONNREFUSED", "127.0.0.2", "127.0.0.3"],
      ["ECONNREFUSED"],
    ]);
    for (const [i, name] of ["one.test", "none.test"].entries()) {
      assertMatch(
        String(result[3 + i]),
        new RegExp(`^EAI_(NONAME|NODATA|ADDRFAMILY) ${name}$`),
      );
    }
    assertMatch(String(result[5]), /^(EAI_\w+|UNKNOWN) x{64}$/);
  }, { skip: needs(canIsolate(), hasCommand("python3"), onLinux) });
}

test("connect() resolves localhost where node:dns is all there is", async () => {
  using listener = listen();
  const { port } = listener.address;
  using _watched = watchLibc({ getaddrinfoAsync: undefined } as object);
  using socket = await connect({
    hostname: "localhost",
    port,
    family: "inet",
    timeout: AGES,
  });
  assert(socket.remoteAddress!.equals(listener.address));
  const signal = AbortSignal.abort("before");
  const result = outcome(connect({ hostname: "localhost", port, signal }));
  assertEquals(await result, "before");
});

// Both ends the same.

test(
  "connect() meets itself where the caller asked for that port",
  async () => {
    const asked: Partial<ConnectOptions>[] = [
      { localAddress: "127.0.0.1" },
      {},
    ];
    for (const options of asked) {
      const port = freePort();
      using socket = await connect({
        port,
        localPort: port,
        socketOptions: { linger: 0 },
        ...options,
      } as ConnectOptions);
      assert(socket.remoteAddress!.equals(socket.localAddress));
    }
    const port = freePort();
    using socket = await connect({
      port,
      socketOptions: { linger: 0 },
      onSocket: (socket) => socket.bind(inet("127.0.0.1", port)),
    });
    assert(socket.remoteAddress!.equals(socket.localAddress));
  },
  { skip: onLinux },
);

test("connect() hands out no socket that met itself", async () => {
  const objections: string[] = [];
  for (const options of UNBOUND) {
    const port = freePort();
    using watched = watchLibc();
    const result = await outcome(connect({
      port,
      socketOptions: { localPortRange: [port, port] },
      ...options,
    } as ConnectOptions));
    if (result instanceof Socket) {
      // So that the port is not kept for a minute.
      result.setOption("linger", 0);
      result.close();
    }
    // A name is sought in the hosts file.
    const all = opened(watched) + watched.count("open");
    assertEquals(all, watched.count("close"));
    if (!isSelfConnection(result)) {
      objections.push(`${JSON.stringify(options)}: ${result}`);
    }
  }
  assertEquals(objections, []);
}, { skip: needs(onLinux, unemulated("does not know IP_LOCAL_PORT_RANGE")) });

test("connect() says that a socket has met itself, not that the port is held", async () => {
  const objections: string[] = [];
  for (const options of UNBOUND) {
    using watched = watchLibc(holdsOnlyPort());
    const result = await outcome(
      connect({ port: 50_000, ...options } as ConnectOptions),
    );
    // A name is sought in the hosts file.
    const all = opened(watched) + watched.count("open");
    assertEquals(all, watched.count("close"));
    if (!isSelfConnection(result)) {
      objections.push(`${JSON.stringify(options)}: ${result}`);
    }
  }
  assertEquals(objections, []);
});

test("connect() passes on what onSocket throws after a socket has met itself", async () => {
  using _watched = watchLibc(holdsOnlyPort());
  let calls = 0;
  const result = await outcome(connect({
    port: 50_000,
    onSocket() {
      if (++calls === 2) throw new Error("mine");
    },
  }));
  assertEquals(`${result}`, "Error: mine");
});

test("connect() says that a port is held which onSocket asked for, though a socket has met itself", async () => {
  for (const other of [inet("127.0.0.1", 50_001), inet("127.0.0.2", 10)]) {
    using watched = watchLibc(holdsOnlyPort());
    let calls = 0;
    const result = await outcome(connect({
      port: 50_000,
      onSocket(socket) {
        if (++calls === 2) socket.bind(other);
      },
    }));
    assertErrno(result, "EADDRINUSE");
    assertEquals(result.address, `${other}`);
    assertEquals(opened(watched), watched.count("close"));
  }
});

test("connect() finds no listener among two ephemeral ports", async () => {
  const results = await inChild(
    { namespace: "sysctl -qw net.ipv4.ip_local_port_range='40000 40001'" },
    async ({ connect, isErrno }) => {
      const results = new Set<string>();
      async function attempt(port: number): Promise<void> {
        try {
          (await connect({ port })).close();
          results.add("connected");
        } catch (error) {
          results.add(isErrno(error, "ECONNREFUSED") ? error.code : `${error}`);
        }
      }
      for (let i = 0; i < 50; i++) {
        await attempt(40_000);
        await attempt(40_001);
      }
      return [...results];
    },
  );
  assertEquals(results, ["ECONNREFUSED"]);
}, { skip: needs(canIsolate(), hasCommand("sysctl"), onLinux) });

test("connect() rejects where it would throw", async () => {
  // Nothing is thrown at the call itself.
  const promises = [
    connect({ port: 70_000 }),
    connect({ port: 1, timeout: -1 }),
    connect({ port: 1, signal: AbortSignal.abort("now") }),
  ];
  await assertRejects(() => promises[0]!, RangeError);
  await assertRejects(() => promises[1]!, RangeError);
  assertEquals(await outcome(promises[2]!), "now");
});

declare function gc(): void;

test(
  "a race over silent addresses names those that it tried, each by its deadline",
  async () => {
    const codes = await inChild({
      namespace: `
nft -f - <<END
table ip t {
  chain i {
    type filter hook input priority 0
    ip daddr 127.0.4.0/22 drop
  }
}
END
`,
    }, async ({ connect, connectSync, ErrnoError }) => {
      const hosts = Array.from(
        { length: 600 },
        (_, i) => `127.0.${4 + (i >> 8)}.${i & 255}`,
      );
      const options = {
        hostname: "many.test",
        port: 80,
        timeout: 2000,
        lookup: () => hosts,
      };
      const codes: string[][] = [];
      for (let round = 0; round < 2; round++) {
        for (const way of [connect, connectSync]) {
          try {
            (await way(options)).close();
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
            codes.push((error.errors ?? []).map(({ code }) => code));
          }
        }
      }
      return codes;
    });
    assertEquals(codes.length, 4);
    for (const tried of codes) {
      assert(tried.length > 1 && tried.length < 600, `${tried.length} tried`);
      assertEquals([...new Set(tried)], ["ETIMEDOUT"]);
    }
  },
  { skip: needs(onLinux, canFilter(), unemulated("takes as long for one")) },
);
