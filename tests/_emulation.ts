/**
 * How tests start programs of the processor that they run on, which may be an emulated one.
 *
 * The kernel cannot start such programs by itself, the runtime's own file among them. `tests/run.ts` puts the commands that can
 * into the environment.
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

/** `null` where the tests call the kernel itself, else how the emulator between them changes a call. */
export function unemulated(shortcoming: string): string | null {
  return EINPROGRESS_EMULATOR === undefined
    ? null
    : `${EINPROGRESS_EMULATOR} ${shortcoming}`;
}
