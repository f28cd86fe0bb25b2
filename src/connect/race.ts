/**
 * Several addresses, one connection.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import {
  clearTimeout,
  LONGEST_TIMER,
  performance,
  setTimeout,
  type Timer,
} from "../../ffi/timers.ts";
import type { Address } from "../address/address.ts";
import { joinHostPort } from "../address/hostname.ts";
import {
  deadlinePassed,
  type IpAddress,
  type LookupListener,
  type LookupQuery,
  runLookup,
  startLookup,
} from "../address/lookup.ts";
import { AGAIN, PENDING } from "../attempt/attempt.ts";
import { errorFor, Failure } from "../attempt/failure.ts";
import { heedAbort, ignoreAbort, isObject } from "../errors/arguments.ts";
import {
  type Caller,
  keepCaller,
  own,
  type PublicFunction,
  rejectAt,
  releaseCaller,
} from "../errors/caller.ts";
import { pointed } from "../errors/errors.ts";
import { ABORTED, timeoutTo } from "../reactor/reactor.ts";
import type { Socket } from "../socket/socket.ts";
import { type Call, hasNoTime } from "./call.ts";
import { Dial } from "./dial.ts";
import { Schedule } from "./schedule.ts";
import { type HostLookup, permitted, readAddresses } from "./target.ts";
/** Which errno says most, where several addresses failed in several ways. */
const TELLING = [
  "ECONNREFUSED",
  "ECONNRESET",
  "EACCES",
  "EPERM",
  "EHOSTUNREACH",
  "ETIMEDOUT",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
] as const;

/** One of several addresses. */
class Contender extends Dial {
  readonly #race: Race | null;
  /** Which one of them it is. */
  readonly order: number;

  /** @param race What is notified of the end, `null` if the thread waits for it. */
  constructor(
    race: Race | null,
    { c, recipe, start, timeout, signal, onSocket }: Call,
    address: Address,
    order: number,
  ) {
    // A race heeds the signal for all of them.
    const own = race === null ? signal : undefined;
    super(c, recipe, address, start, start + timeout, own, onSocket);
    this.#race = race;
    this.order = order;
  }

  ended(): void {
    this.#race?.conclude(this);
  }

  protected override get isCalledOff(): boolean {
    return this.#race === null ? super.isCalledOff : this.#race.isOver;
  }
}

/** An address that was tried in vain. */
interface Loss {
  readonly dial: Contender;
  readonly failure: Failure;
}

/** Finds the addresses of a host, and asks for permission. */
export function findSync(
  call: Call,
  host: LookupQuery,
): readonly IpAddress[] {
  const { c, plan, start, timeout } = call;
  const { source } = plan;
  if (source === null) {
    return permitted(c, runLookup(c, host, start + timeout, start), true);
  }
  if (typeof source !== "function") return permitted(c, source, false);
  const { hostname, port, family } = host;
  const { signal } = new AbortController();
  const found = source(hostname, { family, signal });
  if (isObject(found) && "then" in found) {
    // Why it rejects is of no interest any more.
    Promise.resolve(found).catch(() => {});
    throw own(
      new TypeError(
        "Cannot use lookup with connectSync(): it returned a promise",
      ),
    );
  }
  const addresses = readAddresses("lookup()", found, port, family);
  checkInTime(call);
  return permitted(c, addresses, false);
}

/** Makes sure that finding the first addresses has left time to connect. */
function checkInTime(call: Call): void {
  if (!hasNoTime(call)) return;
  const { plan, start, timeout } = call;
  throw deadlinePassed(plan.host!, start, start + timeout);
}

/** Several addresses, for all of which the thread waits at once. */
export function raceSync(
  call: Call,
  addresses: readonly IpAddress[],
): Socket | Failure {
  const { c, start, timeout, delay } = call;
  const end = start + timeout;
  const schedule = new Schedule(delay, end);
  schedule.add(addresses);
  // Each stays in here until it is settled: these are closed in the end.
  const running = new Set<Contender>();
  const losses: Loss[] = [];

  function settle(dial: Contender): Socket | null {
    for (;;) {
      if (dial.errno === ABORTED) throw call.signal!.reason;
      const result = dial.finish(start, timeout, true, false);
      if (result === AGAIN) {
        dial.reuse(dial.address, start, end);
        if (dial.start(null) === PENDING) running.add(dial);
        else continue;
      } else if (result instanceof Failure) {
        losses.push({ dial, failure: result });
        schedule.hurry();
      } else return result;
      return null;
    }
  }

  try {
    for (;;) {
      for (;;) {
        const address = schedule.take();
        if (address === null) break;
        const dial = new Contender(null, call, address, schedule.begun);
        if (dial.start(null) === PENDING) running.add(dial);
        else {
          const socket = settle(dial);
          if (socket !== null) return socket;
        }
      }
      if (running.size === 0) {
        return combine(call, schedule.size, losses);
      }
      const waiting = [...running];
      blockAny(c, waiting, Math.min(schedule.next, end));
      const isLate = performance.now() >= end;
      for (const dial of waiting) {
        if (dial.errno === PENDING && isLate) dial.look(0);
        if (dial.errno === PENDING) continue;
        running.delete(dial);
        const socket = settle(dial);
        if (socket !== null) return socket;
      }
    }
  } finally {
    for (const dial of running) dial.drop();
  }
}

