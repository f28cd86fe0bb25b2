/**
 * What the running system shows of a failure after the fact.
 *
 * @module
 */
import type * as NodeFs from "node:fs";
import type NodeProcess from "node:process";
import type { Os } from "../../ffi/abi.ts";
import { libc } from "../../ffi/libc.ts";
import { bytesOf, inet, inet6 } from "../address/address.ts";
import { builtin } from "../../ffi/builtin.ts";
import { type ErrnoCode, type ErrnoFacts, isOfCall } from "../errors/errors.ts";
import { icmpText } from "./circumstances.ts";

function fs(): typeof NodeFs {
  return builtin("node:fs");
}

function process(): typeof NodeProcess {
  return builtin("node:process");
}

/** Finds out about one failure; yields a line for each thing that it found. */
type Collector = (failure: ErrnoFacts) => Iterable<string>;

/** The most lines that an explanation has. */
const MOST_LINES = 8;

/** How many addresses that failed alike are looked into. */
const MOST_FAILURES = 3;

/** The most that is read of one file; some have a line for each socket of the system. */
const MOST_BYTES = 1 << 20;

/** What can be found anywhere. */
const ANYWHERE: Readonly<Partial<Record<ErrnoCode, Collector>>> = {
  EACCES: pathOf,
  ELOOP: pathOf,
  ENOENT: pathOf,
  ENOTDIR: pathOf,
};

/** What can be found on one system. */
const COLLECTORS: Readonly<
  Partial<Record<Os, Readonly<Partial<Record<ErrnoCode, Collector>>>>>
> = {
  linux: {
    EACCES: all(pathOf, routeTo, rules),
    EADDRNOTAVAIL: all(foreignSource, ports),
    EAGAIN: all(backlogLimit, ports),
    ECONNREFUSED: all(pathOf, unixListener, tcpListener),
    EHOSTUNREACH: all(routeTo, neighbour),
    EMFILE: descriptors,
    ENETUNREACH: routeTo,
    ENFILE: openFiles,
    EPERM: all(routeTo, rules),
    EINVAL: routeTo,
    ETIMEDOUT: all(routeTo, neighbour, tcpListener, synRetries),
  },
};

/**
 * What there is to be found of a failure, one line each.
 *
 * Never throws, asks for no permission, and reads no more than a little: what
 * cannot be read is not evidence.
 */
export function evidenceFor(failure: ErrnoFacts): string[] {
  const failures = failure.errors?.filter(({ code }) => code === failure.code)
    .slice(0, MOST_FAILURES) ?? [];
  if (failures.length === 0) failures.push(failure);
  const lines = new Set<string>();
  try {
    for (const one of failures) {
      if (one.icmp !== undefined) {
        lines.add(`${one.icmp.from} sent ${icmpText(one.icmp)}`);
      }
      // Of what happened elsewhere nothing can be found here, and only a call
      // that failed has opened the library, for which a permission is needed.
      if (!isOfCall(one) || !libc().permissions.files()) continue;
      for (const line of traces(one)) {
        if (lines.size < MOST_LINES) lines.add(line);
      }
    }
  } catch {
    // What was found until then is as true as before.
  }
  return [...lines];
}

function traces(failure: ErrnoFacts): Iterable<string> {
  const code = failure.code as ErrnoCode;
  const collector = COLLECTORS[libc().abi.os]?.[code] ?? ANYWHERE[code];
  return collector?.(failure) ?? [];
}

function all(...collectors: Collector[]): Collector {
  return function* (failure) {
    for (const collect of collectors) yield* collect(failure);
  };
}

// Paths ------------------------------------------------------------------------

/** Follows a path part by part to the one that is in the way. */
function* pathOf(failure: ErrnoFacts): Iterable<string> {
  const path = unixPath(failure);
  if (path === null) return;
  if (!path.startsWith("/")) {
    yield `The path is relative, and counts from ${process().cwd()}`;
  }
  const parts = path.split("/");
  let parent = path.startsWith("/") ? "/" : ".";
  for (let end = 1; end <= parts.length; end++) {
    const part = parts.slice(0, end).join("/");
    if (parts[end - 1] === "") continue;
    const isLast = parts.slice(end).every((rest) => rest === "");
    const stats = look(part, fs().statSync);
    if (typeof stats === "string") {
      yield* obstacle(part, parent, stats);
      return;
    }
    if (!isLast && !stats.isDirectory()) {
      yield `${part} is ${fileKindOf(stats)}, not a directory`;
      return;
    }
    if (isLast) {
      if (!stats.isSocket()) {
        yield `${part} is ${fileKindOf(stats)}, not a socket`;
      } else if (failure.code === "EACCES") {
        yield `${part} ${ownership(stats)}; connecting takes w`;
      }
    }
    parent = part;
  }
}

