// The landing page, and the pictures of it in the README.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';
import { collectComplaints } from './engines.mjs';

test('landing page shows the live stream and publishes', { timeout: 60_000 }, async (t) => {
  const [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start()]);
  t.after(() => Promise.all([chromium.close(), node.kill()]));
  const page = await chromium.newPage({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5 });
  const complaints = [];
  collectComplaints({ page, complaints });

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
  if (process.env.SCREENSHOTS) await takePictures(page, pipeline);
});

// For the README: some seconds of events from a small shop. The pictures show their pace, so these waits are times.
async function takePictures(page, pipeline) {
  const customers = ['Luke', 'Leia', 'Han', 'Obi Wan'];
  for (let n = 0; n < 60; n += 1) {
    const customer = customers[n % customers.length];
    await pipeline.publish('names', { name: customer });
    if (n % 2) await pipeline.publish('orders', { order: 1000 + n, customer, total: 12.5 * (1 + (n % 7)), items: ['tea', 'biscuits'] });
    if (n % 5 === 0) await pipeline.publish('cron_test', { run: n / 5, ok: true });
    await new Promise((resolve) => setTimeout(resolve, 60 + 40 * Math.sin(n / 4)));
  }
  await page.goto(`${pipeline.node.publicUrl}/pipelines/${pipeline.id}`);
  for (let n = 0; n < 40; n += 1) {
    const customer = customers[n % customers.length];
    for (let k = 0; k < 1 + 2 * Math.abs(Math.sin(n / 5)); k += 1) await pipeline.publish('names', { name: customers[k] });
    if (n % 2) await pipeline.publish('orders', { order: 1060 + n, customer, total: 12.5 * (1 + (n % 7)), items: ['tea', 'biscuits'] });
    if (n % 5 === 0) await pipeline.publish('cron_test', { run: 12 + n / 5, ok: true });
    await new Promise((resolve) => setTimeout(resolve, 350));
  }
  await page.locator('#events summary', { hasText: 'orders' }).nth(1).click();
  await page.locator('#code summary').first().click();
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const [name, width, height] of [['', 1280, 800], ['-phone', 390, 844]]) {
      await page.setViewportSize({ width, height });
      await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1100))); // the chart is drawn each second
      await page.mouse.move(0, 0);
      await page.screenshot({ path: join(process.env.SCREENSHOTS, `inspector-${colorScheme}${name}.png`), animations: 'disabled' });
    }
  }
}
