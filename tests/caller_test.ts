/** Whose line an error points at (rule 4 of the contract): the one that called the package, and no frame of its own above. */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  connect,
  type ConnectOptions,
  connectSync,
  Errno,
  ErrnoError,
  explain,
  inet,
  inet6,
  lookup,
  LookupError,
  lookupSync,
  Socket,
  unix,
} from "../mod.ts";
import {
  type Caller,
  callerOf,
  pointAt,
  type PublicFunction,
  rejectAt,
} from "../src/errors/caller.ts";
import { errnoError } from "../src/errors/errors.ts";
import {
  blackHole,
  canBlackHole,
  freePort,
  interpreter,
  listen,
  PATIENCE,
  tempFolder,
} from "./_fixtures.ts";
import { test } from "./_harness.ts";

const MODULE = import.meta.resolve("../mod.ts");

const CONTEXT = { syscall: "connect", address: "127.0.0.1:9" } as const;

/** The frames of a stack, without the line that says what happened. */
function framesOf({ stack = "" }: Error): string[] {
  // Bun puts a parser, which there is not, into every SyntaxError (1.4).
  return stack.split("\n").filter((line) =>
    /^\s*at /.test(line) && !line.includes("<parse>")
  );
}

/** Checks that an error's stack begins with a function of this file. */
function assertPointsAt(error: unknown, name: string): void {
  assertInstanceOf(error, Error);
  const [first = error.stack ?? ""] = framesOf(error);
  assertMatch(
    first,
    new RegExp(`\\b${name}\\b.*caller_test\\.ts`),
    error.stack,
  );
  assert(
    error.stack?.startsWith(`${error.name}: ${error.message}`),
    error.stack,
  );
}

function caught(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error("It did not throw");
}

// Calls that fail at once ------------------------------------------------------------

function failingFunction(): never {
  throw deepInside(failingFunction);
}

function deepInside(ours: PublicFunction): Error {
  const error = errnoError("ECONNREFUSED", CONTEXT, ours);
  return error;
}

class Thing {
  failingMethod(): never {
    throw deepInside(Thing.prototype.failingMethod);
  }

  get failingGetter(): never {
    const { get } = Object.getOwnPropertyDescriptor(
      Thing.prototype,
      "failingGetter",
    )!;
    throw deepInside(get!);
  }

  // deno-lint-ignore require-await -- a method that fails before it waits
  async failingPromise(): Promise<never> {
    throw deepInside(Thing.prototype.failingPromise);
  }
}

test("an error points at the caller of a function", () => {
  const error = caught(function userCode() {
    failingFunction();
  });
  assertPointsAt(error, "userCode");
  assertInstanceOf(error, Errno.ECONNREFUSED);
});

test("an error points at the caller of a method", () => {
  const thing = new Thing();
  const error = caught(function userCode() {
    thing.failingMethod();
  });
  assertPointsAt(error, "userCode");
});

test("an error points at the reader of a property", () => {
  const thing = new Thing();
  const error = caught(function userCode() {
    void thing.failingGetter;
  });
  assertPointsAt(error, "userCode");
});

test("an error points at the caller of an async method that fails before it waits", async () => {
  const thing = new Thing();
  const error = await (async function userCode() {
    return await thing.failingPromise();
  })().catch((error: unknown) => error);
  assertPointsAt(error, "userCode");
});

test("an error without a caller has a stack that leads to who made it", () => {
  const error = caught(function userCode() {
    throw errnoError("EPERM", CONTEXT);
  }) as Error;
  assertStringIncludes(error.stack!, "userCode");
});

test("an error that points at its caller is like any other of its class", () => {
  const ours = caught(failingFunction) as ErrnoError;
  const plain = new Errno.ECONNREFUSED(CONTEXT);
  assertStrictEquals(
    Object.getPrototypeOf(ours),
    Object.getPrototypeOf(plain),
  );
  assertEquals(Object.keys(ours), Object.keys(plain));
  assertEquals(ours.toJSON(), plain.toJSON());
  assertEquals(`${ours}`, `${plain}`);
  assertEquals(structuredClone(ours).message, plain.message);
  assertEquals(Object.prototype.toString.call(ours), "[object Error]");
});

// Calls that fail later ----------------------------------------------------------------

function slowly(work: () => void): void {
  setTimeout(work, 5);
}

/** A call that keeps its caller. */
function keepingCall(make: (at: Caller) => Error): Promise<never> {
  const caller = callerOf(keepingCall);
  return new Promise((resolve) =>
    slowly(() => rejectAt(resolve, caller, () => make(caller)))
  );
}

