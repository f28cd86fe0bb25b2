/**
 * What a socket knows of its attempts to connect.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { addressRoom } from "../../ffi/memory.ts";
import { performance } from "../../ffi/timers.ts";
import { type Address, bytesOf, unspecified } from "../address/address.ts";
import {
  AGAIN,
  Attempt,
  isUnderWay,
  PATIENT,
  PENDING,
  Phase,
  PLAIN,
  SELF_CONNECT_RETRIES,
} from "../attempt/attempt.ts";
import { flagsOf, setFlags } from "../attempt/descriptor.ts";
import {
  canceled,
  errorFor,
  Failure,
  failureOf,
  lacksPort,
  selfConnected,
} from "../attempt/failure.ts";
import { takeIcmp } from "../attempt/icmp.ts";
import { familyOf, pollFd, takeErrno } from "../attempt/outcome.ts";
import { type ErrnoError, errnoErrorFor, type Icmp } from "../errors/errors.ts";
import { show } from "../errors/arguments.ts";
import {
  keepCaller,
  own,
  type PublicFunction,
  releaseCaller,
} from "../errors/caller.ts";
import { ABORTED, CLOSED } from "../reactor/reactor.ts";
import { yieldIfDue } from "../reactor/turns.ts";

/** What is asked of one attempt. */
export interface Errand {
  /** Where to: what the permission was given for. */
  readonly target: Address;
  readonly start: number;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
  readonly waitsSoft: boolean;
}

/** An attempt on a socket that a caller holds. */
class SocketAttempt extends Attempt {
  #whenEnded: (() => void) | null = null;

  /** Waits, and calls back in the very turn in which the attempt ends. */
  waitFor(whenEnded: () => void): void {
    this.#whenEnded = whenEnded;
    this.wait();
  }

  ended(): void {
    this.#whenEnded!();
  }
}

/** What is known of a descriptor when a socket takes it. */
export const Past = {
  /** Nothing. */
  ADOPTED: 0,
  /** Calls on it wait. */
  BLOCKING: 1,
  /** Calls on it do not wait. */
  NONBLOCKING: 2,
  /** Nor do these, and the reactor may know it. */
  WAITED: 3,
} as const;

/** What is known of a descriptor when a socket takes it. */
export type Past = (typeof Past)[keyof typeof Past];

/** What a socket is made of. */
export type Parts = [
  libc: Libc,
  fd: number,
  family: number,
  type: number,
  past: Past,
  connecting: Connecting,
];

/** What is asked of an attempt that begins now. */
export function errandTo(
  target: Address,
  { timeout, signal }: Pick<Errand, "timeout" | "signal">,
  waitsSoft: boolean,
): Errand {
  return { target, start: performance.now(), timeout, signal, waitsSoft };
}

/** The attempts of one socket. */
export class Connecting {
  /** Where the last attempt went, `null` if there was none. */
  target: Address | null = null;
  /** What is waited for. */
  attempt: Attempt | null = null;
  /** The port that the caller gave the socket, 0 if none. */
  port = 0;
  /** Whether the caller gave the socket an address. */
  isBound = false;
  /** Where an attempt goes that may still be under way in the kernel. */
  #pending: Address | null = null;
  #phase: Phase = Phase.FRESH;
  /** An ICMP error that an attempt has come across. */
  #icmp: Icmp | null = null;
  /** Whether the socket has given its descriptor up. */
  #isGone = false;

  /** Those of a socket that came into being with a peer. */
  static done(): Connecting {
    const connecting = new Connecting();
    connecting.#phase = Phase.CONNECTED;
    return connecting;
  }

  /** Whether the last attempt has led to a connection, which may be over. */
  get isConnected(): boolean {
    return this.#phase === Phase.CONNECTED;
  }

