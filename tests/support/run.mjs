// Programs that check something and end.

import { execFile } from 'node:child_process';

/** Runs the program to its end: `{code, output}`, of both outputs. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(new Error(`${command}: ${error.message}`));
      else resolve({ code: error?.code ?? 0, output: stdout + stderr });
    });
  });
}
