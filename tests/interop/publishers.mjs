// Publishers in every language that continue after a rejected request.
//
// A publisher is a program. Each line of its standard input is a request, as JSON:
//   {"url": ..., "headers": {...}, "before": ..., "fill": n, "after": ...}
// It posts `before`, n times `x`, and `after`, with its library's defaults, and reuses its connection where it can. For each request it
// prints {"status": ...}, or {"error": ...} without an answer. It ends when its input does.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';

import { start } from '../support/processes.mjs';
import { Pipeline, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Nodes, token } from './nodes.mjs';

const TIMES = 30;
const MEBIBYTE = 1 << 20;

const json = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
const event = { headers: json, before: '{"channel":"names","payload":"', after: '"}' };

// Requests that a node rejects, from bodies that fit a socket's buffer to bodies that it does not read to their end.
const refusals = [
  { name: '401 with 20 KB in flight', status: 401, fill: 20_000, headers: { ...json, Authorization: 'Bearer wrong-0123456789' } },
  { name: '401 with 200 KB in flight', status: 401, fill: 200_000, headers: { ...json, Authorization: 'Bearer wrong-0123456789' } },
  { name: '400 for 200 KB that are not JSON', status: 400, fill: 200_000, before: '{"channel":"names","payload":' },
  { name: '415 with 200 KB in flight', status: 415, fill: 200_000, headers: { ...json, 'Content-Type': 'text/plain' } },
  // This node accepts 1 MiB, and reads and drops up to four times that.
  { name: '413 for 2 MiB', status: 413, fill: 2 * MEBIBYTE },
  // Directly to the node: proxies differ in what they do with a body that is not read to its end.
  { name: '413 for 40 MiB', status: 413, fill: 40 * MEBIBYTE, times: 10, isEndless: true },
];

/**
 * Tests each of these publishers: `{name, command, environment}`.
 *
 * One that `expectsContinue` sends a large body only after the node asked for it; a rejection then ends the connection.
 */
export function publishers(language, list) {
  describe(`${language}, publishing`, { concurrency: true, timeout: 600_000 }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());
    for (const publisher of list) {
      describe(publisher.name, { concurrency: 2 }, () => {
        for (const refusal of refusals) test(refusal.name, (t) => refuse(t, nodes, publisher, refusal));
      });
    }
  });
}

async function refuse(t, nodes, publisher, { name, status, times = TIMES, isEndless = false, ...request }) {
  const node = await nodes.get('guarded');
  const proxy = await Proxy.start(node);
  t.after(() => proxy.stop());
  const pipeline = new Pipeline(node, undefined, { token });
  const url = `${isEndless ? node.publicUrl : proxy.url}/pipelines/${pipeline.id}/events`;
  const good = (n) => ({ ...event, url, before: `{"channel":"names","payload":{"n":${n},"fill":"`, fill: 10, after: '"}}' });

  const requests = range(0, times).flatMap((n) => [{ ...event, url, ...request }, good(n)]);
  const answers = await post(t, publisher, requests);
  const expected = range(0, times).flatMap(() => [{ status }, { status: 202 }]);
  assert.deepEqual(counted(answers), counted(expected));
  assert.deepEqual(answers, expected);

  assert.deepEqual((await pipeline.history()).map(({ payload }) => payload.n), range(0, times));
  const isKept = !isEndless && !(publisher.expectsContinue && request.fill > MEBIBYTE);
  // One connection for all requests, or two: some libraries open a spare one.
  if (isKept) assert.ok(proxy.connections.length <= 2, `${proxy.connections.length} connections`);
}

/** Proves what docs/guide/clients/index.md says about a publisher: the one answer to a request that lacks permission. */
export function refusedOnce(name, publisher, check) {
  describe(name, { timeout: 600_000 }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());
    test('reports no answer when a request lacks permission', async (t) => {
      const pipeline = new Pipeline(await nodes.get('guarded'));
      const [{ status: _, ...unauthorized }] = refusals;
      const [answer] = await post(t, publisher, [{ ...event, ...unauthorized, url: pipeline.eventsUrl }]);
      check(answer);
    });
  });
}

/** Lets the publisher send the requests one after the other, and returns what it printed. */
async function post(t, { command: [command, ...args], environment }, requests) {
  const child = start(command, args, {
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (complaint += text));
  const answers = [];
  const output = createInterface({ input: child.stdout }).on('line', (line) => answers.push(JSON.parse(line)));
  child.stdin.on('error', () => {});
  child.stdin.end(requests.map((request) => `${JSON.stringify(request)}\n`).join(''));
  await once(output, 'close');
  await child.exited;
  assert.equal(child.ending, 'exit 0', complaint);
  return answers;
}

// The number of each answer: easier to read than a list of sixty.
function counted(answers) {
  const counts = {};
  for (const answer of answers) counts[JSON.stringify(answer)] = (counts[JSON.stringify(answer)] ?? 0) + 1;
  return counts;
}
