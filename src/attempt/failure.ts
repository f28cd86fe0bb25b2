/**
 * The error that the outcome of an attempt is to a caller.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { addressRoom } from "../../ffi/memory.ts";
import { performance } from "../../ffi/timers.ts";
import { type Address, decodeAddress } from "../address/address.ts";
import type { Caller, PublicFunction } from "../errors/caller.ts";
import {
  type ErrnoContext,
  type ErrnoError,
  errnoError,
  errnoErrorFor,
} from "../errors/errors.ts";
import { CLOSED } from "../reactor/reactor.ts";
import { type Attempt, DEADLINE, LATE, THROWN, thrownAt } from "./attempt.ts";
import { localAddress } from "./local_port.ts";

/** What an error is to say, which is made when its caller is known. */
export class Failure {
  readonly errno: number;
  readonly context: ErrnoContext;

  constructor(errno: number, context: ErrnoContext) {
    this.errno = errno;
    this.context = context;
  }
}

/** Makes the error for a failure. */
export function errorFor(
  { errno, context }: Failure,
  at?: Caller | PublicFunction,
): ErrnoError {
  return errnoErrorFor(errno, context, at);
}

/**
 * Collects all that is known of an attempt that has failed and still holds its
 * descriptor.
 *
 * @param start When the caller began, on the clock of `performance.now()`.
 * @param timeout The caller's limit, in milliseconds.
 * @param isBound Whether the caller has bound the socket.
 * @throws What the runtime has thrown, where that has ended the wait.
 */
export function failureOf(
  attempt: Attempt,
  start: number,
  timeout: number,
  isBound: boolean = attempt.recipe.local !== null,
): Failure {
  const { libc, errno, syscall, address } = attempt;
  if (errno === THROWN) throw thrownAt(attempt);
  if (syscall === "socket") return new Failure(errno, { syscall });
  if (syscall === "bind") return bindFailure(attempt);
  const text = address.toString();
  if (syscall !== "connect") {
    return new Failure(errno, { syscall, address: text });
  }
  // A hard error takes an address away again that the system chose.
  const isOpen = errno === DEADLINE || attempt.isSoft;
  // A descriptor that was given up may belong to another socket by now.
  const isKnown = isOpen || isBound && errno !== CLOSED;
  const context: ErrnoContext = {
    syscall,
    address: text,
    port: portField(address),
    localAddress: isKnown ? boundTo(libc, attempt.fd) : undefined,
    elapsed: performance.now() - start,
    icmp: attempt.icmp ?? undefined,
    soft: attempt.isSoft,
  };
  if (errno === CLOSED) return cancellation(libc, context);
  if (errno !== DEADLINE && errno !== LATE) return new Failure(errno, context);
  return overdue(libc, context, timeout, errno !== LATE);
}

/** The failure of what had no reply at its deadline, or had not begun by then. */
export function overdue(
  { abi }: Libc,
  context: ErrnoContext,
  timeout: number,
  hasBegun: boolean,
): Failure {
  const what = hasBegun ? "no answer" : "it could not begin";
  return new Failure(abi.errnos.ETIMEDOUT, {
    ...context,
    timeoutKind: "deadline",
    detail: `${what} within ${Math.round(timeout)} ms`,
  });
}

/** The port, where it is a matter of reading a field. */
function portField(address: Address): number | undefined {
  return address.family === "inet" || address.family === "inet6"
    ? address.port
    : undefined;
}

/** The failure of an attempt whose socket was closed or given away meanwhile. */
function cancellation({ abi }: Libc, context: ErrnoContext): Failure {
  const detail = CLOSED_MEANWHILE;
  return new Failure(abi.errnos.ECANCELED, { ...context, detail });
}

/** The error for a call whose socket was closed or given away meanwhile. */
export function canceled(
  syscall: string,
  context: object = {},
  at?: Caller | PublicFunction,
): ErrnoError {
  const detail = CLOSED_MEANWHILE;
  return errnoError("ECANCELED", { ...context, syscall, detail }, at);
}

const CLOSED_MEANWHILE = "the socket was closed meanwhile";

/** The failure of a connection whose two ends are the same. */
export function selfConnected(
  { libc, address }: Attempt,
  start: number,
): Failure {
  const text = address.toString();
  return new Failure(libc.abi.errnos.ECONNREFUSED, {
    syscall: "connect",
    address: text,
    localAddress: text,
    elapsed: performance.now() - start,
    detail: "nothing listens there, the socket connected to itself",
  });
}

/**
 * Whether a call found no port on this side to connect from. After a socket has
 * met itself, its port may be held a moment longer.
 */
export function lacksPort(
  { abi }: Libc,
  errno: number,
  syscall: string,
): boolean {
  const { EADDRINUSE, EADDRNOTAVAIL, EAGAIN } = abi.errnos;
  const isPort = errno === EADDRNOTAVAIL || errno === EADDRINUSE ||
    errno === EAGAIN;
  return isPort && (syscall === "connect" || syscall === "bind");
}

function bindFailure({ errno, syscall, address, recipe }: Attempt): Failure {
  const { address: host, port, range } = recipe.local!;
  const from = localAddress(address, host, port).toString();
  const subject = range === null
    ? undefined
    : `a port from ${range.low} to ${range.high}` +
      (host === null ? "" : ` of ${host.hostname}`);
  const context = subject === undefined
    ? { syscall, address: from }
    : { syscall, subject };
  return new Failure(errno, context);
}

/**
 * The local address of a socket that has a port or a path, as text. Nothing
 * that goes wrong here may hide what went wrong before.
 */
function boundTo(libc: Libc, fd: number): string | undefined {
  const length = fd < 0 ? -1 : libc.getsockname(fd, addressRoom);
  if (length < 0) return undefined;
  const { port } = libc.abi.sockaddrIn;
  // Most have neither port nor path, and the decoding is saved.
  return length < port + 2 ||
      (addressRoom[port] === 0 && addressRoom[port + 1] === 0)
    ? undefined
    : decodeAddress(addressRoom, length).toString();
}
