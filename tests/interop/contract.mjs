// What every client must receive from a node, whatever its library.
//
// A client is described by
//   name                    its name in the summary
//   row                     its row in docs/guide/clients/index.md, if the name differs
//   command                 the program that reads with it, see program.mjs
//   environment             extra environment variables for that program
//   resumesBy               RegExp: how a reconnect request gives the resume point; the header by default
//   takesIdsEarly           whether it commits an id at its `id:` line: a connection lost inside an event then skips that event
//   countsBlankLines        whether every blank line is a message to it, with or without data
//   countsRetries           whether a block with only `retry:`, as at the end of a stream, is a message to it
//   asksForGzip             whether it asks for gzip by default
//   hidesStatus             whether it reports a failure to its application without the status

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';

import { Nodes } from './nodes.mjs';
import { Performance } from './performance.mjs';
import { scenarios } from './scenarios.mjs';

const page = readFileSync(new URL('../../docs/guide/clients/index.md', import.meta.url), 'utf8');

const TIMEOUT_MS = 800_000;

/** Plays every scenario to each of these clients. */
export function contract(language, clients, { atOnce = 4 } = {}) {
  describe(language, { concurrency: true, timeout: TIMEOUT_MS }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());
    for (const client of clients) {
      describe(client.name, { concurrency: atOnce }, () => {
        test('docs/guide/clients/index.md lists the client', () => {
          const row = client.row ?? client.name;
          assert.ok(page.includes(`\n| [${row}](`) || page.includes(`\n| [${language}: ${row}](`), `no row for ${row}`);
        });
        for (const scenario of scenarios) test(scenario.name, (t) => play(t, nodes, client, scenario));
      });
    }
  });
}

/**
 * Proves what docs/guide/clients/index.md says about clients with their default settings.
 *
 * A claim is `{name, client, steps, check}`. After the steps, `check` gets the performance, with its `inbox` and `proxy`.
 */
export function claims(language, list) {
  describe(`${language}, default settings`, { concurrency: true, timeout: TIMEOUT_MS }, () => {
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
