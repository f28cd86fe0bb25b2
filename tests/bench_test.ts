import { assert, assertEquals, assertGreater } from "@std/assert";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { draw } from "../bench/picture.ts";
import { FIGURES, PAGE, PICTURE, withTables } from "../bench/publish.ts";
import type { Report } from "../bench/report.ts";
import { hasCommand, needs, on, test } from "./_harness.ts";

const PROGRAM = fileURLToPath(new URL("../bench/run.ts", import.meta.url));

/** Runs the bench on this runtime. */
function bench(...args: string[]): { status: number | null; stdout: string } {
  const run = "Deno" in globalThis ? ["run", "--allow-all"] : [];
  return spawnSync(process.execPath, [...run, PROGRAM, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
}

test("the bench compares each side with C, and draws that", () => {
  const { status, stdout } = bench("--json", "--rounds=3", "tryConnect, unix");
  assertEquals(status, 0);
  const report: Report = JSON.parse(stdout);
  assertEquals(report.cases.map(({ name }) => name), ["tryConnect, unix"]);
  const { sides, rounds, connects, baseline } = report.cases[0]!;
  assertEquals([rounds, connects, baseline], [3, 1000, "C"]);
  for (const side of ["ours", "raw", "C", "node:net"] as const) {
    const { wall, ratio } = sides[side]!;
    assertGreater(wall.min, 0);
    assert(ratio.min <= ratio.q1 && ratio.q1 <= ratio.median);
  }
  assertEquals(sides.C?.ratio.median, 1);

  const picture = draw([report, report]);
  for (const fact of [report.machine.commit!, report.machine.runtime!]) {
    assert(picture.includes(fact));
  }
  assert(!/NaN|undefined|null/.test(picture));
}, { skip: hasCommand("cc") });

test("the bench starts programs that have the package from a registry", () => {
  const { status, stdout } = bench("--json", "--rounds=1", "start");
  assertEquals(status, 0);
  const report: Report = JSON.parse(stdout);
  const { empty, ours } = report.cases[0]!.sides;
  assertGreater(ours!.cpu.median, empty!.cpu.median);
}, { skip: needs(hasCommand("cc"), on("deno")) });

test("the bench refuses what it does not know", () => {
  assertEquals(bench("--no-such-flag").status, 2);
  assertEquals(bench("no such case").status, 2);
});

test("the picture and the tables show the figures that are kept", () => {
  const reports: Report[] = JSON.parse(readFileSync(FIGURES, "utf8"));
  assertEquals(readFileSync(PICTURE, "utf8"), draw(reports));
  // The formatter pads cells, and breaks lines.
  function plain(page: string): string {
    return page.replace(/-{2,}/g, "-").replace(/\s+/g, " ");
  }
  const page = readFileSync(PAGE, "utf8");
  assertEquals(plain(page), plain(withTables(page, reports)));
}, { skip: existsSync(FIGURES) ? null : "no figures are kept yet" });
