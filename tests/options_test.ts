import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertNotEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { readFileSync } from "node:fs";
import process from "node:process";
import type { Abi } from "../ffi/abi.ts";
import type { Libc } from "../ffi/contract.ts";
import { currentAbi, libc } from "../ffi/libc.ts";
import { type Address, bytesOf, inet, inet6 } from "../src/address/address.ts";
import { Errno, isErrno, NotSupportedError } from "../src/errors/errors.ts";
import {
  getOption,
  isSupported,
  type KeepAlive,
  type ReadableSocketOptionName,
  setOption,
  type SocketOptionName,
  type SocketOptions,
} from "../src/socket/options.ts";
import {
  getRawOption,
  getRawOptionBytes,
  setRawOption,
} from "../src/socket/raw_options.ts";
import { readTcpInfo, type TcpInfo } from "../src/socket/tcp_info.ts";
import { pause } from "./_assertions.ts";
import {
  canFilter,
  inChild,
  listen,
  socketPair,
  useLibcWith,
} from "./_fixtures.ts";
import { unemulated } from "./_emulation.ts";
import { canIpv6, isRoot, needs, test } from "./_harness.ts";

const abi = currentAbi();
const onLinux = abi.os === "linux";

/** Linux sets twice the size that it is asked for, for its own bookkeeping. */
const LINUX_BUFFER_FACTOR = 2;
/** Linux keeps the two bits of ECN out of what a TCP socket is given. */
const LINUX_TOS_MASK = 0xfc;
/** What `struct tcp_info` had before anything was appended to it (Linux 2.6). */
const TCP_INFO_MIN = 104;

const LINUX_PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range";

type Kind = "stream" | "dgram";

interface Family {
  readonly title: string;
  readonly number: number;
  readonly skip: string | null;
}

const INET: Family = { title: "IPv4", number: abi.AF_INET, skip: null };
const INET6: Family = {
  title: "IPv6",
  number: abi.AF_INET6,
  skip: canIpv6(),
};

/** A descriptor that is closed at the end of the block. */
function open(family: number, kind: Kind): Disposable & { fd: number } {
  const type = kind === "stream" ? abi.SOCK_STREAM : abi.SOCK_DGRAM;
  const fd = libc().socket(family, type | (abi.SOCK_CLOEXEC ?? 0), 0);
  assertGreaterOrEqual(fd, 0, "socket() failed");
  return {
    fd,
    [Symbol.dispose]() {
      assertEquals(libc().close(fd), 0);
    },
  };
}

/** What an emulator that passes options on one by one does not know. */
const NOT_EMULATED: ReadonlySet<string> = new Set([
  "bindAddressNoPort",
  "interface",
  "localPortRange",
  "mark",
  "transparent",
]);

function unlessSupported(name: ReadableSocketOptionName): string | null {
  if (!isSupported(abi, name)) return `${abi.os} has no option ${name}`;
  return NOT_EMULATED.has(name) ? unemulated(`does not know ${name}`) : null;
}

/** An option, a value that is not its default, and what it then reads as. */
interface Row<N extends SocketOptionName & ReadableSocketOptionName> {
  readonly name: N;
  readonly value: SocketOptions[N];
  readonly reads?: SocketOptions[N];
  readonly kind?: Kind;
  readonly families?: readonly Family[];
  readonly skip?: string | null;
}

type AnyRow = {
  [N in SocketOptionName & ReadableSocketOptionName]: Row<N>;
}[SocketOptionName & ReadableSocketOptionName];

const BUFFER = 16_384;

const ROWS: readonly AnyRow[] = [
  { name: "reuseAddress", value: true },
  { name: "reusePort", value: true },
  { name: "broadcast", value: true, kind: "dgram" },
  { name: "noDelay", value: true },
  { name: "linger", value: 2000 },
  { name: "linger", value: 0 },
  { name: "ttl", value: 3 },
  { name: "ttl", value: 255, kind: "dgram" },
  { name: "minTtl", value: 254 },
  { name: "minTtl", value: 1, kind: "dgram" },
  { name: "priority", value: 6 },
  { name: "priority", value: 3, kind: "dgram" },
  { name: "pathMtuDiscovery", value: "do" },
  { name: "pathMtuDiscovery", value: "probe", kind: "dgram" },
  { name: "pathMtuDiscovery", value: "omit" },
  { name: "pathMtuDiscovery", value: "dont", kind: "dgram" },
  { name: "cork", value: true },
  { name: "unsentLowMark", value: 16_384 },
  { name: "typeOfService", value: 0xb8 },
  { name: "typeOfService", value: 0xb9, kind: "dgram" },
  {
    name: "typeOfService",
    value: 0xb9,
    reads: onLinux ? 0xb9 & LINUX_TOS_MASK : 0xb9,
  },
  { name: "interface", value: "lo", skip: onLinux ? null : "no lo" },
  { name: "mark", value: 7, skip: isRoot() },
  { name: "mark", value: 0x8000_0001, skip: isRoot() },
  { name: "userTimeout", value: 1500 },
  { name: "synRetries", value: 2 },
  { name: "fastOpen", value: true },
  { name: "congestion", value: "reno" },
  {
    name: "receiveBufferSize",
    value: BUFFER,
    reads: onLinux ? BUFFER * LINUX_BUFFER_FACTOR : BUFFER,
  },
  {
    name: "sendBufferSize",
    value: BUFFER,
    reads: onLinux ? BUFFER * LINUX_BUFFER_FACTOR : BUFFER,
  },
  { name: "v6Only", value: true, families: [INET6] },
  { name: "maxSegmentSize", value: 1000 },
  { name: "quickAck", value: false },
  { name: "freeBind", value: true },
  { name: "transparent", value: true, skip: isRoot() },
  { name: "bindAddressNoPort", value: true },
  { name: "localPortRange", value: [40_000, 50_100] },
  { name: "readErrorQueue", value: true },
  { name: "readErrorQueue", value: true, kind: "dgram" },
];

