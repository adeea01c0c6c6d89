// Three browsers behind one small face, each as the system installed it: `open(url)`, `evaluate(f, argument)`, `click(selector)`,
// `fill(selector, text)`, `stop()`, and `complaints`, the errors that the page's console showed.

import { spawn } from 'node:child_process';

import puppeteer from 'puppeteer-core';

import { until } from '../support/deadline.mjs';
import { freePort } from '../support/ports.mjs';
import { installed, launchChromium } from './chromium.mjs';

export class Chromium {
  complaints = [];

  static async start() {
    const engine = new Chromium();
    engine.browser = await launchChromium();
    engine.page = await engine.browser.newPage();
    collectComplaints(engine);
    return engine;
  }

  open(url) {
    return this.page.goto(url);
  }

  evaluate(f, argument) {
    return this.page.evaluate(f, argument);
  }

  click(selector) {
    return this.page.click(selector);
  }

  fill(selector, text) {
    return this.page.fill(selector, text);
  }

  stop() {
    return this.browser.close();
  }
}

export class Firefox {
  complaints = [];

  static async start() {
    const engine = new Firefox();
    engine.browser = await puppeteer.launch({
      browser: 'firefox',
      executablePath: installed('firefox-esr', 'firefox-esr'),
      headless: true,
    });
    engine.page = await engine.browser.newPage();
    collectComplaints(engine);
    return engine;
  }

  open(url) {
    return this.page.goto(url);
  }

  evaluate(f, argument) {
    return this.page.evaluate(f, argument);
  }

  click(selector) {
    return this.page.click(selector);
  }

  async fill(selector, text) {
    await this.page.$eval(selector, (field) => field.select());
    await this.page.keyboard.press('Delete');
    await this.page.type(selector, text);
  }

  stop() {
    return this.browser.close();
  }
}

/** WebKitGTK by plain W3C WebDriver, on a display of its own. WebDriver shows no console: `complaints` stays empty. */
export class WebKit {
  complaints = [];
  #url;
  #driver;
  #session;
  #kill = () => process.kill(-this.#driver.pid, 'SIGKILL');

  static async start() {
    const engine = new WebKit();
    await engine.#launch();
    return engine;
  }

  async #launch() {
    const port = await freePort();
    this.#url = `http://127.0.0.1:${port}`;
    // A group of its own: xvfb-run starts a display, and the driver the browser.
    const args = ['-a', installed('WebKitWebDriver', 'webkit2gtk-driver'), `--port=${port}`];
    this.#driver = spawn(installed('xvfb-run', 'xvfb xauth'), args, { detached: true, stdio: 'ignore' });
    process.once('exit', this.#kill);
    await until('the driver is ready', async () => (await this.#call('GET', '/status').catch(() => ({}))).ready);
    const capabilities = { alwaysMatch: { 'webkitgtk:browserOptions': { binary: MINI_BROWSER, args: ['--automation'] } } };
    this.#session = `/session/${(await this.#call('POST', '/session', { capabilities })).sessionId}`;
  }

  open(url) {
    return this.#call('POST', `${this.#session}/url`, { url });
  }

  evaluate(f, argument) {
    const script = `return (${f})(arguments[0])`;
    return this.#call('POST', `${this.#session}/execute/sync`, { script, args: [argument ?? null] });
  }

  async click(selector) {
    await this.#call('POST', `${await this.#element(selector)}/click`, {});
  }

  async fill(selector, text) {
    const element = await this.#element(selector);
    await this.#call('POST', `${element}/clear`, {});
    await this.#call('POST', `${element}/value`, { text });
  }

  async stop() {
    await this.#call('DELETE', this.#session).catch(() => {});
    process.off('exit', this.#kill);
    this.#kill();
  }

  async #element(selector) {
    const found = await this.#call('POST', `${this.#session}/element`, { using: 'css selector', value: selector });
    return `${this.#session}/element/${Object.values(found)[0]}`;
  }

  async #call(method, path, body) {
    const answer = await fetch(this.#url + path, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }
}

const MINI_BROWSER = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/webkit2gtk-4.1/MiniBrowser`;

/** Fills `complaints` with what the page's console has to complain of, breaches of its policy among it. */
export function collectComplaints({ page, complaints }) {
  page.on('console', (message) => {
    // What a browser says of a connection that was cut is no fault of the page.
    if (/net::ERR_|NetworkError/.test(message.text())) return;
    if (['error', 'warning', 'warn'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
}
