// npm launchdarkly-eventsource, on node:http.

import { EventSource } from 'launchdarkly-eventsource';

import { followLikeABrowser } from './print.mjs';

// An agent of Node.js gives up after 5 s without a byte, and keepalives come each 15 s.
followLikeABrowser(EventSource, process.env.AS_IT_COMES ? {} : { readTimeoutMillis: 45_000 });
