import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { libc } from "../ffi/libc.ts";
import { abstractUnix, unix } from "../src/address/address.ts";
import { Interruption, main } from "../src/cli.ts";
import { cliCommand, type Ran, runChild, runCli } from "./_cli.ts";
import { runtime } from "./_emulation.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canIsolate,
  inChild,
  listen,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { canIpv6, hasCommand, needs, on, test } from "./_harness.ts";
import { linesOf } from "./_lines.ts";
import { FIREWALL, NAME_SERVER } from "./_networks.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const real = libc();

const hasAbstractNames = real.abi.abstractUnix
  ? null
  : `${real.abi.os} has no abstract names`;

function run(args: string[], signal?: AbortSignal): Promise<Ran> {
  return runCli(args, { signal });
}

/** Runs a command line as the task does. */
function runTask(
  args: string[],
  onOutput?: (pid: number, out: string) => void,
): Promise<Ran> {
  const permissions = ["--allow-ffi", "--allow-net"];
  return runChild(args, {
    permissions,
    ...onOutput === undefined ? {} : { onOutput },
  });
}

const NUMBER = String.raw`\d+\.\d{3}`;

test("ping without a target connects to a listener of its own", async () => {
  const { code, out, err } = await run(["ping", "-c", "3", "-i", "0"]);
  assertEquals([code, err], [0, ""]);
  const lines = out.split("\n");
  for (const seq of [1, 2, 3]) {
    assertMatch(
      lines[seq - 1]!,
      new RegExp(
        `^seq=${seq} 127\\.0\\.0\\.1:\\d+ connected wall=${NUMBER} ms( kernel=${NUMBER} ms)?$`,
      ),
    );
  }
  assertEquals(lines[3], "");
  assertMatch(lines[4]!, /^--- 127\.0\.0\.1:\d+, a listener of its own ---$/);
  assertEquals(lines[5], "3 probes, 3 connected, 0 failed");
  assertMatch(
    lines[6]!,
    /^ms +min +p50 +p90 +p99 +p99\.9 +max +mean +stddev$/,
  );
  assertMatch(lines[7]!, new RegExp(`^wall( +${NUMBER}){8}$`));
});

test(
  "ping -6 without a target connects to a listener of its own over IPv6",
  async () => {
    const { code, out } = await run(["ping", "-6", "-c1"]);
    assertEquals(code, 0);
    assertMatch(out, /^seq=1 \[::1\]:\d+ connected /);
  },
  { skip: canIpv6() },
);

test("ping shows the kernel's round trip beside the wall clock", async () => {
  const { out } = await run(["ping", "-c", "2", "-i", "0"]);
  assertEquals(out.match(/ kernel=/g)?.length, 2);
  assertMatch(out, new RegExp(`\nkernel( +${NUMBER}){8}\n`));
}, {
  skip: real.abi.tcpInfo === null ? `${real.abi.os} has no TCP_INFO` : null,
});

test("ping connects to a host and port", async () => {
  using listener = listen();
  const { port } = listener.address;
  for (const host of ["127.0.0.1", "localhost"]) {
    const target = `${host}:${port}`;
    const { code, out } = await run(["ping", target, "-4", "-c", "1"]);
    assertEquals(code, 0, out);
    assertStringIncludes(out, `seq=1 127.0.0.1:${port} connected wall=`);
    const title = host === "localhost"
      ? `${target} (127.0.0.1:${port})`
      : target;
    assertStringIncludes(out, `--- ${title} ---\n1 probe, 1 connected, `);
  }
});

test(
  "ping connects from --source and through --interface",
  async () => {
    using listener = listen();
    const target = `${listener.address}`;
    const args = ["ping", target, "-c1", "--json", "--source", "127.0.0.2"];
    const { code, out, err } = await run([...args, "--interface", "lo"]);
    assertEquals([code, err], [0, ""]);
    const { localAddress } = JSON.parse(out.split("\n")[0]!);
    assertMatch(localAddress, /^127\.0\.0\.2:\d+$/);
  },
  {
    skip: real.abi.os === "linux"
      ? null
      : `127.0.0.2 and lo are Linux's, this is ${real.abi.os}`,
  },
);

