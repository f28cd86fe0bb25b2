/**
 * What a simulated system is made of: its peers, its manners, its sockets.
 *
 * @module
 */
import type { Abi, EaiCode, ErrnoCode, Os } from "../../ffi/abi.ts";
import type { Libc } from "../../ffi/contract.ts";

/** Where a socket can be, in words. */
export interface Place {
  readonly family: "inet" | "inet6" | "unix" | "vsock";
  /** An address in digits, a path, or a context's number. */
  readonly host: string;
  readonly port?: number;
  readonly scopeId?: number;
}

/** An ICMP error, on the systems that keep them with the socket. */
export interface SimulatedIcmp {
  readonly type: number;
  readonly code: number;
  readonly from: string;
}

/** What becomes of those who connect to a place. */
export interface Fate {
  /** By name or by number; nothing for success. */
  readonly errno?: ErrnoCode | number;
  /** Milliseconds until then; `Infinity` if nobody replies. */
  readonly delay?: number;
  /** Whether connect(2) itself returns the errno, and nothing begins. */
  readonly atOnce?: boolean;
  readonly icmp?: SimulatedIcmp;
}

/** The other end of a connection. */
export interface SimulatedPeer {
  /** What has arrived and was not taken yet. */
  take(): Uint8Array;
  /** Whether we have said that nothing more will come. */
  readonly ended: boolean;
  give(data: Uint8Array): void;
  close(): void;
  reset(): void;
}

/** Somebody who takes connections. */
export interface SimulatedListener {
  /** Takes the next connection, `null` if nobody has connected. */
  accept(): SimulatedPeer | null;
  close(): void;
}

/** What a descriptor is like. */
export interface DescriptorFacts {
  readonly closeOnExec: boolean;
  readonly nonblocking: boolean;
}

/** What getaddrinfo(3) says of a name: hosts in digits, or why there are none. */
export type NameFacts =
  | readonly string[]
  | { readonly eai: EaiCode | number; readonly errno?: ErrnoCode };

/**
 * How a system behaves where its table does not say it.
 *
 * What is known of a system is from its own pages and sources. Where they leave it open, it is what is hardest for code that expects
 * Linux, and differs from system to system.
 */
export interface Manners {
  /** Whether connect(2) returns 0, once, after an attempt that did not block and succeeded. */
  readonly lateZero: boolean;
  /** What a stream socket returns that failed before; `null` where it tries again. */
  readonly afterFailure: ErrnoCode | null;
  /** Whether a refusal from nearby comes as connect(2)'s own result, though the socket does not block. */
  readonly refusesAtOnce: boolean;
  /** The events of a socket whose attempt has failed. */
  readonly failedEvents:
    readonly ("POLLIN" | "POLLOUT" | "POLLERR" | "POLLHUP")[];
  /** The events of a stream socket that was never connected. */
  readonly freshEvents: readonly ("POLLOUT" | "POLLHUP")[];
  /** Whether a switch of SOL_SOCKET reads as the option's own number, and not as 1. */
  readonly ownBits: boolean;
  /** How many bytes the address of a Unix-domain socket without a name has. */
  readonly unnamed: number;
  /** Whether a path ends by a NUL that counts, also where the program that bound it has not counted it. */
  readonly endsPaths: boolean;
  /** Whether flow information comes back with the peer's address. */
  readonly keepsFlowInfo: boolean;
  /** Whether buffers are twice as large as they are set to. */
  readonly doublesBuffers: boolean;
  /** What a full Unix-domain backlog returns to a socket that does not block. */
  readonly fullUnix: ErrnoCode;
  /** What an unknown name of an interface fails with. */
  readonly noInterface: ErrnoCode;
  /** What asking for the peer of a stream returns that is shut down on both sides, by a failure too. */
  readonly noPeer: ErrnoCode;
  /** Whether a socket with a peer may send to others. */
  readonly sendsToOthers: boolean;
  /** Whether Unix-domain attempts take a moment, and go on when they are cut short, as all others do. */
  readonly unixTakesTime: boolean;
  /**
   * What connect(2) to AF_UNSPEC returns for a datagram socket that has no peer any more, by the family of the socket; `null` where
   * that is 0.
   */
  readonly dissolved: Readonly<
    Record<"inet" | "inet6" | "unix", ErrnoCode | null>
  >;
  /** Whether an error that is pending is handed out instead, and nothing is dissolved. */
  readonly errorFirst: boolean;
  /** What the same call returns for a stream socket with a connection; `null` where it ends that. */
  readonly endsStream: ErrnoCode | null;
}

