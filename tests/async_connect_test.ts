import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import {
  type Address,
  connect,
  Errno,
  ErrnoError,
  inet,
  inet6,
  Socket,
  unix,
  unspecified,
} from "../mod.ts";
import {
  AGES,
  assertErrno,
  assertTalks,
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
  inChild,
  listen,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, needs, on, onLinux, test } from "./_harness.ts";
import { FIREWALL, REJECTED } from "./_networks.ts";
import {
  maskOf,
  type Script,
  scriptedSocket,
  SCRIPTS,
  SOFT,
  SPURIOUS,
  type Wake,
  WRITABLE,
} from "./_wakeups.ts";

const abi = currentAbi();
/** The system's C library, for fakes that pass some calls on. */
const system = libc();

/** Shows that a socket can be waited for, and carries bytes both ways to the one that was accepted. */
async function assertWaitsAndTalks(
  socket: Socket,
  accepted: Socket,
): Promise<void> {
  assertEquals(accepted.sendSync(new Uint8Array(1)), 1);
  assertEquals(await socket.ready("POLLIN", { timeout: AGES }), ["POLLIN"]);
  assertEquals(socket.recvSync(new Uint8Array(8)), 1);
  assertTalks(socket, accepted);
}

/** The mechanisms that the reactor has, as what a library has to lack for each. */
const MECHANISMS: Readonly<Record<string, Partial<Libc>>> = abi.epoll === null
  ? { poll: {} }
  : { epoll: {}, poll: { abi: { ...abi, epoll: null } } };

