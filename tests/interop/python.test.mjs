// Clients in Python.

import { contract } from './contract.mjs';
import { publishers } from './publishers.mjs';

const python = (program) => [process.env.INTEROP_PYTHON, '-B', `python/${program}.py`];

contract('Python', [
  { name: 'PyPI httpx-sse', command: python('httpx_sse_client'), countsBlankLines: true, asksForGzip: true },
  { name: 'PyPI sseclient-py', command: python('sseclient_py_client'), asksForGzip: true },
]);

publishers('Python', [
  { name: 'requests', command: [...python('publisher'), 'requests'] },
  { name: 'aiohttp', command: [...python('publisher'), 'aiohttp'] },
]);
