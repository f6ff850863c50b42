"""Plots of a run: `plots.py RESULT.json` draws again what run.py has drawn."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from textwrap import shorten
from typing import Any

import report

COLOURS = {"fastdns": "#c8102e", "floor": "#9a9a9a"}
OTHERS = "#4a7fb5"
Axes = Any
Result = dict[str, Any]


def draw(result: Result, stem: Path) -> str:
    """Write the plots beside `stem`, as SVG; return a line: which, or why there are none."""
    try:
        import matplotlib  # noqa: PLC0415, a benchmark without plots is one all the same
    except ModuleNotFoundError:
        return "no plots: matplotlib is not installed (pip install matplotlib)"
    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    matplotlib.rcParams["svg.hashsalt"] = "fastdns"
    from matplotlib import pyplot  # noqa: PLC0415

    written = []
    for name, (title, plot) in PLOTS.items():
        figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
        if plot(axes, result):
            axes.set_title(title)
            axes.spines[["top", "right"]].set_visible(False)
            figure.supxlabel(caption(result), fontsize=7, color="#666666")
            path = stem.with_name(f"{stem.name}-{name}.svg")
            figure.savefig(path, metadata={"Date": None})
            written.append(path.name)
        pyplot.close(figure)
    return f"plots: {', '.join(written)}" if written else "no plots: nothing of theirs was measured"


def caption(result: Result) -> str:
    machine, rounds = result["machine"], len(result["rounds"])
    return (
        f"{shorten(result['command'], 100)} · {result['date']} · medians of {rounds} rounds, least "
        f"and most\n{machine['cpu']}, {machine['cpus']} cores, {machine['kernel']}"
    )


def bars_of(path: str, unit: str) -> Callable[[Axes, Result], bool]:
    """Return a plot of one figure of each server, the best on top."""

    def plot(axes: Axes, result: Result) -> bool:
        rounds = result["rounds"]
        found = {server: report.figures(rounds, server, path) for server in result["versions"]}
        measured = {server: numbers for server, numbers in found.items() if numbers}
        order = sorted(measured, key=lambda server: median(measured[server]))
        if unit.startswith("queries"):
            order.reverse()
        for row, server in enumerate(reversed(order)):
            numbers = measured[server]
            middle = median(numbers)
            spread = [[middle - min(numbers)], [max(numbers) - middle]]
            colour = COLOURS.get(server, OTHERS)
            axes.barh(row, middle, xerr=spread, color=colour, ecolor="#333333", height=0.7)
            axes.text(
                max(numbers),
                row,
                f"  {middle:,.3g}" if middle < 1000 else f"  {middle:,.0f}",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(order)), list(reversed(order)))
        axes.set_xlabel(unit)
        axes.margins(x=0.15)
        slowest, typical = (
            (f([median(n) for n in measured.values()]) for f in (max, median))
            if measured
            else (0, 1)
        )
        if slowest > 10 * typical:
            axes.set_xscale("log")
        return bool(measured)

    return plot


def latencies(axes: Axes, result: Result) -> bool:
    """Plot the 99th percentile over the rate, both as logarithms."""
    drawn = False
    for server in result["versions"]:
        rates, middles = [], []
        for rate in result["settings"]["rates"]:
            path = f"latency/{rate}/latency_us/p99"
            if numbers := report.figures(result["rounds"], server, path):
                rates.append(rate)
                middles.append(median(numbers))
        if rates:
            style: dict[str, Any] = {"linewidth": 2.5, "zorder": 3} if server in COLOURS else {}
            axes.plot(rates, middles, "o-", label=server, color=COLOURS.get(server), **style)
            drawn = True
    if drawn:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(result["settings"]["rates"])
        axes.set_xticklabels([f"{rate:,}" for rate in result["settings"]["rates"]])
        axes.minorticks_off()
        axes.set_xlabel("queries a second")
        axes.set_ylabel("99th percentile, µs")
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return drawn


CPU, QPS = "CPU µs a query", "queries a second on one core"
PLOTS: dict[str, tuple[str, Callable[[Axes, Result], bool]]] = {
    "hits": ("Hits: what a query costs", bars_of("hits/cpu_us", CPU)),
    "million": ("Hits among a million names", bars_of("million/cpu_us", CPU)),
    "miss": ("Misses: what a query costs", bars_of("miss/cpu_us", CPU)),
    "mixed": ("Nine hits and one new name", bars_of("mixed/qps", QPS)),
    "tcp": ("Hits over TCP", bars_of("tcp/8x16/qps", QPS)),
    "latency": ("Hits at fixed rates", latencies),
}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(draw(json.loads(Path(argument).read_text()), Path(argument).with_suffix("")))