/** A call that does not. */
function followedCall(): Promise<never> {
  return new Promise((resolve) =>
    slowly(() =>
      rejectAt(resolve, null, (at) => errnoError("ETIMEDOUT", CONTEXT, at))
    )
  );
}

const MAKERS: Readonly<Record<string, (at: Caller) => Error>> = {
  ErrnoError: (at) => errnoError("ETIMEDOUT", CONTEXT, at),
  LookupError: (at) =>
    pointAt(new LookupError("x", "EAI_SYSTEM", -11, new Error("why")), at),
  TypeError: (at) => pointAt(new TypeError("Cannot use it"), at),
};

for (const [name, make] of Object.entries(MAKERS)) {
  test(`${name} points at the caller that was kept, however it is waited for`, async () => {
    async function userCode(): Promise<unknown> {
      return await keepingCall(make).catch((error: unknown) => error);
    }
    async function userOfMany(): Promise<unknown> {
      const [result] = await Promise.allSettled([keepingCall(make)]);
      return (result as PromiseRejectedResult).reason;
    }
    function userOfNone(): Promise<unknown> {
      return keepingCall(make).then(null, (error: unknown) => error);
    }
    for (const user of [userCode, userOfMany, userOfNone]) {
      const error = await user();
      assertPointsAt(error, user.name);
      assertEquals(
        (error as Error).constructor.name,
        {
          ErrnoError: "ETIMEDOUT",
        }[name] ?? name,
      );
    }
  });
}

test("pointAt() keeps all fields of an error", async () => {
  const cause = new Error("why");
  const lookup = new LookupError("x", "EAI_SYSTEM", -11, cause);
  const error = await keepingCall((at) => pointAt(lookup, at))
    .catch((error: unknown) => error) as LookupError;
  assertEquals({ ...error }, { ...lookup });
  assertEquals([error.message, error.name], [lookup.message, lookup.name]);
  assertStrictEquals(error.cause, cause);
  assert(!Object.keys(error).includes("message"));
});

test("an error points at who awaits it where no caller was kept", async () => {
  async function userCode(): Promise<void> {
    await followedCall();
  }
  const error = await userCode().catch((error: unknown) => error);
  assertInstanceOf(error, Errno.ETIMEDOUT);
  // JavaScriptCore follows promises of async functions alone; it shows no frame then, and so none that misleads.
  if ("Bun" in globalThis) assertEquals(framesOf(error), []);
  else assertPointsAt(error, "userCode");
});

test("an unhandled rejection is reported with the error itself", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const call = followedCall();
  call.then(null, resolve);
  assertInstanceOf(await promise, Errno.ETIMEDOUT);
});

test("a caller outlasts the function that called, and the collector", async () => {
  const userCode = new Function("call", "return call();");
  const pending: Promise<never> = userCode(() =>
    keepingCall(MAKERS.ErrnoError!)
  );
  (globalThis as unknown as { gc?(): void }).gc?.();
  const error = await pending.catch((error: unknown) => error) as Error;
  assertStringIncludes(error.stack!, error.message);
  assert(framesOf(error).length > 0, error.stack);
});

// The package's own calls ------------------------------------------------------------------

interface Peers {
  readonly refused: number;
  readonly silent: number;
  readonly connected: Socket;
}

/** Calls that fail, at once or later. */
const CALLS: Readonly<
  Record<string, (peers: Peers) => Promise<unknown> | unknown>
