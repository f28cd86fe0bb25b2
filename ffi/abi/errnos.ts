/**
 * `<errno.h>` of every system in one table: a row for a name, a column for a
 * system.
 *
 * The headers are Linux's `<asm-generic/errno-base.h>` and
 * `<asm-generic/errno.h>` (the processors with numbers of their own, MIPS,
 * SPARC, PA-RISC and Alpha, have no table here), and `<sys/errno.h>` of the
 * others; ENOTCAPABLE is in Darwin's since macOS 26, EINTEGRITY in FreeBSD's
 * since 12, EOWNERDEAD and ENOTRECOVERABLE in NetBSD's since 10.
 *
 * @module
 */
/**
 * Every name that `<errno.h>` gives a number on at least one of the known systems.
 *
 * A program may name any of them on any system; one that the running system lacks
 * is never met there.
 */
export type ErrnoCode =
  | "E2BIG"
  | "EACCES"
  | "EADDRINUSE"
  | "EADDRNOTAVAIL"
  | "EADV"
  | "EAFNOSUPPORT"
  | "EAGAIN"
  | "EALREADY"
  | "EAUTH"
  | "EBADARCH"
  | "EBADE"
  | "EBADEXEC"
  | "EBADF"
  | "EBADFD"
  | "EBADMACHO"
  | "EBADMSG"
  | "EBADR"
  | "EBADRPC"
  | "EBADRQC"
  | "EBADSLT"
  | "EBFONT"
  | "EBUSY"
  | "ECANCELED"
  | "ECAPMODE"
  | "ECHILD"
  | "ECHRNG"
  | "ECLONEME"
  | "ECOMM"
  | "ECONNABORTED"
  | "ECONNREFUSED"
  | "ECONNRESET"
  | "ECORRUPT"
  | "EDEADLK"
  | "EDEADLOCK"
  | "EDESTADDREQ"
  | "EDESTADDRREQ"
  | "EDEVERR"
  | "EDIST"
  | "EDOM"
  | "EDOOFUS"
  | "EDOTDOT"
  | "EDQUOT"
  | "EEXIST"
  | "EFAULT"
  | "EFBIG"
  | "EFORMAT"
  | "EFTYPE"
  | "EHOSTDOWN"
  | "EHOSTUNREACH"
  | "EHWPOISON"
  | "EIDRM"
  | "EILSEQ"
  | "EINPROGRESS"
  | "EINTEGRITY"
  | "EINTR"
  | "EINVAL"
  | "EIO"
  | "EIPSEC"
  | "EISCONN"
  | "EISDIR"
  | "EISNAM"
  | "EKEYEXPIRED"
  | "EKEYREJECTED"
  | "EKEYREVOKED"
  | "EL2HLT"
  | "EL2NSYNC"
  | "EL3HLT"
  | "EL3RST"
  | "ELIBACC"
  | "ELIBBAD"
  | "ELIBEXEC"
  | "ELIBMAX"
  | "ELIBSCN"
  | "ELNRNG"
  | "ELOCKUNMAPPED"
  | "ELOOP"
  | "EMEDIA"
  | "EMEDIUMTYPE"
  | "EMFILE"
  | "EMLINK"
  | "EMSGSIZE"
  | "EMULTIHOP"
  | "ENAMETOOLONG"
  | "ENAVAIL"
  | "ENEEDAUTH"
  | "ENETDOWN"
  | "ENETRESET"
  | "ENETUNREACH"
  | "ENFILE"
  | "ENOANO"
  | "ENOATTR"
  | "ENOBUFS"
  | "ENOCONNECT"
  | "ENOCSI"
  | "ENODATA"
  | "ENODEV"
  | "ENOENT"
  | "ENOEXEC"
  | "ENOKEY"
  | "ENOLCK"
  | "ENOLINK"
  | "ENOMEDIUM"
  | "ENOMEM"
  | "ENOMSG"
  | "ENONET"
  | "ENOPKG"
  | "ENOPOLICY"
  | "ENOPROTOOPT"
  | "ENOSPC"
  | "ENOSR"
  | "ENOSTR"
  | "ENOSYS"
  | "ENOTACTIVE"
  | "ENOTBLK"
  | "ENOTCAPABLE"
  | "ENOTCONN"
  | "ENOTDIR"
  | "ENOTEMPTY"
  | "ENOTNAM"
  | "ENOTREADY"
  | "ENOTRECOVERABLE"
  | "ENOTRUST"
  | "ENOTSOCK"
  | "ENOTSUP"
  | "ENOTTY"
  | "ENOTUNIQ"
  | "ENXIO"
  | "EOPNOTSUPP"
  | "EOVERFLOW"
  | "EOWNERDEAD"
  | "EPERM"
  | "EPFNOSUPPORT"
  | "EPIPE"
  | "EPROCLIM"
  | "EPROCUNAVAIL"
  | "EPROGMISMATCH"
  | "EPROGUNAVAIL"
  | "EPROTO"
  | "EPROTONOSUPPORT"
  | "EPROTOTYPE"
  | "EPWROFF"
  | "EQFULL"
  | "ERANGE"
  | "EREMCHG"
  | "EREMOTE"
  | "EREMOTEIO"
  | "ERESTART"
  | "ERFKILL"
  | "EROFS"
  | "ERPCMISMATCH"
  | "ESAD"
  | "ESHLIBVERS"
  | "ESHUTDOWN"
  | "ESOCKTNOSUPPORT"
  | "ESOFT"
  | "ESPIPE"
  | "ESRCH"
  | "ESRMNT"
  | "ESTALE"
  | "ESTRPIPE"
  | "ESYSERROR"
  | "ETIME"
  | "ETIMEDOUT"
  | "ETOOMANYREFS"
  | "ETXTBSY"
  | "EUCLEAN"
  | "EUNATCH"
  | "EUSERS"
  | "EWOULDBLOCK"
  | "EWRPROTECT"
  | "EXDEV"
  | "EXFULL";

