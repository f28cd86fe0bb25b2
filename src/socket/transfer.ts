/**
 * Sending, receiving and waiting, on a descriptor that a socket owns.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import type { Libc, Sender } from "../../ffi/contract.ts";
import { LONGEST_ADDRESS, newMemory } from "../../ffi/memory.ts";
import { clearTimeout, performance, setTimeout } from "../../ffi/timers.ts";
import {
  type Address,
  bytesOf,
  decodeAddress,
  unspecified,
} from "../address/address.ts";
import { canceled } from "../attempt/failure.ts";
import { pollFd } from "../attempt/outcome.ts";
import { heedAbort, ignoreAbort, sizeOf } from "../errors/arguments.ts";
import {
  type Caller,
  keepCaller,
  own,
  pointAt,
  type PublicFunction,
  releaseCaller,
  setHidden,
} from "../errors/caller.ts";
import {
  type ErrnoContext,
  type ErrnoError,
  errnoError,
  errnoErrorFor,
  pointed,
} from "../errors/errors.ts";
import {
  ABORTED,
  CLOSED,
  countTry,
  pauseAfter,
  recallWaits,
  timeoutTo,
  waitForEvents,
} from "../reactor/reactor.ts";
import { yieldIfDue } from "../reactor/turns.ts";
import type { Limits } from "./limits.ts";
import { ITS_TURN, Line, NamedLine } from "./line.ts";

/**
 * How long to sleep between two looks where the process is not to be kept
 * alive, in ms.
 */
const LOOK_PAUSE = 10;

/** The most that one call is given; its result has to fit an int. */
const LARGEST_TRANSFER = 0x7fff_f000;
/**
 * What C is shown where there is no memory: Node refuses what was detached, and
 * of nothing Deno and Node make the null pointer.
 */
const NO_MEMORY = newMemory(1);

// No call's use of it outlives the call.
const sender: Sender = { address: newMemory(LONGEST_ADDRESS), length: 0 };

/** What only the owner knows. */
export interface Owner {
  /** The address on the other side, as text, for errors. */
  peer(): string | undefined;
  /** Asks for permission to receive, before each call: who can send may have changed. */
  admit(): void;
  /** Takes the ICMP errors that the kernel has queued. */
  drain(): void;
}

/** What a call of sendto(2) or recvfrom(2) needs to be made again. */
interface TransferJob {
  readonly syscall: "recvfrom" | "sendto";
  readonly events: number;
  readonly memory: Uint8Array;
  /** How much of it there was when the call began. */
  readonly size: number;
  readonly flags: number;
  /** The receiver, and how messages call it. */
  readonly to: Uint8Array<ArrayBuffer> | null;
  readonly address: Address | null;
  /** Where the sender's address goes, `null` if it is not asked for. */
  readonly from: Address[] | null;
  readonly limits: Limits;
}

/** What an error says of a job. */
type JobFacts = Pick<TransferJob, "syscall" | "address" | "limits">;

/** What a job has come too late for. */
function whatIsLate({ syscall, limits }: JobFacts): string {
  const { timeout, whole } = limits;
  const isSending = syscall === "sendto";
  const what = whole === undefined
    ? isSending ? "no room" : "nothing came"
    : isSending
    ? "not all was sent"
    : "not all came";
  return `${what} within ${Math.round(whole ?? timeout)} ms`;
}

/** All that goes through one descriptor, until that is given up. */
export class Transfers {
  /** Those that send, and those that receive or take connections. */
  readonly sending = new Line();
  readonly receiving = new Line();
  /** Those that send to Unix sockets, by the address. */
  #sendingTo: Map<string, Line> | null = null;
  /** Whether the reactor may know the descriptor. */
  hasWaited = false;
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #owner: Owner;
  /** Whether waits keep the process alive. */
  #isRef = true;
  /** How many wait for what is in the queue of errors. */
  #errorReaders = 0;
  /** End the pauses between looks. */
  readonly #wakes: Set<() => void> = new Set();
  #isOver = false;

  constructor(libc: Libc, fd: number, owner: Owner) {
    this.#libc = libc;
    this.#fd = fd;
    this.#owner = owner;
  }

  /** The system's numbers. */
  get abi(): Abi {
    return this.#libc.abi;
  }

  /** Ends all use of the descriptor, which has another owner or none. */
  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  set isRef(isRef: boolean) {
    this.#isRef = isRef;
    // Those that wait are made to wait in the other way.
    if (isRef) this.#wake();
    else this.recall();
  }

