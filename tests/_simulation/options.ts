/**
 * The options of sockets, as a table of a system has them.
 *
 * @module
 */
import type { Abi } from "../../ffi/abi.ts";
import { isTcp, type Sock } from "./terms.ts";

/** What the kernel knows of an option. */
export interface OptionFacts {
  readonly constant: keyof Abi;
  readonly level: number;
  readonly size: number;
  readonly initial: number;
  readonly isSwitch: boolean;
  readonly isText: boolean;
  /** Whether it can only be read. */
  readonly isFixed: boolean;
  /** Whether it can only be set. */
  readonly isSecret: boolean;
  fits(socket: Sock): boolean;
}

export function optionsOf(abi: Abi): Map<string, OptionFacts> {
  const options = new Map<string, OptionFacts>();
  function isInet({ domain }: Sock): boolean {
    return domain === abi.AF_INET;
  }
  function isInet6({ domain }: Sock): boolean {
    return domain === abi.AF_INET6;
  }
  function isIp(socket: Sock): boolean {
    return isInet(socket) || isInet6(socket);
  }
  function add(
    level: number,
    fits: (socket: Sock) => boolean,
    constants: Partial<Record<keyof Abi, Partial<OptionFacts>>>,
  ): void {
    for (const [name, facts] of Object.entries(constants)) {
      const constant = name as keyof Abi;
      const number = abi[constant] as number | null;
      if (number === null) continue;
      const usual = { size: 4, initial: 0, isSwitch: false, isText: false };
      options.set(`${level}/${number}`, {
        ...usual,
        isFixed: false,
        isSecret: false,
        ...facts,
        constant,
        level,
        fits,
      });
    }
  }
  const flag = { isSwitch: true };
  const fixed = { isFixed: true };
  const text = { isText: true, size: 16 };
  add(abi.SOL_SOCKET, () => true, {
    SO_ACCEPTCONN: fixed,
    SO_BINDTODEVICE: text,
    SO_BROADCAST: flag,
    SO_DOMAIN: fixed,
    SO_ERROR: fixed,
    SO_KEEPALIVE: flag,
    SO_LINGER: { size: 8 },
    SO_MARK: {},
    SO_NOSIGPIPE: flag,
    SO_PRIORITY: {},
    SO_PROTOCOL: fixed,
    SO_RCVBUF: { initial: 131_072 },
    SO_REUSEADDR: flag,
    SO_REUSEPORT: flag,
    SO_SNDBUF: { initial: 16_384 },
    SO_TYPE: fixed,
  });
  // Those that Linux has on sockets of both versions.
  add(abi.IPPROTO_IP, isIp, {
    IP_BIND_ADDRESS_NO_PORT: flag,
    IP_FREEBIND: flag,
    IP_LOCAL_PORT_RANGE: {},
    IP_TRANSPARENT: flag,
  });
  add(abi.IPPROTO_IP, isInet, {
    IP_BOUND_IF: {},
    IP_MINTTL: {},
    IP_MTU: { ...fixed, initial: 1500 },
    IP_MTU_DISCOVER: {},
    IP_RECVERR: flag,
    IP_TOS: {},
    IP_TTL: { initial: 64 },
  });
  add(abi.IPPROTO_IPV6, isInet6, {
    IPV6_BOUND_IF: {},
    IPV6_MINHOPCOUNT: {},
    IPV6_MTU: { ...fixed, initial: 1500 },
    IPV6_MTU_DISCOVER: {},
    IPV6_RECVERR: flag,
    IPV6_TCLASS: {},
    IPV6_UNICAST_HOPS: { initial: 64 },
    IPV6_V6ONLY: flag,
  });
  add(abi.IPPROTO_TCP, (socket) => isTcp(abi, socket), {
    TCP_CONGESTION: text,
    TCP_CORK: flag,
    TCP_FASTOPEN_CONNECT: flag,
    TCP_KEEPCNT: { initial: 8 },
    TCP_KEEPIDLE: { initial: 7200 },
    TCP_KEEPINTVL: { initial: 75 },
    TCP_MAXSEG: { initial: 536 },
    TCP_MD5SIG: { size: abi.tcpMd5sig?.size ?? 4, isSecret: true },
    TCP_NODELAY: flag,
    TCP_NOTSENT_LOWAT: {},
    TCP_QUICKACK: flag,
    TCP_SYNCNT: { initial: 6 },
    TCP_USER_TIMEOUT: {},
  });
  return options;
}
