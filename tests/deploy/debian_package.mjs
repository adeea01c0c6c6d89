// The Debian package of the binary under test, and a next version of it.

import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { succeed } from '../support/run.mjs';

const sources = fileURLToPath(new URL('../..', import.meta.url));

/** Builds the package in the folder with the `cargo deb` that PIPECAST_CARGO_DEB names. Returns its path. */
export async function buildPackage(folder) {
  const cargoDeb = process.env.PIPECAST_CARGO_DEB;
  if (!cargoDeb) throw new Error('PIPECAST_CARGO_DEB is not set: give the path of cargo-deb, as tests/deploy/run does');
  // The binary exists already, built with another profile than the package's.
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

/** Builds the package once more, with a higher version and other settings. */
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
