// A web server that is not a node.

import { once } from 'node:events';
import { createServer } from 'node:http';

export class WebServer {
  #server;

  /** Answers requests with `handler(request, response)`, on a port that the system chose. */
  static async start(handler, address = '127.0.0.1') {
    const server = new this();
    server.#server = createServer(handler);
    await once(server.#server.listen(0, address), 'listening');
    server.url = `http://${address}:${server.#server.address().port}`;
    return server;
  }

  /** Stops it, and cuts the connections that are open. */
  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
