"""A daemon and its disk, for all failures of the disk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..support.cache import Disk
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream
from ..test_keeper import SELDOM, names
from .damage import Again, Start


@pytest.fixture
def start(start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream) -> Start:
    """Start a daemon with this configuration; return it and its disk."""

    def start(config: str) -> tuple[Fastdns, Disk]:
        daemon = start_fastdns(upstream=[upstream], config=config)
        return daemon, Disk(daemon)

    return start


@pytest.fixture
def start_filled(start: Start) -> Start:
    """Start a daemon as `start` does, and have names(2000) on its disk."""

    def start_filled(config: str) -> tuple[Fastdns, Disk]:
        daemon, disk = start(config)
        disk.put(*names(2000))
        assert disk.take_in()
        return daemon, disk

    return start_filled


@pytest.fixture
def disk(start_filled: Start) -> Disk:
    """The disk, with names(2000) on it, of a daemon that was stopped."""
    daemon, disk = start_filled(SELDOM)
    daemon.stop()
    return disk


@pytest.fixture
def again(disk: Disk, upstream: FalseUpstream) -> Again:
    """That daemon (of the fixture `disk`) once more, to be entered in a `with` block."""

    def again(config: str = SELDOM) -> Fastdns:
        return Fastdns(disk.place.parent, upstream=[upstream], config=config)

    return again
