import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import process from "node:process";
import type { Libc } from "../ffi/contract.ts";
import { libc } from "../ffi/libc.ts";
import {
  connectSync,
  Errno,
  inet,
  lookup,
  LookupError,
  type LookupOptions,
  lookupSync,
} from "../mod.ts";
import { startLookup } from "../src/address/lookup.ts";
import {
  canCallOffNames,
  canIsolate,
  fakeResolver,
  inChild,
  PLAIN_RESOLVER,
  useLibcWith,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, hasCommand, needs, on, onLinux, test } from "./_harness.ts";
import { NAME_SERVER } from "./_networks.ts";

// Opened before the first test, which would otherwise seem to leak it.
const { abi } = libc();

const namespace = NAME_SERVER;

/** What a name server of our own takes; elsewhere than on Linux nobody can have one. */
const NAMED = {
  skip: needs(canIsolate(), hasCommand("python3"), onLinux),
};

/** The same where the C library has threads of its own for names. */
const THREADED = { skip: needs(NAMED.skip, canCallOffNames()) };

for (const dead of [32, 100]) {
  test(
    `connect() stays quick while ${dead} dead names are looked up`,
    async () => {
      const result = await inChild(
        { namespace },
        async ({ blackHole, connect, listen, inet }, dead) => {
          using listener = listen();
          using hole = blackHole({ at: inet("127.0.0.2", 0) });
          const { port } = listener.address;
          async function time(run: () => Promise<unknown>): Promise<number> {
            const start = performance.now();
            await run();
            return performance.now() - start;
          }
          async function reach(
            hostname: string,
            port: number,
          ): Promise<string> {
            try {
              (await connect({ hostname, port, timeout: 1000 })).close();
              return "connected";
            } catch (error) {
              return (error as { code: string }).code;
            }
          }
          const controller = new AbortController();
          const { signal } = controller;
          const pending = Array.from(
            { length: dead },
            (_, i) =>
              connect({ hostname: `n${i}.dead.test`, port, signal })
                .catch((error) => error),
          );
          await new Promise((resolve) => setTimeout(resolve, 300));
          const replies: unknown[] = [];
          for (const hostname of ["127.0.0.1", "file.test", "file6.test"]) {
            const took = await time(async () => {
              replies.push(await reach(hostname, port));
            });
            replies.push(took);
          }
          const took = await time(async () => {
            replies.push(await reach("127.0.0.2", hole.address.port));
          });
          controller.abort("enough");
          const ends = await Promise.all(pending);
          return { replies, took, ends } as unknown as {
            replies: (string | number)[];
            took: number;
            ends: string[];
          };
        },
        dead,
      );
      const codes = result.replies.filter((one) => typeof one === "string");
      assertEquals(codes, ["connected", "connected", "connected", "ETIMEDOUT"]);
      for (const took of result.replies) {
        // A dead name takes five seconds and more.
        if (typeof took === "number") assertLess(took, 2000);
      }
      assertLess(result.took, 3000);
      assertEquals(result.ends, new Array(dead).fill("enough"));
    },
    NAMED,
  );
}

test(
  "names that a server replies about do not wait behind those that none replies about",
  async () => {
    const { found, longest, asked } = await inChild(
      { namespace },
      async ({ lookup, lookupSync }) => {
        const controller = new AbortController();
        const { signal } = controller;
        const pending = Array.from({ length: 200 }, (_, i) => {
          const zone = i % 2 === 0 ? "dead.test" : "lie.test";
          return lookup(`n${i}.${zone}`, { signal }).catch((error) => error);
        });
        await new Promise((resolve) => setTimeout(resolve, 300));
        const found: string[] = [];
        let longest = 0;
        async function time(run: () => unknown): Promise<void> {
          const start = performance.now();
          found.push(`${await run()}`);
          longest = Math.max(longest, performance.now() - start);
        }
        await time(() => lookup("a.v4.test"));
        await time(() => lookup("b.v4.test", { family: "inet" }));
        await time(() => lookup("c.deaf.test"));
        await time(() => lookup("d.mute.test"));
        await time(() => lookup("e.none.test").catch((e) => e.code));
        await time(() => lookupSync("f.v4.test"));
        await time(() => lookupSync("g.deaf.test"));
        controller.abort("enough");
        await Promise.all(pending);
        const { readFileSync } = process.getBuiltinModule("node:fs");
        const asked = readFileSync("/mnt/asked", "utf8").trim().split("\n");
        return { found, longest, asked: asked.length };
      },
    );
    assertEquals(found, [
      "127.0.0.1:0",
      "127.0.0.1:0",
      "127.0.0.1:0",
      "[::1]:0",
      "EAI_NONAME",
      "127.0.0.1:0",
      "127.0.0.1:0",
    ]);
    // The resolver gives a name up after ten seconds.
    assertLess(longest, 9000);
    // No name is asked about again and again.
    assertLess(asked, 200 * 12);
  },
  { skip: needs(THREADED.skip, canIpv6()) },
);

