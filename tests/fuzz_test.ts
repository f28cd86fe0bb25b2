import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import process from "node:process";
import * as api from "../mod.ts";
import { type Address, inet, inet6, Socket, unix } from "../mod.ts";
import type { ConnectTarget } from "../mod.ts";
import * as tools from "../src/tools.ts";
import { AGES } from "./_assertions.ts";
import { canCallOffNames, listen, pair } from "./_fixtures.ts";
import { test } from "./_harness.ts";

// Whatever a caller hands in, a call returns, throws, or settles its promise; it neither crashes the process nor hangs, and no
// descriptor is lost. `FUZZ_CALLS` says how many calls are made, `FUZZ_SEED` repeats a run.

const COUNT = Number(process.env.FUZZ_CALLS ?? 4000);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

/** How many calls share their sockets. */
const BATCH = 100;

// Kept from load, for the values below may replace what is global.
const { setTimeout, clearTimeout } = globalThis;

/** A generator of numbers from 0 to below 1, the same ones for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 4294967296;
  };
}

/** What the values of one run are made of. */
class Chaos {
  readonly random: () => number;
  /** What a value may do while it is looked at. */
  readonly pranks: (() => void)[] = [];

  constructor(seed: number) {
    this.random = generator(seed);
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  chance(share: number): boolean {
    return this.random() < share;
  }

  prank(): void {
    if (this.pranks.length > 0) this.pick(this.pranks)();
  }

  /** A number, more often a dangerous one than not. */
  number(): number {
    return this.pick([
      0,
      -0,
      1,
      -1,
      2,
      8,
      100,
      1.5,
      NaN,
      Infinity,
      -Infinity,
      2 ** 15,
      2 ** 16,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32,
      2 ** 53,
      Number.MAX_VALUE,
      Number.MIN_VALUE,
      this.below(1 << 20),
    ]);
  }

  text(): string {
    return this.pick([
      "",
      "x",
      "\0",
      "127.0.0.1",
      "::1",
      "999.1.1.1",
      "[::1",
      "fe80::1%nowhere",
      "POLLIN",
      "POLLOUT",
      "ttl",
      "noDelay",
      "__proto__",
      "constructor",
      "toString",
      "\ud800",
      "\u{1f600}".repeat(30),
      "x".repeat(100_000),
    ]);
  }

  /** Memory of every kind, and what only looks like it. */
  memory(): unknown {
    const size = this.pick([0, 1, 4, 16, 4096, 70_000]);
    const makers: (() => unknown)[] = [
      () => new Uint8Array(size),
      () => new Uint8Array(new ArrayBuffer(size + 8), 3, size),
      () => Buffer.from("x".repeat(Math.min(size, 64))),
      () => new Uint8Array(new SharedArrayBuffer(size)),
      () => {
        const shared = new SharedArrayBuffer(size, { maxByteLength: 1 << 17 });
        const bytes = new Uint8Array(shared);
        this.pranks.push(() => shared.grow(1 << 17));
        return bytes;
      },
      () => {
        const buffer = new ArrayBuffer(size, { maxByteLength: 1 << 17 });
        const bytes = this.chance(0.5)
          ? new Uint8Array(buffer)
          : new Uint8Array(buffer, 0, size >> 1);
        this.pranks.push(() => buffer.resize(this.chance(0.5) ? 0 : 1));
        return bytes;
      },
      () => {
        const bytes = new Uint8Array(new ArrayBuffer(size));
        this.pranks.push(() => {
          if (!bytes.buffer.detached) bytes.buffer.transfer();
        });
        return bytes;
      },
      () => {
        const bytes = new Uint8Array(new ArrayBuffer(size));
        bytes.buffer.transfer();
        return bytes;
      },
      () =>
        Object.defineProperties(new Uint8Array(size), {
          length: { value: this.number() },
          byteLength: { value: 1 << 20 },
          byteOffset: { value: 1 << 20 },
        }),
      () =>
        new (class extends Uint8Array<ArrayBuffer> {
          override get length(): number {
            return 1 << 24;
          }
          override get buffer(): ArrayBuffer {
            return new ArrayBuffer(0);
          }
          override subarray(): Uint8Array<ArrayBuffer> {
            return this;
          }
        })(new ArrayBuffer(size)),
      () => new Proxy(new Uint8Array(size), {}),
      () => Object.create(Uint8Array.prototype),
      () => Object.setPrototypeOf(new Uint8Array(size), null),
      () => new Uint16Array(size >> 1),
      () => new DataView(new ArrayBuffer(size)),
      () => new ArrayBuffer(size),
      () => ({ length: size, buffer: new ArrayBuffer(size), 0: 1 }),
    ];
    return this.pick(makers)();
  }

  /** A signal, and what only looks like one. */
  signal(): unknown {
    const controller = new AbortController();
    const makers: (() => unknown)[] = [
      () => controller.signal,
      () => {
        this.pranks.push(() => controller.abort(new Error("enough")));
        return controller.signal;
      },
      () => AbortSignal.abort(),
      () => AbortSignal.timeout(1),
      () => ({ aborted: false, throwIfAborted() {} }),
      () => ({
        aborted: false,
        throwIfAborted() {},
        addEventListener: () => {
          throw new Error("no listeners");
        },
      }),
      () =>
        new Proxy(controller.signal, {
          get: (target, name) => {
            this.prank();
            if (this.chance(0.2)) throw new Error(`no ${String(name)}`);
            return Reflect.get(target, name, target);
          },
        }),
      () => Object.create(controller.signal),
      () =>
        Object.defineProperty(controller.signal, "aborted", {
          get: () => {
            throw new Error("not known");
          },
        }),
      () => new EventTarget(),
      () => controller,
    ];
    return this.pick(makers)();
  }

  address(): unknown {
    const makers: (() => unknown)[] = [
      () => inet("127.0.0.1", this.pick(ports)),
      () => inet6("::1", this.pick(ports)),
      () => unix("/nowhere/x.sock"),
      () => api.unspecified(),
      () => api.rawAddress(new Uint8Array([2, 0, 0, 9, 127, 0, 0, 1])),
      () => ({ ...inet("127.0.0.1", 9) }),
      () => Object.create(inet("127.0.0.1", 9)),
      () => new Proxy(inet("127.0.0.1", 9), {}),
      () => this.value(),
    ];
    return this.pick(makers)();
  }

  /** Options with keys that some call understands. */
  bag(): unknown {
    const values: Record<string, () => unknown> = {
      flags: () => this.chance(0.7) ? 0x40 : this.value(),
      timeout: () => this.chance(0.7) ? this.below(5) : this.value(),
      signal: () => this.signal(),
      to: () => this.address(),
      softErrors: () => this.pick(["fail", "wait", this.value()]),
      port: () => this.chance(0.7) ? this.pick(ports) : this.value(),
      hostname: () => this.chance(0.6) ? "127.0.0.1" : this.text(),
      transport: () => this.pick(["tcp", "unix", "vsock", this.value()]),
      path: () => this.pick(["/nowhere/x.sock", "\0x", this.value()]),
      family: () => this.pick(["inet", "inet6", this.value()]),
      type: () => this.pick(["stream", "dgram", this.value()]),
      nonblocking: () => true,
      localPort: () => this.number(),
      localPortRange: () => [this.number(), this.number()],
      localAddress: () => this.pick(["127.0.0.1", "::1", this.value()]),
      attemptDelay: () => this.number(),
      interface: () => this.pick(["lo", this.value()]),
      socketOptions: () => this.pick([{ ttl: this.number() }, this.value()]),
      size: () => this.value(),
      limit: () => this.value(),
    };
    const bag = this.pick([
      {},
      Object.create(null),
      Object.create({ flags: 1 }),
    ]);
    for (let i = this.below(4); i > 0; i--) {
      const name = this.pick(Object.keys(values));
      const value = values[name]!();
      if (this.chance(0.3)) {
        Object.defineProperty(bag, name, {
          enumerable: true,
          configurable: true,
          get: () => {
            this.prank();
            if (this.chance(0.1)) throw new Error("a getter throws");
            return this.chance(0.5) ? value : values[name]!();
          },
        });
      } else {
        bag[name] = value;
      }
    }
    return this.chance(0.1) ? new Proxy(bag, {}) : bag;
  }

  /** Why a stream is given up. Deno's own streams throw at a revoked proxy. */
  reason(): unknown {
    return this.pick([undefined, null, 5, "enough", new Error("enough"), {}]);
  }

  value(depth = 0): unknown {
    const makers: (() => unknown)[] = [
      () => undefined,
      () => null,
      () => this.chance(0.5),
      () => this.number(),
      () => this.number(),
      () => this.text(),
      () => BigInt(this.below(1 << 20)),
      () => Symbol("x"),
      () => () => this.prank(),
      () => [],
      () => depth > 1 ? [] : [this.value(depth + 1), this.value(depth + 1)],
      () => ({}),
      () => Object.create(null),
      () => ({
        toString() {
          throw new Error("no text");
        },
      }),
      () => ({ then: () => {} }),
      () =>
        new Proxy({}, {
          get: () => {
            throw new Error("no property");
          },
          ownKeys: () => {
            throw new Error("no keys");
          },
        }),
      () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
      },
      () => this.memory(),
      () => this.signal(),
      () => depth > 1 ? {} : this.bag(),
    ];
    return this.pick(makers)();
  }
}

