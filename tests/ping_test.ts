import { assert, assertEquals, assertRejects } from "@std/assert";
import { libc } from "../ffi/libc.ts";
import { inet6 } from "../src/address/address.ts";
import {
  Errno,
  type ErrnoCode,
  ErrnoError,
  LookupError,
} from "../src/errors/errors.ts";
import {
  distribution,
  listenLoopback,
  ping,
  PingStats,
  type Probe,
  quantile,
} from "../src/tools/ping.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  fakeResolver,
  listen,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, test } from "./_harness.ts";

/** The system's C library, also while a fake is in force. */
const real = libc();
const { errnos } = real.abi;

async function collect(probes: AsyncIterable<Probe>): Promise<Probe[]> {
  const all: Probe[] = [];
  for await (const probe of probes) all.push(probe);
  return all;
}

function newProbe(fields: Partial<Probe>): Probe {
  return {
    seq: 1,
    time: new Date(0),
    address: "127.0.0.1:80",
    localAddress: null,
    wall: 1,
    rtt: null,
    retransmits: null,
    error: null,
    ...fields,
  };
}

test("quantile() takes the value at the nearest rank", () => {
  const ten = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  const rows: [values: number[], q: number, expected: number][] = [
    [[7], 0, 7],
    [[7], 0.5, 7],
    [[7], 1, 7],
    [[1, 2], 0.5, 1],
    [[1, 2], 0.51, 2],
    [[1, 2, 3], 0.5, 2],
    [[15, 20, 35, 40, 50], 0.05, 15],
    [[15, 20, 35, 40, 50], 0.3, 20],
    [[15, 20, 35, 40, 50], 0.4, 20],
    [[15, 20, 35, 40, 50], 0.5, 35],
    [[15, 20, 35, 40, 50], 1, 50],
    [ten, 0, 1],
    [ten, 0.5, 5],
    [ten, 0.9, 9],
    [ten, 0.99, 10],
    [hundred, 0.07, 7],
    [hundred, 0.29, 29],
    [hundred, 0.9, 90],
    [hundred, 0.99, 99],
    [hundred, 0.999, 100],
  ];
  for (const [values, q, expected] of rows) {
    assertEquals(quantile(values, q), expected, `${q} of ${values}`);
  }
});

test("distribution() tells how values spread, in whatever order", () => {
  assertEquals(distribution([]), null);
  const values = [9, 2, 5, 4, 4, 7, 4, 5];
  assertEquals(distribution(values), {
    min: 2,
    p50: 4,
    p90: 9,
    p99: 9,
    p999: 9,
    max: 9,
    mean: 5,
    stddev: 2,
  });
  assertEquals(values[0], 9);
});

test("PingStats counts failures by errno and leaves them out of the durations", () => {
  const stats = new PingStats();
  assertEquals(stats.summary(), {
    probes: 0,
    connected: 0,
    failed: 0,
    failures: {},
    retransmitted: 0,
    wall: null,
    rtt: null,
  });
  const refused = new Errno.ECONNREFUSED({ syscall: "connect" });
  const late = new Errno.ETIMEDOUT({ syscall: "connect" });
  stats.add(newProbe({ wall: 1000, error: late, retransmits: 1 }));
  stats.add(newProbe({ wall: 3, rtt: 2, retransmits: 0 }));
  stats.add(newProbe({ wall: 500, error: refused }));
  stats.add(newProbe({ wall: 1, rtt: null, retransmits: 2 }));
  stats.add(newProbe({ wall: 500, error: refused }));
  const { wall, rtt, ...counts } = stats.summary();
  assertEquals(counts, {
    probes: 5,
    connected: 2,
    failed: 3,
    failures: { ECONNREFUSED: 2, ETIMEDOUT: 1 },
    retransmitted: 2,
  });
  assertEquals(Object.keys(counts.failures), ["ECONNREFUSED", "ETIMEDOUT"]);
  assertEquals([wall?.min, wall?.max], [1, 3]);
  assertEquals([rtt?.min, rtt?.max], [2, 2]);
});

