import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  type Address,
  connect,
  type ConnectOptions,
  connectSync,
  ErrnoError,
  explain,
  inet,
  rawAddress,
  Socket,
} from "../mod.ts";
import { heedAbort, ignoreAbort } from "../src/errors/arguments.ts";
import { ping, probe, waitFor } from "../src/tools.ts";
import { AGES, outcome, refusal, turns } from "./_assertions.ts";
import {
  blackHole,
  canBlackHole,
  fullPair,
  inChild,
  listen,
  pair,
  threadTime,
  watchLibc,
} from "./_fixtures.ts";
import { test } from "./_harness.ts";

// What every method does after close() is in socket_test.ts, which knows all
// of them. Each test here runs inside the count of descriptors.

/** Everything that can be pending on a connected socket without room. */
const PENDING: Readonly<Record<string, (socket: Socket) => Promise<unknown>>> =
  {
    recv: (socket) => socket.recv(new Uint8Array(4)),
    recvFrom: (socket) => socket.recvFrom(new Uint8Array(4)),
    read: (socket) => socket.read(new Uint8Array(4)),
    ready: (socket) => socket.ready("POLLIN"),
    "ready, to write": (socket) => socket.ready("POLLOUT"),
    send: (socket) => socket.send(new Uint8Array(4)),
    write: (socket) => socket.write(new Uint8Array(4)),
    readable: (socket) => socket.readable.getReader().read(),
    writable: (socket) => socket.writable.getWriter().write(new Uint8Array(4)),
  };

/** Ways to give a socket up. */
const ENDS: Readonly<Record<string, (socket: Socket) => void>> = {
  "close()": (socket) => socket.close(),
  "detach()": (socket) => Socket.fromFd(socket.detach()).close(),
  "a disposal": (socket) => socket[Symbol.dispose](),
};

for (const [end, give] of Object.entries(ENDS)) {
  test(`${end} ends every pending operation by ECANCELED`, async () => {
    for (const [name, begin] of Object.entries(PENDING)) {
      using ends = fullPair();
      const { near } = ends;
      const work = assertRejects(() => begin(near), ErrnoError);
      await turns();
      give(near);
      const error = await work;
      assertEquals(error.code, "ECANCELED", name);
      assertEquals(near.closed, true);
      near.close();
    }
  });

  test(`${end} ends what has not even begun to wait`, async () => {
    for (const [name, begin] of Object.entries(PENDING)) {
      using ends = fullPair();
      const { near } = ends;
      const work = assertRejects(() => begin(near), ErrnoError);
      give(near);
      const error = await work;
      assert(["ECANCELED", "EBADF"].includes(error.code), `${name}: ${error}`);
    }
  });

  test(`${end} ends an attempt to connect`, async () => {
    using hole = blackHole();
    const socket = Socket.open();
    const work = assertRejects(() => socket.connect(hole.address), ErrnoError);
    await turns();
    give(socket);
    assertEquals((await work).code, "ECANCELED");
  }, { skip: canBlackHole() });
}

test("close() ends many that wait at once, and each may close again", async () => {
  using ends = fullPair();
  const { near } = ends;
  let count = 0;
  const works = Object.values(PENDING).slice(0, 7).map((begin) =>
    begin(near).catch((error) => {
      assertEquals(error.code, "ECANCELED");
      near.close();
      count++;
    })
  );
  await turns();
  near.close();
  await Promise.all(works);
  assertEquals(count, works.length);
});

test("closing twice closes nobody else's descriptor", () => {
  const first = Socket.open();
  first.close();
  using second = Socket.open();
  first.close();
  first[Symbol.dispose]();
  assertEquals(second.getOption("type"), "stream");
});

/**
 * Closes a socket in the very moment in which a call on it goes on, and gives its
 * number to another one: a signal is read right before each system call.
 */
