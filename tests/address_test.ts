import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { spawnSync } from "node:child_process";
import { networkInterfaces } from "node:os";
import process from "node:process";
import type { Abi } from "../ffi/abi.ts";
import { abiFor, hostAbi } from "../ffi/systems.ts";
import type { Libc } from "../ffi/contract.ts";
import { libc, useLibc } from "../ffi/libc.ts";
import {
  abstractUnix,
  type Address,
  bytesOf,
  decodeAddress,
  inet,
  inet6,
  isAddress,
  looksNumeric,
  parseIp,
  rawAddress,
  SocketAddress,
  unix,
  unspecified,
  vsock,
} from "../src/address/address.ts";
import { ErrnoError, NotSupportedError } from "../src/errors/errors.ts";
import { hasCommand, test } from "./_harness.ts";

const LINUX = abiFor("linux", "x64");

/** What the BSDs have, on a processor of the other byte order. */
const BSD: Abi = {
  ...LINUX,
  os: "openbsd",
  littleEndian: false,
  AF_INET6: 24,
  AF_VSOCK: null,
  sockaddr: { len: 0, family: 1, familySize: 1 },
  sockaddrUn: { path: 2, pathSize: 104 },
  sockaddrVm: null,
  abstractUnix: false,
};

/** Linux as s390x has it. */
const BIG_ENDIAN: Abi = { ...LINUX, littleEndian: false };

/** The interfaces that the fake library knows. */
const INTERFACES: Readonly<Record<string, number>> = { "eth0": 2, "a%b": 7 };

/** A C library that lays addresses out by a table and opens nothing. */
function layout(abi: Abi): Disposable {
  return useLibc(
    {
      abi,
      if_nametoindex(name: Uint8Array): number {
        assertEquals(name.indexOf(0), name.length - 1);
        const text = new TextDecoder().decode(name.subarray(0, -1));
        return INTERFACES[text] ?? -abi.errnos.ENODEV!;
      },
    } as Partial<Libc> as Libc,
  );
}

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  const pairs = hex.replace(/\s/g, "").match(/../g) ?? [];
  return Uint8Array.from(pairs, (pair) => parseInt(pair, 16));
}

test("inet() takes four decimal numbers and nothing else", () => {
  for (
    const host of ["0.0.0.0", "127.0.0.1", "255.255.255.255", "1.20.109.200"]
  ) {
    const address = inet(host, 80);
    assertEquals(address.family, "inet");
    assertEquals(address.hostname, host);
    assertEquals(address.port, 80);
    assertEquals(`${address}`, `${host}:80`);
  }
  const rejected = [
    "",
    ".",
    "1",
    "1.2.3",
    "1.2.3.",
    ".1.2.3",
    "1..2.3",
    "1.2.3.4.",
    "1.2.3.4.5",
    "01.2.3.4",
    "1.2.3.00",
    "256.1.1.1",
    "1.1.1.300",
    "1.1.1.4294967296",
    "0x10.1.1.1",
    "1e1.0.0.1",
    "+1.2.3.4",
    "-1.2.3.4",
    " 1.2.3.4",
    "1.2.3.4 ",
    "1.2.3.4\n",
    "1.2.3.4\0",
    "1.2.3.4%1",
    "1,2,3,4",
    "１.2.3.4",
    "1.2.3.٤",
    "2130706433",
    "localhost",
    "::1",
    "::ffff:1.2.3.4",
  ];
  for (const host of rejected) {
    const error = assertThrows(() => inet(host, 80), SyntaxError);
    assertStringIncludes(
      error.message,
      `Cannot parse host ${JSON.stringify(host)}: an IPv4 address is `,
    );
  }
});

