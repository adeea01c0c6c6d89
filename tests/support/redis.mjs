// A redis-server on a unix socket in a temporary folder.

import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { kill, startServer } from './processes.mjs';

export class RedisServer {
  #child;
  #folder;

  /** Starts a redis-server that keeps nothing on disk and waits until it answers. */
  static async start() {
    const redis = new RedisServer();
    redis.#folder = await mkdtemp(join(tmpdir(), 'pipecast-redis-'));
    const socket = join(redis.#folder, 'redis.sock');
    redis.url = `redis+unix://${socket}`;
    redis.#child = await startServer('redis-server', [
      '--port', '0', '--unixsocket', socket, '--dir', redis.#folder, '--save', '', '--appendonly', 'no',
    ], { isReady: () => answers(socket) });
    return redis;
  }

  async stop() {
    await kill(this.#child);
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function answers(socket) {
  return new Promise((resolve) => {
    const connection = connect(socket, () => connection.write('PING\r\n'));
    connection.once('data', (reply) => {
      resolve(reply.toString().startsWith('+PONG'));
      connection.destroy();
    });
    connection.once('error', () => resolve(false));
  });
}
