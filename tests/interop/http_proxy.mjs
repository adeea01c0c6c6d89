// nginx and HAProxy in front of a node, each with the shortest configuration that works.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { acceptsConnections, freePort } from '../support/ports.mjs';
import { startServer, stop } from '../support/processes.mjs';

const nginx = {
  arguments: (file, folder) => ['-p', folder, '-c', file, '-e', 'stderr'],
  // Every path is in its own folder, so that any user can run it.
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

  /** Starts the named program in front of the node and waits until it accepts connections. */
  static async start(name, node) {
    const proxy = new HttpProxy();
    proxy.#folder = await mkdtemp(join(tmpdir(), `pipecast-${name}-`));
    const port = await freePort();
    proxy.url = `http://127.0.0.1:${port}`;
    const file = join(proxy.#folder, 'configuration');
    await writeFile(file, programs[name].configuration(port, new URL(node.publicUrl).host));
    const args = programs[name].arguments(file, proxy.#folder);
    proxy.#child = await startServer(name, args, { isReady: () => acceptsConnections(proxy.url) });
    return proxy;
  }

  async stop() {
    await stop(this.#child);
    await rm(this.#folder, { recursive: true, force: true });
  }
}
