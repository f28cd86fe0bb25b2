/**
 * Checks of what callers pass in; each failure names the argument and the
 * value.
 *
 * @module
 */

/** How much of a long text a message shows. */
const MOST_SHOWN = 200;

/** A value as messages show it: text in quotes, cut where it is long. */
export function show(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(
        value.length > MOST_SHOWN
          ? `${value.slice(0, MOST_SHOWN)}\u2026`
          : value,
      );
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) && value.length < 5 && !value.some(isObject)
        ? `[${value.map(show).join(", ")}]`
        : "(an object)";
    case "function":
      return "(a function)";
    default:
      return String(value);
  }
}

/** Whether a value has fields. */
export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Makes sure that an argument is text. */
export function checkText(
  name: string,
  value: unknown,
): asserts value is string {
  if (typeof value !== "string") throw notA("string", name, value);
}

/** Makes sure that an argument is a function. */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== "function") throw notA("function", name, value);
}

/** Makes sure that an argument is memory, byte by byte. */
export function checkBytes(
  name: string,
  value: unknown,
): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw notA("Uint8Array", name, value);
}

/** Answers the number, with -0 made 0. */
export function checkInteger(
  name: string,
  value: unknown,
  max: number,
): number {
  if (typeof value !== "number") throw notA("number", name, value);
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(
      `Cannot use ${name} ${value}: it must be an integer from 0 to ${max}`,
    );
  }
  return value + 0;
}

/** Answers the milliseconds, `fallback` if there are none. */
export function checkMilliseconds(
  name: string,
  value: unknown,
  fallback: number,
  min: number = 0,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number") throw notA("number", name, value);
  if (!(value >= min)) {
    throw new RangeError(
      `Cannot use ${name} ${value}: it must be ${min} or more milliseconds`,
    );
  }
  return value;
}

/** What is thrown where an argument is of another kind. */
export function notA(kind: string, name: string, value: unknown): TypeError {
  return new TypeError(
    `Cannot use ${name} ${show(value)}: it is not a ${kind}`,
  );
}
