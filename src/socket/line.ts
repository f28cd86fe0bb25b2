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
  /** Those that stand in it. They lead to each other, for any may leave. */
  #first: Standing | null = null;
  #last: Standing | null = null;

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
    if (this.#first === null) this.#isTaken = false;
    else this.#first.leave(ITS_TURN);
  }

  /** Has those leave whose limits say that they are over. */
  recall(): void {
    for (let one = this.#first; one !== null;) {
      const { after } = one;
      if (one.limits.isOver) one.leave(ABORTED);
      one = after;
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
      new Standing(this, limits, end, resolve).join();
    });
  }

  /** Adds one at the end. */
  add(one: Standing): void {
    one.before = this.#last;
    if (this.#last === null) this.#first = one;
    else this.#last.after = one;
    this.#last = one;
  }

  /** Takes one out, wherever it stands. */
  remove({ before, after }: Standing): void {
    if (before === null) this.#first = after;
    else before.after = after;
    if (after === null) this.#last = before;
    else after.before = before;
  }
}

/** A line that is in a table as long as anyone is in it. */
export class NamedLine extends Line {
  readonly #lines: Map<string, Line>;
  readonly #named: { toString(): string };
  #name = "";

  /** @param named What to name it by, once it is taken. */
  constructor(lines: Map<string, Line>, named: { toString(): string }) {
    super();
    this.#lines = lines;
    this.#named = named;
  }

  override take(): void {
    this.#name = this.#named.toString();
    this.#lines.set(this.#name, this);
    super.take();
  }

  override pass(): void {
    super.pass();
    if (this.isFree) this.#lines.delete(this.#name);
  }
}

/** One that waits for its turn. */
class Standing {
  before: Standing | null = null;
  after: Standing | null = null;
  readonly limits: Limits;
  readonly #line: Line;
  readonly #end: number;
  readonly #resolve: (result: number) => void;
  /** What may be another one each time that it is asked for. */
  readonly #signal: AbortSignal | undefined;
  #timer: Timer | null = null;
  #hasLeft = false;

  constructor(
    line: Line,
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
    // A proxy of a signal may keep the listener that is taken away.
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#line.remove(this);
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
