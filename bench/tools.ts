/**
 * How close the tools keep to what they promise: how soon `waitFor` is through and what waiting costs, how long a trace takes,
 * how even a rate is, and how far a round trip is from what a packet capture says.
 *
 *     tools.ts [WORD]     the cases whose names have the word, or all; needs root, for namespaces
 *
 * @module
 */
import { inChild } from "../tests/_fixtures.ts";
import { ROUTERS } from "../tests/_networks.ts";

const TOOLS = import.meta.resolve("../src/tools.ts");

/** One figure, and what was promised. */
type Row = readonly [what: string, found: string, promised: string];

/** A cable without a delay between this namespace and that of the peer. */
const VETH = `ip link add end0 type veth peer name end0 netns peer`;

/** A cable that takes a packet so many milliseconds from end to end; not every kernel has a qdisc that delays. */
function slowCable(milliseconds: number): string {
  return `
python3 -c '
import fcntl, heapq, os, select, struct, subprocess, time
def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", name, 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    return fd
near, far = tun(b"end0"), tun(b"far0")
subprocess.run("ip link set far0 netns peer && ip -n peer link set far0 name end0", shell=True, check=True)
open("/run/cable", "w")
other, under_way, parent = {near: far, far: near}, [], os.getppid()
while os.getppid() == parent:
    wait = max(under_way[0][0] - time.monotonic(), 0) if under_way else 0.1
    for fd in select.select(list(other), [], [], wait)[0]:
        at = time.monotonic() + ${milliseconds} / 1000
        heapq.heappush(under_way, (at, other[fd], os.read(fd, 65536)))
    while under_way and under_way[0][0] <= time.monotonic():
        _, fd, packet = heapq.heappop(under_way)
        try: os.write(fd, packet)
        except OSError: pass  # that end is not up yet
' > /dev/null 2>&1 &
while [ ! -e /run/cable ]; do sleep 0.01; done
`;
}

/** Two ends of a cable: this one is 10.8.0.1, the other one 10.8.0.2, in a namespace of its own, and its port 80 is open. */
function ends(cable: string): string {
  return `
mount -t tmpfs none /run
ip netns add peer
${cable}
ip addr add 10.8.0.1/24 dev end0
ip link set end0 up
ip -n peer addr add 10.8.0.2/24 dev end0
ip -n peer link set end0 up
ip netns exec peer python3 -c '
import os, socket, time
s = socket.socket()
s.bind(("10.8.0.2", 80))
s.listen(1000)
parent = os.getppid()
open("/run/ready", "w")
while os.getppid() == parent: time.sleep(0.1)
' > /dev/null 2>&1 &
while [ ! -e /run/ready ]; do sleep 0.01; done
`;
}

/** Writes the time from each SYN to its SYN/ACK, in microseconds, a line each. */
const CAPTURE = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.bind(("end0", 0))
s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
print("ready", flush=True)
begun = {}
while True:
    frame, control, _, _ = s.recvmsg(2048, 256)
    if frame[0] >> 4 != 4 or frame[9] != 6: continue
    seconds, rest = struct.unpack("qq", control[0][2][:16])
    now = seconds * 10**9 + rest
    at = (frame[0] & 15) * 4
    source, target = struct.unpack("!HH", frame[at:at + 4])
    flags = frame[at + 13] & 0x12
    if flags == 2 and source not in begun: begun[source] = now
    elif flags == 0x12 and target in begun:
        print((now - begun.pop(target)) / 1000, flush=True)
