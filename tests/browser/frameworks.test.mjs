// The components of docs/guide/clients/react.md, vue.md and svelte.md in a page.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { RedisServer } from '../support/redis.mjs';
import { launchChromium } from './chromium.mjs';
import { collectComplaints } from './engines.mjs';
import { bundle } from './pages/build.mjs';
import { Origin } from './origin.mjs';

const programs = {
  // StrictMode mounts each component twice, and the first stream is closed at once.
  React: { page: 'react.jsx', server: 'react_server.jsx', opens: 2 },
  Vue: { page: 'vue.mjs', server: 'vue_server.mjs', opens: 1 },
  Svelte: { page: 'svelte.mjs', server: 'svelte_server.mjs', opens: 1 },
};

const named = (first, end) => range(first, end).map((n) => ['names', { name: `name ${n}` }]);
const shown = (first, end) => range(first, end).map((n) => `name ${n}`);

for (const [framework, program] of Object.entries(programs)) {
  describe(`${framework} component`, { concurrency: true, timeout: 120_000 }, () => {
    let chromium;
    let origin;
    let redis;

    before(async () => {
      const code = await bundle(program.page, 'browser');
      const html = `<!doctype html><link rel="icon" href="data:,"><main></main><script>
        globalThis.opened = 0;
        globalThis.EventSource = class extends EventSource {
          constructor(url) {
            super(url);
            globalThis.opened += 1;
          }
        };
        globalThis.streamUrl = new URLSearchParams(location.search).get('stream');
        </script><script type="module">${code.replaceAll('</script', '<\\/script')}</script>`;
      [chromium, origin, redis] = await Promise.all([launchChromium(), Origin.start(html), RedisServer.start()]);
    });
    after(() => Promise.all([chromium?.close(), origin?.stop(), redis?.stop()]));

    // A node of the test's own: it counts the open streams.
    async function startNode(t) {
      const node = await PipecastNode.start({ redis });
      t.after(() => node.kill());
      return node;
    }

    async function open(t, streamUrl) {
      const context = await chromium.newContext();
      t.after(() => context.close());
      const view = new View(await context.newPage());
      await view.page.goto(`${origin.url}/?stream=${encodeURIComponent(streamUrl)}`);
      return view;
    }

    const streamsAre = (node, count) =>
      until(`${count} streams are open`, async () => (await node.metric('pipecast_streams')) === count);

    test('shows kept and live events once, in order', async (t) => {
      const node = await startNode(t);
      const pipeline = new Pipeline(node);
      await pipeline.publishBatch(named(0, 20));
      const view = await open(t, pipeline.streamUrl());
      await view.shows(shown(0, 20));
      await pipeline.publishBatch(named(20, 25));
      await view.shows(shown(0, 25));
      assert.equal(await view.page.evaluate(() => globalThis.opened), program.opens);
      await streamsAre(node, 1);
      await pipeline.publishBatch(named(25, 120));
      await view.shows(shown(20, 120));
      assert.deepEqual(view.complaints, []);
    });

    test('closes its stream when it is unmounted', async (t) => {
      const node = await startNode(t);
      const view = await open(t, new Pipeline(node).streamUrl());
      await streamsAre(node, 1);
      await view.showStream(null);
      await streamsAre(node, 0);
    });

    test('shows only the other pipeline once its key has changed', async (t) => {
      const node = await startNode(t);
      const [one, other] = [new Pipeline(node), new Pipeline(node)];
      await one.publishBatch(named(0, 5));
      await other.publishBatch(named(5, 10));
      const view = await open(t, one.streamUrl());
      await view.shows(shown(0, 5));
      await view.showStream(other.streamUrl());
      await view.shows(shown(5, 10));
      await streamsAre(node, 1);
    });

    test('continues when its node is restarted', async (t) => {
      const [node, publishersNode] = await Promise.all([startNode(t), startNode(t)]);
      const pipeline = new Pipeline(publishersNode);
      await pipeline.publishBatch(named(0, 10));
      const view = await open(t, pipeline.through(node).streamUrl());
      await view.shows(shown(0, 10));
      await node.kill();
      await pipeline.publishBatch(named(10, 20));
      await node.restart();
      await view.shows(shown(0, 20));
      await pipeline.publishBatch(named(20, 25));
      await view.shows(shown(0, 25));
      assert.equal(await view.notice(), '');
      await streamsAre(node, 1);
    });

    test('shows a notice when events are missing', async (t) => {
      const [node, publishersNode] = await Promise.all([startNode(t), startNode(t)]);
      const pipeline = new Pipeline(publishersNode);
      await pipeline.publishBatch(named(0, 10));
      const view = await open(t, pipeline.through(node).streamUrl());
      await view.shows(shown(0, 10));
      assert.equal(await view.notice(), '');
      await node.kill();
      // More than the history holds.
      await pipeline.publishBatch(named(10, 160));
      await node.restart();
      await view.shows(shown(60, 160));
      assert.match(await view.notice(), /missing/);
    });

    test('renders on a server without a stream', async (t) => {
      const file = join(tmpdir(), `${framework}.mjs`);
      await writeFile(file, await bundle(program.server, 'node'));
      const { render } = await import(pathToFileURL(file).href);
      let opened = 0;
      globalThis.EventSource = function EventSource() { opened += 1; };
      t.after(() => delete globalThis.EventSource);
      assert.match(await render('http://127.0.0.1:1/pipelines/p/sse'), /<ul>.*<\/ul>/s);
      assert.equal(opened, 0);
    });
  });
}

/** The page with the component. */
class View {
  complaints = [];

  constructor(page) {
    this.page = page;
    collectComplaints(this);
  }

  /** Waits until exactly these names are listed. */
  async shows(names) {
    let listed;
    await until('the names are listed', async () => {
      listed = await this.page.locator('li').allTextContents();
      return JSON.stringify(listed) === JSON.stringify(names);
    }, () => `listed: ${listed}; ${this.complaints}`);
  }

  /** Gives the component another stream, or with `null` removes it. */
  showStream(url) {
    return this.page.evaluate((value) => { globalThis.show(value); }, url);
  }

  async notice() {
    return (await this.page.getByRole('status').allTextContents()).join();
  }
}
