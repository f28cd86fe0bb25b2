/**
 * How tests start programs of the processor that they run on, which an emulator may stand in for.
 *
 * The kernel cannot start such programs by itself, and what a process takes for its own file is one of them. `tests/run.ts`
 * says in the environment what to start in their place.
 *
 * @module
 */
import process from "node:process";

const { CC, EINPROGRESS_EMULATOR, EINPROGRESS_RUNTIME } = process.env;

/** The command that starts another of the runtime that runs the tests. */
export const runtime: string = EINPROGRESS_RUNTIME ?? process.execPath;

/** The command that compiles C, with flags of its own if it has any. */
export const compiler: readonly string[] = (CC ?? "cc").split(" ");

/** The command that runs what {@linkcode compiler} made. */
export function compiled(binary: string): [command: string, ...string[]] {
  return EINPROGRESS_EMULATOR === undefined
    ? [binary]
    : [EINPROGRESS_EMULATOR, binary];
}

/** `null` where nothing stands between the tests and the kernel, else what the emulator that does makes of a call. */
export function unemulated(shortcoming: string): string | null {
  return EINPROGRESS_EMULATOR === undefined
    ? null
    : `${EINPROGRESS_EMULATOR} ${shortcoming}`;
}
