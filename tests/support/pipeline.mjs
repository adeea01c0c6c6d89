// A pipeline as its publisher sees it.

import { randomBytes } from 'node:crypto';

export class Pipeline {
  #token;

  /** The pipeline `id` through `node`; without an id, one that no other test uses. `token` is for publishing and for the history. */
  constructor(node, id = `p_${randomBytes(9).toString('base64url')}`, { token } = {}) {
    this.node = node;
    this.id = id;
    this.#token = token;
  }

  /** The same pipeline through another node. */
  through(node) {
    return new Pipeline(node, this.id, { token: this.#token });
  }

  /** The stream's URL at `base`: the node's address, or that of a proxy in front of it. */
  streamUrl(query = '', base = this.node.publicUrl) {
    return `${base}/pipelines/${this.id}/sse${query}`;
  }

  get eventsUrl() {
    return `${this.node.publicUrl}/pipelines/${this.id}/events`;
  }

  /** Publishes one event and returns its id. */
  async publish(channel, payload) {
    return this.publishText(channel, JSON.stringify(payload));
  }

  /** Publishes one event whose payload is this JSON text, byte for byte, and returns its id. */
  async publishText(channel, payload) {
    const reply = await this.#post(event(channel, payload));
    return reply.id;
  }

  /** Publishes `[channel, payload]` pairs in one request and returns their ids. */
  async publishBatch(events) {
    return this.publishTexts(events.map(([channel, payload]) => [channel, JSON.stringify(payload)]));
  }

  /** The same with payloads as JSON texts. */
  async publishTexts(events) {
    const reply = await this.#post(`[${events.map(([channel, payload]) => event(channel, payload)).join()}]`);
    return reply.ids;
  }

  /** Publishes the events `{"n": first}` up to but not including `{"n": end}` on `channel`, one request each. */
  async publishNumbers(channel, first, end) {
    const ids = [];
    for (let n = first; n < end; n += 1) ids.push(await this.publish(channel, { n, note: `number ${n}` }));
    return ids;
  }

  /** The events that the node keeps, oldest first: `{id, channel, payload}`. */
  async history() {
    const answer = await fetch(this.eventsUrl, { headers: this.#authorization });
    return (await answer.json()).events;
  }

  get #authorization() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  async #post(body) {
    const answer = await fetch(this.eventsUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...this.#authorization },
      body,
    });
    const text = await answer.text();
    if (answer.status !== 202) throw new Error(`publishing answered ${answer.status}: ${text}`);
    return JSON.parse(text);
  }
}

function event(channel, payload) {
  return `{"channel":${JSON.stringify(channel)},"payload":${payload}}`;
}

/** The numbers of `publishNumbers`, read from the events that arrived. */
export function numbersIn(events) {
  return events.map((event) => JSON.parse(event.data).n);
}

/** The numbers from `first` up to but not including `end`. */
export function range(first, end) {
  return Array.from({ length: end - first }, (_, index) => first + index);
}
