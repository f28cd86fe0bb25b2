import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotInstanceOf,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Abi } from "../ffi/abi.ts";
import { abiFor, hostAbi } from "../ffi/systems.ts";
import { libc, useLibc } from "../ffi/libc.ts";
import { LOST_ERRNO } from "../ffi/contract.ts";
import {
  connectSync,
  type EaiCode,
  Errno,
  type ErrnoClass,
  type ErrnoCode,
  ErrnoError,
  type ErrnoErrorOf,
  errnoName,
  inet,
  isErrno,
  LookupError,
  NotSupportedError,
  Socket,
} from "../mod.ts";
import type * as Errors from "../src/errors/errors.ts";
import { errnoError, errnoErrorFor, nameOf } from "../src/errors/errors.ts";
import { PLAIN_RESOLVER } from "./_fixtures.ts";
import { test } from "./_harness.ts";

// Opened before the first test, which would otherwise seem to leak it.
libc();

const abi = hostAbi()!;

const TABLES: readonly Abi[] = [
  ["linux", "x64"],
  ["darwin", "arm64"],
  ["freebsd", "x64"],
  ["openbsd", "x64"],
  ["netbsd", "x64"],
  ["sunos", "x64"],
  ["aix", "ppc64"],
].map(([platform, arch]) => abiFor(platform!, arch!));

const CODES = Object.keys(Errno) as ErrnoCode[];
const CONTEXT = { syscall: "connect" } as const;

/** The codes of a table that name a number first, and those that come second. */
function split({ errnos }: Abi): [ErrnoCode[], ErrnoCode[]] {
  const first: ErrnoCode[] = [];
  const second: ErrnoCode[] = [];
  const seen = new Set<number>();
  for (const [code, number] of Object.entries(errnos)) {
    (seen.has(number) ? second : first).push(code as ErrnoCode);
    seen.add(number);
  }
  return [first, second];
}

/** Puts another system's table under the real C library. */
function onSystem(table: Abi): Disposable {
  return useLibc({ ...libc(), abi: table });
}

// Types: what stands here must compile, and what is marked must not --------------

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends
  (<T>() => T extends B ? 1 : 2) ? true : false;
function isTrue<T extends true>(_witness?: T): void {}

isTrue<Same<ErrnoError["code"], ErrnoCode | "UNKNOWN">>();
isTrue<Same<ErrnoErrorOf<"ECONNREFUSED">["code"], "ECONNREFUSED">>();
isTrue<Same<ErrnoErrorOf<"EAGAIN">["code"], "EAGAIN" | "EWOULDBLOCK">>();
isTrue<Same<ErrnoErrorOf<"EWOULDBLOCK">["code"], "EAGAIN" | "EWOULDBLOCK">>();
isTrue<Same<ErrnoErrorOf<"ENOTSUP">["code"], "ENOTSUP" | "EOPNOTSUPP">>();
isTrue<Same<typeof Errno.ECONNREFUSED, ErrnoClass<"ECONNREFUSED">>>();
isTrue<Same<keyof typeof Errno, ErrnoCode>>();

/** Never called: its body is what is tested. */
function _narrows(
  error: unknown,
  thrown: ErrnoError,
  other: ErrnoError,
): void {
  if (error instanceof Errno.ECONNREFUSED) {
    isTrue<Same<typeof error.code, "ECONNREFUSED">>();
    const both: ErrnoError & Error = error;
    const number: number = both.errno;
    void number;
    // @ts-expect-error: a refusal is no reset.
    void (error.code === "ECONNRESET");
  }
  if (error instanceof Errno.EWOULDBLOCK) {
    isTrue<Same<typeof error.code, "EAGAIN" | "EWOULDBLOCK">>();
  }
  if (isErrno(error, "ENETUNREACH")) {
    isTrue<Same<typeof error.code, "ENETUNREACH">>();
    const message: string = error.message;
    void message;
  }
  if (isErrno(error, "EOPNOTSUPP")) {
    isTrue<Same<typeof error.code, "ENOTSUP" | "EOPNOTSUPP">>();
  }
  // @ts-expect-error: no system has such an errno.
  isErrno(error, "ENOSUCHTHING");
  // @ts-expect-error: neither is there a class for it.
  void Errno.ENOSUCHTHING;
  // @ts-expect-error: the classes are not to be replaced.
  Errno.EINVAL = Errno.EPERM;
  // @ts-expect-error: nor is what an error says.
  thrown.code = "EINVAL";
  // @ts-expect-error: an error needs to know which call failed.
  new Errno.EINVAL({});
  // @ts-expect-error: no error has such a code.
  void (other.code === "ENOSUCHTHING");
}

