/**
 * Scans in networks of its own, and says how long `probe()` takes beside C, Go and nmap.
 *
 *     deno task bench:scan [--rounds=N] [--runtime=deno|bun|node] [FILTER…]
 *
 * Needs root, for namespaces and nftables. Sides take turns within each round; what is printed are medians, and the median of
 * the ratios to C within a round.
 *
 * @module
 */
// deno-lint-ignore-file no-console
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** What a side reports of one scan. */
interface Scan {
  readonly open: number;
  readonly closed: number;
  readonly filtered: number;
  readonly seconds: number;
  readonly cpu: number;
  readonly rss: number;
  readonly retries?: number;
  readonly wrong?: number;
  readonly attributed?: number;
}

/** HOST HOSTS FIRST LAST CONCURRENCY TIMEOUT, as all sides take them. */
type Work = readonly [string, number, number, number, number, number];

interface ScanCase {
  readonly name: string;
  readonly goal: string;
  /** How the namespace is furnished. */
  readonly network: string;
  /** A command around each side's own. */
  readonly around?: readonly string[];
  readonly sides: Readonly<Record<string, readonly string[]>>;
}

const here = (name: string): string =>
  fileURLToPath(new URL(name, import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "einprogress-scan-"));
const C = join(folder, "scan");
const GO = join(folder, "scan-go");

const args = process.argv.slice(2);
const rounds = Number(
  args.find((arg) => arg.startsWith("--rounds="))?.slice(9) ?? 5,
);
const name = args.find((arg) => arg.startsWith("--runtime="))?.slice(10) ??
  "deno";
const filters = args.filter((arg) => !arg.startsWith("-"));

/** The command that runs a module on the runtime that is measured. */
function runtimeCommand(): string[] {
  if (name === "deno") {
    return ["deno", "run", "-A", "--no-check", "--no-code-cache", "--no-lock"];
  }
  return name === "node" ? ["node", "--no-warnings"] : [name];
}

function ours(work: Work, options: object = {}): string[] {
  const rest = [...work.map(String), JSON.stringify(options)];
  return [...runtimeCommand(), here("scan_side.ts"), ...rest];
}

function c(work: Work): string[] {
  return [C, ...work.map(String)];
}

function go(work: Work): string[] {
  return [GO, ...work.map(String)];
}

function nmap(work: Work, ...more: string[]): string[] {
  const [host, hosts, first, last, concurrency, timeout] = work;
  const [a, b, third, d] = host.split(".").map(Number);
  const end = d! + hosts - 1;
  const range = hosts === 1
    ? host
    : `${a}.${b}.${third}-${third! + (end >> 8)}.0-255`;
  return [
    "nmap",
    ...["-sT", "-Pn", "-n", "-T5", "-q", "-oG", "-", "-p", `${first}-${last}`],
    ...["--min-parallelism", `${Math.min(concurrency, 1000)}`],
    ...["--max-rtt-timeout", `${timeout}ms`],
    ...["--initial-rtt-timeout", `${timeout}ms`],
    ...more,
    range,
  ];
}

const LOOPBACK = "ip link set lo up";
const DROPPED = `${LOOPBACK}
nft -f - <<END
table ip t {
  chain i {
    type filter hook input priority 0
    tcp flags & (syn|ack) == syn drop
  }
}
END`;

/**
 * A router, and behind it 1,000 hosts whose ports 1001 to 1020 are open, closed, rejected or silent: 1,500, 4,000, 9,500 and
 * 5,000 in all; at 10.9.0.2, all ports but one are closed.
 */
