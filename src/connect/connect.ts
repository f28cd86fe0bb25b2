/**
 * From a name or an address to a connected socket.
 *
 * @module
 */
import { performance } from "../../ffi/timers.ts";
import { deadlinePassed } from "../address/lookup.ts";
import { errorFor, Failure, overdue } from "../attempt/failure.ts";
import {
  type Caller,
  construct,
  keepCaller,
  type PublicFunction,
  releaseCaller,
} from "../errors/caller.ts";
import { pointed } from "../errors/errors.ts";
import { yieldIfDue } from "../reactor/turns.ts";
import type { Socket } from "../socket/socket.ts";
import {
  type Call,
  type ConnectDefaults,
  type ConnectOptions,
  hasNoTime,
  prepare,
} from "./call.ts";
import { AsyncDial, dialSync } from "./dials.ts";
import { findSync, Race, raceSync } from "./race.ts";

export type { ConnectDefaults, ConnectOptions } from "./call.ts";

/**
 * Connects to a name or an address, and returns when the connection is
 * established.
 *
 * Blocks the calling thread. A host name is resolved as {@linkcode lookupSync}
 * does, which on some systems cannot interrupt a lookup at the deadline, and
 * its addresses are tried as {@linkcode connect} tries them. The socket is a
 * blocking one, has close-on-exec set, and on failure no descriptor is left
 * behind.
 *
 * On Deno the program needs the `ffi` permission and those that `Deno.connect`
 * would need: `net` for the host and port, `read` and `write` for a path.
 *
 * C: `getaddrinfo_a(3)` or `getaddrinfo(3)`, `socket(2)`, `connect(2)`; if it
 * has to wait, `poll(2)`, `getsockopt(2)` with `SO_ERROR`, `getpeername(2)`.
 *
 * @param options Where to, and how.
 * @param defaults The same for many targets; `options` wins over it.
 * @returns The connected socket. The caller owns it and closes it.
 * @throws {ErrnoError} The class of the errno: {@linkcode Errno}`.ECONNREFUSED`
 * and so on; `ETIMEDOUT` with `timeoutKind` `"deadline"` if `timeout` passed.
 * Where several addresses failed, `errors` has each one's own, and the class is
 * that of the error that says most.
 * @throws {LookupError} If the name does not resolve.
 * @throws {TypeError} If an argument is of the wrong kind, or the transport has no
 * use for one of the options.
 * @throws {RangeError} If a number is out of range.
 * @throws {SyntaxError} If a text does not parse.
 * @throws {DOMException} The reason of `signal`, if it is aborted before the
 * call, or by `onSocket`: an `AbortError`, unless `abort()` was given another
 * reason.
 * @throws {Error} The runtime's own error, if the program may not connect there.
 *
 * @example Reaching a local listener
 * ```ts
 * import { connectSync } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * using socket = connectSync({ hostname: "127.0.0.1", port, timeout: 1000 });
 * assertEquals(`${socket.remoteAddress}`, `127.0.0.1:${port}`);
 * ```
 */
export function connectSync(
  options: ConnectOptions,
  defaults?: ConnectDefaults,
): Socket {
  let end: Socket | Failure;
  try {
    end = connectBlocking(prepare(options, defaults));
  } catch (error) {
    throw pointed(error, connectSync);
  }
  if (end instanceof Failure) {
    // `callerOf` does the same with one more frame of ours, and each takes as
    // long to walk as one of the caller's.
    throw errorFor(end, construct(Error, [""], connectSync));
  }
  return end;
}

/**
 * Connects while the thread waits. V8 compiles a function for its returns, and
 * not for what it throws: a refusal is returned here.
 */
function connectBlocking(call: Call): Socket | Failure {
  const { address, host } = call.plan;
  if (address !== null) return dialSync(call, address);
  const addresses = findSync(call, host!);
  return addresses.length === 1
    ? dialSync(call, addresses[0]!)
    : raceSync(call, addresses);
}

