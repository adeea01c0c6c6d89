// docker-compose.yml on the Docker engine that tests/compose/engine has started: build, up, use, failures, down.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Reader } from '../support/reader.mjs';
import { run } from '../support/run.mjs';
import { until } from '../support/deadline.mjs';
import { metric } from '../support/metrics.mjs';
import { numbersIn, Pipeline, range } from '../support/pipeline.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [, version] = (await readFile(join(root, 'Cargo.toml'), 'utf8')).match(/^version = "(.*)"$/m);
const image = `pipecast:${version}`;
const nodes = ['node1', 'node2', 'node3'];
// Debian has no package for Grafana's image.
const services = ['redis', ...nodes, 'haproxy', 'prometheus', 'demo'];
// A quick build, since its performance does not matter.
const quick = ['LTO=off', 'OPT_LEVEL=0', 'CODEGEN_UNITS=16'].flatMap((value) => ['--build-arg', `CARGO_PROFILE_RELEASE_${value}`]);

const program = (command, ...args) => run(command, args, { cwd: root, maxBuffer: 1 << 26 });
const docker = (...args) => program(process.env.DOCKER_CLI, ...args);

/** Runs Compose, which must succeed, and returns its output. */
async function compose(...args) {
  const { code, output } = await program(process.env.COMPOSE, '--ansi', 'never', '--profile', 'demo', ...args);
  assert.equal(code, 0, output);
  return output;
}

/** The engine's description of an image or a container. */
async function inspect(name) {
  const { code, output } = await docker('inspect', name);
  assert.equal(code, 0, output);
  return JSON.parse(output)[0];
}

const containerOf = (service) => inspect(`pipecast-${service}-1`);

describe('image', { concurrency: 1 }, () => {
  before(() => compose('build', ...quick, 'node1'));

  test('has labels, an unprivileged user and a health check', async () => {
    const { Config: config } = await inspect(image);
    assert.equal(config.User, '65532:65532');
    assert.equal(config.StopSignal, 'SIGTERM');
    assert.deepEqual(config.Healthcheck.Test, ['CMD', '/pipecast', 'health', '--live']);
    assert.deepEqual(Object.keys(config.ExposedPorts).toSorted(), ['8080/tcp', '8081/tcp']);
    assert.equal(config.Labels['org.opencontainers.image.version'], version);
    assert.equal(config.Labels['org.opencontainers.image.licenses'], 'Apache-2.0');
  });

  test('contains only the program and the files that it reads', async (t) => {
    const { output: id } = await docker('create', image);
    t.after(() => docker('rm', id.trim()));
    const { code, output } = await program('sh', '-c', `${process.env.DOCKER_CLI} export ${id.trim()} | tar -t`);
    assert.equal(code, 0, output);
    // Docker itself adds empty files.
    const added = /^(\.dockerenv|dev\/.*|proc\/|sys\/|etc\/(hostname|hosts|mtab|resolv\.conf)?)$/;
    const files = output.split('\n').filter((name) => name && !added.test(name) && !name.endsWith('/'));
    assert.deepEqual(files.toSorted(), ['LICENSE', 'etc/ssl/certs/ca-certificates.crt', 'pipecast']);
  });

  test('is saved as a file by scripts/release', { timeout: 300_000 }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'release-'));
    t.after(() => rm(folder, { recursive: true }));
    const env = { ...process.env, DOCKER: process.env.DOCKER_CLI };
    const built = await run('scripts/release', ['build', '--profile', 'dev', '--only', 'image', folder], { cwd: root, env });
    assert.equal(built.code, 0, built.output);
    assert.match(built.output, /^[ \d,]{12}  pipecast-.*-image\.tar$/m);
    const { code, output } = await docker('load', '--input', join(folder, `pipecast-${version}-image.tar`));
    assert.equal(code, 0, output);
    assert.match(output, new RegExp(`Loaded image: ${image}`));
    const { Config: config } = await inspect(image);
    assert.match(config.Labels['org.opencontainers.image.revision'], /^[0-9a-f]{40}$/);
  });

  test('does not start before access is decided', async () => {
    const { code, output } = await docker('run', '--rm', '--read-only', image);
    assert.equal(code, 2, output);
    assert.match(output, /auth\.publish/);
  });

  test('resolves names in /etc/hosts without DNS', async (t) => {
    const { output: id } = await docker(
      'run', '--detach', '--read-only', '--network', 'none', '--add-host', 'broker.example:127.0.0.1', image,
      'tail', 'p', '--url', 'http://broker.example:1',
    );
    t.after(() => docker('rm', '--force', id.trim()));
    await until('the connection is refused there', async () => (await docker('logs', id.trim())).output.includes('Connection refused'));
  });

  test('drains and exits with 0 on SIGTERM', async (t) => {
    const { output: id } = await docker(
      'run', '--detach', '--read-only', '--cap-drop', 'ALL', '-e', 'PIPECAST_AUTH__PUBLISH=open', '-e', 'PIPECAST_AUTH__SUBSCRIBE=open',
      '-e', 'PIPECAST_DRAIN__LEAD=100ms', image,
    );
    t.after(() => docker('rm', '--force', id.trim()));
    await until('it is healthy', async () => (await inspect(id.trim())).State.Health.Status === 'healthy');
    await docker('stop', '--time', '20', id.trim());
    assert.equal((await inspect(id.trim())).State.ExitCode, 0);
  });
});

