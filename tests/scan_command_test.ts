import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { libc } from "../ffi/libc.ts";
import { type CliIo, Interruption, main } from "../src/cli.ts";
import { inet } from "../src/address/address.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canFilter,
  canFurnish,
  canIsolate,
  inChild,
  listen,
  tempFolder,
} from "./_fixtures.ts";
import { runChild } from "./_cli.ts";
import { hasCommand, needs, on, onLinux, test } from "./_harness.ts";
import { type Line, linesOf } from "./_lines.ts";
import { field, NAME_SERVER, OWN_FIREWALL, ROUTES } from "./_networks.ts";

// Opened before the first test, which would seem to leak it otherwise.
libc();

/** A disk of a few blocks. */
const TINY_DISK = "mount -t tmpfs -o size=16k none /mnt";

interface Ran {
  code: number;
  out: string;
  err: string;
}

async function scan(args: string[], io: Partial<CliIo> = {}): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await main(["scan", ...args], {
    out: (text) => out += text,
    err: (text) => err += text,
    ...io,
  });
  return { code, out, err };
}

/** A listener and a port that refuses, at every address of loopback. */
function peers(): Disposable & { open: number; closed: number; fd: number } {
  using made = new DisposableStack();
  const at = inet("0.0.0.0", 0);
  const listener = made.use(listen({ at, backlog: 4096 }));
  const { address } = made.use(bound({ at }));
  const ports = { open: listener.address.port, closed: address.port };
  return Object.assign(made.move(), ports, { fd: listener.fd });
}

test("scan writes a line for each open port, and a summary", async () => {
  using ports = peers();
  const list = `${ports.closed},${ports.open}`;
  const { code, out, err } = await scan(["127.0.0.1-3", "-p", list]);
  assertEquals([code, err], [0, ""]);
  const lines = out.split("\n");
  assertEquals(
    lines.slice(0, 3).map((line) => line.split(" ").slice(0, 2).join(" "))
      .sort(),
    [1, 2, 3].map((i) => `127.0.0.${i}:${ports.open} open`),
  );
  assertMatch(lines[0]!, /^\S+ open [0-9.]+ ms$/);
  assertMatch(lines[3]!, /^--- 6 ports in [0-9.]+ s ---$/);
  assertEquals(lines[4], "3 open, 3 closed, 0 filtered, 0 unsent");
  assertEquals(lines.slice(5), [""]);
});

test("scan says by its exit code whether a port is open", async () => {
  using ports = peers();
  const closed = await scan(["127.0.0.1", "-p", `${ports.closed}`, "-q"]);
  assertEquals(closed.code, 1);
  assertMatch(closed.out, /^--- 1 port in .*\n0 open, 1 closed, .*\n$/);
  const rows: [args: string[], message: string][] = [
    [[], "give HOSTS"],
    [["10.0.0.0/33"], 'at character 10, "33"'],
    [["10.0.0.*"], "a range is written as"],
    [["10.0.0-1.1-5"], "a range is written as"],
    [["10.*.0.1"], "a range is written as"],
    [["10.0.0.1", "-p", "x"], 'at character 1, "x"'],
    [["10.0.0.1", "--exclude", "a b"], "cannot hold that"],
    [["10.0.0.1", "--seed", "1", "--in-order"], "together"],
    [["10.0.0.1", "--shard", "0/3"], "must be I/N"],
    [["10.0.0.1", "--shard", "4/3"], "must be I/N"],
    [["10.0.0.1", "--max-open", "0"], "--max-open"],
    [["10.0.0.1", "--rate", "0"], "--rate"],
    [["10.0.0.1", "--concurency", "1"], "did you mean --concurrency?"],
    [["10.0.0.1", "--json", "--csv"], "together"],
    [["-4", "-6", "10.0.0.1"], "together"],
    [["-", "--save", "x"], "--save with hosts from the standard input"],
    [["-"], "no standard input"],
    [["x", "--resume", "y"], "HOSTS with --resume"],
    [["--resume", "y", "-p", "1"], "--ports with --resume"],
  ];
  for (const [args, message] of rows) {
    const { code, out, err } = await scan(args);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertStringIncludes(err, message);
  }
});

