/** Libraries of npm over special connections, against the servers that they are made for. */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import tls from "node:tls";
import { agent, createConnection, undiciConnector } from "../src/node.ts";
import { AGES, pause } from "./_assertions.ts";
import { freePort } from "./_fixtures.ts";
import {
  hasCommand,
  hasPackage,
  needs,
  on,
  test as register,
} from "./_harness.ts";
import {
  hasMosquitto,
  hasNginx,
  hasPostgres,
  hasRedis,
  library,
  newFolder,
  startMosquitto,
  startNginx,
  startPostgres,
  startRedis,
} from "./_servers.ts";

/** Where every connection comes from, which the servers see. */
const SOURCE = "127.0.0.9";
const special = { localAddress: SOURCE, timeout: AGES };

/** How many connections a pool has. */
const POOL = 50;

/** More than any buffer on the way holds. */
const PAYLOAD = randomBytes(4_000_000);

/** A test of a library, whose timers are its own. */
function test(
  name: string,
  fn: () => Promise<void>,
  { skip }: { skip: string | null },
): void {
  register(name, fn, { skip, leavesTimers: true });
}

interface PgClient {
  connect(): Promise<void>;
  query(
    text: string,
    values?: unknown[],
  ): Promise<{ rows: Record<string, unknown>[] }>;
  end(): Promise<void>;
}

interface Pg {
  Client: new (settings: object) => PgClient;
  Pool: new (settings: object) => PgClient;
}

const pg = await library<Pg>("pg");

test("pg keeps the source address, with TLS, MBs and a pool", async () => {
  await using server = await startPostgres();
  const { port, cert } = server;
  const settings = {
    host: "127.0.0.1",
    port,
    user: "postgres",
    database: "postgres",
    stream: () => createConnection({ host: "127.0.0.1", port }, special),
  };
  for (const ssl of [false, { ca: cert, servername: "localhost" }]) {
    const client = new pg!.default.Client({ ...settings, ssl });
    await client.connect();
    const { rows: [row] } = await client.query(
      "select host(inet_client_addr()) as source, $1::bytea as echo, " +
        "(select ssl from pg_stat_ssl where pid = pg_backend_pid()) as ssl",
      [PAYLOAD],
    );
    assertEquals(row!.source, SOURCE);
    assertEquals(row!.ssl, ssl !== false);
    assert(PAYLOAD.equals(row!.echo as Uint8Array));
    await client.end();
  }
  const pool = new pg!.default.Pool({ ...settings, max: POOL });
  const rows = await Promise.all(
    Array.from({ length: POOL * 4 }, () =>
      pool.query(
        "select host(inet_client_addr()) as source, pg_backend_pid() as pid, " +
          "pg_sleep(0.2)::text",
      )),
  );
  const all = rows.flatMap(({ rows }) => rows);
  assert(all.every(({ source }) => source === SOURCE));
  assertEquals(new Set(all.map(({ pid }) => pid)).size, POOL);
  await pool.end();
}, { skip: needs(hasPackage("pg", pg), hasPostgres()) });

type Row = Record<string, unknown>;

interface PostgresJs {
  (settings: object): {
    (text: TemplateStringsArray, ...values: unknown[]): Promise<Row[]>;
    end(): Promise<void>;
  };
}

const postgres = await library<PostgresJs>("postgres");

test(
  "postgres.js takes a connected socket, with TLS, MBs and a pool",
  async () => {
    await using server = await startPostgres();
    const { port, cert } = server;
    for (const ssl of [false, { ca: cert, servername: "localhost" }]) {
      const sql = postgres!.default({
        host: "127.0.0.1",
        port,
        user: "postgres",
        database: "postgres",
        max: POOL,
        // Or else one connection takes them all.
        max_pipeline: 1,
        ssl,
        async socket(): Promise<net.Socket> {
          const socket = createConnection({ host: "127.0.0.1", port }, special);
          await once(socket, "connect");
          return socket;
        },
      });
      const [row] = await sql`
      select host(inet_client_addr()) as source, ${PAYLOAD}::bytea as echo,
        (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as ssl`;
      assertEquals(row!.source, SOURCE);
      assertEquals(row!.ssl, ssl !== false);
      assert(PAYLOAD.equals(row!.echo as Uint8Array));
      const rows = await Promise.all(
        Array.from(
          { length: POOL * 2 },
          () =>
            sql`select host(inet_client_addr()) as source, pg_sleep(0.1)::text`,
        ),
      );
      assert(
        rows.flat().every(({ source }) => source === SOURCE),
      );
      await sql.end();
    }
  },
  { skip: needs(hasPackage("postgres", postgres), hasPostgres()) },
);

