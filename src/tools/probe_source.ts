/**
 * From what a caller wants probed to addresses that may be.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  inet,
  inet6,
  type Inet6Address,
  type InetAddress,
  isAddress,
  parseIp,
} from "../address/address.ts";
import {
  type IpAddress,
  type LookupFamily,
  startLookup,
} from "../address/lookup.ts";
import {
  checkInteger,
  checkText,
  isObject,
  MAX_PORT,
  readOptions,
  show,
} from "../errors/arguments.ts";
import { errnoError } from "../errors/errors.ts";
import { afterAll } from "../reactor/turns.ts";
import { Fifo } from "./fifo.ts";
import type { Feed, Job } from "./probe_run.ts";
import { asGrid, type Grid, type Position } from "./targets.ts";

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

/** A target that was taken, and has not all of its results yet. */
export interface Ticket<T> {
  readonly index: number;
  readonly target: T;
  /** How many results are still to come, and how many nobody has seen. */
  left: number;
  unseen: number;
}

/** One address of a target. */
export interface ProbeJob<T> extends Job {
  readonly ticket: Ticket<T>;
}

/** Where targets go that cannot be probed. */
export interface Office<T> {
  /** How many results nobody has read yet. */
  readonly held: number;
  /** A target is on its way. */
  taken(ticket: Ticket<T>): void;
  /** Nobody may reach the target, or nobody knows it. */
  refused(ticket: Ticket<T>, error: Error, isDenied: boolean): void;
  /** The first target that may be reached. */
  allowed(): void;
  /** There is more to take. */
  wake(): void;
  failed(error: unknown): void;
}

/** How targets are read. */
export interface Reading {
  readonly family: LookupFamily | undefined;
  readonly allAddresses: boolean;
}

/** How many names are looked up at once; more would wait for threads. */
const MOST_LOOKUPS = 16;

/** How many targets may wait for names. */
const MOST_WAITING = 1024;

/** How many targets may have no job one after the other, before others have a turn. */
const MOST_REFUSED = 256;

/** What is known of a name. */
interface KnownName<T> {
  readonly hostname: string;
  /** `null` while it is being looked up. */
  result: readonly IpAddress[] | Error | null;
  readonly waiting: { ticket: Ticket<T>; port: number }[];
}

/** Takes targets one by one and makes jobs of them. */
export class Source<T extends Probeable> implements Feed<ProbeJob<T>> {
  /** How many targets there are, `null` if that is not known. */
  readonly total: number | null;
  readonly #libc: Libc;
  readonly #reading: Reading;
  readonly #office: Office<T>;
  readonly #iterator: Iterator<T> | AsyncIterator<T>;
  readonly #isAsync: boolean;
  readonly #grid: Grid | null;
  readonly #ready = new Fifo<ProbeJob<T>>();
  readonly #names = new Map<string, KnownName<T>>();
  readonly #toLookUp = new Fifo<KnownName<T>>();
  readonly #lookups = new Set<() => void>();
  #waiting = 0;
  /** How many targets were taken, and what comes after the highest index. */
  #taken = 0;
  #next: number;
  #isAllowed = false;
  /** Whether a target is on its way. */
  #isAsking = false;
  #isResting = false;
  #isDone = false;

  constructor(
    libc: Libc,
    targets: Iterable<T> | AsyncIterable<T>,
    reading: Reading,
    office: Office<T>,
  ) {
    this.#libc = libc;
    this.#reading = reading;
    this.#office = office;
    this.#grid = asGrid(targets);
    this.#next = this.#grid?.from.next ?? 0;
    this.total = this.#grid?.size ??
      (Array.isArray(targets) ? targets.length : null);
    this.#isAsync = Symbol.asyncIterator in targets;
    this.#iterator = this.#isAsync
      ? (targets as AsyncIterable<T>)[Symbol.asyncIterator]()
      : (targets as Iterable<T>)[Symbol.iterator]();
  }

  get isOver(): boolean {
    return this.#isDone && this.#waiting === 0 && this.#ready.length === 0;
  }

