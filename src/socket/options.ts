/**
 * Socket options by name: which C options stand behind a name, and what their
 * values mean.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";
import { ENCODER, newMemory } from "../../ffi/memory.ts";
import { type Address, bytesOf, isAddress } from "../address/address.ts";
import {
  copyOf,
  INT_MAX,
  isBytes,
  isObject,
  MAX_PORT,
  show,
  UINT_MAX,
} from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { ErrnoError, NotSupportedError } from "../errors/errors.ts";
import {
  checkInt,
  LEVELS,
  type OptionConstant,
  optionRefusal,
  readInt,
} from "./raw_options.ts";

/**
 * When a silent connection is asked whether its peer is still there.
 *
 * What is left out stays as it is, which at first is the system's setting.
 * Systems count in seconds: a duration that is not a whole number of them is
 * refused and not rounded.
 */
export interface KeepAlive {
  /**
   * Silence before the first probe, in milliseconds, a multiple of 1000.
   *
   * C: `TCP_KEEPIDLE`; on macOS, `TCP_KEEPALIVE`. On all systems except OpenBSD.
   */
  readonly initialDelay?: number | undefined;
  /**
   * Time between probes that stay unanswered, in milliseconds, a multiple of
   * 1000.
   *
   * C: `TCP_KEEPINTVL`. On all systems except OpenBSD.
   */
  readonly interval?: number | undefined;
  /**
   * How many probes stay unanswered before the connection is given up.
   *
   * C: `TCP_KEEPCNT`. On all systems except OpenBSD.
   */
  readonly count?: number | undefined;
}

/** A secret shared with one peer, which signs every segment. */
export interface Md5Key {
  /** The peer. Its port does not matter. */
  readonly address: Address;
  /** At most 80 bytes; text counts in UTF-8. An empty one takes the key away. */
  readonly key: string | Uint8Array;
}

/**
 * The options that a socket can be given, and the types of their values.
 *
 * Durations are milliseconds and sizes are bytes. Where the system counts in
 * seconds, a duration that is not a whole number of them is refused: what is
 * set is what was asked for. A value of the wrong type is a `TypeError` and one
 * out of range a `RangeError`, both before the system is asked anything; an
 * option that the system does not have is a {@linkcode NotSupportedError}, and
 * what the kernel refuses is an {@linkcode ErrnoError}.
 *
 * All of them can be read back, except `md5`. {@linkcode SocketFacts} has what
 * can be read only.
 *
 * C: `setsockopt(2)`, `getsockopt(2)`.
 *
 * @example Setting an option before connecting, and reading it back
 * ```ts
 * import { Socket } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * using socket = Socket.open({ family: "inet", type: "stream" });
 * socket.setOption("ttl", 3);
 * socket.setOption("linger", 2000);
 * assertEquals(socket.getOption("ttl"), 3);
 * assertEquals(socket.getOption("linger"), 2000);
 * ```
 */
