'use strict';

const { randomUUID } = require('node:crypto');

const { Broker } = require('./broker.js');
const { Event } = require('./event.js');

/** Publishes events one after the other, each in its own request. */
class Publisher {
  #broker;
  #last = Promise.resolve();

  constructor(options) {
    this.#broker = new Broker(options);
  }

  /**
   * Returns the event's id once it is stored. Events are stored in the order of the calls, awaited or not.
   *
   * Rejects with a `PublishError`, or with an error of `send.sse`. The event is not kept.
   */
  async publish(channel, payload) {
    const event = new Event({ channel, payload });
    const publishing = this.#last.then(() => this.#publish(event));
    this.#last = publishing.catch(() => {});
    return publishing;
  }

  async #publish(event) {
    try {
      const [id] = await this.#broker.post(event.line, randomUUID(), 1);
      return id;
    } catch (error) {
      error.events = [event.value];
      throw error;
    }
  }
}

exports.Publisher = Publisher;
