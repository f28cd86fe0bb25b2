/**
 * A system that is not there: a C library and a kernel in memory, laid out by any table.
 *
 * The package reaches it as it reaches a real one, through a door: by the names that the library exports, with arguments that
 * travel as that system passes them, and an errno that has to be fetched. All that lies in memory is read and written by the
 * table, by code that shares nothing with the package's own, so that an offset, a byte order or a number that the package gets
 * wrong does not come out right by being wrong twice.
 *
 * Nothing here makes a real system call; addresses may be any.
 *
 * @module
 */
import type { Abi } from "../ffi/abi.ts";
import { openLibc, useLibc } from "../ffi/libc.ts";
import { SimulatedDoor } from "./_simulation/door.ts";
import { Kernel } from "./_simulation/kernel.ts";
import { MANNERS, type Manners, type Simulation } from "./_simulation/terms.ts";

export {
  type DescriptorFacts,
  DETAILS,
  type Fate,
  type Interruptible,
  type Manners,
  type NameFacts,
  type Place,
  RETRANSMITS,
  RTT,
  RTT_VARIANCE,
  type SimulatedIcmp,
  type SimulatedListener,
  type SimulatedPeer,
  type Simulation,
} from "./_simulation/terms.ts";

/** Makes a system and puts it in force until it is disposed. */
export function simulate(abi: Abi, manners: Partial<Manners> = {}): Simulation {
  const kernel = new Kernel(abi, { ...MANNERS[abi.os], ...manners });
  const libc = openLibc(abi, new SimulatedDoor(kernel));
  // Opening it has called the library already.
  kernel.calls.length = 0;
  const use = useLibc(libc);
  return Object.assign(kernel, {
    libc,
    [Symbol.dispose](): void {
      use[Symbol.dispose]();
    },
  });
}
