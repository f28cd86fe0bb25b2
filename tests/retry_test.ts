/** What is worth another try, and what is not. */
import { assert, assertEquals } from "@std/assert";
import {
  connectSync,
  Errno,
  type ErrnoCode,
  ErrnoError,
  isErrno,
  isRetryable,
  LookupError,
  NotSupportedError,
} from "../mod.ts";
import { CATALOG } from "../src/explain/catalog.ts";
import { freePort } from "./_fixtures.ts";
import { test } from "./_harness.ts";

const CONTEXT = { syscall: "connect" } as const;

test("isRetryable() agrees with the catalog about every errno that it has", () => {
  for (const code of Object.keys(CATALOG) as ErrnoCode[]) {
    const error = new Errno[code](CONTEXT);
    const advice = CATALOG[error.code as ErrnoCode]!.retry;
    assertEquals(isRetryable(error), advice !== "never", code);
  }
});

for (
  const [name, error, expected] of [
    ["a refusal", new Errno.ECONNREFUSED(CONTEXT), true],
    ["a deadline", new Errno.ETIMEDOUT(CONTEXT), true],
    ["a path without a socket", new Errno.ENOENT(CONTEXT), true],
    ["a rule", new Errno.EPERM(CONTEXT), false],
    ["a bad argument", new Errno.EINVAL(CONTEXT), false],
    ["a wait that was called off", new Errno.ECANCELED(CONTEXT), false],
    ["a broken connection", new Errno.EPIPE({ syscall: "sendto" }), true],
    ["a number of no table", new ErrnoError("UNKNOWN", 9999, CONTEXT), false],
    ["a silent name server", new LookupError("x", "EAI_AGAIN", -3), true],
    ["an unknown name", new LookupError("x", "EAI_NONAME", -2), false],
    [
      "a lookup without descriptors",
      new LookupError("x", "EAI_SYSTEM", -11, new Errno.EMFILE(CONTEXT)),
      true,
    ],
    [
      "one of two addresses that may be worth it",
      new Errno.EACCES({
        ...CONTEXT,
        errors: [new Errno.EACCES(CONTEXT), new Errno.ECONNREFUSED(CONTEXT)],
      }),
      true,
    ],
    [
      "two addresses that are not worth it",
      new Errno.EACCES({
        ...CONTEXT,
        errors: [new Errno.EACCES(CONTEXT), new Errno.EPERM(CONTEXT)],
      }),
      false,
    ],
    [
      "a refusal of the runtime's own",
      Object.assign(new Error("x"), { code: "ECONNREFUSED" }),
      true,
    ],
    [
      "a lookup of the runtime's own without a reply",
      Object.assign(new Error("x"), { code: "EAI_AGAIN", hostname: "x" }),
      true,
    ],
    ["what the system lacks", new NotSupportedError("x", "aix"), false],
    ["an abort", new DOMException("aborted", "AbortError"), false],
    ["text", "ECONNREFUSED", false],
    [
      "a code of no errno",
      Object.assign(new Error(), { code: "toString" }),
      false,
    ],
    ["nothing", undefined, false],
  ] as const
) {
  test(`isRetryable() is ${expected} for ${name}`, () => {
    assertEquals(isRetryable(error), expected);
  });
}

test("isRetryable() is true for a refusal that the kernel has reported", () => {
  try {
    connectSync({ port: freePort() }).close();
  } catch (error) {
    assert(isRetryable(error));
    return;
  }
  throw new Error("Somebody listens there");
});

test("isRetryable() and isErrno() are false for what says nothing of itself", () => {
  const { proxy, revoke } = Proxy.revocable(new Error(), {});
  revoke();
  const throwing = Object.defineProperty(new Error(), "code", {
    get() {
      throw new Error("no code");
    },
  });
  const first = Object.assign(new Error(), { errors: [] as Error[] });
  const second = Object.assign(new Error(), { errors: [first, first] });
  first.errors.push(second, second);
  for (const error of [proxy, throwing, first]) {
    assertEquals(isRetryable(error), false);
    assertEquals(isErrno(error, "EPERM"), false);
  }
  const last = Object.assign(new Error(), { code: "ECONNREFUSED" });
  second.errors.push(last as unknown as typeof first);
  assertEquals(isRetryable(first), true);
});
