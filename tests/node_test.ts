import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotStrictEquals,
  assertThrows,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { type EventEmitter, once } from "node:events";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as pauseFor } from "node:timers/promises";
import tls from "node:tls";
import { connect, Errno, explain, LookupError, Socket } from "../mod.ts";
import {
  agent,
  createConnection,
  type NodeConnectOptions,
  type SpecialOptions,
  undiciConnector,
} from "../src/node.ts";
import { AGES, SHORT } from "./_assertions.ts";
import {
  blackHole,
  canBlackHole,
  freePort,
  listen,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { hasCommand, on, test } from "./_harness.ts";
import { newFolder } from "./_servers.ts";

const HERE = "127.0.0.1";
const SOURCE = "127.0.0.9";

/** The entry point, for programs. */
const NODE_ENTRY = JSON.stringify(import.meta.resolve("../src/node.ts"));

/** Runs a program in a process of its own; returns what it prints, once it ends by itself. */
async function evaluate(
  program: string,
  permissions: readonly string[] = ["-A"],
): Promise<string> {
  const script = `import process from "node:process";\n${program}`;
  const flags = "Deno" in globalThis
    ? [
      "run",
      ...permissions,
      "--no-config",
      "--no-check",
      `data:text/javascript,${encodeURIComponent(script)}`,
    ]
    : "Bun" in globalThis
    ? ["--eval", script]
    : ["--no-warnings", "--input-type=module", "--eval", script];
  const child = spawn(process.execPath, flags, {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout!.on("data", (part) => text += part);
  const [code] = await once(child, "close");
  assertEquals(code, 0, text);
  return text.trim();
}

/** A server while a body runs. */
async function serve<S extends net.Server>(
  server: S,
  body: (port: number) => Promise<void>,
): Promise<void> {
  await new Promise<void>((resolve) =>
    server.listen(0, HERE, 4096, () => resolve())
  );
  try {
    await body((server.address() as net.AddressInfo).port);
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

/** A server that sends back what it gets. */
function echo(): net.Server {
  return net.createServer({ allowHalfOpen: true }, (peer) => {
    peer.on("error", () => {});
    peer.pipe(peer);
  });
}

/** What a socket emits until it is closed, errors by their codes. */
async function storyOf(socket: net.Socket): Promise<string[]> {
  const story: string[] = [];
  for (const event of ["connect", "ready", "timeout", "end", "finish"]) {
    socket.on(event, () => story.push(event));
  }
  socket.on("error", (error: NodeJS.ErrnoException) => {
    story.push(`error ${error.code ?? error.name}`);
  });
  await new Promise<void>((resolve) => {
    socket.on("close", (hadError) => {
      story.push(`close ${hadError}`);
      resolve();
    });
  });
  return story;
}

/** The error of a connection that fails. */
async function failureOf(socket: net.Socket): Promise<Error & Fields> {
  const closed = new Promise((resolve) => socket.on("close", resolve));
  const error = await new Promise<Error>((resolve, reject) => {
    socket.on("error", resolve);
    socket.on("connect", () => reject(new Error("it has connected")));
  });
  await closed;
  return error as Error & Fields;
}

interface Fields {
  code?: unknown;
  errno?: unknown;
  syscall?: unknown;
  address?: unknown;
  port?: unknown;
  hostname?: unknown;
  cause?: unknown;
}

function fieldsOf(error: Error & Fields): unknown[] {
  const { code, errno, syscall, address, port, hostname } = error;
  return [code, errno, syscall, address, port, hostname];
}

/** The fields of the error of a host that is not there, as Node has them. */
function notFound(hostname: string): unknown[] {
  return ["ENOTFOUND", -3008, "getaddrinfo", undefined, undefined, hostname];
}

test("createConnection() returns a net.Socket that is connecting", async () => {
  await serve(echo(), async (port) => {
    const socket = createConnection(
      { host: HERE, port: `${port}` },
      { localAddress: SOURCE, timeout: AGES },
    );
    assertInstanceOf(socket, net.Socket);
    assertEquals(socket.connecting, true);
    assertEquals(socket.readyState, "opening");
    assertEquals(socket.remoteAddress, undefined);
    socket.resume();
    const story = storyOf(socket);
    await once(socket, "connect");
    assertEquals(socket.connecting, false);
    assertEquals(socket.readyState, "open");
    assertEquals([socket.remoteAddress, socket.remotePort], [HERE, port]);
    assertEquals(socket.localAddress, SOURCE);
    assertEquals(Object.hasOwn(socket, "emit"), false);
    socket.end();
    assertEquals(await story, [
      "connect",
      "ready",
      "finish",
      "end",
      "close false",
    ]);
  });
});

test("createConnection() sends what was written before it connected", async () => {
  await serve(echo(), async (port) => {
    const socket = createConnection({ host: HERE, port });
    const sent = Buffer.alloc(5_000_000, "0123456789");
    assertEquals(socket.write(sent.subarray(0, 1_000_000)), false);
    socket.write(sent.subarray(1_000_000, 2_000_000));
    socket.end(sent.subarray(2_000_000));
    const received: Uint8Array[] = [];
    for await (const part of socket) received.push(part);
    assert(sent.equals(Buffer.concat(received)));
    assertEquals([socket.bytesRead, socket.bytesWritten], [5e6, 5e6]);
  });
});

test("createConnection() keeps to what it is set to before it connects", async () => {
  await serve(echo(), async (port) => {
    let silences = 0;
    const socket = createConnection({ host: HERE, port, timeout: 30 });
    socket.on("timeout", () => silences++);
    assertEquals(socket.timeout, 30);
    socket.setNoDelay().setKeepAlive(true, 5000).unref().ref();
    socket.pause();
    socket.write("hi");
    await once(socket, "timeout");
    assert(silences > 0);
    assertEquals(socket.isPaused(), true);
    assertEquals(socket.bytesRead <= 2, true);
    const part = once(socket, "data");
    socket.resume();
    assertEquals(`${(await part)[0]}`, "hi");
    socket.destroy();
    await once(socket, "close");
  });
});

test("what a socket is set to reaches the kernel, whenever it was set", async () => {
  await serve(echo(), async (port) => {
    const keepAlive = { keepAlive: true, keepAliveInitialDelay: 7000 };
    const rows: [NodeConnectOptions, Setting, Setting][] = [
      [{ noDelay: true, ...keepAlive }, nothing, nothing],
      [{}, set, nothing],
      [{}, nothing, set],
    ];
    for (const [options, before, after] of rows) {
      let fd = -1;
      const socket = createConnection({ host: HERE, port, ...options }, {
        socketOptions: { ttl: 33 },
        onSocket: (socket) => fd = socket.fd,
      });
      before(socket);
      await once(socket, "connect");
      after(socket);
      const view = Socket.fromFd(fd);
      const idle = view.getOption("keepAlive");
      assert(typeof idle === "object" && idle.initialDelay === 7000);
      assertEquals(view.getOption("noDelay"), true);
      assertEquals(view.getOption("ttl"), 33);
      view.detach();
      socket.destroy();
      await once(socket, "close");
    }
  });
});

type Setting = (socket: net.Socket) => void;

function nothing(): void {}

function set(socket: net.Socket): void {
  socket.setNoDelay(true).setKeepAlive(true, 7000);
}

test("createConnection() reads no faster than it is read from", async () => {
  const server = net.createServer((peer) => {
    peer.on("error", () => {});
    const chunk = Buffer.alloc(1_000_000);
    function more(): void {
      while (!peer.destroyed && peer.write(chunk));
      if (!peer.destroyed) peer.once("drain", more);
    }
    more();
  });
  await serve(server, async (port) => {
    const socket = createConnection({ host: HERE, port });
    await once(socket, "connect");
    await pauseFor(100);
    assert(socket.bytesRead < 1_000_000, `${socket.bytesRead}`);
    socket.destroy();
    await once(socket, "close");
  });
});

test("createConnection() reads into a buffer if it is given one", async () => {
  const server = net.createServer((peer) => peer.end("hello, world"));
  await serve(server, async (port) => {
    const own = Buffer.alloc(5);
    for (const buffer of [own, () => own]) {
      const parts: string[] = [];
      const socket = createConnection({
        host: HERE,
        port,
        onread: {
          buffer,
          callback(length, buffer) {
            parts.push(new TextDecoder().decode(buffer.subarray(0, length)));
            if (parts.length > 1) return undefined;
            setTimeout(() => socket.resume(), 5);
            return false;
          },
        },
      });
      await once(socket, "close");
      assertEquals(parts.join(""), "hello, world");
      assert(parts.every((part) => part.length <= 5), `${parts}`);
    }
  });
});

test("createConnection() keeps its side open if allowHalfOpen says so", async () => {
  const server = net.createServer((peer) => {
    peer.end("all of mine");
    peer.setEncoding("utf8").on("data", (text) => received.push(`${text}`));
  });
  const received: string[] = [];
  await serve(server, async (port) => {
    const socket = createConnection({ host: HERE, port, allowHalfOpen: true });
    socket.resume();
    await once(socket, "end");
    assertEquals(socket.writable, true);
    socket.end("more of mine");
    await once(socket, "close");
  });
  assertEquals(received.join(""), "more of mine");
});

/** `null` where the kernel speaks multipath TCP, else a reason to skip. */
function canMptcp(): string | null {
  try {
    Socket.open({ protocol: "mptcp" }).close();
    return null;
  } catch {
    return "needs multipath TCP";
  }
}

test("createConnection() is as special as connect() is", async () => {
  await serve(echo(), async (port) => {
    const rows: SpecialOptions[] = [
      { localPortRange: [41_000, 41_999] },
      { addresses: [HERE] },
      { family: "inet", attemptDelay: 50, softErrors: "wait" },
      ...canMptcp() === null ? [{ protocol: "mptcp" } as const] : [],
      ...process.platform === "linux" ? [{ interface: "lo" }] : [],
    ];
    for (const special of rows) {
      const socket = createConnection({ host: HERE, port }, special);
      const sent = Buffer.alloc(1_000_000, "0123456789");
      socket.end(sent);
      await once(socket, "connect");
      const { localPort } = socket;
      if (special.localPortRange !== undefined) {
        const [low, high] = special.localPortRange;
        assert(low <= localPort! && localPort! <= high, `${localPort}`);
      }
      const parts: Uint8Array[] = [];
      for await (const part of socket) parts.push(part);
      assert(sent.equals(Buffer.concat(parts)), JSON.stringify(special));
    }
  });
});

test("createConnection() connects to a path", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "s");
  const server = echo();
  await new Promise<void>((resolve) => server.listen(path, () => resolve()));
  const socket = createConnection({ path, host: "ignored", port: 1 });
  // Clients set these whatever they have been given.
  socket.setNoDelay(true).setKeepAlive(true, 1000);
  await once(socket, "connect");
  assertEquals(socket.remoteAddress, undefined);
  assertEquals(JSON.stringify(socket.address()), "{}");
  socket.end("hello");
  const parts: unknown[] = [];
  for await (const part of socket) parts.push(`${part}`);
  assertEquals(parts, ["hello"]);
  await new Promise((resolve) => server.close(resolve));
  const error = await failureOf(createConnection({ path }));
  assertEquals([error.code, error.address], ["ENOENT", path]);
});

test("connect() of such a socket does nothing but take a listener", async () => {
  await serve(echo(), async (port) => {
    const socket = createConnection({ host: HERE, port }, {
      localAddress: SOURCE,
    });
    const other = freePort();
    const heard = new Promise<void>((resolve) => {
      assertEquals(socket.connect(other, HERE, resolve), socket);
    });
    await heard;
    await new Promise<void>((resolve) => socket.connect(other, HERE, resolve));
    assertEquals([socket.remotePort, socket.localAddress], [port, SOURCE]);
    socket.destroy();
    await once(socket, "close");
    assertThrows(
      () => socket.connect(port, HERE),
      Error,
      "Cannot connect again",
    );
  });
});

test("createConnection() is called off by destroy(), whenever that is", async () => {
  await serve(echo(), async (port) => {
    const moments: ((destroy: () => void) => void)[] = [
      (destroy) => destroy(),
      queueMicrotask,
      (destroy) => process.nextTick(destroy),
      (destroy) => setImmediate(destroy),
      (destroy) => setTimeout(destroy, 1),
      (destroy) => setTimeout(destroy, 5),
    ];
    const stories = await Promise.all(
      Array.from({ length: 120 }, (_, i) => {
        const socket = createConnection({ host: HERE, port });
        moments[i % moments.length]!(() => socket.destroy());
        return storyOf(socket);
      }),
    );
    for (const [i, story] of stories.entries()) {
      assertEquals(story.at(-1), "close false", `${i}: ${story}`);
      assert(!story.some((event) => event.startsWith("error")), `${story}`);
    }
    const mine = createConnection({ host: HERE, port });
    mine.destroy(new Error("mine"));
    assertEquals(await storyOf(mine), ["error Error", "close true"]);
  });
});

test("resetAndDestroy() of a socket that connects is no failure", async () => {
  const server = echo();
  await serve(server, async (port) => {
    for (const connect of [net.connect, createConnection]) {
      const socket = connect({ host: HERE, port });
      const told = storyOf(socket);
      assertEquals(socket.resetAndDestroy(), socket);
      const story = await told;
      // Deno closes it before it connects.
      assertEquals(story.at(-1), "close false");
      assert(!story.some((event) => event.startsWith("error")), `${story}`);
    }
  });
});

test("createConnection() is called off by either signal", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  const reason = new Error("mine");
  for (
    const connectWith of [
      (signal: AbortSignal) => createConnection({ host: HERE, port, signal }),
      (signal: AbortSignal) =>
        createConnection({ host: HERE, port }, { signal }),
    ]
  ) {
    for (const early of [true, false]) {
      const controller = new AbortController();
      if (early) controller.abort(reason);
      const socket = connectWith(controller.signal);
      const failure = failureOf(socket);
      if (!early) setTimeout(() => controller.abort(reason), 10);
      const error = await failure;
      // Node's word for it, or the reason itself.
      assert(error === reason || error.name === "AbortError", `${error}`);
      if (error !== reason) assertEquals(error.code, "ABORT_ERR");
    }
  }
}, { skip: canBlackHole() });

test("createConnection() with an aborted signal sends nothing", async () => {
  using peer = listen();
  const { port } = peer.address;
  const signal = AbortSignal.abort();
  for (const special of [false, true]) {
    using watched = watchLibc();
    const socket = special
      ? createConnection({ host: HERE, port }, { signal })
      : createConnection({ host: HERE, port, signal });
    const events: string[] = [];
    socket.on("connect", () => events.push("connect"));
    socket.on("error", ({ name }) => events.push(name));
    const closed = new Promise<void>((resolve) => {
      socket.on("close", () => {
        events.push("close");
        resolve();
      });
    });
    await closed;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(events, ["AbortError", "close"]);
    assertEquals(watched.count("connect"), 0);
  }
});

test("a signal calls off a connection that nobody has heard of", async () => {
  await serve(echo(), async (port) => {
    const controller = new AbortController();
    const { signal } = controller;
    const socket = createConnection({ host: HERE, port }, { signal });
    // The system has established it by now.
    controller.abort();
    assertEquals((await failureOf(socket)).name, "AbortError");
  });
});

test("a socket that a listener of 'lookup' destroys emits no more of it", async () => {
  const socket = createConnection({
    host: "x.test",
    port: 1,
    lookup: (_name, _options, done) =>
      done(null, [
        { address: "127.0.0.2", family: 4 },
        { address: "127.0.0.3", family: 4 },
      ]),
  });
  const found: string[] = [];
  socket.on("lookup", (_error, address) => {
    found.push(address);
    socket.destroy();
  });
  await once(socket, "close");
  assertEquals(found, ["127.0.0.2"]);
});

test("createConnection() has a deadline", async () => {
  using hole = blackHole();
  const { port } = hole.address;
  const socket = createConnection({ host: HERE, port }, { timeout: SHORT });
  const error = await failureOf(socket);
  assertInstanceOf(error, Errno.ETIMEDOUT);
  assertEquals(error.timeoutKind, "deadline");
  assertEquals(fieldsOf(error).slice(2), ["connect", HERE, port, undefined]);
}, { skip: canBlackHole() });

test("errors have the fields that Node gives to its own", async () => {
  const port = freePort();
  const own = await failureOf(net.connect({ host: HERE, port }));
  const error = await failureOf(createConnection({ host: HERE, port }));
  assertEquals(fieldsOf(error), fieldsOf(own));
  assertInstanceOf(error, Errno.ECONNREFUSED);
  assert(Object.hasOwn(error, "stack"));
  const [first] = error.stack!.split("\n").filter((line) =>
    /:\d+:\d+/.test(line)
  );
  assert(first!.includes("node_test.ts"), error.stack);
  // What connect() rejects with is behind it.
  const { cause } = error;
  assertInstanceOf(cause, Errno.ECONNREFUSED);
  assertNotStrictEquals(cause, error);
  assertEquals([cause.errno, cause.address], [
    -(own.errno as number),
    `${HERE}:${port}`,
  ]);
  assert(`${explain(cause)}`.includes("ECONNREFUSED"));
});

test("errors of several addresses are one, with each of them in it", async () => {
  const port = freePort();
  const error = await failureOf(
    createConnection({ host: "two.test", port }, {
      addresses: ["127.0.0.1", "127.0.0.2"],
    }),
  );
  assertInstanceOf(error, Errno.ECONNREFUSED);
  assertEquals([error.address, error.port], ["two.test", port]);
  // Each is as it would be if it were the only one.
  const each = await Promise.all(
    [HERE, "127.0.0.2"].map((host) =>
      failureOf(net.connect({ host, port })).then(fieldsOf)
    ),
  );
  assertEquals(error.errors.map(fieldsOf), each);
  for (const { cause, stack } of error.errors) {
    assertInstanceOf(cause, Errno.ECONNREFUSED);
    assertEquals(stack, cause.stack);
  }
});

test("the path of a failure is as it was asked for", async () => {
  using folder = tempFolder();
  const paths = ["a:80", "[b]:80", "back\\slash", "bell\x07"]
    .map((name) => join(folder.path, name));
  for (const path of paths) {
    const error = await failureOf(createConnection({ path }));
    const own = await failureOf(net.connect({ path }));
    assertEquals(fieldsOf(error), [...fieldsOf(own)]);
  }
});

test("whatever ends an attempt is an error event", async () => {
  for (const reason of [null, undefined, 0, "", false, "text", Symbol("s")]) {
    const fail = (): never => {
      throw reason;
    };
    const controller = new AbortController();
    const { signal } = controller;
    const options = { host: "one.test", port: 1 };
    const sockets = [
      createConnection(options, { lookup: fail }),
      createConnection(options, { addresses: [HERE], onSocket: fail }),
      createConnection(options, {
        lookup: () => new Promise(() => {}),
        signal,
      }),
    ];
    controller.abort(reason);
    for (const error of await Promise.all(sockets.map(failureOf))) {
      assertInstanceOf(error, Error);
      // A signal has an error of its own where it is given nothing.
      if (error.name === "AbortError") continue;
      assert(error.message.startsWith("Cannot connect: "), error.message);
      assertEquals(error.cause, reason);
    }
    const [error] = await new Promise<unknown[]>((resolve) =>
      undiciConnector({ lookup: fail })(
        { hostname: "one.test", port: "1", protocol: "http:" },
        (...result) => resolve(result),
      )
    );
    assertInstanceOf(error, Error);
  }
});

test("errors of the options point at the caller, at once and later", async () => {
  function firstLine({ stack = "" }: Error): string {
    return stack.split("\n").find((line) => /:\d+:\d+/.test(line)) ?? stack;
  }
  // Not by a tail call, which leaves no frame to JavaScriptCore.
  const refused: [string, () => void][] = [
    ["options", () => void createConnection(null!)],
    ["special", () => void createConnection({ port: 1 }, null!)],
    [
      "hostname",
      () => void createConnection({ port: 1 }, { hostname: "x" } as never),
    ],
    [
      "blockList",
      () => void createConnection({ port: 1, blockList: {} } as never),
    ],
    ["port", () => void createConnection({ port: "x" })],
    ["family", () => void createConnection({ host: "x", port: 1, family: 7 })],
    ["special", () => void agent(null!)],
    ["options", () => void agent({}, null!)],
    ["proxyEnv", () => void agent({}, { proxyEnv: {} } as never)],
    ["special", () => void undiciConnector(null!)],
    ["tlsOptions", () => void undiciConnector({}, null!)],
    ["timeout", () => void undiciConnector({ timeout: -1 })],
  ];
  for (const [word, call] of refused) {
    const error = assertThrows(call, Error, word);
    assert(firstLine(error).includes("node_test.ts"), error.stack);
  }
  for (const special of [{ tiemout: 5 }, { localAddress: "nowhere" }]) {
    const socket = createConnection({ host: HERE, port: 1 }, special as object);
    const error = await failureOf(socket);
    assert(firstLine(error).includes("node_test.ts"), error.stack);
  }
});

test("a name that does not resolve is an error of the lookup, never loopback", async () => {
  await serve(echo(), async (port) => {
    // Not even where a name server takes its time to say so.
    const error = await failureOf(
      createConnection({ host: "no.such.invalid", port }, { timeout: AGES }),
    );
    assertInstanceOf(error, LookupError);
    assertEquals([error.syscall, error.hostname], [
      "getaddrinfo",
      "no.such.invalid",
    ]);
    const own = await failureOf(net.connect({ host: "no.such.invalid", port }));
    assertEquals(error.code, own.code);
    assertInstanceOf(error.cause, LookupError);
    assert(`${error.cause.code}`.startsWith("EAI_"));
    for (const host of ["", "a\0b", "10.0.0.999", "::gg", "http://x"]) {
      const error = await failureOf(createConnection({ host, port }));
      assertEquals(fieldsOf(error), notFound(host));
      assertInstanceOf(error, LookupError);
      assertInstanceOf(error.cause, SyntaxError);
      assertEquals(error.message, error.cause.message);
    }
    // What else does not parse has nothing to do with names.
    const other = createConnection({ host: HERE, port, localAddress: "x y" });
    assertInstanceOf(await failureOf(other), SyntaxError);
  });
});

test("a failed lookup says ENOTFOUND to those who test for it", async () => {
  const nothing = new LookupError("x.test", "EAI_NONAME", -2);
  const socket = createConnection({ host: "x.test", port: 1 }, {
    lookup: () => Promise.reject(nothing),
  });
  const error = await failureOf(socket);
  assertEquals(fieldsOf(error), notFound("x.test"));
  assertInstanceOf(error.cause, LookupError);
  assertEquals(error.cause.code, "EAI_NONAME");
});

test("createConnection() takes a resolver of Node's kind", async () => {
  await serve(echo(), async (port) => {
    const asked: unknown[] = [];
    const all: NonNullable<NodeConnectOptions["lookup"]> = (
      name,
      options,
      done,
    ) => {
      asked.push([name, options.family, options.all]);
      done(null, [{ address: HERE, family: 4 }]);
    };
    const one: typeof all = (_name, _options, done) => done(null, HERE, 4);
    for (const lookup of [all, one]) {
      const socket = createConnection({
        host: "x.test",
        port,
        family: 4,
        lookup,
      });
      await once(socket, "connect");
      assertEquals(socket.remoteAddress, HERE);
      socket.destroy();
      await once(socket, "close");
    }
    assertEquals(asked, [["x.test", 4, true]]);
    // Addresses are not looked up.
    const literal = createConnection({ host: HERE, port, lookup: all });
    await once(literal, "connect");
    literal.destroy();
    await once(literal, "close");
    assertEquals(asked.length, 1);
    const mine = new Error("mine");
    const failing: typeof all = (_name, _options, done) => done(mine, []);
    const error = await failureOf(
      createConnection({ host: "x.test", port, lookup: failing }),
    );
    assertEquals(error, mine);
  });
});

test("a socket reports what comes of a lookup, and of an attempt only what is true", async () => {
  const addresses = ["127.0.0.2", "127.0.0.3", "::1"];
  const mine = new Error("mine");
  const rows: [NodeConnectOptions, SpecialOptions, unknown[]][] = [
    [{ host: HERE }, {}, []],
    [{ host: "localhost", family: 4 }, {}, [[null, HERE, 4, "localhost"]]],
    [{ host: "x.test" }, { addresses }, [
      [null, "127.0.0.2", 4, "x.test"],
      [null, "127.0.0.3", 4, "x.test"],
      [null, "::1", 6, "x.test"],
    ]],
    [
      { host: "x.test", lookup: (_name, _options, done) => done(mine, []) },
      {},
      [
        ["mine", undefined, undefined, "x.test"],
      ],
    ],
  ];
  for (const [options, special, expected] of rows) {
    const port = freePort();
    const socket = createConnection({ port, ...options }, special);
    const lookups: unknown[] = [];
    const attempts: unknown[] = [];
    socket.on("lookup", (error, ...found) => {
      lookups.push([error && error.message, ...found]);
    });
    (socket as EventEmitter).on("connectionAttempt", (...attempt) => {
      attempts.push(attempt);
    });
    await failureOf(socket);
    assertEquals([lookups, attempts], [expected, []]);
  }
});

test("a literal address is connected to whatever the family", async () => {
  await serve(echo(), async (port) => {
    for (const options of [{ family: 6 }, { family: 5, lookup: net.connect }]) {
      const to = { host: HERE, port, ...options } as NodeConnectOptions;
      const socket = createConnection(to);
      await once(socket, "connect");
      socket.destroy();
      await once(socket, "close");
    }
  });
});

test("a socket emits nothing before whoever awaits it can listen", async () => {
  const closed = freePort();
  await serve(echo(), async (port) => {
    for (const at of [port, closed]) {
      const socket = createConnection({ host: HERE, port: at });
      // As long as promises take.
      for (let i = 0; i < 100; i++) await null;
      const events: unknown[][] = [];
      socket.on("connect", (...args) => events.push(["connect", ...args]));
      socket.on("error", ({ name }) => events.push([name]));
      await new Promise((resolve) => {
        socket.on("ready", resolve).on("close", resolve);
      });
      const expected = at === port ? "connect" : "Errno.ECONNREFUSED";
      assertEquals(events, [[expected]]);
      socket.destroy();
    }
  });
});

/** Ways to a socket that is connected to a port of this machine. */
const CONNECTED: Readonly<
  Record<string, (port: number) => Promise<net.Socket>>
> = {
  async "createConnection()"(port) {
    const socket = createConnection({ host: HERE, port });
    await once(socket, "connect");
    return socket;
  },
  "toNodeSocket()": async (port) =>
    (await connect({ hostname: HERE, port })).toNodeSocket(),
};

for (const [way, make] of Object.entries(CONNECTED)) {
  test(`what is written to a socket of ${way} just before destroy() arrives`, async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const server = net.createServer((peer) => {
      let text = "";
      peer.on("data", (part) => text += part);
      peer.on("close", () => resolve(text));
    });
    await serve(server, async (port) => {
      const socket = await make(port);
      const closed = once(socket, "close");
      socket.write("the last word");
      socket.destroy();
      assertEquals(await promise, "the last word");
      await closed;
    });
  });
}

test("destroy() ends an attempt that has no listeners left", async () => {
  using hole = blackHole();
  let shown: Socket | undefined;
  const socket = createConnection({ host: HERE, port: hole.address.port }, {
    onSocket: (socket) => shown = socket,
  });
  socket.removeAllListeners();
  socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, SHORT));
  assertEquals(shown?.closed, true);
}, { skip: canBlackHole() });

