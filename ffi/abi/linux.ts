import type { Abi, Arch } from "../abi.ts";
import { errnosOf } from "./errnos.ts";

/** What differs between the processors: where the library lies. glibc's names first, then musl's. */
const LIBRARIES: Readonly<Partial<Record<Arch, readonly string[]>>> = {
  x86_64: [
    "libc.so.6",
    "libc.musl-x86_64.so.1",
    "/lib/x86_64-linux-gnu/libc.so.6", // Debian, Ubuntu
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6", // Fedora, RHEL, openSUSE
    "/usr/lib64/libc.so.6",
    "/usr/lib/libc.so.6", // Arch
    "/lib/ld-musl-x86_64.so.1", // Alpine; the loader is the library
  ],
  aarch64: [
    "libc.so.6",
    "libc.musl-aarch64.so.1",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/usr/lib/aarch64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/usr/lib/libc.so.6",
    "/lib/ld-musl-aarch64.so.1",
  ],
};

/** Linux on the processors that use the generic numbers of `<asm-generic/>`. */
export function linux(arch: Arch): Abi | null {
  const libraries = LIBRARIES[arch];
  if (libraries === undefined) return null;
  const event = arch === "x86_64" ? PACKED_EPOLL_EVENT : EPOLL_EVENT;
  return { ...generic(), arch, libraries, epoll: { ...EPOLL, event } };
}

const EPOLL: Omit<NonNullable<Abi["epoll"]>, "event"> = {
  EFD_CLOEXEC: 0o2000000, // <sys/eventfd.h>
  EPOLL_CLOEXEC: 0o2000000, // <sys/epoll.h>
  EPOLL_CTL_ADD: 1,
  EPOLL_CTL_DEL: 2,
  EPOLL_CTL_MOD: 3,
  EPOLLONESHOT: 0x4000_0000,
};
const EPOLL_EVENT = { size: 16, events: 0, data: 8 };
const PACKED_EPOLL_EVENT = { size: 12, events: 0, data: 4 }; // x86-64 alone

