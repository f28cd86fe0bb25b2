/**
 * The attempt of a probe that is being handled.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  type Address,
  bytesOf,
  inet,
  unspecified,
} from "../address/address.ts";
import {
  Attempt,
  type Pace,
  PATIENT,
  Phase,
  PLAIN,
  type Recipe,
} from "../attempt/attempt.ts";
import { localAddress } from "../attempt/local_port.ts";
import { localOf } from "../socket/ends.ts";

/** The attempt that is being handled: one record serves all of them in turn. */
export class Look extends Attempt {
  /** Whether connect(2) has left it pending. */
  isPending = false;
  /** A socket whose attempt a reset has ended, -1 for none, and of what host. */
  #spare = -1;
  #spareHost: Address;
  /**
   * Whether such a socket can be used again. A disconnected one keeps a port of
   * its own and forgets some options. Most systems disconnect none, whatever
   * connect(2) returns, and some sandboxes of Linux refuse to.
   */
  #spares: boolean;
  /** The address by which a socket is disconnected. */
  readonly #nobody = bytesOf(unspecified());
  /** The port that such a socket keeps, 0 if the system chooses one each time. */
  #sparePort = 0;
  /** Whether the socket was refused before, and is disconnected by a refusal. */
  #isUsed = false;

  constructor(libc: Libc, recipe: Recipe) {
    super(libc, recipe, inet("0.0.0.0", 0), 0, 0, undefined);
    this.#spares = (recipe === PLAIN || recipe === PATIENT) &&
      libc.abi.outlivesRefusal;
    this.#spareHost = this.address;
  }

  /** Whether something was sent, as far as can be seen. */
  get isSent(): boolean {
    return this.isPending || this.soft !== 0 || this.icmp !== null ||
      this.errno === 0;
  }

  override open(): number {
    this.#isUsed = this.#spare >= 0 && this.#fits(this.address);
    if (!this.#isUsed) return super.open();
    this.fd = this.#spare;
    this.#spare = -1;
    return 0;
  }

  /** Whether the socket that is kept can be used for an address. */
  #fits(address: Address): boolean {
    // From its own port, it would connect to itself.
    return isSameHost(address, this.#spareHost) &&
      (!("port" in address) || address.port !== this.#sparePort);
  }

  /** Begins, in the way that suits the socket. */
  start(pace: Pace): number {
    return this.begin(this.#isUsed ? Phase.REFUSED : Phase.FRESH, pace);
  }

  /**
   * Whether a socket that was used before is disconnected, and that not by a
   * reset: its local end, which would show whose filter that was, is gone.
   */
  get isVague(): boolean {
    return this.#isUsed && !this.isPending && this.errno !== 0 && !this.isSoft;
  }

  /**
   * Keeps the socket for the next attempt at this host, disconnected, or closes
   * it. To open and to close one takes Linux as long as a refused handshake on
   * loopback.
   *
   * Another host gets a socket of its own: a disconnected one stays with the
   * interface of a link-local address and with the IPv4 of a mapped one, and its
   * next sequence numbers follow those that the first host has seen.
   */
  spare(): void {
    if (!this.#spares) return this.close();
    if (!this.#isUsed) {
      const { libc, fd } = this;
      const nobody = this.#nobody;
      const local = localOf(libc, fd);
      this.#spares = libc.connect(fd, nobody, nobody.length) === 0;
      if (!this.#spares) return this.close();
      this.drop();
      this.#sparePort = this.#keepPort(local);
    }
    this.#spareHost = this.address;
    this.#spare = this.take();
  }

  /**
   * Has a disconnected socket keep the port that it had: to find another one
   * takes Linux an eighth of a refused handshake.
   *
   * @returns The port, 0 if the socket cannot keep it.
   */
  #keepPort(local: Address | number): number {
    if (typeof local === "number" || !("port" in local)) return 0;
    const { libc, fd, address } = this;
    const bytes = bytesOf(localAddress(address, null, local.port));
    return libc.bind(fd, bytes, bytes.length) === 0 ? local.port : 0;
  }

  /** Closes the socket that is kept. */
  drop(): void {
    if (this.#spare >= 0) this.libc.close(this.#spare);
    this.#spare = -1;
  }

  /** Not called: the run waits for its attempts by itself. */
  override ended(): void {}
}

/** Whether two addresses of a run differ in their ports alone. */
function isSameHost(one: Address, other: Address): boolean {
  if (one.family === "inet6") {
    return other.family === "inet6" && one.hostname === other.hostname &&
      one.scopeId === other.scopeId;
  }
  return one.family === "inet" && other.family === "inet" &&
    one.hostname === other.hostname;
}
