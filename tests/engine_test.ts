/** Attempts, races and options: what the field does to a connect. */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { currentAbi, libc } from "../ffi/libc.ts";
import type { Libc } from "../ffi/contract.ts";
import {
  connect,
  type ConnectOptions,
  connectSync,
  type ErrnoError,
  inet,
  Socket,
  unix,
} from "../mod.ts";
import { AGES, assertErrno, outcome, pause, refusal } from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canIsolate,
  holdsOnlyPort,
  inChild,
  listen,
  tempFolder,
  type Watched,
  watchLibc,
} from "./_fixtures.ts";
import { needs, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();

/** Both forms of a connect, as promises. */
const FORMS: Readonly<
  Record<
    string,
    (options: ConnectOptions, defaults?: object) => Promise<Socket>
  >
> = {
  connect: (options, defaults) => connect(options, defaults),
  // deno-lint-ignore require-await -- what it throws is to be a rejection
  connectSync: async (options, defaults) => connectSync(options, defaults),
};

/** How many attempts have begun over IP. */
function begun({ calls }: Watched): number {
  return calls.filter(({ name, args }) =>
    name === "connect" && (args[1] as Uint8Array).length >= abi.sockaddrIn.size
  ).length;
}

// Options.

for (const [name, form] of Object.entries(FORMS)) {
  test(`${name}() takes nothing from a polluted prototype`, async () => {
    using listener = listen();
    using trap = listen({ at: inet("127.0.0.2", 0) });
    const { prototype } = Object as unknown as {
      prototype: Record<string, unknown>;
    };
    const polluted: Record<string, unknown> = {
      hostname: "127.0.0.2",
      port: trap.address.port,
      family: "inet6",
      transport: "unix",
      path: "/nowhere",
      timeout: -1,
      signal: "none",
      localAddress: "none",
      localPortRange: "none",
      addresses: ["127.0.0.2"],
      lookup: "none",
      softErrors: "none",
      socketOptions: { ttl: -1 },
      onSocket: "none",
      context: {},
      won: true,
    };
    try {
      Object.assign(prototype, polluted);
      const { port } = listener.address;
      using socket = await form({ hostname: "127.0.0.1", port });
      assert(socket.remoteAddress!.equals(listener.address));
      using other = await form({ port }, { timeout: AGES });
      assert(other.remoteAddress!.equals(listener.address));
      const one = Socket.open({ family: "inet" });
      one.connectSync(listener.address, { timeout: AGES });
      one.close();
    } finally {
      for (const key of Object.keys(polluted)) delete prototype[key];
    }
  });

  test(`${name}() reads each option once`, async () => {
    using listener = listen();
    using trap = bound({ at: inet("127.0.0.2", 0) });
    const reads = new Map<string, number>();
    function tricky<T>(key: string, first: T, later: unknown): T {
      const count = (reads.get(key) ?? 0) + 1;
      reads.set(key, count);
      return (count === 1 ? first : later) as T;
    }
    const options = {
      get hostname() {
        return tricky("hostname", "127.0.0.1", "127.0.0.2");
      },
      get port() {
        return tricky("port", listener.address.port, trap.address.port);
      },
      get timeout() {
        return tricky("timeout", AGES, -1);
      },
      get localAddress() {
        return tricky("localAddress", "127.0.0.1", "none");
      },
    };
    using socket = await form(options);
    assert(socket.remoteAddress!.equals(listener.address));
    assertEquals(
      [...reads],
      [["hostname", 1], ["port", 1], ["timeout", 1], ["localAddress", 1]],
    );
  });

  test(`${name}() takes undefined for what is not given`, async () => {
    using listener = listen();
    const { port } = listener.address;
    const nothing = {
      hostname: undefined,
      timeout: undefined,
      signal: undefined,
      family: undefined,
      localAddress: undefined,
      socketOptions: undefined,
      onSocket: undefined,
    };
    let shown = 0;
    using socket = await form({ port, ...nothing }, {
      localAddress: "127.0.0.3",
      onSocket: () => shown++,
    });
    assertMatch(`${socket.localAddress}`, /^127\.0\.0\.3:/);
    assertEquals(shown, 1);
  }, { skip: onLinux });

  test(`${name}() refuses options that it does not know`, async () => {
    using watched = watchLibc();
    const rows: readonly (readonly [object, RegExp])[] = [
      [{ port: 9, host: "10.77.0.2" }, /host: "10\.77\.0\.2".*hostname\?/],
      [{ port: 9, tiemout: 5 }, /tiemout: 5.*did you mean timeout\?/],
      [{ port: 9, Timeout: 5 }, /Timeout: 5.*did you mean timeout\?/],
      [{ port: 9, localAdress: "::" }, /localAdress.*localAddress\?/],
      [{ port: 9, protcol: "tcp" }, /protcol: "tcp".*protocol\?/],
      [{ port: 9, xyzzy: 1 }, /xyzzy: 1.*the options are transport, /],
      [{ port: 9, "\n": 1 }, /"\\n": 1/],
      [{ port: 9, tiemout: undefined }, /tiemout: undefined/],
    ];
    for (const [options, message] of rows) {
      for (const [a, b] of [[options], [{ port: 9 }, options]] as const) {
        const error = await outcome(form(a as ConnectOptions, b));
        assertInstanceOf(error, TypeError);
        assertMatch(error.message, message);
      }
    }
    for (const bag of [5, "text", null, () => {}]) {
      const error = await outcome(form({ port: 9 }, bag as object));
      assertInstanceOf(error, TypeError);
    }
    assertEquals(watched.names, []);
  });

  test(`${name}() refuses what is no signal, before anything`, async () => {
    using listener = listen();
    using watched = watchLibc();
    const { port } = listener.address;
    const fakes = [
      { aborted: false, throwIfAborted() {} },
      Object.create(AbortSignal.prototype),
      new AbortController(),
      null,
      true,
      () => {},
    ];
    for (const signal of fakes as AbortSignal[]) {
      const error = await outcome(form({ port, signal }));
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, "signal");
    }
    assertEquals(watched.names, []);
    using socket = await form({ port });
    assert(socket.remoteAddress!.equals(listener.address));
  });

  // Several addresses.

  test(
    `${name}() reaches the second address in a short time`,
    async () => {
      using hole = blackHole({ at: inet("127.0.0.2", 0) });
      const { port } = hole.address;
      using listener = listen({ at: inet("127.0.0.3", port) });
      using socket = await form({
        hostname: "two.test",
        addresses: ["127.0.0.2", "127.0.0.3"],
        port,
        attemptDelay: 3000,
        timeout: 3000,
      });
      assert(socket.remoteAddress!.equals(listener.address));
    },
    { skip: needs(canBlackHole(), onLinux) },
  );

  test(
    `${name}() tries the next address while the first is silent`,
    async () => {
      using hole = blackHole({ at: inet("127.0.0.2", 0) });
      const { port } = hole.address;
      using listener = listen({ at: inet("127.0.0.3", port) });
      const start = performance.now();
      using socket = await form({
        hostname: "two.test",
        addresses: ["127.0.0.2", "127.0.0.3"],
        port,
        attemptDelay: 50,
      });
      assert(socket.remoteAddress!.equals(listener.address));
      assertGreaterOrEqual(performance.now() - start, 49);
    },
    { skip: needs(canBlackHole(), onLinux) },
  );

  test(`${name}() begins nothing after its deadline`, async () => {
    using hole = blackHole({ at: inet("0.0.0.0", 0) });
    const { port } = hole.address;
    const addresses = Array.from(
      { length: 400 },
      (_, i) => `127.0.${1 + (i >> 8)}.${i & 255}`,
    );
    using watched = watchLibc();
    const error = await refusal(
      form({ hostname: "many.test", addresses, port, timeout: 300 }),
    );
    const tried = begun(watched);
    // At 10 ms each; at least two, and far from all of them.
    assert(tried >= 2 && tried <= 31, `${tried} were tried`);
    assertErrno(error, "ETIMEDOUT");
    assertEquals(error.timeoutKind, "deadline");
    assertEquals(error.errors.length, tried);
    assertStringIncludes(error.message, `${tried} of 400 addresses`);
    assertLess(error.elapsed!, AGES / 2);
    await pause(30);
    assertEquals(begun(watched), tried);
  }, { skip: needs(canBlackHole(), onLinux) });

  test(`${name}() reports the most telling of several errors`, async () => {
    const { errnos } = abi;
    function connects(codes: readonly number[]): Partial<Libc> {
      let count = 0;
      return {
        connect(fd, address, length) {
          return address.length === abi.sockaddrIn.size
            ? -codes[count++]!
            : system.connect(fd, address, length);
        },
      };
    }
    const rows = [
      ["ENETUNREACH", "ETIMEDOUT", "ETIMEDOUT"],
      ["EADDRNOTAVAIL", "ETIMEDOUT", "ETIMEDOUT"],
      ["ETIMEDOUT", "EHOSTUNREACH", "EHOSTUNREACH"],
      ["ETIMEDOUT", "ECONNREFUSED", "ECONNREFUSED"],
      ["EADDRNOTAVAIL", "ENETUNREACH", "ENETUNREACH"],
    ] as const;
    for (const [first, second, telling] of rows) {
      using _watched = watchLibc(connects([errnos[first]!, errnos[second]!]));
      const error = await refusal(form({
        hostname: "two.test",
        addresses: ["127.0.0.1", "127.0.0.2"],
        port: 9,
      }));
      assertErrno(error, telling);
      assertEquals(error.errors.map(({ code }) => code), [first, second]);
    }
  });

  test(`${name}() tries an address once that is there twice`, async () => {
    using peer = bound();
    const { port } = peer.address;
    using watched = watchLibc();
    const error = await refusal(form({
      hostname: "twice.test",
      addresses: ["127.0.0.1", inet("127.0.0.1", 5), "127.0.0.1"],
      port,
    }));
    assertErrno(error, "ECONNREFUSED");
    assertEquals(error.errors, []);
    assertEquals(begun(watched), 1);
  });

  test(`${name}() names each address of several whose options fail`, async () => {
    using _watched = watchLibc({
      setsockopt: () => -abi.errnos.ENOPROTOOPT!,
    });
    const error = await refusal(form({
      hostname: "two.test",
      addresses: ["127.0.0.1", "127.0.0.2"],
      port: 9,
      socketOptions: { noDelay: true },
    }));
    assertErrno(error, "ENOPROTOOPT");
    assertEquals(error.syscall, "setsockopt");
    assert(!error.message.includes("undefined"), error.message);
  });

  // Own resolvers.

  test(`${name}() takes addresses from a function`, async () => {
    using listener = listen();
    const { port } = listener.address;
    const asked: unknown[] = [];
    for (const found of ["127.0.0.1", inet("127.0.0.1", 9)]) {
      using socket = await form({
        hostname: "own.test",
        port,
        family: "inet",
        lookup(hostname, { family, signal }) {
          asked.push([hostname, family, signal instanceof AbortSignal]);
          return [found, "::1"];
        },
      });
      assert(socket.remoteAddress!.equals(listener.address));
    }
    assertEquals(asked, [["own.test", "inet", true], [
      "own.test",
      "inet",
      true,
    ]]);
    const bad: readonly (readonly [unknown, ErrorConstructor])[] = [
      [[], TypeError],
      [["::1"], TypeError],
      ["127.0.0.1", TypeError],
      [null, TypeError],
      [[5], TypeError],
      [["own.test"], SyntaxError],
      [[unix("/x")], TypeError],
    ];
    for (const [found, errorClass] of bad) {
      const error = await outcome(form({
        hostname: "own.test",
        port,
        family: "inet",
        lookup: () => found as string[],
      }));
      assertInstanceOf(error, errorClass);
    }
    const reason = new Error("own");
    assertStrictEquals(
      await outcome(form({
        hostname: "own.test",
        port,
        lookup() {
          throw reason;
        },
      })),
      reason,
    );
  });

  test(`${name}() speaks multipath TCP where it is asked to`, async () => {
    using listener = listen();
    const { port } = listener.address;
    const socket = await outcome(form({ port, protocol: "mptcp" }));
    if (!(socket instanceof Socket)) {
      // A kernel without it says so, and nothing is hidden.
      assertEquals((socket as ErrnoError).syscall, "socket");
      return;
    }
    assertEquals(socket.getOption("protocol"), abi.IPPROTO_MPTCP);
    socket.close();
  }, { skip: onLinux });

  // The local end.

  test(`${name}() serves many targets by few ports`, async () => {
    const connected = await inChild(
      {
        namespace:
          "echo 50000 50003 > /proc/sys/net/ipv4/ip_local_port_range\n",
      },
      async ({ connect, connectSync, inet, listen }, name) => {
        using all = new DisposableStack();
        const listeners = Array.from(
          { length: 12 },
          (_, i) => all.use(listen({ at: inet("127.0.0.1", 2000 + i) })),
        );
        const ports = new Set<number>();
        for (const { address } of listeners) {
          const options = {
            port: address.port,
            localAddress: "127.0.0.1",
          };
          const socket = all.use(
            name === "connect" ? await connect(options) : connectSync(options),
          );
          ports.add((socket.localAddress as { port: number }).port);
        }
        return [...ports].every((port) => port >= 50_000 && port <= 50_003);
      },
      name,
    );
    assert(connected);
  }, { skip: needs(canIsolate(), onLinux) });

  test(
    `${name}() uses all ports of a range, whether the kernel or the package chooses`,
    async () => {
      const used = await inChild(
        {
          namespace:
            "echo 50000 50999 > /proc/sys/net/ipv4/ip_local_port_range\n",
        },
        async ({ connect, connectSync, ErrnoError, listen }, name) => {
          using all = new DisposableStack();
          using listener = listen();
          const ports: number[] = [];
          for (const [low, high] of [[49_997, 50_002], [40_000, 40_005]]) {
            const options = {
              port: listener.address.port,
              localPortRange: [low, high] as [number, number],
            };
            for (let i = 0; i < 7; i++) {
              try {
                const socket = all.use(
                  name === "connect"
                    ? await connect(options)
                    : connectSync(options),
                );
                ports.push((socket.localAddress as { port: number }).port);
              } catch (error) {
                if (!(error instanceof ErrnoError)) throw error;
                ports.push(error.code === "EADDRINUSE" ? 0 : -1);
              }
            }
          }
          return ports.sort((a, b) => a - b);
        },
        name,
      );
      const wanted = [40_000, 49_997].flatMap((low) =>
        Array.from({ length: 6 }, (_, i) => low + i)
      );
      assertEquals(used, [0, 0, ...wanted]);
    },
    { skip: needs(canIsolate(), onLinux) },
  );

  test(
    `${name}() refuses a range that begins with a privileged port`,
    async () => {
      const codes = await inChild(
        { namespace: "" },
        async (
          { becomeNobody, connect, connectSync, listen, verdict },
          name,
        ) => {
          using listener = listen();
          becomeNobody();
          const codes = new Set<string>();
          for (let i = 0; i < 20; i++) {
            const options = {
              port: listener.address.port,
              localPortRange: [1020, 1040] as [number, number],
            };
            try {
              const socket = name === "connect"
                ? await connect(options)
                : connectSync(options);
              socket.close();
              codes.add("connected");
            } catch (error) {
              codes.add(verdict(error));
            }
          }
          return [...codes];
        },
        name,
      );
      assertEquals(codes, ["EACCES"]);
    },
    { skip: needs(canIsolate(), onLinux) },
  );

  test(
    `${name}() reports no local address that the caller did not give`,
    async () => {
      using peer = bound();
      const { port } = peer.address;
      const free = await refusal(form({ port }));
      assertEquals(free.localAddress, undefined);
      const held = await refusal(form({ port, localAddress: "127.0.0.1" }));
      assertMatch(held.localAddress!, /^127\.0\.0\.1:/);
    },
    { skip: onLinux },
  );

  test(`${name}() waits for room in a full Unix-domain backlog`, async () => {
    const result = await inChild({}, async (api, name) => {
      const { blackHole, connect, connectSync, tempFolder, unix } = api;
      using folder = tempFolder();
      const path = `${folder.path}/s`;
      using hole = blackHole({ at: unix(path) });
      const target = { transport: "unix", path, timeout: 30_000 } as const;
      if (name === "connectSync") {
        // Nobody else runs on this thread: it can be late, and no more.
        try {
          connectSync({ ...target, timeout: 60 }).close();
        } catch (error) {
          return (error as { code: string }).code;
        }
        return "connected";
      }
      const pending = connect(target);
      await new Promise((resolve) => setTimeout(resolve, 50));
      hole.accept().close();
      (await pending).close();
      return "connected";
    }, name);
    assertEquals(result, name === "connect" ? "connected" : "ETIMEDOUT");
  }, { skip: onLinux });
}

