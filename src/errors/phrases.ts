// deno-lint-ignore-file camelcase -- C's own names are keys here
/**
 * The words of messages: what an errno means, what a call was about to do, and
 * text of others in a form that cannot upset a terminal or a log.
 *
 * @module
 */
import type { EaiCode, ErrnoCode } from "../../ffi/abi.ts";

/** Each errno's words in a message. */
export const PHRASES: Readonly<Record<ErrnoCode, string>> = {
  E2BIG: "argument list too long",
  EACCES: "permission denied",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "address not available on this machine",
  EADV: "advertise error",
  EAFNOSUPPORT: "address family not supported",
  EAGAIN: "resource temporarily unavailable",
  EALREADY: "connection attempt already under way",
  EAUTH: "authentication error",
  EBADARCH: "wrong processor type in executable",
  EBADE: "invalid exchange",
  EBADEXEC: "bad executable",
  EBADF: "bad file descriptor",
  EBADFD: "file descriptor in bad state",
  EBADMACHO: "malformed Mach-O file",
  EBADMSG: "bad message",
  EBADR: "invalid request descriptor",
  EBADRPC: "RPC structure is bad",
  EBADRQC: "invalid request code",
  EBADSLT: "invalid slot",
  EBFONT: "bad font file format",
  EBUSY: "device or resource busy",
  ECANCELED: "operation canceled",
  ECAPMODE: "not permitted in capability mode",
  ECHILD: "no child process",
  ECHRNG: "channel number out of range",
  ECLONEME: "server must make a new stream",
  ECOMM: "communication error on send",
  ECONNABORTED: "connection aborted",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  ECORRUPT: "corruption detected",
  EDEADLK: "deadlock avoided",
  EDEADLOCK: "deadlock avoided",
  EDESTADDREQ: "destination address required",
  EDESTADDRREQ: "destination address required",
  EDEVERR: "device error",
  EDIST: "waits for an inode to be moved",
  EDOM: "argument out of domain",
  EDOOFUS: "programming error",
  EDOTDOT: "remote file share error",
  EDQUOT: "disk quota exceeded",
  EEXIST: "file exists",
  EFAULT: "bad address",
  EFBIG: "file too large",
  EFORMAT: "unformatted media",
  EFTYPE: "inappropriate file type or format",
  EHOSTDOWN: "host is down",
  EHOSTUNREACH: "host unreachable",
  EHWPOISON: "memory page has a hardware error",
  EIDRM: "identifier removed",
  EILSEQ: "illegal byte sequence",
  EINPROGRESS: "connection attempt in progress",
  EINTEGRITY: "integrity check failed",
  EINTR: "interrupted by a signal",
  EINVAL: "invalid argument",
  EIO: "input/output error",
  EIPSEC: "IPsec processing failure",
  EISCONN: "socket is already connected",
  EISDIR: "is a directory",
  EISNAM: "is a named type file",
  EKEYEXPIRED: "key has expired",
  EKEYREJECTED: "key was rejected",
  EKEYREVOKED: "key has been revoked",
  EL2HLT: "level 2 halted",
  EL2NSYNC: "level 2 not synchronized",
  EL3HLT: "level 3 halted",
  EL3RST: "level 3 reset",
  ELIBACC: "cannot access a shared library",
  ELIBBAD: "corrupted shared library",
  ELIBEXEC: "cannot run a shared library directly",
  ELIBMAX: "too many shared libraries",
  ELIBSCN: "corrupted section in a shared library",
  ELNRNG: "link number out of range",
  ELOCKUNMAPPED: "locked lock was unmapped",
  ELOOP: "too many symbolic links",
  EMEDIA: "media surface error",
  EMEDIUMTYPE: "wrong medium type",
  EMFILE: "too many files open in this process",
  EMLINK: "too many links",
  EMSGSIZE: "message too long",
  EMULTIHOP: "multihop attempted",
  ENAMETOOLONG: "name too long",
  ENAVAIL: "no semaphores available",
  ENEEDAUTH: "authentication needed",
  ENETDOWN: "network is down",
  ENETRESET: "connection dropped by the network",
  ENETUNREACH: "network unreachable",
  ENFILE: "too many files open in the system",
  ENOANO: "no anode",
  ENOATTR: "attribute not found",
  ENOBUFS: "no buffer space",
  ENOCONNECT: "no connection established",
  ENOCSI: "no CSI structure available",
  ENODATA: "no data available",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOEXEC: "cannot run the file",
  ENOKEY: "required key not available",
  ENOLCK: "no locks available",
  ENOLINK: "link has been severed",
  ENOMEDIUM: "no medium found",
  ENOMEM: "out of memory",
  ENOMSG: "no message of the desired type",
  ENONET: "machine is not on the network",
  ENOPKG: "package not installed",
  ENOPOLICY: "no such policy",
  ENOPROTOOPT: "socket option not available",
  ENOSPC: "no space left on device",
  ENOSR: "out of streams resources",
  ENOSTR: "not a stream",
  ENOSYS: "function not implemented",
  ENOTACTIVE: "facility not active",
  ENOTBLK: "block device required",
  ENOTCAPABLE: "capabilities insufficient",
  ENOTCONN: "socket is not connected",
  ENOTDIR: "a component of the path is not a directory",
  ENOTEMPTY: "directory not empty",
  ENOTNAM: "not a named type file",
  ENOTREADY: "device not ready",
  ENOTRECOVERABLE: "state not recoverable",
  ENOTRUST: "file is not trusted",
  ENOTSOCK: "not a socket",
  ENOTSUP: "not supported",
  ENOTTY: "inappropriate operation for the device",
  ENOTUNIQ: "name not unique on the network",
  ENXIO: "no such device or address",
  EOPNOTSUPP: "operation not supported on this socket",
  EOVERFLOW: "value too large",
  EOWNERDEAD: "owner died",
  EPERM: "operation not permitted",
  EPFNOSUPPORT: "protocol family not supported",
  EPIPE: "broken pipe",
  EPROCLIM: "too many processes",
  EPROCUNAVAIL: "bad procedure for program",
  EPROGMISMATCH: "program version wrong",
  EPROGUNAVAIL: "RPC program not available",
  EPROTO: "protocol error",
  EPROTONOSUPPORT: "protocol not supported",
  EPROTOTYPE: "wrong type of socket for the address",
  EPWROFF: "device power is off",
  EQFULL: "output queue is full",
  ERANGE: "result out of range",
  EREMCHG: "remote address changed",
  EREMOTE: "object is remote",
  EREMOTEIO: "remote input/output error",
  ERESTART: "interrupted call should be restarted",
  ERFKILL: "radio is switched off",
  EROFS: "read-only file system",
  ERPCMISMATCH: "RPC version wrong",
  ESAD: "security authentication denied",
  ESHLIBVERS: "shared library version mismatch",
  ESHUTDOWN: "socket is shut down",
  ESOCKTNOSUPPORT: "socket type not supported",
  ESOFT: "soft error corrected by retry",
  ESPIPE: "illegal seek",
  ESRCH: "no such process",
  ESRMNT: "srmount error",
  ESTALE: "stale file handle",
  ESTRPIPE: "streams pipe error",
  ESYSERROR: "unmapped system error",
  ETIME: "timer expired",
  ETIMEDOUT: "connection timed out",
  ETOOMANYREFS: "too many references",
  ETXTBSY: "text file busy",
  EUCLEAN: "structure needs cleaning",
  EUNATCH: "protocol driver not attached",
  EUSERS: "too many users",
  EWOULDBLOCK: "operation would block",
  EWRPROTECT: "write-protected media",
  EXDEV: "cross-device link",
  EXFULL: "exchange full",
};

