// Each load balancer with its file from deploy/ before two real nodes on one real Redis.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { get, request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { RedisServer } from '../support/redis.mjs';
import { Balancer, balancers } from './balancer.mjs';
import { freePort } from '../support/ports.mjs';
import { DyingNode } from './dying_node.mjs';
import { Reader } from '../support/reader.mjs';

const settings = {
  'server.trusted_proxies': '127.0.0.1',
  'stream.keepalive': '1s',
  'limits.publish_rate': '200/h',
  'drain.lead': '15s',
  'drain.deadline': '60s',
};

let redis;

async function metric(node, series) {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return Number(line.slice(series.length));
}

const streamsOf = (node) => metric(node, 'pipecast_connections');

/** Publishes `{"n": n}` as publishers should: again, with the same key, until it is acknowledged. Gives its id. */
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

/** The status of a batch of 200 events that is sent from this address, which claims to be another one. */
function publishBatchFrom(localAddress, pipeline, claim) {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json', ...claim };
    const post = request(pipeline.eventsUrl, { method: 'POST', agent: false, localAddress, headers }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode));
    });
    post.on('error', reject).end(JSON.stringify(Array(200).fill({ channel: 'names', payload: 1 })));
  });
}

/** The `retry:` of a new stream, which is closed again. Fails when it does not open. */
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

