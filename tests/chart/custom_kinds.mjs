// Checks objects of custom kinds, a JSON array on standard input, against their schemas, and prints the errors.
import { text } from "node:stream/consumers";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { HTTPRoute, PodMonitor, PrometheusRule, ServiceMonitor };

for (const object of JSON.parse(await text(process.stdin))) {
  const Kind = kinds[object.kind];
  try {
    if (!Kind) throw new Error("no schema for this kind");
    new Kind(object).validate();
  } catch (error) {
    console.log(`${object.kind} ${object.metadata?.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
