// Subscribing with a token: in the query, in a cookie, in the inspector; and what happens when the token expires.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';
import { Listener } from './listener.mjs';
import { Origin } from './origin.mjs';

const SECRET = 'a secret of forty bytes, only for tests!';

function mint(pattern, ttl) {
  const args = ['token', '--pipeline', pattern, '--subscribe', '--ttl', ttl];
  return execFileSync(process.env.PIPECAST_BIN, args, { env: { PIPECAST_AUTH__JWT_SECRET: SECRET }, encoding: 'utf8' }).trim();
}

describe('subscriber that needs a token', { timeout: 60_000 }, () => {
  let chromium;
  let node;
  let origin;

  before(async () => {
    [chromium, origin] = await Promise.all([launchChromium(), Origin.start()]);
    const settings = {
      'auth.subscribe': 'token',
      'auth.jwt_secret': SECRET,
      'server.cors_origins': new URL(origin.url).origin,
    };
    node = await PipecastNode.start({ settings });
  });
  after(() => Promise.all([chromium.close(), node.kill(), origin.stop()]));

  const isClosed = (page) => until('the browser gave up', () => page.evaluate(() => source.readyState === EventSource.CLOSED));

  // A page with its own cookies.
  async function open(url, cookie) {
    const context = await chromium.newContext();
    if (cookie) await context.addCookies([{ name: 'pipecast_token', value: cookie, url: node.publicUrl }]);
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  test('reads with a token in the query, never without', async () => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', 1);
    const page = await open(origin.url);
    await Listener.open(page, pipeline.streamUrl());
    await isClosed(page);
    const listener = await Listener.open(page, pipeline.streamUrl(`?token=${mint(pipeline.id, '1m')}`));
    await listener.holds(1);
    await pipeline.publish('names', 2);
    assert.deepEqual((await listener.holds(2)).map((event) => event.data), ['1', '2']);
  });

  test('loses its stream for good when the token expires', async () => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', 1);
    const page = await open(origin.url);
    const listener = await Listener.open(page, pipeline.streamUrl(`?token=${mint(pipeline.id, '4s')}`));
    await listener.holds(1);
    await isClosed(page);
  });

  test('reads with a cookie from allowed origins', async () => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', 1);
    for (const [url, options] of [[origin.url, { withCredentials: true }], [node.publicUrl, {}]]) {
      const page = await open(url, mint(pipeline.id, '1m'));
      const data = await page.evaluate(([address, how]) => new Promise((resolve) => {
        const source = new EventSource(address, how);
        source.addEventListener('names', (event) => resolve(event.data));
        source.addEventListener('error', () => resolve('refused'));
      }), [pipeline.streamUrl(), options]);
      assert.equal(data, '1', url);
    }
  });

  test('gets code with a token from an inspector without one', async () => {
    const page = await open(`${node.publicUrl}/pipelines/p_code`);
    await until('the stream is refused', async () => (await page.locator('#state').getAttribute('data-state')) === 'closed');
    assert.match(await page.locator('#state').textContent(), /token/i);
    for (const code of await page.locator('#code pre').allTextContents()) assert.match(code, /token/i);
    assert.match((await page.locator('#code pre').allTextContents()).at(-1), /Bearer \$PIPECAST_TOKEN/);
  });

  test('keeps a token given to the inspector out of the address', async () => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', { name: 'Luke' });
    const page = await open(`${node.publicUrl}/pipelines/${pipeline.id}`);
    await until('the stream is refused', async () => (await page.locator('#state').getAttribute('data-state')) === 'closed');
    const token = mint(pipeline.id, '1m');
    await page.getByLabel('Token').fill(token);
    await page.getByLabel('Token').press('Tab');
    await until('the log shows it', async () => (await page.getByRole('log').innerText()).includes('Luke'));
    const stored = await page.evaluate(() => JSON.stringify([location.href, { ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.ok(!stored.includes(token.split('.')[2]), stored);
  });
});
