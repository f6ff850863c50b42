"""fastdns below a directory that only root can enter: a checkout in /root, as on every VPS.

Root becomes another user then, who cannot import anything any more. An audit hook also reports
every later import, wherever its file is.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import fastdns
from fastdns.cli import _fastdns
from fastdns.cli.cache import cache as cache_group

from .support.client import ask, data, eventually
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.stock import SOA, entry, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")

LATE = "imported without root:"
HOOK = f"""
import os, sys
def hook(event, arguments):
    if event == "import" and os.geteuid() != 0:
        os.write(2, f"{LATE} {{arguments[0]}}\\n".encode())
sys.addaudithook(hook)
"""
NAME = "www.example"
# Each command of the command line but serve, with what it takes; of some more than one form.
COMMANDS = {
    "reload": [[]],
    "check": [[]],
    "status": [[], ["--json"]],
    "stats": [[], ["--json"]],
    "clients": [[], ["--json"]],
    "top": [["--interval", "0.1"]],
    "doctor": [[], ["--json"]],
    "demo": [[]],
    "why": [[NAME], [NAME, "--json"]],
    "import-config": [["/dev/null", "--from", "dnsmasq"]],
    "cache ls": [[], ["--long"], ["--json"], ["--sort", "hits"]],
    "cache get": [[NAME], [NAME, "--json"], ["no.example"], ["odd.example"]],
    "cache verify": [[]],
    "cache stats": [[], ["--json"]],
    "cache export": [["-"]],
    "cache import": [["-"], ["/dev/null"]],
    "cache refresh": [[NAME]],
    "cache rm": [[NAME], ["*.example"]],
    "cache flush": [["--yes"], ["--negative"]],
}
NO_STATE = {"import-config", "demo", "doctor"}  # they take no --state
ON_TERMINAL = sorted(set(COMMANDS) - {"top", "demo", "reload"})


@pytest.fixture(scope="module", autouse=True)
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory, from which all that a test of this module starts is imported."""
    directory = tmp_path_factory.mktemp("closed")
    directory.chmod(0o700)
    (directory / "fastdns").symlink_to(Path(fastdns.__file__).parent)
    (directory / "sitecustomize.py").write_text(HOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield directory


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream) -> Iterator[Fastdns]:
    """A daemon of root's, which has become another user."""
    state = tmp_path_factory.mktemp("daemon") / "state"
    with Fastdns(state, upstream=[upstream], config='log_level = "debug"\n') as running:
        yield running


def test_every_command_is_in_the_table() -> None:
    commands = set(_fastdns.commands or _fastdns.list_commands(click.Context(_fastdns)))
    under_cache = {
        f"cache {name}" for name in cache_group.list_commands(click.Context(cache_group))
    }
    assert set(COMMANDS) == commands - {"serve", "cache"} | under_cache


def call(command: str, arguments: list[str], state: Path) -> list[str]:
    where = [] if command in NO_STATE else ["--state", str(state)]
    return [sys.executable, "-m", "fastdns", *command.split(), *arguments, *where]


def restock(state: Path) -> None:
    """Have entries there whose records need all kinds of spelling."""
    fill(
        state,
        [
            entry("example", "SOA", f"{SOA} 60"),
            entry(NAME, "A", "192.0.2.1"),
            entry("odd.example", "HTTPS", "1 . alpn=h2"),
            entry("odd.example", "MX", "10 mx.example."),
            entry("odd.example", "TYPE65280", r"\# 2 0102"),
            entry("gone.example", "A", rcode="NXDOMAIN"),
        ],
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_command_beside_a_daemon_needs_nothing_more_when_root_is_given_up(
    daemon: Fastdns, command: str
) -> None:
    for arguments in COMMANDS[command]:
        ask(daemon, NAME)
        done = subprocess.run(
            call(command, arguments, daemon.state_dir),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
        assert "Traceback" not in done.stderr
        assert "ModuleNotFoundError" not in done.stderr
        assert LATE not in done.stderr
        assert done.returncode in (0, 1)


@pytest.mark.parametrize("command", ON_TERMINAL)
def test_command_on_a_terminal_needs_nothing_more_when_root_is_given_up(
    tmp_path: Path, command: str
) -> None:
    state = tmp_path / "state"
    restock(state)
    for path in (state, *state.rglob("*")):
        os.chown(path, 65534, 65534)
    for arguments in COMMANDS[command]:
        child, terminal = pty.fork()
        if child == 0:
            os.environ.update(COLUMNS="80", TERM="xterm")
            os.chdir("/")
            os.execv(sys.executable, call(command, arguments, state))
        if "-" in arguments:
            os.write(terminal, b"\n\x04")  # the end of standard input
        seen = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            seen += part
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert b"Traceback" not in seen
        assert LATE.encode() not in seen
        assert status in (0, 1), seen


def test_daemon_needs_nothing_more_when_root_is_given_up(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    """Not to answer, to read its disk in a thread, to replace who dies, to reload, to hand over."""
    state, servers = tmp_path / "state", tmp_path / "ip"
    servers.write_text(f"{upstream.host}:{upstream.port}\n")
    config = f'[upstream]\nservers = ["file:{servers}"]\n[cache]\ncommit_interval = "1s"\n'
    with Fastdns(state, config=config) as daemon:
        names = [upstream.new_name() for _ in range(5)]
        for name in names:
            assert data(ask(daemon, name)) == ["192.0.2.1"]
            assert data(ask(daemon, name, tcp=True)) == ["192.0.2.1"]
        before = daemon.worker
        os.kill(before, signal.SIGKILL)
        eventually(lambda: daemon.worker != before, bool)
        assert data(ask(daemon, names[0])) == ["192.0.2.1"]
        keeper = daemon.keeper
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: daemon.keeper != keeper, bool)
        for text in ('[cache]\nmemory = "64MX"\nno = 1\n', "not toml", config):
            daemon.configure(text)
            daemon.reload()
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        found = [line for line in daemon.log if LATE in line or "ModuleNotFoundError" in line]
    assert found == []
