// The nodes that scenarios ask for, by name. Each is started when the first one asks.

import { PipecastNode } from '../support/node.mjs';
import { RedisServer } from '../support/redis.mjs';

/** What readers present to a node that asks for it. */
export const token = 'of-a-reader-0123456789';

// A machine that has much else to do may let a connection wait for its first byte.
const patient = { 'limits.request_timeout': '5m' };

const settings = {
  plain: { 'stream.keepalive': '1s' },
  // With its defaults: a keepalive each 15 s.
  quiet: {},
  ending: { 'stream.max_age': '1s' },
  compressing: { 'stream.compression': 'true', 'stream.keepalive_min': '1s' },
  guarded: {
    'auth.subscribe': 'token',
    'auth.publish': 'token',
    'auth.keys': JSON.stringify([{ name: 'reader', key: token, publish: ['*'], subscribe: ['*'] }]).replaceAll('":', '"='),
    // A publisher of which too much is refused would get a 429.
    'limits.request': '1MiB',
  },
};

// Nodes on one Redis, in whose order one takes over from the other.
const shared = {
  first: { 'stream.keepalive': '1s' },
  second: { 'stream.keepalive': '1s' },
};
const leaving = { 'drain.lead': '0s', 'drain.window': '1s' };

export class Nodes {
  #redis;
  #started = new Map();
  #leaving = [];

  /** The node of this name. `leaving` is another one each time, since it is ended. */
  get(name) {
    if (name === 'leaving') return this.#startLeaving();
    if (!this.#started.has(name)) this.#started.set(name, this.#start(name));
    return this.#started.get(name);
  }

  async stop() {
    // Those that could not start have told it to whom they were for.
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
