// docker-compose.yml as plain processes: what it promises to whoever runs `docker compose up`, with the shipped files.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { PrometheusApi } from '../support/prometheus_api.mjs';
import { Reader } from '../support/reader.mjs';
import { until } from '../support/deadline.mjs';
import { numbersIn, Pipeline, range } from '../support/pipeline.mjs';
import { composed, nodes, Stack } from './stack.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const prometheus = new PrometheusApi('http://prometheus:9090');
const streamsOf = async (node) => {
  const text = await (await fetch(`http://${node}:8081/metrics`)).text();
  return Number(/^pipecast_connections (\d+)/m.exec(text)[1]);
};
// In seconds, what takes a quarter of a minute: nobody wants to wait for that.
const hasty = { PIPECAST_REDIS__PROBE_INTERVAL: '1s', PIPECAST_STREAM__KEEPALIVE: '2s' };

describe('the services of docker-compose.yml', { concurrency: 1, timeout: 170_000 }, () => {
  // Those that have to have everything, and all there are.
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
    // All at once and in no order: nothing may depend on who comes first.
    await Promise.all([stack.start('prometheus'), stack.start('haproxy'), ...nodes.map(startNode), stack.start('redis')]);
    await Promise.all(['redis', ...nodes, 'haproxy'].map((name) => stack.isWell(name)));
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

  function open(pipeline) {
    const reader = new Reader(pipeline.streamUrl());
    opened.push(reader);
    return reader;
  }

  /** Publishes `count` numbers through a balancer, each again until it is acknowledged. */
  async function publishNumbers(pipeline, count) {
    const end = published + count;
    for (; published < end; published += 1) {
      await until(`number ${published} is acknowledged`, () => pipeline.publish('names', { n: published }).catch(() => undefined));
    }
  }

  async function openOnEachNode(pipeline) {
    await until('each node has one of these readers', async () => {
      const counts = await Promise.all(nodes.map(streamsOf));
      readers.push(open(pipeline));
      await until('it is open', async () => {
        const now = await Promise.all(nodes.map(streamsOf));
        return now.some((count, index) => count > counts[index]);
      });
      return readers.length >= 9;
    });
  }

  async function allHaveAll(of = readers) {
    await until('all readers have all events', () => {
      const failed = of.find((reader) => reader.failure);
      if (failed) throw new Error(`a stream ${failed.failure}, which ends an EventSource for good`);
      return of.every((reader) => reader.events.length >= published);
    }, () => `of ${published}: ${of.map((reader) => reader.events.length).join()}`);
    for (const reader of of) assert.deepEqual(numbersIn(reader.events), range(0, published));
  }

  const broker = new Pipeline({ publicUrl: 'http://haproxy:8000' });

  test('an event published through the balancer reaches readers on all nodes', async () => {
    await openOnEachNode(broker);
    await publishNumbers(broker, 10);
    await allHaveAll();
  });

  test('the demo publishes and reads, as its own health check sees it', async () => {
    await stack.isWell('demo');
    assert.match(stack.outputOf('demo'), /\n {2}http:\/\/127\.0\.0\.1:8080\/pipelines\/p_demo\n/);
  });

  test('Prometheus scrapes all nodes', async () => {
    await until('all targets are up', async () => {
      const { activeTargets } = await prometheus.call('targets').catch(() => ({ activeTargets: [] }));
      return activeTargets.filter(({ health }) => health === 'up').length === nodes.length;
    }, () => stack.outputOf('prometheus'));
    const instances = (await prometheus.ask('up{job="pipecast"}')).map(({ metric }) => metric.instance).toSorted();
    assert.deepEqual(instances, nodes.map((node) => `${node}:8081`));
  });

  test('every panel of the dashboard has data while the demo runs', async () => {
    let empty = [];
    await until('every panel has data', async () => (empty = await prometheus.emptyPanels()).length === 0, () => empty.join('\n'));
    const moving = await until('events are published, delivered and replayed', async () => {
      const rates = await Promise.all(
        ['pipecast_events_published_total', 'pipecast_events_delivered_total', 'pipecast_replays_total{outcome="resumed"}']
          .map((series) => prometheus.ask(`sum(rate(${series}[30s])) > 0`)),
      );
      return rates.every(({ length }) => length > 0);
    });
    assert.ok(moving);
    assert.deepEqual(await prometheus.firing(), []);
  });

  test('readers of a node that is killed go on at the others, without loss', async () => {
    await stack.end('node2', 'SIGKILL');
    await publishNumbers(broker, 20);
    await allHaveAll();
    assert.ok(readers.some((reader) => reader.connections > 1), 'no stream was on the node');
    await startNode('node2');
    await stack.isWell('node2');
  });

  test('while Redis is stopped an alert fires, streams stay, new ones wait, and nothing is lost', async () => {
    const before = readers.map((reader) => reader.connections);
    // Also said at the start, before any node was ready.
    const emptied = () => stack.outputOf('haproxy').match(/nodes'? has no server available/g)?.length ?? 0;
    const atFirst = emptied();
    await stack.end('redis');
    await until('no node is ready', async () => {
      const answers = await Promise.all(nodes.map((node) => fetch(`http://${node}:8081/readyz`)));
      return answers.every(({ status }) => status === 503);
    });
    await until('the alert fires for each node', async () => {
      const away = (await prometheus.firing()).filter(({ labels }) => labels.alertname === 'PipecastStoreAway');
      return new Set(away.map(({ labels }) => labels.instance)).size === nodes.length;
    });
    // Before that it would send new streams to nodes that it takes for ready.
    await until('HAProxy has noticed', () => emptied() > atFirst, () => stack.outputOf('haproxy').slice(-2000));
    const waiting = [open(broker), open(broker), open(broker)];
    const keepalives = readers.map((reader) => reader.keepalives);
    await until('old streams hear keepalives', () => readers.every((reader, index) => reader.keepalives > keepalives[index]));
    await until('new ones hear them too', () => waiting.every((reader) => reader.keepalives > 0));
    assert.deepEqual(readers.map((reader) => reader.connections), before);
    await stack.start('redis');
    await publishNumbers(broker, 10);
    readers.push(...waiting);
    await allHaveAll();
    for (const { connections } of waiting) assert.equal(connections, 1);
    await until('the alert is over', async () => (await prometheus.firing()).length === 0);
    await stack.isWell('node1');
  });

  test('with nginx in place of HAProxy the same holds', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'pipecast-nginx-')), 'nginx.conf');
    const shipped = await readFile(join(root, 'deploy/nginx.conf'), 'utf8');
    // What its first lines ask for: the nodes' addresses.
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
    const own = Array.from({ length: 9 }, () => open(through));
    readers.push(...own);
    await publishNumbers(through, 10);
    await stack.end('node3', 'SIGKILL');
    await publishNumbers(through, 10);
    await allHaveAll();
    assert.ok(own.some((reader) => reader.connections > 1), 'no stream was on the node');
  });

  test('each service ends when it is asked to', async () => {
    for (const reader of opened) reader.close();
    for (const name of ['demo', 'haproxy', 'node1', 'prometheus', 'redis']) await stack.end(name);
    assert.match(stack.outputOf('demo'), /published \d+ events; read \d+ on \d+ streams, of which \d+ resumed\n/);
    assert.match(stack.outputOf('node1'), /stopped; all connections are closed/);
  });
});