/** Where something listens, and where nothing does. */
let ports: readonly number[] = [9];

/** Methods whose names cannot be called at random, with what keeps the process and others from harm. */
const TAMED: Readonly<
  Record<string, (socket: Socket, chaos: Chaos) => unknown>
> = {
  // Without a time it waits for ever, as it says.
  poll: (socket, chaos) =>
    socket.poll(
      chaos.pick(["POLLIN", "POLLOUT", chaos.value()]) as "POLLIN",
      chaos.pick([0, 1, NaN, -1, "1", null, {}]) as number,
    ),
  acceptSync: (socket, chaos) =>
    (socket as unknown as Record<string, (bag: object) => Socket>)
      .acceptSync!({ timeout: chaos.pick([0, 1, NaN]) }).close(),
  accept: async (socket, chaos) => {
    const accepted = await (socket as unknown as Record<
      string,
      (bag: unknown) => Promise<Socket>
    >).accept!(chaos.bag());
    accepted.close();
  },
  connectSync: (socket, chaos) =>
    socket.connectSync(chaos.address() as Address, {
      timeout: chaos.pick([0, 1, NaN]),
    }),
  detach: (socket) => Socket.fromFd(socket.detach()).close(),
  toNodeSocket: async (socket) => {
    const other = socket.toNodeSocket().on("error", () => {});
    const over = new Promise((resolve) => other.once("close", resolve));
    other.destroy();
    await over;
  },
  toBunSocket: async (socket, chaos) => {
    const handlers = chaos.pick([{ data() {} }, chaos.value()]) as object;
    const other = await socket.toBunSocket(handlers);
    other.end();
  },
  // Level and option stay between this machine and its peer.
  setOption: (socket, chaos) =>
    chaos.chance(0.5)
      ? socket.setOption(
        chaos.pick(["ttl", "linger", "keepAlive", chaos.text()]) as "ttl",
        chaos.value() as number,
      )
      : socket.setOption(
        chaos.pick([1, 6, NaN]),
        chaos.number(),
        chaos.value() as number,
      ),
  readable: async (socket, chaos) => {
    const stream = socket.readable;
    if (stream.locked) return;
    const reader = stream.getReader({
      mode: chaos.chance(0.5) ? "byob" : undefined,
    } as { mode: "byob" });
    try {
      await reader.read(chaos.memory() as Uint8Array<ArrayBuffer>);
      if (chaos.chance(0.3)) await reader.cancel(chaos.reason());
    } finally {
      reader.releaseLock();
    }
  },
  writable: async (socket, chaos) => {
    const stream = socket.writable;
    if (stream.locked) return;
    const writer = stream.getWriter();
    writer.closed.catch(() => {});
    writer.ready.catch(() => {});
    try {
      await writer.write(chaos.memory() as Uint8Array);
      if (chaos.chance(0.3)) await writer.close();
      if (chaos.chance(0.3)) await writer.abort(chaos.reason());
    } finally {
      writer.releaseLock();
    }
  },
};

