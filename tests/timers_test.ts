import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { execFileSync } from "node:child_process";
import type { mock as Mock } from "node:test";
import process from "node:process";
import {
  clearInterval,
  clearTimeout,
  performance,
  setImmediate,
  setInterval,
  setTimeout,
} from "../ffi/timers.ts";
import { connect, type ErrnoError } from "../mod.ts";
import { blackHole, canBlackHole, listen } from "./_fixtures.ts";
import { on, test } from "./_harness.ts";

/** Takes time away from the program until disposed. */
type Faker = () => Disposable;

const FAKERS: Readonly<Record<string, Faker>> = {
  "the mock of node:test"() {
    const { mock } = process.getBuiltinModule("node:test") as unknown as {
      mock: typeof Mock;
    };
    mock.timers.enable({ apis: ["setTimeout", "setImmediate", "setInterval"] });
    return { [Symbol.dispose]: () => mock.timers.reset() };
  },

  "other globals"() {
    const names = [
      "setTimeout",
      "clearTimeout",
      "setImmediate",
      "setInterval",
      "clearInterval",
    ] as const;
    const before = names.map((name) =>
      Object.getOwnPropertyDescriptor(globalThis, name)!
    );
    for (const name of names) {
      Object.defineProperty(globalThis, name, {
        value() {},
        configurable: true,
      });
    }
    // The clock is a method, which such libraries replace in place.
    const { now } = globalThis.performance;
    globalThis.performance.now = () => 0;
    const { hrtime } = process;
    process.hrtime = (() => [0, 0]) as unknown as typeof hrtime;
    return {
      [Symbol.dispose]() {
        globalThis.performance.now = now;
        process.hrtime = hrtime;
        for (const [i, name] of names.entries()) {
          Object.defineProperty(globalThis, name, before[i]!);
        }
      },
    };
  },
};

for (const [name, fake] of Object.entries(FAKERS)) {
  test(`timers fire under ${name}`, async () => {
    using _faked = fake();
    await new Promise<void>((resolve) => setImmediate(resolve));
    const start = performance.now();
    const late = setTimeout(() => assertEquals("called off", "fired"), 20);
    await new Promise<void>((resolve) => {
      setTimeout(resolve, 30);
      clearTimeout(late);
    });
    assertGreater(performance.now() - start, 25);
    const idle = setTimeout(() => {}, 30_000);
    idle.unref();
    clearTimeout(idle);
    let ticks = 0;
    const again = performance.now();
    await new Promise<void>((resolve) => {
      const ticker = setInterval(() => {
        if (++ticks < 3) return;
        clearInterval(ticker);
        resolve();
      }, 10);
    });
    assertGreater(performance.now() - again, 25);
    const never = setInterval(() => ticks++, 1);
    clearInterval(never);
    await new Promise<void>((resolve) => setTimeout(resolve, 20));
    assertEquals(ticks, 3);
  });

  test(`connect() goes on under ${name}`, async () => {
    using listener = listen();
    using hole = blackHole();
    const { port } = hole.address;
    using _faked = fake();
    (await connect(listener.address)).close();
    const start = performance.now();
    let error: unknown;
    try {
      await connect({ hostname: hole.address.hostname, port, timeout: 60 });
    } catch (caught) {
      error = caught;
    }
    assertEquals((error as ErrnoError).timeoutKind, "deadline");
    assertLess(performance.now() - start, 10_000);
  }, { skip: canBlackHole() });
}

test("a first connect has Node make none of what it makes late", () => {
  using listener = listen();
  const program = `
    const { connectSync } = await import(process.argv[1]);
    connectSync({ port: Number(process.argv[2]) }).close();
    const made = process.moduleLoadList.filter((name) =>
      /^NativeModule (?:ffi|perf_hooks|stream|internal.worker.io)$/.test(name));
    process.getBuiltinModule("node:fs").writeSync(1, made.join());`;
  const { href } = new URL("../mod.ts", import.meta.url);
  const made = execFileSync(process.execPath, [
    "--no-warnings",
    "--input-type=module",
    "--eval",
    program,
    href,
    `${listener.address.port}`,
  ], { encoding: "utf8" });
  assertEquals(made, "NativeModule ffi");
}, { skip: on("node") });

test("a first connect has Deno make no process", () => {
  using listener = listen();
  const program = `
    let reads = 0;
    const { get } = Object.getOwnPropertyDescriptor(globalThis, "process");
    Object.defineProperty(globalThis, "process", {
      get() {
        reads++;
        return get.call(globalThis);
      },
    });
    const { connect, connectSync } = await import(Deno.args[0]);
    const port = Number(Deno.args[1]);
    connectSync({ port }).close();
    (await connect({ port })).close();
    console.log(reads);`;
  const { href } = new URL("../mod.ts", import.meta.url);
  const reads = execFileSync(process.execPath, [
    "run",
    "--allow-all",
    "--no-config",
    `data:text/javascript,${encodeURIComponent(program)}`,
    href,
    `${listener.address.port}`,
  ], { encoding: "utf8" });
  assertEquals(reads, "0\n");
}, { skip: on("deno") });
