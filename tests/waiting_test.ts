/**
 * Waits that other things get in the way of: threads that are all blocked, events that stay for good, calls that fail, and
 * who else wants a turn.
 */
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import type { Libc, Watch } from "../ffi/contract.ts";
import { currentAbi, libc, useLibc } from "../ffi/libc.ts";
import { connect, type ErrnoCode, inet, Socket } from "../mod.ts";
import { pollFd } from "../src/attempt/outcome.ts";
import { afterAll } from "../src/reactor/turns.ts";
import { assertErrno, pause, refusal } from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  type ChildApi,
  inChild,
  pair,
  tempFolder,
  threadTime,
} from "./_fixtures.ts";
import { hasCommand, needs, on, test } from "./_harness.ts";

const abi = currentAbi();

/** More than any runtime has threads for files and lookups. */
const JOBS = 40;

/** Milliseconds that a thing of 100 ms takes on a machine that is busy. */
const LATE = 2_000;

// A pool of threads that is blocked -------------------------------------------------

test(
  "connect() and ready() go on while every thread of the runtime's pool is blocked",
  async () => {
    using folder = tempFolder();
    const result = await inChild({}, amidBlockedThreads, folder.path, JOBS);
    assertEquals(result.end, "ETIMEDOUT");
    assertGreater(result.deadline, 195);
    assertLess(result.deadline, LATE);
    assertLess(Math.min(...result.seen), LATE / 4);
    assertLess(result.connects, 4 * LATE);
  },
  { skip: needs(canBlackHole(), hasCommand("mkfifo")) },
);

async function amidBlockedThreads(
  { blackHole, connect, inet, listen, Socket }: ChildApi,
  folder: string,
  jobs: number,
): Promise<
  { end: string; deadline: number; seen: number[]; connects: number }
> {
  const { execFileSync } = await import("node:child_process");
  const { closeSync, openSync } = await import("node:fs");
  const { open } = await import("node:fs/promises");
  const paths = Array.from({ length: jobs }, (_, i) => `${folder}/${i}`);
  execFileSync("mkfifo", paths);
  // Each holds a thread until somebody opens the other end.
  const files = paths.map(async (path) => (await open(path, "r")).close());
  // A process waits for its threads before it ends, also by an error.
  await using _ends = {
    async [Symbol.asyncDispose]() {
      // To open it for both does not wait for another end.
      const ends = paths.map((path) => openSync(path, "r+"));
      await Promise.all(files);
      for (const end of ends) closeSync(end);
    },
  };
  using hole = blackHole();
  let start = performance.now();
  let end = "";
  try {
    const { hostname, port } = hole.address;
    (await connect({ hostname, port, timeout: 200 })).close();
  } catch (error) {
    end = (error as { code?: string }).code ?? String(error);
  }
  const deadline = performance.now() - start;

  using near = Socket.open({ type: "dgram" });
  using far = Socket.open({ type: "dgram" });
  near.bind(inet("127.0.0.1", 0));
  far.connectSync(near.localAddress!);
  const seen: number[] = [];
  for (let i = 0; i < 5; i++) {
    const ready = near.ready("POLLIN");
    await new Promise((resolve) => setTimeout(resolve, 30));
    start = performance.now();
    far.sendSync(new Uint8Array(1));
    await ready;
    seen.push(performance.now() - start);
    near.recvSync(new Uint8Array(1));
  }

  using listener = listen({ backlog: 1024 });
  start = performance.now();
  const { port } = listener.address;
  for (let i = 0; i < 1000; i++) {
    (await connect({ port })).close();
    if (i % 100 === 99) {
      for (let k = 0; k < 100; k++) listener.accept().close();
    }
  }
  const connects = performance.now() - start;
  return { end, deadline, seen, connects };
}

// Events that stay ------------------------------------------------------------------

for (const how of ["both", "read"] as const) {
  for (const isRef of [true, false]) {
    const whose = isRef ? "" : " that is unreferenced";
    test(
      `recv() on a datagram socket${whose} ends in time after shutdown("${how}")`,
      async () => {
        using peer = bound({ type: "dgram" });
        using socket = Socket.open({ type: "dgram" });
        socket.connectSync(peer.address);
        socket.shutdown(how);
        if (!isRef) socket.unref();
        let ticks = 0;
        const ticking = setInterval(() => ticks++, 10);
        const start = performance.now();
        const busy = threadTime();
        const reading = socket.recv(new Uint8Array(8), { timeout: 400 });
        assertErrno(await refusal(reading), "ETIMEDOUT");
        const time = performance.now() - start;
        clearInterval(ticking);
        assertGreater(time, 395);
        assertLess(time, LATE);
        // A busy machine lets few of them come; a thread that is held, none.
        assertGreater(ticks, 0);
        // To ask again and again would take all of it.
        assertLess(threadTime() - busy, 150);
      },
      { skip: abi.os === "linux" ? null : "a shutdown may end a read" },
    );
  }
}

