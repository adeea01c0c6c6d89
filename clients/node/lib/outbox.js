'use strict';
// Events that were collected and are not acknowledged yet, oldest first.

const { randomUUID } = require('node:crypto');

const exit = require('./exit.js');
const { PublishError } = require('./publish_error.js');

// The default limits of nodes for one request.
const REQUEST_EVENTS = 1000;
const REQUEST_BYTES = 4 * 1024 * 1024;

class Outbox {
  #broker;
  #events = [];
  // The request that failed last. It keeps its events and its key, because the store may already have it.
  #begun;
  #flushing = Promise.resolve();

  constructor(broker) {
    this.#broker = broker;
  }

  get pipeline() {
    return this.#broker.pipeline;
  }

  /** The number of events that are collected but not acknowledged. */
  get unsent() {
    return this.#events.length + (this.#begun?.events.length ?? 0);
  }

  collect(event) {
    this.#events.push(event);
    exit.watch(this);
  }

  /**
   * Sends all collected events. Returns `{id, channel, payload}` for each. Overlapping flushes run one after the other.
   *
   * Rejects with a `PublishError`. Events that a node rejected are only in the error. After any other failure they stay, and
   * the next flush starts with them. Later events stay in both cases.
   */
  flush() {
    const flushing = this.#flushing.then(() => this.#flush());
    this.#flushing = flushing.catch(() => {});
    return flushing;
  }

  async #flush() {
    const sent = [];
    while (this.unsent > 0) {
      this.#begun ??= this.#nextRequest();
      try {
        sent.push(...(await this.#send(this.#begun)));
      } catch (error) {
        throw Object.assign(error, { sent });
      }
    }
    exit.unwatch(this);
    return sent;
  }

  #nextRequest() {
    const lines = [];
    let bytes = 0;
    for (const event of this.#events.slice(0, REQUEST_EVENTS)) {
      const { line } = event;
      bytes += Buffer.byteLength(line);
      if (bytes > REQUEST_BYTES) break;
      lines.push(line);
    }
    return { key: randomUUID(), events: this.#events.splice(0, lines.length), body: lines.join(''), isUncertain: false };
  }

  async #send(request) {
    const values = () => request.events.map((event) => event.value);
    request.began ??= Date.now();
    if (Date.now() - request.began > this.#broker.safeToRepeatMs) {
      this.#begun = undefined;
      const message = `${exit.count(request.events.length)} may or may not have been stored some minutes ago; sending them again could duplicate them`;
      throw Object.assign(new PublishError(message, { isUncertain: true }), { events: values() });
    }
    let ids;
    try {
      ids = await this.#broker.post(request.body, request.key, request.events.length);
    } catch (error) {
      const isRejected = error.status >= 300 && error.status <= 500 && error.status !== 408 && error.status !== 429;
      request.isUncertain ||= error.isUncertain;
      Object.assign(error, { events: values(), isKept: !isRejected, isUncertain: request.isUncertain });
      if (isRejected) this.#begun = undefined;
      // If no node received it, it can be sent at any later time.
      else if (!request.isUncertain) request.began = undefined;
      throw error;
    }
    this.#begun = undefined;
    return values().map((value, index) => ({ id: ids[index], ...value }));
  }
}

exports.Outbox = Outbox;
