import { assert, assertEquals, assertThrows } from "@std/assert";
import process from "node:process";
import { libc } from "../ffi/libc.ts";
import { inet, rawAddress, vsock } from "../src/address/address.ts";
import { Errno } from "../src/errors/errors.ts";
import { listenLoopback } from "../src/tools/loopback.ts";
import { type Ping, ping, type PingOptions } from "../src/tools/ping.ts";
import { PingStats } from "../src/tools/ping_stats.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canCallOffNames,
  canIsolate,
  inChild,
  listen,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, hasCommand, needs, onLinux, test } from "./_harness.ts";
import {
  FILES_ONLY,
  FIREWALL,
  FIREWALL6,
  NAME_SERVER,
  ofFamilies,
} from "./_networks.ts";

/** The system's C library, also while a fake is in force. */
const real = libc();
const { errnos } = real.abi;
const TOOLS = import.meta.resolve("../src/tools.ts");

async function collect(probes: AsyncIterable<Ping>): Promise<Ping[]> {
  const all: Ping[] = [];
  for await (const probe of probes) all.push(probe);
  return all;
}

function newPing(fields: Partial<Ping>): Ping {
  return {
    index: 0,
    target: { port: 80 },
    seq: 1,
    time: new Date(0),
    start: 0,
    address: "127.0.0.1:80",
    localAddress: null,
    state: "open",
    reason: "syn-ack",
    answered: fields.code === undefined,
    code: null,
    icmp: null,
    soft: false,
    retransmits: null,
    wall: 1,
    rtt: null,
    latency: fields.wall ?? 1,
    error: null,
    ...fields,
  };
}

test("PingStats counts failures by errno and leaves them out of the durations", () => {
  const stats = new PingStats();
  assertEquals(stats.summary(), {
    probes: 0,
    connected: 0,
    answered: 0,
    failed: 0,
    failures: {},
    routers: {},
    retransmitted: 0,
    syns: 0,
    loss: null,
    outage: 0,
    wall: null,
    rtt: null,
    latency: null,
    jitter: null,
  });
  const refused = { code: "ECONNREFUSED", state: "closed" } as const;
  const icmp = { type: 3, code: 13, from: "10.0.0.1" };
  stats.add(newPing({ code: "ETIMEDOUT", wall: 1000, retransmits: 1 }));
  stats.add(newPing({ wall: 3, rtt: 2, retransmits: 0 }));
  stats.add(newPing({ ...refused, wall: 500 }));
  stats.add(newPing({ wall: 1, rtt: null, retransmits: 2 }));
  stats.add(newPing({ ...refused, wall: 500, icmp }));
  const { wall, rtt, latency, jitter, outage: _, ...counts } = stats.summary();
  assertEquals(counts, {
    probes: 5,
    connected: 2,
    answered: 2,
    failed: 3,
    failures: { ECONNREFUSED: 2, ETIMEDOUT: 1 },
    routers: { "10.0.0.1": 1 },
    retransmitted: 2,
    syns: 6,
    loss: 0.5,
  });
  assertEquals(Object.keys(counts.failures), ["ECONNREFUSED", "ETIMEDOUT"]);
  assertEquals([wall?.min, wall?.max], [1, 3]);
  assertEquals([rtt?.min, rtt?.max], [2, 2]);
  assertEquals([latency?.min, latency?.max], [1, 3]);
  // From the kernel's 2 to the 1 of the wall clock.
  assertEquals(jitter, 1);
});

test("PingStats counts no refusal that is an answer, and no SYN that was not sent", () => {
  const stats = new PingStats();
  const code = "ECONNREFUSED";
  const answer = { code, state: "closed", answered: true } as const;
  stats.add(newPing({ ...answer, retransmits: 0 }));
  stats.add(newPing({ code: "ENETUNREACH", state: "unsent", retransmits: 0 }));
  const { answered, failed, failures, syns } = stats.summary();
  assertEquals([answered, failed, syns], [1, 1, 1]);
  assertEquals(failures, { ENETUNREACH: 1 });
});

