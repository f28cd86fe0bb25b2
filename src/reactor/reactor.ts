/**
 * Waits for any number of descriptors on one thread, with at most one parked
 * wait beside it: on another thread, or in the runtime's own event loop.
 *
 * No wait depends on that alone. A timer keeps the next deadline, and a look, one
 * to ten times a second, finds what the parked wait has missed.
 *
 * A worker that is terminated runs nothing any more: the sockets that its
 * program held stay open until the process ends, and so do the epoll descriptor
 * and the eventfd of a wait that was under way.
 *
 * @module
 */
import { heedAbort, ignoreAbort } from "../errors/arguments.ts";
import type { Libc } from "../../ffi/contract.ts";
import {
  clearTimeout,
  performance,
  setImmediate,
  setTimeout,
  type Timer,
  whenIdle,
} from "../../ffi/timers.ts";
import { errnoErrorFor } from "../errors/errors.ts";
import { ByDescriptor } from "./by_descriptor.ts";
import { type Deadline, pushDeadline, removeDeadline } from "./deadlines.ts";
import { EpollSelector } from "./epoll.ts";
import { PollSelector } from "./poll.ts";
import type { Selector } from "./selector.ts";
import { afterAll } from "./turns.ts";

/** Reported when the wait was called off by {@linkcode cancelWaits}. */
export const CLOSED = -0x1_0000;

/** Reported when the signal of the wait was aborted. */
export const ABORTED = -0x1_0001;

/** Reported when a call of the reactor itself has failed. */
const BROKEN = -0x1_0002;

/**
 * How soon a wait must be over to be worth a look in the next turn, in ms:
 * parking one takes two hops between threads, and a turn with a look takes 2 us.
 */
const QUICK = 0.25;

/** How long what was opened is kept for the next wait at least, in ms. */
const IDLE = 20;

/**
 * How long a parked wait goes without a look from this thread, in ms.
 *
 * Deno's threads are few, and blocked file operations and lookups can take all
 * of them for as long as they like: the parked wait has not even begun then.
 */
const SLOW_LOOK = 100;

/**
 * The same where parked waits keep ending by themselves, in ms: such a look takes
 * as much of the processor as half of a wait.
 */
const LATE_LOOK = 800;

/** The same after such a look has found what the parked wait did not, in ms. */
const QUICK_LOOK = 1;

/**
 * How many things in a row may be found by slow looks alone before the way to
 * wait is given up. After a turn that took long, a timer may come first.
 */
const MOST_MISSED = 3;

/**
 * How many parked waits in a row may fail at once. Deadlines and slow looks
 * have to do after that, until the next waiter comes.
 */
const MOST_MISSES = 8;

/**
 * How long turns may follow on turns before every kind of work has one, in ms.
 */
const LONGEST_BUSY = 6;

/** How long one turn goes on to report to crowds, in ms. */
const LONGEST_HEARING = 2;

/**
 * How many waits end by their deadlines in one turn: each is an error to make
 * and a socket to close, up to 100 us.
 */
const MOST_EXPIRED = 16;

/**
 * How long a wait must have lasted to be no repetition of the one before, in
 * ms: longer than the longest pause between two.
 */
const FRESH_AFTER = 250;

/** The longest time that poll(2) takes, in ms: the largest int. */
const LONGEST_WAIT = 0x7fff_ffff;

/** One party that waits. The caller supplies it, and the reactor keeps it. */
export interface Waiter extends Deadline {
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
  /** Whether {@linkcode recallWaits} ends it. */
  readonly isRecallable: boolean;
  /**
   * Takes the events that came, 0 at the end, {@linkcode CLOSED} or
   * {@linkcode ABORTED}. No other code runs between the look at the
   * descriptor and this call, which may come before {@linkcode watch} returns.
   *
   * What it throws is passed to {@linkcode Waiter.fail}.
   */
  notify(result: number): void;
  /**
   * Takes what keeps the wait from going on, in place of a result: an
   * `ErrnoError` with the system call that failed, or what the runtime has
   * thrown. Must not throw.
   */
  fail(error: unknown): void;
  /** When it began to wait. */
  since: number;
  /** Its place in the heap of deadlines, -1 to begin with. */
  place: number;
  /** The next one that waits for the same descriptor, `null` to begin with. */
  next: Waiter | null;
  /**
   * How many waits in a row have ended soon by events that led to nothing, 0
   * to begin with. Some events stay for good (the hang-up of a datagram
   * socket, a shutdown), and from the second time on such a wait is paced.
   */
  tries: number;
}

