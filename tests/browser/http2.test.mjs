// Many streams of one page over one connection, with TLS and HTTP/2.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { makeCertificate } from '../support/certificate.mjs';
import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { launchChromium } from './chromium.mjs';

/** The number of open connections at the node's public port. */
function connections(node) {
  const port = Number(new URL(node.publicUrl).port).toString(16).toUpperCase().padStart(4, '0');
  const isOurs = (line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return local?.endsWith(`:${port}`) && state === '01';
  };
  return readFileSync('/proc/net/tcp', 'utf8').split('\n').filter(isOurs).length;
}

describe('streams over TLS in Chromium', { timeout: 60_000 }, () => {
  const streams = 20;
  let folder;
  let chromium;
  let node;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pipecast-tls-'));
    const { cert, key } = await makeCertificate(folder);
    // Node.js reads this when it connects: the tests' own requests trust the certificate too.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    const settings = { 'server.tls_cert': cert, 'server.tls_key': key };
    [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start({ settings })]);
  });
  after(async () => {
    await Promise.all([chromium?.close(), node?.kill()]);
    rmSync(folder, { recursive: true });
  });

  test(`${streams} streams of one page share one connection`, async (t) => {
    const context = await chromium.newContext({ ignoreHTTPSErrors: true });
    t.after(() => context.close());
    const page = await context.newPage();
    // The node's own page: its policy lets it connect only to its own origin.
    await page.goto(node.publicUrl);
    await page.evaluate((count) => {
      globalThis.received = Array.from({ length: count }, () => []);
      globalThis.sources = received.map((list, n) => {
        const source = new EventSource(`/pipelines/tab${n}/sse`);
        source.addEventListener('names', (event) => list.push(event.data));
        return source;
      });
    }, streams);
    const open = () => page.evaluate(() => sources.filter((source) => source.readyState === EventSource.OPEN).length);
    await until('all streams are open at the same time', async () => (await open()) === streams, open);
    // On a slow machine the browser may have opened a spare one, which it does not use and the node closes.
    await until('they share one connection', () => connections(node) === 1, () => connections(node));

    for (let n = 0; n < streams; n += 1) {
      const answer = await fetch(`${node.publicUrl}/pipelines/tab${n}/events`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Connection: 'close' },
        body: JSON.stringify({ channel: 'names', payload: n }),
      });
      assert.equal(answer.status, 202);
      await answer.text();
    }
    const received = () => page.evaluate(() => globalThis.received);
    const expected = Array.from({ length: streams }, (_, n) => [String(n)]);
    await until('each stream has its event', async () => (await received()).every((list) => list.length > 0), received);
    assert.deepEqual(await received(), expected);
  });

  test('streams resume over HTTP/2 after the node was killed', async (t) => {
    const own = await PipecastNode.start({
      settings: { 'server.tls_cert': join(folder, 'cert.pem'), 'server.tls_key': join(folder, 'key.pem') },
    });
    t.after(() => own.kill());
    const context = await chromium.newContext({ ignoreHTTPSErrors: true });
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(own.publicUrl);
    await page.evaluate(() => {
      globalThis.opened = 0;
      globalThis.sources = Array.from({ length: 8 }, () => {
        const source = new EventSource('/pipelines/p/sse');
        source.addEventListener('open', () => { opened += 1; });
        return source;
      });
    });
    const opened = () => page.evaluate(() => globalThis.opened);
    await until('all are open', async () => (await opened()) === 8, opened);
    await own.kill();
    await own.restart();
    await until('all are open again', async () => (await opened()) >= 16, opened);
  });
});
