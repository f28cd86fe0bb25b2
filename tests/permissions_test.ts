import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostAbi } from "../ffi/systems.ts";
import { libc } from "../ffi/libc.ts";
import {
  type Address,
  type ConnectTarget,
  inet,
  type InetAddress,
  rawAddress,
  Socket,
  unix,
} from "../mod.ts";
import { runtime } from "./_emulation.ts";
import {
  canIpv6,
  hasCommand,
  isRoot,
  needs,
  onLinux,
  test,
} from "./_harness.ts";

/** The package as a child process imports it. */
interface Modules {
  mod: typeof import("../mod.ts");
  floor: typeof import("../ffi/libc.ts");
  tools: typeof import("../src/tools.ts");
}

/** What runs in a child: its text is sent there, so that it sees only its parameters. */
type Task<D, R> = (modules: Modules, data: D) => R | Promise<R>;

// Opened before the first test, which would otherwise seem to leak it.
libc();

const root = new URL("../", import.meta.url).href;

/** Runs a task in a process that has just these permissions. */
async function inChild<D, R>(
  flags: readonly string[],
  task: Task<D, R>,
  data: D,
  { cwd, wrap = [], internals = true }: {
    cwd?: string | undefined;
    wrap?: readonly string[];
    internals?: boolean;
  } = {},
): Promise<R> {
  const floor = internals
    ? `import * as floor from ${JSON.stringify(`${root}ffi/libc.ts`)};`
    : "const floor = null;";
  const source = `import * as mod from ${JSON.stringify(`${root}mod.ts`)};
${floor}
import * as tools from ${JSON.stringify(`${root}src/tools.ts`)};
const task = ${task};
const result = await task({ mod, floor, tools }, ${JSON.stringify(data)});
console.log(JSON.stringify(result));
`;
  const [command, ...args] = [
    ...wrap,
    runtime,
    "run",
    "--quiet",
    "--no-prompt",
    "--no-config",
    "--no-lock",
    "--unstable-vsock",
    ...flags,
    "-",
  ];
  const child = new Deno.Command(command!, {
    args,
    ...cwd === undefined ? {} : { cwd },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`The child failed: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout).trim().split("\n").at(-1)!);
}

/** Peers on this machine, for as long as a test needs them. */
interface Peers extends AsyncDisposable {
  /** A TCP port of 127.0.0.1, and of ::1 where there is IPv6. */
  readonly port: number;
  /** A folder with the socket `x.sock`. */
  readonly folder: string;
  /** An abstract socket, where the system has them. */
  readonly abstract: string | null;
}

function openPeers(): Peers {
  const folder = mkdtempSync(join(tmpdir(), "permissions-"));
  const listeners: Deno.Listener[] = [];
  const [first, second] = listenTwice();
  listeners.push(first);
  if (second !== null) listeners.push(second);
  listeners.push(
    Deno.listen({ transport: "unix", path: `${folder}/x.sock` }) as never,
  );
  let abstract: string | null = null;
  if (hostAbi()?.abstractUnix) {
    abstract = `permissions-${crypto.randomUUID()}`;
    listeners.push(
      Deno.listen({ transport: "unix", path: `\0${abstract}` }) as never,
    );
  }
  const done = listeners.map(async (listener) => {
    for (;;) {
      try {
        (await listener.accept()).close();
      } catch (error) {
        // The other end has reset the connection by then.
        if (!(error instanceof Deno.errors.NotConnected)) return;
      }
    }
  });
  return {
    port: first.addr.port,
    folder,
    abstract,
    async [Symbol.asyncDispose]() {
      for (const listener of listeners) listener.close();
      await Promise.all(done);
      rmSync(folder, { recursive: true });
    },
  };
}

/** One port on both loopback addresses. */
function listenTwice(): [Deno.TcpListener, Deno.TcpListener | null] {
  for (;;) {
    const first = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    if (canIpv6() !== null) return [first, null];
    const { port } = first.addr;
    try {
      return [first, Deno.listen({ hostname: "::1", port })];
    } catch (error) {
      first.close();
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** A target: its name in the rows below, and what each side is given. */
interface Target {
  readonly name: string;
  readonly options:
    | { hostname: string; port: number }
    | { transport: "unix"; path: string }
    | { transport: "vsock"; cid: number; port: number };
}

/** A virtual machine that nobody runs. */
const NOBODY = 0x7fff_fff0;

function targetsOf({ port, folder, abstract }: Peers): Target[] {
  function host(name: string, hostname: string): Target {
    return { name, options: { hostname, port } };
  }
  function file(name: string, path: string): Target {
    return { name, options: { transport: "unix", path } };
  }
  return [
    host("127.0.0.1", "127.0.0.1"),
    host("127.0.0.2", "127.0.0.2"),
    {
      name: "127.0.0.1, next port",
      options: { hostname: "127.0.0.1", port: port ^ 1 },
    },
    host("localhost", "localhost"),
    host("LocalHost", "LocalHost"),
    host("0.0.0.0", "0.0.0.0"),
    ...canIpv6() !== null ? [] : [
      host("::1", "::1"),
      host("0:0::1", "0:0::1"),
      host("[::1]", "[::1]"),
      host("mapped", "::ffff:127.0.0.1"),
      host("mapped hex", "::ffff:7f00:1"),
      host("::", "::"),
    ],
    file("path", `${folder}/x.sock`),
    file("relative path", "x.sock"),
    file("winding path", `../${folder.split("/").at(-1)}/./x.sock`),
    file("missing path", `${folder}/missing.sock`),
    file("root of the process", `/proc/self/root${folder}/x.sock`),
    file("folder of the process", "/proc/self/cwd/x.sock"),
    file("descriptors of the process", `/dev/fd/../root${folder}/x.sock`),
    file("root, by two slashes", `//proc/self/root${folder}/x.sock`),
    file("root, by a detour", `${folder}/../../proc/self/root${folder}/x.sock`),
    ...abstract === null ? [] : [file("abstract", `\0${abstract}`)],
    ...hostAbi()?.sockaddrVm === null ? [] : [
      {
        name: "vsock",
        options: { transport: "vsock" as const, cid: NOBODY, port: 5 },
      },
    ],
  ];
}

/** What became of one target: each of our ways to it, and the runtime's own. */
interface Outcome {
  name: string;
  theirs: string;
  ours: Record<string, string>;
}

/** Tries every target by every way. Runs in the child. */
async function tryAll(
  { mod, tools }: Modules,
  targets: readonly Target[],
): Promise<Outcome[]> {
  const { Socket } = mod;

  function verdict(run: () => void): string {
    try {
      run();
      return "passes";
    } catch (error) {
      return judge(error);
    }
  }
  function judge(error: unknown): string {
    if (error instanceof Deno.errors.NotCapable) return "NotCapable";
    if (error instanceof mod.ErrnoError) return "passes";
    // It has tried, and the peer did not reply.
    if (error instanceof tools.WaitError) return "passes";
    if (error instanceof Deno.errors.NotFound) return "passes";
    const { name, code } = error as { name: string; code?: string };
    // An error of the system has a code on both sides.
    return code !== undefined || /os error/.test(String(error))
      ? "passes"
      : `${name}: ${error}`;
  }
  async function later(run: () => Promise<unknown>): Promise<string> {
    try {
      await run();
      return "passes";
    } catch (error) {
      return judge(error);
    }
  }
  function addressOf({ options }: Target): Address | null {
    if ("hostname" in options) {
      const { hostname, port } = options;
      if (/[g-z]/i.test(hostname)) return null;
      const bare = hostname.replaceAll(/[\[\]]/g, "");
      return bare.includes(":") ? mod.inet6(bare, port) : mod.inet(bare, port);
    }
    if (options.transport === "vsock") {
      return mod.vsock(options.cid, options.port);
    }
    return options.path.startsWith("\0")
      ? mod.abstractUnix(options.path.slice(1))
      : mod.unix(options.path);
  }
  function nextFd(): number {
    using socket = Socket.open();
    return socket.fd;
  }

  const outcomes: Outcome[] = [];
  const before = nextFd();
  for (const target of targets) {
    const { name, options } = target;
    const isVsock = "transport" in options && options.transport === "vsock";
    // A connect could leave the machine by way of its host, so that where one
    // would be let through, binding stands for it.
    const theirs = isVsock
      ? verdict(() => Deno.listen(options as never).close())
      : "";
    const ours: Record<string, string> = {};
    if (!isVsock || theirs !== "passes") {
      ours["connectSync"] = verdict(() => {
        mod.connectSync({ ...options, timeout: 2000 }).close();
      });
    }
    const address = addressOf(target);
    if (address !== null) {
      const own = address.family as "inet";
      const isFile = address.family === "unix";
      // The kernel turns a foreign address down, after we have let it through.
      const family = isVsock ? "inet" : own;
      ours["Socket#connectSync"] = verdict(() => {
        using socket = Socket.open({ family });
        socket.connectSync(address, { timeout: 2000 });
      });
      using socket = Socket.open({ family, nonblocking: true });
      const errno = mod.errnoName(socket.tryConnect(address));
      ours["tryConnect"] = errno === "EACCES" ? "NotCapable" : "passes";
      ours["sendSync to"] = verdict(() => {
        using socket = Socket.open({
          family,
          type: isFile ? "stream" : "dgram",
          nonblocking: true,
        });
        socket.sendSync(new Uint8Array(1), { to: address });
      });
      if (name !== "missing path") {
        ours["bind"] = verdict(() => {
          using socket = Socket.open({ family: own });
          socket.bind(address);
        });
      }
    }
    outcomes.push({ name, theirs, ours });
  }
  // The runtime may be opening and closing files of its own meanwhile.
  for (let waited = 0; nextFd() > before; waited += 10) {
    if (waited > 2000) throw new Error("A descriptor is left behind");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  for (const [index, { options }] of targets.entries()) {
    const outcome = outcomes[index]!;
    const isVsock = "transport" in options && options.transport === "vsock";
    if (!isVsock || outcome.theirs !== "passes") {
      const { ours } = outcome;
      const goal = options as ConnectTarget;
      ours["waitFor"] = await later(() =>
        tools.waitFor(goal, { timeout: 200 })
      );
      ours["ping"] = await later(() =>
        tools.ping(goal, { count: 1, timeout: 200 }).next()
      );
      if ("hostname" in options) {
        ours["trace"] = await later(() =>
          tools.trace(goal, { queries: 1, maxHops: 1, timeout: 200 }).next()
        );
        const { hostname, port } = options;
        const ports = [{ hostname, port }];
        ours["probe"] = await later(() =>
          tools.probe(ports, { timeout: 200 }).next()
        );
      }
    }
    if (outcome.theirs !== "") continue;
    try {
      (await Deno.connect(options as Deno.ConnectOptions)).close();
      outcome.theirs = "passes";
    } catch (error) {
      outcome.theirs = judge(error);
    }
  }
  return outcomes;
}

const V4 = ["127.0.0.1", "127.0.0.1, next port", "mapped", "mapped hex"];
const V6 = ["::1", "0:0::1", "[::1]"];
const NAMES = ["localhost", "LocalHost"];
const FILES = ["path", "relative path", "winding path"];
/** Ways around every rule for files. */
const MAGIC = [
  "root of the process",
  "folder of the process",
  "descriptors of the process",
  "root, by two slashes",
  "root, by a detour",
];
/** What a grant of the whole net opens, files aside. */
const NET = [
  ...V4,
  ...V6,
  ...NAMES,
  "127.0.0.2",
  "0.0.0.0",
  "::",
  "abstract",
  "vsock",
];

/** Permissions, and the targets that they let through; `PORT` and `DIR` stand for the peers'. */
const ROWS: readonly (readonly [flags: string, passing: readonly string[]])[] =
  [
    ["", []],
    ["--allow-net", NET],
    ["--allow-read --allow-write", []],
    ["--allow-net=127.0.0.1", V4],
    ["--allow-net=127.0.0.1:PORT", ["127.0.0.1", "mapped", "mapped hex"]],
    ["--allow-net=127.0.0.0/8", [...V4, "127.0.0.2"]],
    ["--allow-net=127.0.0.2/31", ["127.0.0.2"]],
    ["--allow-net=localhost", NAMES],
    ["--allow-net=LOCALHOST:PORT", NAMES],
    ["--allow-net=[::1]", V6],
    ["--allow-net=[::1]:PORT", V6],
    ["--allow-net=[::ffff:127.0.0.1]", V4],
    [
      "--allow-net --deny-net=127.0.0.1",
      without(NET, [...V4, ...NAMES]),
    ],
    [
      "--allow-net --deny-net=127.0.0.1:PORT",
      [...without(NET, [...V4, ...NAMES]), "127.0.0.1, next port"],
    ],
    [
      "--allow-net --deny-net=127.0.0.0/8",
      without(NET, [...V4, ...NAMES, "127.0.0.2"]),
    ],
    ["--allow-net --deny-net=localhost", without(NET, NAMES)],
    ["--allow-net --deny-net=[::1]", without(NET, V6)],
    ["--allow-net=127.0.0.0/8 --deny-net=127.0.0.1", ["127.0.0.2"]],
    ["--allow-net=localhost --deny-net=127.0.0.1", []],
    ["--allow-net=localhost --deny-net=127.0.0.2", NAMES],
    ["--deny-net", []],
    ["--allow-net --deny-net", []],
    ["--allow-net --deny-net=127.0.0.2 --allow-read --allow-write", [
      ...without(NET, ["127.0.0.2"]),
      ...FILES,
      "missing path",
    ]],
    ["--allow-net --allow-read", NET],
    ["--allow-net --allow-write", NET],
    ["--allow-net --allow-read --allow-write", [
      ...NET,
      ...FILES,
      "missing path",
    ]],
    ["--allow-net --allow-read=DIR --allow-write=DIR", [
      ...NET,
      ...FILES,
      "missing path",
    ]],
    ["--allow-net --allow-read=DIR/x.sock --allow-write=DIR/x.sock", [
      ...NET,
      ...FILES,
    ]],
    ["--allow-net --allow-read=DIR --allow-write=DIR/missing.sock", [
      ...NET,
      "missing path",
    ]],
    ["--allow-net --allow-read --allow-write --deny-write=DIR", NET],
    ["--allow-net --allow-read --allow-write --deny-read=DIR/x.sock", [
      ...NET,
      "missing path",
    ]],
    ["--allow-net=unix:DIR/x.sock", []],
    ["--allow-net=unix:DIR/x.sock --allow-read --allow-write", FILES],
    [
      "--allow-net=unix:DIR/x.sock --allow-read=DIR --allow-write=DIR",
      FILES,
    ],
    ["--allow-net --deny-net=unix:DIR/x.sock --allow-read --allow-write", [
      ...NET,
      "missing path",
    ]],
    [`--allow-net=vsock:${NOBODY}:5`, ["vsock"]],
    [`--allow-net=vsock:${NOBODY}:6`, []],
    [`--allow-net --deny-net=vsock:${NOBODY}:5`, without(NET, ["vsock"])],
    ["--allow-all", [...NET, ...FILES, "missing path", ...MAGIC]],
  ];

function without(
  names: readonly string[],
  others: readonly string[],
): string[] {
  return names.filter((name) => !others.includes(name));
}

function flagsFor(flags: string, { port, folder }: Peers): string[] {
  const filled = flags.replaceAll("PORT", `${port}`).replaceAll("DIR", folder);
  const list = filled.split(" ").filter((flag) => flag !== "");
  return list.includes("--allow-all") ? list : ["--allow-ffi", ...list];
}

/** Fails where one of our ways differs from the runtime's own. */
function assertSame({ name, theirs, ours }: Outcome): void {
  for (const [way, our] of Object.entries(ours)) {
    assertEquals(our, theirs, `${way} for ${name}`);
  }
}

for (const [flags, passing] of ROWS) {
  const name = flags === "" ? "no permission but for ffi" : flags;
  test(`connectSync() and its like pass where Deno.connect passes with ${name}`, async () => {
    await using peers = openPeers();
    const outcomes = await inChild(
      flagsFor(flags, peers),
      tryAll,
      targetsOf(peers),
      { cwd: peers.folder },
    );
    outcomes.forEach(assertSame);
    for (const { name, theirs } of outcomes) {
      const expected = passing.includes(name) ? "passes" : "NotCapable";
      assertEquals(theirs, expected, `Deno.connect for ${name}`);
    }
  });
}

/** A hosts file, in a namespace of mounts and of networks that nothing leaves. */
const HOSTS = `127.0.0.1 localhost one.test two.test both.test
127.0.0.2 two.test
::1 both.test
`;

test(
  "connectSync() looks at every address of a name when some are denied",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "permissions-"));
    try {
      writeFileSync(join(folder, "hosts"), HOSTS);
      const names = ["one.test", "two.test", "both.test"];
      const targets = names.map((name): Target => ({
        name,
        options: { hostname: name, port: 9 },
      }));
      const rows: [flags: string, passing: string[]][] = [
        ["--allow-net", names],
        ["--allow-net=one.test,two.test", ["one.test", "two.test"]],
        ["--allow-net --deny-net=127.0.0.1", []],
        ["--allow-net --deny-net=127.0.0.1:10", names],
        ["--allow-net --deny-net=127.0.0.2", ["one.test", "both.test"]],
        ["--allow-net --deny-net=[::1]:9", ["one.test", "two.test"]],
        ["--allow-net=*.test --deny-net=[::1]:9", ["one.test", "two.test"]],
      ];
      for (const [flags, passing] of rows) {
        const outcomes = await inChild(
          ["--allow-ffi", ...flags.split(" ")],
          tryAll,
          targets,
          {
            wrap: [
              "unshare",
              "--mount",
              "--net",
              "sh",
              "-c",
              `mount --bind ${folder}/hosts /etc/hosts && ip link set lo up && exec "$@"`,
              "sh",
            ],
          },
        );
        outcomes.forEach(assertSame);
        for (const { name, theirs } of outcomes) {
          const expected = passing.includes(name) ? "passes" : "NotCapable";
          assertEquals(theirs, expected, `Deno.connect for ${name}, ${flags}`);
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  {
    skip: needs(isRoot(), hasCommand("unshare"), hasCommand("ip"), canIpv6()),
  },
);

// Revoking ------------------------------------------------------------------

interface Revocation {
  descriptor: Deno.PermissionDescriptor | null;
  targets: Target[];
}

/** What each way to connect ends in after each of several revocations. Runs in the child. */
async function tryRevoked(
  { mod }: Modules,
  revocations: readonly Revocation[],
): Promise<Outcome[][]> {
  const { Socket } = mod;
  function attempt(run: () => void): string {
    try {
      run();
      return "passes";
    } catch (error) {
      return error instanceof mod.ErrnoError ? "passes" : (error as Error).name;
    }
  }

  const steps: Outcome[][] = [];
  // The same sockets before and after: nothing may be remembered of a grant.
  const sockets = new Map<string, Socket>();
  for (const { descriptor, targets } of revocations) {
    if (descriptor !== null) Deno.permissions.revokeSync(descriptor);
    const outcomes: Outcome[] = [];
    for (const { name, options } of targets) {
      const isFile = "path" in options;
      const address = isFile
        ? mod.unix(options.path)
        : mod.inet((options as { hostname: string }).hostname, options.port);
      let socket = sockets.get(name);
      if (socket === undefined) {
        socket = Socket.open({ family: isFile ? "unix" : "inet" });
        sockets.set(name, socket);
      }
      const ours: Record<string, string> = {};
      const errno = mod.errnoName(socket.tryConnect(address));
      ours["tryConnect"] = errno === "EACCES" ? "NotCapable" : "passes";
      ours["connectSync"] = attempt(() => {
        mod.connectSync(options as never).close();
      });
      const kept = socket;
      ours["Socket#connectSync"] = attempt(() => kept.connectSync(address));
      ours["sendSync to"] = attempt(() => {
        using sender = Socket.open({
          family: isFile ? "unix" : "inet",
          type: "dgram",
        });
        sender.sendSync(new Uint8Array(1), { to: address });
      });
      let theirs = "passes";
      try {
        (await Deno.connect(options as Deno.ConnectOptions)).close();
      } catch (error) {
        theirs = (error as Error).name;
      }
      outcomes.push({ name, theirs, ours });
    }
    steps.push(outcomes);
  }
  for (const socket of sockets.values()) socket.close();
  return steps;
}

const REVOCATIONS: readonly (readonly [
  name: string,
  flags: string,
  descriptor: (peers: Peers) => Deno.PermissionDescriptor,
  target: "127.0.0.1" | "path",
  after: "passes" | "NotCapable",
])[] = [
  [
    "the net",
    "--allow-net",
    () => ({ name: "net" }),
    "127.0.0.1",
    "NotCapable",
  ],
  [
    "the net, of which an exception was made",
    "--allow-net --deny-net=[::1]",
    () => ({ name: "net" }),
    "127.0.0.1",
    "NotCapable",
  ],
  [
    "one host that a rule names",
    "--allow-net=127.0.0.1:PORT",
    ({ port }) => ({ name: "net", host: `127.0.0.1:${port}` }),
    "127.0.0.1",
    "NotCapable",
  ],
  [
    "another host",
    "--allow-net=127.0.0.1:PORT,127.0.0.2",
    () => ({ name: "net", host: "127.0.0.2" }),
    "127.0.0.1",
    "passes",
  ],
  [
    "one host of a grant of all",
    "--allow-net",
    () => ({ name: "net", host: "127.0.0.1" }),
    "127.0.0.1",
    "passes",
  ],
  [
    "reading",
    "--allow-net --allow-read --allow-write",
    () => ({ name: "read" }),
    "path",
    "NotCapable",
  ],
  [
    "writing",
    "--allow-net --allow-read --allow-write",
    () => ({ name: "write" }),
    "path",
    "NotCapable",
  ],
  [
    "writing one path",
    "--allow-net --allow-read --allow-write=DIR/x.sock",
    ({ folder }) => ({ name: "write", path: `${folder}/x.sock` }),
    "path",
    "NotCapable",
  ],
  [
    "the net, for a path",
    "--allow-net --allow-read --allow-write",
    () => ({ name: "net" }),
    "path",
    "NotCapable",
  ],
];

for (const [name, flags, descriptor, targetName, after] of REVOCATIONS) {
  test(`tryConnect() and its like end as Deno.connect does after a revoke of ${name}`, async () => {
    await using peers = openPeers();
    const targets = targetsOf(peers).filter(({ name }) => name === targetName);
    const steps = await inChild(flagsFor(flags, peers), tryRevoked, [
      { descriptor: null, targets },
      { descriptor: descriptor(peers), targets },
    ]);
    steps.flat().forEach(assertSame);
    assertEquals(steps.map(([outcome]) => outcome!.theirs), ["passes", after]);
  });
}

// Sockets that were connected by somebody else --------------------------------

interface Adopted {
  before: string;
  after: string;
  /** The same on a socket of our own, and on a connection of the runtime's. */
  own: string;
  theirs: string;
  received: string;
}

/** Sends on adopted descriptors, before and after a revoke. Runs in the child. */
async function sendAdopted(
  { mod, floor }: Modules,
  { port, revoke }: { port: number; revoke: boolean },
): Promise<Adopted> {
  const address = mod.inet("127.0.0.1", port);
  /** A descriptor that got its peer behind the back of the permissions. */
  function connected(): number {
    const socket = mod.Socket.open({ type: "dgram" });
    const bytes = address.toBytes();
    floor.libc().connect(socket.fd, bytes, bytes.length);
    return socket.detach();
  }
  function send(socket: Socket): string {
    try {
      return `${socket.sendSync(new Uint8Array(1))}`;
    } catch (error) {
      return (error as Error).name;
    }
  }
  using adopted = mod.Socket.fromFd(connected());
  using own = mod.Socket.open({ type: "dgram" });
  own.tryConnect(address);
  let theirs: Deno.Conn | null = null;
  if (revoke) theirs = await Deno.connect({ hostname: "127.0.0.1", port });
  const before = send(adopted);
  if (revoke) Deno.permissions.revokeSync({ name: "net" });
  const result = {
    before,
    after: send(adopted),
    own: send(own),
    theirs: "",
    received: "",
  };
  if (theirs !== null) {
    try {
      result.theirs = `${await theirs.write(new Uint8Array(1))}`;
    } catch (error) {
      result.theirs = (error as Error).name;
    }
    theirs.close();
  }
  try {
    adopted.recvSync(new Uint8Array(1), {
      flags: floor.libc().abi.MSG_DONTWAIT,
    });
  } catch (error) {
    result.received = error instanceof mod.ErrnoError
      ? "passes"
      : (error as Error).name;
  }
  return result;
}

const ADOPTED: readonly (readonly [flags: string, end: string])[] = [
  ["--allow-net", "1"],
  ["--allow-net=127.0.0.1", "1"],
  ["--allow-net=127.0.0.1:PORT", "1"],
  ["--allow-net --deny-net=127.0.0.2", "1"],
  ["", "NotCapable"],
  ["--allow-net=127.0.0.2", "NotCapable"],
  ["--allow-net --deny-net=127.0.0.1", "NotCapable"],
];

for (const [flags, end] of ADOPTED) {
  test(`sendSync() on an adopted socket ends in ${end} with ${flags || "no net"}`, async () => {
    await using peers = openPeers();
    using receiver = Socket.open({ type: "dgram" });
    receiver.bind(inet("127.0.0.1", peers.port));
    const { before, received } = await inChild(
      flagsFor(flags, peers),
      sendAdopted,
      { port: peers.port, revoke: false },
    );
    assertEquals(before, end);
    // Receiving goes by no address, as on the runtime's own sockets.
    assertEquals(received, "passes");
  });
}

test("an adopted socket is handed over where its peer may be reached, and nowhere else", async () => {
  await using peers = openPeers();
  for (const flags of ["--allow-net=127.0.0.1", "--allow-net=127.0.0.2", ""]) {
    const verdicts = await inChild(
      flagsFor(flags, peers),
      async ({ mod, floor }: Modules, port: number) => {
        const c = floor.libc();
        const own = mod.Socket.open();
        const bytes = mod.inet("127.0.0.1", port).toBytes();
        c.connect(own.fd, bytes, bytes.length);
        using adopted = mod.Socket.fromFd(own.detach());
        async function verdict(run: () => unknown): Promise<string> {
          try {
            await run();
            return "passes";
          } catch (error) {
            // The peer is one that hangs up.
            return error instanceof mod.ErrnoError
              ? "passes"
              : (error as Error).name;
          }
        }
        return [
          await verdict(() => adopted.writable.getWriter().write(bytes)),
          await verdict(() => adopted.sendAll("x")),
          await verdict(() => adopted.toNodeSocket().destroy()),
        ];
      },
      peers.port,
    );
    const expected = flags.endsWith(".1") ? "passes" : "NotCapable";
    assertEquals(verdicts, [expected, expected, expected], flags);
  }
});

test("sendSync() stops on an adopted socket and goes on by our own when net is revoked", async () => {
  await using peers = openPeers();
  using receiver = Socket.open({ type: "dgram" });
  receiver.bind(inet("127.0.0.1", peers.port));
  const { before, after, own, theirs } = await inChild(
    ["--allow-ffi", "--allow-net"],
    sendAdopted,
    { port: peers.port, revoke: true },
  );
  assertEquals([before, after], ["1", "NotCapable"]);
  // A connection that was allowed stays one, for the runtime as for us.
  assertEquals([own, theirs], ["1", "1"]);
});

// Addresses that no rule can name --------------------------------------------

interface Odd {
  ends: Record<string, string>;
}

/** Sends to the same peer under odd spellings of its address. Runs in the child. */
function sendOdd(
  { mod, floor }: Modules,
  { port, path }: { port: number; path: string },
): Odd {
  const { Socket } = mod;
  const { abi } = floor.libc();
  function changed(change: (bytes: Uint8Array) => Uint8Array): Address {
    return mod.rawAddress(change(mod.inet("127.0.0.1", port).toBytes()));
  }
  const odd: Record<string, Address> = {
    // Linux takes AF_UNSPEC for AF_INET when a datagram is sent.
    "AF_UNSPEC": changed((bytes) => {
      bytes[abi.sockaddr.family] = abi.AF_UNSPEC;
      return bytes;
    }),
    "padding": changed((bytes) => {
      bytes[abi.sockaddrIn.size - 1] = 1;
      return bytes;
    }),
    "length": changed((bytes) => {
      const longer = new Uint8Array(bytes.length + 8);
      longer.set(bytes);
      return longer;
    }),
  };
  const ends: Record<string, string> = {};
  function note(name: string, run: () => unknown): void {
    try {
      run();
      ends[name] = "passes";
    } catch (error) {
      ends[name] = (error as Error).name;
    }
  }
  for (const [name, address] of Object.entries(odd)) {
    note(`sendSync ${name}`, () => {
      using socket = Socket.open({ type: "dgram" });
      socket.sendSync(new TextEncoder().encode(name), { to: address });
    });
    note(`connectSync ${name}`, () => {
      using socket = Socket.open({ type: "dgram" });
      socket.connectSync(address);
    });
    using socket = Socket.open({ type: "dgram" });
    const errno = mod.errnoName(socket.tryConnect(address));
    ends[`tryConnect ${name}`] = errno === "EACCES" ? "NotCapable" : "passes";
  }
  // A path with something behind its end, which the kernel does not look at.
  const bytes = mod.unix(path).toBytes();
  const longer = new Uint8Array(bytes.length + 2).fill(120);
  longer.set(bytes);
  const address = mod.rawAddress(longer);
  using socket = Socket.open({ family: "unix" });
  ends["tryConnect path"] = mod.errnoName(socket.tryConnect(address));
  note("connectSync path", () => {
    using socket = Socket.open({ family: "unix" });
    socket.connectSync(address);
  });
  return { ends };
}

const ODD: readonly (readonly [flags: string, net: string, path: string])[] = [
  ["--allow-all", "passes", "passes"],
  // What no rule can name may lie in /proc, which wants everything granted.
  ["--allow-net --allow-read --allow-write", "passes", "NotCapable"],
  ["--allow-net", "passes", "NotCapable"],
  ["--allow-net --allow-read --allow-write=DIR", "passes", "NotCapable"],
  ["--allow-net --allow-read=DIR --allow-write", "passes", "NotCapable"],
  ["--allow-net=127.0.0.2 --allow-read --allow-write", ...refused()],
  ["--allow-net=127.0.0.1 --allow-read --allow-write", ...refused()],
  ["--allow-net --deny-net=127.0.0.1", ...refused()],
  ["--allow-net --deny-net=127.0.0.2", ...refused()],
  ["--allow-read --allow-write", ...refused()],
];

function refused(): [string, string] {
  return ["NotCapable", "NotCapable"];
}

for (const [flags, net, path] of ODD) {
  const name = `with ${flags}`;
  test(`rawAddress() gets ${net}, a path ${path}, ${name}`, async () => {
    await using peers = openPeers();
    using receiver = Socket.open({ type: "dgram", nonblocking: true });
    receiver.bind(inet("127.0.0.1", peers.port));
    const { ends } = await inChild(flagsFor(flags, peers), sendOdd, {
      port: peers.port,
      path: `${peers.folder}/x.sock`,
    });
    for (const [way, end] of Object.entries(ends)) {
      if (!way.endsWith(" path")) assertEquals(end, net, way);
    }
    assertEquals(ends["connectSync path"], path);
    assertEquals(
      ends["tryConnect path"],
      path === "NotCapable" ? "EACCES" : "UNKNOWN", // 0 is no errno
    );
    const arrived: string[] = [];
    const buffer = new Uint8Array(64);
    while (receiver.poll("POLLIN", 0).includes("POLLIN")) {
      const size = receiver.recvSync(buffer);
      arrived.push(new TextDecoder().decode(buffer.subarray(0, size)));
    }
    if (net === "NotCapable") {
      assertEquals(arrived, []);
    } else {
      // The danger is real: all of them reach the peer where nothing stops them.
      assertEquals(arrived.sort(), ["AF_UNSPEC", "length", "padding"]);
    }
  }, {
    skip: hostAbi()?.os === "linux"
      ? null
      : "which odd spellings a kernel takes is known for Linux only",
  });
}

// Options by number ------------------------------------------------------------

/** Options of Linux, and whether they stay between this machine and the peer. */
const NUMBERED: readonly (readonly [
  name: string,
  level: number,
  option: number,
  local: boolean,
])[] = [
  ["SO_KEEPALIVE", 1, 9, true],
  ["SO_PEEK_OFF", 1, 42, true],
  ["TCP_NODELAY", 6, 1, true],
  ["TCP_DEFER_ACCEPT", 6, 9, true],
  ["IP_TTL", 0, 2, true],
  ["IP_RECVERR", 0, 11, true],
  ["IP_OPTIONS", 0, 4, false],
  ["IP_HDRINCL", 0, 3, false],
  ["IP_ADD_MEMBERSHIP", 0, 35, false],
  ["MCAST_JOIN_GROUP", 0, 42, false],
  ["IPV6_UNICAST_HOPS", 41, 16, true],
  ["IPV6_ADD_MEMBERSHIP", 41, 20, false],
  ["IPV6_RTHDR", 41, 57, false],
  ["IPV6_DSTOPTS", 41, 59, false],
  ["IPV6_PKTINFO", 41, 50, false],
  ["UDP_ENCAP", 17, 100, false],
  ["SCTP_SOCKOPT_CONNECTX", 132, 110, false],
  ["an option of no level", 9999, 1, false],
];

for (
  const [flags, passes] of [
    ["--allow-net", true],
    ["--allow-net=127.0.0.1", false],
    ["--allow-net --deny-net=127.0.0.2", false],
    ["", false],
  ] as const
) {
  test(
    `options by number reach ${passes ? "all" : "no network"} with ${
      flags || "no net"
    }`,
    async () => {
      const rows = NUMBERED.filter(([, level]) =>
        level !== 41 || canIpv6() === null
      );
      const verdicts = await inChild(
        ["--allow-ffi", ...flags.split(" ").filter(Boolean)],
        ({ mod }: Modules, numbered: typeof NUMBERED) => {
          const { Socket } = mod;
          function verdict(run: () => void): string {
            try {
              run();
              return "passes";
            } catch (error) {
              return error instanceof mod.ErrnoError
                ? "passes"
                : (error as Error).name;
            }
          }
          return numbered.map(([name, level, option]) => {
            const family = level === 41 ? "inet6" : "inet";
            using socket = Socket.open({ family, type: "dgram" });
            return [
              name,
              verdict(() => socket.setOption(level, option, 0)),
              verdict(() =>
                socket.setOption(level, option, new Uint8Array(20))
              ),
              verdict(() => socket.getOption(level, option, 20)),
            ] as const;
          });
        },
        rows,
      );
      for (const [i, [name, int, bytes, read]] of verdicts.entries()) {
        const [, level, , local] = rows[i]!;
        const expected = local || passes ? "passes" : "NotCapable";
        assertEquals([int, bytes], [expected, expected], name);
        const isKnown = [0, 1, 6, 41].includes(level);
        assertEquals(read, isKnown || passes ? "passes" : "NotCapable", name);
      }
    },
    { skip: onLinux },
  );
}

// Which file a path leads to ---------------------------------------------------

/** Sockets in two folders of which one is not to be reached, each with a greeting of its own. */
function openHouse(): AsyncDisposable & { folder: string } {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "permissions-")));
  mkdirSync(`${folder}/ok/deep`, { recursive: true });
  mkdirSync(`${folder}/secret/inner`, { recursive: true });
  // By way of this one the kernel and a rule about text go different ways.
  symlinkSync(`${folder}/secret/inner`, `${folder}/ok/link`);
  symlinkSync(`${folder}/secret`, `${folder}/ok/other`);
  symlinkSync("/proc/self/root", `${folder}/ok/magic`);
  const listeners = ["ok/s.sock", "ok/deep/t.sock", "secret/s.sock"].map(
    (name) => {
      const path = `${folder}/${name}`;
      return [name, Deno.listen({ transport: "unix", path })] as const;
    },
  );
  const done = listeners.map(async ([name, listener]) => {
    for await (const connection of listener) {
      // A peer that is gone by now needs no greeting.
      await connection.write(new TextEncoder().encode(name)).catch(() => {});
      connection.close();
    }
  });
  return {
    folder,
    async [Symbol.asyncDispose]() {
      for (const [, listener] of listeners) listener.close();
      await Promise.all(done);
      rmSync(folder, { recursive: true });
    },
  };
}