test("ping() connects as often as it is told and measures each time", async () => {
  using listener = listen();
  const { hostname, port } = listener.address;
  const options = { hostname, port, count: 3, interval: 0 };
  const probes = await collect(ping(options));
  assertEquals(probes.map(({ seq }) => seq), [1, 2, 3]);
  for (const { error, address, localAddress, wall, rtt } of probes) {
    assertEquals(error, null);
    assertEquals(address, `127.0.0.1:${port}`);
    assert(localAddress?.startsWith("127.0.0.1:"));
    assert(wall !== null && wall > 0);
    assert(rtt === null || rtt > 0);
  }
});

test("ping() yields a refusal and goes on", async () => {
  using closed = bound();
  const { port } = closed.address;
  const probes = await collect(ping({ port, count: 2, interval: 0 }));
  assertEquals(probes.length, 2);
  for (const { error, rtt, wall } of probes) {
    assert(error instanceof Errno.ECONNREFUSED);
    assertEquals(error.address, `127.0.0.1:${port}`);
    assertEquals(rtt, null);
    assert(wall !== null && wall > 0);
  }
});

test("ping() sends nothing before the first probe", async () => {
  using closed = bound();
  const { port } = closed.address;
  using watched = watchLibc();
  await collect(ping({ port, count: 2, interval: 0 }));
  const fds = watched.calls
    .filter(({ name }) => name === "connect")
    .map(({ args }) => args[0] as number);
  assertEquals(fds.filter((fd) => fd >= 0).length, 2);
});

test("ping() calls nothing between connect(2) and the outcome but what tells it", async () => {
  using listener = listen();
  const { port } = listener.address;
  using watched = watchLibc();
  await collect(ping({ port, count: 1 }));
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
});

test("ping() gives a probe up at its deadline", async () => {
  using silent = blackHole();
  const { port } = silent.address;
  const [probe] = await collect(ping({ port, count: 1, timeout: 20 }));
  assert(probe?.error instanceof Errno.ETIMEDOUT);
  assertEquals(probe.error.timeoutKind, "deadline");
  assert(probe.wall !== null && probe.wall >= 20);
}, { skip: canBlackHole() });

test("ping() goes on waiting where the answer is slow", async () => {
  using listener = listen();
  const { port } = listener.address;
  let polls = 0;
  using _ = watchLibc({
    getpeername(fd, address) {
      return polls === 0 ? -errnos.ENOTCONN! : real.getpeername(fd, address);
    },
    poll(fds, count, timeout) {
      if (timeout === 0 || polls++ > 0) return real.poll(fds, count, timeout);
      // Time passes here, and the kernel has not heard of the connection yet.
      const end = performance.now() + timeout;
      while (performance.now() < end);
      return 0;
    },
  });
  const [probe] = await collect(ping({ port, count: 1, timeout: 60_000 }));
  assertEquals(probe?.error, null);
  assertEquals(polls, 2);
});

test(
  "ping() ends with the reason of its signal in the middle of a probe",
  async () => {
    using silent = blackHole();
    const { port } = silent.address;
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("enough");
    setTimeout(() => controller.abort(reason), 1);
    const probes = ping({ port, timeout: 3_600_000, signal });
    assertEquals(await probes.next().catch((error) => error), reason);
  },
  { skip: canBlackHole() },
);

test("ping() ends with the reason of its signal before a probe and after it", async () => {
  using closed = bound();
  const { port } = closed.address;
  const controller = new AbortController();
  const { signal } = controller;
  const reason = new Error("enough");
  const probes = ping({ port, interval: 3_600_000, signal });
  await probes.next();
  setTimeout(() => controller.abort(reason), 1);
  assertEquals(await probes.next().catch((error) => error), reason);
  const late = ping({ port, signal });
  assertEquals(await late.next().catch((error) => error), reason);
});

test("ping() leaves nothing open when nobody asks for more", async () => {
  using listener = listen();
  const { port } = listener.address;
  for await (const { seq } of ping({ port, count: 0, interval: 0 })) {
    if (seq === 3) break;
  }
});

