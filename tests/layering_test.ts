import { assertEquals } from "@std/assert";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { hasCommand, needs, test } from "./_harness.ts";

/**
 * The folders from the entry points down to the floor. A file may import what stands in its own folder or in one of a later
 * row, and nothing else.
 */
const RANKS: readonly (readonly string[])[] = [
  ["src"],
  ["."],
  ["src/tools/commands"],
  ["src/tools"],
  ["src/connect", "src/explain"],
  ["src/socket"],
  ["src/attempt"],
  ["src/reactor", "src/address"],
  ["src/errors"],
  ["ffi"],
  ["ffi/doors", "ffi/abi"],
];

/** What a folder further down may import from further up: the types that it has to fit, memory, the timers, altered events, and the errnos of all tables. */
const TERMS: Readonly<Record<string, readonly string[]>> = {
  "ffi/doors": [
    "ffi/abi.ts",
    "ffi/contract.ts",
    "ffi/emitting.ts",
    "ffi/memory.ts",
    "ffi/records.ts",
    "ffi/timers.ts",
  ],
  "ffi/abi": ["ffi/abi.ts", "ffi/abi/errnos.ts"],
};

/** The files of the floor that `src/` may not know. */
const CELLAR: readonly string[] = ["ffi/doors", "ffi/abi"];

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

/**
 * The names that stand in each file of a folder: its tables, or its doors, have
 * one shape.
 */
const ALIKE: Readonly<Record<string, readonly string[]>> = {
  "ffi/abi": ["common"],
  "ffi/doors": ["TYPES", "define", "openPoll"],
};

/** A declaration at the top level of a module, which is not indented. */
const TOP_LEVEL_NAME =
  /^(?:export )?(?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|const|let|var|type|interface|enum) ([\w$]+)/gm;

/** A module's state that others see and cannot know the changes of. */
const EXPORTED_STATE = /^export (?:let|var)\b[^\n]*/m;

/** How many lines of code a file of `src/` may have. */
const MOST_LINES = 700;

/** What only the doors may name, for only they know how a runtime calls C. */
const DOOR_WORDS =
  /\bdlopen\b|\bDeno\s*\.\s*Unsafe|\bUnsafe(?:Callback|FnPointer|Pointer|PointerView)\b|["'`]bun:|node:ffi/;
/** What only the floor may ask: nothing above it knows where it runs. */
const PLATFORM_WORDS =
  /\bDeno\s*\.\s*build\b|\bprocess\s*\.\s*(?:platform|arch)\b|\b(?:platform|arch)\b[^{}]*\}\s*=\s*process\b|\bnavigator\s*\.\s*(?:platform|userAgent)\b|["']node:os["']/;

/** One module, and what it imports, types too. */
interface Source {
  path: string;
  imports: string[];
}

/** What is used of `deno info --json`. */
interface Info {
  modules: {
    specifier: string;
    dependencies?: {
      specifier: string;
      code?: { specifier?: string };
      type?: { specifier?: string };
    }[];
  }[];
}

const root = fileURLToPath(new URL("../", import.meta.url));

/** Every module that an entry point of the package leads to. */
function readSources(): Source[] {
  const config = JSON.parse(readFileSync(`${root}deno.json`, "utf8"));
  return readFrom(Object.values<string>(config.exports));
}

/** Every module that one of these leads to. */
function readFrom(entries: readonly string[]): Source[] {
  const sources = new Map<string, Source>();
  for (const entry of entries) {
    const info = JSON.parse(execFileSync(process.execPath, [
      "info",
      "--json",
      entry,
    ], { cwd: root, encoding: "utf8" })) as Info;
    for (const { specifier, dependencies = [] } of info.modules) {
      const path = pathOf(specifier);
      // A module may name its own type.
      const imports = dependencies.map(({ specifier, code, type }) =>
        pathOf(code?.specifier ?? type?.specifier ?? specifier)
      ).filter((to) => to !== path);
      sources.set(path, { path, imports });
    }
  }
  return [...sources.values()].filter(({ path }) => path.endsWith(".ts"));
}

function pathOf(specifier: string): string {
  return specifier.startsWith("file:")
    ? posix.relative(root, fileURLToPath(specifier))
    : specifier;
}

/** The code of every module, its comments blanked out. */
function readCode(): [path: string, code: string][] {
  return readSources().map(({ path }) => {
    const text = readFileSync(`${root}${path}`, "utf8");
    return [path, withoutComments(text)];
  });
}

function withoutComments(text: string): string {
  return text.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g,
    (token) => token.startsWith("/") ? token.replace(/[^\n]/g, " ") : token,
  );
}

