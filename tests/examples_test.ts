/**
 * The examples in `tests/examples/`: each is copied out of here, finds the package by an import map as a user's program does,
 * and runs as it stands.
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { freePort, listen, tempFolder } from "./_fixtures.ts";
import {
  canIpv6,
  hasCommand,
  onLinux,
  RUNTIME,
  type Runtime,
  test,
} from "./_harness.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const folder = `${root}tests/examples`;
const EXAMPLES = readdirSync(folder).filter((name) => name.endsWith(".ts"));

/** How a program has ended, and what it has printed. */
interface Outcome {
  code: number | null;
  lines: string[];
  errors: string;
}

/** What the program of a user has in the place of a registry's package: its entry points by their names. */
const ENTRIES: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries<string>(
    JSON.parse(readFileSync(`${root}deno.json`, "utf8")).exports,
  ).map(([key, path]) => [
    join("@einprogress/connect", key),
    join(root, path),
  ]),
);

/** How each runtime finds the package from a folder that has nothing else of it, and what it calls the program with. */
const STARTS: Readonly<
  Record<Runtime, (folder: string, permissions: readonly string[]) => string[]>
> = {
  deno(folder, permissions) {
    const map = join(folder, "import_map.json");
    const imports = Object.entries(ENTRIES)
      .map(([name, path]) => [name, pathToFileURL(path).href]);
    writeFileSync(
      map,
      JSON.stringify({ imports: Object.fromEntries(imports) }),
    );
    const flags = ["--no-config", "--no-prompt", "--cached-only"];
    return ["run", ...flags, `--import-map=${map}`, ...permissions];
  },
  bun(folder) {
    const paths = Object.entries(ENTRIES).map(([name, path]) => [name, [path]]);
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: { baseUrl: "/", paths: Object.fromEntries(paths) },
      }),
    );
    return ["run"];
  },
  node(folder) {
    const hook = join(folder, "import_map.mjs");
    writeFileSync(
      hook,
      `import { registerHooks } from "node:module";
const entries = ${JSON.stringify(ENTRIES)};
registerHooks({
  resolve: (name, context, next) => next(entries[name] ?? name, context),
});
`,
    );
    return ["--no-warnings", `--import=${hook}`];
  },
};

/** Runs an example with the permissions that its own comment names. */
function runExample(
  name: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  const text = readFileSync(join(folder, name), "utf8");
  return runProgram(name, text, text.match(/--allow-[a-z]+/g) ?? [], args);
}

/** Runs a program from a folder that has nothing else of this package. */
async function runProgram(
  name: string,
  text: string,
  permissions: readonly string[],
  args: readonly (string | number)[] = [],
): Promise<Outcome> {
  using place = tempFolder();
  const program = join(place.path, name);
  writeFileSync(program, text);
  const start = STARTS[RUNTIME](place.path, permissions);
  const child = spawn(process.execPath, [
    ...start,
    program,
    ...args.map(String),
  ], { cwd: place.path, stdio: ["ignore", "pipe", "pipe"] });
  const output = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text) => {
      output[stream] += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  const lines = output.stdout.trimEnd().split("\n");
  return { code, lines, errors: output.stderr };
}

function assertEnded({ code, errors }: Outcome, expected = 0): void {
  assertEquals([code, code === expected ? "" : errors], [expected, ""]);
}

test(
  "the program of README.md runs as it stands on every runtime",
  async () => {
    const page = readFileSync(`${root}README.md`, "utf8");
    const [, text] = /^```ts\n(.*?)^```$/ms.exec(page)!;
    const allowed = ["--allow-ffi", "--allow-net"];
    const outcome = await runProgram("start.ts", text!, allowed);
    assertEnded(outcome);
    assertEquals(outcome.lines.length, 6);
    assertEquals(outcome.lines.at(0), "ESTABLISHED");
    assertEquals(outcome.lines.at(-1), "The peer is there and nobody listens");
  },
  { skip: onLinux },
);

test("an example is at most 30 lines long", () => {
  for (const name of EXAMPLES) {
    const lines = readFileSync(join(folder, name), "utf8").trimEnd()
      .split("\n");
    assertEquals([name, lines.length <= 30], [name, true]);
  }
});

test("scan_banners.ts finds the open ports and what they say", async () => {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.end("220 ready\r\n");
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  using mute = listen();
  const ports = `${port},${mute.address.port},${freePort()}`;
  const outcome = await runExample("scan_banners.ts", ["127.0.0.1", ports]);
  await new Promise((resolve) => server.close(resolve));
  assertEnded(outcome);
  assertEquals(
    outcome.lines.sort(),
    [
      "3 ports, 2 open",
      `${mute.address.port} says nothing`,
      `${port} 220 ready`,
    ].sort(),
  );
});

