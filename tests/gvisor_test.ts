import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { inChild } from "./_fixtures.ts";
import { hasCommand, isRoot, needs, onLinux, test } from "./_harness.ts";

/**
 * gVisor, a Linux kernel in Go that cloud functions run under. Its sandbox sees this machine's files and has loopback alone; by
 * ptrace it runs wherever a debugger does, and without cgroups in a container.
 */
const SANDBOX = [
  "runsc",
  "--platform=ptrace",
  "--network=none",
  "--ignore-cgroups",
  "do",
  "--",
];

/** How late something may be beside other load, in ms. What this guards against was seconds late. */
const LATE = 1500;

/** Milliseconds in which a sandbox ends after its last program; the reactor once kept that for 20 s. */
const TEARDOWN = 10_000;

const skip = needs(onLinux, isRoot(), hasCommand("runsc")) ??
  (spawnSync(SANDBOX[0]!, [...SANDBOX.slice(1), "true"]).status === 0
    ? null
    : "needs a sandbox that starts");

test(
  "on gVisor a pending connect ends at its deadline, by its signal, and with its socket",
  async () => {
    const { ends, last } = await inChild({ command: SANDBOX }, async (api) => {
      const { connect, connectSync, Socket, blackHole } = api;
      using hole = blackHole();
      const { address } = hole;
      const { hostname, port } = address;
      const ends: [name: string, code: string, late: number][] = [];
      async function time(
        name: string,
        due: number,
        call: () => unknown,
      ): Promise<void> {
        const start = performance.now();
        let code = "none";
        try {
          await call();
        } catch (error) {
          code = (error as { code?: string }).code ?? `${error}`;
        }
        ends.push([name, code, performance.now() - start - due]);
      }
      const timeout = 200;
      await time("alone", 200, () => connect({ hostname, port, timeout }));
      await time("sync", 200, () => connectSync({ hostname, port, timeout }));
      const other = new AbortController();
      const pending = connect({ hostname, port, signal: other.signal })
        .catch(() => {});
      await time("beside", 200, () => connect({ hostname, port, timeout }));
      const { signal } = new AbortController();
      await time("signal", 100, () => {
        const controller = new AbortController();
        setTimeout(() => controller.abort("off"), 100);
        return connect({ hostname, port, signal: controller.signal });
      });
      await time("close", 100, () => {
        const socket = Socket.open({ nonblocking: true });
        setTimeout(() => socket.close(), 100);
        return socket.connect(address, { signal });
      });
      other.abort();
      await pending;
      return { ends, last: Date.now() };
    });
    const left = Date.now() - last;
    assertEquals(ends.map(([name, code]) => `${name}: ${code}`), [
      "alone: ETIMEDOUT",
      "sync: ETIMEDOUT",
      "beside: ETIMEDOUT",
      "signal: off",
      "close: ECANCELED",
    ]);
    for (const [name, , late] of ends) {
      assert(late < LATE, `${name} was ${late} ms late`);
    }
    assert(left < TEARDOWN, `the process lived on for ${left} ms`);
  },
  { skip },
);

test(
  "on gVisor connections carry bytes, and failures have their classes",
  async () => {
    const seen = await inChild({ command: SANDBOX }, async (api) => {
      const { connect, connectSync, Errno, Socket, inet } = api;
      const { freePort, listen } = api;
      const seen: Record<string, unknown> = {};
      function nameOf(call: () => unknown): string {
        try {
          call();
          return "none";
        } catch (error) {
          return (error as Error).constructor.name;
        }
      }
      {
        using listener = listen();
        using socket = await connect({ port: listener.address.port });
        using accepted = listener.accept();
        await socket.send(new Uint8Array([1, 2, 3]));
        const buffer = new Uint8Array(8);
        seen.received = await accepted.recv(buffer, { timeout: 5000 });
        // A connected stream stays connected there.
        seen.disconnect = nameOf(() => socket.disconnect());
      }
      const port = freePort();
      seen.refused = nameOf(() => connectSync({ port }));
      try {
        await connect({ port });
      } catch (error) {
        seen.asyncRefused = error instanceof Errno.ECONNREFUSED;
      }
      using socket = Socket.open();
      // What Linux takes again is over there: a typed error, and no hang.
      seen.first = nameOf(() => socket.connectSync(inet("127.0.0.1", port)));
      seen.second = nameOf(() => socket.connectSync(inet("127.0.0.1", port)));
      return seen;
    });
    assertEquals(seen, {
      received: 3,
      disconnect: "EAFNOSUPPORT",
      refused: "ECONNREFUSED",
      asyncRefused: true,
      first: "ECONNREFUSED",
      second: seen.second,
    });
    assert(["ECONNABORTED", "ECONNREFUSED"].includes(seen.second as string));
  },
  { skip },
);

