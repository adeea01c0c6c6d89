// npm launchdarkly-eventsource, on node:http.

import { EventSource } from 'launchdarkly-eventsource';

import { followLikeABrowser } from './print.mjs';

// It gives up after 5 s without a byte by default, and keepalives arrive every 15 s.
followLikeABrowser(EventSource, process.env.AS_IT_COMES ? {} : { readTimeoutMillis: 45_000 });
