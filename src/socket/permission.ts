/**
 * Asks the runtime's permissions for an address, as its own connect would.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  type Address,
  bytesOf,
  decodeAddress,
  movedUnix,
  type UnixAddress,
} from "../address/address.ts";
import { ErrnoError } from "../errors/errors.ts";
import { localAddressOf, peerAddressOf } from "./ends.ts";

/** Whether an address needs no closer look. Costs nanoseconds. */
export function isFree(libc: Libc, address: Address): boolean {
  const { permissions } = libc;
  if (!permissions.net()) return false;
  if (address.family === "unix") {
    return isNameless(address) || permissions.files(address.path);
  }
  return !isRawFile(libc, address) || permissions.files();
}

/**
 * Whether it is outside the file system. Without a name, the kernel refuses to
 * connect and binds an abstract one.
 */
function isNameless({ abstract, path }: UnixAddress): boolean {
  return abstract || path === "";
}

/** Whether bytes may lead to a socket in the file system. */
function isRawFile({ abi }: Libc, address: Address): boolean {
  return address.family === "raw" && address.familyNumber === abi.AF_UNIX;
}

/**
 * Asks whether the program may reach an address.
 *
 * @returns The address to use in its place. Where a rule about files was asked,
 * it leads to the very path that the rule allows, whatever becomes of the
 * working directory; it still reads as the caller wrote it.
 * @throws The runtime's own error if the program may not reach it.
 */
export function demand(libc: Libc, address: Address): Address {
  if (isFree(libc, address)) return address;
  const { permissions } = libc;
  switch (address.family) {
    case "inet":
    case "inet6":
      permissions.demandHost(address.hostname, address.port);
      return address;
    case "unix": {
      if (isNameless(address)) {
        permissions.demandAbstract();
        return address;
      }
      const path = permissions.demandPath(address.path);
      return path === address.path ? address : movedUnix(address, path);
    }
    case "vsock":
      permissions.demandVsock(address.cid, address.port);
      return address;
    default:
      permissions.demandAll(isRawFile(libc, address));
      return address;
  }
}

/**
 * Asks once more for an address that {@linkcode demand} has returned: it need
 * not read as it is used.
 *
 * @returns As {@linkcode demand}.
 */
export function demandAgain(libc: Libc, address: Address): Address {
  if (isFree(libc, address)) return address;
  const bytes = bytesOf(address);
  const used = decodeAddress(bytes, bytes.length);
  const allowed = demand(libc, used);
  return allowed === used ? address : allowed;
}

/** Asks whether the program may send to whatever a socket is connected to. */
export function demandPeer(libc: Libc, peer: Address | null): void {
  if (peer !== null) demand(libc, peer);
  else libc.permissions.demandAll(false);
}

/**
 * Asks whether the program may receive on a socket from any sender. One that has
 * neither a peer nor an address that was asked for is open to all as
 * soon as it has sent something.
 */
export function demandSenders(libc: Libc, fd: number): void {
  if (libc.permissions.net() || peerAddressOf(libc, fd) !== null) return;
  const local = localAddressOf(libc, fd);
  if (local.family !== "unix") demand(libc, local);
}

/**
 * The same as {@linkcode demand}, for those who must not throw.
 *
 * @returns The address to use, or the errno that stands for the refusal.
 */
export function permit(libc: Libc, address: Address): Address | number {
  if (isFree(libc, address)) return address;
  try {
    return demand(libc, address);
  } catch (error) {
    return error instanceof ErrnoError ? error.errno : libc.abi.errnos.EACCES;
  }
}
