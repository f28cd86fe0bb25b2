import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { libc } from "../ffi/libc.ts";
import { main } from "../src/cli.ts";
import {
  bound,
  canIsolate,
  inChild,
  listen,
  tempFolder,
  watchLibc,
} from "./_fixtures.ts";
import { hasCommand, needs, test } from "./_harness.ts";
import { linesOf } from "./_lines.ts";
import { FIREWALL, FIREWALL6, ofFamilies } from "./_networks.ts";

const { abi } = libc();

interface Ran {
  code: number;
  out: string;
  err: string;
}

async function run(...args: string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await main(["explain", ...args], {
    out: (text) => out += text,
    err: (text) => err += text,
  });
  return { code, out, err };
}

test("explain says what an errno means, by name and by number", async () => {
  const { code, out, err } = await run("ECONNREFUSED");
  assertEquals([code, err], [0, ""]);
  assertStringIncludes(out, "The peer is there and nobody listens");
  assertEquals((await run("econnrefused")).out, out);
  assertEquals((await run(`${abi.errnos.ECONNREFUSED}`)).out, out);
  const other = await run("ECONNREFUSED", "--os", "openbsd");
  assertMatch(other.out, /^ECONNREFUSED \(61 on openbsd\)/);
  assertEquals((await run("61", "--os", "openbsd")).out, other.out);
});

test("explain says what a failure of a lookup means, by its name", async () => {
  const { code, out, err } = await run("EAI_NONAME");
  assertEquals([code, err], [0, ""]);
  assertMatch(out, /^EAI_NONAME .*knows the name\n/);
  assertEquals((await run("eai_noname")).out, out);
  const node = await run("enotfound");
  assertEquals(node, { code, out, err });
  assertMatch((await run("ENOMEM")).out, /^ENOMEM /);
  const wrong = await run("EAI_NONAM");
  assertEquals([wrong.code, wrong.out], [2, ""]);
  assertStringIncludes(wrong.err, "did you mean EAI_NONAME?");
});

test("explain says why a target cannot be reached", async () => {
  using closed = bound();
  const target = `${closed.address}`;
  const { code, out, err } = await run(target);
  assertEquals([code, err], [1, ""]);
  assertStringIncludes(out, `Cannot connect to ${target}: connection refused`);
  assertMatch(out, /\nECONNREFUSED \(\d+ on /);
  const [line, ...more] = linesOf((await run(target, "--json")).out);
  assertEquals([more, line!.type, line!.target], [[], "explanation", target]);
  assertEquals([line!.code, line!.errno], [
    "ECONNREFUSED",
    abi.errnos.ECONNREFUSED,
  ]);
});

test("explain names who rejects, over IPv6 as well", async () => {
  const hosts = ofFamilies([["127.0.1.4"], ["fd00::4"]]).map(([host]) => host);
  const found = await inChild(
    { namespace: FIREWALL + FIREWALL6 },
    async (_, cli, hosts) => {
      const { main } = await import(cli);
      const texts: string[] = [];
      for (const host of hosts) {
        const target = host.includes(":") ? `[${host}]:80` : `${host}:80`;
        let out = "";
        await main(["explain", target], {
          out: (text: string) => out += text,
          err: (text: string) => out += text,
        });
        texts.push(out);
      }
      return texts;
    },
    import.meta.resolve("../src/cli.ts"),
    hosts,
  );
  for (const [i, host] of hosts.entries()) {
    assertStringIncludes(found[i]!, `connection refused according to ${host} `);
  }
}, { skip: needs(canIsolate(), hasCommand("nft")) });

test("explain says that a target is open", async () => {
  using listener = listen();
  const target = `${listener.address}`;
  const { code, out } = await run(target);
  assertEquals(code, 0);
  assertMatch(out, /^127\.0\.0\.1:\d+ is open: connected within [\d.]+ ms\n$/);
  const [line] = linesOf((await run(target, "--json")).out);
  assertEquals([line!.state, line!.address], ["open", target]);
  assertEquals(await run(target, "-q"), { code: 0, out: "", err: "" });
});

test("explain writes a file, and CSV", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "out.csv");
  const { out } = await run("EPERM", "--csv", "-o", path);
  assertEquals(out, "");
  const [head, row, end] = readFileSync(path, "utf8").split("\n");
  assertEquals(head, "target,code,errno,os,meaning,retry,remedy,state");
  assertMatch(row!, /^,EPERM,1,\w+,/);
  assertEquals(end, "");
  const lost = await run("EPERM", "-o", join(folder.path, "no", "such"));
  assertEquals(lost.code, 2);
  assertStringIncludes(lost.err, "no");
});

test("explain says what it cannot explain", async () => {
  using _ = watchLibc({ getaddrinfo: () => [abi.eais.EAI_NONAME!, 0] });
  const rows: [args: string[], words: string][] = [
    [[], "give a CODE or a TARGET"],
    [["EPERM", "EINVAL"], '"EINVAL" as well'],
    [["ECONNREFUSD"], "did you mean ECONNREFUSED?"],
    [["localhost"], "a target is HOST:PORT"],
    [["99999"], "no such errno"],
    [["EPERM", "--os", "linus"], "did you mean linux?"],
    [["EPERM", "--jsno"], "did you mean --json?"],
    [["http://a.test:80/x"], "here a.test:80"],
    [["unix:/x", "--source", "::1"], "--source"],
  ];
  for (const [args, words] of rows) {
    const { code, out, err } = await run(...args);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertStringIncludes(err, words);
    assert(err.startsWith("explain: "), err);
  }
});
