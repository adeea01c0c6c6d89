// What happens to a stream, for every client that is tried. The steps are told in `performance.mjs`.
//
// At the end a client must have handed over each event that was published and is not `unseen`, once, in order, with its
// id, channel and data as they were; and each gap that a step expects.

import { large, numbers as digits, texts } from '../support/payloads.mjs';
import { range } from '../support/pipeline.mjs';
import { token } from './nodes.mjs';

/** The events `{"n": first}` up to, not including, `{"n": end}`. */
export const numbers = (first, end, channel = 'names') =>
  range(first, end).map((n) => ({ channel, payload: JSON.stringify({ n, note: `number ${n}` }) }));

/** Events with these payloads. */
export const each = (payloads) => payloads.map((payload) => ({ channel: 'names', payload: JSON.stringify(payload) }));

const oddChannels = ['cron_test', 'order:paid', 'prices.eur/usd', 'message', 'größe ☃', 'constructor'];
const onOddChannels = oddChannels.map((channel) => ({ channel, payload: JSON.stringify({ from: channel }) }));

export const publish = (events, how = {}) => ({ do: 'publish', events, ...how });
export const open = { do: 'open' };
export const arrive = { do: 'arrive' };

// An event's bytes on the wire, its chunk's size and all but the last of them, are more than these.
const CUT_BYTES = 70;
const SHARES = 7;

// Cuts the stream in so many bytes of its next event, again and again.
function cuts(places) {
  return places.flatMap((bytes, index) => [
    { do: 'cutIn', bytes },
    publish(numbers(2 * index + 1, 2 * index + 2)),
    { do: 'back', connections: index + 2 },
    publish(numbers(2 * index + 2, 2 * index + 3)),
    arrive,
  ]);
}

/** A stream that is cut at these places of an event; on a node whose keepalives come too seldom to be cut instead. */
const cutAt = (places) => [publish(numbers(0, 1)), open, arrive, ...cuts(places)];

export const scenarios = [
  {
    name: 'earlier events come first, then the live ones, in order and once',
    steps: [
      publish(numbers(0, 20)), open, publish(numbers(20, 40)), arrive, publish(numbers(40, 60)), arrive,
    ],
  },
  {
    name: 'events arrive under their channel',
    channels: oddChannels,
    steps: [publish(onOddChannels, { together: true }), open, arrive, publish(onOddChannels, { together: true }), arrive],
  },
  {
    name: 'connections that are cut lose nothing and double nothing',
    steps: [
      publish(numbers(0, 10)), open, arrive,
      // In the middle of an event, with more of them published while the client is away.
      { do: 'cutAfter', text: '{"n":23,' }, publish(numbers(10, 35)), { do: 'isCut' }, arrive,
      { do: 'back', connections: 2 }, { do: 'reset' }, publish(numbers(35, 50)), arrive,
      publish(numbers(50, 60)), arrive,
    ],
  },
  ...range(0, SHARES).map((share) => ({
    name: `an event that is cut at its byte ${share}, ${share + SHARES}, ... arrives all the same, and once`,
    node: 'quiet',
    steps: cutAt(range(0, CUT_BYTES).filter((bytes) => bytes % SHARES === share)),
  })),
  ...[0, 5, 40, 150].map((bytes) => ({
    name: `a first answer that is cut in its byte ${bytes} is asked for again`,
    steps: [publish(numbers(0, 3)), { do: 'cutIn', bytes }, open, arrive, publish(numbers(3, 6)), arrive],
  })),
  {
    name: 'a client whose attempts to reconnect fail tries again',
    steps: [
      publish(numbers(0, 3)), open, arrive, { do: 'refuse' }, { do: 'reset' }, publish(numbers(3, 6)),
      { do: 'isTurnedAway', times: 3 }, { do: 'accept' }, arrive, publish(numbers(6, 9)), arrive,
    ],
  },
  {
    name: 'a stream that the node ends is continued',
    node: 'ending',
    steps: [
      publish(numbers(0, 5)), open, arrive, { do: 'isEnded' }, publish(numbers(5, 10)), arrive,
      publish(numbers(10, 15)), arrive,
    ],
  },
  {
    name: 'a stream that is cut is continued by another node',
    node: 'first',
    steps: [
      publish(numbers(0, 10)), open, publish(numbers(10, 20)), arrive,
      { do: 'moveTo', node: 'second' }, { do: 'reset' },
      publish(numbers(20, 30)), arrive, publish(numbers(30, 40)), arrive,
    ],
  },
  {
    name: 'the streams of a node that drains are continued by another',
    node: 'leaving',
    steps: [
      publish(numbers(0, 10)), open, arrive,
      { do: 'moveTo', node: 'second' }, { do: 'drain' }, publish(numbers(10, 20)), arrive,
      { do: 'isEnded' }, { do: 'back', connections: 2 }, publish(numbers(20, 30)), arrive,
    ],
  },
  {
    name: 'a client that was away for longer than the history goes back is told of the gap, once',
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
    name: 'foreign events in any number are no gap to a client that filters',
    query: '?channel=names',
    steps: [
      publish(numbers(0, 3)), open, arrive,
      publish(numbers(0, 150, 'others'), { together: true, unseen: true }),
      { do: 'carries', text: 'event: pipecast.position' },
      { do: 'cut' }, publish(numbers(3, 6)), arrive, publish(numbers(6, 9)), arrive,
    ],
  },
  {
    name: 'a live-only stream that is cut before its first event resumes where it began',
    query: '?replay=0',
    steps: [
      publish(numbers(0, 3), { unseen: true }), open, { do: 'carries', text: '\n\n' },
      { do: 'refuse' }, { do: 'cut' }, publish(numbers(3, 6)), { do: 'accept' },
      { do: 'back', connections: 2 }, publish(numbers(6, 8)), arrive,
    ],
  },
  {
    name: 'there are no messages but events, and none for keepalives but to clients that count blank lines',
    query: '?replay=0',
    steps: [
      open, { do: 'carries', text: ':keepalive\n\n:keepalive\n\n' }, publish(numbers(0, 2)), arrive,
      { do: 'hasEmptyMessages' },
    ],
  },
  {
    name: 'a stream with the default keepalive is no stream that hangs',
    node: 'quiet',
    steps: [
      publish(numbers(0, 3)), open, arrive, { do: 'carries', text: ':keepalive' }, publish(numbers(3, 6)), arrive,
      { do: 'hasConnected', times: 1 },
    ],
  },
  {
    name: 'an event of 100 KB arrives whole, replayed and live',
    steps: [publish(each([large])), open, arrive, publish(each([large])), arrive],
  },
  {
    name: 'texts of every kind arrive as they were sent',
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
    name: 'a stream that nobody may read without a token is refused, and the client says so',
    node: 'guarded',
    steps: [open, { do: 'isRefused', status: 401 }],
  },
  {
    name: 'a token in the query opens it',
    node: 'guarded',
    query: `?token=${token}`,
    steps: [publish(numbers(0, 3)), open, publish(numbers(3, 6)), arrive],
  },
  {
    name: 'of a node that compresses, each event arrives before the next is published',
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
    name: 'a compressed event that is cut arrives all the same, and once',
    node: 'compressing',
    steps: cutAt([0, 3, 9, 15, 21, 27, 33, 39]),
  },
];
