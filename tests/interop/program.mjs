// A client under test: a program that reads one stream and prints what it receives.
//
// Its arguments are the stream's URL and the channels to listen to. Each line of its standard output is JSON:
//   {"id": ..., "channel": ..., "data": ...}   a message that the library delivered
//   {"error": ...}                             a failure that the library reported
// It runs until it is killed, unless its library gives up.

import { createInterface } from 'node:readline';

import { kill, start } from '../support/processes.mjs';
import { Inbox } from './inbox.mjs';

/** Starts the client's program on the stream and returns its inbox. */
export function open(client, url, channels = ['names']) {
  const [command, ...args] = client.command;
  const child = start(command, [...args, url, ...channels], {
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...client.environment },
  });
  const inbox = new Inbox(() => kill(child));
  createInterface({ input: child.stdout }).on('line', (line) => inbox.take(line));
  child.stderr.setEncoding('utf8').on('data', (text) => (inbox.complaint += text));
  child.closed.then(() => (inbox.ending = child.ending));
  return inbox;
}
