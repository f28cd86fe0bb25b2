/**
 * What an errno means, and what to do about it.
 *
 * @module
 */
import type { Abi, Os } from "../../ffi/abi.ts";
import { abiFor } from "../../ffi/systems.ts";
import { bare, lazily } from "../../ffi/records.ts";
import { currentAbi } from "../../ffi/libc.ts";
import { isObject, readOptions, show } from "../errors/arguments.ts";
import { own } from "../errors/caller.ts";
import { pointed } from "../errors/errors.ts";
import {
  CATALOG,
  type CatalogEntry,
  type RetryAdvice,
  type SocketReuse,
} from "./catalog.ts";
import type {
  EaiCode,
  ErrnoCode,
  ErrnoFacts,
  LookupError,
} from "../errors/errors.ts";
import {
  LOOKUP_PHRASES,
  NODE_CODES,
  phraseOf,
  printable,
} from "../errors/phrases.ts";
import {
  circumstancesOf,
  LOOKUPS_EXPLAINED,
  spellingOf,
} from "./circumstances.ts";
import { evidenceFor } from "./evidence.ts";

export type { Os };

/** One processor of each system, which has the same errnos on all of its. */
const PROCESSORS: Readonly<Record<Os, string>> = {
  aix: "ppc64",
  darwin: "arm64",
  freebsd: "x64",
  illumos: "x64",
  linux: "x64",
  netbsd: "x64",
  openbsd: "x64",
};

/** Numbers of errnos by name, as one system's `<errno.h>` has them. */
export type ErrnoTable = Readonly<Partial<Record<ErrnoCode, number>>>;

/**
 * The whole of each system's `<errno.h>`: numbers by name, positive as in C.
 *
 * Where two names share a number, the first one listed names it.
 *
 * @example One errno, many numbers
 * ```ts
 * import { ERRNOS } from "@einprogress/connect/errno";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(ERRNOS.linux.ECONNREFUSED, 111);
 * assertEquals(ERRNOS.darwin.ECONNREFUSED, 61);
 * assertEquals(ERRNOS.illumos.ECONNREFUSED, 146);
 * ```
 */
export const ERRNOS: Readonly<Record<Os, ErrnoTable>> = lazily(
  Object.keys(PROCESSORS) as Os[],
  (os) => tableOf(os).errnos,
);

function tableOf(os: Os): Abi {
  return abiFor(os, PROCESSORS[os]);
}

/** What a {@linkcode LookupError} holds, as plain data. */
export type LookupFacts = Pick<LookupError, "code" | "errno" | "hostname">;

/** A result that carries the error of its failure: a `ProbeResult`, for example. */
export interface Failed {
  /** The error, or the plain data of one; `null` if nothing has failed. */
  readonly error: Error | ErrnoFacts | LookupFacts | null;
}

/** For which system an errno is explained. */
export interface ExplainOptions {
  /**
   * The system that the explanation is about.
   *
   * @default {the system that the program runs on}
   */
  readonly os?: Os | undefined;
}

/**
 * What an errno of connect(2) means on one system, as plain data.
 *
 * `null` stands wherever nothing is known. As a string it is a short text for
 * people, of several lines.
 */
