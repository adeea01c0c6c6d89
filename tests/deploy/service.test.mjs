// The systemd unit, without running it. package.test.mjs runs it.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { run } from '../support/run.mjs';

let folder;
let file;
let text;

before(async () => {
  const shipped = await readFile(new URL('../../deploy/pipecast.service', import.meta.url), 'utf8');
  text = shipped.replaceAll(/^#.*\n/gm, '');
  folder = await mkdtemp(join(tmpdir(), 'pipecast-service-'));
  file = join(folder, 'pipecast.service');
  // systemd checks that the program exists.
  await writeFile(file, shipped.replace('ExecStart=/usr/bin/pipecast', `ExecStart=${process.env.PIPECAST_BIN}`));
});
after(() => rm(folder, { recursive: true, force: true }));

test('systemd accepts the unit', async () => {
  const { code, output } = await run('systemd-analyze', ['verify', '--man=no', file]);
  assert.equal(code, 0, output);
  assert.doesNotMatch(output, /pipecast\.service/);
});

test('systemd rates the unit as well confined', async () => {
  const { code, output } = await run('systemd-analyze', ['security', '--no-pager', '--offline=true', '--threshold=20', file]);
  assert.equal(code, 0, output);
  assert.match(output, /Overall exposure level for pipecast\.service/);
});

test('crash or watchdog writes no memory to disk', () => {
  assert.match(text, /^WatchdogSec=/m);
  assert.match(text, /^LimitCORE=0$/m);
});

test('systemd waits longer than the drain deadline', async () => {
  const { output } = await run(process.env.PIPECAST_BIN, ['config', '--markdown'], { env: {} });
  const deadline = Number(/`drain\.deadline` \| `(\d+)s`/.exec(output)[1]);
  const patience = Number(/^TimeoutStopSec=(\d+)s$/m.exec(text)[1]);
  assert.ok(patience >= deadline + 5, `${patience} s for a deadline of ${deadline} s`);
});