for (const [name, fakes] of Object.entries(MECHANISMS)) {
  // Connected.

  test(`Socket#connect() reaches listeners of every family on ${name}`, async () => {
    using _watched = watchLibc(fakes);
    using folder = tempFolder();
    const places: Address[] = [
      inet("127.0.0.1", 0),
      unix(join(folder.path, "s")),
      ...canIpv6() === null ? [inet6("::1", 0)] : [],
    ];
    for (const at of places) {
      using listener = listen({ at });
      const family = at.family as "inet";
      for (const nonblocking of [false, true]) {
        for (const timeout of [undefined, AGES, Infinity]) {
          using socket = Socket.open({ family, nonblocking });
          await socket.connect(listener.address, { timeout });
          using accepted = listener.accept();
          assert(socket.remoteAddress!.equals(listener.address));
          assertEquals(socket.nonblocking, true);
          await assertWaitsAndTalks(socket, accepted);
        }
      }
    }
  });

  test(
    `Socket#connect() waits until there is room in the backlog on ${name}`,
    async () => {
      using _watched = watchLibc(fakes);
      using hole = blackHole();
      using socket = Socket.open();
      const pending = socket.connect(hole.address, { timeout: AGES });
      await pause(50);
      hole.accept().close();
      await pending;
      using accepted = hole.accept();
      assert(accepted.remoteAddress!.equals(socket.localAddress));
      await assertWaitsAndTalks(socket, accepted);
    },
    { skip: canBlackHole() },
  );

  test(
    `Socket#connect() throws ECONNREFUSED when nothing listens on ${name}`,
    async () => {
      using _watched = watchLibc(fakes);
      using peer = bound();
      using socket = Socket.open();
      for (let i = 0; i < 3; i++) {
        const error = await refusal(socket.connect(peer.address));
        assertErrno(error, "ECONNREFUSED");
        assertEquals(error.syscall, "connect");
        assertEquals(error.address, `${peer.address}`);
        assertEquals(socket.closed, false);
      }
    },
    { skip: onLinux },
  );

  test(
    `Socket#connect() throws ETIMEDOUT when its deadline passes on ${name}`,
    async () => {
      using _watched = watchLibc(fakes);
      using hole = blackHole();
      for (const timeout of [0, 1, SHORT]) {
        using socket = Socket.open();
        const start = performance.now();
        const error = await refusal(socket.connect(hole.address, { timeout }));
        assertErrno(error, "ETIMEDOUT");
        assertEquals(error.timeoutKind, "deadline");
        assertStringIncludes(error.message, `no answer within ${timeout} ms`);
        assertGreaterOrEqual(performance.now() - start, timeout);
        assertGreaterOrEqual(error.elapsed!, timeout);
        assertLess(error.elapsed!, AGES / 2);
        assertEquals(socket.closed, false);
      }
    },
    { skip: canBlackHole() },
  );

  test(`Socket#connect() is called off by its signal on ${name}`, async () => {
    using _watched = watchLibc(fakes);
    using hole = blackHole();
    const reasons: unknown[] = [
      new Error("own"),
      new DOMException("other", "AbortError"),
      "text",
      0,
      null,
      false,
      { code: "ETIMEDOUT" },
    ];
    for (const reason of reasons) {
      for (const delay of [0, 20]) {
        using socket = Socket.open();
        const controller = new AbortController();
        const pending = socket.connect(hole.address, {
          signal: controller.signal,
          timeout: AGES,
        }).then(() => "connected", (error) => ({ error }));
        if (delay > 0) await pause(delay);
        controller.abort(reason);
        const result = await pending as { error: unknown };
        assertStrictEquals(result.error, reason);
        assertEquals(socket.closed, false);
      }
    }
  }, { skip: canBlackHole() });

  test(
    `Socket#connect() is over when the socket is closed or given away on ${name}`,
    async () => {
      using _watched = watchLibc(fakes);
      using hole = blackHole();
      for (const parked of [false, true]) {
        for (const way of ["close", "detach", "dispose"] as const) {
          const socket = Socket.open();
          const pending = outcome(socket.connect(hole.address));
          if (parked) await pause(20);
          let fd = -1;
          if (way === "close") socket.close();
          else if (way === "detach") fd = socket.detach();
          else socket[Symbol.dispose]();
          const error = await pending;
          assertErrno(error, "ECANCELED");
          assertStringIncludes((error as Error).message, "closed meanwhile");
          assertEquals((error as ErrnoError).syscall, "connect");
          if (fd < 0) continue;
          // The new owner goes on with the attempt, which nobody ended.
          using heir = Socket.fromFd(fd);
          assertEquals(heir.tryConnect(hole.address), abi.errnos.EALREADY);
        }
      }
    },
    { skip: needs(canBlackHole(), onLinux) },
  );

  test(
    `Socket#connect() is not disturbed by the number's former bearer on ${name}`,
    async () => {
      using watched = watchLibc(fakes);
      using hole = blackHole();
      using listener = listen();
      using peer = bound();
      for (const end of ["abort", "timeout", "close"] as const) {
        const old = Socket.open();
        const { fd } = old;
        const controller = new AbortController();
        const pending = outcome(old.connect(hole.address, {
          signal: controller.signal,
          timeout: end === "timeout" ? 20 : AGES,
        }));
        await pause(10);
        if (end === "abort") controller.abort(end);
        if (end !== "close") await pending;
        const calls = watched.calls.length;
        old.close();
        if (end === "close") assertErrno(await pending, "ECANCELED");
        if (name === "epoll") {
          const { names } = watched;
          const closed = names.indexOf("close", calls);
          const { EPOLL_CTL_DEL } = abi.epoll!;
          const removed = watched.calls.findIndex(({ name, args }) =>
            name === "epoll_ctl" && args[1] === EPOLL_CTL_DEL && args[2] === fd
          );
          assert(
            removed >= 0 && removed < closed,
            "closed before it was removed",
          );
        }
        using one = Socket.open();
        assertEquals(one.fd, fd);
        // Room for the old one would be an event for it, not for this one.
        const waiting = one.connect(hole.address, { timeout: SHORT });
        assertErrno(await refusal(waiting), "ETIMEDOUT");
        one.close();
        using two = Socket.open();
        assertEquals(two.fd, fd);
        await two.connect(listener.address);
        assert(two.remoteAddress!.equals(listener.address));
        two.close();
        using three = Socket.open();
        assertEquals(three.fd, fd);
        assertErrno(await refusal(three.connect(peer.address)), "ECONNREFUSED");
        three.close();
      }
    },
    { skip: canBlackHole() },
  );

  test(
    `Socket#connect() keeps a thousand attempts apart on ${name}`,
    async () => {
      using _watched = watchLibc(fakes);
      using hole = blackHole();
      using listener = listen({ backlog: 4096 });
      using peer = bound();
      const controller = new AbortController();
      const kinds = [
        "connects",
        "refused",
        "late",
        "aborted",
        "closed",
      ] as const;
      const results = Array.from({ length: 1000 }, async (_, i) => {
        const kind = kinds[i % kinds.length]!;
        using socket = Socket.open();
        const pending = socket.connect(
          {
            connects: listener.address,
            refused: peer.address,
            late: hole.address,
            aborted: hole.address,
            closed: hole.address,
          }[kind],
          kind === "late"
            ? { timeout: 1 + i % 50 }
            : kind === "aborted"
            ? { signal: controller.signal }
            : {},
        ).then(
          () => "connected",
          (error) => error instanceof ErrnoError ? error.code : error,
        );
        if (kind === "closed") setTimeout(() => socket.close(), i % 40);
        return [kind, await pending];
      });
      setTimeout(() => controller.abort("reason"), 20);
      const expected = {
        connects: "connected",
        refused: "ECONNREFUSED",
        late: "ETIMEDOUT",
        aborted: "reason",
        closed: "ECANCELED",
      };
      for (const ready of results) {
        const [kind, result] = await ready;
        assertEquals(result, expected[kind as "late"]);
      }
    },
    { skip: needs(canBlackHole(), onLinux) },
  );

  test(`Socket#ready() resolves, times out and is called off on ${name}`, async () => {
    using _watched = watchLibc(fakes);
    using listener = listen();
    using socket = await connect({ port: listener.address.port });
    using accepted = listener.accept();
    assertEquals(await socket.ready("POLLOUT"), ["POLLOUT"]);
    assertEquals(await socket.ready(["POLLIN", "POLLOUT"]), ["POLLOUT"]);
    assertEquals(await socket.ready("POLLIN", { timeout: 0 }), []);
    assertEquals(await socket.ready("POLLIN", { timeout: 20 }), []);
    const controller = new AbortController();
    const { signal } = controller;
    const waits = [
      outcome(socket.ready("POLLIN", { signal })),
      outcome(socket.ready("POLLIN")),
      outcome(socket.ready("POLLIN", { timeout: AGES })),
    ];
    await pause(10);
    controller.abort("enough");
    assertEquals(await waits[0], "enough");
    assertEquals(await outcome(socket.ready("POLLOUT", { signal })), "enough");
    accepted.sendSync(new Uint8Array(1));
    assertEquals(await waits[1], ["POLLIN"]);
    assertEquals(await waits[2], ["POLLIN"]);
    socket.recvSync(new Uint8Array(1));
    const last = outcome(socket.ready("POLLIN"));
    socket.close();
    const error = await last;
    assertErrno(error, "ECANCELED");
    assertEquals((error as ErrnoError).syscall, "poll");
    assertErrno(await outcome(socket.ready("POLLIN")), "EBADF");
  });
}

