/**
 * Text to socket addresses to the bytes that C reads, and back.
 *
 * An address is encoded once, when it is made, and never changes: code that
 * asks for a permission by its fields and then hands its bytes to the kernel
 * has asked about those very bytes.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import { currentAbi, libc } from "../../ffi/libc.ts";
import { ENCODER } from "../../ffi/memory.ts";
import {
  checkBytes,
  checkInteger,
  checkText,
  copyOf,
  isBytes,
  MAX_PORT,
  readOptions,
  show,
  sizeOf,
} from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import {
  errnoError,
  errnoErrorFor,
  NotSupportedError,
  pointed,
} from "../errors/errors.ts";
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from "./ip.ts";

/** Proves that it is this module that calls the constructor. */
const ADDRESS_SEAL = Symbol();

let reveal: (address: SocketAddress) => Uint8Array<ArrayBuffer>;
let has: (value: object) => boolean;
let seal: <A extends Address>(
  bytes: Uint8Array<ArrayBuffer>,
  fields: Omit<A, keyof SocketAddress>,
) => A;

/**
 * What every address has, whatever its family: the memory that the kernel
 * reads, which cannot be seen or changed from outside.
 *
 * The functions of this module make the instances; {@linkcode Address} lists
 * their kinds. The fields are frozen.
 *
 * @example Two spellings of one address
 * ```ts
 * import { inet6 } from "@einprogress/connect";
 * import { assert } from "@std/assert";
 *
 * assert(inet6("0:0::1", 80).equals(inet6("::1", 80)));
 * assert(!inet6("::1", 80).equals(inet6("::1", 81)));
 * ```
 */
export class SocketAddress {
  readonly #bytes: Uint8Array<ArrayBuffer>;

  static {
    reveal = (address) => address.#bytes;
    has = (value) => #bytes in value;
    seal = <A extends Address>(
      bytes: Uint8Array<ArrayBuffer>,
      fields: Omit<A, keyof SocketAddress>,
    ) => new SocketAddress(ADDRESS_SEAL, bytes, fields) as A;
  }

  private constructor(
    proof: symbol,
    bytes: Uint8Array<ArrayBuffer>,
    fields: object,
  ) {
    if (proof !== ADDRESS_SEAL) {
      throw own(
        new TypeError(
          "Cannot construct an address: call inet(), inet6(), unix(), " +
            "abstractUnix(), vsock(), unspecified() or rawAddress()",
        ),
      );
    }
    this.#bytes = bytes;
    Object.freeze(Object.assign(this, fields));
    // What a prototype has a setter for does not become a field, and would read
    // as something else than the bytes that the kernel is given.
    if (Object.keys(this).length !== Object.keys(fields).length) {
      throw own(
        new TypeError(
          "Cannot make an address: a prototype has a setter for a field of it",
        ),
      );
    }
  }

  /**
   * Returns whether another address is the same one to the kernel, down to its
   * scope and flow information.
   *
   * @param other The address to compare with.
   * @returns Whether both are the same bytes.
   *
   * @example Comparing the peer with the address that was asked for
   * ```ts
   * import { inet } from "@einprogress/connect";
   * import { assert } from "@std/assert";
   *
   * assert(inet("127.0.0.1", 80).equals(inet("127.0.0.1", 80)));
   * ```
   */
  equals(other: SocketAddress): boolean {
    return sameBytes(this.#bytes, other.#bytes);
  }

  /**
   * Copies the bytes of the C structure, as this system lays it out.
   *
   * {@linkcode rawAddress} makes an equal address of them.
   *
   * @returns The structure, exactly as long as the length that C is given.
   *
   * @example The port is in network order on every system
   * ```ts
   * import { inet } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * const bytes = inet("127.0.0.1", 0x1234).toBytes();
   * assertEquals(bytes.slice(2, 4), new Uint8Array([0x12, 0x34]));
   * ```
   */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice();
  }

  /**
   * Writes the address as messages show it: `127.0.0.1:80`, `[fe80::1%2]:80`
   * with the number of the zone, `unix:/run/x.sock`, `unix:@name` for an
   * abstract one, `unix:` for one without a name, `vsock:2:80`, `unspec`, and
   * `raw:` with the bytes in hexadecimal.
   *
   * In Unix names a backslash is written `\\`, and a control character or a
   * byte that is not UTF-8 is written `\x1b`. Flow information is not written.
   *
   * @returns One line of text.
   *
   * @example The text of each family
   * ```ts
   * import { inet6, unix } from "@einprogress/connect";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(`${inet6("FE80:0::1%2", 80)}`, "[fe80::1%2]:80");
   * assertEquals(`${unix("/run/x.sock")}`, "unix:/run/x.sock");
   * ```
   */
  toString(): string {
    return format(this as unknown as Address);
  }
}

