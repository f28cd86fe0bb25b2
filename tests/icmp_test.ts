import { assertEquals, assertThrows } from "@std/assert";
import type { ErrnoError, Icmp, Socket } from "../mod.ts";
import { libc } from "../ffi/libc.ts";
import { canIpv6, needs, test } from "./_harness.ts";
import { bound, canFilter, inChild, listen, watchLibc } from "./_fixtures.ts";
import { connect, connectSync, Errno, inet6 } from "../mod.ts";
import { FIREWALL, FIREWALL6, ofFamilies } from "./_networks.ts";

const onLinux = libc().abi.errorQueue === null
  ? "only Linux keeps ICMP errors"
  : null;

interface Verdict {
  readonly code: string;
  readonly icmp: Icmp | null;
  readonly [key: string]: string | Icmp | null;
}

const ROWS = ofFamilies<readonly [host: string, code: string, Icmp | null]>([
  ["127.0.1.4", "ECONNREFUSED", { type: 3, code: 3, from: "127.0.1.4" }],
  ["127.0.1.2", "EHOSTUNREACH", { type: 3, code: 1, from: "127.0.1.2" }],
  ["127.0.1.7", "EHOSTUNREACH", { type: 3, code: 13, from: "127.0.1.7" }],
  ["127.0.1.8", "ECONNREFUSED", null],
  [
    "::ffff:127.0.1.7",
    "EHOSTUNREACH",
    { type: 3, code: 13, from: "::ffff:127.0.1.7" },
  ],
  ["fd00::4", "ECONNREFUSED", { type: 1, code: 4, from: "fd00::4" }],
  ["fd00::2", "EACCES", { type: 1, code: 1, from: "fd00::2" }],
  ["fd00::7", "ECONNREFUSED", null],
]);

for (const name of ["connect", "connectSync"] as const) {
  test(`${name}() reports who rejected it, without privileges`, async () => {
    const verdicts = await inChild(
      { namespace: FIREWALL + FIREWALL6 },
      async (api, name, hosts) => {
        api.becomeNobody();
        const found: Verdict[] = [];
        await Promise.all(hosts.map(async (hostname, index) => {
          try {
            // The first message comes while connect(2) still holds the socket,
            // and TCP tries once more, after a second.
            const socket = await api[name]({
              hostname,
              port: 80,
              timeout: 30_000,
            });
            socket.close();
          } catch (error) {
            const { code, icmp } = error as { code: string; icmp?: Icmp };
            found[index] = { code, icmp: icmp ?? null };
          }
        }));
        return found;
      },
      name,
      ROWS.map(([host]) => host),
    );
    assertEquals(
      verdicts,
      ROWS.map(([, code, icmp]) => ({ code, icmp })),
    );
  }, { skip: needs(onLinux, canFilter()) });
}

test(
  "the error of several addresses has who rejected the one that says most",
  async () => {
    const verdicts = await inChild(
      { namespace: FIREWALL },
      async ({ connect, connectSync, ErrnoError }) => {
        const found: Verdict[] = [];
        for (const dial of [connect, connectSync]) {
          try {
            const addresses = ["127.0.1.2", "127.0.1.4"];
            await dial({ hostname: "two.test", addresses, port: 80 });
          } catch (error) {
            if (!(error instanceof ErrnoError)) throw error;
            found.push({ code: error.code, icmp: error.icmp ?? null });
          }
        }
        return found;
      },
    );
    const icmp = { type: 3, code: 3, from: "127.0.1.4" };
    const verdict = { code: "ECONNREFUSED", icmp };
    assertEquals(verdicts, [verdict, verdict]);
  },
  { skip: needs(onLinux, canFilter()) },
);

test(
  "connect() reports who rejected it although the deadline ended it",
  async () => {
    const verdicts = await inChild(
      { namespace: FIREWALL },
      async ({ connect, connectSync, ErrnoError }) => {
        const found: (Icmp | null)[] = [];
        for (const hostname of ["127.0.1.2", "127.0.5.1"]) {
          for (const dial of [connect, connectSync]) {
            try {
              await dial({
                hostname,
                port: 80,
                timeout: 200,
                softErrors: "wait",
              });
            } catch (error) {
              if (!(error instanceof ErrnoError)) throw error;
              const isLate = error.timeoutKind === "deadline";
              if (isLate === error.soft) throw error;
              found.push(error.icmp ?? null);
            }
          }
        }
        return found as unknown as { [key: string]: string | number }[];
      },
    );
    const icmp = { type: 3, code: 1, from: "127.0.1.2" };
    assertEquals(verdicts as unknown, [icmp, icmp, null, null]);
  },
  { skip: needs(onLinux, canFilter()) },
);