test("Socket#connect() throws ETIMEDOUT when the kernel gives up", async () => {
  using hole = blackHole();
  for (const timeout of [undefined, AGES]) {
    using socket = Socket.open();
    socket.setOption("userTimeout", SHORT);
    const error = await refusal(socket.connect(hole.address, { timeout }));
    assertErrno(error, "ETIMEDOUT");
    assertEquals(error.timeoutKind, "kernel");
    assertStringIncludes(error.message, "connection timed out");
    // The same socket may try again.
    const again = await refusal(socket.connect(hole.address, { timeout }));
    assertEquals(again.timeoutKind, "kernel");
  }
}, { skip: needs(canBlackHole(), onLinux) });

test(
  "Socket#connect() asks what has become writable for its peer alone",
  async () => {
    using hole = blackHole();
    using watched = watchLibc();
    using socket = Socket.open();
    const pending = socket.connect(hole.address, { timeout: AGES });
    const isParked = () =>
      watched.count("pollAsync") + watched.count("watchReadable") > 0;
    while (!isParked()) await pause(1);
    const before = watched.calls.length;
    hole.accept().close();
    await pending;
    const asked = watched.calls.slice(before)
      .filter(({ args }) => args[0] === socket.fd);
    // And for its own name, which would be the same if it had met itself.
    const names = asked.map(({ name }) => name);
    assertEquals(names, ["getpeername", "getsockname"]);
  },
  { skip: needs(canBlackHole(), onLinux) },
);

