"""How the tests run: in parallel, with a last line that says how long it took."""

from __future__ import annotations

import os
import time

import pytest

BEGAN = time.monotonic()
WORKERS_MAX = 16  # each of them collects all tests


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Most tests wait most of the time: it takes three of them to keep a core busy."""
    return min(3 * len(os.sched_getaffinity(0)), WORKERS_MAX)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say how long it took, and what root would see that was left out."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    of = {name: reporter.stats.get(name, []) for name in ("passed", "failed", "skipped")}
    count = sum(map(len, of.values()))
    if not count:
        return
    line = f"{count:,} tests in {time.monotonic() - BEGAN:.0f} s"
    if os.geteuid() == 0:
        line += ", as root"
    elif left_out := sum(" root" in str(report.longrepr) for report in of["skipped"]):
        line += f"; root runs {left_out} more (port 53, namespaces, other users): sudo make test"
    reporter.write_line(line)
