/**
 * What a call of connect() or connectSync() is to do, from what its caller wrote.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { performance } from "../../ffi/timers.ts";
import type { IpAddress } from "../address/lookup.ts";
import type { Recipe } from "../attempt/attempt.ts";
import {
  checkFunction,
  checkMilliseconds,
  checkSignal,
  isObject,
  notA,
  show,
  unknownOption,
} from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import type { SocketOptions } from "../socket/options.ts";
import type { AttemptOptions } from "../socket/calls.ts";
import type { Socket } from "../socket/socket.ts";
import type { OnSocket } from "./dial.ts";
import { recipeOf } from "./recipe.ts";
import { LEAST_ATTEMPT_DELAY } from "./schedule.ts";
import {
  type ConnectTarget,
  type Plan,
  planTarget,
  TARGET_KEYS,
} from "./target.ts";

/** How a connection is made, whatever its target. */
export interface ConnectDefaults extends AttemptOptions {
  /**
   * Cancels the call: {@linkcode connect} rejects with `signal.reason`. A
   * blocking call cannot be interrupted, so {@linkcode connectSync} checks the
   * signal only before it begins, and after each `onSocket`.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds until the next address of a host name is tried while the one
   * before has not replied; 10 or more. If `timeout` leaves less for each
   * address, they share what is left.
   *
   * @default {250}
   */
  readonly attemptDelay?: number | undefined;
  /**
   * Options that are set before connect(2), by name, in the order given.
   *
   * @default {undefined} None.
   */
  readonly socketOptions?: Partial<SocketOptions> | undefined;
  /**
   * Called with each socket before connect(2), for whatever else it needs. If
   * it throws, the call fails with what it has thrown. If it aborts `signal`, or
   * returns after `timeout` has passed, nothing is sent.
   */
  readonly onSocket?: ((socket: Socket) => void) | undefined;
}

/** Everything that {@linkcode connect} and {@linkcode connectSync} take. */
export type ConnectOptions = ConnectTarget & ConnectDefaults;

/** RFC 8305, section 8: the recommended delay, in ms. */
const ATTEMPT_DELAY = 250;

/** The options of a call as they were read: each once, `undefined` if not given. */
class WrittenCall {
  transport: unknown = undefined;
  hostname: unknown = undefined;
  port: unknown = undefined;
  path: unknown = undefined;
  cid: unknown = undefined;
  family: unknown = undefined;
  protocol: unknown = undefined;
  lookup: unknown = undefined;
  addresses: unknown = undefined;
  localAddress: unknown = undefined;
  localPort: unknown = undefined;
  localPortRange: unknown = undefined;
  interface: unknown = undefined;
  timeout: unknown = undefined;
  signal: unknown = undefined;
  attemptDelay: unknown = undefined;
  softErrors: unknown = undefined;
  socketOptions: unknown = undefined;
  onSocket: unknown = undefined;
}

/** The names of all options. */
const CONNECT_KEYS: readonly string[] = [
  ...TARGET_KEYS,
  "timeout",
  "signal",
  "attemptDelay",
  "softErrors",
  "socketOptions",
  "onSocket",
];

/** What a call is to do, checked. */
export interface Call {
  readonly c: Libc;
  readonly plan: Plan;
  readonly recipe: Recipe;
  readonly start: number;
  readonly timeout: number;
  readonly delay: number;
  readonly signal: AbortSignal | undefined;
  readonly onSocket: OnSocket | null;
  /** Takes what comes of the lookup of the host; absent if nobody asks. */
  readonly onLookup?: OnLookup;
}

/** Takes the addresses of a host as they come, or why there are none. */
export type OnLookup = (
  error: unknown,
  addresses: readonly IpAddress[],
) => void;

/**
 * Reads and checks the options of a call, and asks for permission.
 *
 * @param nameOfDefaults What the caller knows that argument by.
 * @throws {TypeError} If an argument is of the wrong kind, or not known.
 * @throws {RangeError} If it is out of range.
 * @throws {SyntaxError} If its text does not parse.
 * @throws The reason of an aborted signal.
 */