for (const row of ROWS) {
  const { name, value, kind = "stream", families = [INET, INET6] } = row;
  for (const family of families) {
    test(
      `setOption() sets ${name} to ${value} on an ${family.title} ${kind}`,
      () => {
        using socket = open(family.number, kind);
        const { reads = value } = row;
        const before = getOption(libc(), socket.fd, family.number, name);
        assertNotEquals(before, reads, "the default is no proof");
        setOption(libc(), socket.fd, family.number, name, value);
        assertEquals(
          getOption(libc(), socket.fd, family.number, name),
          reads,
        );
      },
      { skip: needs(unlessSupported(name), family.skip, row.skip ?? null) },
    );
  }
}

for (const family of [INET, INET6]) {
  const { number, skip } = family;
  test(
    `getOption() reports what an ${family.title} socket is`,
    () => {
      using stream = open(number, "stream");
      using datagram = open(number, "dgram");
      assertEquals(getOption(libc(), stream.fd, number, "type"), "stream");
      assertEquals(getOption(libc(), datagram.fd, number, "type"), "dgram");
      assertEquals(
        getOption(libc(), stream.fd, number, "acceptsConnections"),
        false,
      );
      if (isSupported(abi, "protocol")) {
        assertEquals(
          getOption(libc(), stream.fd, number, "protocol"),
          abi.IPPROTO_TCP,
        );
        assertEquals(
          getOption(libc(), datagram.fd, number, "protocol"),
          abi.IPPROTO_UDP,
        );
      }
    },
    { skip },
  );

  test(
    `setOption() sets every part of keepAlive on an ${family.title} socket`,
    () => {
      using socket = open(number, "stream");
      const at = [libc(), socket.fd, number, "keepAlive"] as const;
      assertEquals(getOption(...at), false);
      const times = { initialDelay: 20_000, interval: 3000, count: 4 };
      setOption(...at, times);
      assertEquals(getOption(...at), times);
      // What is left out stays.
      setOption(...at, { interval: 5000, count: undefined });
      assertEquals(getOption(...at), { ...times, interval: 5000 });
      setOption(...at, false);
      assertEquals(getOption(...at), false);
      setOption(...at, true);
      assertEquals(getOption(...at), { ...times, interval: 5000 });
    },
    { skip: needs(skip, abi.TCP_KEEPIDLE === null ? "no times" : null) },
  );
}

test("getOption() reads keepAlive as true where there are no times", () => {
  using socket = open(abi.AF_UNIX, "stream");
  const at = [libc(), socket.fd, abi.AF_UNIX, "keepAlive"] as const;
  setOption(...at, true);
  assertEquals(getOption(...at), true);
});

test("setOption() takes linger and interface back", () => {
  using socket = open(abi.AF_INET, "stream");
  const at = [libc(), socket.fd, abi.AF_INET] as const;
  assertEquals(getOption(...at, "linger"), null);
  setOption(...at, "linger", 5000);
  setOption(...at, "linger", null);
  assertEquals(getOption(...at, "linger"), null);
  if (unlessSupported("interface") !== null) return;
  assertEquals(getOption(...at, "interface"), "");
  setOption(...at, "interface", "");
  assertEquals(getOption(...at, "interface"), "");
});

test(
  "setOption() has the kernel choose the port from localPortRange",
  () => {
    using listener = listen();
    using socket = open(abi.AF_INET, "stream");
    const at = [libc(), socket.fd, abi.AF_INET, "localPortRange"] as const;
    // The upper half of what the system may choose from anyway.
    const range = readFileSync(LINUX_PORT_RANGE, "utf8").split(/\s+/);
    const high = Number(range[1]);
    const low = (Number(range[0]) + high + 1) >> 1;
    setOption(...at, [low, high]);
    const peer = bytesOf(listener.address);
    assertEquals(libc().connect(socket.fd, peer, peer.length), 0);
    const name = new Uint8Array(new ArrayBuffer(abi.sockaddrIn.size));
    assertEquals(libc().getsockname(socket.fd, name), name.length);
    const port = new DataView(name.buffer).getUint16(abi.sockaddrIn.port);
    assert(low <= port && port <= high, `${port}`);
    setOption(...at, [0, 0]);
    assertEquals(getOption(...at), [0, 0]);
  },
  { skip: unlessSupported("localPortRange") },
);

/** Whether this kernel was built with TCP_MD5SIG. */
function canMd5(): string | null {
  if (!isSupported(abi, "md5")) return `${abi.os} has no option md5`;
  const emulator = unemulated("hands on 4 bytes of TCP_MD5SIG");
  if (emulator !== null) return emulator;
  using socket = open(abi.AF_INET, "stream");
  try {
    setOption(libc(), socket.fd, abi.AF_INET, "md5", {
      address: inet("127.0.0.1", 0),
      key: "probe",
    });
    return null;
  } catch (error) {
    if (!isErrno(error, "ENOPROTOOPT")) throw error;
    return "this kernel has no TCP_MD5SIG";
  }
}

test(
  "setOption() sets and deletes an md5 key",
  () => {
    for (
      const [family, address] of [
        [INET, inet("127.0.0.1", 0)],
        [INET6, inet6("::1", 0)],
      ] as const
    ) {
      if (family.skip !== null) continue;
      using socket = open(family.number, "stream");
      const at = [libc(), socket.fd, family.number, "md5"] as const;
      const none = { address, key: "" };
      assertThrows(() => setOption(...at, none), Errno.ENOENT);
      setOption(...at, { address, key: "secret" });
      setOption(...at, { address, key: new Uint8Array(80).fill(1) });
      setOption(...at, none);
      assertThrows(() => setOption(...at, none), Errno.ENOENT);
    }
  },
  { skip: canMd5() },
);

