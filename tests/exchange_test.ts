import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import process from "node:process";
import { inspect } from "node:util";
import { currentAbi, libc, useLibc } from "../ffi/libc.ts";
import { isOfCall } from "../src/errors/errors.ts";
import {
  abstractUnix,
  connect,
  Errno,
  inet,
  Socket,
  UnexpectedEndError,
  unix,
} from "../mod.ts";
import {
  AGES,
  assertErrno,
  assertFails,
  refusal,
  SHORT,
  turns,
} from "./_assertions.ts";
import {
  blackHole,
  canBlackHole,
  fullPair,
  listen,
  pair,
  pairOf,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { needs, on, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const system = libc();
const decoder = new TextDecoder();

function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

test("Socket#sendSync() and send() send text in UTF-8", async () => {
  using ends = pair();
  const { near, far } = ends;
  assertEquals(near.sendSync("h\u00e9"), 3);
  assertEquals(await near.send("llo"), 3);
  assertEquals(
    textOf(await far.recvExactly(6, { timeout: AGES })),
    "h\u00e9llo",
  );
});

test("Socket#sendAll() sends more than there is room for", async () => {
  using ends = pair();
  const { near, far } = ends;
  const size = 20 << 20;
  const data = new Uint8Array(size).fill(7);
  const [, got] = await Promise.all([
    near.sendAll(data, { timeout: AGES }),
    far.recvExactly(size, { timeout: AGES }),
  ]);
  assertEquals(got.length, size);
  assert(got.every((byte) => byte === 7));
});

test("Socket#sendAll() has one deadline for all of it", async () => {
  using ends = pair();
  const { near, far } = ends;
  // Some of it goes at a time, so that no single call waits for long.
  const drain = setInterval(() => {
    try {
      far.recvSync(new Uint8Array(4096), { flags: abi.MSG_DONTWAIT });
    } catch (error) {
      assertInstanceOf(error, Errno.EAGAIN);
    }
  }, 5);
  try {
    const error = await assertFails(
      near.sendAll(new Uint8Array(64 << 20), { timeout: 150 }),
      "ETIMEDOUT",
    );
    assertEquals(error.timeoutKind, "deadline");
    assertEquals(error.address, `${near.remoteAddress}`);
  } finally {
    clearInterval(drain);
  }
});

/** How much a peer has sent that sends no more. */
async function countAll(far: Socket): Promise<number> {
  const buffer = new Uint8Array(1 << 20);
  let count = 0;
  for (;;) {
    const size = await far.recv(buffer, { timeout: AGES });
    if (size === 0) return count;
    count += size;
  }
}

test("Socket#sendAll() reports how much went before it failed", async () => {
  using ends = pair();
  const { near, far } = ends;
  const error = await assertFails(
    near.sendAll(new Uint8Array(64 << 20), { timeout: 50 }),
    "ETIMEDOUT",
  );
  assert(isOfCall(error));
  near.shutdown("write");
  assertEquals(await countAll(far), error.bytesSent);
  const late = await assertFails(near.sendAll("x"), "EPIPE");
  assertEquals(late.bytesSent, 0);
  assertEquals(late.toJSON().bytesSent, 0);
});

test("Socket#sendAll() names memory that was taken away, and what went", async () => {
  using ends = pair();
  const { near, far } = ends;
  const data = new Uint8Array(64 << 20);
  const sent = assertRejects(
    () => near.sendAll(data, { timeout: AGES }),
    TypeError,
    "Cannot use data of",
  );
  structuredClone(data.buffer, { transfer: [data.buffer] });
  const buffer = new Uint8Array(1 << 20);
  // Room for more, which is looked for in what is left.
  let count = await far.recv(buffer, { timeout: AGES });
  let error: TypeError & { bytesSent?: number } | null = null;
  sent.then((caught) => error = caught);
  while (error === null) {
    await turns(2);
    try {
      count += far.recvSync(buffer, { flags: abi.MSG_DONTWAIT });
    } catch (caught) {
      assertInstanceOf(caught, Errno.EAGAIN);
    }
  }
  near.shutdown("write");
  count += await countAll(far);
  assertEquals((error as { bytesSent?: number }).bytesSent, count);
});

test("an exchange that is late names all its time, and not what was left", async () => {
  using full = fullPair();
  const limits = { timeout: SHORT };
  const sending = assertFails(
    full.near.sendAll(new Uint8Array(4), limits),
    "ETIMEDOUT",
  );
  const late = await sending;
  assertStringIncludes(late.message, `not all was sent within ${SHORT} ms`);
  assertEquals((late as { bytesSent?: number }).bytesSent, 0);
  using ends = pair();
  const { near, far } = ends;
  const rows = [
    ["not all came", () => near.recvExactly(9, limits)],
    ["not all came", () => near.recvUntil("\n", limits)],
    ["not all was sent", () => near.sendAll(new Uint8Array(5e7), limits)],
  ] as const;
  for (const [words, call] of rows) {
    // From the beginning, for a busy machine may be late with the timer.
    const failing = assertFails(call(), "ETIMEDOUT");
    await new Promise((resolve) => setTimeout(resolve, SHORT / 4));
    far.sendSync("part");
    const { message, elapsed } = await failing;
    assertStringIncludes(message, `${words} within ${SHORT} ms`);
    assert(elapsed! >= SHORT, `${elapsed}`);
  }
});

test("who waits first receives first", async () => {
  using ends = pair();
  const { near, far } = ends;
  const buffers = Array.from({ length: 5 }, () => new Uint8Array(1));
  const all = buffers.map((buffer) => near.recv(buffer));
  await turns();
  far.sendSync("abcde");
  await Promise.all(all);
  const text = buffers.map((buffer) => new TextDecoder().decode(buffer));
  assertEquals(text.join(""), "abcde");
});

test("who waits first receives first, and alone, however little comes at a time", async () => {
  using watched = watchLibc();
  using ends = pair();
  const { near, far } = ends;
  const received: number[] = [];
  const waits: Promise<void>[] = [];
  async function receive(order: number): Promise<void> {
    await near.recv(new Uint8Array(1));
    received.push(order);
  }
  for (let i = 0; i < 4; i++) waits.push(receive(i));
  for (let i = 0; i < 12; i++) {
    await turns();
    far.sendSync("x");
    await waits[i];
    waits.push(receive(i + 4));
  }
  assertEquals(received, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  // Once to see that it has to wait, and once for what has come.
  assert(watched.count("recvfrom") <= 16 + 12 + 4);
  near.close();
  await Promise.allSettled(waits);
});

test("who calls in the turn that brings the bytes comes after who waits", async () => {
  const calls: readonly ((near: Socket) => Promise<string>)[] = [
    (near) => near.recvExactly(2).then(textOf),
    (near) => near.recvUntil("d").then(textOf),
    (near) => received((buffer) => near.recv(buffer)),
    (near) => received(async (buffer) => (await near.recvFrom(buffer))[0]),
    (near) => received(async (buffer) => (await near.read(buffer))!),
    (near) => near.recvUntil("h").then(textOf),
    (near) => near.recvExactly(2).then(textOf),
  ];
  for (const waitsLong of [false, true]) {
    using ends = pair();
    const { near, far } = ends;
    const first = calls[0]!(near);
    if (waitsLong) await turns();
    far.sendSync("abcdefghij");
    // The kernel has it, and the one that waits has not been told.
    near.poll("POLLIN", AGES);
    const all = [first, ...calls.slice(1).map((call) => call(near))];
    const found = await Promise.all(all);
    assertEquals(found, ["ab", "cd", "e", "f", "g", "h", "ij"]);
  }
});

/** What a call receives into one byte. */
async function received(
  call: (buffer: Uint8Array) => Promise<number>,
): Promise<string> {
  const buffer = new Uint8Array(1);
  await call(buffer);
  return textOf(buffer);
}

test("messages that are received at once keep together", async () => {
  using ends = pair();
  const { near, far } = ends;
  const messages = Promise.all([
    near.recvExactly(4),
    near.recvUntil("\n"),
    near.recvExactly(4),
    near.recvUntil("\n"),
  ]);
  for (const part of ["ab", "cde", "fg\nh", "ijkl", "m", "n\n"]) {
    far.sendSync(part);
    await turns();
  }
  assertEquals((await messages).map(textOf), [
    "abcd",
    "efg\n",
    "hijk",
    "lmn\n",
  ]);
});

test("messages that are sent at once keep together", async () => {
  using ends = pair();
  const { near, far } = ends;
  const size = 4 << 20;
  const writer = near.writable.getWriter();
  // A stream writes nothing before it has started.
  await turns();
  const sent = Promise.all([
    near.sendAll(new Uint8Array(size).fill(1)),
    writer.write(new Uint8Array(size).fill(2)),
    near.sendAll(new Uint8Array(size).fill(3)),
    near.sendAll(new Uint8Array([4])),
  ]);
  const all = await far.recvExactly(3 * size + 1);
  await sent;
  // Each begins where the one before has ended.
  for (const [i, value] of [1, 2, 3, 4].entries()) {
    assertEquals(all.indexOf(value), i * size);
    assertEquals(
      all.lastIndexOf(value),
      Math.min((i + 1) * size, all.length) - 1,
    );
  }
});

test("one that leaves the line holds nobody up, and changes no order", async () => {
  using ends = pair();
  const { near, far } = ends;
  const stop = new AbortController();
  const reason = new Error("enough");
  const ended: string[] = [];
  function note(name: string, call: Promise<unknown>): Promise<unknown> {
    return call.then(() => ended.push(name), (error) => {
      ended.push(name);
      return error;
    });
  }
  const byte = () => new Uint8Array(1);
  const { signal } = stop;
  const first = note("first", near.recv(byte()));
  const aborted = note("aborted", near.recv(byte(), { signal }));
  const second = note("second", near.recvExactly(1));
  const late = note("late", near.recv(byte(), { timeout: SHORT }));
  const lateUntil = note("late", near.recvUntil("x", { timeout: SHORT }));
  const none = note("none", near.recv(byte(), { timeout: 0 }));
  const third = note("third", near.recv(byte()));
  stop.abort(reason);
  assertEquals(await aborted, reason);
  const error = await late;
  assertErrno(error, "ETIMEDOUT");
  assertStringIncludes(error.message, `nothing came within ${SHORT} ms`);
  assert(error.elapsed! >= SHORT);
  const words = `${await lateUntil}`;
  assertStringIncludes(words, `not all came within ${SHORT} ms`);
  assertErrno(await none, "ETIMEDOUT");
  // Deadlines that are over by the same turn end in any order.
  assertEquals(ended.toSorted(), ["aborted", "late", "late", "none"]);
  assertEquals(ended[0], "aborted");
  far.sendSync("abc");
  await Promise.all([first, second, third]);
  assertEquals(ended.slice(4), ["first", "second", "third"]);
});

test("a long line stays in order, whoever leaves it", async () => {
  using ends = pair();
  const { near, far } = ends;
  const stops = [new AbortController(), new AbortController()];
  const ended: number[] = [];
  const stayed: number[] = [];
  const calls = Array.from({ length: 1000 }, async (_, i) => {
    // The first and the last ones, those in between, and some next to each other.
    const leaves = i % 7 === 0 || i % 7 === 3 || i > 990;
    const signal = stops[i % 2]!.signal;
    if (!leaves) stayed.push(i);
    const call = near.recv(new Uint8Array(1), leaves ? { signal } : {});
    await call.then(() => ended.push(i), () => assert(leaves));
  });
  await turns();
  stops[1]!.abort();
  stops[0]!.abort();
  await turns();
  const late = near.recvExactly(1);
  far.sendSync(new Uint8Array(stayed.length + 1));
  await Promise.all(calls);
  await late;
  assertEquals(ended, stayed);
});

test("all that stand in line are called off when the socket is closed", async () => {
  for (const end of ["close", "detach"] as const) {
    using ends = pair();
    const { near } = ends;
    const ended: number[] = [];
    const calls = [
      () => near.recv(new Uint8Array(1)),
      () => near.recvExactly(3),
      () => near.recvUntil("x", { timeout: AGES }),
      () => near.recv(new Uint8Array(1), { timeout: AGES }),
      () => near.read(new Uint8Array(1)),
    ].map(async (call, i) => {
      assertErrno(await refusal(call()), "ECANCELED");
      ended.push(i);
    });
    await turns();
    const fd = near[end]();
    if (fd !== undefined) system.close(fd);
    await Promise.all(calls);
    assertEquals(ended, [0, 1, 2, 3, 4]);
  }
});

test("a stream that is canceled leaves the line", async () => {
  using ends = pair();
  const { near, far } = ends;
  const buffer = new Uint8Array(1);
  const waiting = near.recv(buffer);
  const reader = near.readable.getReader();
  const reading = reader.read();
  const after = near.recvExactly(1);
  await turns();
  await reader.cancel();
  assertEquals((await reading).done, true);
  far.sendSync("ab");
  assertEquals(await waiting, 1);
  assertEquals(textOf(await after), "b");
});

test("who accepts first accepts first", async () => {
  using listener = Socket.open();
  listener.bind(inet("127.0.0.1", 0));
  listener.listen();
  const stop = new AbortController();
  const accepted: number[] = [];
  const accept = async (order: number) => {
    using _ = await listener.accept();
    accepted.push(order);
  };
  const waits = [accept(0)];
  const aborted = listener.accept({ signal: stop.signal });
  const late = listener.accept({ timeout: SHORT });
  waits.push(accept(1));
  stop.abort("enough");
  assertEquals(await aborted.catch((error) => error), "enough");
  const error = await assertFails(late, "ETIMEDOUT");
  assertStringIncludes(error.message, "nobody connected");
  using one = Socket.open();
  using other = Socket.open();
  one.connectSync(listener.localAddress);
  listener.poll("POLLIN", AGES);
  // The connection is there, and the one that waits has not been told.
  waits.push(accept(2));
  other.connectSync(listener.localAddress);
  using last = Socket.open();
  last.connectSync(listener.localAddress);
  await Promise.all(waits);
  assertEquals(accepted, [0, 1, 2]);
});

test("who is next to accept does not fail before anybody connects", async () => {
  let isFull = false;
  const shortage = (take: () => number) => {
    if (isFull) return -abi.errnos.EMFILE!;
    const taken = take();
    isFull = taken >= 0;
    return taken;
  };
  using _watched = watchLibc({
    accept: (fd) => shortage(() => system.accept(fd)),
    accept4: (fd, flags) => shortage(() => system.accept4(fd, flags)),
  });
  using listener = Socket.open();
  listener.bind(inet("127.0.0.1", 0));
  listener.listen();
  const first = listener.accept();
  const second = listener.accept();
  second.catch(() => {});
  using one = Socket.open();
  one.connectSync(listener.localAddress);
  (await first).close();
  await turns();
  isFull = false;
  using other = Socket.open();
  other.connectSync(listener.localAddress);
  (await second).close();
});

test("two that call again and again leave turns to all else", async () => {
  using ends = pair();
  const { near, far } = ends;
  far.sendSync("x");
  near.poll("POLLIN", AGES);
  let isOver = false;
  setTimeout(() => isOver = true, 20);
  const flags = abi.MSG_PEEK;
  async function loop(): Promise<void> {
    // Without a turn for the timer, it would never end.
    for (let i = 0; i < 5e6 && !isOver; i++) {
      await near.recv(new Uint8Array(1), { flags });
    }
  }
  await Promise.all([loop(), loop(), loop()]);
  assert(isOver);
});

test("memory that is taken away from one that stands in line is its own fault", async () => {
  using ends = pair();
  const { near, far } = ends;
  const first = near.recv(new Uint8Array(1));
  const taken = new Uint8Array(8);
  const second = near.recv(taken);
  const third = near.recvExactly(1);
  structuredClone(taken, { transfer: [taken.buffer] });
  far.sendSync("ab");
  assertEquals(await first, 1);
  await assertRejects(() => second, TypeError, "taken away");
  assertEquals(textOf(await third), "b");
});

test("an error names no peer where that has no address", async () => {
  const [near, far] = Socket.pair();
  using _near = near, _far = far;
  const error = await assertFails(
    near.recv(new Uint8Array(1), { timeout: 1 }),
    "ETIMEDOUT",
  );
  assertEquals(error.address, undefined);
  assert(error.message.startsWith("Cannot receive: nothing came"));
});

test("Socket#sendAll() leaves the reason of an abort as it is", async () => {
  using ends = pair();
  const { near } = ends;
  const stop = new AbortController();
  const reason = new Error("enough");
  const sent = assertRejects(() =>
    near.sendAll(new Uint8Array(64 << 20), { signal: stop.signal })
  );
  await turns(2);
  stop.abort(reason);
  assertEquals(await sent, reason);
  assert(!Object.hasOwn(reason, "bytesSent"));
});

test("Socket#readable ends its wait when it is canceled, and leaves others", async () => {
  using ends = pair();
  const { near, far } = ends;
  const reader = near.readable.getReader();
  const read = reader.read();
  await turns();
  const other = near.recv(new Uint8Array(8), { timeout: AGES });
  await turns();
  await reader.cancel();
  assertEquals((await read).done, true);
  await turns();
  far.sendSync("late");
  assertEquals(await other, 4);
});

test(
  "a connect goes on when a stream of its socket is canceled, and after unref()",
  async () => {
    using hole = blackHole();
    using socket = Socket.open({ nonblocking: true });
    const connecting = refusal(socket.connect(hole.address, { timeout: 200 }));
    const reader = socket.readable.getReader();
    const read = reader.read();
    await turns();
    await reader.cancel();
    assertEquals((await read).done, true);
    socket.unref();
    assertErrno(await connecting, "ETIMEDOUT");
  },
  { skip: needs(canBlackHole()) },
);

test("Socket#recvExactly() waits for all, and for no more", async () => {
  using ends = pair();
  const { near, far } = ends;
  const work = near.recvExactly(6, { timeout: AGES });
  far.sendSync("abc");
  await turns();
  far.sendSync("defgh");
  assertEquals(textOf(await work), "abcdef");
  assertEquals(textOf(await near.recvExactly(2)), "gh");
  assertEquals((await near.recvExactly(0)).length, 0);
  await assertRejects(() => near.recvExactly(-1), RangeError, "size -1");
  await assertFails(near.recvExactly(1, { timeout: 20 }), "ETIMEDOUT");
});

test("Socket#recvExactly() and recvUntil() report an end that comes too early", async () => {
  for (
    const receive of [
      (socket: Socket) => socket.recvExactly(5, { timeout: AGES }),
      (socket: Socket) => socket.recvUntil("\n", { timeout: AGES }),
    ]
  ) {
    using ends = pair();
    ends.far.sendSync("abc");
    ends.far.close();
    const error = await assertRejects(
      () => receive(ends.near),
      UnexpectedEndError,
      "after 3 bytes",
    );
    assertEquals(textOf(error.received), "abc");
    assertEquals(error.name, "UnexpectedEndError");
  }
});

for (const type of ["dgram", "seqpacket"] as const) {
  test(
    `Socket#recvExactly() and recvUntil() leave the messages of a ${type} socket whole`,
    async () => {
      using ends = pairOf(...Socket.pair({ type }));
      const { near, far } = ends;
      far.sendSync("a\nb");
      await assertRejects(
        () => near.recvExactly(1),
        TypeError,
        "takes streams",
      );
      await assertRejects(
        () => near.recvUntil("\n"),
        TypeError,
        "takes streams",
      );
      assertEquals(await near.recv(new Uint8Array(4)), 3);
    },
    { skip: onLinux },
  );
}

test("Socket#recv() says by MSG_TRUNC how long a message was", async () => {
  using ends = pairOf(...Socket.pair({ type: "dgram" }));
  const { near, far } = ends;
  const MSG_TRUNC = 0x20; // <bits/socket.h>
  for (const flags of [0, MSG_TRUNC]) {
    far.sendSync("abc");
    const size = await near.recv(new Uint8Array(2), { flags, timeout: AGES });
    assertEquals(size, flags === 0 ? 2 : 3);
  }
}, { skip: onLinux });

test("Socket#recvExactly() takes no memory for what does not come", async () => {
  using ends = pair();
  ends.far.sendSync("abc");
  const before = process.memoryUsage().rss;
  await assertFails(
    ends.near.recvExactly(2 ** 31 - 1, { timeout: 20 }),
    "ETIMEDOUT",
  );
  assert(process.memoryUsage().rss - before < 1 << 28);
});

test("errors of receiving name the peer", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  listener.reset();
  await socket.ready("POLLIN", { timeout: AGES });
  const error = assertFails(
    () => socket.recvSync(new Uint8Array(1)),
    "ECONNRESET",
  );
  assertEquals(error.address, `${listener.address}`);
  assertStringIncludes(error.message, `${listener.address}`);
  // The kernel has forgotten the peer of this one, and so has everybody else.
  using adopted = Socket.fromFd(socket.detach());
  await assertFails(adopted.send("x"), "EPIPE");
});

test("Socket#recvExactly() and recvUntil() refuse to look at the same bytes again", async () => {
  using ends = pair();
  const { near, far } = ends;
  far.sendSync("abcd");
  const options = { flags: abi.MSG_PEEK, timeout: AGES };
  for (
    const call of [
      () => near.recvExactly(8, options),
      () => near.recvUntil("d", options),
    ]
  ) await assertRejects(call, RangeError, "MSG_PEEK");
  assertEquals(textOf(await near.recvExactly(4, { timeout: AGES })), "abcd");
});

test("Socket#recvUntil() takes a line and leaves the next", async () => {
  using ends = pair();
  const { near, far } = ends;
  far.sendSync("one\r\ntwo\r\nthr");
  assertEquals(textOf(await near.recvUntil("\r\n")), "one\r\n");
  assertEquals(textOf(await near.recvUntil("\r\n")), "two\r\n");
  const third = near.recvUntil("\r\n", { timeout: AGES });
  // The delimiter itself comes in two parts.
  for (const part of ["ee\r", "\r", "\nfour"]) {
    far.sendSync(part);
    await turns();
  }
  assertEquals(textOf(await third), "three\r\r\n");
  assertEquals(textOf(await near.recvExactly(4)), "four");
});

test("Socket#recvUntil() finds a delimiter far away, and none past its limit", async () => {
  using ends = pair();
  const { near, far } = ends;
  const long = "x".repeat(50_000);
  await far.sendAll(`${long}--end--rest`);
  const bytes = new TextEncoder().encode("--end--");
  assertEquals(textOf(await near.recvUntil(bytes)), `${long}--end--`);
  const error = await assertFails(
    near.recvUntil("\n", { limit: 4 }),
    "EMSGSIZE",
  );
  assertStringIncludes(error.message, "no delimiter within 4 bytes");
  await assertRejects(() => near.recvUntil(""), RangeError, "delimiter");
});

test("Socket#recvUntil() is not misled by a part of the delimiter", async () => {
  using ends = pair();
  const { near, far } = ends;
  const text = "aaab-aab-aaaab";
  far.sendSync(text);
  assertEquals(textOf(await near.recvUntil("aaaab")), text);
});

test("Socket.pair() makes two ends", async () => {
  for (const type of ["stream", "dgram", "seqpacket"] as const) {
    const [one, other] = Socket.pair({ type, nonblocking: true });
    using _ = one;
    using __ = other;
    assert(one.nonblocking && other.nonblocking);
    assertEquals(one.getOption("type"), type);
    one.sendSync("ping");
    assertEquals(await other.recv(new Uint8Array(8)), 4);
    assertEquals(one.localAddress.family, "unix");
  }
  assertThrows(
    () => Socket.pair({ type: "stream", family: "unix" } as object),
    TypeError,
    "family",
  );
}, { skip: onLinux });

test(
  "Socket#listen() and accept() take what comes, and acceptSync() too",
  async () => {
    using folder = tempFolder();
    const places = [
      ["inet", "stream", inet("127.0.0.1", 0)],
      ["unix", "stream", unix(`${folder.path}/s`)],
      ["unix", "seqpacket", unix(`${folder.path}/p`)],
      ["unix", "seqpacket", abstractUnix(`accept-${crypto.randomUUID()}`)],
    ] as const;
    for (const [family, type, at] of places) {
      using listener = Socket.open({ family, type });
      listener.bind(at);
      listener.listen();
      assert(listener.getOption("acceptsConnections"));
      const { localAddress } = listener;
      const accepting = listener.accept({ timeout: AGES });
      using near = Socket.open({ family, type });
      near.connectSync(localAddress);
      using far = await accepting;
      assert(!far.nonblocking);
      near.sendSync("packet");
      assertEquals(far.recvSync(new Uint8Array(16)), 6);

      using next = Socket.open({ family, type });
      next.connectSync(localAddress);
      using other = listener.acceptSync({ timeout: AGES });
      next.sendSync("x");
      assertEquals(other.recvSync(new Uint8Array(16)), 1);
      assertEquals(`${other.localAddress}`, `${localAddress}`);
    }
  },
  { skip: onLinux },
);

test(
  "Socket#accept() ends at its deadline, by its signal and by close()",
  async () => {
    using listener = Socket.open();
    listener.bind(inet("127.0.0.1", 0));
    listener.listen(1);
    const error = await assertFails(
      listener.accept({ timeout: 20 }),
      "ETIMEDOUT",
    );
    assertEquals([error.syscall, error.timeoutKind], ["accept", "deadline"]);
    assertFails(() => listener.acceptSync({ timeout: 20 }), "ETIMEDOUT");
    assertFails(() => listener.acceptSync({ timeout: 0 }), "ETIMEDOUT");
    const controller = new AbortController();
    const reason = new Error("enough");
    const { signal } = controller;
    const called = assertRejects(() => listener.accept({ signal }));
    await turns();
    controller.abort(reason);
    await called;
    await assertRejects(
      () => listener.accept({ signal: AbortSignal.abort(reason) }),
      Error,
      "enough",
    );
    const waiting = assertFails(listener.accept(), "ECANCELED");
    await turns();
    listener.close();
    assertEquals((await waiting).syscall, "accept");
    using bare = Socket.open();
    assertFails(() => bare.acceptSync({ timeout: 0 }), "EINVAL");
    await assertFails(bare.accept({ timeout: AGES }), "EINVAL");
  },
  { skip: onLinux },
);

test(
  "accept() and Socket.pair() set close-on-exec where the calls take no flags",
  async () => {
    const c = libc();
    const flags: number[] = [];
    using _plain = useLibc({
      ...c,
      abi: { ...c.abi, SOCK_CLOEXEC: null, SOCK_NONBLOCK: null },
      accept4() {
        throw new Error("it is not there");
      },
    });
    function note(socket: Socket): void {
      flags.push(c.fcntl(socket.fd, c.abi.F_GETFD, 0) & c.abi.FD_CLOEXEC);
    }
    using listener = Socket.open({ nonblocking: true });
    note(listener);
    listener.bind(inet("127.0.0.1", 0));
    listener.listen();
    using near = Socket.open();
    near.connectSync(listener.localAddress);
    using far = listener.acceptSync({ timeout: AGES });
    note(far);
    using next = Socket.open();
    next.connectSync(listener.localAddress);
    using other = await listener.accept({ timeout: AGES });
    note(other);
    const pair = Socket.pair({ nonblocking: true });
    for (const end of pair) {
      note(end);
      assert(end.nonblocking);
      end.close();
    }
    assertEquals(flags, new Array(5).fill(c.abi.FD_CLOEXEC));
  },
  { skip: onLinux },
);

test("what fails while connections are taken loses none", async () => {
  using listener = Socket.open();
  listener.bind(inet("127.0.0.1", 0));
  listener.listen();
  using near = Socket.open();
  near.connectSync(listener.localAddress);
  for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "EPERM"] as const) {
    using _watched = watchLibc({ accept4: () => -abi.errnos[code]! });
    using other = Socket.open();
    other.bind(inet("127.0.0.1", 0));
    other.listen();
    const error = assertFails(() => other.acceptSync({ timeout: AGES }), code);
    assertEquals(error.localAddress, `${other.localAddress}`);
    await assertFails(other.accept({ timeout: AGES }), code);
  }
  let calls = 0;
  using _watched = watchLibc({
    accept4: (fd, flags) =>
      ++calls === 1
        ? -abi.errnos.EINTR
        : calls === 2
        ? -abi.errnos.ECONNABORTED
        : system.accept4(fd, flags),
  });
  using again = Socket.open();
  again.bind(inet("127.0.0.1", 0));
  again.listen();
  using last = Socket.open();
  last.connectSync(again.localAddress);
  again.acceptSync({ timeout: AGES }).close();
  assertEquals(calls, 3);
}, { skip: onLinux });

