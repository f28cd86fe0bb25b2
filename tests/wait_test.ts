import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { constants } from "node:os";
import process from "node:process";
import { libc } from "../ffi/libc.ts";
import {
  bytesOf,
  decodeAddress,
  inet,
  type InetAddress,
  unix,
  vsock,
} from "../src/address/address.ts";
import type { ErrnoError } from "../src/errors/errors.ts";
import { main } from "../src/cli.ts";
import type { Destination } from "../src/tools/destination.ts";
import {
  beginWait,
  type PendingTarget,
  WaitError,
  waitFor,
} from "../src/tools/wait.ts";
import { type Ran, runChild, runCli } from "./_cli.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canCallOffNames,
  canIsolate,
  freePort,
  inChild,
  listen,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, onLinux, test } from "./_harness.ts";
import { linesOf } from "./_lines.ts";
import {
  FILES_ONLY,
  FIREWALL,
  FIREWALL6,
  NAME_SERVER,
  ofFamilies,
  SILENT_SERVER_FIRST,
} from "./_networks.ts";
import { hasCommand, needs } from "./_harness.ts";

const real = libc();
const { abi } = real;

const TOOLS = import.meta.resolve("../src/tools.ts");

/** Longer than any of these takes, however busy the machine is. */
const LONG = 60_000;

test(
  "waitFor() keeps why a try failed where the end cuts the next short",
  async () => {
    using closed = bound();
    using silent = blackHole();
    let calls = 0;
    using _ = watchLibc({
      connect(fd, bytes, length) {
        const to = calls++ < 3 ? bytes : bytesOf(silent.address);
        return real.connect(fd, to, length);
      },
    });
    const options = { timeout: 500, interval: 20, attemptTimeout: LONG };
    const error = await assertRejects(
      () => waitFor(closed.address, options),
      WaitError,
    );
    const [{ attempts, last }] = error.pending as [PendingTarget];
    assertEquals(last?.code, "ECONNREFUSED");
    assert(attempts >= 2);
  },
  { skip: canBlackHole() },
);

test("waitFor() begins no try after its end, however late its timers are", async () => {
  using closed = bound();
  const start = performance.now();
  const times: number[] = [];
  using _ = watchLibc({
    connect(...call) {
      times.push(performance.now() - start);
      return real.connect(...call);
    },
  });
  const options = { timeout: 200, interval: 5, maxInterval: 5 };
  const waiting = assertRejects(
    () => waitFor(closed.address, options),
    WaitError,
  );
  await later(60);
  while (performance.now() < start + 600);
  const { pending: [one] } = await waiting;
  assertEquals(times.filter((time) => time > 400), []);
  assertEquals(one?.last?.code, "ECONNREFUSED");
});

