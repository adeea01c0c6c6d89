// The dashboard, checked against a JSON schema generated from Grafana's published types.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { before, describe, test } from 'node:test';

import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';
import { dashboard } from '../support/expressions.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

describe('dashboard schema', () => {
  let schemas;

  before(() => {
    // Without names: several of Grafana's packages have a type `Options`, and they would share one definition.
    const generator = createGenerator({ path: here('dashboard_types.ts'), tsconfig: here('tsconfig.json'), type: 'Kinds', expose: 'none' });
    schemas = new Ajv({ allErrors: true, strict: false });
    schemas.addSchema(generator.createSchema('Kinds'), 'grafana');
  });

  function errorsOf(kind, value) {
    const isValid = schemas.getSchema(`grafana#/definitions/Kinds/properties/${kind}`);
    if (!isValid) return [`there is no schema for panels of the type ${kind}`];
    isValid(value);
    return (isValid.errors ?? []).map(({ instancePath, message, params }) => `${kind} ${value.title}: ${instancePath} ${message} ${JSON.stringify(params)}`);
  }

  function allErrors({ panels, ...frame }) {
    return [...errorsOf('frame', frame), ...panels.flatMap((panel) => errorsOf(panel.type, panel))];
  }

  test('accepts the dashboard, its panels and its queries', () => {
    assert.deepEqual(allErrors(dashboard), []);
  });

  // What is changed, and what the one error must name.
  const mistakes = {
    'a misspelt field': [(all) => { all.refersh = '5s'; }, 'refersh'],
    'a number in place of text': [(all) => { all.refresh = 30; }, '/refresh must be string'],
    'no schema version': [(all) => { delete all.schemaVersion; }, 'schemaVersion'],
    'a variable without a type': [(all) => { delete all.templating.list[1].type; }, '/templating/list/1'],
    'an annotation with a misspelt field': [(all) => { all.annotations.list[0].colour = 'red'; }, 'colour'],
    'a panel of an unknown type': [(all) => { all.panels[1].type = 'pie'; }, 'type pie'],
    'a misspelt panel field': [(all) => { all.panels[1].titel = 'Nodes'; }, 'titel'],
    'a width as text': [(all) => { all.panels[1].gridPos.w = '12'; }, '/gridPos/w must be number'],
    'a row without its collapsed field': [(all) => { delete panel(all, 'row').collapsed; }, 'collapsed'],
    'a query without an expression': [(all) => { delete panel(all, 'timeseries').targets[0].expr; }, 'expr'],
    'a misspelt query field': [(all) => { panel(all, 'timeseries').targets[0].legend = ''; }, '/targets/0'],
    'an unknown legend mode': [(all) => { panel(all, 'timeseries').options.legend.displayMode = 'lists'; }, '/options/legend/displayMode'],
    'a misspelt graph style': [(all) => { panel(all, 'timeseries').fieldConfig.defaults.custom.lineWidht = 1; }, 'lineWidht'],
    'an option of another panel type': [(all) => { panel(all, 'stat').options.cellGap = 1; }, 'cellGap'],
    'a threshold as text': [(all) => { panel(all, 'stat').fieldConfig.defaults.thresholds.steps[1].value = '1'; }, '/thresholds/steps/1/value'],
    'a colour scheme without its exponent': [(all) => { delete panel(all, 'heatmap').options.color.exponent; }, 'exponent'],
  };

  const panel = ({ panels }, type) => panels.find((one) => one.type === type);

  for (const [mistake, [make, named]] of Object.entries(mistakes)) {
    test(`rejects ${mistake}`, () => {
      const changed = structuredClone(dashboard);
      make(changed);
      assert.match(allErrors(changed).join('\n'), new RegExp(named.replaceAll('/', '\\/')));
    });
  }
});