function thief(near: Socket): {
  readonly signal: AbortSignal;
  arm(): void;
  /** The ends of the other socket, the one with the number first. */
  readonly others: readonly Socket[];
} {
  const { signal } = new AbortController();
  let isArmed = false;
  const others: Socket[] = [];
  Object.defineProperty(signal, "aborted", {
    get() {
      if (isArmed) {
        isArmed = false;
        queueMicrotask(() => {
          const { fd } = near;
          near.close();
          others.push(...Socket.pair({ nonblocking: true }));
          assertEquals(others[0]!.fd, fd);
          others[1]!.sendSync("0123456789\n");
        });
      }
      return false;
    },
  });
  return {
    signal,
    arm() {
      isArmed = true;
    },
    others,
  };
}

/** Calls of several steps, and what lets each go on after its first. */
const STEPS: Readonly<
  Record<string, {
    readonly begin: (socket: Socket, signal: AbortSignal) => Promise<unknown>;
    readonly goOn: (far: Socket, near: Socket) => void;
  }>
> = {
  recvExactly: {
    begin: (socket, signal) =>
      socket.recvExactly(8, { signal, timeout: AGES / 60 }),
    goOn: (far) => void far.sendSync("abcd"),
  },
  recvUntil: {
    begin: (socket, signal) =>
      socket.recvUntil("\n", { signal, timeout: AGES / 60 }),
    goOn: (far) => void far.sendSync("abcd"),
  },
  sendAll: {
    begin: (socket, signal) =>
      socket.sendAll(new Uint8Array(1 << 24), { signal, timeout: AGES / 60 }),
    goOn(far) {
      const sink = new Uint8Array(1 << 16);
      while (far.poll("POLLIN", 0).length > 0) far.recvSync(sink);
    },
  },
  "recv, after unref() and ref()": {
    begin(socket, signal) {
      socket.unref();
      return socket.recv(new Uint8Array(4), { signal, timeout: AGES / 60 });
    },
    goOn: (_far, near) => near.ref(),
  },
};

for (const [name, { begin, goOn }] of Object.entries(STEPS)) {
  test(`no step of ${name} is made on the next owner of the number`, async () => {
    using ends = fullPair();
    const { near, far } = ends;
    const { signal, arm, others } = thief(near);
    // What keeps the process alive meanwhile.
    const timer = setInterval(() => {}, 1000);
    const work = assertRejects(() => begin(near, signal), ErrnoError);
    await turns(0);
    arm();
    goOn(far, near);
    const error = await work;
    clearInterval(timer);
    const [other, peer] = others as [Socket, Socket];
    using _ = other, __ = peer;
    assertEquals(error.code, "ECANCELED");
    assertEquals(other.recvSync(new Uint8Array(64)), 11);
    assertEquals(peer.poll("POLLIN", 0), []);
  });
}

test("setOption() sets nothing on the next owner of the number", () => {
  const socket = Socket.open();
  const others: Socket[] = [];
  const value = {
    get initialDelay(): number {
      socket.close();
      others.push(Socket.open());
      return 3000;
    },
  };
  const error = refusal(() => socket.setOption("keepAlive", value));
  assertEquals(error.code, "EBADF");
  using other = others[0]!;
  assertEquals(other.getOption("keepAlive"), false);
});

/** Memory that is not as large any more as it was. */
const LOSSES: Readonly<Record<string, (bytes: Uint8Array) => void>> = {
  detached: ({ buffer }) => {
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
  },
  "resized to less": ({ buffer }) => (buffer as ArrayBuffer).resize(8),
  "resized to nothing": ({ buffer }) => (buffer as ArrayBuffer).resize(0),
};