interface RedisClient {
  client(command: "INFO"): Promise<string>;
  set(key: string, value: Uint8Array): Promise<unknown>;
  getBuffer(key: string): Promise<Uint8Array>;
  ping(): Promise<string>;
  quit(): Promise<unknown>;
  disconnect(): void;
  on(event: "error", listener: (error: Error) => void): unknown;
}

const Redis = await library<new (settings: object) => RedisClient>("ioredis");

/** How ioredis gets a stream. */
function connectorOf(open: () => net.Socket): new () => object {
  return class {
    #stream: net.Socket | null = null;

    check(): boolean {
      return true;
    }

    connect(): Promise<net.Socket> {
      return Promise.resolve(this.#stream = open());
    }

    disconnect(): void {
      this.#stream?.end();
    }
  };
}

test("ioredis keeps the source address, with TLS, MBs and a pool", async () => {
  await using server = await startRedis();
  const { port, tlsPort, cert } = server;
  const opens = [
    () => createConnection({ host: "127.0.0.1", port }, special),
    () =>
      tls.connect({
        socket: createConnection({ host: "127.0.0.1", port: tlsPort }, special),
        servername: "localhost",
        ca: cert,
      }),
  ];
  for (const open of opens) {
    const settings = { Connector: connectorOf(open) };
    const clients = Array.from(
      { length: POOL },
      () => new Redis!.default(settings),
    );
    for (const client of clients) client.on("error", () => client.disconnect());
    try {
      await Promise.all(clients.map(async (client, i) => {
        const info = await client.client("INFO");
        assert(info.includes(` addr=${SOURCE}:`), info);
        if (i > 3) return;
        await client.set(`key${i}`, PAYLOAD);
        assert(PAYLOAD.equals(await client.getBuffer(`key${i}`)));
      }));
      await Promise.all(clients.map((client) => client.quit()));
    } finally {
      for (const client of clients) client.disconnect();
    }
  }
}, { skip: needs(hasPackage("ioredis", Redis), hasRedis()) });

test("ioredis tries again until a late server is there", async () => {
  const port = freePort();
  const codes: unknown[] = [];
  const client = new Redis!.default({
    Connector: connectorOf(() =>
      createConnection({ host: "127.0.0.1", port }, special)
    ),
    maxRetriesPerRequest: null,
  });
  client.on("error", (error) => codes.push((error as { code?: string }).code));
  try {
    const pong = client.ping();
    await pause(600);
    await using _server = await startRedis(port);
    assertEquals(await pong, "PONG");
    assertEquals(codes.at(0), "ECONNREFUSED");
    await client.quit();
  } finally {
    client.disconnect();
  }
}, { skip: needs(hasPackage("ioredis", Redis), hasRedis()) });

interface Responded {
  statusCode: number;
  body: { text(): Promise<string>; arrayBuffer(): Promise<ArrayBuffer> };
}

interface Dispatching {
  request(options: object): Promise<Responded>;
  close(): Promise<void>;
}

interface Undici {
  Client: new (origin: string, settings: object) => Dispatching;
  Pool: new (origin: string, settings: object) => Dispatching;
  Agent: new (settings: object) => Dispatching;
  fetch(url: string, settings: object): Promise<Response>;
}

const undici = await library<Undici>("undici", "index.js");

test(
  "undici keeps the source address, with TLS, HTTP/2, MBs and a pool",
  async () => {
    await using server = await startNginx();
    const { port, tlsPort, cert, folder } = server;
    writeFileSync(join(folder, "payload"), PAYLOAD);
    const rows = [
      [`http://127.0.0.1:${port}`, {}, "HTTP/1.1"],
      [`https://localhost:${tlsPort}`, { ca: cert }, "HTTP/1.1"],
      [`https://localhost:${tlsPort}`, { ca: cert, allowH2: true }, "HTTP/2.0"],
    ] as const;
    for (const [i, [origin, tlsOptions, version]] of rows.entries()) {
      const settings = {
        ...tlsOptions,
        connect: undiciConnector(special, tlsOptions),
      };
      const client = new undici!.Client(origin, settings);
      const who = await client.request({ method: "GET", path: "/who" });
      assertEquals(await who.body.text(), `${SOURCE} ${version}`);
      const down = await client.request({ method: "GET", path: "/payload" });
      assert(PAYLOAD.equals(new Uint8Array(await down.body.arrayBuffer())));
      const up = await client.request({
        method: "PUT",
        path: `/put/${i}`,
        body: PAYLOAD,
      });
      assertEquals(up.statusCode, 201);
      await up.body.text();
      assert(PAYLOAD.equals(readFileSync(join(folder, "put", `${i}`))));
      await client.close();
      const pool = new undici!.Pool(origin, { ...settings, connections: POOL });
      const all = await Promise.all(
        Array.from({ length: POOL * 2 }, async () => {
          const { body } = await pool.request({ method: "GET", path: "/who" });
          return await body.text();
        }),
      );
      assertEquals(new Set(all), new Set([`${SOURCE} ${version}`]));
      await pool.close();
      const dispatcher = new undici!.Agent(settings);
      const response = await undici!.fetch(`${origin}/who`, { dispatcher });
      assertEquals(await response.text(), `${SOURCE} ${version}`);
      await dispatcher.close();
    }
  },
  { skip: needs(hasPackage("undici", undici), hasNginx()) },
);

test(
  "the fetch of Node takes a dispatcher that connects specially",
  async () => {
    await using server = await startNginx();
    const { port } = server;
    const connect = undiciConnector(special);
    const dispatcher = new undici!.Agent({ connect });
    const settings = { dispatcher } as RequestInit;
    const response = await fetch(`http://127.0.0.1:${port}/who`, settings);
    assertEquals(await response.text(), `${SOURCE} HTTP/1.1`);
    await dispatcher.close();
  },
  { skip: needs(on("node"), hasPackage("undici", undici), hasNginx()) },
);

interface WebSocketLike {
  on(event: string, listener: (data: Uint8Array) => void): WebSocketLike;
  send(data: Uint8Array): void;
  close(): void;
}

interface Ws {
  WebSocket: new (url: string, settings: object) => WebSocketLike;
  WebSocketServer: new (settings: object) => {
    on(
      event: "connection",
      listener: (socket: WebSocketLike, request: http.IncomingMessage) => void,
    ): void;
    close(callback: () => void): void;
  };
}

const ws = await library<Ws>("ws", "index.js");

test("ws keeps the source address, with TLS and MBs", async () => {
  using files = newFolder(null);
  const { key, cert } = files;
  for (const isSecure of [false, true]) {
    const web = isSecure
      ? https.createServer({ key, cert })
      : http.createServer();
    const server = new ws!.WebSocketServer({ server: web });
    const sources: unknown[] = [];
    server.on("connection", (socket, request) => {
      sources.push(request.socket.remoteAddress);
      socket.on("message", (data) => socket.send(data));
    });
    await new Promise<void>((resolve) =>
      web.listen(0, "127.0.0.1", () => resolve())
    );
    const { port } = web.address() as net.AddressInfo;
    const special = agent({ localAddress: SOURCE, timeout: AGES });
    const socket = new ws!.WebSocket(
      `${isSecure ? "wss" : "ws"}://localhost:${port}`,
      { agent: special, ca: cert, family: 4 },
    );
    const echo = await new Promise<Uint8Array>((resolve, reject) => {
      socket.on("error", (error) => reject(error));
      socket.on("open", () => socket.send(PAYLOAD));
      socket.on("message", resolve);
    });
    assert(PAYLOAD.equals(echo));
    assertEquals(sources, [SOURCE]);
    await new Promise<void>((resolve) => {
      socket.on("close", () => resolve());
      socket.close();
    });
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await new Promise<void>((resolve) => web.close(() => resolve()));
    special.destroy();
  }
}, { skip: needs(hasPackage("ws", ws), hasCommand("openssl")) });

/** All that a response holds. */
function bodyOf(request: http.ClientRequest): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("response", async (response) => {
      const parts: Uint8Array[] = [];
      for await (const part of response) parts.push(part as Uint8Array);
      resolve(Buffer.concat(parts));
    });
  });
}

