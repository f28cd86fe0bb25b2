import { assert, assertEquals } from "@std/assert";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { libc } from "../ffi/libc.ts";
import { runtime } from "./_emulation.ts";
import { on, test } from "./_harness.ts";

/** The package as it is imported here and in a child process. */
interface Modules {
  mod: typeof import("../mod.ts");
  floor:
    & typeof import("../ffi/libc.ts")
    & typeof import("../ffi/memory.ts");
}

interface StressOptions {
  /** How many calls are made, at least. */
  calls: number;
  /** An empty folder. */
  folder: string;
  /** Whether another thread waits in poll(2), and fails there, all the while. */
  offThread: boolean;
}

interface StressResult {
  /** How many calls each kind made. */
  made: Record<string, number>;
  /** The wrong errnos, each with how often it was read. */
  wrong: Record<string, number>;
  collections: number;
  polls: number;
}

/** Milliseconds that a million calls may take; an idle machine needs a fortieth of it. */
const BOUND = 240_000;
const CALLS = 1_000_000;

// Opened before the first test, which would otherwise seem to leak it.
libc();

/**
 * Makes calls that fail, each in its own way, with garbage in between.
 *
 * Sees nothing but its parameters, for its text is what a child process runs.
 */
async function stress(
  { mod, floor }: Modules,
  { calls, folder, offThread }: StressOptions,
): Promise<StressResult> {
  const { Socket, inet, unix } = mod;
  const c = floor.libc();
  const { abi } = c;
  const { gc } = globalThis as unknown as {
    gc: (options?: { type: "minor" | "major" }) => void;
  };
  const sockets: { close(): void }[] = [];
  function opened(options: Parameters<typeof Socket.open>[0]): number {
    const socket = Socket.open(options);
    sockets.push(socket);
    return socket.fd;
  }

  // Bound and not listening: refuses for certain, and no socket that connects
  // there is given the same port and meets itself.
  const closed = Socket.open();
  sockets.push(closed);
  closed.bind(inet("127.0.0.1", 0));
  const refusing = closed.localAddress.toBytes();
  const unixClosed = Socket.open({ family: "unix" });
  sockets.push(unixClosed);
  unixClosed.bind(unix(`${folder}/x.sock`));
  const unixRefusing = unix(`${folder}/x.sock`).toBytes();
  const missing = unix(`${folder}/missing.sock`).toBytes();
  const underFile = unix(`${folder}/x.sock/y`).toBytes();
  const foreign = inet("127.0.0.1", 9).toBytes();
  const tcp = opened({});
  const udp = opened({ type: "dgram", nonblocking: true });
  const local = opened({ family: "unix" });
  const bytes = floor.newMemory(256);
  const sender = { address: floor.newMemory(256), length: 0 };
  const { SOL_SOCKET, SO_TYPE, SHUT_WR, F_GETFL } = abi;

  const rows: [string, number, () => number][] = [
    ["EBADF close", 1, () => c.close(-1)],
    ["EBADF connect", 1, () => c.connect(-1, refusing, refusing.length)],
    ["EBADF fcntl", 1, () => c.fcntl(-1, F_GETFL, 0)],
    ["EBADF bind", 1, () => c.bind(-1, refusing, refusing.length)],
    [
      "EBADF getsockopt",
      1,
      () => c.getsockopt(-1, SOL_SOCKET, SO_TYPE, bytes),
    ],
    ["EBADF setsockopt", 1, () => c.setsockopt(-1, SOL_SOCKET, 0, bytes, 4)],
    ["EBADF recvfrom", 1, () => c.recvfrom(-1, bytes, 1, 0, null)],
    ["EAGAIN recvfrom", 1, () => c.recvfrom(udp, bytes, 256, 0, sender)],
    ["ENOTCONN getpeername", 1, () => c.getpeername(tcp, bytes)],
    ["ENOTCONN shutdown", 1, () => c.shutdown(tcp, SHUT_WR)],
    ["EDESTADDRREQ sendto", 1, () => c.sendto(udp, bytes, 1, 0, null, 0)],
    ["ENOENT connect", 1, () => c.connect(local, missing, missing.length)],
    ["ENOTDIR connect", 1, () => c.connect(local, underFile, underFile.length)],
    [
      "ECONNREFUSED connect unix",
      1,
      () => c.connect(local, unixRefusing, unixRefusing.length),
    ],
    ["EINVAL connect", 1, () => c.connect(local, foreign, foreign.length)],
    ["EAFNOSUPPORT socket", 1, () => c.socket(0x7fff, abi.SOCK_STREAM, 0)],
    ["EBADF getsockname", 1, () => c.getsockname(-1, bytes)],
    // Slow, so that it comes once in so many rounds.
    [
      "ECONNREFUSED connect tcp",
      16,
      () => c.connect(tcp, refusing, refusing.length),
    ],
  ];
  const noSocket = noSocketFd();
  if (noSocket !== null) {
    rows.push(
      [
        "ENOTSOCK connect",
        1,
        () => c.connect(noSocket, refusing, refusing.length),
      ],
      ["ENOTSOCK getsockname", 1, () => c.getsockname(noSocket, bytes)],
    );
  }
  /** One of the descriptors that every process has and that is no socket. */
  function noSocketFd(): number | null {
    for (const fd of [0, 1, 2]) {
      const result = c.getsockopt(fd, SOL_SOCKET, SO_TYPE, bytes);
      if (result === -abi.errnos.ENOTSOCK!) return fd;
    }
    return null;
  }

  const made: Record<string, number> = {};
  const wrong: Record<string, number> = {};
  let collections = 0;
  let polls = 0;
  let running = offThread;
  let keep: unknown[] = [];

  /** Keeps another thread in poll(2); every other time it fails there at once. */
  async function pollAlong(): Promise<void> {
    const none = floor.newMemory(8);
    while (running) {
      const fails = polls % 2 === 1;
      const result = await c.pollAsync(none, fails ? 0x7fff_ffff : 0, 2);
      polls++;
      if (fails ? result >= 0 : result !== 0) {
        wrong[`pollAsync returned ${result}`] = 1;
      }
    }
  }
  const along = offThread ? pollAlong() : null;

  const plan = rows.map(([name, every, call]) => ({
    name,
    every,
    call,
    expected: -abi.errnos[name.split(" ")[0] as "EBADF"]!,
    count: 0,
  }));
  let total = 0;
  for (let round = 0; total < calls; round++) {
    for (const row of plan) {
      if (round % row.every !== 0) continue;
      // Garbage of several sizes, some of which lives for a while.
      keep.push({ round, text: `${round} ${total}`, list: [round, total] });
      if (total % 7 === 0) keep.push(new Uint8Array(total % 100));
      if (total % 1009 === 0) keep.push(new Uint8Array(50_000));
      const result = row.call();
      total++;
      row.count++;
      if (result !== row.expected) {
        const text = `${row.name} returned ${mod.errnoName(-result)}`;
        wrong[text] = (wrong[text] ?? 0) + 1;
      }
    }
    if (keep.length > 2000) keep = keep.slice(-50);
    if (round % 250 === 0) {
      gc({ type: "minor" });
      collections++;
    }
    if (round % 2000 === 0) {
      gc();
      collections++;
    }
    // Lets the promises of the other thread settle, and new waits begin.
    if (running && round % 100 === 0) {
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  running = false;
  await along;
  for (const socket of sockets) socket.close();
  for (const { name, count } of plan) made[name] = count;
  return { made, wrong, collections, polls };
}

function inFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "errno-"));
  return run(folder).finally(() => rmSync(folder, { recursive: true }));
}

