"""Fixtures of all journeys: peers are shared; a test that changes one starts its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.nsd import Nsd
from .support.zones import ZONES


@pytest.fixture(scope="session")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    """nsd with the zones of support/zones.py."""
    with Nsd(tmp_path_factory.mktemp("nsd"), ZONES) as server:
        yield server


@pytest.fixture(scope="session")
def fastdns(tmp_path_factory: pytest.TempPathFactory, nsd: Nsd) -> Iterator[Fastdns]:
    """One fastdns in front of nsd for all tests that only ask."""
    with Fastdns(tmp_path_factory.mktemp("fastdns"), upstream=[nsd]) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def upstream() -> Iterator[FalseUpstream]:
    """The module's false upstream; tests share it by names of their own (`upstream.new_name`)."""
    with FalseUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def forwarder(
    tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream
) -> Iterator[Fastdns]:
    """The module's fastdns in front of its false upstream, with the default configuration."""
    with Fastdns(tmp_path_factory.mktemp("forwarder"), upstream=[upstream]) as daemon:
        yield daemon


@pytest.fixture
def start_fastdns(tmp_path: Path) -> Iterator[Callable[..., Fastdns]]:
    """Start daemons for one test, by the keywords of Fastdns; after it stopped and judged."""
    numbers = itertools.count(1)
    started: list[Fastdns] = []

    def start(**keywords: object) -> Fastdns:
        daemon = Fastdns(tmp_path / f"state{next(numbers)}", **keywords)
        started.append(daemon.start())
        return daemon

    yield start
    running = [daemon for daemon in started if daemon in Fastdns.running]
    try:
        for daemon in running:
            daemon.stop()
    finally:
        for daemon in running:
            daemon.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the ends of the logs of all daemons that were running."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in Fastdns.running:
            report.sections.append((f"log of fastdns {daemon.pid}", daemon.tail()))
