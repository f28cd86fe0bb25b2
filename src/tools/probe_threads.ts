/**
 * A run on several threads.
 *
 * @module
 */
import { type Libc, type StartedThread, UNABLE } from "../../ffi/contract.ts";
import { startThread } from "../../ffi/threads.ts";
import type { Recipe } from "../attempt/attempt.ts";
import { closeByReset } from "../attempt/descriptor.ts";
import type { ProbeSetup } from "./probe_recipe.ts";
import type { Inet6Address, InetAddress } from "../address/address.ts";
import { NOTHING } from "./probe_flights.ts";
import {
  type Feed,
  type Finding,
  type Pacing,
  Run,
  type RunState,
  type Sink,
  USUAL_CONCURRENCY,
} from "./probe_run.ts";
import {
  FINDING_WIDTH,
  type Order,
  probeForOthers,
  type Share,
  type ThreadReport,
  unpackFinding,
  workerUrl,
} from "./probe_worker.ts";

/**
 * Matches where this package is a file for each module. A bundle is one file,
 * and to load that in a thread would run the whole program once more.
 */
const OWN_FILE = /\/probe_worker\.[cm]?[jt]s$/;

/** How many jobs are sent together, at most. */
const JOB_BATCH = 256;

/**
 * How many jobs a thread has that it has not begun, at most: enough to be busy
 * while this thread does its own work.
 */
const MOST_AHEAD = 1024;

/**
 * This thread and others, each with an engine of its own. A thread gets jobs
 * when it has room for them, so that a slow one gets fewer, and one that cannot
 * be started gets none.
 */
export class Crew implements Feed, Sink {
  readonly total: number | null;
  readonly #libc: Libc;
  readonly #feed: Feed;
  readonly #sink: Sink;
  readonly #own: Run;
  readonly #others: Hand[];
  #hasBegun = false;
  #isOver = false;

