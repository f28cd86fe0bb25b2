import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { existsSync } from "node:fs";
import { libc } from "../ffi/libc.ts";
import type { Libc } from "../ffi/contract.ts";
import {
  Errno,
  type ErrnoError,
  explain,
  inet,
  inet6,
  isErrno,
  LookupError,
  type Socket,
  unix,
} from "../mod.ts";
import {
  grid,
  parseHosts,
  ping,
  probe,
  type Probeable,
  type ProbeOptions,
  type ProbeResult,
  type ProbeTarget,
  type Probing,
  trace,
} from "../src/tools.ts";
import { familyOf } from "../src/attempt/outcome.ts";
import { Fifo } from "../src/tools/fifo.ts";
import { Attempts, Flights, NOTHING } from "../src/tools/probe_flights.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canCallOffNames,
  canIsolate,
  canLink,
  fakeResolver,
  inChild,
  listen,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, hasCommand, needs, onLinux, test } from "./_harness.ts";
import {
  CODES_IN_FIELD,
  field,
  FILES_ONLY,
  FIREWALL,
  FIREWALL6,
  NAME_SERVER,
  ofFamilies,
  OWN_FIREWALL,
  ROUTES,
  stateInField,
} from "./_networks.ts";

// Opened before the first test, which would seem to leak it otherwise.
libc();

const onField = needs(
  onLinux,
  canIsolate(),
  ...["nft", "python3", "setpriv", "nsenter", "ss"].map(hasCommand),
);

async function all<T extends Probeable>(
  run: Probing<T>,
): Promise<ProbeResult<T>[]> {
  const results: ProbeResult<T>[] = [];
  for await (const result of run) results.push(result);
  return results;
}

async function one(
  target: Probeable,
  options: ProbeOptions = {},
): Promise<ProbeResult> {
  const results = await all(probe([target], options));
  assertEquals(results.length, 1);
  return results[0]!;
}

// Results ----------------------------------------------------------------------

test("an open port", async () => {
  using listener = listen();
  const { port } = listener.address;
  const target = { port };
  const result = await one(target);
  const { localAddress, wall, rtt, ...rest } = result;
  assertStrictEquals(result.target, target);
  assertEquals(rest as object, {
    index: 0,
    target,
    address: `127.0.0.1:${port}`,
    state: "open",
    reason: "syn-ack",
    code: null,
    icmp: null,
    soft: false,
    attempts: 1,
    retransmits: libc().abi.tcpInfo === null ? null : 0,
  });
  assert(/^127\.0\.0\.1:[0-9]+$/.test(localAddress!), `${localAddress}`);
  assert(wall! > 0);
  if (libc().abi.tcpInfo !== null) assert(rtt! > 0 && rtt! <= wall!);
  assertEquals(result.error, null);
});

test("a closed port", async () => {
  using peer = bound();
  const { port } = peer.address;
  const result = await one(peer.address);
  const { state, reason, code, icmp, soft, attempts, rtt, localAddress } =
    result;
  assertEquals(
    { state, reason, code, icmp, soft, attempts, rtt, localAddress },
    {
      state: "closed",
      reason: "reset",
      code: "ECONNREFUSED",
      icmp: null,
      soft: false,
      attempts: 1,
      rtt: null,
      localAddress: null,
    },
  );
  const { error } = result;
  assert(error instanceof Errno.ECONNREFUSED);
  assertStrictEquals(result.error, error);
  assertEquals(error.address, `127.0.0.1:${port}`);
  assertEquals(error.syscall, "connect");
  assertEquals(error.elapsed, result.wall!);
  assertEquals(explain(error).code, "ECONNREFUSED");
});

test("a silent port", async () => {
  using hole = blackHole();
  const options = { timeout: 900, retries: 2 };
  const result = await one(hole.address, options);
  const { state, reason, code, attempts, wall, rtt, icmp } = result;
  assertEquals({ state, reason, code, attempts, rtt, icmp }, {
    state: "filtered",
    reason: "no-answer",
    code: "ETIMEDOUT",
    attempts: 3,
    rtt: null,
    icmp: null,
  });
  assert(wall! >= 899, `${wall}`);
  const { error } = result;
  assert(error instanceof Errno.ETIMEDOUT);
  assertEquals(error.timeoutKind, "deadline");
  assert(error.message.includes("no answer to 3 attempts within"));
}, { skip: canBlackHole() });

test("an error is made when it is asked for", async () => {
  using peer = bound();
  const { port } = peer.address;
  const { stackTraceLimit } = Error;
  let made = 0;
  // V8 reads the limit each time it makes an error.
  Object.defineProperty(Error, "stackTraceLimit", {
    configurable: true,
    get() {
      made++;
      return stackTraceLimit;
    },
  });
  try {
    const results = await all(probe(Array(100).fill({ port })));
    assertEquals(made, 0);
    assertEquals(results.length, 100);
  } finally {
    Object.defineProperty(Error, "stackTraceLimit", {
      configurable: true,
      writable: true,
      value: stackTraceLimit,
    });
  }
});

test("a socket that was refused serves the next attempt", async () => {
  using peer = bound();
  using listener = listen();
  using watched = watchLibc();
  const { port } = peer.address;
  const targets = Array.from(
    { length: 100 },
    (_, i) => i % 10 === 9 ? listener.address : { port },
  );
  const results = await all(probe(targets));
  assertEquals(watched.count("socket"), 10);
  assertEquals(watched.count("close"), 10);
  for (const { index, state, reason, attempts } of results) {
    const expected = index % 10 === 9
      ? ["open", "syn-ack", 1]
      : ["closed", "reset", 1];
    assertEquals([state, reason, attempts], expected);
  }
}, { skip: onLinux });

test(
  "a refusal takes three calls on a socket that was refused before",
  async () => {
    using peer = bound();
    using watched = watchLibc();
    const { port } = peer.address;
    const targets = Array.from({ length: 100 }, () => ({ port }));
    for (const { state, attempts } of await all(probe(targets))) {
      assertEquals([state, attempts], ["closed", 1]);
    }
    assertEquals(watched.count("connect"), 2 * 100);
    assertEquals(watched.count("recvmsg"), 100);
    // The first attempt had a new socket.
    assertEquals(watched.count("getsockopt"), 1);
    assertEquals(watched.count("socket"), 1);
  },
  { skip: onLinux },
);

test("a used socket keeps its port, and is not sent to it", async () => {
  const c = libc();
  const { port: at } = c.abi.sockaddrIn;
  using peer = bound();
  const { port } = peer.address;
  let own = 0;
  using watched = watchLibc({
    bind(fd, address, length) {
      own = address[at]! << 8 | address[at + 1]!;
      return c.bind(fd, address, length);
    },
  });
  function* targets(): Generator<ProbeTarget> {
    for (let i = 0; i < 20; i++) yield { port };
    assert(own > 0);
    yield { port: own };
  }
  for (const { state, reason, attempts } of await all(probe(targets()))) {
    assertEquals([state, reason, attempts], ["closed", "reset", 1]);
  }
  // The second socket keeps a port in its turn.
  assertEquals(watched.count("bind"), 2);
  assertEquals(watched.count("socket"), 2);
}, { skip: onLinux });

test("a used socket that fails in another way is replaced", async () => {
  const c = libc();
  const { EHOSTUNREACH } = c.abi.errnos;
  const { port: at } = c.abi.sockaddrIn;
  using peer = bound();
  using other = bound();
  const used = new Set<number>();
  let failed = 0;
  using watched = watchLibc({
    connect(fd, address, length) {
      const port = address[at]! << 8 | address[at + 1]!;
      if (port === other.address.port && used.has(fd)) {
        failed++;
        return -EHOSTUNREACH;
      }
      used.add(fd);
      return c.connect(fd, address, length);
    },
    close(fd) {
      used.delete(fd);
      return c.close(fd);
    },
  });
  const ports = [peer, other, peer].map(({ address: { port } }) => ({ port }));
  for (const { state, reason, attempts } of await all(probe(ports))) {
    assertEquals([state, reason, attempts], ["closed", "reset", 1]);
  }
  assertEquals(failed, 1);
  assertEquals(watched.count("socket"), 2);
  assertEquals(watched.count("close"), 2);
}, { skip: onLinux });