export interface SocketOptions {
  /**
   * Whether an address may be bound to that an earlier connection still holds.
   *
   * C: `SO_REUSEADDR`. All systems.
   */
  reuseAddress: boolean;
  /**
   * Whether other sockets that ask for the same may share the address.
   *
   * C: `SO_REUSEPORT`. On all systems except illumos.
   */
  reusePort: boolean;
  /**
   * Whether datagrams may go to broadcast addresses.
   *
   * C: `SO_BROADCAST`. All systems.
   */
  broadcast: boolean;
  /**
   * Whether small segments are sent at once, and not held back while earlier
   * data waits to be acknowledged.
   *
   * C: `TCP_NODELAY`. All systems.
   */
  noDelay: boolean;
  /**
   * Whether, and when, a silent connection is asked whether its peer is still
   * there. Times set the switch on too; `true` leaves them as they are.
   *
   * Reads as `false` when off, as the times when on, and as `true` where the
   * socket or the system has no such times.
   *
   * C: `SO_KEEPALIVE`. All systems; {@linkcode KeepAlive} says which have times.
   */
  keepAlive: boolean | KeepAlive;
  /**
   * How long a close waits for unsent data, in milliseconds, a multiple of
   * 1000; `null` leaves the data to the system. At 0, close throws the data
   * away and resets the connection.
   *
   * C: `SO_LINGER`; on macOS, `SO_LINGER_SEC`. All systems.
   */
  linger: number | null;
  /**
   * How many routers a packet may pass, up to 255: IPv4's time to live on an
   * IPv4 socket, the hop limit on an IPv6 one.
   *
   * An IPv6 socket that talks to an IPv4-mapped address keeps an IPv4 time to
   * live besides, which this does not reach.
   *
   * Linux sends nothing that may pass none, and 0 is refused there.
   *
   * C: `IP_TTL`, `IPV6_UNICAST_HOPS`. All systems.
   */
  ttl: number;
  /**
   * The lowest time to live, or hop limit, that a packet may arrive with, 0 to
   * 255; others are dropped. 255 keeps out all that is not on the same link
   * (RFC 5082).
   *
   * C: `IP_MINTTL`, `IPV6_MINHOPCOUNT`. Linux and OpenBSD; FreeBSD and NetBSD
   * over IPv4.
   */
  minTtl: number;
  /**
   * The byte that IPv4 calls type of service and IPv6 traffic class: DSCP in
   * its upper six bits, ECN in the lower two.
   *
   * Linux keeps the lower two bits of a TCP socket to itself.
   *
   * C: `IP_TOS`, `IPV6_TCLASS`. All systems.
   */
  typeOfService: number;
  /**
   * The network interface, by name, that packets have to leave and arrive by.
   * `""` stands for any.
   *
   * Since Linux 5.7 any user may choose one; choosing another afterwards needs
   * `CAP_NET_RAW`, as choosing the first did before. On macOS and illumos the
   * kernel keeps the interface by number, so that its name cannot be read back.
   *
   * C: `SO_BINDTODEVICE` on Linux; `IP_BOUND_IF`, `IPV6_BOUND_IF` and
   * `if_nametoindex(3)` on macOS and illumos.
   */
  interface: string;
  /**
   * The mark of 32 bits that routing rules and packet filters look at. Needs
   * `CAP_NET_ADMIN` or, since Linux 5.17, `CAP_NET_RAW`.
   *
   * C: `SO_MARK`. Linux.
   */
  mark: number;
  /**
   * How urgent the packets are to the queues of this machine, 0 to 6; more
   * needs `CAP_NET_ADMIN`.
   *
   * C: `SO_PRIORITY`. Linux.
   */
  priority: number;
  /**
   * What happens to packets that are larger than a link on the way can carry;
   * {@linkcode PathMtuDiscovery} lists the ways. What is known of the path then
   * is {@linkcode SocketFacts.mtu}.
   *
   * C: `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`. Linux.
   */
  pathMtuDiscovery: PathMtuDiscovery;
  /**
   * How long sent data, or a handshake, may go unacknowledged before the
   * connection is given up, in milliseconds; 0 stands for the system's own
   * patience.
   *
   * It is looked at when a retransmission is due, so it ends a handshake late
   * rather than on time.
   *
   * C: `TCP_USER_TIMEOUT`. Linux.
   */
  userTimeout: number;
  /**
   * How often the first segment of a handshake is repeated before the attempt
   * fails with ETIMEDOUT, 1 to 127.
   *
   * C: `TCP_SYNCNT`. Linux.
   */
  synRetries: number;
  /**
   * Whether the first data goes out along with the first segment, to peers
   * that gave out a cookie earlier. Connecting to such a peer succeeds at once,
   * sends nothing and so says nothing about it.
   *
   * C: `TCP_FASTOPEN_CONNECT`. Linux since 4.11.
   */
  fastOpen: boolean;
  /**
   * The algorithm of congestion control, such as `"cubic"` or `"reno"`.
   *
   * C: `TCP_CONGESTION`. Linux, FreeBSD, illumos.
   */
  congestion: string;
  /**
   * The room for data that has arrived, in bytes.
   *
   * Linux doubles what is set, to cover its own bookkeeping, keeps it between
   * a minimum and `net.core.rmem_max`, and reads back what came out.
   *
   * C: `SO_RCVBUF`. All systems.
   */
  receiveBufferSize: number;
  /**
   * The room for data that waits to be sent, in bytes. What
   * {@linkcode SocketOptions.receiveBufferSize} says of Linux holds here too,
   * with `net.core.wmem_max`.
   *
   * C: `SO_SNDBUF`. All systems.
   */
  sendBufferSize: number;
  /**
   * Whether an IPv6 socket keeps away from IPv4-mapped addresses. OpenBSD
   * always does, and refuses `false`.
   *
   * C: `IPV6_V6ONLY`. All systems; IPv6 sockets only.
   */
  v6Only: boolean;
  /**
   * The largest TCP segment, in bytes, to announce to the peer; on a connected
   * socket it reads as what is in use.
   *
   * C: `TCP_MAXSEG`. All systems.
   */
  maxSegmentSize: number;
  /**
   * Whether data is acknowledged at once. The kernel changes this by itself as
   * the connection goes on.
   *
   * C: `TCP_QUICKACK`. Linux, illumos.
   */
  quickAck: boolean;
  /**
   * Whether only full segments are sent: what is less waits until this is
   * switched off, until more comes, or, on Linux and illumos, for at most 200
   * ms.
   *
   * C: `TCP_CORK` on Linux and illumos; `TCP_NOPUSH` on macOS, FreeBSD and
   * OpenBSD.
   */
  cork: boolean;
  /**
   * How few bytes must wait to be sent before the socket is said to have room,
   * 0 to 4294967295. Data then waits in the program, where it can still change,
   * and not in the kernel.
   *
   * C: `TCP_NOTSENT_LOWAT`. Linux, macOS.
   */
  unsentLowMark: number;
  /**
   * Whether an address may be bound to that no interface has, or has yet.
   *
   * C: `IP_FREEBIND`, for IPv6 too. Linux.
   */
  freeBind: boolean;
  /**
   * Whether the socket may act for addresses that are not this machine's.
   * Needs `CAP_NET_ADMIN` or `CAP_NET_RAW`.
   *
   * C: `IP_TRANSPARENT`, for IPv6 too. Linux.
   */
  transparent: boolean;
  /**
   * Whether binding to port 0 leaves the choice of the port to connect, so
   * that one port can serve connections to different peers.
   *
   * C: `IP_BIND_ADDRESS_NO_PORT`, for IPv6 too. Linux since 4.2.
   */
  bindAddressNoPort: boolean;
  /**
   * The lowest and the highest port that the kernel may choose for this
   * socket, within its own range; 0 at either end stands for the end of that
   * range.
   *
   * C: `IP_LOCAL_PORT_RANGE`, for IPv6 too. Linux since 6.3.
   */
  localPortRange: readonly [low: number, high: number];
  /**
   * A key for one peer, with which both sides sign their segments. It can be
   * set only.
   *
   * C: `TCP_MD5SIG`, RFC 2385. Linux.
   */
  md5: Md5Key;
  /**
   * Whether the socket keeps the ICMP errors that its packets bring about,
   * with the address of who sent them, for `recvmsg` with `MSG_ERRQUEUE`. An
   * unconnected datagram socket then reports them as errors, too.
   *
   * C: `IP_RECVERR`, `IPV6_RECVERR`. Linux.
   */
  readErrorQueue: boolean;
}

