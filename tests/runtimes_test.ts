import { assert, assertEquals } from "@std/assert";
import { execFile } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type * as Package from "../mod.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  interpreter,
  listen,
  PATIENCE,
  tempFolder,
} from "./_fixtures.ts";
import { on, test } from "./_harness.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

/** Ports with what happens at each. */
interface Ports {
  open: number;
  refused: number;
  silent: number;
}

/**
 * What a program does with the package, in a few lines. Its text is what a
 * process of its own runs.
 */
async function program(
  { connect, connectSync, ErrnoError, inet, Socket }: typeof Package,
  { open, refused, silent }: Ports,
): Promise<string[]> {
  const lines: string[] = [];
  function say(name: string, what: unknown): void {
    const text = what instanceof ErrnoError
      ? what.code
      : what instanceof Error
      ? what.name
      : String(what);
    lines.push(`${name}: ${text}`);
  }
  async function attempt(
    name: string,
    act: () => unknown,
  ): Promise<void> {
    try {
      const result = await act();
      if (result instanceof Socket) {
        say(name, result.remoteAddress);
        result.close();
      } else say(name, result);
    } catch (error) {
      say(name, error);
    }
  }
  const hostname = "127.0.0.1";
  await attempt("sync", () => connectSync({ hostname, port: open }));
  await attempt("async", () => connect({ hostname, port: open }));
  await attempt("name", () => connect({ hostname: "localhost", port: open }));
  await attempt("sync refused", () => connectSync({ hostname, port: refused }));
  await attempt("async refused", () => connect({ hostname, port: refused }));
  const late = { hostname, port: silent, timeout: 150 };
  await attempt("sync timeout", () => connectSync(late));
  await attempt("async timeout", () => connect(late));
  const signal = AbortSignal.timeout(150);
  await attempt("abort", () => connect({ hostname, port: silent, signal }));
  await attempt("close", () => {
    const socket = Socket.open();
    const pending = socket.connect(inet(hostname, silent));
    setTimeout(() => socket.close(), 50);
    return pending;
  });
  return lines;
}

function expected({ open }: Ports): string[] {
  return [
    `sync: 127.0.0.1:${open}`,
    `async: 127.0.0.1:${open}`,
    `name: 127.0.0.1:${open}`,
    "sync refused: ECONNREFUSED",
    "async refused: ECONNREFUSED",
    "sync timeout: ETIMEDOUT",
    "async timeout: ETIMEDOUT",
    "abort: TimeoutError",
    "close: ECANCELED",
  ];
}

/** Everything that {@linkcode program} is to meet. */
function peers(): Disposable & { ports: Ports } {
  const open = listen();
  const refused = bound();
  const silent = blackHole();
  return {
    ports: {
      open: open.address.port,
      refused: refused.address.port,
      silent: silent.address.port,
    },
    [Symbol.dispose]() {
      for (const peer of [open, refused, silent]) peer[Symbol.dispose]();
    },
  };
}

interface Ended {
  code: number;
  out: string;
  err: string;
}

/** Runs a script from its standard input, and returns when it has ended. */
function runScript(
  [command, ...args]: readonly string[],
  script: string,
  cwd = root,
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      command!,
      args,
      { cwd, timeout: PATIENCE, killSignal: "SIGKILL" },
      (error, out, err) => {
        const code = error === null ? 0 : Number(error.code ?? -1);
        resolve({ code, out, err });
      },
    );
    child.stdin!.end(script);
  });
}

function scriptFor(specifier: string, ports: Ports): string {
  return `
    const mod = await import(${JSON.stringify(specifier)});
    const program = ${program};
    const lines = await program(mod, ${JSON.stringify(ports)});
    console.log(JSON.stringify(lines));
  `;
}

test("a program works from a checkout, and ends by itself", async () => {
  using all = peers();
  const script = scriptFor(import.meta.resolve("../mod.ts"), all.ports);
  const { code, out, err } = await runScript(interpreter(), script);
  assertEquals(code, 0, err);
  assertEquals(JSON.parse(out), expected(all.ports));
}, { skip: canBlackHole() });

