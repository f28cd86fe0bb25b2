/**
 * Special connections for libraries that want a `net.Socket`: database clients,
 * HTTP agents, `undici`, anything that lets its caller supply the socket.
 *
 * Everything here follows Node's conventions: options have the names that
 * `net.connect` gives them, failures are `'error'` events, and the result is a
 * `net.Socket` of the runtime's own, on Deno, Bun and Node alike. What makes
 * the connection special stands in a second argument,
 * {@linkcode SpecialOptions}: the source address, socket options such as a
 * mark, a deadline, Happy Eyeballs.
 *
 * TLS works over such a socket as over any other: `tls.connect({ socket })` of
 * `node:tls`, on all three runtimes. `Deno.startTls` cannot use it, since it
 * takes only connections of Deno's own; on Bun, `upgradeTLS` belongs to sockets
 * that {@linkcode Socket.toBunSocket} makes.
 *
 * @example TLS over a connection from a chosen address
 * ```ts
 * import { createConnection } from "@einprogress/connect/node";
 * import { connect } from "node:tls";
 *
 * function connectSecurely(host: string, port: number) {
 *   return connect({
 *     socket: createConnection(
 *       { host, port },
 *       { localAddress: "127.0.0.9", timeout: 1000 },
 *     ),
 *     servername: host,
 *   });
 * }
 * ```
 *
 * @module
 */
import type * as net from "node:net";
import { isIP } from "node:net";
import https from "node:https";
import tls from "node:tls";
import { connectingSocket } from "../ffi/connecting.ts";
import { libc } from "../ffi/libc.ts";
import { bare } from "../ffi/records.ts";
import {
  clearTimeout,
  LONGEST_TIMER,
  setImmediate,
  setTimeout,
} from "../ffi/timers.ts";
import { parseIp } from "./address/address.ts";
import { checkHostname, joinHostPort } from "./address/hostname.ts";
import { type OnLookup, prepare } from "./connect/call.ts";
import {
  beginCall,
  type ConnectDefaults,
  type ConnectOptions,
} from "./connect/connect.ts";
import type { TcpTarget } from "./connect/target.ts";
import {
  checkFunction,
  checkInteger,
  checkMilliseconds,
  checkSignal,
  checkText,
  isObject,
  MAX_PORT,
  notA,
  show,
} from "./errors/arguments.ts";
import {
  type Caller,
  keepCaller,
  own as ours,
  pointAt,
  type PublicFunction,
  releaseCaller,
  setHidden,
} from "./errors/caller.ts";
import {
  Errno,
  ErrnoError,
  errnoError,
  errnoErrorFor,
  LookupError,
  pointed,
} from "./errors/errors.ts";
import type { Socket } from "./socket/socket.ts";

/**
 * What makes a connection special: everything that `connect` takes beside the
 * target. A name that Node has for the same wins over it.
 */
export type SpecialOptions =
  & ConnectDefaults
  & Omit<TcpTarget, "transport" | "hostname" | "port">;

/**
 * A resolver of the kind of `dns.lookup`.
 *
 * @param hostname The name.
 * @param options Asks for all addresses, of one family if not of both.
 * @param callback Takes the addresses, or one and its family.
 */
export type NodeLookup = (
  hostname: string,
  options: { all: true; family: 0 | 4 | 6; hints: number },
  callback: (
    error: Error | null,
    found: string | { address: string; family: number }[],
    family?: number,
  ) => void,
) => void;

/**
 * What is used of the options of `net.connect`, under the names that Node gives
 * them. Everything else that a library passes along is left alone.
 */
