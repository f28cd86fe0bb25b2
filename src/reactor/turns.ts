import type { Libc } from "../../ffi/contract.ts";
import { performance, setImmediate } from "../../ffi/timers.ts";

/**
 * How long work may follow on work without a turn of the event loop, in ms.
 * What else a turn holds, and the collector, need room below ten.
 */
const LONGEST_WORK = 2;

/**
 * How long turns may be given by what {@linkcode Libc.hasNews} says alone, in
 * ms: it may know less than all.
 */
const LONGEST_TRUST = 8;

/** When every kind of work had a turn last. */
let servedAt = -Infinity;

/** How many of {@linkcode yieldIfDue}'s callers share one look at the clock. */
const CLOCK_EVERY = 8;

/** When the work began that no turn of the event loop has interrupted, -1 for none. */
let workStart = -1;

/** What waits for a turn, and whether turns are being given. */
const queue: (() => void)[] = [];
let isGiving = false;

/** How many calls have asked, and how many had when this turn began. */
let calls = 0;
let callsBefore = 0;
let isWatching = false;

/**
 * Lets all other work have a turn if ours has gone on for too long.
 *
 * A loop over connects that are done at once would otherwise live in
 * microtasks alone, and no timer, signal or other socket would be served.
 *
 * @returns A promise to await, or `null` if no pause is due.
 */
export function yieldIfDue(libc: Libc): Promise<unknown> | null {
  if (!isGiving) {
    if (++calls % CLOCK_EVERY !== 0) return null;
    const now = performance.now();
    if (workStart < 0) {
      workStart = now;
      watchForIdleness();
      return null;
    }
    if (now - workStart < LONGEST_WORK) return null;
    giveTurns(libc);
  }
  return new Promise<void>((resolve) => queue.push(resolve));
}

/** Calls back when every kind of work has had a turn: timers, sockets, signals. */
export function afterAll(libc: Libc, callback: () => void): void {
  const now = performance.now();
  if (now - servedAt < LONGEST_TRUST && libc.hasNews?.() === false) {
    return setImmediate(callback);
  }
  servedAt = now;
  let left = libc.turns;
  function turn(): void {
    if (--left === 0) callback();
    else setImmediate(turn);
  }
  setImmediate(turn);
}

/**
 * Lets those go on who wait for a turn, in each only as many as there is time
 * for: all at once, a thousand of them would block the loop once more.
 */
async function giveTurns(libc: Libc): Promise<void> {
  isGiving = true;
  do {
    await new Promise<void>((resolve) => afterAll(libc, resolve));
    workStart = performance.now();
    const end = workStart + LONGEST_WORK;
    while (performance.now() < end) {
      for (const goOn of queue.splice(0, CLOCK_EVERY)) goOn();
      // Few go on with this turn as they please; one alone is a loop over
      // connects, which would queue up once more for each.
      if (queue.length === 0) break;
      // What they go on to do comes before the next look at the clock.
      for (let i = 0; i < CLOCK_EVERY; i++) await null;
    }
  } while (queue.length > 0);
  isGiving = false;
  watchForIdleness();
}

/** Notices the first turn without a call: the event loop has its rest then. */
function watchForIdleness(): void {
  if (isWatching) return;
  isWatching = true;
  callsBefore = calls;
  setImmediate(noticeIdleness);
}

function noticeIdleness(): void {
  isWatching = false;
  if (isGiving) return;
  if (calls === callsBefore) workStart = -1;
  else watchForIdleness();
}
