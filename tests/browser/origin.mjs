// A web site whose origin is not the node's.

import { WebServer } from '../support/web_server.mjs';

const PAGE = '<!doctype html><link rel="icon" href="data:,"><title>another origin</title>';

export class Origin extends WebServer {
  /** Serves `html` at every path, on an address of this machine. */
  static start(html = PAGE, address = '127.0.0.1') {
    return super.start((_, answer) => {
      answer.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(html);
    }, address);
  }
}
