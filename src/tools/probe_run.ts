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
import {
  bytesOf,
  type Inet6Address,
  type InetAddress,
} from "../address/address.ts";
import {
  Attempt,
  DEADLINE,
  newPace,
  PENDING,
  Phase,
  type Recipe,
} from "../attempt/attempt.ts";
import { ErrnoError, type Icmp } from "../errors/errors.ts";
import { forget } from "../reactor/reactor.ts";
import { afterAll } from "../reactor/turns.ts";
import { localOf } from "../socket/ends.ts";
import { Fifo } from "./fifo.ts";
import {
  countDescriptors,
  descriptorLimit,
  FREE_DESCRIPTORS,
} from "./limits.ts";
import {
  CLOSED_PORT,
  type Handshake,
  isExhaustion,
  OPEN,
  readHandshake,
  SILENT,
  type Verdict,
  verdictOf,
} from "./verdict.ts";

/** One address to probe. */
export interface Job {
  readonly address: InetAddress | Inet6Address;
}

/** What a probe came to. */
export interface Finding {
  readonly verdict: Verdict;
  /** The errno, 0 for none, or `DEADLINE`. */
  readonly errno: number;
  /** Which C function failed. */
  readonly syscall: string;
  /** What else is known of a failure that has no errno. */
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

/** Where jobs come from. */
export interface Feed<J extends Job> {
  /** The next job, `null` while there is none. */
  take(): J | null;
  /** Whether there will be none any more. */
  readonly isOver: boolean;
}

/** Where findings go. */
export interface Sink<J extends Job> {
  /** How many were taken that still wait for somebody. */
  readonly held: number;
  /** Takes a finding, which is another one's when this returns. */
  found(job: J, finding: Finding): void;
  /** All jobs are done. */
  done(): void;
  /** Something is wrong that ends all. */
  failed(error: unknown): void;
}

/** How a run goes on. */
export interface Pacing {
  readonly timeout: number;
  readonly retries: number;
  /** `null` for what the networks' answers suggest. */
  readonly retryAfter: number | null;
  /** `null` for as many as is usual. */
  readonly concurrency: number | null;
  readonly hostConcurrency: number;
  /** Attempts a second, `Infinity` for no limit. */
  readonly rate: number;
  /** Whether connected descriptors are handed over. */
  readonly keepsSockets: boolean;
}

/** How far a run has got. */
export interface RunState {
  readonly inFlight: number;
  readonly retries: number;
  readonly attempts: number;
  readonly concurrency: number;
}

/** The concurrency where nobody asked for another one. */
export const USUAL_CONCURRENCY = 4096;

/** What a run opens besides its sockets, at most: to wait for them, and for names. */
const OWN_DESCRIPTORS = 8;

/** How long an answer is waited for while its network has not answered yet. */
const FIRST_RETRY = 500;
/** The least and the most that is waited otherwise, and how much more than the slowest answer took. */
const SOONEST_RETRY = 100;
const LATEST_RETRY = 1000;
const RETRY_FACTOR = 3;

/** How many networks are remembered. */
const MOST_NETWORKS = 0x1_0000;

/** How many jobs are set aside because their hosts have enough to do. */
const MOST_PARKED = 256;

/** How much time is made up for where attempts could not begin in time, in ms. */
const MOST_MADE_UP = 10;

/** How long a run may hold the thread, in ms, and how often it looks at the clock. */
const LONGEST_SLICE = 4;
const TRIES_PER_LOOK = 8;

/** How long nothing is begun after something has run out, in ms. */
const EXHAUSTED_PAUSE = 10;

/** How often a target is tried again after a socket has met itself. */
const MOST_SELF_CONNECTIONS = 8;

/** Before that time no SYN was repeated, in ms: RFC 6298 has it at a second. */
const NO_REPEAT = 900;

/** What the answers of a network took. */
interface Network {
  /** The slowest of them in ms, -1 while there is none. */
  slowest: number;
}

interface Host<J extends Job> {
  readonly key: string;
  readonly network: Network;
  inFlight: number;
  readonly parked: Fifo<J>;
}

/** A job under way. */
interface Flight<J extends Job> {
  job: J;
  host: Host<J>;
  /** Those that may still be answered, the oldest first. */
  readonly tries: Try<J>[];
  /** When the first one began, -1 before that. */
  start: number;
  /** When the last one is given up. */
  end: number;
  attempts: number;
  selfConnections: number;
  /** Whether it is among those that are due for another attempt. */
  isDue: boolean;
  isOver: boolean;
  /** Its neighbours among those under way. */
  previous: Flight<J> | null;
  following: Flight<J> | null;
}

function newFlight<J extends Job>(job: J, host: Host<J>): Flight<J> {
  return {
    job,
    host,
    tries: [],
    start: -1,
    end: 0,
    attempts: 0,
    selfConnections: 0,
    isDue: false,
    isOver: false,
    previous: null,
    following: null,
  };
}

/** One attempt of a flight. */
class Try<J extends Job> extends Attempt {
  readonly #run: Run<J>;
  /** `null` once nobody cares any more. */
  flight: Flight<J> | null = null;
  /** Whether connect(2) has left it pending. */
  isPending = false;

