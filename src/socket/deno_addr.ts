/**
 * Addresses in Deno's words.
 *
 * @module
 */
import { doorFor } from "../../ffi/libc.ts";
import type { Address } from "../address/address.ts";
import { NotSupportedError } from "../errors/errors.ts";

/** An address as `Deno.Conn` has it. */
export type DenoAddr =
  | {
    /** What the socket speaks. */
    readonly transport: "tcp" | "udp";
    /** The address in text form. */
    readonly hostname: string;
    /** The port. */
    readonly port: number;
  }
  | {
    /** `"unixpacket"` stands for datagrams, and for seqpacket. */
    readonly transport: "unix" | "unixpacket";
    /** The path, `""` without one; an abstract name begins with a NUL. */
    readonly path: string;
  }
  | {
    /** Sets it apart from a port of a host. */
    readonly transport: "vsock";
    /** The context identifier. */
    readonly cid: number;
    /** The port. */
    readonly port: number;
  };

/**
 * An address of a socket in that form.
 *
 * @param name The property that was read.
 * @throws {NotSupportedError} If it has none.
 */
export function denoAddrOf(
  name: string,
  address: Address,
  isStream: boolean,
): DenoAddr {
  switch (address.family) {
    case "inet":
    case "inet6": {
      const { hostname, port } = address;
      const zone = address.family === "inet6" && address.scopeId !== 0 &&
          !hostname.includes("%")
        ? `%${address.scopeId}`
        : "";
      const transport = isStream ? "tcp" : "udp";
      return { transport, hostname: hostname + zone, port };
    }
    case "unix": {
      const { path, abstract } = address;
      const transport = isStream ? "unix" : "unixpacket";
      return { transport, path: abstract ? `\0${path}` : path };
    }
    case "vsock": {
      const { cid, port } = address;
      return { transport: "vsock", cid, port };
    }
    default:
      throw new NotSupportedError(`${name} of ${address}`, doorFor().runtime);
  }
}
