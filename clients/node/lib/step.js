'use strict';
// Loading a step's file: with a global `defineComponent`, and an import of `pipecast` that is this package wherever the file lies.

const Module = require('node:module');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const { defineComponent } = require('./index.js');

/** Gives the file's component. */
async function load(path) {
  globalThis.defineComponent = defineComponent;
  offerPackage();
  const { default: component } = await import(pathToFileURL(path));
  if (typeof component?.run !== 'function') {
    throw new TypeError(`${path} has no component: begin it with \`export default defineComponent({ async run({ steps, $ }) {`);
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
    // Before Node 22.15 such hooks are a module of their own.
    const hooks = `export const resolve = (specifier, context, next) => next(specifier === 'pipecast' ? '${own}' : specifier, context)`;
    Module.register(`data:text/javascript,${encodeURIComponent(hooks)}`);
  }
}

exports.load = load;
