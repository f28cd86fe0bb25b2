import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { join } from "node:path";
import {
  balanced,
  canIpv6,
  hasCommand,
  isRoot,
  needs,
  test,
} from "./_harness.ts";
import { tempFolder } from "./_fixtures.ts";
import { Pool } from "./_runner.ts";

const GRACE = 50;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const skip = Deno.build.os === "linux"
  ? null
  : "eventfd is a call of Linux alone";

/** The C library without anything of ours in between: what it opens, nobody else knows. */
function openC() {
  return Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    eventfd: { parameters: ["u32", "i32"], result: "i32" },
    pipe: { parameters: ["buffer"], result: "i32" },
    dup: { parameters: ["i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
}

/** Hands out ways to leak, and closes afterwards whatever leaked. */
async function withLeaks(
  use: (leaks: {
    socket(): number;
    eventfd(): number;
    pipe(): number;
    dup(fd: number): number;
    close(fd: number): void;
  }) => Promise<void>,
): Promise<void> {
  const c = openC();
  const open = new Set<number>();
  function keep(fd: number): number {
    open.add(fd);
    return fd;
  }
  try {
    await use({
      socket: () => keep(c.symbols.socket(AF_UNIX, SOCK_STREAM, 0)),
      eventfd: () => keep(c.symbols.eventfd(0, 0)),
      pipe() {
        const ends = new Int32Array(2);
        c.symbols.pipe(ends);
        keep(ends[1]!);
        return keep(ends[0]!);
      },
      dup: (fd) => keep(c.symbols.dup(fd)),
      close(fd) {
        open.delete(fd);
        c.symbols.close(fd);
      },
    });
  } finally {
    for (const fd of open) c.symbols.close(fd);
    c.close();
  }
}

test(
  "balanced() catches a leaked socket at the first look",
  () =>
    withLeaks(async ({ socket }) => {
      let runs = 0;
      const error = await assertRejects(
        () =>
          balanced(() => {
            runs++;
            socket();
          }, { grace: GRACE }),
        Error,
      );
      assertMatch(error.message, /: 1 socket:\[\d+\] left open$/);
      assertEquals(runs, 1);
    }),
  { skip },
);

test(
  "balanced() catches a socket in place of another, under the same number",
  () =>
    withLeaks(async ({ socket, close }) => {
      const victim = socket();
      const error = await assertRejects(
        () =>
          balanced(() => {
            close(victim);
            assertEquals(socket(), victim);
          }, { grace: GRACE }),
        Error,
      );
      assertMatch(error.message, /closed that were open before/);
      assertMatch(error.message, /left open/);
    }),
  { skip },
);

test(
  "balanced() catches one duplicate of a socket",
  () =>
    withLeaks(async ({ socket, dup }) => {
      const original = socket();
      await assertRejects(
        () =>
          balanced(() => {
            dup(original);
          }, { grace: GRACE }),
        Error,
        "1 socket:",
      );
    }),
  { skip },
);

test(
  "balanced() catches a descriptor closed that the test did not open",
  () =>
    withLeaks(async ({ socket, close }) => {
      const victim = socket();
      await assertRejects(
        () => balanced(() => close(victim), { grace: GRACE }),
        Error,
        "closed that were open before",
      );
    }),
  { skip },
);

test(
  "balanced() catches an event descriptor that leaks every time",
  () =>
    withLeaks(async ({ eventfd }) => {
      await assertRejects(
        () =>
          balanced(() => {
            eventfd();
          }, { grace: GRACE }),
        Error,
        "1 anon_inode:[eventfd] left open",
      );
    }),
  { skip },
);

test(
  "balanced() catches a pipe that leaks every time",
  () =>
    withLeaks(async ({ pipe }) => {
      await assertRejects(
        () =>
          balanced(() => {
            pipe();
          }, { grace: GRACE }),
        Error,
        "2 pipe:",
      );
    }),
  { skip },
);

test(
  "balanced() lets an event descriptor stay that is opened once and kept",
  () =>
    withLeaks(async ({ eventfd }) => {
      let runs = 0;
      await balanced(() => {
        if (runs++ === 0) eventfd();
      }, { grace: GRACE });
      assertEquals(runs, 2);
    }),
  { skip },
);

test(
  "balanced() lets the second run close what the first has left open",
  () =>
    withLeaks(async ({ eventfd, close }) => {
      let fd = -1;
      let runs = 0;
      await balanced(() => {
        if (runs++ === 0) fd = eventfd();
        else close(fd);
      }, { grace: GRACE });
      assertEquals(runs, 2);
    }),
  { skip },
);

test(
  "balanced() catches event descriptors closed that the test did not open",
  () =>
    withLeaks(async ({ eventfd, close }) => {
      const victims = [eventfd(), eventfd()];
      await assertRejects(
        () => balanced(() => close(victims.pop()!), { grace: GRACE }),
        Error,
        "1 anon_inode:[eventfd] closed that were open before",
      );
    }),
  { skip },
);

test(
  "balanced() waits for a descriptor that is closed a little later",
  () =>
    withLeaks(async ({ socket, close }) => {
      let closed: Promise<void> | undefined;
      await balanced(() => {
        const fd = socket();
        closed = new Promise((resolve) =>
          setTimeout(() => {
            close(fd);
            resolve();
          }, 20)
        );
      });
      await closed;
    }),
  { skip },
);

test("balanced() throws what the test throws", async () => {
  const thrown = new Error("mine");
  const caught = await assertRejects(() =>
    balanced(() => {
      throw thrown;
    })
  );
  assertStrictEquals(caught, thrown);
});

test("a test may run commands, workers and the runtime's own sockets", async () => {
  await new Deno.Command(Deno.execPath(), { args: ["--version"] }).output();
  const worker = new Worker("data:text/javascript,postMessage(1)", {
    type: "module",
  });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ port: listener.addr.port });
  using server = await listener.accept();
  assertEquals(server.remoteAddr, client.localAddr);
});

