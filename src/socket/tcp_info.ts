/**
 * What the kernel knows of a TCP connection.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { doorFor, libc } from "../../ffi/libc.ts";
import { newMemory } from "../../ffi/memory.ts";
import { checkInteger, INT_MAX, isObject, show } from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { NotSupportedError } from "../errors/errors.ts";
import { optionRefusal } from "./raw_options.ts";

/**
 * What the kernel knows of a TCP connection. Durations are milliseconds, with
 * the fraction that the kernel measured.
 *
 * Right after connecting, `rtt` is the time that the handshake took on the
 * network, without that of this process. A pending attempt can be read as well:
 * `state` is `"SYN_SENT"` then, and `retransmits` counts the first segments
 * that went unanswered.
 *
 * C: `TCP_INFO`; on macOS, `TCP_CONNECTION_INFO`. Linux, macOS, FreeBSD,
 * OpenBSD, NetBSD.
 *
 * @example The network's share of the time
 * ```ts
 * import { connectSync } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * using socket = connectSync({ hostname: "127.0.0.1", port });
 * const { state, totalRetransmits } = socket.tcpInfo();
 * assertEquals(state, "ESTABLISHED");
 * assertEquals(totalRetransmits, 0);
 * ```
 */
export interface TcpInfo {
  /**
   * The state in Linux's words, on every system: `"SYN_SENT"`, `"ESTABLISHED"`,
   * `"CLOSE"`, ... A state without a name is its number.
   */
  readonly state: string;
  /**
   * The round trip, smoothed, in milliseconds; `null` before there is a sample.
   *
   * A SYN that had to be repeated gives none: it is not known to which SYN the
   * peer replied, and what the kernel then keeps counts in whole milliseconds.
   * On Linux since 4.1 the first data that the peer acknowledges brings a true
   * one.
   */
  readonly rtt: number | null;
  /**
   * How much the round trip varies, in milliseconds; before there is a sample,
   * what the system starts from.
   */
  readonly rttVariance: number;
  /**
   * The lowest round trip of late, in milliseconds; `null` before there is a
   * sample, and where the system does not report it. Linux
   * since 4.6.
   */
  readonly minRtt: number | null;
  /**
   * How often the segment under way has been repeated; during a handshake, the
   * first one. `null` where the system does not count.
   */
  readonly retransmits: number | null;
  /**
   * How many segments have been repeated since the connection began. `null`
   * where the system does not report it.
   */
  readonly totalRetransmits: number | null;
  /** The largest segment that is sent, in bytes; `null` except on Linux. */
  readonly mss: number | null;
  /**
   * How many segments may be under way at once; `null` except on Linux.
   */
  readonly congestionWindow: number | null;
  /**
   * What both sides agreed on in the handshake: `"timestamps"`, `"sack"`,
   * `"windowScale"`, `"ecn"`, and what came of it: `"ecnSeen"`, and `"synData"`
   * where data travelled with the first segment. `null` except on Linux.
   */
  readonly options: readonly string[] | null;
}

/** What `minRtt` is before there is a sample. */
const NO_SAMPLE = 0xffff_ffff;

/** How many bytes of ours have been acknowledged when the SYN has. */
const SYN = 1;

/**
 * Reads what the kernel knows of a TCP connection, also of a pending one.
 *
 * @param libc The C library.
 * @param fd The socket.
 * @throws {NotSupportedError} If this system, or its kernel, does not report it.
 * @throws {ErrnoError} If the kernel refuses, as it does when the socket is not
 * one of TCP.
 */
export function readTcpInfo(libc: Libc, fd: number): TcpInfo {
  const { abi } = libc;
  const { littleEndian, tcpInfo: layout } = abi;
  if (layout === null) throw new NotSupportedError("tcpInfo()", abi.os);
  const { option, size, rttUnit, states, details } = layout;
  const bytes = newMemory(size);
  const view = new DataView(bytes.buffer);
  const length = libc.getsockopt(fd, abi.IPPROTO_TCP, option, bytes);
  if (length < 0) throw optionRefusal("getsockopt", length, "tcpInfo()");
  // The structure grew from release to release: an older kernel fills in less.
  function byte(at: number | null = null): number | null {
    return at !== null && at + 1 <= length ? view.getUint8(at) : null;
  }
  function word(at: number | null = null): number | null {
    return at !== null && at + 4 <= length
      ? view.getUint32(at, littleEndian)
      : null;
  }
  const state = byte(layout.state);
  const rtt = word(layout.rtt);
  const rttVariance = word(layout.rttvar);
  if (state === null || rtt === null || rttVariance === null) {
    throw new NotSupportedError("tcpInfo()", abi.os);
  }
  const totalRetransmits = word(layout.totalRetrans);
  // Elsewhere a repeated SYN leaves the round trip at 0.
  const isRepeated = details !== null && (totalRetransmits ?? 0) > 0 &&
    (word(details.bytesAcked) ?? SYN) <= SYN;
  const minRtt = word(details?.minRtt);
  const options = byte(details?.options);
  return {
    state: states[state] ?? `${state}`,
    rtt: rtt === 0 || isRepeated ? null : rtt * rttUnit / 1000,
    rttVariance: rttVariance * rttUnit / 1000,
    minRtt: minRtt === null || minRtt === NO_SAMPLE || isRepeated
      ? null
      : minRtt / 1000,
    retransmits: byte(layout.retransmits),
    totalRetransmits,
    mss: word(details?.sndMss),
    congestionWindow: word(details?.sndCwnd),
    options: options === null
      ? null
      : details!.optionNames.filter((_, bit) => (options >> bit & 1) !== 0),
  };
}

/**
 * Reads what the kernel knows of a TCP connection whose socket belongs to other
 * code.
 *
 * The descriptor is only read for this call, and stays with its owner.
 *
 * C: `getsockopt(2)` with `TCP_INFO`.
 *
 * @param of The descriptor, or a socket of `node:net` on Node or Bun; Deno's
 * shows no descriptor.
 * @returns As {@linkcode Socket.tcpInfo}.
 * @throws {NotSupportedError} If the socket shows no descriptor, or this system
 * does not report it.
 * @throws {ErrnoError} If it is no TCP socket.
 * @throws {TypeError} If it is neither a number nor an object.
 *
 * @example The round trip below a request, where the runtime shows it
 * ```ts
 * import { NotSupportedError, tcpInfo } from "@einprogress/connect";
 * import { connect } from "node:net";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const socket = connect(listener.addr.port, "127.0.0.1");
 * await new Promise<void>((resolve) => socket.once("connect", resolve));
 * try {
 *   console.log(`${tcpInfo(socket).rtt} ms`);
 * } catch (error) {
 *   if (!(error instanceof NotSupportedError)) throw error;
 * }
 * socket.destroy();
 * ```
 */
export function tcpInfo(of: number | object): TcpInfo {
  return readTcpInfo(libc(), descriptorOf(of));
}

/** The descriptor of a socket of the runtime's. */
function descriptorOf(of: unknown): number {
  if (typeof of === "number") return checkInteger("of", of, INT_MAX);
  if (!isObject(of)) {
    throw own(
      new TypeError(
        `Cannot use of ${show(of)}: it is neither a descriptor nor a socket`,
      ),
    );
  }
  const { _handle } = of as { _handle?: { fd?: unknown } | null };
  const fd = _handle?.fd;
  if (typeof fd === "number" && Number.isInteger(fd) && fd >= 0) return fd;
  throw new NotSupportedError(
    "tcpInfo() of a socket without a descriptor",
    doorFor().runtime,
  );
}