function later(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A moment before all timers of a new turn: Node's count from the beginning of the turn that sets them. */
async function turnBegun(): Promise<number> {
  const now = performance.now();
  await later(1);
  return now;
}

/**
 * Makes sure that no try begins too soon. Each may be late without making the next one late, so all pauses before it count;
 * timers are never early by more than a little.
 *
 * @param tries When each began, in ms.
 * @param pauseAfter The shortest time from the beginning of a try to that of the next.
 */
function assertPaced(
  tries: readonly number[],
  pauseAfter: (index: number) => number,
): void {
  let earliest = 0;
  for (const [i, time] of tries.entries()) {
    assert(time >= earliest, `${tries}`);
    earliest += pauseAfter(i) - 2;
  }
}

test("waitFor() resolves when a target is open", async () => {
  using closed = bound();
  const { address } = closed;
  const waiting = waitFor(address, { timeout: LONG });
  await later(60);
  closed[Symbol.dispose]();
  using _ = listen({ at: address });
  const [ready, ...more] = await waiting;
  assertEquals(more, []);
  assertEquals([ready!.index, ready!.target], [0, address]);
  assertEquals(ready!.address, `${address}`);
  assert(ready!.attempts > 1, `${ready!.attempts}`);
  assert(ready!.elapsed >= 50, `${ready!.elapsed}`);
});

test("waitFor() takes all targets, or any of them", async () => {
  using closed = bound();
  using first = listen();
  using second = listen();
  const targets = [first.address, { port: second.address.port }];
  const all = await waitFor(targets, { timeout: LONG });
  assertEquals(all.map(({ target }) => target), targets);
  const either = [closed.address, first.address];
  const any = await waitFor(either, { mode: "any", timeout: LONG });
  assertEquals(any.map(({ index }) => index), [1]);
  const error = await assertRejects(
    () => waitFor(either, { timeout: 100 }),
    WaitError,
  );
  assertEquals(error.pending.map(({ target }) => target), [closed.address]);
  assertEquals(await waitFor([], { timeout: 0 }), []);
});

test(
  "waitFor() reports each pending target, its tries and its last error",
  async () => {
    using closed = bound();
    using silent = blackHole();
    const error = await waitFor([closed.address, silent.address], {
      timeout: 200,
    }).catch((error) => error);
    assert(error instanceof WaitError);
    const [refused, quiet] = error.pending;
    assertEquals(refused!.last!.code, "ECONNREFUSED");
    assert(refused!.attempts > 2);
    assertEquals([quiet!.last!.code, quiet!.attempts], ["ETIMEDOUT", 1]);
    assertMatch(
      error.message,
      /^Cannot wait any longer than 200 ms: not open: 127\.0\.0\.1:\d+ \(\d+ tries, last: ECONNREFUSED\), 127\.0\.0\.1:\d+ \(1 try, last: ETIMEDOUT\)$/,
    );
    assertEquals(error.name, "WaitError");
    assertStringIncludes(error.stack!.split("\n    at ")[1]!, "wait_test");
  },
  { skip: canBlackHole() },
);

test("waitFor() gives one try no longer than attemptTimeout", async () => {
  using silent = blackHole();
  const error = await assertRejects(
    () => waitFor(silent.address, { timeout: 1500, attemptTimeout: 20 }),
    WaitError,
  );
  assert(error.pending[0]!.attempts > 3, `${error.pending[0]!.attempts}`);
  assertEquals(error.pending[0]!.last!.code, "ETIMEDOUT");
}, { skip: canBlackHole() });

test("waitFor() waits until a target is closed", async () => {
  const listener = listen();
  const { address } = listener;
  using folder = tempFolder();
  const path = join(folder.path, "s");
  const options = { until: "closed", timeout: LONG } as const;
  const waiting = waitFor([address, unix(path)], options);
  const open = await assertRejects(
    () => waitFor(address, { until: "closed", timeout: 60 }),
    WaitError,
  );
  assertEquals(open.pending[0]!.last, null);
  assertStringIncludes(open.message, "not closed: ");
  assertStringIncludes(open.message, "last: connected");
  listener[Symbol.dispose]();
  const [tcp, none] = await waiting;
  assertEquals([tcp!.address, none!.attempts], [`${address}`, 1]);
});

test("waitFor() does not take silence for closed", async () => {
  using silent = blackHole();
  const options = {
    until: "closed",
    timeout: 100,
    attemptTimeout: 10,
  } as const;
  const error = await assertRejects(
    () => waitFor(silent.address, options),
    WaitError,
  );
  assertEquals(error.pending[0]!.last!.code, "ETIMEDOUT");
}, { skip: canBlackHole() });

test("waitFor() waits for Unix sockets that do not exist yet", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "s");
  const target = { transport: "unix", path } as const;
  const error = await assertRejects(
    () => waitFor(target, { timeout: 60 }),
    WaitError,
  );
  assertEquals(error.pending[0]!.last!.code, "ENOENT");
  const waiting = waitFor(target, { timeout: LONG });
  await later(20);
  using _ = listen({ at: unix(path) });
  assertEquals((await waiting)[0]!.address, `unix:${path}`);
});

test("waitFor() takes vsock targets", async () => {
  const error = await assertRejects(
    () => waitFor(vsock(1, 4_000_000_000), { timeout: 60 }),
    WaitError,
  );
  const [{ last, target }] = error.pending as [typeof error.pending[0]];
  assertEquals(`${target}`, "vsock:1:4000000000");
  assert(last !== null && last.code !== "UNKNOWN");
}, { skip: abi.AF_VSOCK === null ? `${abi.os} has no vsock` : null });

test("waitFor() wants as many tries in a row as stable says", async () => {
  using listener = listen();
  let connects = 0;
  // Of three tries, the second fails.
  using _ = watchLibc({
    connect: (fd, address, length) =>
      ++connects === 2
        ? -abi.errnos.ENETUNREACH!
        : real.connect(fd, address, length),
  });
  const options = { stable: 3, timeout: LONG };
  const [ready] = await waitFor(listener.address, options);
  assertEquals(ready!.attempts, 5);
});

/** Whether an attempt has begun: a further call only asks what became of it. */
function isBegun(result: number): boolean {
  return result === -abi.errnos.EINPROGRESS!;
}

test("waitFor() makes its pauses longer, up to a limit", async () => {
  using closed = bound();
  const times: number[] = [];
  using _ = watchLibc({
    connect(fd, address, length) {
      const time = performance.now();
      const result = real.connect(fd, address, length);
      if (isBegun(result)) times.push(time);
      return result;
    },
  });
  const began = await turnBegun();
  await assertRejects(
    () => waitFor(closed.address, { timeout: 1000 }),
    WaitError,
  );
  const tries = times.map((time) => time - began);
  assertPaced(tries, (i) => Math.min(10 * 1.5 ** i, 50));
  assert(times.length >= 4 && times.length <= 24, `${tries}`);
});