export function prepare(
  options: unknown,
  defaults: unknown,
  nameOfDefaults: string = "defaults",
): Call {
  const written = new WrittenCall();
  if (options !== undefined) readBag(written, "options", options, false);
  if (written.transport !== undefined) checkFit(written);
  if (defaults !== undefined) readBag(written, nameOfDefaults, defaults, true);
  checkFit(written);
  const timeout = checkMilliseconds("timeout", written.timeout, Infinity);
  const delay = checkMilliseconds(
    "attemptDelay",
    written.attemptDelay,
    ATTEMPT_DELAY,
    LEAST_ATTEMPT_DELAY,
  );
  const signal = checkSignal("signal", written.signal);
  if (written.onSocket !== undefined) {
    checkFunction("onSocket", written.onSocket);
  }
  signal?.throwIfAborted();
  const c = libc();
  // Opening the library is not the target's time.
  const start = performance.now();
  const plan = planTarget(c, written);
  const recipe = recipeOf(c, written, plan.local);
  // What was read last may have run code of the caller's, too.
  signal?.throwIfAborted();
  return {
    c,
    plan,
    recipe,
    start,
    timeout,
    delay,
    signal,
    onSocket: (written.onSocket ?? null) as OnSocket | null,
  };
}

/**
 * Whether lookups, or other work, have taken all the time of a call. Without any
 * time, one attempt is made.
 */
export function hasNoTime({ start, timeout }: Call): boolean {
  return timeout > 0 && performance.now() >= start + timeout;
}

/**
 * Reads the own properties of a bag of options.
 *
 * @param isDefault Whether they are for many targets, so that what is written
 * already wins, and what is of no use to this one is left out.
 */
function readBag(
  written: WrittenCall,
  name: string,
  bag: unknown,
  isDefault: boolean,
): void {
  if (!isObject(bag)) throw notA("object", name, bag);
  for (const key in bag) {
    if (!Object.hasOwn(bag, key)) continue;
    const value = (bag as Record<string, unknown>)[key];
    if (!isWritten(written, key)) {
      throw unknownOption(name, key, value, CONNECT_KEYS);
    }
    if (value === undefined) continue;
    if (isDefault) {
      if (written[key] !== undefined) continue;
      if (written.transport !== undefined && !fits(written, key)) continue;
    }
    store(written, key, value);
  }
}

/** What says where to, and through what, by transport. */
const KEYS_BY_TRANSPORT: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["tcp", TARGET_KEYS.filter((key) => key !== "path" && key !== "cid")],
  ["unix", ["transport", "path"]],
  ["vsock", ["transport", "cid", "port"]],
]);

/** Whether a transport has any use for an option; one that is not known is refused later. */
function fits({ transport = "tcp" }: WrittenCall, key: string): boolean {
  const keys = KEYS_BY_TRANSPORT.get(transport);
  return keys === undefined || keys.includes(key) ||
    !TARGET_KEYS.includes(key as typeof TARGET_KEYS[number]);
}

/** Refuses what the transport has no use for. */
function checkFit(written: WrittenCall): void {
  const { transport = "tcp", path, cid } = written;
  if (transport === "tcp" && path === undefined && cid === undefined) return;
  for (const key of TARGET_KEYS) {
    const value = written[key];
    if (value === undefined || fits(written, key)) continue;
    throw own(
      new TypeError(
        `Cannot use options with ${key}: ${show(value)}: ` +
          `transport ${show(transport)} has no use for it`,
      ),
    );
  }
}

// What is in most calls goes by its name, for engines take longer to find and to
// store what a variable names.

function isWritten(
  written: WrittenCall,
  key: string,
): key is keyof WrittenCall {
  return key === "hostname" || key === "port" || Object.hasOwn(written, key);
}

function store(
  written: WrittenCall,
  key: keyof WrittenCall,
  value: unknown,
): void {
  if (key === "hostname") written.hostname = value;
  else if (key === "port") written.port = value;
  else written[key] = value;
}
