// Clients that look like the browser's EventSource.

import { Inbox } from './inbox.mjs';

/** An `open` for `contract` on top of such a class. */
export function opensLikeABrowser(EventSource) {
  return (url, channels) => {
    const source = new EventSource(url);
    const inbox = new Inbox(() => source.close());
    for (const channel of new Set([...channels, 'message', 'pipecast.gap'])) {
      source.addEventListener(channel, (event) => {
        inbox.add({ id: event.lastEventId, channel: event.type, data: event.data });
      });
    }
    return inbox;
  };
}
