// For files that `pipecast-run` runs: /// <reference types="pipecast/global" />

import type { defineComponent as define } from './index.js';

declare global {
  const defineComponent: typeof define;
}