  constructor(run: Run<J>, recipe: Recipe, address: Job["address"]) {
    super(run.libc, recipe, address, 0, 0, undefined);
    this.#run = run;
  }

  /** Whether something was sent, as far as that shows. */
  get isSent(): boolean {
    return this.isPending || this.soft !== 0 || this.icmp !== null ||
      this.errno === 0;
  }

  ended(): void {
    if (this.flight === null) this.#run.spare(this);
    else this.#run.ended(this, this.flight);
  }
}

/** Probes what a feed has. */
export class Run<J extends Job> {
  readonly libc: Libc;
  readonly #recipe: Recipe;
  readonly #pacing: Pacing;
  readonly #feed: Feed<J>;
  readonly #sink: Sink<J>;
  /** The most that may be under way, and as many as seem good right now. */
  readonly #mostInFlight: number;
  #limit: number;
  /** How many descriptors there may be, and the first that is too high. */
  readonly #mostSockets: number;
  readonly #ceiling: number;
  #inFlight = 0;
  #sockets = 0;
  #retries = 0;
  #attempts = 0;
  /** The chain of flights. */
  #flights: Flight<J> | null = null;
  readonly #spare: Try<J>[] = [];
  readonly #spareFlights: Flight<J>[] = [];
  readonly #due = new Fifo<Flight<J>>();
  /** Jobs that come before those of the feed. */
  readonly #ready = new Fifo<J>();
  #parked = 0;
  readonly #hosts = new Map<string, Host<J>>();
  readonly #networks = new Map<string, Network>();
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
  // Made once, for there are millions of them.
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

  constructor(
    libc: Libc,
    recipe: Recipe,
    pacing: Pacing,
    feed: Feed<J>,
    sink: Sink<J>,
    share = 1,
  ) {
    this.libc = libc;
    this.#recipe = recipe;
    this.#pacing = pacing;
    this.#feed = feed;
    this.#sink = sink;
    const limit = descriptorLimit(libc);
    const open = limit === Infinity ? 0 : countDescriptors(libc, limit);
    const spare = FREE_DESCRIPTORS + OWN_DESCRIPTORS;
    const room = Math.floor((limit - open - spare) / share);
    // One at a time is better than none.
    this.#ceiling = room < 1 ? Infinity : limit - spare;
    this.#mostSockets = Math.max(1, room);
    this.#mostInFlight = Math.min(
      pacing.concurrency ?? USUAL_CONCURRENCY,
      this.#mostSockets,
    );
    this.#limit = this.#mostInFlight;
  }