// Classes ---------------------------------------------------------------------------

test("Errno has a class for every errno of every system, and no others", () => {
  const all = new Set(TABLES.flatMap(({ errnos }) => Object.keys(errnos)));
  assertEquals([...CODES].sort(), [...all].sort() as ErrnoCode[]);
  assert(CODES.length > 130);
});

test("Errno has one class for each errno that this system distinguishes", () => {
  const classes = new Map<unknown, ErrnoCode[]>();
  for (const code of CODES) {
    const same = classes.get(Errno[code]) ?? [];
    classes.set(Errno[code], [...same, code]);
  }
  for (const codes of classes.values()) {
    const numbers = new Set(codes.map((code) => abi.errnos[code] ?? code));
    assertEquals(numbers.size, 1, `${codes}`);
  }
  assertEquals(classes.size, CODES.length - split(abi)[1].length);
});

for (const [one, other] of [["EAGAIN", "EWOULDBLOCK"]] as const) {
  test(`Errno.${other} is Errno.${one} where both are one number`, () => {
    assertEquals(abi.errnos[one], abi.errnos[other]);
    assertStrictEquals<unknown>(Errno[one], Errno[other]);
    const error = new Errno[other](CONTEXT);
    assertEquals(error.code, one);
    assertInstanceOf(error, Errno[one]);
    assert(isErrno(error, one));
    assert(isErrno(error, other));
  });
}

test("Errno's classes make errors that say what they are", () => {
  const [first] = split(abi);
  for (const code of CODES) {
    const error = new Errno[code](CONTEXT);
    assertInstanceOf(error, Errno[code]);
    assertInstanceOf(error, ErrnoError);
    assertInstanceOf(error, Error);
    const number = abi.errnos[code];
    const own = nameOf(abi.errnos, number) ?? code;
    assertEquals(error.code, own);
    assertEquals(error.errno, number ?? 0);
    assertEquals(error.name, `Errno.${own}`);
    assertEquals(Errno[code].prototype.name, `Errno.${own}`);
    assertEquals((Errno[code] as unknown as { name: string }).name, own);
    assert(isErrno(error, code));
    if (first.includes(code)) assertEquals(own, code);
  }
});

test("Errno's classes are distinct for instanceof", () => {
  const refused = new Errno.ECONNREFUSED(CONTEXT);
  for (const code of CODES) {
    if (code === "ECONNREFUSED") continue;
    assertNotInstanceOf(refused, Errno[code] as never);
    assertNotInstanceOf(new Errno[code](CONTEXT), Errno.ECONNREFUSED as never);
  }
  assertNotInstanceOf(
    new ErrnoError("UNKNOWN", 9999, CONTEXT),
    Errno.ECONNREFUSED as never,
  );
});

test("ErrnoError keeps what is known of the failure", () => {
  const errors = [new Errno.ECONNREFUSED(CONTEXT)];
  const error = new Errno.ENETUNREACH({
    syscall: "connect",
    address: "127.0.0.1:9",
    localAddress: "127.0.0.2:10",
    elapsed: 1.5,
    errors,
  });
  assertEquals(error.syscall, "connect");
  assertEquals(error.address, "127.0.0.1:9");
  assertEquals(error.localAddress, "127.0.0.2:10");
  assertEquals(error.elapsed, 1.5);
  assertEquals(error.timeoutKind, undefined);
  assertStrictEquals(error.errors, errors);

  const soft = new Errno.ECONNREFUSED({ ...CONTEXT, soft: true });
  assertEquals([soft.soft, error.soft], [true, false]);
  assertEquals(Object.keys(soft).sort(), [
    "code",
    "errno",
    "hint",
    "soft",
    "syscall",
  ]);

  const bare = new Errno.ENETUNREACH(CONTEXT);
  assertEquals(bare.address, undefined);
  assertEquals(bare.localAddress, undefined);
  assertEquals(bare.elapsed, undefined);
  assertEquals(bare.errors, []);
});

