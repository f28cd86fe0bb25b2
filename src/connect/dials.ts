/**
 * One address, connected to with or without holding the thread.
 *
 * @module
 */
import type { Address } from "../address/address.ts";
import {
  AGAIN,
  type Pace,
  PENDING,
  PLAIN,
  type Recipe,
} from "../attempt/attempt.ts";
import { errorFor, Failure } from "../attempt/failure.ts";
import {
  type Caller,
  callerOf,
  keepCaller,
  type PublicFunction,
  rejectAt,
  releaseCaller,
} from "../errors/caller.ts";
import { pointed } from "../errors/errors.ts";
import { ABORTED } from "../reactor/reactor.ts";
import type { Socket } from "../socket/socket.ts";
import type { Call } from "./call.ts";
import { Dial } from "./dial.ts";

/** An attempt for which the calling thread waits; it looks at the signal after `onSocket`. */
class BlockingDial extends Dial {
  ended(): void {}
}

/** One address, for which the thread waits, with as many sockets as it takes. */
export function dialSync(call: Call, address: Address): Socket | Failure {
  const { c, plan, start, timeout, signal, onSocket } = call;
  const recipe = mayBlock(call, address) ? blocking(call.recipe) : call.recipe;
  const end = start + timeout;
  const dial = new BlockingDial(
    c,
    recipe,
    address,
    start,
    end,
    signal,
    onSocket,
  );
  for (;;) {
    try {
      const errno = dial.start(plan.pace);
      if (errno === ABORTED) throw signal!.reason;
      if (errno === PENDING) dial.block();
    } catch (error) {
      dial.drop();
      throw error;
    }
    const result = dial.finish(start, timeout, true, false);
    if (result !== AGAIN) return result;
    dial.reuse(address, start, end);
  }
}

/** Whether connect(2) itself may wait: nothing can come that it would miss. */
function mayBlock({ timeout, recipe }: Call, { family }: Address): boolean {
  if (timeout !== Infinity) return false;
  return recipe.waitsSoft || family !== "inet" && family !== "inet6";
}

const BLOCKING: Recipe = { ...PLAIN, isNonblocking: false };

function blocking(recipe: Recipe): Recipe {
  return recipe === PLAIN ? BLOCKING : { ...recipe, isNonblocking: false };
}

/** One address, waited for without holding the thread. */
export class AsyncDial extends Dial {
  #resolve: ((socket: Socket | Promise<Socket>) => void) | null = null;

  constructor(call: Call, address: Address) {
    const { c, recipe, start, timeout, signal, onSocket } = call;
    super(c, recipe, address, start, start + timeout, signal, onSocket);
  }

  /**
   * Connects.
   *
   * @param caller The caller, if it was kept; it is released in the end.
   * @param at A function of ours that is running.
   */
  run(
    pace: Pace,
    caller: Caller | null,
    at: PublicFunction,
  ): Promise<Socket> {
    try {
      const end = this.advance(pace, false);
      if (end === null) {
        const kept = caller ?? keepCaller(at);
        if (kept !== null) this.caller = kept;
        return new Promise((resolve) => {
          this.#resolve = resolve;
          this.wait();
        });
      }
      releaseCaller(caller);
      if (!(end instanceof Failure)) return Promise.resolve(end);
      // The stack is walked here: each frame of ours above takes time, too.
      return Promise.reject(errorFor(end, caller ?? callerOf(at)));
    } catch (error) {
      releaseCaller(caller);
      return Promise.reject(pointed(error, caller ?? at));
    }
  }

  ended(): void {
    const resolve = this.#resolve!;
    const { caller } = this;
    let end: Socket | Failure | null;
    try {
      end = this.settle(true) ?? this.advance(null, true);
    } catch (error) {
      this.drop();
      releaseCaller(caller);
      return rejectAt(resolve, caller, (at) => pointed(error, at));
    }
    if (end === null) return this.wait();
    releaseCaller(caller);
    if (!(end instanceof Failure)) return resolve(end);
    const failure = end;
    rejectAt(resolve, caller, (at) => errorFor(failure, at));
  }

  /** Tries until there is something to wait for, which is `null`. */
  private advance(
    pace: Pace | null,
    hasWaited: boolean,
  ): Socket | Failure | null {
    for (;;) {
      if (this.start(pace) === PENDING) return null;
      const end = this.settle(hasWaited);
      if (end !== null) return end;
    }
  }

  /** What the outcome is to the caller, `null` for another try. */
  private settle(hasWaited: boolean): Socket | Failure | null {
    if (this.errno === ABORTED) throw this.signal!.reason;
    const { since, end, address } = this;
    // The end is a whole millisecond, not before the limit.
    const timeout = Math.floor(end - since);
    const result = this.finish(since, timeout, false, hasWaited);
    if (result !== AGAIN) return result;
    this.reuse(address, since, end);
    return null;
  }
}
