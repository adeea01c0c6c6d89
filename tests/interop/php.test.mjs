// Clients in PHP.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { claims, contract } from './contract.mjs';
import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { publishers } from './publishers.mjs';
import { publishingSamples } from './samples.mjs';
import { numbers, open, publish } from './scenarios.mjs';

const php = (program) => ['php', `php/${program}.php`];
const curl = php('curl_client');

contract('PHP', [
  { name: 'curl', command: curl },
  { name: 'curl with CURLOPT_ENCODING', row: 'curl', command: curl, environment: { GZIP: 'on' }, asksForGzip: true },
  { name: 'Symfony HttpClient', command: php('symfony_client'), asksForGzip: true },
]);

claims('PHP', [
  {
    name: 'EventSourceHttpClient throws when its first answer is cut',
    client: { command: php('symfony_event_source') },
    steps: [publish(numbers(0, 3)), { do: 'cutIn', bytes: 0 }, open],
    async check({ inbox }) {
      await until('it reports a failure', () => inbox.errors.length > 0);
      assert.deepEqual([inbox.errors, inbox.events], [['LogicException'], []]);
    },
  },
]);

publishers('PHP', [{ name: 'curl', command: php('publisher'), expectsContinue: true }]);

publishingSamples('PHP', [
  { name: 'curl', command: php('curl_sample') },
  { name: 'Symfony HttpClient', command: php('symfony_sample') },
]);

test('token made in PHP reads its pipeline and no other', { timeout: 60_000 }, async (t) => {
  const secret = 'a secret of forty bytes, only for tests!';
  const node = await PipecastNode.start({ settings: { 'auth.publish': 'token', 'auth.subscribe': 'token', 'auth.jwt_secret': secret } });
  t.after(() => node.kill());
  const token = execFileSync('php', ['php/token_sample.php', secret, 'p_one'], { encoding: 'utf8' });
  const status = async (pipeline, options = {}) => {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const answer = await fetch(`${node.publicUrl}/pipelines/${pipeline}/events`, { ...options, headers });
    await answer.text();
    return answer.status;
  };
  assert.equal(await status('p_one'), 200);
  assert.equal(await status('p_other'), 403);
  assert.equal(await status('p_one', { method: 'POST', body: '{"channel":"names","payload":1}' }), 403);
});
