// The pages that docs/guide quotes, in Chromium on a real node. They are served as they are, with the node's address in place of the
// default one.

import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { WebServer } from '../support/web_server.mjs';
import { launchChromium } from './chromium.mjs';

const SECRET = 'a secret of forty bytes, only for tests!';
const KEY = 'of-the-backend-0123456789';

function mint(pipeline, ttl) {
  const args = ['token', '--pipeline', pipeline, '--subscribe', '--ttl', ttl];
  return execFileSync(process.env.PIPECAST_BIN, args, { env: { PIPECAST_AUTH__JWT_SECRET: SECRET }, encoding: 'utf8' }).trim();
}

describe('page of the guide', { concurrency: true, timeout: 60_000 }, () => {
  let chromium;

  before(async () => {
    chromium = await launchChromium();
  });
  after(() => chromium.close());

  /** A node of the test's own: the pages name their pipelines. */
  async function startNode(t, settings = {}) {
    const node = await PipecastNode.start({ settings });
    t.after(() => node.kill());
    return node;
  }

  /** Opens docs/guide's page `name`. `routes` answers the page's own requests: path -> value, or function that makes one. */
  async function open(t, name, base, routes = {}) {
    const text = await readFile(new URL(`./guide/${name}`, import.meta.url), 'utf8');
    const html = text.replaceAll('http://127.0.0.1:8080', base);
    const site = await WebServer.start((request, response) => {
      const route = routes[request.url];
      const [type, body] = route ? ['application/json', JSON.stringify(route())] : ['text/html', html];
      response.writeHead(200, { 'Content-Type': type }).end(body);
    });
    t.after(() => site.stop());
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(site.url);
    return page;
  }

  async function shows(page, selector, expected) {
    let texts;
    await until(`${selector} shows ${JSON.stringify(expected)}`, async () => {
      texts = await page.locator(selector).allTextContents();
      return JSON.stringify(texts) === JSON.stringify(expected);
    }, () => `it shows ${JSON.stringify(texts)}`);
  }

  test('names.html lists kept and live names, and each once after a lost connection', async (t) => {
    const node = await startNode(t);
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(node, 'p_aBcDeF');
    await pipeline.publish('names', { name: 'Luke' });
    const page = await open(t, 'names.html', proxy.url);
    await shows(page, '#names li', ['Luke']);
    await pipeline.publish('names', { name: 'Leia' });
    await shows(page, '#names li', ['Luke', 'Leia']);
    proxy.cut();
    await pipeline.publish('names', { name: 'Han' });
    await shows(page, '#names li', ['Luke', 'Leia', 'Han']);
  });

  test('prices.html loads its state at the start and after a gap, and ignores old changes', async (t) => {
    const node = await startNode(t, { 'history.limit': '2' });
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(node, 'p_prices');
    let loads = 0;
    let state = [{ symbol: 'A', price: 10, version: 5 }];
    const routes = {
      '/prices': () => {
        loads += 1;
        return state;
      },
    };
    const page = await open(t, 'prices.html', proxy.url, routes);
    await shows(page, '#prices tr', ['A10']);
    await pipeline.publish('price', { symbol: 'A', price: 9, version: 4 });
    await pipeline.publish('price', { symbol: 'B', price: 7, version: 1 });
    await shows(page, '#prices tr', ['A10', 'B7']);
    proxy.refuse();
    proxy.cut();
    state = [{ symbol: 'A', price: 12, version: 7 }, { symbol: 'B', price: 7, version: 1 }];
    for (const version of [6, 7, 8]) await pipeline.publish('price', { symbol: 'A', price: version + 5, version });
    proxy.accept();
    await shows(page, '#prices tr', ['A13', 'B7']);
    await until('the state is loaded again', () => loads === 2);
  });

  test('signed_in.html continues with a new token when one expires', async (t) => {
    const settings = {
      'auth.publish': 'token', 'auth.subscribe': 'token', 'auth.jwt_secret': SECRET,
      'auth.keys': [{ name: 'backend', key: KEY, publish: ['*'] }],
    };
    const node = await startNode(t, settings);
    const pipeline = new Pipeline(node, 'p_aBcDeF', { token: KEY });
    let tokens = 0;
    const routes = {
      '/events-token': () => {
        tokens += 1;
        return { token: mint('p_aBcDeF', '2s') };
      },
    };
    const page = await open(t, 'signed_in.html', node.publicUrl, routes);
    const expected = [];
    for (const n of [1, 2]) {
      await pipeline.publish('notifications', { text: `number ${n}` });
      expected.push(`number ${n}`);
      await shows(page, '#notifications li', expected);
      await until('the page fetches another token', () => tokens > n);
    }
  });
});
