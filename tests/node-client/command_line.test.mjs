// `pipecast-run`, as workflow authors use it.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { folder as packageFolder, pipecastRun, program, requests, run, step } from './package_under_test.mjs';

const NAMES = ['Luke', 'Han', 'Leia', 'Obi Wan'].map((name) => ({ channel: 'names', payload: { name } }));
const SECRET = 'hunter2-hunter2-hunter2';

describe('pipecast-run', { timeout: 300_000 }, () => {
  let node;
  let folder;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pipecast-step-'));
    node = await PipecastNode.start();
  });
  after(async () => {
    await node.kill();
    await rm(folder, { recursive: true });
  });

  const file = async (name, text) => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  // Runs a step on a new pipeline: how the process ended, and the events that the node then has.
  const runStep = async (path, args = [], options = {}) => {
    const pipeline = new Pipeline(node);
    const ended = await pipecastRun([path, '--url', node.publicUrl, '--pipeline', pipeline.id, ...args], options);
    return { ...ended, events: await pipeline.history() };
  };
  const withoutIds = (events) => events.map(({ channel, payload }) => ({ channel, payload }));
  const runSource = async (name, source, args) => runStep(await file(name, source), args);

  test('sample step runs unchanged, in one request, and is printed', async (t) => {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(node);
    const { code, stdout, stderr } = await pipecastRun([step('names.mjs'), '--url', proxy.url, '--pipeline', pipeline.id]);
    assert.deepEqual([code, stderr], [0, '']);
    const events = await pipeline.history();
    assert.deepEqual(withoutIds(events), NAMES);
    assert.deepEqual(stdout.trim().split('\n').map((line) => JSON.parse(line)), events);
    assert.equal(requests(proxy), 1);
  });

  test('packed package runs the sample with npx, offline', async () => {
    const env = { npm_config_cache: join(folder, 'npm'), npm_config_update_notifier: 'false' };
    const packed = await run('npm', ['pack', '--silent', packageFolder], { cwd: folder, env });
    assert.equal(packed.code, 0, packed.stderr);
    await file('package.json', '{"private":true}');
    const installed = await run('npm', ['install', '--offline', '--no-audit', '--no-fund', packed.stdout.trim()], { cwd: folder, env });
    assert.equal(installed.code, 0, installed.stderr);
    const pipeline = new Pipeline(node);
    const args = ['pipecast-run', step('names.mjs'), '--url', node.publicUrl, '--pipeline', pipeline.id];
    const ended = await run('npx', ['--offline', '--no-install', ...args], { cwd: folder, env });
    assert.equal(ended.code, 0, ended.stderr);
    assert.deepEqual(withoutIds(await pipeline.history()), NAMES);
  });

  test('component action has its props, defaults and methods', async () => {
    const steps = await file('steps.json', '{"trigger":{"event":{"name":"Leia"}}}');
    const props = ['times=2', 'names=Luke', 'names=Han=Solo', 'loud=true'].flatMap((prop) => ['--prop', prop]);
    const { code, stderr, events } = await runStep(step('greet.mjs'), ['--steps', steps, ...props]);
    assert.deepEqual([code, stderr], [0, 'Greeted 3\n']);
    assert.deepEqual(withoutIds(events), ['LUKE', 'HAN=SOLO', 'LEIA'].map((name) => ({
      channel: 'greetings',
      payload: { text: `HELLO ${name}`.repeat(2), extra: { from: 'default' } },
    })));
  });

  test('invalid props are all named before anything runs', async () => {
    const { code, stderr, events } = await runStep(step('greet.mjs'), ['--prop', 'times=many', '--prop', 'colour=red']);
    assert.equal(code, 2);
    for (const prop of ['colour', 'times', 'names']) assert.match(stderr, new RegExp(`\\b${prop}\\b`));
    assert.deepEqual(events, []);
  });

  test('CommonJS step runs', async () => {
    const { code, events } = await runStep(step('commonjs.cjs'));
    assert.equal(code, 0);
    assert.equal(events.length, 1);
  });

  test('events of a failed step are sent, and its error printed', async () => {
    const { code, stdout, stderr, events } = await runSource('fails.mjs', `export default defineComponent({ async run({ $ }) {
      $.send.sse({ channel: 'names', payload: 1 });
      throw new Error('no more');
    } })`);
    assert.equal(code, 1);
    assert.match(stderr, /Error: no more\n +at .*fails\.mjs:3/);
    assert.equal(events.length, 1);
    assert.match(stdout, /"payload":1/);
  });

  test('printed events are inert in a terminal, and the same JSON', async () => {
    const text = '\u009b2J\u007f\u202e\u2066\ufeff';
    const source = `export default defineComponent({ async run({ $ }) {
      $.export('$summary', 'done \\u009b2J\\u001b]0;title\\u0007');
      $.send.sse({ channel: 'turned \\u202e', payload: ${JSON.stringify(text)} });
    } })`;
    const { code, stdout, stderr } = await runSource('hostile.mjs', source);
    assert.deepEqual([code, stderr], [0, 'done \\u009b2J\\u001b]0;title\\u0007\n']);
    assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/);
    const { channel, payload } = JSON.parse(stdout);
    assert.deepEqual([channel, payload], ['turned \u202e', text]);
  });

  test('missing payload fails the step, and the error names it', async () => {
    const { code, stderr } = await runSource('missing.mjs', "export default { run({ $ }) { $.send.sse({ channel: 'names' }) } }");
    assert.equal(code, 1);
    assert.match(stderr, /TypeError: .*\bpayload\b/);
  });

  test('events of unawaited timers are sent and printed too', async () => {
    const { code, stdout, events } = await runSource('late.mjs', `export default { async run({ $ }) {
      setTimeout(() => $.send.sse({ channel: 'names', payload: 'late' }), 50);
      $.send.sse({ channel: 'names', payload: 'early' });
    } }`);
    assert.equal(code, 0);
    assert.deepEqual(events.map(({ payload }) => payload), ['early', 'late']);
    assert.equal(stdout.trim().split('\n').length, 2);
  });

  test('step that never finishes fails, and its events are sent', async () => {
    const { code, stderr, events } = await runSource('stuck.mjs', `export default { async run({ $ }) {
      $.send.sse({ channel: 'names', payload: 1 });
      await new Promise(() => {});
    } }`);
    assert.equal(code, 1);
    assert.notEqual(stderr, '');
    assert.equal(events.length, 1);
  });

  test('token goes into the header and is never printed', async (t) => {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const args = [step('names.mjs'), '--pipeline', 'p_secret'];
    const quiet = { stdout: '', stderr: '' };
    for (const [more, env] of [[['--token', SECRET, '--url', proxy.url], {}], [[], { PIPECAST_TOKEN: SECRET, PIPECAST_URL: proxy.url }]]) {
      const { code, stdout, stderr } = await pipecastRun([...args, ...more], { env });
      assert.equal(code, 0, stderr);
      assert.ok(proxy.connections.at(-1).request.toLowerCase().includes(`\nauthorization: bearer ${SECRET}\r\n`));
      quiet.stdout += stdout;
      quiet.stderr += stderr;
    }
    // Nor do errors print it: a rejection, a wrong path, an invalid URL, an invalid token.
    for (const more of [['--url', `${proxy.url}/elsewhere`], ['--url', 'nowhere']]) {
      const { code, stdout, stderr } = await pipecastRun([...args, '--token', SECRET, ...more]);
      assert.notEqual(code, 0);
      quiet.stdout += stdout;
      quiet.stderr += stderr;
    }
    quiet.stderr += (await pipecastRun([...args, '--token', `${SECRET}\n`, '--url', proxy.url])).stderr;
    assert.match(quiet.stderr, /404.*\burl\b.*\btoken\b/s);
    assert.ok(!(quiet.stdout + quiet.stderr).includes('hunter2'));
  });

  test('usage errors exit with 2, and help with 0', async () => {
    const check = async (args, code, expected) => {
      const ended = await pipecastRun(args);
      assert.equal(ended.code, code, args.join(' '));
      assert.match(ended.stdout + ended.stderr, expected);
    };
    await check(['--help'], 0, /--pipeline/);
    await check(['--version'], 0, /\d+\.\d+\.\d+/);
    await check(['run', step('names.mjs'), '--pipeline', 'p'], 2, /one step/);
    await check([step('names.mjs'), '--pipeline', 'p', '--url', 'redis://127.0.0.1'], 2, /https:/);
    await check([step('names.mjs')], 2, /--pipeline/);
    await check(['--pipeline', 'p'], 2, /\bfile\b/);
    await check(['nowhere.mjs', '--pipeline', 'p'], 2, /nowhere\.mjs.*ENOENT/);
    await check([step('names.mjs'), '--pipeline', 'p', '--colour'], 2, /--colour/);
    await check([step('names.mjs'), '--pipeline', 'p', '--prop', 'x'], 2, /--prop x/);
    await check([step('names.mjs'), '--pipeline', 'p', '--steps', program], 2, /JSON/);
    await check([await file('empty.mjs', 'export default 7'), '--pipeline', 'p'], 1, /empty\.mjs/);
    await check([await file('broken.mjs', 'export default {'), '--pipeline', 'p'], 1, /broken\.mjs.*SyntaxError/);
  });
});
