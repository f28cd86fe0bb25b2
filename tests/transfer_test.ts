import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { currentAbi, libc } from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import {
  abstractUnix,
  type Address,
  connect,
  type DenoAddr,
  Errno,
  ErrnoError,
  inet,
  inet6,
  type InetAddress,
  NotSupportedError,
  Socket,
  type SocketFamily,
  unix,
} from "../mod.ts";
import { AGES, assertFails, outcome, turns } from "./_assertions.ts";
import {
  canBlackHole,
  inChild,
  listen,
  type Pair,
  pair,
  pairOf,
  type PeerOptions,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, needs, on, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();

/** Two datagram sockets, each with an address. */
function datagrams(): Pair {
  const [near, far] = [0, 1].map(() => {
    const socket = Socket.open({ type: "dgram" });
    socket.bind(inet("127.0.0.1", 0));
    return socket;
  }) as [Socket, Socket];
  return pairOf(near, far);
}

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** Milliseconds by which a delayed acknowledgement has come, on any system. */
const ACKNOWLEDGED = 500;

/** Fills a connection until there is no more room; returns how much went in. */
function fill(socket: Socket): number {
  const data = new Uint8Array(1 << 20);
  let sent = 0;
  for (;;) {
    const before = sent;
    try {
      for (;;) sent += socket.sendSync(data, { flags: abi.MSG_DONTWAIT });
    } catch (error) {
      assertInstanceOf(error, Errno.EAGAIN);
    }
    if (sent === before) return sent;
    // What the peer's kernel takes over makes room once more, as late as it
    // acknowledges it; nothing comes in meanwhile.
    socket.poll("POLLIN", ACKNOWLEDGED);
  }
}

// send and recv

test("Socket#recv() waits until something comes, on a blocking socket too", async () => {
  for (const nonblocking of [false, true]) {
    using ends = pair();
    const { near, far } = ends;
    near.nonblocking = nonblocking;
    const buffer = new Uint8Array(8);
    let isOver = false;
    const reading = near.recv(buffer).then((size) => {
      isOver = true;
      return size;
    });
    await turns();
    assertEquals(isOver, false);
    far.sendSync(bytes(1, 2, 3));
    assertEquals(await reading, 3);
    assertEquals(buffer.slice(0, 4), bytes(1, 2, 3, 0));
    far.sendSync(bytes(4));
    assertEquals(await near.recv(buffer.subarray(6)), 1);
    assertEquals(buffer, bytes(1, 2, 3, 0, 0, 0, 4, 0));
    far.close();
    assertEquals(await near.recv(buffer), 0);
    // The socket is as it was.
    assertEquals(near.nonblocking, nonblocking);
  }
});

test("Socket#send() waits until there is room", async () => {
  using ends = pair();
  const { near, far } = ends;
  fill(near);
  let isOver = false;
  const sending = near.send(bytes(7)).then((size) => {
    isOver = true;
    return size;
  });
  await turns();
  assertEquals(isOver, false);
  const sink = new Uint8Array(1 << 20);
  while (!isOver) {
    // On a busy machine all may be read before the wait is over.
    outcome(() => far.recvSync(sink, { flags: abi.MSG_DONTWAIT }));
    await turns(1);
  }
  assertEquals(await sending, 1);
});

test("Socket#send() and recv() send and receive datagrams", async () => {
  using ends = datagrams();
  const { near, far } = ends;
  const buffer = new Uint8Array(8);
  const waiting = far.recvFrom(buffer);
  assertEquals(await near.send(bytes(1, 2), { to: far.localAddress }), 2);
  const [size, from] = await waiting;
  assertEquals([size, buffer[1]], [2, 2]);
  assert(from.equals(near.localAddress));
  near.connectSync(far.localAddress);
  assertEquals(await near.send(new Uint8Array(0)), 0);
  assertEquals(await far.recv(buffer), 0);
  await assertFails(far.send(bytes(1)), "EDESTADDRREQ");
});

test("Socket#recv() reports a refused datagram", async () => {
  let port;
  {
    using ends = datagrams();
    ({ port } = ends.near.localAddress as InetAddress);
  }
  // Others may have the port by now, but not there.
  const nobody = inet("127.77.0.1", port);
  using socket = Socket.open({ type: "dgram" });
  socket.connectSync(nobody);
  const waiting = socket.recv(new Uint8Array(1), { timeout: AGES });
  await socket.send(bytes(1));
  const error = await assertFails(waiting, "ECONNREFUSED");
  assertEquals(error.syscall, "recvfrom");
}, { skip: onLinux });

test("Socket#send() throws EPIPE, recv() ECONNRESET", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  const reading = socket.recv(new Uint8Array(1));
  listener.reset();
  await assertFails(reading, "ECONNRESET");
  const error = await assertFails(socket.send(bytes(1)), "EPIPE");
  assertEquals(error.syscall, "sendto");
}, { skip: onLinux });

