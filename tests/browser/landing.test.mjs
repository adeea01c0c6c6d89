// The landing page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { until } from '../interop/harness/deadline.mjs';
import { PipecastNode } from '../interop/harness/node.mjs';
import { Pipeline } from '../interop/harness/pipeline.mjs';
import { launchChromium } from './chromium.mjs';

test('the landing page shows the live stream and publishes', { timeout: 60_000 }, async (t) => {
  const [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start()]);
  t.after(() => Promise.all([chromium.close(), node.kill()]));
  const page = await chromium.newPage({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 2 });
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));

  // The page opens with the pipeline of the documentation.
  const pipeline = new Pipeline(node, 'p_aBcDeF');
  await pipeline.publish('names', { name: 'Luke' });
  await page.goto(node.publicUrl);
  const log = page.getByRole('log');
  const shows = (text) => until(`the log shows ${text}`, async () => (await log.innerText()).includes(text), () => log.innerText());
  await shows('{"name":"Luke"}');
  await pipeline.publish('names', { name: 'Leia' });
  await shows('{"name":"Leia"}');

  await page.getByRole('textbox', { name: 'Channel', exact: true }).fill('orders');
  await page.getByRole('textbox', { name: 'Payload', exact: true }).fill('{"order": 12345678901234567890, "paid": true}');
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await shows('{"order":12345678901234567890,"paid":true}');
  await shows('orders');
  await shows('{"name":"Luke"}');

  const items = await log.getByRole('listitem').allInnerTexts();
  assert.equal(items.length, 3);
  assert.deepEqual(complaints, []);
  if (process.env.SCREENSHOT) {
    await page.mouse.move(0, 0);
    await page.screenshot({ path: process.env.SCREENSHOT, animations: 'disabled' });
  }
});
