/**
 * What the package promises, said once and held against many kernels: the one of this machine, and a simulated one for the
 * table of every system.
 *
 * The real kernel keeps the simulation honest, and the simulation goes where no real kernel of ours does.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Abi, ErrnoCode } from "../ffi/abi.ts";
import { abiFor } from "../ffi/systems.ts";
import type { Libc } from "../ffi/contract.ts";
import { libc, useLibc } from "../ffi/libc.ts";
import {
  abstractUnix,
  type Address,
  capabilities,
  connect,
  connectSync,
  Errno,
  ErrnoError,
  errnoName,
  explain,
  inet,
  inet6,
  type InetAddress,
  LookupError,
  NotSupportedError,
  rawAddress,
  type ReadableSocketOptionName,
  Socket,
  type SocketOptionName,
  unix,
  vsock,
} from "../mod.ts";
import { parseIp } from "../src/address/address.ts";
import type { IpAddress } from "../src/address/lookup.ts";
import { ping } from "../src/tools/ping.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  fakeResolver,
  listen,
  type Listener,
  PLAIN_RESOLVER,
  tempFolder,
} from "./_fixtures.ts";
import { canIpv6, test } from "./_harness.ts";
import {
  type DescriptorFacts,
  DETAILS,
  type Fate,
  type Place,
  RETRANSMITS,
  RTT,
  RTT_VARIANCE,
  simulate,
  type Simulation,
} from "./_simulation.ts";

/** Milliseconds that an attempt at a silent peer is given. */
const SHORT = 20;
/** Milliseconds that no test waits for, unless something is wrong. */
const AGES = 30_000;
/** Milliseconds in which the package gives up the descriptors of its own. */
const GRACE = 2000;

type Family = "inet" | "inet6" | "unix";

/** The other end of a connection. */
interface Peer {
  /** What we have sent, `""` once we have said that nothing more comes. Waits for it. */
  hear(): string;
  say(text: string): void;
  close(): void;
  /** Ends it without regard for what is under way. */
  reset(): void;
}

/** Somebody who takes connections. */
interface Host {
  readonly address: Address;
  accept(): Peer;
}

/** A kernel, and who can be met there. What is opened is closed at the end. */
interface World {
  readonly abi: Abi;
  host(family?: Family, at?: Address): Host;
  /** Where nobody listens. */
  refusing(family?: Family): Address;
  /** Where nobody replies. */
  silent(at?: Address): Address;
  /** Where a datagram socket may be bound, or a path be made. */
  free(family?: Family, length?: number): Address;
  facts(fd: number): DescriptorFacts;
  /** Gives a name these addresses. */
  name(name: string, hosts: readonly string[]): void;
  /** The kernel in person, where it is a simulated one. */
  readonly system: Simulation;
  /** A place with a fate of its own, where the kernel is a simulated one. */
  fated(fate: Fate): InetAddress;
  end(): Promise<void>;
}

/** A place whose family has a name of ours. */
interface SimulatedPlace extends Place {
  readonly family: Family;
}

/** One thing that is promised. */
interface Clause {
  readonly name: string;
  readonly run: (world: World) => void | Promise<void>;
  /** Why the kernel of this machine cannot show it, `null` if it can. */
  readonly real: string | null;
}

const CONTRACT: Clause[] = [];

function promise(
  name: string,
  run: Clause["run"],
  { real = null }: { real?: string | null } = {},
): void {
  CONTRACT.push({ name, run, real });
}

/** Reasons why a real kernel sits a test out. */
const ON_TIME = "a real kernel is late by accident alone";
const AT_WILL = "a real kernel fails only where there is a fault";
const INSIDE = "nobody sees into a real kernel";
const NO_NAMES = "a lookup could ask a name server";
const ALL_SYSTEMS = "it is one system, and this is about what only others do";
const SIGNALS = "it takes a storm of signals, which connect_test.ts has";

const FAMILIES = ["inet", "inet6", "unix"] as const;

// How connections come about.

for (const family of FAMILIES) {
  const real = family === "inet6" ? canIpv6() : null;

  promise(
    `connectSync() over ${family} gives a connected, blocking socket`,
    (world) => {
      const host = world.host(family);
      using socket = connectSync(targetOf(host.address));
      assertEquals(socket.remoteAddress, host.address);
      assertEquals(socket.localAddress.family, family);
      assertEquals(world.facts(socket.fd), {
        closeOnExec: true,
        nonblocking: false,
      });
      assertEquals(socket.takeError(), null);
      assertTalk(socket, host.accept());
    },
    { real },
  );

  promise(
    `connect() over ${family} gives a connected, non-blocking socket`,
    async (world) => {
      const host = world.host(family);
      using socket = await connect({
        ...targetOf(host.address),
        timeout: AGES,
      });
      assertEquals(socket.remoteAddress, host.address);
      assertEquals(world.facts(socket.fd), {
        closeOnExec: true,
        nonblocking: true,
      });
      const peer = host.accept();
      await socket.send(bytes("ping"), { timeout: AGES });
      assertEquals(peer.hear(), "ping");
      const buffer = new Uint8Array(8);
      const waiting = socket.recv(buffer, { timeout: AGES });
      peer.say("pong");
      assertEquals(text(buffer, await waiting), "pong");
    },
    { real },
  );

  promise(
    `tryConnect() over ${family} returns numbers, and ends in EISCONN`,
    (world) => {
      const { EINPROGRESS, EISCONN } = world.abi.errnos;
      const { address } = world.host(family);
      using socket = openFor(address);
      const first = socket.tryConnect(address);
      // In the Unix domain most are done at once.
      assert(first === EINPROGRESS || family === "unix" && first === 0);
      assertEquals(socket.poll("POLLOUT", AGES), ["POLLOUT"]);
      assertEquals(socket.takeError(), null);
      // Linux reports such a success once more.
      assert([0, EISCONN].includes(socket.tryConnect(address)));
      assertEquals(socket.tryConnect(address), EISCONN);
      assertErrno(world, thrown(() => socket.connectSync(address)), "EISCONN");
    },
    { real },
  );

  promise(
    `connectSync() over ${family} with a timeout leaves a blocking socket`,
    (world) => {
      const { address } = world.host(family);
      using socket = connectSync({ ...targetOf(address), timeout: AGES });
      assertEquals(world.facts(socket.fd).nonblocking, false);
      assertEquals(socket.remoteAddress, address);
    },
    { real },
  );

  promise(
    `a refusal over ${family} throws ECONNREFUSED with its own number`,
    async (world) => {
      const address = world.refusing(family);
      const target = targetOf(address);
      const errors = [
        thrown(() => connectSync(target)),
        thrown(() => connectSync({ ...target, timeout: AGES })),
        await rejected(connect(target)),
      ];
      for (const error of errors) {
        assertErrno(world, error, "ECONNREFUSED");
        assertEquals(error.syscall, "connect");
        assertEquals(error.address, `${address}`);
        assertStringIncludes(error.message, `${address}`);
      }
    },
    { real },
  );
}

promise("a refusal is a number to tryConnect() and SO_ERROR, once", (world) => {
  const { EINPROGRESS, ECONNREFUSED } = world.abi.errnos;
  const address = world.refusing();
  using socket = openFor(address);
  const first = socket.tryConnect(address);
  if (first === EINPROGRESS) {
    assert(socket.poll("POLLOUT", AGES).includes("POLLOUT"));
    assertErrno(world, socket.takeError(), "ECONNREFUSED");
  } else {
    assertEquals(first, ECONNREFUSED);
  }
  assertEquals(errnoName(ECONNREFUSED!), "ECONNREFUSED");
  assertEquals(socket.takeError(), null);
  assertEquals(socket.remoteAddress, null);
});

promise(
  "after a failure the socket tries again or says no, as its system does",
  (world) => {
    const host = world.host();
    const address = world.refusing();
    using socket = openFor(address);
    assertErrno(
      world,
      thrown(() => socket.connectSync(address, { timeout: AGES })),
      "ECONNREFUSED",
    );
    const result = attempt(() =>
      socket.connectSync(host.address, { timeout: AGES })
    );
    if (world.abi.os === "linux") {
      assertEquals(
        socket.remoteAddress,
        host.address,
      );
    } else assertErrno(world, result, "EINVAL");
  },
);

promise(
  "a timeout of ours is ETIMEDOUT, and says whose it was",
  async (world) => {
    const target = { ...targetOf(world.silent()), timeout: SHORT };
    const errors = [
      thrown(() => connectSync(target)),
      await rejected(connect(target)),
    ];
    for (const error of errors) {
      assertErrno(world, error, "ETIMEDOUT");
      assertEquals(error.timeoutKind, "deadline");
      assert(error.elapsed! >= SHORT - 1);
    }
  },
  { real: canBlackHole() },
);

