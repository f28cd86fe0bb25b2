/**
 * Waits until a database listens, and says what it has waited for where it does
 * not.
 *
 *     deno run --allow-ffi --allow-net wait_for_port.ts 127.0.0.1 5432 30000
 */
import process from "node:process";
import { WaitError, waitFor } from "@einprogress/connect/tools";

const [hostname = "127.0.0.1", port = "5432", timeout = "30000"] = process.argv
  .slice(2);
const target = { hostname, port: Number(port) };
try {
  await waitFor([target], { timeout: Number(timeout) });
  console.log(`${hostname}:${port} listens`);
} catch (error) {
  if (!(error instanceof WaitError)) throw error;
  for (const { attempts, last } of error.pending) {
    console.log(`${hostname}:${port} failed ${attempts} times: ${last?.code}`);
  }
  process.exitCode = 1;
}
