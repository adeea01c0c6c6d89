// The EventSource that the runtime brings: Deno's and Bun's.

import { followLikeABrowser } from './print.mjs';

followLikeABrowser(EventSource);