function takesConnections(url) {
  return new Promise((resolve) => {
    const connection = connect(new URL(url).port, new URL(url).hostname, () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

/** Sends this, and closes once something comes or the other side does. */
function cut(url, text) {
  return new Promise((resolve) => {
    const connection = connect(new URL(url).port, new URL(url).hostname, () => connection.write(text));
    connection.setTimeout(1000, () => connection.destroy());
    connection.once('data', () => connection.destroy()).once('error', () => {}).once('close', resolve);
  });
}

// All at once, since they wait more than they work.
describe('load balancers', { concurrency: true, timeout: 100_000 }, () => {
  before(async () => {
    redis = await RedisServer.start();
  });
  after(() => redis.stop());

  for (const [name, { check, hasHealthChecks }] of Object.entries(balancers)) {
    describe(`behind ${name}`, { concurrency: 1 }, () => {
      const readers = [];
      const ids = [];
      let nodes;
      let ports;
      let balancer;
      let pipeline;

      before(async () => {
        ports = { nodePort: await freePort(), adminPort: await freePort() };
        nodes = await Promise.all(['127.0.0.11', '127.0.0.12'].map((host) => PipecastNode.start({
          redis, settings, listen: `${host}:${ports.nodePort}`, adminListen: `${host}:${ports.adminPort}`,
        })));
        balancer = await Balancer.start(name, ports);
        pipeline = new Pipeline({ publicUrl: balancer.url });
      });
      after(async () => {
        for (const reader of readers) reader.close();
        await balancer?.stop();
        await Promise.all(nodes.map((node) => node.kill()));
      });

      async function readUntilBothHaveStreams() {
        await until('both nodes have streams', async () => {
          if ((await Promise.all(nodes.map(streamsOf))).every((count) => count > 0)) return true;
          readers.push(new Reader(pipeline.streamUrl()));
          const open = readers.length;
          await until('the stream is open', async () => {
            const counts = await Promise.all(nodes.map(streamsOf));
            return counts[0] + counts[1] >= open;
          });
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
          test(`${name} finds nothing wrong with its file${withTls ? ', nor with the lines for TLS' : ''}`, async (t) => {
            const prepared = await Balancer.prepare(name, { ...ports, withTls });
            t.after(() => prepared.stop());
            const { code, output } = await prepared.check();
            assert.equal(code, 0, output);
            assert.doesNotMatch(output, /\[(warn|WARNING|ALERT|emerg)/, output);
          });
        }
      }

      test('an event reaches readers on both nodes before there is a second one', async () => {
        await readUntilBothHaveStreams();
        ids.push(await publish(pipeline, 0));
        await allHave('the event', (reader) => reader.events.length === 1);
      });

      test('keepalives pass', async () => {
        await allHave('three keepalives', (reader) => reader.keepalives >= 3);
        assert.ok(readers.every((reader) => reader.connections === 1));
      });

      test('over TLS a browser has twenty streams on one connection of HTTP/2', async (t) => {
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
        await until('all have it', () => texts.every(({ text }) => text.includes('"over HTTP/2"')));
        assert.equal(session.alpnProtocol, 'h2');
      });

      test('readers of a node that is killed go on at the other one, without loss', async () => {
        for (let n = 1; n < 10; n += 1) ids.push(await publish(pipeline, n));
        await nodes[1].kill();
        // New ones do not meet it either, also before its absence can have been noticed by a check.
        for (let n = 0; n < 20; n += 1) await retryOfNewStream(pipeline.streamUrl());
        for (let n = 10; n < 30; n += 1) ids.push(await publish(pipeline, n));
        await allHave('all thirty events', (reader) => reader.events.length >= 30);
        for (const reader of readers) assert.deepEqual(reader.ids, ids);
        const sequence = ids.map((id) => Number(id.split('-')[1]));
        assert.deepEqual(sequence, sequence.map((_, index) => sequence[0] + index));
        assert.ok(readers.some((reader) => reader.connections > 1));
      });

      test('a reader that leaves is gone from its node', async () => {
        for (const reader of readers) reader.close();
        readers.length = 0;
        await until('no stream is left', async () => (await streamsOf(nodes[0])) === 0);
      });

      test('a node that comes back gets streams again', async () => {
        await nodes[1].restart();
        await readUntilBothHaveStreams();
      });

      test('a client counts by the address that it has, whatever it says', async () => {
        const own = new Pipeline({ publicUrl: balancer.url });
        const statuses = [];
        for (const n of [1, 2, 3, 4, 5, 6]) {
          const claim = { 'X-Forwarded-For': `192.0.2.${n}`, Forwarded: `for=198.51.100.${n}` };
          statuses.push(await publishBatchFrom('127.0.0.2', own, claim));
        }
        // Nodes read the header that the balancer writes, and not the other.
        assert.equal(statuses[0], 202);
        // Once through each node at most.
        assert.ok(statuses.filter((status) => status === 202).length <= 2, statuses.join());
        assert.ok(statuses.filter((status) => status === 429).length >= 4, statuses.join());
        assert.equal(await publishBatchFrom('127.0.0.3', own, {}), 202);
      });

      if (hasHealthChecks) {
        test('a node that drains gets no new streams', async () => {
          nodes[1].drain();
          const own = new Pipeline({ publicUrl: balancer.url });
          await until('thirty new streams in a row come to the node that stays', async () => {
            for (let n = 0; n < 30; n += 1) if ((await retryOfNewStream(own.streamUrl())) >= 5000) return false;
            return true;
          });
          assert.ok(await takesConnections(nodes[1].publicUrl), 'its lead was over before it was noticed');
        });
      }
    });
  }

  for (const name of Object.keys(balancers)) {
    test(`behind ${name} a stream that a dying node has taken opens at the other one, and a publish goes to one node alone`, async (t) => {
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
      // Once the third node of the file, which is not there, has been found out.
      let failure;
      const opens = () => retryOfNewStream(pipeline.streamUrl()).then(() => true, (error) => {
        failure = error;
        return false;
      });
      await until('twenty streams in a row open', async () => {
        for (let n = 0; n < 20; n += 1) if (!(await opens())) return false;
        return true;
      }, () => String(failure));
      assert.ok(dying.requests.some((line) => line.startsWith('GET /pipelines/')), 'it was never asked');
      const statuses = [];
      for (let n = 0; n < 20; n += 1) {
        const body = JSON.stringify({ channel: 'names', payload: n });
        const headers = { 'Content-Type': 'application/json' };
        // HAProxy says nothing, and closes, where the client has to know by itself whether to repeat.
        const answer = await fetch(pipeline.eventsUrl, { method: 'POST', headers, body }).catch(() => undefined);
        await answer?.text();
        statuses.push(answer?.status);
      }
      const taken = dying.requests.filter((line) => line.startsWith('POST /pipelines/')).length;
      // What it has taken could have been stored: it is the publisher's to repeat, with a key.
      assert.equal(statuses.filter((status) => status === 202).length + taken, statuses.length, statuses.join());
    });
  }

  for (const name of Object.keys(balancers)) {
    test(`no token gets into a log of ${name}, nor of the nodes behind it, whatever goes wrong`, async (t) => {
      const token = `token-${randomUUID()}`;
      const keys = JSON.stringify([{ name: 'reader', key: token, publish: ['*'], subscribe: ['*'] }]).replaceAll(/"(\w+)":/g, '$1=');
      const own = await RedisServer.start();
      t.after(() => own.stop());
      const ports = { nodePort: await freePort(), adminPort: await freePort() };
      const nodes = await Promise.all(['127.0.0.11', '127.0.0.12'].map((host) => PipecastNode.start({
        redis: own,
        settings: { 'auth.subscribe': 'token', 'auth.keys': keys, 'stream.keepalive': '1s', 'log.filter': 'trace' },
        listen: `${host}:${ports.nodePort}`,
        adminListen: `${host}:${ports.adminPort}`,
      })));
      t.after(() => Promise.all(nodes.map((node) => node.kill())));
      const balancer = await Balancer.start(name, { ...ports, isReady: (status) => status === 401 });
      t.after(() => balancer.stop());
      const path = `/pipelines/p/sse?token=${token}`;
      const streams = Array.from({ length: 20 }, () => new Reader(balancer.url + path));
      t.after(() => streams.forEach((stream) => stream.close()));
      await until('streams are open on both', async () => (await Promise.all(nodes.map(streamsOf))).every((count) => count > 0));
      await until('all of them', async () => (await Promise.all(nodes.map(streamsOf))).reduce((sum, count) => sum + count) >= 20);
      const ask = (of, options) => fetch(`${balancer.url}/pipelines/p/${of}?token=${token}`, options).then((answer) => answer.text(), () => {});
      // Killed under its streams, then both, so that there is none to ask; then a request that no node would take, and some that are cut.
      await nodes[1].kill();
      await until('its streams are noticed to be gone', () => streams.some((stream) => stream.connections > 1 || stream.failure));
      await nodes[0].kill();
      await Promise.all(['sse', 'events', 'elsewhere'].map((of) => ask(of, { signal: AbortSignal.timeout(3000) })));
      await ask('events', { method: 'POST', body: 'x'.repeat(5_000_000), headers: { 'Content-Type': 'application/json' } });
      await cut(balancer.url, `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await cut(balancer.url, `GET ${path} HTTP/1.1\r\nHost: x\r\nBroken Header\r\n\r\n`);
      await cut(balancer.url, `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf`);
      await cut(balancer.url, `GET ${path}`);
      for (const stream of streams) stream.close();
      await balancer.end();
      const written = [await balancer.written(), ...nodes.map((node) => node.output)].join('\n');
      assert.ok(!written.includes(token), written.split('\n').filter((line) => line.includes(token)).slice(0, 5).join('\n'));
      // It is the log that was looked at.
      if (name !== 'traefik') assert.match(written, /502|503|no server|refused|Layer4/i, written.slice(-2000));
    });
  }

  for (const name of Object.keys(balancers)) {
    test(`while Redis is away new streams behind ${name} are open and wait`, async (t) => {
      const own = await RedisServer.start();
      t.after(() => own.stop());
      const ports = { nodePort: await freePort(), adminPort: await freePort() };
      const nodes = await Promise.all(['127.0.0.11', '127.0.0.12'].map((host) => PipecastNode.start({
        redis: own,
        settings: { 'redis.probe_interval': '200ms', 'stream.keepalive': '1s' },
        listen: `${host}:${ports.nodePort}`,
        adminListen: `${host}:${ports.adminPort}`,
      })));
      t.after(() => Promise.all(nodes.map((node) => node.kill())));
      const balancer = await Balancer.start(name, ports);
      t.after(() => balancer.stop());
      const pipeline = new Pipeline({ publicUrl: balancer.url });
      await own.stop();
      const isReady = async (node) => (await fetch(`${node.adminUrl}/readyz`)).ok;
      await until('no node is ready', async () => !(await isReady(nodes[0])) && !(await isReady(nodes[1])));
      // For longer than the checks need to find it out: eight seconds of new streams.
      const end = Date.now() + 8000;
      while (Date.now() < end) {
        const retry = await retryOfNewStream(pipeline.streamUrl());
        assert.ok(retry < 5000);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    });
  }
});
