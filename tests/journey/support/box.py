"""A machine of its own as far as network, /etc, /run and /var/lib go: port 53 is free there."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import forks
from .client import eventually

NEEDED_OF_ETC = ["passwd", "group", "nsswitch.conf", "hosts", "ld.so.cache", "localtime"]
ENTER = """
ip link set lo up && mount --make-rprivate / && mount --bind "$0" /etc &&
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && echo ready && exec sleep infinity
"""
UPSTREAM = "127.0.9.9"
RESOLV_CONF = f"search lan.demo\noptions edns0\nnameserver {UPSTREAM}\n"
UNBOUND = """
server:
  interface: {host}
  access-control: 127.0.0.0/8 {access}
  do-daemonize: no
  do-tcp: {tcp}
  username: ""
  chroot: ""
  directory: "{place}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  local-zone: "." redirect
  local-data: ". 300 IN A 192.0.2.1"
remote-control:
  control-enable: no
"""


class Box:
    """Commands are run inside it; what was started there ends with it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.etc = place / "etc"
        self.etc.mkdir()
        for name in NEEDED_OF_ETC:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(Path("/etc") / name, self.etc)
        self.started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Box:
        self._inside = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", ENTER, str(self.etc)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._inside.stdout is not None
        if self._inside.stdout.readline() != "ready\n":
            _, told = self._inside.communicate()
            pytest.skip(f"this test needs namespaces of its own: {told.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            self.end(process)
        self._inside.kill()
        self._inside.communicate()

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what was started, and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def enter(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self._inside.pid}", "--net", "--mount", *command]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.enter(*command),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *command: str) -> int:
        """Start what runs until the end of the test; return its process id."""
        process = subprocess.Popen(
            self.enter(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started.append(process)
        return process.pid

    def write(self, name: str, text: str) -> None:
        """Write a file of its /etc."""
        file = self.etc / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def resolves(self, *arguments: str) -> bool:
        """Ask with dig."""
        done = self.run("dig", "+short", "+tries=1", "+time=1", *arguments)
        return done.stdout == "192.0.2.1\n"

    def start_upstream(
        self, host: str = UPSTREAM, *, tcp: bool = True, access: str = "allow"
    ) -> int:
        """Start unbound, which answers 192.0.2.1 whatever it is asked, to whom it allows."""
        file = self.place / f"unbound-{host}.conf"
        tcp_word = "yes" if tcp else "no"
        file.write_text(UNBOUND.format(host=host, place=self.place, tcp=tcp_word, access=access))
        pid = self.start("unbound", "-d", "-c", str(file))
        wanted = "NOERROR" if access == "allow" else "REFUSED"
        dig = ("dig", "+tries=1", "+time=1", f"@{host}", "started.example")
        eventually(lambda: f"status: {wanted}," in self.run(*dig).stdout, bool)
        return pid

    def start_fastdns(self, *arguments: str, port: int = 53) -> int:
        """Start fastdns as its configuration and the arguments say."""
        pid = self.start(sys.executable, "-m", "fastdns", "serve", *arguments)
        eventually(lambda: self.resolves("@127.0.0.1", f"-p{port}", "started.example"), bool)
        return pid

    def doctor(self, *arguments: str, status: int) -> str:
        """Run `fastdns doctor`, which ends with this status; return what it prints."""
        done = forks.run("doctor", *arguments, inside=self._inside.pid)
        assert "Traceback" not in done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def findings(self, about: str, *, status: int) -> list[dict[str, Any]]:
        """What `fastdns doctor --json` says about one thing."""
        found = json.loads(self.doctor("--json", status=status))["findings"]
        return [one for one in found if one["about"] == about]

    def doctor_on_terminal(
        self, *arguments: str, typed: str, columns: int = 200
    ) -> tuple[int, str]:
        """Run it on a terminal where somebody types that; return status and all that is seen."""
        ours, theirs = pty.openpty()
        command = self.enter(sys.executable, "-m", "fastdns", "doctor", *arguments)
        environment = os.environ | {"COLUMNS": str(columns)}
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                seen += part
        os.close(ours)
        return process.wait(60), seen.decode()
