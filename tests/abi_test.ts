import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Abi, EaiCode, ErrnoCode, Os } from "../ffi/abi.ts";
import { abiFor, hostAbi, hostPlatform } from "../ffi/systems.ts";
import { SIGNATURES } from "../ffi/contract.ts";
import { compiled, compiler } from "./_emulation.ts";
import { hasCommand, needs, test } from "./_harness.ts";

/** Every pair that has a table, as a runtime spells it. */
const PAIRS: readonly (readonly [platform: string, arch: string])[] = [
  ["linux", "x64"],
  ["linux", "arm64"],
  ["darwin", "x64"],
  ["darwin", "arm64"],
  ["freebsd", "x64"],
  ["freebsd", "arm64"],
  ["openbsd", "x64"],
  ["openbsd", "arm64"],
  ["netbsd", "x64"],
  ["netbsd", "arm64"],
  ["sunos", "x64"],
  ["aix", "ppc64"],
];

const TABLES: readonly Abi[] = PAIRS.map(([platform, arch]) =>
  abiFor(platform, arch)
);

/** Names that may share a number, the one that names it first. */
const ALIASES: readonly (readonly [ErrnoCode, ErrnoCode])[] = [
  ["EAGAIN", "EWOULDBLOCK"],
  ["EOPNOTSUPP", "ENOTSUP"],
  ["EDEADLK", "EDEADLOCK"],
  ["EDESTADDRREQ", "EDESTADDREQ"],
  ["EEXIST", "ENOTEMPTY"],
  ["ERESTART", "ECLONEME"],
];

/** What no system's connect(2), or what leads to it, does without. */
const COMMON_ERRNOS: readonly ErrnoCode[] = [
  "EACCES",
  "EADDRINUSE",
  "EADDRNOTAVAIL",
  "EAFNOSUPPORT",
  "EAGAIN",
  "EALREADY",
  "EBADF",
  "ECANCELED",
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EDESTADDRREQ",
  "EFAULT",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EINPROGRESS",
  "EINTR",
  "EINVAL",
  "EIO",
  "EISCONN",
  "ELOOP",
  "EMFILE",
  "EMSGSIZE",
  "ENAMETOOLONG",
  "ENETDOWN",
  "ENETRESET",
  "ENETUNREACH",
  "ENFILE",
  "ENOBUFS",
  "ENOENT",
  "ENOMEM",
  "ENOPROTOOPT",
  "ENOSPC",
  "ENOTCONN",
  "ENOTDIR",
  "ENOTSOCK",
  "EOPNOTSUPP",
  "EPERM",
  "EPIPE",
  "EPROTONOSUPPORT",
  "EPROTOTYPE",
  "EROFS",
  "ETIMEDOUT",
  "EWOULDBLOCK",
];

const COMMON_EAIS: readonly EaiCode[] = [
  "EAI_AGAIN",
  "EAI_BADFLAGS",
  "EAI_FAIL",
  "EAI_FAMILY",
  "EAI_MEMORY",
  "EAI_NONAME",
  "EAI_OVERFLOW",
  "EAI_SERVICE",
  "EAI_SOCKTYPE",
  "EAI_SYSTEM",
];

const STATES: readonly string[] = [
  "CLOSE",
  "CLOSE_WAIT",
  "CLOSING",
  "ESTABLISHED",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "LAST_ACK",
  "LISTEN",
  "SYN_RECV",
  "SYN_SENT",
  "TIME_WAIT",
];