/** Types blanked out, as a registry does for npm, and specifiers with them. */
function translate(text: string): string {
  const { Bun } = globalThis as unknown as {
    Bun?: {
      Transpiler: new (options: { loader: "ts" }) => {
        transformSync(text: string): string;
      };
    };
  };
  const { stripTypeScriptTypes } = process.getBuiltinModule(
    "node:module",
  ) as unknown as { stripTypeScriptTypes(text: string): string };
  const code = Bun === undefined
    ? stripTypeScriptTypes(text)
    : new Bun.Transpiler({ loader: "ts" }).transformSync(text);
  return code.replace(/(from\s*"\.[^"]*)\.ts"/g, '$1.js"');
}

test(
  "a program works with the package as JavaScript in node_modules",
  async () => {
    using folder = tempFolder();
    const target = join(folder.path, "node_modules/@einprogress/connect");
    mkdirSync(target, { recursive: true });
    cpSync(join(root, "mod.ts"), join(target, "mod.ts"));
    for (const part of ["src", "ffi"]) {
      cpSync(join(root, part), join(target, part), { recursive: true });
    }
    for (
      const name of readdirSync(target, { recursive: true, encoding: "utf8" })
    ) {
      if (!name.endsWith(".ts")) continue;
      const path = join(target, name);
      const code = translate(readFileSync(path, "utf8"));
      writeFileSync(path.replace(/\.ts$/, ".js"), code);
      rmSync(path);
    }
    writeFileSync(
      join(target, "package.json"),
      JSON.stringify({
        name: "@einprogress/connect",
        type: "module",
        exports: "./mod.js",
      }),
    );
    using all = peers();
    const script = scriptFor("@einprogress/connect", all.ports);
    const { code, out, err } = await runScript(
      interpreter(),
      script,
      folder.path,
    );
    assertEquals(code, 0, err);
    assertEquals(JSON.parse(out), expected(all.ports));
  },
  { skip: canBlackHole() ?? on("bun", "node") },
);

// Node's own permissions ----------------------------------------------------------

/** What a script prints under `--permission` and these grants, or under other flags. */
async function withPermissions(
  grants: readonly string[],
  body: string,
  given: readonly string[] = ["--permission", "--allow-fs-read=*"],
): Promise<unknown> {
  const [command, ...args] = interpreter();
  const script = `
    const mod = await import(${
    JSON.stringify(import.meta.resolve("../mod.ts"))
  });
    async function attempt(act) {
      try {
        return String(await act());
      } catch ({ code, permission, resource }) {
        return { code, permission, resource };
      }
    }
    const results = [];
    ${body}
    console.log(JSON.stringify(results));
  `;
  const flags = [...given, ...grants];
  const { code, out, err } = await runScript(
    [command!, ...flags, ...args],
    script,
  );
  assertEquals(code, 0, err);
  return JSON.parse(out);
}

const DENIED = { code: "ERR_ACCESS_DENIED" };

test("importing and encoding needs no permission of Node's", async () => {
  const results = await withPermissions(
    [],
    `results.push(mod.inet("127.0.0.1", 80).toBytes().length);`,
  );
  assertEquals(results, [16]);
}, { skip: on("node") });

test("connectSync() throws Node's own error without --allow-ffi", async () => {
  const results = await withPermissions(
    ["--allow-net"],
    `
    results.push(await attempt(() => mod.connectSync({ port: 1 })));
  `,
  );
  assertEquals(results, [{ ...DENIED, permission: "FFI", resource: "" }]);
}, { skip: on("node") });

