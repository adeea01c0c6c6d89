// npm @microsoft/fetch-event-source, written for browsers: one callback for all events, reconnecting is up to the
// application.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { fetchEventSource } from '@microsoft/fetch-event-source';

import { contract } from './contract.mjs';
import { PipecastNode } from './harness/node.mjs';
import { Pipeline } from './harness/pipeline.mjs';
import { Inbox } from './inbox.mjs';

// It takes `fetch` and the timers from `window`, and deregisters from the page's visibility when it ends.
globalThis.window = globalThis;
globalThis.document = new EventTarget();

function open(url) {
  const ending = new AbortController();
  const inbox = new Inbox(() => ending.abort());
  fetchEventSource(url, {
    signal: ending.signal,
    openWhenHidden: true,
    onmessage: ({ id, event, data }) => inbox.add({ id, channel: event || 'message', data }),
    // As its README tells: what `onclose` throws comes to `onerror`, and an `onerror` that returns means "again".
    onclose() {
      throw new Error('the node ended the stream');
    },
    onerror() {},
  });
  return inbox;
}

contract({
  name: '@microsoft/fetch-event-source',
  open,
  resumesBy: /^last-event-id: (\d+-\d+)\r$/im,
  takesIdsEarly: true,
  countsBlankLines: true,
});

describe('@microsoft/fetch-event-source without callbacks', () => {
  test('a stream that the node ends is over', { timeout: 30_000 }, async (t) => {
    const node = await PipecastNode.start({ settings: { 'stream.max_age': '1s' } });
    t.after(() => node.kill());
    const events = [];
    await fetchEventSource(new Pipeline(node).streamUrl(), {
      openWhenHidden: true,
      onmessage: (event) => events.push(event),
    });
    // The last `retry:` is a block without data: nothing by the specification, a message to this client.
    assert.deepEqual(events.map(({ event, data }) => [event, data]), [['', '']]);
  });
});
