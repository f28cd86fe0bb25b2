/**
 * Which of many descriptors are ready: a class for each mechanism of a system.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { errnoErrorFor } from "../errors/errors.ts";

/**
 * How many descriptors one look finds at most: what their owners go on to do
 * is one turn's work.
 */
const BATCH = 128;

/** The same where each look costs something for every descriptor of the set. */
const POLL_BATCH = 256;

/**
 * A set of descriptors, each of them watched until it has been told of once.
 *
 * Memory that an off-thread wait uses is written to by nobody else meanwhile.
 */
export interface Selector {
  /** Whether a descriptor that is armed joins a wait that is under way. */
  readonly isLive: boolean;
  /** The descriptors that the last look found. */
  readonly fds: Int32Array;
  /** Their events, by the same index. */
  readonly events: Int32Array;
  /** Watches for events, instead of those watched for so far: 0 or `-errno`. */
  arm(fd: number, events: number): number;
  /** Forgets a descriptor; comes before its closing. */
  disarm(fd: number): void;
  /** Finds what is ready now, without waiting: how many, or `-errno`. */
  look(): number;
  /**
   * Waits off the thread, one wait at a time. What it answers says no more
   * than: look.
   */
  wait(timeout: number): Promise<number>;
  /**
   * Ends the wait that is under way. A look does not undo it, which may come
   * before the other thread has noticed.
   */
  wake(): void;
  /** Gives up the descriptors of its own. No wait may be under way. */
  close(): void;
}

/**
 * Opens the best that the system has.
 *
 * @throws {ErrnoError} `EMFILE`, `ENFILE`, ... if it takes more descriptors than
 * there are.
 */
export function openSelector(libc: Libc): Selector {
  const { epoll } = libc.abi;
  return epoll === null
    ? new PollSelector(libc)
    : new EpollSelector(libc, epoll);
}

/**
 * epoll(7). Its own descriptor can be polled, so that an off-thread poll of
 * this one stands for all, and what is armed meanwhile takes part.
 */
class EpollSelector implements Selector {
  readonly isLive = true;
  readonly fds = new Int32Array(BATCH);
  readonly events = new Int32Array(BATCH);
  readonly #libc: Libc;
  readonly #epoll: NonNullable<Abi["epoll"]>;
  readonly #epfd: number;
  /** A socket that could always be written to: to arm it is to wake a wait. */
  readonly #waker: number;
  #isAwake = false;
  readonly #event: Uint8Array<ArrayBuffer>;
  readonly #eventView: DataView;
  readonly #batch: Uint8Array<ArrayBuffer>;
  readonly #batchView: DataView;
  readonly #pollfd: Uint8Array<ArrayBuffer>;

