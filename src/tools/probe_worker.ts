/**
 * A thread's share of a run. Jobs and findings are sent as messages.
 *
 * @module
 */
import type { ThreadPort, UNABLE } from "../../ffi/contract.ts";
import { libc } from "../../ffi/libc.ts";
import { setTimeout } from "../../ffi/timers.ts";
import {
  type Inet6Address,
  type InetAddress,
  parseIp,
} from "../address/address.ts";
import { closeIdle } from "../reactor/reactor.ts";
import { Fifo } from "./fifo.ts";
import { probeRecipe, type ProbeSetup } from "./probe_recipe.ts";
import { NOTHING } from "./probe_flights.ts";
import { type Finding, type Pacing, Run, type RunState } from "./probe_run.ts";
import { VERDICTS } from "./verdict.ts";

/** The address of this module, which a thread loads. */
export const workerUrl: string = import.meta.url;

/** What a thread is started with. */
export interface Share {
  readonly setup: ProbeSetup;
  readonly pacing: Pacing;
  /** How many threads share the descriptors of the process. */
  readonly threads: number;
}

/** A message to a thread: addresses to probe, or the order to stop. */
export type Order =
  | {
    /** The numbers of the jobs. */
    readonly jobs: Int32Array;
    /** The hosts; `""` stands for the same host as before. */
    readonly hosts: readonly string[];
    readonly ports: Uint16Array;
  }
  | "stop";

/** A message of a thread: findings, its state, or an error. */
export type ThreadReport =
  | {
    /** The findings, as {@linkcode packFinding} writes them. */
    readonly numbers: Float64Array<ArrayBuffer>;
    /** What some findings have besides, with the place of each. */
    readonly extras: readonly (readonly [place: number, Extras])[];
    readonly state: RunState;
  }
  | { readonly failure: unknown }
  | typeof UNABLE
  | "ready"
  | "stopped";

/** What most findings do not have. */
export type Extras = Pick<Finding, "icmp" | "localAddress" | "syscall">;

/** How many numbers a finding takes. */
export const FINDING_WIDTH = 9;

/** How many findings are sent together, at most. */
const FINDING_BATCH = 512;

/** How long a finding waits for others to be sent with, in ms. */
const LONGEST_DELAY = 2;

/** How often a thread reports how far it has come, at least, in ms. */
const REPORT_EVERY = 100;

/** Writes a finding as numbers. */
export function packFinding(
  numbers: Float64Array,
  at: number,
  job: number,
  finding: Finding,
): void {
  numbers[at] = job;
  numbers[at + 1] = VERDICTS.indexOf(finding.verdict);
  numbers[at + 2] = finding.errno;
  numbers[at + 3] = finding.soft ? 1 : 0;
  numbers[at + 4] = finding.attempts;
  numbers[at + 5] = finding.retransmits ?? NaN;
  numbers[at + 6] = finding.wall ?? NaN;
  numbers[at + 7] = finding.rtt ?? NaN;
  numbers[at + 8] = finding.fd;
}

/** Reads a finding, the reverse of {@linkcode packFinding}. */
export function unpackFinding(
  numbers: Float64Array,
  at: number,
  extras: Extras | undefined,
): Finding {
  return {
    verdict: VERDICTS[numbers[at + 1]!]!,
    errno: numbers[at + 2]!,
    syscall: extras?.syscall ?? "connect",
    cause: null,
    icmp: extras?.icmp ?? null,
    soft: numbers[at + 3] === 1,
    localAddress: extras?.localAddress ?? null,
    attempts: numbers[at + 4]!,
    retransmits: numberOr(numbers[at + 5]!),
    wall: numberOr(numbers[at + 6]!),
    rtt: numberOr(numbers[at + 7]!),
    fd: numbers[at + 8]!,
  };
}

function numberOr(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}

/** Does a thread's share of a run until the order to stop. */
export function probeForOthers(port: ThreadPort, share: Share): void {
  const { setup, pacing, threads } = share;
  const queue = new Fifo<number>();
  /** The addresses of jobs that are not over, by their numbers. */
  const addresses: (InetAddress | Inet6Address | undefined)[] = [];
  let numbers = new Float64Array(FINDING_BATCH * FINDING_WIDTH);
  let extras: [number, Extras][] = [];
  let filled = 0;
  let isScheduled = false;
  /** How many were in flight by the last report. */
  let reported = 0;
  let host = "";
  function send(report: ThreadReport, moved: ArrayBuffer[] = []): void {
    port.post(report, moved);
  }
  function flush(): void {
    isScheduled = false;
    const { state } = run;
    reported = state.inFlight;
    const report = {
      numbers: numbers.slice(0, filled * FINDING_WIDTH),
      extras,
      state,
    };
    send(report, [report.numbers.buffer]);
    numbers = new Float64Array(FINDING_BATCH * FINDING_WIDTH);
    extras = [];
    filled = 0;
  }
  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setTimeout(flush, LONGEST_DELAY);
  }
  const c = libc();
  const run: Run = new Run(
    c,
    probeRecipe(c, setup),
    pacing,
    {
      take() {
        const job = queue.shift();
        if (job !== undefined) return job;
        // What is in flight leaves room for more jobs.
        if (run.state.inFlight > reported) schedule();
        return NOTHING;
      },
      addressOf: (job) => addresses[job]!,
      isOver: false,
      total: null,
    },
    {
      held: 0,
      found(job, finding) {
        addresses[job] = undefined;
        packFinding(numbers, filled * FINDING_WIDTH, job, finding);
        const { icmp, localAddress, syscall } = finding;
        if (icmp !== null || localAddress !== null || syscall !== "connect") {
          extras.push([filled, { icmp, localAddress, syscall }]);
        }
        if (++filled === FINDING_BATCH) flush();
        else schedule();
      },
      done() {},
      failed: (failure) => send({ failure }),
    },
    threads,
  );
  port.listen((message) => {
    const order = message as Order;
    if (order === "stop") {
      run.stop();
      flush();
      return leave();
    }
    const { hosts, jobs, ports } = order;
    for (let i = 0; i < hosts.length; i++) {
      host = hosts[i]! || host;
      addresses[jobs[i]!] = parseIp(host, ports[i]!)!;
      queue.push(jobs[i]!);
    }
    run.pump();
  });
  /** Waits until no descriptor is left, for it would outlive the thread. */
  function leave(): void {
    if (closeIdle(c)) send("stopped");
    else setTimeout(leave, 1);
  }
  // Attempts that wait lead to no finding, and their number is progress too.
  function report(): void {
    flush();
    setTimeout(report, REPORT_EVERY);
  }
  setTimeout(report, REPORT_EVERY);
  send("ready");
}
