/**
 * What goes wrong, as exceptions: one class per errno, and the few failures
 * that have no errno.
 *
 * @module
 */
import type { EaiCode, ErrnoCode } from "../../ffi/abi.ts";
import { hostAbi } from "../../ffi/systems.ts";
import { bare, lazily } from "../../ffi/records.ts";
import { currentAbi } from "../../ffi/libc.ts";
import { LOST_ERRNO } from "../../ffi/contract.ts";
import {
  becomes,
  type Caller,
  callerOf,
  isUnpointed,
  own,
  pointAt,
  type PublicFunction,
  setHidden,
} from "./caller.ts";
import {
  actionOf,
  hintFor,
  LOOKUP_PHRASES,
  PHRASES,
  printable,
} from "./phrases.ts";

export type { EaiCode, ErrnoCode };

/**
 * An ICMP error, as a router, a firewall or the host itself sent it.
 *
 * Its numbers are those of ICMP over IPv4, which a mapped address is reached by,
 * too, and of ICMPv6 over IPv6: 3 and 1 mean "host unreachable" in the one, 1
 * and 3 in the other.
 */
export interface Icmp {
  /** The type of the message. */
  readonly type: number;
  /** The code within the type. */
  readonly code: number;
  /** The address of the sender, as text. */
  readonly from: string;
}

/** What is known of a failed call besides its errno. */
export interface ErrnoContext {
  /** The C function that failed: `"connect"`, `"bind"`, ... */
  readonly syscall: string;
  /** The address it was given, as text. */
  readonly address?: string | undefined;
  /**
   * The port of that address.
   *
   * @default {the number after the last colon of `address`}
   */
  readonly port?: number | undefined;
  /** What it was about instead of an address: an option, a descriptor, ... */
  readonly subject?: string | undefined;
  /** The address on this side, as text, where one was known by then. */
  readonly localAddress?: string | undefined;
  /** Milliseconds from the start of the attempt to its failure. */
  readonly elapsed?: number | undefined;
  /** For ETIMEDOUT: whether the caller's deadline passed or the kernel gave up. */
  readonly timeoutKind?: "deadline" | "kernel" | undefined;
  /** Whether the kernel would have gone on trying. */
  readonly soft?: boolean | undefined;
  /** The ICMP error that ended the attempt, if one did. */
  readonly icmp?: Icmp | undefined;
  /** For `sendAll`: how many bytes the system had taken by then. */
  readonly bytesSent?: number | undefined;
  /** Stands in the message where the errno's own words would. */
  readonly detail?: string | undefined;
  /** Each attempt's own error, where several addresses were tried. */
  readonly errors?: readonly ErrnoError[] | undefined;
}

/** What an {@linkcode ErrnoError} holds, as plain data. */
export interface ErrnoFacts
  extends Omit<ErrnoContext, "subject" | "detail" | "errors"> {
  /** The name of its class: `"Errno.ECONNREFUSED"`. */
  readonly name: string;
  /** What happened, in one line. */
  readonly message: string;
  /** The errno's name, or `"UNKNOWN"`. */
  readonly code: ErrnoCode | "UNKNOWN";
  /** The number that it had on the system it came from. */
  readonly errno: number;
  /** The same of each attempt, where several addresses were tried. */
  readonly errors?: readonly ErrnoFacts[] | undefined;
}

/** The names by which one system's number may be called. */
export type ErrnoAlias<C extends ErrnoCode> = C extends "EAGAIN" | "EWOULDBLOCK"
  ? "EAGAIN" | "EWOULDBLOCK"
  : C extends "ENOTSUP" | "EOPNOTSUPP" ? "ENOTSUP" | "EOPNOTSUPP"
  : C extends "EDEADLK" | "EDEADLOCK" ? "EDEADLK" | "EDEADLOCK"
  : C extends "EEXIST" | "ENOTEMPTY" ? "EEXIST" | "ENOTEMPTY"
  : C extends "ERESTART" | "ECLONEME" ? "ERESTART" | "ECLONEME"
  : C extends "EDESTADDRREQ" | "EDESTADDREQ" ? "EDESTADDRREQ" | "EDESTADDREQ"
  : C;

