/**
 * First in, first out.
 *
 * @module
 */

/** How many places a queue has to begin with; a power of two. */
const FIRST_PLACES = 16;

/**
 * A queue whose both ends take constant time, whatever its length. It keeps its
 * memory, so that what is empty again and again allocates nothing.
 */
export class Fifo<T> {
  /** A ring of a power of two places. */
  #items: (T | undefined)[] = [];
  #first = 0;
  #length = 0;

  /** How many wait. */
  get length(): number {
    return this.#length;
  }

  /** Adds one at the end. */
  push(item: T): void {
    if (this.#length === this.#items.length) this.#grow();
    const mask = this.#items.length - 1;
    this.#items[(this.#first + this.#length++) & mask] = item;
  }

  /** Takes the first, `undefined` if there is none. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first] = undefined;
    this.#first = (this.#first + 1) & (this.#items.length - 1);
    this.#length--;
    return item;
  }

  /** Takes all out. */
  clear(): void {
    this.#items = [];
    this.#first = 0;
    this.#length = 0;
  }

  #grow(): void {
    const old = this.#items;
    const length = old.length === 0 ? FIRST_PLACES : 2 * old.length;
    this.#items = new Array<T | undefined>(length).fill(undefined);
    for (let i = 0; i < old.length; i++) {
      this.#items[i] = old[(this.#first + i) & (old.length - 1)];
    }
    this.#first = 0;
  }
}