test(
  "node:http and node:https take the agent, with MBs and a pool",
  async () => {
    await using server = await startNginx();
    const { port, tlsPort, cert, folder } = server;
    writeFileSync(join(folder, "payload"), PAYLOAD);
    const settings = { keepAlive: true, maxSockets: POOL, ca: cert };
    const pool = agent(special, settings);
    for (
      const [get, at, host] of [
        [http.get, port, "127.0.0.1"],
        [https.get, tlsPort, "localhost"],
      ] as const
    ) {
      const to = { host, port: at, family: 4, agent: pool };
      for (let round = 0; round < 2; round++) {
        const all = await Promise.all(
          Array.from(
            { length: POOL * 4 },
            () => bodyOf(get({ ...to, path: "/who" })),
          ),
        );
        const texts = new Set(all.map((body) => `${body}`));
        assertEquals(texts, new Set([`${SOURCE} HTTP/1.1`]));
      }
      const payload = await bodyOf(get({ ...to, path: "/payload" }));
      assert(PAYLOAD.equals(payload));
    }
    const { freeSockets } = pool;
    const kept = Object.values(freeSockets).map((sockets) => sockets!.length);
    assertEquals(kept, [POOL, POOL]);
    const ends = Object.values(freeSockets).flat()
      .map((socket) => once(socket!, "close"));
    pool.destroy();
    await Promise.all(ends);
  },
  { skip: hasNginx() },
);

