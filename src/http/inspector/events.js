// What has arrived, as data; the page shows a part of it.

const MOST_EVENTS = 20_000;
const MOST_CHARACTERS = 64_000_000;

/** Gaps, notes and events in the order of arrival, the oldest let go, and those of them that pass the filter. */
class Events {
  all = [];
  /** Those that pass the filter. Each has its `number`, which grows. */
  passing = [];
  /** Those of the events in `all`, by name: the name, how many events, and which colour. */
  channels = new Map();
  #colors = 0; // channels that were given one
  #others = 0; // gaps and notes in `all`
  #characters = 0;
  #number = 0;
  #only = new Set();
  #text = null;

  add(event) {
    event.number = this.#number += 1;
    this.all.push(event);
    if (event.kind === "event") {
      const channel = this.channels.get(event.channel) ?? this.#addChannel(event.channel);
      channel.count += 1;
      event.channel = channel.name;
    } else this.#others += 1;
    this.#characters += lengthOf(event);
    if (this.#passes(event)) this.passing.push(event);
    if (this.all.length > MOST_EVENTS || this.#characters > MOST_CHARACTERS) this.#letGo();
  }

  /** Only these channels, all for none, and only what holds the text. */
  filter(only, text) {
    this.#only = only;
    // A pattern finds without making a lower-case copy of each payload.
    this.#text = text ? new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i") : null;
    this.passing = this.all.filter((event) => this.#passes(event));
  }

  clear() {
    this.all = [];
    this.passing = [];
    this.channels.clear();
    this.#others = 0;
    this.#characters = 0;
  }

  /** How many events there are and how many of them pass, without gaps and notes, which always do. */
  get counts() {
    return { all: this.all.length - this.#others, passing: this.passing.length - this.#others };
  }

  /** Where in `passing` the first one after this number stands. */
  indexAfter(number) {
    let [low, high] = [0, this.passing.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.passing[middle].number > number) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** What passes the filter as NDJSON, oldest first, payloads as they came. */
  ndjson() {
    const lines = this.passing.filter(({ kind }) => kind !== "note");
    return lines.map(({ id, channel, data }) => `{"id":${JSON.stringify(id)},"channel":${JSON.stringify(channel)},"payload":${data}}\n`);
  }

  #addChannel(text) {
    // A piece of a string keeps all of it: this would be as much of the stream as arrived at once, for as long as the channel has events.
    const name = structuredClone(text);
    const channel = { name, count: 0, color: this.#colors % 8 };
    this.#colors += 1;
    this.channels.set(name, channel);
    return channel;
  }

  // A publisher may make up a name for each event.
  #takeFromChannel(name) {
    const channel = this.channels.get(name);
    channel.count -= 1;
    if (channel.count === 0) this.channels.delete(name);
  }

  // A gap is always shown: what is missing could have passed.
  #passes({ kind, channel, id, data }) {
    if (kind !== "event") return true;
    if (this.#only.size && !this.#only.has(channel)) return false;
    return !this.#text || this.#text.test(channel) || this.#text.test(data) || this.#text.test(id);
  }

  // A twentieth at once: taking single ones from the front of long lists is slow.
  #letGo() {
    let end = 0;
    while (end < this.all.length - 1 && (this.all.length - end > MOST_EVENTS * 0.95 || this.#characters > MOST_CHARACTERS * 0.95)) {
      const event = this.all[end];
      this.#characters -= lengthOf(event);
      if (event.kind === "event") this.#takeFromChannel(event.channel);
      else this.#others -= 1;
      end += 1;
    }
    const last = this.all[end - 1]?.number ?? 0;
    this.all.splice(0, end);
    this.passing.splice(0, this.indexAfter(last));
  }
}

const lengthOf = ({ channel, data }) => channel.length + data.length;