/**
 * What Linux does about packets that are too large for a link on the way.
 *
 * `"want"` leaves it to the route, which mostly means to find out, and lets
 * other packets be cut in pieces; `"do"` never has one cut, so that sending one
 * that is too large is EMSGSIZE; `"dont"` never finds out; `"probe"` sends
 * whatever the interface can carry; `"interface"` and `"omit"` go by the
 * interface alone and believe no router, `"omit"` cuts packets to fit it.
 */
export type PathMtuDiscovery =
  | "dont"
  | "want"
  | "do"
  | "probe"
  | "interface"
  | "omit";

/** Who opened the other side of a Unix socket. */
export interface PeerCredentials {
  /** The process, 0 if it is in a namespace that does not show here. */
  readonly pid: number;
  /** Its effective user. */
  readonly uid: number;
  /** Its effective group. */
  readonly gid: number;
}

/** The name of an option that can be set. */
export type SocketOptionName = keyof SocketOptions;

/** What a socket is: options that can be read and never set. */
export interface SocketFacts {
  /**
   * The type that it was opened with, as a number if it is another than these.
   *
   * C: `SO_TYPE`. All systems.
   */
  readonly type: "stream" | "dgram" | "seqpacket" | "raw" | number;
  /**
   * The number of its protocol, such as 6 for TCP. A socket that was opened
   * with protocol 0 has the one that the system chose.
   *
   * C: `SO_PROTOCOL`; on illumos, `SO_PROTOTYPE`. Linux, FreeBSD, OpenBSD,
   * illumos.
   */
  readonly protocol: number;
  /**
   * Whether it listens.
   *
   * C: `SO_ACCEPTCONN`. All systems.
   */
  readonly acceptsConnections: boolean;
  /**
   * Whether a socket of Multipath TCP is one still. It goes back to plain TCP
   * for good when the peer, or something on the way, does not speak it; a
   * socket that was opened without `protocol: "mptcp"` never was one.
   *
   * C: `MPTCP_INFO`, which a socket without it does not have. Linux since
   * 5.16.
   */
  readonly multipath: boolean;
  /**
   * The largest packet, in bytes, that is known to reach the peer in one piece.
   * The socket has to be connected.
   *
   * C: `IP_MTU`, `IPV6_MTU`. Linux.
   */
  readonly mtu: number;
  /**
   * Who connected, listened, or made the pair, at the time they did so. Unix
   * sockets only; one that is not connected has no peer, which Linux reports as
   * process 0 and user and group -1.
   *
   * C: `SO_PEERCRED`. Linux, OpenBSD.
   */
  readonly peerCredentials: PeerCredentials;
}