test("node:http2 takes a special connection, with TLS and MBs", async () => {
  await using server = await startNginx();
  const { tlsPort, cert, folder } = server;
  writeFileSync(join(folder, "payload"), PAYLOAD);
  const session = http2.connect(`https://localhost:${tlsPort}`, {
    createConnection: () =>
      tls.connect({
        socket: createConnection({ host: "127.0.0.1", port: tlsPort }, special),
        servername: "localhost",
        ca: cert,
        ALPNProtocols: ["h2"],
      }),
  });
  async function get(path: string): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for await (const part of session.request({ ":path": path })) {
      parts.push(part as Uint8Array);
    }
    return Buffer.concat(parts);
  }
  assertEquals(`${await get("/who")}`, `${SOURCE} HTTP/2.0`);
  const all = await Promise.all(["/payload", "/payload"].map(get));
  for (const payload of all) assert(PAYLOAD.equals(payload));
  const over = once(session, "close");
  session.close();
  await over;
}, { skip: hasNginx() });

interface Axios {
  get(
    url: string,
    settings: object,
  ): Promise<{ data: unknown }>;
}

const axios = await library<Axios>("axios");

test("axios takes the agent, with TLS and MBs", async () => {
  await using server = await startNginx();
  const { port, tlsPort, cert, folder } = server;
  writeFileSync(join(folder, "payload"), PAYLOAD);
  const special = agent(
    { localAddress: SOURCE, timeout: AGES, family: "inet" },
    {
      ca: cert,
    },
  );
  const settings = { httpAgent: special, httpsAgent: special, proxy: false };
  for (
    const origin of [`http://localhost:${port}`, `https://localhost:${tlsPort}`]
  ) {
    const who = await axios!.default.get(`${origin}/who`, settings);
    assertEquals(who.data, `${SOURCE} HTTP/1.1`);
    const payload = await axios!.default.get(`${origin}/payload`, {
      ...settings,
      responseType: "arraybuffer",
    });
    assert(PAYLOAD.equals(payload.data as Uint8Array));
  }
  special.destroy();
}, { skip: needs(hasPackage("axios", axios), hasNginx()) });