test(
  "Socket#connect() throws EALREADY while an attempt is pending",
  async () => {
    using hole = blackHole();
    using listener = listen();
    using socket = Socket.open();
    const pending = socket.connect(hole.address, { timeout: AGES });
    for (const address of [hole.address, listener.address]) {
      assertErrno(await refusal(socket.connect(address)), "EALREADY");
      const error = assertThrows(
        () => socket.connectSync(address, { timeout: 1 }),
      );
      assertErrno(error, "EALREADY");
    }
    assertEquals(socket.tryConnect(hole.address), abi.errnos.EALREADY);
    hole.accept().close();
    await pending;
    assert(socket.remoteAddress!.equals(hole.address));
  },
  { skip: needs(canBlackHole(), onLinux) },
);

test("Socket#connect() throws EISCONN on a connected socket", async () => {
  using listener = listen();
  using other = listen();
  const ways: readonly ((socket: Socket) => unknown)[] = [
    (socket) => socket.connect(listener.address),
    (socket) => socket.connectSync(listener.address),
    (socket) => socket.connectSync(listener.address, { timeout: AGES }),
  ];
  const again: readonly ((socket: Socket, at: Address) => unknown)[] = [
    (socket, at) => socket.connect(at),
    (socket, at) => socket.connectSync(at),
    (socket, at) => socket.connectSync(at, { timeout: AGES }),
  ];
  for (const way of ways) {
    for (const once of again) {
      for (const { address } of [listener, other]) {
        using socket = Socket.open();
        await way(socket);
        for (let i = 0; i < 2; i++) {
          const error = await refusal(
            (async () => await once(socket, address))(),
          );
          assertErrno(error, "EISCONN");
        }
        assert(socket.remoteAddress!.equals(listener.address));
      }
    }
  }
}, { skip: onLinux });

test(
  "Socket#connect() throws EISCONN where tryConnect() has connected elsewhere",
  async () => {
    using listener = listen();
    using other = listen();
    for (const sync of [false, true]) {
      using socket = Socket.open({ nonblocking: true });
      const errno = socket.tryConnect(listener.address);
      assertEquals(errno, abi.errnos.EINPROGRESS);
      assertEquals(await socket.ready("POLLOUT"), ["POLLOUT"]);
      const error = await refusal((async () => {
        if (sync) socket.connectSync(other.address);
        else await socket.connect(other.address);
      })());
      assertErrno(error, "EISCONN");
      assert(socket.remoteAddress!.equals(listener.address));
    }
  },
  { skip: onLinux },
);

test(
  "Socket#connect() connects again where the connection was dissolved",
  async () => {
    using listener = listen();
    for (const nonblocking of [false, true]) {
      using socket = Socket.open({ nonblocking });
      for (let i = 0; i < 3; i++) {
        await socket.connect(listener.address);
        assertErrno(await refusal(socket.connect(listener.address)), "EISCONN");
        await socket.connect(unspecified());
        assertEquals(socket.remoteAddress, null);
        socket.connectSync(listener.address);
        assert(socket.remoteAddress!.equals(listener.address));
        socket.connectSync(unspecified());
      }
    }
  },
  { skip: onLinux },
);

test(
  "Socket#connect() goes on after a deadline or an abort when called again",
  async () => {
    using hole = blackHole();
    using socket = Socket.open();
    const { address } = hole;
    for (let i = 0; i < 3; i++) {
      const late = await refusal(socket.connect(address, { timeout: 5 }));
      assertEquals(late.timeoutKind, "deadline");
      const signal = AbortSignal.timeout(5);
      const aborted = await outcome(socket.connect(address, { signal }));
      assertStrictEquals(aborted, signal.reason);
    }
    hole.accept().close();
    await socket.connect(address, { timeout: AGES });
    assert(socket.remoteAddress!.equals(address));
  },
  { skip: canBlackHole() },
);