for (const [title, lose] of Object.entries(LOSSES)) {
  test(`a buffer that is ${title} while a call waits is a TypeError`, async () => {
    const memory = () =>
      new Uint8Array(new ArrayBuffer(64, { maxByteLength: 4096 }));
    const calls: readonly [
      string,
      (socket: Socket, bytes: Uint8Array) => Promise<unknown>,
    ][] = [
      ["buffer", (socket, bytes) => socket.recv(bytes)],
      ["buffer", (socket, bytes) => socket.recvFrom(bytes)],
      ["buffer", (socket, bytes) => socket.read(bytes)],
      ["data", (socket, bytes) => socket.send(bytes)],
      ["data", (socket, bytes) => socket.write(bytes)],
    ];
    for (const [name, call] of calls) {
      using ends = fullPair();
      const { near, far } = ends;
      const bytes = memory();
      const work = assertRejects(() => call(near, bytes), TypeError, name);
      await turns();
      lose(bytes);
      far.sendSync(new Uint8Array([1, 2, 3]));
      if (name === "data") {
        const sink = new Uint8Array(1 << 20);
        while (near.poll("POLLOUT", 0).length === 0) far.recvSync(sink);
      }
      await work;
      // Nothing of what came is lost with the buffer.
      assertEquals(near.recvSync(new Uint8Array(8)), 3);
    }
  });

  test(`a buffer that is ${title} beforehand is as small as it is`, async () => {
    using ends = pair();
    const { near, far } = ends;
    const bytes = new Uint8Array(new ArrayBuffer(64, { maxByteLength: 4096 }));
    lose(bytes);
    if (title === "detached") return;
    const { length } = bytes;
    assertEquals(near.sendSync(bytes), length);
    assertEquals(await near.send(bytes), length);
    far.sendSync(new Uint8Array(64));
    near.poll("POLLIN");
    assertEquals(near.recvSync(bytes), length);
    assertEquals(await near.recv(bytes), length);
  });
}

test("memory that is not there is refused before anything is called", async () => {
  using ends = pair();
  const { near } = ends;
  const detached = new Uint8Array(64);
  LOSSES.detached!(detached);
  // Unlike one without a length of its own, it is not there any more at all.
  const outside = new Uint8Array(
    new ArrayBuffer(64, { maxByteLength: 4096 }),
    32,
    32,
  );
  LOSSES["resized to less"]!(outside);
  const writer = near.writable.getWriter();
  using watched = watchLibc();
  for (const bytes of [detached, outside]) {
    const calls: readonly [name: string, call: () => unknown][] = [
      ["data", () => near.sendSync(bytes)],
      ["data", () => near.send(bytes)],
      ["data", () => near.sendAll(bytes)],
      ["data", () => near.write(bytes)],
      ["buffer", () => near.recvSync(bytes)],
      ["buffer", () => near.recvFromSync(bytes)],
      ["buffer", () => near.recv(bytes)],
      ["buffer", () => near.recvFrom(bytes)],
      ["buffer", () => near.read(bytes)],
      ["delimiter", () => near.recvUntil(bytes)],
      ["bytes", () => rawAddress(bytes)],
      ["value", () => near.setOption(1, 2, bytes)],
    ];
    for (const [name, call] of calls) {
      await assertRejects(
        async () => await call(),
        TypeError,
        `Cannot use ${name}: its memory was taken away`,
        `${call}`,
      );
    }
  }
  await assertRejects(
    () => writer.write(detached),
    TypeError,
    "Cannot use chunk: its memory was taken away",
  );
  assertEquals(watched.names, []);
});

test("shared and resizable memory is memory like any other", async () => {
  using ends = pair();
  const { near, far } = ends;
  const kinds = [
    new Uint8Array(new SharedArrayBuffer(16)),
    new Uint8Array(new SharedArrayBuffer(16, { maxByteLength: 64 })),
    new Uint8Array(new ArrayBuffer(16, { maxByteLength: 64 })),
  ];
  for (const bytes of kinds) {
    bytes.fill(3);
    assertEquals(near.sendSync(bytes), 16);
    assertEquals(await near.send(bytes), 16);
    bytes.fill(0);
    far.poll("POLLIN");
    assertEquals(far.recvSync(bytes), 16);
    assertEquals(bytes[15], 3);
    bytes.fill(0);
    assertEquals(await far.recv(bytes), 16);
    assertEquals(bytes[15], 3);
  }
});

const BAD_TIMES: readonly (readonly [unknown, ErrorConstructor])[] = [
  [-1, RangeError],
  [-0.5, RangeError],
  [-Infinity, RangeError],
  [NaN, RangeError],
  ["5", TypeError],
  [5n, TypeError],
  [null, TypeError],
  [{}, TypeError],
];