function fieldNetwork(loss: string, limits: boolean): string {
  return `
ip link set lo up
setpriv --pdeathsig KILL unshare --net sleep 1d >/dev/null 2>&1 & R=$!
setpriv --pdeathsig KILL unshare --net sleep 1d >/dev/null 2>&1 & T=$!
here=$(readlink /proc/self/ns/net)
for p in $R $T; do
  until [ "$(readlink /proc/$p/ns/net)" != "$here" ]; do sleep 0.01; done
done
ip link add c0 type veth peer name r0
ip link add r1 type veth peer name t0
ip link set r0 netns $R; ip link set r1 netns $R; ip link set t0 netns $T
ip addr add 10.7.0.1/24 dev c0; ip link set c0 up
ip route add default via 10.7.0.254
nsenter -t $R -n sh -ec '
ip link set lo up
ip addr add 10.7.0.254/24 dev r0; ip link set r0 up
ip addr add 10.9.0.1/24 dev r1; ip link set r1 up
ip route add 10.8.0.0/16 via 10.9.0.2
echo 1 > /proc/sys/net/ipv4/ip_forward
${
    limits ? "" : `
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
echo 0 > /proc/sys/net/ipv4/icmp_ratemask`
  }
nft -f - <<END
table ip r {
  chain f {
    type filter hook forward priority 0
    ${loss}
    ip daddr 10.9.0.2 accept
    tcp dport 1002 ip daddr 10.8.2.0/23 reject with icmp type admin-prohibited
    tcp dport 1007-1009 reject with icmp type host-unreachable
    tcp dport 1010-1012 reject with icmp type admin-prohibited
    tcp dport 1013-1015 reject with icmp type port-unreachable
    tcp dport 1016-1020 drop
  }
}
END'
nsenter -t $T -n sh -ec '
ip link set lo up
ip addr add 10.9.0.2/24 dev t0; ip link set t0 up
ip route add default via 10.9.0.1
ip route add local 10.8.0.0/16 dev lo
echo 65535 > /proc/sys/net/core/somaxconn
nft -f - <<END
table ip t {
  chain p {
    type nat hook prerouting priority -100
    ip daddr 10.8.0.0/16 tcp dport 1001 redirect to :7
    ip daddr 10.8.0.0/23 tcp dport 1002 redirect to :7
  }
}
END'
setpriv --pdeathsig KILL nsenter -t $T -n python3 -c '
import socket
listener = socket.create_server(("", 7), backlog=65535)
while True: listener.accept()[0].close()
' >/dev/null 2>&1 &
until nsenter -t $T -n ss -Hltn | grep -q :7; do sleep 0.01; done
`;
}

const ONE: Work = ["10.9.0.2", 1, 1, 65_535, 4096, 1500];
// From 10.8.0.0 on, 500 hosts to each side of what separates open from rejected.
const MANY: Work = ["10.8.0.12", 1000, 1001, 1020, 16_384, 1200];
const LOCAL: Work = ["127.0.0.1", 1, 1, 65_535, 4096, 1500];
const SILENT: Work = ["127.0.0.1", 1, 1, 65_535, 4096, 300];
const HELD: Work = ["127.0.0.1", 1, 1, 50_000, 19_000, 1000];
const FEW: Work = ["127.0.0.1", 20, 1, 500, 1000, 300];
const LOSS = "tcp flags & (syn|ack) == syn numgen random mod 100 < 5 drop";
const UNTRIED = { retries: 0 };

