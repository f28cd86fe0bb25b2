/**
 * Host names to addresses, by the resolver that every program on the system
 * uses.
 *
 * @module
 */
import type { Abi, EaiCode } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { currentAbi } from "../../ffi/libc.ts";
import { ENCODER, newMemory } from "../../ffi/memory.ts";
import {
  clearTimeout,
  LONGEST_TIMER,
  performance,
  setImmediate,
  setTimeout,
  type Timer,
} from "../../ffi/timers.ts";
import { own } from "../errors/caller.ts";
import {
  type ErrnoError,
  errnoError,
  errnoErrorFor,
  LookupError,
} from "../errors/errors.ts";
import {
  decodeAddress,
  type Inet6Address,
  type InetAddress,
} from "./address.ts";
import { joinHostPort } from "./hostname.ts";
import { isInHostsFile } from "./hosts.ts";
import { NameServers, type Sounding } from "./name_servers.ts";
import {
  type Answer,
  askSync,
  type Inquiry,
  inquiryFor,
  type Lane,
  type LookupFamily,
  type Question,
} from "./question.ts";

/** What a host name stands for. */
export type IpAddress = InetAddress | Inet6Address;

export type { LookupFamily } from "./question.ts";

/** A host name, and what its addresses are wanted for. */
export interface LookupQuery {
  readonly hostname: string;
  /** The port that the addresses get. */
  readonly port: number;
  /** `undefined` for both, in the order that the system prefers (RFC 6724). */
  readonly family: LookupFamily | undefined;
}

/** Takes what a name resolves to, as it comes. */
export interface LookupListener {
  /**
   * Takes the addresses that came, in the order in which to try them: once or
   * twice, and never none.
   *
   * @param all These and those of the call before, in their common order.
   */
  found(addresses: readonly IpAddress[], all: readonly IpAddress[]): void;
  /**
   * No more will come. Takes the error if nothing at all was found, else
   * `null`.
   */
  ended(error: LookupError | ErrnoError | null): void;
}

/**
 * How long both families may take together before each is looked up alone, in
 * ms: what RFC 8305, section 3, gives the slower one. A name server that never
 * replies to only one of the two questions delays no caller for longer. After
 * that time, too, the name servers are asked about a name that has no place.
 */
const PATIENCE = 50;

/**
 * When to ask once more for a single family, in ms: a message may be lost, and
 * the resolver itself repeats it only after five seconds.
 */
const LOSS = 500;

/**
 * How long to look for a reply in every turn, in ms: as long as a resolver on
 * this machine takes that has the name cached.
 */
const SPIN = 0.3;

/** The longest pause between two looks, in ms. */
const LONGEST_PAUSE = 20;

/**
 * How long one turn goes on to report, in ms: what callers do with it comes on
 * top, and thousands of them may wait for one name or one moment.
 */
const LONGEST_REPORTING = 2;

/** How long one turn goes on to ask the name servers, in ms: none may be reachable, and thousands of names wait. */
const LONGEST_ASKING = 2;

/** How many callers one turn finds to be late, which takes as long. */
const MOST_LATE = 1000;

/** The age, in ms, up to which a caller joins a question that no other caller waits for. */
const JOINABLE_AGE = 1000;

/**
 * Resolves a name without holding the thread, and reports what comes, each time
 * in a later turn.
 *
 * Callers who ask for the same name at the same time share the questions.
 *
 * @param end When to give up, on the clock of `performance.now()`.
 * @param start When the caller began: what an error counts `elapsed` from.
 * @returns A function that abandons the lookup: nothing is reported after it.
 */
export function startLookup(
  libc: Libc,
  query: LookupQuery,
  end: number,
  listener: LookupListener,
  start: number = performance.now(),
): () => void {
  return resolverOf(libc).start(query, start, end, listener);
}