/** Where each path leads by every way, in the child. */
async function follow(
  { mod }: Modules,
  { paths, folder }: { paths: readonly string[]; folder: string },
): Promise<[path: string, ours: string[], theirs: string][]> {
  const { Socket, unix } = mod;

  async function reached(
    connect: () => unknown,
  ): Promise<string> {
    try {
      // deno-lint-ignore no-explicit-any
      const connection = await connect() as any;
      const buffer = new Uint8Array(64);
      const size = await connection.read(buffer);
      connection.close();
      return new TextDecoder().decode(buffer.subarray(0, size));
    } catch (error) {
      const { name, code } = error as { name: string; code?: string };
      const isTheirs = name === "NotCapable" || name in Deno.errors;
      return name === "NotFound"
        ? "ENOENT"
        : name === "NotADirectory"
        ? "ENOTDIR"
        : isTheirs
        ? name
        : code ?? `${error}`;
    }
  }
  const outcomes: [string, string[], string][] = [];
  for (const path of paths) {
    const ours = [
      await reached(() => mod.connectSync({ transport: "unix", path })),
      await reached(() => {
        const pending = mod.connect({ transport: "unix", path });
        // The folder is another one before the attempt has begun.
        Deno.chdir(`${folder}/ok/deep`);
        return pending.finally(() => Deno.chdir(`${folder}/ok`));
      }),
      await reached(() => {
        const socket = Socket.open({ family: "unix" });
        try {
          socket.connectSync(unix(path));
        } catch (error) {
          socket.close();
          throw error;
        }
        return socket;
      }),
      await reached(() => {
        const socket = Socket.open({ family: "unix" });
        const errno = socket.tryConnect(unix(path));
        if (errno === 0) return socket;
        socket.close();
        const code = mod.errnoName(errno);
        throw { name: code === "EACCES" ? "NotCapable" : "", code };
      }),
    ];
    const theirs = await reached(() =>
      Deno.connect({ transport: "unix", path })
    );
    outcomes.push([path, ours, theirs]);
  }
  return outcomes;
}