export interface NodeConnectOptions {
  /**
   * A host name or an address.
   *
   * @default {"localhost"} Or `hostname`, which HTTP agents pass as well.
   */
  readonly host?: string | null | undefined;
  /** Another word for `host`, which wins over it. */
  readonly hostname?: string | null | undefined;
  /** The port, as a number or as text; needed unless there is a `path`. */
  readonly port?: number | string | null | undefined;
  /**
   * Which addresses of a host name are used: 4, 6, or 0 for both.
   *
   * @default {0}
   */
  readonly family?: number | string | undefined;
  /**
   * Resolves the name in place of the system's resolver.
   *
   * @default {undefined} What {@linkcode SpecialOptions} has, or the system's.
   */
  readonly lookup?: NodeLookup | undefined;
  /**
   * The `hints` that `lookup` is given.
   *
   * @default {0}
   */
  readonly hints?: number | undefined;
  /** The path of a Unix-domain socket, in the place of a host and a port. */
  readonly path?: string | null | undefined;
  /**
   * The address to connect from.
   *
   * @default {undefined} That of {@linkcode SpecialOptions}, or the system's choice.
   */
  readonly localAddress?: string | null | undefined;
  /**
   * The port to connect from.
   *
   * @default {undefined} That of {@linkcode SpecialOptions}, or the system's choice.
   */
  readonly localPort?: number | undefined;
  /** Destroys the socket with an `AbortError`, also after it has connected. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds without any traffic until the socket emits `'timeout'`, as
   * `socket.setTimeout` sets them. For a deadline of the connection see
   * {@linkcode SpecialOptions}.
   *
   * @default {0} Never.
   */
  readonly timeout?: number | undefined;
  /**
   * `SO_KEEPALIVE`.
   *
   * @default {false}
   */
  readonly keepAlive?: boolean | undefined;
  /**
   * Milliseconds of silence until the first probe, cut to whole seconds.
   *
   * @default {0} As the system has it.
   */
  readonly keepAliveInitialDelay?: number | undefined;
  /**
   * `TCP_NODELAY`.
   *
   * @default {false} Bun sets it on every socket.
   */
  readonly noDelay?: boolean | undefined;
  /**
   * `IP_TOS`, which Node alone sets.
   *
   * @default {undefined} As the system has it.
   */
  readonly typeOfService?: number | undefined;
  /**
   * Whether this side stays open when the peer has ended.
   *
   * @default {false}
   */
  readonly allowHalfOpen?: boolean | undefined;
  /**
   * Has what comes in read into a buffer, instead of `'data'` events.
   *
   * @default {undefined}
   */
  readonly onread?: {
    /** The buffer, or what returns one for each read. */
    readonly buffer: Uint8Array | (() => Uint8Array);
    /** Takes what has been read. If it returns `false`, the socket pauses. */
    readonly callback: (length: number, buffer: Uint8Array) => unknown;
  } | undefined;
  /**
   * How many bytes the streams hold before they ask their writer to wait.
   *
   * @default {undefined} As the runtime has it.
   */
  readonly highWaterMark?: number | undefined;
}

/** What {@linkcode agent} takes: the options of `https.Agent`, TLS included. */
export interface AgentOptions extends https.AgentOptions {
  /** Must be left out: these connections use no proxy. */
  readonly proxyEnv?: undefined;
}

/** What `undici` asks a connector for. */
export interface UndiciTarget {
  /** The host, as the URL has it. */
  readonly hostname: string;
  /** `"https:"` for TLS. */
  readonly protocol: string;
  /** The port, empty for the usual one of the protocol. */
  readonly port: string;
  /** The name that the certificate has to be for, if not the host. */
  readonly servername?: string | null | undefined;
  /** The address to connect from. */
  readonly localAddress?: string | null | undefined;
  /** The path of a Unix-domain socket, in the place of the host. */
  readonly socketPath?: string | null | undefined;
  /** A connection, to a proxy, that TLS is to go over. */
  readonly httpSocket?: net.Socket | undefined;
}

/** How TLS is spoken: options of `tls.connect`, and one of undici's. */
export interface UndiciTlsOptions extends tls.ConnectionOptions {
  /**
   * Offers HTTP/2 to servers, as the option of the same name does for a `Client`
   * of undici.
   *
   * @default {false}
   */
  readonly allowH2?: boolean | undefined;
}

/** A connector, as `connect` of undici's `Client`, `Pool` and `Agent` is. */
export type UndiciConnector = (
  target: UndiciTarget,
  callback: (
    ...result: [error: null, socket: net.Socket] | [error: Error, socket: null]
  ) => void,
) => void;

/** What says where a socket of `node:net` is to be connected to, and how. */
const TARGET_OPTIONS = [
  "blockList",
  "family",
  "hints",
  "host",
  "hostname",
  "localAddress",
  "localPort",
  "lookup",
  "path",
  "port",
  "timeout",
] as const;

/** What says where to, which nothing special can. */
const PLACES = ["transport", "hostname", "port", "path", "cid"] as const;

