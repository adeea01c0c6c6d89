"""Turns bench/results/latest.json into the tables and charts of docs/design/performance.md.

    "$(scripts/venv matplotlib==3.10.8)/bin/python" bench/tables.py
"""

import json
import pathlib
import statistics

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- from bench/results/latest.json: begin -->", "<!-- end -->"

FANOUT = {
    "fanout-1000": "1,000 subscribers, one pipeline",
    "fanout-5000": "5,000 subscribers, one pipeline",
    "fanout-15000": "15,000 subscribers, one pipeline",
    "fanout-5000x3": "5,000 pipelines, 3 subscribers each",
}


COLORS = {"floor": "#9aa5a1", "pipecast": "#0b6e5d", "hyper": "#6fb7a8", "nchan": "#c97b3d"}


def median(runs, *path):
    values = []
    for run in runs:
        value = run
        for name in path:
            value = (value or {}).get(name)
        if value is not None:
            values.append(value)
    return statistics.median(values) if values else None


def show(value, digits=1, unit=""):
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def fanout_rows(lines):
    for name, label in FANOUT.items():
        if name not in lines:
            continue
        cost = {side: median(runs, "server", "us_per_unit") for side, runs in lines[name].items()}
        lag = {side: median(runs, "delivered", "latency", "p99_us") for side, runs in lines[name].items()}
        lost = sum(run["delivered"][kind] for run in lines[name]["pipecast"] for kind in ("lost", "doubled", "reordered"))
        yield name, label, cost, lag, lost


