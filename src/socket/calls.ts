/**
 * What callers pass to the methods of a socket, read once and checked.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import { ENCODER } from "../../ffi/memory.ts";
import { type Address, isAddress } from "../address/address.ts";
import {
  checkBoolean,
  checkInteger,
  checkMilliseconds,
  checkSignal,
  INT_MAX,
  readOptions,
  show,
} from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import {
  numberFor,
  PROTOCOLS,
  SOCKET_FAMILIES,
  SOCKET_TYPES,
  type SocketFamily,
  type SocketProtocol,
  type SocketType,
} from "./names.ts";
import { type Limits, NO_LIMITS } from "./limits.ts";

/** What {@linkcode Socket.open} opens. */
export interface SocketOpenOptions {
  /**
   * The address family: a name, or the system's own number for another one.
   *
   * @default {"inet"}
   */
  readonly family?: SocketFamily | number | undefined;
  /**
   * The socket type: a name, or the system's own number.
   *
   * @default {"stream"}
   */
  readonly type?: SocketType | number | undefined;
  /**
   * The protocol: a name, or the system's own number. 0 is the family's usual
   * one for the type.
   *
   * @default {0}
   */
  readonly protocol?: SocketProtocol | number | undefined;
  /**
   * Whether calls return at once instead of waiting.
   *
   * @default {false}
   */
  readonly nonblocking?: boolean | undefined;
}

/** How long one attempt to connect may take, and what ends it. */
export interface AttemptOptions {
  /**
   * Milliseconds until the attempt is given up, 0 or more. Without it, the
   * system's own limit applies: on Linux, about two minutes for TCP.
   *
   * @default {Infinity}
   */
  readonly timeout?: number | undefined;
  /**
   * What to do about a soft error: a router, or a firewall, has sent an ICMP
   * error, and the kernel goes on trying nevertheless. Linux does so where the
   * error comes while connect(2) still holds the socket, as from a firewall on
   * this machine or in front of a container.
   *
   * `"fail"` ends the attempt at once, as other programs do. `"wait"` goes on;
   * if nothing else comes until the deadline, the soft error is what is
   * reported.
   *
   * @default {"fail"}
   */
  readonly softErrors?: "fail" | "wait" | undefined;
}