test("PingStats knows the longest time without an answer", () => {
  const stats = new PingStats();
  const at = (seconds: number, code?: string) =>
    stats.add(newPing({
      // The clock on the wall is set back meanwhile.
      time: new Date(-seconds * 1000),
      start: seconds * 1000,
      ...code === undefined ? {} : { code },
    }));
  at(0);
  at(1, "ETIMEDOUT");
  at(2, "ETIMEDOUT");
  at(3);
  at(4, "ECONNREFUSED");
  at(5);
  assertEquals(stats.summary().outage, 2000);
});

test("PingStats leaves out of an outage that the process was suspended", () => {
  const stats = new PingStats();
  const begin = performance.now() - 10_000;
  const add = (time: number, code?: string) =>
    stats.add(newPing({
      start: begin + time,
      ...code === undefined ? {} : { code },
    }));
  add(0, "ETIMEDOUT");
  add(500, "ETIMEDOUT");
  // Ten seconds after the first one.
  stats.resume();
  const { outage } = stats.summary();
  assert(outage >= 500 && outage < 5000, `${outage}`);
  stats.add(newPing({ start: performance.now() + 100 }));
  const after = stats.summary().outage;
  assert(after >= 500 && after < 5000, `${after}`);
  // Nothing was out the next time.
  stats.add(newPing({ start: performance.now() + 200 }));
  stats.resume();
  assertEquals(stats.summary().outage, after);
  // The first probe after it comes before the signal.
  const late = new PingStats();
  late.add(newPing({ start: 0, code: "ETIMEDOUT" }));
  late.add(newPing({ start: 700, code: "ETIMEDOUT" }));
  late.add(newPing({ start: 9000 }));
  late.resume();
  assertEquals(late.summary().outage, 700);
});

test("ping() connects count times and measures each time", async () => {
  using listener = listen();
  const target = { port: listener.address.port };
  const start = performance.now();
  const probes = await collect(ping(target, { count: 3, interval: 0 }));
  assertEquals(probes.map(({ seq }) => seq), [1, 2, 3]);
  for (const probe of probes) {
    const { error, code, address, localAddress, wall, rtt, latency } = probe;
    assert(probe.start >= start && probe.start <= performance.now());
    assertEquals([error, code, probe.index], [null, null, 0]);
    assertEquals([probe.target, address], [target, `${listener.address}`]);
    assertEquals([probe.state, probe.reason], ["open", "syn-ack"]);
    assert(localAddress?.startsWith("127.0.0.1:"));
    assert(wall !== null && wall > 0);
    assertEquals(latency, wall);
    assert(rtt === null || rtt > 0);
  }
});

test("ping() goes to several targets, each in a loop of its own", async () => {
  using listener = listen();
  using closed = bound();
  const targets = [listener.address, closed.address];
  const probes = await collect(ping(targets, { count: 3, interval: 1 }));
  for (const [index, state] of ["open", "closed"].entries()) {
    const own = probes.filter((probe) => probe.index === index);
    assertEquals(own.map(({ seq }) => seq), [1, 2, 3]);
    assert(own.every((probe) => probe.state === state));
    assert(own.every(({ target }) => target === targets[index]));
  }
});

test("ping() yields a refusal and goes on", async () => {
  using closed = bound();
  const { address } = closed;
  const probes = await collect(ping(address, { count: 2, interval: 0 }));
  assertEquals(probes.length, 2);
  for (const { error, rtt, wall, answered, reason } of probes) {
    assert(error instanceof Errno.ECONNREFUSED);
    assertEquals(error.address, `${address}`);
    assertEquals([rtt, answered, reason], [null, false, "reset"]);
    assert(wall !== null && wall > 0);
  }
  const options = { count: 1, refused: "answer" } as const;
  const [probe] = await collect(ping(address, options));
  assertEquals([probe!.answered, probe!.state], [true, "closed"]);
});

test("ping() takes the reset of a vsock port for a refusal", async () => {
  using _ = watchLibc({ connect: () => -errnos.ECONNRESET! });
  const options = { count: 1, refused: "answer" } as const;
  const [probe] = await collect(ping(vsock(1, 9), options));
  const { state, reason, code, answered } = probe!;
  assertEquals([state, reason, code, answered], [
    "closed",
    "reset",
    "ECONNRESET",
    true,
  ]);
}, {
  skip: real.abi.AF_VSOCK === null ? `${real.abi.os} has no vsock` : null,
});

