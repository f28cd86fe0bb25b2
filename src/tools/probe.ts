/**
 * Which of many ports are open.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { performance } from "../../ffi/timers.ts";
import type { LookupFamily } from "../address/lookup.ts";
import type { Recipe } from "../attempt/attempt.ts";
import { DEADLINE } from "../attempt/outcome.ts";
import { agreedFamily } from "../connect/target.ts";
import {
  checkFunction,
  checkInteger,
  checkMilliseconds,
  checkSignal,
  heedAbort,
  ignoreAbort,
  isObject,
  notA,
  readOptions,
  show,
} from "../errors/arguments.ts";
import {
  type EaiCode,
  type ErrnoCode,
  ErrnoError,
  errnoError,
  errnoErrorFor,
  errnoName,
  type Icmp,
  LookupError,
} from "../errors/errors.ts";
import { Connecting, Past } from "../socket/connecting.ts";
import type { SocketOptions } from "../socket/options.ts";
import { type Socket, socketOf } from "../socket/socket.ts";
import { NAME_TIMEOUT } from "./destination.ts";
import { Fifo } from "./fifo.ts";
import {
  checkLocalAddress,
  probeRecipe,
  type ProbeSetup,
} from "./probe_recipe.ts";
import {
  type Finding,
  type Pacing,
  Run,
  type RunState,
  type Sink,
} from "./probe_run.ts";
import {
  type Office,
  type Probeable,
  type Reading,
  Source,
} from "./probe_source.ts";
import { Crew } from "./probe_threads.ts";
import type { Position } from "./targets.ts";
import {
  PROBE_STATES,
  type ProbeReason,
  type ProbeState,
  UNNAMED,
  UNSENT,
} from "./verdict.ts";

export type { Probeable, ProbeTarget } from "./probe_source.ts";
export type { ProbeReason, ProbeState } from "./verdict.ts";

/** How ports are probed. */
export interface ProbeOptions<T extends Probeable = Probeable> {
  /**
   * Milliseconds for all attempts at one target together, and before them for a
   * name to resolve.
   *
   * @default {undefined} 1500 for the attempts, 15000 for a name: the system's
   * resolver takes 5000 to turn to a second name server.
   */
  readonly timeout?: number | undefined;
  /**
   * How many more attempts are made, each of them from another port, while no
   * reply comes. Earlier ones stay open, so that a late reply counts.
   *
   * @default {2}
   */
  readonly retries?: number | undefined;
  /**
   * Milliseconds from one attempt to the next.
   *
   * @default {undefined} Three times what the slowest reply of the target's /24
   * or /64 has taken, within 100 and 1000; before there is one, 500. Never more
   * than an even share of `timeout`.
   */
  readonly retryAfter?: number | undefined;
  /**
   * How many targets are probed at the same time, at most. There are fewer
   * where descriptors or ports run out, and more again later.
   *
   * @default {undefined} 4096, or as many as there are descriptors to spare
   * beyond 64.
   */
  readonly concurrency?: number | undefined;
  /**
   * How many of them may go to one address.
   *
   * @default {256}
   */
  readonly hostConcurrency?: number | undefined;
  /**
   * How many attempts begin in a second, at most. Attempts that could not begin
   * in time begin later, but no more of them than are due in 10 ms.
   *
   * @default {Infinity}
   */
  readonly rate?: number | undefined;
  /**
   * Which results are yielded.
   *
   * @default {undefined} All of them.
   */
  readonly states?: readonly ProbeState[] | undefined;
  /**
   * Takes each connected socket as soon as the connection is established, and
   * owns it from then on. Without this function, connections end by a reset. If
   * it throws, the socket is closed, and the run ends with what it has thrown.
   */
  readonly onOpen?:
    | ((socket: Socket, result: ProbeResult<T>) => void)
    | undefined;
  /**
   * Whether every address of a name is probed, each with a result of its own.
   *
   * @default {false} The first one alone.
   */
  readonly allAddresses?: boolean | undefined;
  /**
   * The address to connect from, in text form.
   *
   * @default {undefined} The system's choice.
   */
  readonly localAddress?: string | undefined;
  /**
   * The network interface that connections are bound to, by name.
   *
   * @default {undefined} The one that the route leads to.
   */
  readonly interface?: string | undefined;
  /**
   * Which addresses of a name are probed.
   *
   * @default {undefined} Both families, in the order that the system prefers.
   */
  readonly family?: LookupFamily | undefined;
  /**
   * The protocol of the connections.
   *
   * @default {"tcp"}
   */
  readonly protocol?: "tcp" | "mptcp" | undefined;
  /**
   * Options that are set before connect(2), by name.
   *
   * @default {undefined} None.
   */
  readonly socketOptions?: Partial<SocketOptions> | undefined;
  /**
   * How many threads share the run, each with an engine of its own. Targets and
   * results pass through the calling thread, which does its part. The run does
   * with fewer where there is no place for each within `concurrency` and
   * `hostConcurrency`, or less than 100 attempts in a second by `rate`, and
   * where one cannot be started: on Deno that takes `--allow-read` for this
   * package, if it is in the file system, and a program that was bundled into
   * one file starts none.
   *
   * @default {1}
   */
  readonly threads?: number | undefined;
  /** Ends the run: the iteration then rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** The result of the probe of one address. */
export interface ProbeResult<T extends Probeable = Probeable> {
  /** The number of the target. */
  readonly index: number;
  /** The target, as it was given. */
  readonly target: T;
  /** The address that was probed, as text; `null` for a name that has none. */
  readonly address: string | null;
  /** The address on this side, as text, where one is known. */
  readonly localAddress: string | null;
  /** What is known of the port. */
  readonly state: ProbeState;
  /** What that was concluded from. */
  readonly reason: ProbeReason;
  /**
   * The name of the errno, or of the failure of the name; `null` for an open
   * port. One that ends the connection at once, by a reset, is open, too:
   * `"ECONNRESET"`, or `"EPIPE"` where a FIN came before; `onOpen` gets no
   * socket of it. `"ETIMEDOUT"` for a silent port, `"EACCES"` for a host that
   * the runtime's permissions deny.
   */
  readonly code: ErrnoCode | EaiCode | "UNKNOWN" | null;
  /** The ICMP error that came, and from where, if one did. */
  readonly icmp: Icmp | null;
  /**
   * Whether that error was a soft one, which does not end an attempt by
   * itself.
   */
  readonly soft: boolean;
  /** How many attempts were made. */
  readonly attempts: number;
  /**
   * How many SYNs the system has repeated in the attempt that got the reply, or
   * in the first one; `null` where it does not report them.
   */
  readonly retransmits: number | null;
  /**
   * Milliseconds from connect(2) until the outcome was known, by the wall
   * clock: of the attempt that got the reply, or of all if none did. `null` if
   * connect(2) was never called.
   */
  readonly wall: number | null;
  /**
   * The round trip of the handshake in milliseconds, as the kernel measured it;
   * `null` if it has no sample, as after a repeated SYN.
   */
  readonly rtt: number | null;
  /**
   * The failure as an error for {@linkcode explain}, made when it is asked for;
   * `null` where there is no `code`.
   */
  readonly error: Error | null;
}

/** How far a run has come. */
export interface ProbeProgress {
  /** How many targets were taken. */
  readonly begun: number;
  /** How many have all of their results, yielded or not. */
  readonly done: number;
  /** How many there are in all, `null` where that is not known. */
  readonly total: number | null;
  /** How many addresses are being probed. */
  readonly inFlight: number;
  /** How many attempts were made that were not a target's first. */
  readonly retries: number;
  /** How many may be probed at the same time at present. */
  readonly concurrency: number;
  /** How many attempts were made in a second, lately. */
  readonly rate: number;
  /**
   * How many threads share the run: fewer than {@linkcode ProbeOptions.threads}
   * where there is not enough to do for them, and once it turns out that one
   * cannot be started.
   */
  readonly threads: number;
  /** How many results each state has. */
  readonly perState: Readonly<Record<ProbeState, number>>;
}

/** A run, which begins when the first result is asked for. */
export interface Probing<T extends Probeable = Probeable>
  extends AsyncIterableIterator<ProbeResult<T>, undefined, undefined> {
  /** How far the run has come. */
  readonly progress: ProbeProgress;
  /**
   * Where another run can go on from: the targets that were never taken, and
   * those that were taken and have not had all of their results yielded.
   */
  readonly position: Position;
  /** Ends the run and closes its descriptors. */
  return(): Promise<IteratorReturnResult<undefined>>;
}

/**
 * Finds out which of many ports are open.
 *
 * A failure is a result. A SYN/ACK means open, unless the socket has connected
 * to itself, in which case the port is tried again; a reset means closed; an
 * ICMP error, soft or hard, means filtered by its sender; silence means
 * filtered, too. A target is unsent if nothing has left this machine: there is
 * no route, its own firewall has refused, or a name has no address. A shortage
 * of descriptors, memory or ports is never a result: the target waits, and
 * fewer are probed at a time; 64 descriptors stay free. Connections end by a
 * reset.
 *
 * A name is looked up once in a run, and has `timeout` to resolve; targets of
 * other names and addresses go on meanwhile. A slow reader slows the run down,
 * so that few results wait for it. Breaking out of the loop ends the run, and
 * leaves no descriptor open.
 *
 * On Deno it needs `net` for each host and port, as `Deno.connect` does. A
 * target that is denied is unsent, with the code `"EACCES"`; if all are, the
 * run ends with the runtime's own error.
 *
 * C: `socket(2)`, `connect(2)`, `epoll(7)` or `poll(2)`, `getsockopt(2)` with
 * `SO_ERROR` and `TCP_INFO`, `recvmsg(2)` with `MSG_ERRQUEUE`, `getrlimit(2)`.
 *
 * @param targets The ports, as a list or as they come. A target with a numeric
 * host needs no lookup.
 * @param options How to probe them.
 * @returns The results, each as soon as it is known.
 * @throws {TypeError} If an argument is of the wrong kind.
 * @throws {RangeError} If a number is out of range.
 * @throws {SyntaxError} If a text does not parse.
 * @throws {NotSupportedError} If this system does not have what an option asks
 * for.
 *
 * @example The open ports of this machine
 * ```ts
 * import { grid, probe } from "@einprogress/connect/tools";
 * import { assert } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * const open: number[] = [];
 * const targets = grid("127.0.0.1", [port, 1]);
 * for await (const { target } of probe(targets, { states: ["open"] })) {
 *   open.push(target.port);
 * }
 * assert(open.includes(port));
 * ```
 */
export function probe<T extends Probeable>(
  targets: Iterable<T> | AsyncIterable<T>,
  options: ProbeOptions<T> = {},
): Probing<T> {
  return new Probes(targets, options);
}

/** How long the rate of attempts is averaged over, in ms. */
const RATE_SPAN = 1000;

/** How many results of denied targets are held back until one is allowed. */
const MOST_DENIED = 1024;

/** What a run consists of. */
interface Prober {
  readonly state: RunState;
  pump(): void;
  /** Closes all; a promise where that takes its time. */
  stop(): Promise<void> | void;
}

class Probes<T extends Probeable> implements Probing<T>, Sink, Office {
  readonly #libc: Libc;
  readonly #options: Checked<T>;
  readonly #source: Source<T>;
  readonly #run: Prober;
  /** The same if it has several threads. */
  readonly #crew: Crew | null;
  readonly #results = new Fifo<Result<T>>();
  /** The first results of denied targets, as long as no target was allowed. */
  #denied: Result<T>[] = [];
  #denial: Error | null = null;
  #isAllowed = false;
  readonly #readers = new Fifo<Reader<T>>();
  readonly #perState: Record<ProbeState, number> = {
    open: 0,
    closed: 0,
    filtered: 0,
    unsent: 0,
  };
  #begun = 0;
  #done = 0;
  #hasBegun = false;
  #isOver = false;
  /** Settles when all descriptors are closed, where that takes its time. */
  #stopping: Promise<void> | null = null;
  /** What the next reader gets instead of a result. */
  #failure: { readonly reason: unknown } | null = null;
  #rate = 0;
  #rateSince = 0;
  #rateFrom = 0;