test("an attempt that never begins ends in time", async () => {
  const { EINTR } = libc().abi.errnos;
  // As if it were under way; poll(2) reports such a socket all the time.
  using watched = watchLibc({ connect: () => -EINTR });
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), 20_000);
  const options = { timeout: 300, signal: limit.signal };
  const found = await all(probe([{ port: 1 }, { port: 2 }], options));
  clearTimeout(timer);
  for (const { state, reason } of found) {
    assertEquals([state, reason], ["filtered", "no-answer"]);
  }
  assert(watched.count("connect") >= 2);
  // Those that pause do so until the end of their attempt, at most.
  await new Promise((resolve) => setTimeout(resolve, 50));
});

test("a socket serves attempts at its own host alone", async () => {
  using peer = bound();
  using other = bound({ at: inet6("::1", 0) });
  using listener = listen({ at: inet6("::1", 0) });
  using watched = watchLibc();
  // Linux lets no socket that has met an IPv4 host by IPv6 meet another host.
  const mapped = inet6("::ffff:127.0.0.1", peer.address.port);
  const { address } = listener;
  const targets = [
    mapped,
    mapped,
    other.address,
    peer.address,
    mapped,
    address,
  ];
  for (const { index, state } of await all(probe(targets))) {
    assertEquals([index, state], [index, index === 5 ? "open" : "closed"]);
  }
  assertEquals(watched.count("socket"), 5);
  assertEquals(watched.count("close"), 5);
}, { skip: needs(onLinux, canIpv6()) });

test("a socket stays with its interface", async () => {
  const found = await inChild(
    { namespace: LINKS },
    async ({ inet6, probe }) => {
      const hosts = ["fe80::a%v0", "fe80::b%v1", "fe80::a%v0", "fd00::b"];
      const targets = hosts.map((host) => inet6(host, 9));
      const found: string[] = [];
      for await (const { index, state } of probe(targets)) found[index] = state;
      return found;
    },
  );
  assertEquals(found, ["closed", "closed", "closed", "closed"]);
}, { skip: needs(onLinux, canIpv6(), canLink()) });

test("hosts of two links do not hold up each other", async () => {
  const first = await inChild(
    { namespace: `${LINKS}ip addr add fe80::c/64 dev v1 nodad\n` },
    async ({ inet6, probe }) => {
      // On v0 nobody has the address.
      const targets = ["fe80::c%v0", "fe80::c%v1"].map((host) =>
        inet6(host, 9)
      );
      const options = { hostConcurrency: 1, timeout: 2000, retries: 0 };
      const order: [number, string][] = [];
      for await (const { index, state } of probe(targets, options)) {
        order.push([index, state]);
      }
      return order[0];
    },
  );
  assertEquals(first, [1, "closed"]);
}, { skip: needs(onLinux, canIpv6(), canLink()) });

/** Two interfaces with addresses. */
const LINKS = `
ip link add v0 type veth peer name w0
ip link add v1 type veth peer name w1
for i in v0 w0 v1 w1; do ip link set $i up; done
ip addr add fe80::a/64 dev v0 nodad
ip addr add fe80::b/64 dev v1 nodad
ip addr add fd00::b/64 dev v1 nodad
`;

test("a socket with options serves one attempt", async () => {
  using peer = bound();
  using listener = listen();
  const sizes: number[] = [];
  await all(probe([peer.address, peer.address, listener.address], {
    // Linux forgets it where it disconnects.
    socketOptions: { maxSegmentSize: 600 },
    onOpen(socket) {
      sizes.push(socket.getOption("maxSegmentSize"));
      socket.close();
    },
  }));
  assert(sizes.length === 1 && sizes[0]! <= 600, `${sizes}`);
}, { skip: onLinux });

test("a socket serves one attempt where none can be disconnected", async () => {
  const c = libc();
  const { AF_UNSPEC, errnos } = c.abi;
  using peer = bound();
  using watched = watchLibc({
    connect: (fd, address, length) =>
      familyOf(c.abi, address) === AF_UNSPEC
        ? -errnos.EAFNOSUPPORT
        : c.connect(fd, address, length),
  });
  const { port } = peer.address;
  const targets = Array.from({ length: 20 }, () => ({ port }));
  for (const { state, attempts } of await all(probe(targets))) {
    assertEquals([state, attempts], ["closed", 1]);
  }
  assertEquals(watched.count("socket"), 20);
  assertEquals(watched.count("connect"), 21);
  assertEquals(watched.count("close"), 20);
}, { skip: onLinux });

test("a socket serves one attempt where a refusal spends it", async () => {
  using peer = bound();
  using watched = watchLibc({ abi: { ...libc().abi, outlivesRefusal: false } });
  const { port } = peer.address;
  const targets = Array.from({ length: 20 }, () => ({ port }));
  for (const { state } of await all(probe(targets))) {
    assertEquals(state, "closed");
  }
  assertEquals(watched.count("socket"), 20);
  assertEquals(watched.count("connect"), 20);
});

test("a late reply to an earlier attempt counts", async () => {
  // The backlog is full until the third attempt is under way.
  using hole = blackHole();
  let socket: Socket | undefined;
  const begun: number[] = [];
  const { libc: c } = { libc: libc() };
  using _ = watchLibc({
    connect(fd, address, length) {
      begun.push(fd);
      if (begun.length === 2) socket = hole.accept();
      return c.connect(fd, address, length);
    },
  });
  const result = await one(hole.address, { timeout: 10_000, retryAfter: 100 });
  socket?.close();
  assertEquals(result.state, "open");
  assertEquals(new Set(begun).size, begun.length, "sockets of their own");
  hole.accept().close();
}, { skip: canBlackHole() });

test("an address, a host by name, and IPv6", async () => {
  using peer = bound();
  const { port } = peer.address;
  const targets: Probeable[] = [
    { hostname: "127.0.0.1", port },
    { hostname: "localhost", port },
    inet("127.0.0.1", port),
  ];
  const results = await all(probe(targets, { family: "inet" }));
  assertEquals(
    results.map(({ address, state }) => [address, state]),
    targets.map(() => [`127.0.0.1:${port}`, "closed"]),
  );
  if (canIpv6() !== null) return;
  using peer6 = bound({ at: inet6("::1", 0) });
  const { port: port6 } = peer6.address;
  for (const target of [peer6.address, { hostname: "[::1]", port: port6 }]) {
    const { address, state } = await one(target);
    assertEquals([address, state], [`[::1]:${port6}`, "closed"]);
  }
});

test("a target of another family than the one asked for is unsent", async () => {
  const result = await one({ hostname: "::1", port: 1 }, { family: "inet" });
  assertEquals([result.state, result.reason, result.code], [
    "unsent",
    "errno",
    "EAFNOSUPPORT",
  ]);
  assert(result.error!.message.includes("family asks for inet"));
});

test("a name that does not resolve is unsent", async () => {
  const code = libc().abi.eais.EAI_NONAME!;
  using _ = watchLibc({
    getaddrinfo: () => [code, 0],
    getaddrinfoAsync: () => Promise.resolve(code),
  });
  const result = await one({ hostname: "unknown.invalid", port: 80 });
  const { state, reason, address, attempts, wall } = result;
  assertEquals({ state, reason, code: result.code, address, attempts, wall }, {
    state: "unsent",
    reason: "name",
    code: "EAI_NONAME",
    address: null,
    attempts: 0,
    wall: null,
  });
  assert(result.error instanceof LookupError);
}, { skip: "Deno" in globalThis ? null : "the resolver is node:dns" });

test("a name is looked up once in a run", async () => {
  using peer = bound();
  const { port } = peer.address;
  const resolver = fakeResolver([peer.address, inet("127.0.0.2", 0)]);
  using watched = watchLibc({
    ...resolver,
    getaddrinfoAsync(node, hints, list) {
      resolver.getaddrinfo(node, hints, list);
      return Promise.resolve(0);
    },
  });
  const targets = Array.from({ length: 50 }, () => ({
    hostname: "two.test",
    port,
  }));
  const first = await all(probe(targets, { allAddresses: false }));
  assertEquals(watched.count("getaddrinfoAsync"), 1);
  assertEquals(first.length, 50);
  assert(first.every(({ address }) => address === `127.0.0.1:${port}`));
  const run = probe(targets, { allAddresses: true });
  const both = await all(run);
  assertEquals(both.length, 100);
  assertEquals(new Set(both.map(({ address }) => address)).size, 2);
  assertEquals(new Set(both.map(({ index }) => index)).size, 50);
  assertEquals([run.progress.begun, run.progress.done], [50, 50]);
}, { skip: "Deno" in globalThis ? null : "the resolver is node:dns" });

