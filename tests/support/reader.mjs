// A reader that is as strict as browsers are: it comes back after its `retry:` with its last id, and an answer other than 200
// ends it for good.

import { get } from 'node:http';

export class Reader {
  #url;
  #request;
  #reconnect;
  #isClosed = false;
  #retryMs = 3000;

  events = [];
  keepalives = 0;
  connections = 0;
  lastEventId = '';

  /** Why it gave up. */
  failure = '';

  constructor(url) {
    this.#url = url;
    this.#connect();
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
      if (answer.statusCode !== 200) this.failure = `answered ${answer.statusCode}`;
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => {
        const blocks = (text + part).split('\n\n');
        text = blocks.pop();
        for (const block of blocks) this.#take(block);
      });
      // Its error event comes too when it is cut.
      answer.on('error', () => {});
    });
    this.#request.on('error', () => {});
    this.#request.on('close', () => {
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
