// Child processes. Each one is ended by its id, at the latest when this process ends.

import { spawn } from 'node:child_process';

const running = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/**
 * Starts `command`. The child's `ending` says why it is gone, once it is: `exit 1`, `SIGKILL`, `spawn ... ENOENT`. Who wants all that it
 * wrote waits until it is `closed`.
 */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  running.add(child);
  child.exited = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
    child.once('error', (error) => resolve(error.message));
  }).then((ending) => {
    child.ending = ending;
    running.delete(child);
  });
  // Later than its end: what it wrote last is still on the way then.
  child.closed = new Promise((resolve) => child.once('close', resolve));
  return child;
}

/** Ends the process at once and waits until it is gone. */
export async function kill(child) {
  child.kill('SIGKILL');
  await child.exited;
}

/** What the child has written so far on both outputs, for error messages; call it right after `start`. */
export function recordOutput(child) {
  const output = { text: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => (output.text += text));
  }
  return output;
}
