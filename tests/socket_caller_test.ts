/** Whose line the errors of a socket point at: the first frame that is not the package's is the one that called it. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { libc, useLibc } from "../ffi/libc.ts";
import { inet, Socket } from "../mod.ts";
import { AGES, turns } from "./_assertions.ts";
import { fullPair, pair } from "./_fixtures.ts";
import { test } from "./_harness.ts";

/** Checks that the first frame of an error that is not the package's is a line of this file. */
function assertPointsHere(error: unknown): void {
  assertInstanceOf(error, Error);
  const frames = (error.stack ?? "").split("\n")
    .filter((line) => /^\s*at /.test(line));
  const first = frames.find((line) => !/\/(?:src|ffi)\/[\w/]+\.ts/.test(line));
  assert(first?.includes("socket_caller_test.ts"), error.stack);
}

const bytes = new Uint8Array(4);

/** Calls that have to wait, and then fail by their deadline. */
const LATE: Readonly<Record<string, (socket: Socket) => Promise<unknown>>> = {
  recv: (socket) => socket.recv(bytes, { timeout: 5 }),
  recvFrom: (socket) => socket.recvFrom(bytes, { timeout: 5 }),
  recvExactly: (socket) => socket.recvExactly(4, { timeout: 5 }),
  recvUntil: (socket) => socket.recvUntil("x", { timeout: 5 }),
  send: (socket) => socket.send(bytes, { timeout: 5 }),
  sendAll: (socket) => socket.sendAll(bytes, { timeout: 5 }),
};

for (const [name, call] of Object.entries(LATE)) {
  test(`${name}() points at its caller when it has waited`, async () => {
    using ends = fullPair();
    const { near } = ends;
    async function userCode(): Promise<unknown> {
      return await call(near);
    }
    const error = await userCode().then(null, (error) => error);
    assertEquals(error.code, "ETIMEDOUT");
    assertPointsHere(error);
    // However it is waited for.
    const [result] = await Promise.allSettled([call(near)]);
    assertPointsHere((result as PromiseRejectedResult).reason);
  });
}

/** Calls that somebody's close() ends. */
const ENDED: Readonly<Record<string, (socket: Socket) => Promise<unknown>>> = {
  recv: (socket) => socket.recv(bytes),
  ready: (socket) => socket.ready("POLLIN", { timeout: AGES }),
  read: (socket) => socket.read(bytes),
};

for (const [name, call] of Object.entries(ENDED)) {
  test(`${name}() points at its caller when the socket is closed`, async () => {
    using ends = pair();
    const work = call(ends.near).then(null, (error) => error);
    await turns();
    ends.near.close();
    const error = await work;
    assertEquals(error.code, "ECANCELED");
    assertPointsHere(error);
  });
}

/** Calls whose wait fails: the system watches no more descriptors. */
const UNWATCHED: Readonly<
  Record<string, (socket: Socket) => Promise<unknown>>
> = {
  recv: (socket) => socket.recv(bytes),
  recvFrom: (socket) => socket.recvFrom(bytes),
  recvExactly: (socket) => socket.recvExactly(4),
  send: (socket) => socket.send(bytes),
  ready: (socket) => socket.ready("POLLIN", { timeout: AGES }),
  read: (socket) => socket.read(bytes),
};

for (const [name, call] of Object.entries(UNWATCHED)) {
  test(`${name}() points at its caller when its wait fails`, async () => {
    const real = libc();
    const { ENOSPC, ENOMEM } = real.abi.errnos;
    using _use = useLibc({
      ...real,
      epoll_ctl: (_epfd, _op, fd) => fd === near.fd ? -ENOSPC! : 0,
      ...real.abi.epoll === null ? { poll: () => -ENOMEM! } : {},
    });
    using ends = fullPair();
    const { near } = ends;
    const error = await call(near).then(null, (error) => error);
    assertEquals(error.code, real.abi.epoll === null ? "ENOMEM" : "ENOSPC");
    assertPointsHere(error);
  });
}

/** Calls that fail at once. */
const EARLY: Readonly<Record<string, (socket: Socket) => unknown>> = {
  recvSync: (socket) => socket.recvSync(bytes),
  recvFromSync: (socket) => socket.recvFromSync(bytes),
  recv: (socket) => socket.recv(bytes),
  send: (socket) => socket.send(bytes),
  sendSync: (socket) => socket.sendSync(bytes),
  write: (socket) => socket.write(bytes),
  remoteAddr: (socket) => socket.remoteAddr,
  bind: (socket) => socket.bind(inet("192.0.2.1", 1)),
  setOption: (socket) => socket.setOption("interface", "nowhere"),
  toNodeSocket: (socket) => socket.toNodeSocket(),
  shutdown: (socket) => socket.shutdown("write"),
};

for (const [name, call] of Object.entries(EARLY)) {
  test(`${name}() points at its caller when it fails at once`, async () => {
    using socket = Socket.open({ nonblocking: true });
    let error: unknown;
    try {
      await call(socket);
    } catch (caught) {
      error = caught;
    }
    assertPointsHere(error);
  });
}
