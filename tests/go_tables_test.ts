/**
 * The tables of systems against those that the Go project has made from the same headers, by a program of its own on each
 * system: `golang.org/x/sys/unix`, as Debian packages it. What Go lacks is pinned here, with the header that it is from.
 */
import { assert, assertEquals } from "@std/assert";
import { existsSync, readFileSync } from "node:fs";
import type { Abi } from "../ffi/abi.ts";
import { abiFor } from "../ffi/systems.ts";
import { hasFile, test } from "./_harness.ts";

const FOLDER = "/usr/share/gocode/src/golang.org/x/sys/unix";

interface Pinned {
  readonly header: string;
  readonly values: Readonly<Record<string, number>>;
}

interface System {
  readonly platform: string;
  readonly arch: string;
  /** How Go's files end. */
  readonly files: readonly string[];
  /** How many numbers agree at least. */
  readonly agree: number;
  /** Numbers that are not Go's, and why. */
  readonly different?: Readonly<Record<string, readonly [number, string]>>;
  /** What Go does not have. */
  readonly pinned: readonly Pinned[];
}

/** What is in `<netdb.h>` of the BSDs and Darwin, of which Go knows nothing. */
const BSD_EAIS = {
  EAI_ADDRFAMILY: 1,
  EAI_AGAIN: 2,
  EAI_BADFLAGS: 3,
  EAI_FAIL: 4,
  EAI_FAMILY: 5,
  EAI_MEMORY: 6,
  EAI_NODATA: 7,
  EAI_NONAME: 8,
  EAI_SERVICE: 9,
  EAI_SOCKTYPE: 10,
  EAI_SYSTEM: 11,
  EAI_BADHINTS: 12,
  EAI_PROTOCOL: 13,
  EAI_OVERFLOW: 14,
} as const;

const LINUX_EAIS = {
  EAI_BADFLAGS: -1,
  EAI_NONAME: -2,
  EAI_AGAIN: -3,
  EAI_FAIL: -4,
  EAI_NODATA: -5,
  EAI_FAMILY: -6,
  EAI_SOCKTYPE: -7,
  EAI_SERVICE: -8,
  EAI_ADDRFAMILY: -9,
  EAI_MEMORY: -10,
  EAI_SYSTEM: -11,
} as const;

