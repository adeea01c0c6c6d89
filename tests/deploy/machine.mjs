// A machine with systemd, inside of this one: see the program `machine`.

import { fileURLToPath } from 'node:url';

import { until } from '../support/deadline.mjs';
import { recordOutput, start } from '../support/processes.mjs';
import { run } from '../support/run.mjs';

const program = fileURLToPath(new URL('machine', import.meta.url));

export class Machine {
  #child;
  #firstProcess;

  /** Boots it; it has `folder` as /media. */
  static async boot(folder) {
    const machine = new Machine();
    machine.#child = start(program, [folder], { stdio: ['pipe', 'pipe', 'pipe'] });
    const output = recordOutput(machine.#child);
    await until('the machine has its first process', () => {
      if (machine.#child.ending) throw new Error(`${program} ended (${machine.#child.ending}):\n${output.text}`);
      machine.#firstProcess = /^\d+$/m.exec(output.text)?.[0];
      return machine.#firstProcess;
    }, () => output.text);
    // Until then systemctl has nobody to speak to.
    await until('the machine is up', async () => {
      const { output: state } = await machine.try('systemctl', 'is-system-running');
      return state.trim() === 'running';
    }, () => output.text);
    return machine;
  }

  /** Runs a program there to its end: `{code, output}`. */
  try(...command) {
    return run('nsenter', this.#entered(command));
  }

  /** What the program wrote, which has to succeed. */
  async run(...command) {
    const { code, output } = await this.try(...command);
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${output}`);
    return output;
  }

  /** Starts a program there. */
  start(...command) {
    return start('nsenter', this.#entered(command));
  }

  /** A file's content there. */
  read(path) {
    return this.run('cat', path);
  }

  /** Writes a file there, and its folders. */
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
