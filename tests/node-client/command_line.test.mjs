// `pipecast run`, as workflow authors use it.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { folder as packageFolder, history, pipecast, program, requests, run, step } from './package_under_test.mjs';

const NAMES = ['Luke', 'Han', 'Leia', 'Obi Wan'].map((name) => ({ channel: 'names', payload: { name } }));
const SECRET = 'hunter2-hunter2-hunter2';

describe('pipecast run', { timeout: 300_000 }, () => {
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
  // Runs a step on a pipeline of its own and gives what the process did and what the node then has.
  const runStep = async (path, args = [], options = {}) => {
    const pipeline = new Pipeline(node);
    const ended = await pipecast(['run', path, '--url', node.publicUrl, '--pipeline', pipeline.id, ...args], options);
    return { ...ended, events: await history(pipeline) };
  };
  const withoutIds = (events) => events.map(({ channel, payload }) => ({ channel, payload }));
  const runSource = async (name, source, args) => runStep(await file(name, source), args);

  test('the sample of the documentation runs unchanged, in one request, and prints what was sent', async (t) => {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const pipeline = new Pipeline(node);
    const { code, stdout, stderr } = await pipecast(['run', step('names.mjs'), '--url', proxy.url, '--pipeline', pipeline.id]);
    assert.deepEqual([code, stderr], [0, '']);
    const events = await history(pipeline);
    assert.deepEqual(withoutIds(events), NAMES);
    assert.deepEqual(stdout.trim().split('\n').map((line) => JSON.parse(line)), events);
    assert.equal(requests(proxy), 1);
  });

  test('the packed package, installed without a network, runs the sample by npx', async () => {
    const env = { npm_config_cache: join(folder, 'npm'), npm_config_update_notifier: 'false' };
    const packed = await run('npm', ['pack', '--silent', packageFolder], { cwd: folder, env });
    assert.equal(packed.code, 0, packed.stderr);
    await file('package.json', '{"private":true}');
    const installed = await run('npm', ['install', '--offline', '--no-audit', '--no-fund', packed.stdout.trim()], { cwd: folder, env });
    assert.equal(installed.code, 0, installed.stderr);
    const pipeline = new Pipeline(node);
    const args = ['pipecast', 'run', step('names.mjs'), '--url', node.publicUrl, '--pipeline', pipeline.id];
    const ended = await run('npx', ['--offline', '--no-install', ...args], { cwd: folder, env });
    assert.equal(ended.code, 0, ended.stderr);
    assert.deepEqual(withoutIds(await history(pipeline)), NAMES);
  });

  test('a component action has its props, defaults, methods and steps', async () => {
    const steps = await file('steps.json', '{"trigger":{"event":{"name":"Leia"}}}');
    const props = ['times=2', 'names=Luke', 'names=Han=Solo', 'loud=true'].flatMap((prop) => ['--prop', prop]);
    const { code, stderr, events } = await runStep(step('greet.mjs'), ['--steps', steps, ...props]);
    assert.deepEqual([code, stderr], [0, 'Greeted 3\n']);
    assert.deepEqual(withoutIds(events), ['LUKE', 'HAN=SOLO', 'LEIA'].map((name) => ({
      channel: 'greetings',
      payload: { text: `HELLO ${name}`.repeat(2), extra: { from: 'default' } },
    })));
  });

  test('props that cannot be are all named, and nothing runs', async () => {
    const { code, stderr, events } = await runStep(step('greet.mjs'), ['--prop', 'times=many', '--prop', 'colour=red']);
    assert.equal(code, 2);
    assert.match(stderr, /no prop colour; .*the prop times must be an integer; the prop names is missing: give --prop names=/);
    assert.deepEqual(events, []);
  });

  test('a step may be CommonJS', async () => {
    const { code, events } = await runStep(step('commonjs.cjs'));
    assert.equal(code, 0);
    assert.equal(events.length, 1);
  });

  test('what a step sent before it failed is sent, and the failure is told', async () => {
    const { code, stdout, stderr, events } = await runSource('fails.mjs', `export default defineComponent({ async run({ $ }) {
      $.send.sse({ channel: 'names', payload: 1 });
      throw new Error('no more');
    } })`);
    assert.equal(code, 1);
    assert.match(stderr, /^pipecast: the step failed: Error: no more\n +at .*fails\.mjs:3/);
    assert.equal(events.length, 1);
    assert.match(stdout, /"payload":1/);
  });

  test('what is printed does nothing to a terminal, and is the same JSON', async () => {
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

  test('a missing payload fails the step with a message that names it', async () => {
    const { code, stderr } = await runSource('missing.mjs', "export default { run({ $ }) { $.send.sse({ channel: 'names' }) } }");
    assert.equal(code, 1);
    assert.match(stderr, /payload is missing/);
  });

  test('events of timers that the step did not wait for are sent and printed too', async () => {
    const { code, stdout, events } = await runSource('late.mjs', `export default { async run({ $ }) {
      setTimeout(() => $.send.sse({ channel: 'names', payload: 'late' }), 50);
      $.send.sse({ channel: 'names', payload: 'early' });
    } }`);
    assert.equal(code, 0);
    assert.deepEqual(events.map(({ payload }) => payload), ['early', 'late']);
    assert.equal(stdout.trim().split('\n').length, 2);
  });

  test('a step that never finishes is a failure, and what it sent is sent', async () => {
    const { code, stderr, events } = await runSource('stuck.mjs', `export default { async run({ $ }) {
      $.send.sse({ channel: 'names', payload: 1 });
      await new Promise(() => {});
    } }`);
    assert.equal(code, 1);
    assert.match(stderr, /ends before the step has finished/);
    assert.equal(events.length, 1);
  });

  test('the token goes into the header, from the option or the environment, and is never printed', async (t) => {
    const proxy = await Proxy.start(node);
    t.after(() => proxy.stop());
    const args = ['run', step('names.mjs'), '--pipeline', 'p_secret'];
    const quiet = { stdout: '', stderr: '' };
    for (const [more, env] of [[['--token', SECRET, '--url', proxy.url], {}], [[], { PIPECAST_TOKEN: SECRET, PIPECAST_URL: proxy.url }]]) {
      const { code, stdout, stderr } = await pipecast([...args, ...more], { env });
      assert.equal(code, 0, stderr);
      assert.ok(proxy.connections.at(-1).request.toLowerCase().includes(`\nauthorization: bearer ${SECRET}\r\n`));
      quiet.stdout += stdout;
      quiet.stderr += stderr;
    }
    // In messages of failures neither: a refusal, an address that does not exist, a token that is none.
    for (const more of [['--url', `${proxy.url}/elsewhere`], ['--url', 'nowhere']]) {
      const { code, stdout, stderr } = await pipecast([...args, '--token', SECRET, ...more]);
      assert.notEqual(code, 0);
      quiet.stdout += stdout;
      quiet.stderr += stderr;
    }
    quiet.stderr += (await pipecast([...args, '--token', `${SECRET}\n`, '--url', proxy.url])).stderr;
    assert.match(quiet.stderr, /404: .*url must be that of a node.*the token is none/s);
    assert.ok(!(quiet.stdout + quiet.stderr).includes('hunter2'));
  });

  test('what is not asked for properly ends with 2, and help is no failure', async () => {
    const check = async (args, code, expected) => {
      const ended = await pipecast(args);
      assert.equal(ended.code, code, args.join(' '));
      assert.match(ended.stdout + ended.stderr, expected);
    };
    await check(['--help'], 0, /Usage: pipecast run/);
    await check(['--version'], 0, /^pipecast \d/);
    await check(['walk', 'x'], 2, /no command walk/);
    await check(['run', step('names.mjs')], 2, /--pipeline is missing/);
    await check(['run', '--pipeline', 'p'], 2, /give the file/);
    await check(['run', 'nowhere.mjs', '--pipeline', 'p'], 2, /nowhere\.mjs cannot be read: ENOENT/);
    await check(['run', step('names.mjs'), '--pipeline', 'p', '--colour'], 2, /--colour/);
    await check(['run', step('names.mjs'), '--pipeline', 'p', '--prop', 'x'], 2, /not key=value/);
    await check(['run', step('names.mjs'), '--pipeline', 'p', '--steps', program], 2, /is not JSON/);
    await check(['run', await file('empty.mjs', 'export default 7'), '--pipeline', 'p'], 1, /has no component/);
    await check(['run', await file('broken.mjs', 'export default {'), '--pipeline', 'p'], 1, /broken\.mjs cannot be loaded: .*SyntaxError/);
  });
});
