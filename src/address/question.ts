/**
 * Questions to the resolver of the system, each on another thread.
 *
 * Where the C library has getaddrinfo_a(3), the threads are its own: neither
 * the pool of the runtime nor the end of the process waits for them. Elsewhere
 * the runtime asks in the pool that it also has for files.
 *
 * @module
 */
import type * as NodeDns from "node:dns";
import type { EaiCode } from "../../ffi/abi.ts";
import { builtin } from "../../ffi/builtin.ts";
import type { Libc } from "../../ffi/contract.ts";
import { ENCODER, newMemory } from "../../ffi/memory.ts";
import { NODE_CODES } from "../errors/phrases.ts";
import { bytesOf, parseIp } from "./address.ts";

/** The result of one lookup. */
export interface Answer {
  /** A `struct sockaddr` each, in the order of the resolver. */
  readonly sockaddrs: readonly Uint8Array<ArrayBuffer>[];
  /** A code of `<netdb.h>`, 0 for success. */
  readonly eai: number;
  /** What lies behind it, 0 for what is not known. */
  readonly errno: number;
  /** What the runtime reports instead. */
  readonly cause: unknown;
}

/** A question that another thread works on. */
export interface Question {
  /** Returns the result once, `null` while there is none. */
  look(): Answer | null;
}

/** The family of the addresses to look up. */
export type LookupFamily = "inet" | "inet6";

/** What a question is about: all addresses that are wanted, or one family's. */
export type Lane = "whole" | LookupFamily;

/** One way to have names looked up. */
export interface Inquiry {
  /** How many questions of each kind may be under way at a time. */
  readonly places: Readonly<Record<Lane, number>>;
  /**
   * Whether a reply is not reported, so that the resolver has to look for it.
   * A call that blocks the thread can do that, too.
   */
  readonly isSilent: boolean;
  /**
   * @param family `AF_UNSPEC` for both.
   * @param onAnswer Called in a later turn when there is a reply, if this
   * way is not a silent one.
   */
  ask(hostname: string, family: number, onAnswer: () => void): Question;
}

/** The best way that there is here. */
export function inquiryFor(libc: Libc): Inquiry {
  return GaiInquiry.open(libc) ??
    (libc.getaddrinfoAsync === undefined
      ? new NodeInquiry(libc)
      : new PoolInquiry(libc));
}

/** Asks on this thread, which waits as long as it takes. */
export function askSync(libc: Libc, hostname: string, family: number): Answer {
  const hints = hintsFor(libc, family);
  const list = newMemory(8);
  const [eai, errno] = libc.getaddrinfo(nulTerminated(hostname), hints, list);
  return takeAnswer(libc, list, eai, errno);
}

/**
 * getaddrinfo_a(3).
 *
 * gai_suspend(3), which would wait for it, is of no use: when a request ends
 * just as that returns, glibc writes to a stack that is gone (2.36).
 */
class GaiInquiry implements Inquiry {
  // glibc has twenty threads at most.
  readonly places = { whole: 8, inet: 6, inet6: 6 };
  readonly isSilent = true;
  readonly #libc: Libc;
  private constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Returns `null` where the C library has none of it. */
  static open(libc: Libc): Inquiry | null {
    if (libc.abi.gaicb === null) return null;
    // No question is under way.
    const result = libc.getaddrinfo_a(
      libc.abi.gaicb.GAI_NOWAIT,
      newMemory(8),
      0,
      null,
    );
    if (result < 0) return null;
    libc.prepare(
      "close",
      "free",
      "freeaddrinfo",
      "gai_cancel",
      "gai_error",
      "malloc",
      "memcpyFrom",
      "memcpyTo",
      "open",
      "poll",
      "sched_yield",
    );
    return new GaiInquiry(libc);
  }

