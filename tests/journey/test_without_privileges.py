"""Root without root's powers, as in a container: it serves and reads as root, and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .support.client import ask, data
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream

Start = Callable[..., Fastdns]

IN_NAMESPACE = ["unshare", "-U", "-r"]  # only root's uid exists there
BARE = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
WAYS = [
    pytest.param(IN_NAMESPACE, id="namespace of one uid"),
    pytest.param(
        BARE,
        id="no capabilities",
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="a root without powers is root first"),
    ),
]


def need(prefix: Sequence[str]) -> None:
    if not shutil.which(prefix[0]) or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip(f"this machine does not let us {' '.join(prefix)}")


def run(prefix: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "fastdns", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("prefix", WAYS)
def test_root_that_cannot_become_another_user_serves_with_one_warning(
    start_fastdns: Start, upstream: FalseUpstream, prefix: list[str]
) -> None:
    need(prefix)
    daemon = start_fastdns(upstream=[upstream], prefix=prefix)
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    warnings = [line for line in daemon.log if "WARNING" in line]
    assert len(warnings) == 1, warnings
    assert "running as root, because it cannot become user" in warnings[0]

    state = str(daemon.state_dir)
    for words in (["stats"], ["cache", "ls"], ["cache", "stats"], ["reload"]):
        done = run(prefix, *words, "--state", state)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user take root to make")
def test_commands_of_a_root_that_cannot_become_the_owner_warn_in_one_line_and_go_on(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    need(BARE)
    daemon = start_fastdns(upstream=[upstream])  # which becomes another user
    os.chmod(daemon.state_dir / "run" / "counters", 0o644)

    done = run(BARE, "stats", "--state", str(daemon.state_dir))

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("queries_udp_total")
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: continues as root, because it cannot become the owner of ")


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user take root to make")
def test_directory_of_another_user_is_refused_in_one_line(tmp_path: Path) -> None:
    need(BARE)
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    os.chown(place, 65534, 65534)

    done = run(BARE, "serve", "--state", str(place), "--listen", "127.0.0.1:0")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(place) in done.stderr.splitlines()[-1]
