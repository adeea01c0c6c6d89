// What a client under test handed to its application.

import { until } from '../support/deadline.mjs';

export class Inbox {
  /** All messages in the order of their arrival: `{id, channel, data}`. */
  messages = [];

  /** The failures that the client told of, in words. */
  errors = [];

  /** What its program wrote to its standard error. */
  complaint = '';

  /** How its program ended, once it has. */
  ending;

  #close;

  /** `close` ends the client for good. */
  constructor(close) {
    this.#close = close;
  }

  /** Takes a line that the client's program printed. */
  take(line) {
    const said = JSON.parse(line);
    if ('error' in said) this.errors.push(said.error);
    else this.messages.push(said);
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
    return this.#close();
  }

  /** Resolves once at least `count` messages with data are here. */
  async holds(count) {
    await until(
      `${count} events are here`,
      () => {
        if (this.events.length >= count) return true;
        if (this.ending) throw new Error(`the client ended (${this.ending}) before it had ${count} events; ${this.#situation}`);
        return false;
      },
      () => this.#situation,
    );
  }

  get #situation() {
    const events = JSON.stringify(this.events.slice(-5)).slice(-1000);
    return `it has ${this.events.length}, the last: ${events}; ${this.errors.slice(-3)} ${this.complaint}`;
  }
}
