"""Scenario "keeper": the cost of the disk cache's one writer, for itself and for hits beside it."""

import random
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from processes import BenchmarkError
from session import WARM_SECONDS
from stock import Daemon, Stock, Stocks, stored_name, write_names

NEW_NAMES = 50_000  # or as many as there are entries
COMMITTED = 10_000
PAIRS = 3
SECONDS = 1.0  # at a rate; the commit begins after a quarter


def measure(stocks: Stocks, scratch: Path) -> dict[str, Any]:
    """New names all over a database that holds many entries already."""
    stock = stocks.many.copy(scratch / "copy")
    with stock.serve() as daemon:
        daemon.session.warm()
        daemon.wait_until_idle()
        return {"new": ask_new_names(daemon, scratch), "commit": beside_hits(daemon, scratch)}


def new_names(stock: Stock, count: int) -> list[str]:
    """Return names that were never asked and whose keys lie between those of the stock."""
    mark = random.randrange(1 << 40)
    numbers = (random.randrange(stock.entries) for _ in range(count))
    return [f"{mark:x}-{i}." + stored_name(number) for i, number in enumerate(numbers)]


def ask_new_names(daemon: Daemon, scratch: Path) -> dict[str, Any]:
    """Return the keeper's CPU for each entry that it wrote."""
    count = min(NEW_NAMES, daemon.stock.entries)
    daemon.take_in()
    totals, cpu = daemon.totals(), daemon.cpu_by_role()
    for portion in range(0, count, COMMITTED):  # that a ring holds: misses are faster than a disk
        names = new_names(daemon.stock, min(COMMITTED, count - portion))
        daemon.session.load(WARM_SECONDS, *write_names(scratch / "new", names))
        daemon.take_in()
    now_cpu, now_totals = daemon.cpu_by_role(), daemon.totals()
    written = now_totals["disk_writes_total"] - totals["disk_writes_total"]
    if written < count / 2:
        raise BenchmarkError(f"{written} of {count} new answers were written")
    seconds = now_cpu["keeper"] - cpu["keeper"]
    return {
        "answers": count,
        "shed": now_totals["ring_shed_total"] - totals["ring_shed_total"],
        "written": written,
        "commits": now_totals["disk_commits_total"] - totals["disk_commits_total"],
        "cpu_seconds": seconds,
        "cpu_us": seconds / written * 1e6,
    }


def beside_hits(daemon: Daemon, scratch: Path) -> dict[str, Any]:
    """Return the p99 of hits at the rate with nothing to commit and with one commit in it."""
    rate = ["--rate", str(daemon.session.settings.rate), *daemon.session.names()]
    pairs = []
    for _ in range(PAIRS):
        daemon.take_in()
        quiet = daemon.session.load(SECONDS, *rate)
        daemon.take_in()
        names = new_names(daemon.stock, COMMITTED)
        daemon.session.load(WARM_SECONDS, *write_names(scratch / "new", names))
        written = daemon.totals()["disk_writes_total"]
        took: list[float] = []
        commit = threading.Thread(target=lambda: took.append(commit_soon(daemon)))  # noqa: B023
        commit.start()
        busy = daemon.session.load(SECONDS, *rate)
        commit.join()
        if not took:
            raise BenchmarkError("the commit failed")
        pairs.append(
            {
                "quiet_us": quiet["latency_us"],
                "busy_us": busy["latency_us"],
                "commit_seconds": took[0],
                "written": daemon.totals()["disk_writes_total"] - written,
                "more_us": busy["latency_us"]["p99"] - quiet["latency_us"]["p99"],
            }
        )
    return {
        "pairs": pairs,
        "commit_seconds": median(pair["commit_seconds"] for pair in pairs),
        "quiet_us": median(pair["quiet_us"]["p99"] for pair in pairs),
        "busy_us": median(pair["busy_us"]["p99"] for pair in pairs),
        "more_us": median(pair["more_us"] for pair in pairs),
    }


def commit_soon(daemon: Daemon) -> float:
    time.sleep(SECONDS / 4)
    return daemon.take_in()
