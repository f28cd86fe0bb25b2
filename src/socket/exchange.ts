/**
 * Whole messages over a socket, each with one deadline for all of it.
 *
 * @module
 */
import { performance } from "../../ffi/timers.ts";
import { sizeOf, viewOf } from "../errors/arguments.ts";
import { own, type PublicFunction } from "../errors/caller.ts";
import { errnoError } from "../errors/errors.ts";
import type { Limits } from "./limits.ts";
import {
  pointingAt,
  takenAway,
  type Transfers,
  UnexpectedEndError,
} from "./transfer.ts";

/** How much is looked at at once for a delimiter. */
const GLANCE = 0x1000;

/** How much memory there is before anything has come. */
const FIRST = 0x1_0000;

/** The same memory, twice as large, but no larger than it may get. */
function grown(
  bytes: Uint8Array<ArrayBuffer>,
  most: number,
): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.min(2 * bytes.length, most));
  larger.set(bytes);
  return larger;
}

/** What is left of a time at the moment. */
function leftOf(limits: Limits): () => Limits {
  const { timeout } = limits;
  if (timeout === Infinity) return () => limits;
  const end = performance.now() + timeout;
  const { signal } = limits;
  return () => ({
    timeout: Math.max(end - performance.now(), 0),
    whole: timeout,
    signal,
    isOver: false,
  });
}

/**
 * Sends all of it, and nothing else in between. What can be done at once is done
 * without a promise.
 *
 * @param ours The public function that is running, `null` for a stream's.
 * @throws What failed, with how much went before as `bytesSent`.
 */
export function sendAll(
  io: Transfers,
  data: Uint8Array,
  flags: number,
  limits: Limits,
  ours: PublicFunction | null,
): void | Promise<void> {
  if (ours !== null) limits.signal?.throwIfAborted();
  const left = leftOf(limits);
  const whole = viewOf(data);
  let first: number | null;
  try {
    first = io.sendNow(whole, flags, ours);
  } catch (error) {
    throw withBytesSent(error, 0, limits);
  }
  if (first === whole.length) return;
  const work = () => sendRest(io, whole, first, flags, left);
  return ours === null ? work() : pointingAt(ours, work);
}

/** Sends what is left once the first part, or nothing yet, has gone. */
async function sendRest(
  io: Transfers,
  whole: Uint8Array,
  first: number | null,
  flags: number,
  left: () => Limits,
): Promise<void> {
  const size = whole.length;
  let sent = first ?? 0;
  try {
    await io.inTurn("sendto", flags, left(), async () => {
      do {
        const there = sizeOf(whole);
        if (there < size) throw takenAway("data", size, there);
        const rest = whole.subarray(sent);
        sent += await io.sendOut(rest, flags, null, left(), null, null);
      } while (sent < size);
    });
  } catch (error) {
    throw withBytesSent(error, sent, left());
  }
}

/** Notes how much went before a failure; what aborts belongs to the caller. */
function withBytesSent(
  error: unknown,
  bytesSent: number,
  { signal }: Limits,
): unknown {
  return error instanceof Error && error !== signal?.reason
    ? Object.assign(error, { bytesSent })
    : error;
}

/** Makes sure that what is received is also taken, or it would come again. */
function checkTakes({ abi }: Transfers, flags: number): void {
  if ((flags & abi.MSG_PEEK) === 0) return;
  throw own(
    new RangeError(
      `Cannot use flags ${flags}: with MSG_PEEK the same bytes come again`,
    ),
  );
}

/**
 * Receives so many bytes. What is there already is taken without a promise.
 *
 * @param ours The public function that is running.
 */
export function receiveExactly(
  io: Transfers,
  size: number,
  flags: number,
  limits: Limits,
  ours: PublicFunction,
): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
  checkTakes(io, flags);
  limits.signal?.throwIfAborted();
  const left = leftOf(limits);
  // The size may come from the peer: memory grows with the bytes that arrive.
  const whole = new Uint8Array(Math.min(size, FIRST));
  const first = size === 0 ? 0 : io.receiveNow(whole, flags, ours);
  if (first === size) return whole;
  return pointingAt(
    ours,
    () =>
      io.inTurn(
        "recvfrom",
        flags,
        left(),
        () => receiveRest(io, whole, first, size, flags, left),
      ),
  );
}

/** Receives what is still missing once something, or nothing yet, has come. */
async function receiveRest(
  io: Transfers,
  whole: Uint8Array<ArrayBuffer>,
  first: number | null,
  size: number,
  flags: number,
  left: () => Limits,
): Promise<Uint8Array<ArrayBuffer>> {
  let filled = 0;
  let got = first;
  for (;;) {
    got ??= await io.receive(
      whole.subarray(filled),
      flags,
      null,
      left(),
      null,
      null,
    );
    if (got === 0) {
      throw own(
        new UnexpectedEndError(`${size} bytes`, whole.slice(0, filled)),
      );
    }
    filled += got;
    got = null;
    if (filled >= size) return whole;
    if (filled === whole.length) whole = grown(whole, size);
  }
}

/**
 * Receives up to a delimiter, and leaves what comes behind it where it is: it
 * looks before it takes.
 *
 * @param limit The most bytes to take, the delimiter among them.
 */
// deno-lint-ignore require-await -- what it throws is to be a rejection
export async function receiveUntil(
  io: Transfers,
  delimiter: Uint8Array,
  limit: number,
  flags: number,
  limits: Limits,
): Promise<Uint8Array<ArrayBuffer>> {
  checkTakes(io, flags);
  limits.signal?.throwIfAborted();
  const left = leftOf(limits);
  return io.inTurn(
    "recvfrom",
    flags,
    left(),
    () => takeUntil(io, delimiter, limit, flags, left),
  );
}

async function takeUntil(
  io: Transfers,
  delimiter: Uint8Array,
  limit: number,
  flags: number,
  left: () => Limits,
): Promise<Uint8Array<ArrayBuffer>> {
  const looking = flags | io.abi.MSG_PEEK;
  let whole = new Uint8Array(Math.min(GLANCE, limit));
  let filled = 0;
  for (;;) {
    if (filled === limit) {
      throw errnoError("EMSGSIZE", {
        syscall: "recvfrom",
        detail: `no delimiter within ${limit} bytes`,
      });
    }
    if (filled === whole.length) whole = grown(whole, limit);
    const room = whole.subarray(filled);
    const seen = await io.receive(room, looking, null, left(), null, null);
    if (seen === 0) {
      throw own(new UnexpectedEndError("a delimiter", whole.slice(0, filled)));
    }
    // The delimiter may have begun in what came before.
    const from = Math.max(filled - delimiter.length + 1, 0);
    const end = delimiterEnd(whole, delimiter, from, filled + seen);
    const size = end === -1 ? seen : end - filled;
    // It is there, so this does not wait, unless recvSync() has taken it.
    const got = await io.receive(
      room.subarray(0, size),
      flags,
      null,
      left(),
      null,
      null,
    );
    filled += got;
    if (filled === end) return whole.slice(0, filled);
  }
}

/** Where the first delimiter ends, -1 without one. */
function delimiterEnd(
  bytes: Uint8Array,
  delimiter: Uint8Array,
  from: number,
  to: number,
): number {
  const last = to - delimiter.length;
  for (let at = from; at <= last; at++) {
    at = bytes.indexOf(delimiter[0]!, at);
    if (at === -1 || at > last) return -1;
    let i = 1;
    while (i < delimiter.length && bytes[at + i] === delimiter[i]) i++;
    if (i === delimiter.length) return at + i;
  }
  return -1;
}
