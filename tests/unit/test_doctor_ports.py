"""Findings about the listen addresses, and when no program has to free them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns.config.groups import Upstream
from fastdns.config.listen import Listen
from fastdns.config.schema import Config
from fastdns.config.values import Address, Server
from fastdns.doctor import ports, units
from fastdns.doctor.commands import USUAL
from fastdns.doctor.findings import Finding
from fastdns.machine.port_owners import Bound, Port, Process

NAMED = Process(412, "named", "", "named.service")
Found = Callable[[list[str], list[str]], Finding]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """What is said when named has these addresses and fastdns these upstreams."""

    def look(held: list[str], upstreams: list[str]) -> Finding:
        bound = [Bound("UDP", Address(host, 53), n) for n, host in enumerate(held)]
        port = Port(tuple(bound), {one.inode: {NAMED.pid} for one in bound})
        servers = tuple(Server("udp", Address(host, 53)) for host in upstreams)
        monkeypatch.setattr(Port, "look", lambda _: port)
        monkeypatch.setattr(ports, "leader", lambda _: NAMED)
        monkeypatch.setattr(units, "systemd_runs", lambda: True)
        config = Config(
            state_dir=Path("/x"), run_dir=Path("/x/run"), upstream=Upstream(servers=servers)
        )
        (wrong,) = (one for one in ports.look(config, None, USUAL) if one.state == "wrong")
        return wrong

    return look


def test_resolver_in_the_way_is_stopped_when_there_is_another_upstream(found: Found) -> None:
    assert found(["127.0.0.1", "127.0.0.9"], ["127.0.0.9", "192.0.2.53"]).remedy is not None


@pytest.mark.parametrize("held", [["127.0.0.1", "127.0.0.9"], ["0.0.0.0"]])
def test_resolver_that_is_the_only_upstream_is_not_stopped(found: Found, held: list[str]) -> None:
    wrong = found(held, ["127.0.0.9"])
    assert wrong.remedy is None
    assert wrong.do.startswith("fastdns would have no upstream: first name one")


def test_web_server_at_the_port_of_https_is_named_and_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nginx = Process(80, "nginx", "", "nginx.service")

    def look(number: int) -> Port:
        protocols = {443: ("TCP", "UDP"), 853: ("UDP",)}.get(number, ())
        bound = [Bound(one, Address("0.0.0.0", number), n) for n, one in enumerate(protocols)]
        return Port(tuple(bound), {one.inode: {nginx.pid} for one in bound})

    monkeypatch.setattr(Port, "look", look)
    monkeypatch.setattr(ports, "leader", lambda pids: nginx if pids else None)
    everywhere = (Address("0.0.0.0", 853),), (Address("0.0.0.0", 443),)
    listen = Listen(tls=everywhere[0], https=everywhere[1], certificate="/c", key="/k")
    config = Config(state_dir=Path("/x"), run_dir=Path("/x/run"), listen=listen)
    found = list(ports.look(config, None, USUAL))
    (wrong,) = (one for one in found if one.state == "wrong")
    assert wrong.text == "nginx (pid 80, nginx.service) holds 0.0.0.0:443 (listen.https)"
    assert "configure it to pass /dns-query on" in wrong.do
    assert wrong.remedy is None
    assert "0.0.0.0:853: no other program listens there" in [one.text for one in found]