test("ping() sends nothing before the first probe", async () => {
  using closed = bound();
  using watched = watchLibc();
  await collect(ping(closed.address, { count: 2, interval: 0 }));
  const fds = watched.calls
    .filter(({ name }) => name === "connect")
    .map(({ args }) => args[0] as number);
  assertEquals(fds.filter((fd) => fd >= 0).length, 2);
});

test(
  "ping() makes no more calls between connect(2) and the outcome than it needs",
  async () => {
    using listener = listen();
    using watched = watchLibc();
    await collect(ping(listener.address, { count: 1 }));
    const { calls } = watched;
    const from = calls.findIndex(({ name, args }) =>
      name === "connect" && args[0] !== -1
    );
    // On loopback, there is a peer by the time that connect(2) returns.
    assertEquals(calls.slice(from - 1, from + 2).map(({ name }) => name), [
      "socket",
      "connect",
      "getpeername",
    ]);
  },
  { skip: onLinux },
);

test("ping() gives a probe up at its deadline", async () => {
  using silent = blackHole();
  const options = { count: 1, timeout: 20 };
  const [probe] = await collect(ping(silent.address, options));
  assert(probe?.error instanceof Errno.ETIMEDOUT);
  assertEquals(probe.error.timeoutKind, "deadline");
  assertEquals([probe.state, probe.reason], ["filtered", "no-answer"]);
  assert(probe.wall !== null && probe.wall >= 20);
}, { skip: canBlackHole() });

test(
  "ping() says that a SYN was repeated, and has no round trip then",
  async () => {
    using silent = blackHole();
    const options = { count: 1, timeout: 30_000 };
    const probes = collect(ping(silent.address, options));
    setTimeout(() => silent.accept().close(), 300);
    const [probe] = await probes;
    assertEquals([probe!.state, probe!.rtt], ["open", null]);
    assert(probe!.retransmits! >= 1);
    assert(probe!.wall! > 500, `${probe!.wall}`);
  },
  { skip: canBlackHole() },
);

test(
  "ping() ends with the reason of its signal, and knows what was under way",
  async () => {
    using silent = blackHole();
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("enough");
    const probes = ping(silent.address, { timeout: 3_600_000, signal });
    const first = probes.next().catch((error) => error);
    while (probes.inFlight[0] !== 1) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    controller.abort(reason);
    assertEquals(await first, reason);
    assertEquals(probes.inFlight, [1]);
    assertEquals(await probes.next(), { done: true, value: undefined });
  },
  { skip: canBlackHole() },
);

test("ping() ends with the reason of its signal before a probe and after it", async () => {
  using closed = bound();
  const { address } = closed;
  const controller = new AbortController();
  const { signal } = controller;
  const reason = new Error("enough");
  const probes = ping(address, { interval: 3_600_000, signal });
  await probes.next();
  setTimeout(() => controller.abort(reason), 1);
  assertEquals(await probes.next().catch((error) => error), reason);
  assertEquals(probes.inFlight, [0]);
  const late = ping(address, { signal });
  assertEquals(await late.next().catch((error) => error), reason);
});

test("ping() leaves nothing open when the iteration ends early", async () => {
  using listener = listen();
  using silent = blackHole();
  const options = { count: 0, interval: 0 };
  for await (const { seq } of ping(listener.address, options)) {
    if (seq === 3) break;
  }
  const targets = [listener.address, silent.address];
  for await (const { seq } of ping(targets, { count: 0, rate: 200 })) {
    if (seq === 10) break;
  }
}, { skip: canBlackHole() });

test("ping() returns overlapping calls one after the other", async () => {
  using listener = listen();
  const probes = ping(listener.address, { count: 3, interval: 0 });
  const all = await Promise.all([1, 2, 3, 4].map(() => probes.next()));
  assertEquals(all.map(({ value }) => value?.seq), [1, 2, 3, undefined]);
  const more = ping(listener.address, { count: 0, interval: 3_600_000 });
  await more.next();
  const [next] = await Promise.all([more.next(), more.return()]);
  assertEquals(next, { done: true, value: undefined });
});