/** The words of an errno, or of a failed lookup, in a message; `undefined` for what is neither. */
export function phraseOf(code: string): string | undefined {
  if (Object.hasOwn(PHRASES, code)) return PHRASES[code as ErrnoCode];
  const isEai = Object.hasOwn(LOOKUP_PHRASES, code);
  return isEai ? LOOKUP_PHRASES[code as EaiCode] : undefined;
}

/**
 * What a call does, by its C name: to something, by itself, and where that is
 * another matter, to an address.
 */
const ACTIONS: Readonly<Record<string, readonly [string, string, string?]>> = {
  accept: ["accept a connection on", "accept a connection"],
  bind: ["bind to", "bind"],
  close: ["close", "close"],
  connect: ["connect to", "connect"],
  epoll_create1: ["open an epoll for", "open an epoll"],
  epoll_ctl: ["watch", "watch a descriptor"],
  epoll_wait: ["wait for", "wait for events"],
  eventfd: ["open an eventfd for", "open an eventfd"],
  fcntl: ["change", "change the descriptor's flags", "change the flags for"],
  getaddrinfo: ["resolve", "resolve a name"],
  getpeername: ["read the peer of", "read the peer's address"],
  getsockname: ["read the name of", "read the local address"],
  getsockopt: ["read", "read an option", "read an option for"],
  if_nametoindex: ["find the interface of", "find the interface"],
  listen: ["listen on", "listen"],
  pipe: ["open a pipe for", "open a pipe"],
  poll: ["poll", "poll"],
  recvfrom: ["receive from", "receive"],
  recvmsg: ["receive from", "receive"],
  sendto: ["send to", "send"],
  setsockopt: ["set", "set an option", "set an option for"],
  shutdown: ["shut down", "shut down"],
  socket: ["open", "open a socket", "open a socket for"],
  socketpair: ["open a pair of sockets for", "open a pair of sockets"],
};