// A listener without the key drops the signed SYN: nothing replies.
test(
  "tcpInfo() reports a pending handshake and counts its retransmissions",
  async () => {
    using listener = listen();
    using socket = open(abi.AF_INET, "stream");
    const c = libc();
    const flags = c.fcntl(socket.fd, abi.F_GETFL, 0);
    assertEquals(c.fcntl(socket.fd, abi.F_SETFL, flags | abi.O_NONBLOCK), 0);
    const { address } = listener;
    setOption(c, socket.fd, abi.AF_INET, "md5", { address, key: "secret" });
    const peer = bytesOf(address);
    assertEquals(
      c.connect(socket.fd, peer, peer.length),
      -abi.errnos.EINPROGRESS!,
    );
    const first = readTcpInfo(c, socket.fd);
    assertEquals(first.state, "SYN_SENT");
    assertEquals([first.rtt, first.minRtt], [null, null]);
    assertEquals(first.retransmits, 0);
    // The kernel repeats the SYN after a second.
    const end = performance.now() + 10_000;
    let info: TcpInfo;
    do {
      await pause(50);
      info = readTcpInfo(c, socket.fd);
    } while (info.totalRetransmits === 0 && performance.now() < end);
    assertEquals(info.state, "SYN_SENT");
    assertGreater(info.totalRetransmits ?? 0, 0);
    assertGreater(info.retransmits ?? 0, 0);
  },
  { skip: canMd5() },
);

const withoutTcpInfo = abi.tcpInfo === null
  ? `${abi.os} has none`
  : unemulated("reads 4 bytes of TCP_INFO");

for (const { title, number, skip } of [INET, INET6]) {
  test(
    `readTcpInfo() reports an established ${title} connection`,
    () => {
      const six = number === abi.AF_INET6;
      const at = six ? inet6("::1", 0) : inet("127.0.0.1", 0);
      using listener = listen<Address>({ at });
      using socket = open(number, "stream");
      const peer = bytesOf(listener.address);
      assertEquals(libc().connect(socket.fd, peer, peer.length), 0);
      const info = readTcpInfo(libc(), socket.fd);
      assertEquals(info.state, "ESTABLISHED");
      assertGreater(info.rtt ?? 0, 0);
      assert(info.rtt! < 1000, `a round trip of ${info.rtt} ms on loopback`);
      assertGreaterOrEqual(info.rttVariance, 0);
      assertEquals(info.retransmits ?? 0, 0);
      assertEquals(info.totalRetransmits ?? 0, 0);
      if (abi.os !== "linux") return;
      assertEquals(info.minRtt, info.rtt);
      assertGreater(info.mss ?? 0, 500);
      assertGreater(info.congestionWindow ?? 0, 0);
      assert(info.options!.includes("windowScale"), `${info.options}`);
    },
    { skip: needs(skip, withoutTcpInfo) },
  );
}

test("tcpInfo() reports an unconnected socket", () => {
  using socket = open(abi.AF_INET, "stream");
  const { state, rtt } = readTcpInfo(libc(), socket.fd);
  assertEquals([state, rtt], ["CLOSE", null]);
}, { skip: withoutTcpInfo });

/** The first SYN of each connection is lost on its way. */
const FORGETFUL = `
nft -f - <<END
table ip t {
  set seen { type inet_service; flags dynamic; size 1000; }
  chain o {
    type filter hook output priority 0
    tcp dport 80 tcp flags syn / syn,ack tcp sport @seen accept
    tcp dport 80 tcp flags syn / syn,ack add @seen { tcp sport } drop
  }
}
END
`;

test(
  "tcpInfo() has no round trip of a SYN that was repeated, until data bring one",
  async () => {
    const [before, after] = await inChild(
      { namespace: FORGETFUL },
      async ({ connect, inet, listen }) => {
        using listener = listen({ at: inet("127.0.0.1", 80) });
        using socket = await connect({ port: 80 });
        using peer = listener.accept();
        const before = socket.tcpInfo();
        socket.sendSync(new Uint8Array(1));
        peer.recvSync(new Uint8Array(1));
        return [{ ...before }, { ...socket.tcpInfo() }] as const;
      },
    );
    assertEquals(before.totalRetransmits, 1);
    assertEquals([before.rtt, before.minRtt], [null, null]);
    assertGreater(after.rtt ?? 0, 0);
  },
  {
    skip: needs(
      onLinux ? null : "a firewall of Linux",
      canFilter(),
    ),
  },
);

test("tcpInfo() throws the kernel's errno for a socket that is not TCP", () => {
  using socket = open(abi.AF_INET, "dgram");
  const error = assertThrows(() => readTcpInfo(libc(), socket.fd));
  assert(isErrno(error, "EOPNOTSUPP") || isErrno(error, "ENOPROTOOPT"));
  assertStringIncludes(error.message, "tcpInfo()");
}, { skip: withoutTcpInfo });

test("getOption() reads a user whose number is no int, and none as -1", () => {
  const { size, uid, gid } = abi.peerCredentials!;
  using _ = useLibcWith({
    getsockopt(_fd, _level, _name, value) {
      const view = new DataView(value.buffer);
      view.setUint32(uid, 3_000_000_000, abi.littleEndian);
      view.setUint32(gid, 0xffff_ffff, abi.littleEndian);
      return size;
    },
  });
  const peer = getOption(libc(), 0, abi.AF_UNIX, "peerCredentials");
  assertEquals([peer.uid, peer.gid], [3_000_000_000, -1]);
}, { skip: unlessSupported("peerCredentials") });

test("getOption() reads the path MTU of a connected socket", () => {
  using listener = listen<Address>({ at: inet("127.0.0.1", 0) });
  using socket = open(abi.AF_INET, "stream");
  const peer = bytesOf(listener.address);
  const read = () => getOption(libc(), socket.fd, abi.AF_INET, "mtu");
  assertThrows(read, Errno.ENOTCONN, 'option "mtu"');
  assertEquals(libc().connect(socket.fd, peer, peer.length), 0);
  assertGreaterOrEqual(read(), 576);
}, { skip: unlessSupported("mtu") });

