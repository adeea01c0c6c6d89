// The services of docker-compose.yml as plain processes: commands, environments, mounts and names as Compose reads them, the images'
// programs from this machine. Has to run in namespaces of its own (tests/compose/run).

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { run } from '../support/run.mjs';
import { until } from '../support/deadline.mjs';
import { recordOutput, start } from '../support/processes.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const network = '10.77.0';
const container = fileURLToPath(new URL('container', import.meta.url));

/** The file as Compose understands it, defaults filled in. */
export const composed = JSON.parse(execFileSync(
  process.env.COMPOSE,
  ['--profile', 'demo', '--project-directory', root, 'config', '--format', 'json'],
  { encoding: 'utf8' },
));

export const nodes = Object.keys(composed.services).filter((name) => /^node\d$/.test(name));

/** What images bring along: the program that `command` has the arguments for. */
const entrypoints = { pipecast: ['/pipecast'], 'prom/prometheus': ['prometheus'] };

const sh = (script) => execFileSync('sh', ['-euc', script]);

export class Stack {
  #folder;
  #names;
  #resolver;
  #services = new Map();
  #changes = {};

  /** A bridge, and a name server that knows the services; nothing runs yet. `names` are more names than those of the file. */
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

  /** Starts a service of the file, or one of your own with the same members. */
  async start(name, service = composed.services[name]) {
    const folder = join(this.#folder, name);
    await mkdir(folder, { recursive: true });
    // What the image of Pipecast has.
    const mounts = [`${process.env.PIPECAST_BIN}:/pipecast`, '/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt'];
    for (const { type, source, target } of service.volumes ?? []) {
      const from = type === 'volume' ? join(this.#folder, `volume-${source}`) : (this.#changes[source.replace(/\/$/, '')] ?? source);
      if (type === 'volume') await mkdir(from, { recursive: true });
      mounts.push(`${from}:${target}`);
    }
    const [image] = service.image.split(':');
    const command = [...(entrypoints[image] ?? []), ...service.command];
    // Variables without a value are handed on from whoever runs Compose, who has none here.
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

  /** Waits until the service's own health check succeeds, in its own namespaces. */
  async isWell(name) {
    const { child, service, output } = this.#services.get(name);
    const [kind, ...test] = service.healthcheck.test;
    if (kind !== 'CMD') throw new Error(`${name}: ${kind} is not known here`);
    let said = '';
    await until(`${name} is well`, async () => {
      if (child.ending) throw new Error(`${name} ended (${child.ending}):\n${output.text}`);
      const check = await run('nsenter', ['--target', `${child.pid}`, '--net', '--mount', '--root', '--wd', ...test.map((word) => word.replaceAll('$$', '$'))], {
        env: this.#environment(child.pid), timeout: 10_000,
      }).catch((error) => ({ code: 1, output: error.message }));
      said = check.output;
      return check.code === 0;
    }, () => `${said}\n${output.text.slice(-2000)}`);
  }

  outputOf(name) {
    return this.#services.get(name).output.text;
  }

  /** Ends a service, by force when it takes longer than the file has for it. */
  async end(name, signal = composed.services[name]?.stop_signal ?? 'SIGTERM') {
    const { child, service } = this.#services.get(name);
    child.kill(signal);
    const patience = 1000 * Number.parseInt(service.stop_grace_period ?? '10', 10);
    const impatience = setTimeout(() => child.kill('SIGKILL'), patience);
    await child.exited;
    clearTimeout(impatience);
  }

  /** Ends all that still runs. Asked to, so that those with workers take them along. */
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
