/**
 * One address, connected to with or without holding the thread.
 *
 * @module
 */
import type { Address } from "../address/address.ts";
import { PENDING, PLAIN, type Recipe } from "../attempt/attempt.ts";
import { ABORTED } from "../reactor/reactor.ts";
import type { Socket } from "../socket/socket.ts";
import type { Call } from "./call.ts";
import { AGAIN, Dial, type OnSocket } from "./dial.ts";
import type { Plan } from "./target.ts";

/** An attempt for which the calling thread waits. */
class BlockingDial extends Dial {
  ended(): void {}
}

/** One address, for which the thread waits, with as many sockets as it takes. */
export function dialSync(call: Call, address: Address): Socket {
  const { c, start, timeout, onSocket } = call;
  const recipe = mayBlock(call, address) ? blocking(call.recipe) : call.recipe;
  const end = start + timeout;
  const dial = new BlockingDial(c, recipe, address, start, end, undefined);
  for (;;) {
    try {
      if (dial.start(onSocket, null) === PENDING) dial.block();
    } catch (error) {
      dial.drop();
      throw error;
    }
    const result = dial.finish(start, timeout, true, false);
    if (result === AGAIN) dial.reuse(address, start, end);
    else if (result instanceof Error) throw result;
    else return result;
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
  readonly #onSocket: OnSocket | null;
  #resolve: ((socket: Socket | Promise<Socket>) => void) | null = null;

  constructor(call: Call, address: Address) {
    const { c, recipe, start, timeout, signal, onSocket } = call;
    super(c, recipe, address, start, start + timeout, signal);
    this.#onSocket = onSocket;
  }

  run(pace: Plan["pace"] | null): Promise<Socket> {
    try {
      for (;;) {
        if (this.start(this.#onSocket, pace) === PENDING) {
          return new Promise((resolve) => {
            this.#resolve = resolve;
            this.wait();
          });
        }
        const end = this.#conclude(false);
        if (end !== null) return end;
      }
    } catch (error) {
      this.drop();
      return Promise.reject(error);
    }
  }

  ended(): void {
    let end: Promise<Socket>;
    try {
      end = this.#conclude(true) ?? this.run(null);
    } catch (error) {
      this.drop();
      end = Promise.reject(error);
    }
    this.#resolve!(end);
  }

  /** What the outcome is to the caller, `null` for another try. */
  #conclude(hasWaited: boolean): Promise<Socket> | null {
    const { since, end, address, errno, signal } = this;
    if (errno === ABORTED) {
      this.drop();
      return Promise.reject(signal!.reason);
    }
    const result = this.finish(since, end - since, false, hasWaited);
    if (result === AGAIN) {
      this.reuse(address, since, end);
      return null;
    }
    return result instanceof Error
      ? Promise.reject(result)
      : Promise.resolve(result);
  }
}
