/**
 * Makes addresses to probe of the targets of a caller.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { performance } from "../../ffi/timers.ts";
import {
  inet,
  inet6,
  type Inet6Address,
  type InetAddress,
  isAddress,
  parseIp,
} from "../address/address.ts";
import { checkHostname } from "../address/hostname.ts";
import {
  type IpAddress,
  type LookupFamily,
  startLookup,
} from "../address/lookup.ts";
import { soundingsWithin } from "../address/name_servers.ts";
import {
  checkInteger,
  isObject,
  MAX_PORT,
  readOptions,
  show,
} from "../errors/arguments.ts";
import { errnoError } from "../errors/errors.ts";
import { afterAll } from "../reactor/turns.ts";
import { hostAndPort } from "./destination.ts";
import { Fifo } from "./fifo.ts";
import { NOTHING } from "./probe_flights.ts";
import type { Feed } from "./probe_run.ts";
import {
  asGrid,
  type Grid,
  type GridTarget,
  type Position,
  targetAt,
  walkGrid,
} from "./targets.ts";

/** A port of a host that is to be probed. */
export interface ProbeTarget {
  /** May be left out. */
  readonly transport?: "tcp" | undefined;
  /**
   * A host name, or an IPv4 or IPv6 address in text form.
   *
   * @default {"127.0.0.1"}
   */
  readonly hostname?: string | undefined;
  /** The port, 0 to 65535. */
  readonly port: number;
  /**
   * The number of the target in {@linkcode ProbeResult.index} and
   * {@linkcode Position}.
   *
   * @default {undefined} How many came before it.
   */
  readonly index?: number | undefined;
}

/** What {@linkcode probe} takes: a port of a host, or an address. */
export type Probeable = ProbeTarget | InetAddress | Inet6Address;

/** Takes what a source has to report. */
export interface Office {
  /** How many results no reader has taken so far. */
  readonly held: number;
  /** A target was taken. */
  taken(): void;
  /** A target is not probed: it is denied, or has no address. */
  refused(job: number, error: Error, isDenied: boolean): void;
  /** A target is allowed; called for the first one alone. */
  allowed(): void;
  /** There may be more to take. */
  wake(): void;
  failed(error: unknown): void;
}

/** How targets are read. */
export interface Reading {
  readonly family: LookupFamily | undefined;
  readonly allAddresses: boolean;
  /** How long a name may take to resolve, in ms. */
  readonly timeout: number;
}

/**
 * How many names are looked up at once, at most. Dead ones take all of their
 * time, and others wait behind them meanwhile.
 */
const MOST_LOOKUPS = 1024;

/**
 * How many targets may wait for their names, while those of known addresses
 * that come after them go on; and for a reader of results.
 */
const MOST_WAITING = 0x4000;
const MOST_HELD = 1024;

/** After how many targets in a row without a job other work has a turn. */
const MOST_REFUSED = 256;

/** What is known of a name. */
interface KnownName {
  readonly hostname: string;
  /** `null` while it is being looked up. */
  result: readonly IpAddress[] | Error | null;
  readonly waiting: NamedTarget[];
}

/** A target that is given by name. */
interface NamedTarget {
  readonly name: KnownName;
  readonly job: number;
  readonly port: number;
}

/** What the addresses of one target have in common. */
interface Group {
  /** How many of them have no finding yet. */
  left: number;
}

/** Something for a few rows of a table; the others have `null`, and take no memory. */
class Sparse<V> {
  readonly #values: (V | null)[] = [];

  get(row: number): V | null {
    return row < this.#values.length ? this.#values[row]! : null;
  }

  set(row: number, value: V | null): void {
    const values = this.#values;
    if (value === null && row >= values.length) return;
    while (values.length <= row) values.push(null);
    values[row] = value;
  }
}

/** How many jobs there is room for to begin with. */
const FIRST_JOBS = 256;

/**
 * The jobs that are not over: one for each address of a target, until a reader
 * takes the result. A job is known by its number. Of a target of a grid only
 * the index is kept, from which the rest follows.
 */
class Jobs<T> {
  readonly targets = new Sparse<T>();
  readonly addresses = new Sparse<IpAddress>();
  /** None for a target's only address. */
  readonly groups = new Sparse<Group>();
  /** The index of each, and of those that are free, below zero, which is next. */
  #index = new Float64Array(FIRST_JOBS);
  #used = 0;
  #free = NOTHING;

