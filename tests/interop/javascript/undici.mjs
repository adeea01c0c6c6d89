// npm undici's EventSource, which is also what Node.js has behind --experimental-eventsource.

import { EventSource } from 'undici';

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
