/**
 * The state of the probes that are under way, in columns of numbers.
 *
 * Ten thousand of them may wait at a time. As objects, the garbage collector
 * would copy each of them several times meanwhile.
 *
 * @module
 */

/**
 * How many rows a table has to begin with, at least and at most. Columns that
 * are outgrown stay until a full collection.
 */
const LEAST_ROWS = 16;
const MOST_ROWS = 0x8000;

/** Stands for no number, in place of one. */
export const NOTHING = -1;

/** The bits of the flags of a flight. */
export const Flag = {
  /** It is under way. */
  LIVE: 1,
  /** It is in the queue for another attempt. */
  DUE: 2,
} as const;

/** The probes of one address each. A flight is known by its number. */
export class Flights {
  /** The job of each; of those that are free, which is free next. */
  job: Int32Array<ArrayBuffer>;
  /** The number of its host. */
  host: Uint32Array<ArrayBuffer>;
  /** When its first attempt began, {@linkcode NOTHING} before that. */
  start: Float64Array<ArrayBuffer>;
  /** When its last attempt is given up. */
  end: Float64Array<ArrayBuffer>;
  /** How many attempts were made. */
  attempts: Uint32Array<ArrayBuffer>;
  /** How often its sockets have connected to themselves. */
  selfConnections: Uint8Array<ArrayBuffer>;
  /** The descriptor of its newest attempt that may still be answered. */
  newest: Int32Array<ArrayBuffer>;
  flags: Uint8Array<ArrayBuffer>;
  #free = NOTHING;
  #used = 0;

  /** @param wanted How many there may be at a time, as far as that is known. */
  constructor(wanted: number) {
    const rows = rowsFor(wanted);
    this.job = new Int32Array(rows);
    this.host = new Uint32Array(rows);
    this.start = new Float64Array(rows);
    this.end = new Float64Array(rows);
    this.attempts = new Uint32Array(rows);
    this.selfConnections = new Uint8Array(rows);
    this.newest = new Int32Array(rows);
    this.flags = new Uint8Array(rows);
  }

  /** Adds a flight; returns its number. */
  take(job: number, host: number): number {
    let flight = this.#free;
    if (flight !== NOTHING) this.#free = this.job[flight]!;
    else {
      flight = this.#used++;
      if (flight === this.job.length) this.#grow();
    }
    this.job[flight] = job;
    this.start[flight] = NOTHING;
    this.attempts[flight] = 0;
    this.selfConnections[flight] = 0;
    this.newest[flight] = NOTHING;
    this.flags[flight] = Flag.LIVE;
    this.host[flight] = host;
    return flight;
  }

  /** Ends a flight; its number is used again. */
  free(flight: number): void {
    this.flags[flight] = 0;
    this.job[flight] = this.#free;
    this.#free = flight;
  }

  #grow(): void {
    const rows = 2 * this.job.length;
    this.job = copied(this.job, new Int32Array(rows));
    this.host = copied(this.host, new Uint32Array(rows));
    this.start = copied(this.start, new Float64Array(rows));
    this.end = copied(this.end, new Float64Array(rows));
    this.attempts = copied(this.attempts, new Uint32Array(rows));
    this.selfConnections = copied(this.selfConnections, new Uint8Array(rows));
    this.newest = copied(this.newest, new Int32Array(rows));
    this.flags = copied(this.flags, new Uint8Array(rows));
  }
}

/**
 * The attempts that may still be answered, by their descriptors, in the order
 * of their deadlines.
 */
export class Attempts {
  /** The flight of each, {@linkcode NOTHING} where there is no attempt. */
  flight: Int32Array<ArrayBuffer>;
  /** When it began. */
  since: Float64Array<ArrayBuffer>;
  /** When it is over, or is to be repeated. */
  end: Float64Array<ArrayBuffer>;
  /** The descriptor of the attempt before, at the same flight. */
  older: Int32Array<ArrayBuffer>;
  /** How often its events have led to nothing. */
  vain: Uint8Array<ArrayBuffer>;
  /** Its place in the heap, {@linkcode NOTHING} outside of it. */
  #place: Int32Array<ArrayBuffer>;
  /** A binary heap with the earliest end on top. */
  #heap: Int32Array<ArrayBuffer>;
  #size = 0;
  /** The highest descriptor so far. */
  #highest = NOTHING;