const HOUSES: readonly string[] = [
  "--allow-net --allow-read --allow-write",
  "--allow-net --allow-read --allow-write --deny-read=DIR/secret",
  "--allow-net --allow-read --allow-write --deny-net=unix:DIR/secret/s.sock",
  "--allow-net --allow-read=DIR/ok --allow-write=DIR/ok",
  "--allow-net --allow-read=DIR/ok --allow-write=DIR",
  "--allow-net=unix:DIR/ok/s.sock --allow-read=DIR/ok --allow-write=DIR/ok",
  "--allow-net=unix:DIR/ok/s.sock --allow-read --allow-write",
];

for (const flags of HOUSES) {
  test(
    `a Unix path leads where Deno.connect's does with ${flags}`,
    async () => {
      await using house = openHouse();
      const { folder } = house;
      const spellings = [
        `${folder}/ok/s.sock`,
        "s.sock",
        "./s.sock",
        "deep/../s.sock",
        "deep/./t.sock",
        "deep//t.sock",
        "link/../s.sock",
        "other/s.sock",
        "other/inner/../s.sock",
        "../secret/s.sock",
        "../ok/s.sock",
        `${folder}//ok///s.sock`,
        `${folder}/ok/s.sock/`,
        `${folder}/ok/s.sock/.`,
        `${folder}/secret/s.sock`,
        `${folder}/ok/../secret/s.sock`,
        `${folder}/ok/link/../s.sock`,
        `/..${folder}/ok/s.sock`,
        `/proc/self/root${folder}/secret/s.sock`,
        `/proc/self/cwd/s.sock`,
        `/proc/thread-self/root${folder}/secret/s.sock`,
        `/dev/fd/../root${folder}/secret/s.sock`,
        `//proc/self/root${folder}/secret/s.sock`,
        `/./proc/self/root${folder}/secret/s.sock`,
        `/tmp/../proc/self/root${folder}/secret/s.sock`,
        `magic${folder}/secret/s.sock`,
        `/sys/${folder}/s.sock`,
        "s.sock\u0301",
      ];
      const outcomes = await inChild(
        ["--allow-ffi", ...flags.replaceAll("DIR", folder).split(" ")],
        follow,
        { paths: spellings, folder },
        { cwd: `${folder}/ok` },
      );
      for (const [path, ours, theirs] of outcomes) {
        for (const our of ours) assertEquals(our, theirs, path);
      }
      assertEquals(outcomes[0]![2], "ok/s.sock");
      assert(outcomes.some(([, , theirs]) => theirs === "NotCapable"));
    },
    { skip: onLinux },
  );
}

