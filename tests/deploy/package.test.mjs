// The Debian package and its service, installed on a machine with systemd.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { kill, recordOutput } from '../support/processes.mjs';
import { buildNextPackage, buildPackage } from './debian_package.mjs';
import { Machine } from './machine.mjs';
import { run } from '../support/run.mjs';

const url = 'http://127.0.0.1:8080';
const admin = 'http://127.0.0.1:8081';

let folder;
let packageFile;
let machine;
// The status of a node that serves, which systemctl shows.
let servingStatus;
const withoutNumbers = (text) => text.replaceAll(/\d+/g, '');

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pipecast-package-'));
  packageFile = await buildPackage(folder);
  await buildNextPackage(folder, packageFile);
  machine = await Machine.boot(folder);
});
after(async () => {
  await machine?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A property of the service in systemd. */
async function property(name) {
  return (await machine.run('systemctl', 'show', '--value', '--property', name, 'pipecast')).trim();
}

/** A line of a file in /proc of the service's process. */
async function processLine(file, name) {
  const text = await machine.read(`/proc/${await property('MainPID')}/${file}`);
  return new RegExp(`^${name}:?\\s+(.*)$`, 'm').exec(text)[1];
}

async function publish(payload) {
  const event = JSON.stringify({ channel: 'names', payload });
  await machine.run('curl', '-sS', '--fail', '-H', 'Content-Type: application/json', '-d', event, `${url}/pipelines/p/events`);
}

/** A subscriber, as `{child, output}`. */
function read() {
  // It ends together with `nsenter`, through which it runs.
  const child = machine.start('setpriv', '--pdeathsig', 'KILL', 'curl', '-sSN', `${url}/pipelines/p/sse`);
  return { child, output: recordOutput(child) };
}

async function untilRead(reader, text) {
  await until(`the subscriber gets ${text}`, () => reader.output.text.includes(text), () => reader.output.text);
}

/** Overrides settings of the unit for all that follows, and restarts the service. */
async function override(name, ...lines) {
  await machine.write(`/etc/systemd/system/pipecast.service.d/${name}.conf`, `[Service]\n${lines.join('\n')}\n`);
  await machine.run('systemctl', 'daemon-reload');
  await machine.run('systemctl', 'restart', 'pipecast');
}

async function removeOverride(name) {
  await machine.run('rm', `/etc/systemd/system/pipecast.service.d/${name}.conf`);
  await machine.run('systemctl', 'daemon-reload');
}

test('package contains the program, its unit, settings and docs', async () => {
  const { output: files } = await run('dpkg-deb', ['--contents', packageFile]);
  for (const [mode, path] of [
    ['-rwxr-xr-x', 'usr/bin/pipecast'],
    ['-rw-r--r--', 'usr/lib/systemd/system/pipecast.service'],
    ['-rw-r--r--', 'etc/pipecast/pipecast.toml'],
    ['-rw-------', 'etc/pipecast/pipecast.env'],
    ['-rw-r--r--', 'usr/share/doc/pipecast/copyright'],
    ['-rw-r--r--', 'usr/share/doc/pipecast/changelog.gz'],
    ['-rw-r--r--', 'usr/share/doc/pipecast/docs/operate/kernel.md'],
    ['-rw-r--r--', 'usr/share/doc/pipecast/examples/haproxy.cfg'],
    ['-rw-r--r--', 'usr/share/doc/pipecast/examples/prometheus/pipecast.rules.yml'],
  ]) {
    assert.match(files, new RegExp(`^${mode} 0/0 .* \\./${path}$`, 'm'));
  }
  const { output: conffiles } = await run('dpkg-deb', ['--info', packageFile, 'conffiles']);
  assert.equal(conffiles.trim(), '/etc/pipecast/pipecast.toml\n/etc/pipecast/pipecast.env');
  const { output: depends } = await run('dpkg-deb', ['--field', packageFile, 'Depends']);
  assert.match(depends, /^libc6 \(>= [\d.]+\)(, libgcc-s1 \(>= [\d.]+\))?\n$/);
});

test('commented-out settings are the defaults', async () => {
  const config = async (text) => {
    const file = join(folder, 'settings.toml');
    await writeFile(file, text);
    const { code, output } = await run(process.env.PIPECAST_BIN, ['config', '--config', file], { env: {} });
    assert.equal(code, 0, output);
    return output.replaceAll(/ *#.*$/gm, '');
  };
  const shipped = await readFile(new URL('../../deploy/debian/pipecast.toml', import.meta.url), 'utf8');
  const enabled = shipped.replaceAll(/^#(?=\w+ = )/gm, '');
  assert.notEqual(enabled, shipped);
  assert.equal(await config(enabled), await config(''));
});

test('fresh installation runs, is enabled, publishes and reads', async () => {
  await machine.run('dpkg', '--install', '/media/pipecast.deb');
  assert.equal(await property('ActiveState'), 'active');
  assert.equal((await machine.run('systemctl', 'is-enabled', 'pipecast')).trim(), 'enabled');
  assert.equal(await property('WatchdogUSec'), '30s');
  // At once: the service is ready when its start has returned.
  await publish('Luke');
  const reader = read();
  await untilRead(reader, 'data: "Luke"\n\n');
  await publish('Leia');
  await untilRead(reader, 'data: "Leia"\n\n');
  await kill(reader.child);
  assert.equal((await machine.run('systemd-analyze', 'verify', '--man=no', 'pipecast.service')).trim(), '');
  // With the number of open streams.
  servingStatus = withoutNumbers(await property('StatusText'));
  assert.match(await property('StatusText'), /\b\d+\b/);
});

test('confined service keeps its limits, threads and metrics', async () => {
  await override('a-quick-end', 'Environment=PIPECAST_DRAIN__LEAD=0s PIPECAST_DRAIN__WINDOW=0s');
  const uid = await processLine('status', 'Uid');
  assert.doesNotMatch(uid, /\b0\b/, 'not as root');
  assert.equal(await processLine('status', 'NoNewPrivs'), '1');
  assert.equal(await processLine('status', 'Seccomp'), '2');
  assert.match(await processLine('status', 'CapBnd'), /^0+$/);
  const root = (await machine.read(`/proc/${await property('MainPID')}/mounts`)).split('\n').filter((line) => line.split(' ')[1] === '/');
  assert.match(root.at(-1), / ro,/, 'the root must be read-only');
  const [soft, hard] = (await processLine('limits', 'Max open files')).split(/\s+/).map(Number);
  assert.equal(soft, hard);
  // Where systemd may not raise the limit, the service has systemd's own.
  const { output: own } = await run('sh', ['-c', 'ulimit -Hn']);
  assert.ok([1_048_576, Number(own)].includes(soft), `${soft} open files`);
  const threads = await machine.run('sh', '-c', `cat /proc/${await property('MainPID')}/task/*/comm`);
  assert.match(threads, /^fanout-0$/m);
  const metrics = await machine.run('curl', '-sS', `${admin}/metrics`);
  const value = (name) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(metrics)?.[1]);
  assert.equal(value('process_max_fds'), soft);
  for (const name of ['process_open_fds', 'process_start_time_seconds', 'process_resident_memory_bytes', 'process_threads']) {
    assert.ok(value(name) > 0, name);
  }
  const journal = await machine.run('journalctl', '--no-pager', '--unit', 'pipecast');
  assert.doesNotMatch(journal, /ERROR|Operation not permitted|core-dump/);
});

test('secret readable only by root reaches the node', async () => {
  await machine.write('/etc/pipecast/secret', 'x'.repeat(32));
  await machine.run('chmod', '600', '/etc/pipecast/secret');
  await override('secret', 'LoadCredential=jwt:/etc/pipecast/secret',
    'Environment=PIPECAST_AUTH__JWT_SECRET_FILE=%d/jwt PIPECAST_AUTH__PUBLISH=token');
  const refused = await machine.try('curl', '-sS', '-d', '{}', `${url}/pipelines/p/events`);
  assert.match(refused.output, /"status":401/);
  await removeOverride('secret');
  await machine.run('rm', '/etc/pipecast/secret');
});

test('listen queue is as long as the kernel allows', async () => {
  const queue = async () => (await machine.run('ss', '-ltnH', 'sport = :8080')).trim().split(/\s+/)[2];
  assert.equal(await queue(), '4096');
  await machine.run('sysctl', '-q', '-w', 'net.core.somaxconn=77');
  await machine.run('systemctl', 'restart', 'pipecast');
  assert.equal(await queue(), '77', 'docs/operate/kernel.md shows it with this command');
  await machine.run('sh', '-c', "grep '^net[.]' /usr/share/doc/pipecast/examples/sysctl.d/60-pipecast.conf | sysctl -q --load=-");
  await machine.run('systemctl', 'restart', 'pipecast');
  assert.equal(await queue(), '4096');
});

test('watchdog restarts a node that hangs', async () => {
  await override('watchdog', 'WatchdogSec=5s');
  const hung = await property('MainPID');
  const first = await property('WatchdogTimestampMonotonic');
  await until('it reports to the watchdog', async () => (await property('WatchdogTimestampMonotonic')) !== first);
  assert.deepEqual([await property('MainPID'), await property('NRestarts')], [hung, '0']);
  await machine.run('kill', '-STOP', hung);
  await until('another process serves', async () => (await property('NRestarts')) !== '0' && (await property('ActiveState')) === 'active');
  assert.notEqual(await property('MainPID'), hung);
  await publish('Han');
  const journal = await machine.run('journalctl', '--no-pager', '--unit', 'pipecast');
  assert.match(journal, /Watchdog timeout/);
  await removeOverride('watchdog');
});

test('stopped service drains past TimeoutStopSec and succeeds', async () => {
  await override('stop', 'TimeoutStopSec=1s', 'Environment=PIPECAST_DRAIN__LEAD=3s PIPECAST_DRAIN__WINDOW=1s');
  await publish('Luke');
  const reader = read();
  await untilRead(reader, 'data: "Luke"\n\n');
  const stopping = machine.run('systemctl', 'stop', 'pipecast');
  await until('it is seen to stop', async () => (await property('ActiveState')) === 'deactivating');
  await stopping;
  await reader.child.closed;
  assert.match(reader.output.text, /\n\nretry: \d+\n\n$/, 'the subscriber must get a retry time');
  assert.deepEqual([await property('ActiveState'), await property('Result')], ['inactive', 'success']);
  assert.equal(await property('ExecMainStatus'), '0');
  await removeOverride('stop');
});

test('service without Redis starts at once and reports it', async () => {
  await machine.write('/etc/pipecast/pipecast.env', 'PIPECAST_REDIS__URL=redis://127.0.0.1:1\n');
  await machine.run('systemctl', 'start', 'pipecast');
  assert.match(await machine.run('curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', `${admin}/readyz`), /^503/);
  await until('its status is another than a serving one', async () => ![servingStatus, ''].includes(withoutNumbers(await property('StatusText'))));
  await machine.write('/etc/pipecast/pipecast.env', '');
  await machine.run('systemctl', 'stop', 'pipecast');
});

test('invalid settings fail the start and are named in the log', async () => {
  await machine.write('/etc/pipecast/pipecast.toml', '[server]\nlisten = "0.0.0.0:8080"\n');
  const { code } = await machine.try('systemctl', 'start', 'pipecast');
  assert.notEqual(code, 0);
  const journal = await machine.run('journalctl', '--no-pager', '--unit', 'pipecast', '--since', '-1min');
  assert.match(journal, /auth\.publish/);
  await machine.run('systemctl', 'stop', 'pipecast');
});

test('upgrade keeps the settings and restarts the service', async () => {
  const settings = '# Mine.\n[stream]\nkeepalive = "10s"\n';
  await machine.write('/etc/pipecast/pipecast.toml', settings);
  await machine.run('systemctl', 'start', 'pipecast');
  const old = await property('MainPID');
  await machine.run('dpkg', '--force-confold', '--install', '/media/next.deb');
  assert.equal(await machine.read('/etc/pipecast/pipecast.toml'), settings);
  assert.match(await machine.read('/etc/pipecast/pipecast.toml.dpkg-dist'), /New in 99/);
  assert.equal(await property('ActiveState'), 'active');
  assert.notEqual(await property('MainPID'), old);
  await publish('Luke');
});

test('removal keeps the settings, purge leaves nothing', async () => {
  await machine.run('rm', '-r', '/etc/systemd/system/pipecast.service.d');
  await machine.run('dpkg', '--remove', 'pipecast');
  assert.equal(await property('ActiveState'), 'inactive');
  assert.match(await machine.read('/etc/pipecast/pipecast.toml'), /Mine/);
  await machine.run('dpkg', '--purge', 'pipecast');
  const left = await machine.run('find', '/etc', '/usr', '/var', '/run', '-xdev', '-name', '*pipecast*');
  assert.equal(left, '');
  assert.equal(await property('LoadState'), 'not-found');
});
