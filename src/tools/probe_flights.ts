/**
 * The state of the probes that are under way, in columns of numbers.
 *
 * Ten thousand of them may wait at a time. As objects, the garbage collector
 * would copy each of them several times meanwhile.
 *
 * @module
 */

/** How many rows a table has to begin with. */
const FIRST_ROWS = 256;

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
export class Flights<H> {
  /** The job of each. */
  job = new Int32Array(FIRST_ROWS);
  /** When its first attempt began, {@linkcode NOTHING} before that. */
  start = new Float64Array(FIRST_ROWS);
  /** When its last attempt is given up. */
  end = new Float64Array(FIRST_ROWS);
  /** How many attempts were made. */
  attempts = new Uint32Array(FIRST_ROWS);
  /** How often its sockets have connected to themselves. */
  selfConnections = new Uint8Array(FIRST_ROWS);
  /** The descriptor of its newest attempt that may still be answered. */
  newest = new Int32Array(FIRST_ROWS);
  flags = new Uint8Array(FIRST_ROWS);
  readonly hosts: (H | null)[] = [];
  readonly #free: number[] = [];
  #used = 0;

  /** Adds a flight; returns its number. */
  take(job: number, host: H): number {
    const flight = this.#free.pop() ?? this.#used++;
    if (flight >= this.job.length) this.#grow();
    this.job[flight] = job;
    this.start[flight] = NOTHING;
    this.attempts[flight] = 0;
    this.selfConnections[flight] = 0;
    this.newest[flight] = NOTHING;
    this.flags[flight] = Flag.LIVE;
    this.hosts[flight] = host;
    return flight;
  }

  /** Ends a flight; its number is used again. */
  free(flight: number): void {
    this.flags[flight] = 0;
    this.hosts[flight] = null;
    this.#free.push(flight);
  }

  #grow(): void {
    const rows = 2 * this.job.length;
    this.job = copied(this.job, new Int32Array(rows));
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
  flight = new Int32Array(FIRST_ROWS).fill(NOTHING);
  /** When it began. */
  since = new Float64Array(FIRST_ROWS);
  /** When it is over, or is to be repeated. */
  end = new Float64Array(FIRST_ROWS);
  /** The descriptor of the attempt before, at the same flight. */
  older = new Int32Array(FIRST_ROWS);
  /** How often its events have led to nothing. */
  vain = new Uint8Array(FIRST_ROWS);
  /** Its place in the heap, {@linkcode NOTHING} outside of it. */
  #place = new Int32Array(FIRST_ROWS).fill(NOTHING);
  /** A binary heap with the earliest end on top. */
  #heap = new Int32Array(FIRST_ROWS);
  #size = 0;
  /** The highest descriptor so far. */
  #highest = NOTHING;

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

/** Copies what a column has into a longer one. */
function copied<C extends { set(from: C): void }>(from: C, to: C): C {
  to.set(from);
  return to;
}
