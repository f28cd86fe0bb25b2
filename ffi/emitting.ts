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
 * @returns What ends that before there was one.
 */
export function alterNext(
  emitter: Emitter,
  name: string,
  isMeant: boolean,
): () => void {
  const { emit } = emitter;
  const isOwn = Object.hasOwn(emitter, "emit");
  let isOver = false;
  function end(): void {
    isOver = true;
    // Others may have put theirs around this one.
    if (emitter.emit !== alter) return;
    if (isOwn) emitter.emit = emit;
    else Reflect.deleteProperty(emitter, "emit");
  }
  function alter(event: string | symbol, ...args: unknown[]): boolean {
    if (isOver || event !== name) return emit.call(emitter, event, ...args);
    end();
    return isMeant && emit.call(emitter, event);
  }
  Object.defineProperty(emitter, "emit", {
    value: alter,
    configurable: true,
    writable: true,
  });
  return end;
}
