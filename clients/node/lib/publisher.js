'use strict';

const { randomUUID } = require('node:crypto');

const { Broker } = require('./broker.js');
const { Event } = require('./event.js');

/** Publishes one event after the other, each in a request of its own. */
class Publisher {
  #broker;
  #last = Promise.resolve();

  constructor(options) {
    this.#broker = new Broker(options);
  }

  /**
   * Gives the event's id once the store has it. Events arrive in the order of the calls, whether these were awaited or not.
   *
   * Rejects with a `PublishError`, and with what `send.sse` throws; the event is then not kept.
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
