/**
 * Does beforehand what makes the first connect of a process slower than the
 * others, so that it is not measured.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { performance } from "../../ffi/timers.ts";
import type { Address } from "../address/address.ts";
import { Attempt, PENDING, type Recipe } from "../attempt/attempt.ts";

/** How many attempts are made before the first one that counts. */
const WARM_UP_ROUNDS = 100;

/**
 * How long to wait for events of a socket that was never connected, in ms:
 * Linux reports some at once, BSD reports none.
 */
const NEWS_WAIT = 1;

/**
 * Runs the code of an attempt without sending anything: connect(2) refuses an
 * invalid descriptor before all else, and the wait for a socket that was never
 * connected ends at once or soon.
 */
export async function warmUp(
  c: Libc,
  recipe: Recipe,
  address: Address,
): Promise<void> {
  const echo = new Warming(c, recipe, address);
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    const now = performance.now();
    echo.reuse(address, now, now + NEWS_WAIT);
    echo.begin();
    if (round % 10 === 0) await echo.wake();
  }
}

/** An attempt that sends nothing. */
class Warming extends Attempt {
  #settle: () => void = () => {};

  constructor(c: Libc, recipe: Recipe, address: Address) {
    super(c, recipe, address, 0, Infinity, undefined);
  }

  /** Waits for the events that a new socket has at once. */
  async wake(): Promise<void> {
    if (!("hostname" in this.address) || this.open() !== 0) return;
    this.errno = PENDING;
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      this.wait();
    });
    this.close();
  }

  override ended(): void {
    this.#settle();
  }
}