test("names that a hosts file knows", async () => {
  const found = await inChild({ namespace: FILES_ONLY }, async (api) => {
    const targets = ["two.test", "one.test", "no.test"].map((hostname) => ({
      hostname,
      port: 80,
    }));
    const found = [];
    for await (const result of api.probe(targets, { allAddresses: true })) {
      const { index, address, state, code } = result;
      found.push(`${index} ${address} ${state} ${code}`);
    }
    return found.sort();
  });
  assertEquals(found.slice(0, 3), [
    "0 127.0.0.2:80 closed ECONNREFUSED",
    "0 127.0.0.3:80 closed ECONNREFUSED",
    "1 127.0.0.1:80 closed ECONNREFUSED",
  ]);
  assert(/^2 null unsent EAI_/.test(found[3]!), found[3]);
}, { skip: needs(onLinux, canIsolate()) });

test(
  "no name runs out of time before the name servers are asked about it",
  async () => {
    const found = await inChild(
      { namespace: NAME_SERVER },
      async ({ probe }) => {
        const targets = Array.from({ length: 900 }, (_, i) => ({
          hostname: `n${i}.${i === 700 ? "v4" : "dead"}.test`,
          port: 1,
        }));
        const found: string[] = [];
        // In this time, the servers are asked about 512 names, if they do not reply.
        for await (
          const { target, state } of probe(targets, { timeout: 2000 })
        ) {
          if (state !== "unsent") found.push(`${target.hostname} ${state}`);
        }
        return found;
      },
    );
    assertEquals(found, ["n700.v4.test closed"]);
  },
  { skip: needs(onLinux, canIsolate(), hasCommand("python3")) },
);

test("names that no server replies for hold up no other target", async () => {
  const { order, rows, error, inFlight } = await inChild(
    { namespace: NAME_SERVER },
    async ({ ErrnoError, probe }) => {
      function named(zone: string, count: number) {
        return Array.from({ length: count }, (_, i) => ({
          hostname: `n${i}.${zone}`,
          port: 80,
        }));
      }
      const targets = [
        ...Array.from({ length: 3000 }, (_, i) => ({
          hostname: "all.dead.test",
          port: i + 1,
        })),
        ...named("dead.test", 150),
        ...named("v4.test", 40),
        ...named("none.test", 20),
        { hostname: "127.0.0.1", port: 80 },
      ];
      const run = probe(targets, { timeout: 4000 });
      const order: string[] = [];
      const rows: Record<string, number> = {};
      const error: (string | number | null | undefined)[] = [];
      const inFlight: number[] = [];
      for await (const result of run) {
        const { target, state, reason, code } = result;
        const zone = target.hostname.split(".").slice(-2).join(".");
        if (!order.includes(zone)) order.push(zone);
        const row = `${zone} ${state} ${reason} ${code}`;
        rows[row] = (rows[row] ?? 0) + 1;
        if (zone === "dead.test" && error.length === 0) {
          inFlight.push(run.progress.inFlight);
          const { attempts, address, wall, error: cause } = result;
          error.push(attempts, address, wall);
          if (cause instanceof ErrnoError) {
            error.push(cause.syscall, cause.timeoutKind);
          }
        }
      }
      return { order, rows, error, inFlight };
    },
  );
  assertEquals(rows, {
    "0.1 closed reset ECONNREFUSED": 1,
    "v4.test closed reset ECONNREFUSED": 40,
    "none.test unsent name EAI_NONAME": 20,
    "dead.test unsent name ETIMEDOUT": 3150,
  });
  assertEquals(order[0], "0.1");
  assertEquals(error, [0, null, null, "getaddrinfo", "deadline"]);
  assertEquals(inFlight, [0]);
}, { skip: needs(onLinux, canIsolate(), hasCommand("python3")) });

test(
  "a name whose IPv6 no name server replies about is probed by its IPv4",
  async () => {
    const states = await inChild({ namespace: NAME_SERVER }, async (api) => {
      const targets = Array.from({ length: 20 }, (_, i) => ({
        hostname: `n${i}.deaf.test`,
        port: 80,
      }));
      const states: string[] = [];
      for await (const { address, state } of api.probe(targets)) {
        states.push(`${address} ${state}`);
      }
      return states;
    });
    assertEquals(states, new Array(20).fill("127.0.0.1:80 closed"));
  },
  // Elsewhere the resolver gives such a name up after five seconds, and 20 of
  // them take longer than a probe waits.
  {
    skip: needs(
      onLinux,
      canCallOffNames(),
      canIsolate(),
      hasCommand("python3"),
    ),
  },
);

test(
  "a name with letters beyond ASCII is looked up by its form in ASCII",
  async () => {
    const found = await inChild({ namespace: NAME_SERVER }, async (api) => {
      const { grid, probe } = api;
      const hostname = "b\u00fccher.v4.test";
      const found: string[] = [];
      for (const targets of [[{ hostname, port: 80 }], grid(hostname, [80])]) {
        for await (const { target, address, state } of probe(targets)) {
          found.push(`${target.hostname} ${address} ${state}`);
        }
      }
      return found;
    });
    const row = "b\u00fccher.v4.test 127.0.0.1:80 closed";
    assertEquals(found, [row, row]);
    assertThrows(() => parseHosts("\u00fc$"), SyntaxError);
  },
  { skip: needs(onLinux, canIsolate(), hasCommand("python3")) },
);

// Verdicts ---------------------------------------------------------------------

/** What a child reports of a run over a field. */
type Field = [port: number, state: string, reason: string, from: string][];

function probeField(rules: string, options: ProbeOptions): Promise<Field> {
  return inChild(
    { namespace: field(rules) },
    async ({ becomeNobody, grid, probe }, json) => {
      becomeNobody();
      const found: Field = [];
      const targets = grid("10.8.0.1-40", "1001-1012");
      for await (const result of probe(targets, JSON.parse(json))) {
        const { target, state, reason, icmp } = result;
        const from = icmp === null
          ? ""
          : `${icmp.type}/${icmp.code} ${icmp.from}`;
        found.push([target.port, state, reason, from]);
      }
      return found;
    },
    JSON.stringify(options),
  );
}

test("every kind of port, behind a router, to anybody", async () => {
  const found = await probeField("", { timeout: 3000 });
  assertEquals(found.length, 40 * 12);
  for (const [port, state, reason, from] of found) {
    const code = CODES_IN_FIELD[port];
    assertEquals([port, state], [port, stateInField(port)]);
    assertEquals(from, code === undefined ? "" : `3/${code} 10.7.0.254`);
    const reasons = {
      open: "syn-ack",
      closed: "reset",
      filtered: code === undefined ? "no-answer" : "icmp",
    };
    assertEquals(reason, reasons[stateInField(port)]);
  }
}, { skip: onField });

test("lost packets hide no open port", async () => {
  // None of 480 ports may lose all of 8 attempts, as one does once in 2 billion runs.
  const loss = "tcp flags & (syn|ack) == syn numgen random mod 100 < 5 drop";
  const found = await probeField(loss, { timeout: 8000, retries: 7 });
  for (const [port, state] of found) {
    assertEquals([port, state], [port, stateInField(port)]);
  }
}, { skip: onField });

test("a filter is not taken for what has not left this machine", async () => {
  const found = await inChild(
    { namespace: FIREWALL + FIREWALL6 + ROUTES + OWN_FIREWALL },
    async ({ probe }, hosts) => {
      const found: string[] = [];
      const targets = hosts.map((hostname) => ({ hostname, port: 80 }));
      for await (const result of probe(targets, { timeout: 300 })) {
        const { index, state, reason, code, icmp } = result;
        found[index] = `${state} ${reason} ${code} ` +
          (icmp === null ? "" : `${icmp.type}/${icmp.code} ${icmp.from}`);
      }
      return found;
    },
    VERDICTS.map(([host]) => host),
  );
  assertEquals(
    VERDICTS.map(([host], i) => [host, found[i]!.trim()]),
    VERDICTS.map(([host, verdict]) => [host, verdict]),
  );
}, { skip: needs(onLinux, canIsolate(), hasCommand("nft")) });

