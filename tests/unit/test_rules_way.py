"""Rules and protection on the way of a query, also when a reload comes in the middle."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from environments import ago, front_on, value_of, write_disk
from messages import (
    AAAA,
    CNAME,
    GENEROUS,
    A,
    Front,
    address,
    answer_from,
    good,
    key,
    name,
    query,
    record,
    reply,
    ttl_of,
)
from test_local import built

from fastdns._groups import Group
from fastdns.config.load import load
from fastdns.policy.compile import compile_domains

Use = Callable[..., None]
HTTPS = 65
IF_NO_A = '[[rule]]\nnames = ["www.example", "b.corp.example"]\naaaa = "if-no-a"\n'
REBIND = "[protect]\nrebind = true\n"
CORP = '[[forward]]\nname = "corp"\ndomains = ["corp.example"]\nservers = ["192.0.2.53"]\n'
DENIAL = (
    b"\0"
    + b"\0\6\0\1"
    + (60).to_bytes(4, "big")
    + (22).to_bytes(2, "big")
    + bytes(18)
    + b"\0\0\0\x3c"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


@pytest.fixture
def front(place: Path) -> Front:
    return Front(place, stale=1000)


@pytest.fixture
def use(front: Front, tmp_path: Path) -> Use:
    """Give the front a configuration; its groups ask the same upstream."""
    return user(front, tmp_path)


def user(front: Front, tmp_path: Path) -> Use:
    def use_config(text: str = "", *records: str) -> None:
        file = tmp_path / "fastdns.toml"
        file.write_text(text)
        config = load(file, state=tmp_path)
        for one in config.forward:
            group = Group(GENEROUS, attempts=1, number=one.number)
            group.use([front.known])
            front.forward.add_group(group)
            front.cache.set_group(one.number, 77)
        front.cache.use_policy(compile_domains(config).policy(built(*records)))

    return use_config


def told(wire: bytes | None) -> list[str]:
    assert wire is not None
    return [str(one) for rrset in dns.message.from_wire(wire).answer for one in rrset]


def cname(to: str) -> bytes:
    return record(CNAME, name(to))


def aaaa(owner: str) -> bytes:
    return record(AAAA, socket.inet_pton(socket.AF_INET6, "2001:db8::1"), owner=name(owner))


def no_data(qname: str, qtype: int) -> bytes:
    return reply(authority=(DENIAL,), qname=qname, qtype=qtype)


# --- a reload in the middle of a question ---------------------------------------------------------


def test_rules_in_another_order_change_nothing_for_an_answer_under_way(
    front: Front, use: Use
) -> None:
    none = '[[rule]]\nnames = ["www.example"]\ncache = false\n'
    short = '[[rule]]\nnames = ["b.example"]\nmin_ttl = "1h"\n'
    use(none + short)
    assert front.ask(query()) is None
    use(short + none)
    assert ttl_of(front.answered(reply(address(300)))) == 300
    assert front.ask(query()) is None  # it is not cached


def test_answer_that_was_under_way_when_its_name_became_local_leaves_nothing(
    front: Front, use: Use
) -> None:
    use(REBIND)
    assert front.ask(query()) is None
    use(REBIND, "www.example 60 A 192.0.2.7")
    private = record(A, bytes((10, 0, 0, 1)))
    assert told(front.answered(reply(private))) == []
    assert told(front.ask(query())) == ["192.0.2.7"]


def test_answer_about_a_local_name_that_was_under_way_when_it_changed_leaves_nothing(
    front: Front, use: Use
) -> None:
    use("", "a.lan 60 CNAME www.example.")
    assert front.ask(query("a.lan")) is None
    use("", "a.lan 60 CNAME other.example.")
    assert told(front.answered(reply(address()))) == ["www.example.", "192.0.2.1"]
    assert front.ask(query("a.lan")) is None
    assert front.missed() == [key("other.example")]


def test_answer_is_not_trusted_more_because_its_name_has_moved_to_another_group(
    front: Front, use: Use, tmp_path: Path
) -> None:
    use()
    assert front.ask(query("a.corp.example", flags=0x0120)) is None
    use(CORP)
    trusting = Group(type(GENEROUS)(0, 2**31, 2**31, 5, True), number=load_number(tmp_path))
    front.forward.add_group(trusting)
    wire = front.answered(reply(address(), qname="a.corp.example", flags=0x81A0))
    assert not wire[3] & 0x20


def load_number(tmp_path: Path) -> int:
    return load(tmp_path / "fastdns.toml", state=tmp_path).forward[0].number


def test_who_asks_after_a_reload_does_not_wait_for_what_was_asked_before(
    front: Front, use: Use
) -> None:
    use()
    assert front.ask(query()) is None
    use("", "a.lan 60 A 192.0.2.7")  # nothing about this name
    assert front.ask(query(message_id=2)) is None
    assert front.missed() == [key()]
    use("", "www.example 60 CNAME other.example.")
    assert front.ask(query(message_id=3)) is None
    assert front.missed() == [key(), key("other.example")]
    front.say(reply(address()))
    assert [one[:2] for one in front.clients[0].heard()] == [query()[:2], b"\0\2"]
    wire = front.answered(reply(address(), qname="other.example"))
    assert told(wire) == ["other.example.", "192.0.2.1"]
    assert front.forward.count == 0


def test_each_question_of_a_cold_disk_is_asked_after_a_reload(place: Path, tmp_path: Path) -> None:
    write_disk(place, {})
    front = front_on(place, warm=False)
    use = user(front, tmp_path)
    assert front.ask(query()) is None
    use(REBIND + CORP.replace("corp.example", "www.example"))
    assert front.ask(query()) is None
    assert front.cold == [key(), key()]
    for one in front.cold:
        front.forward.ask(one)
    assert front.missed() == [key(), key()]
    front.say(reply(address()))
    front.say(reply(address()))
    assert front.forward.count == 0


# --- what was cached before -----------------------------------------------------------------------


def test_disk_says_nothing_about_a_name_that_is_local_now(place: Path, tmp_path: Path) -> None:
    write_disk(place, {key(): value_of(good(300), ago(100))})
    front = front_on(place, warm=False)
    user(front, tmp_path)("", "www.example 60 CNAME other.example.")
    assert front.ask(query()) is None
    front.fail()
    wire = front.heard()
    assert wire is not None
    assert wire[3] & 15 == dns.rcode.SERVFAIL
    assert front.memory.count == 1  # the failure


def test_stale_answer_of_other_upstreams_is_inspected_as_well(front: Front, use: Use) -> None:
    front.learn(key(), answer_from(reply(record(A, bytes((10, 0, 0, 1))))))
    front.cache.set_group(0, 5)
    use(REBIND)
    assert front.cache.stale_answer(key(), 30) is None


def test_stale_answer_with_what_the_rule_now_forbids_is_not_told(front: Front, use: Use) -> None:
    hints = b"\0\1\0" + b"\0\6\0\x10" + bytes(16)
    services = key(qtype=HTTPS)
    front.learn(services, answer_from(reply(record(HTTPS, hints), qtype=HTTPS), of=services))
    front.learn(key(), good())
    front.cache.set_group(0, 5)
    assert front.cache.stale_answer(services, 30) is not None
    use('[[rule]]\nnames = ["www.example"]\naaaa = "never"\n')
    assert front.cache.stale_answer(key(), 30) is not None
    assert front.cache.stale_answer(services, 30) is None


# --- aaaa = "if-no-a" -----------------------------------------------------------------------------


def test_address_in_another_group_counts(front: Front, use: Use) -> None:
    """www.example is an alias of a name of a group, which has addresses of both kinds."""
    use(CORP + IF_NO_A)
    assert front.ask(query(qtype=AAAA)) is None
    front.say(reply(cname("a.corp.example"), qtype=AAAA))
    front.say(reply(aaaa("a.corp.example"), qname="a.corp.example", qtype=AAAA))
    assert front.missed() == [key()]
    front.say(reply(cname("a.corp.example")))
    assert front.missed() == [key("a.corp.example")]
    wire = front.answered(reply(address(), qname="a.corp.example"))
    assert told(wire) == []
    assert front.ask(query(qtype=AAAA)) == wire


def test_without_an_address_in_the_other_group_the_chain_is_told(front: Front, use: Use) -> None:
    use(CORP + IF_NO_A)
    assert front.ask(query(qtype=AAAA)) is None
    front.say(reply(cname("a.corp.example"), qtype=AAAA))
    front.say(reply(aaaa("a.corp.example"), qname="a.corp.example", qtype=AAAA))
    front.say(reply(cname("a.corp.example")))
    wire = front.answered(no_data("a.corp.example", A))
    assert told(wire) == ["a.corp.example.", "2001:db8::1"]
    assert told(front.ask(query(qtype=AAAA))) == told(wire)


@pytest.mark.parametrize("alias", ["www.lan", "x.example"])
def test_target_has_no_ipv6_address_by_an_alias_either(front: Front, use: Use, alias: str) -> None:
    use(CORP + IF_NO_A, "www.lan 60 CNAME b.corp.example.")
    assert front.ask(query(alias, AAAA)) is None
    if alias != "www.lan":
        front.say(reply(cname("b.corp.example"), qname=alias, qtype=AAAA))
    front.say(reply(aaaa("b.corp.example"), qname="b.corp.example", qtype=AAAA))
    assert front.missed() == [key("b.corp.example")]
    assert told(front.answered(reply(address(), qname="b.corp.example"))) == []
    assert told(front.ask(query(alias, AAAA))) == []
    assert front.ask(query("b.corp.example", AAAA)) is None  # asked for, as nobody has told it


def test_hints_are_taken_out_of_what_another_group_says(front: Front, use: Use) -> None:
    use(CORP + '[[rule]]\nnames = ["www.example"]\naaaa = "never"\n')
    hints = b"\0\1\0" + b"\0\4\0\4" + bytes((192, 0, 2, 1)) + b"\0\6\0\x10" + bytes(16)
    assert front.ask(query(qtype=HTTPS)) is None
    front.say(reply(cname("a.corp.example"), qtype=HTTPS))
    answer = reply(record(HTTPS, hints), qname="a.corp.example", qtype=HTTPS)
    wire = front.answered(answer)
    assert told(wire) == ["a.corp.example.", '1 . ipv4hint="192.0.2.1"']
    assert front.ask(query(qtype=HTTPS)) == wire
    assert "ipv6hint" in told(front.ask(query("a.corp.example", HTTPS)))[0]


# --- chains that lead back to local names ---------------------------------------------------------


def test_records_of_the_owner_end_a_chain_of_upstreams(front: Front, use: Use) -> None:
    use(CORP, "nas.lan 60 A 192.168.1.1", "a.lan 60 CNAME a.corp.example.")
    assert front.ask(query()) is None
    wire = front.answered(reply(cname("nas.lan")))
    assert told(wire) == ["nas.lan.", "192.168.1.1"]
    assert front.ask(query()) == wire
    assert front.ring.used == 0
    use(CORP, "nas.lan 60 A 192.168.1.2", "a.lan 60 CNAME a.corp.example.")
    assert front.ask(query()) is None  # it had the former address
    front.answered(reply(cname("nas.lan")))
    assert front.ask(query("a.lan")) is None
    wire = front.answered(reply(cname("nas.lan"), qname="a.corp.example"))
    assert told(wire) == ["a.corp.example.", "nas.lan.", "192.168.1.2"]
    assert front.ask(query("a.lan")) == wire


def test_local_name_in_the_middle_of_a_chain_is_followed(front: Front, use: Use) -> None:
    use(CORP, "b.lan 60 CNAME a.corp.example.")
    assert front.ask(query()) is None
    front.say(reply(cname("b.lan")))
    assert front.missed() == [key("a.corp.example")]
    wire = front.answered(reply(address(), qname="a.corp.example"))
    assert told(wire) == ["b.lan.", "a.corp.example.", "192.0.2.1"]
    assert front.ask(query()) == wire
    assert front.ask(query(qtype=AAAA)) is None
    front.say(reply(cname("c.lan"), qtype=AAAA))


def test_chains_between_local_names_and_upstreams_end(front: Front, use: Use) -> None:
    use("", "b.lan 60 CNAME www.example.", "c.lan 60 CNAME b.lan.")
    assert front.ask(query()) is None
    wire = front.answered(reply(cname("c.lan")))
    assert wire[3] & 15 == dns.rcode.SERVFAIL
    assert front.forward.count == 0


# --- refusals -------------------------------------------------------------------------------------


def test_refused_end_of_a_chain_goes_to_no_disk(front: Front, use: Use) -> None:
    use(REBIND + CORP)
    assert front.ask(query("a.corp.example")) is None
    front.say(reply(cname("www.example"), qname="a.corp.example"))
    wire = front.answered(reply(record(A, bytes((10, 0, 0, 1)))))
    assert told(wire) == ["www.example."]
    assert front.ring.used == 0
    assert front.ask(query("a.corp.example")) == wire
