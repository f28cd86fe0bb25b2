import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  grid,
  type GridOptions,
  type GridTarget,
  parseHosts,
  parsePorts,
  permute,
  squareFor,
} from "../src/tools/targets.ts";
import { test } from "./_harness.ts";

test("parseHosts() reads what people write", () => {
  const rows: [text: string, hosts: string[]][] = [
    ["10.0.0.1", ["10.0.0.1"]],
    ["10.0.0.5/30", ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]],
    ["10.0.0.9/32", ["10.0.0.9"]],
    ["10.0.0.1-3", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]],
    ["10.0.0.255-10.0.1.1", ["10.0.0.255", "10.0.1.0", "10.0.1.1"]],
    ["255.255.255.254-255", ["255.255.255.254", "255.255.255.255"]],
    ["2001:DB8:0::1/127", ["2001:db8::", "2001:db8::1"]],
    ["2001:db8::fffe-ffff", ["2001:db8::fffe", "2001:db8::ffff"]],
    ["2001:db8::ffff-2001:db8::1:0", ["2001:db8::ffff", "2001:db8::1:0"]],
    ["::ffff:10.0.0.1", ["::ffff:10.0.0.1"]],
    ["fe80::1%7", ["fe80::1%7"]],
    ["localhost", ["localhost"]],
    ["my-host-1.example.", ["my-host-1.example."]],
    ["4-you.example", ["4-you.example"]],
    ["b.test, 10.0.0.2 ,10.0.0.1,a.test", [
      "10.0.0.1",
      "10.0.0.2",
      "b.test",
      "a.test",
    ]],
    ["10.0.0.0/31,10.0.0.1-2,10.0.0.0", ["10.0.0.0", "10.0.0.1", "10.0.0.2"]],
    ["A.test,a.test", ["A.test"]],
    ["::1,10.0.0.1", ["10.0.0.1", "::1"]],
  ];
  for (const [text, hosts] of rows) {
    const found = parseHosts(text);
    assertEquals([...found], hosts, text);
    assertEquals(found.size, hosts.length, text);
    for (const host of hosts) assert(found.has(host), `${text}: ${host}`);
  }
});

test("parseHosts() counts more hosts than a list could hold", () => {
  const all = parseHosts("0.0.0.0/0");
  assertEquals(all.size, 2 ** 32);
  assertEquals(all.at(0), "0.0.0.0");
  assertEquals(all.at(2 ** 32 - 1), "255.255.255.255");
  const many = parseHosts("2001:db8::/76");
  assertEquals(many.size, 2 ** 52);
  assertEquals(many.at(2 ** 52 - 1), "2001:db8::f:ffff:ffff:ffff");
  assert(many.has("2001:db8::1"));
  assert(!many.has("2001:db8::10:0:0:0"));
  assert(!many.has("10.0.0.1"));
  for (const index of [-1, 1.5, 2 ** 52, NaN]) {
    assertThrows(() => many.at(index), RangeError, "index");
  }
});

test("parseHosts() throws with the place where it stopped", () => {
  const rows: [text: string, place: string, reason: string][] = [
    ["", 'at character 1, ""', "nothing"],
    ["10.0.0.1,", 'at character 10, ""', "nothing"],
    ["10.0.0.1,,10.0.0.2", 'at character 10, ""', "nothing"],
    ["10.0.0.0/33", 'at character 10, "33"', "IPv4 has 0 to 32 bits"],
    ["10.0.0.0/", 'at character 10, ""', "IPv4 has 0 to 32 bits"],
    ["a, 10.0.0.0/x", 'at character 13, "x"', "IPv4 has 0 to 32 bits"],
    ["::/129", 'at character 4, "129"', "IPv6 has 0 to 128 bits"],
    ["::/64", 'at character 1, "::/64"', "2^53 - 1"],
    ["example/24", 'at character 1, "example/24"', "begins with an address"],
    ["10.0.0.300", 'at character 1, "10.0.0.300"', "IPv4 address is"],
    ["10.0.0", 'at character 1, "10.0.0"', "IPv4 address is"],
    ["010.0.0.1", 'at character 1, "010.0.0.1"', "IPv4 address is"],
    ["a,1:2", 'at character 3, "1:2"', "IPv6 address is"],
    ["10.0.0.9-3", 'at character 10, "3"', "lower address comes first"],
    ["10.0.0.9-256", 'at character 10, "256"', "0 to 255"],
    ["10.0.0.9-::1", 'at character 10, "::1"', "ends with an IPv4 address"],
    ["10.0.0.9-", 'at character 10, ""', "ends with an IPv4 address"],
    ["::1-x", 'at character 5, "x"', "ends with an IPv6 address"],
    ["a b", 'at character 2, " b"', "name cannot hold that"],
    [
      "http://example",
      'at character 1, "http://example"',
      "no URL",
    ],
    ["[::1]", 'at character 1, "[::1]"', "has no brackets"],
    ["10.0.0.1, [::1]:80", 'at character 11, "[::1]:80"', "has no port"],
    ["10.0.0.0/24:80", 'at character 1, "10.0.0.0/24:80"', "has no port"],
    ["example.test:443", 'at character 1, "example.test', "has no port"],
    ["HTTPS://[::1]/x", 'at character 1, "HTTPS://[::1]/x"', "no URL"],
    ["x\0", 'at character 2, "\\u0000"', "name cannot hold that"],
  ];
  for (const [text, place, reason] of rows) {
    const error = assertThrows(() => parseHosts(text), SyntaxError, place);
    assert(error.message.includes(reason), error.message);
    assert(error.message.startsWith("Cannot parse hosts "), error.message);
  }
  assertThrows(() => parseHosts(7 as unknown as string), TypeError, "hosts 7");
});