/** What a socket of `node:net` is made with, as opposed to connected. */
const SOCKET_OPTIONS = [
  "allowHalfOpen",
  "highWaterMark",
  "keepAlive",
  "keepAliveInitialDelay",
  "noDelay",
  "onread",
  "signal",
  "typeOfService",
] as const;

/** What Node calls EAI_NONAME, and libuv's number for it. */
const NOT_FOUND = { code: "ENOTFOUND", errno: -3008 };

/** How many TLS sessions a connector remembers, as many as undici does. */
const MOST_SESSIONS = 100;

/** Milliseconds of silence before a kept connection is probed; undici's. */
const KEEP_ALIVE_DELAY = 60_000;

/**
 * Connects as `net.connect` does, and returns the connecting socket at once.
 *
 * The socket is one of `node:net`. It is `connecting`, then emits `'connect'`
 * and `'ready'`; or `'error'` with the error of what failed, and `'close'`.
 * Data that is written meanwhile is sent once it has connected, and options
 * that are set meanwhile hold from then on. `destroy()` and `signal` cancel the
 * attempt. Its `connect()` does nothing but call its listener once there is a
 * connection, since some libraries call it on every socket (`pg`,
 * `nodemailer`); on a destroyed socket it throws.
 *
 * Errors are those of `connect`, with the fields that Node gives to its own:
 * `errno` is negative, `address` has no port, `port` stands beside it, in each
 * of `errors` as well, and a name that does not resolve has the `code`
 * `"ENOTFOUND"`, as has text that is neither a name nor an address:
 * `"10.0.0.999"`, `"127.1"`, or `""`, which is `localhost` to Node. `cause` is
 * the error that `connect` rejects with, for `explain` and for its other fields,
 * or what a signal was aborted with, if that is no error.
 *
 * An attempt that is under way keeps the process alive, whether the socket is
 * `unref()`ed or not; a connection does as `ref()` and `unref()` say.
 *
 * `'lookup'` is emitted for each address of a host name, or once with the error
 * of the lookup; no event is for single attempts, such as Node's
 * `'connectionAttempt'`.
 *
 * C: that of {@linkcode connect}.
 *
 * @param options Where to, in Node's words. Other options of `net.connect` are
 * ignored.
 * @param special What makes the connection special.
 * @returns The socket. The caller owns it and ends it.
 * @throws {TypeError} If `options` or `special` is no object, `host` or `path` is
 * no text, `port` is neither number nor text, `family` is none of Node's, or
 * there is a `blockList`: filter what `lookup` finds instead.
 * @throws {RangeError} If `port` or `timeout` is out of range; for a port,
 * `code` is Node's, `"ERR_SOCKET_BAD_PORT"`. Everything else is an `'error'`
 * event.
 *
 * @example A client of PostgreSQL with a source address and a deadline
 * ```ts
 * import { createConnection } from "@einprogress/connect/node";
 *
 * // new pg.Client(settings)
 * const settings = {
 *   host: "127.0.0.1",
 *   port: 5432,
 *   stream: () =>
 *     createConnection(
 *       { host: "127.0.0.1", port: 5432 },
 *       { localAddress: "127.0.0.9", timeout: 2000 },
 *     ),
 * };
 * ```
 *
 * @example A failure, as Node reports it
 * ```ts
 * import { createConnection } from "@einprogress/connect/node";
 * import { Errno } from "@einprogress/connect";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * listener.close();
 * const socket = createConnection({ host: "127.0.0.1", port });
 * const error = await new Promise<Error & { port?: number }>((resolve) => {
 *   socket.on("error", resolve);
 * });
 * assert(error instanceof Errno.ECONNREFUSED);
 * assertEquals([error.address, error.port], ["127.0.0.1", port]);
 * ```
 */
