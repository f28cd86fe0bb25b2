/**
 * The result of a scan: counts, and who has filtered.
 *
 * @module
 */
import { phraseOf } from "../../errors/phrases.ts";
import { icmpWords } from "../../explain/circumstances.ts";
import { increase } from "../counts.ts";
import type {
  Probeable,
  ProbeProgress,
  ProbeResult,
  ProbeState,
} from "../probe.ts";

/** How many networks are counted separately. */
const MOST_TALLIED = 0x1_0000;

/** How many routers the summary names, and how many names that do not resolve. */
const MOST_IN_SUMMARY = 10;

/** What one router, or one firewall, has rejected. */
interface Router {
  readonly from: string;
  rejected: number;
  /** How often by each type and code. */
  readonly kinds: Map<string, number>;
}

/** What is known of a /24 or a /64. */
interface NetworkTally {
  silent: number;
  /** The routers that have rejected something in it. */
  readonly routers: Set<string>;
}

/** Collects results. */
export class ScanTally {
  /** How many there are of each state. */
  readonly states: Record<ProbeState, number> = {
    open: 0,
    closed: 0,
    filtered: 0,
    unsent: 0,
  };
  /** How many there are in all. */
  total = 0;
  readonly #reasons = new Map<string, number>();
  readonly #routers = new Map<string, Router>();
  readonly #networks = new Map<string, NetworkTally>();
  readonly #unsent = new Map<string, number>();
  /** How many of those this machine itself has rejected. */
  #ownRejects = 0;
  /** The names that do not resolve, and those that do not in time. */
  readonly #unresolved = new Set<string>();
  readonly #late = new Set<string>();

