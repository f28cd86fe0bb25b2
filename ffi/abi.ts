/**
 * What a C library looks like from outside: the record that every system's table in `ffi/abi/` fills in.
 *
 * A number stands under its C name. A fact that a system does not have is `null` there, so that its users have to say
 * what happens then.
 *
 * @module
 */
import type { CommonErrnoCode, ErrnoCode, ErrnoNumbers } from "./abi/errnos.ts";

/** The systems this package knows by name. */
export type Os =
  | "linux"
  | "darwin"
  | "freebsd"
  | "openbsd"
  | "netbsd"
  | "illumos"
  | "aix";

/** The processors this package knows by name. */
export type Arch =
  | "x86_64"
  | "aarch64"
  | "ppc64"
  | "riscv64"
  | "s390x"
  | "sparc64";

export type { CommonErrnoCode, ErrnoCode, ErrnoNumbers };

/** The names that `<netdb.h>` gives to the failures of getaddrinfo. */
export type EaiCode =
  | "EAI_ADDRFAMILY"
  | "EAI_AGAIN"
  | "EAI_BADFLAGS"
  | "EAI_BADHINTS"
  | "EAI_FAIL"
  | "EAI_FAMILY"
  | "EAI_MEMORY"
  | "EAI_NODATA"
  | "EAI_NONAME"
  | "EAI_OVERFLOW"
  | "EAI_PROTOCOL"
  | "EAI_SERVICE"
  | "EAI_SOCKTYPE"
  | "EAI_SYSTEM";

/** One system on one processor. Sizes and offsets are bytes. */
export interface Abi {
  readonly os: Os;
  readonly arch: Arch;
  readonly littleEndian: boolean;

  /** File names to try in turn: sonames first, then absolute paths, which work where a permission names a path. */
  readonly libraries: readonly string[];
  /** Exported names of the C functions that the library exports under another one. */
  readonly symbols: Readonly<Record<string, string>>;
  /** The function that returns the address of this thread's `errno`. */
  readonly errnoLocation: string;
  /** Width of `nfds_t`. */
  readonly nfdsSize: 4 | 8;
  /** Whether variadic arguments travel on the stack even while argument registers are free. */
  readonly variadicOnStack: boolean;

  readonly AF_UNSPEC: number;
  readonly AF_UNIX: number;
  readonly AF_INET: number;
  readonly AF_INET6: number;
  readonly AF_VSOCK: number | null;

  readonly SOCK_STREAM: number;
  readonly SOCK_DGRAM: number;
  readonly SOCK_RAW: number;
  readonly SOCK_SEQPACKET: number;
  /** Flags of socket(2)'s type argument, `null` where it takes none and fcntl has to follow. */
  readonly SOCK_NONBLOCK: number | null;
  readonly SOCK_CLOEXEC: number | null;

  readonly IPPROTO_IP: number;
  readonly IPPROTO_ICMP: number;
  readonly IPPROTO_TCP: number;
  readonly IPPROTO_UDP: number;
  readonly IPPROTO_IPV6: number;
  readonly IPPROTO_SCTP: number;
  readonly IPPROTO_MPTCP: number | null;

  readonly F_DUPFD_CLOEXEC: number;
  readonly F_GETFD: number;
  readonly F_SETFD: number;
  readonly FD_CLOEXEC: number;
  readonly F_GETFL: number;
  readonly F_SETFL: number;
  readonly O_NONBLOCK: number;
  readonly O_CLOEXEC: number;

  /** What getrlimit(2) calls the limit of descriptors; the limit in force comes first in what it writes, and is as wide as a pointer. */
  readonly RLIMIT_NOFILE: number;

  readonly POLLIN: number;
  readonly POLLOUT: number;
  readonly POLLERR: number;
  readonly POLLHUP: number;
  readonly POLLNVAL: number;

  readonly SHUT_RD: number;
  readonly SHUT_WR: number;
  readonly SHUT_RDWR: number;
  readonly MSG_DONTWAIT: number;
  readonly MSG_OOB: number;
  readonly MSG_PEEK: number;
  /** Keeps send(2) from raising SIGPIPE; `null` where only the option SO_NOSIGPIPE does that. */
  readonly MSG_NOSIGNAL: number | null;
  readonly SO_NOSIGPIPE: number | null;