/** What the systems that come from Berkeley share, and those that took their sockets from there. */
export const BSD: Manners = {
  lateZero: false,
  afterFailure: "EINVAL",
  refusesAtOnce: false,
  failedEvents: ["POLLIN", "POLLOUT", "POLLHUP"],
  freshEvents: [],
  ownBits: true,
  unnamed: 16,
  endsPaths: false,
  keepsFlowInfo: true,
  doublesBuffers: false,
  fullUnix: "ECONNREFUSED",
  noInterface: "ENXIO",
  noPeer: "ENOTCONN",
  sendsToOthers: false,
  unixTakesTime: false,
  dissolved: {
    inet: "EAFNOSUPPORT",
    inet6: "EAFNOSUPPORT",
    unix: "EAFNOSUPPORT",
  },
  errorFirst: false,
  endsStream: "EISCONN",
};

export const MANNERS: Readonly<Record<Os, Manners>> = {
  linux: {
    lateZero: true,
    afterFailure: null,
    refusesAtOnce: false,
    failedEvents: ["POLLIN", "POLLOUT", "POLLERR", "POLLHUP"],
    freshEvents: ["POLLOUT", "POLLHUP"],
    ownBits: false,
    unnamed: 2,
    endsPaths: true,
    keepsFlowInfo: false,
    doublesBuffers: true,
    fullUnix: "EAGAIN",
    noInterface: "ENODEV",
    noPeer: "ENOTCONN",
    sendsToOthers: true,
    unixTakesTime: false,
    dissolved: { inet: null, inet6: null, unix: null },
    errorFirst: false,
    endsStream: null,
  },
  darwin: {
    ...BSD,
    noPeer: "EINVAL", // getpeername(2)
    // The length comes first, and no bytes are a path.
    dissolved: { inet: "EAFNOSUPPORT", inet6: "EINVAL", unix: "ENOENT" },
  },
  freebsd: BSD,
  openbsd: { ...BSD, unnamed: 106 },
  netbsd: { ...BSD, unnamed: 2 },
  illumos: {
    ...BSD,
    refusesAtOnce: true,
    unixTakesTime: true, // connect(3SOCKET), "Non-blocking Sockets": of any family
    failedEvents: ["POLLIN", "POLLOUT", "POLLERR", "POLLHUP"],
    unnamed: 2,
    dissolved: { inet: null, inet6: null, unix: null },
    errorFirst: true,
    endsStream: "EINVAL",
  },
  aix: { ...BSD, failedEvents: ["POLLOUT", "POLLERR"] },
};

/** The C functions whose next call a signal can cut short. */
export type Interruptible = "connect" | "poll" | "recvfrom" | "sendto";

/** A simulated system. */
export interface Simulation extends Disposable {
  readonly abi: Abi;
  readonly manners: Manners;
  readonly libc: Libc;
  /** The names of the C functions that were called, in order. */
  readonly calls: string[];
  /** What no program may do, and was done: empty at the end of a good test. */
  readonly complaints: readonly string[];
  /** What getaddrinfo(3) knows. */
  readonly names: Map<string, NameFacts>;
  /** The open descriptors. */
  readonly descriptors: readonly number[];
  /** How many entries of getaddrinfo(3) nobody has freed. */
  readonly lists: number;
  /** How many descriptors there may be. */
  limit: number;
  /** How much of what it knows of a TCP connection the kernel reports; it was less once. */
  tcpInfoSize: number;
  /** The port that the kernel gives out next; it counts up from there. */
  nextPort: number;
  listen(at: Place, options?: { backlog?: number }): SimulatedListener;
  plan(at: Place, fate: Fate): void;
  /** The next so many calls of a function end by EINTR; an attempt to connect goes on. */
  interrupt(call: Interruptible, times: number): void;
  /** The system call of that number from now on, counted from 1, fails with an errno. Closing always works. */
  failAt(number: number, code: ErrnoCode): void;
  /** Whether that call is still to come. */
  readonly isToFail: boolean;
  facts(fd: number): DescriptorFacts;
}

