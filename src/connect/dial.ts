/**
 * An attempt that ends in a socket for a caller.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { performance } from "../../ffi/timers.ts";
import { type Address, bytesOf } from "../address/address.ts";
import {
  AGAIN,
  Attempt,
  LATE,
  type Pace,
  Phase,
  type Recipe,
  SELF_CONNECT_RETRIES,
} from "../attempt/attempt.ts";
import { setFlags } from "../attempt/descriptor.ts";
import {
  type Failure,
  failureOf,
  lacksPort,
  selfConnected,
} from "../attempt/failure.ts";
import { familyOf } from "../attempt/outcome.ts";
import { keepsSenders } from "../attempt/icmp.ts";
import { ErrnoError } from "../errors/errors.ts";
import { ABORTED } from "../reactor/reactor.ts";
import { Connecting, Past } from "../socket/connecting.ts";
import { type Socket, socketOf } from "../socket/socket.ts";

/** Takes each socket before connect(2). */
export type OnSocket = (socket: Socket) => void;

/** A socket that a caller has been shown. */
interface Held {
  readonly socket: Socket;
  readonly connecting: Connecting;
  /** Whether the caller has it keep the senders of ICMP errors for good. */
  keepsSenders: boolean;
}

/** A socket that a caller is shown before it is connected. */
interface Shown {
  readonly onSocket: OnSocket;
  /** `null` while there is none. */
  held: Held | null;
}

/** How often each of the few has been tried again that met itself. */
const retries = new WeakMap<Dial, number>();

/** An attempt that ends in a socket for a caller. */
export abstract class Dial extends Attempt {
  constructor(
    libc: Libc,
    recipe: Recipe,
    address: Address,
    since: number,
    end: number,
    signal: AbortSignal | undefined,
    onSocket: OnSocket | null,
  ) {
    super(libc, recipe, address, since, end, signal);
    if (onSocket !== null) this.own = { onSocket, held: null } as Shown;
  }

  /**
   * Whether the caller's own code has taken all the time before anything was
   * sent. Without any time, one attempt is made.
   */
  private get isLate(): boolean {
    const { since, end } = this;
    return end > since && performance.now() >= end;
  }

  /** Whether the caller does not want a connection any more. */
  protected get isCalledOff(): boolean {
    return this.signal?.aborted === true;
  }

  /** `null` if the caller does not want to see the socket. */
  private get shown(): Shown | null {
    return this.own as Shown | null;
  }

  /**
   * Opens a socket and begins to connect it.
   *
   * @returns 0, an errno, or {@linkcode PENDING}; `ABORTED` if `onSocket` has
   * called the connect off, and the descriptor is closed by then.
   * @throws What setting an option throws, and `onSocket`; the descriptor is
   * closed by then.
   */
  start(pace: Pace | null): number {
    try {
      const errno = this.open();
      if (errno !== 0) return errno;
      const shown = this.shown;
      if (shown === null) return this.begin(Phase.FRESH, pace);
      const connecting = this.show(shown);
      if (connecting === null) return this.errno;
      // The caller that was shown the socket may have begun to connect it.
      return this.begin(connecting.phaseFor(this.address), pace);
    } catch (error) {
      this.drop();
      throw error;
    }
  }

  /**
   * Takes the outcome: the socket, the failure, or that it is to be repeated. No
   * descriptor is left unless it is the socket's.
   *
   * @param start When the caller began, and `timeout` its limit.
   * @param blocks Whether the socket is to be a blocking one.
   * @param hasWaited Whether the reactor may know the descriptor.
   */
  finish(
    start: number,
    timeout: number,
    blocks: boolean,
    hasWaited: boolean,
  ): Socket | Failure | typeof AGAIN {
    const connecting = this.shown?.held?.connecting;
    try {
      if (this.errno !== 0) {
        if (this.hasNoOtherPort(this.errno, this.syscall)) {
          return selfConnected(this, start);
        }
        const isBound = connecting?.isBound || this.recipe.local !== null;
        return failureOf(this, start, timeout, isBound);
      }
      if (!this.isSelfConnected(connecting?.port || undefined)) {
        return this.handOver(blocks, hasWaited);
      }
      const failure = selfConnected(this, start);
      this.drop(true);
      const tried = retries.get(this) ?? 0;
      retries.set(this, tried + 1);
      return tried < SELF_CONNECT_RETRIES ? AGAIN : failure;
    } finally {
      // There is nothing left of what was handed over.
      this.drop();
    }
  }

