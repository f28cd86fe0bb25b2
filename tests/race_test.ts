import { assertEquals, assertRejects } from "@std/assert";
import { type Clock, interleave, race } from "../src/connect/race.ts";
import { test } from "./_harness.ts";

/**
 * How one attempt goes: how it ends, and how many milliseconds after its start.
 * `"hangs"` never ends, `"throws"` does not even begin.
 */
type Script =
  | "hangs"
  | "throws"
  | readonly ["wins" | "loses" | "rejects", after: number];

interface Row {
  readonly title: string;
  /** @default {250} */
  readonly delay?: number;
  readonly scripts: readonly Script[];
  /** When each attempt has to begin; those that have no place here must not. */
  readonly starts: readonly number[];
  /** Who has to win, `null` if nobody does, `"fails"` for a rejection. */
  readonly ends: number | null | "fails" | "never";
  /** When the race has to be over. */
  readonly at: number;
  /** Who has to be abandoned, and whose victory has to be discarded. */
  readonly abandoned?: readonly number[];
  readonly discarded?: readonly number[];
}

const ROWS: readonly Row[] = [
  {
    title: "an only address wins",
    scripts: [["wins", 40]],
    starts: [0],
    ends: 0,
    at: 40,
  },
  {
    title: "an only address wins at once",
    scripts: [["wins", 0]],
    starts: [0],
    ends: 0,
    at: 0,
  },
  {
    title: "an only address loses",
    scripts: [["loses", 40]],
    starts: [0],
    ends: null,
    at: 40,
  },
  {
    title: "an only address hangs",
    scripts: ["hangs"],
    starts: [0],
    ends: "never",
    at: 0,
  },
  {
    title: "the first wins before the second's turn",
    scripts: [["wins", 249], ["wins", 1], ["wins", 1]],
    starts: [0],
    ends: 0,
    at: 249,
  },
  {
    title: "the first wins after the second has begun",
    scripts: [["wins", 300], ["wins", 100], ["wins", 1]],
    starts: [0, 250],
    ends: 0,
    at: 300,
    abandoned: [1],
    discarded: [1],
  },
  {
    title: "the second overtakes the first",
    scripts: [["wins", 1000], ["wins", 10]],
    starts: [0, 250],
    ends: 1,
    at: 260,
    abandoned: [0],
    discarded: [0],
  },
  {
    title: "the first hangs, and the second wins",
    scripts: ["hangs", ["wins", 10]],
    starts: [0, 250],
    ends: 1,
    at: 260,
    abandoned: [0],
  },
  {
    title: "all but the last hang",
    scripts: ["hangs", "hangs", "hangs", ["wins", 5]],
    starts: [0, 250, 500, 750],
    ends: 3,
    at: 755,
    abandoned: [0, 1, 2],
  },
  {
    title: "a shorter delay",
    delay: 10,
    scripts: ["hangs", "hangs", "hangs", "hangs", ["wins", 1]],
    starts: [0, 10, 20, 30, 40],
    ends: 4,
    at: 41,
    abandoned: [0, 1, 2, 3],
  },
  {
    title: "a loss brings the next one's turn at once",
    scripts: [["loses", 20], ["wins", 10]],
    starts: [0, 20],
    ends: 1,
    at: 30,
  },
  {
    title: "losses without any time in between",
    scripts: [["loses", 0], ["loses", 0], ["loses", 0], ["wins", 0]],
    starts: [0, 0, 0, 0],
    ends: 3,
    at: 0,
  },
  {
    title: "the delay counts from the last start",
    scripts: [["loses", 100], "hangs", ["wins", 10]],
    starts: [0, 100, 350],
    ends: 2,
    at: 360,
    abandoned: [1],
  },
  {
    title:
      "the second's loss brings the third's turn, though the first goes on",
    scripts: [["wins", 1000], ["loses", 10], "hangs", "hangs"],
    starts: [0, 250, 260, 510],
    ends: 0,
    at: 1000,
    abandoned: [2, 3],
  },
  {
    title: "the first loses late, when all the others have begun",
    scripts: [["loses", 900], "hangs", ["wins", 800]],
    starts: [0, 250, 500],
    ends: 2,
    at: 1300,
    abandoned: [1],
  },
  {
    title: "all lose, one after the other",
    scripts: [["loses", 10], ["loses", 10], ["loses", 10]],
    starts: [0, 10, 20],
    ends: null,
    at: 30,
  },
  {
    title: "all lose, the first one last",
    scripts: [["loses", 900], ["loses", 400], ["loses", 1]],
    starts: [0, 250, 500],
    ends: null,
    at: 900,
  },
  {
    title: "one hangs where all the others lose",
    scripts: [["loses", 10], "hangs", ["loses", 10]],
    starts: [0, 10, 260],
    ends: "never",
    at: 0,
  },
  {
    title: "two win in the same millisecond",
    scripts: [["wins", 300], ["wins", 50]],
    starts: [0, 250],
    ends: 0,
    at: 300,
    abandoned: [1],
    discarded: [1],
  },
  {
    title: "who was given up loses, or rejects, and nobody hears of it",
    scripts: [["loses", 1000], ["rejects", 700], ["wins", 10]],
    starts: [0, 250, 500],
    ends: 2,
    at: 510,
    abandoned: [0, 1],
  },
  {
    title: "the first cannot begin",
    scripts: ["throws", ["wins", 10]],
    starts: [0],
    ends: "fails",
    at: 0,
  },
  {
    title: "the second cannot begin at its turn",
    scripts: [["wins", 1000], "throws", ["wins", 10]],
    starts: [0, 250],
    ends: "fails",
    at: 250,
    abandoned: [0],
    discarded: [0],
  },
  {
    title: "the second cannot begin after the first's loss",
    scripts: [["loses", 5], "throws", ["wins", 10]],
    starts: [0, 5],
    ends: "fails",
    at: 5,
  },
  {
    title: "one rejects, which ends it for all",
    scripts: ["hangs", ["rejects", 10], ["wins", 10]],
    starts: [0, 250],
    ends: "fails",
    at: 260,
    abandoned: [0, 1],
  },
];

