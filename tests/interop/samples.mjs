// Programs that the pages in docs/guide/clients quote: each publishes two events, or reads them.
//
// A publisher gets the URL to POST to as its last argument and its token in TOKEN. It publishes {"name": "Luke"} and {"name": "Leia"} on
// `names`, and prints {"id": ...} for each, or {"error": ...} and ends.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { recordOutput, start } from '../support/processes.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Nodes, token } from './nodes.mjs';

const NAMES = [{ name: 'Luke' }, { name: 'Leia' }];

/** Tests each of these publishers: `{name, command}`. */
export function publishingSamples(language, list) {
  describe(`${language}, publishing as in the documents`, { concurrency: true, timeout: 120_000 }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());

    // Publishes through a proxy, and returns what was printed and what is stored.
    async function publish(t, command, { prepare = () => {}, key = token } = {}) {
      const node = await nodes.get('guarded');
      const proxy = await Proxy.start(node);
      t.after(() => proxy.stop());
      prepare(proxy);
      const pipeline = new Pipeline(node, undefined, { token });
      const lines = await run(command, `${proxy.url}/pipelines/${pipeline.id}/events`, key);
      return { lines, stored: await pipeline.history(), proxy };
    }

    for (const { name, command } of list) {
      test(`${name} prints the ids of stored events`, async (t) => {
        const { lines, stored } = await publish(t, command);
        assert.deepEqual(stored.map(({ payload }) => payload), NAMES);
        assert.deepEqual(lines, stored.map(({ id }) => ({ id })));
      });

      test(`${name} retries without a duplicate`, async (t) => {
        const prepare = (proxy) => proxy.cutAfter('HTTP/1.1 202');
        const { lines, stored, proxy } = await publish(t, command, { prepare });
        assert.ok(proxy.connections.length >= 2);
        assert.deepEqual(stored.map(({ payload }) => payload), NAMES);
        assert.deepEqual(lines, stored.map(({ id }) => ({ id })));
      });

      test(`${name} reports a rejection at once`, async (t) => {
        const { lines, stored, proxy } = await publish(t, command, { key: 'wrong-0123456789' });
        assert.equal(lines.length, 1);
        assert.match(lines[0].error, /401/);
        assert.match(lines[0].error, /token/);
        assert.equal(proxy.connections.length, 1);
        assert.deepEqual(stored, []);
      });
    }
  });
}

/** Tests a program that prints `<id> { name: 'Luke' }` for each event of the stream at URL, with the key in TOKEN. */
export function readingSample(name, { command: [program, ...args] }) {
  describe(`${name}, reading as in the documents`, { concurrency: true, timeout: 120_000 }, () => {
    const nodes = new Nodes();
    after(() => nodes.stop());

    async function read(t, key) {
      const pipeline = new Pipeline(await nodes.get('guarded'), undefined, { token });
      const child = start(program, args, { env: { ...process.env, URL: pipeline.streamUrl(), TOKEN: key } });
      t.after(() => child.kill('SIGKILL'));
      return { pipeline, child, output: recordOutput(child) };
    }

    test('prints kept and live events', async (t) => {
      const { pipeline, output } = await read(t, token);
      let expected = '';
      for (const payload of NAMES) {
        expected += `${await pipeline.publish('names', payload)} { name: '${payload.name}' }\n`;
        await until('the event is printed', () => output.text === expected, () => output.text);
      }
    });

    test('ends with the status when it is refused', async (t) => {
      const { child, output } = await read(t, 'wrong-0123456789');
      await child.closed;
      assert.match(output.text, /refused: 401/);
    });
  });
}

async function run([program, ...args], url, key) {
  const child = start(program, [...args, url], { env: { ...process.env, LC_ALL: 'C.UTF-8', TOKEN: key } });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (complaint += text));
  const lines = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
  await child.closed;
  assert.equal(child.ending, 'exit 0', complaint);
  return lines;
}
