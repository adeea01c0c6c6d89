// curl reads one stream; a loop around it reconnects. OPTION: one more option for curl.

import { spawn } from 'node:child_process';

import { error, message, url } from './print.mjs';

let retryMs = 1000;
let lastEventId = '';

function connect() {
  const resume = lastEventId ? ['--header', `Last-Event-ID: ${lastEventId}`] : [];
  const options = process.env.OPTION ? [process.env.OPTION] : [];
  const child = spawn('curl', ['--silent', '--show-error', '--fail', '--no-buffer', ...options, ...resume, url]);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part) => {
    const blocks = (text + part).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) take(block);
  });
  child.stderr.setEncoding('utf8').on('data', error);
  child.once('close', (code) => {
    // 22: a status of 400 or more.
    if (code !== 22) setTimeout(connect, retryMs);
  });
}

function take(block) {
  const fields = new Map(block.split('\n').map((line) => /^([^:]*): ?(.*)$/s.exec(line).slice(1)));
  if (fields.has('retry')) retryMs = Number(fields.get('retry'));
  if (fields.has('id')) lastEventId = fields.get('id');
  if (fields.has('data')) message({ id: lastEventId, channel: fields.get('event'), data: fields.get('data') });
}

connect();
