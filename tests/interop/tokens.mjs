// Tokens that other people's libraries sign, as in docs/guide/access.md.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';

const SECRET = 'a secret of forty bytes, only for tests!';

/** Tests a program that prints the token of the user with the id 7: `{name, command}`. */
export function issuer(language, { name, command: [command, ...args] }) {
  describe(`${language}, issuing tokens`, { timeout: 600_000 }, () => {
    let node;
    before(async () => {
      node = await PipecastNode.start({ settings: { 'auth.subscribe': 'token', 'auth.jwt_secret': SECRET } });
    });
    after(() => node.kill());

    test(`${name} signs a token for one user's pipeline`, async () => {
      const token = execFileSync(command, args, { env: { ...process.env, EVENTS_JWT_SECRET: SECRET }, encoding: 'utf8' }).trim();
      const statuses = ['user.7', 'user.8'].map(async (id) => {
        const answer = await fetch(new Pipeline(node, id).streamUrl(`?token=${encodeURIComponent(token)}`));
        await answer.body.cancel();
        return answer.status;
      });
      assert.deepEqual(await Promise.all(statuses), [200, 403]);
    });
  });
}
