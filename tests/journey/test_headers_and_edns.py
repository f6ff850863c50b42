"""The header's flags, EDNS (RFC 6891), extended errors (RFC 8914), the queries to upstreams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from .support import raw
from .support.client import (
    ask,
    data,
    exchange_tcp,
    exchange_udp,
    extended_errors,
    make_query,
    read_answer,
)
from .support.daemon import Fastdns
from .support.false_upstream import SOA, Asked, FalseUpstream

COOKIE = dns.edns.GenericOption(10, bytes(range(8)))
CLIENT_SUBNET = dns.edns.ECSOption("192.0.2.0", 24)
UNKNOWN = dns.edns.GenericOption(65001, b"what is this")
PADDING = dns.edns.GenericOption(12, bytes(100))
FAILURES = ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"]


def authoritative(asked: Asked) -> None:
    """An authority's answer, with all the header bits that a forwarder must not pass on."""
    message = asked.response("@ 300 IN A 192.0.2.1")
    message.flags = dns.flags.QR | dns.flags.AA | dns.flags.AD | 0x0040
    asked.send(message.to_wire())


def failing(rcode: str, *options: dns.edns.Option) -> Callable[[Asked], None]:
    return lambda asked: asked.answer(rcode=rcode, options=options)


@pytest.fixture(scope="module")
def trusting(
    tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream
) -> Iterator[Fastdns]:
    config = "[upstream]\ntrust_ad = true\n"
    directory = tmp_path_factory.mktemp("trusting") / "state"
    with Fastdns(directory, upstream=[upstream], config=config) as daemon:
        yield daemon


class TestFlags:
    @pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
    @pytest.mark.parametrize(
        ("knobs", "flags"),
        [
            ({}, "QR RD RA"),
            ({"cd": True}, "QR RD RA CD"),
            ({"ad": True}, "QR RD RA"),
            ({"do": True}, "QR RD RA"),
            ({"edns": False}, "QR RD RA"),
            ({"edns": False, "cd": True, "ad": True}, "QR RD RA CD"),
        ],
    )
    def test_of_answers_are_ours_and_the_clients_not_the_upstreams(
        self,
        forwarder: Fastdns,
        upstream: FalseUpstream,
        knobs: dict[str, bool],
        flags: str,
        tcp: bool,
    ) -> None:
        name = upstream.new_name(authoritative)
        for _ in range(2):
            answer = ask(forwarder, name, tcp=tcp, **knobs)
            assert data(answer) == ["192.0.2.1"]
            assert answer.flags == dns.flags.from_text(flags)
        answer = ask(forwarder, name, tcp=tcp, **knobs, rd=False)
        assert answer.flags == dns.flags.from_text(flags.replace("RD ", ""))

    @pytest.mark.parametrize("rcode", ["NXDOMAIN", *FAILURES])
    def test_of_negative_answers_and_failures_are_the_same(
        self, forwarder: Fastdns, upstream: FalseUpstream, rcode: str
    ) -> None:
        flags = dns.flags.AA | dns.flags.AD
        name = upstream.new_name(
            lambda asked: asked.answer(authority=[SOA], rcode=rcode, flags=flags)
        )
        for _ in range(2):
            answer = ask(forwarder, name, cd=True)
            assert dns.rcode.to_text(answer.rcode()) == rcode
            assert answer.flags & ~0xF == dns.flags.from_text("QR RD RA CD")

    def test_of_a_refusal_are_the_same(self, forwarder: Fastdns, upstream: FalseUpstream) -> None:
        answer = ask(forwarder, upstream.new_name(), rd=False, cd=True)
        assert answer.rcode() == dns.rcode.REFUSED
        assert answer.flags & ~0xF == dns.flags.from_text("QR RA CD")