  ask(hostname: string, family: number): GaiQuestion {
    return new GaiQuestion(this.#libc, hostname, family);
  }
}

/** A request of getaddrinfo_a(3). */
class GaiQuestion implements Question {
  readonly #libc: Libc;
  /**
   * The request, the hints and the name, in this order. Memory of the C
   * library: its threads write there also when the one that asked is gone.
   */
  readonly request: bigint;
  /** There if the request could not be made. */
  #failure: Answer | null = null;

  constructor(libc: Libc, hostname: string, family: number) {
    this.#libc = libc;
    const { addrinfo, littleEndian } = libc.abi;
    const { size, name, request, GAI_NOWAIT } = libc.abi.gaicb!;
    const text = nulTerminated(hostname);
    const block = newMemory(size + addrinfo.size + text.length);
    this.request = libc.malloc(block.length);
    if (this.request === 0n) {
      this.#failure = failed(libc, "EAI_MEMORY", 0);
      return;
    }
    const view = new DataView(block.buffer);
    const hints = this.request + BigInt(size);
    view.setBigUint64(name, hints + BigInt(addrinfo.size), littleEndian);
    view.setBigUint64(request, hints, littleEndian);
    block.set(hintsFor(libc, family), size);
    block.set(text, size + addrinfo.size);
    libc.memcpyTo(this.request, block, block.length);
    const list = newMemory(8);
    new DataView(list.buffer).setBigUint64(0, this.request, littleEndian);
    const result = libc.getaddrinfo_a(GAI_NOWAIT, list, 1, null);
    // The memory stays: the library may have taken the request all the same.
    if (result < 0) this.#failure = failed(libc, "EAI_SYSTEM", -result);
  }

  look(): Answer | null {
    if (this.#failure !== null) return this.#failure;
    const libc = this.#libc;
    const { size, result, EAI_INPROGRESS, EAI_ALLDONE } = libc.abi.gaicb!;
    const eai = libc.gai_error(this.request);
    if (eai === EAI_INPROGRESS) return null;
    // The thread may still be about to report. Behind the lock that both take
    // all that it has written is to be seen, and nothing more is written.
    if (libc.gai_cancel(this.request) !== EAI_ALLDONE) return null;
    const block = newMemory(size);
    libc.memcpyFrom(block, this.request, size);
    libc.free(this.request);
    return takeAnswer(libc, block.subarray(result), eai, 0);
  }
}

/** getaddrinfo(3) in the pool of the runtime. */
class PoolInquiry implements Inquiry {
  // Half of the threads that Deno has: files need some as well.
  readonly places = { whole: 8, inet: 4, inet6: 4 };
  readonly isSilent = false;
  readonly #libc: Libc;

  constructor(libc: Libc) {
    this.#libc = libc;
    libc.prepare("close", "freeaddrinfo", "memcpyFrom", "open");
  }

  ask(hostname: string, family: number, onAnswer: () => void): Question {
    const libc = this.#libc;
    const memory = {
      node: nulTerminated(hostname),
      hints: hintsFor(libc, family),
      list: newMemory(8),
    };
    const { node, hints, list } = memory;
    inUse.add(memory);
    return new LaterQuestion(
      libc.getaddrinfoAsync!(node, hints, list)
        .finally(() => inUse.delete(memory))
        .then((eai) => takeAnswer(libc, list, eai, 0)),
      onAnswer,
    );
  }
}

/** What other threads work on, kept from the garbage collector. */
const inUse = new Set<unknown>();

/** `node:dns`, which calls getaddrinfo(3) in the pool of the runtime. */
class NodeInquiry implements Inquiry {
  // As many as libuv asks at a time in the pool of four that it has.
  readonly places = { whole: 2, inet: 0, inet6: 0 };
  readonly isSilent = false;
  readonly #libc: Libc;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  ask(hostname: string, family: number, onAnswer: () => void): Question {
    const { abi } = this.#libc;
    const dns = builtin<typeof NodeDns>("node:dns");
    const wanted = family === abi.AF_INET ? 4 : family === abi.AF_INET6 ? 6 : 0;
    const answer = new Promise<Answer>((resolve) =>
      dns.lookup(
        hostname,
        { all: true, family: wanted, order: "verbatim" },
        (cause, addresses) => {
          if (cause === null) {
            const sockaddrs = addresses.map(({ address }) =>
              bytesOf(parseIp(address, 0)!).slice()
            );
            resolve({ sockaddrs, eai: 0, errno: 0, cause: undefined });
          } else {
            const { code = "", errno = 0 } = cause;
            const eai = abi.eais[NODE_CODES[code] ?? code as EaiCode] ?? errno;
            resolve({ sockaddrs: [], eai, errno: 0, cause });
          }
        },
      )
    );
    return new LaterQuestion(answer, onAnswer);
  }
}

/** A question whose reply is reported by itself. */
class LaterQuestion implements Question {
  #answer: Answer | null = null;

