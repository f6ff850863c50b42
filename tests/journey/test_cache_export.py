"""`fastdns cache export`: into files, links, pipes and devices, whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

from .support.client import eventually
from .support.commands import FASTDNS, cache
from .support.stock import fill, many


def test_export_that_fails_leaves_what_the_file_held(tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    file.write_text("precious\n")
    cache(tmp_path / "state", "export", str(file), status=1)
    assert file.read_text() == "precious\n"
    assert list(tmp_path.iterdir()) == [file]


def limit_files() -> None:
    """Let no file grow beyond 64 KiB, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def test_export_for_which_there_is_no_room_leaves_what_the_file_held(
    state: Path, tmp_path: Path
) -> None:
    fill(state, many(3000))
    file = tmp_path / "entries.json"
    file.write_text("precious\n")
    before = set(tmp_path.iterdir())
    done = subprocess.run(
        [*FASTDNS, "cache", "export", str(file), "--state", str(state)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=limit_files,
    )
    assert done.returncode == 1
    assert done.stderr == f"fastdns: cannot write {file}: File too large\n"
    assert file.read_text() == "precious\n"
    assert set(tmp_path.iterdir()) == before


def test_export_that_is_killed_leaves_what_the_file_held(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    file.write_text("precious\n")
    before = set(tmp_path.iterdir())
    # The new file is there before the configuration is read: here it is read from a pipe.
    os.mkfifo(state / "config")
    command = [*FASTDNS, "cache", "export", str(file), "-c", str(state / "config")]
    process = subprocess.Popen(command, start_new_session=True)
    eventually(lambda: set(tmp_path.iterdir()) - before, bool)
    process.terminate()  # which it hands on to who writes
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    eventually(lambda: set(tmp_path.iterdir()), lambda found: found == before)
    assert file.read_text() == "precious\n"


def test_exported_file_is_a_new_one_for_its_owner_only_behind_a_link_as_well(
    state: Path, tmp_path: Path
) -> None:
    file, link = tmp_path / "entries.json", tmp_path / "link"
    file.write_text("old\n")
    link.symlink_to(file)
    with file.open() as before:
        cache(state, "export", str(link))
        assert before.read() == "old\n"
    assert link.is_symlink()
    assert len(file.read_text().splitlines()) == 7
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_export_writes_into_pipes_and_devices_as_they_are(state: Path, tmp_path: Path) -> None:
    assert len(cache(state, "export", "/dev/stdout").stdout.splitlines()) == 7
    os.mkfifo(tmp_path / "pipe")
    command = [*FASTDNS, "cache", "export", str(tmp_path / "pipe"), "--state", str(state)]
    with subprocess.Popen(command) as process:
        assert len((tmp_path / "pipe").read_text().splitlines()) == 7
    assert (process.returncode, (tmp_path / "pipe").is_fifo()) == (0, True)
    assert "No space left" in cache(state, "export", "/dev/full", status=1).stderr


def test_export_to_standard_output_that_is_a_file_adds_to_it(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    shell = f"(echo first; {' '.join(FASTDNS)} cache export /dev/stdout --state {state}) >> {file}"
    subprocess.run(["sh", "-c", shell], check=True)
    lines = file.read_text().splitlines()
    assert (lines[0], len(lines)) == ("first", 8)