/** Every option that can be read, and the type that it reads as. */
export interface ReadableSocketOptions
  extends Omit<SocketOptions, "md5">, SocketFacts {}

/** The name of an option that can be read. */
export type ReadableSocketOptionName = keyof ReadableSocketOptions;

/** Everything that has a name here. */
interface AllOptions extends SocketOptions, SocketFacts {}

/** A socket, and the name under which a caller knows the option. */
interface Target {
  readonly libc: Libc;
  readonly fd: number;
  readonly family: number;
  readonly name: string;
}

/** One option. Methods but the first are for systems that have it. */
interface Option<T> {
  isIn(abi: Abi): boolean;
  /**
   * Returns the value to set, every part of it read once; throws if the option
   * cannot be set to it.
   */
  check(value: T, name: string, abi: Abi): T;
  set(target: Target, value: T): void;
  get(target: Target): T;
}

/** How values of one kind lie in memory; that memory is {@linkcode scratch}. */
interface Codec<T> {
  /** How many bytes they take when they are read. */
  readonly size: number;
  /** As {@linkcode Option.check}. */
  check(value: T, name: string, abi: Abi): T;
  /** Returns how many bytes it wrote. */
  write(value: T, abi: Abi): number;
  /** Reads what the system wrote, so many bytes. */
  read(length: number, abi: Abi): T;
}

/** Milliseconds in the unit of C's options that count seconds. */
const SECOND = 1000;
/** Both `IFNAMSIZ` and `TCP_CA_NAME_MAX`, on each system that takes names. */
const NAME_SIZE = 16;

/** For one system call at a time; no call outlives its use. */
const scratch = newMemory(256);
const view = new DataView(scratch.buffer);
const decoder = new TextDecoder();

const FLAG: Codec<boolean> = {
  size: 4,
  check(value, name) {
    if (typeof value !== "boolean") throw wrongType(name, value, "a boolean");
    return value;
  },
  write(value, abi) {
    view.setInt32(0, value ? 1 : 0, abi.littleEndian);
    return 4;
  },
  read(length, abi) {
    // Some systems report the option's own bit, and not 1.
    return readInt(view, length, abi) !== 0;
  },
};

/** Numbers from `min` to `max`, of which C counts `unit` as one. */
function integer(min: number, max: number, unit = 1): Codec<number> {
  return {
    size: 4,
    check(value, name) {
      checkInt(`Cannot set option "${name}" to`, value, min * unit, max * unit);
      if (value % unit !== 0) {
        throw outOfRange(name, value, `a multiple of ${unit}`);
      }
      return value;
    },
    write(value, abi) {
      view.setUint32(0, value / unit, abi.littleEndian);
      return 4;
    },
    read(length, abi) {
      const value = readInt(view, length, abi);
      return (max > INT_MAX ? value >>> 0 : value) * unit;
    },
  };
}

const COUNT = integer(0, INT_MAX);
const UINT = integer(0, UINT_MAX);
const OCTET = integer(0, 0xff);
const PORT = integer(0, MAX_PORT);
const SECONDS = integer(0, INT_MAX, SECOND);

const TTL: Codec<number> = {
  ...OCTET,
  check(value, name, { ttlMin }) {
    checkInt(`Cannot set option "${name}" to`, value, ttlMin, 0xff);
    return value;
  },
};

/** Names in place of the numbers from 0. */
function choice<N extends string>(names: readonly N[]): Codec<N> {
  return {
    size: 4,
    check(value, name) {
      if (names.includes(value)) return value;
      const list = names.map(show).join(", ");
      throw wrongType(name, value, `one of ${list}`);
    },
    write(value, abi) {
      view.setInt32(0, names.indexOf(value), abi.littleEndian);
      return 4;
    },
    read(length, abi) {
      const number = readInt(view, length, abi);
      return names[number] ?? `${number}` as N;
    },
  };
}

const NAME: Codec<string> = {
  size: NAME_SIZE,
  check(value, name) {
    // Linux cuts longer ones short without a word, and may then know them.
    if (cString(name, value).length > NAME_SIZE) {
      throw outOfRange(name, value, `at most ${NAME_SIZE - 1} bytes`);
    }
    return value;
  },
  write(value) {
    const { written } = ENCODER.encodeInto(`${value}\0`, scratch);
    return written;
  },
  read(length) {
    const bytes = scratch.subarray(0, length);
    const end = bytes.indexOf(0);
    return decoder.decode(end === -1 ? bytes : bytes.subarray(0, end));
  },
};