/** All that wait by one signal. */
interface SignalGroup {
  readonly waiters: Set<Waiter>;
  onAbort(): void;
}

/**
 * A party that waits for any number of descriptors. It keeps their deadlines by
 * itself, so that the reactor needs no object for each.
 */
export interface Crowd {
  /**
   * When {@linkcode Crowd.expire} is due, on the clock of `performance.now()`;
   * `Infinity` for never.
   */
  readonly end: number;
  /** When the wait for one of its descriptors began. */
  sinceOf(fd: number): number;
  /**
   * Takes the events of a descriptor, which is not watched any more. Must not
   * throw.
   */
  notify(fd: number, events: number): void;
  /**
   * Ends the waits whose time was over at a moment. Everything that had happened
   * by then is reported. Must not throw.
   *
   * @returns Whether that is more than one turn takes.
   */
  expire(now: number): boolean;
  /** Takes what has ended all of its waits. Must not throw. */
  fail(error: unknown): void;
}

/**
 * Watches a descriptor for a crowd, until its events were reported once.
 *
 * @param crowd Who waits; its `end` takes this wait into account.
 * @throws What keeps the reactor from watching: an `ErrnoError`, or what the
 * runtime throws.
 */
export function watchFor(
  libc: Libc,
  crowd: Crowd,
  fd: number,
  events: number,
): void {
  reactorOf(libc).watchFor(crowd, fd, events);
}

/**
 * Ends the wait of a crowd for a descriptor that is about to be closed, which
 * makes the system forget it.
 */
export function unwatch(libc: Libc, fd: number): void {
  reactors.get(libc)?.unwatch(fd);
}

/**
 * Waits until there is something to report of a descriptor.
 *
 * @param libc The C library that the descriptor belongs to.
 * @param waiter Who waits, and for what. It may wait again once it was notified.
 * @throws What keeps the reactor from taking anybody on: an `ErrnoError` if
 * there are too few descriptors, or what the runtime throws if it does not let
 * a function be opened. The waiter is not notified then.
 */
export function watch(libc: Libc, waiter: Waiter): void {
  // An aborted signal sends no second event.
  if (waiter.signal?.aborted) return waiter.notify(ABORTED);
  reactorOf(libc).watch(waiter);
}

/**
 * The same as a promise of the result.
 *
 * @param tries As {@linkcode Waiter.tries}: {@linkcode countTry} counts them.
 */
export function waitForEvents(
  libc: Libc,
  fd: number,
  events: number,
  end: number,
  signal: AbortSignal | undefined,
  tries = 0,
): Promise<number> {
  return new Promise((notify, fail) => {
    const since = performance.now();
    const place = { since, place: -1, next: null, tries };
    const waiter = { fd, events, end, signal, isRecallable: true };
    watch(libc, { ...waiter, notify, fail, ...place });
  });
}

/**
 * Counts a wait whose events led to nothing.
 *
 * @param tries How many there were before.
 * @param since When this one began.
 * @returns How many there are in a row now.
 */
export function countTry(
  tries: number,
  since: number,
  now: number = performance.now(),
): number {
  return now - since > FRESH_AFTER ? 1 : tries + 1;
}

/**
 * How long to leave a descriptor alone whose events led to nothing.
 *
 * @param tries How often in a row; the first time may be chance.
 * @returns Milliseconds.
 */
