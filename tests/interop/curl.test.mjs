// curl reads one stream; a loop around it reconnects.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { contract } from './contract.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { start } from '../support/processes.mjs';

contract('Shell', [
  { name: 'curl', command: [process.execPath, 'javascript/curl.mjs'] },
  {
    name: 'curl --compressed',
    row: 'curl',
    command: [process.execPath, 'javascript/curl.mjs'],
    environment: { OPTION: '--compressed' },
    asksForGzip: true,
  },
]);

describe('curl by itself', { concurrency: true, timeout: 60_000 }, () => {
  let node;
  before(async () => {
    node = await PipecastNode.start();
  });
  after(() => node.kill());

  test('streams have headers that stop proxies from buffering', async (t) => {
    const child = start('curl', ['--silent', '--no-buffer', '--include', new Pipeline(node).streamUrl()]);
    t.after(() => child.kill());
    let answer = '';
    for await (const part of child.stdout) {
      answer += part;
      if (/\r\n\r\n.*retry: \d+\n/s.test(answer)) break;
    }
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.match(answer, /^content-type: text\/event-stream; charset=utf-8\r$/im);
    assert.match(answer, /^cache-control: no-cache, no-transform\r$/im);
    assert.match(answer, /^x-accel-buffering: no\r$/im);
    assert.doesNotMatch(answer, /^content-length:/im);
  });
});