promise("a timeout of zero leaves no time for a reply", async (world) => {
  const target = { ...targetOf(world.silent()), timeout: 0 };
  assertErrno(world, thrown(() => connectSync(target)), "ETIMEDOUT");
  assertErrno(world, await rejected(connect(target)), "ETIMEDOUT");
}, { real: canBlackHole() });

promise("a signal ends connect() with its reason", async (world) => {
  const target = targetOf(world.silent());
  const controller = new AbortController();
  const waiting = Array.from(
    { length: 3 },
    () => connect({ ...target, signal: controller.signal }),
  );
  setTimeout(() => controller.abort("enough"), 5);
  const ends = await Promise.allSettled(waiting);
  assertEquals(
    ends,
    ends.map(() => ({ status: "rejected", reason: "enough" })),
  );
  const { signal } = controller;
  assertEquals(attempt(() => connectSync({ ...target, signal })), "enough");
}, { real: canBlackHole() });

promise(
  "a signal that ends the wait for a silent peer leaves the socket to its owner",
  async (world) => {
    const address = world.silent();
    using socket = Socket.open({ family: "inet" });
    const controller = new AbortController();
    const waiting = socket.connect(address, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 5);
    await assertRejects(() => waiting, Error, "enough");
    assertEquals(socket.closed, false);
    assertEquals(socket.tryConnect(address), world.abi.errnos.EALREADY);
  },
  { real: canBlackHole() },
);

promise(
  "closing a socket ends what waits for it by ECANCELED",
  async (world) => {
    using socket = Socket.open({ family: "inet" });
    const waiting = socket.connect(world.silent());
    setTimeout(() => socket.close(), 5);
    assertErrno(world, await rejected(waiting), "ECANCELED");
  },
  { real: canBlackHole() },
);

promise("an attempt that is waited for cannot be dissolved", async (world) => {
  using socket = Socket.open({ family: "inet" });
  const waiting = socket.connect(world.silent());
  assertErrno(world, thrown(() => socket.disconnect()), "EALREADY");
  socket.close();
  assertErrno(world, await rejected(waiting), "ECANCELED");
}, { real: canBlackHole() });

promise(
  "a second attempt fails with EALREADY, or joins the first",
  async (world) => {
    const { EALREADY, EINPROGRESS } = world.abi.errnos;
    const address = world.silent();
    using socket = openFor(address);
    assertEquals(socket.tryConnect(address), EINPROGRESS);
    assertEquals(socket.tryConnect(address), EALREADY);
    const joined = attempt(() =>
      socket.connectSync(address, { timeout: SHORT })
    );
    assertErrno(world, joined, "ETIMEDOUT");
    const waiting = socket.connect(address, { timeout: AGES });
    assertErrno(world, thrown(() => socket.connectSync(address)), "EALREADY");
    socket.close();
    assertErrno(world, await rejected(waiting), "ECANCELED");
  },
  { real: canBlackHole() },
);

promise(
  "an attempt that failed meanwhile fails those who join it",
  async (world) => {
    for (const timeout of [AGES, Infinity]) {
      for (const isSync of [true, false]) {
        const address = world.fated({ delay: 1, errno: "EHOSTUNREACH" });
        using socket = openFor(address);
        assertEquals(socket.tryConnect(address), world.abi.errnos.EINPROGRESS);
        socket.poll("POLLOUT", AGES);
        const error = isSync
          ? thrown(() => socket.connectSync(address, { timeout }))
          : await rejected(socket.connect(address, { timeout }));
        assertErrno(world, error, "EHOSTUNREACH");
      }
    }
  },
  { real: ON_TIME },
);

promise(
  "every kind of connect waits for a late reply",
  async (world) => {
    const address = world.fated({ delay: SHORT });
    const target = targetOf(address);
    using blocking = connectSync(target);
    using limited = connectSync({ ...target, timeout: AGES });
    using waiting = await connect({ ...target, timeout: AGES });
    using joined = openFor(address);
    assertEquals(joined.tryConnect(address), world.abi.errnos.EINPROGRESS);
    await joined.connect(address);
    for (const socket of [blocking, limited, waiting, joined]) {
      assertEquals(socket.remoteAddress, address);
      assertEquals(socket.localAddress.family, "inet");
    }
  },
  { real: ON_TIME },
);

promise("every kind of connect reports a late failure", async (world) => {
  for (const errno of ["ETIMEDOUT", "EHOSTUNREACH", "ECONNRESET"] as const) {
    const address = world.fated({ delay: 5, errno });
    const target = targetOf(address);
    const errors = [
      thrown(() => connectSync(target)),
      thrown(() => connectSync({ ...target, timeout: AGES })),
      await rejected(connect({ ...target, timeout: AGES })),
    ];
    for (const error of errors) {
      assertErrno(world, error, errno);
      assertEquals(error.address, `${address}`);
      assertEquals(
        error.timeoutKind,
        errno === "ETIMEDOUT" ? "kernel" : undefined,
      );
      assert(error.elapsed! >= 4);
    }
  }
}, { real: ON_TIME });

promise(
  "every errno of the table has its class, number and name at once",
  async (world) => {
    for (const errno of failures(world.abi)) {
      const target = targetOf(world.fated({ errno, atOnce: true }));
      assertErrno(world, thrown(() => connectSync(target)), errno);
      assertErrno(world, await rejected(connect(target)), errno);
    }
  },
  { real: AT_WILL },
);

promise(
  "every errno of the table has its class, number and name in SO_ERROR",
  async (world) => {
    for (const errno of failures(world.abi)) {
      const target = targetOf(world.fated({ errno }));
      assertErrno(
        world,
        thrown(() => connectSync({ ...target, timeout: AGES })),
        errno,
      );
      assertErrno(world, await rejected(connect(target)), errno);
    }
  },
  { real: AT_WILL },
);

promise("a number that no table knows is UNKNOWN, and kept", async (world) => {
  for (const atOnce of [true, false]) {
    const target = targetOf(world.fated({ errno: 4242, atOnce }));
    const errors = [
      thrown(() => connectSync(target)),
      thrown(() => connectSync({ ...target, timeout: AGES })),
      await rejected(connect(target)),
    ];
    for (const error of errors) {
      assertEquals([error.code, error.errno, error.constructor], [
        "UNKNOWN",
        4242,
        ErrnoError,
      ]);
    }
  }
  assertEquals(errnoName(4242), "UNKNOWN");
}, { real: AT_WILL });

promise(
  "an attempt that a signal cuts short goes on by itself",
  async (world) => {
    const { system } = world;
    const host = world.host();
    const late = world.fated({ delay: SHORT });
    const failing = world.fated({ delay: 5, errno: "EHOSTUNREACH" });
    for (const address of [host.address as InetAddress, late]) {
      system.interrupt("connect", 1);
      system.interrupt("poll", 2);
      using socket = connectSync(targetOf(address));
      assertEquals(socket.remoteAddress, address);
      system.interrupt("connect", 1);
      using waiting = await connect(targetOf(address));
      assertEquals(waiting.remoteAddress, address);
    }
    system.interrupt("connect", 1);
    assertErrno(
      world,
      thrown(() => connectSync(targetOf(failing))),
      "EHOSTUNREACH",
    );
    system.interrupt("connect", 1);
    assertErrno(
      world,
      await rejected(connect(targetOf(failing))),
      "EHOSTUNREACH",
    );
  },
  { real: SIGNALS },
);

promise(
  "in the Unix domain, what a signal cuts short is finished",
  async (world) => {
    const { address } = world.host("unix");
    world.system.interrupt("connect", 3);
    connectSync(targetOf(address)).close();
    world.system.interrupt("connect", 3);
    (await connect(targetOf(address))).close();
  },
  { real: SIGNALS },
);

promise(
  "sending and receiving go on where a signal cut them short",
  (world) => {
    const host = world.host();
    using socket = connectSync(targetOf(host.address));
    world.system.interrupt("sendto", 2);
    world.system.interrupt("recvfrom", 2);
    assertTalk(socket, host.accept());
  },
  { real: SIGNALS },
);

// What a socket is asked.

promise(
  "a closed socket fails with EBADF, and a foreign address with EFAULT",
  (world) => {
    const { EBADF, EFAULT } = world.abi.errnos;
    const { address } = world.host();
    const socket = openFor(address);
    assertEquals(socket.tryConnect({} as Address), EFAULT);
    socket.close();
    socket.close();
    assertEquals(socket.tryConnect(address), EBADF);
    for (
      const call of [
        () => socket.connectSync(address),
        () => socket.localAddress,
        () => socket.remoteAddress,
        () => socket.takeError(),
        () => socket.sendSync(bytes("x")),
        () => socket.setOption("noDelay", true),
        () => socket.shutdown("both"),
      ]
    ) assertErrno(world, thrown(call), "EBADF");
  },
);