test("what a resolver must not find is an error event, whenever it does", async () => {
  const throws = {
    get address(): string {
      throw new Error("hidden");
    },
  };
  const rows: [unknown, string][] = [
    [undefined, "lookup()[0] undefined"],
    [null, "lookup()[0] null"],
    [{ length: 3 }, "lookup()[0] (an object)"],
    [[], "lookup(): there are none"],
    [[null], "lookup()[0] null"],
    [[{}], "lookup()[0] undefined"],
    [[{ address: "x" }], 'lookup()[0] "x"'],
    [[throws], "hidden"],
  ];
  for (const [found, word] of rows) {
    for (const call of [queueMicrotask, setTimeout, (go: () => void) => go()]) {
      const socket = createConnection({
        host: "x.test",
        port: 1,
        lookup: (_name, _options, done) => call(() => done(null, found as [])),
      });
      const { message } = await failureOf(socket);
      assert(message.includes(word), message);
    }
  }
});

test("createConnection() throws for what cannot be meant", () => {
  const rows: [unknown, unknown, ErrorConstructor, string][] = [
    [null, {}, TypeError, "options"],
    [{ port: 1 }, null, TypeError, "special"],
    [{ host: 5, port: 1 }, {}, TypeError, "host"],
    [{ host: false, port: 1 }, {}, TypeError, "host"],
    [{ host: HERE }, {}, TypeError, "port"],
    [{ host: HERE, port: "" }, {}, RangeError, 'port ""'],
    [{ host: HERE, port: "http" }, {}, RangeError, 'port "http"'],
    [{ path: 5 }, {}, TypeError, "path"],
    [{ host: HERE, port: 65536 }, {}, RangeError, "port"],
    [{ host: HERE, port: 1, timeout: -1 }, {}, RangeError, "timeout"],
    [{ host: "x", port: 1, lookup: 5 }, {}, TypeError, "lookup"],
    [{ host: "x", port: 1, family: "4" }, {}, TypeError, "family"],
    [{ host: "x", port: 1, family: 5 }, {}, TypeError, "family"],
    [{ host: HERE, port: 1, blockList: {} }, {}, TypeError, "blockList"],
    [{ host: HERE, port: 1 }, { signal: {} }, TypeError, "signal"],
    [{ host: HERE, port: 1 }, { hostname: HERE }, TypeError, "hostname"],
    [{ host: HERE, port: 1 }, { transport: "unix" }, TypeError, "transport"],
  ];
  for (const [options, special, errorClass, word] of rows) {
    assertThrows(
      () =>
        createConnection(
          options as NodeConnectOptions,
          special as SpecialOptions,
        ),
      errorClass,
      word,
    );
  }
});

