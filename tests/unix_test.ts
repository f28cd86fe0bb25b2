import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
} from "@std/assert";
import { existsSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";
import { currentAbi } from "../ffi/libc.ts";
import {
  abstractUnix,
  connect,
  connectSync,
  Errno,
  Socket,
  unix,
  type UnixAddress,
} from "../mod.ts";
import { AGES, assertFails } from "./_assertions.ts";
import {
  blackHole,
  bound,
  canBlackHole,
  canRefuse,
  inChild,
  listen,
  refusing,
  tempFolder,
} from "./_fixtures.ts";
import { onLinux, test } from "./_harness.ts";

const abi = currentAbi();
const hasAbstract = abi.abstractUnix
  ? null
  : `${abi.os} has no names outside the file system`;

/** A `struct timeval` of so many seconds. */
function seconds(count: number): Uint8Array {
  const time = new Uint8Array(16);
  time[abi.littleEndian ? 0 : 7] = count;
  return time;
}

type Kind = "stream" | "dgram" | "seqpacket";

/** The kinds that have connections. */
const CONNECTED: readonly Kind[] = ["stream", "seqpacket"];
const KINDS: readonly Kind[] = [...CONNECTED, "dgram"];

/** Where a socket can be: its title, and an address made anew for each test. */
const PLACES = [
  {
    title: "a path",
    skip: null,
    make: (folder: string): UnixAddress => unix(join(folder, "s")),
  },
  {
    title: "an abstract name",
    skip: hasAbstract,
    make: (): UnixAddress =>
      abstractUnix(`einprogress ${crypto.randomUUID()} \0 é`),
  },
] as const;

function open(type: Kind, nonblocking = false): Socket {
  return Socket.open({ family: "unix", type, nonblocking });
}

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** What one call receives. */
function next(socket: Socket): number[] {
  const buffer = new Uint8Array(16);
  return [...buffer.subarray(0, socket.recvSync(buffer))];
}

for (const { title, make, skip } of PLACES) {
  for (const type of CONNECTED) {
    test(`a Unix ${type} socket connects to ${title}`, async () => {
      using folder = tempFolder();
      const at = make(folder.path);
      using listener = listen({ at, type });
      for (const way of ["connectSync", "connect", "tryConnect"] as const) {
        using near = open(type);
        await near[way](at);
        using far = listener.accept();
        assert(near.remoteAddress!.equals(at));
        assert(far.localAddress.equals(at));
        assertEquals(`${near.localAddress}`, "unix:");
        assertEquals(near.getOption("type"), type);
        far.sendSync(bytes(1, 2));
        far.sendSync(bytes(3));
        // A stream has no boundaries.
        if (type === "stream") assertEquals(next(near), [1, 2, 3]);
        else assertEquals([next(near), next(near)], [[1, 2], [3]]);
        near.shutdown("write");
        assertEquals(next(far), []);
      }
    }, { skip });

    test(
      `a second connect to ${title} of a Unix ${type} socket is EISCONN`,
      () => {
        using folder = tempFolder();
        const at = make(folder.path);
        using _listener = listen({ at, type });
        using socket = open(type);
        socket.connectSync(at);
        assertFails(() => socket.connectSync(at), "EISCONN");
      },
      { skip },
    );

    test(
      `a full backlog at ${title} is EAGAIN for a ${type} socket that does not wait`,
      async () => {
        using folder = tempFolder();
        const at = make(folder.path);
        using hole = blackHole({ at, type });
        using socket = open(type, true);
        assertEquals(socket.tryConnect(at), abi.errnos.EAGAIN);
        assertFails(() => socket.connectSync(at), "EAGAIN");
        // There is no event to wait for either.
        const error = await socket.connect(at).catch((error) => error);
        assertInstanceOf(error, Errno.EAGAIN);
        assertEquals(socket.poll("POLLOUT", 0).includes("POLLHUP"), true);
        const late = assertFails(
          () => socket.connectSync(at, { timeout: 20 }),
          "ETIMEDOUT",
        );
        assertEquals(late.timeoutKind, "deadline");
        using blocking = open(type);
        // So that the kernel ends what would wait for ever.
        const SO_SNDTIMEO = 21;
        blocking.setOption(abi.SOL_SOCKET, SO_SNDTIMEO, seconds(5));
        const end = assertFails(
          () => blocking.connectSync(at, { timeout: 20 }),
          "ETIMEDOUT",
        );
        assertLess(end.elapsed!, 4_000);
        assertEquals(blocking.nonblocking, false);
        using _first = hole.accept();
        socket.connectSync(at, { timeout: AGES });
        assert(socket.remoteAddress!.equals(at));
      },
      { skip: skip ?? canBlackHole() },
    );
  }

  test(`a Unix datagram socket has ${title} for its peer`, () => {
    using folder = tempFolder();
    const at = make(folder.path);
    using peer = open("dgram");
    peer.bind(at);
    using socket = open("dgram", true);
    socket.connectSync(at);
    assert(socket.remoteAddress!.equals(at));
    socket.sendSync(bytes(1, 2));
    socket.sendSync(bytes(3));
    assertEquals([next(peer), next(peer)], [[1, 2], [3]]);
    socket.disconnect();
    assertEquals(socket.remoteAddress, null);
    assertFails(() => socket.sendSync(bytes(4)), "ENOTCONN");
    socket.sendSync(bytes(5), { to: at });
    assertEquals(next(peer), [5]);
  }, { skip: skip ?? onLinux });

  test(
    `a Unix datagram socket at ${title} receives from its peer alone`,
    () => {
      using folder = tempFolder();
      const at = make(folder.path);
      using socket = open("dgram", true);
      socket.bind(at);
      using peer = open("dgram");
      peer.bind(unix(join(folder.path, "peer")));
      using stranger = open("dgram");
      socket.connectSync(peer.localAddress);
      peer.sendSync(bytes(1), { to: at });
      assertEquals(next(socket), [1]);
      // Other than with IP, the stranger gets an error.
      assertFails(() => stranger.sendSync(bytes(2), { to: at }), "EPERM");
      assertFails(() => stranger.connectSync(at), "EPERM");
      assertFails(() => next(socket), "EAGAIN");
    },
    { skip: skip ?? onLinux },
  );
}

test("a socket of another kind at the path is an EPROTOTYPE", () => {
  for (const there of KINDS) {
    using folder = tempFolder();
    const at = unix(join(folder.path, "s"));
    using _peer = there === "dgram"
      ? bound({ at, type: there })
      : listen({ at, type: there });
    for (const here of KINDS) {
      if (here === there) continue;
      using socket = open(here);
      const error = assertFails(() => socket.connectSync(at), "EPROTOTYPE");
      assertEquals([error.syscall, error.address], ["connect", `${at}`]);
    }
    if (there !== "stream") {
      const { path } = at;
      assertFails(() => connectSync({ transport: "unix", path }), "EPROTOTYPE");
    }
  }
}, { skip: onLinux });

test("an abstract name counts for its own kind alone", () => {
  const at = abstractUnix(`einprogress ${crypto.randomUUID()}`);
  using _listener = listen({ at });
  for (const type of ["dgram", "seqpacket"] as const) {
    using socket = open(type);
    assertFails(() => socket.connectSync(at), "ECONNREFUSED");
    // So that another kind may have the same.
    socket.bind(at);
  }
}, { skip: hasAbstract });

test("a connection outlives the path that it was made by", () => {
  for (const type of CONNECTED) {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    const at = unix(path);
    using listener = listen({ at, type });
    using near = open(type);
    near.connectSync(at);
    using far = listener.accept();
    unlinkSync(path);
    near.sendSync(bytes(1));
    assertEquals(next(far), [1]);
    // Its name is reported as before, although nothing can be found there.
    assert(near.remoteAddress!.equals(at));
    using late = open(type);
    assertFails(() => late.connectSync(at), "ENOENT");
    // Somebody else may take the path; the connection does not notice.
    using _heir = listen({ at, type });
    late.connectSync(at);
    near.sendSync(bytes(2));
    assertEquals(next(far), [2]);
  }
}, { skip: onLinux });

test(
  "a datagram socket keeps its peer when the path is unlinked, till it is closed",
  () => {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    const at = unix(path);
    using socket = open("dgram", true);
    {
      using peer = open("dgram");
      peer.bind(at);
      socket.connectSync(at);
      unlinkSync(path);
      socket.sendSync(bytes(1));
      assertEquals(next(peer), [1]);
      assertFails(() => socket.sendSync(bytes(2), { to: at }), "ENOENT");
    }
    const error = assertFails(() => socket.sendSync(bytes(3)), "ECONNREFUSED");
    assertEquals(error.syscall, "sendto");
    // The kernel has let go of the peer by then.
    assertFails(() => socket.sendSync(bytes(4)), "ENOTCONN");
  },
  { skip: onLinux },
);

test("a path whose socket is closed is an ECONNREFUSED, and stays one", () => {
  for (const type of KINDS) {
    using folder = tempFolder();
    const path = join(folder.path, "s");
    {
      using gone = open(type);
      gone.bind(unix(path));
    }
    assert(existsSync(path));
    using socket = open(type);
    for (let i = 0; i < 2; i++) {
      assertFails(() => socket.connectSync(unix(path)), "ECONNREFUSED");
    }
    // It is also in the way of a server that would listen there.
    assertFails(() => socket.bind(unix(path)), "EADDRINUSE");
  }
});

test("a path that is no socket is an ECONNREFUSED", () => {
  using folder = tempFolder();
  const path = join(folder.path, "file");
  writeFileSync(path, "");
  for (const type of KINDS) {
    using socket = open(type);
    assertFails(() => socket.connectSync(unix(path)), "ECONNREFUSED");
  }
}, { skip: onLinux });

test("a path may be relative, and lead through links", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "s");
  using listener = listen({ at: unix(path) });
  const link = join(folder.path, "link");
  symlinkSync(path, link);
  for (const name of [relative(process.cwd(), path), link]) {
    using socket = await connect({ transport: "unix", path: name });
    using _peer = listener.accept();
    assertEquals(`${socket.remoteAddress}`, `unix:${path}`);
  }
}, { skip: onLinux });

