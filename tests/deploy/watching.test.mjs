// Prometheus with the shipped configuration and rules on real nodes, and the dashboard's queries.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';

import { until } from '../support/deadline.mjs';
import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { kill, startServer } from '../support/processes.mjs';
import { RedisServer } from '../support/redis.mjs';
import { alerts, dashboard, folder, named, panels, queries, rules, ruleTests, rulesText, runbook } from '../support/expressions.mjs';
import { freePort } from '../support/ports.mjs';
import { PrometheusApi } from '../support/prometheus_api.mjs';
import { Reader } from '../support/reader.mjs';
import { run } from '../support/run.mjs';

const shipped = (file) => fileURLToPath(new URL(`prometheus/${file}`, folder));

async function promtool(...args) {
  const { code, output } = await run('promtool', args);
  assert.equal(code, 0, output);
  assert.doesNotMatch(output, /lint error|FAILED/i);
  return output;
}

describe('rules', () => {
  test('scrape configuration is valid', () => promtool('check', 'config', shipped('prometheus.yml')));

  test('rules are valid', async () => {
    assert.match(await promtool('check', 'rules', shipped('pipecast.rules.yml')), new RegExp(`${rules.length} rules found`));
  });

  test('alerts fire when they should, and only then', () => promtool('test', 'rules', shipped('pipecast.test.yml')));

  test('every alert has a case in which it fires', () => {
    assert.ok(alerts.length >= 14);
    for (const { name } of alerts) assert.ok(ruleTests.includes(`{alertname="${name}"}`), name);
  });

  test('alerts and sections of the runbook match', () => {
    const sections = [...runbook.matchAll(/^## (\w+)$/gm)].map(([, section]) => section);
    assert.deepEqual(sections.toSorted(), alerts.map(({ name }) => name).toSorted());
    for (const { name } of alerts) assert.ok(rulesText.includes(`runbook: docs/operate/runbook.md#${name.toLowerCase()}\n`), name);
    for (const [, anchor] of runbook.matchAll(/\]\(#(\w+)\)/g)) assert.ok(sections.some((name) => name.toLowerCase() === anchor), anchor);
  });
});

describe('dashboard', () => {
  test('offers a data source, which every panel uses', () => {
    const [variable] = dashboard.templating.list.filter(({ type }) => type === 'datasource');
    assert.deepEqual([variable.name, variable.query], ['datasource', 'prometheus']);
    for (const panel of panels) {
      for (const { datasource } of [panel, ...panel.targets]) assert.equal(datasource.uid, '${datasource}', panel.title);
    }
  });

  test('describes every panel, and none overlap', () => {
    const cells = new Set();
    for (const { id, title, description, gridPos: { x, y, w, h } } of dashboard.panels) {
      assert.equal(dashboard.panels.filter((panel) => panel.id === id).length, 1, title);
      assert.ok(x + w <= 24, title);
      for (let row = y; row < y + h; row += 1) {
        for (let column = x; column < x + w; column += 1) {
          assert.ok(!cells.has(`${row} ${column}`), `${title} overlaps another panel`);
          cells.add(`${row} ${column}`);
        }
      }
      if (description !== undefined) assert.ok(description.endsWith('.'), title);
    }
    for (const panel of panels) assert.ok(panel.description, panel.title);
  });
});

describe('running Prometheus', { timeout: 90_000, concurrency: 1 }, () => {
  let redis;
  let nodes;
  let prometheus;
  let server;
  let files;
  const readers = [];

  before(async () => {
    redis = await RedisServer.start();
    const adminPort = await freePort();
    nodes = await Promise.all(['127.0.0.11', '127.0.0.12'].map((host) => PipecastNode.start({
      redis,
      settings: { 'redis.probe_interval': '500ms' },
      listen: `${host}:0`,
      adminListen: `${host}:${adminPort}`,
    })));
    const pipelines = nodes.map((node) => new Pipeline(node, 'p_watched'));
    for (const pipeline of pipelines) readers.push(new Reader(pipeline.streamUrl()));
    const port = await freePort();
    prometheus = new PrometheusApi(`http://127.0.0.1:${port}`);
    files = await mkdtemp(join(tmpdir(), 'pipecast-prometheus-'));
    await cp(new URL('prometheus/', folder), files, { recursive: true });
    // Seconds in place of quarters of a minute, so that the tests need not wait.
    await change('prometheus.yml', (text) => text.replaceAll('interval: 15s', 'interval: 1s'));
    await change('nodes.yml', (text) => text.replaceAll('8081', adminPort));
    await change('pipecast.rules.yml', (text) => text.replaceAll('for: 30s', 'for: 2s'));
    server = await startServer('prometheus', [
      `--config.file=${join(files, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(files, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ], {
      // Once it has scraped both nodes six times.
      isReady: async () => {
        await pipelines[0].publish('names', 1);
        const found = await prometheus.ask('count_over_time(up{job="pipecast"}[1m]) >= 6 and up == 1').catch(() => []);
        return found.length === 2;
      },
    });
  });
  after(async () => {
    for (const reader of readers) reader.close();
    if (server) await kill(server);
    await Promise.all(nodes.map((node) => node.kill()));
    await redis.stop();
    await rm(files, { recursive: true, force: true });
  });

  async function change(file, edit) {
    await writeFile(join(files, file), edit(await readFile(join(files, file), 'utf8')));
  }

  test('has every series that rules and dashboard name', async () => {
    const series = new Map();
    const add = (name, labels) => {
      if (!series.has(name)) series.set(name, []);
      series.get(name).push({ job: 'pipecast', instance: nodes[0].adminUrl, ...labels });
    };
    for (const line of (await (await fetch(`${nodes[0].adminUrl}/metrics`)).text()).split('\n')) {
      const [, name, labels] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? [];
      if (name) add(name, Object.fromEntries([...(labels ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label, value])));
    }
    add('up', {});
    for (const { name } of rules.filter((rule) => !rule.isAlert)) add(name, {});
    let count = 0;
    for (const { name: where, expr } of [...rules, ...queries]) {
      for (const { name, labels, values } of named(expr)) {
        assert.ok(series.has(name), `${where} names ${name}, which no node has`);
        for (const label of labels) assert.ok(series.get(name).some((one) => label in one), `${where}: ${name} has no ${label}`);
        for (const [label, value] of values) {
          assert.ok(series.get(name).some((one) => one[label] === value), `${where}: no ${name} has ${label}="${value}"`);
        }
        count += 1;
      }
    }
    assert.ok(count > 60, `${count} names`);
  });

  test('has data for every panel', async () => {
    let empty = [];
    await until('every panel has data', async () => {
      empty = await prometheus.emptyPanels();
      return empty.length === 0;
    }, () => empty.join('\n'));
  });

  test('evaluates every rule', async () => {
    const { groups } = await prometheus.call('rules');
    const found = groups.flatMap((group) => group.rules);
    assert.equal(found.length, rules.length);
    for (const rule of found) assert.equal(rule.health, 'ok', `${rule.name}: ${rule.lastError}`);
  });

  test('fires an alert per node only once Redis is stopped', async () => {
    assert.deepEqual(await prometheus.firing(), []);
    await redis.stop();
    await until('both nodes have lost Redis', async () => {
      const fired = (await prometheus.firing()).filter(({ labels }) => labels.alertname === 'PipecastStoreAway');
      return new Set(fired.map(({ labels }) => labels.instance)).size === 2;
    });
  });
});
