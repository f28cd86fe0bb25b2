import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { main } from "../src/cli.ts";
import { bound, listen, tempFolder } from "./_fixtures.ts";
import { cliCommand } from "./_cli.ts";
import { hasCommand, needs, onLinux, test } from "./_harness.ts";

interface Ran {
  code: number;
  out: string;
  err: string;
}

async function run(args: string[], input?: readonly string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await main(args, {
    out: (text) => out += text,
    err: (text) => err += text,
    ...input === undefined ? {} : {
      async *lines() {
        yield* input;
      },
    },
  });
  return { code, out, err };
}

/** A line of ping for a probe every 100 ms. */
function pingLine(seq: number, fields: object = {}): string {
  const wall = 0.3 + seq % 10 / 20 + (seq % 50 === 0 ? 20 : 0);
  return JSON.stringify({
    v: 1,
    type: "ping",
    target: "db.test:5432",
    seq,
    time: new Date(1_700_000_000_000 + seq * 100).toISOString(),
    address: "192.0.2.7:5432",
    answered: true,
    code: null,
    retransmits: 0,
    wall,
    rtt: wall / 2,
    latency: wall,
    ...fields,
  });
}

const FAILED = { answered: false, code: "ETIMEDOUT", wall: 3000, rtt: null };

const PINGS = [
  ...Array.from({ length: 300 }, (_, i) => pingLine(i + 1)),
  ...Array.from({ length: 20 }, (_, i) => pingLine(301 + i, FAILED)),
  ...Array.from({ length: 100 }, (_, i) => pingLine(321 + i)),
];

const SCAN = [1, 2, 3, 10].flatMap((host) =>
  [22, 80, 443, 8080].map((port) => {
    const state = ["open", "closed", "filtered", "unsent"][
      (host + port) % 4
    ];
    return JSON.stringify({
      v: 1,
      type: "port",
      target: `10.0.0.${host}:${port}`,
      state,
      code: state === "open" ? null : "EHOSTUNREACH",
      icmp: state === "filtered"
        ? { type: 3, code: 13, from: "10.0.0.254" }
        : null,
    });
  })
);

const SUMMARY = JSON.stringify({
  v: 1,
  type: "scan",
  open: 7,
  closed: 9,
  filtered: 4,
  unsent: 4,
  routers: [{ from: "10.0.0.254", rejected: 6 }],
});

test("report counts what a scan's summary alone knows of", async () => {
  const tile = (count: number, label: string) =>
    `<b>${count}</b><span>${label}</span>`;
  const alone = await run(["report", "-"], [SUMMARY]);
  assertEquals([alone.code, alone.err], [0, ""]);
  assertStringIncludes(alone.out, tile(7, "open"));
  assertStringIncludes(alone.out, "7, which no line names.");
  // Three that are open have lines of their own, five are filtered.
  const { out } = await run(["report", "-"], [...SCAN, SUMMARY]);
  for (const [count, state] of [[7, "open"], [9, "closed"], [5, "filtered"]]) {
    assertStringIncludes(out, tile(count as number, state as string));
  }
  assertStringIncludes(out, " and 4 more</p>");
  const twice = await run(["report", "-"], [SUMMARY, ...SCAN, SUMMARY]);
  assertStringIncludes(twice.out, tile(18, "closed"));
});

test("report makes a page of what ping has written", async () => {
  using folder = tempFolder();
  using listener = listen();
  using closed = bound();
  const path = join(folder.path, "x.jsonl");
  await run([
    "ping",
    `${listener.address}`,
    `${closed.address}`,
    "-c5",
    "-i1",
    "--json",
    "-o",
    path,
  ]);
  const { code, out, err } = await run(["report", path]);
  assertEquals([code, err], [0, ""]);
  assertMatch(out, /^<!doctype html>/);
  for (const target of [`${listener.address}`, `${closed.address}`]) {
    assertStringIncludes(out, `<h2>${target}</h2>`);
  }
  assertStringIncludes(out, "<title>x.jsonl</title>");
  assertStringIncludes(out, "Percentiles of ");
  assertStringIncludes(out, "ECONNREFUSED");
});

test("report makes a page of what scan has written", async () => {
  using folder = tempFolder();
  using listener = listen();
  using closed = bound();
  const path = join(folder.path, "scan.jsonl");
  const [open, shut] = [listener.address.port, closed.address.port];
  const args = ["scan", "127.0.0.1", "-p", `${open},${shut}`, "--json"];
  assertEquals((await run([...args, "-o", path])).code, 0);
  const { code, out } = await run(["report", path]);
  assertEquals(code, 0);
  assertStringIncludes(out, `<title>127.0.0.1:${open} open</title>`);
  assertStringIncludes(out, `<title>127.0.0.1:${shut} closed</title>`);
});

