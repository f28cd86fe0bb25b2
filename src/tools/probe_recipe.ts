/**
 * How the sockets of probes are made.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { int, intView } from "../../ffi/memory.ts";
import {
  type Address,
  type Inet6Address,
  type InetAddress,
  parseIp,
} from "../address/address.ts";
import { PATIENT, PLAIN, type Recipe } from "../attempt/attempt.ts";
import { recipeOf, type WrittenSetup } from "../connect/recipe.ts";
import { checkText, show } from "../errors/arguments.ts";
import { setOption } from "../socket/options.ts";

/** The options of the sockets, as plain data that threads can share. */
export interface ProbeSetup extends WrittenSetup {
  readonly localAddress?: unknown;
}

/** How the sockets of a run are made. */
export interface ProbeRecipe extends Recipe {
  /** Whether they have no options but those that all probes have. */
  readonly isPlain: boolean;
  /**
   * Takes back from a connected socket what probes alone need; absent if that is
   * nothing.
   */
  readonly release?: (fd: number, address: Address) => void;
}

/** The recipe for the sockets of a run. */
export function probeRecipe(c: Libc, setup: ProbeSetup): ProbeRecipe {
  const { localAddress } = setup;
  const local = localAddress === undefined
    ? null
    : { address: checkLocalAddress(localAddress), port: 0, range: null };
  const recipe = recipeOf(c, setup, local);
  const isPlain = recipe === PLAIN || recipe === PATIENT;
  const keeping = { ...keepingSenders(c, recipe), isPlain };
  if (c.abi.errorQueue === null || recipe.asksForErrors === true) {
    return keeping;
  }
  return { ...keeping, release: (fd, address) => dropQueue(c, fd, address) };
}

/**
 * With a queue of errors, any ICMP error would end a connection that outlasts
 * them otherwise.
 */
function dropQueue(c: Libc, fd: number, { family }: Address): void {
  const { IPPROTO_IPV6, IPV6_RECVERR, littleEndian } = c.abi;
  if (family !== "inet6" || IPV6_RECVERR === null) return;
  intView.setInt32(0, 0, littleEndian);
  // If it fails, the connection is what it was.
  c.setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, int, 4);
}

/**
 * The same recipe for sockets that keep the sender of an ICMP error: over IPv6,
 * Linux does so only where an option asks for it.
 */
export function keepingSenders(c: Libc, recipe: Recipe): Recipe {
  const { AF_INET6, errorQueue } = c.abi;
  if (errorQueue === null) return recipe;
  const { prepare } = recipe;
  return {
    ...recipe,
    prepare(fd, family) {
      if (family === AF_INET6) {
        setOption(c, fd, family, "readErrorQueue", true);
      }
      prepare?.(fd, family);
    },
  };
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