/** How long a call that waits may take, and what cancels it. */
export interface WaitOptions {
  /**
   * Milliseconds until the wait is given up, 0 or more.
   *
   * @default {Infinity}
   */
  readonly timeout?: number | undefined;
  /** Cancels the wait; the promise then rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** How data is sent. */
export interface SendOptions {
  /** The receiver, where the socket has no peer or another one is meant. */
  readonly to?: Address | undefined;
  /**
   * The system's own `MSG_...` flags, or-ed together.
   *
   * @default {0}
   */
  readonly flags?: number | undefined;
}

/** What {@linkcode Socket.pair} opens. */
export interface SocketPairOptions {
  /**
   * The socket type: a name, or the system's own number.
   *
   * @default {"stream"}
   */
  readonly type?: SocketType | number | undefined;
  /**
   * Whether calls return at once instead of waiting.
   *
   * @default {false}
   */
  readonly nonblocking?: boolean | undefined;
}

/** How data is received. */
export interface ReceiveOptions {
  /**
   * The system's own `MSG_...` flags, or-ed together.
   *
   * @default {0}
   */
  readonly flags?: number | undefined;
}

/** How data is received up to a delimiter. */
export interface ReceiveUntilOptions extends ReceiveOptions, WaitOptions {
  /**
   * The most bytes to receive, the delimiter among them.
   *
   * @default {65536}
   */
  readonly limit?: number | undefined;
}

const RECEIVE_KEYS = ["flags"] as const;
const WAITING_KEYS = ["timeout", "signal"] as const;
const BLOCKING_KEYS = ["timeout", "softErrors"] as const;

/** The options of each call. */
export const CALL_KEYS = {
  accept: WAITING_KEYS,
  acceptSync: ["timeout"],
  connect: [...BLOCKING_KEYS, "signal"],
  connectSync: BLOCKING_KEYS,
  open: ["family", "type", "protocol", "nonblocking"],
  pair: ["type", "nonblocking"],
  ready: WAITING_KEYS,
  recv: [...RECEIVE_KEYS, ...WAITING_KEYS],
  recvSync: RECEIVE_KEYS,
  recvUntil: ["limit", ...RECEIVE_KEYS, ...WAITING_KEYS],
  send: ["to", ...RECEIVE_KEYS, ...WAITING_KEYS],
  sendSync: ["to", ...RECEIVE_KEYS],
} as const satisfies Record<string, readonly string[]>;

/** What is in an options bag that was read. */
type Written<K extends keyof typeof CALL_KEYS> = Partial<
  Record<(typeof CALL_KEYS)[K][number], unknown>
>;

/** What a transfer was asked to do. */
export interface TransferRequest {
  /** The receiver, `null` for the peer. */
  readonly to: Address | null;
  readonly flags: number;
  readonly limits: Limits;
  /** The most bytes to receive. */
  readonly limit: number;
}

/** What is asked by those who pass no options, which costs nothing. */
const PLAIN_TRANSFER: TransferRequest = {
  to: null,
  flags: 0,
  limits: NO_LIMITS,
  limit: 0x1_0000,
};

const NONE = Object.freeze(Object.create(null));

/** Reads the options of a call; nothing where none were passed. */
export function readFor<K extends keyof typeof CALL_KEYS>(
  call: K,
  options: unknown,
): Written<K> {
  return options === undefined
    ? NONE
    : readOptions("options", options, CALL_KEYS[call]) as Written<K>;
}

/** What kind of socket is to be opened, in the system's numbers. */
export interface Kind {
  readonly domain: number;
  readonly type: number;
  readonly protocol: number;
  readonly nonblocking: boolean;
}

/** Reads and checks what kind of socket is to be opened. */
export function readKind(
  abi: Abi,
  options: unknown,
  call: "open" | "pair" = "open",
): Kind {
  const written: Written<"open"> = readFor(call, options);
  const { family, type, protocol, nonblocking = false } = written;
  checkBoolean("nonblocking", nonblocking);
  // What is not given needs no look-up.
  const { AF_INET, AF_UNIX, SOCK_STREAM } = abi;
  return {
    domain: family === undefined
      ? call === "pair" ? AF_UNIX : AF_INET
      : numberFor(abi, "family", SOCKET_FAMILIES, family),
    type: type === undefined
      ? SOCK_STREAM
      : numberFor(abi, "type", SOCKET_TYPES, type),
    protocol: protocol === undefined
      ? 0
      : numberFor(abi, "protocol", PROTOCOLS, protocol),
    nonblocking,
  };
}

/** Reads and checks the options of a transfer. */
export function readTransfer(
  call: "recv" | "recvSync" | "recvUntil" | "send" | "sendSync",
  options: unknown,
): TransferRequest {
  if (options === undefined) return PLAIN_TRANSFER;
  const written: Written<"recvUntil"> & Written<"send"> = readFor(
    call,
    options,
  );
  const { to = null, flags = 0, limit = PLAIN_TRANSFER.limit } = written;
  if (to !== null) checkAddress(to);
  return {
    to,
    flags: checkInteger("flags", flags, INT_MAX),
    limits: limitsOf(written),
    limit: checkInteger("limit", limit, INT_MAX),
  };
}

/** The limits of a wait. */
export function limitsOf(
  { timeout, signal }: { timeout?: unknown; signal?: unknown },
): Limits {
  return timeout === undefined && signal === undefined ? NO_LIMITS : {
    timeout: checkTimeout(timeout),
    whole: undefined,
    signal: checkSignal("signal", signal),
    isOver: false,
  };
}

/** Returns the milliseconds, `Infinity` if there are none. */
export function checkTimeout(timeout: unknown): number {
  return checkMilliseconds("timeout", timeout, Infinity);
}

/** Makes sure that an argument is an address of this package's making. */
export function checkAddress(address: unknown): asserts address is Address {
  if (isAddress(address)) return;
  throw own(
    new TypeError(
      `Cannot use address ${
        show(address)
      }: it must come from inet(), inet6(), ` +
        "unix() or another of the address functions",
    ),
  );
}

/** What is to be sent, or looked for: text as bytes, all else as it is. */
export function encoded(data: Uint8Array | string): Uint8Array {
  return typeof data === "string" ? ENCODER.encode(data) : data;
}