const METHODS = [
  ...new Set([
    ...Object.getOwnPropertyNames(Socket.prototype),
    ...Object.keys(TAMED),
  ]),
].filter((name) => name !== "constructor" && name in Socket.prototype);

/** Every function of the package that opens no connection to wherever a value leads. */
const FUNCTIONS: Readonly<Record<string, (chaos: Chaos) => unknown>> = {
  ...Object.fromEntries(
    ([
      "inet",
      "inet6",
      "unix",
      "abstractUnix",
      "vsock",
      "rawAddress",
      "unspecified",
      "explain",
      "isErrno",
      "errnoName",
    ] as const).map((name) => [name, (chaos: Chaos) => {
      const call = api[name] as (...args: unknown[]) => unknown;
      return call(chaos.value(), chaos.value(), chaos.value());
    }]),
  ),
  connect: async (chaos) => {
    const socket = await api.connect(
      { port: chaos.pick(ports), ...chaos.bag() as object },
      { timeout: 5 },
    );
    socket.close();
  },
  "connect, with anything": async (chaos) => {
    (await api.connect(chaos.value() as api.ConnectOptions, {
      timeout: 5,
    })).close();
  },
  connectSync: (chaos) => {
    const bag = chaos.bag() as object;
    api.connectSync({ port: 9, ...bag, timeout: chaos.pick([0, 1]) }).close();
  },
  open: (chaos) => Socket.open(chaos.bag() as object).close(),
  "open, with anything": (chaos) =>
    Socket.open(chaos.value() as object).close(),
  fromFd: (chaos) =>
    Socket.fromFd(chaos.pick([-1, 1.5, NaN, 2 ** 30, "3", null, {}]) as number)
      .close(),
  "new Socket": (chaos) =>
    new (Socket as unknown as new (...args: unknown[]) => Socket)(
      chaos.value(),
      chaos.value(),
      chaos.number(),
    ),
  waitFor: async (chaos) => {
    const target = chaos.pick([
      { port: chaos.pick(ports), ...chaos.bag() as object },
      chaos.address(),
      chaos.value(),
      [chaos.address(), chaos.bag()],
    ]) as ConnectTarget;
    await tools.waitFor(target, {
      timeout: 5,
      until: chaos.pick(["open", "closed", chaos.value()]) as "open",
      stable: chaos.pick([1, 2, chaos.value()]) as number,
      signal: chaos.signal() as AbortSignal,
      onReady: () => chaos.prank(),
    });
  },
  ping: async (chaos) => {
    const target = chaos.pick([
      { port: chaos.pick(ports), ...chaos.bag() as object },
      chaos.address(),
      chaos.value(),
    ]) as ConnectTarget;
    const pace = chaos.pick([
      { interval: chaos.pick([0, 1]) },
      { rate: chaos.pick([1000, chaos.number()]) },
    ]);
    const probes = tools.ping(target, {
      ...pace,
      count: 2,
      timeout: 5,
      refused: chaos.pick(["answer", "failure", chaos.value()]) as "answer",
      signal: chaos.signal() as AbortSignal,
    });
    // Where everything is unsent, it goes on for as long as somebody reads.
    const timer = setTimeout(() => probes.return(), 20);
    try {
      await probes.next();
    } finally {
      clearTimeout(timer);
    }
    await probes.return();
  },
  trace: async (chaos) => {
    const target = chaos.address() as Address;
    const hops = tools.trace(target, {
      timeout: 5,
      maxHops: chaos.pick([1, 2, chaos.number()]),
      queries: 1,
      inFlight: chaos.pick([1, 2, chaos.number()]),
      signal: chaos.signal() as AbortSignal,
    });
    await hops.next();
    await hops.return();
  },
  Histogram: (chaos) => {
    const histogram = new tools.Histogram();
    histogram.record(chaos.pick([chaos.number(), 1]));
    histogram.quantile(chaos.pick([chaos.value(), 0.5]) as number);
    histogram.merge(chaos.pick([chaos.value(), histogram]) as never);
    return [histogram.toHgrm(), histogram.toJSON()];
  },
  errors: (chaos) => {
    const codes = Object.keys(api.Errno) as (keyof typeof api.Errno)[];
    const error = new api.Errno[chaos.pick(codes)](
      chaos.value() as api.ErrnoContext,
    );
    return [`${error}`, error.toJSON()];
  },
  "an address's methods": (chaos) => {
    const address = chaos.address() as Address;
    address.equals(chaos.address() as Address);
    return [address.toBytes(), `${address}`];
  },
  "methods of nobody": (chaos) => {
    const method = Reflect.get(Socket.prototype, chaos.pick(METHODS), Socket);
    return (method as (...args: unknown[]) => unknown).call(chaos.value());
  },
};