for (const abi of TABLES) {
  const name = `the table of ${abi.os} ${abi.arch}`;

  test(`${name} gives every errno one meaning`, () => {
    const names = new Map<number, ErrnoCode>();
    for (const [code, number] of entries(abi.errnos)) {
      assert(
        Number.isInteger(number) && number > 0 && number < 256,
        `${code} is ${number}`,
      );
      const first = names.get(number);
      if (first === undefined) names.set(number, code);
      else {
        assert(
          ALIASES.some(([a, b]) => a === first && b === code),
          `${number} is ${first} and ${code}`,
        );
      }
    }
    for (const code of COMMON_ERRNOS) assert(code in abi.errnos, code);
  });

  test(`${name} gives every failure of getaddrinfo one number`, () => {
    const numbers = Object.values(abi.eais);
    assertEquals(new Set(numbers).size, numbers.length);
    assertEquals(new Set(numbers.map(Math.sign)).size, 1);
    assert(!numbers.includes(0));
    for (const code of COMMON_EAIS) assert(code in abi.eais, code);
  });

  test(`${name} keeps apart what one argument can carry`, () => {
    const groups = [
      /^AF_/,
      /^SOCK_(STREAM|DGRAM|RAW|SEQPACKET)$/,
      /^IPPROTO_/,
      /^F_/,
      /^POLL/,
      /^SHUT_/,
      /^MSG_/,
      /^SO_/,
      /^IP_/,
      /^IPV6_/,
      /^TCP_/,
    ];
    for (const group of groups) {
      const numbers = constants(abi).filter(([key]) => group.test(key))
        .map(([, value]) => value);
      if (group.test("TCP_") && abi.tcpInfo !== null) {
        numbers.push(abi.tcpInfo.option);
      }
      assertEquals(new Set(numbers).size, numbers.length, String(group));
    }
    const bits = constants(abi).filter(([key]) =>
      /^(POLL|MSG_|O_|FD_|AI_|SOCK_NONBLOCK|SOCK_CLOEXEC)/.test(key)
    );
    for (const [key, value] of bits) {
      assert(value > 0 && (value & (value - 1)) === 0, `${key} is ${value}`);
    }
  });

  test(`${name} has both flags of socket(2) or neither`, () => {
    assertEquals(abi.SOCK_NONBLOCK === null, abi.SOCK_CLOEXEC === null);
    if (abi.SOCK_NONBLOCK === null || abi.SOCK_CLOEXEC === null) return;
    const types = abi.SOCK_STREAM | abi.SOCK_DGRAM | abi.SOCK_RAW |
      abi.SOCK_SEQPACKET;
    assertEquals(types & (abi.SOCK_NONBLOCK | abi.SOCK_CLOEXEC), 0);
    assert(abi.SOCK_NONBLOCK !== abi.SOCK_CLOEXEC);
  });

  test(`${name} can keep SIGPIPE away`, () => {
    assert(abi.MSG_NOSIGNAL !== null || abi.SO_NOSIGPIPE !== null);
  });

  test(`${name} lays fields side by side within their structs`, () => {
    for (const { struct, size, fields } of layouts(abi)) {
      let end = 0;
      for (const [offset, width] of fields.toSorted(([a], [b]) => a - b)) {
        assert(offset >= end, `${struct}: ${offset} overlaps`);
        assertEquals(offset % Math.min(width, 8) % 4, 0, `${struct} ${offset}`);
        end = offset + width;
      }
      assert(end <= size, `${struct} ends at ${size}, its fields at ${end}`);
    }
    const { len, family, familySize } = abi.sockaddr;
    assertEquals(family + familySize, 2);
    assertEquals(len, familySize === 1 ? 0 : null);
    assertEquals(abi.addrinfo.addr % 8, 0);
    assertEquals(abi.addrinfo.next % 8, 0);
  });

  test(`${name} names libraries and renames only what is called`, () => {
    assert(abi.libraries.length > 0);
    const paths = abi.libraries.map((library) => library.startsWith("/"));
    assertEquals(paths, paths.toSorted(), "names come before paths");
    const called = new Set(
      Object.entries(SIGNATURES).map(([key, signature]) =>
        "of" in signature ? signature.of : key
      ),
    );
    for (const [symbol, exported] of Object.entries(abi.symbols)) {
      assert(called.has(symbol as keyof typeof SIGNATURES), symbol);
      assert(exported !== symbol, symbol);
    }
    assert(abi.errnoLocation.length > 0);
  });

  test(`${name} calls the states of TCP what the others call them`, () => {
    if (abi.tcpInfo === null) return;
    const { states } = abi.tcpInfo;
    assertEquals(new Set(states).size, states.length);
    for (const state of STATES) assert(states.includes(state), state);
  });
}

test("a system's numbers do not depend on the processor", () => {
  for (const platform of ["linux", "darwin", "freebsd", "openbsd", "netbsd"]) {
    assertEquals(
      portable(abiFor(platform, "arm64")),
      portable(abiFor(platform, "x64")),
      platform,
    );
  }
});

