"""Fixtures of all journeys: peers are shared; a test that changes one starts its own."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .support import leftovers
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream, answer_private
from .support.nsd import Nsd
from .support.stock import SOA, entry, fill
from .support.zones import ZONES

# Whoever runs the tests in the background may have had SIGINT ignored, and what is started here
# would inherit that: with a handler of Python's it gets the default back.
signal.signal(signal.SIGINT, signal.default_int_handler)


class OpenDirectories:
    """Stands in for pytest's factory, whose directories are closed to whom root becomes."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mktemp(self, basename: str) -> Path:
        directory = Path(tempfile.mkdtemp(prefix=f"{basename}-", dir=self.place))
        directory.chmod(0o755)
        return directory


@pytest.fixture(scope="session")
def tmp_path_factory() -> Iterator[OpenDirectories]:
    with tempfile.TemporaryDirectory(prefix="fastdns-test-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)
        leftovers.made(Path(place))
        yield OpenDirectories(Path(place))


@pytest.fixture
def tmp_path(tmp_path_factory: OpenDirectories) -> Path:
    return tmp_path_factory.mktemp("test")


@pytest.fixture(scope="session")
def nsd(tmp_path_factory: OpenDirectories) -> Iterator[Nsd]:
    """nsd with the zones of support/zones.py."""
    with Nsd(tmp_path_factory.mktemp("nsd"), ZONES) as server:
        yield server


@pytest.fixture(scope="session")
def fastdns(tmp_path_factory: OpenDirectories, nsd: Nsd) -> Iterator[Fastdns]:
    """One fastdns in front of nsd for all tests that only ask."""
    with Fastdns(tmp_path_factory.mktemp("fastdns") / "state", upstream=[nsd]) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def upstream() -> Iterator[FalseUpstream]:
    """The module's false upstream; tests share it by names of their own (`upstream.new_name`)."""
    with FalseUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def forwarder(tmp_path_factory: OpenDirectories, upstream: FalseUpstream) -> Iterator[Fastdns]:
    """The module's fastdns in front of its false upstream, with the default configuration."""
    with Fastdns(tmp_path_factory.mktemp("forwarder") / "state", upstream=[upstream]) as daemon:
        yield daemon


@pytest.fixture
def default() -> Iterator[FalseUpstream]:
    """The upstream of all names but those of a group, for one test."""
    with FalseUpstream() as upstream:
        yield upstream


@pytest.fixture
def corp() -> Iterator[FalseUpstream]:
    """The upstream of a group."""
    with FalseUpstream(answer_private) as upstream:
        yield upstream


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


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of a daemon that was stopped, with seven entries, some of them not fresh."""
    directory = tmp_path / "state"
    fill(
        directory,
        [
            entry("example", "SOA", f"{SOA} 60", ttl=3600, age=10),
            entry("www.example", "A", "192.0.2.1", "192.0.2.2", ttl=300, age=100, hits=7),
            entry("www.example", "AAAA", "2001:db8::1", ttl=60, age=100, hits=2),
            entry("mail.example", "MX", "10 mx.example.", ttl=600, age=90_000),
            entry("gone.example", "A", ttl=60, age=5, rcode="NXDOMAIN", hits=40),
            entry("notexample", "A", "192.0.2.3", ttl=900, age=1),
            entry("www.show", "TXT", '"one" "two"', ttl=120, age=20),
        ],
    )
    return directory


@pytest.fixture
def hung(state: Path) -> Iterator[Path]:
    """The directory of a daemon that runs, by its lock, and does not answer."""
    with (state / "lock").open("w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield state


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the ends of the logs of all daemons that were running."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in Fastdns.running:
            report.sections.append((f"log of fastdns {daemon.pid}", daemon.tail()))
