// How the inspector looks: nothing is cut off, for any reader, on a desktop and on a phone.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { launchChromium } from './chromium.mjs';
import { hostileEvents } from './hostile.mjs';
import { button, counts, openInspector, passesAxe, previews, showsWhatHasFocus } from './inspector_page.mjs';

describe('look of the inspector', { timeout: 300_000 }, () => {
  let chromium;
  let node;

  before(async () => {
    [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start()]);
  });
  after(() => Promise.all([chromium?.close(), node?.kill()]));

  // This pipeline's page.
  const open = (t, pipeline, { base = node.publicUrl, ...options } = {}) => openInspector(t, chromium, `${base}/pipelines/${pipeline.id}`, options);

  async function startProxy(t) {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    return proxy;
  }

  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 800], [390, 844]]) {
      test(`axe finds nothing, nothing is cut off: ${colorScheme}, ${width} wide`, async (t) => {
        const pipeline = new Pipeline(node);
        const proxy = await startProxy(t);
        await pipeline.publish('before', 0);
        const page = await open(t, pipeline, { base: proxy.url, colorScheme, viewport: { width, height }, reducedMotion: 'reduce' });
        const isPhone = width < 600;
        const view = (name) => isPhone && page.locator(`button[data-view="${name}"]`).click();
        await counts(page, 1);
        proxy.refuse();
        proxy.cut();
        await pipeline.publishBatch([...range(0, 100).map((n) => [`channel ${n % 9}`, n]), ...hostileEvents]);
        proxy.accept();
        await page.locator('#events li.gap').waitFor();
        await page.locator('#events summary').nth(1).click();
        await page.getByRole('button', { name: /^channel 1 / }).click();
        await view('code');
        await page.getByRole('tab', { name: 'Node.js' }).click();
        if (isPhone) await passesAxe(page); // elsewhere the code is in view at the end, too
        await view('publish');
        await page.locator('#publish .primary').click();
        await page.locator('#result[data-kind="done"]').waitFor();
        await view('stream');
        // The published event does not pass the filter; this one is live, and nothing moves.
        await pipeline.publish('channel 1', 'live');
        await until('it is shown', async () => (await previews(page))[0] === '"live"');
        assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
        await page.getByRole('button', { name: /^channel 1 / }).click();
        if (isPhone) await page.locator('#fold').click();
        await passesAxe(page);
        const seen = await showsWhatHasFocus(page);
        for (const id of ['pipeline', 'token', 'filter', 'connect']) assert.ok(seen.includes(id), `${id} is among ${seen}`);
      });
    }
  }

  test('phone shows one row above, and publishes without scrolling', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publishBatch(range(0, 100).map((n) => ['names', n]));
    const page = await open(t, pipeline, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    await counts(page, 100);
    const fold = page.locator('#fold');
    assert.match(await fold.innerText(), new RegExp(`${pipeline.id}.*no token`, 's'));
    assert.ok((await page.locator('header').boundingBox()).height < 60);
    assert.equal(await page.getByLabel('Token').isVisible(), false);
    // What can be tapped without scrolling first.
    const tap = async (selector) => {
      const { x, y, width, height } = await page.locator(selector).boundingBox();
      assert.ok(x >= 0 && x + width <= 390 && y >= 0 && y + height <= 844, `${selector} is at ${x}, ${y}`);
      await page.touchscreen.tap(x + width / 2, y + height / 2);
    };
    await tap('button[data-view="publish"]');
    await tap('#publish .primary');
    await page.locator('#result[data-kind="done"]').waitFor();
    assert.doesNotMatch(await page.locator('body').innerText(), /Ctrl|Arrow|Enter/);
    assert.equal(await page.locator('.keys').first().isVisible(), false);
    await tap('button[data-view="stream"]');
    await until('it is in the list', async () => (await previews(page))[0] === '{"name":"Luke"}');
    await tap('#fold');
    await page.getByLabel('Token').fill('s3cret');
    await tap('#identify button');
    await until('the row says so', async () => /with a token/.test(await fold.innerText()));
    assert.equal(await page.getByLabel('Token').isVisible(), false);
  });

  test('payload has more room than the rest of its row', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('a.channel.with.a.long.name', 'lorem ipsum '.repeat(100));
    const page = await open(t, pipeline, { viewport: { width: 1280, height: 800 } });
    await counts(page, 1);
    const width = async (selector) => (await page.locator(selector).first().boundingBox())?.width ?? 0;
    const [row, payload, id] = await Promise.all(['#events summary', '#events .preview', '#events .id'].map(width));
    assert.ok(payload > row * 0.6 && id === 0, `${payload} of ${row}, and ${id} for the id`);
    await page.locator('#events summary').click();
    assert.match(await page.locator('#events .mark').innerText(), /^\d+-1 /);
    await page.setViewportSize({ width: 1920, height: 1000 });
    assert.ok((await width('#events .id')) > 0);
  });

  test('code scrolls sideways and breaks no line', async (t) => {
    const pipeline = new Pipeline(node, `p_${'long'.repeat(30)}`);
    for (const width of [1280, 390]) {
      const page = await open(t, pipeline, { viewport: { width, height: 844 } });
      if (width < 600) await page.locator('button[data-view="code"]').click();
      for (const tab of await page.getByRole('tab').all()) {
        await tab.click();
        for (const text of await page.locator('#code pre:visible').all()) {
          const { lines, shown, wide, scrolls } = await text.evaluate((pre) => {
            const { lineHeight } = getComputedStyle(pre);
            const rows = pre.firstElementChild.getBoundingClientRect().height / parseFloat(lineHeight);
            pre.scrollLeft = 1e6;
            return { lines: pre.textContent.split('\n').length, shown: Math.round(rows), wide: pre.scrollWidth > pre.clientWidth, scrolls: pre.scrollLeft > 0 };
          });
          assert.deepEqual([shown, wide, scrolls], [lines, true, true], await text.textContent());
        }
      }
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    }
  });

  test('chart has a scale and a caption, and nothing to show when empty', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', 'kept'); // replayed: not in the chart
    const page = await open(t, pipeline);
    await counts(page, 1);
    const chart = page.locator('figure');
    assert.match(await chart.innerText(), /^Live events per second/);
    assert.equal(await page.locator('#quiet').isVisible(), true);
    assert.equal(await page.locator('#numbers').isVisible(), false);
    assert.deepEqual(await page.locator('.y span').allInnerTexts(), ['', '', '0']);
    assert.deepEqual(await page.locator('.x span').allInnerTexts(), ['60 s ago', '45', '30', '15', 'now']);
    await pipeline.publishBatch(range(0, 30).map((n) => ['names', n]));
    await page.locator('#numbers').waitFor();
    await until('the axis fits', async () => (await page.locator('#top').innerText()) === '40');
    assert.equal(await page.locator('#half').innerText(), '20');
    assert.equal(await page.locator('#quiet').isVisible(), false);
    assert.match(await page.locator('#chart').getAttribute('aria-label'), /per second.*peak 30$/);
    await button(page, 'Clear view').click();
    await page.locator('#quiet').waitFor();
  });

  test('channel keeps its colour and shape, whatever else is there', async (t) => {
    const [first, second] = [new Pipeline(node), new Pipeline(node)];
    await first.publishBatch(['names', 'orders', 'cron_test'].map((channel) => [channel, 1]));
    await second.publishBatch(['new', 'cron_test', 'other', 'orders', 'names'].map((channel) => [channel, 1]));
    const looks = async (pipeline) => {
      const page = await open(t, pipeline);
      await counts(page, pipeline === first ? 3 : 5);
      const marks = await page.locator('#channels button').evaluateAll((buttons) => buttons.map((button) => {
        const { backgroundColor, clipPath } = getComputedStyle(button, '::before');
        return [button.channel, `${backgroundColor} ${clipPath}`];
      }));
      return Object.fromEntries(marks);
    };
    const [a, b] = [await looks(first), await looks(second)];
    assert.deepEqual(a, { names: b.names, orders: b.orders, cron_test: b.cron_test });
    assert.equal(new Set(Object.values(a)).size, 3);
    // The chart's bar has the colour of the button.
    const page = await open(t, first);
    await first.publish('orders', 2);
    await page.locator('#numbers').waitFor();
    const [red, green, blue] = a.orders.match(/\d+/g).map(Number);
    await until('a bar has this colour', () => page.evaluate(([r, g, b]) => {
      const canvas = document.querySelector('#chart');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) if (data[at] === r && data[at + 1] === g && data[at + 2] === b && data[at + 3] === 255) return true;
      return false;
    }, [red, green, blue]));
  });
});