test(
  "on gVisor what the kernel refuses is a typed error, in time",
  async () => {
    const seen = await inChild({ command: SANDBOX }, (api) => {
      const { bound, connectSync, freePort, inet, Socket, unix } = api;
      const { blackHole, tempFolder, verdict } = api;
      function codeOf(call: () => { close(): void } | null): string {
        try {
          call()?.close();
          return "none";
        } catch (error) {
          return verdict(error);
        }
      }
      using hole = blackHole();
      using folder = tempFolder();
      const path = `${folder.path}/datagrams`;
      using _other = bound({ at: unix(path), type: "dgram" });
      using socket = Socket.open({ nonblocking: true });
      socket.tryConnect(inet("127.0.0.1", freePort()));
      socket.poll("POLLOUT", 5000);
      const errors = [socket.takeError(), socket.takeError()]
        .map((error) => error?.code ?? "none");
      const start = performance.now();
      const { hostname, port } = hole.address;
      const silent = codeOf(() =>
        connectSync({
          hostname,
          port,
          timeout: 1500,
          socketOptions: { userTimeout: 200 },
        })
      );
      const waited = performance.now() - start;
      const kind = codeOf(() => connectSync({ transport: "unix", path }));
      return { errors, silent, waited, kind };
    });
    const { waited, ...codes } = seen;
    assertEquals(codes, {
      // Linux says it once.
      errors: ["ECONNREFUSED", "ECONNREFUSED"],
      silent: "ETIMEDOUT",
      // EPROTOTYPE on Linux.
      kind: "ECONNREFUSED",
    });
    // On Linux "userTimeout" would have ended the handshake.
    assert(waited > 1400 && waited < 1500 + LATE, `${waited} ms`);
  },
  { skip },
);

test("on gVisor the tools work", async () => {
  const seen = await inChild({ command: SANDBOX }, async (api) => {
    const { blackHole, freePort, inet, listen } = api;
    const { ping, probe, trace, waitFor } = api;
    using listener = listen();
    using hole = blackHole();
    const hostname = "127.0.0.1";
    const { port } = listener.address;
    const late = freePort();
    const states: string[] = [];
    // No socket that was refused serves another attempt there.
    const targets = [freePort(), port, freePort(), hole.address.port]
      .map((port) => ({ hostname, port }));
    const options = { timeout: 500, retries: 0 };
    for await (const result of probe(targets, options)) {
      states[result.index] = `${result.state}: ${result.reason}`;
    }
    const later = new DisposableStack();
    setTimeout(() => later.use(listen({ at: inet(hostname, late) })), 300);
    const [open] = await waitFor([{ hostname, port: late }], {
      timeout: 10_000,
    });
    later.dispose();
    const replies: boolean[] = [];
    for await (
      const { answered } of ping({ hostname, port }, { count: 3, interval: 20 })
    ) replies.push(answered);
    const hops: string[] = [];
    for await (
      const hop of trace({ hostname, port }, { timeout: 500, maxHops: 2 })
    ) hops.push(`${hop.ttl}: ${hop.kind}`);
    return {
      states,
      tries: (open?.attempts ?? 0) > 1,
      replies,
      hops: [...new Set(hops)],
    };
  });
  assertEquals(seen, {
    states: [
      "closed: reset",
      "open: syn-ack",
      "closed: reset",
      "filtered: no-answer",
    ],
    tries: true,
    replies: [true, true, true],
    hops: ["1: open"],
  });
}, { skip });

test("on gVisor capabilities() knows what is not there", async () => {
  const { options, facts, info } = await inChild(
    { command: SANDBOX },
    async ({ capabilities, connect, listen }) => {
      using listener = listen();
      const { port } = listener.address;
      using socket = await connect({ port });
      const { minRtt, mss } = socket.tcpInfo()!;
      const { options, ...facts } = capabilities();
      return { options, facts: { ...facts }, info: { minRtt, mss } };
    },
  );
  const absent = Object.entries(options).filter(([, isThere]) => !isThere);
  assertEquals(absent.map(([name]) => name).sort(), [
    "bindAddressNoPort",
    "fastOpen",
    "freeBind",
    "localPortRange",
    "mark",
    "minTtl",
    "mtu",
    "pathMtuDiscovery",
    "priority",
    "transparent",
    "unsentLowMark",
  ]);
  const { multipath, raw, sctp, tcpInfo, vsock } = facts;
  assertEquals({ multipath, raw, sctp, tcpInfo, vsock }, {
    multipath: false,
    raw: false,
    sctp: false,
    tcpInfo: true,
    vsock: false,
  });
  assertEquals(info, { minRtt: 0, mss: 0 });
}, { skip });