test("the port of a failure is Node's", async () => {
  for (const port of [65536, "http", "", " ", undefined, {}]) {
    const options = { host: HERE, port } as NodeConnectOptions;
    const ours: Fields = assertThrows(() => createConnection(options), Error);
    const theirs: Fields = assertThrows(
      () => net.connect(options as net.NetConnectOpts),
      Error,
    );
    assertEquals(ours.code, theirs.code);
  }
  // No port was asked for, and so there is none in the error.
  const unowned = { host: HERE, port: 1, localAddress: "192.0.2.1" };
  const { code, address, port } = await failureOf(createConnection(unowned));
  assertEquals(
    [code, address, port],
    ["EADDRNOTAVAIL", "192.0.2.1", undefined],
  );
});

test("createConnection() reads what its caller owns, and nothing else", async () => {
  await serve(echo(), async (port) => {
    const elsewhere = {
      host: "127.0.0.2",
      path: "/nowhere",
      localAddress: "127.0.0.8",
    };
    Object.assign(Object.prototype, elsewhere);
    let socket: net.Socket;
    try {
      socket = createConnection({ hostname: HERE, port }, {});
    } finally {
      for (const name of Object.keys(elsewhere)) {
        delete (Object.prototype as Record<string, unknown>)[name];
      }
    }
    await once(socket, "connect");
    assertEquals([socket.remoteAddress, socket.localAddress], [HERE, HERE]);
    socket.destroy();
    await once(socket, "close");
  });
});