test(
  "ping() ends by what an option throws, in a loop and at a rate",
  async () => {
    using listener = listen();
    const target = {
      port: listener.address.port,
      interface: "no-such",
    };
    for (const options of [{ interval: 0 }, { rate: 1000 }]) {
      const probes = ping(target, options);
      const error = await probes.next().catch((error) => error);
      assert(error instanceof Errno.ENODEV, `${error}`);
      assertEquals(await probes.next(), { done: true, value: undefined });
    }
  },
  { skip: onLinux },
);

test("ping() closes by a reset, and spends no port", async () => {
  const states = await inChild({ namespace: "" }, async (api, tools) => {
    const { ping } = await import(tools);
    const { readFileSync } = await import("node:fs");
    using listener = api.listen();
    const options = { count: 50, interval: 0 };
    for await (const _ of ping(listener.address, options));
    return readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)
      .map((line) => line.trim().split(/ +/)[3] ?? "")
      .filter((state) => state === "06").length;
  }, TOOLS);
  assertEquals(states, 0);
}, { skip: canIsolate() });

test("ping() yields a socket that cannot be had as unsent", async () => {
  using closed = bound();
  // The first ten are for warming up.
  let calls = 0;
  using _ = watchLibc({
    socket(domain, type, protocol) {
      return ++calls === 12
        ? -errnos.EMFILE!
        : real.socket(domain, type, protocol);
    },
  });
  const probes = await collect(ping(closed.address, { count: 3, interval: 0 }));
  const broken = probes.find(({ code }) => code === "EMFILE");
  assertEquals([broken?.wall, broken?.retransmits, broken?.state], [
    null,
    null,
    "unsent",
  ]);
  assertEquals(probes.length, 3);
}, { skip: onLinux });

test(
  "ping() tries each address of a name, and keeps the one that works",
  async () => {
    const found = await inChild(
      { namespace: FILES_ONLY },
      async ({ inet, listen }, tools) => {
        const { ping } = await import(tools);
        using listener = listen({ at: inet("127.0.0.3", 0) });
        const { port } = listener.address;
        const target = { hostname: "two.test", port };
        const all = [];
        for await (
          const { address, state } of ping(target, { count: 3, interval: 1 })
        ) all.push([address === `127.0.0.3:${port}`, state]);
        const none = { hostname: "two.test", port: 1 };
        for await (const { address, code } of ping(none, { count: 1 })) {
          all.push([address, code]);
        }
        return all;
      },
      TOOLS,
    );
    assertEquals(found, [
      [true, "open"],
      [true, "open"],
      [true, "open"],
      ["127.0.0.2:1", "ECONNREFUSED"],
    ]);
  },
  { skip: canIsolate() },
);

test("ping() gives a probe up whose name the caller's own lookup does not find in time", async () => {
  const signals: AbortSignal[] = [];
  const target = {
    hostname: "x.test",
    port: 80,
    lookup(_hostname: string, { signal }: { signal: AbortSignal }) {
      signals.push(signal);
      return new Promise<never>(() => {});
    },
  };
  const options = { count: 2, interval: 1, timeout: 20 };
  const probes = await collect(ping(target, options));
  assertEquals(probes.map(({ code, state }) => [code, state]), [
    ["ETIMEDOUT", "unsent"],
    ["ETIMEDOUT", "unsent"],
  ]);
  assertEquals(signals.map(({ aborted }) => aborted), [true, true]);
});

test("ping() resolves a name again, and goes on where it leads", async () => {
  const found = await inChild(
    { namespace: FILES_ONLY },
    async ({ inet, listen }, tools) => {
      const { ping } = await import(tools);
      const { appendFileSync, writeFileSync } = await import("node:fs");
      using first = listen({ at: inet("127.0.0.1", 0) });
      const { port } = first.address;
      using _ = listen({ at: inet("127.0.0.2", port) });
      const target = { hostname: "moves.test", port };
      const options = { count: 0, interval: 5, resolveEvery: 2 };
      const seen: string[] = [];
      for await (
        const { seq, state, reason, address } of ping(target, options)
      ) {
        const now = address === null ? `${state} ${reason}` : address;
        const text = now.replace(`:${port}`, "");
        if (seen.at(-1) !== text) seen.push(text);
        if (seq === 2) appendFileSync("/mnt/hosts", "127.0.0.1 moves.test\n");
        if (seq === 6) writeFileSync("/mnt/hosts", "127.0.0.2 moves.test\n");
        if (seen.length === 3 || seq > 2000) break;
      }
      return seen;
    },
    TOOLS,
  );
  assertEquals(found, ["unsent name", "127.0.0.1", "127.0.0.2"]);
}, { skip: canIsolate() });