test("parsePorts() reads what people write", () => {
  assertEquals(parsePorts("22,80,8000-8003"), [22, 80, 8000, 8001, 8002, 8003]);
  assertEquals(parsePorts("80, 22 ,80,79-81"), [80, 22, 79, 81]);
  assertEquals(parsePorts("0"), [0]);
  assertEquals(parsePorts("-3"), [1, 2, 3]);
  assertEquals(parsePorts("65534-"), [65534, 65535]);
  const all = parsePorts("all");
  assertEquals([all.length, all[0], all.at(-1)], [65535, 1, 65535]);
  assertEquals(parsePorts("-"), all);
  const common = parsePorts("common");
  assertEquals(new Set(common).size, common.length);
  for (const port of [22, 80, 443, 3306, 5432, 6379]) {
    assert(common.includes(port), `${port}`);
  }
});

test("parsePorts() throws with the place where it stopped", () => {
  const rows: [text: string, place: string][] = [
    ["", 'at character 1, ""'],
    ["22,", 'at character 4, ""'],
    ["22,65536", 'at character 4, "65536"'],
    ["22,ssh", 'at character 4, "ssh"'],
    ["90-80", 'at character 4, "80"'],
    ["1-2-3", 'at character 3, "2-3"'],
    ["1.5", 'at character 1, "1.5"'],
    ["0x50", 'at character 1, "0x50"'],
  ];
  for (const [text, place] of rows) {
    assertThrows(() => parsePorts(text), SyntaxError, place);
  }
  assertThrows(
    () => parsePorts(null as unknown as string),
    TypeError,
    "ports null",
  );
});

/** The permutation of all numbers below a size, checked to be one. */
function checkBijection(size: number, seed: number, stream: number): void {
  const seen = new Uint8Array(size);
  const square = squareFor(size);
  for (let i = 0; i < size; i++) {
    const to = permute(i, size, square, seed, stream);
    if (!(to >= 0 && to < size) || seen[to] === 1) {
      throw new Error(`permute(${i}) of ${size}, seed ${seed}: ${to}`);
    }
    seen[to] = 1;
  }
}

test("the order is a permutation of every small size", () => {
  for (let size = 1; size <= 1500; size++) checkBijection(size, size % 5, 0);
});

test("the order is a permutation of sizes up to 100,000", () => {
  // A wrong rounding would show at squares, their neighbours and powers of two.
  const sizes = new Set([100_000, 99_999, 65_536, 65_535, 65_537]);
  for (let side = 40; side <= 316; side += 23) {
    for (const near of [-1, 0, 1]) sizes.add(side * side + near);
    sizes.add(side * (side + 1));
  }
  for (const size of sizes) checkBijection(size, 2 ** 53 - 1 - size, size);
});

test("the order does not repeat among four billion", () => {
  const size = 2 ** 32;
  const square = squareFor(size);
  const seen = new Set<number>();
  const count = 300_000;
  for (let i = 0; i < count; i++) {
    // Neighbours, and others far apart.
    const at = i % 2 === 0 ? i : size - i * 14_000;
    const to = permute(at, size, square, 42, 0);
    assert(Number.isInteger(to) && to >= 0 && to < size);
    seen.add(to);
  }
  assertEquals(seen.size, count);
  // Each sixteenth of the whole gets its share: the deviation of a fair one is about 130.
  const shares = new Array<number>(16).fill(0);
  for (const to of seen) shares[Math.floor(to / size * 16)]!++;
  for (const share of shares) {
    assert(Math.abs(share - count / 16) < 1000, `${shares}`);
  }
});