test("a timeout that is none is refused before anything is called", async () => {
  using ends = pair();
  using closed = Socket.open();
  const { near } = ends;
  const here = inet("127.0.0.1", 9);
  const memory = new Uint8Array(4);
  using watched = watchLibc();
  for (const [junk, errorClass] of BAD_TIMES) {
    const timeout = junk as number;
    const calls: readonly (() => unknown)[] = [
      () => near.recv(memory, { timeout }),
      () => near.recvFrom(memory, { timeout }),
      () => near.send(memory, { timeout }),
      () => near.ready("POLLIN", { timeout }),
      () => near.poll("POLLIN", timeout),
      () => closed.connect(here, { timeout }),
      () => closed.connectSync(here, { timeout }),
      () => connect({ port: 9, timeout }),
      () => connectSync({ port: 9, timeout }),
    ];
    for (const call of calls) {
      await assertRejects(
        async () => await call(),
        errorClass,
        "timeout",
        `${call}`,
      );
    }
  }
  assertEquals(watched.names, []);
});

test("numbers that are none are refused before anything is called", async () => {
  using ends = pair();
  const { near } = ends;
  const memory = new Uint8Array(4);
  using watched = watchLibc();
  for (const junk of [NaN, -1, 1.5, Infinity, 2 ** 31, "1", null, 1n]) {
    const flags = junk as number;
    const calls: readonly (() => unknown)[] = [
      () => near.recvSync(memory, { flags }),
      () => near.recvFromSync(memory, { flags }),
      () => near.sendSync(memory, { flags }),
      () => near.recv(memory, { flags }),
      () => near.recvFrom(memory, { flags }),
      () => near.send(memory, { flags }),
      () => inet("127.0.0.1", junk as number),
    ].slice(0, junk === 2 ** 31 || typeof junk !== "number" ? 6 : 7);
    for (const call of calls) {
      const error = await assertRejects(async () => await call(), Error);
      assert(
        error instanceof RangeError || error instanceof TypeError,
        `${call}: ${error}`,
      );
    }
  }
  assertEquals(watched.names, []);
});

test("what is no memory is refused before anything is called", async () => {
  using ends = pair();
  const { near } = ends;
  using watched = watchLibc();
  const junk = [
    undefined,
    null,
    5,
    [1, 2],
    {},
    new ArrayBuffer(4),
    new Uint16Array(2),
    new DataView(new ArrayBuffer(4)),
  ] as unknown as Uint8Array[];
  for (const bytes of junk) {
    for (const name of ["recv", "recvFrom", "send", "read", "write"] as const) {
      const error = await assertRejects(() => near[name](bytes), TypeError);
      assert(/^Cannot use (buffer|data) /.test(error.message), error.message);
    }
  }
  assertEquals(watched.names, []);
});

test("a signal that is aborted calls off everything before it begins", async () => {
  using ends = pair();
  const { near } = ends;
  const memory = new Uint8Array(4);
  using watched = watchLibc();
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  const calls: readonly (() => Promise<unknown>)[] = [
    () => near.recv(memory, { signal }),
    () => near.recvFrom(memory, { signal }),
    () => near.send(memory, { signal }),
    () => near.ready("POLLIN", { signal }),
    () => connect({ port: 9, signal }),
  ];
  for (const call of calls) assertEquals(await assertRejects(call), reason);
  assertEquals(watched.names, []);
});

/** What looks like a signal, and is none. */
const FAKES: Readonly<Record<string, unknown>> = {
  "an object with its methods": { aborted: false, throwIfAborted() {} },
  "an object that can be listened to": Object.assign(new EventTarget(), {
    aborted: false,
    throwIfAborted() {},
  }),
  "the prototype": AbortSignal.prototype,
  "a controller": new AbortController(),
  "null": null,
  "a text": "abort",
};

