"""`fastdns doctor` and a daemon that hangs, is missing or cannot be seen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.box import Box
from ..support.client import eventually


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


def test_rate_limit_that_this_machine_is_under_is_no_worker_that_hangs(box: Box) -> None:
    box.start_upstream()
    box.write("fastdns/fastdns.toml", "[access]\nrate_limit = 1\nrate_exempt = []\n")
    box.start_fastdns()
    found = box.findings("daemon", status=0)
    assert "answers on 127.0.0.1:53" in found[0]["text"]
    assert {one["state"] for one in found} == {"ok"}


def test_lists_that_could_not_be_fetched_are_named(box: Box) -> None:
    box.start_upstream()
    box.write("fastdns/fastdns.toml", '[block]\nlists = ["file:/nowhere/list"]\n')
    box.start_fastdns()
    (found,) = eventually(lambda: box.findings("block lists", status=0), bool)
    assert found["state"] == "hint"
    assert found["text"].startswith("file:/nowhere/list: there is no copy of it; last try: it ")
    assert found["do"] == "fastdns lists update tries again"


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
    named = []
    for pid in found:
        with contextlib.suppress(OSError):  # it has ended while we were looking
            if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                named.append(int(pid))
    return named


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


def test_daemon_that_does_not_run_is_said_to_be_missing(box: Box) -> None:
    box.start_upstream()
    (found,) = box.findings("daemon", status=1)
    assert (found["state"], found["do"]) == ("wrong", "fastdns serve")


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
