import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  abstractUnix,
  type Address,
  Errno,
  type ErrnoCode,
  ErrnoError,
  errnoName,
  inet,
  inet6,
  type InetAddress,
  NotSupportedError,
  rawAddress,
  Socket,
  type SocketOpenOptions,
  unix,
  unspecified,
  vsock,
} from "../mod.ts";
import { AGES, assertFails, outcome } from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  inChild,
  listen,
  pair,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import { canIpv6, isRoot, needs, on, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();

function isCloseOnExec(fd: number): boolean {
  const flags = system.fcntl(fd, abi.F_GETFD, 0);
  assertGreaterOrEqual(flags, 0);
  return (flags & abi.FD_CLOEXEC) !== 0;
}

// open

test("Socket.open() opens what it is asked for", () => {
  const rows:
    readonly (readonly [SocketOpenOptions | undefined, number, number])[] = [
      [undefined, abi.AF_INET, abi.SOCK_STREAM],
      [{}, abi.AF_INET, abi.SOCK_STREAM],
      [{ family: "inet", type: "stream" }, abi.AF_INET, abi.SOCK_STREAM],
      [{ type: "dgram", protocol: "udp" }, abi.AF_INET, abi.SOCK_DGRAM],
      [{ protocol: "tcp" }, abi.AF_INET, abi.SOCK_STREAM],
      [{ family: "unix" }, abi.AF_UNIX, abi.SOCK_STREAM],
      [{ family: "unix", type: "dgram" }, abi.AF_UNIX, abi.SOCK_DGRAM],
      [{ family: "unix", type: "seqpacket" }, abi.AF_UNIX, abi.SOCK_SEQPACKET],
      [
        { family: abi.AF_UNIX, type: abi.SOCK_DGRAM },
        abi.AF_UNIX,
        abi.SOCK_DGRAM,
      ],
      [{ protocol: abi.IPPROTO_TCP }, abi.AF_INET, abi.SOCK_STREAM],
    ];
  for (const [options, family, type] of rows) {
    using socket = Socket.open(options);
    assertGreaterOrEqual(socket.fd, 0);
    assertEquals(socket.closed, false);
    assertEquals(socket.nonblocking, false);
    assertEquals(socket.getOption(abi.SOL_SOCKET, abi.SO_TYPE), type);
    const bytes = socket.localAddress.toBytes();
    const at = abi.sockaddr;
    assertEquals(
      bytes[at.family + (abi.littleEndian ? 0 : at.familySize - 1)],
      family,
    );
  }
});

test("Socket.open() opens IPv6", () => {
  using socket = Socket.open({ family: "inet6" });
  assertEquals(socket.localAddress.family, "inet6");
}, { skip: canIpv6() });

test("Socket.open() opens a raw socket", () => {
  using socket = Socket.open({ type: "raw", protocol: "icmp" });
  assertEquals(socket.getOption("type"), "raw");
}, { skip: isRoot() });

test(
  "Socket.open() throws EPERM for a raw socket of another user",
  async () => {
    const code = await inChild({}, ({ becomeNobody, ErrnoError, Socket }) => {
      becomeNobody();
      try {
        Socket.open({ type: "raw", protocol: "icmp" }).close();
        return "opened";
      } catch (error) {
        if (!(error instanceof ErrnoError)) throw error;
        return `${error.syscall} ${error.code}`;
      }
    });
    assertEquals(code, "socket EPERM");
  },
  {
    skip: needs(
      isRoot(),
      onLinux,
      unemulated("may take minutes to change the user of all threads"),
    ),
  },
);

test("Socket.open() sets close-on-exec, and non-blocking where asked", () => {
  for (const family of ["inet", "unix"] as const) {
    for (const nonblocking of [false, true]) {
      using socket = Socket.open({ family, nonblocking });
      assertEquals(socket.nonblocking, nonblocking);
      assert(isCloseOnExec(socket.fd));
    }
  }
});

test("Socket#nonblocking takes a boolean, and nothing that only counts as one", () => {
  using socket = Socket.open();
  for (const value of ["no", 1, null, undefined]) {
    const set = () => socket.nonblocking = value as unknown as boolean;
    assertThrows(set, TypeError, "nonblocking");
    assertEquals(socket.nonblocking, false);
  }
});

test("Socket.open() sets the flags by fcntl(2) where socket(2) takes none", () => {
  for (const nonblocking of [false, true]) {
    using watched = watchLibc({
      abi: { ...abi, SOCK_CLOEXEC: null, SOCK_NONBLOCK: null },
    });
    using socket = Socket.open({ nonblocking });
    assertEquals(watched.calls[0]!.args[1], abi.SOCK_STREAM);
    assertEquals(socket.nonblocking, nonblocking);
    assert(isCloseOnExec(socket.fd));
  }
});

test("Socket.open() closes the descriptor when its flags cannot be set", () => {
  using watched = watchLibc({
    abi: { ...abi, SOCK_CLOEXEC: null, SOCK_NONBLOCK: null },
    fcntl: () => -abi.errnos.EINVAL!,
  });
  assertFails(() => Socket.open(), "EINVAL");
  assertEquals(watched.names, ["socket", "fcntl", "close"]);
});

test("Socket.open() throws what the system says of a kind it lacks", () => {
  const rows: readonly (readonly [SocketOpenOptions, ErrnoCode])[] = [
    [{ family: 999 }, "EAFNOSUPPORT"],
    [{ type: 99 }, "EINVAL"],
    [{ protocol: "udp" }, "EPROTONOSUPPORT"],
    [{ type: "dgram", protocol: "tcp" }, "EPROTONOSUPPORT"],
    [{ family: "unix", type: "raw", protocol: 77 }, "EPROTONOSUPPORT"],
  ];
  for (const [options, code] of rows) {
    const error = assertFails(() => Socket.open(options), code);
    assertEquals(error.syscall, "socket");
  }
}, {
  skip: needs(onLinux, unemulated("cuts the type of a socket down to 4 bits")),
});

test("Socket.open() checks its options before it calls anything", () => {
  const rows: readonly (readonly [unknown, ErrorConstructor, string])[] = [
    [{ family: "ipv4" }, TypeError, 'family "ipv4"'],
    [{ family: "constructor" }, TypeError, 'family "constructor"'],
    [{ family: null }, TypeError, "family null"],
    [{ family: 1n }, TypeError, "family 1"],
    [{ family: -1 }, RangeError, "family -1"],
    [{ family: 1.5 }, RangeError, "family 1.5"],
    [{ family: NaN }, RangeError, "family NaN"],
    [{ family: 2 ** 31 }, RangeError, "family 2147483648"],
    [{ family: 2 ** 40 }, RangeError, "family 1099511627776"],
    [{ type: "tcp" }, TypeError, 'type "tcp"'],
    [{ type: {} }, TypeError, "type"],
    [{ type: 2 ** 31 }, RangeError, "type 2147483648"],
    [{ protocol: "http" }, TypeError, 'protocol "http"'],
    [{ protocol: -6 }, RangeError, "protocol -6"],
    [{ protocol: 2 ** 32 }, RangeError, "protocol 4294967296"],
  ];
  const objections: string[] = [];
  for (const [options, errorClass, message] of rows) {
    using watched = watchLibc();
    const error = outcome(() => Socket.open(options as SocketOpenOptions));
    if (error instanceof Socket) error.close();
    const fits = error instanceof errorClass && error.message.includes(message);
    if (!fits || watched.names.length > 0) {
      objections.push(`${message}: ${error}, ${watched.names}`);
    }
  }
  assertEquals(objections, []);
});

test("Socket.open() throws NotSupportedError for what the system has no number of", () => {
  using watched = watchLibc({
    abi: { ...abi, AF_VSOCK: null, IPPROTO_MPTCP: null },
  });
  for (const options of [{ family: "vsock" }, { protocol: "mptcp" }] as const) {
    assertThrows(() => Socket.open(options), NotSupportedError);
  }
  assertEquals(watched.names, []);
});

// fromFd and detach

test("Socket.fromFd() takes over what detach() gave away", () => {
  using listener = listen();
  const first = Socket.open();
  first.connectSync(listener.address);
  const { fd } = first;
  assertEquals(first.detach(), fd);
  assertEquals([first.fd, first.closed], [-1, true]);
  first.close();
  assertFails(() => first.detach(), "EBADF");
  using second = Socket.fromFd(fd);
  assertEquals(second.fd, fd);
  assert(second.remoteAddress!.equals(listener.address));
});

test("Socket.fromFd() sets close-on-exec", () => {
  const fd = Socket.open({ nonblocking: true }).detach();
  assertEquals(system.fcntl(fd, abi.F_SETFD, 0), 0);
  assertEquals(isCloseOnExec(fd), false);
  using socket = Socket.fromFd(fd);
  assert(isCloseOnExec(fd));
  assertEquals(socket.nonblocking, true);
});

test("Socket.fromFd() knows the family of what it took over", () => {
  for (const family of ["inet", "unix"] as const) {
    using socket = Socket.fromFd(Socket.open({ family }).detach());
    assertEquals(socket.localAddress.family, family);
  }
  using six = Socket.fromFd(Socket.open({ family: "inet6" }).detach());
  // Options are found by the family.
  six.setOption("ttl", 9);
  assertEquals(six.getOption("ttl"), 9);
}, { skip: canIpv6() });

test("Socket.fromFd() throws EBADF for a descriptor that is not open", () => {
  const socket = Socket.open();
  const { fd } = socket;
  socket.close();
  const error = assertFails(() => Socket.fromFd(fd), "EBADF");
  assert(error.message.includes("EBADF"));
  assertFails(() => Socket.fromFd(0x7fff_ffff), "EBADF");
});

test("Socket.fromFd() throws ENOTSOCK for a file, and leaves it open", () => {
  using folder = tempFolder();
  const path = join(folder.path, "file");
  writeFileSync(path, "");
  const fd = openSync(path, "r");
  try {
    assertFails(() => Socket.fromFd(fd), "ENOTSOCK");
    assert(fstatSync(fd).isFile());
  } finally {
    closeSync(fd);
  }
});

test("Socket.fromFd() throws for what is no descriptor, and calls nothing", () => {
  using watched = watchLibc();
  for (
    const fd of [-1, 1.5, NaN, Infinity, 2 ** 31, "3", 3n, null, undefined, {}]
  ) {
    const error = outcome(() => Socket.fromFd(fd as number));
    const wrong = typeof fd === "number" ? RangeError : Error;
    assertInstanceOf(error, wrong);
    assert(
      error.message.includes("fd") || error.message.includes("descriptor"),
    );
  }
  assertEquals(watched.names, []);
});

test("Socket#close() throws EBADF when somebody else closed the descriptor", () => {
  const one = Socket.open();
  const other = Socket.fromFd(one.fd);
  one.close();
  const error = assertFails(() => other.close(), "EBADF");
  assertEquals(error.syscall, "close");
  assertEquals(other.closed, true);
  other.close();
});

test("Socket#close() closes once, whatever close(2) returns", () => {
  for (const code of ["EINTR", "EIO"] as const) {
    const fds: number[] = [];
    using watched = watchLibc({
      close(fd) {
        fds.push(fd);
        system.close(fd);
        return -abi.errnos[code]!;
      },
    });
    const socket = Socket.open();
    socket.close();
    socket.close();
    socket[Symbol.dispose]();
    assertEquals(fds.length, 1);
    assertEquals(watched.names, ["socket", "close"]);
  }
});

test("Socket closes at the end of its block, also after an exception", () => {
  using watched = watchLibc();
  const error = outcome(() => {
    using _socket = Socket.open();
    throw new Error("out");
  });
  assertInstanceOf(error, Error);
  assertEquals(watched.names, ["socket", "close"]);
});

// Use after close.

const BYTES = new Uint8Array(4);
const SOMEWHERE = inet("127.0.0.1", 9);

/** A use of each method and property but those that work on a closed socket. */
const USES: Readonly<Record<string, (socket: Socket) => unknown>> = {
  bind: (socket) => socket.bind(SOMEWHERE),
  closeWrite: (socket) => socket.closeWrite(),
  connect: (socket) => socket.connect(SOMEWHERE),
  connectSync: (socket) => socket.connectSync(SOMEWHERE),
  detach: (socket) => socket.detach(),
  accept: (socket) => socket.accept({ timeout: 0 }),
  acceptSync: (socket) => socket.acceptSync({ timeout: 0 }),
  disconnect: (socket) => socket.disconnect(),
  getOption: (socket) => socket.getOption("ttl"),
  listen: (socket) => socket.listen(),
  localAddr: (socket) => socket.localAddr,
  localAddress: (socket) => socket.localAddress,
  nonblocking: (socket) => socket.nonblocking,
  poll: (socket) => socket.poll("POLLIN", 0),
  read: (socket) => socket.read(BYTES),
  readable: (socket) => socket.readable,
  ready: (socket) => socket.ready("POLLIN", { timeout: 0 }),
  recv: (socket) => socket.recv(BYTES),
  recvExactly: (socket) => socket.recvExactly(1),
  recvUntil: (socket) => socket.recvUntil("x"),
  sendAll: (socket) => socket.sendAll(BYTES),
  recvFrom: (socket) => socket.recvFrom(BYTES),
  recvFromSync: (socket) => socket.recvFromSync(BYTES),
  recvSync: (socket) => socket.recvSync(BYTES),
  remoteAddr: (socket) => socket.remoteAddr,
  remoteAddress: (socket) => socket.remoteAddress,
  send: (socket) => socket.send(BYTES),
  sendSync: (socket) => socket.sendSync(BYTES),
  setOption: (socket) => socket.setOption("ttl", 3),
  shutdown: (socket) => socket.shutdown("both"),
  takeError: (socket) => socket.takeError(),
  tcpInfo: (socket) => socket.tcpInfo(),
  toBunSocket: (socket) => socket.toBunSocket({ data() {} }),
  toNodeSocket: (socket) => socket.toNodeSocket(),
  writable: (socket) => socket.writable,
  write: (socket) => socket.write(BYTES),
};

/** More ways to use some of them. */
const MORE_USES: readonly ((socket: Socket) => unknown)[] = [
  (socket) => socket.connectSync(SOMEWHERE, { timeout: 5 }),
  (socket) => socket.getOption(abi.SOL_SOCKET, abi.SO_TYPE),
  (socket) => socket.poll("POLLOUT"),
  (socket) => socket.sendSync(BYTES, { to: SOMEWHERE }),
  (socket) => socket.setOption(abi.IPPROTO_IP, abi.IP_TTL, 3),
  (socket) => (socket.nonblocking = true),
  (socket) => (socket.nonblocking = false),
];

/** What a closed socket returns without an error. */
const STILL_ANSWERED: readonly string[] = [
  "close",
  "closed",
  "constructor",
  "fd",
  "ref",
  "tryConnect",
  "unref",
];

test("Socket throws EBADF for every use after close(), and calls nothing", async () => {
  const closed = Socket.open();
  closed.close();
  const detached = Socket.open();
  const fd = detached.detach();
  using _owner = Socket.fromFd(fd);
  using watched = watchLibc();
  for (const socket of [closed, detached]) {
    for (const use of [...Object.values(USES), ...MORE_USES]) {
      let error: unknown = "nothing";
      try {
        await use(socket);
      } catch (caught) {
        error = caught;
      }
      assertInstanceOf(error, Errno.EBADF, `${use}: ${error}`);
      assert(error.message.includes("the socket is closed"), error.message);
      assertEquals(watched.names, [], `${use}`);
    }
    assertEquals([socket.fd, socket.closed], [-1, true]);
    socket.close();
    assertEquals(watched.names, []);
  }
});

test("Socket has no method whose use after close() is not tested", () => {
  const names = Object.getOwnPropertyNames(Socket.prototype);
  const tested = [...Object.keys(USES), ...STILL_ANSWERED];
  assertEquals(names.filter((name) => !tested.includes(name)), []);
});

test("Socket#tryConnect() returns EBADF after close(), and calls nothing", () => {
  const socket = Socket.open();
  socket.close();
  using watched = watchLibc();
  assertEquals(socket.tryConnect(SOMEWHERE), abi.errnos.EBADF);
  assertEquals(watched.names, []);
});

test("Socket leaves a reused number alone", () => {
  const old = Socket.open();
  const { fd } = old;
  old.close();
  using young = Socket.open();
  assertEquals(young.fd, fd);
  assertEquals(errnoName(old.tryConnect(SOMEWHERE)), "EBADF");
  old.close();
  assertEquals(young.getOption("type"), "stream");
}, { skip: onLinux });

// nonblocking

test("Socket#nonblocking is read from the descriptor and set on it", () => {
  using socket = Socket.open();
  const { fd } = socket;
  for (const on of [true, true, false, false, true]) {
    socket.nonblocking = on;
    assertEquals(socket.nonblocking, on);
    const flags = system.fcntl(fd, abi.F_GETFL, 0);
    assertEquals((flags & abi.O_NONBLOCK) !== 0, on);
  }
  system.fcntl(fd, abi.F_SETFL, 0);
  assertEquals(socket.nonblocking, false);
});

test("Socket#nonblocking is not set again where it is so already", () => {
  using socket = Socket.open({ nonblocking: true });
  const { calls } = watchSetFlags(() => socket.nonblocking = true);
  assertEquals(calls, 0);
});

function watchSetFlags(body: () => void): { calls: number } {
  using watched = watchLibc();
  body();
  const calls =
    watched.calls.filter(({ name, args }) =>
      name === "fcntl" && args[1] === abi.F_SETFL
    ).length;
  return { calls };
}

// bind and addresses

test("Socket#bind() gives the socket its address", () => {
  using socket = Socket.open();
  assertEquals(`${socket.localAddress}`, "0.0.0.0:0");
  assertEquals(socket.remoteAddress, null);
  socket.bind(inet("127.0.0.1", 0));
  const local = socket.localAddress as InetAddress;
  assertEquals(local.hostname, "127.0.0.1");
  assertNotEquals(local.port, 0);
  assertFails(() => socket.bind(inet("127.0.0.1", 0)), "EINVAL");
});

test("Socket#bind() binds IPv6, and with its scope", () => {
  using socket = Socket.open({ family: "inet6" });
  assertEquals(`${socket.localAddress}`, "[::]:0");
  socket.bind(inet6("::1", 0));
  assert(`${socket.localAddress}`.startsWith("[::1]:"));
}, { skip: canIpv6() });

test("Socket#bind() binds paths and abstract names", () => {
  using folder = tempFolder();
  const names: Address[] = [unix(join(folder.path, "s"))];
  if (abi.abstractUnix) {
    names.push(abstractUnix(`einprogress ${crypto.randomUUID()}`));
  }
  for (const name of names) {
    using socket = Socket.open({ family: "unix" });
    assertEquals(`${socket.localAddress}`, "unix:");
    socket.bind(name);
    assert(socket.localAddress.equals(name));
    using other = Socket.open({ family: "unix" });
    const error = assertFails(() => other.bind(name), "EADDRINUSE");
    assertEquals(error.syscall, "bind");
    assertEquals(error.address, `${name}`);
  }
});

test("Socket#bind() throws what the system says", () => {
  using taken = listen();
  using folder = tempFolder();
  const rows: readonly (readonly [SocketOpenOptions, Address, ErrnoCode])[] = [
    [{}, taken.address, "EADDRINUSE"],
    [{}, inet("192.0.2.1", 0), "EADDRNOTAVAIL"],
    [{}, inet6("::1", 0), "EAFNOSUPPORT"],
    [{}, rawAddress(new Uint8Array([2])), "EINVAL"],
    [{ family: "unix" }, unix(join(folder.path, "none", "s")), "ENOENT"],
    [{ family: "unix" }, inet("127.0.0.1", 0), "EINVAL"],
  ];
  for (const [options, address, code] of rows) {
    using socket = Socket.open(options);
    const error = assertFails(() => socket.bind(address), code);
    assertEquals([error.syscall, error.address], ["bind", `${address}`]);
  }
}, { skip: onLinux });

test("Socket#bind() throws for what is no address, and calls nothing", () => {
  using socket = Socket.open();
  using watched = watchLibc();
  for (const junk of JUNK) {
    assertThrows(
      () => socket.bind(junk as Address),
      TypeError,
      "Cannot use address",
    );
  }
  assertEquals(watched.names, []);
});

test("Socket#localAddress and remoteAddress mirror the other end's", () => {
  using ends = pair();
  const { near, far } = ends;
  assert(near.localAddress.equals(far.remoteAddress!));
  assert(near.remoteAddress!.equals(far.localAddress));
});

test("Socket#remoteAddress is null once the connection was reset", () => {
  using listener = listen();
  using socket = Socket.open();
  socket.connectSync(listener.address);
  listener.reset();
  socket.poll("POLLIN", AGES);
  assertEquals(socket.remoteAddress, null);
}, { skip: onLinux });

test("Socket throws what the system says when it is asked for an address", () => {
  using socket = Socket.open();
  const { ENOBUFS } = abi.errnos;
  for (const call of ["getsockname", "getpeername"] as const) {
    using _watched = watchLibc({ [call]: () => -ENOBUFS! });
    using faked = Socket.open();
    const error = assertFails(
      () => call === "getsockname" ? faked.localAddress : faked.remoteAddress,
      "ENOBUFS",
    );
    assertEquals(error.syscall, call);
  }
  assertEquals(socket.remoteAddress, null);
});

// takeError and poll

test("Socket#takeError() takes an error once, and says of what", () => {
  using peer = bound();
  using socket = Socket.open({ nonblocking: true });
  assertEquals(socket.takeError(), null);
  socket.tryConnect(peer.address);
  socket.poll("POLLOUT", AGES);
  const error = socket.takeError();
  assertInstanceOf(error, Errno.ECONNREFUSED);
  assertEquals(error.syscall, "connect");
  assertEquals(error.address, `${peer.address}`);
  assertEquals(socket.takeError(), null);
}, { skip: onLinux });

test("Socket#poll() returns the events that are there", () => {
  using ends = pair();
  const { near, far } = ends;
  assertEquals(near.poll("POLLIN", 0), []);
  assertEquals(near.poll("POLLOUT", 0), ["POLLOUT"]);
  assertEquals(near.poll(["POLLIN", "POLLOUT"], 0), ["POLLOUT"]);
  assertEquals(near.poll([], 0), []);
  far.sendSync(BYTES);
  assertEquals(near.poll("POLLIN"), ["POLLIN"]);
  assertEquals(near.poll(["POLLIN", "POLLOUT"]), ["POLLIN", "POLLOUT"]);
});

test("Socket#poll() reports a reset without being asked", () => {
  using listener = listen();
  using socket = Socket.open();
  socket.connectSync(listener.address);
  listener.reset();
  const events = socket.poll([], AGES);
  assert(events.includes("POLLERR") && events.includes("POLLHUP"), `${events}`);
}, { skip: onLinux });

test("Socket#poll() waits as long as its timeout says", () => {
  using ends = pair();
  const start = performance.now();
  assertEquals(ends.near.poll("POLLIN", 30), []);
  assertGreaterOrEqual(performance.now() - start, 30);
});

test("Socket#poll() goes on after a signal, and after an early return", () => {
  const results = [-abi.errnos.EINTR!, 0, -abi.errnos.EINTR!];
  using _watched = watchLibc({
    poll: (...args) => results.shift() ?? system.poll(...args),
  });
  using ends = pair();
  assertEquals(ends.near.poll("POLLOUT", AGES), ["POLLOUT"]);
  assertEquals(results.length, 0);
});

test("Socket#poll() throws what the system says, and for wrong arguments", () => {
  {
    using _watched = watchLibc({ poll: () => -abi.errnos.ENOMEM! });
    using socket = Socket.open();
    assertEquals(
      assertFails(() => socket.poll("POLLIN"), "ENOMEM").syscall,
      "poll",
    );
  }
  using socket = Socket.open();
  using watched = watchLibc();
  const poll = socket.poll.bind(socket) as (...args: unknown[]) => unknown;
  for (const events of ["POLLERR", "x", 5, null, ["POLLIN", "POLLHUP"]]) {
    assertThrows(() => poll(events, 0), TypeError);
  }
  for (const timeout of [-1, NaN]) {
    assertThrows(
      () => poll("POLLIN", timeout),
      RangeError,
      `timeout ${timeout}`,
    );
  }
  assertThrows(() => poll("POLLIN", "1"), TypeError, 'timeout "1"');
  assertEquals(watched.names, []);
});

// send, receive, shut down

test("Socket carries bytes both ways, and reports the end", () => {
  using ends = pair();
  const { near, far } = ends;
  const buffer = new Uint8Array(16);
  assertEquals(near.sendSync(new Uint8Array([1, 2, 3])), 3);
  assertEquals(far.recvSync(buffer), 3);
  assertEquals(buffer.slice(0, 4), new Uint8Array([1, 2, 3, 0]));
  assertEquals(near.sendSync(new Uint8Array(0)), 0);
  near.shutdown("write");
  assertEquals(far.recvSync(buffer), 0);
  assertEquals(far.sendSync(new Uint8Array([9])), 1);
  assertEquals(near.recvSync(buffer), 1);
  assertFails(() => near.sendSync(BYTES), "EPIPE");
  far.shutdown("both");
  assertEquals(far.recvSync(buffer), 0);
});

test("Socket#sendSync() and recvSync() work on a part of a buffer", () => {
  using ends = pair();
  const memory = Uint8Array.from([1, 2, 3, 4, 5, 6]);
  assertEquals(ends.near.sendSync(memory.subarray(2, 4)), 2);
  const target = new Uint8Array(6);
  assertEquals(ends.far.recvSync(target.subarray(1, 5)), 2);
  assertEquals(target, Uint8Array.from([0, 3, 4, 0, 0, 0]));
});

test("Socket#sendSync() throws EPIPE and the process lives", async () => {
  const code = await inChild({}, ({ ErrnoError, listen, Socket }) => {
    using listener = listen();
    using socket = Socket.open();
    socket.connectSync(listener.address);
    listener.reset();
    socket.poll("POLLIN");
    const codes: string[] = [];
    for (let i = 0; i < 2; i++) {
      try {
        socket.sendSync(new Uint8Array(1));
      } catch (error) {
        if (!(error instanceof ErrnoError)) throw error;
        codes.push(error.code);
      }
    }
    return codes;
  });
  assertEquals(code, ["ECONNRESET", "EPIPE"]);
}, { skip: onLinux });

test("Socket#sendSync() asks for no SIGPIPE, whatever flags it is given", () => {
  using watched = watchLibc();
  using ends = pair();
  ends.near.sendSync(BYTES);
  ends.near.sendSync(BYTES, { flags: abi.MSG_DONTWAIT });
  const flags = watched.calls
    .filter(({ name }) => name === "sendto")
    .map(({ args }) => args[3]);
  const quiet = abi.MSG_NOSIGNAL ?? 0;
  assertEquals(flags, [quiet, quiet | abi.MSG_DONTWAIT]);
});

test("Socket#recvSync() throws EAGAIN on a non-blocking socket with nothing", () => {
  using ends = pair();
  ends.near.nonblocking = true;
  const error = assertFails(() => ends.near.recvSync(BYTES), "EAGAIN");
  assertEquals(error.syscall, "recvfrom");
  assertInstanceOf(error, Errno.EWOULDBLOCK);
  assertFails(
    () => ends.far.recvSync(BYTES, { flags: abi.MSG_DONTWAIT }),
    "EAGAIN",
  );
});

test("Socket#sendSync() throws EAGAIN when there is no room", () => {
  using ends = pair();
  ends.near.nonblocking = true;
  const data = new Uint8Array(1 << 20);
  let sent = 0;
  const error = assertFails(() => {
    for (;;) sent += ends.near.sendSync(data);
  }, "EAGAIN");
  assertEquals(error.syscall, "sendto");
  assert(sent > 0);
});

test("Socket goes on after a signal while it sends and receives", () => {
  const { EINTR } = abi.errnos;
  for (const call of ["sendto", "recvfrom"] as const) {
    let interrupts = 2;
    const real = system[call] as (...args: unknown[]) => number;
    using _watched = watchLibc({
      [call]: (...args: unknown[]) =>
        interrupts-- > 0 ? -EINTR! : real(...args),
    });
    using receiver = Socket.open({ type: "dgram" });
    receiver.bind(inet("127.0.0.1", 0));
    assertEquals(receiver.sendSync(BYTES, { to: receiver.localAddress }), 4);
    assertEquals(receiver.recvSync(new Uint8Array(8)), 4);
    assert(interrupts < 0);
  }
});

test("Socket sends datagrams to an address, and returns the sender of each", () => {
  using one = boundSocket();
  using other = boundSocket();
  const buffer = new Uint8Array(16);
  assertEquals(one.sendSync(BYTES, { to: other.localAddress }), 4);
  assertEquals(one.sendSync(new Uint8Array(0), { to: other.localAddress }), 0);
  const [size, from] = other.recvFromSync(buffer);
  assertEquals(size, 4);
  assert(from.equals(one.localAddress));
  assertEquals(other.recvFromSync(buffer)[0], 0);
  assertFails(() => one.sendSync(BYTES), "EDESTADDRREQ");
  one.connectSync(other.localAddress);
  assertEquals(one.sendSync(new Uint8Array(12)), 12);
  // What is too long for the buffer is cut, and its rest is lost.
  assertEquals(other.recvSync(new Uint8Array(5)), 5);
  assertEquals(other.poll("POLLIN", 0), []);
});

function boundSocket(): Socket {
  const socket = Socket.open({ type: "dgram" });
  socket.bind(inet("127.0.0.1", 0));
  return socket;
}

test("Socket learns of a refused datagram at its next call", () => {
  const port = (() => {
    using gone = boundSocket();
    return (gone.localAddress as InetAddress).port;
  })();
  using socket = Socket.open({ type: "dgram" });
  socket.connectSync(inet("127.0.0.1", port));
  socket.sendSync(BYTES);
  assertFails(() => socket.recvSync(BYTES), "ECONNREFUSED");
}, { skip: onLinux });

test("Socket#recvFromSync() returns unnamed senders", () => {
  using folder = tempFolder();
  const path = unix(join(folder.path, "s"));
  using receiver = Socket.open({ family: "unix", type: "dgram" });
  receiver.bind(path);
  using sender = Socket.open({ family: "unix", type: "dgram" });
  sender.sendSync(BYTES, { to: path });
  const [size, from] = receiver.recvFromSync(new Uint8Array(8));
  assertEquals(size, 4);
  assert(["unspec", "unix"].includes(from.family), `${from}`);
  using ends = pair();
  ends.near.sendSync(BYTES);
  const [, stream] = ends.far.recvFromSync(new Uint8Array(8));
  assert(["unspec", "inet"].includes(stream.family), `${stream}`);
});

test("Socket#sendSync() throws for what is no address, and calls nothing", () => {
  using socket = Socket.open({ type: "dgram" });
  using watched = watchLibc();
  for (
    const junk of JUNK.filter((junk) => junk !== undefined && junk !== null)
  ) {
    assertThrows(
      () => socket.sendSync(BYTES, { to: junk as Address }),
      TypeError,
      "Cannot use address",
    );
  }
  assertEquals(watched.names, []);
});

test("Socket sends and receives nothing but bytes", () => {
  using ends = pair();
  const { near, far } = ends;
  far.sendSync(BYTES);
  for (
    const junk of [
      5,
      null,
      undefined,
      {},
      [1, 2],
      new ArrayBuffer(2),
      new Uint16Array(2),
    ]
  ) {
    assertThrows(() => near.sendSync(junk as Uint8Array), TypeError);
    assertThrows(() => near.recvSync(junk as Uint8Array), TypeError);
    assertThrows(() => near.recvFromSync(junk as Uint8Array), TypeError);
  }
  assertEquals(near.recvSync(new Uint8Array(8)), 4);
});

test("Socket#shutdown() throws ENOTCONN without a connection", () => {
  using socket = Socket.open();
  const error = assertFails(() => socket.shutdown("write"), "ENOTCONN");
  assertEquals(error.syscall, "shutdown");
});

test("Socket#shutdown() checks its argument before it calls anything", () => {
  using ends = pair();
  using watched = watchLibc();
  for (const how of ["rw", "", null, undefined, {}, 2n, true]) {
    assertThrows(() => ends.near.shutdown(how as "read"), TypeError, "how");
  }
  assertEquals(watched.names, []);
});

// tryConnect

/** What is no address, however much it looks like one. */
const JUNK: readonly unknown[] = [
  undefined,
  null,
  0,
  NaN,
  "127.0.0.1:80",
  5n,
  Symbol("address"),
  true,
  {},
  [],
  () => {},
  new Uint8Array(16),
  { family: "inet", hostname: "127.0.0.1", port: 80 },
  Object.create(SOMEWHERE),
  Object.create(null),
  new Proxy(SOMEWHERE, {}),
  new Proxy({}, {
    get: thrower,
    has: thrower,
    getPrototypeOf: thrower,
    getOwnPropertyDescriptor: thrower,
    ownKeys: thrower,
  }),
];

function thrower(): never {
  throw new Error("must not be looked at");
}

test("Socket#tryConnect() returns EFAULT for what is no address", () => {
  using socket = Socket.open();
  using watched = watchLibc();
  for (const junk of JUNK) {
    assertEquals(socket.tryConnect(junk as Address), abi.errnos.EFAULT);
  }
  assertEquals(watched.names, []);
});

test("Socket#tryConnect() returns what the kernel returns", () => {
  using listener = listen();
  using peer = bound();
  using folder = tempFolder();
  const rows: (readonly [SocketOpenOptions, Address, ErrnoCode | 0])[] = [
    [{}, listener.address, 0],
    [{}, peer.address, "ECONNREFUSED"],
    [{}, inet6("::1", 80), "EAFNOSUPPORT"],
    [{}, unspecified(), 0],
    [{}, rawAddress(new Uint8Array([2])), "EINVAL"],
    [{}, rawAddress(new Uint8Array([2, 0, 0, 80])), "EINVAL"],
    [{}, rawAddress(new Uint8Array(16).fill(0xff)), "EAFNOSUPPORT"],
    [{}, vsock(1, 80), "EAFNOSUPPORT"],
    [{ type: "dgram" }, inet("127.255.255.255", 9), "EACCES"],
    [{ type: "dgram" }, listener.address, 0],
    [{ family: "unix" }, unix(join(folder.path, "none")), "ENOENT"],
    [{ family: "unix" }, inet("127.0.0.1", 80), "EINVAL"],
  ];
  // An emulator looks for the memory of an address that has none.
  if (unemulated("") === null) {
    rows.push([{}, rawAddress(new Uint8Array(0)), "EINVAL"]);
  }
  for (const [options, address, code] of rows) {
    using socket = Socket.open(options);
    const expected = code === 0 ? 0 : abi.errnos[code]!;
    const result = socket.tryConnect(address);
    assertEquals(result, expected, `${address}: ${errnoName(result)}`);
    // 0 and not -0; assertEquals takes one for the other.
    assert(!Object.is(result, -0));
  }
}, { skip: onLinux });

test("Socket#tryConnect() calls connect(2) once and nothing else", () => {
  using hole = blackHole();
  using watched = watchLibc();
  using socket = Socket.open({ nonblocking: true });
  assertEquals(errnoName(socket.tryConnect(hole.address)), "EINPROGRESS");
  assertEquals(watched.names, ["socket", "connect"]);
}, { skip: canBlackHole() });

test("Socket#tryConnect() returns every errno as it is", () => {
  let result = 0;
  using _watched = watchLibc({ connect: () => result });
  using socket = Socket.open();
  for (const errno of [...Object.values(abi.errnos), 4095]) {
    result = -errno;
    assertEquals(socket.tryConnect(SOMEWHERE), errno);
  }
});

test("Socket#tryConnect() passes the address's own bytes", () => {
  const seen: Uint8Array[] = [];
  using _watched = watchLibc({
    connect(_fd, address, length) {
      seen.push(address.slice(0, length));
      return 0;
    },
  });
  using socket = Socket.open();
  const addresses = [
    SOMEWHERE,
    inet6("fe80::1%3", 80),
    unix("/none"),
    unspecified(),
  ];
  for (const address of addresses) {
    socket.tryConnect(address);
    assertEquals(seen.pop(), address.toBytes());
  }
});

/** Calls of `tryConnect` whose garbage is counted. */
const MANY = 100_000;
/** Bytes for each call that the runtime may allocate on its own account; the smallest object has more. */
const NOISE = 4;

test("Socket#tryConnect() allocates nothing", async () => {
  // The child knows `process` and `gc` as globals.
  const { control, ...grown } = await inChild({}, (api, calls) => {
    const { bound, inet6, listen, Socket } = api;
    const { gc } = globalThis as unknown as { gc(): void };
    using peer = bound();
    using listener = listen();
    using refused = Socket.open();
    using connected = Socket.open();
    // After one that does not block, Linux has a late 0 first.
    connected.connectSync(listener.address, { softErrors: "wait" });
    const closed = Socket.open();
    closed.close();
    const foreign = inet6("::1", 80);
    const junk = {} as typeof foreign;
    const kept: object[] = [junk];
    const cases: Record<string, () => number> = {
      refused: () => refused.tryConnect(peer.address),
      connected: () => connected.tryConnect(listener.address),
      foreign: () => refused.tryConnect(foreign),
      closed: () => closed.tryConnect(listener.address),
      junk: () => refused.tryConnect(junk),
      control: () => (kept[0] = { number: 1 }, 1),
    };
    const RUNS = 10;
    function measure(once: () => number): number {
      gc();
      const before = process.memoryUsage().heapUsed;
      for (let i = 0; i < calls / RUNS; i++) {
        if (once() === 0) throw new Error("the call did not fail");
      }
      return (process.memoryUsage().heapUsed - before) / (calls / RUNS);
    }
    const grown: Record<string, number> = {};
    for (const [name, once] of Object.entries(cases)) {
      // One in the middle: until it is compiled, and whenever another thread of
      // the runtime is at work, there is more; and less where it collects.
      const runs = Array.from({ length: RUNS }, () => measure(once));
      grown[name] = runs.sort((a, b) => a - b)[RUNS / 2 - 1]!;
    }
    return grown;
  }, MANY);
  assertGreaterOrEqual(control!, NOISE, "an allocation would go unseen");
  for (const [name, bytes] of Object.entries(grown)) {
    assertLess(bytes, NOISE, `${name}: ${bytes} bytes for each call`);
  }
}, {
  skip: needs(on("deno", "node"), unemulated("takes too long for it")),
});

test("Socket#tryConnect() leaves no descriptor after many failures", () => {
  using peer = bound();
  const fds = new Set<number>();
  for (let i = 0; i < 1000; i++) {
    using socket = Socket.open();
    fds.add(socket.fd);
    assertEquals(errnoName(socket.tryConnect(peer.address)), "ECONNREFUSED");
  }
  assertLess(fds.size, 10);
}, { skip: onLinux });

// Options, as far as they are Socket's own; options_test.ts has each of them.

test("Socket#setOption() and getOption() go by name and by number", () => {
  using socket = Socket.open();
  socket.setOption("ttl", 42);
  assertEquals(socket.getOption("ttl"), 42);
  assertEquals(socket.getOption(abi.IPPROTO_IP, abi.IP_TTL), 42);
  socket.setOption(abi.IPPROTO_IP, abi.IP_TTL, 43);
  assertEquals(socket.getOption("ttl"), 43);
  const bytes = new Uint8Array(new Int32Array([44]).buffer);
  socket.setOption(abi.IPPROTO_IP, abi.IP_TTL, bytes);
  assertEquals(socket.getOption("ttl"), 44);
});

test("Socket#tcpInfo() reports the state of a connection", () => {
  using ends = pair();
  assertEquals(ends.near.tcpInfo().state, ends.far.tcpInfo().state);
  using datagrams = Socket.open({ type: "dgram" });
  assertThrows(() => datagrams.tcpInfo(), ErrnoError);
}, { skip: needs(onLinux, unemulated("reads 4 bytes of TCP_INFO")) });
