"""unbound in front of another server, or with names of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .client import Place, eventually
from .daemon import address_of
from .ports import free_port

PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
SETTINGS = """\
server:
  interface: {host}@{port}
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/pid"
  use-syslog: no
  logfile: "{directory}/log"
  module-config: "iterator"
{settings}
remote-control:
  control-enable: yes
  control-interface: {directory}/control
forward-zone:
  name: "."
  forward-addr: {upstream}
"""


class Unbound:
    """unbound, answering on host:port from one upstream while the `with` block runs."""

    host = "127.0.0.1"

    def __init__(self, directory: Path, upstream: Place, settings: str = "") -> None:
        """`settings`: lines of the section server, indented."""
        self.directory = directory
        self._settings = settings
        self.upstream = upstream
        self._config = directory / "unbound.conf"

    def __enter__(self) -> Unbound:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port(self.host)
        upstream = address_of(self.upstream).replace(":", "@")
        self._config.write_text(
            SETTINGS.format(
                host=self.host,
                port=self.port,
                directory=self.directory,
                upstream=upstream,
                settings=self._settings,
            )
        )
        self.process = subprocess.Popen([_program("unbound"), "-d", "-c", str(self._config)])
        eventually(lambda: self._control("status").returncode, lambda status: status == 0)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    def dump(self) -> str:
        """What `unbound-control dump_cache` prints."""
        done = self._control("dump_cache")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def queries(self) -> list[tuple[str, str]]:
        """Return the names and types it was asked for, by its query log (log-queries: yes)."""
        log = (self.directory / "log").read_text()
        return re.findall(r"info: 127\.0\.0\.1 (\S+) (\S+) IN", log)

    def _control(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_program("unbound-control"), "-c", str(self._config), command],
            capture_output=True,
            text=True,
            check=False,
        )


def _program(name: str) -> str:
    program = shutil.which(name, path=PATH)
    assert program, f"{name} is not installed (apt-get install unbound)"
    return program
