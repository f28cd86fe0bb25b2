import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import type { EaiCode, ErrnoCode, Os } from "../ffi/abi.ts";
import { currentAbi, libc, useLibc } from "../ffi/libc.ts";
import {
  connectSync,
  Errno,
  type ErrnoError,
  type ErrnoFacts,
  inet,
  LookupError,
  unix,
} from "../mod.ts";
import { CATALOG } from "../src/explain/catalog.ts";
import { ERRNOS, explain } from "../src/errno.ts";
import { errnoErrorFor } from "../src/errors/errors.ts";
import { HINTS } from "../src/errors/phrases.ts";
import { evidenceFor } from "../src/explain/evidence.ts";
import { refusal } from "./_assertions.ts";
import { runtime } from "./_emulation.ts";
import {
  blackHole,
  bound,
  canIsolate,
  inChild,
  listen,
  lockedSockets,
  tempFolder,
} from "./_fixtures.ts";
import {
  canIpv6,
  hasCommand,
  isRoot,
  needs,
  on,
  onLinux,
  test,
} from "./_harness.ts";

const SYSTEMS = Object.keys(ERRNOS) as Os[];

/** The error of a call that the kernel is made to return. */
function failure(code: ErrnoCode, address?: string): ErrnoError {
  const errno = currentAbi().errnos[code]!;
  return errnoErrorFor(errno, { syscall: "connect", address });
}

// What it means ------------------------------------------------------------------

test("explain() never speaks of a note that there is none of", () => {
  const icmp = { type: 3, code: 1, from: "192.0.2.1" };
  const others = [
    failure("ENETUNREACH", "[2001:db8::1]:80"),
    failure("EHOSTUNREACH", "192.0.2.9:80"),
  ];
  const failures = (["EHOSTUNREACH", "ECONNREFUSED"] as const).flatMap((code) =>
    [
      {},
      { icmp },
      { icmp, soft: true },
      { soft: true },
      { address: "[2001:db8::1]:80" },
      { address: "unix:/x" },
      { errors: [failure(code), ...others] },
    ].map((facts) => ({ ...failure(code), code, syscall: "connect", ...facts }))
  );
  for (const facts of failures) {
    for (const os of SYSTEMS) {
      const { reusable, note } = explain(facts as ErrnoFacts, { os });
      if (reusable !== "depends") continue;
      const own = CATALOG[facts.code]!.note!;
      assertStringIncludes(note ?? "none", own, JSON.stringify(facts));
    }
  }
});

test("explain() says where a firewall's rejection looks the same over IPv6", () => {
  const error = rejected("ECONNREFUSED", "[2001:db8::1]:80", undefined);
  const { meaning, note } = explain(error, { os: "linux" });
  assertEquals(meaning, "The peer is there and nobody listens");
  assertStringIncludes(note ?? "", "readErrorQueue");
  const known = rejected("ECONNREFUSED", PEER, undefined);
  assert(!explain(known, { os: "linux" }).note?.includes("readErrorQueue"));
});

test("explain() says what the catalog has, on every system that names it", () => {
  for (const [code, entry] of Object.entries(CATALOG)) {
    for (const os of Object.keys(entry.systems) as Os[]) {
      const explanation = explain(code as ErrnoCode, { os });
      assertEquals(explanation.says, entry.systems[os]!, `${os} ${code}`);
      assertEquals(explanation.meaning, entry.meaning);
      assertEquals(explanation.remedy, entry.remedy);
      assertEquals(explanation.errno, ERRNOS[os][code as ErrnoCode]!);
      assertEquals(explanation.os, os);
      assertEquals(explanation.evidence, []);
    }
  }
});

test("explain() is about the system that it runs on unless another one is given", () => {
  const { os, errnos } = currentAbi();
  const explanation = explain("ECONNREFUSED");
  assertEquals(explanation.os, os);
  assertEquals(explanation.errno, errnos.ECONNREFUSED!);
  assertEquals(explain("ECONNREFUSED", { os: undefined }), explanation);
});

test("explain() gives the other systems' word as well", () => {
  const { everywhere } = explain("ENETDOWN", { os: "linux" });
  assertEquals(Object.keys(everywhere).sort(), ["aix", "darwin"]);
  assertEquals(everywhere.aix, CATALOG.ENETDOWN!.systems.aix);
  assertEquals(explain("ENETDOWN", { os: "linux" }).says, null);
});

test("explain() keeps apart what a page says and what a kernel does", () => {
  const { says, unlisted } = explain("ENOTDIR", { os: "linux" });
  assertEquals(says, null);
  assertEquals(unlisted, CATALOG.ENOTDIR!.unlisted!.linux!);
  const both = explain("EINVAL", { os: "openbsd" });
  assert(both.says !== null && both.unlisted !== null);
});

