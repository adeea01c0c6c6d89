// The kernel settings in deploy/: they exist, and match the program and its unit.

import assert from 'node:assert/strict';
import { access, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { run } from '../support/run.mjs';

const file = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const settingsFile = file('deploy/sysctl.d/60-pipecast.conf');

/** The names and values that a pattern finds. */
async function settings(pattern) {
  const text = await readFile(settingsFile, 'utf8');
  return Object.fromEntries([...text.matchAll(pattern)].map(([, name, value]) => [name, value]));
}

const inEffect = () => settings(/^([a-z][\w.]*) = (.*)$/gm);

test('sysctl reads the settings', async () => {
  const { code, output } = await run('sysctl', ['--dry-run', `--load=${settingsFile}`]);
  assert.equal(code, 0, output);
  const read = Object.fromEntries(output.trim().split('\n').map((line) => line.split(' = ')));
  assert.deepEqual(read, await inEffect());
});

test('kernel has every setting that the file and its page name', async () => {
  const page = await readFile(file('docs/operate/kernel.md'), 'utf8');
  const named = [...page.matchAll(/`((?:net|fs)\.[\w.]+)`/g)].map(([, name]) => name);
  const all = new Set([...named, ...Object.keys(await settings(/^#?([a-z]\w*(?:\.\w+)+) = (.*)$/gm))]);
  assert.ok(all.size >= 10, [...all].join());
  for (const name of all) {
    // Exists only with its kernel module.
    if (!name.startsWith('net.netfilter.')) await access(`/proc/sys/${name.replaceAll('.', '/')}`);
  }
});

test('settings match the node and its unit', async () => {
  const server = await readFile(file('src/http/listen.rs'), 'utf8');
  const unit = await readFile(file('deploy/pipecast.service'), 'utf8');
  assert.deepEqual(await inEffect(), {
    'fs.nr_open': /^LimitNOFILE=(\d+)$/m.exec(unit)[1],
    'net.core.somaxconn': /^const BACKLOG: i32 = (\d+);$/m.exec(server)[1],
    'net.ipv4.tcp_syncookies': '1',
  });
});