promise("an address of another family is refused by the kernel", (world) => {
  using socket = Socket.open({ family: "inet" });
  for (const address of [inet6("::1", 80), world.free("unix")]) {
    assertErrno(
      world,
      thrown(() => socket.connectSync(address)),
      "EAFNOSUPPORT",
      "EINVAL",
    );
  }
  const short = rawAddress(inet("127.0.0.1", 80).toBytes().slice(0, 1));
  assertErrno(world, thrown(() => socket.connectSync(short)), "EINVAL");
});

promise("a path that leads to nobody says why", (world) => {
  const none = world.free("unix");
  const error = thrown(() => connectSync(targetOf(none)));
  assertErrno(world, error, "ENOENT");
  assertEquals(error.address, `${none}`);
  using socket = Socket.open({ family: "unix", type: "dgram" });
  const wrong = attempt(() => socket.connectSync(world.host("unix").address));
  assertErrno(world, wrong, "EPROTOTYPE");
});

promise("the longest path of the system comes back whole", async (world) => {
  const { pathSize } = world.abi.sockaddrUn;
  const address = world.free("unix", pathSize - 1);
  const listening = world.host("unix");
  using server = Socket.open({ family: "unix", type: "dgram" });
  server.bind(address);
  assertEquals(server.localAddress, address);
  using socket = Socket.open({
    family: "unix",
    type: "dgram",
    nonblocking: true,
  });
  await socket.connect(address);
  assertEquals(socket.remoteAddress, address);
  const path = "path" in address ? address.path : "";
  const error = thrown(() => unix(`${path}x`));
  assertErrno(world, error, "ENAMETOOLONG");
  assertStringIncludes(error.message, `${pathSize - 1}`);
  assertEquals(connectSync(targetOf(listening.address)).close(), undefined);
});

promise("a Unix-domain socket without a name says so", () => {
  using socket = Socket.open({ family: "unix" });
  const { localAddress } = socket;
  assert(localAddress.family === "unix");
  assertEquals([localAddress.path, localAddress.abstract], ["", false]);
  assertEquals(socket.remoteAddress, null);
});

promise(
  "a full backlog in the Unix domain is waited for, or refused",
  async (world) => {
    const { system, abi } = world;
    const place = { family: "unix", host: "/run/full" } as const;
    system.listen(place, { backlog: 0 });
    using _one = connectSync({ transport: "unix", path: place.host });
    const target = {
      transport: "unix",
      path: place.host,
      timeout: SHORT,
    } as const;
    const code = abi.os === "linux" ? "ETIMEDOUT" : "ECONNREFUSED";
    assertErrno(world, thrown(() => connectSync(target)), code);
    assertErrno(world, await rejected(connect(target)), code);
    const { timeout: _, ...patient } = target;
    assertErrno(
      world,
      await rejected(connect(patient)),
      system.manners.fullUnix,
    );
  },
  { real: "how long its backlogs are is up to each kernel" },
);

promise("addresses of the kernel are read back in full", (world) => {
  const { system } = world;
  const link = {
    family: "inet6",
    host: "fe80::7",
    port: 80,
    scopeId: 0x01020304,
  } as const;
  const far = { family: "inet6", host: "2001:db8::7", port: 0x1234 } as const;
  for (const place of [link, far]) {
    system.listen({
      ...place,
      host: place === link ? "fe80::9" : "2001:db8::9",
    });
  }
  const scoped = inet6("fe80::9", 80, { scopeId: link.scopeId });
  using one = Socket.open({ family: "inet6" });
  one.connectSync(scoped);
  assertEquals(one.remoteAddress, scoped);
  const local = one.localAddress;
  assert(local.family === "inet6");
  assertEquals([local.hostname, local.scopeId], ["fe80::9", link.scopeId]);
  const flowInfo = 0x000a_bcde;
  const flowing = inet6("2001:db8::9", 0x1234, { flowInfo });
  using other = Socket.open({ family: "inet6" });
  other.connectSync(flowing);
  const { keepsFlowInfo } = system.manners;
  const expected = inet6("2001:db8::9", 0x1234, {
    flowInfo: keepsFlowInfo ? flowInfo : 0,
  });
  assertEquals(other.remoteAddress, expected);
}, { real: "it has no link but loopback, for certain" });

promise("a socket is bound where it is asked to be", async (world) => {
  const { address } = world.host();
  using taken = Socket.open({ family: "inet" });
  taken.bind(inet("127.0.0.1", 0));
  assert(taken.localAddress.family === "inet" && taken.localAddress.port > 0);
  const { port: localPort } = taken.localAddress;
  const to = targetOf(address as InetAddress);
  const target = { ...to, localAddress: "127.0.0.1" };
  using socket = connectSync(target);
  assertStringIncludes(`${socket.localAddress}`, "127.0.0.1:");
  const errors = [
    thrown(() => connectSync({ ...target, localPort })),
    await rejected(connect({ ...target, localPort })),
  ];
  for (const error of errors) {
    assertErrno(world, error, "EADDRINUSE");
    assertEquals(error.syscall, "bind");
  }
  assertErrno(world, thrown(() => taken.bind(inet("127.0.0.1", 0))), "EINVAL");
  using other = Socket.open({ family: "inet" });
  const foreign = thrown(() => other.bind(inet("198.51.100.1", 0)));
  assertErrno(world, foreign, "EADDRNOTAVAIL");
});

promise(
  "a local port is in its range, whether the kernel or we choose it",
  async (world) => {
    const { address } = world.host();
    const [low, high] = [40_000, 40_400] as const;
    const target = {
      ...targetOf(address),
      localPortRange: [low, high] as const,
    };
    using one = connectSync(target);
    using two = await connect(target);
    for (const { localAddress } of [one, two]) {
      assert(localAddress.family === "inet");
      assert(
        localAddress.port >= low && localAddress.port <= high,
        `${localAddress}`,
      );
    }
  },
);

promise("a connection to itself is a refusal", async (world) => {
  const { system } = world;
  for (const connects of [connectSync, connect]) {
    system.nextPort = 50_000;
    // Each attempt gets the port of the one before it once that is closed.
    const own = Object.getOwnPropertyDescriptor(system, "nextPort")!;
    Object.defineProperty(system, "nextPort", {
      get: () => 50_000,
      set() {},
      configurable: true,
    });
    const error = await Promise.resolve()
      .then(() => connects({ port: 50_000 }))
      .then(() => null, (error) => error);
    Object.defineProperty(system, "nextPort", own);
    assertErrno(world, error, "ECONNREFUSED");
    assertStringIncludes((error as Error).message, "itself");
  }
}, { real: "it takes luck" });

promise("an adopted descriptor is known by its family and type", (world) => {
  const host = world.host("inet");
  const made = connectSync(targetOf(host.address));
  const fd = made.detach();
  assertEquals([made.fd, made.closed], [-1, true]);
  using socket = Socket.fromFd(fd);
  assertEquals(socket.getOption("type"), "stream");
  socket.setOption("ttl", 9);
  assertEquals(socket.getOption("ttl"), 9);
  assertEquals(world.facts(fd).closeOnExec, true);
  assertTalk(socket, host.accept());
});

promise(
  "a new socket is close-on-exec, and blocks unless asked otherwise",
  (world) => {
    for (const nonblocking of [false, true]) {
      for (const family of ["inet", "unix"] as const) {
        for (const type of ["stream", "dgram"] as const) {
          using socket = Socket.open({ family, type, nonblocking });
          assertEquals(world.facts(socket.fd), {
            closeOnExec: true,
            nonblocking,
          });
          assertEquals(socket.nonblocking, nonblocking);
          assertEquals(socket.getOption("type"), type);
          socket.nonblocking = !nonblocking;
          assertEquals(world.facts(socket.fd).nonblocking, !nonblocking);
        }
      }
    }
  },
);

promise(
  "what cannot be opened is refused with the kernel's reason",
  (world) => {
    const rows = [
      [{ family: 250 }, "EAFNOSUPPORT"],
      [{ family: "inet", protocol: "udp" }, "EPROTONOSUPPORT"],
    ] as const;
    for (const [options, code] of rows) {
      const error = thrown(() => Socket.open(options));
      assertErrno(world, error, code);
      assertEquals(error.syscall, "socket");
    }
  },
);

promise(
  "without descriptors every way ends in EMFILE and leaves none open",
  async (world) => {
    const { system } = world;
    // It may not be there before it is waited for.
    const target = targetOf(world.fated({ delay: AGES }));
    const most = 2;
    // First there is none for the socket, then none for what waits for it.
    for (let limit = 0; limit <= most; limit++) {
      system.limit = limit;
      if (limit === 0) {
        assertErrno(
          world,
          thrown(() => connectSync(target)),
          "EMFILE",
        );
      }
      assertErrno(world, await rejected(connect(target)), "EMFILE");
      assertEquals(system.descriptors.length, 0);
    }
    system.limit = most + 1;
    (await connect(targetOf(world.fated({ delay: SHORT })))).close();
  },
  { real: "it would take all descriptors of the process" },
);

