/** Where the package cannot work, it says so in one sentence, when it is first used and not when it is imported. */
import { assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { interpreter, PATIENCE } from "./_fixtures.ts";
import { on, test } from "./_harness.ts";

const MODULE = JSON.stringify(import.meta.resolve("../mod.ts"));

/** What every use of the package says in a process where a script has taken something away. */
function verdictsAfter(
  script: string,
  flags: readonly string[] = [],
): string[] {
  const [command, ...args] = interpreter();
  const { stdout, stderr, status } = spawnSync(command!, [...args], {
    input: `
      const { log } = console;
      ${script};
      const mod = await import(${MODULE});
      const verdicts = [];
      async function attempt(act) {
        try {
          await act();
          verdicts.push("it worked");
        } catch (error) {
          verdicts.push(error.message);
        }
      }
      await attempt(() => mod.connectSync({ port: 9 }));
      await attempt(() => mod.connect({ port: 9 }));
      await attempt(() => mod.Socket.open());
      await attempt(() => mod.capabilities());
      // What opens no library works everywhere.
      const error = new mod.Errno.ECONNREFUSED({ syscall: "connect" });
      verdicts.push(String(mod.isErrno(error, "ECONNREFUSED")));
      log(JSON.stringify(verdicts));
    `,
    encoding: "utf8",
    timeout: PATIENCE,
    killSignal: "SIGKILL",
    env: { ...process.env, NODE_OPTIONS: flags.join(" ") },
  });
  assertEquals(status, 0, stderr);
  return JSON.parse(stdout);
}

function assertSays(verdicts: readonly string[], sentence: RegExp): void {
  const isKnown = verdicts.at(-1);
  assertEquals(isKnown, "true");
  for (const verdict of verdicts.slice(0, -1)) {
    assertMatch(verdict, sentence);
    assertMatch(
      verdict,
      /^Cannot call the C library[^.\n]+(?:\.[^ \n]+[^.\n]*)*$/,
    );
  }
}

/** Puts other words in the place of what the runtime says of its system. */
const ON_WINDOWS = `
  if ("Deno" in globalThis) {
    const build = { ...Deno.build, os: "windows" };
    Object.defineProperty(globalThis, "Deno", { value: { ...Deno, build } });
  } else {
    Object.defineProperty(process, "platform", { value: "win32" });
  }
`;

test("on Windows every call says that no table describes it", () => {
  const arch = `(?:x64|x86_64|arm64|aarch64)`;
  assertSays(
    verdictsAfter(ON_WINDOWS),
    new RegExp(
      `^Cannot call the C library on (?:win32|windows) ${arch}: no table describes this system, only linux, `,
    ),
  );
});

test("a runtime that is none of the three is named as such", () => {
  const verdicts = verdictsAfter(`
    delete globalThis.Deno;
    delete globalThis.Bun;
    delete globalThis.process;
  `);
  assertSays(verdicts, /: this runtime is none of Deno, Bun and Node/);
}, { skip: on("deno", "node") });

test("a Deno without FFI says what it lacks", () => {
  const verdicts = verdictsAfter(
    `Object.defineProperty(globalThis, "Deno", {
      value: { ...Deno, dlopen: undefined },
    })`,
  );
  assertSays(verdicts, /: this Deno has no Deno\.dlopen, as on Deno Deploy$/);
}, { skip: on("deno") });

test("a Bun without FFI says what it lacks", () => {
  const verdicts = verdictsAfter(`
    const { getBuiltinModule } = process;
    process.getBuiltinModule = (name) =>
      name === "bun:ffi" ? undefined : getBuiltinModule(name);
  `);
  assertSays(verdicts, /: this Bun has no bun:ffi$/);
}, { skip: on("bun") });

test("a Node that needs a flag for FFI names the flag", () => {
  const verdicts = verdictsAfter("", ["--no-experimental-ffi"]);
  assertSays(
    verdicts,
    /: Node v[\d.]+ has no node:ffi unless it is started with --experimental-ffi$/,
  );
}, { skip: on("node") });

test("an old Node says which one it takes", () => {
  for (const without of ["undefined", "() => undefined"]) {
    const verdicts = verdictsAfter(`
      process.getBuiltinModule = ${without};
      Object.defineProperty(process, "version", { value: "v20.11.0" });
      Object.defineProperty(process, "allowedNodeEnvironmentFlags", {
        value: new Set(),
      });
    `);
    assertSays(
      verdicts,
      /: Node v20\.11\.0 has no node:ffi, which comes with Node 26\.9$/,
    );
  }
}, { skip: on("node") });
