"""Forged, broken and stuffed replies: the client gets the true answer, and only that is cached."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from .support import raw
from .support.client import ask, data, make_query, records, udp_socket
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream

LIE = "203.0.113.66"
TRUTH = "192.0.2.1"
FORGED = raw.a_record(LIE)
Forgery = Callable[[Asked], None]


def sent(*rrs: bytes, flags: int = raw.REPLY, counts: tuple[int, ...] | None = None) -> Forgery:
    """Send a reply of these answer records, in which only what is given here is wrong."""
    return lambda asked: asked.send(raw.reply_to(asked.wire, *rrs, flags=flags, counts=counts))


def sent_with(change: Callable[[bytes], bytes]) -> Forgery:
    """Send what change makes of a reply that is right but for its address."""
    return lambda asked: asked.send(change(raw.reply_to(asked.wire, FORGED)))


def sent_with_question(change: Callable[[bytes], bytes], count: int = 1) -> Forgery:
    """Send a reply whose question section is what change makes of the true one."""

    def forge(asked: Asked) -> None:
        section = change(raw.question_of(asked.wire))
        head = raw.header(raw.id_of(asked.wire), raw.REPLY, count, 1)
        asked.send(head + section + raw.a_record(LIE, raw.question_of(asked.wire)[:-4]))

    return forge


def wrong_ids(asked: Asked) -> None:
    """Many guesses near the id and far from it."""
    true = raw.id_of(asked.wire)
    reply = raw.reply_to(asked.wire, FORGED)
    for distance in [*range(1, 20), *range(3000, 65000, 3000), 65535]:
        asked.send(struct.pack("!H", (true + distance) % 65536) + reply[2:])


def wrong_id_in_failure(asked: Asked) -> None:
    reply = raw.reply_to(asked.wire, flags=raw.REPLY | 2)
    asked.send(struct.pack("!H", raw.id_of(asked.wire) ^ 1) + reply[2:])


def pointer(asked: Asked, distance: int) -> bytes:
    """A compression pointer to so many octets after the start of the reply's first record."""
    return struct.pack("!H", 0xC000 + 12 + len(raw.question_of(asked.wire)) + distance)


def owned_by(owner: Callable[[Asked], bytes]) -> Forgery:
    """Send a record of this owner, and after it, 16 octets on if it is a pointer, a good one."""

    def forge(asked: Asked) -> None:
        good = raw.a_record(LIE, raw.question_of(asked.wire)[:-4])
        asked.send(raw.reply_to(asked.wire, raw.a_record(LIE, owner(asked)), good))

    return forge


def cname_to(target: Callable[[Asked], bytes]) -> Forgery:
    """Send a CNAME with these data, 12 octets on; after it, 14 on for a pointer, an address."""

    def forge(asked: Asked) -> None:
        cname = raw.rr(raw.TO_QUESTION, raw.CNAME, target(asked))
        asked.send(raw.reply_to(asked.wire, cname, raw.a_record(LIE, raw.name("evil.demo"))))

    return forge