/** `struct linger`, which is the same everywhere: a switch, and seconds. */
const LINGER: Codec<number | null> = {
  size: 8,
  check(value, name, abi) {
    if (value === null) return null;
    if (typeof value !== "number") {
      throw wrongType(name, value, "a number or null");
    }
    return SECONDS.check(value, name, abi);
  },
  write(value, abi) {
    view.setInt32(0, value === null ? 0 : 1, abi.littleEndian);
    view.setInt32(4, (value ?? 0) / SECOND, abi.littleEndian);
    return 8;
  },
  read(_length, abi) {
    return view.getInt32(0, abi.littleEndian) === 0
      ? null
      : view.getInt32(4, abi.littleEndian) * SECOND;
  },
};

const PORT_RANGE: Codec<readonly [number, number]> = {
  size: 4,
  check(value, name, abi) {
    if (!Array.isArray(value) || value.length !== 2) {
      throw wrongType(name, value, "an array of two ports");
    }
    const low = PORT.check(value[0], `${name}[0]`, abi);
    const high = PORT.check(value[1], `${name}[1]`, abi);
    if (high !== 0 && low > high) {
      throw outOfRange(name, value, "the lower port first");
    }
    return [low, high];
  },
  write([low, high], abi) {
    view.setUint32(0, high << 16 | low, abi.littleEndian);
    return 4;
  },
  read(_length, abi) {
    const range = view.getUint32(0, abi.littleEndian);
    return [range & MAX_PORT, range >>> 16];
  },
};

const SOCKET_TYPE: Codec<SocketFacts["type"]> = {
  ...COUNT as unknown as Codec<SocketFacts["type"]>,
  read(length, abi) {
    const type = readInt(view, length, abi);
    switch (type) {
      case abi.SOCK_STREAM:
        return "stream";
      case abi.SOCK_DGRAM:
        return "dgram";
      case abi.SOCK_SEQPACKET:
        return "seqpacket";
      case abi.SOCK_RAW:
        return "raw";
      default:
        return type;
    }
  },
};

/** An option that is one option in C, or one for each version of IP. */
function single<T>(
  constant: OptionConstant,
  codec: Codec<T>,
  constantForIpv6: OptionConstant = constant,
): Option<T> {
  function locate({ libc: { abi }, family }: Target): [number, number] {
    const name = family === abi.AF_INET6 ? constantForIpv6 : constant;
    const prefix = name.slice(0, name.indexOf("_")) as keyof typeof LEVELS;
    return [abi[LEVELS[prefix]], abi[name]!];
  }
  return {
    isIn(abi) {
      return abi[constant] !== null && abi[constantForIpv6] !== null;
    },
    check: codec.check,
    set(target, value) {
      const [level, option] = locate(target);
      const length = codec.write(value, target.libc.abi);
      set(target, level, option, scratch, length, value);
    },
    get(target) {
      const { libc, fd, name } = target;
      const [level, option] = locate(target);
      const bytes = scratch.subarray(0, codec.size).fill(0);
      const length = libc.getsockopt(fd, level, option, bytes);
      if (length >= 0) return codec.read(length, libc.abi);
      throw optionRefusal("getsockopt", length, named(name));
    },
  };
}

/** An option that can be read only. */
function fact<T>(option: Pick<Option<T>, "isIn" | "get">): Option<T> {
  return {
    isIn: option.isIn,
    check(_value, name) {
      throw own(
        new TypeError(`Cannot set option "${name}": it can only be read`),
      );
    },
    set() {},
    get: option.get,
  };
}

const KEEP_ALIVE_SWITCH = single("SO_KEEPALIVE", FLAG);
const KEEP_ALIVE_TIMES: { [T in keyof KeepAlive]-?: Option<number> } = {
  initialDelay: single("TCP_KEEPIDLE", SECONDS),
  interval: single("TCP_KEEPINTVL", SECONDS),
  count: single("TCP_KEEPCNT", COUNT),
};

