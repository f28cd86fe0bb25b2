import type { Abi } from "../../ffi/abi.ts";
import type { Libc, Watch } from "../../ffi/contract.ts";
import { newMemory, newScratch } from "../../ffi/memory.ts";
import { errnoErrorFor } from "../errors/errors.ts";
import type { Selector } from "./selector.ts";

/**
 * How many descriptors one look finds at most: what their owners go on to do
 * is one turn's work.
 */
const BATCH = 64;

/** Where the runtime's own loop has missed what was ready. */
const distrusted = new WeakSet<Libc>();

/**
 * epoll(7). Its own descriptor can be polled, so that an off-thread poll of
 * this one stands for all, and what is armed meanwhile takes part.
 */
export class EpollSelector implements Selector {
  readonly isLive = true;
  readonly forgetsClosed = true;
  /** First come, first found. */
  readonly rounds = 1;
  readonly armCall = "epoll_ctl";
  readonly lookCall = "epoll_wait";
  readonly fds = new Int32Array(BATCH);
  readonly events = new Int32Array(BATCH);
  readonly #libc: Libc;
  readonly #epoll: NonNullable<Abi["epoll"]>;
  readonly #epfd: number;
  /** An eventfd(2), which can always be written to: to arm it is to wake a wait. */
  #waker = -1;
  #isAwake = false;
  readonly #event: Uint8Array<ArrayBuffer>;
  readonly #eventView: DataView;
  readonly #batch: Uint8Array<ArrayBuffer>;
  readonly #batchView: DataView;
  readonly #pollfd: Uint8Array<ArrayBuffer>;
  /** How the runtime's own loop waits, `undefined` before the first wait. */
  #watch: Watch | null | undefined;

  /**
   * @throws {ErrnoError} If it takes more descriptors than there are, or the
   * system lets this process watch no more.
   */
  constructor(libc: Libc, epoll: NonNullable<Abi["epoll"]>) {
    const { abi } = libc;
    this.#libc = libc;
    this.#epoll = epoll;
    this.#event = newScratch(epoll.event.size);
    this.#eventView = new DataView(this.#event.buffer);
    this.#batch = newScratch(epoll.event.size * BATCH);
    this.#batchView = new DataView(this.#batch.buffer);
    this.#pollfd = newMemory(abi.pollfd.size);
    libc.prepare("close", "epoll_ctl", "epoll_wait", "pollOffThread");
    this.#epfd = libc.epoll_create1(epoll.EPOLL_CLOEXEC);
    if (this.#epfd < 0) {
      throw errnoErrorFor(-this.#epfd, { syscall: "epoll_create1" });
    }
    let result = -1;
    try {
      this.#waker = libc.eventfd(0, epoll.EFD_CLOEXEC);
      result = this.#waker < 0
        ? this.#waker
        : this.#control(epoll.EPOLL_CTL_ADD, this.#waker, 0);
    } finally {
      if (result < 0) this.close();
    }
    if (result < 0) {
      const syscall = this.#waker < 0 ? "eventfd" : "epoll_ctl";
      throw errnoErrorFor(-result, { syscall });
    }
    const view = new DataView(this.#pollfd.buffer);
    view.setInt32(abi.pollfd.fd, this.#epfd, abi.littleEndian);
    view.setInt16(abi.pollfd.events, abi.POLLIN, abi.littleEndian);
  }

  arm(fd: number, events: number): number {
    const { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLONESHOT } = this.#epoll;
    const once = events | EPOLLONESHOT;
    const result = this.#control(EPOLL_CTL_ADD, fd, once);
    // A descriptor whose events were found stays in the set, unarmed.
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
      this.#control(this.#epoll.EPOLL_CTL_MOD, this.#waker, 0);
      this.#isAwake = false;
    }
    if (this.#watch === undefined) this.#watch = this.#openWatch();
    const watch = this.#watch;
    return watch === null
      ? this.#libc.pollAsync(this.#pollfd, 1, timeout)
      : watch.wait();
  }

  #openWatch(): Watch | null {
    return distrusted.has(this.#libc)
      ? null
      : this.#libc.watchReadable?.(this.#epfd) ?? null;
  }

  distrust(): void {
    if (!this.#watch) return;
    distrusted.add(this.#libc);
    this.#watch.close();
    this.#watch = null;
  }

  wake(): void {
    this.#isAwake = true;
    const { POLLOUT } = this.#libc.abi;
    const { EPOLL_CTL_MOD } = this.#epoll;
    let result = -1;
    try {
      result = this.#control(EPOLL_CTL_MOD, this.#waker, POLLOUT);
    } finally {
      // A wait of the runtime's loop has no end of its own.
      if (result < 0) {
        this.#watch?.close();
        this.#watch = undefined;
      }
    }
  }

  close(): void {
    this.#watch?.close();
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
