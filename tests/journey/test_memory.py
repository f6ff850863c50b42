"""The memory of a daemon: all its processes together, shared pages counted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .support.daemon import Fastdns

Start = Callable[..., Fastdns]

MOST_MIB = 40.0  # freshly started, one worker; DNS answers come on top


def kib(pid: int, what: str) -> int:
    """Return a sum over all that a process has mapped, as the kernel counts it."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{what}:"))


def test_daemon_that_has_just_started_takes_little_memory(start_fastdns: Start) -> None:
    daemon = start_fastdns(workers=1, is_forked=False)
    assert daemon.standby
    pids = daemon.process_ids()
    assert len(pids) == 4
    assert sum(kib(pid, "Pss") for pid in pids) / 1024 <= MOST_MIB


def test_standby_shares_its_memory_with_the_supervisor(start_fastdns: Start) -> None:
    """It is forked when the supervisor has done what a start takes, and does nothing itself."""
    daemon = start_fastdns(workers=1, is_forked=False)
    for pid in (daemon.standby, daemon.pid):
        assert kib(pid, "Private_Dirty") < kib(pid, "Anonymous") // 7