/** Waits for a target in vain, until it was tried so often, or something else is so; returns what is known by then. */
async function pendingAfter(
  target: Destination,
  tries: number | (() => boolean),
): Promise<PendingTarget> {
  const controller = new AbortController();
  const { signal } = controller;
  const options = { timeout: LONG, maxInterval: 10, signal };
  const waiting = beginWait(target, options);
  for (;;) {
    await later(5);
    const [pending] = waiting.pending();
    const isEnough = typeof tries === "number"
      ? pending!.attempts >= tries
      : tries();
    if (!isEnough) continue;
    controller.abort();
    await assertRejects(() => waiting.ready, DOMException);
    return pending!;
  }
}

test("waitFor() tries again by the socket that was refused", async () => {
  using closed = bound();
  const ports: number[] = [];
  const room = new Uint8Array(new ArrayBuffer(128));
  using watched = watchLibc({
    connect(fd, address, length) {
      const result = real.connect(fd, address, length);
      if (!isBegun(result)) return result;
      const size = real.getsockname(fd, room);
      const local = decodeAddress(room, size) as InetAddress;
      ports.push(local.port);
      return result;
    },
  });
  const { attempts, last } = await pendingAfter(closed.address, 5);
  assertEquals(last!.code, "ECONNREFUSED");
  // From another port each time, as if it were another one.
  assertEquals([ports.length, new Set(ports).size], [attempts, attempts]);
  assertEquals([watched.count("socket"), watched.count("close")], [1, 1]);
  // What SO_ERROR has said of the first try costs the second one a call.
  assertEquals(watched.count("connect"), 2 * attempts);
  for (const name of ["getsockopt", "recvmsg"] as const) {
    assertEquals(watched.count(name), 1, name);
  }
}, { skip: onLinux });

test("waitFor() takes a new socket where one serves for one try", async () => {
  using closed = bound();
  {
    using watched = watchLibc({ abi: { ...abi, outlivesRefusal: false } });
    const { attempts } = await pendingAfter(closed.address, 3);
    assertEquals(watched.count("socket"), attempts);
  }
  // What is bound is bound for one try.
  using watched = watchLibc();
  const { port } = closed.address;
  const target = { port, localAddress: "127.0.0.1" };
  const { attempts } = await pendingAfter(target, 3);
  assertEquals(watched.count("socket"), attempts);
});

test("waitFor() leaves no socket where a name had another address", async () => {
  using closed = bound();
  const { port } = closed.address;
  let lookups = 0;
  const lookup = () => [inet(`127.0.0.${++lookups}`, port)];
  const target = { hostname: "some.test", port, lookup };
  const { last } = await pendingAfter(target, () => lookups === 2);
  assertStringIncludes(last!.message, "127.0.0.2");
});

test(
  "waitFor() finds nothing open because a socket has met itself",
  async () => {
    const found = await inChild(
      {
        // So few ports that the kernel often chooses that of the target.
        namespace:
          "echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range\n",
      },
      async ({ waitFor, watchLibc, WaitError }, tools) => {
        const { libc } = await import(
          tools.replace("src/tools.ts", "ffi/libc.ts")
        );
        const { connect, abi } = libc();
        let repeats = 0;
        using _ = watchLibc({
          connect(fd, address, length) {
            const result = connect(fd, address, length);
            if (result === -abi.errnos.ECONNREFUSED!) repeats++;
            return result;
          },
        });
        const targets = Array.from(
          { length: 8 },
          (_, i) => ({ port: 40_000 + i }),
        );
        const options = { timeout: 1000, interval: 1, maxInterval: 1 };
        const error = await waitFor(targets, options).catch((error) => error);
        if (!(error instanceof WaitError)) throw error;
        const codes = error.pending.map(({ last }) => last!.code);
        return { codes: [...new Set(codes)], count: codes.length, repeats };
      },
      TOOLS,
    );
    assertEquals([found.codes, found.count], [["ECONNREFUSED"], 8]);
    assert(found.repeats > 0);
  },
  { skip: needs(onLinux, canIsolate()) },
);

