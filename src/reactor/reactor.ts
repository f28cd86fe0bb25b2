/**
 * Waits for any number of descriptors on one thread, with at most one parked
 * wait off it.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { performance, setImmediate } from "../../ffi/timers.ts";
import { openSelector, type Selector } from "./selector.ts";

/** The answer that the wait was called off by {@linkcode cancelWaits}. */
export const CLOSED = -0x1_0000;

/** The answer that the signal of the wait was aborted. */
export const ABORTED = -0x1_0001;

/**
 * How long descriptors are looked at once a turn before a wait is parked, in
 * ms.
 *
 * Parking costs two hops between threads, 40 to 50 us, while a turn with a look
 * costs 2: within one round trip of a local network, about a millisecond,
 * looking wins. Past that the hops no longer show, and looking would burn a
 * core for nothing.
 */
const SPIN = 2;

/**
 * How long work may follow on work without a turn of the event loop, in ms.
 * What else a turn holds, and the collector, need room below five.
 */
const LONGEST_TURN = 4;

/**
 * How many waits end by their deadlines in one turn: each is an error to make
 * and a socket to close, up to 100 us.
 */
const MOST_EXPIRED = 16;

/** How many of {@linkcode takeTurn}'s callers share one look at the clock. */
const CLOCK_EVERY = 8;

/** The longest time poll(2) can be told, in ms: the largest int. */
const LONGEST_WAIT = 0x7fff_ffff;

/** One party that waits. */
export interface Waiter {
  /**
   * The descriptor; it has to stay open until the wait is over, or
   * {@linkcode cancelWaits} comes before its closing.
   */
  readonly fd: number;
  /** The events of poll(2) to wait for. */
  readonly events: number;
  /**
   * When the wait is over in any case, on the clock of `performance.now()`;
   * `Infinity` for never.
   */
  readonly end: number;
  /** Calls the wait off. */
  readonly signal: AbortSignal | undefined;
  /**
   * Takes the events that came, 0 at the end, `-errno`, {@linkcode CLOSED} or
   * {@linkcode ABORTED}, once, and must not throw. Nobody else has a turn
   * between the look at the descriptor and this call.
   */
  tell(answer: number): void;
  /** When it began to wait. */
  since: number;
  /** Its place in the heap of deadlines, -1 without one. */
  place: number;
  /** The next one that waits for the same descriptor. */
  next: Waiter | null;
}

/**
 * Waits until something is to be said of a descriptor.
 *
 * @param libc The C library that the descriptor belongs to.
 * @param waiter Who waits, and for what. It may wait again once it was told.
 */
export function watch(libc: Libc, waiter: Waiter): void {
  // An aborted signal does not tell again.
  if (waiter.signal?.aborted) return waiter.tell(ABORTED);
  let reactor = reactors.get(libc);
  if (reactor === undefined) {
    reactor = new Reactor(libc);
    reactors.set(libc, reactor);
  }
  reactor.watch(waiter);
}

/** The same as a promise of what the waiter is told. */
export function waitFor(
  libc: Libc,
  fd: number,
  events: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  return new Promise((tell) => {
    const place = { since: performance.now(), place: -1, next: null };
    watch(libc, { fd, events, end, signal, tell, ...place });
  });
}

/** Ends every wait for a descriptor, which is about to be closed. */
export function cancelWaits(libc: Libc, fd: number): void {
  reactors.get(libc)?.cancel(fd);
}

/**
 * Ends every wait for a descriptor that stays open in other hands, and forgets
 * it. (One that is closed is forgotten by the system itself.)
 */
export function forget(libc: Libc, fd: number): void {
  reactors.get(libc)?.forget(fd);
}

/**
 * Lets everybody else have a turn if work has followed on work for too long.
 *
 * A loop over connects that are done at once would otherwise live in
 * microtasks alone, and no timer, signal or other socket would be served. One
 * turn would not do: Deno's scheduler (tokio) looks at sockets and signals in
 * one turn of 61 while there is work, but at once when there is none. So there
 * is none for as long as it takes to ask another thread for nothing.
 *
 * @returns What to wait for, `null` for nothing.
 */
export function takeTurn(libc: Libc): Promise<unknown> | null {
  if (!isGiving) {
    if (++calls % CLOCK_EVERY !== 0) return null;
    const now = performance.now();
    if (turnStart < 0) {
      turnStart = now;
      setImmediate(endTurn);
      return null;
    }
    if (now - turnStart < LONGEST_TURN) return null;
    giveTurns(libc);
  }
  return new Promise<void>((resolve) => queue.push(resolve));
}

/**
 * Lets those go on who wait for a turn, in each only as many as there is time
 * for: all at once, a thousand of them would block the loop once more.
 */