describe('docker compose', { concurrency: 1 }, () => {
  const broker = new Pipeline({ publicUrl: 'http://127.0.0.1:8080' });
  const readers = [];

  before(() => compose('up', '--detach', '--wait', '--no-build', ...services), { timeout: 120_000 });
  after(async () => {
    for (const reader of readers) reader.close();
    await compose('down', '--volumes', '--timeout', '20');
  });

  test('up waits until all services are healthy', async () => {
    for (const service of services) assert.equal((await containerOf(service)).State.Health.Status, 'healthy', service);
  });

  test('every container is confined', async () => {
    for (const service of services) {
      const { HostConfig: host } = await containerOf(service);
      assert.equal(host.ReadonlyRootfs, true, service);
      assert.deepEqual(host.CapDrop, ['ALL'], service);
      assert.deepEqual(host.SecurityOpt, ['no-new-privileges:true'], service);
      assert.equal(host.RestartPolicy.Name, 'unless-stopped', service);
      assert.ok(host.Memory > 0 && host.NanoCpus > 0 && host.PidsLimit > 0, service);
      for (const bindings of Object.values(host.PortBindings)) {
        for (const { HostIp, HostPort } of bindings) assert.ok(HostIp === '127.0.0.1' && HostPort > 1023, service);
      }
    }
  });

  test('event published through HAProxy reaches every node', async () => {
    // Only this pipeline's: the demo has subscribers too.
    const readersOf = async (node) => {
      const { NetworkSettings: { Networks: networks } } = await containerOf(node);
      const address = Object.values(networks)[0].IPAddress;
      return (await (await fetch(`http://${address}:8080/pipelines/${broker.id}`)).json()).subscribers;
    };
    for (let n = 0; n < 9; n += 1) readers.push(await Reader.open(broker.streamUrl()));
    await until('every node has some subscribers', async () => {
      const counts = await Promise.all(nodes.map(readersOf));
      const isSpread = counts.every((count) => count > 0);
      // A balancer that has just started may not know all nodes yet.
      if (!isSpread && readers.length < 60) readers.push(await Reader.open(broker.streamUrl()));
      return isSpread;
    });
    await broker.publish('names', { n: 0 });
    await until('all subscribers have it', () => readers.every((reader) => reader.events.length === 1));
  });

  test('demo publishes, and Prometheus scrapes all nodes', async () => {
    await until('a demo event', async () => {
      const demo = new Pipeline(broker.node, 'p_demo');
      return (await demo.history()).length > 0;
    });
    await until('all targets are up', async () => {
      const { data } = await (await fetch('http://127.0.0.1:9090/api/v1/targets')).json();
      return data.activeTargets.filter(({ health }) => health === 'up').length === nodes.length;
    });
  });

  test('restart of a node loses no event', async () => {
    const restarted = compose('restart', '--timeout', '40', 'node2');
    let n = 1;
    let done = false;
    restarted.then(() => (done = true), () => (done = true));
    while (!done || n < 50) {
      await broker.publish('names', { n });
      n += 1;
      // A pace, not a wait: a subscriber that is between two nodes must find what it missed in the history of 100 events.
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    await restarted;
    await until('all subscribers have all events', () => readers.every((reader) => reader.events.length >= n), () => readers.map((reader) => [reader.events.length, reader.failure]).join('; '));
    for (const reader of readers) assert.deepEqual(numbersIn(reader.events), range(0, n));
    assert.ok(readers.some((reader) => reader.connections > 1), 'the node must have had a stream');
    assert.equal((await containerOf('node2')).State.ExitCode, 0);
  });

  test('replaced node gets streams at its new address', async (t) => {
    await compose('stop', '--timeout', '40', 'node3');
    await compose('rm', '--force', 'node3');
    // Another container takes its address.
    const { output: id } = await docker('run', '--detach', '--network', 'pipecast_default', '--entrypoint', '/pipecast', image, 'demo', '--readers', '0');
    t.after(() => docker('rm', '--force', id.trim()));
    await compose('up', '--detach', '--wait', '--no-build', 'node3');
    const { NetworkSettings: { Networks: networks } } = await containerOf('node3');
    const adminUrl = `http://${Object.values(networks)[0].IPAddress}:8081`;
    await until('it has streams again', async () => {
      readers.push(await Reader.open(broker.streamUrl()));
      return (await metric({ adminUrl }, 'pipecast_streams')) > 0;
    });
  });

  test('down leaves nothing', async () => {
    for (const reader of readers) reader.close();
    await compose('down', '--volumes', '--timeout', '20');
    assert.equal((await docker('ps', '--all', '--quiet')).output, '');
    assert.equal((await docker('volume', 'ls', '--quiet')).output, '');
  });
});