test("Socket#recv() and send() throw ETIMEDOUT at their deadline", async () => {
  using ends = pair();
  const { near } = ends;
  fill(near);
  const rows = [
    [
      "recvfrom",
      "nothing came",
      () => near.recv(new Uint8Array(1), { timeout: 20 }),
    ],
    ["sendto", "no room", () => near.send(bytes(1), { timeout: 20 })],
  ] as const;
  for (const [syscall, words, call] of rows) {
    const start = performance.now();
    const error = await assertFails(call(), "ETIMEDOUT");
    assertGreaterOrEqual(performance.now() - start, 20);
    assertEquals([error.syscall, error.timeoutKind], [syscall, "deadline"]);
    assert(error.message.includes(`${words} within 20 ms`), error.message);
    assertGreaterOrEqual(error.elapsed!, 20);
  }
  // What is there is had in no time.
  ends.far.sendSync(bytes(1));
  near.poll("POLLIN");
  assertEquals(await near.recv(new Uint8Array(1), { timeout: 0 }), 1);
});

test("Socket#recv() and send() are called off by their signal", async () => {
  using ends = pair();
  const { near } = ends;
  fill(near);
  const calls = [
    (signal: AbortSignal) => near.recv(new Uint8Array(1), { signal }),
    (signal: AbortSignal) => near.recvFrom(new Uint8Array(1), { signal }),
    (signal: AbortSignal) => near.send(bytes(1), { signal }),
  ];
  for (const call of calls) {
    const controller = new AbortController();
    const reason = new Error("enough");
    const work = call(controller.signal);
    setTimeout(() => controller.abort(reason), 5);
    assertEquals(await assertRejects(() => work), reason);
    using watched = watchLibc();
    assertEquals(await assertRejects(() => call(controller.signal)), reason);
    assertEquals(watched.names, []);
  }
  // Nothing is lost by it.
  ends.far.sendSync(bytes(9));
  const buffer = new Uint8Array(1);
  assertEquals([await near.recv(buffer), buffer[0]], [1, 9]);
});

test("Socket#recv() and send() go on after signals of the system", async () => {
  let interrupts = 3;
  using _watched = watchLibc({
    recvfrom: (...args) =>
      interrupts-- > 0 ? -abi.errnos.EINTR! : system.recvfrom(...args),
    sendto: (...args) =>
      interrupts-- > 0 ? -abi.errnos.EINTR! : system.sendto(...args),
  });
  using ends = pair();
  assertEquals(await ends.near.send(bytes(1)), 1);
  interrupts = 3;
  assertEquals(await ends.far.recv(new Uint8Array(4)), 1);
});

test("Socket#send() does not spin where readiness is a lie", async () => {
  // A datagram socket without a peer is always ready, whatever it sends to.
  using folder = tempFolder();
  const to = unix(join(folder.path, "s"));
  using receiver = Socket.open({ family: "unix", type: "dgram" });
  receiver.bind(to);
  using sender = Socket.open({ family: "unix", type: "dgram" });
  let sent = 0;
  try {
    for (;;) {
      sender.sendSync(bytes(1), { to, flags: abi.MSG_DONTWAIT });
      sent++;
    }
  } catch (error) {
    assertInstanceOf(error, Errno.EAGAIN);
  }
  assertGreaterOrEqual(sent, 1);
  using watched = watchLibc();
  using other = Socket.open({ family: "unix", type: "dgram" });
  await assertFails(other.send(bytes(2), { to, timeout: 60 }), "ETIMEDOUT");
  assertLess(watched.count("sendto"), 40);
  const sending = other.send(bytes(2), { to, timeout: AGES });
  receiver.recvSync(new Uint8Array(1));
  assertEquals(await sending, 1);
}, { skip: onLinux });