/** An IPv4 address and a port; see {@linkcode inet}. */
export interface InetAddress extends SocketAddress {
  /** Distinguishes the kinds of {@linkcode Address}. */
  readonly family: "inet";
  /** Four decimal numbers, `127.0.0.1`. */
  readonly hostname: string;
  /** 0 to 65535. */
  readonly port: number;
}

/** An IPv6 address and a port; see {@linkcode inet6}. */
export interface Inet6Address extends SocketAddress {
  /** Distinguishes the kinds of {@linkcode Address}. */
  readonly family: "inet6";
  /** The address in the one spelling of RFC 5952, without a zone. */
  readonly hostname: string;
  /** 0 to 65535. */
  readonly port: number;
  /** The index of an interface, or 0 for none. */
  readonly scopeId: number;
  /** Traffic class and flow label as one number; 0 for none. */
  readonly flowInfo: number;
}

/**
 * The name of a socket on this machine; see {@linkcode unix} and
 * {@linkcode abstractUnix}.
 *
 * A socket that is not bound has no name: its `path` is `""` and `abstract` is
 * `false`. No function of this module makes such an address, but the kernel
 * returns it.
 */
export interface UnixAddress extends SocketAddress {
  /** Distinguishes the kinds of {@linkcode Address}. */
  readonly family: "unix";
  /**
   * The path, or the abstract name without its leading NUL. A byte that is not
   * UTF-8, say 0xff, stands here as the lone surrogate U+DCFF (0xdc00 more), so
   * that different names are different strings.
   */
  readonly path: string;
  /** Whether the name is outside the file system. */
  readonly abstract: boolean;
}

/** A port of a virtual machine or of its host; see {@linkcode vsock}. */
export interface VsockAddress extends SocketAddress {
  /** Distinguishes the kinds of {@linkcode Address}. */
  readonly family: "vsock";
  /** The context: 1 is this machine, 2 the host. */
  readonly cid: number;
  /** 0 to 4294967295. */
  readonly port: number;
}

/** The address of no peer; see {@linkcode unspecified}. */
export interface UnspecifiedAddress extends SocketAddress {
  /** Distinguishes the kinds of {@linkcode Address}. */
  readonly family: "unspec";
}

/** Bytes that no other kind describes in full; see {@linkcode rawAddress}. */
export interface RawAddress extends SocketAddress {
  /** Distinguishes the kinds of {@linkcode Address}. */
  readonly family: "raw";
  /**
   * This system's number of the address family, or `null` where the bytes end
   * before it. It may be a known family's, when something else is odd.
   */
  readonly familyNumber: number | null;
  /** The bytes, two lowercase hexadecimal digits each. */
  readonly hex: string;
}

/** An address of any family; `family` says which. */
export type Address =
  | InetAddress
  | Inet6Address
  | UnixAddress
  | VsockAddress
  | UnspecifiedAddress
  | RawAddress;

/** What else a {@linkcode inet6} address may say. */
export interface Inet6Options {
  /**
   * The index of the interface that a link-local address belongs to, 0 to
   * 4294967295. The host may name it as well, after a `%`; both have to agree.
   *
   * @default {0}
   */
  scopeId?: number;
  /**
   * Traffic class and flow label, 0 to 4294967295, as a plain number: it is put
   * into network order here. Linux uses it only on a socket with
   * `IPV6_FLOWINFO_SEND`; the other systems mostly ignore it.
   *
   * @default {0}
   */
  flowInfo?: number;
}

const INET6_KEYS = ["scopeId", "flowInfo"] as const;
const MAX_UINT32 = 0xffffffff;
/** The size of `struct sockaddr_storage` on all systems but AIX. */
const MAX_RAW = 128;
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Makes an IPv4 address.
 *
 * The host is read strictly: four decimal numbers without leading zeros. The
 * C library's own readings of `127.1`, `0x7f.0.0.1` and `2130706433` are errors
 * here.
 *
 * C: `struct sockaddr_in`, `ip(7)`.
 *
 * @param host The address as text. Names are for `connect` to resolve.
 * @param port 0 to 65535; 0 lets the kernel choose one in `bind`.
 * @returns The address, encoded.
 * @throws {TypeError} If an argument is of another type.
 * @throws {SyntaxError} If the host is not an IPv4 address.
 * @throws {RangeError} If the port is no integer from 0 to 65535.
 *
 * @example Reading back what was put in
 * ```ts
 * import { inet } from "@einprogress/connect";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const address = inet("127.0.0.1", 80);
 * assertEquals(address.hostname, "127.0.0.1");
 * assertEquals(address.port, 80);
 * assertThrows(() => inet("127.1", 80), SyntaxError);
 * ```
 */
