// The inspector's script outside a page: what it parses and counts.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { hostile, numbers, texts } from '../support/payloads.mjs';
import { WebServer } from '../support/web_server.mjs';

const source = ['json', 'stream', 'events', 'code'].map((name) => readFileSync(new URL(`../../src/http/inspector/${name}.js`, import.meta.url), 'utf8'));
const names = 'pretty, visible, Blocks, isAfter, Stream, Events, curlStream, curlPublish, pieces';
const { pretty, visible, Blocks, isAfter, Stream, Events, curlStream, curlPublish, pieces } = new Function(`${source.join('')}; return { ${names} }`)();

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

test('position is not an event, but moves the resume point', async (t) => {
  const asked = [];
  const server = await WebServer.start((request, answer) => {
    if (!request.url.endsWith('/sse')) return answer.end('{"last_id":"0-0"}');
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
    const state = (name) => (name === 'open' ? reject(new Error('it is open')) : name === 'closed' && resolve());
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
      assert.deepEqual(words.slice(0, -1), ['-X', 'POST', `${url}/events`, ...token, '-H', 'Content-Type: application/json', '-d']);
      assert.deepEqual(JSON.parse(words.at(-1)), JSON.parse(body));
      const stream = curlStream(url, { channels: [hostile], resume: hostile, hasToken });
      const [, ...asked] = wordsOf(stream);
      assert.deepEqual(asked, [...token, '-H', visible(`Last-Event-ID: ${hostile}`), `${url}/sse?channel=${encodeURIComponent(hostile)}`]);
      for (const text of [publish, stream, ...pieces(url, hostile, body, hasToken).map(([, code]) => code)]) {
        assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      }
    }
  }
});

test('copied code quotes the address and the channel', () => {
  const channel = 'a"); poweroff(); ("\u2028\u202e\u001b';
  for (const url of HOSTILE_URLS) {
    const [[, code]] = pieces(url, channel, '{}', false);
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
