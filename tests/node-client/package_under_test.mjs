// The package as its users run it: in processes of their own.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The package's folder, and its program. */
export const folder = fileURLToPath(new URL('../../clients/node/', import.meta.url));
export const program = `${folder}bin/pipecast.js`;

/** A step of the tests. */
export const step = (name) => fileURLToPath(new URL(`steps/${name}`, import.meta.url));

/**
 * Runs a program to its end and gives `{code, stdout, stderr}`, of which none is an error here.
 *
 * Settings of whoever runs the tests do not reach it.
 */
export function run(command, args, { env = {}, ...options } = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PIPECAST_') && name !== 'NODE_OPTIONS');
  return new Promise((resolve) => {
    const ownEnv = { ...Object.fromEntries(inherited), ...env };
    execFile(command, args, { timeout: 30_000, ...options, env: ownEnv }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
    });
  });
}

/** `pipecast ARGS` from the checkout. */
export const pipecast = (args, options) => run(process.execPath, [program, ...args], options);

/** Runs `source`, a module in which `createSend`, `Publisher` and `PublishError` are there. */
export function script(source, options) {
  const imports = `import { createSend, Publisher, PublishError } from '${new URL('../../clients/node/index.mjs', import.meta.url)}';\n`;
  return run(process.execPath, ['--input-type=module', '--eval', imports + source], options);
}

/** The pipeline's events as the node keeps them. */
export async function history(pipeline) {
  const answer = await fetch(pipeline.eventsUrl);
  return (await answer.json()).events;
}

/** How many requests to publish went through the proxy. */
export function requests(proxy) {
  return proxy.connections.reduce((sum, { request }) => sum + (request.match(/^POST /gm)?.length ?? 0), 0);
}
