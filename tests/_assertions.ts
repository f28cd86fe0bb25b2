/**
 * What tests say of calls: how they end, by which errno they fail, and how long that may take.
 *
 * Apart from the fixtures, which children load as well: those have no `@std`.
 *
 * @module
 */
import {
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
} from "@std/assert";
import { currentAbi } from "../ffi/libc.ts";
import {
  Errno,
  type ErrnoCode,
  ErrnoError,
  errnoName,
  type Socket,
} from "../mod.ts";

const abi = currentAbi();

/** Milliseconds that no test waits for, unless something is wrong. */
export const AGES = 60_000;
/** Milliseconds of a deadline that is meant to pass. */
export const SHORT = 60;

/** Lets this many milliseconds pass. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A few turns of the event loop. */
export function turns(milliseconds = 5): Promise<void> {
  return pause(milliseconds);
}

/** The result of a promise or a call, or its error. */
export function outcome(work: Promise<unknown>): Promise<unknown>;
export function outcome(work: () => unknown): unknown;
export function outcome(work: Promise<unknown> | (() => unknown)): unknown {
  if (typeof work !== "function") return work.catch((error) => error);
  try {
    return work();
  } catch (error) {
    return error;
  }
}

/** The error of what has to fail by an errno, whichever it is. */
export function refusal(work: Promise<unknown>): Promise<ErrnoError>;
export function refusal(work: () => unknown): ErrnoError;
export function refusal(
  work: Promise<unknown> | (() => unknown),
): Promise<ErrnoError> | ErrnoError {
  return typeof work === "function"
    ? errorOf(outcome(work))
    : outcome(work).then(errorOf);
}

/** The error of what has to fail by this errno. */
export function assertFails(
  work: Promise<unknown>,
  code: ErrnoCode,
): Promise<ErrnoError>;
export function assertFails(work: () => unknown, code: ErrnoCode): ErrnoError;
export function assertFails(
  work: Promise<unknown> | (() => unknown),
  code: ErrnoCode,
): Promise<ErrnoError> | ErrnoError {
  function check(result: unknown): ErrnoError {
    assertErrno(result, code);
    return result;
  }
  return typeof work === "function"
    ? check(outcome(work))
    : outcome(work).then(check);
}

/** Shows that all of an error speaks of this errno: its code, its number, its class and its message. */
export function assertErrno(
  error: unknown,
  code: ErrnoCode,
): asserts error is ErrnoError {
  assertInstanceOf(error, ErrnoError, `not an errno's error: ${error}`);
  assertEquals(error.code, code, error.message);
  assertInstanceOf(error, Errno[code]);
  assertEquals(error.errno, abi.errnos[code]);
  assertEquals(errnoName(error.errno), code);
  assertStringIncludes(error.message, `(${code})`);
}

/** Whether something is the failure of a socket that has met itself. */
export function isSelfConnection(result: unknown): boolean {
  return result instanceof Errno.ECONNREFUSED &&
    result.message.includes("connected to itself");
}

/** Shows that a socket carries bytes both ways to the one that was accepted. */
export function assertTalks(socket: Socket, accepted: Socket): void {
  assertCarries(socket, accepted, [1, 2, 3]);
  assertCarries(accepted, socket, [4, 5]);
}

function assertCarries(from: Socket, to: Socket, bytes: number[]): void {
  const buffer = new Uint8Array(8);
  assertEquals(from.sendSync(new Uint8Array(bytes)), bytes.length);
  // A socket that does not block may be asked before they are there.
  assertEquals(to.poll("POLLIN", AGES), ["POLLIN"]);
  assertEquals(to.recvSync(buffer), bytes.length);
  assertEquals([...buffer.subarray(0, bytes.length)], bytes);
}

function errorOf(result: unknown): ErrnoError {
  assertInstanceOf(result, ErrnoError, `nothing was thrown: ${result}`);
  return result;
}
