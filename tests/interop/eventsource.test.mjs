// npm eventsource, newest: the specification's EventSource on top of fetch.

import { EventSource } from 'eventsource';

import { opensLikeABrowser } from './browser_style.mjs';
import { contract } from './contract.mjs';

contract({
  name: 'eventsource 5',
  open: opensLikeABrowser(EventSource),
  resumesBy: /^last-event-id: (\d+-\d+)\r$/im,
  takesIdsEarly: false,
  countsBlankLines: false,
});
