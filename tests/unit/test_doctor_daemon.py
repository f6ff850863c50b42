"""What hangs is waited for once, however much of it there is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fastdns.config.load import load
from fastdns.config.places import Places
from fastdns.config.schema import Config
from fastdns.config.values import Address
from fastdns.doctor import daemon, probe, processes, units
from fastdns.doctor.commands import USUAL
from fastdns.doctor.findings import Finding
from fastdns.doctor.running import Daemon

TOGETHER_SECONDS = 10.0
NOBODY = 2**22 - 1  # a pid that no process has, nor has had children


def test_all_addresses_are_asked_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=TOGETHER_SECONDS)

    def ask_often(*_: object) -> list[OSError]:
        together.wait()
        return [TimeoutError()]

    monkeypatch.setattr(probe, "ask_often", ask_often)
    monkeypatch.setattr(units, "is_known", lambda _: False)
    config = load(None, state=str(tmp_path), listen=("127.0.0.1:5301", "127.0.0.2:5302"))
    running = Daemon(1, addresses=config.listen.dns)
    assert [one.text.partition(" over ")[0] for one in daemon.look(config, running, USUAL)] == [
        "fastdns (pid 1) runs, but does not answer on 127.0.0.1:5301",
        "fastdns (pid 1) runs, but does not answer on 127.0.0.2:5302",
    ]


def test_all_processes_are_asked_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    config = load(None, state=str(tmp_path))
    places = Places(config.state_dir, config.run_dir)
    places.run_dir.mkdir()
    for path in (places.counters, places.control, places.supervisor, places.keeper):
        path.touch()

    tries: list[None] = []

    def ask(*_: object) -> None:
        together.wait()
        raise TimeoutError

    def wake_workers(*_: object) -> bool:
        if not tries:  # it is tried twice
            together.wait()
        tries.append(None)
        return False

    monkeypatch.setattr(processes, "wake_workers", wake_workers)
    monkeypatch.setattr(processes, "ask", ask)
    monkeypatch.setattr(processes, "_silent_workers", lambda *_: [together.wait()][:0])
    found = list(processes.look(config, Daemon(NOBODY, run_dir=places.run_dir)))
    assert [one.text.partition(":")[0] for one in found] == [
        "no keeper runs at the moment",
        f"the supervisor (pid {NOBODY}) hangs",
    ]


def addresses_of(config: Config, running: Daemon) -> list[Finding]:
    return list(daemon.look_at_addresses(config, running, USUAL))


def test_addresses_that_the_file_no_longer_has_keep_their_service(tmp_path: Path) -> None:
    both = Address("127.0.0.1", 5301), Address("127.0.0.1", 24443)
    config = load(None, state=str(tmp_path), listen=("127.0.0.1:5301",))
    told = {"addresses": ["127.0.0.1:5301", "https://127.0.0.1:24443"]}
    running = Daemon(1, addresses=both, told=told)
    judged = running.listen(config.listen)
    assert judged.dns == both[:1]  # asked by plain DNS; the other one is not
    assert list(map(str, judged.https)) == ["127.0.0.1:24443"]
    (found,) = addresses_of(config, running)
    assert "serves 127.0.0.1:5301 and https://127.0.0.1:24443; the configuration" in found.text
    assert (found.state, found.do) == ("hint", USUAL.line("reload"))
    refused = Daemon(1, addresses=both, told={**told, "reload_problem": "listen.tls: is wrong"})
    (found,) = addresses_of(config, refused)
    assert found.text.endswith("its last reload was refused: listen.tls: is wrong")


def test_remedy_names_systemd_only_for_a_unit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe, "ask_often", lambda *_: [TimeoutError()])
    monkeypatch.setattr(units, "is_known", lambda _: False)
    config = load(None, state=str(tmp_path), listen=("127.0.0.1:5301",))
    for unit, do in ((None, "restart it"), ("dns.service", "systemctl restart dns.service")):
        running = Daemon(1, addresses=config.listen.dns, unit=unit)
        (found,) = daemon.look(config, running, USUAL)
        assert found.do == do
