/**
 * Opens every function of the C library before any test: it stays open for as
 * long as the process lives, and leak checks would blame whichever test came
 * first. So would they for the worker that waits on Bun and Node.
 *
 * @module
 */
import { type CType, type Signature, SIGNATURES } from "../ffi/contract.ts";
import { doorFor, libc } from "../ffi/libc.ts";
import { newMemory } from "../ffi/memory.ts";
import { performance, setTimeout } from "../ffi/timers.ts";
import { closeIdle } from "../src/reactor/reactor.ts";

/** What Bun has in the place of `--expose-gc`. */
const { Bun } = globalThis as unknown as { Bun?: { gc(force: boolean): void } };
if (Bun !== undefined) {
  Object.assign(globalThis, {
    gc({ type = "major" } = {}): void {
      Bun.gc(type === "major");
    },
  });
}

/** Milliseconds in which a worker starts. */
const START = 200;

/** Milliseconds in which a parked wait that was woken comes back from its thread, on a busy machine, too. */
const RETURN = 2000;

/** The functions that follow a pointer whatever else they are given. */
const FOLLOWERS = /^gai_|^freeaddrinfo$/;

const c = libc();
const signatures: Readonly<Record<string, Signature>> = SIGNATURES;
for (const [name, method] of Object.entries(c)) {
  const parameters = signatures[name]?.parameters;
  // A function opens when it is first called; each of these calls fails, or
  // has nothing to do.
  if (parameters !== undefined && !FOLLOWERS.test(name)) {
    // What accept4(2) would write is not asked for.
    method(...(name === "accept4" ? [-1, 0] : parameters.map(harmless)));
  }
}
openLists();
openRequests();

function harmless(
  type: CType,
  index: number,
): number | bigint | Uint8Array | null {
  switch (type) {
    case "int":
      return -1;
    case "buffer":
      // An address to send to, or room for that of a sender.
      if (index === 4) return null;
      // What comes first may be a name: not that of an interface, nor that of
      // a host that anybody would have to be asked for. An emulator follows
      // the pointers of all else before it looks at the descriptor.
      return new TextEncoder()
        .encode((index === 0 ? "0.0.0.0" : "").padEnd(64, "\0"));
    case "nfds":
      // One that is not open: poll(2) would wait for none for ever.
      return 1;
    case "address":
      return 0n;
    default:
      return 0;
  }
}

/** freeaddrinfo(3) takes a list that getaddrinfo(3) has made; musl's takes nothing else. */
function openLists(): void {
  const list = newMemory(8);
  const node = new TextEncoder().encode("127.0.0.1\0");
  c.getaddrinfo(node, newMemory(c.abi.addrinfo.size), list);
  c.freeaddrinfo(
    new DataView(list.buffer).getBigUint64(0, c.abi.littleEndian),
  );
}

function openRequests(): void {
  const isMissing = -c.abi.errnos.ENOSYS;
  if (c.getaddrinfo_a(-1, newMemory(8), 0, null) === isMissing) return;
  const request = c.malloc(64);
  c.gai_error(request);
  c.gai_cancel(request);
  c.free(request);
}

const hints = newMemory(c.abi.addrinfo.size).fill(0xff);
await c.getaddrinfoAsync?.(newMemory(1), hints, newMemory(8));
// A worker has to have the time to start.
await c.pollAsync(
  newMemory(8),
  0,
  doorFor().openPoll === undefined ? 0 : START,
);

// Deno takes a parked wait that is still to come back for a leak.
if ("Deno" in globalThis) {
  const { test } = Deno;
  type Body = Deno.TestDefinition["fn"];
  const settled = (body: Body): Body => async (context) => {
    await body(context);
    const end = performance.now() + RETURN;
    while (!closeIdle(c) && performance.now() < end) {
      await new Promise<void>((resolve) => void setTimeout(resolve, 1));
    }
  };
  const register = (first: string | Deno.TestDefinition, body?: Body): void =>
    typeof first === "string"
      ? test(first, settled(body!))
      : test({ ...first, fn: settled(first.fn) });
  Object.assign(Deno, { test: register });
}
