// npm eventsource 2, on node:http: old, and still what most packages depend on.

import EventSource from 'eventsource-2';

import { opensLikeABrowser } from './browser_style.mjs';
import { contract } from './contract.mjs';

contract({
  name: 'eventsource 2',
  open: opensLikeABrowser(EventSource),
  resumesBy: /^last-event-id: (\d+-\d+)\r$/im,
  takesIdsEarly: true,
  countsBlankLines: false,
});