  /** What comes after the targets that were taken; a grid's old ones first. */
  get position(): Position {
    const old = this.#grid?.from.pending ?? [];
    return { next: this.#next, pending: old.slice(this.#taken) };
  }

  take(): ProbeJob<T> | null {
    for (let refused = 0;; refused++) {
      const job = this.#ready.shift();
      if (job !== undefined) return job;
      if (this.#isDone || this.#isAsking || this.#waiting >= MOST_WAITING) {
        return null;
      }
      // Of targets that nothing is sent to there may be no end.
      if (this.#isResting || this.#office.held >= MOST_WAITING) return null;
      if (refused === MOST_REFUSED) {
        this.#isResting = true;
        afterAll(this.#libc, this.#goOn);
        return null;
      }
      const step = this.#iterator.next();
      if (this.#isAsync) {
        this.#isAsking = true;
        (step as Promise<IteratorResult<T>>).then(this.#arrived, (error) => {
          this.#isDone = true;
          this.#office.failed(error);
        });
        return null;
      }
      this.#accept(step as IteratorResult<T>);
    }
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
    this.#ready.clear();
    if (this.#isDone) return;
    this.#isDone = true;
    // What goes wrong there has nobody left to care about it.
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
    const place = placeOf(target);
    const index = place.index ?? this.#next;
    const isOld = this.#taken++ < (this.#grid?.from.pending.length ?? 0);
    if (!isOld) this.#next = Math.max(this.#next, index + 1);
    const { hostname, port, address } = place;
    const ticket: Ticket<T> = { index, target, left: 1, unseen: 0 };
    this.#office.taken(ticket);
    const { family } = this.#reading;
    const { permissions } = this.#libc;
    if (!permissions.net()) {
      try {
        permissions.demandHost(hostname, port);
      } catch (error) {
        return this.#office.refused(ticket, error as Error, true);
      }
    }
    if (address !== null) {
      this.#allow();
      if (family !== undefined && address.family !== family) {
        return this.#office.refused(
          ticket,
          wrongFamily(address, family),
          false,
        );
      }
      this.#ready.push({ address, ticket });
      return;
    }
    this.#resolve(hostname, port, ticket);
  }

  #allow(): void {
    if (this.#isAllowed) return;
    this.#isAllowed = true;
    this.#office.allowed();
  }

  #resolve(hostname: string, port: number, ticket: Ticket<T>): void {
    let name = this.#names.get(hostname);
    if (name === undefined) {
      name = { hostname, result: null, waiting: [] };
      this.#names.set(hostname, name);
      this.#toLookUp.push(name);
    }
    if (name.result !== null) return this.#hand(name.result, port, ticket);
    name.waiting.push({ ticket, port });
    this.#waiting++;
    this.#lookUp();
  }

  /** Looks up as many names as may be at once. */
  #lookUp(): void {
    while (this.#lookups.size < MOST_LOOKUPS) {
      const name = this.#toLookUp.shift();
      if (name === undefined) return;
      const found: IpAddress[] = [];
      const { hostname } = name;
      const { family } = this.#reading;
      const abandon = startLookup(
        this.#libc,
        { hostname, port: 0, family },
        Infinity,
        {
          found: (addresses) => void found.push(...addresses),
          ended: (error) => {
            this.#lookups.delete(abandon);
            this.#resolved(name, error ?? found);
          },
        },
      );
      this.#lookups.add(abandon);
    }
  }

  #resolved(name: KnownName<T>, result: readonly IpAddress[] | Error): void {
    name.result = result;
    try {
      for (const { ticket, port } of name.waiting.splice(0)) {
        this.#waiting--;
        this.#hand(result, port, ticket);
      }
    } catch (error) {
      return this.#office.failed(error);
    }
    this.#lookUp();
    this.#office.wake();
  }

  /** Hands out the addresses of a name for one target. */
  #hand(
    result: readonly IpAddress[] | Error,
    port: number,
    ticket: Ticket<T>,
  ): void {
    if (result instanceof Error) {
      this.#allow();
      return this.#office.refused(ticket, result, false);
    }
    const { permissions } = this.#libc;
    for (const { hostname } of result) {
      try {
        permissions.demandResolved(hostname, port);
      } catch (error) {
        return this.#office.refused(ticket, error as Error, true);
      }
    }
    this.#allow();
    const used = this.#reading.allAddresses ? result : result.slice(0, 1);
    ticket.left = used.length;
    for (const address of used) {
      this.#ready.push({ address: withPort(address, port), ticket });
    }
  }
}

/** What a target says. */
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
  checkText("hostname", hostname);
  const host = hostname.startsWith("[") && hostname.endsWith("]")
    ? hostname.slice(1, -1)
    : hostname;
  if (host === "" || host.includes("\0")) {
    throw new SyntaxError(
      `Cannot parse hostname ${show(hostname)}: ` +
        (host === "" ? "it is empty" : "it holds a NUL"),
    );
  }
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
