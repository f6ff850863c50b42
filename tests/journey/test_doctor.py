"""`fastdns doctor` on a machine of its own: what it finds, puts right and takes back.

Without systemd, which these machines do not run.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.box import UPSTREAM, Box
from .support.client import eventually

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="port 53 and namespaces of its own take root"
)
RESOLV_CONF = f"search lan.test\noptions edns0\nnameserver {UPSTREAM}\n"
DNSMASQ = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--address=/#/192.0.2.1"]

# It knows of fastdns.service, which has never run.
SYSTEMCTL = """#!/bin/sh
case "$*" in
*LoadState*) echo loaded ;;
*reset-failed*) echo "Unit fastdns.service not loaded." >&2; exit 1 ;;
*" start "*) echo "$4" >> "${0%/*}/started" ;;
*) exit 3 ;;
esac
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as machine:
        machine.write("resolv.conf", RESOLV_CONF)
        yield machine


@pytest.fixture
def served(box: Box) -> Box:
    """A machine on which all is well: fastdns on port 53, in front of the machine's resolver."""
    box.start_upstream()
    box.start_fastdns()
    return box


# What it finds


def test_machine_on_which_all_is_well_has_status_0(served: Box) -> None:
    told = json.loads(served.doctor("--json", status=0))

    assert told["ok"]
    assert {one["state"] for one in told["findings"]} <= {"ok", "hint"}
    assert "wrong" not in served.doctor(status=0)


def test_holder_of_the_port_is_named_with_its_pid(box: Box) -> None:
    box.start_upstream()
    pid = box.start(*DNSMASQ, "--bind-interfaces", "--listen-address=127.0.0.1")
    eventually(lambda: box.resolves("@127.0.0.1", "x.example"), bool)

    (found,) = (one for one in box.findings("port", status=1) if one["state"] == "wrong")

    assert found["text"].startswith(f"dnsmasq (pid {pid}")
    assert "127.0.0.1:53 (UDP and TCP)" in found["text"]
    assert found["do"]


def test_holder_of_a_wildcard_is_in_the_way_of_every_address(box: Box) -> None:
    pid = box.start(*DNSMASQ)
    eventually(lambda: box.resolves("@127.0.0.1", "x.example"), bool)

    (found,) = (one for one in box.findings("port", status=1) if one["state"] == "wrong")

    assert f"(pid {pid}" in found["text"]
    assert "conflicts with 127.0.0.1:53 and [::1]:53" in found["text"]


def test_others_on_the_same_port_of_other_addresses_do_no_harm(served: Box) -> None:
    (found,) = served.findings("port", status=0)

    assert found["state"] == "ok"
    assert found["text"].startswith("unbound (pid ")
    assert f"listens on {UPSTREAM}:53, which does not conflict" in found["text"]


def test_daemon_that_hangs_is_found_to_be_silent(served: Box) -> None:
    os.killpg(served.started[-1].pid, signal.SIGSTOP)

    silent = [one["text"] for one in served.findings("daemon", status=1)]

    assert any("does not answer on 127.0.0.1:53 over UDP: no answer in time" in s for s in silent)


# All is imported first: the checkout may be closed to everybody but root.
PLAIN_USER = """
import os, sys
import fastdns.cli.doctor
from fastdns.cli import main
from fastdns.machine import preload
preload.import_late()
user = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
main()
"""


def plain_user(user: int) -> tuple[str, ...]:
    """How a user without any power runs fastdns."""
    return (sys.executable, "-c", PLAIN_USER, str(user))


def test_plain_user_is_told_that_all_is_well_and_what_only_root_sees(served: Box) -> None:
    served.run("chmod", "0750", "/var/lib/fastdns", "/run/fastdns")
    for user in (65534, 65533):  # the daemon's, and another one
        seen = served.run("env", "HOME=/nowhere", *plain_user(user), "doctor", "--json")
        assert seen.returncode == 0, seen.stdout + seen.stderr
        found = json.loads(seen.stdout)["findings"]
        assert "wrong" not in {one["state"] for one in found}
        told = [one["text"] for one in found if one["about"] == "daemon"]
        assert "answers on 127.0.0.1:53" in told[0]
        assert [one["do"] for one in found if one["about"] == "rights"] == ["sudo fastdns doctor"]