test("connectSync() ends in time while a name is looked up", async () => {
  const [code, syscall, kind, took, quick] = await inChild(
    { namespace },
    ({ connectSync, ErrnoError, listen }) => {
      using listener = listen();
      const { port } = listener.address;
      const start = performance.now();
      let error: unknown;
      try {
        connectSync({ hostname: "x.dead.test", port, timeout: 300 });
      } catch (caught) {
        error = caught;
      }
      const took = performance.now() - start;
      if (!(error instanceof ErrnoError)) throw error;
      // What nobody waits for any more is in nobody's way.
      for (let i = 0; i < 30; i++) {
        try {
          connectSync({ hostname: `n${i}.dead.test`, port, timeout: 10 });
        } catch {
          // It never comes.
        }
      }
      const again = performance.now();
      connectSync({ hostname: "file.test", port, timeout: 5000 }).close();
      const quick = performance.now() - again;
      const { code, syscall, timeoutKind } = error;
      return [code, syscall, timeoutKind!, took, quick];
    },
  );
  assertEquals([code, syscall, kind], ["ETIMEDOUT", "getaddrinfo", "deadline"]);
  assertGreaterOrEqual(Number(took), 299);
  assertLess(Number(took), 3000);
  assertLess(Number(quick), 3000);
}, THREADED);

test("a lookup that no caller waits for keeps no process alive", async () => {
  const [code, since] = await inChild(
    { namespace },
    async ({ connect, verdict }) => {
      const target = { hostname: "x.dead.test", port: 1, timeout: 100 };
      const code = verdict(await connect(target).catch((error) => error));
      return [code, Date.now()] as const;
    },
  );
  assertEquals(code, "ETIMEDOUT");
  // The resolver itself takes ten seconds.
  assertLess(Date.now() - since, 5000);
}, THREADED);

for (const form of ["connect", "connectSync"] as const) {
  test(
    `${form}() does not wait for the family that a name server never replies for`,
    async () => {
      const rows = await inChild(
        { namespace },
        async ({ connect, connectSync, listen, inet, inet6 }, isSync) => {
          using four = listen({ at: inet("127.0.0.1", 0) });
          const { port } = four.address;
          using _six = listen({ at: inet6("::1", port) });
          const rows: [string, number][] = [];
          for (
            const hostname of ["a.deaf.test", "a.mute.test", "a.both.test"]
          ) {
            const start = performance.now();
            const target = { hostname, port, timeout: 5000 };
            using socket = isSync ? connectSync(target) : await connect(target);
            const took = performance.now() - start;
            rows.push([`${socket.remoteAddress}`.split(`:${port}`)[0]!, took]);
          }
          return rows;
        },
        form === "connectSync",
      );
      const hosts = rows.map(([host]) => host);
      assertEquals(hosts.slice(0, 2), ["127.0.0.1", "[::1]"]);
      // As the resolver of the system puts them in order.
      assert(hosts[2] === "[::1]" || hosts[2] === "127.0.0.1");
      for (const [, took] of rows.slice(0, 2)) {
        assertGreaterOrEqual(took, 49);
        assertLess(took, 4000);
      }
      assertLess(rows[2]![1], 4000);
    },
    { skip: needs(THREADED.skip, canIpv6()) },
  );
}

test("callers who ask for the same name share its lookup", async () => {
  const { ends, took, asked } = await inChild(
    { namespace },
    async ({ connect, listen }) => {
      using listener = listen();
      const { port } = listener.address;
      const start = performance.now();
      const ends = await Promise.all(Array.from({ length: 100 }, async () => {
        const target = { hostname: "x.slow.test", port, timeout: 1500 };
        (await connect(target)).close();
        return "connected";
      }));
      const took = performance.now() - start;
      const { readFileSync } = process.getBuiltinModule("node:fs");
      const asked = readFileSync("/mnt/asked", "utf8").trim().split("\n");
      return { ends, took, asked };
    },
  );
  assertEquals(ends, new Array(100).fill("connected"));
  assertLess(took, 1500);
  // As a whole, and each family alone: two questions, and one each.
  assert(asked.length <= 4, `${asked}`);
}, NAMED);

/** Each function as one that returns a promise. */
const FORMS: readonly (readonly [string, typeof lookup])[] = [
  ["lookup", lookup],
  // deno-lint-ignore require-await
  ["lookupSync", async (...args) => lookupSync(...args)],
];