test("a path may fill the system's structure, and not by a byte more", () => {
  using folder = tempFolder();
  const { pathSize } = abi.sockaddrUn;
  // Each system has a limit of its own; some want room for a NUL besides.
  for (const spare of [1, 0]) {
    const rest = pathSize - spare - folder.path.length - 1;
    const path = join(folder.path, "x".repeat(rest));
    assertEquals(path.length, pathSize - spare);
    let at: UnixAddress;
    try {
      at = unix(path);
    } catch (error) {
      assertInstanceOf(error, Errno.ENAMETOOLONG);
      assertEquals(spare, 0);
      continue;
    }
    using listener = listen({ at });
    using near = open("stream");
    near.connectSync(at);
    using far = listener.accept();
    assert(near.remoteAddress!.equals(at), `${near.remoteAddress}`);
    assert(far.localAddress.equals(at));
  }
  const long = join(folder.path, "x".repeat(pathSize));
  assertFails(() => unix(long), "ENAMETOOLONG");
}, { skip: onLinux });

// Sandboxes ----------------------------------------------------------------------

/** The results of several ways to connect in a process under a filter of system calls. */
function connectHere(
  command: string[],
): Promise<Record<string, string>> {
  return inChild({ command }, async ({ connect, connectSync, ...api }) => {
    const { ErrnoError, inet, listen, Socket } = api;
    const found: Record<string, string> = {};
    async function note(
      name: string,
      call: () => Disposable | Promise<Disposable>,
    ): Promise<void> {
      try {
        using _socket = await call();
        found[name] = "connected";
      } catch (error) {
        if (!(error instanceof ErrnoError)) throw error;
        found[name] = `${error.code} ${error.syscall}`;
      }
    }
    using listener = listen();
    const { hostname, port } = listener.address;
    const timeout = 30_000;
    await note("connect", () => connect({ hostname, port, timeout }));
    await note("by name", () => connect({ hostname: "localhost", port }));
    await note("connectSync", () => connectSync({ hostname, port, timeout }));
    await note("Socket", async () => {
      const socket = Socket.open();
      await socket.connect(inet(hostname, port), { timeout });
      return socket;
    });
    await note("datagrams", () => {
      const socket = Socket.open({ type: "dgram" });
      socket.connectSync(inet(hostname, port));
      return socket;
    });
    const path = "/run/no/such/socket";
    await note("path", () => connect({ transport: "unix", path, timeout }));
    await note("pair", async () => {
      const [one, other] = Socket.pair();
      using _other = other;
      other.sendSync("x");
      await one.recv(new Uint8Array(1), { timeout });
      return one;
    });
    return found;
  });
}

test(
  "a process that may open no Unix-domain socket connects by TCP",
  async () => {
    const { AF_UNIX, errnos } = abi;
    const socket = { x64: 41, arm64: 198, first: AF_UNIX };
    assertEquals(await connectHere(refusing(socket, errnos.EAFNOSUPPORT!)), {
      connect: "connected",
      "by name": "connected",
      connectSync: "connected",
      Socket: "connected",
      datagrams: "connected",
      path: "EAFNOSUPPORT socket",
      // socketpair(2) is another call.
      pair: "connected",
    });
  },
  { skip: canRefuse() },
);

test("a call that a sandbox refuses is named, whatever its errno", async () => {
  const getpeername = { x64: 52, arm64: 205 };
  for (const code of ["EPERM", "ENOSYS"] as const) {
    const refused = `${code} getpeername`;
    const command = refusing(getpeername, abi.errnos[code]!);
    assertEquals(await connectHere(command), {
      connect: refused,
      "by name": refused,
      connectSync: refused,
      Socket: refused,
      datagrams: "connected",
      path: "ENOENT connect",
      pair: "connected",
    });
  }
}, { skip: canRefuse() });
