"""The certificate of a running daemon: brought by root, followed, and told of."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastdns._certificate import make_self_signed

from .support import forks
from .support.client import ask, data
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream


class Served:
    """A daemon whose configuration names a certificate, and the files of that."""

    def __init__(self, directory: Path, upstream: FalseUpstream) -> None:
        self.chain, self.key = directory / "chain.pem", directory / "key.pem"
        self.write("first.demo")
        config = f'[listen]\ncertificate = "{self.chain}"\nkey = "{self.key}"\n'
        self.daemon = Fastdns(directory / "state", upstream=[upstream], config=config)
        self.file = directory / "state.toml"

    def write(self, name: str, *, days: int = 90) -> None:
        """Write another pair, whose key nobody but we may read."""
        chain, key = make_self_signed([name], days)
        self.chain.write_bytes(chain)
        self.key.unlink(missing_ok=True)
        self.key.touch(0o600)
        self.key.write_bytes(key)

    def command(self, *words: str) -> tuple[str, str]:
        done = forks.run(*words, "-c", str(self.file), "--state", str(self.daemon.state_dir))
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    @property
    def told(self) -> dict[str, object]:
        told = json.loads(self.command("status", "--json")[0])["certificate"]
        assert isinstance(told, dict)
        return told


@pytest.fixture
def served(tmp_path: Path, upstream: FalseUpstream) -> Iterator[Served]:
    one = Served(tmp_path, upstream)
    with one.daemon:
        yield one


def test_only_processes_that_need_the_key_have_it(served: Served) -> None:
    def has_page(pid: int) -> bool:
        """Whether it maps shared memory that no core dump may have."""
        maps = Path(f"/proc/{pid}/smaps").read_text().split("VmFlags:")
        flags = [one.partition("\n")[0].split() for one in maps[1:]]
        shared = ["/dev/zero (deleted)" in one for one in maps[:-1]]
        return any(
            "dd" in found and is_shared for found, is_shared in zip(flags, shared, strict=True)
        )

    daemon = served.daemon
    assert has_page(daemon.pid)
    assert has_page(daemon.worker)
    assert not has_page(daemon.keeper)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's daemon becomes another user")
def test_root_brings_a_key_that_the_daemon_may_not_read(served: Served) -> None:
    assert (served.told["names"], served.told["problems"]) == (["first.demo"], [])

    served.write("second.demo")
    served.daemon.process.send_signal(signal.SIGHUP)  # the daemon has to read the files itself
    served.daemon.wait_for_log(r"listen.key: \S+: cannot be read by user .*install -m 0640 -g")
    assert served.told["names"] == ["first.demo"]
    shown = served.command("status")[0]
    assert "first.demo, 89 d " in shown
    assert "listen.key: " in shown
    assert '"$RENEWED_LINEAGE/privkey.pem"' in shown  # nothing that a shell would not take

    after = len(served.daemon.log)
    assert served.command("reload")[1] == ""
    served.daemon.wait_for_log("certificate for second.demo: in use", after=after)
    assert (served.told["names"], served.told["problems"]) == (["second.demo"], [])


def test_new_pair_is_used_without_a_reload_and_a_wrong_one_is_not(
    served: Served, upstream: FalseUpstream
) -> None:
    served.write("second.demo")
    served.key.chmod(0o644)
    served.daemon.wait_for_log("certificate for second.demo: in use")
    figures = json.loads(served.command("stats", "--json")[0])
    assert figures["certificate_days_left"] == 89
    assert abs(figures["certificate_not_after_seconds"] - time.time() - 90 * 86400) < 2 * 86400

    served.write("third.demo")
    served.key.write_text("nothing")
    served.key.chmod(0o644)
    (line,) = served.command("reload")[1].splitlines()
    assert line.startswith(f"warning: listen.key: {served.key}: the key's file has no key")
    assert served.told["names"] == ["second.demo"]
    assert data(ask(served.daemon, upstream.new_name())) == ["192.0.2.1"]
