/** What has a moment at which it is over, and knows its place among others. */
export interface Deadline {
  /** On the clock of `performance.now()`; `Infinity` for never. */
  readonly end: number;
  /** Its place in the heap, -1 outside of one. */
  place: number;
}

/** Adds to a binary heap with the earliest end on top. */
export function pushDeadline<D extends Deadline>(heap: D[], one: D): void {
  heap.push(one);
  rise(heap, one, heap.length - 1);
}

/** Takes out of the heap, from wherever it stands. */
export function removeDeadline<D extends Deadline>(heap: D[], one: D): void {
  const last = heap.pop()!;
  if (last !== one) {
    sink(heap, last, one.place);
    rise(heap, last, last.place);
  }
  one.place = -1;
}

function rise<D extends Deadline>(heap: D[], one: D, place: number): void {
  while (place > 0) {
    const parent = heap[(place - 1) >> 1]!;
    if (parent.end <= one.end) break;
    heap[place] = parent;
    parent.place = place;
    place = (place - 1) >> 1;
  }
  heap[place] = one;
  one.place = place;
}

function sink<D extends Deadline>(heap: D[], one: D, place: number): void {
  for (;;) {
    let child = 2 * place + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]!.end < heap[child]!.end) {
      child++;
    }
    const least = heap[child]!;
    if (least.end >= one.end) break;
    heap[place] = least;
    least.place = place;
    place = child;
  }
  heap[place] = one;
  one.place = place;
}
