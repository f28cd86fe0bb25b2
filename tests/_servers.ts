/**
 * Servers that people use, each started for one test and ended with it, and the libraries of npm that speak to them.
 *
 * @module
 */
import { execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { connect, isErrno } from "../mod.ts";
import { pause } from "./_assertions.ts";
import { freePort } from "./_fixtures.ts";
import { hasCommand, isRoot, needs } from "./_harness.ts";

/** A server of one test. */
export interface Served extends AsyncDisposable {
  /** Where it speaks its protocol as it is. */
  readonly port: number;
  /** Where it speaks it over TLS; the same one for PostgreSQL, which asks first. */
  readonly tlsPort: number;
  /** The certificate for localhost, which nobody else trusts. */
  readonly cert: string;
  /** The secret to it. */
  readonly key: string;
  /** A folder of its own. */
  readonly folder: string;
}

/** A user that owns nothing: PostgreSQL does not run as root. */
const NOBODY = 65534;

/** Milliseconds in which a server listens. */
const START = 30_000;

const POSTGRES_FOLDERS = "/usr/lib/postgresql";

/** Versions of the clients, by name. */
const CLIENTS: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL("npm/clients.json", import.meta.url), "utf8"),
);

/**
 * What a library of npm exports, `null` where it cannot be had. Deno fetches it; elsewhere `tests/run.ts` has fetched it and
 * says where to.
 *
 * @param file A file of the package, for one that Bun puts a module of its own in the place of.
 */
export async function library<M>(
  name: string,
  file = "",
): Promise<M & { default: M } | null> {
  try {
    const module = "Deno" in globalThis
      ? await import(`npm:${name}@${CLIENTS[name]}`)
      : requireFrom(process.env.EINPROGRESS_CLIENTS!, name, file);
    return "default" in module
      ? module
      : Object.assign(module, { default: module });
  } catch {
    return null;
  }
}

function requireFrom(
  folder: string,
  name: string,
  file: string,
): Record<string, unknown> {
  const require = createRequire(join(folder, "..", "_.js"));
  return require(file === "" ? name : join(folder, name, file));
}

/** Where PostgreSQL's programs are, `null` where they are not. */
function postgresFolder(): string | null {
  try {
    const versions = readdirSync(POSTGRES_FOLDERS);
    return join(POSTGRES_FOLDERS, versions.sort().at(-1)!, "bin");
  } catch {
    return null;
  }
}

/** `null` where PostgreSQL can be started, else a reason to skip. */
export function hasPostgres(): string | null {
  return postgresFolder() === null
    ? hasCommand("postgres")
    : needs(hasCommand("setpriv"), hasCommand("openssl"));
}

