/**
 * Socket options by the system's own numbers.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { int, intView, newMemory } from "../../ffi/memory.ts";
import {
  copyOf,
  INT_MAX,
  isBytes,
  show,
  UINT_MAX,
} from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { type ErrnoError, errnoErrorFor } from "../errors/errors.ts";

const INT_MIN = -0x80000000;
/** The most bytes that an option is read into; the largest of Linux's has a few thousand. */
const LARGEST_OPTION = 0x1_0000;
/** The level of an option, by how its C name begins. */
export const LEVELS = {
  SO: "SOL_SOCKET",
  IP: "IPPROTO_IP",
  IPV6: "IPPROTO_IPV6",
  TCP: "IPPROTO_TCP",
} as const satisfies Record<string, keyof Abi>;

/** The C name of an option that the tables have. */
export type OptionConstant = keyof Abi & `${keyof typeof LEVELS}_${string}`;

/**
 * Sets any option, by its numbers in C.
 *
 * @param libc The C library.
 * @param fd The socket.
 * @param level The level, such as `IPPROTO_TCP`.
 * @param option The option at that level.
 * @param value A C `int` or `unsigned int`, or the bytes of anything else.
 * @throws {TypeError} If an argument has a wrong type.
 * @throws {RangeError} If a number does not fit its C type.
 * @throws {ErrnoError} If the kernel refuses.
 * @throws The runtime's own error, unless the program may reach every address or the
 * option stays between this machine and the peer.
 */
export function setRawOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
  value: number | Uint8Array,
): void {
  checkNumbers("set", level, option);
  let bytes = int;
  if (isBytes(value)) {
    // C is never shown memory of callers, who may share or detach it.
    bytes = copyOf("value", value);
  } else {
    checkValue(level, option, value);
    intView.setUint32(0, value, libc.abi.littleEndian);
  }
  const { SOL_SOCKET, IPPROTO_TCP } = libc.abi;
  if (level !== SOL_SOCKET && level !== IPPROTO_TCP) {
    demandSetting(libc, level, option);
  }
  const result = libc.setsockopt(fd, level, option, bytes, bytes.length);
  if (result >= 0) return;
  const text = bytes === int ? `${value}` : `${bytes.length} bytes`;
  throw optionRefusal(
    "setsockopt",
    result,
    `${optionName(level, option)} to ${text}`,
  );
}

/**
 * Reads any option that is a C `int`, by its numbers in C.
 *
 * @param libc The C library.
 * @param fd The socket.
 * @param level The level, such as `IPPROTO_TCP`.
 * @param option The option at that level.
 * @returns The number, signed.
 * @throws {TypeError} If an argument has a wrong type, or what the system wrote
 * is not of an `int`'s length.
 * @throws {RangeError} If a number does not fit its C type.
 * @throws {ErrnoError} If the kernel refuses.
 * @throws The runtime's own error, where the level is not one of TCP/IP.
 */
export function getRawOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
): number {
  checkNumbers("get", level, option);
  demandReading(libc, level);
  const length = libc.getsockopt(fd, level, option, int);
  if (length >= 0) return readInt(intView, length, libc.abi);
  throw optionRefusal("getsockopt", length, optionName(level, option));
}

/**
 * Reads any option as bytes, by its numbers in C.
 *
 * @param libc The C library.
 * @param fd The socket.
 * @param level The level, such as `IPPROTO_TCP`.
 * @param option The option at that level.
 * @param size How many bytes there is room for.
 * @returns The bytes that the kernel wrote, which may be fewer.
 * @throws {TypeError} If an argument has a wrong type.
 * @throws {RangeError} If a number does not fit its C type.
 * @throws {ErrnoError} If the kernel refuses.
 * @throws The runtime's own error, where the level is not one of TCP/IP.
 */