test("ping exits by 1 when every probe is refused, and says why", async () => {
  using closed = bound();
  const target = `${closed.address}`;
  const { code, out, err } = await run(["ping", target, "-c2", "-i0"]);
  assertEquals([code, err], [1, ""]);
  const [first, second, ...rest] = out.split("\n");
  const words = `${target} ECONNREFUSED connection refused after`;
  assertMatch(first!, new RegExp(`^seq=1 ${words} ${NUMBER} ms$`));
  assertMatch(second!, new RegExp(`^seq=2 ${words} ${NUMBER} ms$`));
  assertEquals(rest, [
    "",
    `--- ${target} ---`,
    "2 probes, 0 connected, 2 failed: 2 ECONNREFUSED",
    rest[3]!,
    "",
  ]);
  assertMatch(rest[3]!, new RegExp(`^longest outage ${NUMBER} ms$`));
});

test("ping exits by 0 when one probe connected", async () => {
  using listener = listen();
  let calls = 0;
  using _ = watchLibc({
    connect(fd, address, length) {
      return fd >= 0 && ++calls !== 2
        ? -real.abi.errnos.ENETUNREACH!
        : real.connect(fd, address, length);
    },
  });
  const target = `${listener.address}`;
  const { code, out } = await run(["ping", target, "-c3", "-i0", "-q"]);
  assertEquals(code, 0);
  assertStringIncludes(
    out,
    "3 probes, 1 connected, 2 failed: 2 ENETUNREACH\n",
  );
});

test("ping exits by 2 when no probe has left this machine", async () => {
  using watched = watchLibc({ connect: () => -real.abi.errnos.ENETUNREACH! });
  const { code, out, err } = await run([
    "ping",
    "127.0.0.1:9",
    "-c3",
    "-i0",
    "--json",
  ]);
  assertEquals([code, err], [2, ""]);
  const lines = linesOf(out);
  assertEquals(lines.map(({ state, reason }) => [state, reason]), [
    ...Array(3).fill(["unsent", "errno"]),
    [undefined, undefined],
  ]);
  assert(watched.count("connect") >= 3);
});

test("ping gives up at the timeout", async () => {
  using silent = blackHole();
  const target = `${silent.address}`;
  const { code, out } = await run(["ping", target, "-c1", "-t", "20"]);
  assertEquals(code, 1);
  assertStringIncludes(
    out,
    `seq=1 ${target} ETIMEDOUT no answer within 20 ms\n`,
  );
}, { skip: canBlackHole() });

test("ping flags a probe in which a SYN was repeated", async () => {
  using listener = listen();
  const { tcpInfo, IPPROTO_TCP } = real.abi;
  using _ = watchLibc({
    getsockopt(fd, level, name, value) {
      const result = real.getsockopt(fd, level, name, value);
      if (level === IPPROTO_TCP && name === tcpInfo?.option) {
        value[tcpInfo.totalRetrans!] = 1;
      }
      return result;
    },
  });
  const { out } = await run(["ping", `${listener.address}`, "-c1"]);
  assertMatch(out, /^seq=1 .* retransmits=1\n/);
  assertStringIncludes(
    out,
    "\n1 with retransmitted SYNs: loss 50 % of 2 SYNs\n",
  );
}, {
  skip: real.abi.os === "linux"
    ? null
    : `the test writes the TCP_INFO of Linux, this is ${real.abi.os}`,
});

test("ping connects to a Unix socket, without a kernel's round trip", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "x.sock");
  using _ = listen({ at: unix(path) });
  const { code, out } = await run(["ping", `unix:${path}`, "-c2", "-i0"]);
  assertEquals(code, 0);
  assertMatch(
    out,
    new RegExp(`^seq=1 unix:${path} connected wall=${NUMBER} ms\n`),
  );
  assert(!out.includes("kernel"), out);
  const { code: missing, out: words } = await run([
    "ping",
    `unix:${path}.no`,
    "-c1",
  ]);
  assertEquals(missing, 1);
  assertStringIncludes(words, ".no ENOENT no such file or directory after ");
});

test("ping connects to an abstract Unix socket", async () => {
  const name = `einprogress-${process.pid}`;
  using _ = listen({ at: abstractUnix(name) });
  const { code, out } = await run(["ping", `unix:@${name}`, "-c1"]);
  assertEquals(code, 0);
  assertStringIncludes(out, `seq=1 unix:@${name} connected `);
}, { skip: hasAbstractNames });

