// What every client must get from a node, whoever wrote it.
//
// A client is described by
//   name                    as it stands in the summary
//   row                     its row in docs/clients.md, if that has another name
//   command                 the program that reads with it, see program.mjs
//   environment             what this program finds in its environment
//   resumesBy               RegExp: how the request of a reconnect names the resume point; by the header if not given
//   takesIdsEarly           whether the `id:` line moves it, before the block is complete: a connection that ends
//                           inside of an event then costs that event
//   countsBlankLines        whether each blank line is a message to it, data or not
//   countsRetries           whether a block of only `retry:`, as at the end of a stream, is one
//   asksForGzip             whether it does so by itself
//   hidesStatus             whether it tells its application that it failed, but not by which status

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';

import { Nodes } from './nodes.mjs';
import { Performance } from './performance.mjs';
import { scenarios } from './scenarios.mjs';

const page = readFileSync(new URL('../../docs/clients.md', import.meta.url), 'utf8');

const TIMEOUT_MS = 800_000;

/** Plays all scenarios to each of these clients. */
export function contract(language, clients, { atOnce = 4 } = {}) {
  describe(language, { concurrency: true, timeout: TIMEOUT_MS }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());
    for (const client of clients) {
      describe(client.name, { concurrency: atOnce }, () => {
        test('docs/clients.md has it in its table', () => {
          const row = client.row ?? client.name;
          assert.ok(page.includes(`\n| [${row}](`) || page.includes(`\n| [${language}: ${row}](`), `no row for ${row}`);
        });
        for (const scenario of scenarios) test(scenario.name, (t) => play(t, nodes, client, scenario));
      });
    }
  });
}

/**
 * Shows what docs/clients.md says of clients without the settings that it tells of.
 *
 * A claim is `{name, client, steps, check}`: `check` gets the performance, with its `inbox` and its `proxy`, after the steps.
 */
export function claims(language, list) {
  describe(`${language}, as it comes`, { concurrency: true, timeout: TIMEOUT_MS }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());
    for (const { name, check, client, ...scenario } of list) {
      test(name, async (t) => {
        const asItComes = { ...client, environment: { AS_IT_COMES: '1', ...client.environment } };
        const performance = await prepare(t, nodes, asItComes, scenario);
        await performance.perform();
        await check(performance);
      });
    }
  });
}

async function play(t, nodes, client, scenario) {
  const performance = await prepare(t, nodes, client, scenario);
  try {
    await performance.perform();
    performance.judge();
  } catch (failure) {
    t.diagnostic(`the node wrote: ${performance.node.output.slice(-2000)}`);
    throw failure;
  }
}

async function prepare(t, nodes, client, scenario) {
  const performance = await Performance.prepare({ resumesBy: /^last-event-id: \d+-\d+\r$/im, ...client }, scenario, nodes);
  t.after(() => performance.stop());
  return performance;
}
