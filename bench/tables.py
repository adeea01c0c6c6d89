"""Turns bench/results/latest.json into the tables and charts of docs/comparison.md, docs/design/performance.md and README.md.

    "$(scripts/venv matplotlib==3.10.8)/bin/python" bench/tables.py
    python3 bench/tables.py --check     writes nothing, and fails if a page is out of date

A generated part is between `<!-- generated: NAME -->` and `<!-- end -->`. A page has those that it needs.
"""

import argparse
import json
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/comparison.md", "docs/design/performance.md")
GENERATED = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

SIDES = {"floor": "floor", "pipecast": "Pipecast", "hyper": "hyper's body", "nchan": "Nchan", "mercure": "Mercure", "centrifugo": "Centrifugo"}
COLORS = {"floor": "#9aa5a1", "pipecast": "#0b6e5d", "hyper": "#6fb7a8", "nchan": "#c97b3d", "mercure": "#5b6fa8", "centrifugo": "#a85b7d"}
FAULTS = ("lost", "doubled", "reordered")
CPU = ("server", "us_per_unit")
P99 = ("delivered", "latency", "p99_us")
RATE = ("published", "requests_per_second")
KIB, MS, MILLION, PERCENT = 1 / 1024, 0.001, 1e-6, 100
# Rounds that are further apart than this, of their median, show nothing.
NOISY = 0.5

FANOUT = {
    "fanout-1000": "1,000 subscribers, one pipeline",
    "fanout-5000": "5,000 subscribers, one pipeline",
    "fanout-15000": "15,000 subscribers, one pipeline",
    "fanout-5000x3": "5,000 pipelines, 3 subscribers each",
}


def values(runs, path):
    found = []
    for run in runs:
        value = run
        for name in path:
            value = (value or {}).get(name)
        if value is not None:
            found.append(value)
    return found


def median(runs, *path):
    found = values(runs, path)
    return statistics.median(found) if found else None


def show(value, digits=1, unit=""):
    """Without digits that a number above 1,000 does not need."""
    return "-" if value is None else f"{value:,.{digits if value < 1000 else 0}f}{unit}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def faults(runs):
    return sum(run["delivered"][kind] for run in runs for kind in FAULTS)


def widest_spread(sides, path):
    """How far the rounds of a side are apart, of its median; that of the side where it is largest."""
    widest = 0
    for runs in sides:
        found = values(runs, path)
        if len(found) > 1 and statistics.median(found):
            widest = max(widest, (max(found) - min(found)) / statistics.median(found))
    return widest


def ratio(ours, theirs, path):
    """The median of the ratios of each round: what disturbed a round disturbed both sides of it."""
    return statistics.median(one / other for one, other in zip(values(ours, path), values(theirs, path)))


class Row:
    """A line of a table: a figure of every side."""

    def __init__(self, label, line, path, scale=1.0, digits=1, total=False):
        self.label, self.line, self.path, self.scale, self.digits, self.total = label, line, path, scale, digits, total

    def runs(self, lines, side):
        return lines.get(self.line, {}).get(side, [])

    def value(self, lines, side):
        """The median of the rounds, or what they have in all."""
        found = [value * self.scale for value in values(self.runs(lines, side), self.path)]
        if not found:
            return None
        return sum(found) if self.total else statistics.median(found)

    def cells(self, lines, sides):
        return [show(self.value(lines, side), self.digits) for side in sides]

    def spread(self, lines, sides):
        return "-" if self.total else f"{widest_spread([self.runs(lines, side) for side in sides], self.path):.0%}"


def row_table(rows, lines, sides, with_spread=True):
    shown = [row for row in rows if row.line in lines]
    if not shown:
        return ""
    head = ["", *(SIDES[side] for side in sides), *(["spread"] if with_spread else [])]
    return table(head, [[row.label, *row.cells(lines, sides), *([row.spread(lines, sides)] if with_spread else [])] for row in shown])