test("what connect() refuses is an error event", async () => {
  const rows: [object, string][] = [
    [{ tiemout: 5 }, "special with tiemout"],
    [{ localAddress: "nowhere" }, "localAddress"],
    [{ socketOptions: { mark: -1 } }, "mark"],
  ];
  for (const [special, word] of rows) {
    const socket = createConnection({ host: HERE, port: 1 }, special);
    const error = await failureOf(socket);
    assert(error.message.includes(word), error.message);
  }
});

test("what a listener throws is an uncaught exception, as with net.connect", async () => {
  await serve(echo(), async (port) => {
    const text = await evaluate(`
      const { createConnection } = await import(${NODE_ENTRY});
      process.on("unhandledRejection", () => console.log("rejection"));
      process.on("uncaughtException", (error) => {
        console.log(error.message);
        socket.destroy();
      });
      const socket = createConnection({ host: "${HERE}", port: ${port} });
      socket.on("connect", () => {
        throw new Error("mine");
      });
    `);
    assertEquals(text, "mine");
  });
});

test(
  "createConnection() is let through where Deno.connect would be",
  async () => {
    await serve(echo(), async (port) => {
      const text = await evaluate(
        `
        const { createConnection } = await import(${NODE_ENTRY});
        for (const host of ["${HERE}", "127.0.0.2"]) {
          const socket = createConnection({ host, port: ${port} });
          socket.on("connect", () => {
            console.log("connected to", socket.remoteAddress);
            socket.destroy();
          });
          socket.on("error", (error) => console.log(error.name));
          await new Promise((resolve) => socket.on("close", resolve));
        }
      `,
        [
          `--allow-net=${HERE}:${port}`,
          "--allow-ffi",
          "--allow-import",
          "--no-prompt",
        ],
      );
      assertEquals(text, `connected to ${HERE}\nNotCapable`);
    });
  },
  { skip: on("deno") },
);