test("nothing reaches the network without --allow-net", async () => {
  using peer = listen();
  const { port } = peer.address;
  const results = await withPermissions(
    ["--allow-ffi"],
    `
    const { connect, connectSync, inet, Socket, unix } = mod;
    const hostname = "127.0.0.1", port = ${port};
    results.push(await attempt(() => connectSync({ hostname, port })));
    results.push(await attempt(() => connect({ hostname, port })));
    results.push(await attempt(() => connectSync({ hostname: "x.invalid", port })));
    results.push(await attempt(() => connectSync({ transport: "unix", path: "/x" })));
    const socket = Socket.open();
    results.push(await attempt(() => socket.connectSync(inet(hostname, port))));
    results.push(await attempt(() => Socket.open({ family: "unix" }).connectSync(unix("/x"))));
    results.push(socket.tryConnect(inet(hostname, port)) !== 0);
    results.push(await attempt(() => socket.setOption(0, 35, new Uint8Array(8))));
  `,
  ) as unknown[];
  const net = { ...DENIED, permission: "Net" };
  assertEquals(results, [
    { ...net, resource: "127.0.0.1" },
    { ...net, resource: "127.0.0.1" },
    { ...net, resource: "x.invalid" },
    { ...net, resource: "/x" },
    { ...net, resource: "127.0.0.1" },
    { ...net, resource: "/x" },
    true,
    { ...net, resource: "every address" },
  ]);
}, { skip: on("node") });

/** Ways to have Node keep a record of what its permissions would forbid, and forbid nothing. */
const AUDITS: Readonly<Record<string, readonly string[]>> = {
  "the command line": ["--permission-audit"],
  "the command line, beside --permission": [
    "--permission",
    "--permission-audit",
  ],
  "NODE_OPTIONS": [],
};

for (const [title, flags] of Object.entries(AUDITS)) {
  test(
    `Node's audit by ${title} lets through what net.connect lets through`,
    async () => {
      using peer = listen();
      const before = process.env.NODE_OPTIONS;
      if (flags.length === 0) process.env.NODE_OPTIONS = "--permission-audit";
      try {
        const results = await withPermissions(
          [],
          `
        const { connect, connectSync, inet, Socket } = mod;
        const hostname = "127.0.0.1", port = ${peer.address.port};
        results.push(await attempt(() => {
          using socket = connectSync({ hostname, port });
          return socket.remoteAddress;
        }));
        results.push(await attempt(async () => {
          using socket = await connect({ hostname, port });
          return socket.remoteAddress;
        }));
        using socket = Socket.open();
        results.push(socket.tryConnect(inet(hostname, port)));
      `,
          flags,
        );
        assertEquals(results, [`${peer.address}`, `${peer.address}`, 0]);
      } finally {
        if (before === undefined) delete process.env.NODE_OPTIONS;
        else process.env.NODE_OPTIONS = before;
      }
    },
    { skip: on("node") },
  );
}

test("what a program says of its own flags opens nothing", async () => {
  using peer = listen();
  const results = await withPermissions(
    ["--allow-ffi"],
    `
    process.execArgv.push("--permission-audit");
    process.env.NODE_OPTIONS = "--permission-audit";
    const hostname = "127.0.0.1", port = ${peer.address.port};
    results.push(await attempt(() => mod.connectSync({ hostname, port })));
  `,
  );
  const net = { ...DENIED, permission: "Net" };
  assertEquals(results, [{ ...net, resource: "127.0.0.1" }]);
}, { skip: on("node") });

test("connect() goes on without --allow-worker", async () => {
  using peer = listen();
  using hole = blackHole();
  const results = await withPermissions(
    ["--allow-ffi", "--allow-net"],
    `
    const { connect } = mod;
    const hostname = "127.0.0.1";
    results.push(await attempt(async () => {
      using socket = await connect({ hostname, port: ${peer.address.port} });
      return socket.remoteAddress;
    }));
    results.push(await attempt(() =>
      connect({ hostname, port: ${hole.address.port}, timeout: 200 })));
  `,
  ) as [string, { code: string }];
  assertEquals(results[0], String(peer.address));
  assert(results[1].code === "ETIMEDOUT", results[1].code);
}, { skip: canBlackHole() ?? on("node") });
