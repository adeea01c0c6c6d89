// The load balancers, each with a copy of its file in deploy/. The copy has other ports and other folders, for the certificate and for the
// program's own files.

import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

import { makeCertificate } from '../support/certificate.mjs';
import { freePort } from '../support/ports.mjs';
import { startServer, stop } from '../support/processes.mjs';
import { run } from '../support/run.mjs';

const folderOfFiles = new URL('../../deploy/', import.meta.url);

const temporaryPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);

/**
 * By name: the `files`, the main one first; the `arguments` to run it and to `check` the file, which Traefik cannot; and whether it
 * `hasHealthChecks`.
 */
export const balancers = {
  haproxy: {
    files: ['haproxy.cfg'],
    arguments: ({ file }) => ['-db', '-f', file],
    check: ({ file }) => ['-c', '-f', file],
    hasHealthChecks: true,
  },
  nginx: {
    files: ['nginx.conf'],
    // Its workers keep large bodies in files, so they must be the folder's owner.
    change: (text) => `user ${userInfo().username};\n${text}`.replace('\nhttp {', `\npid nginx.pid;\nhttp {\n  ${temporaryPaths.join(' ')}`),
    arguments: ({ file, folder }) => ['-p', folder, '-c', file, '-e', 'stderr', '-g', 'daemon off;'],
    check: ({ file, folder }) => ['-t', '-p', folder, '-c', file, '-e', 'stderr'],
    hasHealthChecks: false,
  },
  caddy: {
    files: ['Caddyfile'],
    arguments: ({ file }) => ['run', '--adapter', 'caddyfile', '--config', file],
    check: ({ file }) => ['validate', '--adapter', 'caddyfile', '--config', file],
    hasHealthChecks: true,
  },
  traefik: {
    files: ['traefik.yml', 'traefik-nodes.yml'],
    arguments: ({ file }) => [`--configFile=${file}`],
    hasHealthChecks: true,
  },
};

export class Balancer {
  #name;
  #folder;
  #child;
  #ports;

  /**
   * Writes the files, for nodes with these ports; `withTls` enables the marked lines. `spoil` changes a file's text, to the mistake of an
   * operator who does not know streams.
   */
  static async prepare(name, { nodePort, adminPort, withTls = false, spoil = (text) => text }) {
    const balancer = new Balancer();
    balancer.#name = name;
    balancer.#folder = await mkdtemp(join(tmpdir(), `pipecast-${name}-`));
    balancer.#ports = { 8080: nodePort, 8081: adminPort };
    for (const shipped of [8000, 8443, 2019]) balancer.#ports[shipped] = await freePort();
    balancer.url = `http://127.0.0.1:${balancer.#ports[8000]}`;
    balancer.tlsUrl = `https://127.0.0.1:${balancer.#ports[8443]}`;
    for (const file of balancers[name].files) {
      const shipped = await readFile(new URL(file, folderOfFiles), 'utf8');
      await writeFile(join(balancer.#folder, file), balancer.#change(spoil(shipped), withTls));
    }
    if (withTls) await balancer.#addCertificate();
    return balancer;
  }

  /** `isReady(status)` tells whether a node gave this answer to a request for an empty history. */
  static async start(name, { isReady = (status) => status === 200, ...options }) {
    const balancer = await Balancer.prepare(name, options);
    balancer.#child = await startServer(name, balancers[name].arguments(balancer.#place), {
      env: balancer.#environment,
      isReady: async () => {
        const answer = await fetch(`${balancer.url}/pipelines/p_none/events`).catch(() => undefined);
        await answer?.text();
        return answer && isReady(answer.status);
      },
    });
    return balancer;
  }

  /** Runs the program's own check of its file: `{code, output}`. */
  check() {
    return run(this.#name, balancers[this.#name].check(this.#place), { env: this.#environment });
  }

  /** Everything that the program has written: its output, and the files in its folder. */
  async written() {
    const names = await readdir(this.#folder, { recursive: true, withFileTypes: true });
    const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
    const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
    return [this.#child.output.text, ...texts].join('\n');
  }

  /** Ends the program, and keeps what it has written. */
  async end() {
    await stop(this.#child, { patienceMs: 3000 });
  }

  async stop() {
    if (this.#child) await this.end();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #place() {
    return { folder: this.#folder, file: join(this.#folder, balancers[this.#name].files[0]) };
  }

  // Caddy keeps files in the home folder.
  get #environment() {
    return { ...process.env, HOME: this.#folder, XDG_DATA_HOME: this.#folder, XDG_CONFIG_HOME: this.#folder };
  }

  #change(text, withTls) {
    const changed = (balancers[this.#name].change ?? ((same) => same))(text)
      .replaceAll(/(?<=:|listen |port:? |health_port )(8000|8080|8081|8443|2019)\b/g, (port) => this.#ports[port])
      .replaceAll('/etc/pipecast/tls', join(this.#folder, 'tls'))
      .replaceAll('/etc/traefik', this.#folder)
      .replaceAll('/var/log/nginx', this.#folder);
    return withTls ? changed.replaceAll(/^(\s*)#tls /gm, '$1') : changed;
  }

  async #addCertificate() {
    const folder = join(this.#folder, 'tls');
    await mkdir(folder);
    const { cert, key } = await makeCertificate(folder);
    // HAProxy reads both from one file.
    const both = await Promise.all([cert, key].map((file) => readFile(file)));
    await writeFile(join(folder, 'both.pem'), Buffer.concat(both));
  }
}
