// npm eventsource-client: one function receives the events of every channel.

import { createEventSource } from 'eventsource-client';

import { error, message, url } from './print.mjs';

createEventSource({
  url,
  // It does not report a rejection as an error, and retries until it is closed.
  fetch: async (...request) => {
    const answer = await fetch(...request);
    if (!answer.ok) error(answer.status);
    return answer;
  },
  onMessage: ({ id, event, data }) => message({ id, channel: event ?? 'message', data }),
});
