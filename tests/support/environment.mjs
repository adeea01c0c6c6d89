// Environments of the programs under test.

/** This process's environment without its `PIPECAST_` variables: those belong to the tests. */
export function withoutSettings() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PIPECAST_')));
}

/** `{'stream.keepalive': '1s'}` as the variables that a node reads. Lists and objects become inline TOML. */
export function asVariables(settings) {
  const variables = Object.entries(settings).map(([name, value]) => [
    `PIPECAST_${name.toUpperCase().replace('.', '__')}`,
    typeof value === 'object' ? toml(value) : String(value),
  ]);
  return Object.fromEntries(variables);
}

function toml(value) {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, inner]) => `${key} = ${toml(inner)}`).join(', ')}}`;
}