/** Resets each connection as soon as it has accepted it; says where. */
const REJECTER = `
import socket, struct
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(4096)
print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
`;

test(
  "a peer that resets at once is an ECONNRESET each of 1,000 times",
  async () => {
    const child = spawn("python3", ["-c", REJECTER], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const gone = once(child, "close");
    const [line] = await once(child.stdout!, "data");
    const port = Number(`${line}`);
    const stories = new Map<string, number>();
    async function connectAll(count: number): Promise<void> {
      for (let i = 0; i < count; i++) {
        const socket = createConnection({ host: HERE, port });
        socket.resume();
        const story = (await storyOf(socket)).filter((event) =>
          event !== "connect" && event !== "ready"
        ).join();
        stories.set(story, (stories.get(story) ?? 0) + 1);
      }
    }
    await Promise.all(Array.from({ length: 20 }, () => connectAll(50)));
    child.kill();
    await gone;
    assertEquals([...stories], [["error ECONNRESET,close true", 1000]]);
  },
  { skip: hasCommand("python3") },
);

test("1,000 connections stand at a time", async () => {
  await serve(echo(), async (port) => {
    const sockets = await Promise.all(
      Array.from({ length: 1000 }, async (_, i) => {
        const socket = createConnection({ host: HERE, port }, {
          timeout: AGES,
        });
        socket.write(`${i}`);
        const [part] = await once(socket, "data");
        assertEquals(`${part}`, `${i}`);
        return socket;
      }),
    );
    const ends = sockets.map((socket) => once(socket, "close"));
    for (const socket of sockets) socket.end();
    await Promise.all(ends);
  });
});

/** All that a response holds. */
function bodyOf(request: http.ClientRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("response", async (response) => {
      let text = "";
      for await (const part of response) text += part;
      resolve(text);
    });
  });
}

