// docker-compose.yml as plain processes: the behaviour that `docker compose up` promises, with the shipped files.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { PrometheusApi } from '../support/prometheus_api.mjs';
import { Reader } from '../support/reader.mjs';
import { until } from '../support/deadline.mjs';
import { metric } from '../support/metrics.mjs';
import { numbersIn, Pipeline, range } from '../support/pipeline.mjs';
import { composed, nodes, Stack } from './stack.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const prometheus = new PrometheusApi('http://prometheus:9090');
const streamsOf = (node) => metric({ adminUrl: `http://${node}:8081` }, 'pipecast_streams');
// Seconds in place of a quarter of a minute, so that the tests need not wait.
const hasty = { PIPECAST_REDIS__PROBE_INTERVAL: '1s', PIPECAST_STREAM__KEEPALIVE: '2s' };

describe('services of docker-compose.yml', { concurrency: 1, timeout: 170_000 }, () => {
  // The subscribers that must receive every event, and all that were opened.
  const readers = [];
  const opened = [];
  let stack;
  let published = 0;

  before(async () => {
    stack = await Stack.prepare(['nginx']);
    const files = await mkdtemp(join(tmpdir(), 'pipecast-prometheus-'));
    await cp(join(root, 'deploy/prometheus'), files, { recursive: true });
    await change(join(files, 'prometheus.yml'), (text) => text.replaceAll('interval: 15s', 'interval: 1s'));
    await change(join(files, 'pipecast.rules.yml'), (text) => text.replaceAll('for: 30s', 'for: 2s'));
    stack.change('deploy/prometheus', files);
    // All at once: nothing may depend on their order.
    await Promise.all([stack.start('prometheus'), stack.start('haproxy'), ...nodes.map(startNode), stack.start('redis')]);
    await Promise.all(['redis', ...nodes, 'haproxy'].map((name) => stack.untilHealthy(name)));
    await stack.start('demo');
  });
  after(async () => {
    for (const reader of opened) reader.close();
    await stack.stop();
  });

  async function change(file, edit) {
    await writeFile(file, edit(await readFile(file, 'utf8')));
  }

  function startNode(name) {
    const shipped = composed.services[name];
    return stack.start(name, { ...shipped, environment: { ...shipped.environment, ...hasty } });
  }

  async function open(pipeline) {
    const reader = await Reader.open(pipeline.streamUrl());
    opened.push(reader);
    return reader;
  }

  /** Publishes `count` numbers through a balancer, and repeats each until it is acknowledged. */
  async function publishNumbers(pipeline, count) {
    const end = published + count;
    for (; published < end; published += 1) {
      await until(`number ${published} is acknowledged`, () => pipeline.publish('names', { n: published }).catch(() => undefined));
    }
  }

  async function openOnEachNode(pipeline) {
    await until('each node has some of nine or more subscribers', async () => {
      readers.push(await open(pipeline));
      return readers.length >= 9 && (await Promise.all(nodes.map(streamsOf))).every((count) => count > 0);
    });
  }

  async function allHaveAll(of = readers) {
    await until('all subscribers have all events', () => {
      const failed = of.find((reader) => reader.failure);
      if (failed) throw new Error(`a stream ${failed.failure}, which ends an EventSource for good`);
      return of.every((reader) => reader.events.length >= published);
    }, () => `of ${published}: ${of.map((reader) => reader.events.length).join()}`);
    for (const reader of of) assert.deepEqual(numbersIn(reader.events), range(0, published));
  }

  const broker = new Pipeline({ publicUrl: 'http://haproxy:8000' });

  test('event published through HAProxy reaches all nodes', async () => {
    await openOnEachNode(broker);
    await publishNumbers(broker, 10);
    await allHaveAll();
  });

  test('demo publishes and reads, and its health check passes', async () => {
    await stack.untilHealthy('demo');
    assert.ok(stack.outputOf('demo').includes('http://127.0.0.1:8080/pipelines/p_demo\n'));
  });

  test('Prometheus scrapes all nodes', async () => {
    await until('all targets are up', async () => {
      const { activeTargets } = await prometheus.call('targets').catch(() => ({ activeTargets: [] }));
      return activeTargets.filter(({ health }) => health === 'up').length === nodes.length;
    }, () => stack.outputOf('prometheus'));
    const instances = (await prometheus.ask('up{job="pipecast"}')).map(({ metric }) => metric.instance).toSorted();
    assert.deepEqual(instances, nodes.map((node) => `${node}:8081`));
  });

  test('every panel has data while the demo runs', async () => {
    let empty = [];
    await until('every panel has data', async () => (empty = await prometheus.emptyPanels()).length === 0, () => empty.join('\n'));
    const moving = await until('events are published, delivered and replayed', async () => {
      const rates = await Promise.all(
        ['pipecast_events_published_total', 'pipecast_events_delivered_total', 'pipecast_streams_opened_total{start="resumed"}']
          .map((series) => prometheus.ask(`sum(rate(${series}[30s])) > 0`)),
      );
      return rates.every(({ length }) => length > 0);
    });
    assert.ok(moving);
    assert.deepEqual(await prometheus.firing(), []);
  });

  test('subscribers of a killed node continue on the others', async () => {
    await stack.end('node2', 'SIGKILL');
    await publishNumbers(broker, 20);
    await allHaveAll();
    assert.ok(readers.some((reader) => reader.connections > 1), 'the node must have had a stream');
    await startNode('node2');
    await stack.untilHealthy('node2');
  });

  test('streams outlive a Redis outage, and an alert fires', async () => {
    const before = readers.map((reader) => reader.connections);
    // HAProxy logs this at the start too, before any node was ready.
    const emptied = () => stack.outputOf('haproxy').match(/nodes'? has no server available/g)?.length ?? 0;
    const atFirst = emptied();
    await stack.end('redis');
    await until('no node is ready', async () => {
      const answers = await Promise.all(nodes.map((node) => fetch(`http://${node}:8081/readyz`)));
      return answers.every(({ status }) => status === 503);
    });
    await until('the alert fires for every node', async () => {
      const alerts = (await prometheus.firing()).filter(({ labels }) => labels.alertname === 'PipecastStoreAway');
      return new Set(alerts.map(({ labels }) => labels.instance)).size === nodes.length;
    });
    // Until then it would send new streams to nodes that it believes ready.
    await until('HAProxy has noticed', () => emptied() > atFirst, () => stack.outputOf('haproxy').slice(-2000));
    const waiting = await Promise.all([open(broker), open(broker), open(broker)]);
    const keepalives = readers.map((reader) => reader.keepalives);
    await until('old streams get keepalives', () => readers.every((reader, index) => reader.keepalives > keepalives[index]));
    await until('new streams get keepalives', () => waiting.every((reader) => reader.keepalives > 0));
    assert.deepEqual(readers.map((reader) => reader.connections), before);
    await stack.start('redis');
    await publishNumbers(broker, 10);
    readers.push(...waiting);
    await allHaveAll();
    for (const { connections } of waiting) assert.equal(connections, 1);
    await until('the alert is over', async () => (await prometheus.firing()).length === 0);
    await stack.untilHealthy('node1');
  });

  test('subscribers continue behind nginx too', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'pipecast-nginx-')), 'nginx.conf');
    const shipped = await readFile(join(root, 'deploy/nginx.conf'), 'utf8');
    // With the nodes' addresses, as its first lines ask for.
    await writeFile(file, shipped.replaceAll('# server 127', 'server 127').replaceAll(/127\.0\.0\.1([123]):8080/g, 'node$1:8080'));
    await stack.start('nginx', {
      image: 'nginx',
      command: ['nginx', '-c', '/etc/nginx/nginx.conf', '-e', 'stderr', '-g', 'daemon off; pid /tmp/nginx.pid; user root;'],
      volumes: [
        { type: 'bind', source: file, target: '/etc/nginx/nginx.conf' },
        { type: 'volume', source: 'nginx', target: '/var/lib/nginx' },
        { type: 'volume', source: 'nginx-log', target: '/var/log/nginx' },
      ],
    });
    const through = broker.through({ publicUrl: 'http://nginx:8000' });
    await until('nginx passes requests on', async () => (await fetch(through.eventsUrl).catch(() => undefined))?.ok, () => stack.outputOf('nginx'));
    const own = await Promise.all(Array.from({ length: 9 }, () => open(through)));
    readers.push(...own);
    await publishNumbers(through, 10);
    await stack.end('node3', 'SIGKILL');
    await publishNumbers(through, 10);
    await allHaveAll();
    assert.ok(own.some((reader) => reader.connections > 1), 'the node must have had a stream');
  });

  test('services end with success when asked to', async () => {
    for (const reader of opened) reader.close();
    for (const name of ['demo', 'node1', 'prometheus', 'redis']) assert.equal(await stack.end(name), 'exit 0', name);
    // HAProxy ends by the signal.
    await stack.end('haproxy');
  });
});