const VERDICTS = ofFamilies<readonly [host: string, verdict: string]>([
  ["127.0.1.1", "filtered icmp ENETUNREACH 3/0 127.0.1.1"],
  ["127.0.1.2", "filtered icmp EHOSTUNREACH 3/1 127.0.1.2"],
  ["127.0.1.4", "filtered icmp ECONNREFUSED 3/3 127.0.1.4"],
  ["127.0.1.7", "filtered icmp EHOSTUNREACH 3/13 127.0.1.7"],
  ["127.0.1.8", "closed reset ECONNREFUSED"],
  ["127.0.4.1", "filtered no-answer ETIMEDOUT"],
  ["127.0.5.1", "filtered no-answer ETIMEDOUT"],
  ["10.1.0.1", "unsent errno EHOSTUNREACH"],
  ["10.2.0.1", "unsent errno EINVAL"],
  ["10.3.0.1", "unsent errno EACCES"],
  ["10.4.0.1", "unsent errno ENETUNREACH"],
  ["10.6.0.7", "unsent errno EHOSTUNREACH 3/13 10.6.0.1"],
  ["10.6.0.8", "closed reset ECONNREFUSED"],
  [
    "::ffff:127.0.1.2",
    "filtered icmp EHOSTUNREACH 3/1 ::ffff:127.0.1.2",
  ],
  ["::ffff:10.6.0.7", "unsent errno EHOSTUNREACH 3/13 ::ffff:10.6.0.1"],
  ["fd00::1", "filtered icmp ENETUNREACH 1/0 fd00::1"],
  ["fd00::2", "filtered icmp EACCES 1/1 fd00::2"],
  ["fd00::4", "filtered icmp ECONNREFUSED 1/4 fd00::4"],
  ["fd00::7", "closed reset ECONNREFUSED"],
  ["2001:db8::1", "unsent errno ENETUNREACH"],
]);

test("nothing is open because a socket has met itself", async () => {
  const counts = await inChild(
    {
      // So few ports that the kernel often chooses that of the target.
      namespace: "echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range\n",
    },
    async ({ probe, grid }) => {
      const counts: Record<string, number> = {};
      for (let round = 0; round < 100; round++) {
        for await (const { state } of probe(grid("127.0.0.1", "40000-40007"))) {
          counts[state] = (counts[state] ?? 0) + 1;
        }
      }
      return counts;
    },
  );
  assertEquals(counts, { closed: 800 });
}, { skip: needs(onLinux, canIsolate()) });

for (const call of ["connect", "bind"] as const) {
  test(`a port is closed by which a socket has met itself, and is held since: ${call}(2)`, async () => {
    const c = libc();
    const datagrams = new Set<number>();
    const MANY = 100;
    let peer = new Uint8Array();
    let calls = 0;
    const name = (_: number, room: Uint8Array): number => {
      room.set(peer);
      return peer.length;
    };
    const isHeld = () => ++calls % 2 === 0 && calls < MANY;
    using _watched = watchLibc({
      socket(domain, type, protocol) {
        const fd = c.socket(domain, type, protocol);
        if ((type & 0xf) === c.abi.SOCK_DGRAM) datagrams.add(fd);
        else datagrams.delete(fd);
        return fd;
      },
      bind: () => call === "bind" && isHeld() ? -errnos.EADDRINUSE! : 0,
      connect(fd, address, length) {
        if (datagrams.has(fd)) return 0;
        if (call === "connect" && isHeld()) return -errnos.EADDRNOTAVAIL!;
        // So that the test has an end, whatever the run does.
        if (calls >= MANY) return -errnos.ENETDOWN!;
        peer = address.slice(0, length);
        return 0;
      },
      getsockname: name,
      getpeername: name,
    });
    const target = { port: 50_000 };
    const result = await one(target, { localAddress: "127.0.0.1" });
    const { state, code, attempts } = result;
    assertEquals([state, code, attempts], ["closed", "ECONNREFUSED", 1]);
  });
}

test("no port of loopback is open without a listener", async () => {
  // In a namespace, where no other program listens.
  const open = await inChild({ namespace: "" }, async (api) => {
    const { grid, listen, probe } = api;
    using listener = listen();
    const open: number[] = [];
    for (let round = 0; round < 3; round++) {
      const run = probe(grid("127.0.0.1", "32768-60999"), {
        states: ["open"],
        hostConcurrency: 1000,
      });
      for await (const { target } of run) open.push(target.port);
    }
    return open.filter((port) => port !== listener.address.port);
  });
  assertEquals(open, []);
}, { skip: needs(onLinux, canIsolate()) });

// Shortages -----------------------------------------------------------------------

const { errnos } = libc().abi;

/** Fakes of calls that fail now and then because something has run out. */
function shortages(): [name: string, Partial<Libc>][] {
  const c = libc();
  let calls = 0;
  const fails = () => ++calls % 3 === 0;
  const socket = (errno: number): Partial<Libc> => ({
    socket: (...args) => fails() ? -errno : c.socket(...args),
  });
  const connect = (errno: number): Partial<Libc> => ({
    connect: (fd, address, length) =>
      fails() ? -errno : c.connect(fd, address, length),
  });
  return [
    ["EMFILE", socket(errnos.EMFILE!)],
    ["ENFILE", socket(errnos.ENFILE!)],
    ["ENOBUFS", socket(errnos.ENOBUFS!)],
    ["ENOMEM", connect(errnos.ENOMEM!)],
    ["EAGAIN", connect(errnos.EAGAIN!)],
    ["ENOBUFS of connect", connect(errnos.ENOBUFS!)],
    ["EADDRNOTAVAIL", connect(errnos.EADDRNOTAVAIL!)],
  ];
}

for (const [name, fakes] of shortages()) {
  test(`a shortage is no result: ${name}`, async () => {
    using peer = bound();
    using listener = listen();
    const ports = [peer.address.port, listener.address.port];
    const targets = Array.from({ length: 60 }, (_, i) => ({
      port: ports[i % 2]!,
    }));
    using _ = watchLibc(fakes);
    const results = await all(probe(targets, { concurrency: 16 }));
    assertEquals(results.length, targets.length);
    for (const { target, state, attempts } of results) {
      assertEquals(state, target.port === ports[0] ? "closed" : "open");
      assertEquals(attempts, 1);
    }
  });
}

test(
  "an address without a source is not taken for ports that have run out",
  async () => {
    const found = await inChild({
      namespace: `
ip link add d0 type veth peer name d1
ip link set d0 addrgenmode none
ip link set d1 addrgenmode none
ip link set d0 up
ip link set d1 up
ip -6 route add 2001:db8::/32 dev d0
ip addr del ::1/128 dev lo
`,
    }, async ({ probe }) => {
      const found = [];
      for await (
        const result of probe([{ hostname: "2001:db8::1", port: 80 }])
      ) {
        found.push(`${result.state} ${result.code}`);
      }
      return found;
    });
    assertEquals(found, ["unsent EADDRNOTAVAIL"]);
  },
  { skip: needs(onLinux, canIsolate(), canIpv6()) },
);

