// The PromQL expressions of the shipped rules and dashboard.

import { readFileSync } from 'node:fs';

export const folder = new URL('../../deploy/', import.meta.url);

const read = (file) => readFileSync(new URL(file, folder), 'utf8');

export const rulesText = read('prometheus/pipecast.rules.yml');
export const ruleTests = read('prometheus/pipecast.test.yml');
export const runbook = readFileSync(new URL('../docs/operate/runbook.md', folder), 'utf8');
export const dashboard = JSON.parse(read('grafana/pipecast.json'));

/** `{name, expr, isAlert}` for each rule. The file has each expression on one line. */
export const rules = [...rulesText.matchAll(/- (alert|record): (\S+)\n +expr: (?:\|-\n +)?(.+)\n/g)].map(
  ([, kind, name, expr]) => ({ name, expr, isAlert: kind === 'alert' }),
);

export const alerts = rules.filter((rule) => rule.isAlert);

export const panels = dashboard.panels.filter((panel) => panel.type !== 'row');

/** The panels' queries, each with its panel's title. */
export const shown = panels.flatMap((panel) => panel.targets.map(({ expr }) => ({ name: panel.title, expr })));

/** Those and the dashboard's other queries. */
export const queries = [
  ...shown,
  ...dashboard.annotations.list.map(({ name, expr }) => ({ name, expr })),
  ...dashboard.templating.list.filter(({ type }) => type === 'query').map(({ name, definition }) => ({ name, expr: definition })),
];

/** The metrics that an expression names, each with its labels: from matchers, and from `by` around it. */
export function named(expr) {
  const labels = [...expr.matchAll(/\b(?:by|on|ignoring) \(([^)]*)\)/g)].flatMap(([, list]) => list.split(/, */));
  return [...expr.matchAll(/\b((?:pipecast_|process_|up\b|instance:|job:)[\w:]*)(?:\{([^}]*)\})?/g)]
    .map(([, name, matchers = '']) => ({
      name,
      labels: [...labels, ...[...matchers.matchAll(/(\w+) *(?:=~|!=|!~|=)/g)].map(([, label]) => label)],
      values: [...matchers.matchAll(/(\w+) *=~? *"([^"$]*)"/g)].flatMap(([, label, value]) =>
        value.split('|').map((alternative) => [label, alternative])),
    }));
}
