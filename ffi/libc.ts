/**
 * Opens the C library of the system this runs on.
 *
 * {@linkcode SIGNATURES} states every C call once, a door (`ffi/doors/`) turns
 * it into functions of the runtime it runs on, and {@linkcode bindLibc} puts
 * the return convention on top: `>= 0` or `-errno`.
 *
 * @module
 */
import type { Abi } from "./abi.ts";
import { bindLibc } from "./bind.ts";
import {
  type CFunctions,
  type CType,
  type Declaration,
  type Door,
  type Libc,
  type Signature,
  SIGNATURES,
} from "./contract.ts";
import { bunDoor } from "./doors/bun.ts";
import { denoDoor } from "./doors/deno.ts";
import { nodeDoor } from "./doors/node.ts";
import { Poller } from "./doors/poller.ts";
import { bare, lazily } from "./records.ts";
import { abiFor, hostPlatform } from "./systems.ts";

/** How many integer arguments the 64-bit ARM calling convention keeps in registers. */
const REGISTERS = 8;

/** The whole table of {@linkcode SIGNATURES} as one system declares it. */
export function declarationsFor(abi: Abi): readonly Declaration[] {
  return entriesOf(abi).map((entry) => declarationFor(abi, entry));
}

type Entry = keyof typeof SIGNATURES;

/**
 * What a connect takes. They are opened together, which takes Deno a third less
 * than one after the other.
 */
const OPENED_AT_ONCE: readonly Entry[] = [
  "errnoLocation",
  "memcpyErrno",
  "socket",
  "connect",
  "getpeername",
  "getsockname",
  "fcntl",
  "close",
];

/** The entries of the table that a system has. */
function entriesOf(abi: Abi): Entry[] {
  return (Object.keys(SIGNATURES) as Entry[]).filter((entry) => {
    const { needs } = signatureOf(entry);
    return needs === undefined || abi[needs] !== null;
  });
}

/** A row of the table, which takes nothing from a prototype: a wrong one would have C read what is not there. */
function signatureOf(entry: Entry): Signature {
  return bare(SIGNATURES[entry]);
}

/** The name under which a system exports a C function. */
function symbolOf({ symbols }: Abi, name: string): string {
  return Object.hasOwn(symbols, name) ? symbols[name]! : name;
}

function declarationFor(abi: Abi, entry: Entry): Declaration {
  const { of = entry, parameters, result, fixed, offThread } = signatureOf(
    entry,
  );
  return {
    entry,
    symbol: entry === "errnoLocation" ? abi.errnoLocation : symbolOf(abi, of),
    parameters: fixed === undefined || !abi.variadicOnStack ? parameters : [
      ...parameters.slice(0, fixed),
      ...new Array<CType>(REGISTERS - fixed).fill("int"),
      ...parameters.slice(fixed),
    ],
    result,
    offThread: offThread ?? false,
  };
}

let current: Libc | null = null;
let host: Abi | null = null;

/**
 * The C library of this system, opened at the first call.
 *
 * @throws If the runtime does not permit it, its own error, untouched.
 * @throws {Error} If no table describes this system, or no library of the
 * table can be opened; the message names every one that was tried.
 */
export function libc(): Libc {
  if (current !== null) return current;
  // What a runtime lacks is said first, for without it no system is known either.
  const door = doorFor();
  return current = openLibc(currentAbi(), door);
}

/** The C library if it is open by now. Opens nothing and asks for no permission. */
export function libcIfOpen(): Libc | null {
  return current;
}

/** The table in force. Opens nothing and asks for no permission. */
export function currentAbi(): Abi {
  if (current !== null) return current.abi;
  if (host === null) {
    const { platform, arch } = hostPlatform();
    host = abiFor(platform, arch);
  }
  return host;
}

/** Puts another C library in place of the system's, until disposed. For tests. */
export function useLibc(replacement: Libc): Disposable {
  const before = current;
  current = replacement;
  return {
    [Symbol.dispose]() {
      current = before;
    },
  };
}

