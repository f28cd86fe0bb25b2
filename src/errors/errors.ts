/**
 * What goes wrong, as exceptions: one class per errno, and the few failures
 * that have no errno.
 *
 * @module
 */
import type { EaiCode, ErrnoCode } from "../../ffi/abi.ts";
import { hostAbi } from "../../ffi/systems.ts";
import { lazily } from "../../ffi/lazy.ts";
import { currentAbi } from "../../ffi/libc.ts";

export type { EaiCode, ErrnoCode };

/**
 * An ICMP error, as a router, a firewall or the host itself sent it.
 *
 * Its numbers are those of ICMP for an IPv4 socket, and of ICMPv6 for an IPv6
 * one: 3 and 1 mean "host unreachable" in the one, 1 and 3 in the other.
 */
export interface Icmp {
  /** The type of the message. */
  readonly type: number;
  /** The code within the type. */
  readonly code: number;
  /** The address of who sent it, as text. */
  readonly from: string;
}

/** What is known of a failed call besides its errno. */
export interface ErrnoContext {
  /** The C function that failed: `"connect"`, `"bind"`, ... */
  readonly syscall: string;
  /** The address it was given, as text. */
  readonly address?: string | undefined;
  /** What it was about instead of an address: an option, a descriptor, ... */
  readonly subject?: string | undefined;
  /** The address on this side, as text, where one was known by then. */
  readonly localAddress?: string | undefined;
  /** Milliseconds from the start of the attempt to its failure. */
  readonly elapsed?: number | undefined;
  /** For ETIMEDOUT: whose patience ended. */
  readonly timeoutKind?: "deadline" | "kernel" | undefined;
  /** The ICMP error that ended the attempt, if one did. */
  readonly icmp?: Icmp | undefined;
  /** Stands in the message where the errno's own words would. */
  readonly detail?: string | undefined;
  /** Each attempt's own error, where several addresses were tried. */
  readonly errors?: readonly ErrnoError[] | undefined;
}

