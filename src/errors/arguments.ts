/**
 * Checks of what callers pass in; each failure names the argument and the
 * value.
 *
 * @module
 */
import { newMemory } from "../../ffi/memory.ts";
import { own } from "./caller.ts";
import { printable } from "./phrases.ts";

/** The largest `int` and the largest `unsigned int` of C. */
export const INT_MAX = 0x7fff_ffff;
export const UINT_MAX = 0xffff_ffff;

/** The largest port. */
export const MAX_PORT = 0xffff;

/** How much of a long text a message shows. */
const MOST_SHOWN = 200;

/** The getters that the engine itself has for every typed array. */
const typedArray: object = Object.getPrototypeOf(Uint8Array.prototype);
const tagOf = getterOf<unknown, string | undefined>(
  typedArray,
  Symbol.toStringTag,
);
const bufferOf = getterOf<Uint8Array, ArrayBuffer>(typedArray, "buffer");
const byteLengthOf = getterOf<Uint8Array, number>(typedArray, "byteLength");
const byteOffsetOf = getterOf<Uint8Array, number>(typedArray, "byteOffset");
const abortedOf = getterOf<unknown, boolean>(AbortSignal.prototype, "aborted");

const includes = Function.prototype.call.bind(
  Uint8Array.prototype.includes,
) as (bytes: Uint8Array, byte: number) => boolean;

/** A getter of a prototype, as a function of the object that it reads. */
function getterOf<T, R>(prototype: object, name: PropertyKey): (of: T) => R {
  const { get } = Object.getOwnPropertyDescriptor(prototype, name)!;
  return Function.prototype.call.bind(get!) as (of: T) => R;
}

/** A value as messages show it: text in quotes, cut where it is long. */
export function show(value: unknown): string {
  switch (typeof value) {
    case "string":
      return printable(JSON.stringify(
        value.length > MOST_SHOWN
          ? `${value.slice(0, MOST_SHOWN)}\u2026`
          : value,
      ));
    case "object":
      return value === null ? "null" : showList(value) ?? "(an object)";
    case "function":
      return "(a function)";
    case "bigint":
      return `${value}n`;
    default:
      return String(value);
  }
}

/** A short list of what is no object itself, `null` for all else. */
function showList(value: object): string | null {
  try {
    if (!Array.isArray(value) || value.length > 4) return null;
    const items = Array.from({ length: value.length }, (_, i) => value[i]);
    return items.some(isObject) ? null : `[${items.map(show).join(", ")}]`;
  } catch {
    // A proxy, or a getter, that says nothing of itself.
    return null;
  }
}

/** Whether a value has fields. */
export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Makes sure that an argument is text. */
export function checkText(
  name: string,
  value: unknown,
): asserts value is string {
  if (typeof value !== "string") throw notA("string", name, value);
}

/** Makes sure that an argument is true or false. */
export function checkBoolean(
  name: string,
  value: unknown,
): asserts value is boolean {
  if (typeof value !== "boolean") throw notA("boolean", name, value);
}

/** Makes sure that an argument is a function. */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== "function") throw notA("function", name, value);
}

/**
 * Makes sure that an argument is memory, byte by byte, and measures it.
 *
 * The engine says what it is: an object may inherit from `Uint8Array` without
 * being one, and a proxy of one has no memory. What was detached has none
 * either: as if it were empty, nothing would be sent, and the end of a stream
 * be received.
 *
 * @returns As {@linkcode sizeOf}.
 */
export function checkBytes(name: string, value: unknown): number {
  let size: number;
  try {
    size = byteLengthOf(value as Uint8Array);
  } catch {
    throw notA("Uint8Array", name, value);
  }
  // Of this realm, or of another one, or with another prototype.
  if (!(value instanceof Uint8Array) && !isBytes(value)) {
    throw notA("Uint8Array", name, value);
  }
  if (size === 0) checkThere(name, value);
  return size;
}

/** Makes sure that memory without bytes was not taken away. */
function checkThere(name: string, bytes: Uint8Array): void {
  try {
    includes(bytes, 0);
  } catch {
    throw own(
      new TypeError(`Cannot use ${name}: its memory was taken away`),
    );
  }
}

