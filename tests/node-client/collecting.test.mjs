// What `send.sse` takes, what it throws, and what a flush makes of it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { createSend, PublishError, Publisher } from '../../clients/node/index.mjs';
import { PipecastNode } from '../support/node.mjs';
import { hostile, large, texts } from '../support/payloads.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { history, requests } from './package_under_test.mjs';

describe('what is collected', { timeout: 60_000 }, () => {
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

  test('arrives in order, each event with its id, and nothing before the flush', async () => {
    begin();
    for (const n of range(0, 20)) send.sse({ channel: `channel ${n % 3}`, payload: { n } });
    assert.equal(send.unsent, 20);
    assert.deepEqual(await history(pipeline), []);
    const sent = await send.flush();
    assert.equal(send.unsent, 0);
    assert.deepEqual(await history(pipeline), sent);
    assert.deepEqual(sent.map(({ payload }) => payload.n), range(0, 20));
    assert.deepEqual(await send.flush(), []);
  });

  test('arrives as it was at the call', async () => {
    begin();
    const payload = { name: 'Luke', friends: ['Han'], born: new Date(0) };
    send.sse({ channel: 'names', payload });
    payload.name = 'Darth';
    payload.friends.push('Leia');
    await send.flush();
    const [event] = await history(pipeline);
    assert.deepEqual(event.payload, { name: 'Luke', friends: ['Han'], born: '1970-01-01T00:00:00.000Z' });
  });

  test('arrives unchanged, whatever it holds', async () => {
    begin();
    const payloads = [...Object.values(texts), ...Object.values(hostile), large, 0, false, '', { left: undefined, right: 1 }];
    for (const payload of payloads) send.sse({ channel: 'names → 🙂', payload });
    await send.flush();
    const arrived = (await history(pipeline)).map((event) => event.payload);
    assert.deepEqual(arrived, JSON.parse(JSON.stringify(payloads)));
  });

  test('goes in as few requests as the limits allow', async (t) => {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    begin(proxy.url);
    for (const n of range(0, 2001)) send.sse({ channel: 'names', payload: n });
    const sent = await send.flush();
    assert.deepEqual(sent.map(({ payload }) => payload), range(0, 2001));
    assert.equal(requests(proxy), 3, '2,001 events, 1,000 a request');

    // 256 KiB is the most for channel and payload, of which two bytes are quotes. 15 such lines fit into 4 MiB, 16 do not.
    const payload = 'x'.repeat(256 * 1024 - 'names'.length - 2);
    for (const _ of range(0, 16)) send.sse({ channel: 'names', payload });
    assert.equal((await send.flush()).length, 16);
    assert.equal(requests(proxy), 5);
    assert.throws(() => send.sse({ channel: 'names', payload: `${payload}x` }), /262145 bytes, more than 262144/);
  });

  test('throws at the call for what is missing or cannot be sent, and keeps nothing of it', () => {
    begin();
    const circular = { list: [{}] };
    circular.list[0].self = circular;
    const nested = (depth) => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
    const table = [
      [{ payload: 1 }, /channel is missing/],
      [{ channel: null, payload: 1 }, /channel is missing/],
      [{ channel: 'c' }, /payload is missing/],
      [{ channel: 'c', payload: undefined }, /payload is missing/],
      [undefined, /an event is an object/],
      [{ channel: 'c', payload: 1, id: 2 }, /"id" is neither/],
      [{ channel: 7, payload: 1 }, /channel must be a string, not number/],
      [{ channel: '', payload: 1 }, /channel is empty/],
      [{ channel: 'é'.repeat(128), payload: 1 }, /channel is longer than 255 bytes/],
      [{ channel: 'a\nb', payload: 1 }, /channel contains a line break/],
      ...['\t', '\x1b', '\x7f', '\x80', '\x9b', '\x9f'].map((control) => [
        { channel: `a${control}[2J`, payload: 1 },
        new RegExp(`^RangeError: channel contains the control character U\\+00${control.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`),
      ]),
      [{ channel: 'pipecast.gap', payload: 1 }, /channel begins with "pipecast."/],
      [{ channel: 'error', payload: 1 }, /channel is "error", which EventSource uses/],
      [{ channel: 'open', payload: 1 }, /channel is "open", which EventSource uses/],
      [{ channel: '\ud800', payload: 1 }, /half a character/],
      [{ channel: 'c', payload: circular }, /^TypeError: payload\.list\[0\]\.self is circular/],
      [{ channel: 'c', payload: { id: 1n } }, /^TypeError: payload\.id is a BigInt/],
      [{ channel: 'c', payload: 1n }, /^TypeError: payload is a BigInt/],
      [{ channel: 'c', payload: { 'on click': () => {} } }, /^TypeError: payload\["on click"\] is a function/],
      [{ channel: 'c', payload: () => {} }, /^TypeError: payload is a function/],
      [{ channel: 'c', payload: new Error('e') }, /^TypeError: payload is an Error, .*; send its message/],
      [{ channel: 'c', payload: { why: [new RangeError('e')] } }, /^TypeError: payload\.why\[0\] is an Error/],
      [{ channel: 'c', payload: new Map([[1, 2]]) }, /^TypeError: payload is a Map/],
      [{ channel: 'c', payload: { all: new Set([1]) } }, /^TypeError: payload\.all is a Set/],
      [{ channel: 'c', payload: [/x/] }, /^TypeError: payload\[0\] is a RegExp/],
      [{ channel: 'c', payload: Promise.resolve(1) }, /^TypeError: payload is a Promise, .*; send what it resolves to/],
      [{ channel: 'c', payload: { at: new Date(NaN) } }, /^TypeError: payload\.at is an invalid Date/],
      [{ channel: 'c', payload: new Date('x') }, /^TypeError: payload is an invalid Date/],
      [{ channel: 'c', payload: new ArrayBuffer(8) }, /^TypeError: payload is an ArrayBuffer/],
      [{ channel: 'c', payload: new DataView(new ArrayBuffer(8)) }, /^TypeError: payload is a DataView/],
      [{ channel: 'c', payload: new URLSearchParams('a=1') }, /^TypeError: payload is a URLSearchParams/],
      ...['Headers', 'FormData']
        .filter((name) => name in globalThis)
        .map((name) => [{ channel: 'c', payload: { it: new globalThis[name]() } }, new RegExp(`^TypeError: payload\\.it is a ${name}`)]),
      [{ channel: 'c', payload: [Symbol('s')] }, /^TypeError: payload\[0\] is a symbol/],
      [{ channel: 'c', payload: [1, undefined] }, /^TypeError: payload\[1\] is undefined/],
      [{ channel: 'c', payload: { n: NaN } }, /^TypeError: payload\.n is NaN/],
      [{ channel: 'c', payload: nested(129) }, /nested deeper than 128/],
    ];
    for (const [event, expected] of table) assert.throws(() => send.sse(event), expected, String(expected));
    const shared = { n: 1 };
    assert.doesNotThrow(() => send.sse({ channel: 'c', payload: [shared, shared, { shared }] }), 'twice is not circular');
    assert.doesNotThrow(() => send.sse({ channel: 'c', payload: nested(128) }));
    assert.equal(send.unsent, 2);
    return send.flush();
  });

  test('is handed back when the node refuses it, and what stands behind it stays', async (t) => {
    const strict = await PipecastNode.start({ settings: { 'limits.event': '100B' } });
    t.after(() => strict.kill());
    const own = new Pipeline(strict);
    const sender = createSend({ url: strict.publicUrl, pipeline: own.id });
    sender.sse({ channel: 'names', payload: 'x'.repeat(200) });
    const flushing = sender.flush();
    await assert.rejects(flushing, (error) => {
      assert.ok(error instanceof PublishError);
      assert.equal(error.status, 413);
      assert.match(error.detail, /limits\.event/);
      assert.deepEqual([error.isKept, error.isUncertain], [false, false]);
      assert.deepEqual(error.events, [{ channel: 'names', payload: 'x'.repeat(200) }]);
      return true;
    });
    assert.equal(sender.unsent, 0);
    sender.sse({ channel: 'names', payload: 'short' });
    assert.equal((await sender.flush()).length, 1);
  });

  test('is sent once by flushes that overlap', async () => {
    begin();
    send.sse({ channel: 'names', payload: 1 });
    const first = send.flush();
    send.sse({ channel: 'names', payload: 2 });
    const flushed = await Promise.all([first, send.flush(), send.flush()]);
    assert.deepEqual(flushed.flat().map(({ payload }) => payload), [1, 2]);
    assert.equal((await history(pipeline)).length, 2);
  });

  test('a publisher waits for each event and keeps the order of its calls', async () => {
    begin();
    const publisher = new Publisher({ url: node.publicUrl, pipeline: pipeline.id });
    const ids = await Promise.all(range(0, 20).map((n) => publisher.publish('names', { n })));
    const events = await history(pipeline);
    assert.deepEqual(events, ids.map((id, n) => ({ id, channel: 'names', payload: { n } })));
    await assert.rejects(publisher.publish('names'), /payload is missing/);
    await assert.rejects(publisher.publish(undefined, 1), /channel is missing/);
  });

  test('options that cannot work are told at once, without secrets', () => {
    const check = (options, expected) => {
      assert.throws(() => createSend({ url: 'http://127.0.0.1:1', pipeline: 'p', ...options }), (error) => {
        assert.match(error.message, expected);
        assert.doesNotMatch(error.message, /hunter2/);
        return true;
      });
    };
    check({ pipeline: undefined }, /pipeline is missing/);
    check({ pipeline: 'a/b' }, /1-128 characters/);
    check({ url: 'nowhere' }, /url must be that of a node/);
    check({ url: 'ftp://x' }, /http:\/\/ or https/);
    check({ url: 'http://me:hunter2@x' }, /no user and password/);
    check({ url: 'http://x/?token=hunter2' }, /no \?/);
    check({ token: 'hunter2\n' }, /the token is none/);
    check({ timeout: 0 }, /timeout/);
    check({ retryFor: 3_600_000 }, /retryFor/);
  });
});
