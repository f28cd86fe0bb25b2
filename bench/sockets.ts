/**
 * What a connection of ours is worth beside the runtime's own socket of `node:net`: handed over to `node:net`, by its web
 * streams, and by `send` and `recv`. 200 MB each way, and 50 connections that play ping-pong.
 *
 *     deno run -A bench/sockets.ts      bun bench/sockets.ts      node bench/sockets.ts
 *
 * The sides take turns, round by round, against a server in a process of its own. It prints medians, with their quartiles,
 * of two ratios, ours to the runtime's own: of the speeds, and of the processor time that this process takes.
 * EINPROGRESS_ROUNDS says how many rounds there are; a word after the file's name selects works and sides.
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
import { connect, type Socket } from "../mod.ts";
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

/** The same work without a socket of `node:net`. */
type Player = Readonly<
  Record<keyof typeof WORKS, (socket: Socket) => Promise<void>>
>;

const STREAMS: Player = {
  async "200 MB in"(socket) {
    const writer = socket.writable.getWriter();
    await writer.write(Buffer.from("d"));
    let left = BYTES;
    for await (const part of socket.readable) left -= part.length;
    if (left !== 0) throw new Error(`${left} bytes are missing`);
    await writer.close();
  },
  async "200 MB out"(socket) {
    const writer = socket.writable.getWriter();
    await writer.write(Buffer.from("u"));
    for (let left = BYTES; left > 0; left -= CHUNK.length) {
      await writer.write(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK);
    }
    await writer.close();
    await socket.readable.getReader().read();
  },
  async "50 play ping-pong"(socket) {
    const writer = socket.writable.getWriter();
    const reader = socket.readable.getReader();
    await writer.write(Buffer.from("p"));
    for (let i = 0; i < VOLLEYS; i++) {
      await writer.write(MESSAGE);
      for (let missing = MESSAGE.length; missing > 0;) {
        missing -= (await reader.read()).value!.length;
      }
    }
  },
};

const CALLS: Player = {
  async "200 MB in"(socket) {
    await socket.sendAll("d");
    const buffer = new Uint8Array(CHUNK.length);
    while (await socket.recv(buffer) > 0);
  },
  async "200 MB out"(socket) {
    await socket.sendAll("u");
    for (let left = BYTES; left > 0; left -= CHUNK.length) {
      await socket.sendAll(
        left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK,
      );
    }
    await socket.recvExactly(1);
  },
  async "50 play ping-pong"(socket) {
    await socket.sendAll("p");
    const buffer = new Uint8Array(MESSAGE.length);
    for (let i = 0; i < VOLLEYS; i++) {
      await socket.send(MESSAGE);
      for (let missing = buffer.length; missing > 0;) {
        missing -= await socket.recv(buffer);
      }
    }
  },
};

const PLAYERS: Readonly<Record<string, Player>> = {
  "streams": STREAMS,
  "send() and recv()": CALLS,
};

/** Has a player do its part, on as many connections as the work takes. */
async function play(
  player: Player,
  name: keyof typeof WORKS,
  port: number,
): Promise<void> {
  const count = name === "50 play ping-pong" ? CONNECTIONS : 1;
  await Promise.all(Array.from({ length: count }, async () => {
    using socket = await connect({ hostname: HOST, port });
    socket.setOption("noDelay", true);
    await player[name](socket);
  }));
}

type Work = (side: Side, port: number) => Promise<void>;

const WORKS = {
  async "200 MB in"(side: Side, port: number) {
    const socket = await side(port);
    const closed = once(socket, "close");
    const all = new Promise<void>((resolve) => receive(socket, resolve));
    socket.write("d");
    await all;
    await closed;
  },
  async "200 MB out"(side: Side, port: number) {
    const socket = await side(port);
    const closed = once(socket, "close");
    socket.resume().write("u");
    send(socket, () => {});
    await closed;
  },
  async "50 play ping-pong"(side: Side, port: number) {
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
} satisfies Readonly<Record<string, Work>>;

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
  const words = process.argv.slice(2);
  for (const name of Object.keys(WORKS) as (keyof typeof WORKS)[]) {
    const work = WORKS[name];
    const sides: [string, () => Promise<void>][] = [
      ...Object.entries(SIDES).map(([title, side]) =>
        [title, () => work(side, port)] as [string, () => Promise<void>]
      ),
      ...Object.entries(PLAYERS).map(([title, player]) =>
        [title, () => play(player, name, port)] as [string, () => Promise<void>]
      ),
    ].filter(([title]) =>
      words.every((word) => `${name} ${title}`.includes(word))
    );
    if (sides.length === 0) continue;
    const speeds = new Map<string, number[]>();
    const efforts = new Map<string, number[]>();
    for (let round = -1; round < ROUNDS; round++) {
      const own = await cost(() => work(OWN, port));
      for (const [title, run] of sides) {
        const ours = await cost(run);
        // The first round warms everything up.
        if (round < 0) continue;
        speeds.set(title, [...speeds.get(title) ?? [], own.time / ours.time]);
        efforts.set(title, [...efforts.get(title) ?? [], ours.work / own.work]);
      }
    }
    for (const [title] of sides) {
      const speed = quartiles(speeds.get(title)!);
      const effort = quartiles(efforts.get(title)!);
      print(
        `${doorFor().runtime}  ${name}  ${title}  speed ${speed}  processor ${effort}`,
      );
    }
  }
  child.stdin!.end();
}

/** What something takes: milliseconds on the clock, and of the processor. */
interface Cost {
  readonly time: number;
  readonly work: number;
}

async function cost(run: () => Promise<void>): Promise<Cost> {
  const before = process.cpuUsage();
  const start = performance.now();
  await run();
  const time = performance.now() - start;
  const { user, system } = process.cpuUsage(before);
  return { time, work: (user + system) / 1000 };
}

function quartiles(values: number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) =>
    sorted[Math.round(share * (sorted.length - 1))]!.toFixed(3)
  );
  return `${middle} [${low} ${high}]`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

if (process.argv[2] === "server") startServer();
else await measure();
