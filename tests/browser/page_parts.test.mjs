// The inspector's script outside a page: what it parses and counts.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { hostile, numbers, texts } from '../support/payloads.mjs';
import { WebServer } from '../support/web_server.mjs';

const file = (name) => readFileSync(new URL(`../../src/http/web/${name}`, import.meta.url), 'utf8');
const source = ['json.js', 'code.js', 'inspector/stream.js', 'inspector/events.js', 'inspector/chart.js'].map(file);
const names = 'pretty, visible, Blocks, isAfter, Stream, Events, lookOf, roundedUp, curlStream, curlPublish, pieces';
const { pretty, visible, Blocks, isAfter, Stream, Events, lookOf, roundedUp, curlStream, curlPublish, pieces } = new Function(`${source.join('')}; return { ${names} }`)();

test('stream cut into any pieces parses to the same blocks', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const text = ['retry: 1200', 'id: 1-1', 'event: names', 'data: {"a":1}', '', ':keepalive', '', 'id: 1-2', '', 'data:x', 'data', 'data: y', '', 'data: cut'].join(end);
    for (let cut = 0; cut <= text.length; cut += 1) {
      for (const second of [cut, Math.min(cut + 1, text.length)]) {
        const blocks = new Blocks();
        const taken = [];
        let retry = 0;
        const pieces = [text.slice(0, cut), text.slice(cut, second), text.slice(second)];
        for (const piece of pieces) blocks.feed(piece, (block) => taken.push(block), (ms) => (retry = ms));
        assert.equal(retry, 1200);
        assert.deepEqual(taken, [
          { id: '1-1', channel: 'names', data: '{"a":1}' },
          { id: undefined, channel: 'message', data: null },
          { id: '1-2', channel: 'message', data: null },
          { id: undefined, channel: 'message', data: 'x\n\ny' },
        ]);
      }
    }
  }
});

const answerNewest = (answer, ...ids) => answer.setHeader('Content-Type', 'application/json')
  .end(JSON.stringify({ events: ids.map((id) => ({ id, channel: 'names', payload: 1 })), gap: false }));

const FRAMES = ['1-1', '1-2', '1-3'].map((id) => `event: names\nid: ${id}\ndata: 1\n\n`).join('');

// The newest of these was 1-2 when the stream was opened.
for (const [trouble, delay] of [['comes late', 2000], ['is lost', 0], ['is "try again"', -1]]) {
  test(`replayed events are not taken for live ones when the newest id ${trouble}`, async (t) => {
    let asked = 0;
    const server = await WebServer.start((request, answer) => {
      if (request.url.endsWith('/sse')) {
        answer.setHeader('Content-Type', 'text/event-stream; charset=utf-8');
        return answer.write(`retry: 1\n${FRAMES}`);
      }
      asked += 1;
      if (delay > 0) return setTimeout(() => answerNewest(answer, '1-2'), delay); // a slow server
      if (asked > 1) return answerNewest(answer, '1-2');
      return delay ? answer.writeHead(503).end('{"detail":"try again"}') : answer.destroy();
    });
    t.after(() => server.stop());
    const received = [];
    const states = [];
    await new Promise((resolve) => {
      const event = ({ id, replayed }) => received.push([id, replayed]) === 3 && resolve();
      const stream = new Stream(`${server.url}/p`, () => ({}), { event, state: (...state) => states.push(state), progress() {} });
      t.after(() => stream.close());
      stream.open();
    });
    assert.deepEqual(received, [['1-1', true], ['1-2', true], ['1-3', false]]);
    const why = { 0: 'cannot reach the node', [-1]: 'try again' }[delay];
    assert.deepEqual(states, [['connecting'], ...(why ? [['reconnecting', why]] : []), ['open']]);
  });
}