test("a path that is no text wants everything granted", async () => {
  await using house = openHouse();
  const { folder } = house;
  // A rule would be asked about U+FFFD in the place of this byte.
  const raw = unix(`${folder}/ok/x`).toBytes();
  raw[raw.length - 2] = 0xff;
  using socket = Socket.open({ family: "unix" });
  socket.bind(rawAddress(raw));
  const verdicts = await inChild(
    ["--allow-ffi", "--allow-net", "--allow-read", "--allow-write"],
    ({ mod }: Modules, bytes: number[]) => {
      const address = mod.rawAddress(new Uint8Array(bytes));
      using socket = mod.Socket.open({ family: "unix" });
      try {
        socket.connectSync(address);
        return ["passes"];
      } catch (error) {
        return [
          (error as Error).name,
          mod.errnoName(socket.tryConnect(address)),
        ];
      }
    },
    Array.from(raw),
  );
  assertEquals(verdicts, ["NotCapable", "EACCES"]);
}, { skip: onLinux });

// The permission for FFI ------------------------------------------------------

test("mod.ts needs no permission when addresses and errors are all that is used", async () => {
  const result = await inChild(
    [],
    ({ mod }: Modules) => {
      const error = new mod.Errno.ECONNREFUSED({ syscall: "connect" });
      return [
        `${mod.inet("127.0.0.1", 80)}`,
        `${mod.inet6("::1", 80)}`,
        `${mod.unix("/run/x.sock")}`,
        `${mod.rawAddress(mod.inet("127.0.0.1", 80).toBytes())}`,
        mod.isErrno(error, "ECONNREFUSED"),
        mod.isErrno(error, "ECONNRESET"),
        mod.errnoName(error.errno),
        error.message,
      ];
    },
    null,
    { internals: false },
  );
  assertEquals(result, [
    "127.0.0.1:80",
    "[::1]:80",
    "unix:/run/x.sock",
    "127.0.0.1:80",
    true,
    false,
    "ECONNREFUSED",
    "Cannot connect: connection refused (ECONNREFUSED)",
  ]);
});