/** What an {@linkcode ErrnoError} tells of itself, as plain data. */
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
 * @example Telling a refusal from everything else
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
  /** The errno's name, or `"UNKNOWN"`. */
  readonly code: ErrnoCode | "UNKNOWN";
  /**
   * This system's number for it, positive as in C; Node's `error.errno` is the
   * same number negated. 0 if this system has no such errno.
   */
  readonly errno: number;
  /** The C function that failed. */
  readonly syscall: string;
  /** Each attempt's own error, where several addresses were tried. */
  readonly errors: readonly ErrnoError[];
  // The rest is absent where it is not known, so that a printed error shows no
  // more than there is to tell.
  /** The address it was given, as text. */
  declare readonly address: string | undefined;
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
   * Who said no, where a router or a firewall answered by ICMP: Linux 5.8 and
   * later. A refusal without it came as a reset from the peer itself, most
   * likely, since not every ICMP error arrives.
   */
  declare readonly icmp: Icmp | undefined;

  /**
   * Errors are made by failed calls; of a known errno, by its class.
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
    super(messageOf(code, errno, context));
    this.code = code;
    this.errno = errno;
    this.syscall = context.syscall;
    this.errors = context.errors ?? [];
    const { address, localAddress, elapsed, icmp } = context;
    const timeoutKind = context.timeoutKind ??
      (code === "ETIMEDOUT" ? "kernel" : undefined);
    if (address !== undefined) this.address = address;
    if (localAddress !== undefined) this.localAddress = localAddress;
    if (elapsed !== undefined) this.elapsed = elapsed;
    if (timeoutKind !== undefined) this.timeoutKind = timeoutKind;
    if (icmp !== undefined) this.icmp = icmp;
  }

  /**
   * All that it tells of itself, as plain data.
   *
   * `structuredClone` and `postMessage` keep an error's message and drop its
   * class and its fields, on every runtime. What this answers goes through them
   * unharmed, and through JSON, where it is asked for by itself.
   *
   * @returns The fields that are known, `name` and `message` among them.
   *
   * @example From a worker to whoever started it
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
    const { name, message, errors, ...rest } = this;
    const facts = { name, message, ...rest };
    return errors.length === 0
      ? facts
      : { ...facts, errors: errors.map((error) => error.toJSON()) };
  }

  static {
    this.prototype.name = "ErrnoError";
  }
}

/** Each errno's words in a message. */
const PHRASES: Readonly<Record<ErrnoCode, string>> = {
  E2BIG: "argument list too long",
  EACCES: "permission denied",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "address not available on this machine",
  EADV: "advertise error",
  EAFNOSUPPORT: "address family not supported",
  EAGAIN: "resource temporarily unavailable",
  EALREADY: "connection attempt already under way",
  EAUTH: "authentication error",
  EBADARCH: "wrong processor type in executable",
  EBADE: "invalid exchange",
  EBADEXEC: "bad executable",
  EBADF: "bad file descriptor",
  EBADFD: "file descriptor in bad state",
  EBADMACHO: "malformed Mach-O file",
  EBADMSG: "bad message",
  EBADR: "invalid request descriptor",
  EBADRPC: "RPC structure is bad",
  EBADRQC: "invalid request code",
  EBADSLT: "invalid slot",
  EBFONT: "bad font file format",
  EBUSY: "device or resource busy",
  ECANCELED: "operation canceled",
  ECAPMODE: "not permitted in capability mode",
  ECHILD: "no child process",
  ECHRNG: "channel number out of range",
  ECLONEME: "server must make a new stream",
  ECOMM: "communication error on send",
  ECONNABORTED: "connection aborted",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  ECORRUPT: "corruption detected",
  EDEADLK: "deadlock avoided",
  EDEADLOCK: "deadlock avoided",
  EDESTADDREQ: "destination address required",
  EDESTADDRREQ: "destination address required",
  EDEVERR: "device error",
  EDIST: "waits for an inode to be moved",
  EDOM: "argument out of domain",
  EDOOFUS: "programming error",
  EDOTDOT: "remote file share error",
  EDQUOT: "disk quota exceeded",
  EEXIST: "file exists",
  EFAULT: "bad address",
  EFBIG: "file too large",
  EFORMAT: "unformatted media",
  EFTYPE: "inappropriate file type or format",
  EHOSTDOWN: "host is down",
  EHOSTUNREACH: "host unreachable",
  EHWPOISON: "memory page has a hardware error",
  EIDRM: "identifier removed",
  EILSEQ: "illegal byte sequence",
  EINPROGRESS: "connection attempt in progress",
  EINTEGRITY: "integrity check failed",
  EINTR: "interrupted by a signal",
  EINVAL: "invalid argument",
  EIO: "input/output error",
  EIPSEC: "IPsec processing failure",
  EISCONN: "socket is already connected",
  EISDIR: "is a directory",
  EISNAM: "is a named type file",
  EKEYEXPIRED: "key has expired",
  EKEYREJECTED: "key was rejected",
  EKEYREVOKED: "key has been revoked",
  EL2HLT: "level 2 halted",
  EL2NSYNC: "level 2 not synchronized",
  EL3HLT: "level 3 halted",
  EL3RST: "level 3 reset",
  ELIBACC: "cannot access a shared library",
  ELIBBAD: "corrupted shared library",
  ELIBEXEC: "cannot run a shared library directly",
  ELIBMAX: "too many shared libraries",
  ELIBSCN: "corrupted section in a shared library",
  ELNRNG: "link number out of range",
  ELOCKUNMAPPED: "locked lock was unmapped",
  ELOOP: "too many symbolic links",
  EMEDIA: "media surface error",
  EMEDIUMTYPE: "wrong medium type",
  EMFILE: "too many files open in this process",
  EMLINK: "too many links",
  EMSGSIZE: "message too long",
  EMULTIHOP: "multihop attempted",
  ENAMETOOLONG: "name too long",
  ENAVAIL: "no semaphores available",
  ENEEDAUTH: "authentication needed",
  ENETDOWN: "network is down",
  ENETRESET: "connection dropped by the network",
  ENETUNREACH: "network unreachable",
  ENFILE: "too many files open in the system",
  ENOANO: "no anode",
  ENOATTR: "attribute not found",
  ENOBUFS: "no buffer space",
  ENOCONNECT: "no connection established",
  ENOCSI: "no CSI structure available",
  ENODATA: "no data available",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOEXEC: "cannot run the file",
  ENOKEY: "required key not available",
  ENOLCK: "no locks available",
  ENOLINK: "link has been severed",
  ENOMEDIUM: "no medium found",
  ENOMEM: "out of memory",
  ENOMSG: "no message of the desired type",
  ENONET: "machine is not on the network",
  ENOPKG: "package not installed",
  ENOPOLICY: "no such policy",
  ENOPROTOOPT: "socket option not available",
  ENOSPC: "no space left on device",
  ENOSR: "out of streams resources",
  ENOSTR: "not a stream",
  ENOSYS: "function not implemented",
  ENOTACTIVE: "facility not active",
  ENOTBLK: "block device required",
  ENOTCAPABLE: "capabilities insufficient",
  ENOTCONN: "socket is not connected",
  ENOTDIR: "a component of the path is not a directory",
  ENOTEMPTY: "directory not empty",
  ENOTNAM: "not a named type file",
  ENOTREADY: "device not ready",
  ENOTRECOVERABLE: "state not recoverable",
  ENOTRUST: "file is not trusted",
  ENOTSOCK: "not a socket",
  ENOTSUP: "not supported",
  ENOTTY: "inappropriate operation for the device",
  ENOTUNIQ: "name not unique on the network",
  ENXIO: "no such device or address",
  EOPNOTSUPP: "operation not supported on this socket",
  EOVERFLOW: "value too large",
  EOWNERDEAD: "owner died",
  EPERM: "operation not permitted",
  EPFNOSUPPORT: "protocol family not supported",
  EPIPE: "broken pipe",
  EPROCLIM: "too many processes",
  EPROCUNAVAIL: "bad procedure for program",
  EPROGMISMATCH: "program version wrong",
  EPROGUNAVAIL: "RPC program not available",
  EPROTO: "protocol error",
  EPROTONOSUPPORT: "protocol not supported",
  EPROTOTYPE: "wrong type of socket for the address",
  EPWROFF: "device power is off",
  EQFULL: "output queue is full",
  ERANGE: "result out of range",
  EREMCHG: "remote address changed",
  EREMOTE: "object is remote",
  EREMOTEIO: "remote input/output error",
  ERESTART: "interrupted call should be restarted",
  ERFKILL: "radio is switched off",
  EROFS: "read-only file system",
  ERPCMISMATCH: "RPC version wrong",
  ESAD: "security authentication denied",
  ESHLIBVERS: "shared library version mismatch",
  ESHUTDOWN: "socket is shut down",
  ESOCKTNOSUPPORT: "socket type not supported",
  ESOFT: "soft error corrected by retry",
  ESPIPE: "illegal seek",
  ESRCH: "no such process",
  ESRMNT: "srmount error",
  ESTALE: "stale file handle",
  ESTRPIPE: "streams pipe error",
  ESYSERROR: "unmapped system error",
  ETIME: "timer expired",
  ETIMEDOUT: "connection timed out",
  ETOOMANYREFS: "too many references",
  ETXTBSY: "text file busy",
  EUCLEAN: "structure needs cleaning",
  EUNATCH: "protocol driver not attached",
  EUSERS: "too many users",
  EWOULDBLOCK: "operation would block",
  EWRPROTECT: "write-protected media",
  EXDEV: "cross-device link",
  EXFULL: "exchange full",
};

