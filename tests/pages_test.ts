/**
 * The examples of the systems' own pages of connect, in `tests/examples/`: each on this kernel, and on the simulated one of
 * the system whose page it is from.
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { abiFor } from "../ffi/systems.ts";
import { type ErrnoError, inet, type Socket } from "../mod.ts";
import { connectMapped } from "./examples/connect_async.ts";
import { connectThroughSignals } from "./examples/connect_wait.ts";
import { peersInTurn } from "./examples/dissolve.ts";
import { connectToServer } from "./examples/unix_client.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  inChild,
  listen,
  tempFolder,
} from "./_fixtures.ts";
import { canIpv6, needs, onLinux, test } from "./_harness.ts";
import { simulate, type Simulation } from "./_simulation.ts";
import { unix } from "../src/address/address.ts";

/** A kernel of another system, which ends with nothing open and nothing to complain of. */
function onSystem(platform: string, arch: string): Simulation {
  const system = simulate(abiFor(platform, arch));
  const end = system[Symbol.dispose];
  return Object.assign(system, {
    [Symbol.dispose]() {
      end();
      assertEquals(system.complaints, []);
      assertEquals(system.descriptors, []);
    },
  });
}

/** Waits until the package has given up what it waits with. */
async function settled(system: Simulation): Promise<void> {
  for (let i = 0; i < 1000 && system.descriptors.length > 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function codeOf(error: unknown): string {
  return (error as ErrnoError).code;
}

/** Waits until a SYN for a port of this machine has had no reply. */
async function begun(port: number): Promise<void> {
  const SYN_SENT = "02";
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (;;) {
    const sockets = readFileSync("/proc/net/tcp", "utf8").split("\n")
      .map((line) => line.trim().split(/\s+/));
    // Those that fill the listener's queue are connected.
    if (
      sockets.some(([, , to, state]) => to === remote && state === SYN_SENT)
    ) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The other end of a connection, which is closed then. */
function ends(socket: Socket): string {
  using open = socket;
  return `${open.remoteAddress}`;
}

// OpenBSD: connect_wait ---------------------------------------------------------------

test("OpenBSD's example connects through a storm of signals", async () => {
  using hole = blackHole();
  const found = inChild(
    {},
    ({ errnoName, inet, Socket, stormOfSignals }, example, port) => {
      const codes: string[] = [];
      function note(errno: number): string {
        codes.push(errnoName(errno));
        return codes.at(-1)!;
      }
      const act = new Function("errnoName", "Socket", `return ${example}`)(
        note,
        Socket,
      ) as typeof connectThroughSignals;
      using _storm = stormOfSignals(2);
      using socket = act(inet("127.0.0.1", port));
      return [`${socket.remoteAddress}`, ...codes];
    },
    `${connectThroughSignals}`,
    hole.address.port,
  );
  // Room for it before it has begun would leave nothing to interrupt. Later on, the kernel repeats the SYN after a second.
  await begun(hole.address.port);
  hole.accept().close();
  assertEquals(await found, [`${hole.address}`, "EINTR"]);
}, { skip: needs(canBlackHole(), onLinux) });

test("OpenBSD's example connects on OpenBSD, interrupted or not", () => {
  using system = onSystem("openbsd", "x64");
  const at = { family: "inet", host: "10.0.0.1", port: 80 } as const;
  system.plan(at, { delay: 20 });
  for (const signals of [0, 1]) {
    system.interrupt("connect", signals);
    system.interrupt("poll", 3 * signals);
    assertEquals(
      ends(connectThroughSignals(inet(at.host, at.port))),
      "10.0.0.1:80",
    );
  }
  for (
    const [signals, errno] of [[1, "ETIMEDOUT"], [1, "ECONNREFUSED"]] as const
  ) {
    system.plan(at, { delay: 20, errno });
    system.interrupt("connect", signals);
    const error = assertThrows(() =>
      connectThroughSignals(inet(at.host, at.port))
    );
    assertEquals(codeOf(error), errno);
  }
});

test("OpenBSD's example says why nothing could be begun", () => {
  using closed = bound();
  assertThrows(
    () => connectThroughSignals(closed.address),
    Error,
    "ECONNREFUSED",
  );
});

// illumos: v6, then v4 as a mapped address --------------------------------------------

test("illumos's example connects to IPv4 by a mapped address", async () => {
  using listener = listen();
  const { port } = listener.address;
  const socket = await connectMapped("127.0.0.1", port);
  assertEquals(ends(socket), `[::ffff:127.0.0.1]:${port}`);
}, { skip: canIpv6() });

test(
  "illumos's example connects to IPv6, and fails where nobody listens",
  async () => {
    const { inet6 } = await import("../mod.ts");
    using listener = listen({ at: inet6("::1", 0) });
    const { port } = listener.address;
    assertEquals(ends(await connectMapped("::1", port)), `[::1]:${port}`);
    using closed = bound({ at: inet6("::1", 0) });
    await assertRejects(
      () => connectMapped("::1", closed.address.port),
      Error,
      "ECONNREFUSED",
    );
  },
  { skip: canIpv6() },
);

test("illumos's example connects on illumos, and fails as its page has it", async () => {
  using system = onSystem("sunos", "x64");
  for (
    const [given, host, named] of [
      ["2001:db8::1", "2001:db8::1", "[2001:db8::1]:80"],
      ["192.0.2.1", "::ffff:c000:201", "[::ffff:192.0.2.1]:80"],
    ] as const
  ) {
    const at = { family: "inet6", host, port: 80 } as const;
    system.plan(at, { delay: 5 });
    assertEquals(ends(await connectMapped(given, 80)), named);
    system.interrupt("connect", 1);
    assertEquals(ends(await connectMapped(given, 80)), named);
    for (
      const errno of ["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH"] as const
    ) {
      system.plan(at, { delay: 5, errno });
      const error = await assertRejects(() => connectMapped(given, 80));
      assertEquals(codeOf(error), errno);
    }
  }
  await settled(system);
});

// AIX: a client in the Unix domain ------------------------------------------------------

test("AIX's fragment connects to a server in the file system", () => {
  using folder = tempFolder();
  const path = join(folder.path, "server");
  using _server = listen({ at: unix(path) });
  assertEquals(ends(connectToServer(path)), `unix:${path}`);
  const error = assertThrows(() => connectToServer(`${path}.none`));
  assertEquals(codeOf(error), "ENOENT");
});

test("AIX's fragment connects on AIX, whose paths may be long", () => {
  using system = onSystem("aix", "ppc64");
  for (const length of [12, 900]) {
    const host = "/run/".padEnd(length, "x");
    const server = system.listen({ family: "unix", host });
    assertEquals(ends(connectToServer(host)), `unix:${host}`);
    server.accept()!.close();
    server.close();
    const error = assertThrows(() => connectToServer(host));
    assertEquals(codeOf(error), "ECONNREFUSED");
  }
});

// FreeBSD: datagrams ----------------------------------------------------------------------

test("FreeBSD's page is right about datagrams on this kernel", () => {
  using one = bound({ type: "dgram" });
  using two = bound({ type: "dgram" });
  assertEquals([...peersInTurn(one.address, two.address, one.address)], [
    `${one.address}`,
    `${two.address}`,
    `${one.address}`,
    "null",
  ]);
});

test("FreeBSD's page is right about datagrams on FreeBSD", () => {
  using _system = onSystem("freebsd", "x64");
  assertEquals([...peersInTurn(inet("192.0.2.1", 9), inet("192.0.2.2", 9))], [
    "192.0.2.1:9",
    "192.0.2.2:9",
    "null",
  ]);
});
