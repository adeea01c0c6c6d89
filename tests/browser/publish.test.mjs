// Publishing from a page of another origin, which needs a CORS preflight.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';
import { Listener } from './listener.mjs';
import { Origin } from './origin.mjs';

describe('page from another origin', { timeout: 60_000 }, () => {
  let chromium;
  let node;
  let origin;
  let page;

  before(async () => {
    [chromium, node, origin] = await Promise.all([launchChromium(), PipecastNode.start(), Origin.start()]);
    page = await chromium.newPage();
    await page.goto(origin.url);
  });
  after(() => Promise.all([chromium.close(), node.kill(), origin.stop()]));

  // Sends a request with the page's `fetch`.
  function fetchInPage(url, request) {
    return page.evaluate(async ([address, options]) => {
      const answer = await fetch(address, options);
      const header = (name) => answer.headers.get(name);
      return {
        status: answer.status,
        type: header('Content-Type'),
        replayed: header('Idempotency-Replayed'),
        body: await answer.json(),
      };
    }, [url, request]);
  }

  const post = (event, headers = {}) => ({
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(event),
  });

  test('publishes an event and reads its id', async () => {
    const pipeline = new Pipeline(node);
    const listener = await Listener.open(page, pipeline.streamUrl());
    const answer = await fetchInPage(pipeline.eventsUrl, post({ channel: 'names', payload: { name: 'Ada' } }));
    assert.equal(answer.status, 202);
    const events = await listener.holds(1);
    assert.deepEqual(events, [{ id: answer.body.id, channel: 'names', data: '{"name":"Ada"}' }]);
  });

  test('publishes once with an idempotency key', async () => {
    const pipeline = new Pipeline(node);
    const request = post({ channel: 'names', payload: 1 }, { 'Idempotency-Key': 'order-1' });
    const first = await fetchInPage(pipeline.eventsUrl, request);
    const second = await fetchInPage(pipeline.eventsUrl, request);
    assert.equal(first.status, 202);
    assert.deepEqual(second, { ...first, replayed: 'true' });
    const history = await fetchInPage(pipeline.eventsUrl);
    assert.deepEqual(history.body.events, [{ id: first.body.id, channel: 'names', payload: 1 }]);
  });

  test('reads why its request is rejected', async () => {
    const answer = await fetchInPage(new Pipeline(node).eventsUrl, post({ channel: 'names' }));
    assert.equal(answer.status, 400);
    assert.equal(answer.type, 'application/problem+json');
    assert.match(answer.body.detail, /payload/);
  });

  test('resumes a stream with the Last-Event-ID header', async () => {
    const pipeline = new Pipeline(node);
    const [first, second] = await pipeline.publishBatch([['names', 1], ['names', 2]]);
    const text = await page.evaluate(async ([url, id]) => {
      const stop = new AbortController();
      const answer = await fetch(url, { headers: { 'Last-Event-ID': id }, signal: stop.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let read = '';
      while (!read.includes('data: ')) read += (await reader.read()).value;
      stop.abort();
      return read;
    }, [pipeline.streamUrl(), first]);
    assert.match(text, new RegExp(`^retry: \\d+\nid: ${second}\nevent: names\ndata: 2\n\n$`));
  });
});
