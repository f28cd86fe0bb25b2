import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { readFileSync } from "node:fs";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  capabilities,
  connect,
  type ConnectOptions,
  connectSync,
  Errno,
  ErrnoError,
  inet,
  inet6,
  type InetAddress,
  isErrno,
  NotSupportedError,
  Socket,
} from "../mod.ts";
import { assertFails } from "./_assertions.ts";
import { bound, listen, watchLibc } from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import { canIpv6, isRoot, needs, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();
const hasRange = capabilities().options.localPortRange
  ? null
  : "the kernel takes no range of ports";

/** The ports that the kernel hands out by itself. */
function ephemeral(): [number, number] {
  const file = "/proc/sys/net/ipv4/ip_local_port_range";
  const [low, high] = readFileSync(file, "utf8").trim().split(/\s+/);
  return [Number(low), Number(high)];
}

function portOf(socket: Socket): number {
  return (socket.localAddress as InetAddress).port;
}

/** As many ports in a row as nobody has, outside the kernel's own range. */
function freeRange(count: number): [number, number] {
  const [low] = ephemeral();
  for (let first = low - count; first > 10_000; first -= count) {
    const ports = Array.from({ length: count }, (_, i) => first + i);
    const isFree = ports.every((port) => {
      using socket = Socket.open();
      try {
        socket.bind(inet("0.0.0.0", port));
        return true;
      } catch {
        return false;
      }
    });
    if (isFree) return [first, first + count - 1];
  }
  throw new Error("Every port is taken");
}

// Automatic and partial binding

test("connect(2) binds a socket that is not bound", () => {
  using listener = listen();
  for (const family of ["inet", "unix"] as const) {
    using socket = Socket.open({ family });
    if (family === "unix") continue;
    assertEquals(`${socket.localAddress}`, "0.0.0.0:0");
    socket.connectSync(listener.address);
    assertEquals((socket.localAddress as InetAddress).hostname, "127.0.0.1");
    assertNotEquals(portOf(socket), 0);
  }
});

test("connect(2) completes a port without an address", () => {
  using listener = listen();
  using socket = Socket.open();
  socket.bind(inet("0.0.0.0", 0));
  const port = portOf(socket);
  assertEquals(`${socket.localAddress}`, `0.0.0.0:${port}`);
  socket.connectSync(listener.address);
  assertEquals(`${socket.localAddress}`, `127.0.0.1:${port}`);
});

test("connect(2) completes an address without a port", () => {
  using listener = listen();
  using socket = Socket.open();
  socket.setOption("bindAddressNoPort", true);
  socket.bind(inet("127.0.0.9", 0));
  assertEquals(`${socket.localAddress}`, "127.0.0.9:0");
  socket.connectSync(listener.address);
  assertEquals((socket.localAddress as InetAddress).hostname, "127.0.0.9");
  assertNotEquals(portOf(socket), 0);
}, {
  skip: needs(onLinux, unemulated("does not know IP_BIND_ADDRESS_NO_PORT")),
});

test("bindAddressNoPort lets one port serve several peers", () => {
  using one = listen();
  using other = listen();
  const [low, high] = ephemeral();
  const port = low + Math.floor((high - low) / 3);
  using first = Socket.open();
  using second = Socket.open();
  for (const [socket, peer] of [[first, one], [second, other]] as const) {
    socket.setOption("localPortRange", [port, port]);
    socket.setOption("bindAddressNoPort", true);
    socket.bind(inet("127.0.0.77", 0));
    socket.connectSync(peer.address);
    assertEquals(portOf(socket), port);
  }
  // Without it, bind itself would have to have the port alone.
  using third = Socket.open();
  third.setOption("localPortRange", [port, port]);
  assertFails(() => third.bind(inet("127.0.0.77", 0)), "EADDRINUSE");
}, { skip: needs(onLinux, hasRange) });

test("a socket that is bound to its own target connects to itself", async () => {
  for (const way of ["connectSync", "connect"] as const) {
    using socket = Socket.open();
    socket.bind(inet("127.0.0.1", 0));
    const self = socket.localAddress;
    await socket[way](self);
    assert(socket.localAddress.equals(self));
    assert(socket.remoteAddress!.equals(self));
    assertEquals(socket.sendSync(new Uint8Array([42])), 1);
    const buffer = new Uint8Array(4);
    socket.poll("POLLIN");
    assertEquals([socket.recvSync(buffer), buffer[0]], [1, 42]);
    socket.setOption("linger", 0);
  }
});

test(
  "a local port that is taken is EADDRINUSE, a fixed four-tuple EADDRNOTAVAIL",
  () => {
    using listener = listen();
    const { port } = listener.address;
    using first = connectSync({ port });
    const localPort = portOf(first);
    // The socket that holds the port did not say that it may be shared.
    const taken = assertFails(
      () => connectSync({ port, localPort }),
      "EADDRINUSE",
    );
    assertEquals(taken.syscall, "bind");
    // All may share it, and so bind succeeds; but the connection exists.
    using holder = Socket.open();
    holder.setOption("reuseAddress", true);
    holder.bind(inet("127.0.0.1", 0));
    holder.connectSync(listener.address);
    const exhausted = assertFails(
      () =>
        connectSync({
          port,
          localAddress: "127.0.0.1",
          localPort: portOf(holder),
          socketOptions: { reuseAddress: true },
        }),
      "EADDRNOTAVAIL",
    );
    assertEquals(exhausted.syscall, "connect");
  },
  { skip: onLinux },
);

test("an address of another machine is EADDRNOTAVAIL", () => {
  using socket = Socket.open();
  const error = assertFails(
    () => socket.bind(inet("192.0.2.1", 0)),
    "EADDRNOTAVAIL",
  );
  assertEquals(error.syscall, "bind");
});

// localPortRange

test("localPortRange is kept by the kernel, within its own range", async () => {
  using listener = listen();
  const { port } = listener.address;
  const [low, high] = ephemeral();
  const middle = Math.floor((low + high) / 2);
  const localPortRange = [middle, middle + 9] as const;
  const targets: ConnectOptions[] = [
    { port, localPortRange },
    { port, localPortRange, localAddress: "127.0.0.8" },
  ];
  for (const target of targets) {
    for (const way of [connect, connectSync]) {
      using socket = await way(target);
      const at = portOf(socket);
      assert(at >= middle && at <= middle + 9, `${at}`);
      assertEquals(socket.getOption("localPortRange"), localPortRange);
    }
  }
}, { skip: needs(onLinux, hasRange) });

test("localPortRange is kept by trying, outside of it", async () => {
  using listener = listen();
  const { port } = listener.address;
  const localPortRange = freeRange(3);
  const [low, high] = localPortRange;
  const seen = new Set<number>();
  const open: Socket[] = [];
  try {
    for (let i = low; i <= high; i++) {
      const socket = await connect({ port, localPortRange });
      open.push(socket);
      seen.add(portOf(socket));
    }
    assertEquals([...seen].sort(), [low, low + 1, high]);
    for (const way of [connect, connectSync]) {
      const error = await assertRejects(
        async () => (await way({ port, localPortRange })).close(),
        ErrnoError,
      );
      assertInstanceOf(error, Errno.EADDRINUSE);
      assertEquals(error.syscall, "bind");
    }
  } finally {
    for (const socket of open) {
      socket.setOption("linger", 0);
      socket.close();
    }
  }
}, { skip: onLinux });

test("localPortRange is kept by trying where the system takes none", () => {
  using listener = listen();
  const { port } = listener.address;
  const [low] = freeRange(2);
  const localPortRange = [low, low + 1] as const;
  for (
    const fakes of [
      { abi: { ...abi, IP_LOCAL_PORT_RANGE: null } },
      { abi: { ...abi, IP_BIND_ADDRESS_NO_PORT: null } },
      // The kernel is older than the table.
      { setsockopt: () => -abi.errnos.ENOPROTOOPT! },
    ]
  ) {
    using _watched = watchLibc(fakes);
    const socket = connectSync({
      port,
      localPortRange,
      localAddress: "127.0.0.1",
      onSocket: (socket) => assertNotEquals(portOf(socket), 0),
    });
    const at = portOf(socket);
    assert(at === low || at === low + 1, `${at}`);
    system.setsockopt(
      socket.fd,
      abi.SOL_SOCKET,
      abi.SO_LINGER,
      new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]),
      8,
    );
    socket.close();
  }
}, { skip: onLinux });