test("source ports run out, and it is no result", async () => {
  const found = await inChild({
    // Two attempts at one peer need two ports, and there is one.
    namespace: `${FIREWALL}
echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range
`,
  }, async ({ probe, grid }) => {
    const counts: Record<string, number> = {};
    const targets = grid("127.0.5.1", "1-50");
    const options = { timeout: 400, retryAfter: 20 };
    for await (const { state, code, reason } of probe(targets, options)) {
      const key = `${state} ${reason} ${code}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
  });
  assertEquals(found, { "filtered no-answer ETIMEDOUT": 50 });
}, { skip: needs(onLinux, canIsolate(), hasCommand("nft")) });

test("a used socket keeps no port that another attempt needs", async () => {
  const found = await inChild({
    // One port in all: for the other host, and for what is sent to it.
    namespace: "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range\n",
  }, async ({ probe }) => {
    const hosts = ["127.0.0.1", "127.0.0.2"];
    const targets = [1, 2, 40000, 3].flatMap((port) =>
      hosts.map((hostname) => ({ hostname, port }))
    );
    const signal = AbortSignal.timeout(20_000);
    const counts: Record<string, number> = {};
    for await (const { state, reason } of probe(targets, { signal })) {
      const key = `${state} ${reason}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
  });
  assertEquals(found, { "closed reset": 8 });
}, { skip: needs(onLinux, canIsolate()) });

test("few descriptors slow a run down, and 64 stay free", async () => {
  const script = 'ulimit -n 256 && exec "$0" "$@"';
  const [counts, most] = await inChild(
    { command: ["sh", "-c", script], namespace: FIREWALL },
    async ({ probe, grid }) => {
      const { readdirSync } = await import("node:fs");
      const { setTimeout } = await import("node:timers/promises");
      const counts: Record<string, number> = {};
      // Half of them silent, half of them closed.
      const targets = grid("127.0.5.1,127.0.0.1", "1-600");
      const run = probe(targets, {
        concurrency: 1000,
        hostConcurrency: 1000,
        timeout: 300,
      });
      let most = 0;
      let isOver = false;
      const watching = (async () => {
        while (!isOver) {
          most = Math.max(most, readdirSync("/proc/self/fd").length - 1);
          await setTimeout(1);
        }
      })();
      for await (const { state, code } of run) {
        const key = `${state} ${code}`;
        counts[key] = (counts[key] ?? 0) + 1;
      }
      isOver = true;
      await watching;
      return [counts, most] as const;
    },
  );
  assertEquals(counts, {
    "closed ECONNREFUSED": 600,
    "filtered ETIMEDOUT": 600,
  });
  assert(most > 100 && most <= 256 - 64, `${most} were open`);
}, { skip: needs(onLinux, canIsolate(), hasCommand("nft")) });

test(
  "a run goes on, one by one, where next to no descriptors are",
  async () => {
    const script = 'ulimit -n 80 && exec "$0" "$@"';
    const counts = await inChild(
      { command: ["sh", "-c", script], namespace: FIREWALL },
      async ({ probe, grid }) => {
        const counts: Record<string, number> = {};
        const options = { timeout: 50, retries: 1 };
        const targets = grid("127.0.5.1,127.0.0.1", "1-4");
        for await (const { state, code } of probe(targets, options)) {
          const key = `${state} ${code}`;
          counts[key] = (counts[key] ?? 0) + 1;
        }
        return counts;
      },
    );
    assertEquals(counts, { "closed ECONNREFUSED": 4, "filtered ETIMEDOUT": 4 });
  },
  { skip: needs(onLinux, canIsolate(), hasCommand("nft")) },
);

// Pace -------------------------------------------------------------------------

/** Counts what is open at once, and when each attempt began. */
function watchAttempts(): { begun: number[]; most: number } & Disposable {
  const c = libc();
  const { EALREADY, EINPROGRESS } = c.abi.errnos;
  const connecting = new Set<number>();
  /** The sockets that a call asks about whose attempt is under way. */
  const asked = new Set<number>();
  const state = { begun: [] as number[], most: 0 };
  const watched = watchLibc({
    connect(fd, address, length) {
      // What disconnects a socket sends nothing, and neither does what asks.
      const isAttempt = familyOf(c.abi, address) !== c.abi.AF_UNSPEC &&
        !asked.has(fd);
      if (isAttempt) {
        state.begun.push(performance.now());
        connecting.add(fd);
        state.most = Math.max(state.most, connecting.size);
      }
      const result = c.connect(fd, address, length);
      const isUnderWay = result === -EINPROGRESS || result === -EALREADY;
      if (isUnderWay) asked.add(fd);
      else asked.delete(fd);
      return result;
    },
    close(fd) {
      connecting.delete(fd);
      asked.delete(fd);
      return c.close(fd);
    },
  });
  return Object.assign(state, {
    [Symbol.dispose]: () => watched[Symbol.dispose](),
  });
}

test("concurrency holds for a run and for each host", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  const rows: [ProbeOptions, number][] = [
    [{ concurrency: 7 }, 7],
    [{ hostConcurrency: 5 }, 5],
    [{ concurrency: 3, hostConcurrency: 5 }, 3],
  ];
  for (const [options, most] of rows) {
    using watched = watchAttempts();
    const targets = Array.from({ length: 40 }, () => ({ port }));
    const common = { timeout: 20, retries: 0 };
    const results = await all(probe(targets, { ...common, ...options }));
    assertEquals(results.length, 40);
    assertEquals(watched.most, most);
  }
}, { skip: canBlackHole() });

test("busy hosts do not hold up others", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  const targets = [
    ...Array.from({ length: 100 }, () => ({ hostname: "127.0.0.1", port })),
    { hostname: "127.0.0.2", port },
  ];
  const run = probe(targets, {
    hostConcurrency: 4,
    timeout: 5000,
    retries: 0,
  });
  const { value } = await run.next();
  assertEquals(value!.address, `127.0.0.2:${port}`);
  await run.return();
}, { skip: canBlackHole() });

test("a rate is kept, and little made up for", async () => {
  using peer = bound();
  const { port } = peer.address;
  using watched = watchAttempts();
  const targets = Array.from({ length: 400 }, () => ({ port }));
  const results = await all(probe(targets, { rate: 1000 }));
  assertEquals(results.length, 400);
  const { begun } = watched;
  for (let i = 0; i < begun.length; i++) {
    const within = begun.filter((at) => at >= begun[i]! && at < begun[i]! + 10);
    assert(within.length <= 21, `${within.length} within 10 ms`);
  }
  const span = begun.at(-1)! - begun[0]!;
  assert(span >= 389, `400 attempts in ${span} ms`);
});

test("a retry comes sooner where a network has replied", async () => {
  using listener = listen();
  using hole = blackHole();
  using watched = watchAttempts();
  const targets = [listener.address, hole.address];
  const results = await all(
    probe(targets, { concurrency: 1, timeout: 3000, retries: 1 }),
  );
  assertEquals(results.map(({ state }) => state), ["open", "filtered"]);
  const [, first, second] = watched.begun;
  // 100 ms, or three times as long as loopback took on a busy machine.
  const wait = second! - first!;
  assert(wait >= 99 && wait < 1400, `${wait} ms`);
}, { skip: canBlackHole() });

test("the event loop goes on while ports reply at once", async () => {
  using peer = bound();
  const { port } = peer.address;
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const targets = Array.from({ length: 5000 }, () => ({ port }));
  const start = performance.now();
  await all(probe(targets));
  clearInterval(timer);
  const time = performance.now() - start;
  assert(turns >= Math.min(5, time / 20), `${turns} in ${time} ms`);
});

// Reading ----------------------------------------------------------------------

test("no more is held than a slow reader leaves", async () => {
  using peer = bound();
  const { port } = peer.address;
  using watched = watchAttempts();
  const targets = Array.from({ length: 500 }, () => ({ port }));
  const run = probe(targets, { concurrency: 20 });
  await run.next();
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert(watched.begun.length <= 42, `${watched.begun.length} were begun`);
  const { begun, done, total } = run.progress;
  assertEquals(total, 500);
  assert(done >= 20 && done <= 42 && begun >= done, `${done} of ${begun}`);
  let rest = 0;
  for await (const { state } of run) {
    assertEquals(state, "closed");
    rest++;
  }
  assertEquals(rest, 499);
  assertEquals(run.progress.done, 500);
  assertEquals(run.progress.perState.closed, 500);
});

test("results can be asked for in advance", async () => {
  using peer = bound();
  const { port } = peer.address;
  const run = probe(Array.from({ length: 3 }, () => ({ port })));
  const steps = await Promise.all([1, 2, 3, 4].map(() => run.next()));
  assertEquals(steps.map(({ done }) => done), [false, false, false, true]);
  assertEquals((await run.next()).done, true);
});