for (
  const [address, port] of [
    ["127.0.0.1:9", 9],
    ["[::1%2]:65535", 65535],
    ["name.test:0", 0],
    ["vsock:2:4294967295", 4294967295],
    ["unix:/run/x:80", undefined],
    ["unix:@x:80", undefined],
    ["raw:0200", undefined],
    ["unspec", undefined],
    [undefined, undefined],
  ] as const
) {
  test(`ErrnoError has the port ${port} when its address is ${address}`, () => {
    const error = new Errno.ECONNREFUSED({ syscall: "connect", address });
    assertEquals(error.port, port);
    assertEquals("port" in error, port !== undefined);
    const given = new Errno.EPERM({ syscall: "connect", address, port: 7 });
    assertEquals(given.port, 7);
  });
}

for (
  const [text, shown] of [
    ["\x1b[31mred", "\\x1b[31mred"],
    ["a\nb\r\0c\x7f\x9b", "a\\x0ab\\x0d\\x00c\\x7f\\x9b"],
    ["\u202eevil\u2066\u200b\ufeff", "\\u202eevil\\u2066\\u200b\\ufeff"],
    ["\u2028\u2029\ud800", "\\u2028\\u2029\\ud800"],
    ["\u{e0041}", "\\u{e0041}"],
    ["b\u00fccher \u65e5\u672c", "b\u00fccher \u65e5\u672c"],
  ] as const
) {
  test(`a message shows ${JSON.stringify(shown)} for what a terminal would act on`, () => {
    const messages = [
      new Errno.EINVAL({ syscall: "connect", address: text }).message,
      new Errno.EINVAL({ syscall: "connect", subject: text }).message,
      new Errno.EINVAL({ syscall: "connect", detail: text }).message,
      new LookupError(text, "EAI_NONAME", -2).message,
      new NotSupportedError(text, "aix").message,
    ];
    for (const message of messages) assert(message.includes(shown), message);
    const error = new Errno.EINVAL({ syscall: "connect", address: text });
    assertEquals(error.address, text);
  });
}

test("a message shows an argument without what a terminal would act on", () => {
  const text = "\x1b[2J\u202egpj.exe\x7f";
  const error = assertThrows(() => inet(text, 80), SyntaxError);
  assertStringIncludes(
    error.message,
    '"\\u001b[2J\\u202egpj.exe\\x7f"',
  );
});

test("ErrnoError says that a failure gave no reason when its errno was lost", () => {
  const error = errnoErrorFor(LOST_ERRNO, CONTEXT);
  assertEquals([error.code, error.errno], ["UNKNOWN", LOST_ERRNO]);
  assertEquals(
    error.message,
    "Cannot connect: it failed and gave no reason (UNKNOWN)",
  );
});

test("ErrnoError has a stack that begins with its name and leads to the caller", () => {
  const { stack = "", message } = new Errno.ECONNREFUSED(CONTEXT);
  assert(stack.startsWith(`Errno.ECONNREFUSED: ${message}`), stack);
  assert(stack.includes("errors_test.ts"), stack);
  assertEquals(
    `${new Errno.EINVAL(CONTEXT)}`,
    "Errno.EINVAL: Cannot connect: invalid argument (EINVAL)",
  );
  const unknown = new ErrnoError("UNKNOWN", 9999, CONTEXT);
  assert(unknown.stack?.startsWith("ErrnoError: "), unknown.stack);
});

test("ErrnoError is thrown by calls with the caller in its stack", () => {
  using socket = Socket.open();
  socket.bind(inet("127.0.0.1", 0));
  const address = socket.localAddress;
  assert(address.family === "inet");
  const { hostname, port } = address;
  const error = assertThrows(() => connectSync({ hostname, port }), ErrnoError);
  assertInstanceOf(error, Errno.ECONNREFUSED);
  assertEquals(
    error.message,
    `Cannot connect to 127.0.0.1:${port}: connection refused (ECONNREFUSED)`,
  );
  assertEquals(error.errno, abi.errnos.ECONNREFUSED);
  assertEquals(error.address, `127.0.0.1:${port}`);
  assert(error.stack?.includes("errors_test.ts"), error.stack);
  assert((error.elapsed ?? -1) >= 0);
});