test('position is not an event, but moves the resume point', async (t) => {
  const asked = [];
  const server = await WebServer.start((request, answer) => {
    if (!request.url.endsWith('/sse')) return answerNewest(answer);
    asked.push(request.headers['last-event-id']);
    answer.setHeader('Content-Type', 'text/event-stream; charset=utf-8');
    if (asked.length === 1) return answer.end('retry: 1\nevent: pipecast.position\nid: 5-7\ndata: {}\n\n');
    answer.write('event: names\nid: 5-8\ndata: 1\n\n');
  });
  t.after(() => server.stop());
  const { id, channel } = await new Promise((event) => {
    const stream = new Stream(`${server.url}/p`, () => ({}), { event, state() {}, progress() {} });
    t.after(() => stream.close());
    stream.open();
  });
  assert.deepEqual([id, channel], ['5-8', 'names']);
  assert.deepEqual(asked, [undefined, '5-7']);
});

test('HTML page in place of a stream closes it', async (t) => {
  const server = await WebServer.start((request, answer) => answer.setHeader('Content-Type', 'text/html').end('<h1>Back soon</h1>\n\ndata: 1\n\n'));
  t.after(() => server.stop());
  await new Promise((resolve, reject) => {
    const state = (name, why) => (name === 'open' ? reject(new Error('it is open')) : name === 'closed' && resolve(assert.match(why, /text\/html/)));
    const stream = new Stream(`${server.url}/p`, () => ({}), { event: reject, state, progress() {} });
    t.after(() => stream.close());
    stream.open();
  });
});

/** The words that a shell passes to curl, which does not run. Fails if the command runs anything else. */
function wordsOf(command) {
  const { stdout, stderr, status } = spawnSync('/bin/bash', ['--norc', '-c', `curl() { printf '%s\\0' "$@"; }\n${command}`], {
    encoding: 'utf8', env: { PATH: '/nonexistent', PIPECAST_TOKEN: 'a token' },
  });
  assert.deepEqual([status, stderr], [0, ''], command);
  return stdout.split('\0').slice(0, -1);
}

// Characters that browsers do not encode in a path, and that a proxy's base path may contain.
const HOSTILE_URLS = ['$(poweroff)', '`poweroff`', "';poweroff;'", ';poweroff', '&poweroff&', '|poweroff', '!!', '(x)', '*', '~', '{a,b}', '$HOME', '\\', '"']
  .map((text) => `http://127.0.0.1/${text}/pipelines/p`);

test('copied commands are one command, whatever they contain', () => {
  const hostile = 'a\'b"$(poweroff)`poweroff`\n\u001b[201~poweroff\u009b2J\u202e\u007f\\';
  for (const url of [...HOSTILE_URLS, 'http://127.0.0.1/pipelines/p']) {
    for (const hasToken of [false, true]) {
      const token = hasToken ? ['-H', 'Authorization: Bearer a token'] : [];
      const body = JSON.stringify({ channel: hostile, payload: { [hostile]: hostile } });
      const publish = curlPublish(url, `\t${body}\r\n`, hasToken);
      const words = wordsOf(publish);
      assert.deepEqual(words.slice(0, -1), [`${url}/events`, ...token, '-H', 'Content-Type: application/json', '-d']);
      assert.deepEqual(JSON.parse(words.at(-1)), JSON.parse(body));
      const stream = curlStream(url, { channels: [hostile], resume: hostile, hasToken });
      assert.deepEqual(wordsOf(stream), ['-N', `${url}/sse?channel=${encodeURIComponent(hostile)}`, ...token, '-H', visible(`Last-Event-ID: ${hostile}`)]);
      const codes = pieces(url, hostile, body, { publish: hasToken, subscribe: hasToken }).flatMap((piece) => [piece.subscribe, piece.publish]);
      for (const text of [publish, stream, ...codes]) {
        assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      }
    }
  }
});

