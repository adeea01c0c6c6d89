// npm eventsource as docs/guide/clients/node.md shows it: prints the payloads of one channel. URL and TOKEN are in the environment.

import { EventSource } from 'eventsource';

const { URL: url, TOKEN: token } = process.env;

const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});
source.addEventListener('names', (event) => console.log(event.lastEventId, JSON.parse(event.data)));
source.addEventListener('pipecast.gap', (event) => console.warn('events are missing:', event.data));
source.addEventListener('error', (event) => {
  if (source.readyState === EventSource.CLOSED) throw new Error(`refused: ${event.code}`);
});
