"""Blocked names on the way of a query: hits, CNAME targets, kept answers after another list."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from messages import (
    AAAA,
    CNAME,
    SOURCE,
    A,
    Front,
    address,
    answer_from,
    key,
    name,
    query,
    record,
    reply,
)
from test_blocking import ITSELF, UNDER, compiled, configured, domain, lists
from test_local import built

from fastdns._blocking import Blocking, Pattern, ViewSettings
from fastdns._control import CHANGE_REFRESH
from fastdns._key import make_key
from fastdns._policy import Policy
from fastdns.config.filters import Block, View
from fastdns.policy.blocking import BLOCKS, compile_blocking
from fastdns.policy.safe_search import safe_names

Use = Callable[..., None]
HTTPS = 65


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path, stale=1000)


@pytest.fixture
def use(front: Front) -> Use:
    """Give the front a list of domains, and an answer for them."""

    def use_list(*domains: str, answer: str = "null", allow: str = "", local: str = "") -> None:
        config = configured(
            Block(lists=lists(1), answer=answer, allow=(domain(allow),) if allow else ())
        )
        names = compiled(*((one, 0, ITSELF | UNDER) for one in domains))
        blocking = compile_blocking(config, block_set=names)
        records = built(local) if local else None
        front.cache.use_policy(Policy(blocking=blocking, local=records))

    return use_list


def asked(front: Front, qname: str, rtype: int = A, **knobs: int) -> dns.message.Message:
    wire = front.ask(query(qname, rtype, **knobs))
    assert wire is not None
    return dns.message.from_wire(wire)


def told(message: dns.message.Message) -> list[str]:
    return [str(rdata) for rrset in message.answer for rdata in rrset]


def alias(target: str, owner: str = "www.example") -> bytes:
    return record(CNAME, name(target), owner=name(owner))


def test_blocked_name_is_answered_here_and_the_next_time_a_hit(front: Front, use: Use) -> None:
    hits = bytearray(16)
    front.cache.counters.use_list_hits(hits)
    use("ads.example")
    for qname in ("x.ads.example", "X.ads.EXAMPLE", "x.ads.example"):
        message = asked(front, qname)
        assert told(message) == ["0.0.0.0"]
        assert str(message.question[0].name) == f"{qname}."
    assert front.count("cache_hits_total") == 2
    assert front.count("blocked_lists_total") == 3
    assert int.from_bytes(hits[:8], "little") == 3
    assert front.missed() == []
    assert front.ring.used == 0


def test_client_that_wants_no_recursion_gets_the_same(front: Front, use: Use) -> None:
    use("ads.example")
    assert told(asked(front, "ads.example", flags=0)) == ["0.0.0.0"]
    assert told(asked(front, "ads.example", AAAA, flags=0)) == ["::"]


def test_refusal_is_not_authoritative(front: Front, use: Use) -> None:
    use("ads.example", answer="refused")
    for _ in range(2):
        message = asked(front, "ads.example")
        assert message.rcode() == dns.rcode.REFUSED
        assert not message.flags & dns.flags.AA


def test_name_that_is_blocked_or_allowed_later_is_so_at_once(front: Front, use: Use) -> None:
    use()
    assert front.ask(query()) is None
    assert told(dns.message.from_wire(front.answered(reply(address())))) == ["192.0.2.1"]
    use("example")
    assert told(asked(front, "www.example")) == ["0.0.0.0"]
    use("example", allow="www.example")
    assert told(asked(front, "www.example")) == ["192.0.2.1"]  # kept for the disk


def test_answer_that_leads_to_a_blocked_name_is_blocked(front: Front, use: Use) -> None:
    use("tracker.demo")
    assert front.ask(query()) is None
    wire = front.answered(reply(alias("a.tracker.demo"), address(owner=name("a.tracker.demo"))))
    assert told(dns.message.from_wire(wire)) == ["0.0.0.0"]
    assert told(asked(front, "www.example")) == ["0.0.0.0"]
    assert front.count("cache_hits_total") == 1
    assert front.count("blocked_aliases_total") == 2
    assert front.count("blocked_lists_total") == 2
    assert front.count("rebind_blocked_total") == 0
    assert front.ring.used == 0


def test_kept_answer_is_looked_at_again_after_lists_have_changed(front: Front, use: Use) -> None:
    use()
    assert front.ask(query()) is None
    front.answered(reply(alias("a.tracker.demo"), address(owner=name("a.tracker.demo"))))
    use("other.demo")
    assert told(asked(front, "www.example")) == ["a.tracker.demo.", "192.0.2.1"]
    use("tracker.demo")
    assert front.ask(query()) is None  # neither memory nor what is on its way to the disk is told
    assert front.missed()[-1] == key("www.example")


def test_allowed_name_may_lead_to_a_blocked_one(front: Front, use: Use) -> None:
    use("tracker.demo", allow="www.example")
    assert front.ask(query()) is None
    wire = front.answered(reply(alias("a.tracker.demo"), address(owner=name("a.tracker.demo"))))
    assert told(dns.message.from_wire(wire)) == ["a.tracker.demo.", "192.0.2.1"]
    use("tracker.demo", "more.demo", allow="www.example")
    assert told(asked(front, "www.example")) == ["a.tracker.demo.", "192.0.2.1"]


def test_record_of_the_owner_that_leads_to_a_blocked_name_has_no_address(
    front: Front, use: Use
) -> None:
    hits = bytearray(8)
    front.cache.counters.use_list_hits(hits)
    use("ads.example", local="a.lan 60 CNAME x.ads.example.")
    for _ in range(2):
        assert told(asked(front, "a.lan")) == ["x.ads.example.", "0.0.0.0"]
    assert front.missed() == []
    assert front.count("blocked_lists_total") == front.count("blocked_aliases_total") == 2
    assert int.from_bytes(hits, "little") == 2


def test_record_of_the_owner_may_lead_to_an_answer_that_is_blocked(front: Front, use: Use) -> None:
    hits = bytearray(8)
    front.cache.counters.use_list_hits(hits)
    use("tracker.demo", local="a.lan 60 CNAME www.example.")
    assert front.ask(query("a.lan")) is None
    wire = front.answered(reply(alias("a.tracker.demo"), address(owner=name("a.tracker.demo"))))
    assert told(dns.message.from_wire(wire)) == ["www.example.", "0.0.0.0"]
    assert told(asked(front, "a.lan")) == ["www.example.", "0.0.0.0"]
    assert front.count("blocked_aliases_total") == 2
    assert int.from_bytes(hits, "little") == 2


def test_hits_of_a_blocked_name_are_not_those_of_an_answer_on_disk(front: Front, use: Use) -> None:
    """The number of a list may be that of a group of upstreams, whose answers the disk has."""
    use("ads.example")
    for _ in range(2):
        asked(front, "ads.example")
    assert front.count("cache_hits_total") == 1
    assert front.cache.report_hits(10)
    assert front.ring.used == 0


def test_refresh_concerns_the_views_in_which_the_name_is_not_blocked(front: Front) -> None:
    work = View(name="work", clients=("x",), block=False)
    config = configured(Block(deny=(domain("www.example"),)), work)
    front.cache.use_policy(Policy(blocking=compile_blocking(config)))
    front.cache.views = 1
    allowed = make_key(name("www.example"), A, view=1)
    front.cache.keep(
        allowed, answer_from(reply(address())), front.cache.ticket(allowed), SOURCE, 0.01
    )
    front.control.post(CHANGE_REFRESH, name("www.example"), A)
    assert front.cache.look_at_control() == [allowed]


def test_policy_is_there_until_a_look_up_in_another_thread_has_used_it(front: Front) -> None:
    """`fetch` decides in a thread, and the main one may have another policy meanwhile."""

    class About:
        """What can be watched going."""

    about = About()
    watched = weakref.ref(about)
    seen = []

    def search(_text: str) -> None:
        front.cache.use_policy(Policy())
        seen.append(watched() is not None)

    pattern = Pattern(search, 0, ITSELF | UNDER, (), 0)
    views = [ViewSettings(roles=bytes((BLOCKS,)))]
    blocking = Blocking(views, patterns=[pattern], list_notes=[b""], about=about)
    front.cache.use_policy(Policy(blocking=blocking))
    del about, blocking
    with suppress(OSError):
        front.cache.fetch(key())
    assert seen == [True]
    assert watched() is None


# --- safe search, here for all clients ------------------------------------------------------------


@pytest.fixture
def safe(front: Front) -> Use:
    def use_safe_search(local: str = "") -> None:
        blocking = Blocking([ViewSettings(safe_search=True)], safe_names=safe_names())
        records = built(local) if local else None
        front.cache.use_policy(Policy(blocking=blocking, local=records))

    return use_safe_search


SAFE = "forcesafesearch.google.com"


def test_search_engine_is_its_safe_host_and_the_whole_is_a_hit(front: Front, safe: Use) -> None:
    safe()
    assert front.ask(query("www.google.de")) is None
    assert front.missed() == [key(SAFE)]
    message = dns.message.from_wire(front.answered(reply(address(), qname=SAFE)))
    assert told(message) == [f"{SAFE}.", "192.0.2.1"]
    assert told(asked(front, "www.google.de")) == [f"{SAFE}.", "192.0.2.1"]
    assert told(asked(front, SAFE)) == ["192.0.2.1"]
    assert front.count("safe_searches_total") == 2
    assert front.count("cache_hits_total") == 2


def test_name_that_leads_to_a_search_engine_gets_its_safe_host(front: Front, safe: Use) -> None:
    safe("search.lan 60 CNAME www.google.de.")
    assert front.ask(query("search.lan")) is None
    assert front.missed() == [key(SAFE)]
    message = dns.message.from_wire(front.answered(reply(address(), qname=SAFE)))
    assert told(message) == ["www.google.de.", f"{SAFE}.", "192.0.2.1"]
    assert told(asked(front, "search.lan")) == told(message)


def test_other_types_of_a_search_engine_are_asked_for_as_ever(front: Front, safe: Use) -> None:
    safe()
    assert front.ask(query("google.com", 15)) is None
    assert front.missed() == [key("google.com", 15)]
    assert front.ask(query("www.google.com", HTTPS)) is None
    assert front.missed()[-1] == key(SAFE, HTTPS)
