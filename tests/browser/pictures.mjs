// The pictures of the documentation, as scripts/screenshots makes them: SCREENSHOTS is the folder for them.

import { join } from 'node:path';
import { test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';
import { button, counts, stateIs } from './inspector_page.mjs';

// The address that readers of the documentation see too.
const ADDRESS = 'http://localhost:8080';
const CUSTOMERS = ['Luke', 'Leia', 'Han', 'Obi Wan'];

// The pictures show the pace of events, so these waits are times.
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The events of a small shop in its `n`th moment. */
async function publish(pipeline, n) {
  const customer = CUSTOMERS[n % CUSTOMERS.length];
  for (let k = 0; k < 1 + 2 * Math.abs(Math.sin(n / 5)); k += 1) await pipeline.publish('names', { name: CUSTOMERS[k] });
  if (n % 2) await pipeline.publish('orders', { order: 1000 + n, customer, total: 12.5 * (1 + (n % 7)), items: ['tea', 'biscuits'] });
  if (n % 5 === 0) await pipeline.publish('cron_test', { run: n / 5, ok: true });
}

test('pictures', { timeout: 300_000 }, async (t) => {
  const node = await PipecastNode.start();
  const chromium = await launchChromium(`--host-resolver-rules=MAP localhost:8080 ${new URL(node.publicUrl).host}`);
  t.after(() => Promise.all([chromium.close(), node.kill()]));
  const page = await chromium.newPage({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5, locale: 'en-GB' });
  const pipeline = new Pipeline(node, 'p_aBcDeF');

  async function take(name, sizes = [['', 1280, 800], ['-phone', 390, 844]]) {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      for (const [suffix, width, height] of sizes) {
        await page.setViewportSize({ width, height });
        await page.mouse.move(0, 0);
        await wait(1100); // the chart is drawn each second
        await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}-${colorScheme}${suffix}.png`), animations: 'disabled' });
      }
    }
  }

  for (let n = 0; n < 40; n += 1) await publish(pipeline, n);
  for (const name of ['acme.orders', 'p_demo', 'p_aBcDeF']) {
    await page.goto(`${ADDRESS}/pipelines/${name}`);
    await stateIs(page, 'open');
  }
  // As if the others had been opened earlier.
  await page.evaluate(() => {
    const [key, text] = Object.entries(localStorage)[0];
    const minutes = [0, 12, 180];
    localStorage.setItem(key, JSON.stringify(JSON.parse(text).map(({ name }, index) => ({ name, at: Date.now() - minutes[index] * 60_000 }))));
  });
  await page.goto(ADDRESS);
  await page.locator('#recent li').nth(2).waitFor();
  await take('landing', [['', 1280, 800]]);

  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(`${ADDRESS}/pipelines/${pipeline.id}`);
  await counts(page, 100);
  await button(page, 'Clear view').click();
  for (let n = 40; n < 120; n += 1) {
    await publish(pipeline, n);
    await wait(350);
  }
  await page.locator('#events summary', { hasText: 'orders' }).nth(1).click();
  await take('inspector');
});