test("Socket#connect() waits for what tryConnect() began", async () => {
  using hole = blackHole();
  using socket = Socket.open({ nonblocking: true });
  assertEquals(socket.tryConnect(hole.address), abi.errnos.EINPROGRESS);
  const pending = socket.connect(hole.address, { timeout: AGES });
  hole.accept().close();
  await pending;
  assert(socket.remoteAddress!.equals(hole.address));
  using peer = bound();
  using other = Socket.open({ nonblocking: true });
  other.tryConnect(peer.address);
  assertErrno(await refusal(other.connect(peer.address)), "ECONNREFUSED");
}, { skip: needs(canBlackHole(), onLinux) });

test("Socket#connect() lets a datagram socket change its peer", async () => {
  using one = bound({ type: "dgram" });
  using two = bound({ type: "dgram" });
  using socket = Socket.open({ type: "dgram" });
  for (const { address } of [one, two, one]) {
    await socket.connect(address, { timeout: 0 });
    assert(socket.remoteAddress!.equals(address));
  }
});

test(
  "Socket#connect() throws EAGAIN for a full Unix-domain backlog",
  async () => {
    using folder = tempFolder();
    using hole = blackHole({ at: unix(join(folder.path, "s")) });
    using socket = Socket.open({ family: "unix" });
    const error = await refusal(socket.connect(hole.address));
    assertErrno(error, "EAGAIN");
    hole.accept().close();
    await socket.connect(hole.address);
  },
  { skip: onLinux },
);

test("Socket#connect() asks nothing of the system when it is called off before", async () => {
  using hole = blackHole();
  using socket = Socket.open();
  using watched = watchLibc();
  for (const reason of [new Error("own"), "text", null, 0]) {
    const signal = AbortSignal.abort(reason);
    const result = await socket.connect(hole.address, { signal })
      .then(() => "connected", (error) => ({ error }));
    assertEquals(result, { error: reason });
    const found = await socket.ready("POLLIN", { signal })
      .then(() => "ready", (error) => ({ error }));
    assertEquals(found, { error: reason });
  }
  assertEquals(watched.calls, []);
});

test("Socket#connect() checks its arguments before it calls anything", async () => {
  using socket = Socket.open();
  using watched = watchLibc();
  const address = inet("127.0.0.1", 1);
  // deno-lint-ignore no-explicit-any
  const own = socket as any;
  await assertRejects(() => own.connect("127.0.0.1:1"), TypeError);
  await assertRejects(() => own.connect(undefined), TypeError);
  await assertRejects(() => own.connect(address, { timeout: "1" }), TypeError);
  await assertRejects(() => own.connect(address, { timeout: -1 }), RangeError);
  await assertRejects(() => own.connect(address, { timeout: NaN }), RangeError);
  await assertRejects(() => own.ready("POLLERR"), TypeError);
  await assertRejects(() => own.ready(["POLLIN", 1]), TypeError);
  await assertRejects(() => own.ready("POLLIN", { timeout: -1 }), RangeError);
  assertEquals(watched.calls, []);
  socket.close();
  assertErrno(await refusal(socket.connect(address)), "EBADF");
});

test("Socket#connect() has done its part before anybody gets a turn", async () => {
  using listener = listen();
  using socket = Socket.open();
  using watched = watchLibc();
  const pending = socket.connect(listener.address);
  // Loopback: no wait, no reactor, no second connect(2).
  await pending;
  const { names } = watched;
  assertEquals(names.filter((name) => name.startsWith("epoll")), []);
  assert(!names.includes("pollAsync"));
});

test("connect() leaves turns to others, however many follow each other", async () => {
  using peer = bound();
  const { port } = peer.address;
  let timer = false;
  let immediate = 0;
  const handle = setTimeout(() => timer = true, 10);
  const end = performance.now() + AGES;
  for (let i = 0; !timer || immediate < 2; i++) {
    assertLess(performance.now(), end, "no turn for others");
    if (i % 100 === 0) setImmediate(() => immediate++);
    await connect({ port }).catch(() => {});
  }
  clearTimeout(handle);
});

test(
  "Socket#connect() throws ECANCELED when it is closed while it waits for its turn",
  async () => {
    using peer = bound();
    using watched = watchLibc();
    const sockets = Array.from({ length: 2000 }, () => Socket.open());
    const pending = sockets.map((socket) =>
      outcome(socket.connect(peer.address))
    );
    const begun = watched.count("connect");
    assertLess(begun, sockets.length);
    for (const socket of sockets) socket.close();
    for (const [i, result] of (await Promise.all(pending)).entries()) {
      // Those that had begun may have been pending still.
      const isCanceled = i >= begun || result instanceof Errno.ECANCELED;
      assertErrno(result, isCanceled ? "ECANCELED" : "ECONNREFUSED");
    }
  },
  { skip: onLinux },
);

