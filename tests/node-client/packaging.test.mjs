// How the package is loaded and typed, and the oldest Node.js that runs it.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, cp, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import * as imported from '../../clients/node/index.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { folder, program, run, step } from './package_under_test.mjs';

const tools = fileURLToPath(new URL('node_modules/', import.meta.url));

// A copy of `types` in which `pipecast` is installed.
async function project(t) {
  const path = await mkdtemp(join(tmpdir(), 'pipecast-project-'));
  t.after(() => rm(path, { recursive: true }));
  await cp(new URL('types/', import.meta.url), path, { recursive: true });
  await mkdir(join(path, 'node_modules'));
  await symlink(folder, join(path, 'node_modules', 'pipecast'));
  return path;
}

test('require and import export the same', () => {
  const required = createRequire(import.meta.url)('../../clients/node');
  assert.deepEqual(Object.keys(required).sort(), ['PublishError', 'Publisher', 'createSend', 'defineComponent']);
  assert.deepEqual({ ...imported }, { ...required });
});

test('types pass the strict compiler in both kinds of modules', { timeout: 60_000 }, async (t) => {
  const path = await project(t);
  const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext'];
  const { code, stdout } = await run(process.execPath, [
    join(tools, 'typescript/bin/tsc'), ...options, join(path, 'use.mts'), join(path, 'use.cts'),
  ]);
  assert.equal(stdout, '');
  assert.equal(code, 0);
});

test('Node 18 runs steps, imports and requires', { timeout: 60_000 }, async (t) => {
  const old = join(tools, `node-linux-${process.arch}/bin/node`);
  assert.match((await run(old, ['--version'])).stdout, /^v18\./);
  const node = await PipecastNode.start();
  t.after(() => node.kill());
  const steps = fileURLToPath(new URL('types/steps.json', import.meta.url));
  const action = ['--steps', steps, '--prop', 'times=1', '--prop', 'names=["Luke"]'];
  for (const [name, args, count] of [['names.mjs', [], 4], ['greet.mjs', action, 2], ['commonjs.cjs', [], 1]]) {
    const pipeline = new Pipeline(node);
    const ended = await run(old, [program, step(name), '--url', node.publicUrl, '--pipeline', pipeline.id, ...args]);
    assert.equal(ended.code, 0, ended.stderr);
    assert.equal((await pipeline.history()).length, count);
  }
  const cwd = await project(t);
  for (const source of ["require('pipecast').createSend", "import('pipecast').then((it) => it.createSend.name)"]) {
    assert.equal((await run(old, ['--eval', source], { cwd })).code, 0, source);
  }
});