test("needs() joins the reasons that are there", () => {
  const absent = hasCommand("no such command");
  assertEquals(absent, "needs the command no such command");
  assertEquals(needs(), null);
  assertEquals(needs(null, null), null);
  assertEquals(needs(null, absent), absent);
  assertEquals(needs("a", null, "b"), "a, b");
});

test("a probe returns null or a reason to skip", () => {
  assertEquals(hasCommand("sh"), null);
  for (const reason of [isRoot(), canIpv6()]) {
    assertMatch(reason ?? "needs", /^needs/);
  }
});

/** Runs a command on a file of tests, and returns its exit code and what it printed. */
async function runTests(
  args: string[],
  text: string,
  env: Record<string, string> = {},
): Promise<{ code: number; output: string }> {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/a_test.ts`;
    await Deno.writeTextFile(file, text);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...args, file],
      env: { ...env, NO_COLOR: "1", EINPROGRESS_SKIPS: `${folder}/skips` },
    }).output();
    const decoder = new TextDecoder();
    return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs one test with the given `skip` in a process of its own. */
function runSkipping(
  skip: string,
  ci: string,
): Promise<{ code: number; output: string }> {
  const harness = new URL("./_harness.ts", import.meta.url);
  return runTests(
    ["test", "-A", "--no-check", "--no-config"],
    `import { hasCommand, needs, test } from "${harness}";
test("a", () => {}, { skip: ${skip} });
`,
    { CI: ci },
  );
}

test("a skip is printed with its reason and does not fail", async () => {
  const { code, output } = await runSkipping(`hasCommand("no such")`, "");
  assertEquals(code, 0, output);
  assertMatch(output, /^SKIP a: needs the command no such$/m);
  assertMatch(output, /1 ignored/);
});

test("CI=true fails a skip for an ability that a machine can be given", async () => {
  const { code, output } = await runSkipping(`hasCommand("no such")`, "true");
  assertEquals(code, 1, output);
  assertMatch(output, /which has it all: needs the command no such/);
});

test("CI=true passes a skip for what the system is", async () => {
  const skip = `needs("AIX alone has it", hasCommand("no such"))`;
  const { code, output } = await runSkipping(skip, "true");
  assertEquals(code, 0, output);
  assertMatch(output, /^SKIP a: AIX alone has it, needs the command no such$/m);
});

/** Runs tests by the runner, and returns what it says in the end of what failed. */
async function failuresOf(text: string): Promise<string> {
  const { code, output } = await runTests(
    ["run", "-A", "tests/run.ts", "test", "--no-check"],
    text,
  );
  assertEquals(code, 1, output);
  return output.split("Failed, and how:\n")[1] ?? output;
}

test("a run says in the end what failed, and how", async () => {
  const end = await failuresOf(`Deno.test("good", () => {});
Deno.test('<a> & "b"', () => {
  throw new TypeError("1 > 0\\nis true");
});
`);
  assertEquals(end.split("\n").slice(0, 3), [
    'deno: <a> & "b"',
    "  TypeError: 1 > 0",
    "  is true",
  ]);
  assertMatch(end, /^deno: 1 passed, 0 skipped, 1 failed: /m);
});

test("a run says in the end which error belongs to no test", async () => {
  const end = await failuresOf(`Deno.test("good", () => {});
setTimeout(() => {
  throw new TypeError("nobody's");
});
await new Promise((resolve) => setTimeout(resolve, 1000));
`);
  assertMatch(end, /^deno: a_test\.ts .* \(uncaught error\)\n.*nobody's/);
});

test("a run says in the end which file does not load", async () => {
  const end = await failuresOf(`import "./absent.ts";`);
  assertMatch(
    end,
    /^deno: a_test\.ts ended with code 1, .*\n\s+.*not found.*absent\.ts/,
  );
});

test("a run fails by a file that ends before its report", async () => {
  using place = tempFolder();
  const pool = new Pool(2);
  const rows = [
    ["whole", "printf '<testsuites><testcase /></testsuites>' >$0"],
    ["cut", "printf '<testsuites><testcase />' >$0; echo so far"],
    ["killed", "kill -9 $$"],
    ["silent", ":"],
  ];
  const jobs = rows.map(([name, script]) => {
    const report = join(place.path, name!);
    const command = ["sh", "-c", script!, report];
    return { name: name!, command, env: {}, report };
  });
  const { code, summary, failures } = await pool.run("sh", jobs);
  assertEquals([code, summary], [
    137,
    "sh: 2 passed, 0 skipped, 3 failed: ended with code 137",
  ]);
  const why = "and no test says why; its last lines";
  assertEquals(failures, [
    `sh: cut ended with code 0, ${why}\n  so far`,
    `sh: killed ended with code 137, ${why}`,
    `sh: silent ended with code 0, ${why}`,
  ]);
});