/** The facts that one system has unlike its neighbours, by hand, so that a slip in a table shows. */
const GOLDEN: readonly {
  readonly platform: string;
  readonly arch: string;
  readonly facts: Readonly<Partial<Abi>>;
  readonly errnos: Readonly<Partial<Record<ErrnoCode, number>>>;
}[] = [
  {
    platform: "linux",
    arch: "x64",
    facts: {
      AF_INET6: 10,
      SOL_SOCKET: 1,
      SO_ERROR: 4,
      SOCK_STREAM: 1,
      SOCK_NONBLOCK: 2048,
      nfdsSize: 8,
      sockaddr: { len: null, family: 0, familySize: 2 },
      abstractUnix: true,
      variadicOnStack: false,
    },
    errnos: {
      EAGAIN: 11,
      EALREADY: 114,
      ECONNREFUSED: 111,
      EHOSTUNREACH: 113,
      EINPROGRESS: 115,
      EISCONN: 106,
      ETIMEDOUT: 110,
    },
  },
  {
    platform: "darwin",
    arch: "arm64",
    facts: {
      AF_INET6: 30,
      AF_VSOCK: 40,
      SOCK_NONBLOCK: null,
      SOCK_CLOEXEC: null,
      SO_NOSIGPIPE: 0x1022,
      SO_LINGER: 0x1080,
      TCP_KEEPIDLE: 0x10,
      IP_BOUND_IF: 25,
      IPV6_BOUND_IF: 125,
      IPV6_TCLASS: 36,
      nfdsSize: 4,
      errnoLocation: "__error",
      variadicOnStack: true,
      sockaddrVm: { size: 12, port: 4, cid: 8 },
    },
    errnos: {
      EAGAIN: 35,
      EALREADY: 37,
      ECONNREFUSED: 61,
      EHOSTUNREACH: 65,
      EINPROGRESS: 36,
      EISCONN: 56,
      ENOTSUP: 45,
      EOPNOTSUPP: 102,
      ETIMEDOUT: 60,
    },
  },
  {
    platform: "darwin",
    arch: "x64",
    facts: { symbols: {}, variadicOnStack: false },
    errnos: {},
  },
  {
    platform: "freebsd",
    arch: "x64",
    facts: {
      AF_INET6: 28,
      SOCK_NONBLOCK: 0x20000000,
      SOCK_CLOEXEC: 0x10000000,
      MSG_NOSIGNAL: 0x20000,
      SO_PROTOCOL: 0x1016,
      SO_DOMAIN: 0x1019,
      TCP_KEEPIDLE: 256,
      errnoLocation: "__error",
      variadicOnStack: false,
    },
    errnos: {
      EAGAIN: 35,
      EALREADY: 37,
      ECANCELED: 85,
      ECAPMODE: 94,
      ECONNREFUSED: 61,
      EINPROGRESS: 36,
      EISCONN: 56,
      ENOTCAPABLE: 93,
      ENOTSUP: 45,
      EOPNOTSUPP: 45,
      ETIMEDOUT: 60,
    },
  },
  {
    platform: "openbsd",
    arch: "x64",
    facts: {
      AF_INET6: 24,
      SOCK_NONBLOCK: 0x4000,
      SOCK_CLOEXEC: 0x8000,
      SO_NOSIGPIPE: null,
      MSG_NOSIGNAL: 0x400,
      SO_PROTOCOL: 0x1025,
      TCP_KEEPIDLE: null,
      TCP_KEEPINTVL: null,
      TCP_KEEPCNT: null,
      libraries: ["libc.so"],
      errnoLocation: "__errno",
      symbols: {},
    },
    errnos: {
      EALREADY: 37,
      ECANCELED: 88,
      ECONNREFUSED: 61,
      EINPROGRESS: 36,
      EIPSEC: 82,
      EISCONN: 56,
      ENOTSUP: 91,
      EOPNOTSUPP: 45,
      ETIMEDOUT: 60,
    },
  },
  {
    platform: "netbsd",
    arch: "x64",
    facts: {
      AF_INET6: 24,
      SOCK_NONBLOCK: 0x20000000,
      SO_NOSIGPIPE: 0x0800,
      MSG_NOSIGNAL: 0x0400,
      TCP_KEEPIDLE: 3,
      errnoLocation: "__errno",
      symbols: { socket: "__socket30" },
    },
    errnos: {
      EALREADY: 37,
      ECANCELED: 87,
      ECONNREFUSED: 61,
      EINPROGRESS: 36,
      EISCONN: 56,
      ENOTSUP: 86,
      EOWNERDEAD: 97,
      ETIMEDOUT: 60,
    },
  },
  {
    platform: "illumos",
    arch: "x64",
    facts: {
      AF_INET6: 26,
      SOCK_STREAM: 2,
      SOCK_DGRAM: 1,
      SOCK_RAW: 4,
      SOCK_SEQPACKET: 6,
      SOCK_NONBLOCK: 0x100000,
      SOCK_CLOEXEC: 0x080000,
      O_NONBLOCK: 0x80,
      SO_REUSEPORT: null,
      SO_PROTOCOL: 0x1009,
      IP_BOUND_IF: 0x41,
      IPV6_V6ONLY: 0x27,
      AI_NUMERICHOST: 0x20,
      nfdsSize: 8,
      errnoLocation: "___errno",
      sockaddr: { len: null, family: 0, familySize: 2 },
      sockaddrIn6: { size: 32, port: 2, flowInfo: 4, addr: 8, scopeId: 24 },
      sockaddrUn: { path: 2, pathSize: 108 },
      symbols: {
        bind: "__xnet_bind",
        connect: "__xnet_connect",
        getaddrinfo: "__xnet_getaddrinfo",
        getsockopt: "__xnet_getsockopt",
        sendto: "__xnet_sendto",
        socket: "__xnet_socket",
      },
    },
    errnos: {
      EADDRINUSE: 125,
      EAGAIN: 11,
      EALREADY: 149,
      ECONNREFUSED: 146,
      EHOSTUNREACH: 148,
      EINPROGRESS: 150,
      EISCONN: 133,
      ENOTSUP: 48,
      EOPNOTSUPP: 122,
      ETIMEDOUT: 145,
      EWOULDBLOCK: 11,
    },
  },
  {
    platform: "aix",
    arch: "ppc64",
    facts: {
      littleEndian: false,
      AF_INET6: 24,
      SOCK_NONBLOCK: null,
      SOCK_CLOEXEC: null,
      POLLIN: 1,
      POLLOUT: 2,
      POLLERR: 0x4000,
      POLLHUP: 0x2000,
      POLLNVAL: 0x8000,
      MSG_DONTWAIT: 0x4000,
      MSG_NOSIGNAL: 0x100,
      TCP_KEEPIDLE: 0x11,
      IPV6_V6ONLY: 0x25,
      IPV6_TCLASS: 0x2b,
      nfdsSize: 4,
      errnoLocation: "_Errno",
      libraries: ["libc.a(shr_64.o)", "/usr/lib/libc.a(shr_64.o)"],
      sockaddr: { len: 0, family: 1, familySize: 1 },
      sockaddrUn: { path: 2, pathSize: 1023 },
      tcpInfo: null,
    },
    errnos: {
      EAGAIN: 11,
      EALREADY: 56,
      ECONNREFUSED: 79,
      EEXIST: 17,
      EHOSTUNREACH: 81,
      EINPROGRESS: 55,
      EISCONN: 75,
      ENOTEMPTY: 17,
      ENOTSUP: 124,
      EOPNOTSUPP: 64,
      ETIMEDOUT: 78,
      EWOULDBLOCK: 11,
    },
  },
];

