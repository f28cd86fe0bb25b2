/**
 * Which names the resolver finds in the hosts file, without asking anybody.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { ENCODER, newMemory } from "../../ffi/memory.ts";
import { performance } from "../../ffi/timers.ts";

/** How long what was read is good for, in ms. */
const FILE_LIFETIME = 1000;

/** How much of a file is read, in bytes, and how much at a time. */
const LARGEST_FILE = 0x10_0000;
const CHUNK = 0x4000;

/** The hosts file in lower case; empty where the resolver asks others before. */
let hosts = "";
let readAt = -Infinity;
let readBy: Libc | null = null;

/**
 * Whether the resolver finds a name in the hosts file, so that it takes a few
 * microseconds at most.
 *
 * What the name stands for is for the resolver alone to say.
 *
 * @param isIpv6 Which addresses are asked for, `null` for all.
 */
export function isInHostsFile(
  libc: Libc,
  hostname: string,
  isIpv6: boolean | null,
): boolean {
  const now = performance.now();
  if (now - readAt > FILE_LIFETIME || readBy !== libc) {
    hosts = isFirst(libc) ? readText(libc, "/etc/hosts").toLowerCase() : "";
    readAt = now;
    readBy = libc;
  }
  const name = hostname.toLowerCase();
  // Two names of one line are no name, and the resolver asks others for it.
  if (/\s/.test(name)) return false;
  for (let at = -1; (at = hosts.indexOf(name, at + 1)) >= 0;) {
    if (!isGap(hosts[at - 1]) || !isGap(hosts[at + name.length])) continue;
    const line = hosts.slice(hosts.lastIndexOf("\n", at) + 1, at);
    const address = /^\s*([\da-f.:%]+)\s[^#]*$/.exec(line)?.[1];
    if (address === undefined) continue;
    if (isIpv6 === null || address.includes(":") === isIpv6) return true;
  }
  return false;
}

/** Whether the resolver looks into the hosts file before all else. */
function isFirst(libc: Libc): boolean {
  const config = readText(libc, "/etc/nsswitch.conf");
  const line = /^[ \t]*hosts:[ \t]*(.*)/m.exec(config);
  return line === null ? libc.abi.hostsFirst : /^files\b/.test(line[1]!);
}

/** Whether no word goes on there. */
function isGap(character: string | undefined): boolean {
  return character === undefined || /[\s#]/.test(character);
}

/** The beginning of a file of the system, empty if there is none. */
export function readText(libc: Libc, path: string): string {
  // A child that is started on another thread meanwhile must not inherit it.
  const fd = libc.open(ENCODER.encode(`${path}\0`), libc.abi.O_CLOEXEC);
  if (fd < 0) return "";
  let text = "";
  const chunk = newMemory(CHUNK);
  // A letter for each byte: names that are looked up are ASCII.
  const decoder = new TextDecoder("latin1");
  while (text.length < LARGEST_FILE) {
    const count = libc.read(fd, chunk, CHUNK);
    if (count <= 0) break;
    text += decoder.decode(chunk.subarray(0, count));
  }
  libc.close(fd);
  return text;
}
