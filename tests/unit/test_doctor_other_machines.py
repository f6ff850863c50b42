"""The doctor warns of what `--fix` takes from other machines; `--undo` and the next boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastdns.config.clients import parse_clients
from fastdns.config.schema import Access
from fastdns.config.values import Address
from fastdns.doctor import units
from fastdns.doctor.changes import UnitChange
from fastdns.doctor.other_machines import uncovered
from fastdns.doctor.record import Record
from fastdns.doctor.services import way_out
from fastdns.doctor.undo import undo
from fastdns.machine.port_owners import Process
from fastdns.policy.access import admitted_strangers

HERE = (Address("127.0.0.1", 53), Address("::1", 53))
EVERYWHERE = (Address("0.0.0.0", 53), Address("::", 53))
LAN = Address("192.168.1.1", 53)


class Systemd:
    """What is asked of systemctl, and what is enabled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.enabled = {"dnsmasq.service", "fastdns.service"}
        monkeypatch.setattr(units, "systemd_runs", lambda: True)
        monkeypatch.setattr(units, "is_active", lambda _: True)
        monkeypatch.setattr(units, "is_known", lambda _: True)
        monkeypatch.setattr(units, "is_enabled", self.enabled.__contains__)
        monkeypatch.setattr(units, "change", self.change)
        monkeypatch.delenv("DPKG_MAINTSCRIPT_PACKAGE", raising=False)

    def change(self, *words: str) -> None:
        self.said.append(" ".join(words))
        if words[0] == "disable":
            self.enabled.discard(words[-1])
        if words[0] == "enable":
            self.enabled.add(words[-1])


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Systemd:
    return Systemd(monkeypatch)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "fastdns" / "doctor.json")


@pytest.mark.parametrize(
    ("served", "wanted", "lost"),
    [
        (EVERYWHERE, HERE, EVERYWHERE),
        ((*HERE, LAN), HERE, (LAN,)),
        ((*HERE, LAN), EVERYWHERE, ()),
        ((LAN,), (LAN,), ()),
        (HERE, HERE, ()),
        (EVERYWHERE, EVERYWHERE[:1], EVERYWHERE[1:]),
    ],
)
def test_other_machines_lose_what_fastdns_does_not_cover(
    served: tuple[Address, ...], wanted: tuple[Address, ...], lost: tuple[Address, ...]
) -> None:
    assert tuple(uncovered(served, wanted)) == lost


@pytest.mark.parametrize("name", ["dnsmasq", "named"])
def test_taking_dns_from_other_machines_is_said_before_and_in_the_result(
    systemd: Systemd, record: Record, name: str
) -> None:
    process = Process(412, name, "", f"{name}.service")
    remedy = way_out(process, HERE, HERE, (*HERE, LAN)).remedy
    assert remedy is not None

    for told in (remedy.asks, remedy.apply(record)):
        assert "OTHER MACHINES that use it at 192.168.1.1:53 then have no DNS" in told
        assert 'listen.dns = ["0.0.0.0:53", "[::]:53"]' in told
    (change,) = Record(record._path).changes
    assert isinstance(change, UnitChange)
    assert change.served == ("192.168.1.1:53",)


def test_nothing_is_said_of_other_machines_where_they_lose_nothing(systemd: Systemd) -> None:
    process = Process(412, "dnsmasq", "", "dnsmasq.service")
    for wanted, served in ((HERE, HERE), (EVERYWHERE, (*HERE, LAN))):
        remedy = way_out(process, HERE, wanted, served).remedy
        assert remedy is not None
        assert "MACHINES" not in remedy.asks


def test_after_undo_nothing_of_ours_starts_with_the_system(
    systemd: Systemd, record: Record
) -> None:
    record.make(UnitChange.of("dnsmasq.service"))
    said: list[str] = []

    assert undo(record, 7, said.append)

    assert systemd.enabled == {"dnsmasq.service"}
    assert systemd.said[-1] == "disable --now fastdns.service"
    assert "fastdns.service no longer starts with the system" in said[-1]


@pytest.mark.parametrize("daemon", [None, 7])
def test_package_that_is_removed_leaves_that_to_debian(
    systemd: Systemd, record: Record, monkeypatch: pytest.MonkeyPatch, daemon: int | None
) -> None:
    monkeypatch.setenv("DPKG_MAINTSCRIPT_PACKAGE", "fastdns")
    record.make(UnitChange.of("dnsmasq.service"))
    assert undo(record, daemon, print)
    assert "fastdns.service" in systemd.enabled


def test_undo_that_gives_no_port_back_leaves_fastdns_enabled(
    systemd: Systemd, record: Record
) -> None:
    record.make(UnitChange("x.service", enabled=True, active=True, needs_port=False))
    assert undo(record, 7, print)
    assert "fastdns.service" in systemd.enabled


@pytest.mark.parametrize(
    ("allow", "deny", "strangers"),
    [
        ("0.0.0.0/0", "", True),
        ("::/0", "", True),
        ("128.0.0.0/1", "", True),
        ("2000::/3", "", True),
        ("8.0.0.0/8", "", True),
        ("0.0.0.0/0", "0.0.0.0/0", False),
        ("10.0.0.0/8", "", False),
        ("127.0.0.0/8", "", False),
        ("fc00::/7", "", False),
        ("198.51.0.0/16", "", False),
        ("2001:db8::/32", "", False),
    ],
)
def test_wide_prefixes_of_strangers_make_an_open_resolver(
    allow: str, deny: str, strangers: bool
) -> None:
    section = Access(
        ("loopback", "lan", parse_clients(allow)), (parse_clients(deny),) if deny else ()
    )
    assert bool(list(admitted_strangers(section))) is strangers
