/**
 * The timers and the clock that the program started with, under the names of the globals that they were.
 *
 * A program that fakes time (`mock.timers` of `node:test`, `@sinonjs/fake-timers`) replaces the global ones. A wait for the
 * kernel has to go on in real time.
 *
 * @module
 */

/** The longest time that a timer can be given, in ms; one for more fires at once. */
export const LONGEST_TIMER = 0x7fff_ffff;

/** What {@linkcode setTimeout} returns. */
export interface Timer {
  /** Lets the process end although the timer is still to fire. */
  unref(): unknown;
}

interface Timers {
  setTimeout(callback: () => void, delay: number): Timer;
  clearTimeout(timer: Timer): void;
  setInterval(callback: () => void, delay: number): Timer;
  clearInterval(timer: Timer): void;
  setImmediate(callback: () => void): object;
  clearImmediate(immediate: object): void;
}

/**
 * Calls back once, no earlier than after `delay` milliseconds.
 *
 * Keeps the process alive until then, unless `unref()` is called.
 */
export function setTimeout(callback: () => void, delay: number): Timer {
  const timer = take("setTimeout")(callback, delay);
  if (!isLazy || timer.constructor.name === "Timeout") return timer;
  take("clearTimeout")(timer);
  return new AtomicTimer(callback, delay);
}

/**
 * Calls back again and again, each time no earlier than after `delay`
 * milliseconds, until {@linkcode clearInterval}.
 *
 * Keeps the process alive until then. A new timer each time takes the
 * processor half as long again.
 */
export function setInterval(callback: () => void, delay: number): Timer {
  const timer = take("setInterval")(callback, delay);
  if (!isLazy || timer.constructor.name === "Timeout") return timer;
  take("clearInterval")(timer);
  return new AtomicTimer(callback, delay, true);
}

/** Ends what {@linkcode setInterval} began. */
export function clearInterval(timer: Timer): void {
  if (timer instanceof AtomicTimer) timer.clear();
  else take("clearInterval")(timer);
}

/** Calls a timer off. */
export function clearTimeout(timer: Timer): void {
  if (timer instanceof AtomicTimer) timer.clear();
  else take("clearTimeout")(timer);
}

/** Calls back in the next turn of the event loop, which keeps the process alive. */
export function setImmediate(callback: () => void): void {
  const immediate = take("setImmediate")(callback);
  if (!isLazy || immediate.constructor.name === "Immediate") return;
  take("clearImmediate")(immediate);
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    port2.close();
    callback();
  };
  port2.postMessage(null);
}

/**
 * Calls back some time later if the process lives on for other reasons. There is
 * no calling off, and a test runner that counts timers does not know of it.
 */
export function whenIdle(callback: () => void, delay: number): void {
  const words = new Int32Array(new SharedArrayBuffer(4));
  Promise.resolve(waitAsync(words, 0, 0, delay).value).then(callback);
}

/** The clock of all deadlines: milliseconds, which nothing sets back. */
export const performance: { now(): number } = { now: keepClock() };

/**
 * Node makes `performance` when a program first reads it, which takes 1.4 ms.
 * Its `process` has that clock at hand.
 */
function keepClock(): () => number {
  const { get, value } = keep("performance");
  // Deno takes ten milliseconds to make its `process`.
  const process = get === undefined
    ? undefined
    : (globalThis as NodeGlobals).process;
  if (process === undefined) {
    const clock = value ?? get!.call(globalThis);
    return clock.now.bind(clock);
  }
  const { hrtime } = process;
  return () => {
    const [seconds, nanoseconds] = hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  };
}

interface NodeGlobals {
  readonly process?: { hrtime(): [seconds: number, nanoseconds: number] };
}

/** By how much the program's own `performance.now()` is ahead of {@linkcode performance}. */
let ahead = keep("performance").get === undefined ? 0 : null;

/** A moment of {@linkcode performance} as the program's own `performance.now()` would have had it: Node's begins later. */
export function onOwnClock(moment: number): number {
  ahead ??= globalThis.performance.now() - performance.now();
  return moment + ahead;
}

const { waitAsync, notify } = Atomics as unknown as {
  waitAsync(
    words: Int32Array<SharedArrayBuffer>,
    index: number,
    value: number,
    timeout: number,
  ): { value: Promise<string> | string };
  notify(words: Int32Array<SharedArrayBuffer>, index: number): number;
};

/**
 * A timer of the engine, out of reach of those who fake time: Deno's own functions ask the mock of `node:test` what to do,
 * also those that a program kept from before.
 */
class AtomicTimer implements Timer {
  readonly #words = new Int32Array(new SharedArrayBuffer(4));
  /** An open port keeps the process alive, which a wait of the engine does not. */
  readonly #ports = new MessageChannel();
  #isCleared = false;

  constructor(callback: () => void, delay: number, repeats = false) {
    this.#ports.port1.onmessage = () => {};
    const wait = () => {
      const { value } = waitAsync(this.#words, 0, 0, Math.max(delay, 1));
      Promise.resolve(value).then((result) => {
        const isDue = result === "timed-out" && !this.#isCleared;
        if (isDue && repeats) wait();
        else this.unref();
        if (isDue) callback();
      });
    };
    wait();
  }

  unref(): void {
    this.#ports.port1.close();
    this.#ports.port2.close();
  }

  clear(): void {
    this.#isCleared = true;
    this.unref();
    notify(this.#words, 0);
  }
}

/** A global as it is when this module is loaded. */
function keep(name: keyof Timers | "performance"): PropertyDescriptor {
  return Object.getOwnPropertyDescriptor(globalThis, name)!;
}

const kept: Readonly<Record<keyof Timers, PropertyDescriptor>> = {
  setTimeout: keep("setTimeout"),
  clearTimeout: keep("clearTimeout"),
  setInterval: keep("setInterval"),
  clearInterval: keep("clearInterval"),
  setImmediate: keep("setImmediate"),
  clearImmediate: keep("clearImmediate"),
};

/** Whether the runtime makes its timers when a program first reads one, which takes Deno 4 ms. */
const isLazy = kept.setTimeout.get !== undefined;

/** What timers of our own take; the others need none, and Node takes 2 ms to make it. */
const { MessageChannel } = isLazy ? globalThis : {} as typeof globalThis;

/** What was needed so far. */
const taken: Partial<Timers> = {};

function take<N extends keyof Timers>(name: N): Timers[N] {
  return taken[name] ??= make(name);
}

function make<N extends keyof Timers>(name: N): Timers[N] {
  const { get, value } = kept[name];
  return get === undefined ? value : get.call(globalThis);
}
