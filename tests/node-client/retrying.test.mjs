// Nodes that crash, answer late or never, or reject: each event arrives once, in order, or the publisher gets an error.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { createSend, Publisher, PublishError } from '../../clients/node/index.mjs';
import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { numbersIn, Pipeline, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Reader } from '../support/reader.mjs';
import { RedisServer } from '../support/redis.mjs';
import { WebServer } from '../support/web_server.mjs';
import { errorNaming } from './error_naming.mjs';
import { pipecastRun, requests, script, step } from './package_under_test.mjs';

// Nothing listens there, and fetch does not block this port.
const REFUSED = 'http://127.0.0.1:1025';

/** A web server that answers each request with the next of `answers`, and repeats the last one. */
async function serve(t, ...answers) {
  const server = await WebServer.start((request, response) => {
    request.resume().on('end', () => {
      served.keys.push(request.headers['idempotency-key']);
      const [status, headers = {}, body = ''] = answers.length > 1 ? answers.shift() : answers[0];
      response.writeHead(status, headers).end(body);
    });
  });
  const served = { keys: [], url: server.url };
  t.after(() => server.stop());
  return served;
}

const accepted = [202, { 'Content-Type': 'application/json' }, '{"ids":["1-1"]}'];

describe('two nodes on one Redis', { timeout: 60_000 }, () => {
  let redis;
  let survivor;

  before(async () => {
    redis = await RedisServer.start();
    survivor = await PipecastNode.start({ redis });
  });
  after(() => Promise.all([survivor.kill(), redis.stop()]));

  test('node killed during a flush loses and duplicates nothing', async (t) => {
    const total = 20_000;
    const victim = await PipecastNode.start({ redis });
    t.after(() => victim.kill());
    const proxy = await Proxy.start(victim);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(survivor);
    const reader = await Reader.open(pipeline.streamUrl());
    t.after(() => reader.close());
    const arrived = reader.events;
    const send = createSend({ url: [proxy.url, survivor.publicUrl], pipeline: pipeline.id });
    for (const n of range(0, total)) send.sse({ channel: 'names', payload: { n } });

    const flushing = send.flush();
    await until('the flush is under way', () => arrived.length >= 3000, () => `${arrived.length} arrived`);
    await victim.kill();
    const before = arrived.length;
    const sent = await flushing;
    assert.ok(before < total, 'the node must be killed before the end');
    assert.ok(requests(proxy) > 0);
    await until('all have arrived', () => arrived.length >= total, () => `${arrived.length} arrived`);

    assert.deepEqual(arrived.filter(({ event }) => event !== 'names'), []);
    assert.deepEqual(numbersIn(arrived), range(0, total));
    assert.deepEqual(sent.map(({ payload }) => payload.n), range(0, total));
    const seqs = sent.map(({ id }) => Number(id.split('-')[1]));
    assert.deepEqual(seqs, range(seqs[0], seqs[0] + total), 'each event is stored once');
  });

  test('node killed after storing duplicates nothing', async (t) => {
    const victim = await PipecastNode.start({ redis });
    t.after(() => victim.kill());
    const proxy = await Proxy.start(victim);
    t.after(() => proxy.stop());
    proxy.silence();
    const pipeline = new Pipeline(survivor);
    const send = createSend({ url: [proxy.url, survivor.publicUrl], pipeline: pipeline.id });
    for (const n of range(0, 5)) send.sse({ channel: 'names', payload: n });
    const flushing = send.flush();
    await until('the request is stored', async () => (await pipeline.history()).length === 5);
    await victim.kill();
    assert.deepEqual(await flushing, await pipeline.history());
  });

  test('another node is asked when one never answers', async (t) => {
    const proxy = await Proxy.start(survivor);
    t.after(() => proxy.stop());
    proxy.silence();
    const pipeline = new Pipeline(survivor);
    const options = { url: [proxy.url, survivor.publicUrl], pipeline: pipeline.id, timeout: 500 };
    const id = await new Publisher(options).publish('names', 1);
    assert.equal(requests(proxy), 1);
    assert.deepEqual(await pipeline.history(), [{ id, channel: 'names', payload: 1 }]);
  });

  test('addresses may be one text, the first one unreachable', async () => {
    const pipeline = new Pipeline(survivor);
    const publisher = new Publisher({ url: `${REFUSED}, ${survivor.publicUrl}/`, pipeline: pipeline.id });
    await publisher.publish('names', 1);
    assert.equal((await pipeline.history()).length, 1);
  });

  test('events stay collected while Redis is unreachable', async (t) => {
    const own = await RedisServer.start();
    t.after(() => own.stop());
    const node = await PipecastNode.start({ redis: own, settings: { 'redis.timeout': '300ms' } });
    t.after(() => node.kill());
    await own.stop();
    const { code, stdout, stderr } = await script(`
      const send = createSend({ url: '${node.publicUrl}', pipeline: 'p', retryFor: 300 });
      send.sse({ channel: 'names', payload: 1 });
      const error = await send.flush().catch((error) => error);
      const { status, isKept, isUncertain, events } = error;
      console.log(JSON.stringify([status, isKept, isUncertain, events, send.unsent]));
    `);
    assert.deepEqual(JSON.parse(stdout), [503, true, true, [{ channel: 'names', payload: 1 }], 1]);
    assert.match(stderr, /\b1\b.*\bp\b/);
    assert.equal(code, 1);
  });
});

