// A Rails application with the gem, its page in Chromium, and a node that is killed and comes back: every event is in the page and in
// the application's database once and in order.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { until } from '../../support/deadline.mjs';
import { withoutSettings } from '../../support/environment.mjs';
import { PipecastNode } from '../../support/node.mjs';
import { acceptsConnections, freePort } from '../../support/ports.mjs';
import { recordOutput, start, startServer, stop } from '../../support/processes.mjs';
import { RedisServer } from '../../support/redis.mjs';

const APPLICATION = dirname(fileURLToPath(import.meta.url));
const SECRET = 'a secret of forty bytes, only for tests!';
const KEY = randomBytes(16).toString('hex');

for (const receiver of ['thread', 'process']) {
  describe(`Rails application that receives in a ${receiver}`, { timeout: 240_000 }, () => {
    const running = [];
    let browser;
    let redis;
    let node;
    let page;
    let url;
    let sent = 0;
    const logs = [];

    before(async () => {
      const port = await freePort();
      url = `http://127.0.0.1:${port}`;
      [browser, redis] = await Promise.all([launch(), RedisServer.start()]);
      node = await PipecastNode.start({
        redis,
        settings: {
          'auth.publish': 'token',
          'auth.subscribe': 'token',
          'auth.jwt_secret': SECRET,
          'auth.keys': [{ name: 'rails', key: KEY, publish: ['p_user_*'], subscribe: ['p_user_*'] }],
          'server.cors_origins': url,
        },
      });
      const options = { cwd: APPLICATION, env: await environment(node, receiver) };
      execFileSync('ruby', ['-r', './config/environment', '-e', 'load "db/schema.rb"'], options);
      const puma = await startServer('puma', ['--config', 'config/puma.rb', '--bind', `tcp://127.0.0.1:${port}`], {
        ...options,
        isReady: () => acceptsConnections(url),
      });
      running.push(puma);
      logs.push(puma.output);
      if (receiver === 'process') {
        const receiving = start('ruby', ['bin/receive'], options);
        running.push(receiving);
        logs.push(recordOutput(receiving));
      }
      page = await browser.newPage();
      page.setDefaultTimeout(30_000);
    });

    after(async () => {
      await browser?.close();
      await Promise.all(running.map((child) => stop(child)));
      await node?.kill();
      await redis?.stop();
    });

    const state = () => page.evaluate(async () => ({
      shown: Array.from(document.querySelectorAll('li'), (item) => item.textContent),
      received: (await (await fetch('/messages.json')).json()).map(([, payload]) => payload.text),
    }));

    async function send(count, form = 'Send') {
      for (let n = 0; n < count; n += 1) {
        await page.fill(`#${form} [name=text]`, `message ${sent}`);
        const [answer] = await Promise.all([page.waitForResponse((response) => response.request().method() === 'POST'), page.click(`#${form} [type=submit]`)]);
        assert.equal(answer.status(), 204, logs[0].text.slice(-2000));
        sent += 1;
      }
    }

    async function everythingArrives() {
      const all = Array.from({ length: sent }, (_, n) => `message ${n}`);
      let seen;
      await until(`${sent} events arrive`, async () => {
        seen = await state();
        return seen.shown.length >= sent && seen.received.length >= sent;
      }, () => `${JSON.stringify(seen)}\n${logs.map((log) => log.text.slice(-2000)).join('\n')}`);
      assert.deepEqual(seen, { shown: all, received: all });
    }

    test('asks for a sign-in and gives no token without it', async () => {
      await page.goto(url);
      assert.equal(new URL(page.url()).pathname, '/session/new');
      assert.equal(await page.evaluate(async () => (await fetch('/event_token')).redirected), true);
      await page.fill('[name=user]', 'luke');
      await page.click('[type=submit]');
      await page.waitForSelector('h1');
    });

    test('shows and stores what its controller publishes', async () => {
      await send(5);
      await everythingArrives();
    });

    test('shows and stores what a job publishes after a record is saved', async () => {
      // One after the other: jobs run side by side.
      for (let n = 0; n < 3; n += 1) {
        await send(1, 'Keep');
        await everythingArrives();
      }
    });

    test('misses nothing while a node is killed and comes back', async () => {
      const requests = logs[0].text.match(/Started POST "\/messages"/g).length;
      await node.kill();
      // The controller's publisher retries until the node is there again.
      const sending = send(1);
      await until('the request has reached the application', () => logs[0].text.match(/Started POST "\/messages"/g).length > requests);
      await node.restart();
      await sending;
      await send(5);
      await everythingArrives();
    });

    test('goes on after tokens have expired', async () => {
      const tokens = () => logs[0].text.match(/GET "\/event_token"/g).length;
      const before = tokens();
      await until('the page has asked for two more tokens', () => tokens() >= before + 2);
      await send(5);
      await everythingArrives();
    });

    test('reads what it missed when a page is opened again', async () => {
      await page.reload();
      await send(1);
      await everythingArrives();
    });
    test('lets a page subscribe with a cookie', async () => {
      const first = await page.evaluate(async () => {
        const headers = { 'X-CSRF-Token': document.querySelector('meta[name=csrf-token]').content };
        await fetch('/event_token', { method: 'POST', headers });
        const source = new EventSource(document.querySelector('ul').dataset.eventsUrlValue, { withCredentials: true });
        return new Promise((resolve) => {
          source.addEventListener('messages', (event) => resolve(JSON.parse(event.data).text));
          source.addEventListener('error', () => resolve('rejected'));
        });
      });
      assert.equal(first, 'message 0');
    });
  });
}

async function environment(node, receiver) {
  const folder = await mkdtemp(join(tmpdir(), 'pipecast-rails-'));
  await copyFile(join(APPLICATION, 'app/javascript/controllers/events_controller.js'), join(folder, 'events_controller.js'));
  await copyFile(join(APPLICATION, 'node_modules/@hotwired/stimulus/dist/stimulus.js'), join(folder, 'stimulus.js'));
  return {
    ...withoutSettings(),
    RAILS_ENV: 'production',
    SECRET_KEY_BASE: randomBytes(32).toString('hex'),
    DATABASE_FILE: join(folder, 'database'),
    PUBLIC_FOLDER: folder,
    EVENTS_URL: node.publicUrl,
    // Short, so that the page has to renew it.
    EVENT_TOKEN_SECONDS: '5',
    PIPECAST_URL: node.publicUrl,
    PIPECAST_TOKEN: KEY,
    EVENTS_JWT_SECRET: SECRET,
    RECEIVER: receiver,
  };
}

function launch() {
  return chromium.launch({
    executablePath: execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim(),
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
}