for (const { platform, arch, facts, errnos } of GOLDEN) {
  test(`the table of ${platform} ${arch} states what is peculiar to it`, () => {
    const abi = abiFor(platform, arch);
    for (const [key, value] of Object.entries(facts)) {
      assertEquals(abi[key as keyof Abi], value, key);
    }
    for (const [code, number] of entries(errnos)) {
      assertEquals(abi.errnos[code], number, code);
    }
  });
}

test("the tables agree where the systems share an origin", () => {
  for (const abi of TABLES) {
    const bsd = abi.os !== "linux";
    assertEquals(abi.SOL_SOCKET, bsd ? 0xffff : 1, abi.os);
    assertEquals(abi.SO_ERROR, bsd ? 0x1007 : 4, abi.os);
    assertEquals(abi.SO_TYPE, bsd ? 0x1008 : 3, abi.os);
    const long = abi.os === "linux" || abi.os === "illumos";
    assertEquals(abi.nfdsSize, long ? 8 : 4, abi.os);
    assertEquals(abi.sockaddr.len, long ? null : 0, abi.os);
    const negative = abi.os === "linux" || abi.os === "openbsd";
    assertEquals((abi.eais.EAI_NONAME ?? 0) < 0, negative, abi.os);
    assertEquals(abi.addrinfo.addr, negative ? 24 : 32, abi.os);
    const { size, addrlenSize } = abi.addrinfo;
    assertEquals([size, addrlenSize], abi.os === "aix" ? [56, 8] : [48, 4]);
    assertEquals(abi.tcpInfo?.rttUnit ?? 1, abi.os === "darwin" ? 1000 : 1);
  }
});

test("abiFor() finds a system by each of its names", () => {
  assertEquals(abiFor("illumos", "x64"), abiFor("sunos", "x86_64"));
  assertEquals(abiFor("darwin", "aarch64"), abiFor("darwin", "arm64"));
});

test("abiFor() names both the system and the processor that no table describes", () => {
  const rows = [
    ["plan9", "x64"],
    ["linux", "mips"],
    ["aix", "x64"],
    ["toString", "constructor"],
  ] as const;
  for (const [platform, arch] of rows) {
    const error = assertThrows(() => abiFor(platform, arch), Error);
    assertStringIncludes(
      error.message,
      `Cannot call the C library on ${platform} ${arch}: no table describes this system, only linux, `,
    );
  }
});