test("getOption() reads who is on the other side", () => {
  const [near, far] = socketPair(abi.SOCK_STREAM);
  try {
    assertEquals(getOption(libc(), near, abi.AF_UNIX, "peerCredentials"), {
      pid: process.pid,
      uid: process.getuid!(),
      gid: process.getgid!(),
    });
  } finally {
    libc().close(near);
    libc().close(far);
  }
  using stranger = open(abi.AF_INET, "stream");
  const nobody = getOption(
    libc(),
    stranger.fd,
    abi.AF_INET,
    "peerCredentials",
  );
  assertEquals(nobody.pid, 0);
}, { skip: unlessSupported("peerCredentials") });

test("values of options are read once", () => {
  using socket = open(abi.AF_INET, "stream");
  const at = [libc(), socket.fd, abi.AF_INET] as const;
  let reads = 0;
  const times = {
    get initialDelay() {
      return ++reads === 1 ? 5000 : NaN;
    },
  };
  setOption(...at, "keepAlive", times);
  assertEquals(reads, 1);
  const { initialDelay } = getOption(...at, "keepAlive") as KeepAlive;
  assertEquals(initialDelay, 5000);
  assertThrows(
    () => setOption(...at, "keepAlive", { intreval: 5000 } as KeepAlive),
    TypeError,
    'option "keepAlive" with "intreval"',
  );
}, { skip: abi.TCP_KEEPIDLE === null ? "no such times" : null });

test("a message names the value that the kernel refuses", () => {
  using socket = open(abi.AF_INET, "stream");
  const at = [libc(), socket.fd, abi.AF_INET] as const;
  assertThrows(
    () => setOption(...at, "interface", "eth\u001b7"),
    Errno.ENODEV,
    'Cannot set option "interface" to "eth\\u001b7": no such device',
  );
  assertThrows(
    () => setRawOption(libc(), socket.fd, 1, 9999, 5),
    Errno.ENOPROTOOPT,
    "Cannot set option 9999 at level 1 to 5: ",
  );
  assertThrows(
    () => setOption(...at, "ttl", 0),
    RangeError,
    'Cannot set option "ttl" to 0: expected an integer from 1 to 255',
  );
}, { skip: onLinux ? null : "what Linux refuses" });

test("getRawOption() and setRawOption() reach options by number", () => {
  using socket = open(abi.AF_INET, "stream");
  const at = [libc(), socket.fd, abi.IPPROTO_TCP, abi.TCP_NODELAY] as const;
  assertEquals(getRawOption(...at), 0);
  setRawOption(...at, 1);
  assertNotEquals(getRawOption(...at), 0);
  setRawOption(...at, new Uint8Array(4));
  assertEquals(getRawOption(...at), 0);
});

test("setRawOption() takes bytes from where they begin", () => {
  using socket = open(abi.AF_INET, "stream");
  const whole = new Int32Array([9, 1, 7, 9]);
  const linger = new Uint8Array(whole.buffer, 4, 8);
  const at = [libc(), socket.fd, abi.SOL_SOCKET, abi.SO_LINGER] as const;
  setRawOption(...at, linger);
  assertEquals(
    getOption(libc(), socket.fd, abi.AF_INET, "linger"),
    7000,
  );
  assertEquals(getRawOptionBytes(...at, 8), linger);
});

test("getRawOptionBytes() returns as many bytes as the kernel", () => {
  using socket = open(abi.AF_INET, "stream");
  const at = [libc(), socket.fd, abi.SOL_SOCKET, abi.SO_LINGER] as const;
  assertEquals(getRawOptionBytes(...at, 64).length, 8);
  if (abi.os !== "linux") return;
  assertEquals(getRawOptionBytes(...at, 4).length, 4);
  assertEquals(getRawOptionBytes(...at, 0).length, 0);
  const { option } = abi.tcpInfo!;
  const [c, fd] = at;
  const info = getRawOptionBytes(c, fd, abi.IPPROTO_TCP, option, 4096);
  assertGreaterOrEqual(info.length, TCP_INFO_MIN);
  assert(info.length < 4096);
}, { skip: unemulated("reads 4 bytes of TCP_INFO") });

test("setOption() throws what the kernel refuses, and names the option", () => {
  using stream = open(abi.AF_INET, "stream");
  const at = [libc(), stream.fd, abi.AF_INET] as const;
  const rows = [
    ["v6Only", "ENOPROTOOPT", () => setOption(...at, "v6Only", true)],
    ["synRetries", "EINVAL", () => setOption(...at, "synRetries", 0)],
    ["interface", "ENODEV", () => setOption(...at, "interface", "none0")],
    ["congestion", "ENOENT", () => setOption(...at, "congestion", "none")],
    [
      "keepAlive.count",
      "EINVAL",
      () => setOption(...at, "keepAlive", { count: 128 }),
    ],
    [
      "noDelay",
      "EBADF",
      () => setOption(libc(), -1, abi.AF_INET, "noDelay", true),
    ],
  ] as const;
  for (const [name, code, run] of rows) {
    const error = assertThrows(run);
    assertInstanceOf(error, Errno[code]);
    assertEquals(error.syscall, "setsockopt");
    assertStringIncludes(error.message, `option "${name}"`);
  }
  // A refused time leaves the probes switched off.
  assertEquals(getOption(...at, "keepAlive"), false);
  const error = assertThrows(
    () => getOption(libc(), -1, abi.AF_INET, "ttl"),
    Errno.EBADF,
    'option "ttl"',
  );
  assertEquals(error.syscall, "getsockopt");
  assertThrows(
    () => getRawOption(libc(), -1, 6, 1),
    Errno.EBADF,
    "option 1 at level 6",
  );
}, { skip: onLinux ? null : "these are results of Linux" });

