import { assertEquals } from "@std/assert";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { hasCommand, needs, test } from "./_harness.ts";

/** From the command line down to the errors. A file may import those that come after it, and no others. */
const RANKS: readonly string[] = [
  "src/cli.ts",
  "mod.ts",
  "src/ping.ts",
  "src/capabilities.ts",
  "src/dial.ts",
  "src/race.ts",
  "src/target.ts",
  "src/lookup.ts",
  "src/socket.ts",
  "src/streams.ts",
  "src/connect.ts",
  "src/icmp.ts",
  "src/reactor.ts",
  "src/selector.ts",
  "src/options.ts",
  "src/permission.ts",
  "src/errno.ts",
  "src/explain.ts",
  "src/evidence.ts",
  "src/address.ts",
  "src/arguments.ts",
  "src/witness.ts",
  "src/builtin.ts",
  "src/errors.ts",
  "src/catalog.ts",
];

const TOP_LEVEL: readonly string[] = [
  ".ci",
  ".gitignore",
  "LICENSE",
  "README.md",
  "bench",
  "deno.json",
  "ffi",
  "mod.ts",
  "src",
  "tests",
];

/** What only the doors may name, for only they know how a runtime calls C. */
const DOOR_WORDS =
  /\bdlopen\b|\bDeno\s*\.\s*Unsafe|\bUnsafe(?:Callback|FnPointer|Pointer|PointerView)\b|["'`]bun:|node:ffi/;
/** What only the floor may ask, for nothing above it knows where it runs. */
const PLATFORM_WORDS =
  /\bDeno\s*\.\s*build\b|\bprocess\s*\.\s*(?:platform|arch)\b|\b(?:platform|arch)\b[^{}]*\}\s*=\s*process\b|\bnavigator\s*\.\s*(?:platform|userAgent)\b|["']node:os["']/;

/** One `import` or `export … from`. */
interface Import {
  /** The file it leads to, from the root; a specifier that is no path stays as it is. */
  to: string;
  typeOnly: boolean;
}

interface Source {
  path: string;
  /** The text with its comments blanked out, line by line where it was. */
  code: string;
  imports: Import[];
}

const root = fileURLToPath(new URL("../", import.meta.url));

/** Comments, and the strings in which something may look like one. */
const TOKENS =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g;
const STATIC_IMPORT =
  /(?<=^|[;{}\n])\s*(?:import|export)\s+(type\s+(?!from\b))?(?:[\w$*{}\s,]*?\bfrom\s*|\{[^}]*\}\s*from\s*)?["']([^"'\n]+)["']/g;