PEER_ROWS = [
    *(Row(f"CPU per delivery, µs: {label}", name, CPU) for name, label in FANOUT.items()),
    Row("p99 from publish to subscriber, ms: 15,000 subscribers", "fanout-15000", P99, MS),
    Row("saturated, 1,000 subscribers: million deliveries/s", "saturate-1000", ("delivered", "deliveries_per_second"), MILLION, 2),
    Row("saturated: deliveries lost, all rounds", "saturate-1000", ("delivered", "lost"), digits=0, total=True),
    Row("saturated: streams that the server closed, all rounds", "saturate-1000", ("streams", "ended"), digits=0, total=True),
    Row("process memory per idle stream, KiB (15,000 streams)", "idle", ("memory", "pss_bytes_per_stream"), KIB, 2),
    Row("CPU with 15,000 idle streams, % of a core", "idle", ("server", "cpus"), PERCENT, 2),
    Row("3,000 clients connect at once and get 100 events: CPU per client, µs", "storm", CPU, digits=0),
    *(Row(f"publishes/s in memory, {n} connection{'s' if n > 1 else ''}", f"publish-{n}", RATE, digits=0) for n in (1, 16, 64)),
    Row("CPU per publish in memory, µs, 16 connections", "publish-16", CPU),
    *(Row(f"publishes/s on Redis, {n} connection{'s' if n > 1 else ''}", f"publish-redis-{n}", RATE, digits=0) for n in (1, 16, 64)),
    Row("Redis CPU per publish, µs, 64 connections", "publish-redis-64", ("redis", "us_per_unit")),
    Row("CPU of a further node per event, µs: 1 subscriber there, 300 events/s", "second-node-300", CPU, digits=0),
    Row("the same, 3,000 events/s", "second-node-3000", CPU, digits=0),
    Row("CPU of a further node per delivery, µs: 1,000 subscribers there", "second-node-1000x40", CPU),
]
README_ROWS = [
    Row("CPU per delivery, 1,000 subscribers, µs", "fanout-1000", CPU),
    Row("CPU per delivery, 15,000 subscribers, µs", "fanout-15000", CPU),
    Row("CPU per delivery, 5,000 pipelines of 3 subscribers, µs", "fanout-5000x3", CPU, digits=0),
    Row("Deliveries/s at saturation, 1,000 subscribers, millions", "saturate-1000", ("delivered", "deliveries_per_second"), MILLION, 2),
    Row("Process memory per idle stream, KiB", "idle", ("memory", "pss_bytes_per_stream"), KIB, 1),
    Row("Publishes/s on Redis, 64 connections", "publish-redis-64", RATE, digits=0),
]
OTHER_ROWS = [
    Row("memory of the process per idle stream, KiB (PSS, 15,000 streams)", "idle", ("memory", "pss_bytes_per_stream"), KIB, 2),
    Row("CPU with 15,000 idle streams, % of a core", "idle", ("server", "cpus"), PERCENT, 2),
    Row("deliveries/s, 1,000 subscribers, 16 publishers", "saturate-1000", ("delivered", "deliveries_per_second"), digits=0),
    Row("deliveries missing in that run, all rounds", "saturate-1000", ("delivered", "lost"), digits=0, total=True),
    Row("3,000 clients at once, 100 events of 200 bytes: seconds until all are served", "storm", ("replay", "seconds"), digits=2),
    Row("the same, CPU per client, µs", "storm", CPU, digits=0),
    *(Row(f"publishes/s, embedded store, {n} connection{'s' if n > 1 else ''}", f"publish-{n}", RATE, digits=0) for n in (1, 16, 64)),
    Row("CPU per publish, embedded store, 16 connections, µs", "publish-16", CPU),
    *(Row(f"publishes/s on Redis, {n} connection{'s' if n > 1 else ''}", f"publish-redis-{n}", RATE, digits=0) for n in (1, 16, 64)),
    Row("p99 of a publish on Redis, 16 connections, ms", "publish-redis-16", ("published", "latency", "p99_us"), MS),
    Row("Redis CPU per publish, 64 connections, µs", "publish-redis-64", ("redis", "us_per_unit")),
    Row("events/s on Redis, 100 per request", "publish-redis-100", ("published", "events_per_second"), digits=0),
    Row("99,000 deliveries/s to 1,000 subscribers: p50 from publish to subscriber, ms", "half-1000", ("delivered", "latency", "p50_us"), MS),
]


def setting(results):
    lines, versions = results["lines"], results["versions"]
    dates = sorted({run["date"] for sides in lines.values() for runs in sides.values() for run in runs})
    rounds = min(len(runs) for sides in (lines[name] for name in FANOUT if name in lines) for runs in sides.values())
    return (
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {versions['cpus']} cores, Linux {versions['kernel']}. {versions['pipecast'].replace('pipecast', 'Pipecast')}, "
        f"{versions['nginx'].removeprefix('nginx version: ')} with Nchan {versions['nchan'].split(':')[-1]}, Mercure {versions['mercure']}, Centrifugo {versions['centrifugo']}, "
        f"{' '.join(versions['redis'].split()[:3]).replace('server v=', '')}. {'One round' if rounds == 1 else f'Median of {rounds} rounds'}. {results.get('note') or ''}".strip()
    )