/** What a call does: to a subject, or else to an address, or else by itself. */
export function actionOf(
  syscall: string,
  subject: string | undefined,
  address: string | undefined,
): string {
  const action = Object.hasOwn(ACTIONS, syscall) ? ACTIONS[syscall] : undefined;
  // By index: to take an array apart by its iterator is most of this function.
  const verb = action === undefined ? syscall : action[0];
  if (subject !== undefined) return `${verb} ${printable(subject)}`;
  if (address === undefined) return action === undefined ? syscall : action[1];
  const toward = action?.length === 3 ? action[2] : verb;
  return `${toward} ${printable(address)}`;
}

/** Each failure of name resolution, in words. */
export const LOOKUP_PHRASES: Readonly<Record<EaiCode, string>> = {
  EAI_ADDRFAMILY: "name has no address of this family",
  EAI_AGAIN: "name server did not reply, a later try may succeed",
  EAI_BADFLAGS: "invalid flags",
  EAI_BADHINTS: "invalid hints",
  EAI_FAIL: "name server failed",
  EAI_FAMILY: "address family not supported",
  EAI_MEMORY: "out of memory",
  EAI_NODATA: "name has no address",
  EAI_NONAME: "name does not resolve",
  EAI_OVERFLOW: "argument buffer too small",
  EAI_PROTOCOL: "protocol not known",
  EAI_SERVICE: "service not known for the socket type",
  EAI_SOCKTYPE: "socket type not supported",
  EAI_SYSTEM: "system error",
};

/** What `node:dns` calls the two failures that it does not call by their names. */
export const NODE_CODES: Readonly<Record<string, EaiCode>> = {
  ENOTFOUND: "EAI_NONAME",
  ENODATA: "EAI_NODATA",
};

/**
 * What to look at first after a failed connect or lookup, in one line. What
 * `explain` says begins with it.
 */