const SYSTEMS: readonly System[] = [
  {
    platform: "linux",
    arch: "x64",
    files: ["linux", "linux_amd64"],
    agree: 200,
    pinned: [
      { header: "linux/in.h, 6.3", values: { IP_LOCAL_PORT_RANGE: 51 } },
      {
        header: "netdb.h",
        values: { AI_NUMERICHOST: 4, EAI_OVERFLOW: -12, ...LINUX_EAIS },
      },
    ],
  },
  {
    platform: "darwin",
    arch: "arm64",
    files: ["darwin_arm64"],
    agree: 150,
    different: {
      SO_LINGER: [0x80, "Go's counts ticks, ours is SO_LINGER_SEC"],
    },
    pinned: [
      {
        header: "netinet/tcp.h",
        values: {
          TCP_CORK: 4, // TCP_NOPUSH
          TCP_KEEPIDLE: 0x10, // TCP_KEEPALIVE
        },
      },
      { header: "sys/socket.h, macOS 15", values: { SO_BINDTODEVICE: 0x1134 } },
      { header: "sys/errno.h, macOS 26", values: { ENOTCAPABLE: 107 } },
      { header: "netdb.h", values: { AI_NUMERICHOST: 4, ...BSD_EAIS } },
    ],
  },
  {
    platform: "freebsd",
    arch: "x64",
    files: ["freebsd_amd64"],
    agree: 150,
    pinned: [
      { header: "netinet/tcp.h", values: { TCP_CORK: 4 } }, // TCP_NOPUSH
      { header: "netdb.h", values: { AI_NUMERICHOST: 4, ...BSD_EAIS } },
    ],
  },
  {
    platform: "openbsd",
    arch: "x64",
    files: ["openbsd_amd64"],
    agree: 140,
    pinned: [
      { header: "netinet/in.h", values: { IPPROTO_SCTP: 132 } },
      {
        header: "sys/socket.h",
        values: { SO_DOMAIN: 0x1024, SO_PROTOCOL: 0x1025 },
      },
      { header: "netinet/tcp.h", values: { TCP_CORK: 0x10 } }, // TCP_NOPUSH
      {
        header: "netdb.h",
        values: {
          AI_NUMERICHOST: 4,
          EAI_BADHINTS: -12,
          EAI_PROTOCOL: -13,
          EAI_OVERFLOW: -14,
          ...LINUX_EAIS,
        },
      },
    ],
  },
  {
    platform: "netbsd",
    arch: "x64",
    files: ["netbsd_amd64"],
    agree: 140,
    pinned: [
      { header: "netinet/in.h", values: { IPPROTO_SCTP: 132 } },
      {
        header: "sys/errno.h, 10",
        values: { EOWNERDEAD: 97, ENOTRECOVERABLE: 98 },
      },
      { header: "netdb.h", values: { AI_NUMERICHOST: 4, ...BSD_EAIS } },
    ],
  },
  {
    platform: "sunos",
    arch: "x64",
    files: ["solaris_amd64"],
    agree: 170,
    pinned: [
      { header: "sys/socket.h", values: { SO_PROTOCOL: 0x1009 } },
      {
        header: "netinet/tcp.h",
        values: { TCP_QUICKACK: 0x26, TCP_MD5SIG: 0x27 },
      },
      {
        header: "netdb.h",
        values: {
          AI_NUMERICHOST: 0x20,
          EAI_ADDRFAMILY: 1,
          EAI_AGAIN: 2,
          EAI_BADFLAGS: 3,
          EAI_FAIL: 4,
          EAI_FAMILY: 5,
          EAI_MEMORY: 6,
          EAI_NODATA: 7,
          EAI_NONAME: 8,
          EAI_SERVICE: 9,
          EAI_SOCKTYPE: 10,
          EAI_SYSTEM: 11,
          EAI_OVERFLOW: 12,
        },
      },
    ],
  },
  {
    platform: "aix",
    arch: "ppc64",
    files: ["aix_ppc64"],
    agree: 155,
    pinned: [
      { header: "sys/socket.h, 7.1", values: { MSG_DONTWAIT: 0x4000 } },
      { header: "fcntl.h", values: { F_DUPFD_CLOEXEC: 16 } },
      {
        header: "netdb.h",
        values: {
          AI_NUMERICHOST: 4,
          EAI_AGAIN: 2,
          EAI_BADFLAGS: 3,
          EAI_FAIL: 4,
          EAI_FAMILY: 5,
          EAI_MEMORY: 6,
          EAI_NODATA: 7,
          EAI_NONAME: 8,
          EAI_SERVICE: 9,
          EAI_SOCKTYPE: 10,
          EAI_SYSTEM: 11,
          EAI_OVERFLOW: 13,
        },
      },
    ],
  },
];

/** Go's files about one system, as one text. */
function readGo({ files }: System): string {
  return files.flatMap((name) =>
    ["zerrors", "ztypes"].map((kind) => `${FOLDER}/${kind}_${name}.go`)
  )
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
}

/** Go's constants by name: plain numbers, and errnos. */
function constantsOf(text: string): Map<string, number> {
  const line =
    /^\s+(\w+)\s+=\s+(?:syscall\.Errno\()?(-?(?:0x[\da-f]+|\d+))\)?$/gm;
  return new Map(
    [...text.matchAll(line)].map(([, name, number]) => [name!, Number(number)]),
  );
}

/** The numbers of a table that have a C name, errnos and failures of getaddrinfo among them. */
function numbersOf(abi: Abi): [string, number][] {
  return [abi, abi.errnos, abi.eais].flatMap((record) =>
    Object.entries(record).filter(([name, value]) =>
      /^[A-Z]/.test(name) && typeof value === "number"
    ) as [string, number][]
  );
}

const needsGo = hasFile(
  `${FOLDER}/zerrors_aix_ppc64.go`,
  "the package golang-golang-x-sys-dev",
);

