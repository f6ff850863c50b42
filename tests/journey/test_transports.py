"""A transport to upstreams that is a class and a line: configured, asked, shown and cached."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from fastdns.config.transports import TRANSPORTS

from .support import toy_transport
from .support.client import ask, data, eventually
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream


@pytest.fixture
def toy(upstream: FalseUpstream) -> Iterator[str]:
    """The URL of a server that speaks it, and asks the upstream over TCP."""

    def serve() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection((upstream.host, upstream.port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=toy_transport.pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"toy://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def daemon(tmp_path: Path, toy: str) -> Iterator[Fastdns]:
    servers = f'listen.dns = ["127.0.0.1:0"]\nupstream.servers = ["{toy}"]\n'
    daemon = Fastdns(tmp_path / "state", listen=(), config=servers, workers=None)
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [toy_transport.__file__]
    with daemon:
        yield daemon


def run(*arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, toy_transport.__file__, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_it_is_asked_and_shown_everywhere(
    daemon: Fastdns, upstream: FalseUpstream, toy: str
) -> None:
    name, state = upstream.new_name(), f"--state={daemon.state_dir}"
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert [asked.tcp for asked in upstream.asked(name)] == [True]

    def shown() -> list[dict[str, object]]:
        return json.loads(run("stats", state, "--json"))["upstreams"]

    (told,) = eventually(shown, lambda upstreams: upstreams[0]["queries_total"] == 1)
    assert (told["name"], told["alive"]) == (toy, True)
    assert toy in run("stats", state)
    assert toy in run("top", state, "--interval", "0.1")
    daemon.stop()
    entry = json.loads(run("cache", "get", state, name, "--json"))
    assert entry["upstream"] == toy


def test_configuration_names_its_usual_port_and_other_kinds_are_none(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text('[upstream]\nservers = ["toy://192.0.2.1", "tcp://192.0.2.1"]\n')
    told = run("check", "-c", str(file))
    assert f"toy://192.0.2.1:{toy_transport.PORT}" in told
    assert "tcp://192.0.2.1:53" in told
    file.write_text('[upstream]\nservers = ["game://192.0.2.1", "tls://192.0.2.1"]\n')
    told = run("check", "-c", str(file), status=2)
    assert 'has an unknown scheme (try "udp://" or "tcp://" or "toy://")' in told
    assert "an encrypted upstream (tls://) is not in this version of fastdns" in told


def test_doctor_asks_by_it(daemon: Fastdns, toy: str) -> None:
    config = daemon.state_dir.with_suffix(".toml")
    done = subprocess.run(
        [sys.executable, toy_transport.__file__, "doctor", "--json", "-c", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)["findings"]
    (upstream,) = (one for one in found if one["about"] == "upstream")
    assert upstream["text"].startswith(f"{toy} answers")
    assert upstream["state"] == "ok"


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_each_line_names_a_class_that_has_what_is_asked_of_it(scheme: str) -> None:
    channel = resolve_name(TRANSPORTS[scheme].channel)
    for name in ("send", "forget", "late", "close", "dial"):
        assert callable(getattr(channel, name))


def test_no_two_have_the_same_number() -> None:
    numbers = [one.number for one in TRANSPORTS.values()]
    assert len(set(numbers)) == len(numbers)
    assert [one.number for one in TRANSPORTS.values()][:2] == [1, 2]  # of entries that are there