function generic(): Omit<Abi, "arch" | "libraries" | "epoll"> {
  return {
    os: "linux",
    littleEndian: true,
    symbols: {},
    errnoLocation: "__errno_location", // <errno.h>
    nfdsSize: 8, // <poll.h>, unsigned long
    variadicOnStack: false,

    AF_UNSPEC: 0, // <bits/socket.h>
    AF_UNIX: 1,
    AF_INET: 2,
    AF_INET6: 10,
    AF_VSOCK: 40,

    SOCK_STREAM: 1, // <bits/socket_type.h>
    SOCK_DGRAM: 2,
    SOCK_RAW: 3,
    SOCK_SEQPACKET: 5,
    SOCK_NONBLOCK: 0o4000,
    SOCK_CLOEXEC: 0o2000000,

    IPPROTO_IP: 0, // <linux/in.h>
    IPPROTO_ICMP: 1,
    IPPROTO_TCP: 6,
    IPPROTO_UDP: 17,
    IPPROTO_IPV6: 41,
    IPPROTO_SCTP: 132,
    IPPROTO_MPTCP: 262,

    F_DUPFD_CLOEXEC: 1030, // <bits/fcntl-linux.h>
    F_GETFD: 1,
    F_SETFD: 2,
    FD_CLOEXEC: 1,
    F_GETFL: 3,
    F_SETFL: 4,
    O_NONBLOCK: 0o4000,
    O_CLOEXEC: 0o2000000,

    RLIMIT_NOFILE: 7, // <asm-generic/resource.h>

    POLLIN: 0x001, // <bits/poll.h>
    POLLOUT: 0x004,
    POLLERR: 0x008,
    POLLHUP: 0x010,
    POLLNVAL: 0x020,

    SHUT_RD: 0, // <sys/socket.h>
    SHUT_WR: 1,
    SHUT_RDWR: 2,
    MSG_DONTWAIT: 0x40, // <bits/socket.h>
    MSG_OOB: 1,
    MSG_PEEK: 2,
    MSG_NOSIGNAL: 0x4000,
    SO_NOSIGPIPE: null,

    SOL_SOCKET: 1, // <asm-generic/socket.h>
    SO_ACCEPTCONN: 30,
    SO_BINDTODEVICE: 25,
    SO_BROADCAST: 6,
    SO_DOMAIN: 39,
    SO_ERROR: 4,
    SO_KEEPALIVE: 9,
    SO_LINGER: 13,
    SO_MARK: 36,
    SO_PRIORITY: 12,
    SO_PROTOCOL: 38,
    SO_RCVBUF: 8,
    SO_REUSEADDR: 2,
    SO_REUSEPORT: 15,
    SO_SNDBUF: 7,
    SO_TYPE: 3,

    IP_BIND_ADDRESS_NO_PORT: 24, // <linux/in.h>
    IP_BOUND_IF: null,
    IP_FREEBIND: 15,
    IP_LOCAL_PORT_RANGE: 51,
    IP_MINTTL: 21,
    IP_MTU: 14,
    IP_MTU_DISCOVER: 10,
    IP_RECVERR: 11,
    IP_TOS: 1,
    IP_TRANSPARENT: 19,
    IP_TTL: 2,
    IPV6_BOUND_IF: null,
    IPV6_MINHOPCOUNT: 73,
    IPV6_MTU: 24,
    IPV6_MTU_DISCOVER: 23,
    IPV6_RECVERR: 25, // <linux/in6.h>
    IPV6_TCLASS: 67,
    IPV6_UNICAST_HOPS: 16,
    IPV6_V6ONLY: 26,
    ttlMin: 1,

    TCP_CONGESTION: 13, // <linux/tcp.h>
    TCP_CORK: 3,
    TCP_FASTOPEN_CONNECT: 30,
    TCP_KEEPIDLE: 4,
    TCP_KEEPINTVL: 5,
    TCP_KEEPCNT: 6,
    TCP_MAXSEG: 2,
    TCP_MD5SIG: 14,
    TCP_NODELAY: 1,
    TCP_NOTSENT_LOWAT: 25,
    TCP_QUICKACK: 12,
    TCP_SYNCNT: 7,
    TCP_USER_TIMEOUT: 18,

    sockaddr: { len: null, family: 0, familySize: 2 }, // <bits/socket.h>
    sockaddrIn: { size: 16, port: 2, addr: 4 }, // <netinet/in.h>
    sockaddrIn6: { size: 28, port: 2, flowInfo: 4, addr: 8, scopeId: 24 },
    sockaddrUn: { path: 2, pathSize: 108 }, // <sys/un.h>
    abstractUnix: true, // unix(7)
    sockaddrVm: { size: 16, port: 4, cid: 8 }, // <linux/vm_sockets.h>
    pollfd: { size: 8, fd: 0, events: 4, revents: 6 }, // <sys/poll.h>
    outlivesRefusal: true, // the tcp_disconnect() at the end of __inet_stream_connect()
    errorQueue: {
      MSG_ERRQUEUE: 0x2000, // <bits/socket.h>
      SO_EE_ORIGIN_ICMP: 2, // <linux/errqueue.h>
      SO_EE_ORIGIN_ICMP6: 3,
      msghdr: {
        size: 56,
        iov: 16,
        iovlen: 24,
        vectorSize: 16, // <bits/types/struct_iovec.h>
        control: 32,
        controllen: 40,
        flags: 48,
      },
      cmsghdr: { size: 16, len: 0, level: 8, type: 12, data: 16 },
      sockExtendedErr: { size: 16, errno: 0, origin: 4, type: 5, code: 6 },
    },
    peerCredentials: { SO_PEERCRED: 17, size: 12, pid: 0, uid: 4, gid: 8 }, // <bits/socket.h>
    mptcp: { SOL_MPTCP: 284, MPTCP_INFO: 1 }, // <linux/mptcp.h>
    addrinfo: {
      size: 48, // <netdb.h>
      flags: 0,
      family: 4,
      socktype: 8,
      protocol: 12,
      addrlen: 16,
      addrlenSize: 4,
      addr: 24,
      next: 40,
    },
    hostsFirst: true, // the "files dns" of nss/nss_database.c; musl always
    gaicb: {
      size: 56, // <netdb.h> of glibc
      name: 0,
      request: 16,
      result: 24,
      GAI_NOWAIT: 1,
      EAI_INPROGRESS: -100,
      EAI_ALLDONE: -103,
    },
    tcpMd5sig: {
      size: 216, // <linux/tcp.h>
      addr: 0,
      addrSize: 128,
      keyLength: 130,
      key: 136,
      keySize: 80,
    },
    tcpInfo: {
      option: 11, // TCP_INFO, <linux/tcp.h>
      size: 256, // more than any kernel's struct so far needs at these offsets; it grows, and getsockopt returns how far
      state: 0,
      retransmits: 2,
      rtt: 68,
      rttvar: 72,
      rttUnit: 1,
      totalRetrans: 100,
      details: {
        options: 5,
        optionNames: [ // TCPI_OPT_...
          "timestamps",
          "sack",
          "windowScale",
          "ecn",
          "ecnSeen",
          "synData",
        ],
        sndMss: 16,
        sndCwnd: 80,
        minRtt: 148,
        bytesAcked: 120,
      },
      states: [ // <net/tcp_states.h>, from 0
        "UNKNOWN",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
      ],
    },

    AI_NUMERICHOST: 4, // <netdb.h>
    eais: {
      EAI_BADFLAGS: -1,
      EAI_NONAME: -2,
      EAI_AGAIN: -3,
      EAI_FAIL: -4,
      EAI_NODATA: -5,
      EAI_FAMILY: -6,
      EAI_SOCKTYPE: -7,
      EAI_SERVICE: -8,
      EAI_ADDRFAMILY: -9,
      EAI_MEMORY: -10,
      EAI_SYSTEM: -11,
      EAI_OVERFLOW: -12,
    },
    errnos: errnosOf("linux"),
  };
}