  readonly SOL_SOCKET: number;
  readonly SO_ACCEPTCONN: number;
  readonly SO_BINDTODEVICE: number | null;
  readonly SO_BROADCAST: number;
  readonly SO_DOMAIN: number | null;
  readonly SO_ERROR: number;
  readonly SO_KEEPALIVE: number;
  readonly SO_LINGER: number;
  readonly SO_MARK: number | null;
  readonly SO_PRIORITY: number | null;
  readonly SO_PROTOCOL: number | null;
  readonly SO_RCVBUF: number;
  readonly SO_REUSEADDR: number;
  readonly SO_REUSEPORT: number | null;
  readonly SO_SNDBUF: number;
  readonly SO_TYPE: number;

  readonly IP_BIND_ADDRESS_NO_PORT: number | null;
  readonly IP_BOUND_IF: number | null;
  readonly IP_FREEBIND: number | null;
  readonly IP_LOCAL_PORT_RANGE: number | null;
  readonly IP_MINTTL: number | null;
  readonly IP_MTU: number | null;
  readonly IP_MTU_DISCOVER: number | null;
  readonly IP_RECVERR: number | null;
  readonly IP_TOS: number;
  readonly IP_TRANSPARENT: number | null;
  readonly IP_TTL: number;
  readonly IPV6_BOUND_IF: number | null;
  readonly IPV6_MINHOPCOUNT: number | null;
  readonly IPV6_MTU: number | null;
  readonly IPV6_MTU_DISCOVER: number | null;
  readonly IPV6_RECVERR: number | null;
  readonly IPV6_TCLASS: number;
  readonly IPV6_UNICAST_HOPS: number;
  readonly IPV6_V6ONLY: number;
  /** The lowest time to live that a packet can be sent with: Linux refuses 0. */
  readonly ttlMin: 0 | 1;

  readonly TCP_CONGESTION: number | null;
  /** Holds small segments back; the BSDs and Darwin call it TCP_NOPUSH. */
  readonly TCP_CORK: number | null;
  readonly TCP_FASTOPEN_CONNECT: number | null;
  /** Seconds of silence before the first probe; Darwin calls it TCP_KEEPALIVE. */
  readonly TCP_KEEPIDLE: number | null;
  readonly TCP_KEEPINTVL: number | null;
  readonly TCP_KEEPCNT: number | null;
  readonly TCP_MAXSEG: number;
  readonly TCP_MD5SIG: number | null;
  readonly TCP_NODELAY: number;
  readonly TCP_NOTSENT_LOWAT: number | null;
  readonly TCP_QUICKACK: number | null;
  readonly TCP_SYNCNT: number | null;
  readonly TCP_USER_TIMEOUT: number | null;