FORGERIES: dict[str, Forgery] = {
    "wrong ids": wrong_ids,
    "SERVFAIL with a wrong id": wrong_id_in_failure,
    "from another port": lambda asked: asked.send_from(
        "127.0.0.1", raw.reply_to(asked.wire, FORGED)
    ),
    "from another address": lambda asked: asked.send_from(
        "127.0.0.2", raw.reply_to(asked.wire, FORGED)
    ),
    "SERVFAIL from another port": lambda asked: asked.send_from(
        "127.0.0.1", raw.reply_to(asked.wire, flags=raw.REPLY | 2)
    ),
    "truncated, from another address": lambda asked: asked.send_from(
        "127.0.0.2", raw.reply_to(asked.wire, flags=raw.REPLY | 0x0200)
    ),
    "another name": sent_with_question(lambda question: b"\4evil" + question),
    "a name of the same length": sent_with_question(
        lambda question: question[:1] + b"?" + question[2:]
    ),
    "another type": sent_with_question(lambda question: question[:-4] + b"\0\x1c\0\1"),
    "another type, eight bits alike": sent_with_question(lambda q: q[:-4] + b"\1\1\0\1"),
    "another class": sent_with_question(lambda question: question[:-2] + b"\0\3"),
    "no question": sent_with_question(lambda _: b"", count=0),
    "the question twice": sent_with_question(lambda question: question * 2, count=2),
    "a second question": sent_with_question(lambda q: q + raw.question("evil.demo"), count=2),
    "QR=0": sent(FORGED, flags=raw.REPLY & ~0x8000),
    "opcode 2": sent(FORGED, flags=raw.REPLY | 2 << 11),
    "opcode 5": sent(FORGED, flags=raw.REPLY | 5 << 11),
    "owner that points to itself": owned_by(lambda asked: pointer(asked, 0)),
    "owner that points forward": owned_by(lambda asked: pointer(asked, 16)),
    "owner that loops through a label": owned_by(lambda asked: b"\1a" + pointer(asked, 0)),
    "owner that points past the end": owned_by(lambda _: b"\xff\xff"),
    "owner past the end": sent(b"\x3fshort"),
    "owner with a label of type 01": owned_by(lambda _: b"\x41a\0"),
    "owner with a label of type 10": owned_by(lambda _: b"\x81a\0"),
    "owner of 300 octets": owned_by(lambda _: (b"\x3b" + b"o" * 59) * 5 + b"\0"),
    "CNAME that points to itself": cname_to(lambda asked: pointer(asked, 12)),
    "CNAME that points forward": cname_to(lambda asked: pointer(asked, 14)),
    "CNAME past its RDLENGTH": sent(raw.rr(raw.TO_QUESTION, 5, b"\7evil", rdlength=3), FORGED),
    "CNAME shorter than its RDLENGTH": cname_to(lambda _: b"\4evil\0xx"),
    "empty CNAME": cname_to(lambda _: b""),
    "one record more announced than there": sent(FORGED, counts=(1, 2, 0, 0)),
    "65,535 records announced": sent(FORGED, counts=(1, 65535, 0, 0)),
    "A of five octets": sent(raw.rr(raw.TO_QUESTION, raw.A, b"\xcb\0\x71\x42\0")),
    "A of three octets": sent(raw.rr(raw.TO_QUESTION, raw.A, b"\xcb\0\x71")),
    "A of none": sent(raw.rr(raw.TO_QUESTION, raw.A, b"")),
    "good A, then AAAA of four octets": sent(FORGED, raw.rr(raw.TO_QUESTION, raw.AAAA, bytes(4))),
    "good A, then AAAA of 17 octets": sent(FORGED, raw.rr(raw.TO_QUESTION, raw.AAAA, bytes(17))),
    "good A, then A of five octets": sent(FORGED, raw.rr(raw.TO_QUESTION, raw.A, bytes(5))),
    "good A, then MX of one octet": sent(FORGED, raw.rr(raw.TO_QUESTION, raw.MX, b"\0")),
    "good A, then SOA without numbers": sent(FORGED, raw.rr(raw.TO_QUESTION, raw.SOA, bytes(2))),
    "RDLENGTH past the end": sent(raw.rr(raw.TO_QUESTION, raw.A, b"\xcb\0\x71\x42", rdlength=40)),
    "record without its data": sent(raw.rr(raw.TO_QUESTION, raw.A, b"", rdlength=4)),
    "cut in the data": sent_with(lambda reply: reply[:-1]),
    "cut in the record's header": sent_with(lambda reply: reply[:-8]),
    "cut in the question": sent_with(lambda reply: reply[:20]),
    "bare header": sent_with(lambda reply: reply[:12]),
    "eleven octets": sent_with(lambda reply: reply[:11]),
    "nothing": sent_with(lambda _: b""),
    "the query itself": lambda asked: asked.send(asked.wire),
    "noise": sent_with(lambda reply: reply[:2] + b"\x81\x80" + bytes(range(256))),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_true_answer_comes_through_after_a_forged_one(
    forwarder: Fastdns, upstream: FalseUpstream, forge: Forgery
) -> None:
    def forge_then_tell(asked: Asked) -> None:
        for _ in range(3):
            forge(asked)
        asked.answer(f"@ 300 IN A {TRUTH}")

    name = upstream.new_name(forge_then_tell)
    answers = [ask(forwarder, name, tcp=tcp) for tcp in (False, False, True)]
    assert [data(answer) for answer in answers] == [[TRUTH]] * 3
    assert [asked.tcp for asked in upstream.asked(name)] == [False], "asked more than once"


# What is odd about these stands beside a sound answer, which is used.
ODD: dict[str, Forgery] = {
    "authority announced, none there": sent(raw.a_record(TRUTH), counts=(1, 1, 1, 0)),
    "additional announced, none there": sent(raw.a_record(TRUTH), counts=(1, 1, 0, 1)),
    "one record less announced than there": sent(
        raw.a_record(TRUTH), raw.a_record(LIE), counts=(1, 1, 0, 0)
    ),
    "OPT past the end": sent(
        raw.a_record(TRUTH), raw.rr(b"\0", raw.OPT, b"", rdlength=9), counts=(1, 1, 0, 1)
    ),
    "an octet too many": lambda asked: asked.send(
        raw.reply_to(asked.wire, raw.a_record(TRUTH)) + b"\0"
    ),
}


@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
@pytest.mark.parametrize("send", ODD.values(), ids=ODD)
def test_what_surrounds_a_sound_answer_does_not_spoil_it(
    forwarder: Fastdns, upstream: FalseUpstream, send: Forgery, tcp: bool
) -> None:
    def behave(asked: Asked) -> None:
        if tcp and not asked.tcp:
            asked.answer(flags=dns.flags.TC)
        else:
            send(asked)

    name = upstream.new_name(behave)
    for _ in range(2):
        assert data(ask(forwarder, name)) == [TRUTH]
    assert len(upstream.asked(name)) == 1 + tcp


def test_all_forgeries_together_do_not_keep_the_true_answer_from_the_client(
    forwarder: Fastdns, upstream: FalseUpstream
) -> None:
    def forge_then_tell(asked: Asked) -> None:
        for forge in FORGERIES.values():
            forge(asked)
        asked.answer(f"@ 300 IN A {TRUTH}")

    name = upstream.new_name(forge_then_tell)
    assert data(ask(forwarder, name)) == [TRUTH]
    assert data(ask(forwarder, name)) == [TRUTH]


def test_forged_replies_are_no_log_flood(forwarder: Fastdns, upstream: FalseUpstream) -> None:
    def forge_then_tell(asked: Asked) -> None:
        wrong_ids(asked)
        asked.answer(f"@ 300 IN A {TRUTH}")

    before = len(forwarder.log)
    for _ in range(10):
        ask(forwarder, upstream.new_name(forge_then_tell))
    assert len(forwarder.log) - before < 20, forwarder.tail()


@pytest.mark.parametrize(
    "shape",
    [
        lambda reply: reply[:-1],
        lambda reply: struct.pack("!H", raw.id_of(reply) ^ 1) + reply[2:],
    ],
    ids=["cut short", "a wrong id"],
)
def test_bad_reply_over_tcp_is_no_answer_either(
    forwarder: Fastdns, upstream: FalseUpstream, shape: Callable[[bytes], bytes]
) -> None:
    def behave(asked: Asked) -> None:
        if not asked.tcp:
            asked.answer(flags=dns.flags.TC)
            return
        asked.send(shape(raw.reply_to(asked.wire, FORGED)))
        asked.answer(f"@ 300 IN A {TRUTH}")

    answer = ask(forwarder, upstream.new_name(behave), timeout=10)
    assert data(answer) in ([TRUTH], [])
    assert answer.rcode() == (dns.rcode.NOERROR if answer.answer else dns.rcode.SERVFAIL)


class TestRecordsOffTheChain:
    """Answer records are kept if they belong to the question's name or to what it leads to."""

    @pytest.mark.parametrize(
        ("lines", "kept"),
        [
            pytest.param(
                ["@ 300 IN A 192.0.2.1", "victim.demo. 300 IN A 203.0.113.66"],
                ["@ A 192.0.2.1"],
                id="another name",
            ),
            pytest.param(
                ["victim.demo. 300 IN A 203.0.113.66", "@ 300 IN A 192.0.2.1"],
                ["@ A 192.0.2.1"],
                id="another name first",
            ),
            pytest.param(
                ["victim.demo. 300 IN A 203.0.113.66"],
                [],
                id="nothing but another name",
            ),
            pytest.param(
                [
                    "@ 300 IN CNAME one.demo.",
                    "one.demo. 300 IN A 192.0.2.1",
                    "victim.demo. 300 IN A 203.0.113.66",
                    "child.one.demo. 300 IN A 203.0.113.66",
                ],
                ["@ CNAME one.demo.", "one.demo. A 192.0.2.1"],
                id="beside a chain",
            ),
            pytest.param(
                [
                    "two.demo. 300 IN A 192.0.2.1",
                    "one.demo. 300 IN CNAME two.demo.",
                    "@ 300 IN CNAME one.demo.",
                ],
                ["@ CNAME one.demo.", "one.demo. CNAME two.demo.", "two.demo. A 192.0.2.1"],
                id="chain in reverse",
            ),
            pytest.param(
                [
                    "one.demo. 300 IN CNAME two.demo.",
                    "@ 300 IN CNAME one.demo.",
                    "victim.demo. 300 IN CNAME two.demo.",
                    "two.demo. 300 IN A 192.0.2.1",
                ],
                ["@ CNAME one.demo.", "one.demo. CNAME two.demo.", "two.demo. A 192.0.2.1"],
                id="another name leads there, too",
            ),
            pytest.param(
                ["@ 300 IN CNAME ONE.demo.", "one.DEMO. 300 IN A 192.0.2.1"],
                ["@ CNAME ONE.demo.", "one.demo. A 192.0.2.1"],
                id="chain in another case",
            ),
            pytest.param(
                [
                    "false.demo. 300 IN DNAME new.demo.",
                    "@ 300 IN CNAME {label}.new.demo.",
                    "{label}.new.demo. 300 IN A 192.0.2.1",
                    "victim.demo. 300 IN DNAME evil.demo.",
                ],
                [
                    "false.demo. DNAME new.demo.",
                    "@ CNAME {label}.new.demo.",
                    "{label}.new.demo. A 192.0.2.1",
                ],
                id="DNAME",
            ),
            pytest.param(
                ["@ 300 IN CNAME one.demo.", "one.demo. 300 IN CNAME @"],
                ["@ CNAME one.demo.", "one.demo. CNAME @"],
                id="loop",
            ),
        ],
    )
    def test_are_left_out(
        self, forwarder: Fastdns, upstream: FalseUpstream, lines: list[str], kept: list[str]
    ) -> None:
        name = upstream.new_name()
        label = name.split(".")[0]
        filled = [line.format(label=label).replace("CNAME @", f"CNAME {name}") for line in lines]
        upstream.on(name, lambda asked: asked.answer(*filled))
        expected = [line.format(label=label).replace("@", name).lower() for line in kept]
        for tcp in (False, False, True):
            answer = ask(forwarder, name, tcp=tcp)
            assert answer.rcode() == dns.rcode.NOERROR
            assert shown(answer) == sorted(expected)

    @pytest.mark.parametrize("section", ["answer", "authority", "additional"])
    def test_are_not_remembered_under_their_own_name(
        self, forwarder: Fastdns, upstream: FalseUpstream, section: str
    ) -> None:
        victim = upstream.new_name()
        lie = f"{victim} 300 IN A {LIE}"

        def behave(asked: Asked) -> None:
            if section == "answer":
                asked.answer("@ 300 IN A 192.0.2.2", lie)
            else:
                asked.answer("@ 300 IN A 192.0.2.2", **{section: [lie]})

        name = upstream.new_name(behave)
        assert data(ask(forwarder, name)) == ["192.0.2.2"]
        assert data(ask(forwarder, victim)) == [TRUTH]
        assert len(upstream.asked(victim)) == 1

    def test_leave_compressed_names_intact_where_they_were_cut_out(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        """The kept records point into the one that is left out: pointers must be made anew."""

        def behave(asked: Asked) -> None:
            cut = raw.a_record(LIE, raw.name("x.victim.demo"))
            cname = raw.rr(raw.TO_QUESTION, raw.CNAME, b"\3one" + pointer(asked, 2))
            address = raw.a_record(TRUTH, pointer(asked, len(cut) + 12))
            asked.send(raw.reply_to(asked.wire, cut, cname, address))

        name = upstream.new_name(behave)
        for _ in range(2):
            kept = [f"{name} cname one.victim.demo.", f"one.victim.demo. a {TRUTH}"]
            assert shown(ask(forwarder, name)) == sorted(kept)


def shown(message: dns.message.Message) -> list[str]:
    """The answer section without TTLs: ["www.demo. a 192.0.2.1"], in lower case."""
    return sorted(
        f"{rr.name} {dns.rdatatype.to_text(rr.rdtype)} {rr[0]}".lower() for rr in message.answer
    )


def test_opt_that_is_not_last_is_no_obstacle(forwarder: Fastdns, upstream: FalseUpstream) -> None:
    def behave(asked: Asked) -> None:
        server = raw.rr(raw.TO_QUESTION, raw.NS, raw.name("ns.glue.demo"))
        glue = raw.a_record("192.0.2.53", raw.name("ns.glue.demo"))
        parts = (raw.a_record(TRUTH), server, raw.opt(), glue)
        asked.send(raw.reply_to(asked.wire, *parts, counts=(1, 1, 1, 2)))

    name = upstream.new_name(behave)
    for edns in (True, False, True):
        answer = ask(forwarder, name, edns=edns)
        assert data(answer) == [TRUTH]
        assert answer.edns == (0 if edns else -1)
        assert {record[3] for record in records(answer.additional)} == {"192.0.2.53"}


class TestGuessing:
    COUNT = 300

    def test_ids_and_ports_of_upstream_queries_cannot_be_foreseen(
        self, forwarder: Fastdns, upstream: FalseUpstream
    ) -> None:
        names = [upstream.new_name() for _ in range(self.COUNT)]
        with udp_socket(forwarder) as sock:
            for name in names:
                query = make_query(name)
                query.id = 0x1234
                sock.send(query.to_wire())
                sock.recv(65535)
        asked = [upstream.asked(name)[0] for name in names]
        ids, ports = [each.message.id for each in asked], [each.port for each in asked]
        for numbers, distinct in ((ids, self.COUNT * 0.9), (ports, self.COUNT * 0.8)):
            steps = {(after - before) % 65536 for before, after in itertools.pairwise(numbers)}
            assert len(set(numbers)) > distinct
            assert len(steps) > distinct, "they are counted up"
            assert max(numbers) - min(numbers) > 10000

    def test_ids_are_not_the_same_after_a_restart(
        self, start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
    ) -> None:
        seen = []
        for _ in range(2):
            daemon = start_fastdns(upstream=[upstream])
            names = [upstream.new_name() for _ in range(8)]
            for name in names:
                ask(daemon, name)
            seen.append([upstream.asked(name)[0].message.id for name in names])
        assert seen[0] != seen[1]
