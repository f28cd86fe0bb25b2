import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { execFileSync } from "node:child_process";
import type { Abi } from "../ffi/abi.ts";
import { abiFor, hostAbi } from "../ffi/systems.ts";
import { bindLibc } from "../ffi/bind.ts";
import {
  type CFunctions,
  type CType,
  type Declaration,
  type Door,
  type Libc,
  LOST_ERRNO,
  type Permissions,
  type Signature,
  SIGNATURES,
} from "../ffi/contract.ts";
import {
  currentAbi,
  declarationsFor,
  doorFor,
  libc,
  openLibc,
  useLibc,
} from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import { Errno, ErrnoError, inet, Socket } from "../mod.ts";
import { interpreter, listen } from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import { needs, on, test } from "./_harness.ts";

// Opened before the first test, which would otherwise seem to leak it.
libc();

const abi = hostAbi()!;
const signatures: Readonly<Record<string, Signature>> = SIGNATURES;

/** Permissions that nobody is to ask here. */
const NO_PERMISSIONS = {} as Permissions;

/** C functions that return what a test wants, and what they were called with. */
interface Fake {
  readonly functions: CFunctions;
  readonly calls: [entry: string, ...parameters: unknown[]][];
  /** What they return, except for a few of them. */
  result: unknown;
  errno: number;
}

const LOCATION = { errno: "location" };

function fake(result: unknown = 0, errno = abi.errnos.EBADF!): Fake {
  const functions: Record<string, (...parameters: unknown[]) => unknown> = {};
  const made: Fake = {
    functions: functions as unknown as CFunctions,
    calls: [],
    result,
    errno,
  };
  for (const entry of Object.keys(SIGNATURES)) {
    functions[entry] = (...parameters) => {
      made.calls.push([entry, ...parameters]);
      switch (entry) {
        case "errnoLocation":
          return LOCATION;
        case "memcpyErrno": {
          const [target] = parameters as [Uint8Array];
          new DataView(target.buffer).setInt32(
            target.byteOffset,
            made.errno,
            abi.littleEndian,
          );
          return undefined;
        }
        case "close":
          // What the binding asks first, to see whether errno can be read.
          return parameters[0] === -1 ? -1 : made.result;
        default:
          return made.result;
      }
    };
  }
  return made;
}

function bound(made: Fake, table: Abi = abi): Libc {
  const bound = bindLibc(made.functions, table, NO_PERMISSIONS);
  made.calls.length = 0;
  return bound;
}

/** Those that are not asked to write the peer's address. */
const NAMELESS: readonly string[] = ["accept", "accept4"];

/** One value of each kind, so that a mix-up of two parameters shows. */
function parametersFor(entry: string): unknown[] {
  return signatures[entry]!.parameters.map((type, index) =>
    type === "buffer"
      ? NAMELESS.includes(entry) ? null : new Uint8Array([index])
      : type === "address"
      ? BigInt(index)
      : 100 + index
  );
}

/** What its method is given for those. */
function given(entry: string, parameters: readonly unknown[]): unknown[] {
  return NAMELESS.includes(entry)
    ? parameters.filter((parameter) => parameter !== null)
    : [...parameters];
}

type Method = (...parameters: unknown[]) => unknown;

/** C functions that return a code of `<netdb.h>`. */
const CODED = ["getaddrinfo", "gai_cancel", "gai_error"];

/** The methods that are C functions with a result, each by its own name. */
const BOUND: readonly string[] = Object.keys(SIGNATURES).filter((entry) =>
  entry in libc() && signatures[entry]!.result === "int" &&
  !signatures[entry]!.offThread && !CODED.includes(entry)
);

/** How those are called that read a `socklen_t`, which C writes. */
const MEASURED: Readonly<
  Record<string, (c: Libc, room: Uint8Array) => number>
> = {
  getpeername: (c, room) => c.getpeername(3, room),
  getsockname: (c, room) => c.getsockname(3, room),
  getsockopt: (c, room) => c.getsockopt(3, 4, 5, room),
  recvfrom: (c, address) => {
    const from = { address, length: 77 };
    const result = c.recvfrom(3, new Uint8Array(9), 9, 0, from);
    return result < 0 ? result : from.length;
  },
};

/** Those whose parameters and results go through as they are. */
const PLAIN = BOUND.filter((entry) => !Object.hasOwn(MEASURED, entry));

// The return convention --------------------------------------------------------

