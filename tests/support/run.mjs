// Programs that run to their end.

import { execFile } from 'node:child_process';

/** Runs the program to its end: `{code, stdout, stderr, output}`, where `output` is both of them. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(new Error(`${command}: ${error.message}\n${stdout}${stderr}`));
      else resolve({ code: error?.code ?? 0, stdout, stderr, output: stdout + stderr });
    });
  });
}

/** The same for a program that must succeed. */
export async function succeed(command, args, options) {
  const ended = await run(command, args, options);
  if (ended.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${ended.code}:\n${ended.output}`);
  return ended;
}
