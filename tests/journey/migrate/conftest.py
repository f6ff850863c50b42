"""Samples of other resolvers' configurations, for those and for fastdns; all on loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.rdatatype
import pytest

from ..support.client import ask, eventually
from ..support.commands import fastdns
from ..support.false_upstream import SOA, Asked, FalseUpstream
from ..support.ports import free_port
from ..support.unbound import PATH

SAMPLES = Path(__file__).parents[2] / "foreign"


def answer(line: str) -> Callable[[Asked], None]:
    """The behaviour of having this record for every name."""

    def behave(asked: Asked) -> None:
        if line.split()[3] == dns.rdatatype.to_text(asked.rdtype):
            asked.answer(line)
        else:
            asked.answer(authority=[SOA])

    return behave


@dataclass
class Upstreams:
    """Those of the samples: the default one, that of corp.example, that of reverse names.

    Their addresses are public: dnsmasq takes those for documentation for private ones.
    """

    default: FalseUpstream
    corp: FalseUpstream
    reverse: FalseUpstream

    def put_into(self, text: str) -> str:
        """Return a configuration with the ports of these upstreams, and without the real one."""
        for port, one in (("10053", self.default), ("10054", self.corp), ("10055", self.reverse)):
            text = re.sub(rf"127\.0\.0\.1([@#]){port}", rf"127.0.0.1\g<1>{one.port}", text)
        return re.sub(r"^.*(?:9\.9\.9\.9|149\.112\.112\.112).*$", "", text, flags=re.M)


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with (
        FalseUpstream(answer("@ 300 IN A 93.184.216.1")) as default,
        FalseUpstream(answer("@ 300 IN A 93.184.216.2")) as corp,
        FalseUpstream(answer("@ 300 IN PTR box.home.example.")) as reverse,
    ):
        for name in ("rebind.example", "a.home.example", "tv.plex.direct"):
            default.on(name, answer("@ 300 IN A 10.0.0.7"))
        yield Upstreams(default, corp, reverse)


@dataclass
class Peer:
    host: str
    port: int


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Peer]]:
    """Start dnsmasq or unbound, which answers on that port of loopback, in a directory."""
    started = []

    def start(program: str, *arguments: str, port: int, directory: Path) -> Peer:
        path = shutil.which(program, path=PATH)
        if path is None:
            pytest.skip(f"{program} is not installed")
        process = subprocess.Popen([path, *arguments], cwd=directory)
        started.append(process)
        peer = Peer("127.0.0.1", port)

        def answers() -> bool:
            assert process.poll() is None, f"{program} ended"
            try:
                return bool(ask(peer, "localhost", timeout=0.5))
            except (OSError, TimeoutError, AssertionError):
                return False

        eventually(answers, bool)
        return peer

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def copy_of(sample: str, directory: Path, change: Callable[[str], str]) -> Path:
    """Copy a sample with all its files, each changed so."""
    copied = directory / sample
    shutil.copytree(SAMPLES / sample, copied)
    for file in copied.rglob("*.conf"):
        file.write_text(change(file.read_text()))
    return copied


def port_of_peer() -> int:
    return free_port("127.0.0.1")


def converted(file: Path) -> str:
    """Return what import-config makes of a file."""
    result = file.with_suffix(".toml")
    done = fastdns("import-config", str(file), "-o", str(result))
    assert done.returncode == 0, done.stderr
    return result.read_text()


def gist(message: dns.message.Message) -> tuple[int, list[str]]:
    """Return the RCODE and the records of the answer, without TTLs and order."""
    return message.rcode(), sorted(
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}".lower()
        for rrset in message.answer
        for rdata in rrset
    )