test("ping --json writes an object on each line, the summary last", async () => {
  using listener = listen();
  using closed = bound();
  const rows: [target: string, connected: boolean][] = [
    [`${listener.address}`, true],
    [`${closed.address}`, false],
  ];
  for (const [target, connected] of rows) {
    const args = ["ping", target, "-c", "2", "-i", "0", "--json"];
    const { out } = await run(args);
    const [first, second, summary, ...rest] = linesOf(out);
    assertEquals(rest, []);
    assertEquals([first!.type, first!.seq, second!.seq], ["ping", 1, 2]);
    assertEquals([first!.target, first!.address], [target, target]);
    assertEquals(first!.state, connected ? "open" : "closed");
    assertEquals(first!.reason, connected ? "syn-ack" : "reset");
    assertEquals(new Date(first!.time as string).toISOString(), first!.time);
    const { wall, rtt, latency, jitter: _j, outage: _o, syns: _s, loss: _l } =
      summary!;
    assertEquals([summary!.type, summary!.command], ["summary", "ping"]);
    assertEquals([summary!.probes, summary!.connected, summary!.failures], [
      2,
      connected ? 2 : 0,
      connected ? {} : { ECONNREFUSED: 2 },
    ]);
    if (connected) {
      assertEquals([first!.code, first!.message], [null, null]);
      const { min, max } = wall as Record<string, number>;
      const walls = [first!.wall, second!.wall] as number[];
      assertEquals([min, max], walls.sort((a, b) => a - b));
    } else {
      assertEquals(first!.code, "ECONNREFUSED");
      assertEquals(
        first!.message,
        `Cannot connect to ${target}: connection refused (ECONNREFUSED)`,
      );
      assertEquals([wall, rtt, latency], [null, null, null]);
    }
  }
});

test("ping --csv writes a line for each probe under their names", async () => {
  const { out } = await run(["ping", "-c2", "-i0", "--csv"]);
  const [head, ...rows] = out.trimEnd().split("\n");
  const names = head!.split(",");
  assertEquals(names.slice(0, 3), ["target", "seq", "time"]);
  assertEquals(rows.length, 2);
  for (const row of rows) assertEquals(row.split(",").length, names.length);
});

test("ping begins all probes that are due within its time", async () => {
  using listener = listen();
  const args = [`${listener.address}`, "--rate", "30", "-w", "2s", "-q"];
  let summary = "";
  // A machine that is busy at the end may be late for the last one.
  for (let round = 0; round < 10 && !/^60 /m.test(summary); round++) {
    summary = (await runChild(["ping", ...args])).out;
  }
  assertMatch(summary, /^60 probes, \d+ connected, 0 failed(, .*)?$/m);
});

test("ping goes to several targets, and says which line is whose", async () => {
  using listener = listen();
  using closed = bound();
  const [open, shut] = [`${listener.address}`, `${closed.address}`];
  const { code, out } = await run(["ping", open, shut, "-c2", "-i1"]);
  assertEquals(code, 0);
  assertEquals(out.split(`${open} seq=`).length, 3);
  assertEquals(out.split(`${shut} seq=`).length, 3);
  assertStringIncludes(
    out,
    `--- ${open} ---\n2 probes, 2 connected, 0 failed\n`,
  );
  assertStringIncludes(out, `--- ${shut} ---\n2 probes, 0 connected, 2 failed`);
});

test("ping keeps to a rate and to a deadline, and writes percentiles", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "x.hgrm");
  const { code, out } = await run([
    "ping",
    "--rate",
    "200",
    "-w",
    "1s",
    "--hdr",
    path,
    "-q",
  ]);
  assertEquals(code, 0);
  const probes = Number(/^(\d+) probes/m.exec(out)?.[1]);
  assert(probes > 10 && probes <= 202, out);
  assertMatch(out, new RegExp(`^latency( +${NUMBER}){8}$`, "m"));
  const text = readFileSync(path, "utf8");
  assertMatch(text, /^ +Value +Percentile/);
  assert(Number(/Total count += +(\d+)/.exec(text)![1]) <= probes);
});

