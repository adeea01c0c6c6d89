// docker-compose.yml, the Dockerfile and Grafana's files, as Compose, hadolint and Grafana read them; nothing runs.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { dashboard } from '../support/expressions.mjs';
import { run } from '../support/run.mjs';
import { composed, nodes } from './stack.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file) => readFile(join(root, file), 'utf8');
const services = Object.entries(composed.services);

/** The services of the file with these variables, as Compose reads it. */
async function composedWith(variables) {
  const args = ['--profile', 'demo', '--project-directory', root, 'config', '--format', 'json'];
  const { code, output } = await run(process.env.COMPOSE, args, { env: { ...process.env, ...variables } });
  assert.equal(code, 0, output);
  return JSON.parse(output).services;
}

describe('docker-compose.yml', () => {
  test('is valid, without a warning', async () => {
    const { code, output } = await run(process.env.COMPOSE, ['--profile', 'demo', '--project-directory', root, 'config', '--quiet']);
    assert.deepEqual([code, output], [0, '']);
  });

  test('has the demo only in its profile', async () => {
    const { output } = await run(process.env.COMPOSE, ['--project-directory', root, 'config', '--services']);
    assert.deepEqual(output.trim().split('\n').toSorted(), ['grafana', 'haproxy', ...nodes, 'prometheus', 'redis']);
  });

  test('confines every service and checks its health', () => {
    for (const [name, service] of services) {
      assert.equal(service.read_only, true, name);
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name);
      assert.equal(service.restart, 'unless-stopped', name);
      assert.ok(Number(service.mem_limit) > 0 && service.cpus > 0 && service.pids_limit > 0, name);
      assert.equal(service.healthcheck.test[0], 'CMD', name);
      assert.ok(!service.privileged && !service.network_mode, name);
      // A version, not a tag that moves.
      assert.match(service.image, /:v?\d+\.\d+/, name);
    }
  });

  test('publishes unprivileged ports only on loopback', () => {
    const published = services.flatMap(([name, { ports = [] }]) => ports.map((port) => [name, port]));
    assert.deepEqual(published.map(([name]) => name).toSorted(), ['grafana', 'haproxy', 'prometheus']);
    for (const [name, { host_ip: address, published: port }] of published) {
      assert.equal(address, '127.0.0.1', name);
      assert.ok(Number(port) > 1023, name);
    }
  });

  test('mounts existing files, all of them read-only', () => {
    let count = 0;
    for (const [name, { volumes = [] }] of services) {
      for (const { type, source, read_only: isReadOnly } of volumes) {
        if (type !== 'bind') continue;
        assert.ok(existsSync(source), `${name}: ${source}`);
        assert.equal(isReadOnly, true, `${name}: ${source}`);
        count += 1;
      }
    }
    assert.ok(count >= 5);
  });

  test('gives nodes more time to stop than their drain needs', async () => {
    const { output } = await run(process.env.PIPECAST_BIN, ['config'], { env: {} });
    const deadline = Number(/^deadline = "(\d+)s"/m.exec(output)[1]);
    for (const name of nodes) assert.ok(Number.parseInt(composed.services[name].stop_grace_period, 10) > deadline, name);
  });

  test('has variables for access, address and versions', async () => {
    const changed = await composedWith({
      PIPECAST_IMAGE: 'registry.example.com/pipecast:1', PIPECAST_PORT: '18080', PIPECAST_BIND: '0.0.0.0', PIPECAST_PUBLISH: 'token',
      PIPECAST_SUBSCRIBE: 'token', PIPECAST_JWT_SECRET: 'x'.repeat(32), PIPECAST_TOKEN: 'made', REDIS_VERSION: '8',
    });
    const { node1, haproxy, demo, redis } = changed;
    assert.deepEqual([node1.image, demo.image, redis.image], ['registry.example.com/pipecast:1', 'registry.example.com/pipecast:1', 'redis:8']);
    assert.deepEqual([haproxy.ports[0].published, haproxy.ports[0].host_ip], ['18080', '0.0.0.0']);
    assert.equal(demo.environment.PIPECAST_TOKEN, 'made');
    const { code, output } = await run(process.env.PIPECAST_BIN, ['config'], { env: { ...node1.environment, PIPECAST_SERVER__LISTEN: '0.0.0.0:8080' } });
    assert.equal(code, 0, output);
    assert.match(output, /^publish = "token"/m);
  });

  test('has settings that a node accepts', async () => {
    const { code, output } = await run(process.env.PIPECAST_BIN, ['config'], {
      env: { ...composed.services.node1.environment, PIPECAST_SERVER__LISTEN: '0.0.0.0:8080' },
    });
    assert.equal(code, 0, output);
  });

  test('has the nodes that its Prometheus scrapes', async () => {
    const targets = [...(await read('deploy/compose/nodes.yml')).matchAll(/^ +- (\S+)$/gm)].map(([, target]) => target);
    assert.deepEqual(targets, nodes.map((node) => `${node}:8081`));
  });

  test('has the version of the program', async () => {
    const [, version] = /^version = "(.*)"/m.exec(await read('Cargo.toml'));
    assert.ok(composed.services.node1.image.endsWith(`:${version}`));
    assert.equal(composed.services.node1.build.args.VERSION, version);
  });
});

describe('image', () => {
  test('passes hadolint', async () => {
    const { code, output } = await run('hadolint', ['--failure-threshold', 'style', join(root, 'deploy/Dockerfile')]);
    assert.deepEqual([code, output], [0, '']);
  });

  test('is built with the required Rust', async () => {
    const [, wanted] = /^rust-version = "(.*)"/m.exec(await read('Cargo.toml'));
    const builders = [...`${await read('deploy/Dockerfile')}${await read('docker-compose.yml')}`.matchAll(/rust:([\d.]+)-/g)];
    assert.equal(builders.length, 2);
    for (const [, version] of builders) assert.equal(version, wanted);
  });
});

describe('Grafana', () => {
  test('finds its dashboard and Prometheus', async () => {
    const { volumes, environment } = composed.services.grafana;
    const mounted = volumes.find(({ source }) => source.endsWith('deploy/grafana/pipecast.json')).target;
    assert.equal(environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH, mounted);
    const provider = await read('deploy/grafana/provisioning/dashboards/pipecast.yml');
    assert.ok(mounted.startsWith(`${/path: (\S+)/.exec(provider)[1]}/`));
    const source = await read('deploy/grafana/provisioning/datasources/prometheus.yml');
    assert.equal(new URL(/url: (\S+)/.exec(source)[1]).hostname, 'prometheus');
    assert.match(source, /type: prometheus\n/);
    assert.equal(dashboard.templating.list.find(({ type }) => type === 'datasource').query, 'prometheus');
    const scrape = /scrape_interval: (\S+)/.exec(await read('deploy/prometheus/prometheus.yml'))[1];
    assert.ok(source.includes(`timeInterval: ${scrape}\n`));
  });
});
