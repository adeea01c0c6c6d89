// Ports for programs that cannot choose one themselves.

import { connect, createServer } from 'node:net';

const taken = new Set();

/** A port that is free on all addresses, below the range from which the system serves outgoing connections. */
export async function freePort() {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    if (!taken.has(port) && (await isFree(port))) {
      taken.add(port);
      return port;
    }
  }
}

/** Whether a program accepts connections at this URL's host and port. */
export function acceptsConnections(url) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const connection = connect(port, hostname, () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)));
  });
}
