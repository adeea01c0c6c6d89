// Streams in a page of another origin.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { hostile, large, numbers, texts } from '../support/payloads.mjs';
import { Pipeline, numbersIn, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { launchChromium } from './chromium.mjs';
import { Listener } from './listener.mjs';
import { Origin } from './origin.mjs';

const sample = (host) => `<!doctype html><link rel="icon" href="data:,">
<script>
const eventSource = new EventSource("http://${host}/pipelines/p_aBcDeF/sse");
eventSource.addEventListener("cron_test", function (e) { console.log("New event from cron test event stream: ", e); });
</script>`;

describe('stream in Chromium', { concurrency: true, timeout: 60_000 }, () => {
  let chromium;
  let node;
  let origin;

  before(async () => {
    [chromium, node, origin] = await Promise.all([launchChromium(), PipecastNode.start(), Origin.start()]);
  });
  after(() => Promise.all([chromium.close(), node.kill(), origin.stop()]));

  // A page of another origin, with its own profile.
  async function openPage(t, url = origin.url) {
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  async function startProxy(t) {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    return proxy;
  }

  test('sample page of another origin logs kept and live events', async (t) => {
    const pipeline = new Pipeline(node, 'p_aBcDeF');
    const site = await Origin.start(sample(new URL(node.publicUrl).host));
    t.after(() => site.stop());
    const ids = await pipeline.publishBatch([['cron_test', { run: 1 }], ['unheard', 0], ['cron_test', { run: 2 }]]);

    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const logged = [];
    page.on('console', (message) => logged.push(message));
    await page.goto(site.url);
    await until('the kept events are logged', () => logged.length >= 2);
    ids.push(await pipeline.publish('cron_test', { run: 3 }));
    await until('the live event is logged', () => logged.length >= 3);

    const events = await Promise.all(
      logged.map((message) => message.args()[1].evaluate(({ type, data, lastEventId, origin: from }) => {
        return { type, data, lastEventId, from };
      })),
    );
    const expected = [[ids[0], 1], [ids[2], 2], [ids[3], 3]].map(([lastEventId, run]) => {
      return { type: 'cron_test', data: JSON.stringify({ run }), lastEventId, from: node.publicUrl };
    });
    assert.deepEqual(events, expected);
    for (const message of logged) assert.match(message.text(), /^New event from cron test event stream: /);
  });

  test('compressed stream delivers at once and survives its end', async (t) => {
    const settings = { 'stream.compression': 'true', 'stream.max_age': '3s' };
    const compressing = await PipecastNode.start({ settings });
    t.after(() => compressing.kill());
    const pipeline = new Pipeline(compressing);
    await pipeline.publishNumbers('names', 0, 5);
    const page = await openPage(t);
    const codings = [];
    page.on('response', (answer) => codings.push(answer.headers()['content-encoding']));
    const listener = await Listener.open(page, pipeline.streamUrl());
    await listener.holds(5);
    for (let n = 5; n < 20; n += 1) {
      await pipeline.publishNumbers('names', n, n + 1);
      await listener.holds(n + 1);
    }
    await pipeline.publish('names', large);
    const text = (await listener.holds(21))[20].data;
    assert.deepEqual(JSON.parse(text), large);
    await until('the browser has reconnected', () => codings.length >= 2);
    await pipeline.publishNumbers('names', 20, 25);
    const events = await listener.holds(26);
    assert.deepEqual(numbersIn(events.filter(({ data }) => data !== text)), range(0, 25));
    assert.deepEqual(new Set(codings), new Set(['gzip']));
  });

  test('stream opened as a page shows its events as text', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', { name: 'Ada' });
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(pipeline.streamUrl(), { waitUntil: 'commit' });
    const text = () => page.evaluate(() => document.body?.innerText ?? '');
    await until('the kept event is on the page', async () => (await text()).includes('data: {"name":"Ada"}'), text);
    const id = await pipeline.publish('names', { name: 'Grace' });
    const frame = `id: ${id}\nevent: names\ndata: {"name":"Grace"}`;
    await until('the live event is on the page', async () => (await text()).includes(frame), text);
  });

  test('payloads of every kind arrive unchanged', async (t) => {
    const pipeline = new Pipeline(node);
    const sent = [...Object.values(texts), ...Object.values(hostile), { texts, hostile }, large];
    const page = await openPage(t);
    await pipeline.publishBatch(sent.map((payload) => ['names', payload]));
    const listener = await Listener.open(page, pipeline.streamUrl());
    await listener.holds(sent.length);
    for (const payload of sent) await pipeline.publish('names', payload);
    const events = await listener.holds(2 * sent.length);
    assert.deepEqual(events.map((event) => JSON.parse(event.data)), [...sent, ...sent]);
  });

  test('numbers keep every digit', async (t) => {
    const pipeline = new Pipeline(node);
    const listener = await Listener.open(await openPage(t), pipeline.streamUrl());
    for (const number of numbers) await pipeline.publishText('names', number);
    const events = await listener.holds(numbers.length);
    assert.deepEqual(events.map((event) => event.data), numbers);
  });

  test('gap is reported once, before the kept events', async (t) => {
    const pipeline = new Pipeline(node);
    const proxy = await startProxy(t);
    const [old] = await pipeline.publishNumbers('names', 0, 1);
    await pipeline.publishBatch(range(1, 131).map((n) => ['names', { n }]));

    // Cut right after the gap: the browser must resume from there, without the same gap.
    proxy.cutAfter('"missed":30}\n\n');
    const page = await openPage(t);
    const listener = await Listener.open(page, pipeline.streamUrl(`?last_event_id=${old}`, proxy.url));
    await listener.holds(101);
    await pipeline.publishNumbers('names', 131, 132);
    const [gap, ...events] = await listener.holds(102);

    assert.equal(proxy.connections.length, 2);
    assert.equal(gap.channel, 'pipecast.gap');
    assert.deepEqual(JSON.parse(gap.data), { reason: 'trimmed', after: old, missed: 30 });
    assert.match(gap.id, /^\d+-\d+$/);
    assert.deepEqual(numbersIn(events), range(31, 132));
  });

  for (const past of [0, 3]) {
    test(`live-only stream cut before its first event resumes, after ${past}`, async (t) => {
      const pipeline = new Pipeline(node);
      const proxy = await startProxy(t);
      await pipeline.publishNumbers('names', 0, past);
      const page = await openPage(t);
      const listener = await Listener.open(page, pipeline.streamUrl('?replay=0', proxy.url));
      await until('the position is sent', () => proxy.connections[0]?.body.includes('\n\n'));
      proxy.refuse();
      proxy.cut();
      await pipeline.publishNumbers('names', past, past + 5);
      proxy.accept();
      await listener.holds(5);
      await pipeline.publishNumbers('names', past + 5, past + 6);
      const events = await listener.holds(6);
      assert.deepEqual(numbersIn(events), range(past, past + 6));
    });
  }
});