test("a seed makes an order of its own, and the same one each time", () => {
  const order = (seed: number) =>
    [...grid("10.0.0.0/26", "1-64", { seed })].map(nameOf).join();
  const orders = [0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1].map(order);
  assertEquals(new Set(orders).size, orders.length);
  assertEquals(order(1), orders[1]);
  assertEquals(
    [...grid("10.0.0.0/26", "1-64")].map(nameOf).join(),
    orders[0],
  );
});

function nameOf({ hostname, port }: GridTarget): string {
  return `${hostname}:${port}`;
}

test("a grid has each port of each host once", () => {
  const rows: [hosts: string, ports: string][] = [
    ["10.0.0.1", "1-1000"],
    ["10.0.0.0/22", "80"],
    ["10.0.0.0/28,a.test,2001:db8::/125", "22,80,443,8000-8006"],
    ["10.0.0.1", "80"],
  ];
  for (const [hosts, ports] of rows) {
    for (const seed of [null, 0, 1, 99]) {
      const targets = grid(hosts, ports, { seed });
      const wanted = [...parseHosts(hosts)].flatMap((hostname) =>
        parsePorts(ports).map((port) => `${hostname}:${port}`)
      );
      const found = [...targets];
      assertEquals(targets.size, wanted.length);
      assertEquals(found.map(({ index }) => index), wanted.map((_, i) => i));
      assertEquals(found.map(nameOf).sort(), wanted.sort());
      assertEquals(targets.at(found.length - 1), found.at(-1));
    }
  }
});

test("neighbours in a grid go to different hosts", () => {
  const targets = [...grid("10.0.0.0/24", "1-40", { seed: 3 })];
  for (let i = 0; i + 256 <= targets.length; i += 256) {
    const hosts = targets.slice(i, i + 256).map(({ hostname }) => hostname);
    assertEquals(new Set(hosts).size, 256);
  }
  // The ports of two hosts come in different orders.
  const portsOf = (host: string) =>
    targets.filter(({ hostname }) => hostname === host).map(({ port }) => port)
      .join();
  assert(portsOf("10.0.0.1") !== portsOf("10.0.0.2"));
});

test("a grid in order goes from host to host", () => {
  assertEquals(
    [...grid(["b.test", "10.0.0.1"], [443, 80], { seed: null })].map(nameOf),
    ["10.0.0.1:443", "10.0.0.1:80", "b.test:443", "b.test:80"],
  );
});

test("shards are disjoint and complete", () => {
  const hosts = "10.0.0.0/27";
  const ports = "1-31";
  const whole = [...grid(hosts, ports, { seed: 5 })];
  for (const shares of [1, 2, 3, 7, 32, 1000]) {
    const parts: GridTarget[] = [];
    for (let share = 1; share <= shares; share++) {
      const part = grid(hosts, ports, { seed: 5, shard: [share, shares] });
      const targets = [...part];
      assertEquals(targets.length, part.size);
      parts.push(...targets);
    }
    assertEquals(parts.sort((a, b) => a.index - b.index), whole);
  }
});

test("a grid goes on where another one stopped", () => {
  const options: GridOptions = { seed: 8, shard: [2, 3] };
  const whole = [...grid("10.0.0.0/29", "1-10", options)];
  for (const taken of [0, 1, 13, whole.length]) {
    const next = taken === 0 ? 0 : whole[taken - 1]!.index + 1;
    const done = whole.slice(0, taken).filter((_, i) => i % 4 !== 0);
    const pending = whole.slice(0, taken).filter((_, i) => i % 4 === 0)
      .map(({ index }) => index);
    const rest = grid("10.0.0.0/29", "1-10", {
      ...options,
      from: { next, pending },
    });
    assertEquals(rest.size, whole.length - done.length);
    assertEquals(
      [...done, ...rest].sort((a, b) => a.index - b.index),
      whole,
    );
  }
  assertEquals([...grid("10.0.0.1", "1-5", { from: 3 })].length, 2);
  assertEquals([...grid("10.0.0.1", "1-5", { from: 99 })].length, 0);
});

