"""What is cached, under which key, for how long, and what never is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import dns.flags
import dns.rcode
import pytest

from .support import raw
from .support.client import (
    TcpClient,
    UdpClient,
    ask,
    data,
    eventually,
    exchange_udp,
    make_query,
    read_answer,
    ttls,
    udp_socket,
)
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, silence

MIB = 1 << 20
CLAMPED = """
[cache]
min_ttl = "10s"
max_ttl = "100s"
negative_max_ttl = "50s"
"""


def soa(ttl: int, minimum: int) -> str:
    return f"demo. {ttl} IN SOA ns.demo. hostmaster.demo. 1 7200 3600 1209600 {minimum}"


def answering(*lines: str, **parts: object) -> Callable[[Asked], None]:
    """The behaviour of always giving this same answer."""
    return lambda asked: asked.answer(*lines, **parts)


def numbered(first: str, *others: str) -> Callable[[Asked], None]:
    """The behaviour of giving the first answer once and each following one once, then the last."""
    left = [first, *others]

    def behave(asked: Asked) -> None:
        asked.answer(left.pop(0) if len(left) > 1 else left[0])

    return behave


@pytest.fixture(scope="module")
def clamping(
    tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream
) -> Iterator[Fastdns]:
    directory = tmp_path_factory.mktemp("clamping") / "state"
    with Fastdns(directory, upstream=[upstream], config=CLAMPED) as daemon:
        yield daemon


class TestKey:
    def test_second_ask_is_answered_without_the_upstream(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        answers = [ask(forwarder, name) for _ in range(5)]
        assert [data(answer) for answer in answers] == [["192.0.2.1"]] * 5
        assert len(upstream.asked(name)) == 1

    def test_spelling_edns_size_rd_and_transport_are_not_in_the_key(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        ask(forwarder, name)
        ask(forwarder, name.upper())
        ask(forwarder, name.title(), edns=False)
        ask(forwarder, name, size=512)
        ask(forwarder, name, rd=False)
        ask(forwarder, name, ad=True)
        ask(forwarder, name, tcp=True)
        assert len(upstream.asked(name)) == 1

    @pytest.mark.parametrize("knob", ["do", "cd"])
    def test_do_and_cd_are_in_the_key(
        self, forwarder: Fastdns, upstream: FalseUpstream, knob: str
    ) -> None:
        name = upstream.new_name(numbered("@ 300 IN A 192.0.2.1", "@ 300 IN A 192.0.2.2"))
        for _ in range(2):
            assert data(ask(forwarder, name)) == ["192.0.2.1"]
            assert data(ask(forwarder, name, **{knob: True})) == ["192.0.2.2"]
        first, second = upstream.asked(name)
        assert dns.flags.CD & first.message.flags == 0
        assert first.message.ednsflags & dns.flags.DO == 0
        assert bool(second.message.flags & dns.flags.CD) == (knob == "cd")
        assert bool(second.message.ednsflags & dns.flags.DO) == (knob == "do")

    @pytest.mark.parametrize("other", [1537 ^ 1 << bit for bit in range(16)])
    def test_all_sixteen_bits_of_the_type_are_in_the_key(
        self, forwarder: Fastdns, upstream: FalseUpstream, other: int
    ) -> None:
        def behave(asked: Asked) -> None:
            asked.answer(rf"@ 300 IN TYPE{asked.rdtype:d} \# 2 {asked.rdtype:04x}")

        name = upstream.new_name(behave)
        for _ in range(2):
            assert data(ask(forwarder, name, 1537)) == [r"\# 2 0601"]
            assert data(ask(forwarder, name, other)) == [rf"\# 2 {other:04x}"]
        assert [int(asked.rdtype) for asked in upstream.asked(name)] == [1537, other]

    @pytest.mark.parametrize("other", [1 ^ 1 << bit for bit in range(2, 16)])
    def test_all_bits_of_the_class_are_in_the_key(
        self, forwarder: Fastdns, upstream: FalseUpstream, other: int
    ) -> None:
        def behave(asked: Asked) -> None:
            rdclass = int(asked.message.question[0].rdclass)
            asked.answer(f'@ 300 CLASS{rdclass} TXT "{rdclass}"')

        name = upstream.new_name(behave)
        for _ in range(2):
            assert data(ask(forwarder, name, "TXT")) == ['"1"']
            assert data(ask(forwarder, name, "TXT", other)) == [f'"{other}"']
        assert len(upstream.asked(name)) == 2

    def test_caa_of_a_name_is_not_its_address(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        def behave(asked: Asked) -> None:
            caa = asked.rdtype == 257
            asked.answer('@ 300 IN CAA 0 issue "ca.demo"' if caa else "@ 300 IN A 192.0.2.1")

        name = upstream.new_name(behave)
        for _ in range(2):
            assert data(ask(forwarder, name, "CAA")) == ['0 issue "ca.demo"']
            assert data(ask(forwarder, name, "A")) == ["192.0.2.1"]

    @pytest.mark.parametrize(
        ("name", "other"),
        [
            (r"one\.two.key.demo.", "one.two.key.demo."),
            (r"nul\000.key.demo.", "nul.key.demo."),
            (r"nul\000a.key.demo.", r"nul\000b.key.demo."),
            ("ab.c.key.demo.", "a.bc.key.demo."),
            ("ab.key.demo.", r"ab\003key.demo."),
            ("bracket[.key.demo.", "bracket{.key.demo."),
            ("at@.key.demo.", "at`.key.demo."),
            (r"high\193.key.demo.", r"high\225.key.demo."),
            ("www.key.demo.", "www.key.demo.demo."),
        ],
    )
    def test_names_that_look_alike_are_different_names(
        self, forwarder: Fastdns, upstream: FalseUpstream, name: str, other: str
    ) -> None:
        upstream.on(name, answering("@ 300 IN A 192.0.2.1"))
        upstream.on(other, answering("@ 300 IN A 192.0.2.2"))
        for _ in range(2):
            assert data(ask(forwarder, name)) == ["192.0.2.1"]
            assert data(ask(forwarder, other)) == ["192.0.2.2"]
        assert len(upstream.asked(name)) == len(upstream.asked(other)) == 1


class TestTtl:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            (1, 10),
            (9, 10),
            (10, 10),
            (50, 50),
            (100, 100),
            (101, 100),
            (2**31 - 1, 100),
            (2**31, 100),
            (2**31 + 20, 100),
            (2**32 - 1, 100),
        ],
    )
    def test_is_clamped_between_min_ttl_and_max_ttl_on_arrival(
        self, clamping: Fastdns, upstream: FalseUpstream, sent: int, kept: int
    ) -> None:
        name = upstream.new_name(answering(f"@ {sent} IN A 192.0.2.1"))
        assert ttls(ask(clamping, name)) == [kept]
        assert ttls(ask(clamping, name))[0] in (kept, kept - 1)
        assert len(upstream.asked(name)) == 1

    def test_is_clamped_in_all_sections(self, clamping: Fastdns, upstream: FalseUpstream) -> None:
        behave = answering(
            "@ 5 IN A 192.0.2.1",
            authority=["demo. 86400 IN NS ns.demo."],
            additional=["ns.demo. 4294967295 IN A 192.0.2.53"],
        )
        name = upstream.new_name(behave)
        assert ttls(ask(clamping, name)) == [10, 100, 100]

    @pytest.mark.parametrize("sent", [90_000, 2**31, 2**32 - 1])
    def test_is_at_most_a_day_by_default(
        self, forwarder: Fastdns, upstream: FalseUpstream, sent: int
    ) -> None:
        name = upstream.new_name(answering(f"@ {sent} IN A 192.0.2.1"))
        assert ttls(ask(forwarder, name)) == [86400]
        assert ttls(ask(forwarder, name))[0] in (86400, 86399)

    def test_the_smallest_one_ends_the_life_of_the_answer(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        records = ["@ 1 IN A 192.0.2.1", "@ 300 IN A 192.0.2.2"]
        name = upstream.new_name(answering(*records))
        before = time.monotonic()
        ask(forwarder, name)
        eventually(lambda: ask(forwarder, name), lambda _: len(upstream.asked(name)) == 2)
        first, second = upstream.asked(name)
        assert second.at - first.at > 0.9
        assert time.monotonic() - before < 4

    def test_zero_is_never_kept(self, forwarder: Fastdns, upstream: FalseUpstream) -> None:
        name = upstream.new_name(
            numbered("@ 0 IN A 192.0.2.1", "@ 0 IN A 192.0.2.2", "@ 0 IN A 192.0.2.3")
        )
        answers = [ask(forwarder, name) for _ in range(3)]
        assert [data(answer) for answer in answers] == [["192.0.2.1"], ["192.0.2.2"], ["192.0.2.3"]]
        assert [ttls(answer) for answer in answers] == [[0], [0], [0]]

    def test_zero_anywhere_in_the_answer_counts(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(answering("@ 300 IN CNAME x.demo.", "x.demo. 0 IN A 192.0.2.1"))
        for _ in range(2):
            assert ttls(ask(forwarder, name)) == [300, 0]
        assert len(upstream.asked(name)) == 2


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "NOERROR"], ids=["NXDOMAIN", "NODATA"])
class TestNegative:
    @pytest.mark.parametrize(
        ("times", "kept"),
        [
            ((300, 60), 60),
            ((60, 300), 60),
            ((60, 60), 60),
            ((9000, 9000), 3600),
            ((2**31, 2**31), 3600),
            ((2**31 + 9, 70), 70),
            ((70, 2**32 - 1), 70),
        ],
    )
    def test_lives_for_the_smallest_of_soa_ttl_minimum_and_negative_max_ttl(
        self,
        forwarder: Fastdns,
        upstream: FalseUpstream,
        rcode: str,
        times: tuple[int, int],
        kept: int,
    ) -> None:
        name = upstream.new_name(answering(authority=[soa(*times)], rcode=rcode))
        first, second = ask(forwarder, name), ask(forwarder, name)
        assert dns.rcode.to_text(first.rcode()) == dns.rcode.to_text(second.rcode()) == rcode
        assert ttls(first) == [kept]
        assert ttls(second)[0] in (kept, kept - 1)
        assert len(upstream.asked(name)) == 1

    def test_is_bounded_by_negative_max_ttl_as_configured(
        self, clamping: Fastdns, upstream: FalseUpstream, rcode: str
    ) -> None:
        name = upstream.new_name(answering(authority=[soa(90, 90)], rcode=rcode))
        assert ttls(ask(clamping, name)) == [50]

    def test_ends_when_its_time_is_over(
        self, forwarder: Fastdns, upstream: FalseUpstream, rcode: str
    ) -> None:
        name = upstream.new_name(answering(authority=[soa(300, 1)], rcode=rcode))
        ask(forwarder, name)
        eventually(lambda: ask(forwarder, name), lambda _: len(upstream.asked(name)) == 2)
        first, second = upstream.asked(name)
        assert second.at - first.at > 0.9

    @pytest.mark.parametrize(
        "authority",
        [[], ["demo. 300 IN NS ns.demo."], [soa(300, 0)], [soa(0, 300)]],
        ids=["nothing", "only NS", "SOA MINIMUM 0", "SOA TTL 0"],
    )
    def test_is_not_kept_without_a_soa_that_lets_it(
        self, forwarder: Fastdns, upstream: FalseUpstream, rcode: str, authority: list[str]
    ) -> None:
        name = upstream.new_name(answering(authority=authority, rcode=rcode))
        for _ in range(2):
            assert dns.rcode.to_text(ask(forwarder, name).rcode()) == rcode
        assert len(upstream.asked(name)) == 2

    def test_at_the_end_of_a_cname_lives_no_longer_than_the_cname(
        self, forwarder: Fastdns, upstream: FalseUpstream, rcode: str
    ) -> None:
        behave = answering("@ 1 IN CNAME x.demo.", authority=[soa(300, 300)], rcode=rcode)
        name = upstream.new_name(behave)
        ask(forwarder, name)
        eventually(lambda: ask(forwarder, name), lambda _: len(upstream.asked(name)) == 2)


class TestFailure:
    def test_servfail_is_kept_so_that_the_upstream_has_peace(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name(answering(rcode="SERVFAIL"))
        assert ask(forwarder, name).rcode() == dns.rcode.SERVFAIL
        asked = len(upstream.asked(name))
        for tcp in (False, True, False):
            assert ask(forwarder, name, tcp=tcp).rcode() == dns.rcode.SERVFAIL
        assert len(upstream.asked(name)) == asked

    def test_is_kept_for_failure_ttl_and_then_gives_way_to_the_answer(
        self, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
    ) -> None:
        daemon = start_fastdns(upstream=[upstream], config='[cache]\nfailure_ttl = "1s"\n')
        name = upstream.new_name(answering(rcode="SERVFAIL"))
        before = time.monotonic()
        assert ask(daemon, name).rcode() == dns.rcode.SERVFAIL
        upstream.on(name, answering("@ 300 IN A 192.0.2.1"))
        answer = eventually(
            lambda: ask(daemon, name), lambda answer: answer.rcode() == dns.rcode.NOERROR
        )
        assert 0.9 < time.monotonic() - before < 3
        assert data(answer) == data(ask(daemon, name)) == ["192.0.2.1"]

    def test_time_out_is_kept_as_well(
        self, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
    ) -> None:
        config = '[upstream]\ntimeout = "0.2s"\nattempts = 1\n'
        daemon = start_fastdns(upstream=[upstream], config=config)
        name = upstream.new_name(silence)
        assert ask(daemon, name).rcode() == dns.rcode.SERVFAIL
        asked = len(upstream.asked(name))
        assert ask(daemon, name).rcode() == dns.rcode.SERVFAIL
        assert len(upstream.asked(name)) == asked

    def test_of_one_question_does_not_hide_the_answer_to_another_of_the_same_name(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        assert data(ask(forwarder, name)) == ["192.0.2.1"]
        upstream.on(name, answering(rcode="SERVFAIL"))
        assert ask(forwarder, name, "MX").rcode() == dns.rcode.SERVFAIL
        assert ask(forwarder, name, do=True).rcode() == dns.rcode.SERVFAIL
        assert data(ask(forwarder, name)) == ["192.0.2.1"]

    def test_many_different_ones_fit_in_the_configured_memory(
        self, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
    ) -> None:
        config = '[cache]\nmemory = "1MiB"\nfailure_ttl = "1m"\n'
        daemon = start_fastdns(upstream=[upstream], config=config, is_forked=False)
        upstream.otherwise = answering(rcode="SERVFAIL")
        ask(daemon, "warm.failing.demo.")
        before = daemon.memory()
        with udp_socket(daemon) as sock:
            for batch in range(100):
                for number in range(30):
                    label = f"{batch}-{number}-" + "x" * 50
                    sock.send(make_query(f"{label}.{label}.failing.demo.").to_wire())
                for _ in range(30):
                    sock.recv(65535)
        assert daemon.memory() - before < 6 * MIB

    @pytest.fixture(autouse=True)
    def restore(self, upstream: FalseUpstream) -> Iterator[None]:
        otherwise = upstream.otherwise
        yield
        upstream.otherwise = otherwise


def test_truncated_answer_is_never_kept(forwarder: Fastdns, upstream: FalseUpstream) -> None:
    def behave(asked: Asked) -> None:
        if asked.tcp:
            asked.answer("@ 300 IN A 192.0.2.1", "@ 300 IN A 192.0.2.2")
        else:
            asked.answer("@ 300 IN A 192.0.2.1", flags=dns.flags.TC)

    name = upstream.new_name(behave)
    for tcp in (False, False, True):
        answer = ask(forwarder, name, tcp=tcp)
        assert sorted(data(answer)) == ["192.0.2.1", "192.0.2.2"]
        assert not answer.flags & dns.flags.TC
    assert [asked.tcp for asked in upstream.asked(name)] == [False, True]


class TestIdenticalQuestionsInFlight:
    @pytest.mark.parametrize("ttl", [300, 0])
    def test_share_one_upstream_query_and_each_client_gets_its_own_answer(
        self, forwarder: Fastdns, upstream: FalseUpstream, ttl: int
    ) -> None:
        release = threading.Event()

        def hold(asked: Asked) -> None:
            release.wait(1.2)  # less than upstream.timeout, after which fastdns would ask again
            asked.answer(f"@ {ttl} IN A 192.0.2.1")

        name = upstream.new_name(hold, label="IdenticalInFlight")
        with contextlib.ExitStack() as closing:
            clients = [
                closing.enter_context(TcpClient(forwarder)),
                closing.enter_context(TcpClient(forwarder)),
                closing.enter_context(UdpClient(forwarder)),
                closing.enter_context(UdpClient(forwarder)),
            ]
            for place, client in enumerate(clients):
                for number in range(15):  # ids are a client's own, others may use the same
                    client.send(self.query(name, place, number))
            for client in clients:
                self.all_it_sent_has_been_read(client, upstream)
            assert len(upstream.asked(name)) == 1
            release.set()
            for place, client in enumerate(clients):
                answers = {raw.id_of(wire): wire for wire in (client.receive() for _ in range(15))}
                for number in range(15):
                    answer = read_answer(self.query(name, place, number), answers[number])
                    assert data(answer) == ["192.0.2.1"]
        assert len(upstream.asked(name)) == 1

    @staticmethod
    def query(name: str, place: int, number: int) -> bytes:
        """The query of this client with this id; no other has its spelling of name."""
        query = make_query(spelling_number(name, place * 15 + number))
        query.id = number
        return query.to_wire()

    @staticmethod
    def all_it_sent_has_been_read(client: TcpClient | UdpClient, upstream: FalseUpstream) -> None:
        """Queries of a socket are read in order: when a later one is answered, all were."""
        client.send(make_query(upstream.new_name()).to_wire())
        assert client.receive()

    def test_with_other_do_or_cd_or_type_are_not_identical(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        everybody = threading.Barrier(4, timeout=1.2)

        def meet(asked: Asked) -> None:
            if not asked.is_repeat:
                everybody.wait()
                asked.answer(authority=[soa(300, 300)])

        name = upstream.new_name(meet)
        knobs = [{}, {"do": True}, {"cd": True}, {"rdtype": "AAAA"}]
        queries = [make_query(name, **each).to_wire() for each in knobs]
        with udp_socket(forwarder) as udp:
            for query in queries:
                udp.send(query)
            answers = {udp.recv(65535)[:2] for _ in queries}
        assert answers == {query[:2] for query in queries}
        assert len(upstream.asked(name)) == 4


def spelling_number(name: str, number: int) -> str:
    """A spelling of name: the lowest bits of number choose the case of its first letters."""
    return "".join(
        letter.upper() if number >> place & 1 else letter.lower()
        for place, letter in enumerate(name)
    )


class TestWithoutRecursionDesired:
    def test_what_is_not_in_the_cache_is_refused_and_not_asked_for(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        for tcp in (False, True):
            answer = ask(forwarder, name, rd=False, tcp=tcp)
            assert answer.rcode() == dns.rcode.REFUSED
            assert not answer.flags & dns.flags.RD
        assert not upstream.asked(name)
        assert data(ask(forwarder, name)) == ["192.0.2.1"]

    def test_what_is_in_the_cache_is_answered(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        name = upstream.new_name()
        ask(forwarder, name)
        for tcp in (False, True):
            answer = ask(forwarder, name, rd=False, tcp=tcp)
            assert data(answer) == ["192.0.2.1"]
            assert not answer.flags & dns.flags.RD


def test_cache_stays_within_its_memory_and_goes_on_answering(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    config = '[cache]\nmemory = "1MiB"\n'
    daemon = start_fastdns(upstream=[upstream], config=config, is_forked=False)
    strings = " ".join(['"' + "x" * 250 + '"'] * 4)
    ask(daemon, upstream.new_name())
    before = daemon.memory(daemon.worker)
    for _ in range(3000):
        name = upstream.new_name(answering(f"@ 300 IN TXT {strings}"))
        exchange_udp(daemon, make_query(name, "TXT").to_wire())
    # Beside the cache the ring towards the disk fills, 4 MiB of its own.
    assert daemon.memory(daemon.worker) - before < 8 * MIB
    ask(daemon, name, "TXT")
    assert len(upstream.asked(name)) == 1, "the newest answer was not kept"