interface Refusals {
  theirs: string;
  ours: Record<string, string>;
}

/** Collects the errors of everything that has to open the library. Runs in the child. */
function refuse({ mod }: Modules, library: string): Refusals {
  function caught(run: () => unknown): string {
    try {
      run();
      return "passes";
    } catch (error) {
      const is = error instanceof Deno.errors.NotCapable;
      return `${is} ${(error as Error).message}`;
    }
  }
  return {
    theirs: caught(() => Deno.dlopen(library, {}).close()),
    ours: {
      "Socket.open": caught(() => mod.Socket.open().close()),
      "Socket.fromFd": caught(() => mod.Socket.fromFd(0)),
      "connectSync": caught(() =>
        mod.connectSync({ hostname: "127.0.0.1", port: 9 })
      ),
      "inet6": caught(() => mod.inet6("fe80::1%nosuchinterface", 9)),
      "again": caught(() => mod.Socket.open().close()),
    },
  };
}

const [library] = hostAbi()?.libraries ?? [];
/** Where the library lies, by the first of its paths that is there. */
const path = hostAbi()?.libraries.find((name) =>
  name.startsWith("/") && existsSync(name)
);

for (
  const flags of ["", "--allow-net", "--deny-ffi", "--allow-ffi=/nowhere/else"]
) {
  test(`Socket.open() and its like throw Deno's own NotCapable with ${flags || "no permission"}`, async () => {
    const { theirs, ours } = await inChild(
      flags === "" ? [] : [flags],
      refuse,
      library!,
      { internals: false },
    );
    assertStringIncludes(theirs, "true Requires ffi access");
    for (const [way, our] of Object.entries(ours)) {
      assertEquals(our, theirs, way);
    }
  });
}

