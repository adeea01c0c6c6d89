// What happens to a stream, for every client under test. The steps are methods in `performance.mjs`.
//
// In the end a client must have delivered each published event that is not `unseen`, once, in order, with its id, channel and data unchanged;
// and each gap that a step expects.

import { large, numbers as digits, texts } from '../support/payloads.mjs';
import { range } from '../support/pipeline.mjs';
import { token } from './nodes.mjs';

/** The events `{"n": first}` up to but not including `{"n": end}`. */
export const numbers = (first, end, channel = 'names') =>
  range(first, end).map((n) => ({ channel, payload: JSON.stringify({ n, note: `number ${n}` }) }));

/** Events with these payloads. */
export const each = (payloads) => payloads.map((payload) => ({ channel: 'names', payload: JSON.stringify(payload) }));

const oddChannels = ['cron_test', 'order:paid', 'prices.eur/usd', 'message', 'größe ☃', 'constructor'];
const onOddChannels = oddChannels.map((channel) => ({ channel, payload: JSON.stringify({ from: channel }) }));

export const publish = (events, how = {}) => ({ do: 'publish', events, ...how });
export const open = { do: 'open' };
export const arrive = { do: 'arrive' };

// An event on the wire, with its chunk's size, is longer than this.
const CUT_BYTES = 70;
const SHARES = 7;

// Cuts the stream after this many bytes of its next event, for each of them.
function cuts(places) {
  return places.flatMap((bytes, index) => [
    { do: 'cutIn', bytes },
    publish(numbers(2 * index + 1, 2 * index + 2)),
    { do: 'back', connections: index + 2 },
    publish(numbers(2 * index + 2, 2 * index + 3)),
    arrive,
  ]);
}

/** A stream that is cut at these bytes of an event. Use a node with rare keepalives, which would be cut instead. */
const cutAt = (places) => [publish(numbers(0, 1)), open, arrive, ...cuts(places)];