interface Got {
  (url: string, settings: object): {
    text(): Promise<string>;
    buffer(): Promise<Uint8Array>;
  };
}

const got = await library<Got>("got");

test("got takes the agent, with TLS and MBs", async () => {
  await using server = await startNginx();
  const { port, tlsPort, cert, folder } = server;
  writeFileSync(join(folder, "payload"), PAYLOAD);
  const special = agent({
    localAddress: SOURCE,
    timeout: AGES,
    family: "inet",
  });
  const settings = {
    agent: { http: special, https: special },
    https: { certificateAuthority: cert },
    retry: { limit: 0 },
  };
  for (
    const origin of [`http://localhost:${port}`, `https://localhost:${tlsPort}`]
  ) {
    const text = await got!.default(`${origin}/who`, settings).text();
    assertEquals(text, `${SOURCE} HTTP/1.1`);
    assert(
      PAYLOAD.equals(
        await got!.default(`${origin}/payload`, settings).buffer(),
      ),
    );
  }
  special.destroy();
}, { skip: needs(hasPackage("got", got), hasNginx()) });

test("got learns when the lookup is over, and connecting begins", async () => {
  const lookup = 1000;
  const server = http.createServer((_request, response) => {
    setTimeout(() => response.end("late"), 1.5 * lookup);
  });
  const port = await portOf(server);
  const special = agent({ family: "inet" });
  const settings = {
    agent: { http: special },
    timeout: { lookup, connect: lookup },
    retry: { limit: 0 },
  };
  const text = await got!.default(`http://localhost:${port}`, settings).text();
  assertEquals(text, "late");
  special.destroy();
  await new Promise((resolve) => server.close(resolve));
}, { skip: hasPackage("got", got) });

/** The port of a server, which begins to listen. */
async function portOf(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve());
  });
  return (server.address() as net.AddressInfo).port;
}

interface Nodemailer {
  createTransport(settings: object): {
    sendMail(mail: object): Promise<unknown>;
    close(): void;
  };
}

interface Smtp {
  SMTPServer: new (settings: object) => Emitting & {
    readonly server: net.Server;
    close(callback: () => void): void;
  };
}

/** What a mail server knows of whoever sends. */
interface SmtpSession {
  readonly remoteAddress: string;
  readonly secure: boolean;
}

const nodemailer = await library<Nodemailer>("nodemailer");
const smtp = await library<Smtp>("smtp-server");

test(
  "nodemailer takes a special connection, with STARTTLS, TLS, MBs and a pool",
  async () => {
    using files = newFolder(null);
    const { key, cert } = files;
    for (const secure of [false, true]) {
      const mails: unknown[] = [];
      const server = new smtp!.SMTPServer({
        ...{ key, cert, secure, authOptional: true },
        onData(
          mail: NodeJS.ReadableStream,
          session: SmtpSession,
          done: () => void,
        ) {
          let size = 0;
          mail.on("data", (part) => size += part.length);
          mail.on("end", () => {
            const isWhole = size > PAYLOAD.length;
            mails.push([session.remoteAddress, session.secure, isWhole]);
            done();
          });
        },
      });
      server.on("error", () => {});
      const port = await portOf(server.server);
      const to = { host: "127.0.0.1", port };
      const ways = [
        {
          getSocket(_options: object, done: (...got: unknown[]) => void) {
            const socket = createConnection(to, special);
            socket.once("connect", () => {
              socket.removeAllListeners();
              done(null, { connection: socket });
            }).once("error", done);
          },
          pool: true,
        },
        // It calls connect() once it has looked the host up.
        ...secure ? [] : [{ socket: createConnection(to, special) }],
      ];
      for (const way of ways) {
        const transport = nodemailer!.default.createTransport({
          ...{ host: "localhost", port, secure, tls: { ca: cert } },
          ...way,
        });
        await transport.sendMail({
          ...{ from: "a@test", to: "b@test", subject: "MBs" },
          attachments: [{ filename: "payload", content: PAYLOAD }],
        });
        transport.close();
      }
      assertEquals(mails, ways.map(() => [SOURCE, true, true]));
      await new Promise<void>((resolve) => server.close(resolve));
    }
  },
  {
    skip: needs(
      hasPackage("nodemailer", nodemailer),
      hasPackage("smtp-server", smtp),
      hasCommand("openssl"),
    ),
  },
);

