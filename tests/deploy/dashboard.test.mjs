// The dashboard against a JSON schema that is made of the types that Grafana publishes.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { before, describe, test } from 'node:test';

import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';
import { dashboard } from '../support/expressions.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

describe('the dashboard', () => {
  let schemas;

  before(() => {
    // Without names: several of Grafana's packages have a type `Options`, and definitions would share it.
    const generator = createGenerator({ path: here('dashboard_types.ts'), tsconfig: here('tsconfig.json'), type: 'Kinds', expose: 'none' });
    schemas = new Ajv({ allErrors: true, strict: false });
    schemas.addSchema(generator.createSchema('Kinds'), 'grafana');
  });

  function faultsOf(kind, value) {
    const isValid = schemas.getSchema(`grafana#/definitions/Kinds/properties/${kind}`);
    if (!isValid) return [`there is no schema for panels of the type ${kind}`];
    isValid(value);
    return (isValid.errors ?? []).map(({ instancePath, message, params }) => `${kind} ${value.title}: ${instancePath} ${message} ${JSON.stringify(params)}`);
  }

  function faults({ panels, ...frame }) {
    return [...faultsOf('frame', frame), ...panels.flatMap((panel) => faultsOf(panel.type, panel))];
  }

  test('is as Grafana defines dashboards, with the options of each panel and the queries for Prometheus', () => {
    assert.deepEqual(faults(dashboard), []);
  });

  // What is changed, and what the one fault must name.
  const mistakes = {
    'a misspelt field': [(all) => { all.refersh = '5s'; }, 'refersh'],
    'a number for a text': [(all) => { all.refresh = 30; }, '/refresh must be string'],
    'no version of the schema': [(all) => { delete all.schemaVersion; }, 'schemaVersion'],
    'a variable without a type': [(all) => { delete all.templating.list[1].type; }, '/templating/list/1'],
    'an annotation with a misspelt field': [(all) => { all.annotations.list[0].colour = 'red'; }, 'colour'],
    'a panel of a type that is not looked at': [(all) => { all.panels[1].type = 'pie'; }, 'type pie'],
    'a misspelt field of a panel': [(all) => { all.panels[1].titel = 'Nodes'; }, 'titel'],
    'a width as a text': [(all) => { all.panels[1].gridPos.w = '12'; }, '/gridPos/w must be number'],
    'a row that is not said to be open': [(all) => { delete panel(all, 'row').collapsed; }, 'collapsed'],
    'a query without an expression': [(all) => { delete panel(all, 'timeseries').targets[0].expr; }, 'expr'],
    'a misspelt field of a query': [(all) => { panel(all, 'timeseries').targets[0].legend = ''; }, '/targets/0'],
    'an option of a graph that there is not': [(all) => { panel(all, 'timeseries').options.legend.displayMode = 'lists'; }, '/options/legend/displayMode'],
    'a misspelt style of a graph': [(all) => { panel(all, 'timeseries').fieldConfig.defaults.custom.lineWidht = 1; }, 'lineWidht'],
    'an option of another type of panel': [(all) => { panel(all, 'stat').options.cellGap = 1; }, 'cellGap'],
    'a threshold as a text': [(all) => { panel(all, 'stat').fieldConfig.defaults.thresholds.steps[1].value = '1'; }, '/thresholds/steps/1/value'],
    'a colour scheme without its exponent': [(all) => { delete panel(all, 'heatmap').options.color.exponent; }, 'exponent'],
  };

  const panel = ({ panels }, type) => panels.find((one) => one.type === type);

  for (const [mistake, [make, named]] of Object.entries(mistakes)) {
    test(`would not pass with ${mistake}`, () => {
      const changed = structuredClone(dashboard);
      make(changed);
      assert.match(faults(changed).join('\n'), new RegExp(named.replaceAll('/', '\\/')));
    });
  }
});