test("connectSync() wants a lookup that returns at once", async () => {
  for (
    const lookup of [
      () => Promise.resolve(["127.0.0.1"]),
      // Nobody else would handle that it rejects.
      () => Promise.reject<string[]>(new Error("mine")),
    ]
  ) {
    const error = assertThrows(
      () => connectSync({ hostname: "own.test", port: 9, lookup }),
      TypeError,
    );
    assertStringIncludes((error as Error).message, "promise");
  }
  await new Promise((resolve) => setTimeout(resolve, 0));
});

test("connect() waits for its lookup no longer than for anything else", async () => {
  let isAborted = false;
  const error = await refusal(connect({
    hostname: "own.test",
    port: 9,
    timeout: 50,
    lookup: (_hostname, { signal }) =>
      new Promise(() => {
        signal.addEventListener("abort", () => isAborted = true);
      }),
  }));
  assertErrno(error, "ETIMEDOUT");
  assertEquals(error.timeoutKind, "deadline");
  assert(isAborted);
  const controller = new AbortController();
  const pending = outcome(connect({
    hostname: "own.test",
    port: 9,
    signal: controller.signal,
    lookup: () => new Promise(() => {}),
  }));
  await pause(5);
  controller.abort("enough");
  assertEquals(await pending, "enough");
});