for (const [title, fake] of Object.entries(FAKES)) {
  test(`a signal that is ${title} is refused, and leaves nothing behind`, async () => {
    using ends = pair();
    using opened = Socket.open();
    const { near, far } = ends;
    const bytes = new Uint8Array(4);
    const here = inet("127.0.0.1", 9);
    const signal = fake as AbortSignal;
    const calls: readonly (() => Promise<unknown>)[] = [
      () => near.ready("POLLIN", { signal }),
      () => near.recv(bytes, { signal }),
      () => near.recvFrom(bytes, { signal }),
      () => near.send(bytes, { signal }),
      () => opened.connect(here, { signal }),
    ];
    for (const call of calls) {
      await assertRejects(call, TypeError, "Cannot use signal ");
    }
    // No waiter of those is left: the next one is served.
    far.sendSync(bytes);
    assertEquals(await near.ready("POLLIN", { timeout: AGES }), ["POLLIN"]);
  });
}

/** Signals of a proxy that throws for one of its properties. */
function throwing(trapped: string): AbortSignal {
  const { signal } = new AbortController();
  return new Proxy(signal, {
    get(target, name) {
      if (name === trapped) throw new Error(`no ${trapped}`);
      return Reflect.get(target, name, target);
    },
  });
}

for (
  const name of ["aborted", "addEventListener", "removeEventListener", "reason"]
) {
  test(`a signal whose ${name} throws holds up nobody in line`, async () => {
    using ends = pair();
    const { near, far } = ends;
    const first = near.recv(new Uint8Array(1));
    const limits = { timeout: 5 };
    for (
      const call of [
        () =>
          near.recv(new Uint8Array(1), { signal: throwing(name), ...limits }),
        () => near.recvExactly(1, { signal: throwing(name), ...limits }),
        () => near.recvUntil("x", { signal: throwing(name), ...limits }),
      ]
    ) await assertRejects(call);
    const last = near.recvExactly(2);
    far.sendSync("abc");
    assertEquals(await first, 1);
    assertEquals(await last, new TextEncoder().encode("bc"));
  });

  test(`a signal whose ${name} throws leaves nothing behind`, async () => {
    using ends = pair();
    const { near, far } = ends;
    const bytes = new Uint8Array(4);
    for (
      const call of [
        () => near.ready("POLLIN", { signal: throwing(name), timeout: 5 }),
        () => near.recv(bytes, { signal: throwing(name), timeout: 5 }),
        () => connect({ port: 9, signal: throwing(name), timeout: AGES }),
      ]
    ) {
      // It ends, in whatever way.
      await call().catch(() => {});
    }
    far.sendSync(bytes);
    assertEquals(await near.ready("POLLIN", { timeout: AGES }), ["POLLIN"]);
    assertEquals(await near.recv(bytes, { timeout: AGES }), 4);
  });
}

test("what the reason of a signal throws is the reason", async () => {
  using ends = pair();
  using hole = blackHole();
  const { near } = ends;
  const { port } = hole.address;
  const calls: readonly ((signal: AbortSignal) => Promise<unknown>)[] = [
    (signal) => near.recv(new Uint8Array(4), { signal }),
    (signal) => connect({ port, signal }),
    (signal) => connect({ port, addresses: ["127.0.0.1"], signal }),
  ];
  for (const call of calls) {
    const controller = new AbortController();
    const { signal } = controller;
    Object.defineProperty(signal, "reason", {
      get() {
        throw new Error("no reason");
      },
    });
    const work = assertRejects(() => call(signal), Error, "no reason");
    await turns();
    controller.abort();
    await work;
  }
}, { skip: canBlackHole() });

test("what a signal throws after onSocket leaves no socket", async () => {
  const { signal } = new AbortController();
  let shown: Socket | null = null;
  Object.defineProperty(signal, "aborted", {
    get() {
      if (shown !== null) throw new Error("no state");
      return false;
    },
  });
  const onSocket = (socket: Socket) => void (shown = socket);
  using watched = watchLibc();
  const work = connect({ port: 9, signal, onSocket });
  await assertRejects(() => work, Error, "no state");
  assert(shown!.closed);
  assertEquals(watched.count("connect"), 0);
});