test(
  "Socket#connect() touches no descriptor that was closed just after its wake-up",
  async () => {
    using hole = blackHole();
    using listener = listen();
    for (const then of ["reused", "left"] as const) {
      let wake: (result: number) => void = () => {};
      using watched = watchLibc({
        pollAsync: () => new Promise((resolve) => wake = resolve),
      });
      const socket = Socket.open();
      const { fd } = socket;
      const pending = outcome(socket.connect(hole.address));
      const isParked = () =>
        watched.count("pollAsync") + watched.count("watchReadable") > 0;
      while (!isParked()) await pause(1);
      // Something has come and the reactor is about to report it, but other
      // code runs before those who wait.
      hole.accept().close();
      await untilWritable(fd);
      let heir: Socket | null = null;
      wake(1);
      let closed = 0;
      queueMicrotask(() => {
        closed = watched.calls.length;
        socket.close();
        if (then === "left") return;
        heir = Socket.open();
        assertEquals(heir.fd, fd);
        heir.connectSync(listener.address);
      });
      const result = await pending;
      // Whether it has settled by then is a matter of microtasks.
      if (result !== undefined) assertErrno(result, "ECANCELED");
      const after = watched.calls.slice(closed).filter(({ args }) =>
        args[0] === fd
      );
      const own = then === "left" ? ["close"] : [
        "close",
        // The heir's own.
        "fcntl",
        "fcntl",
        "connect",
        "getpeername",
        "fcntl",
        "getsockname",
      ];
      assertEquals(after.map(({ name }) => name).sort(), own.sort());
      (heir as Socket | null)?.close();
      // What was connected in vain is in the backlog, and keeps it full.
      await pause(5);
    }
  },
  { skip: needs(canBlackHole(), onLinux) },
);

test("Socket#connect() heeds a signal that is aborted just after its wake-up", async () => {
  const wakes: Wake[] = [SPURIOUS];
  using kernel = follow(wakes);
  let wake: (result: number) => void = () => {};
  using watched = watchLibc({
    ...kernel.fakes,
    pollAsync: () => new Promise((resolve) => wake = resolve),
  });
  using socket = Socket.open();
  const controller = new AbortController();
  const pending = outcome(
    socket.connect(inet("127.0.0.1", 1), { signal: controller.signal }),
  );
  const isParked = () =>
    watched.count("pollAsync") + watched.count("watchReadable") > 0;
  while (!isParked()) await pause(1);
  kernel.go();
  wake(1);
  queueMicrotask(() => controller.abort("late"));
  const parks = watched.count("pollAsync");
  assertEquals(await pending, "late");
  assertLessOrEqual(watched.count("pollAsync"), parks + 1);
  wake(1);
});

// The state machine, on a kernel that follows a script.

const WAIT_SCRIPTS: readonly Script[] = [
  ...SCRIPTS,
  {
    title: "woken without news, again and again",
    wakes: [...new Array<Wake>(50).fill(SPURIOUS), WRITABLE],
    ends: "connected",
  },
  {
    title: "many soft errors, then the handshake",
    wakes: [...new Array<Wake>(50).fill(SOFT), WRITABLE],
    ends: "connected",
  },
];

/** A kernel that has one attempt under way. */
interface Kernel extends Disposable {
  readonly fakes: Partial<Libc>;
  /** Lets the next wake-up come; until then, nothing does. */
  go(): void;
  /** How often it was asked what there is. */
  readonly looks: number;
}

