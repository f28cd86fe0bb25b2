import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { networkInterfaces } from "node:os";
import { currentAbi } from "../ffi/libc.ts";
import {
  type Address,
  connect,
  connectSync,
  Errno,
  ErrnoError,
  inet,
  inet6,
  type Inet6Address,
  NotSupportedError,
  rawAddress,
  Socket,
  vsock,
} from "../mod.ts";
import { AGES, assertFails } from "./_assertions.ts";
import { bound, canLink, inChild, listen, watchLibc } from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import { canIpv6, needs, onLinux, test } from "./_harness.ts";

const abi = currentAbi();

// IPv6

test("an IPv6 socket reaches IPv4 by mapped addresses", () => {
  using listener = listen();
  const { port } = listener.address;
  using socket = Socket.open({ family: "inet6" });
  const mapped = inet6("::ffff:127.0.0.1", port);
  socket.connectSync(mapped);
  assert(socket.remoteAddress!.equals(mapped));
  using peer = listener.accept();
  // Each side sees the other in its own family.
  assertEquals(peer.remoteAddress!.family, "inet");
  assertEquals(socket.localAddress.family, "inet6");
  assert(`${socket.localAddress}`.startsWith("[::ffff:127.0.0.1]:"));
}, { skip: needs(canIpv6(), onLinux) });

test("v6Only keeps an IPv6 socket away from mapped addresses", () => {
  using listener = listen();
  using socket = Socket.open({ family: "inet6" });
  socket.setOption("v6Only", true);
  const mapped = inet6("::ffff:127.0.0.1", listener.address.port);
  const error = assertFails(() => socket.connectSync(mapped), "ENETUNREACH");
  assertEquals(error.address, `${mapped}`);
  socket.setOption("v6Only", false);
  socket.connectSync(mapped);
}, { skip: needs(canIpv6(), onLinux) });

test("v6Only decides whom an IPv6 listener hears", () => {
  for (const v6Only of [false, true]) {
    using server = Socket.open({ family: "inet6" });
    server.setOption("v6Only", v6Only);
    server.bind(inet6("::", 0));
    assertEquals(server.getOption("v6Only"), v6Only);
    const { port } = server.localAddress as Inet6Address;
    // Nobody listens, so whether bind fails shows whether IPv4 is taken, too.
    using other = Socket.open();
    const bind = () => other.bind(inet("127.0.0.1", port));
    if (v6Only) bind();
    else assertFails(bind, "EADDRINUSE");
  }
}, { skip: needs(canIpv6(), onLinux) });

test("an IPv4 socket takes no IPv6 address, mapped or not", () => {
  using listener = listen();
  const { port } = listener.address;
  for (const host of ["::1", "::ffff:127.0.0.1"]) {
    using socket = Socket.open();
    assertFails(() => socket.connectSync(inet6(host, port)), "EAFNOSUPPORT");
  }
}, { skip: onLinux });

test("an IPv6 socket takes an IPv4 address for datagrams alone", () => {
  using listener = listen();
  using stream = Socket.open({ family: "inet6" });
  assertFails(() => stream.connectSync(listener.address), "EINVAL");
  using datagrams = Socket.open({ family: "inet6", type: "dgram" });
  datagrams.connectSync(listener.address);
  assertEquals(
    `${datagrams.remoteAddress}`,
    `[::ffff:127.0.0.1]:${listener.address.port}`,
  );
}, { skip: needs(canIpv6(), onLinux) });

test("a link-local address needs its scope", async () => {
  const results = await inChild({
    namespace: `
      ip link add left type veth peer name right
      ip link set left addrgenmode none
      ip link set right addrgenmode none
      ip link set left up
      ip link set right up
      ip addr add fe80::a/64 dev left nodad
      ip addr add fe80::b/64 dev right nodad
    `,
  }, async ({ connect, inet6, isErrno, listen, Socket }) => {
    using listener = listen({ at: inet6("fe80::a%left", 0) });
    const { port, scopeId } = listener.address;
    const results: Record<string, unknown> = {};
    function attempt(name: string, address: ReturnType<typeof inet6>): void {
      using socket = Socket.open({ family: "inet6" });
      try {
        socket.connectSync(address, { timeout: 2000 });
        results[name] = `${socket.remoteAddress}`.replace(`:${port}`, "");
      } catch (error) {
        results[name] = isErrno(error, "EINVAL") ? "EINVAL" : `${error}`;
      }
    }
    attempt("number", inet6("fe80::a", port, { scopeId }));
    attempt("zone", inet6(`fe80::a%${scopeId}`, port));
    attempt("name", inet6("fe80::a%left", port));
    attempt("none", inet6("fe80::a", port));
    using socket = await connect({ hostname: "fe80::a%left", port });
    results["dialled"] = `${socket.remoteAddress}`.replace(`:${port}`, "");
    results["scope"] = scopeId;
    return results as Record<string, string | number>;
  });
  const reached = `[fe80::a%${results["scope"]}]`;
  const { scope: _, ...rest } = results;
  assertEquals(rest, {
    number: reached,
    zone: reached,
    name: reached,
    none: "EINVAL",
    dialled: reached,
  });
}, { skip: needs(onLinux, canIpv6(), canLink()) });