test("wait_for_port.ts waits for a listener, and says what it has met without one", async () => {
  using listener = listen();
  const { port } = listener.address;
  const met = await runExample("wait_for_port.ts", ["127.0.0.1", port]);
  assertEnded(met);
  assertEquals(met.lines, [`127.0.0.1:${port} listens`]);
  const missed = await runExample("wait_for_port.ts", [
    "127.0.0.1",
    freePort(),
    300,
  ]);
  assertEnded(missed, 1);
  assertMatch(missed.lines[0]!, /failed \d+ times: ECONNREFUSED$/);
});

test("health_check.ts checks 500 targets, a line of JSON for each", async () => {
  using listener = listen();
  const { port } = listener.address;
  const targets = Array.from(
    { length: 500 },
    (_, i) => `127.0.${i / 250 | 0}.${i % 250 + 1}:${port}`,
  );
  // It listens on the first of those alone.
  const outcome = await runExample("health_check.ts", targets);
  assertEnded(outcome, 1);
  const results = outcome.lines.map((line) => JSON.parse(line));
  assertEquals(results.length, 500);
  const open = results.filter(({ state }) => state === "open");
  assertEquals(open.map(({ target }) => target), [`127.0.0.1:${port}`]);
  assertEquals(results.filter(({ state }) => state === "closed").length, 499);
  const one = await runExample("health_check.ts", [`127.0.0.1:${port}`]);
  assertEnded(one);
});

test(
  "latency.ts prints percentiles of the wall clock and of the kernel",
  async () => {
    using listener = listen();
    const { port } = listener.address;
    const outcome = await runExample("latency.ts", [
      "127.0.0.1",
      port,
      20,
      200,
    ]);
    assertEnded(outcome);
    const [wall, kernel] = outcome.lines;
    assertMatch(wall!, /^wall ms p50=\d+\.\d{3} p90=.* p99=.* p99\.9=/);
    assertMatch(kernel!, /^kernel ms p50=\d+\.\d{3} /);
  },
  { skip: onLinux },
);

test("options.ts shows what options make of a connection", async () => {
  using listener = listen();
  const { port } = listener.address;
  const outcome = await runExample("options.ts", ["127.0.0.1", port]);
  assertEnded(outcome);
  const names = outcome.lines.map((line) => line.split(":")[0]);
  assertEquals(names, ["plain", "ttl", "mark", "interface", "mptcp"]);
  assertMatch(outcome.lines[0]!, /^plain: ESTABLISHED, rtt .*, mptcp false$/);
}, { skip: onLinux });

test(
  "dns_query.ts asks a name server, and finds out at once that there is none",
  async () => {
    const server = createSocket("udp4");
    server.on("message", (query, { address, port }) => {
      const answer = [192, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3];
      const reply = Buffer.concat([query, new Uint8Array(answer)]);
      reply[2] = 0x81;
      reply[7] = 1;
      server.send(reply, port, address);
    });
    await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
    const { port } = server.address();
    const outcome = await runExample("dns_query.ts", [
      "127.0.0.1",
      "host.test",
      port,
    ]);
    await new Promise<void>((resolve) => {
      server.close(resolve);
    });
    assertEnded(outcome);
    assertEquals(outcome.lines, ["43 bytes, code 0, 1 answers", "10.1.2.3"]);
    const nobody = await runExample("dns_query.ts", [
      "127.0.0.1",
      "host.test",
      port,
    ]);
    assertEnded(nobody, 1);
    assertStringIncludes(nobody.errors, "ECONNREFUSED");
  },
  { skip: onLinux },
);

test("traceroute.ts reaches a port of this machine in one hop", async () => {
  using listener = listen();
  const { port } = listener.address;
  const outcome = await runExample("traceroute.ts", ["127.0.0.1", port]);
  assertEnded(outcome);
  assertEquals(outcome.lines.length, 1);
  assertMatch(outcome.lines[0]!, /^1 127\.0\.0\.1 open \d+\.\d{3} ms$/);
}, { skip: onLinux });

test("https.ts asks over TLS, from an address of its choice", async () => {
  using place = tempFolder();
  const [key, cert] = ["key", "cert"].map((name) => join(place.path, name));
  execFileSync("openssl", [
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"],
    ...["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
    ...["-keyout", key!, "-out", cert!],
  ], { stdio: "ignore" });
  const peers: (string | undefined)[] = [];
  const server = createServer({
    key: readFileSync(key!),
    cert: readFileSync(cert!),
  }, (request, response) => {
    peers.push(request.socket.remoteAddress);
    response.end("hello");
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const outcome = await runExample("https.ts", [
    `https://127.0.0.1:${port}/`,
    "127.0.0.9",
    cert!,
  ]);
  await new Promise((resolve) => server.close(resolve));
  assertEnded(outcome);
  assertEquals(outcome.lines, ["200, 5 bytes"]);
  assertEquals(peers, ["127.0.0.9"]);
}, { skip: hasCommand("openssl") });

test("connect_async.ts connects as illumos's page has it", async () => {
  using listener = listen();
  const { port } = listener.address;
  const outcome = await runExample("connect_async.ts", ["127.0.0.1", port]);
  assertEnded(outcome);
  assertStringIncludes(outcome.lines[0]!, "is connected to");
}, { skip: canIpv6() });