> = {
  connectSyncRefused({ refused }) {
    return connectSync({ port: refused }).close();
  },
  connectSyncLate({ silent }) {
    return connectSync({ port: silent, timeout: 5 }).close();
  },
  connectSyncByName({ refused }) {
    return connectSync({ hostname: "localhost", port: refused }).close();
  },
  connectSyncToNobody({ refused }) {
    return connectSync({
      hostname: "name.test",
      port: refused,
      addresses: ["127.0.0.1", "127.0.0.2"],
    }).close();
  },
  async connectRefused({ refused }) {
    return await connect({ port: refused });
  },
  async connectLate({ silent }) {
    return await connect({ port: silent, timeout: 5 });
  },
  async connectByName({ refused }) {
    return await connect({ hostname: "localhost", port: refused });
  },
  async connectByNameLate({ silent }) {
    return await connect({ hostname: "localhost", port: silent, timeout: 5 });
  },
  async connectToNobody({ refused }) {
    return await connect({
      hostname: "name.test",
      port: refused,
      addresses: ["127.0.0.1", "127.0.0.2"],
    });
  },
  connectAndCatch({ silent }) {
    return connect({ port: silent, timeout: 5 }).catch((error) => {
      throw error;
    });
  },
  async connectUnresolved() {
    return await connect({ hostname: "no such name.invalid", port: 1 });
  },
  async socketConnectRefused({ refused }) {
    using socket = Socket.open();
    await socket.connect(inet("127.0.0.1", refused));
  },
  async socketConnectLate({ silent }) {
    using socket = Socket.open();
    await socket.connect(inet("127.0.0.1", silent), { timeout: 5 });
  },
  socketConnectSyncRefused({ refused }) {
    using socket = Socket.open();
    socket.connectSync(inet("127.0.0.1", refused));
  },
  socketConnectSyncLate({ silent }) {
    using socket = Socket.open();
    socket.connectSync(inet("127.0.0.1", silent), { timeout: 5 });
  },
  async recvLate({ connected }) {
    await connected.recv(new Uint8Array(1), { timeout: 5 });
  },
  async recvFromLate({ connected }) {
    await connected.recvFrom(new Uint8Array(1), { timeout: 5 });
  },
  async recvClosed({ connected }) {
    setTimeout(() => connected.close(), 5);
    await connected.recv(new Uint8Array(1));
  },
  async recvUnconnected() {
    using socket = Socket.open();
    await socket.recv(new Uint8Array(1));
  },
  bindTaken({ connected }) {
    using socket = Socket.open();
    socket.bind(connected.localAddress);
    using other = Socket.open();
    other.bind(connected.localAddress);
  },
  shutdownUnconnected() {
    using socket = Socket.open();
    socket.shutdown("both");
  },
  async sendUnconnected() {
    using socket = Socket.open();
    await socket.send(new Uint8Array(1));
  },
  async readyClosed({ connected }) {
    setTimeout(() => connected.close(), 5);
    await connected.ready("POLLIN");
  },
};

/** Calls with arguments that no call takes; none is left by a tail call, which takes a frame away in JavaScriptCore. */
const MISUSES: Readonly<Record<string, () => unknown>> = {
  connectSyncNoPort() {
    return connectSync({ port: -1 }).close();
  },
  connectSyncNoOption() {
    return connectSync({ port: 1, tiemout: 5 } as unknown as { port: number })
      .close();
  },
  connectSyncNoObject() {
    return connectSync(null as unknown as { port: number }).close();
  },
  connectSyncPromisedLookup() {
    const lookup = () => Promise.resolve([]) as unknown as string[];
    return connectSync({ hostname: "one.test", port: 1, lookup }).close();
  },
  async connectNoTimeout() {
    return await connect({ port: 1, timeout: NaN });
  },
  async connectNoSocketOption() {
    const socketOptions = { ttl: 999 };
    return await connect({ port: 1, socketOptions });
  },
  connectNoNameAtAll() {
    return connect({ hostname: 7 as unknown as string, port: 1 })
      .then(null, (error) => {
        throw error;
      });
  },
  async lookupNoName() {
    return await lookup(7 as unknown as string);
  },
  lookupSyncNoName() {
    return lookupSync(7 as unknown as string).length;
  },
  inetNoHost() {
    return inet("300.1.1.1", 80).port;
  },
  inet6NoPort() {
    return inet6("::1", 1e9).port;
  },
  unixNoPath() {
    return unix("").path;
  },
};

for (const [name, misuse] of Object.entries(MISUSES)) {
  test(`an error points at its caller: ${name}`, async () => {
    const error = await Promise.resolve().then(misuse).then(
      () => null,
      (error: unknown) => error,
    );
    assertMatch(`${error}`, /^(?:Type|Range|Syntax)Error: Cannot /);
    assertPointsAt(error, name);
  });
}

for (const [name, call] of Object.entries(CALLS)) {
  test(`an error points at its caller: ${name}`, async () => {
    using hole = blackHole();
    using listener = listen();
    using connected = connectSync({ port: listener.address.port });
    const peers = {
      refused: freePort(),
      silent: hole.address.port,
      connected,
    };
    const error = await Promise.resolve().then(() => call(peers)).then(
      () => null,
      (error: unknown) => error,
    );
    assert(
      error instanceof ErrnoError || error instanceof LookupError,
      `${error}`,
    );
    assertPointsAt(error, name);
  }, { skip: canBlackHole() });
}

test(
  "a thousand attempts at once all have errors of their own, and find their callers",
  async () => {
    using hole = blackHole();
    const { port } = hole.address;
    async function userCode(): Promise<unknown> {
      try {
        return await connect({ port, timeout: 50 });
      } catch (error) {
        return error;
      }
    }
    for (let round = 0; round < 2; round++) {
      const errors = await Promise.all(Array.from({ length: 500 }, userCode));
      assertEquals(new Set(errors).size, 500);
      for (const error of errors) {
        assertInstanceOf(error, Errno.ETIMEDOUT);
        // Only so many stacks are kept, and JavaScriptCore has no other way.
        if ("Bun" in globalThis && framesOf(error).length === 0) continue;
        assertPointsAt(error, "userCode");
      }
      const kept = errors.filter((error) =>
        framesOf(error as Error)[0]?.includes("userCode")
      );
      assertGreaterOrEqual(kept.length, 128);
    }
  },
  { skip: canBlackHole() },
);