export interface Explanation {
  /**
   * The name of the errno, or of the failure of getaddrinfo(3), as it was given,
   * or `"UNKNOWN"`. `node:dns` says `ENOTFOUND` for `EAI_NONAME`.
   */
  readonly code: ErrnoCode | EaiCode | "UNKNOWN";
  /**
   * Its number on that system; `null` if it has none there. That of an errno is
   * positive, that of getaddrinfo(3) negative on Linux.
   */
  readonly errno: number | null;
  /** The other names that the same number has there. */
  readonly aliases: readonly ErrnoCode[];
  /** The system that all of this is about. */
  readonly os: Os;
  /**
   * What it means, in one line: what this failure means if it is known who ended
   * the attempt, else what the errno means in general.
   */
  readonly meaning: string;
  /** What that system's own manual page of connect says, `null` if it is silent. */
  readonly says: string | null;
  /** What that system's kernel reports by it although no page says so. */
  readonly unlisted: string | null;
  /** What the page of each other system says, or else what its kernel reports. */
  readonly everywhere: Readonly<Partial<Record<Os, string>>>;
  /** Whether the attempt goes on in the kernel. */
  readonly continues: boolean | null;
  /** Whether the same socket may be connected again. */
  readonly reusable: SocketReuse | null;
  /** What a further try can bring. */
  readonly retry: RetryAdvice | null;
  /** What to look at. */
  readonly remedy: string | null;
  /** Where systems or kinds of sockets differ. */
  readonly note: string | null;
  /** What was found on this machine just now, one line each. */
  readonly evidence: readonly string[];
  /** All fields except `everywhere`, as a text for people. */
  toString(): string;
}

/** An errno that no page of connect knows, and that Linux does not report either. */
const UNDOCUMENTED =
  "No page of connect names it, so it comes from elsewhere: from a filter or a security module that decides in the kernel's place, or from another call.";

/**
 * Explains a failure: what it means, what each system's manual says of it, and
 * what to do.
 *
 * Given an error and not only its code, it takes into account what the error
 * holds: a refusal by a router is explained differently from one by the peer,
 * and the caller's deadline from the kernel's timeout. It also looks for
 * evidence on this machine: which part of a path is missing, how many ephemeral
 * ports there are, what the routing table says, who sent the ICMP message.
 * Evidence is what is true now, a little after the failure. Only the parts of a
 * path are looked for on every system, the rest on Linux alone; and only for
 * errors that a call of this process has thrown.
 *
 * On Deno the evidence needs `--allow-all`, since a path may lead anywhere and
 * the rest is in `/proc`. What may not be read is left out: no permission is
 * requested, and nothing is thrown.
 *
 * @param failure The error, the plain data of one, a result that has it as its
 * `error`, or the name of an errno or of a failure of getaddrinfo(3).
 * @param options For which system.
 * @returns What is known, as plain data; `${...}` makes a text of it.
 * @throws {TypeError} If no system has a failure of that name, or `failure` is a
 * result without an error.
 * @throws {RangeError} If there is no such system.
 *
 * @example What happened, and what to do
 * ```ts
 * import { explain } from "@einprogress/connect/errno";
 * import { assertEquals } from "@std/assert";
 *
 * const refused = explain("ECONNREFUSED", { os: "openbsd" });
 * assertEquals(refused.errno, 61);
 * assertEquals(refused.meaning, "The peer is there and nobody listens");
 * assertEquals(refused.retry, "later");
 * ```
 */
export function explain(
  failure: ErrnoCode | EaiCode | ErrnoFacts | LookupFacts | Failed,
  options?: ExplainOptions,
): Explanation {
  try {
    return explanationOf(failure, options);
  } catch (error) {
    throw pointed(error, explain);
  }
}

