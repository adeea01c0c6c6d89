// An EventSource in a page.

import { until } from '../support/deadline.mjs';

export class Listener {
  #page;

  /** Opens `url` in the page with the browser's own EventSource, listening for `channels` and gaps. */
  static async open(page, url, channels = ['names']) {
    const listener = new Listener();
    listener.#page = page;
    await page.evaluate(([address, names]) => {
      globalThis.received = [];
      globalThis.errors = 0;
      globalThis.source = new EventSource(address);
      for (const name of new Set([...names, 'message', 'pipecast.gap'])) {
        source.addEventListener(name, (event) => {
          received.push({ id: event.lastEventId, channel: event.type, data: event.data });
        });
      }
      source.addEventListener('error', () => {
        errors += 1;
      });
    }, [url, channels]);
    return listener;
  }

  /** The events that the page's listeners received, in order: `{id, channel, data}`. */
  events() {
    return this.#page.evaluate(() => received);
  }

  /** How often the browser lost its connection or failed to connect. */
  errors() {
    return this.#page.evaluate(() => errors);
  }

  /** Resolves with all events once at least `count` of them have arrived. */
  async holds(count) {
    let events = [];
    return until(`${count} events have arrived`, async () => {
      events = await this.events();
      return events.length >= count && events;
    }, () => `these have: ${JSON.stringify(events).slice(0, 2000)}`);
  }
}