/** Fails at every call but those that are given. */
function scripted(methods: Partial<Libc>, facts: Partial<Abi> = {}): Libc {
  return new Proxy({ ...methods, abi: { ...abi, ...facts } } as Libc, {
    get(target, name) {
      if (name in target) return target[name as keyof Libc];
      throw new Error(`Unexpected call of ${String(name)}`);
    },
  });
}

/** The calls of setsockopt, as level, option and an int in little endian. */
function recorder(result = 0): {
  calls: [level: number, option: number, value: number][];
  setsockopt: Libc["setsockopt"];
} {
  const calls: [number, number, number][] = [];
  return {
    calls,
    setsockopt(_fd, level, option, bytes) {
      calls.push([level, option, new DataView(bytes.buffer).getInt32(0, true)]);
      return result;
    },
  };
}

/** A getsockopt that returns the same bytes for every option. */
function returning(value: Uint8Array): Pick<Libc, "getsockopt"> {
  return {
    getsockopt(_fd, _level, _option, bytes) {
      bytes.set(value.subarray(0, bytes.length));
      return Math.min(value.length, bytes.length);
    },
  };
}

const LINUX_LIKE: Partial<Abi> = {
  littleEndian: true,
  SOL_SOCKET: 1,
  IPPROTO_IP: 0,
  ttlMin: 1,
};

// deno-lint-ignore no-explicit-any
type Anything = any;

const BAD_VALUES: readonly (readonly [
  name: SocketOptionName,
  value: Anything,
  error: typeof TypeError | typeof RangeError,
  shown: string,
])[] = [
  ["noDelay", 1, TypeError, 'option "noDelay" to 1: expected a boolean'],
  ["noDelay", "yes", TypeError, 'to "yes"'],
  ["noDelay", undefined, TypeError, "to undefined"],
  ["noDelay", Symbol("on"), TypeError, "to Symbol(on)"],
  ["ttl", NaN, RangeError, 'option "ttl" to NaN'],
  ["ttl", -1, RangeError, 'option "ttl" to -1'],
  ["ttl", 1.5, RangeError, "to 1.5"],
  ["ttl", 256, RangeError, "to 256: expected an integer from 1 to 255"],
  ["ttl", 0, RangeError, "to 0: expected an integer from 1 to 255"],
  ["ttl", "64", TypeError, 'to "64": expected a number'],
  ["ttl", 64n, TypeError, "to 64"],
  ["ttl", null, TypeError, "to null"],
  ["minTtl", 256, RangeError, "to 256"],
  ["priority", -1, RangeError, "to -1"],
  ["pathMtuDiscovery", "on", TypeError, 'one of "dont", "want", "do"'],
  ["pathMtuDiscovery", 2, TypeError, "to 2"],
  ["cork", 1, TypeError, "to 1: expected a boolean"],
  ["unsentLowMark", 2 ** 32, RangeError, "to 4294967296"],
  ["typeOfService", 256, RangeError, "to 256"],
  ["mark", 2 ** 32, RangeError, "to 4294967296"],
  ["userTimeout", Infinity, RangeError, "to Infinity"],
  ["userTimeout", 0.5, RangeError, "to 0.5"],
  ["receiveBufferSize", 2 ** 31, RangeError, "to 2147483648"],
  ["sendBufferSize", -1, RangeError, "to -1"],
  ["linger", 1500, RangeError, 'option "linger" to 1500: expected a multiple'],
  ["linger", -1000, RangeError, "to -1000"],
  ["linger", true, TypeError, "to true"],
  ["linger", 2 ** 31 * 1000, RangeError, "to 2147483648000"],
  ["keepAlive", null, TypeError, "to null"],
  ["keepAlive", 1000, TypeError, "to 1000"],
  ["keepAlive", { initialDelay: 1500 }, RangeError, "keepAlive.initialDelay"],
  ["keepAlive", { interval: NaN }, RangeError, "keepAlive.interval"],
  ["keepAlive", { count: "3" }, TypeError, '"keepAlive.count" to "3"'],
  ["keepAlive", { count: null }, TypeError, '"keepAlive.count" to null'],
  // All of it is looked at before any of it is set.
  ["keepAlive", { initialDelay: 1000, count: -1 }, RangeError, "to -1"],
  ["interface", 2, TypeError, "to 2: expected a string"],
  ["interface", "lo\0x", RangeError, "NUL"],
  ["interface", "a".repeat(16), RangeError, "at most 15 bytes"],
  ["interface", "é".repeat(8), RangeError, "at most 15 bytes"],
  ["congestion", "a".repeat(16), RangeError, "at most 15 bytes"],
  ["congestion", "x".repeat(1000), RangeError, "…"],
  ["localPortRange", 40_000, TypeError, "to 40000"],
  ["localPortRange", [1], TypeError, "to [1]"],
  ["localPortRange", [1, 2, 3], TypeError, "to [1, 2, 3]"],
  ["localPortRange", [1, 65_536], RangeError, "localPortRange[1]"],
  ["localPortRange", [-1, 0], RangeError, "localPortRange[0]"],
  ["localPortRange", [2, 1], RangeError, "to [2, 1]: expected the lower"],
  ["md5", "secret", TypeError, 'option "md5"'],
  ["md5", { address: "127.0.0.1", key: "s" }, TypeError, "md5.address"],
  ["md5", { address: inet("127.0.0.1", 1), key: 1 }, TypeError, "md5.key"],
];