test(
  "Socket.open() throws NotCapable when the library's own path is denied",
  async () => {
    const libraries = hostAbi()!.libraries.filter((name) =>
      name.startsWith("/")
    );
    const { ours } = await inChild(
      [`--allow-ffi=${path}`, `--deny-ffi=${libraries}`],
      refuse,
      library!,
      { internals: false },
    );
    assertStringIncludes(ours["Socket.open"]!, "true Requires ffi access");
  },
  { skip: path === undefined ? "no library lies at a known path" : null },
);

const SCOPES: readonly string[] = [
  "--allow-ffi",
  `--allow-ffi=${path}`,
  `--allow-ffi=/nowhere/else,${path}`,
  `--allow-ffi=${path?.slice(0, path.lastIndexOf("/"))}`,
  "--allow-ffi --deny-ffi=/nowhere/else",
];

for (const flags of SCOPES) {
  test(`connectSync() works end to end with ${flags}`, async () => {
    await using peers = openPeers();
    const [first, ...others] = await inChild(
      [...flags.split(" "), "--allow-net=127.0.0.1,localhost"],
      tryAll,
      targetsOf(peers).filter(({ name }) =>
        ["127.0.0.1", "localhost", "::1"].includes(name)
      ),
    );
    assertSame(first!);
    others.forEach(assertSame);
    assertEquals(first!.ours["connectSync"], "passes");
    assertEquals(
      [first, ...others].map((outcome) => outcome!.theirs),
      ["passes", "passes", ...canIpv6() === null ? ["NotCapable"] : []],
    );
  }, { skip: path === undefined ? "no library lies at a known path" : null });
}