`;

const CASES: Readonly<Record<string, () => Promise<Row[]>>> = {
  async "wait, after listen(2)"() {
    const [times, busy, idle] = await inChild(
      { namespace: "" },
      async ({ bound, listen }, tools) => {
        const { waitFor } = await import(tools);
        const { default: process } = await import("node:process");
        const sleep = (time: number) =>
          new Promise((resolve) => setTimeout(resolve, time));
        const times: number[] = [];
        for (let round = 0; round < 60; round++) {
          const closed = bound();
          const { address } = closed;
          const waiting = waitFor(address, { timeout: 10_000 });
          await sleep(200 + Math.random() * 50);
          closed[Symbol.dispose]();
          const start = performance.now();
          using _ = listen({ at: address });
          await waiting;
          times.push(performance.now() - start);
        }
        using closed = bound();
        const share = async (work: () => Promise<unknown>) => {
          const before = process.cpuUsage();
          const start = performance.now();
          await work();
          const { user, system } = process.cpuUsage(before);
          return (user + system) / 10 / (performance.now() - start);
        };
        const busy = await share(() =>
          waitFor(closed.address, { timeout: 8000 }).catch(() => {})
        );
        const idle = await share(async () => {
          for (let i = 0; i < 160; i++) await sleep(50);
        });
        return [times, busy, idle] as [number[], number, number];
      },
      TOOLS,
    );
    return [
      ["p50", `${quantile(times, 0.5).toFixed(1)} ms`, "30 ms"],
      ["p99", `${quantile(times, 0.99).toFixed(1)} ms`, ""],
      ["processor while waiting", `${busy.toFixed(2)} %`, "0.5 %"],
      ["of that, a timer every 50 ms", `${idle.toFixed(2)} %`, ""],
    ];
  },

  async "trace, 3 hops, as nobody"() {
    const times = await inChild(
      { namespace: ROUTERS },
      async ({ becomeNobody }, tools) => {
        const { trace } = await import(tools);
        becomeNobody();
        const times: number[] = [];
        for (let round = 0; round < 20; round++) {
          const start = performance.now();
          let hops = 0;
          const target = { hostname: "10.9.3.2", port: 8080 };
          for await (const _ of trace(target)) hops++;
          if (hops !== 9) throw new Error(`${hops} hops`);
          times.push(performance.now() - start);
        }
        return times;
      },
      TOOLS,
    );
    return [
      ["first", `${times[0]!.toFixed(1)} ms`, "50 ms and a round trip"],
      ["p50", `${quantile(times, 0.5).toFixed(1)} ms`, ""],
    ];
  },

  async "ping, 1,000 a second"() {
    const times = await inChild(
      { namespace: "" },
      async ({ listen, watchLibc }, tools) => {
        const { ping } = await import(tools);
        using listener = listen({ backlog: 4096 });
        const times: number[] = [];
        const { libc } = await import(
          tools.replace("src/tools.ts", "ffi/libc.ts")
        );
        const { connect } = libc();
        using _ = watchLibc({
          connect(fd, address, length) {
            if (fd >= 0) times.push(performance.now());
            return connect(fd, address, length);
          },
        });
        const options = { rate: 1000, count: 4000 };
        for await (const _ of ping(listener.address, options));
        return times;
      },
      TOOLS,
    );
    let worst = 0;
    for (let i = 0, j = 0; j < times.length; j++) {
      while (times[j]! - times[i]! > 10) i++;
      worst = Math.max(worst, j - i + 1);
    }
    const rate = (times.length - 1) / (times.at(-1)! - times[0]!) * 1000;
    return [
      ["in the worst 10 ms", `${worst}`, "20"],
      ["a second", rate.toFixed(1), "990 to 1010"],
    ];
  },

  "round trip over veth": () => roundTrip(VETH, 1000),
  "round trip of 1 ms": () => roundTrip(slowCable(0.5), 500),
  "round trip of 10 ms": () => roundTrip(slowCable(5), 300),
};

/** The round trip to the other end of a cable: what a capture says, the kernel, and the clock around connect(2). */
async function roundTrip(cable: string, count: number): Promise<Row[]> {
  const [captured, kernel, wall] = await inChild(
    { namespace: ends(cable) },
    async (_, tools, program, count) => {
      const { ping } = await import(tools);
      const { spawn } = await import("node:child_process");
      const capture = spawn("python3", ["-c", program], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let text = "";
      await new Promise<void>((resolve) => {
        capture.stdout.setEncoding("utf8").on("data", (more: string) => {
          text += more;
          if (text.startsWith("ready")) resolve();
        });
      });
      const rtts: number[] = [];
      const walls: number[] = [];
      const target = { hostname: "10.8.0.2", port: 80 };
      const options = { count, interval: 3 };
      for await (const { rtt, wall } of ping(target, options)) {
        rtts.push(rtt ?? NaN);
        walls.push(wall!);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
      capture.kill();
      const captured = text.split("\n").slice(1, -1).map(Number);
      return [
        captured,
        rtts.map((t) => t * 1000),
        walls.map((t) => t * 1000),
      ];
    },
    TOOLS,
    CAPTURE,
    count,
  );
  const base = quantile(captured!, 0.5);
  const row = (what: string, times: number[], promised: string): Row => {
    const p50 = quantile(times, 0.5);
    const more = p50 - base;
    return [
      what,
      `${p50.toFixed(0)} us, ${more >= 0 ? "+" : ""}${more.toFixed(0)}`,
      promised,
    ];
  };
  return [
    ["capture, p50", `${base.toFixed(0)} us`, ""],
    row("kernel, p50", kernel!, "+30 us"),
    row("wall, p50", wall!, ""),
  ];
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.filter((value) => !Number.isNaN(value))
    .sort((a, b) => a - b);
  return sorted[Math.max(Math.ceil(share * sorted.length), 1) - 1]!;
}

const [word = ""] = Deno.args;
for (const [name, run] of Object.entries(CASES)) {
  if (!name.includes(word)) continue;
  const lines = (await run()).map(([what, found, promised]) =>
    `  ${what.padEnd(30)} ${found.padEnd(16)} ${
      promised === "" ? "" : `promised ${promised}`
    }`.trimEnd()
  );
  // deno-lint-ignore no-console
  console.log([name, ...lines].join("\n"));
}
