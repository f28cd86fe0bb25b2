import { assert, assertEquals } from "@std/assert";
import { CATALOG, type CatalogEntry } from "../src/explain/catalog.ts";
import type { Abi, ErrnoCode, Os } from "../ffi/abi.ts";
import { abiFor } from "../ffi/systems.ts";
import { test } from "./_harness.ts";

/** What one system's manual names, in the order of its page. */
interface Page {
  readonly os: Os;
  readonly codes: readonly ErrnoCode[];
}

const PAGES: readonly Page[] = [
  {
    // IBM's reference of base operating system services, the connect subroutine.
    os: "aix",
    codes: [
      "EADDRINUSE",
      "EADDRNOTAVAIL",
      "EAFNOSUPPORT",
      "EALREADY",
      "EINTR",
      "EACCES",
      "ENOBUFS",
      "EOPNOTSUPP",
      "EWOULDBLOCK",
      "EBADF",
      "ECONNREFUSED",
      "EFAULT",
      "EINPROGRESS",
      "EINVAL",
      "EISCONN",
      "ENETDOWN",
      "ENETUNREACH",
      "ENOSPC",
      "ENOTCONN",
      "ENOTSOCK",
      "ETIMEDOUT",
      "EPROTOTYPE",
      "ELOOP",
      "ENOENT",
      "ENOTDIR",
    ],
  },
  {
    // connect.2 of xnu, dated March 18, 2015.
    os: "darwin",
    codes: [
      "EACCES", // SO_BROADCAST, then twice more for Unix paths
      "EADDRINUSE",
      "EADDRNOTAVAIL",
      "EAFNOSUPPORT",
      "EALREADY",
      "EBADF",
      "ECONNREFUSED",
      "EFAULT",
      "EHOSTUNREACH",
      "EINPROGRESS",
      "EINTR",
      "EINVAL",
      "EISCONN",
      "ENETDOWN",
      "ENETUNREACH",
      "ENOBUFS",
      "ENOTSOCK",
      "EOPNOTSUPP",
      "EPROTOTYPE",
      "ETIMEDOUT",
      "ECONNRESET",
      "EIO",
      "ELOOP",
      "ENAMETOOLONG",
      "ENOENT",
      "ENOTDIR",
    ],
  },
  {
    // connect.2 of FreeBSD, dated August 18, 2016.
    os: "freebsd",
    codes: [
      "EBADF",
      "EINVAL",
      "ENOTSOCK",
      "EADDRNOTAVAIL",
      "EAFNOSUPPORT",
      "EISCONN",
      "ETIMEDOUT",
      "ECONNREFUSED",
      "ECONNRESET",
      "ENETUNREACH",
      "EHOSTUNREACH",
      "EADDRINUSE",
      "EFAULT",
      "EINPROGRESS",
      "EINTR",
      "EALREADY",
      "EACCES", // broadcast, then twice more for Unix paths
      "EAGAIN",
      "ENOTDIR",
      "ENAMETOOLONG",
      "ENOENT",
      "ELOOP",
      "EPERM", // the last entry, in the words of the second EACCES
    ],
  },
  {
    // connect.3socket of illumos, dated Nov 25, 2014.
    os: "illumos",
    codes: [
      "EACCES",
      "EADDRINUSE",
      "EADDRNOTAVAIL",
      "EAFNOSUPPORT",
      "EALREADY",
      "EBADF",
      "ECONNREFUSED",
      "EINPROGRESS",
      "EINTR",
      "EINVAL",
      "EIO",
      "EISCONN",
      "ELOOP",
      "ENETUNREACH",
      "EHOSTUNREACH",
      "ENOENT", // twice: a directory, the socket
      "ENOSR",
      "ENXIO",
      "ETIMEDOUT",
      "EWOULDBLOCK",
      "ENOTDIR",
      "ENOTSOCK", // twice: the descriptor, the path
      "EPROTOTYPE",
    ],
  },
  {
    // Linux man-pages 6.03.
    os: "linux",
    codes: [
      // connect(2)
      "EACCES",
      "EPERM",
      "EADDRINUSE",
      "EADDRNOTAVAIL",
      "EAFNOSUPPORT",
      "EAGAIN",
      "EALREADY",
      "EBADF",
      "ECONNREFUSED",
      "EFAULT",
      "EINPROGRESS",
      "EINTR",
      "EISCONN",
      "ENETUNREACH",
      "ENOTSOCK",
      "EPROTOTYPE",
      "ETIMEDOUT",
      // ip(7)
      "EHOSTUNREACH",
      "EINVAL",
      "ENOBUFS",
      "ENOMEM",
      "ENOPROTOOPT",
      "EOPNOTSUPP",
      "ESOCKTNOSUPPORT",
      // ipv6(7)
      "ENODEV",
      // unix(7)
      "ECONNRESET",
      "ENFILE",
      "ENOENT",
    ],
  },
  {
    // connect.2 of OpenBSD, dated October 5, 2017.
    os: "openbsd",
    codes: [
      "EBADF",
      "ENOTSOCK",
      "EADDRNOTAVAIL",
      "EAFNOSUPPORT",
      "EISCONN",
      "ETIMEDOUT",
      "EINVAL", // broadcast and multicast
      "ECONNREFUSED",
      "EHOSTUNREACH",
      "EINTR",
      "ENETUNREACH",
      "EADDRINUSE",
      "EFAULT",
      "EINPROGRESS",
      "EALREADY",
      // TCP_MD5SIG. Found in the kernel, not read on the page: tcp_output() returns EPERM where no security association is
      // found, and EINVAL where signing fails.
      "EPERM",
      "ENOTDIR",
      "ENAMETOOLONG",
      "ENOENT",
      "EACCES", // twice: searching a directory, writing to the socket
      "ELOOP",
      "EPROTOTYPE",
    ],
  },
];

