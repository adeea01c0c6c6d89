'use strict';
// The public API. CommonJS, because on Node.js 18 both kinds of modules can load it; an ES module could not be required.

const { Broker } = require('./broker.js');
const { Event } = require('./event.js');
const { Outbox } = require('./outbox.js');
const { PublishError } = require('./publish_error.js');
const { Publisher } = require('./publisher.js');

/**
 * Returns `sse`, which collects events, and `flush`, which sends them.
 *
 * Not a class, so that the functions can be passed on alone, as in `const { sse } = createSend(...)`.
 */
function createSend(options) {
  const outbox = new Outbox(new Broker(options));
  return {
    sse: (event) => outbox.collect(new Event(event)),
    flush: () => outbox.flush(),
    get unsent() {
      return outbox.unsent;
    },
  };
}

/** Returns the component unchanged. It gives editors the types. */
function defineComponent(component) {
  if (typeof component?.run !== 'function') {
    throw new TypeError('defineComponent expects an object with a function `run`, as in { async run({ steps, $ }) {} }');
  }
  return component;
}

exports.createSend = createSend;
exports.defineComponent = defineComponent;
exports.Publisher = Publisher;
exports.PublishError = PublishError;
