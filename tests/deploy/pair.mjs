// Two nodes on one Redis, with the ports that the balancers' files give to every node.

import { PipecastNode } from '../support/node.mjs';
import { freePort } from '../support/ports.mjs';

const HOSTS = ['127.0.0.11', '127.0.0.12'];

export class Pair {
  /** Starts both with these options of `PipecastNode.start`. */
  static async start(options) {
    const pair = new Pair();
    // Both nodes have the same ports, so they cannot choose their own.
    pair.ports = { nodePort: await freePort(), adminPort: await freePort() };
    pair.nodes = await Promise.all(HOSTS.map((host) => PipecastNode.start({
      listen: `${host}:${pair.ports.nodePort}`,
      adminListen: `${host}:${pair.ports.adminPort}`,
      ...options,
    })));
    return pair;
  }

  async stop() {
    await Promise.all(this.nodes.map((node) => node.kill()));
  }
}