test("an agent opens as many connections as it may, and uses them again", async () => {
  const peers = new Set<string>();
  const server = http.createServer((request, response) => {
    peers.add(`${request.socket.remoteAddress}:${request.socket.remotePort}`);
    setTimeout(() => response.end("hello"), 5);
  });
  await serve(server, async (port) => {
    const pool = agent({ localAddress: SOURCE }, {
      keepAlive: true,
      maxSockets: 50,
    });
    for (let round = 0; round < 3; round++) {
      const texts = await Promise.all(
        Array.from(
          { length: 200 },
          () => bodyOf(http.get({ host: HERE, port, path: "/x", agent: pool })),
        ),
      );
      assertEquals(new Set(texts), new Set(["hello"]));
    }
    assertEquals(peers.size, 50);
    assert([...peers].every((peer) => peer.startsWith(`${SOURCE}:`)));
    const kept = Object.values(pool.freeSockets).flat();
    assertEquals(kept.length, 50);
    const ends = kept.map((socket) => once(socket!, "close"));
    pool.destroy();
    await Promise.all(ends);
  });
});

test("idle connections of an agent do not keep the process alive", async () => {
  const server = http.createServer((_request, response) =>
    response.end("hello")
  );
  server.keepAliveTimeout = 0;
  await serve(server, async (port) => {
    const text = await evaluate(`
      const { agent } = await import(${NODE_ENTRY});
      const { default: http } = await import("node:http");
      const pool = agent({}, { keepAlive: true });
      await Promise.all(Array.from({ length: 50 }, () =>
        new Promise((resolve, reject) => {
          const to = { host: "${HERE}", port: ${port}, agent: pool };
          http.get(to, (response) => response.resume().on("end", resolve))
            .on("error", reject);
        })));
      console.log(Object.values(pool.freeSockets).flat().length);
    `);
    assertEquals(text, "50");
    // A server waits for those whom it keeps.
    server.closeAllConnections();
  });
});

