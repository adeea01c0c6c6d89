// npm event-source-polyfill with its defaults: it resumes with the query parameter `lastEventId`.

import { EventSourcePolyfill } from 'event-source-polyfill';

import { followLikeABrowser } from './print.mjs';

// It logs every lost connection to the console, and these tests cut many.
console.error = () => {};

followLikeABrowser(EventSourcePolyfill);