const KEEP_ALIVE: Option<boolean | KeepAlive> = {
  isIn: KEEP_ALIVE_SWITCH.isIn,
  check(value, name, abi) {
    if (typeof value === "boolean") return value;
    if (!isObject(value)) {
      throw wrongType(name, value, "a boolean or an object with times");
    }
    const times: { -readonly [T in keyof KeepAlive]: number } = Object.create(
      null,
    );
    for (const key of Object.keys(value)) {
      if (!isTime(key)) {
        const list = Object.keys(KEEP_ALIVE_TIMES).join(", ");
        throw own(
          new TypeError(
            `Cannot set option "${name}" with ${
              show(key)
            }: the times are ${list}`,
          ),
        );
      }
      const time = value[key];
      if (time === undefined) continue;
      const part = `${name}.${key}`;
      const option = KEEP_ALIVE_TIMES[key];
      if (!option.isIn(abi)) throw unsupported(part, abi);
      times[key] = option.check(time, part, abi);
    }
    return times;
  },
  set(target, value) {
    if (typeof value !== "boolean") {
      // In the order of the table, whatever the caller's was.
      for (const key of Object.keys(KEEP_ALIVE_TIMES)) {
        const time = isTime(key) ? value[key] : undefined;
        if (time === undefined || !isTime(key)) continue;
        const name = `${target.name}.${key}`;
        KEEP_ALIVE_TIMES[key].set({ ...target, name }, time);
      }
    }
    // The switch comes last: a refused time leaves nothing switched on.
    KEEP_ALIVE_SWITCH.set(target, value !== false);
  },
  get(target) {
    if (!KEEP_ALIVE_SWITCH.get(target)) return false;
    const { initialDelay, interval, count } = KEEP_ALIVE_TIMES;
    if (!initialDelay.isIn(target.libc.abi)) return true;
    try {
      return {
        initialDelay: initialDelay.get(target),
        interval: interval.get(target),
        count: count.get(target),
      };
    } catch (error) {
      // The switch was read, so the socket is one, but not of TCP.
      if (error instanceof ErrnoError) return true;
      throw error;
    }
  },
};

function isTime(key: string): key is keyof KeepAlive {
  return Object.hasOwn(KEEP_ALIVE_TIMES, key);
}

const INTERFACE_BY_NAME = single("SO_BINDTODEVICE", NAME);
/** Goes first: on Darwin all releases have it, and the other one only the newest. */
const INTERFACE_BY_INDEX = single("IP_BOUND_IF", COUNT, "IPV6_BOUND_IF");

const INTERFACE: Option<string> = {
  isIn(abi) {
    return INTERFACE_BY_NAME.isIn(abi) || INTERFACE_BY_INDEX.isIn(abi);
  },
  check(value, name, abi) {
    if (!INTERFACE_BY_INDEX.isIn(abi)) return NAME.check(value, name, abi);
    cString(name, value);
    return value;
  },
  set(target, value) {
    const { libc, name } = target;
    if (!INTERFACE_BY_INDEX.isIn(libc.abi)) {
      INTERFACE_BY_NAME.set(target, value);
      return;
    }
    let index = 0;
    if (value !== "") {
      index = libc.if_nametoindex(cString(name, value));
      if (index < 0) {
        const what = `${named(name)} to ${show(value)}`;
        throw optionRefusal("if_nametoindex", index, what);
      }
    }
    INTERFACE_BY_INDEX.set(target, index);
  },
  get(target) {
    const { libc: { abi }, name } = target;
    if (!INTERFACE_BY_INDEX.isIn(abi)) return INTERFACE_BY_NAME.get(target);
    throw new NotSupportedError(`getOption("${name}")`, abi.os);
  },
};

const MD5: Option<Md5Key> = {
  isIn({ TCP_MD5SIG, tcpMd5sig }) {
    return TCP_MD5SIG !== null && tcpMd5sig !== null;
  },
  check(value, name, abi) {
    const { addrSize, keySize } = abi.tcpMd5sig!;
    if (!isObject(value)) {
      throw wrongType(name, value, "an object with an address and a key");
    }
    const { address, key: secret } = value;
    if (!isAddress(address)) {
      throw wrongType(`${name}.address`, address, "an address");
    }
    if (bytesOf(address).length > addrSize) {
      throw outOfRange(`${name}.address`, address, `at most ${addrSize} bytes`);
    }
    // The key is a secret, so no message shows any of it.
    if (typeof secret !== "string" && !isBytes(secret)) {
      throw own(
        new TypeError(
          `Cannot set option "${name}.key": expected a string or a Uint8Array`,
        ),
      );
    }
    const key = typeof secret === "string"
      ? ENCODER.encode(secret)
      : copyOf(`${name}.key`, secret);
    if (key.length > keySize) {
      throw own(
        new RangeError(
          `Cannot set option "${name}.key" to a key of ${key.length} bytes: ` +
            `expected at most ${keySize}`,
        ),
      );
    }
    return { address, key };
  },
  set({ libc, fd, name }, { address, key }) {
    const { littleEndian, IPPROTO_TCP, TCP_MD5SIG, tcpMd5sig } = libc.abi;
    const { size, addr, keyLength, key: keyAt } = tcpMd5sig!;
    // Not the scratch memory, where the key would stay.
    const bytes = newMemory(size);
    bytes.set(bytesOf(address), addr);
    new DataView(bytes.buffer).setUint16(keyLength, key.length, littleEndian);
    bytes.set(key as Uint8Array, keyAt);
    const result = libc.setsockopt(
      fd,
      IPPROTO_TCP,
      TCP_MD5SIG!,
      bytes,
      bytes.length,
    );
    if (result < 0) throw optionRefusal("setsockopt", result, named(name));
  },
  get({ name }) {
    throw own(new TypeError(`Cannot get option "${name}": it can only be set`));
  },
};

