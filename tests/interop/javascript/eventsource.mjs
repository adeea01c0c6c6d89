// npm eventsource, newest: the specification's EventSource on top of fetch.

import { EventSource } from 'eventsource';

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
