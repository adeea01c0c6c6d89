// The nodes that scenarios use, by name. Each starts when the first scenario asks for it.

import { PipecastNode } from '../support/node.mjs';
import { RedisServer } from '../support/redis.mjs';

/** The key that the guarded node accepts. */
export const token = 'of-a-reader-0123456789';

// On a busy machine a connection may wait long for its first byte.
const patient = { 'limits.request_timeout': '5m' };

const settings = {
  plain: { 'stream.keepalive': '1s' },
  // With its defaults: a keepalive every 15 s.
  quiet: {},
  ending: { 'stream.max_age': '1s' },
  compressing: { 'stream.compression': 'true', 'stream.keepalive_min': '1s' },
  guarded: {
    'auth.subscribe': 'token',
    'auth.publish': 'token',
    'auth.keys': [{ name: 'reader', key: token, publish: ['*'], subscribe: ['*'] }],
    // Larger requests are rejected; a publisher with too many rejections would get a 429.
    'limits.max_request_size': '1MiB',
  },
};

// Nodes on one Redis: the second continues the streams of the first.
const shared = {
  first: { 'stream.keepalive': '1s' },
  second: { 'stream.keepalive': '1s' },
};
const leaving = { 'drain.lead': '0s', 'drain.window': '1s' };

export class Nodes {
  #redis;
  #started = new Map();
  #leaving = [];

  /** The node with this name. `leaving` is a new one each time, since its scenario stops it. */
  get(name) {
    if (name === 'leaving') return this.#startLeaving();
    if (!this.#started.has(name)) this.#started.set(name, this.#start(name));
    return this.#started.get(name);
  }

  async stop() {
    // A node that could not start has already failed its scenario.
    const nodes = await Promise.allSettled([...this.#started.values(), ...this.#leaving]);
    await Promise.all(nodes.map((node) => node.value?.kill()));
    await (await this.#redis)?.stop();
  }

  async #start(name) {
    if (name in settings) return PipecastNode.start({ settings: { ...patient, ...settings[name] } });
    return PipecastNode.start({ settings: { ...patient, ...shared[name] }, redis: await this.#sharedRedis() });
  }

  async #startLeaving() {
    const redis = await this.#sharedRedis();
    const node = PipecastNode.start({ settings: { ...patient, ...leaving }, redis });
    this.#leaving.push(node);
    return node;
  }

  #sharedRedis() {
    this.#redis ??= RedisServer.start();
    return this.#redis;
  }
}
