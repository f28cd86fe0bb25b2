import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { libc } from "../ffi/libc.ts";
import { main } from "../src/cli.ts";
import { inet, inet6, unix } from "../src/address/address.ts";
import { Errno, isOfCall, NotSupportedError } from "../src/errors/errors.ts";
import { type Hop, trace } from "../src/tools/trace.ts";
import {
  blackHole,
  bound,
  canIsolate,
  inChild,
  type Json,
  listen,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, hasCommand, needs, onLinux, test } from "./_harness.ts";
import { linesOf } from "./_lines.ts";
import { FILES_ONLY, FLOWS, ROUTERS } from "./_networks.ts";

const TOOLS = import.meta.resolve("../src/tools.ts");
const CLI = import.meta.resolve("../src/cli.ts");
const real = libc();

const canRoute = needs(
  canIsolate(),
  canIpv6(),
  hasCommand("nft"),
  hasCommand("python3"),
);

/** Traces as uid 65534, behind two routers. */
function traceBehind(
  hostname: string,
  port: number,
  options: { readonly [key: string]: Json } = {},
): Promise<{ hops: Hop[]; time: number; uid: number }> {
  return inChild(
    { namespace: ROUTERS },
    async ({ becomeNobody }, tools, hostname, port, options) => {
      const { trace } = await import(tools);
      const { default: process } = await import("node:process");
      becomeNobody();
      // What a first attempt costs is not the network's.
      const warm = { maxHops: 1, queries: 1 };
      for await (const _ of trace({ hostname, port }, warm));
      const start = performance.now();
      const hops = [];
      for await (const hop of trace({ hostname, port }, options)) {
        hops.push(hop);
      }
      const time = performance.now() - start;
      return { hops, time, uid: process.getuid!() };
    },
    TOOLS,
    hostname,
    port,
    options,
  ) as unknown as Promise<{ hops: Hop[]; time: number; uid: number }>;
}

/** What the beginning of a trace throws. */
async function begin(start: () => AsyncGenerator<Hop>): Promise<unknown> {
  try {
    return await start().next();
  } catch (error) {
    return error;
  }
}

/** The ways to the host behind the routers, by family. */
const WAYS = [
  ["10.9.3.2", ["10.9.1.2", "10.9.2.2"], [11, 0], [3, 13]],
  ["fd09:3::2", ["fd09:1::2", "fd09:2::2"], [3, 0], [1, 1]],
] as const;

for (const [host, routers, expired, prohibited] of WAYS) {
  test(`trace() finds the routers before ${host}, as nobody`, async () => {
    const { hops, uid, time } = await traceBehind(host, 8080);
    assertEquals(uid, 65_534);
    assertEquals(
      hops.map(({ ttl, query, kind, from }) => [ttl, query, kind, from]),
      [1, 2, 3].flatMap((ttl) =>
        [1, 2, 3].map((query) =>
          ttl === 3
            ? [ttl, query, "open", host]
            : [ttl, query, "hop", routers[ttl - 1]!]
        )
      ),
    );
    for (const { kind, icmp, wall, rtt, localPort } of hops) {
      assert(wall !== null && wall >= 0 && localPort > 0);
      if (kind === "open") {
        assertEquals(icmp, null);
        assert(rtt !== null && rtt > 0);
      } else assertEquals([[icmp!.type, icmp!.code], rtt], [expired, null]);
    }
    assertEquals(new Set(hops.map(({ localPort }) => localPort)).size, 9);
    // All at once, and not one timeout after the other.
    assert(time < 900, `${time}`);
  }, { skip: canRoute });

  test(`trace() reports how the way to ${host} ends`, async () => {
    const closed = await traceBehind(host, 9, { queries: 1 });
    assertEquals(closed.hops.map(({ kind }) => kind), ["hop", "hop", "closed"]);
    assertEquals(closed.hops[2]!.from, host);
    const rejected = await traceBehind(host, 81, { queries: 2 });
    assertEquals(
      rejected.hops.slice(4).map((
        { ttl, kind, from, icmp },
      ) => [ttl, kind, from, [icmp!.type, icmp!.code]]),
      [
        [3, "filtered", routers[1], [...prohibited]],
        [3, "filtered", routers[1], [...prohibited]],
      ],
    );
    const options = { queries: 1, maxHops: 5, timeout: 300 };
    const dropped = await traceBehind(host, 82, options);
    assertEquals(
      dropped.hops.map(({ kind, from, wall }) => [kind, from, wall === null]),
      [
        ["hop", routers[0], false],
        ["hop", routers[1], false],
        ["silent", null, true],
        ["silent", null, true],
        ["silent", null, true],
      ],
    );
  }, { skip: canRoute });
}