test("report needs nothing but itself", async () => {
  for (const input of [PINGS, SCAN]) {
    const { out } = await run(["report", "-"], input);
    // Names of namespaces are never fetched.
    const links = out.replaceAll("http://www.w3.org/2000/svg", "");
    assert(!/https?:|src=|@import|url\(|<script/.test(links));
  }
});

test("report shows time by latency, percentiles and failures", async () => {
  const { out } = await run(["report", "-", "--title", "A & <b>"], PINGS);
  assertStringIncludes(out, "<h1>A &#38; &#60;b&#62;</h1>");
  assertStringIncludes(out, "Wall clock of db.test:5432");
  assertStringIncludes(out, "Kernel of db.test:5432");
  assertStringIncludes(out, "20 failed");
  assertStringIncludes(out, "95.2 %");
  assertMatch(out, /ETIMEDOUT<\/text><rect class="bar"/);
  assertMatch(out, /class="curve wall" d="M/);
  assertMatch(out, /<tr><td>wall<\/td><td>0\.300<\/td>/);
  // What was due at its own time has a curve of its own.
  assert(!out.includes('class="curve latency"'));
  const late = PINGS.map((line) => line.replace(/"latency":/, '"latency":1'));
  const open = await run(["report", "-"], late);
  assertStringIncludes(open.out, 'class="curve latency"');
});

test("report shows hosts by ports", async () => {
  const { out } = await run(["report", "-"], SCAN);
  assertEquals(
    out.match(/<rect class="(open|closed|filtered|unsent)"/g)?.length,
    16 + 4,
  );
  assertStringIncludes(out, "<title>10.0.0.10:443 ");
  // Hosts by their numbers.
  const hosts = [...out.matchAll(/text-anchor="end">(10\.0\.0\.\d+)</g)]
    .map(([, host]) => host);
  assertEquals(hosts.slice(0, 4), [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.10",
  ]);
  assertStringIncludes(out, "Rejected by");
});

test("report shows a part of what is too much", async () => {
  const lines = Array.from({ length: 20_000 }, (_, i) =>
    JSON.stringify({
      v: 1,
      type: "port",
      target: `[2001:db8::1]:${i + 1}`,
      state: i === 9999 ? "open" : "closed",
    }));
  const { out } = await run(["report", "-"], lines);
  assertStringIncludes(out, "1 of 1 hosts, 96 of 20000 ports");
  assertStringIncludes(out, "[2001:db8::1]:10000 open");
  assert(out.length < 100_000);
});

test("report writes SVG and percentiles, by the ending of the file", async () => {
  using folder = tempFolder();
  const [svg, hgrm] = ["x.svg", "x.hgrm"].map((name) =>
    join(folder.path, name)
  ) as [string, string];
  assertEquals((await run(["report", "-", "-o", svg], PINGS)).code, 0);
  assertMatch(readFileSync(svg, "utf8"), /^<svg [^]*<\/svg>\n$/);
  assertEquals((await run(["report", "-", "-o", hgrm], PINGS)).code, 0);
  const text = readFileSync(hgrm, "utf8");
  assertMatch(text, /Total count +=  +400\]/);
  const named = await run(["report", "-", "--format", "hgrm"], PINGS);
  assertEquals(named.out, text);
  const scan = await run(["report", "-", "--format", "svg"], SCAN);
  assertStringIncludes(scan.out, "10.0.0.10:443 ");
});

test("report says what it cannot report", async () => {
  const rows: [args: string[], input: string[], code: number, words: string][] =
    [
      [[], [], 2, "give a file"],
      [["a", "b"], [], 2, '"b" as well'],
      [["-", "--format", "pdf"], PINGS, 2, "html or svg or hgrm"],
      [["/no/such/file"], [], 2, "/no/such/file"],
      [["-"], [], 2, "the standard input: it has no whole line"],
      [["-"], ['{"v":1,"type":"hop"}'], 2, "no whole line"],
      [["/"], [], 2, 'Cannot read "/": is a directory (EISDIR)'],
      [["-", "-o", "/no/such/x"], PINGS, 2, 'Cannot write "/no/such/x"'],
      [["-", "-o", "/dev/full"], PINGS, 3, "no space left on device (ENOSPC)"],
      [["-", "--format", "svg"], [SUMMARY], 2, "Cannot draw"],
      [["-"], ['{"v":1,"type":"scan","open":0}'], 2, "no count of closed"],
      [
        ["-"],
        [SUMMARY.replace(/"routers":\[.*?\]/, '"routers":[null]')],
        2,
        "line 1: one of its routers",
      ],
      [["-"], ["", "{"], 2, "no whole line"],
      [["-"], [...PINGS, "x"], 2, `line ${PINGS.length + 1}: it is no JSON`],
      [["-"], ["[]"], 2, "line 1: it is no object"],
      [["-"], ['{"v":2,"type":"ping"}'], 2, '"v": 1'],
      [["-"], ['{"v":1,"type":"ping"}'], 2, "no target"],
      [["-"], [pingLine(1, { time: "x" })], 2, "time"],
      [["-"], [pingLine(1, { wall: -1 })], 2, "wall"],
      [["-"], ['{"v":1,"type":"port","target":"a:1","state":"?"}'], 2, "state"],
      [["-", "--format", "hgrm"], [pingLine(1, FAILED)], 2, "nothing was"],
    ];
  for (const [args, input, expected, words] of rows) {
    const { code, out, err } = await run(["report", ...args], input);
    assertEquals([code, out], [expected, ""], words);
    assertStringIncludes(err, words);
  }
});

test("report counts a port once that a scan has found again", async () => {
  const once = await run(["report", "-"], SCAN);
  // A scan that goes on after a SIGKILL repeats what it had not saved.
  const again = await run(["report", "-"], [...SCAN, ...SCAN.slice(5)]);
  assertEquals(again, once);
  const line = JSON.parse(SCAN[0]!);
  const other = { ...line, state: "unsent", code: "ENETUNREACH", icmp: null };
  const changed = await run(["report", "-"], [
    ...SCAN,
    JSON.stringify(other),
    SCAN[0]!,
  ]);
  assertEquals(changed, once);
});

test("report leaves out what was cut, and says so", async () => {
  const whole = await run(["report", "-"], PINGS);
  const line = pingLine(1);
  for (let length = 1; length < line.length; length++) {
    const cut = line.slice(0, length);
    const input = [...PINGS, cut];
    const { code, out, err } = await run(["report", "-"], input);
    assertEquals([code, out], [0, whole.out], cut);
    const words = `report: Left out line ${input.length}, which was cut\n`;
    assertEquals(err, words, cut);
  }
  // Another run has gone on behind what was cut.
  const [first, ...rest] = PINGS;
  const joined = await run(["report", "-"], [
    line.slice(0, 7),
    line.slice(0, 70) + first,
    ...rest,
  ]);
  assertEquals([joined.code, joined.out], [0, whole.out]);
  const words = "report: Left out 2 lines, which were cut: 1, 2\n";
  assertEquals(joined.err, words);
});

test("report is interrupted where nobody writes to its FIFO", async () => {
  using folder = tempFolder();
  const fifo = join(folder.path, "fifo");
  execFileSync("mkfifo", [fifo]);
  const [command, ...args] = cliCommand(["report", fifo]);
  const child = spawn(command, args, { stdio: "ignore" });
  const ended = once(child, "exit");
  const tasks = `/proc/${child.pid}/task`;
  // Until a thread waits for the other end, as far as the kernel shows that.
  for (let i = 0; i < 100; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const places = readdirSync(tasks).map((task) =>
      readFileSync(`${tasks}/${task}/wchan`, "utf8")
    );
    if (places.includes("wait_for_partner")) break;
  }
  child.kill("SIGINT");
  const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
  const [code, signal] = await ended;
  clearTimeout(late);
  assertEquals(code ?? signal, code === null ? "SIGINT" : 130);
}, { skip: needs(onLinux, hasCommand("mkfifo")) });

/** Opens a page in a browser from disk; returns its document, what it logged and a picture of it. */
function browse(
  folder: string,
  page: string,
  width: number,
  isDark: boolean,
): { dom: string; log: string; picture: string } {
  const picture = join(folder, "picture.png");
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    `--user-data-dir=${join(folder, "profile")}`,
    `--window-size=${width},1200`,
    `--blink-settings=preferredColorScheme=${isDark ? 0 : 1}`,
    "--enable-logging=stderr",
  ];
  const open = (...more: string[]) =>
    spawnSync("chromium", [...flags, ...more, `file://${page}`], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 60_000,
    });
  const { stdout, stderr } = open("--dump-dom");
  open(`--screenshot=${picture}`);
  // The browser's own pages write to the console, too: of a slow network, for one.
  const log = stderr.split("\n")
    .filter((line) => /CONSOLE/.test(line) && !/source: chrome:/.test(line))
    .join("\n");
  return { dom: stdout, log, picture: readFileSync(picture, "base64") };
}