export function createConnection(
  options: NodeConnectOptions,
  special: SpecialOptions = {},
): net.Socket {
  let asked: Asked;
  try {
    asked = readAsked(options, special);
  } catch (error) {
    throw pointed(error, createConnection);
  }
  const { target, own, silence, over, either } = asked;
  const isTcp = target.transport !== "unix";
  // From here on nothing is refused: nobody would end the socket.
  const connecting = connectingSocket(own, isTcp);
  const socket = connecting.socket as net.Socket;
  const { _destroy } = socket;
  put(socket, "connect", connectAgain);
  // A listener could be removed with all others, as some libraries do.
  put(socket, "_destroy", (...args: Parameters<typeof _destroy>) => {
    over.abort();
    _destroy.apply(socket, args);
  });
  if (silence > 0) socket.setTimeout(silence);
  if ("hostname" in target) rememberHost(socket, target.hostname ?? "");
  const caller = keepCaller(createConnection);
  let isLookup = false;
  const connected = begin(
    { ...target, signal: either },
    special,
    createConnection,
    (_, addresses) => {
      isLookup = addresses.length === 0;
      for (const { hostname, family } of addresses) {
        emitLookup(socket, target, null, hostname, family === "inet" ? 4 : 6);
      }
    },
  );
  // Nothing is emitted in this turn: a caller that gets the socket by a promise
  // has no listeners yet.
  const turn = new Promise<void>((resolve) => setImmediate(resolve));
  turn.then(() => connected)
    .then((connected) => adopt(connected, either, connecting.adopt))
    .catch((error) => {
      const shown = nodeErrorOf(error, caller, target);
      if (isLookup) emitLookup(socket, target, shown);
      socket.destroy(shown);
    })
    .finally(() => releaseCaller(caller));
  // It is waited for in the next turn.
  connected.catch(() => {});
  return socket;
}

/** What a caller asks for, read once and checked. */
interface Asked {
  readonly target: ConnectOptions;
  /** What the socket is made with. */
  readonly own: Partial<Record<typeof SOCKET_OPTIONS[number], unknown>>;
  /** Milliseconds without traffic until it says so. */
  readonly silence: number;
  /** Calls the attempt off. */
  readonly over: AbortController;
  /** The signal of that, and of a caller who does. */
  readonly either: AbortSignal;
}

function readAsked(options: object, special: object): Asked {
  const given = pick("options", options, TARGET_OPTIONS);
  const target = targetOf(given);
  const { signal, ...place } = pick("special", special, [
    "signal",
    ...PLACES,
  ]);
  for (const name of PLACES) {
    if (Object.hasOwn(place, name)) {
      throw ours(
        new TypeError(
          `Cannot use special with ${name}: options say where to connect`,
        ),
      );
    }
  }
  const theirs = checkSignal("signal", signal);
  const silence = checkMilliseconds("timeout", given.timeout, 0);
  const own = pick("options", options, SOCKET_OPTIONS);
  const over = new AbortController();
  const either = theirs === undefined
    ? over.signal
    : AbortSignal.any([over.signal, theirs]);
  const mine = checkSignal("signal", own.signal);
  if (mine?.aborted) {
    // A socket that is made with it ends before it connects, and once more when
    // its attempt does; Bun's hears nothing of it (1.4).
    delete own.signal;
    over.abort(abortError(mine.reason));
  }
  return { target, own, silence, over, either };
}

/**
 * Connects, and reports what comes of the lookup.
 *
 * @param at The function that is called from outside.
 */
function begin(
  target: ConnectOptions,
  special: SpecialOptions,
  at: PublicFunction,
  onLookup: OnLookup,
): Promise<Socket> {
  try {
    const call = { ...prepare(target, special, "special"), onLookup };
    const connecting = beginCall(call, null, at);
    return connecting;
  } catch (error) {
    return Promise.reject(pointed(error, at));
  }
}

/** Reports what comes of a lookup; what listeners throw is nobody's to catch. */
function emitLookup(
  socket: net.Socket,
  target: ConnectOptions,
  ...found: [error: Error | null, address?: string, family?: 4 | 6]
): void {
  const [error, address, family] = found;
  const { hostname } = target as TcpTarget;
  queueMicrotask(() => {
    // A listener of the address before may have ended the socket.
    if (error === null && socket.destroyed) return;
    socket.emit("lookup", error as Error, address!, family!, hostname!);
  });
}

/** Puts a method of its own into a socket. */
function put<K extends "connect" | "_destroy">(
  socket: net.Socket,
  name: K,
  value: net.Socket[K],
): void {
  const property = { value, configurable: true, writable: true };
  Object.defineProperty(socket, name, bare(property));
}

