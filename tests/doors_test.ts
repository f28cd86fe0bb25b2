import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import process from "node:process";
import { bindLibc } from "../ffi/bind.ts";
import {
  type CFunctions,
  type Permissions,
  type Signature,
  SIGNATURES,
} from "../ffi/contract.ts";
import {
  currentAbi,
  declarationsFor,
  doorFor,
  libc,
  openFunctions,
  openLibc,
} from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import { Socket } from "../mod.ts";
import { AGES, pause, SHORT } from "./_assertions.ts";
import { inChild, listen, socketPair } from "./_fixtures.ts";
import { needs, on, onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const c = libc();
const door = doorFor();
const signatures: Readonly<Record<string, Signature>> = SIGNATURES;
/** What every C library has: a lookup opens the rest, where there is some. */
const declarations = declarationsFor(abi).filter(({ entry, offThread }) => {
  return !offThread && signatures[entry]?.elsewhere === undefined;
});
// Opened before the first test, which would otherwise seem to leak it.
const functions = openFunctions<CFunctions>(
  abi,
  door,
  door.openable(abi.libraries)[0]!,
  declarations,
);

/** Two datagram sockets: what is sent on one comes out of the other. */
function pair(): Disposable & { heard: number; say(): void; hear(): void } {
  const [heard, said] = socketPair(abi.SOCK_DGRAM);
  const byte = newMemory(1);
  return {
    heard: heard,
    say() {
      assertEquals(c.sendto(said, byte, 1, 0, null, 0), 1);
    },
    hear() {
      assertEquals(c.recvfrom(heard, byte, 1, 0, null), 1);
    },
    [Symbol.dispose]() {
      c.close(heard);
      c.close(said);
    },
  };
}

/** An array for poll(2) that waits for input on each of the descriptors. */
function pollfds(fds: readonly number[]): Uint8Array<ArrayBuffer> {
  const { size, fd, events } = abi.pollfd;
  const memory = newMemory(size * fds.length);
  const view = new DataView(memory.buffer);
  fds.forEach((one, i) => {
    view.setInt32(i * size + fd, one, abi.littleEndian);
    view.setInt16(i * size + events, abi.POLLIN, abi.littleEndian);
  });
  return memory;
}

function revents(memory: Uint8Array<ArrayBuffer>, i: number): number {
  const { size, revents } = abi.pollfd;
  const view = new DataView(memory.buffer);
  return view.getInt16(i * size + revents, abi.littleEndian);
}

// What a door does ------------------------------------------------------------

test("the door opens every function that each C library has, but those for another thread", () => {
  const names = functions as unknown as Record<string, unknown>;
  for (const { entry } of declarations) {
    assertEquals(typeof names[entry], "function", entry);
  }
});

test("the door declares two users of one C function", () => {
  const word = newMemory(8);
  const list = newMemory(8);
  const node = new TextEncoder().encode("127.0.0.1\0");
  const hints = newMemory(abi.addrinfo.size);
  new DataView(hints.buffer)
    .setInt32(abi.addrinfo.flags, abi.AI_NUMERICHOST, abi.littleEndian);
  assertEquals(c.getaddrinfo(node, hints, list), [0, 0]);
  const at = new DataView(list.buffer).getBigUint64(0, abi.littleEndian);
  c.memcpyFrom(word, at + BigInt(abi.addrinfo.family), 4);
  c.freeaddrinfo(at);
  const family = new DataView(word.buffer).getInt32(0, abi.littleEndian);
  assertEquals(family, abi.AF_INET);
  assertEquals(c.close(-1), -abi.errnos.EBADF!);
});

test("the door takes null and memory without a byte in it", () => {
  assertEquals(c.poll(newMemory(0), 0, 0), 0);
  const { EBADF } = abi.errnos;
  assertEquals(c.recvfrom(-1, newMemory(0), 0, 0, null), -EBADF!);
  assertEquals(c.connect(-1, newMemory(0), 0), -EBADF!);
});

test("the door passes a part of a buffer from where it begins", () => {
  using one = pair();
  const whole = newMemory(abi.pollfd.size * 3);
  whole.set(pollfds([one.heard]), abi.pollfd.size);
  const part = whole.subarray(abi.pollfd.size, 2 * abi.pollfd.size);
  one.say();
  assertEquals(c.poll(part, 1, 0), 1);
  assertEquals(revents(whole, 1), abi.POLLIN);
});

test("bindLibc() reads errno where it lies when the door can show it", () => {
  const shown = new Int32Array(new ArrayBuffer(4));
  const calls: string[] = [];
  const functions: Record<string, () => unknown> = {};
  for (const entry of Object.keys(SIGNATURES)) {
    functions[entry] = () => {
      calls.push(entry);
      return entry === "errnoLocation" ? "there" : -1;
    };
  }
  shown[0] = abi.errnos.EBADF!;
  const bound = bindLibc(
    functions as unknown as CFunctions,
    abi,
    {} as Permissions,
    undefined,
    (location) => {
      assertEquals(location, "there");
      return shown.buffer;
    },
  );
  for (shown[0] of [1, 111, 0x7fff_ffff]) {
    assertEquals(bound.connect(1, newMemory(0), 0), -shown[0]!);
  }
  assertEquals([...new Set(calls)], ["errnoLocation", "close", "connect"]);
});

test("Node passes words on to C by itself", () => {
  type Library = { lib: { getFunction(name: string, types: object): object } };
  const { dlopen } = process.getBuiltinModule(
    "node:ffi" as "node:os",
  ) as unknown as { dlopen(name: string): Library };
  const { lib } = dlopen(door.openable(abi.libraries)[0]!);
  const types = ["pointer", "pointer", "pointer"];
  const call = lib.getFunction("socket", { arguments: types, return: "int32" });
  // What Node wraps has a text of its own.
  assertMatch(`${call}`, /\[native code\]/);
}, { skip: on("node") });

// Waiting off the thread --------------------------------------------------------

test("pollAsync() reports which descriptor is ready", async () => {
  using one = pair();
  using other = pair();
  const fds = pollfds([one.heard, other.heard]);
  const waiting = c.pollAsync(fds, 2, AGES);
  other.say();
  assertEquals(await waiting, 1);
  assertEquals([revents(fds, 0), revents(fds, 1)], [0, abi.POLLIN]);
});

test("pollAsync() returns 0 at the end, and not before", async () => {
  using one = pair();
  for (const timeout of [0, 1, 30, 130]) {
    const start = performance.now();
    assertEquals(await c.pollAsync(pollfds([one.heard]), 1, timeout), 0);
    const elapsed = performance.now() - start;
    // The clocks of the kernel and of the runtime differ by less than that.
    assert(elapsed >= timeout - 1, `${timeout} took ${elapsed}`);
    assertLess(elapsed, AGES / 2);
  }
});

test("pollAsync() returns something negative when poll(2) fails", async () => {
  assertLess(await c.pollAsync(newMemory(8), 0x7fff_ffff, 5), 0);
});

test("pollAsync() lets others have a turn even with nothing to wait for", async () => {
  let turns = 0;
  setTimeout(() => turns++, 0);
  const end = performance.now() + AGES;
  while (turns === 0 && performance.now() < end) {
    assertEquals(await c.pollAsync(newMemory(8), 0, 0), 0);
  }
  assertEquals(turns, 1);
});

test("pollAsync() waits for several at a time, and a thousand times over", async () => {
  using one = pair();
  using other = pair();
  const first = c.pollAsync(pollfds([one.heard]), 1, AGES);
  const second = c.pollAsync(pollfds([other.heard]), 1, AGES);
  other.say();
  assertEquals(await second, 1);
  one.say();
  assertEquals(await first, 1);
  one.hear();
  for (let i = 0; i < 1000; i++) {
    const waiting = c.pollAsync(pollfds([one.heard]), 1, AGES);
    one.say();
    assertEquals(await waiting, 1);
    one.hear();
  }
});

test("pollAsync() takes more descriptors than ever before", async () => {
  using one = pair();
  for (const count of [10, 10_000, 20_000]) {
    const fds = pollfds(new Array(count).fill(-1).with(count - 1, one.heard));
    one.say();
    const result = await c.pollAsync(fds, count, AGES);
    // The limit of open descriptors is also one of poll(2).
    if (result < 0) assert(count > 1000, `${count} descriptors failed`);
    else assertEquals(revents(fds, count - 1), abi.POLLIN);
    one.hear();
  }
});

// A process and its waits ---------------------------------------------------------

test("a process ends though it has waited, and can be ended while it waits", async () => {
  for (const way of ["itself", "exit", "error"] as const) {
    const start = performance.now();
    const result = await inChild({}, async ({ Socket }, way) => {
      using first = Socket.open({ type: "dgram" });
      // Longer than it takes to start a worker.
      await first.ready("POLLIN", { timeout: 300 });
      const socket = Socket.open({ type: "dgram" });
      const controller = new AbortController();
      const waiting = socket.ready("POLLIN", { signal: controller.signal })
        .catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (way === "itself") {
        controller.abort();
        await waiting;
        socket.close();
      } else {
        // Comes after the result of this function has been printed.
        setTimeout(() => process.exit(0), 20);
      }
      return way;
    }, way);
    assertEquals(result, way);
    assertLess(performance.now() - start, AGES / 2);
  }
});

test("a worker can be terminated while it waits", async () => {
  const start = performance.now();
  const message = await inChild({}, async (_api, url) => {
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const text = `
      const { parentPort } = process.getBuiltinModule("node:worker_threads");
      import(${JSON.stringify(url)}).then(async ({ Socket }) => {
        const socket = Socket.open({ type: "dgram" });
        await socket.ready("POLLIN", { timeout: 300 });
        socket.ready("POLLIN").catch(() => {});
        setTimeout(() => parentPort.postMessage("waits"), 50);
      });`;
    const worker = new Worker(text, { eval: true });
    const message = await new Promise((resolve, reject) => {
      worker.on("message", resolve).on("error", reject);
    });
    await worker.terminate();
    return String(message);
  }, import.meta.resolve("../mod.ts"));
  assertEquals(message, "waits");
  assertLess(performance.now() - start, AGES / 2);
}, { skip: on("bun", "node") });

test("openLibc() waits without a worker where there can be none", async () => {
  const real = process.getBuiltinModule;
  const opened = openLibc(abi, door);
  try {
    // As Node does without --allow-worker.
    process.getBuiltinModule = ((name: string) =>
      name === "node:worker_threads"
        ? {
          Worker: class {
            constructor() {
              throw new Error("not allowed");
            }
          },
        }
        : real.call(process, name)) as typeof real;
    using one = pair();
    assertEquals(await opened.pollAsync(pollfds([one.heard]), 1, 20), 0);
    const waiting = opened.pollAsync(pollfds([one.heard]), 1, -1);
    setTimeout(() =>
      one.say(), 20);
    assertEquals(await waiting, 1);
  } finally {
    process.getBuiltinModule = real;
  }
}, { skip: on("bun", "node") });

test("Socket uses the door that this runtime has", () => {
  using socket = Socket.open();
  assert(socket.fd >= 0);
});

test(
  "no program can inherit what a watch duplicates, at any moment",
  async () => {
    const real = libc();
    const { epoll, F_DUPFD_CLOEXEC } = real.abi;
    const epfd = real.epoll_create1(epoll!.EPOLL_CLOEXEC);
    const commands: number[] = [];
    const watch = doorFor().watch!({
      ...real,
      fcntl(fd, command, argument) {
        commands.push(command);
        return real.fcntl(fd, command, argument);
      },
    }, epfd);
    const waited = watch!.wait();
    assert(commands.length > 0);
    assertEquals(new Set(commands), new Set([F_DUPFD_CLOEXEC]));
    watch!.close();
    real.close(epfd);
    await Promise.race([waited, pause(SHORT)]);
  },
  { skip: needs(onLinux, on("bun", "node")) },
);

test("a door and the table take nothing from the prototype of all objects", async () => {
  using listener = listen();
  const names = [
    "bunSocket",
    "connect",
    "connectingSocket",
    "elsewhere",
    "errnoAt",
    "fixed",
    "hasNews",
    "needs",
    "nodeSocket",
    "obstacle",
    "of",
    "offThread",
    "openPoll",
    "poll",
    "size",
    "startThread",
    "turns",
    "watch",
    "watchReadable",
  ];
  const found = await inChild(
    {},
    async ({ connect, connectSync }, names, port) => {
      const prototype = Object.prototype as unknown as Record<string, unknown>;
      for (const name of names) prototype[name] = "none";
      try {
        connectSync({ port }).close();
        (await connect({ port })).close();
        return "connects";
      } finally {
        for (const name of names) delete prototype[name];
      }
    },
    names,
    listener.address.port,
  );
  assertEquals(found, "connects");
});

// Deno itself loses it.
test(
  "openLibc() loses no function to a setter that all objects inherit",
  () => {
    const names = ["close", "connect", "getpeername", "memcpyErrno", "socket"];
    for (const name of names) {
      const inert = { set() {}, configurable: true };
      Object.defineProperty(Object.prototype, name, inert);
    }
    try {
      const opened = openLibc(abi, door);
      assertEquals(opened.getpeername(-1, newMemory(16)), -abi.errnos.EBADF!);
    } finally {
      const prototype = Object.prototype as unknown as Record<string, unknown>;
      for (const name of names) delete prototype[name];
    }
  },
  { skip: on("bun", "node") },
);
