"""`fastdns cache` on the cache of another user: as a stranger, and as root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastdns._control import Control

from .support.commands import COMMANDS, cache


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_root_exports_to_where_the_owner_of_the_cache_may_not_write(
    state: Path, tmp_path: Path
) -> None:
    owned, place = tmp_path / "owned", tmp_path / "place"
    owned.mkdir()
    place.mkdir(mode=0o700)
    os.chown(owned, 65534, 65534)
    cache(owned, "import", "-", text_in=cache(state, "export", "-").stdout)
    cache(owned, "export", str(place / "entries.json"))
    assert [path.name for path in place.iterdir()] == ["entries.json"]
    assert len((place / "entries.json").read_text().splitlines()) == 6


# The command as a user to whom nothing belongs, who need not be able to read our Python.
AS_STRANGER = """
import importlib, os, sys
from fastdns.cli import main
from fastdns.machine import priority
priority._set_priority = lambda policy: None  # as in support/eager.py
for command in ("ls", "get", "rm", "refresh", "flush", "stats", "verify", "export"):
    importlib.import_module(f"fastdns.cli.cache.{command}")
os.setgroups([])
os.setresgid(65533, 65533, 65533)
os.setresuid(65533, 65533, 65533)
sys.exit(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user take root to make")
@pytest.mark.parametrize("closed", ["state", "run/control", "cache"])
def test_user_who_may_not_look_is_told_whose_the_cache_is_in_one_line(
    hung: Path, closed: str
) -> None:
    if closed == "run/control":
        Control.open(hung / "run" / "control", hung / "cache")
    for path in (hung, *hung.rglob("*")):
        os.chown(path, 65534, 65534)
    place = hung if closed == "state" else hung / closed
    place.chmod(0o700 if place.is_dir() else 0o600)
    for command in (*COMMANDS, ["refresh", "www.example"]):
        done = subprocess.run(
            [sys.executable, "-c", AS_STRANGER, "cache", *command, "--state", str(hung)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            f"fastdns: {place} cannot be read by this user: it belongs to user nobody; "
            "try as that user or as root\n",
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_root_makes_and_reads_a_cache_as_its_owner(state: Path, tmp_path: Path) -> None:
    lines = cache(state, "export", "-").stdout
    owned = tmp_path / "owned"
    owned.mkdir()
    os.chown(owned, 65534, 65534)
    cache(owned, "import", "-", text_in=lines)
    made = [owned / "cache", *(owned / "cache").iterdir()]
    assert {path.stat().st_uid for path in made} == {65534}
    (owned / "cache" / "data.mdb").chmod(0o000)
    done = cache(owned, "ls", status=1)
    assert done.stderr == (
        f"fastdns: the disk cache {owned}/cache cannot be read: Permission denied\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files take root to make")
def test_cache_of_a_root_that_has_no_directory_yet_is_one_that_the_daemon_can_use(
    state: Path, tmp_path: Path
) -> None:
    lines = cache(state, "export", "-").stdout
    fresh = tmp_path / "fresh"
    cache(fresh, "import", "-", text_in=lines)
    assert fresh.stat().st_uid == (fresh / "cache" / "data.mdb").stat().st_uid != 0