function explanationOf(
  failure: Parameters<typeof explain>[0],
  options: ExplainOptions | undefined,
): Explanation {
  const facts = failureIn(failure);
  const code = facts === null ? failure as string : failureCode(facts);
  const host = currentAbi();
  const { os = host.os } = readOptions("options", options, EXPLAIN_KEYS);
  if (!isOs(os)) {
    throw own(
      new RangeError(
        `Cannot explain for os ${show(os)}: the systems are ${
          Object.keys(ERRNOS).join(", ")
        }`,
      ),
    );
  }
  const here = os === host.os;
  if (
    Object.hasOwn(LOOKUP_PHRASES, code) || code === "UNKNOWN" && isLookup(facts)
  ) {
    return explainLookup(
      code as EaiCode,
      facts as LookupFacts | null,
      os,
      here,
    );
  }
  const failed = facts as ErrnoFacts | null;
  const evidence = here && failed !== null ? evidenceFor(failed) : [];
  if (code === "UNKNOWN" && failed !== null) {
    return unknown(here ? failed.errno : null, os, evidence);
  }
  const phrase = phraseOf(code);
  if (phrase === undefined) {
    throw own(
      new TypeError(
        `Cannot explain ${show(code)}: no system has an errno of this name`,
      ),
    );
  }
  const known = code as ErrnoCode;
  const circumstances = failed === null ? null : circumstancesOf(failed);
  const names = [known, ...aliasesOf(known, os)];
  const entry = entryOf(names, os);
  const advice = circumstances ?? entry;
  // The pages know nothing of one failure's own circumstances.
  const paged =
    circumstances === null || circumstances.meaning === entry?.meaning
      ? entry
      : undefined;
  return finish({
    code: known,
    errno: ERRNOS[os][known] ?? null,
    aliases: names.slice(1),
    os,
    meaning: advice?.meaning ?? capitalized(phrase),
    says: paged?.systems[os] ?? null,
    unlisted: paged?.unlisted?.[os] ?? null,
    everywhere: paged === undefined && circumstances !== null
      ? {}
      : sayingsBut(os, known),
    continues: advice?.continues ?? null,
    reusable: advice?.reusable ?? null,
    retry: advice?.retry ?? null,
    remedy: advice?.remedy ?? null,
    note: advice === undefined ? UNDOCUMENTED : advice.note ?? null,
    evidence,
  });
}

const EXPLAIN_KEYS = ["os"] as const;

function isOs(value: unknown): value is Os {
  return typeof value === "string" && Object.hasOwn(ERRNOS, value);
}

/** What a failure holds, `null` if it is a name. */
function failureIn(
  failure: Parameters<typeof explain>[0],
): ErrnoFacts | LookupFacts | null {
  if (typeof failure === "string") return null;
  if (!isObject(failure)) {
    throw own(
      new TypeError(
        `Cannot explain ${show(failure)}: it is no error and no name of one`,
      ),
    );
  }
  const facts = "error" in failure ? failure.error : failure;
  if (!isObject(facts)) {
    throw own(
      new TypeError(
        "Cannot explain a result without an error: nothing failed",
      ),
    );
  }
  if (!("code" in facts) || typeof facts.code !== "string") {
    throw own(
      new TypeError(
        `Cannot explain ${
          facts instanceof Error ? printable(`${facts}`) : show(facts)
        }: it has no code of an errno or of getaddrinfo`,
      ),
    );
  }
  return facts as ErrnoFacts | LookupFacts;
}

function isLookup(facts: ErrnoFacts | LookupFacts | null): boolean {
  return facts !== null && "hostname" in facts;
}

/** The name of a failure; of one of `node:dns`, that of `<netdb.h>`. */
function failureCode(facts: ErrnoFacts | LookupFacts): string {
  const { code } = facts;
  return isLookup(facts) && Object.hasOwn(NODE_CODES, code)
    ? NODE_CODES[code]!
    : code;
}

/** Explains why a name did not resolve. */
function explainLookup(
  code: EaiCode | "UNKNOWN",
  facts: LookupFacts | null,
  os: Os,
  here: boolean,
): Explanation {
  const known = code === "UNKNOWN" ? undefined : LOOKUPS_EXPLAINED[code];
  const spelling = facts === null ? null : spellingOf(facts.hostname);
  return finish({
    code,
    errno: code === "UNKNOWN"
      ? here ? facts?.errno ?? null : null
      : tableOf(os).eais[code] ?? null,
    aliases: [],
    os,
    meaning: known?.meaning ??
      (code === "UNKNOWN"
        ? "The name did not resolve, and the resolver gave no reason"
        : capitalized(LOOKUP_PHRASES[code])),
    says: null,
    unlisted: null,
    everywhere: {},
    continues: false,
    reusable: null,
    retry: known?.retry ?? (code === "UNKNOWN" ? null : "never"),
    remedy: spelling ?? known?.remedy ?? null,
    note: null,
    evidence: [],
  });
}