const CASES: readonly ScanCase[] = [
  {
    name: "65,535 ports of one host over veth",
    goal: "at most 1.10 of C and nmap's; 27 us of the processor a probe",
    network: fieldNetwork("", false),
    sides: { C: c(ONE), ours: ours(ONE), go: go(ONE), nmap: nmap(ONE) },
  },
  {
    name: "20,000 probes of 1,000 hosts",
    goal: "at most 2.2 s with retries, none wrong, 9,500 attributed",
    network: fieldNetwork("", false),
    sides: {
      ours: ours(MANY),
      nmap: nmap(MANY, "--max-retries", "0", "--min-hostgroup", "1024"),
    },
  },
  {
    name: "20,000 probes, with limits on ICMP",
    goal: "the same states",
    network: fieldNetwork("", true),
    sides: { ours: ours(MANY) },
  },
  {
    name: "20,000 probes, 5 % of the SYNs lost",
    goal: "at most 2.5 s, 99.9 % of 1,500 open",
    network: fieldNetwork(LOSS, false),
    sides: { ours: ours(MANY) },
  },
  {
    name: "65,535 ports of loopback",
    goal: "two threads at most 0.65 of C, and Go's; none open",
    network: LOOPBACK,
    sides: {
      C: c(LOCAL),
      ours: ours(LOCAL),
      threads: ours(LOCAL, { threads: 2 }),
      go: go(LOCAL),
    },
  },
  {
    name: "65,535 silent ports",
    goal: "at most 5.5 s and 90 MB",
    network: DROPPED,
    sides: { C: c(SILENT), ours: ours(SILENT, UNTRIED) },
  },
  {
    name: "50,000 timeouts, 19,000 in flight",
    goal: "at most 1.08 of C and 80 MB",
    network: DROPPED,
    sides: { C: c(HELD), ours: ours(HELD, UNTRIED) },
  },
  {
    name: "256 descriptors, 1,000 wanted",
    goal: "at most 1.3 times as long as 192",
    network: DROPPED,
    around: ["sh", "-c", 'ulimit -n 256; exec "$0" "$@"'],
    sides: {
      wanted: ours(FEW, UNTRIED),
      "192": ours(["127.0.0.1", 20, 1, 500, 192, 300], UNTRIED),
    },
  },
];

function run(one: ScanCase, command: readonly string[]): Scan {
  const script = `${one.network}\nexec "$@"`;
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    [
      ...["--net", "--mount", "sh", "-ec", script, "sh"],
      ...[...one.around ?? [], ...command],
    ],
    { encoding: "utf8", timeout: 300_000, stdio: ["ignore", "pipe", "pipe"] },
  );
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  if (command[0] !== "nmap") {
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Scan;
  }
  const [, seconds] = /scanned in ([0-9.]+) seconds/.exec(stdout) ?? [];
  const count = (state: string) =>
    stdout.match(new RegExp(`/${state}/`, "g"))?.length ?? 0;
  return {
    open: count("open"),
    closed: 0,
    filtered: 0,
    seconds: Number(seconds ?? (performance.now() - start) / 1000),
    cpu: NaN,
    rss: NaN,
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

try {
  execFileSync("cc", ["-O2", "-o", C, here("scan.c")]);
  const hasGo = spawnSync("go", ["build", "-o", GO, here("scan.go")])
    .status === 0;
  const hasNmap = spawnSync("nmap", ["--version"]).status === 0;
  for (const one of CASES) {
    const isWanted = filters.length === 0 ||
      filters.some((filter) => one.name.includes(filter));
    if (!isWanted) continue;
    console.log(`\n${one.name}: ${one.goal}`);
    const found = new Map<string, Scan[]>();
    for (let round = 0; round < rounds; round++) {
      for (const [side, command] of Object.entries(one.sides)) {
        if (side === "go" && !hasGo || side === "nmap" && !hasNmap) continue;
        const scans = found.get(side) ?? [];
        found.set(side, [...scans, run(one, command)]);
      }
    }
    const [first] = found.values();
    for (const [side, scans] of found) {
      const ratios = scans.map(({ seconds }, i) =>
        seconds / first![i]!.seconds
      );
      const of = (field: "seconds" | "cpu" | "rss") =>
        median(scans.map((scan) => scan[field]));
      const { open, closed, filtered, wrong, attributed } = scans.at(-1)!;
      const ours = wrong === undefined || !one.name.startsWith("20,000")
        ? ""
        : `, wrong ${scans.map((scan) => scan.wrong).join("/")}` +
          `, attributed ${attributed}`;
      console.log(
        `  ${side.padEnd(8)} ${of("seconds").toFixed(2)} s, ` +
          `${median(ratios).toFixed(2)} of the first, ` +
          `${of("cpu").toFixed(1)} us a probe, ${of("rss").toFixed(0)} MB; ` +
          `${open} open, ${closed} closed, ${filtered} filtered${ours}`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