/** What {@linkcode createConnection} puts in the place of `connect()`. */
function connectAgain(this: net.Socket, ...args: unknown[]): net.Socket {
  if (this.destroyed) {
    throw new Error(
      "Cannot connect again: the socket is destroyed, create another one",
    );
  }
  const listener = args.at(-1);
  if (typeof listener === "function") {
    if (this.connecting) this.once("connect", listener as () => void);
    else queueMicrotask(() => listener.call(this));
  }
  return this;
}

/** `tls.connect({ socket })` looks there for the name of the certificate. */
function rememberHost(socket: net.Socket, hostname: string): void {
  if (!isIP(hostname)) Object.assign(socket, { _host: hostname });
}

/** What Node makes of a signal that is aborted. */
function abortError(cause: unknown): Error {
  const error = new Error("The operation was aborted", { cause });
  return Object.assign(error, { name: "AbortError", code: "ABORT_ERR" });
}

/** Gives a connection to the socket that waits for it, unless that was called off. */
function adopt(
  connected: Socket,
  signal: AbortSignal,
  take: (fd: number) => number,
): void {
  if (signal.aborted) {
    connected.close();
    throw signal.reason;
  }
  const fd = connected.detach();
  let status: number;
  try {
    status = take(fd);
  } catch (error) {
    libc().close(fd);
    throw error;
  }
  if (status !== 0) {
    libc().close(fd);
    throw errnoErrorFor(-status, { syscall: "open" });
  }
}

/** Some options of a caller: its own, read once. */
function pick<K extends string>(
  name: string,
  options: object,
  keys: readonly K[],
): Partial<Record<K, unknown>> {
  checkObject(name, options);
  const picked: Partial<Record<K, unknown>> = Object.create(null);
  for (const key of keys) {
    if (!Object.hasOwn(options, key)) continue;
    const value = (options as Record<string, unknown>)[key];
    if (value !== undefined && value !== null) picked[key] = value;
  }
  return picked;
}

function targetOf(
  options: ReturnType<typeof pick<typeof TARGET_OPTIONS[number]>>,
): ConnectOptions {
  const { blockList, path = "", localAddress, localPort } = options;
  if (blockList !== undefined) {
    throw ours(
      new TypeError(
        "Cannot use blockList: filter what a lookup of your own finds",
      ),
    );
  }
  checkText("path", path);
  if (path !== "") return { transport: "unix", path };
  const { host, hostname = "localhost" } = options;
  const name = host ?? hostname;
  checkText("host", name);
  // What is an address already is not looked up, whatever its family.
  const isLiteral = isIP(name) !== 0;
  const family = isLiteral ? undefined : ipFamilyOf(options.family);
  const lookup = isLiteral ? undefined : lookupOf(options);
  return {
    hostname: name,
    port: portOf(options.port),
    ...(family === undefined ? {} : { family }),
    ...(lookup === undefined ? {} : { lookup }),
    ...(localAddress ? { localAddress: localAddress as string } : {}),
    ...(localPort ? { localPort: localPort as number } : {}),
  };
}

/** The port; what is none is reported with the code that Node has for it. */
function portOf(port: unknown): number {
  try {
    if (typeof port !== "string") return checkInteger("port", port, MAX_PORT);
    const number = port.trim() === "" ? NaN : Number(port);
    if (Number.isInteger(number) && number >= 0 && number <= MAX_PORT) {
      return number;
    }
    throw ours(
      new RangeError(
        `Cannot use port ${show(port)}: ` +
          `it must be an integer from 0 to ${MAX_PORT}`,
      ),
    );
  } catch (error) {
    const code = error instanceof RangeError
      ? "ERR_SOCKET_BAD_PORT"
      : port === undefined
      ? "ERR_MISSING_ARGS"
      : "ERR_INVALID_ARG_TYPE";
    throw Object.assign(error as Error, { code });
  }
}

function ipFamilyOf(family: unknown): "inet" | "inet6" | undefined {
  if (family === 4 || family === "IPv4") return "inet";
  if (family === 6 || family === "IPv6") return "inet6";
  if (family === undefined || family === 0) return undefined;
  throw Object.assign(
    ours(
      new TypeError(`Cannot use family ${show(family)}: it is not 0, 4 or 6`),
    ),
    { code: "ERR_INVALID_ARG_VALUE" },
  );
}