test("a grid leaves out what is excluded", () => {
  const rows: [hosts: string, exclude: string, left: string[]][] = [
    ["10.0.0.0/30", "10.0.0.1-2", ["10.0.0.0", "10.0.0.3"]],
    ["10.0.0.0/30", "10.0.0.0/31", ["10.0.0.2", "10.0.0.3"]],
    ["10.0.0.0/30", "10.0.0.2/31,10.0.0.0", ["10.0.0.1"]],
    ["10.0.0.0/30", "0.0.0.0/0", []],
    ["10.0.0.0/30,10.0.1.0/31", "10.0.0.3-10.0.1.0,9.0.0.1", [
      "10.0.0.0",
      "10.0.0.1",
      "10.0.0.2",
      "10.0.1.1",
    ]],
    ["::/126,10.0.0.1", "::1,::3", ["10.0.0.1", "::", "::2"]],
    ["a.test,b.test,10.0.0.1", "A.TEST,::1", ["10.0.0.1", "b.test"]],
  ];
  for (const [hosts, exclude, left] of rows) {
    const targets = grid(hosts, [1], { exclude, seed: null });
    assertEquals([...targets].map(({ hostname }) => hostname), left);
    assertEquals(targets.size, left.length);
  }
  const targets = grid([parseHosts("10.0.0.0/31"), "x"], "1", {
    exclude: [parseHosts("10.0.0.1")],
    seed: null,
  });
  assertEquals([...targets].map(nameOf), ["10.0.0.0:1", "x:1"]);
});

test("a grid refuses what it cannot use", () => {
  const rows: [options: object, error: new () => Error, message: string][] = [
    [{ seed: -1 }, RangeError, "seed -1"],
    [{ seed: "1" }, TypeError, 'seed "1"'],
    [{ shard: [0, 3] }, RangeError, "shards count from 1"],
    [{ shard: [4, 3] }, RangeError, "shard[0] 4"],
    [{ shard: 3 }, TypeError, "shard 3"],
    [{ from: -1 }, RangeError, "from -1"],
    [{ from: { next: 3 } }, TypeError, "from.pending"],
    [{ from: { next: 3, pending: [3] } }, RangeError, "from.pending 3"],
    [{ sead: 1 }, TypeError, "did you mean seed?"],
    [{ exclude: 1 }, TypeError, "exclude 1"],
  ];
  for (const [options, kind, message] of rows) {
    assertThrows(() => grid("10.0.0.0/24", "80", options), kind, message);
  }
  assertThrows(
    () => grid([7] as unknown as string, "80"),
    TypeError,
    "hosts 7",
  );
  assertThrows(() => grid("a", [65536]), RangeError, "port 65536");
  assertThrows(() => grid("a", 80 as unknown as string), TypeError, "ports 80");
  assertThrows(
    () => grid("2001:db8::/76", "1-16"),
    RangeError,
    "2^53 - 1 targets",
  );
  assertThrows(() => grid("a", "80").at(1), RangeError, "index 1");
});

test("grid() leaves out what leads to a host that is left out", () => {
  const rows: [hosts: string, exclude: string | string[], left: string[]][] = [
    ["fe80::1%eth0,fe80::2", "fe80::/112", []],
    ["fe80::1%eth0,fe80::2%eth0", "fe80::1", ["fe80::2%eth0"]],
    ["fe80::1%eth0,fe80::1%eth1", "fe80::1%eth0", ["fe80::1%eth1"]],
    ["::ffff:10.0.0.1,::ffff:11.0.0.1", "10.0.0.0/8", ["::ffff:11.0.0.1"]],
    ["10.0.0.1,::1", "::/128", ["10.0.0.1", "::1"]],
    ["10.0.0.1,::1", ["::1", "a.test"], ["10.0.0.1"]],
    ["fe80::1%eth0,febf::1,fec0::1", "fe80::/10", ["fec0::1"]],
    ["10.0.0.1,2001:db8::1", "::/0", ["10.0.0.1"]],
    ["::1,::5", "::2-ffff::", ["::1"]],
    ["10.0.0.1,::1", ["fe80::/10", "8000::/1,::/1"], ["10.0.0.1"]],
    // The other way round, an IPv6 prefix may be meant for IPv6 alone.
    ["10.0.0.1", "::ffff:10.0.0.1", ["10.0.0.1"]],
  ];
  for (const [hosts, exclude, left] of rows) {
    const targets = [...grid(hosts, [80], { exclude, seed: null })];
    assertEquals(targets.map(({ hostname }) => hostname), left, hosts);
  }
});