/** Waits in one poll(2) until something has become of an attempt, or a moment. */
function blockAny(
  c: Libc,
  dials: readonly Contender[],
  until: number,
): void {
  const { littleEndian, pollfd: at, POLLOUT } = c.abi;
  const fds = newMemory(at.size * dials.length);
  const view = new DataView(fds.buffer);
  for (const [i, { fd }] of dials.entries()) {
    view.setInt32(i * at.size + at.fd, fd, littleEndian);
    view.setInt16(i * at.size + at.events, POLLOUT, littleEndian);
  }
  const result = c.poll(fds, dials.length, timeoutTo(until));
  if (result === 0 || result === -c.abi.errnos.EINTR) return;
  for (const [i, dial] of dials.entries()) {
    const revents = view.getUint16(i * at.size + at.revents, littleEndian);
    if (result < 0) dial.look(result);
    else if (revents !== 0) dial.look(revents);
  }
}

/**
 * Several addresses, which may come late, waited for without holding the
 * thread. Whatever ends it ends all of it: no attempt is left, none starts.
 */
export class Race implements LookupListener {
  readonly #call: Call;
  readonly #end: number;
  readonly #schedule: Schedule;
  readonly #running: Set<Contender> = new Set();
  readonly #losses: Loss[] = [];
  #resolve!: (socket: Socket | Promise<never>) => void;
  #caller: Caller | null = null;
  /** Whether more addresses may come. */
  #isLooking = true;
  #abandonLookup: (() => void) | null = null;
  #timer: Timer | null = null;
  #isOver = false;

  constructor(call: Call) {
    this.#call = call;
    this.#end = call.start + call.timeout;
    this.#schedule = new Schedule(call.delay, this.#end);
  }