/** Node's resolver as `connect` takes one. */
function lookupOf(
  { lookup, hints = 0 }: { lookup?: unknown; hints?: unknown },
): TcpTarget["lookup"] {
  if (lookup === undefined) return undefined;
  checkFunction("lookup", lookup);
  const ask = lookup as NodeLookup;
  return (hostname, { family }) =>
    new Promise<unknown[]>((resolve, reject) => {
      const wanted = family === undefined ? 0 : family === "inet" ? 4 : 6;
      const asked = { all: true, family: wanted } as const;
      ask(hostname, { ...asked, hints: hints as number }, (error, found) => {
        if (error) reject(error);
        // An array, for a promise calls whatever has a method called "then".
        else resolve([found]);
      });
      // It may throw, and the resolver is not to blame for that.
    }).then(addressesIn);
}

/** What a resolver has found, whatever that is: `connect` checks each address. */
function addressesIn([found]: readonly unknown[]): string[] {
  if (!Array.isArray(found)) return [found as string];
  return found.map((one) =>
    isObject(one) ? (one as FoundAddress).address : one
  );
}

/** One address of those that a resolver finds. */
interface FoundAddress {
  readonly address: string;
}

/** An error with the fields that Node's have, the error itself behind it. */
function nodeErrorOf(
  error: unknown,
  caller: Caller | null,
  target: ConnectOptions | null,
): Error {
  if (error instanceof LookupError) {
    const { hostname, code, errno } = error;
    const shown = new LookupError(hostname, code, errno);
    const isKnown = code !== "EAI_NONAME" && code !== "EAI_NODATA";
    return dress(shown, isKnown ? {} : NOT_FOUND, error, caller);
  }
  // Node asks the resolver about whatever text there is.
  if (error instanceof SyntaxError && target !== null && !hasHost(target)) {
    const { hostname = "" } = target as TcpTarget;
    const shown = new LookupError(hostname, "EAI_NONAME", 0);
    return dress(shown, NOT_FOUND, error, caller);
  }
  if (error instanceof ErrnoError) {
    const { code, errno, syscall, errors } = error;
    const shown = code === "UNKNOWN"
      ? new ErrnoError(code, errno, { syscall })
      : new Errno[code]({ syscall });
    const fields = { ...error, errno: -errno, ...nodePlaceOf(error, target) };
    if (errors.length > 0) {
      fields.errors = errors
        .map((each) => nodeErrorOf(each, null, target) as ErrnoError);
    }
    return dress(shown, fields, error, caller);
  }
  if (isObject(error)) return error as Error;
  // Code of the caller may throw what is no error, and abort a signal with it. Of
  // what is false to JavaScript a socket emits nothing.
  const shown = new Error(`Cannot connect: the reason is ${show(error)}`);
  setHidden(shown, "cause", error);
  return caller === null ? shown : pointAt(shown, caller);
}

/** Whether the text of a host is that of a name or of an address. */
function hasHost(target: ConnectOptions): boolean {
  if (!("hostname" in target)) return true;
  try {
    parseIp(checkHostname(target.hostname), 0);
    return true;
  } catch (error) {
    return !(error instanceof SyntaxError);
  }
}

function dress(
  shown: Error,
  fields: object,
  cause: Error,
  caller: Caller | null,
): Error {
  Object.assign(shown, fields);
  setHidden(shown, "message", cause.message);
  setHidden(shown, "cause", cause);
  if (caller !== null) return pointAt(shown, caller);
  setHidden(shown, "stack", cause.stack);
  return shown;
}

/** An address and a port, which Node has in two fields, or a path. */
function nodePlaceOf(
  { address }: ErrnoError,
  target: ConnectOptions | null,
): object {
  if (address === undefined) return {};
  // As the caller wrote it: the text has escapes, and may end like a port.
  if (target?.transport === "unix") return { address: target.path };
  const parts = /^\[?([^\]]*)\]?:(\d+)$/.exec(address);
  if (parts === null) return {};
  // A port that is 0 is none to Node.
  return { address: parts[1], port: Number(parts[2]) || undefined };
}

