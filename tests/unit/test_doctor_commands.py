"""The commands that the doctor suggests are about the daemon that it was asked about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastdns.config.load import load
from fastdns.config.values import Address
from fastdns.doctor import daemon, other_machines, resolver, units
from fastdns.doctor.commands import USUAL, Commands
from fastdns.doctor.examine import admit, examine
from fastdns.doctor.findings import Finding
from fastdns.doctor.services import way_out
from fastdns.machine.port_owners import Process

NAMED = Commands("-c /x.toml")
COMMAND = re.compile(r"\bfastdns (?:check|doctor|reload|serve|stats|status)\b[^;,()]*")


def test_commands_about_the_usual_daemon_have_no_options() -> None:
    assert USUAL.line("reload") == "fastdns reload"
    assert USUAL.as_root("doctor") == "sudo fastdns doctor"


@pytest.mark.parametrize(
    ("path", "state", "line"),
    [
        ("/etc/own.toml", None, "fastdns doctor --undo -c /etc/own.toml"),
        (None, "/var/lib/own", "fastdns doctor --undo --state /var/lib/own"),
        ("a b.toml", "/s", "fastdns doctor --undo -c 'a b.toml' --state /s"),
    ],
)
def test_commands_name_what_the_doctor_was_told(
    path: str | None, state: str | None, line: str
) -> None:
    assert Commands.of(Path(path) if path else None, state).line("doctor --undo") == line


def test_every_command_of_an_examination_names_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        f'state_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}/run"\n'
        '[listen]\ndns = ["127.0.0.1:5353"]\n'
        '[upstream]\nservers = ["192.0.2.1:9"]\ntimeout = "10ms"\n'
    )
    found = list(examine(admit(file, None)))
    file.write_text("nonsense = 1\n")
    found += examine(admit(file, None))
    assert_named(found, f"-c {file}")


def test_every_command_about_the_resolver_and_what_was_stopped_names_the_same_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = load(None, state=str(tmp_path))
    monkeypatch.setattr(resolver.resolv, "nameservers", lambda *_: [])
    monkeypatch.setattr(units, "systemd_runs", lambda: False)
    found = [*resolver.look(config, None, NAMED), *daemon.look(config, None, NAMED)]
    found += other_machines.look(config, NAMED)
    assert_named(found, NAMED.options)


def test_dnsmasq_that_serves_dhcp_is_to_be_told_with_the_same_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastdns.doctor.services._serves_dhcp", lambda _: True)
    near = [Address("127.0.0.1", 53)]
    process = Process(1234, "dnsmasq", "dnsmasq", "dnsmasq.service")
    assert (
        "then fastdns doctor --fix -c /x.toml again" in way_out(process, near, near, (), NAMED).do
    )


def assert_named(found: list[Finding], options: str) -> None:
    about_it = [one.do for one in found if not one.do.startswith("to look at that one: ")]
    commands = [one for do in about_it for one in COMMAND.findall(do)]
    assert commands
    for one in commands:
        assert options in one, one
