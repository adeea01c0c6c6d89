// A client under test: a program that reads one stream and prints what it got.
//
// It is run with the stream's URL and the channels to listen to as arguments. On its standard output, each line is JSON:
//   {"id": ..., "channel": ..., "data": ...}   a message that it handed to its application
//   {"error": ...}                             what it told its application of a failure
// It goes on until it is killed, unless the library that it tries gives up.

import { createInterface } from 'node:readline';

import { kill, start } from '../support/processes.mjs';
import { Inbox } from './inbox.mjs';

/** Starts the client's program on the stream and gives what it hands over. */
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