test(
  "connect() is called off while it waits for a Unix-domain backlog",
  async () => {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    using _hole = blackHole({ at: unix(path) });
    const controller = new AbortController();
    const pending = outcome(connect({
      transport: "unix",
      path,
      timeout: AGES,
      signal: controller.signal,
    }));
    await pause(20);
    controller.abort("enough");
    assertEquals(await pending, "enough");
    // And so it is by the end of its socket.
    using socket = Socket.open({ family: "unix" });
    const other = refusal(socket.connect(unix(path), { timeout: AGES }));
    await pause(20);
    socket.close();
    assertErrno(await other, "ECANCELED");
  },
  { skip: onLinux },
);

// Sockets.

test("a Socket cannot be constructed", () => {
  const Constructor = Socket as unknown as new (...args: unknown[]) => Socket;
  for (const args of [[], [Symbol()], [libc(), 1, 2, 1]]) {
    const error = assertThrows(() => new Constructor(...args), TypeError);
    assertStringIncludes((error as Error).message, "Socket.open()");
  }
});

test("Socket#takeError() leaves a socket that can try again", async () => {
  using peer = bound();
  for (const sync of [false, true]) {
    using socket = Socket.open({ nonblocking: true });
    socket.tryConnect(peer.address);
    socket.poll("POLLOUT", AGES);
    assertErrno(socket.takeError(), "ECONNREFUSED");
    assertEquals(socket.takeError(), null);
    const error = await refusal((async () => {
      if (sync) socket.connectSync(peer.address);
      else await socket.connect(peer.address);
    })());
    // ECONNABORTED would be the kernel's word for: not even tried.
    assertErrno(error, "ECONNREFUSED");
  }
}, { skip: onLinux });