/** The columns. */
const SYSTEMS = [
  "linux",
  "darwin",
  "freebsd",
  "openbsd",
  "netbsd",
  "illumos",
  "aix",
] as const;

type Column<T> = readonly [
  linux: T,
  darwin: T,
  freebsd: T,
  openbsd: T,
  netbsd: T,
  illumos: T,
  aix: T,
];

/** The names that follow number 133 of Linux are those that it lacks. */
const MATRIX = {
  EPERM: [1, 1, 1, 1, 1, 1, 1],
  ENOENT: [2, 2, 2, 2, 2, 2, 2],
  ESRCH: [3, 3, 3, 3, 3, 3, 3],
  EINTR: [4, 4, 4, 4, 4, 4, 4],
  EIO: [5, 5, 5, 5, 5, 5, 5],
  ENXIO: [6, 6, 6, 6, 6, 6, 6],
  E2BIG: [7, 7, 7, 7, 7, 7, 7],
  ENOEXEC: [8, 8, 8, 8, 8, 8, 8],
  EBADF: [9, 9, 9, 9, 9, 9, 9],
  ECHILD: [10, 10, 10, 10, 10, 10, 10],
  EAGAIN: [11, 35, 35, 35, 35, 11, 11],
  ENOMEM: [12, 12, 12, 12, 12, 12, 12],
  EACCES: [13, 13, 13, 13, 13, 13, 13],
  EFAULT: [14, 14, 14, 14, 14, 14, 14],
  ENOTBLK: [15, 15, 15, 15, 15, 15, 15],
  EBUSY: [16, 16, 16, 16, 16, 16, 16],
  EEXIST: [17, 17, 17, 17, 17, 17, 17],
  EXDEV: [18, 18, 18, 18, 18, 18, 18],
  ENODEV: [19, 19, 19, 19, 19, 19, 19],
  ENOTDIR: [20, 20, 20, 20, 20, 20, 20],
  EISDIR: [21, 21, 21, 21, 21, 21, 21],
  EINVAL: [22, 22, 22, 22, 22, 22, 22],
  ENFILE: [23, 23, 23, 23, 23, 23, 23],
  EMFILE: [24, 24, 24, 24, 24, 24, 24],
  ENOTTY: [25, 25, 25, 25, 25, 25, 25],
  ETXTBSY: [26, 26, 26, 26, 26, 26, 26],
  EFBIG: [27, 27, 27, 27, 27, 27, 27],
  ENOSPC: [28, 28, 28, 28, 28, 28, 28],
  ESPIPE: [29, 29, 29, 29, 29, 29, 29],
  EROFS: [30, 30, 30, 30, 30, 30, 30],
  EMLINK: [31, 31, 31, 31, 31, 31, 31],
  EPIPE: [32, 32, 32, 32, 32, 32, 32],
  EDOM: [33, 33, 33, 33, 33, 33, 33],
  ERANGE: [34, 34, 34, 34, 34, 34, 34],
  EDEADLK: [35, 11, 11, 11, 11, 45, 45],
  ENAMETOOLONG: [36, 63, 63, 63, 63, 78, 86],
  ENOLCK: [37, 77, 77, 77, 77, 46, 49],
  ENOSYS: [38, 78, 78, 78, 78, 89, 109],
  ELOOP: [40, 62, 62, 62, 62, 90, 85],
  ENOMSG: [42, 91, 83, 90, 83, 35, 35],
  EIDRM: [43, 90, 82, 89, 82, 36, 36],
  ECHRNG: [44, null, null, null, null, 37, 37],
  EL2NSYNC: [45, null, null, null, null, 38, 38],
  EL3HLT: [46, null, null, null, null, 39, 39],
  EL3RST: [47, null, null, null, null, 40, 40],
  ELNRNG: [48, null, null, null, null, 41, 41],
  EUNATCH: [49, null, null, null, null, 42, 42],
  ENOCSI: [50, null, null, null, null, 43, 43],
  EL2HLT: [51, null, null, null, null, 44, 44],
  EBADE: [52, null, null, null, null, 50, null],
  EBADR: [53, null, null, null, null, 51, null],
  EXFULL: [54, null, null, null, null, 52, null],
  ENOANO: [55, null, null, null, null, 53, null],
  EBADRQC: [56, null, null, null, null, 54, null],
  EBADSLT: [57, null, null, null, null, 55, null],
  EBFONT: [59, null, null, null, null, 57, null],
  ENOSTR: [60, 99, null, null, 91, 60, 123],
  ENODATA: [61, 96, null, null, 89, 61, 122],
  ETIME: [62, 101, null, null, 92, 62, 119],
  ENOSR: [63, 98, null, null, 90, 63, 118],
  ENONET: [64, null, null, null, null, 64, null],
  ENOPKG: [65, null, null, null, null, 65, null],
  EREMOTE: [66, 71, 71, 71, 71, 66, 93],
  ENOLINK: [67, 97, 91, null, 95, 67, 126],
  EADV: [68, null, null, null, null, 68, null],
  ESRMNT: [69, null, null, null, null, 69, null],
  ECOMM: [70, null, null, null, null, 70, null],
  EPROTO: [71, 100, 92, 95, 96, 71, 121],
  EMULTIHOP: [72, 95, 90, null, 94, 74, 125],
  EDOTDOT: [73, null, null, null, null, null, null],
  EBADMSG: [74, 94, 89, 92, 88, 77, 120],
  EOVERFLOW: [75, 84, 84, 87, 84, 79, 127],
  ENOTUNIQ: [76, null, null, null, null, 80, null],
  EBADFD: [77, null, null, null, null, 81, null],
  EREMCHG: [78, null, null, null, null, 82, null],
  ELIBACC: [79, null, null, null, null, 83, null],
  ELIBBAD: [80, null, null, null, null, 84, null],
  ELIBSCN: [81, null, null, null, null, 85, null],
  ELIBMAX: [82, null, null, null, null, 86, null],
  ELIBEXEC: [83, null, null, null, null, 87, null],
  EILSEQ: [84, 92, 86, 84, 85, 88, 116],
  ERESTART: [85, null, null, null, null, 91, 82],
  ESTRPIPE: [86, null, null, null, null, 92, null],
  EUSERS: [87, 68, 68, 68, 68, 94, 84],
  ENOTSOCK: [88, 38, 38, 38, 38, 95, 57],
  EDESTADDRREQ: [89, 39, 39, 39, 39, 96, 58],
  EMSGSIZE: [90, 40, 40, 40, 40, 97, 59],
  EPROTOTYPE: [91, 41, 41, 41, 41, 98, 60],
  ENOPROTOOPT: [92, 42, 42, 42, 42, 99, 61],
  EPROTONOSUPPORT: [93, 43, 43, 43, 43, 120, 62],
  ESOCKTNOSUPPORT: [94, 44, 44, 44, 44, 121, 63],
  EOPNOTSUPP: [95, 102, 45, 45, 45, 122, 64],
  EPFNOSUPPORT: [96, 46, 46, 46, 46, 123, 65],
  EAFNOSUPPORT: [97, 47, 47, 47, 47, 124, 66],
  EADDRINUSE: [98, 48, 48, 48, 48, 125, 67],
  EADDRNOTAVAIL: [99, 49, 49, 49, 49, 126, 68],
  ENETDOWN: [100, 50, 50, 50, 50, 127, 69],
  ENETUNREACH: [101, 51, 51, 51, 51, 128, 70],
  ENETRESET: [102, 52, 52, 52, 52, 129, 71],
  ECONNABORTED: [103, 53, 53, 53, 53, 130, 72],
  ECONNRESET: [104, 54, 54, 54, 54, 131, 73],
  ENOBUFS: [105, 55, 55, 55, 55, 132, 74],
  EISCONN: [106, 56, 56, 56, 56, 133, 75],
  ENOTCONN: [107, 57, 57, 57, 57, 134, 76],
  ESHUTDOWN: [108, 58, 58, 58, 58, 143, 77],
  ETOOMANYREFS: [109, 59, 59, 59, 59, 144, 115],
  ETIMEDOUT: [110, 60, 60, 60, 60, 145, 78],
  ECONNREFUSED: [111, 61, 61, 61, 61, 146, 79],
  EHOSTDOWN: [112, 64, 64, 64, 64, 147, 80],
  EHOSTUNREACH: [113, 65, 65, 65, 65, 148, 81],
  EALREADY: [114, 37, 37, 37, 37, 149, 56],
  EINPROGRESS: [115, 36, 36, 36, 36, 150, 55],
  ESTALE: [116, 70, 70, 70, 70, 151, 52],
  EUCLEAN: [117, null, null, null, null, null, null],
  ENOTNAM: [118, null, null, null, null, null, null],
  ENAVAIL: [119, null, null, null, null, null, null],
  EISNAM: [120, null, null, null, null, null, null],
  EREMOTEIO: [121, null, null, null, null, null, null],
  EDQUOT: [122, 69, 69, 69, 69, 49, 88],
  ENOMEDIUM: [123, null, null, 85, null, null, null],
  EMEDIUMTYPE: [124, null, null, 86, null, null, null],
  ECANCELED: [125, 89, 85, 88, 87, 47, 117],
  ENOKEY: [126, null, null, null, null, null, null],
  EKEYEXPIRED: [127, null, null, null, null, null, null],
  EKEYREVOKED: [128, null, null, null, null, null, null],
  EKEYREJECTED: [129, null, null, null, null, null, null],
  EOWNERDEAD: [130, 105, 96, 94, 97, 58, 95],
  ENOTRECOVERABLE: [131, 104, 95, 93, 98, 59, 94],
  ERFKILL: [132, null, null, null, null, null, null],
  EHWPOISON: [133, null, null, null, null, null, null],
  EPROCLIM: [null, 67, 67, 67, 67, null, 83],
  EBADRPC: [null, 72, 72, 72, 72, null, null],
  ERPCMISMATCH: [null, 73, 73, 73, 73, null, null],
  EPROGUNAVAIL: [null, 74, 74, 74, 74, null, null],
  EPROGMISMATCH: [null, 75, 75, 75, 75, null, null],
  EPROCUNAVAIL: [null, 76, 76, 76, 76, null, null],
  EFTYPE: [null, 79, 79, 79, 79, null, null],
  EAUTH: [null, 80, 80, 80, 80, null, null],
  ENEEDAUTH: [null, 81, 81, 81, 81, null, null],
  EPWROFF: [null, 82, null, null, null, null, null],
  EDEVERR: [null, 83, null, null, null, null, null],
  EBADEXEC: [null, 85, null, null, null, null, null],
  EBADARCH: [null, 86, null, null, null, null, null],
  ESHLIBVERS: [null, 87, null, null, null, null, null],
  EBADMACHO: [null, 88, null, null, null, null, null],
  ENOATTR: [null, 93, 87, 83, 93, null, 112],
  ENOPOLICY: [null, 103, null, null, null, null, null],
  EQFULL: [null, 106, null, null, null, null, null],
  ENOTCAPABLE: [null, 107, 93, null, null, null, null],
  EDOOFUS: [null, null, 88, null, null, null, null],
  ECAPMODE: [null, null, 94, null, null, null, null],
  EINTEGRITY: [null, null, 97, null, null, null, null],
  EIPSEC: [null, null, null, 82, null, null, null],
  ELOCKUNMAPPED: [null, null, null, null, null, 72, null],
  ENOTACTIVE: [null, null, null, null, null, 73, null],
  ENOTREADY: [null, null, null, null, null, null, 46],
  EWRPROTECT: [null, null, null, null, null, null, 47],
  EFORMAT: [null, null, null, null, null, null, 48],
  ENOCONNECT: [null, null, null, null, null, null, 50],
  EDIST: [null, null, null, null, null, null, 53],
  ECORRUPT: [null, null, null, null, null, null, 89],
  ESYSERROR: [null, null, null, null, null, null, 90],
  EMEDIA: [null, null, null, null, null, null, 110],
  ESOFT: [null, null, null, null, null, null, 111],
  ESAD: [null, null, null, null, null, null, 113],
  ENOTRUST: [null, null, null, null, null, null, 114],
  // Second names: on at least one system the number has a name above.
  EWOULDBLOCK: [11, 35, 35, 35, 35, 11, 11],
  EDEADLOCK: [35, null, null, null, null, 56, null],
  ENOTEMPTY: [39, 66, 66, 66, 66, 93, 17],
  ENOTSUP: [95, 45, 45, 91, 86, 48, 124],
  EDESTADDREQ: [null, null, null, null, null, null, 58],
  ECLONEME: [null, null, null, null, null, null, 82],
} as const satisfies Record<ErrnoCode, Column<number | null>>;

/** The names that have a number on every system. */
export type CommonErrnoCode = {
  [C in ErrnoCode]: (typeof MATRIX)[C] extends Column<number> ? C : never;
}[ErrnoCode];

/** Numbers by name, as one system has them. */
export type ErrnoNumbers = Readonly<
  Record<CommonErrnoCode, number> & Partial<Record<ErrnoCode, number>>
>;

/** One system's column. Where two names share a number, the first one names it. */
export function errnosOf(system: (typeof SYSTEMS)[number]): ErrnoNumbers {
  const column = SYSTEMS.indexOf(system);
  const errnos: Partial<Record<ErrnoCode, number>> = {};
  for (const name of Object.keys(MATRIX) as ErrnoCode[]) {
    const number = MATRIX[name][column] ?? null;
    if (number !== null) errnos[name] = number;
  }
  return errnos as ErrnoNumbers;
}