function assertRight(result: StressResult, calls: number): void {
  assertEquals(result.wrong, {});
  const made = Object.values(result.made);
  assert(made.reduce((sum, count) => sum + count) >= calls);
  assert(made.every((count) => count > 0), "every kind of call was made");
  assert(result.collections > 0);
}

const skip = "gc" in globalThis ? null : "needs --v8-flags=--expose-gc";

test(
  "libc() returns the right errno a million times while garbage is collected",
  async () => {
    const modules = {
      mod: await import("../mod.ts"),
      floor: {
        ...await import("../ffi/libc.ts"),
        ...await import("../ffi/memory.ts"),
      },
    };
    const start = performance.now();
    const half = CALLS / 2;
    for (const offThread of [false, true]) {
      const result = await inFolder((folder) =>
        stress(modules, { calls: half, folder, offThread })
      );
      assertRight(result, half);
      assertEquals(result.polls > 0, offThread);
    }
    const elapsed = performance.now() - start;
    assert(elapsed < BOUND, `took ${Math.round(elapsed)} ms`);
  },
  { skip },
);

/** Ways of V8 to run the same code, and how many calls each of them gets. */
const MODES:
  readonly (readonly [name: string, flags: string, calls: number])[] = [
    ["without machine code of its own", "--jitless", 50_000],
    ["without optimizing", "--no-opt", 50_000],
    ["with as much inlined as can be", "--stress-inline", 50_000],
    [
      "with little room for new objects",
      "--min-semi-space-size=1,--max-semi-space-size=1",
      50_000,
    ],
    ["with objects moved by every collection", "--stress-compaction", 20_000],
  ];

for (const [name, flags, calls] of MODES) {
  test(`libc() returns the right errno ${name}`, async () => {
    const result = await inFolder((folder) =>
      inChild(flags, { calls, folder, offThread: true })
    );
    assertRight(result, calls);
    // Node strips types by a program for WebAssembly, which needs a compiler.
  }, { skip: flags === "--jitless" ? on("deno") : on("deno", "node") });
}

/** Runs {@linkcode stress} in a process of its own. */
async function inChild(
  flags: string,
  options: StressOptions,
): Promise<StressResult> {
  const root = new URL("../", import.meta.url);
  const source = `import * as mod from "${root}mod.ts";
import * as libraries from "${root}ffi/libc.ts";
import * as memory from "${root}ffi/memory.ts";
const floor = { ...libraries, ...memory };
const stress = ${stress};
const result = await stress({ mod, floor }, ${JSON.stringify(options)});
console.log(JSON.stringify(result));
`;
  const args = on("deno") === null
    ? [...DENO, `--v8-flags=--expose-gc,${flags}`, "-"]
    : [...NODE, ...flags.split(","), "-"];
  const { stdout } = await new Promise<{ stdout: string }>(
    (resolve, reject) => {
      const child = execFile(runtime, args, (error, stdout) => {
        if (error === null) resolve({ stdout });
        else reject(error);
      });
      child.stdin!.end(source);
    },
  );
  return JSON.parse(stdout);
}

const DENO = ["run", "-A", "--quiet", "--no-config", "--no-lock"];
const NODE = ["--no-warnings", "--expose-gc", "--input-type=module"];