class TestAuthenticData:
    KNOBS = ({}, {"ad": True}, {"do": True}, {"ad": True, "edns": False})

    @pytest.mark.parametrize("knobs", KNOBS)
    def test_is_nobodys_word_by_default(
        self, forwarder: Fastdns, upstream: FalseUpstream, knobs: dict[str, bool]
    ) -> None:
        name = upstream.new_name(authoritative)
        for _ in range(2):
            assert not ask(forwarder, name, **knobs).flags & dns.flags.AD
        assert not upstream.asked(name)[0].message.flags & dns.flags.AD

    @pytest.mark.parametrize("knobs", KNOBS)
    def test_is_the_trusted_upstreams_word_to_clients_that_want_it(
        self, trusting: Fastdns, upstream: FalseUpstream, knobs: dict[str, bool]
    ) -> None:
        name = upstream.new_name(authoritative)
        wanted = bool(knobs.get("ad") or knobs.get("do"))
        for tcp in (False, False, True):
            answer = ask(trusting, name, tcp=tcp, **knobs)
            assert bool(answer.flags & dns.flags.AD) == wanted
        assert upstream.asked(name)[0].message.flags & dns.flags.AD

    def test_is_remembered_with_the_answer_whoever_asked_first(
        self, trusting: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(authoritative)
        seen = [ask(trusting, name, ad=ad).flags & dns.flags.AD for ad in (False, True, False)]
        assert seen == [0, dns.flags.AD, 0]
        assert len(upstream.asked(name)) == 1

    def test_is_not_made_up_when_the_trusted_upstream_does_not_say_it(
        self, trusting: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        for _ in range(2):
            assert not ask(trusting, name, ad=True, do=True).flags & dns.flags.AD


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("name", ["id.server.", "ID.Server.", "version.bind.", "VERSION.BIND."])
def test_chaos_names_are_answered_by_fastdns_itself(
    forwarder: Fastdns, upstream: FalseUpstream, name: str, tcp: bool
) -> None:
    answer = ask(forwarder, name, "TXT", "CH", tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    (record,) = answer.answer
    assert record.rdclass == 3
    assert record[0].strings[0]
    if name.lower() == "version.bind.":
        assert re.search(r"fastdns.*\d+\.\d+\.\d+", data(answer)[0])
    assert answer.flags == dns.flags.from_text("QR RD RA")
    assert not upstream.asked(name)


class TestUpstreamsError:
    @pytest.mark.parametrize("rcode", FAILURES)
    def test_is_relayed_with_its_extended_error(
        self, forwarder: Fastdns, upstream: FalseUpstream, rcode: str
    ) -> None:
        reason = dns.edns.EDEOption(6, "signature expired")
        name = upstream.new_name(failing(rcode, reason))
        for tcp in (False, True):
            answer = ask(forwarder, name, tcp=tcp)
            assert dns.rcode.to_text(answer.rcode()) == rcode
            assert extended_errors(answer) == [6]
            assert answer.options[0].text == "signature expired"

    def test_is_relayed_without_it_to_clients_without_edns(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(failing("SERVFAIL", dns.edns.EDEOption(9)))
        for _ in range(2):
            answer = ask(forwarder, name, edns=False)
            assert answer.rcode() == dns.rcode.SERVFAIL
            assert answer.edns == -1

    def test_without_an_extended_error_gets_none_of_ours(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(failing("REFUSED"))
        assert extended_errors(ask(forwarder, name)) == []

    def test_of_more_than_four_bits_is_not_cut_down_to_another_one(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(failing("BADCOOKIE"))
        for _ in range(2):
            assert ask(forwarder, name).rcode() in (dns.rcode.BADCOOKIE, dns.rcode.SERVFAIL)


class TestWhatTheUpstreamIsAsked:
    @pytest.mark.parametrize("client", ["without EDNS", "small", "large", "with options"])
    def test_is_the_question_with_an_opt_of_our_own(
        self, forwarder: Fastdns, upstream: FalseUpstream, client: str
    ) -> None:
        knobs: dict[str, object] = {
            "without EDNS": {"edns": False},
            "small": {"size": 512},
            "large": {"size": 4096},
            "with options": {"options": [COOKIE, CLIENT_SUBNET, UNKNOWN, PADDING]},
        }[client]
        name = upstream.new_name()
        ask(forwarder, name.title(), **knobs)
        (asked,) = upstream.asked(name)
        query = asked.message
        assert len(query.question) == 1
        assert query.question[0].name.to_text() in (name, name.title())
        assert query.edns == 0
        assert query.payload == 1232
        assert query.options == ()
        assert query.ednsflags == 0
        assert query.flags == dns.flags.RD
        assert query.opcode() == 0
        assert not query.answer + query.authority + query.additional

    def test_has_do_and_cd_as_the_client_set_them(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        ask(forwarder, name, do=True, cd=True)
        query = upstream.asked(name)[0].message
        assert query.ednsflags == dns.flags.DO
        assert query.flags == dns.flags.RD | dns.flags.CD

    def test_is_an_ordinary_query_even_if_the_clients_was_odd(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        odd = raw.header(7, 0x0770, 1) + raw.question(name)  # AA, TC, Z, AD and CD beside RD
        exchange_udp(forwarder, odd)
        assert upstream.asked(name)[0].message.flags == dns.flags.RD | dns.flags.CD


class TestAnswersOpt:
    def test_comes_to_clients_that_sent_one_and_to_no_other(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        for edns in (False, True, False, True):
            for tcp in (False, True):
                assert ask(forwarder, name, edns=edns, tcp=tcp).edns == (0 if edns else -1)

    @pytest.mark.parametrize("do", [False, True])
    def test_copies_do_and_names_our_size(
        self, forwarder: Fastdns, upstream: FalseUpstream, do: bool
    ) -> None:
        name = upstream.new_name()
        for _ in range(2):
            answer = ask(forwarder, name, do=do)
            assert answer.ednsflags == (dns.flags.DO if do else 0)
            assert answer.payload == 1232

    def test_does_not_carry_what_the_upstream_said_in_its_own(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        def behave(asked: Asked) -> None:
            asked.answer("@ 300 IN A 192.0.2.1", options=[COOKIE, UNKNOWN])

        name = upstream.new_name(behave)
        for _ in range(2):
            answer = ask(forwarder, name)
            assert data(answer) == ["192.0.2.1"]
            assert answer.options == ()

    def test_is_ours_even_if_the_upstream_knows_no_edns(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(
            lambda asked: asked.send(raw.reply_to(asked.wire, raw.a_record("192.0.2.1")))
        )
        for _ in range(2):
            answer = ask(forwarder, name, do=True)
            assert data(answer) == ["192.0.2.1"]
            assert answer.edns == 0
            assert answer.ednsflags == dns.flags.DO

    @pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
    def test_ignores_options_that_we_do_not_know(
        self, forwarder: Fastdns, upstream: FalseUpstream, tcp: bool
    ) -> None:
        name = upstream.new_name()
        for _ in range(2):
            options = [COOKIE, CLIENT_SUBNET, UNKNOWN, PADDING]
            answer = ask(forwarder, name, options=options, tcp=tcp)
            assert data(answer) == ["192.0.2.1"]
            assert [one.otype for one in answer.options] == [COOKIE.otype]


class TestBadOpt:
    @pytest.mark.parametrize("version", [1, 2, 255])
    @pytest.mark.parametrize("cached", [False, True], ids=["miss", "hit"])
    def test_of_another_version_is_badvers(
        self, forwarder: Fastdns, upstream: FalseUpstream, version: int, cached: bool
    ) -> None:
        name = upstream.new_name()
        if cached:
            ask(forwarder, name)
        query = raw.header(77, raw.QUERY_RD, 1, 0, 0, 1) + raw.question(name)
        query += raw.opt(version=version, flags=0x8000)
        for exchange in (exchange_udp, exchange_tcp):
            answer = dns.message.from_wire(exchange(forwarder, query))
            assert answer.id == 77
            assert answer.rcode() == dns.rcode.BADVERS
            assert answer.edns == 0
            assert not answer.answer
        assert len(upstream.asked(name)) == cached

    @pytest.mark.parametrize("cached", [False, True], ids=["miss", "hit"])
    def test_beside_another_is_formerr(
        self, forwarder: Fastdns, upstream: FalseUpstream, cached: bool
    ) -> None:
        name = upstream.new_name()
        if cached:
            ask(forwarder, name)
        query = raw.header(78, raw.QUERY_RD, 1, 0, 0, 2) + raw.question(name) + raw.opt() * 2
        for exchange in (exchange_udp, exchange_tcp):
            wire = exchange(forwarder, query)
            assert raw.id_of(wire) == 78
            assert wire[3] & 0xF == dns.rcode.FORMERR
        assert len(upstream.asked(name)) == cached


class TestSize:
    """Sizes are learned over TCP, where everything comes whole, and then tried over UDP."""

    @staticmethod
    def new_text(upstream: FalseUpstream, octets: int) -> str:
        """A name whose TXT answer has so many octets altogether, without an OPT."""
        length = octets - 12 - len("s0000.false.demo.") - 1 - 4 - 12  # header, question, RR header
        strings = []
        while length > 0:
            strings.append("x" * min(255, length - 1))
            length -= 1 + len(strings[-1])
        assert length == 0, "a string has a length octet"
        name = f"s{octets:04}.false.demo."
        text = " ".join(f'"{string}"' for string in strings)
        upstream.on(name, lambda asked: asked.answer(f"@ 300 IN TXT {text}"))
        return name

    @pytest.mark.parametrize(
        ("knobs", "limit"),
        [
            pytest.param({"edns": False}, 512, id="without EDNS"),
            *[({"size": size}, 512) for size in (0, 1, 511, 512)],
            *[({"size": size}, size) for size in (513, 700, 1231, 1232)],
            *[({"size": size}, 1232) for size in (1233, 1400, 4096, 65535)],
        ],
    )
    def test_is_at_most_what_the_client_takes_and_1232(
        self, forwarder: Fastdns, upstream: FalseUpstream, knobs: dict[str, int], limit: int
    ) -> None:
        opt = 0 if knobs.get("edns") is False else 11
        fits = self.new_text(upstream, limit - opt)
        larger = self.new_text(upstream, limit - opt + 1)
        query = make_query(fits, "TXT", **knobs).to_wire()
        for exchange in (exchange_udp, exchange_udp, exchange_tcp):
            wire = exchange(forwarder, query)
            assert len(wire) == limit
            assert not read_answer(query, wire).flags & dns.flags.TC
        query = make_query(larger, "TXT", **knobs).to_wire()
        for _ in range(2):
            assert len(exchange_tcp(forwarder, query)) == limit + 1
            wire = exchange_udp(forwarder, query)
            answer = read_answer(query, wire)  # which compares the question
            assert answer.flags & dns.flags.TC
            assert not answer.answer + answer.authority + answer.additional
            assert answer.edns == (0 if opt else -1)
            assert len(wire) == 12 + len(raw.question(larger)) + opt