test('copied code quotes the address and the channel', () => {
  const channel = 'a"); poweroff(); ("\u2028\u202e\u001b';
  for (const url of HOSTILE_URLS) {
    const { subscribe: code } = pieces(url, channel, '{}', {}).find(({ title }) => title === 'Browser');
    const heard = [];
    class EventSource {
      constructor(address) {
        heard.push(address);
      }

      addEventListener(name) {
        heard.push(name);
      }
    }
    new Function('EventSource', code)(EventSource);
    assert.deepEqual(heard, [`${url}/sse`, channel, 'pipecast.gap']);
  }
});

test('copied Ruby code interpolates nothing', () => {
  const hostile = '#{exit 3}#$0#@x"); exit 3; ("';
  const codes = ['{"harmless":"#{exit 3}"}', JSON.stringify(hostile)].flatMap((body) => {
    const { publish, subscribe } = pieces(`http://127.0.0.1/${hostile}`, hostile, body, {}).find(({ title }) => title === 'Ruby');
    return [[publish, 'events', body], [subscribe, 'sse', '']];
  });
  const stub = `module Net; module HTTP
    def self.post(_, body, _) = (puts body; exit)
    Get = Class.new { def self.new(_) = exit }
  end; end
  def require(_) = true
  def URI(url) = (puts url)
  `;
  for (const [code, path, body] of codes) {
    const { stdout, status, stderr } = spawnSync('ruby', ['-e', stub + code], { encoding: 'utf8' });
    assert.deepEqual([stdout.trimEnd(), status], [`http://127.0.0.1/${hostile}/${path}\n${body}`.trimEnd(), 0], stderr);
  }
});

test('channels look the same everywhere, and are spread over all colours', () => {
  assert.deepEqual(['names', 'orders', 'cron_test'].map(lookOf), [{ color: 1, shape: 0 }, { color: 0, shape: 2 }, { color: 4, shape: 1 }]);
  const counts = new Map();
  for (let n = 0; n < 32_000; n += 1) {
    const { color, shape } = lookOf(`channel ${n}`);
    counts.set(`${color} ${shape}`, (counts.get(`${color} ${shape}`) ?? 0) + 1);
  }
  assert.equal(counts.size, 32);
  for (const count of counts.values()) assert.ok(count > 800 && count < 1200, String(count));
});

test('axis ends at a round number with a whole half', () => {
  for (const [count, end] of [[0, 4], [4, 4], [5, 10], [11, 20], [21, 40], [99, 100], [101, 200], [4001, 10_000]]) assert.equal(roundedUp(count), end);
});

// WCAG 2.2, 1.4.3, and the simulation of colour blindness by Machado, Oliveira and Fernandes (2009).
const SIGHTS = {
  trichromat: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanope: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranope: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
};
const linear = (hex) => hex.match(/\w\w/g).map((pair) => parseInt(pair, 16) / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
const times = (matrix, vector) => matrix.map((row) => dot(row, vector));
const luminance = (rgb) => dot([0.2126, 0.7152, 0.0722], rgb);
function oklab(rgb) {
  const lms = times([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]], rgb.map((value) => Math.min(1, Math.max(0, value))));
  return times([[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]], lms.map(Math.cbrt));
}

