"""When the supervisor counts a keeper as hung: by its heartbeat and its work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from fastdns.counters import KEEPER_SLOT, Pages
from fastdns.server.children import Child
from fastdns.server.keeper import KeeperRole


@pytest.fixture
def pages() -> Pages:
    pages = Pages.create(None, 2, 0.0)
    pages.counters(KEEPER_SLOT).heartbeat()
    return pages


@pytest.fixture
def busy() -> Iterator[Child]:
    """A process that computes for ever, as far as the others of this machine let it."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        child = Child.__new__(Child)  # all that is asked of it is what /proc says of its pid
        child.pid = process.pid
        yield child
        process.kill()


def role_of(pages: Pages) -> KeeperRole:
    role = KeeperRole.__new__(KeeperRole)
    role.context = SimpleNamespace(shared=SimpleNamespace(pages=pages))
    role._shown, role._spent = (0, 0.0), 0.0
    return role


def test_keeper_that_computes_without_a_sign_of_life_is_as_old_as_the_last_one(
    pages: Pages, busy: Child
) -> None:
    role, shown_at = role_of(pages), pages.alive_at(KEEPER_SLOT)
    role.alive_at(busy)
    until = busy.cpu_seconds + 0.3
    while busy.cpu_seconds < until:
        time.sleep(0.01)
    # It may be waiting for a processor just now, but mostly it computes.
    assert min(role.alive_at(busy) for _ in range(50)) <= max(shown_at, time.monotonic() - 0.5)


def test_keeper_to_which_others_leave_no_processor_counts_as_alive(
    pages: Pages, busy: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = role_of(pages)
    monkeypatch.setattr(Child, "cpu_seconds", 7.0)  # it gets no further
    role.alive_at(busy)
    time.sleep(0.3)
    assert time.monotonic() - role.alive_at(busy) < 0.2
