// One scenario, played to one client through a proxy of its own.

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

  // What was published and has to arrive, and the gaps between: `{id, channel, data}` or `{gap: {reason, missed}}`.
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

  /** Looks at what the client has in the end. */
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

  /** What must have arrived, with the weakness of a client that `takesIdsEarly`: an event whose id came in time is lost to it. */
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

  /** All that must have arrived has, or more. */
  async arrive() {
    await this.inbox.holds(this.arriving.length);
  }

  cutAfter({ text }) {
    this.proxy.cutAfter(text);
  }

  cutIn({ bytes }) {
    this.proxy.cutIn(bytes);
  }

  /** Ends the connection; what was sent before still arrives. */
  cut() {
    this.proxy.cut();
  }

  /** Ends it so that what is on its way may be lost. */
  reset() {
    this.proxy.reset();
  }

  refuse() {
    this.proxy.refuse();
  }

  accept() {
    this.proxy.accept();
  }

  /** So many connections of the client were refused; some clients make two in one attempt. */
  async isTurnedAway({ times }) {
    await until(`${times} connections are refused`, () => this.proxy.refused >= times, () => this.#situation);
  }

  /** From here on nothing arrives, on no connection. */
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

  /** The client has connected so many times, and is answered. */
  async back({ connections }) {
    await until(
      `the client is back for the ${connections - 1}. time`,
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
    assert.equal(accepted, this.#client.asksForGzip ?? false, 'whether it asks for gzip');
    assert.equal(/^content-encoding: gzip/im.test(this.#last.head), accepted);
  }

  async isRefused({ status }) {
    await until('the client tells of the failure', () => this.inbox.errors.length > 0, () => this.#situation);
    assert.match(this.proxy.connections[0].head, new RegExp(`^HTTP/1.1 ${status} `));
    if (!this.#client.hidesStatus) assert.match(this.inbox.errors[0], new RegExp(`\\b${status}\\b`));
  }

  get #situation() {
    const connections = this.proxy.connections.map(({ isOpen, body }) => `${isOpen ? 'open' : 'closed'} ${body.slice(-200)}`);
    const { errors, ending, complaint } = this.inbox;
    return JSON.stringify({ connections: connections.slice(-3), errors: errors.slice(-3), ending, complaint });
  }
}

// Says where two lists begin to differ, rather than showing both.
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

// The id of the event in whose middle the connection ended, if the line with the id was complete.
function idOfPiece({ body }) {
  return /(?:^|\n\n)(?:retry: \d+\n)?(?::[^\n]*\n)*id: (\d+-\d+)\n(?:(?!\n\n)[^])*$/.exec(body.slice(-200_000))?.[1];
}