for (const system of SYSTEMS) {
  const { platform, arch, agree, different = {}, pinned } = system;

  test(
    `the table of ${platform} has Go's numbers, and pins those that Go lacks`,
    () => {
      const go = constantsOf(readGo(system));
      const same: string[] = [];
      const others: Record<string, number> = {};
      const lacking: Record<string, number> = {};
      for (const [name, value] of numbersOf(abiFor(platform, arch))) {
        const theirs = go.get(name);
        if (theirs === undefined) lacking[name] = value;
        else if (theirs === value) same.push(name);
        else others[name] = theirs;
      }
      assertEquals(
        others,
        Object.fromEntries(
          Object.entries(different).map(([name, [value]]) => [name, value]),
        ),
      );
      assertEquals(
        lacking,
        Object.assign({}, ...pinned.map(({ values }) => values)),
      );
      assert(same.length >= agree, `${same.length} agree`);
    },
    { skip: needsGo },
  );

  test(
    `the table of ${platform} has every errno and every fact that Go knows`,
    () => {
      const text = readGo(system);
      const go = constantsOf(text);
      const abi = abiFor(platform, arch);
      const errnos = [
        ...text.matchAll(/^\s+(E[A-Z\d]+)\s+=\s+syscall\.Errno/gm),
      ]
        .map(([, name]) => name!)
        // The last one's second name, which is nobody's errno.
        .filter((name) => name !== "ELAST" && !Object.hasOwn(abi.errnos, name));
      assertEquals(errnos, []);
      const facts = Object.entries(abi)
        .filter(([name, value]) => value === null && go.has(name))
        .map(([name]) => name);
      assertEquals(facts, []);
    },
    { skip: needsGo },
  );

  test(`the table of ${platform} lays structures out as Go does`, () => {
    const go = structuresOf(readGo(system));
    const abi = abiFor(platform, arch);
    const inet = go("RawSockaddrInet4");
    assertEquals(abi.sockaddrIn, {
      size: inet.size,
      port: inet.fields.Port!,
      addr: inet.fields.Addr!,
    });
    const inet6 = go("RawSockaddrInet6");
    assertEquals(abi.sockaddrIn6, {
      size: inet6.size,
      port: inet6.fields.Port!,
      flowInfo: inet6.fields.Flowinfo!,
      addr: inet6.fields.Addr!,
      scopeId: inet6.fields.Scope_id!,
    });
    assertEquals(abi.sockaddr.len, inet.fields.Len ?? null);
    assertEquals(abi.sockaddr.family, inet.fields.Family);
    const unix = go("RawSockaddrUnix");
    assertEquals(abi.sockaddrUn, {
      path: unix.fields.Path!,
      pathSize: unix.sizes.Path!,
    });
    const poll = go("PollFd");
    assertEquals(abi.pollfd, {
      size: poll.size,
      fd: poll.fields.Fd!,
      events: poll.fields.Events!,
      revents: poll.fields.Revents!,
    });
    assertEquals(go("Linger").fields, { Onoff: 0, Linger: 4 });
    if (abi.sockaddrVm !== null) {
      const vm = go("RawSockaddrVM");
      assertEquals(abi.sockaddrVm, {
        size: vm.size,
        port: vm.fields.Port!,
        cid: vm.fields.Cid!,
      });
    }
    if (platform === "darwin") {
      const info = go("TCPConnectionInfo");
      assertEquals(abi.tcpInfo!.size, info.size);
      assertEquals(abi.tcpInfo!.state, info.fields.State!);
      assertEquals(abi.tcpInfo!.rtt, info.fields.Srtt!);
      assertEquals(abi.tcpInfo!.rttvar, info.fields.Rttvar!);
      assertEquals(abi.tcpInfo!.totalRetrans, info.fields.Txretransmitpackets!);
    }
    if (platform === "linux") {
      const info = go("TCPInfo");
      assertEquals(abi.tcpInfo!.rtt, info.fields.Rtt!);
      assertEquals(abi.tcpInfo!.rttvar, info.fields.Rttvar!);
      assertEquals(abi.tcpInfo!.totalRetrans, info.fields.Total_retrans!);
      assertEquals(abi.tcpInfo!.retransmits, info.fields.Retransmits!);
    }
  }, { skip: needsGo });
}

/** Where the fields of a structure lie, and how large they are, in bytes. */
interface Layout {
  readonly size: number;
  readonly fields: Readonly<Record<string, number>>;
  readonly sizes: Readonly<Record<string, number>>;
}

/** Lays Go's structures out by the rules of C, which Go's generated types keep to. */
function structuresOf(text: string): (name: string) => Layout {
  return (name) => {
    const body = new RegExp(`^type ${name} struct \\{\\n([^}]*)\\}`, "m")
      .exec(text)?.[1];
    if (body === undefined) throw new Error(`Go has no ${name}`);
    const fields: Record<string, number> = {};
    const sizes: Record<string, number> = {};
    let end = 0;
    let widest = 1;
    for (
      const [, field, count, type] of body.matchAll(
        /^\s+(\w+)\s+(?:\[(\d+)\])?(\w+)/gm,
      )
    ) {
      const width = widthOf(type!);
      end = Math.ceil(end / width) * width;
      widest = Math.max(widest, width);
      fields[field!] = end;
      sizes[field!] = width * Number(count ?? 1);
      end += sizes[field!]!;
    }
    return { size: Math.ceil(end / widest) * widest, fields, sizes };
  };
}

function widthOf(type: string): number {
  if (type === "byte") return 1;
  const bits = /^u?int(8|16|32|64)$/.exec(type)?.[1];
  if (bits === undefined) throw new Error(`How large is a ${type}?`);
  return Number(bits) / 8;
}
