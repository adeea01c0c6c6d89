// A browser whose node crashes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline, numbersIn, range } from '../support/pipeline.mjs';
import { RedisServer } from '../support/redis.mjs';
import { launchChromium } from './chromium.mjs';
import { Listener } from './listener.mjs';
import { Origin } from './origin.mjs';

test('browser loses and duplicates nothing when its node dies', { timeout: 60_000 }, async (t) => {
  const redis = await RedisServer.start();
  t.after(() => redis.stop());
  const [chromium, origin, browsersNode, publishersNode] = await Promise.all([
    launchChromium(),
    Origin.start(),
    PipecastNode.start({ redis }),
    PipecastNode.start({ redis }),
  ]);
  t.after(() => Promise.all([chromium.close(), origin.stop(), browsersNode.kill(), publishersNode.kill()]));

  const pipeline = new Pipeline(publishersNode);
  const page = await chromium.newPage();
  await page.goto(origin.url);
  await pipeline.publishNumbers('names', 0, 10);
  const listener = await Listener.open(page, pipeline.through(browsersNode).streamUrl());
  await pipeline.publishNumbers('names', 10, 20);
  await listener.holds(20);

  // Killed while events are in flight, and down until the browser has failed to reconnect.
  const publishing = pipeline.publishNumbers('names', 20, 40);
  await listener.holds(25);
  await browsersNode.kill();
  await publishing;
  await until('the browser found no node', async () => (await listener.errors()) >= 2);
  await pipeline.publishNumbers('names', 40, 50);
  await browsersNode.restart();
  await listener.holds(50);

  // Killed and restarted before the browser tries to reconnect.
  await browsersNode.kill();
  await Promise.all([browsersNode.restart(), pipeline.publishNumbers('names', 50, 55)]);
  await listener.holds(55);
  await pipeline.publishNumbers('names', 55, 60);
  const events = await listener.holds(60);
  assert.deepEqual(numbersIn(events), range(0, 60));
});
