/**
 * The way to a destination: what the tools prepare once before they connect to
 * it again and again.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  clearTimeout,
  LONGEST_TIMER,
  performance,
  setTimeout,
} from "../../ffi/timers.ts";
import { type Address, isAddress } from "../address/address.ts";
import {
  deadlinePassed,
  type LookupQuery,
  startLookup,
} from "../address/lookup.ts";
import { PLAIN, type Recipe } from "../attempt/attempt.ts";
import { prepare } from "../connect/call.ts";
import {
  type HostLookup,
  permitted,
  readAddresses,
  TARGET_KEYS,
} from "../connect/target.ts";
import { isObject, notA, readOptions } from "../errors/arguments.ts";
import type { ErrnoError, LookupError } from "../errors/errors.ts";
import { demand, demandAgain, isFree } from "../socket/permission.ts";
import { type Destination, destinationText } from "./destination.ts";

/** The way to one destination. */
export interface Way {
  /** The destination as text. */
  readonly text: string;
  /** Its addresses, `null` if they have to be found. */
  readonly addresses: readonly Address[] | null;
  /** The host whose addresses have to be found. */
  readonly host: LookupQuery | null;
  /** What finds them, `null` for the system's resolver. */
  readonly lookup: HostLookup | null;
  /** How each attempt at it is made. */
  readonly recipe: Recipe;
}

/**
 * Checks a destination, and asks for permission.
 *
 * @throws {TypeError} If something of it is of the wrong kind, or not known.
 * @throws {RangeError} If something of it is out of range.
 * @throws {SyntaxError} If its text does not parse.
 * @throws The runtime's own error if the program may not reach it.
 */
export function wayTo(c: Libc, destination: Destination): Way {
  const nothing = { host: null, lookup: null };
  if (isAddress(destination)) {
    const { family } = destination;
    if (family === "raw" || family === "unspec") {
      throw new TypeError(`Cannot connect to ${destination}: it is no peer`);
    }
    const addresses = [demand(c, destination)];
    const text = destinationText(destination);
    return { text, addresses, ...nothing, recipe: PLAIN };
  }
  const written = readOptions("target", destination, TARGET_KEYS);
  const { plan, recipe } = prepare(written, undefined);
  // From here on what was checked is used, not the caller's object.
  const { address, host, source } = plan;
  const text = address?.toString() ?? destinationText(host!);
  if (address !== null) {
    return { text, addresses: [address], ...nothing, recipe };
  }
  if (source !== null && typeof source !== "function") {
    const addresses = permitted(c, source, false);
    return { text, addresses, ...nothing, recipe };
  }
  return { text, addresses: null, host, lookup: source, recipe };
}

/**
 * Asks once more whether a destination may be reached, before each attempt at
 * it: a program can give up a permission meanwhile.
 *
 * @param addresses Those that the attempt is for.
 * @returns Those to use.
 * @throws The runtime's own error if the program may not reach it any more.
 */
export function checkWay(
  c: Libc,
  { host, lookup }: Way,
  addresses: readonly Address[],
): readonly Address[] {
  if (addresses.every((address) => isFree(c, address))) return addresses;
  if (host !== null) c.permissions.demandHost(host.hostname, host.port);
  // What the system's resolver found of a name was asked for by the name.
  return host !== null && lookup === null
    ? addresses
    : addresses.map((address) => demandAgain(c, address));
}

/** What is found of the addresses of a destination. */
export type Found = readonly Address[] | LookupError | ErrnoError;

/** A search for addresses that is under way. */
export interface AddressSearch {
  /**
   * The first addresses that came, to which later ones are added; or why there
   * are none, or `null` if it was abandoned.
   */
  readonly found: Promise<Found | null>;
  /** Gives it up, and stops the lookup behind it. */
  abandon(): void;
}

/**
 * Finds the addresses of a destination.
 *
 * @param end When to give up, on the clock of `performance.now()`.
 * @param start When the caller began: what an error counts from.
 */
export function findAddresses(
  c: Libc,
  { addresses, host, lookup }: Way,
  end: number,
  start: number = performance.now(),
): AddressSearch {
  if (addresses !== null) {
    return { found: Promise.resolve(addresses), abandon: () => {} };
  }
  if (lookup !== null) return askOwn(c, lookup, host!, end, start);
  let abandon!: () => void;
  const found = new Promise<Found | null>((resolve, reject) => {
    const all: Address[] = [];
    const stop = startLookup(c, host!, end, {
      found(addresses) {
        try {
          all.push(...permitted(c, addresses, true));
          resolve(all);
        } catch (error) {
          reject(error);
        }
      },
      ended(error) {
        if (error !== null) resolve(error);
      },
    }, start);
    abandon = () => {
      stop();
      resolve(null);
    };
  });
  return { found, abandon };
}

/** Asks the caller's own resolver, which may never reply. */
function askOwn(
  c: Libc,
  lookup: HostLookup,
  query: LookupQuery,
  end: number,
  start: number,
): AddressSearch {
  const { hostname, port, family } = query;
  const left = end - performance.now();
  const controller = new AbortController();
  const { signal } = controller;
  let abandon!: () => void;
  const found = new Promise<Found | null>((resolve, reject) => {
    function giveUp(found: ErrnoError | null): void {
      if (timer !== null) clearTimeout(timer);
      controller.abort();
      resolve(found);
    }
    const timer = left > LONGEST_TIMER ? null : setTimeout(
      () => giveUp(deadlinePassed(query, start, end)),
      Math.max(Math.ceil(left), 0),
    );
    abandon = () => giveUp(null);
    Promise.resolve()
      .then(() => lookup(hostname, { family, signal }))
      .then((found) => {
        const addresses = readAddresses("lookup()", found, port, family);
        return permitted(c, addresses, false);
      })
      .finally(() => timer !== null && clearTimeout(timer))
      .then(resolve, reject);
  });
  return { found, abandon };
}

/**
 * Destinations as a list, read once.
 *
 * @throws {TypeError} If it is neither one nor an iterable.
 */
export function listOf(
  destinations: Destination | Iterable<Destination>,
): Destination[] {
  const value: unknown = destinations;
  if (!isObject(value)) {
    throw notA("target or a list of them", "targets", value);
  }
  if (!(Symbol.iterator in value)) return [value as Destination];
  const list: Destination[] = [];
  for (const one of value as Iterable<Destination>) {
    // At once: what is no target may come without end.
    if (!isObject(one)) throw notA("object", "target", one);
    list.push(one);
  }
  return list;
}
