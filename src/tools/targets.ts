/**
 * Many targets: how hosts and ports are written, and the order of a run.
 *
 * @module
 */
import { currentAbi } from "../../ffi/libc.ts";
import { bytesOf, inet6, parseIp } from "../address/address.ts";
import { checkHostname } from "../address/hostname.ts";
import {
  checkInteger,
  checkText,
  isObject,
  MAX_PORT,
  readOptions,
  show,
} from "../errors/arguments.ts";
const MAX_IPV4 = 0xffff_ffffn;
/** What comes before an IPv4 address that is mapped to an IPv6 one. */
const MAPPED = 0xffffn << 32n;
const MAX_IPV6 = (1n << 128n) - 1n;

/** A list of hosts that takes no more memory than its text does. */
export interface Hosts extends Iterable<string> {
  /** How many hosts there are, each counted once. */
  readonly size: number;
  /**
   * The host at one place.
   *
   * @param index The place, from 0 to `size - 1`.
   * @returns The address in text form, or the name.
   * @throws {RangeError} If there is no such place.
   */
  at(index: number): string;
  /**
   * Returns whether a host is in the list.
   *
   * @param host An address in text form, or a name. Names are compared as
   * text, without regard to case; none is resolved.
   * @returns Whether it is.
   */
  has(host: string): boolean;
}

/** Hosts, as text, as a list, or as several of either. */
export type HostsInput = string | Hosts | Iterable<string | Hosts>;

/** How far a run has got, so that another one can go on from there. */
export interface Position {
  /** The least index that was never taken from the targets. */
  readonly next: number;
  /** The lesser indexes that have no result yet, in ascending order. */
  readonly pending: readonly number[];
}

/** How {@linkcode grid} orders its targets, and which of them it leaves out. */
export interface GridOptions {
  /**
   * The key of the order: an integer from 0 to 2^53 - 1, or `null` for no
   * permutation, which is host after host and the ports of each as given.
   *
   * @default {0}
   */
  readonly seed?: number | null | undefined;
  /**
   * Where to begin: an index, or the position of a run that has ended early.
   *
   * @default {0}
   */
  readonly from?: number | Position | undefined;
  /**
   * Hosts to leave out. An address is left out with any zone, too, and one of
   * IPv4 as a mapped one (`::ffff:10.0.0.1`). Names are compared as text: none
   * is resolved, so that a name may lead to an address that is left out. A text
   * may stand for any number of hosts (`fe80::/10`).
   *
   * @default {undefined} None.
   */
  readonly exclude?: HostsInput | undefined;
  /**
   * The share of this run, counted from 1, and the number of shares.
   *
   * @default {[1, 1]}
   */
  readonly shard?: readonly [share: number, shares: number] | undefined;
}

/** One target of a grid. */
export interface GridTarget {
  /** Its place in the order, the same in every shard. */
  readonly index: number;
  /** An address in text form, or a name. */
  readonly hostname: string;
  /** The port. */
  readonly port: number;
}

/** Every port of every host, in an order that takes no memory. */
export interface Grid extends Iterable<GridTarget> {
  /** How many targets it yields. */
  readonly size: number;
  /** Where it begins. */
  readonly from: Position;
  /**
   * The target of one index.
   *
   * @param index The index, less than the number of hosts times that of ports.
   * @returns The target.
   * @throws {RangeError} If there is no such index.
   */
  at(index: number): GridTarget;
}

/**
 * Reads a list of hosts.
 *
 * Its parts are separated by commas. Each one is an address, a prefix
 * (`10.0.0.0/24`, `2001:db8::/120`: all of its addresses, the first and the
 * last one included), a range (`10.0.0.1-50`, `10.0.0.250-10.0.1.5`,
 * `2001:db8::1-ff`), or a name, which is resolved later. Addresses come in
 * ascending order, IPv4 before IPv6, then names in the order given; each host
 * comes once.
 *
 * @param text The list.
 * @returns The hosts.
 * @throws {TypeError} If it is no text.
 * @throws {SyntaxError} If it cannot be read, with the place and the reason.
 *
 * @example A prefix and a range
 * ```ts
 * import { parseHosts } from "@einprogress/connect/tools";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseHosts("10.0.0.0/24").size, 256);
 * assertEquals([...parseHosts("10.0.0.9-11,www.example")], [
 *   "10.0.0.9",
 *   "10.0.0.10",
 *   "10.0.0.11",
 *   "www.example",
 * ]);
 * ```
 */