async function giveTurns(libc: Libc): Promise<void> {
  isGiving = true;
  do {
    await libc.pollAsync(NOBODY, 0, 0);
    const end = performance.now() + LONGEST_TURN;
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
}

/** A set of descriptors without any. */
const NOBODY = newMemory(8);

/**
 * How long poll(2) is to wait for a moment: milliseconds rounded up, -1 for
 * ever.
 *
 * @param end The moment, on the clock of `performance.now()`.
 */
export function timeoutTo(end: number, now = performance.now()): number {
  if (end === Infinity) return -1;
  return Math.min(Math.max(Math.ceil(end - now), 0), LONGEST_WAIT);
}

const reactors = new WeakMap<Libc, Reactor>();

/** When this turn of the event loop began, -1 while nobody has asked. */
let turnStart = -1;

/** Those who wait for a turn, and whether somebody sees to them. */
const queue: (() => void)[] = [];
let isGiving = false;
let calls = 0;

function endTurn(): void {
  turnStart = -1;
}

class Reactor {
  readonly #libc: Libc;
  /** There as long as somebody waits. */
  #selector: Selector | null = null;
  /**
   * The chain of waiters of each descriptor, by its number. Those are small and
   * lie close together, so that ten thousand take 2 us each less of the
   * processor than in a map.
   */
  readonly #waiters: (Waiter | null)[] = [];
  /** How many descriptors have any. */
  #watched = 0;
  readonly #deadlines: Waiter[] = [];
  /** Who heeds which signal. */
  readonly #signals = new Map<AbortSignal, Set<Waiter>>();
  /** Who is to be told what, two by two. */
  readonly #answers: (Waiter | number)[] = [];
  /** Whether they are being told. */
  #delivers = false;
  /** Whether a turn is on its way. */
  #scheduled = false;
  /** Whether a turn has passed without anybody waiting. */
  #idle = false;
  /** When the parked wait ends by itself, `-Infinity` while there is none. */
  #parkedUntil = -Infinity;
  #woken = false;
  /** Until when to look in every turn. */
  #spinUntil = -Infinity;
  /** Whether looking has paid lately. */
  #spins = true;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  watch(waiter: Waiter): void {
    const { fd, events, end, signal } = waiter;
    this.#selector ??= openSelector(this.#libc);
    const first = this.#waiters[fd] ?? null;
    const result = this.#selector.arm(fd, events | eventsOf(first));
    if (result < 0) {
      this.#schedule();
      return waiter.tell(result);
    }
    waiter.next = first;
    if (first === null) this.#watched++;
    this.#waiters[fd] = waiter;
    if (end !== Infinity) push(this.#deadlines, waiter);
    if (signal !== undefined) this.#heed(signal, waiter);
    this.#join(waiter.since, end);
  }

  cancel(fd: number): void {
    for (;;) {
      const waiter = this.#waiters[fd] ?? null;
      if (waiter === null) break;
      this.#callOff(waiter, CLOSED);
    }
    // What is on its way to others is about a descriptor that is gone.
    for (let i = 0; i < this.#answers.length; i += 2) {
      if ((this.#answers[i] as Waiter).fd === fd) this.#answers[i + 1] = CLOSED;
    }
    this.#deliver();
  }

  forget(fd: number): void {
    this.cancel(fd);
    this.#selector?.disarm(fd);
  }

  /** Sees to it that a new waiter is looked after. */
  #join(now: number, end: number): void {
    this.#idle = false;
    // Not for those that come after: a stream of them would never let it park.
    if (this.#spins && this.#watched === 1) this.#spinUntil = now + SPIN;
    if (this.#parkedUntil === -Infinity || this.#spins) this.#schedule();
    else if (!this.#selector!.isLive || end < this.#parkedUntil) this.#wake();
  }

  /** Ends a wait that no event has ended. */
  #callOff(waiter: Waiter, answer: number): void {
    this.#settle(waiter, answer);
    const rest = this.#waiters[waiter.fd] ?? null;
    if (rest === null) this.#selector!.disarm(waiter.fd);
    else this.#selector!.arm(waiter.fd, eventsOf(rest));
    if (this.#watched === 0) this.#schedule();
  }

  /** Takes a waiter out of everything; its answer is on its way then. */
  #settle(waiter: Waiter, answer: number): void {
    const { fd, signal } = waiter;
    const first = this.#waiters[fd]!;
    if (first !== waiter) {
      let before = first;
      while (before.next !== waiter) before = before.next!;
      before.next = waiter.next;
    } else {
      this.#waiters[fd] = waiter.next;
      if (waiter.next === null) this.#watched--;
    }
    if (waiter.place >= 0) remove(this.#deadlines, waiter);
    if (signal !== undefined) this.#ignore(signal, waiter);
    this.#answers.push(waiter, answer);
  }

  /**
   * Hands out the answers. Whoever gets one may wait again, or close what
   * others wait for, so that all else has to be in order by then.
   */
  #deliver(): void {
    if (this.#delivers) return;
    this.#delivers = true;
    for (let i = 0; i < this.#answers.length; i += 2) {
      const waiter = this.#answers[i] as Waiter;
      waiter.tell(this.#answers[i + 1] as number);
    }
    this.#answers.length = 0;
    this.#delivers = false;
  }

  /**
   * Listens to a signal once, however many waiters share it: taking one
   * listener off a list of thousands is slow.
   */
  #heed(signal: AbortSignal, waiter: Waiter): void {
    let party = this.#signals.get(signal);
    if (party === undefined) {
      party = new Set();
      this.#signals.set(signal, party);
      signal.addEventListener("abort", this.#onAbort);
    }
    party.add(waiter);
  }

  #ignore(signal: AbortSignal, waiter: Waiter): void {
    const party = this.#signals.get(signal)!;
    party.delete(waiter);
    if (party.size > 0) return;
    this.#signals.delete(signal);
    signal.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (event: Event): void => {
    const party = this.#signals.get(event.target as AbortSignal) ?? [];
    for (const waiter of party) this.#callOff(waiter, ABORTED);
    this.#deliver();
  };

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    const { fds, events } = this.#selector!;
    const found = this.#selector!.look();
    const now = performance.now();
    for (let i = 0; i < found; i++) this.#tell(fds[i]!, events[i]!, now);
    const isBehind = this.#expire(now);
    this.#deliver();
    if (this.#watched === 0) this.#rest();
    else if (found > 0 || isBehind) this.#schedule();
    else if (now < this.#spinUntil) this.#spin();
    else if (this.#parkedUntil === -Infinity) this.#park(now);
  };

  /**
   * Comes back in the next turn. Whoever looks without a pause keeps a
   * processor to itself, and on a machine that has few the very process that
   * is to answer may be waiting for it: a peer on the same machine, for one.
   */
  #spin(): void {
    this.#libc.sched_yield();
    this.#schedule();
  }

  /** Has an answer for everybody who waits for one of the events. */
  #tell(fd: number, events: number, now: number): void {
    const { POLLIN, POLLOUT } = this.#libc.abi;
    const isFault = (events & ~(POLLIN | POLLOUT)) !== 0;
    let waiter = this.#waiters[fd] ?? null;
    while (waiter !== null) {
      const { next } = waiter;
      if (isFault || (waiter.events & events) !== 0) {
        this.#spins = now - waiter.since <= SPIN;
        if (this.#spins) this.#spinUntil = now + SPIN;
        this.#settle(waiter, events);
      }
      waiter = next;
    }
    const rest = this.#waiters[fd] ?? null;
    if (rest !== null) this.#selector!.arm(fd, eventsOf(rest));
  }

  /** Ends what is over; answers whether that is more than one turn takes. */
  #expire(now: number): boolean {
    for (let i = 0;; i++) {
      const waiter = this.#deadlines[0];
      if (waiter === undefined || waiter.end > now) return false;
      if (i === MOST_EXPIRED) return true;
      this.#callOff(waiter, 0);
    }
  }

  /** Nobody waits: after one more turn without anybody, nothing is kept. */
  #rest(): void {
    if (this.#parkedUntil !== -Infinity) {
      this.#wake();
    } else if (this.#idle) {
      this.#idle = false;
      this.#selector!.close();
      this.#selector = null;
    } else {
      this.#idle = true;
      this.#schedule();
    }
  }

  #park(now: number): void {
    this.#spins = false;
    const end = this.#deadlines[0]?.end ?? Infinity;
    this.#parkedUntil = end;
    this.#selector!.wait(timeoutTo(end, now)).then(this.#unpark);
  }

  readonly #unpark = (): void => {
    this.#parkedUntil = -Infinity;
    this.#woken = false;
    if (!this.#scheduled) this.#turn();
  };

  #wake(): void {
    if (this.#woken) return;
    this.#woken = true;
    this.#selector!.wake();
  }
}

/** Everything that a chain of waiters waits for. */
function eventsOf(waiter: Waiter | null): number {
  let events = 0;
  for (; waiter !== null; waiter = waiter.next) events |= waiter.events;
  return events;
}

/** Adds a waiter to a binary heap with the earliest end on top. */
function push(heap: Waiter[], waiter: Waiter): void {
  heap.push(waiter);
  rise(heap, waiter, heap.length - 1);
}

/** Takes a waiter out of the heap, wherever it stands. */
function remove(heap: Waiter[], waiter: Waiter): void {
  const last = heap.pop()!;
  if (last !== waiter) {
    sink(heap, last, waiter.place);
    rise(heap, last, last.place);
  }
  waiter.place = -1;
}

function rise(heap: Waiter[], waiter: Waiter, place: number): void {
  while (place > 0) {
    const parent = heap[(place - 1) >> 1]!;
    if (parent.end <= waiter.end) break;
    heap[place] = parent;
    parent.place = place;
    place = (place - 1) >> 1;
  }
  heap[place] = waiter;
  waiter.place = place;
}

function sink(heap: Waiter[], waiter: Waiter, place: number): void {
  for (;;) {
    let child = 2 * place + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]!.end < heap[child]!.end) {
      child++;
    }
    const least = heap[child]!;
    if (least.end >= waiter.end) break;
    heap[place] = least;
    least.place = place;
    place = child;
  }
  heap[place] = waiter;
  waiter.place = place;
}
