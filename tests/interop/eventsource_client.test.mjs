// npm eventsource-client: an asynchronous iterator over all events, whatever their channel.

import { createEventSource } from 'eventsource-client';

import { contract } from './contract.mjs';
import { Inbox } from './inbox.mjs';

contract({
  name: 'eventsource-client',
  open(url) {
    const source = createEventSource({
      url,
      onMessage: ({ id, event, data }) => inbox.add({ id, channel: event ?? 'message', data }),
    });
    const inbox = new Inbox(() => source.close());
    return inbox;
  },
  resumesBy: /^last-event-id: (\d+-\d+)\r$/im,
  // It looks at the id of messages only.
  takesIdsEarly: false,
  countsBlankLines: false,
});
