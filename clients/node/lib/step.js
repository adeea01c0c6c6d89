'use strict';
// Loads a step file. It sees a global `defineComponent`, and can import this package as `pipecast` from any folder.

const Module = require('node:module');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const { defineComponent } = require('./index.js');

/** Returns the component of a file. */
async function load(path) {
  globalThis.defineComponent = defineComponent;
  offerPackage();
  const { default: component } = await import(pathToFileURL(path));
  if (typeof component?.run !== 'function') {
    throw new TypeError(`${path} exports no component: start it with \`export default defineComponent({ async run({ steps, $ }) {`);
  }
  return component;
}

function offerPackage() {
  const own = pathToFileURL(join(__dirname, '..', 'index.mjs')).href;
  if (Module.registerHooks) {
    Module.registerHooks({
      resolve: (specifier, context, next) => next(specifier === 'pipecast' ? own : specifier, context),
    });
  } else if (Module.register) {
    // Before Node.js 22.15, such hooks must be a separate module.
    const hooks = `export const resolve = (specifier, context, next) => next(specifier === 'pipecast' ? '${own}' : specifier, context)`;
    Module.register(`data:text/javascript,${encodeURIComponent(hooks)}`);
  }
}

exports.load = load;