const FULL: Partial<Abi> = {
  ...LINUX_LIKE,
  SO_BINDTODEVICE: 25,
  SO_MARK: 36,
  SO_PRIORITY: 12,
  IP_MINTTL: 21,
  IPV6_MINHOPCOUNT: 73,
  IP_MTU_DISCOVER: 10,
  IPV6_MTU_DISCOVER: 23,
  TCP_CORK: 3,
  TCP_NOTSENT_LOWAT: 25,
  IP_LOCAL_PORT_RANGE: 51,
  TCP_CONGESTION: 13,
  TCP_KEEPIDLE: 4,
  TCP_KEEPINTVL: 5,
  TCP_KEEPCNT: 6,
  TCP_MD5SIG: 14,
  TCP_USER_TIMEOUT: 18,
  tcpMd5sig: {
    size: 216,
    addr: 0,
    addrSize: 128,
    keyLength: 130,
    key: 136,
    keySize: 80,
  },
};

test("setOption() refuses bad values before any system call", () => {
  const c = scripted({}, FULL);
  for (const [name, value, error, shown] of BAD_VALUES) {
    const { message } = assertThrows(
      () => setOption(c, 3, abi.AF_INET, name, value),
      error,
      shown,
    );
    assertStringIncludes(message, name);
  }
});

test("setOption() shows nothing of a key that is too long", () => {
  const key = "hunter2".repeat(12);
  const { message } = assertThrows(
    () =>
      setOption(scripted({}, FULL), 3, abi.AF_INET, "md5", {
        address: inet("127.0.0.1", 1),
        key,
      }),
    RangeError,
    "84 bytes: expected at most 80",
  );
  assert(!message.includes("hunter2"));
});

test("setOption() and getOption() refuse names that are not theirs", () => {
  const c = scripted({}, FULL);
  for (const name of ["noSuch", "constructor", "__proto__", 7] as Anything[]) {
    const shown = typeof name === "string" ? `"${name}"` : `${name}`;
    for (
      const [run, message] of [
        [() => setOption(c, 3, 2, name, true as Anything), "Cannot set option"],
        [() => getOption(c, 3, 2, name), "Cannot get option"],
        [() => isSupported(abi, name), "Cannot look up option"],
      ] as const
    ) {
      const error = assertThrows(run, TypeError);
      assertEquals(error.message, `${message} ${shown}: unknown name`);
    }
  }
  assertThrows(
    () => setOption(c, 3, 2, "type" as Anything, 1 as Anything),
    TypeError,
    'Cannot set option "type": it can only be read',
  );
  assertThrows(
    () => getOption(c, 3, 2, "md5" as Anything),
    TypeError,
    'Cannot get option "md5": it can only be set',
  );
});

test("setRawOption() and its kin refuse bad arguments", () => {
  const c = scripted({});
  const any = (value: unknown) => value as Anything;
  for (
    const [run, error, shown] of [
      [() => setRawOption(c, 3, NaN, 1, 1), RangeError, "at level NaN"],
      [() => setRawOption(c, 3, any("6"), 1, 1), TypeError, 'at level "6"'],
      [() => setRawOption(c, 3, 6, 1.5, 1), RangeError, "option 1.5"],
      [() => setRawOption(c, 3, 6, 1, 2 ** 32), RangeError, "to 4294967296"],
      [() => setRawOption(c, 3, 6, 1, 0.5), RangeError, "to 0.5"],
      [
        () => setRawOption(c, 3, 6, 1, any("1")),
        TypeError,
        "option 1 at level 6 to",
      ],
      [() => setRawOption(c, 3, 6, 1, any([1])), TypeError, "to [1]"],
      [() => getRawOption(c, 3, 6, 2 ** 31), RangeError, "option 2147483648"],
      [() => getRawOptionBytes(c, 3, 6, 1, -1), RangeError, "size -1"],
      [() => getRawOptionBytes(c, 3, 6, 1, NaN), RangeError, "size NaN"],
      [
        () => getRawOptionBytes(c, 3, 6, 1, any(undefined)),
        TypeError,
        "size undefined",
      ],
    ] as const
  ) assertThrows<Error>(run, error, shown);
});

/** What each option needs that not every system has. */
const NEEDS: readonly (readonly [
  name: SocketOptionName | ReadableSocketOptionName,
  value: Anything,
  lacking: Partial<Abi>,
])[] = [
  ["reusePort", true, { SO_REUSEPORT: null }],
  ["interface", "lo", { SO_BINDTODEVICE: null, IP_BOUND_IF: null }],
  ["mark", 1, { SO_MARK: null }],
  ["priority", 1, { SO_PRIORITY: null }],
  ["minTtl", 1, { IP_MINTTL: null, IPV6_MINHOPCOUNT: null }],
  ["pathMtuDiscovery", "do", {
    IP_MTU_DISCOVER: null,
    IPV6_MTU_DISCOVER: null,
  }],
  ["cork", true, { TCP_CORK: null }],
  ["unsentLowMark", 1, { TCP_NOTSENT_LOWAT: null }],
  ["mtu", 1, { IP_MTU: null, IPV6_MTU: null }],
  ["peerCredentials", {}, { peerCredentials: null }],
  ["userTimeout", 1000, { TCP_USER_TIMEOUT: null }],
  ["synRetries", 1, { TCP_SYNCNT: null }],
  ["fastOpen", true, { TCP_FASTOPEN_CONNECT: null }],
  ["congestion", "reno", { TCP_CONGESTION: null }],
  ["quickAck", true, { TCP_QUICKACK: null }],
  ["freeBind", true, { IP_FREEBIND: null }],
  ["transparent", true, { IP_TRANSPARENT: null }],
  ["bindAddressNoPort", true, { IP_BIND_ADDRESS_NO_PORT: null }],
  ["localPortRange", [1, 2], { IP_LOCAL_PORT_RANGE: null }],
  ["readErrorQueue", true, { IP_RECVERR: null, IPV6_RECVERR: null }],
  ["md5", {}, { TCP_MD5SIG: null }],
  ["protocol", 6, { SO_PROTOCOL: null }],
];