test(
  "Socket#recv() does not spin on the kernel's queue of errors",
  async () => {
    using watched = watchLibc();
    using socket = Socket.open({ type: "dgram" });
    socket.setOption("readErrorQueue", true);
    using ends = datagrams();
    socket.bind(inet("127.0.0.1", 0));
    const nobody = ends.near.localAddress;
    ends.near.close();
    socket.sendSync(bytes(1), { to: nobody });
    const error = await assertRejects(
      () => socket.recv(new Uint8Array(1), { timeout: AGES }),
      ErrnoError,
    );
    assertEquals(error.code, "ECONNREFUSED");
    await assertFails(
      socket.recv(new Uint8Array(1), { timeout: 30 }),
      "ETIMEDOUT",
    );
    assertLess(watched.count("recvfrom"), 20);
  },
  { skip: onLinux },
);

test(
  "Socket#recv() does not spin on an empty queue of errors of what is over",
  async () => {
    using watched = watchLibc();
    const { MSG_ERRQUEUE } = abi.errorQueue!;
    using ends = pair();
    const { near, far } = ends;
    near.shutdown("write");
    far.shutdown("write");
    const [hungUp] = await near.ready("POLLIN").then(() =>
      near.poll("POLLIN").filter((event) => event === "POLLHUP")
    );
    assertEquals(hungUp, "POLLHUP");
    await assertFails(
      near.recv(new Uint8Array(1), { flags: MSG_ERRQUEUE, timeout: 60 }),
      "ETIMEDOUT",
    );
    assertLess(watched.count("recvfrom"), 40);
    const closed = assertFails(
      near.recv(new Uint8Array(1), { flags: MSG_ERRQUEUE, timeout: AGES }),
      "ECANCELED",
    );
    await turns(3);
    near.close();
    await closed;
  },
  { skip: onLinux },
);

test(
  "what is in a queue of its own is received past those that wait",
  async () => {
    using watched = watchLibc();
    using ends = pair();
    const { near, far } = ends;
    const { MSG_OOB, errorQueue } = abi;
    const waiting = near.recv(new Uint8Array(1), { timeout: AGES });
    const next = near.recvExactly(2, { timeout: AGES });
    for (const call of [waiting, next]) call.catch(() => {});
    await turns();
    far.sendSync(bytes(7), { flags: MSG_OOB });
    // TCP refuses where nothing is urgent, and does not wait.
    let urgent: Uint8Array | null = null;
    while (urgent === null) {
      const call = near.recvExactly(1, { flags: MSG_OOB, timeout: AGES });
      urgent = await call.catch((error) => {
        assertInstanceOf(error, Errno.EINVAL);
        return null;
      });
      await turns();
    }
    assertEquals(urgent, bytes(7));
    await assertFails(
      near.recv(new Uint8Array(1), { flags: MSG_OOB, timeout: AGES }),
      "EINVAL",
    );
    const before = watched.count("recvfrom");
    await assertFails(
      near.recv(new Uint8Array(1), {
        flags: errorQueue!.MSG_ERRQUEUE,
        timeout: 60,
      }),
      "ETIMEDOUT",
    );
    assertGreater(watched.count("recvfrom"), before);
    far.sendSync(bytes(1, 2, 3));
    assertEquals(await waiting, 1);
    assertEquals(await next, bytes(2, 3));
  },
  { skip: onLinux },
);