/** Whether a value is memory, byte by byte, of whatever subclass or realm. */
export function isBytes(value: unknown): value is Uint8Array {
  return tagOf(value) === "Uint8Array";
}

/**
 * How many bytes C may use of memory that a caller handed in; 0 where it was
 * taken away.
 *
 * Any object can report any `length` it likes, so the engine's own getter measures it.
 * The size holds until a caller's code runs next.
 */
export function sizeOf(bytes: Uint8Array): number {
  return byteLengthOf(bytes);
}

/**
 * A plain view of the memory that a caller handed in, none of whose properties
 * the caller can have replaced.
 */
export function viewOf(bytes: Uint8Array): Uint8Array {
  const size = byteLengthOf(bytes);
  // Memory that was taken away has no view.
  return size === 0
    ? new Uint8Array(0)
    : new Uint8Array(bufferOf(bytes), byteOffsetOf(bytes), size);
}

/**
 * Memory of our own with the same bytes.
 *
 * @throws As {@linkcode checkBytes} does.
 */
export function copyOf(
  name: string,
  bytes: Uint8Array,
): Uint8Array<ArrayBuffer> {
  checkBytes(name, bytes);
  const view = viewOf(bytes);
  const copy = newMemory(view.length);
  copy.set(view);
  return copy;
}

/**
 * Returns the signal, `undefined` if there is none.
 *
 * What only looks like one could throw, or change its mind, while others depend
 * on it.
 */
export function checkSignal(
  name: string,
  value: unknown,
): AbortSignal | undefined {
  if (value === undefined) return undefined;
  try {
    abortedOf(value);
  } catch {
    throw notA("AbortSignal", name, value);
  }
  return value as AbortSignal;
}

// Of the engine, for a caller's signal may have others of its own.
const { addEventListener, removeEventListener } = AbortSignal.prototype;
const anyOf = AbortSignal.any.bind(AbortSignal);

/** Who is to hear of the abort of a caller's signal. */
interface Audience {
  /**
   * A signal of our own, which aborts with the caller's by the platform's doing:
   * an event is what anybody can dispatch, and what a listener that came before
   * can keep from those that came after.
   */
  readonly follower: AbortSignal;
  /** One listener stands for all: to find one in a list of thousands is slow. */
  readonly listeners: Set<() => void>;
  onAbort(): void;
}

const audiences = new WeakMap<AbortSignal, Audience>();

/**
 * Has a listener called when a signal aborts.
 *
 * @throws What a proxy of a signal may throw. So this comes before all that
 * other code would have to end.
 */
export function heedAbort(
  signal: AbortSignal | undefined,
  listener: () => void,
): void {
  if (signal === undefined) return;
  let audience = audiences.get(signal);
  if (audience === undefined) {
    audience = audienceOf(signal);
    audiences.set(signal, audience);
  }
  const { follower, listeners, onAbort } = audience;
  if (listeners.size === 0) addEventListener.call(follower, "abort", onAbort);
  listeners.add(listener);
}

/** Has it called no more. What a proxy of a signal may throw is of no account. */
export function ignoreAbort(
  signal: AbortSignal | undefined,
  listener: () => void,
): void {
  const audience = signal && audiences.get(signal);
  if (audience === undefined) return;
  const { follower, listeners, onAbort } = audience;
  if (!listeners.delete(listener) || listeners.size > 0) return;
  try {
    removeEventListener.call(follower, "abort", onAbort);
  } catch {
    // It was a caller's object that failed, and no code waits for it any more.
  }
}

