/**
 * Hosts as callers ask for them.
 *
 * @module
 */
import type * as NodeUrl from "node:url";
import { builtin } from "../../ffi/builtin.ts";
import { checkText, show } from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import type { LookupFamily } from "./question.ts";

/** Returns the family, `undefined` if none is given. */
export function checkFamily(family: unknown): LookupFamily | undefined {
  if (family === undefined || family === "inet" || family === "inet6") {
    return family;
  }
  throw own(
    new TypeError(
      `Cannot use family ${show(family)}: the families are "inet" and "inet6"`,
    ),
  );
}

/** A name, an IPv4 address or one of IPv6 in brackets, with a port. */
const HOST_AND_PORT = /^(?:[^:[\]]+|\[[^\]]*\]):\d{1,5}$/;

/** A letter that is no ASCII. */
// deno-lint-ignore no-control-regex -- all of ASCII is meant
const FOREIGN = /[^\x00-\x7f]/;

/** What a name with such letters may have besides them, and its ASCII form. */
const OTHERS = /^[-\w.]*$/;

/**
 * Reads the name or the address of a host.
 *
 * A name of ASCII is taken as it is: what is none to others may still stand in
 * the hosts file. Any other one becomes what DNS and the permissions of the
 * runtime use for it, `xn--...` (UTS 46).
 *
 * @returns The host without the brackets that an IPv6 address has in a URL.
 * @throws {TypeError} If it is no text.
 * @throws {SyntaxError} If it is empty, holds a NUL, or has no form in ASCII.
 */
export function checkHostname(hostname: unknown): string {
  checkText("hostname", hostname);
  if (hostname === "") throw cannotUse(hostname, "it is empty");
  if (hostname.includes("\0")) throw cannotUse(hostname, "it holds a NUL");
  if (hostname.includes("://")) {
    throw cannotUse(hostname, "it is a URL; pass its host alone");
  }
  if (HOST_AND_PORT.test(hostname)) {
    throw cannotUse(hostname, "it has a port; pass that as port");
  }
  if (FOREIGN.test(hostname)) return asciiOf(hostname);
  return hostname.startsWith("[") && hostname.endsWith("]") &&
      hostname.includes(":")
    ? hostname.slice(1, -1)
    : hostname;
}

function asciiOf(hostname: string): string {
  const { domainToASCII } = builtin<typeof NodeUrl>("node:url");
  // Where it has parts of a URL, each runtime makes something else of it.
  const others = hostname.replaceAll(new RegExp(FOREIGN, "g"), "");
  const ascii = OTHERS.test(others) ? domainToASCII(hostname) : "";
  if (ascii !== "" && OTHERS.test(ascii)) return ascii;
  throw cannotUse(hostname, "it has no form in ASCII (UTS 46)");
}

/** Writes a host and a port as one. */
export function joinHostPort(hostname: string, port: number): string {
  return hostname.includes(":")
    ? `[${hostname}]:${port}`
    : `${hostname}:${port}`;
}

function cannotUse(hostname: string, why: string): SyntaxError {
  return own(
    new SyntaxError(`Cannot parse hostname ${show(hostname)}: ${why}`),
  );
}
