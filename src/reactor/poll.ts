import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { errnoErrorFor } from "../errors/errors.ts";
import type { Selector } from "./selector.ts";

/**
 * How many descriptors one look finds at most. Each look costs something for
 * every descriptor of the set, so that it should find many.
 */
const POLL_BATCH = 128;

/** How many descriptors the first array holds. */
const FIRST_LENGTH = 64;

/** poll(2), which every system has: the set is an array, and a wait a copy. */
export class PollSelector implements Selector {
  readonly isLive = false;
  readonly forgetsClosed = false;
  /** The rest of one way through the array, and another one. */
  readonly rounds = 2;
  readonly armCall = "poll";
  readonly lookCall = "poll";
  readonly fds = new Int32Array(POLL_BATCH);
  readonly events = new Int32Array(POLL_BATCH);
  readonly #libc: Libc;
  /** A pipe(2): what is written to one end wakes a wait for the other. */
  readonly #heard: number;
  readonly #said: number;
  readonly #byte = newMemory(1);
  #isAwake = false;
  /** What the other thread waits on, kept from the garbage collector. */
  #waiting: Uint8Array | null = null;
  /** Where each descriptor stands in the array; the first place is the pipe's. */
  readonly #places = new Map<number, number>();
  #count = 1;
  /** Where the last look has stopped, which goes down through the array. */
  #place = 1;
  #array: Uint8Array<ArrayBuffer>;
  #view: DataView;

  /** @throws {ErrnoError} If it takes more descriptors than there are. */
  constructor(libc: Libc) {
    const { abi } = libc;
    this.#libc = libc;
    this.#array = newMemory(abi.pollfd.size * FIRST_LENGTH);
    this.#view = new DataView(this.#array.buffer);
    libc.prepare("close", "fcntl", "poll", "pollOffThread", "read", "write");
    const pipe = newMemory(8);
    const result = libc.pipe(pipe);
    if (result < 0) throw errnoErrorFor(-result, { syscall: "pipe" });
    const view = new DataView(pipe.buffer);
    this.#heard = view.getInt32(0, abi.littleEndian);
    this.#said = view.getInt32(4, abi.littleEndian);
    try {
      libc.fcntl(this.#heard, abi.F_SETFD, abi.FD_CLOEXEC);
      libc.fcntl(this.#said, abi.F_SETFD, abi.FD_CLOEXEC);
    } catch (error) {
      this.close();
      throw error;
    }
    this.#write(0, this.#heard, abi.POLLIN);
  }

  arm(fd: number, events: number): number {
    let place = this.#places.get(fd);
    if (place === undefined) {
      place = this.#count++;
      this.#places.set(fd, place);
      const { size } = this.#libc.abi.pollfd;
      if (this.#count * size > this.#array.length) this.#grow();
    }
    this.#write(place, fd, events);
    return 0;
  }

  disarm(fd: number): void {
    const place = this.#places.get(fd);
    if (place === undefined) return;
    this.#places.delete(fd);
    const last = --this.#count;
    if (place === last) return;
    // The last one moves to where the gap is.
    const { size, fd: offset } = this.#libc.abi.pollfd;
    const { littleEndian } = this.#libc.abi;
    this.#array.copyWithin(place * size, last * size, (last + 1) * size);
    this.#places.set(
      this.#view.getInt32(place * size + offset, littleEndian),
      place,
    );
  }

  look(): number {
    const { abi } = this.#libc;
    const { size, fd, revents } = abi.pollfd;
    const ready = this.#libc.poll(this.#array, this.#count, 0);
    if (ready <= 0) return ready;
    const view = this.#view;
    let found = 0;
    let left = ready;
    if (view.getUint16(revents, abi.littleEndian) !== 0) left--;
    let place = this.#place;
    // Each has its turn, however many there are: what comes into a gap and what
    // is new comes from the end, where it has been or comes after all the others.
    for (let i = 1; i < this.#count && left > 0 && found < POLL_BATCH; i++) {
      place = place > 1 && place <= this.#count ? place - 1 : this.#count - 1;
      const at = place * size;
      const events = view.getUint16(at + revents, abi.littleEndian);
      if (events === 0) continue;
      left--;
      this.fds[found] = view.getInt32(at + fd, abi.littleEndian);
      this.events[found] = events;
      found++;
    }
    this.#place = place;
    for (let i = 0; i < found; i++) this.disarm(this.fds[i]!);
    return found;
  }

  wait(timeout: number): Promise<number> {
    if (this.#isAwake) this.#hear();
    const length = this.#count * this.#libc.abi.pollfd.size;
    const copy = newMemory(length);
    copy.set(this.#array.subarray(0, length));
    this.#waiting = copy;
    return this.#libc.pollAsync(copy, this.#count, timeout);
  }

  wake(): void {
    // One byte at a time, so that neither end ever blocks.
    if (this.#isAwake) return;
    this.#isAwake = true;
    const { EINTR } = this.#libc.abi.errnos;
    while (this.#libc.write(this.#said, this.#byte, 1) === -EINTR);
  }

  distrust(): void {}

  close(): void {
    this.#libc.close(this.#heard);
    this.#libc.close(this.#said);
  }

  /** Takes the byte that {@linkcode PollSelector.wake} has written. */
  #hear(): void {
    this.#isAwake = false;
    const { EINTR } = this.#libc.abi.errnos;
    while (this.#libc.read(this.#heard, this.#byte, 1) === -EINTR);
  }

  #write(place: number, fd: number, events: number): void {
    const { littleEndian, pollfd: at } = this.#libc.abi;
    const start = place * at.size;
    this.#view.setInt32(start + at.fd, fd, littleEndian);
    this.#view.setInt16(start + at.events, events, littleEndian);
    this.#view.setInt16(start + at.revents, 0, littleEndian);
  }

  #grow(): void {
    const larger = newMemory(this.#array.length * 2);
    larger.set(this.#array);
    this.#array = larger;
    this.#view = new DataView(larger.buffer);
  }
}
