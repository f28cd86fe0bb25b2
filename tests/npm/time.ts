/**
 * `@std/testing/time` by way of `node:test`, for machines and runtimes that do not reach JSR.
 *
 * @module
 */
import { mock } from "node:test";
import { setImmediate } from "node:timers";

let current: FakeTime | null = null;

/** Stops the clock and the timers, and moves them by hand. There is one at a time. */
export class FakeTime {
  readonly start: number;
  #restored = false;

  constructor(start: number | string | Date = Date.now()) {
    if (current !== null) {
      throw new Error("Cannot construct FakeTime: time is already faked");
    }
    this.start = new Date(start).valueOf();
    mock.timers.enable({
      apis: ["Date", "setTimeout", "setInterval"],
      now: this.start,
    });
    current = this;
  }

  static restore(): void {
    if (current === null) {
      throw new Error("Cannot restore time: time is already restored");
    }
    current.restore();
  }

  get now(): number {
    return Date.now();
  }

  /** Moves the clock forward, and runs every timer that falls due on the way. */
  tick(ms = 0): void {
    this.#check();
    mock.timers.tick(ms);
  }

  async tickAsync(ms = 0): Promise<void> {
    await this.runMicrotasks();
    this.tick(ms);
    await this.runMicrotasks();
  }

  runAll(): void {
    this.#check();
    mock.timers.runAll();
  }

  async runAllAsync(): Promise<void> {
    await this.runMicrotasks();
    this.runAll();
    await this.runMicrotasks();
  }

  /** Lets every promise that is settled by now run what waits for it: a turn of the event loop comes after all of them. */
  runMicrotasks(): Promise<void> {
    this.#check();
    return new Promise((resolve) => setImmediate(resolve));
  }

  restore(): void {
    this.#check();
    this.#restored = true;
    current = null;
    mock.timers.reset();
  }

  [Symbol.dispose](): void {
    if (!this.#restored) this.restore();
  }

  #check(): void {
    if (this.#restored) {
      throw new Error("Cannot use FakeTime: time is already restored");
    }
  }
}
