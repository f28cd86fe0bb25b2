import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import tls from "node:tls";
import {
  type BunSocketHandlers,
  connect,
  Errno,
  ErrnoError,
  NotSupportedError,
  Socket,
  tcpInfo,
  unix,
} from "../mod.ts";
import { AGES, pause } from "./_assertions.ts";
import { bound, listen, tempFolder } from "./_fixtures.ts";
import { hasCommand, on, onLinux, test } from "./_harness.ts";

/** Where streams of `node:net` are made of descriptors. */
const onBun = on("bun");

/** A server while a body runs. */
async function serve<S extends net.Server>(
  server: S,
  body: (port: number, server: S) => Promise<void>,
): Promise<void> {
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve());
  });
  try {
    await body((server.address() as net.AddressInfo).port, server);
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

/** A key and a certificate for localhost, which nobody but this test trusts. */
function makeCertificate(): { key: string; cert: string } {
  using folder = tempFolder();
  const [key, cert] = ["key", "cert"].map((name) => join(folder.path, name));
  execFileSync("openssl", [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-days",
    "2",
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost",
    "-keyout",
    key!,
    "-out",
    cert!,
  ], { stdio: "ignore" });
  return {
    key: readFileSync(key!, "utf8"),
    cert: readFileSync(cert!, "utf8"),
  };
}

/** All that a response holds. */
function bodyOf(request: http.ClientRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => text += part);
      response.on("end", () => resolve(`${response.statusCode} ${text}`));
      response.on("error", reject);
    });
    request.end();
  });
}

function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.on("close", () => resolve());
  });
}

test("Socket#toNodeSocket() makes a socket that echoes", async () => {
  const server = net.createServer((peer) => peer.pipe(peer));
  await serve(server, async (port) => {
    const socket = await connect({ port, timeout: AGES });
    const { fd } = socket;
    const stream = socket.toNodeSocket();
    assertEquals([socket.fd, socket.closed], [-1, true]);
    assert(fd >= 0);
    assertInstanceOf(stream, net.Socket);
    assertEquals(stream.remotePort, port);
    const echo = new Promise<string>((resolve) => {
      let text = "";
      stream.setEncoding("utf8");
      stream.on("data", (part: string) => text += part);
      stream.on("end", () => resolve(text));
    });
    stream.end("over to you");
    assertEquals(await echo, "over to you");
    await closed(stream);
  });
});

test("Socket#toNodeSocket() hands over a Unix stream", async () => {
  using folder = tempFolder();
  const path = join(folder.path, "s");
  const server = net.createServer((peer) => peer.end("hi"));
  await new Promise<void>((resolve) => server.listen(path, () => resolve()));
  const socket = await connect({ transport: "unix", path });
  const stream = socket.toNodeSocket();
  const text = await new Promise((resolve) => {
    stream.on("data", (part) => resolve(`${part}`));
  });
  assertEquals(text, "hi");
  stream.end();
  await closed(stream);
  await new Promise((resolve) => server.close(resolve));
});

test(
  "Socket#toNodeSocket() gives the descriptor away exactly once",
  async () => {
    using listener = listen();
    const { port } = listener.address;
    const socket = await connect({ port });
    using peer = listener.accept();
    const stream = socket.toNodeSocket();
    for (
      const again of [
        () => socket.toNodeSocket(),
        () => socket.detach(),
        () => socket.sendSync(new Uint8Array(1)),
      ]
    ) {
      const error = assertThrows(again, ErrnoError);
      assertEquals(error.code, "EBADF");
    }
    socket.close();
    stream.resume().end();
    // The other end has nobody but this thread to read it, so it must not block.
    assertEquals(await peer.recv(new Uint8Array(1)), 0);
    peer.close();
    await closed(stream);
  },
);

test("Socket#toNodeSocket() ends what waits for the socket", async () => {
  using listener = listen();
  const socket = await connect({ port: listener.address.port });
  using peer = listener.accept();
  const reading = socket.recv(new Uint8Array(1));
  const stream = socket.toNodeSocket();
  const error = await assertRejects(() => reading);
  assertInstanceOf(error, Errno.ECANCELED);
  const arrived = new Promise((resolve) => stream.on("data", resolve));
  peer.sendSync(new Uint8Array([7]));
  assertEquals([...await arrived as Uint8Array], [7]);
  stream.destroy();
  await closed(stream);
});

