// Compressed streams, read by generic clients, directly and through proxies with default settings.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { HttpProxy } from './http_proxy.mjs';
import { PipecastNode } from '../support/node.mjs';
import { large } from '../support/payloads.mjs';
import { Pipeline, numbersIn, range } from '../support/pipeline.mjs';
import { start } from '../support/processes.mjs';
import { open } from './program.mjs';

const eventsource = { command: [process.execPath, 'javascript/eventsource.mjs'] };

/** curl, which decompresses and prints every piece at once, into `child.text`; `child.complaint` has its errors. */
function curl(url) {
  const child = start('curl', ['--silent', '--show-error', '--no-buffer', '--compressed', url]);
  child.text = '';
  child.stdout.setEncoding('utf8').on('data', (part) => (child.text += part));
  child.complaint = '';
  child.stderr.setEncoding('utf8').on('data', (part) => (child.complaint += part));
  return child;
}

describe('compressed streams', { concurrency: true, timeout: 200_000 }, () => {
  let node;
  let endingNode;
  const ways = { 'directly from a node': undefined, 'through nginx': 'nginx', 'through HAProxy': 'haproxy' };

  before(async () => {
    const settings = { 'stream.compression': 'true', 'stream.keepalive': '1s' };
    [node, endingNode] = await Promise.all([
      PipecastNode.start({ settings }),
      PipecastNode.start({ settings: { ...settings, 'stream.max_age': '1s' } }),
    ]);
  });
  after(() => Promise.all([node.kill(), endingNode.kill()]));

  for (const [way, program] of Object.entries(ways)) {
    describe(way, { concurrency: true }, () => {
      // An address that leads to the node during the test.
      async function reach(t, target) {
        if (!program) return target.publicUrl;
        const proxy = await HttpProxy.start(program, target);
        t.after(() => proxy.stop());
        return proxy.url;
      }

      test('streams are gzip with Content-Encoding and Vary', async (t) => {
        const url = new Pipeline(node).streamUrl('', await reach(t, node));
        const abort = new AbortController();
        t.after(() => abort.abort());
        const answer = await fetch(url, { signal: abort.signal });
        assert.equal(answer.headers.get('content-encoding'), 'gzip');
        assert.match(answer.headers.get('vary'), /accept-encoding/i);
        const plain = await fetch(url, { signal: abort.signal, headers: { 'Accept-Encoding': 'identity' } });
        assert.equal(plain.headers.get('content-encoding'), null);
      });

      test('each event arrives before the next is published', async (t) => {
        const base = await reach(t, node);
        const pipeline = new Pipeline(node);
        await pipeline.publishNumbers('names', 0, 5);
        const inbox = open(eventsource, pipeline.streamUrl('', base));
        t.after(() => inbox.close());
        const reader = curl(pipeline.streamUrl('', base));
        t.after(() => reader.kill());
        for (let n = 5; n < 25; n += 1) {
          await pipeline.publishNumbers('names', n, n + 1);
          await inbox.holds(n + 1);
          await until(`curl shows event ${n}`, () => reader.text.includes(`{"n":${n},`), () => reader.text);
        }
        assert.deepEqual(numbersIn(inbox.events), range(0, 25));
        await pipeline.publish('names', large);
        await inbox.holds(26);
        assert.deepEqual(JSON.parse(inbox.events[25].data), large);
      });

      test('keepalives arrive without events', async (t) => {
        const reader = curl(new Pipeline(node).streamUrl('', await reach(t, node)));
        t.after(() => reader.kill());
        await until('two keepalives', () => reader.text.includes(':keepalive\n\n:keepalive\n\n'), () => reader.text);
      });

      test('streams ended by the node are complete and continued', async (t) => {
        const base = await reach(t, endingNode);
        const pipeline = new Pipeline(endingNode);
        await pipeline.publishNumbers('names', 0, 5);
        const inbox = open(eventsource, pipeline.streamUrl('', base));
        t.after(() => inbox.close());
        const reader = curl(pipeline.streamUrl('', base));
        await reader.closed;
        assert.equal(reader.ending, 'exit 0', `${reader.complaint}${reader.text}`);
        assert.match(reader.text, /\n\nretry: \d+\n\n$/);
        await pipeline.publishNumbers('names', 5, 10);
        await inbox.holds(10);
        assert.deepEqual(numbersIn(inbox.events), range(0, 10));
      });
    });
  }
});
