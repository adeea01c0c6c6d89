// A web site on an origin of its own, which is not the node's.

import { createServer } from 'node:http';

export class Origin {
  #server;

  /** Serves `html` at every path. */
  static async start(html = '<!doctype html><link rel="icon" href="data:,"><title>another origin</title>') {
    const origin = new Origin();
    origin.#server = createServer((_, answer) => {
      answer.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(html);
    });
    await new Promise((resolve) => origin.#server.listen(0, '127.0.0.1', resolve));
    origin.url = `http://127.0.0.1:${origin.#server.address().port}/`;
    return origin;
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