test("bindLibc() has a method for every C function of the table", () => {
  const helpers = ["errnoLocation", "memcpyErrno"];
  for (const [entry, { offThread }] of Object.entries(signatures)) {
    if (helpers.includes(entry)) continue;
    const method = offThread ? entry.replace("OffThread", "Async") : entry;
    const expected = method === "getaddrinfoAsync" && on("deno") !== null
      ? "undefined"
      : "function";
    assertEquals(typeof libc()[method as "connect"], expected, entry);
  }
  assert(BOUND.length >= 14);
});

for (const entry of PLAIN) {
  test(`${entry}() returns what C returns when that is no failure`, () => {
    const made = fake();
    const method = bound(made)[entry as "connect"] as unknown as Method;
    const parameters = parametersFor(entry);
    const results = entry === "if_nametoindex" ? [1, 7] : [0, 1, 0x7fff_ffff];
    for (made.result of results) {
      made.calls.length = 0;
      assertEquals(method(...given(entry, parameters)), made.result);
      assertEquals(made.calls, [[entry, ...parameters]]);
    }
  });

  test(`${entry}() returns -errno, read by the very next call, when C fails`, () => {
    const made = fake();
    const method = bound(made)[entry as "connect"] as unknown as Method;
    const parameters = parametersFor(entry);
    made.result = entry === "if_nametoindex" ? 0 : -1;
    for (made.errno of [1, abi.errnos.ECONNREFUSED, 0]) {
      made.calls.length = 0;
      assertEquals(
        method(...given(entry, parameters)),
        -(made.errno || LOST_ERRNO),
      );
      const [call, reading, ...others] = made.calls;
      assertEquals(call, [entry, ...parameters]);
      assertEquals(reading?.[0], "memcpyErrno");
      assertEquals(reading?.slice(2), [LOCATION, 4]);
      assertEquals(others, []);
    }
  });
}

for (const [entry, call] of Object.entries(MEASURED)) {
  test(`${entry}() returns how much C wrote, as far as there is room`, () => {
    for (const table of [abi, { ...abi, littleEndian: !abi.littleEndian }]) {
      for (const [written, expected] of [[0, 0], [3, 3], [16, 16], [99, 16]]) {
        const made = fake();
        Object.assign(made.functions, {
          [entry]: (...parameters: unknown[]) => {
            const length = parameters.at(-1) as Uint8Array;
            const view = new DataView(length.buffer, length.byteOffset);
            assertEquals(view.getUint32(0, table.littleEndian), 16);
            view.setUint32(0, written!, table.littleEndian);
            return 0;
          },
        });
        const c = bindLibc(made.functions, table, NO_PERMISSIONS);
        assertEquals(call(c, new Uint8Array(16)), expected);
      }
    }
  });

  test(`${entry}() returns -errno, read by the very next call, when C fails`, () => {
    const made = fake(-1);
    const c = bound(made);
    for (made.errno of [1, abi.errnos.ENOTCONN, 0]) {
      made.calls.length = 0;
      assertEquals(call(c, new Uint8Array(16)), -(made.errno || LOST_ERRNO));
      const names = made.calls.map(([name]) => name);
      assertEquals(names, [entry, "memcpyErrno"]);
    }
  });
}

