// npm event-source-polyfill, with its settings as they come: it resumes by the query parameter `lastEventId`.

import { mock } from 'node:test';

import { EventSourcePolyfill } from 'event-source-polyfill';

import { opensLikeABrowser } from './browser_style.mjs';
import { contract } from './contract.mjs';

// It reports each lost connection on the console, and losing connections is what happens here.
mock.method(console, 'error', () => {});

contract({
  name: 'event-source-polyfill',
  open: opensLikeABrowser(EventSourcePolyfill),
  resumesBy: /^GET \S+[?&]lastEventId=(\d+-\d+) /m,
  // It looks at the id of messages only.
  takesIdsEarly: false,
  countsBlankLines: false,
});