test(
  "one Unix socket that takes no more holds up no other, and its own order stays",
  async () => {
    using folder = tempFolder();
    const full = unix(join(folder.path, "full"));
    const empty = unix(join(folder.path, "empty"));
    using receiver = Socket.open({ family: "unix", type: "dgram" });
    receiver.bind(full);
    using other = Socket.open({ family: "unix", type: "dgram" });
    other.bind(empty);
    using sender = Socket.open({ family: "unix", type: "dgram" });
    let sent = 0;
    try {
      for (; sent < 250; sent++) {
        sender.sendSync(bytes(sent), { to: full, flags: abi.MSG_DONTWAIT });
      }
    } catch (error) {
      assertInstanceOf(error, Errno.EAGAIN);
    }
    const timeout = AGES;
    const waiting = [0, 1, 2, 3, 4].map((i) =>
      sender.send(bytes(sent + i), { to: full, timeout })
    );
    await turns();
    for (const value of [1, 2]) {
      const to = empty;
      assertEquals(await sender.send(bytes(value), { to, timeout }), 1);
    }
    const buffer = new Uint8Array(1);
    for (let i = 0; i < sent + waiting.length; i++) {
      await receiver.recv(buffer, { timeout });
      assertEquals(buffer[0], i);
      // Whoever comes now comes last.
      if (i === 0) {
        waiting.push(sender.send(bytes(sent + 5), { to: full, timeout }));
      }
    }
    await Promise.all(waiting);
    assertEquals(await sender.send(bytes(9), { to: full }), 1);
  },
  { skip: onLinux },
);

test("Socket#recv() lets others have a turn while data keep coming", async () => {
  using ends = pair();
  const { near, far } = ends;
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  try {
    const end = performance.now() + AGES;
    const buffer = new Uint8Array(1);
    while (ticks < 2) {
      assertLess(performance.now(), end, "no turn for others");
      await far.send(buffer);
      await near.recv(buffer);
    }
  } finally {
    clearInterval(timer);
  }
});

test("many that wait on one socket are all served", async () => {
  using ends = pair();
  const { near, far } = ends;
  const waiting = Array.from(
    { length: 10 },
    () => near.recv(new Uint8Array(1)),
  );
  for (let i = 0; i < 10; i++) {
    far.sendSync(bytes(i));
    await turns(1);
  }
  assertEquals(await Promise.all(waiting), new Array(10).fill(1));
});

test("Socket#send() asks for permission where nobody has before", async () => {
  using ends = pair();
  using packets = datagrams();
  const asked: string[] = [];
  function refuse(what: string): never {
    asked.push(what);
    throw new Error(`refused: ${what}`);
  }
  using _watched = watchLibc({
    permissions: {
      ...system.permissions,
      net: () => false,
      demandHost: (hostname) => refuse(hostname),
      demandAll: () => refuse("all"),
    },
  });
  // A descriptor that came from elsewhere may lead anywhere.
  using adopted = Socket.fromFd(ends.near.detach());
  using unconnected = Socket.fromFd(packets.near.detach());
  using own = Socket.open({ type: "dgram" });
  const rows: readonly (readonly [() => Promise<unknown>, string])[] = [
    [() => adopted.send(bytes(1)), "127.0.0.1"],
    [() => adopted.write(bytes(1)), "127.0.0.1"],
    [() => adopted.writable.getWriter().write(bytes(1)), "127.0.0.1"],
    [() => unconnected.send(bytes(1)), "all"],
    [() => own.send(bytes(1), { to: inet("127.0.0.3", 9) }), "127.0.0.3"],
  ];
  for (const [call, what] of rows) {
    await assertRejects(call, Error, `refused: ${what}`);
    assertEquals(asked.splice(0), [what]);
  }
  assertEquals(ends.far.poll("POLLIN", 0), []);
});

// The shape of Deno.Conn

test("Socket fits where a Deno.Conn is taken", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  async function greet(conn: Deno.Conn): Promise<string> {
    conn.unref();
    conn.ref();
    await conn.write(new TextEncoder().encode("hello"));
    await conn.closeWrite();
    const buffer = new Uint8Array(16);
    let text = "";
    for (;;) {
      const size = await conn.read(buffer);
      if (size === null) break;
      text += new TextDecoder().decode(buffer.subarray(0, size));
    }
    conn.close();
    return text;
  }
  const { port } = listener.addr;
  const greeting = greet(await connect({ port }));
  {
    using peer = await listener.accept();
    await peer.readable.pipeTo(peer.writable);
  }
  assertEquals(await greeting, "hello");
  const conn = await Deno.connect({ port });
  const serving = (async () => {
    using peer = await listener.accept();
    await peer.readable.pipeTo(peer.writable);
  })();
  assertEquals(await greet(conn), "hello");
  await serving;
}, { skip: on("deno") });

