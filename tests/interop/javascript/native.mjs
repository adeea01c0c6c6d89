// The EventSource that the runtime brings: Deno's.

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