/** A server of PostgreSQL, with TLS for those who ask for it; its only user is `postgres`. */
export async function startPostgres(): Promise<Served> {
  const bin = postgresFolder() ?? "";
  const files = newFolder(isRoot() === null ? NOBODY : null);
  const { folder } = files;
  const data = join(folder, "data");
  const port = freePort();
  const [command, ...rest] = asNobody(
    join(bin, "initdb"),
    "--pgdata",
    data,
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
  );
  execFileSync(command, rest, { stdio: "ignore", cwd: folder });
  // Every address of the loopback network may come in.
  appendFileSync(
    join(data, "pg_hba.conf"),
    "host all all 127.0.0.0/8 trust\n",
  );
  const settings = {
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: folder,
    max_connections: 200,
    fsync: "off",
    ssl: "on",
    ssl_cert_file: files.certFile,
    ssl_key_file: files.keyFile,
  };
  const args = Object.entries(settings).map(([name, value]) =>
    `-c${name}=${value}`
  );
  const server = await start(
    asNobody(join(bin, "postgres"), "-D", data, ...args),
    { ...files, port, tlsPort: port },
    "QUIT",
  );
  // It listens before it lets anybody in.
  const ready = ["--quiet", "--host=127.0.0.1", `--port=${port}`];
  const deadline = performance.now() + START;
  for (;;) {
    try {
      execFileSync(join(bin, "pg_isready"), ready);
      return server;
    } catch (error) {
      if (performance.now() < deadline) continue;
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }
}

/** `null` where Redis can be started, else a reason to skip. */
export function hasRedis(): string | null {
  return needs(hasCommand("redis-server"), hasCommand("openssl"));
}

/** A server of Redis. */
export async function startRedis(port = freePort()): Promise<Served> {
  const files = newFolder(null);
  const tlsPort = freePort();
  const settings = {
    bind: "127.0.0.1",
    port,
    // Or else nobody but 127.0.0.1 may come in.
    "protected-mode": "no",
    "tls-port": tlsPort,
    "tls-cert-file": files.certFile,
    "tls-key-file": files.keyFile,
    "tls-auth-clients": "no",
    dir: files.folder,
    save: "",
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [
    `--${name}`,
    `${value}`,
  ]);
  return await start(["redis-server", ...args], {
    ...files,
    port,
    tlsPort,
  }, "TERM");
}

/** `null` where mosquitto can be started, else a reason to skip. */
export function hasMosquitto(): string | null {
  return needs(hasCommand("mosquitto"), hasCommand("openssl"));
}

/** mosquitto, which says in its file `log` who has come. */
export async function startMosquitto(): Promise<Served> {
  const files = newFolder(null);
  const { folder } = files;
  const [port, tlsPort] = [freePort(), freePort()];
  const config = join(folder, "mosquitto.conf");
  writeFileSync(
    config,
    [
      "allow_anonymous true",
      "log_type all",
      `log_dest file ${folder}/log`,
      // It would become a user of its own who may not read these.
      ...isRoot() === null ? ["user root"] : [],
      `listener ${port} 127.0.0.1`,
      `listener ${tlsPort} 127.0.0.1`,
      `certfile ${files.certFile}`,
      `keyfile ${files.keyFile}`,
    ].join("\n"),
  );
  const command: Command = ["mosquitto", "-c", config];
  return await start(command, { ...files, port, tlsPort }, "TERM");
}

/** `null` where nginx can be started, else a reason to skip. */
export function hasNginx(): string | null {
  return needs(hasCommand("nginx"), hasCommand("openssl"));
}

/** nginx; `/who` says whose request it has, `/put/` takes files, everything else is files. */
export async function startNginx(): Promise<Served> {
  const files = newFolder(null);
  const { folder } = files;
  const [port, tlsPort] = [freePort(), freePort()];
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${folder}/${name};`);
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off;
    master_process off;
    pid ${folder}/pid;
    error_log ${folder}/error.log;
    events { worker_connections 2048; }
    http {
      access_log off;
      ${temporary.join("\n")}
      client_max_body_size 100m;
      keepalive_requests 100000;
      server {
        listen 127.0.0.1:${port} backlog=2048;
        listen 127.0.0.1:${tlsPort} ssl http2 backlog=2048;
        ssl_certificate ${files.certFile};
        ssl_certificate_key ${files.keyFile};
        location = /who {
          default_type text/plain;
          return 200 "$remote_addr $server_protocol";
        }
        location /put/ {
          dav_methods PUT;
          create_full_put_path on;
          root ${folder};
        }
        location / { root ${folder}; }
      }
    }`,
  );
  const args = ["-p", folder, "-c", join(folder, "nginx.conf")];
  return await start(
    ["nginx", ...args],
    { ...files, port, tlsPort },
    "TERM",
  );
}

interface Files {
  readonly folder: string;
  readonly keyFile: string;
  readonly certFile: string;
  readonly key: string;
  readonly cert: string;
}

/** A folder with a key and a certificate for localhost in it, and whose it is. */
export function newFolder(owner: number | null): Files & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "einprogress-"));
  const keyFile = join(folder, "key.pem");
  const certFile = join(folder, "cert.pem");
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
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
    "-keyout",
    keyFile,
    "-out",
    certFile,
  ], { stdio: "ignore" });
  const key = readFileSync(keyFile, "utf8");
  const cert = readFileSync(certFile, "utf8");
  if (owner !== null) {
    for (const path of [folder, keyFile, certFile]) {
      chownSync(path, owner, owner);
    }
  }
  function remove(): void {
    rmSync(folder, { recursive: true, force: true });
  }
  return { folder, keyFile, certFile, key, cert, [Symbol.dispose]: remove };
}

type Command = [command: string, ...args: string[]];

/** A command as a user that owns nothing, if it would run as root. */
function asNobody(...command: Command): Command {
  return isRoot() === null
    ? [
      "setpriv",
      `--reuid=${NOBODY}`,
      `--regid=${NOBODY}`,
      "--clear-groups",
      ...command,
    ]
    : command;
}

/** Ends a server when its own input does, which it does however this process ends. */
const LEASH = 'signal=$1; shift; "$@" & read -r _; kill -s "$signal" $!; wait';

/** Starts a server, and waits until it listens. */
async function start(
  command: Command,
  server: Omit<Served, keyof AsyncDisposable>,
  signal: "TERM" | "QUIT",
): Promise<Served> {
  const { port, tlsPort, folder } = server;
  const child = spawn("sh", ["-c", LEASH, "sh", signal, ...command], {
    stdio: ["pipe", "ignore", "ignore"],
    cwd: folder,
  });
  const exit = new Promise((resolve) => child.on("close", resolve));
  async function end(): Promise<void> {
    child.stdin!.end();
    await exit;
    rmSync(folder, { recursive: true, force: true });
  }
  const deadline = performance.now() + START;
  for (const at of [port, tlsPort]) {
    while (!await listens(at)) {
      if (performance.now() < deadline) {
        await pause(20);
      } else {
        await end();
        throw new Error(`${command[0]} does not listen`);
      }
    }
  }
  return { ...server, [Symbol.asyncDispose]: end };
}

async function listens(port: number): Promise<boolean> {
  try {
    (await connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch (error) {
    if (isErrno(error, "ECONNREFUSED")) return false;
    throw error;
  }
}
