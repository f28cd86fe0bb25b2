/** What an ICMP error does to an attempt: `softErrors`, on every way to connect. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { connect, connectSync, inet, Socket } from "../mod.ts";
import { canIsolate, inChild, tempFolder } from "./_fixtures.ts";
import { hasCommand, needs, onLinux, test } from "./_harness.ts";
import {
  FIREWALL,
  FIREWALL6,
  ofFamilies,
  REJECTED,
  REJECTED6,
} from "./_networks.ts";

const canFilter = needs(canIsolate(), hasCommand("nft"), onLinux);

/** The addresses of a pair of interfaces. */
const NEAR = ofFamilies([["10.77.0.1/24"], ["fd77::1/64"]]);
const FAR = ofFamilies([["10.77.0.2/24"], ["fd77::2/64"]]);

/** A firewall on the far side of them. */
const VETH = `
mount -t tmpfs none /run
ip netns add far
ip link add near type veth peer name far netns far
${NEAR.map(([address]) => `ip addr add ${address} dev near nodad`).join("\n")}
ip link set near up
${
  FAR.map(([address]) => `ip -n far addr add ${address} dev far nodad`).join(
    "\n",
  )
}
ip -n far link set far up
ip netns exec far nft -f - <<END
table inet t {
  chain i {
    type filter hook input priority 0
    tcp dport 80 reject with icmpx type host-unreachable
    tcp dport 81 reject with icmpx type port-unreachable
  }
}
END
`;

type Way = "connect" | "connectSync" | "Socket#connect" | "Socket#connectSync";
const WAYS: readonly Way[] = [
  "connect",
  "connectSync",
  "Socket#connect",
  "Socket#connectSync",
];

/** What one attempt ended by. */
interface Verdict {
  readonly code: string;
  readonly soft: boolean;
  readonly elapsed: number;
  readonly [key: string]: string | boolean | number;
}

/** For a child: attempts, one after the other. */
async function attempts(
  { connect, connectSync, ErrnoError, inet, inet6, Socket }:
    & typeof import("../mod.ts")
    & typeof import("./_fixtures.ts"),
  targets: readonly (readonly [string, number])[],
  way: string,
  timeout: number | null,
): Promise<Verdict[]> {
  const limit = timeout === null ? {} : { timeout };
  async function attempt(hostname: string, port: number): Promise<void> {
    switch (way) {
      case "connect":
        return (await connect({ hostname, port, ...limit })).close();
      case "connectSync":
        return connectSync({ hostname, port, ...limit }).close();
    }
    const isInet6 = hostname.includes(":");
    using socket = Socket.open({ family: isInet6 ? "inet6" : "inet" });
    const address = isInet6 ? inet6(hostname, port) : inet(hostname, port);
    if (way === "Socket#connect") await socket.connect(address, limit);
    else socket.connectSync(address, limit);
  }
  const verdicts: Verdict[] = [];
  for (const [hostname, port] of targets) {
    const start = performance.now();
    try {
      await attempt(hostname, port);
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      const { code, soft } = error;
      verdicts.push({ code, soft, elapsed: performance.now() - start });
    }
  }
  return verdicts;
}

/** The kernel repeats a SYN after a second. */
const REPEAT = 1000;

