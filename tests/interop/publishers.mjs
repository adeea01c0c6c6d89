// Publishers that are refused and go on, in every language.
//
// A publisher is a program that reads a request from each line of its standard input, as JSON:
//   {"url": ..., "headers": {...}, "before": ..., "fill": n, "after": ...}
// and posts a body of `before`, n times an `x` and `after`, with its library's defaults, on a connection that it keeps where it may. For
// each one it prints {"status": ...}, or {"error": ...} if it got no answer. It ends when its input does.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';

import { start } from '../support/processes.mjs';
import { Pipeline, numbersIn, range } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Nodes, token } from './nodes.mjs';

const TIMES = 30;
const MEBIBYTE = 1 << 20;

const json = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
const event = { headers: json, before: '{"channel":"names","payload":"', after: '"}' };

// What is refused, and with which status: bodies of so many bytes, from what fits a socket's buffer to what is not read to its end.
const refusals = [
  { name: '401 while 20 KB are on their way', status: 401, fill: 20_000, headers: { ...json, Authorization: 'Bearer wrong-0123456789' } },
  { name: '401 while 200 KB are on their way', status: 401, fill: 200_000, headers: { ...json, Authorization: 'Bearer wrong-0123456789' } },
  { name: '400 for 200 KB that are no JSON', status: 400, fill: 200_000, before: '{"channel":"names","payload":' },
  { name: '415 while 200 KB are on their way', status: 415, fill: 200_000, headers: { ...json, 'Content-Type': 'text/plain' } },
  // The node of these tests takes 1 MiB, and reads what is left of four times that.
  { name: '413 for 2 MiB', status: 413, fill: 2 * MEBIBYTE },
  // Straight to the node: what a proxy does with a body that nobody reads to its end is its own affair.
  { name: '413 for 40 MiB', status: 413, fill: 40 * MEBIBYTE, times: 10, isEndless: true },
];

/**
 * Tries each of these publishers: `{name, command, environment}`.
 *
 * `expectsContinue` is for those that hold back large bodies until the node wants them: a refusal ends the connection then.
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

  const history = await fetch(pipeline.eventsUrl, { headers: { Authorization: `Bearer ${token}` } });
  const { events } = await history.json();
  assert.deepEqual(numbersIn(events.map(({ payload }) => ({ data: JSON.stringify(payload) }))), range(0, times));
  const isKept = !isEndless && !(publisher.expectsContinue && request.fill > MEBIBYTE);
  // One for all of them, or two: some have a spare one.
  if (isKept) assert.ok(proxy.connections.length <= 2, `${proxy.connections.length} connections`);
}

/** Shows what docs/clients.md says of a publisher: the one answer that it gets to a request without a right to publish. */
export function refusedOnce(name, publisher, check) {
  describe(name, { timeout: 600_000 }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());
    test('a request without a right to publish', async (t) => {
      const pipeline = new Pipeline(await nodes.get('guarded'));
      const [{ status: _, ...unauthorized }] = refusals;
      const [answer] = await post(t, publisher, [{ ...event, ...unauthorized, url: pipeline.eventsUrl }]);
      check(answer);
    });
  });
}

/** Has the publisher send the requests, one after the other, and gives what it printed. */
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

// How often there was which answer, since a list of sixty is hard to read.
function counted(answers) {
  const counts = {};
  for (const answer of answers) counts[JSON.stringify(answer)] = (counts[JSON.stringify(answer)] ?? 0) + 1;
  return counts;
}
