// Nothing collected is lost silently when the process ends.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { history, script } from './package_under_test.mjs';

describe('the end of the process', { timeout: 60_000 }, () => {
  let node;

  before(async () => {
    node = await PipecastNode.start();
  });
  after(() => node.kill());

  const sender = (pipeline, url = node.publicUrl) => `createSend({ url: '${url}', pipeline: '${pipeline.id}', retryFor: 300 })`;

  test('sends what nobody flushed', async () => {
    const pipeline = new Pipeline(node);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline)};
      send.sse({ channel: 'names', payload: 1 });
      // Later than the first such moment.
      process.once('beforeExit', () => setTimeout(() => send.sse({ channel: 'names', payload: 2 }), 100));
    `);
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual((await history(pipeline)).map(({ payload }) => payload), [1, 2]);
  });

  test('complains about what nobody takes, and is a failure', async () => {
    const pipeline = new Pipeline(node);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline, 'http://127.0.0.1:1025')};
      for (const n of [1, 2, 3]) send.sse({ channel: 'names', payload: n });
    `);
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`^pipecast: 3 events for pipeline ${pipeline.id}: .*ECONNREFUSED`));
    assert.match(stderr, /^pipecast: 3 events for pipeline .* not sent$/m);
  });

  test('complains about what the node refuses, and sends the rest', async (t) => {
    const strict = await PipecastNode.start({ settings: { 'limits.event': '100B' } });
    t.after(() => strict.kill());
    const pipeline = new Pipeline(strict);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline, strict.publicUrl)};
      send.sse({ channel: 'names', payload: 'x'.repeat(200) });
      for (let n = 0; n < 999; n += 1) send.sse({ channel: 'names', payload: n });
      send.sse({ channel: 'names', payload: 'rest' });
    `);
    assert.equal(code, 1);
    assert.match(stderr, /^pipecast: 1000 events for pipeline .*: 413: .*limits\.event/);
    assert.deepEqual((await history(pipeline)).map(({ payload }) => payload), ['rest']);
  });

  test('is told of by a warning where it comes too suddenly to send', async () => {
    const pipeline = new Pipeline(node);
    const { code, stderr } = await script(`
      const send = ${sender(pipeline)};
      send.sse({ channel: 'names', payload: 1 });
      process.exit(3);
    `);
    assert.equal(code, 3);
    assert.equal(stderr, `pipecast: 1 event for pipeline ${pipeline.id} not sent\n`);
    assert.deepEqual(await history(pipeline), []);
  });
});
