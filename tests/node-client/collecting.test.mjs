// What `send.sse` accepts, what it throws, and what a flush sends.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { createSend, PublishError, Publisher } from '../../clients/node/index.mjs';
import { PipecastNode } from '../support/node.mjs';
import { hostile, large, texts } from '../support/payloads.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { errorNaming } from './error_naming.mjs';
import { requests } from './package_under_test.mjs';

describe('collected events', { timeout: 60_000 }, () => {
  let node;
  let pipeline;
  let send;

  before(async () => {
    node = await PipecastNode.start();
  });
  after(() => node.kill());

  const begin = (url = node.publicUrl) => {
    pipeline = new Pipeline(node);
    send = createSend({ url, pipeline: pipeline.id });
  };

  test('arrive in order with their ids, and only after the flush', async () => {
    begin();
    for (const n of range(0, 20)) send.sse({ channel: `channel ${n % 3}`, payload: { n } });
    assert.equal(send.unsent, 20);
    assert.deepEqual(await pipeline.history(), []);
    const sent = await send.flush();
    assert.equal(send.unsent, 0);
    assert.deepEqual(await pipeline.history(), sent);
    assert.deepEqual(sent.map(({ payload }) => payload.n), range(0, 20));
    assert.deepEqual(await send.flush(), []);
  });

  test('arrive as they were at the call', async () => {
    begin();
    const payload = { name: 'Luke', friends: ['Han'], born: new Date(0) };
    send.sse({ channel: 'names', payload });
    payload.name = 'Darth';
    payload.friends.push('Leia');
    await send.flush();
    const [event] = await pipeline.history();
    assert.deepEqual(event.payload, { name: 'Luke', friends: ['Han'], born: '1970-01-01T00:00:00.000Z' });
  });

  test('arrive unchanged, whatever they contain', async () => {
    begin();
    const payloads = [...Object.values(texts), ...Object.values(hostile), large, 0, false, '', { left: undefined, right: 1 }];
    for (const payload of payloads) send.sse({ channel: 'names → 🙂', payload });
    await send.flush();
    const arrived = (await pipeline.history()).map((event) => event.payload);
    assert.deepEqual(arrived, JSON.parse(JSON.stringify(payloads)));
  });

  test('go out in as few requests as the limits allow', async (t) => {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    begin(proxy.url);
    for (const n of range(0, 2001)) send.sse({ channel: 'names', payload: n });
    const sent = await send.flush();
    assert.deepEqual(sent.map(({ payload }) => payload), range(0, 2001));
    assert.equal(requests(proxy), 3, '2,001 events, 1,000 per request');

    // Channel and payload may have 256 KiB together, of which two bytes are quotes. 15 such events fit into 4 MiB, 16 do not.
    const payload = 'x'.repeat(256 * 1024 - 'names'.length - 2);
    for (const _ of range(0, 16)) send.sse({ channel: 'names', payload });
    assert.equal((await send.flush()).length, 16);
    assert.equal(requests(proxy), 5);
    assert.throws(() => send.sse({ channel: 'names', payload: `${payload}x` }), errorNaming(RangeError, '262145', '262144'));
  });

  test('throw at the call when they are incomplete or invalid', () => {
    begin();
    const circular = { list: [{}] };
    circular.list[0].self = circular;
    const nested = (depth) => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
    const table = [
      [{ payload: 1 }, TypeError, 'channel'],
      [{ channel: null, payload: 1 }, TypeError, 'channel'],
      [{ channel: 'c' }, TypeError, 'payload'],
      [{ channel: 'c', payload: undefined }, TypeError, 'payload'],
      [undefined, TypeError, 'channel', 'payload'],
      [{ channel: 'c', payload: 1, id: 2 }, TypeError, '"id"'],
      [{ channel: 7, payload: 1 }, TypeError, 'channel', 'number'],
      [{ channel: '', payload: 1 }, RangeError, 'channel', '1-255'],
      [{ channel: 'é'.repeat(128), payload: 1 }, RangeError, 'channel', '255'],
      [{ channel: 'a\nb', payload: 1 }, RangeError, 'channel'],
      ...['\t', '\x1b', '\x7f', '\x80', '\x9b', '\x9f'].map((control) => [
        { channel: `a${control}[2J`, payload: 1 },
        RangeError, 'channel', `U+00${control.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
      ]),
      [{ channel: 'pipecast.gap', payload: 1 }, RangeError, 'channel', 'pipecast.'],
      [{ channel: 'error', payload: 1 }, RangeError, 'channel', 'error', 'EventSource'],
      [{ channel: 'open', payload: 1 }, RangeError, 'channel', 'open', 'EventSource'],
      [{ channel: '\ud800', payload: 1 }, RangeError, 'channel'],
      [{ channel: 'c', payload: circular }, TypeError, 'payload.list[0].self'],
      [{ channel: 'c', payload: { id: 1n } }, TypeError, 'payload.id', 'BigInt'],
      [{ channel: 'c', payload: 1n }, TypeError, 'payload', 'BigInt'],
      [{ channel: 'c', payload: { 'on click': () => {} } }, TypeError, 'payload["on click"]', 'function'],
      [{ channel: 'c', payload: () => {} }, TypeError, 'payload', 'function'],
      [{ channel: 'c', payload: new Error('e') }, TypeError, 'payload', 'Error'],
      [{ channel: 'c', payload: { why: [new RangeError('e')] } }, TypeError, 'payload.why[0]', 'Error'],
      [{ channel: 'c', payload: new Map([[1, 2]]) }, TypeError, 'payload', 'Map'],
      [{ channel: 'c', payload: { all: new Set([1]) } }, TypeError, 'payload.all', 'Set'],
      [{ channel: 'c', payload: [/x/] }, TypeError, 'payload[0]', 'RegExp'],
      [{ channel: 'c', payload: Promise.resolve(1) }, TypeError, 'payload', 'Promise'],
      [{ channel: 'c', payload: { at: new Date(NaN) } }, TypeError, 'payload.at', 'Date'],
      [{ channel: 'c', payload: new Date('x') }, TypeError, 'payload', 'Date'],
      [{ channel: 'c', payload: new ArrayBuffer(8) }, TypeError, 'payload', 'ArrayBuffer'],
      [{ channel: 'c', payload: new DataView(new ArrayBuffer(8)) }, TypeError, 'payload', 'DataView'],
      [{ channel: 'c', payload: new URLSearchParams('a=1') }, TypeError, 'payload', 'URLSearchParams'],
      ...['Headers', 'FormData']
        .filter((name) => name in globalThis)
        .map((name) => [{ channel: 'c', payload: { it: new globalThis[name]() } }, TypeError, 'payload.it', name]),
      [{ channel: 'c', payload: [Symbol('s')] }, TypeError, 'payload[0]', 'symbol'],
      [{ channel: 'c', payload: [1, undefined] }, TypeError, 'payload[1]', 'undefined'],
      [{ channel: 'c', payload: { n: NaN } }, TypeError, 'payload.n', 'NaN'],
      [{ channel: 'c', payload: nested(129) }, RangeError, '128'],
    ];
    for (const [event, Class, ...words] of table) assert.throws(() => send.sse(event), errorNaming(Class, ...words), words.join());
    const shared = { n: 1 };
    assert.doesNotThrow(() => send.sse({ channel: 'c', payload: [shared, shared, { shared }] }), 'twice is not circular');
    assert.doesNotThrow(() => send.sse({ channel: 'c', payload: nested(128) }));
    assert.equal(send.unsent, 2);
    return send.flush();
  });

  test('are handed back when the node rejects them', async (t) => {
    const strict = await PipecastNode.start({ settings: { 'limits.max_event_size': '100B' } });
    t.after(() => strict.kill());
    const own = new Pipeline(strict);
    const sender = createSend({ url: strict.publicUrl, pipeline: own.id });
    sender.sse({ channel: 'names', payload: 'x'.repeat(200) });
    const flushing = sender.flush();
    await assert.rejects(flushing, (error) => {
      assert.ok(error instanceof PublishError);
      assert.equal(error.status, 413);
      assert.match(error.detail, /limits\.max_event_size/);
      assert.deepEqual([error.isKept, error.isUncertain], [false, false]);
      assert.deepEqual(error.events, [{ channel: 'names', payload: 'x'.repeat(200) }]);
      return true;
    });
    assert.equal(sender.unsent, 0);
    sender.sse({ channel: 'names', payload: 'short' });
    assert.equal((await sender.flush()).length, 1);
  });

  test('are sent once by overlapping flushes', async () => {
    begin();
    send.sse({ channel: 'names', payload: 1 });
    const first = send.flush();
    send.sse({ channel: 'names', payload: 2 });
    const flushed = await Promise.all([first, send.flush(), send.flush()]);
    assert.deepEqual(flushed.flat().map(({ payload }) => payload), [1, 2]);
    assert.equal((await pipeline.history()).length, 2);
  });

  test('arrive in the order of calls to a publisher', async () => {
    begin();
    const publisher = new Publisher({ url: node.publicUrl, pipeline: pipeline.id });
    const ids = await Promise.all(range(0, 20).map((n) => publisher.publish('names', { n })));
    const events = await pipeline.history();
    assert.deepEqual(events, ids.map((id, n) => ({ id, channel: 'names', payload: { n } })));
    await assert.rejects(publisher.publish('names'), errorNaming(TypeError, 'payload'));
    await assert.rejects(publisher.publish(undefined, 1), errorNaming(TypeError, 'channel'));
  });

  test('need valid options, whose errors have no secrets', () => {
    const check = (options, named) => {
      assert.throws(() => createSend({ url: 'http://127.0.0.1:1', pipeline: 'p', ...options }), (error) => {
        assert.doesNotMatch(error.message, /hunter2/);
        return errorNaming(Error, named)(error);
      });
    };
    check({ pipeline: undefined }, 'pipeline');
    check({ pipeline: 'a/b' }, 'a/b');
    check({ url: 'nowhere' }, 'url');
    check({ url: 'ftp://x' }, 'http');
    check({ url: 'http://me:hunter2@x' }, 'url');
    check({ url: 'http://x/?token=hunter2' }, 'url');
    check({ token: 'hunter2\n' }, 'token');
    check({ timeout: 0 }, 'timeout');
    check({ retryFor: 3_600_000 }, 'retryFor');
  });
});
