// Bundles of the components in this folder: with esbuild, and the compilers of Vue and Svelte.

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';
import { compile } from 'svelte/compiler';
import { compileScript, parse } from 'vue/compiler-sfc';

/** The program that begins in this file, as one ES module: for `browser`, or for `node`, which renders on a server. */
export async function bundle(file, platform) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    platform,
    jsx: 'automatic',
    // StrictMode mounts twice only in React's development build.
    define: {
      'process.env.NODE_ENV': '"development"',
      __VUE_OPTIONS_API__: 'true',
      __VUE_PROD_DEVTOOLS__: 'false',
      __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
    },
    // Packages in CommonJS that ask for Node.js' own modules.
    banner: platform === 'node' ? { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" } : {},
    plugins: [compiler(/\.vue$/, fromVue), compiler(/\.svelte$/, fromSvelte)],
    logLevel: 'error',
  });
  return outputFiles[0].text;

  function fromVue(source, filename) {
    const { descriptor } = parse(source, { filename });
    return compileScript(descriptor, { id: filename, inlineTemplate: true, templateOptions: { ssr: platform === 'node', ssrCssVars: [] } }).content;
  }

  function fromSvelte(source, filename) {
    return compile(source, { filename, generate: platform === 'node' ? 'server' : 'client' }).js.code;
  }
}

function compiler(filter, compileFile) {
  return {
    name: String(filter),
    setup({ onLoad }) {
      onLoad({ filter }, async ({ path }) => ({ contents: compileFile(await readFile(path, 'utf8'), basename(path)) }));
    },
  };
}
