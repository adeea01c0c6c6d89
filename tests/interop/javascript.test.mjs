// Clients in JavaScript: of npm for Node.js, and what Deno and Bun bring.

import { contract } from './contract.mjs';

const node = (program) => [process.execPath, `javascript/${program}.mjs`];

export const clients = [
  { name: 'npm eventsource 5', command: node('eventsource'), asksForGzip: true },
  { name: 'npm eventsource 2', command: node('eventsource_2'), takesIdsEarly: true },
  { name: 'npm eventsource-client', command: node('eventsource_client'), asksForGzip: true },
  {
    name: 'npm event-source-polyfill',
    command: node('event_source_polyfill'),
    resumesBy: /^GET \S+[?&]lastEventId=\d+-\d+ /m,
    asksForGzip: true,
  },
  {
    name: 'npm @microsoft/fetch-event-source',
    command: node('fetch_event_source'),
    takesIdsEarly: true,
    countsBlankLines: true,
    asksForGzip: true,
  },
];

contract('JavaScript', clients);