// What follows asks this system's own headers.

/** What a header calls a fact that the table has under the name it goes by elsewhere. */
const SPELLINGS: Readonly<Partial<Record<Os, Record<string, string>>>> = {
  darwin: { SO_LINGER: "SO_LINGER_SEC", TCP_KEEPIDLE: "TCP_KEEPALIVE" },
  illumos: { SO_PROTOCOL: "SO_PROTOTYPE" },
  aix: { MSG_DONTWAIT: "MSG_NONBLOCK" },
};

/** Younger than the oldest headers that are still about. */
const YOUNG: ReadonlySet<string> = new Set([
  "IPPROTO_MPTCP", // Linux 5.6, glibc 2.32
  "IP_LOCAL_PORT_RANGE", // Linux 6.3
  "ENOTCAPABLE", // macOS 26
  "TCP_MD5SIG", // illumos, 2024
  "TCP_QUICKACK",
]);

/** One fact and the C expression that must have its value. */
interface Fact {
  readonly name: string;
  readonly expression: string;
  readonly value: number;
}

const LIBC_HEADERS: readonly string[] = [
  "stddef.h",
  "sys/types.h",
  "sys/socket.h",
  "sys/un.h",
  "netinet/in.h",
  "netinet/tcp.h",
  "netdb.h",
  "poll.h",
  "fcntl.h",
  "sys/resource.h",
  "errno.h",
];

/** The kernel's own headers, for what the C library's have not caught up with. They do not mix. */
const LINUX_HEADERS: readonly string[] = [
  "linux/types.h",
  "asm/socket.h",
  "linux/in.h",
  "linux/in6.h",
  "linux/tcp.h",
];

const host = hostAbi();
const skip = needs(
  host === null ? "needs a system that a table describes" : null,
  hasCommand(compiler[0]!),
);

/** What glibc alone has, of which musl's headers know nothing. */
const GLIBC = /^GAI_NOWAIT$|\bgaicb\b/;

test("the table of this system says what its headers say", () => {
  assert(host !== null);
  const facts = [...constantFacts(host), ...layoutFacts(host)];
  const found = ask(facts, LIBC_HEADERS, ownHeaders(host));
  if (host.os === "linux") {
    const rest = facts.filter(({ name }) => !found.has(name));
    for (const [name, value] of ask(rest, LINUX_HEADERS)) {
      found.set(name, value);
    }
  }
  const expected = new Map<string, number>();
  for (const { name, value } of facts) {
    const mayLack = YOUNG.has(name) || GLIBC.test(name);
    if (found.has(name) || !mayLack) expected.set(name, value);
  }
  assertEquals(found, expected);
}, { skip });

