/**
 * Whose line an error points at: the one that called this package.
 *
 * A stack of V8 or JavaScriptCore begins where the error is made. For a call
 * that fails at once that is a few frames of this package below the caller's;
 * for one that had to wait it is a turn of the event loop, in which the caller
 * does not occur at all. What is here gives an error the frames of its caller
 * and no others, so that a runtime that prints it shows the caller's source.
 *
 * @module
 */
import { bare } from "../../ffi/records.ts";

/**
 * A public function of this package that is running. Frames above it, and its
 * own, are this package's.
 *
 * It must not leave by `return other()` where `other` may fail: JavaScriptCore
 * takes its frame away then, and a stack without it has no frames at all. What it
 * calls must not have its name: Bun looks for that (1.4).
 */
// deno-lint-ignore ban-types -- it is looked for among the frames, never called
export type PublicFunction = Function;

/** The stack of a call that may fail later: an error that still lacks its reason. */
export interface Caller extends Error {}

/**
 * How many callers are kept at a time at the most. A stack takes up to 2 us and
 * 400 bytes, which a program with thousands of attempts under way would feel.
 */
const MOST_CALLERS = 128;

/** How many are kept now. */
let keptCallers = 0;

// From load, for a program may put its own in their place.
const { captureStackTrace } = Error as ErrorConstructor & {
  captureStackTrace(error: object, ours: PublicFunction): void;
};
const { defineProperty, getPrototypeOf, setPrototypeOf } = Reflect;

/**
 * `Reflect.construct`: an error whose `new.target` is a function that is running
 * has a stack that begins at the caller of that function.
 */
export const { construct } = Reflect;

/**
 * Keeps the stack of the caller of a public function.
 *
 * @param ours The function, which is running.
 * @param message The reason, if it is known already. It can be set later, and
 * does not show where an error is printed either way.
 */
export function callerOf(ours: PublicFunction, message: string = ""): Caller {
  // As its `new.target`, what can construct hides itself and all above it, and
  // that is one walk of the stack where the other way takes two.
  if (Object.hasOwn(ours, "prototype")) {
    return construct(Error, [message], ours);
  }
  const caller = new Error(message);
  captureStackTrace(caller, ours);
  return caller;
}

/**
 * Keeps the stack of the caller of a function for a call that waits.
 *
 * @param ours The function, which is running.
 * @returns The caller, for {@linkcode releaseCaller}; `null` if enough are kept
 * already.
 */
export function keepCaller(ours: PublicFunction): Caller | null {
  if (keptCallers >= MOST_CALLERS) return null;
  keptCallers++;
  return callerOf(ours);
}

/** Makes room for another caller: the call of this one has ended. */
export function releaseCaller(caller: Caller | null): void {
  if (caller !== null) keptCallers--;
}

/** The errors of this package that do not point at a caller yet. */
const unpointed = new WeakSet<object>();

/** Marks an error as one of this package, which may be made to point at a caller. */
export function own<E extends Error>(error: E): E {
  unpointed.add(error);
  return error;
}

/** Whether an error is of this package and does not point at a caller yet. */
export function isUnpointed(error: unknown): error is Error {
  return unpointed.has(error as object);
}

/**
 * Makes an error point at a caller.
 *
 * @param error An error of this package.
 * @param at The caller that was kept, or the public function that is running.
 * @returns The error to throw: the same one, or the caller that has become it.
 */
export function pointAt<E extends Error>(
  error: E,
  at: Caller | PublicFunction,
): E {
  unpointed.delete(error);
  if (typeof at === "function") {
    captureStackTrace(error, at);
    return error;
  }
  at.message = error.message;
  if (Object.hasOwn(error, "cause")) setHidden(at, "cause", error.cause);
  return becomes(Object.assign(at, error), getPrototypeOf(error) as E);
}

/** Makes a property that does not show where an error is printed. */
export function setHidden(error: Error, name: string, value: unknown): void {
  defineProperty(error, name, bare({ ...HIDDEN, value }));
}

const HIDDEN = { writable: true, enumerable: false, configurable: true };

/** Gives a caller the class of an error. */
export function becomes<E extends Error>(caller: Caller, prototype: E): E {
  setPrototypeOf(caller, prototype);
  return caller as unknown as E;
}

/**
 * Rejects a promise with an error that points at its caller.
 *
 * Where no caller was kept, the error is made in a reaction that the promise
 * follows: V8 walks from there to the function that awaits the promise.
 *
 * @param resolve Settles the promise.
 * @param caller The caller, `null` if none was kept.
 * @param make Makes the error, for what it is handed.
 */
export function rejectAt(
  resolve: (settled: Promise<never>) => void,
  caller: Caller | null,
  make: (at: Caller | PublicFunction) => unknown,
): void {
  let start!: () => void;
  const failure = new Promise<void>((go) => start = go).then(
    function fail(): never {
      throw make(caller ?? fail);
    },
  );
  // In this order the promise has joined by the time that the error is made.
  resolve(failure);
  start();
}
