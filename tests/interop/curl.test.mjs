// curl reads one stream; reconnecting is a loop around it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { contract } from './contract.mjs';
import { PipecastNode } from './harness/node.mjs';
import { Pipeline } from './harness/pipeline.mjs';
import { start } from './harness/processes.mjs';
import { Inbox } from './inbox.mjs';

/** Runs curl on `url` again and again, each time with the id of the last block, until the inbox is closed. */
function follow(url) {
  let isClosed = false;
  let child;
  let reconnect;
  let retryMs = 1000;
  let lastEventId = '';
  const inbox = new Inbox(() => {
    isClosed = true;
    clearTimeout(reconnect);
    child.kill();
  });

  function connect() {
    const resume = lastEventId ? ['--header', `Last-Event-ID: ${lastEventId}`] : [];
    child = start('curl', ['--silent', '--show-error', '--no-buffer', ...resume, url]);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      const blocks = (text + part).split('\n\n');
      text = blocks.pop();
      for (const block of blocks) take(block);
    });
    child.stderr.setEncoding('utf8').on('data', (complaint) => {
      inbox.complaint = complaint;
    });
    child.once('close', () => {
      if (!isClosed) reconnect = setTimeout(connect, retryMs);
    });
  }

  function take(block) {
    const fields = new Map(block.split('\n').map((line) => /^([^:]*): ?(.*)$/s.exec(line).slice(1)));
    if (fields.has('retry')) retryMs = Number(fields.get('retry'));
    if (fields.has('id')) lastEventId = fields.get('id');
    if (fields.has('data')) inbox.add({ id: lastEventId, channel: fields.get('event'), data: fields.get('data') });
  }

  connect();
  return inbox;
}

contract({
  name: 'curl',
  open: (url) => follow(url),
  resumesBy: /^last-event-id: (\d+-\d+)\r$/im,
  takesIdsEarly: false,
  countsBlankLines: false,
});

describe('curl by itself', { concurrency: true, timeout: 60_000 }, () => {
  let node;
  before(async () => {
    node = await PipecastNode.start();
  });
  after(() => node.kill());

  test('the answer has the headers that keep proxies from holding it back', async (t) => {
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
