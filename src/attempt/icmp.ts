/**
 * Who refused: the ICMP errors that the kernel keeps with a socket.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { int, intView, newMemory, newScratch } from "../../ffi/memory.ts";
import { decodeAddress } from "../address/address.ts";
import type { Icmp } from "../errors/errors.ts";

/** Room for the error, with who sent it, and for all that options of the socket add. */
const CONTROL_ROOM = 512;
const ROOM = BigInt(CONTROL_ROOM);

/** What the queue of errors of a socket holds. */
export interface QueuedError {
  /** Who sent the last ICMP error, `null` if that is not known. */
  icmp: Icmp | null;
}

/**
 * Empties the queue of errors of a socket.
 *
 * The kernel fills it for TCP over IPv4 whether or not IP_RECVERR is set, since
 * Linux 5.8, and for anybody; over IPv6 only with IPV6_RECVERR. A refusal by
 * RST leaves nothing in it, unlike one by ICMP; but routers send
 * only so many errors, so that an empty queue proves nothing.
 *
 * @param found Takes the last ICMP error; stays as it is if there was none.
 * @returns The errno of that error, 0 if there was none.
 */
export function readErrorQueue(
  libc: Libc,
  fd: number,
  found: QueuedError,
): number {
  const { errorQueue, littleEndian, MSG_DONTWAIT } = libc.abi;
  if (errorQueue === null) return 0;
  const { MSG_ERRQUEUE, msghdr } = errorQueue;
  const { message, view, control, controlView } = memoryFor(libc, errorQueue);
  let errno = 0;
  for (;;) {
    view.setBigUint64(msghdr.controllen, ROOM, littleEndian);
    view.setInt32(msghdr.flags, 0, littleEndian);
    const flags = MSG_ERRQUEUE | MSG_DONTWAIT;
    if (libc.recvmsg(fd, message, flags) < 0) return errno;
    // What does not say that it is from the queue has not made it shorter.
    const from = view.getInt32(msghdr.flags, littleEndian);
    if ((from & MSG_ERRQUEUE) === 0) return errno;
    const filled = Number(view.getBigUint64(msghdr.controllen, littleEndian));
    const at = errorAmong(libc, controlView, filled);
    const icmp = decode(libc, control.subarray(at, filled));
    if (icmp === null) continue;
    found.icmp = icmp;
    const { sockExtendedErr } = errorQueue;
    errno = controlView.getInt32(at + sockExtendedErr.errno, littleEndian);
  }
}

/**
 * Has a socket over IPv6 keep who sends an ICMP error, or keep it no longer and
 * forget what it has kept. Over IPv4 Linux keeps it for all sockets. If the call
 * fails, the sender of an error is unknown, and no more is lost.
 */
export function keepSenders(libc: Libc, fd: number, keeps: boolean): void {
  const { errorQueue, IPPROTO_IPV6, IPV6_RECVERR, littleEndian } = libc.abi;
  if (errorQueue === null || IPV6_RECVERR === null) return;
  intView.setInt32(0, keeps ? 1 : 0, littleEndian);
  libc.setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, int, 4);
}

/** Whether a socket over IPv6 keeps who sends an ICMP error. */
export function keepsSenders(libc: Libc, fd: number): boolean {
  const { IPPROTO_IPV6, IPV6_RECVERR, littleEndian } = libc.abi;
  if (IPV6_RECVERR === null) return false;
  intView.setInt32(0, 0, littleEndian);
  const result = libc.getsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, int);
  return result === 4 && intView.getInt32(0, littleEndian) !== 0;
}

/**
 * Where the error stands among the control messages. The time, the interface
 * and whatever else options of the socket ask for come before it.
 *
 * @returns `filled` if it is not there.
 */
function errorAmong({ abi }: Libc, view: DataView, filled: number): number {
  const { littleEndian, IPPROTO_IP, IPPROTO_IPV6 } = abi;
  const { cmsghdr } = abi.errorQueue!;
  for (let at = 0; at + cmsghdr.data <= filled;) {
    const level = view.getInt32(at + cmsghdr.level, littleEndian);
    const type = view.getInt32(at + cmsghdr.type, littleEndian);
    const isError = level === IPPROTO_IP && type === abi.IP_RECVERR ||
      level === IPPROTO_IPV6 && type === abi.IPV6_RECVERR;
    if (isError) return at + cmsghdr.data;
    const size = Number(view.getBigUint64(at + cmsghdr.len, littleEndian));
    // Each begins where a size_t may.
    at += Math.max(cmsghdr.data, size + 7 & ~7);
  }
  return filled;
}

/**
 * Empties the queue of errors of a socket.
 *
 * @returns The last ICMP error in it, `null` if there was none.
 */
export function takeIcmp(libc: Libc, fd: number): Icmp | null {
  const found: QueuedError = { icmp: null };
  readErrorQueue(libc, fd, found);
  return found.icmp;
}

type ErrorQueue = NonNullable<Libc["abi"]["errorQueue"]>;

/** A message header and the memory that it points to. */
interface Memory {
  readonly message: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  readonly control: Uint8Array<ArrayBuffer>;
  readonly controlView: DataView;
  readonly vector: Uint8Array<ArrayBuffer>;
}

/** What each library has been given; a header holds an address of its own. */
const memories = new WeakMap<Libc, Memory>();

function memoryFor(libc: Libc, { msghdr }: ErrorQueue): Memory {
  let memory = memories.get(libc);
  if (memory === undefined) {
    const { littleEndian } = libc.abi;
    const message = newScratch(msghdr.size);
    const control = newMemory(CONTROL_ROOM);
    // One vector, and an empty one: without any, QEMU returns 0 and leaves the
    // kernel out of it.
    const vector = newMemory(msghdr.vectorSize);
    const view = new DataView(message.buffer);
    view.setBigUint64(msghdr.iov, libc.addressOf(vector), littleEndian);
    view.setBigUint64(msghdr.iovlen, 1n, littleEndian);
    view.setBigUint64(msghdr.control, libc.addressOf(control), littleEndian);
    const controlView = new DataView(control.buffer);
    memory = { message, view, control, controlView, vector };
    memories.set(libc, memory);
  }
  return memory;
}

function decode({ abi }: Libc, error: Uint8Array): Icmp | null {
  const { sockExtendedErr, ...origins } = abi.errorQueue!;
  if (error.length < sockExtendedErr.size) return null;
  const origin = error[sockExtendedErr.origin];
  if (
    origin !== origins.SO_EE_ORIGIN_ICMP &&
    origin !== origins.SO_EE_ORIGIN_ICMP6
  ) return null;
  const { sockaddrIn, sockaddrIn6 } = abi;
  const sender = error.subarray(sockExtendedErr.size);
  // It is of the socket's family: over IPv4, too, the sender is an IPv6 address
  // where the socket connects to a mapped one.
  const size = sender.length < sockaddrIn6.size
    ? sockaddrIn.size
    : sockaddrIn6.size;
  const offender = decodeAddress(sender, size);
  return {
    type: error[sockExtendedErr.type]!,
    code: error[sockExtendedErr.code]!,
    from: "hostname" in offender ? offender.hostname : offender.toString(),
  };
}