test("explain() goes by the number where two names share it", () => {
  const again = CATALOG.EAGAIN!;
  const block = CATALOG.EWOULDBLOCK!;
  const rows:
    readonly (readonly [ErrnoCode, Os, ErrnoCode[], string | null])[] = [
      ["EAGAIN", "linux", ["EWOULDBLOCK"], again.systems.linux!],
      ["EWOULDBLOCK", "linux", ["EAGAIN"], again.systems.linux!],
      ["EWOULDBLOCK", "freebsd", ["EAGAIN"], again.systems.freebsd!],
      ["EAGAIN", "illumos", ["EWOULDBLOCK"], block.systems.illumos!],
      ["EWOULDBLOCK", "aix", ["EAGAIN"], block.systems.aix!],
      ["EAGAIN", "aix", ["EWOULDBLOCK"], block.systems.aix!],
      [
        "ENOTSUP",
        "linux",
        ["EOPNOTSUPP"],
        CATALOG.EOPNOTSUPP!.systems.linux!,
      ],
      ["EOPNOTSUPP", "linux", ["ENOTSUP"], CATALOG.EOPNOTSUPP!.systems.linux!],
      ["EOPNOTSUPP", "darwin", [], CATALOG.EOPNOTSUPP!.systems.darwin!],
    ];
  for (const [code, os, aliases, says] of rows) {
    const explanation = explain(code, { os });
    assertEquals(explanation.code, code);
    assertEquals(explanation.aliases, aliases, `${os} ${code}`);
    assertEquals(explanation.says, says, `${os} ${code}`);
    assertEquals(explanation.errno, ERRNOS[os][code]!);
  }
  assertEquals(
    explain("EAGAIN", { os: "linux" }).everywhere.illumos,
    block.systems.illumos,
  );
  assertEquals(explain("EAGAIN", { os: "linux" }).everywhere.netbsd, undefined);
});

test("explain() admits that no page knows an errno", () => {
  const explanation = explain("EXDEV", { os: "linux" });
  assertEquals(explanation.errno, 18);
  assertEquals(explanation.meaning, "Cross-device link");
  for (
    const field of [
      "says",
      "unlisted",
      "continues",
      "reusable",
      "retry",
    ] as const
  ) assertEquals(explanation[field], null);
  assertEquals(explanation.remedy, null);
  assertMatch(explanation.note!, /^No page of connect names it/);
});

test("explain() admits that a system lacks an errno", () => {
  const explanation = explain("ENOSR", { os: "openbsd" });
  assertEquals(explanation.errno, null);
  assertEquals(explanation.aliases, []);
  assertEquals(explanation.meaning, CATALOG.ENOSR!.meaning);
  assertMatch(`${explanation}`, /^ENOSR \(no errno of openbsd\): /);
});

test("explain() admits that nobody knows a number", () => {
  const error = errnoErrorFor(9999, { syscall: "connect" });
  const explanation = explain(error);
  assertEquals(explanation.code, "UNKNOWN");
  assertEquals(explanation.errno, 9999);
  assertEquals(explanation.retry, null);
  assertMatch(`${explanation}`, /^UNKNOWN \(9999 on \w+\): /);
  const other = SYSTEMS.find((os) => os !== currentAbi().os)!;
  assertEquals(explain(error, { os: other }).errno, null);
});

test("explain() says whether a deadline was the caller's or the kernel's", () => {
  const { errnos } = currentAbi();
  const kernel = explain(failure("ETIMEDOUT", "vsock:1:1"));
  assertEquals(kernel.meaning, CATALOG.ETIMEDOUT!.meaning);
  const deadline = explain(errnoErrorFor(errnos.ETIMEDOUT!, {
    syscall: "connect",
    timeoutKind: "deadline",
  }));
  assertEquals(deadline.errno, errnos.ETIMEDOUT!);
  assertMatch(deadline.meaning, /own timeout/);
  assertEquals([deadline.says, deadline.everywhere], [null, {}]);
  assertEquals(deadline.continues, true);
  assertEquals(kernel.continues, false);
  const name = explain(errnoErrorFor(errnos.ETIMEDOUT!, {
    syscall: "getaddrinfo",
    timeoutKind: "deadline",
  }));
  assertMatch(name.meaning, /lookup of the name/);
});

test("explain() refuses what is no errno and no system", () => {
  for (
    const code of ["ENOSUCHTHING", "UNKNOWN", "EAI_NOSUCH", "toString", ""]
  ) {
    assertThrows(() => explain(code as ErrnoCode), TypeError, `"${code}"`);
  }
  for (const os of ["windows", "toString", ""]) {
    const options = { os: os as Os };
    assertThrows(() => explain("EPERM", options), RangeError, `"${os}"`);
  }
});

test("explain() returns plain data that is a text where one is wanted", () => {
  const explanation = explain("ECONNREFUSED", { os: "linux" });
  assertEquals({ ...structuredClone(explanation) }, { ...explanation });
  assertEquals(Object.keys(explanation).includes("toString"), false);
  const lines = `${explanation}`.split("\n");
  assertEquals(
    lines[0],
    "ECONNREFUSED (111 on linux): The peer is there and nobody listens",
  );
  assertEquals(lines.slice(1).map((line) => line.split(":")[0]), [
    "  Manual",
    "  Next",
    "  Look",
    "  Note",
  ]);
});