export function getRawOptionBytes(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
  size: number,
): Uint8Array<ArrayBuffer> {
  checkNumbers("get", level, option);
  if (!isInt(size, 0, LARGEST_OPTION)) {
    checkInt(
      `Cannot get ${optionName(level, option)} of size`,
      size,
      0,
      LARGEST_OPTION,
    );
  }
  demandReading(libc, level);
  const bytes = newMemory(size);
  const length = libc.getsockopt(fd, level, option, bytes);
  if (length >= 0) return bytes.subarray(0, length);
  throw optionRefusal("getsockopt", length, optionName(level, option));
}

/** Reads an `int` out of so many bytes, or a byte that stands for one. */
export function readInt(
  view: DataView,
  length: number,
  { littleEndian }: Abi,
): number {
  if (length === 4) return view.getInt32(0, littleEndian);
  if (length === 1) return view.getUint8(0);
  throw own(
    new TypeError(
      `Cannot read the option as a number: the system wrote ${length} bytes`,
    ),
  );
}

/** The error for an option that the kernel refuses. */
export function optionRefusal(
  syscall: string,
  result: number,
  what: string,
): ErrnoError {
  return errnoErrorFor(-result, { syscall, subject: what });
}

/** Makes sure that a value is an integer of C; `action` begins the message. */
export function checkInt(
  action: string,
  value: unknown,
  min: number,
  max: number,
): asserts value is number {
  if (typeof value !== "number") {
    throw own(new TypeError(`${action} ${show(value)}: expected a number`));
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw own(
      new RangeError(
        `${action} ${value}: expected an integer from ${min} to ${max}`,
      ),
    );
  }
}

/** Checks the numbers of an option; no text is made before one is wrong. */
function checkNumbers(
  verb: "get" | "set",
  level: unknown,
  option: unknown,
): void {
  if (isInt(level, INT_MIN, INT_MAX) && isInt(option, INT_MIN, INT_MAX)) return;
  checkInt(`Cannot ${verb} an option at level`, level, INT_MIN, INT_MAX);
  checkInt(`Cannot ${verb} option`, option, INT_MIN, INT_MAX);
}

/** Checks the value of an option that is a number. */
function checkValue(level: number, option: number, value: unknown): void {
  if (isInt(value, INT_MIN, UINT_MAX)) return;
  const action = `Cannot set ${optionName(level, option)} to`;
  if (typeof value === "number") checkInt(action, value, INT_MIN, UINT_MAX);
  throw own(
    new TypeError(
      `${action} ${show(value)}: expected a number or a Uint8Array`,
    ),
  );
}

function isInt(value: unknown, min: number, max: number): boolean {
  return Number.isInteger(value) && value as number >= min &&
    value as number <= max;
}

/** An option as messages call it. */
function optionName(level: number, option: number): string {
  return `option ${option} at level ${level}`;
}

/**
 * Asks for the network, unless setting an option sends nothing and changes
 * nothing about where packets go.
 *
 * The levels of sockets and of TCP are between this machine and a peer that was
 * permitted. At the levels of IP, options join groups and write routing headers,
 * so that only those count which have a name here; other protocols' connect.
 */
function demandSetting(
  { abi, permissions }: Libc,
  level: number,
  option: number,
): void {
  if (permissions.net()) return;
  let own = known.get(abi);
  if (own === undefined) {
    own = new Set(
      (Object.keys(abi) as (keyof Abi)[]).map((constant) => {
        const prefix = constant.slice(0, constant.indexOf("_"));
        return prefix === "IP" || prefix === "IPV6"
          ? `${abi[LEVELS[prefix]]}/${abi[constant]}`
          : "";
      }),
    );
    known.set(abi, own);
  }
  if (!own.has(`${level}/${option}`)) permissions.demandAll(false);
}

/** The options of IP that each table knows. */
const known = new WeakMap<Abi, ReadonlySet<string>>();

/** Reading changes nothing, except at levels where it does: SCTP connects by it. */
function demandReading(libc: Libc, level: number): void {
  const { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, mptcp } = libc.abi;
  switch (level) {
    case SOL_SOCKET:
    case IPPROTO_IP:
    case IPPROTO_IPV6:
    case IPPROTO_TCP:
    case mptcp?.SOL_MPTCP:
      return;
    default:
      libc.permissions.demandAll(false);
  }
}
