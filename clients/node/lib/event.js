'use strict';
// A copy of an event, checked when it is passed in. A request is stored whole or not at all, so one invalid event would
// make the node reject all events of its request.

const { types } = require('node:util');

// The default limits of nodes.
const EVENT_BYTES = 256 * 1024;
const CHANNEL_BYTES = 255;
const DEPTH = 128;

const INVALID_DATE = 'an invalid Date, which JSON cannot carry; send null or a string';

// Objects that JSON.stringify turns into {}, and what to send instead.
const EMPTY_KINDS = {
  __proto__: null,
  ArrayBuffer: 'a string, such as Base64',
  Blob: 'its text',
  DataView: 'a string, such as Base64',
  DOMException: 'its message',
  Error: 'its message',
  File: 'its text',
  FormData: 'Object.fromEntries() of it',
  Headers: 'Object.fromEntries() of it',
  Map: 'Object.fromEntries() of it',
  Promise: 'what it resolves to',
  RegExp: 'its source',
  Request: 'its fields',
  Response: 'its text',
  Set: 'an array',
  SharedArrayBuffer: 'a string, such as Base64',
  URLSearchParams: 'Object.fromEntries() of it',
  WeakMap: 'an object',
  WeakSet: 'an array',
};

class Event {
  /** Throws if `channel` or `payload` is missing or cannot be sent. */
  constructor(event) {
    if (event === null || typeof event !== 'object') {
      throw new TypeError('an event is an object such as { channel: "names", payload: { name: "Luke" } }');
    }
    const unknown = Object.keys(event).find((key) => key !== 'channel' && key !== 'payload');
    if (unknown !== undefined) throw new TypeError(`an event has a channel and a payload; ${JSON.stringify(unknown)} is neither`);
    checkChannel(event.channel);
    this.channel = event.channel;
    this.json = toJson(event.payload);
    const bytes = Buffer.byteLength(this.channel) + Buffer.byteLength(this.json);
    if (bytes > EVENT_BYTES) {
      throw new RangeError(`the event has ${bytes} bytes, more than the ${EVENT_BYTES} that nodes accept by default; send a reference to the data instead`);
    }
  }

  /** The event as a line of NDJSON, with its line feed. */
  get line() {
    return `{"channel":${JSON.stringify(this.channel)},"payload":${this.json}}\n`;
  }

  /** The event as it was passed in. */
  get value() {
    return { channel: this.channel, payload: JSON.parse(this.json) };
  }
}

function checkChannel(channel) {
  if (channel === undefined || channel === null) {
    throw new TypeError('the channel is missing; it is the name of the event, as in { channel: "names", payload: ... }');
  }
  if (typeof channel !== 'string') throw new TypeError(`the channel must be a string, not ${typeof channel}`);
  if (channel === '') throw new RangeError('the channel is empty; give it a name of 1-255 bytes');
  if (Buffer.byteLength(channel) > CHANNEL_BYTES) throw new RangeError(`the channel is longer than ${CHANNEL_BYTES} bytes`);
  if (/[\r\n\0]/.test(channel)) throw new RangeError('the channel contains a line break or NUL, which no event name can carry');
  const control = /[\u0000-\u001f\u007f-\u009f]/.exec(channel);
  if (control) {
    const code = control[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
    throw new RangeError(`the channel contains the control character U+${code}, which a terminal would execute; remove it`);
  }
  if (/\p{Surrogate}/u.test(channel)) throw new RangeError('the channel contains an unpaired surrogate, which UTF-8 cannot carry');
  if (channel.startsWith('pipecast.')) {
    throw new RangeError("the channel begins with `pipecast.`, which is reserved for the broker's own events");
  }
  if (channel === 'error' || channel === 'open') {
    throw new RangeError(`the channel is \`${channel}\`, which \`EventSource\` uses for its own events, so the page would mistake it for one of those; choose another name`);
  }
}

// Like JSON.stringify, but what that would silently drop or turn into null is an error that names the place. The exception
// is a property whose value is undefined, which is left out as usual.
function toJson(payload) {
  if (payload === undefined) {
    throw new TypeError('the payload is missing; it is any JSON value, as in { channel: "names", payload: { name: "Luke" } }');
  }
  const places = new Map();
  function check(key, value) {
    const holder = places.get(this);
    const place = holder === undefined ? 'payload' : placeOf(holder.place, key, this);
    // The value before toJSON, which turns an invalid Date into null.
    const problem = isInvalidDate(this[key]) ? INVALID_DATE : problemOf(value, Array.isArray(this));
    if (problem) throw new TypeError(`${place} is ${problem}`);
    if (value !== null && typeof value === 'object') {
      const depth = (holder?.depth ?? 0) + 1;
      if (holder?.parents.has(value)) throw new TypeError(`${place} is circular: it contains itself`);
      if (depth > DEPTH) throw new RangeError(`the payload is nested deeper than ${DEPTH} levels; flatten it or send it as a string`);
      places.set(value, { place, depth, parents: new Set(holder?.parents).add(value) });
    }
    return value;
  }
  const json = JSON.stringify(payload, check);
  if (json === undefined) throw new TypeError('the payload has a toJSON that returns undefined');
  return json;
}

function placeOf(place, key, holder) {
  if (Array.isArray(holder)) return `${place}[${key}]`;
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `${place}.${key}` : `${place}[${JSON.stringify(key)}]`;
}

function problemOf(value, isInArray) {
  switch (typeof value) {
    case 'function':
      return 'a function, which JSON cannot carry';
    case 'symbol':
      return 'a symbol, which JSON cannot carry';
    case 'bigint':
      return 'a BigInt, which JSON cannot carry; send it as a string';
    case 'number':
      return Number.isFinite(value) ? undefined : `${value}, which JSON cannot carry; send null or a string`;
    case 'undefined':
      return isInArray ? 'undefined, which JSON cannot carry; send null' : undefined;
    case 'object':
      return emptyKindOf(value);
    default:
      return undefined;
  }
}

function isInvalidDate(value) {
  return types.isDate(value) && Number.isNaN(Date.prototype.getTime.call(value));
}

// Objects whose content JSON.stringify does not see: it turns them into {}.
function emptyKindOf(value) {
  if (types.isNativeError(value)) return 'an Error, which JSON would turn into {}; send its message instead';
  const kind = Object.prototype.toString.call(value).slice('[object '.length, -1);
  const instead = EMPTY_KINDS[kind];
  if (instead === undefined) return undefined;
  const article = /^[AEIO]/.test(kind) ? 'an' : 'a';
  return `${article} ${kind}, which JSON would turn into {}; send ${instead} instead`;
}

exports.Event = Event;
