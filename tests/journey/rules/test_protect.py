"""[protect]: private addresses of public names, and addresses that only forged answers have."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import dns.rcode
import dns.rdatatype
import pytest

from ..support.client import ask, data, extended_errors
from ..support.commands import fastdns
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import Asked, FalseUpstream
from .conftest import Start

REBIND = "[protect]\nrebind = true\n"
PRIVATE = [
    *("A 10.1.2.3", "A 172.16.0.1", "A 172.31.255.255", "A 192.168.1.1", "A 127.0.0.1"),
    *("A 169.254.1.1", "A 100.64.0.1", "A 100.127.255.255", "A 0.0.0.0", "AAAA ::", "AAAA ::1"),
    *("AAAA fc00::1", "AAAA fdff::1", "AAAA fe80::1", "AAAA ::ffff:192.168.1.1"),
    *("AAAA ::10.0.0.1", "AAAA 64:ff9b::10.0.0.1"),
    *("HTTPS 1 . ipv4hint=192.0.2.1,10.0.0.1", "HTTPS 1 . alpn=h2 ipv6hint=2001:db8::1,fd00::1"),
    "SVCB 2 svc.example. ipv6hint=::ffff:127.0.0.1",
]
PUBLIC = [
    *("A 192.0.2.1", "A 172.15.255.255", "A 172.32.0.1", "A 100.63.255.255", "A 100.128.0.1"),
    *("A 11.0.0.1", "A 192.169.0.1", "AAAA 2001:db8::a00:1", "AAAA ::ffff:192.0.2.1"),
    *("AAAA 64:ff9b::192.0.2.1", "HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"),
    *("HTTPS 1 . alpn=h2", "HTTPS 0 other.example.", 'TXT "10.0.0.1"'),
]


def records_of(*lines: str) -> object:
    """The behaviour of answering with these records of the asked name."""
    return lambda asked: asked.answer(*(f"@ 300 IN {line}" for line in lines))


def assert_blocked(answer: dns.message.Message) -> None:
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert extended_errors(answer) == [17]
    assert [dns.rdatatype.to_text(one.rdtype) for one in answer.authority] == ["SOA"]


@pytest.mark.parametrize("record", PRIVATE)
def test_private_address_of_a_public_name_is_not_given(
    start: Start, upstream: FalseUpstream, record: str
) -> None:
    rdtype, _, _ = record.partition(" ")
    more = "A 192.0.2.1" if rdtype == "A" else "AAAA 2001:db8::1" if rdtype == "AAAA" else record
    upstream.otherwise = records_of(*dict.fromkeys([more, record]))
    daemon = start(REBIND)
    for _ in range(2):
        assert_blocked(ask(daemon, "www.example", rdtype))
    assert_blocked(ask(daemon, "www.example", rdtype, tcp=True))
    assert len(upstream.asked("www.example")) == 1  # then it is a hit
    assert daemon.counter("rebind_blocked_total") == 1


@pytest.mark.parametrize("record", PUBLIC)
def test_public_addresses_are_given(start: Start, upstream: FalseUpstream, record: str) -> None:
    upstream.otherwise = records_of(record)
    daemon = start(REBIND)
    assert data(ask(daemon, "www.example", record.split(maxsplit=1)[0]))
    assert daemon.counter("rebind_blocked_total") == 0


def test_private_address_behind_a_chain_or_many_others_is_found(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start(REBIND)
    upstream.otherwise = lambda asked: asked.answer(
        "@ 300 IN CNAME a.example.", "a.example. 300 IN A 10.0.0.1"
    )
    assert_blocked(ask(daemon, "www.example"))
    many = [f"A 192.0.2.{number}" for number in range(1, 250)]
    upstream.otherwise = records_of(*many, "A 10.0.0.1")
    assert_blocked(ask(daemon, "many.example", tcp=True))


def test_names_that_may_have_private_addresses_keep_them(
    start: Start, upstream: FalseUpstream
) -> None:
    upstream.otherwise = records_of("A 192.168.1.9")
    daemon = start(REBIND + 'rebind_allow = ["plex.direct", "nas.example"]\n')
    for name in ("a.b.plex.direct", "nas.example", "x.nas.example"):
        assert data(ask(daemon, name)) == ["192.168.1.9"]
    assert_blocked(ask(daemon, "plex.direct.example"))


def test_groups_may_answer_with_private_addresses(
    start_fastdns: object, upstream: FalseUpstream
) -> None:
    with FalseUpstream(records_of("A 10.0.0.7")) as corp:
        group = (
            '[[forward]]\nname = "corp"\ndomains = ["corp.demo"]\n'
            f'servers = ["{address_of(corp)}"]\n'
        )
        daemon = start_fastdns(upstream=[upstream], config=group + REBIND)
        assert data(ask(daemon, "www.corp.demo")) == ["10.0.0.7"]
        upstream.otherwise = records_of("CNAME www.corp.demo.")
        for _ in range(2):
            assert_blocked(ask(daemon, "evil.example"))  # a public name that leads there


def test_blocked_answer_is_never_on_disk_nor_stale(start: Start, upstream: FalseUpstream) -> None:
    upstream.otherwise = records_of("A 10.0.0.1")
    daemon = start(REBIND)
    for _ in range(3):
        assert_blocked(ask(daemon, "www.example"))
    daemon.configure("# nothing is blocked\n")
    assert daemon.reload().returncode == 0
    assert data(ask(daemon, "www.example")) == ["10.0.0.1"]


def test_what_is_cached_is_judged_when_protection_begins(
    start: Start, upstream: FalseUpstream
) -> None:
    daemon = start("# nothing is blocked\n")
    upstream.on("private.example", records_of("A 10.0.0.1"))
    for name in ["private.example", "www.example"] * 3:
        ask(daemon, name)
    daemon.configure(REBIND)
    done = daemon.reload()
    assert "protect: other settings" in done.stdout
    assert_blocked(ask(daemon, "private.example"))
    assert data(ask(daemon, "www.example")) == ["192.0.2.1"]
    assert len(upstream.asked("www.example")) == 1


def test_stats_tell_what_was_blocked_and_doctor_that_nothing_is(
    start: Start, upstream: FalseUpstream
) -> None:
    def stats(daemon: Fastdns) -> dict[str, object]:
        return json.loads(fastdns("stats", "--json", "--state", str(daemon.state_dir)).stdout)

    upstream.otherwise = records_of("A 10.0.0.1")
    daemon = start(REBIND)
    ask(daemon, "www.example")
    assert stats(daemon)["rebind_blocked_total"] == 1


def forge(truth: object, delay: float = 0.05, lie: str = "A 203.0.113.66") -> object:
    """Answer over UDP with a lie first, and with the truth some time later."""

    def behave(asked: Asked) -> None:
        if not asked.tcp:
            records_of(lie)(asked)
            time.sleep(delay)
        truth(asked)

    return behave


BOGUS = '[protect]\nbogus_answers = ["203.0.113.0/24", "192.0.2.66", "2001:db8:bad::/48"]\n'


@pytest.mark.parametrize("lie", ["A 203.0.113.66", "A 192.0.2.66"])
def test_forged_reply_is_ignored_and_the_true_one_is_waited_for(
    start: Start, upstream: FalseUpstream, lie: str
) -> None:
    upstream.otherwise = forge(records_of("A 192.0.2.1"), lie=lie)
    daemon = start(BOGUS)
    assert data(ask(daemon, "www.example")) == ["192.0.2.1"]
    assert data(ask(daemon, "www.example")) == ["192.0.2.1"]
    assert daemon.counter("bogus_answers_total") >= 1
    assert len(upstream.asked("www.example")) == 1
    assert len(upstream.asked("www.example", repeats=True)) <= 3


def test_forged_replies_do_not_make_an_upstream_count_as_fast_or_dead(
    start: Start, upstream: FalseUpstream
) -> None:
    upstream.otherwise = forge(records_of("A 192.0.2.1"))
    daemon = start(BOGUS)
    for number in range(8):
        assert data(ask(daemon, f"www{number}.example")) == ["192.0.2.1"]
    assert daemon.counter("upstream_timeouts_total") == 0


def test_next_upstream_is_asked_when_nothing_but_a_lie_comes(
    start_fastdns: object, upstream: FalseUpstream
) -> None:
    with FalseUpstream(records_of("A 203.0.113.66")) as liar:
        daemon = start_fastdns(upstream=[liar, upstream], config=BOGUS)
        assert data(ask(daemon, "www.example")) == ["192.0.2.1"]


def test_lie_over_tcp_ends_the_attempt(start_fastdns: object, upstream: FalseUpstream) -> None:
    with FalseUpstream(records_of("A 203.0.113.66")) as liar:
        daemon = start_fastdns(upstream=[f"tcp://{address_of(liar)}", upstream], config=BOGUS)
        began = time.monotonic()
        assert data(ask(daemon, "www.example")) == ["192.0.2.1"]
        assert time.monotonic() - began < 1.0
        assert daemon.counter("bogus_answers_total") == 1


def test_name_with_only_forged_addresses_does_not_exist(
    start: Start, upstream: FalseUpstream
) -> None:
    upstream.otherwise = records_of("A 203.0.113.66")
    daemon = start(BOGUS)
    answer = ask(daemon, "nosuch.example")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert extended_errors(answer) == [17]
    asked = len(upstream.asked("nosuch.example", repeats=True))
    assert ask(daemon, "nosuch.example").rcode() == dns.rcode.NXDOMAIN
    assert len(upstream.asked("nosuch.example", repeats=True)) == asked


def test_forged_answer_that_was_cached_before_is_not_served(
    start: Start, upstream: FalseUpstream
) -> None:
    upstream.otherwise = records_of("A 203.0.113.66")
    daemon = start("# believed\n")
    for _ in range(3):
        assert data(ask(daemon, "www.example")) == ["203.0.113.66"]
    daemon.configure(BOGUS)
    assert daemon.reload().returncode == 0
    upstream.otherwise = records_of("A 192.0.2.1")
    assert data(ask(daemon, "www.example")) == ["192.0.2.1"]


def test_concurrent_clients_all_get_the_true_answer(start: Start, upstream: FalseUpstream) -> None:
    upstream.otherwise = forge(records_of("A 192.0.2.1"))
    daemon = start(BOGUS)
    told: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: told.append(data(ask(daemon, "www.example"))))
        for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert told == [["192.0.2.1"]] * 8


def test_list_of_dnsmasq_is_used_as_it_is(
    start: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    bogus = tmp_path / "bogus-nxdomain.conf"
    bogus.write_text(
        "## DNS\n\n# one\nbogus-nxdomain=123.125.81.12\nbogus-nxdomain=203.0.113.0/24\n"
        "2001:db8::1\nbogus-nxdomain=nonsense\n"
    )
    upstream.otherwise = forge(records_of("A 192.0.2.1"), lie="A 123.125.81.12")
    daemon = start(f'[protect]\nbogus_answers = ["file:{bogus}"]\n')
    assert data(ask(daemon, "www.example")) == ["192.0.2.1"]
    daemon.wait_for_log(r'bogus-nxdomain.conf:7: "nonsense" is not an address')
    bogus.unlink()
    assert daemon.reload().returncode == 0
    daemon.wait_for_log("its former 3 addresses stay in use")
