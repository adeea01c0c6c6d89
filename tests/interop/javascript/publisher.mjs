// fetch of Node.js, Deno or Bun as a publisher, see publishers.mjs. CLIENT=undici: undici's request instead.

import { createInterface } from 'node:readline';

import { error, status } from './print.mjs';

const post = process.env.CLIENT === 'undici' ? await withUndici() : withFetch;

async function withFetch(url, request) {
  const answer = await fetch(url, request);
  await answer.text();
  return answer.status;
}

async function withUndici() {
  const { Pool } = await import('undici');
  let pool;
  return async (url, request) => {
    const { origin, pathname } = new URL(url);
    pool ??= new Pool(origin, { connections: 1 });
    const answer = await pool.request({ path: pathname, ...request });
    await answer.body.text();
    return answer.statusCode;
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { url, headers, before, fill, after } = JSON.parse(line);
  try {
    status(await post(url, { method: 'POST', headers, body: before + 'x'.repeat(fill) + after }));
  } catch (failure) {
    error(failure.cause ?? failure);
  }
}
process.exit(0);
