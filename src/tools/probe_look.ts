/**
 * The attempt of a probe that is being handled.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import { bytesOf, inet, unspecified } from "../address/address.ts";
import { Attempt, type Recipe } from "../attempt/attempt.ts";
import { familyOf } from "../attempt/outcome.ts";

/** The attempt that is being handled: one record serves all of them in turn. */
export class Look extends Attempt {
  /** Whether connect(2) has left it pending. */
  isPending = false;
  /** A socket whose attempt a reset has ended, -1 for none, and its family. */
  #spare = -1;
  #spareFamily = 0;
  /**
   * Whether such a socket can be used again. A port of its own would stay with
   * it, and the system says no where it can disconnect none.
   */
  #spares: boolean;
  /** The address by which a socket is disconnected. */
  readonly #nobody = bytesOf(unspecified());

  constructor(libc: Libc, recipe: Recipe) {
    super(libc, recipe, inet("0.0.0.0", 0), 0, 0, undefined);
    this.#spares = recipe.local === null && recipe.protocol === 0;
  }

  /** Whether something was sent, as far as can be seen. */
  get isSent(): boolean {
    return this.isPending || this.soft !== 0 || this.icmp !== null ||
      this.errno === 0;
  }

  override open(): number {
    const { libc, address } = this;
    const isFit = this.#spare >= 0 &&
      this.#spareFamily === familyOf(libc.abi, bytesOf(address));
    if (!isFit) return super.open();
    this.fd = this.#spare;
    this.#spare = -1;
    return 0;
  }

  /**
   * Keeps the socket for the next attempt, disconnected, or closes it. To open
   * and to close one takes Linux as long as a refused handshake on loopback.
   */
  spare(): void {
    if (!this.#spares) return this.close();
    const { libc, fd, address } = this;
    const nobody = this.#nobody;
    this.#spares = libc.connect(fd, nobody, nobody.length) === 0;
    if (!this.#spares) return this.close();
    this.drop();
    this.#spareFamily = familyOf(libc.abi, bytesOf(address));
    this.#spare = this.take();
  }

  /** Closes the socket that is kept. */
  drop(): void {
    if (this.#spare >= 0) this.libc.close(this.#spare);
    this.#spare = -1;
  }

  /** Not called: the run waits for its attempts by itself. */
  override ended(): void {}
}
