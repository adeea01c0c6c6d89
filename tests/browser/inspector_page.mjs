// What the tests read from the inspector's page, and what they click.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { until } from '../support/deadline.mjs';
import { collectComplaints } from './engines.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const read = (page, selector) => page.locator(selector).innerText();

/** Waits for the stream's state: `connecting`, `open`, `reconnecting`, `disconnected`, `locked` or `closed`. */
export function stateIs(page, state) {
  const current = () => page.locator('#state').getAttribute('data-state');
  return until(`the state is ${state}`, async () => (await current()) === state, () => read(page, '#state'));
}

/** The inspector at this address, in a browser window of its own, with its stream open. An error on its console fails the test `t`. */
export async function openInspector(t, chromium, url, options) {
  const context = await chromium.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  collectComplaints({ page, complaints });
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  });
  await page.goto(url);
  await stateIs(page, 'open');
  return page;
}

/** Waits until an element has this text. */
export function textIs(page, selector, text) {
  return until(`${selector} is ${text}`, async () => (await read(page, selector)) === text);
}

/** Waits until the count below the list is this number of events; with a filter, the shown ones and all of them. */
export function counts(page, ...numbers) {
  const current = async () => numbersIn(await read(page, '#counts')).join();
  return until(`the counts are ${numbers}`, async () => (await current()) === numbers.join());
}

/** The numbers in a text, without their separators. */
export function numbersIn(text) {
  return [...text.matchAll(/\d[\d,]*/g)].map(([number]) => Number(number.replaceAll(',', '')));
}

/** The payloads in the list, newest first. */
export const previews = (page) => page.locator('#events .preview').allInnerTexts();

/** The kinds of the list's rows, newest first: `replayed`, `gap`, `note`, or nothing for a live event. */
export const kinds = (page) =>
  page.locator('#events > li').evaluateAll((items) => items.map((item) => item.className.replace('new', '').trim()));

/** The button that leads to this number of newer events. */
export const newer = (page, count) => page.locator('#newer', { hasText: new RegExp(`\\b${count}\\b`) });

export const button = (page, name) => page.getByRole('button', { name, exact: true });

/** The code of a tab, `subscribe` or `publish`, whether or not the tab is selected. */
export async function codeOf(page, title, task) {
  const panel = await page.getByRole('tab', { name: title, exact: true }).getAttribute('aria-controls');
  return page.locator(`#${panel} code[data-task="${task}"]`).textContent();
}

/** Fails unless axe finds nothing wrong with the page. */
export async function passesAxe(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map(({ id, impact, nodes }) => [id, impact, nodes.map(({ html, failureSummary }) => [html.slice(0, 200), failureSummary])]), []);
}

/**
 * Fails if the page is wider than its window, or if anything that takes the focus is then covered or cut off. The focus goes through
 * everything that Tab reaches.
 */
export async function showsWhatHasFocus(page) {
  const found = await page.evaluate(() => {
    const seen = [];
    const hidden = [];
    for (const element of document.querySelectorAll('a, button, input, textarea, [tabindex="0"]')) {
      if (element.tabIndex < 0 || !element.checkVisibility({ visibilityProperty: true })) continue;
      element.focus();
      const { left, right, top, bottom } = element.getBoundingClientRect();
      const at = document.elementFromPoint((left + right) / 2, (Math.max(top, 0) + Math.min(bottom, innerHeight)) / 2);
      seen.push(element.id || element.textContent);
      if (!at || !(element.contains(at) || at.contains(element))) hidden.push(`${element.outerHTML.slice(0, 100)} behind ${at?.outerHTML.slice(0, 100)}`);
      if (left < 0 || right > innerWidth) hidden.push(`${element.outerHTML.slice(0, 100)} from ${left} to ${right}`);
    }
    return { seen, hidden, width: document.documentElement.scrollWidth - innerWidth };
  });
  assert.deepEqual([found.hidden, found.width], [[], 0]);
  return found.seen;
}

/** The text in the clipboard. */
export const copied = (page) => page.evaluate(() => navigator.clipboard.readText());
