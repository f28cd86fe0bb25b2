/**
 * Reports descriptors whose owners were garbage-collected without having given
 * them up.
 *
 * Registering each owner with the garbage collector costs a few percent of a
 * connect, so that owners share a reporter: it is collected once all of them
 * are, and what is still on its list then has been lost.
 *
 * @module
 */
import type process from "node:process";
import { builtin } from "../../ffi/builtin.ts";

/** How many owners share a reporter, and so wait for each other's end. */
const OWNERS = 32;

/** Each of its owners refers to it, and nothing else does. */
export class LeakReporter {
  /** The descriptor of each owner, -1 once it is given up. */
  readonly #fds: number[] = [];

  static #latest: WeakRef<LeakReporter> | null = null;

  /** Open descriptors stay so: by then, they might be in other hands. */
  static readonly #lost = new FinalizationRegistry<number[]>((fds) => {
    const { emitWarning } = builtin<typeof process>("node:process");
    for (const fd of fds) {
      if (fd < 0) continue;
      emitWarning(
        `A Socket was garbage-collected without being closed: descriptor ` +
          `${fd} stays open`,
        { type: "UnclosedSocketWarning", code: "EINPROGRESS_UNCLOSED" },
      );
    }
  });

  /** One with room for another owner, who has to keep it. */
  static withRoom(): LeakReporter {
    const latest = LeakReporter.#latest?.deref();
    if (latest !== undefined && latest.#fds.length < OWNERS) return latest;
    const reporter = new LeakReporter();
    LeakReporter.#lost.register(reporter, reporter.#fds);
    LeakReporter.#latest = new WeakRef(reporter);
    return reporter;
  }

  /** Puts the descriptor of an owner on the list, and returns its place there. */
  add(fd: number): number {
    return this.#fds.push(fd) - 1;
  }

  /** Takes it off the list: its owner has given it up. */
  release(place: number): void {
    this.#fds[place] = -1;
  }
}