/** An {@linkcode ErrnoError} of one errno. */
export interface ErrnoErrorOf<C extends ErrnoCode> extends ErrnoError {
  /** The errno's name, or the other name of the same number. */
  readonly code: ErrnoAlias<C>;
}

/** The class of one errno, for `instanceof`. */
export interface ErrnoClass<C extends ErrnoCode> {
  /** Makes such an error, for code under test that has to meet one. */
  new (context: ErrnoContext): ErrnoErrorOf<C>;
  /** What its instances inherit from. */
  readonly prototype: ErrnoErrorOf<C>;
}

/**
 * A system call failed.
 *
 * Each errno has a class of its own, {@linkcode Errno}`.ECONNREFUSED` and so
 * on, all of them subclasses of this one. A number that no table knows is a
 * plain `ErrnoError` with the code `"UNKNOWN"`; its number is kept.
 *
 * @example A refusal, and every other failure
 * ```ts
 * import { connectSync, Errno } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * listener.close();
 * try {
 *   connectSync({ hostname: "127.0.0.1", port });
 * } catch (error) {
 *   if (!(error instanceof Errno.ECONNREFUSED)) throw error;
 *   assertEquals(error.code, "ECONNREFUSED");
 *   assertEquals(error.address, `127.0.0.1:${port}`);
 * }
 * ```
 */
export class ErrnoError extends Error {
  // Nothing is initialized here: an error that points at its caller is not made
  // by a constructor. What is not known is absent, so that a printed error shows
  // what is known and no more.
  /** The errno's name, or `"UNKNOWN"`. */
  declare readonly code: ErrnoCode | "UNKNOWN";
  /**
   * This system's number for it, positive as in C; Node's `error.errno` is the
   * same number negated. 0 if this system has no such errno.
   */
  declare readonly errno: number;
  /** The C function that failed. */
  declare readonly syscall: string;
  /** Each attempt's own error, where several addresses were tried. */
  declare readonly errors: readonly ErrnoError[];
  /** The address it was given, as text, with its port. */
  declare readonly address: string | undefined;
  /** The port of that address as a number, where it has one. */
  declare readonly port: number | undefined;
  /** The address on this side, as text, where one was known by then. */
  declare readonly localAddress: string | undefined;
  /** Milliseconds from the start of the attempt to its failure. */
  declare readonly elapsed: number | undefined;
  /**
   * For ETIMEDOUT: `"deadline"` if the caller's `timeout` ended it, `"kernel"`
   * if the system gave up by itself.
   */
  declare readonly timeoutKind: "deadline" | "kernel" | undefined;
  /**
   * Whether the kernel would have gone on trying: an ICMP error that came while
   * connect(2) still held the socket is soft on Linux, and ends an attempt only
   * because `softErrors` is `"fail"`, or because nothing better came until its
   * deadline.
   */
  declare readonly soft: boolean;
  /**
   * The ICMP error of a router, a firewall or the peer's kernel that ended the
   * attempt: Linux 5.8 and later. A refusal without it came as a reset from the
   * peer itself, most likely, since not every ICMP error arrives. A
   * {@linkcode Socket} that the caller connects over IPv6 needs `readErrorQueue`.
   */
  declare readonly icmp: Icmp | undefined;
  /**
   * For {@linkcode Socket.sendAll}: how many bytes the system had taken when it
   * failed. The peer has received no more than these, and maybe fewer.
   */
  declare readonly bytesSent: number | undefined;

  /**
   * What to look at first, in one line, after a failed connect.
   * {@linkcode explain} says more, and takes into account all that this error
   * holds.
   */
  declare readonly hint: string | undefined;

  /**
   * Failed calls make these errors. For a known errno, use its class of
   * {@linkcode Errno}.
   *
   * @param code The errno's name, or `"UNKNOWN"`.
   * @param errno Its number on this system.
   * @param context What else is known.
   */
  constructor(
    code: ErrnoCode | "UNKNOWN",
    errno: number,
    context: ErrnoContext,
  ) {
    const known = ownOf(context);
    super(messageOf(code, errno, known));
    describe(this, code, errno, known);
  }