export const HINTS = {
  EACCES:
    "For a Unix path compare `id` with `namei -l PATH`: every directory needs x, the socket w. For an IP address look at SO_BROADCAST, `ip route get ADDRESS` (prohibit), `nft list ruleset`, and `ausearch -m avc` under SELinux.",
  EADDRINUSE:
    "Look for the same four numbers with `ss -tan` or `netstat -an`, also in TIME_WAIT.",
  EADDRNOTAVAIL:
    "On Linux compare `sysctl net.ipv4.ip_local_port_range` with `ss -s`; widen the range, reuse connections, or spread them over several source addresses or destinations.",
  ECONNREFUSED:
    "Check on the peer that the service runs and listens on this address and port, not only on loopback: `ss -ltnp`, `netstat -an`, or `lsof PATH` for a Unix socket.",
  ECONNRESET:
    "Look at the peer's log and at its listen queue, which can be set to reset when it overflows (`sysctl net.ipv4.tcp_abort_on_overflow`).",
  EHOSTUNREACH:
    "On the same link the host does not reply to ARP or neighbour discovery: `ip neigh`, `arp -an`. Otherwise a router or firewall on the way rejected: `ip route get ADDRESS`, `traceroute ADDRESS`.",
  EINVAL:
    "Check the length and the form of the address: an IPv6 link-local address needs its zone (`fe80::1%eth0`). If an earlier connect on this socket failed, open a new one.",
  EMFILE:
    "Compare `ulimit -n` with the number of open descriptors (`ls /proc/PID/fd | wc -l`).",
  ENETUNREACH:
    "See which route would be taken: `ip route get ADDRESS`, `route get ADDRESS` or `netstat -rn`. For an IPv6 address it mostly means that this machine has no IPv6: try the IPv4 address.",
  ENOENT:
    "Walk the path with `namei PATH` to see which part is missing; a relative path counts from the working directory.",
  EPERM:
    "On Linux look at `nft list ruleset`, at BPF programs (`bpftool cgroup tree`) and at the seccomp profile of the container.",
  ETIMEDOUT:
    "The host is off, the address is wrong, or a firewall drops silently: `traceroute -T -p PORT ADDRESS`, `tcpdump -n host ADDRESS`.",
  DEADLINE:
    "Give it more time if the peer is far or busy. If it never replies, the host is off, the address is wrong, or a firewall drops silently: `traceroute -T -p PORT ADDRESS`, `tcpdump -n host ADDRESS`.",
  EAI_AGAIN:
    "See which name servers are asked (`cat /etc/resolv.conf`) and whether they can be reached.",
  EAI_NONAME:
    "Check the spelling, and the domains that are tried behind it: `getent ahosts NAME`, `cat /etc/hosts /etc/resolv.conf`.",
  EAI_NODATA: "See what the name server has for it: `dig NAME ANY`.",
} as const satisfies Partial<Record<ErrnoCode | EaiCode | "DEADLINE", string>>;

/**
 * The line for one failure, `undefined` where there is none.
 *
 * @param key Its errno, or failure of a lookup; `"DEADLINE"` for a timeout of
 * the caller's.
 */
export function hintFor(key: string): string | undefined {
  return Object.hasOwn(HINTS, key)
    ? HINTS[key as keyof typeof HINTS]
    : undefined;
}

/** Text that needs no escapes. */
const PLAIN_TEXT = /^[ -~]*$/;

/**
 * Text of others for a message, each character escaped that a terminal or a log
 * would act on instead of showing it: controls, marks that turn the direction of
 * text or show nothing, ends of lines, and halves of surrogate pairs.
 */
export function printable(text: string): string {
  if (PLAIN_TEXT.test(text)) return text;
  // Made here, for it takes the start of a program 0.2 ms.
  const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
  return text.replace(unprintable, escapeCharacter);
}

function escapeCharacter(character: string): string {
  const hex = character.codePointAt(0)!.toString(16);
  if (hex.length <= 2) return `\\x${hex.padStart(2, "0")}`;
  return hex.length <= 4 ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`;
}
