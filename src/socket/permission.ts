/**
 * Asks the runtime's permissions for an address, as its own connect would.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import type { Address } from "../address/address.ts";

/** Whether an address needs no closer look. Costs nanoseconds. */
export function isFree(libc: Libc, address: Address): boolean {
  const { permissions } = libc;
  if (!permissions.net()) return false;
  return !isFile(libc, address) || permissions.files();
}

/** Whether an address may lead to a socket in the file system. */
function isFile({ abi }: Libc, address: Address): boolean {
  return address.family === "unix" ||
    address.family === "raw" && address.familyNumber === abi.AF_UNIX;
}

/**
 * Returns if the program may reach an address.
 *
 * @throws The runtime's own error if it may not.
 */
export function demand(libc: Libc, address: Address): void {
  if (isFree(libc, address)) return;
  const { permissions } = libc;
  switch (address.family) {
    case "inet":
    case "inet6":
      return permissions.demandHost(address.hostname, address.port);
    case "unix":
      // Without a name, the kernel refuses to connect and binds an abstract one.
      return address.abstract || address.path === ""
        ? permissions.demandAbstract()
        : permissions.demandPath(address.path);
    case "vsock":
      return permissions.demandVsock(address.cid, address.port);
    default:
      return permissions.demandAll(isFile(libc, address));
  }
}

/** The same as {@linkcode demand}, for those who must not throw. */
export function isAllowed(libc: Libc, address: Address): boolean {
  if (isFree(libc, address)) return true;
  try {
    demand(libc, address);
    return true;
  } catch {
    return false;
  }
}