  constructor(
    libc: Libc,
    setup: ProbeSetup,
    recipe: Recipe,
    pacing: Pacing,
    threads: number,
    feed: Feed,
    sink: Sink,
  ) {
    this.#libc = libc;
    this.total = feed.total;
    this.#feed = feed;
    this.#sink = sink;
    const { concurrency, hostConcurrency, rate } = pacing;
    const part = (n: number) => Math.max(1, Math.floor(n / threads));
    const shared: Pacing = {
      ...pacing,
      concurrency: part(concurrency ?? USUAL_CONCURRENCY),
      hostConcurrency: part(hostConcurrency),
      rate: rate / threads,
    };
    this.#own = new Run(libc, recipe, shared, this, this, threads);
    const share: Share = { setup, pacing: shared, threads };
    // Jobs that were sent cannot be given to another thread.
    const ahead = Math.min(2 * JOB_BATCH, Math.max(1, Math.floor(shared.rate)));
    const room = shared.concurrency! + ahead;
    this.#others = Array.from(
      { length: threads - 1 },
      () => new Hand(this, share, room),
    );
  }

  get state(): RunState {
    const state = { ...this.#own.state };
    for (const { state: other } of this.#others) {
      state.inFlight += other.inFlight;
      state.retries += other.retries;
      state.attempts += other.attempts;
      state.concurrency += other.concurrency;
    }
    return state;
  }

  /** How many threads share the run, but for those that could not be started. */
  get threads(): number {
    return 1 + this.#others.filter(({ isMissing }) => !isMissing).length;
  }

  get held(): number {
    return this.#sink.held;
  }

  /** Whether nothing is left to do on any thread. */
  get isOver(): boolean {
    return this.#feed.isOver &&
      this.#others.every((other) => other.outstanding === 0);
  }

  take(): number {
    return this.#feed.take();
  }

  addressOf(job: number): InetAddress | Inet6Address {
    return this.#feed.addressOf(job);
  }

  found(job: number, finding: Finding): void {
    if (!this.#isOver) this.#sink.found(job, finding);
    else if (finding.fd >= 0) closeByReset(this.#libc, finding.fd);
  }

  done(): void {
    this.#sink.done();
  }

  failed(error: unknown): void {
    this.#sink.failed(error);
  }

  /** Begins as much as may begin now, on all threads. */
  pump(): void {
    if (this.#isOver) return;
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      for (const other of this.#others) other.start();
    }
    try {
      for (const other of this.#others) other.fill();
    } catch (error) {
      return this.#sink.failed(error);
    }
    this.#own.pump();
  }

  /** Gives up what is under way; the promise settles when all is closed. */
  async stop(): Promise<void> {
    this.#isOver = true;
    this.#own.stop();
    await Promise.all(this.#others.map((other) => other.stop()));
  }
}

/** Another thread. */
class Hand {
  /** How many of its jobs have no finding so far. */
  outstanding = 0;
  /** Whether it has ended before the run did, or could not be started. */
  isMissing = false;
  state: RunState = { inFlight: 0, retries: 0, attempts: 0, concurrency: 0 };
  readonly #crew: Crew;
  readonly #room: number;
  readonly #share: Share;
  #thread: StartedThread | null = null;
  /** The host that was sent last. */
  #host = "";
  #isReady = false;
  /** Whether it is gone, or was never there. */
  #isLost = false;
  #isStopping = false;
  #onEnd: (() => void) | null = null;

  constructor(crew: Crew, share: Share, room: number) {
    this.#crew = crew;
    this.#room = room;
    this.#share = share;
  }

  start(): void {
    this.#thread = !OWN_FILE.test(workerUrl) ? null : startThread({
      module: workerUrl,
      name: probeForOthers.name,
      data: this.#share,
      message: (report) => this.#take(report as ThreadReport),
      ended: (error) => this.#lose(error),
    });
    if (this.#thread === null) this.#lose(null);
  }

  /** Sends as many jobs as there is room for. */
  fill(): void {
    if (!this.#isReady || this.#isLost || this.#isStopping) return;
    const crew = this.#crew;
    // More would only wait there, and may be done sooner elsewhere.
    const room = Math.min(this.#room, this.state.inFlight + MOST_AHEAD);
    const free = room - this.outstanding - crew.held;
    // A message for each job would cost more than the job.
    if (free < Math.min(JOB_BATCH, room)) return;
    for (let left = free; left > 0;) {
      const hosts: string[] = [];
      const most = Math.min(JOB_BATCH, left);
      const jobs = new Int32Array(most);
      const ports = new Uint16Array(most);
      while (hosts.length < most) {
        const job = crew.take();
        if (job === NOTHING) break;
        const address = crew.addressOf(job);
        const { hostname, port } = address;
        const isScoped = address.family === "inet6" && address.scopeId !== 0;
        const host = isScoped ? `${hostname}%${address.scopeId}` : hostname;
        jobs[hosts.length] = job;
        ports[hosts.length] = port;
        hosts.push(host === this.#host ? "" : host);
        this.#host = host;
        this.outstanding++;
      }
      if (hosts.length === 0) return;
      this.#send({ hosts, jobs, ports });
      left -= hosts.length;
    }
  }

  /** Stops the thread; the promise settles when it has ended. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const thread = this.#thread;
    if (thread === null || this.#isLost) return;
    if (this.#isReady) {
      await new Promise<void>((resolve) => {
        this.#onEnd = resolve;
        this.#send("stop");
      });
    }
    await thread.terminate();
  }

  #send(order: Order): void {
    this.#thread!.post(order);
  }

  #take(report: ThreadReport): void {
    if (report === UNABLE) {
      this.#thread!.terminate();
      return this.#lose(null);
    } else if (report === "ready") {
      this.#isReady = true;
    } else if (report === "stopped") {
      this.#onEnd?.();
    } else if ("failure" in report) {
      this.#crew.failed(report.failure);
    } else {
      const { numbers, state } = report;
      const extras = new Map(report.extras);
      this.state = state;
      for (let i = 0, at = 0; at < numbers.length; i++, at += FINDING_WIDTH) {
        this.outstanding--;
        const finding = unpackFinding(numbers, at, extras.get(i));
        this.#crew.found(numbers[at]!, finding);
      }
    }
    this.#crew.pump();
  }

  #lose(error: Error | null): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#onEnd?.();
    if (this.#isStopping) return;
    this.isMissing = true;
    if (this.outstanding > 0) {
      this.#crew.failed(
        new Error("Cannot go on: a thread has ended", { cause: error }),
      );
    }
  }
}