/** How long attempts took in the middle: a machine may stand still for one. */
function median(verdicts: readonly Verdict[]): number {
  const sorted = verdicts.map(({ elapsed }) => elapsed).sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

for (const way of WAYS) {
  test(
    `${way}() ends when a firewall of this machine rejects`,
    async () => {
      const rows = [...REJECTED, ...REJECTED6];
      for (const timeout of [null, 30_000]) {
        const verdicts = await inChild(
          { namespace: FIREWALL + FIREWALL6 },
          attempts,
          rows.map(([host]) => [host, 80] as const),
          way,
          timeout,
        );
        assertEquals(
          verdicts.map(({ code, soft }) => [code, soft]),
          // The last of each family is a reset, which is none.
          rows.map(([host, code]) => [code, !/1\.8$|::7$/.test(host)]),
        );
        assertLess(median(verdicts), REPEAT / 2);
      }
    },
    { skip: canFilter },
  );
}

test(
  "connect() and connectSync() end when a firewall behind a wire rejects",
  async () => {
    const rows = ofFamilies<readonly [string, number, string]>([
      ["10.77.0.2", 80, "EHOSTUNREACH"],
      ["10.77.0.2", 81, "ECONNREFUSED"],
      ["fd77::2", 80, "EHOSTUNREACH"],
      ["fd77::2", 81, "ECONNREFUSED"],
    ]);
    for (const way of ["connect", "connectSync"]) {
      const verdicts = await inChild(
        { namespace: VETH },
        attempts,
        rows.map(([host, port]) => [host, port] as const),
        way,
        30_000,
      );
      assertEquals(
        verdicts.map(({ code }) => code),
        rows.map(([, , code]) => code),
      );
      assertLess(median(verdicts), REPEAT / 2);
    }
  },
  { skip: canFilter },
);

/** A firewall that counts what it rejects. */
const COUNTING = `
nft -f - <<END
table ip t {
  counter syns {}
  chain i {
    type filter hook input priority 0
    ip daddr 127.0.1.2 tcp flags syn counter name syns
    ip daddr 127.0.1.2 reject with icmp type host-unreachable
  }
}
END
`;

test("a rejected attempt sends one SYN, and does not wait", async () => {
  using folder = tempFolder();
  const file = join(folder.path, "trace");
  const calls = "connect,getpeername,getsockopt,recvmsg,poll,close";
  const command = ["strace", "-f", "-qq", "-o", file, `--trace=${calls}`];
  const result = await inChild(
    { namespace: COUNTING, command },
    async ({ connect, connectSync, ErrnoError }) => {
      const codes: string[] = [];
      for (const dial of [connect, connectSync]) {
        try {
          await dial({ hostname: "127.0.1.2", port: 80, timeout: 30_000 });
        } catch (error) {
          if (!(error instanceof ErrnoError)) throw error;
          codes.push(error.code);
        }
      }
      // Longer than the kernel would wait for a repetition.
      await new Promise((resolve) => setTimeout(resolve, 1200));
      const { execFileSync } = await import("node:child_process");
      const list = execFileSync("nft", ["list", "counters"], {
        encoding: "utf8",
      });
      return [...codes, /packets (\d+)/.exec(list)![1]!];
    },
  );
  assertEquals(result, ["EHOSTUNREACH", "EHOSTUNREACH", "2"]);
  const lines = readFileSync(file, "utf8").split("\n");
  const begun = lines.findIndex((line) => line.includes("htons(80)"));
  const fd = /connect\((\d+)/.exec(lines[begun]!)![1]!;
  const [thread] = lines[begun]!.split(" ");
  // The rest of the life of this descriptor, poll(2) with a time of 0 apart.
  const own = lines.slice(begun)
    .filter((line) => line.startsWith(thread!) && line.includes(`(${fd}`))
    .map((line) => /\w+(?=\()/.exec(line)![0]);
  assertEquals(
    own.slice(0, own.indexOf("close") + 1)
      .filter((name, i, all) => name !== all[i - 1]),
    ["connect", "getpeername", "getsockopt", "recvmsg", "close"],
  );
}, { skip: needs(canFilter, hasCommand("strace")) });

test(
  "a socket whose attempt was rejected sends no more for it, and tries again at once",
  async () => {
    const result = await inChild({ namespace: COUNTING }, async (api) => {
      const { ErrnoError, inet, Socket } = api;
      const { execFileSync } = await import("node:child_process");
      const address = inet("127.0.1.2", 80);
      const codes: string[] = [];
      using socket = Socket.open();
      for (const way of ["connect", "connectSync", "connect"] as const) {
        try {
          await socket[way](address, { timeout: 30_000 });
        } catch (error) {
          if (!(error instanceof ErrnoError)) throw error;
          codes.push(`${error.code} ${error.soft}`);
        }
      }
      // Longer than the kernel would wait for a repetition.
      await new Promise((resolve) => setTimeout(resolve, 1200));
      const list = execFileSync("nft", ["list", "counters"], {
        encoding: "utf8",
      });
      return [...codes, /packets (\d+)/.exec(list)![1]!];
    });
    const rejected = "EHOSTUNREACH true";
    assertEquals(result, [rejected, rejected, rejected, "3"]);
  },
  { skip: canFilter },
);

test('softErrors is "fail" or "wait"', async () => {
  for (const softErrors of ["wiat", true, 0, null] as unknown as "fail"[]) {
    const given = { port: 9, softErrors };
    assertThrows(() => connectSync(given), TypeError, "softErrors");
    const error = await connect(given).catch((error: unknown) => error);
    assert(error instanceof TypeError && /softErrors/.test(error.message));
    using socket = Socket.open();
    assertThrows(
      () => socket.connectSync(inet("127.0.0.1", 9), { softErrors }),
      TypeError,
      "softErrors",
    );
  }
});
