// A subscriber as strict as a browser: after `retry:` it reconnects with its last id, and any status but 200 ends it for good.

import { get } from 'node:http';

import { until } from './deadline.mjs';

export class Reader {
  #url;
  #request;
  #reconnect;
  #isClosed = false;
  #retryMs = 3000;

  /** Events in order of arrival, positions left out: `{id, event, data}`. */
  events = [];
  keepalives = 0;
  connections = 0;
  lastEventId = '';

  /** Whether a stream is open at this moment. */
  isOpen = false;

  /** Why it gave up. */
  failure = '';

  constructor(url) {
    this.#url = url;
    this.#connect();
  }

  /** A reader whose stream is open. */
  static async open(url) {
    const reader = new Reader(url);
    await until(`${url} opens a stream`, () => {
      if (reader.failure) throw new Error(`${url} ${reader.failure}`);
      return reader.isOpen;
    });
    return reader;
  }

  get ids() {
    return this.events.map((event) => event.id);
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#reconnect);
    this.#request.destroy();
  }

  #connect() {
    this.connections += 1;
    const headers = this.lastEventId ? { 'Last-Event-ID': this.lastEventId } : {};
    this.#request = get(this.#url, { agent: false, headers }, (answer) => {
      if (answer.statusCode === 200) this.isOpen = true;
      else this.failure = `answered ${answer.statusCode}`;
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => {
        const blocks = (text + part).split('\n\n');
        text = blocks.pop();
        for (const block of blocks) this.#take(block);
      });
      // A stream that is cut has an error event too.
      answer.on('error', () => {});
    });
    this.#request.on('error', () => {});
    this.#request.on('close', () => {
      this.isOpen = false;
      // The node chose this time: waiting for it is what a browser does.
      if (!this.#isClosed && !this.failure) this.#reconnect = setTimeout(() => this.#connect(), this.#retryMs);
    });
  }

  #take(block) {
    const event = {};
    for (const line of block.split('\n')) {
      const [, field, value] = /^([^:]*): ?(.*)$/s.exec(line);
      if (line === ':keepalive') this.keepalives += 1;
      else if (field === 'retry') this.#retryMs = Number(value);
      else event[field] = value;
    }
    if (event.id) this.lastEventId = event.id;
    if (event.data && event.event !== 'pipecast.position') this.events.push(event);
  }
}