  get state(): RunState {
    return {
      inFlight: this.#inFlight,
      retries: this.#retries,
      attempts: this.#attempts,
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
      this.stop();
      this.#sink.failed(error);
      return;
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

  /** Gives up what is under way, and closes every descriptor. */
  stop(): void {
    this.#isOver = true;
    for (let one = this.#flights; one !== null; one = one.following) {
      one.isOver = true;
      this.#abandon(one);
    }
    this.#flights = null;
    this.#inFlight = 0;
    this.#due.clear();
    this.#ready.clear();
    this.#hosts.clear();
  }

  /** Takes back an attempt that was given up, once its wait is over. */
  spare(one: Try<J>): void {
    this.#spare.push(one);
  }

  /** Takes the end of an attempt. */
  ended(one: Try<J>, flight: Flight<J>): void {
    try {
      if (one.errno === DEADLINE) this.#late(one, flight);
      else this.#settle(one, flight);
    } catch (error) {
      this.stop();
      this.#sink.failed(error);
      return;
    }
    this.pump();
  }

  /** Begins one attempt; returns whether another one may follow. */
  #step(): boolean {
    if (this.#isOver || this.#isPaused || this.#isResting) return false;
    if (this.#isTired()) return false;
    if (!this.#mayBegin()) return false;
    const flight = this.#nextFlight();
    if (flight !== null) {
      this.#retries++;
      this.#attempt(flight);
      return true;
    }
    const job = this.#nextJob();
    if (job === null) {
      this.#tokens++;
      return false;
    }
    const host = this.#hostOf(job);
    if (host.inFlight < this.#pacing.hostConcurrency) {
      this.#attempt(this.#enter(job, host));
    } else {
      this.#tokens++;
      host.parked.push(job);
      this.#parked++;
    }
    return true;
  }

  #repeat(flight: Flight<J>): void {
    if (flight.isDue) return;
    flight.isDue = true;
    this.#due.push(flight);
  }

  /** One that is due for another attempt. */
  #nextFlight(): Flight<J> | null {
    for (;;) {
      const flight = this.#due.shift();
      if (flight === undefined) return null;
      flight.isDue = false;
      if (flight.isOver) {
        this.#spareFlights.push(flight);
        continue;
      }
      // Its time is up, which the reactor is about to report.
      const isLate = flight.tries.length > 0 && flight.end <= performance.now();
      if (!isLate) return flight;
    }
  }

  /** Whether everybody else is to have a turn before the next attempt. */
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
    afterAll(this.libc, this.#wakeUp);
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

  #nextJob(): J | null {
    const taken = this.#inFlight + this.#sink.held;
    if (taken >= Math.floor(this.#limit)) return null;
    if (this.#sockets >= this.#mostSockets) return null;
    const job = this.#ready.shift();
    if (job !== undefined) return job;
    return this.#parked < MOST_PARKED ? this.#feed.take() : null;
  }

  #hostOf({ address }: J): Host<J> {
    const key = address.hostname;
    let host = this.#hosts.get(key);
    if (host === undefined) {
      const network = this.#networkOf(address);
      host = { key, network, inFlight: 0, parked: new Fifo() };
      this.#hosts.set(key, host);
    }
    return host;
  }

  /** The neighbourhood of an address: its /24, or its /64. */
  #networkOf(address: J["address"]): Network {
    const { hostname } = address;
    const { addr } = this.libc.abi.sockaddrIn6;
    const key = address.family === "inet"
      ? hostname.slice(0, hostname.lastIndexOf("."))
      : bytesOf(address).subarray(addr, addr + 8).join();
    let network = this.#networks.get(key);
    if (network === undefined) {
      network = { slowest: -1 };
      this.#networks.set(key, network);
      if (this.#networks.size > MOST_NETWORKS) {
        const [oldest] = this.#networks.keys();
        this.#networks.delete(oldest!);
      }
    }
    return network;
  }

  #enter(job: J, host: Host<J>): Flight<J> {
    const flight = this.#spareFlights.pop() ?? newFlight(job, host);
    flight.job = job;
    flight.host = host;
    flight.start = -1;
    flight.attempts = 0;
    flight.selfConnections = 0;
    flight.isOver = false;
    flight.previous = null;
    flight.following = this.#flights;
    if (this.#flights !== null) this.#flights.previous = flight;
    this.#flights = flight;
    host.inFlight++;
    this.#inFlight++;
    return flight;
  }

  #leave(flight: Flight<J>): void {
    const { previous, following, host } = flight;
    flight.isOver = true;
    if (!flight.isDue) this.#spareFlights.push(flight);
    if (previous === null) this.#flights = following;
    else previous.following = following;
    if (following !== null) following.previous = previous;
    this.#inFlight--;
    host.inFlight--;
    const job = host.parked.shift();
    if (job !== undefined) {
      this.#parked--;
      this.#ready.push(job);
    } else if (host.inFlight === 0) this.#hosts.delete(host.key);
  }

  /** Takes leave for one attempt, or sees to it that somebody asks again. */
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

  #attempt(flight: Flight<J>): void {
    const { address } = flight.job;
    // Earlier ones stay open for a late answer as long as there is room.
    if (this.#sockets >= this.#mostSockets && flight.tries.length > 0) {
      this.#drop(flight, flight.tries[0]!);
    }
    const one = this.#spare.pop() ??
      new Try(this, this.#recipe, address);
    one.reuse(address, 0, 0);
    try {
      if (one.open() === 0 && one.fd >= this.#ceiling) {
        one.close();
        one.errno = this.libc.abi.errnos.EMFILE;
        one.syscall = "socket";
      }
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      one.errno = error.errno;
      one.syscall = error.syscall;
    }
    const now = performance.now();
    if (flight.start < 0) {
      flight.start = now;
      flight.end = now + this.#pacing.timeout;
    }
    one.since = now;
    if (one.fd < 0) {
      const { errno, syscall } = one;
      return isExhaustion(this.libc, errno, syscall, address)
        ? this.#postpone(one, flight)
        : this.#conclude(flight, one, verdictOf(one, false));
    }
    this.#sockets++;
    this.#attempts++;
    flight.attempts++;
    one.end = flight.attempts > this.#pacing.retries
      ? flight.end
      : Math.min(now + this.#retryAfter(flight.host.network), flight.end);
    one.flight = flight;
    flight.tries.push(one);
    one.isPending = one.begin(Phase.FRESH, this.#pace) === PENDING;
    if (one.isPending) one.wait();
    else this.#settle(one, flight);
  }

  #retryAfter({ slowest }: Network): number {
    const { retryAfter, timeout, retries } = this.#pacing;
    if (retryAfter !== null) return retryAfter;
    const time = slowest < 0
      ? FIRST_RETRY
      : Math.min(Math.max(RETRY_FACTOR * slowest, SOONEST_RETRY), LATEST_RETRY);
    // Or there would be no time left for the last one.
    return Math.min(time, timeout / (retries + 1));
  }

  /** The time of an attempt is over. */
  #late(one: Try<J>, flight: Flight<J>): void {
    if (one.end >= flight.end) {
      return this.#conclude(flight, one, SILENT);
    }
    one.end = flight.end;
    one.errno = PENDING;
    this.#repeat(flight);
    one.wait();
  }

  #settle(one: Try<J>, flight: Flight<J>): void {
    const { errno, syscall } = one;
    if (errno !== 0) {
      if (isExhaustion(this.libc, errno, syscall, one.address)) {
        this.#remove(flight, one);
        one.close();
        this.#sockets--;
        return this.#postpone(one, flight);
      }
      return this.#conclude(flight, one, verdictOf(one, one.isSent));
    }
    if (!one.isSelfConnected()) return this.#conclude(flight, one, OPEN);
    if (flight.selfConnections++ === MOST_SELF_CONNECTIONS) {
      one.errno = this.libc.abi.errnos.ECONNREFUSED;
      return this.#conclude(flight, one, CLOSED_PORT);
    }
    // Nobody listens there, and the kernel chose the very port: from another
    // one there will be an answer.
    this.#remove(flight, one);
    one.reset();
    one.flight = null;
    this.#sockets--;
    this.#spare.push(one);
    flight.attempts--;
    this.#repeat(flight);
  }

  /** Something has run out: another attempt is made when there may be more. */
  #postpone(one: Try<J>, flight: Flight<J>): void {
    one.flight = null;
    this.#spare.push(one);
    this.#limit = Math.max(1, Math.floor(this.#inFlight * 3 / 4));
    if (flight.tries.length > 0) this.#repeat(flight);
    else {
      this.#leave(flight);
      this.#ready.push(flight.job);
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

  /** Tells what a flight came to, and closes what is left of it. */
  #conclude(flight: Flight<J>, one: Try<J>, verdict: Verdict): void {
    const { libc } = this;
    const now = performance.now();
    const isOpen = verdict === OPEN;
    const since = verdict === SILENT ? flight.start : one.since;
    const wall = now - since;
    const handshake = this.#handshake;
    handshake.rtt = null;
    handshake.retransmits = libc.abi.tcpInfo === null ? null : 0;
    let localAddress: string | null = null;
    let fd = -1;
    if (one.fd >= 0) {
      if (isOpen || wall >= NO_REPEAT) {
        const { fd } = isOpen ? one : flight.tries[0] ?? one;
        readHandshake(libc, fd, handshake);
      }
      if (isOpen) {
        const end = localOf(libc, one.fd);
        if (typeof end === "object") localAddress = `${end}` || null;
      }
      if (isOpen && this.#pacing.keepsSockets) {
        // Its new owner may wait for it elsewhere.
        forget(libc, one.fd);
        fd = one.take();
      } else if (isOpen) one.reset();
      else one.close();
      this.#remove(flight, one);
      this.#sockets--;
    }
    const { network } = flight.host;
    if (verdict !== SILENT && one.isSent && wall > network.slowest) {
      network.slowest = wall;
    }
    const finding = this.#finding;
    finding.verdict = verdict;
    finding.errno = one.errno;
    finding.syscall = one.syscall;
    finding.icmp = one.icmp;
    finding.soft = one.isSoft;
    finding.localAddress = localAddress;
    finding.attempts = flight.attempts;
    finding.retransmits = handshake.retransmits;
    finding.wall = one.syscall === "connect" ? wall : null;
    finding.rtt = handshake.rtt;
    finding.fd = fd;
    const { job } = flight;
    one.flight = null;
    this.#spare.push(one);
    this.#abandon(flight);
    this.#leave(flight);
    if (this.#limit < this.#mostInFlight) this.#limit += 0.25;
    this.#sink.found(job, finding);
  }

  /** Closes all attempts of a flight. */
  #abandon(flight: Flight<J>): void {
    while (flight.tries.length > 0) {
      this.#drop(flight, flight.tries[flight.tries.length - 1]!);
    }
  }

  /** Gives one attempt up. */
  #drop(flight: Flight<J>, one: Try<J>): void {
    this.#remove(flight, one);
    // It can be used again once the reactor has ended its wait, maybe later.
    one.flight = null;
    one.cancel();
    one.close();
    this.#sockets--;
  }

  #remove({ tries }: Flight<J>, one: Try<J>): void {
    const at = tries.indexOf(one);
    if (at === tries.length - 1) tries.pop();
    else if (at >= 0) tries.splice(at, 1);
  }
}
