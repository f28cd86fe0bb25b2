/**
 * How the sockets of probes are made.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  type Inet6Address,
  type InetAddress,
  parseIp,
} from "../address/address.ts";
import type { Recipe } from "../attempt/attempt.ts";
import { recipeOf, type WrittenSetup } from "../connect/recipe.ts";
import { checkText, show } from "../errors/arguments.ts";

/** The options of the sockets, as plain data that threads can share. */
export interface ProbeSetup extends WrittenSetup {
  readonly localAddress?: unknown;
}

/** The recipe for the sockets of a run. */
export function probeRecipe(c: Libc, setup: ProbeSetup): Recipe {
  const { localAddress } = setup;
  const local = localAddress === undefined
    ? null
    : { address: checkLocalAddress(localAddress), port: 0, range: null };
  return recipeOf(c, setup, local);
}

/** The address that a text stands for. */
export function checkLocalAddress(text: unknown): InetAddress | Inet6Address {
  checkText("localAddress", text);
  let cause: unknown;
  try {
    const address = parseIp(text, 0);
    if (address !== null) return address;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    cause = error;
  }
  throw new SyntaxError(
    `Cannot parse localAddress ${show(text)}: it is no IP address`,
    { cause },
  );
}