def test_daemon_with_addresses_of_its_command_line_is_judged_by_these(box: Box) -> None:
    box.start_upstream()
    box.start_fastdns("--listen", "127.0.0.1:5353", port=5353)

    found = box.findings("daemon", status=0)

    assert {one["state"] for one in found} == {"ok"}
    assert "answers on 127.0.0.1:5353, over UDP and TCP" in found[0]["text"]
    assert "it was started with --listen" in found[-1]["text"]


def test_daemon_with_an_earlier_configuration_is_judged_by_its_real_addresses(
    served: Box,
) -> None:
    served.write("fastdns/fastdns.toml", '[listen]\ndns = ["127.0.0.1:5300"]\n')

    found = served.findings("daemon", status=0)

    assert "answers on 127.0.0.1:53 and [::1]:53" in found[0]["text"]
    assert (found[-1]["state"], found[-1]["do"]) == ("hint", "fastdns reload")
    assert "the configuration says 127.0.0.1:5300" in found[-1]["text"]
    assert served.findings("resolver", status=0)[0]["state"] == "ok"


HOLD = """
import socket, sys, time
held = [socket.create_connection(("127.0.0.1", 53)) for _ in range(40)]
for one in held:
    one.sendall(b"\\0")  # half a length: not idle
print("held", flush=True)
time.sleep(60)
"""


