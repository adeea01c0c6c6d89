// The Debian package, of the binary under test, and one that is the next version of it.

import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { run } from '../support/run.mjs';

const sources = fileURLToPath(new URL('../..', import.meta.url));

/** Builds it in the folder by `cargo deb`, whose program PIPECAST_CARGO_DEB names. Returns its path. */
export async function buildPackage(folder) {
  const cargoDeb = process.env.PIPECAST_CARGO_DEB;
  if (!cargoDeb) throw new Error('PIPECAST_CARGO_DEB is not set: give the path of cargo-deb, as tests/deploy/run does');
  // The program is built already, and in another profile than the package is made of.
  const target = join(folder, 'target');
  await mkdir(join(target, 'release'), { recursive: true });
  await symlink(process.env.PIPECAST_BIN, join(target, 'release', 'pipecast'));
  const file = join(folder, 'pipecast.deb');
  await succeed(cargoDeb, ['--no-build', '--strip', '--fast', '-Z', 'gz', '--locked', '--output', file], {
    cwd: sources,
    env: { ...process.env, CARGO_TARGET_DIR: target },
  });
  return file;
}

/** The same with a higher version and other settings. */
export async function buildNextPackage(folder, file) {
  const content = join(folder, 'next');
  await succeed('dpkg-deb', ['--raw-extract', file, content]);
  await edit(join(content, 'DEBIAN/control'), (text) => text.replace(/^Version: .*$/m, 'Version: 99.0-1'));
  await edit(join(content, 'etc/pipecast/pipecast.toml'), (text) => `${text}\n# New in 99.\n`);
  const next = join(folder, 'next.deb');
  await succeed('dpkg-deb', ['-Zgzip', '-z1', '--build', content, next]);
  return next;
}

async function edit(file, change) {
  await writeFile(file, change(await readFile(file, 'utf8')));
}

async function succeed(...command) {
  const { code, output } = await run(...command);
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}:\n${output}`);
}