test("inet6() takes the text of RFC 4291", () => {
  const rows: [host: string, hostname: string][] = [
    // RFC 4291, section 2.2.
    ["ABCD:EF01:2345:6789:ABCD:EF01:2345:6789", ""],
    ["2001:DB8:0:0:8:800:200C:417A", "2001:db8::8:800:200c:417a"],
    ["FF01:0:0:0:0:0:0:101", "ff01::101"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["2001:DB8::8:800:200C:417A", "2001:db8::8:800:200c:417a"],
    ["FF01::101", "ff01::101"],
    ["::1", ""],
    ["::", ""],
    ["0:0:0:0:0:0:13.1.68.3", "::d01:4403"],
    ["0:0:0:0:0:FFFF:129.144.52.38", "::ffff:129.144.52.38"],
    ["::13.1.68.3", "::d01:4403"],
    ["::FFFF:129.144.52.38", "::ffff:129.144.52.38"],
    // One "::" for one group, at either end and in the middle.
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["1:2:3::5:6:7:8", "1:2:3:0:5:6:7:8"],
    ["1::", ""],
    ["1::8", ""],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
    ["1:2:3:4:5::1.2.3.4", "1:2:3:4:5:0:102:304"],
    ["1::1.2.3.4", "1::102:304"],
  ];
  for (const [host, hostname] of rows) {
    const address = inet6(host, 80);
    assertEquals(address.family, "inet6");
    assertEquals(address.hostname, hostname || host.toLowerCase());
    assertEquals(address.port, 80);
    assertEquals(address.scopeId, 0);
    assertEquals(address.flowInfo, 0);
    assertEquals(`${address}`, `[${hostname || host.toLowerCase()}]:80`);
  }
});

test("inet6() writes the text of RFC 5952", () => {
  const rows: [host: string, hostname: string][] = [
    // Section 1 and 2: all of these are one address.
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8::1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8::0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:0db8::1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:0:1::1", "2001:db8::1:0:0:1"],
    ["2001:db8:0000:0:1::1", "2001:db8::1:0:0:1"],
    ["2001:DB8:0:0:1::1", "2001:db8::1:0:0:1"],
    // 4.1: no leading zeros, and a group of zeros is one zero.
    ["2001:0db8::0001", "2001:db8::1"],
    ["2001:db8:aaaa:bbbb:cccc:dddd:0000:1", "2001:db8:aaaa:bbbb:cccc:dddd:0:1"],
    // 4.2.1: as short as can be.
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8::0:1", "2001:db8::1"],
    // 4.2.2: never for one group.
    ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    // 4.2.3: the longest run, of equals the first.
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["0:0:1:0:0:0:0:1", "0:0:1::1"],
    ["0:0:0:1:1:0:0:0", "::1:1:0:0:0"],
    ["1:0:0:1:1:0:0:0", "1:0:0:1:1::"],
    ["1:0:1:0:1:0:1:0", "1:0:1:0:1:0:1:0"],
    // 4.3: lower case.
    ["2001:DB8::AbCd", "2001:db8::abcd"],
    // 5: the well-known prefix of mapped addresses, and no other.
    ["::ffff:c000:0201", "::ffff:192.0.2.1"],
    ["::ffff:0:0", "::ffff:0.0.0.0"],
    ["::fffe:c000:201", "::fffe:c000:201"],
    ["1::ffff:c000:201", "1::ffff:c000:201"],
    ["::ffff:0:c000:201", "::ffff:0:c000:201"],
  ];
  for (const [host, hostname] of rows) {
    assertEquals(inet6(host, 1).hostname, hostname, host);
  }
});

test("inet6() refuses what is not the text of RFC 4291", () => {
  using _ = layout(LINUX);
  const rejected = [
    "",
    ":",
    ":::",
    "::::",
    "1",
    "1:",
    ":1",
    "1:::2",
    "1::2::3",
    ":1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "1:2:3:4:5:6:7:8:",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "1:2:3:4::5:6:7:8",
    "::00001",
    "::12345",
    "::g",
    "::-1",
    "::0x1",
    ":: 1",
    " ::1",
    "::1 ",
    "::1\0",
    "::１",
    "[::1]",
    "::1/64",
    "1.2.3.4",
    "::1.2.3",
    "::1.2.3.4.5",
    "::01.2.3.4",
    "::1.2.3.256",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1:2:3:4:5:6::1.2.3.4",
    "1:2:3:4:5:1.2.3.4",
    "::abc.2.3.4",
    "::.2.3.4",
    "::ffff:1..3.4",
    "localhost",
    // Zones.
    "%",
    "%2",
    "fe80::1%",
    "fe80::1%02",
    "fe80::1%00",
    "fe80::1%4294967296",
    "fe80::1%99999999999999999999",
    "fe80::1%eth0\0",
    "fe80%2::1",
    ":%1",
  ];
  for (const host of rejected) {
    const error = assertThrows(() => inet6(host, 80), SyntaxError);
    assertStringIncludes(
      error.message,
      `Cannot parse host ${JSON.stringify(host)}: `,
    );
  }
});

test("inet6() reads zones by index and by name", () => {
  using _ = layout(LINUX);
  const rows: [host: string, scopeId: number, text: string][] = [
    ["fe80::1%2", 2, "[fe80::1%2]:80"],
    ["fe80::1%0", 0, "[fe80::1]:80"],
    ["fe80::1%4294967295", 4294967295, "[fe80::1%4294967295]:80"],
    ["fe80::1%eth0", 2, "[fe80::1%2]:80"],
    ["fe80::1%a%b", 7, "[fe80::1%7]:80"],
    ["::ffff:1.2.3.4%2", 2, "[::ffff:1.2.3.4%2]:80"],
    ["::%2", 2, "[::%2]:80"],
  ];
  for (const [host, scopeId, text] of rows) {
    const address = inet6(host, 80);
    assertEquals(address.scopeId, scopeId, host);
    assertEquals(address.hostname.includes("%"), false);
    assertEquals(`${address}`, text);
    assert(inet6(host, 80, { scopeId }).equals(address));
    assertThrows(
      () => inet6(host, 80, { scopeId: 5 }),
      TypeError,
      `Cannot use scopeId 5 with host "${host}": its zone is interface ` +
        `${scopeId}`,
    );
  }
  assertEquals(inet6("fe80::1", 80, { scopeId: 5 }).scopeId, 5);
  const error = assertThrows(() => inet6("fe80::1%eth9", 80), ErrnoError);
  assertEquals(error.code, "ENODEV");
  assertEquals(error.syscall, "if_nametoindex");
  assertStringIncludes(error.message, 'fe80::1%eth9: no interface is named "e');
});

libc(); // opened here, so that no test seems to leave it open

const INTERFACE = Object.keys(networkInterfaces())[0];

test("inet6() asks the C library for the name of a zone", () => {
  const { scopeId } = inet6(`fe80::1%${INTERFACE}`, 80);
  assert(scopeId > 0);
  const error = assertThrows(() => inet6("fe80::1%no-such-if", 80), ErrnoError);
  assert(error.code === "ENODEV" || error.code === "ENXIO");
}, { skip: INTERFACE === undefined ? "no interface is up" : null });

test("addresses refuse ports and other numbers out of range", () => {
  const makers: [argument: string, max: number, make: (n: never) => Address][] =
    [
      ["port", 0xffff, (n) => inet("127.0.0.1", n)],
      ["port", 0xffff, (n) => inet6("::1", n)],
      ["scopeId", 0xffffffff, (n) => inet6("::1", 1, { scopeId: n })],
      ["flowInfo", 0xffffffff, (n) => inet6("::1", 1, { flowInfo: n })],
      ["cid", 0xffffffff, (n) => vsock(n, 1)],
      ["port", 0xffffffff, (n) => vsock(1, n)],
    ];
  using _ = layout(LINUX);
  for (const [argument, max, make] of makers) {
    for (const value of [0, 1, max, -0]) {
      const fields = Object.entries(make(value as never));
      const field = fields.find(([name]) => name === argument);
      assertEquals(field?.[1], value + 0);
    }
    for (const value of [-1, max + 1, 1.5, NaN, Infinity, -Infinity, 1e300]) {
      assertThrows(
        () => make(value as never),
        RangeError,
        `Cannot use ${argument} ${value}: it must be an integer from 0 to ${max}`,
      );
    }
    for (
      const [value, text] of [
        ["80", '"80"'],
        ["", '""'],
        [null, "null"],
        [80n, "80n"],
        [true, "true"],
        [Symbol("x"), "Symbol(x)"],
        [[80], "[80]"],
        [{ valueOf: () => 80 }, "(an object)"],
        [() => 80, "(a function)"],
      ]
    ) {
      assertThrows(
        () => make(value as never),
        TypeError,
        `Cannot use ${argument} ${text as string}: it is not a number`,
      );
    }
  }
  const port: unknown = undefined;
  assertThrows(
    () => inet("127.0.0.1", port as number),
    TypeError,
    "Cannot use port undefined: it is not a number",
  );
});

test("addresses refuse arguments of another type", () => {
  const rows: [argument: string, make: (value: never) => Address][] = [
    ["host", (value) => inet(value, 1)],
    ["host", (value) => inet6(value, 1)],
    ["path", (value) => unix(value)],
    ["name", (value) => abstractUnix(value)],
  ];
  for (const [argument, make] of rows) {
    for (const value of [undefined, null, 1, {}, ["::1"], new String("::1")]) {
      assertThrows(
        () => make(value as never),
        TypeError,
        `Cannot use ${argument} `,
      );
    }
  }
  for (const value of [undefined, "ab", [1, 2], new ArrayBuffer(2)]) {
    assertThrows(
      () => rawAddress(value as never),
      TypeError,
      "Cannot use bytes ",
    );
  }
});

test("errors cut a long argument short", () => {
  const error = assertThrows(() => inet("1".repeat(1e6), 1), SyntaxError);
  assert(error.message.length < 500);
});

test("unix() takes a path that fits", () => {
  using _ = layout(LINUX);
  const address = unix("/run/x.sock");
  assertEquals(address.family, "unix");
  assertEquals(address.path, "/run/x.sock");
  assertEquals(address.abstract, false);
  assertEquals(`${address}`, "unix:/run/x.sock");
  for (const path of ["@x", ".", "/tmp/ü€😀", "/\uFEFF", "a".repeat(107)]) {
    assertEquals(unix(path).path, path);
    assertEquals(`${unix(path)}`, `unix:${path}`);
  }
  assertEquals(
    `${unix("\\x\x1b[1m\n\x7f\x9b")}`,
    "unix:\\\\x\\x1b[1m\\x0a\\x7f\\x9b",
  );
});

test("unix() refuses what cannot be a path", () => {
  using _ = layout(LINUX);
  assertThrows(() => unix(""), TypeError, 'Cannot use path "": ');
  for (const path of ["\0", "\0x", "/x\0", "/x\0y"]) {
    const error = assertThrows(() => unix(path), TypeError, "abstractUnix()");
    assertStringIncludes(error.message, JSON.stringify(path));
  }
  for (const path of ["\ud800", "/\udcff", "/\udc00\ud800"]) {
    const error = assertThrows(() => unix(path), TypeError, "surrogate");
    assertStringIncludes(error.message, JSON.stringify(path));
    assertThrows(() => abstractUnix(path), TypeError, "surrogate");
  }
});

test("unix() and abstractUnix() throw ENAMETOOLONG when the name does not fit", () => {
  for (const [abi, most] of [[LINUX, 107], [BSD, 103]] as const) {
    using _ = layout(abi);
    assertEquals(bytesOf(unix("a".repeat(most))).length, 2 + most + 1);
    for (const path of ["a".repeat(most + 1), "é".repeat(most / 2 + 1)]) {
      const error = assertThrows(() => unix(path), ErrnoError);
      assertEquals(error.code, "ENAMETOOLONG");
      assertEquals(error.syscall, "connect");
      assertEquals(error.address, path);
      assertStringIncludes(error.message, `${abi.os} takes at most ${most}`);
    }
  }
  using _ = layout(LINUX);
  assertEquals(bytesOf(abstractUnix("a".repeat(107))).length, 110);
  for (const name of ["a".repeat(108), new Uint8Array(108)]) {
    const error = assertThrows(() => abstractUnix(name), ErrnoError);
    assertEquals(error.code, "ENAMETOOLONG");
  }
});

test("abstractUnix() takes any bytes", () => {
  using _ = layout(LINUX);
  const rows: [string | Uint8Array, path: string, text: string][] = [
    ["name", "name", "unix:@name"],
    ["", "", "unix:@"],
    ["\0", "\0", "unix:@\\x00"],
    ["a\0", "a\0", "unix:@a\\x00"],
    ["ü", "ü", "unix:@ü"],
    [bytes("61 ff 80 62"), "a\udcff\udc80b", "unix:@a\\xff\\x80b"],
    [bytes("c3 28 e2 82 f0 9f 98 80"), "\udcc3(\udce2\udc82😀", ""],
    [bytes("ed a0 80"), "\udced\udca0\udc80", "unix:@\\xed\\xa0\\x80"],
  ];
  for (const [name, path, text] of rows) {
    const address = abstractUnix(name);
    assertEquals(address.abstract, true);
    assertEquals(address.path, path);
    if (text !== "") assertEquals(`${address}`, text);
    const raw = typeof name === "string"
      ? new TextEncoder().encode(name)
      : name;
    assertEquals(address.toBytes().subarray(3), raw);
    assertEquals(rawAddress(address.toBytes()), address);
  }
  const name = bytes("61 62");
  const address = abstractUnix(name);
  name[0] = 0x7a;
  assertEquals(address.path, "ab");
  assertEquals(`${address}`, "unix:@ab");
});

test("abstractUnix() and vsock() throw NotSupportedError where the system has none", () => {
  using _ = layout(BSD);
  assertThrows(() => abstractUnix("x"), NotSupportedError, "openbsd");
  assertThrows(() => vsock(2, 80), NotSupportedError, "openbsd");
});

test("addresses are encoded as Linux lays them out", () => {
  using _ = layout(LINUX);
  const rows: [Address, hex: string][] = [
    [inet("127.0.0.1", 0x1234), "0200 1234 7f000001 0000000000000000"],
    [inet("255.254.253.252", 0xffff), "0200 ffff fffefdfc 0000000000000000"],
    [
      inet6("2001:db8::1", 0x1234, { scopeId: 0x01020304, flowInfo: 0xabcde }),
      "0a00 1234 000abcde 20010db8000000000000000000000001 04030201",
    ],
    [
      inet6("::", 0),
      "0a00 0000 00000000 00000000000000000000000000000000 00000000",
    ],
    [unix("/x"), "0100 2f78 00"],
    [unix("/é"), "0100 2fc3a9 00"],
    [abstractUnix("x"), "0100 00 78"],
    [abstractUnix(""), "0100 00"],
    [vsock(2, 0x01020304), "2800 0000 04030201 02000000 00000000"],
    [vsock(0xffffffff, 0xffffffff), "2800 0000 ffffffff ffffffff 00000000"],
    [unspecified(), "0000 0000 00000000 0000000000000000"],
  ];
  for (const [address, hex] of rows) {
    assertEquals(address.toBytes(), bytes(hex));
    assertEquals(bytesOf(address).length, bytes(hex).length);
  }
});

test("addresses are encoded as a big-endian BSD lays them out", () => {
  using _ = layout(BSD);
  const rows: [Address, hex: string][] = [
    [inet("127.0.0.1", 0x1234), "10 02 1234 7f000001 0000000000000000"],
    [
      inet6("2001:db8::1", 0x1234, { scopeId: 0x01020304, flowInfo: 0xabcde }),
      "1c 18 1234 000abcde 20010db8000000000000000000000001 01020304",
    ],
    [unix("/x"), "05 01 2f78 00"],
    [unspecified(), "10 00 0000 00000000 0000000000000000"],
  ];
  for (const [address, hex] of rows) {
    assertEquals(address.toBytes(), bytes(hex));
    const scratch = new Uint8Array(128).fill(0xee);
    scratch.set(bytes(hex));
    assertEquals(decodeAddress(scratch, bytes(hex).length), address);
    assert(decodeAddress(scratch, bytes(hex).length).equals(address));
    // A wrong length byte is no slip of ours to repair.
    scratch[0]!++;
    assertEquals(rawAddress(scratch.slice(0, bytes(hex).length)).family, "raw");
  }
});

test("addresses are encoded as big-endian Linux lays them out", () => {
  using _ = layout(BIG_ENDIAN);
  assertEquals(
    vsock(2, 0x01020304).toBytes(),
    bytes("0028 0000 01020304 00000002 00000000"),
  );
  assertEquals(
    inet6("fe80::1%2", 80, { flowInfo: 1 }).toBytes(),
    bytes("000a 0050 00000001 fe800000000000000000000000000001 00000002"),
  );
  for (const address of [vsock(2, 3), inet6("fe80::1%2", 80), unix("/x")]) {
    assertEquals(rawAddress(address.toBytes()), address);
  }
});

test("a path of AIX may be longer than its length byte can say", () => {
  using _ = layout(abiFor("aix", "ppc64"));
  const address = unix("a".repeat(1022));
  assertEquals(address.toBytes().subarray(0, 3), bytes("ff 01 61"));
  assertEquals(address.toBytes().length, 2 + 1022 + 1);
  assertEquals(rawAddress(address.toBytes()), address);
  assertThrows(() => unix("a".repeat(1023)), ErrnoError, "ENAMETOOLONG");
});

/** The bytes of some addresses on one system. */
interface Golden {
  readonly systems: readonly (readonly [platform: string, arch: string])[];
  /** `127.0.0.1`, port 0x1234. */
  readonly inet: string;
  /** `2001:db8::1`, port 0x1234, flow information 0xabcde, scope 0x01020304. */
  readonly inet6: string;
  /** `/x`. */
  readonly path: string;
  /** The longest path, all of it `a`. */
  readonly longest: string;
  /** Context 2, port 0x01020304; `null` where there are none. */
  readonly vsock: string | null;
  readonly unspecified: string;
}

// From each system's headers, by hand: <netinet/in.h>, <sys/un.h>, <sys/socket.h>. No number here comes from a table.
const GOLDEN: readonly Golden[] = [
  {
    systems: [["linux", "x64"], ["linux", "arm64"]],
    inet: "0200 1234 7f000001 0000000000000000",
    inet6: "0a00 1234 000abcde 20010db8000000000000000000000001 04030201",
    path: "0100 2f78 00",
    longest: `0100 ${"61".repeat(107)} 00`,
    vsock: "2800 0000 04030201 02000000 00000000",
    unspecified: "0000 0000 00000000 0000000000000000",
  },
  {
    systems: [["darwin", "x64"], ["darwin", "arm64"]],
    inet: "10 02 1234 7f000001 0000000000000000",
    inet6: "1c 1e 1234 000abcde 20010db8000000000000000000000001 04030201",
    path: "05 01 2f78 00",
    longest: `6a 01 ${"61".repeat(103)} 00`,
    vsock: "0c 28 0000 04030201 02000000",
    unspecified: "10 00 0000 00000000 0000000000000000",
  },
  {
    systems: [["freebsd", "x64"], ["freebsd", "arm64"]],
    inet: "10 02 1234 7f000001 0000000000000000",
    inet6: "1c 1c 1234 000abcde 20010db8000000000000000000000001 04030201",
    path: "05 01 2f78 00",
    longest: `6a 01 ${"61".repeat(103)} 00`,
    vsock: null,
    unspecified: "10 00 0000 00000000 0000000000000000",
  },
  {
    systems: [
      ["openbsd", "x64"],
      ["openbsd", "arm64"],
      ["netbsd", "x64"],
      ["netbsd", "arm64"],
    ],
    inet: "10 02 1234 7f000001 0000000000000000",
    inet6: "1c 18 1234 000abcde 20010db8000000000000000000000001 04030201",
    path: "05 01 2f78 00",
    longest: `6a 01 ${"61".repeat(103)} 00`,
    vsock: null,
    unspecified: "10 00 0000 00000000 0000000000000000",
  },
  {
    // Its sockaddr_in6 ends in the identifier of the source address.
    systems: [["sunos", "x64"]],
    inet: "0200 1234 7f000001 0000000000000000",
    inet6:
      "1a00 1234 000abcde 20010db8000000000000000000000001 04030201 00000000",
    path: "0100 2f78 00",
    longest: `0100 ${"61".repeat(107)} 00`,
    vsock: null,
    unspecified: "0000 0000 00000000 0000000000000000",
  },
  {
    systems: [["aix", "ppc64"]],
    inet: "10 02 1234 7f000001 0000000000000000",
    inet6: "1c 18 1234 000abcde 20010db8000000000000000000000001 01020304",
    path: "05 01 2f78 00",
    longest: `ff 01 ${"61".repeat(1022)} 00`,
    vsock: null,
    unspecified: "10 00 0000 00000000 0000000000000000",
  },
];

for (const { systems, ...golden } of GOLDEN) {
  for (const [platform, arch] of systems) {
    const abi = abiFor(platform, arch);
    test(`addresses are encoded and decoded as ${abi.os} ${abi.arch} lays them out`, () => {
      using _ = layout(abi);
      const flowInfo = 0xabcde;
      const scopeId = 0x01020304;
      const longest = "a".repeat(golden.longest.match(/61/g)!.length);
      const rows: [Address, hex: string][] = [
        [inet("127.0.0.1", 0x1234), golden.inet],
        [inet6("2001:db8::1", 0x1234, { scopeId, flowInfo }), golden.inet6],
        [unix("/x"), golden.path],
        [unix(longest), golden.longest],
        [unspecified(), golden.unspecified],
      ];
      if (golden.vsock === null) {
        assertThrows(() => vsock(2, 0x01020304), NotSupportedError, abi.os);
      } else {
        rows.push([vsock(2, 0x01020304), golden.vsock]);
      }
      for (const [address, hex] of rows) {
        const known = bytes(hex);
        assertEquals(address.toBytes(), known);
        assertEquals(rawAddress(known), address);
        // Kernels write into memory that is larger, and was used before.
        const scratch = new Uint8Array(known.length + 8).fill(0xee);
        scratch.set(known);
        assertEquals(decodeAddress(scratch, known.length), address);
      }
      assertThrows(() => unix(`${longest}a`), ErrnoError, "ENAMETOOLONG");
      // Some kernels give a path back without the NUL at its end.
      const cut = bytes(golden.path).subarray(0, -1);
      assertEquals(decodeAddress(cut, cut.length), unix("/x"));
      const nobody = bytes(golden.path).subarray(0, 2);
      assertEquals(`${decodeAddress(nobody, nobody.length)}`, "unix:");
    });
  }
}

test("decodeAddress() evens out what the kernel returns", () => {
  using _ = layout(LINUX);
  const full = "61".repeat(108);
  const rows: [hex: string, text: string][] = [
    ["0200 0050 7f000001 0123456789abcdef", "127.0.0.1:80"],
    ["0100", "unix:"],
    ["0100 00", "unix:@"],
    ["0100 000000", "unix:@\\x00\\x00"],
    ["0100 2f78", "unix:/x"],
    ["0100 2f7800", "unix:/x"],
    ["0100 2f78002f7a", "unix:/x"],
    ["0100 2fff00", "unix:/\\xff"],
    [`0100 ${full}`, `unix:${"a".repeat(108)}`],
    [`0100 ${full} 00`, `unix:${"a".repeat(108)}`],
    ["2800 0000 50000000 02000000 01000000", "vsock:2:80"],
    ["0000", "unspec"],
    ["0000 000000", "unspec"],
  ];
  for (const [hex, text] of rows) {
    const input = bytes(hex);
    const address = decodeAddress(input, input.length);
    assertEquals(`${address}`, text);
    input.fill(0xee);
    assertEquals(
      `${decodeAddress(bytesOf(address), bytesOf(address).length)}`,
      text,
    );
    assertEquals(rawAddress(address.toBytes()), address);
  }
  assertEquals(
    decodeAddress(bytes("0100 2fff"), 4).toBytes(),
    bytes("0100 2fff 00"),
  );
  assert(decodeAddress(bytes("0100 2f78"), 4).equals(unix("/x")));
});

test("decodeAddress() keeps what it cannot describe as raw bytes", () => {
  using _ = layout(LINUX);
  const rows: [hex: string, familyNumber: number | null][] = [
    ["", null],
    ["02", null],
    ["1000", 16],
    ["1000 0000 01000000 00000000", 16],
    ["ffff", 0xffff],
    ["0200 0050 7f0000", 2],
    ["0200 0050 7f000001 0000000000000000 00", 2],
    ["0a00 0050 00000000 00000000000000000000000000000001 000000", 10],
    [`0100 ${"61".repeat(109)}`, 1],
    [`0100 ${"61".repeat(109)} 00`, 1],
    [`0100 00 ${"61".repeat(108)}`, 1],
    ["2800 0000 50000000 02000000", 40],
    ["0000 0001", 0],
  ];
  for (const [hex, familyNumber] of rows) {
    const input = bytes(hex);
    const address = decodeAddress(input, input.length);
    assert(address.family === "raw");
    assertEquals(address.familyNumber, familyNumber);
    assertEquals(address.hex, hex.replaceAll(" ", ""));
    assertEquals(`${address}`, `raw:${address.hex}`);
    assertEquals(address.toBytes(), bytes(hex));
    assertEquals(rawAddress(input), address);
  }
  // The kernel cut the address and says how long it was.
  const cut = decodeAddress(bytes("0200 0050"), 16);
  assert(cut.family === "raw");
  assertEquals(cut.hex, "02000050");
});

test("decodeAddress() finds no abstract names where the system has none", () => {
  using _ = layout(BSD);
  for (const hex of ["02 01", "10 01 0000000000000000000000000000", "00 01"]) {
    const input = bytes(hex);
    const address = decodeAddress(input, input.length);
    assert(address.family === "unix");
    assertEquals(address.path, "");
    assertEquals(address.abstract, false);
    assertEquals(address.toBytes(), bytes("02 01"));
  }
});

test("rawAddress() changes no byte", () => {
  using _ = layout(LINUX);
  const rows: [hex: string, family: Address["family"]][] = [
    ["0200 0050 7f000001 0000000000000000", "inet"],
    ["0200 0050 7f000001 0000000000000001", "raw"],
    ["0100 2f78 00", "unix"],
    ["0100 2f78", "raw"],
    ["0100 2f78 0000", "raw"],
    ["0100", "unix"],
    ["2800 0000 50000000 02000000 00000000", "vsock"],
    ["2800 0000 50000000 02000000 01000000", "raw"],
    ["0000 0000 00000000 0000000000000000", "unspec"],
    ["0000", "raw"],
    ["", "raw"],
    ["00".repeat(128), "raw"],
  ];
  for (const [hex, family] of rows) {
    const input = bytes(hex);
    const address = rawAddress(input);
    assertEquals(address.family, family, hex);
    input.fill(0xee);
    assertEquals(address.toBytes(), bytes(hex));
  }
  assertEquals(rawAddress(new Uint8Array(128)).toBytes().length, 128);
  assertThrows(
    () => rawAddress(new Uint8Array(129)),
    RangeError,
    "Cannot use bytes of length 129: ",
  );
});

test("addresses cannot be changed, forged or looked into", () => {
  using _ = layout(LINUX);
  const address = inet("127.0.0.1", 80);
  assertThrows(() => {
    (address as { hostname: string }).hostname = "10.0.0.1";
  }, TypeError);
  assertThrows(() => {
    (address as { port?: number }).port = 81;
  }, TypeError);
  address.toBytes().fill(0xee);
  assertEquals(address.toBytes(), inet("127.0.0.1", 80).toBytes());
  const Constructor = address.constructor as new (
    ...rest: unknown[]
  ) => unknown;
  assertThrows(
    () => new Constructor(Symbol(), new Uint8Array(16), {}),
    TypeError,
    "Cannot construct an address",
  );
  const forged = Object.create(SocketAddress.prototype);
  assertThrows(() => bytesOf(forged), TypeError);
  for (
    const value of [
      forged,
      { ...address },
      structuredClone(address),
      null,
      1,
      "x",
    ]
  ) {
    assertEquals(isAddress(value), false);
  }
  for (
    const value of [
      address,
      unix("/x"),
      vsock(1, 2),
      unspecified(),
      rawAddress(new Uint8Array(3)),
    ]
  ) {
    assert(isAddress(value));
    assert(value instanceof SocketAddress);
    assert(Object.isFrozen(value));
  }
});

test("inet6() refuses an option that it does not know", () => {
  const options = { scopeID: 2 } as unknown as { scopeId: number };
  assertThrows(
    () => inet6("fe80::1", 80, options),
    TypeError,
    "Cannot use options with scopeID: 2: did you mean scopeId?",
  );
});

test("no setter of a prototype takes a field from an address", () => {
  const makers: Readonly<Record<string, () => Address>> = {
    hostname: () => inet("10.1.2.3", 80),
    port: () => inet6("::1", 80),
    family: () => unspecified(),
    scopeId: () => inet6("fe80::1%2", 80),
    path: () => unix("/x"),
    cid: () => vsock(1, 2),
    hex: () => rawAddress(new Uint8Array(3)),
  };
  for (const prototype of [Object.prototype, SocketAddress.prototype]) {
    for (const [field, make] of Object.entries(makers)) {
      Object.defineProperty(prototype, field, {
        get: () => "127.0.0.1",
        set() {},
        configurable: true,
      });
      try {
        assertThrows(make, TypeError, "setter");
      } finally {
        Reflect.deleteProperty(prototype, field);
      }
      assert(Object.hasOwn(make(), field));
    }
  }
});

test("addresses show their fields", () => {
  using _ = layout(LINUX);
  const rows: [Address, json: string][] = [
    [
      inet("127.0.0.1", 80),
      '{"family":"inet","hostname":"127.0.0.1","port":80}',
    ],
    [
      inet6("FE80::1%2", 80, { flowInfo: 3 }),
      '{"family":"inet6","hostname":"fe80::1","port":80,"scopeId":2,"flowInfo":3}',
    ],
    [unix("/x"), '{"family":"unix","path":"/x","abstract":false}'],
    [vsock(2, 80), '{"family":"vsock","cid":2,"port":80}'],
    [unspecified(), '{"family":"unspec"}'],
    [
      rawAddress(bytes("1000ff")),
      '{"family":"raw","familyNumber":16,"hex":"1000ff"}',
    ],
  ];
  for (const [address, json] of rows) {
    assertEquals(JSON.stringify(address), json);
  }
});

test("equals() compares everything the kernel reads", () => {
  using _ = layout(LINUX);
  const different = [
    inet("127.0.0.1", 80),
    inet("127.0.0.1", 81),
    inet("127.0.0.2", 80),
    inet6("::ffff:127.0.0.1", 80),
    inet6("fe80::1", 80),
    inet6("fe80::1%1", 80),
    inet6("fe80::1%1", 80, { flowInfo: 1 }),
    unix("x"),
    unix("@x"),
    abstractUnix("x"),
    abstractUnix("x\0"),
    vsock(1, 2),
    vsock(2, 1),
    unspecified(),
    rawAddress(new Uint8Array(2)),
    rawAddress(new Uint8Array(0)),
  ];
  for (const [i, one] of different.entries()) {
    for (const [j, other] of different.entries()) {
      assertEquals(one.equals(other), i === j);
    }
  }
});

test("parseIp() distinguishes addresses from names", () => {
  using _ = layout(LINUX);
  const addresses: [host: string, text: string][] = [
    ["127.0.0.1", "127.0.0.1:7"],
    ["::1", "[::1]:7"],
    ["FE80::1%eth0", "[fe80::1%2]:7"],
    ["::ffff:1.2.3.4", "[::ffff:1.2.3.4]:7"],
  ];
  for (const [host, text] of addresses) {
    assertEquals(`${parseIp(host, 7)}`, text);
    assertEquals(parseIp(host)?.port, 0);
  }
  const names = [
    "localhost",
    "localhost.",
    "example.com",
    "1.example",
    "1.2.3.4.example.",
    "4.in-addr",
    "0y1",
    "x0x1",
    "1a",
    "a1",
    "0xg",
    "1.2.3.4x",
    "",
    ".",
    "..",
  ];
  for (const name of names) {
    assertEquals(looksNumeric(name), false, name);
    assertEquals(parseIp(name), null, name);
  }
  const neither = [
    "0x10.1.1.1",
    "1..2.3",
    "2130706433",
    "300.1.1.1",
    "1.2.3.4.",
    "127.1",
    "0x7f000001",
    "0X7F000001",
    "1.2.3.0x",
    "0x",
    "0",
    "08",
    "foo.0",
    "foo.0x4.",
    "foo.09",
    "1.2.3.4.5",
    "::1::",
    "[::1]",
    "localhost:80",
    "127.0.0.1:80",
    " 127.0.0.1",
  ];
  for (const host of neither) {
    assertEquals(looksNumeric(host), true, host);
    const error = assertThrows(() => parseIp(host), SyntaxError);
    assertStringIncludes(error.message, JSON.stringify(host));
  }
});

/** How many texts to try; half as many byte arrays. */
const FUZZ_COUNT = Number(process.env.FUZZ_COUNT ?? 50_000);

/** Random integers below a bound, the same ones in every run (mulberry32). */
function generator(seed: number): (below: number) => number {
  return function next(below) {
    seed = seed + 0x6d2b79f5 | 0;
    let x = Math.imul(seed ^ seed >>> 15, 1 | seed);
    x = x + Math.imul(x ^ x >>> 7, 61 | x) ^ x;
    return ((x ^ x >>> 14) >>> 0) % below;
  };
}

const ALPHABETS = [
  "0123456789.",
  "0123456789abcdefABCDEF:.%",
  "::::01f.",
  "0x.:%[]/\\ \0\n\t@etho１é😀\ud800\udcff-+",
];

function randomText(next: (below: number) => number): string {
  let text = "";
  switch (next(4)) {
    case 0:
      text = Array.from({ length: 4 }, () => next(next(2) ? 260 : 12)).join(
        ".",
      );
      break;
    case 1: {
      const groups = Array.from(
        { length: 8 },
        () => (next(2) ? next(0x10000) : 0).toString(16),
      );
      const cut = next(9);
      groups.splice(cut, next(9), ...(next(3) ? ["", ""] : []));
      text = groups.join(":");
      if (next(4) === 0) text += `:${next(256)}.${next(256)}.0.${next(256)}`;
      if (next(8) === 0) text += `%${next(2) ? next(99) : "eth0"}`;
      break;
    }
    default: {
      const alphabet = ALPHABETS[next(ALPHABETS.length)]!;
      for (let i = next(next(20) ? 24 : 140); i > 0; i--) {
        text += alphabet[next(alphabet.length)];
      }
    }
  }
  if (next(3) === 0) {
    const alphabet = ALPHABETS[next(ALPHABETS.length)]!;
    const at = next(text.length + 1);
    text = text.slice(0, at) + alphabet[next(alphabet.length)] +
      text.slice(at + next(2));
  }
  return text;
}

function isTyped(error: unknown): boolean {
  return error instanceof SyntaxError || error instanceof ErrnoError ||
    error instanceof TypeError &&
      /^Cannot use (path|name|host) /.test(error.message);
}

function assertRoundTrip(address: Address): void {
  const copy = address.toBytes();
  const again = rawAddress(copy);
  if (!again.equals(address) || `${again}` !== `${address}`) {
    throw new Error(`${address} came back as ${again}`);
  }
  const { length } = copy;
  if (!decodeAddress(copy, length).equals(address) && again.family !== "raw") {
    throw new Error(`${address} decodes to another address`);
  }
  if (address.family === "inet" || address.family === "inet6") {
    const { hostname, port } = address;
    const parsed = address.family === "inet"
      ? inet(hostname, port)
      : inet6(hostname, port, address);
    if (!parsed.equals(address)) {
      throw new Error(`${address} is read otherwise`);
    }
  }
}

/** Runs with errors that carry no stack, which would be most of the work. */
function withoutStacks(run: () => void): void {
  const { stackTraceLimit } = Error as { stackTraceLimit?: number };
  Object.assign(Error, { stackTraceLimit: 0 });
  try {
    run();
  } finally {
    Object.assign(Error, { stackTraceLimit });
  }
}

test(`random texts give an address or a typed error (${FUZZ_COUNT})`, () => {
  using _ = layout(LINUX);
  const makers: ((text: string) => Address | null)[] = [
    (text) => inet(text, 80),
    (text) => inet6(text, 80),
    (text) => parseIp(text, 80),
    unix,
    abstractUnix,
  ];
  const made = makers.map(() => 0);
  withoutStacks(() => {
    const next = generator(1);
    for (let i = 0; i < FUZZ_COUNT; i++) {
      const text = randomText(next);
      for (const [j, make] of makers.entries()) {
        let address: Address | null;
        try {
          address = make(text);
        } catch (error) {
          if (!isTyped(error)) throw error;
          continue;
        }
        if (address === null) continue;
        made[j]!++;
        assertRoundTrip(address);
      }
    }
  });
  // The texts are worth something: a good part of them is accepted.
  for (const count of made) assert(count > FUZZ_COUNT / 20, `${made}`);
});

test(`random bytes come back unchanged (${FUZZ_COUNT / 2})`, () => {
  const families = [0, 1, 2, 10, 16, 24, 40];
  for (const abi of [LINUX, BSD, BIG_ENDIAN]) {
    using _ = layout(abi);
    const next = generator(2);
    const known = new Set<string>();
    for (let i = 0; i < FUZZ_COUNT / 2; i += abi === LINUX ? 1 : 4) {
      const lengths = [next(129), 16, 28, next(8)];
      const input = new Uint8Array(lengths[next(4)]!);
      if (next(2)) {
        for (let j = 0; j < input.length; j++) input[j] = next(256);
      }
      if (input.length >= 2 && next(8)) {
        const family = families[next(families.length)]!;
        const { len, familySize } = abi.sockaddr;
        if (len !== null) input[0] = input.length;
        if (familySize === 1) input[1] = family;
        else new DataView(input.buffer).setUint16(0, family, abi.littleEndian);
        if (input.length >= 16 && next(2)) input.fill(0, input.length / 2 | 0);
      }
      const address = rawAddress(input);
      known.add(address.family);
      const output = bytesOf(address);
      let same = output.length === input.length;
      for (let j = 0; same && j < input.length; j++) {
        same = input[j] === output[j];
      }
      if (!same) throw new Error(`${input} became ${output}`);
      assertRoundTrip(address);
      // What the kernel returns is evened out once, and then stays as it is.
      const decoded = decodeAddress(input, input.length);
      assertRoundTrip(decoded);
    }
    assertEquals(known.size, abi === BSD ? 5 : 6);
  }
});

const PYTHON = `
import json, socket, sys
# All of the input before any output: the other side writes it all before it reads.
for line in sys.stdin.read().splitlines():
    text = json.loads(line)
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, text)
            found += [packed.hex(), socket.inet_ntop(family, packed)]
        except (OSError, ValueError):
            found += [None, None]
    print(json.dumps(found))
`;

test("inet() and inet6() agree with the C library's inet_pton()", () => {
  const next = generator(3);
  const texts = Array.from({ length: FUZZ_COUNT / 4 }, () => randomText(next))
    .filter((text) => !text.includes("%"));
  const input = texts.map((text) => JSON.stringify(text)).join("\n");
  const { error, status, stdout, stderr } = spawnSync(
    "python3",
    ["-c", PYTHON],
    { input, encoding: "utf8", maxBuffer: 1 << 28 },
  );
  if (error !== undefined) throw error;
  assertEquals(status, 0, stderr);
  const lines = stdout.trimEnd().split("\n");
  assertEquals(lines.length, texts.length);
  const { sockaddrIn, sockaddrIn6 } = hostAbi()!;
  let accepted = 0;
  withoutStacks(() => {
    for (const [i, line] of lines.entries()) {
      const text = texts[i]!;
      const [inetHex, inetText, inet6Hex, inet6Text] = JSON.parse(line);
      const one = attempt(() => inet(text, 0));
      const six = attempt(() => inet6(text, 0));
      const hex = toHex(one?.toBytes(), sockaddrIn.addr, 4);
      const hex6 = toHex(six?.toBytes(), sockaddrIn6.addr, 16);
      const shown = JSON.stringify(text);
      assertEquals(hex, inetHex, shown);
      assertEquals(hex6, inet6Hex, shown);
      if (one !== null) assertEquals(one.hostname, inetText, shown);
      // The C library writes the long obsolete ::1.2.3.4, RFC 5952 does not.
      if (six !== null && !/^0{24}/.test(inet6Hex)) {
        assertEquals(six.hostname, inet6Text, shown);
      }
      if (one !== null || six !== null) accepted++;
    }
  });
  assert(accepted > texts.length / 20, `${accepted}`);
}, { skip: hasCommand("python3") });

function attempt<T>(make: () => T): T | null {
  try {
    return make();
  } catch {
    return null;
  }
}

function toHex(
  bytes: Uint8Array | undefined,
  at: number,
  size: number,
): string | null {
  if (bytes === undefined) return null;
  return Array.from(
    bytes.subarray(at, at + size),
    (byte) => byte.toString(16).padStart(2, "0"),
  ).join("");
}