interface MqttClient {
  on(event: "error", listener: (error: Error) => void): void;
  once(event: string, listener: (...values: unknown[]) => void): void;
  subscribeAsync(topic: string): Promise<unknown>;
  publishAsync(topic: string, message: Uint8Array): Promise<unknown>;
  endAsync(): Promise<void>;
}

interface Mqtt {
  MqttClient: new (
    open: () => net.Socket,
    settings: object,
  ) => MqttClient;
}

const mqtt = await library<Mqtt>("mqtt");

test("mqtt keeps the source address, with TLS and MBs", async () => {
  await using server = await startMosquitto();
  const { port, tlsPort, cert, folder } = server;
  const opens = [
    () => createConnection({ host: "127.0.0.1", port }, special),
    () =>
      tls.connect({
        socket: createConnection({ host: "127.0.0.1", port: tlsPort }, special),
        servername: "localhost",
        ca: cert,
      }),
  ];
  for (const open of opens) {
    const client = new mqtt!.default.MqttClient(open, { reconnectPeriod: 0 });
    await new Promise<void>((resolve, reject) => {
      client.on("error", reject);
      client.once("connect", () => resolve());
    });
    await client.subscribeAsync("topic");
    const message = new Promise<unknown>((resolve) =>
      client.once("message", (_topic, message) => resolve(message))
    );
    await client.publishAsync("topic", PAYLOAD);
    assert(PAYLOAD.equals(await message as Uint8Array));
    await client.endAsync();
  }
  const log = readFileSync(join(folder, "log"), "utf8");
  assertEquals(log.split(`New connection from ${SOURCE}`).length - 1, 2);
}, { skip: needs(hasPackage("mqtt", mqtt), hasMosquitto()) });

interface MysqlPeer {
  stream: net.Socket;
  sequenceId: number;
  serverHandshake(settings: object): void;
  writeOk(result: { affectedRows: number }): void;
  on(event: string, listener: (query: string) => void): MysqlPeer;
}

interface Mysql {
  createServer(): {
    _server: net.Server;
    listen(port: number, host: string): void;
    on(event: "connection", listener: (peer: MysqlPeer) => void): void;
    close(callback: () => void): void;
  };
  createConnection(settings: object): {
    promise(): {
      query(text: string): Promise<[{ affectedRows: number }]>;
      end(): Promise<void>;
    };
  };
}

const mysql = await library<Mysql>("mysql2");

