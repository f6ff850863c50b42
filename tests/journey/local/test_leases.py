"""Names of DHCP clients, by the files that a DHCP server writes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.rcode
import pytest

from ..support.client import ask, data, eventually
from ..support.commands import fastdns
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream

Start = Callable[..., Fastdns]


@pytest.fixture
def upstream() -> Iterator[FalseUpstream]:
    with FalseUpstream() as upstream:
        yield upstream


def local(**keys: object) -> str:
    return "[local]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def lease(seconds: float, address: str, name: str) -> str:
    """Return a line of dnsmasq; one with a long rest of its time."""
    return f"{time.time() + seconds:.0f} aa:bb:cc:dd:ee:ff {address} {name} *\n"


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "dnsmasq.leases"


@pytest.fixture
def daemon(start_fastdns: Start, upstream: FalseUpstream, leases: Path) -> Fastdns:
    leases.touch()
    return start_fastdns(
        upstream=[upstream],
        config=local(domain="lan", leases=[f"dnsmasq:{leases}"], records=["nas.lan. A 192.0.2.9"]),
    )


def told(daemon: Fastdns, name: str, rdtype: str = "A") -> list[str]:
    return data(ask(daemon, name, rdtype))


def is_told(daemon: Fastdns, name: str, wanted: list[str]) -> bool:
    return bool(eventually(lambda: told(daemon, name), lambda found: found == wanted))


def test_client_has_a_name_from_its_lease_to_the_release(daemon: Fastdns, leases: Path) -> None:
    assert ask(daemon, "laptop.lan").rcode() == dns.rcode.NXDOMAIN

    leases.write_text(
        lease(3600, "192.168.1.20", "Laptop")
        + "duid 00:01\n"
        + lease(3600, "fd00::20", "laptop").replace("aa:bb:cc:dd:ee:ff", "1449133")
    )
    assert is_told(daemon, "laptop.lan", ["192.168.1.20"])
    assert told(daemon, "laptop") == ["192.168.1.20"]
    assert told(daemon, "laptop.lan", "AAAA") == ["fd00::20"]
    assert told(daemon, "20.1.168.192.in-addr.arpa", "PTR") == ["laptop.lan."]

    leases.write_text(lease(3600, "192.168.1.21", "laptop"))  # it has got another address
    assert is_told(daemon, "laptop.lan", ["192.168.1.21"])
    assert told(daemon, "laptop.lan", "AAAA") == []

    leases.write_text(lease(3600, "192.168.1.22", "phone"))
    assert is_told(daemon, "phone.lan", ["192.168.1.22"])
    assert ask(daemon, "laptop.lan").rcode() == dns.rcode.NXDOMAIN


def test_name_ends_with_its_lease_although_no_file_changes(daemon: Fastdns, leases: Path) -> None:
    leases.write_text(lease(4, "192.168.1.20", "laptop"))
    assert is_told(daemon, "laptop.lan", ["192.168.1.20"])
    assert ask(daemon, "laptop.lan").answer[0].ttl <= 1

    assert eventually(
        lambda: ask(daemon, "laptop.lan").rcode(), lambda rcode: rcode == dns.rcode.NXDOMAIN
    )


def test_client_may_not_have_every_name(
    daemon: Fastdns, upstream: FalseUpstream, leases: Path
) -> None:
    names = ["wpad", "nas", "com", "isatap", "-x", "www.evil.example"]
    leases.write_text(
        "".join(lease(3600, f"192.168.1.{30 + at}", name) for at, name in enumerate(names))
    )

    assert is_told(daemon, "www.lan", ["192.168.1.35"])
    for name in ("wpad.lan", "isatap.lan"):
        assert ask(daemon, name).rcode() == dns.rcode.NXDOMAIN
    assert told(daemon, "nas.lan") == ["192.0.2.9"]
    assert told(daemon, "com.lan") == ["192.168.1.32"]
    assert told(daemon, "com") == told(daemon, "www.evil.example") == ["192.0.2.1"]
    assert all(upstream.asked(name) for name in ("com", "www.evil.example"))


def test_leases_are_found_in_a_directory_that_comes_later_or_is_replaced(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    folder = tmp_path / "later/folder"
    daemon = start_fastdns(
        upstream=[upstream], config=local(domain="lan", leases=[str(folder / "leases")])
    )

    for number in (1, 2):
        folder.mkdir(parents=True)
        assert not told(daemon, f"host{number}.lan")
        time.sleep(1.5)  # the kernel's notice of the directory is over
        (folder / "leases").write_text(lease(3600, "192.168.1.20", f"host{number}"))
        assert is_told(daemon, f"host{number}.lan", ["192.168.1.20"])
        folder.rename(tmp_path / f"other{number}")


def test_log_tells_which_file_has_changed_and_which_client_has_no_name(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path, leases: Path
) -> None:
    leases.touch()
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 storage\n")
    daemon = start_fastdns(
        upstream=[upstream],
        config=local(domain="lan", leases=[f"dnsmasq:{leases}"], hosts=[str(hosts)]),
    )

    leases.write_text(
        lease(3600, "192.168.1.20", "wpad") + "".join(f"bad {i}\n" for i in range(12))
    )
    daemon.wait_for_log(f'INFO: {leases}:1: the client "wpad" gets no name')
    daemon.wait_for_log(f"WARNING: {leases}: 2 more lines are wrong")
    hosts.unlink()
    daemon.wait_for_log(f"WARNING: {hosts}: cannot be read")
    hosts.write_text("192.168.1.10 storage\nfd00::10 storage\n192.168.1.11 tv\n")
    daemon.wait_for_log(f"local: 2 names in 1 file; {hosts}: 2 names \\(1 before\\)")


def test_names_stay_while_a_file_is_rewritten_in_place(daemon: Fastdns, leases: Path) -> None:
    lines = [lease(3600, f"192.168.1.{number}", f"host{number}") for number in range(1, 40)]
    leases.write_text("".join(lines))
    assert is_told(daemon, "host39.lan", ["192.168.1.39"])
    lines.append(lease(3600, "192.168.1.40", "host40"))

    for _ in range(20):
        with open(leases, "r+b", buffering=0) as file:
            os.ftruncate(file.fileno(), 0)
            for line in lines:
                file.write(line.encode())
        assert told(daemon, "host39.lan") == ["192.168.1.39"]

    assert is_told(daemon, "host40.lan", ["192.168.1.40"])


def test_queries_are_answered_while_a_large_hosts_file_is_read(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    daemon = start_fastdns(upstream=[upstream], config=local(hosts=[str(hosts)]))
    assert told(daemon, "nas") == ["192.168.1.10"]

    hosts.write_text(
        "".join(f"10.1.{i >> 8 & 255}.{i & 255} host{i}.example.com\n" for i in range(100_000))
        + "192.168.1.11 nas\n"
    )
    slowest, now = 0.0, ["192.168.1.10"]
    until = time.monotonic() + 20
    while now == ["192.168.1.10"] and time.monotonic() < until:
        began = time.monotonic()
        now = told(daemon, "nas")
        slowest = max(slowest, time.monotonic() - began)

    assert now == ["192.168.1.11"]
    assert told(daemon, "host99999.example.com") == ["10.1.134.159"]
    assert slowest < 0.2


def test_check_names_the_files_and_what_is_wrong_with_them(tmp_path: Path, leases: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas tv\n192.168.1.300 printer\n")
    leases.write_text(lease(3600, "192.168.1.20", "laptop"))
    dropped = tmp_path / "dropped"
    dropped.write_text(lease(3600, "192.168.1.21", "wpad"))
    file = tmp_path / "fastdns.toml"
    file.write_text(local(hosts=[str(hosts), "/nowhere/hosts"], leases=[str(leases), str(dropped)]))

    done = fastdns("check", "-c", file, "--state", tmp_path / "state")

    assert done.returncode == 0
    assert f"# {hosts}: 2 names\n" in done.stdout
    assert f"# {leases}: 1 name\n# {dropped}: 0 names\n" in done.stdout
    assert f'# {dropped}:1: the client "wpad" gets no name: programs look for' in done.stdout
    assert f'{hosts}:2: "192.168.1.300" is not an IP address' in done.stderr
    assert "/nowhere/hosts: cannot be read: No such file or directory" in done.stderr