test("a scope of an interface that is not there is refused", () => {
  const indices = Object.values(networkInterfaces()).flat()
    .map((one) => one!.scopeid ?? 0);
  const scopeId = Math.max(...indices) + 1000;
  using socket = Socket.open({ family: "inet6" });
  const error = assertThrows(
    () => socket.connectSync(inet6("fe80::1", 9, { scopeId })),
    ErrnoError,
  );
  assert(["EINVAL", "ENETUNREACH", "ENODEV"].includes(error.code));
  assertEquals(error.address, `[fe80::1%${scopeId}]:9`);
}, { skip: needs(canIpv6(), onLinux) });

// The program of illumos's page, in TypeScript: an address of either family in,
// one IPv6 socket for both, and an asynchronous connection.

/** `connect: <IP> <port>`, up to where its page says "read and write". */
async function asyncConnect(...args: string[]): Promise<Socket> {
  const [host, portText] = args;
  if (host === undefined || portText === undefined || args.length > 2) {
    throw new Error("connect: <IP> <port>");
  }
  if (!/^[0-9]+$/.test(portText)) {
    throw new Error(`failed to parse port ${portText}`);
  }
  const port = Number(portText);
  if (port <= 0 || port > 65_535) throw new Error(`invalid port: ${port}`);

  // Try to parse as an IPv6 address and then try IPv4.
  let address: Address;
  try {
    address = inet6(host, port);
  } catch {
    try {
      address = inet6(`::ffff:${inet(host, port).hostname}`, port);
    } catch (cause) {
      const message = `connect: ${host} is not a valid IPv4 or IPv6 address`;
      throw new Error(message, { cause });
    }
  }

  const socket = Socket.open({ family: "inet6", nonblocking: true });
  try {
    const { EINPROGRESS, EINTR } = abi.errnos;
    const errno = socket.tryConnect(address);
    if (errno === EINPROGRESS || errno === EINTR) {
      await socket.ready("POLLOUT");
      const error = socket.takeError();
      if (error !== null) throw error;
    } else if (errno !== 0) {
      // It failed at once: there is nothing to poll for.
      socket.connectSync(address);
    }
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

test("the program of illumos's page connects to both families", async () => {
  using four = listen();
  using six = listen({ at: inet6("::1", 0) });
  const rows = [
    ["127.0.0.1", four.address.port, "[::ffff:127.0.0.1]"],
    ["::ffff:127.0.0.1", four.address.port, "[::ffff:127.0.0.1]"],
    ["::1", six.address.port, "[::1]"],
  ] as const;
  for (const [host, port, reached] of rows) {
    using socket = await asyncConnect(host, `${port}`);
    assertEquals(`${socket.remoteAddress}`, `${reached}:${port}`);
  }
}, { skip: needs(canIpv6(), onLinux) });

test("the program of illumos's page fails as its page says", async () => {
  using peer = bound();
  const { port } = peer.address;
  const refused = await assertRejects(() =>
    asyncConnect("127.0.0.1", `${port}`)
  );
  assertInstanceOf(refused, Errno.ECONNREFUSED);
  const rows: readonly (readonly [string[], string])[] = [
    [["127.0.0.1"], "connect: <IP> <port>"],
    [["127.0.0.256", "80"], "is not a valid IPv4 or IPv6 address"],
    [["example", "80"], "is not a valid IPv4 or IPv6 address"],
    [["::1", "x"], "failed to parse port x"],
    [["::1", "80x"], "failed to parse port 80x"],
    [["::1", "0"], "invalid port: 0"],
    [["::1", "65536"], "invalid port: 65536"],
  ];
  for (const [args, message] of rows) {
    await assertRejects(() => asyncConnect(...args), Error, message);
  }
}, { skip: needs(canIpv6(), onLinux) });

// vsock: everything here stays within the process. No cid is ever connected to.

test(
  "vsock() makes the structure that the kernel reads, and reads it back",
  () => {
    const address = vsock(3, 0x0102_0304);
    const { sockaddr, sockaddrVm, littleEndian } = abi;
    const bytes = address.toBytes();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    assertEquals(bytes.length, sockaddrVm!.size);
    assertEquals(view.getUint8(sockaddr.family), abi.AF_VSOCK);
    assertEquals(view.getUint32(sockaddrVm!.port, littleEndian), 0x0102_0304);
    assertEquals(view.getUint32(sockaddrVm!.cid, littleEndian), 3);
    const back = rawAddress(bytes);
    assert(back.equals(address));
    assertEquals(`${back}`, "vsock:3:16909060");
  },
  { skip: onLinux },
);

test(
  "connectSync() and connect() throw what a kernel says of vsock",
  async () => {
    const codes = [
      "ENODEV",
      "ENETUNREACH",
      "ECONNRESET",
      "ETIMEDOUT",
      "EADDRNOTAVAIL",
      "ECONNREFUSED",
    ] as const;
    for (const code of codes) {
      using watched = watchLibc({
        socket: () => 0x7000_0000,
        connect: () => -abi.errnos[code]!,
        getsockname: () => -abi.errnos.EBADF!,
        fcntl: () => 0,
        close: () => 0,
      });
      const target = { transport: "vsock", cid: 3, port: 80 } as const;
      const error = assertFails(() => connectSync(target), code);
      assertEquals([error.syscall, error.address], ["connect", "vsock:3:80"]);
      const rejection = await assertRejects(() => connect(target));
      assertInstanceOf(rejection, Errno[code]);
      assertEquals(watched.count("socket"), watched.count("close"));
      assertEquals(watched.calls[0]!.args[0], abi.AF_VSOCK);
    }
  },
  { skip: onLinux },
);

test(
  "connectSync() throws EAFNOSUPPORT where the kernel was built without vsock",
  () => {
    using watched = watchLibc({ socket: () => -abi.errnos.EAFNOSUPPORT! });
    assertFails(
      () => connectSync({ transport: "vsock", cid: 3, port: 80 }),
      "EAFNOSUPPORT",
    );
    assertEquals(watched.names, ["socket"]);
  },
  { skip: onLinux },
);

test("vsock() and Socket.open() name the system that has no vsock", () => {
  using watched = watchLibc({
    abi: { ...abi, AF_VSOCK: null, sockaddrVm: null },
  });
  for (
    const body of [
      () => vsock(3, 80),
      () => Socket.open({ family: "vsock" }),
      () => connectSync({ transport: "vsock", cid: 3, port: 80 }),
    ]
  ) {
    const error = assertThrows(body, NotSupportedError);
    assert(error.message.includes("vsock"), error.message);
    assertEquals(error.platform, abi.os);
  }
  assertEquals(watched.names, []);
});

// Other protocols

/** `null` where the kernel opens sockets of Multipath TCP, else a reason to skip. */
function canMptcp(): string | null {
  try {
    Socket.open({ protocol: "mptcp" }).close();
    return null;
  } catch {
    return "the kernel has no Multipath TCP, or it is switched off";
  }
}

test("a socket of Multipath TCP says that it fell back to TCP", async () => {
  using listener = listen();
  using socket = Socket.open({ protocol: "mptcp" });
  await socket.connect(listener.address, { timeout: AGES });
  using _peer = listener.accept();
  assertEquals(socket.getOption("multipath"), false);
  // It is a connection like any other all the same.
  assertEquals(socket.tcpInfo().state, "ESTABLISHED");
  using plain = Socket.open();
  assertEquals(plain.getOption("multipath"), false);
}, { skip: needs(canMptcp(), unemulated("reads 4 bytes of TCP_INFO")) });

test("a socket of Multipath TCP says that it is one", () => {
  using listener = listen({ protocol: abi.IPPROTO_MPTCP! });
  using socket = Socket.open({ protocol: "mptcp" });
  socket.connectSync(listener.address, { timeout: AGES });
  using peer = listener.accept();
  for (const end of [socket, peer]) {
    assertEquals(end.getOption("multipath"), true);
  }
}, { skip: needs(canMptcp(), unemulated("does not know SOL_MPTCP")) });

test(
  "multipath is false for sockets without it, and else an error",
  () => {
    for (const code of ["EOPNOTSUPP", "ENOPROTOOPT"] as const) {
      using _watched = watchLibc({ getsockopt: () => -abi.errnos[code]! });
      using socket = Socket.open();
      assertEquals(socket.getOption("multipath"), false);
    }
    using _watched = watchLibc({ getsockopt: () => -abi.errnos.ENOBUFS! });
    using socket = Socket.open();
    assertFails(() => socket.getOption("multipath"), "ENOBUFS");
  },
  { skip: onLinux },
);

test(
  "multipath can be read only, and names the system that does not report it",
  () => {
    using socket = Socket.open();
    assertThrows(
      () => socket.setOption("multipath" as "ttl", 1),
      TypeError,
      "read",
    );
    using _watched = watchLibc({ abi: { ...abi, mptcp: null } });
    using other = Socket.open();
    assertThrows(() => other.getOption("multipath"), NotSupportedError);
  },
  { skip: onLinux },
);

test("Socket.open() throws EPROTONOSUPPORT for SCTP where the kernel has none", () => {
  using watched = watchLibc({ socket: () => -abi.errnos.EPROTONOSUPPORT! });
  const error = assertFails(
    () => Socket.open({ protocol: "sctp" }),
    "EPROTONOSUPPORT",
  );
  assertEquals(error.syscall, "socket");
  assertEquals(watched.calls[0]!.args[2], abi.IPPROTO_SCTP);
});

test("Socket.open() opens SCTP or throws EPROTONOSUPPORT", () => {
  for (const type of ["stream", "seqpacket"] as const) {
    try {
      using socket = Socket.open({ type, protocol: "sctp" });
      assertEquals(socket.getOption("type"), type);
    } catch (error) {
      const isHonest = error instanceof Errno.EPROTONOSUPPORT ||
        error instanceof Errno.ESOCKTNOSUPPORT;
      assert(isHonest, `${error}`);
    }
  }
});