test("bindLibc() has nothing between a call and the reading of errno", () => {
  // Garbage that is collected in between spoils a few results in a million, too
  // few for any test to count on, so that the text itself is looked at.
  const text = `${bindLibc}`;
  const call = String.raw`(?:c\.)?(\w+)\((?:[^()]|(?:size|nfds)\(\w+\))*\)`;
  const pattern = new RegExp(
    // Bun writes a result that is used once where it is used.
    String.raw`(?:(?:const|,) (\w+) = ${call};\s*(?://.*\s*)?` +
      String.raw`if \(\1 (?:>=?|===) 0\)|if \(${call} >= 0\))\s*` +
      String.raw`(?:return [^;]+;|\{[^{}]*\})\s*` +
      String.raw`if \(isCopied\)\s*memcpyErrno\(bytes, location, width\);\s*` +
      String.raw`return (?:-errno\[0\]\s*\|\| -LOST_ERRNO|` +
      String.raw`\[\s*\1,\s*errno\[0\]\s*,?\s*\])\s*;`,
    "g",
  );
  const reading = [...text.matchAll(pattern)]
    .map(([, , entry, inlined]) => entry ?? inlined!);
  // One of them stands there twice: with a sender, and without.
  const expected = [...BOUND, "recvfrom", "getaddrinfo"];
  assertEquals(reading.sort(), expected.sort());
  assertEquals(text.match(/memcpyErrno\(/g)?.length, reading.length);
});

test("getaddrinfo() returns the code and the errno behind it", () => {
  const made = fake();
  const { getaddrinfo } = bound(made);
  const [node, hints, result] = [1, 2, 3].map((n) => new Uint8Array([n]));
  made.result = 0;
  assertEquals(getaddrinfo(node!, hints!, result!), [0, 0]);
  // No service: the port is put in afterwards.
  assertEquals(made.calls, [["getaddrinfo", node, null, hints, result]]);
  made.errno = abi.errnos.EMFILE!;
  for (const eai of [-11, 8]) {
    made.calls.length = 0;
    made.result = eai;
    const returned = getaddrinfo(node!, hints!, result!);
    assertEquals(returned, [eai, made.errno]);
    assertEquals(made.calls.map(([entry]) => entry), [
      "getaddrinfo",
      "memcpyErrno",
    ]);
  }
});

test("pollAsync() passes on what poll returns on another thread, without errno", async () => {
  const made = fake(Promise.resolve(-1));
  const { pollAsync } = bound(made);
  const fds = new Uint8Array(8);
  assertEquals(await pollAsync(fds, 1, 5), -1);
  assertEquals(made.calls, [["pollOffThread", fds, 1, 5]]);
});

test("freeaddrinfo() and memcpyFrom() return nothing", () => {
  const made = fake();
  const c = bound(made);
  made.result = undefined;
  const target = new Uint8Array(4);
  assertEquals(c.freeaddrinfo(5n), undefined);
  assertEquals(c.memcpyFrom(target, 6n, 4), undefined);
  assertEquals(made.calls, [
    ["freeaddrinfo", 5n],
    ["memcpyFrom", target, 6n, 4],
  ]);
});

test("bindLibc() asks where errno is once, and reads it once to be sure", () => {
  const made = fake();
  bindLibc(made.functions, abi, NO_PERMISSIONS);
  assertEquals(made.calls.map(([entry]) => entry), [
    "errnoLocation",
    "close",
    "memcpyErrno",
  ]);
  assertEquals(made.calls[1], ["close", -1]);
});

for (const errno of [0, 1, abi.errnos.EBADF! + 1]) {
  test(`bindLibc() throws when close(-1) seems to return errno ${errno}`, () => {
    const { message } = assertThrows(
      () => bindLibc(fake(0, errno).functions, abi, NO_PERMISSIONS),
      Error,
    );
    assertEquals(
      message,
      "Cannot read errno: close(-1) did not return EBADF through " +
        `${abi.errnoLocation} on ${abi.os} ${abi.arch}`,
    );
  });
}

// Declarations -------------------------------------------------------------------

const TABLES: readonly Abi[] = [
  ["linux", "x64"],
  ["linux", "arm64"],
  ["darwin", "x64"],
  ["darwin", "arm64"],
  ["freebsd", "x64"],
  ["openbsd", "x64"],
  ["netbsd", "x64"],
  ["sunos", "x64"],
  ["aix", "ppc64"],
].map(([platform, arch]) => abiFor(platform!, arch!));

function declared(table: Abi): Record<string, Declaration> {
  return Object.fromEntries(declarationsFor(table).map((d) => [d.entry, d]));
}

for (const table of TABLES) {
  const system = `${table.os} ${table.arch}`;
  test(`declarationsFor() uses the names that the library exports on ${system}`, () => {
    const declarations = declared(table);
    assertEquals(declarations.errnoLocation?.symbol, table.errnoLocation);
    for (const [entry, { symbol, offThread }] of Object.entries(declarations)) {
      const signature = signatures[entry]!;
      assertEquals(offThread, signature.offThread ?? false);
      if (entry === "errnoLocation") continue;
      const name = signature.of ?? entry;
      assertEquals(symbol, table.symbols[name] ?? name);
    }
    // A new name that no entry uses would be a slip of the pen.
    const used = Object.entries(signatures).map(([entry, { of }]) =>
      of ?? entry
    );
    for (const name of Object.keys(table.symbols)) assert(used.includes(name));
  });

  test(`declarationsFor() leaves out only what ${system} does not have`, () => {
    const declarations = declared(table);
    for (const [entry, { needs }] of Object.entries(signatures)) {
      const exists = needs === undefined || table[needs] !== null;
      assertEquals(entry in declarations, exists, entry);
    }
  });

  test(`declarationsFor() puts fcntl's argument where it is sought on ${system}`, () => {
    const parameters = declared(table).fcntl!.parameters;
    const expected = new Array<CType>(table.variadicOnStack ? 9 : 3).fill(
      "int",
    );
    assertEquals(parameters, expected);
  });
}

test("declarationsFor() renames both users of one C function on illumos", () => {
  const declarations = declared(abiFor("sunos", "x64"));
  assertEquals(declarations.connect?.symbol, "__xnet_connect");
  assertEquals(declarations.socket?.symbol, "__xnet_socket");
  assertEquals(declarations.getsockopt?.symbol, "__xnet_getsockopt");
  assertEquals(declarations.poll?.symbol, "poll");
  assertEquals(declarations.pollOffThread?.symbol, "poll");
  assertEquals(declarations.memcpyErrno?.symbol, "memcpy");
  assertEquals(declarations.memcpyFrom?.symbol, "memcpy");
});

test("declarationsFor() puts the argument on the stack on Apple's 64-bit ARM alone", () => {
  const systems = TABLES.filter((table) => table.variadicOnStack)
    .map(({ os, arch }) => `${os} ${arch}`);
  assertEquals(systems, ["darwin aarch64"]);
});

test("fcntl() passes its argument ninth where variadic arguments are on the stack", () => {
  const made = fake(3);
  const { fcntl } = bound(made, { ...abi, variadicOnStack: true });
  assertEquals(fcntl(5, 4, 0x800), 3);
  assertEquals(made.calls, [["fcntl", 5, 4, 0, 0, 0, 0, 0, 0, 0x800]]);
  made.calls.length = 0;
  made.result = -1;
  assertEquals(fcntl(5, 4, 0x800), -made.errno);
  assertEquals(made.calls.map(([entry]) => entry), ["fcntl", "memcpyErrno"]);
});

// Opening ------------------------------------------------------------------------

/** A door that opens some libraries, and keeps a list of what it was asked. */
function fakeDoor(
  opens: (name: string) => CFunctions,
  openable: Door["openable"] = (names) => names,
): Door & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    runtime: "fake",
    asked,
    openable,
    open(name, declarations, nfdsSize) {
      if (asked.at(-1) !== name) asked.push(name);
      assertEquals(nfdsSize, abi.nfdsSize);
      return declarations.map((declaration) => {
        const { entry } = declaration;
        assertEquals(declaration, declared(abi)[entry]);
        return opens(name)[entry as "connect"];
      });
    },
    permissions: NO_PERMISSIONS,
  };
}

