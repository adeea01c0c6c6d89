// npm @microsoft/fetch-event-source, written for browsers: one callback for all events, reconnecting is up to the
// application. AS_IT_COMES=1: without the callbacks that make it reconnect.

import { EventStreamContentType, fetchEventSource } from '@microsoft/fetch-event-source';

import { error, message, url } from './print.mjs';

// It takes `fetch` and the timers from `window`, and deregisters from the page's visibility when it ends.
globalThis.window = globalThis;
globalThis.document = new EventTarget();

class Refused extends Error {}

// As its README tells: what `onclose` throws comes to `onerror`, and an `onerror` that returns means "again".
const reconnecting = {
  async onopen(answer) {
    if (answer.ok && answer.headers.get('content-type')?.startsWith(EventStreamContentType)) return;
    throw new Refused(`answered ${answer.status}`);
  },
  onclose() {
    throw new Error('the node ended the stream');
  },
  onerror(failure) {
    error(failure);
    if (failure instanceof Refused) throw failure;
  },
};

await fetchEventSource(url, {
  openWhenHidden: true,
  onmessage: ({ id, event, data }) => message({ id, channel: event || 'message', data }),
  ...(process.env.AS_IT_COMES ? {} : reconnecting),
});
