// `pipecast doctor` behind real balancers: with the shipped files it finds nothing, with spoilt ones what is wrong with them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PipecastNode } from '../support/node.mjs';
import { RedisServer } from '../support/redis.mjs';
import { Balancer, balancers } from './balancer.mjs';
import { freePort } from '../support/ports.mjs';
import { run } from '../support/run.mjs';

describe('the doctor', { timeout: 120_000, concurrency: 1 }, () => {
  let redis;
  let nodes;
  const ports = {};

  before(async () => {
    redis = await RedisServer.start();
    [ports.nodePort, ports.adminPort] = [await freePort(), await freePort()];
    nodes = await Promise.all(['127.0.0.11', '127.0.0.12'].map((host) => PipecastNode.start({
      redis,
      // A keepalive later than the shortest time-out here, and sooner than the others.
      settings: { 'stream.keepalive': '2s', 'server.cors_origins': 'https://www.example.com' },
      listen: `${host}:${ports.nodePort}`,
      adminListen: `${host}:${ports.adminPort}`,
    })));
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.kill()));
    await redis.stop();
  });

  async function examine(name, { spoil, words = [] } = {}) {
    const balancer = await Balancer.start(name, { ...ports, spoil });
    try {
      return await run(process.env.PIPECAST_BIN, ['doctor', balancer.url, '--hold', '3s', ...words]);
    } finally {
      await balancer.stop();
    }
  }

  /** One line of nginx.conf in place of another, which has to be there. */
  function replacing(line, other) {
    return (text) => {
      assert.ok(text.includes(line), line);
      return text.replace(line, other);
    };
  }

  for (const name of Object.keys(balancers)) {
    test(`finds nothing wrong with the shipped file for ${name}`, async () => {
      const { code, output } = await examine(name, { words: ['--origin', 'https://www.example.com'] });
      assert.equal(code, 0, output);
      assert.match(output, /\n7 ok, 0 to look at, 0 failed\n/);
      assert.match(output, /idle stream stays open for 3s, with \d keepalive/);
    });
  }

  test('reads what a node has compressed', async () => {
    const node = await PipecastNode.start({ settings: { 'stream.compression': true } });
    try {
      const { code, output } = await run(process.env.PIPECAST_BIN, ['doctor', node.publicUrl, '--hold', '1s']);
      assert.equal(code, 0, output);
      assert.match(output, /as the node sent them, and it is compressed\n/);
    } finally {
      await node.kill();
    }
  });

  test('leaves no history behind', async () => {
    await examine('nginx', { words: ['--pipeline', 'p_doctor'] });
    const { events } = await (await fetch(`http://127.0.0.11:${ports.nodePort}/pipelines/p_doctor/events`)).json();
    assert.deepEqual(events, []);
  });

  const faults = {
    'a balancer that collects answers to compress them': {
      spoil: replacing('proxy_buffering off;', 'proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any; gzip_types text/event-stream;'),
      says: /FAIL {2}(a stream says nothing|a stream has no answer|event 0 has not arrived)[^]*proxy_buffering off/,
    },
    'a time-out that is shorter than the keepalive': {
      spoil: replacing('proxy_read_timeout 60s;', 'proxy_read_timeout 1s;'),
      says: /FAIL {2}an idle stream was cut after [^]*shorter time-out than stream\.keepalive/,
    },
    'a resume point that is lost on the way': {
      spoil: replacing('proxy_buffering off;', 'proxy_buffering off; proxy_set_header Connection ""; proxy_set_header Last-Event-ID "";'),
      says: /FAIL {2}resumed, a stream brought [^]*Last-Event-ID/,
    },
    'caching headers that were replaced': {
      spoil: replacing('proxy_buffering off;', 'proxy_buffering off; proxy_hide_header Cache-Control;'),
      says: /look {2}a stream's Cache-Control is ``/,
      code: 0,
    },
    'requests of more than one MiB that are refused': {
      spoil: replacing('client_max_body_size 4m;', ''),
      says: /look {2}a request of 1200 KiB is refused, 413[^]*client_max_body_size 4m/,
      code: 0,
    },
    'streams that lead somewhere else': {
      spoil: replacing('proxy_buffering off;', 'return 200 "hello"; proxy_buffering off;'),
      says: /FAIL {2}a stream is answered with `text\/plain`/,
    },
    'publishers that are sent from http to https': {
      spoil: replacing('location / {', 'location / { if ($request_method = POST) { return 301 https://$host$request_uri; }'),
      says: /FAIL {2}publishing failed, 301 Moved Permanently: it redirects to https:\/\/127\.0\.0\.1, and redirects are not followed[^]*answers POST requests/,
    },
    'publishers that get a page': {
      spoil: replacing('location / {', 'location / { default_type text/html; if ($request_method = POST) { return 200 "<h1>Back soon</h1>"; }'),
      says: /FAIL {2}publishing failed, 200 OK with `text\/html`, which is no answer of Pipecast[^]*answers POST requests/,
    },
    'streams that are redirected': {
      spoil: replacing('proxy_buffering off;', 'return 302 https://elsewhere.example$request_uri; proxy_buffering off;'),
      says: /FAIL {2}a stream is refused, 302 Found: it redirects to https:\/\/elsewhere\.example, and[^]*Give the doctor/,
    },
    'a balancer that finds no node': {
      spoil: replacing('proxy_buffering off;', 'return 503; proxy_buffering off;'),
      says: /FAIL {2}a stream is refused, 503[^]*ask nodes that are not ready/,
    },
    'an origin that is not allowed': {
      spoil: (text) => text,
      words: ['--origin', 'https://elsewhere.example.com'],
      says: /FAIL {2}pages of https:\/\/elsewhere\.example\.com may not read[^]*server\.cors_origins/,
    },
  };
  for (const [fault, { says, code = 1, ...how }] of Object.entries(faults)) {
    test(`finds ${fault}`, async () => {
      const found = await examine('nginx', how);
      assert.match(found.output, says);
      assert.equal(found.code, code, found.output);
    });
  }
});