for (
  const [code, given, kind] of [
    ["ETIMEDOUT", undefined, "kernel"],
    ["ETIMEDOUT", "kernel", "kernel"],
    ["ETIMEDOUT", "deadline", "deadline"],
    ["ECONNREFUSED", undefined, undefined],
    ["ETIME", undefined, undefined],
  ] as const
) {
  test(`ErrnoError has timeoutKind ${kind} when it is ${code} and given ${given}`, () => {
    const error = new Errno[code]({ syscall: "connect", timeoutKind: given });
    assertEquals(error.timeoutKind, kind);
  });
}

// Messages --------------------------------------------------------------------------

const MESSAGES: readonly (readonly [
  syscall: string,
  address: string | undefined,
  message: string,
])[] = [
  ["connect", "127.0.0.1:9", "Cannot connect to 127.0.0.1:9: "],
  ["connect", "[::1]:9", "Cannot connect to [::1]:9: "],
  ["connect", "unix:/run/x", "Cannot connect to unix:/run/x: "],
  ["connect", undefined, "Cannot connect: "],
  ["bind", "127.0.0.1:80", "Cannot bind to 127.0.0.1:80: "],
  ["bind", undefined, "Cannot bind: "],
  ["close", "descriptor 9", "Cannot close descriptor 9: "],
  ["getpeername", undefined, "Cannot read the peer's address: "],
  ["getsockname", undefined, "Cannot read the local address: "],
  ["getsockopt", undefined, "Cannot read an option: "],
  ["getsockopt", "127.0.0.1:9", "Cannot read an option for 127.0.0.1:9: "],
  ["socket", "127.0.0.1:9", "Cannot open a socket for 127.0.0.1:9: "],
  ["setsockopt", "127.0.0.1:9", "Cannot set an option for 127.0.0.1:9: "],
  ["poll", undefined, "Cannot poll: "],
  ["poll", "127.0.0.1:9", "Cannot poll 127.0.0.1:9: "],
  ["epoll_ctl", "127.0.0.1:9", "Cannot watch 127.0.0.1:9: "],
  ["getaddrinfo", "name:80", "Cannot resolve name:80: "],
  ["recvfrom", undefined, "Cannot receive: "],
  ["sendto", "127.0.0.1:9", "Cannot send to 127.0.0.1:9: "],
  ["sendto", undefined, "Cannot send: "],
  ["setsockopt", undefined, "Cannot set an option: "],
  ["shutdown", undefined, "Cannot shut down: "],
  ["socket", undefined, "Cannot open a socket: "],
  ["mount", "/x", "Cannot mount /x: "],
  ["mount", undefined, "Cannot mount: "],
];

for (const [syscall, address, message] of MESSAGES) {
  test(`ErrnoError says what ${syscall} was about when the address is ${address}`, () => {
    const error = new Errno.EPERM({ syscall, address });
    assertEquals(error.message, `${message}operation not permitted (EPERM)`);
  });
}

test("ErrnoError says the detail instead of the errno's own words when there is one", () => {
  const error = new Errno.ETIMEDOUT({
    syscall: "connect",
    address: "127.0.0.1:9",
    detail: "no answer within 5 ms",
  });
  assertEquals(
    error.message,
    "Cannot connect to 127.0.0.1:9: no answer within 5 ms (ETIMEDOUT)",
  );
});

test("ErrnoError says whose ICMP error ended an attempt", () => {
  const icmp = { type: 3, code: 1, from: "192.0.2.1" };
  const context = { syscall: "connect", address: "10.0.0.1:80", icmp };
  assertEquals(
    new Errno.EHOSTUNREACH(context).message,
    "Cannot connect to 10.0.0.1:80: host unreachable according to 192.0.2.1 " +
      "(EHOSTUNREACH)",
  );
  const late = { ...context, detail: "no answer within 5 ms" };
  assertEquals(
    new Errno.ETIMEDOUT(late).message,
    "Cannot connect to 10.0.0.1:80: no answer within 5 ms (ETIMEDOUT)",
  );
});