test(
  "Socket#takeError() reports who refused, and whether TCP goes on",
  async () => {
    const found = await inChild(
      {
        namespace: `
nft -f - <<END
table ip t {
  chain i {
    type filter hook input priority 0
    ip daddr 127.0.1.2 reject with icmp type host-unreachable
  }
}
END
`,
      },
      ({ inet, Socket }) => {
        using socket = Socket.open({ nonblocking: true });
        socket.tryConnect(inet("127.0.1.2", 80));
        socket.poll("POLLOUT", 10_000);
        const error = socket.takeError()!;
        return [error.code, error.soft, error.icmp?.from ?? null];
      },
    );
    assertEquals(found, ["EHOSTUNREACH", true, "127.0.1.2"]);
  },
  { skip: needs(canIsolate(), onLinux) },
);

test("Socket#connect() joins an attempt at an equal address", async () => {
  using hole = blackHole();
  const { hostname, port } = hole.address;
  for (const sync of [false, true]) {
    using socket = Socket.open({ nonblocking: true });
    assertEquals(socket.tryConnect(hole.address), abi.errnos.EINPROGRESS);
    const again = inet(hostname, port);
    const error = await refusal((async () => {
      if (sync) socket.connectSync(again, { timeout: 20 });
      else await socket.connect(again, { timeout: 20 });
    })());
    assertErrno(error, "ETIMEDOUT");
  }
}, { skip: needs(canBlackHole(), onLinux) });

