/**
 * Several addresses, one connection: which starts when, and which wins (RFC
 * 8305).
 *
 * @module
 */
import type { IpAddress } from "../address/lookup.ts";
import { performance } from "../../ffi/timers.ts";

/** RFC 8305, section 8: the least time between two attempts, in ms. */
export const LEAST_ATTEMPT_DELAY = 10;

/**
 * The order and the times in which the addresses of a host are tried.
 *
 * The families take turns, beginning with that of the first address: if one of
 * the two does not work here, half of the attempts at most are lost on it (RFC
 * 8305, section 4). The next attempt starts after a delay, or at once when one
 * has failed; if there is not so much time for all, they share it. None starts
 * after the end, but for the first.
 */
export class Schedule {
  readonly #delay: number;
  readonly #end: number;
  /** What was not tried so far, by family. */
  readonly #untried: Record<IpAddress["family"], IpAddress[]> = {
    inet: [],
    inet6: [],
  };
  readonly #known: Set<string> = new Set();
  #turn: IpAddress["family"] = "inet";
  #next = -Infinity;
  #begun = 0;

  /**
   * @param delay Milliseconds from one attempt to the next.
   * @param end When the race is over, on the clock of `performance.now()`.
   */
  constructor(delay: number, end: number) {
    this.#delay = delay;
    this.#end = end;
  }

  /** How many addresses were taken. */
  get begun(): number {
    return this.#begun;
  }

  /** How many addresses there are, each counted once. */
  get size(): number {
    return this.#known.size;
  }

  /** Whether an address is left. */
  get isEmpty(): boolean {
    return this.#known.size === this.#begun;
  }

  /** When the next attempt is due: `Infinity` if there is none. */
  get next(): number {
    return this.isEmpty ? Infinity : this.#next;
  }

  /** Adds addresses; those that are known already are left out. */
  add(addresses: readonly IpAddress[]): void {
    if (this.#known.size === 0 && addresses.length > 0) {
      this.#turn = addresses[0]!.family;
    }
    for (const address of addresses) {
      const text = address.toString();
      if (this.#known.has(text)) continue;
      this.#known.add(text);
      this.#untried[address.family].push(address);
    }
  }

  /** Makes the next attempt due at once: one has failed. */
  hurry(): void {
    this.#next = -Infinity;
  }

  /** Takes the address that is due now, `null` if none is. */
  take(now: number = performance.now()): IpAddress | null {
    if (this.isEmpty || now < this.#next) return null;
    if (now >= this.#end && this.#begun > 0) return null;
    const family = this.#untried[this.#turn].length > 0
      ? this.#turn
      : other(this.#turn);
    const address = this.#untried[family].shift()!;
    this.#turn = other(family);
    this.#begun++;
    const left = this.#known.size - this.#begun;
    const share = (this.#end - now) / (left + 1);
    const delay = Math.min(this.#delay, Math.max(share, LEAST_ATTEMPT_DELAY));
    this.#next = now + delay;
    return address;
  }
}

function other(family: IpAddress["family"]): IpAddress["family"] {
  return family === "inet" ? "inet6" : "inet";
}
