// When the process ends, collected events are sent or reported.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { script } from './package_under_test.mjs';

describe('process end', { timeout: 60_000 }, () => {
  let node;

  before(async () => {
    node = await PipecastNode.start();
  });
  after(() => node.kill());

  const sender = (pipeline, url = node.publicUrl) => `createSend({ url: '${url}', pipeline: '${pipeline.id}', retryFor: 300 })`;

  test('sends events that were never flushed', async () => {
    const pipeline = new Pipeline(node);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline)};
      send.sse({ channel: 'names', payload: 1 });
      // After the first flush at the end: a timer, whose time does not matter, brings another event.
      process.once('beforeExit', () => setTimeout(() => send.sse({ channel: 'names', payload: 2 }), 100));
    `);
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual((await pipeline.history()).map(({ payload }) => payload), [1, 2]);
  });

  test('reports unsent events and fails', async () => {
    const pipeline = new Pipeline(node);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline, 'http://127.0.0.1:1025')};
      for (const n of [1, 2, 3]) send.sse({ channel: 'names', payload: n });
    `);
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`\\b3\\b.*${pipeline.id}.*ECONNREFUSED`));
  });

  test('reports rejected events and sends the rest', async (t) => {
    const strict = await PipecastNode.start({ settings: { 'limits.max_event_size': '100B' } });
    t.after(() => strict.kill());
    const pipeline = new Pipeline(strict);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline, strict.publicUrl)};
      send.sse({ channel: 'names', payload: 'x'.repeat(200) });
      for (let n = 0; n < 999; n += 1) send.sse({ channel: 'names', payload: n });
      send.sse({ channel: 'names', payload: 'rest' });
    `);
    assert.equal(code, 1);
    assert.match(stderr, /\b1000\b.*\b413\b.*limits\.max_event_size/);
    assert.deepEqual((await pipeline.history()).map(({ payload }) => payload), ['rest']);
  });

  test('reports unsent events when it is too sudden to send', async () => {
    const pipeline = new Pipeline(node);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline)};
      send.sse({ channel: 'names', payload: 1 });
      process.exit(3);
    `);
    assert.equal(code, 3);
    assert.match(stderr, new RegExp(`^.*\\b1\\b.*${pipeline.id}.*\n$`));
    assert.deepEqual(await pipeline.history(), []);
  });
});