test("trace() has no more than inFlight attempts under way", async () => {
  using silent = blackHole();
  const { AF_INET } = real.abi;
  const open = new Set<number>();
  let most = 0;
  using _ = watchLibc({
    socket(domain, type, protocol) {
      const fd = real.socket(domain, type, protocol);
      if (domain === AF_INET) open.add(fd);
      most = Math.max(most, open.size);
      return fd;
    },
    close(fd) {
      open.delete(fd);
      return real.close(fd);
    },
  });
  const options = { queries: 3, maxHops: 10, inFlight: 7, timeout: 20 };
  const hops: Hop[] = [];
  for await (const hop of trace(silent.address, options)) hops.push(hop);
  assertEquals([hops.length, most, open.size], [30, 7, 0]);
  assert(hops.every(({ kind }) => kind === "silent"));
}, { skip: onLinux });

test("trace() meets no router on the way to this machine", async () => {
  using listener = listen();
  using closed = bound();
  const rows: [target: { port: number }, kind: Hop["kind"]][] = [
    [listener.address, "open"],
    [closed.address, "closed"],
  ];
  for (const [{ port }, kind] of rows) {
    const hops: Hop[] = [];
    for await (const hop of trace({ port }, { queries: 2 })) hops.push(hop);
    assertEquals(
      hops.map(({ ttl, query, kind, from }) => [ttl, query, kind, from]),
      [[1, 1, kind, "127.0.0.1"], [1, 2, kind, "127.0.0.1"]],
    );
  }
}, { skip: onLinux });

test("trace() takes the address of a name to which it can send", async () => {
  const found = await inChild(
    { namespace: FILES_ONLY },
    async ({ listen }, tools) => {
      const { trace } = await import(tools);
      using listener = listen();
      const { port } = listener.address;
      const target = { hostname: "six.test", port };
      const all = [];
      for await (const { from, kind } of trace(target, { queries: 1 })) {
        all.push([from, kind]);
      }
      const six = { ...target, family: "inet6" };
      const error = await trace(six).next().catch((error: unknown) => error);
      return [...all, error.code];
    },
    TOOLS,
  );
  assertEquals(found, [["127.0.0.1", "open"], "ENETUNREACH"]);
}, { skip: needs(canIsolate(), canIpv6()) });

test("trace() goes over IPv6", async () => {
  using listener = listen({ at: inet6("::1", 0) });
  const hops: Hop[] = [];
  for await (const hop of trace(listener.address, { queries: 1 })) {
    hops.push(hop);
  }
  assertEquals(hops.map(({ kind, from }) => [kind, from]), [["open", "::1"]]);
}, { skip: needs(onLinux, canIpv6()) });

test("trace() is for systems that report the sender of an error", async () => {
  using _ = watchLibc({ abi: { ...real.abi, errorQueue: null } });
  const error = await assertRejects(
    async () => await trace(inet("127.0.0.1", 9)).next(),
    NotSupportedError,
  );
  assertStringIncludes(error.message, "trace()");
});

test("trace() throws what kept it from sending", async () => {
  using _ = watchLibc({ connect: () => -real.abi.errnos.ENETUNREACH! });
  const error = await begin(() => trace(inet("127.0.0.1", 9)));
  assert(error instanceof Errno.ENETUNREACH);
  // explain() collects evidence for errors of calls.
  assert(isOfCall(error));
}, { skip: onLinux });

