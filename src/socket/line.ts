/**
 * Calls that go one after the other: first come, first served.
 *
 * @module
 */
import {
  clearTimeout,
  LONGEST_TIMER,
  performance,
  setTimeout,
  type Timer,
} from "../../ffi/timers.ts";
import { heedAbort, ignoreAbort } from "../errors/arguments.ts";
import { ABORTED } from "../reactor/reactor.ts";
import type { Limits } from "./limits.ts";

/** The result of a wait for one's turn, where that has come. */
export const ITS_TURN = 1;

/** A line of calls, of which one has its turn and the others stand behind it. */
export class Line {
  #isTaken = false;
  /** In the order in which they came, `null` before there was any. */
  #standing: Set<Standing> | null = null;

  /** Whether nobody has a turn, or waits for one. */
  get isFree(): boolean {
    return !this.#isTaken;
  }

  /** Takes the turn, where it is free. It lasts until {@linkcode Line.pass}. */
  take(): void {
    this.#isTaken = true;
  }

  /** Ends a turn, which is the next one's then. */
  pass(): void {
    if (this.#standing !== null) {
      for (const next of this.#standing) return next.leave(ITS_TURN);
    }
    this.#isTaken = false;
  }

  /** Has those leave whose limits say that they are over. */
  recall(): void {
    if (this.#standing === null) return;
    for (const one of this.#standing) {
      if (one.limits.isOver) one.leave(ABORTED);
    }
  }

  /**
   * Waits for the turn. It is for the one that has it to keep the process alive.
   *
   * @param end When to give up, on the clock of `performance.now()`.
   * @returns {@linkcode ITS_TURN}, 0 at the end, or `ABORTED`.
   */
  wait(end: number, limits: Limits): Promise<number> {
    return new Promise((resolve) => {
      this.#standing ??= new Set();
      const standing = new Standing(this.#standing, limits, end, resolve);
      standing.join();
    });
  }
}

/** One that waits for its turn. */
class Standing {
  readonly limits: Limits;
  readonly #line: Set<Standing>;
  readonly #end: number;
  readonly #resolve: (result: number) => void;
  /** What may be another one each time that it is asked for. */
  readonly #signal: AbortSignal | undefined;
  #timer: Timer | null = null;

  constructor(
    line: Set<Standing>,
    limits: Limits,
    end: number,
    resolve: (result: number) => void,
  ) {
    this.limits = limits;
    this.#line = line;
    this.#end = end;
    this.#resolve = resolve;
    this.#signal = limits.signal;
  }

  /** @throws What a proxy of a signal may throw; it stands in no line then. */
  join(): void {
    // An aborted signal sends no second event.
    if (this.#signal?.aborted) return this.#resolve(ABORTED);
    heedAbort(this.#signal, this.#onAbort);
    this.#line.add(this);
    if (this.#end !== Infinity) this.#setTimer();
  }

  /** Leaves the line. */
  leave(result: number): void {
    this.#line.delete(this);
    ignoreAbort(this.#signal, this.#onAbort);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#resolve(result);
  }

  readonly #onAbort = (): void => this.leave(ABORTED);

  readonly #onTimer = (): void => {
    this.#timer = null;
    if (performance.now() >= this.#end) this.leave(0);
    else this.#setTimer();
  };

  #setTimer(): void {
    const left = Math.ceil(this.#end - performance.now());
    const delay = Math.min(Math.max(left, 0), LONGEST_TIMER);
    this.#timer = setTimeout(this.#onTimer, delay);
    this.#timer.unref();
  }
}