test(
  "Socket#tryConnect() is refused while an attempt is waited for",
  async () => {
    using hole = blackHole();
    using listener = listen();
    using socket = Socket.open();
    const pending = refusal(socket.connect(hole.address));
    assertEquals(socket.tryConnect(listener.address), abi.errnos.EALREADY);
    socket.shutdown("both");
    assertEquals(socket.tryConnect(listener.address), abi.errnos.EALREADY);
    const error = await pending;
    assertEquals(error.address, `${hole.address}`);
  },
  { skip: needs(canBlackHole(), onLinux) },
);

for (const name of ["connect", "connectSync"] as const) {
  test(`Socket#${name}() hands out no socket that met itself`, async () => {
    const result = await inChild(
      {
        namespace:
          "echo 50000 50000 > /proc/sys/net/ipv4/ip_local_port_range\n",
      },
      async ({ inet, Socket, verdict }, name) => {
        using socket = Socket.open();
        const address = inet("127.0.0.1", 50_000);
        try {
          await socket[name as "connect"](address);
          return ["connected", `${socket.remoteAddress}`];
        } catch (error) {
          return [verdict(error), `${socket.remoteAddress}`];
        }
      },
      name,
    );
    assertEquals(result, ["ECONNREFUSED", "null"]);
  }, { skip: needs(canIsolate(), onLinux) });

  test(
    `Socket#${name}() says that it met itself, not that its port is held`,
    async () => {
      using _watched = watchLibc(holdsOnlyPort());
      using socket = Socket.open();
      const address = inet("127.0.0.1", 50_000);
      const error = await refusal(
        (async () => await socket[name](address))(),
      );
      assertErrno(error, "ECONNREFUSED");
      assertStringIncludes(error.message, "connected to itself");
    },
  );
}