def test_connections_at_their_limit_are_no_broken_tcp(served: Box) -> None:
    holder = subprocess.Popen(served.enter(sys.executable, "-c", HOLD), stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        found = served.findings("daemon", status=0)
    finally:
        holder.kill()
        holder.communicate()
    (full,) = (one for one in found if one["state"] == "hint")
    assert "refuses new TCP connections on 127.0.0.1:53: 32 are open" in full["text"]


def children(box: Box, name: str) -> list[int]:
    """The processes of that name of the fastdns that was started last."""
    daemon = box.started[-1].pid
    found = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    return [int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"]


def test_worker_that_hangs_is_named_with_the_remedy(box: Box) -> None:
    box.start_upstream()
    listen = '[listen]\ndns = ["127.0.0.1:53"]\n'
    box.write("fastdns/fastdns.toml", f"workers = 2\n{listen}")
    box.start_fastdns()
    first, _ = children(box, "fastdns-worker")
    os.kill(first, signal.SIGSTOP)

    silent, hung = (one for one in box.findings("daemon", status=1) if one["state"] == "wrong")

    assert re.search(r"does not answer \d+ of 16 queries to 127.0.0.1:53 over UDP", silent["text"])
    assert f"the worker (pid {first}) hangs" in hung["text"]
    assert hung["do"].startswith(f"kill -9 {first} ")


def test_supervisor_that_hangs_is_named_with_the_remedy(served: Box) -> None:
    os.kill(served.started[-1].pid, signal.SIGSTOP)

    (found,) = (one for one in served.findings("daemon", status=1) if one["state"] == "wrong")

    assert f"the supervisor (pid {served.started[-1].pid}) hangs" in found["text"]


def test_keeper_that_hangs_is_named_with_the_remedy(served: Box) -> None:
    (keeper,) = children(served, "fastdns-keeper")
    os.kill(keeper, signal.SIGSTOP)

    (found,) = (one for one in served.findings("daemon", status=1) if one["state"] == "wrong")

    assert f"the keeper (pid {keeper}) hangs" in found["text"]
    assert found["do"].startswith(f"kill -9 {keeper} ")


@pytest.mark.parametrize("gone", ["/run/fastdns", "/run/fastdns/counters"])
def test_directory_that_is_gone_is_named_with_the_remedy(served: Box, gone: str) -> None:
    served.run("rm", "-r", gone)

    (found,) = (one for one in served.findings("daemon", status=1) if one["state"] == "wrong")

    assert found["text"].startswith(f"{gone} is gone")
    assert found["do"] == "restart it"


def test_daemon_of_another_version_is_named_with_the_remedy(served: Box) -> None:
    served.run(
        "dd",
        "if=/dev/zero",
        "of=/run/fastdns/counters",
        "bs=1",
        "seek=8",
        "count=4",
        "conv=notrunc",
    )

    (found,) = (one for one in served.findings("daemon", status=0) if one["state"] == "hint")

    assert "is another version" in found["text"]
    assert found["do"] == "restart it"


def test_state_dir_that_was_changed_since_is_no_daemon_that_does_not_run(served: Box) -> None:
    served.write("fastdns/fastdns.toml", 'state_dir = "/var/lib/other"\n')

    found = served.findings("daemon", status=1)

    (changed,) = (one for one in found if one["state"] == "wrong")
    assert "runs with state_dir /var/lib/fastdns" in changed["text"]
    assert "the configuration says /var/lib/other" in changed["text"]
    assert any("answers on 127.0.0.1:53" in one["text"] for one in found)
    reload = served.run(sys.executable, "-m", "fastdns", "reload")
    assert reload.returncode == 1
    assert "runs with state_dir /var/lib/fastdns, which cannot change" in reload.stderr


@pytest.mark.parametrize("refuse", ["refused", "drop"])
def test_machine_that_may_not_ask_itself_is_told_the_rule(box: Box, refuse: str) -> None:
    box.start_upstream()
    denied = f'deny = ["127.0.0.1"]\nrefuse = "{refuse}"\n'
    box.write("fastdns/fastdns.toml", f'[listen]\ndns = ["127.0.0.1:53"]\n[access]\n{denied}')
    box.start(sys.executable, "-m", "fastdns", "serve")
    eventually(lambda: box.run("test", "-e", "/run/fastdns/supervisor").returncode == 0, bool)

    found = box.findings("daemon", status=1)

    assert [one["state"] for one in found] == ["wrong"]
    assert "this machine (" in found[0]["text"]
    assert found[0]["text"].endswith(': access.deny has "127.0.0.1"')
    assert "allow 127.0.0.1 under [access]" in found[0]["do"]


def test_rule_that_the_daemon_still_has_and_the_file_no_more_takes_a_reload(box: Box) -> None:
    box.start_upstream()
    listen = '[listen]\ndns = ["127.0.0.1:53"]\n'
    box.write("fastdns/fastdns.toml", f'{listen}[access]\ndeny = ["127.0.0.0/8"]\n')
    box.start(sys.executable, "-m", "fastdns", "serve")
    eventually(lambda: box.run("test", "-e", "/run/fastdns/supervisor").returncode == 0, bool)
    box.write("fastdns/fastdns.toml", listen)

    (found,) = box.findings("daemon", status=1)

    assert "(REFUSED, Extended DNS Error 18), but the configuration allows it" in found["text"]
    assert found["do"] == "fastdns reload"


def test_commands_that_are_advised_name_the_same_file(box: Box) -> None:
    box.start_upstream()
    box.write("fastdns/own.toml", '[listen]\ndns = ["127.0.0.1:5353"]\n')
    named = ("-c", "/etc/fastdns/own.toml")

    told = box.doctor(*named, status=1)
    assert "do: fastdns serve -c /etc/fastdns/own.toml\n" in told

    box.start_fastdns(*named, "--state", "/var/lib/own", port=5353)
    box.write("fastdns/own.toml", '[listen]\ndns = ["127.0.0.1:5300"]\n')
    told = box.doctor(*named, "--state", "/var/lib/own", status=0)
    assert "do: fastdns reload -c /etc/fastdns/own.toml --state /var/lib/own\n" in told


def test_upstream_that_refuses_is_not_said_to_be_out_of_reach(box: Box) -> None:
    box.start_upstream("127.0.9.8", access="refuse")
    box.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.9.8"]\n')

    (found,) = box.findings("upstream", status=1)

    assert "answers REFUSED to . NS: it does not serve this address" in found["text"]
    assert found["do"] == "name another one in upstream.servers, or allow this machine there"


def test_open_resolver_is_a_hint_of_doctor_and_a_warning_of_check(box: Box) -> None:
    box.start_upstream()
    box.run("ip", "address", "add", "203.0.113.5/32", "dev", "lo")
    listen = '[listen]\ndns = ["127.0.0.1:53", "203.0.113.5:53"]\n'
    box.write("fastdns/fastdns.toml", f'{listen}[access]\nallow = ["loopback", "0.0.0.0/0"]\n')
    box.start_fastdns()

    checked = box.run(sys.executable, "-m", "fastdns", "check")

    assert "203.0.113.5:53 is an open resolver" in checked.stderr
    assert checked.returncode == 0

    (found,) = box.findings("access", status=0)
    assert (found["state"], "open resolver" in found["text"]) == ("hint", True)


def test_daemon_that_does_not_run_is_said_to_be_missing(box: Box) -> None:
    box.start_upstream()
    (found,) = box.findings("daemon", status=1)
    assert (found["state"], found["do"]) == ("wrong", "fastdns serve")


def test_upstream_that_is_dead_is_named(box: Box) -> None:
    (found,) = box.findings("upstream", status=1)
    assert found["state"] == "wrong"
    told = f"{UPSTREAM}:53 does not answer: Connection refused (from /etc/resolv.conf)"
    assert found["text"] == told


def test_dead_upstream_beside_one_that_answers_is_only_a_hint(served: Box) -> None:
    served.write("resolv.conf", f"{RESOLV_CONF}nameserver 127.0.9.8\n")
    assert [one["state"] for one in served.findings("upstream", status=0)] == ["ok", "hint"]


def test_upstreams_of_the_command_line_are_judged_and_no_reload_is_advised(box: Box) -> None:
    box.start_upstream("127.0.9.8")  # the one of resolv.conf is dead
    box.start_fastdns("--upstream", "127.0.9.8")

    (found,) = box.findings("upstream", status=0)

    assert found["state"] == "ok"
    assert found["text"].startswith("127.0.9.8:53 answers")
    assert found["text"].endswith("(given by --upstream)")
    assert "fastdns reload" not in box.doctor(status=0)


def test_configuration_that_names_others_than_upstream_given_is_told_not_to_count(box: Box) -> None:
    box.start_upstream("127.0.9.8")
    box.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.9.7"]\n')
    box.start_fastdns("--upstream=127.0.9.8")

    found = box.findings("upstream", status=0)

    assert [one["state"] for one in found] == ["ok", "ok"]
    assert "the configuration names 127.0.9.7:53, which no reload changes" in found[1]["text"]


def test_upstreams_of_an_earlier_configuration_are_judged_and_a_reload_is_advised(
    served: Box,
) -> None:
    served.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.9.7"]\n')

    found = served.findings("upstream", status=0)

    assert found[0]["text"].startswith(f"{UPSTREAM}:53 answers")
    assert (found[-1]["state"], found[-1]["do"]) == ("hint", "fastdns reload")
    assert f"asks {UPSTREAM}:53; the configuration names 127.0.9.7:53" in found[-1]["text"]


def test_daemon_with_a_file_of_its_own_is_judged_by_that_file(box: Box) -> None:
    box.start_upstream("127.0.9.8")
    box.write(
        "fastdns/own.toml",
        '[listen]\ndns = ["127.0.0.1:5353"]\n[upstream]\nservers = ["127.0.9.8"]\n',
    )
    where = ("--state", "/var/lib/own")
    box.start_fastdns("-c", "/etc/fastdns/own.toml", *where, port=5353)

    told = box.doctor(*where, status=0)

    assert "/etc/fastdns/own.toml is valid" in told
    assert "127.0.9.8:53 answers" in told
    assert "fastdns reload" not in told


def test_upstream_that_takes_no_tcp_is_named_with_what_fails_and_the_remedy(box: Box) -> None:
    box.start_upstream(tcp=False)

    found = box.findings("upstream", status=1)

    assert [one["state"] for one in found] == ["ok", "wrong"]
    refused = "53 answers over UDP, but not over TCP (Connection refused)"
    assert f"{UPSTREAM}:{refused}" in found[1]["text"]
    assert "answers that are too large for UDP" in found[1]["text"]
    assert "TCP from this machine to its port 53" in found[1]["do"]


def test_every_error_of_a_configuration_is_told(box: Box) -> None:
    box.write("fastdns/fastdns.toml", 'workers = "x"\n[cache]\nmemory = 7\n')

    found = box.findings("configuration", status=1)

    assert ["workers" in found[0]["text"], "cache.memory" in found[1]["text"]] == [True, True]
    assert len(found) == 2


def test_daemon_that_goes_on_with_an_earlier_configuration_is_named(served: Box) -> None:
    served.write("fastdns/fastdns.toml", 'workers = "x"\n[cache]\nmemory = 7\n')

    (found,) = served.findings("daemon", status=1)

    assert f"fastdns (pid {served.started[-1].pid}) still uses" in found["text"]
    assert served.doctor(status=1).count("do: fastdns check") == 1


def test_resolver_that_nobody_answers_for_is_found(box: Box) -> None:
    box.write("resolv.conf", "nameserver 127.0.0.1\n")
    (found,) = box.findings("resolver", status=1)
    assert "127.0.0.1, where nothing answers" in found["text"]


def test_whoever_may_see_little_is_told_what_can_be_seen(served: Box) -> None:
    served.write("fastdns/other", "")
    (served.etc / "fastdns").chmod(0o700)

    nobody = plain_user(65534)
    told = served.run(*nobody, "doctor", "--state", "/root/a/b")
    assert "Traceback" not in told.stderr
    assert "wrong  machine: /root/a/b: Permission denied" in told.stdout

    where = ("--state", "/var/lib/fastdns")
    seen = served.run(*nobody, "doctor", *where)
    assert "somebody holds" not in seen.stdout
    assert seen.returncode == 0, seen.stdout + seen.stderr


def test_systemctl_that_cannot_be_run_ends_no_examination(served: Box) -> None:
    served.run("mkdir", "-p", "/run/systemd/system")
    nowhere = ("env", "PATH=/nowhere", sys.executable, "-m", "fastdns", "doctor")

    told = served.run(*nowhere)

    assert "wrong  daemon: cannot run systemctl: No such file" in told.stdout
    assert "ok     machine:" in told.stdout
    assert told.returncode == 1


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


# What it puts right, and takes back


def test_machine_is_pointed_at_fastdns_and_back(served: Box) -> None:
    served.doctor("--fix", "--resolver", "--yes", status=0)

    lines = (served.etc / "resolv.conf").read_text().splitlines()
    assert lines[1:] == [
        "search lan.test",
        "options edns0",
        "nameserver 127.0.0.1",
        f"nameserver {UPSTREAM}",
    ]
    assert served.findings("resolver", status=0)[0]["text"].endswith("resolver is fastdns (127.0.0.1)")

    served.doctor("--undo", "--yes", status=0)

    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF
    assert not (served.etc / "fastdns").exists()
    assert "nothing to undo" in served.doctor("--undo", "--yes", status=0)


def test_fastdns_that_is_asked_by_its_machine_still_knows_its_upstreams(served: Box) -> None:
    served.doctor("--fix", "--resolver", "--yes", status=0)
    served.end(served.started[-1])

    served.start_fastdns()

    assert served.resolves("new.example")  # by resolv.conf
    assert served.findings("upstream", status=0)[0]["text"].startswith(f"{UPSTREAM}:53 answers")


def test_configured_upstreams_leave_only_fastdns_in_resolv_conf(box: Box) -> None:
    box.start_upstream()
    box.write("fastdns/fastdns.toml", f'[upstream]\nservers = ["{UPSTREAM}"]\n')
    box.start_fastdns()

    box.doctor("--fix", "--resolver", "--yes", status=0)

    assert (box.etc / "resolv.conf").read_text().count("nameserver") == 1


def test_upstream_that_asks_whom_this_machine_asks_is_no_loop_afterwards(box: Box) -> None:
    box.start_upstream()
    box.start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=5300")
    box.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.0.1:5300"]\n')
    box.start_fastdns()

    told = box.doctor("--fix", "--resolver", "--yes", status=1)

    assert "gets no answers that way, so that was undone" in told
    assert (box.etc / "resolv.conf").read_text() == RESOLV_CONF
    eventually(lambda: box.resolves("@127.0.0.1", "after.example"), bool)


def test_fix_alone_does_not_point_the_machine_at_fastdns(served: Box) -> None:
    served.doctor("--fix", "--yes", status=0)
    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF


def test_nothing_is_pointed_at_fastdns_that_does_not_answer(box: Box) -> None:
    box.start_upstream()
    told = box.doctor("--fix", "--resolver", "--yes", status=1)
    assert "does not answer from an upstream yet" in told
    assert (box.etc / "resolv.conf").read_text() == RESOLV_CONF


@pytest.mark.parametrize("manager", ["NetworkManager", "resolvconf"])
def test_resolv_conf_of_another_program_is_left_to_it(served: Box, manager: str) -> None:
    text = f"# Generated by {manager}\nnameserver {UPSTREAM}\n"
    served.write("resolv.conf", text)

    told = served.doctor("--fix", "--resolver", "--yes", status=1)

    assert f"is written by {manager}" in told
    assert f'servers = ["{UPSTREAM}"]' in told
    assert (served.etc / "resolv.conf").read_text() == text


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


# On a terminal


def test_lines_are_broken_at_words_on_a_terminal_alone(box: Box) -> None:
    told = box.doctor(status=1).splitlines()
    assert any(len(line) > 90 for line in told)

    _, seen = box.doctor_on_terminal(typed="", columns=60)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in seen.splitlines()]

    assert max(map(len, lines)) <= 60
    assert "       " in {line[:7] for line in lines}
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join(told).split())


