// A Pipecast node: the real binary on ports of its own.

import { until } from './deadline.mjs';
import { kill, recordOutput, start } from './processes.mjs';

export class PipecastNode {
  #child;
  #options;
  #output;

  /**
   * Starts a node and waits until it is ready.
   *
   * `redis` is a `RedisServer` (without one the node keeps its events in memory), `settings` maps names as in
   * `stream.keepalive` to values. `listen` and `adminListen` are for those who have to know the ports beforehand.
   */
  static async start({ redis, settings = {}, listen = '127.0.0.1:0', adminListen = '127.0.0.1:0' } = {}) {
    const node = new PipecastNode();
    node.#options = { redis, settings, adminListen };
    await node.#launch(listen);
    return node;
  }

  /** All that it has written since it was last started. */
  get output() {
    return this.#output.text;
  }

  /** Asks the node to stop, and does not wait for it. */
  drain() {
    this.#child.kill('SIGTERM');
  }

  /** Ends the node without a chance to say goodbye. */
  async kill() {
    await kill(this.#child);
  }

  /** Starts the node again on the public port that it had. */
  async restart() {
    await this.#launch(new URL(this.publicUrl).host);
  }

  async #launch(listen) {
    const binary = process.env.PIPECAST_BIN;
    if (!binary) throw new Error('PIPECAST_BIN is not set: give the path of the pipecast binary');
    const args = ['serve', '--listen', listen, '--admin-listen', this.#options.adminListen];
    if (this.#options.redis) args.push('--redis', this.#options.redis.url);

    this.#child = start(binary, args, { env: environment(this.#options.settings) });
    const output = recordOutput(this.#child);
    this.#output = output;
    const address = (listener) => new RegExp(`^\\s*${listener}\\s+(http\\S+)`, 'm').exec(output.text)?.[1];
    const isReady = async () => {
      if (this.#child.ending) throw new Error(`${binary} ended (${this.#child.ending}):\n${output.text}`);
      this.publicUrl = address('public');
      this.adminUrl = address('admin');
      if (!this.publicUrl || !this.adminUrl) return false;
      const answer = await fetch(`${this.adminUrl}/readyz`).catch(() => undefined);
      await answer?.text();
      return answer?.ok;
    };
    try {
      await until('the node is ready', isReady, () => `it said:\n${output.text}`);
    } catch (failure) {
      // Nobody else gets to know of it, and as long as it runs this process would not end.
      await kill(this.#child);
      throw failure;
    }
  }
}

// The caller's own PIPECAST_ variables, PIPECAST_BIN among them, are no settings of this node.
function environment(settings) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PIPECAST_'));
  const own = Object.entries(settings).map(([name, value]) => [
    `PIPECAST_${name.toUpperCase().replace('.', '__')}`,
    value,
  ]);
  return Object.fromEntries([...inherited, ...own]);
}
