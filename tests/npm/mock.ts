/**
 * `@std/testing/mock` by way of `node:test`, for machines and runtimes that do not reach JSR.
 *
 * @module
 */
import { mock } from "node:test";
import { assertEquals, AssertionError, assertIsError } from "./assert.ts";

/** One call that a spy has seen. */
export interface SpyCall<
  This = unknown,
  Args extends unknown[] = unknown[],
  Return = unknown,
> {
  args: Args;
  returned?: Return;
  error?: Error;
  self?: This;
}

/** A function that remembers its calls. */
export interface Spy<
  This = unknown,
  Args extends unknown[] = unknown[],
  Return = unknown,
> {
  (this: This, ...args: Args): Return;
  readonly original: (this: This, ...args: Args) => Return;
  readonly calls: SpyCall<This, Args, Return>[];
  readonly restored: boolean;
  restore(): void;
  [Symbol.dispose](): void;
}

/** A method that remembers its calls and is put back by `restore`. */
export type MethodSpy<
  This = unknown,
  Args extends unknown[] = unknown[],
  Return = unknown,
> = Spy<This, Args, Return>;

/** A method that something else stands in for until `restore`. */
export interface Stub<
  This = unknown,
  Args extends unknown[] = unknown[],
  Return = unknown,
> extends Spy<This, Args, Return> {
  readonly fake: (this: This, ...args: Args) => Return;
}

type Method<This, Args extends unknown[], Return> = (
  this: This,
  ...args: Args
) => Return;

type MethodArgs<T, K extends keyof T> = T[K] extends
  (...args: infer Args) => unknown ? Args : never;

type MethodReturn<T, K extends keyof T> = T[K] extends // deno-lint-ignore no-explicit-any
(...args: any[]) => infer Return ? Return
  : never;

/** The part of `node:test` that is used here, on all runtimes the same. */
interface Mocked {
  mock: {
    calls: {
      arguments: unknown[];
      result: unknown;
      error: unknown;
      this: unknown;
    }[];
    restore(): void;
  };
}

/** Puts the names of `@std/testing` on a function that `node:test` made. */
function dress<T extends object>(mocked: Mocked, extra: T): T {
  let restored = false;
  function restore(): void {
    if (restored) throw new MockError("Cannot restore: already restored");
    restored = true;
    mocked.mock.restore();
  }
  Object.defineProperties(mocked, {
    calls: {
      get: () =>
        mocked.mock.calls.map((call) => ({
          args: call.arguments,
          self: call.this,
          ...call.error === undefined
            ? { returned: call.result }
            : { error: call.error },
        })),
    },
    restored: { get: () => restored },
    restore: { value: restore },
    [Symbol.dispose]: {
      value: () => {
        if (!restored) restore();
      },
    },
    ...Object.getOwnPropertyDescriptors(extra),
  });
  return mocked as unknown as T;
}

/** A mistake in the use of a spy, as opposed to an assertion that does not hold. */
export class MockError extends Error {
  override name = "MockError";
}

/** Makes a function that remembers its calls, or lets a method of an object remember its own. */
export function spy<This, Args extends unknown[], Return>(
  func?: Method<This, Args, Return>,
): Spy<This, Args, Return>;
export function spy<T extends object, K extends keyof T>(
  self: T,
  property: K,
): MethodSpy<T, MethodArgs<T, K>, MethodReturn<T, K>>;
export function spy(target: object = ignore, property?: PropertyKey): unknown {
  if (property === undefined) {
    const original = target as () => unknown;
    return dress(mock.fn(original) as unknown as Mocked, { original });
  }
  return replace(target, property);
}

/** Lets a function stand in for a method, one that does nothing unless another is given. */
export function stub<T extends object, K extends keyof T>(
  self: T,
  property: K,
  fake?: Method<T, MethodArgs<T, K>, MethodReturn<T, K>>,
): Stub<T, MethodArgs<T, K>, MethodReturn<T, K>> {
  return replace(self, property, fake ?? ignore) as Stub<
    T,
    MethodArgs<T, K>,
    MethodReturn<T, K>
  >;
}

function ignore(): void {}

function replace(
  self: object,
  property: PropertyKey,
  fake?: (...args: never[]) => unknown,
): unknown {
  const original = (self as Record<PropertyKey, unknown>)[property];
  if (typeof original !== "function") {
    throw new MockError(
      `Cannot replace "${String(property)}": it is not a method`,
    );
  }
  const method = mock.method as unknown as (
    self: object,
    property: PropertyKey,
    fake: unknown,
  ) => Mocked;
  return dress(method.call(mock, self, property, fake ?? original), {
    original,
    fake,
  });
}

/** Makes a function that returns the values in turn and throws those that are errors. */
export function returnsNext<
  Return,
  This = unknown,
  Args extends unknown[] = [],
>(
  values: Iterable<Return | Error>,
): (this: This, ...args: Args) => Return {
  const rest = values[Symbol.iterator]();
  let calls = 0;
  return function () {
    calls++;
    const { value, done } = rest.next();
    if (done) throw new MockError(`Expected at most ${calls - 1} calls`);
    if (value instanceof Error) throw value;
    return value;
  };
}

export function assertSpyCalls<This, Args extends unknown[], Return>(
  spy: Spy<This, Args, Return>,
  expectedCalls: number,
): void {
  const { length } = spy.calls;
  if (length !== expectedCalls) {
    throw new AssertionError(
      `Spy called ${length} times, expected ${expectedCalls}`,
    );
  }
}

/** What a call must have been like; what is left out may be anything. */
export interface ExpectedSpyCall<
  This = unknown,
  Args extends unknown[] = unknown[],
  Return = unknown,
> {
  args?: [...Args, ...unknown[]];
  returned?: Return;
  self?: This;
  error?: {
    // deno-lint-ignore no-explicit-any
    Class?: abstract new (...args: any[]) => Error;
    msgIncludes?: string;
    msg?: string;
  };
}

export function assertSpyCall<This, Args extends unknown[], Return>(
  spy: Spy<This, Args, Return>,
  callIndex: number,
  expected?: ExpectedSpyCall<This, Args, Return>,
): void {
  const call = spy.calls[callIndex];
  if (call === undefined) {
    throw new AssertionError(
      `Spy called ${spy.calls.length} times, expected call ${callIndex}`,
    );
  }
  if (expected === undefined) return;
  if ("args" in expected) {
    assertEquals<unknown>(call.args, expected.args, "Arguments differ");
  }
  if ("self" in expected) {
    assertEquals(call.self, expected.self, "Receiver differs");
  }
  if ("returned" in expected) {
    assertEquals(call.returned, expected.returned, "Result differs");
  }
  if (expected.error !== undefined) {
    const { Class, msgIncludes, msg } = expected.error;
    assertIsError(call.error, Class, msgIncludes, msg);
  }
}

export function assertSpyCallArgs<This, Args extends unknown[], Return>(
  spy: Spy<This, Args, Return>,
  callIndex: number,
  expected: readonly unknown[],
): void {
  assertSpyCall(spy, callIndex);
  assertEquals<unknown>(spy.calls[callIndex]?.args, expected);
}