test("nothing happens before the first result is asked for", async () => {
  using watched = watchAttempts();
  let taken = 0;
  function* targets(): Generator<ProbeTarget> {
    taken++;
    yield { port: 1 };
  }
  const run = probe(targets());
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals([taken, watched.begun.length], [0, 0]);
  await run.return();
  assertEquals((await run.next()).done, true);
  assertEquals([taken, watched.begun.length], [0, 0]);
});

test("targets may come one by one, at any time", async () => {
  using peer = bound();
  const { port } = peer.address;
  let isClosed = false;
  async function* targets(): AsyncGenerator<ProbeTarget> {
    try {
      for (let i = 0;; i++) {
        if (i % 3 === 0) await new Promise((r) => setTimeout(r, 1));
        yield { port };
      }
    } finally {
      isClosed = true;
    }
  }
  let count = 0;
  for await (const { index, state } of probe(targets())) {
    assertEquals([index, state], [count, "closed"]);
    if (++count === 10) break;
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert(isClosed);
});

test("states leave results out, and count them", async () => {
  using peer = bound();
  using listener = listen();
  const targets = [peer.address, listener.address, peer.address];
  const run = probe(targets, { states: ["open"] });
  const results = await all(run);
  assertEquals(results.map(({ index }) => index), [1]);
  assertEquals(run.progress.perState, {
    open: 1,
    closed: 2,
    filtered: 0,
    unsent: 0,
  });
  assertEquals(run.position, { next: 3, pending: [] });
});

test("onOpen() takes each connected socket", async () => {
  using listener = listen();
  const sockets: Socket[] = [];
  const seen: ProbeResult[] = [];
  const results = await all(probe([listener.address], {
    onOpen(socket, result) {
      sockets.push(socket);
      seen.push(result);
    },
  }));
  using socket = sockets[0]!;
  assertStrictEquals(seen[0], results[0]);
  using peer = listener.accept();
  peer.sendSync(new TextEncoder().encode("SSH-2.0"));
  const bytes = new Uint8Array(16);
  const size = await socket.recv(bytes, { timeout: 5000 });
  assertEquals(new TextDecoder().decode(bytes.subarray(0, size)), "SSH-2.0");
  assertEquals(`${socket.localAddress}`, results[0]!.localAddress);
});

test("connections end by a reset", async () => {
  using listener = listen();
  await one(listener.address);
  using peer = listener.accept();
  const error = assertThrows(() => peer.recvSync(new Uint8Array(1)));
  assert(error instanceof Errno.ECONNRESET, `${error}`);
});

test(
  "what was sent waits for its reply though a repeat cannot be sent",
  async () => {
    using silent = blackHole();
    const { address } = silent;
    const real = libc();
    const { ENETUNREACH, EACCES } = real.abi.errnos;
    const rows: [fakes: Partial<Libc>, attempts: number][] = [
      [{ connect: after(real.connect, -ENETUNREACH!) }, 3],
      [{ socket: after(real.socket, -EACCES!) }, 1],
    ];
    /** What succeeds once alone, of what is about that port. */
    function after<A extends unknown[]>(
      call: (...args: A) => number,
      failure: number,
    ): (...args: A) => number {
      let calls = 0;
      return (...args) => calls++ === 0 ? call(...args) : failure;
    }
    for (const [fakes, attempts] of rows) {
      using _ = watchLibc(fakes);
      const options = { timeout: 300, retryAfter: 50 };
      const result = await one(address, options);
      const { state, reason, code, wall } = result;
      assertEquals([state, reason, code], [
        "filtered",
        "no-answer",
        "ETIMEDOUT",
      ]);
      assertEquals(result.attempts, attempts);
      assert(wall! >= 299, `${wall} ms`);
    }
  },
  { skip: canBlackHole() },
);

test("a port is open that ends the connection by a reset at once", async () => {
  using listener = listen();
  const { address } = listener;
  const real = libc();
  let hasFin = false;
  using _ = watchLibc({
    connect(fd, bytes, length) {
      const result = real.connect(fd, bytes, length);
      // Warming up connects nothing.
      if (result === -real.abi.errnos.EINPROGRESS!) {
        using peer = listener.accept();
        if (hasFin) peer.shutdown("write");
        peer.setOption("linger", 0);
      }
      return result;
    },
  });
  for (const code of ["ECONNRESET", "EPIPE"] as const) {
    hasFin = code === "EPIPE";
    if (hasFin && real.abi.os !== "linux") continue;
    const kept: Socket[] = [];
    const result = await one(address, {
      onOpen: (socket) => void kept.push(socket),
    });
    const said: (string | null)[] = ["open", "syn-ack", code];
    assertEquals([result.state, result.reason, result.code], said);
    assert(isErrno(result.error, code));
    assertEquals(kept, []);
    for await (const result of ping([address], { count: 1 })) {
      const { state, reason, code, answered } = result;
      assertEquals([state, reason, code], said);
      assert(!answered);
    }
    for await (const { kind } of trace(address, { maxHops: 1, queries: 1 })) {
      assertEquals(kind, "open");
    }
  }
});

test(
  "onOpen() takes a socket that outlasts what an ICMP error says",
  async () => {
    using listener = listen({ at: inet6("::1", 0), backlog: 100 });
    const { port } = listener.address;
    const kept: boolean[] = [];
    for (const socketOptions of [{}, { readErrorQueue: true }]) {
      await all(probe([{ hostname: "::1", port }], {
        socketOptions,
        onOpen(socket) {
          kept.push(socket.getOption("readErrorQueue"));
          socket.close();
        },
      }));
    }
    // The probe's own queue is gone, and what was asked for is there.
    assertEquals(kept, [false, true]);
  },
  { skip: needs(onLinux, canIpv6()) },
);

test("what onOpen() throws ends the run and closes the socket", async () => {
  using listener = listen();
  const reason = new Error("enough");
  const targets = Array.from({ length: 9 }, () => listener.address);
  const shown: Socket[] = [];
  const run = probe(targets, {
    concurrency: 1,
    onOpen(socket) {
      shown.push(socket);
      throw reason;
    },
  });
  assertStrictEquals(await assertRejects(() => all(run)), reason);
  assertEquals(shown.map(({ closed }) => closed), [true]);
});

test("what the targets throw ends the run", async () => {
  using peer = bound();
  const reason = new Error("no more");
  function* targets(): Generator<Probeable> {
    yield peer.address;
    throw reason;
  }
  assertStrictEquals(await assertRejects(() => all(probe(targets()))), reason);
  async function* late(): AsyncGenerator<Probeable> {
    yield peer.address;
    await null;
    throw reason;
  }
  assertStrictEquals(await assertRejects(() => all(probe(late()))), reason);
});

// The end ----------------------------------------------------------------------

test("an aborted signal ends a run, and no descriptor is left", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  const controller = new AbortController();
  const { signal } = controller;
  const targets = Array.from({ length: 300 }, () => ({ port }));
  const run = probe(targets, { signal, timeout: 60_000, retryAfter: 10 });
  const reason = new Error("changed my mind");
  setTimeout(() => controller.abort(reason), 50);
  assertStrictEquals(await assertRejects(() => all(run)), reason);
  assertEquals((await run.next()).done, true);
  const { next, pending } = run.position;
  assertEquals(pending, Array.from({ length: next }, (_, i) => i));
  // A run that is aborted from the start sends nothing.
  using watched = watchAttempts();
  const late = probe(targets, { signal });
  assertStrictEquals(await assertRejects(() => late.next()), reason);
  assertEquals(watched.begun.length, 0);
}, { skip: canBlackHole() });

test(
  "to leave the loop ends the run, and no descriptor is left",
  async () => {
    using hole = blackHole();
    using peer = bound();
    const { port } = hole.address;
    const targets: Probeable[] = [
      ...Array.from({ length: 99 }, () => ({ port })),
      peer.address,
    ];
    const run = probe(targets, { timeout: 60_000 });
    for await (const { state } of run) {
      assertEquals(state, "closed");
      break;
    }
    assertEquals(run.progress.inFlight, 0);
    assertEquals(run.position.pending.length, 99);
  },
  { skip: canBlackHole() },
);