test("ping() distinguishes a firewall from a host, and names it", async () => {
  const rows = ofFamilies([
    ["127.0.1.7", "filtered", "icmp", "EHOSTUNREACH", "127.0.1.7", false],
    ["127.0.1.4", "filtered", "icmp", "ECONNREFUSED", "127.0.1.4", false],
    ["127.0.1.8", "closed", "reset", "ECONNREFUSED", null, true],
    ["127.0.5.1", "filtered", "no-answer", "ETIMEDOUT", null, false],
    ["fd00::2", "filtered", "icmp", "EACCES", "fd00::2", false],
    ["fd00::4", "filtered", "icmp", "ECONNREFUSED", "fd00::4", false],
    ["fd00::7", "closed", "reset", "ECONNREFUSED", null, true],
  ]);
  const found = await inChild(
    { namespace: FIREWALL + FIREWALL6 },
    async (_, tools, hosts) => {
      const { ping } = await import(tools);
      const all = [];
      for (const hostname of hosts) {
        const target = { hostname, port: 80 };
        const options = { count: 1, timeout: 200, refused: "answer" };
        for await (
          const { state, reason, code, icmp, answered } of ping(target, options)
        ) {
          const from = icmp?.from ?? null;
          all.push([hostname, state, reason, code, from, answered]);
        }
      }
      return all;
    },
    TOOLS,
    rows.map(([host]) => host),
  );
  assertEquals(found, [...rows]);
}, { skip: needs(canIsolate(), hasCommand("nft")) });

test("ping() counts latency from when a probe was due", async () => {
  using listener = listen({ backlog: 1000 });
  const rate = 200;
  const probes = ping(listener.address, { count: 100, rate });
  const all: Ping[] = [];
  for await (const probe of probes) {
    all.push(probe);
    if (probe.seq !== 20) continue;
    // The whole program stands still.
    const end = performance.now() + 200;
    while (performance.now() < end);
  }
  const late = all.filter(({ latency }) => latency! > 20);
  // 200 ms without a probe are 40 that were due and late.
  assert(late.length >= 30, `${late.length}`);
  assert(late.filter(({ wall }) => wall! < 20).length >= 25);
  assertEquals(all.length, 100);
});

test("ping() begins no more than a burst at its rate", async () => {
  using listener = listen({ backlog: 4000 });
  const times: number[] = [];
  using _ = watchLibc({
    connect(fd, address, length) {
      if (fd >= 0) times.push(performance.now());
      return real.connect(fd, address, length);
    },
  });
  const start = performance.now();
  await collect(ping(listener.address, { count: 1500, rate: 1000 }));
  assertEquals(times.length, 1500);
  assert(performance.now() - start >= 1490);
  let worst = 0;
  for (let i = 0, j = 0; j < times.length; j++) {
    while (times[j]! - times[i]! > 10) i++;
    worst = Math.max(worst, j - i + 1);
  }
  assert(worst <= 20, `${worst}`);
});

test("ping() does not wait for a silent target in an open loop", async () => {
  using silent = blackHole();
  const start = performance.now();
  const options = { count: 20, rate: 200, timeout: 300 };
  const probes = await collect(ping(silent.address, options));
  assertEquals(probes.length, 20);
  assert(probes.every(({ code }) => code === "ETIMEDOUT"));
  // One after the other they would take 6 s.
  assert(performance.now() - start < 4000);
}, { skip: canBlackHole() });