test(
  "recv() ends at once by a datagram that comes while its events lead to nothing",
  async () => {
    using near = Socket.open({ type: "dgram" });
    using far = Socket.open({ type: "dgram" });
    near.bind(inet("127.0.0.1", 0));
    far.connectSync(near.localAddress!);
    near.connectSync(far.localAddress!);
    near.shutdown("read");
    const reading = near.recv(new Uint8Array(8), { timeout: 60_000 });
    await pause(300);
    const start = performance.now();
    far.sendSync(new Uint8Array(3));
    assertEquals(await reading, 3);
    assertLess(performance.now() - start, LATE);
  },
  { skip: abi.os === "linux" ? null : "a shutdown may end a read" },
);

// Calls of the reactor that fail -----------------------------------------------------

/** A call that fails, where, and what says so. */
const FAILING: readonly (readonly [
  what: string,
  code: ErrnoCode,
  syscall: string,
  fakes: (fail: () => number) => Partial<Libc>,
])[] = [
  ["epoll_ctl(2)", "ENOSPC", "epoll_ctl", (fail) => ({ epoll_ctl: fail })],
  ["epoll_wait(2)", "ENOMEM", "epoll_wait", (fail) => ({ epoll_wait: fail })],
  ["poll(2)", "ENOMEM", "poll", (fail) => ({
    abi: { ...abi, epoll: null },
    poll: fail,
  })],
  ["eventfd(2)", "EMFILE", "eventfd", (fail) => ({ eventfd: fail })],
  ["pipe(2)", "EMFILE", "pipe", (fail) => ({
    abi: { ...abi, epoll: null },
    pipe: fail,
  })],
];

for (const [what, code, syscall, fakes] of FAILING) {
  const skip = abi.epoll === null && !["poll", "pipe"].includes(syscall)
    ? `${abi.os} has no epoll`
    : null;
  test(`ready() fails with what ${what} has failed with`, async () => {
    const real = libc();
    const fail = () => -abi.errnos[code]!;
    using _use = useLibc({ ...real, ...fakes(fail) });
    using sockets = Socket.open({ type: "dgram" });
    const waits = [1, 2, 3].map(() => refusal(sockets.ready("POLLIN")));
    for (const error of await Promise.all(waits)) {
      assertErrno(error, code);
      assertEquals(error.syscall, syscall);
    }
  }, { skip });
}

test(
  "a wait that a revoked permission keeps from going on fails with the runtime's error",
  async () => {
    using hole = blackHole();
    const real = libc();
    let isRevoked = false;
    using _use = useLibc({
      ...real,
      prepare() {
        if (isRevoked) throw new TypeError("revoked");
      },
      epoll_wait(...args) {
        if (isRevoked) throw new TypeError("revoked");
        return real.epoll_wait(...args);
      },
    });
    const { hostname, port } = hole.address;
    const pending = refused(connect({ hostname, port, timeout: 60_000 }));
    await pause(20);
    isRevoked = true;
    assertEquals(await pending, "TypeError: revoked");
    const late = refused(connect({ hostname, port, timeout: 100 }));
    assertEquals(await late, "TypeError: revoked");
  },
  { skip: needs(canBlackHole(), abi.epoll === null ? "epoll" : null) },
);

test(
  "an abort finds no wait that the runtime kept from beginning",
  async () => {
    const real = libc();
    using _use = useLibc({
      ...real,
      epoll_ctl(epfd, op, fd, event) {
        if (fd === socket.fd) throw new TypeError("revoked");
        return real.epoll_ctl(epfd, op, fd, event);
      },
    });
    using socket = Socket.open({ type: "dgram" });
    const controller = new AbortController();
    const { signal } = controller;
    for (let i = 0; i < 2; i++) {
      const waiting = refused(socket.ready("POLLIN", { signal }));
      assertEquals(await waiting, "TypeError: revoked");
    }
    controller.abort();
    await pause(5);
  },
  { skip: abi.epoll === null ? "epoll" : null },
);

async function refused(work: Promise<unknown>): Promise<string> {
  try {
    return `${await work}`;
  } catch (error) {
    return String(error);
  }
}