const DYNAMIC_IMPORT = /\bimport\s*\(\s*(?:["'`]([^"'`\n]+)["'`])?/g;

function parse(path: string, text: string): Source {
  const code = text.replace(
    TOKENS,
    (token) => token.startsWith("/") ? token.replace(/[^\n]/g, " ") : token,
  );
  const imports: Import[] = [];
  for (const [, type, specifier] of code.matchAll(STATIC_IMPORT)) {
    imports.push({
      to: resolve(path, specifier!),
      typeOnly: type !== undefined,
    });
  }
  for (const [, specifier] of code.matchAll(DYNAMIC_IMPORT)) {
    // Nobody can say where a computed specifier leads, so it is allowed nowhere.
    const to = specifier ?? "a computed specifier";
    imports.push({ to: resolve(path, to), typeOnly: false });
  }
  return { path, code, imports };
}

function resolve(from: string, specifier: string): string {
  return specifier.startsWith(".")
    ? posix.join(posix.dirname(from), specifier)
    : specifier;
}

function readSources(): Source[] {
  const paths = ["src", "ffi"]
    .filter((folder) => existsSync(`${root}${folder}`))
    .flatMap((folder) =>
      readdirSync(`${root}${folder}`, { recursive: true, encoding: "utf8" })
        .map((name) => `${folder}/${name.replaceAll("\\", "/")}`)
    )
    .filter((path) => path.endsWith(".ts"));
  return ["mod.ts", ...paths.sort()]
    .map((path) => parse(path, readFileSync(`${root}${path}`, "utf8")));
}

/** Why this import is not allowed, `null` where it is. */
function objection(from: string, { to, typeOnly }: Import): string | null {
  if (from.startsWith("ffi/doors/")) {
    if (to.startsWith("node:") || to.startsWith("bun:")) return null;
    if (to !== "ffi/libc.ts" && to !== "ffi/abi.ts") {
      return "a door imports ffi/libc.ts and ffi/abi.ts alone";
    }
    return typeOnly ? null : "a door imports types alone";
  }
  if (from.startsWith("ffi/abi/")) {
    if (to !== "ffi/abi.ts") return "a table imports ffi/abi.ts alone";
    return typeOnly ? null : "a table imports types alone";
  }
  if (from.startsWith("ffi/")) {
    return to.startsWith("ffi/") ? null : "the floor imports the floor alone";
  }
  if (from.startsWith("src/") && to.startsWith("node:")) return null;
  if (from.startsWith("src/") && to.startsWith("ffi/")) {
    return ["ffi/libc.ts", "ffi/abi.ts", "ffi/lazy.ts"].includes(to)
      ? null
      : "src enters the floor by ffi/libc.ts, ffi/abi.ts and ffi/lazy.ts alone";
  }
  if (from === "mod.ts" && !to.startsWith("src/")) {
    return "mod.ts imports src alone";
  }
  const [above, below] = [RANKS.indexOf(from), RANKS.indexOf(to)];
  if (below === -1) return "it is not a file of this package that has a rank";
  return above < below ? null : "it does not rank lower";
}

/** The files along a circle of value imports, `null` where there is none. */
function findCycle(sources: Source[]): string[] | null {
  const values = new Map(sources.map(({ path, imports }) => [
    path,
    imports.filter(({ typeOnly }) => !typeOnly).map(({ to }) => to),
  ]));
  const done = new Set<string>();
  function visit(path: string, trail: string[]): string[] | null {
    const seen = trail.indexOf(path);
    if (seen !== -1) return [...trail.slice(seen), path];
    if (done.has(path)) return null;
    for (const to of values.get(path) ?? []) {
      const cycle = visit(to, [...trail, path]);
      if (cycle !== null) return cycle;
    }
    done.add(path);
    return null;
  }
  for (const path of values.keys()) {
    const cycle = visit(path, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

function filesNaming(words: RegExp, sources: Source[]): string[] {
  return sources.flatMap(({ path, code }) => {
    const found = words.exec(code);
    if (found === null) return [];
    const line = code.slice(0, found.index).split("\n").length;
    return [`${path}:${line} names ${found[0]}`];
  });
}

test("every source file has a rank", () => {
  const strangers = readSources()
    .map(({ path }) => path)
    .filter((path) => !path.startsWith("ffi/") && !RANKS.includes(path))
    .map((path) => `${path}: add it to RANKS in tests/layering_test.ts`);
  assertEquals(strangers, []);
});

test("imports point down", () => {
  const objections = readSources().flatMap(({ path, imports }) =>
    imports.flatMap((one) => {
      const why = objection(path, one);
      return why === null ? [] : [`${path} imports ${one.to}: ${why}`];
    })
  );
  assertEquals(objections, []);
});

test("value imports go round in no circle", () => {
  assertEquals(findCycle(readSources()), null);
});

test("only the doors know how a runtime calls C", () => {
  const others = readSources()
    .filter(({ path }) => !path.startsWith("ffi/doors/"));
  assertEquals(filesNaming(DOOR_WORDS, others), []);
});

test("nothing above the floor asks where it runs", () => {
  const above = readSources().filter(({ path }) => !path.startsWith("ffi/"));
  assertEquals(filesNaming(PLATFORM_WORDS, above), []);
});

test("sources are plain ASCII", () => {
  // One letter beyond it, and V8 keeps two bytes for each letter of the file: a millisecond of every program's start.
  const letters = readSources().flatMap(({ path }) => {
    const text = readFileSync(`${root}${path}`, "utf8");
    // deno-lint-ignore no-control-regex
    const found = /[^\x00-\x7f]/.exec(text);
    if (found === null) return [];
    return [`${path}:${text.slice(0, found.index).split("\n").length}`];
  });
  assertEquals(letters, []);
});

test("the top level holds what it should and nothing else", () => {
  // A checkout may belong to another user than the one who tests it, which git takes for an attack unless told so.
  const { GIT_DIR: _, ...env } = process.env;
  const listed = execFileSync("git", [
    "-c",
    "safe.directory=*",
    "ls-files",
    "--cached",
    "--others",
    "--exclude-standard",
    "-z",
  ], { cwd: root, env, encoding: "utf8" });
  const names = listed.split("\0")
    .filter((path) => path !== "" && existsSync(`${root}${path}`))
    .map((path) => path.split("/")[0]!);
  assertEquals([...new Set(names)].sort(), [...TOP_LEVEL].sort());
}, {
  skip: needs(
    existsSync(`${root}.git`) ? null : "this is no git checkout",
    hasCommand("git"),
  ),
});

test("the rules object to what they forbid", () => {
  const rows: [from: string, text: string, objections: number][] = [
    ["src/connect.ts", `import { a } from "./address.ts";`, 0],
    ["src/connect.ts", `import type { A } from "./socket.ts";`, 1],
    ["src/connect.ts", `import "./connect.ts";`, 1],
    ["src/connect.ts", `import { a } from "../mod.ts";`, 1],
    ["src/cli.ts", `import { a } from "../mod.ts";`, 0],
    ["src/socket.ts", `import { a } from "../ffi/libc.ts";`, 0],
    ["src/socket.ts", `import type { A } from "../ffi/abi/linux.ts";`, 1],
    ["src/socket.ts", `import net from "node:net";`, 0],
    ["src/socket.ts", `import { a } from "jsr:@a/b";`, 1],
    ["src/socket.ts", `import {\n  a, // one\n  b,\n} from "./cli.ts";`, 1],
    ["src/socket.ts", `import * as all from './cli.ts'`, 1],
    ["src/socket.ts", `export * from "./cli.ts";`, 1],
    ["src/socket.ts", `export { a } from "./cli.ts";`, 1],
    ["src/socket.ts", `const a = await import("./cli.ts");`, 1],
    ["src/socket.ts", `const a = await import(name);`, 1],
    ["src/socket.ts", `// import { a } from "./cli.ts";`, 0],
    ["src/socket.ts", `/* "" */ import a from "./cli.ts"; // "`, 1],
    ["src/socket.ts", `const a = "/*"; import b from "./cli.ts";`, 1],
    ["src/stranger.ts", `import { a } from "./errors.ts";`, 0],
    ["src/socket.ts", `import { a } from "./stranger.ts";`, 1],
    ["mod.ts", `export { a } from "./src/socket.ts";`, 0],
    ["mod.ts", `export type { A } from "./ffi/abi.ts";`, 1],
    ["mod.ts", `export { main } from "./src/cli.ts";`, 1],
    ["ffi/libc.ts", `import { a } from "./doors/deno.ts";`, 0],
    ["ffi/libc.ts", `import type { A } from "../src/address.ts";`, 1],
    ["ffi/doors/deno.ts", `import type { A } from "../libc.ts";`, 0],
    ["ffi/doors/deno.ts", `import { type A } from "../libc.ts";`, 1],
    ["ffi/doors/deno.ts", `import type { A } from "./bun.ts";`, 1],
    ["ffi/doors/bun.ts", `const { a } = await import("bun:ffi");`, 0],
    ["ffi/abi/linux.ts", `import type { A, B } from "../abi.ts";`, 0],
    ["ffi/abi/linux.ts", `import { a } from "../abi.ts";`, 1],
    ["ffi/abi/linux.ts", `import type { A } from "../libc.ts";`, 1],
  ];
  for (const [from, text, objections] of rows) {
    const { imports } = parse(from, text);
    const found = imports.filter((one) => objection(from, one) !== null);
    assertEquals(found.length, objections, `${from}: ${text}`);
  }

  const circle = [
    parse("a.ts", `import "./b.ts";`),
    parse("b.ts", `import "./c.ts";`),
    parse("c.ts", `import "./b.ts"; import type { A } from "./a.ts";`),
  ];
  assertEquals(findCycle(circle), ["b.ts", "c.ts", "b.ts"]);
  assertEquals(findCycle(circle.slice(0, 2)), null);

  const words: [text: string, door: boolean, platform: boolean][] = [
    [`Deno.dlopen("libc.so.6", {})`, true, false],
    [`const { dlopen } = Deno`, true, false],
    [`Deno.UnsafePointer.of(a)`, true, false],
    [`import("bun:ffi")`, true, false],
    [`import ffi from "node:ffi"`, true, false],
    [`const runtimes = { bun: 1, deno: 2 }`, false, false],
    [`if (Deno.build.os === "linux") a()`, false, true],
    [
      `const { platform } = process;`,
      false,
      true,
    ],
    [`process.arch`, false, true],
    [`const { exit } = process;`, false, false],
    [`/* Deno.dlopen, process.platform */`, false, false],
  ];
  for (const [text, door, platform] of words) {
    const sources = [parse("src/socket.ts", text)];
    assertEquals(filesNaming(DOOR_WORDS, sources).length, Number(door), text);
    assertEquals(
      filesNaming(PLATFORM_WORDS, sources).length,
      Number(platform),
      text,
    );
  }
});
