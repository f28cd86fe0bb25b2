/**
 * Which of many descriptors are ready. Each mechanism of a system has a file of its own.
 *
 * @module
 */

/**
 * A set of descriptors, each of them watched until its events were found once.
 *
 * No other code writes meanwhile to memory that an off-thread wait uses.
 */
export interface Selector {
  /** Whether a descriptor that is armed joins a wait that is under way. */
  readonly isLive: boolean;
  /** Whether the system itself forgets a descriptor that is closed. */
  readonly forgetsClosed: boolean;
  /**
   * How many times in a row looks have to find as many as are watched, until they
   * have found all that there was before.
   */
  readonly rounds: number;
  /** The system call that {@linkcode Selector.arm} makes. */
  readonly armCall: string;
  /** The system call that {@linkcode Selector.look} makes. */
  readonly lookCall: string;
  /** The descriptors that the last look found. */
  readonly fds: Int32Array;
  /** Their events, by the same index. */
  readonly events: Int32Array;
  /** Watches for events, instead of those watched for so far: 0 or `-errno`. */
  arm(fd: number, events: number): number;
  /** Forgets a descriptor; comes before its closing. */
  disarm(fd: number): void;
  /** Finds what is ready now, without waiting: how many, or `-errno`. */
  look(): number;
  /**
   * Waits off the thread, one wait at a time. Whatever it resolves to means no
   * more than: look. A negative number says that the wait has failed.
   */
  wait(timeout: number): Promise<number>;
  /**
   * Ends the wait that is under way. A look does not undo it, which may come
   * before the other thread has noticed.
   */
  wake(): void;
  /** Gives up a way to wait that has missed what looks have found. */
  distrust(): void;
  /** Closes the descriptors of its own. No wait may be under way. */
  close(): void;
}