test(
  "connect() settles when ffi was revoked after the library was opened",
  async () => {
    const outcomes = await inChild(
      {},
      async ({ blackHole, connect, listen }) => {
        using listener = listen();
        using hole = blackHole();
        (await connect(listener.address)).close();
        const { hostname, port } = hole.address;
        const before = connect({ hostname, port, timeout: 300 });
        const outcomes: string[] = [];
        const note = (error: unknown) => {
          const { code, name } = error as Error & { code?: string };
          outcomes.push(code ?? name);
        };
        const noted = before.catch(note);
        await new Promise((resolve) => setTimeout(resolve, 20));
        const { Deno } = globalThis as unknown as {
          Deno: { permissions: { revokeSync(what: { name: "ffi" }): void } };
        };
        Deno.permissions.revokeSync({ name: "ffi" });
        await noted;
        await connect({ hostname, port, timeout: 100 }).catch(note);
        return outcomes;
      },
    );
    assertEquals(outcomes.length, 2);
    for (const outcome of outcomes) {
      assert(["ETIMEDOUT", "NotCapable"].includes(outcome), `${outcomes}`);
    }
  },
  { skip: needs(on("deno"), canBlackHole()) },
);

// A descriptor that another thread polls ---------------------------------------------

test("close() closes a connection at once although a wait for it is parked", async () => {
  // Another thread or a worker polls here, on every runtime.
  using _use = useLibc({ ...libc(), watchReadable: () => null });
  for (let i = 0; i < 5; i++) {
    using ends = pair();
    const { near, far } = ends;
    const buffer = new Uint8Array(1);
    // The second wait, and each one that follows, is parked at once.
    const first = near.recv(buffer);
    await pause(20);
    far.sendSync(buffer);
    assertEquals(await first, 1);
    const reading = refusal(near.recv(buffer));
    await pause(20);
    near.close();
    const start = performance.now();
    // No turn of the event loop comes before the peer notices.
    assertGreater(pollFd(libc(), far.fd, abi.POLLIN, LATE), 0);
    assertEquals(far.recvSync(buffer), 0);
    assertLess(performance.now() - start, LATE / 2);
    assertErrno(await reading, "ECANCELED");
  }
});

test("close() frees a port at once although a wait for it is parked", async () => {
  for (let i = 0; i < 40; i++) {
    const type = i % 2 === 0 ? "stream" : "dgram";
    const old = Socket.open({ type });
    old.bind(inet("127.0.0.1", 0));
    const address = old.localAddress!;
    if (type === "stream") old.listen();
    await pause(5);
    const waiting = refusal(
      type === "stream" ? old.accept() : old.recv(new Uint8Array(1)),
    );
    await pause(5);
    old.close();
    using again = Socket.open({ type });
    again.bind(address);
    assertErrno(await waiting, "ECANCELED");
  }
});

// Whose turn it is --------------------------------------------------------------------

test("no other work is late because of loops over connects", async () => {
  const late = await inChild({}, besideLoops, 16, 600);
  for (const median of Object.values(late)) {
    // An echo takes two turns: to be sent, and to be heard.
    assertLess(median, 20, JSON.stringify(late));
  }
});

/** How many turns pass while some work goes on. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let count = 0;
  let isOver = false;
  function turn(): void {
    if (isOver) return;
    count++;
    setImmediate(turn);
  }
  setImmediate(turn);
  await work();
  isOver = true;
  return count;
}

test("a loop over connections that have come in leaves turns to all other work", async () => {
  using listener = Socket.open();
  listener.bind(inet("127.0.0.1", 0));
  listener.listen(2000);
  const { localAddress } = listener;
  for (let i = 0; i < 1000; i++) {
    using socket = Socket.open();
    socket.connectSync(localAddress);
  }
  const count = await turnsDuring(async () => {
    for (let i = 0; i < 1000; i++) (await listener.accept()).close();
  });
  // They take ten milliseconds and more; without a turn, none has come by then.
  assertGreater(count, 1);
});

/** How many turns pass before everybody has had one. */
function turnsForAll(c: Libc): Promise<number> {
  return turnsDuring(() =>
    new Promise<void>((resolve) => afterAll(c, resolve))
  );
}

test("afterAll() takes one turn where nothing has come, and all of them now and then", async () => {
  let isNew = false;
  const c: Libc = { ...libc(), turns: 64, hasNews: () => isNew };
  // A busy machine may take the time away that one look is trusted for.
  let fewest = Infinity;
  for (let i = 0; i < 50 && fewest > 2; i++) {
    await pause(30);
    assertGreater(await turnsForAll(c), 60);
    fewest = Math.min(fewest, await turnsForAll(c));
  }
  assertLess(fewest, 3);
  isNew = true;
  await turnsForAll(c);
  assertGreater(await turnsForAll(c), 60);
});

/**
 * How long each kind of work waits for its turn beside loops of refused connects: the median, in ms of this thread's own
 * processor time. By the clock on the wall it is as long as the rest of the machine lets it be.
 */
