import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { spawn, spawnSync } from "node:child_process";
import { linkSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { main } from "../src/cli.ts";
import { cliCommand, runChild, runCli } from "./_cli.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  listen,
  tempFolder,
} from "./_fixtures.ts";
import { hasCommand, hasFile, needs, onLinux, test } from "./_harness.ts";
import { linesOf } from "./_lines.ts";

const hasFullDisk = hasFile("/dev/full", "a device that is always full");

/** Runs a command as a program of a shell, whose script has it as "$@". */
function inShell(
  script: string,
  args: string[],
): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(
    "sh",
    ["-c", script, "sh", ...cliCommand(args)],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { code: status, out: stdout, err: stderr };
}

/** Command lines that each write something to -o. */
const WRITERS: readonly string[][] = [
  ["ping", "-c1", "-i0"],
  ["ping", "-c1", "-i0", "--json"],
  ["ping", "-c1", "--csv"],
  ["ping", "-w1ms", "--live"],
  ["scan", "127.0.0.1", "-p", "1"],
  ["wait", "127.0.0.1:1", "-t", "1ms", "--json"],
  ["explain", "EPERM"],
  ["explain", "127.0.0.1:1"],
];

test("a file that cannot be written is named before anything is sent", async () => {
  for (const args of WRITERS) {
    const ran = await runCli([...args, "-o", "/no/such/file"]);
    assertEquals(ran, {
      code: 2,
      out: "",
      err: `${args[0]}: Cannot write "/no/such/file": ` +
        "no such file or directory (ENOENT)\n",
    });
  }
  const hdr = await runCli(["ping", "-c1", "--hdr", "/no/such/file"]);
  assertEquals([hdr.code, hdr.out], [2, ""]);
  const save = ["scan", "127.0.0.1", "-p1", "--save", "/no/such/file"];
  assertEquals((await runCli(save)).code, 2);
  const list = await runCli(["scan", "@/no/such/file", "-p1"]);
  assertEquals([list.code, list.out], [2, ""]);
  assertMatch(list.err, /^scan: Cannot read "\/no\/such\/file": no such file/);
});

test("what is written to a FIFO waits for its reader", () => {
  using folder = tempFolder();
  const fifo = join(folder.path, "fifo");
  for (
    const args of [["ping", "-c1", "-o", fifo], ["ping", "-c1", "--hdr", fifo]]
  ) {
    const { code, out } = inShell(
      `rm -f ${fifo}; mkfifo ${fifo}; "$@" > ${fifo}.out & p=$!
      sleep 0.2; cat ${fifo}; wait $p`,
      args,
    );
    assertEquals(code, 0);
    assertMatch(out, /connected|Percentile/i);
  }
  const { code, err } = inShell(`"$@" --save ${fifo}`, [
    "scan",
    "127.0.0.1",
    "-p1",
  ]);
  assertEquals(code, 2);
  assertStringIncludes(err, "it is no regular file");
}, { skip: hasCommand("mkfifo") });

test("a signal ends the wait for the other end of a FIFO", () => {
  using folder = tempFolder();
  const fifo = join(folder.path, "fifo");
  for (
    const args of [
      ["ping", "-c1", "-o", fifo],
      ["scan", `@${fifo}`],
      ["scan", "--resume", fifo],
    ]
  ) {
    const { code, err } = inShell(
      `rm -f ${fifo}; mkfifo ${fifo}; "$@" & p=$!
      (sleep 2; kill -TERM $p; sleep 60; kill -KILL $p) > /dev/null 2>&1 & k=$!
      wait $p; c=$?; kill $k; exit $c`,
      args,
    );
    // The shell may say that it was ended.
    assertEquals(code, 143, err);
  }
}, { skip: hasCommand("mkfifo") });

test("a FIFO whose reader rests holds up no signal, and loses nothing", () => {
  using folder = tempFolder();
  const fifo = join(folder.path, "fifo");
  for (
    const args of [
      ["ping", "-c0", "-i0", "--json", "-o", fifo],
      ["scan", "127.0.0.1", "-p1-5000", "--json", "-o", fifo],
      ["ping", "-c0", "-i0", "--json"],
      ["scan", "127.0.0.1", "-p1-5000", "--json"],
    ]
  ) {
    const out = args.includes(fifo) ? "/dev/null" : fifo;
    const { code, err } = inShell(
      `rm -f ${fifo}; mkfifo ${fifo}
      sleep 90 < ${fifo} > /dev/null 2>&1 & r=$!
      "$@" > ${out} & p=$!
      (sleep 3; kill -TERM $p; sleep 60; kill -KILL $p) > /dev/null 2>&1 & k=$!
      wait $p; c=$?; kill $k $r; exit $c`,
      args,
    );
    assertEquals(code, 143, err);
  }
  const scan = ["scan", "127.0.0.1", "-p1-3000", "--json"];
  for (const args of [[...scan, "-o", fifo], scan]) {
    // Not on the output that cat has: what runs the command may not let it wait.
    const { code, out, err } = inShell(
      `rm -f ${fifo}; mkfifo ${fifo}
      "$@" > ${args === scan ? fifo : "/dev/null"} & p=$!
      (sleep 1; cat) < ${fifo}; wait $p`,
      args,
    );
    assert(code === 0 || code === 1, `${code} ${err}`);
    assertEquals(linesOf(out).length, 3001);
  }
}, { skip: hasCommand("mkfifo") });

