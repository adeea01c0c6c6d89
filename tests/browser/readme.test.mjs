// The web page in the README, as a reader would copy it.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { launchChromium } from './chromium.mjs';

test('page in the README shows events, and starts again after a gap', { timeout: 60_000 }, async (t) => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const [, page] = readme.match(/^```html\n(.*?)^```$/ms);
  const [chromium, first, folder] = await Promise.all([
    launchChromium(), PipecastNode.start(), mkdtemp(join(tmpdir(), 'readme-')),
  ]);
  t.after(() => Promise.all([chromium.close(), first.kill()]));
  assert.ok(page.includes('http://127.0.0.1:8080/pipelines/p_aBcDeF/sse'));
  const file = join(folder, 'page.html');
  await writeFile(file, page.replace('http://127.0.0.1:8080', first.publicUrl));

  const tab = await chromium.newPage();
  await tab.goto(pathToFileURL(file).href);
  const names = () => tab.locator('#names li').allInnerTexts();
  const shows = (...expected) => until(`the page shows ${expected}`, async () => (await names()).join() === expected.join(), names);
  await new Pipeline(first, 'p_aBcDeF').publish('names', { name: 'Luke' });
  await shows('Luke');
  await new Pipeline(first, 'p_aBcDeF').publish('names', { name: 'Leia' });
  await shows('Luke', 'Leia');

  // The embedded store of the next node has another history, so the page's resume point is unknown there.
  await first.kill();
  const second = await PipecastNode.start({ listen: new URL(first.publicUrl).host });
  t.after(() => second.kill());
  const reloaded = tab.waitForEvent('load');
  await new Pipeline(second, 'p_aBcDeF').publish('names', { name: 'Han' });
  await reloaded;
  await shows('Han');
});
