// A TCP proxy that can cut, refuse or silence the connections that it carries.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { constants, gunzipSync } from 'node:zlib';

export class Proxy {
  #server;
  #target;
  #cutText;
  #bytesToCut;
  #refusing = false;
  #isSilent = false;

  /** Every connection so far, oldest first. */
  connections = [];

  /** How many connections were refused. */
  refused = 0;

  /** Starts a proxy in front of the node. */
  static start(node) {
    return Proxy.listen(new URL(node.publicUrl));
  }

  /** Starts a proxy in front of the server at this URL; on a port that the system chooses, unless one is given. */
  static async listen(target, { host = '127.0.0.1', port = 0 } = {}) {
    const proxy = new Proxy();
    proxy.#target = target;
    proxy.#server = createServer((client) => proxy.#carry(client));
    await once(proxy.#server.listen(port, host), 'listening');
    proxy.url = `http://${host}:${proxy.#server.address().port}`;
    return proxy;
  }

  /** Ends every open connection; bytes sent before still arrive. */
  cut() {
    for (const connection of this.connections) connection.cut();
  }

  /** Resets every open connection; bytes in flight may be lost. */
  reset() {
    for (const connection of this.connections) connection.reset();
  }

  /** Cuts the next connection that carries `text` to a client, right after it. */
  cutAfter(text) {
    this.#cutText = Buffer.from(text);
  }

  /** Cuts the next connection that carries bytes to a client after this many of them. */
  cutIn(bytes) {
    this.#bytesToCut = bytes;
  }

  /** Sends new connections to this node. */
  moveTo(node) {
    this.#target = new URL(node.publicUrl);
  }

  /** Closes new connections before a byte is read. */
  refuse() {
    this.#refusing = true;
  }

  accept() {
    this.#refusing = false;
  }

  /** Drops the node's answers; it still gets the requests. */
  silence() {
    this.#isSilent = true;
  }

  /** Carries answers again; dropped bytes stay lost. */
  speak() {
    this.#isSilent = false;
  }

  async stop() {
    this.reset();
    // Those that were cut too: one half may still be open.
    for (const connection of this.connections) connection.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #carry(client) {
    if (this.#refusing) {
      this.refused += 1;
      client.destroy();
      return;
    }
    const upstream = connect(Number(this.#target.port), this.#target.hostname);
    const connection = new Connection(client, upstream);
    this.connections.push(connection);
    upstream.on('data', (bytes) => {
      if (this.#isSilent) return;
      const end = this.#endOfCut(connection, bytes);
      if (end === -1) {
        connection.forward(bytes);
      } else {
        connection.forward(bytes.subarray(0, end));
        connection.cut();
      }
    });
  }

  // Where to cut in `bytes`, the next ones of the connection; -1 for nowhere.
  #endOfCut(connection, bytes) {
    if (this.#cutText) {
      const end = connection.endOf(this.#cutText, bytes);
      if (end !== -1) this.#cutText = undefined;
      return end;
    }
    if (this.#bytesToCut === undefined) return -1;
    const end = this.#bytesToCut;
    this.#bytesToCut = end <= bytes.length ? undefined : end - bytes.length;
    return end <= bytes.length ? end : -1;
  }
}

class Connection {
  #client;
  #upstream;
  #answer = Buffer.alloc(0);
  #seen = { length: 0, body: '' };

  /** Everything that the client sent, as text. */
  request = '';
  isOpen = true;

  /** When the client connected, and when the node's answer ended, if it has. */
  beganAt = Date.now();
  endedAt;

  constructor(client, upstream) {
    this.#client = client;
    this.#upstream = upstream;
    client.on('data', (bytes) => {
      this.request += bytes;
      upstream.write(bytes);
    });
    upstream.on('end', () => {
      this.endedAt = Date.now();
      client.end();
    });
    for (const side of [client, upstream]) {
      side.on('error', () => this.destroy());
      side.on('close', () => this.destroy());
    }
  }

  /** Everything that went to the client, as text. */
  get answer() {
    return this.#answer.toString();
  }

  /** The answer's status line and headers, once they have arrived. */
  get head() {
    const end = this.#answer.indexOf('\r\n\r\n');
    return end === -1 ? '' : this.#answer.subarray(0, end).toString();
  }

  /** The answer's body, without chunking and compression, as far as it has arrived. */
  get body() {
    // Tests poll this while they wait.
    if (this.#seen.length !== this.#answer.length) this.#seen = { length: this.#answer.length, body: this.#bodyOf() };
    return this.#seen.body;
  }

  #bodyOf() {
    const { head } = this;
    if (!head) return '';
    const rest = this.#answer.subarray(Buffer.byteLength(head) + 4);
    const body = /^transfer-encoding: *chunked/im.test(head) ? unchunked(rest) : rest;
    return (/^content-encoding: *gzip/im.test(head) ? decompressed(body) : body).toString();
  }

  /** Whether the answer has ended, with its last chunk or with the connection. */
  get hasEnded() {
    return !this.isOpen || this.#answer.subarray(-7).equals(Buffer.from('\r\n0\r\n\r\n'));
  }

  forward(bytes) {
    this.#answer = Buffer.concat([this.#answer, bytes]);
    this.#client.write(bytes);
  }

  /** Where in `bytes`, the next ones, the first occurrence of `text` ends; -1 if there is none. */
  endOf(text, bytes) {
    const seen = this.#answer.subarray(-(text.length - 1));
    const found = Buffer.concat([seen, bytes]).indexOf(text);
    return found === -1 ? -1 : found + text.length - seen.length;
  }

  cut() {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#upstream.destroy();
    this.#client.end();
  }

  reset() {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#upstream.destroy();
    // Node 20 never releases a socket that is reset while its end is in flight.
    if (this.#client.writableEnded) this.#client.destroy();
    else this.#client.resetAndDestroy();
  }

  destroy() {
    this.isOpen = false;
    this.#client.destroy();
    this.#upstream.destroy();
  }
}

function unchunked(bytes) {
  const parts = [];
  for (;;) {
    const line = bytes.indexOf('\r\n');
    if (line === -1) break;
    const size = Number.parseInt(bytes.subarray(0, line).toString(), 16);
    parts.push(bytes.subarray(line + 2, line + 2 + size));
    bytes = bytes.subarray(line + 2 + size + 2);
  }
  return Buffer.concat(parts);
}

// Accepts a stream that has not ended.
function decompressed(bytes) {
  return bytes.length === 0 ? bytes : gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH });
}