test("what a program throws into a call keeps its own stack", async () => {
  const mine = new Errno.EPERM({ syscall: "mine" });
  const { stack } = mine;
  function onSocket(): never {
    throw mine;
  }
  const port = freePort();
  assertStrictEquals(caught(() => connectSync({ port, onSocket })), mine);
  const error = await connect({ port, onSocket }).catch((error) => error);
  assertStrictEquals(error, mine);
  function resolver(): never {
    throw mine;
  }
  const named = { hostname: "name.test", port, lookup: resolver };
  assertStrictEquals(caught(() => connectSync(named)), mine);
  assertStrictEquals(await connect(named).catch((error) => error), mine);
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  assertStrictEquals(
    await connect({ port, signal }).catch((error) => error),
    reason,
  );
  assertEquals(mine.stack, stack);
});

test("a call inside a call points at the program's own function", () => {
  const error = caught(() =>
    connectSync({
      port: freePort(),
      onSocket: function userCode(socket) {
        socket.connectSync(inet("127.0.0.1", freePort()));
      },
    })
  );
  assertPointsAt(error, "userCode");
});

// What a reader sees first -----------------------------------------------------------------

for (
  const [name, line] of [
    ["connectSync", "connectSync({ port: PORT }); // the reader's own line"],
    ["connect", "await connect({ port: PORT }); // the reader's own line"],
    [
      "Socket.connect",
      "await Socket.open().connect(inet('127.0.0.1', PORT)); // the reader's own line",
    ],
  ] as const
) {
  test(`an uncaught error of ${name} shows the reader's own line`, () => {
    using folder = tempFolder();
    const file = join(folder.path, "program.mjs");
    const names = "connect, connectSync, inet, Socket";
    writeFileSync(
      file,
      `import { ${names} } from ${JSON.stringify(MODULE)};\n` +
        "async function main() {\n" +
        `  ${line.replace("PORT", `${freePort()}`)}\n` +
        "}\nawait main();\n",
    );
    const [command, ...args] = interpreter();
    const { stderr, status } = spawnSync(
      command!,
      [
        ...args.filter((arg) => arg !== "-" && !arg.startsWith("--input")),
        file,
      ],
      { encoding: "utf8", timeout: PATIENCE },
    );
    assertNotEquals(status, 0);
    const [before] = stderr.split("the reader's own line");
    assertNotEquals(before, stderr, stderr);
    // Nothing of the package comes before it.
    assert(!/\/(?:src|ffi)\/[\w/]+\.ts/.test(before!), stderr);
    assertStringIncludes(stderr, "ECONNREFUSED");
    // Deno prints no fields of an error that nobody has caught.
    if ("Deno" in globalThis) return;
    const lines = stderr.split("\n").slice(0, 20).join("\n");
    assertStringIncludes(lines, explain("ECONNREFUSED").remedy!.slice(0, 60));
  });
}

test("an error of explain() points at its caller, through a connect as well", () => {
  const own = caught(function userCode() {
    explain("ENOSUCHTHING" as "EPERM");
  });
  assertPointsAt(own, "userCode");
  const inside = caught(() =>
    connectSync({
      port: freePort(),
      onSocket: function userCode() {
        explain("EPERM", { so: "linux" } as object);
      },
    })
  );
  assertPointsAt(inside, "userCode");
});

test("a host or an option that does not parse points at the caller", async () => {
  const rows: readonly object[] = [
    { hostname: "127.1", port: 1 },
    { hostname: "::gg", port: 1 },
    { hostname: "fe80::1%nowhere0", port: 1 },
    { port: 1, softErrors: "never" },
    { transport: "unix", path: "/x", port: 1 },
  ];
  for (const options of rows) {
    const error = caught(function userCode() {
      connectSync(options as ConnectOptions).close();
    });
    assertPointsAt(error, "userCode");
    await (async function userCode() {
      await connect(options as ConnectOptions);
    })().catch((error) => assertPointsAt(error, "userCode"));
  }
  for (const host of ["127.1", "::gg", "fe80::1%nowhere0"]) {
    const error = caught(function userCode() {
      lookupSync(host).slice();
    });
    assertPointsAt(error, "userCode");
    assertStringIncludes((error as Error).message, host);
  }
});