def chart(lines, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = list(fanout_rows(lines))
    sides = ["floor", "pipecast", "hyper", "nchan"]
    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    for offset, side in enumerate(sides):
        heights = [cost.get(side) or 0 for _, _, cost, _, _ in rows]
        axes.bar([x + 0.2 * offset for x in range(len(rows))], heights, 0.19, label=side, color=COLORS[side])
    axes.set_xticks([x + 0.3 for x in range(len(rows))], [label.replace(", ", "\n") for _, label, _, _, _ in rows])
    axes.set_ylabel("CPU per delivery, µs")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def sentences(lines):
    """Results without a column in the tables."""
    if "redis-benchmark" in lines.get("publish-redis-100", {}):
        ours, theirs = (median(lines["publish-redis-100"][side], "published", "events_per_second") for side in ("pipecast", "redis-benchmark"))
        yield f"- `redis-benchmark` gets {theirs:,.0f} events/s out of Redis with the same script and 100 events per call, pipelined. Pipecast gets {ours:,.0f}, which is {ours / theirs:.0%}."
    if "idle" in lines and "floor" in lines.get("fanout-15000", {}):
        ours = median(lines["idle"]["pipecast"], "server", "cpus")
        floor = median(lines["fanout-15000"]["floor"], "server", "us_per_unit") * 1e-6 * 15_000 / 15
        yield f"- The 1,000 keepalives per second of 15,000 idle streams would cost the floor {floor:.2%} of a core, at its cost of a write to 15,000 subscribers. They cost Pipecast {ours / floor:.2f} times that."
    if "access" in lines:
        rate = {kind: median(runs, "published", "requests_per_second") for kind, runs in lines["access"].items()}
        shares = ", ".join(f"{rate[kind] / rate['open']:.0%} with {label}" for kind, label in (("key", "a static key"), ("HS256", "an HS256 token"), ("ES256", "an ES256 token")))
        yield f"- Publishing with a key or token, embedded store, 32 connections: of the {rate['open']:,.0f} publishes/s with open access, there remain {shares}."
    if "threads" in lines:
        one, two = (median(lines["threads"][threads], "delivered", "last_reader", "p50_us") / 1000 for threads in ("1", "2"))
        yield f"- The last of 2,000 subscribers receives an event after {one:.1f} ms (p50) with one fan-out thread and {two:.1f} ms with two, on both cores, which the load generator shares: {two / one:.2f} times."
    if "nodes" in lines:
        cost = {nodes: median(runs, "server", "cpus") / 500 * 1e6 for nodes, runs in lines["nodes"].items()}
        lag = {nodes: median(runs, "delivered", "last_reader", "p50_us") / 1000 for nodes, runs in lines["nodes"].items()}
        lost = sum(run["delivered"][kind] for runs in lines["nodes"].values() for run in runs for kind in ("lost", "doubled", "reordered"))
        yield (
            f"- Several nodes on one Redis, all nodes on one core, 500 events/s to 1,000 subscribers of 10 pipelines: an event costs Redis {', '.join(f'{cost[nodes]:.0f}' for nodes in cost)} µs of CPU with "
            f"{', '.join(cost)} nodes, and the last subscriber receives it after {', '.join(f'{lag[nodes]:.1f}' for nodes in cost)} ms (p50); lost, duplicated, reordered: {lost}."
        )


def memory_table(lines):
    if "over" in lines:
        rows = [[label, show(median(runs, "memory", "pss_bytes_per_stream") / 1024, 2)] for label, runs in lines["over"].items()]
        yield table(["5,000 idle streams over", "memory of the process per stream, KiB"], rows)


CURVES = {"readers": "subscribers of one pipeline", "pipelines": "pipelines that 19,000 subscribers are spread over", "payload": "bytes of payload, 1,000 subscribers"}


def growth_tables(results):
    for curve, label in CURVES.items():
        if curve not in results:
            continue
        rows = []
        for point, sides in results[curve].items():
            cost = {side: median(runs, "server", "us_per_unit") for side, runs in sides.items()}
            lost = sum(run["delivered"][kind] for run in sides["pipecast"] for kind in ("lost", "doubled", "reordered"))
            rows.append([f"{int(point):,}", *(show(cost.get(side)) for side in ("floor", "pipecast", "nchan")), show(cost["pipecast"] / cost["floor"], 2, "x"), str(lost)])
        yield table([f"CPU per delivery, µs, by {label}", "floor", "Pipecast", "Nchan", "Pipecast : floor", "lost, duplicated, reordered"], rows)


def growth_chart(results, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(1, len(CURVES), figsize=(11, 3.2))
    for axes, (curve, label) in zip(all_axes, CURVES.items()):
        highest = 0
        for side in ("floor", "pipecast", "nchan"):
            points = [(int(point), median(sides[side], "server", "us_per_unit")) for point, sides in results.get(curve, {}).items() if side in sides]
            if not points:
                continue
            axes.plot(*zip(*points), marker="o", markersize=3, label=side, color=COLORS[side])
            highest = max([highest, *(cost for _, cost in points if side != "nchan")])
        axes.set_xscale("log")
        # One side may cost several times as much: the others must stay readable.
        axes.set_ylim(0, highest * 1.8)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_ylabel("CPU per delivery, µs")
    all_axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def tables(results):
    lines, versions = results["lines"], results["versions"]
    rounds = min(len(runs) for sides in lines.values() for runs in sides.values())
    parts = [
        f"{versions['date']}, {versions['cpus']} cores, Linux {versions['kernel']}; {versions['pipecast']}, {versions['nginx'].removeprefix('nginx version: ')} "
        f"with Nchan {versions['nchan']}, {' '.join(versions['redis'].split()[:3])}. {'One round' if rounds == 1 else 'Median of %d rounds' % rounds}; the curves one round."
    ]
    rows = []
    for _, label, cost, lag, lost in fanout_rows(lines):
        floor, nchan, ours = cost.get("floor"), cost.get("nchan"), cost.get("pipecast")
        rows.append([
            label, show(floor), show(ours), show(cost.get("hyper")), show(nchan),
            show(ours / floor, 2, "x") if floor else "-", show(ours / nchan, 2, "x") if nchan else "-",
            f"{show((lag.get('pipecast') or 0) / 1000)} / {show((lag.get('nchan') or 0) / 1000)}", str(lost),
        ])
    if rows:
        head = ["CPU per delivery, µs", "floor", "Pipecast", "hyper's body", "Nchan", "Pipecast : floor", "Pipecast : Nchan", "p99 publish to subscriber, ms, Pipecast / Nchan", "lost, duplicated, reordered"]
        parts.append(table(head, rows))
    others = []

    def row(name, label, digits, unit, scale, *path):
        if name in lines:
            value = {side: median(runs, *path) for side, runs in lines[name].items()}
            ours, nchan = value.get("pipecast"), value.get("nchan")
            ratio = show(ours / nchan, 2, "x") if ours and nchan else "-"
            shown = [show(None if value.get(side) is None else value[side] * scale, digits, unit) for side in ("pipecast", "hyper", "nchan")]
            others.append([label, *shown, ratio])

    row("idle", "memory per idle connection, KiB (PSS of the process, 15,000 connections)", 2, "", 1 / 1024, "memory", "pss_bytes_per_stream")
    row("idle", "kernel memory in addition, KiB per connection, both ends", 2, "", 1 / 1024, "memory", "kernel_bytes_per_stream")
    row("idle", "CPU with 15,000 idle streams, % of a core", 2, "", 100, "server", "cpus")
    row("saturate-1000", "deliveries/s, 1,000 subscribers, 16 publishers", 0, "", 1, "delivered", "deliveries_per_second")
    row("saturate-1000", "deliveries missing in that run, all reported as gaps", 0, "", 1, "delivered", "lost")
    row("storm", "3,000 clients at once, 100 events of 200 bytes: seconds until all are served", 2, "", 1, "replay", "seconds")
    row("publish-redis", "publishes/s through Redis, one event per request, 32 connections", 0, "", 1, "published", "requests_per_second")
    row("publish-redis", "the same, p99 of a publish, ms", 1, "", 0.001, "published", "latency", "p99_us")
    row("publish-redis-100", "events/s through Redis, 100 per request", 0, "", 1, "published", "events_per_second")
    row("half-1000", "1,000 subscribers at half of Nchan's saturation: p50 from publish to subscriber, ms", 1, "", 0.001, "delivered", "latency", "p50_us")
    row("half-1000", "the same, p99", 1, "", 0.001, "delivered", "latency", "p99_us")
    if others:
        parts.append(table(["", "Pipecast", "hyper's body", "Nchan", "Pipecast : Nchan"], others))
    parts.extend(memory_table(lines))
    parts.extend(sentences(lines))
    parts.extend(growth_tables(results))
    return "\n\n".join(parts)


def main():
    results = json.loads((ROOT / "bench/results/latest.json").read_text())
    page = ROOT / "docs/design/performance.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}")
    chart(results["lines"], ROOT / "docs/images/fanout.svg")
    if all(curve in results for curve in CURVES):
        growth_chart(results, ROOT / "docs/images/growth.svg")


if __name__ == "__main__":
    main()
