/** Whose line an error points at (rule 4 of the contract): the one that called the package, and no frame of its own above. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { Errno, type ErrnoError, LookupError } from "../mod.ts";
import {
  type Caller,
  callerOf,
  pointAt,
  type PublicFunction,
  rejectAt,
} from "../src/errors/caller.ts";
import { errnoError } from "../src/errors/errors.ts";
import { test } from "./_harness.ts";

const CONTEXT = { syscall: "connect", address: "127.0.0.1:9" } as const;

/** The frames of a stack, without the line that says what happened. */
function framesOf({ stack = "" }: Error): string[] {
  return stack.split("\n").filter((line) => /^\s*at /.test(line));
}

/** Checks that an error's stack begins with a function of this file. */
function assertPointsAt(error: unknown, name: string): void {
  assertInstanceOf(error, Error);
  const [first = error.stack ?? ""] = framesOf(error);
  assertMatch(
    first,
    new RegExp(`\\b${name}\\b.*caller_test\\.ts`),
    error.stack,
  );
  assert(
    error.stack?.startsWith(`${error.name}: ${error.message}`),
    error.stack,
  );
}

function caught(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error("It did not throw");
}

// Calls that fail at once ------------------------------------------------------------

function failingFunction(): never {
  throw deepInside(failingFunction);
}

function deepInside(ours: PublicFunction): Error {
  const error = errnoError("ECONNREFUSED", CONTEXT, ours);
  return error;
}

class Thing {
  failingMethod(): never {
    throw deepInside(Thing.prototype.failingMethod);
  }

  get failingGetter(): never {
    const { get } = Object.getOwnPropertyDescriptor(
      Thing.prototype,
      "failingGetter",
    )!;
    throw deepInside(get!);
  }

  // deno-lint-ignore require-await -- a method that fails before it waits
  async failingPromise(): Promise<never> {
    throw deepInside(Thing.prototype.failingPromise);
  }
}

test("an error points at the caller of a function", () => {
  const error = caught(function userCode() {
    failingFunction();
  });
  assertPointsAt(error, "userCode");
  assertInstanceOf(error, Errno.ECONNREFUSED);
});

test("an error points at the caller of a method", () => {
  const thing = new Thing();
  const error = caught(function userCode() {
    thing.failingMethod();
  });
  assertPointsAt(error, "userCode");
});

test("an error points at the reader of a property", () => {
  const thing = new Thing();
  const error = caught(function userCode() {
    void thing.failingGetter;
  });
  assertPointsAt(error, "userCode");
});

test("an error points at the caller of an async method that fails before it waits", async () => {
  const thing = new Thing();
  const error = await (async function userCode() {
    return await thing.failingPromise();
  })().catch((error: unknown) => error);
  assertPointsAt(error, "userCode");
});

test("an error without a caller has a stack that leads to who made it", () => {
  const error = caught(function userCode() {
    throw errnoError("EPERM", CONTEXT);
  }) as Error;
  assertStringIncludes(error.stack!, "userCode");
});

test("an error that points at its caller is like any other of its class", () => {
  const ours = caught(failingFunction) as ErrnoError;
  const plain = new Errno.ECONNREFUSED(CONTEXT);
  assertStrictEquals(
    Object.getPrototypeOf(ours),
    Object.getPrototypeOf(plain),
  );
  assertEquals(Object.keys(ours), Object.keys(plain));
  assertEquals(ours.toJSON(), plain.toJSON());
  assertEquals(`${ours}`, `${plain}`);
  assertEquals(structuredClone(ours).message, plain.message);
  assertEquals(Object.prototype.toString.call(ours), "[object Error]");
});

// Calls that fail later ----------------------------------------------------------------

function slowly(work: () => void): void {
  setTimeout(work, 5);
}

/** A call that keeps its caller. */
function keepingCall(make: (at: Caller) => Error): Promise<never> {
  const caller = callerOf(keepingCall);
  return new Promise((resolve) =>
    slowly(() => rejectAt(resolve, caller, () => make(caller)))
  );
}

/** A call that does not. */
function followedCall(): Promise<never> {
  return new Promise((resolve) =>
    slowly(() =>
      rejectAt(resolve, null, (at) => errnoError("ETIMEDOUT", CONTEXT, at))
    )
  );
}

const MAKERS: Readonly<Record<string, (at: Caller) => Error>> = {
  ErrnoError: (at) => errnoError("ETIMEDOUT", CONTEXT, at),
  LookupError: (at) =>
    pointAt(new LookupError("x", "EAI_SYSTEM", -11, new Error("why")), at),
  TypeError: (at) => pointAt(new TypeError("Cannot use it"), at),
};

for (const [name, make] of Object.entries(MAKERS)) {
  test(`${name} points at the caller that was kept, however it is waited for`, async () => {
    async function userCode(): Promise<unknown> {
      return await keepingCall(make).catch((error: unknown) => error);
    }
    async function userOfMany(): Promise<unknown> {
      const [result] = await Promise.allSettled([keepingCall(make)]);
      return (result as PromiseRejectedResult).reason;
    }
    function userOfNone(): Promise<unknown> {
      return keepingCall(make).then(null, (error: unknown) => error);
    }
    for (const user of [userCode, userOfMany, userOfNone]) {
      const error = await user();
      assertPointsAt(error, user.name);
      assertEquals(
        (error as Error).constructor.name,
        {
          ErrnoError: "ETIMEDOUT",
        }[name] ?? name,
      );
    }
  });
}

test("pointAt() keeps all that an error knows", async () => {
  const cause = new Error("why");
  const lookup = new LookupError("x", "EAI_SYSTEM", -11, cause);
  const error = await keepingCall((at) => pointAt(lookup, at))
    .catch((error: unknown) => error) as LookupError;
  assertEquals({ ...error }, { ...lookup });
  assertEquals([error.message, error.name], [lookup.message, lookup.name]);
  assertStrictEquals(error.cause, cause);
  assert(!Object.keys(error).includes("message"));
});

test("an error points at who awaits it where no caller was kept", async () => {
  async function userCode(): Promise<void> {
    await followedCall();
  }
  const error = await userCode().catch((error: unknown) => error);
  assertInstanceOf(error, Errno.ETIMEDOUT);
  // JavaScriptCore follows promises of async functions alone; it shows no frame then, and so none that misleads.
  if ("Bun" in globalThis) assertEquals(framesOf(error), []);
  else assertPointsAt(error, "userCode");
});

test("a rejection that nobody handles is reported with the error itself", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const call = followedCall();
  call.then(null, resolve);
  assertInstanceOf(await promise, Errno.ETIMEDOUT);
});

test("a caller outlasts the function that called, and the collector", async () => {
  const userCode = new Function("call", "return call();");
  const pending: Promise<never> = userCode(() =>
    keepingCall(MAKERS.ErrnoError!)
  );
  (globalThis as unknown as { gc?(): void }).gc?.();
  const error = await pending.catch((error: unknown) => error) as Error;
  assertStringIncludes(error.stack!, error.message);
  assert(framesOf(error).length > 0, error.stack);
});
