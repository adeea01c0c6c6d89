// Payloads that break brokers, proxies and parsers. They must arrive unchanged.

import { readFileSync } from 'node:fs';

/**
 * `texts`: by name. `numbers`: JSON texts whose digits must survive, although few parsers keep them. `hostile`: by name, values that could
 * inject code into a page.
 */
export const { texts, numbers, hostile } = JSON.parse(readFileSync(new URL('payloads.json', import.meta.url), 'utf8'));

/** A JSON value of more than 100 KB, with characters of one to four bytes. */
export const large = {
  lines: Array.from({ length: 1000 }, (_, line) => `${line} ${'lorem ipsum dolor '.repeat(5)}äöü→管🙂`),
};