/**
 * Makes an agent of special connections, for `node:http` and for `node:https`.
 *
 * One agent serves both protocols, so it goes wherever a library takes an
 * agent: `axios`, `got`, `node-fetch`, `ws`. It is the runtime's own
 * `https.Agent`, except for how it connects: `maxSockets` holds, with
 * `keepAlive` idle connections are used again and do not keep the process
 * alive, and TLS sessions are resumed.
 *
 * @param special What makes each connection special.
 * @param options Those of `https.Agent`. TLS options hold for every connection.
 * @returns The agent. `destroy()` closes what it keeps.
 * @throws {TypeError} If `special` or `options` is no object, or there is a
 * `proxyEnv`, since these connections use no proxy.
 *
 * @example Requests from a chosen address
 * ```ts
 * import { agent } from "@einprogress/connect/node";
 * import { assertEquals } from "@std/assert";
 * import { get } from "node:http";
 *
 * await using server = Deno.serve(
 *   { hostname: "127.0.0.1", port: 0, onListen() {} },
 *   (_request, { remoteAddr }) => new Response(remoteAddr.hostname),
 * );
 * const special = agent({ localAddress: "127.0.0.9" });
 * const text = await new Promise((resolve, reject) => {
 *   get(
 *     `http://127.0.0.1:${server.addr.port}/`,
 *     { agent: special },
 *     (response) => response.on("data", (part) => resolve(`${part}`)),
 *   ).on("error", reject);
 * });
 * special.destroy();
 * assertEquals(text, "127.0.0.9");
 * ```
 */
export function agent(
  special: SpecialOptions = {},
  options: AgentOptions = {},
): https.Agent {
  const { protocol, defaultPort } = readAgentOptions(special, options);
  const made = new https.Agent(options);
  const secured = https.Agent.prototype as unknown as ConnectingAgent;
  return Object.defineProperties(made, {
    createConnection: bare({
      configurable: true,
      writable: true,
      value(
        this: https.Agent,
        asked: AgentRequest,
        callback?: unknown,
      ): net.Socket {
        const isSecure = asked._defaultAgent?.protocol === "https:";
        if (!isSecure) return createConnection(asked, special);
        const { timeout: _, ...rest } = asked;
        const socket = createConnection(rest, special);
        return secured.createConnection.call(
          this,
          { ...asked, socket },
          callback,
        );
      },
    }),
    protocol: bare({
      configurable: true,
      get: () => protocol ?? (isHttps() ? "https:" : "http:"),
    }),
    defaultPort: bare({
      configurable: true,
      get: () => defaultPort ?? (isHttps() ? 443 : 80),
    }),
  });
}

/** What of the options of an agent is not left to `https.Agent`. */
interface UsualAgentOptions {
  readonly protocol?: string;
  readonly defaultPort?: number;
}

function readAgentOptions(
  special: SpecialOptions,
  options: AgentOptions,
): UsualAgentOptions {
  try {
    checkObject("special", special);
    checkObject("options", options);
    if (options.proxyEnv === undefined) return options as UsualAgentOptions;
    throw ours(
      new TypeError("Cannot use proxyEnv: these connections use no proxy"),
    );
  } catch (error) {
    throw pointed(error, agent);
  }
}

function checkObject(name: string, value: unknown): void {
  if (!isObject(value)) throw notA("object", name, value);
}

/** What an agent is asked for: options of the request and of the agent. */
interface AgentRequest extends NodeConnectOptions {
  /** The agent of the module that makes the request. */
  readonly _defaultAgent?: { readonly protocol?: string };
}

/** What is used of an agent, which not all types of `node:https` show. */
interface ConnectingAgent {
  createConnection(asked: object, callback: unknown): net.Socket;
}

/**
 * Whether `node:https` is what asks. It looks at a protocol and a default port
 * before it says who it is, so that agents for both have always looked at the
 * stack (`agent-base`), and the runtimes see to it that it shows there.
 */
function isHttps(): boolean {
  const { stackTraceLimit = 0, prepareStackTrace } = Error as ErrorSettings;
  const isUsual = stackTraceLimit >= USUAL_FRAMES &&
    prepareStackTrace === undefined;
  const usual = { stackTraceLimit: USUAL_FRAMES, prepareStackTrace: undefined };
  try {
    if (!isUsual) Object.assign(Error, usual);
    return /https\.js:|node:https/.test(`${new Error().stack}`);
  } finally {
    if (!isUsual) Object.assign(Error, { stackTraceLimit, prepareStackTrace });
  }
}

/** How many frames a stack has by default. */
const USUAL_FRAMES = 10;

