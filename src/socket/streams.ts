/**
 * Web streams over calls that receive and send.
 *
 * @module
 */
import { checkBytes, viewOf } from "../errors/arguments.ts";

/** How many bytes a reader without a buffer of its own is given at most. */
const CHUNK = 0x1_0000;

/** What a connection does for its streams. */
export interface Ends {
  /** Answers how many bytes came, 0 at the end. */
  receive(buffer: Uint8Array, signal: AbortSignal): Promise<number>;
  /** Answers how many bytes went. */
  send(data: Uint8Array, signal: AbortSignal): Promise<number>;
  /** Tells the peer that no more will come. */
  closeWrite(): void;
}

/** What comes in. A call waits only while somebody reads. */
export function readableOf(
  { receive }: Pick<Ends, "receive">,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const canceled = new AbortController();
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: CHUNK,
    async pull(controller): Promise<void> {
      const request = controller.byobRequest!;
      const view = request.view as Uint8Array;
      let size: number;
      try {
        size = await receive(view, canceled.signal);
      } catch (error) {
        // Whoever canceled has been told, and the stream is closed.
        if (canceled.signal.aborted) return;
        throw error;
      }
      if (canceled.signal.aborted) return;
      if (size === 0) controller.close();
      request.respond(size);
    },
    cancel(): void {
      canceled.abort();
    },
  });
}

/** What goes out. */
export function writableOf(
  { send, closeWrite }: Omit<Ends, "receive">,
): WritableStream<Uint8Array> {
  return new WritableStream({
    async write(chunk, { signal }): Promise<void> {
      checkBytes("chunk", chunk);
      // Of our own, which a subclass has no say in.
      let rest = viewOf(chunk);
      while (rest.length > 0) rest = rest.subarray(await send(rest, signal));
    },
    close(): void {
      closeWrite();
    },
  });
}
