/**
 * The hosts that are probed, and how soon their networks reply.
 *
 * @module
 */
import type { Libc } from "../../ffi/contract.ts";
import {
  bytesOf,
  type Inet6Address,
  type InetAddress,
} from "../address/address.ts";
import { Fifo } from "./fifo.ts";

/** How many networks are remembered. */
const MOST_NETWORKS = 0x1_0000;

/** How many hosts are remembered while no probe of theirs is under way. */
const MOST_IDLE_HOSTS = 4096;

/** How long the replies of a network took. */
export interface Network {
  /** The slowest of them in ms, -1 while there is none. */
  slowest: number;
}

/** A host that is probed. */
export interface Host {
  readonly key: string;
  /** Its number, which no other host has meanwhile. */
  readonly number: number;
  readonly network: Network;
  inFlight: number;
  /** Jobs that wait until fewer probes of it are under way. */
  readonly parked: Fifo<number>;
}

/** The hosts of a run. */
export class HostTable {
  readonly #libc: Libc;
  readonly #byKey = new Map<string, Host>();
  readonly #byNumber: Host[] = [];
  readonly #unused: number[] = [];
  /** The host that was asked for last. */
  #lastKey = "";
  #last: Host | null = null;
  readonly #networks = new Map<string, Network>();

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** The host of an address. */
  of(address: InetAddress | Inet6Address): Host {
    const key = hostKeyOf(address);
    if (this.#last !== null && this.#lastKey === key) return this.#last;
    let host = this.#byKey.get(key);
    if (host === undefined) {
      const network = this.#networkOf(address);
      const number = this.#unused.pop() ?? this.#byNumber.length;
      host = { key, number, network, inFlight: 0, parked: new Fifo() };
      this.#byKey.set(key, host);
      this.#byNumber[number] = host;
    }
    this.#lastKey = key;
    return this.#last = host;
  }

  /** The host with a number, of which a probe is under way. */
  at(number: number): Host {
    return this.#byNumber[number]!;
  }

  /** Forgets a host, of which no probe is under way, if too many are remembered. */
  rest(host: Host): void {
    if (this.#byKey.size <= MOST_IDLE_HOSTS) return;
    this.#byKey.delete(host.key);
    this.#unused.push(host.number);
    if (this.#last === host) this.#last = null;
  }

  /** The network of an address: its /24, or its /64. */
  #networkOf(address: InetAddress | Inet6Address): Network {
    const { hostname } = address;
    const { addr } = this.#libc.abi.sockaddrIn6;
    const key = address.family === "inet"
      ? hostname.slice(0, hostname.lastIndexOf("."))
      : `${bytesOf(address).subarray(addr, addr + 8)}%${address.scopeId}`;
    let network = this.#networks.get(key);
    if (network === undefined) {
      network = { slowest: -1 };
      this.#networks.set(key, network);
      if (this.#networks.size > MOST_NETWORKS) {
        const [oldest] = this.#networks.keys();
        this.#networks.delete(oldest!);
      }
    }
    return network;
  }
}

/** What hosts differ by: an IPv6 address is one host on each link. */
function hostKeyOf(address: InetAddress | Inet6Address): string {
  return address.family === "inet6" && address.scopeId !== 0
    ? `${address.hostname}%${address.scopeId}`
    : address.hostname;
}