test(
  "report opens in a browser, wide and narrow, in light and in dark",
  async () => {
    using folder = tempFolder();
    for (const [name, input] of [["ping", PINGS], ["scan", SCAN]] as const) {
      const { out } = await run(["report", "-"], input);
      const page = join(folder.path, `${name}.html`);
      // The page has no script of its own; this one measures it.
      const measure = `<script>
      const { scrollWidth, clientWidth } = document.documentElement;
      const style = (e) => getComputedStyle(e).backgroundColor;
      document.title = [
        scrollWidth <= clientWidth,
        document.querySelectorAll("svg rect").length > 10,
        style(document.body),
      ].join("|");
    </script>`;
      writeFileSync(page, out.replace("</body>", `${measure}</body>`));
      const pictures = new Set<string>();
      for (
        const [width, isDark] of [
          [1200, false],
          [1200, true],
          [400, false],
        ] as const
      ) {
        const { dom, log, picture } = browse(folder.path, page, width, isDark);
        assertEquals(log, "");
        const [fits, isDrawn, color] = /<title>(.*?)<\/title>/.exec(dom)![1]!
          .split("|");
        assertEquals([fits, isDrawn], ["true", "true"], `${name} ${width}`);
        assertEquals(color, isDark ? "rgb(13, 13, 13)" : "rgb(249, 249, 247)");
        assertNotEquals(picture.length, 0);
        pictures.add(picture);
      }
      assertEquals(pictures.size, 3);
    }
  },
  { skip: hasCommand("chromium") },
);