  /** Counts one more result. */
  add(result: ProbeResult<Probeable>): void {
    const { state, reason, code, icmp, address } = result;
    this.total++;
    this.states[state]++;
    increase(this.#reasons, `${state} ${reason}`);
    if (state === "unsent") {
      increase(this.#unsent, code ?? "UNKNOWN");
      if (icmp !== null) this.#ownRejects++;
    }
    if (reason === "name") this.#addUnresolved(result);
    if (state !== "filtered" || address === null) return;
    const network = this.#networkOf(address);
    if (reason === "no-answer") {
      if (network !== null) network.silent++;
    } else if (icmp !== null) {
      const { from } = icmp;
      network?.routers.add(from);
      let router = this.#routers.get(from);
      if (router === undefined) {
        router = { from, rejected: 0, kinds: new Map() };
        this.#routers.set(from, router);
      }
      router.rejected++;
      increase(router.kinds, icmpWords(icmp));
    }
  }

  #addUnresolved({ code, target: { hostname } }: ProbeResult): void {
    const names = code === "ETIMEDOUT" ? this.#late : this.#unresolved;
    if (hostname !== undefined && names.size < MOST_TALLIED) {
      names.add(hostname);
    }
  }

  /** The fields of the last line in JSON. */
  fields(
    { retries, total }: ProbeProgress,
    elapsed: number,
  ): Readonly<Record<string, unknown>> {
    return {
      ...this.states,
      probed: this.total,
      total,
      retries,
      elapsed,
      routers: this.#byCount().map(({ from, rejected, kinds }) => ({
        from,
        rejected,
        kinds: Object.fromEntries(kinds),
        unanswered: this.#silentNear(from),
      })),
      unsentCodes: Object.fromEntries(this.#unsent),
    };
  }

  /** The summary as text. */
  text(
    { retries, total }: ProbeProgress,
    elapsed: number,
    withReasons: boolean,
  ): string {
    const { open, closed, filtered, unsent } = this.states;
    const seconds = (elapsed / 1000).toFixed(2);
    const whole = total !== null && this.total < total
      ? ` of ${counted(total)}`
      : "";
    const lines = [
      `--- ${counted(this.total, "port")}${whole} in ${seconds} s ---`,
      `${counted(open)} open, ${counted(closed)} closed, ` +
      `${counted(filtered)} filtered, ${counted(unsent)} unsent` +
      (retries > 0 ? `; ${counted(retries, "repeated attempt")}` : ""),
    ];
    if (withReasons) {
      for (const [reason, n] of sorted(this.#reasons)) {
        lines.push(`  ${reason}: ${counted(n)}`);
      }
    }
    for (const [code, n] of sorted(this.#unsent)) {
      // A port that does not reply is filtered, so that this is about names.
      const isLate = code === "ETIMEDOUT";
      const phrase = isLate ? "name does not resolve in time" : phraseOf(code);
      const words = phrase === undefined ? "" : ` (${phrase})`;
      lines.push(`unsent: ${counted(n)} ${code}${words}`);
    }
    if (this.#ownRejects > 0) {
      lines.push(
        `  ${counted(this.#ownRejects)} of them by a firewall of this machine`,
      );
    }
    for (
      const [what, [...names]] of [
        ["do not resolve", this.#unresolved],
        ["do not resolve in time", this.#late],
      ] as const
    ) {
      if (names.length === 0) continue;
      const rest = names.splice(MOST_IN_SUMMARY).length;
      if (rest > 0) names.push(counted(rest, "other"));
      lines.push(`${what}: ${names.join(", ")}`);
    }
    const routers = this.#byCount();
    for (const { from, rejected, kinds } of routers.slice(0, MOST_IN_SUMMARY)) {
      const each = sorted(kinds).map(([kind, n]) => `${counted(n)} ${kind}`);
      lines.push(
        `filtered by ${from}: ${counted(rejected)} (${each.join(", ")})`,
      );
      const silent = this.#silentNear(from);
      if (silent > 0) {
        lines.push(
          `  routers limit their ICMP errors: ${
            counted(silent)
          } more without ` +
            "an answer in the same networks may be its doing",
        );
      }
    }
    if (routers.length > MOST_IN_SUMMARY) {
      const rest = routers.length - MOST_IN_SUMMARY;
      lines.push(`and by ${counted(rest, "other")}`);
    }
    const silent = this.#reasons.get("filtered no-answer") ?? 0;
    if (silent > 0) {
      lines.push(`filtered, without an answer: ${counted(silent)}`);
    }
    return `${lines.join("\n")}\n`;
  }

  #byCount(): Router[] {
    return [...this.#routers.values()].sort((a, b) => b.rejected - a.rejected);
  }

  /** How many ports are silent in the networks where a router has rejected others. */
  #silentNear(from: string): number {
    let silent = 0;
    for (const network of this.#networks.values()) {
      if (network.routers.has(from)) silent += network.silent;
    }
    return silent;
  }

  #networkOf(address: string): NetworkTally | null {
    const key = address.startsWith("[")
      ? expandedHalf(address.slice(1, address.indexOf("]")))
      : address.slice(0, address.lastIndexOf("."));
    let network = this.#networks.get(key);
    if (network === undefined) {
      if (this.#networks.size === MOST_TALLIED) return null;
      network = { silent: 0, routers: new Set() };
      this.#networks.set(key, network);
    }
    return network;
  }
}

/** The first four groups of an IPv6 address. */
function expandedHalf(text: string): string {
  const [head = "", tail] = text.replace(/%.*/, "").split("::");
  const groups = head.split(":").filter((group) => group !== "");
  const rest = tail === undefined ? [] : tail.split(":").filter(Boolean);
  while (groups.length + rest.length < 8) groups.push("0");
  return [...groups, ...rest].slice(0, 4).join(":");
}

function sorted(counts: ReadonlyMap<string, number>): [string, number][] {
  return [...counts].sort(([, a], [, b]) => b - a);
}

/** A number with its thousands set apart, and what it counts. */
export function counted(n: number, noun?: string): string {
  const digits = String(n).replace(/\B(?=(?:[0-9]{3})+$)/g, ",");
  if (noun === undefined) return digits;
  return `${digits} ${noun}${n === 1 ? "" : "s"}`;
}

/** How much of a whole is done, as a bar and a percentage. */
export function shareOf(done: number, total: number): string {
  const WIDTH = 20;
  const share = total === 0 ? 1 : done / total;
  const full = Math.floor(share * WIDTH);
  const bar = "#".repeat(full) + "-".repeat(WIDTH - full);
  return `[${bar}] ${(share * 100).toFixed(1)} %`;
}
