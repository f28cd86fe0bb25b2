/**
 * Many addresses, one connection: who starts when, and who wins (RFC 8305).
 *
 * Knows nothing of sockets, and takes its clock from outside.
 *
 * @module
 */

/** An attempt that is under way. */
export interface Contender<W, L> {
  /** How it ends: with a winner, or with what it lost by. */
  readonly outcome: Promise<{ readonly won: W } | { readonly lost: L }>;
  /** Gives it up; its outcome no longer matters. */
  abandon(): void;
}

/** Timers, as the runtime has them. */
export interface Clock {
  setTimeout(callback: () => void, delay: number): unknown;
  clearTimeout(timer: unknown): void;
}

/**
 * Orders addresses so that the families take turns, beginning with that of the
 * first: if one of the two does not work here, half of the attempts at most are
 * lost on it (RFC 8305, section 4).
 */
export function interleave<A extends { readonly family: string }>(
  addresses: readonly A[],
): A[] {
  const lead = addresses[0]?.family;
  const first = addresses.filter(({ family }) => family === lead);
  const second = addresses.filter(({ family }) => family !== lead);
  const mixed: A[] = [];
  for (let i = 0; i < first.length || i < second.length; i++) {
    mixed.push(...first.slice(i, i + 1), ...second.slice(i, i + 1));
  }
  return mixed;
}

/**
 * Starts attempts one after the other and takes the first that wins.
 *
 * The next one starts after `delay` milliseconds, or at once when one has lost.
 * Whoever is still under way when the race is won is abandoned, and whoever
 * wins in spite of that is discarded.
 *
 * @param begin Starts an attempt.
 * @param discard Takes a winner that nobody waits for any more.
 * @returns The winner, or what each attempt lost by, in the order of the
 * addresses.
 */
export function race<A, W, L>(
  addresses: readonly A[],
  delay: number,
  clock: Clock,
  begin: (address: A) => Contender<W, L>,
  discard: (winner: W) => void,
): Promise<{ readonly won: W } | { readonly lost: L[] }> {
  return new Promise((resolve, reject) => {
    const running = new Set<Contender<W, L>>();
    const losses: L[] = [];
    let started = 0;
    let lost = 0;
    let isOver = false;
    let timer: unknown;

    function start(): void {
      clock.clearTimeout(timer);
      const index = started++;
      const contender = begin(addresses[index]!);
      running.add(contender);
      if (started < addresses.length) timer = clock.setTimeout(attempt, delay);
      contender.outcome.then((outcome) => {
        running.delete(contender);
        if ("won" in outcome) {
          if (isOver) return discard(outcome.won);
          end();
          resolve(outcome);
        } else if (!isOver) {
          losses[index] = outcome.lost;
          lost++;
          if (started < addresses.length) attempt();
          else if (lost === started) {
            end();
            resolve({ lost: losses });
          }
        }
      }, fail);
    }

    /** What throws on starting ends the race as what rejects does. */
    function attempt(): void {
      try {
        start();
      } catch (error) {
        fail(error);
      }
    }

    function fail(error: unknown): void {
      if (isOver) return;
      end();
      reject(error);
    }

    function end(): void {
      isOver = true;
      clock.clearTimeout(timer);
      for (const contender of running) contender.abandon();
    }

    attempt();
  });
}