export function parseHosts(text: string): Hosts {
  checkText("hosts", text);
  return hostsOf("hosts", text, Number.MAX_SAFE_INTEGER).indexed();
}

/**
 * Reads a list of hosts to leave out: of any size, for it is only asked whether
 * it has one.
 */
export function parseExcluded(text: string): Hosts {
  return hostsOf("exclude", text, Infinity);
}

/**
 * Reads a list of ports.
 *
 * Its parts are separated by commas. Each one is a port, a range (`8000-8100`;
 * without its lower end it begins at 1, without its upper one it ends at
 * 65535), `"all"` for 1 to 65535, or `"common"` for about a hundred ports on
 * which well-known services listen.
 *
 * @param text The list.
 * @returns The ports in the order given, each of them once.
 * @throws {TypeError} If it is no text.
 * @throws {SyntaxError} If it cannot be read, with the place and the reason.
 *
 * @example Ports and a range of them
 * ```ts
 * import { parsePorts } from "@einprogress/connect/tools";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parsePorts("443,80,8000-8002"), [443, 80, 8000, 8001, 8002]);
 * assertEquals(parsePorts("all").length, 65535);
 * ```
 */
export function parsePorts(text: string): number[] {
  checkText("ports", text);
  return [...readPorts(text)];
}

/**
 * Lists every port of every host, in an order that needs no memory.
 *
 * With a seed the order is a permutation with that key, the same on every
 * machine: each host comes once before any comes again, and the ports of each
 * host have an order of their own. The shards of a run have the same arguments
 * and need not communicate: no target is in two of them, and each is in one.
 * The indexes are those of the whole run.
 *
 * @param hosts The hosts, as {@linkcode parseHosts} reads them.
 * @param ports The ports, as {@linkcode parsePorts} reads them, or their
 * numbers.
 * @param options The order, and what to leave out.
 * @returns The targets, for {@linkcode probe}.
 * @throws {TypeError} If an argument is of the wrong kind.
 * @throws {RangeError} If a number is out of range, or there are more than
 * 2^53 - 1 targets.
 * @throws {SyntaxError} If a text cannot be read, with the place and the
 * reason.
 *
 * @example A third of a run
 * ```ts
 * import { grid } from "@einprogress/connect/tools";
 * import { assertEquals } from "@std/assert";
 *
 * const all = grid("10.0.0.0/28", "22,80,443");
 * assertEquals(all.size, 48);
 * const third = grid("10.0.0.0/28", "22,80,443", { shard: [2, 3] });
 * assertEquals([...third], [...all].filter(({ index }) => index % 3 === 1));
 * ```
 */
export function grid(
  hosts: HostsInput,
  ports: string | Iterable<number>,
  options: GridOptions = {},
): Grid {
  const { seed, from, exclude, shard } = readOptions("options", options, [
    "seed",
    "from",
    "exclude",
    "shard",
  ]);
  const all = hostsOf("hosts", hosts, Number.MAX_SAFE_INTEGER);
  const left = exclude === undefined
    ? all
    : all.without(hostsOf("exclude", exclude, Infinity));
  return new OrderedGrid(
    left.indexed(),
    portsOf(ports),
    seed === null
      ? null
      : checkInteger("seed", seed ?? 0, Number.MAX_SAFE_INTEGER),
    from,
    checkShard(shard),
  );
}

/** The grid that an iterable is, `null` for another one. */
export function asGrid(targets: unknown): Grid | null {
  return targets instanceof OrderedGrid && isGrid(targets) ? targets : null;
}

