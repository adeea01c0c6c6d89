// The runtime's built-in EventSource: Deno's.

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