/** Follows a script of wake-ups, by the array of poll(2). */
function follow(wakes: readonly Wake[]): Kernel {
  const { littleEndian, pollfd, errnos } = abi;
  const rest = [...wakes];
  const scripted = scriptedSocket();
  let looks = 0;
  let socket = -1;

  function look(fds: Uint8Array, count: number): number {
    looks++;
    const view = new DataView(fds.buffer, fds.byteOffset);
    let ready = 0;
    for (let i = 0; i < count; i++) {
      const at = i * pollfd.size;
      const isSocket = view.getInt32(at + pollfd.fd, littleEndian) === socket;
      let mask = 0;
      if (isSocket) {
        mask = maskOf(scripted.revents);
      } else {
        const own = fds.slice(at, at + pollfd.size);
        if (system.poll(own, 1, 0) > 0) {
          mask = new DataView(own.buffer).getInt16(
            pollfd.revents,
            littleEndian,
          );
        }
      }
      view.setInt16(at + pollfd.revents, mask, littleEndian);
      if (mask !== 0) ready++;
    }
    return ready;
  }

  return {
    fakes: {
      ...scripted.fakes,
      abi: { ...abi, epoll: null },
      connect(fd) {
        socket = fd;
        return -errnos.EINPROGRESS!;
      },
      poll: look,
    },
    go() {
      const next = rest.shift();
      if (next !== undefined) scripted.wake(next);
    },
    get looks() {
      return looks;
    },
    [Symbol.dispose]() {
      assertEquals(rest, [], "the script was not played to its end");
    },
  };
}

for (const { title, wakes, ends } of WAIT_SCRIPTS) {
  test(`Socket#connect() ends right: ${title}`, async () => {
    using kernel = follow(wakes);
    using _watched = watchLibc({
      ...kernel.fakes,
      // A parked wait ends when the script has gone on.
      async pollAsync() {
        await pause(0);
        kernel.go();
        return 1;
      },
    });
    using socket = Socket.open();
    const result = await outcome(
      socket.connect(inet("127.0.0.1", 80), {
        timeout: AGES,
        softErrors: "wait",
      }),
    );
    if (ends === "connected") assertEquals(result, undefined);
    else assertErrno(result, ends);
  });
}

test("Socket#connect() does not spin on a socket with a soft error", async () => {
  using kernel = follow([SOFT]);
  using watched = watchLibc({
    ...kernel.fakes,
    async pollAsync(fds, count, timeout) {
      const end = performance.now() + timeout;
      while (performance.now() < end) {
        await pause(1);
        if (kernel.fakes.poll!(fds, count, 0) > 0) break;
      }
      return 1;
    },
  });
  using socket = Socket.open();
  const pending = refusal(
    socket.connect(inet("127.0.0.1", 80), {
      timeout: 1000,
      softErrors: "wait",
    }),
  );
  const isParked = () =>
    watched.count("pollAsync") + watched.count("watchReadable") > 0;
  while (!isParked()) await pause(1);
  const calls = watched.calls.length;
  kernel.go();
  const error = await pending;
  // What came is what the deadline reports.
  assertErrno(error, "EHOSTUNREACH");
  assertEquals(error.soft, true);
  const names = watched.names.slice(calls);
  assertEquals(names.filter((name) => name === "getsockopt").length, 1);
  // It woke up for the error, and perhaps a little early for the end.
  const parks = names.filter((name) => name === "pollAsync").length;
  assert(parks >= 1 && parks <= 4, `parked ${parks} times`);
});

// Soft errors of the kernel's own.

const cannotFilter = needs(canFilter(), onLinux);

