// The output of every client in JavaScript.

import { writeSync } from 'node:fs';

export const [url, ...channels] = process.argv.slice(2);

// npm eventsource lets Node.js end while it waits to reconnect. A server's listener would keep it running.
if (!process.env.AS_IT_COMES) setInterval(() => {}, 2 ** 30);

/** Prints a message: `{id, channel, data}`. */
export function message({ id, channel, data }) {
  print({ id, channel, data });
}

/** Prints a failure that a client reported. */
export function error(text) {
  print({ error: String(text) });
}

/** Prints the status of a publisher's answer. */
export function status(number) {
  print({ status: number });
}

// Writes the whole line at once, even if the pipe is full for a moment.
function print(line) {
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (failure) {
      if (failure.code !== 'EAGAIN') throw failure;
    }
  }
}

/** Follows `url` with a class that has the interface of the browser's EventSource. */
export function followLikeABrowser(EventSource, options) {
  const source = new EventSource(url, options);
  for (const channel of new Set([...channels, 'message', 'pipecast.gap'])) {
    source.addEventListener(channel, (event) => {
      message({ id: event.lastEventId, channel: event.type, data: event.data });
    });
  }
  source.onerror = (event) => {
    error(`${event.code ?? event.status ?? ''} ${event.message ?? ''} ${source.readyState === 2 ? 'closed' : 'connecting'}`);
  };
}
