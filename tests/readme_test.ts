/** What the pages for readers may be: short, and with links that lead somewhere where the package is published. */
import { assert, assertEquals } from "@std/assert";
import { existsSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "./_harness.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const MOST_LINES = 150;

function read(path: string): string {
  return readFileSync(`${root}${path}`, "utf8");
}

/** The files that a page's relative links lead to, from the root. */
function linksOf(page: string): string[] {
  return [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link!)
    .filter((link) => !/^(?:\w+:|#)/.test(link))
    .map((link) => posix.join(posix.dirname(page), link.replace(/#.*/, "")));
}

test("README.md is a page that is read at a sitting", () => {
  const lines = read("README.md").trimEnd().split("\n").length;
  assert(lines <= MOST_LINES, `${lines} lines`);
});

test("each relative link leads to what is published", () => {
  const { include } = JSON.parse(read("deno.json")).publish as {
    include: string[];
  };
  for (const page of ["README.md", "tests/README.md", "bench/README.md"]) {
    const dead = linksOf(page).filter((path) =>
      !existsSync(`${root}${path}`) ||
      !include.some((one) =>
        `${path}/` === one ||
        (one.endsWith("/") ? path.startsWith(one) : path === one)
      )
    );
    assertEquals([page, dead], [page, []]);
  }
});

test("each test that README.md names is there", () => {
  const rows = [...read("README.md").matchAll(/^\|.*\| (`[^|]*`) *\|$/gm)];
  const names = rows.flatMap(([, cell]) =>
    [...cell!.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name!)
  );
  assert(names.length >= 7);
  const missing = names.filter((name) =>
    !existsSync(`${root}tests/${name}_test.ts`)
  );
  assertEquals(missing, []);
});
