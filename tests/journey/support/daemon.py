"""A fastdns process: started by a command line, ready when it says so, ended by SIGTERM."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from fastdns.counters import Pages

from . import forks, leftovers
from .daemon_forks import ForkedDaemon, can_fork
from .manager import ServiceManager

USUAL = [sys.executable, "-m", "fastdns", "serve"]
READY = re.compile(r"ready on (\S+:\d+(?:, \S+:\d+)*) \(")
START_SECONDS = 20.0
STANDBY_SECONDS = 1.0  # a daemon that is alone, as those of some tests, has none
STOP_SECONDS = 10.0


class Fastdns:
    """`fastdns serve` on free ports of loopback; in a `with` block, stopping is part of the test.

    `host` and `port` are those of the first listen address, `addresses` has all of them. Leaving
    the block sends SIGTERM and asserts exit status 0 and a log without a traceback.
    """

    running: ClassVar[list[Fastdns]] = []

    def __init__(
        self,
        state_dir: Path,
        *,
        upstream: Sequence[object] = (),
        listen: Sequence[str] = ("127.0.0.1:0",),
        config: str = "",
        arguments: Sequence[str] = (),
        workers: int | None = 1,
        prefix: Sequence[str] = (),
        manager: ServiceManager | None = None,
        is_named: bool = True,
        is_forked: bool = True,
    ) -> None:
        """`prefix`: a command that becomes the one that follows it. `manager` starts it as systemd
        would, with what it has stored or opened. Without `is_named`, the configuration has to say
        which state_dir is its.

        With more than one worker, whose memory holds what depends on the client's port.

        Without `is_forked`, Python starts and imports anew, as for users: it shares no memory with
        others, so that memory can be measured, and others see its command line. That is by what
        one is found that is not named.
        """
        self.is_forked = is_forked and is_named
        self.command = [
            *prefix,
            *USUAL,
            *(("--state", str(state_dir)) if is_named else ()),
        ]
        if config:
            config_file = state_dir.with_suffix(
                ".toml"
            )  # beside it: inside is no place for strangers
            config_file.write_text(config)
            self.command += ["-c", str(config_file)]
        for address in listen:
            self.command += ["--listen", address]
        for server in upstream:
            self.command += ["--upstream", address_of(server)]
        if workers is not None:
            self.command += ["--workers", str(workers)]
        self.command += arguments
        self.state_dir = state_dir
        self.manager = manager
        self.log: list[str] = []
        self._log_grew = threading.Condition()
        self._log_ended = False

    def start(self) -> Fastdns:
        """Return when the ready line stands in the log; fail, with the log, when it ends first."""
        self.process = self._start()
        self.pid = self.process.pid
        Fastdns.running.append(self)
        leftovers.started(self.pid)
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        try:
            ready = self.wait_for_log(READY, START_SECONDS)
        except AssertionError:
            self.kill()
            raise
        self.addresses = [split_address(text) for text in ready[1].split(", ")]
        self.host, self.port = self.addresses[0]
        # The stand-by is forked right after that line.
        end = time.monotonic() + STANDBY_SECONDS
        while not self.processes("fastdns-standby") and time.monotonic() < end:
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        return self

    def _start(self) -> subprocess.Popen[str] | ForkedDaemon:
        is_usual = self.command[: len(USUAL)] == USUAL and self.manager is None
        if self.is_forked and is_usual and can_fork():
            return ForkedDaemon(self.command[len(USUAL) - 1 :])
        start = subprocess.Popen if self.manager is None else self.manager.start
        return start(
            self.command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def _collect(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._log_grew:
                self.log.append(line.rstrip("\n"))
                self._log_grew.notify_all()
        with self._log_grew:
            self._log_ended = True
            self._log_grew.notify_all()

    def wait_for_log(
        self, pattern: str | re.Pattern[str], timeout: float = 15.0, *, after: int = 0
    ) -> re.Match[str]:
        """The first match of pattern in a log line at index `after` or later, waited for."""
        search = re.compile(pattern).search
        with self._log_grew:
            seen = after
            found: list[re.Match[str]] = []

            def matched_or_ended() -> bool:
                nonlocal seen
                for line in self.log[seen:]:
                    if match := search(line):
                        found.append(match)
                seen = len(self.log)
                return bool(found) or self._log_ended

            self._log_grew.wait_for(matched_or_ended, timeout)
        assert found, f"no {pattern!r} within {timeout} s in:\n{self.tail()}\nof {self.command}"
        return found[0]

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log[-lines:])

    def process_ids(self) -> list[int]:
        """The daemon's process and all its descendants, oldest first."""
        ids = [self.pid]
        for pid in ids:
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    ids += map(int, (task / "children").read_text().split())
            except OSError:  # it ended while we were looking
                continue
        return ids

    @property
    def worker(self) -> int:
        """The process id of the one that answers; waited for, in case it is being replaced."""
        return self._wait_for_process("fastdns-worker")

    @property
    def workers(self) -> list[int]:
        """The process ids of all that answer just now."""
        return self.processes("fastdns-worker")

    @property
    def standby(self) -> int:
        """The process id of the one that takes over from a worker that dies."""
        return self._wait_for_process("fastdns-standby")

    @property
    def keeper(self) -> int:
        """The process id of the one that writes the cache on disk."""
        return self._wait_for_process("fastdns-keeper")

    def _wait_for_process(self, name: str) -> int:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if found := self.processes(name):
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"no {name}\n{self.tail()}")

    def processes(self, name: str) -> list[int]:
        """The ids of those of that name that have not ended."""
        living = []
        for pid in self.process_ids()[1:]:
            with contextlib.suppress(OSError):
                found, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
                if found.endswith(f"({name}") and rest[0] not in "ZX":
                    living.append(pid)
        return living

    def memory(self, pid: int | None = None) -> int:
        """Proportional set size of all its processes together, or of one, in octets."""
        assert not self.is_forked
        total = 0
        for each in self.process_ids() if pid is None else [pid]:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)[1]) * 1024
        return total

    def counter(self, name: str) -> int:
        """What one of its counters says now."""
        return Pages.attach(self.state_dir / "run" / "counters").total(name)

    def reload(self) -> subprocess.CompletedProcess[str]:
        """What `fastdns reload` did."""
        return forks.run("reload", "--state", str(self.state_dir))

    def configure(self, text: str) -> None:
        """Write its configuration anew."""
        self.state_dir.with_suffix(".toml").write_text(text)

    def stop(self) -> None:
        """SIGTERM; the promise is exit status 0, soon, and no traceback in all of the log."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        finally:
            self.kill()
        assert status == 0, f"exit status {status}\n{self.tail()}"
        assert not any("Traceback" in line for line in self.log), self.tail()

    def kill(self) -> None:
        """End whatever is left of it; no promise is checked."""
        if self in Fastdns.running:
            Fastdns.running.remove(self)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        leftovers.ended(self.pid)
        self._reader.join(STOP_SECONDS)

    def __enter__(self) -> Fastdns:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


def split_address(text: str) -> tuple[str, int]:
    """("::1", 53) from "[::1]:53"."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def address_of(server: object) -> str:
    """The URL of an upstream: a text as it is, a started peer by its host and port."""
    if isinstance(server, str):
        return server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}"