test("lookup() finds what the resolver finds, in its order", async () => {
  const { rows, python } = await inChild(
    { namespace },
    async ({ lookup, lookupSync }) => {
      const { execFileSync } = process.getBuiltinModule("node:child_process");
      const rows: string[][] = [];
      const names = ["file6.test", "x.both.test", "x.v4.test", "x.slow.test"];
      for (const name of names) {
        for (const family of [undefined, "inet", "inet6"] as const) {
          const options = { family, port: 80 };
          const [one, other] = [lookup, lookupSync].map((run) => async () => {
            try {
              return (await run(name, options)).join(" ");
            } catch (error) {
              return (error as { code: string }).code;
            }
          });
          let [found, whole] = [await one!(), await other!()];
          // On a busy machine one family may come more than 50 ms after the other, and is left out.
          for (let i = 0; i < 10 && found !== whole; i++) {
            [found, whole] = [await one!(), await other!()];
          }
          rows.push([name, family ?? "", found, whole]);
        }
      }
      const python = execFileSync("python3", [
        "-c",
        `if 1:
        import socket
        for name in ${JSON.stringify(names)}:
            for family in (0, socket.AF_INET, socket.AF_INET6):
                try:
                    found = socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)
                    print(" ".join(f"[{a[0]}]:80" if ":" in a[0] else f"{a[0]}:80" for *_, a in found))
                except socket.gaierror as e:
                    print([name for name in dir(socket) if getattr(socket, name) == e.errno and name.startswith("EAI")][0])
      `,
      ], { encoding: "utf8" }).trim().split("\n");
      return { rows, python };
    },
  );
  assertEquals(rows.map(([, , one]) => one!), python);
  for (const [name, family, one, other] of rows) {
    assertEquals(one, other, `${name} ${family}`);
  }
}, THREADED);

test(
  "lookup() finds names with letters beyond ASCII by their form in ASCII",
  async () => {
    const { found, asked } = await inChild(
      { namespace },
      async ({ connect, listen, lookup, lookupSync }) => {
        using listener = listen();
        const { port } = listener.address;
        const found: string[] = [];
        const options = { family: "inet" } as const;
        found.push((await lookup("b\u00fccher.v4.test", options)).join());
        found.push((await lookup("xn--bcher-kva.v4.test", options)).join());
        found.push(lookupSync("B\u00dcCHER.v4.test.", options).join());
        (await connect({ hostname: "b\u00fc_cher.v4.test", port })).close();
        found.push((await lookup("_a.UPPER_case.v4.test.", options)).join());
        const { readFileSync } = process.getBuiltinModule("node:fs");
        const asked = readFileSync("/mnt/asked", "utf8").trim().split("\n");
        return { found, asked: [...new Set(asked)] };
      },
    );
    assertEquals(found, new Array(4).fill("127.0.0.1:0"));
    assertEquals(asked, [
      "xn--bcher-kva.v4.test 1",
      "xn--b_cher-3ya.v4.test 1",
      "xn--b_cher-3ya.v4.test 28",
      "_a.upper_case.v4.test 1",
    ]);
  },
  NAMED,
);

for (const [name, run] of FORMS) {
  test(`${name}() resolves an address to itself, and calls nothing`, async () => {
    using watched = watchLibc();
    const rows: [string, LookupOptions | undefined, string][] = [
      ["127.0.0.1", undefined, "127.0.0.1:0"],
      ["127.0.0.1", { port: 80, family: "inet" }, "127.0.0.1:80"],
      ["::1", { port: 80, timeout: undefined }, "[::1]:80"],
      ["[::1]", { port: 80 }, "[::1]:80"],
      // Digits of another script.
      ["\uff11\uff12\uff17.0.0.1", { port: 80 }, "127.0.0.1:80"],
    ];
    for (const [hostname, options, expected] of rows) {
      assertEquals((await run(hostname, options)).map(String), [expected]);
    }
    assertEquals(watched.names, []);
  });

  test(`${name}() refuses what it does not understand, and calls nothing`, async () => {
    using watched = watchLibc();
    const rows: [unknown, unknown, ErrorConstructor, RegExp][] = [
      [7, {}, TypeError, /hostname 7/],
      ["", {}, SyntaxError, /empty/],
      ["a\0b", {}, SyntaxError, /NUL/],
      ["\u00fc/x", {}, SyntaxError, /ASCII/],
      ["\u00fc:80", {}, SyntaxError, /has a port/],
      ["\u00fc%", {}, SyntaxError, /ASCII/],
      ["a\uff0fb", {}, SyntaxError, /ASCII/],
      ["a", { family: "ipv4" }, TypeError, /family "ipv4"/],
      ["::1", { family: "inet" }, TypeError, /family asks for inet/],
      ["a", { port: 65_536 }, RangeError, /port 65536/],
      ["a", { timeout: -1 }, RangeError, /timeout -1/],
      ["a", { signal: {} }, TypeError, /signal/],
      ["a", { tiemout: 1 }, TypeError, /tiemout.*timeout/],
      ["a", { hostname: "b" }, TypeError, /hostname/],
      ["a", 7, TypeError, /options 7/],
    ];
    for (const [hostname, options, errorClass, message] of rows) {
      const error = await assertRejects(() =>
        run(hostname as string, options as LookupOptions)
      );
      assertInstanceOf(error, errorClass, `${hostname}`);
      assertMatch(error.message, message);
    }
    const reason = new Error("own");
    const signal = AbortSignal.abort(reason);
    const error = await assertRejects(() => run("a", { signal }));
    assertEquals(error, reason);
    assertEquals(watched.names, []);
  });
}