def waiting(results, prefixes):
    """Shares of a run for which the load generator was ready and had no CPU: median and worst."""
    shares = [run["bench"]["queued"] for name, sides in results["lines"].items() if name.startswith(prefixes) for runs in sides.values() for run in runs if "bench" in run]
    return f"{statistics.median(shares):.0%} of a run (median; worst run {max(shares):.0%})"


def noise(results):
    """What others on the machine took, and so how far the figures can be trusted."""
    stolen = [run["stolen"] for sides in results["lines"].values() for runs in sides.values() for run in runs if "stolen" in run]
    return (
        f"In rows with a fixed rate of events, the load generator waited for its CPU during {waiting(results, ('fanout', 'half'))}. In rows that measure a maximum it waited during "
        f"{waiting(results, ('saturate', 'publish'))}, so their rates are too low for every side. The hypervisor withheld {statistics.median(stolen):.1%} of the machine's time (median; worst run {max(stolen):.1%})."
    )


def fanout_table(results):
    lines = results["lines"]
    shown = ("floor", "pipecast", "hyper", "nchan")
    rows = []
    for name, label in FANOUT.items():
        sides = lines.get(name)
        if not sides:
            continue
        ours, both = sides["pipecast"], (sides["pipecast"], sides["nchan"])
        lag = "too noisy" if widest_spread(both, P99) > NOISY else " / ".join(show(median(runs, *P99) / 1000) for runs in both)
        rows.append([
            label, *(show(median(sides.get(side, []), *CPU)) for side in shown), *(show(ratio(ours, sides[side], CPU), 2, "x") for side in ("floor", "nchan")),
            f"{widest_spread([sides.get(side, []) for side in shown], CPU):.0%}", lag, str(faults(ours)),
        ])
    head = ["CPU per delivery, µs", *(SIDES[side] for side in shown), "Pipecast : floor", "Pipecast : Nchan", "spread", "p99 to subscriber, ms, Pipecast / Nchan", "lost, duplicated, reordered"]
    return table(head, rows)


def memory_table(results):
    lines = results["lines"].get("over", {})
    rows = [[label, show(median(runs, "memory", "pss_bytes_per_stream") / 1024, 2)] for label, runs in lines.items()]
    return table(["5,000 idle streams over", "memory of the process per stream, KiB"], rows)


def compression_table(results):
    runs = results["lines"].get("compression", {}).get("pipecast", [])
    rows = []
    for sizes in zip(*(run["sizes"] for run in runs)):
        cell = {name: statistics.median(size[name] for size in sizes) for name in sizes[0]}
        rows.append([show(cell[name], 0) for name in ("payload_bytes", "wire_bytes", "compressed_bytes")] + [show(cell["share"], 0, " %"), show(cell["us"], 0)])
    return table(["payload, bytes", "on the wire, bytes", "compressed, bytes", "share", "µs to compress"], rows)


def sentences(results):
    """Results without a column in the tables."""
    lines = results["lines"]
    if "redis-benchmark" in lines.get("publish-redis-100", {}):
        ours, theirs = (median(lines["publish-redis-100"][side], "published", "events_per_second") for side in ("pipecast", "redis-benchmark"))
        yield f"- With the same script and 100 events per call, pipelined, `redis-benchmark` reaches {theirs:,.0f} events/s. Pipecast reaches {ours:,.0f}, which is {ours / theirs:.0%}."
    if "idle" in lines and "floor" in lines.get("fanout-15000", {}):
        ours = median(lines["idle"]["pipecast"], "server", "cpus")
        floor = median(lines["fanout-15000"]["floor"], *CPU) * 1e-6 * 15_000 / 15
        yield f"- At the floor's cost per write, the 1,000 keepalives per second of 15,000 idle streams would take {floor:.2%} of a core. Pipecast uses {ours / floor:.2f} times that."
    if "access" in lines:
        rate = {kind: median(runs, *RATE) for kind, runs in lines["access"].items()}
        shares = ", ".join(f"{rate[kind] / rate['open']:.0%} with {label}" for kind, label in (("key", "a static key"), ("HS256", "an HS256 token"), ("ES256", "an ES256 token")))
        yield f"- Checking access costs publishers time: of {rate['open']:,.0f} publishes/s with open access (embedded store, 32 connections) there remain {shares}."
    if "threads" in lines:
        one, two = (median(lines["threads"][threads], "delivered", "last_reader", "p50_us") / 1000 for threads in ("1", "2"))
        yield f"- The last of 2,000 subscribers receives an event after {one:.1f} ms (p50) with one fan-out thread and after {two:.1f} ms with two. Here server and load generator share both cores."
    if "nodes" in lines:
        cost = ", ".join(f"{median(runs, 'server', 'cpus') / 500 * 1e6:.0f}" for runs in lines["nodes"].values())
        lag = ", ".join(f"{median(runs, 'delivered', 'last_reader', 'p50_us') / 1000:.1f}" for runs in lines["nodes"].values())
        lost = sum(faults(runs) for runs in lines["nodes"].values())
        yield (
            f"- With {', '.join(lines['nodes'])} nodes on one Redis, an event costs Redis {cost} µs of CPU, and the last subscriber receives it after {lag} ms (p50). "
            f"All nodes share one core, and 500 events/s go to 1,000 subscribers of 10 pipelines. Lost, duplicated or reordered: {lost}."
        )