test("scan takes a rate of less than one in a second", async () => {
  using ports = peers();
  const args = ["127.0.0.1", "-p", `${ports.open}`, "--rate", "0.5", "-q"];
  assertEquals((await scan(args)).code, 0);
});

test("scan exits by 2 if nothing could be sent, by 3 if not all", async () => {
  const rows = await inChild(
    { namespace: ROUTES },
    async ({ cli }) => {
      const rows: [number, string][] = [];
      for (const hosts of ["10.1.0.1", "10.1.0.1,127.0.0.1"]) {
        let out = "";
        const write = (text: string) => void (out += text);
        const args = ["scan", hosts, "-p", "9"];
        rows.push([await cli(args, { out: write, err: write }), out]);
      }
      return rows;
    },
  );
  assertEquals(rows.map(([code]) => code), [2, 3]);
  assertStringIncludes(
    rows[0]![1],
    "unsent: 1 EHOSTUNREACH (host unreachable)\n",
  );
}, { skip: needs(onLinux, canIsolate()) });

test("scan says what this machine itself has rejected", async () => {
  const text = await inChild({ namespace: OWN_FIREWALL }, async ({ cli }) => {
    let out = "";
    const write = (text: string) => void (out += text);
    await cli(["scan", "10.6.0.7", "-p", "9"], { out: write, err: write });
    return out;
  });
  assertStringIncludes(
    text,
    "unsent: 1 EHOSTUNREACH (host unreachable)\n" +
      "  1 of them by a firewall of this machine\n",
  );
}, { skip: needs(onLinux, canFilter()) });

test("scan writes JSON lines that fit their schema", async () => {
  using ports = peers();
  const list = `${ports.closed},${ports.open}`;
  const args = ["127.0.0.1,127.0.0.2", "-p", list, "--json"];
  const { code, out } = await scan(args);
  assertEquals(code, 0);
  const lines = linesOf(out);
  assertEquals(lines.map(({ type }) => type), [
    ...Array(4).fill("port"),
    "scan",
  ]);
  const line = lines.find(({ state }) => state === "closed")!;
  assertMatch(`${line.target}`, /^127\.0\.0\.[12]:[0-9]+$/);
  assertEquals([line.reason, line.code], ["reset", "ECONNREFUSED"]);
  const { open, closed, probed, total } = lines.at(-1)!;
  assertEquals([open, closed, probed, total], [2, 2, 4, 4]);
  const some = linesOf((await scan([...args, "--open"])).out);
  assertEquals(some.slice(0, -1).map(({ state }) => state), ["open", "open"]);
  assertEquals(linesOf((await scan([...args, "-q"])).out).length, 1);
});

test("scan writes CSV, and to a file", async () => {
  using ports = peers();
  using folder = tempFolder();
  const file = join(folder.path, "ports.csv");
  const args = ["127.0.0.1", "-p", `${ports.closed}`, "--csv", "-o", file];
  const { code, out, err } = await scan(args);
  assertEquals([code, out], [1, ""]);
  assertStringIncludes(err, "1 closed");
  const [head, line, end] = readFileSync(file, "utf8").split("\n");
  const names = head!.split(",");
  const cells = line!.split(",");
  assertEquals(cells.length, names.length);
  assertEquals(cells[names.indexOf("state")], "closed");
  assertEquals(cells[names.indexOf("target")], `127.0.0.1:${ports.closed}`);
  assertEquals(end, "");
});