/**
 * Resolves a name, and blocks the thread until the first of its addresses are
 * known.
 *
 * Where the C library has no getaddrinfo_a(3), the end does not interrupt the
 * resolver: it is noticed afterwards.
 *
 * @param end When to give up, on the clock of `performance.now()`.
 * @param start When the caller began: what an error counts `elapsed` from.
 * @returns At least one address.
 * @throws {LookupError} If the name does not resolve.
 * @throws {ErrnoError} `ETIMEDOUT` with `timeoutKind` `"deadline"` at the end;
 * `EMFILE` if the resolver found no free descriptor.
 */
export function runLookup(
  libc: Libc,
  query: LookupQuery,
  end: number,
  start: number = performance.now(),
): IpAddress[] {
  return resolverOf(libc).run(query, start, end);
}

const resolvers = new WeakMap<Libc, Resolver>();

function resolverOf(libc: Libc): Resolver {
  let resolver = resolvers.get(libc);
  if (resolver === undefined) {
    resolver = new Resolver(libc);
    resolvers.set(libc, resolver);
  }
  return resolver;
}

/** A question under way, and the name that it belongs to. */
interface OpenQuestion {
  readonly question: Question;
  readonly name: NameLookup;
  readonly lane: Lane;
  readonly since: number;
}

/** One caller of a lookup. */
interface Party {
  readonly query: LookupQuery;
  /** `null` once there is nothing to wait for. */
  readonly name: NameLookup | null;
  /** When the caller began. */
  readonly start: number;
  readonly end: number;
  readonly listener: LookupListener;
  /** Whether it has left, or the end was reported to it. */
  isOver: boolean;
}

/** What is to be reported to a party. */
type Notice =
  & { readonly party: Party }
  & (
    | { readonly found: Answer; readonly except: LookupFamily | null }
    // The failure, `null` for none or for the end of the party's time.
    | { readonly failure: Answer | null; readonly isLate: boolean }
  );

/** A name that is being looked up, for all calls that want it. */
interface NameLookup {
  readonly key: string;
  readonly hostname: string;
  readonly family: LookupFamily | undefined;
  readonly since: number;
  /** When it was asked for as a whole, `Infinity` as long as it was not. */
  wholeSince: number;
  readonly parties: Set<Party>;
  readonly asked: Set<Lane>;
  readonly answers: Map<Lane, Answer>;
  /** The family whose addresses came alone, before the others. */
  early: LookupFamily | null;
  /** What the name servers were asked last, `null` if it did not have to wait. */
  sounding: Sounding | null;
}

/**
 * All lookups of one C library.
 *
 * A name is asked for as a whole, so that the resolver puts its addresses in
 * order. While that takes long, each family is asked for alone as well. Few
 * questions are asked at a time, and none can be taken back: names that no
 * server replies for would take all threads there are. So half of the places
 * are for names that a name server has replied about.
 */