test("ping() yields a socket that cannot be had as a failure, except at first", async () => {
  using closed = bound();
  const { port } = closed.address;
  // The first socket is for warming up.
  const rows: [fails: number, codes: ErrnoCode[]][] = [
    [2, ["EMFILE", "ECONNREFUSED"]],
    [3, ["ECONNREFUSED", "EMFILE"]],
  ];
  for (const [fails, codes] of rows) {
    using _ = failingSocket(fails);
    const probes = await collect(ping({ port, count: 2, interval: 0 }));
    assertEquals(probes.map(({ error }) => error?.code), codes);
    const broken = probes.find(({ error }) => error?.code === "EMFILE");
    assertEquals([broken?.wall, broken?.retransmits], [null, null]);
  }
  using _ = failingSocket(1);
  await assertRejects(() => collect(ping({ port })), ErrnoError, "EMFILE");
});

/** Lets one call of socket(2) fail, counted from 1. */
function failingSocket(fails: number): Disposable {
  let calls = 0;
  return watchLibc({
    socket(domain, type, protocol) {
      return ++calls === fails
        ? -errnos.EMFILE!
        : real.socket(domain, type, protocol);
    },
  });
}

test("ping() resolves a name once and takes the first of its addresses", async () => {
  using closed = bound();
  const { address } = closed;
  using watched = watchLibc(fakeResolver([address, inet6("::1", 1)]));
  const options = { hostname: "name.invalid", port: 7, count: 3, interval: 0 };
  const probes = await collect(ping(options));
  assertEquals(watched.count("getaddrinfo"), 1);
  assertEquals(probes.map(({ address }) => address), [
    "127.0.0.1:7",
    "127.0.0.1:7",
    "127.0.0.1:7",
  ]);
});

test("ping() throws LookupError when the name does not resolve", async () => {
  using _ = watchLibc({ getaddrinfo: () => [real.abi.eais.EAI_NONAME!, 0] });
  await assertRejects(
    () => collect(ping({ hostname: "name.invalid", port: 9 })),
    LookupError,
    "name.invalid",
  );
});

test("ping() does without TCP_INFO where the kernel refuses it", async () => {
  using listener = listen();
  const { port } = listener.address;
  using _ = watchLibc({
    getsockopt(fd, level, name, value) {
      return level === real.abi.IPPROTO_TCP
        ? -errnos.ENOPROTOOPT!
        : real.getsockopt(fd, level, name, value);
    },
  });
  const [probe] = await collect(ping({ port, count: 1 }));
  assertEquals(probe?.error, null);
  assertEquals([probe?.rtt, probe?.retransmits], [null, null]);
});

test("ping() refuses arguments that make no sense", async () => {
  const port = 9;
  const rows: [options: Parameters<typeof ping>[0], words: string][] = [
    [{ port, count: -1 }, "count"],
    [{ port, count: 1.5 }, "count"],
    [{ port, interval: NaN }, "interval"],
    [{ port, timeout: -1 }, "timeout"],
    [{ port: 65536 }, "port"],
    [{ hostname: "127.1", port }, "127.1"],
    [{ hostname: "::1", port, family: "inet" }, "inet"],
    [{ port, localAddress: "localhost" }, "localAddress"],
    [{ port, localAddress: "::1" }, "inet6"],
    [{ port, localAddress: "::1", family: "inet" }, "localAddress"],
    [{ transport: "unix", path: "" }, "path"],
  ];
  for (const [options, words] of rows) {
    const error = await assertRejects(() => collect(ping(options)), Error);
    assert(error.message.includes(words), error.message);
  }
});

for (const family of ["inet", "inet6"] as const) {
  test(
    `listenLoopback() takes up and lets go of ${family} connections`,
    async () => {
      const listener = await listenLoopback(family);
      try {
        const { hostname, port } = listener;
        const options = { hostname, port, count: 20, interval: 0 };
        for await (const { seq, error } of ping(options)) {
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
