/**
 * Many attempts at once: when each one begins, when it is repeated, and what
 * the results are.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  LONGEST_TIMER,
  performance,
  setImmediate,
  setTimeout,
} from "../../ffi/timers.ts";
import type { Inet6Address, InetAddress } from "../address/address.ts";
import { DEADLINE, newPace, PENDING, type Recipe } from "../attempt/attempt.ts";
import { lacksPort } from "../attempt/failure.ts";
import { ErrnoError, type Icmp } from "../errors/errors.ts";
import {
  type Crowd,
  forget,
  pauseAfter,
  unwatch,
  watchFor,
} from "../reactor/reactor.ts";
import { afterAll } from "../reactor/turns.ts";
import { localOf } from "../socket/ends.ts";
import { Fifo } from "./fifo.ts";
import {
  countDescriptors,
  descriptorLimit,
  FREE_DESCRIPTORS,
  OWN_DESCRIPTORS,
} from "./limits.ts";
import { type Host, HostTable, type Network } from "./probe_hosts.ts";
import { Attempts, Flag, Flights, NOTHING } from "./probe_flights.ts";
import { Look } from "./probe_look.ts";
import {
  CLOSED_PORT,
  type Handshake,
  isExhaustion,
  OPEN,
  readHandshake,
  SILENT,
  UNSENT,
  type Verdict,
  verdictOf,
} from "./verdict.ts";

/** The outcome of a probe. */
export interface Finding {
  readonly verdict: Verdict;
  /** The errno, 0 for none, or `DEADLINE`. */
  readonly errno: number;
  /** Which C function failed. */
  readonly syscall: string;
  /** The error of a failure that has no errno. */
  readonly cause: Error | null;
  readonly icmp: Icmp | null;
  readonly soft: boolean;
  readonly localAddress: string | null;
  readonly attempts: number;
  readonly retransmits: number | null;
  readonly wall: number | null;
  readonly rtt: number | null;
  /** The connected descriptor, -1 where it was closed. */
  readonly fd: number;
}

/** Where jobs come from. Each has a number. */
export interface Feed {
  /** The next job, {@linkcode NOTHING} while there is none. */
  take(): number;
  /** The address to probe. */
  addressOf(job: number): InetAddress | Inet6Address;
  /** Whether there will be no more. */
  readonly isOver: boolean;
  /** How many targets there are, `null` if that is not known. */
  readonly total: number | null;
}

/** Where findings go. */
export interface Sink {
  /** How many findings still wait for a reader. */
  readonly held: number;
  /** Takes a finding. The object is used again after this returns. */
  found(job: number, finding: Finding): void;
  /** All jobs are done. */
  done(): void;
  /** The run has ended by an error. */
  failed(error: unknown): void;
}

/** How a run goes on. */
export interface Pacing {
  readonly timeout: number;
  readonly retries: number;
  /** `null` to derive it from how soon the networks reply. */
  readonly retryAfter: number | null;
  /** `null` for {@linkcode USUAL_CONCURRENCY}. */
  readonly concurrency: number | null;
  readonly hostConcurrency: number;
  /** Attempts a second, `Infinity` for no limit. */
  readonly rate: number;
  /** Whether connected descriptors are handed over. */
  readonly keepsSockets: boolean;
}

/** How far a run has come. */
export interface RunState {
  readonly inFlight: number;
  readonly retries: number;
  readonly attempts: number;
  readonly concurrency: number;
}

/** The concurrency where no option asks for another one. */
export const USUAL_CONCURRENCY = 4096;

/** For how many probes there is room to begin with where nobody knows how many there are. */
const USUAL_ROWS = 256;

/** How long to wait before the next attempt while the network has not replied, in ms. */
const FIRST_RETRY = 500;
/** Once it has, how much longer than its slowest reply took, within which limits. */
const SOONEST_RETRY = 100;
const LATEST_RETRY = 1000;
const RETRY_FACTOR = 3;

/** How many jobs are set aside because as many as may go to their hosts are under way. */
const MOST_PARKED = 256;

/** Where attempts could not begin in time, how much of that time is made up for, in ms. */
const MOST_MADE_UP = 10;

/** How long a run may hold the thread, in ms, and how often it looks at the clock. */
const LONGEST_SLICE = 4;
const TRIES_PER_LOOK = 8;

/**
 * One pause in so many gives all kinds of work a turn, which takes up to a
 * twentieth of the time; the others take one turn, which is enough for timers.
 * Where threads wait for messages, all pauses are long ones.
 */
