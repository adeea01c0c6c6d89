// The events that have arrived; the page shows a part of them.

const MOST_EVENTS = 20_000;
const MOST_CHARACTERS = 64_000_000;

const COLORS = 8;
const SHAPES = 4;

/**
 * A channel's colour and the shape of its mark, as numbers. They depend only on its name, so they are the same tomorrow and in every
 * browser. Two channels may share a colour, hence the shape, which also helps where colours look alike.
 */
function lookOf(name) {
  // FNV-1a, then the end of MurmurHash3: names that differ in one letter get different bits. From this start the channels of the
  // documentation and of the demo get colours and shapes of their own.
  let hash = 363891;
  for (const byte of new TextEncoder().encode(name.slice(0, 255))) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash = (hash ^ (hash >>> 16)) >>> 0;
  return { color: hash % COLORS, shape: Math.floor(hash / COLORS) % SHAPES };
}

/** Gaps, notes and events in order of arrival, without the oldest, and those of them that match the filter. */
class Events {
  all = [];
  /** Those that match the filter. Each has an increasing `number`. */
  passing = [];
  /** The channels of the events in `all`, by name: name, number of events, colour and shape. */
  channels = new Map();
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

  /** Only these channels (empty means all), and only events that contain the text. */
  filter(only, text) {
    this.#only = only;
    // A pattern needs no lower-case copy of each payload.
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

  /** How many events there are and how many match, without gaps and notes, which always match. */
  get counts() {
    return { all: this.all.length - this.#others, passing: this.passing.length - this.#others };
  }

  /** The index in `passing` of the first one after this number. */
  indexAfter(number) {
    let [low, high] = [0, this.passing.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.passing[middle].number > number) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The matching events as NDJSON, oldest first, with unchanged payloads. */
  ndjson() {
    const lines = this.passing.filter(({ kind }) => kind !== "note");
    return lines.map(({ id, channel, data }) => `{"id":${JSON.stringify(id)},"channel":${JSON.stringify(channel)},"payload":${data}}\n`);
  }

  #addChannel(text) {
    // A slice keeps its whole string alive, which would be a large piece of the stream, for as long as the channel has events.
    const name = structuredClone(text);
    const channel = { name, count: 0, ...lookOf(name) };
    this.channels.set(name, channel);
    return channel;
  }

  // A publisher may invent a name for each event.
  #takeFromChannel(name) {
    const channel = this.channels.get(name);
    channel.count -= 1;
    if (channel.count === 0) this.channels.delete(name);
  }

  // A gap is always shown: the missing events could have matched.
  #passes({ kind, channel, id, data }) {
    if (kind !== "event") return true;
    if (this.#only.size && !this.#only.has(channel)) return false;
    return !this.#text || this.#text.test(channel) || this.#text.test(data) || this.#text.test(id);
  }

  // A twentieth at once: removing single elements from the front of long lists is slow.
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
