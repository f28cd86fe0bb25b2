/**
 * What a failure itself says of its reason, beyond its errno: the same errno
 * means one thing from the peer and another from a router.
 *
 * @module
 */
import type { EaiCode, ErrnoCode, ErrnoFacts, Icmp } from "../errors/errors.ts";
import { HINTS } from "../errors/phrases.ts";
import { CATALOG, type CatalogEntry } from "./catalog.ts";

/** What is known apart from any one system. */
export type Advice = Omit<CatalogEntry, "systems" | "unlisted">;

/** ETIMEDOUT where the caller's deadline passed, by the call that was under way. */
const DEADLINES = {
  connect: {
    meaning: "The caller's own timeout ended the attempt, not the system",
    continues: true,
    reusable: "no",
    retry: "later",
    remedy: HINTS.DEADLINE,
    note:
      "The kernel would have gone on trying, and does so until the socket is closed; connect() and connectSync() have closed it.",
  },
  getaddrinfo: {
    meaning: "The caller's own timeout ended the lookup of the name",
    continues: false,
    reusable: "yes",
    retry: "later",
    remedy:
      "See which name server is asked (`cat /etc/resolv.conf`) and whether it replies (`getent ahosts NAME`), or connect to the address itself.",
  },
} as const satisfies Record<string, Advice>;

/** What is known of each failure to resolve a name. */
export const LOOKUPS_EXPLAINED: Readonly<
  Partial<Record<EaiCode, Pick<Advice, "meaning" | "retry" | "remedy">>>
> = {
  EAI_ADDRFAMILY: {
    meaning:
      "The name has addresses, and none of the family that was asked for",
    retry: "never",
    remedy:
      "Leave `family` out, or see what the name has: `getent ahosts NAME`.",
  },
  EAI_AGAIN: {
    meaning: "No name server replied in time",
    retry: "later",
    remedy: HINTS.EAI_AGAIN +
      " A container without a network fails like this.",
  },
  EAI_FAIL: {
    meaning: "The name server failed for good",
    retry: "never",
    remedy: "Ask another name server: `dig NAME @SERVER`.",
  },
  EAI_MEMORY: {
    meaning: "The resolver ran out of memory",
    retry: "later",
    remedy: "See what limits the process: `ulimit -a`, `free`.",
  },
  EAI_NODATA: {
    meaning: "The name exists and has no address",
    retry: "never",
    remedy: HINTS.EAI_NODATA,
  },
  EAI_NONAME: {
    meaning: "Neither a name server nor the hosts file knows the name",
    retry: "never",
    remedy: HINTS.EAI_NONAME,
  },
  EAI_SYSTEM: {
    meaning: "A system call failed while the name was looked up",
    retry: "later",
    remedy: "The `cause` of the error says which.",
  },
};

/** What ICMP's messages mean, by type and code. */
const ICMP: Readonly<Record<string, string>> = {
  "3/0": "network unreachable",
  "3/1": "host unreachable",
  "3/2": "protocol unreachable",
  "3/3": "port unreachable",
  "3/4": "fragmentation needed",
  "3/5": "source route failed",
  "3/6": "network unknown",
  "3/7": "host unknown",
  "3/8": "source host isolated",
  "3/9": "network prohibited by an administrator",
  "3/10": "host prohibited by an administrator",
  "3/11": "network unreachable for the type of service",
  "3/12": "host unreachable for the type of service",
  "3/13": "communication prohibited by an administrator",
  "3/14": "host precedence violated",
  "3/15": "precedence cut off",
  "11/0": "time to live exceeded on the way",
  "12/0": "a field of the header is wrong",
};

const ICMPV6: Readonly<Record<string, string>> = {
  "1/0": "no route to the destination",
  "1/1": "communication prohibited by an administrator",
  "1/2": "beyond the scope of the source address",
  "1/3": "address unreachable",
  "1/4": "port unreachable",
  "1/5": "source address refused by a policy",
  "1/6": "the route to the destination rejects",
  "3/0": "hop limit exceeded on the way",
  "4/0": "a field of the header is wrong",
  "4/1": "the next header is not known",
};

