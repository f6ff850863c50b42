"""What `fastdns cache` commands have in common: bad use, the cache they find, how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastdns._control import Control
from fastdns._ring import Ring

from .support import stock
from .support.client import readable
from .support.commands import COMMANDS, FASTDNS, cache, names
from .support.stock import entry, fill


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["get"], "Missing argument 'NAME'"),
        (["get", "a..b"], '"a..b" has an empty label'),
        (["get", "münchen.de"], "is not in ASCII"),
        (["get", "x" * 64], "has a label of 64 bytes"),
        (["get", r"a\300.example"], r'"a\300.example": \300 is not a byte'),
        (["get", "A", "www.example"], '"www.example" is not a record type'),
        (["get", "www.example", "65"], "try TYPE65"),
        (["ls", "--type", "TYPE65536"], '"TYPE65536" is not a record type'),
        (["ls", "--under", ""], "is empty"),
        (["ls", "--limit", "0"], "0 is not in the range"),
        (["ls", "--sort", "name"], "'name' is not one of"),
        (["ls", "a", "b"], "unexpected extra argument"),
        (["flush"], "add --yes, or --under DOMAIN"),
        (["flush", "--under", "."], "add --yes, or --under DOMAIN"),
        (["nonsense"], "No such command 'nonsense'"),
        (["export"], "Missing argument 'FILE'"),
        ([], "Missing command"),
    ],
)
def test_bad_use_is_told_with_status_2(state: Path, arguments: Sequence[str], problem: str) -> None:
    done = cache(None if not arguments else state, *arguments, status=2)
    assert done.stdout == ""
    assert problem in done.stderr


@pytest.mark.parametrize("command", [*COMMANDS, ["refresh", "x"]])
def test_without_a_cache_a_command_is_one_line_with_status_1_and_creates_nothing(
    tmp_path: Path, command: Sequence[str]
) -> None:
    done = cache(tmp_path / "state", *command, status=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith("(fastdns doctor names the daemons that run)\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["export", "import"])
def test_file_that_cannot_be_opened_is_one_line(state: Path, command: str) -> None:
    done = cache(state, command, str(state), status=1)
    assert "Is a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_reading_leaves_no_file_behind(state: Path) -> None:
    (state / "cache" / "lock.mdb").unlink()
    (state / "cache" / "writer").unlink()
    before = sorted(path.name for path in state.rglob("*"))
    for command in (["ls"], ["get", "www.example"], ["stats"], ["verify"], ["export", "-"]):
        cache(state, *command)
    assert sorted(path.name for path in state.rglob("*")) == before


def test_configuration_that_is_being_edited_does_not_keep_from_looking(
    state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "fastdns.toml"
    config.write_text(f'state_dir = "{state}"\nlog_level = "loud"\n')
    done = cache(None, "ls", "-c", str(config))
    assert "www.example." in done.stdout
    assert "log_level" in done.stderr
    config.write_text(f'state_dir = "{state}"\n[cache]\nstale = "0s"\n')
    lines = cache(None, "ls", "--json", "www.example", "-c", str(config)).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["fresh", "expired"]


def test_cache_is_found_where_the_control_page_says(state: Path, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", [entry("there.example", "A", "192.0.2.1")])
    Control.open(state / "run" / "control", tmp_path / "elsewhere" / "cache")
    assert names(state) == ["there.example."]


def test_reading_beside_a_daemon_that_does_not_answer_goes_on_and_says_so(hung: Path) -> None:
    done = cache(hung, "get", "www.example")
    assert "192.0.2.1" in done.stdout
    assert done.stderr == (
        "warning: the running daemon did not write its newest answers to disk; they may be "
        "missing here\n"
    )


def test_answers_that_a_dead_daemon_left_in_a_ring_are_counted(state: Path) -> None:
    ring = Ring.open(state / "run" / "ring.2")
    for number in range(3):
        key, value = entry(f"r{number}.example", "A", "192.0.2.1")
        stock.hand_over(ring, key, value)
    before = (state / "run" / "ring.2").read_bytes()
    done = cache(state, "ls")
    assert done.stderr == (
        "warning: 3 answers of the stopped daemon are not on disk before its next start\n"
    )
    assert (state / "run" / "ring.2").read_bytes() == before


def test_interrupted_command_ends_with_status_130_and_no_traceback(state: Path) -> None:
    os.mkfifo(state / "pipe")
    process = subprocess.Popen(
        [*FASTDNS, "cache", "import", str(state / "pipe"), "--state", str(state)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with (state / "pipe").open("w") as pipe:
        pipe.write("{}\n")
        pipe.flush()
        assert process.stderr is not None
        assert readable([process.stderr], 0.5) == []
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (130, "")


@pytest.mark.parametrize(
    ("command", "policy"), [("export", os.SCHED_IDLE), ("import", os.SCHED_BATCH)]
)
def test_command_lets_those_who_serve_have_the_processor_first(
    state: Path, tmp_path: Path, command: str, policy: int
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = ["cache", command, str(pipe), "--state", str(state)]
    with (
        subprocess.Popen([sys.executable, "-m", "fastdns", *arguments]) as process,
        pipe.open("w" if command == "import" else "r") as ours,
    ):
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        assert os.sched_getscheduler(child) == policy
        assert os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, 0)
        if command == "export":
            ours.read()
    assert process.returncode == 0
