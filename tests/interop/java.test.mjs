// Clients in Java.

import assert from 'node:assert/strict';

import { claims, contract } from './contract.mjs';
import { until } from '../support/deadline.mjs';
import { publishers, refusedOnce } from './publishers.mjs';
import { publishingSamples } from './samples.mjs';
import { arrive, numbers, open, publish } from './scenarios.mjs';

const folder = process.env.INTEROP_JAVA;

// With little memory and a quick start, since many run at once.
const java = (program, memory = '128m') => [
  'java', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', `-Xmx${memory}`, '-Xshare:auto',
  '-cp', `${folder}/classes:${folder}/jars/*`, 'Program', program,
];

const okHttpSse = { name: 'okhttp-sse', command: java('okhttp-sse'), asksForGzip: true };
const okHttpEventSource = { name: 'okhttp-eventsource', command: java('okhttp-eventsource'), asksForGzip: true };
const webClient = { name: 'Spring WebClient', command: java('webclient'), countsBlankLines: true, asksForGzip: true };
const jersey = {
  name: 'Jersey',
  command: java('jersey'),
  countsBlankLines: true,
  resumesBy: /^GET \S+[?&]last_event_id=\d+-\d+|^last-event-id: \d+-\d+\r$/im,
};
const jdk = { name: 'JDK HttpClient', command: java('jdk') };

contract('Java', [okHttpSse, okHttpEventSource, webClient, jersey, jdk], { atOnce: 5 });

claims('Java', [
  {
    name: 'okhttp-sse drops streams that are quiet for 10 s',
    client: okHttpSse,
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'back', connections: 2 }],
    check({ inbox, proxy }) {
      assert.match(inbox.errors[0], /timeout/i);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'okhttp-sse stays connected with keepalive=5s',
    client: okHttpSse,
    node: 'quiet',
    query: '?keepalive=5s',
    steps: [
      publish(numbers(0, 3)), open, arrive, { do: 'carries', text: ':keepalive\n\n:keepalive\n\n:keepalive\n\n' },
      publish(numbers(3, 6)), arrive,
    ],
    check: ({ proxy }) => assert.equal(proxy.connections.length, 1),
  },
  {
    name: 'okhttp-eventsource drops streams that are quiet for 5 s',
    client: okHttpEventSource,
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive],
    async check({ inbox, proxy }) {
      await until('it ends', () => inbox.ending === 'exit 0' && inbox.errors.length === 1);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'okhttp-eventsource throws when the connection is cut',
    client: okHttpEventSource,
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'reset' }],
    check: ({ inbox }) => until('it ends', () => inbox.ending === 'exit 0' && inbox.errors.length === 1),
  },
  {
    name: 'WebClient never gets past an event over 256 KiB',
    client: webClient,
    node: 'quiet',
    steps: [publish([{ channel: 'names', payload: JSON.stringify('x'.repeat(262_100)) }]), open, { do: 'back', connections: 3 }],
    check({ inbox }) {
      assert.match(inbox.errors[0], /200 .*DataBufferLimitException/);
      assert.deepEqual(inbox.events, []);
    },
  },
  {
    name: 'Jersey ends for good when it cannot reconnect',
    client: jersey,
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'refuse' }, { do: 'reset' }],
    async check({ inbox }) {
      await until('it ends', () => inbox.ending === 'exit 0');
      assert.match(inbox.errors.join(), /^jakarta.ws.rs.ProcessingException: java.net.SocketException/);
    },
  },
  {
    name: 'Jersey reports an error before it has delivered all events',
    client: { ...jersey, environment: { IS_SLOW: '1' } },
    steps: [
      publish(numbers(0, 3)), open, { do: 'carries', text: '"n":2,' }, { do: 'refuse' }, { do: 'reset' }, arrive,
    ],
    async check({ inbox }) {
      await until('it ends', () => inbox.ending === 'exit 0');
      assert.equal(inbox.events.length, 3);
    },
  },
  {
    name: 'Jersey drops a hanging stream after its readTimeout',
    client: { ...jersey, environment: { AS_IT_COMES: undefined } },
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'silence' }],
    check: ({ proxy }) => until('it reconnects', () => proxy.connections.length === 2),
  },
]);

publishers('Java', [
  { name: 'JDK HttpClient', command: java('publish-with-jdk', '512m') },
  { name: 'Apache HttpClient 5', command: java('publish-with-hc5', '512m') },
]);

refusedOnce(
  'JDK HttpClient with expectContinue(true)',
  { command: java('publish-with-jdk'), environment: { EXPECT_CONTINUE: '1' } },
  (answer) => assert.match(answer.error, /^java.util.concurrent.TimeoutException/),
);

publishingSamples('Java', [
  { name: 'JDK HttpClient', command: java('sample-with-jdk') },
  { name: 'Spring WebClient', command: java('sample-with-spring') },
]);
