import type { Abi, Arch } from "../abi.ts";
import { errnosOf } from "./errnos.ts";

/** illumos, 64-bit, on x86. Its socket functions are the ones that X/Open programs get. */
export function illumos(arch: Arch): Abi | null {
  return arch === "x86_64" ? { ...common(), arch } : null;
}

function common(): Omit<Abi, "arch"> {
  return {
    os: "illumos",
    littleEndian: true,
    libraries: [ // it needs libc.so.1, so that a look-up in it finds poll and memcpy as well
      "libsocket.so.1",
      "/lib/64/libsocket.so.1",
      "/usr/lib/64/libsocket.so.1",
    ],
    symbols: { // <sys/socket.h> under _XPG4_2; the other calls have one name only
      bind: "__xnet_bind",
      connect: "__xnet_connect",
      getsockopt: "__xnet_getsockopt",
      sendto: "__xnet_sendto",
      socket: "__xnet_socket",
      getaddrinfo: "__xnet_getaddrinfo", // <netdb.h> under _XPG6
    },
    errnoLocation: "___errno", // <errno.h>
    nfdsSize: 8, // <sys/poll.h>, unsigned long
    variadicOnStack: false,

    AF_UNSPEC: 0, // <sys/socket.h>
    AF_UNIX: 1,
    AF_INET: 2,
    AF_INET6: 26,
    AF_VSOCK: null,

    SOCK_STREAM: 2, // <sys/socket.h>; the other way round than everywhere else
    SOCK_DGRAM: 1,
    SOCK_RAW: 4,
    SOCK_SEQPACKET: 6,
    SOCK_NONBLOCK: 0x100000,
    SOCK_CLOEXEC: 0x080000,

    IPPROTO_IP: 0, // <netinet/in.h>
    IPPROTO_ICMP: 1,
    IPPROTO_TCP: 6,
    IPPROTO_UDP: 17,
    IPPROTO_IPV6: 41,
    IPPROTO_SCTP: 132,
    IPPROTO_MPTCP: null,

    F_DUPFD_CLOEXEC: 37, // <sys/fcntl.h>
    F_GETFD: 1,
    F_SETFD: 2,
    FD_CLOEXEC: 1,
    F_GETFL: 3,
    F_SETFL: 4,
    O_NONBLOCK: 0x80,
    O_CLOEXEC: 0x800000,

    RLIMIT_NOFILE: 5, // <sys/resource.h>

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
    MSG_NOSIGNAL: 0x200,
    SO_NOSIGPIPE: null,

    SOL_SOCKET: 0xffff, // <sys/socket.h>
    SO_ACCEPTCONN: 0x0002,
    SO_BINDTODEVICE: null,
    SO_BROADCAST: 0x0020,
    SO_DOMAIN: 0x100c,
    SO_ERROR: 0x1007,
    SO_KEEPALIVE: 0x0008,
    SO_LINGER: 0x0080,
    SO_MARK: null,
    SO_PRIORITY: null,
    SO_PROTOCOL: 0x1009, // SO_PROTOTYPE
    SO_RCVBUF: 0x1002,
    SO_REUSEADDR: 0x0004,
    SO_REUSEPORT: null,
    SO_SNDBUF: 0x1001,
    SO_TYPE: 0x1008,

    IP_BIND_ADDRESS_NO_PORT: null, // <netinet/in.h>
    IP_BOUND_IF: 0x41,
    IP_FREEBIND: null,
    IP_LOCAL_PORT_RANGE: null,
    IP_MINTTL: null,
    IP_MTU: null,
    IP_MTU_DISCOVER: null,
    IP_RECVERR: null,
    IP_TOS: 3,
    IP_TRANSPARENT: null,
    IP_TTL: 4,
    IPV6_BOUND_IF: 0x41, // <netinet/in.h>
    IPV6_MINHOPCOUNT: null,
    IPV6_MTU: null,
    IPV6_MTU_DISCOVER: null,
    IPV6_RECVERR: null,
    IPV6_TCLASS: 0x26,
    IPV6_UNICAST_HOPS: 0x5,
    IPV6_V6ONLY: 0x27,
    ttlMin: 0,

    TCP_CONGESTION: 0x25, // <netinet/tcp.h>
    TCP_CORK: 0x18,
    TCP_FASTOPEN_CONNECT: null,
    TCP_KEEPIDLE: 0x22,
    TCP_KEEPINTVL: 0x24,
    TCP_KEEPCNT: 0x23,
    TCP_MAXSEG: 2,
    TCP_MD5SIG: 0x27,
    TCP_NODELAY: 1,
    TCP_NOTSENT_LOWAT: null,
    TCP_QUICKACK: 0x26,
    TCP_SYNCNT: null,
    TCP_USER_TIMEOUT: null,

    sockaddr: { len: null, family: 0, familySize: 2 }, // <sys/socket_impl.h>
    sockaddrIn: { size: 16, port: 2, addr: 4 }, // <netinet/in.h>
    sockaddrIn6: { size: 32, port: 2, flowInfo: 4, addr: 8, scopeId: 24 }, // ends in __sin6_src_id
    sockaddrUn: { path: 2, pathSize: 108 }, // <sys/un.h>
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
    tcpInfo: null,

    AI_NUMERICHOST: 0x20, // <netdb.h>
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
      EAI_OVERFLOW: 12,
    },
    errnos: errnosOf("illumos"),
  };
}
