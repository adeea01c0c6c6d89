// The system's three browsers with one interface: `open(url)`, `evaluate(f, argument)`, `click(selector)`, `fill(selector, text)`, `stop()`,
// and `complaints`, the errors on the page's console.

import puppeteer from 'puppeteer-core';

import { freePort } from '../support/ports.mjs';
import { kill, startServer } from '../support/processes.mjs';
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
      defaultViewport: { width: 1280, height: 800 },
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

/** WebKitGTK through W3C WebDriver, on its own display. WebDriver has no console: `complaints` stays empty. */
export class WebKit {
  complaints = [];
  #url;
  #driver;
  #session;

  static async start() {
    const engine = new WebKit();
    await engine.#launch();
    return engine;
  }

  async #launch() {
    const port = await freePort();
    this.#url = `http://127.0.0.1:${port}`;
    // Detached: xvfb-run starts a display, and the driver the browser.
    const args = ['-a', installed('WebKitWebDriver', 'webkit2gtk-driver'), `--port=${port}`];
    this.#driver = await startServer(installed('xvfb-run', 'xvfb xauth'), args, {
      detached: true,
      isReady: async () => (await this.#call('GET', '/status').catch(() => ({}))).ready,
    });
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
    await kill(this.#driver);
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

/** Collects the errors and warnings of the page's console in `complaints`, policy violations included. */
export function collectComplaints({ page, complaints }) {
  page.on('console', (message) => {
    // The browser reports cut connections, which are not the page's fault.
    if (/net::ERR_|NetworkError/.test(message.text())) return;
    if (['error', 'warning', 'warn'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
}