/** An ICMP error in numbers and words. */
export function icmpText(icmp: Icmp): string {
  const { type, code } = icmp;
  const words = wordsOf(icmp);
  return `${isVersion4(icmp) ? "ICMP" : "ICMPv6"} type ${type} code ${code}` +
    (words === undefined ? "" : `: ${words}`);
}

/** What an ICMP error means, in a few words, or its numbers. */
export function icmpWords(icmp: Icmp): string {
  return wordsOf(icmp) ?? `ICMP ${icmp.type}/${icmp.code}`;
}

function wordsOf(icmp: Icmp): string | undefined {
  return (isVersion4(icmp) ? ICMP : ICMPV6)[`${icmp.type}/${icmp.code}`];
}

/** An IPv4 router speaks to an IPv6 socket under a mapped address. */
function isVersion4({ from }: Icmp): boolean {
  return from.includes(".");
}

/**
 * What a failure means where that is not what its errno says by itself.
 *
 * @returns `null` where there is nothing to add.
 */
export function circumstancesOf(failure: ErrnoFacts): Advice | null {
  const { code, errors = [], syscall, timeoutKind } = failure;
  const one = errors.find((each) => each.code === code) ?? failure;
  const found = timeoutKind === "deadline"
    ? atDeadline(one, syscall)
    : byIcmp(one) ?? onUnix(one) ?? onIpv6(one);
  const others = errors.filter((each) => each.code !== code);
  if (others.length === 0) return found && withReuse(found, code);
  const advice = found ?? CATALOG[code as ErrnoCode];
  if (advice === undefined) return null;
  const { meaning, continues, reusable, retry, remedy } = advice;
  const note = noteOn(others);
  return withReuse({ meaning, continues, reusable, retry, remedy, note }, code);
}

/** Advice whose note says on what it depends whether a socket can be used again. */
function withReuse(advice: Advice, code: string): Advice {
  const own = CATALOG[code as ErrnoCode]?.note;
  if (advice.reusable !== "depends" || own === undefined) return advice;
  const { note } = advice;
  if (note === own) return advice;
  return { ...advice, note: note === undefined ? own : `${note} ${own}` };
}

function atDeadline(failure: ErrnoFacts, syscall: string): Advice {
  if (syscall === "getaddrinfo") return DEADLINES.getaddrinfo;
  const { icmp, soft } = failure;
  if (icmp === undefined && !soft) return DEADLINES.connect;
  return {
    ...DEADLINES.connect,
    meaning: `No connection in time, after ${reportOf(failure)}`,
    remedy: icmp === undefined
      ? DEADLINES.connect.remedy
      : `See what ${icmp.from} is, and why it refuses; then look at the peer.`,
  };
}

/** What an ICMP error means, by its sender. */
function byIcmp(failure: ErrnoFacts): Advice | null {
  const { code, icmp, soft = false, syscall } = failure;
  if (icmp === undefined && !soft) return null;
  const known = CATALOG[code as ErrnoCode];
  const advice = {
    continues: soft,
    reusable: known?.reusable ?? "no",
    retry: "elsewhere",
    ...(soft ? { note: SOFT } : {}),
  } as const;
  if (icmp === undefined) {
    return {
      ...advice,
      meaning:
        "An ICMP error ended the attempt, and no reset of the peer; its sender is not known",
      remedy:
        "A firewall rejects, here (`nft list ruleset`), on the way (`traceroute -T -p PORT ADDRESS`) or on the peer.",
    };
  }
  const { from } = icmp;
  const isPeer = isSame(from, failure.address);
  const isPort = PORT_UNREACHABLE.has(versioned(icmp));
  if (isPeer && isPort && syscall !== "connect") {
    return {
      ...advice,
      retry: "later",
      meaning: "The peer is there and nothing receives at the port",
      remedy: "Check on the peer that the service runs: `ss -lunp`.",
    };
  }
  if (isPeer) {
    return {
      ...advice,
      meaning:
        `A firewall rejects the connection, and ${from} itself says so: ` +
        (wordsOf(icmp) ?? icmpText(icmp)),
      remedy:
        "A port without a listener is refused by a reset. Look at the rules of the peer, or of this machine if that is the peer: `nft list ruleset`, `iptables -S`.",
    };
  }
  return {
    ...advice,
    meaning: `${from} ended the attempt, not the peer: ` +
      (wordsOf(icmp) ?? icmpText(icmp)),
    remedy:
      `See what ${from} is, a router or a firewall on the way: \`traceroute ADDRESS\`, \`ip route get ADDRESS\`. Whether the peer is there is not known.`,
  };
}

