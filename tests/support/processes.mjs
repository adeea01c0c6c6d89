// Child processes. Each is ended by its id, at the latest when this process ends.

import { spawn } from 'node:child_process';

import { until } from './deadline.mjs';

const running = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/**
 * Starts `command`. If it is `detached`, `kill` also ends the processes that it has started.
 *
 * Once the child has ended, its `ending` tells how: `exit 1`, `SIGKILL`, `spawn ... ENOENT`. Await `exited` for its end, and `closed` for
 * everything that it wrote.
 */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  running.add(child);
  if (options.detached) child.kill = (signal) => killGroup(child, signal);
  child.exited = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
    child.once('error', (error) => resolve(error.message));
  }).then((ending) => {
    child.ending = ending;
    running.delete(child);
  });
  // Later than `exited`: the last output may still be in the pipe.
  child.closed = new Promise((resolve) => child.once('close', resolve));
  return child;
}

/**
 * Starts a server and resolves with its child once `isReady(text)` is true, where `text` is its output so far.
 *
 * The child's `output.text` holds everything that it wrote. A server that ends first, or is not ready in time, is an error with that output.
 */
export async function startServer(command, args, { isReady, ...options }) {
  const child = start(command, args, options);
  const output = (child.output = recordOutput(child));
  try {
    await until(`${command} is ready`, () => {
      if (child.ending) throw new Error(`${command} ended (${child.ending}); is it installed?\n${output.text}`);
      return isReady(output.text);
    }, () => `its output:\n${output.text.slice(-4000)}`);
  } catch (failure) {
    // The caller never gets the child, which would keep this process alive.
    await kill(child);
    throw failure;
  }
  return child;
}

function killGroup(child, signal) {
  // Without an id it was never started.
  if (!child.pid) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // All of it may have ended already.
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Ends the process at once and waits until it is gone. */
export async function kill(child) {
  child.kill('SIGKILL');
  await child.exited;
}

/** Asks the process to stop, which lets it end its own workers, and kills it if it has not after `patienceMs`. */
export async function stop(child, { signal = 'SIGTERM', patienceMs = 10_000 } = {}) {
  child.kill(signal);
  const impatience = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await child.closed;
  clearTimeout(impatience);
}

/** Everything that the child writes to both outputs, in `text`; call it right after `start`. */
export function recordOutput(child) {
  const output = { text: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => (output.text += text));
  }
  return output;
}
