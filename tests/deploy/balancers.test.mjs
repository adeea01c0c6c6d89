// Each load balancer with its file from deploy/, in front of two real nodes on a real Redis.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { get, request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { metric } from '../support/metrics.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { RedisServer } from '../support/redis.mjs';
import { acceptsConnections, freePort } from '../support/ports.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Reader } from '../support/reader.mjs';
import { Balancer, balancers } from './balancer.mjs';
import { DyingNode } from './dying_node.mjs';
import { Pair } from './pair.mjs';

const settings = {
  'server.trusted_proxies': '127.0.0.1',
  'stream.keepalive': '1s',
  'limits.publish_rate_per_publisher': '200/h',
  'drain.lead': '15s',
  'drain.deadline': '60s',
};

let redis;

const streamsOf = (node) => metric(node, 'pipecast_streams');

/** Publishes `{"n": n}` and repeats it with the same key until it is acknowledged. Returns its id. */
function publish(pipeline, n) {
  const key = randomUUID();
  return until(`event ${n} is acknowledged`, async () => {
    const answer = await fetch(pipeline.eventsUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
      body: JSON.stringify({ channel: 'names', payload: { n } }),
    }).catch(() => undefined);
    const body = await answer?.json().catch(() => undefined);
    return answer?.status === 202 && body.id;
  });
}

/** Publishes a batch of 200 events from this address with these headers, which claim another one, and returns the status. */
function publishBatchFrom(localAddress, pipeline, claim) {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json', ...claim };
    const post = request(pipeline.eventsUrl, { method: 'POST', agent: false, localAddress, headers }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode));
    });
    post.on('error', reject).end(JSON.stringify(Array(200).fill({ channel: 'names', payload: 1 })));
  });
}

/** Opens a stream, closes it and returns its `retry:`. Fails if the stream does not open. */
function retryOfNewStream(url) {
  return new Promise((resolve, reject) => {
    const stream = get(url, { agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => {
        text += part;
        const retry = /^retry: (\d+)\n/.exec(text);
        if (retry && answer.statusCode === 200) {
          stream.destroy();
          resolve(Number(retry[1]));
        }
      });
      answer.on('error', () => {}).on('close', () => {
        reject(new Error(`a stream without retry: ${answer.statusCode} ${text}`));
      });
    });
    stream.on('error', reject);
  });
}

/** Sends this and the end of the connection, and resolves once the other side has answered or closed. */
function cut(url, text) {
  return new Promise((resolve) => {
    const connection = connect(new URL(url).port, new URL(url).hostname, () => connection.end(text));
    connection.once('data', () => connection.destroy()).once('error', () => {}).once('close', resolve);
  });
}

/** How many answers went through this proxy. */
function answersOf({ connections }) {
  return connections.reduce((sum, { answer }) => sum + (answer.match(/HTTP\/1\.\d \d{3} /g)?.length ?? 0), 0);
}

