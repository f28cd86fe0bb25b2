import type { Abi, Arch } from "../abi.ts";
import { errnosOf } from "./errnos.ts";

/** AIX, 64-bit, big-endian. */
export function aix(arch: Arch): Abi | null {
  return arch === "ppc64" ? { ...common(), arch } : null;
}

function common(): Omit<Abi, "arch"> {
  return {
    os: "aix",
    littleEndian: false,
    libraries: [ // members of an archive; dlopen wants the flag RTLD_MEMBER with them
      "libc.a(shr_64.o)",
      "/usr/lib/libc.a(shr_64.o)",
    ],
    symbols: { // <sys/socket.h> maps these, the names of the calls that write addresses with a length byte
      getpeername: "ngetpeername",
      getsockname: "ngetsockname",
      recvfrom: "nrecvfrom",
    },
    errnoLocation: "_Errno", // <errno.h>
    nfdsSize: 4, // <sys/poll.h>, unsigned int
    variadicOnStack: false,

    AF_UNSPEC: 0, // <sys/socket.h>
    AF_UNIX: 1,
    AF_INET: 2,
    AF_INET6: 24,
    AF_VSOCK: null,

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

    F_DUPFD_CLOEXEC: 16, // <sys/fcntl.h>
    F_GETFD: 1,
    F_SETFD: 2,
    FD_CLOEXEC: 1,
    F_GETFL: 3,
    F_SETFL: 4,
    O_NONBLOCK: 0x0004,
    O_CLOEXEC: 0x800000,

    RLIMIT_NOFILE: 7, // <sys/resource.h>

    POLLIN: 0x0001, // <sys/poll.h>
    POLLOUT: 0x0002,
    POLLERR: 0x4000,
    POLLHUP: 0x2000,
    POLLNVAL: 0x8000,

    SHUT_RD: 0, // <sys/socket.h>
    SHUT_WR: 1,
    SHUT_RDWR: 2,
    MSG_DONTWAIT: 0x4000, // MSG_NONBLOCK
    MSG_OOB: 1,
    MSG_PEEK: 2,
    MSG_NOSIGNAL: 0x100,
    SO_NOSIGPIPE: null,

    SOL_SOCKET: 0xffff, // <sys/socket.h>
    SO_ACCEPTCONN: 0x0002,
    SO_BINDTODEVICE: null,
    SO_BROADCAST: 0x0020,
    SO_DOMAIN: null,
    SO_ERROR: 0x1007,
    SO_KEEPALIVE: 0x0008,
    SO_LINGER: 0x0080,
    SO_MARK: null,
    SO_PRIORITY: null,
    SO_PROTOCOL: null,
    SO_RCVBUF: 0x1002,
    SO_REUSEADDR: 0x0004,
    SO_REUSEPORT: 0x0200,
    SO_SNDBUF: 0x1001,
    SO_TYPE: 0x1008,

    IP_BIND_ADDRESS_NO_PORT: null, // <netinet/in.h>
    IP_BOUND_IF: null,
    IP_FREEBIND: null,
    IP_LOCAL_PORT_RANGE: null,
    IP_MINTTL: null,
    IP_MTU: null,
    IP_MTU_DISCOVER: null,
    IP_RECVERR: null,
    IP_TOS: 3,
    IP_TRANSPARENT: null,
    IP_TTL: 4,
    IPV6_BOUND_IF: null, // <netinet/in.h>
    IPV6_MINHOPCOUNT: null,
    IPV6_MTU: null,
    IPV6_MTU_DISCOVER: null,
    IPV6_RECVERR: null,
    IPV6_TCLASS: 0x2b,
    IPV6_UNICAST_HOPS: 4,
    IPV6_V6ONLY: 0x25,
    ttlMin: 0,

    TCP_CONGESTION: null, // <netinet/tcp.h>
    TCP_CORK: null,
    TCP_FASTOPEN_CONNECT: null,
    TCP_KEEPIDLE: 0x11,
    TCP_KEEPINTVL: 0x12,
    TCP_KEEPCNT: 0x13,
    TCP_MAXSEG: 2,
    TCP_MD5SIG: null,
    TCP_NODELAY: 1,
    TCP_NOTSENT_LOWAT: null,
    TCP_QUICKACK: null,
    TCP_SYNCNT: null,
    TCP_USER_TIMEOUT: null,

    sockaddr: { len: 0, family: 1, familySize: 1 }, // <sys/socket.h>
    sockaddrIn: { size: 16, port: 2, addr: 4 }, // <netinet/in.h>
    sockaddrIn6: { size: 28, port: 2, flowInfo: 4, addr: 8, scopeId: 24 },
    sockaddrUn: { path: 2, pathSize: 1023 }, // <sys/un.h>; longer than the length byte can say
    abstractUnix: false,
    sockaddrVm: null,
    pollfd: { size: 8, fd: 0, events: 4, revents: 6 }, // <sys/poll.h>
    outlivesRefusal: false,
    errorQueue: null,
    epoll: null,
    hostsFirst: false,
    gaicb: null,
    peerCredentials: null,
    mptcp: null,
    addrinfo: {
      size: 56, // <netdb.h>; ends in ai_eflags
      flags: 0,
      family: 4,
      socktype: 8,
      protocol: 12,
      addrlen: 16,
      addrlenSize: 8, // size_t
      addr: 32,
      next: 40,
    },
    tcpMd5sig: null,
    tcpInfo: null,

    AI_NUMERICHOST: 0x4, // <netdb.h>
    eais: {
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
      EAI_OVERFLOW: 13,
    },

    // The kernel returns EAGAIN and EEXIST where others have EWOULDBLOCK and ENOTEMPTY. The header makes them one number
    // under _ALL_SOURCE; without it the second names have 54 and 87, which no call ever returns.
    errnos: errnosOf("aix"),
  };
}
