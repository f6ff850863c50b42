"""`fastdns demo` shows its figures, and leaves no process and no file behind, however it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastdns
from fastdns.cli.demo import running
from fastdns.errors import FastdnsError

from .support.client import eventually

ROOT = Path(fastdns.__file__).parents[1]
DEMO = [sys.executable, "-m", "fastdns", "demo"]


class Place:
    """A directory for temporary files that tells by whom it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {**os.environ, "TMPDIR": str(path)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*DEMO, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def processes(self) -> list[int]:
        """All processes that inherited this place from the demo, itself included."""
        mark = f"TMPDIR={self.path}\0".encode()
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if mark in octets(path)
        ]

    def left_over(self) -> tuple[list[int], list[Path]]:
        return self.processes(), list(self.path.iterdir())


def octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended, or another user's
        return b""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for pid in place.processes():
        os.kill(pid, signal.SIGKILL)


def test_demo_in_a_pipe_prints_a_plain_table_and_leaves_nothing(place: Place) -> None:
    done = place.run("--names", "20", "--delay", "5")
    assert done.returncode == 0, done.stderr
    assert "│" not in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "20",
        "median",
        "first",
        "cached",
        "ratio",
        "cache:",
    ]
    assert "20 hits, 20 misses, 20 entries" in done.stdout
    assert done.stderr == ""
    assert place.left_over() == ([], [])


def test_demo_takes_its_servers_from_where_it_is_itself(place: Place) -> None:
    elsewhere = place.path / "elsewhere"
    (elsewhere / "fastdns").mkdir(parents=True)
    (elsewhere / "fastdns" / "__init__.py").write_text("raise SystemExit('a stranger')")
    command = "import sys; sys.path.pop(0); from fastdns.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "demo", "--names", "5", "--delay", "1"],
        env={**place.environment, "PYTHONPATH": f"{ROOT}"},
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_demo_as_json_shows_what_the_cache_is_worth(place: Place) -> None:
    done = place.run("--names", "20", "--delay", "20", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["cache_hits"], shown["cache_misses"], shown["cache_entries"]) == (20, 20, 20)
    assert shown["first"]["median_ms"] >= 20
    assert shown["first"]["p99_ms"] >= shown["first"]["median_ms"]
    assert shown["cached"]["median_ms"] < 10
    assert shown["ratio"] > 2


def test_demo_on_a_terminal_draws_its_table(place: Place) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*DEMO, "--names", "5"], env={**place.environment, "TERM": "xterm"}, stdout=slave
    ) as demo:
        os.close(slave)
        shown = read_terminal(master)
    assert demo.returncode == 0
    assert "cached answer" in shown
    assert "─" in shown


def read_terminal(master: int) -> str:
    """All that is written until the last process has closed the terminal, which reads as EIO."""
    pieces = []
    with open(master, "rb", buffering=0) as terminal:
        try:
            while piece := terminal.read(4096):
                pieces.append(piece)
        except OSError:
            pass
    return b"".join(pieces).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_interrupted_leaves_nothing(place: Place, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*DEMO, "--delay", "1000"], env=place.environment, stderr=subprocess.PIPE, text=True
    ) as demo:
        logs = place.path.glob
        eventually(lambda: [p for p in logs("*/fastdns.log") if b"ready" in octets(p)], bool, 20)
        demo.send_signal(number)
        _, said = demo.communicate(timeout=10)
    assert demo.returncode != 0
    assert "Traceback" not in said
    assert place.left_over() == ([], [])


def test_demo_that_is_killed_leaves_no_upstream_behind(place: Place) -> None:
    with subprocess.Popen([*DEMO, "--delay", "1000"], env=place.environment) as demo:
        upstreams = eventually(lambda: commands(place, "fastdns.cli.demo_server"), bool, 20)
        demo.kill()
    eventually(
        lambda: [pid for pid in upstreams if Path(f"/proc/{pid}/cmdline").exists()],
        lambda left: not left,
    )


def commands(place: Place, word: str) -> list[int]:
    return [
        pid for pid in place.processes() if word.encode() in octets(Path(f"/proc/{pid}/cmdline"))
    ]


def test_server_that_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(FastdnsError) as told,
        running(["fastdns.nothing"], tmp_path / "log"),
    ):
        pass
    assert "fastdns.nothing did not start: " in str(told.value)
    assert "\n" not in str(told.value)


def test_a_number_of_names_that_makes_no_sense_is_bad_use(place: Place) -> None:
    done = place.run("--names", "0")
    assert done.returncode == 2
    assert "--names" in done.stderr
