/**
 * What a first connect in a process costs beyond the others, paid before
 * anything is measured.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { performance } from "../../ffi/timers.ts";
import type { Address } from "../address/address.ts";
import { Attempt, PENDING, type Recipe } from "../attempt/attempt.ts";

/** How often the way of an attempt is gone before the first one counts. */
const WARM_UP_ROUNDS = 100;

/**
 * How long to wait for news of a socket that was never connected, in ms: Linux
 * has them at once, BSD has none.
 */
const NEWS_WAIT = 1;

/**
 * Goes the way of a probe without sending anything: an invalid descriptor is
 * refused before all else, and the wait for a socket that was never connected
 * ends at once or soon.
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

/** An attempt that never leaves this machine. */
class Warming extends Attempt {
  #settle: () => void = () => {};

  constructor(c: Libc, recipe: Recipe, address: Address) {
    super(c, recipe, address, 0, Infinity, undefined);
  }

  /** Waits for what there is to be said of a socket at once. */
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
