// What the tests read from the inspector's page, and what they click.

import { until } from '../support/deadline.mjs';

const read = (page, selector) => page.locator(selector).innerText();

/** Waits for the stream's state: `connecting`, `open`, `reconnecting` or `closed`. */
export function stateIs(page, state) {
  const current = () => page.locator('#state').getAttribute('data-state');
  return until(`the state is ${state}`, async () => (await current()) === state, () => read(page, '#state'));
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

/** The text in the clipboard. */
export const copied = (page) => page.evaluate(() => navigator.clipboard.readText());