const LIBRARIES: Abi = {
  ...abi,
  libraries: ["first.so", "/second.so", "third"],
};

function fails(name: string): never {
  throw new Error(`no ${name}`);
}

test("openLibc() takes the first library that opens", () => {
  const door = fakeDoor((name) =>
    name === "/second.so" ? fake().functions : fails(name)
  );
  const opened = openLibc(LIBRARIES, door);
  assertEquals(door.asked, ["first.so", "/second.so"]);
  assertEquals(opened.abi, LIBRARIES);
  assertEquals(opened.permissions, NO_PERMISSIONS);
});

test("openLibc() goes on when errno cannot be read through a library", () => {
  const door = fakeDoor((name) =>
    fake(0, name === "first.so" ? 0 : abi.errnos.EBADF!).functions
  );
  openLibc(LIBRARIES, door);
  assertEquals(door.asked, ["first.so", "/second.so"]);
});

test(
  "openLibc() seeks what the C library lacks where it may be, and else does without",
  () => {
    const { functions } = fake();
    for (const library of ["libc.so.6", "/lib/libc.so.6"]) {
      for (const has of [true, false]) {
        const door = fakeDoor((name) => {
          const { getaddrinfo_a, ...others } = functions;
          return name === library
            ? new Proxy(others, {
              get: (target, entry) =>
                Reflect.get(target, entry) ?? fails(`${String(entry)}`),
            }) as CFunctions
            : has
            ? { ...others, getaddrinfo_a }
            : fails(name);
        });
        const c = openLibc({ ...abi, libraries: [library] }, door);
        const isThere = has && library === "libc.so.6";
        const result = c.getaddrinfo_a(1, new Uint8Array(8), 0, null);
        assertEquals(result, isThere ? 0 : -abi.errnos.ENOSYS);
        // A path stands for a permission, and another one may lack it.
        const asked = library === "libc.so.6"
          ? [library, "libanl.so.1"]
          : [library];
        assertEquals(door.asked, asked);
      }
    }
  },
  { skip: abi.gaicb === null ? "is for systems with getaddrinfo_a(3)" : null },
);

