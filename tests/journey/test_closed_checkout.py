"""fastdns below a directory that only root can enter: a checkout in /root, as on every VPS.

Root becomes another user then, who cannot import anything any more. An audit hook also reports
every later import, wherever its file is.
"""

from __future__ import annotations

import http.client
import json
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
from fastdns._certificate import make_self_signed
from fastdns.cli import _fastdns
from fastdns.cli.cache import cache as cache_group
from fastdns.cli.lists import lists as lists_group

from .support.client import ask, data, eventually, make_query
from .support.daemon import Fastdns, split_address
from .support.download_server import DownloadServer
from .support.false_upstream import FalseUpstream
from .support.nsd import Nsd
from .support.stock import SOA, entry, fill
from .support.tls import TlsClient, trusting

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
RPZ = "$TTL 60\n@ IN SOA ns.demo. hostmaster.demo. 1 600 120 7200 60\n@ IN NS ns.demo.\n"
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
    "certificate": [[]],
    "profile": [["dns.example.net", "--protocol", "https"]],
    "allow": [["www.example"], ["www.example", "--for", "1h"]],
    "deny": [["ads.example"]],
    "rules": [[], ["--json"], ["rm", "1"]],
    "pause": [[], ["5m"]],
    "resume": [[]],
    "why": [[NAME], [NAME, "--json"]],
    "import-config": [["/dev/null", "--from", "dnsmasq"]],
    "lists": [[], ["--json"]],
    "cache ls": [[], ["--long"], ["--json"], ["--sort", "hits"]],
    "cache get": [[NAME], [NAME, "--json"], ["no.example"], ["odd.example"]],
    "cache verify": [[]],
    "cache stats": [[], ["--json"]],
    "cache export": [["-"]],
    "cache import": [["-"], ["/dev/null"]],
    "cache refresh": [[NAME]],
    "cache rm": [[NAME], ["*.example"]],
    "cache flush": [["--yes"], ["--negative"]],
    "lists update": [[]],
    "lists test": [[NAME], [NAME, "--json"]],
}
NO_STATE = {"import-config", "demo", "doctor", "certificate", "profile"}  # they take no --state
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
        patch.setenv("PYTHONSAFEPATH", "1")  # not from the working directory, which may be open
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
    below = {
        f"{group.name} {name}"
        for group in (cache_group, lists_group)
        for name in group.list_commands(click.Context(group))
    }
    assert set(COMMANDS) == commands - {"serve", "cache"} | below


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
        assert imported_late(daemon) == []