test(
  "waitFor() knows who rejects, and tells a firewall from the host",
  async () => {
    const rows = ofFamilies([
      ["127.0.1.4", "127.0.1.4"],
      ["127.0.1.8", null],
      ["fd00::4", "fd00::4"],
      ["fd00::7", null],
    ]);
    const found = await inChild(
      { namespace: FIREWALL + FIREWALL6 },
      async ({ waitFor, WaitError }, hosts) => {
        const targets = hosts.map((hostname) => ({ hostname, port: 80 }));
        const error = await waitFor(targets, { timeout: 1000 })
          .catch((error) => error);
        if (!(error instanceof WaitError)) throw error;
        return error.pending.map(({ target, last }) => {
          const { hostname } = target as { hostname: string };
          if (last?.code !== "ECONNREFUSED") throw last;
          return [hostname, (last as ErrnoError).icmp?.from ?? null] as const;
        });
      },
      rows.map(([host]) => host),
    );
    assertEquals(found, [...rows]);
  },
  { skip: needs(canIsolate(), hasCommand("nft")) },
);

test(
  "waitFor() hears of a firewall that comes later, and of its end",
  async () => {
    const found = await inChild({ namespace: FIREWALL }, async (api, tools) => {
      const { inet, listen, waitFor } = api;
      const { beginWait } = await import(
        tools.replace("src/tools.ts", "src/tools/wait.ts")
      );
      const { execFileSync } = await import("node:child_process");
      const port = 8080;
      const controller = new AbortController();
      const { signal } = controller;
      const waiting = beginWait({ port }, { timeout: Infinity, signal });
      const last = async (isEnough: (error: ErrnoError) => boolean) => {
        for (;;) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          const [{ attempts, last }] = waiting.pending();
          if (attempts > 3 && isEnough(last)) return last;
        }
      };
      const before = await last(() => true);
      const rule = `add rule ip t i tcp dport ${port} ` +
        "reject with icmp type port-unreachable";
      execFileSync("nft", rule.split(" "));
      const after = await last(({ icmp }) => icmp !== undefined);
      controller.abort();
      await waiting.ready.catch(() => {});
      const open = waitFor({ port }, { timeout: 60_000 });
      await new Promise((resolve) => setTimeout(resolve, 100));
      using _ = listen({ at: inet("127.0.0.1", port) });
      execFileSync("nft", ["flush", "chain", "ip", "t", "i"]);
      return [
        before.icmp ?? null,
        after.code,
        after.icmp.from,
        (await open).length,
      ];
    }, TOOLS);
    assertEquals(found, [null, "ECONNREFUSED", "127.0.0.1", 1]);
  },
  { skip: needs(onLinux, canIsolate(), hasCommand("nft")) },
);

test(
  "waitFor() counts the longest pause from the end of a try, too",
  async () => {
    using closed = bound();
    using silent = blackHole();
    const times: number[] = [];
    using _ = watchLibc({
      connect(fd, address, length) {
        const time = performance.now();
        const isQuick = times.length < 4;
        const to = isQuick ? address : bytesOf(silent.address);
        const result = real.connect(fd, to, length);
        if (isBegun(result)) times.push(time);
        return result;
      },
    });
    const began = await turnBegun();
    await assertRejects(
      () =>
        waitFor(closed.address, {
          timeout: 1500,
          interval: 40,
          maxInterval: 40,
          attemptTimeout: 50,
        }),
      WaitError,
    );
    const tries = times.map((time) => time - began);
    // A try that is over at once, and one that takes the whole of its time.
    assertPaced(tries, (i) => i < 4 ? 40 : 90);
    assert(tries.length >= 7, `${tries}`);
  },
  { skip: canBlackHole() },
);

test(
  "the last error of a wait outlasts the beginning of the next try",
  async () => {
    using closed = bound();
    using silent = blackHole();
    let connects = 0;
    using _ = watchLibc({
      connect(fd, address, length) {
        const to = connects < 2 ? address : bytesOf(silent.address);
        const result = real.connect(fd, to, length);
        if (isBegun(result)) connects++;
        return result;
      },
    });
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = beginWait(closed.address, { timeout: LONG, signal });
    while (connects < 3) await later(5);
    const [pending] = waiting.pending();
    assertEquals([pending!.attempts, pending!.last!.code], [3, "ECONNREFUSED"]);
    assertStringIncludes(pending!.last!.message, `${closed.address}`);
    const reason = new Error("enough");
    controller.abort(reason);
    assertEquals(await waiting.ready.catch((error) => error), reason);
  },
  { skip: canBlackHole() },
);

test("waitFor() tries every address of a name", async () => {
  const found = await inChild(
    { namespace: FILES_ONLY },
    async ({ listen, bound, inet }, tools) => {
      const { waitFor } = await import(tools);
      using listener = listen({ at: inet("127.0.0.3", 0) });
      using closed = bound();
      const open = await waitFor(
        { hostname: "two.test", port: listener.address.port },
        { timeout: 60_000 },
      );
      const shut = await waitFor(
        { hostname: "two.test", port: closed.address.port },
        { until: "closed", timeout: 60_000 },
      );
      const { port } = listener.address;
      return [open[0].address === `127.0.0.3:${port}`, shut[0].attempts];
    },
    TOOLS,
  );
  assertEquals(found, [true, 1]);
}, { skip: canIsolate() });

