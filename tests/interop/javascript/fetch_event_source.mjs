// npm @microsoft/fetch-event-source, for browsers: one callback for all events, and the application makes it reconnect.
// AS_IT_COMES=1: without the callbacks that do so.

import { EventStreamContentType, fetchEventSource } from '@microsoft/fetch-event-source';

import { error, message, url } from './print.mjs';

// It uses `fetch` and the timers of `window`, and stops listening to the page's visibility when it ends.
globalThis.window = globalThis;
globalThis.document = new EventTarget();

class Refused extends Error {}

// As its README explains: an error thrown by `onclose` reaches `onerror`, and if `onerror` returns, it reconnects.
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
