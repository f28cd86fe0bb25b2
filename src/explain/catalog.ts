/**
 * What every errno of connect(2) means, system by system, and what to do about it.
 *
 * Data only: nothing here opens a library or asks for a permission. The numbers are in `ffi/abi/`; where two names share
 * one on a system (EAGAIN and EWOULDBLOCK on all of them), an explanation of a number looks at both names.
 *
 * @module
 */
import type { ErrnoCode, Os } from "../../ffi/abi.ts";
import { HINTS } from "../errors/phrases.ts";

/**
 * Whether the same descriptor may be given to connect(2) once more.
 *
 * - `"yes"`: the failure leaves the socket as good as before.
 * - `"no"`: close it and open another one.
 * - `"depends"`: on the system or on the kind of socket; the entry's `note` says how.
 */
export type SocketReuse = "yes" | "no" | "depends";

/**
 * What a further try can bring.
 *
 * - `"wait"`: the attempt is still under way; poll for it and do not begin another.
 * - `"later"`: the same call may succeed after a while.
 * - `"elsewhere"`: this peer or this path refuses; another address may work.
 * - `"never"`: not before the program, the arguments or the system's configuration change.
 */
export type RetryAdvice = "wait" | "later" | "elsewhere" | "never";

/** What is known of one errno as a failure of connect(2). */
export interface CatalogEntry {
  /** What it means in general, in one line. */
  readonly meaning: string;
  /** What the system's own manual page says about it, one line for each system whose page names it. */
  readonly systems: Readonly<Partial<Record<Os, string>>>;
  /** What the system's kernel reports by it although no manual page of connect says so, one line each. */
  readonly unlisted?: Readonly<Partial<Record<Os, string>>>;
  /** Whether the attempt goes on in the kernel after this failure. */
  readonly continues: boolean;
  /** Whether the same socket may be connected again. */
  readonly reusable: SocketReuse;
  /** Whether a further try can help. */
  readonly retry: RetryAdvice;
  /** What to look at, in one or two sentences. */
  readonly remedy: string;
  /** Where systems or kinds of sockets differ in a way that the fields above cannot say. */
  readonly note?: string;
}

/**
 * Every errno that the connect page of AIX, FreeBSD, illumos, Linux, macOS or OpenBSD names, and the few that Linux returns
 * without naming them.
 *
 * For Linux that page is connect(2) together with those errors of ip(7), ipv6(7), tcp(7), udp(7), unix(7) and vsock(7) that
 * a connect can fail with. EMFILE belongs to socket(2) and is here because every connect begins with one.
 */