test("localPortRange works over IPv6", () => {
  using listener = listen({ at: inet6("::1", 0) });
  const { port } = listener.address;
  const [low, high] = ephemeral();
  const middle = Math.floor((low + high) / 2) + 100;
  const [outside] = freeRange(2);
  for (const first of [middle, outside]) {
    const localPortRange = [first, first + 1] as const;
    using socket = connectSync({ hostname: "::1", port, localPortRange });
    const at = portOf(socket);
    assert(at === first || at === first + 1, `${at}`);
    socket.setOption("linger", 0);
  }
}, { skip: needs(canIpv6(), onLinux) });

test("localPortRange never makes a socket meet itself", () => {
  using peer = bound();
  const { port } = peer.address;
  for (let i = 0; i < 20; i++) {
    assertFails(
      () => connectSync({ port, localPortRange: [port, port + 3] }),
      "ECONNREFUSED",
    );
  }
}, { skip: onLinux });

test("localPortRange is checked before anything is called", async () => {
  const rows: readonly (readonly [unknown, ErrorConstructor, string])[] = [
    [40_000, TypeError, "localPortRange 40000"],
    [null, TypeError, "localPortRange null"],
    [[1], TypeError, "localPortRange [1]"],
    [[1, 2, 3], TypeError, "localPortRange [1, 2, 3]"],
    [["1", 2], TypeError, "localPortRange[0]"],
    [[1, NaN], RangeError, "localPortRange[1] NaN"],
    [[-1, 5], RangeError, "localPortRange[0] -1"],
    [[1, 65_536], RangeError, "localPortRange[1] 65536"],
    [[0, 5], RangeError, "ports begin at 1"],
    [[9, 5], RangeError, "the lower port comes first"],
  ];
  using watched = watchLibc();
  for (const [range, errorClass, message] of rows) {
    const target = { port: 9, localPortRange: range } as ConnectOptions;
    assertThrows(() => connectSync(target), errorClass, message);
    await assertRejects(() => connect(target), errorClass, message);
  }
  assertThrows(
    () => connectSync({ port: 9, localPort: 5, localPortRange: [4, 6] }),
    TypeError,
    "localPort is given",
  );
  assertEquals(watched.names, []);
});