/** Nothing to be read, but whether there is something to read. */
const MULTIPATH: Option<boolean> = fact({
  isIn({ mptcp }) {
    return mptcp !== null;
  },
  get({ libc, fd, name }) {
    const { errnos, mptcp } = libc.abi;
    const { SOL_MPTCP, MPTCP_INFO } = mptcp!;
    const result = libc.getsockopt(fd, SOL_MPTCP, MPTCP_INFO, scratch);
    if (result >= 0) return true;
    const isOther = result === -errnos.EOPNOTSUPP ||
      result === -errnos.ENOPROTOOPT;
    if (isOther) return false;
    throw optionRefusal("getsockopt", result, named(name));
  },
});

const PEER_CREDENTIALS: Option<PeerCredentials> = fact({
  isIn({ peerCredentials }) {
    return peerCredentials !== null;
  },
  get({ libc, fd, name }) {
    const { peerCredentials, SOL_SOCKET, littleEndian } = libc.abi;
    const { SO_PEERCRED, size, pid, uid, gid } = peerCredentials!;
    const bytes = scratch.subarray(0, size);
    const length = libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, bytes);
    if (length < 0) throw optionRefusal("getsockopt", length, named(name));
    if (length < size) throw unsupported(name, libc.abi);
    return {
      pid: view.getInt32(pid, littleEndian),
      uid: idAt(uid, littleEndian),
      gid: idAt(gid, littleEndian),
    };
  },
});

/** Reads a user or a group; the largest number is none, C's -1. */
function idAt(at: number, littleEndian: boolean): number {
  const id = view.getUint32(at, littleEndian);
  return id === UINT_MAX ? -1 : id;
}

/** In the order of their numbers on Linux, the one system that has them all. */
const PATH_MTU_DISCOVERY: readonly PathMtuDiscovery[] = [
  "dont",
  "want",
  "do",
  "probe",
  "interface",
  "omit",
];

const OPTIONS: { readonly [N in keyof AllOptions]: Option<AllOptions[N]> } = {
  reuseAddress: single("SO_REUSEADDR", FLAG),
  reusePort: single("SO_REUSEPORT", FLAG),
  broadcast: single("SO_BROADCAST", FLAG),
  noDelay: single("TCP_NODELAY", FLAG),
  keepAlive: KEEP_ALIVE,
  linger: single("SO_LINGER", LINGER),
  ttl: single("IP_TTL", TTL, "IPV6_UNICAST_HOPS"),
  minTtl: single("IP_MINTTL", OCTET, "IPV6_MINHOPCOUNT"),
  typeOfService: single("IP_TOS", OCTET, "IPV6_TCLASS"),
  interface: INTERFACE,
  mark: single("SO_MARK", UINT),
  priority: single("SO_PRIORITY", COUNT),
  pathMtuDiscovery: single(
    "IP_MTU_DISCOVER",
    choice(PATH_MTU_DISCOVERY),
    "IPV6_MTU_DISCOVER",
  ),
  userTimeout: single("TCP_USER_TIMEOUT", COUNT),
  synRetries: single("TCP_SYNCNT", COUNT),
  fastOpen: single("TCP_FASTOPEN_CONNECT", FLAG),
  congestion: single("TCP_CONGESTION", NAME),
  receiveBufferSize: single("SO_RCVBUF", COUNT),
  sendBufferSize: single("SO_SNDBUF", COUNT),
  v6Only: single("IPV6_V6ONLY", FLAG),
  maxSegmentSize: single("TCP_MAXSEG", COUNT),
  quickAck: single("TCP_QUICKACK", FLAG),
  cork: single("TCP_CORK", FLAG),
  unsentLowMark: single("TCP_NOTSENT_LOWAT", UINT),
  freeBind: single("IP_FREEBIND", FLAG),
  transparent: single("IP_TRANSPARENT", FLAG),
  bindAddressNoPort: single("IP_BIND_ADDRESS_NO_PORT", FLAG),
  localPortRange: single("IP_LOCAL_PORT_RANGE", PORT_RANGE),
  md5: MD5,
  readErrorQueue: single("IP_RECVERR", FLAG, "IPV6_RECVERR"),
  type: fact(single("SO_TYPE", SOCKET_TYPE)),
  protocol: fact(single("SO_PROTOCOL", COUNT)),
  acceptsConnections: fact(single("SO_ACCEPTCONN", FLAG)),
  multipath: MULTIPATH,
  mtu: fact(single("IP_MTU", COUNT, "IPV6_MTU")),
  peerCredentials: PEER_CREDENTIALS,
};