test("ping exits as monitors expect by --warn and --crit", async () => {
  using listener = listen();
  using closed = bound();
  const rows: [args: string[], code: number][] = [
    [["--warn", "1h", "--crit", "1h"], 0],
    [["--warn", "0"], 1],
    [["--warn", "0", "--crit", "0"], 2],
  ];
  for (const [args, expected] of rows) {
    const common = ["ping", `${listener.address}`, "-c1", "-q"];
    const { code } = await run([...common, ...args]);
    assertEquals(code, expected, args.join(" "));
  }
  const gone = await run(["ping", `${closed.address}`, "-c1", "--crit", "1s"]);
  assertEquals(gone.code, 2);
});

test("ping takes a refusal for an answer with --refused answer", async () => {
  using closed = bound();
  const args = ["ping", `${closed.address}`, "-c1", "--refused", "answer"];
  const { code, out } = await run(args);
  assertEquals(code, 0);
  assertStringIncludes(out, "1 probe, 0 connected, 1 refused, 0 failed\n");
});

test("ping -D begins each line with the time", async () => {
  const { out } = await run(["ping", "-c1", "-D"]);
  assertMatch(out, /^\[\d{10}\.\d{3}\] seq=1 /);
});

test("ping --live draws rows of shades, and lines over one another", async () => {
  using listener = listen();
  let out = "";
  const code = await main(
    ["ping", `${listener.address}`, "-w", "1.4s", "--live"],
    { out: (text) => out += text, err() {}, isTerminal: true, width: 100 },
  );
  assertEquals(code, 0);
  assertMatch(out, /\|10us +\|100us/);
  assertMatch(out, /\d\d:\d\d:\d\d [ \u2591-\u2593\u2588]+\n/);
  assertMatch(out, /127\.0\.0\.1:\d+ [\u2581-\u2588x]+ p50 /);
  assertStringIncludes(out, "\x1b[1A\x1b[J");
  let plain = "";
  await main(["ping", `${listener.address}`, "-c1", "--live"], {
    out: (text) => plain += text,
    err() {},
  });
  assert(!plain.includes("\x1b"), plain);
});

test("ping --live fits a narrow terminal, and one without UTF-8", async () => {
  for (
    const [width, isAscii] of [[40, true], [30, false], [60, true]] as const
  ) {
    const { code, out } = await runCli(
      ["ping", "-w", "1.2s", "--live", "-i5ms"],
      { isTerminal: true, width, isAscii },
    );
    assertEquals(code, 0);
    const [axis, ...rows] = out.split("\n");
    assert(axis!.trimEnd().length <= width, axis);
    const row = rows.find((row) => /^\d\d:/.test(row))!;
    assert(row.trimEnd().length <= width, row);
    assertEquals(!/[^\p{ASCII}]/u.test(out), isAscii, out);
    // As many rows are drawn over as the line has taken.
    const line = rows.find((row) => row.includes(" p50 "))!;
    const taken = Math.ceil(line.length / width);
    assertStringIncludes(out, `\x1b[${taken}A\x1b[J`);
  }
});

test("ping writes the summary so far when it is asked for", async () => {
  let ask = () => {};
  let err = "";
  let isDisposed = false;
  const controller = new AbortController();
  await main(["ping", "-c0", "-i1"], {
    out: () => ask(),
    err(text) {
      err += text;
      controller.abort();
    },
    signal: controller.signal,
    onRequest(listener) {
      ask = listener;
      return { [Symbol.dispose]: () => isDisposed = true };
    },
  });
  assertMatch(err, /^--- .* ---\n\d+ probes?, \d+ connected, 0 failed\n/);
  assert(isDisposed);
});

test("ping ends at once while a name does not resolve", async () => {
  const [code, out, late] = await inChild(
    { namespace: NAME_SERVER },
    async (_, cli) => {
      const { main } = await import(cli);
      const controller = new AbortController();
      let end = 0;
      setTimeout(() => {
        end = performance.now();
        controller.abort();
      }, 100);
      let out = "";
      const code = await main(["ping", "dead.test:80"], {
        out: (text: string) => out += text,
        err() {},
        signal: controller.signal,
      });
      return [code, out, performance.now() - end] as const;
    },
    import.meta.resolve("../src/cli.ts"),
  );
  assertEquals(code, 130);
  assertStringIncludes(out, "--- dead.test:80 ---\n0 probes");
  // A resolver that is not given up takes ten.
  assert(late < 5000, `${late} ms`);
}, { skip: needs(canIsolate(), hasCommand("python3")) });