test("scan shows reasons, and how often attempts were repeated", async () => {
  using ports = peers();
  using hole = blackHole();
  const list = [ports.open, ports.closed, hole.address.port].join();
  const args = ["127.0.0.1", "-p", list, "--timeout", "1500ms", "--retries=1"];
  const { out } = await scan([...args, "--reason"]);
  assertMatch(out, new RegExp(`^127.0.0.1:${ports.open} open syn-ack `));
  assertStringIncludes(out, "; 1 repeated attempt\n");
  for (const reason of ["closed reset", "filtered no-answer"]) {
    assertStringIncludes(out, `  ${reason}: 1\n`);
  }
  assertStringIncludes(out, "filtered, without an answer: 1\n");
}, { skip: canBlackHole() });

test(
  "scan names the routers that have filtered, and where others may have",
  async () => {
    const [text, json] = await inChild(
      { namespace: field() },
      async ({ cli }) => {
        const outputs: string[] = [];
        for (const more of [[], ["--json"]]) {
          let out = "";
          const args = ["scan", "10.8.0.1-5", "-p", "1001-1012", "-t", "600"];
          await cli([...args, ...more], {
            out: (text) => out += text,
            err: () => {},
          });
          outputs.push(out);
        }
        return outputs;
      },
    );
    assertStringIncludes(text!, "10 open, 15 closed, 35 filtered, 0 unsent");
    assertMatch(
      text!,
      /filtered by 10\.7\.0\.254: 20 \(.*5 communication prohibited by an admin/,
    );
    assertStringIncludes(text!, "  routers limit their ICMP errors: 15 more ");
    assertStringIncludes(text!, "filtered, without an answer: 15\n");
    const lines = linesOf(json!);
    assertEquals(lines.at(-1)!.routers, [{
      from: "10.7.0.254",
      rejected: 20,
      kinds: {
        "host unreachable": 5,
        "network unreachable": 5,
        "port unreachable": 5,
        "communication prohibited by an administrator": 5,
      },
      unanswered: 15,
    }]);
  },
  {
    skip: needs(
      onLinux,
      canIsolate(),
      ...["nft", "python3", "setpriv", "nsenter", "ss"].map(hasCommand),
    ),
  },
);

test("shards of a scan make the whole", async () => {
  using ports = peers();
  const list = `${ports.closed},${ports.open}`;
  const args = ["127.0.0.0/28", "-p", list, "--json", "--seed", "7"];
  const portsOf = (text: string) =>
    linesOf(text).filter(({ type }) => type === "port");
  const whole = portsOf((await scan(args)).out);
  const parts: Line[] = [];
  for (const shard of ["1/3", "2/3", "3/3"]) {
    parts.push(...portsOf((await scan([...args, "--shard", shard])).out));
  }
  const key = ({ index, target, state }: Line) => `${index} ${target} ${state}`;
  assertEquals(parts.map(key).sort(), whole.map(key).sort());
});

test("scan leaves out hosts and ports, and stays in order", async () => {
  using ports = peers();
  using folder = tempFolder();
  const file = join(folder.path, "hosts");
  writeFileSync(file, "127.0.0.9 127.0.0.8 # two\n\n127.0.0.1-3\n");
  const list = `${ports.closed},${ports.open}`;
  const { out } = await scan([
    `@${file}`,
    "--exclude=127.0.0.2",
    "--exclude=127.0.0.8",
    "-p",
    list,
    "--exclude-ports",
    `${ports.closed}`,
    "--in-order",
    "--json",
    "--concurrency=1",
  ]);
  assertEquals(
    linesOf(out).slice(0, -1).map(({ target }) => target),
    [1, 3, 9].map((host) => `127.0.0.${host}:${ports.open}`),
  );
});

test("scan takes hosts as they come", async () => {
  using ports = peers();
  const sent: string[] = [];
  async function* lines(): AsyncGenerator<string> {
    for (const line of ["127.0.0.1", "# none", "127.0.0.2-3 127.0.0.4"]) {
      sent.push(line);
      await null;
      yield line;
    }
  }
  const args = [
    "-",
    "-p",
    `${ports.open}`,
    "--exclude=127.0.0.3,::/1",
    "--json",
  ];
  // Deno closes late what a thread has that ends before it has begun.
  const { code, out } = await scan([...args, "--threads=1"], { lines });
  assertEquals([code, sent.length], [0, 3]);
  const found = linesOf(out);
  assertEquals(
    found.slice(0, -1).map(({ target }) => target).sort(),
    [1, 2, 4].map((host) => `127.0.0.${host}:${ports.open}`),
  );
  assertEquals(found.at(-1)!.total, null);
});

test("what is wrong in the middle of the hosts ends with a summary", async () => {
  using ports = peers();
  async function* lines(): AsyncGenerator<string> {
    yield "127.0.0.1";
    await new Promise((resolve) => setTimeout(resolve, 100));
    yield "10.0.0.0/99";
  }
  const args = ["-", "-p", `${ports.open}`, "--threads=1"];
  const { code, out, err } = await scan(args, { lines });
  assertEquals(code, 3);
  assertStringIncludes(out, "--- 1 port in ");
  assertStringIncludes(err, 'scan: Cannot parse hosts "10.0.0.0/99"');
});

test("scan ends when enough ports are open", async () => {
  using ports = peers();
  const args = ["127.0.0.0/24", "-p", `${ports.open}`, "--max-open", "3"];
  const { code, out } = await scan([...args, "--concurrency", "2"]);
  assertEquals(code, 0);
  assertEquals(out.match(/ open /g)?.length, 3, out);
  assertStringIncludes(out, "--- 3 ports of 256 in ");
});

test("scan does not miss the threads that have ended with it", async () => {
  using ports = peers();
  // In a child, because a runtime may close much later what a thread had open.
  const found = await inChild({}, async ({ cli }, ports) => {
    const ends: [number, string][] = [];
    for (const more of [[], ["--max-open=1"]]) {
      let err = "";
      const args = ["127.0.0.0/24", "-p", ports, "--threads=3", ...more];
      const io = { out: () => {}, err: (text: string) => err += text };
      ends.push([await cli(["scan", ...args], io), err]);
    }
    return ends;
  }, `${ports.open},${ports.closed}`);
  assertEquals(found, [[0, ""], [0, ""]]);
});

test(
  "scan says once that it has fewer threads than were asked for",
  async () => {
    using hole = blackHole();
    const { port } = hole.address;
    const args = ["127.0.0.1", "-p", `${port}`, "--retries=0", "--live"];
    const permissions = ["--allow-ffi", "--allow-net"];
    const words = /^scan: Runs on 1 of 3 threads: .*--allow-read$/gm;
    for (
      const { more, count } of [
        { more: ["--threads=3", "-t", "5s"], count: 1 },
        { more: ["--threads=3", "-t", "1s", "-q"], count: 0 },
        { more: ["-t", "1s"], count: 0 },
      ]
    ) {
      const { code, err } = await runChild(["scan", ...args, ...more], {
        permissions,
      });
      assertEquals(code, 1);
      assertEquals(err.match(words)?.length ?? 0, count, err);
    }
  },
  { skip: needs(canBlackHole(), on("deno")) },
);

test("scan says which file it may not save to", async () => {
  using folder = tempFolder();
  const file = join(folder.path, "state");
  const { code, err } = await runChild(
    ["scan", "127.0.0.1", "-p", "9", "--save", file],
    { permissions: ["--allow-ffi", "--allow-net", "--allow-write"] },
  );
  assertEquals(code, 2);
  assertStringIncludes(err, `scan: Cannot write ${JSON.stringify(file)}: `);
  assertStringIncludes(err, "--allow-read");
}, { skip: on("deno") });

test("scan goes on where an interrupted one stopped", async () => {
  using ports = peers();
  using folder = tempFolder();
  const file = join(folder.path, "state");
  const list = `${ports.closed},${ports.open}`;
  const seen: Line[] = [];
  let args = ["127.0.0.0/25", "-p", list, "--save", file];
  for (let round = 0;; round++) {
    const controller = new AbortController();
    const most = 10 + round * 7;
    let count = 0;
    let out = "";
    const { code } = await scan([...args, "--json", "--concurrency", "30"], {
      signal: controller.signal,
      out(text) {
        out += text;
        if (++count === most) controller.abort(new Interruption("SIGINT", 2));
      },
    });
    const lines = linesOf(out);
    assertEquals(lines.at(-1)!.type, "scan");
    seen.push(...lines.slice(0, -1));
    assert(existsSync(file) && !existsSync(`${file}.new`));
    args = ["--resume", file];
    if (code !== 130) break;
    assert(round < 100);
  }
  assertEquals(seen.length, 256);
  assertEquals(new Set(seen.map(({ target }) => target)).size, 256);
  assertEquals(new Set(seen.map(({ index }) => index)).size, 256);
  const saved = JSON.parse(readFileSync(file, "utf8"));
  const { next, pending, open } = saved;
  const found = seen.filter(({ state }) => state === "open").length;
  assertEquals([next, pending, open], [256, [], found]);
  assert(found > 0);
  // No target is left, and the answer is that of the whole run.
  for (const [open, expected] of [[found, 0], [0, 1]]) {
    writeFileSync(file, JSON.stringify({ ...saved, open }));
    const { code, out, err } = await scan(["--resume", file]);
    assertEquals([code, err], [expected, "scan: Nothing is left to probe\n"]);
    assertStringIncludes(out, "--- 0 ports in");
  }
  writeFileSync(file, "{}");
  const { err } = await scan(["--resume", file]);
  assertStringIncludes(err, "no --save wrote it");
});

test("scan resumes from nothing but what it has saved", async () => {
  using folder = tempFolder();
  const file = join(folder.path, "state");
  await scan(["127.0.0.1", "-p", "9", "--save", file]);
  const saved = JSON.parse(readFileSync(file, "utf8"));
  const rows = [
    { hosts: [5] },
    { ports: 22 },
    { excludePorts: 5 },
    { seed: "x" },
    { shard: [9, 1] },
    { next: -1 },
    { open: "1" },
    { open: undefined },
    { pending: ["0"] },
    { ports: undefined },
    { v: 2 },
  ];
  for (const wrong of rows) {
    writeFileSync(file, JSON.stringify({ ...saved, ...wrong }));
    const { code, out, err } = await scan(["--resume", file]);
    assertEquals([code, out], [2, ""]);
    assertStringIncludes(err, `Cannot resume from ${JSON.stringify(file)}: `);
  }
});

test("scan saves to regular files alone", async () => {
  using folder = tempFolder();
  const at = (name: string) => join(folder.path, name);
  const save = (name: string, ...more: string[]) =>
    scan(["127.0.0.1", "-p", "9", "-q", "--save", at(name), ...more]);
  symlinkSync("state", at("link"));
  assertEquals((await save("link")).err, "");
  assert(lstatSync(at("link")).isSymbolicLink());
  assertEquals(JSON.parse(readFileSync(at("state"), "utf8")).next, 1);
  // Of a device, a link to it is what would be replaced.
  symlinkSync("/dev/null", at("device"));
  const { code, out, err } = await save("device");
  assertEquals([code, out], [2, ""]);
  assertStringIncludes(err, "it is no regular file");
  assertEquals(readlinkSync(at("device")), "/dev/null");
  // Neither these two nor what is wrong beside them leaves an empty file.
  for (
    const more of [
      ["-o", at("both")],
      ["-o", `${folder.path}/./both`],
      ["-o", at("none/both")],
      ["--rate", "none"],
    ]
  ) {
    const { code } = await save("both", ...more);
    assertEquals([code, existsSync(at("both"))], [2, false], `${more}`);
  }
  writeFileSync(at("empty"), "");
  assertEquals((await save("empty", "--rate", "none")).code, 2);
  assert(existsSync(at("empty")));
  for (const name of ["./state", "link"]) {
    const other = await save("state", "-o", `${folder.path}/${name}`);
    assertEquals(other.code, 2);
    assertEquals(JSON.parse(readFileSync(at("state"), "utf8")).next, 1);
  }
});

test("scan leaves the permissions of what it saves to as they are", async () => {
  using folder = tempFolder();
  const file = join(folder.path, "state");
  const save = async (...where: string[]) => {
    assertEquals((await scan([...where, "-q"])).err, "");
    return statSync(file).mode & 0o777;
  };
  writeFileSync(file, "");
  // The umask takes something away from the second one.
  for (const mode of [0o600, 0o666]) {
    chmodSync(file, mode);
    assertEquals(await save("127.0.0.1", "-p", "9", "--save", file), mode);
    // One that was left there has other permissions.
    writeFileSync(`${file}.new`, "", { mode: 0o644 });
    assertEquals(await save("--resume", file), mode);
  }
});

test(
  "scan on a full disk leaves what it has saved, and nothing else",
  async () => {
    const found = await inChild({ namespace: TINY_DISK }, async ({ cli }) => {
      const { readdirSync, readFileSync, writeFileSync } = await import(
        "node:fs"
      );
      const ignore = () => {};
      const scan = (...args: string[]) =>
        cli(["scan", ...args], { out: ignore, err: ignore });
      // As many hosts as make what is saved longer than a block.
      const hosts = Array.from({ length: 500 }, (_, i) => `127.0.1.${i % 250}`);
      const save = ["-p", "9", "--save", "/mnt/state"];
      const codes = [await scan(...hosts, ...save)];
      const saved = readFileSync("/mnt/state", "utf8");
      try {
        writeFileSync("/mnt/filler", new Uint8Array(100_000));
      } catch {
        // Now it is full.
      }
      codes.push(await scan("--resume", "/mnt/state"));
      codes.push(await scan("127.0.0.1", "-p", "9", "--save", "/mnt/other"));
      const isKept = readFileSync("/mnt/state", "utf8") === saved;
      return { codes, isKept, files: readdirSync("/mnt").sort() };
    });
    assertEquals(found, {
      codes: [1, 2, 2],
      isKept: true,
      files: ["filler", "state"],
    });
  },
  { skip: canFurnish(TINY_DISK, "tmpfs") },
);

test("scan says that nothing is left to scan", async () => {
  const rows: [args: string[], lines: string[]][] = [
    [["127.0.0.1", "--exclude", "127.0.0.0/8"], []],
    [["127.0.0.1", "-p", "9", "--exclude-ports", "1-20"], []],
    [["-", "--threads=1"], ["# none"]],
  ];
  for (const [args, given] of rows) {
    const lines = async function* (): AsyncGenerator<string> {
      yield* given;
    };
    const { code, err } = await scan(args, { lines });
    assertEquals(code, 2);
    assertStringIncludes(err, "Cannot scan nothing");
  }
  const share = await scan(["127.0.0.1", "-p", "9", "--shard", "2/2"]);
  assertEquals([share.code, share.err], [1, ""]);
});

test("scan names what does not resolve", async () => {
  const { code, out } = await inChild(
    { namespace: NAME_SERVER },
    async ({ cli }) => {
      const names = Array.from({ length: 12 }, (_, i) => `a${i}.none.test`);
      const args = [names.join(), "-p", "9,10", "--in-order"];
      let out = "";
      const io = { out: (text: string) => out += text, err() {} };
      return { code: await cli(["scan", ...args], io), out };
    },
  );
  assertEquals(code, 2);
  assertMatch(out, /^do not resolve: (a\d+\.none\.test, ){10}2 others$/m);
}, { skip: needs(onLinux, canIsolate(), hasCommand("python3")) });

test("scan shows the summary so far when asked", async () => {
  using hole = blackHole();
  let ask = () => {};
  const controller = new AbortController();
  const running = scan(
    ["127.0.0.1", "-p", `${hole.address.port}`, "--timeout=1m"],
    {
      signal: controller.signal,
      onRequest(listener) {
        ask = listener;
        return { [Symbol.dispose]() {} };
      },
    },
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  ask();
  controller.abort(new Interruption("SIGTERM", 15));
  const { code, out, err } = await running;
  assertEquals(code, 143);
  assertStringIncludes(err, "--- 0 ports of 1 in ");
  assertStringIncludes(out, "--- 0 ports of 1 in ");
}, { skip: canBlackHole() });

test("scan draws as many whole words as a line has room for", async () => {
  using ports = peers();
  const args = ["127.0.0.1-250", "-p", `${ports.closed}`, "--rate", "300"];
  const words = [
    /^\[[#-]{20}\] [0-9.]+ %/,
    /^, 0 open/,
    /^, [0-9.]+ (s|min) left/,
    /^, [0-9,]+ attempts\/s/,
    /^, [0-9]+ in flight/,
    /^, [0-9]+ repeated/,
  ];
  for (const [width, most] of [[80, 5], [50, 3], [30, 1]] as const) {
    const { err } = await scan(args, { showsProgress: true, width });
    const drawn = err.split("\r\x1b[K").filter((text) => / left|%/.test(text));
    for (const line of drawn.slice(1)) {
      // Once all is done no time is left, which makes room for another word.
      const room = line.includes(" left") ? most : most + 1;
      let rest = line;
      for (const word of words.slice(0, room)) rest = rest.replace(word, "");
      assertEquals(rest, "", line);
    }
  }
});

test("scan draws its progress where it can be drawn over", async () => {
  using hole = blackHole();
  const args = [
    "127.0.0.1",
    "-p",
    `${hole.address.port}`,
    "--timeout=700ms",
    "--retries=0",
  ];
  const { err } = await scan(args, { showsProgress: true, width: 60 });
  const drawn = err.split("\r\x1b[K").filter((text) => text !== "");
  assert(drawn.length >= 1, err);
  assertMatch(drawn[0]!, /^\[-{20}\] 0\.0 %, 0 open, /);
  assert(drawn.every((text) => text.length < 60));
  assert(err.endsWith("\r\x1b[K"));
  assertEquals((await scan(args)).err, "");
  const { err: live } = await scan([...args, "--live"]);
  assertMatch(live, /^\[-{20}\] 0\.0 %, 0 open, .* 1 in flight/);
}, { skip: canBlackHole() });

test(
  "scan says which names do not resolve in time, and ^C does not wait for them",
  async () => {
    const [first, second] = await inChild(
      { namespace: NAME_SERVER },
      async ({ cli }) => {
        async function scan(
          args: string[],
          signal?: AbortSignal,
        ): Promise<[number, string, number]> {
          let out = "";
          const start = performance.now();
          const code = await cli(["scan", ...args], {
            out: (text) => out += text,
            err() {},
            signal,
          });
          return [code, out, performance.now() - start];
        }
        const names = Array.from({ length: 12 }, (_, i) => `n${i}.dead.test`);
        const first = await scan([...names, "no.test", "-p80", "-t4s"]);
        const controller = new AbortController();
        setTimeout(() => controller.abort(), 200);
        const args = [...names, "-p80", "-t60s"];
        return [first, await scan(args, controller.signal)];
      },
    );
    const [code, out] = first!;
    assertEquals(code, 2);
    assertStringIncludes(
      out,
      "unsent: 12 ETIMEDOUT (name does not resolve in time)\n",
    );
    assertMatch(out, /^do not resolve: no\.test$/m);
    assertMatch(
      out,
      /^do not resolve in time: (n\d+\.dead\.test, ){10}2 others$/m,
    );
    const [interrupted, summary, took] = second!;
    assertEquals(interrupted, 130);
    assertStringIncludes(summary, "--- 0 ports of 12 in ");
    // The resolver gives up after ten seconds.
    assertLess(took, 8000);
  },
  { skip: needs(onLinux, canIsolate(), hasCommand("python3")) },
);
