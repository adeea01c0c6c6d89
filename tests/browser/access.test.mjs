// Subscribing with a token: in the query, in a cookie, in the inspector; and what happens when the token expires.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';
import { codeOf, counts, kinds, stateIs } from './inspector_page.mjs';
import { Listener } from './listener.mjs';
import { Origin } from './origin.mjs';

const SECRET = 'a secret of forty bytes, only for tests!';

function mint(pattern, ttl, ...more) {
  const args = ['token', '--pipeline', pattern, '--subscribe', '--ttl', ttl, ...more];
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
    await stateIs(page, 'locked');
    for (const title of ['curl', 'Browser', 'Node.js', 'Python', 'Ruby']) {
      assert.match(await codeOf(page, title, 'subscribe'), /token/i);
      // Publishing is open here.
      assert.doesNotMatch(await codeOf(page, title, 'publish'), /token/i);
    }
    assert.match(await codeOf(page, 'curl', 'subscribe'), /Bearer \$PIPECAST_TOKEN/);
  });

  test('is asked for a token once, in the field for it', async () => {
    const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
    for (const options of [{}, phone]) {
      const context = await chromium.newContext(options);
      const page = await context.newPage();
      const asked = [];
      page.on('response', (answer) => asked.push([answer.status(), new URL(answer.url()).pathname]));
      await page.goto(`${node.publicUrl}/pipelines/p_x`);
      await stateIs(page, 'locked');
      const text = await page.locator('body').innerText();
      assert.equal(text.match(/requires a token/g).length, 1, text);
      assert.match(await page.locator('#state').innerText(), /^This pipeline requires a token\. Paste one above\.$/);
      assert.equal(await page.evaluate(() => document.activeElement.id), 'token');
      assert.ok(await page.getByLabel('Token').isVisible());
      // One request found out, and no red text says it again.
      assert.deepEqual(asked.filter(([status]) => status === 401), [[401, '/pipelines/p_x/events']]);
      const red = await page.evaluate(() => {
        document.querySelector('#resume').style.color = 'var(--bad)';
        const { color } = getComputedStyle(document.querySelector('#resume'));
        return [...document.querySelectorAll('body *:not(#resume)')].filter((element) => element.textContent && getComputedStyle(element).color === color).length;
      });
      assert.equal(red, 0);
      // A token that is wrong is a fault; the node says what is wrong.
      await page.keyboard.type('nonsense');
      await page.keyboard.press('Enter');
      await stateIs(page, 'closed');
      assert.match(await page.locator('#state').innerText(), /^Closed: .*token/i);
      await context.close();
    }
  });

  test('is asked for a token when it publishes', async (t) => {
    const closed = await PipecastNode.start({ settings: { 'auth.publish': 'token', 'auth.jwt_secret': SECRET } });
    t.after(() => closed.kill());
    const page = await open(`${closed.publicUrl}/pipelines/p_x`);
    await stateIs(page, 'open');
    assert.match(await codeOf(page, 'curl', 'publish'), /Bearer \$PIPECAST_TOKEN/);
    assert.doesNotMatch(await codeOf(page, 'curl', 'subscribe'), /Bearer/);
    await page.locator('#publish .primary').click();
    await until('the token has the focus', () => page.evaluate(() => document.activeElement.id === 'token'));
    assert.match(await page.locator('#result').innerText(), /requires a token\. Paste one above\.$/);
  });

  test('sees which events were replayed, also where a token allows one channel', async () => {
    const pipeline = new Pipeline(node);
    await pipeline.publishBatch([['names', 1], ['orders', 2], ['names', 3], ['orders', 4]]);
    const page = await open(`${node.publicUrl}/pipelines/${pipeline.id}`);
    await stateIs(page, 'locked');
    await page.getByLabel('Token').fill(mint(pipeline.id, '1m', '--channel', 'names'));
    await page.getByLabel('Token').press('Enter');
    await counts(page, 2);
    await pipeline.publish('names', 5);
    await counts(page, 3);
    assert.deepEqual(await kinds(page), ['', 'replayed', 'replayed']);
  });

  test('keeps a token given to the inspector out of the address', async () => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', { name: 'Luke' });
    const page = await open(`${node.publicUrl}/pipelines/${pipeline.id}`);
    await stateIs(page, 'locked');
    const token = mint(pipeline.id, '1m');
    await page.getByLabel('Token').fill(token);
    await page.getByLabel('Token').press('Tab');
    await until('the log shows it', async () => (await page.getByRole('log').innerText()).includes('Luke'));
    const stored = await page.evaluate(() => JSON.stringify([location.href, { ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.ok(!stored.includes(token.split('.')[2]), stored);
    // The list of recent pipelines holds this one, and nothing else.
    assert.match(stored, new RegExp(pipeline.id));
  });
});