/** What somebody may have put where every object inherits from it. */
const POLLUTIONS: readonly string[] = [
  "timeout",
  "signal",
  "flags",
  "to",
  "port",
  "hostname",
  "transport",
  "path",
  "length",
  "from",
  "value",
  "then",
  "type",
  "start",
];

/** Calls with one property of all objects in place, which is gone when the call has returned. */
function polluted<R>(chaos: Chaos, work: () => R): R {
  const name = chaos.pick(POLLUTIONS);
  Object.defineProperty(Object.prototype, name, {
    value: chaos.pick([1, "127.0.0.1", {}, -1, "x"]),
    configurable: true,
    writable: true,
  });
  try {
    return work();
  } finally {
    delete (Object.prototype as unknown as Record<string, unknown>)[name];
  }
}

/** Makes one call, and returns what has to settle after it. */
function callOne(
  chaos: Chaos,
  sockets: readonly Socket[],
): [name: string, pending: Promise<unknown> | null] {
  chaos.pranks.length = 0;
  const socket = chaos.pick(sockets);
  chaos.pranks.push(() => socket.close(), () => {}, () => socket.unref());
  const isMethod = chaos.chance(0.75);
  const name = chaos.pick(isMethod ? METHODS : Object.keys(FUNCTIONS));
  const call = (): unknown => {
    if (!isMethod) return FUNCTIONS[name]!(chaos);
    const tamed = TAMED[name];
    if (tamed !== undefined) return tamed(socket, chaos);
    const property = Reflect.get(socket, name) as unknown;
    if (typeof property !== "function") return property;
    const makers = [
      () => chaos.memory(),
      () => chaos.address(),
      () => chaos.bag(),
      () => chaos.value(),
    ];
    const args = Array.from(
      { length: chaos.below(4) },
      (_, i) => i > 0 && chaos.chance(0.7) ? chaos.bag() : chaos.pick(makers)(),
    );
    return property.apply(socket, args);
  };
  let pending: Promise<unknown> | null = null;
  try {
    const result = chaos.chance(0.05) ? polluted(chaos, call) : call();
    if (result instanceof Promise) {
      pending = result.then(() => null, () => null);
    }
    if (result instanceof Socket) result.close();
    // Memory changes and signals abort while the call waits, too.
    if (chaos.chance(0.3)) chaos.prank();
  } catch {
    // What is thrown is for other tests to look at.
  }
  return [name, pending];
}