test(
  "a signal behind a proxy aborts like any other, where it is taken",
  async () => {
    using ends = pair();
    using hole = blackHole();
    const { near } = ends;
    const { port } = hole.address;
    const calls: readonly ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => near.ready("POLLIN", { signal, timeout: 1000 }),
      (signal) => near.recv(new Uint8Array(4), { signal, timeout: 1000 }),
      (signal) => connect({ port, signal, timeout: 1000 }),
      (signal) =>
        connect({ port, addresses: ["127.0.0.1"], signal, timeout: 1000 }),
    ];
    for (const call of calls) {
      const controller = new AbortController();
      const { signal } = controller;
      const proxy = new Proxy(signal, {
        get: (target, name) => Reflect.get(target, name, target),
      });
      const work = outcome(call(proxy));
      await turns();
      controller.abort("enough");
      const end = await work;
      if (end instanceof TypeError) continue;
      assertEquals(end, "enough", `${call}`);
    }
  },
  { skip: canBlackHole() },
);

/** Calls that wait for ever, each by way of another piece of this package. */
const ENDLESS: Readonly<
  Record<string, (signal: AbortSignal, port: number) => Promise<unknown>>
> = {
  connect: (signal, port) => connect({ port, signal }),
  "connect, to several addresses": (signal, port) =>
    connect({ port, addresses: ["127.0.0.1", "127.0.0.1"], signal }),
  "connect, by a lookup": (signal, port) =>
    connect({
      hostname: "nobody.invalid",
      port,
      signal,
      lookup: () => new Promise(() => {}),
    }),
  ping: (signal, port) => ping([{ port }], { signal }).next(),
  probe: (signal, port) => probe([{ port }], { signal, timeout: AGES }).next(),
  waitFor: (signal, port) => waitFor([{ port }], { signal, timeout: AGES }),
};

test(
  "nothing but its end ends the calls of a signal, and nobody hides that",
  async () => {
    using hole = blackHole();
    using ends = pair();
    using listener = Socket.open();
    listener.bind(inet("127.0.0.1", 0));
    listener.listen();
    const { near } = ends;
    const calls: typeof ENDLESS = {
      ...ENDLESS,
      ready: (signal) => near.ready("POLLIN", { signal }),
      recv: (signal) => near.recv(new Uint8Array(4), { signal }),
      accept: (signal) => listener.accept({ signal }),
    };
    for (const [name, begin] of Object.entries(calls)) {
      const controller = new AbortController();
      const { signal } = controller;
      signal.addEventListener("abort", (e) => e.stopImmediatePropagation());
      let isOver = false;
      const work = outcome(begin(signal, hole.address.port))
        .finally(() => isOver = true);
      await turns();
      signal.dispatchEvent(new Event("abort"));
      await turns();
      assertEquals(isOver, false, name);
      controller.abort("enough");
      assertEquals(await work, "enough", name);
    }
  },
  { skip: canBlackHole() },
);

test(
  "waits and streams take nothing from what all objects inherit",
  async () => {
    using hole = blackHole();
    using ends = pair();
    const { near, far } = ends;
    const { port } = hole.address;
    const numbers = Array.from({ length: 64 }, (_, i) => `${i}`);
    const names = [...numbers, "start", "size", "autoAllocateChunkSize"];
    const inherited = Object.prototype as unknown as Record<string, unknown>;
    const found: unknown[] = [];
    try {
      for (const name of names) {
        inherited[name] = "x";
      }
      const bytes = new Uint8Array(4);
      found.push(await outcome(near.recv(bytes, { timeout: 5 })));
      found.push(await outcome(connect({ port, timeout: 5 })));
      found.push(await outcome(waitFor([{ port }], { timeout: 5 })));
      far.sendSync("abcd");
      found.push((await near.readable.getReader().read()).value?.length);
      await near.writable.getWriter().write(bytes);
      found.push(far.recvSync(bytes));
      near.close();
      found.push(explain("EPERM").toString().length > 0);
    } finally {
      for (const name of names) delete inherited[name];
    }
    const codes = found.map((one) => one instanceof Error ? one.name : one);
    const late = "Errno.ETIMEDOUT";
    assertEquals(codes, [late, late, "WaitError", 4, 4, true]);
  },
  { skip: canBlackHole() },
);

