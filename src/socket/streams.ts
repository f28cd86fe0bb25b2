/**
 * Web streams over calls that receive and send.
 *
 * @module
 */
import { bare } from "../../ffi/records.ts";
import { checkBytes, viewOf } from "../errors/arguments.ts";
import type { Limits } from "./limits.ts";

/**
 * How many bytes are received at once at first, where the reader brings no
 * memory of its own: what a request or its reply takes.
 */
const SMALLEST_CHUNK = 0x4000;

/**
 * How many at most, once the stream has filled less. Twice as fast as a quarter
 * of it on Deno, and more than this gains nothing.
 */
const LARGEST_CHUNK = 0x4_0000;

/**
 * A chunk that fills less than this part of its memory is copied, and the
 * memory is used again: to make some costs more, and what a reader keeps would
 * keep all of it.
 */
const SPARSE = 4;

/**
 * What a connection does for its streams. What can be done at once is returned
 * as it is, without a promise.
 */
export interface Ends {
  /** Returns how many bytes came, 0 at the end. */
  receive(buffer: Uint8Array, limits: Limits): number | Promise<number>;
  /** Has all waits look at their limits. */
  recall(): void;
  /** Sends all of it. */
  send(data: Uint8Array, limits: Limits): void | Promise<void>;
  /** Lets the peer know that no more will come. */
  closeWrite(): void;
  /** Each stream calls it once, at its end. */
  ended(): void;
}

/** What is used of them to read. */
type ReadingEnds = Pick<Ends, "receive" | "recall" | "ended">;

/** What is used of them to write. */
type WritingEnds = Pick<Ends, "send" | "closeWrite" | "ended">;

/**
 * What comes in. A call waits only while the stream is being read.
 *
 * @param isWhole Whether what does not fit into the memory of one call is lost.
 */
export function readableOf(
  ends: ReadingEnds,
  isWhole: boolean,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const strategy = bare({ highWaterMark: 0 });
  const room = isWhole ? LARGEST_CHUNK : SMALLEST_CHUNK;
  return new ReadableStream(new ReceiveSource(ends, room), strategy);
}

class ReceiveSource implements UnderlyingByteSource, Limits {
  readonly type = "bytes";
  readonly timeout = Infinity;
  readonly whole = undefined;
  // To listen to one takes as long as the rest of a wait, each time.
  readonly signal = undefined;
  isOver = false;
  readonly #ends: ReadingEnds;
  /** Memory that no reader has. */
  #memory: Uint8Array<ArrayBuffer> | null = null;
  #room: number;

  static {
    bare(this.prototype);
  }

  constructor(ends: ReadingEnds, room: number) {
    this.#ends = ends;
    this.#room = room;
  }

  pull(controller: ReadableByteStreamController): void | Promise<void> {
    const request = controller.byobRequest as ByobRequest | null;
    const view = request === null
      ? this.#memory ??= new Uint8Array(this.#room)
      : request.view;
    let size;
    try {
      size = this.#ends.receive(view, this);
    } catch (error) {
      return this.#fail(controller, error);
    }
    return typeof size === "number"
      ? this.#deliver(controller, request, view, size)
      : this.#deliverLater(controller, request, view, size);
  }

  cancel(): void {
    this.#end();
    this.#ends.recall();
  }

  async #deliverLater(
    controller: ReadableByteStreamController,
    request: ByobRequest | null,
    view: Uint8Array<ArrayBuffer>,
    pending: Promise<number>,
  ): Promise<void> {
    let size: number;
    try {
      size = await pending;
    } catch (error) {
      return this.#fail(controller, error);
    }
    this.#deliver(controller, request, view, size);
  }

  #deliver(
    controller: ReadableByteStreamController,
    request: ByobRequest | null,
    view: Uint8Array<ArrayBuffer>,
    size: number,
  ): void {
    if (this.isOver) return;
    if (size === 0) {
      controller.close();
      request?.respond(0);
      this.#end();
    } else if (request !== null) {
      request.respond(size);
    } else {
      if (size === view.length && this.#room < LARGEST_CHUNK) {
        this.#room *= SPARSE;
      }
      if (size <= view.length / SPARSE) {
        controller.enqueue(view.slice(0, size));
      } else {
        this.#memory = null;
        controller.enqueue(view.subarray(0, size));
      }
    }
  }

  #fail(controller: ReadableByteStreamController, error: unknown): void {
    // It was canceled, and is closed.
    if (this.isOver) return;
    controller.error(error);
    this.#end();
  }

  #end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#memory = null;
    this.#ends.ended();
  }
}

/** A request for bytes that brings its own memory. */
interface ByobRequest {
  readonly view: Uint8Array<ArrayBuffer>;
  respond(size: number): void;
}

/** What goes out. */
export function writableOf(
  ends: WritingEnds,
): WritableStream<Uint8Array> {
  const strategy = bare({ highWaterMark: 1 });
  return new WritableStream(new SendSink(ends), strategy);
}

class SendSink implements UnderlyingSink<Uint8Array> {
  readonly #ends: WritingEnds;
  #limits: Limits | null = null;
  #isOver = false;

  static {
    bare(this.prototype);
  }

  constructor(ends: WritingEnds) {
    this.#ends = ends;
  }

  write(
    chunk: Uint8Array,
    controller: WritableStreamDefaultController,
  ): void | Promise<void> {
    try {
      checkBytes("chunk", chunk);
      // Of our own, which a subclass has no say in.
      const whole = viewOf(chunk);
      const limits = this.#limits ??= limitsBy(controller);
      if (whole.length === 0) return;
      const sending = this.#ends.send(whole, limits);
      if (sending !== undefined) return this.#sent(sending);
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  close(): void {
    try {
      this.#ends.closeWrite();
    } finally {
      this.#end();
    }
  }

  abort(): void {
    this.#end();
  }

  async #sent(sending: Promise<void>): Promise<void> {
    try {
      await sending;
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ends.ended();
  }
}

/** No end but by a signal, which some runtimes make when it is first asked for. */
function limitsBy(controller: WritableStreamDefaultController): Limits {
  return {
    timeout: Infinity,
    whole: undefined,
    get signal(): AbortSignal {
      return controller.signal;
    },
    isOver: false,
  };
}