for (const way of ["lookup", "lookupSync"] as const) {
  test(`${way}() points its errors at its caller`, async () => {
    const { EAI_FAIL } = abi.eais;
    using _ = watchLibc({
      getaddrinfo: () => [EAI_FAIL!, 0],
      getaddrinfoAsync: () => Promise.resolve(EAI_FAIL!),
    });
    async function caller(): Promise<void> {
      if (way === "lookup") await lookup("x.test");
      else lookupSync("x.test");
    }
    const error = await assertRejects(caller, LookupError);
    assertEquals(error.code, "EAI_FAIL");
    const [first] = error.stack!.split("\n").filter((line) =>
      line.includes("_test.ts") || line.includes("/src/")
    );
    assertStringIncludes(first!, "lookup_test.ts");
    assertStringIncludes(first!, "caller");
  });
}

test(
  "a name of the hosts file blocks no other work where DNS comes first",
  async () => {
    const [code, took] = await inChild(
      {
        namespace: `${namespace}
        echo "hosts: dns files" > /mnt/nsswitch
        echo "127.0.0.1 x.dead.test" >> /mnt/hosts`,
      },
      async ({ lookup, verdict }) => {
        const end = lookup("x.dead.test", { timeout: 200 }).catch((e) => e);
        const start = performance.now();
        await new Promise((resolve) => setTimeout(resolve, 10));
        const took = performance.now() - start;
        return [verdict(await end), took];
      },
    );
    assertEquals(code, "ETIMEDOUT");
    assertLess(Number(took), 3000);
  },
  THREADED,
);

test("few names are asked for at a time, and none that everybody has given up", async () => {
  const asked: string[] = [];
  const replies: (() => void)[] = [];
  const fakes = fakeResolver([inet("127.0.0.1", 0)]);
  using _ = watchLibc({
    ...fakes,
    // No name server can be asked about what waits.
    socket: () => -abi.errnos.EACCES,
    getaddrinfoAsync(node, hints, list) {
      asked.push(new TextDecoder().decode(node.subarray(0, -1)));
      return new Promise((resolve) =>
        replies.push(() => resolve(fakes.getaddrinfo(node, hints, list)[0]))
      );
    },
  });
  const controller = new AbortController();
  const { signal } = controller;
  const names = Array.from({ length: 40 }, (_, i) => `n${i}.test`);
  const ends = names.map((name, i) =>
    lookup(name, { family: "inet", ...i % 2 === 0 ? { signal } : {} })
      .then(String, String)
  );
  const first = asked.length;
  assert(first > 1 && first < 20, `${first} at a time`);
  assertEquals(asked, names.slice(0, first));
  controller.abort("enough");
  let isOver = false;
  const results = Promise.all(ends).finally(() => isOver = true);
  // On a busy machine the next question may come turns after a reply.
  while (!isOver) {
    replies.shift()?.();
    await new Promise((resolve) => setTimeout(resolve));
  }
  const expected = names.filter((_, i) => i < first || i % 2 === 1);
  // On a busy machine one may be asked for twice, in case the first question was
  // lost, and those that have waited for longer may be asked for last.
  assertEquals(new Set(asked), new Set(expected));
  assertEquals(
    await results,
    names.map((_, i) => i % 2 === 0 ? "enough" : "127.0.0.1:0"),
  );
});

/** Name servers for the lookups of one test, of which no message leaves it. */
class FakeServers {
  /** All questions, each as the descriptor of its server, the name and the type. */
  readonly questions: string[] = [];
  /** The descriptors that are open. */
  readonly open = new Set<number>();
  readonly #replies = new Map<number, Uint8Array[]>();
  readonly #config: string;
  readonly #reply: (fd: number, name: string, data: Uint8Array) => Uint8Array[];

  /**
   * @param config What `resolv.conf(5)` says; the first server of each family has the descriptors 1000 and 1001.
   * @param reply What the server with a descriptor replies to a message that asks about a name.
   */
  constructor(
    config: string,
    reply: (fd: number, name: string, data: Uint8Array) => Uint8Array[],
  ) {
    this.#config = config;
    this.#reply = reply;
  }