export function inet(host: string, port: number): InetAddress {
  try {
    checkText("host", host);
    const checked = checkInteger("port", port, MAX_PORT);
    return parseInet("host", host, checked);
  } catch (error) {
    throw pointed(error, inet);
  }
}

/**
 * Makes an IPv6 address.
 *
 * A zone may follow the host: `fe80::1%2` by the index of the interface, and
 * `fe80::1%eth0` by its name, which the C library looks up. Brackets are an
 * error. An IPv4-mapped address such as `::ffff:127.0.0.1` reaches the IPv4
 * peer, except on OpenBSD and on sockets with `IPV6_V6ONLY`.
 *
 * C: `struct sockaddr_in6`, `ipv6(7)`, `if_nametoindex(3)`.
 *
 * @param host The address as text. Names are for `connect` to resolve.
 * @param port 0 to 65535; 0 lets the kernel choose one in `bind`.
 * @param options Scope and flow information, or another IPv6 address that has
 * them.
 * @returns The address, encoded.
 * @throws {TypeError} If an argument is of another type, if an option is not
 * known, or if the zone and `options.scopeId` disagree.
 * @throws {SyntaxError} If the host is not an IPv6 address.
 * @throws {RangeError} If a number is no integer in its range.
 * @throws {ErrnoError} If no interface has the name that the zone gives:
 * `ENODEV` on Linux, `ENXIO` elsewhere.
 *
 * @example One address, one spelling
 * ```ts
 * import { inet6 } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const address = inet6("2001:DB8:0:0::1", 443);
 * assertEquals(address.hostname, "2001:db8::1");
 * assertEquals(inet6("fe80::1%2", 443).scopeId, 2);
 * assertEquals(inet6("fe80::1", 443, { scopeId: 2 }).scopeId, 2);
 * ```
 */
export function inet6(
  host: string,
  port: number,
  options?: Inet6Options,
): Inet6Address {
  try {
    checkText("host", host);
    const checked = checkInteger("port", port, MAX_PORT);
    const { scopeId, flowInfo = 0 }: { scopeId?: unknown; flowInfo?: unknown } =
      isAddress(options)
        ? options as Inet6Options
        : readOptions("options", options, INET6_KEYS);
    return parseInet6(
      "host",
      host,
      checked,
      scopeId === undefined
        ? null
        : checkInteger("scopeId", scopeId, MAX_UINT32),
      checkInteger("flowInfo", flowInfo, MAX_UINT32),
    );
  } catch (error) {
    throw pointed(error, inet6);
  }
}

/**
 * Makes the address of a socket in the file system.
 *
 * A relative path is relative to the working directory at the time of the
 * call that uses it. `@name` is a file of that name here.
 *
 * The path may be 107 bytes of UTF-8 long on Linux and illumos, 103 on the
 * BSDs, 1022 on AIX. A longer one can be reached through a shorter one, by
 * changing the directory or by a symbolic link.
 *
 * C: `struct sockaddr_un`, `unix(7)`.
 *
 * @param path The path of the socket.
 * @returns The address, encoded.
 * @throws {TypeError} If the path is no text, is empty, holds a NUL, or holds
 * half a surrogate pair.
 * @throws {ErrnoError} `ENAMETOOLONG`, if the path does not fit.
 *
 * @example A path
 * ```ts
 * import { unix } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const address = unix("/run/x.sock");
 * assertEquals(address.path, "/run/x.sock");
 * assertEquals(address.abstract, false);
 * ```
 */
export function unix(path: string): UnixAddress {
  try {
    checkText("path", path);
    if (path === "") {
      throw own(
        new TypeError(
          'Cannot use path "": the address of a Unix socket without a name ' +
            "reaches nobody",
        ),
      );
    }
    if (path.includes("\0")) {
      throw own(
        new TypeError(
          `Cannot use path ${
            show(path)
          }: it holds a NUL; abstractUnix() makes ` +
            "an abstract name, and takes it without the leading NUL",
        ),
      );
    }
    const abi = currentAbi();
    const plain = newPlainUnix(path, abi);
    if (plain !== null) return plain;
    const name = encodeText("path", path);
    checkFits(name, path, abi);
    return newUnix(name, path, false, abi);
  } catch (error) {
    throw pointed(error, unix);
  }
}