test("Socket#read() returns null at the end of a stream, and there alone", async () => {
  using ends = pair();
  const { near, far } = ends;
  far.sendSync(bytes(1));
  assertEquals(await near.read(new Uint8Array(0)), 0);
  assertEquals(await near.read(new Uint8Array(4)), 1);
  await far.closeWrite();
  assertEquals(await near.read(new Uint8Array(0)), 0);
  assertEquals(await near.read(new Uint8Array(4)), null);
  assertEquals(await near.read(new Uint8Array(4)), null);
  // The other direction is still there.
  assertEquals(await near.write(bytes(1, 2)), 2);
  assertEquals(await far.read(new Uint8Array(4)), 2);
  using packets = datagrams();
  packets.near.sendSync(new Uint8Array(0), { to: packets.far.localAddress });
  assertEquals(await packets.far.read(new Uint8Array(4)), 0);
});

test("Socket#closeWrite() throws ENOTCONN without a connection", async () => {
  using socket = Socket.open();
  const error = await assertFails(socket.closeWrite(), "ENOTCONN");
  assertEquals(error.syscall, "shutdown");
});

test("Socket#localAddr and remoteAddr are in Deno's words", () => {
  using folder = tempFolder();
  const rows: [PeerOptions<Address>, DenoAddr][] = [
    [{}, { transport: "tcp", hostname: "127.0.0.1", port: 0 }],
    [
      { at: unix(join(folder.path, "s")) },
      { transport: "unix", path: join(folder.path, "s") },
    ],
    [
      { at: unix(join(folder.path, "q")), type: "seqpacket" },
      { transport: "unixpacket", path: join(folder.path, "q") },
    ],
  ];
  if (canIpv6() === null) {
    rows.push([
      { at: inet6("::1", 0) },
      { transport: "tcp", hostname: "::1", port: 0 },
    ]);
  }
  if (abi.abstractUnix) {
    const name = `einprogress ${crypto.randomUUID()}`;
    rows.push([
      { at: abstractUnix(name) },
      { transport: "unix", path: `\0${name}` },
    ]);
  }
  for (const [options, expected] of rows) {
    using listener = listen(options);
    const { family } = listener.address;
    using socket = Socket.open({
      family: family as SocketFamily,
      type: options.type ?? "stream",
    });
    socket.connectSync(listener.address);
    using peer = listener.accept();
    const whole = "port" in listener.address
      ? { ...expected, port: listener.address.port }
      : expected;
    assertEquals(socket.remoteAddr, whole);
    assertEquals(peer.localAddr, whole);
    assertEquals(socket.localAddr.transport, expected.transport);
    if ("path" in expected) {
      assertEquals(socket.localAddr, { ...expected, path: "" });
    }
  }
  using packets = datagrams();
  const { near, far } = packets;
  near.connectSync(far.localAddress);
  assertEquals(near.remoteAddr.transport, "udp");
  assertEquals(near.remoteAddr, far.localAddr);
});

test("Socket#remoteAddr throws ENOTCONN where there is none", () => {
  using socket = Socket.open();
  const error = assertThrows(() => socket.remoteAddr, ErrnoError);
  assertEquals([error.code, error.syscall], ["ENOTCONN", "getpeername"]);
  assertEquals(socket.localAddr, {
    transport: "tcp",
    hostname: "0.0.0.0",
    port: 0,
  });
});

test("Socket#localAddr throws for a family that Deno has no words for", () => {
  const AF_NETLINK = 16;
  using socket = Socket.open({ family: AF_NETLINK, type: "raw" });
  assertEquals(socket.localAddress.family, "raw");
  assertThrows(() => socket.localAddr, NotSupportedError, "localAddr");
}, { skip: onLinux });

// Streams

test("Socket#readable and writable carry everything", async () => {
  using ends = pair();
  const { near, far } = ends;
  assertEquals(near.readable, near.readable);
  assertEquals(near.writable, near.writable);
  const SIZE = 5_000_000;
  const data = new Uint8Array(SIZE);
  for (let i = 0; i < SIZE; i++) data[i] = i * 31 + (i >> 8);
  const writing = (async () => {
    const writer = near.writable.getWriter();
    for (let at = 0; at < SIZE; at += 777_777) {
      await writer.write(data.subarray(at, at + 777_777));
    }
    await writer.close();
  })();
  const received = new Uint8Array(
    await new Response(far.readable).arrayBuffer(),
  );
  await writing;
  assertEquals(received.length, SIZE);
  assert(received.every((byte, i) => byte === data[i]));
  // Neither end has closed the socket.
  assertEquals([near.closed, far.closed], [false, false]);
  far.sendSync(bytes(1));
  assertEquals(await near.recv(new Uint8Array(1)), 1);
});

