/**
 * The error that the outcome of an attempt is to a caller.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { performance } from "../../ffi/timers.ts";
import { decodeAddress } from "../address/address.ts";
import {
  type ErrnoContext,
  type ErrnoError,
  errnoError,
  errnoErrorFor,
} from "../errors/errors.ts";
import { CLOSED } from "../reactor/reactor.ts";
import { type Attempt, DEADLINE } from "./attempt.ts";
import { localAddress } from "./local_port.ts";

/** Room for an address; AIX has the longest. */
const name = newMemory(1025);

/**
 * Makes the error for an attempt that has failed and still holds its
 * descriptor, with all that is known.
 *
 * @param start When the caller began, on the clock of `performance.now()`.
 * @param timeout The caller's limit, in milliseconds.
 * @param isBound Whether the caller has bound the socket.
 */
export function failureOf(
  attempt: Attempt,
  start: number,
  timeout: number,
  isBound: boolean = attempt.recipe.local !== null,
): ErrnoError {
  const { libc, errno, syscall, address } = attempt;
  if (syscall === "socket") return errnoErrorFor(errno, { syscall });
  if (syscall === "bind") return bindError(attempt);
  const text = address.toString();
  if (syscall !== "connect") {
    return errnoErrorFor(errno, { syscall, address: text });
  }
  // A hard error takes an address away again that the system chose.
  const isOpen = errno === DEADLINE || attempt.isSoft;
  // And a descriptor that was given up may be somebody else's by now.
  const isKnown = isOpen || isBound && errno !== CLOSED;
  const context: ErrnoContext = {
    syscall,
    address: text,
    localAddress: isKnown ? boundTo(libc, attempt.fd) : undefined,
    elapsed: performance.now() - start,
    icmp: attempt.icmp ?? undefined,
    soft: attempt.isSoft,
  };
  if (errno === CLOSED) return canceled(syscall, context);
  if (errno !== DEADLINE) return errnoErrorFor(errno, context);
  return errnoError("ETIMEDOUT", {
    ...context,
    timeoutKind: "deadline",
    detail: `no answer within ${Math.round(timeout)} ms`,
  });
}

/** The error for a call whose socket was closed or given away meanwhile. */
export function canceled(syscall: string, context: object = {}): ErrnoError {
  return errnoError("ECANCELED", {
    ...context,
    syscall,
    detail: "the socket was closed meanwhile",
  });
}

/** The error for a connection whose two ends are the same. */
export function selfConnected(attempt: Attempt, start: number): ErrnoError {
  const text = attempt.address.toString();
  return errnoError("ECONNREFUSED", {
    syscall: "connect",
    address: text,
    localAddress: text,
    elapsed: performance.now() - start,
    detail: "nothing listens there, the socket connected to itself",
  });
}

function bindError({ errno, syscall, address, recipe }: Attempt): ErrnoError {
  const { address: host, port, range } = recipe.local!;
  const from = localAddress(address, host, port).toString();
  return errnoErrorFor(
    errno,
    range === null ? { syscall, address: from } : {
      syscall,
      subject: `a port from ${range.low} to ${range.high}` +
        (host === null ? "" : ` of ${host.hostname}`),
    },
  );
}

/**
 * The local address of a socket that has a port or a path, as text. Nothing
 * that goes wrong here may hide what went wrong before.
 */
function boundTo(libc: Libc, fd: number): string | undefined {
  const length = fd < 0 ? -1 : libc.getsockname(fd, name);
  if (length < 0) return undefined;
  const { port } = libc.abi.sockaddrIn;
  // Most have neither port nor path, and the decoding is saved.
  return length < port + 2 || (name[port] === 0 && name[port + 1] === 0)
    ? undefined
    : decodeAddress(name, length).toString();
}