test(
  "waitFor() tries the addresses that it knows while no name server replies",
  async () => {
    for (const kill of ["SIGSTOP", "SIGKILL"]) {
      const address = await inChild(
        { namespace: `${NAME_SERVER}echo $! > /mnt/server\n` },
        async ({ bound, listen, waitFor }, kill) => {
          const { readFileSync } = process.getBuiltinModule("node:fs");
          const server = Number(readFileSync("/mnt/server", "utf8"));
          const closed = bound();
          const { port } = closed.address;
          const target = { hostname: "a.v4.test", port };
          const end = waitFor(target, { timeout: 9000 });
          await new Promise((resolve) => setTimeout(resolve, 500));
          process.kill(server, kill);
          // What was found has grown old.
          await new Promise((resolve) => setTimeout(resolve, 1500));
          closed[Symbol.dispose]();
          using listener = listen({ at: closed.address });
          const [ready] = await end;
          return ready!.address === `${listener.address}`;
        },
        kill,
      );
      assertEquals(address, true);
    }
  },
  { skip: needs(canIsolate(), hasCommand("python3"), onLinux) },
);

test(
  "waitFor() and probe() outlast a first name server that never replies",
  async () => {
    const found = await inChild(
      { namespace: NAME_SERVER + SILENT_SERVER_FIRST },
      async ({ listen, probe, waitFor }) => {
        using listener = listen();
        const { port } = listener.address;
        const limits = { attemptTimeout: 100, timeout: 60_000 };
        const [ready] = await waitFor({ hostname: "a.v4.test", port }, limits);
        const states: string[] = [];
        for await (
          const { state } of probe([{ hostname: "b.v4.test", port }])
        ) {
          states.push(state);
        }
        return [ready!.address === `${listener.address}`, ...states];
      },
    );
    assertEquals(found, [true, "open"]);
  },
  { skip: needs(canIsolate(), hasCommand("python3"), onLinux) },
);

test("waitFor() waits for a name, or fails by it", async () => {
  const found = await inChild(
    { namespace: NAME_SERVER + FILES_ONLY },
    async ({ listen }, tools) => {
      const { WaitError, waitFor } = await import(tools);
      const { appendFileSync } = await import("node:fs");
      using listener = listen();
      const target = { hostname: "late.test", port: listener.address.port };
      const [fails, waits] = await Promise.all([
        waitFor(target, { names: "fail" }).catch((error: unknown) => error),
        waitFor(target, { timeout: 4000 }).catch((error: unknown) => error),
      ]);
      const waiting = waitFor(target, { timeout: 60_000 });
      await new Promise((resolve) => setTimeout(resolve, 50));
      appendFileSync("/mnt/hosts", "127.0.0.1 late.test\n");
      const [ready] = await waiting;
      return {
        fails: fails.name,
        waits: waits instanceof WaitError && waits.pending[0].last.code,
        isSame: ready.target === target,
        attempts: ready.attempts > 1,
      };
    },
    TOOLS,
  );
  assertEquals(found.fails, "LookupError");
  assertMatch(String(found.waits), /^EAI_/);
  assertEquals([found.isSame, found.attempts], [true, true]);
}, { skip: needs(canIsolate(), hasCommand("python3")) });

test(
  "waitFor() ends by its own error while a name does not resolve, also where names are to fail",
  async () => {
    const names = await inChild(
      { namespace: NAME_SERVER },
      async (_, tools) => {
        const { waitFor } = await import(tools);
        const names: string[] = [];
        for (let i = 0; i < 5; i++) {
          // The time of the lookup and that of the wait end in the same turn.
          setTimeout(() => {
            const start = performance.now();
            while (performance.now() - start < 60);
          }, 80);
          const target = { hostname: "dead.test", port: 80 };
          await waitFor(target, { timeout: 100, names: "fail" })
            .catch(({ name }: Error) => names.push(name));
        }
        return names;
      },
      TOOLS,
    );
    assertEquals(names, Array(5).fill("WaitError"));
  },
  { skip: needs(canIsolate(), hasCommand("python3")) },
);