test("an idle socket keeps the process alive unless it is unref()ed", async () => {
  await serve(echo(), async (port) => {
    for (const when of ["before", "after"]) {
      const text = await evaluate(`
        const { createConnection } = await import(${NODE_ENTRY});
        const socket = createConnection({ host: "${HERE}", port: ${port} });
        if ("${when}" === "before") socket.unref();
        socket.on("connect", () => {
          console.log("connected");
          if ("${when}" === "after") socket.unref();
        });
      `);
      assertEquals(text, "connected");
    }
    // This one ends by its timer, which keeps nothing alive.
    const text = await evaluate(`
      const { createConnection } = await import(${NODE_ENTRY});
      const socket = createConnection({ host: "${HERE}", port: ${port} });
      socket.unref().ref();
      setTimeout(() => {
        console.log(socket.readyState);
        socket.destroy();
      }, 500).unref();
    `);
    assertEquals(text, "open");
  });
});

test("one agent has the port and the protocol of the module that asks", async () => {
  const names: string[] = [];
  const mine = new Error("mine");
  const both = agent({
    lookup(name) {
      names.push(name);
      return Promise.reject(mine);
    },
  });
  for (const { get } of [http, https]) {
    const protocol = get === http.get ? "http" : "https";
    for (const host of ["x.test", "x.test:1234"]) {
      const request = get(`${protocol}://${host}/`, { agent: both });
      assertEquals(request.getHeader("host"), host);
      const [error] = await once(request, "error");
      assertEquals(error, mine);
    }
  }
  assertEquals(names, ["x.test", "x.test", "x.test", "x.test"]);
  // Whatever a program wants of its stacks.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    const request = https.get("https://x.test/", { agent: both });
    assertEquals(request.getHeader("host"), "x.test");
    await once(request, "error");
    assertEquals(Error.stackTraceLimit, 0);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  assertThrows(() => agent(null!), TypeError, "special");
  assertThrows(
    () => agent({}, { proxyEnv: {} as unknown as undefined }),
    TypeError,
    "proxyEnv",
  );
});