test("ERRNOS has the same table as the system's own", () => {
  const { os, errnos } = currentAbi();
  assertEquals(ERRNOS[os], errnos);
});

// What was found ------------------------------------------------------------------

test("explain() finds the part of a path that is in the way", () => {
  using folder = tempFolder();
  const at = (name: string) => join(folder.path, name);
  using _bound = bound({ at: unix(at("bound")) });
  const left = at("left");
  listen({ at: unix(left) })[Symbol.dispose]();
  writeFileSync(at("file"), "");
  mkdirSync(at("folder"));
  symlinkSync("loop", at("loop"));
  symlinkSync("gone", at("dangling"));
  const rows: readonly (readonly [string, ErrnoCode, string])[] = [
    ["none", "ENOENT", `${at("none")} does not exist, ${folder.path} does`],
    ["none/deep/s", "ENOENT", `${at("none")} does not exist, `],
    ["dangling", "ENOENT", "is a symbolic link to gone, where nothing is"],
    ["file/s", "ENOTDIR", `${at("file")} is a file, not a directory`],
    ["loop", "ELOOP", `${at("loop")} is a symbolic link to loop, and `],
    ["loop/s", "ELOOP", `${at("loop")} is a symbolic link to loop, and `],
    ["file", "ECONNREFUSED", `${at("file")} is a file, not a socket`],
    ["folder", "ECONNREFUSED", `${at("folder")} is a directory, not a socket`],
    ["bound", "ECONNREFUSED", "and does not listen (/proc/net/unix)"],
    ["left", "ECONNREFUSED", `No open socket was bound to ${left} `],
  ];
  for (const [name, code, line] of rows) {
    const path = at(name);
    const error = refusal(() => connectSync({ transport: "unix", path }));
    assertEquals(error.code, code);
    const { evidence } = explain(error);
    assert(evidence.some((found) => found.includes(line)), `${evidence}`);
  }
}, { skip: onLinux });

test("explain() finds what a user may not do with a path", async () => {
  using locked = lockedSockets();
  const found = await inChild(
    {},
    ({ becomeNobody, connectSync, ErrnoError, explain }, paths) => {
      becomeNobody();
      return paths.map((path) => {
        try {
          connectSync({ transport: "unix", path });
        } catch (error) {
          if (error instanceof ErrnoError) return explain(error).evidence;
        }
        throw new Error("connected");
      });
    },
    locked.paths,
  );
  assertMatch(
    found[0]![0]!,
    /locked has the mode 0[0-7]+ and belongs to 0:0, this process is 65534:65534; connecting takes w$/,
  );
  assertMatch(
    found[1]![0]!,
    /closed has the mode 0700 and belongs to 0:0, .*; searching it takes x$/,
  );
}, { skip: needs(isRoot(), onLinux) });

test("explain() finds who listens on a port of this machine", () => {
  using nobody = bound();
  const { port } = nobody.address;
  const refused = explain(refusal(() => connectSync({ port })));
  assertEquals(refused.evidence, [
    `Nothing listens on TCP port ${port} of this machine (/proc/net/tcp)`,
  ]);
  const elsewhere = { hostname: "127.0.0.2", port };
  using _other = listen({ at: inet("127.0.0.2", port) });
  const other = explain(refusal(() => connectSync({ port })));
  assertStringIncludes(other.evidence[0]!, `but on ${elsewhere.hostname} `);

  using hole = blackHole();
  const error = refusal(() =>
    connectSync({ port: hole.address.port, timeout: 20 })
  );
  assertMatch(error.timeoutKind!, /deadline/);
  assertStringIncludes(
    explain(error).evidence.join("\n"),
    `A socket listens on port ${hole.address.port} here now, and 1 connections`,
  );
}, { skip: onLinux });