test("openLibc() throws an error that names every library when none opens", () => {
  const door = fakeDoor(fails);
  const error = assertThrows(() => openLibc(LIBRARIES, door), AggregateError);
  assertEquals(
    error.message,
    `Cannot open the C library of ${abi.os} ${abi.arch}: ` +
      "tried first.so, /second.so, third",
  );
  assertEquals(error.errors.map(({ message }) => message), [
    "no first.so",
    "no /second.so",
    "no third",
  ]);
});

test("openLibc() tries only what the runtime permits", () => {
  const door = fakeDoor(
    fails,
    (names) => names.filter((name) => name.startsWith("/")),
  );
  const error = assertThrows(() => openLibc(LIBRARIES, door), AggregateError);
  assert(error.message.endsWith("tried /second.so"), error.message);
  assertEquals(door.asked, ["/second.so"]);
});

test("openLibc() lets the runtime's own refusal through untouched", () => {
  const refusal = new Error("not permitted");
  const door = fakeDoor(fails, () => {
    throw refusal;
  });
  let caught: unknown;
  try {
    openLibc(LIBRARIES, door);
  } catch (error) {
    caught = error;
  }
  assert(caught === refusal);
  assertEquals(door.asked, []);
});

test("openLibc() names libraries that are not there when the door is real", () => {
  const libraries = ["libnosuchthing.so.99", "/nowhere/libc.so.6"];
  const error = assertThrows(
    () => openLibc({ ...abi, libraries }, doorFor()),
    AggregateError,
  );
  for (const library of libraries) assertStringIncludes(error.message, library);
  assertEquals(error.errors.length, 2);
});

test("openLibc() says which function a library lacks when the door is real", () => {
  const symbols = { ...abi.symbols, close: "no_such_function" };
  const error = assertThrows(
    () => openLibc({ ...abi, symbols }, doorFor()),
    AggregateError,
  );
  assert(error.errors.some((e) => e.message.includes("no_such_function")));
});

test("abiFor() throws an error that names both when there is no table", () => {
  const rows = [
    ["plan9", "x64"],
    ["linux", "mips"],
    ["win32", "x64"],
    ["aix", "x64"],
    ["constructor", "toString"],
  ];
  for (const [platform, arch] of rows) {
    const { message } = assertThrows(() => abiFor(platform!, arch!), Error);
    assertStringIncludes(
      message,
      `Cannot call the C library on ${platform} ${arch}: ` +
        "no table describes this system",
    );
  }
});

test(
  "libc() opens what a connect takes, and all else once, at the first use of it",
  () => {
    const lines = inChild(`
    const { dlopen } = Deno;
    const opened = [];
    const functions = [];
    Deno.dlopen = (...parameters) => {
      opened.push(parameters[0]);
      functions.push(...Object.values(parameters[1]).map(({ name }) => name));
      return dlopen(...parameters);
    };
    // Not the files: Deno opens and closes those of its cache when it likes.
    const count = () =>
      [...Deno.readDirSync("/dev/fd")].filter(({ name }) => {
        try {
          return !Deno.readLinkSync("/dev/fd/" + name).startsWith("/");
        } catch {
          return false;
        }
      }).length;
    const before = count();
    const mod = await import(ROOT + "mod.ts");
    const { currentAbi, libc } = await import(ROOT + "ffi/libc.ts");
    mod.unix("/x").toBytes();
    mod.inet6("::1%1", 80);
    mod.isErrno(new mod.Errno.EINVAL({ syscall: "x" }), "EINVAL");
    currentAbi();
    console.log(opened.length, count() - before);
    const first = libc();
    console.log(functions.sort().join());
    console.log(libc() === first, currentAbi() === first.abi);
    first.shutdown(-1, 0);
    for (let i = 0; i < 3; i++) {
      mod.Socket.open().close();
      first.shutdown(-1, 0);
    }
    console.log(functions.slice(8).join());
    console.log(new Set(opened).size, currentAbi().libraries.includes(opened[0]));
  `);
    assertEquals(lines, [
      "0 0",
      [
        abi.errnoLocation,
        "close",
        "connect",
        "fcntl",
        "getpeername",
        "getsockname",
        "memcpy",
        "socket",
      ].join(),
      "true true",
      "shutdown",
      "1 true",
    ]);
  },
  {
    skip: needs(on("deno"), unemulated("opens descriptors of its own")),
  },
);

