// fetch of Node.js reads one answer; a loop around it reconnects.

import { setTimeout as sleep } from 'node:timers/promises';

import { error, message, url } from './print.mjs';

/** Yields the events of a stream, which never ends. Throws if the node refuses it. */
async function* events(url, headers = {}) {
  let lastEventId;
  let retryMs = 1000;
  for (;;) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(new Error('quiet for 45 s')), 45_000);
    try {
      const resume = lastEventId ? { 'Last-Event-ID': lastEventId } : {};
      const answer = await fetch(url, { headers: { ...headers, ...resume }, signal: abort.signal });
      if (answer.status >= 400 && answer.status < 500) throw Object.assign(new Error(`refused: ${answer.status}`), { isFinal: true });
      let rest = '';
      for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
        timer.refresh();
        const blocks = (rest + piece).split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split('\n').map((line) => /^([^:]*): ?(.*)$/s.exec(line).slice(1)));
          if (fields.retry) retryMs = Number(fields.retry);
          if (fields.id) lastEventId = fields.id;
          if (fields.data) yield { id: fields.id, channel: fields.event, data: fields.data };
        }
      }
    } catch (failure) {
      if (failure.isFinal) throw failure;
      console.error('reconnecting:', failure.cause ?? failure);
    } finally {
      clearTimeout(timer);
    }
    await sleep(retryMs);
  }
}

try {
  for await (const event of events(url)) message(event);
} catch (failure) {
  error(failure.message);
}
process.exit(1);