promise("whichever call fails, nothing is left open", async (world) => {
  const { system } = world;
  const targets = [
    {
      ...targetOf(world.fated({ delay: 2 })),
      localPort: 40_000,
      socketOptions: { noDelay: true, linger: 0 },
    },
    targetOf(world.refusing()),
    targetOf(world.host("unix").address),
  ];
  for (const target of targets) {
    for (const connects of [connectSync, connect]) {
      for (let number = 1; number === 1 || !system.isToFail; number++) {
        system.failAt(number, "ENOBUFS");
        try {
          const socket = await connects({ ...target, timeout: AGES });
          socket.close();
        } catch (error) {
          assertErrno(world, error, "ENOBUFS", "ECONNREFUSED");
        }
        await idle(system);
        assertEquals(system.descriptors, [], `${connects.name} ${number}`);
      }
    }
  }
}, { real: AT_WILL });

promise(
  "what waits for sockets is close-on-exec as they are",
  async (world) => {
    const { system } = world;
    using socket = Socket.open({ family: "inet" });
    const ended = rejected(socket.connect(world.silent()));
    // An attempt is looked at for a while before anything waits for it.
    const end = performance.now() + AGES;
    while (system.descriptors.length < 2 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    const { descriptors } = system;
    assert(descriptors.length > 1);
    for (const fd of descriptors) assert(system.facts(fd).closeOnExec, `${fd}`);
    socket.close();
    assertErrno(world, await ended, "ECANCELED");
  },
  { real: INSIDE },
);

// Datagrams.

for (const family of ["inet", "inet6"] as const) {
  promise(
    `a datagram socket over ${family} is associated again and again, and freed`,
    (world) => {
      using socket = datagrams(world, family);
      using one = datagrams(world, family);
      using two = datagrams(world, family);
      const buffer = new Uint8Array(8);
      for (const peer of [one, two, one]) {
        socket.connectSync(peer.localAddress);
        assertEquals(socket.remoteAddress, peer.localAddress);
        socket.sendSync(bytes("hi"));
        assertEquals(peer.poll("POLLIN", AGES), ["POLLIN"]);
        const [size, from] = peer.recvFromSync(buffer);
        assertEquals(text(buffer, size), "hi");
        assertEquals(from, socket.localAddress);
      }
      for (let i = 0; i < 2; i++) {
        socket.connectSync(one.localAddress);
        socket.disconnect();
        assertEquals(socket.remoteAddress, null);
        assertErrno(
          world,
          thrown(() => socket.sendSync(bytes("x"))),
          "EDESTADDRREQ",
          "ENOTCONN",
        );
      }
      assertEquals(socket.sendSync(bytes("on"), { to: two.localAddress }), 2);
      assertEquals(two.recvSync(buffer), 2);
    },
    { real: family === "inet6" ? canIpv6() : null },
  );
}

promise("a datagram socket in the Unix domain is freed", (world) => {
  using peer = Socket.open({ family: "unix", type: "dgram" });
  peer.bind(world.free("unix"));
  using socket = Socket.open({ family: "unix", type: "dgram" });
  // Without a peer there is nothing to dissolve, and so it is.
  for (let i = 0; i < 2; i++) {
    socket.disconnect();
    assertEquals(socket.remoteAddress, null);
    socket.connectSync(peer.localAddress);
  }
  assertEquals(socket.remoteAddress, peer.localAddress);
});

promise("a socket is freed though an error is pending", (world) => {
  using gone = datagrams(world, "inet");
  const { localAddress } = gone;
  gone.close();
  using socket = datagrams(world, "inet");
  socket.connectSync(localAddress);
  socket.sendSync(bytes("x"));
  assertEquals(socket.poll("POLLIN", AGES).includes("POLLERR"), true);
  socket.disconnect();
  assertEquals(socket.remoteAddress, null);
});

promise("an associated datagram socket hears its peer alone", (world) => {
  using socket = datagrams(world, "inet");
  using peer = datagrams(world, "inet");
  using stranger = datagrams(world, "inet");
  const to = socket.localAddress;
  socket.connectSync(peer.localAddress);
  stranger.sendSync(bytes("no"), { to });
  peer.sendSync(bytes("yes"), { to });
  const buffer = new Uint8Array(8);
  assertEquals(text(buffer, socket.recvSync(buffer)), "yes");
  assertErrno(world, thrown(() => socket.recvSync(buffer)), "EAGAIN");
});

promise("a datagram that nobody takes comes back as ECONNREFUSED", (world) => {
  using gone = datagrams(world, "inet");
  const { localAddress } = gone;
  gone.close();
  using socket = datagrams(world, "inet");
  socket.connectSync(localAddress);
  socket.sendSync(bytes("x"));
  socket.poll("POLLIN", AGES);
  assertErrno(
    world,
    thrown(() => socket.recvSync(new Uint8Array(1))),
    "ECONNREFUSED",
  );
});

promise(
  "a datagram socket in the Unix domain reaches a path, by promise as well",
  async (world) => {
    const address = world.free("unix");
    using server = Socket.open({
      family: "unix",
      type: "dgram",
      nonblocking: true,
    });
    server.bind(address);
    using socket = Socket.open({
      family: "unix",
      type: "dgram",
      nonblocking: true,
    });
    const buffer = new Uint8Array(8);
    const waiting = server.recvFrom(buffer, { timeout: AGES });
    assertEquals(await socket.send(bytes("hi"), { to: address }), 2);
    const [size, from] = await waiting;
    assertEquals(text(buffer, size), "hi");
    assert(from.family === "unix" || from.family === "unspec");
  },
);

promise(
  "disconnecting a stream ends it on Linux, and is refused elsewhere",
  (world) => {
    const { address } = world.host();
    using socket = connectSync(targetOf(address));
    const error = attempt(() => socket.disconnect());
    if (world.abi.os === "linux") {
      assertEquals([error, socket.remoteAddress], [null, null]);
      socket.connectSync(address);
    } else {
      assertErrno(world, error, "EISCONN", "EINVAL");
    }
    assertEquals(socket.remoteAddress, address);
  },
);

promise("an attempt that goes on is given up by Linux alone", (world) => {
  const address = world.silent();
  using socket = openFor(address);
  socket.tryConnect(address);
  const error = attempt(() => socket.disconnect());
  if (world.abi.os === "linux") assertEquals(error, null);
  else assertErrno(world, error, "EALREADY", "EINVAL");
}, { real: canBlackHole() });

promise(
  "an associated datagram socket may send to others, or gets EISCONN",
  (world) => {
    using socket = datagrams(world, "inet");
    using peer = datagrams(world, "inet");
    using other = datagrams(world, "inet");
    socket.connectSync(peer.localAddress);
    const to = other.localAddress;
    const error = attempt(() => socket.sendSync(bytes("x"), { to }));
    if (world.abi.os === "linux") assertEquals(error, null);
    else assertErrno(world, error, "EISCONN");
  },
);

// Data.

promise("a stream does not say who sends", (world) => {
  const host = world.host();
  using socket = connectSync(targetOf(host.address));
  host.accept().say("x");
  const [size, from] = socket.recvFromSync(new Uint8Array(8));
  assertEquals([size, from.family], [1, "unspec"]);
});

promise("a stream ends where its peer ends it", async (world) => {
  const host = world.host();
  using socket = await connect(targetOf(host.address));
  const peer = host.accept();
  peer.say("last");
  peer.close();
  const buffer = new Uint8Array(8);
  assertEquals(
    text(buffer, await socket.recv(buffer, { timeout: AGES })),
    "last",
  );
  assertEquals(await socket.recv(buffer, { timeout: AGES }), 0);
  assertEquals(await socket.read(buffer), null);
});

promise(
  "the peer sees a shutdown(), and sending is EPIPE from then on",
  async (world) => {
    const host = world.host();
    using socket = connectSync(targetOf(host.address));
    const peer = host.accept();
    socket.shutdown("write");
    assertEquals(peer.hear(), "");
    assertErrno(world, thrown(() => socket.sendSync(bytes("x"))), "EPIPE");
    socket.nonblocking = true;
    assertErrno(world, await rejected(socket.send(bytes("x"))), "EPIPE");
    peer.say("still");
    const buffer = new Uint8Array(8);
    assertEquals(
      text(buffer, await socket.recv(buffer, { timeout: AGES })),
      "still",
    );
    using fresh = Socket.open({ family: "inet" });
    assertErrno(world, thrown(() => fresh.shutdown("both")), "ENOTCONN");
  },
);

promise(
  "a socket that is shut down on both sides has no peer, or the one it had",
  (world) => {
    const { address } = world.host();
    using socket = connectSync(targetOf(address));
    socket.shutdown("both");
    const { remoteAddress } = socket;
    if (remoteAddress !== null) assertEquals(remoteAddress, address);
  },
);

promise("a reset is ECONNRESET", async (world) => {
  const host = world.host();
  using socket = await connect(targetOf(host.address));
  host.accept().reset();
  const error = await rejected(
    socket.recv(new Uint8Array(1), { timeout: AGES }),
  );
  assertErrno(world, error, "ECONNRESET");
  assertEquals(error.syscall, "recvfrom");
});

promise(
  "a receiver that hears nothing gives up at its timeout",
  async (world) => {
    const host = world.host();
    using socket = await connect(targetOf(host.address));
    const buffer = new Uint8Array(1);
    const error = await rejected(socket.recv(buffer, { timeout: SHORT }));
    assertErrno(world, error, "ETIMEDOUT");
    assertEquals(error.timeoutKind, "deadline");
    const signal = AbortSignal.abort("enough");
    assertEquals(
      await socket.recv(buffer, { signal }).catch((e) => e),
      "enough",
    );
    assertErrno(world, thrown(() => socket.recvSync(buffer)), "EAGAIN");
    host.accept();
  },
);

promise("a sender waits for room, and gets it", async (world) => {
  const host = world.host();
  using socket = await connect(targetOf(host.address));
  const peer = host.accept();
  const chunk = new Uint8Array(65_536).fill(0x61);
  let sent = 0;
  let error: unknown = null;
  while (error === null) {
    error = attempt(() => {
      sent += socket.sendSync(chunk);
    });
  }
  assertErrno(world, error, "EAGAIN");
  assert(sent > 0);
  const waiting = socket.send(bytes("more"), { timeout: AGES });
  let heard = 0;
  setTimeout(() => {
    while (heard < sent) heard += peer.hear().length;
  }, 5);
  assertEquals(await waiting, 4);
  assertEquals(peer.hear(), "more");
});

promise(
  "a wait that begins while others are parked joins them",
  async (world) => {
    const host = world.host();
    using one = await connect(targetOf(host.address));
    const first = host.accept();
    using two = await connect(targetOf(host.address));
    const second = host.accept();
    const buffers = [new Uint8Array(8), new Uint8Array(8)] as const;
    const long = one.recv(buffers[0], { timeout: AGES });
    // By then the wait has left this thread.
    await new Promise((resolve) => setTimeout(resolve, SHORT));
    const short = two.recv(buffers[1], { timeout: AGES });
    setTimeout(() => second.say("two"), 1);
    assertEquals(text(buffers[1], await short), "two");
    setTimeout(() => first.say("one"), SHORT);
    assertEquals(text(buffers[0], await long), "one");
  },
);

promise("poll() and ready() return events by name", async (world) => {
  const host = world.host();
  using socket = await connect(targetOf(host.address));
  const peer = host.accept();
  assertEquals(socket.poll("POLLIN", 0), []);
  assertEquals(socket.poll(["POLLIN", "POLLOUT"], 0), ["POLLOUT"]);
  assertEquals(await socket.ready("POLLIN", { timeout: 1 }), []);
  peer.say("x");
  assertEquals(await socket.ready("POLLIN", { timeout: AGES }), ["POLLIN"]);
  assertEquals(socket.poll("POLLIN", AGES), ["POLLIN"]);
});

promise("a failed attempt shows in poll()", (world) => {
  const address = world.refusing();
  using socket = openFor(address);
  if (socket.tryConnect(address) !== world.abi.errnos.EINPROGRESS) return;
  const events = socket.poll("POLLOUT", AGES);
  assert(events.includes("POLLOUT"));
  assert(
    events.some((event) => event === "POLLERR" || event === "POLLHUP"),
    `${events}`,
  );
});

promise("streams of the web carry what sockets carry", async (world) => {
  const host = world.host();
  using socket = await connect(targetOf(host.address));
  const peer = host.accept();
  const writer = socket.writable.getWriter();
  await writer.write(bytes("ping"));
  assertEquals(peer.hear(), "ping");
  peer.say("pong");
  peer.close();
  let heard = "";
  for await (const part of socket.readable) heard += text(part);
  assertEquals(heard, "pong");
  writer.releaseLock();
});

// Options.

/** An option, its C name, values, and whether a real kernel would want privileges for it. */
const OPTION_ROWS: readonly (readonly [
  SocketOptionName,
  keyof Abi,
  family: "inet" | "inet6",
  values: readonly unknown[],
  guarded?: boolean,
])[] = [
  ["reuseAddress", "SO_REUSEADDR", "inet", [true, false]],
  ["reusePort", "SO_REUSEPORT", "inet", [true, false]],
  ["broadcast", "SO_BROADCAST", "inet", [true, false]],
  ["keepAlive", "SO_KEEPALIVE", "inet", [false]],
  ["linger", "SO_LINGER", "inet", [0, 2000, 86_400_000, null]],
  ["noDelay", "TCP_NODELAY", "inet", [true, false]],
  ["ttl", "IP_TTL", "inet", [1, 64, 255]],
  ["ttl", "IPV6_UNICAST_HOPS", "inet6", [1, 64, 255]],
  ["typeOfService", "IP_TOS", "inet", [0, 0x10, 0xb8]],
  ["typeOfService", "IPV6_TCLASS", "inet6", [0, 0x10, 0xb8]],
  ["v6Only", "IPV6_V6ONLY", "inet6", [true]],
  ["userTimeout", "TCP_USER_TIMEOUT", "inet", [0, 1234]],
  ["synRetries", "TCP_SYNCNT", "inet", [1, 5]],
  ["maxSegmentSize", "TCP_MAXSEG", "inet", [1000], true],
  ["freeBind", "IP_FREEBIND", "inet", [true, false]],
  ["bindAddressNoPort", "IP_BIND_ADDRESS_NO_PORT", "inet", [true, false]],
  [
    "localPortRange",
    "IP_LOCAL_PORT_RANGE",
    "inet6",
    [[40_000, 40_001], [0, 0]],
    true,
  ],
  ["readErrorQueue", "IP_RECVERR", "inet", [true, false]],
  ["readErrorQueue", "IPV6_RECVERR", "inet6", [true, false]],
  ["mark", "SO_MARK", "inet", [1, 0xffff_fffe], true],
  ["transparent", "IP_TRANSPARENT", "inet", [true, false], true],
  ["fastOpen", "TCP_FASTOPEN_CONNECT", "inet", [true, false], true],
  ["quickAck", "TCP_QUICKACK", "inet", [true, false], true],
  ["congestion", "TCP_CONGESTION", "inet", ["reno", "cubic"], true],
];

function roundTrips(guarded: boolean): Clause["run"] {
  return (world) => {
    for (
      const [name, constant, family, values, isGuarded = false] of OPTION_ROWS
    ) {
      if (isGuarded !== guarded || world.abi[constant] === null) continue;
      if (family === "inet6" && !capabilities().ipv6) continue;
      using socket = Socket.open({ family });
      for (const value of values) {
        socket.setOption(name, value as never);
        assertEquals(
          socket.getOption(name as ReadableSocketOptionName),
          value as never,
          name,
        );
      }
    }
  };
}

promise("options read as they were set", roundTrips(false));
promise(
  "options that are not for everybody read as they were set",
  roundTrips(true),
  {
    real: "it takes privileges, or luck",
  },
);

promise(
  "an option that the system lacks is refused before any call",
  async (world) => {
    const { abi, system } = world;
    using socket = Socket.open({ family: "inet" });
    const { length } = system.calls;
    const target = targetOf(inet("127.0.0.1", 80));
    for (const [name, constant, , values] of OPTION_ROWS) {
      if (abi[constant] !== null) continue;
      const value = values[0] as never;
      const socketOptions = { [name]: value };
      const errors = [
        attempt(() => socket.setOption(name, value)),
        attempt(() => socket.getOption(name as ReadableSocketOptionName)),
        attempt(() => connectSync({ ...target, socketOptions })),
        await connect({ ...target, socketOptions }).catch((error) => error),
      ];
      for (const error of errors) {
        assertInstanceOf(error, NotSupportedError);
        assertEquals(error.platform, abi.os);
      }
    }
    assertEquals(system.calls.length, length);
  },
  { real: INSIDE },
);

promise(
  "the times of keepAlive are milliseconds here and seconds there",
  (world) => {
    const { abi } = world;
    const times = { initialDelay: 60_000, interval: 5000, count: 4 };
    using socket = Socket.open({ family: "inet" });
    assertEquals(socket.getOption("keepAlive"), false);
    if (abi.TCP_KEEPIDLE === null) {
      assertInstanceOf(
        attempt(() => socket.setOption("keepAlive", times)),
        NotSupportedError,
      );
      socket.setOption("keepAlive", true);
      assertEquals(socket.getOption("keepAlive"), true);
    } else {
      socket.setOption("keepAlive", times);
      assertEquals(socket.getOption("keepAlive"), times);
      assertEquals(socket.getOption(abi.IPPROTO_TCP, abi.TCP_KEEPIDLE), 60);
      assertThrows(
        () => socket.setOption("keepAlive", { interval: 1500 }),
        RangeError,
      );
    }
    using datagram = Socket.open({ family: "inet", type: "dgram" });
    datagram.setOption("keepAlive", true);
    assertEquals(datagram.getOption("keepAlive"), true);
  },
);

promise("buffers are at least as large as asked for", (world) => {
  using socket = Socket.open({ family: "inet" });
  for (const name of ["receiveBufferSize", "sendBufferSize"] as const) {
    socket.setOption(name, 50_000);
    const size = socket.getOption(name);
    assert(
      size === 50_000 || world.abi.os === "linux" && size === 100_000,
      `${size}`,
    );
  }
});

promise("an option goes by its numbers as well", (world) => {
  const { abi } = world;
  using socket = Socket.open({ family: "inet" });
  socket.setOption(abi.IPPROTO_IP, abi.IP_TTL, 0x1f);
  assertEquals(socket.getOption("ttl"), 0x1f);
  assertEquals(socket.getOption(abi.SOL_SOCKET, abi.SO_TYPE), abi.SOCK_STREAM);
  assertErrno(
    world,
    thrown(() => socket.setOption(abi.SOL_SOCKET, 0x7ff0, 1)),
    "ENOPROTOOPT",
  );
});

promise(
  "a socket reports its type, protocol and whether it listens",
  (world) => {
    const { abi } = world;
    using stream = Socket.open({ family: "inet" });
    using dgram = Socket.open({ family: "inet", type: "dgram" });
    assertEquals([stream.getOption("type"), dgram.getOption("type")], [
      "stream",
      "dgram",
    ]);
    assertEquals(stream.getOption("acceptsConnections"), false);
    if (capabilities().unixSeqpacket) {
      using seqpacket = Socket.open({ family: "unix", type: "seqpacket" });
      assertEquals(seqpacket.getOption("type"), "seqpacket");
    }
    if (abi.SO_PROTOCOL === null) {
      assertThrows(
        () => stream.getOption("protocol"),
        NotSupportedError,
        abi.os,
      );
    } else {
      assertEquals(
        [stream.getOption("protocol"), dgram.getOption("protocol")],
        [
          6,
          17,
        ],
      );
    }
    if (abi.mptcp === null) {
      assertThrows(
        () => stream.getOption("multipath"),
        NotSupportedError,
        abi.os,
      );
      assertThrows(
        () => Socket.open({ protocol: "mptcp" }),
        NotSupportedError,
        abi.os,
      );
    } else {
      assertEquals(stream.getOption("multipath"), false);
    }
  },
);

promise("Multipath TCP reads differently from plain TCP", (world) => {
  if (world.abi.mptcp === null) return;
  using socket = Socket.open({ protocol: "mptcp" });
  assertEquals(socket.getOption("multipath"), true);
}, { real: "not every kernel has it, see options_test.ts" });

promise(
  "an interface goes by name or by number, as the system has it",
  (world) => {
    const { abi } = world;
    using socket = Socket.open({ family: "inet" });
    using six = Socket.open({ family: "inet6" });
    if (abi.SO_BINDTODEVICE !== null && abi.IP_BOUND_IF === null) {
      socket.setOption("interface", "lo");
      assertEquals(socket.getOption("interface"), "lo");
    } else if (abi.IP_BOUND_IF !== null) {
      socket.setOption("interface", "net0");
      assertEquals(socket.getOption(abi.IPPROTO_IP, abi.IP_BOUND_IF), 2);
      six.setOption("interface", "lo");
      assertEquals(six.getOption(abi.IPPROTO_IPV6, abi.IPV6_BOUND_IF!), 1);
      assertErrno(
        world,
        thrown(() => socket.setOption("interface", "none")),
        "ENXIO",
      );
      assertThrows(
        () => socket.getOption("interface"),
        NotSupportedError,
        abi.os,
      );
    } else {
      assertThrows(
        () => socket.setOption("interface", "lo"),
        NotSupportedError,
        abi.os,
      );
    }
  },
  { real: ALL_SYSTEMS },
);

promise(
  "a key for MD5 signatures lies where the kernel looks for it",
  (world) => {
    const { abi } = world;
    const key = { address: inet("192.0.2.7", 179), key: "secret" };
    using socket = Socket.open({ family: "inet" });
    if (abi.tcpMd5sig === null) {
      assertThrows(
        () => socket.setOption("md5", key),
        NotSupportedError,
        abi.os,
      );
    } else {
      socket.setOption("md5", key);
    }
  },
  { real: "it takes privileges" },
);

promise("tcpInfo() returns what the kernel reports", async (world) => {
  const { abi } = world;
  const pending = world.fated({ delay: 8 * SHORT });
  using socket = connectSync(targetOf(world.host().address));
  using waiting = openFor(pending);
  waiting.tryConnect(pending);
  const layout = abi.tcpInfo;
  if (layout === null) {
    assertThrows(() => socket.tcpInfo(), NotSupportedError, abi.os);
  } else {
    assertEquals(socket.tcpInfo(), {
      state: "ESTABLISHED",
      rtt: RTT,
      rttVariance: RTT_VARIANCE,
      retransmits: layout.retransmits === null ? null : RETRANSMITS,
      totalRetransmits: layout.totalRetrans === null ? null : RETRANSMITS,
      ...layout.details === null
        ? { minRtt: null, mss: null, congestionWindow: null, options: null }
        : DETAILS,
    });
    world.system.tcpInfoSize = layout.rttvar + 4;
    assertEquals(socket.tcpInfo().totalRetransmits, null);
    world.system.tcpInfoSize = layout.rttvar;
    assertThrows(() => socket.tcpInfo(), NotSupportedError, abi.os);
    world.system.tcpInfoSize = layout.size;
    assertEquals(waiting.tcpInfo().state, "SYN_SENT");
    using datagram = Socket.open({ type: "dgram" });
    assertErrno(
      world,
      thrown(() => datagram.tcpInfo()),
      "ENOPROTOOPT",
      "EOPNOTSUPP",
    );
  }
  await waiting.connect(pending);
}, { real: INSIDE });

promise("tcpInfo() knows an established connection", (world) => {
  using socket = connectSync(targetOf(world.host().address));
  if (world.abi.tcpInfo === null) {
    assertThrows(() => socket.tcpInfo(), NotSupportedError, world.abi.os);
  } else {
    assertEquals(socket.tcpInfo().state, "ESTABLISHED");
  }
});

promise("capabilities() are those of the table", (world) => {
  const { abi } = world;
  const found = capabilities();
  assertEquals([found.os, found.arch], [abi.os, abi.arch]);
  assertEquals(found.abstractUnix, abi.abstractUnix);
  assertEquals(found.tcpInfo, abi.tcpInfo !== null);
  for (const [name, constant, , , isGuarded] of OPTION_ROWS) {
    if (!isGuarded) {
      assertEquals(found.options[name], abi[constant] !== null, name);
    }
  }
  assertEquals(found.options.noDelay, true);
});

promise("explain() speaks of the system in force", ({ abi }) => {
  for (const code of failures(abi)) {
    const { os, errno } = explain(code);
    assertEquals([os, errno], [abi.os, abi.errnos[code]!], code);
  }
});

// Names.

promise(
  "a name is resolved by the C library, for either family",
  async (world) => {
    const { port } = world.host("inet").address as InetAddress;
    world.host("inet6", inet6("::1", port));
    world.name("both.test", ["::1", "127.0.0.1"]);
    const target = { hostname: "both.test", port };
    const rows = [
      [undefined, `[::1]:${port}`],
      ["inet", `127.0.0.1:${port}`],
      ["inet6", `[::1]:${port}`],
    ] as const;
    for (const [family, expected] of rows) {
      using one = connectSync({ ...target, family });
      using two = await connect({ ...target, family });
      const peers = [`${one.remoteAddress}`, `${two.remoteAddress}`];
      assertEquals(peers, [expected, expected]);
    }
  },
  { real: canIpv6() },
);

promise(
  "where one address refuses the next is tried, and all errors are reported",
  async (world) => {
    const { port } = world.host("inet", inet("127.0.0.2", 0))
      .address as InetAddress;
    world.name("second.test", ["127.0.0.1", "127.0.0.2"]);
    const second = { hostname: "second.test", port, timeout: AGES };
    using one = connectSync(second);
    using two = await connect(second);
    assertEquals(`${one.remoteAddress}`, `127.0.0.2:${port}`);
    assertEquals(`${two.remoteAddress}`, `127.0.0.2:${port}`);
    world.name("none.test", ["127.0.0.1", "127.0.0.3"]);
    const none = { hostname: "none.test", port };
    const errors = [
      thrown(() => connectSync(none)),
      await rejected(connect(none)),
    ];
    for (const error of errors) {
      assertErrno(world, error, "ECONNREFUSED");
      assertEquals(error.address, `none.test:${port}`);
      const addresses = error.errors.map(({ address }) => address);
      assertEquals(addresses, [`127.0.0.1:${port}`, `127.0.0.3:${port}`]);
      for (const each of error.errors) assertErrno(world, each, "ECONNREFUSED");
    }
  },
  { real: canBlackHole() },
);

promise(
  "the first address to reply wins, and the others are closed",
  async (world) => {
    const { port } = world.host("inet").address as InetAddress;
    world.silent(inet("127.0.0.2", port));
    world.name("slow.test", ["127.0.0.2", "127.0.0.1"]);
    world.name("silent.test", ["127.0.0.2"]);
    const slow = { hostname: "slow.test", port, attemptDelay: 10 };
    using socket = await connect({ ...slow, timeout: AGES });
    assertEquals(`${socket.remoteAddress}`, `127.0.0.1:${port}`);
    const silent = { hostname: "silent.test", port, timeout: SHORT };
    assertErrno(world, thrown(() => connectSync(silent)), "ETIMEDOUT");
    assertErrno(world, await rejected(connect(silent)), "ETIMEDOUT");
  },
  { real: canBlackHole() },
);

promise(
  "every failure of getaddrinfo has its name and number",
  async (world) => {
    const { abi, system } = world;
    const target = { hostname: "none.test", port: 80 };
    for (const [code, number] of Object.entries(abi.eais)) {
      const errno = code === "EAI_SYSTEM" ? { errno: "ENOMEM" as const } : {};
      system.names.set("none.test", { eai: number, ...errno });
      const errors = [
        attempt(() => connectSync(target)),
        await connect(target).catch((error) => error),
      ];
      for (const error of errors) {
        assertInstanceOf(error, LookupError);
        assertEquals([error.code, error.errno], [code, number] as never);
      }
      // What lies behind it is known on the thread alone.
      const { cause } = errors[0] as Error;
      if (code === "EAI_SYSTEM") assertErrno(world, cause, "ENOMEM");
      else assertEquals(cause, undefined);
    }
    system.names.set("none.test", { eai: 4242 });
    const error = attempt(() => connectSync(target));
    assertInstanceOf(error, LookupError);
    assertEquals([error.code, error.errno], ["UNKNOWN", 4242]);
  },
  { real: NO_NAMES },
);

promise("a zone goes by the name of its interface", (world) => {
  assertEquals(inet6("fe80::1%net0", 80).scopeId, 2);
  assertEquals(inet6("fe80::1%lo", 80).scopeId, 1);
  const { noInterface } = world.system.manners;
  assertErrno(world, thrown(() => inet6("fe80::1%none", 80)), noInterface);
}, { real: "its interfaces have names of their own, see address_test.ts" });

// What only some systems have.

promise(
  "an abstract name is for Linux, and a typed refusal elsewhere",
  async (world) => {
    const { abi, system } = world;
    if (!abi.abstractUnix) {
      assertThrows(() => abstractUnix("name"), NotSupportedError, abi.os);
      return;
    }
    const target = { transport: "unix", path: "\0name" } as const;
    system.listen({ family: "unix", host: "\0name" });
    using one = connectSync(target);
    using two = await connect(target);
    for (const socket of [one, two]) {
      assertEquals(socket.remoteAddress, abstractUnix("name"));
    }
  },
  { real: "unix_test.ts has it" },
);

promise("vsock is for some, and a typed refusal elsewhere", (world) => {
  const { abi, system } = world;
  if (abi.AF_VSOCK === null) {
    assertThrows(() => vsock(2, 0x01020304), NotSupportedError, abi.os);
    assertThrows(
      () => Socket.open({ family: "vsock" }),
      NotSupportedError,
      abi.os,
    );
    return;
  }
  system.plan({ family: "vsock", host: "2", port: 0x01020304 }, {
    errno: "ENODEV",
    atOnce: true,
  });
  const error = thrown(() =>
    connectSync({ transport: "vsock", cid: 2, port: 0x01020304 })
  );
  assertErrno(world, error, "ENODEV");
  assertEquals(error.address, "vsock:2:16909060");
  using socket = Socket.open({ family: "vsock" });
  socket.bind(vsock(1, 0x01020304));
  assertEquals(socket.localAddress, vsock(1, 0x01020304));
}, { real: "it would reach out of this machine" });

promise(
  "an error says who refused by ICMP where the kernel reports it",
  async (world) => {
    const icmp = { type: 3, code: 13, from: "192.0.2.254" };
    const target = targetOf(
      world.fated({ errno: "EHOSTUNREACH", delay: 5, icmp }),
    );
    const errors = [
      thrown(() => connectSync({ ...target, timeout: AGES })),
      await rejected(connect(target)),
    ];
    for (const error of errors) {
      assertErrno(world, error, "EHOSTUNREACH");
      assertEquals(
        error.icmp,
        world.abi.errorQueue === null ? undefined : icmp,
      );
    }
  },
  { real: "it takes a network, see icmp_test.ts" },
);

// Many.

promise(
  "a hundred attempts wait together, each with an end of its own",
  async (world) => {
    const fates: readonly Fate[] = [
      { delay: 1 },
      { delay: SHORT },
      { errno: "ECONNREFUSED" },
      { delay: 5, errno: "EHOSTUNREACH" },
      { delay: Infinity },
    ];
    const ends = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) => {
        const fate = fates[i % fates.length]!;
        const timeout = fate.delay === Infinity ? 5 * SHORT : AGES;
        return connect({ ...targetOf(world.fated(fate)), timeout });
      }),
    );
    const codes = [
      "",
      "",
      "ECONNREFUSED",
      "EHOSTUNREACH",
      "ETIMEDOUT",
    ] as const;
    for (const [i, end] of ends.entries()) {
      const code = codes[i % codes.length]!;
      if (end.status === "fulfilled") end.value.close();
      if (code === "") assertEquals(end.status, "fulfilled");
      else assertErrno(world, end.status === "rejected" && end.reason, code);
    }
  },
  { real: ON_TIME },
);

