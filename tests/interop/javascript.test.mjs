// Clients in JavaScript: from npm for Node.js, and those of Deno and Bun.

import assert from 'node:assert/strict';

import { claims, contract } from './contract.mjs';
import { until } from '../support/deadline.mjs';
import { publishers } from './publishers.mjs';
import { readingSample } from './samples.mjs';
import { arrive, numbers, open, publish } from './scenarios.mjs';
import { issuer } from './tokens.mjs';

// npm runs no scripts here, so nothing links to these programs.
const architecture = process.arch === 'arm64' ? 'arm64' : 'x64';
const runtimes = {
  deno: `node_modules/@deno/linux-${architecture}-glibc/deno`,
  bun: `node_modules/@oven/bun-linux-${architecture.replace('arm', 'aarch')}/bin/bun`,
};

const node = (program) => [process.execPath, `javascript/${program}.mjs`];

const clients = [
  { name: 'fetch of Node.js', command: node('fetch'), asksForGzip: true },
  { name: 'npm eventsource 5', command: node('eventsource'), asksForGzip: true },
  { name: 'npm eventsource 2', command: node('eventsource_2'), takesIdsEarly: true },
  { name: 'npm eventsource-client', command: node('eventsource_client'), asksForGzip: true },
  {
    name: 'npm event-source-polyfill',
    command: node('event_source_polyfill'),
    resumesBy: /^GET \S+[?&]lastEventId=\d+-\d+ /m,
    asksForGzip: true,
  },
  {
    name: 'npm @microsoft/fetch-event-source',
    command: node('fetch_event_source'),
    takesIdsEarly: true,
    countsBlankLines: true,
    asksForGzip: true,
  },
  { name: 'npm launchdarkly-eventsource', command: node('launchdarkly') },
  { name: "undici's EventSource", command: node('undici'), asksForGzip: true, hidesStatus: true },
  {
    name: "Deno's EventSource",
    command: [runtimes.deno, 'run', '--allow-all', '--quiet', 'javascript/native.mjs'],
    asksForGzip: true,
    hidesStatus: true,
  },
  { name: 'npm eventsource 5 on Bun', command: [runtimes.bun, 'javascript/eventsource.mjs'], asksForGzip: true },
];

contract('JavaScript', clients);

const named = (name) => clients.find((client) => client.name === name);

claims('JavaScript', [
  {
    name: 'eventsource 5 lets Node.js end while waiting to reconnect',
    client: named('npm eventsource 5'),
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'reset' }],
    check: ({ inbox }) => until('it ends', () => inbox.ending === 'exit 0'),
  },
  {
    name: 'launchdarkly-eventsource drops streams quiet for 5 s',
    client: named('npm launchdarkly-eventsource'),
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'back', connections: 2 }],
    check({ inbox, proxy }) {
      assert.match(inbox.errors[0], /Read timeout/);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'fetch-event-source stops when the node ends the stream',
    client: named('npm @microsoft/fetch-event-source'),
    node: 'ending',
    steps: [publish(numbers(0, 3)), open, arrive],
    check: ({ inbox }) => until('it ends', () => inbox.ending === 'exit 0'),
  },
  {
    name: 'loop around fetch drops a hanging stream after 45 s',
    client: named('fetch of Node.js'),
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'silence' }],
    check: ({ proxy }) => until('it reconnects', () => proxy.connections.length === 2),
  },
  {
    name: 'event-source-plus ignores retry: when the stream ends',
    client: { command: node('event_source_plus') },
    node: 'ending',
    steps: [publish(numbers(0, 3)), open, { do: 'back', connections: 5 }],
    check({ proxy }) {
      // This test is about the length of the pause. The shortest counts, since a busy machine adds to it; `retry:` is never below a second.
      const pauses = proxy.connections.slice(1, 5).map(({ beganAt }, index) => beganAt - proxy.connections[index].endedAt);
      assert.ok(Math.min(...pauses) < 1000, `${pauses} ms`);
    },
  },
]);

readingSample('npm eventsource', { command: node('eventsource_sample') });

publishers('JavaScript', [
  { name: "fetch of Node.js", command: node('publisher') },
  { name: 'undici', command: node('publisher'), environment: { CLIENT: 'undici' } },
  { name: "fetch of Deno", command: [runtimes.deno, 'run', '--allow-all', '--quiet', 'javascript/publisher.mjs'] },
  { name: "fetch of Bun", command: [runtimes.bun, 'javascript/publisher.mjs'] },
]);

const printing = "import { eventsToken } from './tokens/events_token.mjs'; console.log(await eventsToken({ id: 7 }));";
issuer('JavaScript', { name: 'jose', command: [process.execPath, '--input-type=module', '--eval', printing] });