test("Socket keeps the descriptor that it cannot hand over", async () => {
  const handlers: BunSocketHandlers = { data() {} };
  using folder = tempFolder();
  const at = unix(join(folder.path, "s"));
  using packets = listen({ at, type: "seqpacket" });
  using peer = bound({ type: "dgram" });
  const rows: [Socket, typeof TypeError | typeof ErrnoError][] = [
    [Socket.open({ family: "unix", type: "seqpacket" }), TypeError],
    [Socket.open({ type: "dgram" }), TypeError],
    [Socket.open(), ErrnoError],
    [Socket.open({ family: "unix" }), ErrnoError],
  ];
  rows[0]![0].connectSync(packets.address);
  rows[1]![0].connectSync(peer.address);
  for (const [socket, errorClass] of rows) {
    using owned = socket;
    const { fd } = owned;
    const other = onBun === null ? errorClass : NotSupportedError;
    const error = assertThrows(() => owned.toNodeSocket(), errorClass);
    if (error instanceof ErrnoError) assertEquals(error.code, "ENOTCONN");
    await assertRejects(() => owned.toBunSocket(handlers), other);
    assertEquals(owned.fd, fd);
    assert(["stream", "dgram", "seqpacket"].includes(
      `${owned.getOption("type")}`,
    ));
  }
});

test("Socket names the runtime that cannot take it over", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  const error = await assertRejects(
    () => socket.toBunSocket({ data() {} }),
    NotSupportedError,
  );
  assert(["Deno", "Node"].includes(error.platform), error.message);
  assertEquals(socket.closed, false);
}, { skip: on("deno", "node") });

test("Socket#toBunSocket() checks its handlers", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  for (const junk of [undefined, null, 5, "x"]) {
    await assertRejects(
      () => socket.toBunSocket(junk as unknown as BunSocketHandlers),
      TypeError,
      "handlers",
    );
  }
  assertEquals(socket.closed, false);
});

test("Socket#toBunSocket() makes a socket that echoes", async () => {
  const server = net.createServer((peer) => peer.pipe(peer));
  await serve(server, async (port) => {
    const socket = await connect({ port, timeout: AGES });
    let text = "";
    const over = new Promise<void>((resolve, reject) => {
      const handlers: BunSocketHandlers = {
        open: (stream) => stream.write("over to you"),
        data(stream, data) {
          text += new TextDecoder().decode(data);
          if (text.length === 11) stream.end();
        },
        close: () => resolve(),
        error: (_stream, error) => reject(error),
      };
      socket.toBunSocket(handlers).catch(reject);
    });
    assertEquals([socket.fd, socket.closed], [-1, true]);
    await assertRejects(() => socket.toBunSocket({ data() {} }), ErrnoError);
    await over;
    assertEquals(text, "over to you");
  });
}, { skip: onBun });

test("an HTTP/1.1 request goes over a handed-off socket", async () => {
  const server = http.createServer((request, response) => {
    let size = 0;
    request.on("data", (part: Uint8Array) => size += part.length);
    request.on("end", () => {
      response.end(`${request.method} ${request.url} ${size}`);
    });
  });
  await serve(server, async (port) => {
    const socket = await connect({
      port,
      timeout: AGES,
      localAddress: "127.0.0.2",
      socketOptions: { noDelay: true, ttl: 42 },
    });
    const stream = socket.toNodeSocket();
    assertEquals(stream.localAddress, "127.0.0.2");
    const request = http.request({
      method: "POST",
      path: "/here",
      headers: { host: "localhost", connection: "close" },
      createConnection: () => stream,
    });
    request.write(new Uint8Array(100_000));
    assertEquals(await bodyOf(request), "200 POST /here 100000");
    await closed(stream);
  });
});