/** Time that passes when nothing is left to do at the moment. */
class ScriptedClock implements Clock {
  now = 0;
  #timers: { at: number; callback: () => void }[] = [];

  setTimeout(callback: () => void, delay: number): unknown {
    const timer = { at: this.now + delay, callback };
    this.#timers.push(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers = this.#timers.filter((other) => other !== timer);
  }

  get isEmpty(): boolean {
    return this.#timers.length === 0;
  }

  /** Lets time pass until no timer is left. */
  async run(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve));
      const at = Math.min(...this.#timers.map(({ at }) => at));
      const timer = this.#timers.find((timer) => timer.at === at);
      if (timer === undefined) return;
      this.clearTimeout(timer);
      this.now = at;
      timer.callback();
    }
  }
}

for (const row of ROWS) {
  const { delay = 250, scripts, abandoned = [], discarded = [] } = row;

  test(`race() goes right: ${row.title}`, async () => {
    const clock = new ScriptedClock();
    const starts: number[] = [];
    const givenUp: number[] = [];
    const thrownAway: number[] = [];
    let end: unknown = "never";
    let at = 0;

    race<number, number, string>(
      scripts.map((_, index) => index),
      delay,
      clock,
      (index) => {
        assertEquals(starts.length, index, "the order is the addresses' own");
        starts.push(clock.now);
        const script = scripts[index]!;
        if (script === "throws") throw new Error(`${index} throws`);
        return {
          outcome: new Promise((resolve, reject) => {
            if (script === "hangs") return;
            const [how, after] = script;
            // Whoever is abandoned goes on all the same.
            clock.setTimeout(() => {
              if (how === "wins") resolve({ won: index });
              else if (how === "loses") resolve({ lost: `${index} lost` });
              else reject(new Error(`${index} rejects`));
            }, after);
          }),
          abandon: () => void givenUp.push(index),
        };
      },
      (index) => void thrownAway.push(index),
    ).then(
      (result) => end = "won" in result ? result.won : result.lost,
      (error) => end = error,
    ).finally(() => at = clock.now);
    await clock.run();

    assertEquals(starts, row.starts);
    if (row.ends === "fails") {
      const last = starts.length - 1;
      assertEquals((end as Error).message.slice(0, 2), `${last} `);
    } else if (row.ends === null) {
      assertEquals(end, scripts.map((_, index) => `${index} lost`));
    } else {
      assertEquals(end, row.ends);
    }
    assertEquals(at, row.at);
    assertEquals(givenUp, abandoned);
    assertEquals(thrownAway, discarded);
    assertEquals(clock.isEmpty, true);
  });
}

