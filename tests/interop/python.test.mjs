// Clients in Python.

import assert from 'node:assert/strict';

import { claims, contract } from './contract.mjs';
import { publishers } from './publishers.mjs';
import { arrive, numbers, open, publish } from './scenarios.mjs';

const python = (program) => [process.env.INTEROP_PYTHON, '-B', `python/${program}.py`];

const httpxSse = { name: 'PyPI httpx-sse', command: python('httpx_sse_client'), countsBlankLines: true, asksForGzip: true };

contract('Python', [
  httpxSse,
  { name: 'PyPI sseclient-py', command: python('sseclient_py_client'), asksForGzip: true },
]);

claims('Python', [
  {
    name: 'httpx leaves a stream that is quiet for 5 s, unless its read time-out is longer than the keepalive',
    client: httpxSse,
    node: 'quiet',
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'back', connections: 2 }],
    check({ inbox, proxy }) {
      assert.match(inbox.errors[0], /timed out/);
      assert.doesNotMatch(proxy.connections[0].body, /:keepalive/);
    },
  },
]);

publishers('Python', [
  { name: 'requests', command: [...python('publisher'), 'requests'] },
  { name: 'aiohttp', command: [...python('publisher'), 'aiohttp'] },
]);