/**
 * Makes an abstract Unix address: a name outside the file system, which
 * vanishes with its last socket. Linux alone has them.
 *
 * Every byte is part of the name, NULs included, and so is the length. The
 * empty name is a valid one. File permissions do not protect abstract names.
 *
 * C: `struct sockaddr_un`, `unix(7)`.
 *
 * @param name The name without the leading NUL, at most 107 bytes: text, which
 * is encoded in UTF-8, or the bytes themselves.
 * @returns The address, encoded.
 * @throws {TypeError} If the name is neither text nor bytes, or holds half a
 * surrogate pair.
 * @throws {ErrnoError} `ENAMETOOLONG`, if the name does not fit.
 * @throws {NotSupportedError} If this system has no abstract names.
 *
 * @example A name and its text
 * ```ts
 * import { abstractUnix, NotSupportedError } from "@einprogress/connect";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   assertEquals(`${abstractUnix("name")}`, "unix:@name");
 * } catch (error) {
 *   assert(error instanceof NotSupportedError);
 * }
 * ```
 */
export function abstractUnix(name: string | Uint8Array): UnixAddress {
  if (!isBytes(name)) checkText("name", name);
  const abi = currentAbi();
  if (!abi.abstractUnix) {
    throw new NotSupportedError("abstract Unix addresses", abi.os);
  }
  // A copy, so that the name that is checked is the name that is used.
  const bytes = typeof name === "string"
    ? encodeText("name", name)
    : copyOf("name", name);
  const text = typeof name === "string" ? name : decodeText(bytes);
  checkFits(bytes, `@${text}`, abi);
  return newUnix(bytes, text, true, abi);
}

/**
 * Makes the address of a port in a virtual machine, or of its host. Linux and
 * Darwin have them.
 *
 * C: `struct sockaddr_vm`, `vsock(7)`.
 *
 * @param cid The context: 1 is this machine, 2 the host, larger numbers are the
 * host's guests; 4294967295 is any, in `bind`.
 * @param port 0 to 4294967295; the last one lets the kernel choose, in `bind`.
 * @returns The address, encoded, with no flags set.
 * @throws {TypeError} If an argument is of another type.
 * @throws {RangeError} If a number is no integer in its range.
 * @throws {NotSupportedError} If this system has no such addresses.
 *
 * @example The host's port 1024
 * ```ts
 * import { NotSupportedError, vsock } from "@einprogress/connect";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   assertEquals(`${vsock(2, 1024)}`, "vsock:2:1024");
 * } catch (error) {
 *   assert(error instanceof NotSupportedError);
 * }
 * ```
 */
export function vsock(cid: number, port: number): VsockAddress {
  const context = checkInteger("cid", cid, MAX_UINT32);
  const checked = checkInteger("port", port, MAX_UINT32);
  const abi = currentAbi();
  const { AF_VSOCK, sockaddrVm } = abi;
  if (AF_VSOCK === null || sockaddrVm === null) {
    throw new NotSupportedError("vsock addresses", abi.os);
  }
  const bytes = newSockaddr(AF_VSOCK, sockaddrVm.size, abi);
  const view = dataViewOf(bytes);
  view.setUint32(sockaddrVm.cid, context, abi.littleEndian);
  view.setUint32(sockaddrVm.port, checked, abi.littleEndian);
  return seal<VsockAddress>(bytes, {
    family: "vsock",
    cid: context,
    port: checked,
  });
}

/**
 * Makes the address of no peer: connecting a datagram socket to it dissolves
 * its association. `Socket.disconnect` does so, and allows for the systems that
 * return an error although it worked.
 *
 * C: `struct sockaddr` with `AF_UNSPEC`, `connect(2)`.
 *
 * @returns The address, encoded: the family `AF_UNSPEC` and zeros.
 *
 * @example The address of no peer
 * ```ts
 * import { unspecified } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(unspecified().family, "unspec");
 * ```
 */
export function unspecified(): UnspecifiedAddress {
  return newUnspecified(currentAbi());
}

