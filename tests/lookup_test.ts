import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
} from "@std/assert";
import process from "node:process";
import { canIsolate, inChild } from "./_fixtures.ts";
import { hasCommand, needs, onLinux, test } from "./_harness.ts";
import { NAME_SERVER } from "./_networks.ts";

const namespace = NAME_SERVER;

/** What a name server of our own takes; elsewhere than on Linux nobody can have one. */
const NAMED = {
  skip: needs(canIsolate(), hasCommand("python3"), onLinux),
};

for (const dead of [32, 100]) {
  test(
    `connect() stays quick while ${dead} dead names are looked up`,
    async () => {
      const result = await inChild(
        { namespace },
        async ({ blackHole, connect, listen, inet }, dead) => {
          using listener = listen();
          using hole = blackHole({ at: inet("127.0.0.2", 0) });
          const { port } = listener.address;
          async function time(run: () => Promise<unknown>): Promise<number> {
            const start = performance.now();
            await run();
            return performance.now() - start;
          }
          async function reach(
            hostname: string,
            port: number,
          ): Promise<string> {
            try {
              (await connect({ hostname, port, timeout: 200 })).close();
              return "connected";
            } catch (error) {
              return (error as { code: string }).code;
            }
          }
          const controller = new AbortController();
          const { signal } = controller;
          const pending = Array.from(
            { length: dead },
            (_, i) =>
              connect({ hostname: `n${i}.dead.test`, port, signal })
                .catch((error) => error),
          );
          await new Promise((resolve) => setTimeout(resolve, 300));
          const answers: unknown[] = [];
          for (const hostname of ["127.0.0.1", "file.test", "file6.test"]) {
            const took = await time(async () => {
              answers.push(await reach(hostname, port));
            });
            answers.push(took);
          }
          const took = await time(async () => {
            answers.push(await reach("127.0.0.2", hole.address.port));
          });
          controller.abort("enough");
          const ends = await Promise.all(pending);
          return { answers, took, ends } as unknown as {
            answers: (string | number)[];
            took: number;
            ends: string[];
          };
        },
        dead,
      );
      const codes = result.answers.filter((one) => typeof one === "string");
      assertEquals(codes, ["connected", "connected", "connected", "ETIMEDOUT"]);
      for (const took of result.answers) {
        if (typeof took === "number") assertLess(took, 150);
      }
      assertLess(result.took, 500);
      assertEquals(result.ends, new Array(dead).fill("enough"));
    },
    NAMED,
  );
}

test("connectSync() ends in time while a name is looked up", async () => {
  const [code, syscall, kind, took, quick] = await inChild(
    { namespace },
    ({ connectSync, ErrnoError, listen }) => {
      using listener = listen();
      const { port } = listener.address;
      const start = performance.now();
      let error: unknown;
      try {
        connectSync({ hostname: "x.dead.test", port, timeout: 300 });
      } catch (caught) {
        error = caught;
      }
      const took = performance.now() - start;
      if (!(error instanceof ErrnoError)) throw error;
      // What nobody waits for any more is in nobody's way.
      for (let i = 0; i < 30; i++) {
        try {
          connectSync({ hostname: `n${i}.dead.test`, port, timeout: 10 });
        } catch {
          // It never comes.
        }
      }
      const again = performance.now();
      connectSync({ hostname: "file.test", port, timeout: 300 }).close();
      const quick = performance.now() - again;
      const { code, syscall, timeoutKind } = error;
      return [code, syscall, timeoutKind!, took, quick];
    },
  );
  assertEquals([code, syscall, kind], ["ETIMEDOUT", "getaddrinfo", "deadline"]);
  assertGreaterOrEqual(Number(took), 299);
  assertLess(Number(took), 600);
  assertLess(Number(quick), 150);
}, NAMED);

test("a lookup that nobody waits for keeps no process alive", async () => {
  const start = performance.now();
  const code = await inChild({ namespace }, async ({ connect, verdict }) => {
    const target = { hostname: "x.dead.test", port: 1, timeout: 100 };
    return verdict(await connect(target).catch((error) => error));
  });
  assertEquals(code, "ETIMEDOUT");
  // The resolver itself takes ten seconds.
  assertLess(performance.now() - start, 5000);
}, NAMED);

for (const form of ["connect", "connectSync"] as const) {
  test(
    `${form}() does not wait for the family that a name server never answers for`,
    async () => {
      const rows = await inChild(
        { namespace },
        async ({ connect, connectSync, listen, inet, inet6 }, isSync) => {
          using four = listen({ at: inet("127.0.0.1", 0) });
          const { port } = four.address;
          using _six = listen({ at: inet6("::1", port) });
          const rows: [string, number][] = [];
          for (
            const hostname of ["a.deaf.test", "a.mute.test", "a.both.test"]
          ) {
            const start = performance.now();
            const target = { hostname, port, timeout: 5000 };
            using socket = isSync ? connectSync(target) : await connect(target);
            const took = performance.now() - start;
            rows.push([`${socket.remoteAddress}`.split(`:${port}`)[0]!, took]);
          }
          return rows;
        },
        form === "connectSync",
      );
      const hosts = rows.map(([host]) => host);
      assertEquals(hosts.slice(0, 2), ["127.0.0.1", "[::1]"]);
      // As the resolver of the system puts them in order.
      assert(hosts[2] === "[::1]" || hosts[2] === "127.0.0.1");
      for (const [, took] of rows.slice(0, 2)) {
        assertGreaterOrEqual(took, 49);
        assertLess(took, 1000);
      }
      assertLess(rows[2]![1], 500);
    },
    NAMED,
  );
}

test("callers who ask for the same name share its lookup", async () => {
  const { ends, took, asked } = await inChild(
    { namespace },
    async ({ connect, listen }) => {
      using listener = listen();
      const { port } = listener.address;
      const start = performance.now();
      const ends = await Promise.all(Array.from({ length: 100 }, async () => {
        const target = { hostname: "x.slow.test", port, timeout: 1500 };
        (await connect(target)).close();
        return "connected";
      }));
      const took = performance.now() - start;
      const { readFileSync } = process.getBuiltinModule("node:fs");
      const asked = readFileSync("/mnt/asked", "utf8").trim().split("\n");
      return { ends, took, asked };
    },
  );
  assertEquals(ends, new Array(100).fill("connected"));
  assertLess(took, 1500);
  // As a whole, and each family alone: two questions, and one each.
  assert(asked.length <= 4, `${asked}`);
}, NAMED);