// All at once, since they wait more than they compute.
describe('load balancers', { concurrency: true, timeout: 200_000 }, () => {
  before(async () => {
    redis = await RedisServer.start();
  });
  after(() => redis.stop());

  for (const [name, { check, hasHealthChecks }] of Object.entries(balancers)) {
    describe(`behind ${name}`, { concurrency: 1 }, () => {
      const readers = [];
      const ids = [];
      let pair;
      let nodes;
      let ports;
      let balancer;
      let pipeline;

      before(async () => {
        pair = await Pair.start({ redis, settings });
        ({ nodes, ports } = pair);
        balancer = await Balancer.start(name, ports);
        pipeline = new Pipeline({ publicUrl: balancer.url });
      });
      after(async () => {
        for (const reader of readers) reader.close();
        await balancer?.stop();
        await pair.stop();
      });

      async function readUntilBothHaveStreams() {
        await until('both nodes have streams', async () => {
          if ((await Promise.all(nodes.map(streamsOf))).every((count) => count > 0)) return true;
          readers.push(await Reader.open(pipeline.streamUrl()));
          return false;
        });
      }

      async function allHave(what, condition) {
        await until(what, () => {
          const failed = readers.find((reader) => reader.failure);
          if (failed) throw new Error(`a stream ${failed.failure}, which ends an EventSource for good`);
          return readers.every(condition);
        }, () => JSON.stringify(readers.map(({ events, keepalives, connections }) => [events.length, keepalives, connections])));
      }

      if (check) {
        for (const withTls of [false, true]) {
          test(`${name} accepts its file${withTls ? ' with the lines for TLS' : ''}`, async (t) => {
            const prepared = await Balancer.prepare(name, { ...ports, withTls });
            t.after(() => prepared.stop());
            const { code, output } = await prepared.check();
            assert.equal(code, 0, output);
            assert.doesNotMatch(output, /\[(warn|WARNING|ALERT|emerg)/, output);
          });
        }
      }

      test('event reaches subscribers on both nodes at once', async () => {
        await readUntilBothHaveStreams();
        ids.push(await publish(pipeline, 0));
        await allHave('the event', (reader) => reader.events.length === 1);
      });

      test('keepalives pass', async () => {
        await allHave('three keepalives', (reader) => reader.keepalives >= 3);
        assert.ok(readers.every((reader) => reader.connections === 1));
      });

      test('twenty TLS streams share one HTTP/2 connection', async (t) => {
        const withTls = await Balancer.start(name, { ...ports, withTls: true });
        t.after(() => withTls.stop());
        const session = connectHttp2(withTls.tlsUrl, { rejectUnauthorized: false });
        t.after(() => session.destroy());
        const own = new Pipeline({ publicUrl: withTls.url });
        const texts = Array.from({ length: 20 }, () => {
          const stream = session.request({ ':path': new URL(own.streamUrl()).pathname });
          const received = { text: '' };
          stream.setEncoding('utf8').on('data', (part) => (received.text += part)).on('error', () => {});
          return received;
        });
        await publish(own, 'over HTTP/2');
        await until('all streams have the event', () => texts.every(({ text }) => text.includes('"over HTTP/2"')));
        assert.equal(session.alpnProtocol, 'h2');
      });

      test('subscribers of a killed node continue on the other one', async () => {
        for (let n = 1; n < 10; n += 1) ids.push(await publish(pipeline, n));
        await nodes[1].kill();
        // New streams do not fail either, even before a health check can have noticed.
        for (let n = 0; n < 20; n += 1) await retryOfNewStream(pipeline.streamUrl());
        for (let n = 10; n < 30; n += 1) ids.push(await publish(pipeline, n));
        await allHave('all thirty events', (reader) => reader.events.length >= 30);
        for (const reader of readers) assert.deepEqual(reader.ids, ids);
        const sequence = ids.map((id) => Number(id.split('-')[1]));
        assert.deepEqual(sequence, sequence.map((_, index) => sequence[0] + index));
        assert.ok(readers.some((reader) => reader.connections > 1));
      });

      test('closed subscriber is gone from its node', async () => {
        for (const reader of readers) reader.close();
        readers.length = 0;
        await until('no stream is left', async () => (await streamsOf(nodes[0])) === 0);
      });

      test('restarted node gets streams again', async () => {
        await nodes[1].restart();
        await readUntilBothHaveStreams();
      });

      test('client is limited by its own address, whatever it claims', async () => {
        const own = new Pipeline({ publicUrl: balancer.url });
        const statuses = [];
        for (const n of [1, 2, 3, 4, 5, 6]) {
          const claim = { 'X-Forwarded-For': `192.0.2.${n}`, Forwarded: `for=198.51.100.${n}` };
          statuses.push(await publishBatchFrom('127.0.0.2', own, claim));
        }
        // Nodes read only the header that the balancer writes.
        assert.equal(statuses[0], 202);
        // At most one batch per node.
        assert.ok(statuses.filter((status) => status === 202).length <= 2, statuses.join());
        assert.ok(statuses.filter((status) => status === 429).length >= 4, statuses.join());
        assert.equal(await publishBatchFrom('127.0.0.3', own, {}), 202);
      });

      if (hasHealthChecks) {
        test('draining node gets no new streams', async () => {
          nodes[1].drain();
          const own = new Pipeline({ publicUrl: balancer.url });
          await until('thirty new streams in a row go to the other node', async () => {
            for (let n = 0; n < 30; n += 1) if ((await retryOfNewStream(own.streamUrl())) >= 5000) return false;
            return true;
          });
          assert.ok(await acceptsConnections(nodes[1].publicUrl), 'the node had closed its port by then');
        });
      }
    });
  }

  for (const name of Object.keys(balancers)) {
    test(`${name} retries streams but not publishes of a dying node`, async (t) => {
      const ports = { nodePort: await freePort(), adminPort: await freePort() };
      const node = await PipecastNode.start({
        redis, settings, listen: `127.0.0.11:${ports.nodePort}`, adminListen: `127.0.0.11:${ports.adminPort}`,
      });
      t.after(() => node.kill());
      const dying = await DyingNode.start('127.0.0.12', ports);
      t.after(() => dying.stop());
      const balancer = await Balancer.start(name, ports);
      t.after(() => balancer.stop());
      const pipeline = new Pipeline({ publicUrl: balancer.url });
      // The file names a third node, which does not exist: the balancer has to notice.
      let failure;
      const opens = () => retryOfNewStream(pipeline.streamUrl()).then(() => true, (error) => {
        failure = error;
        return false;
      });
      await until('twenty streams in a row open', async () => {
        for (let n = 0; n < 20; n += 1) if (!(await opens())) return false;
        return true;
      }, () => String(failure));
      assert.ok(dying.requests.some((line) => line.startsWith('GET /pipelines/')), 'the dying node must get streams');
      const statuses = [];
      for (let n = 0; n < 20; n += 1) {
        const body = JSON.stringify({ channel: 'names', payload: n });
        const headers = { 'Content-Type': 'application/json' };
        // HAProxy closes without an answer, since only the client knows whether to repeat.
        const answer = await fetch(pipeline.eventsUrl, { method: 'POST', headers, body }).catch(() => undefined);
        await answer?.text();
        statuses.push(answer?.status);
      }
      const received = dying.requests.filter((line) => line.startsWith('POST /pipelines/')).length;
      // The dying node may have stored them: only the publisher may repeat, with a key.
      assert.equal(statuses.filter((status) => status === 202).length + received, statuses.length, statuses.join());
    });
  }

  for (const name of Object.keys(balancers)) {
    test(`no token gets into a log of ${name} or its nodes`, async (t) => {
      const token = `token-${randomUUID()}`;
      const keys = [{ name: 'reader', key: token, publish: ['*'], subscribe: ['*'] }];
      const own = await RedisServer.start();
      t.after(() => own.stop());
      const pair = await Pair.start({
        redis: own,
        settings: { 'auth.subscribe': 'token', 'auth.keys': keys, 'stream.keepalive': '1s', 'log.filter': 'trace' },
      });
      t.after(() => pair.stop());
      const { nodes, ports } = pair;
      const balancer = await Balancer.start(name, { ...ports, isReady: (status) => status === 401 });
      t.after(() => balancer.stop());
      const path = `/pipelines/p/sse?token=${token}`;
      const streams = Array.from({ length: 20 }, () => new Reader(balancer.url + path));
      t.after(() => streams.forEach((stream) => stream.close()));
      await until('all streams are open', () => streams.every((stream) => stream.isOpen));
      assert.ok((await Promise.all(nodes.map(streamsOf))).every((count) => count > 0), 'both nodes must have streams');
      const ask = (of, options) => fetch(`${balancer.url}/pipelines/p/${of}?token=${token}`, options).then((answer) => answer.text(), () => {});
      // One node is killed while it has streams, then the other; then come a request that no node would accept, and some that are cut.
      await nodes[1].kill();
      await until('its streams are lost', () => streams.some((stream) => stream.connections > 1 || stream.failure));
      await nodes[0].kill();
      await Promise.all(['sse', 'events', 'elsewhere'].map((of) => ask(of, { signal: AbortSignal.timeout(3000) })));
      await ask('events', { method: 'POST', body: 'x'.repeat(5_000_000), headers: { 'Content-Type': 'application/json' } });
      // At once: some balancers look long for a node.
      await Promise.all([
        `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`,
        `GET ${path} HTTP/1.1\r\nHost: x\r\nBroken Header\r\n\r\n`,
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf`,
        `GET ${path}`,
      ].map((request) => cut(balancer.url, request)));
      for (const stream of streams) stream.close();
      await balancer.end();
      const written = [await balancer.written(), ...nodes.map((node) => node.output)].join('\n');
      assert.ok(!written.includes(token), written.split('\n').filter((line) => line.includes(token)).slice(0, 5).join('\n'));
      // Proof that this is the log: it has the failures. Traefik logs none.
      if (name !== 'traefik') assert.match(written, /502|503|no server|refused|Layer4/i, written.slice(-2000));
    });
  }

  for (const name of Object.keys(balancers)) {
    test(`new streams behind ${name} wait while Redis is unreachable`, async (t) => {
      const own = await RedisServer.start();
      t.after(() => own.stop());
      const pair = await Pair.start({
        redis: own,
        settings: { 'redis.probe_interval': '200ms', 'stream.keepalive': '1s' },
        adminListen: '127.0.0.1:0',
      });
      t.after(() => pair.stop());
      const { nodes, ports } = pair;
      // In front of the admin ports, to see when the balancer has checked the nodes.
      const checks = await Promise.all(nodes.map((node) => Proxy.listen(new URL(node.adminUrl), {
        host: new URL(node.publicUrl).hostname, port: ports.adminPort,
      })));
      t.after(() => Promise.all(checks.map((proxy) => proxy.stop())));
      const countChecks = () => answersOf(checks[0]) + answersOf(checks[1]);
      const balancer = await Balancer.start(name, ports);
      t.after(() => balancer.stop());
      const pipeline = new Pipeline({ publicUrl: balancer.url });
      await own.stop();
      const isReady = async (node) => (await fetch(`${node.adminUrl}/readyz`)).ok;
      await until('no node is ready', async () => !(await isReady(nodes[0])) && !(await isReady(nodes[1])));
      // New streams after every health check, twice as many checks as any of the files needs to drop a node.
      const before = countChecks();
      const retries = [];
      for (let n = 1; n <= 8; n += 1) {
        if (balancers[name].hasHealthChecks) await until('the next health check', () => countChecks() >= before + n);
        // Not one after the other: a balancer may look for a ready node for seconds.
        for (let opened = 0; opened < 10; opened += 1) retries.push(retryOfNewStream(pipeline.streamUrl()).catch((failure) => failure));
      }
      for (const retry of await Promise.all(retries)) assert.ok(retry < 5000, String(retry));
    });
  }
});
