// Clients in Go.

import assert from 'node:assert/strict';
import { join } from 'node:path';

import { claims, contract } from './contract.mjs';
import { until } from '../support/deadline.mjs';
import { large } from '../support/payloads.mjs';
import { publishers } from './publishers.mjs';
import { publishingSamples } from './samples.mjs';
import { arrive, each, numbers, open, publish } from './scenarios.mjs';

const go = (program) => [join(process.env.INTEROP_GO, 'interop'), program];

const goSse = { name: 'go-sse', command: go('go-sse'), asksForGzip: true, countsRetries: true };
const launchDarkly = { name: 'launchdarkly/eventsource', command: go('launchdarkly'), asksForGzip: true, countsRetries: true };
const netHttp = { name: 'net/http', command: go('net-http'), asksForGzip: true };

contract('Go', [
  goSse,
  launchDarkly,
  netHttp,
  { ...netHttp, name: 'net/http without gzip', row: 'net/http', asksForGzip: false, environment: { GZIP: 'off' } },
]);

claims('Go', [
  ...[goSse, netHttp].map((client) => ({
    name: `${client.name} never gets past an event over 64 KiB`,
    client,
    steps: [publish(each([large])), open, { do: 'back', connections: 3 }],
    check({ inbox }) {
      assert.match(inbox.errors[0], /token too long/);
      assert.deepEqual(inbox.events, []);
    },
  })),
  {
    name: 'launchdarkly ends when its first connection fails',
    client: launchDarkly,
    steps: [{ do: 'cutIn', bytes: 0 }, open],
    check: ({ inbox }) => until('it ends', () => inbox.ending === 'exit 0' && inbox.errors.length > 0),
  },
  {
    name: 'r3labs/sse delivers half an event when cut inside it',
    client: { command: go('r3labs') },
    steps: [
      publish(numbers(0, 1)), open, arrive, { do: 'cutAfter', text: 'data: {"n":1,' }, publish(numbers(1, 2)), { do: 'isCut' },
    ],
    async check({ inbox }) {
      await inbox.holds(2);
      assert.equal(inbox.events[1].data, '{"n":1,');
    },
  },
]);

publishers('Go', [{ name: 'net/http', command: go('publish') }]);

publishingSamples('Go', [{ name: 'net/http', command: go('sample') }]);
