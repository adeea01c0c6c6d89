// The load balancers, each with the file that deploy/ has for it. What is changed in a copy: the ports, the folder of the
// certificate, and where the program keeps its own files.

import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

import { until } from '../support/deadline.mjs';
import { recordOutput, start } from '../support/processes.mjs';
import { freePort } from '../support/ports.mjs';
import { run } from '../support/run.mjs';

const folderOfFiles = new URL('../../deploy/', import.meta.url);

const temporaryPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);

/**
 * By name: the `files` (the first one is the one to start it with), the `arguments` to run it, those to `check` the file, and
 * whether it `hasHealthChecks`. Traefik has no way to check.
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
    // Its workers keep what is large in files, so they have to be whom the folder belongs to.
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
  #output;
  #ports;

  /**
   * Writes the files down: the nodes' ports are `nodePort` and `adminPort`; with `withTls` the marked lines count. `spoil` changes
   * a file's text, as somebody might who does not know streams.
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
    if (withTls) await balancer.#makeCertificate();
    return balancer;
  }

  /** `isReady(status)` says whether a history of nothing was answered by a node. */
  static async start(name, { isReady = (status) => status === 200, ...options }) {
    const balancer = await Balancer.prepare(name, options);
    balancer.#child = start(name, balancers[name].arguments(balancer.#place), { env: balancer.#environment });
    const output = (balancer.#output = recordOutput(balancer.#child));
    await until(`${name} passes requests on`, async () => {
      const { ending } = balancer.#child;
      if (ending) throw new Error(`${name} ended (${ending}):\n${output.text}`);
      const answer = await fetch(`${balancer.url}/pipelines/p_none/events`).catch(() => undefined);
      await answer?.text();
      return answer && isReady(answer.status);
    }, () => output.text);
    return balancer;
  }

  /** What the program itself says of its file: `{code, output}`. */
  check() {
    return run(this.#name, balancers[this.#name].check(this.#place), { env: this.#environment });
  }

  /** All that the program has written: on its outputs, and in files of its folder, which is where it keeps its own. */
  async written() {
    const names = await readdir(this.#folder, { recursive: true, withFileTypes: true });
    const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
    const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
    return [this.#output.text, ...texts].join('\n');
  }

  /** Ends the program; what it has written stays. */
  async end() {
    // Asked to, so that it takes its worker processes along.
    this.#child.kill('SIGTERM');
    const impatience = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
    await this.#child.closed;
    clearTimeout(impatience);
  }

  async stop() {
    if (this.#child) await this.end();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #place() {
    return { folder: this.#folder, file: join(this.#folder, balancers[this.#name].files[0]) };
  }

  // Caddy keeps things in the home folder.
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

  async #makeCertificate() {
    const folder = join(this.#folder, 'tls');
    await mkdir(folder);
    const { code, output } = await run('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem'),
    ]);
    if (code !== 0) throw new Error(`openssl: ${output}`);
    const both = await Promise.all(['cert.pem', 'key.pem'].map((file) => readFile(join(folder, file))));
    await writeFile(join(folder, 'both.pem'), Buffer.concat(both));
  }
}