/** A socket address as the kernel keeps it. */
export interface Name {
  readonly domain: number;
  /** The bytes of the host or of the path, in hexadecimal. */
  readonly host: string;
  readonly port: number;
  readonly scopeId: number;
  readonly flowInfo: number;
}

export interface Packet {
  bytes: Uint8Array;
  readonly from: Name | null;
}

export type Phase =
  | "fresh"
  | "connecting"
  | "connected"
  | "failed"
  | "listening";

export class Sock {
  readonly domain: number;
  readonly type: number;
  readonly protocol: number;
  nonblocking = false;
  phase: Phase = "fresh";
  error = 0;
  local: Name | null = null;
  peer: Name | null = null;
  /** The other end of a stream or of a pair. */
  other: Sock | null = null;
  inbox: Packet[] = [];
  /** Nothing more will come. */
  ended = false;
  /** Nothing more can be sent. */
  shut = false;
  /** Nobody is there to take what is sent. */
  isBroken = false;
  /** Whether connect(2) has not reported a success yet. */
  isUntold = false;
  isClosed = false;
  backlog = 0;
  queue: Sock[] = [];
  icmps: SimulatedIcmp[] = [];
  readonly options = new Map<string, Uint8Array>();

  constructor(domain: number, type: number, protocol: number) {
    this.domain = domain;
    this.type = type;
    this.protocol = protocol;
  }
}

export interface Watch {
  events: number;
  readonly data: Uint8Array;
}

export class Epoll {
  readonly watches = new Map<number, Watch>();
}

export interface Parked {
  readonly fds: Uint8Array;
  readonly count: number;
  readonly end: number;
  readonly resolve: (result: number) => void;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** How many bytes wait for a reader at most. */
export const ROOM = 65_536;
/** The first port that the kernel gives out. */
export const FIRST_PORT = 49_152;
/** The addresses that the machine has besides loopback, one for each kind. */
export const OWN = { inet: "192.0.2.9", inet6: "2001:db8::9", link: "fe80::9" };
export const INTERFACES = ["lo", "net0"];
/** What `O_RDWR` is everywhere. */
export const O_RDWR = 2;
/** The round trip of every connection, and how it varies, in ms. */
export const RTT = 12;
export const RTT_VARIANCE = 3;
export const RETRANSMITS = 2;
/** What Linux alone reports. */
export const DETAILS = {
  minRtt: 9,
  mss: 1460,
  congestionWindow: 10,
  options: ["timestamps", "sack", "windowScale"],
};

export function isTcp(abi: Abi, { domain, type }: Sock): boolean {
  return (domain === abi.AF_INET || domain === abi.AF_INET6) &&
    type === abi.SOCK_STREAM;
}

export function waiting({ inbox }: Sock): number {
  return inbox.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

export function keyOf({ domain, host, port, scopeId }: Name): string {
  return `${domain}/${host}/${port}/${scopeId}`;
}

export function boundKey({ type }: Sock, name: Name): string {
  return `${type}/${keyOf(name)}`;
}

export function read(
  bytes: Uint8Array,
  at: number,
  size: number,
  littleEndian: boolean,
): number {
  let value = 0;
  for (let i = 0; i < size; i++) {
    value = value * 256 + bytes[littleEndian ? at + size - 1 - i : at + i]!;
  }
  return value;
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
}

/** The bytes of an address in digits, for the few spellings that tests need. */
export function hostBytes(host: string): Uint8Array {
  if (!host.includes(":")) return Uint8Array.from(host.split("."), Number);
  const [head = "", tail = ""] = host.split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail === "" ? [] : tail.split(":");
  const gap = new Array<string>(8 - first.length - last.length).fill("0");
  const groups = [...first, ...gap, ...last].map((group) =>
    parseInt(group, 16)
  );
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]));
}
