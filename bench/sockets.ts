/**
 * What a socket of `node:net` is worth that we have connected, beside the runtime's own: 200 MB each way, and 50 connections
 * that play ping-pong.
 *
 *     deno run -A bench/sockets.ts      bun bench/sockets.ts      node bench/sockets.ts
 *
 * The sides take turns, round by round, against a server in a process of its own. It prints medians of the ratios of their
 * speeds, ours to the runtime's own, with their quartiles; EINPROGRESS_ROUNDS says how many rounds there are.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { doorFor } from "../ffi/libc.ts";
import { connect } from "../mod.ts";
import { createConnection } from "../src/node.ts";
import { HERE } from "./peers.ts";

const HOST = "127.0.0.1";
const BYTES = 200_000_000;
const CONNECTIONS = 50;
/** How many times a message goes there and back on each connection. */
const VOLLEYS = 400;
const CHUNK = Buffer.alloc(0x1_0000);
const MESSAGE = Buffer.alloc(64, 1);
const ROUNDS = Number(process.env.EINPROGRESS_ROUNDS ?? 9);

/** What the server does for a connection, by the first byte that it gets. */
const SERVICES: Readonly<Record<string, (peer: net.Socket) => void>> = {
  d: (peer) => send(peer, () => peer.end()),
  u: (peer) => receive(peer, () => peer.end("!")),
  p: (peer) => peer.pipe(peer),
};

/** Sends 200 MB, no faster than they are taken. */
function send(socket: net.Socket, done: () => void): void {
  let left = BYTES;
  function more(): void {
    while (left > 0) {
      const part = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      left -= part.length;
      if (!socket.write(part)) break;
    }
    if (left > 0) socket.once("drain", more);
    else done();
  }
  more();
}

/** Receives 200 MB. */
function receive(socket: net.Socket, done: () => void): void {
  let left = BYTES;
  socket.on("data", (part) => {
    left -= part.length;
    if (left === 0) done();
  });
}

type Side = (port: number) => Promise<net.Socket>;

async function connected(socket: net.Socket): Promise<net.Socket> {
  await once(socket, "connect");
  return socket;
}

const OWN: Side = (port) => connected(net.connect({ host: HOST, port }));

const SIDES: Readonly<Record<string, Side>> = {
  "createConnection()": (port) =>
    connected(createConnection({ host: HOST, port })),
  "toNodeSocket()": async (port) =>
    (await connect({ hostname: HOST, port })).toNodeSocket(),
};

type Work = (side: Side, port: number) => Promise<void>;

const WORKS: Readonly<Record<string, Work>> = {
  async "200 MB in"(side, port) {
    const socket = await side(port);
    const closed = once(socket, "close");
    const all = new Promise<void>((resolve) => receive(socket, resolve));
    socket.write("d");
    await all;
    await closed;
  },
  async "200 MB out"(side, port) {
    const socket = await side(port);
    const closed = once(socket, "close");
    socket.resume().write("u");
    send(socket, () => {});
    await closed;
  },
  async "50 play ping-pong"(side, port) {
    await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
      const socket = await side(port);
      const closed = once(socket, "close");
      let left = VOLLEYS;
      let missing = MESSAGE.length;
      socket.setNoDelay(true);
      socket.on("data", (part) => {
        missing -= part.length;
        if (missing > 0) return;
        missing = MESSAGE.length;
        if (--left === 0) socket.end();
        else socket.write(MESSAGE);
      });
      socket.write("p");
      socket.write(MESSAGE);
      await closed;
    }));
  },
};

function startServer(): void {
  const server = net.createServer((peer) => {
    peer.setNoDelay(true);
    peer.on("error", () => {});
    peer.once("readable", () => {
      const [service] = peer.read(1) as Uint8Array;
      SERVICES[String.fromCharCode(service!)]!(peer);
    });
  });
  server.listen(0, HOST, () => {
    print(`${(server.address() as net.AddressInfo).port}`);
  });
  process.stdin.on("end", () => process.exit()).resume();
}

async function measure(): Promise<void> {
  const file = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, [...HERE.run, file, "server"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout!, "data");
  const port = Number(`${line}`);
  for (const [name, work] of Object.entries(WORKS)) {
    const ratios = new Map<string, number[]>();
    for (let round = -1; round < ROUNDS; round++) {
      const own = await time(work, OWN, port);
      for (const [name, side] of Object.entries(SIDES)) {
        const ratio = own / await time(work, side, port);
        // The first round warms everything up.
        if (round >= 0) ratios.set(name, [...ratios.get(name) ?? [], ratio]);
      }
    }
    for (const [side, all] of ratios) {
      const [low, middle, high] = quartiles(all);
      print(
        `${doorFor().runtime}  ${name}  ${side}  ${middle} [${low} ${high}]`,
      );
    }
  }
  child.stdin!.end();
}

async function time(work: Work, side: Side, port: number): Promise<number> {
  const start = performance.now();
  await work(side, port);
  return performance.now() - start;
}

function quartiles(values: number[]): string[] {
  const sorted = values.toSorted((a, b) => a - b);
  return [0.25, 0.5, 0.75].map((share) =>
    sorted[Math.round(share * (sorted.length - 1))]!.toFixed(3)
  );
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

if (process.argv[2] === "server") startServer();
else await measure();
