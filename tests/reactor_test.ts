import {
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertLessOrEqual,
  assertNotEquals,
} from "@std/assert";
import { getEventListeners } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type * as Floor from "../ffi/libc.ts";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import { performance } from "../ffi/timers.ts";
import { Errno, ErrnoError } from "../mod.ts";
import { ByDescriptor } from "../src/reactor/by_descriptor.ts";
import {
  ABORTED,
  cancelWaits,
  CLOSED,
  type Crowd,
  timeoutTo,
  unwatch,
  waitForEvents,
  watch,
  watchFor,
} from "../src/reactor/reactor.ts";
import { pause } from "./_assertions.ts";
import { inChild, socketPair, tempFolder, watchLibc } from "./_fixtures.ts";
import { test } from "./_harness.ts";

const abi = currentAbi();
const { POLLIN, POLLOUT, POLLHUP, POLLNVAL } = abi;
const { EMFILE } = abi.errnos;
/** The system's C library, also while a fake is in force. */
const real = libc();

/** Where a child finds the C library. */
const FLOOR = import.meta.resolve("../ffi/libc.ts");

/** Milliseconds that no test waits for, unless something is wrong. */
const AGES = 30_000;

/** A number beyond any that the system gives away. */
const NO_DESCRIPTOR = 1_000_000_000;

/** A mechanism, and what it takes to make the reactor use it. */
interface Mechanism {
  readonly name: string;
  readonly fakes: Partial<Libc>;
  /** The call that looks, and the one that opens what the reactor needs. */
  readonly look: "epoll_wait" | "poll";
  readonly open: "epoll_create1" | "pipe";
  readonly skip: string | null;
  /** Whether this runtime has it besides the others. */
  readonly isOwn?: () => boolean;
}

const MECHANISMS: readonly Mechanism[] = [
  {
    name: "epoll",
    fakes: {},
    look: "epoll_wait",
    open: "epoll_create1",
    skip: abi.epoll === null ? `${abi.os} has no epoll` : null,
  },
  {
    name: "epoll without the runtime's loop",
    fakes: { watchReadable: () => null },
    look: "epoll_wait",
    open: "epoll_create1",
    skip: abi.epoll === null ? `${abi.os} has no epoll` : null,
    isOwn: () => real.watchReadable !== undefined,
  },
  {
    name: "poll",
    fakes: { abi: { ...abi, epoll: null } },
    look: "poll",
    open: "pipe",
    skip: null,
  },
];

/** Two datagram sockets, each the other's peer. */
interface Pair extends Disposable {
  readonly fd: number;
  readonly peer: number;
  /** Gives `fd` something to read. */
  send(): void;
  /** Takes it again. */
  receive(): void;
}

function pair(type: number = abi.SOCK_DGRAM): Pair {
  const [fd, peer] = socketPair(type);
  const byte = newMemory(1);
  return {
    fd,
    peer,
    send() {
      assertEquals(real.sendto(peer, byte, 1, abi.MSG_DONTWAIT, null, 0), 1);
    },
    receive() {
      const got = real.recvfrom(fd, byte, 1, abi.MSG_DONTWAIT, null);
      assertEquals(got, 1);
    },
    [Symbol.dispose]() {
      real.close(fd);
      real.close(peer);
    },
  };
}

/** As many pairs as are asked for, closed together. */
function pairs(count: number): Pair[] & Disposable {
  const all = Array.from({ length: count }, () => pair());
  return Object.assign(all, {
    [Symbol.dispose]() {
      for (const one of all) one[Symbol.dispose]();
    },
  });
}

/** The result of a wait, or the call that has failed and how. */
async function outcome(wait: Promise<number>): Promise<number | string> {
  try {
    return await wait;
  } catch (error) {
    assertInstanceOf(error, ErrnoError);
    return `${error.syscall}: ${error.code}`;
  }
}

/** Waits without end, and passes the result on. */
function wait(
  c: Libc,
  fd: number,
  events: number,
  notify: (result: number) => void,
): void {
  const signal = undefined;
  const place = { since: 0, place: -1, next: null, tries: 0 };
  function fail(error: unknown): void {
    throw error;
  }
  const waiter = { fd, events, end: Infinity, signal, isRecallable: false };
  watch(c, { ...waiter, notify, fail, ...place });
}

/** A crowd that keeps what it is notified of. */
interface Noting extends Crowd {
  end: number;
  /** Descriptors and events. */
  readonly news: [fd: number, events: number][];
  /** When it was made to expire. */
  readonly expired: number[];
  readonly errors: unknown[];
  /** Called with each descriptor that it is notified of. */
  onNews: (fd: number) => void;
}

function newCrowd(): Noting {
  return {
    end: Infinity,
    news: [],
    expired: [],
    errors: [],
    onNews: () => {},
    sinceOf: () => 0,
    notify(fd, events) {
      this.news.push([fd, events]);
      this.onNews(fd);
    },
    expire(now) {
      this.expired.push(now);
      this.end = Infinity;
      return false;
    },
    fail(error) {
      this.errors.push(error);
    },
  };
}

/** Lets everything have a turn that is ready for one. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await pause(0);
}

/** Lets time pass until something holds. */
async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + AGES;
  while (!holds()) {
    assertLess(performance.now(), end, `for ages, not ${what}`);
    await pause(1);
  }
}

/** A reactor of its own over the system's C library, and what it calls. */
interface Bench extends Disposable {
  readonly c: Libc;
  /** How often a C function was called so far. */
  count(name: string): number;
  wait(
    fd: number,
    events: number,
    timeout?: number,
    signal?: AbortSignal,
  ): Promise<number>;
  /** How many waits were parked so far. */
  parked(): number;
  /** Resolves when a wait is parked. */
  parks(): Promise<void>;
  /** Resolves when the reactor has given up all that it opened. */
  rests(): Promise<void>;
}

