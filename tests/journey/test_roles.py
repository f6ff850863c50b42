"""Any kind of process beside keeper and workers: one mechanism starts, replaces and ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import third_role
from .support.client import ask, data, eventually
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream


@pytest.fixture
def daemon(tmp_path: Path, upstream: FalseUpstream) -> Iterator[Fastdns]:
    daemon = Fastdns(tmp_path / "state", upstream=[upstream], config="workers = 1", workers=None)
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [third_role.__file__]
    with daemon:
        yield daemon


def idle(daemon: Fastdns) -> list[int]:
    return daemon.processes("fastdns-idle")


def test_role_is_started_with_the_daemon_and_ends_with_it(daemon: Fastdns) -> None:
    (started,) = idle(daemon)
    daemon.stop()
    assert not Path(f"/proc/{started}").exists()


def test_process_that_dies_is_replaced_and_answers_go_on(
    daemon: Fastdns, upstream: FalseUpstream
) -> None:
    (dead,) = idle(daemon)
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: idle(daemon), lambda now: len(now) == 1 and now != [dead])
    daemon.wait_for_log(rf"the idle \(pid {dead}\) ended by SIGKILL; another one takes over")
    daemon.wait_for_log(r"idle \(pid \d+\) serves in its place")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_reload_replaces_it_when_it_was_forked_with_other_settings_only(daemon: Fastdns) -> None:
    first, keeper = idle(daemon), daemon.keeper
    assert daemon.reload().returncode == 0
    assert (idle(daemon), daemon.keeper) == (first, keeper)
    daemon.configure('log_level = "debug"')
    assert daemon.reload().returncode == 0
    (second,) = eventually(lambda: idle(daemon), lambda now: now != first)
    assert not Path(f"/proc/{first[0]}").exists()
    assert second not in first


def test_reload_starts_and_ends_as_many_as_its_settings_want(daemon: Fastdns) -> None:
    first = idle(daemon)
    daemon.configure("workers = 2")
    assert daemon.reload().returncode == 0
    both = eventually(lambda: idle(daemon), lambda now: len(now) == 2)
    assert first[0] in both
    daemon.configure("workers = 1")
    assert daemon.reload().returncode == 0
    assert eventually(lambda: idle(daemon), lambda now: len(now) == 1) == first


def test_one_that_does_not_end_is_killed_at_a_stop(daemon: Fastdns) -> None:
    (hung,) = idle(daemon)
    os.kill(hung, signal.SIGSTOP)
    daemon.stop()
    assert not Path(f"/proc/{hung}").exists()
    daemon.wait_for_log(rf"the idle \(pid {hung}\) takes too long to end and is killed")