function* obstacle(
  part: string,
  parent: string,
  code: string,
): Iterable<string> {
  if (code === "EACCES") {
    const stats = look(parent, fs().statSync);
    yield typeof stats === "string"
      ? `${parent} may not be searched by this user`
      : `${parent} ${ownership(stats)}; searching it takes x`;
    return;
  }
  if (code !== "ENOENT" && code !== "ELOOP") return;
  const link = look(part, fs().lstatSync);
  if (typeof link === "string" || !link.isSymbolicLink()) {
    if (code === "ENOENT") yield `${part} does not exist, ${parent} does`;
    return;
  }
  const target = fs().readlinkSync(part);
  yield code === "ENOENT"
    ? `${part} is a symbolic link to ${target}, where nothing is`
    : `${part} is a symbolic link to ${target}, and to follow it leads through too many`;
}

/** The state of a file, or the code of the failure to see it. */
function look(
  path: string,
  stat: (path: string) => NodeFs.Stats,
): NodeFs.Stats | string {
  try {
    return stat(path);
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

function fileKindOf(stats: NodeFs.Stats): string {
  if (stats.isFile()) return "a file";
  if (stats.isDirectory()) return "a directory";
  if (stats.isFIFO()) return "a pipe";
  return stats.isSocket() ? "a socket" : "a device";
}

function ownership({ mode, uid, gid }: NodeFs.Stats): string {
  const digits = (mode & 0o7777).toString(8).padStart(4, "0");
  return `has the mode ${digits} and belongs to ${uid}:${gid}, this process ` +
    `is ${process().geteuid?.()}:${process().getegid?.()}`;
}

/** Whether a socket is bound to the path, and whether it listens. */
function* unixListener(failure: ErrnoFacts): Iterable<string> {
  const path = unixPath(failure);
  if (path === null) return;
  const file = "/proc/net/unix";
  const sockets = readProc(file);
  if (sockets === null) return;
  // Number, count, protocol, flags, type, state, inode, path.
  const row = /^\S+: \S+ \S+ (\S+) \S+ \S+ +\d+ (.+)$/;
  const rows = sockets.text.split("\n").map((line) => row.exec(line))
    .filter((found) => found?.[2] === path);
  const listens = rows.some((found) =>
    (parseInt(found![1]!, 16) & SO_ACCEPTCON) !== 0
  );
  if (listens) yield `A socket listens on ${path} now (${file})`;
  else if (rows.length > 0) {
    yield `A socket is bound to ${path} and does not listen (${file})`;
  } else if (sockets.whole) {
    yield `No open socket was bound to ${path} by this name (${file})`;
  }
}

const SO_ACCEPTCON = 0x10000;

/** The path in an address of the form `unix:PATH`, `null` for all others. */
function unixPath({ address }: ErrnoFacts): string | null {
  if (address?.startsWith("unix:") !== true) return null;
  const path = address.slice("unix:".length);
  // An at sign may stand for an abstract name, a backslash for other bytes.
  return path === "" || path.startsWith("@") || path.includes("\\")
    ? null
    : path;
}

/** How long the queue of a listener may be. */
function* backlogLimit({ address }: ErrnoFacts): Iterable<string> {
  if (address?.startsWith("unix:") !== true) return;
  const file = "/proc/sys/net/core/somaxconn";
  const most = readProc(file)?.text.trim();
  if (most !== undefined) {
    yield `A listener's queue holds ${most} connections at the most (${file})`;
  }
}

// Ports and descriptors ----------------------------------------------------------

/** The ephemeral ports, and who may be using them up. */
function* ports(failure: ErrnoFacts): Iterable<string> {
  if (ipOf(failure) === null) return;
  const file = "/proc/sys/net/ipv4/ip_local_port_range";
  const range = /^(\d+)\s+(\d+)/.exec(readProc(file)?.text ?? "");
  if (range !== null) {
    const [first, last] = [Number(range[1]), Number(range[2])];
    yield `The system hands out ${last - first + 1} local ports, ${first} to ` +
      `${last} (${file})`;
  }
  const counts = "/proc/net/sockstat";
  const tcp = /^TCP: inuse (\d+) .*\btw (\d+)/m.exec(
    readProc(counts)?.text ?? "",
  );
  if (tcp !== null) {
    yield `${tcp[1]} TCP sockets are in use and ${tcp[2]} in TIME_WAIT ` +
      `(${counts})`;
  }
}

/** Whether the address on this side is one of this machine. */
function* foreignSource(failure: ErrnoFacts): Iterable<string> {
  const near = failure.syscall === "bind"
    ? failure.address
    : failure.localAddress;
  const ip = ipOf({ ...failure, address: near });
  if (ip === null || ip.bytes.every((byte) => byte === 0)) return;
  const route = findRoute(ip);
  if (route === null || route === undefined || route.kind !== "local") {
    yield `${ip.host} is no address of this machine (${routeTableOf(ip)})`;
  }
}

/** How many descriptors the process has, and may have. */
function* descriptors(): Iterable<string> {
  const limits = readProc("/proc/self/limits");
  if (limits === null) {
    yield "Not even /proc/self/limits could be opened, so there is no descriptor left still";
  } else {
    const row = /^Max open files +(\S+) +(\S+)/m.exec(limits.text);
    if (row !== null) {
      yield `The process may have ${row[1]} descriptors open, and may raise ` +
        `that to ${row[2]} (/proc/self/limits)`;
    }
  }
  // To list the folder would take a descriptor; its size is the count since
  // Linux 6.2, and 0 before.
  const folder = "/proc/self/fd";
  const count = fs().statSync(folder).size || fs().readdirSync(folder).length;
  yield `It has ${count} open (${folder})`;
}

/** How many files the system has open, and may have. */
function* openFiles(): Iterable<string> {
  const file = "/proc/sys/fs/file-nr";
  const [open, , most] = readProc(file)?.text.trim().split(/\s+/) ?? [];
  if (most !== undefined) {
    yield `The system has ${open} files open and may have ${most} (${file})`;
  }
}

// Rules ------------------------------------------------------------------------

/** What may forbid it besides the firewall, which only root can look at. */
function* rules(): Iterable<string> {
  if (/^Seccomp:\s*2$/m.test(readProc("/proc/self/status")?.text ?? "")) {
    yield "A seccomp filter is in force for this process (/proc/self/status)";
  }
  const label = readProc("/proc/self/attr/current")?.text.replace(
    /[\0\n]/g,
    "",
  );
  if (label !== undefined && label !== "" && label !== "unconfined") {
    yield `A security module confines this process as ${label} ` +
      "(/proc/self/attr/current)";
  }
  const group = /^0::(\/.+)$/m.exec(readProc("/proc/self/cgroup")?.text ?? "");
  if (group !== null) {
    yield `This process is in the cgroup ${group[1]}, which may have BPF ` +
      "programs (/proc/self/cgroup)";
  }
}

// Routes and neighbours ----------------------------------------------------------

/** An IP address, as text and as bytes. */
interface IpEnd {
  readonly host: string;
  readonly port: number;
  readonly bytes: Uint8Array;
}

interface Route {
  readonly prefix: Uint8Array;
  /** How many bits of the prefix count. */
  readonly length: number;
  /** `unicast`, `local`, `broadcast`, `prohibit`, ... */
  readonly kind: string;
  /** Where it leads, in words, where that is known. */
  readonly via: string;
}

function* routeTo(failure: ErrnoFacts): Iterable<string> {
  const ip = ipOf(failure);
  if (ip === null) return;
  const route = findRoute(ip);
  if (route === undefined) return;
  const source = routeTableOf(ip);
  switch (route?.kind) {
    case undefined:
      yield `No route leads to ${ip.host} (${source})`;
      break;
    case "local":
      yield `${ip.host} is an address of this machine (${source})`;
      break;
    case "broadcast":
      yield `${ip.host} is a broadcast address (${source})`;
      break;
    case "unicast":
      yield `The route to ${ip.host} goes ${route!.via} (${source})`;
      break;
    default:
      yield `The route to ${ip.host} is of the type ${route!.kind} (${source})`;
  }
}

/** The route to an address, `null` if there is none, `undefined` if that cannot be read. */
function findRoute(ip: IpEnd): Route | null | undefined {
  const table = readProc(routeTableOf(ip));
  if (table === null || !table.whole) return undefined;
  const routes = ip.bytes.length === 4
    ? routes4(table.text)
    : routes6(table.text);
  let best: Route | null = null;
  for (const route of routes) {
    if (!covers(route, ip.bytes)) continue;
    if (best === null || route.length > best.length) best = route;
  }
  return best?.kind === "unicast" && ip.bytes.length === 4
    ? { ...best, via: gatewayOf(best) }
    : best;
}

function routeTableOf({ bytes }: IpEnd): string {
  return bytes.length === 4 ? "/proc/net/fib_trie" : "/proc/net/ipv6_route";
}

/** A leaf of the tree is an address, with a line below it for each length. */
function* routes4(text: string): Iterable<Route> {
  let prefix = new Uint8Array(4);
  for (const line of text.split("\n")) {
    const leaf = /\|-- ([\d.]+)$/.exec(line);
    if (leaf !== null) prefix = Uint8Array.from(leaf[1]!.split("."), Number);
    const row = /^ +\/(\d+) \S+ ([A-Z]+)/.exec(line);
    if (row === null) continue;
    const kind = row[2]!.toLowerCase();
    yield { prefix, length: Number(row[1]), kind, via: "" };
  }
}

const RTF_GATEWAY = 0x2;
const RTF_REJECT = 0x200;
const RTF_LOCAL = 0x8000_0000;

/** Destination, length, source, length, gateway, metric, counts, flags, interface. */
function* routes6(text: string): Iterable<Route> {
  for (const line of text.split("\n")) {
    const row = line.split(/\s+/);
    // The kernel's own last resort is not a route of this machine's configuration.
    if (row.length < 10 || row[5] === "ffffffff") continue;
    const flags = parseInt(row[8]!, 16);
    yield {
      prefix: Uint8Array.from(
        row[0]!.match(/../g)!,
        (hex) => parseInt(hex, 16),
      ),
      length: parseInt(row[1]!, 16),
      kind: (flags & RTF_REJECT) !== 0
        ? "reject"
        : (flags & RTF_LOCAL) !== 0
        ? "local"
        : "unicast",
      via: `through ${row[9]}`,
    };
  }
}

/** Interface, destination, gateway, flags, counts, metric, mask, ... */
function gatewayOf({ prefix, length }: Route): string {
  for (const line of readProc("/proc/net/route")?.text.split("\n") ?? []) {
    const [name, destination, gateway, flags, , , , mask] = line.split(/\s+/);
    if (mask === undefined || !/^[0-9A-F]{8}$/.test(mask)) continue;
    const bits = native(mask).reduce((sum, byte) => sum + ones(byte), 0);
    if (bits !== length || `${native(destination!)}` !== `${prefix}`) continue;
    return (parseInt(flags!, 16) & RTF_GATEWAY) === 0
      ? `through ${name}`
      : `through ${name} by the gateway ${native(gateway!).join(".")}`;
  }
  return "by a table other than the main one";
}

/** The neighbour that should have replied to ARP, and did not. */
function* neighbour(failure: ErrnoFacts): Iterable<string> {
  const ip = ipOf(failure);
  if (ip === null) return;
  const file = "/proc/net/arp";
  const via = findRoute(ip)?.via ?? "";
  for (const line of readProc(file)?.text.split("\n") ?? []) {
    // Address, kind of hardware, flags, hardware address, mask, interface.
    const [host, , flags, , , name] = line.split(/\s+/);
    if (host !== ip.host && !via.endsWith(` ${host}`)) continue;
    if (flags === "0x0") {
      yield `${host} does not reply to ARP on ${name} (${file})`;
    }
  }
}

// TCP ---------------------------------------------------------------------------

/** TCP_LISTEN, in <net/tcp_states.h>. */
const LISTEN = "0A";

/** Who listens on the port, where the address is one of this machine. */
function* tcpListener(failure: ErrnoFacts): Iterable<string> {
  const ip = ipOf(failure);
  if (ip === null || failure.syscall !== "connect") return;
  if (findRoute(ip)?.kind !== "local") return;
  const others: string[] = [];
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const sockets = readProc(file);
    if (sockets === null) return;
    for (const line of sockets.text.split("\n")) {
      const [, , local, , state, queues] = line.split(/\s+/);
      const [host, port] = local?.split(":") ?? [];
      if (state !== LISTEN || parseInt(port!, 16) !== ip.port) continue;
      const bytes = native(host!);
      if (bytes.every((byte) => byte === 0) || `${bytes}` === `${ip.bytes}`) {
        const waiting = parseInt(queues!.split(":")[1]!, 16);
        yield `A socket listens on port ${ip.port} here now, and ${waiting} ` +
          `connections wait for it to accept them (${file})`;
        return;
      }
      others.push(bytes.length === 4 ? bytes.join(".") : "an IPv6 address");
    }
    if (!sockets.whole) return;
  }
  yield others.length === 0
    ? `Nothing listens on TCP port ${ip.port} of this machine (/proc/net/tcp)`
    : `On port ${ip.port} a socket listens, but on ${others.join(", ")} ` +
      "(/proc/net/tcp)";
}

/** How often the kernel asks before it gives up. */
function* synRetries(failure: ErrnoFacts): Iterable<string> {
  if (failure.timeoutKind !== "kernel" || ipOf(failure) === null) return;
  const file = "/proc/sys/net/ipv4/tcp_syn_retries";
  const retries = readProc(file)?.text.trim();
  if (retries !== undefined) {
    yield `The kernel repeats an unanswered SYN ${retries} times (${file})`;
  }
}

// Reading -----------------------------------------------------------------------

/** The address of a failure if it is one of IP. */
function ipOf({ address = "" }: Pick<ErrnoFacts, "address">): IpEnd | null {
  const { sockaddrIn, sockaddrIn6 } = libc().abi;
  const v4 = /^([\d.]+):(\d+)$/.exec(address);
  if (v4 !== null) {
    const [, host, port] = v4;
    const bytes = bytesOf(inet(host!, 0)).subarray(sockaddrIn.addr);
    return { host: host!, port: Number(port), bytes: bytes.subarray(0, 4) };
  }
  const v6 = /^\[([\da-f:.]+)(?:%\d+)?\]:(\d+)$/.exec(address);
  if (v6 === null) return null;
  const [, host, port] = v6;
  const bytes = bytesOf(inet6(host!, 0)).subarray(sockaddrIn6.addr);
  return { host: host!, port: Number(port), bytes: bytes.subarray(0, 16) };
}

/** Whether the leading bits of an address are those of a route. */
function covers({ prefix, length }: Route, bytes: Uint8Array): boolean {
  return bytes.every((byte, i) => {
    const bits = Math.min(8, Math.max(0, length - 8 * i));
    return (byte ^ prefix[i]!) >> (8 - bits) === 0;
  });
}

/** The bytes of 32-bit words that the kernel wrote as numbers, in hexadecimal. */
function native(hex: string): Uint8Array {
  const words = hex.match(/.{8}/g) ?? [];
  const view = new DataView(new ArrayBuffer(4 * words.length));
  for (const [i, word] of words.entries()) {
    view.setUint32(4 * i, parseInt(word, 16), libc().abi.littleEndian);
  }
  return new Uint8Array(view.buffer);
}

function ones(byte: number): number {
  return byte.toString(2).replaceAll("0", "").length;
}

interface ProcText {
  readonly text: string;
  /** Whether that is all there is. */
  readonly whole: boolean;
}

/** Reads a file of the kernel's, which has no size; `null` if it may not be read. */
function readProc(path: string): ProcText | null {
  let fd: number;
  try {
    fd = fs().openSync(path, "r");
  } catch {
    return null;
  }
  try {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(1 << 16);
    let text = "";
    for (let size = 0; size < MOST_BYTES;) {
      const count = fs().readSync(fd, buffer, 0, buffer.length, null);
      if (count === 0) return { text, whole: true };
      size += count;
      text += decoder.decode(buffer.subarray(0, count), { stream: true });
    }
    return { text, whole: false };
  } catch {
    return null;
  } finally {
    fs().closeSync(fd);
  }
}
