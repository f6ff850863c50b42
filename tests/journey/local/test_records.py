"""The owner's own names: records, hosts files and leases, as clients see them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.rcode
import pytest

from ..support.client import ask, data, eventually
from ..support.daemon import Fastdns
from ..support.false_upstream import FalseUpstream, silence

Start = Callable[..., Fastdns]


@pytest.fixture
def upstream() -> FalseUpstream:  # type: ignore[misc]
    with FalseUpstream() as upstream:
        yield upstream


def local(**keys: object) -> str:
    return "[local]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def test_records_are_answered_by_type_and_never_asked_upstream(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(
        upstream=[upstream],
        config=local(
            records=[
                "nas.lan. 300 A 192.168.1.10",
                "nas.lan. AAAA fd00::10",
                "www.lan. CNAME nas.lan.",
                "*.dev.lan. 60 IN A 192.168.1.20",
                'lan. TXT "a text" "and another"',
                "_http._tcp.lan. SRV 0 0 80 nas.lan.",
                "10.1.168.192.in-addr.arpa. PTR nas.lan.",
            ]
        ),
    )
    for tcp in (False, True):
        for name, rdtype, wanted in (
            ("nas.lan", "A", ["192.168.1.10"]),
            ("NAS.lan", "AAAA", ["fd00::10"]),
            ("www.lan", "A", ["nas.lan.", "192.168.1.10"]),
            ("a.b.dev.lan", "A", ["192.168.1.20"]),
            ("lan", "TXT", ['"a text" "and another"']),
            ("_http._tcp.lan", "SRV", ["0 0 80 nas.lan."]),
            ("10.1.168.192.in-addr.arpa", "PTR", ["nas.lan."]),
            ("nas.lan", "MX", []),
        ):
            answer = ask(daemon, name, rdtype, tcp=tcp)
            assert data(answer) == wanted
            assert answer.rcode() == 0
            assert answer.flags & dns.flags.AA
    assert ask(daemon, "nas.lan").answer[0].ttl in (299, 300)
    assert upstream.asked() == []
    assert data(ask(daemon, "other.lan")) == ["192.0.2.1"]


def test_own_domain_stays_here_and_a_zone_of_others_can_be_asked_for(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(
        upstream=[upstream], config=local(domain="lan", ask_upstream=["home.arpa"])
    )
    assert ask(daemon, "no.lan").rcode() == dns.rcode.NXDOMAIN
    assert ask(daemon, "lan", "DS").rcode() == 0
    assert upstream.asked() == []
    assert data(ask(daemon, "nas.home.arpa")) == ["192.0.2.1"]
    assert ask(daemon, "nas.local").rcode() == dns.rcode.NXDOMAIN


def test_cname_leads_to_a_name_of_an_upstream(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=local(records=["safe.lan. CNAME www.demo."]))
    for _ in range(2):
        assert data(ask(daemon, "safe.lan")) == ["www.demo.", "192.0.2.1"]
        assert data(ask(daemon, "safe.lan", rd=False))[0] == "www.demo."
    assert len(upstream.asked("www.demo")) == 1
    assert not upstream.asked("safe.lan")


def test_records_live_while_every_upstream_is_dead(start_fastdns: Start) -> None:
    with FalseUpstream(silence) as dead:
        daemon = start_fastdns(upstream=[dead], config=local(records=["nas.lan. 1 A 192.168.1.10"]))
        assert eventually(lambda: ask(daemon, "x.demo").rcode(), lambda rcode: rcode == 2)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            answer = ask(daemon, "nas.lan")
            assert (data(answer), answer.options) == (["192.168.1.10"], ())
        assert daemon.counter("cache_stale_total") == 0


def test_hosts_file_is_followed_without_a_reload(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas nas.other # a comment\nfd00::10\tnas\n192.168.1.1 bad_?\n")
    daemon = start_fastdns(upstream=[upstream], config=local(domain="lan", hosts=[str(hosts)]))
    assert daemon.wait_for_log(rf"{hosts}:3: ")
    for name in ("nas", "nas.lan", "nas.other"):
        assert data(ask(daemon, name)) == ["192.168.1.10"]
    assert data(ask(daemon, "nas.lan", "AAAA")) == ["fd00::10"]
    assert data(ask(daemon, "10.1.168.192.in-addr.arpa", "PTR")) == ["nas.lan."]
    worker = daemon.worker

    hosts.write_text("192.168.1.11 nas\n")
    assert eventually(lambda: data(ask(daemon, "nas.lan")), lambda told: told == ["192.168.1.11"])
    assert data(ask(daemon, "nas.other")) == ["192.0.2.1"]
    hosts.unlink()
    daemon.wait_for_log(rf"{hosts}: cannot be read: .*; its former names stay in use")
    assert data(ask(daemon, "nas.lan")) == ["192.168.1.11"]  # a file that is gone keeps its names
    hosts.with_name("new").write_text("192.168.1.12 nas\n")
    hosts.with_name("new").rename(hosts)
    assert eventually(lambda: data(ask(daemon, "nas.lan")), lambda told: told == ["192.168.1.12"])
    assert daemon.worker == worker


def test_every_worker_follows_and_so_does_a_successor(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas.lan\n")
    daemon = start_fastdns(upstream=[upstream], config=local(hosts=[str(hosts)]), workers=2)
    hosts.write_text("192.168.1.11 nas.lan\n")
    for _ in range(16):  # each from another port, so that both workers are asked
        assert eventually(
            lambda: data(ask(daemon, "nas.lan")), lambda told: told == ["192.168.1.11"]
        )


def test_reload_does_not_tell_a_change_that_was_followed_before(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    daemon = start_fastdns(upstream=[upstream], config=local(hosts=[str(hosts)]))
    hosts.write_text("192.168.1.11 nas\n192.168.1.12 tv\n")
    assert daemon.wait_for_log(r"local: .* 2 names \(1 before\)")

    done = daemon.reload()

    assert "local: 2 names in 1 file, as before" in done.stdout
    assert data(ask(daemon, "tv")) == ["192.168.1.12"]
    assert sum("(1 before)" in line for line in daemon.log) == 1


def test_reload_says_what_has_changed(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=local(records=["nas.lan. A 192.168.1.10"]))
    assert data(ask(daemon, "nas.lan")) == ["192.168.1.10"]
    daemon.configure(local(records=["nas.lan. A 192.168.1.11", "tv.lan. A 192.168.1.12"]))
    done = daemon.reload()
    assert done.returncode == 0
    assert "local: 2 names" in daemon.tail()
    assert data(ask(daemon, "nas.lan")) == ["192.168.1.11"]
    assert data(ask(daemon, "tv.lan")) == ["192.168.1.12"]