test("ping names the router that rejects it", async () => {
  const [code, out] = await inChild(
    { namespace: FIREWALL },
    async (_, cli) => {
      const { main } = await import(cli);
      let out = "";
      const args = ["ping", "127.0.1.7:80", "-c2", "-i1"];
      const code = await main(args, {
        out: (text: string) => out += text,
        err() {},
      });
      return [code, out];
    },
    import.meta.resolve("../src/cli.ts"),
  );
  assertEquals(code, 1);
  assertMatch(
    String(out),
    /^seq=1 127\.0\.1\.7:80 EHOSTUNREACH host unreachable after \S+ ms by 127\.0\.1\.7 \(ICMP 3\/13\)\n/,
  );
  assertStringIncludes(String(out), "\n2 rejected by 127.0.1.7\n");
}, { skip: needs(canIsolate(), hasCommand("nft")) });

test("ping counts a probe that is interrupted", async () => {
  using silent = blackHole();
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 500);
  let out = "";
  const code = await main(["ping", `${silent.address}`, "-i60"], {
    out: (text) => out += text,
    err() {},
    signal: controller.signal,
  });
  assertEquals(code, 130);
  assertStringIncludes(
    out,
    "1 probe, 0 connected, 0 failed, 1 without an answer so far\n",
  );
}, { skip: canBlackHole() });

test("ping --quiet writes the summary alone", async () => {
  const { out } = await run(["ping", "-qc2", "-i0"]);
  assertMatch(out, /^--- .* ---\n2 probes, 2 connected, 0 failed\nms /);
  const { out: json } = await run(["ping", "-c2", "-i0", "-q", "--json"]);
  assertEquals(JSON.parse(json).probes, 2);
});

test("ping writes its summary and exits by 130 when it is interrupted", async () => {
  const controller = new AbortController();
  let out = "";
  const code = await main(["ping", "-c", "0", "-i", "3600000"], {
    out(text) {
      out += text;
      controller.abort();
    },
    err() {},
    signal: controller.signal,
  });
  assertEquals(code, 130);
  assertStringIncludes(out, "\n1 probe, 1 connected, 0 failed\n");
});

test("--help of each command says its options within 80 columns", async () => {
  const { out: overview } = await run(["--help"]);
  assertEquals((await run(["-h"])).out, overview);
  const names = [...overview.matchAll(/^ {2}(\w+) /gm)].map(([, name]) =>
    name!
  );
  for (const name of ["ping", "explain"]) {
    assert(names.includes(name), overview);
  }
  for (const name of names) {
    const combined = name === "report" ? "-h" : "-qh";
    for (
      const args of [
        [name, "--help"],
        [name, "x", "-h"],
        [name, combined],
        [name, "-o", "-h"],
        [name, "--none", "--help"],
      ]
    ) {
      const { code, out, err } = await run(args);
      assertEquals([code, err], [0, ""]);
      for (const words of ["Usage:", "--json", "--help", "EXAMPLES", "EXIT"]) {
        assertStringIncludes(out, words);
      }
      const wide = out.split("\n").filter((line) => line.length > 80);
      assertEquals(wide, []);
    }
  }
  const { version } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8"));
  const { code, out } = await run(["--version"]);
  assertEquals([code, out], [0, `${version}\n`]);
});

test("a command that does not exist exits by 2 and names the nearest one", async () => {
  const rows: [args: string[], words: string][] = [
    [[], "without a command: the commands are "],
    [["pong"], '"pong": did you mean ping?'],
    [["toString"], '"toString": the commands are '],
    [["localhost:80"], "the commands are "],
  ];
  for (const [args, words] of rows) {
    const { code, out, err } = await run(args);
    assertEquals([code, out], [2, ""]);
    assertStringIncludes(err, words);
    assertMatch(err, /\nTry --help\.\n$/);
  }
});

