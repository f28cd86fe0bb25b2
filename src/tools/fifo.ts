/**
 * First in, first out.
 *
 * @module
 */

/** How many places are free in front before the rest moves up. */
const MOST_FREE = 1024;

/** A queue whose both ends take constant time, whatever its length. */
export class Fifo<T> {
  #items: T[] = [];
  #first = 0;

  /** How many wait. */
  get length(): number {
    return this.#items.length - this.#first;
  }

  /** Adds one at the end. */
  push(item: T): void {
    this.#items.push(item);
  }

  /** Takes the first, `undefined` if there is none. */
  shift(): T | undefined {
    if (this.#first === this.#items.length) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first++] = undefined as T;
    if (this.#first === this.#items.length) this.clear();
    else if (this.#first > MOST_FREE && 2 * this.#first > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }

  /** Takes all out. */
  clear(): void {
    this.#items = [];
    this.#first = 0;
  }
}
