// The parts of the dashboard in Grafana's own types: the frame, and each kind of panel in use.
//
// Grafana's panel type leaves options and queries open to plugins. Here they have the plugins' types.

import type { Dashboard, FieldConfig, FieldConfigSource, Panel, RowPanel } from '@grafana/grafana-foundation-sdk/dashboard';
import type * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type * as stat from '@grafana/grafana-foundation-sdk/stat';
import type * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

type Replace<Type, Parts> = Omit<Type, keyof Parts> & Parts;
// Without the field that distinguishes queries in TypeScript.
type Query = Omit<Dataquery, '_implementsDataqueryVariant'>;
type Fields<Custom> = Replace<FieldConfigSource, { defaults: Replace<FieldConfig, { custom?: Custom }> }>;
type PanelOf<Options, Custom> = Replace<Panel, { options: Options; fieldConfig: Fields<Custom>; targets: Query[] }>;

export interface Kinds {
  frame: Omit<Dashboard, 'panels'>;
  row: RowPanel;
  stat: PanelOf<stat.Options, never>;
  timeseries: PanelOf<timeseries.Options, timeseries.FieldConfig>;
  heatmap: PanelOf<heatmap.Options, heatmap.FieldConfig>;
}