  /**
   * Returns all that is known as plain data.
   *
   * `structuredClone` and `postMessage` keep an error's message and drop its
   * class and its fields, on every runtime. What this returns goes through them
   * unharmed, and through JSON, which calls this method by itself.
   *
   * @returns The fields that are known, `name` and `message` among them, and
   * `hint` not.
   *
   * @example From a worker to the thread that started it
   * ```ts
   * import { Errno } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const error = new Errno.ECONNREFUSED({ syscall: "connect" });
   * const received = structuredClone(error.toJSON());
   * assertEquals(received.code, "ECONNREFUSED");
   * assertEquals(received.errno, error.errno);
   * ```
   */
  toJSON(): ErrnoFacts {
    const { name, message, errors } = this;
    const { hint: _, ...known } = this;
    const facts = { ...known, name, message };
    return errors.length === 0
      ? facts
      : { ...facts, errors: errors.map((error) => error.toJSON()) };
  }

  static {
    const { prototype } = this;
    setHidden(prototype, "name", "ErrnoError");
    // JavaScriptCore makes none where all frames are this package's, and makes
    // the text of any when it is asked whether there is one.
    Object.defineProperty(prototype, "stack", {
      get(this: Error) {
        return `${this.name}: ${this.message}`;
      },
      set(this: Error, stack: unknown) {
        setHidden(this, "stack", stack);
      },
      configurable: true,
    });
    // Where there is none of it, these do not show in a printed error either.
    const none: { soft: boolean; errors: readonly ErrnoError[] } = prototype;
    none.soft = false;
    none.errors = Object.freeze([]);
  }
}

/**
 * What a context itself says: most of it is absent most of the time, and then
 * somebody may have put it into the prototype of all objects.
 */
function ownOf(context: ErrnoContext): ErrnoContext {
  return bare({ ...context });
}

/** An error while its fields are filled in. */
type Draft = { -readonly [K in keyof ErrnoError]: ErrnoError[K] };

/** Fills in the fields of an error. */
function describe(
  error: Draft,
  code: ErrnoCode | "UNKNOWN",
  errno: number,
  context: ErrnoContext,
): void {
  const { address, localAddress, elapsed, soft, icmp, errors } = context;
  const { bytesSent } = context;
  const port = context.port ?? portIn(address);
  const timeoutKind = context.timeoutKind ??
    (code === "ETIMEDOUT" ? "kernel" : undefined);
  error.code = code;
  error.errno = errno;
  error.syscall = context.syscall;
  if (address !== undefined) error.address = address;
  if (port !== undefined) error.port = port;
  if (localAddress !== undefined) error.localAddress = localAddress;
  if (elapsed !== undefined) error.elapsed = elapsed;
  if (timeoutKind !== undefined) error.timeoutKind = timeoutKind;
  if (soft) error.soft = true;
  if (icmp !== undefined) error.icmp = icmp;
  if (bytesSent !== undefined) error.bytesSent = bytesSent;
  if (errors !== undefined && errors.length > 0) error.errors = errors;
  const hint = hintOf(code, context);
  if (hint !== undefined) error.hint = hint;
}

/** What to look at first. What fails by other calls has other reasons. */
function hintOf(
  code: string,
  { syscall, icmp, soft, timeoutKind }: ErrnoContext,
): string | undefined {
  if (syscall !== "connect" && syscall !== "socket") return undefined;
  if (icmp !== undefined || soft) return HINT_BY_ICMP;
  return hintFor(timeoutKind === "deadline" ? "DEADLINE" : code);
}

/** Neither a listener nor the peer's kernel is what an errno means then. */
const HINT_BY_ICMP =
  "An ICMP error ended it, which a router or a firewall sends: `explain(error)` says whose it is.";

