// The code of docs/guide/clients/browser.md in a page.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { WebServer } from '../support/web_server.mjs';
import { launchChromium } from './chromium.mjs';
import { Origin } from './origin.mjs';

const SECRET = 'a secret of forty bytes, only for tests!';

const read = (name) => readFile(new URL(`pages/${name}`, import.meta.url), 'utf8');

describe('plain page', { concurrency: true, timeout: 90_000 }, () => {
  let chromium;
  let node;
  let guarded;

  before(async () => {
    const settings = { 'auth.subscribe': 'token', 'auth.publish': 'open', 'auth.jwt_secret': SECRET };
    [chromium, node, guarded] = await Promise.all([launchChromium(), PipecastNode.start(), PipecastNode.start({ settings })]);
  });
  after(() => Promise.all([chromium?.close(), node?.kill(), guarded?.kill()]));

  async function open(t, html) {
    const origin = await Origin.start(html);
    const context = await chromium.newContext();
    t.after(() => Promise.all([context.close(), origin.stop()]));
    const page = await context.newPage();
    await page.goto(origin.url);
    return page;
  }

  const openNames = async (t, url) =>
    open(t, (await read('names.html')).replace('http://127.0.0.1:8080/pipelines/p_aBcDeF/sse', url));

  const listed = (page) => page.locator('li').allTextContents();
  const notice = (page) => page.getByRole('status').textContent();

  test('lists kept and live events', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publish('names', { name: 'Luke' });
    const page = await openNames(t, pipeline.streamUrl());
    await until('the kept name is listed', async () => (await listed(page)).length === 1);
    await pipeline.publish('names', { name: '<b>Leia</b>' });
    await until('the live name is listed', async () => (await listed(page)).length === 2);
    assert.deepEqual(await listed(page), ['Luke', '<b>Leia</b>']);
    assert.equal(await notice(page), '');
  });

  test('shows a notice when events are missing', async (t) => {
    const pipeline = new Pipeline(node);
    const first = await pipeline.publish('names', { name: 'Luke' });
    await pipeline.publishBatch(range(0, 150).map((n) => ['names', { name: `${n}` }]));
    const page = await openNames(t, pipeline.streamUrl(`?last_event_id=${first}`));
    await until('the kept names are listed', async () => (await listed(page)).length === 100);
    assert.match(await notice(page), /missing/);
  });

  test('shows a notice when it is refused', async (t) => {
    const page = await openNames(t, new Pipeline(guarded).streamUrl());
    await until('the notice is shown', async () => /may not/.test(await notice(page)));
  });

  // A web server that hands out tokens which last for some seconds; `null` once its user has signed out.
  class Tokens extends WebServer {
    given = 0;
    hasSignedOut = false;

    static async startFor(pipeline) {
      const tokens = await super.start((_, answer) => {
        tokens.given += 1;
        const args = ['token', '--pipeline', pipeline.id, '--subscribe', '--ttl', '3s'];
        const environment = { PIPECAST_AUTH__JWT_SECRET: SECRET };
        const token = tokens.hasSignedOut
          ? null
          : execFileSync(process.env.PIPECAST_BIN, args, { env: environment, encoding: 'utf8' }).trim();
        answer.writeHead(200, { 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*' }).end(JSON.stringify({ token }));
      });
      return tokens;
    }
  }

  test('continues with a new token when the last one has expired', async (t) => {
    const pipeline = new Pipeline(guarded);
    const tokens = await Tokens.startFor(pipeline);
    t.after(() => tokens.stop());
    const page = await open(t, `<!doctype html><script type="module">
      ${await read('subscribe.mjs')}
      globalThis.received = [];
      globalThis.gaps = 0;
      const fetchToken = async () => (await (await fetch('${tokens.url}')).json()).token;
      globalThis.close = subscribe('${pipeline.streamUrl()}', fetchToken, {
        names: (event) => received.push(JSON.parse(event.data).n),
        'pipecast.gap': () => (gaps += 1),
      });
      globalThis.isReady = true;
    </script>`);
    await until('the page is ready', () => page.evaluate(() => globalThis.isReady));
    let published = 0;
    const isListed = () => page.evaluate(() => received.length);
    while (tokens.given < 4) {
      await pipeline.publishNumbers('names', published, published + 1);
      published += 1;
      // A stream with only some channels must not lose its place on the others.
      await pipeline.publishBatch(range(0, 30).map((n) => ['others', n]));
      await until('the event arrives', async () => (await isListed()) === published, isListed);
    }
    assert.deepEqual(await page.evaluate(() => [received, gaps]), [range(0, published), 0]);

    tokens.hasSignedOut = true;
    const given = tokens.given;
    await until('the user is found to have signed out', () => tokens.given > given);
    await until('no stream is open', async () => (await guarded.metric('pipecast_streams')) === 0);
  });
});
