// A node's metrics.

/** The value of `series`, named as `/metrics` shows it, labels included. `node` needs only its `adminUrl`. */
export async function metric(node, series) {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  if (!line) throw new Error(`${node.adminUrl} has no series ${series}`);
  return Number(line.slice(series.length));
}