// capabilities

test("capabilities() is right about every option", () => {
  const { options, os, arch } = capabilities();
  assertEquals([os, arch], [abi.os, abi.arch]);
  using listener = listen();
  const listening = listener.address.port;
  for (const [name, isThere] of Object.entries(options)) {
    if (name === "md5") continue;
    const family = name === "v6Only" ? "inet6" : "inet";
    using socket = Socket.open({ family });
    // What is known of a connection alone needs one.
    if (name === "mtu") socket.connectSync(inet("127.0.0.1", listening));
    try {
      socket.getOption(name as "ttl");
      assert(isThere, name);
    } catch (error) {
      // What a connection alone has is there without one.
      assertEquals(isThere, isErrno(error, "ENOTCONN"), `${name}: ${error}`);
    }
  }
}, { skip: needs(canIpv6(), onLinux) });

test("capabilities() is right about every kind of socket", () => {
  const found = capabilities();
  const rows = [
    ["ipv6", { family: "inet6" }],
    ["unixSeqpacket", { family: "unix", type: "seqpacket" }],
    ["vsock", { family: "vsock" }],
    ["multipath", { protocol: "mptcp" }],
    ["sctp", { protocol: "sctp" }],
    ["raw", { type: "raw", protocol: "icmp" }],
  ] as const;
  for (const [name, options] of rows) {
    let isThere = true;
    try {
      Socket.open(options).close();
    } catch (error) {
      isThere = false;
      assert(error instanceof ErrnoError || error instanceof NotSupportedError);
    }
    assertEquals(found[name], isThere, name);
  }
  assertEquals(found.abstractUnix, abi.abstractUnix);
  assertEquals(found.tcpInfo, abi.tcpInfo !== null);
  if (isRoot() === null) assertEquals(found.raw, true);
}, { skip: onLinux });

test("capabilities() sends nothing, and closes what it opens", () => {
  using watched = watchLibc();
  capabilities();
  const kinds = new Set(watched.names);
  for (const name of ["socket", "getsockopt", "close"]) kinds.delete(name);
  assertEquals([...kinds], []);
});

test("capabilities() knows an option that the kernel is too old for", () => {
  using _watched = watchLibc({
    getsockopt: (fd, level, name, value) =>
      level === abi.IPPROTO_IP && name === abi.IP_LOCAL_PORT_RANGE
        ? -abi.errnos.ENOPROTOOPT!
        : system.getsockopt(fd, level, name, value),
  });
  const { options } = capabilities();
  assertEquals([options.localPortRange, options.ttl], [false, true]);
}, { skip: onLinux });

test("capabilities() has no socket of a kind that is refused", () => {
  using watched = watchLibc({
    abi: { ...abi, AF_VSOCK: null, IPPROTO_MPTCP: null, tcpInfo: null },
    socket: () => -abi.errnos.EAFNOSUPPORT!,
  });
  const { options, os: _, arch: __, abstractUnix: ___, icmp: ____, ...rest } =
    capabilities();
  assertEquals(new Set(Object.values(rest)), new Set([false]));
  assertEquals(options.ttl, true);
  assertEquals(new Set(watched.names), new Set(["socket"]));
});

test(
  "capabilities() takes a lack of descriptors for no lack of the system",
  () => {
    using whole = watchLibc();
    capabilities();
    const all = whole.count("socket");
    for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] as const) {
      // Each of the sockets that it opens may be the one too many.
      for (let left = 0; left < all; left++) {
        let [count, open] = [0, 0];
        using _watched = watchLibc({
          socket(...kind) {
            if (count++ === left) return -abi.errnos[code]!;
            const fd = system.socket(...kind);
            if (fd >= 0) open++;
            return fd;
          },
          close(fd) {
            open--;
            return system.close(fd);
          },
        });
        assertFails(() => capabilities(), code);
        assertEquals(open, 0);
      }
    }
  },
  { skip: onLinux },
);

test("capabilities() asks for no more than the C library", () => {
  function refuse(): never {
    throw new Error("asked");
  }
  using _watched = watchLibc({
    permissions: {
      ...system.permissions,
      net: () => false,
      demandAll: refuse,
      demandHost: refuse,
    },
  });
  assertEquals(capabilities().raw, false);
});