test("mysql2 takes a special connection", async () => {
  const server = mysql!.createServer();
  const sources: unknown[] = [];
  server.on("connection", (peer) => {
    sources.push(peer.stream.remoteAddress);
    peer.serverHandshake({
      protocolVersion: 10,
      serverVersion: "8.0",
      connectionId: 1,
      statusFlags: 2,
      characterSet: 8,
      capabilityFlags: 0xff_f7ff,
      authCallback(_names: unknown, done: (error: null) => void): void {
        done(null);
        peer.sequenceId = 0;
      },
    });
    peer.on("query", (query) => {
      peer.sequenceId = 1;
      peer.writeOk({ affectedRows: query.length });
      peer.sequenceId = 0;
    });
    peer.on("quit", () => peer.stream.end());
    peer.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server._server, "listening");
  const { port } = server._server.address() as net.AddressInfo;
  const client = mysql!.createConnection({
    user: "nobody",
    stream: () => createConnection({ host: "127.0.0.1", port }, special),
  }).promise();
  const [result] = await client.query(PAYLOAD.toString("base64"));
  assertEquals(result.affectedRows, PAYLOAD.toString("base64").length);
  assertEquals(sources, [SOURCE]);
  await client.end();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}, { skip: hasPackage("mysql2", mysql) });

interface Emitting {
  on(event: string, listener: (...values: never[]) => void): this;
}

type SshStream = NodeJS.ReadWriteStream;

interface Ssh {
  Server: new (
    settings: object,
    listener: (client: Emitting, info: { ip: string }) => void,
  ) => Emitting & Pick<net.Server, "listen" | "address" | "close">;
  Client: new () => Emitting & {
    connect(settings: object): void;
    exec(
      command: string,
      callback: (error: Error | undefined, stream: SshStream) => void,
    ): void;
    end(): void;
  };
  utils: { generateKeyPairSync(kind: string): { private: string } };
}

const ssh = await library<Ssh>("ssh2");

test("ssh2 takes a special connection, with MBs", async () => {
  const { Server, Client, utils } = ssh!.default;
  const hostKeys = [utils.generateKeyPairSync("ed25519").private];
  const sources: string[] = [];
  const server = new Server({ hostKeys }, (client, { ip }) => {
    sources.push(ip);
    client.on("error", () => {});
    client.on("authentication", (asked: { accept(): void }) => asked.accept());
    client.on("session", (accept: () => Emitting) => {
      accept().on("exec", (accept: () => SshStream) => {
        const stream = accept();
        stream.pipe(stream);
      });
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve());
  });
  const { port } = server.address() as net.AddressInfo;
  const client = new Client();
  const received = await new Promise<Uint8Array>((resolve, reject) => {
    client.on("error", reject as (error: never) => void);
    client.on("ready", () => {
      client.exec("cat", (error, stream) => {
        if (error) return reject(error);
        const parts: Uint8Array[] = [];
        let left = PAYLOAD.length;
        stream.on("data", (part: Uint8Array) => {
          parts.push(part);
          left -= part.length;
          if (left === 0) resolve(Buffer.concat(parts));
        });
        stream.write(PAYLOAD);
      });
    });
    client.connect({
      sock: createConnection({ host: "127.0.0.1", port }, special),
      username: "nobody",
      password: "",
    });
  });
  assert(PAYLOAD.equals(received));
  assertEquals(sources, [SOURCE]);
  const closed = new Promise<void>((resolve) => client.on("close", resolve));
  client.end();
  await closed;
  await new Promise<void>((resolve) => server.close(() => resolve()));
}, { skip: hasPackage("ssh2", ssh) });

interface Socks {
  SocksClient: {
    createConnection(settings: object): Promise<{ socket: net.Socket }>;
  };
}

const socks = await library<Socks>("socks");

test("socks takes a special connection to its proxy", async () => {
  const open = { allowHalfOpen: true };
  const target = net.createServer(open, (peer) => peer.pipe(peer));
  const sources: unknown[] = [];
  // RFC 1928: no authentication, and whatever port of this machine is asked for.
  const proxy = net.createServer(open, (client) => {
    sources.push(client.remoteAddress);
    client.once("data", () => {
      client.write(Uint8Array.of(5, 0));
      client.once("data", (request) => {
        client.write(Uint8Array.of(5, 0, 0, 1, 127, 0, 0, 1, 0, 0));
        const port = request.readUInt16BE(8);
        const peer = net.connect({ host: "127.0.0.1", port, ...open });
        client.pipe(peer).pipe(client);
      });
    });
  });
  const ports = await Promise.all(
    [target, proxy].map((server) =>
      new Promise<number>((resolve) =>
        server.listen(0, "127.0.0.1", () => {
          resolve((server.address() as net.AddressInfo).port);
        })
      )
    ),
  );
  const existing = createConnection(
    { host: "127.0.0.1", port: ports[1] },
    special,
  );
  await once(existing, "connect");
  const { socket } = await socks!.SocksClient.createConnection({
    proxy: { host: "127.0.0.1", port: ports[1], type: 5 },
    command: "connect",
    destination: { host: "127.0.0.1", port: ports[0] },
    existing_socket: existing,
  });
  const parts: Uint8Array[] = [];
  socket.on("data", (part: Uint8Array) => parts.push(part));
  socket.end(PAYLOAD);
  await once(socket, "close");
  assert(PAYLOAD.equals(Buffer.concat(parts)));
  assertEquals(sources, [SOURCE]);
  await Promise.all(
    [target, proxy].map((server) =>
      new Promise<void>((resolve) => server.close(() => resolve()))
    ),
  );
}, { skip: hasPackage("socks", socks) });