test("what a command reads or writes is not lost to another of its files", async () => {
  using folder = tempFolder();
  const [list, same, other, lines] = ["list", "same", "other", "lines"]
    .map((name) => join(folder.path, name)) as [string, string, string, string];
  writeFileSync(list, "127.0.0.1\n");
  linkSync(list, same);
  const made = await runCli(["ping", "-c1", "--json", "-o", lines]);
  assertEquals(made.code, 0);
  const rows: [args: string[], reason: string][] = [
    [["scan", `@${list}`, "-p1", "-o", same], "this command reads it"],
    [
      ["scan", "127.0.0.2", "--exclude", `@${list}`, "-p1", "-o", list],
      "this command reads it",
    ],
    [["scan", `@${list}`, "-p1", "--save", list], "for hosts and to save"],
    [["report", lines, "-o", lines], "this command reads it"],
    [
      ["ping", "-c1", "-o", other, "--hdr", `${folder.path}/./other`],
      "something else is written to it",
    ],
  ];
  for (const [args, reason] of rows) {
    const { code, out, err } = await runCli(args);
    assertEquals([code, out], [2, ""], err);
    assertStringIncludes(err, reason);
  }
  assertEquals(readFileSync(list, "utf8"), "127.0.0.1\n");
  assertEquals(linesOf(readFileSync(lines, "utf8")).length, 2);
  const both = ["ping", "-c1", "-o", "/dev/null", "--hdr", "/dev/null"];
  assertEquals((await runCli(both)).code, 0);
});

test("a disk that is full makes a result incomplete", async () => {
  for (const args of WRITERS) {
    const { code, out, err } = await runCli([...args, "-o", "/dev/full"]);
    assertEquals([code, out], [3, ""], args.join(" "));
    assertEquals(
      err.split("\n").at(-2),
      `${args[0]}: Cannot write "/dev/full": no space left on device (ENOSPC)`,
    );
  }
  const hdr = await runCli(["ping", "-c1", "-q", "--hdr", "/dev/full"]);
  assertEquals(hdr.code, 3);
  assertMatch(hdr.out, /1 connected/);
}, { skip: hasFullDisk });

test("standard output that is full ends a command by 3", () => {
  for (const args of [["ping", "-c0", "-i1"], ["explain", "EPERM"]]) {
    const { code, err } = inShell('"$@" > /dev/full', args);
    assertEquals(
      [code, err],
      [3, "Cannot write the results: no space left on device (ENOSPC)\n"],
      args.join(" "),
    );
  }
}, { skip: hasFullDisk });

test("a command ends quietly when its reader has gone", () => {
  for (
    const args of [
      ["ping", "-c0", "-i1"],
      ["scan", "127.0.0.0/16", "-p", "1-100", "--json", "--in-order"],
    ]
  ) {
    const { out, err } = inShell('{ "$@"; echo "$?" >&2; } | head -n 1', args);
    assertEquals([out.split("\n").length, err], [2, "141\n"], args.join(" "));
  }
});

test("a command does without a standard input, output or error", () => {
  const args = ["ping", "-c2", "-i0"];
  for (
    const [script, out, err] of [
      ['"$@" <&-', /2 connected/, /^$/],
      ['"$@" 2>&-', /2 connected/, /^$/],
      ['"$@" >&-', /^$/, /^$/],
    ] as const
  ) {
    const ran = inShell(script, args);
    assertEquals(ran.code, 0, script);
    assertMatch(ran.out, out);
    assertMatch(ran.err, err);
  }
  const { code, out, err } = inShell('"$@" <&-', ["scan", "-", "-p", "1"]);
  assertEquals([code, out.split("\n")[1]], [
    2,
    "0 open, 0 closed, 0 filtered, 0 unsent",
  ]);
  assertMatch(err, /^scan: Cannot scan nothing/);
});