/** An errno's words in a message, `undefined` for what is none. */
export function phraseOf(code: string): string | undefined {
  return Object.hasOwn(PHRASES, code) ? PHRASES[code as ErrnoCode] : undefined;
}

/** What a call was about to do, by its C name: with an address, and without. */
const ACTIONS: Readonly<Record<string, readonly [string, string]>> = {
  bind: ["bind to", "bind"],
  close: ["close", "close"],
  connect: ["connect to", "connect"],
  fcntl: ["change", "change the descriptor's flags"],
  getpeername: ["tell the peer of", "tell the peer's address"],
  getsockname: ["tell the name of", "tell the local address"],
  getsockopt: ["read", "read an option"],
  "if_nametoindex": ["find the interface of", "find the interface"],
  poll: ["poll", "poll"],
  recvfrom: ["receive from", "receive"],
  sendto: ["send to", "send"],
  setsockopt: ["set", "set an option"],
  shutdown: ["shut down", "shut down"],
  socket: ["open", "open a socket"],
};

function messageOf(
  code: ErrnoCode | "UNKNOWN",
  errno: number,
  { syscall, address, subject = address, detail }: ErrnoContext,
): string {
  const [verb, whole] = ACTIONS[syscall] ?? [syscall, syscall];
  const action = subject === undefined ? whole : `${verb} ${subject}`;
  const phrase = detail ??
    (code === "UNKNOWN" ? `unknown error ${errno}` : PHRASES[code]);
  return `Cannot ${action}: ${phrase} (${code})`;
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
  Object.defineProperty(errnoClass, "name", { value: own });
  errnoClass.prototype.name = `Errno.${own}`;
  return errnoClass;
}