test(
  "a socket that asks for more messages still shows who rejected it",
  async () => {
    // Time stamps, packet information, TTL, TOS and options, as Linux numbers them.
    const MORE = [
      [1, 29],
      ...[6, 7, 8, 12, 13].map((name) => [0, name]),
      ...[49, 51, 66].map((name) => [41, name]),
    ] as const;
    const hosts = ofFamilies([["127.0.1.7"], ["fd00::2"]] as const);
    const senders = await inChild(
      { namespace: FIREWALL + FIREWALL6 },
      async ({ connect }, more, hosts) => {
        const found: (string | null)[] = [];
        for (const hostname of hosts) {
          const isInet6 = hostname.includes(":");
          try {
            const socket = await connect({
              hostname,
              port: 80,
              timeout: 30_000,
              onSocket(socket) {
                for (const [level, name] of more as [number, number][]) {
                  if (level === 41 && !isInet6) continue;
                  if (level === 0 && isInet6) continue;
                  socket.setOption(level, name, 1);
                }
              },
            });
            socket.close();
          } catch (error) {
            found.push((error as ErrnoError).icmp?.from ?? null);
          }
        }
        return found;
      },
      MORE.map((option) => [...option]),
      hosts.map(([host]) => host),
    );
    assertEquals(senders, hosts.map(([host]) => host));
  },
  { skip: needs(onLinux, canFilter()) },
);

test(
  "explain() says who has rejected, and that no listener has to do with it",
  async () => {
    const found = await inChild(
      { namespace: FIREWALL },
      async ({ connect, explain }) => {
        const meanings: string[] = [];
        for (const hostname of ["127.0.1.4", "127.0.1.7", "127.0.1.8"]) {
          try {
            (await connect({ hostname, port: 80, timeout: 30_000 })).close();
          } catch (error) {
            meanings.push(explain({ error: error as ErrnoError }).meaning);
          }
        }
        return meanings;
      },
    );
    const rejects = "A firewall rejects the connection, and 127.0.1.";
    assertEquals(found, [
      `${rejects}4 itself says so: port unreachable`,
      `${rejects}7 itself says so: communication prohibited by an administrator`,
      "The peer is there and nobody listens",
    ]);
  },
  { skip: needs(onLinux, canFilter()) },
);

test(
  "over IPv6 what asks for the sender of an ICMP error goes when the connection is established",
  async () => {
    using listener = listen({ at: inet6("::1", 0), backlog: 100 });
    const { hostname, port } = listener.address;
    const asked = { readErrorQueue: true };
    const shown: boolean[] = [];
    const ways: [options: object, keeps: boolean][] = [
      [{}, false],
      [{ socketOptions: asked }, true],
      [{ socketOptions: { readErrorQueue: false } }, false],
      [{ onSocket: show }, false],
      [{ onSocket: ask }, true],
      [{ onSocket: show, socketOptions: asked }, true],
    ];
    function show(socket: Socket): void {
      shown.push(socket.getOption("readErrorQueue"));
    }
    function ask(socket: Socket): void {
      show(socket);
      socket.setOption("readErrorQueue", true);
    }
    for (const [options, keeps] of ways) {
      for (const dial of [connect, connectSync]) {
        using socket = await dial({ hostname, port, ...options });
        assertEquals(socket.getOption("readErrorQueue"), keeps);
      }
    }
    const bare = [false, false];
    assertEquals(shown, [...bare, ...bare, true, true]);
  },
  { skip: needs(onLinux, canIpv6()) },
);

test("a refusal by reset has no ICMP error", () => {
  const listener = listen();
  const { port } = listener.address;
  listener[Symbol.dispose]();
  try {
    connectSync({ port });
  } catch (error) {
    assertEquals((error as ErrnoError).code, "ECONNREFUSED");
    assertEquals("icmp" in (error as ErrnoError), false);
  }
});

test(
  "what does not come from the queue of errors ends the reading of it",
  () => {
    using peer = bound();
    const { port } = peer.address;
    using watched = watchLibc({ recvmsg: () => 0 });
    assertThrows(() => connectSync({ port }), Errno.ECONNREFUSED);
    assertEquals(watched.count("recvmsg"), 1);
  },
  { skip: onLinux },
);