  get calls(): Partial<Libc> {
    const { AF_INET, AF_INET6, errnos } = abi;
    const { open, questions } = this;
    let text: Uint8Array | null = null;
    return {
      open: (path) => {
        const name = new TextDecoder().decode(path.subarray(0, -1));
        if (name !== "/etc/resolv.conf") return -errnos.ENOENT!;
        text = new TextEncoder().encode(this.#config);
        return 900;
      },
      read(_fd, buffer) {
        const part = text ?? new Uint8Array();
        text = null;
        buffer.set(part);
        return part.length;
      },
      close: (fd) => (open.delete(fd), 0),
      socket(domain) {
        assert(domain === AF_INET || domain === AF_INET6);
        const fd = domain === AF_INET ? 1000 : 1001;
        assert(!open.has(fd));
        open.add(fd);
        return fd;
      },
      connect: () => 0,
      sendto: (fd, data, count) => {
        assert(open.has(fd));
        const labels: string[] = [];
        let at = 12;
        for (; data[at]! > 0; at += 1 + data[at]!) {
          const label = data.subarray(at + 1, at + 1 + data[at]!);
          labels.push(new TextDecoder().decode(label));
        }
        assertEquals(count, at + 5);
        const name = labels.join(".");
        questions.push(`${fd} ${name} ${data[at + 2]}`);
        const replies = this.#reply(fd, name, data.slice(0, count));
        this.#replies.set(fd, [
          ...this.#replies.get(fd) ?? [],
          ...replies,
        ]);
        return count;
      },
      recvfrom: (fd, buffer) => {
        const reply = this.#replies.get(fd)?.shift();
        if (reply === undefined) return -errnos.EAGAIN!;
        buffer.set(reply);
        return reply.length;
      },
    };
  }
}

/** A reply without a record, with a code, of a server that has looked for some. */
function replyTo(question: Uint8Array, code = 0): Uint8Array {
  const reply = question.slice();
  reply[2]! |= 0x80;
  reply[3] = 0x80 | code;
  return reply;
}

/** A resolver that finds the names that begin with "live", and waits for a reply about others. */
function livingAlone(begun: string[]): Partial<Libc> {
  const fakes = fakeResolver([inet("127.0.0.1", 0)]);
  return {
    ...fakes,
    getaddrinfoAsync(node, hints, list) {
      const name = new TextDecoder().decode(node.subarray(0, -1));
      begun.push(name);
      return name.startsWith("live")
        ? Promise.resolve(fakes.getaddrinfo(node, hints, list)[0])
        : new Promise(() => {});
    },
  };
}

test("the name servers are asked about names that wait, and no more when none does", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const begun: string[] = [];
  const servers = new FakeServers(
    "# nameserver 1.1.1.1\n nameserver 1.1.1.2\n" +
      "nameserver 192.0.2.1# a comment\nnameserver x\nnameserver\n" +
      "nameserver\t2001:db8::1;another\nsearch one.example two.example\n" +
      "options ndots:99\noptions timeout:1 ndots:2, rotate edns0",
    (_fd, name, data) => {
      if (!name.startsWith("live.")) return [];
      const { length } = servers.questions
        .filter((one) => one.includes(" live."));
      // Two questions are lost. Then nobody wants the other names, which still have all places.
      if (length === 2) setTimeout(() => controller.abort("enough"));
      if (length < 3) return [];
      // One about something else, one that is cut, one that is no reply, and the reply.
      const reply = replyTo(data);
      const other = reply.slice();
      other[13] = 0x78;
      return [other, reply.subarray(0, -1), data, reply];
    },
  );
  using _ = watchLibc({ ...livingAlone(begun), ...servers.calls });
  const options = { family: "inet", signal } as const;
  const dead = [...new Array(40).keys(), "a.b.dead", "dead."].map((name) =>
    lookup(`n${name}`, options).catch((error) => error)
  );
  const live = { family: "inet", timeout: 20_000 } as const;
  const found = await lookup("live.x.y", live);
  assertEquals(found.map(String), ["127.0.0.1:0"]);
  assertEquals(begun.filter((name) => name.startsWith("live")), ["live.x.y"]);
  assertLess(begun.length, 20);
  assertEquals(await Promise.all(dead), dead.map(() => "enough"));
  assertEquals([...servers.open], []);
  const about = servers.questions.filter((one) => one.includes(" live."));
  assertEquals(about, [1000, 1001, 1000].map((fd) => `${fd} live.x.y 1`));
  for (const name of ["n39.one.example", "na.b.dead", "ndead"]) {
    assert(servers.questions.includes(`1000 ${name} 1`), name);
  }
});

