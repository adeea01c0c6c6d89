// A Pipecast node: the real binary, on ports that the system chose.

import { asVariables, withoutSettings } from './environment.mjs';
import { metric } from './metrics.mjs';
import { kill, startServer } from './processes.mjs';

export class PipecastNode {
  #child;
  #options;

  /**
   * Starts a node and waits until it is ready.
   *
   * `redis` is a `RedisServer`; without one the node keeps its events in memory. `settings` maps names such as `stream.keepalive` to
   * values. Give `listen` and `adminListen` only where the ports must be known in advance.
   */
  static async start({ redis, settings = {}, listen = '127.0.0.1:0', adminListen = '127.0.0.1:0' } = {}) {
    const node = new PipecastNode();
    node.#options = { redis, settings, adminListen };
    await node.#launch(listen);
    return node;
  }

  /** Everything that it has written since it last started. */
  get output() {
    return this.#child.output.text;
  }

  /** A series of its metrics, for example `pipecast_build_info{version="0.1.0"}`. */
  metric(series) {
    return metric(this, series);
  }

  /** Asks the node to stop, and does not wait for that. */
  drain() {
    this.#child.kill('SIGTERM');
  }

  /** Ends the node without a chance to close anything. */
  async kill() {
    await kill(this.#child);
  }

  /** Starts the node again on its previous public port. */
  async restart() {
    await this.#launch(new URL(this.publicUrl).host);
  }

  async #launch(listen) {
    const binary = process.env.PIPECAST_BIN;
    if (!binary) throw new Error('PIPECAST_BIN is not set: give the path of the pipecast binary');
    const args = ['serve', '--listen', listen, '--admin-listen', this.#options.adminListen];
    if (this.#options.redis) args.push('--redis', this.#options.redis.url);
    this.#child = await startServer(binary, args, {
      env: { ...withoutSettings(), ...asVariables(this.#options.settings) },
      isReady: (output) => this.#isReady(output),
    });
  }

  // The node announces the addresses that it got.
  async #isReady(output) {
    const address = (listener) => new RegExp(`^\\s*${listener}\\s+(http\\S+)`, 'm').exec(output)?.[1];
    this.publicUrl = address('public');
    this.adminUrl = address('admin');
    if (!this.publicUrl || !this.adminUrl) return false;
    const answer = await fetch(`${this.adminUrl}/readyz`).catch(() => undefined);
    await answer?.text();
    return answer?.ok;
  }
}