test("waitFor() is over in time while a name does not resolve", async () => {
  const last = await inChild(
    { namespace: NAME_SERVER },
    async (_, tools) => {
      const { waitFor } = await import(tools);
      const target = { hostname: "dead.test", port: 80 };
      const start = performance.now();
      const error = await waitFor(target, { timeout: 200 })
        .catch((error: unknown) => error);
      const time = performance.now() - start;
      const [{ last, attempts }] = error.pending;
      const { code, syscall } = last;
      return { code, syscall, attempts, time, end: Date.now() };
    },
    TOOLS,
  );
  assertEquals([last.code, last.syscall, last.attempts], [
    "ETIMEDOUT",
    "getaddrinfo",
    1,
  ]);
  assert(last.time < 1000, `${last.time}`);
  // A resolver that is not given up takes ten.
  const left = Date.now() - last.end;
  if (canCallOffNames() === null) assert(left < 5000, `${left}`);
}, { skip: needs(canIsolate(), hasCommand("python3")) });

test(
  "waitFor() ends with the reason of its signal and leaves nothing open",
  async () => {
    using closed = bound();
    using silent = blackHole();
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("enough");
    const waiting = waitFor([closed.address, silent.address], { signal });
    await later(30);
    controller.abort(reason);
    assertEquals(await waiting.catch((error) => error), reason);
    const late = waitFor(closed.address, { signal });
    assertEquals(await late.catch((error) => error), reason);
  },
  { skip: canBlackHole() },
);

test("waitFor() hands out each target when it is ready", async () => {
  using first = listen();
  using second = bound();
  const ready: number[] = [];
  await assertRejects(
    () =>
      waitFor([second.address, first.address], {
        timeout: 60,
        onReady: ({ index }) => ready.push(index),
      }),
    WaitError,
  );
  assertEquals(ready, [1]);
  const reason = new Error("mine");
  const error = await waitFor(first.address, {
    onReady() {
      throw reason;
    },
  }).catch((error) => error);
  assertEquals(error, reason);
});

test("waitFor() refuses what makes no sense, before any call", async () => {
  using watched = watchLibc();
  const port = 9;
  const rows: [targets: unknown, options: object, words: string][] = [
    [{ port: 65536 }, {}, "port"],
    [{ port, timeout: 50 }, {}, "target with timeout: 50"],
    [[{ port, onSocket() {} }], {}, "target with onSocket"],
    [[null], {}, "target null"],
    [{ hostname: "127.1", port }, {}, "127.1"],
    ["localhost:80", {}, "targets"],
    [undefined, {}, "targets"],
    [{ port }, { until: "shut" }, "until"],
    [{ port }, { mode: "some" }, "mode"],
    [{ port }, { names: 1 }, "names"],
    [{ port }, { timeout: -1 }, "timeout"],
    [{ port }, { interval: NaN }, "interval"],
    [{ port }, { interval: 100, maxInterval: 99 }, "maxInterval"],
    [{ port }, { attemptTimeout: "1" }, "attemptTimeout"],
    [{ port }, { stable: 0 }, "stable"],
    [{ port }, { stable: 1.5 }, "stable"],
    [{ port }, { signal: { aborted: false } }, "signal"],
    [{ port }, { onReady: 1 }, "onReady"],
  ];
  for (const [targets, options, words] of rows) {
    const error = await assertRejects(
      () => waitFor(targets as { port: number }, options),
      Error,
    );
    assert(!(error instanceof WaitError), error.message);
    assertStringIncludes(error.message, words);
  }
  assertEquals(watched.count("socket"), 0);
});

