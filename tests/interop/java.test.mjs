// Clients in Java.

import assert from 'node:assert/strict';

import { claims, contract } from './contract.mjs';
import { until } from '../support/deadline.mjs';
import { publishers, refusedOnce } from './publishers.mjs';
import { arrive, numbers, open, publish } from './scenarios.mjs';

const folder = process.env.INTEROP_JAVA;

// Small and soon started, for there are many of them.
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
    name: 'okhttp-sse leaves a stream that is quiet for 10 s, unless readTimeout is longer than the keepalive',
    client: okHttpSse,
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'back', connections: 2 }],
    check({ inbox, proxy }) {
      assert.match(inbox.errors[0], /timeout/i);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'okhttp-sse stays with keepalive=5s, its readTimeout as it comes',
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
    name: 'okhttp-eventsource leaves a stream that is quiet for 5 s, unless readTimeout is longer than the keepalive',
    client: okHttpEventSource,
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive],
    async check({ inbox, proxy }) {
      await until('it ends', () => inbox.ending === 'exit 0' && inbox.errors.length === 1);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'okhttp-eventsource throws when the connection is cut, unless its ErrorStrategy is alwaysContinue',
    client: okHttpEventSource,
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'reset' }],
    check: ({ inbox }) => until('it ends', () => inbox.ending === 'exit 0' && inbox.errors.length === 1),
  },
  {
    name: 'WebClient never gets beyond an event of more than 256 KiB, unless maxInMemorySize is larger',
    client: webClient,
    node: 'quiet',
    steps: [publish([{ channel: 'names', payload: JSON.stringify('x'.repeat(262_100)) }]), open, { do: 'back', connections: 3 }],
    check({ inbox }) {
      assert.match(inbox.errors[0], /200 .*DataBufferLimitException/);
      assert.deepEqual(inbox.events, []);
    },
  },
  {
    name: 'Jersey ends for good when it cannot reconnect, unless another SseEventSource takes over',
    client: jersey,
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'refuse' }, { do: 'reset' }],
    async check({ inbox }) {
      await until('it ends', () => inbox.ending === 'exit 0');
      assert.match(inbox.errors.join(), /^jakarta.ws.rs.ProcessingException: java.net.SocketException/);
    },
  },
  {
    name: 'Jersey tells of its end before it has handed over all events: onComplete comes after them',
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
    name: 'Jersey leaves a stream that hangs after its readTimeout',
    client: { ...jersey, environment: { AS_IT_COMES: undefined } },
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'silence' }],
    check: ({ proxy }) => until('it is back', () => proxy.connections.length === 2),
  },
]);

publishers('Java', [
  { name: 'JDK HttpClient', command: java('publish-with-jdk', '512m') },
  { name: 'Apache HttpClient 5', command: java('publish-with-hc5', '512m') },
]);

refusedOnce(
  'JDK HttpClient with expectContinue(true) gets no refusal, and no time-out either',
  { command: java('publish-with-jdk'), environment: { EXPECT_CONTINUE: '1' } },
  (answer) => assert.match(answer.error, /^java.util.concurrent.TimeoutException/),
);