/**
 * Opens the first of a system's libraries that a door will open.
 *
 * @throws The runtime's own error if it permits none of them.
 * @throws {Error} If the runtime cannot call C.
 * @throws {AggregateError} If none can be used; the message names every one
 * that was tried, and `errors` says what was wrong with each.
 */
export function openLibc(abi: Abi, door: Door): Libc {
  const obstacle = door.obstacle?.() ?? null;
  if (obstacle !== null) {
    throw new Error(`Cannot call the C library: ${obstacle}`);
  }
  const names = door.openable(abi.libraries);
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      const libc = bindLibc(
        openAll(abi, door, name),
        abi,
        door.permissions,
        door.size,
        door.errnoAt,
        door.turns,
      );
      // Each is its own, even where it is undefined.
      return Object.assign(libc, {
        watchReadable: door.watch?.bind(door, libc),
        hasNews: door.hasNews?.bind(door, libc),
      });
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(
    failures,
    `Cannot open the C library of ${abi.os} ${abi.arch}: tried ` +
      names.join(", "),
  );
}

/**
 * Every function of the table; poll(2) off this thread in the runtime's own
 * way, or in a worker.
 *
 * Each but the {@linkcode OPENED_AT_ONCE} is opened when it is first read: that takes
 * Deno 150 us, so that all of them took longer than all else that a first
 * connect does. A permission that is revoked in the meantime is missed then.
 */
function openAll(abi: Abi, door: Door, library: string): CFunctions {
  const { openPoll } = door;
  const { nfdsSize } = abi;
  const first = openFunctions<Readonly<Record<string, unknown>>>(
    abi,
    door,
    library,
    OPENED_AT_ONCE.map((entry) => declarationFor(abi, entry)),
  );
  const isOwn = (entry: Entry) =>
    openPoll === undefined || signatureOf(entry).offThread === undefined;
  const c = lazily(
    entriesOf(abi).filter(isOwn),
    (entry) =>
      Object.hasOwn(first, entry)
        ? first[entry]
        : openOne(abi, door, library, entry),
  ) as unknown as CFunctions;
  if (openPoll === undefined) return c;
  const poller = new Poller({
    openPoll,
    library,
    symbol: symbolOf(abi, "poll"),
    nfdsSize,
    poll: (fds, count, timeout) => c.poll(fds, count, timeout),
  });
  return Object.assign(c, {
    pollOffThread: (fds: Uint8Array, count: number | bigint, timeout: number) =>
      poller.poll(fds, count, timeout),
  });
}

/** Opens a function of the table; `undefined` if it is one that may be missing. */
function openOne(
  abi: Abi,
  door: Door,
  library: string,
  entry: Entry,
): unknown {
  const { elsewhere } = signatureOf(entry);
  // What is granted for one path is granted for no other.
  const isFree = elsewhere !== undefined && !library.includes("/");
  for (const name of isFree ? [library, elsewhere] : [library]) {
    try {
      return door.open(name, [declarationFor(abi, entry)], abi.nfdsSize)[0];
    } catch (error) {
      if (elsewhere === undefined) throw error;
    }
  }
  return undefined;
}

/** Functions of any library, by the names of their declarations. */
export function openFunctions<F>(
  { nfdsSize }: Abi,
  door: Door,
  library: string,
  declarations: readonly Declaration[],
): F {
  const opened = door.open(library, declarations, nfdsSize);
  return Object.fromEntries(
    declarations.map(({ entry }, i) => [entry, opened[i]]),
  ) as F;
}

/** The door of the runtime this runs on. Deno and Bun also look like Node. */
export function doorFor(): Door {
  if ("Deno" in globalThis) return denoDoor;
  if ("Bun" in globalThis) return bunDoor;
  if ("process" in globalThis) return nodeDoor;
  throw new Error(
    "Cannot call the C library: this runtime is none of Deno, Bun and Node, " +
      "and no other one is known to have what that takes",
  );
}
