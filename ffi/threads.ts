/**
 * Threads of this program.
 *
 * @module
 */
import type * as WorkerThreads from "node:worker_threads";
import { builtin } from "./builtin.ts";
import { type StartedThread, type ThreadStart, UNABLE } from "./contract.ts";
import { doorFor } from "./libc.ts";
import { bare } from "./records.ts";

/**
 * Starts a thread that loads a module from where it is: no bundler knows of it
 * otherwise.
 *
 * @returns The thread, `null` if the runtime does not let us have one.
 */
export function startThread(start: ThreadStart): StartedThread | null {
  const begin = doorFor().startThread ?? startNodeThread;
  try {
    return begin(start);
  } catch {
    return null;
  }
}

function startNodeThread(
  { module, name, data, message, ended }: ThreadStart,
): StartedThread {
  const { Worker } = builtin<typeof WorkerThreads>("node:worker_threads");
  const text = `
    const { parentPort, workerData } = process.getBuiltinModule(
      "node:worker_threads",
    );
    const port = {
      post: (message, moved) => parentPort.postMessage(message, moved),
      listen: (take) => parentPort.on("message", take),
    };
    import(${JSON.stringify(module)}).then(
      (module) => module[${JSON.stringify(name)}](port, workerData),
      () => parentPort.postMessage(${JSON.stringify(UNABLE)}),
    );
  `;
  const worker = new Worker(
    text,
    bare({
      eval: true,
      name,
      workerData: data,
      execArgv: ["--no-warnings"],
    }),
  );
  worker.on("message", message);
  worker.on("error", ended);
  worker.on("exit", () => ended(null));
  return {
    post: (message) => worker.postMessage(message),
    terminate: () => worker.terminate(),
  };
}