test("an HTTP/1.1 request goes over a socket of Bun's", async () => {
  const server = http.createServer((request, response) => {
    response.end(`${request.method} ${request.url}`);
  });
  await serve(server, async (port) => {
    const socket = await connect({ port, timeout: AGES });
    const reply = await new Promise<string>((resolve, reject) => {
      let text = "";
      const handlers: BunSocketHandlers = {
        open: (stream) =>
          stream.write(
            "GET /here HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
          ),
        data: (_stream, data) => text += new TextDecoder().decode(data),
        end: (stream) => stream.end(),
        close: () => resolve(text),
        error: (_stream, error) => reject(error),
      };
      socket.toBunSocket(handlers).catch(reject);
    });
    assert(reply.startsWith("HTTP/1.1 200 OK\r\n"), reply);
    assert(reply.includes("GET /here"), reply);
  });
}, { skip: onBun });

test("handlers that Bun would refuse leave the socket as it is", async () => {
  using listener = listen();
  const rows: readonly (readonly [unknown, string])[] = [
    [{}, "one of data and drain"],
    [{ open() {} }, "one of data and drain"],
    [{ data: 5 }, "handlers.data 5"],
    [{ data() {}, drian() {} }, "did you mean drain"],
    [{
      get data() {
        throw new TypeError("handlers.data throws");
      },
    }, "throws"],
  ];
  for (const [handlers, text] of rows) {
    using socket = await connect({ port: listener.address.port });
    await assertRejects(
      () => socket.toBunSocket(handlers as BunSocketHandlers),
      TypeError,
      text,
    );
    assertEquals(socket.closed, false);
  }
});

/** A connection that its peer has reset, which the kernel knows by now. */
async function resetConnection(): Promise<Socket> {
  using listener = listen();
  const socket = await connect({ port: listener.address.port });
  listener.reset();
  await socket.ready("POLLIN", { timeout: AGES });
  return socket;
}

test("Socket#toNodeSocket() hands over what its peer has reset", async () => {
  for (let i = 0; i < 20; i++) {
    using socket = await resetConnection();
    const stream = socket.toNodeSocket();
    const error = new Promise<Error & { code?: string }>((resolve) =>
      stream.on("error", resolve)
    );
    stream.resume();
    assertEquals((await error).code, "ECONNRESET");
    await closed(stream);
  }
});

test("Socket#toNodeSocket() throws why a connection from elsewhere is over", async () => {
  using socket = Socket.fromFd((await resetConnection()).detach());
  assertThrows(() => socket.toNodeSocket(), Errno.ECONNRESET);
  assertEquals(socket.closed, true);
});

test("a thousand resets right after accept are errors of streams alone", async () => {
  const server = net.createServer((peer) => {
    peer.on("error", () => {});
    peer.resetAndDestroy();
  });
  await serve(server, async (port) => {
    const codes = new Map<string, number>();
    for (let round = 0; round < 10; round++) {
      await Promise.all(Array.from({ length: 100 }, async () => {
        let code: string;
        try {
          const socket = await connect({ port, timeout: AGES });
          const stream = socket.toNodeSocket();
          code = await new Promise((resolve) => {
            stream.on(
              "error",
              (error: { code?: string }) => resolve(`${error.code}`),
            );
            stream.on("end", () => resolve("end"));
            stream.resume();
          });
          await closed(stream);
        } catch (error) {
          assertInstanceOf(error, ErrnoError);
          code = error.code;
        }
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }));
    }
    assertEquals([...codes.keys()], ["ECONNRESET"]);
  });
});

test("Socket#closeWrite() and writable.close() have nothing to do after a reset", async () => {
  {
    using socket = await resetConnection();
    await socket.closeWrite();
    assertThrows(() => socket.shutdown("write"), Errno.ENOTCONN);
  }
  {
    using socket = await resetConnection();
    await socket.writable.close();
  }
  {
    using socket = Socket.fromFd((await resetConnection()).detach());
    await socket.closeWrite();
  }
});

