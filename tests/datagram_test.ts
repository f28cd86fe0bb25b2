import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  type Address,
  Errno,
  inet,
  inet6,
  type InetAddress,
  rawAddress,
  Socket,
  type SocketFamily,
  unspecified,
} from "../mod.ts";
import { AGES, assertFails } from "./_assertions.ts";
import { unemulated } from "./_emulation.ts";
import {
  blackHole,
  canBlackHole,
  canLink,
  inChild,
  listen,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, needs, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();

/** The families whose loopback datagrams are tested. */
const LOOPBACKS = [
  { family: "inet", at: inet("127.0.0.1", 0), skip: null },
  { family: "inet6", at: inet6("::1", 0), skip: canIpv6() },
] as const;

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** A datagram socket with an address of its own. */
function datagrams(family: SocketFamily, at = inet("127.0.0.1", 0)): Socket {
  const socket = Socket.open({ family, type: "dgram", nonblocking: true });
  socket.bind(at);
  return socket;
}

/** Everything that has arrived, each datagram by its first byte. */
function received(socket: Socket): number[] {
  const buffer = new Uint8Array(16);
  const all: number[] = [];
  while (socket.poll("POLLIN", 0).length > 0) {
    socket.recvSync(buffer);
    all.push(buffer[0]!);
  }
  return all;
}

/**
 * An address that was somebody's until a moment ago. By default one that the system gives to no socket by itself, for its
 * port may be the next that somebody gets, and be it the socket that connects there.
 */
function vacant(
  family: SocketFamily = "inet",
  at: Address = inet("127.8.8.8", 0),
): Address {
  using gone = datagrams(family, at as InetAddress);
  return gone.localAddress;
}

for (const { family, at, skip } of LOOPBACKS) {
  test(
    `a connected ${family} datagram socket sends to its peer and hears nobody else`,
    () => {
      using socket = datagrams(family, at as InetAddress);
      using peer = datagrams(family, at as InetAddress);
      using stranger = datagrams(family, at as InetAddress);
      const to = socket.localAddress;
      // What came before has come from anybody.
      stranger.sendSync(bytes(1), { to });
      socket.connectSync(peer.localAddress);
      stranger.sendSync(bytes(2), { to });
      peer.sendSync(bytes(3), { to });
      assert(socket.remoteAddress!.equals(peer.localAddress));
      assertEquals(received(socket), [1, 3]);
      assertEquals(socket.sendSync(bytes(4)), 1);
      assertEquals([received(peer), received(stranger)], [[4], []]);
    },
    { skip },
  );

  test(`a ${family} datagram socket may connect again and again`, () => {
    using socket = datagrams(family, at as InetAddress);
    using one = datagrams(family, at as InetAddress);
    using other = datagrams(family, at as InetAddress);
    const to = socket.localAddress;
    for (const peer of [one, other, one, one, other]) {
      socket.connectSync(peer.localAddress);
      assert(socket.remoteAddress!.equals(peer.localAddress));
      for (const each of [one, other]) {
        each.sendSync(bytes(each === peer ? 1 : 2), { to });
      }
      assertEquals(received(socket), [1]);
      socket.sendSync(bytes(5));
      assertEquals(received(peer), [5]);
    }
    assertEquals([received(one), received(other)], [[], []]);
  }, { skip });

  test(
    `Socket#disconnect() lets a ${family} datagram socket hear everybody again`,
    () => {
      using socket = datagrams(family, vacant(family, at) as InetAddress);
      using peer = datagrams(family, at as InetAddress);
      using stranger = datagrams(family, at as InetAddress);
      const to = socket.localAddress;
      socket.connectSync(peer.localAddress);
      socket.disconnect();
      assertEquals(socket.remoteAddress, null);
      // The address that it was bound to stays.
      assert(socket.localAddress.equals(to));
      for (const [i, each] of [peer, stranger].entries()) {
        each.sendSync(bytes(i), { to });
      }
      assertEquals(received(socket), [0, 1]);
      assertFails(() => socket.sendSync(bytes(1)), "EDESTADDRREQ");
      socket.disconnect();
      socket.connectSync(stranger.localAddress);
      assert(socket.remoteAddress!.equals(stranger.localAddress));
    },
    { skip: skip ?? onLinux },
  );
}

test("Socket#disconnect() gives back a port that the system chose", () => {
  using peer = datagrams("inet");
  using socket = datagrams("inet");
  socket.connectSync(peer.localAddress);
  socket.disconnect();
  assertEquals(`${socket.localAddress}`, "127.0.0.1:0");
}, { skip: onLinux });

test("Socket#disconnect() gives back an address that connect chose", () => {
  using peer = datagrams("inet");
  using socket = Socket.open({ type: "dgram" });
  socket.connectSync(peer.localAddress);
  assertNotEquals(`${socket.localAddress}`, "0.0.0.0:0");
  socket.disconnect();
  assertEquals(`${socket.localAddress}`, "0.0.0.0:0");
}, { skip: onLinux });

const REFUSALS = [
  "EADDRNOTAVAIL",
  "EAFNOSUPPORT",
  "EINVAL",
  "ENOENT",
  "ECONNREFUSED",
] as const;

for (const code of REFUSALS) {
  test(`Socket#disconnect() takes ${code} for a success where the peer is gone`, () => {
    let isConnected = true;
    using _watched = watchLibc({
      connect(fd, address, length) {
        const result = system.connect(fd, address, length);
        isConnected = false;
        return result < 0 ? result : -abi.errnos[code]!;
      },
      getpeername: (...args) =>
        isConnected ? system.getpeername(...args) : -abi.errnos.ENOTCONN!,
    });
    using socket = Socket.open({ type: "dgram" });
    socket.disconnect();
    assertEquals(socket.remoteAddress, null);
  });

  test(`Socket#disconnect() tries once more when ${code} comes and the peer is still there`, () => {
    using peer = datagrams("inet");
    let results: readonly (typeof code)[] = [];
    using watched = watchLibc({
      connect(...args) {
        const [result, ...rest] = results;
        results = rest;
        return result === undefined
          ? system.connect(...args)
          : -abi.errnos[result]!;
      },
    });
    using socket = Socket.open({ type: "dgram" });
    socket.connectSync(peer.localAddress);
    results = [code];
    socket.disconnect();
    assertEquals(socket.remoteAddress, null);
    socket.connectSync(peer.localAddress);
    results = [code, code, code];
    const before = watched.names.length;
    const error = assertFails(() => socket.disconnect(), code);
    assertEquals([error.syscall, error.address], ["connect", "unspec"]);
    const names = watched.names.slice(before);
    assertEquals(names.filter((name) => name === "connect").length, 2);
    assert(socket.remoteAddress !== null);
  });

  test(`Socket#disconnect() throws ${code} where a stream gets it`, () => {
    using listener = listen();
    let isFirst = true;
    using _watched = watchLibc({
      connect(...args) {
        if (!isFirst) return -abi.errnos[code]!;
        isFirst = false;
        return system.connect(...args);
      },
    });
    using socket = Socket.open();
    socket.connectSync(listener.address);
    const error = assertFails(() => socket.disconnect(), code);
    assertEquals([error.syscall, error.address], ["connect", "unspec"]);
    assert(socket.remoteAddress !== null);
    using fresh = Socket.open();
    assertFails(() => fresh.disconnect(), code);
  });
}

test("Socket#disconnect() asks for no permission", () => {
  const asked: string[] = [];
  const { permissions } = system;
  function refuse(what: string): never {
    asked.push(what);
    throw new Error(what);
  }
  using _watched = watchLibc({
    permissions: {
      ...permissions,
      net: () => false,
      files: () => false,
      demandHost: () => refuse("host"),
      demandAll: () => refuse("all"),
    },
  });
  using socket = Socket.open({ type: "dgram" });
  socket.disconnect();
  assertEquals(asked, []);
  // To connect to the null address by hand is to send the kernel what it likes.
  assertThrows(() => socket.connectSync(unspecified()));
  assertEquals(asked, ["all"]);
}, { skip: onLinux });

test("Socket#disconnect() lets a stream socket of Linux connect anew", () => {
  using listener = listen();
  using socket = Socket.open();
  for (let i = 0; i < 3; i++) {
    socket.connectSync(listener.address);
    using peer = listener.accept();
    socket.disconnect();
    assertEquals(socket.remoteAddress, null);
    assertFails(() => peer.recvSync(new Uint8Array(1)), "ECONNRESET");
  }
}, { skip: onLinux });

test(
  "Socket#disconnect() takes back an attempt that nobody waits for",
  async () => {
    using hole = blackHole();
    using listener = listen();
    using socket = Socket.open({ nonblocking: true });
    socket.tryConnect(hole.address);
    socket.disconnect();
    await socket.connect(listener.address, { timeout: AGES });
    const pending = Socket.open();
    const attempt = pending.connect(hole.address);
    // What waits for the attempt ends by close, or by its signal.
    assertFails(() => pending.disconnect(), "EALREADY");
    pending.close();
    const error = await attempt.catch((error) => error);
    assertInstanceOf(error, Errno.ECANCELED);
  },
  { skip: canBlackHole() },
);

test(
  "an address without a byte is wrong, and does not stand for the peer",
  () => {
    using socket = Socket.open({ type: "dgram" });
    const nothing = rawAddress(bytes());
    for (const connects of [false, true]) {
      if (connects) socket.connectSync(inet("127.0.0.1", 9));
      assertFails(() => socket.sendSync("x", { to: nothing }), "EINVAL");
      assertFails(() => socket.bind(nothing), "EINVAL");
      assertFails(() => socket.connectSync(nothing), "EINVAL");
    }
  },
  { skip: unemulated("reads such an address, where there is none") },
);

test("Socket#disconnect() throws EINVAL for a Unix stream", () => {
  using socket = Socket.open({ family: "unix" });
  assertFails(() => socket.disconnect(), "EINVAL");
}, { skip: onLinux });

test("a refused peer is an ECONNREFUSED of the next call, once", () => {
  const nobody = vacant();
  const calls: readonly (readonly [string, (socket: Socket) => unknown])[] = [
    ["recvfrom", (socket) => socket.recvSync(new Uint8Array(1))],
    ["recvfrom", (socket) => socket.recvFromSync(new Uint8Array(1))],
    ["sendto", (socket) => socket.sendSync(bytes(2))],
  ];
  for (const [syscall, call] of calls) {
    using socket = Socket.open({ type: "dgram", nonblocking: true });
    socket.connectSync(nobody);
    // Connect itself sends nothing, and so cannot know.
    assertEquals(socket.takeError(), null);
    assertEquals(socket.sendSync(bytes(1)), 1);
    assert(socket.poll("POLLIN", AGES).includes("POLLERR"));
    const error = assertFails(() => call(socket), "ECONNREFUSED");
    assertEquals(error.syscall, syscall);
    assertFails(() => socket.recvSync(new Uint8Array(1)), "EAGAIN");
  }
}, { skip: onLinux });

test("Socket#takeError() returns the error of a refused peer, too", () => {
  using socket = Socket.open({ type: "dgram", nonblocking: true });
  socket.connectSync(vacant());
  socket.sendSync(bytes(1));
  socket.poll("POLLIN", AGES);
  const error = socket.takeError();
  assertInstanceOf(error, Errno.ECONNREFUSED);
  assertEquals(socket.takeError(), null);
}, { skip: onLinux });

test("an unconnected datagram socket hears of no refusal", () => {
  using socket = Socket.open({ type: "dgram", nonblocking: true });
  socket.sendSync(bytes(1), { to: vacant() });
  socket.sendSync(bytes(2), { to: vacant() });
  assertEquals(socket.takeError(), null);
  assertFails(() => socket.recvSync(new Uint8Array(1)), "EAGAIN");
}, { skip: onLinux });

test("a broadcast address needs the option broadcast", () => {
  using socket = Socket.open({ type: "dgram" });
  const everybody = inet("127.255.255.255", 9);
  assertFails(() => socket.connectSync(everybody), "EACCES");
  socket.setOption("broadcast", true);
  socket.connectSync(everybody);
  assert(socket.remoteAddress!.equals(everybody));
}, { skip: onLinux });

test("Socket#localAddress is the source that connect chose", async () => {
  const found = await inChild({
    namespace: `
      ip link add left type veth peer name right
      ip addr add 10.77.0.2/24 dev left
      ip addr add 10.78.0.2/24 dev right
      ip link set left up
      ip link set right up
      ip route add 10.79.0.0/24 via 10.78.0.9 src 10.78.0.2
    `,
  }, ({ inet, Socket }) => {
    const sources: string[] = [];
    using socket = Socket.open({ type: "dgram" });
    for (
      const peer of ["10.77.0.9", "10.78.0.9", "10.79.0.9", "127.0.0.1"]
    ) {
      // Connect sends nothing. The source is chosen anew with each peer.
      socket.disconnect();
      socket.connectSync(inet(peer, 9));
      const [host, port] = `${socket.localAddress}`.split(":");
      if (port === "0") throw new Error("no port was chosen");
      sources.push(host!);
    }
    return sources;
  });
  assertEquals(found, ["10.77.0.2", "10.78.0.2", "10.78.0.2", "127.0.0.1"]);
}, { skip: needs(onLinux, canLink()) });

test("connect(2) binds a datagram socket that has a port and no address", () => {
  using peer = datagrams("inet");
  using socket = datagrams("inet", inet("0.0.0.0", 0));
  const { hostname, port } = socket.localAddress as InetAddress;
  assertEquals(hostname, "0.0.0.0");
  socket.connectSync(peer.localAddress);
  assertEquals(`${socket.localAddress}`, `127.0.0.1:${port}`);
});

test("a datagram socket can be its own peer", () => {
  using socket = datagrams("inet");
  socket.connectSync(socket.localAddress);
  socket.sendSync(bytes(7));
  assertEquals(received(socket), [7]);
});

for (const isBeside of [false, true]) {
  const beside = isBeside ? " beside one that waits for data" : "";
  test(
    `recv() waits for what comes into the queue of errors${beside}`,
    async () => {
      using socket = datagrams("inet");
      socket.setOption("readErrorQueue", true);
      const controller = new AbortController();
      const other = isBeside
        ? socket.recv(new Uint8Array(8), { signal: controller.signal })
          .catch((error) => error)
        : null;
      const flags = abi.errorQueue!.MSG_ERRQUEUE;
      const buffer = new Uint8Array(8);
      const waiting = socket.recv(buffer, { flags, timeout: AGES });
      socket.sendSync(bytes(1, 2, 3), { to: vacant() });
      // It is what was sent in vain.
      assertEquals(await waiting, 3);
      assertEquals([...buffer.subarray(0, 3)], [1, 2, 3]);
      controller.abort();
      await other;
    },
    { skip: needs(onLinux, unemulated("has no queue of errors")) },
  );
}

test(
  "recv() reports an error that is in the queue of errors, too",
  async () => {
    using socket = datagrams("inet");
    socket.setOption("readErrorQueue", true);
    const waiting = socket.recv(new Uint8Array(8), { timeout: AGES });
    socket.sendSync(bytes(1), { to: vacant() });
    const error = await waiting.catch((error) => error);
    assertInstanceOf(error, Errno.ECONNREFUSED);
  },
  { skip: needs(onLinux, unemulated("has no queue of errors")) },
);

for (const mode of [undefined, "byob"] as const) {
  const with_ = mode === undefined ? "" : " into a reader's own memory";
  test(`readable has each datagram whole${with_}, and no end at an empty one`, async () => {
    const [near, far] = Socket.pair({ type: "dgram" });
    using _ = near, __ = far;
    const reader = mode === undefined
      ? far.readable.getReader()
      : far.readable.getReader({ mode });
    async function read(): Promise<number | undefined> {
      const { value } = mode !== undefined
        ? await (reader as ReadableStreamBYOBReader)
          .read(new Uint8Array(0x1_0000))
        : await (reader as ReadableStreamDefaultReader<Uint8Array>).read();
      return value?.length;
    }
    near.sendSync(new Uint8Array(0));
    near.sendSync(new Uint8Array(60_000));
    near.sendSync(new Uint8Array(0));
    assertEquals(await read(), 60_000);
    const last = read();
    near.sendSync(bytes(7));
    assertEquals(await last, 1);
  });
}

test("a stream that is canceled takes no datagram after an empty one", async () => {
  const [near, far] = Socket.pair({ type: "dgram" });
  using _ = near, __ = far;
  const reader = far.readable.getReader();
  // Nobody is asked for anything before the stream has begun.
  await new Promise((resolve) => setTimeout(resolve));
  near.sendSync(bytes());
  near.sendSync(bytes(7));
  const read = reader.read();
  await reader.cancel();
  assertEquals((await read).done, true);
  assertEquals(received(far), [7]);
});