test("options that nothing understands are refused, with the key that is near", async () => {
  using ends = pair();
  const { near } = ends;
  const bytes = new Uint8Array(1);
  const calls: readonly (readonly [() => unknown, string])[] = [
    [() => near.sendSync(bytes, { flag: 1 } as object), "did you mean flags"],
    [() => near.send(bytes, { tiemout: 1 } as object), "did you mean timeout"],
    [() => near.recvSync(bytes, { timeout: 1 } as object), "flags"],
    [() => near.recv(bytes, { abortSignal: 1 } as object), "mean signal"],
    [() => near.recvFrom(bytes, { x: 1 } as object), "the options are"],
    [() => near.ready("POLLIN", { Timeout: 1 } as object), "mean timeout"],
    [() => near.sendAll(bytes, { to: 1 } as object), "the options are"],
    [() => near.recvUntil("x", { limt: 1 } as object), "did you mean limit"],
    [() => near.recvExactly(1, { timeuot: 1 } as object), "mean timeout"],
    [() => near.accept({ timeout: 1, flags: 1 } as object), "flags"],
    [() => Socket.open({ famly: "inet" } as object), "did you mean family"],
    [() => Socket.open({ nonblocking: 1 } as object), "nonblocking"],
  ];
  for (const [call, text] of calls) {
    await assertRejects(async () => await call(), TypeError, text, `${call}`);
  }
  // What is not given is not there, whatever all objects inherit.
  Object.defineProperty(Object.prototype, "flags", {
    value: -1,
    configurable: true,
  });
  try {
    assertEquals(near.sendSync(bytes, {}), 1);
    assertEquals(await near.send(bytes, { timeout: undefined }), 1);
  } finally {
    delete (Object.prototype as { flags?: number }).flags;
  }
  Object.defineProperty(Object.prototype, "isOver", {
    value: true,
    configurable: true,
  });
  try {
    const { far } = ends;
    assertEquals((await far.recvExactly(2)).length, 2);
    const later = far.recvExactly(1, { timeout: AGES });
    await turns();
    near.sendSync(bytes);
    assertEquals((await later).length, 1);
  } finally {
    delete (Object.prototype as { isOver?: boolean }).isOver;
  }
});

test("a Socket shows what it is", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  const printed = inspect(socket);
  assertStringIncludes(printed, "Socket {");
  assertStringIncludes(printed, `fd: ${socket.fd}`);
  assertStringIncludes(printed, `remote: `);
  assertStringIncludes(printed, `${listener.address}`);
  assertStringIncludes(inspect({ socket }), `${socket.localAddress}`);
  socket.close();
  assertStringIncludes(inspect(socket), "fd: -1");
  // What inherits from one is none, and is shown all the same.
  inspect(Socket.prototype);
  assertStringIncludes(inspect([Object.create(socket)]), "Socket");
});

test("a Socket shows what it is to Deno, too", () => {
  using socket = Socket.open();
  assertEquals(
    Deno.inspect(socket, { breakLength: Infinity }),
    `Socket { fd: ${socket.fd}, family: "inet", type: "stream", ` +
      `local: "0.0.0.0:0", remote: null }`,
  );
}, { skip: on("deno") });

test("Socket closes at the end of an await using", async () => {
  let socket;
  {
    await using own = Socket.open();
    socket = own;
  }
  assert(socket.closed);
});
