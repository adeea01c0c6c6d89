// The start page, its code, and the page for a wrong address.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { kill, recordOutput } from '../support/processes.mjs';
import { launchChromium } from './chromium.mjs';
import { collectComplaints } from './engines.mjs';
import { button, codeOf, copied, passesAxe, showsWhatHasFocus, stateIs } from './inspector_page.mjs';
import { Origin } from './origin.mjs';

const SECRET = 'a secret of forty bytes, only for tests!';

describe('start page', { timeout: 300_000 }, () => {
  let chromium;
  let node;

  before(async () => {
    [chromium, node] = await Promise.all([launchChromium(), PipecastNode.start()]);
  });
  after(() => Promise.all([chromium?.close(), node?.kill()]));

  /** The start page in a browser without any history. An error on its console fails the test. */
  async function open(t, { base = node.publicUrl, ...options } = {}) {
    const context = await chromium.newContext({ permissions: ['clipboard-read', 'clipboard-write'], ...options });
    const page = await context.newPage();
    const complaints = [];
    collectComplaints({ page, complaints });
    t.after(async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    });
    await page.goto(base);
    return page;
  }

  test('says what it is, in which version, and where', async (t) => {
    const page = await open(t);
    assert.match(await page.locator('h1').innerText(), /^Pipecast is a broker for Server-Sent Events: [^.]+\.$/);
    const [, version] = /^Pipecast (\S+):/m.exec(node.output);
    assert.equal(await page.locator('.version').innerText(), version);
    assert.equal(await page.locator('#node').innerText(), node.publicUrl);
    // Each link leads somewhere.
    for (const link of await page.locator('a').all()) {
      const url = new URL(await link.getAttribute('href'), page.url());
      const answer = await fetch(url, { headers: { Accept: 'text/html' } });
      assert.equal(answer.status, 200, url.href);
      if (url.hash) assert.match(await answer.text(), new RegExp(`id="${url.hash.slice(1)}"`));
    }
  });

  test('opens a pipeline, and lists it from then on in this browser only', async (t) => {
    const page = await open(t);
    const requests = [];
    page.context().on('request', (request) => requests.push(request.url() + (request.postData() ?? '')));
    assert.equal(await page.locator('#recent li').count(), 0);
    assert.equal(await button(page, 'Clear list').isVisible(), false);
    const name = page.getByRole('textbox', { name: 'Pipeline' });
    await name.fill('not/a name');
    await name.press('Enter');
    assert.match(await page.getByRole('alert').innerText(), /1 to 128 characters/);
    assert.equal(new URL(page.url()).pathname, '/');
    for (const id of ['p_first', 'p_second', 'p_first']) {
      await name.fill(id);
      await button(page, 'Open').click();
      await stateIs(page, 'open');
      assert.equal(new URL(page.url()).pathname, `/pipelines/${id}`);
      await page.getByRole('link', { name: 'Pipecast' }).click();
      await page.locator('#recent li').first().waitFor();
    }
    assert.deepEqual(await page.locator('#recent a').allInnerTexts(), ['p_first', 'p_second']);
    assert.match(await page.locator('#recent time').first().innerText(), /^just now$|^1 minute ago$/);
    await page.locator('#recent a').last().click();
    await stateIs(page, 'open');
    await page.goBack();
    await until('"back" shows what is new', async () => (await page.locator('#recent a').allInnerTexts()).join() === 'p_second,p_first');

    // No request names a pipeline but the one that it opens.
    const names = /p_first|p_second/;
    for (const url of requests) assert.ok(!names.test(url) || /^\/pipelines\/(p_first|p_second)(\/|$)/.test(new URL(url).pathname), url);
    const stranger = await open(t);
    assert.equal(await stranger.locator('#recent li').count(), 0);

    await button(page, 'Clear list').click();
    assert.equal(await page.locator('#recent li').count(), 0);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'recent-title');
    await page.reload();
    assert.equal(await page.locator('#recent li').count(), 0);
  });

  test('lists nothing that another program left in the storage', async (t) => {
    const page = await open(t);
    await page.evaluate(() => (location.href = '/pipelines/p_x'));
    await stateIs(page, 'open');
    const [key] = await page.evaluate(() => Object.keys(localStorage));
    for (const text of ['{', '7', '[7]', 'null', '[{"name":"javascript:alert(1)","at":1}]', '[{"name":"a/../b","at":1}]', '[{"name":"p_x"}]']) {
      await page.evaluate((pair) => localStorage.setItem(...pair), [key, text]);
      await page.goto(node.publicUrl);
      assert.equal(await page.locator('#recent li').count(), 0, text);
      assert.ok(await page.locator('#none').isVisible(), text);
    }
  });

  test('tabs follow the keyboard, and copy their code', async (t) => {
    const page = await open(t);
    const selected = () => page.getByRole('tab', { selected: true }).innerText();
    await page.getByRole('tab', { name: 'curl' }).focus();
    for (const [key, title] of [['ArrowRight', 'Browser'], ['End', 'Ruby'], ['ArrowRight', 'curl'], ['ArrowLeft', 'Ruby'], ['Home', 'curl']]) {
      await page.keyboard.press(key);
      assert.equal(await selected(), title, key);
      assert.equal(await page.evaluate(() => document.activeElement.textContent), title);
      assert.equal(await page.getByRole('tabpanel').count(), 1);
    }
    for (const title of ['curl', 'Browser', 'Node.js', 'Python', 'Ruby']) {
      await page.getByRole('tab', { name: title }).click();
      for (const [index, task] of ['subscribe', 'publish'].entries()) {
        await page.getByRole('tabpanel').getByRole('button', { name: /^Cop/ }).nth(index).click();
        const code = await codeOf(page, title, task);
        await until('it is copied', async () => (await copied(page)) === code);
        assert.match(code, new RegExp(`${node.publicUrl}/pipelines/p_aBcDeF/(sse|events)`));
      }
    }
  });

  for (const needsToken of [false, true]) {
    test(`code of each tab runs as it is${needsToken ? ', with a token' : ''}`, async (t) => {
      const settings = needsToken ? { 'auth.publish': 'token', 'auth.subscribe': 'token', 'auth.jwt_secret': SECRET } : {};
      const guarded = needsToken ? await PipecastNode.start({ settings }) : node;
      if (needsToken) t.after(() => guarded.kill());
      const page = await open(t, { base: guarded.publicUrl });
      assert.equal(await page.locator('#token-note').isVisible(), needsToken);
      const token = needsToken ? await mint() : '';
      const site = await Origin.start();
      t.after(() => site.stop());
      const tab = await chromium.newPage();
      t.after(() => tab.close());
      let logged = '';
      tab.on('console', (message) => (logged += `${message.text()}\n`));
      await tab.goto(needsToken ? site.url : `${guarded.publicUrl}/`);
      await tab.evaluate((value) => (globalThis.token = value), token);

      const scripts = {
        curl: ['sh', ['-c'], 'exec '], 'Node.js': ['node', []], Python: [process.env.INTEROP_PYTHON, ['-c']], Ruby: ['ruby', ['-e'], '$stdout.sync = true\n'],
      };
      const publisher = new Pipeline(guarded, 'p_aBcDeF', { token });
      const tasks = Object.entries(scripts).map(async ([title, [program, args, prefix = '']]) => {
        const run = async (task) => {
          let code = prefix + (await codeOf(page, title, task));
          if (title === 'Node.js') {
            // Beside node_modules, where the import finds the package.
            const file = new URL(`./${task}-${process.pid}-${needsToken}.tmp.mjs`, import.meta.url);
            await writeFile(file, code);
            t.after(() => rm(file));
            code = file.pathname;
          }
          const child = spawn(program, [...args, code], { env: { PATH: process.env.PATH, PIPECAST_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'] });
          t.after(() => kill(child));
          return recordOutput(child);
        };
        const subscriber = await run('subscribe');
        const published = await run('publish');
        await until(`${title} publishes`, () => /id['"]?: ?['"]\d+-\d+['"]/.test(published.text), () => published.text);
        await until(`${title} receives`, () => /name['"]?: ?['"]Luke/.test(subscriber.text), () => subscriber.text);
      });
      for (const task of ['subscribe', 'publish']) await tab.evaluate(`(async () => { ${await codeOf(page, 'Browser', task)} })()`);
      await Promise.all(tasks);
      await publisher.publish('names', 'for the browser');
      await until('the browser receives', () => /^\d+-\d+ for the browser$/m.test(logged), () => logged);
      assert.match(logged, /id/);
    });
  }

  async function mint() {
    const child = spawn(process.env.PIPECAST_BIN, ['token', '--pipeline', 'p_aBcDeF', '--subscribe', '--publish', '--ttl', '5m'], {
      env: { PIPECAST_AUTH__JWT_SECRET: SECRET }, stdio: ['ignore', 'pipe', 'inherit'],
    });
    const output = [];
    for await (const piece of child.stdout) output.push(piece);
    return Buffer.concat(output).toString().trim();
  }

  test('wrong address shows a small page with the way back', async (t) => {
    const page = await (await chromium.newContext()).newPage();
    t.after(() => page.context().close());
    for (const [path, status] of [['/nowhere', 404], ['/pipelines/p/nowhere', 404], ['/pipelines/not%20a%20name', 400], ['/pipelines/', 400]]) {
      const answer = await page.goto(node.publicUrl + path);
      assert.equal(answer.status(), status, path);
      const links = await page.locator('main a').evaluateAll((found) => found.map(({ href }) => href));
      assert.ok(links.length === 2 && links[0] === `${node.publicUrl}/`, links.join());
      if (path.endsWith('nowhere')) await passesAxe(page);
      const program = await fetch(node.publicUrl + path);
      assert.deepEqual([program.status, program.headers.get('Content-Type'), program.headers.get('Vary')], [status, 'application/problem+json', 'Accept']);
    }
    await page.locator('main a').first().click();
    await page.getByRole('heading', { name: 'Quick start' }).waitFor();
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 800], [390, 844]]) {
      test(`axe finds nothing, nothing is cut off: ${colorScheme}, ${width} wide`, async (t) => {
        const page = await open(t, { colorScheme, viewport: { width, height } });
        await page.evaluate(() => (location.href = `/pipelines/p_${'long'.repeat(30)}`));
        await stateIs(page, 'open');
        await page.goBack();
        await page.locator('#recent li').waitFor();
        const [button, hint] = await Promise.all(['#clear', '#recent-hint'].map((selector) => page.locator(selector).boundingBox()));
        assert.ok(button.y + button.height <= hint.y + 4 || width > 600, 'the button covers the text below it');
        await page.getByRole('tab', { name: 'Python' }).click();
        await passesAxe(page);
        const seen = await showsWhatHasFocus(page);
        for (const id of ['pipeline', 'clear']) assert.ok(seen.includes(id), `${id} is among ${seen}`);
      });
    }
  }
});
