/**
 * The two addresses of a descriptor, and what else there is to see of it.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { addressRoom } from "../../ffi/memory.ts";
import { type Address, decodeAddress } from "../address/address.ts";
import { familyOf } from "../attempt/outcome.ts";
import { errnoErrorFor } from "../errors/errors.ts";
import { nameFor, SOCKET_FAMILIES, SOCKET_TYPES } from "./names.ts";

/** The address on this side, or `-errno`. */
export function localOf(libc: Libc, fd: number): Address | number {
  const result = libc.getsockname(fd, addressRoom);
  return result < 0 ? result : decodeAddress(addressRoom, result);
}

/**
 * The family of a descriptor, as its own address says.
 *
 * @throws {ErrnoError} If it is no socket.
 */
export function ownFamilyOf(libc: Libc, fd: number): number {
  const result = libc.getsockname(fd, addressRoom);
  if (result >= 0) return familyOf(libc.abi, addressRoom);
  throw errnoErrorFor(-result, {
    syscall: "getsockname",
    subject: `descriptor ${fd}`,
  });
}

/** The address on the other side, or `-errno`. */
function peerOf(libc: Libc, fd: number): Address | number {
  const result = libc.getpeername(fd, addressRoom);
  return result < 0 ? result : decodeAddress(addressRoom, result);
}

/**
 * The address on this side.
 *
 * @throws {ErrnoError} If there is none to be had.
 */
export function localAddressOf(libc: Libc, fd: number): Address {
  const address = localOf(libc, fd);
  if (typeof address !== "number") return address;
  throw errnoErrorFor(-address, { syscall: "getsockname" });
}

/**
 * The address on the other side, `null` if there is none.
 *
 * @throws {ErrnoError} If that is not to be had.
 */
export function peerAddressOf(libc: Libc, fd: number): Address | null {
  const address = peerOf(libc, fd);
  if (typeof address !== "number") return address;
  const { ENOTCONN, EINVAL } = libc.abi.errnos;
  if (address === -ENOTCONN || address === -EINVAL) return null;
  throw errnoErrorFor(-address, { syscall: "getpeername" });
}

/** The address on this side as text, where there is one. */
export function localText(libc: Libc, fd: number): string | undefined {
  return addressText(localOf(libc, fd));
}

/** The address on the other side as messages call it: Unix sockets may have none. */
export function peerText(libc: Libc, fd: number): string | undefined {
  const text = addressText(peerOf(libc, fd));
  return text === NAMELESS ? undefined : text;
}

/** What an address of a Unix socket without one is as text. */
const NAMELESS = "unix:";

/** What is printed of a socket. */
export function socketFacts(
  libc: Libc,
  fd: number,
  family: number,
  type: number,
): object {
  const own = {
    fd,
    family: nameFor(libc.abi, SOCKET_FAMILIES, family),
    type: nameFor(libc.abi, SOCKET_TYPES, type),
  };
  return fd < 0 ? own : {
    ...own,
    local: localText(libc, fd),
    remote: addressText(peerOf(libc, fd)) ?? null,
  };
}

/**
 * Has the runtimes print objects of a class by what `facts` returns for them.
 *
 * The methods that they look for have symbols for names, which a type would
 * have to export.
 */
export function printAs<T extends object>(
  prototype: T,
  name: string,
  facts: (object: T) => object,
): void {
  type Print = (value: unknown, options: object) => string;
  function inspect(
    this: T,
    first: unknown,
    options: object,
    last?: unknown,
  ): string {
    // Deno passes its function first, and Node its own last.
    const print = (typeof last === "function" ? last : first) as Print;
    return `${name} ${print(facts(this), options)}`;
  }
  for (const key of ["nodejs.util.inspect.custom", "Deno.customInspect"]) {
    Object.defineProperty(prototype, Symbol.for(key), {
      value: inspect,
      writable: true,
      configurable: true,
    });
  }
}

function addressText(address: Address | number): string | undefined {
  return typeof address === "number" ? undefined : address.toString();
}
