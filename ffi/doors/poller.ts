import type * as WorkerThreads from "node:worker_threads";
import type { CFunctions, OpenPoll, Poll } from "../contract.ts";
import { bare } from "../records.ts";
import { performance, setImmediate, setTimeout } from "../timers.ts";

/** Where poll(2) is. */
export interface PollerOptions {
  readonly openPoll: OpenPoll;
  readonly library: string;
  /** Its name in the library. */
  readonly symbol: string;
  /** Width of `nfds_t`. */
  readonly nfdsSize: 4 | 8;
  /** The same function on this thread. */
  readonly poll: CFunctions["poll"];
}

/** What a thread is given. */
interface Shared {
  /** The number of the request, then how many descriptors and milliseconds. */
  readonly control: Int32Array<SharedArrayBuffer>;
  readonly fds: Uint8Array<SharedArrayBuffer>;
}

/**
 * How many bytes of descriptors a thread has room for: at first, and at most,
 * which is a million of them.
 */
const FIRST_ROOM = 0x1000;
const MOST_ROOM = 0x80_0000;

/** How long to sleep between two looks as long as there is no thread, in ms. */
const PAUSE = 1;

/**
 * Waits as poll(2) does and leaves this thread free, on runtimes that cannot
 * call C off it.
 *
 * Each wait blocks a worker in poll. A worker takes some 20 ms to start, and
 * the program may not be permitted to have one: meanwhile, this thread looks
 * once in a millisecond. A worker is kept for the next wait and keeps the
 * process alive only while one is under way.
 *
 * What an epoll descriptor stands for is waited for by the runtime's own loop
 * (`Door.watch`); this is for poll(2), and for where that fails.
 */
export class Poller {
  readonly #options: PollerOptions;
  /** Those that have nothing to do. */
  readonly #idle: Thread[] = [];
  #isStarting = false;
  #canStart = true;

  constructor(options: PollerOptions) {
    this.#options = options;
  }

  /**
   * poll(2); a negative result means only that the caller has to look again.
   * All other work has had a turn before the promise resolves.
   */
  poll(
    fds: Uint8Array,
    count: number | bigint,
    timeout: number,
  ): Promise<number> {
    const thread = timeout === 0 ? null : this.#take(fds.length);
    return thread === null
      ? this.#bridge(fds, count, timeout)
      : this.#give(thread, fds, count, timeout);
  }

  async #bridge(
    fds: Uint8Array,
    count: number | bigint,
    timeout: number,
  ): Promise<number> {
    const { poll } = this.#options;
    const end = timeout < 0 ? Infinity : performance.now() + timeout;
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (;;) {
      const result = poll(fds, count, 0);
      const left = end - performance.now();
      if (result !== 0 || left <= 0) return result;
      await new Promise<void>((resolve) => {
        setTimeout(resolve, Math.min(PAUSE, left));
      });
      const thread = this.#take(fds.length);
      if (thread === null) continue;
      const rest = timeout < 0 ? -1 : Math.ceil(end - performance.now());
      return this.#give(
        thread,
        fds,
        count,
        timeout < 0 ? -1 : Math.max(rest, 0),
      );
    }
  }

  async #give(
    thread: Thread,
    fds: Uint8Array,
    count: number | bigint,
    timeout: number,
  ): Promise<number> {
    const result = await thread.poll(fds, Number(count), timeout);
    if (!thread.isLost) this.#idle.push(thread);
    return result;
  }

  /** A thread with nothing to do, `null` while there is none. */
  #take(length: number): Thread | null {
    if (length > MOST_ROOM) return null;
    let thread: Thread | undefined;
    do thread = this.#idle.pop(); while (thread?.isLost);
    if (thread !== undefined) return thread;
    if (!this.#isStarting && this.#canStart) this.#start();
    return null;
  }

  #start(): void {
    this.#isStarting = true;
    try {
      const thread = new Thread(this.#options, (isReady) => {
        this.#isStarting = false;
        if (isReady) this.#idle.push(thread);
        else this.#canStart = false;
      });
    } catch {
      this.#isStarting = false;
      this.#canStart = false;
    }
  }
}

/** A worker that does one wait at a time. */
class Thread {
  isLost = false;
  readonly #shared: Shared;
  readonly #worker: WorkerThreads.Worker;
  #resolve: ((result: number) => void) | null = null;

  constructor(
    { openPoll, library, symbol, nfdsSize }: PollerOptions,
    onStart: (isReady: boolean) => void,
  ) {
    const { process } = globalThis as unknown as {
      process: { getBuiltinModule(name: string): typeof WorkerThreads };
    };
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const room = new SharedArrayBuffer(FIRST_ROOM, {
      maxByteLength: MOST_ROOM,
    });
    this.#shared = {
      control: new Int32Array(new SharedArrayBuffer(12)),
      fds: new Uint8Array(room),
    };
    const location = [library, symbol, nfdsSize === 8]
      .map((argument) => JSON.stringify(argument));
    // A text has no address that could be lost: not when the package is
    // translated, nor when a bundler makes one file of it.
    const text = `(${serve})((${openPoll})(${location}))`;
    const options = {
      eval: true,
      name: "poll",
      workerData: this.#shared,
      // Neither the program's own preloads, nor a second warning that FFI is
      // an experiment.
      execArgv: ["--no-warnings"],
    };
    const worker = new Worker(text, bare(options));
    this.#worker = worker;
    let isReady = false;
    worker.on("message", (result: number) => {
      if (isReady) return this.#end(result);
      isReady = true;
      onStart(true);
    });
    worker.on("error", () => {
      this.isLost = true;
      if (!isReady) onStart(false);
      this.#end(-1);
    });
    worker.unref();
  }

  poll(fds: Uint8Array, count: number, timeout: number): Promise<number> {
    const { control, fds: shared } = this.#shared;
    if (fds.length > shared.length) shared.buffer.grow(fds.length);
    shared.set(fds);
    control[1] = count;
    control[2] = timeout;
    this.#worker.ref();
    return new Promise((resolve) => {
      this.#resolve = (result) => {
        fds.set(shared.subarray(0, fds.length));
        resolve(result);
      };
      Atomics.add(control, 0, 1);
      Atomics.notify(control, 0);
    });
  }

  #end(result: number): void {
    const resolve = this.#resolve;
    if (resolve === null) return;
    this.#resolve = null;
    this.#worker.unref();
    resolve(result);
  }
}

/**
 * What a thread does all its life. Like {@linkcode OpenPoll}, it is run by its
 * text.
 */
function serve(poll: Poll): never {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): typeof WorkerThreads };
  };
  const { parentPort, workerData } = process.getBuiltinModule(
    "node:worker_threads",
  );
  const { control, fds } = workerData as Shared;
  // Node joins its threads when it exits and can end none of them within
  // poll(2), so that no poll is long.
  const longest = 100;
  parentPort!.postMessage(0);
  for (let turn = 0;; turn++) {
    Atomics.wait(control, 0, turn);
    const count = control[1]!;
    let left = control[2]!;
    let result = 0;
    for (;;) {
      const slice = left < 0 || left > longest ? longest : left;
      result = poll(fds, count, slice);
      if (result !== 0 || slice === left) break;
      if (left > 0) left -= slice;
    }
    parentPort!.postMessage(result);
  }
}