test("the table of this system names every errno that its headers name", () => {
  assert(host !== null);
  const macros = inTemporaryFolder((folder) => {
    const source = join(folder, "errno.c");
    writeFileSync(source, "#include <errno.h>\n");
    return outputOf(compile(["-dM", "-E", source]));
  });
  const names = new Set(
    [...macros.matchAll(/^#define (E[A-Z0-9]+) \S/gm)].map(([, name]) => name),
  );
  names.delete("ELAST"); // the largest number there is, not an error
  for (const name of Object.keys(host.errnos)) {
    if (!names.has(name) && YOUNG.has(name)) names.add(name);
  }
  assertEquals(Object.keys(host.errnos).toSorted(), [...names].toSorted());
}, { skip });

test(
  "the table of this system leads to the C library that C programs get",
  () => {
    assert(host !== null);
    const tries = host.libraries.map((library) => `tell("${library}");`);
    const { errnoLocation } = host;
    const output = execute(`
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <stdio.h>
    extern int *${errnoLocation}(void);
    static void tell(const char *name) {
      void *library = dlopen(name, RTLD_LAZY);
      void *symbol = library == 0 ? 0 : dlsym(library, "${errnoLocation}");
      if (symbol != 0) puts(symbol == (void *)&${errnoLocation} ? "same" : "other");
    }
    int main(void) {
      puts(${errnoLocation}() == &errno ? "errno" : "not errno");
      ${tries.join("\n")}
      return 0;
    }
  `);
    const [first, ...rest] = output.trim().split("\n");
    assertEquals(first, "errno");
    assert(rest.includes("same"), `none of ${host.libraries.join(", ")} opens`);
  },
  { skip },
);

test("the table of this system fits the byte order that it runs with", () => {
  assert(host !== null);
  const first = new Uint8Array(new Uint16Array([1]).buffer)[0];
  assertEquals(host.littleEndian, first === 1);
  assertEquals(host, abiFor(hostPlatform().platform, hostPlatform().arch));
}, { skip: host === null ? "needs a system that a table describes" : null });

function constantFacts(abi: Abi): Fact[] {
  const spellings = SPELLINGS[abi.os] ?? {};
  const info = abi.os === "darwin" ? "TCP_CONNECTION_INFO" : "TCP_INFO";
  const named = [
    ...constants(abi),
    ...entries(abi.eais),
    ...entries(abi.errnos),
    ...(abi.tcpInfo === null ? [] : [[info, abi.tcpInfo.option] as const]),
    ...epollConstants(abi),
    ...gaicbConstants(abi),
    ...errorQueueConstants(abi),
  ];
  return named.map(([name, value]) => ({
    name,
    expression: spellings[name] ?? name,
    value,
  }));
}

function epollConstants({ epoll }: Abi): [string, number][] {
  if (epoll === null) return [];
  const { event: _, ...constants } = epoll;
  return Object.entries(constants);
}

function gaicbConstants({ gaicb }: Abi): [string, number][] {
  if (gaicb === null) return [];
  const { size: _, name: __, request: ___, result: ____, ...constants } = gaicb;
  return Object.entries(constants);
}

function errorQueueConstants({ errorQueue }: Abi): [string, number][] {
  if (errorQueue === null) return [];
  const { msghdr: _, cmsghdr: __, sockExtendedErr: ___, ...constants } =
    errorQueue;
  return Object.entries(constants);
}

function layoutFacts(abi: Abi): Fact[] {
  const facts: Fact[] = [];
  function size(type: string, value: number) {
    facts.push({
      name: `sizeof ${type}`,
      expression: `sizeof(${type})`,
      value,
    });
  }
  function field(struct: string, member: string, value: number | null) {
    if (value === null) return;
    facts.push({
      name: `${struct}.${member}`,
      expression: `offsetof(struct ${struct}, ${member})`,
      value,
    });
  }
  function width(struct: string, member: string, value: number) {
    facts.push({
      name: `sizeof ${struct}.${member}`,
      expression: `sizeof(((struct ${struct} *)0)->${member})`,
      value,
    });
  }

  size("nfds_t", abi.nfdsSize);
  field("sockaddr", "sa_len", abi.sockaddr.len);
  field("sockaddr", "sa_family", abi.sockaddr.family);
  width("sockaddr", "sa_family", abi.sockaddr.familySize);
  size("struct sockaddr_in", abi.sockaddrIn.size);
  field("sockaddr_in", "sin_port", abi.sockaddrIn.port);
  field("sockaddr_in", "sin_addr", abi.sockaddrIn.addr);
  size("struct sockaddr_in6", abi.sockaddrIn6.size);
  field("sockaddr_in6", "sin6_port", abi.sockaddrIn6.port);
  field("sockaddr_in6", "sin6_flowinfo", abi.sockaddrIn6.flowInfo);
  field("sockaddr_in6", "sin6_addr", abi.sockaddrIn6.addr);
  field("sockaddr_in6", "sin6_scope_id", abi.sockaddrIn6.scopeId);
  field("sockaddr_un", "sun_path", abi.sockaddrUn.path);
  width("sockaddr_un", "sun_path", abi.sockaddrUn.pathSize);
  if (abi.sockaddrVm !== null) {
    size("struct sockaddr_vm", abi.sockaddrVm.size);
    field("sockaddr_vm", "svm_port", abi.sockaddrVm.port);
    field("sockaddr_vm", "svm_cid", abi.sockaddrVm.cid);
  }
  size("struct pollfd", abi.pollfd.size);
  field("pollfd", "fd", abi.pollfd.fd);
  field("pollfd", "events", abi.pollfd.events);
  field("pollfd", "revents", abi.pollfd.revents);
  size("struct addrinfo", abi.addrinfo.size);
  field("addrinfo", "ai_flags", abi.addrinfo.flags);
  field("addrinfo", "ai_family", abi.addrinfo.family);
  field("addrinfo", "ai_socktype", abi.addrinfo.socktype);
  field("addrinfo", "ai_protocol", abi.addrinfo.protocol);
  field("addrinfo", "ai_addrlen", abi.addrinfo.addrlen);
  width("addrinfo", "ai_addrlen", abi.addrinfo.addrlenSize);
  field("addrinfo", "ai_addr", abi.addrinfo.addr);
  field("addrinfo", "ai_next", abi.addrinfo.next);
  if (abi.gaicb !== null) {
    size("struct gaicb", abi.gaicb.size);
    field("gaicb", "ar_name", abi.gaicb.name);
    field("gaicb", "ar_request", abi.gaicb.request);
    field("gaicb", "ar_result", abi.gaicb.result);
  }
  if (abi.epoll !== null) {
    const { event } = abi.epoll;
    size("struct epoll_event", event.size);
    field("epoll_event", "events", event.events);
    field("epoll_event", "data", event.data);
  }
  if (abi.errorQueue !== null) {
    const { msghdr, cmsghdr, sockExtendedErr } = abi.errorQueue;
    size("struct msghdr", msghdr.size);
    field("msghdr", "msg_iov", msghdr.iov);
    field("msghdr", "msg_iovlen", msghdr.iovlen);
    size("struct iovec", msghdr.vectorSize);
    field("msghdr", "msg_control", msghdr.control);
    field("msghdr", "msg_controllen", msghdr.controllen);
    field("msghdr", "msg_flags", msghdr.flags);
    size("struct cmsghdr", cmsghdr.size);
    field("cmsghdr", "cmsg_len", cmsghdr.len);
    field("cmsghdr", "cmsg_level", cmsghdr.level);
    field("cmsghdr", "cmsg_type", cmsghdr.type);
    const data = { expression: "CMSG_LEN(0)", value: cmsghdr.data };
    facts.push({ name: "data of a cmsghdr", ...data });
    size("struct sock_extended_err", sockExtendedErr.size);
    field("sock_extended_err", "ee_origin", sockExtendedErr.origin);
    field("sock_extended_err", "ee_type", sockExtendedErr.type);
    field("sock_extended_err", "ee_code", sockExtendedErr.code);
  }
  if (abi.tcpInfo === null) return facts;

  const darwin = abi.os === "darwin";
  const linux = abi.os === "linux";
  const struct = darwin ? "tcp_connection_info" : "tcp_info";
  const retransmitted = darwin
    ? "tcpi_txretransmitpackets"
    : linux
    ? "tcpi_total_retrans"
    : "tcpi_snd_rexmitpack";
  field(struct, "tcpi_state", abi.tcpInfo.state);
  field(struct, "tcpi_retransmits", abi.tcpInfo.retransmits);
  field(struct, darwin ? "tcpi_srtt" : "tcpi_rtt", abi.tcpInfo.rtt);
  field(struct, "tcpi_rttvar", abi.tcpInfo.rttvar);
  field(struct, retransmitted, abi.tcpInfo.totalRetrans);
  if (linux) {
    // The struct grows with the kernel, and the states have names in C.
    abi.tcpInfo.states.forEach((state, value) => {
      if (state === "UNKNOWN" || state === "NEW_SYN_RECV") return; // the kernel's own
      facts.push({ name: `state ${state}`, expression: `TCP_${state}`, value });
    });
  } else {
    size(`struct ${struct}`, abi.tcpInfo.size);
  }
  return facts;
}

function ownHeaders(abi: Abi): string[] {
  const headers = abi.epoll === null ? [] : ["sys/epoll.h", "sys/eventfd.h"];
  if (abi.mptcp !== null) headers.push("linux/mptcp.h");
  if (abi.errorQueue !== null) headers.push("linux/errqueue.h");
  if (abi.sockaddrVm === null) return headers;
  return [
    ...headers,
    abi.os === "linux" ? "linux/vm_sockets.h" : "sys/vsock.h",
  ];
}

/** What a C program prints of those facts that the headers know, by name. */
function ask(
  facts: readonly Fact[],
  ...headers: readonly (readonly string[])[]
): Map<string, number> {
  const lines = facts.map(({ name, expression }) => {
    const line = `printf("%lld %s\\n", (long long)(${expression}), "${name}");`;
    // glibc alone has the structure, and this with it.
    if (expression.includes("struct gaicb")) {
      return `#ifdef GAI_NOWAIT\n${line}\n#endif`;
    }
    return name === expression || /^\w+$/.test(expression) && /^\w+$/.test(name)
      ? `#ifdef ${expression}\n${line}\n#endif`
      : line;
  });
  const output = execute(`
    #define _GNU_SOURCE
    #include <stdio.h>
    ${headers.flat().map((header) => `#include <${header}>`).join("\n")}
    int main(void) {
      ${lines.join("\n")}
      return 0;
    }
  `);
  return new Map(
    [...output.matchAll(/^(-?\d+) (.+)$/gm)].map(([, value, name]) => [
      name ?? "",
      Number(value),
    ]),
  );
}

/** Compiles a C program, runs it and returns what it prints. */
function execute(program: string): string {
  return inTemporaryFolder((folder) => {
    const source = join(folder, "probe.c");
    const binary = join(folder, "probe");
    writeFileSync(source, program.replaceAll(/^ +/gm, ""));
    // Libraries that have dlopen inside have an empty libdl, and those that have no libdl do not need it.
    const target = ["-w", "-o", binary, source];
    if (compile([...target, "-ldl"]).status !== 0) outputOf(compile(target));
    const [command, ...args] = compiled(binary);
    return run(command, args);
  });
}

function compile(args: readonly string[]): SpawnSyncReturns<string> {
  const [command, ...flags] = compiler;
  return spawnSync(command!, [...args, ...flags], { encoding: "utf8" });
}

function run(command: string, args: readonly string[]): string {
  return outputOf(spawnSync(command, args, { encoding: "utf8" }));
}

function outputOf(
  { status, stdout, stderr, error }: SpawnSyncReturns<string>,
): string {
  if (error !== undefined) throw error;
  assertEquals(status, 0, stderr);
  return stdout;
}

function inTemporaryFolder<T>(fn: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "abi-"));
  try {
    return fn(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The numbers that stand under their C names, without those that the system lacks. */
function constants(abi: Abi): [name: string, value: number][] {
  return Object.entries(abi).filter((entry): entry is [string, number] =>
    /^[A-Z]/.test(entry[0]) && entry[1] !== null
  );
}

/** Each struct with its fields as offset and width. */
function layouts(abi: Abi): {
  struct: string;
  size: number;
  fields: (readonly [offset: number, width: number])[];
}[] {
  const { sockaddr, sockaddrIn, sockaddrIn6, sockaddrVm } = abi;
  const { pollfd, addrinfo, tcpInfo } = abi;
  const head: (readonly [number, number])[] = [
    [sockaddr.family, sockaddr.familySize],
  ];
  if (sockaddr.len !== null) head.push([sockaddr.len, 1]);
  const list = [
    {
      struct: "sockaddr_in",
      size: sockaddrIn.size,
      fields: [...head, [sockaddrIn.port, 2], [sockaddrIn.addr, 4]] as const,
    },
    {
      struct: "sockaddr_in6",
      size: sockaddrIn6.size,
      fields: [
        ...head,
        [sockaddrIn6.port, 2],
        [sockaddrIn6.flowInfo, 4],
        [sockaddrIn6.addr, 16],
        [sockaddrIn6.scopeId, 4],
      ] as const,
    },
    {
      struct: "sockaddr_un",
      size: abi.sockaddrUn.path + abi.sockaddrUn.pathSize,
      fields: [...head] as const,
    },
    {
      struct: "pollfd",
      size: pollfd.size,
      fields: [
        [pollfd.fd, 4],
        [pollfd.events, 2],
        [pollfd.revents, 2],
      ] as const,
    },
    {
      struct: "addrinfo",
      size: addrinfo.size,
      fields: [
        [addrinfo.flags, 4],
        [addrinfo.family, 4],
        [addrinfo.socktype, 4],
        [addrinfo.protocol, 4],
        [addrinfo.addrlen, addrinfo.addrlenSize],
        [addrinfo.addr, 8],
        [addrinfo.next, 8],
      ] as const,
    },
  ].map((entry) => ({ ...entry, fields: [...entry.fields] }));
  if (sockaddrVm !== null) {
    list.push({
      struct: "sockaddr_vm",
      size: sockaddrVm.size,
      fields: [...head, [sockaddrVm.port, 4], [sockaddrVm.cid, 4]],
    });
  }
  if (tcpInfo !== null) {
    const { size, state, retransmits, rtt, rttvar, totalRetrans } = tcpInfo;
    const fields: (readonly [number, number])[] = [
      [state, 1],
      [rtt, 4],
      [rttvar, 4],
    ];
    if (retransmits !== null) fields.push([retransmits, 1]);
    if (totalRetrans !== null) fields.push([totalRetrans, 4]);
    list.push({ struct: "tcp_info", size, fields });
  }
  return list;
}

/** A layout in place of the one that a processor decides. */
const EVENT = { size: 0, events: 0, data: 0 };

/** A table without what a processor decides. */
function portable(abi: Abi): Partial<Abi> {
  const { arch: _, libraries: __, variadicOnStack: ___, epoll, ...rest } = abi;
  return epoll === null ? rest : { ...rest, epoll: { ...epoll, event: EVENT } };
}

/** `Object.entries` that keeps the keys' type. */
function entries<K extends string>(
  record: Readonly<Partial<Record<K, number>>>,
): [K, number][] {
  return Object.entries(record) as [K, number][];
}
