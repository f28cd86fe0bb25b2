import type { Abi, Arch } from "../abi.ts";
import { errnosOf } from "./errnos.ts";

/** macOS on both of its processors. They differ in how variadic arguments travel. */
export function darwin(arch: Arch): Abi | null {
  switch (arch) {
    case "x86_64":
      return { ...common(), arch, variadicOnStack: false };
    case "aarch64":
      return { ...common(), arch, variadicOnStack: true };
    default:
      return null;
  }
}

function common(): Omit<Abi, "arch" | "variadicOnStack"> {
  return {
    os: "darwin",
    littleEndian: true,
    libraries: [
      "libSystem.B.dylib",
      "/usr/lib/libSystem.B.dylib", // no such file since macOS 11; dlopen finds it in the shared cache by this name
    ],
    symbols: {}, // <sys/cdefs.h>: the names with $UNIX2003 are the 32-bit ones
    errnoLocation: "__error", // <sys/errno.h>
    nfdsSize: 4, // <sys/poll.h>, unsigned int

    AF_UNSPEC: 0, // <sys/socket.h>
    AF_UNIX: 1,
    AF_INET: 2,
    AF_INET6: 30,
    AF_VSOCK: 40,

    SOCK_STREAM: 1, // <sys/socket.h>
    SOCK_DGRAM: 2,
    SOCK_RAW: 3,
    SOCK_SEQPACKET: 5,
    SOCK_NONBLOCK: null,
    SOCK_CLOEXEC: null,

    IPPROTO_IP: 0, // <netinet/in.h>
    IPPROTO_ICMP: 1,
    IPPROTO_TCP: 6,
    IPPROTO_UDP: 17,
    IPPROTO_IPV6: 41,
    IPPROTO_SCTP: 132,
    IPPROTO_MPTCP: null,

    F_DUPFD_CLOEXEC: 67, // <sys/fcntl.h>
    F_GETFD: 1,
    F_SETFD: 2,
    FD_CLOEXEC: 1,
    F_GETFL: 3,
    F_SETFL: 4,
    O_NONBLOCK: 0x0004,
    O_CLOEXEC: 0x1000000,

    RLIMIT_NOFILE: 8, // <sys/resource.h>

    POLLIN: 0x0001, // <sys/poll.h>
    POLLOUT: 0x0004,
    POLLERR: 0x0008,
    POLLHUP: 0x0010,
    POLLNVAL: 0x0020,

    SHUT_RD: 0, // <sys/socket.h>
    SHUT_WR: 1,
    SHUT_RDWR: 2,
    MSG_DONTWAIT: 0x80,
    MSG_OOB: 1,
    MSG_PEEK: 2,
    MSG_NOSIGNAL: 0x80000, // younger than the option: old systems have only that
    SO_NOSIGPIPE: 0x1022,

    SOL_SOCKET: 0xffff, // <sys/socket.h>
    SO_ACCEPTCONN: 0x0002,
    SO_BINDTODEVICE: 0x1134, // since macOS 15; IP_BOUND_IF does the same on all
    SO_BROADCAST: 0x0020,
    SO_DOMAIN: null,
    SO_ERROR: 0x1007,
    SO_KEEPALIVE: 0x0008,
    // SO_LINGER_SEC, which counts seconds as SO_LINGER does elsewhere, and here too under _POSIX_C_SOURCE; without that
    // SO_LINGER is 0x0080 and counts ticks of 10 ms.
    SO_LINGER: 0x1080,
    SO_MARK: null,
    SO_PRIORITY: null,
    SO_PROTOCOL: null,
    SO_RCVBUF: 0x1002,
    SO_REUSEADDR: 0x0004,
    SO_REUSEPORT: 0x0200,
    SO_SNDBUF: 0x1001,
    SO_TYPE: 0x1008,

    IP_BIND_ADDRESS_NO_PORT: null, // <netinet/in.h>
    IP_BOUND_IF: 25,
    IP_FREEBIND: null,
    IP_LOCAL_PORT_RANGE: null,
    IP_MINTTL: null,
    IP_MTU: null,
    IP_MTU_DISCOVER: null,
    IP_RECVERR: null,
    IP_TOS: 3,
    IP_TRANSPARENT: null,
    IP_TTL: 4,
    IPV6_BOUND_IF: 125, // <netinet6/in6.h>
    IPV6_MINHOPCOUNT: null,
    IPV6_MTU: null,
    IPV6_MTU_DISCOVER: null,
    IPV6_RECVERR: null,
    IPV6_TCLASS: 36,
    IPV6_UNICAST_HOPS: 4,
    IPV6_V6ONLY: 27,
    ttlMin: 0,

    TCP_CONGESTION: null, // <netinet/tcp.h>
    TCP_CORK: 4, // TCP_NOPUSH
    TCP_FASTOPEN_CONNECT: null,
    TCP_KEEPIDLE: 0x10, // TCP_KEEPALIVE
    TCP_KEEPINTVL: 0x101,
    TCP_KEEPCNT: 0x102,
    TCP_MAXSEG: 2,
    TCP_MD5SIG: null,
    TCP_NODELAY: 1,
    TCP_NOTSENT_LOWAT: 0x201,
    TCP_QUICKACK: null,
    TCP_SYNCNT: null,
    TCP_USER_TIMEOUT: null,

    sockaddr: { len: 0, family: 1, familySize: 1 }, // <sys/socket.h>
    sockaddrIn: { size: 16, port: 2, addr: 4 }, // <netinet/in.h>
    sockaddrIn6: { size: 28, port: 2, flowInfo: 4, addr: 8, scopeId: 24 }, // <netinet6/in6.h>
    sockaddrUn: { path: 2, pathSize: 104 }, // <sys/un.h>
    abstractUnix: false,
    sockaddrVm: { size: 12, port: 4, cid: 8 }, // <sys/vsock.h>
    pollfd: { size: 8, fd: 0, events: 4, revents: 6 }, // <sys/poll.h>
    outlivesRefusal: false,
    errorQueue: null,
    epoll: null,
    hostsFirst: true,
    gaicb: null,
    peerCredentials: null,
    mptcp: null,
    addrinfo: {
      size: 48, // <netdb.h>
      flags: 0,
      family: 4,
      socktype: 8,
      protocol: 12,
      addrlen: 16,
      addrlenSize: 4,
      addr: 32,
      next: 40,
    },
    tcpMd5sig: null,
    tcpInfo: {
      option: 0x106, // TCP_CONNECTION_INFO, <netinet/tcp.h>
      size: 112,
      state: 0,
      retransmits: null,
      rtt: 44, // tcpi_srtt
      rttvar: 48,
      rttUnit: 1000,
      totalRetrans: 104, // 64 bits wide: these are the low 32
      details: null,
      states: [ // <netinet/tcp_fsm.h>, from 0
        "CLOSE",
        "LISTEN",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "CLOSE_WAIT",
        "FIN_WAIT1",
        "CLOSING",
        "LAST_ACK",
        "FIN_WAIT2",
        "TIME_WAIT",
      ],
    },

    AI_NUMERICHOST: 0x4, // <netdb.h>
    eais: {
      EAI_ADDRFAMILY: 1,
      EAI_AGAIN: 2,
      EAI_BADFLAGS: 3,
      EAI_FAIL: 4,
      EAI_FAMILY: 5,
      EAI_MEMORY: 6,
      EAI_NODATA: 7,
      EAI_NONAME: 8,
      EAI_SERVICE: 9,
      EAI_SOCKTYPE: 10,
      EAI_SYSTEM: 11,
      EAI_BADHINTS: 12,
      EAI_PROTOCOL: 13,
      EAI_OVERFLOW: 14,
    },
    errnos: errnosOf("darwin"),
  };
}