test("Socket.open() throws an error that names system and processor when there is no table", () => {
  const lines = inChild(`
    const { default: process } = await import("node:process");
    Object.defineProperty(process, "platform", { value: "plan9" });
    Object.defineProperty(process, "arch", { value: "mips" });
    const build = { os: "plan9", arch: "mips" };
    if ("Deno" in globalThis) Object.defineProperty(Deno, "build", { value: build });
    const mod = await import(ROOT + "mod.ts");
    for (const use of [
      () => mod.Socket.open(),
      () => mod.inet("127.0.0.1", 80),
      () => mod.connectSync({ hostname: "127.0.0.1", port: 80 }),
    ]) {
      try {
        use();
        console.log("nothing");
      } catch (error) {
        console.log(error.message);
      }
    }
    console.log(mod.Errno.ECONNREFUSED.name);
    console.log(new mod.Errno.ECONNREFUSED({ syscall: "connect" }).errno);
  `);
  const message = "Cannot call the C library on plan9 mips: " +
    "no table describes this system, only linux, darwin, freebsd, openbsd, " +
    "netbsd, illumos, aix and their usual processors have one";
  assertEquals(lines, [message, message, message, "ECONNREFUSED", "0"]);
});

/** Runs a script with all permissions and returns the lines that it prints. */
function inChild(script: string): string[] {
  const root = new URL("../", import.meta.url).href;
  const [command, ...args] = interpreter();
  const input = `const ROOT = ${JSON.stringify(root)};${script}`;
  return execFileSync(command!, args, { input, encoding: "utf8" })
    .trim().split("\n");
}

test("useLibc() puts another library in place until it is disposed", () => {
  const real = libc();
  const other: Libc = { ...real, abi: abiFor("aix", "ppc64") };
  {
    using _outer = useLibc(other);
    assert(libc() === other);
    assertEquals(currentAbi().os, "aix");
    {
      using _inner = useLibc(real);
      assert(libc() === real);
    }
    assert(libc() === other);
  }
  assert(libc() === real);
});

test("newMemory() returns memory of its own that is all zeros", () => {
  for (const size of [0, 1, 64, 65, 4096]) {
    const memory = newMemory(size);
    assertEquals(memory.length, size);
    assertEquals(memory.buffer.byteLength, size);
    assertEquals(memory.byteOffset, 0);
    assert(memory.every((byte) => byte === 0));
  }
});

test("pollAsync() waits on another thread while this one goes on", async () => {
  using socket = Socket.open({ type: "dgram" });
  socket.bind(inet("127.0.0.1", 0));
  const { pollfd } = abi;
  const fds = newMemory(pollfd.size);
  const view = new DataView(fds.buffer);
  view.setInt32(pollfd.fd, socket.fd, abi.littleEndian);
  view.setInt16(pollfd.events, abi.POLLIN, abi.littleEndian);
  assertEquals(await libc().pollAsync(fds, 1, 1), 0);
  const waiting = libc().pollAsync(fds, 1, -1);
  using sender = Socket.open({ type: "dgram" });
  sender.sendSync(new Uint8Array(1), { to: socket.localAddress });
  assertEquals(await waiting, 1);
  assertEquals(view.getInt16(pollfd.revents, abi.littleEndian), abi.POLLIN);
});

// Where socket(2) takes no flags ----------------------------------------------------

/** The real library with a table that lacks what newer systems have. */
function older(changes: Partial<Libc> = {}, table: Partial<Abi> = {}): Libc {
  return {
    ...libc(),
    abi: { ...abi, SOCK_NONBLOCK: null, SOCK_CLOEXEC: null, ...table },
    ...changes,
  };
}

interface Flags {
  closeOnExec: boolean;
  nonblocking: boolean;
}

function flagsOf(fd: number): Flags {
  const { fcntl } = libc();
  return {
    closeOnExec: (fcntl(fd, abi.F_GETFD, 0) & abi.FD_CLOEXEC) !== 0,
    nonblocking: (fcntl(fd, abi.F_GETFL, 0) & abi.O_NONBLOCK) !== 0,
  };
}

