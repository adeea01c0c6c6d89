// The same functions for `import`. One implementation: what was collected is known to one place, whoever loaded it how.

export { createSend, defineComponent, Publisher, PublishError } from './lib/index.js';