test("a run goes on where another one was aborted", async () => {
  const at = inet("0.0.0.0", 0);
  using peer = bound({ at });
  using listener = listen({ at, backlog: 4096 });
  const ports = [peer.address.port, listener.address.port];
  const hosts = "127.0.0.1-127.0.1.100";
  const whole = grid(hosts, ports, { seed: 4 });
  for (let round = 0; round < 10; round++) {
    const counts = new Map<number, number>();
    let from: Parameters<typeof grid>[2] = { seed: 4 };
    for (let stop = 1;; stop++) {
      const targets = grid(hosts, ports, from);
      if (targets.size === 0) break;
      const controller = new AbortController();
      const { signal } = controller;
      const run = probe(targets, { signal, concurrency: 50 });
      const most = Math.ceil(Math.random() * 200);
      let seen = 0;
      try {
        for await (const { index, target, state } of run) {
          counts.set(index, (counts.get(index) ?? 0) + 1);
          assertEquals(whole.at(index), target);
          assertEquals(state, target.port === ports[0] ? "closed" : "open");
          if (++seen === most) controller.abort();
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      // As it comes back from a file.
      from = { seed: 4, from: JSON.parse(JSON.stringify(run.position)) };
      assert(stop < 1000);
      while (takePending(listener.fd));
    }
    assertEquals(counts.size, whole.size);
    assert([...counts.values()].every((count) => count === 1));
  }

  function takePending(fd: number): boolean {
    const c = libc();
    const pollfd = new Uint8Array(new ArrayBuffer(8));
    const view = new DataView(pollfd.buffer);
    view.setInt32(0, fd, c.abi.littleEndian);
    view.setInt16(4, c.abi.POLLIN, c.abi.littleEndian);
    if (c.poll(pollfd, 1, 0) !== 1) return false;
    listener.accept().close();
    return true;
  }
}, { skip: onLinux });

test("progress", async () => {
  using hole = blackHole();
  using peer = bound();
  const { port } = hole.address;
  const targets: Probeable[] = [{ port }, { port }, peer.address];
  const run = probe(targets, {
    timeout: 60_000,
    retryAfter: 20,
    retries: 1,
    concurrency: 10,
  });
  assertEquals(run.progress, {
    begun: 0,
    done: 0,
    total: 3,
    inFlight: 0,
    retries: 0,
    concurrency: 10,
    rate: 0,
    threads: 1,
    perState: { open: 0, closed: 0, filtered: 0, unsent: 0 },
  });
  await run.next();
  while (run.progress.retries < 2) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const { rate: _, ...rest } = run.progress;
  assertEquals(rest, {
    begun: 3,
    done: 1,
    total: 3,
    inFlight: 2,
    retries: 2,
    concurrency: 10,
    threads: 1,
    perState: { open: 0, closed: 1, filtered: 0, unsent: 0 },
  });
  await run.return();
  assertEquals(probe(grid("10.0.0.0/24", "1-10")).progress.total, 2560);
  assertEquals(probe(new Set([peer.address])).progress.total, null);
}, { skip: canBlackHole() });

test("memory stays flat", async () => {
  using peer = bound();
  const { port } = peer.address;
  function* targets(): Generator<ProbeTarget> {
    for (let i = 0; i < 20_000; i++) {
      yield { hostname: `127.${1 + i % 200}.${i >> 8 & 255}.1`, port };
    }
  }
  const { gc } = globalThis as { gc?: () => void };
  const { memoryUsage } = (await import("node:process")).default;
  const used: number[] = [];
  for (let round = 0; round < 4; round++) {
    for await (const { state } of probe(targets())) {
      assertEquals(state, "closed");
    }
    gc?.();
    used.push(memoryUsage().heapUsed);
  }
  // The first rounds compile code, and fill what is kept for later.
  const grown = used[3]! - used[1]!;
  assert(grown < 4e6, `${used.map((bytes) => Math.round(bytes / 1e6))} MB`);
});

// Threads ----------------------------------------------------------------------

test("several threads find what one does", async () => {
  // In a child, because a runtime may close much later what a thread had open.
  const found = await inChild({}, async (api) => {
    const { bound, grid, inet, listen, probe } = api;
    using listener = listen({ at: inet("0.0.0.0", 0), backlog: 4096 });
    using peer = bound({ at: inet("0.0.0.0", 0) });
    const ports = [listener.address.port, peer.address.port];
    const targets = grid("127.0.0.1-127.0.3.255", ports);
    const run = probe(targets, { threads: 3, concurrency: 60 });
    const indexes = new Set<number>();
    const wrong: string[] = [];
    for await (const result of run) {
      const { index, target, state, attempts, address } = result;
      indexes.add(index);
      const own = targets.at(index)!;
      const isRight = own.hostname === target.hostname &&
        own.port === target.port && attempts === 1 &&
        state === (target.port === ports[0] ? "open" : "closed") &&
        address === `${target.hostname}:${target.port}`;
      if (!isRight) wrong.push(`${index} ${address} ${state} ${attempts}`);
    }
    const { done, begun, inFlight, perState } = run.progress;
    const { open, closed } = perState;
    const { next, pending } = run.position;
    const counts = [indexes.size, done, begun, inFlight, open, closed];
    return [wrong, counts, next, [...pending]] as const;
  });
  assertEquals<unknown>(found, [
    [],
    [2046, 2046, 2046, 0, 1023, 1023],
    2046,
    [],
  ]);
});

test("several threads behind a router", async () => {
  const found = await probeField("", { timeout: 2000, threads: 2 });
  assertEquals(found.length, 40 * 12);
  for (const [port, state, , from] of found) {
    const code = CODES_IN_FIELD[port];
    assertEquals([port, state], [port, stateInField(port)]);
    assertEquals(from, code === undefined ? "" : `3/${code} 10.7.0.254`);
  }
}, { skip: onField });

test("several threads hand over connected sockets", async () => {
  const found = await inChild({}, async ({ listen, probe }) => {
    using listener = listen({ backlog: 512 });
    const targets = Array.from({ length: 300 }, () => listener.address);
    let count = 0;
    let same = 0;
    const run = probe(targets, {
      threads: 2,
      concurrency: 20,
      onOpen(socket, { localAddress }) {
        if (`${socket.localAddress}` === localAddress) same++;
        socket.close();
        listener.accept().close();
        count++;
      },
    });
    for await (const _ of run);
    return [count, same];
  });
  assertEquals(found, [300, 300]);
});

test("several threads close all when a run is aborted", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  const controller = new AbortController();
  const { signal } = controller;
  const targets = Array.from({ length: 500 }, () => ({ port }));
  const run = probe(targets, {
    signal,
    threads: 2,
    concurrency: 200,
    hostConcurrency: 200,
    timeout: 60_000,
    retryAfter: 10,
  });
  const reason = new Error("changed my mind");
  const running = assertRejects(() => all(run));
  // Half of them are probed by the other thread.
  while (run.progress.inFlight < 200 || run.progress.retries < 400) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  controller.abort(reason);
  assertStrictEquals(await running, reason);
  assertEquals(run.position.pending.length, run.position.next);
  const late = probe(targets, { threads: 2, timeout: 60_000 });
  const first = late.next();
  await new Promise((resolve) => setTimeout(resolve, 100));
  await late.return();
  assertEquals((await first).done, true);
}, { skip: canBlackHole() });

test("several threads keep to the limits of all", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  // More than one thread sets aside.
  const targets = Array.from({ length: 2000 }, () => ({ port }));
  const rows: [limits: ProbeOptions<{ port: number }>, most: number][] = [
    [{ concurrency: 1 }, 1],
    [{ hostConcurrency: 1 }, 1],
    [{ concurrency: 5, hostConcurrency: 3 }, 3],
  ];
  for (const [limits, most] of rows) {
    const options = { threads: 4, timeout: 60_000, retries: 0, ...limits };
    const run = probe(targets, options);
    const first = run.next();
    await new Promise((resolve) => setTimeout(resolve, 700));
    const { inFlight } = run.progress;
    assert(inFlight <= most, `${inFlight} with ${JSON.stringify(limits)}`);
    await run.return();
    assertEquals((await first).done, true);
  }
}, { skip: canBlackHole() });

// Options ----------------------------------------------------------------------