function bench({ fakes }: Mechanism, more: Partial<Libc> = {}): Bench {
  let parked = 0;
  let isParked = false;
  function park(wait: () => Promise<number>): Promise<number> {
    parked++;
    isParked = true;
    return wait().finally(() => isParked = false);
  }
  const base = { ...real, ...fakes, ...more };
  // A fake of the one is none of the other.
  const watchReadable = "pollAsync" in more ? undefined : base.watchReadable;
  const watched = watchLibc({
    ...base,
    pollAsync: (...args) => park(() => base.pollAsync(...args)),
    watchReadable(fd) {
      const watch = watchReadable?.(fd) ?? null;
      if (watch === null) return null;
      return {
        wait: () => park(() => watch.wait()),
        close: () => watch.close(),
      };
    },
  });
  const c = libc();
  let seen = 0;
  const counts = new Map<string, number>();
  function count(name: string): number {
    for (; seen < watched.calls.length; seen++) {
      const { name } = watched.calls[seen]!;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts.get(name) ?? 0;
  }
  return {
    c,
    count,
    wait(fd, events, timeout = AGES, signal) {
      return waitForEvents(c, fd, events, performance.now() + timeout, signal);
    },
    parked: () => parked,
    async parks() {
      // One that is woken for the sake of a newcomer is over by then.
      await turns(2);
      await until(() => isParked, "parked");
    },
    async rests() {
      const opened = count("epoll_create1") + count("eventfd") +
        2 * count("pipe");
      await until(() => count("close") === opened, "at rest");
    },
    [Symbol.dispose]() {
      watched[Symbol.dispose]();
    },
  };
}

/** Has waits end in every way while one call of the reactor throws. */
async function throwOnce(
  mechanism: Mechanism,
  call: keyof Libc,
  nth: number,
): Promise<void> {
  type Call = (...args: unknown[]) => unknown;
  const base = { ...real, ...mechanism.fakes };
  let left = nth;
  let open = 0;
  const fakes: Record<string, Call> = {};
  function count(name: keyof Libc, opened: (result: number) => number): void {
    fakes[name] = (...args) => {
      if (name === call && --left === 0) throw new TypeError("revoked");
      const result = (base[name] as Call)(...args);
      if (typeof result === "number") open += opened(result);
      return result;
    };
  }
  count(call, () => 0);
  count("epoll_create1", (fd) => fd < 0 ? 0 : 1);
  count("eventfd", (fd) => fd < 0 ? 0 : 1);
  count("pipe", (result) => result < 0 ? 0 : 2);
  count("close", () => -1);
  using b = bench(mechanism, fakes as Partial<Libc>);
  const where = `${call}, time ${nth}`;
  using all = pairs(4);
  const [first, second, third, fourth] = all as unknown as [
    Pair,
    Pair,
    Pair,
    Pair,
  ];
  const controller = new AbortController();
  const { signal } = controller;
  const crowd = newCrowd();
  /** Begins a wait; what keeps it from beginning is the caller's to see. */
  const begin = (fd: number, events: number, timeout = 100) =>
    b.wait(fd, events, timeout, signal).catch((error) => error);
  const early = [begin(first.fd, POLLIN), begin(first.fd, POLLIN, 50)];
  await pause(5);
  try {
    watchFor(b.c, crowd, third.fd, POLLIN);
  } catch (error) {
    assertInstanceOf(error, TypeError, where);
    crowd.errors.push(error);
  }
  const late = [begin(second.fd, POLLIN), begin(fourth.fd, POLLIN)];
  first.send();
  await pause(5);
  cancelWaits(b.c, fourth.fd);
  third.send();
  await pause(5);
  controller.abort();
  await Promise.all([...early, ...late]);
  await until(() => crowd.news.length + crowd.errors.length > 0, where);
  await until(() => open === 0, `at rest after ${where}`);
  left = 0;
  assertEquals(await b.wait(second.fd, POLLOUT), POLLOUT, where);
  await until(() => open === 0, `at rest again after ${where}`);
}

/** What every mechanism has to keep to. */
function suite(mechanism: Mechanism): void {
  const { name, look, open, skip } = mechanism;
  /** What comes of a wait for no descriptor. */
  const noDescriptor = look === "epoll_wait" ? "epoll_ctl: EBADF" : POLLNVAL;

  /** Registers a test of the contract that every mechanism keeps. */
  function contract(
    what: string,
    body: (bench: Bench) => void | Promise<void>,
    more: Partial<Libc> = {},
  ): void {
    test(`waitForEvents() on ${name} ${what}`, async () => {
      using own = bench(mechanism, more);
      await body(own);
      await own.rests();
    }, { skip });
  }

  contract("reports the events that are there", async ({ wait }) => {
    using one = pair();
    assertEquals(await wait(one.fd, POLLOUT), POLLOUT);
    one.send();
    assertEquals(await wait(one.fd, POLLIN), POLLIN);
    assertEquals(await wait(one.fd, POLLIN | POLLOUT), POLLIN | POLLOUT);
    one.receive();
    assertEquals(await wait(one.fd, POLLIN | POLLOUT), POLLOUT);
  });

  contract("notifies a crowd of each descriptor once", async (b) => {
    using all = pairs(3);
    const crowd = newCrowd();
    const fds = all.map(({ fd }) => fd);
    for (const fd of fds) watchFor(b.c, crowd, fd, POLLIN);
    await b.parks();
    all[1]!.send();
    await until(() => crowd.news.length > 0, "notified");
    all[0]!.send();
    all[1]!.send();
    await until(() => crowd.news.length > 1, "notified again");
    await turns(5);
    assertEquals(crowd.news, [[fds[1]!, POLLIN], [fds[0]!, POLLIN]]);
    watchFor(b.c, crowd, fds[1]!, POLLIN);
    await until(() => crowd.news.length > 2, "notified once more");
    assertEquals(crowd.news[2], [fds[1]!, POLLIN]);
    unwatch(b.c, fds[2]!);
    all[2]!.send();
    await turns(5);
    assertEquals(crowd.news.length, 3);
    assertEquals(crowd.errors, []);
  });

  contract("notifies a crowd when its time is over", async (b) => {
    using one = pair();
    const crowd = newCrowd();
    const start = performance.now();
    crowd.end = start + 40;
    watchFor(b.c, crowd, one.fd, POLLIN);
    await until(() => crowd.expired.length > 0, "expired");
    assertGreaterOrEqual(crowd.expired[0]!, start + 40);
    // What is there comes before that.
    one.send();
    crowd.end = performance.now();
    await until(() => crowd.news.length > 0, "notified");
    assertEquals(crowd.expired.length, 1);
  });

  contract("has a crowd expire in the turn that brings its news", async (b) => {
    // More than one look finds; a machine that is busy may need a few rounds.
    using all = pairs(100);
    using silent = pair();
    const crowd = newCrowd();
    watchFor(b.c, crowd, silent.fd, POLLIN);
    let isLater: boolean | null = null;
    for (let round = 0; isLater !== false; round++) {
      assertLess(round, 100);
      let isNextTurn = false;
      isLater = null;
      crowd.onNews = () => {
        crowd.onNews = () => {};
        setImmediate(() => isNextTurn = true);
      };
      crowd.expire = () => {
        crowd.end = Infinity;
        isLater = isNextTurn;
        return false;
      };
      crowd.end = performance.now();
      crowd.news.length = 0;
      for (const { fd } of all) watchFor(b.c, crowd, fd, POLLOUT);
      await until(() => crowd.news.length === all.length, "notified");
      await until(() => isLater !== null, "expired");
    }
    unwatch(b.c, silent.fd);
  });

  contract(
    "has a crowd expire while looks find as much as they can",
    async (b) => {
      // Each is ready again at once, and there are more of them than two looks find.
      using all = pairs(150);
      const fds = all.flatMap(({ fd, peer }) => [fd, peer]);
      const crowd = newCrowd();
      const heard = new Set<number>();
      crowd.onNews = (fd) => {
        if (crowd.expired.length > 0) return;
        heard.add(fd);
        for (const end = performance.now() + 0.05; performance.now() < end;);
        watchFor(b.c, crowd, fd, POLLOUT);
      };
      const end = performance.now();
      crowd.end = end;
      for (const fd of fds) watchFor(b.c, crowd, fd, POLLOUT);
      await until(() => crowd.expired.length > 0, "expired");
      assertGreaterOrEqual(crowd.expired[0]!, end);
      // None was over that had something to report.
      assertEquals(heard.size, fds.length);
      for (const fd of fds) unwatch(b.c, fd);
    },
  );

  contract("notifies a crowd of nothing that is gone", async (b) => {
    const ones = [pair(), pair()];
    const crowd = newCrowd();
    let other: Pair | null = null;
    crowd.onNews = (fd) => {
      if (other !== null) return;
      const gone = ones.find((one) => one.fd !== fd)!;
      unwatch(b.c, gone.fd);
      gone[Symbol.dispose]();
      // The same number, and nothing to read.
      other = pair();
      assertEquals(
        [other.fd, other.peer].includes(gone.fd),
        true,
        "the number is used again",
      );
      watchFor(b.c, crowd, gone.fd, POLLIN);
    };
    for (const one of ones) one.send();
    for (const { fd } of ones) watchFor(b.c, crowd, fd, POLLIN);
    await until(() => crowd.news.length > 0, "notified");
    await turns(5);
    assertEquals(crowd.news.length, 1);
    const [[first]] = crowd.news as [[number, number]];
    const kept = ones.find(({ fd }) => fd === first)!;
    const gone = ones.find(({ fd }) => fd !== first)!;
    unwatch(b.c, gone.fd);
    kept[Symbol.dispose]();
    other![Symbol.dispose]();
  });

  test(`a crowd on ${name} is notified of a look that fails`, async () => {
    using one = pair();
    let fails = false;
    using b = bench(mechanism, {
      [look]: (...args: unknown[]) =>
        fails
          ? -EMFILE!
          : (real[look] as (...args: unknown[]) => number)(...args),
    });
    const crowd = newCrowd();
    watchFor(b.c, crowd, one.fd, POLLIN);
    await b.parks();
    fails = true;
    one.send();
    await until(() => crowd.errors.length > 0, "failed");
    fails = false;
    const [error] = crowd.errors;
    assertInstanceOf(error, Errno.EMFILE);
    assertEquals(error.syscall, look);
    watchFor(b.c, crowd, one.fd, POLLIN);
    await until(() => crowd.news.length > 0, "notified of events");
    assertEquals(crowd.errors.length, 1);
    await b.rests();
  }, { skip });

  contract("reports a hang-up without being asked", async ({ wait }) => {
    using one = pair(abi.SOCK_STREAM);
    const came = wait(one.fd, POLLIN);
    real.shutdown(one.peer, abi.SHUT_RDWR);
    assertEquals(await came & POLLHUP, POLLHUP);
    assertEquals(await wait(one.fd, 0) & POLLHUP, POLLHUP);
  });

  contract("reports 0 when the time is over, and not before", async (b) => {
    using one = pair();
    for (const timeout of [0, 1, 20, 60]) {
      const start = performance.now();
      assertEquals(await b.wait(one.fd, POLLIN, timeout), 0);
      assertGreaterOrEqual(performance.now() - start, timeout);
    }
  });

  contract("looks at least once, also when the time is over", async (b) => {
    using one = pair();
    one.send();
    assertEquals(await b.wait(one.fd, POLLIN, 0), POLLIN);
    assertEquals(await b.wait(one.fd, POLLIN, -1000), POLLIN);
    one.receive();
    assertEquals(await b.wait(one.fd, POLLIN, -1000), 0);
  });

  contract("is woken by what comes while it is parked", async (b) => {
    using one = pair();
    for (let i = 0; i < 3; i++) {
      const came = b.wait(one.fd, POLLIN);
      await b.parks();
      one.send();
      assertEquals(await came, POLLIN);
      one.receive();
    }
  });

  contract("lets newcomers into a wait that is parked", async (b) => {
    using all = pairs(3);
    const first = b.wait(all[0]!.fd, POLLIN);
    await b.parks();
    // One that is ready by now, and one that will be.
    const second = b.wait(all[1]!.fd, POLLIN);
    all[2]!.send();
    assertEquals(await b.wait(all[2]!.fd, POLLIN), POLLIN);
    all[1]!.send();
    assertEquals(await second, POLLIN);
    all[0]!.send();
    assertEquals(await first, POLLIN);
  });

  contract(
    "keeps an earlier deadline that comes while it is parked",
    async (b) => {
      using all = pairs(3);
      const patient = b.wait(all[0]!.fd, POLLIN);
      await b.parks();
      const start = performance.now();
      assertEquals(await b.wait(all[1]!.fd, POLLIN, 30), 0);
      assertGreaterOrEqual(performance.now() - start, 30);
      assertLess(performance.now() - start, AGES / 2);
      // And one for ever while another has an end.
      const endless = waitForEvents(
        b.c,
        all[2]!.fd,
        POLLIN,
        Infinity,
        undefined,
      );
      await pause(5);
      all[2]!.send();
      assertEquals(await endless, POLLIN);
      all[0]!.send();
      assertEquals(await patient, POLLIN);
    },
  );

  contract("ends the waits in the order of their deadlines", async (b) => {
    using all = pairs(100);
    const ended: number[] = [];
    const ends = all.map((_, i) => (i * 37) % 100);
    // All of them wait by then, also where that takes a while.
    const start = performance.now() + 250;
    await Promise.all(
      all.map(async ({ fd }, i) => {
        const end = start + ends[i]! / 2;
        assertEquals(await waitForEvents(b.c, fd, POLLIN, end, undefined), 0);
        ended.push(ends[i]!);
      }),
    );
    assertEquals(ended, ended.toSorted((one, other) => one - other));
  });

  contract(
    "keeps the deadlines of the rest when others are gone",
    async (b) => {
      using all = pairs(60);
      const ended: number[] = [];
      const waits = all.map(async ({ fd }, i) => {
        const came = await b.wait(fd, POLLIN, 60 + i);
        if (came === 0) ended.push(i);
        return came;
      });
      // Out of the middle, off the top and off the bottom of the heap.
      for (let i = 0; i < 60; i++) {
        if (i % 3 === 0) cancelWaits(b.c, all[i]!.fd);
        else if (i % 3 === 1) all[i]!.send();
      }
      assertEquals(
        await Promise.all(waits),
        all.map((_, i) => [CLOSED, POLLIN, 0][i % 3]!),
      );
      assertEquals(ended, ended.toSorted((one, other) => one - other));
    },
  );

  contract("is called off by its signal", async (b) => {
    using all = pairs(2);
    const controller = new AbortController();
    for (const parked of [false, true]) {
      const controller = new AbortController();
      const came = b.wait(all[0]!.fd, POLLIN, AGES, controller.signal);
      if (parked) await b.parks();
      controller.abort();
      assertEquals(await came, ABORTED);
    }
    // Only those that heed it.
    const other = b.wait(all[1]!.fd, POLLIN);
    const came = b.wait(all[0]!.fd, POLLIN, AGES, controller.signal);
    controller.abort();
    assertEquals(await came, ABORTED);
    all[1]!.send();
    assertEquals(await other, POLLIN);
  });

  contract(
    "heeds a signal that was aborted before, and calls nothing",
    async (b) => {
      using one = pair();
      one.send();
      const came = b.wait(one.fd, POLLIN, AGES, AbortSignal.abort());
      assertEquals(await came, ABORTED);
      assertEquals(b.count(open), 0);
    },
  );

  contract(
    "adds nothing to the listeners of a signal that many share",
    async (b) => {
      using all = pairs(50);
      const { signal } = new AbortController();
      const waits = all.map(({ fd }) => b.wait(fd, POLLIN, AGES, signal));
      assertEquals(getEventListeners(signal, "abort").length, 0);
      for (const one of all) one.send();
      for (const came of waits) assertEquals(await came, POLLIN);
      assertEquals(getEventListeners(signal, "abort").length, 0);
    },
  );

  contract("calls off all that share a signal", async (b) => {
    using all = pairs(50);
    const controller = new AbortController();
    const waits = all.map(({ fd }) =>
      b.wait(fd, POLLIN, AGES, controller.signal)
    );
    const last = b.wait(all[0]!.fd, POLLIN);
    await b.parks();
    controller.abort();
    for (const came of waits) assertEquals(await came, ABORTED);
    all[0]!.send();
    assertEquals(await last, POLLIN);
  });

  contract(
    "notifies each of several that wait for one descriptor",
    async (b) => {
      using one = pair();
      const readers = [b.wait(one.fd, POLLIN), b.wait(one.fd, POLLIN)];
      const both = b.wait(one.fd, POLLIN | POLLOUT);
      // It can be written to, which is no news for those who want to read.
      assertEquals(await b.wait(one.fd, POLLOUT), POLLOUT);
      assertEquals(await both, POLLOUT);
      await b.parks();
      assertEquals(await b.wait(one.fd, POLLOUT), POLLOUT);
      assertEquals(await b.wait(one.fd, POLLIN, 5), 0);
      one.send();
      for (const reader of readers) assertEquals(await reader & POLLIN, POLLIN);
    },
  );

  contract("reports a fault to everything that waits", async (b) => {
    using one = pair(abi.SOCK_STREAM);
    const byte = newMemory(1 << 16);
    while (
      real.sendto(one.fd, byte, byte.length, abi.MSG_DONTWAIT, null, 0) > 0
    );
    const reader = b.wait(one.fd, POLLIN);
    const writer = b.wait(one.fd, POLLOUT);
    await b.parks();
    real.shutdown(one.peer, abi.SHUT_RDWR);
    assertEquals(await reader & POLLHUP, POLLHUP);
    assertEquals(await writer & POLLHUP, POLLHUP);
  });

  contract(
    "waits on for the others when one of them is called off",
    async (b) => {
      using one = pair();
      const controller = new AbortController();
      const writer = b.wait(one.fd, POLLIN, AGES, controller.signal);
      const reader = b.wait(one.fd, POLLIN);
      const impatient = b.wait(one.fd, POLLIN, 5);
      controller.abort();
      assertEquals(await writer, ABORTED);
      assertEquals(await impatient, 0);
      await pause(5);
      one.send();
      assertEquals(await reader, POLLIN);
    },
  );

  contract(
    "is over for all who wait for a descriptor that is closed",
    async (b) => {
      using all = pairs(2);
      const other = b.wait(all[1]!.fd, POLLIN);
      for (const parked of [false, true]) {
        const waits = [
          b.wait(all[0]!.fd, POLLIN),
          b.wait(all[0]!.fd, POLLIN, 10_000),
        ];
        if (parked) await pause(20);
        cancelWaits(b.c, all[0]!.fd);
        for (const came of waits) assertEquals(await came, CLOSED);
      }
      all[1]!.send();
      assertEquals(await other, POLLIN);
      cancelWaits(b.c, all[0]!.fd);
    },
  );

  contract("knows nothing of a number's former bearer", async (b) => {
    using other = pair();
    const keeper = b.wait(other.fd, POLLIN);
    await b.parks();
    const old = pair();
    const came = b.wait(old.fd, POLLIN);
    // On its way, when the descriptor goes.
    old.send();
    cancelWaits(b.c, old.fd);
    old[Symbol.dispose]();
    using next = pair();
    assertEquals([next.fd, next.peer], [old.fd, old.peer]);
    assertEquals(await came, CLOSED);
    assertEquals(await b.wait(next.fd, POLLIN, 20), 0);
    const reader = b.wait(next.fd, POLLIN);
    next.send();
    assertEquals(await reader, POLLIN);
    other.send();
    assertEquals(await keeper, POLLIN);
  });

  for (const count of [63, 64, 65, 257, 1000]) {
    contract(`keeps ${count} descriptors apart`, async (b) => {
      using all = pairs(count);
      const ended: number[] = [];
      const waits = all.map(async ({ fd }, i) => {
        assertEquals(await b.wait(fd, POLLIN), POLLIN);
        ended.push(i);
      });
      await b.parks();
      assertEquals(ended, []);
      for (let i = 0; i < count; i += 2) all[i]!.send();
      await until(() => ended.length === Math.ceil(count / 2), "half ended");
      assertEquals(ended.filter((i) => i % 2 === 1), []);
      for (let i = 1; i < count; i += 2) all[i]!.send();
      await Promise.all(waits);
      assertEquals(new Set(ended).size, count);
    });
  }

  contract("stays right through a long mixture of everything", async (b) => {
    using all = pairs(150);
    /** Numbers that look random, and are the same in every run. */
    let state = 12_345;
    function random(below: number): number {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    }
    interface Open {
      readonly controller: AbortController;
      came: number | undefined;
    }
    const waits = new Map<Pair, Open>();
    for (let step = 0; step < 4000; step++) {
      const one = all[random(all.length)]!;
      const wait = waits.get(one);
      if (wait === undefined) {
        const controller = new AbortController();
        const own: Open = { controller, came: undefined };
        waits.set(one, own);
        b.wait(one.fd, POLLIN, AGES, controller.signal)
          .then((came) => own.came = came);
        continue;
      }
      assertEquals(wait.came, undefined);
      const kind = random(3);
      if (kind === 0) one.send();
      else if (kind === 1) wait.controller.abort();
      else cancelWaits(b.c, one.fd);
      const expected = [POLLIN, ABORTED, CLOSED][kind]!;
      if (kind === 0) await until(() => wait.came !== undefined, "notified");
      else for (let i = 0; i < 3; i++) await null;
      assertEquals(wait.came, expected);
      if (kind === 0) one.receive();
      waits.delete(one);
    }
    for (const { fd } of waits.keys()) cancelWaits(b.c, fd);
  });

  contract(
    "lets a waiter that is notified wait again, or close what others wait for",
    async (b) => {
      using all = pairs(20);
      const news: (readonly [number, number])[] = [];
      /** The first one that is notified cancels all the others. */
      function notified(i: number, came: number): void {
        news.push([i, came]);
        if (news.length > 1) return;
        for (const [k, { fd }] of all.entries()) {
          if (k !== i) cancelWaits(b.c, fd);
        }
        wait(b.c, all[i]!.fd, POLLOUT, (came) => {
          news.push([i, came]);
        });
      }
      for (const [i, one] of all.entries()) {
        wait(b.c, one.fd, POLLIN, (came) => notified(i, came));
      }
      // All of them at once, so that all the results are known by then.
      for (const one of all) one.send();
      await until(() => news.length === all.length + 1, "notified");
      const first = news[0]![0];
      assertEquals(news[0], [first, POLLIN]);
      assertEquals(news.at(-1), [first, POLLOUT]);
      for (const [i, came] of news.slice(1, -1)) {
        assertNotEquals(i, first);
        assertEquals(came, CLOSED);
      }
    },
  );

  contract("goes on after a parked wait that ends without news", async (b) => {
    using one = pair();
    const came = b.wait(one.fd, POLLIN);
    let settled = false;
    came.then(() => settled = true);
    await until(() => b.parked() >= 5, "parked again");
    assertEquals(settled, false);
    one.send();
    assertEquals(await came, POLLIN);
    const start = performance.now();
    one.receive();
    assertEquals(await b.wait(one.fd, POLLIN, 30), 0);
    assertGreaterOrEqual(performance.now() - start, 30);
  }, {
    async pollAsync() {
      await pause(1);
      // What an interrupted call off the thread returns.
      return -1;
    },
  });

  contract("loses no wake-up to a look that comes first", async (b) => {
    using all = pairs(2);
    const first = b.wait(all[0]!.fd, POLLIN, 2 * AGES);
    await b.parks();
    // A deadline that is earlier wakes the other thread, and a descriptor that
    // is none brings about a look before that thread has noticed.
    const second = b.wait(all[1]!.fd, POLLIN, 40);
    const bad = outcome(b.wait(NO_DESCRIPTOR, POLLIN));
    const start = performance.now();
    assertEquals(await second, 0);
    assertLess(performance.now() - start, AGES / 2);
    assertEquals(await bad, noDescriptor);
    cancelWaits(b.c, all[0]!.fd);
    assertEquals(await first, CLOSED);
    await b.rests();
    // The same where nobody waits any more, and the other thread has to come back.
    const third = b.wait(all[0]!.fd, POLLIN, 2 * AGES);
    await b.parks();
    cancelWaits(b.c, all[0]!.fd);
    assertEquals(await third, CLOSED);
    await turns(2);
    const fourth = b.wait(all[1]!.fd, POLLIN, 2 * AGES);
    cancelWaits(b.c, all[1]!.fd);
    assertEquals(await fourth, CLOSED);
    await turns(2);
  }, {
    // Another thread that takes its time to notice anything.
    async pollAsync(fds, count, timeout) {
      const end = performance.now() + (timeout < 0 ? Infinity : timeout);
      for (;;) {
        await pause(25);
        const result = real.poll(fds, count, 0);
        if (result !== 0 || performance.now() >= end) return result;
      }
    },
  });

  contract(
    "gives up what it opened when there is no wait, and opens it again",
    async (b) => {
      using one = pair();
      for (let i = 1; i <= 3; i++) {
        one.send();
        assertEquals(await b.wait(one.fd, POLLIN), POLLIN);
        one.receive();
        await b.rests();
        assertEquals(b.count(open), i);
      }
    },
  );

  contract("keeps what it opened from one wait to the next", async (b) => {
    using one = pair();
    for (let i = 0; i < 20; i++) {
      assertEquals(await b.wait(one.fd, POLLOUT), POLLOUT);
    }
    assertEquals(b.count(open), 1);
  });

  contract("opens nothing to cancel where there is no wait", (b) => {
    cancelWaits(b.c, 0);
    assertEquals(b.count(open), 0);
  });

  contract("has close-on-exec set on all that it opens", async (b) => {
    using one = pair();
    const before = descriptors();
    const came = b.wait(one.fd, POLLIN);
    for (const fd of descriptors()) {
      if (before.has(fd)) continue;
      const flags = real.fcntl(fd, abi.F_GETFD, 0);
      assertEquals(flags & abi.FD_CLOEXEC, abi.FD_CLOEXEC);
    }
    one.send();
    assertEquals(await came, POLLIN);
  });

  contract("reports what is wrong with a descriptor", async (b) => {
    const bad = await outcome(b.wait(NO_DESCRIPTOR, POLLIN));
    assertEquals(bad, noDescriptor);
    await b.rests();
    using folder = tempFolder();
    const file = openSync(join(folder.path, "file"), "w");
    const came = await outcome(b.wait(file, POLLIN));
    assertEquals(came, look === "epoll_wait" ? "epoll_ctl: EPERM" : POLLIN);
    await b.rests();
    // And beside somebody who waits rightly.
    using one = pair();
    const reader = b.wait(one.fd, POLLIN);
    await b.parks();
    assertEquals(await outcome(b.wait(file, POLLIN)), came);
    one.send();
    assertEquals(await reader, POLLIN);
    closeSync(file);
  });

  test(`waitForEvents() on ${name} throws EMFILE, and recovers`, async () => {
    using one = pair();
    const calls = look === "epoll_wait" ? [open, "eventfd"] : [open];
    for (const call of calls) {
      let full = true;
      using b = bench(mechanism, {
        [call]: (...args: number[]) =>
          full
            ? -EMFILE!
            : (real[call as "eventfd"] as (...args: number[]) => number)(
              ...args,
            ),
      });
      for (let i = 0; i < 2; i++) {
        let error: unknown;
        try {
          await b.wait(one.fd, POLLIN);
        } catch (caught) {
          error = caught;
        }
        assertInstanceOf(error, Errno.EMFILE);
        assertEquals(error.syscall, call);
      }
      full = false;
      const closed = b.count("close");
      assertEquals(await b.wait(one.fd, POLLOUT), POLLOUT);
      await until(() => b.count("close") > closed, "at rest");
    }
  }, { skip });

  test(
    `waitForEvents() on ${name} closes what it has opened when the rest cannot be`,
    async () => {
      using one = pair();
      using _b = bench(mechanism, {
        epoll_ctl: () => -EMFILE!,
        pipe: () => -EMFILE!,
      });
      const c = libc();
      for (let i = 0; i < 3; i++) {
        let error: unknown;
        try {
          await waitForEvents(c, one.fd, POLLIN, Infinity, undefined);
        } catch (caught) {
          error = caught;
        }
        assertInstanceOf(error, Errno.EMFILE);
      }
    },
    { skip },
  );

  test(
    `waitForEvents() on ${name} leaves nothing open and nobody waiting, whatever call throws`,
    async () => {
      const calls = look === "epoll_wait"
        ? ["epoll_create1", "eventfd", "epoll_ctl", "epoll_wait"] as const
        : ["pipe", "fcntl", "poll", "read", "write"] as const;
      for (const call of [...calls, "pollAsync"] as const) {
        for (let nth = 1; nth <= 8; nth++) {
          await throwOnce(mechanism, call, nth);
        }
      }
    },
    { skip },
  );

  contract(
    "parks without a second look while completions are slow",
    async (b) => {
      using one = pair();
      // The first one teaches it, and a slow look may come into any of them.
      let calm = 0;
      for (let i = 0; i < 30 && calm < 5; i++) {
        const looks = b.count(look);
        const parks = b.parked();
        const came = b.wait(one.fd, POLLIN);
        // The one before may be over and its promise still pending.
        await until(() => b.parked() > parks, "parked once more");
        const isCalm = b.count(look) - looks <= 1 && b.parked() - parks === 1;
        if (i > 0 && isCalm) calm++;
        await pause(10);
        one.send();
        assertEquals(await came, POLLIN);
        one.receive();
      }
      assertEquals(calm, 5);
    },
  );

  contract("looks before it parks while completions are quick", async (b) => {
    using all = pairs(2);
    // A slow one first, after which it does not.
    const slow = b.wait(all[0]!.fd, POLLIN);
    await b.parks();
    await pause(10);
    all[0]!.send();
    assertEquals(await slow, POLLIN);
    all[0]!.receive();
    // A machine with other work may take the time away, but not every time.
    let most = 0;
    for (let i = 0; i < 200 && most < 1; i++) {
      assertEquals(await b.wait(all[1]!.fd, POLLOUT), POLLOUT);
      const looks = b.count(look);
      const came = b.wait(all[0]!.fd, POLLIN);
      await b.parks();
      most = Math.max(most, b.count(look) - looks);
      cancelWaits(b.c, all[0]!.fd);
      assertEquals(await came, CLOSED);
    }
    assertGreaterOrEqual(most, 1);
  });

  contract("serves one who waits alone, whatever comes between", async (b) => {
    using two = pairs(2);
    const one = two[0]!;
    const other = two[1]!;
    /** Waits so long that the next wait is parked without a look. */
    async function slow(): Promise<void> {
      const came = b.wait(one.fd, POLLIN);
      await b.parks();
      await pause(2);
      one.send();
      assertEquals(await came, POLLIN);
      one.receive();
    }
    for (let count = 0; count < 4; count++) {
      await slow();
      const abort = new AbortController();
      const aborted = b.wait(one.fd, POLLIN, AGES, abort.signal);
      await turns(count);
      abort.abort();
      assertEquals(await aborted, ABORTED);

      await slow();
      const closed = b.wait(one.fd, POLLIN);
      await turns(count);
      cancelWaits(b.c, one.fd);
      assertEquals(await closed, CLOSED);

      await slow();
      assertEquals(await b.wait(one.fd, POLLIN, count), 0);
      assertEquals(await b.wait(one.fd, POLLIN, 110), 0);

      await slow();
      const twice = [b.wait(one.fd, POLLIN)];
      await turns(count);
      twice.push(b.wait(one.fd, POLLIN));
      await turns(count);
      one.send();
      assertEquals(await Promise.all(twice), [POLLIN, POLLIN]);
      one.receive();

      await slow();
      const patient = b.wait(one.fd, POLLIN);
      await turns(count);
      assertEquals(await b.wait(one.fd, POLLOUT), POLLOUT);
      const newcomer = b.wait(other.fd, POLLIN);
      await turns(count);
      other.send();
      assertEquals(await newcomer, POLLIN);
      other.receive();
      one.send();
      assertEquals(await patient, POLLIN);
      one.receive();
    }
  });

  contract("keeps what it opened for a while, and no longer", async (b) => {
    using one = pair();
    for (let i = 0; i < 3; i++) {
      assertEquals(await b.wait(one.fd, POLLIN, 5), 0);
      await pause(1);
    }
    assertLessOrEqual(b.count(open), 3);
    await b.rests();
  });

  contract("parks though newcomers keep coming", async (b) => {
    using all = pairs(200);
    const waits: Promise<number>[] = [];
    for (const { fd } of all) {
      waits.push(b.wait(fd, POLLIN));
      const next = performance.now() + 0.5;
      while (performance.now() < next) {
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
    // 100 ms of turns, of which the first few may look.
    assertGreater(b.parked(), 0);
    if (look === "epoll_wait") assertLess(b.count(look), 4 * all.length);
    for (const { fd } of all) cancelWaits(b.c, fd);
    for (const came of waits) assertEquals(await came, CLOSED);
  });

  contract("looks ten times a second while it is parked", async (b) => {
    using one = pair();
    const came = b.wait(one.fd, POLLIN);
    await b.parks();
    const looks = b.count(look);
    const parks = b.parked();
    await pause(1000);
    // A blocked pool of threads does not keep what comes from being found, and an idle process sleeps all the same.
    assertGreater(b.count(look) - looks, 4);
    assertLessOrEqual(b.count(look) - looks, 10);
    assertEquals(b.parked(), parks);
    one.send();
    assertEquals(await came, POLLIN);
  });

  if (look === "epoll_wait") {
    contract("seldom looks beside waits that end by themselves", async (b) => {
      using one = pair();
      let share = Infinity;
      // On a busy machine a look may well come before the end of a wait.
      for (let round = 0; round < 5 && share >= 0.6; round++) {
        const looks = b.count(look);
        const parks = b.parked();
        const start = performance.now();
        while (performance.now() < start + 1500) {
          const answer = b.wait(one.fd, POLLIN);
          await pause(20);
          one.send();
          assertEquals(await answer, POLLIN);
          one.receive();
        }
        const more = b.count(look) - looks - (b.parked() - parks);
        share = more / ((performance.now() - start) / 100);
      }
      assertLess(share, 0.6);
    });
  }

  test(
    `waitForEvents() on ${name} keeps the memory of a parked wait`,
    async () => {
      using one = pair();
      let collected = 0;
      const registry = new FinalizationRegistry(() => collected++);
      let end: (came: number) => void = () => {};
      const c: Libc = {
        ...real,
        ...mechanism.fakes,
        pollAsync(fds) {
          registry.register(fds, null);
          registry.register(fds.buffer, null);
          return new Promise((resolve) => end = resolve);
        },
      };
      const came = waitForEvents(c, one.fd, POLLIN, Infinity, undefined);
      for (let i = 0; i < 20; i++) {
        await pause(2);
        gc();
      }
      assertEquals(collected, 0);
      one.send();
      end(1);
      assertEquals(await came, POLLIN);
    },
    { skip: skip ?? (typeof gc === "function" ? null : "needs --expose-gc") },
  );

  test(
    `waitForEvents() on ${name} keeps the process alive as long as there is a wait`,
    async () => {
      using folder = tempFolder();
      const file = join(folder.path, "answer");
      const result = await inChild(
        {},
        async ({ Socket }, floor, poll, file) => {
          const { libc, useLibc } = await import(floor) as typeof Floor;
          const real = libc();
          if (poll) useLibc({ ...real, abi: { ...real.abi, epoll: null } });
          const { writeFileSync } = await import("node:fs");
          const socket = Socket.open({ type: "dgram" });
          socket.ready("POLLIN", { timeout: 300 }).then((events) => {
            writeFileSync(file, JSON.stringify(events));
            socket.close();
          });
          return "returned";
        },
        FLOOR,
        name === "poll",
        file,
      );
      assertEquals(result, "returned");
      assertEquals(readFileSync(file, "utf8"), "[]");
    },
    { skip },
  );

  test(
    `waitForEvents() on ${name} lets the process end when no wait is left`,
    async () => {
      // A child that stays is killed in the end, which fails.
      const result = await inChild(
        {},
        async ({ inet, Socket }, floor, poll) => {
          const { libc, useLibc } = await import(floor) as typeof Floor;
          const real = libc();
          if (poll) useLibc({ ...real, abi: { ...real.abi, epoll: null } });
          const names: string[] = [];
          async function outcome(promise: Promise<unknown>): Promise<void> {
            try {
              names.push(JSON.stringify(await promise));
            } catch (error) {
              names.push(error instanceof Error ? error.name : String(error));
            }
          }
          for (let i = 0; i < 3; i++) {
            const socket = Socket.open({ type: "dgram" });
            socket.bind(inet("127.0.0.1", 0));
            const controller = new AbortController();
            const { signal } = controller;
            setTimeout(() => controller.abort("aborted"), 20);
            await outcome(socket.ready("POLLIN", { signal }));
            await outcome(socket.ready("POLLIN", { timeout: 20 }));
            await outcome(socket.ready("POLLOUT"));
            const last = socket.ready("POLLIN");
            if (i > 0) await new Promise((resolve) => setTimeout(resolve, 20));
            // Left open, and nobody waits for it.
            if (i === 1) socket.detach();
            else socket.close();
            await outcome(last);
          }
          return names;
        },
        FLOOR,
        name === "poll",
      );
      const each = ["aborted", "[]", '["POLLOUT"]', "Errno.ECANCELED"];
      assertEquals(result, [...each, ...each, ...each]);
    },
    { skip },
  );
}

test("what is known of descriptors goes by any number, and inherits nothing", () => {
  const known = new ByDescriptor<string>();
  const inherited = Object.prototype as unknown as Record<number, unknown>;
  try {
    for (const fd of [3, 9, NO_DESCRIPTOR + 1]) inherited[fd] = "inherited";
    assertEquals(known.get(3), null);
    known.set(7, "seven");
    known.set(NO_DESCRIPTOR, "far");
    const found = [3, 7, 9, NO_DESCRIPTOR, NO_DESCRIPTOR + 1].map((fd) =>
      known.get(fd)
    );
    assertEquals(found, [null, "seven", null, "far", null]);
    assertEquals(known.all().toSorted((a, b) => a - b), [7, NO_DESCRIPTOR]);
    known.set(7, null);
    known.set(NO_DESCRIPTOR, null);
    assertEquals(known.get(NO_DESCRIPTOR), null);
    assertEquals(known.all(), []);
  } finally {
    for (const fd of [3, 9, NO_DESCRIPTOR + 1]) delete inherited[fd];
  }
});

for (const mechanism of MECHANISMS) {
  if (mechanism.isOwn?.() ?? true) suite(mechanism);
}

/** The descriptors that are open now. */
function descriptors(): Set<number> {
  const open = new Set<number>();
  for (let fd = 0; fd < 256; fd++) {
    if (real.fcntl(fd, abi.F_GETFD, 0) >= 0) open.add(fd);
  }
  return open;
}

declare function setImmediate(callback: () => void): unknown;
declare function gc(): void;

test("timeoutTo() rounds up, and knows no more than an int", () => {
  const rows: readonly (readonly [number, number])[] = [
    [Infinity, -1],
    [0, 0],
    [-5, 0],
    [-Infinity, 0],
    [0.001, 1],
    [1, 1],
    [1.5, 2],
    [250, 250],
    [2 ** 31 - 1, 2 ** 31 - 1],
    [2 ** 31, 2 ** 31 - 1],
    [2 ** 53, 2 ** 31 - 1],
    [Number.MAX_VALUE, 2 ** 31 - 1],
  ];
  for (const [left, timeout] of rows) {
    assertEquals(timeoutTo(left, 0), timeout, `${left} ms`);
  }
  const now = performance.now();
  assertEquals(timeoutTo(now), 0);
  assertLessOrEqual(timeoutTo(now + 1000), 1000);
});

test("waitForEvents() keeps the waits of two C libraries apart", async () => {
  using one = pair();
  const other: Libc = { ...real };
  const waits = [
    waitForEvents(real, one.fd, POLLIN, Infinity, undefined),
    waitForEvents(other, one.fd, POLLIN, Infinity, undefined),
  ];
  cancelWaits(other, one.fd);
  assertEquals(await waits[1], CLOSED);
  one.send();
  assertEquals(await waits[0], POLLIN);
});
