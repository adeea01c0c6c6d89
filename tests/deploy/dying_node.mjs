// A node that always dies at once: health checks find it ready, but it resets the connection of every request.

import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { once } from 'node:events';

export class DyingNode {
  /** The first line of each request that it received. */
  requests = [];
  #servers;

  static async start(host, { nodePort, adminPort }) {
    const node = new DyingNode();
    const admin = createHttpServer((_, answer) => answer.end('ready\n'));
    const listener = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (head) => {
        node.requests.push(head.toString('latin1').split('\r\n')[0]);
        socket.resetAndDestroy();
      });
    });
    node.#servers = [admin.listen(adminPort, host), listener.listen(nodePort, host)];
    await Promise.all(node.#servers.map((server) => once(server, 'listening')));
    return node;
  }

  async stop() {
    await Promise.all(this.#servers.map((server) => {
      server.closeAllConnections?.();
      return new Promise((resolve) => server.close(resolve));
    }));
  }
}