  constructor(libc: Libc, epoll: NonNullable<Abi["epoll"]>) {
    const { abi } = libc;
    this.#libc = libc;
    this.#epoll = epoll;
    this.#event = newMemory(epoll.event.size);
    this.#eventView = new DataView(this.#event.buffer);
    this.#batch = newMemory(epoll.event.size * BATCH);
    this.#batchView = new DataView(this.#batch.buffer);
    this.#pollfd = newMemory(abi.pollfd.size);
    this.#epfd = libc.epoll_create1(epoll.EPOLL_CLOEXEC);
    if (this.#epfd < 0) {
      throw errnoErrorFor(-this.#epfd, { syscall: "epoll_create1" });
    }
    const type = abi.SOCK_DGRAM | (abi.SOCK_CLOEXEC ?? 0);
    this.#waker = libc.socket(abi.AF_UNIX, type, 0);
    const result = this.#waker < 0
      ? this.#waker
      : this.#control(epoll.EPOLL_CTL_ADD, this.#waker, 0);
    if (result < 0) {
      this.close();
      throw errnoErrorFor(-result, { syscall: "socket" });
    }
    const view = new DataView(this.#pollfd.buffer);
    view.setInt32(abi.pollfd.fd, this.#epfd, abi.littleEndian);
    view.setInt16(abi.pollfd.events, abi.POLLIN, abi.littleEndian);
  }

  arm(fd: number, events: number): number {
    const { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLONESHOT } = this.#epoll;
    const once = events | EPOLLONESHOT;
    const result = this.#control(EPOLL_CTL_ADD, fd, once);
    // A descriptor that was told of stays in the set, unarmed.
    return result === -this.#libc.abi.errnos.EEXIST!
      ? this.#control(EPOLL_CTL_MOD, fd, once)
      : result;
  }

  disarm(fd: number): void {
    this.#control(this.#epoll.EPOLL_CTL_DEL, fd, 0);
  }

  look(): number {
    const { event } = this.#epoll;
    const { littleEndian } = this.#libc.abi;
    const view = this.#batchView;
    const count = this.#libc.epoll_wait(this.#epfd, this.#batch, BATCH, 0);
    let found = 0;
    for (let i = 0, at = 0; i < count; i++, at += event.size) {
      const fd = view.getInt32(at + event.data, littleEndian);
      if (fd === this.#waker) continue;
      this.fds[found] = fd;
      this.events[found] = view.getUint32(at + event.events, littleEndian);
      found++;
    }
    return count < 0 ? count : found;
  }

  wait(timeout: number): Promise<number> {
    if (this.#isAwake) {
      this.#isAwake = false;
      this.#control(this.#epoll.EPOLL_CTL_MOD, this.#waker, 0);
    }
    return this.#libc.pollAsync(this.#pollfd, 1, timeout);
  }

  wake(): void {
    this.#isAwake = true;
    const { POLLOUT } = this.#libc.abi;
    this.#control(this.#epoll.EPOLL_CTL_MOD, this.#waker, POLLOUT);
  }

  close(): void {
    if (this.#waker >= 0) this.#libc.close(this.#waker);
    this.#libc.close(this.#epfd);
  }

  #control(op: number, fd: number, events: number): number {
    const { event } = this.#epoll;
    const { littleEndian } = this.#libc.abi;
    this.#eventView.setUint32(event.events, events, littleEndian);
    this.#eventView.setInt32(event.data, fd, littleEndian);
    return this.#libc.epoll_ctl(this.#epfd, op, fd, this.#event);
  }
}

/** How many descriptors the first array of {@linkcode PollSelector} holds. */
const FIRST_ROOM = 64;

/** poll(2), which every system has: the set is an array, and a wait a copy. */
class PollSelector implements Selector {
  readonly isLive = false;
  readonly fds = new Int32Array(POLL_BATCH);
  readonly events = new Int32Array(POLL_BATCH);
  readonly #libc: Libc;
  /** Two sockets: what is sent on one wakes a wait on the other. */
  readonly #wakers: readonly [heard: number, said: number];
  readonly #byte = newMemory(1);
  #isAwake = false;
  /** What the other thread waits on, kept from the garbage collector. */
  #waiting: Uint8Array | null = null;
  /** Where each descriptor stands in the array; the first place is a waker's. */
  readonly #places = new Map<number, number>();
  #count = 1;
  #array: Uint8Array<ArrayBuffer>;
  #view: DataView;

  constructor(libc: Libc) {
    const { abi } = libc;
    this.#libc = libc;
    this.#array = newMemory(abi.pollfd.size * FIRST_ROOM);
    this.#view = new DataView(this.#array.buffer);
    const pair = newMemory(8);
    const result = libc.socketpair(
      abi.AF_UNIX,
      abi.SOCK_DGRAM | (abi.SOCK_CLOEXEC ?? 0),
      0,
      pair,
    );
    if (result < 0) throw errnoErrorFor(-result, { syscall: "socketpair" });
    const view = new DataView(pair.buffer);
    this.#wakers = [
      view.getInt32(0, abi.littleEndian),
      view.getInt32(4, abi.littleEndian),
    ];
    if (abi.SOCK_CLOEXEC === null) {
      for (const fd of this.#wakers) {
        libc.fcntl(fd, abi.F_SETFD, abi.FD_CLOEXEC);
      }
    }
    this.#write(0, this.#wakers[0], abi.POLLIN);
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
    let found = 0;
    for (let i = 0, seen = 0; i < this.#count && seen < ready; i++) {
      const events = this.#view.getUint16(i * size + revents, abi.littleEndian);
      if (events === 0) continue;
      seen++;
      if (i > 0 && found < POLL_BATCH) {
        this.fds[found] = this.#view.getInt32(i * size + fd, abi.littleEndian);
        this.events[found] = events;
        found++;
      }
    }
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
    this.#isAwake = true;
    this.#libc.sendto(this.#wakers[1], this.#byte, 1, this.#flags(), null, 0);
  }

  close(): void {
    for (const fd of this.#wakers) this.#libc.close(fd);
  }

  #flags(): number {
    const { MSG_DONTWAIT, MSG_NOSIGNAL } = this.#libc.abi;
    return MSG_DONTWAIT | (MSG_NOSIGNAL ?? 0);
  }

  /** Takes what {@linkcode PollSelector.wake} has said. */
  #hear(): void {
    this.#isAwake = false;
    const flags = this.#libc.abi.MSG_DONTWAIT;
    const [heard] = this.#wakers;
    while (this.#libc.recvfrom(heard, this.#byte, 1, flags, null) >= 0);
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