for (const nonblocking of [false, true]) {
  const name = nonblocking ? "a non-blocking" : "a blocking";
  test(`Socket.open() sets the flags of ${name} socket when socket(2) takes them`, () => {
    using socket = Socket.open({ nonblocking });
    assertEquals(flagsOf(socket.fd), { closeOnExec: true, nonblocking });
  });

  test(`Socket.open() sets the flags of ${name} socket when only fcntl(2) does`, () => {
    const types: number[] = [];
    using _ = useLibc(older({
      socket(domain, type, protocol) {
        types.push(type);
        return realSocket(domain, type, protocol);
      },
    }));
    using socket = Socket.open({ nonblocking });
    assertEquals(types, [abi.SOCK_STREAM]);
    assertEquals(flagsOf(socket.fd), { closeOnExec: true, nonblocking });
    assertEquals(socket.nonblocking, nonblocking);
  });

  for (
    const table of [{ SOCK_CLOEXEC: abi.SOCK_CLOEXEC }, {
      SOCK_NONBLOCK: abi.SOCK_NONBLOCK,
    }] as Partial<Abi>[]
  ) {
    const [flag] = Object.keys(table);
    test(`Socket.open() sets the flags of ${name} socket when socket(2) takes ${flag} alone`, () => {
      using _ = useLibc(older({}, table));
      using socket = Socket.open({ nonblocking });
      assertEquals(flagsOf(socket.fd), { closeOnExec: true, nonblocking });
    });
  }
}

const { close: realClose, fcntl: realFcntl, socket: realSocket } = libc();

test("Socket.open() closes the descriptor when any fcntl(2) after socket(2) fails", () => {
  // F_GETFD, F_SETFD, F_GETFL, F_SETFL: each fails in its turn.
  for (let failing = 0; failing < 4; failing++) {
    let calls = 0;
    const opened: number[] = [];
    const closed: number[] = [];
    using _ = useLibc(older({
      fcntl(fd, command, argument) {
        return calls++ === failing
          ? -abi.errnos.EINVAL!
          : realFcntl(fd, command, argument);
      },
      socket(domain, type, protocol) {
        const fd = realSocket(domain, type, protocol);
        opened.push(fd);
        return fd;
      },
      close(fd) {
        closed.push(fd);
        return realClose(fd);
      },
    }));
    const error = assertThrows(
      () => Socket.open({ nonblocking: true }),
      ErrnoError,
    );
    assertInstanceOf(error, Errno.EINVAL);
    assertEquals(error.syscall, "fcntl");
    assertEquals(calls, failing + 1);
    assertEquals(opened.length, 1);
    assertEquals(closed, opened);
  }
});

test("Socket.open() sets SO_NOSIGPIPE, and closes the descriptor when that fails", () => {
  // Another option stands for it, which every system has and none sets by itself.
  const table = { SO_NOSIGPIPE: abi.SO_KEEPALIVE };
  {
    using _ = useLibc(older({}, table));
    using socket = Socket.open();
    assert(socket.getOption(abi.SOL_SOCKET, abi.SO_KEEPALIVE) !== 0);
  }
  const closed: number[] = [];
  using _ = useLibc(older({
    setsockopt: () => -abi.errnos.ENOPROTOOPT!,
    close(fd) {
      closed.push(fd);
      return realClose(fd);
    },
  }, table));
  const error = assertThrows(() => Socket.open(), ErrnoError);
  assertInstanceOf(error, Errno.ENOPROTOOPT);
  assertEquals(closed.length, 1);
});

test("Socket.open() closes nothing when socket(2) itself fails", () => {
  const closed: number[] = [];
  using _ = useLibc(older({
    socket: () => -abi.errnos.EMFILE!,
    close(fd) {
      closed.push(fd);
      return realClose(fd);
    },
  }));
  const error = assertThrows(() => Socket.open(), ErrnoError);
  assertInstanceOf(error, Errno.EMFILE);
  assertEquals(
    error.message,
    "Cannot open a socket: too many files open in this process (EMFILE)",
  );
  assertEquals(closed, []);
});

test("connectSync() of a socket keeps its flags when only fcntl(2) sets them", () => {
  using _ = useLibc(older());
  using listener = listen();
  using socket = Socket.open();
  socket.connectSync(listener.address, { timeout: 2000 });
  assertEquals(flagsOf(socket.fd), { closeOnExec: true, nonblocking: false });
});
