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
  readonly #open = new Set<number>();
  #owners = 0;

  static #latest: WeakRef<LeakReporter> | null = null;

  /** Open descriptors stay so: by then, they might be in other hands. */
  static readonly #lost = new FinalizationRegistry<Set<number>>((open) => {
    const { emitWarning } = builtin<typeof process>("node:process");
    for (const fd of open) {
      emitWarning(
        `A Socket was garbage-collected without being closed: descriptor ` +
          `${fd} stays open`,
        { type: "UnclosedSocketWarning", code: "EINPROGRESS_UNCLOSED" },
      );
    }
  });

  /** Puts a descriptor on a reporter's list; its owner has to keep the reporter. */
  static of(fd: number): LeakReporter {
    let reporter = LeakReporter.#latest?.deref();
    if (reporter === undefined || reporter.#owners === OWNERS) {
      reporter = new LeakReporter();
      LeakReporter.#lost.register(reporter, reporter.#open);
      LeakReporter.#latest = new WeakRef(reporter);
    }
    reporter.#owners++;
    reporter.#open.add(fd);
    return reporter;
  }

  /** Takes a descriptor off the list: its owner has given it up. */
  release(fd: number): void {
    this.#open.delete(fd);
  }
}
