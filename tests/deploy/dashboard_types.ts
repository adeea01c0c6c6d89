// What the dashboard may be made of, in Grafana's own types: the frame, and each kind of panel that there is.
//
// Grafana's type of a panel leaves its options and queries open, since they are up to plugins. Here they are those of the plugins.

import type { Dashboard, FieldConfig, FieldConfigSource, Panel, RowPanel } from '@grafana/grafana-foundation-sdk/dashboard';
import type * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type * as stat from '@grafana/grafana-foundation-sdk/stat';
import type * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

type Replace<Type, Parts> = Omit<Type, keyof Parts> & Parts;
// Without the mark that tells queries apart in TypeScript.
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
