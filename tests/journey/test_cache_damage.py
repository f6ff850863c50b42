"""`fastdns cache verify`, and every command, where an entry or the whole file is damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .support import stock
from .support.commands import COMMANDS, cache
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.stock import entry, fill, many, put_raw


def test_verify_of_a_sound_cache_says_how_much_it_has_read(state: Path) -> None:
    assert cache(state, "verify").stdout == "7 entries, none damaged\n"


def test_verify_names_each_damaged_entry_and_others_are_still_shown(state: Path) -> None:
    key, value = entry("bad.example", "A", "192.0.2.1")
    other, _ = entry("swapped.example", "A", "192.0.2.1")
    put_raw(
        state / "cache",
        [(key, value[:-1] + b"\xff"), (other, value), (b"\x01\x07nonsense", b"x")],
    )
    done = cache(state, "verify", status=1)
    assert sorted(done.stderr.splitlines()) == [
        "bad.example. A: its checksum is wrong",
        f"fastdns: 3 of 10 entries of {state}/cache are damaged",
        "key 01076e6f6e73656e7365: not a key of this cache",
        "swapped.example. A: its message does not answer its question",
    ]
    shown = cache(state, "ls")
    assert len(shown.stdout.splitlines()) == 1 + 8
    assert "2 damaged entries were left out" in shown.stderr
    assert "checksum is wrong" in cache(state, "get", "bad.example", status=1).stderr


def cut_short(data: Path) -> None:
    os.truncate(data, 12288)


def overwritten_with_zeros(data: Path) -> None:
    with data.open("r+b") as file:
        file.seek(8192)
        file.write(bytes(65536))


def overwritten_with_ones(data: Path) -> None:
    with data.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 65536)


def another_file(data: Path) -> None:
    data.write_bytes(b"not a database " * 1000)


@pytest.mark.parametrize(
    "damage", [cut_short, overwritten_with_zeros, overwritten_with_ones, another_file]
)
def test_damaged_file_is_one_line_with_status_1_whatever_is_asked(
    state: Path, damage: object
) -> None:
    fill(state, many(500))
    data = state / "cache" / "data.mdb"
    damage(data)
    for command in COMMANDS:
        done = cache(state, *command, status=1)
        assert f"the disk cache {state}/cache" in done.stderr or "is damaged" in done.stderr
        assert "signal" not in done.stderr
        if "is damaged" in done.stderr:
            assert "becomes data.mdb.damaged, which you may delete" in done.stderr


def test_damage_is_told_with_what_becomes_of_it_which_is_so(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    state = daemon.state_dir
    daemon.stop()
    another_file(state / "cache" / "data.mdb")
    for command in ("ls", "verify", "flush --yes"):
        assert cache(state, *command.split(), status=1).stderr == (
            f"fastdns: the disk cache {state}/cache is damaged: MDB_INVALID: File is not an LMDB "
            "file (the daemon repairs it or starts an empty cache, at its next start at "
            "the latest; the damaged file becomes data.mdb.damaged, which you may delete)\n"
        )
    with Fastdns(state, upstream=[upstream]) as again:
        again.wait_for_log(r"moved to \S+/data.mdb.damaged, which you may delete; the disk")
        assert (state / "cache" / "data.mdb.damaged").exists()
        assert cache(state, "verify").stdout == "0 entries, none damaged\n"


def test_cache_of_another_version_is_one_line(state: Path) -> None:
    def change() -> None:
        store = stock.Store.open_existing(state / "cache")
        store.put_about(b"format", b"2")
        store.close()

    stock.in_child(change)
    assert cache(state, "ls", status=1).stderr == (
        f"fastdns: the disk cache {state}/cache was written by another version of fastdns\n"
    )
