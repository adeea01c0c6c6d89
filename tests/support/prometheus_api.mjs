// The HTTP API of a running Prometheus.

import assert from 'node:assert/strict';

import { shown } from './expressions.mjs';

export class PrometheusApi {
  #url;

  constructor(url) {
    this.#url = url;
  }

  async call(path) {
    const answer = await (await fetch(`${this.#url}/api/v1/${path}`)).json();
    assert.equal(answer.status, 'success', `${path}: ${answer.error}`);
    return answer.data;
  }

  /** The current value of an expression. */
  async ask(query) {
    return (await this.call(`query?query=${encodeURIComponent(query)}`)).result;
  }

  async firing() {
    return (await this.call('alerts')).alerts.filter(({ state }) => state === 'firing');
  }

  /** The dashboard's panels without data, each with its query. */
  async emptyPanels() {
    const empty = [];
    for (const { name, expr } of shown) {
      const plain = expr.replaceAll('$__rate_interval', '30s').replaceAll('$job', 'pipecast').replaceAll('$instance', '.*');
      const result = await this.ask(plain);
      if (!result.some(({ value }) => Number.isFinite(Number(value[1])))) empty.push(`${name}: ${plain}`);
    }
    return empty;
  }
}