test("setOption() and getOption() name the system that lacks an option", () => {
  for (const [name, value, lacking] of NEEDS) {
    const c = scripted({}, { os: "openbsd", ...lacking });
    assertEquals(isSupported(c.abi, name), false);
    const any = name as Anything;
    const runs = [
      () => setOption(c, 3, abi.AF_INET, any, value),
      () => getOption(c, 3, abi.AF_INET6, any),
    ];
    for (const run of runs) {
      const error = assertThrows(run, NotSupportedError);
      assertEquals(error.feature, `option "${name}"`);
      assertEquals(error.platform, "openbsd");
    }
  }
});

test("setOption() needs the structure of md5, not only its number", () => {
  assertEquals(isSupported({ ...abi, tcpMd5sig: null }, "md5"), false);
});

test("keepAlive is a mere switch where the system has no times", () => {
  const facts = {
    ...LINUX_LIKE,
    TCP_KEEPIDLE: null,
    TCP_KEEPINTVL: null,
    TCP_KEEPCNT: null,
  };
  const { calls, setsockopt } = recorder();
  const one = returning(new Uint8Array([1, 0, 0, 0]));
  const c = scripted({ setsockopt, ...one }, facts);
  const at = [c, 3, abi.AF_INET, "keepAlive"] as const;
  setOption(...at, true);
  assertEquals(calls, [[abi.SOL_SOCKET, abi.SO_KEEPALIVE, 1]]);
  assertEquals(getOption(...at), true);
  const error = assertThrows(
    () => setOption(...at, { count: 3 }),
    NotSupportedError,
  );
  assertEquals(error.feature, 'option "keepAlive.count"');
  assertEquals(calls.length, 1);
});

test("setOption() counts keepAlive in seconds, the switch last", () => {
  const { calls, setsockopt } = recorder();
  const c = scripted({ setsockopt }, FULL);
  setOption(c, 3, abi.AF_INET, "keepAlive", {
    count: 4,
    interval: 3000,
    initialDelay: 20_000,
  });
  assertEquals(calls, [
    [abi.IPPROTO_TCP, 4, 20],
    [abi.IPPROTO_TCP, 5, 3],
    [abi.IPPROTO_TCP, 6, 4],
    [abi.SOL_SOCKET, abi.SO_KEEPALIVE, 1],
  ]);
});

test("setOption() sets the interface by index where it has no name", () => {
  const facts = {
    ...LINUX_LIKE,
    os: "darwin",
    SO_BINDTODEVICE: null,
    IP_BOUND_IF: 25,
    IPV6_BOUND_IF: 125,
  } as const;
  const names: string[] = [];
  const { calls, setsockopt } = recorder();
  const c = scripted({
    setsockopt,
    if_nametoindex(name) {
      names.push(new TextDecoder().decode(name));
      return names.length === 3 ? -abi.errnos.ENXIO! : 5;
    },
  }, facts);
  assertEquals(isSupported(c.abi, "interface"), true);
  setOption(c, 3, abi.AF_INET, "interface", "en0");
  setOption(c, 3, abi.AF_INET6, "interface", "a-name-longer-than-linux-has");
  setOption(c, 3, abi.AF_INET, "interface", "");
  assertEquals(names, ["en0\0", "a-name-longer-than-linux-has\0"]);
  assertEquals(calls, [
    [abi.IPPROTO_IP, 25, 5],
    [abi.IPPROTO_IPV6, 125, 5],
    [abi.IPPROTO_IP, 25, 0],
  ]);
  const error = assertThrows(
    () => setOption(c, 3, abi.AF_INET, "interface", "none0"),
    Errno.ENXIO,
    'option "interface"',
  );
  assertEquals(error.syscall, "if_nametoindex");
  assertEquals(calls.length, 3);
  assertThrows(
    () => getOption(c, 3, abi.AF_INET, "interface"),
    NotSupportedError,
    "darwin",
  );
});

test("options are in the byte order of the system", () => {
  const seen: number[][] = [];
  const c = scripted({
    setsockopt(_fd, _level, _option, bytes, length) {
      seen.push([...bytes.subarray(0, length)]);
      return 0;
    },
    getsockopt(_fd, _level, _option, bytes) {
      assertEquals(bytes.length, 4);
      bytes.set([0, 0, 1, 2]);
      return 4;
    },
  }, { ...FULL, littleEndian: false });
  setOption(c, 3, abi.AF_INET, "mark", 0x0102_0304);
  setOption(c, 3, abi.AF_INET, "localPortRange", [1, 2]);
  setOption(c, 3, abi.AF_INET, "linger", 3000);
  setRawOption(c, 3, 1, 2, 5);
  assertEquals(seen, [
    [1, 2, 3, 4],
    [0, 2, 0, 1],
    [0, 0, 0, 1, 0, 0, 0, 3],
    [0, 0, 0, 5],
  ]);
  assertEquals(getOption(c, 3, abi.AF_INET, "userTimeout"), 0x0102);
  assertEquals(getRawOption(c, 3, 1, 2), 0x0102);
});

test("setOption() lays out an md5 key as the kernel reads it", () => {
  let seen = new Uint8Array();
  const c = scripted({
    setsockopt(_fd, _level, _option, bytes, length) {
      seen = bytes.slice(0, length);
      return 0;
    },
  }, FULL);
  const address = inet("127.0.0.1", 80);
  setOption(c, 3, abi.AF_INET, "md5", { address, key: "key" });
  const expected = new Uint8Array(216);
  expected.set(bytesOf(address));
  expected[130] = 3;
  expected.set(new TextEncoder().encode("key"), 136);
  assertEquals(seen, expected);
});

