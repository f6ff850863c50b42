"""Scenario "disk hits": names that are not in memory yet, then the same names from memory."""

import random
from pathlib import Path
from typing import Any

from session import WARM_SECONDS
from stock import Daemon, Stocks, stored_name, write_names

MOST_NAMES = 300_000  # fit into cache.memory


def measure(stocks: Stocks, scratch: Path) -> dict[str, Any]:
    """Return what a hit costs either way, in CPU of all processes but the keeper."""
    stock = stocks.many
    count = min(MOST_NAMES, stock.entries)
    names = [stored_name(number) for number in random.sample(range(stock.entries), count)]
    options = write_names(scratch / "names", names)
    with stock.serve() as daemon:
        daemon.wait_until_it_answers(names[0])
        daemon.wait_until_idle()
        first = one_pass(daemon, options)
        second = one_pass(daemon, options)
    memory_us = second["cpu_us"]
    disk_hits = first["disk_hits"]
    # Some names may have been brought into memory after the start.
    spent = first["cpu_seconds"] - (count - disk_hits) * memory_us / 1e6
    disk_us = spent / disk_hits * 1e6 if disk_hits > count / 2 else None
    return {
        "names": count,
        "first": first,
        "second": second,
        "disk_us": disk_us,
        "memory_us": memory_us,
        "more_us": None if disk_us is None else disk_us - memory_us,
    }


def one_pass(daemon: Daemon, options: list[str]) -> dict[str, Any]:
    """Ask every name once."""
    totals, cpu = daemon.totals(), daemon.cpu_by_role()
    result = daemon.session.load(WARM_SECONDS, *options)
    now_cpu, now_totals = daemon.cpu_by_role(), daemon.totals()
    result["cpu_seconds"] = now_cpu["others"] - cpu["others"]
    result["keeper_seconds"] = now_cpu["keeper"] - cpu["keeper"]
    result["cpu_us"] = result["cpu_seconds"] / result["answered"] * 1e6
    result["disk_hits"] = now_totals["disk_hits_total"] - totals["disk_hits_total"]
    return result
