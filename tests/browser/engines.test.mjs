// The inspector's main functions in three engines.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Chromium, Firefox, WebKit } from './engines.mjs';
import { hostileEvents } from './hostile.mjs';

for (const Engine of [Chromium, Firefox, WebKit]) {
  describe(`inspector in ${Engine.name}`, { timeout: 90_000 }, () => {
    let engine;
    let node;

    before(async () => {
      [engine, node] = await Promise.all([Engine.start(), PipecastNode.start()]);
    });
    after(() => Promise.all([engine?.stop(), node?.kill()]));

    const open = (pipeline, base = node.publicUrl) => engine.open(`${base}/pipelines/${pipeline.id}`);

    // The rows of the list, newest first.
    const rows = () => engine.evaluate(() => [...document.querySelectorAll('#events > li')].map((item) => {
      const text = (selector) => item.querySelector(selector)?.textContent;
      return { kind: item.classList.contains('replayed') ? 'replayed' : item.className.replace('new', '').trim() || 'live',
        channel: text('.channel'), preview: text('.preview'), text: item.textContent };
    }));
    const shows = (count) => {
      let list = [];
      return until(`${count} rows`, async () => (list = await rows()).length >= count && list, () => JSON.stringify(list));
    };
    const state = () => engine.evaluate(() => document.querySelector('#state').dataset.state);
    const isOpen = () => until('the stream is open', async () => (await state()) === 'open', state);

    test('publishes with its form, and marks replayed events', async () => {
      const pipeline = new Pipeline(node);
      await pipeline.publish('orders', { order: 1 });
      await open(pipeline);
      await shows(1);
      await engine.fill('#channel', 'names');
      await engine.fill('#payload', '{"id": 12345678901234567890}');
      await engine.click('#publish .primary');
      const list = await shows(2);
      const shown = list.map(({ kind, channel, preview }) => [kind, channel, preview]);
      assert.deepEqual(shown, [['live', 'names', '{"id":12345678901234567890}'], ['replayed', 'orders', '{"order":1}']]);
      const result = await engine.evaluate(() => document.querySelector('#result').textContent);
      assert.match(result, /\b\d+-2$/);
    });

    test('resumes after a cut, on channels that are new to it', async (t) => {
      const pipeline = new Pipeline(node);
      const proxy = await Proxy.start(node);
      t.after(() => proxy.stop());
      await open(pipeline, proxy.url);
      await isOpen();
      const first = await pipeline.publish('names', 1);
      await shows(1);
      proxy.refuse();
      proxy.cut();
      await until('the stream is lost', async () => (await state()) === 'reconnecting', state);
      await pipeline.publishBatch([['never heard', 2], ['names', 3]]);
      proxy.accept();
      const list = await shows(4);
      assert.deepEqual(list.map(({ kind, preview }) => [kind, preview ?? '']), [
        ['replayed', '3'], ['replayed', '2'], ['note', ''], ['live', '1'],
      ]);
      assert.match(list[2].text, new RegExp(first));
      assert.equal(await engine.evaluate(() => document.querySelector('#reconnects').textContent), '1');
    });

    test('opens a pipeline from the start page, and lists it there', async () => {
      const pipeline = new Pipeline(node);
      await engine.open(node.publicUrl);
      const text = (selector) => engine.evaluate((found) => document.querySelector(found).innerText, selector);
      await until('the script ran', async () => (await text('#node')) === node.publicUrl);
      await engine.click('[role="tab"]:last-child');
      assert.match(await text('[role="tabpanel"]:not([hidden])'), /net\/http/);
      await engine.fill('#pipeline', pipeline.id);
      await engine.click('#open button');
      await until('the inspector is there', () => engine.evaluate(() => Boolean(document.querySelector('#state'))).catch(() => false));
      await isOpen();
      await engine.open(node.publicUrl);
      await until('it is listed', async () => (await text('#recent')).includes(pipeline.id));
      assert.deepEqual(engine.complaints, []);
    });

    test('shows hostile payloads and channels as text', async () => {
      const pipeline = new Pipeline(node);
      await pipeline.publishBatch(hostileEvents);
      await open(pipeline);
      const list = await shows(hostileEvents.length);
      await engine.evaluate(() => document.querySelectorAll('#events summary').forEach((summary) => summary.click()));
      await until('all are unfolded', () => engine.evaluate((count) => document.querySelectorAll('#events pre').length === count, list.length));
      const found = await engine.evaluate(() => ({
        ran: globalThis.ran ?? null,
        intruders: document.querySelectorAll('img, iframe, main script, main style, main svg, #events a').length,
        texts: [...document.querySelectorAll('#events pre')].map((pre) => pre.textContent).reverse(),
      }));
      assert.equal(found.ran, null);
      assert.equal(found.intruders, 0);
      assert.deepEqual(found.texts.map((text) => JSON.parse(text)), hostileEvents.map(([, payload]) => payload));
      for (const { text } of list) assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069\u200e\u200f]/);
      assert.deepEqual(engine.complaints, []);
    });
  });
}