test("race() begins no attempt and leaves no timer when it is over", async () => {
  let timers = 0;
  const clock: Clock = {
    setTimeout(callback, delay) {
      timers++;
      return setTimeout(() => {
        timers--;
        callback();
      }, delay);
    },
    clearTimeout(timer) {
      if (timer === undefined) return;
      timers--;
      clearTimeout(timer as number);
    },
  };
  const begun: string[] = [];
  const result = await race<string, string, never>(
    ["a", "b", "c"],
    60_000,
    clock,
    (name) => {
      begun.push(name);
      return { outcome: Promise.resolve({ won: name }), abandon() {} };
    },
    () => {},
  );
  assertEquals(result, { won: "a" });
  assertEquals(begun, ["a"]);
  assertEquals(timers, 0);
});

test("race() rejects with what begin() throws, whatever it is", async () => {
  for (const reason of [new TypeError("no"), "text", undefined, 0]) {
    const caught = await race<number, number, number>(
      [1, 2],
      250,
      new ScriptedClock(),
      () => {
        throw reason;
      },
      () => {},
    ).then(() => "resolved", (error) => ({ error }));
    assertEquals<unknown>(caught, { error: reason });
  }
  await assertRejects(() =>
    race<number, number, number>(
      [1],
      250,
      new ScriptedClock(),
      () => ({
        outcome: Promise.reject(new SyntaxError("late")),
        abandon() {},
      }),
      () => {},
    ), SyntaxError);
});

/** Addresses in the order of the resolver, and in the order of the attempts: a family and a letter each. */
const ORDERS: readonly (readonly [string, string])[] = [
  ["", ""],
  ["6a", "6a"],
  ["4a", "4a"],
  ["6a 6b 6c", "6a 6b 6c"],
  ["4a 4b", "4a 4b"],
  ["6a 4a", "6a 4a"],
  ["4a 6a", "4a 6a"],
  ["6a 6b 4a 4b", "6a 4a 6b 4b"],
  ["4a 4b 6a 6b", "4a 6a 4b 6b"],
  ["6a 4a 6b 4b", "6a 4a 6b 4b"],
  ["6a 4a 4b 6b", "6a 4a 6b 4b"],
  ["6a 6b 6c 6d 4a", "6a 4a 6b 6c 6d"],
  ["6a 4a 4b 4c 4d", "6a 4a 4b 4c 4d"],
  ["4a 6a 6b 6c", "4a 6a 6b 6c"],
  ["4c 4a 4b 6b 6a", "4c 6b 4a 6a 4b"],
];

test("interleave() lets the families take turns, the resolver's first one leading", () => {
  for (const [before, after] of ORDERS) {
    const addresses = before.split(" ").filter(Boolean)
      .map((name) => ({ family: name[0]!, name }));
    const copy = [...addresses];
    const mixed = interleave(addresses).map(({ name }) => name).join(" ");
    assertEquals(mixed, after, `of ${before}`);
    assertEquals(addresses, copy);
  }
});
