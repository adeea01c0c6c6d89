// Clients in Python.

import assert from 'node:assert/strict';

import { claims, contract } from './contract.mjs';
import { until } from '../support/deadline.mjs';
import { publishers } from './publishers.mjs';
import { arrive, each, numbers, open, publish } from './scenarios.mjs';
import { issuer } from './tokens.mjs';

const python = (program) => [process.env.INTEROP_PYTHON, '-B', `python/${program}.py`];

const httpxSse = { name: 'PyPI httpx-sse', command: python('httpx_sse_client'), countsBlankLines: true, asksForGzip: true };
const aiohttp = { name: 'PyPI aiohttp', command: python('aiohttp_client'), asksForGzip: true };

contract('Python', [
  httpxSse,
  { name: 'PyPI sseclient-py', command: python('sseclient_py_client'), asksForGzip: true },
  aiohttp,
]);

claims('Python', [
  {
    name: 'httpx drops streams that are quiet for 5 s',
    client: httpxSse,
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'back', connections: 2 }],
    check({ inbox, proxy }) {
      assert.match(inbox.errors[0], /timed out/);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'aiohttp drops streams after its total timeout',
    client: aiohttp,
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'back', connections: 2 }],
    check({ inbox, proxy }) {
      assert.equal(inbox.errors[0], 'TimeoutError()');
      assert.match(proxy.connections[0].body, /:keepalive/);
    },
  },
  {
    name: 'aiohttp reads the largest event',
    client: aiohttp,
    steps: [publish(each(['x'.repeat(262_100)])), open, arrive],
    check: (performance) => performance.judge(),
  },
  {
    name: 'aiohttp drops a hanging stream after its sock_read',
    client: { ...aiohttp, environment: { AS_IT_COMES: undefined } },
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'silence' }],
    async check({ inbox, proxy }) {
      await until('it reconnects', () => proxy.connections.length === 2);
      assert.match(inbox.errors[0], /^SocketTimeoutError/);
    },
  },
]);

publishers('Python', [
  { name: 'requests', command: [...python('publisher'), 'requests'] },
  { name: 'aiohttp', command: [...python('publisher'), 'aiohttp'] },
]);

const printing = 'from types import SimpleNamespace; from tokens.events_token import events_token; print(events_token(SimpleNamespace(id=7)))';
issuer('Python', { name: 'PyJWT', command: [process.env.INTEROP_PYTHON, '-B', '-c', printing] });
