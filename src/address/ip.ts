/**
 * The text of IP addresses, and their bytes.
 *
 * @module
 */

/** Reads `a.b.c.d` between two positions; on failure the target is spoilt. */
export function parseIpv4(
  text: string,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): boolean {
  let parts = 0;
  let digits = 0;
  let value = 0;
  for (let i = start; i <= end; i++) {
    const code = i < end ? text.charCodeAt(i) : DOT;
    if (code === DOT) {
      if (digits === 0 || parts === 4) return false;
      target[at + parts++] = value;
      digits = 0;
      value = 0;
    } else {
      const digit = code - ZERO;
      const leadingZero = digits > 0 && value === 0;
      if (digit < 0 || digit > 9 || leadingZero) return false;
      value = value * 10 + digit;
      digits++;
      if (value > 255) return false;
    }
  }
  return parts === 4;
}

/** Reads the text of RFC 4291, section 2.2, up to a position. */
export function parseIpv6(
  text: string,
  end: number,
  target: Uint8Array,
  at: number,
): boolean {
  let groups = 0;
  let gap = -1; // how many groups stand before "::"
  let i = 0;
  if (text.startsWith("::")) {
    gap = 0;
    i = 2;
  }
  while (i < end) {
    const start = i;
    let value = 0;
    while (i < end) {
      const digit = hexDigit(text.charCodeAt(i));
      if (digit < 0) break;
      if (i - start === 4) return false;
      value = value << 4 | digit;
      i++;
    }
    if (i === start) return false;
    if (i < end && text.charCodeAt(i) === DOT) {
      if (groups > 6) return false;
      if (!parseIpv4(text, start, end, target, at + 2 * groups)) return false;
      groups += 2;
      break;
    }
    if (groups === 8) return false;
    target[at + 2 * groups] = value >> 8;
    target[at + 2 * groups + 1] = value;
    groups++;
    if (i === end) break;
    if (text.charCodeAt(i++) !== COLON || i === end) return false;
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false;
      gap = groups;
      i++;
    }
  }
  if (gap < 0) return groups === 8;
  if (groups === 8) return false;
  const tail = 2 * (groups - gap);
  const from = at + 2 * gap;
  target.copyWithin(at + 16 - tail, from, from + tail);
  target.fill(0, from, at + 16 - tail);
  return true;
}

const DOT = 0x2e;
const COLON = 0x3a;
const ZERO = 0x30;

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Writes four decimal numbers. */
export function formatIpv4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** Writes the text of RFC 5952. */
export function formatIpv6(bytes: Uint8Array, at: number): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 16);
  let gap = -1; // the first of the longest runs of at least two zeros
  let run = 1;
  for (let i = 0; i < 8; i++) {
    const start = i;
    while (i < 8 && view.getUint16(2 * i) === 0) i++;
    if (i - start > run) {
      gap = start;
      run = i - start;
    }
  }
  if (gap === 0 && run === 5 && view.getUint16(10) === 0xffff) {
    return `::ffff:${formatIpv4(bytes, at + 12)}`;
  }
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === gap) {
      text += "::";
      i += run - 1;
    } else {
      if (text !== "" && !text.endsWith(":")) text += ":";
      text += view.getUint16(2 * i).toString(16);
    }
  }
  return text;
}
