import {
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { currentAbi } from "../ffi/libc.ts";
import { abstractUnix, rawAddress, Socket, unix } from "../mod.ts";
import { pair, watchLibc } from "./_fixtures.ts";
import { onLinux, test } from "./_harness.ts";

// A caller's typed array says what it likes of itself: only the engine knows
// how much memory it has, and what lies beyond is somebody else's.

/** How much memory each of the arrays has. */
const SIZE = 16;
/** How much of it they say that they have. */
const LIE = 60_000;

const elsewhere = new ArrayBuffer(8);

/** Arrays of {@linkcode SIZE} bytes that say something else. */
const LIARS: Readonly<Record<string, () => Uint8Array>> = {
  "an own length": () =>
    Object.defineProperty(new Uint8Array(SIZE), "length", { value: LIE }),
  "an own byteLength": () =>
    Object.defineProperties(new Uint8Array(SIZE), {
      length: { value: LIE },
      byteLength: { value: LIE },
      byteOffset: { value: 4096 },
      buffer: { value: elsewhere },
    }),
  "a subclass with getters": () =>
    new (class extends Uint8Array<ArrayBuffer> {
      override get length(): number {
        return LIE;
      }
      override get byteLength(): number {
        return LIE;
      }
      override get byteOffset(): number {
        return 4096;
      }
      override get buffer(): ArrayBuffer {
        return elsewhere;
      }
      override subarray(): Uint8Array<ArrayBuffer> {
        return this;
      }
      static get [Symbol.species](): Uint8ArrayConstructor {
        throw new Error("a species is asked for");
      }
    })(new ArrayBuffer(SIZE)),
  "another prototype": () =>
    Object.setPrototypeOf(new Uint8Array(SIZE), {
      length: LIE,
      byteLength: LIE,
      buffer: elsewhere,
    }),
  "getters that throw": () =>
    Object.defineProperties(
      new Uint8Array(SIZE),
      Object.fromEntries(
        ["length", "byteLength", "byteOffset", "buffer", "subarray", "slice"]
          .map((name) => [name, {
            get() {
              throw new Error(`${name} is read`);
            },
          }]),
      ),
    ),
  "a length that changes": () => {
    let length = 0;
    return Object.defineProperty(new Uint8Array(SIZE), "length", {
      get: () => length += SIZE,
    });
  },
  "a Buffer's pool": () => Buffer.from("x".repeat(SIZE)),
  "shared memory that grew": () => {
    const shared = new SharedArrayBuffer(SIZE, { maxByteLength: 64 });
    const bytes = new Uint8Array(shared, 0, SIZE);
    shared.grow(64);
    return bytes;
  },
};

for (const [title, make] of Object.entries(LIARS)) {
  test(`memory with ${title} is received into as far as it reaches`, async () => {
    using ends = pair();
    const { near, far } = ends;
    const calls: readonly ((bytes: Uint8Array) => unknown)[] = [
      (bytes) => near.recvSync(bytes),
      (bytes) => near.recvFromSync(bytes),
      (bytes) => near.recv(bytes),
      (bytes) => near.recvFrom(bytes),
      (bytes) => near.read(bytes),
    ];
    const sent = new Uint8Array(SIZE * 8).fill(7);
    for (const call of calls) {
      far.sendSync(sent);
      near.poll("POLLIN");
      const result = await call(make());
      assertEquals([result].flat()[0], SIZE, `${call}`);
      let left = sent.length - SIZE;
      while (left > 0) left -= near.recvSync(new Uint8Array(left));
    }
  });

  test(`memory with ${title} is sent as far as it reaches`, async () => {
    using ends = pair();
    const { near, far } = ends;
    const calls: readonly ((bytes: Uint8Array) => unknown)[] = [
      (bytes) => near.sendSync(bytes),
      (bytes) => near.send(bytes),
      (bytes) => near.write(bytes),
      async (bytes) => {
        const writer = near.writable.getWriter();
        await writer.write(bytes);
        writer.releaseLock();
        return SIZE;
      },
    ];
    for (const call of calls) {
      assertEquals(await call(make()), SIZE, `${call}`);
      const got = new Uint8Array(SIZE * 8);
      far.poll("POLLIN");
      assertEquals(far.recvSync(got), SIZE, `${call}`);
    }
  });

  test(`memory with ${title} is copied as far as it reaches`, () => {
    assertEquals(rawAddress(make()).toBytes().length, SIZE);
    const { SOL_SOCKET, SO_LINGER } = currentAbi();
    using watched = watchLibc();
    using socket = Socket.open();
    socket.setOption(SOL_SOCKET, SO_LINGER, make());
    const [call] = watched.calls.filter(({ name }) => name === "setsockopt");
    assertEquals(call!.args[4], SIZE);
  });

  test(`memory with ${title} is a name as far as it reaches`, () => {
    const { length } = abstractUnix("x".repeat(SIZE)).toBytes();
    assertEquals(abstractUnix(make()).toBytes().length, length);
  }, { skip: onLinux });
}

/** What looks like memory, and has none. */
const PRETENDERS: Readonly<Record<string, () => unknown>> = {
  "a proxy": () => new Proxy(new Uint8Array(SIZE), {}),
  "an heir": () => Object.create(Uint8Array.prototype),
  "an heir of an array": () => Object.create(new Uint8Array(SIZE)),
  "an object with a tag": () => ({
    [Symbol.toStringTag]: "Uint8Array",
    length: SIZE,
    buffer: elsewhere,
  }),
};

for (const [title, make] of Object.entries(PRETENDERS)) {
  test(`${title} is no memory`, async () => {
    using watched = watchLibc();
    using ends = pair();
    const { near } = ends;
    const before = watched.calls.length;
    const bytes = make() as Uint8Array;
    const calls: readonly (() => unknown)[] = [
      () => near.recvSync(bytes),
      () => near.recvFromSync(bytes),
      () => near.sendSync(bytes),
      () => rawAddress(bytes),
      () => near.setOption(1, 13, bytes),
      () => abstractUnix(bytes),
    ];
    for (const call of calls) assertThrows(call, TypeError);
    for (const name of ["recv", "recvFrom", "send", "read", "write"] as const) {
      await assertRejects(() => near[name](bytes), TypeError);
    }
    await assertRejects(
      () => near.writable.getWriter().write(bytes),
      TypeError,
    );
    assertEquals(watched.calls.length, before);
  });
}

test("options that take memory away as they are read leave none to C", async () => {
  using ends = pair();
  const { near, far } = ends;
  far.sendSync(new Uint8Array(64));
  near.poll("POLLIN");
  const calls: readonly ((bytes: Uint8Array, options: object) => unknown)[] = [
    (bytes, options) => near.sendSync(bytes, options),
    (bytes, options) => near.recvSync(bytes, options),
    (bytes, options) => near.send(bytes, options),
    (bytes, options) => near.recv(bytes, options),
  ];
  for (const call of calls) {
    const bytes = new Uint8Array(new ArrayBuffer(SIZE));
    const options = {
      get flags() {
        structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
        return 0;
      },
    };
    await assertRejects(
      async () => await call(bytes, options),
      TypeError,
      "its memory was taken away",
      `${call}`,
    );
  }
});

test("an address keeps the bytes that it was made of", () => {
  const bytes = unix("/run/x.sock").toBytes();
  const address = rawAddress(bytes);
  bytes.fill(0);
  assertNotEquals(address.toBytes(), bytes);
  assertEquals(`${address}`, "unix:/run/x.sock");
});