# Asking


def test_answer_no_leaves_everything_as_it_is(served: Box) -> None:
    _, seen = served.doctor_on_terminal("--fix", "--resolver", typed="n\n")
    assert f"nameserver 127.0.0.1 into /etc/resolv.conf; {UPSTREAM} stays behind it" in seen
    assert "[y/N]" in seen
    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF


def test_answer_yes_does_it(served: Box) -> None:
    status, _ = served.doctor_on_terminal("--fix", typed="y\n")  # the resolver is asked about, too
    assert status == 0
    assert "nameserver 127.0.0.1\n" in (served.etc / "resolv.conf").read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--fix", "--undo"], "opposites"),
        (["--fix"], "use --fix --yes"),
        (["--undo"], "use --undo --yes"),
        (["--resolver"], "goes with --fix"),
        (["--yes"], "goes with --fix or --undo"),
        (["--json", "--fix"], "--json does not go with"),
        (["x"], "unexpected extra argument"),
    ],
)
def test_bad_use_has_status_2(box: Box, arguments: list[str], problem: str) -> None:
    assert problem in box.doctor(*arguments, status=2)


def test_record_that_is_damaged_is_named_and_nothing_done(served: Box) -> None:
    served.write("fastdns/doctor.json", '{"version": 1, "changes": [{"kind": "x"}]}')
    told = served.doctor("--fix", "--resolver", "--yes", status=1)
    assert "/etc/fastdns/doctor.json: is not a record" in told
    assert (served.etc / "resolv.conf").read_text() == RESOLV_CONF


def test_who_may_not_read_the_lock_is_not_told_that_fastdns_runs(box: Box) -> None:
    box.run("mkdir", "-p", "/var/lib/fastdns")
    box.run("touch", "/var/lib/fastdns/lock")
    box.run("chmod", "0700", "/var/lib/fastdns")
    where = ("doctor", "--state", "/var/lib/fastdns")
    # Who is not root takes a daemon of another test's box for one of this machine's.
    seen = eventually(
        lambda: box.run("env", "HOME=/nowhere", *plain_user(65533), *where),
        lambda seen: "fastdns (pid" not in seen.stdout,
        120,
    )
    assert "nothing answers on 127.0.0.1:53 over UDP" in seen.stdout, seen.stdout + seen.stderr
    assert "fastdns runs" not in seen.stdout