/**
 * Makes an address of the bytes of a C structure, for families that have no
 * function here, or to send the kernel what it ought to refuse.
 *
 * Nothing is corrected or added. Where the bytes are exactly those that
 * {@linkcode inet} or another function here makes, the result is that kind of
 * address; everything else is a {@linkcode RawAddress}, even a known family
 * with one reserved bit set.
 *
 * C: `struct sockaddr`, `connect(2)`.
 *
 * @param bytes The structure as this system lays it out, 0 to 128 bytes, on AIX
 * to 1025. They are copied.
 * @returns The address that has these bytes.
 * @throws {TypeError} If the argument is no `Uint8Array`.
 * @throws {RangeError} If there are more bytes.
 *
 * @example Bytes of a known kind, and other bytes
 * ```ts
 * import { inet, rawAddress } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = inet("127.0.0.1", 80).toBytes();
 * assertEquals(rawAddress(bytes).toString(), "127.0.0.1:80");
 * assertEquals(rawAddress(bytes.slice(0, 8)).family, "raw");
 * ```
 */
export function rawAddress(bytes: Uint8Array): Address {
  checkBytes("bytes", bytes);
  const abi = currentAbi();
  const { path, pathSize } = abi.sockaddrUn;
  const most = Math.max(MAX_RAW, path + pathSize);
  const size = sizeOf(bytes);
  if (size > most) {
    throw own(
      new RangeError(
        `Cannot use bytes of length ${size}: an address has at most ${most}`,
      ),
    );
  }
  // Decoding corrects what a kernel may return, so the comparison finds a difference.
  const copy = copyOf("bytes", bytes);
  const address = decodeAddress(copy, copy.length);
  return sameBytes(copy, reveal(address)) ? address : newRaw(copy, abi);
}

/**
 * An address that leads to another path and reads as before: what a permission
 * was asked for, by the name that the caller gave it.
 *
 * @throws {ErrnoError} `ENAMETOOLONG`, if the path does not fit.
 */
export function movedUnix(address: UnixAddress, path: string): UnixAddress {
  const abi = currentAbi();
  const name = encodeText("path", path);
  checkFits(name, address.path, abi);
  return newUnix(name, address.path, false, abi);
}

/**
 * The memory that C is handed for an address, exactly as long as the length
 * that C is given. Not to be written to, and not to leave the package.
 */
export function bytesOf(address: SocketAddress): Uint8Array<ArrayBuffer> {
  return reveal(address);
}

/** Whether a value is an address that this module made. */
export function isAddress(value: unknown): value is Address {
  return typeof value === "object" && value !== null && has(value);
}

/**
 * Makes an address of what the kernel wrote, out of memory that is used again.
 *
 * What differs between kernels without a meaning is evened out, so that an
 * address which came from the kernel equals the one that was passed to it:
 * bytes of padding, the NUL at the end of a path and what follows it, flags of
 * vsock, a length byte.
 *
 * @param length What the kernel says; more than there are bytes if it had to
 * cut the address.
 */
export function decodeAddress(bytes: Uint8Array, length: number): Address {
  const abi = currentAbi();
  const used = bytes.subarray(0, length);
  return decodeKnown(used, abi) ?? newRaw(copyOf("bytes", used), abi);
}

/**
 * The address that a numeric host stands for, or `null` for a name, which a
 * resolver has to look up.
 *
 * @param port A port that was checked.
 * @throws {SyntaxError} If the host {@linkcode looksNumeric} and is no address.
 * @throws {ErrnoError} If its zone names no interface.
 */
export function parseIp(
  host: string,
  port: number = 0,
): InetAddress | Inet6Address | null {
  // Most are right, and need no second look.
  const address = startsWithDigit(host) ? tryInet(host, port) : null;
  if (address !== null) return address;
  if (!looksNumeric(host)) return null;
  return host.includes(":")
    ? parseInet6("hostname", host, port)
    : parseInet("hostname", host, port);
}

function startsWithDigit(text: string): boolean {
  const code = text.charCodeAt(0);
  return code >= 0x30 && code <= 0x39;
}

/**
 * Whether a host can only be meant as an address: it has a colon, or it ends in
 * a number, decimal or hexadecimal, as the URL standard defines that
 * (https://url.spec.whatwg.org/#ends-in-a-number-checker).
 *
 * Resolvers read `0x10.1.1.1`, `1..2.3` and `2130706433` each in their own way,
 * so that what one part of a program checked is not what another one reaches.
 */
export function looksNumeric(host: string): boolean {
  const end = host.endsWith(".") ? host.length - 1 : host.length;
  const last = host.slice(host.lastIndexOf(".", end - 1) + 1, end);
  return /^(?:[0-9]+|0[xX][0-9a-fA-F]*)$/.test(last) || host.includes(":");
}