CURVES = {"readers": "subscribers of one pipeline", "pipelines": "pipelines that 19,000 subscribers are spread over", "payload": "bytes of payload, 1,000 subscribers"}


def growth_tables(results):
    for curve, label in CURVES.items():
        if curve not in results:
            continue
        rows = []
        for point, sides in results[curve].items():
            cost = {side: median(runs, *CPU) for side, runs in sides.items()}
            rows.append([f"{int(point):,}", *(show(cost.get(side)) for side in ("floor", "pipecast", "nchan")), show(cost["pipecast"] / cost["floor"], 2, "x"), str(faults(sides["pipecast"]))])
        yield table([f"CPU per delivery, µs, by {label}", "floor", "Pipecast", "Nchan", "Pipecast : floor", "lost, duplicated, reordered"], rows)


def parts(results):
    """The generated parts, by name."""
    lines = results["lines"]
    return {
        "setting": setting(results),
        "noise": noise(results),
        "numbers": row_table(README_ROWS, lines, ["pipecast", "nchan", "mercure", "centrifugo"], with_spread=False),
        "peers": row_table(PEER_ROWS, lines, ["floor", "pipecast", "nchan", "mercure", "centrifugo"]),
        "fan-out": fanout_table(results),
        "others": row_table(OTHER_ROWS, lines, ["pipecast", "hyper", "nchan"]),
        "memory": memory_table(results),
        "compression": compression_table(results),
        "sentences": "\n".join(sentences(results)),
        "growth": "\n\n".join(growth_tables(results)),
    }


def filled(text, generated):
    """The text of a page with its generated parts made again."""
    return GENERATED.sub(lambda found: f"{found[1]}\n{generated[found[2]]}\n\n{found[3]}" if found[2] in generated else found[0], text)


def chart(lines, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = [(label, lines[name]) for name, label in FANOUT.items() if name in lines]
    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    highest = 0
    for offset, side in enumerate(SIDES):
        heights = [median(sides.get(side, []), *CPU) or 0 for _, sides in rows]
        axes.bar([x + 0.14 * offset for x in range(len(rows))], heights, 0.13, label=SIDES[side], color=COLORS[side])
        highest = max([highest, *(height for height in heights if side != "mercure")])
    axes.set_xticks([x + 0.35 for x in range(len(rows))], [label.replace(", ", "\n") for label, _ in rows])
    axes.set_ylabel("CPU per delivery, µs")
    # Mercure's many small pipelines cost many times as much: the others must stay readable.
    axes.set_ylim(0, highest * 1.1)
    axes.legend(frameon=False, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


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
            axes.plot(*zip(*points), marker="o", markersize=3, label=SIDES[side], color=COLORS[side])
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a page is out of date")
    is_check = parser.parse_args().check
    results = json.loads((ROOT / "bench/results/latest.json").read_text())
    generated = parts(results)
    stale = [page for page in PAGES if (ROOT / page).read_text() != filled((ROOT / page).read_text(), generated)]
    if is_check:
        sys.exit(f"out of date, run bench/tables.py: {', '.join(stale)}" if stale else 0)
    for page in stale:
        (ROOT / page).write_text(filled((ROOT / page).read_text(), generated))
    chart(results["lines"], ROOT / "docs/images/fanout.svg")
    if all(curve in results for curve in CURVES):
        growth_chart(results, ROOT / "docs/images/growth.svg")


if __name__ == "__main__":
    main()