test('colours of channels are readable, and apart for colour-blind users too', () => {
  const css = file('base.css') + file('inspector/style.css');
  const dark = [...css.matchAll(/@media \(prefers-color-scheme: dark\) \{\s*:root \{([^}]+)\}/g)].map(([, text]) => text).join();
  const light = [...css.matchAll(/^:root \{([^}]+)\}/gm)].map(([, text]) => text).join();
  for (const [theme, text] of Object.entries({ light, dark })) {
    const variables = Object.fromEntries([...text.matchAll(/--(\w+): #(\w+);/g)].map(([, name, hex]) => [name, hex.length === 3 ? hex.replace(/./g, '$&$&') : hex]));
    const colors = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => linear(variables[`c${n}`]));
    for (const background of ['page', 'card', 'well', 'hover']) {
      for (const [n, color] of colors.entries()) {
        const [low, high] = [luminance(color), luminance(linear(variables[background]))].sort((a, b) => a - b);
        assert.ok((high + 0.05) / (low + 0.05) >= 4.5, `${theme}: c${n} on ${background}`);
      }
    }
    for (const [sight, matrix] of Object.entries(SIGHTS)) {
      const seen = colors.map((color) => oklab(times(matrix, color)));
      for (const [n, a] of seen.entries()) {
        for (const [m, b] of seen.entries()) if (m > n) assert.ok(Math.hypot(...a.map((value, at) => value - b[at])) >= 0.065, `${theme}: c${n} and c${m} for a ${sight}`);
      }
    }
  }
});

test('indented payload is the same JSON, with every digit', () => {
  for (const payload of [...Object.values(texts), ...Object.values(hostile), { a: [], b: {}, c: [[1, { d: null }]], 'x,:"{}[]\\': '\\' }, [], {}, '']) {
    const json = JSON.stringify(payload);
    assert.deepEqual(JSON.parse(visible(pretty(json))), payload);
  }
  assert.equal(pretty('{"a":[1,2],"b":{}}'), '{\n  "a": [\n    1,\n    2\n  ],\n  "b": {}\n}');
  for (const json of numbers) assert.equal(pretty(json).replaceAll(/\s/g, ''), json.replaceAll(/\s/g, ''));
});

test('deep nesting is not indented to thousands of lines', () => {
  const deep = `${'['.repeat(120)}${'1,'.repeat(100_000)}1${']'.repeat(120)}`;
  assert.equal(pretty(deep), deep);
});

test('ids are ordered by time, then by number', () => {
  assert.ok(isAfter('10-1', '9-2'));
  assert.ok(isAfter('10-10', '10-9'));
  assert.ok(!isAfter('10-9', '10-9'));
});

test('oldest events are dropped at the limit, filtered or not', () => {
  const events = new Events();
  events.filter(new Set(['even']), '');
  for (let n = 0; n < 50_000; n += 1) events.add({ kind: 'event', id: `1-${n}`, channel: n % 2 ? 'odd' : 'even', data: String(n) });
  assert.ok(events.all.length <= 20_000 && events.all.length >= 19_000);
  assert.equal(events.all.at(-1).data, '49999');
  assert.deepEqual(events.passing, events.all.filter(({ channel }) => channel === 'even'));
  assert.equal(events.channels.get('even').count, events.passing.length);

  for (let n = 0; n < 100; n += 1) events.add({ kind: 'event', id: `2-${n}`, channel: 'even', data: 'x'.repeat(1_000_000) });
  assert.ok(events.all.reduce((sum, { data }) => sum + data.length, 0) <= 64_000_000);
  assert.equal(events.channels.get('odd'), undefined);
});

test('channels without an event are dropped', () => {
  const events = new Events();
  const add = (channel) => events.add({ kind: 'event', id: '1-1', channel, data: '1' });
  for (let n = 0; n < 300_000; n += 1) {
    add(`invented ${n}`);
    if (n % 1000 === 0) add('lasting');
    assert.ok(events.channels.size <= 20_000);
  }
  const kept = new Map();
  for (const { channel } of events.all) kept.set(channel, (kept.get(channel) ?? 0) + 1);
  assert.deepEqual(new Map([...events.channels].map(([name, { count }]) => [name, count])), kept);
  for (const { color } of events.channels.values()) assert.ok(color >= 0 && color < 8);
  events.clear();
  assert.equal(events.channels.size, 0);
});

test('long channel names count towards the limit', () => {
  const events = new Events();
  for (let n = 0; n < 3000; n += 1) events.add({ kind: 'event', id: `1-${n}`, channel: n + 'x'.repeat(50_000), data: '1' });
  assert.ok(events.all.length < 2000);
});