/** Why this import is not allowed, `null` where it is. */
function objection(from: string, to: string): string | null {
  if (to.startsWith("node:")) return null;
  const [folder, other] = [posix.dirname(from), posix.dirname(to)];
  if (TERMS[folder]?.includes(to)) return null;
  if (folder === other) return folder in TERMS ? "it is a sibling" : null;
  const [above, below] = [rankOf(folder), rankOf(other)];
  if (below === -1) return "its folder has no rank";
  if (CELLAR.includes(other) && folder !== "ffi") {
    return "only the floor knows its doors and tables";
  }
  return above < below ? null : "its folder does not rank lower";
}

function rankOf(folder: string): number {
  return RANKS.findIndex((row) => row.includes(folder));
}

/** The files along a circle of imports, `null` where there is none. */
function findCycle(sources: Source[]): string[] | null {
  const imports = new Map(sources.map((one) => [one.path, one.imports]));
  const done = new Set<string>();
  function visit(path: string, trail: string[]): string[] | null {
    const seen = trail.indexOf(path);
    if (seen !== -1) return [...trail.slice(seen), path];
    if (done.has(path)) return null;
    for (const to of imports.get(path) ?? []) {
      const cycle = visit(to, [...trail, path]);
      if (cycle !== null) return cycle;
    }
    done.add(path);
    return null;
  }
  for (const path of imports.keys()) {
    const cycle = visit(path, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

function filesNaming(words: RegExp, sources: [string, string][]): string[] {
  return sources.flatMap(([path, code]) => {
    const found = words.exec(code);
    if (found === null) return [];
    const line = code.slice(0, found.index).split("\n").length;
    return [`${path}:${line} names ${found[0]}`];
  });
}

/** The names that more than one module declares at its top level, and which ones do. */
function sharedNames(sources: [path: string, code: string][]): string[] {
  const places = new Map<string, Set<string>>();
  for (const [path, code] of sources) {
    const folder = posix.dirname(path);
    for (const [, name] of code.matchAll(TOP_LEVEL_NAME)) {
      // What is alike counts once, for its folder.
      const place = ALIKE[folder]?.includes(name!) ? folder : path;
      places.set(name!, (places.get(name!) ?? new Set()).add(place));
    }
  }
  return [...places].filter(([, paths]) => paths.size > 1)
    .map(([name, paths]) => `${name}: ${[...paths].join(", ")}`);
}

function linesOf(code: string): number {
  return code.split("\n").filter((line) => line.trim() !== "").length;
}

/** Syntax that Node 20 cannot read, which is to be met by a sentence: nothing of the package would run otherwise. */
const YOUNG_SYNTAX =
  /^\s*(?:await\s+)?using\s+[\w$]+\s*=|\bimport\s+(?:defer|source)\b|^\s*@[a-z]\w*\s|\(\?[ims-]+:/m;

test("no source has syntax that Node 20 cannot read", () => {
  for (const sample of ["  using a = b;", "await using a = b;", "/(?i:a)/"]) {
    assertEquals(YOUNG_SYNTAX.test(sample), true, sample);
  }
  const young = readCode().filter(([, code]) => YOUNG_SYNTAX.test(code))
    .map(([path, code]) => `${path}: ${YOUNG_SYNTAX.exec(code)![0].trim()}`);
  assertEquals(young, []);
});

test("imports point down, types too", () => {
  const objections = readSources().flatMap(({ path, imports }) =>
    imports.flatMap((to) => {
      const why = objection(path, to);
      return why === null ? [] : [`${path} imports ${to}: ${why}`];
    })
  );
  assertEquals(objections, []);
});

test("imports go round in no circle, types too", () => {
  assertEquals(findCycle(readSources()), null);
  const benches = ["bench/run.ts", "bench/scan.ts", "bench/tools.ts"];
  assertEquals(findCycle(readFrom(benches)), null);
});

test("only the doors know how a runtime calls C", () => {
  const others = readCode().filter(([path]) => !path.startsWith("ffi/doors/"));
  assertEquals(filesNaming(DOOR_WORDS, others), []);
});

test("nothing above the floor asks where it runs", () => {
  const above = readCode().filter(([path]) => !path.startsWith("ffi/"));
  assertEquals(filesNaming(PLATFORM_WORDS, above), []);
});

test("no top-level name stands twice", () => {
  const sources = readCode().filter(([path]) => /^(?:src|ffi)\//.test(path));
  assertEquals(sharedNames(sources), []);
});

test("no module exports what it may change", () => {
  const changing = readCode().filter(([, code]) => EXPORTED_STATE.test(code))
    .map(([path, code]) => `${path}: ${EXPORTED_STATE.exec(code)![0]}`);
  assertEquals(changing, []);
});

test(`no file of src/ has more than ${MOST_LINES} lines of code`, () => {
  const long = readCode().map(([path, code]) => [path, linesOf(code)] as const)
    .filter(([path, lines]) => path.startsWith("src/") && lines > MOST_LINES);
  assertEquals(long, []);
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
  // A checkout may belong to another user than the one who tests it, which git takes for an attack without this option.
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
  const rows: [from: string, to: string, isForbidden: boolean][] = [
    ["src/attempt/attempt.ts", "src/address/address.ts", false],
    ["src/attempt/attempt.ts", "src/attempt/icmp.ts", false],
    ["src/attempt/attempt.ts", "src/socket/socket.ts", true],
    ["src/attempt/attempt.ts", "mod.ts", true],
    ["src/cli.ts", "mod.ts", false],
    ["mod.ts", "src/cli.ts", true],
    ["src/socket/socket.ts", "ffi/libc.ts", false],
    ["src/socket/socket.ts", "ffi/abi/linux.ts", true],
    ["src/socket/socket.ts", "node:net", false],
    ["src/socket/socket.ts", "jsr:@a/b", true],
    ["src/connect/connect.ts", "src/explain/explain.ts", true],
    ["ffi/libc.ts", "ffi/doors/deno.ts", false],
    ["ffi/libc.ts", "src/address/address.ts", true],
    ["ffi/doors/deno.ts", "ffi/contract.ts", false],
    ["ffi/doors/deno.ts", "ffi/libc.ts", true],
    ["ffi/doors/deno.ts", "ffi/doors/bun.ts", true],
    ["ffi/abi/linux.ts", "ffi/abi.ts", false],
    ["ffi/abi/linux.ts", "ffi/contract.ts", true],
  ];
  for (const [from, to, isForbidden] of rows) {
    assertEquals(objection(from, to) !== null, isForbidden, `${from}: ${to}`);
  }

  const circle = [
    { path: "a.ts", imports: ["b.ts"] },
    { path: "b.ts", imports: ["c.ts"] },
    { path: "c.ts", imports: ["b.ts"] },
  ];
  assertEquals(findCycle(circle), ["b.ts", "c.ts", "b.ts"]);
  assertEquals(findCycle(circle.slice(0, 2)), null);

  const names: [text: string, path: string, isShared: boolean][] = [
    ["export const a = 1;", "src/tools/b.ts", true],
    ["export async function a() {}", "src/tools/b.ts", true],
    ["function* a() {}", "ffi/abi/b.ts", true],
    ["export abstract class a {}", "mod.ts", true],
    ["type a = 1;", "src/tools/b.ts", true],
    ["  const a = 1;", "src/tools/b.ts", false],
    ["/*\nconst a = 1;\n*/", "src/tools/b.ts", false],
    ["const ab = 1;", "src/tools/b.ts", false],
  ];
  for (const [text, path, isShared] of names) {
    const code: [string, string][] = [
      ["src/a.ts", "interface a {}\n"],
      [path, withoutComments(text)],
    ];
    assertEquals(sharedNames(code).length, Number(isShared), text);
  }
  const common = "function common() {}";
  for (
    const [path, count] of [["ffi/abi/b.ts", 0], ["ffi/doors/b.ts", 1]] as const
  ) {
    const code: [string, string][] = [["ffi/abi/a.ts", common], [path, common]];
    assertEquals(sharedNames(code).length, count, path);
  }
  assertEquals(EXPORTED_STATE.test("\nexport let a = 1;"), true);
  assertEquals(EXPORTED_STATE.test("export const a = 1;\nlet b = 1;"), false);
  assertEquals(linesOf(withoutComments("a();\n\n// b\n/*\n*/ c();\n")), 2);

  const words: [text: string, door: boolean, platform: boolean][] = [
    [`Deno.dlopen("libc.so.6", {})`, true, false],
    [`const { dlopen } = Deno`, true, false],
    [`Deno.UnsafePointer.of(a)`, true, false],
    [`import("bun:ffi")`, true, false],
    [`import ffi from "node:ffi"`, true, false],
    [`const runtimes = { bun: 1, deno: 2 }`, false, false],
    [`if (Deno.build.os === "linux") a()`, false, true],
    [`const { platform } = process;`, false, true],
    [`process.arch`, false, true],
    [`const { exit } = process;`, false, false],
    [`/* Deno.dlopen, process.platform */`, false, false],
  ];
  for (const [text, door, platform] of words) {
    const code: [string, string][] = [["a.ts", withoutComments(text)]];
    assertEquals(filesNaming(DOOR_WORDS, code).length, Number(door), text);
    const asks = filesNaming(PLATFORM_WORDS, code).length;
    assertEquals(asks, Number(platform), text);
  }
});