test("explain() finds the ephemeral ports, and how many are taken", () => {
  const { evidence } = explain(failure("EADDRNOTAVAIL", "127.0.0.1:9"));
  const text = evidence.join("\n");
  assertMatch(text, /hands out \d+ local ports, \d+ to \d+ \(\/proc\/sys/);
  assertMatch(text, /\d+ TCP sockets are in use and \d+ in TIME_WAIT/);
  const foreign = refusal(() =>
    connectSync({ port: 9, localAddress: "192.0.2.1" })
  );
  assertEquals(foreign.syscall, "bind");
  assertEquals(
    explain(foreign).evidence[0],
    "192.0.2.1 is no address of this machine (/proc/net/fib_trie)",
  );
  const full = explain(failure("EAGAIN", "unix:/run/s")).evidence;
  assertMatch(full.join("\n"), /^A listener's queue holds \d+ connections/);
}, { skip: onLinux });

test(
  "explain() finds how many descriptors there are when none is left",
  async () => {
    const found = await inChild(
      { command: ["prlimit", "--nofile=100:100"] },
      ({ ErrnoError, explain, Socket }) => {
        const sockets: Disposable[] = [];
        try {
          for (;;) sockets.push(Socket.open());
        } catch (error) {
          if (!(error instanceof ErrnoError)) throw error;
          const none = explain(error).evidence;
          for (const socket of sockets.splice(10)) socket[Symbol.dispose]();
          return [error.code, none, explain(error).evidence] as const;
        }
      },
    );
    const [code, none, some] = found!;
    assertEquals(code, "EMFILE");
    assertMatch(
      none.join("\n"),
      /^Not even \/proc\/self\/limits could be opened/,
    );
    assertMatch(some[0]!, /may have 100 descriptors open, .* that to 100 /);
    assertMatch(some[1]!, /^It has \d+ open \(\/proc\/self\/fd\)$/);
    assertMatch(
      explain(failure("ENFILE")).evidence.join("\n"),
      /^The system has \d+ files open and may have \d+ \(/,
    );
  },
  { skip: needs(hasCommand("prlimit"), onLinux) },
);

const ROUTES = `
ip link add va type veth peer name vb
ip link set va up
ip link set vb up
ip addr add 10.77.0.1/24 dev va
ip addr add fd77::1/64 dev va nodad
ip route add 10.78.0.0/16 via 10.77.0.9
ip route add unreachable 10.1.0.0/16
ip route add prohibit 10.3.0.0/16
ip -6 route add unreachable fd01::/64
`;

const ROUTED: readonly (readonly [string, ErrnoCode, string])[] = [
  [
    "10.1.0.1",
    "EHOSTUNREACH",
    "The route to 10.1.0.1 is of the type unreachable (/proc/net/fib_trie)",
  ],
  [
    "10.3.0.1",
    "EACCES",
    "The route to 10.3.0.1 is of the type prohibit (/proc/net/fib_trie)",
  ],
  [
    "10.5.0.1",
    "ENETUNREACH",
    "No route leads to 10.5.0.1 (/proc/net/fib_trie)",
  ],
  [
    "10.77.0.255",
    "ENETUNREACH",
    "10.77.0.255 is a broadcast address (/proc/net/fib_trie)",
  ],
  [
    "fd01::1",
    "EHOSTUNREACH",
    "The route to fd01::1 is of the type reject (/proc/net/ipv6_route)",
  ],
  [
    "fd05::1",
    "ENETUNREACH",
    "No route leads to fd05::1 (/proc/net/ipv6_route)",
  ],
];

test("explain() finds the route to an address, and its kind", async () => {
  const [found, ways] = await inChild(
    { namespace: ROUTES },
    ({ connectSync, ErrnoError, explain }, hosts) => {
      const look = (options: { hostname: string; timeout?: number }) => {
        try {
          connectSync({ ...options, port: 80 });
        } catch (error) {
          if (!(error instanceof ErrnoError)) throw error;
          return [error.code, ...explain(error).evidence];
        }
        throw new Error("connected");
      };
      return [
        hosts.map((hostname) => look({ hostname })),
        ["10.78.0.1", "fd77::2"].map((hostname) =>
          look({ hostname, timeout: 20 })
        ),
      ];
    },
    ROUTED.map(([host]) => host),
  );
  assertEquals<unknown>(
    found.map(([code, route]) => [code, route]),
    ROUTED.map(([, code, line]) => [code, line]),
  );
  const gateway = "The route to 10.78.0.1 goes through va by the gateway " +
    "10.77.0.9 (/proc/net/fib_trie)";
  const link = "The route to fd77::2 goes through va (/proc/net/ipv6_route)";
  assertEquals(ways[0]!.slice(0, 2), ["ETIMEDOUT", gateway]);
  assertEquals(ways[1]!.slice(0, 2), ["ETIMEDOUT", link]);
  assert(
    ways[0]!.includes("10.77.0.9 does not reply to ARP on va (/proc/net/arp)"),
    `${ways[0]}`,
  );
}, { skip: needs(canIsolate(), onLinux, canIpv6()) });

test("explain() finds each address's evidence where several failed", () => {
  const code = "ENETUNREACH";
  const errors = ["10.0.0.1:9", "[::1]:9"].map((address) =>
    failure(code, address)
  );
  errors.push(failure("ECONNREFUSED", "127.0.0.1:1"));
  const all = errnoErrorFor(currentAbi().errnos[code]!, {
    syscall: "connect",
    address: "name:9",
    errors,
  });
  const { evidence } = explain(all);
  assert(evidence.some((line) => line.includes("10.0.0.1")), `${evidence}`);
  assert(evidence.some((line) => line.includes("::1")), `${evidence}`);
  assert(!evidence.some((line) => line.includes("127.0.0.1")), `${evidence}`);
}, { skip: onLinux });

test("explain() says who sent an ICMP message", () => {
  const rows: readonly (readonly [number, number, string, string])[] = [
    [
      3,
      1,
      "192.0.2.1",
      "192.0.2.1 sent ICMP type 3 code 1: host unreachable",
    ],
    [
      11,
      0,
      "::ffff:192.0.2.1",
      "::ffff:192.0.2.1 sent ICMP type 11 code 0: time to live exceeded on the way",
    ],
    [
      1,
      1,
      "2001:db8::1",
      "2001:db8::1 sent ICMPv6 type 1 code 1: communication prohibited by an administrator",
    ],
    [3, 77, "192.0.2.1", "192.0.2.1 sent ICMP type 3 code 77"],
  ];
  for (const [type, code, from, line] of rows) {
    const error = new Errno.EHOSTUNREACH({ syscall: "connect" });
    const facts = { ...error.toJSON(), icmp: { type, code, from } };
    assertEquals(explain(facts).evidence, [line]);
  }
});

const PEER = "203.0.113.7:80";
const PEER6 = "[2001:db8::7]:80";

/** Facts of a failure that an ICMP error has ended. */
function rejected(
  code: ErrnoCode,
  address: string,
  icmp: { type: number; code: number; from: string } | undefined,
  more: Partial<ErrnoFacts> = {},
): ErrnoFacts {
  const facts = new Errno[code]({ syscall: "connect", address, icmp }).toJSON();
  return { ...facts, ...more };
}

for (
  const [name, facts, meaning, remedy] of [
    [
      "a router that refuses in the peer's place",
      rejected("ECONNREFUSED", PEER, { type: 3, code: 3, from: "192.0.2.1" }),
      /^192\.0\.2\.1 ended the attempt, not the peer: port unreachable$/,
      /Whether the peer is there is not known/,
    ],
    [
      "a router that speaks to an IPv6 socket",
      rejected("ECONNREFUSED", PEER6, {
        type: 1,
        code: 4,
        from: "2001:db8::1",
      }),
      /^2001:db8::1 ended the attempt, not the peer: port unreachable$/,
      /Whether the peer is there/,
    ],
    [
      "a firewall of the peer",
      rejected("ECONNREFUSED", PEER, { type: 3, code: 3, from: "203.0.113.7" }),
      /^A firewall rejects the connection, and 203\.0\.113\.7 itself says so/,
      /refused by a reset/,
    ],
    [
      "a firewall of a peer with a mapped address",
      rejected("EHOSTUNREACH", "[::ffff:203.0.113.7]:80", {
        type: 3,
        code: 13,
        from: "203.0.113.7",
      }),
      /itself says so: communication prohibited by an administrator$/,
      /nft list ruleset/,
    ],
    [
      "a datagram that nobody receives",
      rejected(
        "ECONNREFUSED",
        PEER,
        { type: 3, code: 3, from: "203.0.113.7" },
        { syscall: "recvfrom" },
      ),
      /^The peer is there and nothing receives at the port$/,
      /ss -lunp/,
    ],
    [
      "an ICMP error of an unknown sender",
      rejected("ECONNREFUSED", PEER6, undefined, { soft: true }),
      /^An ICMP error ended the attempt, and no reset of the peer/,
      /A firewall rejects/,
    ],
    [
      "a message that has no words",
      rejected("EPROTO", PEER, { type: 99, code: 1, from: "192.0.2.1" }),
      /^192\.0\.2\.1 ended the attempt, not the peer: ICMP type 99 code 1$/,
      /traceroute/,
    ],
    [
      "a deadline after an ICMP error",
      rejected(
        "EHOSTUNREACH",
        PEER,
        { type: 3, code: 1, from: "192.0.2.1" },
        { soft: true, timeoutKind: "deadline" },
      ),
      /^No connection in time, after 192\.0\.2\.1 had sent ICMP type 3 code 1: host unreachable$/,
      /192\.0\.2\.1/,
    ],
    [
      "a deadline after a soft error of an unknown sender",
      rejected("ETIMEDOUT", PEER, undefined, {
        soft: true,
        timeoutKind: "deadline",
      }),
      /^No connection in time, after an error that did not end it/,
      /traceroute/,
    ],
    [
      "a Unix socket without a listener",
      rejected("ECONNREFUSED", "unix:/run/x", undefined),
      /^No process listens on the socket at this path$/,
      /ss -xl/,
    ],
    [
      "a plain refusal",
      rejected("ECONNREFUSED", PEER, undefined),
      /^The peer is there and nobody listens$/,
      /ss -ltnp/,
    ],
  ] as const
) {
  test(`explain() knows ${name}`, () => {
    const explanation = explain(facts, { os: "linux" });
    assertMatch(explanation.meaning, meaning);
    assertMatch(explanation.remedy!, remedy);
    assertEquals(explanation.code, facts.code);
    // What a page says of the errno in general would speak against it.
    if (facts.icmp !== undefined) assertEquals(explanation.says, null);
    assertEquals(explanation.continues, facts.soft === true);
    assertEquals(
      explanation.note?.includes("softErrors") ?? false,
      facts.soft === true && facts.timeoutKind === undefined,
    );
    assertStringIncludes(`${explanation}`, explanation.meaning);
  });
}

test("explain() goes by the address that failed most tellingly, and names the others", () => {
  const silent = new Errno.ETIMEDOUT({
    syscall: "connect",
    address: PEER,
    timeoutKind: "deadline",
  });
  const routeless = new Errno.ENETUNREACH({
    syscall: "connect",
    address: PEER6,
  });
  const facts = new Errno.ETIMEDOUT({
    syscall: "connect",
    address: "name.test:80",
    timeoutKind: "deadline",
    errors: [routeless, silent],
  }).toJSON();
  const { meaning, note } = explain(facts);
  assertMatch(meaning, /own timeout/);
  assertMatch(note!, /\[2001:db8::7\]:80 by ENETUNREACH/);
  assertMatch(note!, /this machine has no IPv6: look at the IPv4 address/);
  // As soon as the one that counts has no route, no such advice.
  const both = new Errno.ECONNREFUSED({
    syscall: "connect",
    address: "name.test:80",
    errors: [
      new Errno.ECONNREFUSED({ syscall: "connect", address: PEER }),
      silent,
    ],
  }).toJSON();
  assertEquals(explain(both).meaning, CATALOG.ECONNREFUSED!.meaning);
  assertMatch(explain(both).note!, /203\.0\.113\.7:80 by ETIMEDOUT\. /);
});

test("explain() takes a result that has the error of its failure", () => {
  const error = new Errno.EMFILE({ syscall: "socket" });
  const result = { state: "error", code: "EMFILE", target: "x", error };
  assertEquals(explain(result), explain(error));
  assertThrows(
    () => explain({ error: new Error("Requires net access") }),
    TypeError,
    "Cannot explain Error: Requires net access: it has no code",
  );
  const bare = Object.create(null);
  for (
    const nothing of [{ error: null }, { error: undefined }, null, 7, bare, {
      error: bare,
    }]
  ) {
    assertThrows(
      () => explain(nothing as unknown as ErrnoFacts),
      TypeError,
      "Cannot explain ",
    );
  }
});

test("explain() refuses an option that it does not know", () => {
  const options = { system: "darwin" } as unknown as { os: "darwin" };
  assertThrows(
    () => explain("EPERM", options),
    TypeError,
    'Cannot use options with system: "darwin"',
  );
});

test("explain() knows why a name does not resolve", () => {
  const unknown = new LookupError("no.test", "EAI_NONAME", -2);
  const explanation = explain(unknown, { os: "linux" });
  assertEquals([explanation.code, explanation.errno], ["EAI_NONAME", -2]);
  assertMatch(explanation.meaning, /knows the name$/);
  assertEquals(explanation.retry, "never");
  assertEquals(explain("EAI_NONAME", { os: "darwin" }).errno, 8);
  assertEquals(explain({ error: unknown }).meaning, explanation.meaning);
  assertEquals(explain("EAI_AGAIN").retry, "later");
  // No other try is worth it where the server has failed for good.
  assertEquals(explain("EAI_FAIL").retry, "never");
  assertMatch(`${explain("EAI_OVERFLOW")}`, /^EAI_OVERFLOW \(.+\): /);
  const odd = explain(new LookupError("x", "UNKNOWN", 4321));
  assertEquals([odd.code, odd.errno, odd.retry], ["UNKNOWN", 4321, null]);
});

test("explain() takes the failures of node:dns by their own names", () => {
  for (
    const [code, expected] of [
      ["ENOTFOUND", "EAI_NONAME"],
      ["ENODATA", "EAI_NODATA"],
      ["EAI_AGAIN", "EAI_AGAIN"],
      // A host that is named beside an errno does not make it one of a lookup.
      ["ECONNREFUSED", "ECONNREFUSED"],
    ] as const
  ) {
    const error = Object.assign(new Error(), { code, hostname: "no.test" });
    const explanation = explain({ error }, { os: "linux" });
    assertEquals(explanation.code, expected);
    assertEquals(
      explanation.meaning,
      explain(expected, { os: "linux" }).meaning,
    );
  }
});

test("explain() refuses a foreign error without showing its escapes", () => {
  const error = assertThrows(
    () => explain({ error: new Error("a\x1b[31m\nb") }),
    TypeError,
  );
  assertStringIncludes(error.message, "a\\x1b[31m\\x0ab");
});

for (
  const [hostname, host] of [
    ["http://h:80", "h"],
    ["https://user@h.test/x?y", "h.test"],
    ["tcp://[::1]:80", "::1"],
    ["[::1]", "::1"],
    ["h:80", "h"],
    ["h/24", "h"],
  ] as const
) {
  test(`explain() says that ${hostname} is more than a name`, () => {
    const { remedy } = explain(new LookupError(hostname, "EAI_NONAME", -2));
    assertMatch(
      remedy!,
      new RegExp(`the name or address in it is ${host}\\.$`),
    );
  });
}

test("explain() collects no evidence where nothing happened", () => {
  const path = "unix:/no/such/path";
  const made = new Errno.ENOENT({ syscall: "connect", address: path });
  assertEquals(explain(made).evidence, []);
  const real = failure("ENOENT", path);
  assertEquals(explain(real).evidence.length, 1);
  assertEquals(explain("ENOENT").evidence, []);
  assertEquals(explain(real.toJSON()).evidence, []);
  const other = SYSTEMS.find((os) => os !== currentAbi().os)!;
  assertEquals(explain(real, { os: other }).evidence, []);
});

test("explain() asks for no file where not all may be read", () => {
  const error = failure("ENOENT", "unix:/no/such/path");
  const system = libc();
  const permissions = { ...system.permissions, files: () => false };
  using _ = useLibc({ ...system, permissions });
  assertEquals(explain(error).evidence, []);
});

test("evidenceFor() never throws, whatever an address looks like", () => {
  const addresses = [
    undefined,
    "",
    "unspec",
    "unix:",
    "unix:@abstract",
    "unix:relative",
    "unix:///a//b/",
    "unix:/a\\x01",
    "unix:/" + "a".repeat(300),
    "vsock:2:80",
    "raw:00",
    "name:80",
    "999.1.1.1:80",
    "1.2.3.4:99999999",
    "[::g]:1",
    "[::1%77]:1",
    "[::ffff:1.2.3.4]:1",
  ];
  for (const code of Object.keys(CATALOG) as ErrnoCode[]) {
    for (const address of addresses) {
      const lines = evidenceFor(failure(code, address));
      assert(lines.length <= 8);
      for (const line of lines) assertMatch(line, /^[^\n]+$/);
    }
  }
});

// Printed and sent ------------------------------------------------------------------

const PRINTERS = {
  "util.inspect": inspect,
  ...("Deno" in globalThis ? { "Deno.inspect": Deno.inspect } : {}),
};

for (const [name, print] of Object.entries(PRINTERS)) {
  test(`${name}() prints what is known of an ErrnoError and no more`, () => {
    using nobody = bound();
    const { port } = nobody.address;
    const error = refusal(() => connectSync({ port }));
    const text = print(error).replaceAll("'", '"');
    assertStringIncludes(text, 'code: "ECONNREFUSED"');
    assertStringIncludes(text, 'syscall: "connect"');
    assertStringIncludes(text, `address: "127.0.0.1:${port}"`);
    assertMatch(text, /elapsed: [\d.]+/);
    assert(!text.includes("undefined"), text);
    assertEquals(error.message.split("\n").length, 1);
    const both = new Errno.ETIMEDOUT({
      syscall: "connect",
      address: "name:80",
      localAddress: "127.0.0.1:5",
      errors: [error, new Errno.ENETUNREACH({ syscall: "connect" })],
    });
    const whole = print(both).replaceAll("'", '"');
    assertStringIncludes(whole, 'timeoutKind: "kernel"');
    assertStringIncludes(whole, 'localAddress: "127.0.0.1:5"');
    assertStringIncludes(whole, "Errno.ENETUNREACH: Cannot connect");
    assertStringIncludes(whole, `address: "127.0.0.1:${port}"`);
  });
}

test("an error's hint is what explain() begins with", () => {
  for (const code of Object.keys(HINTS)) {
    if (code === "DEADLINE") continue;
    const error = code.startsWith("EAI_")
      ? new LookupError("x.test", code as EaiCode, 1)
      : new Errno[code as ErrnoCode]({ syscall: "connect" });
    const { remedy } = explain(error as ErrnoError);
    assertEquals(error.hint, HINTS[code as keyof typeof HINTS]);
    assert(remedy!.startsWith(error.hint!), code);
    assert(!error.hint!.includes("\n"), code);
  }
  const late = new Errno.ETIMEDOUT({
    syscall: "connect",
    timeoutKind: "deadline",
  });
  assertEquals(explain(late).remedy, late.hint);
});

test("an error's hint says nothing that its own reason contradicts", () => {
  const icmp = { type: 3, code: 3, from: "192.0.2.1" };
  const known = { syscall: "connect", address: "192.0.2.7:80" };
  assertStringIncludes(
    new Errno.ECONNREFUSED({ ...known, icmp }).hint!,
    "ICMP",
  );
  const other = new Errno.EINVAL({ syscall: "setsockopt" });
  assert(!("hint" in other));
  assert(!("hint" in new Errno.ETIMEDOUT({ syscall: "recvfrom" })));
  assert(!("hint" in new Errno.ECONNREFUSED(known).toJSON()));
});

test("ErrnoError#toJSON() is plain data with what is known and no more", () => {
  const one = new Errno.ECONNREFUSED({ syscall: "connect", address: "a:1" });
  assertEquals<unknown>(one.toJSON(), {
    name: "Errno.ECONNREFUSED",
    message: "Cannot connect to a:1: connection refused (ECONNREFUSED)",
    code: "ECONNREFUSED",
    errno: one.errno,
    syscall: "connect",
    address: "a:1",
    port: 1,
  });
  const all = new Errno.ECONNREFUSED({ syscall: "connect", errors: [one] });
  assertEquals(all.toJSON().errors, [one.toJSON()]);
  assertEquals(JSON.parse(JSON.stringify(all)), all.toJSON());
  assertEquals(structuredClone(all.toJSON()), all.toJSON());
});

test("LookupError#toJSON() is plain data with what is known and no more", () => {
  const one = new LookupError("a.test", "EAI_NONAME", -2, new Error("other"));
  const facts = {
    name: "LookupError",
    message: one.message,
    code: "EAI_NONAME",
    errno: -2,
    syscall: "getaddrinfo",
    hostname: "a.test",
  };
  assertEquals<unknown>(one.toJSON(), facts);
  assertEquals(JSON.parse(JSON.stringify({ one })), { one: facts });
  assertEquals(structuredClone(one.toJSON()), one.toJSON());
  assertEquals(explain(one.toJSON()).code, "EAI_NONAME");
  const cause = new Errno.EIO({ syscall: "getaddrinfo" });
  const another = new LookupError("a.test", "EAI_SYSTEM", -11, cause);
  assertEquals(another.toJSON().cause, cause.toJSON());
});

test("a worker's error keeps code and errno as plain data, and loses them as an error", async () => {
  using nobody = bound();
  const { port } = nobody.address;
  const { error, facts } = await inChild(
    {},
    async (_api, mod, port) => {
      const { Worker } = process.getBuiltinModule("node:worker_threads");
      const script = `
        const { parentPort, workerData } = process.getBuiltinModule(
          "node:worker_threads",
        );
        import(${JSON.stringify(mod)}).then(({ connectSync }) => {
          try {
            connectSync({ port: workerData });
          } catch (error) {
            parentPort.postMessage({ error, facts: error.toJSON() });
          }
        });`;
      const worker = new Worker(script, { eval: true, workerData: port });
      const { error, facts } = await new Promise<
        { error: Error; facts: ErrnoFacts }
      >((resolve, reject) => {
        worker.once("message", resolve).once("error", reject);
      });
      await worker.terminate();
      const { message } = error;
      return { error: { message, hasCode: "code" in error }, facts };
    },
    import.meta.resolve("../mod.ts"),
    port,
  );
  assertEquals(facts.code, "ECONNREFUSED");
  assertEquals(facts.errno, currentAbi().errnos.ECONNREFUSED!);
  assertEquals(facts.address, `127.0.0.1:${port}`);
  assertEquals(error, { message: facts.message, hasCode: false });
  assertEquals(explain(facts).meaning, CATALOG.ECONNREFUSED!.meaning);
});

test("./errno needs no permission, and opens nothing", async () => {
  const url = JSON.stringify(import.meta.resolve("../src/errno.ts"));
  const { stdout, stderr, success } = await new Deno.Command(runtime, {
    args: [
      "eval",
      "--no-config",
      `const { Errno, errnoName, ERRNOS, explain, isErrno } = await import(${url});
       const error = new Errno.ENOENT({ syscall: "connect", address: "unix:/x" });
       const { evidence, says } = explain(error);
       const granted = ["ffi", "net", "read"].map((name) =>
         Deno.permissions.querySync({ name }).state);
       console.log(JSON.stringify([evidence, typeof says, isErrno(error, "ENOENT"),
         errnoName(1), ERRNOS.aix.EINPROGRESS]));`,
    ],
  }).output();
  const text = new TextDecoder();
  assert(success, text.decode(stderr));
  assertEquals(JSON.parse(text.decode(stdout)), [
    [],
    "string",
    true,
    "EPERM",
    55,
  ]);
}, { skip: on("deno") });

test("explain() leaves out what may not be read, and asks nobody", async () => {
  const script = `
    const { connectSync, explain } = await import(${
    JSON.stringify(import.meta.resolve("../mod.ts"))
  });
    function evidence(options) {
      try {
        connectSync(options);
      } catch (error) {
        return explain(error).evidence;
      }
    }
    const found = [evidence({ port: Number(Deno.args[0]) })];
    if (Deno.args[1] === "path") {
      found.push(evidence({ transport: "unix", path: "/no/such/path" }));
    }
    const { state } = Deno.permissions.querySync({ name: "read" });
    console.log(JSON.stringify([found, state]));`;
  using folder = tempFolder();
  using nobody = bound();
  const file = join(folder.path, "script.ts");
  writeFileSync(file, script);
  async function run(flags: string[], ...args: string[]): Promise<unknown> {
    const { stdout, stderr, success } = await new Deno.Command(
      runtime,
      {
        args: ["run", "--no-config", ...flags]
          .concat(file, `${nobody.address.port}`, ...args),
      },
    ).output();
    const text = new TextDecoder();
    assert(success, text.decode(stderr));
    return JSON.parse(text.decode(stdout));
  }
  const calls = ["--allow-ffi", "--allow-net"];
  const files = [...calls, "--allow-read", "--allow-write"];
  const missing = "/no does not exist, / does";
  assertEquals(await run(calls), [[[]], "prompt"]);
  assertEquals(await run(files, "path"), [[[], []], "granted"]);
  const [[port, path]] = await run(["-A"], "path") as [string[][]];
  assertMatch(`${port}`, /^Nothing listens on TCP port/);
  assertEquals(path, [missing]);
}, { skip: needs(on("deno"), onLinux) });