  /** @param wanted The number of the highest descriptor, as far as that is known. */
  constructor(wanted: number) {
    const rows = rowsFor(wanted);
    this.flight = new Int32Array(rows).fill(NOTHING);
    this.since = new Float64Array(rows);
    this.end = new Float64Array(rows);
    this.older = new Int32Array(rows);
    this.vain = new Uint8Array(rows);
    this.#place = new Int32Array(rows).fill(NOTHING);
    this.#heap = new Int32Array(rows);
  }

  /** Adds an attempt. */
  add(fd: number, flight: number, since: number, older: number): void {
    while (fd >= this.flight.length) this.#grow();
    if (fd > this.#highest) this.#highest = fd;
    this.flight[fd] = flight;
    this.since[fd] = since;
    this.older[fd] = older;
    this.vain[fd] = 0;
  }

  /** Takes an attempt out. */
  remove(fd: number): void {
    this.flight[fd] = NOTHING;
    const place = this.#place[fd]!;
    if (place === NOTHING) return;
    this.#place[fd] = NOTHING;
    const last = this.#heap[--this.#size]!;
    if (last === fd) return;
    this.#sink(last, place);
    this.#rise(last, this.#place[last]!);
  }

  /** Sets when an attempt is over. */
  expireAt(fd: number, end: number): void {
    this.end[fd] = end;
    const place = this.#place[fd]!;
    if (place === NOTHING) return this.#rise(fd, this.#size++);
    this.#sink(fd, place);
    this.#rise(fd, this.#place[fd]!);
  }

  /** The attempt that is over next, {@linkcode NOTHING} if there is none. */
  get first(): number {
    return this.#size === 0 ? NOTHING : this.#heap[0]!;
  }

  /** The descriptors of all attempts. */
  *all(): Generator<number, void, void> {
    for (let fd = 0; fd <= this.#highest; fd++) {
      if (this.flight[fd] !== NOTHING) yield fd;
    }
  }

  #rise(fd: number, place: number): void {
    const heap = this.#heap;
    const end = this.end[fd]!;
    while (place > 0) {
      const parent = heap[(place - 1) >> 1]!;
      if (this.end[parent]! <= end) break;
      heap[place] = parent;
      this.#place[parent] = place;
      place = (place - 1) >> 1;
    }
    heap[place] = fd;
    this.#place[fd] = place;
  }

  #sink(fd: number, place: number): void {
    const heap = this.#heap;
    const end = this.end[fd]!;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.#size) break;
      const other = child + 1;
      if (
        other < this.#size &&
        this.end[heap[other]!]! < this.end[heap[child]!]!
      ) child = other;
      const least = heap[child]!;
      if (this.end[least]! >= end) break;
      heap[place] = least;
      this.#place[least] = place;
      place = child;
    }
    heap[place] = fd;
    this.#place[fd] = place;
  }

  #grow(): void {
    const rows = 2 * this.flight.length;
    this.flight = copied(this.flight, new Int32Array(rows).fill(NOTHING));
    this.since = copied(this.since, new Float64Array(rows));
    this.end = copied(this.end, new Float64Array(rows));
    this.older = copied(this.older, new Int32Array(rows));
    this.vain = copied(this.vain, new Uint8Array(rows));
    this.#place = copied(this.#place, new Int32Array(rows).fill(NOTHING));
    this.#heap = copied(this.#heap, new Int32Array(rows));
  }
}

function rowsFor(wanted: number): number {
  return Math.min(Math.max(wanted, LEAST_ROWS), MOST_ROWS);
}

/** Copies what a column has into a longer one. */
function copied<C extends { set(from: C): void }>(from: C, to: C): C {
  to.set(from);
  return to;
}