// Calls that fail.

const FAULTS: readonly (readonly [string, keyof Libc, Partial<Libc>])[] = [
  ["ENOMEM", "poll", { poll: () => -abi.errnos.ENOMEM! }],
  [
    "EBADF",
    "getsockopt",
    {
      getpeername: () => -abi.errnos.ENOTCONN!,
      getsockopt: () => -abi.errnos.EBADF!,
    },
  ],
  [
    "EINVAL",
    "getsockopt",
    // It has succeeded, and written nothing.
    { getpeername: () => -abi.errnos.ENOTCONN!, getsockopt: () => 0 },
  ],
];

for (const [code, syscall, fakes] of FAULTS) {
  test(
    `a ${syscall}(2) that fails is not reported as connect(2)'s failure: ${code}`,
    async () => {
      using hole = blackHole();
      const { address } = hole;
      using _watched = watchLibc(fakes);
      const ways: readonly (() => unknown)[] = [
        () => connectSync({ port: address.port, timeout: AGES }),
        () => {
          using socket = Socket.open();
          socket.connectSync(address, { timeout: AGES });
        },
        ...syscall === "poll" ? [] : [
          () => connect({ port: address.port, timeout: AGES }),
          async () => {
            using socket = Socket.open();
            await socket.connect(address, { timeout: AGES });
          },
        ],
      ];
      for (const way of ways) {
        const error = await refusal((async () => await way())());
        assertErrno(error, code as "ENOMEM");
        assertEquals(error.syscall, syscall);
      }
    },
    { skip: needs(canBlackHole(), onLinux) },
  );
}