test("the name servers are asked about a new name before thousands that wait", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const begun: string[] = [];
  const servers = new FakeServers(
    "nameserver 192.0.2.1\n",
    (_fd, name, data) => name.startsWith("live") ? [replyTo(data)] : [],
  );
  using _ = watchLibc({ ...livingAlone(begun), ...servers.calls });
  const options = { family: "inet", signal } as const;
  const dead = Array.from(
    { length: 3000 },
    (_, i) => lookup(`n${i}.test`, options).catch((error) => error),
  );
  while (servers.questions.length === 0) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const before = servers.questions.length;
  await lookup("live.test", { family: "inet" });
  // At most 128 are asked about at a time, for half a second; a busy machine misses a turn or two.
  assertLess(servers.questions.length, before + 1000);
  // The oldest of those that wait have their turns, too.
  while (!servers.questions.includes("1000 n100.test 1")) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(!servers.questions.includes("1000 n1500.test 1"));
  controller.abort("enough");
  assertEquals(await Promise.all(dead), dead.map(() => "enough"));
  assertEquals([...servers.open], []);
});

for (
  const { code, inetAt, heard } of [
    // Both servers decline, and so does the resolver, at once.
    { code: 2, inetAt: [], heard: true },
    { code: 4, inetAt: [], heard: true },
    // The second one is silent.
    { code: 2, inetAt: null, heard: false },
    { code: 4, inetAt: null, heard: false },
    { code: 5, inetAt: null, heard: false },
    { code: -1, inetAt: null, heard: false },
    // The first one knows IPv4, and the resolver does not turn to the second about IPv6.
    { code: 5, inetAt: [1000], heard: true },
    // That there is no such name is a reply.
    { code: 3, inetAt: null, heard: true },
  ] as const
) {
  const what = code < 0 ? "knows of no other server" : `replies ${code}`;
  const next = inetAt === null ? "the second is silent" : "the resolver ends";
  test(`a name whose first server ${what} while ${next} has ${heard ? "a" : "no"} reply`, async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const begun: string[] = [];
    const servers = new FakeServers(
      "nameserver 192.0.2.1\nnameserver 2001:db8::1\n",
      (fd, name, data) => {
        if (!name.startsWith("live")) return [];
        if (inetAt === null && fd === 1001) return [];
        const type = data.at(-3);
        const isKnown = type === 1 && (inetAt as number[] | null)?.includes(fd);
        const reply = replyTo(data, isKnown ? 0 : Math.max(code, 0));
        if (code < 0) reply[3] = 0;
        return [reply, reply];
      },
    );
    using _ = watchLibc({ ...livingAlone(begun), ...servers.calls });
    const dead = Array.from(
      { length: 40 },
      (_, i) => lookup(`n${i}.test`, { signal }).catch((error) => error),
    );
    // Not asked for family by family: only a reply about both has a place at once.
    const live = lookup("live.test", { signal }).then(() => true, () => false);
    const isAsked = (fd: number) =>
      servers.questions.filter((one) => one.startsWith(`${fd} live.test`));
    if (heard) assertEquals(await live, true);
    else {
      while (isAsked(1001).length < 2) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    assertEquals(begun.includes("live.test"), heard);
    controller.abort("enough");
    assertEquals(await live, heard);
    assertEquals(await Promise.all(dead), dead.map(() => "enough"));
    assertEquals([...servers.open], []);
  });
}

test(
  "no name waits behind those that one name server refuses and the next does not reply about",
  async () => {
    const found = await inChild(
      {
        namespace: `${namespace}
      printf "nameserver 127.0.0.2\\nnameserver 127.0.0.1\\n" > /mnt/resolv`,
      },
      async ({ lookup, verdict }) => {
        const controller = new AbortController();
        const { signal } = controller;
        const dead = Array.from(
          { length: 60 },
          (_, i) => lookup(`n${i}.dead.test`, { signal }).catch(() => {}),
        );
        // They have been asked about by then.
        await new Promise((resolve) => setTimeout(resolve, 800));
        const live = lookup("x.v4.test", { timeout: 6000 });
        const found = await live.then(String, verdict);
        controller.abort();
        await Promise.all(dead);
        return found;
      },
    );
    assertEquals(found, "127.0.0.1:0");
  },
  NAMED,
);

for (const way of ["are late", "find the same name"]) {
  test(
    `thousands of lookups that ${way} at once leave turns to all other work`,
    async () => {
      using _ = watchLibc(livingAlone([]));
      let turns = 0;
      let isOver = false;
      function turn(): void {
        if (isOver) return;
        turns++;
        setImmediate(turn);
      }
      const isLate = way === "are late";
      const [hostname, timeout] = isLate ? ["dead.test", 1] : ["live.test"];
      const outcomes: Promise<unknown>[] = [];
      for (let i = 0; i < 10_000; i++) {
        const looking = lookup(hostname!, { family: "inet", timeout });
        outcomes.push(looking.catch(({ code }) => code));
      }
      await Promise.race(outcomes);
      setImmediate(turn);
      const all = await Promise.all(outcomes);
      isOver = true;
      assertEquals(new Set(all.map(String)).size, 1);
      // They take a hundred milliseconds, which is one turn if it is not cut.
      assertGreaterOrEqual(turns, 5);
    },
    THREADED,
  );
}

