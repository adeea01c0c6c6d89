// The inspector in Chromium. engines.test.mjs tests what may differ in other engines.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { kill, recordOutput, start } from '../support/processes.mjs';
import { Proxy } from '../support/proxy.mjs';
import { WebServer } from '../support/web_server.mjs';
import { launchChromium } from './chromium.mjs';
import { button, codeOf, copied, counts, kinds, newer, numbersIn, openInspector, previews, stateIs, textIs } from './inspector_page.mjs';
import { Origin } from './origin.mjs';

describe('inspector', { timeout: 300_000 }, () => {
  let chromium;
  let node;

  before(async () => {
    [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start()]);
  });
  after(() => Promise.all([chromium?.close(), node?.kill()]));

  // This pipeline's page.
  const open = (t, pipeline, { base = node.publicUrl, ...options } = {}) => openInspector(t, chromium, `${base}/pipelines/${pipeline.id}`, options);

  /** The colour of an element's text, or the one that a variable gives it. */
  const colorOf = (page, selector, variable) => page.locator(selector).evaluate((element, name) => {
    if (name) element.style.color = `var(${name})`;
    return getComputedStyle(element).color;
  }, variable);

  async function startProxy(t) {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    return proxy;
  }

  test('gap is a row between the events', async (t) => {
    const pipeline = new Pipeline(node);
    const proxy = await startProxy(t);
    const page = await open(t, pipeline, { base: proxy.url });
    const first = await pipeline.publish('names', 'first');
    await counts(page, 1);
    await textIs(page, '#resume', first);
    proxy.refuse();
    proxy.cut();
    await stateIs(page, 'reconnecting');
    await pipeline.publishBatch(range(0, 130).map((n) => ['names', n]));
    proxy.accept();
    await stateIs(page, 'open');
    const gap = page.locator('#events li.gap');
    await gap.waitFor();
    assert.deepEqual(numbersIn(await gap.innerText()), [30]);
    await until('the kept events are shown', async () => (await previews(page)).length === 101);
    await counts(page, 101);
    assert.deepEqual((await kinds(page)).slice(-4), ['replayed', 'gap', 'note', '']);
  });

  test('resumes where the user disconnected', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    await pipeline.publish('names', 1);
    await counts(page, 1);
    await button(page, 'Disconnect').click();
    await stateIs(page, 'disconnected');
    // What the user asked for is not a fault.
    assert.equal(await colorOf(page, '#state'), await colorOf(page, '#resume', '--soft'));
    assert.notEqual(await colorOf(page, '#state'), await colorOf(page, '#resume', '--bad'));
    await pipeline.publish('names', 2);
    await button(page, 'Connect').click();
    await until('the missed event is shown', async () => (await previews(page)).length === 2);
    assert.deepEqual(await previews(page), ['2', '1']);
  });

  test('filters by channel and by text', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publishBatch([['names', 'Luke'], ['orders', 'Luke (x1)'], ['names', 'Leia'], ['or.ers', 'Han']]);
    const page = await open(t, pipeline);
    await counts(page, 4);
    await button(page, 'names 2').click();
    assert.deepEqual(await previews(page), ['"Leia"', '"Luke"']);
    const filter = page.getByRole('searchbox', { name: 'Filter' });
    await filter.fill('LUKE');
    assert.deepEqual(await previews(page), ['"Luke"']);
    await counts(page, 1, 4);
    await pipeline.publishBatch([['names', 'Luke again'], ['names', 'Obi Wan']]);
    await counts(page, 2, 6);
    assert.deepEqual(await previews(page), ['"Luke again"', '"Luke"']);
    await button(page, 'names 4').click();
    assert.deepEqual(await previews(page), ['"Luke again"', '"Luke (x1)"', '"Luke"']);
    // The filter is text, not a pattern.
    await filter.fill('or.ers');
    assert.deepEqual(await previews(page), ['"Han"']);
    await filter.fill('(x1)');
    assert.deepEqual(await previews(page), ['"Luke (x1)"']);
    await filter.fill('nothing has this');
    await page.locator('#empty').waitFor();
  });

  test('list does not move while paused; clearing the view keeps the history', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    await pipeline.publish('names', 1);
    await counts(page, 1);
    await button(page, 'Pause').click();
    await pipeline.publishBatch([['names', 2], ['names', 3]]);
    await newer(page, 2).waitFor();
    assert.deepEqual(await previews(page), ['1']);
    await button(page, 'Pause').click();
    await until('the newer events are shown', async () => (await previews(page)).length === 3);
    await button(page, 'Clear view').click();
    await counts(page, 0);
    assert.deepEqual(await previews(page), []);
    assert.deepEqual((await pipeline.history()).map(({ payload }) => payload), [1, 2, 3]);
    await pipeline.publish('names', 4);
    await until('the next event is shown', async () => (await previews(page)).length === 1);
  });

  test('copied commands run in a shell', async (t) => {
    const pipeline = new Pipeline(node);
    const [first] = await pipeline.publishBatch([["it's", 1], ['names', { name: "D'Artagnan" }]]);
    const page = await open(t, pipeline, { permissions: ['clipboard-read', 'clipboard-write'] });
    await counts(page, 2);
    await page.locator('#events summary').first().click();
    await button(page, 'Copy curl to publish').click();
    await promisify(execFile)('sh', ['-c', await copied(page)]);
    await until('the event is published again', async () => (await previews(page)).length === 3);
    assert.equal((await previews(page))[0], '{"name":"D\'Artagnan"}');

    await button(page, "it's 1").click();
    await button(page, 'Copy curl to subscribe').click();
    const command = await copied(page);
    assert.match(command, /Last-Event-ID: \d+-3/);
    const whole = command.replace(/ \\\n {2}-H 'Last-Event-ID: [^']+'$/, '');
    const shell = start('sh', ['-c', `exec ${whole} -s`]);
    t.after(() => kill(shell));
    const output = recordOutput(shell);
    const frame = `id: ${first}\nevent: it's\ndata: 1\n`;
    await until('the event is printed', () => output.text.includes(frame), () => output.text);
    assert.doesNotMatch(output.text, /Artagnan/);
  });

  test('reports an event as published only when a node did', async (t) => {
    // The page and its stream come from the node, and answers to POST from something else. The numbers must be shown.
    const answers = [
      [(answer) => answer.writeHead(301, { Location: '/pipelines/p_x/events' }), []],
      [(answer) => answer.writeHead(200, { 'Content-Type': 'text/html' }), [200]],
      [(answer) => answer.writeHead(202), [202]],
    ];
    let answerPost;
    const server = await WebServer.start((asked, answer) => {
      if (asked.method === 'POST') return asked.resume().on('end', () => answerPost(answer).end('<h1>Back soon</h1>'));
      const { hostname, port } = new URL(node.publicUrl);
      const onward = request({ hostname, port, path: asked.url, headers: asked.headers }, (got) => got.pipe(answer.writeHead(got.statusCode, got.headers)));
      onward.on('error', () => answer.destroy()).end();
      answer.on('close', () => onward.destroy());
    });
    t.after(() => server.stop());
    const page = await chromium.newPage();
    t.after(() => page.close());
    await page.goto(`${server.url}/pipelines/p_x`);
    await stateIs(page, 'open');
    for (const [head, numbers] of answers) {
      answerPost = head;
      await button(page, 'Publish').click();
      const result = () => page.locator('#result[data-kind="error"]').innerText();
      await until(`an error with ${numbers}`, async () => numbersIn(await result()).join() === numbers.join());
    }
  });

  test('links put nothing but a name into copied commands', async (t) => {
    const hostile = ['p_x%0Apoweroff%0Ay', 'p_x%0A', '%0Ap_x', 'p_x%0D', 'p_x;poweroff', 'p_x$(poweroff)', 'p_x%20y', "p_x'", 'p_x%E2%80%AE', 'p'.repeat(129)];
    // The node itself has no inspector for such a name, but a proxy might give it out.
    const html = await (await fetch(`${node.publicUrl}/pipelines/p_x`, { headers: { Accept: 'text/html' } })).text();
    const careless = await Origin.start(html);
    t.after(() => careless.stop());
    const page = await chromium.newPage();
    t.after(() => page.close());
    for (const name of hostile) {
      const answer = await page.goto(`${node.publicUrl}/pipelines/${name}`);
      assert.equal(answer.status(), 400, name);
      assert.doesNotMatch(await page.locator('html').textContent(), /poweroff|p_x/, name);
      await page.goto(`${careless.url}/pipelines/${name}`);
      await stateIs(page, 'closed');
      assert.doesNotMatch(await page.locator('#code').textContent(), /poweroff|p_x/, name);
    }
    await page.goto(`${node.publicUrl}/pipelines/p_x`);
    await stateIs(page, 'open');
  });

  test('code for browsers runs on a page of another origin', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    await page.getByRole('textbox', { name: 'Channel' }).fill('it\'s "quoted"');
    const code = await codeOf(page, 'Browser', 'subscribe');
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

  test('downloads filtered events as NDJSON with every digit', async (t) => {
    const pipeline = new Pipeline(node);
    const number = '12345678901234567890.10';
    const ids = [await pipeline.publishText('numbers', number), await pipeline.publish('numbers', 'a')];
    await pipeline.publish('names', 0);
    const page = await open(t, pipeline);
    await counts(page, 3);
    await button(page, 'numbers 2').click();
    const [download] = await Promise.all([page.waitForEvent('download'), button(page, 'Download').click()]);
    assert.equal(download.suggestedFilename(), `${pipeline.id}.ndjson`);
    assert.equal(readFileSync(await download.path(), 'utf8'),
      `{"id":"${ids[0]}","channel":"numbers","payload":${number}}\n{"id":"${ids[1]}","channel":"numbers","payload":"a"}\n`);
  });

  test('page stays small with 10,000 events', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    for (let batch = 0; batch < 10; batch += 1) {
      await pipeline.publishBatch(range(0, 1000).map((n) => [`channel ${n % 5}`, { n: batch * 1000 + n, text: 'lorem ipsum dolor' }]));
    }
    await counts(page, 10_000);
    assert.equal(await page.locator('#events li.gap').count(), 0);
    assert.ok((await page.locator('*').count()) < 3000);
    assert.match((await previews(page))[0], /"n":9999,/);
    const filter = page.getByRole('searchbox', { name: 'Filter' });
    await filter.fill('"n":17,');
    await counts(page, 1, 10_000);
    await filter.fill('');
    // Older events appear at the end, and new ones do not move the list while the user reads.
    const log = page.getByRole('log');
    await log.evaluate((element) => (element.scrollTop = element.scrollHeight));
    await until('older ones are shown', async () => (await previews(page)).length > 200);
    const top = await log.evaluate((element) => element.scrollTop);
    await pipeline.publish('channel 1', 'the newest');
    await newer(page, 1).waitFor();
    assert.equal(await log.evaluate((element) => element.scrollTop), top);
    await newer(page, 1).click();
    await until('the newest event is shown', async () => (await previews(page))[0] === '"the newest"');
    assert.equal((await previews(page)).length, 200);
  });

  test('page stays bounded when a publisher invents channels', async (t) => {
    const pipeline = new Pipeline(node);
    const page = await open(t, pipeline);
    const devtools = await page.context().newCDPSession(page);
    let made = 0;
    const heapAfter = async (batches) => {
      for (let batch = 0; batch < batches; batch += 1) {
        await pipeline.publishBatch(range(0, 1000).map(() => [`invented channel number ${(made += 1)}`, made]));
      }
      await until('the last event is shown', async () => (await previews(page))[0] === String(made));
      await devtools.send('HeapProfiler.collectGarbage');
      return (await devtools.send('Runtime.getHeapUsage')).usedSize;
    };
    const full = await heapAfter(30);
    const later = await heapAfter(90);
    assert.ok(later < full * 1.4, `${full} bytes of heap when the list is full, ${later} bytes after three times as many events`);
    const [kept] = numbersIn(await page.locator('#counts').innerText());
    assert.ok(kept <= 20_000 && kept > 10_000, `${kept} events`);
    assert.equal(await page.locator('#channels button').count(), 40);
  });

  test('everything works with only the keyboard', async (t) => {
    const pipeline = new Pipeline(node);
    await pipeline.publishBatch([['names', { name: 'Luke' }], ['names', { name: 'Leia' }]]);
    const page = await open(t, pipeline);
    await counts(page, 2);
    const press = (key) => page.keyboard.press(key);
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('role') || document.activeElement.textContent);
    const visited = [];
    const tabTo = async (name) => {
      for (let step = 0; step < 60; step += 1) {
        await press('Tab');
        visited.push(await focused());
        if (visited.at(-1) === name) return;
      }
      assert.fail(`Tab does not reach ${name}, only ${visited}`);
    };
    await tabTo('filter');
    await page.keyboard.type('luke');
    await counts(page, 1, 2);
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
    await tabTo('tab-0');
    await press('ArrowRight');
    await page.getByRole('region', { name: 'Subscribe: Browser' }).waitFor();
    assert.equal(await page.getByRole('tab', { selected: true }).textContent(), 'Browser');
    for (const name of ['pipeline', 'Open', 'token', 'Use', 'connect', 'pause', 'clear', 'copy-stream', 'download', 'names2']) {
      assert.ok(visited.includes(name), `${name} is among ${visited}`);
    }
  });

  test('another pipeline opens on the same page, and "back" returns', async (t) => {
    const [first, second] = [new Pipeline(node), new Pipeline(node)];
    await first.publish('names', 'in the first');
    await second.publish('names', 'in the second');
    const page = await open(t, first);
    await counts(page, 1);
    await page.getByLabel('Token').fill('s3cret');
    await page.getByRole('textbox', { name: 'Pipeline' }).fill(second.id);
    await page.getByRole('textbox', { name: 'Pipeline' }).press('Enter');
    await until('the second is shown', async () => (await previews(page)).join() === '"in the second"');
    assert.equal(new URL(page.url()).pathname, `/pipelines/${second.id}`);
    assert.match(await codeOf(page, 'curl', 'subscribe'), new RegExp(second.id));
    assert.equal(await page.getByLabel('Token').inputValue(), 's3cret');
    await page.goBack();
    await until('the first is shown', async () => (await previews(page)).join() === '"in the first"');
    assert.equal(await page.getByRole('textbox', { name: 'Pipeline' }).inputValue(), first.id);
  });

  test('token is in a form that no password manager fills', async (t) => {
    const page = await open(t, new Pipeline(node));
    const field = page.getByLabel('Token');
    const { form, type, autocomplete, name } = await field.evaluate(({ form, type, autocomplete, name }) => ({ form: form?.id, type, autocomplete, name }));
    assert.deepEqual({ form, type, autocomplete, name }, { form: 'identify', type: 'password', autocomplete: 'off', name: '' });
    const before = page.url();
    await field.fill('s3cret');
    await field.press('Enter');
    await stateIs(page, 'open');
    assert.equal(page.url(), before);
  });

  test('token goes into a header and is stored nowhere', async (t) => {
    const pipeline = new Pipeline(node);
    const proxy = await startProxy(t);
    const page = await open(t, pipeline, { base: proxy.url });
    await page.getByLabel('Token').fill('s3cret-token');
    await page.getByLabel('Token').press('Tab');
    await stateIs(page, 'open');
    await button(page, 'Publish').click();
    await counts(page, 1);
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

  test('policy allows only this script and this style', async (t) => {
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    for (const [path, script] of [['/nowhere', "'none'"], ['/', "'sha256-\\S+'"], ['/pipelines/p_x', "'sha256-\\S+'"]]) {
      const answer = await page.goto(node.publicUrl + path);
      const policy = answer.headers()['content-security-policy'];
      assert.match(policy, new RegExp(`^default-src 'none'; style-src 'sha256-\\S+'; script-src ${script}; connect-src 'self'; `));
      assert.doesNotMatch(policy, /unsafe|\*/);
    }
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

  test('invalid pipeline name is rejected, and another works', async (t) => {
    const context = await chromium.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const name = page.getByRole('textbox', { name: 'Pipeline' });
    await page.goto(`${node.publicUrl}/pipelines/p_x`);
    await stateIs(page, 'open');
    await name.fill('not/a/pipeline');
    await name.press('Enter');
    await stateIs(page, 'closed');
    assert.equal(await colorOf(page, '#state'), await colorOf(page, '#resume', '--bad'));
    await name.fill('p_other');
    await name.press('Enter');
    await stateIs(page, 'open');
    assert.equal(new URL(page.url()).pathname, '/pipelines/p_other');
    assert.match(await page.locator('#code').textContent(), /\/pipelines\/p_other\/sse/);
  });
});