test("arguments that are not understood exit by 2, with a reason", async () => {
  const rows: [args: string[], words: string][] = [
    [["--nope"], "--nope"],
    [["--tiemout", "1s"], "did you mean --timeout?"],
    [["-x"], "-x"],
    [["--count"], "--count: its value is missing"],
    [["--count", "--json"], "--count: its value is missing"],
    [["--json=yes"], "--json"],
    [["--json", "--csv"], "--json and --csv"],
    [["--live", "-q"], "--live with"],
    [["-c", "x"], '--count "x"'],
    [["-c", "1.5"], '--count "1.5"'],
    [["--count=-1"], '--count "-1"'],
    [["--count="], '--count ""'],
    [["-i", "1e3"], '--interval "1e3"'],
    [["-i", "2147483648"], "--interval"],
    [["-t", "soon"], '--timeout "soon"'],
    [["-t", "1.5d"], '--timeout "1.5d"'],
    [["-4", "-6"], "-4 and -6"],
    [[""], "HOST:PORT"],
    [["localhost"], "HOST:PORT"],
    [[":80"], "HOST:PORT"],
    [["localhost:"], "HOST:PORT"],
    [["localhost:http"], "0 to 65535"],
    [["localhost:65536"], "0 to 65535"],
    [["localhost:0x50"], "0 to 65535"],
    [["::1"], "brackets"],
    [["fe80::1:80"], "brackets"],
    [["[::1]"], "port is missing"],
    [["[127.0.0.1]:80"], "only an IPv6 address"],
    [["http://h:80"], "here h:80"],
    [["https://user@h.test/path"], "here h.test:PORT"],
    [["unix:"], "path is missing"],
    [["vsock:2"], "vsock:CID:PORT"],
    [["unix:/x", "--source", "127.0.0.1"], "--source"],
    [["unix:/x", "-4"], "-4"],
  ];
  for (const [args, words] of rows) {
    const { code, out, err } = await run(["ping", ...args]);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertStringIncludes(err, words);
    assertMatch(err, /^ping: .+\nTry ping --help\.\n$/);
  }
});

test("a target that cannot be probed exits by 2, without a stack trace", async () => {
  const { eais } = real.abi;
  using _ = watchLibc({
    getaddrinfoAsync: () => Promise.resolve(eais.EAI_NONAME!),
  });
  const rows: [args: string[], words: string][] = [
    [["name.invalid:80"], "EAI_NONAME"],
    [["127.1:80"], '"127.1"'],
    [["127.0.0.1:80", "-6"], "127.0.0.1:80"],
    [["127.0.0.1:80", "--source", "::1"], "inet6"],
    [["127.0.0.1:80", "--source", "x"], '"x"'],
    // TEST-NET-1, which no machine has for its own.
    [["127.0.0.1:80", "--source", "192.0.2.1"], "EADDRNOTAVAIL"],
    [["127.0.0.1:80", "--interface", "no-such"], "interface"],
    [["[fe80::1%no-such]:80"], "no-such"],
  ];
  for (const [args, words] of rows) {
    const { code, out, err } = await run(["ping", ...args]);
    assertEquals(out.includes("connected"), false, args.join(" "));
    assertEquals(code, 2, args.join(" "));
    assertStringIncludes(err, words);
    assertEquals(err.split("\n").length, 2, err);
  }
});

test("ping needs no permissions but ffi and net", async () => {
  const { code, out, err } = await runTask(["ping", "-c", "2", "-i", "0"]);
  assertEquals([code, err], [0, ""]);
  assertStringIncludes(out, "2 probes, 2 connected, 0 failed");
  const path = await runTask(["ping", "unix:/no/such"]);
  assertEquals([path.code, path.out], [2, ""]);
  assertMatch(path.err, /^ping: .*--allow-read.*\n$/);
}, { skip: on("deno") });

