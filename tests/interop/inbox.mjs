// What a client under test handed to its application.

import { until } from './harness/deadline.mjs';

export class Inbox {
  /** All messages in the order of their arrival: `{id, channel, data}`. */
  messages = [];

  /** What the client last complained about. */
  complaint = '';

  #close;

  /** `close` ends the client for good. */
  constructor(close) {
    this.#close = close;
  }

  add(message) {
    this.messages.push(message);
  }

  /** All messages but positions, which clients that take every channel are handed too. */
  get withoutPositions() {
    return this.messages.filter((message) => message.channel !== 'pipecast.position');
  }

  /** Those of them that have data. */
  get events() {
    return this.withoutPositions.filter((message) => message.data !== '');
  }

  close() {
    this.#close();
  }

  /** Resolves once at least `count` messages with data are here. */
  async holds(count) {
    await until(
      `${count} events are here`,
      () => this.events.length >= count,
      () => `these are: ${JSON.stringify(this.events).slice(0, 2000)} ${this.complaint}`,
    );
  }
}
