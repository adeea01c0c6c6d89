// The package in processes of its own, as users run it.

import { fileURLToPath } from 'node:url';

import { withoutSettings } from '../support/environment.mjs';
import { run as runProgram } from '../support/run.mjs';

/** The package's folder, and its program. */
export const folder = fileURLToPath(new URL('../../clients/node/', import.meta.url));
export const program = `${folder}bin/pipecast-run.js`;

/** The path of a step in `steps`. */
export const step = (name) => fileURLToPath(new URL(`steps/${name}`, import.meta.url));

/** Runs a program to its end: `{code, stdout, stderr}`. It inherits no settings, neither of Pipecast nor of Node.js. */
export function run(command, args, { env = {}, ...options } = {}) {
  return runProgram(command, args, { timeout: 100_000, ...options, env: { ...withoutSettings(), NODE_OPTIONS: '', ...env } });
}

/** Runs `pipecast-run ARGS` from the checkout. */
export const pipecastRun = (args, options) => run(process.execPath, [program, ...args], options);

/** Runs `source` as a module that has imported `createSend`, `Publisher` and `PublishError`. */
export function script(source, options) {
  const imports = `import { createSend, Publisher, PublishError } from '${new URL('../../clients/node/index.mjs', import.meta.url)}';\n`;
  return run(process.execPath, ['--input-type=module', '--eval', imports + source], options);
}

/** The number of publish requests through the proxy. */
export function requests(proxy) {
  return proxy.connections.reduce((sum, { request }) => sum + (request.match(/^POST /gm)?.length ?? 0), 0);
}
