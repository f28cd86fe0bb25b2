/**
 * How many descriptors this process may open.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";
import { Fifo } from "./fifo.ts";

/**
 * How many descriptors stay free. The runtime may need some for itself at any
 * time; Deno panics where there is none.
 */
export const FREE_DESCRIPTORS = 64;

/** How many descriptors a run opens besides its sockets, at most: to wait, and to look up names. */
export const OWN_DESCRIPTORS = 8;

/**
 * How many descriptors are looked at when the open ones are counted. If more
 * are open, a run finds that out by their numbers.
 */
const MOST_COUNTED = 0x1000;

/** The limit of descriptors of this process that is in force, `Infinity` for none. */
export function descriptorLimit(libc: Libc): number {
  const { abi } = libc;
  const limits = newMemory(16);
  if (libc.getrlimit(abi.RLIMIT_NOFILE, limits) < 0) return Infinity;
  const limit = new DataView(limits.buffer).getBigUint64(0, abi.littleEndian);
  // RLIM_INFINITY is the largest number, signed on some systems.
  return limit > 0x7fff_ffffn ? Infinity : Number(limit);
}

/**
 * Counts the open descriptors of this process in one call: poll(2) marks those
 * that are not open.
 */
export function countDescriptors(libc: Libc, limit: number): number {
  const { littleEndian, pollfd, POLLNVAL } = libc.abi;
  const count = Math.min(limit, MOST_COUNTED);
  const array = newMemory(count * pollfd.size);
  const view = new DataView(array.buffer);
  for (let fd = 0; fd < count; fd++) {
    view.setInt32(fd * pollfd.size + pollfd.fd, fd, littleEndian);
  }
  if (libc.poll(array, count, 0) < 0) return 0;
  let open = 0;
  for (let fd = 0; fd < count; fd++) {
    const at = fd * pollfd.size + pollfd.revents;
    if ((view.getUint16(at, littleEndian) & POLLNVAL) === 0) open++;
  }
  return open;
}

/** How many sockets this process has room for, one at least. */
export function roomForSockets(libc: Libc): number {
  const limit = descriptorLimit(libc);
  const open = countDescriptors(libc, limit);
  return Math.max(limit - open - FREE_DESCRIPTORS - OWN_DESCRIPTORS, 1);
}

/**
 * How many sockets a run opens before it counts what is open, which takes longer
 * than all of them, where the limit is beyond what is counted.
 */
const UNCOUNTED = 16;

/** The sockets that one run has room for, and the turns of those that find none. */
export class Room {
  readonly #libc: Libc;
  readonly #queue = new Fifo<() => void>();
  #left: number;
  #isCounted = false;
  #isGiving = false;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#left = descriptorLimit(libc) > MOST_COUNTED ? UNCOUNTED : 0;
  }

  /** Whether somebody waits for a turn. */
  get isWanted(): boolean {
    return this.#queue.length > 0;
  }

  /**
   * Takes room for some sockets; a few more than there is, rather than none.
   *
   * @param enter Called once there is some room, where there is none: it asks
   * again.
   * @returns Whether there is room.
   */
  take(count: number, enter: () => void): boolean {
    if (this.#left <= 0 && !this.#isCounted) {
      this.#isCounted = true;
      this.#left += roomForSockets(this.#libc);
    }
    if (this.#left > 0) {
      this.#left -= count;
      return true;
    }
    this.#queue.push(enter);
    return false;
  }

  /** Calls nobody back any more that waits by now. */
  clear(): void {
    this.#queue.clear();
  }

  /** Gives room back, and lets those enter that wait for it. */
  give(count: number): void {
    this.#left += count;
    // Those that enter may give theirs back at once.
    if (this.#isGiving) return;
    this.#isGiving = true;
    while (this.#left > 0 && this.isWanted) this.#queue.shift()!();
    this.#isGiving = false;
  }
}
