/**
 * `@std/assert` from npm, for machines and runtimes that do not reach JSR.
 *
 * The code on npm is the same but carries no types, so the types are written here; assertions have to be declared one by
 * one, or TypeScript would not let them narrow.
 *
 * @module
 */
import * as std from "deno-std/assert/mod.js";

// A class is matched by its instances alone, whatever its constructor takes.
// deno-lint-ignore no-explicit-any
type AnyClass = abstract new (...args: any[]) => unknown;
// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;
type Falsy = false | 0 | 0n | "" | null | undefined;

export const AssertionError: new (
  message: string,
  options?: ErrorOptions,
) => Error = std.AssertionError;

export const assert: (expr: unknown, msg?: string) => asserts expr = std.assert;

export const assertAlmostEquals: (
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
) => void = std.assertAlmostEquals;

export const assertArrayIncludes: <T>(
  actual: ArrayLike<T>,
  expected: ArrayLike<T>,
  msg?: string,
) => void = std.assertArrayIncludes;

export const assertEquals: <T>(actual: T, expected: T, msg?: string) => void =
  std.assertEquals;

export const assertExists: <T>(
  actual: T,
  msg?: string,
) => asserts actual is NonNullable<T> = std.assertExists;

export const assertFalse: (
  expr: unknown,
  msg?: string,
) => asserts expr is Falsy = std.assertFalse;

export const assertGreater: <T>(actual: T, expected: T, msg?: string) => void =
  std.assertGreater;

export const assertGreaterOrEqual: <T>(
  actual: T,
  expected: T,
  msg?: string,
) => void = std.assertGreaterOrEqual;

export const assertInstanceOf: <T extends AnyClass>(
  actual: unknown,
  expectedType: T,
  msg?: string,
) => asserts actual is InstanceType<T> = std.assertInstanceOf;

export const assertIsError: <E extends Error = Error>(
  error: unknown,
  ErrorClass?: ErrorClass<E>,
  msgMatches?: string | RegExp,
  msg?: string,
) => asserts error is E = std.assertIsError;

export const assertLess: <T>(actual: T, expected: T, msg?: string) => void =
  std.assertLess;

export const assertLessOrEqual: <T>(
  actual: T,
  expected: T,
  msg?: string,
) => void = std.assertLessOrEqual;

export const assertMatch: (
  actual: string,
  expected: RegExp,
  msg?: string,
) => void = std.assertMatch;

export const assertNotEquals: <T>(
  actual: T,
  expected: T,
  msg?: string,
) => void = std.assertNotEquals;

export const assertNotInstanceOf: <A, T>(
  actual: A,
  // deno-lint-ignore no-explicit-any
  unexpectedType: abstract new (...args: any[]) => T,
  msg?: string,
) => asserts actual is Exclude<A, T> = std.assertNotInstanceOf;

export const assertNotMatch: (
  actual: string,
  expected: RegExp,
  msg?: string,
) => void = std.assertNotMatch;

export const assertNotStrictEquals: <T>(
  actual: T,
  expected: T,
  msg?: string,
) => void = std.assertNotStrictEquals;

export const assertObjectMatch: (
  actual: Record<PropertyKey, unknown>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
) => void = std.assertObjectMatch;

export const assertStrictEquals: <T>(
  actual: unknown,
  expected: T,
  msg?: string,
) => asserts actual is T = std.assertStrictEquals;

export const assertStringIncludes: (
  actual: string,
  expected: string,
  msg?: string,
) => void = std.assertStringIncludes;

export const equal: (a: unknown, b: unknown) => boolean = std.equal;

export const fail: (msg?: string) => never = std.fail;

export const unimplemented: (msg?: string) => never = std.unimplemented;

export const unreachable: (reason?: string) => never = std.unreachable;

export const assertThrows: {
  (fn: () => unknown, msg?: string): unknown;
  <E extends Error = Error>(
    fn: () => unknown,
    ErrorClass: ErrorClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): E;
} = std.assertThrows;

export const assertRejects: {
  (fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
  <E extends Error = Error>(
    fn: () => PromiseLike<unknown>,
    ErrorClass: ErrorClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;
} = std.assertRejects;