test("ping() does without TCP_INFO where the kernel refuses it", async () => {
  using listener = listen();
  using _ = watchLibc({
    getsockopt(fd, level, name, value) {
      return level === real.abi.IPPROTO_TCP
        ? -errnos.ENOPROTOOPT!
        : real.getsockopt(fd, level, name, value);
    },
  });
  const [probe] = await collect(ping(listener.address, { count: 1 }));
  assertEquals(probe?.error, null);
  assertEquals([probe?.rtt, probe?.retransmits], [null, null]);
});

test("ping() refuses arguments that make no sense, before any call", () => {
  using watched = watchLibc();
  const port = 9;
  const rows: [target: unknown, options: PingOptions, words: string][] = [
    [{ port }, { count: -1 }, "count"],
    [{ port }, { count: 1.5 }, "count"],
    [{ port }, { interval: NaN }, "interval"],
    [{ port }, { timeout: -1 }, "timeout"],
    [{ port }, { rate: 0 }, "rate"],
    [{ port }, { resolveEvery: -1 }, "resolveEvery"],
    [{ port }, { refused: "no" } as object, "refused"],
    [{ port }, { intervall: 1 } as object, "did you mean interval"],
    [{ port: 65536 }, {}, "port"],
    [{ port, hostname: "127.1" }, {}, "127.1"],
    [{ port, hostname: "::1", family: "inet" }, {}, "inet"],
    [{ port, localAddress: "localhost" }, {}, "localAddress"],
    [{ port, host: "127.0.0.1" }, {}, "hostname"],
    [{ transport: "unix", path: "" }, {}, "path"],
    ["localhost:80", {}, "targets"],
    [rawAddress(new Uint8Array([1])), {}, "no peer"],
  ];
  for (const [target, options, words] of rows) {
    const error = assertThrows(
      () => ping(target as { port: number }, options),
      Error,
    );
    assert(error.message.includes(words), error.message);
  }
  assertEquals(watched.count("socket"), 0);
});

for (const family of ["inet", "inet6"] as const) {
  test(
    `listenLoopback() takes up and lets go of ${family} connections`,
    async () => {
      const listener = await listenLoopback(family);
      try {
        const { hostname, port } = listener;
        const options = { count: 20, interval: 0 };
        for await (const { seq, error } of ping({ hostname, port }, options)) {
          assertEquals(error, null);
          await listener.settled(seq);
        }
      } finally {
        await listener.close();
      }
    },
    { skip: family === "inet6" ? canIpv6() : null },
  );
}

test("ping() goes to an address as to a target", async () => {
  using listener = listen();
  const { port } = listener.address;
  const [probe] = await collect(ping(inet("127.0.0.1", port), { count: 1 }));
  assertEquals(probe!.state, "open");
});

test(
  "a ping that ends leaves no lookup behind, however often it has begun one",
  async () => {
    const rows: readonly [string, object, least: number][] = [
      // They go on to the address that is known.
      ["a.v4.test", { interval: 20, resolveEvery: 1 }, 3],
      // Each probe of a name without one looks it up.
      ["a.none.test", { rate: 50 }, 1],
    ];
    for (const [hostname, options, least] of rows) {
      const [count, ended] = await inChild(
        { namespace: `${NAME_SERVER}echo $! > /mnt/server\n` },
        async ({ ping }, hostname, options) => {
          const { readFileSync } = process.getBuiltinModule("node:fs");
          const controller = new AbortController();
          const { signal } = controller;
          const target = { hostname, port: 1 };
          const all = { ...options as object, timeout: 60_000, signal };
          let count = 0;
          try {
            for await (const _ of ping([target], all)) {
              if (++count > 1) continue;
              const server = Number(readFileSync("/mnt/server", "utf8"));
              process.kill(server, "SIGSTOP");
              setTimeout(() => controller.abort("enough"), 1500);
            }
          } catch (reason) {
            if (reason !== "enough") throw reason;
          }
          return [count, Date.now()] as const;
        },
        hostname,
        options as Record<string, number>,
      );
      assert(count >= least, `${count} probes`);
      // The process has ended by now, and not with the resolver, which gives up after ten seconds.
      assert(Date.now() - ended! < 7000);
    }
  },
  {
    skip: needs(
      onLinux,
      canIsolate(),
      canCallOffNames(),
      hasCommand("python3"),
    ),
  },
);
