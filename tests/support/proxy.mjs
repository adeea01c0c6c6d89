// A TCP proxy that can cut what it carries.

import { connect, createServer } from 'node:net';
import { constants, gunzipSync } from 'node:zlib';

export class Proxy {
  #server;
  #target;
  #cutText;
  #bytesToCut;
  #refusing = false;
  #isSilent = false;

  /** Every connection that was carried, oldest first. */
  connections = [];

  /** How many were refused. */
  refused = 0;

  /** Starts a proxy before the node. */
  static async start(node) {
    const proxy = new Proxy();
    proxy.#target = new URL(node.publicUrl);
    proxy.#server = createServer((client) => proxy.#carry(client));
    await new Promise((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  /** Ends every open connection; what was sent before still arrives. */
  cut() {
    for (const connection of this.connections) connection.cut();
  }

  /** Resets every open connection; what is still on its way may be lost. */
  reset() {
    for (const connection of this.connections) connection.reset();
  }

  /** Cuts the connection that next carries `text` to a client, right behind it. */
  cutAfter(text) {
    this.#cutText = Buffer.from(text);
  }

  /** Cuts the connection that carries the next bytes to a client once it has carried so many of them. */
  cutIn(bytes) {
    this.#bytesToCut = bytes;
  }

  /** From here on new connections go to this node. */
  moveTo(node) {
    this.#target = new URL(node.publicUrl);
  }

  /** From here on new connections are closed before a byte is read. */
  refuse() {
    this.#refusing = true;
  }

  accept() {
    this.#refusing = false;
  }

  /** From here on the node gets what clients send, and they hear nothing of it. */
  silence() {
    this.#isSilent = true;
  }

  /** From here on answers are carried again; those that were swallowed stay so. */
  speak() {
    this.#isSilent = false;
  }

  async stop() {
    this.reset();
    // Those that were cut too: half of one may still be open.
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

  // Where in `bytes`, which come next on the connection, it has to be cut; -1 if not there.
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

  /** What the client sent, as text. */
  request = '';
  isOpen = true;

  /** When the client came, and when the node's answer ended, if it has. */
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

  /** All bytes that went to the client, as text. */
  get answer() {
    return this.#answer.toString();
  }

  /** The answer's head: its status line and its headers, once they are here. */
  get head() {
    const end = this.#answer.indexOf('\r\n\r\n');
    return end === -1 ? '' : this.#answer.subarray(0, end).toString();
  }

  /** The answer's body, decompressed; of a chunked one whatever has arrived. */
  get body() {
    // Tests look again and again while they wait.
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

  /** Whether the answer came to its end, be it by its last chunk or with the connection. */
  get hasEnded() {
    return !this.isOpen || this.#answer.subarray(-7).equals(Buffer.from('\r\n0\r\n\r\n'));
  }

  forward(bytes) {
    this.#answer = Buffer.concat([this.#answer, bytes]);
    this.#client.write(bytes);
  }

  /** Where in `bytes`, which come next, the first occurrence of `text` ends; -1 if there is none. */
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
    // Node 20 never lets go of a socket that is reset while its end is on the way.
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

// As much of it as has arrived.
function decompressed(bytes) {
  return bytes.length === 0 ? bytes : gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH });
}