test("a command that reads its input ends by a signal all the same", async () => {
  using open = listen();
  const port = `${open.address.port}`;
  const [command, ...args] = cliCommand(["scan", "-", "-p", port, "--json"]);
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.write("127.0.0.1\n");
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    // kill() of the child itself would take the signal for its end on Deno.
    if (out === "") process.kill(child.pid!, "SIGINT");
    out += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assertEquals(code, 130);
  assertEquals(linesOf(out).map(({ type }) => type), ["port", "scan"]);
});

test("report writes nothing when it is interrupted", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const ran = await runCli(["report", "-"], {
    signal,
    async *lines() {
      controller.abort();
      yield "";
    },
  });
  assertEquals(ran, { code: 130, out: "", err: "" });
});

test("trace says that the target is not reached so far", async () => {
  using silent = blackHole();
  const controller = new AbortController();
  let err = "";
  const code = await main(["trace", `${silent.address}`, "-m1"], {
    out() {},
    err: (text) => err += text,
    signal: controller.signal,
    onRequest(listener) {
      setTimeout(() => {
        listener();
        controller.abort();
      }, 20);
      return { [Symbol.dispose]() {} };
    },
  });
  assertEquals(code, 130);
  assertEquals(err, `${silent.address} is not reached so far\n`);
}, { skip: needs(onLinux, canBlackHole()) });

test("a ping that was suspended has no outage and no burst by that", async () => {
  using closed = bound();
  using open = listen();
  const rows: [args: string[], name: string][] = [
    [["-i", "20"], `${closed.address}`],
    [["--rate", "50"], `${open.address}`],
  ];
  for (const [args, target] of rows) {
    let step = 0;
    const all = ["ping", target, "-c0", "--json", ...args];
    const { code, out } = await runChild(all, {
      onOutput(pid, out) {
        const count = out.split("\n").length;
        if (step === 0 && count > 5) {
          step = 1;
          process.kill(pid, "SIGSTOP");
          setTimeout(() => {
            step = count;
            process.kill(pid, "SIGCONT");
          }, 3000);
        } else if (step > 1 && count > step + 10) {
          step = Infinity;
          process.kill(pid, "SIGINT");
        }
      },
    });
    assertEquals(code, 130);
    const lines = linesOf(out);
    const summary = lines.at(-1)!;
    const probes = lines.slice(0, -1);
    const times = probes.map(({ time }) => Date.parse(String(time)));
    const time = times.at(-1)! - times[0]!;
    assert(time >= 2900, `${time}`);
    // What was due for 3 s is not made up for.
    assert(probes.length < time / 20 - 50, `${probes.length} in ${time} ms`);
    assert(Number(summary.outage) < time - 2000, `${summary.outage} ${time}`);
    const latencies = probes.map(({ latency }) => Number(latency));
    // One probe at most was under way.
    assert(latencies.filter((time) => time > 2500).length <= 1);
  }
});

test("ping and trace leave the runtime its descriptors", () => {
  using silent = blackHole();
  const target = `${silent.address}`;
  for (
    const args of [
      ["ping", target, "--rate", "400", "-w", "2s", "--json"],
      ["trace", target, "-m1", "--queries=400", "-N400", "-t200", "--json"],
    ]
  ) {
    const { code, out } = inShell('ulimit -n 256; exec "$@"', args);
    assertEquals(code, 1, out);
    assert(!out.includes("EMFILE"), out);
    const { unanswered } = linesOf(out).at(-1)!;
    // There is room for less than 256 - 64.
    if (args[0] === "ping") assert(Number(unanswered) < 192, out);
  }
}, { skip: canBlackHole() });

test("a locale without UTF-8 has its drawings in ASCII", () => {
  const args = ["ping", "--live", "-c", "5", "-i", "1"];
  const rows: [locale: string, isAscii: boolean][] = [
    ["LC_ALL=C", true],
    ["LC_ALL= LC_CTYPE= LANG=en_US.ISO-8859-1", true],
    ["LC_ALL=en_US.UTF-8", false],
    ["LC_ALL= LC_CTYPE= LANG=", false],
  ];
  for (const [locale, isAscii] of rows) {
    const { code, out } = inShell(`${locale} exec "$@"`, args);
    assertEquals([code, !/[\u2591-\u2593\u2588]/.test(out)], [0, isAscii], out);
  }
});