export const CATALOG: Readonly<Partial<Record<ErrnoCode, CatalogEntry>>> = {
  EACCES: {
    meaning: "Not allowed to reach this address",
    systems: {
      aix:
        "A directory on the path may not be searched, or the socket file may not be written",
      darwin:
        "Broadcast destination without SO_BROADCAST, or the path of a Unix socket is closed to this user",
      freebsd:
        "Broadcast destination on a socket not set up for broadcast, or the path of a Unix socket is closed to this user",
      illumos: "A directory on the way to the Unix socket may not be searched",
      linux:
        "Unix path without search or write permission, broadcast without SO_BROADCAST, a prohibit route, a firewall rule or SELinux",
      openbsd:
        "A directory on the way to the Unix socket may not be searched, or the socket file may not be written",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy: HINTS.EACCES,
    note:
      "On Linux an ICMPv6 reject for policy reasons arrives as EACCES too, and a Landlock rule against connecting fails with it.",
  },
  EADDRINUSE: {
    meaning: "The local address, or the pair with this peer, is taken",
    systems: {
      aix:
        "The address is taken; with SO_REUSEADDR also when the local address, chosen or assigned, is in use",
      darwin: "The address is taken",
      freebsd: "The address is taken",
      illumos: "The address is taken",
      linux: "The local address is taken by another socket",
      openbsd: "The address is taken",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy: HINTS.EADDRINUSE +
      " Leave the local port to the system (port 0), or connect from another local address.",
    note:
      "Linux says EADDRNOTAVAIL where a bound socket would repeat a connection that already exists.",
  },
  EADDRNOTAVAIL: {
    meaning: "No local address or port can be used for this connection",
    systems: {
      aix: "This machine does not have the address",
      darwin: "This machine does not have the address",
      freebsd: "This machine does not have the address",
      illumos: "The far machine does not have the address",
      linux:
        "No free port is left in the ephemeral range, or the source address is not one of this machine",
      openbsd: "This machine has no address that suits the destination",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy: HINTS.EADDRNOTAVAIL +
      " If the socket was bound, check the address with `ip addr`.",
    note:
      "Exhausted ephemeral ports are EADDRNOTAVAIL on Linux, EAGAIN on FreeBSD and EWOULDBLOCK on AIX. Port 0 as a destination also ends here on the BSDs and macOS.",
  },
  EAFNOSUPPORT: {
    meaning: "The address is of another family than the socket",
    systems: {
      aix: "The socket cannot use addresses of this family",
      darwin:
        "The socket cannot use addresses of this family; also the harmless result of dissolving a datagram association",
      freebsd: "The socket cannot use addresses of this family",
      illumos: "The socket cannot use addresses of this family",
      linux: "The family field of the address does not fit the socket",
      openbsd: "The socket cannot use addresses of this family",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "Open the socket with the family of the address: inet for IPv4, inet6 for IPv6. After a disconnect on macOS and the BSDs it can be ignored.",
    note:
      "A Unix socket on Linux fails with EINVAL instead. FreeBSD also says it of a TCP connect to a multicast address.",
  },
  EAGAIN: {
    meaning: "Something that the connection needs is used up for now",
    systems: {
      freebsd:
        "A local port was to be assigned and the automatic range has none free",
      linux:
        "The listener's queue of a Unix socket is full and the caller does not want to wait; elsewhere the routing cache is full",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "For a Unix socket on Linux see the listener's queue with `ss -xl` (Recv-Q against Send-Q) and `sysctl net.core.somaxconn`, and try again after a pause. On FreeBSD widen `sysctl net.inet.ip.portrange.first` and `.last`.",
    note:
      "The Unix socket on Linux did not begin anything: poll calls it writable at once, so wait by time and call connect again. With SO_SNDTIMEO a blocking Unix connect ends here when the time is over.",
  },
  EALREADY: {
    meaning: "An earlier connect of this socket is still under way",
    systems: {
      aix: "Non-blocking, and the attempt begun before is not finished",
      darwin: "Non-blocking, and the attempt begun before is not finished",
      freebsd: "The attempt begun before is not finished",
      illumos: "Non-blocking, and the attempt begun before is not finished",
      linux: "Non-blocking, and the attempt begun before is not finished",
      openbsd:
        "Non-blocking or interrupted by a signal, and that attempt is not finished",
    },
    continues: true,
    reusable: "no",
    retry: "wait",
    remedy:
      "Poll the descriptor for POLLOUT, then read SO_ERROR. To give up the attempt, close the socket.",
    note:
      "On Linux connecting a TCP socket to AF_UNSPEC gives the attempt up and keeps the socket.",
  },
  EBADF: {
    meaning: "The descriptor is not open",
    systems: {
      aix: "The number given as a socket is not valid",
      darwin: "The number given as a socket is not an open descriptor",
      freebsd: "The number given as a socket is not an open descriptor",
      illumos: "The number given as a socket is not an open descriptor",
      linux: "The number given as a socket is not an open descriptor",
      openbsd: "The number given as a socket is not an open descriptor",
    },
    continues: false,
    reusable: "no",
    retry: "never",
    remedy:
      "Something closed the descriptor before the call, or it was never opened. Look for a second owner: `ls -l /proc/PID/fd` or `fstat -p PID` lists what is open.",
  },
  ECONNREFUSED: {
    meaning: "The peer is there and nobody listens",
    systems: {
      aix: "The peer turned the attempt down",
      darwin:
        "The peer turned the attempt down, or did not reply because nothing listens there",
      freebsd: "The peer turned the attempt down",
      illumos:
        "The peer turned the attempt down; the descriptor has to be closed and a new socket opened before the next try",
      linux:
        "Nobody listens at the address; for UDP an earlier packet met no receiver, for Unix the path is no listening socket",
      openbsd: "The peer turned the attempt down",
    },
    continues: false,
    reusable: "depends",
    retry: "later",
    remedy: HINTS.ECONNREFUSED +
      " If it does, a firewall on the way rejects.",
    note:
      "Linux takes the same socket for another connect. On the BSDs, macOS and illumos it is spent: FreeBSD returns ECONNREFUSED again, OpenBSD and macOS EINVAL.",
  },
  ECONNRESET: {
    meaning: "The peer broke the connection off while it was being made",
    systems: {
      darwin: "The peer reset the connection request",
      freebsd: "The peer reset the connection",
      linux:
        "The peer's end closed unexpectedly; for vsock also that nothing listens there",
    },
    continues: false,
    reusable: "depends",
    retry: "later",
    remedy: HINTS.ECONNRESET +
      " For vsock check that the guest or the host listens on the port: `ss --vsock -l`.",
    note:
      "Linux takes a TCP socket for another connect afterwards; the other systems want a new one.",
  },
  EFAULT: {
    meaning: "The address lies outside the memory of the process",
    systems: {
      aix: "The memory of the address cannot be used by this process",
      darwin: "The memory of the address does not belong to this process",
      freebsd: "The memory of the address does not belong to this process",
      linux: "The memory of the address does not belong to this process",
      openbsd: "The memory of the address does not belong to this process",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "The pointer or the length passed to connect is wrong. With addresses made by this package it is a defect of this package: report it.",
  },
  EHOSTDOWN: {
    meaning: "A router says that it does not know the host",
    systems: {},
    unlisted: {
      linux: "An ICMP message says that the destination host is unknown",
    },
    continues: false,
    reusable: "yes",
    retry: "elsewhere",
    remedy:
      "Ask who sent the message: `tcpdump -n icmp` during the attempt, or `traceroute ADDRESS`. Then check the address.",
  },
  EHOSTUNREACH: {
    meaning: "The network is known and the host in it cannot be reached",
    systems: {
      darwin: "The host is down, disconnected or otherwise out of reach",
      freebsd: "The host cannot be reached from here",
      illumos: "The host cannot be reached from here",
      linux:
        "No usable route to the destination, by the local table or by an ICMP message from a router",
      openbsd: "The destination is a host that cannot be reached",
    },
    continues: false,
    reusable: "depends",
    retry: "elsewhere",
    remedy: HINTS.EHOSTUNREACH,
    note:
      "ENETUNREACH means that no route leads there at all; EHOSTUNREACH that one does and the last steps fail. Linux takes the same socket again, the BSDs, macOS and illumos may not.",
  },
  EINPROGRESS: {
    meaning: "The attempt has begun and goes on in the kernel",
    systems: {
      aix: "Non-blocking; select for writing shows when the attempt is over",
      darwin: "Non-blocking; select for writing shows when the attempt is over",
      freebsd:
        "Non-blocking; select for writing shows when the attempt is over",
      illumos:
        "Non-blocking; the attempt goes on in the background and SO_ERROR has the outcome",
      linux:
        "Non-blocking; after poll or select says writable, SO_ERROR has the outcome (Unix sockets say EAGAIN instead)",
      openbsd: "Non-blocking; the attempt cannot be finished within the call",
    },
    continues: true,
    reusable: "no",
    retry: "wait",
    remedy:
      "No failure: poll the descriptor for POLLOUT, then read SO_ERROR; zero means connected.",
    note:
      "A blocking connect on Linux also ends here when SO_SNDTIMEO runs out; the attempt goes on nevertheless.",
  },
  EINTR: {
    meaning: "A signal ended the waiting and not the attempt",
    systems: {
      aix: "A caught signal came in between; the connection is made anyway",
      darwin: "A signal came in between",
      freebsd:
        "A signal came in between; the connection is made in the background, as after EINPROGRESS",
      illumos:
        "A signal came in between before data arrived; the connection is made anyway",
      linux: "A caught signal came in between",
      openbsd:
        "A signal came in between; the attempt goes on as if the socket were non-blocking",
    },
    continues: true,
    reusable: "no",
    retry: "wait",
    remedy:
      "Do not call connect again: poll the descriptor for POLLOUT, then read SO_ERROR. A second call fails with EALREADY or EISCONN.",
    note:
      "A Unix stream connect on Linux that waits for room in the listener's queue has begun nothing when a signal comes; there connect may be called again.",
  },
  EINVAL: {
    meaning: "An argument, or the state of the socket, does not fit",
    systems: {
      aix: "A byte of the path has its high bit set",
      darwin:
        "An argument is wrong, such as a length or a family that the address cannot have",
      freebsd: "The length does not fit the address family",
      illumos: "The length does not fit the address family",
      linux:
        "An argument is wrong, the Unix or vsock address is malformed, the socket is in the wrong state, or the route is a blackhole",
      openbsd:
        "TCP to a broadcast, an all-ones or a multicast address of the peer",
    },
    unlisted: {
      openbsd:
        "The socket is spent by an earlier failure, or the TCP_MD5SIG signature could not be computed",
    },
    continues: false,
    reusable: "depends",
    retry: "never",
    remedy: HINTS.EINVAL,
    note:
      "OpenBSD and macOS return it for a second connect on a TCP socket whose first one failed; that socket is lost. On Linux a socket bound to loopback gets it for every other destination, and a listening Unix socket gets it always.",
  },
  EIO: {
    meaning: "The file system failed while the path was looked up",
    systems: {
      darwin: "Reading or writing the file system failed",
      illumos: "Reading or writing the file system failed",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "Look at the disk that holds the socket's directory: `dmesg`, `fsck`, and on illumos `zpool status` and `fmadm faulty`.",
  },
  EISCONN: {
    meaning: "This socket has its connection already",
    systems: {
      aix: "The socket has a peer already",
      darwin: "The socket has a peer already",
      freebsd: "The socket has a peer already",
      illumos: "The socket has a peer already",
      linux: "The socket has a peer already",
      openbsd: "The socket has a peer already",
    },
    continues: false,
    reusable: "no",
    retry: "never",
    remedy:
      "Use the connection, or open another socket for another peer. Right after EINTR or EINPROGRESS it means success.",
    note:
      "On Linux a listening TCP socket fails with it too, and a connected one can be freed by connecting it to AF_UNSPEC. macOS returns it also for a blocking socket whose interrupted attempt is still under way.",
  },
  ELOOP: {
    meaning: "The path runs through too many symbolic links",
    systems: {
      aix: "Resolving the path met too many symbolic links",
      darwin:
        "Resolving the path met too many symbolic links, which is taken for a loop",
      freebsd: "Resolving the path met too many symbolic links",
      illumos: "Resolving the path met too many symbolic links",
      openbsd: "Resolving the path met too many symbolic links",
    },
    unlisted: {
      linux: "Resolving the path met more than 40 symbolic links",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "Find the link that leads back to itself with `namei PATH` or `ls -l` on each component, and mend it.",
  },
  EMFILE: {
    meaning: "The process has as many descriptors open as it may",
    systems: {},
    unlisted: {
      aix: "An error of socket, before connect",
      darwin: "An error of socket, before connect",
      freebsd: "An error of socket, before connect",
      illumos: "An error of socket, before connect",
      linux: "An error of socket, before connect",
      openbsd: "An error of socket, before connect",
    },
    continues: false,
    reusable: "no",
    retry: "later",
    remedy: HINTS.EMFILE +
      " Close sockets, lower the concurrency, or raise the limit.",
  },
  ENAMETOOLONG: {
    meaning: "The path, or a part of it, is too long",
    systems: {
      darwin: "A component is longer than NAME_MAX, or the path than PATH_MAX",
      freebsd:
        "A component has more than 255 characters, or the path over 1023",
      openbsd:
        "A component is longer than NAME_MAX, or the path with its NUL than PATH_MAX",
    },
    unlisted: {
      linux: "A symbolic link on the way holds a name that is too long",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "Shorten the path; the address itself holds only about a hundred bytes. Connect through a short symbolic link or from the socket's own directory.",
  },
  ENETDOWN: {
    meaning: "The local network is down",
    systems: {
      aix: "The network that the address belongs to is down",
      darwin: "The interface on this machine does not work",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "See the interface with `ifconfig -a`, and bring it up with `ifconfig NAME up`.",
    note: "Linux returns ENETUNREACH when the interface is down.",
  },
  ENETUNREACH: {
    meaning: "No route leads to this network",
    systems: {
      aix: "Nothing routes to the network, or to the host in it",
      darwin: "This machine cannot reach the network",
      freebsd: "This machine cannot reach the network",
      illumos: "This machine cannot reach the network",
      linux: "The network is out of reach",
      openbsd: "This machine cannot reach the network",
    },
    continues: false,
    reusable: "depends",
    retry: "elsewhere",
    remedy: HINTS.ENETUNREACH,
    note:
      "Raised by the local table it leaves the socket as it was; raised by an ICMP message it leaves a usable socket on Linux only. Linux also says it of TCP to a broadcast or multicast address and of a zone that does not exist.",
  },
  ENFILE: {
    meaning: "The whole system has too many files open",
    systems: {
      linux: "The system's limit of open files has been reached",
    },
    unlisted: {
      aix: "An error of socket, before connect",
      darwin: "An error of socket, before connect",
      freebsd: "An error of socket, before connect",
      illumos: "An error of socket, before connect",
      openbsd: "An error of socket, before connect",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "On Linux compare `sysctl fs.file-nr` with `fs.file-max`, on the BSDs and macOS `sysctl kern.maxfiles`. Find the process that holds them with `lsof`.",
    note:
      "On Linux a Unix stream connect makes the peer's socket as well, so that connect itself can meet the limit.",
  },
  ENOBUFS: {
    meaning: "The kernel has no memory for the connection",
    systems: {
      aix: "There was no memory for the system's own structures",
      darwin: "A buffer that the call needs could not be allocated",
      linux: "There was not enough memory, often by a limit of the socket",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "See the memory of the network: `cat /proc/net/sockstat`, `netstat -m`. Lower the number of sockets or raise the limits.",
  },
  ENODEV: {
    meaning: "There is no such interface or transport",
    systems: {
      linux: "The zone of a link-local IPv6 address names no interface",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "For IPv6 check the zone with `ip -br link`. For vsock load a transport that reaches the peer: `lsmod | grep vsock`, `modprobe vsock_loopback` or `vhost_vsock`.",
    note:
      "Connect fails with it when the interface that the socket is bound to has gone, and for vsock when the kernel has no transport for the peer. Where the zone of an IPv6 address does not exist it mostly says ENETUNREACH.",
  },
  ENOENT: {
    meaning: "Nothing has this path",
    systems: {
      aix: "Part of the path does not exist, or the path is empty",
      darwin: "There is no socket of this name",
      freebsd: "There is no socket of this name",
      illumos: "A directory on the path, or the socket itself, does not exist",
      linux: "The path of the Unix socket does not exist",
      openbsd: "There is no socket of this name",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy: HINTS.ENOENT +
      " If the service makes the socket at its start, wait for it.",
    note: "An abstract name on Linux that nobody has bound gives ECONNREFUSED.",
  },
  ENOMEM: {
    meaning: "The kernel is out of memory",
    systems: {
      linux: "There was not enough memory, often by a limit of the socket",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "See `free`, the limit of the cgroup (`memory.max`), and `cat /proc/net/sockstat` against `sysctl net.ipv4.tcp_mem`.",
  },
  ENONET: {
    meaning: "A router says that the host is isolated",
    systems: {},
    unlisted: {
      linux: "An ICMP message says that the source host is isolated",
    },
    continues: false,
    reusable: "yes",
    retry: "elsewhere",
    remedy:
      "Ask who sent the message: `tcpdump -n icmp` during the attempt. The message is obsolete, so look for a firewall that sends it.",
  },
  ENOPROTOOPT: {
    meaning: "The peer does not speak this protocol",
    systems: {
      linux:
        "An option is not valid; from connect, an ICMP message that the peer lacks the protocol",
    },
    continues: false,
    reusable: "yes",
    retry: "elsewhere",
    remedy:
      "Look for a firewall that rejects with protocol unreachable (`tcpdump -n icmp`). If the peer itself says so, it has no support for the protocol, as with SCTP.",
  },
  ENOSPC: {
    meaning: "A device or a table of the system is full",
    systems: {
      aix: "A device or a table of the system has no room left",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "See `df` for the file system of the socket's path and `errpt` for what the system reported.",
  },
  ENOSR: {
    meaning: "The system has run out of STREAMS resources",
    systems: {
      illumos: "STREAMS resources did not suffice",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "See the kernel's memory with `kstat -n system_pages` and `netstat -m`. Lower the number of connections that are under way.",
  },
  ENOTCONN: {
    meaning: "The socket could not be connected",
    systems: {
      aix: "No connection came about on this socket",
    },
    continues: false,
    reusable: "no",
    retry: "later",
    remedy:
      "Close the socket and try with a new one. If it comes again, look at the peer's listener and its queue.",
  },
  ENOTDIR: {
    meaning: "Something in the middle of the path is not a directory",
    systems: {
      aix: "A part of the path before its last is not a directory",
      darwin: "A part of the path before its last is not a directory",
      freebsd: "A part of the path before its last is not a directory",
      illumos: "A part of the path before its last is not a directory",
      openbsd: "A part of the path before its last is not a directory",
    },
    unlisted: {
      linux: "A part of the path before its last is not a directory",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "Walk the path with `namei -l PATH`: the part marked with a dash instead of a d is in the way.",
  },
  ENOTSOCK: {
    meaning: "The descriptor, or the path, is not a socket",
    systems: {
      aix: "The descriptor belongs to a file",
      darwin: "The descriptor belongs to something other than a socket",
      freebsd: "The descriptor belongs to a file",
      illumos: "The descriptor, or what the path leads to, is not a socket",
      linux: "The descriptor belongs to something other than a socket",
      openbsd: "The descriptor belongs to something other than a socket",
    },
    continues: false,
    reusable: "depends",
    retry: "never",
    remedy:
      "See what the number is with `ls -l /proc/PID/fd` or `fstat -p PID`: most likely the descriptor was closed and its number taken over. For a path look at it with `ls -l`.",
    note:
      "If the path was meant, as on illumos and the BSDs, the socket stays usable. Linux returns ECONNREFUSED for a path that is not a socket.",
  },
  ENXIO: {
    meaning: "The server went away before the connection was made",
    systems: {
      illumos: "The server ended before the connection was complete",
    },
    continues: false,
    reusable: "no",
    retry: "later",
    remedy:
      "See why the server ended: `svcs -xv` and its log. Then try with a new socket.",
  },
  EOPNOTSUPP: {
    meaning: "This socket cannot be connected",
    systems: {
      aix: "The socket is of a kind that knows no connect",
      darwin: "The socket listens",
      linux: "The kind of socket does not support the operation",
    },
    continues: false,
    reusable: "depends",
    retry: "never",
    remedy:
      "Do not connect a socket that listens; open another one. Sockets such as packet sockets have no peer and are addressed with each send.",
    note:
      "A listening TCP socket fails with EISCONN on Linux, and stays a listener everywhere. An ICMP message that the source route failed also arrives as EOPNOTSUPP on Linux, where the number is the same as ENOTSUP.",
  },
  EPERM: {
    meaning: "A rule of this machine forbids it",
    systems: {
      freebsd: "The socket file may not be written",
      linux: "Broadcast without SO_BROADCAST, or a firewall rule",
      openbsd:
        "TCP_MD5SIG is set and no security association fits the connection",
    },
    continues: false,
    reusable: "depends",
    retry: "never",
    remedy: HINTS.EPERM +
      " On OpenBSD load the association with `ipsecctl -f FILE` (tcpmd5); on macOS look at the sandbox.",
    note:
      "On Linux and FreeBSD the socket stays usable. EACCES is the refusal by permissions of a file or a kind of address; EPERM comes from a rule, though one that drops TCP on its way out of Linux is silent and ends in ETIMEDOUT.",
  },
  EPROTO: {
    meaning: "A protocol error",
    systems: {},
    unlisted: {
      linux: "An ICMP message complains about the header of the packet",
    },
    continues: false,
    reusable: "yes",
    retry: "elsewhere",
    remedy:
      "Take IP options off the socket and try again. `tcpdump -n icmp or icmp6` during the attempt shows who complains.",
  },
  EPROTOTYPE: {
    meaning: "The socket at that address is of another type",
    systems: {
      aix: "The socket bound to the peer address is of another type",
      darwin: "The socket bound to the peer address is of another type",
      illumos:
        "The path leads to a socket of another type, such as stream against datagram",
      linux:
        "The socket at the address is of another type, such as stream against datagram",
      openbsd:
        "The path leads to a socket of another type, such as datagram against stream",
    },
    continues: false,
    reusable: "yes",
    retry: "never",
    remedy:
      "See the type of the listener with `ss -xl` (u_str, u_dgr, u_seq) or `netstat -f unix`, and open the socket with it: stream, dgram or seqpacket.",
  },
  ESOCKTNOSUPPORT: {
    meaning: "The transport does not know this type of socket",
    systems: {
      linux: "The type of socket is unknown or not supported",
    },
    continues: false,
    reusable: "no",
    retry: "never",
    remedy:
      "Use a stream socket: not every vsock transport has seqpacket or dgram.",
    note:
      "For vsock the transport is chosen by connect, which is why the type is refused only then.",
  },
  ETIMEDOUT: {
    meaning: "No reply came in time",
    systems: {
      aix: "The time ran out before a connection was made",
      darwin: "The time ran out before a connection was made",
      freebsd: "The time ran out before a connection was made",
      illumos: "The time ran out before a connection was made",
      linux:
        "The time ran out; the server may be too busy to take new connections",
      openbsd: "The time ran out before a connection was made",
    },
    continues: false,
    reusable: "depends",
    retry: "elsewhere",
    remedy: HINTS.ETIMEDOUT +
      " If the peer is up, look at its listen queue (`ss -ltn`, Recv-Q against Send-Q).",
    note:
      "Linux waits about two minutes (`sysctl net.ipv4.tcp_syn_retries`), the BSDs and macOS about 75 seconds. Linux takes the same socket again, the others want a new one.",
  },
  EWOULDBLOCK: {
    meaning: "The call would have to wait",
    systems: {
      aix: "The range of ephemeral ports for TCP or UDP is used up",
      illumos: "Non-blocking, and the operation would have to wait",
    },
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "On AIX widen the range: `no -o tcp_ephemeral_low`, `tcp_ephemeral_high`, and the same for udp. On illumos try again after a pause.",
    note:
      "Its number is that of EAGAIN, by which name a failure arrives. The headers of AIX can give it another one, 54, which no call ever returns.",
  },
};