test(`${COUNT} calls with hostile values end, seed ${SEED}`, async () => {
  const chaos = new Chaos(SEED);
  const isEnding = new Map<string, number>();
  for (let done = 0; done < COUNT; done += BATCH) {
    using listener = listen();
    ports = [listener.address.port, 9];
    using connected = pair();
    using other = pair();
    using datagram = Socket.open({ type: "dgram", nonblocking: true });
    using bare = Socket.open({ nonblocking: true });
    const sockets = [connected.near, connected.far, other.near, datagram, bare];
    for (const socket of sockets) socket.nonblocking = true;
    const pending: Promise<unknown>[] = [];
    for (let i = 0; i < BATCH; i++) {
      const [name, result] = callOne(chaos, sockets);
      if (result === null) continue;
      isEnding.set(name, (isEnding.get(name) ?? 0) + 1);
      pending.push(result.then(() => {
        isEnding.set(name, isEnding.get(name)! - 1);
      }));
      // Now and then, so that some run into each other.
      if (chaos.chance(0.05)) await Promise.resolve();
    }
    await Promise.resolve();
    for (const socket of sockets) socket.close();
    let timer;
    const isOver = await Promise.race([
      Promise.all(pending).then(() => true),
      new Promise<false>((resolve) => {
        timer = setTimeout(() => resolve(false), AGES);
      }),
    ]);
    clearTimeout(timer);
    if (!isOver) {
      const names = [...isEnding].filter(([, left]) => left > 0);
      throw new Error(
        `Calls hang after ${done}, seed ${SEED}: ${JSON.stringify(names)}`,
      );
    }
  }
  // All still works.
  using ends = pair();
  ends.near.sendSync(new Uint8Array([1, 2, 3]));
  assertEquals(await ends.far.recv(new Uint8Array(8), { timeout: AGES }), 3);
  // Else a resolver keeps sockets of its own for names that nobody waits for any more.
}, { skip: canCallOffNames() });