/** Finds an option, `name` being whatever a caller without types passed. */
function findOption<N extends keyof AllOptions>(
  verb: "get" | "set" | "look up",
  name: N,
): Option<AllOptions[N]> {
  if (typeof name === "string" && Object.hasOwn(OPTIONS, name)) {
    return OPTIONS[name];
  }
  throw own(new TypeError(`Cannot ${verb} option ${show(name)}: unknown name`));
}

/**
 * Sets an option by name.
 *
 * Nothing is set unless the whole value is good, but for what the kernel
 * refuses on its own.
 *
 * @param libc The C library.
 * @param fd The socket.
 * @param family Its address family, as a number.
 * @param name The option.
 * @param value What {@linkcode SocketOptions} says of it.
 * @throws {TypeError} If the name is unknown or the value has a wrong type.
 * @throws {RangeError} If the value cannot be.
 * @throws {NotSupportedError} If this system does not have the option.
 * @throws {ErrnoError} If the kernel refuses.
 */
export function setOption<N extends SocketOptionName>(
  libc: Libc,
  fd: number,
  family: number,
  name: N,
  value: SocketOptions[N],
): void {
  const checked = checkOption(libc.abi, name, value);
  setChecked(libc, fd, family, name, checked);
}

/** The same with a value that {@linkcode checkOption} has returned. */
export function setChecked<N extends SocketOptionName>(
  libc: Libc,
  fd: number,
  family: number,
  name: N,
  checked: SocketOptions[N],
): void {
  const option: Option<SocketOptions[N]> = findOption("set", name);
  option.set({ libc, fd, family, name }, checked);
}

/**
 * Makes sure that an option can be set to a value, as far as that shows
 * without a socket.
 *
 * @returns The value to set, which no other code can change any more.
 * @throws As {@linkcode setOption} does, before any call.
 */
export function checkOption<N extends SocketOptionName>(
  abi: Abi,
  name: N,
  value: SocketOptions[N],
): SocketOptions[N] {
  const option: Option<SocketOptions[N]> = findOption("set", name);
  if (!option.isIn(abi)) throw unsupported(name, abi);
  return option.check(value, name, abi);
}

/**
 * Reads an option by name.
 *
 * @param libc The C library.
 * @param fd The socket.
 * @param family Its address family, as a number.
 * @param name The option.
 * @returns Its value, in the unit in which it is set.
 * @throws {TypeError} If the name is unknown, or cannot be read.
 * @throws {NotSupportedError} If this system does not have the option.
 * @throws {ErrnoError} If the kernel refuses.
 */
export function getOption<N extends ReadableSocketOptionName>(
  libc: Libc,
  fd: number,
  family: number,
  name: N,
): ReadableSocketOptions[N] {
  const option: Option<ReadableSocketOptions[N]> = findOption("get", name);
  if (!option.isIn(libc.abi)) throw unsupported(name, libc.abi);
  return option.get({ libc, fd, family, name });
}

/** Whether a system has an option; its kernel may still be too old for it. */
export function isSupported(
  abi: Abi,
  name: SocketOptionName | keyof SocketFacts,
): boolean {
  return findOption("look up", name).isIn(abi);
}

/** The names of all options, readable or not. */
export function optionNames(): (SocketOptionName | keyof SocketFacts)[] {
  return Object.keys(OPTIONS) as (SocketOptionName | keyof SocketFacts)[];
}

/** Calls setsockopt, and throws if the kernel refuses. */
function set(
  { libc, fd, name }: Target,
  level: number,
  option: number,
  bytes: Uint8Array,
  length: number,
  value: unknown,
): void {
  const result = libc.setsockopt(fd, level, option, bytes, length);
  if (result >= 0) return;
  throw optionRefusal("setsockopt", result, `${named(name)} to ${show(value)}`);
}

/** An option as messages call it. */
function named(name: string): string {
  return `option "${name}"`;
}

/** Checks that a text can be a C string, and makes it one. */
function cString(name: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (typeof value !== "string") throw wrongType(name, value, "a string");
  if (value.includes("\0")) throw outOfRange(name, value, "no NUL in it");
  const bytes = ENCODER.encode(`${value}\0`);
  const memory = newMemory(bytes.length);
  memory.set(bytes);
  return memory;
}

function wrongType(name: string, value: unknown, expected: string): TypeError {
  return own(
    new TypeError(
      `Cannot set option "${name}" to ${show(value)}: expected ${expected}`,
    ),
  );
}

function outOfRange(
  name: string,
  value: unknown,
  expected: string,
): RangeError {
  return own(
    new RangeError(
      `Cannot set option "${name}" to ${show(value)}: expected ${expected}`,
    ),
  );
}

function unsupported(name: string, { os }: Abi): NotSupportedError {
  return new NotSupportedError(named(name), os);
}
