'use strict';
// What the package offers. CommonJS, since Node 18 can import that from both kinds of modules, but not the reverse.

const { Broker } = require('./broker.js');
const { Event } = require('./event.js');
const { Outbox } = require('./outbox.js');
const { PublishError } = require('./publish_error.js');
const { Publisher } = require('./publisher.js');

/**
 * Gives `sse`, which collects events, and `flush`, which sends them.
 *
 * Two functions and a count, not a class: they are handed on by themselves, as in `const { sse } = createSend(...)`.
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

/** Gives the component back; it is there for editors, and for the files that call it. */
function defineComponent(component) {
  if (typeof component?.run !== 'function') {
    throw new TypeError('defineComponent takes an object with a function `run`, as in { async run({ steps, $ }) {} }');
  }
  return component;
}

exports.createSend = createSend;
exports.defineComponent = defineComponent;
exports.Publisher = Publisher;
exports.PublishError = PublishError;