  constructor(answer: Promise<Answer>, onAnswer: () => void) {
    answer.catch((cause) => ({ sockaddrs: [], eai: 0, errno: 0, cause }))
      .then((answer) => {
        this.#answer = answer;
        onAnswer();
      });
  }

  look(): Answer | null {
    return this.#answer;
  }
}

function failed({ abi }: Libc, code: EaiCode, errno: number): Answer {
  return { sockaddrs: [], eai: abi.eais[code]!, errno, cause: undefined };
}

function nulTerminated(hostname: string): Uint8Array<ArrayBuffer> {
  return ENCODER.encode(`${hostname}\0`);
}

function hintsFor({ abi }: Libc, family: number): Uint8Array<ArrayBuffer> {
  const { addrinfo, littleEndian } = abi;
  const hints = newMemory(addrinfo.size);
  const view = new DataView(hints.buffer);
  view.setInt32(addrinfo.family, family, littleEndian);
  // Without a type each address would come once for every one there is.
  view.setInt32(addrinfo.socktype, abi.SOCK_STREAM, littleEndian);
  return hints;
}

/** Takes over the list that C has made, `list` is where its address stands. */
function takeAnswer(
  libc: Libc,
  list: Uint8Array<ArrayBuffer>,
  eai: number,
  errno: number,
): Answer {
  if (eai !== 0) return { sockaddrs: [], eai, errno, cause: undefined };
  const head = new DataView(list.buffer, list.byteOffset)
    .getBigUint64(0, libc.abi.littleEndian);
  try {
    return { sockaddrs: readList(libc, head), eai, errno, cause: undefined };
  } finally {
    libc.freeaddrinfo(head);
  }
}

function readList(libc: Libc, head: bigint): Uint8Array<ArrayBuffer>[] {
  const { abi } = libc;
  const { addrinfo, littleEndian, sockaddrIn, sockaddrIn6 } = abi;
  const entry = newMemory(addrinfo.size);
  const view = new DataView(entry.buffer);
  const longest = Math.max(sockaddrIn.size, sockaddrIn6.size);
  const found: Uint8Array<ArrayBuffer>[] = [];
  for (let at = head; at !== 0n;) {
    libc.memcpyFrom(entry, at, addrinfo.size);
    const family = view.getInt32(addrinfo.family, littleEndian);
    const length = addrinfo.addrlenSize === 8
      ? Number(view.getBigUint64(addrinfo.addrlen, littleEndian))
      : view.getUint32(addrinfo.addrlen, littleEndian);
    const isKnown = family === abi.AF_INET || family === abi.AF_INET6;
    if (isKnown && length <= longest) {
      const sockaddr = newMemory(length);
      const source = view.getBigUint64(addrinfo.addr, littleEndian);
      libc.memcpyFrom(sockaddr, source, length);
      found.push(sockaddr);
    }
    at = view.getBigUint64(addrinfo.next, littleEndian);
  }
  return found;
}
