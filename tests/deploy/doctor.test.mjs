// `pipecast doctor` through real balancers: it reports no problem with the shipped files, and finds the mistake in changed ones.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { RedisServer } from '../support/redis.mjs';
import { run } from '../support/run.mjs';
import { Balancer, balancers } from './balancer.mjs';
import { Pair } from './pair.mjs';

/** The doctor's findings: `{kind, text}`, where the text includes the advice. */
function findingsIn(output) {
  return [...output.matchAll(/^ {2}(ok|warn|FAIL) +(.*(?:\n {4,}.*)*)/gm)].map(([, kind, text]) => ({ kind, text }));
}

describe('doctor', { timeout: 120_000, concurrency: 1 }, () => {
  let redis;
  let pair;

  before(async () => {
    redis = await RedisServer.start();
    pair = await Pair.start({
      redis,
      // Longer than the shortest timeout in these files, and shorter than the others.
      settings: { 'stream.keepalive': '2s', 'server.cors_origins': 'https://www.example.com' },
    });
  });
  after(async () => {
    await pair.stop();
    await redis.stop();
  });

  async function examine(name, { spoil, words = [] } = {}) {
    const balancer = await Balancer.start(name, { ...pair.ports, spoil });
    try {
      return await run(process.env.PIPECAST_BIN, ['doctor', balancer.url, '--idle-for', '3s', ...words]);
    } finally {
      await balancer.stop();
    }
  }

  /** Replaces a line of nginx.conf, which must exist. */
  function replacing(line, other) {
    return (text) => {
      assert.ok(text.includes(line), line);
      return text.replace(line, other);
    };
  }

  for (const name of Object.keys(balancers)) {
    test(`reports no problem with the shipped file for ${name}`, async () => {
      const { code, output } = await examine(name, { words: ['--origin', 'https://www.example.com'] });
      assert.equal(code, 0, output);
      const findings = findingsIn(output);
      assert.deepEqual(findings.map(({ kind }) => kind), Array(7).fill('ok'), output);
      // The last one is the idle stream, which was held for three seconds.
      assert.match(findings.at(-1).text, /\b3s\b/);
    });
  }

  test('reads compressed streams', async () => {
    const node = await PipecastNode.start({ settings: { 'stream.compression': true } });
    try {
      const { code, output } = await run(process.env.PIPECAST_BIN, ['doctor', node.publicUrl, '--idle-for', '1s']);
      assert.equal(code, 0, output);
      assert.match(output, /\bcompressed\b/);
    } finally {
      await node.kill();
    }
  });

  test('leaves no history behind', async () => {
    await examine('nginx', { words: ['--pipeline', 'p_doctor'] });
    assert.deepEqual(await new Pipeline(pair.nodes[0], 'p_doctor').history(), []);
  });

  // The change, and what the finding must name.
  const mistakes = {
    'a balancer that buffers in order to compress': {
      spoil: replacing('proxy_buffering off;', 'proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any; gzip_types text/event-stream;'),
      names: ['proxy_buffering off'],
    },
    'a timeout shorter than the keepalive': {
      spoil: replacing('proxy_read_timeout 60s;', 'proxy_read_timeout 1s;'),
      names: ['stream.keepalive'],
    },
    'a balancer that drops the resume point': {
      spoil: replacing('proxy_buffering off;', 'proxy_buffering off; proxy_set_header Connection ""; proxy_set_header Last-Event-ID "";'),
      names: ['Last-Event-ID'],
    },
    'replaced caching headers': {
      spoil: replacing('proxy_buffering off;', 'proxy_buffering off; proxy_hide_header Cache-Control;'),
      names: ['Cache-Control'],
      kind: 'warn',
    },
    'a size limit below batches of events': {
      spoil: replacing('client_max_body_size 4m;', ''),
      names: ['1200 KiB', '413', 'client_max_body_size 4m'],
      kind: 'warn',
    },
    'streams that lead to another server': {
      spoil: replacing('proxy_buffering off;', 'return 200 "hello"; proxy_buffering off;'),
      names: ['text/plain'],
    },
    'publishers redirected from http to https': {
      spoil: replacing('location / {', 'location / { if ($request_method = POST) { return 301 https://$host$request_uri; }'),
      names: ['301', 'https://127.0.0.1', 'POST'],
    },
    'publishers answered with a web page': {
      spoil: replacing('location / {', 'location / { default_type text/html; if ($request_method = POST) { return 200 "<h1>Back soon</h1>"; }'),
      names: ['200', 'text/html', 'POST'],
    },
    'redirected streams': {
      spoil: replacing('proxy_buffering off;', 'return 302 https://elsewhere.example$request_uri; proxy_buffering off;'),
      names: ['302', 'https://elsewhere.example'],
    },
    'a balancer without a node': {
      spoil: replacing('proxy_buffering off;', 'return 503; proxy_buffering off;'),
      names: ['503'],
    },
    'an origin that is not allowed': {
      spoil: (text) => text,
      words: ['--origin', 'https://elsewhere.example.com'],
      names: ['https://elsewhere.example.com', 'server.cors_origins'],
    },
  };
  for (const [mistake, { names, kind = 'FAIL', ...how }] of Object.entries(mistakes)) {
    test(`finds ${mistake}`, async () => {
      const { code, output } = await examine('nginx', how);
      const found = findingsIn(output).find((finding) => finding.kind !== 'ok');
      assert.equal(found?.kind, kind, output);
      for (const name of names) assert.ok(found.text.includes(name), `${name} in: ${found.text}`);
      assert.equal(code, kind === 'FAIL' ? 1 : 0, output);
    });
  }
});