test("preload() opens all that anything needs, before FFI is given up", async () => {
  await using peers = openPeers();
  const outcome = await inChild(
    ["--allow-ffi", "--allow-net"],
    async ({ mod }: Modules, port: number) => {
      mod.preload();
      Deno.permissions.revokeSync({ name: "ffi" });
      using socket = await mod.connect({ port, timeout: 5000 });
      await socket.ready("POLLIN", { timeout: 5000 });
      using named = await mod.connect({
        hostname: "localhost",
        port,
        timeout: 5000,
      });
      const size = await named.recv(new Uint8Array(1), { timeout: 5000 });
      const [one, other] = mod.Socket.pair();
      one.sendSync("x");
      const left = other.recvSync(new Uint8Array(4));
      one.close();
      other.close();
      return [size, left, socket.tcpInfo().state !== ""];
    },
    peers.port,
  );
  assertEquals(outcome, [0, 1, true]);
});

test("preload() leaves nothing for sanitizeResources to find", async () => {
  const folder = mkdtempSync(join(tmpdir(), "permissions-"));
  try {
    const file = join(folder, "own_test.ts");
    const body = (call: string) => `
      import { connect, preload } from ${JSON.stringify(`${root}mod.ts`)};
      ${call}
      Deno.test("it listens", { sanitizeResources: true }, async () => {
        const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
        const socket = await connect({ port: listener.addr.port, timeout: 9e4 });
        await socket.ready("POLLIN", { timeout: 5 });
        socket.close();
        listener.close();
      });
    `;
    const codes: number[] = [];
    for (const call of ["", "preload();"]) {
      writeFileSync(file, body(call));
      const args = ["test", "-A", "--no-check", "--no-config", "--quiet", file];
      const { code } = await new Deno.Command(runtime, { args }).output();
      codes.push(code);
    }
    assertEquals(codes, [1, 0]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("connectSync() throws NotCapable in Deno's own words", async () => {
  await using peers = openPeers();
  const path = `${peers.folder}/x.sock`;
  const refusals = await inChild(
    ["--allow-ffi", "--allow-net=127.0.0.1", `--allow-read=${path}`],
    async ({ mod }: Modules, targets: Target[]) => {
      const pairs: [ours: string, theirs: string][] = [];
      for (const { options } of targets) {
        const pair: [string, string] = ["", ""];
        try {
          mod.connectSync(options).close();
        } catch (error) {
          pair[0] = `${error}`;
        }
        try {
          (await Deno.connect(options as Deno.ConnectOptions)).close();
        } catch (error) {
          pair[1] = `${error}`;
        }
        pairs.push(pair);
      }
      return pairs;
    },
    targetsOf(peers).filter(({ name }) =>
      ["127.0.0.2", "localhost", "::1", "path", "relative path", "vsock"]
        .includes(name)
    ),
    { cwd: peers.folder },
  );
  for (const [ours, theirs] of refusals) {
    assertStringIncludes(theirs, "NotCapable: Requires ");
    assertEquals(ours, theirs);
  }
  assert(refusals.length >= 5);
});

// Names that are looked up and not connected to ---------------------------------

test("lookup() and lookupSync() want what connect() wants of a name", async () => {
  const rows: readonly (readonly [flags: string[], passes: boolean[]])[] = [
    [["--allow-net"], [true, true, true]],
    [["--allow-net=localhost:80"], [true, false, false]],
    [["--allow-net=localhost"], [true, true, false]],
    [["--allow-net=127.0.0.1"], [false, false, true]],
    [["--allow-net", "--deny-net=localhost:80"], [false, true, true]],
    [["--allow-net", "--deny-net=127.0.0.1"], [false, false, false]],
    [[], [false, false, false]],
  ];
  for (const [flags, passes] of rows) {
    const ends = await inChild(
      ["--allow-ffi", ...flags],
      async ({ mod: { lookup, lookupSync } }, _) => {
        const ends: string[][] = [];
        const targets = [["localhost", 80], ["localhost", 81], [
          "127.0.0.1",
          9,
        ]];
        for (const [hostname, port] of targets as [string, number][]) {
          const row: string[] = [];
          for (const run of [lookup, lookupSync]) {
            try {
              row.push(`${await run(hostname, { port, family: "inet" })}`);
            } catch (error) {
              row.push((error as Error).name);
            }
          }
          ends.push(row);
        }
        return ends;
      },
      null,
    );
    const expected = [80, 81, 9].map((port, i) =>
      new Array(2).fill(passes[i] ? `127.0.0.1:${port}` : "NotCapable")
    );
    assertEquals(ends, expected, `${flags}`);
  }
});

test("probe() reports hosts that are denied, unless all of them are", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const flags = ["--allow-ffi", `--allow-net=127.0.0.1:${port},localhost`];
  const found = await inChild(flags, async ({ tools }, port) => {
    async function run(hosts: string[], threads: number): Promise<string[]> {
      const found: string[] = [];
      const targets = hosts.map((hostname) => ({ hostname, port }));
      try {
        for await (const result of tools.probe(targets, { threads })) {
          const { index, state, reason, code, error } = result;
          found[index] = `${state} ${reason} ${code} ${error?.name ?? ""}`;
        }
      } catch (error) {
        return [(error as Error).name];
      }
      return found;
    }
    return [
      await run(["127.0.0.2", "127.0.0.1", "no.test", "127.0.0.3"], 1),
      await run(["127.0.0.2", "no.test"], 1),
      await run(["127.0.0.1", "127.0.0.2"], 2),
    ];
  }, port);
  const denied = "unsent errno EACCES NotCapable";
  assertEquals(found, [
    [denied, "open syn-ack null ", denied, denied],
    ["NotCapable"],
    ["open syn-ack null ", denied],
  ]);
});

test("probe() holds back a limited number of denied hosts", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const flags = ["--allow-ffi", `--allow-net=127.0.0.1:${port}`];
  const found = await inChild(flags, async ({ tools }, port) => {
    let made = 0;
    function* denied(
      count: number,
    ): Generator<{ hostname: string; port: number }> {
      for (; made < count; made++) yield { hostname: "127.0.0.2", port };
    }
    // Of all of them nothing is known until the end.
    const counts: Record<string, number> = {};
    let end = "";
    try {
      for await (const { code } of tools.probe(denied(3000))) {
        counts[`${code}`] = (counts[`${code}`] ?? 0) + 1;
      }
    } catch (error) {
      end = (error as Error).name;
    }
    // Without end they wait for their reader.
    made = 0;
    const run = tools.probe(denied(Infinity));
    await run.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const most = made;
    await run.return();
    return { counts, end, most };
  }, port);
  assertEquals(found.end, "NotCapable");
  assert(found.counts["EACCES"]! >= 1024, JSON.stringify(found));
  assert(found.most < 10_000, `${found.most} were made`);
});

test("waitFor() and ping() end when the files of a socket are given up", async () => {
  await using peers = openPeers();
  const { folder } = peers;
  for (const flags of ["--allow-net --allow-read --allow-write", "-A"]) {
    const found = await inChild(
      [...flags === "-A" ? [] : ["--allow-ffi"], ...flags.split(" ")],
      async ({ tools }, folder) => {
        async function pinged(path: string): Promise<void> {
          const targets = [{ transport: "unix", path }] as const;
          const options = { count: 1000, interval: 10 };
          for await (const _ of tools.ping(targets, options));
        }
        const closed = { until: "closed", timeout: 60_000 } as const;
        const running = [`${folder}/x.sock`, "x.sock", "./x.sock"]
          .flatMap((path) => [
            tools.waitFor({ transport: "unix", path }, closed),
            pinged(path),
          ]).map((run) => run.then(() => "done", (error: Error) => error.name));
        await new Promise((resolve) => setTimeout(resolve, 100));
        const { Deno } = globalThis as unknown as {
          Deno: { permissions: { revokeSync(descriptor: object): unknown } };
        };
        Deno.permissions.revokeSync({ name: "write" });
        return await Promise.all(running);
      },
      folder,
      { cwd: folder },
    );
    assertEquals(found, Array(6).fill("NotCapable"));
  }
});

test("waitFor() and ping() end when the permission is given up", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const found = await inChild(
    ["--allow-ffi", "--allow-net"],
    async ({ tools }, port) => {
      async function pinged(hostname: string): Promise<void> {
        const targets = [{ hostname, port }];
        const options = { count: 1000, interval: 10 };
        for await (const _ of tools.ping(targets, options));
      }
      const closed = { until: "closed", timeout: 60_000 } as const;
      const running = ["127.0.0.1", "localhost"].flatMap((hostname) => [
        tools.waitFor({ hostname, port }, closed),
        pinged(hostname),
      ]).map((run) => run.then(() => "done", (error: Error) => error.name));
      await new Promise((resolve) => setTimeout(resolve, 100));
      const { Deno } = globalThis as unknown as {
        Deno: { permissions: { revokeSync(descriptor: object): unknown } };
      };
      Deno.permissions.revokeSync({ name: "net" });
      return await Promise.all(running);
    },
    port,
  );
  assertEquals(found, Array(4).fill("NotCapable"));
});

for (const isEarly of [true, false]) {
  const when = isEarly ? "before" : "after";
  test(`a prototype polluted ${when} the first use gets no permission`, async () => {
    using listener = Deno.listen({ hostname: "127.0.0.2", port: 0 });
    const { port } = listener.addr;
    const folder = await Deno.makeTempDir();
    const flags = [
      "--allow-ffi",
      "--allow-net=127.0.0.1",
      `--allow-read=${folder}`,
      `--allow-write=${folder}`,
    ];
    const found = await inChild(
      flags,
      async ({ mod, tools }, { port, folder, isEarly }) => {
        const { connectSync, Socket, inet, rawAddress } = mod;
        const prototype = Object.prototype as unknown as Record<
          string,
          unknown
        >;
        const polluted: Record<string, unknown> = {
          name: "getpid",
          kind: "none",
          host: "127.0.0.1",
          path: folder,
        };
        function first(): void {
          const { tryConnect, close } = Socket.prototype;
          const socket = Socket.open();
          tryConnect.call(socket, inet("127.0.0.1", 9));
          close.call(socket);
        }
        if (!isEarly) first();
        Object.assign(prototype, polluted);
        const tries: (() => unknown)[] = [
          () => connectSync({ hostname: "127.0.0.2", port }),
          () => connectSync({ hostname: "localhost", port }),
          () => connectSync({ transport: "unix", path: "/nowhere/x.sock" }),
          () => connectSync({ transport: "unix", path: "\0einprogress" }),
          () => {
            const bytes = inet("127.0.0.2", port).toBytes();
            bytes[15] = 1;
            return Socket.open().connectSync(rawAddress(bytes.slice(0, 15)));
          },
          () => tools.waitFor([{ hostname: "127.0.0.2", port }]),
          async () => {
            for await (
              const _ of tools.probe([{ hostname: "127.0.0.2", port }])
            );
          },
        ];
        const names: string[] = [];
        for (const run of tries) {
          try {
            await run();
            names.push("passes");
          } catch (error) {
            names.push((error as Error).name);
          }
        }
        for (const key of Object.keys(polluted)) delete prototype[key];
        return names;
      },
      { port, folder, isEarly },
    );
    await Deno.remove(folder);
    assertEquals(found, Array(7).fill("NotCapable"));
  });
}

test("a socket that says it has another address gets no permission by it", async () => {
  const found = await inChild(
    ["--allow-ffi", "--allow-net=127.0.0.1:9"],
    ({ mod }) => {
      const { inet, Socket } = mod;
      const allowed = { value: inet("127.0.0.1", 9), configurable: true };
      const own = Socket.open();
      Object.defineProperty(own, "localAddress", allowed);
      const datagrams = Socket.fromFd(Socket.open({ type: "dgram" }).detach());
      Object.defineProperty(datagrams, "remoteAddress", allowed);
      const inherited = Socket.open();
      const names: string[] = [];
      const tries: (() => unknown)[] = [
        () => own.listen(),
        () => datagrams.sendSync("x"),
        () => {
          Object.defineProperty(Socket.prototype, "localAddress", allowed);
          inherited.listen();
        },
      ];
      for (const run of tries) {
        try {
          run();
          names.push("passes");
        } catch (error) {
          names.push((error as Error).name);
        }
      }
      return names;
    },
    null,
  );
  assertEquals(found, Array(3).fill("NotCapable"));
});

test("datagrams from everybody want what listening wants", async () => {
  const found = await inChild(
    ["--allow-ffi", "--allow-net=127.0.0.1"],
    async ({ mod }) => {
      const { inet, Socket } = mod;
      using peer = Socket.open({ type: "dgram" });
      peer.bind(inet("127.0.0.1", 0));
      const at = peer.localAddress;
      const bytes = new Uint8Array(8);
      const ways: Readonly<
        Record<string, (socket: Socket) => unknown>
      > = {
        recvSync: (socket) => socket.recvSync(bytes),
        recvFromSync: (socket) => socket.recvFromSync(bytes),
        recv: (socket) => socket.recv(bytes),
        recvFrom: (socket) => socket.recvFrom(bytes),
        read: (socket) => socket.read(bytes),
        readable: (socket) => socket.readable.getReader().read(),
      };
      const kinds: Readonly<
        Record<string, (socket: Socket) => unknown>
      > = {
        open: (socket) => socket.sendSync("x", { to: at }),
        bound: (socket) => socket.bind(inet("127.0.0.1", 0)),
        connected: (socket) => socket.connectSync(at),
        left: (socket) => socket.connectSync(at),
        disconnected(socket) {
          socket.connectSync(at);
          socket.disconnect();
        },
      };
      const names: Record<string, string[]> = {};
      for (const [kind, make] of Object.entries(kinds)) {
        names[kind] = [];
        for (const receive of Object.values(ways)) {
          using socket = Socket.open({ type: "dgram", nonblocking: true });
          make(socket);
          const { localAddress } = socket;
          if (kind === "bound" || kind === "connected") {
            peer.sendSync("y", { to: localAddress });
          }
          try {
            const received = receive(socket);
            if (kind === "left") {
              socket.disconnect();
              socket.sendSync("x", { to: at });
              const { port } = socket.localAddress as InetAddress;
              peer.sendSync("y", { to: inet("127.0.0.1", port) });
            }
            await received;
            names[kind].push("passes");
          } catch (error) {
            names[kind].push((error as Error).name);
          }
        }
      }
      return names;
    },
    null,
  );
  assertEquals(found, {
    open: Array(6).fill("NotCapable"),
    bound: Array(6).fill("passes"),
    connected: Array(6).fill("passes"),
    // At once there is nothing to receive.
    left: ["Errno.EAGAIN", "Errno.EAGAIN", ...Array(4).fill("NotCapable")],
    disconnected: Array(6).fill("NotCapable"),
  });
});

test("hosts that are called unix and vsock are asked for as hosts", async () => {
  const rows = [["unix,vsock", "LookupError"], ["127.0.0.1", "NotCapable"]];
  for (const [allowed, name] of rows) {
    const names = await inChild(
      ["--allow-ffi", `--allow-net=${allowed}`],
      async ({ mod }, hosts) => {
        const names: string[] = [];
        for (const hostname of hosts) {
          const target = { hostname, port: 9, timeout: 60_000 };
          for (const form of [mod.connect, mod.connectSync]) {
            try {
              (await form(target)).close();
            } catch (error) {
              names.push((error as Error).name);
            }
          }
        }
        return names;
      },
      ["unix", "vsock"],
    );
    assertEquals(names, Array(4).fill(name));
  }
});