describe('one node', { timeout: 60_000 }, () => {
  test('gets all events after it was killed and restarted', async (t) => {
    const node = await PipecastNode.start();
    t.after(() => node.kill());
    const pipeline = new Pipeline(node);
    const send = createSend({ url: node.publicUrl, pipeline: pipeline.id });
    await node.kill();
    for (const n of range(0, 10)) send.sse({ channel: 'names', payload: n });
    const flushing = send.flush();
    await node.restart();
    assert.deepEqual(await flushing, await pipeline.history());
  });

  test('has events once when they were repeated after a timeout', async (t) => {
    const node = await PipecastNode.start();
    t.after(() => node.kill());
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    proxy.silence();
    const pipeline = new Pipeline(node);
    const send = createSend({ url: proxy.url, pipeline: pipeline.id, timeout: 300, retryFor: 300 });
    for (const n of range(0, 3)) send.sse({ channel: 'names', payload: n });
    await assert.rejects(send.flush(), (error) => {
      assert.deepEqual([error.isKept, error.isUncertain, error.status], [true, true, undefined]);
      return true;
    });
    assert.equal(send.unsent, 3);
    send.sse({ channel: 'names', payload: 3 });
    proxy.speak();
    const sent = await send.flush();
    assert.deepEqual(sent.map(({ payload }) => payload), range(0, 4));
    assert.deepEqual(await pipeline.history(), sent);
  });

  test('is asked again when the connection breaks', async (t) => {
    const node = await PipecastNode.start();
    t.after(() => node.kill());
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(node);
    proxy.cutAfter('HTTP/1.1 202');
    const id = await new Publisher({ url: proxy.url, pipeline: pipeline.id }).publish('names', 1);
    assert.equal(requests(proxy), 2);
    assert.deepEqual(await pipeline.history(), [{ id, channel: 'names', payload: 1 }]);
  });

  test('is asked again after the wait of its rate limit', async (t) => {
    const node = await PipecastNode.start({ settings: { 'limits.publish_rate_per_publisher': '1/s' } });
    t.after(() => node.kill());
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(node);
    const publisher = new Publisher({ url: proxy.url, pipeline: pipeline.id });
    for (const n of range(0, 3)) await publisher.publish('names', n);
    assert.deepEqual((await pipeline.history()).map(({ payload }) => payload), range(0, 3));
    const refusals = proxy.connections.map(({ answer }) => answer).join('').match(/^HTTP\/1.1 429/gm) ?? [];
    assert.ok(refusals.length > 0, 'a request must be rejected');
    assert.ok(refusals.length <= 4, `it retried too early: ${refusals.length} rejections`);
  });
});