  constructor(
    targets: Iterable<T> | AsyncIterable<T>,
    options: ProbeOptions<T>,
  ) {
    checkTargets(targets);
    const c = libc();
    this.#libc = c;
    this.#options = checkOptions(c, options);
    const { setup, recipe, pacing, reading, threads } = this.#options;
    const source = new Source(c, targets, reading, this);
    this.#source = source;
    this.#crew = threads === 1
      ? null
      : new Crew(c, setup, recipe, pacing, threads, source, this);
    this.#run = this.#crew ?? new Run(c, recipe, pacing, source, this);
  }

  get progress(): ProbeProgress {
    const { inFlight, retries, attempts, concurrency } = this.#run.state;
    const now = performance.now();
    if (this.#hasBegun && now - this.#rateSince >= RATE_SPAN) {
      const seconds = (now - this.#rateSince) / 1000;
      this.#rate = (attempts - this.#rateFrom) / seconds;
      this.#rateSince = now;
      this.#rateFrom = attempts;
    }
    return {
      begun: this.#begun,
      done: this.#done,
      total: this.#source.total,
      inFlight,
      retries,
      concurrency,
      rate: this.#rate,
      threads: this.#crew?.threads ?? 1,
      perState: { ...this.#perState },
    };
  }

  get position(): Position {
    return this.#source.position;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<ProbeResult<T>, undefined>> {
    if (!this.#hasBegun) this.#begin();
    const result = this.#results.shift();
    if (result !== undefined) {
      this.#yielded(result);
      // No reader waits while there are results, so nothing else calls this.
      if (this.#results.length === 0) queueMicrotask(this.#pump);
      return Promise.resolve({ done: false, value: result });
    }
    if (this.#stopping !== null) return this.#stopping.then(() => this.next());
    if (this.#failure !== null) {
      const { reason } = this.#failure;
      this.#failure = null;
      return Promise.reject(reason);
    }
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
    });
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#hasBegun = true;
    this.#results.clear();
    this.#end();
    await this.#stopping;
    return { done: true, value: undefined };
  }

  get held(): number {
    return this.#results.length;
  }

  taken(): void {
    this.#begun++;
  }

  allowed(): void {
    this.#isAllowed = true;
    this.#giveDenied();
  }

  #giveDenied(): void {
    const denied = this.#denied;
    this.#denied = [];
    for (const result of denied) this.#give(result);
  }

  refused(job: number, error: Error, isDenied: boolean): void {
    const result = this.#finish(job, untried(error, isDenied));
    if (!isDenied || this.#isAllowed) return this.#give(result);
    this.#denial ??= error;
    this.#denied.push(result);
    // There may be no end of them.
    if (this.#denied.length >= MOST_DENIED) this.#giveDenied();
  }

  found(job: number, finding: Finding): void {
    const { fd, verdict } = finding;
    const state = verdict[0];
    // Most runs are after a few ports of many.
    if (fd < 0 && !this.#options.states.has(state)) {
      this.#count(job, state);
      return this.#source.release(job);
    }
    const socket = fd < 0 ? null : this.#socketOf(job, fd);
    const result = this.#finish(job, finding);
    if (socket !== null) this.#handOver(socket, result);
    this.#give(result);
  }

  /** Makes a socket of a connection: no call, so that nothing can fail. */
  #socketOf(job: number, fd: number): Socket {
    const { abi } = this.#libc;
    const { family } = this.#source.addressOf(job);
    return socketOf(
      this.#libc,
      fd,
      family === "inet" ? abi.AF_INET : abi.AF_INET6,
      abi.SOCK_STREAM,
      Past.NONBLOCKING,
      Connecting.done(),
    );
  }

  #handOver(socket: Socket, result: Result<T>): void {
    try {
      const { onOpen } = this.#options;
      onOpen!(socket, result);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  wake(): void {
    this.#run.pump();
  }

  done(): void {
    if (!this.#isAllowed && this.#denial !== null) {
      return this.failed(this.#denial);
    }
    this.#end();
  }

  failed(reason: unknown): void {
    if (this.#isOver) return;
    this.#failure = { reason };
    this.#end();
  }

  #begin(): void {
    this.#hasBegun = true;
    this.#rateSince = performance.now();
    const { signal } = this.#options;
    if (signal?.aborted) return this.failed(signal.reason);
    heedAbort(signal, this.#onAbort);
    this.#run.pump();
  }

  readonly #onAbort = (): void => {
    // A run that goes on from here probes again what no reader has seen.
    this.#results.clear();
    this.failed(this.#options.signal!.reason);
  };

  readonly #pump = (): void => this.#run.pump();

  /** Makes the result of a job, and counts it. */
  #finish(job: number, finding: Finding): Result<T> {
    const source = this.#source;
    const result = new Result(
      job,
      source.indexOf(job),
      source.addressText(job),
      source.targetOf(job),
      finding,
    );
    this.#count(job, result.state);
    return result;
  }

  #count(job: number, state: ProbeState): void {
    this.#perState[state]++;
    if (this.#source.finish(job)) this.#done++;
  }

  /** Gives a result to the reader that has waited longest, or keeps it. */
  #give(result: Result<T>): void {
    if (this.#isOver) return;
    if (!this.#options.states.has(result.state)) {
      return this.#yielded(result);
    }
    const reader = this.#readers.shift();
    if (reader === undefined) this.#results.push(result);
    else {
      this.#yielded(result);
      reader.resolve({ done: false, value: result });
    }
  }

  #yielded(result: Result<T>): void {
    this.#source.release(jobOf(result));
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    ignoreAbort(this.#options.signal, this.#onAbort);
    const stopping = this.#run.stop();
    this.#source.stop();
    if (stopping === undefined) return this.#dismiss();
    this.#stopping = stopping.then(() => {
      this.#stopping = null;
      this.#dismiss();
    });
  }

  /** Ends the wait of all readers, as there are no more results. */
  #dismiss(): void {
    for (;;) {
      const reader = this.#readers.shift();
      if (reader === undefined) return;
      if (this.#failure === null) {
        reader.resolve({ done: true, value: undefined });
      } else {
        const { reason } = this.#failure;
        this.#failure = null;
        reader.reject(reason);
      }
    }
  }
}

interface Reader<T extends Probeable> {
  resolve(step: IteratorResult<ProbeResult<T>, undefined>): void;
  reject(reason: unknown): void;
}

/** The job that a result is of. */
let jobOf: <T extends Probeable>(result: Result<T>) => number;

class Result<T extends Probeable> implements ProbeResult<T> {
  readonly index: number;
  readonly target: T;
  readonly address: string | null;
  readonly localAddress: string | null;
  readonly state: ProbeState;
  readonly reason: ProbeReason;
  readonly code: ErrnoCode | EaiCode | "UNKNOWN" | null;
  readonly icmp: Icmp | null;
  readonly soft: boolean;
  readonly attempts: number;
  readonly retransmits: number | null;
  readonly wall: number | null;
  readonly rtt: number | null;
  readonly #errno: number;
  readonly #syscall: string;
  #error: Error | null;
  readonly #job: number;

  static {
    jobOf = (result) => result.#job;
  }

  constructor(
    job: number,
    index: number,
    address: string | null,
    target: T,
    finding: Finding,
  ) {
    const { verdict, errno, syscall, cause } = finding;
    this.index = index;
    this.target = target;
    this.address = address;
    this.localAddress = finding.localAddress;
    this.state = verdict[0];
    this.reason = verdict[1];
    this.code = errno === 0
      ? codeOf(cause)
      : errno === DEADLINE
      ? "ETIMEDOUT"
      : errnoName(errno);
    this.icmp = finding.icmp;
    this.soft = finding.soft;
    this.attempts = finding.attempts;
    this.retransmits = finding.retransmits;
    this.wall = finding.wall;
    this.rtt = finding.rtt;
    this.#errno = errno;
    this.#syscall = syscall;
    this.#error = cause;
    this.#job = job;
  }

  get error(): Error | null {
    return this.#error ??= this.#errno === 0 ? null : this.#makeError();
  }

  #makeError(): ErrnoError {
    const context = {
      syscall: this.#syscall,
      address: this.address ?? undefined,
      localAddress: this.localAddress ?? undefined,
      elapsed: this.wall ?? undefined,
      icmp: this.icmp ?? undefined,
    };
    if (this.#errno !== DEADLINE) return errnoErrorFor(this.#errno, context);
    const { attempts } = this;
    return errnoError("ETIMEDOUT", {
      ...context,
      timeoutKind: "deadline",
      detail: `no answer to ${attempts} ` +
        `${attempts === 1 ? "attempt" : "attempts"} ` +
        `within ${Math.round(this.wall ?? 0)} ms`,
    });
  }
}

/** The name of a failure without an attempt. */
function codeOf(cause: Error | null): Result<Probeable>["code"] {
  if (cause === null) return null;
  return cause instanceof ErrnoError || cause instanceof LookupError
    ? cause.code
    : "EACCES";
}

/** The result of a target that is never tried. */
function untried(cause: Error, isDenied: boolean): Finding {
  const isNamed = isDenied || cause instanceof ErrnoError &&
      cause.syscall === "connect";
  return {
    verdict: isNamed ? UNSENT : UNNAMED,
    errno: 0,
    syscall: "connect",
    cause,
    icmp: null,
    soft: false,
    localAddress: null,
    attempts: 0,
    retransmits: null,
    wall: null,
    rtt: null,
    fd: -1,
  };
}

/** The options after the check, and what follows from them. */
interface Checked<T extends Probeable> {
  readonly setup: ProbeSetup;
  readonly recipe: Recipe;
  readonly threads: number;
  readonly pacing: Pacing;
  readonly reading: Reading;
  readonly states: ReadonlySet<ProbeState>;
  readonly onOpen: ProbeOptions<T>["onOpen"];
  readonly signal: AbortSignal | undefined;
}

const PROBE_KEYS = [
  "timeout",
  "retries",
  "retryAfter",
  "concurrency",
  "hostConcurrency",
  "rate",
  "states",
  "onOpen",
  "allAddresses",
  "localAddress",
  "interface",
  "family",
  "protocol",
  "socketOptions",
  "threads",
  "signal",
] as const;

function checkOptions<T extends Probeable>(
  c: Libc,
  options: unknown,
): Checked<T> {
  const given = readOptions("options", options, PROBE_KEYS);
  const { retryAfter, concurrency, localAddress, onOpen } = given;
  if (onOpen !== undefined) checkFunction("onOpen", onOpen);
  const { interface: device, protocol, socketOptions } = given;
  const setup = {
    localAddress,
    interface: device,
    protocol,
    socketOptions,
    softErrors: undefined,
  };
  const from = localAddress === undefined
    ? null
    : checkLocalAddress(localAddress);
  const pacing: Pacing = {
    timeout: checkMilliseconds("timeout", given.timeout, 1500),
    retries: checkCount("retries", given.retries, 2, 0),
    retryAfter: retryAfter === undefined
      ? null
      : checkMilliseconds("retryAfter", retryAfter, 0),
    concurrency: concurrency === undefined
      ? null
      : checkCount("concurrency", concurrency, 0, 1),
    hostConcurrency: checkCount(
      "hostConcurrency",
      given.hostConcurrency,
      256,
      1,
    ),
    rate: checkRate(given.rate),
    keepsSockets: onOpen !== undefined,
  };
  const threads = checkCount("threads", given.threads, 1, 1);
  return {
    setup,
    recipe: probeRecipe(c, setup),
    threads: Math.min(threads, mostThreads(pacing)),
    pacing,
    reading: {
      family: agreedFamily(given.family, from),
      allAddresses: checkFlag("allAddresses", given.allAddresses),
      timeout: given.timeout === undefined ? NAME_TIMEOUT : pacing.timeout,
    },
    states: checkStates(given.states),
    onOpen: onOpen as ProbeOptions<T>["onOpen"],
    signal: checkSignal("signal", given.signal),
  };
}

/** How many threads find enough to do: each takes a place, and begins an attempt within 10 ms. */
function mostThreads({ concurrency, hostConcurrency, rate }: Pacing): number {
  const most = Math.min(concurrency ?? Infinity, hostConcurrency, rate / 100);
  return Math.max(1, Math.floor(most));
}

function checkFlag(name: string, value: unknown): boolean {
  if (value === undefined) return false;
  if (typeof value === "boolean") return value;
  throw notA("boolean", name, value);
}

function checkStates(states: unknown): ReadonlySet<ProbeState> {
  if (states === undefined) return new Set(PROBE_STATES);
  if (!Array.isArray(states)) {
    throw notA("list", "states", states);
  }
  for (const state of states) {
    if (!PROBE_STATES.includes(state)) {
      throw new TypeError(
        `Cannot use state ${show(state)}: the states are ${
          PROBE_STATES.join(", ")
        }`,
      );
    }
  }
  return new Set(states);
}

function checkCount(
  name: string,
  value: unknown,
  fallback: number,
  least: number,
): number {
  if (value === undefined) return fallback;
  const count = checkInteger(name, value, Number.MAX_SAFE_INTEGER);
  if (count >= least) return count;
  throw new RangeError(
    `Cannot use ${name} ${count}: it must be ${least} or more`,
  );
}

function checkRate(rate: unknown): number {
  if (rate === undefined) return Infinity;
  if (typeof rate !== "number") {
    throw notA("number", "rate", rate);
  }
  if (rate > 0) return rate;
  throw new RangeError(
    `Cannot use rate ${rate}: it must be more than 0 attempts a second`,
  );
}

function checkTargets(targets: unknown): void {
  if (
    isObject(targets) &&
    (Symbol.iterator in targets || Symbol.asyncIterator in targets)
  ) return;
  throw new TypeError(
    `Cannot probe ${show(targets)}: it is no list of targets`,
  );
}
