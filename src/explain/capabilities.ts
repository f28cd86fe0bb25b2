/**
 * What this system and its kernel can do, asked before it is needed.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { type ErrnoCode, ErrnoError, isErrno } from "../errors/errors.ts";
import {
  isSupported,
  optionNames,
  type ReadableSocketOptionName,
  type SocketOptionName,
} from "../socket/options.ts";
import type { SocketOpenOptions } from "../socket/calls.ts";
import { Socket } from "../socket/socket.ts";

/** What {@linkcode capabilities} returns. */
export interface Capabilities {
  /** The system. */
  readonly os: string;
  /** The processor. */
  readonly arch: string;
  /**
   * Each option by its name, and whether it is there: the system has it, and
   * the kernel is not too old for it. For `md5` and others that can only be
   * set, it is what is known of the system.
   */
  readonly options: Readonly<
    Record<SocketOptionName | ReadableSocketOptionName, boolean>
  >;
  /** Whether IPv6 sockets open. */
  readonly ipv6: boolean;
  /** Whether Unix-domain sockets of the kind `"seqpacket"` open. */
  readonly unixSeqpacket: boolean;
  /** Whether there are Unix-domain names outside the file system. */
  readonly abstractUnix: boolean;
  /** Whether vsock sockets open. */
  readonly vsock: boolean;
  /** Whether sockets of Multipath TCP open. */
  readonly multipath: boolean;
  /** Whether sockets of SCTP open. */
  readonly sctp: boolean;
  /** Whether this program may open raw sockets. */
  readonly raw: boolean;
  /** Whether {@linkcode Socket.tcpInfo} works. */
  readonly tcpInfo: boolean;
  /**
   * Whether the kernel reports who sent an ICMP error, which
   * {@linkcode ErrnoError.icmp} then holds.
   */
  readonly icmp: boolean;
}

/**
 * Finds out what this system can do.
 *
 * Opens a few sockets and closes them again; nothing is sent, bound or
 * connected. What packet filters and routers forbid is not looked at.
 *
 * Options and kinds of sockets are found by trying, not by the kernel's name or
 * version. In gVisor, the sandbox of many cloud functions, these options are
 * not there: `bindAddressNoPort`, `fastOpen`, `freeBind`, `localPortRange`,
 * `mark`, `minTtl`, `mtu`, `pathMtuDiscovery`, `priority`, `transparent` and
 * `unsentLowMark`; nor are vsock, Multipath TCP, and raw sockets unless the
 * sandbox permits them. Some behaviour differs there that no field shows:
 * `userTimeout` does not end a handshake; SO_ERROR may report an error more
 * than once; a stream that has failed to connect fails with ECONNABORTED from
 * then on; a connected stream cannot be disconnected (EAFNOSUPPORT); connecting
 * to the path of a Unix-domain socket of another type fails with ECONNREFUSED
 * and not EPROTOTYPE; and `minRtt` and `mss` of {@linkcode Socket.tcpInfo} are
 * 0.
 *
 * C: `socket(2)`, `getsockopt(2)`.
 *
 * @returns What there is now.
 * @throws {ErrnoError} `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM`, where there is
 * too little of something to open a socket, which says nothing about the system.
 * @throws {Error} The runtime's own error, if the program may not call the C
 * library.
 *
 * @example An option where there is one
 * ```ts
 * import { capabilities, Socket } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * const { options } = capabilities();
 * using socket = Socket.open();
 * if (options.userTimeout) {
 *   socket.setOption("userTimeout", 1500);
 *   assertEquals(socket.getOption("userTimeout"), 1500);
 * }
 * ```
 */
export function capabilities(): Capabilities {
  const c = libc();
  const { abi } = c;
  const { os, arch } = abi;
  return {
    os,
    arch,
    options: optionsOf(c),
    ipv6: opens({ family: "inet6" }),
    unixSeqpacket: opens({ family: "unix", type: "seqpacket" }),
    abstractUnix: abi.abstractUnix,
    vsock: abi.AF_VSOCK !== null && opens({ family: "vsock" }),
    multipath: abi.IPPROTO_MPTCP !== null && opens({ protocol: "mptcp" }),
    sctp: opens({ protocol: "sctp" }),
    raw: opensRaw(c),
    tcpInfo: abi.tcpInfo !== null,
    icmp: abi.errorQueue !== null,
  };
}

function opens(options: SocketOpenOptions): boolean {
  const socket = openIfThere(options);
  socket?.close();
  return socket !== null;
}

/** Opens a socket, `null` if the system does not let this program have one. */
function openIfThere(options: SocketOpenOptions): Socket | null {
  try {
    return Socket.open(options);
  } catch (error) {
    const isShortage = SHORTAGES.some((code) => isErrno(error, code));
    if (error instanceof ErrnoError && !isShortage) return null;
    throw error;
  }
}

/** What says that there is too little of something, and nothing of the system. */
const SHORTAGES: readonly ErrnoCode[] = [
  "EMFILE",
  "ENFILE",
  "ENOBUFS",
  "ENOMEM",
];

/** Raw sockets go past every rule about addresses, so the runtime may object. */
function opensRaw(c: Libc): boolean {
  return c.permissions.net() && opens({ type: "raw", protocol: "icmp" });
}

function optionsOf({ abi }: Libc): Capabilities["options"] {
  const families = ["inet", "inet6"] as const;
  const sockets: Socket[] = [];
  try {
    for (const family of families) {
      const socket = openIfThere({ family });
      if (socket !== null) sockets.push(socket);
    }
    const known = optionNames().map((name) =>
      [
        name,
        isSupported(abi, name) &&
        (sockets.length === 0 ||
          sockets.some((socket) => isKnown(socket, name))),
      ] as const
    );
    return Object.fromEntries(known) as unknown as Capabilities["options"];
  } finally {
    for (const socket of sockets) socket.close();
  }
}

/** Whether the kernel knows an option; one that is too old for it does not. */
function isKnown(
  socket: Socket,
  name: SocketOptionName | ReadableSocketOptionName,
): boolean {
  try {
    socket.getOption(name as ReadableSocketOptionName);
    return true;
  } catch (error) {
    return !isErrno(error, "ENOPROTOOPT");
  }
}