/** @param name What the caller knows the text by. */
function parseInet(name: string, host: string, port: number): InetAddress {
  const address = tryInet(host, port);
  if (address !== null) return address;
  throw cannotParse(
    name,
    host,
    "an IPv4 address is four decimal numbers from 0 to 255, without " +
      "leading zeros",
  );
}

/** @param name What the caller knows the text by. */
function parseInet6(
  name: string,
  host: string,
  port: number,
  scopeId: number | null = null,
  flowInfo: number = 0,
): Inet6Address {
  const address = tryInet6(name, host, port, scopeId, flowInfo);
  if (address !== null) return address;
  throw cannotParse(
    name,
    host,
    "an IPv6 address is eight groups of one to four hexadecimal digits, " +
      'without brackets, where "::" may stand once for groups of zeros',
  );
}

function tryInet(host: string, port: number): InetAddress | null {
  const abi = currentAbi();
  const { size, addr } = abi.sockaddrIn;
  const bytes = newSockaddr(abi.AF_INET, size, abi);
  if (!parseIpv4(host, 0, host.length, bytes, addr)) return null;
  // What parses is written in the one way there is.
  return sealInet(bytes, host, port, abi);
}

function sealInet(
  bytes: Uint8Array<ArrayBuffer>,
  hostname: string,
  port: number,
  abi: Abi,
): InetAddress {
  writePort(bytes, abi.sockaddrIn.port, port);
  return seal<InetAddress>(bytes, { family: "inet", hostname, port });
}

function tryInet6(
  name: string,
  host: string,
  port: number,
  scopeId: number | null,
  flowInfo: number,
): Inet6Address | null {
  const abi = currentAbi();
  const { size, addr } = abi.sockaddrIn6;
  const bytes = newSockaddr(abi.AF_INET6, size, abi);
  const percent = host.indexOf("%");
  const end = percent < 0 ? host.length : percent;
  if (!parseIpv6(host, end, bytes, addr)) return null;
  if (percent >= 0) {
    const zone = zoneIndex(name, host, percent + 1);
    if (scopeId !== null && scopeId !== zone) {
      throw own(
        new TypeError(
          `Cannot use scopeId ${scopeId} with host ${
            show(host)
          }: its zone is ` +
            `interface ${zone}`,
        ),
      );
    }
    scopeId = zone;
  }
  return sealInet6(bytes, port, scopeId ?? 0, flowInfo, abi);
}

function sealInet6(
  bytes: Uint8Array<ArrayBuffer>,
  port: number,
  scopeId: number,
  flowInfo: number,
  abi: Abi,
): Inet6Address {
  const at = abi.sockaddrIn6;
  const view = dataViewOf(bytes);
  writePort(bytes, at.port, port);
  view.setUint32(at.flowInfo, flowInfo);
  view.setUint32(at.scopeId, scopeId, abi.littleEndian);
  const hostname = formatIpv6(bytes, at.addr);
  return seal<Inet6Address>(bytes, {
    family: "inet6",
    hostname,
    port,
    scopeId,
    flowInfo,
  });
}

function newUnix(
  name: Uint8Array,
  text: string,
  abstract: boolean,
  abi: Abi,
): UnixAddress {
  const { path, pathSize } = abi.sockaddrUn;
  // An abstract name begins with a NUL and ends with its length; a path ends
  // with a NUL, unless the kernel returned one that fills the array.
  const used = abstract
    ? name.length + 1
    : name.length === 0
    ? 0
    : Math.min(name.length + 1, pathSize);
  const bytes = newSockaddr(abi.AF_UNIX, path + used, abi);
  bytes.set(name, abstract ? path + 1 : path);
  return seal<UnixAddress>(bytes, {
    family: "unix",
    path: text,
    abstract,
  });
}

/**
 * The address of a path in plain ASCII, as nearly all are; `null` for any other
 * one, and for one that is too long. The runtime's encoder takes Deno 300 ns.
 */
function newPlainUnix(text: string, abi: Abi): UnixAddress | null {
  const { path, pathSize } = abi.sockaddrUn;
  if (text.length >= pathSize) return null;
  const bytes = newSockaddr(abi.AF_UNIX, path + text.length + 1, abi);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return null;
    bytes[path + i] = code;
  }
  return seal<UnixAddress>(bytes, {
    family: "unix",
    path: text,
    abstract: false,
  });
}

