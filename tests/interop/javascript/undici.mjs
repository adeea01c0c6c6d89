// npm undici's EventSource, which is also behind Node's --experimental-eventsource.

import { EventSource } from 'undici';

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