export function pauseAfter(tries: number): number {
  return tries < 2 ? 0 : Math.min(2 ** (tries - 2), SLOW_LOOK);
}

/** Ends every wait for a descriptor, which is about to be closed. */
export function cancelWaits(libc: Libc, fd: number): void {
  reactors.get(libc)?.cancel(fd);
}

/**
 * Ends the waits for a descriptor that {@linkcode waitForEvents} began, by
 * {@linkcode CLOSED}: they may begin again.
 */
export function recallWaits(libc: Libc, fd: number): void {
  reactors.get(libc)?.recall(fd);
}

/**
 * Ends every wait for a descriptor that stays open in other hands, and forgets
 * it. (One that is closed is forgotten by the system itself.)
 */
export function forget(libc: Libc, fd: number): void {
  reactors.get(libc)?.forget(fd);
}

/**
 * Closes what is kept to wait with if there is no wait, so that a thread can be
 * ended without losing a descriptor.
 *
 * @returns Whether nothing is open any more.
 */
export function closeIdle(libc: Libc): boolean {
  return reactors.get(libc)?.closeIdle() ?? true;
}

/**
 * How long poll(2) is to wait for a moment: milliseconds rounded up, -1 for
 * ever.
 *
 * @param end The moment, on the clock of `performance.now()`.
 */
export function timeoutTo(
  end: number,
  now: number = performance.now(),
): number {
  if (end === Infinity) return -1;
  return Math.min(Math.max(Math.ceil(end - now), 0), LONGEST_WAIT);
}

const reactors = new WeakMap<Libc, Reactor>();

function reactorOf(libc: Libc): Reactor {
  let reactor = reactors.get(libc);
  if (reactor === undefined) {
    reactor = new Reactor(libc);
    reactors.set(libc, reactor);
  }
  return reactor;
}

/** Opens the best that the system has. */
function openSelector(libc: Libc): Selector {
  const { epoll } = libc.abi;
  return epoll === null
    ? new PollSelector(libc)
    : new EpollSelector(libc, epoll);
}