def test_daemon_with_all_tables_needs_nothing_more_when_root_is_given_up(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    """Not to read their files, to follow them, or to reload others."""
    (hosts := tmp_path / "hosts").write_text("192.0.2.10 nas\n")
    (leases := tmp_path / "leases").write_text("0 aa:bb:cc:dd:ee:ff 192.0.2.20 tv *\n")
    (bogus := tmp_path / "bogus").write_text("192.0.2.99\n")
    tmp_path.chmod(0o755)
    local = f'[local]\ndomain = "lan"\nhosts = ["{hosts}"]\nleases = ["dnsmasq:{leases}"]\n'
    rule = '[[rule]]\nnames = ["*.dyn.example"]\nmax_ttl = "10s"\nblock_types = ["HTTPS"]\n'
    protect = f'[protect]\nrebind = true\nbogus_answers = ["file:{bogus}"]\n'
    state = tmp_path / "state"
    with Fastdns(state, upstream=[upstream], config=local + rule + protect) as daemon:
        assert data(ask(daemon, "nas.lan")) == ["192.0.2.10"]
        assert data(ask(daemon, "tv.lan")) == ["192.0.2.20"]
        hosts.write_text("192.0.2.11 nas\n")
        eventually(lambda: data(ask(daemon, "nas.lan")), lambda found: found == ["192.0.2.11"])
        for text in (local + protect, rule, ""):
            daemon.configure(text)
            assert daemon.reload().returncode == 0
        assert imported_late(daemon) == []


def test_tables_that_a_reload_adds_need_nothing_more_when_root_is_given_up(
    daemon: Fastdns, upstream: FalseUpstream
) -> None:
    former = daemon.state_dir.with_suffix(".toml").read_text()
    for table in (
        '[[rule]]\nnames = ["*.example"]\ncache = false\n',
        "[protect]\nrebind = true\n",
        '[protect]\nbogus_answers = ["192.0.2.99"]\n',
        '[local]\ndomain = "lan"\nhosts = ["/etc/hosts"]\n',
        '[local]\nleases = ["auto"]\n',
        '[block]\ndeny = ["ads.demo"]\n',
        '[[view]]\nname = "kids"\nclients = ["tablet"]\nwhen = "Mon"\nsafe_search = true\n',
    ):
        daemon.configure(former + table)
        assert daemon.reload().returncode == 0, table
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert imported_late(daemon) == []


def test_encryption_that_a_reload_adds_needs_nothing_more_when_root_is_given_up(
    daemon: Fastdns, upstream: FalseUpstream, tmp_path: Path
) -> None:
    former = daemon.state_dir.with_suffix(".toml").read_text()
    config = ""
    for key, octets in zip(("certificate", "key"), make_self_signed(["dns.demo"], 9), strict=True):
        (tmp_path / key).write_bytes(octets)
        (tmp_path / key).chmod(0o644)
        config += f'{key} = "{tmp_path / key}"\n'
    config += 'tls = ["127.0.0.1:0"]\nhttps = ["127.0.0.1:0"]\n'
    daemon.configure(f"{former}[listen]\n{config}")
    assert daemon.reload().returncode == 0
    found = daemon.wait_for_log(r"ready on \S+, tls://(\S+), https://(\S+) \(")
    message = make_query(upstream.new_name()).to_wire()
    with TlsClient(split_address(found[1])) as client:
        assert client.ask(message)
    host, port = split_address(found[2])
    web = http.client.HTTPSConnection(host, port, timeout=5, context=trusting("http/1.1"))
    web.request("POST", "/dns-query", message, {"Content-Type": "application/dns-message"})
    assert web.getresponse().status == 200
    web.close()
    assert imported_late(daemon) == []


def imported_late(daemon: Fastdns) -> list[str]:
    return [line for line in daemon.log if LATE in line or "ModuleNotFoundError" in line]


def test_block_lists_need_nothing_more_when_root_is_given_up(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    """Not those of a file, of a web server by a name, and of a zone; by the daemon and by hand."""
    own = tmp_path / "own"
    own.write_text("/^ads[0-9]+\\./\nads.example\n")
    own.chmod(0o644)
    upstream.on("web.demo", lambda asked: asked.answer("@ 9 IN A 127.0.0.1"))
    with DownloadServer(tls=True) as web, Nsd(tmp_path / "nsd", {"rpz.": RPZ}) as nsd:
        lists = [
            f"file:{own}",
            web.url("/hosts", "web.demo"),  # whose certificate is of another
            f"axfr://127.0.0.1:{nsd.port}/rpz",
        ]
        servers = f'[upstream]\nservers = ["{upstream.host}:{upstream.port}"]\n'
        config = f"{servers}[block]\nlists = {json.dumps(lists)}\n"
        with Fastdns(tmp_path / "state", config=config) as daemon:
            daemon.wait_for_log("block lists: compiled")
            daemon.wait_for_log(r"has no valid certificate")
            daemon.wait_for_log(r"axfr://\S+ answers REFUSED")
            found = [line for line in daemon.log if LATE in line or "ModuleNotFound" in line]
        assert found == []
        where = ["-c", str(tmp_path / "state.toml"), "--state", str(tmp_path / "state")]
        for words in (["update"], ["test", "ads1.example"], []):
            done = subprocess.run(
                [sys.executable, "-m", "fastdns", "lists", *words, *where],
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
                cwd="/",
            )
            assert "Traceback" not in done.stderr
            assert done.returncode in (0, 1)
            assert LATE not in done.stderr
            assert "ModuleNotFoundError" not in done.stderr