test("the task reaches Unix sockets, too", () => {
  using folder = tempFolder();
  const path = join(folder.path, "x.sock");
  using _ = listen({ at: unix(path) });
  const args = ["task", "ping", `unix:${path}`, "-c1"];
  const { status, stdout } = spawnSync(runtime, args, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  assertEquals(status, 0);
  assertStringIncludes(stdout, "1 probe, 1 connected");
}, { skip: on("deno") });

test("the task downloads nothing", () => {
  using folder = tempFolder();
  const { status, stdout, stderr } = spawnSync(
    runtime,
    ["task", "ping", "-c", "1"],
    {
      cwd: root,
      encoding: "utf8",
      // Nothing is cached, and the registry refuses connections.
      env: {
        ...process.env,
        DENO_DIR: folder.path,
        NPM_CONFIG_REGISTRY: "http://127.0.0.1:1/",
        NO_COLOR: "1",
      },
    },
  );
  assertEquals([status, stderr.includes("Download")], [0, false], stderr);
  assertStringIncludes(stdout, "1 probe, 1 connected");
}, { skip: on("deno") });

test("the exit code of the process is that of the command", async () => {
  using closed = bound();
  const refused = await runTask(["ping", `${closed.address}`, "-c1"]);
  assertEquals([refused.code, refused.err], [1, ""]);
  const usage = await runTask(["ping", "--nope"]);
  assertEquals([usage.code, usage.out], [2, ""]);
});

test("SIGINT and SIGTERM bring the summary", async () => {
  for (
    const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const
  ) {
    let sent = false;
    const { code, out, err } = await runTask(["ping", "-c0", "-i1"], (pid) => {
      if (!sent) process.kill(pid, signal);
      sent = true;
    });
    assertEquals([code, err], [expected, ""]);
    // The signal may come while a probe is under way.
    assertMatch(
      out,
      /\n--- .* ---\n\d+ probes?, \d+ connected, 0 failed(, 1 without an answer so far)?\n/,
    );
  }
});

test("an interrupted process that had no processor ends by its exit code", async () => {
  // Whether it is stopped in the moment that matters is a matter of luck.
  for (let round = 0; round < 12; round++) {
    let isSent = false;
    let isStopped = false;
    const { code } = await runTask(["ping", "-c0", "-i1"], (pid, out) => {
      if (!isSent) process.kill(pid, "SIGINT");
      isSent = true;
      if (isStopped || !out.includes("\n--- ")) return;
      isStopped = true;
      try {
        process.kill(pid, "SIGSTOP");
      } catch {
        return;
      }
      const WAIT = new Int32Array(new SharedArrayBuffer(4));
      Atomics.wait(WAIT, 0, 0, 400);
      process.kill(pid, "SIGCONT");
    });
    assertEquals(code, 130);
  }
});

test("SIGQUIT brings the summary so far, and the ping goes on", async () => {
  let sent = 0;
  const { code, out, err } = await runTask(["ping", "-c0", "-i5"], (pid) => {
    sent++;
    if (sent === 1) process.kill(pid, "SIGQUIT");
    if (sent === 30) process.kill(pid, "SIGINT");
  });
  assertEquals(code, 130);
  assertMatch(err, /^--- .* ---\n\d+ probes?, /);
  assertMatch(out, /\n--- .* ---\n\d+ probes, /);
});

test("Enter brings the summary so far on a terminal, in colours", () => {
  // A terminal, of which Python is the other side: Enter after the second line, ^C after the summary.
  const program = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen, step = b"", 0
while True:
    try:
        more = os.read(fd, 65536)
    except OSError:
        break
    if not more:
        break
    seen += more
    if step == 0 and b"seq=2 " in seen:
        step = os.write(fd, b"\\n")
    if step == 1 and b"--- " in seen and b"seq=4 " in seen:
        step = 1 + os.write(fd, b"\\x03")
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
  // Empty, it means nothing; Deno hands on what is left out.
  const env = { ...process.env, NO_COLOR: "" };
  const { status, stdout, stderr } = spawnSync("python3", [
    "-c",
    program,
    ...cliCommand(
      ["ping", "-c0", "-i20"],
      ["--allow-ffi", "--allow-net"],
    ),
  ], { encoding: "utf8", env: { ...env, TERM: "xterm" }, timeout: 60_000 });
  assertEquals(status, 130, stderr);
  assertEquals(stdout.split("\n--- ").length, 3, stdout);
  assertStringIncludes(stdout, " \u001b[32mconnected\u001b[0m wall=");
}, { skip: hasCommand("python3") });

test("a signal that comes before a command has begun ends it like a later one", async () => {
  const target = "127.0.0.1:1";
  const signal = AbortSignal.abort(new Interruption("SIGTERM", 15));
  for (
    const args of [
      ["ping", target],
      ["scan", "127.0.0.1", "-p", "1"],
      ["wait", target],
      ["wait", target, "--json", "--", "no such command"],
      ["explain", target],
      ...real.abi.errorQueue === null ? [] : [["trace", target]],
    ]
  ) {
    const { code, err } = await run(args, signal);
    assertEquals([code, err], [143, ""], `${args}`);
  }
});
