// npm eventsource 2, on node:http: old, but most packages still depend on it.

import EventSource from 'eventsource-2';

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