test("lookup() can be given up, and shared lookups go on", async () => {
  const [codes, took] = await inChild(
    { namespace },
    async ({ lookup, verdict }) => {
      const start = performance.now();
      const controller = new AbortController();
      const { signal } = controller;
      const name = "x.slow.test";
      const ends = [
        lookup(name, { signal }),
        lookup(name, { timeout: 20 }),
        lookup(name, { family: "inet", port: 7 }),
        lookup(name, { family: "inet", port: 8 }),
      ].map((end) => end.then(String, verdict));
      setTimeout(() => controller.abort("enough"), 10);
      return [await Promise.all(ends), performance.now() - start];
    },
  );
  assertEquals(codes, [
    "enough",
    "ETIMEDOUT",
    "127.0.0.1:7",
    "127.0.0.1:8",
  ]);
  assertLess(Number(took), 1500);
}, NAMED);

test("a lookup that finds no free descriptor reports EMFILE", async () => {
  for (const hostname of ["file.test", "x.both.test"]) {
    const rows = await inChild(
      { namespace, command: ["prlimit", "--nofile=160"] },
      async ({ ErrnoError, lookup, lookupSync, Socket }, hostname) => {
        // What the runtime opens at its first wait is open.
        await lookup("y.both.test");
        // And the resolver notices a file of its own that has changed.
        await new Promise((resolve) => setTimeout(resolve, 1100));
        const sockets: { close(): void }[] = [];
        try {
          for (;;) sockets.push(Socket.open());
        } catch {
          // There are no more.
        }
        const errors: unknown[] = [];
        try {
          lookupSync(hostname);
        } catch (error) {
          errors.push(error);
        }
        errors.push(await lookup(hostname).catch((error) => error));
        for (const socket of sockets) socket.close();
        return errors.map((error) =>
          error instanceof ErrnoError
            ? [error.code, error.syscall, error.address!, error.message]
            : [`${error}`]
        );
      },
      hostname,
    );
    const message =
      `Cannot resolve ${hostname}:0: too many files open in this process (EMFILE)`;
    const row = ["EMFILE", "getaddrinfo", `${hostname}:0`, message];
    assertEquals(rows, [row, row]);
  }
}, { skip: needs(NAMED.skip, hasCommand("prlimit")) });

test("a known shortage of descriptors is the error, another errno the cause", async () => {
  const { EAI_SYSTEM } = abi.eais;
  const { EMFILE, EIO } = abi.errnos;
  {
    using _ = watchLibc({ getaddrinfo: () => [EAI_SYSTEM!, EMFILE!] });
    assertThrows(() => lookupSync("x.test"), Errno.EMFILE);
  }
  {
    using _ = watchLibc({ getaddrinfo: () => [EAI_SYSTEM!, EIO!] });
    const { cause } = assertThrows(() => lookupSync("x.test"), LookupError);
    assertInstanceOf(cause, Errno.EIO);
  }
  {
    using _ = watchLibc({
      ...PLAIN_RESOLVER,
      open: () => -EMFILE!,
      getaddrinfoAsync: () => Promise.resolve(abi.eais.EAI_AGAIN!),
    });
    await assertRejects(() => lookup("x.test"), Errno.EMFILE);
  }
});

test("lookupSync() notices the end afterwards where it cannot be interrupted", () => {
  using _ = watchLibc({
    getaddrinfo() {
      const end = performance.now() + 30;
      while (performance.now() < end);
      return [abi.eais.EAI_NONAME!, 0];
    },
  });
  assertThrows(() => lookupSync("x.test", { timeout: 20 }), Errno.ETIMEDOUT);
  assertThrows(() => lookupSync("x.test", { timeout: 2000 }), LookupError);
});

test(
  "a lookup ends though the permission for FFI is revoked meanwhile",
  async () => {
    const ends = await inChild(
      { namespace },
      async ({ lookup, verdict }) => {
        const ends = [
          lookup("x.slow.test", { family: "inet" }),
          lookup("x.none.test"),
          lookup("x.dead.test", { timeout: 300 }),
          lookup("file.test"),
          // It has to wait, so that the name servers are asked about it.
          ...Array.from(
            { length: 20 },
            (_, i) => lookup(`n${i}.dead.test`, { timeout: 300 }),
          ),
          lookup("x.v4.test", { family: "inet" }),
        ].map((end) => end.then(String, verdict));
        const { permissions } = (globalThis as unknown as {
          Deno: { permissions: { revokeSync(descriptor: object): unknown } };
        }).Deno;
        permissions.revokeSync({ name: "ffi" });
        return await Promise.all(ends);
      },
    );
    assertEquals(ends, [
      "127.0.0.1:0",
      'LookupError: Cannot resolve "x.none.test": name does not resolve (EAI_NONAME)',
      "ETIMEDOUT",
      "127.0.0.1:0",
      ...new Array(20).fill("ETIMEDOUT"),
      "127.0.0.1:0",
    ]);
  },
  { skip: needs(NAMED.skip, on("deno")) },
);