  /** The header of every socket address: a length byte where the system has one, then the family. */
  readonly sockaddr: {
    readonly len: number | null;
    readonly family: number;
    readonly familySize: 1 | 2;
  };
  readonly sockaddrIn: {
    readonly size: number;
    readonly port: number;
    readonly addr: number;
  };
  readonly sockaddrIn6: {
    readonly size: number;
    readonly port: number;
    readonly flowInfo: number;
    readonly addr: number;
    readonly scopeId: number;
  };
  /** `pathSize` is the whole array `sun_path`. */
  readonly sockaddrUn: { readonly path: number; readonly pathSize: number };
  /** Whether a path that begins with a NUL names a socket outside the file system. */
  readonly abstractUnix: boolean;
  readonly sockaddrVm: {
    readonly size: number;
    readonly port: number;
    readonly cid: number;
  } | null;
  readonly pollfd: {
    readonly size: number;
    readonly fd: number;
    readonly events: number;
    readonly revents: number;
  };
  /**
   * Whether a socket that connect(2) itself reported to be refused is as good as
   * a new one: the next call begins another attempt, from another port.
   */
  readonly outlivesRefusal: boolean;
  /** The queue of ICMP errors that Linux keeps with a socket, `null` elsewhere. */
  readonly errorQueue: {
    /** The flag by which recvmsg(2) reads it instead of data. */
    readonly MSG_ERRQUEUE: number;
    readonly SO_EE_ORIGIN_ICMP: number;
    readonly SO_EE_ORIGIN_ICMP6: number;
    /** `vectorSize` is of what `iov` points to, `iovlen` times; lengths are `size_t` here, too. */
    readonly msghdr: {
      readonly size: number;
      readonly iov: number;
      readonly iovlen: number;
      readonly vectorSize: number;
      readonly control: number;
      readonly controllen: number;
      readonly flags: number;
    };
    /** `data` is where the structure below begins; lengths are `size_t`. */
    readonly cmsghdr: {
      readonly size: number;
      readonly len: number;
      readonly level: number;
      readonly type: number;
      readonly data: number;
    };
    readonly sockExtendedErr: {
      readonly size: number;
      readonly errno: number;
      readonly origin: number;
      readonly type: number;
      readonly code: number;
    };
  } | null;
  /**
   * Linux's epoll(7) with the eventfd(2) that wakes a wait, `null` elsewhere.
   * Its events have the numbers of poll(2).
   */
  readonly epoll: {
    readonly EFD_CLOEXEC: number;
    readonly EPOLL_CLOEXEC: number;
    readonly EPOLL_CTL_ADD: number;
    readonly EPOLL_CTL_DEL: number;
    readonly EPOLL_CTL_MOD: number;
    readonly EPOLLONESHOT: number;
    readonly event: {
      readonly size: number;
      readonly events: number;
      readonly data: number;
    };
  } | null;
  /** Who is on the other side of a Unix socket, 32 bits each; `null` where one option does not say all three. */
  readonly peerCredentials: {
    readonly SO_PEERCRED: number;
    readonly size: number;
    readonly pid: number;
    readonly uid: number;
    readonly gid: number;
  } | null;
  /** Where Multipath TCP describes itself, `null` where it does not. */
  readonly mptcp: {
    readonly SOL_MPTCP: number;
    readonly MPTCP_INFO: number;
  } | null;
  readonly addrinfo: {
    readonly size: number;
    readonly flags: number;
    readonly family: number;
    readonly socktype: number;
    readonly protocol: number;
    readonly addrlen: number;
    readonly addrlenSize: 4 | 8;
    readonly addr: number;
    readonly next: number;
  };
  /** Whether the resolver looks into `/etc/hosts` first where no `/etc/nsswitch.conf` says otherwise. */
  readonly hostsFirst: boolean;
  /**
   * What getaddrinfo_a(3) takes, `null` where no library of the system has that
   * function.
   */
  readonly gaicb: {
    readonly size: number;
    readonly name: number;
    readonly request: number;
    readonly result: number;
    readonly GAI_NOWAIT: number;
    readonly EAI_INPROGRESS: number;
    readonly EAI_ALLDONE: number;
  } | null;
  /**
   * The structure that TCP_MD5SIG takes: the peer, and the key with its length, 16 bits. `null` where that option only
   * switches signing on, and keys come by another way.
   */
  readonly tcpMd5sig: {
    readonly size: number;
    readonly addr: number;
    readonly addrSize: number;
    readonly keyLength: number;
    readonly key: number;
    readonly keySize: number;
  } | null;
  /** What the kernel shows of a TCP connection, `null` where it does not; `option` is at level IPPROTO_TCP. */
  readonly tcpInfo: {
    readonly option: number;
    readonly size: number;
    readonly state: number;
    /**
     * The byte that counts retransmissions of the segment under way; during the handshake, that is the SYN. `null` where
     * the system leaves it empty.
     */
    readonly retransmits: number | null;
    /** Smoothed round trip, 32 bits that count `rttUnit`. */
    readonly rtt: number;
    readonly rttvar: number;
    /** How many microseconds one count of `rtt` and `rttvar` is. */
    readonly rttUnit: 1 | 1000;
    readonly totalRetrans: number | null;
    /** What only Linux shows in this form, all of it 32 bits but for the byte of `options`; `null` elsewhere. */
    readonly details: {
      readonly options: number;
      /** What the bits of `options` stand for, from the lowest. */
      readonly optionNames: readonly string[];
      readonly sndMss: number;
      readonly sndCwnd: number;
      /** Lowest round trip in microseconds, all ones before there is a sample. */
      readonly minRtt: number;
      /** Bytes that the peer has acknowledged, the SYN among them, of which the lower half. */
      readonly bytesAcked: number;
    } | null;
    /** Names of the states by number. A state has the same name on every system. */
    readonly states: readonly string[];
  } | null;

  readonly AI_NUMERICHOST: number;
  readonly eais: Readonly<Partial<Record<EaiCode, number>>>;
  /** The whole of `<errno.h>`. Where two names share a number, the first one listed names it. */
  readonly errnos: ErrnoNumbers;
}
