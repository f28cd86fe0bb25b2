/**
 * Which names the name servers reply about at all.
 *
 * The resolver of the system holds a thread for as long as no server replies
 * about a name, and threads are few. So names that wait for one are asked about
 * here meanwhile, by a datagram each, which costs no thread. A name that a
 * server replies about takes the resolver a moment, and need not wait behind
 * those that none replies about. What the reply says is for the resolver alone
 * to read, which asks once more. So nothing but the order of the names depends
 * on it, and what it leaves aside costs no more than that: `use-vc` of
 * resolv.conf(5), after which a server may not reply to datagrams, and the
 * variables LOCALDOMAIN and RES_OPTIONS, which on Deno take a permission.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { ENCODER, newMemory } from "../../ffi/memory.ts";
import { bytesOf, parseIp } from "./address.ts";
import { readText } from "./hosts.ts";
import type { LookupFamily } from "./question.ts";

/** How many names are asked about at once: servers have limits, such as the 150 of dnsmasq. */
const MOST_SOUNDINGS = 128;

/** How long to wait for a reply, in ms. */
const LONGEST_SOUNDING = 500;

/** How many replies are read at a time. */
const MOST_REPLIES = 256;

/** How many name servers the resolver uses, MAXNS of `<resolv.h>`. */
const MOST_SERVERS = 3;

/** The greatest number of dots that a short name has, RES_MAXNDOTS. */
const MOST_DOTS = 15;

/** Where a name server is if the system names none. */
const LOCAL_SERVER = "127.0.0.1";
const DOMAIN_PORT = 53;

/** The types of the records that hold addresses, A and AAAA. */
const RECORD_TYPES: Readonly<Record<LookupFamily, number>> = {
  inet: 1,
  inet6: 28,
};
const BOTH: readonly LookupFamily[] = ["inet", "inet6"];

const NO_QUESTION = newMemory(0);

/** The length of the head of a message, and the bit of its third byte that marks a reply. */
const HEAD = 12;
const IS_REPLY = 0x80;

/**
 * The codes with which a server declines: SERVFAIL, NOTIMP and REFUSED. The
 * resolver asks the next server then.
 */
const DECLINED: ReadonlySet<number> = new Set([2, 4, 5]);

/** What can be sent as it is: visible ASCII, without the backslash that escapes. */
const PLAIN_NAME = /^[!-[\]-~]+$/;
const LONGEST_LABEL = 63;
const LONGEST_NAME = 253;

/** How many names can be asked about within a time in ms, if no server replies. */
export function soundingsWithin(time: number): number {
  return MOST_SOUNDINGS * Math.max(1, Math.floor(time / LONGEST_SOUNDING));
}

/** A name that the servers are asked about. */
export interface Sounding {
  /**
   * Families about which no reply has come. There is none where the resolver
   * needs no reply.
   */
  readonly missing: ReadonlySet<LookupFamily>;
  /** When the question was asked, and whether a reply is waited for. */
  readonly since: number;
  readonly isOpen: boolean;
}

interface OpenSounding {
  readonly missing: Set<LookupFamily>;
  since: number;
  isOpen: boolean;
  readonly id: number;
  readonly name: string;
  /** What was asked about last, in which message, and which server. */
  family: LookupFamily;
  question: Uint8Array<ArrayBuffer>;
  server: number;
  /** How many servers there are to ask, this one and those that follow it. */
  left: number;
  /** The server that has replied about a family, -1 if none has. */
  heard: number;
}

/** What `resolv.conf(5)` says. */
interface ResolverConfig {
  /** A `struct sockaddr` each. */
  readonly servers: readonly Uint8Array<ArrayBuffer>[];
  /** What the resolver appends to a short name at first, empty for nothing. */
  readonly suffix: string;
  /** How many dots make a name a long one. */
  readonly dots: number;
}