class Reactor {
  readonly #libc: Libc;
  /** Open as long as there are waits, and for a while after the last one. */
  #selector: Selector | null = null;
  /** The first of the chain of waiters of each descriptor. */
  readonly #waiters = new ByDescriptor<Waiter>();
  /** How many descriptors have any. */
  #watched = 0;
  readonly #deadlines: Waiter[] = [];
  /** The crowd of each descriptor that one waits for. */
  readonly #crowds = new ByDescriptor<Crowd>();
  /** How many descriptors each crowd waits for. */
  readonly #sizes = new Map<Crowd, number>();
  /** What is to be reported to crowds: descriptors and events, two by two. */
  readonly #news: number[] = [];
  /** The crowd of each such pair. */
  readonly #newsFor: Crowd[] = [];
  /** All that happened by then is reported once so many more were found. */
  #heardUntil = -Infinity;
  #unheard = 0;
  /** How many rounds of the selector are left until then, after this one. */
  #rounds = 0;
  /** Waiters whose events are not watched for, and until when. */
  readonly #paced = new Map<Waiter, number>();
  /** The waiters of each signal, and what it calls when it aborts. */
  readonly #signals = new Map<AbortSignal, SignalGroup>();
  /** Waiters whose wait is over, and the result of each, two by two. */
  readonly #results: (Waiter | number)[] = [];
  /** What those get who are {@linkcode BROKEN}. */
  #failure: unknown;
  /** What a call has thrown outside of a turn, for the next turn to fail with. */
  #fault: { readonly error: unknown } | null = null;
  /** Whether they are being notified. */
  #delivers = false;
  /** Whether a turn is on its way. */
  #scheduled = false;
  /** When the last wait was over. */
  #restedAt = 0;
  /** Whether a parked wait is under way. */
  #isParked = false;
  #woken = false;
  /** How many parked waits in a row have failed. */
  #misses = 0;
  /**
   * When the slow clock ticks, which looks beside a parked wait and closes what
   * is not used; `Infinity` while it stands still. It is set once for all waits
   * that begin before it ticks.
   */
  #tickAt = Infinity;
  /** The clock for what is due before that, whatever becomes of a parked wait. */
  #timer: Timer | null = null;
  #timerAt = Infinity;
  /** How long until the next look beside a parked wait. */
  #lookPause = SLOW_LOOK;
  /** How long the slow clock takes to tick beside one. */
  #tickPause = SLOW_LOOK;
  /** Whether a parked wait has ended by itself since it has ticked. */
  #hasParked = false;
  /** Whether the timer has brought this turn about, and not the parked wait. */
  #isTimed = false;
  /** Since when turns have followed on turns. */
  #busySince = Infinity;
  /** How much was found by slow looks alone since a parked wait has ended. */
  #missed = 0;
  /** Whether a look before a wait is parked has paid lately. */
  #looksFirst = true;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  watch(waiter: Waiter): void {
    const { fd, end, signal, tries } = waiter;
    const now = performance.now();
    this.#selector ??= openSelector(this.#libc);
    if (tries > 0) waiter.since = now;
    if (signal !== undefined) this.#heed(signal, waiter);
    const first = this.#waiters.get(fd);
    const pause = pauseAfter(tries);
    if (pause > 0) {
      this.#paced.set(waiter, now + pause);
    } else {
      let result = BROKEN;
      try {
        result = this.#arm(fd, waiter.events | this.#eventsOf(first));
      } finally {
        if (result < 0 && signal !== undefined) this.#ignore(signal, waiter);
      }
      if (result < 0) {
        return waiter.fail(this.#error(result, this.#selector.armCall));
      }
    }
    waiter.next = null;
    if (first === null) {
      this.#watched++;
      this.#waiters.set(fd, waiter);
    } else {
      // The first to wait gets the first result.
      let last = first;
      while (last.next !== null) last = last.next;
      last.next = waiter;
    }
    if (end !== Infinity) pushDeadline(this.#deadlines, waiter);
    this.#misses = 0;
    this.#join(end, now);
  }

  watchFor(crowd: Crowd, fd: number, events: number): void {
    this.#selector ??= openSelector(this.#libc);
    const result = this.#arm(fd, events);
    if (result < 0) throw this.#error(result, this.#selector.armCall);
    this.#crowds.set(fd, crowd);
    this.#sizes.set(crowd, (this.#sizes.get(crowd) ?? 0) + 1);
    this.#watched++;
    this.#misses = 0;
    this.#join(crowd.end, performance.now());
  }

  /** Watches a descriptor. If that fails, a turn sees to what was opened for it. */
  #arm(fd: number, events: number): number {
    let result = BROKEN;
    try {
      return result = this.#selector!.arm(fd, events);
    } finally {
      if (result < 0) this.#schedule();
    }
  }