test("trace() throws what kept it from reading the round trip", async () => {
  using listener = listen();
  using _ = watchLibc({
    getsockopt: (fd, level, option, bytes) =>
      level === real.abi.IPPROTO_TCP
        ? -real.abi.errnos.EIO!
        : real.getsockopt(fd, level, option, bytes),
  });
  const error = await begin(() => trace(listener.address));
  assert(error instanceof Errno.EIO);
  assertEquals(error.syscall, "getsockopt");
  assertStringIncludes(`${error.stack}`, "trace_test.ts");
}, { skip: onLinux });

test(
  "trace() ends with the reason of its signal, and when the iteration ends early",
  async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const { signal } = controller;
    using deaf = blackHole();
    const silent = (options: object) =>
      trace(deaf.address, { timeout: 60_000, ...options });
    setTimeout(() => controller.abort(reason), 20);
    const error = await silent({ signal }).next().catch((error) => error);
    assertEquals(error, reason);
    const late = await silent({ signal }).next().catch((error) => error);
    assertEquals(late, reason);
    const hops = silent({ maxHops: 1, timeout: 10 });
    assertEquals((await hops.next()).value?.kind, "silent");
    await hops.return();
  },
  { skip: onLinux },
);

test(
  "a trace has a deadline for the name, also where the caller looks it up",
  async () => {
    using _ = watchLibc({
      getaddrinfo: () => [real.abi.eais.EAI_FAIL!, 0],
      getaddrinfoAsync: () => new Promise(() => {}),
      socket: () => -real.abi.errnos.EACCES,
    });
    const target = { hostname: "x.test", port: 80 };
    const controllers: AbortSignal[] = [];
    function lookup(_: string, { signal }: { signal: AbortSignal }) {
      controllers.push(signal);
      return new Promise<never>(() => {});
    }
    for (const one of [target, { ...target, lookup }]) {
      const error = await begin(() => trace(one, { timeout: 20 }));
      assert(error instanceof Errno.ETIMEDOUT);
      assertEquals(error.syscall, "getaddrinfo");
      assertEquals(error.timeoutKind, "deadline");
      assertStringIncludes(error.message, "20 ms");
      assertStringIncludes(`${error.stack}`, "trace_test.ts");
    }
    assertEquals(controllers.map(({ aborted }) => aborted), [true]);
    const { code, err } = await run("x.test:80", "-t", "20");
    assertEquals(code, 2);
    assertStringIncludes(err, "trace: Cannot resolve x.test:80");
    // A name has more time than an attempt where nothing is given.
    const signal = AbortSignal.timeout(1200);
    const late = await begin(() => trace(target, { signal }));
    assertEquals(late, signal.reason);
  },
  { skip: onLinux },
);

test("trace() refuses what makes no sense", async () => {
  const target = inet("127.0.0.1", 9);
  const rows: [...Parameters<typeof trace>, words: string][] = [
    [target, { maxHops: 0 }, "maxHops"],
    [target, { maxHops: 256 }, "maxHops"],
    [target, { queries: 0 }, "queries"],
    [target, { queries: 1001 }, "queries"],
    [target, { inFlight: 1.5 }, "inFlight"],
    [target, { inFlight: 10_001 }, "inFlight"],
    [target, { timeout: NaN }, "timeout"],
    [target, { hops: 3 } as object, "hops"],
    [{ port: 65536 }, {}, "port"],
    [unix("/x"), {}, "no hops"],
  ];
  for (const [target, options, words] of rows) {
    const error = await begin(() => trace(target, options));
    assert(error instanceof Error);
    assertStringIncludes(error.message, words);
  }
}, { skip: onLinux });

interface Ran {
  code: number;
  out: string;
  err: string;
}

async function run(...args: string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await main(["trace", ...args], {
    out: (text) => out += text,
    err: (text) => err += text,
  });
  return { code, out, err };
}