test("the methods of Socket have no use on other objects", async () => {
  const { prototype } = Socket;
  for (const other of [{}, Object.create(prototype), null]) {
    for (const name of ["close", "detach", "sendSync", "localAddr"]) {
      assertThrows(() => Reflect.get(prototype, name, other).call(other));
    }
    await assertRejects(async () =>
      await prototype.recv.call(other as Socket, new Uint8Array(1))
    );
  }
});

test("what is no target is refused before anything is called", async () => {
  using watched = watchLibc();
  for (
    const junk of [
      undefined,
      null,
      {},
      { port: NaN },
      { port: -1 },
      { port: 65_536 },
      { port: "80" },
      { transport: "udp", port: 9 },
      { transport: "unix" },
      { transport: "unix", path: "" },
      { transport: "vsock", cid: NaN, port: 1 },
      { port: 9, hostname: 5 },
      { port: 9, localPort: NaN },
      { port: 9, family: "ipv4" },
    ] as unknown as ConnectOptions[]
  ) {
    assertThrows(() => connectSync(junk), Error);
    await assertRejects(() => connect(junk), Error);
  }
  assertEquals(watched.names, []);
});

test("what says nothing of itself is refused by the name of the argument", () => {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  const array = Object.defineProperty([1], 0, {
    get() {
      throw new Error("no item");
    },
  });
  using socket = Socket.open();
  for (const junk of [proxy, array] as unknown[]) {
    const calls: readonly (() => unknown)[] = [
      () => socket.connectSync(junk as Address),
      () => socket.sendSync(junk as Uint8Array),
      () => inet(junk as string, 9),
      () => connectSync({ port: junk as number }),
    ];
    for (const call of calls) {
      assertThrows(call, TypeError, "(an object)", `${call}`);
    }
  }
});

test("an endless list of what is no target is refused at once", async () => {
  const endless = {
    [Symbol.iterator]: () => ({ next: () => ({ done: false, value: 5 }) }),
  } as unknown as Iterable<{ port: number }>;
  const calls: readonly (() => Promise<unknown>)[] = [
    () => probe(endless).next(),
    async () => await ping(endless).next(),
    () => waitFor(endless),
  ];
  for (const call of calls) await assertRejects(call, TypeError);
});

test("probe() takes each step of targets once, whatever promises that", async () => {
  using listener = listen();
  const { port } = listener.address;
  let left = 2;
  const twice = {
    then(take: (step: object) => void, refuse: (error: Error) => void) {
      take(left-- > 0 ? { value: { port } } : { done: true });
      refuse(new Error("too late"));
    },
  };
  const targets = {
    [Symbol.asyncIterator]: () => ({ next: () => twice }),
  } as unknown as AsyncIterable<{ port: number }>;
  const states: string[] = [];
  for await (const { state } of probe(targets)) states.push(state);
  assertEquals(states, ["open", "open"]);
});

test("errors are made where nobody can change an error any more", async () => {
  const found = await inChild({}, async ({ connect, waitFor, Socket }) => {
    Object.freeze(Error.prototype);
    Object.freeze(Error);
    const [near, far] = Socket.pair();
    const codes: string[] = [];
    for (
      const fail of [
        () => connect({ port: -1 }),
        () => near.recv(new Uint8Array(1), { timeout: 1 }),
        () => waitFor([{ port: 1 }], { timeout: 1 }),
        () => {
          far.close();
          return near.recvExactly(1);
        },
      ]
    ) codes.push(await fail().then(String, ({ name }) => name));
    near.close();
    return codes;
  });
  const late = "Errno.ETIMEDOUT";
  const names = ["RangeError", late, "WaitError", "UnexpectedEndError"];
  assertEquals(found, names);
});

