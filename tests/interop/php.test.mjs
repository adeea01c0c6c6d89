// Clients in PHP.

import { contract } from './contract.mjs';
import { publishers } from './publishers.mjs';
import { publishingSamples } from './samples.mjs';

const php = (program) => ['php', `php/${program}.php`];
const curl = php('curl_client');

contract('PHP', [
  { name: 'curl', command: curl },
  { name: 'curl with CURLOPT_ENCODING', row: 'curl', command: curl, environment: { GZIP: 'on' }, asksForGzip: true },
  {
    name: 'Symfony EventSourceHttpClient',
    command: php('symfony_client'),
    countsRetries: true,
    asksForGzip: true,
    resumesBy: /^GET \S+[?&]last_event_id=\d+-\d+|^last-event-id: \d+-\d+\r$/im,
  },
]);

publishers('PHP', [{ name: 'curl', command: php('publisher'), expectsContinue: true }]);

publishingSamples('PHP', [
  { name: 'curl', command: php('curl_sample') },
  { name: 'Symfony HttpClient', command: php('symfony_sample') },
]);
