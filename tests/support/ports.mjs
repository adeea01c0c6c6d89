// Ports for programs that cannot choose one themselves.

import { connect, createServer } from 'node:net';

const PORTS_PER_PROCESS = 100;

// Test files run side by side in processes of their own, whose ids are near each other. Each has its own slice of the ports, since
// a port that is free now may be bound by its program only later.
const first = 15_000 + (process.pid % 150) * PORTS_PER_PROCESS;
let next = 0;

/** A port that is free on all addresses, below the range from which the system serves outgoing connections. */
export async function freePort() {
  for (let tries = 0; tries < PORTS_PER_PROCESS; tries += 1) {
    const port = first + (next % PORTS_PER_PROCESS);
    next += 1;
    if (await isFree(port)) return port;
  }
  throw new Error(`none of the ports from ${first} to ${first + PORTS_PER_PROCESS - 1} is free`);
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