test("a descriptor that somebody else closes is an error, and no crash", async () => {
  for (const [name, begin] of Object.entries(PENDING)) {
    using ends = fullPair();
    const { near } = ends;
    const fd = near.detach();
    const one = Socket.fromFd(fd);
    const other = Socket.fromFd(fd);
    const work = assertRejects(() => begin(one), Error, undefined, name);
    await turns();
    // The reactor may still hear of it, for the kernel keeps what it polls.
    other.close();
    const error = assertThrows(() => one.close(), ErrnoError);
    assertEquals(error.code, "EBADF");
    await work;
  }
});

test("Socket keeps its descriptor through failed operations", async () => {
  using socket = Socket.open();
  const { fd } = socket;
  const memory = new Uint8Array(4);
  const calls: readonly (() => unknown)[] = [
    () => socket.send(memory),
    () => socket.recv(memory),
    () => socket.closeWrite(),
    () => socket.remoteAddr,
    () => socket.tcpInfo().state,
    () => socket.connect(inet("127.0.0.1", 1), { timeout: AGES }),
    // Both streams together would close it at their end.
    () => socket.readable.getReader().read(),
  ];
  for (const call of calls) {
    await Promise.resolve().then(call).catch((error) => {
      assertInstanceOf(error, ErrnoError);
    });
    assertEquals(socket.fd, fd);
  }
  assertEquals(socket.getOption("type"), "stream");
});

test("to listen to one signal takes no longer for the last of many", () => {
  const { signal } = new AbortController();
  const listeners = Array.from({ length: 30_000 }, () => () => {});
  const start = threadTime();
  for (const listener of listeners) heedAbort(signal, listener);
  for (const listener of listeners.reverse()) ignoreAbort(signal, listener);
  // It takes some 20 ms; to look for each in a list, many seconds.
  assertLess(threadTime() - start, 2_000);
});

test("a listener that an abort has called may take another one away", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const called: string[] = [];
  const gone = () => void called.push("gone");
  heedAbort(signal, () => ignoreAbort(signal, gone));
  heedAbort(signal, gone);
  heedAbort(signal, () => void called.push("last"));
  controller.abort();
  await turns(1);
  assertEquals(called, ["last"]);
});

/** Calls that fail, each of whose errors lacks most of what an error may have. */
const FAILING: Readonly<Record<string, () => unknown>> = {
  "a bind in vain"() {
    using listener = listen();
    using socket = Socket.open();
    socket.bind(listener.address);
  },
  "a connect in vain": () =>
    connectSync({ transport: "unix", path: "/none/x" }),
  "an option that the system refuses"() {
    using socket = Socket.open();
    socket.setOption("congestion", "none such");
  },
  async "a wait that is over"() {
    using ends = pair();
    await ends.near.recv(new Uint8Array(1), { timeout: 1 });
  },
  async "a longer wait that is over"() {
    using ends = pair();
    await ends.near.recvExactly(9, { timeout: 1 });
  },
};

/** What an error may have. */
const FACTS = [
  "bytesSent",
  "cause",
  "detail",
  "elapsed",
  "errors",
  "icmp",
  "localAddress",
  "port",
  "soft",
  "subject",
  "timeoutKind",
  "whole",
];

for (const [what, fail] of Object.entries(FAILING)) {
  test(`the error of ${what} says nothing of what is in the prototype of all objects`, async () => {
    async function failure(): Promise<ErrnoError> {
      try {
        await fail();
      } catch (error) {
        return error as ErrnoError;
      }
      throw new Error("it has not failed");
    }
    const own = Object.keys(await failure());
    const prototype = Object.prototype as unknown as Record<string, unknown>;
    for (const fact of FACTS) {
      const value = {
        value: "someone else's",
        configurable: true,
        writable: true,
      };
      Object.defineProperty(prototype, fact, value);
      let error: ErrnoError;
      try {
        error = await failure();
      } finally {
        delete prototype[fact];
      }
      assertEquals(Object.keys(error), own, fact);
      assertEquals(error.cause, undefined);
      assert(!error.message.includes("someone"), error.message);
      assert(!error.message.includes("NaN"), error.message);
      assert((error.elapsed ?? 0) < AGES, `${error.elapsed}`);
    }
  });
}