  /**
   * Connects.
   *
   * @param caller The caller, if it was kept; it is released in the end.
   * @param at A function of ours that is running.
   */
  run(caller: Caller | null, at: PublicFunction): Promise<Socket> {
    const { c, plan, start, signal } = this.#call;
    const end = this.#end;
    this.#caller = caller ?? keepCaller(at);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      const { source } = plan;
      const host = plan.host!;
      this.#guard(() => {
        heedAbort(signal, this.#onAbort);
        if (source === null) {
          this.#abandonLookup = startLookup(c, host, end, this, start);
        } else if (typeof source === "function") {
          this.#abandonLookup = callLookup(source, host, start, end, this);
        } else {
          this.#add(source);
          this.ended(null);
        }
        // It may have ended before it could be abandoned.
        if (this.#isOver) this.#abandonLookup?.();
      });
    });
  }

  /** Whether the promise has its outcome. */
  get isOver(): boolean {
    return this.#isOver;
  }

  found(addresses: readonly IpAddress[]): void {
    this.#guard(() => {
      if (this.#schedule.size === 0) checkInTime(this.#call);
      this.#add(addresses);
    });
  }

  #add(addresses: readonly IpAddress[]): void {
    const { c, plan, onLookup } = this.#call;
    const allowed = permitted(c, addresses, plan.source === null);
    onLookup?.(null, allowed);
    this.#schedule.add(allowed);
    this.#advance();
  }

  ended(error: Error | null): void {
    if (error !== null) return this.lookupFailed(error);
    this.#isLooking = false;
    this.#guard(() => this.#advance());
  }

  /** Takes what a lookup has thrown; the caller's own may throw `null`. */
  lookupFailed(error: unknown): void {
    this.#call.onLookup?.(error, []);
    this.#failAt((at) => pointed(error, at));
  }

  /** Takes the end of an attempt that had to wait. */
  conclude(dial: Contender): void {
    // Otherwise the race itself has ended it, and has its outcome already.
    if (this.#isOver || !this.#running.delete(dial)) return;
    this.#guard(() => {
      this.#settle(dial, true);
      this.#advance();
    });
  }

  readonly #onAbort = (): void => {
    // The signal is the caller's, and so may be what reads its reason.
    this.#failAt(() => this.#call.signal!.reason);
  };

  /** Begins what is due, and ends the race when nothing is left. */
  #advance(): void {
    while (!this.#isOver) {
      const address = this.#schedule.take();
      if (address === null) break;
      this.#begin(
        new Contender(this, this.#call, address, this.#schedule.begun),
      );
    }
    if (this.#isOver) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { next } = this.#schedule;
    const isLate = performance.now() >= this.#end;
    if (this.#running.size > 0 && !isLate) {
      if (next === Infinity || next >= this.#end) return;
      const delay = Math.min(
        Math.max(next - performance.now(), 0),
        LONGEST_TIMER,
      );
      this.#timer = setTimeout(() => this.#guard(() => this.#advance()), delay);
      return;
    }
    for (const dial of [...this.#running]) {
      this.#running.delete(dial);
      dial.cancel();
      dial.look(0);
      this.#settle(dial, true);
    }
    if (this.#losses.length === 0 || this.#isLooking && !isLate) return;
    const failure = combine(this.#call, this.#schedule.size, this.#losses);
    this.#failAt((at) => errorFor(failure, at));
  }

  #begin(dial: Contender): void {
    if (dial.start(null) === PENDING) {
      this.#running.add(dial);
      dial.wait();
    } else if (!this.#isOver) this.#settle(dial, false);
  }

  #settle(dial: Contender, hasWaited: boolean): void {
    const { start, timeout } = this.#call;
    const result = dial.finish(start, timeout, false, hasWaited);
    if (result === AGAIN) {
      dial.reuse(dial.address, start, this.#end);
      this.#begin(dial);
    } else if (result instanceof Failure) {
      this.#losses.push({ dial, failure: result });
      this.#schedule.hurry();
    } else {
      this.#finish();
      this.#resolve(result);
    }
  }

  /** Ends the race by whatever an attempt or a permission throws. */
  #guard(work: () => void): void {
    if (this.#isOver) return;
    try {
      work();
    } catch (error) {
      this.#failAt((at) => pointed(error, at));
    }
  }

  /** Ends the race by an error, which may point at the caller. */
  #failAt(make: (at: Caller | PublicFunction) => unknown): void {
    if (this.#isOver) return;
    this.#finish();
    rejectAt(this.#resolve, this.#caller, make);
  }

  #finish(): void {
    this.#isOver = true;
    releaseCaller(this.#caller);
    ignoreAbort(this.#call.signal, this.#onAbort);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#abandonLookup?.();
    for (const dial of [...this.#running]) {
      dial.cancel();
      dial.drop();
    }
    this.#running.clear();
  }
}

/** Finds the addresses of a host by a function of the caller. */
function callLookup(
  source: HostLookup,
  query: LookupQuery,
  start: number,
  end: number,
  race: Race,
): () => void {
  const { hostname, port, family } = query;
  const controller = new AbortController();
  const left = end - performance.now();
  const timer = left > LONGEST_TIMER ? null : setTimeout(() => {
    controller.abort();
    race.lookupFailed(deadlinePassed(query, start, end));
  }, Math.max(left, 0));
  function stop(): void {
    if (timer !== null) clearTimeout(timer);
    controller.abort();
  }
  const { signal } = controller;
  Promise.resolve()
    .then(() => source(hostname, { family, signal }))
    .then((found) => {
      if (signal.aborted) return;
      const addresses = readAddresses("lookup()", found, port, family);
      stop();
      race.found(addresses);
      race.ended(null);
    })
    .catch((error) => {
      if (signal.aborted) return;
      stop();
      race.lookupFailed(error);
    });
  return stop;
}

/** One failure for several addresses. */
function combine(
  { plan, start }: Call,
  known: number,
  losses: Loss[],
): Failure {
  if (losses.length === 1) return losses[0]!.failure;
  losses.sort((a, b) => a.dial.order - b.dial.order);
  const errors = losses.map(({ failure }) => errorFor(failure));
  const code = TELLING.find((code) => errors.some((e) => e.code === code));
  const telling = errors.find((e) => e.code === code) ?? errors.at(-1)!;
  const each = losses
    .map(({ dial }, i) => `${dial.address} ${errors[i]!.code}`)
    .join(", ");
  const { hostname, port } = plan.host!;
  const tried = errors.length === known
    ? `all ${known} addresses failed`
    : `${errors.length} of ${known} addresses failed in time`;
  return new Failure(telling.errno, {
    syscall: telling.syscall,
    address: joinHostPort(hostname, port),
    elapsed: performance.now() - start,
    timeoutKind: telling.timeoutKind,
    soft: telling.soft,
    icmp: telling.icmp,
    detail: `${tried}, ${each}`,
    errors,
  });
}