/** The errors that stand for a failed call, as opposed to those made by hand. */
const answers = new WeakSet<object>();

type ErrnoNumbers = Readonly<Partial<Record<ErrnoCode, number>>>;

/** Each table's names by number, made when first needed. */
const namesOf = new WeakMap<ErrnoNumbers, Map<number, ErrnoCode>>();

/** Two names of one number on this system share a class. */
const classes: Readonly<Record<ErrnoCode, OwnErrnoClass>> = lazily(
  Object.keys(PHRASES) as ErrnoCode[],
  (code) => {
    const errnos = hostErrnos();
    const name = nameOf(errnos, errnos[code]) ?? code;
    return name === code ? classOf(code) : classes[name];
  },
);

function hostErrnos(): ErrnoNumbers {
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
 * Tells whether an error is of one errno.
 *
 * Looks at `code` alone, so that it also holds for those of the runtime's own
 * modules, and of another copy of this package.
 *
 * @param error Anything that was caught.
 * @param code The errno's name, or another name of the same number.
 * @returns Whether `error` is an error object with that code.
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
): error is Error & { readonly code: ErrnoAlias<C> } {
  if (!(error instanceof Error) || !("code" in error)) return false;
  const { code: own } = error;
  if (own === code) return true;
  return typeof own === "string" && own in classes &&
    classes[own as ErrnoCode] === classes[code];
}

/**
 * The name of an errno number on this system.
 *
 * @param errno A number as {@linkcode Socket.tryConnect} answers it.
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
  errnos: ErrnoNumbers,
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

/** The error for a number that the C library in force answered, positive. */
export function errnoErrorFor(
  errno: number,
  context: ErrnoContext,
): ErrnoError {
  const code = nameOf(currentAbi().errnos, errno);
  const error = code === undefined
    ? new ErrnoError("UNKNOWN", errno, context)
    : new classes[code](context, code, errno);
  answers.add(error);
  return error;
}

/**
 * Whether an error is what a call of this process came to, in which case the
 * library is open and there may be traces to be found; one that somebody has
 * made has neither.
 */
export function isAnswer(error: object): boolean {
  return answers.has(error);
}

/** The error for an errno by name, with the number it has here. */
export function errnoError(
  code: ErrnoCode,
  context: ErrnoContext,
): ErrnoError {
  const errno = currentAbi().errnos[code];
  return errno === undefined
    ? new classes[code](context, code, 0)
    : errnoErrorFor(errno, context);
}

/** Each failure of name resolution, in words. */
const LOOKUP_PHRASES: Readonly<Record<EaiCode, string>> = {
  EAI_ADDRFAMILY: "name has no address of this family",
  EAI_AGAIN: "name server did not answer, a later try may do",
  EAI_BADFLAGS: "invalid flags",
  EAI_BADHINTS: "invalid hints",
  EAI_FAIL: "name server failed",
  EAI_FAMILY: "address family not supported",
  EAI_MEMORY: "out of memory",
  EAI_NODATA: "name has no address",
  EAI_NONAME: "name does not resolve",
  EAI_OVERFLOW: "argument buffer too small",
  EAI_PROTOCOL: "protocol not known",
  EAI_SERVICE: "service not known for the socket type",
  EAI_SOCKTYPE: "socket type not supported",
  EAI_SYSTEM: "system error",
};

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
  /** The name that was asked for. */
  readonly hostname: string;

  /**
   * Made by a failed lookup.
   *
   * @param hostname The name that was asked for.
   * @param code The failure's name.
   * @param errno The failure's number.
   * @param cause What lies behind it.
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
      `Cannot resolve "${hostname}": ${phrase} (${code})`,
      cause === undefined ? undefined : { cause },
    );
    this.code = code;
    this.errno = errno;
    this.syscall = "getaddrinfo";
    this.hostname = hostname;
  }

  static {
    this.prototype.name = "LookupError";
  }
}

/** This system, its kernel or the runtime does not have what was asked for. */
export class NotSupportedError extends Error {
  /** What is missing. */
  readonly feature: string;
  /** The system that lacks it, or the runtime. */
  readonly os: string;

  /**
   * Made by whoever would have to use what is missing.
   *
   * @param feature What is missing.
   * @param os The system that lacks it, or the runtime.
   */
  constructor(feature: string, os: string) {
    super(`Cannot use ${feature}: not supported on ${os}`);
    this.feature = feature;
    this.os = os;
  }

  static {
    this.prototype.name = "NotSupportedError";
  }
}
