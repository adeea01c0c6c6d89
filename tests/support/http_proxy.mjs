// nginx and HAProxy before a node, each with no more than what makes it pass requests on.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until } from './deadline.mjs';
import { freePort } from './ports.mjs';
import { recordOutput, start } from './processes.mjs';

const nginx = {
  arguments: (file, folder) => ['-p', folder, '-c', file, '-e', 'stderr'],
  // Only where it keeps its files is not the default; it may run as anyone.
  configuration: (port, node) => `
    daemon off; pid nginx.pid; error_log stderr;
    events {}
    http {
      access_log off;
      client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://${node}; }
      }
    }
  `,
};

const haproxy = {
  arguments: (file) => ['-f', file],
  configuration: (port, node) => `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen pipecast
  bind 127.0.0.1:${port}
  server node ${node}
`,
};

const programs = { nginx, haproxy };

export class HttpProxy {
  #child;
  #folder;

  /** Starts the program of this name before the node and waits until it takes connections. */
  static async start(name, node) {
    const proxy = new HttpProxy();
    proxy.#folder = await mkdtemp(join(tmpdir(), `pipecast-${name}-`));
    const port = await freePort();
    proxy.url = `http://127.0.0.1:${port}`;
    const file = join(proxy.#folder, 'configuration');
    await writeFile(file, programs[name].configuration(port, new URL(node.publicUrl).host));
    proxy.#child = start(name, programs[name].arguments(file, proxy.#folder));
    const output = recordOutput(proxy.#child);
    const isReady = () => {
      const { ending } = proxy.#child;
      if (ending) throw new Error(`${name} ended (${ending}); apt-get install ${name}?\n${output.text}`);
      return isOpen(port);
    };
    try {
      await until(`${name} takes connections`, isReady, () => output.text);
    } catch (failure) {
      await proxy.stop();
      throw failure;
    }
    return proxy;
  }

  async stop() {
    // Asked to, so that it takes its worker processes along.
    this.#child.kill('SIGTERM');
    await this.#child.exited;
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function isOpen(port) {
  return new Promise((resolve) => {
    const connection = connect(port, '127.0.0.1', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