test("sockets are made as the options say", async () => {
  using listener = listen();
  const { port } = listener.address;
  const results = await all(probe([{ port }], {
    localAddress: "127.0.0.9",
    socketOptions: { ttl: 33 },
    onOpen(socket) {
      assertEquals(socket.getOption("ttl"), 33);
      socket.close();
    },
  }));
  assert(results[0]!.localAddress!.startsWith("127.0.0.9:"));
  const { abi } = libc();
  if (abi.IPPROTO_MPTCP !== null && existsSync("/proc/sys/net/mptcp/enabled")) {
    const states = await all(probe([{ port }], { protocol: "mptcp" }));
    assertEquals(states[0]!.state, "open");
  }
  const { state, code, error } = await one({ port }, { interface: "nosuch0" });
  assertEquals([state, code], ["unsent", "ENODEV"]);
  assertEquals((error as ErrnoError).syscall, "setsockopt");
}, { skip: onLinux });

test("what cannot be used is refused before any call", () => {
  using watched = watchLibc();
  const rows: [options: object, error: new () => Error, message: string][] = [
    [{ timeout: -1 }, RangeError, "timeout -1"],
    [{ timeout: "1" }, TypeError, 'timeout "1"'],
    [{ retries: 1.5 }, RangeError, "retries 1.5"],
    [{ retryAfter: -1 }, RangeError, "retryAfter -1"],
    [{ concurrency: 0 }, RangeError, "concurrency 0"],
    [{ hostConcurrency: 0 }, RangeError, "hostConcurrency 0"],
    [{ rate: 0 }, RangeError, "rate 0"],
    [{ rate: NaN }, RangeError, "rate NaN"],
    [{ states: "open" }, TypeError, 'states "open"'],
    [{ states: ["shut"] }, TypeError, 'state "shut"'],
    [{ onOpen: 1 }, TypeError, "onOpen 1"],
    [{ allAddresses: 1 }, TypeError, "allAddresses 1"],
    [{ localAddress: "here" }, SyntaxError, 'localAddress "here"'],
    [{ localAddress: "::1", family: "inet" }, TypeError, 'localAddress "::1"'],
    [{ family: 4 }, TypeError, "family 4"],
    [{ protocol: "udp" }, TypeError, 'protocol "udp"'],
    [{ socketOptions: { tttl: 1 } }, TypeError, '"tttl"'],
    [{ signal: {} }, TypeError, "signal"],
    [{ threads: 0 }, RangeError, "threads 0"],
    [{ concurency: 1 }, TypeError, "did you mean concurrency?"],
  ];
  for (const [options, kind, message] of rows) {
    assertThrows(() => probe([], options), kind, message);
  }
  assertThrows(() => probe(7 as unknown as []), TypeError, "probe 7");
  assertEquals(watched.count("socket"), 0);
});

test("what a caller does to a grid and its targets changes no probe", async () => {
  using peer = bound();
  const { port } = peer.address;
  const targets = grid("127.0.0.1-127.0.0.3", [port], { seed: null });
  const other = { index: 0, hostname: "127.9.9.9", port: 1 };
  Object.defineProperties(targets, {
    at: { value: () => other },
    [Symbol.iterator]: { value: () => [other].values() },
  });
  const found: string[] = [];
  for await (const { index, address, target } of probe(targets)) {
    found.push(`${index} ${address}`);
    Object.assign(target, { ...other, index: index + 1 });
  }
  assertEquals(
    found.sort(),
    [1, 2, 3].map((host) => `${host - 1} 127.0.0.${host}:${port}`),
  );
});

test("the attempt whose time is over first comes first", () => {
  // A generator with a seed, so that a failure can be repeated.
  let seed = 1;
  function random(limit: number): number {
    seed = Math.imul(seed, 0x5851_f42d) + 0x1405_7b7f | 0;
    return (seed >>> 8) % limit;
  }
  const attempts = new Attempts(256);
  const ends = new Map<number, number>();
  for (let step = 0; step < 20_000; step++) {
    const fd = random(900);
    const kind = random(3);
    if (!ends.has(fd)) {
      attempts.add(fd, step, 0, NOTHING);
      ends.set(fd, Infinity);
    } else if (kind === 0) {
      attempts.remove(fd);
      ends.delete(fd);
    } else {
      const end = random(5000);
      attempts.expireAt(fd, end);
      ends.set(fd, end);
    }
    const first = Math.min(...ends.values());
    const found = attempts.first;
    assertEquals(found === NOTHING ? Infinity : ends.get(found), first);
  }
  assertEquals([...attempts.all()], [...ends.keys()].sort((a, b) => a - b));
});

test("each flight has a number of its own, which the next one gets after its end", () => {
  for (const wanted of [0, 1, 100_000]) {
    const flights = new Flights(wanted);
    const live = new Map<number, number>();
    for (let job = 0; job < 5000; job++) {
      const flight = flights.take(job, 7 * job);
      assert(!live.has(flight), `${flight} is still under way`);
      live.set(flight, job);
      if (job % 3 !== 0) continue;
      const [[first] = [0]] = live;
      flights.free(first);
      live.delete(first);
    }
    for (const [flight, job] of live) {
      assertEquals(flights.job[flight], job);
      assertEquals(flights.host[flight], 7 * job);
    }
    assert(Math.max(...live.keys()) <= live.size, "no number is left over");
  }
});

test("a queue gives back what it was given, in that order", () => {
  const queue = new Fifo<number>();
  let pushed = 0;
  let shifted = 0;
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < round % 37; i++) queue.push(pushed++);
    for (let i = 0; i < round % 29; i++) {
      const expected = shifted < pushed ? shifted++ : undefined;
      assertEquals(queue.shift(), expected);
    }
    assertEquals(queue.length, pushed - shifted);
  }
  queue.clear();
  assertEquals([queue.length, queue.shift()], [0, undefined]);
});

test("a target that is none ends the run", async () => {
  const rows: [target: unknown, error: new () => Error, message: string][] = [
    [7, TypeError, "probe 7"],
    [{ port: 65536 }, RangeError, "port 65536"],
    [{ hostname: "a" }, TypeError, "port undefined"],
    [{ host: "a", port: 1 }, TypeError, "did you mean hostname?"],
    [{ hostname: 1, port: 1 }, TypeError, "hostname 1"],
    [{ hostname: "", port: 1 }, SyntaxError, "empty"],
    [{ hostname: "10.0.0.256", port: 1 }, SyntaxError, "10.0.0.256"],
    [{ transport: "unix", path: "/x" }, TypeError, "path"],
    [unix("/x"), TypeError, "unix:/x"],
  ];
  for (const [target, kind, message] of rows) {
    await assertRejects(
      () => all(probe([target as Probeable])),
      kind,
      message,
    );
  }
});

test("probe() takes nothing from a polluted prototype", async () => {
  using listener = listen();
  const prototype = Object.prototype as unknown as Record<string, unknown>;
  const polluted: Record<string, unknown> = {
    transport: "unix",
    hostname: "127.0.0.2",
    index: 7,
    softErrors: "none",
  };
  Object.assign(prototype, polluted);
  const { port } = listener.address;
  const run = all(probe([{ port }]));
  try {
    const [result] = await run;
    assertEquals(result!.index, 0);
    assertEquals(result!.address, `127.0.0.1:${port}`);
    assertEquals(result!.state, "open");
  } finally {
    for (const key of Object.keys(polluted)) delete prototype[key];
  }
});

test("targets without end that nothing is sent to leave the loop its turns", async () => {
  let made = 0;
  function* targets(): Generator<ProbeTarget, void, void> {
    for (;; made++) yield { hostname: "127.0.0.1", port: 9 };
  }
  for (const states of [["open"], ["unsent"]] as const) {
    made = 0;
    const enough = new AbortController();
    const timer = setTimeout(() => enough.abort(new Error("enough")), 50);
    const { signal } = enough;
    const run = probe(targets(), { family: "inet6", states, signal });
    if (states[0] === "unsent") {
      assertEquals((await run.next()).value!.code, "EAFNOSUPPORT");
      // No more are made while nothing is read.
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert(made < 10_000, `${made} were made`);
    }
    await assertRejects(() => all(run), Error, "enough");
    clearTimeout(timer);
  }
});

test("a run of nothing ends at once", async () => {
  assertEquals(await all(probe([])), []);
  assertEquals(await all(probe(grid("10.0.0.1", []))), []);
});