/** Whether an object was made by the constructor, and does not only have its prototype. */
let isGrid: (grid: OrderedGrid) => boolean;
let peekAt: (grid: OrderedGrid, index: number) => GridTarget;
let walk: (grid: OrderedGrid) => Iterator<GridTarget>;

/** The target of one index, also where a caller has replaced the grid's methods. */
export function targetAt(grid: Grid, index: number): GridTarget {
  return peekAt(grid as OrderedGrid, index);
}

/** The targets in their order, also where a caller has replaced its methods. */
export function walkGrid(grid: Grid): Iterator<GridTarget> {
  return walk(grid as OrderedGrid);
}

class OrderedGrid implements Grid {
  readonly size: number;
  readonly from: Position;
  readonly #hosts: HostList;
  readonly #ports: Uint16Array;
  readonly #total: number;
  readonly #seed: number | null;
  readonly #shares: number;
  readonly #hostSquare: Square;
  readonly #portSquare: Square;
  readonly #from: Position;

  static {
    isGrid = (grid) => #total in grid;
    peekAt = (grid, index) => grid.#peek(index);
    walk = (grid) => grid.#walk();
  }

  constructor(
    hosts: HostList,
    ports: Uint16Array,
    seed: number | null,
    from: unknown,
    [share, shares]: readonly [number, number],
  ) {
    const total = hosts.size * ports.length;
    if (total > Number.MAX_SAFE_INTEGER) {
      throw new RangeError(
        `Cannot use ${hosts.size} hosts with ${ports.length} ports each: ` +
          "there may be 2^53 - 1 targets at most",
      );
    }
    this.#hosts = hosts;
    this.#ports = ports;
    this.#total = total;
    this.#seed = seed;
    this.#shares = shares;
    this.#hostSquare = squareFor(hosts.size);
    this.#portSquare = squareFor(ports.length);
    const { next, pending } = checkPosition(from, total);
    const first = firstIndex(share, shares, next);
    this.#from = { next: first, pending };
    this.from = { next: first, pending };
    const rest = first < total
      ? Math.floor((total - 1 - first) / shares) + 1
      : 0;
    this.size = pending.length + rest;
  }

