// A redis-server of its own on a unix socket in a temporary folder.

import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until } from './deadline.mjs';
import { kill, recordOutput, start } from './processes.mjs';

export class RedisServer {
  #child;
  #folder;

  /** Starts a redis-server that keeps nothing on disk and waits until it answers. */
  static async start() {
    const redis = new RedisServer();
    redis.#folder = await mkdtemp(join(tmpdir(), 'pipecast-redis-'));
    const socket = join(redis.#folder, 'redis.sock');
    redis.url = `redis+unix://${socket}`;
    redis.#child = start('redis-server', [
      '--port', '0', '--unixsocket', socket, '--dir', redis.#folder, '--save', '', '--appendonly', 'no',
    ]);
    const output = recordOutput(redis.#child);
    const isReady = () => {
      const { ending } = redis.#child;
      if (ending) throw new Error(`redis-server ended (${ending}); apt-get install redis-server?\n${output.text}`);
      return answers(socket);
    };
    try {
      await until('redis-server answers', isReady, () => output.text);
    } catch (failure) {
      await redis.stop();
      throw failure;
    }
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
