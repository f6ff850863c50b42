"""How each program on port 53 can be made to free it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from fastdns.config.values import Address
from fastdns.doctor import services, units
from fastdns.doctor.record import Record
from fastdns.doctor.services import way_out
from fastdns.errors import FastdnsError
from fastdns.machine.port_owners import Bound, Port, Process

EVERYWHERE = Address("0.0.0.0", 53)


def do(name: str, unit: str | None, command: str = "", *, pid: int = 412) -> str:
    return way_out(Process(pid, name, command, unit), [EVERYWHERE], [EVERYWHERE]).do


@pytest.mark.parametrize(
    ("name", "unit", "command", "expected"),
    [
        ("named", "named.service", "", "systemctl disable --now named.service, or name other"),
        ("systemd-resolve", "systemd-resolved.service", "", "DNSStubListener=no"),
        ("dnsmasq", "NetworkManager.service", "", "dns=default under [main]"),
        ("dnsmasq", "libvirtd.service", "", "it serves virtual machines"),
        ("dnsmasq", None, "dnsmasq --conf-file=/var/lib/libvirt/x", "it serves virtual machines"),
        ("dnsmasq", "lxc-net.service", "", "it serves virtual machines"),
        ("docker-proxy", "docker.service", "", "docker ps --filter publish=53"),
        ("fastdns", "other.service", "", "another fastdns"),
        ("python3", None, "python3 -m fastdns serve --state /x", "another fastdns"),
        ("coredns", "session-3.scope", "", "kill 412, or name other addresses"),
        ("coredns", "user@1000.service", "", "kill 412"),
        ("coredns", None, "", "kill 412"),
    ],
)
def test_each_has_its_own_way_out(name: str, unit: str | None, command: str, expected: str) -> None:
    assert do(name, unit, command).startswith(expected)


def test_socket_of_systemd_itself_is_looked_up_among_its_units() -> None:
    assert "systemctl list-sockets" in do("systemd", "init.scope", pid=1)


def test_further_stubs_of_resolved_are_closed_too() -> None:
    assert "DNSStubListenerExtra=" in do("systemd-resolve", "systemd-resolved.service")

    stub = [Address("127.0.0.53", 53), Address("127.0.0.54", 53)]
    process = Process(412, "systemd-resolve", "", "systemd-resolved.service")
    assert "DNSStubListenerExtra=" not in way_out(process, stub, [EVERYWHERE]).do


@pytest.mark.parametrize("leaves", [True, False])
def test_resolved_that_keeps_the_port_gets_its_settings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    stub = Address("127.0.0.53", 53)
    process = Process(412, "systemd-resolve", "", "systemd-resolved.service")
    bound = () if leaves else (Bound("UDP", stub, 7),)
    file = tmp_path / "resolved.conf.d" / "fastdns.conf"
    monkeypatch.setattr(Port, "look", lambda _: Port(bound, {7: {412}}))
    monkeypatch.setattr(services, "read_process", lambda _: process)
    monkeypatch.setattr(services, "names_stub", lambda _: False)
    monkeypatch.setattr(services, "RESOLVED_DROP_IN", file)
    monkeypatch.setattr(units, "systemd_runs", lambda: True)
    monkeypatch.setattr(units, "is_active", lambda _: True)
    monkeypatch.setattr(units, "change", lambda *_: None)
    remedy = way_out(process, [stub], [EVERYWHERE]).remedy
    assert remedy is not None

    with nullcontext() if leaves else pytest.raises(FastdnsError, match="keeps the port"):
        remedy.apply(Record(tmp_path / "fastdns" / "doctor.json"))

    assert file.exists() is leaves


@pytest.mark.parametrize("unit", ["docker.service", "AdGuardHome.service", "my-own.service"])
def test_nothing_is_stopped_that_may_have_other_work(unit: str) -> None:
    assert way_out(Process(412, "x", "", unit), [EVERYWHERE], [EVERYWHERE]).remedy is None