/** Entries whose page is silent about a part only. */
const BOTH: ReadonlySet<string> = new Set(["openbsd EINVAL"]);

/** Processors, as runtimes spell them, for which a system may have a table. */
const ARCHES = ["x64", "arm64", "ppc64", "riscv64", "s390x"];

const ENTRIES = Object.entries(CATALOG) as [ErrnoCode, CatalogEntry][];

for (const { os, codes } of PAGES) {
  test(`CATALOG describes for ${os} exactly what its page names`, () => {
    assertEquals(new Set(codes).size, codes.length, "a code stands twice");
    const described = ENTRIES.filter(([, entry]) =>
      entry.systems[os] !== undefined
    ).map(([code]) => code);
    assertEquals(described.sort(), [...codes].sort());
  });

  const tables = tablesOf(os);
  test(`CATALOG names for ${os} only what its errno table has`, () => {
    for (const { arch, errnos } of tables) {
      for (const [code, entry] of ENTRIES) {
        const line = entry.systems[os] ?? entry.unlisted?.[os];
        if (line === undefined) continue;
        assert(errnos[code] !== undefined, `${os} ${arch} lacks ${code}`);
      }
    }
  }, { skip: tables.length === 0 ? `no table describes ${os}` : null });
}

test("CATALOG describes no system without a page", () => {
  const known = new Set<string>(PAGES.map(({ os }) => os));
  for (const [code, entry] of ENTRIES) {
    const unlisted = entry.unlisted ?? {};
    for (
      const os of [...Object.keys(entry.systems), ...Object.keys(unlisted)]
    ) {
      assert(known.has(os), `${code}: ${os}`);
    }
  }
});

test("CATALOG lists what a system returns unlisted only where its page is silent", () => {
  for (const [code, entry] of ENTRIES) {
    for (const os of Object.keys(entry.unlisted ?? {}) as Os[]) {
      const both = `${os} ${code}`;
      if (BOTH.has(both)) continue;
      assert(entry.systems[os] === undefined, both);
    }
    const systems = Object.keys({ ...entry.systems, ...entry.unlisted });
    assert(systems.length > 0, `${code} belongs to no system`);
  }
});

test("CATALOG says of EINTR, EINPROGRESS and EALREADY alone that the attempt goes on", () => {
  const going = ENTRIES.filter(([, entry]) => entry.continues);
  assertEquals(going.map(([code]) => code).sort(), [
    "EALREADY",
    "EINPROGRESS",
    "EINTR",
  ]);
  for (const [code, entry] of ENTRIES) {
    assertEquals(entry.retry === "wait", entry.continues, code);
    if (entry.continues) assertEquals(entry.reusable, "no", code);
  }
});

test("CATALOG fills every field from its few words", () => {
  for (const [code, entry] of ENTRIES) {
    assertEquals(typeof entry.continues, "boolean", code);
    assert(["yes", "no", "depends"].includes(entry.reusable), code);
    assert(["wait", "later", "elsewhere", "never"].includes(entry.retry), code);
    if (entry.reusable === "depends") {
      assert(entry.note !== undefined, `${code} does not say on what`);
    }
  }
});

test("CATALOG writes meanings and systems as one line without a period", () => {
  for (const [code, entry] of ENTRIES) {
    const { systems, unlisted = {}, meaning } = entry;
    const lines = [
      meaning,
      ...Object.values(systems),
      ...Object.values(unlisted),
    ];
    for (const line of lines) {
      assert(/^[A-Z][^\n\r]*[^.\s]$/.test(line), `${code}: ${line}`);
    }
  }
});

test("CATALOG writes remedies and notes as one or two whole sentences on one line", () => {
  for (const [code, entry] of ENTRIES) {
    const { remedy, note } = entry;
    for (const text of note === undefined ? [remedy] : [remedy, note]) {
      assert(/^[A-Z][^\n\r]*\.$/.test(text), `${code}: ${text}`);
      // A period within backticks ends no sentence.
      const plain = text.replace(/`[^`]*`/g, "x");
      const sentences = plain.split(/\.(?= [A-Z]|$)/).length - 1;
      assert(sentences >= 1 && sentences <= 2, `${code}: ${text}`);
    }
  }
});

test("CATALOG uses no contractions", () => {
  for (const [code, entry] of ENTRIES) {
    assert(!/\w(n't|'ll|'re|'ve)\b/.test(JSON.stringify(entry)), code);
  }
});

function tablesOf(os: Os): Abi[] {
  const tables: Abi[] = [];
  for (const arch of ARCHES) {
    try {
      tables.push(abiFor(os, arch));
    } catch {
      // No table describes this pair.
    }
  }
  return tables;
}
