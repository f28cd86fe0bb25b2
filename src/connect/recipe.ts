/**
 * What is set on a socket before connect(2), from options to a recipe.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { PATIENT, PLAIN, type Recipe } from "../attempt/attempt.ts";
import type { LocalEnd } from "../attempt/local_port.ts";
import { isObject, notA, show } from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { NotSupportedError } from "../errors/errors.ts";
import { checkSoftErrors } from "../socket/connecting.ts";
import {
  checkOption,
  setChecked,
  type SocketOptionName,
  type SocketOptions,
} from "../socket/options.ts";

/** The options that say how, as a caller wrote them, each read once. */
export interface WrittenSetup {
  readonly interface?: unknown;
  readonly protocol?: unknown;
  readonly softErrors?: unknown;
  readonly socketOptions?: unknown;
}

/** A named option and its value. */
type Setting = readonly [SocketOptionName, SocketOptions[SocketOptionName]];

/**
 * Checks what is to be set before connect(2), as far as that is possible
 * without a socket.
 *
 * @param local Where to connect from.
 * @returns The recipe for attempts that do not block.
 */
export function recipeOf(
  c: Libc,
  options: WrittenSetup,
  local: LocalEnd | null,
): Recipe {
  const { interface: device, protocol, softErrors, socketOptions } = options;
  const waitsSoft = softErrors !== undefined && checkSoftErrors(softErrors);
  if (
    device === undefined && protocol === undefined &&
    socketOptions === undefined && local === null
  ) return waitsSoft ? PATIENT : PLAIN;
  const settings = readSettings(c, device, socketOptions);
  return {
    protocol: protocol === undefined ? 0 : protocolOf(c, protocol),
    isNonblocking: true,
    prepare: settings.length === 0 ? null : (fd, family) => {
      for (const [name, value] of settings) {
        setChecked(c, fd, family, name, value);
      }
    },
    local,
    waitsSoft,
    keepsSenders: settings.every(([name]) => name !== "readErrorQueue"),
  };
}

function protocolOf({ abi }: Libc, protocol: unknown): number {
  if (protocol === "tcp") return 0;
  if (protocol !== "mptcp") {
    throw own(
      new TypeError(
        `Cannot use protocol ${show(protocol)}: ` +
          'the protocols are "tcp" and "mptcp"',
      ),
    );
  }
  if (abi.IPPROTO_MPTCP !== null) return abi.IPPROTO_MPTCP;
  throw new NotSupportedError('protocol "mptcp"', abi.os);
}

function readSettings(
  { abi }: Libc,
  device: unknown,
  socketOptions: unknown,
): Setting[] {
  const settings: Setting[] = [];
  function add(name: string, value: unknown): void {
    if (value === undefined) return;
    const [known, given] = [name, value] as unknown as Setting;
    // A copy, which stays as it is until the last socket is opened.
    settings.push([known, checkOption(abi, known, given)]);
  }
  add("interface", device);
  if (socketOptions === undefined) return settings;
  if (!isObject(socketOptions)) {
    throw notA("object", "socketOptions", socketOptions);
  }
  for (const [name, value] of Object.entries(socketOptions)) add(name, value);
  return settings;
}
