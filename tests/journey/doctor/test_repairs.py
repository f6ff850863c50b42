"""`fastdns doctor --fix` and `--undo`: what is put right, and how it is taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from ..support.box import RESOLV_CONF, UPSTREAM, Box
from ..support.client import eventually

# It knows of fastdns.service, which has never run.
SYSTEMCTL = """#!/bin/sh
case "$*" in
*LoadState*) echo loaded ;;
*reset-failed*) echo "Unit fastdns.service not loaded." >&2; exit 1 ;;
*" start "*) echo "$4" >> "${0%/*}/started" ;;
*) exit 3 ;;
esac
"""


def test_unit_that_is_not_loaded_is_started_all_the_same(box: Box) -> None:
    box.start_upstream()
    box.run("mkdir", "-p", "/run/systemd/system")
    systemctl = box.place / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)

    box.run(
        *("env", f"PATH={systemctl.parent}:{os.environ['PATH']}"),
        *(sys.executable, "-m", "fastdns", "doctor", "--fix", "--yes"),
    )

    assert (box.place / "bin" / "started").read_text() == "fastdns.service\n"


def test_looking_changes_nothing(served: Box) -> None:
    before = {file: file.stat().st_mtime_ns for file in served.etc.rglob("*")}
    served.doctor(status=0)
    assert {file: file.stat().st_mtime_ns for file in served.etc.rglob("*")} == before


def test_what_somebody_has_changed_since_is_left_alone(served: Box) -> None:
    served.doctor("--fix", "--resolver", "--yes", status=0)
    served.write("resolv.conf", "nameserver 127.0.9.7\n")

    told = served.doctor("--undo", "--yes", status=0)

    assert "did not touch /etc/resolv.conf: it was changed since" in told
    assert (served.etc / "resolv.conf").read_text() == "nameserver 127.0.9.7\n"
    assert not (served.etc / "fastdns").exists()


def test_undo_works_when_fastdns_is_gone(served: Box) -> None:
    served.doctor("--fix", "--resolver", "--yes", status=0)
    served.end(served.started[-1])
    served.write("fastdns/fastdns.toml", "this is no TOML")

    served.doctor("--undo", "--yes", status=0)

    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF


def test_unit_that_was_stopped_is_named_where_systemd_does_not_run(served: Box) -> None:
    unit = {"kind": "unit", "unit": "named.service", "enabled": True, "active": True}
    record = {"version": 1, "changes": [unit | {"needs_port": False}]}
    served.write("fastdns/doctor.json", json.dumps(record))

    told = served.doctor("--undo", "--yes", status=0)

    assert "left named.service stopped, because systemd does not run here" in told
    assert "systemctl enable --now named.service" in told
    assert not (served.etc / "fastdns" / "doctor.json").exists()


def test_port_is_not_given_back_under_a_daemon_that_nobody_can_stop(served: Box) -> None:
    unit = {"kind": "unit", "unit": "named.service", "enabled": True, "active": True}
    record = {"version": 1, "changes": [unit | {"needs_port": True}]}
    served.write("fastdns/doctor.json", json.dumps(record))

    told = served.doctor("--undo", "--yes", status=1)

    assert "not undone: named.service: fastdns (pid " in told
    assert (served.etc / "fastdns" / "doctor.json").exists()


def test_nothing_is_taken_back_that_would_name_a_stub_that_cannot_start(served: Box) -> None:
    drop_in = {"text": "x\n", "link": None, "mode": 0o644}
    stub = {"text": "nameserver 127.0.0.53\n", "link": None, "mode": 0o644}
    now = {"text": RESOLV_CONF, "link": None, "mode": 0o644}
    served.write("drop-in.conf", "x\n")
    changes = [
        {"kind": "file", "path": "/etc/drop-in.conf", "before": None, "after": drop_in}
        | {"needs_port": True},
        {"kind": "file", "path": "/etc/resolv.conf", "before": stub, "after": now},
    ]
    served.write("fastdns/doctor.json", json.dumps({"version": 1, "changes": changes}))

    told = served.doctor("--undo", "--yes", status=1)

    assert "not undone: /etc/drop-in.conf: fastdns (pid " in told
    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF


def test_daemon_keeps_the_port_that_nobody_wants_back(served: Box) -> None:
    drop_in = {"text": "x\n", "link": None, "mode": 0o644}
    change = {"kind": "file", "path": "/etc/drop-in.conf", "before": None, "after": drop_in}
    record = {"version": 1, "changes": [change | {"needs_port": True}]}
    served.write("drop-in.conf", "somebody's\n")
    served.write("fastdns/doctor.json", json.dumps(record))

    told = served.doctor("--undo", "--yes", status=0)

    assert "it was changed since" in told
    assert served.resolves("@127.0.0.1", "after.example")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_repair_that_is_ended_leaves_nothing_half_done(served: Box, number: int) -> None:
    words = ("doctor", "--fix", "--resolver", "--yes")
    process = subprocess.Popen(
        served.enter(sys.executable, "-m", "fastdns", *words), stdout=subprocess.DEVNULL
    )
    resolv_conf = served.etc / "resolv.conf"
    eventually(lambda: "nameserver 127.0.0.1\n" in resolv_conf.read_text(), bool)
    process.send_signal(number)

    assert process.wait(30) == 130
    assert resolv_conf.read_text() == RESOLV_CONF
    assert not (served.etc / "fastdns").exists()


def test_record_is_roots_alone(served: Box) -> None:
    served.doctor("--fix", "--resolver", "--yes", status=0)
    assert (served.etc / "fastdns" / "doctor.json").stat().st_mode & 0o777 == 0o600


def test_answer_no_leaves_everything_as_it_is(served: Box) -> None:
    _, seen = served.doctor_on_terminal("--fix", "--resolver", typed="n\n")
    assert f"nameserver 127.0.0.1 into /etc/resolv.conf; {UPSTREAM} stays behind it" in seen
    assert "[y/N]" in seen
    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF


def test_answer_yes_does_it(served: Box) -> None:
    status, _ = served.doctor_on_terminal("--fix", typed="y\n")  # the resolver is asked about, too
    assert status == 0
    assert "nameserver 127.0.0.1\n" in (served.etc / "resolv.conf").read_text()


def test_record_that_is_damaged_is_named_and_nothing_done(served: Box) -> None:
    served.write("fastdns/doctor.json", '{"version": 1, "changes": [{"kind": "x"}]}')
    told = served.doctor("--fix", "--resolver", "--yes", status=1)
    assert "/etc/fastdns/doctor.json: is not a record" in told
    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF
