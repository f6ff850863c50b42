"""A real authoritative server, nsd, as an upstream: no root, no chroot, no rate limit."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from .client import ask
from .ports import free_port

CONFIG = """
server:
  ip-address: {host}@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  zonelistfile: "{directory}/zone.list"
  xfrdir: "{directory}"
  server-count: 1
  tcp-count: 200
  verbosity: 1
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
"""
ZONE = """
zone:
  name: "{name}"
  zonefile: "{directory}/{name}zone"
"""


class Nsd:
    """nsd with these zones (text by origin), answering on host:port while the `with` block runs."""

    def __init__(self, directory: Path, zones: Mapping[str, str], host: str = "127.0.0.1") -> None:
        self.directory = directory
        self.zones = zones
        self.host = host

    def __enter__(self) -> Nsd:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, text in self.zones.items():
            (self.directory / f"{name}zone").write_text(text)
        for _ in range(5):  # somebody may take the port between our look and nsd's bind
            if self._start():
                return self
        raise AssertionError(f"nsd does not start:\n{self._log}")

    def _start(self) -> bool:
        self.port = free_port(self.host)
        text = CONFIG.format(host=self.host, port=self.port, directory=self.directory)
        text += self.more + "".join(map(self._text, self.zones))
        config = self.directory / "nsd.conf"
        config.write_text(text)
        program = shutil.which("nsd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        assert program, "nsd is not installed (apt-get install nsd)"
        self.process = subprocess.Popen(
            [program, "-d", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self._log = ""
        for line in self.process.stderr:
            self._log += line
            if re.search(r"nsd started", line):
                break
        else:
            self.process.wait()
            return False
        # nsd writes on, and must not block on a full pipe.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        for name in self.zones:
            assert ask(self, name, "SOA", timeout=10).answer, f"no zone {name}:\n{self._log}"
        return True

    @property
    def more(self) -> str:
        """What else stands in its configuration."""
        return ""

    def _text(self, name: str) -> str:
        return ZONE.format(name=name, directory=self.directory)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