  unwatch(fd: number): void {
    const crowd = this.#crowds.get(fd);
    if (crowd !== null) {
      this.#release(fd, crowd);
      if (!this.#selector!.forgetsClosed) this.#selector!.disarm(fd);
      if (this.#watched === 0) this.#schedule();
    }
    // What is on its way is about a descriptor that is gone.
    for (let i = 0; i < this.#news.length; i += 2) {
      if (this.#news[i] === fd) this.#news[i] = -1;
    }
  }

  /** Ends the wait of a crowd for a descriptor. */
  #release(fd: number, crowd: Crowd): void {
    this.#crowds.set(fd, null);
    this.#watched--;
    const size = this.#sizes.get(crowd)! - 1;
    if (size === 0) this.#sizes.delete(crowd);
    else this.#sizes.set(crowd, size);
  }

  cancel(fd: number): void {
    for (;;) {
      const waiter = this.#waiters.get(fd);
      if (waiter === null) break;
      this.#callOff(waiter, CLOSED);
    }
    // What is on its way to others is about a descriptor that is gone.
    for (let i = 0; i < this.#results.length; i += 2) {
      if ((this.#results[i] as Waiter).fd === fd) this.#results[i + 1] = CLOSED;
    }
    this.#deliver();
  }

  recall(fd: number): void {
    let waiter = this.#waiters.get(fd);
    while (waiter !== null) {
      const { next } = waiter;
      if (waiter.isRecallable) this.#callOff(waiter, CLOSED);
      waiter = next;
    }
    this.#deliver();
  }

  closeIdle(): boolean {
    const isIdle = this.#watched === 0 && !this.#isParked &&
      !this.#scheduled && !this.#delivers;
    if (isIdle) this.#close();
    return this.#selector === null;
  }

  forget(fd: number): void {
    this.cancel(fd);
    this.#selector?.disarm(fd);
  }

  /** Sees to it that a new waiter is looked after. */
  #join(end: number, now: number): void {
    if (this.#isParked) {
      if (!this.#selector!.isLive) this.#wake();
      this.#setTimer(now);
      if (this.#looksFirst) this.#schedule();
    } else if (
      this.#looksFirst || this.#delivers || !this.#selector!.isLive ||
      end <= now
    ) {
      this.#schedule();
    } else if (!this.#scheduled) {
      this.#park(now);
    }
  }

  /** Ends a wait that no event has ended. */
  #callOff(waiter: Waiter, result: number): void {
    this.#settle(waiter, result);
    try {
      this.#rearm(waiter.fd);
    } catch (error) {
      this.#break(error);
    }
    if (this.#watched === 0) this.#schedule();
  }

  /**
   * Leaves it to a turn to end all waits because of what was thrown: whoever has
   * called from outside has no part in them.
   */
  #break(error: unknown): void {
    this.#fault = { error };
    this.#schedule();
  }

  /** Watches a descriptor for what those want who still wait for it. */
  #rearm(fd: number): void {
    const first = this.#waiters.get(fd);
    if (this.#hasUnpaced(first)) {
      this.#selector!.arm(fd, this.#eventsOf(first));
    } else {
      this.#selector!.disarm(fd);
    }
  }

  #hasUnpaced(waiter: Waiter | null): boolean {
    while (waiter !== null && this.#paced.has(waiter)) waiter = waiter.next;
    return waiter !== null;
  }

  /** Everything that a chain of waiters is watched for. */
  #eventsOf(waiter: Waiter | null): number {
    let events = 0;
    for (; waiter !== null; waiter = waiter.next) {
      if (!this.#paced.has(waiter)) events |= waiter.events;
    }
    return events;
  }

  /** Takes a waiter out of everything; its result is on its way then. */
  #settle(waiter: Waiter, result: number): void {
    const { fd, signal } = waiter;
    const first = this.#waiters.get(fd)!;
    if (first !== waiter) {
      let before = first;
      while (before.next !== waiter) before = before.next!;
      before.next = waiter.next;
    } else {
      this.#waiters.set(fd, waiter.next);
      if (waiter.next === null) this.#watched--;
    }
    if (waiter.place >= 0) removeDeadline(this.#deadlines, waiter);
    if (signal !== undefined) this.#ignore(signal, waiter);
    if (this.#paced.size > 0) this.#paced.delete(waiter);
    this.#results.push(waiter, result);
  }

  /**
   * Hands out the results. A waiter that gets one may wait again, or close what
   * others wait for, so that all else has to be in order by then.
   */
  #deliver(): void {
    if (this.#delivers) return;
    this.#delivers = true;
    let done = 0;
    let reported = 0;
    do {
      for (; done < this.#results.length; done += 2) {
        const waiter = this.#results[done] as Waiter;
        const result = this.#results[done + 1] as number;
        if (result === BROKEN) {
          waiter.fail(this.#failure);
          continue;
        }
        try {
          waiter.notify(result);
        } catch (error) {
          waiter.fail(error);
        }
      }
      for (; reported < this.#newsFor.length; reported++) {
        const fd = this.#news[2 * reported]!;
        if (fd < 0) continue;
        this.#newsFor[reported]!.notify(fd, this.#news[2 * reported + 1]!);
      }
    } while (done < this.#results.length);
    this.#results.length = 0;
    this.#news.length = 0;
    this.#newsFor.length = 0;
    this.#delivers = false;
  }

  /** Lets crowds end what is over; returns whether some of it is left for the next turn. */
  #expireCrowds(now: number): boolean {
    let isBehind = false;
    this.#delivers = true;
    for (const crowd of [...this.#sizes.keys()]) {
      if (crowd.end <= now && crowd.expire(now)) isBehind = true;
    }
    this.#delivers = false;
    this.#deliver();
    return isBehind;
  }

  /** When the next wait is over. */
  get #nextEnd(): number {
    let end = this.#deadlines.at(0)?.end ?? Infinity;
    for (const crowd of this.#sizes.keys()) end = Math.min(end, crowd.end);
    return end;
  }

  /**
   * Listens to a signal once, however many waiters share it: taking one
   * listener off a list of thousands is slow.
   */
  #heed(signal: AbortSignal, waiter: Waiter): void {
    let group = this.#signals.get(signal);
    if (group === undefined) {
      const waiters = new Set<Waiter>();
      // The target of the event is another object where a proxy stands for it.
      group = { waiters, onAbort: () => this.#abort(waiters) };
      heedAbort(signal, group.onAbort);
      this.#signals.set(signal, group);
    }
    group.waiters.add(waiter);
  }

  #ignore(signal: AbortSignal, waiter: Waiter): void {
    const group = this.#signals.get(signal)!;
    group.waiters.delete(waiter);
    if (group.waiters.size > 0) return;
    this.#signals.delete(signal);
    ignoreAbort(signal, group.onAbort);
  }

  #abort(waiters: ReadonlySet<Waiter>): void {
    for (const waiter of waiters) this.#callOff(waiter, ABORTED);
    this.#deliver();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    try {
      this.#work();
    } catch (error) {
      this.#failAll(error);
    }
  };

  #work(): void {
    const selector = this.#selector;
    if (selector === null) return;
    if (this.#fault !== null) throw this.#fault.error;
    const found = this.#look(selector);
    if (found > 0 && this.#isTimed) this.#miss();
    const now = performance.now();
    this.#take(selector, found, now);
    let isBehind = this.#expire(now);
    if (this.#paced.size > 0) this.#resume(now);
    this.#deliver();
    if (this.#sizes.size > 0) {
      isBehind = this.#hearCrowds(selector, found, now) || isBehind;
    }
    if (this.#watched === 0) this.#rest();
    else if (found > 0 || isBehind) this.#goOn(now);
    else if (!this.#scheduled) this.#park(now);
  }

  #look(selector: Selector): number {
    const found = selector.look();
    const { EINTR } = this.#libc.abi.errnos;
    if (found >= 0 || found === -EINTR) return found;
    throw this.#error(found, selector.lookCall);
  }

  #take({ fds, events }: Selector, found: number, now: number): void {
    for (let i = 0; i < found; i++) this.#notify(fds[i]!, events[i]!, now);
  }

  /**
   * Reports what there is for crowds, and then lets them end what is over, for
   * nothing is silent that the next look may report on.
   *
   * A crowd begins more in a turn than one look finds. What it heard too late of,
   * it would take for silent networks; and what is over would wait. Where looks
   * go on to find all they can, no more can have happened by a moment than there
   * were descriptors: once so many were found, in each round of the selector,
   * what was over by then ends.
   *
   * @param found How many the first look of this turn has found.
   * @returns Whether some of it is left for the next turn.
   */
  #hearCrowds(selector: Selector, found: number, start: number): boolean {
    const { fds } = selector;
    let now = start;
    while (this.#sizes.size > 0 && found >= fds.length - 1) {
      this.#unheard -= found;
      if (this.#unheard <= 0) {
        if (this.#rounds === 0) {
          this.#expireCrowds(this.#heardUntil);
          this.#heardUntil = now;
          this.#rounds = selector.rounds;
        }
        this.#rounds--;
        this.#unheard = this.#watched;
      }
      now = performance.now();
      if (now - start >= LONGEST_HEARING) return true;
      found = this.#look(selector);
      this.#take(selector, found, now);
      this.#deliver();
    }
    this.#heardUntil = -Infinity;
    this.#unheard = 0;
    this.#rounds = 0;
    return this.#expireCrowds(now);
  }

  /** Goes on in the next turn, or after a turn for all other work. */
  #goOn(now: number): void {
    if (this.#busySince === Infinity) this.#busySince = now;
    if (now - this.#busySince < LONGEST_BUSY) return this.#schedule();
    this.#busySince = Infinity;
    if (this.#scheduled) return;
    this.#scheduled = true;
    afterAll(this.#libc, this.#turn);
  }

  /**
   * Has a result for the first waiter of each event, who takes what came; the
   * next look reports what is left to the next one. All have one of a fault.
   */
  #notify(fd: number, events: number, now: number): void {
    const { POLLIN, POLLOUT } = this.#libc.abi;
    const isFault = (events & ~(POLLIN | POLLOUT)) !== 0;
    const crowd = this.#crowds.get(fd);
    if (crowd !== null) {
      this.#looksFirst = now - crowd.sinceOf(fd) <= QUICK;
      this.#release(fd, crowd);
      this.#news.push(fd, events);
      this.#newsFor.push(crowd);
      return;
    }
    let left = events;
    let waiter = this.#waiters.get(fd);
    while (waiter !== null) {
      const { next } = waiter;
      const isMeant = isFault || (waiter.events & left) !== 0;
      if (isMeant && !this.#paced.has(waiter)) {
        left &= ~waiter.events;
        this.#looksFirst = now - waiter.since <= QUICK;
        waiter.tries = countTry(waiter.tries, waiter.since, now);
        this.#settle(waiter, events);
      }
      waiter = next;
    }
    if (this.#waiters.get(fd) !== null) this.#rearm(fd);
  }

  /** Ends what is over; returns whether that is more than one turn takes. */
  #expire(now: number): boolean {
    for (let i = 0;; i++) {
      const waiter = this.#deadlines.at(0);
      if (waiter === undefined || waiter.end > now) return false;
      if (i === MOST_EXPIRED) return true;
      this.#callOff(waiter, 0);
    }
  }

  /** Watches again for those who were left alone for long enough. */
  #resume(now: number): void {
    for (const [waiter, until] of this.#paced) {
      if (until > now) continue;
      this.#paced.delete(waiter);
      this.#rearm(waiter.fd);
      this.#schedule();
    }
  }

  /** Ends all waits because of what a call of the reactor has thrown. */
  #failAll(error: unknown): void {
    this.#fault = null;
    this.#failure = error;
    const crowds = [...this.#sizes.keys()];
    for (const fd of this.#crowds.all()) {
      this.#release(fd, this.#crowds.get(fd)!);
    }
    for (const fd of this.#waiters.all()) {
      let waiter = this.#waiters.get(fd);
      while (waiter !== null) {
        const { next } = waiter;
        this.#settle(waiter, BROKEN);
        waiter = next;
      }
    }
    this.#deliver();
    for (const crowd of crowds) crowd.fail(error);
    if (this.#watched > 0) return this.#schedule();
    // No turn follows, for it might fail as this one did.
    this.#rest();
    if (!this.#isParked) this.#close();
  }

  #error(result: number, syscall: string): Error {
    return errnoErrorFor(-result, { syscall });
  }

  /** No wait is left. What was opened is kept for a while. */
  #rest(): void {
    this.#busySince = Infinity;
    if (this.#timer !== null) this.#clearTimer();
    if (this.#isParked) return this.#wake();
    this.#restedAt = performance.now();
    if (this.#tickAt === Infinity) this.#startTick(this.#restedAt, IDLE);
  }

  #startTick(now: number, delay: number): void {
    this.#tickAt = now + delay;
    whenIdle(this.#onTick, delay);
  }

  readonly #onTick = (): void => {
    this.#tickAt = Infinity;
    if (this.#selector === null) return;
    this.#tickPause = this.#hasParked
      ? Math.min(2 * this.#tickPause, LATE_LOOK)
      : SLOW_LOOK;
    this.#hasParked = false;
    if (this.#watched > 0) return this.#lookBeside();
    const now = performance.now();
    const left = this.#restedAt + IDLE - now;
    if (left > 0) this.#startTick(now, Math.ceil(left));
    else if (!this.closeIdle()) this.#startTick(now, SLOW_LOOK);
  };

  #close(): void {
    const selector = this.#selector;
    this.#selector = null;
    selector?.close();
  }

  #park(now: number): void {
    this.#busySince = Infinity;
    this.#looksFirst = false;
    this.#setTimer(now);
    if (this.#isParked || this.#misses > MOST_MISSES) return;
    this.#isParked = true;
    this.#beginWait(timeoutTo(this.#nextEnd, now)).then(
      this.#unpark,
      this.#failToPark,
    );
  }

  #beginWait(timeout: number): Promise<number> {
    try {
      return this.#selector!.wait(timeout);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  readonly #unpark = (result: number): void => {
    this.#isParked = false;
    if (result >= 0 && !this.#woken) this.#hasParked = true;
    this.#woken = false;
    this.#misses = result < 0 ? this.#misses + 1 : 0;
    this.#missed = 0;
    this.#lookPause = SLOW_LOOK;
    if (!this.#scheduled) this.#turn();
  };

  readonly #failToPark = (): void => this.#unpark(-1);

  /** Notes that a parked wait has missed what a slow look has found. */
  #miss(): void {
    this.#lookPause = QUICK_LOOK;
    this.#tickPause = SLOW_LOOK;
    this.#hasParked = false;
    if (++this.#missed >= MOST_MISSED) this.#selector!.distrust();
  }

  #wake(): void {
    if (this.#woken) return;
    this.#woken = true;
    try {
      this.#selector!.wake();
    } catch (error) {
      this.#break(error);
    }
  }

  /** Sees to it that there is a turn when the next deadline or look is due. */
  #setTimer(now: number): void {
    let at = this.#nextEnd;
    if (this.#paced.size > 0) {
      for (const until of this.#paced.values()) at = Math.min(at, until);
    }
    if (this.#lookPause < SLOW_LOOK || this.#misses > MOST_MISSES) {
      at = Math.min(at, now + this.#lookPause);
    } else {
      // The parked wait keeps the process alive, which a tick does not.
      if (this.#tickAt === Infinity) {
        // At a deadline, where the next ones are those of later waits: none of
        // them needs a timer.
        const left = Math.max(Math.ceil(at - now), SLOW_LOOK);
        this.#startTick(now, Math.min(left, this.#tickPause));
      }
      if (at >= this.#tickAt) return;
    }
    if (this.#timer !== null) {
      if (this.#timerAt <= at) return;
      this.#clearTimer();
    }
    this.#timerAt = at;
    this.#timer = setTimeout(this.#onTimer, Math.max(Math.ceil(at - now), 1));
  }

  #clearTimer(): void {
    clearTimeout(this.#timer!);
    this.#timer = null;
    this.#timerAt = Infinity;
  }

  readonly #onTimer = (): void => {
    this.#timer = null;
    this.#timerAt = Infinity;
    this.#lookBeside();
  };

  /** Looks beside a wait that may be parked. */
  #lookBeside(): void {
    if (this.#scheduled) return;
    this.#lookPause = Math.min(2 * this.#lookPause, SLOW_LOOK);
    this.#isTimed = this.#isParked;
    this.#turn();
    this.#isTimed = false;
  }
}
