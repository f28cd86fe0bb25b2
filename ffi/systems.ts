/**
 * Which table describes a system.
 *
 * @module
 */
import type { Abi, Arch, Os } from "./abi.ts";
import { aix } from "./abi/aix.ts";
import { darwin } from "./abi/darwin.ts";
import { freebsd } from "./abi/freebsd.ts";
import { illumos } from "./abi/illumos.ts";
import { linux } from "./abi/linux.ts";
import { netbsd } from "./abi/netbsd.ts";
import { openbsd } from "./abi/openbsd.ts";

/** `process.platform` and `Deno.build.os`, in our names. */
const OS_NAMES: Readonly<Record<string, Os>> = {
  linux: "linux",
  darwin: "darwin",
  freebsd: "freebsd",
  openbsd: "openbsd",
  netbsd: "netbsd",
  sunos: "illumos",
  illumos: "illumos",
  aix: "aix",
};

/** `process.arch` and `Deno.build.arch`, in our names. */
const ARCH_NAMES: Readonly<Record<string, Arch>> = {
  x64: "x86_64",
  x86_64: "x86_64",
  arm64: "aarch64",
  aarch64: "aarch64",
  ppc64: "ppc64",
  riscv64: "riscv64",
  s390x: "s390x",
};

const TABLES: Readonly<Partial<Record<Os, (arch: Arch) => Abi | null>>> = {
  linux,
  darwin,
  freebsd,
  openbsd,
  netbsd,
  illumos,
  aix,
};

/**
 * The table for a system and a processor, both as the runtime spells them (`process.platform`, `process.arch`).
 *
 * @throws {Error} If there is no table for the pair; the message names both.
 */
export function abiFor(platform: string, arch: string): Abi {
  const abi = lookUp(platform, arch);
  if (abi === null) {
    throw new Error(
      `Cannot call the C library on ${platform} ${arch}: no table describes ` +
        `this system, only ${Object.keys(TABLES).join(", ")} and their usual ` +
        "processors have one",
    );
  }
  return abi;
}

/** The table of the system this runs on, `null` where there is none. Asks for no permission. */
export function hostAbi(): Abi | null {
  const { platform, arch } = hostPlatform();
  return lookUp(platform, arch);
}

/** What the runtime calls this system and this processor. */
export function hostPlatform(): { platform: string; arch: string } {
  const runtime = globalThis as unknown as {
    Deno?: { build: { os: string; arch: string } };
    process?: { platform: string; arch: string };
  };
  // Deno has `process` too, and takes ten milliseconds to make it.
  if (runtime.Deno !== undefined) {
    const { os, arch } = runtime.Deno.build;
    return { platform: os, arch };
  }
  const { platform = "this system", arch = "" } = runtime.process ?? {};
  return { platform, arch };
}

/** Each table is made once, when it is first needed: a program needs only one of them. */
const made = new Map<string, Abi | null>();

function lookUp(platform: string, arch: string): Abi | null {
  const os = OS_NAMES[platform];
  const cpu = ARCH_NAMES[arch];
  if (os === undefined || cpu === undefined) return null;
  const key = `${os} ${cpu}`;
  let abi = made.get(key);
  if (abi === undefined) made.set(key, abi = TABLES[os]?.(cpu) ?? null);
  return abi;
}
