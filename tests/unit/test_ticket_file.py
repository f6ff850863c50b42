"""The keys of TLS session tickets: kept over a restart, renewed in time, never a reason to fail."""

from __future__ import annotations

import logging
import mmap
import stat
import time
from pathlib import Path

import pytest

from fastdns._ticket_keys import TicketKeys
from fastdns.server.ticket_file import ROTATE_SECONDS, TicketFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ticket_keys"


class Run:
    """A daemon that starts so many seconds from now."""

    def __init__(self, path: Path, later: float = 0.0) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.now = time.time() + later
        self.file = TicketFile(path, self.page, self.now)

    @property
    def keys(self) -> list[bytes]:
        """The newest first, as a worker sees them in the page."""
        saved = TicketKeys(self.page).saved()
        return [saved[at : at + 80] for at in range(0, len(saved), 80)]


def test_keys_of_before_a_restart_are_good(path: Path) -> None:
    before = Run(path).keys
    assert len(set(before)) == 3
    assert Run(path).keys == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_key_is_renewed_in_time_and_the_former_ones_are_kept(path: Path) -> None:
    run = Run(path)
    before = run.keys
    run.file.look(run.now + ROTATE_SECONDS - 1)
    assert run.keys == before
    run.file.look(run.now + ROTATE_SECONDS)
    assert run.keys[1:] == before[:2]
    assert Run(path).keys == run.keys


def test_key_that_is_too_old_at_a_start_is_renewed(path: Path) -> None:
    before = Run(path).keys
    assert Run(path, ROTATE_SECONDS + 60).keys[1:] == before[:2]


@pytest.mark.parametrize("damage", [b"", b"x" * 100, b"x" * 5000])
def test_damaged_file_is_replaced(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    keys = Run(path).keys
    assert len(set(keys)) == 3
    assert Run(path).keys == keys


def test_directory_that_is_gone_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run = Run(path.parent / "gone" / "ticket_keys")
        run.file.look(run.now + ROTATE_SECONDS)
    assert len(set(run.keys)) == 3
    assert len(caplog.records) == 1
    assert "cannot be written (No such file or directory)" in caplog.records[0].getMessage()
