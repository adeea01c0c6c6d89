// The services of docker-compose.yml as plain processes: with Compose's own reading of the file, and this machine's programs in place of
// images. Needs its own namespaces (tests/compose/run).

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { run } from '../support/run.mjs';
import { until } from '../support/deadline.mjs';
import { recordOutput, start, stop } from '../support/processes.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const network = '10.77.0';
const container = fileURLToPath(new URL('container', import.meta.url));

/** The file as Compose reads it, with its defaults. */
export const composed = JSON.parse(execFileSync(
  process.env.COMPOSE,
  ['--profile', 'demo', '--project-directory', root, 'config', '--format', 'json'],
  { encoding: 'utf8' },
));

export const nodes = Object.keys(composed.services).filter((name) => /^node\d$/.test(name));

/** The entry points of the images, whose arguments `command` has. */
const entrypoints = { pipecast: ['/pipecast'], 'prom/prometheus': ['prometheus'] };

const sh = (script) => execFileSync('sh', ['-euc', script]);

export class Stack {
  #folder;
  #names;
  #resolver;
  #services = new Map();
  #changes = {};

  /** Sets up a bridge and a name server for the services, none of which run yet. `names` are additional names. */
  static async prepare(names = []) {
    const stack = new Stack();
    stack.#folder = await mkdtemp(join(tmpdir(), 'pipecast-compose-'));
    stack.#names = [...Object.keys(composed.services), ...names];
    const hosts = stack.#names.map((name) => `${stack.#address(name)} ${name}\n`).join('');
    const file = (name, text) => writeFile(join(stack.#folder, name), text);
    await Promise.all([
      file('names', hosts), file('hosts', '127.0.0.1 localhost\n'), file('resolv.conf', `nameserver ${network}.1\noptions ndots:0\n`),
    ]);
    sh(`ip link set lo up
      ip link add services type bridge
      ip address add ${network}.1/24 dev services
      ip link set services up
      mount --bind ${stack.#folder}/hosts /etc/hosts
      mount --bind ${stack.#folder}/resolv.conf /etc/resolv.conf`);
    stack.#resolver = start('dnsmasq', [
      '--keep-in-foreground', '--no-resolv', '--no-hosts', `--addn-hosts=${stack.#folder}/names`, '--user=root', '--pid-file', '--bind-interfaces',
      `--listen-address=${network}.1`,
    ]);
    return stack;
  }

  /** Mounts `source` where the file mounts `shipped`, a path in the project. */
  change(shipped, source) {
    this.#changes[join(root, shipped)] = source;
  }

  /** Starts a service of the file, or another with the same fields. */
  async start(name, service = composed.services[name]) {
    const folder = join(this.#folder, name);
    await mkdir(folder, { recursive: true });
    // The files in Pipecast's image.
    const mounts = [`${process.env.PIPECAST_BIN}:/pipecast`, '/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt'];
    for (const { type, source, target } of service.volumes ?? []) {
      const from = type === 'volume' ? join(this.#folder, `volume-${source}`) : (this.#changes[source.replace(/\/$/, '')] ?? source);
      if (type === 'volume') await mkdir(from, { recursive: true });
      mounts.push(`${from}:${target}`);
    }
    const [image] = service.image.split(':');
    const command = [...(entrypoints[image] ?? []), ...service.command];
    // Compose passes on variables without a value from its own environment, which has none here.
    const given = Object.entries(service.environment ?? {}).filter(([, value]) => value !== null);
    // As deploy/Dockerfile sets them.
    const built = image === 'pipecast' ? { PIPECAST_SERVER__LISTEN: '0.0.0.0:8080', PIPECAST_SERVER__ADMIN_LISTEN: '0.0.0.0:8081' } : {};
    const child = start(
      'unshare',
      ['--net', '--mount', '--propagation', 'private', container, folder, this.#address(name), ...mounts, '--', ...command],
      { env: { PATH: process.env.PATH, ...built, ...Object.fromEntries(given) } },
    );
    this.#services.set(name, { child, service, output: recordOutput(child) });
  }

  /** Waits until the service's own health check succeeds in its namespaces. */
  async untilHealthy(name) {
    const { child, service, output } = this.#services.get(name);
    const [kind, ...test] = service.healthcheck.test;
    if (kind !== 'CMD') throw new Error(`${name}: ${kind} is not supported here`);
    let report = '';
    await until(`${name} is healthy`, async () => {
      if (child.ending) throw new Error(`${name} ended (${child.ending}):\n${output.text}`);
      const check = await run('nsenter', ['--target', `${child.pid}`, '--net', '--mount', '--root', '--wd', ...test.map((word) => word.replaceAll('$$', '$'))], {
        env: this.#environment(child.pid), timeout: 10_000,
      }).catch((error) => ({ code: 1, output: error.message }));
      report = check.output;
      return check.code === 0;
    }, () => `${report}\n${output.text.slice(-2000)}`);
  }

  outputOf(name) {
    return this.#services.get(name).output.text;
  }

  /** Stops a service, by force after the time that the file allows. Returns how it ended. */
  async end(name, signal = composed.services[name]?.stop_signal ?? 'SIGTERM') {
    const { child, service } = this.#services.get(name);
    await stop(child, { signal, patienceMs: 1000 * Number.parseInt(service.stop_grace_period ?? '10', 10) });
    return child.ending;
  }

  /** Ends all services and the name server. */
  async stop() {
    await Promise.all([...this.#services.keys()].map((name) => this.end(name)));
    this.#resolver?.kill('SIGKILL');
  }

  #environment(pid) {
    const text = execFileSync('cat', [`/proc/${pid}/environ`], { encoding: 'utf8' });
    return Object.fromEntries(text.split('\0').filter(Boolean).map((pair) => pair.split(/=(.*)/s)));
  }

  #address(name) {
    return `${network}.${10 + this.#names.indexOf(name)}`;
  }
}