class Resolver {
  readonly #libc: Libc;
  /** Made when the first name is looked up that the hosts file does not have. */
  #opened: Inquiry | null = null;
  /** How many more questions may be asked. */
  readonly #free: Record<Lane, number> = { whole: 0, inet: 0, inet6: 0 };
  /** Names whose lookup is not over, the oldest first. */
  readonly #names = new Map<string, NameLookup>();
  /** Reports which of the names that wait for a place are worth one. */
  readonly #servers: NameServers;
  /** Names that the servers are to be asked about. */
  readonly #unsounded = new Set<NameLookup>();
  /** Whether the next turn is to go on with them. */
  #soundsOn = false;
  /** Whether a turn has left out the walk along all names, of which one may be due. */
  #owesWalk = false;
  readonly #asked = new Set<OpenQuestion>();
  /** How many parties wait for names. */
  #waiting = 0;
  readonly #reports: Notice[] = [];
  /** How many of them are handed out before the names have a turn again. */
  #due = 0;
  /** No caller's time ends before, on the clock of `performance.now()`. */
  #nextEnd = Infinity;
  #timer: Timer | null = null;
  /** When the timer fires. */
  #timerAt = Infinity;
  /** Whether there is a turn before that. */
  #isImmediate = false;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#servers = new NameServers(libc);
  }

  get #inquiry(): Inquiry {
    if (this.#opened === null) {
      this.#opened = inquiryFor(this.#libc);
      this.#servers.prepare();
      Object.assign(this.#free, this.#opened.places);
    }
    return this.#opened;
  }

  start(
    query: LookupQuery,
    start: number,
    end: number,
    listener: LookupListener,
  ): () => void {
    const now = performance.now();
    if (this.#isLocal(query)) {
      const party = {
        query,
        name: null,
        start,
        end,
        listener,
        isOver: false,
      };
      const answer = this.#askHere(query);
      if (isFound(answer)) {
        this.#reports.push({ party, found: answer, except: null });
      }
      this.#end(party, answer);
      this.#schedule(now);
      return () => this.#leave(party);
    }
    const party = this.#join(query, now, start, end, listener);
    // To the other names, nothing has happened.
    const names = [party.name!];
    this.#ask(now, names);
    this.#schedule(now, names);
    return () => this.#leave(party);
  }

  /** Blocks until something is known. */
  run(query: LookupQuery, start: number, end: number): IpAddress[] {
    const isLocal = this.#isLocal(query);
    if (isLocal || !this.#inquiry.isSilent) {
      const answer = this.#askHere(query);
      // Without any time, what no server is asked about is still found.
      const hasTime = isLocal && end <= start || performance.now() < end;
      if (!hasTime) throw deadlinePassed(query, start, end);
      if (!isFound(answer)) throw lookupErrorOf(this.#libc, query, answer);
      return addressesOf(answer, query.port, null);
    }
    let addresses: IpAddress[] | null = null;
    let failure: unknown = null;
    const first = performance.now();
    const party = this.#join(query, first, start, end, {
      found: (found) => addresses ??= [...found],
      ended: (error) => failure ??= error,
    });
    try {
      for (let now = first;; now = performance.now()) {
        this.#look(now);
        this.#ask(now);
        this.#reportTo(party);
        if (addresses !== null) return addresses;
        if (failure !== null) throw failure;
        const age = this.#age(now);
        const next = Math.min(this.#nextMoment(now), now + pauseAt(age));
        if (age < SPIN) this.#libc.sched_yield();
        else this.#libc.poll(NOBODY, 0, Math.ceil(Math.max(next - now, 0)));
      }
    } finally {
      this.#leave(party);
      this.#schedule(performance.now());
    }
  }

  /** Asks on this thread, which waits as long as it takes. */
  #askHere({ hostname, family }: LookupQuery): Answer {
    return askSync(this.#libc, hostname, this.#numberOf(family));
  }

  /** Whether the resolver asks no server, so that no thread is needed. */
  #isLocal({ hostname, family }: LookupQuery): boolean {
    const isIpv6 = family === undefined ? null : family === "inet6";
    return isInHostsFile(this.#libc, hostname, isIpv6);
  }

  #numberOf(family: LookupFamily | undefined): number {
    const { AF_UNSPEC, AF_INET, AF_INET6 } = this.#libc.abi;
    if (family === undefined) return AF_UNSPEC;
    return family === "inet" ? AF_INET : AF_INET6;
  }

  #join(
    query: LookupQuery,
    now: number,
    start: number,
    end: number,
    listener: LookupListener,
  ): Party {
    const { places } = this.#inquiry;
    const { hostname, family } = query;
    const key = `${family ?? ""} ${hostname}`;
    let name = this.#names.get(key);
    // An old question that no caller waits for any more may have been lost on the
    // way. A new one finds out, as long as there is room for those of others.
    const isStale = name !== undefined && name.parties.size === 0 &&
      now - name.since > JOINABLE_AGE &&
      2 * this.#free.whole > places.whole;
    if (name === undefined || isStale) {
      name = {
        key,
        hostname,
        family,
        since: now,
        wholeSince: Infinity,
        parties: new Set(),
        asked: new Set(),
        answers: new Map(),
        early: null,
        sounding: null,
      };
      this.#names.set(key, name);
    }
    const party = { query, name, start, end, listener, isOver: false };
    name.parties.add(party);
    this.#waiting++;
    this.#nextEnd = Math.min(this.#nextEnd, end);
    if (name.early !== null) {
      const found = name.answers.get(name.early)!;
      this.#reports.push({ party, found, except: null });
    }
    return party;
  }

  #leave(party: Party): void {
    party.isOver = true;
    const { name } = party;
    if (name?.parties.delete(party)) {
      this.#waiting--;
      if (name.parties.size === 0) this.#desert(name);
    }
    if (!this.#isWanted) this.#stop();
  }

  /** No caller waits for a name any more. */
  #desert(name: NameLookup): void {
    this.#servers.drop(name.sounding);
    this.#unsounded.delete(name);
    // What has not been asked yet need not be asked.
    if (name.asked.size === 0) this.#forget(name);
  }

  #forget(name: NameLookup): void {
    if (this.#names.get(name.key) === name) this.#names.delete(name.key);
  }

  get #isWanted(): boolean {
    return this.#waiting > 0 || this.#reports.length > 0;
  }

  /** Asks what may be asked by now about names, and the servers about those that wait. */
  #ask(now: number, names: Iterable<NameLookup> = this.#names.values()): void {
    this.#askAbout(now, names);
    this.#sound(now);
  }

  #askAbout(now: number, names: Iterable<NameLookup>): void {
    for (const name of names) {
      if (name.parties.size === 0) continue;
      let isAsked = this.#begin(name, "whole", now);
      if (now >= aloneAt(name)) {
        for (const family of familiesOf(name)) {
          if (!this.#begin(name, family, now)) isAsked = false;
        }
      }
      if (!isAsked && now >= soundAt(name)) this.#unsounded.add(name);
    }
  }

  /**
   * Asks a question once, if there is a place for it. Returns whether nothing
   * more is to be done for it.
   */
  #begin(name: NameLookup, lane: Lane, since: number): boolean {
    const places = this.#inquiry.places[lane];
    if (name.asked.has(lane) || places === 0) return true;
    const kept = isHeard(name, lane) ? 0 : places >> 1;
    if (this.#free[lane] <= kept) return false;
    name.asked.add(lane);
    if (lane === "whole") name.wholeSince = since;
    this.#free[lane]--;
    const family = this.#numberOf(lane === "whole" ? name.family : lane);
    const question = this.#inquiry.ask(name.hostname, family, this.#turn);
    this.#asked.add({ question, name, lane, since });
    return true;
  }

  /**
   * Asks the name servers about as many names as may be at once, and as there is
   * time for. One may be known to have a reply by then.
   */
  #sound(now: number): void {
    this.#soundsOn = false;
    if (!this.#servers.hasRoom) return;
    let isNews = false;
    const end = performance.now() + LONGEST_ASKING;
    for (const name of inTurn(this.#unsounded)) {
      if (!this.#servers.hasRoom || this.#soundsOn) break;
      this.#unsounded.delete(name);
      const { hostname, family, sounding } = name;
      name.sounding = this.#servers.sound(hostname, family, sounding, now);
      if (!name.sounding.isOpen) isNews = true;
      // After one at least, however busy the machine is.
      this.#soundsOn = performance.now() >= end;
    }
    this.#servers.rest();
    if (isNews) this.#askAbout(now, this.#names.values());
  }

  /** Takes the replies that have come, and ends what is late. */
  #look(now: number): void {
    for (const asked of this.#asked) {
      const answer = asked.question.look();
      if (answer === null) continue;
      this.#asked.delete(asked);
      this.#free[asked.lane]++;
      this.#take(asked, answer);
      const { parties, answers, asked: all } = asked.name;
      const isIdle = parties.size === 0 && answers.size === all.size;
      if (isIdle) this.#forget(asked.name);
    }
    this.#servers.look(now);
    if (now >= this.#nextEnd) this.#expire(now);
  }

  #expire(now: number): void {
    this.#nextEnd = Infinity;
    let left = MOST_LATE;
    for (const name of this.#names.values()) {
      const { parties } = name;
      for (const party of parties) {
        if (party.end > now) {
          this.#nextEnd = Math.min(this.#nextEnd, party.end);
          continue;
        }
        if (left-- === 0) {
          this.#nextEnd = -Infinity;
          return;
        }
        parties.delete(party);
        this.#waiting--;
        if (parties.size === 0) this.#desert(name);
        this.#reports.push({ party, failure: null, isLate: true });
      }
    }
  }

  #take({ name, lane }: OpenQuestion, answer: Answer): void {
    name.answers.set(lane, answer);
    if (lane === "whole") {
      const except = name.early;
      if (isFound(answer)) this.#reportFound(name, answer, except);
      return this.#finish(name, except === null ? answer : null);
    }
    if (isFound(answer)) {
      this.#reportFound(name, answer, null);
      name.early ??= lane;
    }
    const [inet, inet6] = IP_FAMILIES.map((family) => name.answers.get(family));
    if (inet === undefined || inet6 === undefined) return;
    // A family that the name does not have is no news where the other failed.
    const { EAI_NODATA, EAI_ADDRFAMILY } = this.#libc.abi.eais;
    const isEmpty = inet.eai === EAI_NODATA || inet.eai === EAI_ADDRFAMILY;
    this.#finish(name, name.early !== null ? null : isEmpty ? inet6 : inet);
  }

  #reportFound(
    { parties }: NameLookup,
    found: Answer,
    except: LookupFamily | null,
  ): void {
    for (const party of parties) this.#reports.push({ party, found, except });
  }

  #finish(name: NameLookup, end: Answer | null): void {
    for (const party of name.parties) this.#end(party, end);
    this.#waiting -= name.parties.size;
    name.parties.clear();
    this.#desert(name);
    this.#forget(name);
  }

  #end(party: Party, answer: Answer | null): void {
    const failure = answer === null || isFound(answer) ? null : answer;
    this.#reports.push({ party, failure, isLate: false });
  }

  /**
   * Hands out the reports, as many as one turn has time for. A party that gets
   * one may begin and abandon lookups.
   */
  #report(): void {
    const reports = this.#reports;
    // What a party begins is reported in a later turn.
    if (this.#due === 0) this.#due = reports.length;
    const end = performance.now() + LONGEST_REPORTING;
    let done = 0;
    try {
      while (done < this.#due) {
        const report = reports[done++]!;
        if (report.party.isOver) continue;
        this.#deliver(report);
        if (performance.now() >= end) break;
      }
    } finally {
      reports.splice(0, done);
      this.#due -= done;
    }
  }

  /** Hands out those for one party, which blocks the thread for them. */
  #reportTo(party: Party): void {
    for (const report of this.#reports) {
      if (report.party === party && !party.isOver) this.#deliver(report);
    }
  }

  #deliver(report: Notice): void {
    const { party } = report;
    const { query, listener } = party;
    if ("found" in report) {
      const { found, except } = report;
      const addresses = addressesOf(found, query.port, except);
      if (addresses.length === 0) return;
      const all = except === null
        ? addresses
        : addressesOf(found, query.port, null);
      return listener.found(addresses, all);
    }
    party.isOver = true;
    const { failure, isLate } = report;
    listener.ended(
      isLate
        ? deadlinePassed(query, party.start, party.end)
        : failure === null
        ? null
        : lookupErrorOf(this.#libc, query, failure),
    );
  }

  readonly #turn = (): void => {
    const now = performance.now();
    this.#look(now);
    // A walk along all names waits until those have theirs that are on their way.
    this.#owesWalk = this.#soundsOn || this.#due > 0;
    if (!this.#owesWalk) this.#ask(now);
    else if (this.#soundsOn) this.#sound(now);
    try {
      this.#report();
    } finally {
      this.#schedule(now);
    }
  };

  /** The age of the youngest question that a caller waits for. */
  #age(now: number): number {
    let age = now - this.#servers.newest;
    for (const { name, since } of this.#asked) {
      if (name.parties.size > 0) age = Math.min(age, now - since);
    }
    return age;
  }

  /** When something is to be done about names if no reply comes. */
  #nextMoment(
    now: number,
    names: Iterable<NameLookup> = this.#names.values(),
  ): number {
    let next = this.#nextEnd;
    for (const name of names) {
      if (name.parties.size === 0) continue;
      for (const moment of [soundAt(name), aloneAt(name)]) {
        if (moment > now && moment < next) next = moment;
      }
    }
    return next;
  }

  /**
   * Sees to it that there is a turn as soon as there is something to do.
   *
   * @param names Those about which that may have changed.
   */
  #schedule(now: number, names?: Iterable<NameLookup>): void {
    if (!this.#isWanted) return this.#stop();
    const age = this.#age(now);
    // No call reports what a name server replies, either.
    const isSilent = (this.#opened?.isSilent ?? false) ||
      this.#servers.newest > -Infinity;
    const isBehind = this.#reports.length > 0 || this.#soundsOn ||
      this.#owesWalk;
    if (isBehind || isSilent && age < SPIN) {
      if (this.#isImmediate) return;
      this.#isImmediate = true;
      return setImmediate(this.#onImmediate);
    }
    const next = this.#nextMoment(now, names);
    const at = isSilent ? Math.min(next, now + pauseAt(age)) : next;
    if (at >= this.#timerAt || at === Infinity) return;
    this.#stop();
    this.#timerAt = at;
    const delay = Math.min(Math.max(Math.ceil(at - now), 0), LONGEST_TIMER);
    this.#timer = setTimeout(this.#onTimer, delay);
  }

  readonly #onImmediate = (): void => {
    this.#isImmediate = false;
    // The threads that this one waits for may have no processor of their own.
    if (this.#asked.size > 0) this.#libc.sched_yield();
    this.#turn();
  };

  readonly #onTimer = (): void => {
    this.#timer = null;
    this.#timerAt = Infinity;
    this.#turn();
  };

  #stop(): void {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = Infinity;
  }
}

/** How long to pause before the next look for a reply, in ms: the longer a caller has waited, the longer. */
function pauseAt(age: number): number {
  return Math.min(Math.max(age / 8, 1), LONGEST_PAUSE);
}

/** A set of descriptors without any. */
const NOBODY = newMemory(8);

const IP_FAMILIES = ["inet", "inet6"] as const;

function familiesOf({ family }: NameLookup): readonly LookupFamily[] {
  return family === undefined ? IP_FAMILIES : [family];
}

/** When each family of a name may be looked up alone. */
function aloneAt(name: NameLookup): number {
  const { family, since, wholeSince } = name;
  if (family !== undefined) return wholeSince + LOSS;
  // One that has a reply gets a place soon, and its addresses in order.
  const isSoon = isHeard(name, "whole");
  return (isSoon ? wholeSince : Math.min(since, wholeSince)) + PATIENCE;
}

/**
 * When the name servers are to be asked about a name that waits: for the first
 * time soon, then each time that its age has doubled.
 */
function soundAt({ since, sounding }: NameLookup): number {
  if (sounding === null) return since + PATIENCE;
  const { isOpen, missing } = sounding;
  if (isOpen || missing.size === 0) return Infinity;
  return since + 2 * (sounding.since - since);
}

/**
 * Names in the order in which to ask about them: by turns the newest and the
 * oldest of those that were never asked about, and the oldest of the others. A
 * name that comes behind thousands is asked about soon, and each of these in
 * the end.
 */
function* inTurn(names: Iterable<NameLookup>): Generator<NameLookup> {
  const fresh: NameLookup[] = [];
  const others: NameLookup[] = [];
  for (const name of names) {
    (name.sounding === null ? fresh : others).push(name);
  }
  for (
    let first = 0, last = fresh.length, other = 0;
    first < last || other < others.length;
  ) {
    if (first < last) yield fresh[--last]!;
    if (first < last) yield fresh[first++]!;
    if (other < others.length) yield others[other++]!;
  }
}

/** Whether the name servers have replied about all that a question is about. */
function isHeard({ sounding }: NameLookup, lane: Lane): boolean {
  if (sounding === null) return false;
  const { missing } = sounding;
  return lane === "whole" ? missing.size === 0 : !missing.has(lane);
}

function isFound({ sockaddrs }: Answer): boolean {
  return sockaddrs.length > 0;
}

function addressesOf(
  { sockaddrs }: Answer,
  port: number,
  except: LookupFamily | null,
): IpAddress[] {
  const { sockaddrIn } = currentAbi();
  const addresses: IpAddress[] = [];
  for (const sockaddr of sockaddrs) {
    // The port stands at the same place in both families.
    const view = new DataView(sockaddr.buffer, sockaddr.byteOffset);
    view.setUint16(sockaddrIn.port, port);
    const address = decodeAddress(sockaddr, sockaddr.length);
    const { family } = address;
    if ((family === "inet" || family === "inet6") && family !== except) {
      addresses.push(address);
    }
  }
  return addresses;
}

function lookupErrorOf(
  libc: Libc,
  query: LookupQuery,
  { eai, errno, cause }: Answer,
): LookupError | ErrnoError {
  const { abi } = libc;
  const { hostname } = query;
  const known = Object.entries(abi.eais).find(([, number]) => number === eai);
  const code = known === undefined ? "UNKNOWN" : known[0] as EaiCode;
  // On another thread the errno behind EAI_SYSTEM is out of reach.
  const behind = code === "EAI_SYSTEM" ? errno : 0;
  const shortage = isShortage(abi, behind) ? behind : shortageOf(libc);
  if (shortage !== 0) {
    const address = addressOf(query);
    return errnoErrorFor(shortage, { syscall: "getaddrinfo", address });
  }
  const reason = behind === 0
    ? cause
    : errnoErrorFor(behind, { syscall: "getaddrinfo", subject: hostname });
  return own(new LookupError(hostname, code, eai, reason));
}

const ROOT = ENCODER.encode("/\0");

/**
 * The errno if there is no free descriptor, else 0. The resolver needs one for
 * every file and socket, and reports the lack of it as that of a name.
 */
function shortageOf(libc: Libc): number {
  const fd = libc.open(ROOT, libc.abi.O_CLOEXEC);
  if (fd >= 0) libc.close(fd);
  return fd < 0 && isShortage(libc.abi, -fd) ? -fd : 0;
}

function isShortage({ errnos }: Abi, errno: number): boolean {
  return errno === errnos.EMFILE || errno === errnos.ENFILE;
}

/** The error for a name that did not resolve in time. */
export function deadlinePassed(
  query: LookupQuery,
  start: number,
  end: number,
): ErrnoError {
  return errnoError("ETIMEDOUT", {
    syscall: "getaddrinfo",
    address: addressOf(query),
    elapsed: performance.now() - start,
    timeoutKind: "deadline",
    detail: `name not resolved within ${Math.round(end - start)} ms`,
  });
}

function addressOf({ hostname, port }: LookupQuery): string {
  return joinHostPort(hostname, port);
}
