/**
 * A kernel that has one connect under way, and follows a script.
 *
 * Each wake-up is what a wait reports, and what a look at the socket then finds. How a wait learns of it is up to the test:
 * by a poll(2) that blocks, or by the reactor.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi } from "../ffi/libc.ts";
import type { ErrnoCode, PollEvent } from "../mod.ts";
import { fromErrorQueue } from "./_fixtures.ts";

const abi = currentAbi();

/** What a wait reports, and what a look at the socket then finds. */
export interface Wake {
  readonly revents: readonly PollEvent[];
  /** What SO_ERROR holds. */
  readonly error?: ErrnoCode;
  /** What getpeername(2) returns, where the socket has no peer. */
  readonly peer?: ErrnoCode;
  /** What reading SO_ERROR returns, where it cannot be read. */
  readonly unreadable?: ErrnoCode;
  /** How many messages lie in the queue of errors. */
  readonly queued?: number;
}

/** An attempt from its beginning to its end. */
export interface Script<W = Wake> {
  readonly title: string;
  readonly wakes: readonly W[];
  readonly ends: ErrnoCode | "connected";
}

/** The events of a socket whose attempt has failed for good. */
export const ENDED: readonly PollEvent[] = ["POLLOUT", "POLLERR", "POLLHUP"];

export const WRITABLE: Wake = { revents: ["POLLOUT"] };
export const SPURIOUS: Wake = { revents: ["POLLOUT"], peer: "ENOTCONN" };
export const SOFT: Wake = {
  revents: ["POLLERR"],
  error: "EHOSTUNREACH",
  queued: 2,
};
/** An end that no error explains. */
export const UNEXPLAINED: Wake = { revents: ENDED, peer: "ENOTCONN" };

/** The end of an attempt by this errno. */
export function failed(error: ErrnoCode): Wake {
  return { revents: ENDED, error };
}

/** What has to end in the same way however it is waited for. */
export const SCRIPTS: readonly Script[] = [
  { title: "writable", wakes: [WRITABLE], ends: "connected" },
  { title: "refused", wakes: [failed("ECONNREFUSED")], ends: "ECONNREFUSED" },
  {
    title: "a reset, with nothing but POLLHUP",
    wakes: [{ revents: ["POLLHUP"], error: "ECONNRESET" }],
    ends: "ECONNRESET",
  },
  {
    title: "a soft error, then the handshake",
    wakes: [SOFT, WRITABLE],
    ends: "connected",
  },
  {
    title: "a soft error, then the kernel's timeout",
    wakes: [SOFT, failed("ETIMEDOUT")],
    ends: "EHOSTUNREACH",
  },
  {
    title: "a soft error, then a hard one",
    wakes: [SOFT, failed("ECONNREFUSED")],
    ends: "ECONNREFUSED",
  },
  {
    title: "the end without a reason",
    wakes: [UNEXPLAINED],
    ends: "ENOTCONN",
  },
];

/** A socket with an attempt under way, as the kernel has it. */
export interface ScriptedSocket {
  /** The calls that look at it. */
  readonly fakes: Pick<Libc, "getsockopt" | "getpeername" | "recvmsg">;
  /** How many messages lie in its queue of errors. */
  readonly queued: number;
  /** The events that it has now: as on Linux, POLLERR for as long as SO_ERROR or the queue holds something. */
  readonly revents: readonly PollEvent[];
  /** Lets a wake-up come. */
  wake(next: Wake): void;
}

/** Makes a socket for which nothing has come yet. */
export function scriptedSocket(): ScriptedSocket {
  const { littleEndian, errnos } = abi;
  let now: Wake = { revents: [], peer: "ENOTCONN" };
  let queued = 0;
  let isLookedAt = false;
  return {
    fakes: {
      getsockopt(_fd, level, name, value) {
        assertEquals([level, name], [abi.SOL_SOCKET, abi.SO_ERROR]);
        if (now.unreadable !== undefined) return -errnos[now.unreadable]!;
        const errno = now.error === undefined ? 0 : errnos[now.error]!;
        new DataView(value.buffer, value.byteOffset)
          .setInt32(0, errno, littleEndian);
        // Reading it clears it.
        const { error: _read, ...rest } = now;
        now = rest;
        return 4;
      },
      getpeername() {
        assert(!isLookedAt, "the socket was looked at twice for one wake-up");
        isLookedAt = true;
        // Readiness is used up by looking at it.
        now = { ...now, revents: [] };
        return now.peer === undefined ? 0 : -errnos[now.peer]!;
      },
      recvmsg(_fd, message, flags) {
        assertEquals(flags & abi.MSG_DONTWAIT, abi.MSG_DONTWAIT);
        if (queued === 0) return -errnos.EAGAIN!;
        queued--;
        fromErrorQueue(message);
        return 0;
      },
    },
    get queued() {
      return queued;
    },
    get revents() {
      const { revents, error } = now;
      const isDrained = error === undefined && queued === 0;
      return isDrained && revents.every((name) => name === "POLLERR")
        ? []
        : revents;
    },
    wake(next) {
      now = next;
      queued = next.queued ?? 0;
      isLookedAt = false;
    },
  };
}

/** Events as the mask of poll(2). */
export function maskOf(events: readonly PollEvent[]): number {
  return events.reduce((mask, name) => mask | abi[name], 0);
}