test("Socket#readable is a stream of bytes", async () => {
  using ends = pair();
  ends.far.sendSync(bytes(1, 2, 3));
  const reader = ends.near.readable.getReader({ mode: "byob" });
  const first = await reader.read(new Uint8Array(2));
  assertEquals(first.value, bytes(1, 2));
  const second = await reader.read(new Uint8Array(2));
  assertEquals(second.value, bytes(3));
  ends.far.shutdown("write");
  assertEquals((await reader.read(new Uint8Array(2))).done, true);
});

test("Socket#readable waits only while somebody reads", async () => {
  using ends = pair();
  const { near, far } = ends;
  const { readable } = near;
  far.sendSync(bytes(1));
  await turns();
  const buffer = new Uint8Array(4);
  assertEquals(near.recvSync(buffer), 1);
  const reader = readable.getReader();
  const pending = reader.read();
  await turns();
  await reader.cancel();
  assertEquals((await pending).done, true);
  far.sendSync(bytes(2));
  await turns();
  assertEquals([near.recvSync(buffer), buffer[0]], [1, 2]);
});

test("Socket's streams fail with the socket's errors", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  listener.reset();
  socket.poll("POLLIN");
  await assertFails(socket.readable.getReader().read(), "ECONNRESET");
  const writer = socket.writable.getWriter();
  await assertFails(writer.write(bytes(1)), "EPIPE");
  await assertFails(writer.closed, "EPIPE");
}, { skip: onLinux });

test("Socket#writable takes bytes alone, and ends a wait when it is aborted", async () => {
  using ends = pair();
  const { near } = ends;
  const writer = near.writable.getWriter();
  fill(near);
  const writing = writer.write(new Uint8Array(1 << 20));
  writing.catch(() => {});
  writer.closed.catch(() => {});
  await turns();
  const reason = new Error("enough");
  await writer.abort(reason);
  assertEquals(await assertRejects(() => writing), reason);
  assertEquals(near.closed, false);
  using others = pair();
  const other = others.near.writable.getWriter();
  other.closed.catch(() => {});
  await assertRejects(
    () => other.write("text" as unknown as Uint8Array),
    TypeError,
    "chunk",
  );
});

// ref and unref

test("Socket#unref() keeps a wait from keeping the process alive", async () => {
  for (const when of ["before", "meanwhile", "never"] as const) {
    const start = performance.now();
    const result = await inChild({}, async (api, when) => {
      const { listen, Socket } = api;
      using listener = listen();
      const socket = Socket.open();
      socket.connectSync(listener.address);
      const peer = listener.accept();
      if (when === "before") socket.unref();
      const work = socket.recv(new Uint8Array(1), {
        timeout: when === "never" ? 300 : 1e9,
      });
      work.catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 30));
      if (when === "meanwhile") socket.unref();
      peer.detach();
      Object.assign(globalThis, { keep: [socket, work] });
      return when;
    }, when);
    assertEquals(result, when);
    assertLess(performance.now() - start, AGES);
  }
});

for (const news of ["close", "abort", "ref"] as const) {
  test(`what waits unreferenced hears of ${news}() before the process ends`, async () => {
    using folder = tempFolder();
    const file = join(folder.path, "end");
    await inChild(
      {},
      async ({ listen, Socket }, news, file) => {
        const { writeFileSync } = await import("node:fs");
        const listener = listen();
        const socket = Socket.open();
        socket.connectSync(listener.address);
        const peer = listener.accept();
        socket.unref();
        const controller = new AbortController();
        const { signal } = controller;
        socket.recv(new Uint8Array(1), { signal, timeout: 200 }).catch(
          (error) => {
            writeFileSync(file, error.code === 20 ? error.name : error.code);
          },
        );
        // The next look comes much later, and keeps nothing alive.
        setTimeout(() => {
          if (news === "abort") controller.abort();
          else socket[news]();
          peer.detach();
          listener[Symbol.dispose]();
          Object.assign(globalThis, { keep: socket });
        }, 1);
        return null;
      },
      news,
      file,
    );
    const codes = { close: "ECANCELED", abort: "AbortError", ref: "ETIMEDOUT" };
    assertEquals(readFileSync(file, "utf8"), codes[news]);
  });
}

