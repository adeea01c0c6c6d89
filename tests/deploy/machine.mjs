// A machine with systemd inside this one: see the program `machine`.

import { fileURLToPath } from 'node:url';

import { until } from '../support/deadline.mjs';
import { start, startServer } from '../support/processes.mjs';
import { run } from '../support/run.mjs';

const program = fileURLToPath(new URL('machine', import.meta.url));

export class Machine {
  #child;
  #firstProcess;

  /** Boots it, with `folder` as /media. */
  static async boot(folder) {
    const machine = new Machine();
    // Its standard input stays open: the machine ends when that closes.
    machine.#child = await startServer(program, [folder], {
      stdio: ['pipe', 'pipe', 'pipe'],
      isReady: (output) => (machine.#firstProcess = /^\d+$/m.exec(output)?.[0]),
    });
    await until('the machine is up', async () => {
      const { output: state } = await machine.try('systemctl', 'is-system-running');
      return state.trim() === 'running';
    }, () => machine.#child.output.text);
    return machine;
  }

  /** Runs a program there to its end: `{code, output}`. */
  try(...command) {
    return run('nsenter', this.#entered(command));
  }

  /** Runs a program that must succeed, and returns its output. */
  async run(...command) {
    const { code, output } = await this.try(...command);
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${output}`);
    return output;
  }

  /** Starts a program there. */
  start(...command) {
    return start('nsenter', this.#entered(command));
  }

  /** The content of a file there. */
  read(path) {
    return this.run('cat', path);
  }

  /** Writes a file there, and makes its folders. */
  write(path, text) {
    return this.run('sh', '-c', 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', 'sh', path, text);
  }

  async stop() {
    this.#child.stdin.end();
    await this.#child.exited;
  }

  #entered(command) {
    return ['--all', '--target', this.#firstProcess, ...command];
  }
}