test("trace writes a line for each ttl, and how the way ends", async () => {
  const rows = await inChild(
    { namespace: ROUTERS },
    async ({ becomeNobody }, cli) => {
      const { main } = await import(cli);
      // A command is loaded when it is wanted, and uid 65534 may not read it.
      await main(["trace", "--help"], { out() {}, err() {} });
      becomeNobody();
      const found: [number, string][] = [];
      for (
        const args of [
          ["10.9.3.2:8080"],
          ["[fd09:3::2]:9", "--queries", "1"],
          ["10.9.3.2:81"],
          ["10.9.3.2:82", "-m", "4", "-t", "200ms"],
          ["10.9.3.2:8080", "--json"],
        ]
      ) {
        let out = "";
        const io = { out: (text: string) => out += text, err: () => {} };
        found.push([await main(["trace", ...args], io), out]);
      }
      return found;
    },
    CLI,
  );
  const plain = rows.map(([code, out]) =>
    [code, out.replace(/\d+\.\d+/g, (n) => n.length > 4 ? "N" : n)] as const
  );
  assertEquals(plain[0]![0], 0);
  assertStringIncludes(plain[0]![1], "10.9.1.2  ");
  assertStringIncludes(plain[0]![1], "10.9.3.2:8080 is open, 3 hops away");
  assertEquals(plain[1]![0], 0);
  assertStringIncludes(plain[1]![1], "[fd09:3::2]:9 is closed, 3 hops away");
  assertEquals(plain[2]![0], 1);
  assertStringIncludes(
    plain[2]![1],
    "10.9.3.2:81 is filtered by 10.9.2.2 (ICMP 3/13), 2 hops away",
  );
  assertEquals(plain[3]![0], 1);
  assertStringIncludes(plain[3]![1], "10.9.3.2:82 is silent: ");
  assertStringIncludes(plain[3]![1], "10.9.2.2 was the last to reply");
  assertStringIncludes(plain[3]![1], " 3  *");
  const lines = linesOf(rows[4]![1]);
  assertEquals(lines.map(({ type }) => type), [
    ...Array(9).fill("hop"),
    "trace",
  ]);
}, { skip: canRoute });

test("trace shows the flows where routers share the load", async () => {
  const [found, out] = await inChild(
    { namespace: FLOWS },
    async (_, tools, cli) => {
      const { trace } = await import(tools);
      const { main } = await import(cli);
      const found: string[] = [];
      const target = { hostname: "10.9.3.2", port: 8080 };
      for await (const { ttl, from } of trace(target, { queries: 30 })) {
        if (ttl === 2) found.push(from);
      }
      let out = "";
      const args = ["trace", "10.9.3.2:8080", "--queries", "30"];
      await main(args, { out: (text: string) => out += text, err() {} });
      return [[...new Set(found)].sort(), out] as [string[], string];
    },
    TOOLS,
    CLI,
  );
  assertEquals(found, ["10.9.2.2", "10.9.4.2"]);
  assertMatch(
    out,
    /\n 2 {2}10\.9\.[24]\.2 .* \(from \d+, .*\n {4}10\.9\.[24]\.2 /,
  );
}, { skip: canRoute });

test("trace writes what is known when it is interrupted", async () => {
  using silent = blackHole();
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  let out = "";
  const target = `${silent.address}`;
  const code = await main(["trace", target, "-t", "10s"], {
    out: (text) => out += text,
    err() {},
    signal: controller.signal,
  });
  assertEquals([code, out], [130, `${target} is not reached so far\n`]);
}, { skip: onLinux });

test(
  "trace exits by 0 for a target that is reached, open or closed",
  async () => {
    using listener = listen();
    using closed = bound();
    assertEquals((await run(`${listener.address}`)).code, 0);
    const { code, out } = await run(`${closed.address}`, "--csv");
    assertEquals(code, 0);
    assertEquals(
      out.split("\n")[0],
      "ttl,query,kind,from,icmp,wall,rtt,localPort",
    );
    const rows: [args: string[], words: string][] = [
      [[], "give a target"],
      [["a:1", "b:1"], '"b:1" as well'],
      [["a:1", "-m", "0"], "--max-hops"],
      [["unix:/x"], "no hops"],
    ];
    for (const [args, words] of rows) {
      const { code, err } = await run(...args);
      assertEquals(code, 2);
      assertStringIncludes(err, words);
    }
  },
  { skip: onLinux },
);
