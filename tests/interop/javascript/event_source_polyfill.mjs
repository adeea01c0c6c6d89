// npm event-source-polyfill, with its settings as they come: it resumes by the query parameter `lastEventId`.

import { EventSourcePolyfill } from 'event-source-polyfill';

import { followLikeABrowser } from './print.mjs';

// It reports each lost connection on the console, and losing connections is what happens here.
console.error = () => {};

followLikeABrowser(EventSourcePolyfill);