test("each line of each command fits the schema, whatever happens", async () => {
  using open = listen();
  using closed = bound();
  const [yes, no] = [`${open.address}`, `${closed.address}`];
  const [, port] = yes.split(":");
  const rows: [code: number, types: string[], args: string[]][] = [
    [0, ["ping", "ping", "summary"], ["ping", yes, "-c2", "-i0"]],
    [1, ["ping", "summary"], ["ping", no, "-c1"]],
    [0, ["ping", "summary"], ["ping", no, "-c1", "--refused", "answer"]],
    [0, ["ping", "summary"], ["ping", yes, "-c1", "--rate", "9"]],
    [0, ["summary"], ["ping", yes, "-c1", "-q"]],
    [2, ["ping"], ["ping", yes, "-c1", "--source", "192.0.2.1"]],
    [0, ["wait"], ["wait", yes]],
    [0, ["wait"], ["wait", no, "--until", "closed"]],
    [124, ["wait"], ["wait", no, "-t", "1ms"]],
    [124, ["wait"], ["wait", yes, "--until", "closed", "-t", "1ms"]],
    [0, ["explanation"], ["explain", "EPERM"]],
    [0, ["explanation"], ["explain", "EPERM", "--os", "freebsd"]],
    [0, ["explanation"], ["explain", yes]],
    [1, ["explanation"], ["explain", no]],
    [2, ["explanation"], ["explain", yes, "--source", "192.0.2.1"]],
    [0, ["port", "scan"], ["scan", "127.0.0.1", "-p", port!]],
    [1, ["port", "scan"], ["scan", "127.0.0.1", "-p", no.split(":")[1]!]],
    [0, ["scan"], ["scan", "127.0.0.1", "-p", port!, "-q"]],
    [2, ["port", "scan"], [
      "scan",
      "127.0.0.1",
      "-p1",
      "--source",
      "192.0.2.1",
    ]],
  ];
  if (onLinux === null) {
    rows.push(
      [0, ["hop", "trace"], ["trace", yes, "--queries", "1"]],
      [0, ["hop", "hop", "trace"], ["trace", no, "--queries", "2"]],
    );
  }
  const keys = new Map<string, string[]>();
  for (const [expected, types, args] of rows) {
    const { code, out } = await runCli([...args, "--json"]);
    const lines = linesOf(out);
    assertEquals(
      [code, lines.map(({ type }) => type)],
      [expected, types],
      args.join(" "),
    );
    // Whatever has happened, the lines of a type have the same fields.
    for (const line of lines) {
      const own = Object.keys(line).sort();
      assertEquals(own, keys.get(line.type) ?? own, args.join(" "));
      keys.set(line.type, own);
    }
  }
});

test("wait writes what is not ready for machines, too, when it is interrupted", async () => {
  using open = listen();
  using closed = bound();
  const targets = [`${open.address}`, `${closed.address}`];
  const stop = new AbortController();
  let out = "";
  const code = await main(["wait", ...targets, "--json"], {
    out(text) {
      out += text;
      if (!stop.signal.aborted) setTimeout(() => stop.abort(), 50);
    },
    err() {},
    signal: stop.signal,
  });
  const lines = linesOf(out).map(({ target, ready }) => [target, ready]);
  assertEquals([code, lines], [
    130,
    [[targets[0], true], [targets[1], false]],
  ]);
});

test("the examples of each help are understood", async () => {
  const { out: overview } = await runCli(["--help"]);
  const names = [...overview.matchAll(/^ {2}(\w+) /gm)].map(([, name]) =>
    name!
  );
  assertEquals(names.length, 6);
  let count = 0;
  for (const name of names) {
    const { out } = await runCli([name, "--help"]);
    const [, examples] = /\nEXAMPLES\n((?: {2}.*\n)+)/.exec(out)!;
    for (const line of examples!.trimEnd().split("\n")) {
      // Of a pipeline, each command; of a condition, what comes first.
      for (const command of line.split(/ [|] | && /)) {
        const [first, ...args] = command.trim().split(/ +/);
        if (!names.includes(first!)) continue;
        const own = args.includes("--") ? args.indexOf("--") : args.length;
        const unknown = [...args.slice(0, own), "--no-such-option"];
        const { err } = await runCli([first!, ...unknown]);
        assertMatch(err, /Cannot use --no-such-option: there is no/, command);
        count++;
      }
    }
  }
  assert(count >= 15, `${count}`);
});

test("--csv quotes what a reader would take for more", async () => {
  using folder = tempFolder();
  const path = join(folder.path, 'a,"b"\n');
  const { out } = await runCli(["ping", `unix:${path}`, "-c1", "--csv"]);
  const [head, ...rest] = out.split("\r\n").join("\n").split("\n");
  assertMatch(head!, /^target,seq,/);
  assertMatch(rest.join("\n"), /^"unix:[^"]*a,""b""\\x0a",1,/);
});

test("-o takes the place of what a file had", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "x");
  writeFileSync(path, "before\n".repeat(1000));
  const ran = await runCli(["explain", "EPERM", "--json", "-o", path]);
  assertEquals(ran, { code: 0, out: "", err: "" });
  assertEquals(linesOf(readFileSync(path, "utf8"))[0]!.code, "EPERM");
});