promise("connections that stand at once come by the hundred", async (world) => {
  const { address } = world.host();
  const sockets = await Promise.all(
    Array.from({ length: 100 }, () => connect(targetOf(address))),
  );
  for (const socket of sockets) assertEquals(socket.remoteAddress, address);
  for (const socket of sockets) socket.close();
});

promise("a ping reports success and refusal alike", async (world) => {
  const open = targetOf(world.host().address);
  const shut = targetOf(world.refusing());
  const options = { count: 2, interval: 0, timeout: AGES };
  const good = await Array.fromAsync(ping(open, options));
  const bad = await Array.fromAsync(ping(shut, options));
  assertEquals(good.map(({ error }) => error), [null, null]);
  for (const { error } of bad) assertErrno(world, error, "ECONNREFUSED");
});

promise("a ping over several targets keeps them apart", async (world) => {
  const fates: readonly Fate[] = [{ delay: 1 }, { errno: "EHOSTUNREACH" }, {
    delay: Infinity,
  }];
  const codes = await Promise.all(fates.map(async (fate) => {
    const target = targetOf(world.fated(fate));
    const timeout = fate.delay === Infinity ? SHORT : AGES;
    const [probe] = await Array.fromAsync(ping(target, { count: 1, timeout }));
    return probe!.error?.code;
  }));
  assertEquals(codes, [undefined, "EHOSTUNREACH", "ETIMEDOUT"]);
}, { real: ON_TIME });

