// Clients in Ruby.

import assert from 'node:assert/strict';

import { claims, contract } from './contract.mjs';
import { publishers } from './publishers.mjs';
import { arrive, numbers, open, publish } from './scenarios.mjs';
import { issuer } from './tokens.mjs';

const netHttp = { name: 'Net::HTTP', command: ['ruby', 'ruby/net_http_client.rb'] };

contract('Ruby', [netHttp]);

claims('Ruby', [
  {
    name: 'Net::HTTP repeats a cut request with the old id',
    client: netHttp,
    steps: [publish(numbers(0, 3)), open, arrive, { do: 'reset' }, { do: 'back', connections: 2 }],
    async check({ inbox, proxy }) {
      await inbox.holds(6);
      assert.doesNotMatch(proxy.connections[1].request, /^last-event-id:/im);
    },
  },
  {
    name: 'Net::HTTP holds back small events of a gzip stream',
    client: netHttp,
    node: 'compressing',
    query: '?keepalive=1s',
    steps: [publish(numbers(0, 3)), open, { do: 'carries', text: ':keepalive\n\n:keepalive\n\n' }],
    check: ({ inbox }) => assert.deepEqual(inbox.events, []),
  },
]);

publishers('Ruby', [{ name: 'Net::HTTP', command: ['ruby', 'ruby/publisher.rb'] }]);

const printing = 'puts EventsToken.for(Struct.new(:id).new(7))';
issuer('Ruby', { name: 'jwt', command: ['ruby', '-r./tokens/events_token', '-e', printing] });