/** The name servers of the system. Sockets are open while there is a sounding. */
export class NameServers {
  readonly #libc: Libc;
  #config: ResolverConfig | null = null;
  /** The descriptor for each server that was asked, -1 where it cannot be reached. */
  readonly #sockets = new Map<number, number>();
  readonly #open = new Map<number, OpenSounding>();
  #nextId = Math.floor(Math.random() * 0x1_0000);
  /** When the newest sounding began. */
  #newest = -Infinity;
  readonly #reply = newMemory(512);

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Opens what it calls: later, the permission for that may be gone. */
  prepare(): void {
    this.#libc.prepare(
      "close",
      "connect",
      "fcntl",
      "open",
      "read",
      "recvfrom",
      "sendto",
      "socket",
    );
  }

  /** Whether another name can be asked about. */
  get hasRoom(): boolean {
    return this.#open.size < MOST_SOUNDINGS;
  }

  /** When the newest sounding began that is under way, `-Infinity` if none is. */
  get newest(): number {
    return this.#open.size === 0 ? -Infinity : this.#newest;
  }

  /**
   * Asks about a name. {@linkcode NameServers.rest} comes after one or more.
   *
   * @param last When that was done before, `null` for never: it may have been
   * the server that does not reply, or the family.
   */
  sound(
    hostname: string,
    wanted: LookupFamily | undefined,
    last: Sounding | null,
    now: number,
  ): Sounding {
    const before = last as OpenSounding | null;
    const missing = before?.missing ??
      new Set(wanted === undefined ? BOTH : [wanted]);
    const [first, second] = missing;
    const sounding: OpenSounding = {
      missing,
      since: now,
      isOpen: true,
      id: this.#newId(),
      name: this.#wholeName(hostname),
      family: first === before?.family ? second ?? first! : first!,
      question: NO_QUESTION,
      server: before === null ? 0 : before.server + 1,
      left: 0,
      heard: -1,
    };
    this.#open.set(sounding.id, sounding);
    this.#newest = now;
    this.#begin(sounding);
    return sounding;
  }

  /** Waits for no reply any more. */
  drop(sounding: Sounding | null): void {
    const open = sounding as OpenSounding | null;
    if (!open?.isOpen) return;
    this.#end(open);
    this.rest();
  }

  /** Takes the replies that have come, and ends what is late. */
  look(now: number): void {
    if (this.#open.size === 0) return;
    for (const [server, fd] of this.#sockets) this.#read(server, fd, now);
    for (const sounding of this.#open.values()) {
      if (now - sounding.since >= LONGEST_SOUNDING) this.#end(sounding);
    }
    this.rest();
  }

  #newId(): number {
    do this.#nextId = (this.#nextId + 1) & 0xffff; while (
      this.#open.has(this.#nextId)
    );
    return this.#nextId;
  }

  /** A name as the resolver asks for it at first. */
  #wholeName(hostname: string): string {
    this.#config ??= readConfig(this.#libc);
    const { suffix, dots } = this.#config;
    if (hostname.endsWith(".")) return hostname.slice(0, -1);
    const isLong = hostname.split(".").length > dots;
    return isLong || suffix === "" ? hostname : `${hostname}.${suffix}`;
  }

  /** Asks about the family whose turn it is. */
  #begin(sounding: OpenSounding): void {
    const { id, name, family } = sounding;
    sounding.question = questionFor(id, name, RECORD_TYPES[family]);
    sounding.left = this.#config!.servers.length;
    this.#ask(sounding);
  }

  /** Asks one server, that whose turn it is or the first after it that can be. */
  #ask(sounding: OpenSounding): void {
    const { question } = sounding;
    const { length } = question;
    const { servers } = this.#config!;
    const { MSG_DONTWAIT, errnos } = this.#libc.abi;
    for (; sounding.left > 0 && length > 0; sounding.left--) {
      sounding.server %= servers.length;
      const fd = this.#socketTo(sounding.server);
      const sent = fd < 0
        ? fd
        : this.#libc.sendto(fd, question, length, MSG_DONTWAIT, null, 0);
      // A message that finds no room now is as good as one that is lost.
      if (sent >= 0 || sent === -errnos.EAGAIN) return;
      sounding.server++;
    }
    // The resolver can ask none, either, and notices that at once.
    sounding.missing.clear();
    this.#end(sounding);
  }

  #socketTo(server: number): number {
    const { abi } = this.#libc;
    const known = this.#sockets.get(server);
    if (known !== undefined) return known;
    const sockaddr = this.#config!.servers[server]!;
    const fd = openDatagrams(
      this.#libc,
      sockaddr.length === abi.sockaddrIn.size ? abi.AF_INET : abi.AF_INET6,
      sockaddr,
    );
    this.#sockets.set(server, fd);
    return fd;
  }

  #read(server: number, fd: number, now: number): void {
    const { abi } = this.#libc;
    const reply = this.#reply;
    for (let i = 0; fd >= 0 && i < MOST_REPLIES; i++) {
      const { length } = reply;
      const size = this.#libc
        .recvfrom(fd, reply, length, abi.MSG_DONTWAIT, null);
      if (size === -abi.errnos.EAGAIN) return;
      if (size >= HEAD) this.#take(server, reply.subarray(0, size), now);
      else if (size < 0) this.#lose(server);
    }
  }

  #take(server: number, reply: Uint8Array, now: number): void {
    const sounding = this.#open.get(reply[0]! << 8 | reply[1]!);
    if (sounding === undefined || (reply[2]! & IS_REPLY) === 0) return;
    const { missing, family, question, left, heard } = sounding;
    // One that was asked before may reply twice.
    if (sounding.server !== server || !isSameQuestion(question, reply)) return;
    sounding.since = now;
    // The resolver does not ask the next where this one knows the other family.
    if (isDeclined(reply) && left > 1 && heard !== server) {
      return this.#pass(sounding);
    }
    sounding.heard = server;
    missing.delete(family);
    const [other] = missing;
    if (other === undefined) return this.#end(sounding);
    sounding.family = other;
    this.#begin(sounding);
  }

  /** Nobody is there: the resolver notices that at once, and asks the next. */
  #lose(server: number): void {
    for (const sounding of this.#open.values()) {
      if (sounding.server === server) this.#pass(sounding);
    }
  }

  /** Asks the next server. */
  #pass(sounding: OpenSounding): void {
    sounding.server++;
    sounding.left--;
    this.#ask(sounding);
  }

  #end(sounding: OpenSounding): void {
    sounding.isOpen = false;
    this.#open.delete(sounding.id);
  }

  /** Keeps nothing open if no reply is waited for. */
  rest(): void {
    if (this.#open.size > 0) return;
    for (const fd of this.#sockets.values()) {
      if (fd >= 0) this.#libc.close(fd);
    }
    this.#sockets.clear();
    this.#config = null;
  }
}

