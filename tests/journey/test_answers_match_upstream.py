"""A client hears what the upstream says, record by record, first and cached, over UDP and TCP."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rrset
import pytest

from .support.client import ask, eventually, records, ttls
from .support.daemon import Fastdns
from .support.dig import dig
from .support.nsd import Nsd

QUESTIONS = {
    "A": ("www.example.demo.", "A"),
    "AAAA": ("www.example.demo.", "AAAA"),
    "MX with an address": ("example.demo.", "MX"),
    "NS": ("example.demo.", "NS"),
    "SOA": ("example.demo.", "SOA"),
    "TXT": ("texts.example.demo.", "TXT"),
    "SRV": ("_sip._udp.example.demo.", "SRV"),
    "CAA": ("example.demo.", "CAA"),
    "HTTPS": ("example.demo.", "HTTPS"),
    "DNSKEY": ("example.demo.", "DNSKEY"),
    "unknown type": ("odd.example.demo.", "TYPE65280"),
    "NXDOMAIN": ("nowhere.example.demo.", "A"),
    "NODATA": ("www.example.demo.", "MX"),
    "NODATA of an unknown type": ("www.example.demo.", "TYPE65280"),
    "empty non-terminal": ("terminal.example.demo.", "A"),
    "CNAME": ("alias.example.demo.", "A"),
    "the CNAME itself": ("alias.example.demo.", "CNAME"),
    "chain of CNAMEs": ("chain1.example.demo.", "AAAA"),
    "CNAME without the type": ("alias.example.demo.", "MX"),
    "CNAME to nowhere": ("dangling.example.demo.", "A"),
    "CNAME to another zone": ("away.example.demo.", "A"),
    "CNAME loop": ("loop1.example.demo.", "A"),
    "DNAME": ("host.old.example.demo.", "A"),
    "wildcard": ("anything.at.all.wild.example.demo.", "A"),
    "wildcard NODATA": ("anything.wild.example.demo.", "AAAA"),
    "forty addresses": ("many.example.demo.", "A"),
    "larger than UDP": ("lots.example.demo.", "AAAA"),
    "dot in a label": (r"with\.dot.example.demo.", "A"),
    "NUL in a label": (r"nul\000oct.example.demo.", "A"),
}


@pytest.fixture(scope="module", params=["udp", "tcp"])
def filled_by(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, nsd: Nsd
) -> Iterator[tuple[Fastdns, list[bool]]]:
    """A fastdns to be asked over this transport first, and the order: first, same, other."""
    first = request.param == "tcp"
    with Fastdns(tmp_path_factory.mktemp("match") / "state", upstream=[nsd]) as daemon:
        yield daemon, [first, first, not first]


@pytest.mark.parametrize(("name", "rdtype"), QUESTIONS.values(), ids=QUESTIONS)
def test_answer_is_the_upstreams_first_and_cached_over_udp_and_tcp(
    filled_by: tuple[Fastdns, list[bool]], nsd: Nsd, name: str, rdtype: str
) -> None:
    daemon, transports = filled_by
    for tcp in transports:
        expected = ask(nsd, name, rdtype, tcp=tcp)
        assert_same_answer(ask(daemon, name, rdtype, tcp=tcp), expected)


def assert_same_answer(answer: dns.message.Message, expected: dns.message.Message) -> None:
    """All three sections, RCODE and TC; TTLs may have fallen; AA is ours to clear and RA to set."""
    assert answer.rcode() == expected.rcode()
    flags = dns.flags.to_text(expected.flags & ~dns.flags.AA | dns.flags.RA)
    assert dns.flags.to_text(answer.flags) == flags
    assert records(answer.answer) == records(expected.answer)
    assert records(answer.authority) == records(expected.authority)
    assert records(answer.additional) == records(expected.additional)
    assert all(ours <= theirs for ours, theirs in zip(ttls(answer), ttls(expected), strict=True))
    assert all(ttl > 0 for ttl in ttls(answer))


@pytest.mark.parametrize("program", ["dig", "kdig"])
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_dig_and_kdig_show_what_they_show_of_the_upstream(
    fastdns: Fastdns, nsd: Nsd, program: str, question: tuple[str, str]
) -> None:
    for transport in ("+notcp", "+tcp"):
        expected = dig(nsd, *question, transport, program=program)
        shown = dig(fastdns, *question, transport, program=program)
        assert shown.status == expected.status
        assert shown.flags == expected.flags - {"aa"} | {"ra"}
        assert shown.sections == expected.sections


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "rdtype"),
    [
        ("WWW.EXAMPLE.DEMO.", "A"),
        ("wWw.ExAmPlE.dEmO.", "A"),
        ("mixed.example.demo.", "A"),
        ("CHAIN1.example.DEMO.", "A"),
        ("NoWhere.Example.demo.", "A"),
        ("_SIP._udp.EXAMPLE.demo.", "SRV"),
    ],
)
def test_any_spelling_gets_the_answer_and_its_own_spelling_back(
    fastdns: Fastdns, nsd: Nsd, name: str, rdtype: str, tcp: bool
) -> None:
    for spelling in (name, name.lower(), name.swapcase(), name):  # `ask` compares letter by letter
        answer, expected = (ask(server, spelling, rdtype, tcp=tcp) for server in (fastdns, nsd))
        assert answer.rcode() == expected.rcode()
        assert in_lower_case(answer.answer) == in_lower_case(expected.answer)
        assert in_lower_case(answer.authority) == in_lower_case(expected.authority)


def in_lower_case(section: list[dns.rrset.RRset]) -> list[str]:
    """Names in the data may be pointers to the question, and so have its spelling or another."""
    return [" ".join(record).lower() for record in records(section)]


def test_ttls_count_down(fastdns: Fastdns) -> None:
    def look() -> list[int]:
        return ttls(ask(fastdns, "alias.example.demo."))

    seen = [look()]

    def fallen_twice(now: list[int]) -> bool:
        seen.append(now)
        return now[0] <= seen[0][0] - 2

    eventually(look, fallen_twice)
    for before, after in itertools.pairwise(seen):
        falls = {old - new for old, new in zip(before, after, strict=True)}
        assert len(falls) == 1, f"the TTLs {before} became {after}"
        assert min(falls) >= 0, f"the TTLs {before} became {after}"


class TestFiveThousandOctets:
    NAME = "large.example.demo."

    @pytest.mark.parametrize("size", [512, 1232, 4096, 65535])
    def test_udp_gets_tc_and_the_question_only(self, fastdns: Fastdns, size: int) -> None:
        for _ in range(2):
            answer = ask(fastdns, self.NAME, "TXT", size=size)  # which compares the question
            assert answer.flags & dns.flags.TC
            assert not answer.answer
            assert not answer.authority
            assert answer.edns == 0

    def test_tcp_gets_them_whole(self, fastdns: Fastdns, nsd: Nsd) -> None:
        for _ in range(2):
            answer = ask(fastdns, self.NAME, "TXT", tcp=True)
            assert not answer.flags & dns.flags.TC
            assert sum(map(len, answer.answer[0][0].strings)) == 5000
            assert records(answer.answer) == records(ask(nsd, self.NAME, "TXT", tcp=True).answer)

    @pytest.mark.parametrize("program", ["dig", "kdig"])
    def test_the_clients_own_retry_gets_them_whole(
        self, fastdns: Fastdns, nsd: Nsd, program: str
    ) -> None:
        shown = dig(fastdns, self.NAME, "TXT", program=program)
        assert "tc" not in shown.flags
        assert shown.sections == dig(nsd, self.NAME, "TXT", "+tcp", program=program).sections

    @pytest.mark.parametrize("program", ["dig", "kdig"])
    def test_a_client_that_ignores_tc_sees_it(self, fastdns: Fastdns, program: str) -> None:
        shown = dig(fastdns, self.NAME, "TXT", "+ignore", program=program)
        assert "tc" in shown.flags
        assert not shown.sections
