// The messages that a client under test delivered to its application.

import { until } from '../support/deadline.mjs';

export class Inbox {
  /** All messages in order of arrival: `{id, channel, data}`. */
  messages = [];

  /** The failures that the client reported, as text. */
  errors = [];

  /** Its program's standard error. */
  complaint = '';

  /** How its program ended, once it has. */
  ending;

  #close;

  /** `close` ends the client for good. */
  constructor(close) {
    this.#close = close;
  }

  /** Reads a line that the client's program printed. */
  take(line) {
    const report = JSON.parse(line);
    if ('error' in report) this.errors.push(report.error);
    else this.messages.push(report);
  }

  /** All messages except positions, which clients that listen to every channel receive too. */
  get withoutPositions() {
    return this.messages.filter((message) => message.channel !== 'pipecast.position');
  }

  /** Those with data. */
  get events() {
    return this.withoutPositions.filter((message) => message.data !== '');
  }

  close() {
    return this.#close();
  }

  /** Resolves once at least `count` messages with data have arrived. */
  async holds(count) {
    await until(
      `${count} events have arrived`,
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
