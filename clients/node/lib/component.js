'use strict';
// The default export of a step: an object with `run`, and for actions `props` and `methods`.

/** The command line is wrong, for this step or any. */
class UsageError extends Error {}

/**
 * Returns `this` for the component's `run`: its props, from `texts` (each name with the texts given for it) or their defaults,
 * and its methods.
 *
 * Throws a `UsageError` that names every prop that is missing, unknown or of the wrong type.
 */
function bind(component, texts) {
  const problems = [];
  const props = component.props ?? {};
  for (const name of texts.keys()) {
    const known = Object.keys(props).join(', ') || 'none';
    if (!Object.hasOwn(props, name)) problems.push(`unknown prop ${name}; known props: ${known}`);
  }
  const self = {};
  for (const [name, definition] of Object.entries(props)) {
    // `count: "integer"` is short for `count: { type: "integer" }`.
    const prop = typeof definition === 'string' ? { type: definition } : definition;
    try {
      const value = texts.has(name) ? parse(prop.type ?? 'any', texts.get(name)) : structuredClone(prop.default);
      if (value === undefined && !prop.optional) throw new Error(`is missing: give --prop ${name}=...`);
      self[name] = value;
    } catch (error) {
      problems.push(`the prop ${name} ${error.message}`);
    }
  }
  if (problems.length > 0) throw new UsageError(problems.join('; '));
  for (const [name, method] of Object.entries(component.methods ?? {})) self[name] = method.bind(self);
  return self;
}

function parse(type, texts) {
  if (type.endsWith('[]')) {
    // A single text may be the whole array as JSON. Otherwise, each text is an element.
    const whole = texts.length === 1 ? json(texts[0]) : undefined;
    return Array.isArray(whole) ? whole : texts.map((text) => parse(type.slice(0, -2), [text]));
  }
  if (texts.length > 1) throw new Error(`was given ${texts.length} times, but its type is ${type}`);
  const [text] = texts;
  switch (type) {
    case 'string':
      return text;
    case 'integer': {
      const number = Number(text);
      if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(number)) throw new Error('must be an integer');
      return number;
    }
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw new Error('must be true or false');
      return text === 'true';
    case 'object': {
      const value = json(text);
      if (value === null || typeof value !== 'object') throw new Error('must be a JSON object');
      return value;
    }
    default:
      return json(text) ?? text;
  }
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

exports.UsageError = UsageError;
exports.bind = bind;
