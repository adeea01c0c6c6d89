// What every client must get from a node, whoever wrote it.
//
// A client is described by
//   name                    as it stands in the summary
//   open(url, channels)     starts reading and gives an `Inbox`
//   resumesBy               RegExp: how the request of a reconnect names the resume point; $1 is the id
//   takesIdsEarly           whether the `id:` line moves it, before the block is complete: a connection that ends
//                           inside of an event then costs that event
//   countsBlankLines        whether each blank line is a message to it, data or not

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from './harness/deadline.mjs';
import { PipecastNode } from './harness/node.mjs';
import { large, numbers, texts } from './harness/payloads.mjs';
import { Pipeline, numbersIn, range } from './harness/pipeline.mjs';
import { Proxy } from './harness/proxy.mjs';

const TIMEOUT_MS = 60_000;

/** Runs all cases for `client`. */
export function contract(client) {
  describe(client.name, { concurrency: true, timeout: TIMEOUT_MS }, () => {
    let node;
    let endingNode;

    before(async () => {
      [node, endingNode] = await Promise.all([
        PipecastNode.start({ settings: { 'stream.keepalive': '1s' } }),
        PipecastNode.start({ settings: { 'stream.max_age': '1s' } }),
      ]);
    });
    after(() => Promise.all([node.kill(), endingNode.kill()]));

    // Opens the stream for the time of the test, through a proxy of its own.
    async function subscribe(t, { on = node, query = '', channels = ['names'] } = {}) {
      const pipeline = new Pipeline(on);
      const proxy = await Proxy.start(on);
      t.after(() => proxy.stop());
      return {
        pipeline,
        proxy,
        open() {
          const inbox = client.open(pipeline.streamUrl(query, proxy.url), channels);
          t.after(() => inbox.close());
          return inbox;
        },
      };
    }

    test('earlier events come first, then the live ones, in order and once', async (t) => {
      const { pipeline, open } = await subscribe(t);
      const ids = await pipeline.publishNumbers('names', 0, 20);
      const inbox = open();
      ids.push(...(await pipeline.publishNumbers('names', 20, 40)));
      await inbox.holds(40);
      ids.push(...(await pipeline.publishNumbers('names', 40, 60)));
      await inbox.holds(60);
      assert.deepEqual(numbersIn(inbox.events), range(0, 60));
      assert.deepEqual(inbox.events.map((event) => event.id), ids);
    });

    test('events arrive under their channel', async (t) => {
      const channels = ['cron_test', 'order:paid', 'prices.eur/usd', 'message', 'größe ☃', 'constructor'];
      const { pipeline, open } = await subscribe(t, { channels });
      const sent = channels.map((channel) => [channel, { from: channel }]);
      await pipeline.publishBatch(sent);
      const inbox = open();
      await inbox.holds(sent.length);
      await pipeline.publishBatch(sent);
      await inbox.holds(2 * sent.length);
      const arrived = inbox.events.map((event) => [event.channel, JSON.parse(event.data)]);
      assert.deepEqual(arrived, [...sent, ...sent]);
    });

    test('connections that are cut lose nothing and double nothing', async (t) => {
      const { pipeline, proxy, open } = await subscribe(t);
      await pipeline.publishNumbers('names', 0, 10);
      const inbox = open();
      await inbox.holds(10);

      // In the middle of an event, with more of them published while the client is away.
      proxy.cutAfter('{"n":23,');
      await pipeline.publishNumbers('names', 10, 35);
      await until('the connection is cut', () => !proxy.connections[0].isOpen);
      const wasNamed = /\n\nid: [^\n]*\n[^]*{"n":23,$/.test(proxy.connections[0].body.slice(-200));
      const lost = client.takesIdsEarly && wasNamed ? [23] : [];
      await inbox.holds(35 - lost.length);

      proxy.reset();
      await pipeline.publishNumbers('names', 35, 50);
      await inbox.holds(50 - lost.length);
      await pipeline.publishNumbers('names', 50, 60);
      await inbox.holds(60 - lost.length);

      assert.deepEqual(numbersIn(inbox.events), range(0, 60).filter((n) => !lost.includes(n)));
      assert.deepEqual(new Set(inbox.events.map((event) => event.channel)), new Set(['names']));
      assert.equal(proxy.connections.length, 3);
      for (const reconnect of proxy.connections.slice(1)) assert.match(reconnect.request, client.resumesBy);
    });

    test('a stream that the node ends is continued', async (t) => {
      const { pipeline, proxy, open } = await subscribe(t, { on: endingNode });
      await pipeline.publishNumbers('names', 0, 5);
      const inbox = open();
      await inbox.holds(5);
      await until('the node ended the stream', () => proxy.connections[0].hasEnded);
      await pipeline.publishNumbers('names', 5, 10);
      await inbox.holds(10);
      await pipeline.publishNumbers('names', 10, 15);
      await inbox.holds(15);
      assert.deepEqual(numbersIn(inbox.events), range(0, 15));
    });

    test('an event of 100 KB arrives whole, replayed and live', async (t) => {
      const { pipeline, open } = await subscribe(t);
      await pipeline.publish('names', large);
      const inbox = open();
      await inbox.holds(1);
      await pipeline.publish('names', large);
      await inbox.holds(2);
      assert.deepEqual(inbox.events.map((event) => event.data), Array(2).fill(JSON.stringify(large)));
    });

    test('texts of every kind arrive as they were sent', async (t) => {
      const { pipeline, open } = await subscribe(t);
      const sent = Object.entries(texts);
      await pipeline.publishBatch(sent.map(([name, text]) => ['names', { name, text }]));
      const inbox = open();
      await inbox.holds(sent.length);
      for (const [, text] of sent) await pipeline.publish('names', text);
      await inbox.holds(2 * sent.length);
      assert.deepEqual(
        inbox.events.map((event) => JSON.parse(event.data)),
        [...sent.map(([name, text]) => ({ name, text })), ...sent.map(([, text]) => text)],
      );
    });

    test('numbers keep every digit', async (t) => {
      const { pipeline, open } = await subscribe(t);
      const inbox = open();
      for (const number of numbers) await pipeline.publishText('names', number);
      await inbox.holds(numbers.length);
      assert.deepEqual(inbox.events.map((event) => event.data), numbers);
    });

    test('a payload on several lines arrives on one', async (t) => {
      const { pipeline, open } = await subscribe(t);
      const inbox = open();
      await pipeline.publishText('names', '{\r\n  "text" : "a  b",\n\n\t"list": [ 1 ,\r 2 ]\n}');
      await inbox.holds(1);
      assert.equal(inbox.events[0].data, '{"text":"a  b","list":[1,2]}');
    });

    test('there are no blank lines but those after events, the position and keepalives', async (t) => {
      const { pipeline, proxy, open } = await subscribe(t, { query: '?replay=0' });
      await pipeline.publishNumbers('names', 0, 2);
      const inbox = open();
      const keepalives = () => proxy.connections[0]?.body.match(/^:keepalive\n\n/gm)?.length ?? 0;
      await until('two keepalives', () => keepalives() >= 2);
      await pipeline.publishNumbers('names', 2, 4);
      await inbox.holds(2);

      const blocks = proxy.connections[0].body.split('\n\n').slice(0, -1);
      const isEvent = (block) => block.includes('\nevent: names\n');
      const isEmpty = (block) => !isEvent(block);
      assert.match(blocks[0], /^retry: [123]\d{3}\nevent: pipecast\.position\nid: \d+-\d+\ndata: \{\}$/);
      assert.deepEqual(new Set(blocks.slice(1).filter(isEmpty)), new Set([':keepalive']));
      assert.equal(blocks.filter(isEvent).length, 2);

      const before = blocks.slice(1, blocks.findLastIndex(isEvent));
      const messages = inbox.withoutPositions.slice(0, inbox.withoutPositions.indexOf(inbox.events[1]));
      assert.equal(messages.length, client.countsBlankLines ? before.length : 1);
    });

    test('a replay brings no message but its events', async (t) => {
      const { pipeline, proxy, open } = await subscribe(t);
      await pipeline.publishNumbers('names', 0, 3);
      const inbox = open();
      await inbox.holds(3);
      const [first] = proxy.connections[0].body.split('\n\n');
      assert.match(first, /^retry: [123]\d{3}\nid: \d+-\d+\nevent: names\ndata: /);
      assert.deepEqual(inbox.messages.slice(0, 3), inbox.events);
    });

    test('a live-only stream that is cut before its first event resumes where it began', async (t) => {
      const { pipeline, proxy, open } = await subscribe(t, { query: '?replay=0' });
      await pipeline.publishNumbers('names', 0, 3);
      const inbox = open();
      await until('the position is sent', () => proxy.connections[0]?.body.includes('\n\n'));
      proxy.refuse();
      proxy.cut();
      await pipeline.publishNumbers('names', 3, 6);
      proxy.accept();
      await until('the client is back', () => proxy.connections[1]?.body.includes('retry: '));
      await pipeline.publishNumbers('names', 6, 8);
      await inbox.holds(5);
      assert.deepEqual(numbersIn(inbox.events), range(3, 8));
    });
  });
}