  /** What has happened on the socket before an attempt at an address. */
  phaseFor(address: Address): Phase {
    if (this.#pending === null) return this.#phase;
    // The attempt at another address may have succeeded meanwhile.
    return this.#pending === address || this.#pending.equals(address)
      ? Phase.BEGUN
      : Phase.CONNECTED;
  }

  /** Remembers how a call of connect(2) ended, or that it has not. */
  note(
    libc: Libc,
    target: Address,
    errno: number,
    isPending = errno < 0 || isUnderWay(libc, errno),
  ): void {
    const { abi } = libc;
    // Then it is another attempt that is under way.
    if (errno === abi.errnos.EALREADY) return;
    this.target = target;
    this.#pending = isPending ? target : null;
    this.#phase = isPending ||
        familyOf(abi, bytesOf(target)) === abi.AF_UNSPEC
      ? Phase.FRESH
      : errno > 0
      ? Phase.FAILED
      : Phase.CONNECTED;
  }

  /** Forgets all attempts: the socket has no peer any more. */
  forget(): void {
    this.target = null;
    this.#pending = null;
    this.#phase = Phase.FRESH;
  }

  /**
   * Connects, and returns when the attempt has ended.
   *
   * @param isStream Whether it is a stream socket.
   * @param blocks Whether calls on it may wait.
   * @returns The failure, if there is one.
   */
  connectSync(
    libc: Libc,
    fd: number,
    isStream: boolean,
    blocks: boolean,
    errand: Errand,
  ): Failure | null {
    if (this.attempt !== null) return underWay(libc, errand);
    const { target, timeout, waitsSoft } = errand;
    const { AF_UNIX, O_NONBLOCK } = libc.abi;
    // A call that blocks hears of no soft error, which a Unix socket never has.
    const isTimed = timeout !== Infinity ||
      !waitsSoft && familyOf(libc.abi, bytesOf(target)) !== AF_UNIX;
    const flags = blocks && isTimed ? flagsOf(libc, fd) : O_NONBLOCK;
    const switches = (flags & O_NONBLOCK) === 0;
    if (switches) setFlags(libc, fd, flags | O_NONBLOCK);
    try {
      for (let retries = 0;; retries++) {
        const attempt = makeAttempt(libc, fd, errand);
        const errno = attempt.begin(this.phaseFor(target));
        if (errno === PENDING) attempt.block();
        const end = this.#conclude(attempt, errand, isStream, retries);
        if (end !== AGAIN) return end;
      }
    } finally {
      if (switches) setFlags(libc, fd, flags);
    }
  }

  /**
   * Connects without holding the thread; the descriptor does not block.
   *
   * @param isStream Whether it is a stream socket.
   * @returns The failure, if there is one.
   */
  async connect(
    libc: Libc,
    fd: number,
    isStream: boolean,
    errand: Errand,
  ): Promise<Failure | null> {
    if (this.attempt !== null) return underWay(libc, errand);
    const { target, signal } = errand;
    for (let retries = 0;; retries++) {
      const attempt = makeAttempt(libc, fd, errand);
      let end: Failure | null | typeof AGAIN;
      if (attempt.begin(this.phaseFor(target)) !== PENDING) {
        end = this.#conclude(attempt, errand, isStream, retries);
      } else {
        this.attempt = attempt;
        this.note(libc, target, PENDING);
        end = await new Promise((resolve, reject) =>
          attempt.waitFor(() => {
            this.attempt = null;
            try {
              // At once, as long as the descriptor is certain to be this one.
              resolve(this.#conclude(attempt, errand, isStream, retries));
            } catch (error) {
              reject(error);
            }
          })
        );
      }
      if (attempt.errno === ABORTED) throw signal!.reason;
      if (end !== AGAIN) return end;
      if (this.#isGone) {
        attempt.errno = CLOSED;
        return failureOf(attempt, errand.start, errand.timeout);
      }
    }
  }

  /**
   * The same for a caller, once other work has had the turn that is due.
   *
   * @param ours The public function that is running.
   * @throws {ErrnoError} If it fails, pointing at the caller.
   */
  async connectWhenDue(
    libc: Libc,
    fd: number,
    isStream: boolean,
    errand: Errand,
    ours: PublicFunction,
  ): Promise<void> {
    const turn = yieldIfDue(libc);
    const caller = keepCaller(ours);
    try {
      if (turn !== null) {
        await turn;
        if (this.#isGone) {
          const context = { address: errand.target.toString() };
          throw canceled("connect", context, caller ?? ours);
        }
        errand.signal?.throwIfAborted();
      }
      const failure = await this.connect(libc, fd, isStream, errand);
      if (failure !== null) throw errorFor(failure, caller ?? ours);
    } finally {
      releaseCaller(caller);
    }
  }

  /** Gives the socket its own address: 0, or `-errno`. */
  bind(libc: Libc, fd: number, address: Address): number {
    const bytes = bytesOf(address);
    const result = libc.bind(fd, bytes, bytes.length);
    if (result < 0) return result;
    this.isBound = true;
    if (address.family === "inet" || address.family === "inet6") {
      this.port = address.port;
    }
    return result;
  }

  /**
   * Ends an association: connects to no address.
   *
   * @returns 0 if a datagram socket has no peer then, whatever the system said;
   * else what it said.
   */
  disconnect(
    libc: Libc,
    fd: number,
    nobody: Uint8Array,
    isDatagram: boolean,
  ): number {
    // A wait for the attempt would take its end for an outcome.
    if (this.attempt !== null) return -libc.abi.errnos.EALREADY;
    let result = libc.connect(fd, nobody, nobody.length);
    if (result < 0 && isDatagram) {
      // illumos hands out an error that is pending first, and has done nothing.
      if (hasPeer(libc, fd)) result = libc.connect(fd, nobody, nobody.length);
      if (!hasPeer(libc, fd)) result = 0;
    }
    if (result >= 0) this.forget();
    return result;
  }

  /** Calls off what is under way: the socket gives its descriptor up. */
  giveUp(): void {
    this.#isGone = true;
    this.attempt?.cancel();
  }

  /**
   * Takes the error that is pending on the socket, which clears it.
   *
   * @returns The error, `null` if there is none.
   */
  takeError(libc: Libc, fd: number): ErrnoError | null {
    const errno = takeErrno(libc, fd);
    if (errno < 0) throw errnoErrorFor(-errno, { syscall: "getsockopt" });
    if (errno === 0) return null;
    const { POLLOUT, POLLHUP, POLLNVAL } = libc.abi;
    let isSoft = false;
    if (this.#pending !== null) {
      // An attempt that has failed reports a hang-up from then on.
      const revents = pollFd(libc, fd, POLLOUT, 0);
      isSoft = (revents & (POLLOUT | POLLHUP | POLLNVAL)) === 0;
      if (!isSoft) {
        this.#pending = null;
        this.#phase = Phase.FAILED;
      }
    }
    return errnoErrorFor(errno, {
      syscall: this.target === null ? "getsockopt" : "connect",
      address: this.target?.toString(),
      icmp: this.takeIcmp(libc, fd) ?? undefined,
      soft: isSoft,
    });
  }

  /** Empties the queue of errors of the socket. */
  takeIcmp(libc: Libc, fd: number): Icmp | null {
    const icmp = takeIcmp(libc, fd) ?? this.#icmp;
    this.#icmp = null;
    return icmp;
  }

  /** Takes the outcome of an attempt: the failure, `null` for none. */
  #conclude(
    attempt: Attempt,
    { target, start, timeout, waitsSoft }: Errand,
    isStream: boolean,
    retries: number,
  ): Failure | null | typeof AGAIN {
    const { libc, fd, errno } = attempt;
    this.note(libc, target, errno, attempt.isUnderWay);
    this.#icmp = attempt.icmp;
    if (errno === ABORTED) return null;
    if (errno !== 0) {
      // The only port may be held by the connection that has met itself.
      if (retries > 0 && lacksPort(libc, errno, attempt.syscall)) {
        return selfConnected(attempt, start);
      }
      const failure = failureOf(attempt, start, timeout, this.isBound);
      if (attempt.isSoft && !waitsSoft) {
        // TCP would repeat its SYN, and the next call would join in that.
        dissolve(libc, fd);
        this.#pending = null;
        this.#phase = Phase.FRESH;
      }
      return failure;
    }
    // What the caller bound meets itself only where the caller wants that.
    if (!isStream || this.isBound || !attempt.isSelfConnected()) return null;
    dissolve(libc, fd);
    this.#phase = Phase.FRESH;
    return retries < SELF_CONNECT_RETRIES
      ? AGAIN
      : selfConnected(attempt, start);
  }
}

function hasPeer(libc: Libc, fd: number): boolean {
  return libc.getpeername(fd, addressRoom) >= 0;
}

/** Whether attempts are to outlast soft errors. */
export function checkSoftErrors(value: unknown): boolean {
  if (value === undefined || value === "fail") return false;
  if (value === "wait") return true;
  throw own(
    new TypeError(
      `Cannot use softErrors ${show(value)}: it is "fail" or "wait"`,
    ),
  );
}

function makeAttempt(
  libc: Libc,
  fd: number,
  { target, start, timeout, signal, waitsSoft }: Errand,
): SocketAttempt {
  const recipe = waitsSoft ? PATIENT : PLAIN;
  const end = start + timeout;
  const attempt = new SocketAttempt(libc, recipe, target, start, end, signal);
  attempt.fd = fd;
  return attempt;
}

/** Ends a connection of a socket to itself. */
function dissolve(libc: Libc, fd: number): void {
  const nobody = bytesOf(unspecified());
  if (libc.connect(fd, nobody, nobody.length) === 0) return;
  libc.shutdown(fd, libc.abi.SHUT_RDWR);
}

function underWay({ abi }: Libc, { target }: Errand): Failure {
  return new Failure(abi.errnos.EALREADY, {
    syscall: "connect",
    address: target.toString(),
  });
}
