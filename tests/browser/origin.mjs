// A web site on an origin of its own, which is not the node's.

import { createServer } from 'node:http';

export class Origin {
  #server;

  /** Serves `html` at every path, at an address of this machine. */
  static async start(html = '<!doctype html><link rel="icon" href="data:,"><title>another origin</title>', address = '127.0.0.1') {
    const origin = new Origin();
    origin.#server = createServer((_, answer) => {
      answer.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(html);
    });
    await new Promise((resolve) => origin.#server.listen(0, address, resolve));
    origin.url = `http://${address}:${origin.#server.address().port}/`;
    return origin;
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