test("requests through Duplex.fromWeb() leave no descriptor", async () => {
  const server = http.createServer((_request, response) => {
    response.end("hello");
  });
  await serve(server, async (port) => {
    const sockets: Socket[] = [];
    for (let i = 0; i < 50; i++) {
      const socket = await connect({ port, timeout: AGES });
      sockets.push(socket);
      const duplex = Duplex.fromWeb(
        socket as unknown as Parameters<typeof Duplex.fromWeb>[0],
      ) as net.Socket;
      const request = http.request({
        createConnection: () => duplex,
        headers: { connection: "close" },
      });
      assertEquals(await bodyOf(request), "200 hello");
      request.destroy();
    }
    await until(() => sockets.every((socket) => socket.closed));
  });
});

/** Waits until something is so. */
async function until(isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + AGES; !isSo(); await pause(2)) {
    assert(performance.now() < end, `${isSo}`);
  }
}

/** Ways in which both streams of a socket end. */
const BOTH: Readonly<Record<string, (socket: Socket) => Promise<unknown>>> = {
  "read to its end and closed": async (socket) => {
    await new Response(socket.readable).bytes();
    await socket.writable.close();
  },
  "closed and read to its end": async (socket) => {
    await socket.writable.close();
    await new Response(socket.readable).bytes();
  },
  "canceled and aborted": async (socket) => {
    await socket.readable.cancel();
    await socket.writable.abort();
  },
  "aborted and canceled": async (socket) => {
    await socket.writable.abort();
    await socket.readable.cancel();
  },
  "piped out and in": async (socket) => {
    await new Response(["x"].join()).body!.pipeTo(socket.writable);
    await socket.readable.pipeTo(new WritableStream());
  },
};

for (const [title, end] of Object.entries(BOTH)) {
  test(`a socket closes when its streams are ${title}`, async () => {
    using listener = listen();
    const socket = await connect({ port: listener.address.port });
    {
      using peer = listener.accept();
      peer.sendSync(new Uint8Array(100_000));
      peer.shutdown("write");
      await end(socket);
    }
    await until(() => socket.closed);
  });
}

test("a socket stays open when one of its streams has ended", async () => {
  using listener = listen();
  using socket = await connect({ port: listener.address.port });
  using peer = listener.accept();
  peer.shutdown("write");
  assertEquals((await new Response(socket.readable).bytes()).length, 0);
  assertEquals(socket.closed, false);
  assertEquals(await socket.send("still here"), 10);
});

test("closing a socket cancels what its streams wait for", async () => {
  using listener = listen();
  const socket = await connect({ port: listener.address.port });
  const reading = assertRejects(
    () => socket.readable.getReader().read(),
    Errno.ECANCELED,
  );
  socket.close();
  await reading;
  const other = await connect({ port: listener.address.port });
  const writer = other.writable.getWriter();
  writer.closed.catch(() => {});
  const writing = assertRejects(
    () => writer.write(new Uint8Array(1 << 26)),
    Errno.ECANCELED,
  );
  await pause(5);
  other.close();
  await writing;
});

test(
  "the options of a Socket reach a socket of Node's own that is bound",
  async () => {
    const { BoundSocket } = net as unknown as {
      BoundSocket: new (options: object) => { fd(): number; close(): void };
    };
    const server = net.createServer((peer) => peer.end());
    await serve(server, async (port) => {
      const bound = new BoundSocket({ host: "127.0.0.1", port: 0 });
      const borrowed = Socket.fromFd(bound.fd());
      borrowed.setOption("ttl", 7);
      borrowed.detach();
      const stream = new net.Socket(
        { handle: bound } as unknown as net.SocketConstructorOpts,
      );
      await new Promise((resolve) =>
        stream.connect(port, "127.0.0.1", resolve as () => void)
      );
      stream.resume().end();
      await closed(stream);
    });
  },
  { skip: on("node") },
);