test("ErrnoError has plain words for every errno", () => {
  const words = new Map<string, ErrnoCode>();
  for (const code of CODES) {
    const { message, code: own } = new Errno[code](CONTEXT);
    const [, phrase, name] = /^Cannot connect: (.+) \((E\w+)\)$/.exec(message)!;
    assertEquals(name, own);
    // A sentence's middle: no capital but in names, no period, nothing shouted.
    assertMatch(phrase!, /^[a-zA-Z][\w\-/' ]+\w$/);
    assert(!/^[A-Z][a-z]/.test(phrase!), phrase);
    words.set(phrase!, own as ErrnoCode);
  }
  assert(words.size > 120);
});

// Numbers ---------------------------------------------------------------------------

for (const number of [0, 134, 9999, 0x7fff_fffe]) {
  test(
    `ErrnoError has the code UNKNOWN and keeps the number when no table has ${number}`,
    () => {
      const error = errnoErrorFor(number, { syscall: "connect", address: "x" });
      assertStrictEquals<unknown>(error.constructor, ErrnoError);
      assertEquals(error.code, "UNKNOWN");
      assertEquals(error.errno, number);
      assertEquals(error.name, "ErrnoError");
      assertEquals(
        error.message,
        `Cannot connect to x: unknown error ${number} (UNKNOWN)`,
      );
      assertEquals(errnoName(number), "UNKNOWN");
      assert(CODES.every((code) => !isErrno(error, code)));
    },
    {
      skip: nameOf(abi.errnos, number) === undefined
        ? null
        : `this system knows errno ${number}`,
    },
  );
}

test("a call throws an ErrnoError that keeps a number that no table has", () => {
  using socket = Socket.open();
  const real = libc();
  using _ = useLibc({ ...real, connect: () => -9999 });
  using other = Socket.open();
  const error = assertThrows(
    () => other.connectSync(inet("127.0.0.1", 9)),
    ErrnoError,
  );
  assertEquals([error.code, error.errno], ["UNKNOWN", 9999]);
  assertEquals(other.tryConnect(inet("127.0.0.1", 9)), 9999);
  assertEquals(socket.closed, false);
});

for (const table of TABLES) {
  test(`errnoErrorFor() goes by the numbers of ${table.os} when its table is in force`, () => {
    using _ = onSystem(table);
    const [first, second] = split(table);
    for (const code of first) {
      const number = table.errnos[code]!;
      const error = errnoErrorFor(number, CONTEXT);
      assertEquals([error.code, error.errno], [code, number]);
      assertInstanceOf(error, Errno[code]);
      assertEquals(errnoName(number), code);
      assertEquals(errnoError(code, CONTEXT).code, code);
    }
    for (const code of second) {
      const number = table.errnos[code]!;
      const error = errnoErrorFor(number, CONTEXT);
      assertEquals(error.errno, number);
      assert(first.includes(error.code as ErrnoCode), error.code);
      assertEquals(errnoError(code, CONTEXT).errno, number);
    }
    assertEquals(errnoErrorFor(9999, CONTEXT).code, "UNKNOWN");
  });
}

const REFUSED:
  readonly (readonly [platform: string, arch: string, number: number])[] = [
    ["linux", "x64", 111],
    ["darwin", "arm64", 61],
    ["freebsd", "x64", 61],
    ["openbsd", "x64", 61],
    ["netbsd", "x64", 61],
    ["sunos", "x64", 146],
    ["aix", "ppc64", 79],
  ];

for (const [platform, arch, number] of REFUSED) {
  test(`connectSync() throws ECONNREFUSED when connect returns ${number} on ${platform}`, () => {
    const real = libc();
    using _ = useLibc({
      ...real,
      abi: { ...real.abi, errnos: abiFor(platform, arch).errnos },
      connect: () => -number,
    });
    using socket = Socket.open();
    const error = assertThrows(
      () => socket.connectSync(inet("127.0.0.1", 9)),
      ErrnoError,
    );
    assertInstanceOf(error, Errno.ECONNREFUSED);
    assertEquals([error.code, error.errno], ["ECONNREFUSED", number]);
    assertEquals(socket.tryConnect(inet("127.0.0.1", 9)), number);
  });
}

/** Makes the runtime report another system than this one. */
function elsewhere({ os, arch }: Abi): Disposable {
  const [owner, key, value] = "Deno" in globalThis
    ? [globalThis, "Deno", { ...Deno, build: { os, arch } }] as const
    : [globalThis, "process", { platform: os, arch }] as const;
  const own = Object.getOwnPropertyDescriptor(owner, key)!;
  Object.defineProperty(owner, key, { value, configurable: true });
  return {
    [Symbol.dispose]() {
      Object.defineProperty(owner, key, own);
    },
  };
}

for (const table of TABLES) {
  test(`Errno has one class for each number when it is loaded on ${table.os}`, async () => {
    // Another copy of the module, for classes are made once, by the system that they are first asked for on.
    const copy: typeof Errors = await import(
      `../src/errors/errors.ts?${table.os}`
    );
    using _ = elsewhere(table);
    const [first, second] = split(table);
    for (const code of first) {
      const error = new copy.Errno[code](CONTEXT);
      assertEquals([error.code, error.errno], [code, table.errnos[code]!]);
    }
    assertEquals(
      new Set(first.map((code) => copy.Errno[code])).size,
      first.length,
    );
    for (const code of second) {
      const name = nameOf(table.errnos, table.errnos[code])!;
      assertStrictEquals<unknown>(copy.Errno[code], copy.Errno[name]);
      assert(copy.isErrno(new copy.Errno[name](CONTEXT), code));
    }
    // What this system lacks has a class too, and no number.
    for (const code of CODES.filter((code) => !(code in table.errnos))) {
      assertEquals(new copy.Errno[code](CONTEXT).errno, 0);
    }
  });
}

test("errnoName() returns the first name of a number that has two", () => {
  assertEquals(errnoName(abi.errnos.EWOULDBLOCK!), "EAGAIN");
  for (const number of [-1, 0.5, NaN, Infinity, -abi.errnos.EPERM!]) {
    assertEquals(errnoName(number), "UNKNOWN");
  }
});

// isErrno ---------------------------------------------------------------------------

test("isErrno() leaves the errors of a runtime's own modules to their code", () => {
  const error = Object.assign(new Error("connect ECONNREFUSED"), {
    code: "ECONNREFUSED",
    errno: -111,
  });
  assert(!isErrno(error, "ECONNREFUSED"));
});

test("isErrno() recognizes the errors of another copy of the package", async () => {
  const copy: typeof Errors = await import("../src/errors/errors.ts?copy");
  const error = new copy.Errno.EWOULDBLOCK(CONTEXT);
  assertNotInstanceOf(error, ErrnoError);
  assert(isErrno(error, "EWOULDBLOCK"));
  assertEquals(
    isErrno(error, "EAGAIN"),
    abi.errnos.EAGAIN === abi.errnos.EWOULDBLOCK,
  );
  assert(!isErrno(error, "ECONNRESET"));
});

test("isErrno() returns false for what is no error or has another code", () => {
  const values: unknown[] = [
    null,
    undefined,
    "ECONNREFUSED",
    111,
    { code: "ECONNREFUSED" },
    new Error("ECONNREFUSED"),
    Object.assign(new Error("x"), { code: 111 }),
    Object.assign(new Error("x"), { code: "econnrefused" }),
    Object.assign(new Error("x"), { code: "toString" }),
    Object.assign(new Error("x"), { code: "__proto__" }),
    Object.assign(new Error("x"), { code: undefined }),
    new DOMException("aborted", "AbortError"),
    new LookupError("host", "EAI_NONAME", -2),
    new NotSupportedError("x", "y"),
  ];
  for (const value of values) assert(!isErrno(value, "ECONNREFUSED"));
});

test("structuredClone() keeps the message of an ErrnoError and drops the rest", () => {
  const error = new Errno.ECONNREFUSED({
    syscall: "connect",
    address: "127.0.0.1:9",
  });
  const clone: unknown = structuredClone(error);
  assertInstanceOf(clone, Error);
  assertNotInstanceOf(clone, ErrnoError);
  assertEquals(clone.message, error.message);
  assertEquals(clone.name, "Error");
  assert(!("code" in clone));
  assert(!isErrno(clone, "ECONNREFUSED"));
  // Its fields are plain data, which does go across.
  const whole = Object.assign(clone, structuredClone({ ...error }));
  assertEquals([whole.code, whole.address], ["ECONNREFUSED", "127.0.0.1:9"]);
});

test("JSON.stringify() writes what an ErrnoError holds", () => {
  const error = new Errno.ETIMEDOUT({ syscall: "connect", elapsed: 2 });
  const { code, errno, syscall, elapsed, timeoutKind } = JSON.parse(
    JSON.stringify(error),
  );
  assertEquals({ code, errno, syscall, elapsed, timeoutKind }, {
    code: "ETIMEDOUT",
    errno: abi.errnos.ETIMEDOUT!,
    syscall: "connect",
    elapsed: 2,
    timeoutKind: "kernel",
  });
});

// Failures without an errno -----------------------------------------------------------

test("LookupError names the host and the failure", () => {
  const cause = new Errno.EMFILE({ syscall: "getaddrinfo" });
  const error = new LookupError("example.test", "EAI_SYSTEM", -11, cause);
  assertInstanceOf(error, Error);
  assertNotInstanceOf(error, ErrnoError);
  assertEquals(error.name, "LookupError");
  assertEquals(error.code, "EAI_SYSTEM");
  assertEquals(error.errno, -11);
  assertEquals(error.syscall, "getaddrinfo");
  assertEquals(error.hostname, "example.test");
  assertStrictEquals(error.cause, cause);
  assertEquals(
    error.message,
    'Cannot resolve "example.test": system error (EAI_SYSTEM)',
  );
  assert(!("cause" in new LookupError("x", "EAI_NONAME", -2)));
});

test("LookupError has words for every code, and for a number that has none", () => {
  const codes = new Set(TABLES.flatMap(({ eais }) => Object.keys(eais)));
  for (const code of codes) {
    const { message } = new LookupError("x", code as EaiCode, 1);
    assertMatch(message, /^Cannot resolve "x": [a-z][^.]+ \(EAI_[A-Z]+\)$/);
    assert(!message.includes("undefined"));
  }
  assertEquals(
    new LookupError("x", "UNKNOWN", 99).message,
    'Cannot resolve "x": unknown error 99 (UNKNOWN)',
  );
});

for (
  const code of ["EAI_NONAME", "EAI_AGAIN", "EAI_FAIL", "EAI_SYSTEM"] as const
) {
  test(`connectSync() throws LookupError ${code} when getaddrinfo returns it`, () => {
    const number = abi.eais[code]!;
    using _ = useLibc({
      ...libc(),
      ...PLAIN_RESOLVER,
      getaddrinfo: () => [number, abi.errnos.EIO!],
    });
    const error = assertThrows(
      () => connectSync({ hostname: "localhost", port: 9 }),
      LookupError,
    );
    assertEquals([error.code, error.errno], [code, number]);
    assertEquals(error.hostname, "localhost");
    if (code === "EAI_SYSTEM") assertInstanceOf(error.cause, Errno.EIO);
    else assertEquals(error.cause, undefined);
  });
}

test("connectSync() throws LookupError UNKNOWN when getaddrinfo returns an unknown code", () => {
  using _ = useLibc({
    ...libc(),
    ...PLAIN_RESOLVER,
    getaddrinfo: () => [4321, 0],
  });
  const error = assertThrows(
    () => connectSync({ hostname: "localhost", port: 9 }),
    LookupError,
  );
  assertEquals([error.code, error.errno], ["UNKNOWN", 4321]);
});

test("NotSupportedError says what is missing, and where", () => {
  const error = new NotSupportedError("vsock addresses", "aix");
  assertInstanceOf(error, Error);
  assertNotInstanceOf(error, ErrnoError);
  assertEquals(error.name, "NotSupportedError");
  assertEquals([error.feature, error.platform], ["vsock addresses", "aix"]);
  assertEquals(
    error.message,
    "Cannot use vsock addresses: not supported on aix",
  );
});

test("Socket.open() throws NotSupportedError when the table has no such family", () => {
  using _ = onSystem({ ...abi, AF_VSOCK: null, IPPROTO_MPTCP: null });
  const family = assertThrows(
    () => Socket.open({ family: "vsock" }),
    NotSupportedError,
  );
  assertEquals(family.platform, abi.os);
  assertThrows(() => Socket.open({ protocol: "mptcp" }), NotSupportedError);
});
