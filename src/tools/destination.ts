/**
 * One place to reach, as the tools take it and as a command line writes it.
 *
 * @module
 */
import { type Address, isAddress } from "../address/address.ts";
import { MAX_PORT, show } from "../errors/arguments.ts";
import type { ConnectTarget } from "../connect/target.ts";

/**
 * How long a name may take by default, in ms: the resolver waits five seconds
 * for a name server before it asks the next one, for each suffix that it tries.
 */
export const NAME_TIMEOUT = 15_000;

/** What the tools reach: a target as `connect` takes it, or an address. */
export type Destination = ConnectTarget | Address;

/**
 * The text of a destination: `localhost:80`, `[::1]:80`, `unix:/run/x.sock`,
 * `unix:@name`, `vsock:2:80`. Control characters of names are escaped.
 */
export function destinationText(destination: Destination): string {
  if (isAddress(destination)) return destination.toString();
  switch (destination.transport) {
    case "unix": {
      const { path } = destination;
      const name = path.startsWith("\0") ? `@${path.slice(1)}` : path;
      return `unix:${plain(name)}`;
    }
    case "vsock":
      return `vsock:${destination.cid}:${destination.port}`;
    default: {
      const { hostname = "127.0.0.1", port } = destination;
      return hostAndPort(plain(hostname), port);
    }
  }
}

/** The text of a host and a port: `localhost:80`, `[::1]:80`. */
export function hostAndPort(hostname: string, port: number): string {
  return hostname.includes(":") && !hostname.startsWith("[")
    ? `[${hostname}]:${port}`
    : `${hostname}:${port}`;
}

/** Text with its control characters escaped, which a terminal would obey. */
function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(2, "0");
    return `\\x${code}`;
  });
}

/**
 * Understands the text of a destination, the reverse of {@linkcode destinationText}.
 *
 * @throws {SyntaxError} If it does not parse; the message says what would.
 */
export function parseDestination(text: string): ConnectTarget {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "" || path === "@") throw bad(text, "the path is missing");
    return {
      transport: "unix",
      path: path.startsWith("@") ? `\0${path.slice(1)}` : path,
    };
  }
  if (text.startsWith("vsock:")) {
    const [, cid, port] = /^vsock:([0-9]+):([0-9]+)$/.exec(text) ?? [];
    if (cid === undefined) throw bad(text, "it must be vsock:CID:PORT");
    return { transport: "vsock", cid: Number(cid), port: Number(port) };
  }
  const url = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#]*)/i.exec(text);
  if (url !== null) {
    const host = url[1] || "HOST";
    const hint = /:[0-9]+$/.test(host) ? host : `${host}:PORT`;
    throw bad(text, `it is a URL; a target is HOST:PORT, here ${hint}`);
  }
  const isBare = (text.match(/:/g)?.length ?? 0) > 1 && !text.startsWith("[");
  if (isBare) {
    throw bad(text, "an IPv6 address is written in brackets, as in [::1]:80");
  }
  const [, bracketed, open, port] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/.exec(text) ?? [];
  const host = bracketed ?? open;
  if (host === undefined) throw bad(text, "a target is HOST:PORT");
  if (bracketed !== undefined && !bracketed.includes(":")) {
    throw bad(text, "only an IPv6 address is written in brackets");
  }
  if (host === "" || port === undefined || port === "") {
    const what = host === "" ? "host" : "port";
    throw bad(text, `the ${what} is missing: a target is HOST:PORT`);
  }
  if (!/^[0-9]+$/.test(port) || Number(port) > MAX_PORT) {
    throw bad(text, "a port is a number from 0 to 65535");
  }
  return { hostname: host, port: Number(port) };
}

function bad(text: string, why: string): SyntaxError {
  return new SyntaxError(`Cannot parse target ${show(text)}: ${why}`);
}