const SOFT =
  'The message came while the kernel still held the socket, which makes it soft on Linux: the kernel would have repeated the SYN after a second. `softErrors: "wait"` waits for that.';

/** The messages that a port without a listener can cause. */
const PORT_UNREACHABLE: ReadonlySet<string> = new Set(["4 3/3", "6 1/4"]);

function versioned(icmp: Icmp): string {
  return `${isVersion4(icmp) ? 4 : 6} ${icmp.type}/${icmp.code}`;
}

/** What came before a deadline, in words. */
function reportOf({ code, icmp }: ErrnoFacts): string {
  return icmp === undefined
    ? `an error that did not end it (${code})`
    : `${icmp.from} had sent ${icmpText(icmp)}`;
}

/** Whether an ICMP error came from the very address that was connected to. */
function isSame(from: string, address = ""): boolean {
  const [, v6, v4] =
    /^(?:\[([^\]%]+)(?:%\d+)?\]|([\d.]+)):\d+$/.exec(address) ??
      [];
  const host = v6 ?? v4;
  return host !== undefined && (host === from || `::ffff:${host}` === from ||
    host === `::ffff:${from}`);
}

/** A path is refused by this machine's own kernel. */
function onUnix({ code, address }: ErrnoFacts): Advice | null {
  if (code !== "ECONNREFUSED" || address?.startsWith("unix:") !== true) {
    return null;
  }
  const { continues, reusable, retry, note } = CATALOG.ECONNREFUSED!;
  return {
    meaning: "No process listens on the socket at this path",
    continues,
    reusable,
    retry,
    remedy:
      "The server has ended and left its file, or has not called listen(2) yet: `ss -xl`, `lsof PATH`.",
    ...(note === undefined ? {} : { note }),
  };
}

/** Over IPv6 the kernel keeps no ICMP error for a socket that does not ask for it. */
function onIpv6({ code, address, syscall }: ErrnoFacts): Advice | null {
  if (
    code !== "ECONNREFUSED" || syscall !== "connect" ||
    address?.startsWith("[") !== true
  ) return null;
  const { meaning, continues, reusable, retry, remedy } = CATALOG.ECONNREFUSED!;
  return {
    meaning,
    continues,
    reusable,
    retry,
    remedy,
    note:
      "If a `Socket` was connected over IPv6 without `readErrorQueue`, the ICMP error of a firewall looks the same: `connect()` asks Linux who rejects, and has it in `icmp` of the error.",
  };
}

/** How other addresses of the same name failed. */
function noteOn(others: readonly ErrnoFacts[]): string {
  const each = others.map(({ address, code }) =>
    `${address ?? "one"} by ${code}`
  );
  const isOdd = others.some(({ address, code }) =>
    address?.startsWith("[") === true &&
    (code === "ENETUNREACH" || code === "EADDRNOTAVAIL")
  );
  return `Other addresses of the name failed otherwise: ${each.join(", ")}.` +
    (isOdd
      ? " An IPv6 address without a route says no more than that this machine has no IPv6: look at the IPv4 address first."
      : "");
}

/** What to write in place of a name that is not one. */
export function spellingOf(hostname: string): string | null {
  const url = /^[a-z][a-z\d+.-]*:\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]*)/i
    .exec(hostname);
  const host = url?.[1] ?? /^\[[^\]]*\]$/.exec(hostname)?.[0] ??
    /^[^:/]+(?=:\d+$|\/)/.exec(hostname)?.[0];
  if (host === undefined || host === "") return null;
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  return `${
    url === null || url === undefined
      ? "That is more than a name"
      : "That is a URL"
  }: the name or address in it is ${bare}.`;
}
