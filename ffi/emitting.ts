/**
 * Events that a runtime's own socket emits otherwise than it should.
 *
 * @module
 */

/** What is used of a `net.Socket`. */
interface Emitter {
  emit(event: string | symbol, ...args: unknown[]): boolean;
}

/**
 * Has the next event of a name emitted without its arguments, or not at all.
 *
 * @param isMeant Whether listeners are to hear of it.
 */
export function alterNext(
  emitter: Emitter,
  name: string,
  isMeant: boolean,
): void {
  const { emit } = emitter;
  let isOver = false;
  function alter(event: string | symbol, ...args: unknown[]): boolean {
    if (isOver || event !== name) return emit.call(emitter, event, ...args);
    isOver = true;
    // Others may have put theirs around this one.
    if (emitter.emit === alter) restore();
    return isMeant && emit.call(emitter, event);
  }
  const isOwn = Object.hasOwn(emitter, "emit");
  function restore(): void {
    if (isOwn) emitter.emit = emit;
    else Reflect.deleteProperty(emitter, "emit");
  }
  Object.defineProperty(emitter, "emit", {
    value: alter,
    configurable: true,
    writable: true,
  });
}
