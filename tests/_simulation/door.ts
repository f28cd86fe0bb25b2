/**
 * The door through which the package calls a simulated kernel: raw C functions, and errno in memory.
 *
 * @module
 */
import type { Declaration, Door, Permissions } from "../../ffi/contract.ts";
import { type Kernel, KERNEL_CALLS } from "./kernel.ts";
import { INTERFACES } from "./terms.ts";

/** Grants everything. */
export const PERMISSIONS: Permissions = {
  net: () => true,
  files: () => true,
  demandHost() {},
  demandResolved() {},
  demandPath: (path) => path,
  demandVsock() {},
  demandAbstract() {},
  demandAll() {},
};

/** Stands for the address of errno. */
export const ERRNO = { errno: 0 };

/** The C library: kernel calls under the names that this system exports, and what needs no kernel. */
export class SimulatedDoor implements Door {
  readonly runtime = "a simulation";
  readonly permissions = PERMISSIONS;
  readonly #kernel: Kernel;
  readonly #exported: ReadonlyMap<string, (args: unknown[]) => unknown>;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#exported = this.#exports();
  }

  openable(names: readonly string[]): readonly string[] {
    return names;
  }

  size(length: number): bigint {
    return BigInt(length);
  }

  open(
    library: string,
    declarations: readonly Declaration[],
    nfdsSize: 4 | 8,
  ): ((...args: never[]) => unknown)[] {
    return declarations.map((declaration) =>
      this.#open(library, declaration, nfdsSize)
    );
  }

  #open(
    library: string,
    declaration: Declaration,
    nfdsSize: 4 | 8,
  ): (...args: never[]) => unknown {
    const { symbol, parameters, offThread } = declaration;
    const call = this.#exported.get(symbol);
    if (call === undefined) {
      throw new Error(`Cannot find ${symbol} in ${library}`);
    }
    return (...args: unknown[]): unknown => {
      this.#kernel.check(declaration, args, nfdsSize);
      const plain = args.map((arg, i) =>
        typeof arg === "bigint" && parameters[i] !== "address"
          ? Number(arg)
          : arg
      );
      if (!offThread) return call(plain);
      if (symbol !== "poll") return this.#later(() => call(plain));
      const [fds, count, timeout] = plain as [Uint8Array, number, number];
      return this.#kernel.pollLater(fds, count, timeout);
    };
  }

  #later(call: () => unknown): Promise<unknown> {
    return new Promise((resolve) => setTimeout(() => resolve(call()), 0));
  }

  /** Each C function by the one name that this system's headers give it. */
  #exports(): Map<string, (args: unknown[]) => unknown> {
    const kernel = this.#kernel;
    const { abi } = kernel;
    const exported = new Map<string, (args: unknown[]) => unknown>();
    for (const name of KERNEL_CALLS) {
      exported.set(abi.symbols[name] ?? name, (args) => {
        kernel.calls.push(name);
        const given = name === "fcntl" && abi.variadicOnStack
          // The callee looks for what is variadic behind the eight registers.
          ? [args[0], args[1], args[8]]
          : args;
        const result = kernel.enter(name, given);
        if (result >= 0) return result;
        ERRNO.errno = -result;
        return -1;
      });
    }
    exported.set(abi.errnoLocation, () => ERRNO);
    exported.set(abi.symbols["getaddrinfo"] ?? "getaddrinfo", (args) => {
      kernel.calls.push("getaddrinfo");
      const [node, _service, hints, result] = args as (Uint8Array | null)[];
      const [eai, errno] = kernel.getaddrinfo(node!, hints!, result!);
      if (errno !== 0) ERRNO.errno = errno;
      return eai;
    });
    exported.set("freeaddrinfo", ([list]) => {
      kernel.calls.push("freeaddrinfo");
      kernel.free(list as bigint);
    });
    exported.set("if_nametoindex", ([name]) => {
      kernel.calls.push("if_nametoindex");
      const index = INTERFACES.indexOf(kernel.text(name as Uint8Array)) + 1;
      if (index === 0) ERRNO.errno = -kernel.no(kernel.manners.noInterface);
      return index;
    });
    exported.set("sched_yield", () => 0);
    // There are no files.
    exported.set("open", () => {
      ERRNO.errno = -kernel.no("ENOENT");
      return -1;
    });
    exported.set(
      "memcpy",
      ([target, source, size]) =>
        kernel.memcpy(target as Uint8Array, source, size as number),
    );
    return exported;
  }
}
