// A self-signed certificate for this machine's loopback address.

import { join } from 'node:path';

import { succeed } from './run.mjs';

/** Writes `cert.pem` and `key.pem` into the folder and returns their paths. */
export async function makeCertificate(folder) {
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(folder, name));
  await succeed('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert,
  ]);
  return { cert, key };
}