for (const poll of [false, true]) {
  for (const readErrorQueue of [false, true]) {
    const how = `${readErrorQueue ? "with" : "without"} a queue of errors on ${
      poll ? "poll" : "epoll"
    }`;

    test(
      `Socket#connect() outlasts ICMP errors that pass, and reports those that stay, ${how}`,
      async () => {
        const { results, passed, soft, looks } = await inChild(
          { namespace: FIREWALL },
          async (
            { ErrnoError, inet, listen, Socket, watchLibc },
            hosts,
            readErrorQueue,
            abi,
          ) => {
            using watched = watchLibc(
              abi === null ? {} : { abi: abi as unknown as Libc["abi"] },
            );
            function open(): Socket {
              const socket = Socket.open({ nonblocking: true });
              socket.setOption("readErrorQueue", readErrorQueue);
              return socket;
            }
            async function attempt(
              host: string,
              port: number,
              timeout: number,
            ): Promise<string> {
              using socket = open();
              try {
                await socket.connect(inet(host, port), {
                  timeout,
                  softErrors: "wait",
                });
                return "connected";
              } catch (error) {
                if (!(error instanceof ErrnoError)) throw error;
                return error.timeoutKind ?? error.code;
              }
            }
            using listener = listen({ at: inet("127.0.2.1", 0) });
            const { port } = listener.address;
            const [passed, soft, ...results] = await Promise.all([
              attempt("127.0.2.1", port, 30_000),
              attempt("127.0.3.1", 80, 1500),
              ...hosts.map((host) => attempt(host, 80, 30_000)),
            ]);
            const looks = watched.count("pollAsync");
            return { results, passed: passed!, soft: soft!, looks };
          },
          REJECTED.map(([host]) => host),
          readErrorQueue,
          poll ? JSON.parse(JSON.stringify({ ...abi, epoll: null })) : null,
        );
        assertEquals(results, REJECTED.map(([, code]) => code));
        assertEquals(passed, "connected");
        assertEquals(soft, "EHOSTUNREACH");
        // Ten attempts, two events each, and then some.
        assertLess(looks, 100);
      },
      { skip: cannotFilter },
    );
  }
}

test(
  "Socket#connect() throws EMFILE when the reactor has no descriptor left",
  async () => {
    const result = await inChild(
      { command: ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh"] },
      async ({ blackHole, ErrnoError, listenToSignals, Socket }) => {
        listenToSignals();
        using hole = blackHole();
        const sockets: Socket[] = [];
        function fill(): void {
          try {
            for (;;) sockets.push(Socket.open());
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
          }
        }
        const results: string[] = [];
        async function attempt(timeout: number): Promise<void> {
          try {
            await sockets[0]!.connect(hole.address, { timeout });
            results.push("connected");
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
            results.push(error.code);
          }
        }
        fill();
        await attempt(60_000);
        sockets.pop()!.close();
        // Room for one of the two that it needs.
        await attempt(60_000);
        sockets.pop()!.close();
        await attempt(30);
        for (const socket of sockets) socket.close();
        return results;
      },
    );
    assertEquals(result, ["EMFILE", "EMFILE", "ETIMEDOUT"]);
  },
  // Bun itself dies where it can open nothing (ProcessFdQuotaExceeded, 1.4).
  { skip: needs(on("deno", "node"), canBlackHole(), onLinux) },
);

test(
  "Socket#connect() is not lost to the garbage collector while it is pending",
  async () => {
    using hole = blackHole();
    using _watched = watchLibc();
    const socket = new WeakRef(Socket.open());
    const pending = socket.deref()!.connect(hole.address, { timeout: AGES });
    for (let i = 0; i < 10; i++) {
      await pause(5);
      gc();
    }
    hole.accept().close();
    await pending;
    socket.deref()?.close();
  },
  {
    skip: needs(
      canBlackHole(),
      typeof gc === "function" ? null : "needs --expose-gc",
    ),
  },
);

/** Waits until poll(2) has something to say of a descriptor. */
async function untilWritable(fd: number): Promise<void> {
  const { pollfd, POLLOUT, littleEndian } = abi;
  const own = new Uint8Array(new ArrayBuffer(pollfd.size));
  const view = new DataView(own.buffer);
  view.setInt32(pollfd.fd, fd, littleEndian);
  view.setInt16(pollfd.events, POLLOUT, littleEndian);
  const end = performance.now() + AGES;
  while (system.poll(own, 1, 0) === 0) {
    assertLess(performance.now(), end);
    await pause(5);
  }
}

declare function setImmediate(callback: () => void): unknown;
declare function gc(): void;

test(
  "connect() waits in a process that may have no Unix-domain socket",
  async () => {
    using silent = blackHole();
    const { AF_UNIX, errnos } = system.abi;
    using watched = watchLibc({
      socket: (domain, type, protocol) =>
        domain === AF_UNIX
          ? -errnos.EAFNOSUPPORT!
          : system.socket(domain, type, protocol),
    });
    const { hostname, port } = silent.address;
    const error = await assertRejects(
      () => connect({ hostname, port, timeout: 20 }),
      ErrnoError,
    );
    assertEquals(error.code, "ETIMEDOUT");
    assert(watched.count("socket") >= 1);
  },
  { skip: canBlackHole() },
);