  /**
   * Whether a call has failed because the only port to connect from is that by
   * which a socket has met itself.
   */
  private hasNoOtherPort(errno: number, syscall: string): boolean {
    return lacksPort(this.libc, errno, syscall) && retries.has(this);
  }

  /** Whether the caller's own call that has failed left the port to the system. */
  private leavesPort({ syscall, address }: ErrnoError): boolean {
    return syscall === "bind"
      ? address?.endsWith(":0") === true
      : address === this.address.toString();
  }

  /** Closes the descriptor, if there is one. */
  drop(byReset: boolean = false): void {
    const held = this.takeHeld();
    if (held !== null) {
      this.fd = -1;
      held.connecting.attempt = null;
      if (byReset) held.socket.setOption("linger", 0);
      held.socket.close();
    } else if (byReset) this.reset();
    else this.close();
  }

  /**
   * Shows the socket to the caller.
   *
   * @returns `null` if it is not to be connected then, and the errno is set.
   */
  private show(shown: Shown): Connecting | null {
    const connecting = new Connecting();
    const { isNonblocking } = this.recipe;
    const past = isNonblocking ? Past.WAITED : Past.BLOCKING;
    const socket = this.socket(connecting, past);
    const held = { socket, connecting, keepsSenders: false };
    shown.held = held;
    connecting.isBound = this.recipe.local !== null;
    connecting.port = this.recipe.local?.port ?? 0;
    // The caller sees a socket that nothing has been done to.
    this.keepSenders(false);
    try {
      const { onSocket } = shown;
      onSocket(socket);
      if (this.isCalledOff) {
        this.drop();
        this.errno = ABORTED;
        return null;
      }
      if (socket.closed) {
        this.fd = -1;
        this.errno = this.libc.abi.errnos.EBADF;
        return null;
      }
      if (this.isLate) {
        this.errno = LATE;
        return null;
      }
      held.keepsSenders = this.asksForSenders();
      connecting.attempt = this;
      if (this.recipe.isNonblocking) socket.nonblocking = true;
      return connecting;
    } catch (error) {
      this.drop();
      if (
        !(error instanceof ErrnoError) ||
        !this.hasNoOtherPort(error.errno, error.syscall) ||
        !this.leavesPort(error)
      ) throw error;
      this.errno = error.errno;
      this.syscall = error.syscall;
      return null;
    }
  }

  /**
   * Has the socket keep the senders of ICMP errors again.
   *
   * @returns Whether the caller has asked for that itself.
   */
  private asksForSenders(): boolean {
    if (this.address.family !== "inet6") return false;
    if (keepsSenders(this.libc, this.fd)) return true;
    this.keepSenders(true);
    return false;
  }

  private takeHeld(): Held | null {
    const shown = this.shown;
    if (shown === null) return null;
    const { held } = shown;
    shown.held = null;
    return held;
  }

  private handOver(blocks: boolean, hasWaited: boolean): Socket {
    const { libc, address, recipe } = this;
    const held = this.shown?.held ?? null;
    if (held?.keepsSenders !== true) this.keepSenders(false);
    if (held !== null) {
      held.connecting.attempt = null;
      held.connecting.note(libc, address, 0);
      if (blocks && recipe.isNonblocking) held.socket.nonblocking = false;
      this.takeHeld();
      this.fd = -1;
      return held.socket;
    }
    // No other code has seen the descriptor: it has no other flag that matters.
    if (blocks && recipe.isNonblocking) setFlags(libc, this.fd, 0);
    const connecting = new Connecting();
    connecting.note(libc, address, 0);
    connecting.isBound = recipe.local !== null;
    connecting.port = recipe.local?.port ?? 0;
    const past = blocks
      ? Past.BLOCKING
      : hasWaited
      ? Past.WAITED
      : Past.NONBLOCKING;
    const socket = this.socket(connecting, past);
    this.fd = -1;
    return socket;
  }

  private socket(connecting: Connecting, past: Past): Socket {
    const { libc, address, fd } = this;
    const { abi } = libc;
    return socketOf(
      libc,
      fd,
      familyOf(abi, bytesOf(address)),
      abi.SOCK_STREAM,
      past,
      connecting,
    );
  }
}