function newUnspecified(abi: Abi): UnspecifiedAddress {
  // `struct sockaddr` is as long as `struct sockaddr_in` everywhere.
  const bytes = newSockaddr(abi.AF_UNSPEC, abi.sockaddrIn.size, abi);
  return seal<UnspecifiedAddress>(bytes, { family: "unspec" });
}

function newRaw(bytes: Uint8Array<ArrayBuffer>, abi: Abi): RawAddress {
  let hex = "";
  for (const byte of bytes) hex += byte.toString(16).padStart(2, "0");
  return seal<RawAddress>(bytes, {
    family: "raw",
    familyNumber: readFamily(bytes, abi),
    hex,
  });
}

/** How many bytes the memory of addresses is taken from at a time. */
const SLAB = 8192;

let slab = new ArrayBuffer(0);
let slabUsed = 0;

/**
 * Memory for one address, which never leaves this module.
 *
 * A buffer of its own costs Deno a third of a microsecond however small it is,
 * ten times as much as a view on a larger one.
 */
function takeMemory(size: number): Uint8Array<ArrayBuffer> {
  if (slabUsed + size > slab.byteLength) {
    slab = new ArrayBuffer(SLAB);
    slabUsed = 0;
  }
  const bytes = new Uint8Array(slab, slabUsed, size);
  slabUsed += (size + 7) & ~7; // as malloc would align it
  return bytes;
}

function newSockaddr(
  family: number,
  size: number,
  abi: Abi,
): Uint8Array<ArrayBuffer> {
  const bytes = takeMemory(size);
  const at = abi.sockaddr;
  // A path of AIX may be longer than the byte can say.
  if (at.len !== null) bytes[at.len] = Math.min(size, 0xff);
  // Every system's families fit one byte, the lower one where there are two.
  bytes[at.family + (abi.littleEndian ? 0 : at.familySize - 1)] = family;
  return bytes;
}

function decodeKnown(bytes: Uint8Array, abi: Abi): Address | null {
  switch (readFamily(bytes, abi)) {
    case abi.AF_INET:
      return decodeInet(bytes, abi);
    case abi.AF_INET6:
      return decodeInet6(bytes, abi);
    case abi.AF_UNIX:
      return decodeUnix(bytes, abi);
    case abi.AF_VSOCK:
      return decodeVsock(bytes, abi);
    case abi.AF_UNSPEC:
      return bytes.subarray(headerSize(abi)).some(Boolean)
        ? null
        : newUnspecified(abi);
    default:
      return null;
  }
}

function decodeInet(bytes: Uint8Array, abi: Abi): InetAddress | null {
  const { size, port, addr } = abi.sockaddrIn;
  if (bytes.length !== size) return null;
  const own = newSockaddr(abi.AF_INET, size, abi);
  own.set(bytes.subarray(addr, addr + 4), addr);
  const hostname = formatIpv4(own, abi.sockaddrIn.addr);
  return sealInet(own, hostname, dataViewOf(bytes).getUint16(port), abi);
}

function decodeInet6(bytes: Uint8Array, abi: Abi): Inet6Address | null {
  const { size, port, flowInfo, addr, scopeId } = abi.sockaddrIn6;
  if (bytes.length !== size) return null;
  const own = newSockaddr(abi.AF_INET6, size, abi);
  own.set(bytes.subarray(addr, addr + 16), addr);
  const view = dataViewOf(bytes);
  return sealInet6(
    own,
    view.getUint16(port),
    view.getUint32(scopeId, abi.littleEndian),
    view.getUint32(flowInfo),
    abi,
  );
}

function decodeUnix(bytes: Uint8Array, abi: Abi): UnixAddress | null {
  const { path, pathSize } = abi.sockaddrUn;
  if (bytes.length < path) return null;
  // A copy: the decoder does not take memory that threads share.
  const name = bytes.slice(path);
  if (abi.abstractUnix && name[0] === 0) {
    if (name.length > pathSize) return null;
    const own = name.subarray(1);
    return newUnix(own, decodeText(own), true, abi);
  }
  const nul = name.indexOf(0);
  const own = nul < 0 ? name : name.subarray(0, nul);
  // Linux puts the NUL of a path that fills the array behind the array.
  if (own.length > pathSize || name.length > pathSize + 1) return null;
  return newUnix(own, decodeText(own), false, abi);
}