test("getOption() takes a byte for an int, and nothing else", () => {
  const byte = scripted(returning(new Uint8Array([200])), LINUX_LIKE);
  assertEquals(getRawOption(byte, 3, 0, 1), 200);
  assertEquals(getOption(byte, 3, abi.AF_INET, "ttl"), 200);
  assertEquals(getOption(byte, 3, abi.AF_INET, "noDelay"), true);
  const odd = scripted(returning(new Uint8Array(3)), LINUX_LIKE);
  assertThrows(() => getRawOption(odd, 3, 0, 1), TypeError, "3 bytes");
  // A length that the result would have had is no length that it has.
  const long = scripted(returning(new Uint8Array(99).fill(1)), LINUX_LIKE);
  assertEquals(getRawOption(long, 3, 0, 1), 0x0101_0101);
  assertEquals(getRawOptionBytes(long, 3, 0, 1, 8), new Uint8Array(8).fill(1));
});

test("getOption() returns an unknown socket type by its number", () => {
  const c = scripted(returning(new Uint8Array([77, 0, 0, 0])), LINUX_LIKE);
  assertEquals(getOption(c, 3, abi.AF_INET, "type"), 77);
});

test("setOption() throws EPERM as its own class", () => {
  const { setsockopt } = recorder(-abi.errnos.EPERM!);
  const c = scripted({ setsockopt }, FULL);
  assertThrows(
    () => setOption(c, 3, abi.AF_INET, "mark", 1),
    Errno.EPERM,
    'option "mark"',
  );
});

const TCP_INFO: NonNullable<Abi["tcpInfo"]> = {
  option: 11,
  size: 256,
  state: 0,
  retransmits: 2,
  rtt: 68,
  rttvar: 72,
  rttUnit: 1,
  totalRetrans: 100,
  details: null,
  states: ["UNKNOWN", "ESTABLISHED"],
};

const DETAILS: NonNullable<typeof TCP_INFO.details> = {
  options: 5,
  optionNames: ["timestamps", "sack", "windowScale"],
  sndMss: 16,
  sndCwnd: 80,
  minRtt: 148,
  bytesAcked: 120,
};

/** A `struct tcp_info` of this length, for {@linkcode TCP_INFO}. */
function tcpInfoBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 1);
  view.setUint8(2, 3);
  view.setUint32(68, 1234, true);
  view.setUint32(72, 500, true);
  view.setUint32(100, 7, true);
  view.setUint8(5, 0b101);
  view.setUint32(16, 1448, true);
  view.setUint32(80, 10, true);
  view.setUint32(148, 250, true);
  view.setUint32(120, 2, true);
  return bytes.subarray(0, length);
}

test("tcpInfo() believes no byte that the kernel did not write", () => {
  function infoOf(length: number, facts: Partial<typeof TCP_INFO> = {}) {
    const tcpInfo = { ...TCP_INFO, ...facts };
    return scripted(returning(tcpInfoBytes(length)), {
      ...LINUX_LIKE,
      os: "freebsd",
      tcpInfo,
    });
  }
  const whole = {
    state: "ESTABLISHED",
    rtt: 1.234,
    rttVariance: 0.5,
    minRtt: null,
    retransmits: 3,
    totalRetransmits: 7,
    mss: null,
    congestionWindow: null,
    options: null,
  } satisfies TcpInfo;
  assertEquals(readTcpInfo(infoOf(256), 3), whole);
  assertEquals(readTcpInfo(infoOf(104), 3), whole);
  assertEquals(readTcpInfo(infoOf(103), 3), {
    ...whole,
    totalRetransmits: null,
  });
  assertEquals(readTcpInfo(infoOf(76), 3), {
    ...whole,
    totalRetransmits: null,
  });
  const details = DETAILS;
  assertEquals(readTcpInfo(infoOf(256, { details }), 3), {
    ...whole,
    minRtt: 0.25,
    mss: 1448,
    congestionWindow: 10,
    options: ["timestamps", "windowScale"],
  });
  assertEquals(readTcpInfo(infoOf(151, { details }), 3).minRtt, null);
  // Nothing shows whether data brought a sample after the repeated SYN.
  assertEquals(readTcpInfo(infoOf(123, { details }), 3).rtt, null);
  for (const length of [0, 1, 71, 75]) {
    const error = assertThrows(
      () => readTcpInfo(infoOf(length), 3),
      NotSupportedError,
    );
    assertEquals([error.feature, error.platform], ["tcpInfo()", "freebsd"]);
  }
  assertEquals(
    readTcpInfo(infoOf(256, { retransmits: null, totalRetrans: null }), 3),
    { ...whole, retransmits: null, totalRetransmits: null },
  );
  assertEquals(readTcpInfo(infoOf(256, { states: [] }), 3), {
    ...whole,
    state: "1",
  });
  assertEquals(readTcpInfo(infoOf(256, { rttUnit: 1000 }), 3), {
    ...whole,
    rtt: 1234,
    rttVariance: 500,
  });
});

test("tcpInfo() names the system that reports nothing", () => {
  const c = scripted({}, { os: "aix", tcpInfo: null });
  const error = assertThrows(() => readTcpInfo(c, 3), NotSupportedError);
  assertEquals([error.feature, error.platform], ["tcpInfo()", "aix"]);
});

/** Never called: what the type checker has to refuse. */
export function mistakes(c: Libc): void {
  // @ts-expect-error: it can only be read
  setOption(c, 3, 2, "type", "stream");
  // @ts-expect-error: it can only be set
  getOption(c, 3, 2, "md5");
  // @ts-expect-error: a boolean
  setOption(c, 3, 2, "noDelay", 1);
  // @ts-expect-error: no such option
  setOption(c, 3, 2, "noSuch", 1);
  const ttl: number = getOption(c, 3, 2, "ttl");
  const type: "stream" | "dgram" | "seqpacket" | "raw" | number = getOption(
    c,
    3,
    2,
    "type",
  );
  setOption(c, 3, 2, "linger", ttl > 3 && type === "stream" ? null : 0);
}
