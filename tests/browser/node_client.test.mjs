// A workflow step that publishes with the Node.js package, and a browser that watches it from another origin.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { pipecastRun, step } from '../node-client/package_under_test.mjs';
import { launchChromium } from './chromium.mjs';
import { Listener } from './listener.mjs';
import { Origin } from './origin.mjs';

test('page from another origin sees the events of the sample step', { timeout: 120_000 }, async (t) => {
  const [chromium, origin, node] = await Promise.all([launchChromium(), Origin.start(), PipecastNode.start()]);
  t.after(() => Promise.all([chromium.close(), origin.stop(), node.kill()]));
  const pipeline = new Pipeline(node);
  const page = await chromium.newPage();
  await page.goto(origin.url);
  const listener = await Listener.open(page, pipeline.streamUrl());

  const { code, stdout, stderr } = await pipecastRun([
    step('names.mjs'), '--url', node.publicUrl, '--pipeline', pipeline.id,
  ]);
  assert.deepEqual([code, stderr], [0, '']);
  const events = await listener.holds(4);
  const sent = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(events, sent.map(({ id, channel, payload }) => ({ id, channel, data: JSON.stringify(payload) })));
  assert.deepEqual(events.map(({ data }) => JSON.parse(data).name), ['Luke', 'Han', 'Leia', 'Obi Wan']);
});