/**
 * Connects to a name or an address, and resolves when the connection is
 * established.
 *
 * Never blocks the thread: any number of attempts wait together. A host name is
 * resolved as {@linkcode lookup} does, and its addresses are tried as they
 * arrive, by RFC 8305 (Happy Eyeballs): the families take turns, and the next
 * attempt starts after `attemptDelay`, or as soon as one has failed, or sooner
 * if `timeout` leaves less time for all. The first to succeed wins, and the
 * others are closed. Nothing is sent after the deadline. The socket is
 * non-blocking and has close-on-exec set. An attempt that fails, is aborted or
 * succeeds too late leaves no descriptor behind.
 *
 * On Deno it needs the permissions that {@linkcode connectSync} needs.
 *
 * C: `getaddrinfo_a(3)` or `getaddrinfo(3)`, `socket(2)`, `connect(2)`,
 * `poll(2)` or `epoll(7)`, `getsockopt(2)` with `SO_ERROR`, `getpeername(2)`.
 *
 * @param options Where to, and how.
 * @param defaults The same for many targets; `options` wins over it.
 * @returns The connected socket. The caller owns it and closes it.
 * @throws {ErrnoError} The class of the errno: {@linkcode Errno}`.ECONNREFUSED`
 * and so on; `ETIMEDOUT` with `timeoutKind` `"deadline"` if `timeout` passed.
 * Where several addresses failed, `errors` has each one's own, and the class is
 * that of the error that says most.
 * @throws {LookupError} If the name does not resolve.
 * @throws {TypeError} If an argument is of the wrong kind, or the transport has no
 * use for one of the options.
 * @throws {RangeError} If a number is out of range.
 * @throws {SyntaxError} If a text does not parse.
 * @throws {DOMException} The reason of `signal`, once it is aborted: an
 * `AbortError`, unless `abort()` was given another reason.
 * @throws {Error} The runtime's own error, if the program may not connect there.
 *
 * @example Many at once
 * ```ts
 * import { connect } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * const sockets = await Promise.all(
 *   Array.from({ length: 100 }, () => connect({ port, timeout: 1000 })),
 * );
 * assertEquals(sockets.length, 100);
 * for (const socket of sockets) socket.close();
 * ```
 */
export function connect(
  options: ConnectOptions,
  defaults?: ConnectDefaults,
): Promise<Socket> {
  try {
    const call = prepare(options, defaults);
    const { c, plan, signal } = call;
    // Attempts that take time bring the event loop its turns by themselves.
    const turn = plan.pace.isQuick ? yieldIfDue(c) : null;
    if (turn === null) {
      const connecting = beginCall(call, null, connect);
      return connecting;
    }
    const caller = keepCaller(connect);
    return turn.then(function later() {
      if (signal?.aborted) {
        releaseCaller(caller);
        throw signal.reason;
      }
      if (hasNoTime(call)) {
        releaseCaller(caller);
        throw pointed(lateError(call), caller ?? later);
      }
      const connecting = beginCall(call, caller, later);
      return connecting;
    });
  } catch (error) {
    return Promise.reject(pointed(error, connect));
  }
}

/** The error for a call that had no time left to begin. */
function lateError({ c, plan, start, timeout }: Call): Error {
  const { address, host, source } = plan;
  const first = address ?? (Array.isArray(source) ? source[0]! : null);
  if (first === null) return deadlinePassed(host!, start, start + timeout);
  const context = {
    syscall: "connect",
    address: first.toString(),
    elapsed: performance.now() - start,
  };
  return errorFor(overdue(c, context, timeout, false));
}

/**
 * Begins what a call is to do.
 *
 * @param caller The caller, if it was kept.
 * @param at A function of ours that is running.
 */
export function beginCall(
  call: Call,
  caller: Caller | null,
  at: PublicFunction,
): Promise<Socket> {
  const { address, pace } = call.plan;
  return address === null
    ? new Race(call).run(caller, at)
    : new AsyncDial(call, address).run(pace, caller, at);
}