test(
  "tcpInfo() looks at a socket of node:net where that shows a descriptor",
  async () => {
    const server = net.createServer((peer) =>
      peer.resume().on("end", () => peer.end())
    );
    await serve(server, async (port) => {
      const stream = net.connect(port, "127.0.0.1");
      await new Promise((resolve) =>
        stream.once("connect", resolve as () => void)
      );
      try {
        if (on("deno") === null) {
          assertThrows(() => tcpInfo(stream), NotSupportedError, "descriptor");
        } else {
          assertEquals(tcpInfo(stream).state, "ESTABLISHED");
        }
      } finally {
        stream.resume().end();
        await closed(stream);
      }
    });
    using listener = listen();
    using socket = await connect({ port: listener.address.port });
    assertEquals(tcpInfo(socket.fd).state, "ESTABLISHED");
    assertThrows(() => tcpInfo(-1), RangeError, "of -1");
    assertThrows(() => tcpInfo("3" as unknown as number), TypeError, 'of "3"');
    assertThrows(() => tcpInfo({ _handle: { fd: NaN } }), NotSupportedError);
  },
  { skip: onLinux },
);

test("an HTTP/1.1 request goes over the web streams", async () => {
  const server = http.createServer((_request, response) => {
    response.end("hello");
  });
  await serve(server, async (port) => {
    using socket = await connect({ port, timeout: AGES });
    const writer = socket.writable.getWriter();
    const text =
      "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    await writer.write(new TextEncoder().encode(text));
    const reply = await new Response(socket.readable).text();
    assert(reply.startsWith("HTTP/1.1 200 OK\r\n"), reply);
    assert(reply.includes("hello"), reply);
  });
});

test("HTTP/2 goes over a handed-off socket", async () => {
  const server = http2.createServer((_request, response) => {
    response.end("hello");
  });
  await serve(server as unknown as net.Server, async (port) => {
    const socket = await connect({ port, timeout: AGES });
    const session = http2.connect("http://localhost", {
      createConnection: () => socket.toNodeSocket(),
    });
    const replies = await Promise.all(
      Array.from(
        { length: 10 },
        () =>
          new Promise<string>((resolve, reject) => {
            session.on("error", reject);
            const request = session.request({ ":path": "/" });
            let text = "";
            request.setEncoding("utf8");
            request.on("data", (part: string) => text += part);
            request.on("end", () => resolve(text));
            request.on("error", reject);
            request.end();
          }),
      ),
    );
    assertEquals(replies, new Array(10).fill("hello"));
    await new Promise<void>((resolve) => session.close(() => resolve()));
  });
});

test("a TLS handshake goes over a handed-off socket", async () => {
  const { key, cert } = makeCertificate();
  const server = https.createServer({ key, cert }, (_request, response) => {
    response.end("private");
  });
  await serve(server, async (port) => {
    const socket = await connect({ port, timeout: AGES });
    const stream = tls.connect({
      socket: socket.toNodeSocket(),
      servername: "localhost",
      ca: [cert],
    });
    await new Promise<void>((resolve, reject) => {
      stream.on("secureConnect", () => resolve());
      stream.on("error", reject);
    });
    assertEquals(stream.authorized, true);
    assertEquals(stream.getPeerCertificate().subject.CN, "localhost");
    const text = await new Promise<string>((resolve, reject) => {
      let text = "";
      stream.setEncoding("utf8");
      stream.on("data", (part: string) => text += part);
      stream.on("end", () => resolve(text));
      stream.on("error", reject);
      stream.write(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
      );
    });
    assert(text.startsWith("HTTP/1.1 200"), text);
    assert(text.includes("private"), text);
    stream.destroy();
    await closed(stream);
  });
}, { skip: hasCommand("openssl") });

test(
  "a TLS handshake over a handed-off socket refuses a stranger's certificate",
  async () => {
    const { key, cert } = makeCertificate();
    const server = https.createServer({ key, cert });
    server.on("tlsClientError", () => {});
    await serve(server, async (port) => {
      const socket = await connect({ port, timeout: AGES });
      const stream = tls.connect({
        socket: socket.toNodeSocket(),
        servername: "localhost",
      });
      const error = await new Promise<Error>((resolve) => {
        stream.on("error", resolve);
        stream.on("secureConnect", () => resolve(new Error("let in")));
      });
      assert(error.message !== "let in");
      stream.destroy();
      await closed(stream);
    });
  },
  { skip: hasCommand("openssl") },
);