test("connect() reports the failure of epoll_ctl(2) as its own", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  let isFull = false;
  using _watched = watchLibc({
    epoll_ctl: (epfd, op, fd, event) =>
      isFull ? -abi.errnos.ENOSPC! : system.epoll_ctl(epfd, op, fd, event),
  });
  const first = refusal(connect({ port, timeout: 200 }));
  await pause(5);
  isFull = true;
  const error = await refusal(connect({ port, timeout: AGES }));
  isFull = false;
  assertErrno(error, "ENOSPC");
  assertEquals(error.syscall, "epoll_ctl");
  assertErrno(await first, "ETIMEDOUT");
}, { skip: needs(canBlackHole(), onLinux) });

test("connect() opens the library before its time begins", async () => {
  const elapsed = await inChild({}, async ({ connect, freePort }) => {
    const port = freePort();
    try {
      (await connect({ port })).close();
      return -1;
    } catch (error) {
      return (error as { elapsed: number }).elapsed;
    }
  });
  assert(elapsed >= 0);
});

test(
  "each error has a stack, however many attempts are under way",
  async () => {
    using hole = blackHole();
    const { port } = hole.address;
    const errors = await Promise.all(
      Array.from(
        { length: 400 },
        () => refusal(connect({ port, timeout: 100 })),
      ),
    );
    for (const { name, message, stack } of errors) {
      assert(stack!.startsWith(`${name}: ${message}`), stack);
    }
  },
  { skip: canBlackHole() },
);

test(
  "connect() ends all of its attempts by its deadline, be it late",
  async () => {
    using hole = blackHole({ at: inet("0.0.0.0", 0) });
    const { port } = hole.address;
    const pending = refusal(connect({
      hostname: "three.test",
      addresses: ["127.0.0.1", "127.0.0.2", "127.0.0.3"],
      port,
      timeout: 60,
      attemptDelay: 25,
    }));
    // The timer of the third finds that the time of all is over.
    await pause(30);
    const until = performance.now() + 100;
    while (performance.now() < until);
    const error = await pending;
    assertErrno(error, "ETIMEDOUT");
    assertEquals(
      error.errors.map(({ code }) => code),
      Array(error.errors.length).fill("ETIMEDOUT"),
    );
    assert(error.errors.length <= 3);
  },
  { skip: needs(canBlackHole(), onLinux) },
);
