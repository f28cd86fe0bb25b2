/**
 * `connect(2)` of the C library for Deno, Bun and Node: synchronous and
 * asynchronous, with the kernel's own results and one exception class per
 * errno.
 *
 * For tools that work on the network itself: port scanners, pings over TCP,
 * health checks, experiments with socket options. Every call goes to the C
 * function through FFI; importing the module opens nothing and needs no
 * permission.
 *
 * | you want | take |
 * | --- | --- |
 * | a connection, while other things go on | {@linkcode connect} |
 * | a connection, in a script that does one thing | {@linkcode connectSync} |
 * | the socket itself: options, bind, datagrams, poll | {@linkcode Socket.open} and its methods |
 * | the bare errno, in a loop that allocates nothing | {@linkcode Socket.tryConnect} |
 * | many targets, failures as results | `probe`, `ping`, `waitFor`, `trace` of `@einprogress/connect/tools` |
 * | a `net.Socket`, an agent, an undici connector | `@einprogress/connect/node` |
 * | the errno tables and {@linkcode explain} without FFI | `@einprogress/connect/errno` |
 *
 * What to know beforehand:
 *
 * - A call that blocks holds the thread, and with it a listener of the same
 *   thread: once its backlog is full, the two wait for each other.
 * - Each Worker opens the library for itself. Terminating a Worker leaves the
 *   descriptors of its pending attempts open until the process ends.
 * - Descriptors are plain numbers, which no runtime counts: close sockets, or
 *   declare them with `using`. Deno panics when it finds no descriptor for
 *   itself, so leave it some (`probe`, `ping` and `trace` leave 64).
 * - `Deno.test` with `sanitizeResources` reports "A dynamic library was loaded"
 *   for each test that is the first to call some function, since functions open
 *   one by one and stay open. Call {@linkcode preload} at the top of such a
 *   test file.
 * - The examples are programs for Deno; on Bun and Node, a server of `node:net`
 *   stands in for `Deno.listen`.
 * - Node prints an ExperimentalWarning for `node:ffi`;
 *   `--disable-warning=ExperimentalWarning` turns it off.
 *
 * @example Whether a port is open
 * ```ts
 * import { connectSync, Errno } from "@einprogress/connect";
 * import { assertEquals } from "@std/assert";
 *
 * function isOpen(port: number): boolean {
 *   try {
 *     connectSync({ hostname: "127.0.0.1", port, timeout: 1000 }).close();
 *     return true;
 *   } catch (error) {
 *     if (error instanceof Errno.ECONNREFUSED) return false;
 *     throw error;
 *   }
 * }
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * assertEquals(isOpen(listener.addr.port), true);
 * listener.close();
 * assertEquals(isOpen(listener.addr.port), false);
 * ```
 *
 * @module
 */
export {
  abstractUnix,
  type Address,
  inet,
  inet6,
  type Inet6Address,
  type Inet6Options,
  type InetAddress,
  type RawAddress,
  rawAddress,
  SocketAddress,
  unix,
  type UnixAddress,
  unspecified,
  type UnspecifiedAddress,
  vsock,
  type VsockAddress,
} from "./src/address/address.ts";
export { type Capabilities, capabilities } from "./src/explain/capabilities.ts";
export {
  connect,
  type ConnectDefaults,
  type ConnectOptions,
  connectSync,
} from "./src/connect/connect.ts";
export {
  type EaiCode,
  Errno,
  type ErrnoAlias,
  type ErrnoClass,
  type ErrnoCode,
  type ErrnoContext,
  ErrnoError,
  type ErrnoErrorOf,
  type ErrnoFacts,
  errnoName,
  type Icmp,
  isErrno,
  LookupError,
  NotSupportedError,
} from "./src/errors/errors.ts";
export type { RetryAdvice, SocketReuse } from "./src/explain/catalog.ts";
export {
  explain,
  type ExplainOptions,
  type Explanation,
  type Failed,
  type LookupFacts,
  type Os,
} from "./src/explain/explain.ts";
export { isRetryable } from "./src/explain/retry.ts";
export type { IpAddress, LookupFamily } from "./src/address/lookup.ts";
export {
  lookup,
  type LookupOptions,
  lookupSync,
} from "./src/connect/lookup.ts";
export type {
  KeepAlive,
  Md5Key,
  PathMtuDiscovery,
  PeerCredentials,
  ReadableSocketOptionName,
  ReadableSocketOptions,
  SocketFacts,
  SocketOptionName,
  SocketOptions,
} from "./src/socket/options.ts";
export type { DenoAddr } from "./src/socket/deno_addr.ts";
export type { BunSocket, BunSocketHandlers } from "./src/socket/hand_off.ts";
export type {
  PollEvent,
  SocketFamily,
  SocketProtocol,
  SocketType,
  WaitEvents,
} from "./src/socket/names.ts";
export { type TcpInfo, tcpInfo } from "./src/socket/tcp_info.ts";
export { UnexpectedEndError } from "./src/socket/transfer.ts";
export type {
  AttemptOptions,
  ReceiveOptions,
  ReceiveUntilOptions,
  SendOptions,
  SocketOpenOptions,
  SocketPairOptions,
  WaitOptions,
} from "./src/socket/calls.ts";
export { preload } from "./src/socket/preload.ts";
export { Socket } from "./src/socket/socket.ts";
export type {
  ConnectTarget,
  HostLookup,
  HostLookupOptions,
  TcpTarget,
  UnixTarget,
  VsockTarget,
} from "./src/connect/target.ts";