/** Explains a number that the system's table does not have. */
function unknown(
  errno: number | null,
  os: Os,
  evidence: readonly string[],
): Explanation {
  return finish({
    code: "UNKNOWN",
    errno,
    aliases: [],
    os,
    meaning: errno === null
      ? `A number of another system, which says nothing on ${os}`
      : `A number that the tables of this package do not have for ${os}`,
    says: null,
    unlisted: null,
    everywhere: {},
    continues: null,
    reusable: null,
    retry: null,
    remedy: errno === null
      ? null
      : "Look the number up in the system's own `<errno.h>`.",
    note: null,
    evidence,
  });
}

/** The other names of the same number on a system. */
function aliasesOf(code: ErrnoCode, os: Os): ErrnoCode[] {
  const table = ERRNOS[os];
  const number = table[code];
  if (number === undefined) return [];
  return (Object.keys(table) as ErrnoCode[])
    .filter((name) => name !== code && table[name] === number);
}

/**
 * Of several names of one number the entry that knows the system, else the
 * first that there is.
 */
function entryOf(
  names: readonly ErrnoCode[],
  os: Os,
): CatalogEntry | undefined {
  const entries = names.map((name) => CATALOG[name])
    .filter((entry) => entry !== undefined);
  return entries.find(({ systems }) => systems[os] !== undefined) ??
    entries.find(({ unlisted }) => unlisted?.[os] !== undefined) ?? entries[0];
}

/** What the other systems say, each under the names that the number has there. */
function sayingsBut(
  here: Os,
  code: ErrnoCode,
): Partial<Record<Os, string>> {
  const sayings: Partial<Record<Os, string>> = {};
  for (const os of Object.keys(ERRNOS) as Os[]) {
    if (os === here) continue;
    const entry = entryOf([code, ...aliasesOf(code, os)], os);
    const saying = entry?.systems[os] ?? entry?.unlisted?.[os];
    if (saying !== undefined) sayings[os] = saying;
  }
  return sayings;
}

const REUSES: Readonly<Record<SocketReuse, string>> = {
  yes: "the same socket can be connected again",
  no: "this socket cannot be connected again",
  depends: "the note says whether the same socket can be connected again",
};

const RETRIES: Readonly<Record<RetryAdvice, string>> = {
  wait: "Wait for the attempt, which is still under way",
  later: "A later try may succeed",
  elsewhere: "Another address may work",
  never: "No further try helps before something is changed",
};

/** Makes the data a text where a text is wanted; nothing else sees that. */
function finish(explanation: Explanation): Explanation {
  Object.defineProperty(
    explanation,
    "toString",
    bare({ value: textOfExplanation }),
  );
  return explanation;
}

function textOfExplanation(this: Explanation): string {
  const { code, errno, aliases, os, meaning, retry, reusable } = this;
  const number = errno === null ? `no errno of ${os}` : `${errno} on ${os}`;
  const names = [number, ...aliases.map((alias) => `also ${alias}`)].join(", ");
  const lines: [string, string | null][] = [
    ["Manual", this.says],
    ["Kernel", this.unlisted],
    ...this.evidence.map((line): [string, string] => ["Found", line]),
    [
      "Next",
      retry === null
        ? null
        : RETRIES[retry] + (reusable === null ? "" : `; ${REUSES[reusable]}`),
    ],
    ["Look", this.remedy],
    ["Note", this.note],
  ];
  const rest = lines.filter(([, text]) => text !== null)
    .map(([label, text]) => `\n  ${label}: ${text}`);
  return `${code} (${names}): ${meaning}${rest.join("")}`;
}

function capitalized(phrase: string): string {
  return phrase.charAt(0).toUpperCase() + phrase.slice(1);
}
