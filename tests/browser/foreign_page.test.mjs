// Web pages that a developer visits while an open node runs on the same machine.

import assert from 'node:assert/strict';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';
import { Chromium, Firefox, WebKit } from './engines.mjs';
import { Origin } from './origin.mjs';

const PAGE = '<!doctype html><link rel="icon" href="data:,"><title>a page</title>';

// In the page: every way to publish or delete that a page has, and the outcomes.
function attack(events) {
  const body = '{"channel":"names","payload":"of a page"}';
  const json = { 'Content-Type': 'application/json' };
  const ask = (options) => fetch(events, options).then((answer) => answer.status || answer.type, (error) => error.name);
  window.outcome = undefined;
  Promise.all([
    ask({ method: 'POST', headers: json, body }),
    ask({ method: 'POST', body }),
    ask({ method: 'POST', mode: 'no-cors', body }),
    ask({ method: 'POST', body: new URLSearchParams({ channel: 'names' }), referrerPolicy: 'no-referrer' }),
    ask({ method: 'DELETE' }),
    ask({ method: 'PUT', headers: json, body }),
    navigator.sendBeacon(events, new Blob([body], { type: 'text/plain' })),
  ]).then((outcome) => {
    window.outcome = outcome;
  });
}

// In the page: reads the history, and the stream up to its first event.
function read([events, stream]) {
  window.outcome = undefined;
  const heard = new Promise((resolve, reject) => {
    const source = new EventSource(stream);
    source.onerror = () => reject(new Error('the stream failed'));
    source.addEventListener('names', (event) => {
      source.close();
      resolve(event.data);
    });
  });
  Promise.all([fetch(events).then((answer) => answer.text()), heard]).then(
    (outcome) => { window.outcome = outcome; },
    (error) => { window.outcome = String(error); },
  );
}

// Runs one of the functions above in the page.
async function outcome(engine, f, argument) {
  await engine.evaluate(f, argument);
  return until('the page is done', () => engine.evaluate(() => window.outcome));
}

async function assertReadsAndChangesNothing(engine, pipeline, id) {
  const [history, heard] = await outcome(engine, read, [pipeline.eventsUrl, pipeline.streamUrl()]);
  assert.equal(JSON.parse(history).events[0].id, id);
  assert.equal(heard, '"kept"');
  const [published, text, opaque, form, forgotten, put] = await outcome(engine, attack, pipeline.eventsUrl);
  // Requests with a preflight fail, those without are answered, and one answer is opaque to the page.
  assert.deepEqual([published, forgotten, put], ['TypeError', 'TypeError', 'TypeError']);
  assert.deepEqual([text, opaque, form], [403, 'opaque', 403]);
  assert.deepEqual((await pipeline.history()).map((event) => event.id), [id]);
}

for (const Engine of [Chromium, Firefox, WebKit]) {
  describe(`in ${Engine.name}`, { timeout: 90_000 }, () => {
    let engine;
    let node;

    before(async () => {
      [engine, node] = await Promise.all([Engine.start(), PipecastNode.start()]);
    });
    after(() => Promise.all([engine?.stop(), node?.kill()]));

    test('page from another machine reads but changes nothing', async (t) => {
      const pipeline = new Pipeline(node);
      const id = await pipeline.publish('names', 'kept');
      // The node treats this address as another machine's.
      const origin = await Origin.start(PAGE, '127.0.0.2');
      t.after(() => origin.stop());
      await engine.open(origin.url);
      await assertReadsAndChangesNothing(engine, pipeline, id);
    });

    test('page from this machine publishes', async (t) => {
      const pipeline = new Pipeline(node);
      const origin = await Origin.start(PAGE);
      t.after(() => origin.stop());
      await engine.open(origin.url);
      const [published, text] = await outcome(engine, attack, pipeline.eventsUrl);
      assert.deepEqual([published, text], [202, 415]);
    });
  });
}

test('page from a file reads but changes nothing', { timeout: 60_000 }, async (t) => {
  const [chromium, node, folder] = await Promise.all([
    launchChromium(), PipecastNode.start(), mkdtemp(join(tmpdir(), 'page-')),
  ]);
  t.after(() => Promise.all([chromium.close(), node.kill()]));
  const file = join(folder, 'page.html');
  await writeFile(file, PAGE);
  const pipeline = new Pipeline(node);
  const id = await pipeline.publish('names', 'kept');
  const page = await chromium.newPage();
  await page.goto(pathToFileURL(file).href);
  await assertReadsAndChangesNothing(page, pipeline, id);
});

test('page whose host name is rebound to the node gets nothing', { timeout: 60_000 }, async (t) => {
  const [chromium, origin] = await Promise.all([
    launchChromium('--host-resolver-rules=MAP evil.example 127.0.0.1'), Origin.start(PAGE),
  ]);
  t.after(() => chromium.close());
  const page = await chromium.newPage();
  const { port } = new URL(origin.url);
  await page.goto(`http://evil.example:${port}/`);
  // Now the name leads to the node, which has the page's own origin.
  await origin.stop();
  const node = await PipecastNode.start({ listen: `127.0.0.1:${port}` });
  t.after(() => node.kill());
  const pipeline = new Pipeline(node);
  const id = await pipeline.publish('names', 'kept');
  const answers = await page.evaluate(async (path) => {
    const post = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"channel":"a","payload":1}' };
    const asked = [[path, {}], ['/', {}], [path, post], [path, { method: 'DELETE' }]];
    const answered = asked.map(async ([url, options]) => {
      const answer = await fetch(url, options);
      return [answer.status, (await answer.json()).detail];
    });
    return Promise.all(answered);
  }, new URL(pipeline.eventsUrl).pathname);
  for (const [status, detail] of answers) {
    assert.equal(status, 403);
    assert.match(detail, /server\.cors_origins/);
  }
  assert.deepEqual((await pipeline.history()).map((event) => event.id), [id]);
});