test("waitFor() is through 30 ms after listen(2), half of the time", async () => {
  const times: number[] = [];
  for (let round = 0; round < 15; round++) {
    const port = freePort();
    const waiting = waitFor({ port }, { timeout: LONG });
    // The pauses have reached their limit by then.
    await later(150 + Math.random() * 50);
    const start = performance.now();
    using _ = listen({ at: inet("127.0.0.1", port) });
    await waiting;
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  // The half of 50 ms, and a machine that is busy.
  assert(times[7]! < 60, `${times}`);
});

test(
  "waitFor() leaves 64 descriptors free, and gives each target its turn",
  async () => {
    const script = 'ulimit -n 256 && exec "$0" "$@"';
    const [counts, ready, most] = await inChild(
      { command: ["sh", "-c", script], namespace: FIREWALL },
      async ({ inet, listen, WaitError, waitFor }) => {
        const { readdirSync } = await import("node:fs");
        const targets = Array.from({ length: 600 }, (_, i) => {
          // A third each is silent, closed and open later.
          const host = ["127.0.5.1", "127.0.0.1", "127.0.0.2"][i % 3]!;
          return inet(host, 1000 + Math.floor(i / 3) % 100);
        });
        const listeners: Disposable[] = [];
        setTimeout(() => {
          for (let i = 0; i < 20; i++) {
            listeners.push(listen({ at: inet("127.0.0.2", 1000 + i) }));
          }
        }, 300);
        let most = 0;
        const watching = setInterval(() => {
          most = Math.max(most, readdirSync("/proc/self/fd").length - 1);
        }, 1);
        const ready = new Set<string>();
        const error = await waitFor(targets, {
          timeout: 5000,
          attemptTimeout: 100,
          onReady: ({ address }) => ready.add(address),
        }).catch((error) => error);
        clearInterval(watching);
        for (const listener of listeners) listener[Symbol.dispose]();
        if (!(error instanceof WaitError)) throw error;
        const counts: Record<string, number> = {};
        for (const { attempts, last } of error.pending) {
          const key = `${last?.code} ${attempts > 1}`;
          counts[key] = (counts[key] ?? 0) + 1;
        }
        return [counts, ready.size, most] as const;
      },
    );
    assertEquals(ready, 20);
    assertEquals(counts, {
      "ECONNREFUSED true": 360,
      "ETIMEDOUT true": 200,
    });
    // The listeners are the test's own.
    assert(most > 150 && most <= 256 - 64 + 20, `${most} were open`);
  },
  { skip: needs(onLinux, canIsolate(), hasCommand("nft")) },
);

test("waitFor() leaves descriptors free where there are few", async () => {
  const script = 'ulimit -n 60 && exec "$0" "$@"';
  const most = await inChild(
    { command: ["sh", "-c", script], namespace: FIREWALL },
    async ({ inet, waitFor, WaitError, watchLibc }) => {
      using watched = watchLibc();
      // Nobody replies at any of these.
      const targets = Array.from(
        { length: 16 },
        (_, i) => inet("127.0.5.1", 1 + i),
      );
      const error = await waitFor(targets, { timeout: 200 })
        .catch((error: unknown) => error);
      if (!(error instanceof WaitError)) throw error;
      return watched.count("socket");
    },
  );
  assertEquals(most, 1);
}, { skip: needs(onLinux, canIsolate(), hasCommand("nft")) });

test("waitFor() says which target has not had its turn", async () => {
  const script = 'ulimit -n 100 && exec "$0" "$@"';
  const codes = await inChild(
    { command: ["sh", "-c", script], namespace: FIREWALL },
    async ({ inet, WaitError, waitFor }) => {
      const targets = Array.from(
        { length: 100 },
        (_, i) => inet("127.0.5.1", 1 + i),
      );
      const error = await waitFor(targets, { timeout: 200 })
        .catch((error: unknown) => error);
      if (!(error instanceof WaitError)) throw error;
      return [...new Set(error.pending.map(({ last }) => last?.code))].sort();
    },
  );
  assertEquals(codes, ["EMFILE", "ETIMEDOUT"]);
}, { skip: needs(onLinux, canIsolate(), hasCommand("nft")) });

function run(...args: string[]): Promise<Ran> {
  return runCli(["wait", ...args]);
}

test("wait says when targets are open", async () => {
  using listener = listen();
  const target = `${listener.address}`;
  const { code, out, err } = await run(target, "-t", "1m");
  assertEquals([code, err], [0, ""]);
  assertMatch(out, /^127\.0\.0\.1:\d+ is open after \d+ ms, 1 try\n$/);
  assertEquals(await run(target, "-q"), { code: 0, out: "", err: "" });
  const [line] = linesOf((await run(target, "--json")).out);
  assertEquals([line!.type, line!.ready, line!.state], ["wait", true, "open"]);
  const any = await run("127.0.0.1:1", target, "--any", "--json");
  assertEquals([any.code, linesOf(any.out).length], [0, 1]);
});

test("wait says 124 and why, for each target", async () => {
  using closed = bound();
  const target = `${closed.address}`;
  const { code, out, err } = await run(target, "-t", "50");
  assertEquals([code, out], [124, ""]);
  const [head, line, finding] = err.split("\n");
  assertEquals(head, "wait: not open within 50 ms:");
  assertMatch(
    line!,
    /^ {2}127\.0\.0\.1:\d+: \d+ tr(y|ies), the last: .*ECONNREF/,
  );
  assertMatch(finding!, /^ {4}\w/);
  assertEquals(await run(target, "-t", "50", "-q"), {
    code: 124,
    out: "",
    err: "",
  });
  const { out: json } = await run(target, "-t", "50", "--json");
  const [pending] = linesOf(json);
  assertEquals([pending!.ready, pending!.code], [false, "ECONNREFUSED"]);
  assertEquals((await run(target, "--until", "closed")).code, 0);
});

test("wait refuses what it does not understand", async () => {
  const rows: [args: string[], words: string][] = [
    [[], "give a target"],
    [["a:1", "--"], "give a command"],
    [["a:1", "--", ""], "give a command"],
    [["a"], "HOST:PORT"],
    [["a:1", "--until", "shut"], "open or closed"],
    [["a:1", "--names", "x"], "wait or fail"],
    [["a:1", "--stable", "0"], "--stable"],
    [["a:1", "--unti", "open"], "did you mean --until?"],
  ];
  for (const [args, words] of rows) {
    const { code, out, err } = await run(...args);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertStringIncludes(err, words);
  }
});

test("wait runs a command, with its exit code", async () => {
  using listener = listen();
  const target = `${listener.address}`;
  const rows: [args: string[], code: number, out: string][] = [
    [["sh", "-c", 'echo "$1"; exit 7', "sh", "--json -x"], 7, "--json -x\n"],
    [["true"], 0, ""],
    [["sh", "-c", "kill -TERM $$"], 143, ""],
    [["sh", "-c", "kill -BUS $$"], 128 + constants.signals.SIGBUS, ""],
    [["sh", "-c", "kill -USR1 $$"], 128 + constants.signals.SIGUSR1, ""],
    [["/no/such/command"], 127, ""],
    [["/"], 126, ""],
  ];
  for (const [command, code, out] of rows) {
    const ran = await runChild(["wait", target, "-q", "--", ...command]);
    assertEquals([ran.code, ran.out], [code, out], command.join(" "));
    if (code !== 126) continue;
    assertStringIncludes(ran.err, 'Cannot run "/": permission denied (EACCES)');
  }
});

test("wait hands signals on to its command", async () => {
  using listener = listen();
  const script = `
    trap 'echo term' TERM
    trap 'echo usr1' USR1
    trap 'echo int; exit 5' INT
    echo ready
    while :; do sleep 0.05; done
  `;
  const steps: [seen: string, signal: NodeJS.Signals][] = [
    ["ready", "SIGTERM"],
    ["term", "SIGUSR1"],
    ["usr1", "SIGINT"],
  ];
  const { code, out } = await runChild(
    ["wait", `${listener.address}`, "-q", "--", "sh", "-c", script],
    {
      onOutput(pid, out) {
        const next = steps[0];
        if (next === undefined || !out.includes(`${next[0]}\n`)) return;
        steps.shift();
        process.kill(pid, next[1]);
      },
    },
  );
  assertEquals([code, out], [5, "ready\nterm\nusr1\nint\n"]);
});

test("wait ends by SIGINT and SIGTERM before its command has begun", async () => {
  using closed = bound();
  using open = listen();
  for (
    const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const
  ) {
    const args = [`${closed.address}`, `${open.address}`, "--", "echo", "no"];
    const { code, out, err } = await runChild(["wait", ...args], {
      onOutput: (pid) => process.kill(pid, signal),
    });
    assertEquals(code, expected);
    assertMatch(err, /^wait: not open within \d+ ms:\n {2}\S+: \d+ tr/);
    assertMatch(out, /^\S+ is open after .*\n$/);
  }
});

test("waitFor() says that a firewall refuses, and who", async () => {
  const last = await inChild({ namespace: FIREWALL }, async (_, tools) => {
    const { waitFor } = await import(tools);
    const target = { hostname: "127.0.1.7", port: 80 };
    const error = await waitFor(target, { timeout: 1000 })
      .catch((error: unknown) => error);
    const [{ last, attempts }] = error.pending;
    return { code: last.code, icmp: last.icmp ?? null, attempts };
  }, TOOLS);
  assertEquals(last.code, "EHOSTUNREACH");
  assertEquals(last.icmp, { type: 3, code: 13, from: "127.0.1.7" });
  assert(last.attempts > 1);
}, { skip: needs(canIsolate(), hasCommand("nft")) });

test("waitFor() finds the one address of localhost that listens", async () => {
  using listener = listen();
  const { port } = listener.address;
  const [ready] = await waitFor({ hostname: "localhost", port }, {
    timeout: LONG,
  });
  assertEquals(ready!.address, `127.0.0.1:${port}`);
}, { skip: canIpv6() });

test("wait says what is not ready when it is asked", async () => {
  using closed = bound();
  let ask = () => {};
  const controller = new AbortController();
  let err = "";
  const asked = setInterval(() => ask(), 30);
  const code = await main(["wait", `${closed.address}`, "-q"], {
    out() {},
    err(text) {
      err += text;
      controller.abort();
    },
    signal: controller.signal,
    onRequest(listener) {
      ask = listener;
      return { [Symbol.dispose]: () => ask = () => {} };
    },
  });
  clearInterval(asked);
  assertEquals(code, 130);
  assertMatch(
    err,
    /^wait: not open within \d+ ms:\n.*: ECONNREF|connection ref/,
  );
});