describe('answers', { timeout: 60_000 }, () => {
  const publish = (url, options = {}) => new Publisher({ url, pipeline: 'p', ...options }).publish('names', 1);

  for (const status of [408, 429, 502, 503, 504]) {
    test(`request is repeated with its key after ${status}`, async (t) => {
      const served = await serve(t, [status], accepted);
      assert.equal(await publish(served.url), '1-1');
      assert.equal(served.keys.length, 2);
      assert.equal(served.keys[0], served.keys[1]);
      assert.match(served.keys[0], /^[\x21-\x7e]{1,255}$/);
    });
  }

  for (const status of [200, 301, 307, 400, 401, 403, 404, 413, 415, 422, 500]) {
    test(`${status} is an error at once`, async (t) => {
      const headers = { Location: '/elsewhere', 'Content-Type': 'application/problem+json' };
      const served = await serve(t, [status, headers, '{"detail":"do something else"}'], accepted);
      await assert.rejects(publish(served.url), (error) => {
        assert.deepEqual([error.status, error.detail], [status, 'do something else']);
        assert.equal(error.isKept, false);
        return true;
      });
      assert.equal(served.keys.length, 1);
    });
  }

  test('only ids are an acknowledgement, one for each event', async (t) => {
    for (const body of ['<html>Back soon</html>', '{}', '{"ids":[]}', '{"ids":["queued"]}', '{"ids":["1-1","1-2"]}', '{"ids":[11]}', '{"id":"1-1"}']) {
      const served = await serve(t, [202, {}, body], accepted);
      assert.equal(await publish(served.url), '1-1', body);
      assert.equal(new Set(served.keys).size, 1);
      assert.equal(served.keys.length, 2);
    }
    const page = await serve(t, [200, { 'Content-Type': 'text/html' }, '<html>Back soon</html>']);
    await assert.rejects(publish(page.url), { name: 'PublishError', status: 200 });
  });

  test('redirects are named without secrets, and not followed', async (t) => {
    for (const [location, named] of [
      ['https://me:hunter2@other.example/x?token=hunter2', 'https://other.example'],
      ['/elsewhere', 'http://127.0.0.1:'],
      ['http://[broken', ''],
    ]) {
      const served = await serve(t, [302, { Location: location }], accepted);
      await assert.rejects(publish(served.url), (error) => {
        assert.equal(error.status, 302);
        assert.ok(error.message.includes(named), error.message);
        assert.ok(!error.message.includes('hunter2'), error.message);
        return true;
      });
      assert.equal(served.keys.length, 1);
    }
  });

  test('command reports once that it retries', async (t) => {
    const ids = JSON.stringify({ ids: ['1-1', '1-2', '1-3', '1-4'] });
    const served = await serve(t, [503], [503], [202, {}, ids]);
    const { code, stderr } = await pipecastRun([step('names.mjs'), '--url', served.url, '--pipeline', 'p']);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^[^\n]*503[^\n]*retrying\n$/);
  });

  test('text from an answer is inert in a terminal', async (t) => {
    const detail = '\x1b]0;title\x07\x9b2J\x7f\r\npipecast: all is well\u202e\u2066';
    const shown = '\\u001b]0;title\\u0007\\u009b2J\\u007f\\u000d\\u000apipecast: all is well\\u202e\\u2066';
    const served = await serve(t, [400, {}, JSON.stringify({ detail })]);
    await assert.rejects(publish(served.url), (error) => {
      assert.equal(error.detail, detail);
      assert.ok(error.message.endsWith(shown), error.message);
      return true;
    });
    const { code, stderr } = await pipecastRun([step('names.mjs'), '--url', served.url, '--pipeline', 'p']);
    assert.equal(code, 1);
    assert.ok(stderr.endsWith(`${shown}\n`), JSON.stringify(stderr));
    assert.equal(stderr.split('\n').length, 2);
  });

  for (const status of [202, 400, 503]) {
    test(`only the beginning of an endless ${status} is read`, async (t) => {
      const MOST = 256 * 1024 * 1024;
      const piece = Buffer.alloc(64 * 1024, 'x');
      let sent = 0;
      const server = await WebServer.start((request, response) => {
        response.on('error', () => {});
        response.writeHead(status, { 'Content-Type': 'application/problem+json' });
        const write = () => {
          while (!response.destroyed && sent < MOST && response.write(piece)) sent += piece.length;
          if (sent >= MOST) response.end();
        };
        request.resume().on('end', write);
        response.on('drain', write);
      });
      t.after(() => server.stop());
      const error = await publish(server.url, { retryFor: 1 }).then(assert.fail, (error) => error);
      assert.ok(error instanceof PublishError, error);
      assert.equal(error.isUncertain, status !== 400);
      assert.ok(sent < MOST / 4, `${sent} bytes`);
    });
  }

  test('retries wait as long as Retry-After', async (t) => {
    const served = await serve(t, [503, { 'Retry-After': '1' }], accepted);
    // This test is about the length of the wait.
    const began = Date.now();
    await publish(served.url);
    assert.ok(Date.now() - began >= 1000, `${Date.now() - began} ms`);
    const dated = await serve(t, [429, { 'Retry-After': new Date(Date.now() + 2500).toUTCString() }], accepted);
    const begun = Date.now();
    await publish(dated.url);
    assert.ok(Date.now() - begun >= 1000, `${Date.now() - begun} ms`);
  });

  test('Retry-After beyond the retry time is an error at once', async (t) => {
    const served = await serve(t, [429, { 'Retry-After': '3600' }, '{"detail":"slowly"}'], accepted);
    await assert.rejects(publish(served.url), { name: 'PublishError', status: 429, detail: 'slowly' });
    assert.equal(served.keys.length, 1);
  });

  test('unreachable address is an error: certainly not sent', async () => {
    await assert.rejects(publish(REFUSED, { retryFor: 500 }), (error) => {
      assert.equal(error.isUncertain, false);
      assert.deepEqual(error.events, [{ channel: 'names', payload: 1 }]);
      return errorNaming(PublishError, REFUSED, 'ECONNREFUSED')(error);
    });
  });
});