// Worlds.

const SYSTEMS: readonly Abi[] = [
  abiFor("linux", "x64"),
  abiFor("linux", "arm64"),
  // No table is of this one: it has the other byte order, and all that only Linux has.
  { ...abiFor("linux", "arm64"), arch: "s390x", littleEndian: false },
  abiFor("darwin", "x64"),
  abiFor("darwin", "arm64"),
  abiFor("freebsd", "x64"),
  abiFor("openbsd", "x64"),
  abiFor("netbsd", "x64"),
  abiFor("illumos", "x64"),
  abiFor("aix", "ppc64"),
];

for (const { name, run, real } of CONTRACT) {
  test(`contract, this kernel: ${name}`, () => hold(realWorld(), run), {
    skip: real,
  });
}

for (const abi of SYSTEMS) {
  for (const { name, run } of CONTRACT) {
    test(
      `contract, ${abi.os} ${abi.arch}: ${name}`,
      () => hold(simulatedWorld(abi), run),
    );
  }
}

async function hold(world: World, run: Clause["run"]): Promise<void> {
  try {
    await run(world);
  } catch (error) {
    // What is left over after a failure is not worth a word.
    await world.end().catch(() => {});
    throw error;
  }
  await world.end();
}

/** The kernel of this machine. */
function realWorld(): World {
  const real = libc();
  const { abi } = real;
  const opened: Disposable[] = [];
  const names = new Map<string, IpAddress[]>();
  let places = 0;
  function keep<D extends Disposable>(thing: D): D {
    opened.push(thing);
    return thing;
  }
  function free(family: Family = "inet", length = 0): Address {
    if (family === "inet") return inet("127.0.0.1", 0);
    if (family === "inet6") return inet6("::1", 0);
    const path = `${keep(tempFolder()).path}/${places++}`;
    return unix(path.padEnd(length, "x"));
  }
  function absent(): never {
    throw new Error("A real kernel does nothing at will");
  }
  return {
    abi,
    free,
    host(family = "inet", at = free(family)) {
      const listener: Listener<Address> = keep(listen({ at }));
      return {
        address: listener.address,
        accept() {
          const socket = keep(listener.accept());
          return {
            hear() {
              const buffer = new Uint8Array(65_536);
              assert(socket.poll("POLLIN", AGES).length > 0);
              return text(buffer, socket.recvSync(buffer));
            },
            say(words) {
              socket.sendSync(bytes(words));
            },
            close() {
              socket.close();
            },
            reset() {
              socket.setOption("linger", 0);
              socket.close();
            },
          };
        },
      };
    },
    refusing(family = "inet") {
      return keep(bound({ at: free(family) })).address;
    },
    silent(at = free()) {
      return keep(blackHole({ at })).address;
    },
    name(name, hosts) {
      if (names.size === 0) keep(useLibc(withNames(real, names)));
      names.set(name, hosts.map((host) => parseIp(host)!));
    },
    facts(fd) {
      const { F_GETFD, F_GETFL, FD_CLOEXEC, O_NONBLOCK } = abi;
      return {
        closeOnExec: (real.fcntl(fd, F_GETFD, 0) & FD_CLOEXEC) !== 0,
        nonblocking: (real.fcntl(fd, F_GETFL, 0) & O_NONBLOCK) !== 0,
      };
    },
    get system() {
      return absent();
    },
    fated: absent,
    end() {
      for (const thing of opened.reverse()) thing[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

/** The same C library, with a resolver that asks nobody. */
function withNames(real: Libc, names: Map<string, IpAddress[]>): Libc {
  const { abi } = real;
  let resolver = fakeResolver([]);
  function getaddrinfo(
    node: Uint8Array,
    hints: Uint8Array,
    result: Uint8Array,
  ): readonly [number, number] {
    const view = new DataView(hints.buffer);
    const wanted = view.getInt32(abi.addrinfo.family, abi.littleEndian);
    const unwanted = wanted === abi.AF_INET
      ? "inet6"
      : wanted === abi.AF_INET6
      ? "inet"
      : null;
    const addresses = names.get(text(node, node.length - 1)) ?? [];
    resolver = fakeResolver(
      addresses.filter(({ family }) => family !== unwanted),
    );
    return resolver.getaddrinfo(node, hints, result);
  }
  return {
    ...real,
    ...PLAIN_RESOLVER,
    getaddrinfo,
    getaddrinfoAsync(node, hints, result) {
      return Promise.resolve(getaddrinfo(node, hints, result)[0]);
    },
    memcpyFrom(target, source, length) {
      resolver.memcpyFrom(target, source, length);
    },
    freeaddrinfo() {},
  };
}

/** A kernel in memory, for any table. */
function simulatedWorld(abi: Abi): World {
  const system = simulate(abi);
  let places = 0;
  const hosts = { inet: "127.0.0.1", inet6: "::1" };
  function place(family: Family, at?: Address): SimulatedPlace {
    const number = ++places;
    if (at !== undefined && "hostname" in at) {
      return { family, host: at.hostname, port: at.port || 0x1100 + number };
    }
    return family === "unix"
      ? { family, host: `/run/${number}` }
      : { family, host: hosts[family], port: 0x1100 + number };
  }
  function addressOf(
    { family, host, port = 0 }: SimulatedPlace,
  ): Address {
    return family === "unix"
      ? unix(host)
      : family === "inet"
      ? inet(host, port)
      : inet6(host, port);
  }
  return {
    abi,
    system,
    free(family = "inet", length = 0) {
      if (family === "unix") {
        return unix(`/run/${++places}`.padEnd(length, "x"));
      }
      return addressOf({ family, host: hosts[family], port: 0 });
    },
    host(family = "inet", address) {
      const at = place(family, address);
      const listener = system.listen(at);
      return {
        address: addressOf(at),
        accept() {
          const peer = listener.accept()!;
          return {
            hear() {
              const heard = text(peer.take());
              assert(heard !== "" || peer.ended, "nothing was said");
              return heard;
            },
            say: (words) => peer.give(bytes(words)),
            close: () => peer.close(),
            reset: () => peer.reset(),
          };
        },
      };
    },
    refusing(family = "inet") {
      const at = place(family);
      if (family === "unix") system.listen(at).close();
      return addressOf(at);
    },
    silent(address) {
      const at = place("inet", address);
      system.plan(at, { delay: Infinity });
      return addressOf(at);
    },
    name(name, hosts) {
      system.names.set(name, hosts);
    },
    facts: (fd) => system.facts(fd),
    fated(fate) {
      const number = ++places;
      const at = { host: `10.0.${number >> 8}.${number & 255}`, port: 80 };
      system.plan({ family: "inet", ...at }, fate);
      return inet(at.host, at.port);
    },
    async end() {
      await idle(system);
      system[Symbol.dispose]();
      assertEquals(system.complaints, []);
      assertEquals(system.descriptors, []);
      assertEquals(system.lists, 0);
    },
  };
}

/** Waits until the package has given up its own descriptors, some turns after the last wait for others. */
async function idle(system: Simulation): Promise<void> {
  const end = performance.now() + GRACE;
  while (system.descriptors.length > 0 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** The errnos by which an attempt can fail: the other two say that it goes on. */
function failures(abi: Abi): ErrnoCode[] {
  const codes = Object.keys(abi.errnos) as ErrnoCode[];
  return codes.filter((code) => code !== "EINPROGRESS" && code !== "EINTR");
}

/** Makes sure that an error is of one of these errnos, and has all that belongs to it. */
function assertErrno(
  { abi }: World,
  error: unknown,
  ...codes: readonly ErrnoCode[]
): asserts error is ErrnoError {
  assertInstanceOf(error, ErrnoError, `${error} instead of ${codes}`);
  const code = codes.find((code) => error.errno === abi.errnos[code]);
  assert(code !== undefined, `${error} (${error.errno}) instead of ${codes}`);
  // Which names share a class is settled by the system that the package was loaded on, and AIX for one has names share numbers
  // that others keep apart: the first name is the one that counts.
  const [first] = Object.entries(abi.errnos).find(([, number]) =>
    number === error.errno
  )!;
  assertEquals(error.code, first);
  assertInstanceOf(error, Errno[first as ErrnoCode]);
}

/** What a call throws, `null` if it throws nothing. */
function attempt(call: () => unknown): unknown {
  try {
    call();
    return null;
  } catch (error) {
    return error;
  }
}

function thrown(call: () => unknown): ErrnoError {
  return assertThrows(call, ErrnoError);
}

async function rejected(work: Promise<unknown>): Promise<ErrnoError> {
  return await assertRejects(() => work, ErrnoError);
}

/** A socket for an address that does not block. */
function openFor({ family }: Address): Socket {
  return Socket.open({ family: family as Family, nonblocking: true });
}

function datagrams(world: World, family: "inet" | "inet6"): Socket {
  const socket = Socket.open({ family, type: "dgram", nonblocking: true });
  socket.bind(world.free(family));
  return socket;
}

type Target =
  | { hostname: string; port: number }
  | { transport: "unix"; path: string };

function targetOf(address: InetAddress): { hostname: string; port: number };
function targetOf(address: Address): Target;
function targetOf(address: Address): Target {
  if (address.family === "unix") {
    return { transport: "unix", path: address.path };
  }
  assert("hostname" in address);
  return { hostname: address.hostname, port: address.port };
}

function assertTalk(socket: Socket, peer: Peer): void {
  assertEquals(socket.sendSync(bytes("ping")), 4);
  assertEquals(peer.hear(), "ping");
  peer.say("pong");
  const buffer = new Uint8Array(8);
  assertEquals(text(buffer, socket.recvSync(buffer)), "pong");
}

function bytes(words: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(words);
}

function text(buffer: Uint8Array, size = buffer.length): string {
  return new TextDecoder().decode(buffer.subarray(0, size));
}