async function besideLoops(
  { bound, connect, threadTime }: ChildApi,
  loops: number,
  time: number,
): Promise<Record<string, number>> {
  const { spawn } = await import("node:child_process");
  const { readFile } = await import("node:fs/promises");
  const net = await import("node:net");
  const { Worker } = await import("node:worker_threads");
  using refuser = bound();
  const { port } = refuser.address;

  const server = net.createServer((socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve());
  });
  const { port: echo } = server.address() as { port: number };
  const socket = net.connect(echo, "127.0.0.1");
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  const worker = new Worker(
    `const { parentPort } = process.getBuiltinModule("node:worker_threads");
     parentPort.on("message", (text) => parentPort.postMessage(text));`,
    { eval: true },
  );
  const kinds: Record<string, () => Promise<unknown>> = {
    timer: () => new Promise((resolve) => setTimeout(resolve, 1)),
    socket() {
      const echoed = new Promise((resolve) => socket.once("data", resolve));
      socket.write("x");
      return echoed;
    },
    worker() {
      const echoed = new Promise((resolve) => worker.once("message", resolve));
      worker.postMessage("x");
      return echoed;
    },
    file: () => readFile("/dev/null"),
    child: () =>
      new Promise((resolve) => {
        spawn("true", { stdio: "ignore" }).on("exit", resolve);
      }),
  };
  // Each of them has been used once, so that nothing is loaded meanwhile.
  for (const work of Object.values(kinds)) await work();

  let isOver = false;
  async function loop(): Promise<void> {
    while (!isOver) await connect({ port }).catch(() => {});
  }
  const looping = Array.from({ length: loops }, loop);
  const medians: Record<string, number> = {};
  for (const [kind, work] of Object.entries(kinds)) {
    const times: number[] = [];
    for (const end = performance.now() + time; performance.now() < end;) {
      const start = threadTime();
      await work();
      times.push(threadTime() - start);
    }
    times.sort((one, other) => one - other);
    medians[kind] = times[times.length >> 1]!;
  }
  isOver = true;
  await Promise.all(looping);
  socket.destroy();
  server.close();
  await worker.terminate();
  return medians;
}

// A loop that does not notice --------------------------------------------------------

/** Ways in which a runtime's own loop may fail to watch a descriptor. */
const DEAF: Readonly<Record<string, () => Watch | null>> = {
  "cannot watch": () => null,
  "refuses every wait": () => ({
    wait: () => Promise.resolve(-1),
    close() {},
  }),
  "breaks off every wait": () => ({
    wait: () => Promise.reject(new Error("not watched")),
    close() {},
  }),
  "never notices anything"() {
    let end: (result: number) => void = () => {};
    return {
      wait() {
        const { promise, resolve } = Promise.withResolvers<number>();
        // A wait keeps the process alive.
        const timer = setTimeout(() => resolve(-1), 60_000);
        end = (result) => {
          clearTimeout(timer);
          resolve(result);
        };
        return promise;
      },
      close: () => end(-1),
    };
  },
};

for (const [what, watchReadable] of Object.entries(DEAF)) {
  test(
    `ready() and its deadline hold where the runtime's loop ${what}`,
    async () => {
      using _use = useLibc({ ...libc(), watchReadable });
      using near = Socket.open({ type: "dgram" });
      using far = Socket.open({ type: "dgram" });
      near.bind(inet("127.0.0.1", 0));
      far.connectSync(near.localAddress!);
      for (let i = 0; i < 8; i++) {
        const ready = near.ready("POLLIN", { timeout: 60_000 });
        await pause(10);
        const start = performance.now();
        far.sendSync(new Uint8Array(1));
        assertEquals(await ready, ["POLLIN"]);
        assertLess(performance.now() - start, LATE);
        near.recvSync(new Uint8Array(1));
        const late = performance.now();
        assertEquals(await near.ready("POLLIN", { timeout: 20 }), []);
        assertLess(performance.now() - late, LATE);
      }
    },
    { skip: abi.epoll === null ? `${abi.os} has no epoll` : null },
  );
}

test("ready() ends in time where a wait is missed after many that were not", async () => {
  const real = libc();
  let isDeaf = false;
  let end: (result: number) => void = () => {};
  using _use = useLibc({
    ...real,
    watchReadable: () => null,
    pollAsync(...args) {
      if (!isDeaf) return real.pollAsync(...args);
      return new Promise((resolve) => end = resolve);
    },
  });
  using near = Socket.open({ type: "dgram" });
  using far = Socket.open({ type: "dgram" });
  near.bind(inet("127.0.0.1", 0));
  far.connectSync(near.localAddress!);
  /** How long it takes to notice a datagram. */
  async function notice(): Promise<number> {
    const ready = near.ready("POLLIN");
    await pause(20);
    const start = performance.now();
    far.sendSync(new Uint8Array(1));
    assertEquals(await ready, ["POLLIN"]);
    near.recvSync(new Uint8Array(1));
    return performance.now() - start;
  }
  const alive = setInterval(() => {}, 1000);
  for (const start = performance.now(); performance.now() < start + 1000;) {
    await notice();
  }
  isDeaf = true;
  assertLess(await notice(), LATE);
  end(1);
  clearInterval(alive);
});
