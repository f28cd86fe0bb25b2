/**
 * The first connects of a fresh process, which no compiler has seen before, beside the runtime's own.
 *
 * @module
 */
import { doorFor } from "../ffi/libc.ts";
import { parseSample, time, type World, writeModule } from "./peers.ts";
import type { Run } from "./rounds.ts";
import type { Case, Rival, Side } from "./sides.ts";

const MODULE = new URL("../mod.ts", import.meta.url).href;

/** What a runtime's users connect with where they do without this package. */
const OWN: Readonly<Record<string, Rival>> = {
  Deno: "Deno.connect",
  Bun: "Bun.connect",
};

/** How the connects of a process are made: one after the other, or all at once. */
const ORDERS = {
  "in turn": `for (let i = 0; i < count; i++) await connectNext(i);`,
  "at once":
    `await Promise.all(Array.from({ length: count }, (_, i) => connectNext(i)));`,
} as const;

/** What is compared with the runtime's own. */
interface ColdCase
  extends Omit<Case, "group" | "baseline" | "hasHandshake" | "sides"> {
  readonly call: "connect" | "connectSync";
  readonly order: keyof typeof ORDERS;
}

/** The first connects of a process, compared with the runtime's own. */
export function coldCase(
  { call, order, ...rest }: ColdCase,
  others: (world: World) => ReadonlyMap<Side, string>,
): Case {
  return {
    ...rest,
    group: "cold",
    baseline: OWN[doorFor().runtime] ?? "node:net",
    hasHandshake: false,
    sides(world) {
      const own = `async (target) => (await connect(target)).close()`;
      const ours = `((connect) => ${own})(` +
        `(await import(${JSON.stringify(MODULE)})).${call})`;
      const sides = new Map([["ours" as Side, ours], ...others(world)]);
      return new Map([...sides].map(([side, once], i): [Side, Run] => {
        const name = `cold-${order.replace(" ", "-")}-${call}-${i}`;
        return [side, processRun(world, name, once, ORDERS[order])];
      }));
    },
  };
}

/** A process for each run, which times its connects by itself: its start does not count. */
function processRun(
  { floor, hosts, port }: World,
  name: string,
  once: string,
  loop: string,
): Run {
  const targets = hosts.map((hostname) => ({ hostname, port }));
  const text = `
    import process from "node:process";
    const targets = ${JSON.stringify(targets)};
    const once = ${once};
    const connectNext = (i) => once(targets[i % targets.length]);
    const count = Number(process.argv[2]);
    const before = process.cpuUsage();
    const start = performance.now();
    ${loop}
    const wall = (performance.now() - start) * 1e6;
    const { user, system } = process.cpuUsage(before);
    console.log(wall, (user + system) * 1e3);
    process.exit();
  `;
  const command = writeModule(floor, name, text);
  return (count) => {
    const { output } = time(floor, [...command, `${count}`]);
    return Promise.resolve(parseSample(output));
  };
}