test("undiciConnector() refuses special options that make no sense", () => {
  assertThrows(() => undiciConnector(null!), TypeError, "special");
  assertThrows(() => undiciConnector({ timeout: -1 }), RangeError, "timeout");
});

test(
  "TLS goes over such a socket, and refuses a stranger's certificate",
  async () => {
    using files = newFolder(null);
    const { key, cert } = files;
    const server = tls.createServer({ key, cert }, (peer) => {
      peer.on("error", () => {});
      peer.pipe(peer);
    });
    server.on("tlsClientError", () => {});
    await serve(server, async (port) => {
      for (const ca of [cert, undefined]) {
        const socket = tls.connect({
          socket: createConnection({ host: HERE, port }, {
            localAddress: SOURCE,
          }),
          servername: "localhost",
          ...(ca === undefined ? {} : { ca }),
        });
        if (ca === undefined) {
          const [error] = await once(socket, "error");
          assert(error instanceof Error);
        } else {
          await once(socket, "secureConnect");
          assertEquals([socket.authorized, socket.localAddress], [
            true,
            SOURCE,
          ]);
          // Node's TLS on Deno does not notice that both sides have ended (2.9).
          const sent = Buffer.alloc(3_000_000, "0123456789");
          socket.write(sent);
          const parts: Uint8Array[] = [];
          let left = sent.length;
          await new Promise<void>((resolve) => {
            socket.on("data", (part: Uint8Array) => {
              parts.push(part);
              left -= part.length;
              if (left === 0) resolve();
            });
          });
          assert(sent.equals(Buffer.concat(parts)));
        }
        socket.destroy();
      }
    });
  },
  { skip: hasCommand("openssl") },
);

test("a failed connection is the error of the TLS that was to go over it", async () => {
  const port = freePort();
  const socket = tls.connect({
    socket: createConnection({ host: HERE, port }),
    servername: "localhost",
  });
  const [error] = await once(socket, "error");
  assertInstanceOf(error, Errno.ECONNREFUSED);
});

test("the deadline of a connector covers the handshake of TLS", async () => {
  const silent = net.createServer((peer) => peer.resume());
  await serve(silent, async (port) => {
    const connector = undiciConnector({ timeout: SHORT });
    const target = { hostname: HERE, protocol: "https:", port: `${port}` };
    const [error, socket] = await new Promise<unknown[]>((resolve) =>
      connector(target, (...result) => resolve(result))
    );
    assertEquals(socket, null);
    assertInstanceOf(error, Errno.ETIMEDOUT);
    assertEquals(error.port, port);
    assert(error.message.includes(` ${HERE}:${port}: `), error.message);
  });
  const connector = undiciConnector();
  for (const protocol of ["http:", "https:"]) {
    const target = { hostname: HERE, protocol, port: `${freePort()}` };
    const [error, socket] = await new Promise<unknown[]>((resolve) =>
      connector(target, (...result) => resolve(result))
    );
    assertEquals(socket, null);
    assertInstanceOf(error, Errno.ECONNREFUSED);
  }
});