/** The port at the end of an address. */
function portIn(address: string | undefined): number | undefined {
  if (address === undefined) return undefined;
  const digits = PORT_AT_END.exec(address)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** A path may end like a port, and so may bytes. */
const PORT_AT_END = /^(?!unix:|raw:).*:(\d{1,10})$/;

function messageOf(
  code: ErrnoCode | "UNKNOWN",
  errno: number,
  { syscall, address, subject, detail, icmp }: ErrnoContext,
): string {
  const action = actionOf(syscall, subject, address);
  const phrase = detail === undefined
    ? phraseFor(code, errno)
    : printable(detail);
  // Not the peer, most likely: the message alone has to say so.
  const source = icmp === undefined || detail !== undefined
    ? ""
    : ` according to ${icmp.from}`;
  return `Cannot ${action}: ${phrase}${source} (${code})`;
}

function phraseFor(code: ErrnoCode | "UNKNOWN", errno: number): string {
  if (code !== "UNKNOWN") return PHRASES[code];
  return errno === LOST_ERRNO
    ? "it failed and gave no reason"
    : `unknown error ${errno}`;
}

/** The constructor behind {@linkcode ErrnoClass}, with what only we pass. */
type OwnErrnoClass = new (
  context: ErrnoContext,
  code?: ErrnoCode,
  errno?: number,
) => ErrnoError;

function classOf(own: ErrnoCode): OwnErrnoClass {
  const errnoClass = class extends ErrnoError {
    constructor(
      context: ErrnoContext,
      code: ErrnoCode = own,
      errno: number = hostErrnos()[own] ?? 0,
    ) {
      super(code, errno, context);
    }
  };
  Object.defineProperty(errnoClass, "name", bare({ value: own }));
  setHidden(errnoClass.prototype, "name", `Errno.${own}`);
  return errnoClass;
}

/** A constructor whose instance is the object that it is handed. */
const Given = function (object: object): object {
  return object;
} as unknown as new (object: object) => object;

/**
 * The mark of the errors of failed calls, as opposed to those made by hand: a
 * private field, which takes an error nanoseconds where a `WeakSet` takes a
 * tenth of a microsecond and the garbage collector's time.
 */
class CallMark extends Given {
  readonly #isOfCall: boolean = true;

  static isOn(error: object): boolean {
    return #isOfCall in error;
  }
}

type NumbersByName = Readonly<Partial<Record<ErrnoCode, number>>>;

/** Each table's names by number, made when first needed. */
const namesOf = new WeakMap<NumbersByName, Map<number, ErrnoCode>>();

/** Two names of one number on this system share a class. */
const classes: Readonly<Record<ErrnoCode, OwnErrnoClass>> = lazily(
  Object.keys(PHRASES) as ErrnoCode[],
  (code) => {
    const errnos = hostErrnos();
    const name = nameOf(errnos, errnos[code]) ?? code;
    return name === code ? classOf(code) : classes[name];
  },
);

function hostErrnos(): NumbersByName {
  return hostAbi()?.errnos ?? {};
}

/**
 * One exception class per errno, named by it.
 *
 * Every errno of every known system is here, so that a program can name one
 * that the system it runs on lacks. Where a system gives two names to one
 * number, such as EAGAIN and EWOULDBLOCK, both stand for the same class, and
 * `code` is the first of them.
 *
 * @example Retrying what a later attempt may mend
 * ```ts
 * import { Errno } from "@einprogress/connect";
 * import { assert } from "@std/assert";
 *
 * function isWorthAnotherTry(error: unknown): boolean {
 *   return error instanceof Errno.ECONNREFUSED ||
 *     error instanceof Errno.ETIMEDOUT;
 * }
 *
 * assert(isWorthAnotherTry(new Errno.ETIMEDOUT({ syscall: "connect" })));
 * ```
 */
export const Errno: { readonly [C in ErrnoCode]: ErrnoClass<C> } =
  classes as unknown as { readonly [C in ErrnoCode]: ErrnoClass<C> };

/**
 * Returns whether an error is an {@linkcode ErrnoError} of one errno.
 *
 * Errors of another copy of this package count, too. The errors of a runtime's
 * own modules have codes with the same names and none of the other fields; for
 * them compare `error.code`.
 *
 * @param error Anything that was caught.
 * @param code The errno's name, or another name of the same number.
 * @returns Whether `error` is an `ErrnoError` with that code.
 *
 * @example Without the class at hand
 * ```ts
 * import { Errno, isErrno } from "@einprogress/connect";
 * import { assert } from "@std/assert";
 *
 * const error: unknown = new Errno.ENETUNREACH({ syscall: "connect" });
 * assert(isErrno(error, "ENETUNREACH"));
 * assert(!isErrno(error, "EHOSTUNREACH"));
 * ```
 */
export function isErrno<C extends ErrnoCode>(
  error: unknown,
  code: C,
): error is ErrnoErrorOf<C> {
  if (!isErrnoError(error)) return false;
  const { code: own } = error;
  if (own === code) return true;
  return Object.hasOwn(PHRASES, own) &&
    classes[own as ErrnoCode] === classes[code];
}

/** Whether an error is an ErrnoError, of this copy of the package or another. */
function isErrnoError(error: unknown): error is ErrnoError {
  try {
    if (error instanceof ErrnoError) return true;
    if (!(error instanceof Error)) return false;
    const { name, code } = error as Partial<ErrnoError>;
    return typeof code === "string" && name === `Errno.${code}`;
  } catch {
    // A proxy, or a getter, that says nothing of itself.
    return false;
  }
}

/**
 * Returns the name of an errno number on this system.
 *
 * @param errno A number as {@linkcode Socket.tryConnect} returns it.
 * @returns Its name, `"UNKNOWN"` if this system has no such errno.
 *
 * @example On Linux
 * ```ts
 * import { errnoName } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * if (Deno.build.os === "linux") assertEquals(errnoName(111), "ECONNREFUSED");
 * ```
 */
export function errnoName(errno: number): ErrnoCode | "UNKNOWN" {
  return nameOf(currentAbi().errnos, errno) ?? "UNKNOWN";
}

/** The first name that a table lists for a number. */
export function nameOf(
  errnos: NumbersByName,
  errno: number | undefined,
): ErrnoCode | undefined {
  if (errno === undefined) return undefined;
  let names = namesOf.get(errnos);
  if (names === undefined) {
    names = new Map();
    for (const [code, number] of Object.entries(errnos)) {
      if (!names.has(number)) names.set(number, code as ErrnoCode);
    }
    namesOf.set(errnos, names);
  }
  return names.get(errno);
}

/**
 * Makes the error for an errno that the C library in force has returned.
 *
 * @param errno The number, positive.
 * @param context What else is known.
 * @param at The caller to point at; without one, the stack begins here.
 */
export function errnoErrorFor(
  errno: number,
  context: ErrnoContext,
  at?: Caller | PublicFunction,
): ErrnoError {
  const code = nameOf(currentAbi().errnos, errno);
  return code === undefined
    ? newError(ErrnoError, "UNKNOWN", errno, context, at)
    : newError(classes[code], code, errno, context, at);
}

/** Makes the error for an errno by name, with the number that it has here. */
export function errnoError(
  code: ErrnoCode,
  context: ErrnoContext,
  at?: Caller | PublicFunction,
): ErrnoError {
  const errno = currentAbi().errnos[code];
  return errno === undefined
    ? newError(classes[code], code, 0, context, at)
    : errnoErrorFor(errno, context, at);
}

function newError(
  { prototype }: { readonly prototype: ErrnoError },
  code: ErrnoCode | "UNKNOWN",
  errno: number,
  context: ErrnoContext,
  at?: Caller | PublicFunction,
): ErrnoError {
  const known = ownOf(context);
  const message = messageOf(code, errno, known);
  const caller = typeof at === "object"
    ? at
    : callerOf(at ?? newError, message);
  if (typeof at === "object") at.message = message;
  const error = becomes(caller, prototype);
  if (at === undefined) own(error);
  describe(error, code, errno, known);
  new CallMark(error);
  return error;
}

/**
 * The error that a public function throws for one that came from inside it.
 *
 * One of this package is made to point at the function's caller, unless it does
 * point at one already: at the caller of a public function that was called from
 * a function of the program, for example. All others are left alone.
 *
 * @param error What was caught.
 * @param at The caller that was kept, or the public function that is running.
 */
export function pointed(
  error: unknown,
  at: Caller | PublicFunction,
): unknown {
  if (!isUnpointed(error)) return error;
  const thrown = pointAt(error, at);
  if (isOfCall(error) && thrown !== error) new CallMark(thrown);
  return thrown;
}

/**
 * Whether a call of this process has failed with an error, in which case the
 * library is open and there may be traces to be found; what was made by hand
 * has neither.
 */
export function isOfCall(error: object): boolean {
  return CallMark.isOn(error);
}

/**
 * A host name could not be resolved.
 *
 * These failures have names of their own in `<netdb.h>` and are no errnos,
 * except that `EAI_SYSTEM` has one behind it, which is the `cause`.
 */
export class LookupError extends Error {
  /** The name that `<netdb.h>` gives the failure, or `"UNKNOWN"`. */
  readonly code: EaiCode | "UNKNOWN";
  /** Its number on this system; negative on some systems. */
  readonly errno: number;
  /** Always `"getaddrinfo"`. */
  readonly syscall: "getaddrinfo";
  /** The name, as it was given. */
  readonly hostname: string;
  /** What to look at first, in one line. */
  declare readonly hint: string | undefined;

  /**
   * Made by a failed lookup.
   *
   * @param hostname The name, as it was given.
   * @param code The failure's name.
   * @param errno The failure's number.
   * @param cause The reason behind it.
   */
  constructor(
    hostname: string,
    code: EaiCode | "UNKNOWN",
    errno: number,
    cause?: unknown,
  ) {
    const phrase = code === "UNKNOWN"
      ? `unknown error ${errno}`
      : LOOKUP_PHRASES[code];
    super(
      `Cannot resolve "${printable(hostname)}": ${phrase} (${code})`,
      cause === undefined ? undefined : { cause },
    );
    this.code = code;
    this.errno = errno;
    this.syscall = "getaddrinfo";
    this.hostname = hostname;
    const hint = hintFor(code);
    if (hint !== undefined) Object.assign(this, { hint });
  }

  /**
   * Returns all that is known as plain data, as {@linkcode ErrnoError.toJSON}
   * does; JSON calls this method by itself.
   *
   * @returns The fields, `name` and `message` among them, and `hint` not; `cause`
   * if it is an {@linkcode ErrnoError}.
   *
   * @example From a worker to the thread that started it
   * ```ts
   * import { LookupError } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const error = new LookupError("example.test", "EAI_AGAIN", -3);
   * const received = structuredClone(error.toJSON());
   * assertEquals(received.code, "EAI_AGAIN");
   * assertEquals(received.message, error.message);
   * ```
   */
  toJSON():
    & Pick<
      LookupError,
      "name" | "message" | "code" | "errno" | "syscall" | "hostname"
    >
    & { readonly cause?: ErrnoFacts } {
    const { name, message, code, errno, syscall, hostname, cause } = this;
    const facts = { name, message, code, errno, syscall, hostname };
    return cause instanceof ErrnoError
      ? { ...facts, cause: cause.toJSON() }
      : facts;
  }

  static {
    setHidden(this.prototype, "name", "LookupError");
  }
}

/** This system, its kernel or the runtime does not have what was asked for. */
export class NotSupportedError extends Error {
  /** What is missing. */
  readonly feature: string;
  /** What lacks it: a system (`"darwin"`) or a runtime (`"Bun"`). */
  readonly platform: string;

  /**
   * Made by functions that would have to use what is missing.
   *
   * @param feature What is missing.
   * @param platform The system that lacks it, or the runtime.
   */
  constructor(feature: string, platform: string) {
    super(`Cannot use ${printable(feature)}: not supported on ${platform}`);
    this.feature = feature;
    this.platform = platform;
  }

  static {
    setHidden(this.prototype, "name", "NotSupportedError");
  }
}