function readConfig(libc: Libc): ResolverConfig {
  const servers: Uint8Array<ArrayBuffer>[] = [];
  let suffix = "";
  let dots = 1;
  for (const line of readText(libc, "/etc/resolv.conf").split("\n")) {
    // A line that begins with a blank is none, and a comment ends an address.
    const [key, value = "", ...more] = line.split(/[\s;#]+/);
    if (key === "nameserver" && servers.length < MOST_SERVERS) {
      const sockaddr = serverAt(value);
      if (sockaddr !== null) servers.push(sockaddr);
    } else if (key === "search" || key === "domain") {
      suffix = value.replace(/\.$/, "");
    } else if (key === "options") {
      for (const option of [value, ...more]) {
        const [, number] = /^ndots:(\d+)/.exec(option) ?? [];
        if (number !== undefined) dots = Math.min(Number(number), MOST_DOTS);
      }
    }
  }
  if (servers.length === 0) {
    servers.push(serverAt(LOCAL_SERVER)!);
  }
  return { servers, suffix, dots };
}

/** Where a server is, `null` if that is not known; the resolver skips such a one. */
function serverAt(host: string): Uint8Array<ArrayBuffer> | null {
  try {
    const address = parseIp(host, DOMAIN_PORT);
    return address === null ? null : bytesOf(address);
  } catch {
    return null;
  }
}

/** Opens a socket for datagrams to one peer; returns -1 if that fails. */
function openDatagrams(
  libc: Libc,
  domain: number,
  peer: Uint8Array<ArrayBuffer>,
): number {
  const { SOCK_DGRAM, SOCK_CLOEXEC, F_SETFD, FD_CLOEXEC } = libc.abi;
  const fd = libc.socket(domain, SOCK_DGRAM | (SOCK_CLOEXEC ?? 0), 0);
  if (fd < 0) return -1;
  if (SOCK_CLOEXEC === null) libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (libc.connect(fd, peer, peer.length) >= 0) return fd;
  libc.close(fd);
  return -1;
}

/** A message that asks about a name; without a byte if it is no name for DNS. */
function questionFor(
  id: number,
  name: string,
  type: number,
): Uint8Array<ArrayBuffer> {
  const labels = name.split(".");
  const isName = PLAIN_NAME.test(name) && name.length <= LONGEST_NAME &&
    labels.every(({ length }) => length > 0 && length <= LONGEST_LABEL);
  if (!isName) return NO_QUESTION;
  const message = newMemory(HEAD + name.length + 6);
  const view = new DataView(message.buffer);
  view.setUint16(0, id);
  view.setUint16(2, 0x0100); // recursion is desired
  view.setUint16(4, 1); // one question
  let at = HEAD;
  for (const label of labels) {
    message[at++] = label.length;
    message.set(ENCODER.encode(label), at);
    at += label.length;
  }
  view.setUint16(at + 1, type);
  view.setUint16(at + 3, 1); // IN
  return message;
}

/** Whether a reply repeats a question; in names, the case of letters is free. */
function isSameQuestion(question: Uint8Array, reply: Uint8Array): boolean {
  const CASE = 0x20;
  if (reply.length < question.length) return false;
  for (let at = HEAD; at < question.length; at++) {
    if (((question[at]! ^ reply[at]!) & ~CASE) !== 0) return false;
  }
  return true;
}

/** Whether a server declines to say anything, or knows of no server that would. */
function isDeclined(reply: Uint8Array): boolean {
  const AUTHORITATIVE = 0x04;
  const RECURSIVE = 0x80;
  const code = reply[3]! & 0x0f;
  if (code !== 0) return DECLINED.has(code);
  // Neither a record nor the word of one who has looked for some.
  return (reply[2]! & AUTHORITATIVE) === 0 && (reply[3]! & RECURSIVE) === 0 &&
    (reply[6]! | reply[7]! | reply[10]! | reply[11]!) === 0;
}
