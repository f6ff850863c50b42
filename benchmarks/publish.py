"""Put the figures of runs into docs/benchmarks.md: publish.py RESULT.json …

The runs are those of run.py and restart_under_load.py. The text between the two marks there is
replaced, with command, machine and date; the plots that run.py has drawn beside a result are shown.
"""

import json
import os
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

import plots
import report

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- benchmarks/publish.py: begin -->", "<!-- benchmarks/publish.py: end -->"
NAMES = {
    "floor": "floor: a C server that appends a fixed answer",
    "fastdns": "**fastdns**",
    "dnsdist": "dnsdist {}, packet cache, batches of 100",
    "dnsdist-1": "dnsdist {}, packet cache, one by one",
    "dnsmasq": "dnsmasq {}",
    "unbound": "unbound {}",
    "kresd": "Knot Resolver {}",
    "recursor": "PowerDNS Recursor {}",
    "smartdns": "smartdns {}",
    "baseline": "the forty-line forwarder (gevent, dnslib)",
}
SHOWN = ("hits", "miss", "mixed", "latency")
Result = dict[str, Any]


def version(text: str) -> str:
    found = re.search(r"\d+\.\d+[.\d]*|\d+(?=\+)", text)
    return found[0] if found else ""


def said(result: Result) -> str:
    """Return command, date and machine, as every number in a document has them."""
    machine = result["machine"]
    return (
        f"`{result['command']}` on {result['date'][:10]}; {machine['cpu']}, {machine['cpus']} "
        f"cores, {machine['kernel']}"
    )


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def servers(result: Result) -> list[str]:
    """Return the table of all servers: medians, and the spread of the ratio to the floor."""
    rounds, rate = result["rounds"], result["settings"]["rate"]
    columns: tuple[tuple[str, str, str, float], ...] = (
        ("CPU µs a hit", "hits/cpu_us", ".2f", 1),
        ("of a million names", "million/cpu_us", ".2f", 1),
        ("hits a second", "hits/qps", ",.0f", 1),
        ("over TCP", "tcp/qps", ",.0f", 1),
        ("over TCP", "tcp/8x16/qps", ",.0f", 1),
        ("CPU µs a miss", "miss/cpu_us", ".1f", 1),
        ("mixed, a second", "mixed/qps", ",.0f", 1),
        ("p99 µs", f"latency/{rate}/latency_us/p99", ",.0f", 1),
        ("PSS MiB", "memory/pss", ".0f", 1 / report.MIB),
    )
    shown = [
        column
        for column in columns
        if any(report.figures(rounds, server, column[1]) for server in result["versions"])
    ]
    lines = [
        row(["server", "CPU of a hit, in floors", *(column[0] for column in shown)]),
        "|---" * (len(shown) + 2) + "|",
    ]
    for server, text in result["versions"].items():
        if server not in NAMES:
            continue  # nsd
        cells = [NAMES[server].format(version(text))]
        cells.append(report.ratio_cell(rounds, "hits/cpu_us", server, "floor"))
        for _, path, form, scale in shown:
            numbers = report.figures(rounds, server, path)
            cells.append(format(median(numbers) * scale, form) if numbers else "")
        lines.append(row(cells))
    return lines


def own(result: Result) -> list[str]:
    lines = [row(["fastdns alone", "median", "least to most"]), "|---|---|---|"]
    for text, path, form in report.OWN_ROWS:
        if found := report.spread(report.figures(result["rounds"], "fastdns", path)):
            low, middle, high = (format(found[key], form) for key in ("min", "median", "max"))
            lines.append(row([text, middle, f"{low} to {high}"]))
    return lines if len(lines) > 2 else []


def restarts(result: Result) -> list[str]:
    settings = result["settings"]
    lines = [
        f"{said(result)}; {settings['rate']:,} hits a second, {settings['workers']} workers. "
        f"`net.core.rmem_max` {result['rmem_max']:,}; a socket holds "
        f"{result['queries_held_by_a_socket']:,} of these queries:",
        "",
        row(["what happened", "times", "queries", "lost", "worst answer, ms"]),
        "|---|---|---|---|---|",
    ]
    for event, found in result["events"].items():
        if "failed" in found:
            raise SystemExit(f"publish: {event} failed in that run: {found['failed']}")
        counts = (f"{found[key]:,}" for key in ("times", "queries", "lost"))
        name = {"kill": "`kill -9` of a worker"}.get(event, event)
        lines.append(row([name, *counts, f"{found['worst_ms']:.0f}"]))
    return lines


def section(path: Path) -> str:
    result = json.loads(path.read_text())
    if "events" in result:
        return "\n".join(restarts(result))
    intro = f"{said(result)}; {result['settings']['names']:,} names, medians of "
    lines = [f"{intro}{len(result['rounds'])} rounds:", ""]
    if len(result["versions"]) > 2:  # fastdns is not alone with nsd
        lines += [*servers(result), ""]
    for name in SHOWN:
        drawn = path.with_name(f"{path.stem}-{name}.svg").resolve()
        if drawn.exists():
            lines.append(f"![{plots.PLOTS[name][0]}]({os.path.relpath(drawn, PAGE.parent)})")
    return "\n".join([*lines, "", *own(result)]).strip()


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit("usage: publish.py RESULT.json …")
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"publish: {PAGE} has not the lines {BEGIN} and {END}")
    text = "\n\n".join(section(Path(name)) for name in sys.argv[1:])
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
