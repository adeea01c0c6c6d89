// npm eventsource 2, on node:http: old, and still what most packages depend on.

import EventSource from 'eventsource-2';

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
