"""Scenario "browse": `fastdns cache ls`, alone and while hits are served."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from processes import BenchmarkError, pinned
from session import WARM_SECONDS
from stock import Stocks

TIMES = 3
LISTING_SECONDS = 8.0  # about what a million entries take: more than its start is to be seen
LOOK = ("cache", "ls", "--limit", "10")
ANY_CORE = f"0-{(os.cpu_count() or 1) - 1}"  # the kernel finds it a place, as it does for a user's


@contextmanager
def _idler() -> Iterator[None]:
    """Beside this, a process as patient as `cache ls` only counts: the machine's own share."""
    process = subprocess.Popen(
        pinned(ANY_CORE, ["chrt", "--idle", "0", sys.executable, "-c", "while True: pass"])
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(stocks: Stocks, scratch: Path) -> dict[str, Any]:
    """A list of ten entries, with the daemon stopped and running; then of all, under load.

    Commits continue each second, because the hits are counted on disk.
    """
    stock = stocks.many.copy(scratch / "copy")
    settings = stock.settings
    stopped = [stock.time_command(settings.load_core, *LOOK) for _ in range(TIMES)]
    with stock.serve(commit_interval="1s") as daemon:
        daemon.session.warm()
        daemon.wait_until_idle()
        running = [stock.time_command(settings.load_core, *LOOK) for _ in range(TIMES)]
        rate = ["--rate", str(settings.rate), *daemon.session.names()]
        seconds = max(daemon.session.seconds, LISTING_SECONDS * stock.entries / 1_000_000)
        daemon.session.load(2.0, *rate)  # until pages that commits free are used again
        quiet = daemon.session.load(seconds, *rate)
        with _idler():
            idler = daemon.session.load(seconds, *rate)
        before, commits = stock.last_page(), daemon.totals()["disk_commits_total"]
        began = time.monotonic()
        listing = stock.command(ANY_CORE, "cache", "ls")
        busy = daemon.session.load(seconds, *rate)
        ended_under_load = listing.poll() is not None
        _, errors = listing.communicate(timeout=WARM_SECONDS * 10)
        took = time.monotonic() - began
        if listing.returncode:
            raise BenchmarkError(f"fastdns cache ls: {errors.decode().strip()}")
        after, now_commits = stock.last_page(), daemon.totals()["disk_commits_total"]
    return {
        "limited_ms": median(running) * 1000,
        "limited_stopped_ms": median(stopped) * 1000,
        "all_seconds": took,
        "ended_under_load": ended_under_load,
        "commits": now_commits - commits,
        "quiet_us": quiet["latency_us"],
        "idler_us": idler["latency_us"],
        "idler_more_us": idler["latency_us"]["p99"] - quiet["latency_us"]["p99"],
        "busy_us": busy["latency_us"],
        "more_us": busy["latency_us"]["p99"] - quiet["latency_us"]["p99"],
        "last_page_before": before,
        "last_page_after": after,
        "growth": after / before,
    }