/** What V8 and JavaScriptCore have programs choose. */
type ErrorSettings = typeof Error & {
  stackTraceLimit?: number;
  prepareStackTrace?: unknown;
};

/**
 * Makes a connector of special connections for `undici`: the `connect` option
 * of its `Client`, `Pool` and `Agent`. Such an agent is also a dispatcher for
 * the `fetch` of undici and of Node.
 *
 * TLS is spoken by `node:tls` over the special connection. A `timeout` among the
 * special options covers the handshake, too; undici's own limit of ten seconds,
 * `connectTimeout`, is that of its own connector.
 *
 * The `fetch` of Deno and of Bun takes no dispatcher; on Deno, use the `fetch`
 * of the package. Bun replaces that package by a module of its own, which
 * ignores connectors: there, use `node:http` with an {@linkcode agent}.
 *
 * @param special What makes each connection special.
 * @param tlsOptions Options of TLS, for `https:` alone.
 * @returns The connector.
 * @throws {TypeError} If `special` or `tlsOptions` is no object.
 * @throws {RangeError} If its `timeout` is out of range.
 *
 * @example A pool whose connections come from one address
 * ```ts
 * import { undiciConnector } from "@einprogress/connect/node";
 *
 * // new undici.Pool("https://example.com", settings)
 * const settings = {
 *   connections: 50,
 *   connect: undiciConnector({ localAddress: "127.0.0.9", timeout: 2000 }),
 * };
 * ```
 */
export function undiciConnector(
  special: SpecialOptions = {},
  tlsOptions: UndiciTlsOptions = {},
): UndiciConnector {
  const timeout = readTimeout(special, tlsOptions);
  const { allowH2 = false, ...secure } = tlsOptions;
  const sessions = new Map<string, Uint8Array>();
  return (target, callback) => {
    const { hostname, protocol, port, localAddress, socketPath } = target;
    const isSecure = protocol === "https:";
    const plain = target.httpSocket ?? createConnection({
      path: socketPath,
      host: hostname,
      port: port === "" ? isSecure ? 443 : 80 : port,
      localAddress,
      highWaterMark: 0x1_0000,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    }, special);
    const socket = isSecure ? encrypt(plain, target) : plain;
    const timer = isSecure && timeout < LONGEST_TIMER
      ? setTimeout(() => socket.destroy(handshakeTimeout(target)), timeout)
      : null;
    let isOver = false;
    function settle(error: Error | null): void {
      if (timer !== null) clearTimeout(timer);
      if (isOver) return;
      isOver = true;
      if (error === null) callback(null, socket);
      else callback(error, null);
    }
    socket.once(isSecure ? "secureConnect" : "connect", () => settle(null));
    socket.on("error", settle);
  };

  function encrypt(socket: net.Socket, target: UndiciTarget): net.Socket {
    const { hostname, port } = target;
    const servername = target.servername || secure.servername ||
      (isIP(hostname) ? "" : hostname);
    const key = `${servername} ${hostname}:${port}`;
    const session = sessions.get(key);
    const encrypted = tls.connect({
      ALPNProtocols: allowH2 ? ["http/1.1", "h2"] : ["http/1.1"],
      ...(session === undefined ? {} : { session }),
      ...secure,
      host: hostname,
      servername,
      socket,
    } as tls.ConnectionOptions);
    encrypted.on("session", (session) => {
      sessions.delete(key);
      sessions.set(key, session);
      if (sessions.size > MOST_SESSIONS) {
        sessions.delete(sessions.keys().next().value!);
      }
    });
    return encrypted;
  }
}

function readTimeout(
  special: SpecialOptions,
  tlsOptions: UndiciTlsOptions,
): number {
  try {
    checkObject("tlsOptions", tlsOptions);
    const { timeout } = pick("special", special, ["timeout"]);
    return checkMilliseconds("timeout", timeout, Infinity);
  } catch (error) {
    throw pointed(error, undiciConnector);
  }
}

/** What ends a handshake that takes too long. */
function handshakeTimeout({ hostname, port }: UndiciTarget): Error {
  const error = errnoError("ETIMEDOUT", {
    syscall: "connect",
    address: joinHostPort(hostname, Number(port) || 443),
    timeoutKind: "deadline",
    detail: "no TLS connection within the timeout",
  });
  return nodeErrorOf(error, null, null);
}