test(
  "an attempt to connect keeps the process alive, also after unref()",
  async () => {
    using folder = tempFolder();
    const file = join(folder.path, "end");
    await inChild({}, async ({ blackHole, Socket }, file) => {
      const { writeFileSync } = await import("node:fs");
      const hole = blackHole();
      const socket = Socket.open({ nonblocking: true });
      const connecting = socket.connect(hole.address, { timeout: 300 });
      socket.unref();
      connecting.catch(({ code }) => {
        writeFileSync(file, code);
        socket.close();
        hole[Symbol.dispose]();
      });
      return null;
    }, file);
    assertEquals(readFileSync(file, "utf8"), "ETIMEDOUT");
  },
  { skip: needs(canBlackHole()) },
);

test("Socket waits while it is unreferenced, and again afterwards", async () => {
  using ends = pair();
  // Somebody has to keep the process alive.
  const alive = setInterval(() => {}, 1000);
  const { near, far } = ends;
  const buffer = new Uint8Array(1);
  near.unref();
  const first = near.recv(buffer);
  await turns();
  far.sendSync(bytes(1));
  assertEquals(await first, 1);
  await assertFails(near.recv(buffer, { timeout: 15 }), "ETIMEDOUT");
  assertEquals(await near.ready("POLLIN", { timeout: 15 }), []);
  const controller = new AbortController();
  const aborted = near.recv(buffer, { signal: controller.signal });
  controller.abort();
  await assertRejects(() => aborted, DOMException);
  const second = near.recv(buffer);
  await turns();
  near.ref();
  far.sendSync(bytes(2));
  assertEquals([await second, buffer[0]], [1, 2]);
  // What waits when unref() comes goes on to wait.
  const third = near.ready("POLLIN");
  await turns();
  near.unref();
  await turns();
  far.sendSync(bytes(3));
  assertEquals(await third, ["POLLIN"]);
  assertEquals([await near.recv(buffer), buffer[0]], [1, 3]);
  const last = near.recv(buffer);
  await turns();
  near.close();
  await assertFails(last, "ECANCELED");
  near.ref();
  near.unref();
  clearInterval(alive);
});

// Garbage

test("a Socket that is collected open is reported once, and stays open", async () => {
  const seen = await inChild({}, async (api) => {
    const { Socket } = api;
    const { gc, process } = globalThis as unknown as {
      gc(): void;
      process: {
        on(
          name: "warning",
          listener: (warning: Error & { code?: string }) => void,
        ): void;
      };
    };
    const warnings: string[] = [];
    process.on("warning", ({ name, code, message }) => {
      if (name === "UnclosedSocketWarning") {
        warnings.push(`${code} ${message}`);
      }
    });
    const fds: number[] = [];
    (function lose() {
      fds.push(Socket.open().fd);
      Socket.open().close();
      fds.push(Socket.open().detach());
      using _disposed = Socket.open();
    })();
    for (let i = 0; i < 20; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    // Both are open still, or this would throw.
    for (const fd of fds) Socket.fromFd(fd).close();
    return { warnings, fds };
  });
  assertEquals(seen.warnings, [
    "EINPROGRESS_UNCLOSED A Socket was garbage-collected without being " +
    `closed: descriptor ${seen.fds[0]} stays open`,
  ]);
});

test("a Socket that somebody waits for is not collected", async () => {
  using listener = listen();
  const { gc } = globalThis as unknown as { gc?(): void };
  const socket = Socket.open();
  socket.connectSync(listener.address);
  using peer = listener.accept();
  const buffer = newMemory(4);
  const { fd } = socket;
  const waiting = Socket.fromFd(socket.detach()).recv(buffer);
  for (let i = 0; i < 5; i++) {
    gc?.();
    await turns();
  }
  peer.sendSync(bytes(5));
  assertEquals(await waiting, 1);
  system.close(fd);
}, { skip: needs(on("deno"), onLinux) });
