"""`fastdns cache rm`, `flush` and `refresh`: what they change on disk and tell the daemon."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fastdns import _control
from fastdns._control import Control

from .support.commands import cache, listed, names, on_terminal
from .support.stock import entry, fill

# ---- rm and flush


def test_rm_removes_only_what_it_names(state: Path) -> None:
    fill(state, [entry("www.example", "A", "192.0.2.1", do=True)])
    fill(state, [entry("a.www.example", "A", "192.0.2.1")])
    assert cache(state, "rm", "www.example", "A").stdout == (
        "removed 2 entries of www.example. A\n"
    )
    left = listed(state)
    assert ("www.example.", "AAAA") in left
    assert ("a.www.example.", "A") in left
    assert len(left) == 7


def test_rm_of_what_is_absent_is_one_line_with_status_1(state: Path) -> None:
    assert cache(state, "rm", "nope.example", status=1).stderr == (
        "fastdns: no entry for nope.example.\n"
    )


def test_flush_of_a_domain_takes_what_is_under_it_and_nothing_else(state: Path) -> None:
    assert cache(state, "flush", "--under", "example").stdout == (
        "removed 5 entries under example.\n"
    )
    assert names(state) == ["notexample.", "www.show."]


def test_flush_under_the_root_with_yes_removes_everything(state: Path) -> None:
    assert cache(state, "flush", "--under", ".", "--yes").stdout == "removed 7 entries under .\n"
    assert names(state) == []


@pytest.mark.parametrize("everything", [[], ["--under", "."]])
def test_flush_of_everything_asks_on_a_terminal(state: Path, everything: list[str]) -> None:
    status, seen = on_terminal(state, "flush", *everything, typed="n\n")
    assert status == 1
    assert f"Remove all of {state}/cache? [y/N]: " in seen
    assert "fastdns: nothing was removed" in seen
    assert len(names(state)) == 7
    status, seen = on_terminal(state, "flush", *everything, typed="y\n")
    assert (status, "removed 7 entries" in seen) == (0, True)
    done = cache(state, "ls")
    assert (done.stdout, done.stderr) == ("", f"the cache {state}/cache is empty\n")


@pytest.fixture
def held(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the write lock and is stopped."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom fastdns.store.lock import writer_lock\n"
        "with writer_lock(Path(sys.argv[1]), 5):\n print(flush=True)\n time.sleep(100)\n"
    )
    command = [sys.executable, "-c", script, str(state / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


@pytest.mark.parametrize("command", [["rm", "www.example"], ["flush", "--yes"]])
def test_change_while_a_stopped_process_holds_the_lock_names_its_pid(
    state: Path, held: subprocess.Popen[bytes], command: Sequence[str]
) -> None:
    began = time.monotonic()
    done = cache(state, *command, status=1)
    assert 2 <= time.monotonic() - began < 6
    assert done.stderr == (
        f"fastdns: the write lock of {state}/cache is held by pid {held.pid} (stopped?)\n"
    )
    assert len(names(state)) == 7


# ---- beside a daemon


def test_removal_is_told_to_the_daemon_after_the_disk_has_it(state: Path) -> None:
    control = Control.open(state / "run" / "control", state / "cache")
    cache(state, "rm", "www.example", "AAAA")
    cache(state, "rm", "www.example")
    cache(state, "flush", "--under", "Example.")
    cache(state, "flush", "--yes")
    www, example = b"\3www\7example\0", b"\7example\0"
    changes = control.since(0)
    assert changes is not None
    assert [change[:3] for change in changes] == [
        (_control.CHANGE_NAME, 28, www),
        (_control.CHANGE_NAME, 0, www),
        (_control.CHANGE_UNDER, 0, example),
        (_control.CHANGE_ALL, 0, b""),
    ]


def test_name_that_the_disk_lacks_is_still_forgotten_by_the_daemon(hung: Path) -> None:
    control = Control.open(hung / "run" / "control", hung / "cache")
    done = cache(hung, "rm", "other.example")  # it may be in memory: nobody says that it is not
    assert "on disk; copies that were not written yet are removed as well" in done.stdout
    assert control.epoch == 1


def test_removal_beside_a_daemon_that_cannot_be_told_is_refused(hung: Path) -> None:
    done = cache(hung, "rm", "www.example", status=1)
    assert "cannot notify the running daemon" in done.stderr
    assert len(names(hung)) == 7


# ---- refresh


def test_refresh_without_a_daemon_is_one_line_with_status_1(state: Path) -> None:
    assert cache(state, "refresh", "www.example", status=1).stderr == (
        f"fastdns: no daemon runs with state_dir {state} to ask upstream "
        "(fastdns doctor names the daemons that run)\n"
    )


def test_refresh_beside_a_daemon_that_cannot_be_told_does_not_say_that_none_runs(
    hung: Path,
) -> None:
    done = cache(hung, "refresh", "www.example", status=1)
    assert "cannot notify the running daemon" in done.stderr


def test_refresh_that_brings_nothing_newer_leaves_the_entry_with_status_1(hung: Path) -> None:
    control = Control.open(hung / "run" / "control", hung / "cache")
    done = cache(hung, "refresh", "www.example", "A", status=1)
    assert done.stderr.splitlines()[-1] == (
        "fastdns: www.example. A: no newer answer came within 5 s; the old entry stays"
    )
    changes = control.since(0)
    assert changes is not None
    assert [change[:3] for change in changes] == [(_control.CHANGE_REFRESH, 1, b"\3www\7example\0")]
    assert ("www.example.", "A") in listed(hung)