  /** Has all that wait look at their limits, and wait again. */
  recall(): void {
    this.sending.recall();
    this.receiving.recall();
    this.#wake();
    if (this.hasWaited && !this.#isOver) recallWaits(this.#libc, this.#fd);
  }

  /**
   * Ends all pauses between looks. What has news for those that wait keeps the
   * process alive until they have it, though they themselves do not.
   */
  #wake(): void {
    for (const wake of this.#wakes) wake();
  }

  /**
   * Calls sendto(2) until no signal cuts it short.
   *
   * @returns What it returns.
   */
  sendOnce(
    data: Uint8Array,
    size: number,
    flags: number,
    to: Uint8Array<ArrayBuffer> | null,
  ): number {
    const { abi } = this.#libc;
    for (;;) {
      const result = this.#libc.sendto(
        this.#fd,
        size === 0 ? NO_MEMORY : data,
        Math.min(size, LARGEST_TRANSFER),
        flags | (abi.MSG_NOSIGNAL ?? 0),
        // An address without a byte is one that is wrong, and not a lack of one.
        to?.length === 0 ? NO_MEMORY : to,
        to === null ? 0 : to.length,
      );
      if (result !== -abi.errnos.EINTR) return result;
    }
  }

  /** Calls recvfrom(2) in the same way; `from` takes the sender. */
  receiveOnce(
    buffer: Uint8Array,
    size: number,
    flags: number,
    from: Address[] | null,
  ): number {
    const { EINTR } = this.#libc.abi.errnos;
    this.#owner.admit();
    for (;;) {
      const result = this.#libc.recvfrom(
        this.#fd,
        size === 0 ? NO_MEMORY : buffer,
        Math.min(size, LARGEST_TRANSFER),
        flags,
        from === null ? null : sender,
      );
      if (result === -EINTR) continue;
      if (result >= 0 && from !== null) {
        from[0] = sender.length === 0
          ? unspecified()
          : decodeAddress(sender.address, sender.length);
      }
      return result;
    }
  }

  /**
   * Sends when it is its turn, and returns at once what could be done at once.
   *
   * @param to Where to: what a permission was given for.
   * @param ours The public function that runs, for errors to point at its caller;
   * `null` for one that points them there itself, and for a stream's.
   * @param line `null` for one that has its turn.
   */
  sendOut(
    data: Uint8Array,
    flags: number,
    to: Address | null,
    limits: Limits,
    ours: PublicFunction | null,
    line: Line | null = this.#sendingLine(to),
  ): number | Promise<number> {
    if (ours !== null) limits.signal?.throwIfAborted();
    const { MSG_DONTWAIT, POLLOUT } = this.#libc.abi;
    return this.#begin(
      {
        syscall: "sendto",
        events: POLLOUT,
        memory: data,
        size: sizeOf(data),
        flags: flags | MSG_DONTWAIT,
        to: to === null ? null : bytesOf(to),
        address: to,
        from: null,
        limits,
      },
      ours,
      line,
    );
  }

  /** Receives in the same way. */
  receive(
    buffer: Uint8Array,
    flags: number,
    from: Address[] | null,
    limits: Limits,
    ours: PublicFunction | null,
    line: Line | null = this.#receivingLine(flags),
  ): number | Promise<number> {
    if (ours !== null) limits.signal?.throwIfAborted();
    const { MSG_DONTWAIT, POLLIN } = this.#libc.abi;
    return this.#begin(
      {
        syscall: "recvfrom",
        // Of an error there is news in any case, and data is none.
        events: this.#isForErrors(flags) ? 0 : POLLIN,
        memory: buffer,
        size: sizeOf(buffer),
        flags: flags | MSG_DONTWAIT,
        to: null,
        address: null,
        from,
        limits,
      },
      ours,
      line,
    );
  }

  /**
   * Sends without waiting, and without remembering the caller.
   *
   * @returns How many bytes went, `null` if that takes a wait, others come first
   * or other work has a turn due.
   */
  sendNow(
    data: Uint8Array,
    flags: number,
    ours: PublicFunction | null,
  ): number | null {
    if (!this.#mayBegin(this.sending)) return null;
    const { MSG_DONTWAIT } = this.#libc.abi;
    const size = sizeOf(data);
    const result = this.sendOnce(data, size, flags | MSG_DONTWAIT, null);
    return this.#now("sendto", result, ours);
  }

  /** Receives in the same way. */
  receiveNow(
    buffer: Uint8Array,
    flags: number,
    ours: PublicFunction,
  ): number | null {
    if (!this.#mayBegin(this.#receivingLine(flags))) return null;
    const { MSG_DONTWAIT } = this.#libc.abi;
    const size = sizeOf(buffer);
    const result = this.receiveOnce(buffer, size, flags | MSG_DONTWAIT, null);
    return this.#now("recvfrom", result, ours);
  }

  #mayBegin(line: Line | null): boolean {
    return !this.#isOver && (line === null || line.isFree) &&
      yieldIfDue(this.#libc) === null;
  }

  /**
   * Each Unix socket has room of its own for datagrams: one that is full holds
   * up nothing that goes to the others.
   */
  #sendingLine(to: Address | null): Line {
    if (to === null || to.family !== "unix") return this.sending;
    const lines = this.#sendingTo ??= new Map();
    const line = lines.size === 0 ? undefined : lines.get(to.toString());
    return line ?? new NamedLine(lines, to);
  }

  /** What is out of band, or an error, is in no queue with what others wait for. */
  #receivingLine(flags: number): Line | null {
    if (flags === 0) return this.receiving;
    const { MSG_OOB, errorQueue } = this.#libc.abi;
    const aside = MSG_OOB | (errorQueue?.MSG_ERRQUEUE ?? 0);
    return (flags & aside) === 0 ? this.receiving : null;
  }

  #isForErrors(flags: number): boolean {
    const { errorQueue } = this.#libc.abi;
    return errorQueue !== null && (flags & errorQueue.MSG_ERRQUEUE) !== 0;
  }

  /** What a call has led to that does not wait, `null` if it would have to. */
  #now(
    syscall: string,
    result: number,
    ours: PublicFunction | null,
  ): number | null {
    if (result >= 0) return result;
    if (result === -this.#libc.abi.errnos.EAGAIN) return null;
    const context = { syscall, address: this.#owner.peer() };
    throw errnoErrorFor(-result, context, ours ?? undefined);
  }

  /**
   * Does some work when it is its turn; until it is done, nobody else sends, or
   * receives. Where nobody is before it, it begins at once.
   */
  async inTurn<T>(
    syscall: "recvfrom" | "sendto",
    flags: number,
    limits: Limits,
    work: () => Promise<T>,
  ): Promise<T> {
    const line = syscall === "sendto"
      ? this.sending
      : this.#receivingLine(flags);
    if (line === null) return await work();
    const isFirst = line.isFree;
    if (isFirst) line.take();
    else await this.#stand(line, syscall, null, limits);
    try {
      // What ran meanwhile may have called it off.
      if (!isFirst) limits.signal?.throwIfAborted();
      return await work();
    } finally {
      line.pass();
    }
  }

  /**
   * Waits for the turn of a call.
   *
   * @throws What ends the wait.
   */
  async #stand(
    line: Line,
    syscall: "recvfrom" | "sendto",
    address: Address | null,
    limits: Limits,
    at?: Caller,
  ): Promise<void> {
    const start = performance.now();
    const came = await line.wait(start + limits.timeout, limits);
    if (came === ABORTED) throw limits.signal?.reason;
    if (came !== ITS_TURN) {
      throw this.#tooLate({ syscall, address, limits }, start, at);
    }
  }

  /**
   * Waits for events, for a caller.
   *
   * @returns Those that came, 0 at the end.
   */
  async untilReady(
    events: number,
    limits: Limits,
    ours: PublicFunction | null,
  ): Promise<number> {
    const { timeout, signal } = limits;
    signal?.throwIfAborted();
    const caller = ours === null ? null : keepCaller(ours);
    try {
      const end = performance.now() + timeout;
      const came = await this.wait(events, end, limits);
      if (came === ABORTED) throw signal!.reason;
      if (came !== CLOSED) return came;
      throw canceled("poll", {}, caller ?? undefined);
    } catch (error) {
      // What keeps a wait from going on knows no caller.
      throw caller === null ? error : pointed(error, caller);
    } finally {
      releaseCaller(caller);
    }
  }

  /**
   * Waits for events.
   *
   * @param tries How many waits in a row have ended by events that led to
   * nothing.
   * @returns Those that came, 0 at the end, `CLOSED` or `ABORTED`.
   */
  async wait(
    events: number,
    end: number,
    limits: Limits,
    tries = 0,
  ): Promise<number> {
    for (;;) {
      if (!this.#isRef) {
        const came = await this.#lookAgain(events, end, limits, tries);
        if (came !== null) return came;
        // What ran meanwhile may have given the descriptor up.
        if (this.#isOver) return CLOSED;
      }
      this.hasWaited = true;
      const came = await waitForEvents(
        this.#libc,
        this.#fd,
        events,
        end,
        limits.signal,
        tries,
      );
      if (came !== CLOSED || this.#isOver) return came;
      // It has been recalled.
      if (limits.isOver) return ABORTED;
    }
  }

  /**
   * The same without keeping the process alive, by a look now and then.
   *
   * @returns As {@linkcode Transfers.wait}; `null` once the process is to be
   * kept alive again.
   */
  async #lookAgain(
    events: number,
    end: number,
    limits: Limits,
    tries: number,
  ): Promise<number | null> {
    const { EINTR } = this.#libc.abi.errnos;
    const { signal } = limits;
    let wake = (): void => {};
    function onNews(): void {
      wake();
    }
    let pause = pauseAfter(tries);
    this.#wakes.add(onNews);
    try {
      heedAbort(signal, onNews);
      for (;;) {
        if (this.#isOver) return CLOSED;
        if (signal?.aborted || limits.isOver) return ABORTED;
        if (this.#isRef) return null;
        const came = pause > 0 ? 0 : pollFd(this.#libc, this.#fd, events, 0);
        if (came > 0) return came;
        if (came < 0 && came !== -EINTR) {
          throw errnoErrorFor(-came, { syscall: "poll" });
        }
        const left = end - performance.now();
        if (left <= 0) return 0;
        const rest = Math.min(pause || LOOK_PAUSE, Math.ceil(left));
        pause = 0;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, rest);
          timer.unref();
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    } finally {
      this.#wakes.delete(onNews);
      ignoreAbort(signal, onNews);
    }
  }

  /** Does a job at once, or begins to wait for when it can be done. */
  #begin(
    job: TransferJob,
    ours: PublicFunction | null,
    line: Line | null,
  ): number | Promise<number> {
    // One transfer of several may come after the socket was closed, and find the
    // number in other hands.
    if (this.#isOver) {
      throw canceled(job.syscall, this.#contextOf(job), ours ?? undefined);
    }
    let turn: Promise<unknown> | null = null;
    if (line === null || line.isFree) {
      turn = yieldIfDue(this.#libc);
      if (turn === null) {
        const result = this.#call(job);
        if (result >= 0) return result;
        if (result !== -this.#libc.abi.errnos.EAGAIN) {
          throw errnoErrorFor(-result, this.#contextOf(job), ours ?? undefined);
        }
      }
    }
    const caller = ours === null ? null : keepCaller(ours);
    return this.#goOn(job, line, turn, caller);
  }

  /** Makes a call again and again until it need not wait. */
  async #goOn(
    job: TransferJob,
    line: Line | null,
    turn: Promise<unknown> | null,
    caller: Caller | null,
  ): Promise<number> {
    const { syscall, events, flags, limits } = job;
    const { timeout, signal } = limits;
    const { errnos: { EAGAIN }, POLLERR } = this.#libc.abi;
    const isForErrors = syscall === "recvfrom" && this.#isForErrors(flags);
    const start = performance.now();
    const end = start + timeout;
    const at = caller ?? undefined;
    const isFirst = line === null || line.isFree;
    let mustWait = isFirst && turn === null;
    let hasTurn = false;
    let tries = 0;
    let came = 0;
    try {
      if (isForErrors) this.#errorReaders++;
      if (line !== null) {
        if (isFirst) line.take();
        else await this.#stand(line, syscall, job.address, limits, at);
        hasTurn = true;
      }
      // Two that call again and again would take turns, and nothing else have one.
      await (isFirst ? turn : yieldIfDue(this.#libc));
      for (;; mustWait = false) {
        // What had a turn meanwhile may have done either.
        if (this.#isOver) throw canceled(syscall, this.#contextOf(job), at);
        if (limits.isOver || signal?.aborted) throw signal?.reason;
        const result = mustWait ? -EAGAIN : this.#call(job, caller);
        if (result >= 0) return result;
        if (result !== -EAGAIN) {
          throw errnoErrorFor(-result, this.#contextOf(job), at);
        }
        // The kernel's queue of ICMP errors makes POLLERR come back for ever,
        // until somebody reads it.
        if ((came & POLLERR) !== 0 && this.#errorReaders === 0) {
          this.#owner.drain();
        }
        const since = performance.now();
        came = await this.wait(events, end, limits, tries);
        if (came === ABORTED) throw signal?.reason;
        if (came === CLOSED) {
          throw canceled(syscall, this.#contextOf(job), at);
        }
        if (came === 0 && performance.now() >= end) {
          throw this.#tooLate(job, start, at);
        }
        tries = countTry(tries, since);
      }
    } catch (error) {
      throw caller === null ? error : pointed(error, caller);
    } finally {
      if (isForErrors) this.#errorReaders--;
      if (hasTurn) line!.pass();
      releaseCaller(caller);
    }
  }

  #call(job: TransferJob, caller: Caller | null = null): number {
    const { syscall, memory, size, flags, to, from } = job;
    const left = sizeOf(memory);
    if (left < size) {
      const name = syscall === "sendto" ? "data" : "buffer";
      const error = takenAway(name, size, left);
      throw caller === null ? error : pointAt(error, caller);
    }
    return syscall === "sendto"
      ? this.sendOnce(memory, size, flags, to)
      : this.receiveOnce(memory, size, flags, from);
  }

  /**
   * Returns how much went or came.
   *
   * @throws {ErrnoError} If it is `-errno`.
   */
  checked(syscall: string, result: number, to: Address | null): number {
    if (result >= 0) return result;
    const address = to?.toString() ?? this.#owner.peer();
    throw errnoErrorFor(-result, { syscall, address });
  }

  /** The error for what has not come to its end in time. */
  #tooLate(job: JobFacts, start: number, at?: Caller): ErrnoError {
    const { timeout, whole } = job.limits;
    return errnoError("ETIMEDOUT", {
      ...this.#contextOf(job),
      elapsed: performance.now() - start + (whole ?? timeout) - timeout,
      timeoutKind: "deadline",
      detail: whatIsLate(job),
    }, at);
  }

  #contextOf({ syscall, address }: JobFacts): ErrnoContext {
    return { syscall, address: address?.toString() ?? this.#owner.peer() };
  }
}

/** Receives for a stream, to which nothing is the end: an empty datagram is left out. */
export function nextChunk(
  io: Transfers,
  buffer: Uint8Array,
  limits: Limits,
  isDatagram: boolean,
): number | Promise<number> {
  const size = io.receive(buffer, 0, null, limits, null);
  return isDatagram ? nextDatagram(io, buffer, limits, size) : size;
}

async function nextDatagram(
  io: Transfers,
  buffer: Uint8Array,
  limits: Limits,
  first: number | Promise<number>,
): Promise<number> {
  let size = await first;
  // What comes after the end of a stream is for other readers.
  while (size === 0 && !limits.isOver) {
    size = await io.receive(buffer, 0, null, limits, null);
  }
  return size;
}

/** What fails when the memory of a call has gone while it waited. */
export function takenAway(name: string, size: number, left: number): TypeError {
  return own(
    new TypeError(
      `Cannot use ${name} of ${size} bytes: its memory was taken away ` +
        `meanwhile, ${left} are left`,
    ),
  );
}

/**
 * Waits for events while it holds the thread. A signal does not end the wait.
 *
 * @returns The events, 0 at the end, or `-errno`.
 */
export function pollUntil(
  libc: Libc,
  fd: number,
  events: number,
  end: number,
): number {
  for (;;) {
    const result = pollFd(libc, fd, events, timeoutTo(end));
    if (result === 0 && performance.now() < end) continue;
    if (result !== -libc.abi.errnos.EINTR) return result;
  }
}

/**
 * The peer has ended the connection before all the requested bytes came.
 *
 * @example The bytes that came before the end
 * ```ts
 * import { connect, UnexpectedEndError } from "@einprogress/connect";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * using socket = await connect({ port: listener.addr.port });
 * {
 *   using peer = await listener.accept();
 *   await peer.write(new TextEncoder().encode("abc"));
 * }
 * const error = await assertRejects(
 *   () => socket.recvExactly(8),
 *   UnexpectedEndError,
 * );
 * assertEquals(error.received.length, 3);
 * ```
 */
export class UnexpectedEndError extends Error {
  /** The bytes that came before the end. */
  readonly received: Uint8Array<ArrayBuffer>;

  /**
   * Made where the end comes too early.
   *
   * @param expected What was waited for, in words.
   * @param received The bytes that had come.
   */
  constructor(expected: string, received: Uint8Array<ArrayBuffer>) {
    super(
      `Cannot receive ${expected}: the peer ended the connection after ` +
        `${received.length} bytes`,
    );
    this.received = received;
  }

  static {
    setHidden(this.prototype, "name", "UnexpectedEndError");
  }
}

/**
 * Has the errors of some work point at the caller of a public function.
 *
 * @param ours The function, which is running.
 * @param work Begins at once.
 */
export async function pointingAt<T>(
  ours: PublicFunction,
  work: () => Promise<T>,
): Promise<T> {
  const caller = keepCaller(ours);
  try {
    return await work();
  } catch (error) {
    throw caller === null ? error : pointed(error, caller);
  } finally {
    releaseCaller(caller);
  }
}
