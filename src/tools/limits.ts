/**
 * How many descriptors this process may open.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { newMemory } from "../../ffi/memory.ts";

/**
 * How many descriptors stay free. The runtime may need some for itself at any
 * time; Deno panics where there is none.
 */
export const FREE_DESCRIPTORS = 64;

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
  return Math.max(limit - countDescriptors(libc, limit) - FREE_DESCRIPTORS, 1);
}
