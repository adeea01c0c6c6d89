// One scenario, played to one client through its own proxy.

import assert from 'node:assert/strict';

import { until } from '../support/deadline.mjs';
import { Pipeline } from '../support/pipeline.mjs';
import { Proxy } from '../support/proxy.mjs';
import { token } from './nodes.mjs';
import { open } from './program.mjs';

export class Performance {
  #client;
  #scenario;
  #nodes;

  // The events and gaps that must arrive: `{id, channel, data}` or `{gap: {reason, missed}}`.
  #expected = [];

  static async prepare(client, scenario, nodes) {
    const performance = new Performance();
    performance.#client = client;
    performance.#scenario = scenario;
    performance.#nodes = nodes;
    performance.node = await nodes.get(scenario.node ?? 'plain');
    performance.pipeline = new Pipeline(performance.node, undefined, { token });
    performance.proxy = await Proxy.start(performance.node);
    return performance;
  }

  /** Plays all steps. */
  async perform() {
    for (const step of this.#scenario.steps) await this[step.do](step);
  }

  /** Checks what the client has received in the end. */
  judge() {
    assertSame(this.inbox.events.map(comparable), this.arriving);
    if (!this.#client.countsBlankLines && !this.#client.countsRetries) assert.deepEqual(this.inbox.withoutPositions, this.inbox.events);
    const { connections } = this.proxy;
    const firstWithId = connections.findIndex(({ body }) => /^id: .*\n(?:.+\n)*\n/m.test(body));
    if (firstWithId === -1) return;
    for (const { request } of connections.slice(firstWithId + 1)) if (request) assert.match(request, this.#client.resumesBy);
  }

  async stop() {
    await this.inbox?.close();
    await this.proxy.stop();
  }

  /** What must have arrived. A client that `takesIdsEarly` skips an event whose id arrived but whose end did not. */
  get arriving() {
    if (!this.#client.takesIdsEarly) return this.#expected;
    const lost = new Set(this.proxy.connections.filter((one) => !one.isOpen).map(idOfPiece));
    return this.#expected.filter(({ id, gap }) => gap || !lost.has(id));
  }

  get #last() {
    return this.proxy.connections.at(-1);
  }

  // The steps.

  async publish({ events, together = false, unseen = false }) {
    const pairs = events.map(({ channel, payload }) => [channel, payload]);
    const ids = [];
    if (together) ids.push(...(await this.pipeline.publishTexts(pairs)));
    else for (const pair of pairs) ids.push(await this.pipeline.publishText(...pair));
    if (unseen) return;
    this.#expected.push(...pairs.map(([channel, data], index) => ({ id: ids[index], channel, data })));
  }

  gap({ reason, missed }) {
    this.#expected.push({ gap: { reason, missed } });
  }

  open() {
    this.inbox = open(this.#client, this.pipeline.streamUrl(this.#scenario.query, this.proxy.url), this.#scenario.channels);
  }

  /** Waits until everything that must arrive has. */
  async arrive() {
    await this.inbox.holds(this.arriving.length);
  }

  cutAfter({ text }) {
    this.proxy.cutAfter(text);
  }

  cutIn({ bytes }) {
    this.proxy.cutIn(bytes);
  }

  /** Ends the connection; bytes sent before still arrive. */
  cut() {
    this.proxy.cut();
  }

  /** Resets the connection; bytes in flight may be lost. */
  reset() {
    this.proxy.reset();
  }

  refuse() {
    this.proxy.refuse();
  }

  accept() {
    this.proxy.accept();
  }

  /** Waits until this many connections were refused; some clients make two in one attempt. */
  async isTurnedAway({ times }) {
    await until(`${times} connections are refused`, () => this.proxy.refused >= times, () => this.#situation);
  }

  /** Drops everything that the node sends. */
  silence() {
    this.proxy.silence();
  }

  async moveTo({ node }) {
    this.proxy.moveTo(await this.#nodes.get(node));
    this.pipeline = this.pipeline.through(await this.#nodes.get(node));
  }

  drain() {
    this.node.drain();
  }

  async isCut() {
    await until('the first connection is cut', () => !this.proxy.connections[0].isOpen);
  }

  async isEnded() {
    await until('the node ended the stream', () => this.proxy.connections[0].hasEnded);
  }

  /** Waits until the client has connected this many times and has an answer. */
  async back({ connections }) {
    await until(
      `the client has connected ${connections} times`,
      () => this.proxy.connections[connections - 1]?.body.includes('retry: '),
      () => this.#situation,
    );
  }

  async carries({ text }) {
    await until(`the stream carries ${JSON.stringify(text)}`, () => this.#last?.body.includes(text), () => this.#situation);
  }

  hasConnected({ times }) {
    assert.equal(this.proxy.connections.length, times);
  }

  hasEmptyMessages() {
    const count = this.inbox.withoutPositions.length - this.inbox.events.length;
    assert.equal(count > 0, this.#client.countsBlankLines ?? false);
  }

  isCompressed() {
    const accepted = /^accept-encoding:.*\bgzip\b/im.test(this.#last.request);
    assert.equal(accepted, this.#client.asksForGzip ?? false, 'asks for gzip');
    assert.equal(/^content-encoding: gzip/im.test(this.#last.head), accepted);
  }

  async isRefused({ status }) {
    await until('the client reports the failure', () => this.inbox.errors.length > 0, () => this.#situation);
    assert.match(this.proxy.connections[0].head, new RegExp(`^HTTP/1.1 ${status} `));
    if (!this.#client.hidesStatus) assert.match(this.inbox.errors[0], new RegExp(`\\b${status}\\b`));
  }

  get #situation() {
    const connections = this.proxy.connections.map(({ isOpen, body }) => `${isOpen ? 'open' : 'closed'} ${body.slice(-200)}`);
    const { errors, ending, complaint } = this.inbox;
    return JSON.stringify({ connections: connections.slice(-3), errors: errors.slice(-3), ending, complaint });
  }
}

// Shows the first difference, since the lists are long.
function assertSame(arrived, expected) {
  const differs = (index) => JSON.stringify(arrived[index]) !== JSON.stringify(expected[index]);
  const place = arrived.concat(expected).findIndex((_, index) => differs(index));
  if (place === -1 || place >= Math.max(arrived.length, expected.length)) return;
  const shown = (list) => JSON.stringify(list[place])?.slice(0, 500);
  assert.fail(
    `message ${place} of ${arrived.length} is ${shown(arrived)}, should be ${shown(expected)} of ${expected.length}`,
  );
}

function comparable(message) {
  if (message.channel !== 'pipecast.gap') return { id: message.id, channel: message.channel, data: message.data };
  const { reason, missed } = JSON.parse(message.data);
  return { gap: { reason, missed } };
}

// The id of the event inside which the connection ended, if its `id:` line was complete.
function idOfPiece({ body }) {
  return /(?:^|\n\n)(?:retry: \d+\n)?(?::[^\n]*\n)*id: (\d+-\d+)\n(?:(?!\n\n)[^])*$/.exec(body.slice(-200_000))?.[1];
}