function audienceOf(signal: AbortSignal): Audience {
  const listeners = new Set<() => void>();
  return {
    follower: followerOf(signal),
    listeners,
    onAbort() {
      for (const listener of [...listeners]) {
        // One that was called before may have taken this one away.
        if (!listeners.has(listener)) continue;
        try {
          listener();
        } catch (error) {
          // As the platform has it: the others are called all the same.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    },
  };
}

function followerOf(signal: AbortSignal): AbortSignal {
  try {
    return anyOf([signal]);
  } catch {
    // Node follows no proxy, and listens to one.
    return signal;
  }
}

/** Returns the number, with -0 made 0. */
export function checkInteger(
  name: string,
  value: unknown,
  max: number,
): number {
  if (typeof value !== "number") throw notA("number", name, value);
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw own(
      new RangeError(
        `Cannot use ${name} ${value}: it must be an integer from 0 to ${max}`,
      ),
    );
  }
  return value + 0;
}

/** Returns the milliseconds, `fallback` if there are none. */
export function checkMilliseconds(
  name: string,
  value: unknown,
  fallback: number,
  min: number = 0,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number") throw notA("number", name, value);
  if (!(value >= min)) {
    throw own(
      new RangeError(
        `Cannot use ${name} ${value}: it must be ${min} or more milliseconds`,
      ),
    );
  }
  return value;
}

/** What is thrown where an argument is of another kind. */
export function notA(kind: string, name: string, value: unknown): TypeError {
  const article = /^[aeio]/i.test(kind) ? "an" : "a";
  return own(
    new TypeError(
      `Cannot use ${name} ${show(value)}: it is not ${article} ${kind}`,
    ),
  );
}

/**
 * Reads a bag of options: each property once, its own ones alone.
 *
 * What `undefined` stands for is left out. The record that is returned has no
 * prototype, so that nothing but what was given is found in it.
 *
 * @param name What the argument is called.
 * @param value What a caller has passed; `undefined` is an empty bag.
 * @param keys What may be in it.
 * @throws {TypeError} If it is no object, or has another key.
 */
export function readOptions<K extends string>(
  name: string,
  value: unknown,
  keys: readonly K[],
): Partial<Record<K, unknown>> {
  const found = new Bag() as Partial<Record<K, unknown>>;
  if (value === undefined) return found;
  if (!isObject(value)) throw notA("object", name, value);
  // With a check, this is faster than a list of the own keys.
  for (const key in value) {
    if (!Object.hasOwn(value, key)) continue;
    const given = (value as Record<string, unknown>)[key];
    if (!keys.includes(key as K)) throw unknownOption(name, key, given, keys);
    if (given !== undefined) found[key as K] = given;
  }
  return found;
}

/** A record without a prototype to speak of, of the kind that engines handle fast. */
class Bag {
  static {
    Object.setPrototypeOf(this.prototype, null);
    Reflect.deleteProperty(this.prototype, "constructor");
  }
}

/** What is thrown for an option that nothing here understands. */
export function unknownOption(
  name: string,
  key: string,
  value: unknown,
  keys: readonly string[],
): TypeError {
  const near = nearest(key, keys);
  return own(
    new TypeError(
      `Cannot use ${name} with ${nameOfKey(key)}: ${show(value)}: ` +
        (near === null
          ? `the options are ${keys.join(", ")}`
          : `did you mean ${near}?`),
    ),
  );
}

/** What other libraries call some options. */
const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ["host", "hostname"],
  ["connectTimeout", "timeout"],
  ["abortSignal", "signal"],
  ["socketPath", "path"],
  ["device", "interface"],
]);

/** The key that was most likely meant, `null` if none is near. */
export function nearest(key: string, keys: readonly string[]): string | null {
  const synonym = SYNONYMS.get(key);
  if (synonym !== undefined && keys.includes(synonym)) return synonym;
  // A longer key would take its time, and resembles nothing.
  if (key.length > 40) return null;
  let best: string | null = null;
  // A third of the letters may be wrong, and more than one in few.
  let least = Math.max(1, Math.floor(key.length / 3)) + 1;
  for (const known of keys) {
    const distance = editDistance(key.toLowerCase(), known.toLowerCase());
    if (distance >= least) continue;
    least = distance;
    best = known;
  }
  return best;
}

/** How many letters to insert, delete, replace or swap with their neighbours. */
function editDistance(from: string, to: string): number {
  let older: number[] = [];
  let old = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const isSame = from[i - 1] === to[j - 1];
      row[j] = Math.min(
        row[j - 1]! + 1,
        old[j]! + 1,
        old[j - 1]! + (isSame ? 0 : 1),
        i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
          ? older[j - 2]! + 1
          : Infinity,
      );
    }
    older = old;
    old = row;
  }
  return old[to.length]!;
}

/** A key as messages show it: as it is where it is a name, else in quotes. */
function nameOfKey(key: string): string {
  return /^[\w$]{1,40}$/.test(key) ? key : show(key);
}
