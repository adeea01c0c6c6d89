// Clients in PHP.

import { contract } from './contract.mjs';
import { publishers } from './publishers.mjs';

const command = ['php', 'php/curl_client.php'];

contract('PHP', [
  { name: 'curl', command },
  { name: 'curl with CURLOPT_ENCODING', row: 'curl', command, environment: { GZIP: 'on' }, asksForGzip: true },
]);

publishers('PHP', [{ name: 'curl', command: ['php', 'php/publisher.php'], expectsContinue: true }]);
