import { assertEquals } from "@std/assert";
import { inet, inet6, type InetAddress } from "../mod.ts";
import type { IpAddress } from "../src/address/lookup.ts";
import { Schedule } from "../src/connect/schedule.ts";
import { test } from "./_harness.ts";

const [a, b, c, d] = [1, 2, 3, 4].map((i) => inet(`127.0.0.${i}`, 80)) as [
  InetAddress,
  InetAddress,
  InetAddress,
  InetAddress,
];
const [u, v, w] = [1, 2, 3].map((i) => inet6(`fd00::${i}`, 80)) as [
  IpAddress,
  IpAddress,
  IpAddress,
];

/** Everything that a schedule hands out when no peer ever replies, and when. */
function unanswered(schedule: Schedule): [at: number, address: IpAddress][] {
  const begun: [number, IpAddress][] = [];
  for (let now = 0; now <= 100_000; now++) {
    for (;;) {
      const address = schedule.take(now);
      if (address === null) break;
      begun.push([now, address]);
    }
  }
  return begun;
}

interface Row {
  readonly title: string;
  readonly found: readonly IpAddress[];
  /** @default {250} */
  readonly delay?: number;
  /** @default {Infinity} */
  readonly end?: number;
  readonly starts: readonly (readonly [at: number, address: IpAddress])[];
}

const ROWS: readonly Row[] = [
  { title: "an only address begins at once", found: [a], starts: [[0, a]] },
  {
    title: "the next begins after the delay",
    found: [a, b, c],
    starts: [[0, a], [250, b], [500, c]],
  },
  {
    title: "the families take turns, beginning with the first one's",
    found: [u, v, w, a, b],
    starts: [[0, u], [250, a], [500, v], [750, b], [1000, w]],
  },
  {
    title: "a family that has no more leaves its turns to the other",
    found: [a, u, b, c],
    starts: [[0, a], [250, u], [500, b], [750, c]],
  },
  {
    title: "an address that is there twice is tried once",
    found: [a, b, a, a, b],
    starts: [[0, a], [250, b]],
  },
  {
    title: "two addresses share a short time",
    found: [a, b],
    end: 200,
    starts: [[0, a], [100, b]],
  },
  {
    title: "many addresses share it, too",
    found: [a, b, c, d],
    end: 400,
    starts: [[0, a], [100, b], [200, c], [300, d]],
  },
  {
    title: "enough time is not shared out",
    found: [a, b],
    end: 5000,
    starts: [[0, a], [250, b]],
  },
  {
    title: "a short delay stays as it is",
    found: [a, b, c],
    delay: 20,
    end: 600,
    starts: [[0, a], [20, b], [40, c]],
  },
  {
    title: "no delay is shorter than 10 ms, and none begins after the end",
    found: [a, b, c, d],
    end: 25,
    starts: [[0, a], [10, b], [20, c]],
  },
  {
    title: "without any time, one begins",
    found: [a, b],
    end: 0,
    starts: [[0, a]],
  },
];

for (const { title, found, delay = 250, end = Infinity, starts } of ROWS) {
  test(`a race of addresses: ${title}`, () => {
    const schedule = new Schedule(delay, end);
    schedule.add(found);
    assertEquals(
      unanswered(schedule).map(([at, address]) => `${at} ${address}`),
      starts.map(([at, address]) => `${at} ${address}`),
    );
  });
}

test("a race of addresses: a failure brings the next one's turn at once", () => {
  const schedule = new Schedule(250, Infinity);
  schedule.add([a, b, c]);
  assertEquals(schedule.take(0), a);
  assertEquals(schedule.take(20), null);
  schedule.hurry();
  assertEquals(schedule.take(20), b);
  // The delay counts from the last start.
  assertEquals(schedule.next, 270);
  assertEquals(schedule.take(269), null);
  assertEquals(schedule.take(270), c);
  assertEquals(schedule.next, Infinity);
});

test("a race of addresses: what comes late takes part", () => {
  const schedule = new Schedule(250, Infinity);
  schedule.add([a, b]);
  assertEquals(schedule.take(0), a);
  schedule.add([u, a, v]);
  assertEquals([schedule.size, schedule.begun], [4, 1]);
  assertEquals(schedule.take(250), u);
  assertEquals(schedule.take(500), b);
  assertEquals(schedule.take(750), v);
  assertEquals(schedule.isEmpty, true);
  schedule.hurry();
  assertEquals(schedule.take(800), null);
  // What comes when nothing was left is due at once.
  schedule.add([w]);
  assertEquals(schedule.take(800), w);
});
