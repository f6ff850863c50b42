"""A CPU limit for single processes, with a separate cgroup for each."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 5000


@contextmanager
def limited(pids: Iterable[int], share: float) -> Iterator[bool]:
    """Each process gets at most this share of a core; False: that cannot be had here."""
    with ExitStack() as stack:
        try:
            for pid in pids:
                stack.enter_context(_limited(pid, round(PERIOD_US * share)))
        except OSError:  # not root, or in a container
            yield False
        else:
            yield True


@contextmanager
def _limited(pid: int, quota_us: int) -> Iterator[None]:
    old = (CGROUPS / "cpu").is_dir()  # version 1, where each controller has a tree
    root = CGROUPS / "cpu" if old else CGROUPS
    place = root / f"fastdns-bench-{os.getpid()}-{pid}"
    place.mkdir()
    try:
        if old:
            (place / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (place / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (place / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        (place / "cgroup.procs").write_text(str(pid))
        yield
    finally:  # to the root: it is ended soon
        for left in (place / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(left)
        place.rmdir()
