// The inspector, all of it, in Chromium. What other engines might do otherwise is in engines.test.mjs.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { kill, recordOutput, start } from '../support/processes.mjs';
import { Proxy } from '../support/proxy.mjs';
import { launchChromium } from './chromium.mjs';
import { collectComplaints } from './engines.mjs';
import { hostileEvents } from './hostile.mjs';
import { Origin } from './origin.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

describe('the inspector', { timeout: 120_000 }, () => {
  let chromium;
  let node;

  before(async () => {
    [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start()]);
  });
  after(() => Promise.all([chromium?.close(), node?.kill()]));

  /** The page of this pipeline with its stream open; a complaint on its console fails the test. */
  async function open(t, pipeline, { base = node.publicUrl, ...options } = {}) {
    const context = await chromium.newContext(options);
    const page = await context.newPage();
    const complaints = [];
    collectComplaints({ page, complaints });
    t.after(async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    });
    await page.goto(`${base}/pipelines/${pipeline.id}`);
    await stateIs(page, 'open');
    return page;
  }

  async function startProxy(t) {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    return proxy;
  }

  const textIs = (page, selector, text) => {
    const read = () => page.locator(selector).innerText();
    return until(`${selector} is ${text}`, async () => (await read()) === text, read);
  };
  const stateIs = (page, state) => textIs(page, '#state', state);
  const counts = (page, text) => textIs(page, '#counts', text);
  const previews = (page) => page.locator('#events .preview').allInnerTexts();
  const button = (page, name) => page.getByRole('button', { name, exact: true });
  const copied = (page) => page.evaluate(() => navigator.clipboard.readText());

  test('a gap is a line of its own between the events', async (t) => {
    const pipeline = new Pipeline(node);
    const proxy = await startProxy(t);
    const page = await open(t, pipeline, { base: proxy.url });
    const first = await pipeline.publish('names', 'first');
    await counts(page, '1 event');
    await textIs(page, '#resume', first);
    proxy.refuse();
    proxy.cut();
    await stateIs(page, 'reconnecting');
    await pipeline.publishBatch(range(0, 130).map((n) => ['names', n]));
    proxy.accept();
    await stateIs(page, 'open');
    const gap = page.locator('#events li.gap');
    await gap.waitFor();
    assert.equal(await gap.innerText(), 'Gap: 30 events were missed (older than what is kept)');
    await until('the kept events are here', async () => (await previews(page)).length === 101);
    await counts(page, '101 events');
    const kinds = await page.locator('#events > li').evaluateAll((items) => items.map((item) => item.className.replace('new', '').trim()));
    assert.deepEqual(kinds.slice(-4), ['replayed', 'gap', 'note', '']);
  });

  test('a person disconnects, and goes on where they stopped', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    await pipeline.publish('names', 1);
    await counts(page, '1 event');
    await button(page, 'Disconnect').click();
    await stateIs(page, 'closed');
    await pipeline.publish('names', 2);
    await button(page, 'Connect').click();
    await until('what came meanwhile is here', async () => (await previews(page)).length === 2);
    assert.deepEqual(await previews(page), ['2', '1']);
  });

  test('filters by channel and by text', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publishBatch([['names', 'Luke'], ['orders', 'Luke (x1)'], ['names', 'Leia'], ['or.ers', 'Han']]);
    const page = await open(t, pipeline);
    await counts(page, '4 events');
    await button(page, 'names 2').click();
    assert.deepEqual(await previews(page), ['"Leia"', '"Luke"']);
    const filter = page.getByRole('searchbox', { name: 'Filter' });
    await filter.fill('LUKE');
    assert.deepEqual(await previews(page), ['"Luke"']);
    await counts(page, '1 of 4 events shown');
    await pipeline.publishBatch([['names', 'Luke again'], ['names', 'Obi Wan']]);
    await counts(page, '2 of 6 events shown');
    assert.deepEqual(await previews(page), ['"Luke again"', '"Luke"']);
    await button(page, 'names 4').click();
    assert.deepEqual(await previews(page), ['"Luke again"', '"Luke (x1)"', '"Luke"']);
    // Not a pattern, but text.
    await filter.fill('or.ers');
    assert.deepEqual(await previews(page), ['"Han"']);
    await filter.fill('(x1)');
    assert.deepEqual(await previews(page), ['"Luke (x1)"']);
    await filter.fill('nothing has this');
    await page.getByText('No event passes the filter.').waitFor();
  });

  test('holds still while it is paused, and clears', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    await pipeline.publish('names', 1);
    await counts(page, '1 event');
    await button(page, 'Pause').click();
    await pipeline.publishBatch([['names', 2], ['names', 3]]);
    await button(page, '\u2191 2 newer').waitFor();
    assert.deepEqual(await previews(page), ['1']);
    await button(page, 'Pause').click();
    await until('they are shown', async () => (await previews(page)).length === 3);
    await button(page, 'Clear').click();
    await counts(page, '0 events');
    assert.deepEqual(await previews(page), []);
    await pipeline.publish('names', 4);
    await until('what comes after is shown', async () => (await previews(page)).length === 1);
  });

  test('what it copies runs in a shell, and gives what was looked at', async (t) => {
    const pipeline = new Pipeline(node);
    const [first] = await pipeline.publishBatch([["it's", 1], ['names', { name: "D'Artagnan" }]]);
    const page = await open(t, pipeline, { permissions: ['clipboard-read', 'clipboard-write'] });
    await counts(page, '2 events');
    await page.locator('#events summary').first().click();
    await page.locator('#events').getByRole('button', { name: 'Copy as curl' }).click();
    await promisify(execFile)('sh', ['-c', await copied(page)]);
    await until('it is published again', async () => (await previews(page)).length === 3);
    assert.equal((await previews(page))[0], '{"name":"D\'Artagnan"}');

    await button(page, "it's 1").click();
    await page.locator('.tools').getByRole('button', { name: 'Copy as curl' }).click();
    const command = await copied(page);
    assert.match(command, /Last-Event-ID: \d+-3/);
    const whole = command.replace(/-H 'Last-Event-ID: [^']+' /, '');
    const shell = start('sh', ['-c', `exec ${whole} -s`]);
    t.after(() => kill(shell));
    const output = recordOutput(shell);
    const frame = `id: ${first}\nevent: it's\ndata: 1\n`;
    await until('the event is there', () => output.text.includes(frame), () => output.text);
    assert.doesNotMatch(output.text, /Artagnan/);
  });

  test('says that something is published only when a node has said so', async (t) => {
    // The page and its stream from the node, publishing by something in its place.
    const answers = [
      [(answer) => answer.writeHead(301, { Location: '/pipelines/p_x/events' }), 'Not published: something on the way redirects'],
      [(answer) => answer.writeHead(200, { 'Content-Type': 'text/html' }), 'Not published: the server answered 200'],
      [(answer) => answer.writeHead(202), 'Not published: the server answered 202'],
    ];
    let answerPost;
    const server = createServer((asked, answer) => {
      if (asked.method === 'POST') return asked.resume().on('end', () => answerPost(answer).end('<h1>Back soon</h1>'));
      const { hostname, port } = new URL(node.publicUrl);
      const onward = request({ hostname, port, path: asked.url, headers: asked.headers }, (got) => got.pipe(answer.writeHead(got.statusCode, got.headers)));
      onward.on('error', () => answer.destroy()).end();
      answer.on('close', () => onward.destroy());
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    t.after(() => (server.closeAllConnections(), server.close()));
    const page = await chromium.newPage();
    t.after(() => page.close());
    await page.goto(`http://127.0.0.1:${server.address().port}/#p_x`);
    await stateIs(page, 'open');
    for (const [head, said] of answers) {
      answerPost = head;
      await button(page, 'Publish').click();
      await page.getByText(said).waitFor();
    }
  });

  test('a link cannot put anything but a name into what is copied', async (t) => {
    const hostile = ['p_x%0Apoweroff%0Ay', 'p_x%0A', '%0Ap_x', 'p_x%0D', 'p_x;poweroff', 'p_x$(poweroff)', 'p_x%20y', "p_x'", 'p_x%E2%80%AE', '..', 'p'.repeat(129)];
    const page = await chromium.newPage();
    t.after(() => page.close());
    for (const name of hostile) {
      await page.goto('about:blank');
      await page.goto(`${node.publicUrl}/#${name}`);
      await until('the link is refused', async () => (await page.locator('#state').textContent()) === "closed: not a pipeline's name", () => page.locator('#state').textContent());
      assert.doesNotMatch(await page.locator('#code').textContent(), /poweroff|p_x/, name);
    }
    await page.goto(`${node.publicUrl}/#p_x`);
    await stateIs(page, 'open');
  });

  test('its code for browsers runs on a page of another origin', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    await page.getByRole('textbox', { name: 'Channel' }).fill('it\'s "quoted"');
    const code = await page.locator('#code pre').first().textContent();
    const origin = await Origin.start();
    t.after(() => origin.stop());
    const site = await chromium.newPage();
    t.after(() => site.close());
    const logged = [];
    site.on('console', (message) => logged.push(message.text()));
    await site.goto(origin.url);
    await site.evaluate(code);
    const id = await pipeline.publish('it\'s "quoted"', 'heard');
    await until('it is logged', () => logged.length);
    assert.deepEqual(logged, [`${id} heard`]);
  });

  test('downloads what passes the filter as NDJSON with every digit', async (t) => {
    const pipeline = new Pipeline(node);
    const number = '12345678901234567890.10';
    const ids = [await pipeline.publishText('numbers', number), await pipeline.publish('numbers', 'a')];
    await pipeline.publish('names', 0);
    const page = await open(t, pipeline);
    await counts(page, '3 events');
    await button(page, 'numbers 2').click();
    const [download] = await Promise.all([page.waitForEvent('download'), button(page, 'Download').click()]);
    assert.equal(download.suggestedFilename(), `${pipeline.id}.ndjson`);
    assert.equal(readFileSync(await download.path(), 'utf8'),
      `{"id":"${ids[0]}","channel":"numbers","payload":${number}}\n{"id":"${ids[1]}","channel":"numbers","payload":"a"}\n`);
  });

  test('10,000 events are all there, in a page that stays small', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    for (let batch = 0; batch < 10; batch += 1) {
      await pipeline.publishBatch(range(0, 1000).map((n) => [`channel ${n % 5}`, { n: batch * 1000 + n, text: 'lorem ipsum dolor' }]));
    }
    await counts(page, '10,000 events');
    assert.equal(await page.locator('#events li.gap').count(), 0);
    assert.ok((await page.locator('*').count()) < 3000);
    assert.match((await previews(page))[0], /"n":9999,/);
    const filter = page.getByRole('searchbox', { name: 'Filter' });
    await filter.fill('"n":17,');
    await counts(page, '1 of 10,000 events shown');
    await filter.fill('');
    // Further down there are more, and nothing moves under whoever reads.
    const log = page.getByRole('log');
    await log.evaluate((element) => (element.scrollTop = element.scrollHeight));
    await until('older ones are shown', async () => (await previews(page)).length > 200);
    const top = await log.evaluate((element) => element.scrollTop);
    await pipeline.publish('channel 1', 'the newest');
    await button(page, '\u2191 1 newer').waitFor();
    assert.equal(await log.evaluate((element) => element.scrollTop), top);
    await button(page, '\u2191 1 newer').click();
    await until('it is shown', async () => (await previews(page))[0] === '"the newest"');
    assert.equal((await previews(page)).length, 200);
  });

  test('a publisher that makes up channels does not fill the page', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    const devtools = await page.context().newCDPSession(page);
    let made = 0;
    const heapAfter = async (batches) => {
      for (let batch = 0; batch < batches; batch += 1) {
        await pipeline.publishBatch(range(0, 1000).map(() => [`a channel that was made up, the ${(made += 1)}th`, made]));
      }
      await until('the last one is shown', async () => (await previews(page))[0] === String(made));
      await devtools.send('HeapProfiler.collectGarbage');
      return (await devtools.send('Runtime.getHeapUsage')).usedSize;
    };
    const full = await heapAfter(30);
    const later = await heapAfter(90);
    assert.ok(later < full * 1.4, `${full} bytes of heap with as many events as are kept, ${later} after three times as many more`);
    const kept = Number((await page.locator('#counts').innerText()).match(/^[\d,]+/)[0].replace(',', ''));
    assert.ok(kept <= 20_000 && kept > 10_000, `${kept} events`);
    assert.equal(await page.locator('#channels button').count(), 40);
  });

  test('everything can be done with the keyboard alone', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publishBatch([['names', { name: 'Luke' }], ['names', { name: 'Leia' }]]);
    const page = await open(t, pipeline);
    await counts(page, '2 events');
    const press = (key) => page.keyboard.press(key);
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('role') || document.activeElement.textContent);
    const visited = [];
    const tabTo = async (name) => {
      for (let step = 0; step < 40; step += 1) {
        await press('Tab');
        visited.push(await focused());
        if (visited.at(-1) === name) return;
      }
      assert.fail(`Tab does not come to ${name}, but to ${visited}`);
    };
    await tabTo('filter');
    await page.keyboard.type('luke');
    await counts(page, '1 of 2 events shown');
    await press('Control+A');
    await press('Delete');
    await tabTo('log');
    await press('ArrowDown');
    await press('ArrowDown');
    await press('Enter');
    await until('the second event is unfolded', () => page.locator('#events li').nth(1).locator('pre').isVisible());
    assert.equal(await page.locator('#events pre').innerText(), '{\n  "name": "Luke"\n}');
    await tabTo('channel');
    await page.keyboard.type('_by_keyboard');
    await tabTo('payload');
    await press('Control+A');
    await page.keyboard.type('{"typed": true}');
    await press('Control+Enter');
    await until('it is published', async () => (await previews(page))[0] === '{"typed":true}');
    await tabTo('Browser');
    await press('Enter');
    await page.getByRole('region', { name: 'Code: Browser' }).waitFor();
    for (const name of ['pipeline', 'token', 'connect', 'pause', 'clear', 'copy-stream', 'download', 'Watch', 'names2']) {
      assert.ok(visited.includes(name), `${name} is among ${visited}`);
    }
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 390]) {
      test(`axe finds nothing, and nothing sticks out: ${colorScheme}, ${width} wide`, async (t) => {
        const pipeline = new Pipeline(node);
        const proxy = await startProxy(t);
        await pipeline.publish('before', 0);
        const page = await open(t, pipeline, { base: proxy.url, colorScheme, viewport: { width, height: 800 }, reducedMotion: 'reduce' });
        await counts(page, '1 event');
        proxy.refuse();
        proxy.cut();
        await pipeline.publishBatch([...range(0, 100).map((n) => [`channel ${n % 9}`, n]), ...hostileEvents]);
        proxy.accept();
        await page.locator('#events li.gap').waitFor();
        await page.locator('#events summary').nth(1).click();
        await page.locator('#code summary').first().click();
        await page.getByRole('button', { name: /^channel 1 / }).click();
        await page.getByRole('button', { name: 'Publish', exact: true }).click();
        await page.getByText(/^Published as/).waitFor();
        await page.getByRole('button', { name: /^channel 1 / }).click();
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        assert.deepEqual(violations.map(({ id, impact, nodes }) => [id, impact, nodes.map(({ html, failureSummary }) => [html.slice(0, 200), failureSummary])]), []);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      });
    }
  }

  test('a token goes in a header, and is kept nowhere', async (t) => {
    const pipeline = new Pipeline(node);
    const proxy = await startProxy(t);
    const page = await open(t, pipeline, { base: proxy.url });
    await page.getByLabel('Token').fill('s3cret-token');
    await page.getByLabel('Token').press('Tab');
    await stateIs(page, 'open');
    await button(page, 'Publish').click();
    await counts(page, '1 event');
    const requests = proxy.connections.map(({ request }) => request).join('');
    for (const head of ['GET \\S*/sse', 'GET \\S*', 'POST \\S*/events']) {
      assert.match(requests, new RegExp(`^${head} HTTP/1.1\r\n(?:[^\r]+\r\n)*?Authorization: Bearer s3cret-token\r\n`, 'im'));
    }
    assert.doesNotMatch(requests, /^[A-Z]+ \S*s3cret/m);
    const kept = await page.evaluate(() => [location.href, document.cookie, JSON.stringify({ ...localStorage, ...sessionStorage }), document.querySelector('#code').textContent].join(' '));
    assert.doesNotMatch(kept, /s3cret/);
    await page.reload();
    assert.equal(await page.getByLabel('Token').inputValue(), '');
  });

  test('its policy allows this script and this style alone', async (t) => {
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const answer = await page.goto(node.publicUrl);
    const policy = answer.headers()['content-security-policy'];
    assert.match(policy, /^default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; connect-src 'self'; /);
    assert.doesNotMatch(policy, /unsafe|\*/);
    const ran = await page.evaluate(async () => {
      const refused = new Promise((resolve) => document.addEventListener('securitypolicyviolation', resolve, { once: true }));
      const script = document.createElement('script');
      script.textContent = 'globalThis.ran = true';
      document.body.append(script);
      await refused;
      return globalThis.ran ?? false;
    });
    assert.equal(ran, false);
  });

  test("a name that is no pipeline's is told, and another can be chosen", async (t) => {
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(`${node.publicUrl}/#not/a/pipeline`);
    await stateIs(page, "closed: not a pipeline's name");
    await page.getByRole('textbox', { name: 'Pipeline' }).fill('p_other');
    await page.getByRole('textbox', { name: 'Pipeline' }).press('Enter');
    await stateIs(page, 'open');
    assert.equal(new URL(page.url()).hash, '#p_other');
    assert.match(await page.locator('#code').textContent(), /\/pipelines\/p_other\/sse/);
  });
});