  add(index: number, target: T | null, address: IpAddress | null): number {
    let job = this.#free;
    if (job !== NOTHING) this.#free = nextOf(this.#index[job]!);
    else {
      job = this.#used++;
      if (job === this.#index.length) this.#grow();
    }
    this.#index[job] = index;
    this.targets.set(job, target);
    this.addresses.set(job, address);
    this.groups.set(job, null);
    return job;
  }

  /** Ends a job; its number is used again. */
  free(job: number): void {
    this.#index[job] = nextOf(this.#free);
    this.#free = job;
    this.targets.set(job, null);
    this.addresses.set(job, null);
    this.groups.set(job, null);
  }

  /** The index of the target of a job. */
  indexOf(job: number): number {
    return this.#index[job]!;
  }

  /** The indexes of all. */
  get indexes(): number[] {
    return [...this.#index.subarray(0, this.#used)].filter((index) =>
      index >= 0
    );
  }

  #grow(): void {
    const longer = new Float64Array(2 * this.#index.length);
    longer.set(this.#index);
    this.#index = longer;
  }
}

/** The number of a job, {@linkcode NOTHING} or more, as one below zero, and back. */
function nextOf(job: number): number {
  return NOTHING - 1 - job;
}

/** Takes targets one by one and makes jobs of them. */
export class Source<T extends Probeable> implements Feed {
  /** How many targets there are, `null` if that is not known. */
  readonly total: number | null;
  readonly #libc: Libc;
  readonly #reading: Reading;
  readonly #office: Office;
  readonly #iterator: Iterator<T> | AsyncIterator<T>;
  readonly #isAsync: boolean;
  readonly #grid: Grid | null;
  readonly #jobs = new Jobs<T>();
  readonly #ready = new Fifo<number>();
  readonly #names = new Map<string, KnownName>();
  readonly #toLookUp = new Fifo<KnownName>();
  readonly #lookups = new Set<() => void>();
  /** How many there may be: the time of none may end before its turn has come. */
  readonly #mostLookups: number;
  /** How many targets wait for their names. */
  #waiting = 0;
  /** Those that have done so, and are handed out when their turn comes. */
  readonly #answered = new Fifo<NamedTarget>();
  /** How many targets were taken, and the number after the highest index. */
  #taken = 0;
  #next: number;
  #isAllowed = false;
  /** The last target that was made of a grid, as long as no caller has it. */
  #gridTarget: GridTarget | null = null;
  /** The job of the last address that was asked for. */
  #lastJob = NOTHING;
  #lastAddress: IpAddress | null = null;
  /** Whether the next target was asked for and has not come. */
  #isAsking = false;
  #isResting = false;
  #isDone = false;

  constructor(
    libc: Libc,
    targets: Iterable<T> | AsyncIterable<T>,
    reading: Reading,
    office: Office,
  ) {
    this.#libc = libc;
    this.#reading = reading;
    this.#mostLookups = Math.min(
      MOST_LOOKUPS,
      soundingsWithin(reading.timeout),
    );
    this.#office = office;
    this.#grid = asGrid(targets);
    this.#next = this.#grid?.from.next ?? 0;
    this.total = this.#grid?.size ??
      (Array.isArray(targets) ? targets.length : null);
    this.#isAsync = this.#grid === null && Symbol.asyncIterator in targets;
    this.#iterator = this.#grid !== null
      ? walkGrid(this.#grid) as Iterator<GridTarget & T>
      : this.#isAsync
      ? (targets as AsyncIterable<T>)[Symbol.asyncIterator]()
      : (targets as Iterable<T>)[Symbol.iterator]();
  }

  get isOver(): boolean {
    return this.#isDone && this.#waiting === 0 &&
      this.#answered.length === 0 && this.#ready.length === 0;
  }

  /** Which index comes next, and which targets before it are not done. */
  get position(): Position {
    const old = this.#grid?.from.pending ?? [];
    const taken = this.#jobs.indexes;
    const pending = [...new Set([...old.slice(this.#taken), ...taken])];
    return { next: this.#next, pending: pending.sort((a, b) => a - b) };
  }

  take(): number {
    for (let refused = 0;; refused++) {
      const job = this.#ready.shift();
      if (job !== undefined) return job;
      // There may be no end of targets that nothing is sent to.
      if (this.#isResting || this.#office.held >= MOST_HELD) return NOTHING;
      if (refused === MOST_REFUSED) {
        this.#isResting = true;
        afterAll(this.#libc, this.#goOn);
        return NOTHING;
      }
      const waiter = this.#answered.shift();
      if (waiter !== undefined) {
        this.#hand(waiter);
        continue;
      }
      if (this.#isDone || this.#isAsking || this.#waiting >= MOST_WAITING) {
        return NOTHING;
      }
      const step = this.#iterator.next();
      if (this.#isAsync) {
        this.#isAsking = true;
        // Of another's making it may settle at once, or twice.
        Promise.resolve(step).then(this.#arrived, (error) => {
          this.#isDone = true;
          this.#office.failed(error);
        });
        return NOTHING;
      }
      this.#accept(step as IteratorResult<T>);
    }
  }

  addressOf(job: number): IpAddress {
    if (job === this.#lastJob) return this.#lastAddress!;
    let address = this.#jobs.addresses.get(job);
    if (address === null) {
      const { hostname, port } = this.#gridTargetOf(job);
      address = parseIp(hostname, port)!;
    }
    this.#lastJob = job;
    return this.#lastAddress = address;
  }

  /** The address of a job as text, `null` for a name that has none. */
  addressText(job: number): string | null {
    const address = this.#jobs.addresses.get(job);
    if (address !== null) return address.toString();
    if (this.#grid === null || this.#jobs.targets.get(job) !== null) {
      return null;
    }
    const { hostname, port } = this.#gridTargetOf(job);
    return hostAndPort(hostname, port);
  }

  indexOf(job: number): number {
    return this.#jobs.indexOf(job);
  }

  /** The target of a job, as it was given. */
  targetOf(job: number): T {
    const given = this.#jobs.targets.get(job);
    if (given !== null) return given;
    const target = this.#gridTargetOf(job);
    // The caller gets it, and may change it.
    this.#gridTarget = null;
    return target as T & GridTarget;
  }

  #gridTargetOf(job: number): GridTarget {
    const index = this.#jobs.indexOf(job);
    if (this.#gridTarget?.index !== index) {
      this.#gridTarget = targetAt(this.#grid!, index);
    }
    return this.#gridTarget!;
  }

  /** Counts a finding; returns whether its target has all of them now. */
  finish(job: number): boolean {
    const group = this.#jobs.groups.get(job);
    return group === null || --group.left === 0;
  }

  /** Ends a job whose result a reader has taken. */
  release(job: number): void {
    if (job === this.#lastJob) this.#lastJob = NOTHING;
    this.#jobs.free(job);
  }

  readonly #goOn = (): void => {
    this.#isResting = false;
    this.#office.wake();
  };

  /** Takes no more, and lets the maker of the targets clean up. */
  stop(): void {
    for (const abandon of this.#lookups) abandon();
    this.#lookups.clear();
    this.#waiting = 0;
    this.#answered.clear();
    this.#ready.clear();
    if (this.#isDone) return;
    this.#isDone = true;
    // The run has ended, so that no reader is left for an error.
    try {
      const end: unknown = this.#iterator.return?.();
      if (end instanceof Promise) end.catch(() => {});
    } catch {
      return;
    }
  }

  readonly #arrived = (step: IteratorResult<T>): void => {
    this.#isAsking = false;
    if (this.#isDone) return;
    try {
      this.#accept(step);
    } catch (error) {
      return this.#office.failed(error);
    }
    this.#office.wake();
  };

  #accept(step: IteratorResult<T>): void {
    if (step.done) {
      this.#isDone = true;
      return;
    }
    const target = step.value;
    if (this.#grid === null) return this.#acceptTarget(target);
    // The grid has just made it, and no caller has seen it.
    const { index, hostname, port } = target as T & GridTarget;
    const address = parseIp(hostname, port);
    if (address === null) {
      const host = checkHostname(hostname);
      const job = this.#count(index, target, null);
      if (this.#isPermitted(host, port, job)) this.#resolve(host, port, job);
      return;
    }
    const isPlain = !hostname.includes("%");
    const job = this.#count(index, null, isPlain ? null : address);
    this.#gridTarget = target as T & GridTarget;
    this.#lastJob = job;
    this.#lastAddress = address;
    this.#acceptAddress(hostname, port, address.family, job);
  }

  #acceptTarget(target: T): void {
    const { hostname, port, address, index } = placeOf(target);
    const job = this.#count(index ?? this.#next, target, address);
    if (address !== null) {
      this.#acceptAddress(hostname, port, address.family, job);
    } else if (this.#isPermitted(hostname, port, job)) {
      this.#resolve(hostname, port, job);
    }
  }

  /** Makes a job of a target that was taken. */
  #count(index: number, target: T | null, address: IpAddress | null): number {
    const isOld = this.#taken++ < (this.#grid?.from.pending.length ?? 0);
    if (!isOld) this.#next = Math.max(this.#next, index + 1);
    this.#office.taken();
    return this.#jobs.add(index, target, address);
  }

  #isPermitted(hostname: string, port: number, job: number): boolean {
    const { permissions } = this.#libc;
    if (permissions.net()) return true;
    try {
      permissions.demandHost(hostname, port);
      return true;
    } catch (error) {
      this.#office.refused(job, error as Error, true);
      return false;
    }
  }

  #acceptAddress(
    hostname: string,
    port: number,
    family: LookupFamily,
    job: number,
  ): void {
    if (!this.#isPermitted(hostname, port, job)) return;
    this.#allow();
    const { family: wanted } = this.#reading;
    if (wanted === undefined || family === wanted) return this.#ready.push(job);
    const error = wrongFamily(this.addressOf(job), wanted);
    this.#office.refused(job, error, false);
  }

  #allow(): void {
    if (this.#isAllowed) return;
    this.#isAllowed = true;
    this.#office.allowed();
  }

  #resolve(hostname: string, port: number, job: number): void {
    let name = this.#names.get(hostname);
    if (name === undefined) {
      name = { hostname, result: null, waiting: [] };
      this.#names.set(hostname, name);
      this.#toLookUp.push(name);
    }
    const waiter = { name, job, port };
    if (name.result !== null) return this.#hand(waiter);
    name.waiting.push(waiter);
    this.#waiting++;
    this.#lookUp();
  }

  /** Looks up as many names as may be at once. */
  #lookUp(): void {
    while (this.#lookups.size < this.#mostLookups) {
      const name = this.#toLookUp.shift();
      if (name === undefined) return;
      const { family, allAddresses, timeout } = this.#reading;
      let found: readonly IpAddress[] = [];
      const end = (error: Error | null): void => {
        abandon();
        this.#lookups.delete(abandon);
        this.#resolved(name, found.length > 0 ? found : error!);
      };
      const abandon = startLookup(
        this.#libc,
        { hostname: name.hostname, port: 0, family },
        performance.now() + timeout,
        {
          found(_, all) {
            found = all;
            // For IPv6 there may be no route, and IPv4 a moment late.
            const isEnough = all.some(({ family }) => family === "inet");
            if (isEnough && !allAddresses) end(null);
          },
          ended: end,
        },
      );
      this.#lookups.add(abandon);
    }
  }

  #resolved(name: KnownName, result: readonly IpAddress[] | Error): void {
    name.result = result;
    const waiting = name.waiting.splice(0);
    this.#waiting -= waiting.length;
    for (const waiter of waiting) this.#answered.push(waiter);
    this.#lookUp();
    this.#office.wake();
  }

  /** Hands out the addresses of a name for one target. */
  #hand({ name, job, port }: NamedTarget): void {
    const result = name.result!;
    if (result instanceof Error) {
      this.#allow();
      return this.#office.refused(job, result, false);
    }
    const { permissions } = this.#libc;
    for (const { hostname } of result) {
      try {
        permissions.demandResolved(hostname, port);
      } catch (error) {
        return this.#office.refused(job, error as Error, true);
      }
    }
    this.#allow();
    const used = this.#reading.allAddresses ? result : result.slice(0, 1);
    const jobs = this.#jobs;
    const group = used.length === 1 ? null : { left: used.length };
    const target = jobs.targets.get(job);
    for (const [i, address] of used.entries()) {
      const own = withPort(address, port);
      const one = i === 0 ? job : jobs.add(jobs.indexOf(job), target, own);
      jobs.addresses.set(one, own);
      jobs.groups.set(one, group);
      this.#ready.push(one);
    }
  }
}

/** The parts of a target. */
interface Place {
  readonly hostname: string;
  readonly port: number;
  readonly index: number | undefined;
  /** `null` for a name. */
  readonly address: IpAddress | null;
}

const PROBE_TARGET_KEYS = ["transport", "hostname", "port", "index"] as const;

function placeOf(target: unknown): Place {
  if (!isObject(target)) throw notProbeable(target);
  if (isAddress(target)) {
    if (target.family !== "inet" && target.family !== "inet6") {
      throw new TypeError(
        `Cannot probe ${target}: it is no port of an internet host`,
      );
    }
    const { hostname, port } = target;
    return { hostname, port, index: undefined, address: target };
  }
  const { transport, hostname = "127.0.0.1", port, index } = readOptions(
    "target",
    target,
    PROBE_TARGET_KEYS,
  );
  if (transport !== undefined && transport !== "tcp") {
    throw new TypeError(
      `Cannot probe transport ${show(transport)}: it is no port of an ` +
        "internet host",
    );
  }
  const host = checkHostname(hostname);
  const number = checkInteger("port", port, MAX_PORT);
  return {
    hostname: host,
    port: number,
    index: index === undefined
      ? undefined
      : checkInteger("index", index, Number.MAX_SAFE_INTEGER - 1),
    address: parseIp(host, number),
  };
}

function notProbeable(target: unknown): TypeError {
  return new TypeError(
    `Cannot probe ${
      show(target)
    }: a target is { hostname, port } or an address`,
  );
}

function wrongFamily(address: IpAddress, family: LookupFamily): Error {
  return errnoError("EAFNOSUPPORT", {
    syscall: "connect",
    address: address.toString(),
    detail: `family asks for ${family}`,
  });
}

function withPort(address: IpAddress, port: number): IpAddress {
  return address.family === "inet"
    ? inet(address.hostname, port)
    : inet6(address.hostname, port, { scopeId: address.scopeId });
}