function decodeVsock(bytes: Uint8Array, abi: Abi): VsockAddress | null {
  const at = abi.sockaddrVm;
  if (at === null || bytes.length !== at.size) return null;
  const view = dataViewOf(bytes);
  return vsock(
    view.getUint32(at.cid, abi.littleEndian),
    view.getUint32(at.port, abi.littleEndian),
  );
}

function headerSize(abi: Abi): number {
  return abi.sockaddr.family + abi.sockaddr.familySize;
}

function readFamily(bytes: Uint8Array, abi: Abi): number | null {
  if (bytes.length < headerSize(abi)) return null;
  const { family, familySize } = abi.sockaddr;
  return familySize === 1
    ? bytes[family]!
    : dataViewOf(bytes).getUint16(family, abi.littleEndian);
}

/** The interface that a zone means: its index in digits, or its name. */
function zoneIndex(name: string, host: string, start: number): number {
  const zone = host.slice(start);
  if (zone === "" || zone.includes("\0")) {
    throw cannotParse(
      name,
      host,
      "a zone is the index or the name of an interface",
    );
  }
  if (/^[0-9]+$/.test(zone)) {
    const index = Number(zone);
    if (zone !== String(index) || index > MAX_UINT32) {
      throw cannotParse(
        name,
        host,
        `the index of a zone is a decimal number from 0 to ${MAX_UINT32}, ` +
          "without leading zeros",
      );
    }
    return index;
  }
  const index = libc().if_nametoindex(ENCODER.encode(`${zone}\0`));
  if (index < 0) {
    throw errnoErrorFor(-index, {
      syscall: "if_nametoindex",
      address: host,
      detail: `no interface is named ${show(zone)}`,
    });
  }
  return index;
}

function format(address: Address): string {
  switch (address.family) {
    case "inet":
      return `${address.hostname}:${address.port}`;
    case "inet6": {
      const { hostname, scopeId, port } = address;
      return scopeId === 0
        ? `[${hostname}]:${port}`
        : `[${hostname}%${scopeId}]:${port}`;
    }
    case "unix":
      return `unix:${address.abstract ? "@" : ""}${escapeText(address.path)}`;
    case "vsock":
      return `vsock:${address.cid}:${address.port}`;
    case "unspec":
      return "unspec";
    case "raw":
      return `raw:${address.hex}`;
  }
}

function encodeText(name: string, text: string): Uint8Array<ArrayBuffer> {
  if (!text.isWellFormed()) {
    throw own(
      new TypeError(
        `Cannot use ${name} ${show(text)}: it holds half a surrogate pair, ` +
          "which UTF-8 cannot write",
      ),
    );
  }
  return ENCODER.encode(text);
}

/** Reads UTF-8 and keeps each byte that is none as a lone surrogate. */
function decodeText(bytes: Uint8Array): string {
  const whole = decodeUtf8(bytes);
  if (whole !== null) return whole;
  let text = "";
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i]!;
    const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const character = decodeUtf8(bytes.subarray(i, i + size));
    text += character ?? String.fromCharCode(SURROGATE + lead);
    i += character === null ? 1 : size;
  }
  return text;
}

/** Reads UTF-8, or returns `null` where a byte is none. */
function decodeUtf8(bytes: Uint8Array): string | null {
  const text = DECODER.decode(bytes);
  return sameBytes(ENCODER.encode(text), bytes) ? text : null;
}

/** Where {@linkcode decodeText} puts the bytes that are not UTF-8. */
const SURROGATE = 0xdc00;

function escapeText(text: string): string {
  return text.replace(/\\|\p{Cc}|\p{Cs}/gu, (character) => {
    if (character === "\\") return "\\\\";
    const byte = character.charCodeAt(0) & 0xff;
    return `\\x${byte.toString(16).padStart(2, "0")}`;
  });
}

function writePort(bytes: Uint8Array, at: number, port: number): void {
  bytes[at] = port >> 8;
  bytes[at + 1] = port;
}

function dataViewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) {
    if (one[i] !== other[i]) return false;
  }
  return true;
}

function checkFits(name: Uint8Array, address: string, abi: Abi): void {
  const most = abi.sockaddrUn.pathSize - 1;
  if (name.length > most) {
    throw errnoError("ENAMETOOLONG", {
      syscall: "connect",
      address,
      detail: `${name.length} bytes, and ${abi.os} takes at most ${most}`,
    });
  }
}

function cannotParse(name: string, host: string, detail: string): SyntaxError {
  return own(new SyntaxError(`Cannot parse ${name} ${show(host)}: ${detail}`));
}