test("a worker can be terminated while it looks a name up", async () => {
  const message = await inChild({ namespace }, async (api, url) => {
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const text = `
      const { parentPort } = process.getBuiltinModule("node:worker_threads");
      import(${JSON.stringify(url)}).then(({ lookup }) => {
        for (let i = 0; i < 10; i++) lookup("x" + i + ".slow.test");
        setTimeout(() => parentPort.postMessage("waits"), 20);
      });`;
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(text, { eval: true });
      await new Promise((resolve, reject) => {
        worker.on("message", resolve).on("error", reject);
      });
      await worker.terminate();
    }
    // The threads of the C library write to what they were given.
    await new Promise((resolve) => setTimeout(resolve, 600));
    return `${await api.lookup("x.v4.test")}`;
  }, import.meta.resolve("../mod.ts"));
  assertEquals(message, "127.0.0.1:0");
}, NAMED);

test("a lookup that is too late counts from the beginning of the call", () => {
  const stall = 60;
  const timeout = stall / 2;
  const hostname = "stalled.test";
  const runs: readonly (() => unknown)[] = [
    () => connectSync({ hostname, port: 1, timeout }),
    () => lookupSync(hostname, { timeout }),
  ];
  for (const run of runs) {
    // Each library reads the hosts file by itself.
    using _libc = useLibcWith({
      open() {
        const end = performance.now() + stall;
        while (performance.now() < end);
        return -abi.errnos.EIO;
      },
      getaddrinfo: () => [abi.eais.EAI_NONAME!, 0],
    });
    const error = assertThrows(run, Errno.ETIMEDOUT);
    assertEquals(error.timeoutKind, "deadline");
    assertGreaterOrEqual(error.elapsed!, timeout);
    assertStringIncludes(error.message, `${timeout} ms`);
  }
});

test("a child inherits no file that a lookup opens", async () => {
  const { F_GETFD, FD_CLOEXEC } = abi;
  const { open, fcntl } = libc();
  const opened: boolean[] = [];
  using _ = watchLibc({
    ...PLAIN_RESOLVER,
    open(path, flags) {
      const fd = open(path, flags);
      if (fd >= 0) opened.push((fcntl(fd, F_GETFD, 0) & FD_CLOEXEC) !== 0);
      return fd;
    },
    getaddrinfoAsync: () => Promise.resolve(abi.eais.EAI_NONAME!),
  });
  await assertRejects(() => lookup("x.test"), LookupError);
  assert(opened.length > 0);
  assertEquals(opened, opened.map(() => true));
});

test("two names of one line of the hosts file are no name that is known", async () => {
  const text = new TextEncoder().encode("127.0.0.1 one.test two.test\n");
  for (
    const [hostname, isKnown] of [["two.test", true], [
      "one.test two.test",
      false,
    ]] as const
  ) {
    let isRead = false;
    using watched = watchLibc({
      ...fakeResolver([inet("127.0.0.1", 0)]),
      open: (path) =>
        new TextDecoder().decode(path) === "/etc/hosts\0"
          ? 1000
          : -abi.errnos.ENOENT!,
      read(_fd, buffer) {
        if (isRead) return 0;
        isRead = true;
        buffer.set(text);
        return text.length;
      },
      close: () => 0,
    });
    await lookup(hostname).catch(() => {});
    assertEquals(isRead, true);
    // What is known takes no thread.
    assertEquals(watched.count("getaddrinfo") > 0, isKnown);
  }
});

test("names get a place while each report leads to another one", async () => {
  const hosts = new TextEncoder().encode("127.0.0.1 near.test\n");
  const fakes = fakeResolver([inet("127.0.0.1", 0)]);
  const { close } = libc();
  // No descriptor.
  const file = 1_000_000;
  let at = 0;
  using _ = watchLibc({
    ...fakes,
    getaddrinfoAsync: (...memory) =>
      Promise.resolve(fakes.getaddrinfo(...memory)[0]),
    open(path) {
      if (new TextDecoder().decode(path) !== "/etc/hosts\0") {
        return -abi.errnos.ENOENT!;
      }
      at = 0;
      return file;
    },
    read(_fd, buffer) {
      if (at > 0) return 0;
      buffer.set(hosts);
      return at = hosts.length;
    },
    // On a busy machine a name server is asked as well, by a true socket.
    close: (fd) => fd === file ? 0 : close(fd),
  });
  const near = { hostname: "near.test", port: 1, family: undefined };
  let left = 100_000;
  function ended(): void {
    if (--left > 0) startLookup(libc(), near, Infinity, { found() {}, ended });
  }
  ended();
  const names = Array.from({ length: 100 }, (_, i) => lookup(`n${i}.test`));
  await Promise.all(names);
  assertGreater(left, 0);
  left = 0;
});
