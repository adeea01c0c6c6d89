// npm eventsource-client: all events, whatever their channel, to one function.

import { createEventSource } from 'eventsource-client';

import { error, message, url } from './print.mjs';

createEventSource({
  url,
  // A refusal is no error to it: it asks again and again unless it is closed.
  fetch: async (...request) => {
    const answer = await fetch(...request);
    if (!answer.ok) error(answer.status);
    return answer;
  },
  onMessage: ({ id, event, data }) => message({ id, channel: event ?? 'message', data }),
});