export const scenarios = [
  {
    name: 'kept events arrive before live ones, in order, once',
    steps: [
      publish(numbers(0, 20)), open, publish(numbers(20, 40)), arrive, publish(numbers(40, 60)), arrive,
    ],
  },
  {
    name: 'events arrive on their channel',
    channels: oddChannels,
    steps: [publish(onOddChannels, { together: true }), open, arrive, publish(onOddChannels, { together: true }), arrive],
  },
  {
    name: 'cut connections lose and duplicate nothing',
    steps: [
      publish(numbers(0, 10)), open, arrive,
      // Inside an event, with more events published before the client reconnects.
      { do: 'cutAfter', text: '{"n":23,' }, publish(numbers(10, 35)), { do: 'isCut' }, arrive,
      { do: 'back', connections: 2 }, { do: 'reset' }, publish(numbers(35, 50)), arrive,
      publish(numbers(50, 60)), arrive,
    ],
  },
  ...range(0, SHARES).map((share) => ({
    name: `events cut at byte ${share}, ${share + SHARES}, ... arrive once`,
    node: 'quiet',
    steps: cutAt(range(0, CUT_BYTES).filter((bytes) => bytes % SHARES === share)),
  })),
  ...[0, 5, 40, 150].map((bytes) => ({
    name: `client asks again when its first answer is cut at byte ${bytes}`,
    steps: [publish(numbers(0, 3)), { do: 'cutIn', bytes }, open, arrive, publish(numbers(3, 6)), arrive],
  })),
  {
    name: 'client keeps trying when reconnecting fails',
    steps: [
      publish(numbers(0, 3)), open, arrive, { do: 'refuse' }, { do: 'reset' }, publish(numbers(3, 6)),
      { do: 'isTurnedAway', times: 3 }, { do: 'accept' }, arrive, publish(numbers(6, 9)), arrive,
    ],
  },
  {
    name: 'client continues when the node ends its stream',
    node: 'ending',
    steps: [
      publish(numbers(0, 5)), open, arrive, { do: 'isEnded' }, publish(numbers(5, 10)), arrive,
      publish(numbers(10, 15)), arrive,
    ],
  },
  {
    name: 'another node continues a cut stream',
    node: 'first',
    steps: [
      publish(numbers(0, 10)), open, publish(numbers(10, 20)), arrive,
      { do: 'moveTo', node: 'second' }, { do: 'reset' },
      publish(numbers(20, 30)), arrive, publish(numbers(30, 40)), arrive,
    ],
  },
  {
    name: 'another node continues the streams of a draining node',
    node: 'leaving',
    steps: [
      publish(numbers(0, 10)), open, arrive,
      { do: 'moveTo', node: 'second' }, { do: 'drain' }, publish(numbers(10, 20)), arrive,
      { do: 'isEnded' }, { do: 'back', connections: 2 }, publish(numbers(20, 30)), arrive,
    ],
  },
  {
    name: 'gap is reported once to a client that outstayed the history',
    steps: [
      publish(numbers(0, 10)), open, arrive,
      { do: 'refuse' }, { do: 'reset' },
      publish(numbers(10, 60), { together: true, unseen: true }),
      { do: 'gap', reason: 'trimmed', missed: 50 },
      publish(numbers(60, 160), { together: true }),
      { do: 'accept' }, arrive,
      { do: 'reset' }, publish(numbers(160, 165)), arrive,
    ],
  },
  {
    name: 'events on other channels cause no gap for a filtered stream',
    query: '?channel=names',
    steps: [
      publish(numbers(0, 3)), open, arrive,
      publish(numbers(0, 150, 'others'), { together: true, unseen: true }),
      { do: 'carries', text: 'event: pipecast.position' },
      { do: 'cut' }, publish(numbers(3, 6)), arrive, publish(numbers(6, 9)), arrive,
    ],
  },
  {
    name: 'live-only stream cut before its first event resumes',
    query: '?replay=0',
    steps: [
      publish(numbers(0, 3), { unseen: true }), open, { do: 'carries', text: '\n\n' },
      { do: 'refuse' }, { do: 'cut' }, publish(numbers(3, 6)), { do: 'accept' },
      { do: 'back', connections: 2 }, publish(numbers(6, 8)), arrive,
    ],
  },
  {
    name: 'keepalives are no messages, except where blank lines are',
    query: '?replay=0',
    steps: [
      open, { do: 'carries', text: ':keepalive\n\n:keepalive\n\n' }, publish(numbers(0, 2)), arrive,
      { do: 'hasEmptyMessages' },
    ],
  },
  {
    name: 'default keepalive keeps the stream open',
    node: 'quiet',
    steps: [
      publish(numbers(0, 3)), open, arrive, { do: 'carries', text: ':keepalive' }, publish(numbers(3, 6)), arrive,
      { do: 'hasConnected', times: 1 },
    ],
  },
  {
    name: '100 KB events arrive whole, replayed and live',
    steps: [publish(each([large])), open, arrive, publish(each([large])), arrive],
  },
  {
    name: 'texts of every kind arrive unchanged',
    steps: [
      publish(each(Object.entries(texts).map(([name, text]) => ({ name, text }))), { together: true }), open, arrive,
      publish(each(Object.values(texts))), arrive,
    ],
  },
  {
    name: 'numbers keep every digit',
    steps: [open, publish(digits.map((payload) => ({ channel: 'names', payload }))), arrive],
  },
  {
    name: 'client reports the 401 of a stream that needs a token',
    node: 'guarded',
    steps: [open, { do: 'isRefused', status: 401 }],
  },
  {
    name: 'token in the query opens a guarded stream',
    node: 'guarded',
    query: `?token=${token}`,
    steps: [publish(numbers(0, 3)), open, publish(numbers(3, 6)), arrive],
  },
  {
    name: 'compressed events arrive before the next is published',
    node: 'compressing',
    query: '?keepalive=1s',
    steps: [
      publish(numbers(0, 3)), open, arrive,
      ...range(3, 15).flatMap((n) => [publish(numbers(n, n + 1)), arrive]),
      { do: 'isCompressed' }, publish(each([large])), arrive,
      { do: 'carries', text: ':keepalive\n\n' }, publish(numbers(15, 16)), arrive,
    ],
  },
  {
    name: 'compressed events cut inside arrive once',
    node: 'compressing',
    steps: cutAt([0, 3, 9, 15, 21, 27, 33, 39]),
  },
];