  at(index: number): GridTarget {
    checkPlace(index, this.#total);
    return this.#peek(index);
  }

  #peek(index: number): GridTarget {
    const { size } = this.#hosts;
    const width = this.#ports.length;
    let host: number;
    let port: number;
    if (this.#seed === null) {
      port = index % width;
      host = (index - port) / width;
    } else {
      // Each round has every host once, with another of its ports.
      const turn = index % size;
      const round = (index - turn) / size;
      host = permute(turn, size, this.#hostSquare, this.#seed, 0);
      port = permute(round, width, this.#portSquare, this.#seed, host + 1);
    }
    return { index, hostname: this.#hosts.at(host), port: this.#ports[port]! };
  }

  [Symbol.iterator](): Generator<GridTarget, void, void> {
    return this.#walk();
  }

  *#walk(): Generator<GridTarget, void, void> {
    const { next, pending } = this.#from;
    for (const index of pending) yield this.#peek(index);
    for (let i = next; i < this.#total; i += this.#shares) {
      yield this.#peek(i);
    }
  }
}

/** The least index of a share that is not below another one. */
function firstIndex(share: number, shares: number, least: number): number {
  const behind = ((share - 1 - least) % shares + shares) % shares;
  return least + behind;
}

/** The two sides of the least square, or nearly so, that has as many fields. */
interface Square {
  readonly width: number;
  readonly height: number;
}

/** How many times each half of a number is changed by the other one. */
const ROUNDS = 4;

/** A square that {@linkcode permute} works on. */
export function squareFor(size: number): Square {
  const width = Math.max(1, Math.ceil(Math.sqrt(size)));
  return { width, height: Math.max(1, Math.ceil(size / width)) };
}

/**
 * Where a keyed permutation of the numbers below `size` takes one of them.
 *
 * A Feistel network whose halves are the column and the row of a square. A
 * number on one of the few fields that are too many is permuted again, until it
 * is on another one.
 */
export function permute(
  index: number,
  size: number,
  { width, height }: Square,
  seed: number,
  stream: number,
): number {
  // One host is the usual case.
  if (size === 1) return 0;
  const key = mix(
    mix(seed | 0, (seed / 0x1_0000_0000) | 0),
    mix(stream | 0, (stream / 0x1_0000_0000) | 0),
  );
  do {
    let column = index % width;
    let row = (index - column) / width;
    for (let round = 0; round < ROUNDS; round++) {
      column = (column + mix(row, key + 2 * round)) % width;
      row = (row + mix(column, key + 2 * round + 1)) % height;
    }
    index = row * width + column;
  } while (index >= size);
  return index;
}

/** Stirs two words of 32 bits into one, unsigned. */
function mix(value: number, key: number): number {
  let h = Math.imul(value, 0x9e37_79b1) ^ Math.imul(key | 0, 0x85eb_ca77);
  h = Math.imul(h ^ h >>> 16, 0x21f0_aaad);
  h = Math.imul(h ^ h >>> 15, 0x735a_2d97);
  return (h ^ h >>> 15) >>> 0;
}

/** Neighbouring addresses of one family, or one name. */
interface Span {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
}

/** Takes hosts one after the other. */
class HostCollector {
  /** How many one part of a text may stand for. */
  readonly most: number;
  readonly #spans: Span[] = [];
  /** By the name in small letters, as it was first written. */
  readonly #names = new Map<string, string>();

  constructor(most: number) {
    this.most = most;
  }

  addSpan(span: Span): void {
    this.#spans.push(span);
  }

  addName(name: string): void {
    const key = name.toLowerCase();
    if (!this.#names.has(key)) this.#names.set(key, name);
  }

  finish(): HostList {
    return new HostList(merged(this.#spans), this.#names);
  }
}

/** Spans that neither touch nor overlap, in ascending order, then names. */
class HostList implements Hosts {
  readonly size: number;
  readonly #spans: readonly Span[];
  /** How many hosts come before each span, and after the last one. */
  readonly #starts: Float64Array;
  readonly #names: readonly string[];
  readonly #keys: ReadonlyMap<string, string>;
  /** The last address that was written, and its text: a run often needs it again. */
  #written = -1;
  #text = "";
  #all: readonly Span[] | null = null;

  constructor(spans: readonly Span[], names: ReadonlyMap<string, string>) {
    this.#spans = spans;
    this.#keys = names;
    this.#names = [...names.values()];
    this.#starts = new Float64Array(spans.length + 1);
    let before = 0;
    spans.forEach(({ first, last }, i) => {
      before += Number(last - first + 1n);
      this.#starts[i + 1] = before;
    });
    this.size = before + this.#names.length;
  }

  /**
   * The same, of which each host has an index.
   *
   * @throws {RangeError} If there are too many for that.
   */
  indexed(): HostList {
    if (this.size <= Number.MAX_SAFE_INTEGER) return this;
    throw new RangeError(
      `Cannot use about ${this.size} hosts: there may be 2^53 - 1 at most`,
    );
  }

  at(index: number): string {
    checkPlace(index, this.size);
    const starts = this.#starts;
    let low = 0;
    let high = this.#spans.length;
    if (index >= starts[high]!) return this.#names[index - starts[high]!]!;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle]! <= index) low = middle;
      else high = middle;
    }
    if (index === this.#written) return this.#text;
    const { family, first } = this.#spans[low]!;
    this.#written = index;
    return this.#text = ipText(family, first + BigInt(index - starts[low]!));
  }

  has(host: string): boolean {
    checkText("host", host);
    const address = host.includes("%") ? null : numberOf(host);
    if (address === null) return this.#keys.has(host.toLowerCase());
    return isWithin(this.#spans, address);
  }

  *[Symbol.iterator](): Generator<string, void, void> {
    for (let i = 0; i < this.size; i++) yield this.at(i);
  }

  /** Adds all of its hosts to others. */
  addTo(list: HostCollector): void {
    for (const span of this.#spans) list.addSpan(span);
    for (const name of this.#names) list.addName(name);
  }

  /** Its addresses, and those that lead to the same hosts. */
  get #reached(): readonly Span[] {
    return this.#all ??= merged([
      ...this.#spans,
      ...this.#spans.filter(({ family }) => family === 4)
        .map(({ first, last }): Span => ({
          family: 6,
          first: MAPPED | first,
          last: MAPPED | last,
        })),
    ]);
  }

  /** Those that are not in another list, and do not lead to a host in it. */
  without(other: HostList): HostList {
    const names = new Map(this.#keys);
    for (const key of other.#keys.keys()) names.delete(key);
    const holes = other.#reached;
    for (const key of names.keys()) {
      const zone = key.indexOf("%");
      const address = zone < 0 ? null : tryNumber(key.slice(0, zone));
      if (address !== null && isWithin(holes, address)) names.delete(key);
    }
    const spans: Span[] = [];
    let i = 0;
    for (const { family, first, last } of this.#spans) {
      let start = first;
      while (i < holes.length && isBefore(holes[i]!, family, first)) i++;
      for (let j = i; j < holes.length; j++) {
        const hole = holes[j]!;
        if (hole.family !== family || hole.first > last) break;
        if (hole.first > start) {
          spans.push({ family, first: start, last: hole.first - 1n });
        }
        start = hole.last + 1n;
      }
      if (start <= last) spans.push({ family, first: start, last });
    }
    return new HostList(spans, names);
  }
}

/** Whether one of some spans holds an address. */
function isWithin(
  spans: readonly Span[],
  { family, value }: IpNumber,
): boolean {
  return spans.some((span) =>
    span.family === family && span.first <= value && value <= span.last
  );
}

/** Whether a span ends before an address of a family. */
function isBefore(span: Span, family: 4 | 6, address: bigint): boolean {
  return span.family < family || span.family === family && span.last < address;
}

/** The same addresses in ascending order, each of them once. */
function merged(spans: readonly Span[]): Span[] {
  const sorted = spans.toSorted((a, b) =>
    a.family - b.family || (a.first < b.first ? -1 : a.first > b.first ? 1 : 0)
  );
  const all: Span[] = [];
  for (const span of sorted) {
    const before = all.at(-1);
    if (
      before === undefined || before.family !== span.family ||
      span.first > before.last + 1n
    ) {
      all.push(span);
    } else if (span.last > before.last) {
      all[all.length - 1] = { ...before, last: span.last };
    }
  }
  return all;
}

/** A part of a list, and where it stands in it. */
interface Part {
  readonly what: string;
  readonly whole: string;
  readonly text: string;
  /** How many characters come before it. */
  readonly at: number;
}

function* partsOf(what: string, whole: string): Generator<Part, void, void> {
  for (let at = 0; at <= whole.length;) {
    const comma = whole.indexOf(",", at);
    const end = comma < 0 ? whole.length : comma;
    const text = whole.slice(at, end).trim();
    const from = at + whole.slice(at, end).indexOf(text);
    const part = { what, whole, text, at: from };
    if (text === "") throw cannotRead(part, 0, "there is nothing");
    yield part;
    at = end + 1;
  }
}

/** What is wrong with a part, so many characters behind its beginning. */
function cannotRead(
  { what, whole, text, at }: Part,
  offset: number,
  reason: string,
): SyntaxError {
  const rest = text.slice(offset);
  return new SyntaxError(
    `Cannot parse ${what} ${show(whole)}: at character ${at + offset + 1}, ` +
      `${show(rest)}: ${reason}`,
  );
}

function readHosts(text: string, list: HostCollector): void {
  for (const part of partsOf("hosts", text)) {
    const [, reason] = NO_HOSTS.find(([shape]) => shape.test(part.text)) ?? [];
    if (reason !== undefined) throw cannotRead(part, 0, reason);
    const span = readSpan(part);
    if (span !== null && Number(span.last - span.first) >= list.most) {
      throw cannotRead(part, 0, "there may be 2^53 - 1 hosts at most");
    }
    if (span !== null) list.addSpan(span);
    else list.addName(readName(part));
  }
}

/** What is written where a host should be, and why it is none. */
const NO_HOSTS: readonly (readonly [shape: RegExp, reason: string])[] = [
  [/^[a-z][a-z0-9+.-]*:\/\//i, "a host is a name or an address, no URL"],
  // What may begin an IPv6 address is taken for one.
  [
    /^(?:[^:]*[^:0-9a-f][^:]*|\[.*\]):[0-9]+$/i,
    "a host has no port, a list of ports has it",
  ],
  [
    /^(?=.*\*|.*-.*\.)(?:(?:\d+(?:-\d+)?|\*)\.){3}(?:\d+(?:-\d+)?|\*)$/,
    "a range is written as 10.0.0.1-50, 10.0.0.250-10.0.1.5 or 10.0.0.0/24",
  ],
  [/^\[.*\]$/, "an address has no brackets where no port follows"],
];

/** The addresses that a part stands for, `null` for a name. */
function readSpan(part: Part): Span | null {
  const { text } = part;
  const slash = text.indexOf("/");
  if (slash >= 0) return readPrefix(part, slash);
  const dash = text.indexOf("-");
  // A name may have a dash, and the part before it may look like a number.
  const isRange = dash > 0 && tryNumber(text.slice(0, dash)) !== null;
  if (isRange) return readRange(part, dash);
  if (text.includes("%")) return null;
  const address = readNumber(part, 0, text);
  if (address === null) return null;
  const { family, value } = address;
  return { family, first: value, last: value };
}

function readPrefix(part: Part, slash: number): Span {
  const { text } = part;
  const address = readNumber(part, 0, text.slice(0, slash));
  if (address === null) {
    throw cannotRead(part, 0, "a prefix begins with an address");
  }
  const { family, value } = address;
  const bits = family === 4 ? 32 : 128;
  const digits = text.slice(slash + 1);
  const length = Number(digits);
  if (!/^[0-9]{1,3}$/.test(digits) || length > bits) {
    const reason = `a prefix of IPv${family} has 0 to ${bits} bits`;
    throw cannotRead(part, slash + 1, reason);
  }
  const rest = (1n << BigInt(bits - length)) - 1n;
  const first = value & ~rest;
  return { family, first, last: first | rest };
}

function readRange(part: Part, dash: number): Span {
  const { text } = part;
  const { family, value: first } = readNumber(part, 0, text.slice(0, dash))!;
  const end = text.slice(dash + 1);
  const last = readEnd(part, dash + 1, end, family, first);
  if (last < first) {
    throw cannotRead(part, dash + 1, "the lower address comes first");
  }
  return { family, first, last };
}

/** The end of a range: an address, or the last number of one. */
function readEnd(
  part: Part,
  offset: number,
  end: string,
  family: 4 | 6,
  first: bigint,
): bigint {
  if (family === 4 && /^[0-9]{1,3}$/.test(end)) {
    if (Number(end) <= 255) return first & ~0xffn | BigInt(end);
    throw cannotRead(part, offset, "the last number of an address is 0 to 255");
  }
  if (family === 6 && /^[0-9a-fA-F]{1,4}$/.test(end)) {
    return first & ~0xffffn | BigInt(`0x${end}`);
  }
  const address = tryNumber(end);
  if (address?.family === family) return address.value;
  const reason =
    `a range ends with an IPv${family} address, or its last number`;
  throw cannotRead(part, offset, reason);
}

function readName(part: Part): string {
  const { text } = part;
  // A zone is for connect(2) to check.
  if (text.includes("%") && text.includes(":")) return text;
  const wrong = /[\s\p{Cc}/:@[\]%]/u.exec(text);
  if (wrong !== null) {
    throw cannotRead(part, wrong.index, "a name cannot hold that");
  }
  understand(part, 0, () => checkHostname(text));
  return text;
}

/** The address that a text stands for, `null` for a name. */
function readNumber(part: Part, offset: number, text: string): IpNumber | null {
  return understand(part, offset, () => numberOf(text));
}

/** Reads a text, whose faults are reported with their place. */
function understand<T>(part: Part, offset: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const { message } = error;
    throw cannotRead(part, offset, message.slice(message.indexOf(": ") + 2));
  }
}

/** The same, with `null` for whatever is no address. */
function tryNumber(text: string): IpNumber | null {
  try {
    return text.includes("%") ? null : numberOf(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** An address as a number. */
interface IpNumber {
  readonly family: 4 | 6;
  readonly value: bigint;
}

function numberOf(text: string): IpNumber | null {
  const address = parseIp(text, 0);
  if (address === null) return null;
  const { sockaddrIn, sockaddrIn6 } = currentAbi();
  const [family, at, size] = address.family === "inet"
    ? [4 as const, sockaddrIn.addr, 4]
    : [6 as const, sockaddrIn6.addr, 16];
  let value = 0n;
  for (const byte of bytesOf(address).subarray(at, at + size)) {
    value = value << 8n | BigInt(byte);
  }
  return { family, value };
}

function ipText(family: 4 | 6, value: bigint): string {
  if (family === 4) {
    const n = Number(value & MAX_IPV4);
    return `${n >>> 24}.${n >>> 16 & 255}.${n >>> 8 & 255}.${n & 255}`;
  }
  const hex = (value & MAX_IPV6).toString(16).padStart(32, "0");
  return inet6(hex.replace(/(?<=^(?:.{4})+)(?=.)/g, ":"), 0).hostname;
}

/** @param most How many one part of a text may stand for. */
function hostsOf(what: string, hosts: unknown, most: number): HostList {
  if (hosts instanceof HostList) return hosts;
  const list = new HostCollector(most);
  if (typeof hosts === "string") {
    readHosts(hosts, list);
    return list.finish();
  }
  if (!isIterable(hosts)) throw notGrid(what, hosts);
  for (const part of hosts) {
    if (part instanceof HostList) part.addTo(list);
    else if (typeof part === "string") readHosts(part, list);
    else throw notGrid(what, part);
  }
  return list.finish();
}

function portsOf(ports: unknown): Uint16Array {
  if (typeof ports === "string") return readPorts(ports);
  if (!isIterable(ports)) throw notGrid("ports", ports);
  const list = new PortCollector();
  for (const port of ports) list.add(checkInteger("port", port, MAX_PORT));
  return list.finish();
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return isObject(value) && Symbol.iterator in value;
}

function notGrid(name: string, value: unknown): TypeError {
  const kinds: Readonly<Record<string, string>> = {
    ports: "a text or a list of numbers",
  };
  return new TypeError(
    `Cannot use ${name} ${show(value)}: it is not ` +
      (kinds[name] ?? "a text, a list of hosts, or several of them"),
  );
}

function checkShard(shard: unknown): readonly [number, number] {
  if (shard === undefined) return [1, 1];
  if (!Array.isArray(shard) || shard.length !== 2) {
    throw new TypeError(
      `Cannot use shard ${show(shard)}: it is not a pair of numbers`,
    );
  }
  const shares = checkInteger("shard[1]", shard[1], 0xffff_ffff);
  const share = checkInteger("shard[0]", shard[0], shares);
  if (share > 0) return [share, shares];
  throw new RangeError(`Cannot use shard ${show(shard)}: shards count from 1`);
}

function checkPosition(from: unknown, total: number): Position {
  if (!isObject(from)) {
    const next = from === undefined
      ? 0
      : checkInteger("from", from, Number.MAX_SAFE_INTEGER);
    return { next, pending: [] };
  }
  const { next, pending } = from as Partial<Position>;
  const checked = checkInteger("from.next", next, Number.MAX_SAFE_INTEGER);
  if (!Array.isArray(pending)) {
    throw new TypeError(
      `Cannot use from.pending ${show(pending)}: it is not a list of indexes`,
    );
  }
  const most = Math.min(checked, total) - 1;
  return {
    next: checked,
    pending: pending.map((index) => checkInteger("from.pending", index, most)),
  };
}

function checkPlace(index: number, size: number): void {
  checkInteger("index", index, size - 1);
}

function parsePortRange(part: Part): [low: number, high: number] {
  const { text } = part;
  const dash = text.indexOf("-");
  if (dash < 0) {
    const port = readPort(part, 0, text);
    return [port, port];
  }
  const low = dash === 0 ? 1 : readPort(part, 0, text.slice(0, dash));
  const end = text.slice(dash + 1);
  const high = end === "" ? MAX_PORT : readPort(part, dash + 1, end);
  if (low <= high) return [low, high];
  throw cannotRead(part, dash + 1, "the lower port comes first");
}

function readPort(part: Part, offset: number, text: string): number {
  const port = Number(text);
  if (/^[0-9]+$/.test(text) && port <= MAX_PORT) return port;
  throw cannotRead(
    part,
    offset,
    'a port is a number from 0 to 65535, "all" or "common"',
  );
}

function readPorts(text: string): Uint16Array {
  const list = new PortCollector();
  for (const part of partsOf("ports", text)) {
    if (part.text === "all") list.addRange(1, MAX_PORT);
    else if (part.text === "common") COMMON.forEach((port) => list.add(port));
    else list.addRange(...parsePortRange(part));
  }
  return list.finish();
}

/** For how many ports there is room to begin with. */
const FIRST_PORTS = 128;

/**
 * Takes ports one after the other, each of them once. As a set, those of a whole
 * host would take 4 MB.
 */
class PortCollector {
  /** A bit for each port, whether it is there. */
  readonly #known = new Uint8Array((MAX_PORT + 1) / 8);
  #ports = new Uint16Array(FIRST_PORTS);
  #count = 0;

  add(port: number): void {
    const bit = 1 << (port & 7);
    if ((this.#known[port >> 3]! & bit) !== 0) return;
    this.#known[port >> 3]! |= bit;
    if (this.#count === this.#ports.length) {
      const longer = new Uint16Array(2 * this.#count);
      longer.set(this.#ports);
      this.#ports = longer;
    }
    this.#ports[this.#count++] = port;
  }

  addRange(low: number, high: number): void {
    for (let port = low; port <= high; port++) this.add(port);
  }

  /** The ports in the order in which they came. */
  finish(): Uint16Array {
    return this.#ports.slice(0, this.#count);
  }
}

/** Where services listen that many machines have, by IANA's registry or by habit. */
// deno-fmt-ignore
const COMMON: readonly number[] = [
  20, 21, 22, 23, 25, 53, 70, 79, 80, 81, 88, 110, 111, 113, 119, 123, 135,
  139, 143, 161, 179, 194, 389, 427, 443, 444, 445, 464, 465, 500, 512, 513,
  514, 515, 543, 548, 554, 587, 631, 636, 646, 853, 873, 902, 989, 990, 992,
  993, 995, 1080, 1194, 1433, 1521, 1701, 1720, 1723, 1812, 1883, 1900, 2049,
  2082, 2083, 2181, 2222, 2375, 2376, 2379, 2380, 3000, 3128, 3260, 3268, 3306,
  3389, 3478, 4222, 4443, 4444, 4505, 4506, 5000, 5001, 5060, 5061, 5222, 5269,
  5357, 5432, 5555, 5601, 5671, 5672, 5900, 5901, 5984, 5985, 5986, 6000, 6379,
  6443, 6660, 6667, 6697, 7000, 7001, 7070, 7474, 8000, 8001, 8008, 8009, 8080,
  8081, 8086, 8088, 8090, 8123, 8200, 8333, 8443, 8500, 8530, 8883, 8888, 9000,
  9042, 9090, 9092, 9100, 9200, 9300, 9418, 9999, 10000, 10250, 11211, 15672,
  25565, 27017, 32400, 50000, 51820,
];
