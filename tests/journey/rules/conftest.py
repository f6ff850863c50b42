"""One upstream, for which each test starts a daemon with rules of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream

Start = Callable[[str], Fastdns]


@pytest.fixture
def upstream() -> Iterator[FalseUpstream]:
    with FalseUpstream() as server:
        yield server


@pytest.fixture
def start(start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream) -> Start:
    """Start a daemon with this configuration in front of the upstream."""
    return lambda config: start_fastdns(upstream=[upstream], config=config)