const SLICES_PER_REST = 3;

/** How many attempts are given up in one turn. */
const MOST_GIVEN_UP = 64;

/** How far events that lead to nothing are counted. */
const MOST_VAIN = 200;

/** How long to begin nothing after something has run out, in ms. */
const EXHAUSTED_PAUSE = 10;

/** How often a target is tried again after a socket has connected to itself. */
const MOST_SELF_CONNECTIONS = 8;

/** Up to that time, no SYN was repeated, in ms: RFC 6298 repeats it after a second. */
const NO_REPEAT = 900;

/** Probes the jobs of a feed. */
export class Run implements Crowd {
  readonly libc: Libc;
  readonly #pacing: Pacing;
  readonly #feed: Feed;
  readonly #sink: Sink;
  /** How many may be under way at most, and how many at present. */
  readonly #mostInFlight: number;
  #limit: number;
  /** How many sockets there may be, and the first descriptor that is too high. */
  readonly #mostSockets: number;
  readonly #ceiling: number;
  #inFlight = 0;
  #sockets = 0;
  #retries = 0;
  #begun = 0;
  readonly #flights: Flights;
  readonly #attempts: Attempts;
  readonly #look: Look;
  readonly #due = new Fifo<number>();
  /** Jobs that come before those of the feed. */
  readonly #ready = new Fifo<number>();
  #parked = 0;
  readonly #hosts: HostTable;
  readonly #pace = newPace();
  /** Attempts that may begin now. */
  #tokens = 1;
  #filled = -1;
  #isTimed = false;
  #isPaused = false;
  #isResting = false;
  #isPumping = false;
  #isOver = false;
  #sliceStart = -1;
  #steps = 0;
  #rests = 0;
  readonly #slicesPerRest: number;
  // Made once and used again for each result.
  readonly #handshake: Handshake = { rtt: null, retransmits: null };
  readonly #finding: { -readonly [K in keyof Finding]: Finding[K] } = {
    verdict: SILENT,
    errno: 0,
    syscall: "connect",
    cause: null,
    icmp: null,
    soft: false,
    localAddress: null,
    attempts: 0,
    retransmits: null,
    wall: null,
    rtt: null,
    fd: -1,
  };

  /** @param share How many runs share the descriptors of the process. */
  constructor(
    libc: Libc,
    recipe: Recipe,
    pacing: Pacing,
    feed: Feed,
    sink: Sink,
    share = 1,
  ) {
    this.libc = libc;
    this.#pacing = pacing;
    this.#feed = feed;
    this.#sink = sink;
    this.#hosts = new HostTable(libc);
    this.#look = new Look(libc, recipe);
    this.#slicesPerRest = share === 1 ? SLICES_PER_REST : 1;
    const limit = descriptorLimit(libc);
    const open = limit === Infinity ? 0 : countDescriptors(libc, limit);
    const spare = FREE_DESCRIPTORS + OWN_DESCRIPTORS;
    const room = Math.floor((limit - open - spare) / share);
    // With too few descriptors, it goes on one by one.
    this.#ceiling = room < 1 ? Infinity : limit - spare;
    this.#mostSockets = Math.max(1, room);
    this.#mostInFlight = Math.min(
      pacing.concurrency ?? USUAL_CONCURRENCY,
      this.#mostSockets,
    );
    this.#limit = this.#mostInFlight;
    const rows = Math.min(this.#mostInFlight, feed.total ?? USUAL_ROWS);
    this.#flights = new Flights(rows);
    this.#attempts = new Attempts(open + rows);
  }

  get state(): RunState {
    return {
      inFlight: this.#inFlight,
      retries: this.#retries,
      attempts: this.#begun,
      concurrency: Math.floor(this.#limit),
    };
  }

  /** Begins as much as may begin now. */
  pump(): void {
    if (this.#isPumping || this.#isOver) return;
    this.#isPumping = true;
    try {
      while (this.#step());
    } catch (error) {
      return this.#break(error);
    } finally {
      this.#isPumping = false;
    }
    if (
      !this.#isOver && this.#inFlight === 0 && this.#ready.length === 0 &&
      this.#parked === 0 && this.#feed.isOver
    ) {
      this.#isOver = true;
      this.#sink.done();
    }
  }

  /** Gives up all that is under way, and closes every descriptor. */
  stop(): void {
    this.#isOver = true;
    for (const fd of this.#attempts.all()) this.#drop(fd);
    this.#look.drop();
    this.#inFlight = 0;
    this.#due.clear();
    this.#ready.clear();
  }

  get end(): number {
    const { first } = this.#attempts;
    return first === NOTHING ? Infinity : this.#attempts.end[first]!;
  }

  sinceOf(fd: number): number {
    return this.#attempts.since[fd]!;
  }

  notify(fd: number, events: number): void {
    const flight = this.#attempts.flight[fd]!;
    if (flight === NOTHING) return;
    try {
      const look = this.#load(fd);
      const errno = look.look(events);
      // With neither a peer nor an error, it is still under way.
      const isPending = errno === PENDING ||
        errno === this.libc.abi.errnos.ENOTCONN;
      if (isPending) this.#watchAgain(fd);
      else this.#settle(flight);
    } catch (error) {
      return this.#break(error);
    }
    this.pump();
  }

  expire(now: number): boolean {
    let isBehind = false;
    try {
      for (let i = 0; this.end <= now && !isBehind; i++) {
        if (i === MOST_GIVEN_UP) isBehind = true;
        else this.#late(this.#attempts.first);
      }
    } catch (error) {
      this.#break(error);
      return false;
    }
    this.pump();
    return isBehind;
  }

  fail(error: unknown): void {
    try {
      for (const fd of this.#attempts.all()) {
        const flight = this.#attempts.flight[fd]!;
        this.#load(fd);
        this.#fail(flight, error);
        if (this.#isOver) return;
      }
    } catch (other) {
      return this.#break(other);
    }
    this.pump();
  }

  /** Ends the run by an error that is no result. */
  #break(error: unknown): void {
    this.stop();
    this.#sink.failed(error);
  }

  /** Begins one attempt; returns whether another one may follow. */
  #step(): boolean {
    if (this.#isOver || this.#isPaused || this.#isResting) return false;
    if (this.#isTired()) return false;
    if (!this.#mayBegin()) return false;
    const flight = this.#nextFlight();
    if (flight !== NOTHING) {
      this.#retries++;
      this.#attempt(flight);
      return true;
    }
    const job = this.#nextJob();
    if (job === NOTHING) {
      this.#tokens++;
      return false;
    }
    const host = this.#hosts.of(this.#feed.addressOf(job));
    if (host.inFlight < this.#pacing.hostConcurrency) {
      host.inFlight++;
      this.#inFlight++;
      this.#attempt(this.#flights.take(job, host.number));
    } else {
      this.#tokens++;
      host.parked.push(job);
      this.#parked++;
    }
    return true;
  }

  #repeat(flight: number): void {
    const { flags } = this.#flights;
    if ((flags[flight]! & Flag.DUE) !== 0) return;
    flags[flight]! |= Flag.DUE;
    this.#due.push(flight);
  }

  /** One that is due for another attempt, {@linkcode NOTHING} if none is. */
  #nextFlight(): number {
    const flights = this.#flights;
    for (;;) {
      const flight = this.#due.shift();
      if (flight === undefined) return NOTHING;
      flights.flags[flight]! &= ~Flag.DUE;
      if (flights.flags[flight] === 0) {
        flights.free(flight);
        continue;
      }
      // Otherwise its time is over, and the reactor is about to report that.
      const isLate = flights.newest[flight] !== NOTHING &&
        flights.end[flight]! <= performance.now();
      if (!isLate) return flight;
    }
  }

  /** Whether other work is to have a turn before the next attempt. */
  #isTired(): boolean {
    if (this.#steps++ % TRIES_PER_LOOK !== 0) return false;
    const now = performance.now();
    if (this.#sliceStart < 0) {
      this.#sliceStart = now;
      setImmediate(this.#endSlice);
      return false;
    }
    if (now - this.#sliceStart < LONGEST_SLICE) return false;
    this.#isResting = true;
    if (++this.#rests % this.#slicesPerRest === 0) {
      afterAll(this.libc, this.#wakeUp);
    } else {
      setImmediate(this.#wakeUp);
    }
    return true;
  }

  readonly #endSlice = (): void => {
    this.#sliceStart = -1;
  };

  readonly #wakeUp = (): void => {
    this.#isResting = false;
    this.#steps = 0;
    this.#sliceStart = -1;
    this.pump();
  };

  #nextJob(): number {
    const taken = this.#inFlight + this.#sink.held;
    if (taken >= Math.floor(this.#limit)) return NOTHING;
    if (this.#sockets >= this.#mostSockets) return NOTHING;
    const job = this.#ready.shift();
    if (job !== undefined) return job;
    return this.#parked < MOST_PARKED ? this.#feed.take() : NOTHING;
  }

  /** Ends a flight, and makes a parked job of its host ready. */
  #leave(flight: number): void {
    const flights = this.#flights;
    const host = this.#hostOf(flight);
    flights.flags[flight]! &= ~Flag.LIVE;
    if (flights.flags[flight] === 0) flights.free(flight);
    this.#inFlight--;
    host.inFlight--;
    const job = host.parked.shift();
    if (job !== undefined) {
      this.#parked--;
      this.#ready.push(job);
    } else if (host.inFlight === 0) this.#hosts.rest(host);
  }

  #hostOf(flight: number): Host {
    return this.#hosts.at(this.#flights.host[flight]!);
  }

  /** Whether the rate allows an attempt now; if not, pump() is called when it does. */
  #mayBegin(): boolean {
    const { rate } = this.#pacing;
    if (rate === Infinity) return true;
    const now = performance.now();
    if (this.#filled >= 0) {
      const most = Math.max(1, rate * MOST_MADE_UP / 1000);
      const more = (now - this.#filled) * rate / 1000;
      this.#tokens = Math.min(most, this.#tokens + more);
    }
    this.#filled = now;
    if (this.#tokens >= 1) {
      this.#tokens--;
      return true;
    }
    if (!this.#isTimed) {
      this.#isTimed = true;
      setTimeout(() => {
        this.#isTimed = false;
        this.pump();
      }, Math.min((1 - this.#tokens) * 1000 / rate, LONGEST_TIMER));
    }
    return false;
  }

  #attempt(flight: number): void {
    const { libc } = this;
    const flights = this.#flights;
    const attempts = this.#attempts;
    const address = this.#feed.addressOf(flights.job[flight]!);
    // Earlier attempts stay open for a late reply only while there is room.
    const isFull = this.#sockets >= this.#mostSockets;
    if (isFull && flights.newest[flight] !== NOTHING) {
      this.#drop(this.#oldest(flight));
    }
    const look = this.#look;
    look.reuse(address, 0, 0);
    look.isPending = false;
    try {
      if (look.open() === 0 && look.fd >= this.#ceiling) {
        look.close();
        look.errno = libc.abi.errnos.EMFILE;
        look.syscall = "socket";
      }
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      look.errno = error.errno;
      look.syscall = error.syscall;
    }
    const now = performance.now();
    if (flights.start[flight]! < 0) {
      flights.start[flight] = now;
      flights.end[flight] = Math.ceil(now + this.#pacing.timeout);
    }
    look.since = now;
    if (look.fd < 0) {
      return isExhaustion(libc, look.errno, look.syscall, address)
        ? this.#postpone(flight)
        : this.#judge(flight, verdictOf(look, false));
    }
    const { fd } = look;
    this.#sockets++;
    this.#begun++;
    flights.attempts[flight]!++;
    attempts.add(fd, flight, now, flights.newest[flight]!);
    flights.newest[flight] = fd;
    look.isPending = look.start(this.#pace) === PENDING;
    if (!look.isPending) return this.#settle(flight);
    attempts.expireAt(fd, this.#nextAttemptAfter(flight, now));
    this.#watch(fd);
  }

  /** When the next attempt is due, or the flight over. */
  #nextAttemptAfter(flight: number, now: number): number {
    const { attempts, end } = this.#flights;
    if (attempts[flight]! > this.#pacing.retries) return end[flight]!;
    const due = Math.ceil(
      now + this.#retryAfter(this.#hostOf(flight).network),
    );
    return Math.min(due, end[flight]!);
  }

  #retryAfter({ slowest }: Network): number {
    const { retryAfter, timeout, retries } = this.#pacing;
    if (retryAfter !== null) return retryAfter;
    const time = slowest < 0
      ? FIRST_RETRY
      : Math.min(Math.max(RETRY_FACTOR * slowest, SOONEST_RETRY), LATEST_RETRY);
    // Otherwise no time would be left for the last attempt.
    return Math.min(time, timeout / (retries + 1));
  }

  #watch(fd: number): void {
    const { libc } = this;
    try {
      watchFor(libc, this, fd, libc.abi.POLLOUT);
    } catch (error) {
      const flight = this.#attempts.flight[fd]!;
      this.#load(fd);
      this.#fail(flight, error);
    }
  }

  /** Goes on waiting for an attempt whose events have led to nothing. */
  #watchAgain(fd: number): void {
    const { vain, flight, since, end } = this.#attempts;
    if (vain[fd]! < MOST_VAIN) vain[fd]!++;
    const pause = pauseAfter(vain[fd]!);
    if (pause === 0) return this.#watch(fd);
    const job = flight[fd]!;
    const began = since[fd]!;
    const left = Math.max(0, end[fd]! - performance.now());
    setTimeout(() => {
      // Another attempt may have the descriptor by now.
      const { flight, since } = this.#attempts;
      if (flight[fd] === job && since[fd] === began) this.#watch(fd);
      // While none is watched, the reactor does not ask what is late.
      this.expire(performance.now());
    }, Math.min(pause, left));
  }

  /** Loads the record with an attempt that was pending. */
  #load(fd: number): Look {
    const look = this.#look;
    const { since, end } = this.#attempts;
    look.reuse(look.address, since[fd]!, end[fd]!);
    look.fd = fd;
    look.isPending = true;
    return look;
  }

  /** Takes the error that ends the wait for an attempt. */
  #fail(flight: number, error: unknown): void {
    if (!(error instanceof ErrnoError)) throw error;
    this.#look.errno = error.errno;
    this.#look.syscall = error.syscall;
    this.#settle(flight);
  }

  /** The time of an attempt is over. */
  #late(fd: number): void {
    const attempts = this.#attempts;
    const flight = attempts.flight[fd]!;
    const end = this.#flights.end[flight]!;
    if (attempts.end[fd]! < end) {
      attempts.expireAt(fd, end);
      return this.#repeat(flight);
    }
    this.#load(fd).errno = DEADLINE;
    this.#conclude(flight, SILENT);
  }

  /** Takes the outcome of the attempt in the record. */
  #settle(flight: number): void {
    const look = this.#look;
    const { errno, syscall } = look;
    const { ECONNREFUSED } = this.libc.abi.errnos;
    const isReset = errno === ECONNREFUSED && look.icmp === null;
    if (isReset && syscall === "connect") {
      // A socket that was watched is still known to epoll(7).
      return this.#conclude(flight, CLOSED_PORT, !look.isPending);
    }
    if (look.isVague) return this.#again(flight);
    const address = this.#feed.addressOf(this.#flights.job[flight]!);
    look.address = address;
    if (errno !== 0) {
      return isExhaustion(this.libc, errno, syscall, address)
        ? this.#postpone(flight)
        : this.#judge(flight, verdictOf(look, look.isSent));
    }
    if (!look.isSelfConnected()) return this.#conclude(flight, OPEN);
    // Nothing listens there, and the kernel has chosen the port of the target
    // itself: from another port, there is a reply.
    if (!this.#meetsItself(flight)) this.#again(flight);
  }

  /**
   * Counts that there was no port to connect from but that of the target.
   *
   * @returns Whether that was once too often, and the flight is over.
   */
  #meetsItself(flight: number): boolean {
    const { attempts, selfConnections } = this.#flights;
    if (selfConnections[flight]!++ < MOST_SELF_CONNECTIONS) return false;
    const look = this.#look;
    if (look.fd >= 0) {
      this.#remove(look.fd);
      look.reset();
    } else attempts[flight]!++;
    look.errno = this.libc.abi.errnos.ECONNREFUSED;
    look.syscall = "connect";
    this.#conclude(flight, CLOSED_PORT);
    return true;
  }

  /**
   * Concludes, unless this is a repeated attempt that could not be sent: what was
   * sent before may still be answered.
   */
  #judge(flight: number, verdict: Verdict): void {
    const flights = this.#flights;
    const look = this.#look;
    const isFirst = flights.attempts[flight]! < (look.fd < 0 ? 1 : 2);
    if (verdict !== UNSENT || isFirst) return this.#conclude(flight, verdict);
    let due = flights.end[flight]!;
    if (look.fd >= 0) {
      due = this.#nextAttemptAfter(flight, performance.now());
      this.#drop(look.fd);
    }
    const newest = flights.newest[flight]!;
    if (newest !== NOTHING) return this.#attempts.expireAt(newest, due);
    // Those before had to be given up for lack of room.
    look.reuse(look.address, flights.start[flight]!, 0);
    look.errno = DEADLINE;
    this.#conclude(flight, SILENT);
  }

  /** Makes the attempt in the record once more, by another socket. */
  #again(flight: number): void {
    const look = this.#look;
    this.#remove(look.fd);
    look.reset();
    this.#flights.attempts[flight]!--;
    this.#repeat(flight);
  }

  /** Repeats an attempt later, for something has run out. */
  #postpone(flight: number): void {
    const flights = this.#flights;
    const look = this.#look;
    const { errno, fd, syscall } = look;
    const hasMet = flights.selfConnections[flight]! > 0;
    // The only port may be that of the socket that has met itself.
    if (hasMet && lacksPort(this.libc, errno, syscall)) {
      if (this.#meetsItself(flight)) return;
      if (fd >= 0) flights.attempts[flight]!--;
    }
    if (fd >= 0) this.#drop(fd);
    // The socket that is kept has a descriptor, and maybe the last port.
    look.drop();
    this.#limit = Math.max(1, Math.floor(this.#inFlight * 3 / 4));
    if (hasMet || flights.newest[flight] !== NOTHING) this.#repeat(flight);
    else {
      this.#ready.push(flights.job[flight]!);
      this.#leave(flight);
    }
    this.#pause();
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    setTimeout(() => {
      this.#isPaused = false;
      this.pump();
    }, EXHAUSTED_PAUSE);
  }

  /** Reports the verdict of a flight, and closes its descriptors. */
  #conclude(flight: number, verdict: Verdict, isSpent = false): void {
    const { libc } = this;
    const look = this.#look;
    const flights = this.#flights;
    const now = performance.now();
    const isOpen = verdict === OPEN;
    const isConnected = isOpen && look.errno === 0;
    const wall = now -
      (verdict === SILENT ? flights.start[flight]! : look.since);
    const handshake = this.#handshake;
    handshake.rtt = null;
    handshake.retransmits = libc.abi.tcpInfo === null ? null : 0;
    let localAddress: string | null = null;
    let kept = -1;
    const { fd } = look;
    if (fd >= 0) {
      if (isOpen || wall >= NO_REPEAT) {
        readHandshake(libc, isOpen ? fd : this.#oldest(flight), handshake);
      }
      this.#remove(fd);
      if (isConnected) {
        const end = localOf(libc, fd);
        if (typeof end === "object") localAddress = `${end}` || null;
        if (this.#pacing.keepsSockets) {
          // Its new owner may watch it in another way.
          forget(libc, fd);
          look.keepSenders(false);
          kept = look.take();
        } else look.reset();
      } else if (isSpent) look.spare();
      else look.close();
    }
    const { network } = this.#hostOf(flight);
    if (verdict !== SILENT && look.isSent && wall > network.slowest) {
      network.slowest = wall;
    }
    const finding = this.#finding;
    finding.verdict = verdict;
    finding.errno = look.errno;
    finding.syscall = look.syscall;
    finding.icmp = look.icmp;
    finding.soft = look.isSoft;
    finding.localAddress = localAddress;
    finding.attempts = flights.attempts[flight]!;
    finding.retransmits = handshake.retransmits;
    finding.wall = look.syscall === "connect" ? wall : null;
    finding.rtt = handshake.rtt;
    finding.fd = kept;
    while (flights.newest[flight] !== NOTHING) {
      this.#drop(flights.newest[flight]!);
    }
    const job = flights.job[flight]!;
    this.#leave(flight);
    if (this.#limit < this.#mostInFlight) this.#limit += 0.25;
    this.#sink.found(job, finding);
  }

  /** The descriptor of the first attempt that may still be answered. */
  #oldest(flight: number): number {
    const { older } = this.#attempts;
    let fd = this.#flights.newest[flight]!;
    while (older[fd] !== NOTHING) fd = older[fd]!;
    return fd;
  }

  /** Gives one attempt up. */
  #drop(fd: number): void {
    this.#remove(fd);
    this.libc.close(fd);
  }

  /** Takes an attempt out of the tables; its descriptor is to be closed. */
  #remove(fd: number): void {
    const { newest } = this.#flights;
    const { flight, older } = this.#attempts;
    const owner = flight[fd]!;
    if (newest[owner] === fd) newest[owner] = older[fd]!;
    else {
      let younger = newest[owner]!;
      while (older[younger] !== fd) younger = older[younger]!;
      older[younger] = older[fd]!;
    }
    this.#attempts.remove(fd);
    unwatch(this.libc, fd);
    this.#sockets--;
  }
}
